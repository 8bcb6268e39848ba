//! One setting of the strategies, compiled: its gradient is drawn, its step is timed.

use super::decide::Measured;
use crate::engine::{StepSpec, native_step};
use crate::gradient::{Compiled, Gradient, Lab};
use crate::report::Failure;
use ppl_abi::Precision;
use ppl_diag::{Code, Diagnostic};
use ppl_driver::check::Global;
use ppl_fit::certify::Moments;
use ppl_fit::step::{Param, Snapshot, Step};
use std::time::{Duration, Instant};

/// Draws in a batch, whose variance is one sample of the variance.
pub(crate) const BATCH: u64 = 8;
/// Time of a block of steps that is long enough for the clock.
const BLOCK: Duration = Duration::from_micros(500);
/// Steps in a block at most: more would move the parameters.
const STEPS: usize = 200;
/// Blocks of short steps in a round, of which the fastest counts: it was not interrupted.
const BLOCKS: usize = 3;

/// A compiled setting.
pub(crate) struct Candidate {
    gradient: Gradient,
    step: Box<dyn Step>,
    /// What strategies remember: its name in the step's state, and the gradient's input.
    memory: Vec<(String, usize)>,
    /// Parameters that objectives train.
    fixed: Vec<Param>,
    /// The state that every block of steps starts from.
    start: Snapshot,
    block: usize,
    batches: Batches,
    rounds: Vec<f64>,
    drawn: u64,
    warmed: Option<u64>,
}

impl Candidate {
    /// Compiles, at the parameters `at`.
    ///
    /// # Errors
    /// Whatever is wrong with the program.
    pub(crate) fn new(lab: &mut Lab<'_>, c: &Compiled, at: &[Param], wanted: &[String]) -> Result<Self, Failure> {
        let globals = lab.globals(&c.program, &c.code.inputs, at)?;
        let spec = StepSpec { program: &c.program, code: &c.code, globals: &globals, machine: lab.machine };
        let step = native_step(&spec).map_err(|d| lab.fail(vec![d]))?;
        let mut gradient = lab.gradient(c, &globals, wanted)?;
        gradient.carry(c).map_err(|d| lab.fail(vec![d]))?;
        let input = |p: usize| c.code.inputs.iter().position(|g| *g == Global::Param(p));
        // States are named after what they are in a step.
        let states = c.code.carried.iter().map(|p| (format!("strategy.{}", c.program.params[*p].name), input(*p)));
        let own = c.code.learned.iter().zip(&c.code.own).filter(|(_, own)| !**own);
        let own = own.map(|(p, _)| (c.program.params[*p].name.clone(), input(*p)));
        let memory = states.chain(own).filter_map(|(name, i)| Some((name, i?))).collect();
        let fixed = step.params().into_iter().filter(|p| wanted.contains(&p.name)).collect();
        let start = step.snapshot();
        let batches = Batches::new(lab.machine.precision);
        let (rounds, warmed) = (Vec::new(), None);
        Ok(Candidate { gradient, step, memory, fixed, start, block: 1, batches, rounds, drawn: 0, warmed })
    }

    /// Whether its strategies remember something from step to step.
    pub(crate) fn remembers(&self) -> bool {
        !self.memory.is_empty()
    }

    /// Brings up what strategies remember: whole steps, after each of which the parameters that objectives train are put back. At least one, then
    /// not beyond `until`.
    ///
    /// # Errors
    /// A step that is not finite.
    pub(crate) fn warm_up(&mut self, steps: u64, until: Instant) -> Result<(), Diagnostic> {
        let mut done = 0;
        while done < steps && (done == 0 || Instant::now() < until) {
            self.step.run(done, &mut [0.0]).map_err(|_| not_finite("while its memory was warmed up"))?;
            self.step.set_params(&self.fixed)?;
            done += 1;
        }
        self.start = self.step.snapshot();
        self.warmed = Some(done);
        for (name, input) in &self.memory {
            if let Some(p) = self.start.get(name) {
                self.gradient.set(*input, &p.values)?;
            }
        }
        Ok(())
    }

    /// Draws the gradient `n` times.
    ///
    /// # Errors
    /// A component that is not finite.
    pub(crate) fn draw(&mut self, n: u64) -> Result<(), Diagnostic> {
        for _ in 0..n {
            let x = self.gradient.draw(self.drawn)?;
            self.batches.add(&x);
            self.drawn += 1;
        }
        Ok(())
    }

    /// Times one round of steps; seconds a step.
    ///
    /// # Errors
    /// A step that is not finite.
    pub(crate) fn clock(&mut self) -> Result<f64, Diagnostic> {
        let mut best = self.timed()?;
        // The length of a block is found in the first round.
        while self.rounds.is_empty() && self.block < STEPS && best * (self.block as f64) < BLOCK.as_secs_f64() {
            self.block = (self.block * 4).min(STEPS);
            best = self.timed()?;
        }
        if best * (self.block as f64) < 4.0 * BLOCK.as_secs_f64() {
            for _ in 1..BLOCKS {
                best = best.min(self.timed()?);
            }
        }
        self.rounds.push(best);
        Ok(best)
    }

    /// Seconds a step in one block, after a step that brings the caches up.
    fn timed(&mut self) -> Result<f64, Diagnostic> {
        let mut out = vec![0.0; self.block];
        self.step.restore(&self.start)?;
        let first = self.step.run(0, &mut out[..1]).is_ok();
        let begun = Instant::now();
        let rest = first && self.step.run(1, &mut out).is_ok();
        let seconds = begun.elapsed().as_secs_f64();
        if rest { Ok(seconds / self.block as f64) } else { Err(not_finite("within a few steps")) }
    }

    /// Rounds done.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// What is known so far.
    pub(crate) fn measured(&self) -> Measured {
        Measured {
            variance: self.batches.variance(),
            variance_se: self.batches.error(),
            rounds: self.rounds.clone(),
            draws: self.drawn,
            warmed: self.warmed,
            heavy_tailed: self.batches.total.heavy_tailed(),
        }
    }
}

fn not_finite(when: &str) -> Diagnostic {
    Diagnostic::error(Code("E0472"), format!("a step is not finite {when}"))
        .help("`ppl fit` with this strategy explains which expression is not finite")
}

/// The variance of a vector's sum of components, from batches of a few draws: their variances are independent samples of it.
#[derive(Clone, Debug)]
struct Batches {
    /// Of the current batch, for each component.
    current: Vec<Moments>,
    count: u64,
    /// Of the batches' variances.
    total: Moments,
    /// Sum of the draws.
    sum: Vec<f64>,
    drawn: f64,
    /// What is below rounding of the mean is none.
    rounding: f64,
}

impl Batches {
    fn new(precision: Precision) -> Batches {
        let rounding = match precision {
            Precision::F32 => 1e-6,
            Precision::F64 => 1e-13,
        };
        Batches { current: Vec::new(), count: 0, total: Moments::default(), sum: Vec::new(), drawn: 0.0, rounding }
    }

    fn add(&mut self, x: &[f64]) {
        self.current.resize(x.len(), Moments::default());
        self.sum.resize(x.len(), 0.0);
        self.current.iter_mut().zip(x).for_each(|(m, x)| m.add(*x));
        self.sum.iter_mut().zip(x).for_each(|(s, x)| *s += x);
        self.drawn += 1.0;
        self.count += 1;
        if self.count == BATCH {
            self.total.add(self.current.iter().map(Moments::variance).sum());
            self.current.clear();
            self.count = 0;
        }
    }

    /// The standard error of the variance; more than the formula says where it rests on a few batches.
    fn error(&self) -> f64 {
        self.total.standard_error() * (1.0 + 3.0 / (self.total.count() - 1.0).max(1.0))
    }

    fn variance(&self) -> f64 {
        let mean: f64 = self.sum.iter().map(|s| (s / self.drawn.max(1.0)).powi(2)).sum();
        let v = self.total.mean();
        if v <= self.rounding * self.rounding * mean { 0.0 } else { v }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_know_the_variance_and_its_error() {
        let mut b = Batches::new(Precision::F64);
        // Two components: uniform numbers on a grid, variance 1/12 and 4/12.
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        for _ in 0..8000 {
            b.add(&[uniform(), 2.0 * uniform() + 5.0]);
        }
        let (v, se) = (b.variance(), b.error());
        assert!((v - 5.0 / 12.0).abs() < 4.0 * se && se < 0.01, "{v} {se}");
    }

    #[test]
    fn rounding_is_no_variance() {
        let mut b = Batches::new(Precision::F64);
        (0..80).for_each(|k| b.add(&[1.0 + f64::from(k % 2) * 1e-16, 3.0]));
        assert_eq!(b.variance(), 0.0);
    }
}
