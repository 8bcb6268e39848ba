//! Strategies: from an estimate to a surrogate.
//!
//! in:    flat `Est` (no `sim`, `density`, calls), every sample with a named strategy; which result is the estimate
//! out:   `Det`: the same results; the estimate's gradient is an unbiased estimate of the gradient of its expectation
//! keeps: spans, parameters, the number and types of results
//!
//! With `x` the value of choice `s` and `C_s` the cost to go (the estimate's terms that depend on `s`; [`crate::scope`]):
//!
//! ```text
//!   result of s = k(x)        X[ r ] = r                                       (x as the strategy computes it)
//!   result of s = k(x) + e    X[ r ] = r + sum over lanes of e[k(x) := C_s]    calls of k in `e` run the continuation, value-only
//!   result of s = f(k(x))     X[ r ] = r + sum over lanes of (f(C_s) - C_s)
//!   otherwise                 X[ r ] = (r without C_s) + sum over lanes of s's program, every call of k a run of the continuation
//! ```
//!
//! Terms are added after the program, in loops of their own over what the program's loops stack: nothing moves, and a lane's
//! term sees that lane's cost. In a continuation that is run again only what depends on the choice is repeated, at the same
//! sites: calls of one `k` share their random numbers. Value-only runs have no terms of their own, so nested
//! choices cost one run each. Where a run is multiplied by a density that is 0 it is not made.
//!
//! Where several calls are differentiated, scans around the choice are unrolled, and so are loops whose lanes a cost couples: up to 16 steps and lanes
//! (E0502, E0407 beyond). Runs for values only are loops in scans of any length.

mod class;
mod cost;
mod edit;
mod explain;
mod lanes;
mod lower;
pub(crate) mod mid;
mod prune;
mod replay;
mod split;
mod terms;
mod unroll;

use crate::expand::{Cx, Hook};
pub use explain::{ChoiceCosts, CostTerm, Reach, costs};
use lower::{Lower, strategies_of};
pub use mid::SideOf;
use mid::{Mid, MidRandom, Plan, PlanKind};
use ppl_core::{Atom, Builder, Det, Est, EstRandom, Func, Module, Op, Stmt, StrategyUse};
use ppl_diag::{Code, Diagnostic};

/// The surrogate of `func`, whose result number `estimate` is a real scalar: its value is the estimate, its gradient an unbiased gradient estimate.
///
/// Other results pass through with their values. Errors: a strategy's program or its use is not supported (E0404 to E0408, E0502, E0503).
pub fn strategies(module: &Module, func: &Func<Est>, estimate: usize) -> Result<Func<Det>, Vec<Diagnostic>> {
    let (mut f, _) = strategies_with_sides(module, func, estimate, &|_| true)?;
    f.body.results.truncate(func.body.results.len());
    Ok(f)
}

/// As [`strategies`]; what strategies return besides the estimate are further real scalar results, in the order of the list.
///
/// `asked`: whether the author asked for the strategy of the choice at a place. Loops are unrolled for a strategy that was not asked for up to 4 steps and
/// lanes only.
///
/// # Errors
/// As [`strategies`].
pub fn strategies_with_sides(
    module: &Module,
    func: &Func<Est>,
    estimate: usize,
    asked: &dyn Fn(ppl_diag::Span) -> bool,
) -> Result<(Func<Det>, Vec<SideOf>), Vec<Diagnostic>> {
    surrogate(module, func, estimate, true, asked)
}

/// As [`strategies`], with every score multiplied by the whole estimate: what scoping saves is the difference in variance.
///
/// # Errors
/// As [`strategies`].
pub fn strategies_unscoped(module: &Module, func: &Func<Est>, estimate: usize) -> Result<Func<Det>, Vec<Diagnostic>> {
    let (mut f, _) = surrogate(module, func, estimate, false, &|_| true)?;
    f.body.results.truncate(func.body.results.len());
    Ok(f)
}

/// A surrogate, and what its results behind those of `func` are.
type WithSides = (Func<Det>, Vec<SideOf>);

fn surrogate(
    module: &Module,
    func: &Func<Est>,
    estimate: usize,
    scoped: bool,
    asked: &dyn Fn(ppl_diag::Span) -> bool,
) -> Result<WithSides, Vec<Diagnostic>> {
    unresolved(func)?;
    let known = strategies_of(module, func)?;
    let mut func = unroll::unroll(func, &known, asked)?;
    let mut lower = Lower::new(module, &known, false);
    let mut f = lowered(&mut lower, &func)?;
    // Each round removes one choice, and the copies of later ones stand inside fewer choices than before.
    loop {
        match split::split(&f, &lower.plans, estimate) {
            Ok(None) => break,
            Ok(Some(next)) => f = prune::prune(next),
            Err(c) if c.lanes > unroll::limit(asked(c.span)) => return Err(vec![c.error]),
            Err(c) => {
                let Some(next) = unroll::lanes(&func, &c.label, &c.loops) else { return Err(vec![c.error]) };
                func = next;
                lower = Lower::new(module, &known, false);
                f = lowered(&mut lower, &func)?;
            }
        }
        if size(&f.body) > SIZE_LIMIT {
            return Err(vec![too_large(&func, &lower.plans)]);
        }
    }
    let (f, sides) = terms::terms(&f, &lower.plans, estimate, scoped);
    Ok((to_det(&prune::prune(f), &lower.plans), sides))
}

fn lowered(lower: &mut Lower<'_>, func: &Func<Est>) -> Result<Func<mid::Mid>, Vec<Diagnostic>> {
    let f = lower.function(func);
    if lower.errors.is_empty() { Ok(prune::prune(f)) } else { Err(std::mem::take(&mut lower.errors)) }
}

/// `func` with every sample a plain draw: values without gradients of the draws.
///
/// For evaluating objectives, and for posterior draws. Errors: a distribution without a `sample` program (E0406).
pub fn strategies_value_only(module: &Module, func: &Func<Est>) -> Result<Func<Det>, Vec<Diagnostic>> {
    let known = lower::Strategies::new();
    let mut lower = Lower::new(module, &known, true);
    let f = lower.function(func);
    if !lower.errors.is_empty() {
        return Err(lower.errors);
    }
    Ok(to_det(&prune::prune(f), &[]))
}

/// Statements beyond which a program is refused.
const SIZE_LIMIT: usize = 200_000;

fn size(block: &ppl_core::Block<Mid>) -> usize {
    block.stmts.iter().map(|s| 1 + ppl_core::op_blocks(&s.op).into_iter().map(size).sum::<usize>()).sum()
}

fn too_large(func: &Func<Est>, plans: &[Plan]) -> Diagnostic {
    let d = Diagnostic::error(Code("E0408"), "the choices of this program are enumerated in too many combinations")
        .label(func.span, format!("more than {SIZE_LIMIT} operations"));
    let mut spans: Vec<_> = plans.iter().filter(|p| matches!(p.kind, PlanKind::Whole { .. })).map(|p| p.span).collect();
    spans.dedup();
    spans.truncate(8);
    spans
        .into_iter()
        .fold(d, |d, s| d.label(s, "its values are summed"))
        .note("each choice is summed for every value of the ones that it depends on")
        .help("use another strategy for some of them, such as `by local_expectation` or `by reinforce`")
}

fn unresolved(func: &Func<Est>) -> Result<(), Vec<Diagnostic>> {
    fn walk(block: &ppl_core::Block<Est>, out: &mut Vec<Diagnostic>) {
        for s in &block.stmts {
            if let Op::Random(EstRandom::Sample { strategy: StrategyUse::Auto, label, .. }) = &s.op {
                let label = crate::user_label(label);
                out.push(
                    Diagnostic::error(Code("E0403"), format!("no strategy was chosen for `{label}`"))
                        .label(s.span, "this choice needs one")
                        .help("write one: `by reinforce`"),
                );
            }
            ppl_core::op_blocks(&s.op).into_iter().for_each(|b| walk(b, out));
        }
    }
    let mut out = Vec::new();
    walk(&func.body, &mut out);
    if out.is_empty() { Ok(()) } else { Err(out) }
}

/// The deterministic program: marks are values, choices that no estimate depends on are draws.
fn to_det(f: &Func<Mid>, plans: &[Plan]) -> Func<Det> {
    let mut b = Builder::<Det>::new(f.name.clone());
    b.func.span = f.span;
    let args: Vec<Atom> = f.params.iter().map(|p| b.param(f.vars[p.index()].name.clone(), f.ty(*p).clone()).into()).collect();
    let results = Cx::new(f, &args).block(&mut b, &mut ToDet { plans }, &f.body);
    b.finish(results)
}

struct ToDet<'a> {
    plans: &'a [Plan],
}

impl Hook<Mid, Det> for ToDet<'_> {
    fn random(&mut self, b: &mut Builder<Det>, cx: &mut Cx<'_, Mid>, stmt: &Stmt<Mid>, op: &MidRandom) -> Vec<Atom> {
        match op {
            MidRandom::Rng(r) => {
                let mut r = r.clone();
                ppl_core::RandomOp::map_atoms(&mut r, &mut |a| cx.atom(a));
                let outs = cx.declare(stmt, std::iter::empty());
                b.emit(Op::Random(r), outs).into_iter().map(Atom::Var).collect()
            }
            MidRandom::Mark { x, .. } => vec![cx.atom(*x)],
            MidRandom::Split { plan, args } => match &self.plans[*plan].kind {
                PlanKind::Whole { draw, .. } => {
                    let args = cx.atoms(args);
                    Cx::new(draw, &args).block(b, &mut ToDet { plans: self.plans }, &draw.body)
                }
                PlanKind::Term { .. } | PlanKind::Tail => Vec::new(),
            },
            // Replays have replaced every call.
            MidRandom::Again { .. } => vec![Atom::float(0.0)],
        }
    }
}
