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
use super::replay::Replays;
use super::terms::{Again, call};
use crate::expand::add;
use crate::scope::{Align, Bits, Flow, Term};
use ppl_core::{Atom, Func, Op};
use ppl_diag::{Code, Diagnostic};

/// The program without its first choice of this kind, and without those that share no term with it or with each other;
/// `None` where there is none on which the estimate depends.
pub(crate) fn split(f: &Func<Mid>, plans: &[Plan], estimate: usize) -> Result<Option<Func<Mid>>, Diagnostic> {
    let flow = Flow::new(f);
    let result = f.body.results[estimate];
    let all = flow.terms(result);
    let reaching = flow.reaching(&all);
    let mut found = Vec::new();
    let (mut taken, mut left) = (Bits::default(), Bits::default());
    for (number, (choice, path, stmt)) in flow.choices.iter().enumerate() {
        let Op::Random(MidRandom::Split { plan, args }) = &flow.block_at(path).stmts[*stmt].op else { continue };
        if reaching[number].is_empty() {
            continue;
        }
        if !taken.meets(&reaching[number]) && !flow.of((*choice).into()).all().meets(&left) {
            taken.union(&reaching[number]);
            found.push((*choice, path, *stmt, &plans[*plan], args));
        } else {
            left.insert(number);
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    let replays = Replays::new(f, result, |_| true);
    let mut e = Edit::new(f, &flow.at);
    let mut sum = Atom::float(0.0);
    for (_, t) in all.iter().enumerate().filter(|(n, _)| !taken.contains(*n)) {
        let a = total(&mut e, t);
        sum = add(&mut e.b, sum, a);
    }
    for (choice, path, stmt, plan, args) in found {
        let PlanKind::Whole { whole, .. } = &plan.kind else { continue };
        let loops = flow.loops(path);
        let again = replays.of(choice, path, stmt);
        if let Some(t) = again.terms.iter().find(|t| t.deps.get(&choice).is_some_and(|al| al.contains(&Align::All))) {
            return Err(coupled(&flow, plan, t, loops.iter().map(|l| l.len).product()));
        }
        let again = Again::Run(Box::new(again), true);
        let open = e.open(path);
        let lanes: Vec<Atom> = loops.iter().filter_map(|l| e.index.get(&l.index).copied()).collect();
        let args: Vec<Atom> = args.iter().map(|a| e.bring(*a)).collect();
        let value = call(&mut e, whole, &args, &again, &lanes);
        let value = e.close(open, value, &mut |e, depth| match &again {
            Again::Run(c, _) => c.skipped(e, depth, &lanes),
            Again::None | Again::Lane(_) => Atom::float(0.0),
        });
        sum = add(&mut e.b, sum, value);
    }
    let mut results = f.body.results.clone();
    results[estimate] = sum;
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
