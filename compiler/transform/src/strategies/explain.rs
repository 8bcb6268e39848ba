//! What each choice's score is multiplied by, for people.
//!
//! in:    flat `Est` whose samples have strategies; which result is the estimate
//! out:   for each choice, the estimate's terms that depend on it, with how their lanes correspond, and those that do not
//!
//! Terms are the ones of [`crate::scope`]; those that come from one density are one.

use super::lower::{Lower, strategies_of};
use super::mid::MidRandom;
use super::prune;
use crate::scope::{Align, Flow, Order, Term};
use ppl_core::{Est, Func, Module, Op};
use ppl_diag::{Diagnostic, Span};

/// How the lanes of a cost that a choice sees correspond to the choice's own, in one of the loops around the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// That of the same round.
    Same,
    /// Those of the same and later rounds.
    Later,
    /// Those of the same and earlier rounds (of a loop that runs backwards).
    Earlier,
    /// Those of all rounds.
    All,
}

/// A summand of the estimate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostTerm {
    /// Where it was written: the choice that is scored, or an expression.
    pub span: Span,
    /// Whether it is the log density of a choice, scored there.
    pub density: bool,
}

/// A choice and the costs that it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceCosts {
    /// The choice, `guide.z`.
    pub label: String,
    /// The strategy's name.
    pub strategy: String,
    /// Where it is made.
    pub span: Span,
    /// Whether its gradient flows through its value: nothing is multiplied by a score then, and no costs are listed.
    pub pathwise: bool,
    /// Names of the indices of the loops around it, outermost first.
    pub loops: Vec<String>,
    /// What it sees, with the correspondence in each of its loops.
    pub seen: Vec<(CostTerm, Vec<Reach>)>,
    /// What it does not see.
    pub unseen: Vec<CostTerm>,
}

/// The costs of every choice of `func`, whose result number `estimate` is the estimate.
///
/// # Errors
/// A strategy's program is not supported (as [`super::strategies`]).
pub fn costs(module: &Module, func: &Func<Est>, estimate: usize) -> Result<Vec<ChoiceCosts>, Vec<Diagnostic>> {
    super::unresolved(func)?;
    let known = strategies_of(module, func)?;
    let mut lower = Lower::new(module, &known, false);
    let f = lower.function(func);
    if !lower.errors.is_empty() {
        return Err(lower.errors);
    }
    let f = prune::prune(f);
    let flow = Flow::new(&f);
    let terms: Vec<Term> =
        flow.terms(f.body.results[estimate]).into_iter().filter(|t| !t.stopped && t.atom.var().is_some()).collect();
    let written: Vec<CostTerm> = terms.iter().map(|t| term(&flow, &lower, t)).collect();
    let mut out: Vec<ChoiceCosts> = Vec::new();
    for (label, strategy, span) in &lower.tails {
        let (label, strategy) = (crate::user_label(label).to_string(), strategy.clone());
        out.push(ChoiceCosts {
            label,
            strategy,
            span: *span,
            pathwise: true,
            loops: Vec::new(),
            seen: Vec::new(),
            unseen: Vec::new(),
        });
    }
    for (choice, path, stmt) in &flow.choices {
        let op = &flow.block_at(path).stmts[*stmt].op;
        let Op::Random(MidRandom::Mark { plan, .. } | MidRandom::Split { plan, .. }) = op else { continue };
        let plan = &lower.plans[*plan];
        let mut seen: Vec<(CostTerm, Vec<Reach>)> = Vec::new();
        for (t, w) in terms.iter().zip(&written) {
            let Some(aligns) = t.deps.get(choice) else { continue };
            let reach: Vec<Reach> = aligns.iter().map(|a| self::reach(*a)).collect();
            match seen.iter_mut().find(|(known, _)| known == w) {
                Some((_, wide)) => wide.iter_mut().zip(reach).for_each(|(a, b)| *a = (*a).max(b)),
                None => seen.push((w.clone(), reach)),
            }
        }
        let mut unseen: Vec<CostTerm> = Vec::new();
        for w in &written {
            if !unseen.contains(w) && !seen.iter().any(|(known, _)| known == w) {
                unseen.push(w.clone());
            }
        }
        let loops = flow.loops(path).iter().map(|l| f.vars[l.index.index()].name.clone()).collect();
        let (label, strategy) = (crate::user_label(&plan.label).to_string(), plan.strategy.clone());
        out.push(ChoiceCosts { label, strategy, span: plan.span, pathwise: false, loops, seen, unseen });
    }
    out.sort_by_key(|c| (c.span.file, c.span.start));
    Ok(out)
}

fn reach(a: Align) -> Reach {
    match a {
        Align::Loop(_, o) | Align::Axis(_, o) => match o {
            Order::Same => Reach::Same,
            Order::After => Reach::Later,
            Order::Before => Reach::Earlier,
        },
        Align::All => Reach::All,
    }
}

/// A term as it was written: the scored choice, where the term is a part of a log density.
fn term(flow: &Flow<'_>, lower: &Lower<'_>, t: &Term) -> CostTerm {
    let origin = t.atom.var().and_then(|v| lower.origins.get(&v));
    let own = t.atom.var().and_then(|v| flow.def(v)).map_or(Span::NONE, |(path, i)| flow.block_at(path).stmts[*i].span);
    CostTerm { span: origin.copied().unwrap_or(own), density: origin.is_some() }
}
