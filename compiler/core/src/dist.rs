//! Distributions and strategies, instantiated at given types.

use crate::{DetId, DistId, EstId, Support, Ty};
use ppl_diag::Span;

/// What a strategy needs of a distribution, and what a distribution may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StrategyNeed {
    /// Draws.
    Sample,
    /// A log density.
    LogDensity,
    /// A `sample` program through which derivatives flow.
    Pathwise,
    /// A finite set of values.
    Finite,
    /// A support that does not move with the parameters.
    FixedSupport,
    /// A distribution function that is smooth in the value and the parameters.
    Cdf,
}

/// A distribution at given parameter types: one event. Its programs are deterministic-stage functions.
///
/// Built from a `dist` declaration of the standard library or the user, or by a combinator (`constrain`).
#[derive(Clone, Debug, PartialEq)]
pub struct DistInst {
    /// Name as users write it, `normal` or `constrain(normal, positive)`.
    pub name: String,
    /// Names and types of the parameters.
    pub params: Vec<(String, Ty)>,
    /// Type of one event.
    pub event: Ty,
    /// Support of one event, where it is known without running.
    pub support: Support,
    /// `(x, params..) -> float`: log density.
    pub log_density: Option<DetId>,
    /// `(params..) -> event`: a draw, through draws of the run-time's generators.
    pub sample: Option<DetId>,
    /// `(x, params..) -> float`: distribution function of a real event.
    pub cdf: Option<DetId>,
    /// Whether derivatives flow through `sample`.
    pub pathwise: bool,
    /// `(i: int, params..) -> event`: the `i`-th value of a finite support (of [`Support::size`] values).
    pub support_value: Option<DetId>,
    /// `(params.., the other's params..) -> float`: the Kullback-Leibler divergence of another distribution from this one, `KL(this || other)`,
    /// for those of the others that the module compares it with.
    pub divergences: Vec<(DistId, DetId)>,
    /// Strategies in the compiler's order of preference where the user names none.
    pub auto: Vec<crate::StrategyId>,
    /// Names of all strategies that take this distribution, for messages.
    pub works_with: Vec<String>,
    /// Its declaration.
    pub span: Span,
}

impl DistInst {
    /// The program for `KL(this || other)`.
    pub fn divergence(&self, other: DistId) -> Option<DetId> {
        self.divergences.iter().find(|(d, _)| *d == other).map(|(_, f)| *f)
    }

    /// What it offers.
    pub fn can(&self, need: StrategyNeed) -> bool {
        match need {
            StrategyNeed::Sample => self.sample.is_some(),
            StrategyNeed::LogDensity => self.log_density.is_some(),
            StrategyNeed::Pathwise => self.pathwise,
            StrategyNeed::Finite => self.support.size().is_some() && self.support_value.is_some(),
            StrategyNeed::FixedSupport => !self.support.is_dynamic(),
            StrategyNeed::Cdf => self.cdf.is_some(),
        }
    }
}

/// What a result of a strategy's function behind the estimate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrategySide {
    /// The next value of the state that the function takes as this parameter.
    Next(usize),
    /// What is minimised as well.
    Also,
}

/// A strategy at one distribution.
///
/// `func` takes the distribution's parameters, then the strategy's own; its body calls [`crate::EstRandom::Continue`];
/// its first result is the estimate that replaces the continuation's, further real scalars are its `sides`.
#[derive(Clone, Debug, PartialEq)]
pub struct StrategyInst {
    /// Name as users write it, `reparam`.
    pub name: String,
    /// The program.
    pub func: EstId,
    /// Whether the value passed to the continuation carries gradients (it is smooth when the parameters are).
    pub pathwise: bool,
    /// Marked biased by its author.
    pub biased: bool,
    /// Whether it continues with a number in place of a truth value, or with a point of the simplex in place of an index.
    pub relaxed: bool,
    /// What the results behind the estimate are.
    pub sides: Vec<StrategySide>,
    /// Its declaration.
    pub span: Span,
}
