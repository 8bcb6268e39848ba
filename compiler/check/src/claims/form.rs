//! Values as sums of symbols with known coefficients.

use super::{Evidence, Side};
use ppl_core::{GenId, Var};
use std::collections::{BTreeMap, BTreeSet};

/// A symbol, by position in the walk's table.
pub(super) type SymId = usize;

/// `constant + sum of coefficient * symbol`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lin {
    pub(super) constant: f64,
    pub(super) terms: BTreeMap<SymId, f64>,
}

impl Lin {
    pub(super) fn constant(c: f64) -> Lin {
        Lin { constant: c, terms: BTreeMap::new() }
    }

    pub(super) fn of(s: SymId) -> Lin {
        Lin { constant: 0.0, terms: BTreeMap::from([(s, 1.0)]) }
    }

    pub(super) fn add(mut self, other: &Lin, factor: f64) -> Lin {
        self.constant += factor * other.constant;
        for (s, c) in &other.terms {
            let sum = self.terms.entry(*s).or_insert(0.0);
            *sum += factor * c;
            if sum.abs() < 1e-12 {
                self.terms.remove(s);
            }
        }
        self
    }

    pub(super) fn scaled(&self, factor: f64) -> Lin {
        Lin::default().add(self, factor)
    }

    pub(super) fn known(&self) -> Option<f64> {
        self.terms.is_empty().then_some(self.constant)
    }
}

/// What a value depends on that is not fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Root {
    /// Choice of a simulated trace: which simulation, which choice.
    Choice(SymId, usize),
    /// The index of a loop.
    Index(Var),
    /// The data of this step.
    Minibatch,
    /// Randomness that is not followed.
    Unknown,
}

/// A positive random value `exp(shift) * M` where the mean of `M` stands on `side` of `product of evidence^power`.
#[derive(Clone, Debug)]
pub(super) struct Mean {
    pub(super) shift: Lin,
    pub(super) core: Core,
}

/// `M` of a [`Mean`].
#[derive(Clone, Debug)]
pub(super) struct Core {
    /// Powers and evidences.
    pub(super) terms: Vec<(f64, Evidence)>,
    pub(super) side: Side,
    /// Simulations and estimated densities that it is computed from.
    pub(super) uses: BTreeSet<SymId>,
}

/// A log density of a program's trace.
#[derive(Clone, Debug)]
pub(super) struct Scored {
    pub(super) program: GenId,
    /// Where each choice comes from: a choice of a simulated trace, or `None` where it is given.
    pub(super) trace: Vec<Option<(SymId, usize)>>,
    /// Program, arguments and given values; those inside, for a marginal.
    pub(super) identity: Identity,
    /// Identifies program and arguments.
    pub(super) program_key: u64,
    /// What the arguments depend on.
    pub(super) args: BTreeSet<Root>,
    /// What the given values depend on.
    pub(super) given: BTreeSet<Root>,
}

/// A log density of a trace that was just simulated.
#[derive(Clone, Debug)]
pub(super) struct Simulated {
    pub(super) program: GenId,
    pub(super) choices: usize,
    pub(super) program_key: u64,
    /// For a normalised program: its target, and whether it is normalised exactly.
    pub(super) posterior: Option<(Identity, bool)>,
}

/// A program with arguments and given values. A marginal has the evidence of the program inside, so it has its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) program: GenId,
    /// Given choices, by number.
    pub(super) given: Vec<usize>,
    pub(super) key: u64,
}

/// A symbol.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A value of which only its sign may be known.
    Opaque {
        nonnegative: bool,
        array: bool,
    },
    Scored(Scored),
    Simulated(Simulated),
    /// `log M`.
    LogMean(Core),
    /// `exp(shift) * M`.
    Mean(Mean),
    /// Sum of `of` over the lanes of a loop, or a random value of the same mean: from a minibatch of them, or with exact divergences.
    Lanes {
        of: Lin,
        len: usize,
        sampled: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Sym {
    pub(super) kind: Kind,
    /// Loops around its definition.
    pub(super) home: Vec<Var>,
}

/// The side of `u^a`, for an estimate `u` of `m` from `side`, relative to `m^a`.
pub(super) fn power_side(side: Side, a: f64) -> Side {
    let same = (a - 1.0).abs() < 1e-12;
    match side {
        Side::Exact => Side::Exact,
        s if same => s,
        _ if a.abs() < 1e-12 => Side::Exact,
        // Convex and increasing.
        Side::Unbiased | Side::Upper if a > 1.0 => Side::Upper,
        // Convex and decreasing.
        Side::Unbiased | Side::Lower if a < 0.0 => Side::Upper,
        // Concave and increasing.
        Side::Unbiased | Side::Lower if a > 0.0 && a < 1.0 => Side::Lower,
        _ => Side::Biased,
    }
}

/// The side of `log u` relative to `log m`.
pub(super) fn log_side(side: Side) -> Side {
    match side {
        Side::Exact => Side::Exact,
        Side::Unbiased | Side::Lower => Side::Lower,
        Side::Upper | Side::Biased => Side::Biased,
    }
}

impl Core {
    pub(super) fn power(&self, a: f64) -> Core {
        Core {
            terms: self.terms.iter().map(|(c, e)| (c * a, e.clone())).collect(),
            side: power_side(self.side, a),
            uses: self.uses.clone(),
        }
    }

    /// The product, where the factors are independent.
    pub(super) fn times(&self, other: &Core) -> Option<Core> {
        let independent = self.uses.is_disjoint(&other.uses);
        independent.then(|| Core {
            terms: merged(self.terms.iter().chain(&other.terms)),
            side: self.side.and(other.side),
            uses: self.uses.union(&other.uses).copied().collect(),
        })
    }
}

/// Terms of equal evidences added up.
pub(super) fn merged<'a>(terms: impl Iterator<Item = &'a (f64, Evidence)>) -> Vec<(f64, Evidence)> {
    let mut out: Vec<(f64, Evidence)> = Vec::new();
    for (c, e) in terms {
        match out.iter_mut().find(|(_, f)| f == e) {
            Some((d, _)) => *d += c,
            None => out.push((*c, e.clone())),
        }
    }
    out.retain(|(c, _)| c.abs() > 1e-9);
    out
}
