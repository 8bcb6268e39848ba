//! What is done between the steps of a fit: held-out data are evaluated, the run is saved.

use super::epochs::{Every, next_multiple};
use super::held_out::Validator;
use ppl_diag::Diagnostic;
use ppl_fit::fit::{Now, Point, Validation, Verdict, Watch};
use ppl_fit::step::Param;
use std::time::Instant;

/// Saves the run as it is.
pub(super) type Save<'a> = Box<dyn FnMut(&Now<'_>, Option<&Validation>, Option<&[Param]>) -> Result<(), Diagnostic> + 'a>;

/// Evaluations of held-out data.
pub(super) struct Evaluations<'a> {
    pub(super) validator: Validator<'a>,
    pub(super) record: Validation,
    /// Steps between two.
    pub(super) every: f64,
    /// Steps of an epoch.
    pub(super) epoch: Option<f64>,
    /// The unconstrained parameters of the best, where they are kept.
    pub(super) best: Option<Vec<Param>>,
}

/// When the run is saved, and how.
pub(super) struct Checkpoints<'a> {
    pub(super) every: Every,
    /// Steps of an epoch.
    pub(super) epoch: Option<f64>,
    pub(super) save: Save<'a>,
}

impl Checkpoints<'_> {
    /// Steps between two, where steps count.
    fn steps(&self) -> Option<f64> {
        match self.every {
            Every::Steps(n) => Some(n as f64),
            Every::Epochs(n) => self.epoch.map(|e| n * e),
            Every::Time(_) => None,
        }
    }
}

pub(super) struct Watcher<'a> {
    pub(super) evaluations: Option<Evaluations<'a>>,
    checkpoints: Option<Checkpoints<'a>>,
    evaluate_at: u64,
    save_at: u64,
    saved: Instant,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(evaluations: Option<Evaluations<'a>>, checkpoints: Option<Checkpoints<'a>>, start: u64) -> Watcher<'a> {
        let mut new = Watcher { evaluations, checkpoints, evaluate_at: 0, save_at: 0, saved: Instant::now() };
        new.plan(start);
        new
    }

    /// Sets when each is due next.
    fn plan(&mut self, at: u64) {
        let next = |every: Option<f64>| every.map_or(u64::MAX, |e| next_multiple(e, at));
        if self.evaluate_at <= at {
            self.evaluate_at = next(self.evaluations.as_ref().map(|e| e.every));
        }
        if self.save_at <= at {
            self.save_at = next(self.checkpoints.as_ref().and_then(Checkpoints::steps));
        }
    }
}

impl Watch for Watcher<'_> {
    fn next(&mut self, _: u64) -> u64 {
        self.evaluate_at.min(self.save_at)
    }

    fn visit(&mut self, now: &Now<'_>) -> Result<Verdict, Diagnostic> {
        let mut verdict = Verdict::GoOn;
        if let Some(e) = &mut self.evaluations
            && (now.at >= self.evaluate_at || now.last)
        {
            let params = now.step.params();
            let values = e.validator.values(&params)?;
            let point = Point { step: now.at, epoch: e.epoch.map(|s| now.at as f64 / s), values };
            if e.record.push(point) && e.record.patience().is_some() {
                e.best = Some(params);
            }
            if e.record.exhausted() {
                verdict = Verdict::Stop;
            }
        }
        if let Some(c) = &mut self.checkpoints {
            let due = match c.every {
                Every::Time(t) => self.saved.elapsed() >= t,
                Every::Steps(_) | Every::Epochs(_) => now.at >= self.save_at,
            };
            // What ends is saved anyway.
            if due && !now.last && verdict == Verdict::GoOn {
                let e = self.evaluations.as_ref();
                (c.save)(now, e.map(|e| &e.record), e.and_then(|e| e.best.as_deref()))?;
                self.saved = Instant::now();
            }
        }
        self.plan(now.at);
        Ok(verdict)
    }

    fn validation(&self) -> Option<f64> {
        self.evaluations.as_ref()?.record.points().last()?.values.first().map(|v| v.0)
    }
}
