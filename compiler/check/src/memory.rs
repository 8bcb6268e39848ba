//! What a strategy remembers and learns: `state`, `set`, `also_minimize`, and parameters of its own.
//!
//! ```text
//!   state b: real = 0       b as it was before the step
//!   set b = e               b of the next step: the mean of e over the lanes in which the choice is made
//!   param c: real = 0       a parameter of the strategy at this choice
//!   also_minimize e         c learns by the gradient of the sum of e over the lanes
//! ```
//!
//! States are parameters that a step replaces and nothing differentiates: `strategy.program.choice.name`, one for each choice.

use crate::codes;
use crate::func::FnElab;
use crate::session::Global;
use crate::stage::ElabStage;
use crate::value::Value;
use ppl_core::{Atom, DType};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{Expr, ExprKind, Ident, Param, StmtKind};

/// What a strategy has besides its estimate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sides {
    pub(crate) states: Vec<StateVar>,
    /// Operands that are minimised as well.
    pub(crate) also: Vec<Atom>,
    /// Number of open blocks at the top of the strategy.
    pub(crate) open: usize,
    /// Whether it has parameters of its own.
    pub(crate) own: bool,
    /// What the first call of its continuation was given: whether a relaxed value, and where.
    pub(crate) relaxed: Option<(bool, Span)>,
}

/// A state of the strategy being elaborated.
#[derive(Clone, Debug)]
pub(crate) struct StateVar {
    pub(crate) name: String,
    pub(crate) global: Global,
    pub(crate) next: Option<Atom>,
    /// Where it is set, or else declared.
    pub(crate) span: Span,
}

/// Whether the strategy's text declares state or parameters.
pub(crate) fn has_memory(body: &Expr) -> bool {
    match &body.kind {
        ExprKind::Block(b) => b.stmts.iter().any(|s| matches!(s.kind, StmtKind::State(_) | StmtKind::Param(_))),
        _ => false,
    }
}

impl<S: ElabStage> FnElab<'_, S> {
    /// Whether a statement of a strategy stands in one, at its top.
    fn in_strategy(&mut self, what: &str, span: Span) -> bool {
        let open = self.statements().len();
        let (text, label) = match &self.sides {
            None => (format!("`{what}` stands only in a strategy"), "not in a strategy"),
            Some(s) if s.open != open => (format!("`{what}` stands at the top of a strategy"), "in a branch or a loop"),
            Some(_) => return true,
        };
        self.report(Diagnostic::error(codes::STRATEGY_STATEMENT, text).label(span, label).help(
            "a strategy has one value of it for each run of its program: compute that value first, `let v = if c { a } else { b }`",
        ));
        false
    }

    /// `state b: real = 0`.
    pub(crate) fn state(&mut self, p: &Param, span: Span) {
        if !self.in_strategy("state", span) {
            self.bind(p.name.as_str(), Value::Error);
            return;
        }
        let params = self.s.params.len();
        self.local_param(p, span);
        let full = format!("{}.{}", self.name, p.name);
        let Some(i) = self.s.params.iter().position(|q| q.name == full) else { return };
        if i >= params {
            self.s.params[i].state = true;
        }
        if !self.s.params[i].shape.is_empty() || self.s.params[i].support != ppl_core::Support::Real {
            self.report(
                Diagnostic::error(codes::STRATEGY_STATEMENT, "a state is one real number")
                    .label(span, "has another type")
                    .help(format!("`state {}: real = 0`", p.name)),
            );
            return;
        }
        let state = StateVar { name: p.name.as_str().to_string(), global: Global::Param(i), next: None, span };
        if let Some(s) = &mut self.sides {
            s.states.push(state);
        }
    }

    /// `set b = e`.
    pub(crate) fn set_state(&mut self, name: &Ident, value: &Expr, span: Span) {
        let Some(a) = self.real_scalar(value, "the value of a state") else { return };
        if !self.in_strategy("set", span) {
            return;
        }
        debug_assert!(a.dtype == DType::Float);
        let Some(sides) = &mut self.sides else { return };
        let d = match sides.states.iter_mut().find(|s| s.name == name.as_str()) {
            None => Diagnostic::error(codes::STRATEGY_STATEMENT, format!("`{name}` is not a state of this strategy"))
                .label(name.span, "not declared by `state`")
                .help(format!("declare it before: `state {name}: real = 0`")),
            Some(s) if s.next.is_some() => {
                Diagnostic::error(codes::STRATEGY_STATEMENT, format!("the state `{name}` is set twice"))
                    .label(span, "again here")
                    .label(s.span, "set here before")
                    .note("a state changes once in a step")
            }
            Some(s) => {
                s.next = Some(a.atom);
                s.span = span;
                return;
            }
        };
        self.report(d);
    }

    /// `also_minimize e`.
    pub(crate) fn also_minimize(&mut self, e: &Expr, span: Span) {
        let Some(a) = self.real_scalar(e, "what is minimised") else { return };
        if self.in_strategy("also_minimize", span)
            && let Some(s) = &mut self.sides
        {
            s.also.push(a.atom);
        }
    }
}
