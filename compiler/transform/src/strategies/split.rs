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
use super::unroll::limit;
use crate::expand::add;
use crate::scope::{Align, Bits, Flow, Term};
use ppl_core::{Atom, Func, Op};
use ppl_diag::{Code, Diagnostic};
use std::collections::BTreeSet;

/// A choice whose lanes a cost couples: they can be summed jointly only.
pub(crate) struct Coupled {
    /// The choice.
    pub(crate) label: String,
    pub(crate) span: ppl_diag::Span,
    /// The loops around it that are coupled: the name of the index and the length.
    pub(crate) loops: BTreeSet<(String, usize)>,
    /// Their iterations together.
    pub(crate) lanes: usize,
    /// What to say where these are too many.
    pub(crate) error: Diagnostic,
}

/// The program without its first choice of this kind, and without those that share no term with it or with each other;
/// `None` where there is none on which the estimate depends.
pub(crate) fn split(f: &Func<Mid>, plans: &[Plan], estimate: usize) -> Result<Option<Func<Mid>>, Box<Coupled>> {
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
        let all = |t: &Term| -> BTreeSet<usize> {
            let aligns = t.deps.get(&choice).into_iter().flatten().enumerate();
            aligns.filter(|(_, a)| **a == Align::All).map(|(level, _)| level).collect()
        };
        if let Some(t) = again.terms.iter().find(|t| !all(t).is_empty()) {
            let levels: BTreeSet<usize> = again.terms.iter().flat_map(all).collect();
            let lanes = levels.iter().map(|n| loops[*n].len).product();
            let name = |n: usize| (f.vars[loops[n].index.index()].name.clone(), loops[n].len);
            let error = coupled(&flow, plan, t, lanes);
            let loops = levels.into_iter().map(name).collect();
            return Err(Box::new(Coupled { label: plan.label.clone(), span: plan.span, loops, lanes, error }));
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
        .note(format!(
            "all combinations are summed for up to {} elements: their number is exponential in that of the elements",
            limit(true)
        ))
        .help("use `by local_expectation`, `by measure_valued` or `by reinforce` for this choice, or an objective that is a sum over elements")
}
