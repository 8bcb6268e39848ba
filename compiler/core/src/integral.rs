//! Programs made from programs: marginals and normalised targets.

use crate::{Atom, DistId, GenId, StrategyUse};

/// What an [`Integral`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum IntegralKind {
    /// `marginal { x, y } of p`: the choices with these numbers stay, all others that are not given are integrated out.
    Marginal {
        /// Numbers of choices ([`crate::Module::choices`] of the program), ascending.
        keep: Vec<usize>,
    },
    /// `normalize p given { .. }`: the posterior of all choices that are not given.
    Normalize,
}

/// How the integral is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Weighted draws: `importance` of a marginal, `sir` of a normalised program.
    Importance,
    /// Weighted draws that are resampled after each step of the program's scan.
    Smc,
    /// Exactly, by summing finite choices.
    Enumeration,
}

/// What draws the choices that are integrated out.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Its choices are those that it proposes.
    pub callee: GenId,
    /// Its arguments, after those of the trace.
    pub args: Vec<Atom>,
    /// Whether its first parameters are the kept choices (then the given ones), in order.
    pub takes_trace: bool,
}

/// The index that resampling draws, a choice with a strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampling {
    /// Categorical with as many logits as there are weights.
    pub dist: DistId,
    /// Its strategy.
    pub strategy: StrategyUse,
}

/// A generative program whose density is the integral of another's: `marginal { .. } of p by a`, `normalize p by a`.
///
/// Its choices are those that are kept, at their addresses in `callee`. Where the algorithm is not [`Algorithm::Enumeration`], its density is an
/// estimate: unbiased when a trace is scored, its reciprocal unbiased when it is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Integral {
    /// Marginal or normalised.
    pub kind: IntegralKind,
    /// The program inside.
    pub callee: GenId,
    /// Its arguments.
    pub args: Vec<Atom>,
    /// Choices with given values, by number, ascending.
    pub given: Vec<(usize, Atom)>,
    /// How.
    pub algorithm: Algorithm,
    /// Number of weights, at least 1.
    pub count: usize,
    /// What proposes; where absent, the program itself, run with the kept (or given) choices scored.
    pub proposal: Option<Proposal>,
    /// Where traces are resampled.
    pub index: Option<Resampling>,
    /// By enumeration of a normalised program: how the number of the value of each summed choice is drawn, in the order of the choices;
    /// then, for the states of loops that choose several in a step, by their number.
    pub sites: Vec<Resampling>,
}

impl Integral {
    /// Every operand, in order.
    pub fn atoms(&self) -> Vec<Atom> {
        let mut out = self.args.clone();
        out.extend(self.given.iter().map(|(_, a)| *a));
        out.extend(self.proposal.iter().flat_map(|p| p.args.iter().copied()));
        out.extend(self.index.iter().chain(&self.sites).flat_map(|i| i.strategy.args().iter().copied()));
        out
    }

    /// Rewrites every operand, in the order of [`Integral::atoms`].
    pub fn map_atoms(&mut self, f: &mut dyn FnMut(Atom) -> Atom) {
        self.args.iter_mut().for_each(|a| *a = f(*a));
        self.given.iter_mut().for_each(|(_, a)| *a = f(*a));
        self.proposal.iter_mut().flat_map(|p| &mut p.args).for_each(|a| *a = f(*a));
        for r in self.index.iter_mut().chain(&mut self.sites) {
            if let StrategyUse::Named { args, .. } = &mut r.strategy {
                args.iter_mut().for_each(|a| *a = f(*a));
            }
        }
    }

    /// Whether choice `i` of the program inside is a choice of the integral.
    pub fn keeps(&self, i: usize) -> bool {
        match &self.kind {
            IntegralKind::Marginal { keep } => keep.contains(&i),
            IntegralKind::Normalize => !self.given.iter().any(|(g, _)| *g == i),
        }
    }

    /// The value that choice `i` is given.
    pub fn value_of(&self, i: usize) -> Option<Atom> {
        self.given.iter().find(|(g, _)| *g == i).map(|(_, a)| *a)
    }
}

impl Algorithm {
    /// Name in the text format.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Importance => "importance",
            Algorithm::Smc => "smc",
            Algorithm::Enumeration => "enumeration",
        }
    }
}
