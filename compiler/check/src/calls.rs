//! Calls: functions and objectives are inlined, programs instantiated, distributions applied.

use crate::builtins::Argument;
use crate::codes;
use crate::func::FnElab;
use crate::session::Decl;
use crate::stage::ElabStage;
use crate::value::{DeclId, Value};
use ppl_core::Support;
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{Arg, Callable, Expr, ExprKind, FnParam};

impl<S: ElabStage> FnElab<'_, S> {
    pub(crate) fn call(&mut self, e: &Expr, callee: &Expr, args: &[Arg]) -> Value {
        let f = self.expr(callee);
        match f {
            Value::Error => {
                // Still look at the arguments, for their own errors.
                args.iter().for_each(|a| {
                    self.expr(&a.value);
                });
                Value::Error
            }
            Value::Builtin("grad") => self.gradient(args, e.span),
            Value::Builtin(name) => {
                if let Some(a) = args.iter().find_map(|a| a.name.as_ref()) {
                    return self.fail(
                        Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{name}` takes its arguments by position"))
                            .label(a.span, "a name"),
                    );
                }
                let values = self.values(name, args);
                self.builtin(name, &values, e.span)
            }
            Value::Continuation { fresh } => match args {
                [a] => {
                    let x = self.expr(&a.value);
                    self.continue_with(x, fresh, a.value.span, e.span)
                }
                _ => self.fail(
                    Diagnostic::error(codes::WRONG_ARGUMENTS, "a continuation takes the value of the choice")
                        .label(e.span, "here"),
                ),
            },
            Value::Decl(id) => {
                let decl = self.s.decl(id);
                let (name, params) = match &*decl {
                    Decl::Gen(c) | Decl::Fn(c) | Decl::Objective(c) => (c.name.as_str(), &c.params),
                    Decl::Dist(d) => (d.name.as_str(), &d.params),
                };
                match self.arguments(name, params, args, e.span) {
                    Some(values) => self.call_decl(id, values, e.span),
                    None => Value::Error,
                }
            }
            Value::Function(c) => match self.arguments(c.shown(), &c.callable.params, args, e.span) {
                Some(values) => self.call_closure(&c, values, e.span),
                None => Value::Error,
            },
            v => {
                let d = Diagnostic::error(codes::NOT_CALLABLE, "this can't be called")
                    .label(callee.span, format!("this is {}", v.describe()));
                self.fail(match v {
                    Value::List(_) => d.help("apply its elements one after the other: `for f in list carry (h = x) { f(h) }`"),
                    _ => d,
                })
            }
        }
    }

    /// Evaluated arguments; a loop as an argument of a reduction collects its values, a type name of `constrain` is a support.
    fn values(&mut self, name: &str, args: &[Arg]) -> Vec<Argument> {
        args.iter()
            .map(|a| {
                let v = match &a.value.kind {
                    ExprKind::For(f) => self.for_loop(f, true),
                    ExprKind::Name(id) if name == "constrain" && self.lookup_quiet(id.as_str()).is_none() => {
                        self.support_name(id)
                    }
                    ExprKind::Call { callee, .. }
                        if name == "constrain" && matches!(&callee.kind, ExprKind::Name(n) if n == "interval") =>
                    {
                        self.interval(&a.value)
                    }
                    _ => self.expr(&a.value),
                };
                (v, a.value.span)
            })
            .collect()
    }

    fn support_name(&mut self, id: &ppl_syntax::ast::Ident) -> Value {
        let support = match id.as_str() {
            "real" => Support::Real,
            "positive" => Support::POSITIVE,
            "unit" => Support::UNIT,
            "simplex" => Support::Simplex,
            "ordered" => Support::Ordered,
            _ => {
                return self.fail(
                    Diagnostic::error(codes::UNKNOWN_NAME, format!("there is no support `{id}`"))
                        .label(id.span, "unknown support")
                        .note("supports: real, positive, unit, interval(lo, hi), simplex, ordered, or `support(a)`"),
                );
            }
        };
        Value::Support { support, dims: None }
    }

    fn interval(&mut self, e: &Expr) -> Value {
        let ExprKind::Call { args, callee } = &e.kind else {
            return Value::Error;
        };
        let name = match &callee.kind {
            ExprKind::Name(n) => n.clone(),
            _ => return Value::Error,
        };
        let ty = ppl_syntax::ast::Type {
            span: e.span,
            kind: ppl_syntax::ast::TypeKind::Named {
                name,
                args: args.iter().map(|a| a.value.clone()).collect(),
                missing: false,
                dims: Vec::new(),
            },
        };
        match self.written(&ty) {
            Some(crate::types::Written::Array { support, .. }) => Value::Support { support, dims: None },
            _ => Value::Error,
        }
    }

    /// Matches arguments with parameters: by position, by name, by default.
    pub(crate) fn arguments(&mut self, name: &str, params: &[FnParam], args: &[Arg], span: Span) -> Option<Vec<Argument>> {
        let mut slots: Vec<Option<Argument>> = vec![None; params.len()];
        let mut next = 0;
        let signature = || params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
        for a in args {
            let slot = match &a.name {
                Some(n) => match params.iter().position(|p| p.name == n.as_str()) {
                    Some(i) => i,
                    None => {
                        self.report(
                            Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{name}` has no parameter `{n}`"))
                                .label(n.span, "unknown")
                                .note(format!("signature: {name}({})", signature())),
                        );
                        return None;
                    }
                },
                None => {
                    next += 1;
                    next - 1
                }
            };
            if slot >= params.len() {
                self.report(
                    Diagnostic::error(
                        codes::WRONG_ARGUMENTS,
                        format!("`{name}` takes {} argument(s), here are {}", params.len(), args.len()),
                    )
                    .label(a.value.span, "one too many")
                    .note(format!("signature: {name}({})", signature())),
                );
                return None;
            }
            if slots[slot].is_some() {
                self.report(
                    Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{}` of `{name}` is given twice", params[slot].name))
                        .label(a.value.span, "again here"),
                );
                return None;
            }
            // A loop that carries values has the last one, as anywhere.
            let v = match &a.value.kind {
                ExprKind::For(f) if f.carry.is_empty() => self.for_loop(f, true),
                _ => self.expr(&a.value),
            };
            slots[slot] = Some((v, a.value.span));
        }
        let mut out = Vec::new();
        for (slot, p) in slots.into_iter().zip(params) {
            match (slot, &p.default) {
                (Some(v), _) => out.push(v),
                (None, Some(e)) => {
                    let v = self.isolated(|me| me.expr(e)).unwrap_or(Value::Error);
                    out.push((v, e.span));
                }
                (None, None) => {
                    self.report(
                        Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{name}` needs `{}`", p.name))
                            .label(span, "missing argument")
                            .note(format!("signature: {name}({})", signature())),
                    );
                    return None;
                }
            }
        }
        Some(out)
    }

    /// Applies a declaration to evaluated arguments.
    pub(crate) fn call_decl(&mut self, id: DeclId, args: Vec<Argument>, span: Span) -> Value {
        if args.iter().any(|(v, _)| matches!(v, Value::Error)) {
            return Value::Error;
        }
        let decl = self.s.decl(id);
        match &*decl {
            Decl::Gen(c) => {
                if args.len() != c.params.len() {
                    let names: Vec<&str> = c.params.iter().map(|p| p.name.as_str()).collect();
                    return self.fail(
                        Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{}` needs arguments", c.name))
                            .label(span, format!("signature: {}({})", c.name, names.join(", "))),
                    );
                }
                let strategies = self.forced.clone();
                self.instance(id, c, args, &strategies, span)
            }
            Decl::Fn(c) | Decl::Objective(c) => self.inline_call(c, args, span),
            Decl::Dist(d) => {
                let mut arrs = Vec::new();
                for (v, s) in args {
                    match self.as_array(v, s) {
                        Some(a) => arrs.push((a, s)),
                        None => return Value::Error,
                    }
                }
                self.apply_dist(id, d, arrs, span)
            }
        }
    }

    /// A function's or objective's body, with its parameters bound.
    fn inline_call(&mut self, c: &Callable, args: Vec<Argument>, span: Span) -> Value {
        self.callers.push((c.name.as_str().to_string(), span));
        let out = self.isolated(|me| {
            for ((v, at), p) in args.into_iter().zip(&c.params) {
                let v = match &p.ty {
                    Some(t) => me.check_type(&format!("`{}` of `{}`", p.name, c.name), t, v, at),
                    None => v,
                };
                me.bind(p.name.as_str(), v);
            }
            let v = match &c.body.kind {
                ExprKind::Block(b) => me.scoped_block(b),
                _ => me.expr(&c.body),
            };
            match &c.ret {
                Some(t) => me.check_type(&format!("the result of `{}`", c.name), t, v, c.body.span),
                None => v,
            }
        });
        self.callers.pop();
        match out {
            Some(v) => v,
            None => self.too_deep(c.name.as_str(), span),
        }
    }

    /// Says that calls are nested too deeply.
    pub(crate) fn too_deep(&mut self, name: &str, span: Span) -> Value {
        self.fail(
            Diagnostic::error(codes::TOO_DEEP, format!("`{name}` calls itself without end"))
                .label(span, "the call")
                .note("functions are expanded where they are called, so recursion must end before the program runs")
                .help("use a loop: `for t in T carry (x = 0.0) { .. }`"),
        )
    }
}
