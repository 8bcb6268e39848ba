//! Groups log densities into importance weights, and says what the mean of a sum of symbols is.
//!
//! A group of scored and simulated log densities with coefficients `a` and `-a` is `a log w` where every choice of every simulated trace is
//! scored exactly once, and the programs that score can be ordered so that each is normalised over its own choices
//! once those that come after it are summed out; at most one of them is given values. Then `E[w]` is the evidence of that one.

use super::form::{Core, Identity, Kind, Lin, Mean, Root, Scored, Simulated, SymId, log_side, merged, power_side};
use super::posterior::{against_itself, of_posterior};
use super::walk::Walk;
use super::{About, Claim, Evidence, Side};
use ppl_core::{Block, Gen, GenId, GenRandom, IntegralKind, Module, Op, Stage, Var};
use std::collections::{BTreeMap, BTreeSet};

/// A group of log densities.
pub(super) enum Group {
    /// `a log w` with `E[w]` the evidence (1 where there is none). `exact`: `w` is not random.
    Weight { power: f64, evidence: Option<Evidence>, exact: bool, uses: BTreeSet<SymId> },
    /// A sum whose mean approaches the terms from a side.
    Sum { terms: Vec<(f64, Evidence)>, side: Side },
    /// Nothing is known of it.
    Other,
}

/// `exp(l)` as a mean, if its logarithm is made of weights and logarithms of means.
pub(super) fn exponential<S: Stage>(w: &Walk<'_, S>, l: &Lin) -> Option<Mean> {
    let mut shift = Lin::constant(l.constant);
    let mut densities = Vec::new();
    let mut core: Option<Core> = None;
    let mut times = |c: Core| -> Option<()> {
        core = Some(match core.take() {
            None => c,
            Some(d) => d.times(&c)?,
        });
        Some(())
    };
    for (s, c) in &l.terms {
        match &w.syms[*s].kind {
            Kind::Opaque { .. } => {
                shift.terms.insert(*s, *c);
            }
            Kind::Scored(_) | Kind::Simulated(_) => densities.push((*s, *c)),
            Kind::LogMean(m) => times(m.power(*c))?,
            Kind::Mean(_) => return None,
            // The exponential of an estimate is none of the exponential.
            Kind::Lanes { sampled: true, .. } => return None,
            Kind::Lanes { of, len, .. } => {
                let (offset, one) = lane(w, of, *len, *c, &w.syms[*s].home)?;
                shift.constant += offset;
                times(one)?;
            }
        }
    }
    let subsampled = |s: SymId| match &w.syms[s].kind {
        Kind::Scored(p) => w.module.subsampled(p.program),
        Kind::Simulated(q) => w.module.subsampled(q.program),
        _ => false,
    };
    // The log density is estimated, not the density.
    if densities.iter().any(|(s, _)| subsampled(*s)) {
        return None;
    }
    for g in groups(w, &densities) {
        match g {
            Group::Weight { power, evidence, exact, uses } => {
                let base = if exact { Side::Exact } else { Side::Unbiased };
                let terms = evidence.into_iter().map(|e| (power, e)).collect();
                times(Core { terms, side: power_side(base, power), uses })?;
            }
            Group::Sum { .. } | Group::Other => return None,
        }
    }
    core.map(|core| Mean { shift, core })
}

/// `exp` of a sum over independent lanes: the product of `exp(c of)`.
fn lane<S: Stage>(w: &Walk<'_, S>, of: &Lin, len: usize, c: f64, outside: &[Var]) -> Option<(f64, Core)> {
    let mean = exponential(w, &of.scaled(c))?;
    let known = mean.shift.known()?;
    // Lanes that share a simulation are not independent.
    let inner = of.terms.keys().map(|s| &w.syms[*s].home).max_by_key(|h| h.len())?;
    if mean.core.uses.iter().any(|s| w.syms[*s].home.len() < inner.len()) {
        return None;
    }
    let core = Core { terms: summed(&mean.core.terms, len, outside), ..mean.core };
    Some((known * len as f64, core))
}

/// Terms added up over `len` lanes; `outside` are the loops around the sum.
fn summed(terms: &[(f64, Evidence)], len: usize, outside: &[Var]) -> Vec<(f64, Evidence)> {
    let sum = |(c, e): &(f64, Evidence)| {
        let same = e.lanes.iter().all(|v| outside.contains(v));
        let lanes = e.lanes.iter().copied().filter(|v| outside.contains(v)).collect();
        if same {
            (c * len as f64, e.clone())
        } else {
            (*c, Evidence { summed: Some(len * e.summed.unwrap_or(1)), lanes, ..e.clone() })
        }
    };
    terms.iter().map(sum).collect()
}

/// A part of a sum: it approaches `offset + sum of c log Z` from `side`.
struct Part {
    terms: Vec<(f64, Evidence)>,
    offset: f64,
    side: Side,
}

/// What the mean of `l` is, part by part; nothing where some part's is not known.
fn parts<S: Stage>(w: &Walk<'_, S>, l: &Lin) -> Option<Vec<Part>> {
    let mut out = vec![Part { terms: Vec::new(), offset: l.constant, side: Side::Exact }];
    let turned = |side: Side, c: f64| if c < 0.0 { side.flipped() } else { side };
    let mut densities = Vec::new();
    for (s, c) in &l.terms {
        match &w.syms[*s].kind {
            Kind::Opaque { nonnegative: true, array: false } => {
                out.push(Part { terms: Vec::new(), offset: 0.0, side: turned(Side::Upper, *c) });
            }
            Kind::Opaque { .. } | Kind::Mean(_) => return None,
            Kind::Scored(_) | Kind::Simulated(_) => densities.push((*s, *c)),
            Kind::LogMean(m) => {
                let terms = m.terms.iter().map(|(a, e)| (a * c, e.clone())).collect();
                out.push(Part { terms, offset: 0.0, side: turned(log_side(m.side), *c) });
            }
            Kind::Lanes { of, len, sampled } => {
                let given = if *sampled { Side::Unbiased } else { Side::Exact };
                for p in parts(w, of)? {
                    let terms = summed(&p.terms, *len, &w.syms[*s].home).into_iter().map(|(a, e)| (a * c, e)).collect();
                    out.push(Part { terms, offset: p.offset * c * *len as f64, side: turned(p.side.and(given), *c) });
                }
            }
        }
    }
    for g in groups(w, &densities) {
        match g {
            Group::Weight { power, evidence, exact, .. } => {
                let side = if exact { Side::Exact } else { turned(Side::Lower, power) };
                out.push(Part { terms: evidence.into_iter().map(|e| (power, e)).collect(), offset: 0.0, side });
            }
            Group::Sum { terms, side } => out.push(Part { terms, offset: 0.0, side }),
            Group::Other => return None,
        }
    }
    Some(out)
}

/// What a value's mean is.
pub(super) fn claim<S: Stage>(w: &Walk<'_, S>, l: &Lin, fixed: bool) -> Claim {
    let none = Claim { about: About::Number, side: if fixed { Side::Exact } else { Side::Unbiased } };
    if let [(s, c)] = l.terms.iter().collect::<Vec<_>>()[..]
        && l.constant == 0.0
        && *c > 0.0
        && let Kind::Mean(m) = &w.syms[*s].kind
    {
        return match m.shift.known() {
            Some(k) if !m.core.terms.is_empty() => {
                let offset = k + c.ln();
                let offset = if offset.abs() < 1e-9 { 0.0 } else { offset };
                Claim { about: About::Scale { terms: merged(m.core.terms.iter()), offset }, side: m.core.side }
            }
            _ => none,
        };
    }
    let Some(parts) = parts(w, l) else { return none };
    let offset = parts.iter().map(|p| p.offset).sum::<f64>();
    let side = parts.iter().fold(Side::Exact, |side, p| side.and(p.side));
    let all: Vec<&(f64, Evidence)> = parts.iter().flat_map(|p| &p.terms).collect();
    let terms = merged(all.iter().copied());
    match (all.first(), terms.is_empty()) {
        (None, _) => none,
        (Some((_, e)), true) if side == Side::Upper && offset.abs() < 1e-9 => Claim { about: About::Gap(e.clone()), side },
        _ => Claim { about: About::Log { terms, offset }, side },
    }
}

/// Simulations, and the log densities that are connected by them, with coefficients.
type Joined = (BTreeSet<SymId>, Vec<(SymId, f64)>);

/// Connects log densities by the simulations that they share.
fn groups<S: Stage>(w: &Walk<'_, S>, densities: &[(SymId, f64)]) -> Vec<Group> {
    let sims = |s: SymId| -> BTreeSet<SymId> {
        match &w.syms[s].kind {
            Kind::Scored(p) => p.trace.iter().flatten().map(|(s, _)| *s).collect(),
            _ => BTreeSet::from([s]),
        }
    };
    // A program without choices has one trace, whose density is 1.
    let nothing = |s: SymId| simulated_of(w, s).is_some_and(|q| q.choices == 0 && !has_factor(w.module, q.program));
    let mut out: Vec<Joined> = Vec::new();
    for (s, c) in densities.iter().filter(|(s, _)| !nothing(*s)) {
        let (mut mine, mut members) = (sims(*s), vec![(*s, *c)]);
        let (joined, apart): (Vec<Joined>, Vec<Joined>) = out.into_iter().partition(|(set, _)| !set.is_disjoint(&mine));
        out = apart;
        for (set, m) in joined {
            mine.extend(set);
            members.extend(m);
        }
        out.push((mine, members));
    }
    out.into_iter().map(|(sims, members)| weight(w, &sims, members).unwrap_or(Group::Other)).collect()
}

/// A connected group as a weight.
fn weight<S: Stage>(w: &Walk<'_, S>, sims: &BTreeSet<SymId>, members: Vec<(SymId, f64)>) -> Option<Group> {
    let mut scored: Vec<(SymId, &Scored, f64)> = Vec::new();
    let mut simulated: BTreeMap<SymId, f64> = BTreeMap::new();
    for (s, c) in &members {
        match &w.syms[*s].kind {
            Kind::Simulated(_) => *simulated.entry(*s).or_insert(0.0) += c,
            // A guide's own density of its own trace is what simulating it gave (where that is exact).
            Kind::Scored(p) => match own(w, p) {
                Some(sim) => *simulated.entry(sim).or_insert(0.0) += c,
                None => scored.push((*s, p, *c)),
            },
            _ => return None,
        }
    }
    simulated.retain(|_, c| c.abs() > 1e-12);
    if let Some(g) = of_posterior(w, sims, &scored, &simulated).or_else(|| against_itself(w, sims, &scored)) {
        return Some(g);
    }
    let power = scored.first()?.2;
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    if scored.iter().any(|(_, _, c)| !close(*c, power)) || simulated.values().any(|c| !close(*c, -power)) {
        return None;
    }
    if simulated.keys().ne(sims.iter()) {
        return None;
    }
    let mut covered = BTreeSet::new();
    for (_, p, _) in &scored {
        for choice in p.trace.iter().flatten() {
            if !covered.insert(*choice) {
                return None;
            }
        }
    }
    let wanted: usize = sims.iter().map(|s| simulated_of(w, *s).map_or(0, |q| q.choices)).sum();
    if covered.len() != wanted {
        return None;
    }
    let evidence = total(w, &scored)?;
    let estimates: Vec<SymId> =
        scored.iter().filter(|(_, p, _)| w.module.density_is_estimated(p.program)).map(|(s, _, _)| *s).collect();
    let exact = sims.is_empty() && estimates.is_empty();
    if exact && scored.iter().any(|(_, p, _)| w.module.subsampled(p.program)) {
        return Some(Group::Sum { terms: evidence.into_iter().map(|e| (power, e)).collect(), side: Side::Unbiased });
    }
    let uses = sims.iter().copied().chain(estimates).collect();
    Some(Group::Weight { power, evidence, exact, uses })
}

pub(super) fn simulated_of<'w, S: Stage>(w: &'w Walk<'_, S>, s: SymId) -> Option<&'w Simulated> {
    match &w.syms[s].kind {
        Kind::Simulated(q) => Some(q),
        _ => None,
    }
}

/// The simulation whose whole trace this scores under the same program with an exact density.
fn own<S: Stage>(w: &Walk<'_, S>, p: &Scored) -> Option<SymId> {
    let (sim, _) = (*p.trace.first()?)?;
    let q = simulated_of(w, sim)?;
    let whole = q.choices == p.trace.len() && p.trace.iter().enumerate().all(|(j, c)| *c == Some((sim, j)));
    (whole && q.program_key == p.program_key && !w.module.density_is_estimated(q.program)).then_some(sim)
}

/// The total mass of the product of densities over their choices that are not given; `Some(None)` where it is 1.
fn total<S: Stage>(w: &Walk<'_, S>, scored: &[(SymId, &Scored, f64)]) -> Option<Option<Evidence>> {
    let mut rest: Vec<&Scored> = scored.iter().map(|(_, p, _)| *p).collect();
    // A marginal may have given values inside.
    let normalised =
        |p: &Scored| p.trace.iter().all(Option::is_some) && p.identity.given.is_empty() && !has_factor(w.module, p.program);
    let reads = |p: &Scored, of: &Scored| {
        p.args.iter().chain(&p.given).any(|r| match r {
            Root::Choice(s, j) => of.trace.contains(&Some((*s, *j))),
            _ => false,
        })
    };
    // Summing out the choices of a normalised program on which no other depends leaves the others.
    while let Some(k) =
        (0..rest.len()).find(|k| normalised(rest[*k]) && rest.iter().enumerate().all(|(i, p)| i == *k || !reads(p, rest[*k])))
    {
        rest.remove(k);
    }
    match rest[..] {
        [] => Some(None),
        [p] => {
            let fixed = p.args.iter().chain(&p.given).all(|r| matches!(r, Root::Index(_) | Root::Minibatch));
            fixed.then(|| Some(evidence(w, p)))
        }
        _ => None,
    }
}

pub(super) fn evidence<S: Stage>(w: &Walk<'_, S>, p: &Scored) -> Evidence {
    let Identity { program, given, key } = &p.identity;
    let choices = w.module.choices(*program);
    let given = given.iter().filter_map(|j| choices.get(*j)).map(|c| c.addr.clone()).collect();
    let mut lanes = Walk::<S>::loops(&p.args);
    lanes.extend(Walk::<S>::loops(&p.given));
    Evidence { program: w.module.generative(*program).name.clone(), given, summed: None, key: *key, lanes }
}

/// Whether a program multiplies its density by numbers, so that its mass may not be 1.
pub(super) fn has_factor(m: &Module, id: GenId) -> bool {
    fn within(m: &Module, b: &Block<Gen>) -> bool {
        let mut found = false;
        ppl_core::each_stmt(b, &mut |s| {
            found |= match &s.op {
                Op::Random(GenRandom::Factor(_)) => true,
                Op::Random(GenRandom::Call { callee, .. }) => has_factor(m, *callee),
                Op::Random(GenRandom::Integral(i)) => i.kind != IntegralKind::Normalize && has_factor(m, i.callee),
                _ => false,
            };
        });
        found
    }
    within(m, &m.generative(id).body)
}
