//! Takes apart the estimate at a choice whose continuation is called several times with gradients.
//!
//! ```text
//!   r  ->  (sum of the terms that do not depend on s) + sum over lanes of s's program, every k(x) the terms that do, from x
//! ```
//!
//! Where the choice stands in a branch that was not taken, its lane contributes the terms after that branch, run again from the other branch's
//! results: they are the same, and no longer made from this choice.

use super::cost::total;
use super::edit::Edit;
use super::mid::{Mid, MidRandom, Plan, PlanKind};
use super::replay::Continuation;
use super::terms::call;
use crate::expand::add;
use crate::scope::{Align, Flow, Term};
use ppl_core::{Atom, Func, Op};
use ppl_diag::{Code, Diagnostic};

/// The program without its first choice of this kind; `None` where there is none on which the estimate depends.
pub(crate) fn split(f: &Func<Mid>, plans: &[Plan], estimate: usize) -> Result<Option<Func<Mid>>, Diagnostic> {
    let flow = Flow::new(f);
    let result = f.body.results[estimate];
    let all = flow.terms(result);
    let found = flow.choices.iter().find_map(|(v, path, stmt)| match &flow.block_at(path).stmts[*stmt].op {
        Op::Random(MidRandom::Split { plan, args }) if all.iter().any(|t| t.deps.contains_key(v)) => {
            Some((*v, path, *stmt, &plans[*plan], args))
        }
        _ => None,
    });
    let Some((choice, path, stmt, plan, args)) = found else { return Ok(None) };
    let loops = flow.loops(path);
    let PlanKind::Whole { whole, .. } = &plan.kind else { return Ok(None) };
    let again = Continuation::new(f, result, choice, path, stmt, &|_| true);
    if let Some(t) = again.terms.iter().find(|t| t.deps.get(&choice).is_some_and(|al| al.contains(&Align::All))) {
        return Err(coupled(&flow, plan, t, loops.iter().map(|l| l.len).product()));
    }
    let mut e = Edit::new(f, &flow.at);
    let mut rest = Atom::float(0.0);
    for t in all.iter().filter(|t| !t.deps.contains_key(&choice)) {
        let a = total(&mut e, t);
        rest = add(&mut e.b, rest, a);
    }
    let open = e.open(path);
    let lanes: Vec<Atom> = loops.iter().filter_map(|l| e.index.get(&l.index).copied()).collect();
    let args: Vec<Atom> = args.iter().map(|a| e.bring(*a)).collect();
    let value = call(&mut e, whole, &args, Some(&again), &lanes, true);
    let value = e.close(open, value, &mut |e, depth| again.skipped(e, depth, &lanes));
    let value = add(&mut e.b, rest, value);
    let mut results = f.body.results.clone();
    results[estimate] = value;
    Ok(Some(e.finish(results)))
}

fn coupled(flow: &Flow<'_>, plan: &Plan, term: &Term, lanes: usize) -> Diagnostic {
    let span = term
        .atom
        .var()
        .and_then(|v| flow.block_at(&term.path).stmts.iter().find(|s| s.outs.contains(&v)))
        .map_or(ppl_diag::Span::NONE, |s| s.span);
    let label = crate::user_label(&plan.label);
    Diagnostic::error(Code("E0407"), format!("`{label}` cannot be summed one element at a time"))
        .label(plan.span, format!("`{}` over {lanes} elements", plan.strategy))
        .label(span, "this cost depends on all of them together, not as a sum over elements")
        .note("summing over every combination takes a number of runs that is exponential in the number of elements")
        .help("use `by measure_valued` or `by reinforce` for this choice, or an objective that is a sum over elements")
}
