//! Claims: what an objective is an estimate of, and from which side.
//!
//! Write `w = p(t, y) / q(t)` for a trace `t` drawn from a program `q` whose choices are exactly the latent choices of the
//! target `p given { y }`, and `Z = p(y)` for its evidence. All rules follow from two facts:
//!
//! ```text
//! E[w] = Z                                                       (q covers p's support)
//! E[f(w)] >= f(E[w])  for convex f,   <=  for concave f          (Jensen)
//!
//! log w                      lower  on log Z                     (the ELBO; -log w: upper on -log Z)
//! mean of K draws w_k        unbiased for Z                      log of it: lower on log Z
//! w^a                        upper  on Z^a for a > 1 and a < 0,  lower for 0 < a < 1
//! log of an estimate of m    lower  where the estimate is exact, unbiased or low;  where it is high: biased
//! u^a of an estimate of m    as for w where the estimate is unbiased or on the same side; else biased
//! sum over a minibatch       unbiased for the sum over the plate (it is scaled); no function of it is
//! sums, positive factors     keep the side; negative factors turn it; terms of different sides: biased
//! products                   of independent factors: the product, from their common side
//! ```
//!
//! Programs whose density is an estimate keep these: it is unbiased for the density when scored, for its reciprocal when
//! simulated, and independent of the rest given the trace, so `E[w] = Z` still holds.
//!
//! The analysis runs on an objective's estimator function before traces are expanded: each value is a sum of symbols (log
//! densities of scored and simulated traces, logarithms of means, opaque values) with known coefficients ([`form`]), which
//! [`walk`] computes statement by statement and [`weigh`] groups into importance weights.

mod form;
mod posterior;
mod programs;
mod show;
mod walk;
mod weigh;

use ppl_core::{Block, Est, Func, Module};

/// From which side the mean of an estimate approaches its quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// It is the quantity, without randomness.
    Exact,
    /// Its mean is the quantity.
    Unbiased,
    /// Its mean is at most the quantity.
    Lower,
    /// Its mean is at least the quantity.
    Upper,
    /// Its mean may lie on either side.
    Biased,
}

impl Side {
    /// Of the negated estimate.
    #[must_use]
    pub fn flipped(self) -> Side {
        match self {
            Side::Lower => Side::Upper,
            Side::Upper => Side::Lower,
            s => s,
        }
    }

    /// Of a sum, or of a product of independent positive estimates.
    #[must_use]
    pub fn and(self, other: Side) -> Side {
        match (self, other) {
            (a, b) if a == b => a,
            (Side::Exact, s) | (s, Side::Exact) => s,
            (Side::Unbiased, s) | (s, Side::Unbiased) => s,
            _ => Side::Biased,
        }
    }

    /// `exact`, `unbiased`, `lower`, `upper` or `biased`.
    pub fn name(self) -> &'static str {
        match self {
            Side::Exact => "exact",
            Side::Unbiased => "unbiased",
            Side::Lower => "lower",
            Side::Upper => "upper",
            Side::Biased => "biased",
        }
    }
}

/// The evidence of a target: the total mass of its density over the choices that are not given.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The program.
    pub program: String,
    /// Addresses of what it is given, in program order.
    pub given: Vec<String>,
    /// The number of lanes, where it is the product over the lanes of a loop.
    pub summed: Option<usize>,
    /// Identifies program, arguments and given values.
    key: u64,
    /// Loops that the arguments or given values depend on.
    lanes: Vec<ppl_core::Var>,
}

impl PartialEq for Evidence {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.summed == other.summed
    }
}

/// What an estimate is about.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// `offset` plus the log evidences, each times its coefficient.
    Log {
        /// Coefficients and evidences.
        terms: Vec<(f64, Evidence)>,
        /// What is added.
        offset: f64,
    },
    /// `exp(offset)` times the evidences, each to its power.
    Scale {
        /// Powers and evidences.
        terms: Vec<(f64, Evidence)>,
        /// Logarithm of the factor.
        offset: f64,
    },
    /// The distance of an upper from a lower bound on the same quantity.
    Gap(
        /// The evidence whose bounds are subtracted.
        Evidence,
    ),
    /// Its own expectation only: nothing is known of it relative to a target.
    Number,
}

/// What an estimate is of, and from which side.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The quantity.
    pub about: About,
    /// From which side its mean approaches it.
    pub side: Side,
}

impl Claim {
    /// The claim of a value of which nothing is known relative to a target.
    pub const NONE: Claim = Claim { about: About::Number, side: Side::Unbiased };

    /// Whether it bounds a log evidence (a sum of them) itself: every coefficient is 1 and nothing is added.
    pub fn log_evidence(&self) -> Option<Vec<&Evidence>> {
        match &self.about {
            About::Log { terms, offset } if !terms.is_empty() && offset.abs() < 1e-9 => {
                terms.iter().all(|(c, _)| (c - 1.0).abs() < 1e-9).then(|| terms.iter().map(|(_, e)| e).collect())
            }
            _ => None,
        }
    }

    /// A power `a` of one evidence times `exp(offset)`: `(a, offset, evidence)`.
    pub fn power(&self) -> Option<(f64, f64, &Evidence)> {
        match &self.about {
            About::Scale { terms, offset } if terms.len() == 1 => terms.first().map(|(a, e)| (*a, *offset, e)),
            _ => None,
        }
    }

    /// Whether both are about the same quantities (with the same coefficients).
    pub fn same_quantity(&self, other: &Claim) -> bool {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1.0 + a.abs());
        let same = |a: &[(f64, Evidence)], b: &[(f64, Evidence)]| {
            a.len() == b.len() && a.iter().all(|(c, e)| b.iter().any(|(d, f)| e == f && close(*c, *d)))
        };
        match (&self.about, &other.about) {
            (About::Log { terms: a, offset: x }, About::Log { terms: b, offset: y })
            | (About::Scale { terms: a, offset: x }, About::Scale { terms: b, offset: y }) => same(a, b) && close(*x, *y),
            (About::Gap(a), About::Gap(b)) => a == b,
            (About::Number, About::Number) => true,
            _ => false,
        }
    }

    /// The evidences it is about.
    pub fn evidences(&self) -> Vec<&Evidence> {
        match &self.about {
            About::Log { terms, .. } | About::Scale { terms, .. } => terms.iter().map(|(_, e)| e).collect(),
            About::Gap(e) => vec![e],
            About::Number => Vec::new(),
        }
    }
}

/// The claim of the first result of an estimator function, a real scalar.
pub(crate) fn claim(module: &Module, func: &Func<Est>) -> Claim {
    let mut w = walk::Walk::new(module, func);
    w.block(&func.body);
    let Some(result) = func.body.results.first() else { return Claim::NONE };
    let l = w.lin(*result);
    weigh::claim(&w, &l, !random(module, &func.body))
}

/// The claim of a value of a function under construction: `blocks` are its statements so far, `loops` the index variables of the loops around.
pub(crate) fn claim_in<S: ppl_core::Stage>(
    module: &Module,
    func: &Func<S>,
    blocks: &[&[ppl_core::Stmt<S>]],
    loops: &[ppl_core::Var],
    value: ppl_core::Atom,
) -> Claim {
    let mut w = walk::Walk::new(module, func);
    w.enter(loops);
    blocks.iter().for_each(|b| w.stmts(b));
    let l = w.lin(value);
    weigh::claim(&w, &l, false)
}

/// Whether two values of a function under construction are computed from different draws.
pub(crate) fn independent_in<S: ppl_core::Stage>(
    module: &Module,
    func: &Func<S>,
    blocks: &[&[ppl_core::Stmt<S>]],
    loops: &[ppl_core::Var],
    (a, b): (ppl_core::Atom, ppl_core::Atom),
) -> bool {
    let mut w = walk::Walk::new(module, func);
    w.enter(loops);
    blocks.iter().for_each(|b| w.stmts(b));
    w.independent(a, b)
}

fn random(module: &Module, b: &Block<Est>) -> bool {
    let mut found = false;
    ppl_core::each_stmt(b, &mut |s| {
        found |= match &s.op {
            ppl_core::Op::Minibatch { .. } => true,
            ppl_core::Op::Random(ppl_core::EstRandom::Density { callee, .. }) => module.subsampled(*callee),
            ppl_core::Op::Random(r) => !matches!(r, ppl_core::EstRandom::LogDensity { .. }),
            _ => false,
        };
    });
    found
}
