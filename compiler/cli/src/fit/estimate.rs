//! Monte Carlo estimates at given parameters, from particles or over an epoch of minibatches.

use crate::engine::{EVALUATION, Evaluator, Globals, Machine};
use ppl_diag::Diagnostic;
use ppl_driver::Lowered;
use ppl_driver::check::{Minibatch, Program};

/// Evaluations of an estimate, where nobody says how many.
const ESTIMATES: usize = 1000;
/// Minibatches that they see at most: more than a thousand where the sizes do not divide the data, fewer than all where there are millions.
pub(crate) const SAMPLE: usize = 5000;
/// Calls for them at most.
pub(crate) const CALLS: usize = 100;

/// A Monte Carlo estimate of the objective at the final parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimated {
    /// Mean over particles.
    pub(crate) mean: f64,
    /// Its Monte Carlo standard error.
    pub(crate) se: f64,
    /// Number of particles.
    pub(crate) draws: usize,
}

/// How an estimate is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// Particles of one call.
    pub(crate) each: usize,
    /// The minibatches that it loops over.
    pub(crate) minibatches: Vec<Minibatch>,
    /// Whether it is not random: one value is all.
    pub(crate) fixed: bool,
    /// Particles that are wanted.
    pub(crate) draws: Option<usize>,
}

/// An estimate, ready to be evaluated.
pub(crate) struct Estimate<'p> {
    run: Evaluator<'p>,
    drawn: Drawn,
}

impl<'p> Estimate<'p> {
    /// Compiles it.
    ///
    /// # Errors
    /// As [`Evaluator::new`].
    pub(crate) fn new(
        machine: Machine,
        program: &'p Program,
        lowered: &Lowered,
        globals: &Globals,
        drawn: Drawn,
    ) -> Result<Estimate<'p>, Diagnostic> {
        Ok(Estimate { run: Evaluator::new(machine, program, lowered, globals)?, drawn })
    }

    /// Takes other parameters from now on.
    ///
    /// # Errors
    /// A fault of the compiler.
    pub(crate) fn set_params(&mut self, globals: &Globals) -> Result<(), Diagnostic> {
        self.run.set_params(globals)
    }

    /// Mean and standard error over independent particles; one value of what is not random. The same parameters give the same numbers.
    ///
    /// # Errors
    /// As [`Evaluator::run`].
    pub(crate) fn value(&mut self) -> Result<Estimated, Diagnostic> {
        if !self.drawn.minibatches.is_empty() {
            return self.over_data();
        }
        let calls = match self.drawn.draws {
            _ if self.drawn.fixed => 1,
            Some(n) => n.div_ceil(self.drawn.each.max(1)),
            None => ESTIMATES.div_ceil(self.drawn.each.max(1)).min(CALLS),
        };
        let mut values = Vec::new();
        for call in 0..calls {
            for a in self.run.run(EVALUATION + call as u64)?.iter().take(1) {
                values.extend(a.to_f64());
            }
        }
        if let (true, Some(x)) = (self.drawn.fixed, values.first()) {
            return Ok(Estimated { mean: *x, se: 0.0, draws: 1 });
        }
        values.truncate(self.drawn.draws.unwrap_or(values.len()));
        let (mean, variance) = moments(&values);
        let se = if values.len() > 1 { (variance / values.len() as f64).sqrt() } else { f64::NAN };
        Ok(Estimated { mean, se, draws: values.len() })
    }

    /// An estimate from minibatches: the mean over the calls of an epoch, each with its own. Where they visit every datum once, draws are all that is
    /// random, and the error is theirs; else it is that of the calls' means, which is larger where the data differ.
    fn over_data(&mut self) -> Result<Estimated, Diagnostic> {
        let minibatches = &self.drawn.minibatches;
        let epoch = minibatches.iter().map(Minibatch::epoch).max().unwrap_or(1).clamp(2, SAMPLE);
        let start = epoch_start(minibatches.first());
        let whole = matches!(&minibatches[..], [m] if m.size * epoch == m.data);
        let (mut means, mut within, mut draws) = (Vec::new(), 0.0, 0);
        let mut calls = epoch;
        while means.len() < calls {
            for a in self.run.run(start + means.len() as u64)?.iter().take(1) {
                let values = a.to_f64();
                let (mean, variance) = moments(&values);
                within += variance / values.len() as f64;
                draws += values.len();
                means.push(mean);
                // Whole epochs, as many as the draws ask for.
                if let (1, Some(wanted)) = (means.len(), self.drawn.draws) {
                    calls = epoch * wanted.div_ceil(values.len().max(1) * epoch).max(1);
                }
            }
        }
        let n = means.len() as f64;
        let (mean, between) = moments(&means);
        let se = if whole { within.sqrt() / n } else { (between / n).sqrt() };
        Ok(Estimated { mean, se, draws })
    }
}

/// The first step of evaluations that begins an epoch.
pub(crate) fn epoch_start(m: Option<&Minibatch>) -> u64 {
    let period = m.map_or(1, |m| m.data / gcd(m.data, m.size)) as u64;
    EVALUATION.next_multiple_of(period)
}

/// Mean and variance of a sample.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
