//! What may be done with estimates: sums, multiples, products of independent ones, changes of shape.

use crate::claims::{About, Claim, Side};
use crate::codes;
use crate::func::FnElab;
use crate::stage::ElabStage;
use crate::value::{Arr, Value};
use ppl_core::{Atom, EstRandom, GenId, Op, Prim, RandomOp, RandomView, Var};
use ppl_diag::{Diagnostic, Span};
use std::collections::{HashMap, HashSet};

/// Built-in functions that are linear in each argument, or only change shapes: an estimate in, an estimate out.
const LINEAR: &[&str] = &[
    "sum",
    "mean",
    "cumsum",
    "reverse",
    "transpose",
    "reshape",
    "concat",
    "stack",
    "real",
    "stop",
    "full",
    "dot",
    "matmul",
    "outer",
    "diag",
];
/// Those that only look at the shape, or take estimates for what they are.
const SHAPES: &[&str] = &["length", "size", "shape"];

impl<S: ElabStage> FnElab<'_, S> {
    /// Refuses an estimate where a number is needed; true if it is one.
    pub(crate) fn refuse_estimate(&mut self, a: &Arr, what: &str, span: Span) -> bool {
        if a.estimate {
            if let Some(d) = self.of_minibatch(a.atom) {
                self.report(d);
                return true;
            }
            self.report(
                Diagnostic::error(codes::NONLINEAR_ESTIMATE, format!("{what} can't be an estimate"))
                    .label(span, "an estimate: a random value whose mean is the expectation")
                    .note("what is computed from it here is not linear, so its mean would not be that of the expectation")
                    .help("compute it inside the `expect { }`, if that is what you mean"),
            );
        }
        a.estimate
    }

    /// Estimates among the arguments of a built-in function: whether its result is one. `None` where that is refused.
    pub(crate) fn builtin_estimates(&mut self, name: &str, args: &[(Value, Span)]) -> Option<bool> {
        let found: Vec<(Arr, Span)> = args
            .iter()
            .filter_map(|(v, s)| match v {
                Value::Array(a) if a.estimate => Some((a.clone(), *s)),
                _ => None,
            })
            .collect();
        let Some((first, at)) = found.first() else { return Some(false) };
        if SHAPES.contains(&name) {
            return Some(false);
        }
        let joins = matches!(name, "concat" | "stack");
        if LINEAR.contains(&name) && (joins || found.len() == 1) {
            return Some(true);
        }
        self.refuse_estimate(first, &format!("an argument of `{name}`"), *at);
        None
    }

    /// Estimates add, scale, and nothing else (LANGUAGE rule: estimators).
    pub(crate) fn check_estimates(&mut self, prim: Prim, args: &[Arr], spans: &[Span], span: Span) -> Option<()> {
        let count = args.iter().filter(|a| a.estimate).count();
        let fine = match prim {
            _ if count == 0 => true,
            Prim::Add | Prim::Sub | Prim::Neg => true,
            Prim::Mul => count == 1 || self.independent(&args[0], &args[1]),
            Prim::Div => count == 1 && args[0].estimate,
            _ => false,
        };
        if fine {
            return Some(());
        }
        if let Some(d) = args.iter().filter(|a| a.estimate).find_map(|a| self.of_minibatch(a.atom)) {
            self.report(d);
            return None;
        }
        let at = args.iter().position(|a| a.estimate).and_then(|i| spans.get(i).copied()).unwrap_or(span);
        let name = symbol(prim);
        let compares = matches!(prim, Prim::Lt | Prim::Le | Prim::Gt | Prim::Ge | Prim::Eq | Prim::Ne | Prim::Max | Prim::Min);
        if compares && count == 2 {
            self.compared(prim, args, spans, span);
            return None;
        }
        let mut d = Diagnostic::error(codes::NONLINEAR_ESTIMATE, format!("`{name}` of an estimate is biased"))
            .label(span, format!("`{name}` is not linear"))
            .label(at, "an estimate: a random value whose mean is the expectation");
        d = match prim {
            Prim::Log => {
                let d = d.note("the mean of `log(estimate)` is below `log` of the mean");
                match self.log_of(&args[0]) {
                    Some(what) => d.note(what),
                    None => d,
                }
                .help(
                    "move the logarithm inside: `expect { log_mean_exp([for k in 5 { .. }]) }` is a lower bound that tightens with the number of draws",
                )
            }
            Prim::Mul => d
                .note(
                    "a product of estimates is unbiased only where they are independent; these are computed from the same draws",
                )
                .help("write each factor as a call of its own: two calls of an objective draw independently"),
            _ => d.help("compute it inside the `expect { }`, if that is what you mean"),
        };
        self.report(d);
        None
    }

    /// Why a value that comes from the log density of a program over a minibatch can only be added up, where it does.
    pub(crate) fn of_minibatch(&self, a: Atom) -> Option<Diagnostic> {
        let mut defs: HashMap<Var, &Op<S>> = HashMap::new();
        for block in self.statements() {
            for s in block {
                defs.extend(s.outs.iter().map(|v| (*v, &s.op)));
                for b in ppl_core::op_blocks(&s.op) {
                    ppl_core::each_stmt(b, &mut |s| defs.extend(s.outs.iter().map(|v| (*v, &s.op))));
                }
            }
        }
        let (mut seen, mut open) = (HashSet::new(), vec![a]);
        while let Some(a) = open.pop() {
            let Some(op) = a.var().filter(|v| seen.insert(*v)).and_then(|v| defs.get(&v)) else { continue };
            if let Op::Random(r) = op
                && let RandomView::Est(EstRandom::LogWeight(w)) = r.view()
            {
                return Some(match [w.target, w.guide].into_iter().find_map(|g| Some((g, self.s.module.subsampled_at(g)?))) {
                    Some((g, at)) => self.nonlinear_in_minibatch(g, at),
                    None => self.nonlinear_in_divergences(),
                });
            }
            if let Op::Random(r) = op
                && let RandomView::Est(EstRandom::Sim { callee, .. } | EstRandom::Density { callee, .. }) = r.view()
                && let Some(at) = self.s.module.subsampled_at(*callee)
            {
                return Some(self.nonlinear_in_minibatch(*callee, at));
            }
            open.extend(ppl_core::op_atoms(op));
            ppl_core::op_blocks(op).into_iter().for_each(|b| open.extend(&b.results));
        }
        None
    }

    /// The outermost call from the user's text: its name in messages, and its place.
    fn user_call(&self) -> (String, Option<Span>) {
        let of = self.callers.iter().rev().find(|(_, at)| !self.s.in_library(*at));
        of.map_or(("this function".to_string(), None), |(n, at)| (format!("`{n}`"), Some(*at)))
    }

    fn nonlinear_in_minibatch(&self, program: GenId, at: Span) -> Diagnostic {
        let program = &self.s.module.generative(program).name;
        let (what, call) = self.user_call();
        let mut d = Diagnostic::error(
            codes::NONLINEAR_ESTIMATE,
            format!("{what} of `{program}` would be biased: its log density is estimated from a minibatch"),
        );
        if let Some(at) = call {
            d = d.label(at, "not linear in the log density");
        }
        d.label(at, "stands for the whole plate, and is scaled")
            .note("the mean over minibatches is the log density; a function of it has another mean")
            .help("use `elbo`, or one objective for each datum: `sum(for n in minibatch(N, 64) { iwelbo(..) })`")
    }

    fn nonlinear_in_divergences(&self) -> Diagnostic {
        let (what, call) = self.user_call();
        let mut d = Diagnostic::error(
            codes::NONLINEAR_ESTIMATE,
            format!("{what} of `expected_log_weight` would be biased: it has the mean of the log weight, not its distribution"),
        );
        if let Some(at) = call {
            d = d.label(at, "not linear in the log weight");
        }
        d.note("exact divergences are means over choices; functions of them have other means than functions of the weight")
            .help("use log densities: `log_density(p, t) - log_density(q, t)`")
    }

    /// What an estimate of the function under construction is of.
    pub(crate) fn claim_of(&self, a: &Arr) -> Claim {
        let loops: Vec<ppl_core::Var> = self.loops.iter().map(|l| l.index).collect();
        crate::claims::claim_in(&self.s.module, &self.b.func, &self.statements(), &loops, a.atom)
    }

    /// Whether two estimates of the function under construction are independent.
    fn independent(&self, a: &Arr, b: &Arr) -> bool {
        let loops: Vec<ppl_core::Var> = self.loops.iter().map(|l| l.index).collect();
        crate::claims::independent_in(&self.s.module, &self.b.func, &self.statements(), &loops, (a.atom, b.atom))
    }

    /// What the logarithm of an estimate would be.
    fn log_of(&self, a: &Arr) -> Option<String> {
        let claim = self.claim_of(a);
        let About::Scale { terms, offset } = &claim.about else { return None };
        let log = Claim { about: About::Log { terms: terms.clone(), offset: *offset }, side: claim.side };
        Some(match claim.side {
            Side::Exact | Side::Unbiased | Side::Lower => {
                format!("here: {claim}; its logarithm would be low, a {}", Claim { side: Side::Lower, ..log })
            }
            Side::Upper | Side::Biased => format!(
                "here: {claim}; a logarithm is low on average, against that direction: {}",
                Claim { side: Side::Biased, ..log }
            ),
        })
    }

    /// Says what two estimates are that were compared.
    fn compared(&mut self, prim: Prim, args: &[Arr], spans: &[Span], span: Span) {
        let claims: Vec<Claim> = args.iter().map(|a| self.claim_of(a)).collect();
        let mut d = Diagnostic::error(codes::ESTIMATES_COMPARED, format!("`{}` compares two estimates", symbol(prim)))
            .label(span, "the result changes from draw to draw");
        for (c, at) in claims.iter().zip(spans) {
            d = d.label(*at, format!("an estimate: {c}"));
        }
        if let [a, b] = &claims[..] {
            if !a.same_quantity(b) && !a.evidences().is_empty() && !b.evidences().is_empty() {
                d = d.note("they are about different quantities");
            } else if a.side != b.side && !a.evidences().is_empty() {
                d = d.note("they lie on different sides of the same quantity");
            }
        }
        self.report(d.help(
            "report both after the fit, with their directions and errors: `using adam(0.01), report(iwelbo(5))`, or `--report 'iwelbo(5)'`",
        ));
    }
}

/// A primitive as it is written.
fn symbol(p: Prim) -> &'static str {
    match p {
        Prim::Add => "+",
        Prim::Sub => "-",
        Prim::Mul => "*",
        Prim::Div => "/",
        Prim::Pow | Prim::Square => "^",
        Prim::Lt => "<",
        Prim::Le => "<=",
        Prim::Gt => ">",
        Prim::Ge => ">=",
        Prim::Eq => "==",
        Prim::Ne => "!=",
        p => p.name(),
    }
}
