//! Measuring settings side by side, within the time that is left.
//!
//! ```text
//!   rounds     each draws some gradients and times a block of steps of every setting in turn
//!   dropped    a setting that is behind beyond doubt takes no part in later rounds
//!   late       where time runs out, what is measured counts, with the error that it has
//! ```

use super::Options;
use super::candidate::{BATCH, Candidate};
use super::choices::Choice;
use super::decide::{Ratio, ratio};
use super::search::{Bench, Finding, Setting};
use crate::gradient::{Compiled, Lab};
use crate::report::Failure;
use ppl_diag::{Diagnostic, Severity};
use ppl_driver::check::FitOverrides;
use ppl_fit::step::Param;
use std::time::{Duration, Instant};

/// Rounds of a measurement.
const ROUNDS: u64 = 16;
/// Rounds from which on settings are dropped and time is looked at.
const FIRST: usize = 4;
/// How many times as costly as the one in use, or half as many times as the best, a setting must be to be dropped.
const BEHIND: f64 = 1.5;
/// The part of the budget that another sweep needs.
const AGAIN: f64 = 0.15;

/// What measures the settings of a program.
pub(crate) struct Workbench<'a> {
    pub(crate) lab: Lab<'a>,
    /// Clauses of the fit, as the user has them.
    pub(crate) clauses: &'a FitOverrides,
    pub(crate) choices: &'a [Choice],
    /// Where variances are measured.
    pub(crate) at: Vec<Param>,
    /// Parameters whose gradients count.
    pub(crate) wanted: Vec<String>,
    /// Steps of the fit.
    pub(crate) steps: u64,
    pub(crate) options: Options,
    pub(crate) deadline: Instant,
    /// Whether something was left out for want of time.
    pub(crate) late: bool,
}

impl Workbench<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The clauses of a setting.
    pub(crate) fn clauses(&self, setting: &Setting) -> FitOverrides {
        let all = self.choices.iter().zip(setting);
        all.fold(self.clauses.clone(), |o, (c, k)| c.with(&o, *k, self.lab.model))
    }

    /// Lowers a setting; what it is where it can't be measured.
    fn lowered(&mut self, setting: &Setting) -> Result<(Compiled, bool), Finding> {
        let clauses = self.clauses(setting);
        let compiled = self.lab.compiled(&clauses, self.steps).map_err(refused)?;
        let changed = |label: &String| self.choices.iter().zip(setting).any(|(c, k)| *k != 0 && c.labels().contains(label));
        let biased = compiled.code.chosen.iter().filter(|c| c.biased).map(|c| &c.label);
        let biased: Vec<bool> = biased.map(changed).collect();
        if biased.contains(&true) && !self.options.allow_biased {
            return Err(Finding::Biased);
        }
        Ok((compiled, !biased.is_empty()))
    }

    /// Compiles the first setting: what can't be is an error.
    fn first(&mut self, setting: &Setting) -> Result<Candidate, Failure> {
        let compiled = self.lab.compiled(&self.clauses(setting), self.steps)?;
        Candidate::new(&mut self.lab, &compiled, &self.at, &self.wanted)
    }

    /// Warms up what remembers something, in two fifths of the time.
    fn warm_up(&mut self, lanes: &mut [Result<Lane, Finding>], end: Instant) {
        let (now, steps) = (Instant::now(), self.options.warmup);
        let mut with: Vec<&mut Lane> = lanes.iter_mut().flatten().filter(|l| l.candidate.remembers()).collect();
        let n = with.len() as f64;
        for (k, l) in with.iter_mut().enumerate() {
            let until = now + end.saturating_duration_since(now).mul_f64(0.4 * (k + 1) as f64 / n);
            if let Err(d) = l.candidate.warm_up(steps, until) {
                l.failed = Some(d);
                l.live = false;
            }
            self.late |= l.candidate.measured().warmed.is_some_and(|w| w < steps);
        }
    }
}

fn refused(f: Failure) -> Finding {
    let first = f.diagnostics.into_iter().find(|d| d.severity == Severity::Error);
    Finding::Refused(Box::new(first.unwrap_or_else(|| crate::engine::fault("a strategy is refused without a reason"))))
}

/// A setting in a measurement.
struct Lane {
    candidate: Candidate,
    biased: bool,
    live: bool,
    failed: Option<Diagnostic>,
}

impl Lane {
    /// Draws, and a block of steps.
    fn round(&mut self, draws: u64) {
        let done = self.candidate.draw(draws).and_then(|()| self.candidate.clock());
        if let Err(d) = done {
            self.failed = Some(d);
            self.live = false;
        }
    }

    fn finding(self) -> Finding {
        match self.failed {
            Some(d) => Finding::Refused(Box::new(d)),
            None if self.candidate.rounds() < FIRST => Finding::NotMeasured,
            None => Finding::Measured { measured: self.candidate.measured(), biased: self.biased },
        }
    }
}

impl Bench for Workbench<'_> {
    type Error = Failure;

    fn measure(&mut self, settings: &[Setting], share: f64) -> Result<Vec<Finding>, Failure> {
        let Some(first) = settings.first() else { return Ok(Vec::new()) };
        let begun = Instant::now();
        let allowance = self.left().mul_f64(share.clamp(0.0, 1.0));
        let n = settings.len() as u32;
        let nothing = vec![Finding::NotMeasured; settings.len()];
        if allowance.is_zero() {
            self.late = true;
            return Ok(nothing);
        }
        let mut base = self.first(first)?;
        let seconds = base.clock().map_err(|d| self.lab.fail(vec![d]))?;
        // The least that says anything: a few rounds of a batch each.
        if seconds * 1.3 * (FIRST as f64) * (BATCH + 1) as f64 * f64::from(n.min(2)) > self.left().as_secs_f64() {
            self.late = true;
            return Ok(nothing);
        }
        let mut lanes: Vec<Result<Lane, Finding>> = vec![Ok(Lane { candidate: base, biased: false, live: true, failed: None })];
        for s in &settings[1..] {
            if self.left().is_zero() {
                self.late = true;
                lanes.push(Err(Finding::NotMeasured));
                continue;
            }
            let lane = self.lowered(s).and_then(|(c, biased)| {
                let candidate = Candidate::new(&mut self.lab, &c, &self.at, &self.wanted).map_err(refused)?;
                Ok(Lane { candidate, biased, live: true, failed: None })
            });
            lanes.push(lane);
        }
        // Where compiling took long, there is time for measuring all the same.
        let end = (begun + allowance.max(begun.elapsed() * 2)).min(self.deadline);
        self.warm_up(&mut lanes, end);
        let running = lanes.iter().filter(|l| l.is_ok()).count() as f64;
        // Draws of a round: as many as are asked for, or as there is time for.
        let each =
            end.saturating_duration_since(Instant::now()).as_secs_f64() / (1.3 * ROUNDS as f64 * running * seconds.max(1e-9));
        let draws = (each as u64).min(self.options.draws.div_ceil(ROUNDS)).max(1).next_multiple_of(BATCH);
        for round in 0..ROUNDS as usize {
            for (k, l) in lanes.iter_mut().enumerate().filter_map(|(k, l)| Some((k, l.as_mut().ok().filter(|l| l.live)?))) {
                // One that is much slower than the first is left.
                if k > 0 && Instant::now() > end + allowance {
                    self.late = true;
                    l.live = false;
                    continue;
                }
                l.round(draws);
            }
            if let Some(Ok(Lane { failed: Some(d), .. })) = lanes.first() {
                return Err(self.lab.fail(vec![d.clone()]));
            }
            if round + 1 >= FIRST {
                drop_behind(&mut lanes);
                if Instant::now() > end && round + 1 < ROUNDS as usize {
                    self.late = true;
                    break;
                }
            }
        }
        Ok(lanes.into_iter().map(|l| l.map_or_else(|f| f, Lane::finding)).collect())
    }

    fn again(&self) -> bool {
        self.left().as_secs_f64() > AGAIN * self.options.budget
    }

    fn affordable(&mut self, settings: usize) -> bool {
        let begun = Instant::now();
        let zeros = vec![0; self.choices.len()];
        let Ok(mut c) = self.first(&zeros) else { return false };
        let build = begun.elapsed().as_secs_f64();
        let Ok(seconds) = c.clock() else { return false };
        // Half the settings may have to warm up; most are dropped soon.
        let steps = 0.4 * self.options.draws as f64 + 0.5 * self.options.warmup as f64;
        settings as f64 * (build + steps * seconds) < 0.7 * self.left().as_secs_f64()
    }
}

/// Ends the part of settings that are behind beyond doubt.
fn drop_behind(lanes: &mut [Result<Lane, Finding>]) {
    let Some(Ok(base)) = lanes.first().map(|l| l.as_ref()) else { return };
    let base = base.candidate.measured();
    let of =
        |l: &Result<Lane, Finding>| l.as_ref().ok().filter(|l| l.failed.is_none()).map(|l| ratio(&l.candidate.measured(), &base));
    let ratios: Vec<Option<Ratio>> = lanes.iter().map(of).collect();
    let best = ratios.iter().flatten().map(|r| r.value + 2.0 * r.se).filter(|x| x.is_finite()).fold(1.0, f64::min);
    let limit = BEHIND.min(2.0 * best);
    for (l, r) in lanes.iter_mut().zip(&ratios).skip(1) {
        if let (Ok(l), Some(r)) = (l, r) {
            l.live &= !r.hopeless(limit);
        }
    }
}
