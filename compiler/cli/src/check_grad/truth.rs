//! The derivative of an objective's expectation, without strategies.
//!
//! ```text
//!   exact          E(t) = sum over numbers and nodes of w v(t, number, z);  D(h) = (E(t + h d) - E(t - h d)) / 2h;  (4 D(h/2) - D(h)) / 3
//!   differences    the same with the mean over draws, each of which has the same random numbers at all four points
//! ```
//!
//! The error of the first is what a coarser rule and a coarser step differ by, that of the second also has the standard error of the differences.

use crate::engine::{Globals, Machine, native};
use ppl_codegen::Runner;
use ppl_diag::Diagnostic;
use ppl_driver::Expectation;
use ppl_driver::check::{Global, Program};
use ppl_fit::certify::{Moments, gauss_hermite};

/// A derivative with its error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) value: f64,
    /// Standard error and truncation error together.
    pub(crate) error: f64,
    pub(crate) how: How,
}

/// How it was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Over all combinations of finite choices.
    Enumeration,
    /// Over nodes of continuous draws (and combinations).
    Quadrature,
    /// From draws.
    Differences,
}

impl How {
    pub(crate) fn name(self) -> &'static str {
        match self {
            How::Enumeration => "enumeration",
            How::Quadrature => "quadrature",
            How::Differences => "differences",
        }
    }
}

/// Most evaluations of one truth.
const EVALUATIONS: f64 = 4e6;
/// Draws that choose the step of the differences.
const PILOT: u64 = 200;

/// An objective's expectation as a function of the parameters.
pub(crate) struct Truth {
    runner: Runner,
    seed: u64,
    /// Positions of the learned parameters among the inputs, and their values.
    slots: Vec<(Option<usize>, Vec<f64>)>,
    number: usize,
    combinations: usize,
    /// Dimension of `z`.
    draws: Option<usize>,
    random: bool,
    /// Nodes and weights: a fine and a coarse rule.
    rules: [Vec<(Vec<f64>, f64)>; 2],
    scale: f64,
}

impl Truth {
    pub(crate) fn new(
        machine: Machine,
        program: &Program,
        e: &Expectation,
        globals: &Globals,
        learned: &[usize],
    ) -> Result<Truth, Diagnostic> {
        let runner = native(&e.func, machine.precision, &globals.all(program, &e.inputs)?)?;
        let mut slots = Vec::new();
        for p in learned {
            let values = globals.get(program, Global::Param(*p))?.to_f64();
            slots.push((e.inputs.iter().position(|g| *g == Global::Param(*p)), values));
        }
        let sizes = match e.draws {
            Some(1) => [64, 48],
            Some(2) => [40, 32],
            Some(_) => [20, 16],
            None => [1, 1],
        };
        let rules = sizes.map(|n| grid(n, e.draws.unwrap_or(0)));
        let mut t = Truth {
            runner,
            seed: machine.seed,
            slots,
            number: e.inputs.len(),
            combinations: e.combinations,
            draws: e.draws,
            random: e.random && e.draws.is_none(),
            rules,
            scale: 0.0,
        };
        let at = t.mean(0, crate::engine::EVALUATION);
        t.scale = if at.is_finite() { at.abs() } else { 0.0 };
        Ok(t)
    }

    /// Size of the objective.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// Moves the parameters by `h` along a direction.
    fn shift(&mut self, along: &[(usize, f64)], h: f64) {
        let mut first = 0;
        for (slot, base) in &self.slots {
            let mut x = base.clone();
            for (k, w) in along {
                if let Some(v) = k.checked_sub(first).and_then(|k| x.get_mut(k)) {
                    *v += h * w;
                }
            }
            first += base.len();
            if let Some(i) = slot {
                // Sizes are those of the parameter: this can't fail.
                let _ = self.runner.set_floats(*i, &x);
            }
        }
    }

    /// The expectation by rule 0 or 1; of one draw where the rest is drawn.
    fn mean(&mut self, rule: usize, step: u64) -> f64 {
        let mut total = 0.0;
        for n in 0..self.combinations {
            let _ = self.runner.set_ints(self.number, &[n as i64]);
            for k in 0..self.rules[rule].len() {
                let w = self.rules[rule][k].1;
                if self.draws.is_some() {
                    let z = self.rules[rule][k].0.clone();
                    let _ = self.runner.set_floats(self.number + 1, &z);
                }
                self.runner.run(self.seed, step);
                total += w * self.runner.output_values(0).first().copied().unwrap_or(f64::NAN);
            }
        }
        total
    }

    fn quotient(&mut self, along: &[(usize, f64)], h: f64, rule: usize, step: u64) -> f64 {
        self.shift(along, h);
        let up = self.mean(rule, step);
        self.shift(along, -h);
        let down = self.mean(rule, step);
        (up - down) / (2.0 * h)
    }

    /// The derivative along a direction. `se` is the error that the estimate it is compared with has.
    pub(crate) fn derivative(&mut self, along: &[(usize, f64)], se: f64, draws: u64) -> Value {
        if !self.random {
            let found = self.exact(along);
            // A rule that does not resolve the function is no truth: then draws decide.
            if self.draws.is_none() || found.error <= 0.3 * se + 1e-7 * (1.0 + found.value.abs()) {
                return found;
            }
        }
        self.differences(along, draws)
    }

    fn exact(&mut self, along: &[(usize, f64)]) -> Value {
        let h = 1e-3;
        let at = |t: &mut Truth, rule: usize| {
            let (wide, narrow) = (t.quotient(along, h, rule, 0), t.quotient(along, h / 2.0, rule, 0));
            ((4.0 * narrow - wide) / 3.0, (narrow - wide).abs())
        };
        let (value, step) = at(self, 0);
        let rule = if self.draws.is_some() { (at(self, 1).0 - value).abs() } else { 0.0 };
        self.shift(along, 0.0);
        let how = if self.draws.is_some() { How::Quadrature } else { How::Enumeration };
        // Extrapolation removes the step's leading term: what is left is far below the difference of the two.
        Value { value, error: rule + 0.01 * step, how }
    }

    fn differences(&mut self, along: &[(usize, f64)], draws: u64) -> Value {
        let saved = self.draws.take();
        let rules = std::mem::replace(&mut self.rules, [grid(1, 0), grid(1, 0)]);
        let quadrature = saved.map(|n| (n, rules));
        // With nodes at hand they are drawn: the program's own draws are arguments now.
        let value = match &quadrature {
            None => self.sampled(along, draws, &mut |_, _| {}),
            Some((n, _)) => {
                let (seed, slot) = (self.seed, self.number + 1);
                self.sampled(along, draws, &mut |r, step| {
                    let z: Vec<f64> = (0..*n as u64).map(|k| standard_normal(seed, step, k)).collect();
                    let _ = r.set_floats(slot, &z);
                })
            }
        };
        if let Some((n, rules)) = quadrature {
            (self.draws, self.rules) = (Some(n), rules);
        }
        value
    }

    fn sampled(&mut self, along: &[(usize, f64)], draws: u64, prepare: &mut dyn FnMut(&mut Runner, u64)) -> Value {
        const STEPS: [f64; 5] = [0.2, 0.06, 0.02, 0.005, 1e-3];
        let cost = 4.0 * self.combinations as f64;
        let n = draws.min((EVALUATIONS / cost) as u64).max(PILOT);
        let mut pair = |t: &mut Truth, h: f64, n: u64, from: u64| {
            let (mut both, mut extrapolated) = (Moments::default(), Moments::default());
            for k in 0..n {
                let step = crate::engine::INITIAL + from + k;
                prepare(&mut t.runner, step);
                let (wide, narrow) = (t.quotient(along, h, 0, step), t.quotient(along, h / 2.0, 0, step));
                both.add(narrow - wide);
                extrapolated.add((4.0 * narrow - wide) / 3.0);
            }
            // What extrapolation leaves is of the next order: a fraction of what it took away.
            let left = (both.mean().abs() / 3.0 + both.standard_error()) * h.min(1.0);
            (extrapolated.mean(), extrapolated.standard_error(), left)
        };
        // Differences of jumps get noisier as the step shrinks, those of smooth functions only more exact.
        let mut best = (f64::INFINITY, STEPS[0]);
        for h in STEPS {
            let (_, se, left) = pair(self, h, PILOT, 0);
            let total = (se * (PILOT as f64 / n as f64).sqrt()).hypot(left);
            if total < best.0 {
                best = (total, h);
            }
        }
        let (value, se, left) = pair(self, best.1, n, PILOT);
        self.shift(along, 0.0);
        Value { value, error: se.hypot(left), how: How::Differences }
    }
}

/// A product rule of `n` nodes for `d` standard normals; one empty node for none.
fn grid(n: usize, d: usize) -> Vec<(Vec<f64>, f64)> {
    let one = gauss_hermite(n);
    let mut out = vec![(Vec::new(), 1.0)];
    for _ in 0..d {
        out = out
            .iter()
            .flat_map(|(z, w)| one.iter().map(move |(x, v)| ([&z[..], &[*x]].concat(), w * v)))
            // What the outermost nodes add is below rounding, and functions overflow there.
            .filter(|(_, w)| *w > 1e-22)
            .collect();
    }
    out
}

/// A standard normal number of (seed, step, k), by Box and Muller from SplitMix64.
fn standard_normal(seed: u64, step: u64, k: u64) -> f64 {
    let mix = |x: u64| {
        let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let base = mix(mix(seed) ^ mix(step).rotate_left(17) ^ mix(k).rotate_left(41));
    let uniform = |x: u64| ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let (u, v) = (uniform(mix(base)), uniform(mix(base ^ 0x5555_5555_5555_5555)));
    (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}
