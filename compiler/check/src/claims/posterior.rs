//! Log densities of traces that are drawn from a posterior, or scored by the guide that made them.

use super::Side;
use super::form::{Root, Scored, SymId};
use super::walk::Walk;
use super::weigh::{Group, evidence, has_factor, simulated_of};
use ppl_core::Stage;
use std::collections::{BTreeMap, BTreeSet};

/// Log densities of a trace of an exact posterior, `log post = log p - log Z`:
///
/// ```text
/// E[c log p(t, y) + d log post(t) + sum of e log r(t)] = c log Z + sum of -e KL(post || r)      if c + d + sum of e = 0
/// ```
///
/// An upper bound where all `e < 0`, a lower bound where all `e > 0`; exact where there are none. A program `r` whose density is an estimate is low
/// when scored, which moves each of them its own way. Draws of an approximate posterior stand for it with a bias.
pub(super) fn of_posterior<S: Stage>(
    w: &Walk<'_, S>,
    sims: &BTreeSet<SymId>,
    scored: &[(SymId, &Scored, f64)],
    simulated: &BTreeMap<SymId, f64>,
) -> Option<Group> {
    let [sim] = sims.iter().copied().collect::<Vec<_>>()[..] else { return None };
    let q = simulated_of(w, sim)?;
    let (target, exact) = q.posterior.as_ref()?;
    let whole = |p: &Scored| p.trace.iter().flatten().collect::<BTreeSet<_>>().len() == q.choices;
    let (own, others): (Vec<_>, Vec<_>) = scored.iter().copied().partition(|(_, p, _)| p.identity == *target);
    let normalised = |p: &Scored| p.trace.iter().all(Option::is_some) && !has_factor(w.module, p.program);
    if !own.iter().all(|(_, p, _)| whole(p)) || !others.iter().all(|(_, p, _)| whole(p) && normalised(p)) {
        return None;
    }
    let of = |ps: &[(SymId, &Scored, f64)]| ps.iter().map(|(_, _, c)| c).sum::<f64>();
    let (c, e) = (of(&own), of(&others));
    if (c + e + simulated.values().sum::<f64>()).abs() > 1e-9 {
        return None;
    }
    let fixed = |p: &Scored| p.args.iter().chain(&p.given).all(|r| matches!(r, Root::Index(_) | Root::Minibatch));
    let evidence = match own.first() {
        Some((_, p, _)) if fixed(p) => Some(evidence(w, p)),
        Some(_) => return None,
        None => None,
    };
    if others.is_empty() {
        // Weights of an approximate posterior are like any others.
        let uses = sims.clone();
        return exact.then_some(Group::Weight { power: c, evidence, exact: true, uses });
    }
    let mut side = Side::Exact;
    for (_, _, e) in &others {
        side = side.and(if *e < 0.0 { Side::Upper } else { Side::Lower });
    }
    for (_, p, c) in &own {
        if w.module.density_is_estimated(p.program) {
            side = side.and(if *c < 0.0 { Side::Upper } else { Side::Lower });
        }
    }
    let side = if *exact { side } else { Side::Biased };
    Some(Group::Sum { terms: evidence.into_iter().map(|z| (c, z)).collect(), side })
}

/// A target against a guide that scores its own trace anew, where that density is an estimate: high on average, against the bound.
pub(super) fn against_itself<S: Stage>(
    w: &Walk<'_, S>,
    sims: &BTreeSet<SymId>,
    scored: &[(SymId, &Scored, f64)],
) -> Option<Group> {
    let [sim] = sims.iter().copied().collect::<Vec<_>>()[..] else { return None };
    let q = simulated_of(w, sim)?;
    let [(_, a, c), (_, b, d)] = scored else { return None };
    let itself = |p: &Scored| p.program_key == q.program_key && p.trace.iter().enumerate().all(|(j, t)| *t == Some((sim, j)));
    let (p, c) = match (itself(a), itself(b)) {
        (false, true) if (c + d).abs() < 1e-9 => (a, c),
        (true, false) if (c + d).abs() < 1e-9 => (b, d),
        _ => return None,
    };
    let fixed = p.args.iter().chain(&p.given).all(|r| matches!(r, Root::Index(_)));
    let whole = p.trace.iter().flatten().collect::<BTreeSet<_>>().len() == q.choices;
    (fixed && whole).then(|| Group::Sum { terms: vec![(*c, evidence(w, p))], side: Side::Biased })
}
