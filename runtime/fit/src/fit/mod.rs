//! The fit loop: runs of native steps, a trace, progress, what is done between runs, and a stop at the first number that is not finite.

mod progress;
mod validation;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ppl_diag::{Code, Diagnostic, Span};

use crate::optim::Direction;
use progress::Progress;
pub use validation::{Point, VALIDATION_COLUMNS, Validation};

use crate::step::{NonFinite, Param, Snapshot, Step, StepFault};
use crate::trace::{Estimate, Trace};

/// Steps in one native run at most, which bounds the buffer.
const MAX_CHUNK: usize = 1 << 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Number of the first step; not 0 where a fit is resumed.
    pub start: u64,
    /// Number of steps to run.
    pub steps: u64,
    /// Whether the objective is to rise or to fall.
    pub direction: Direction,
    /// No progress bar, even on a terminal.
    pub quiet: bool,
    /// Ends the fit after the current run of steps when it becomes true (Ctrl-C).
    pub stop: Option<Arc<AtomicBool>>,
    /// Wanted time between two updates of the progress bar. Results don't depend on it.
    pub update_every: Duration,
    /// Steps of an epoch, where there is such a thing.
    pub epoch: Option<f64>,
    /// The objective of the steps before the first.
    pub before: Trace,
}

/// What is done between runs of steps, such as validation. Results of the steps don't depend on it.
pub trait Watch {
    /// The step before which it wants to be called next, at the latest; `at` is the present one.
    fn next(&mut self, at: u64) -> u64;

    /// Called before step `at`, and after the last one. Tells whether the fit ends here.
    ///
    /// # Errors
    /// What keeps it from its task; the fit ends there.
    fn visit(&mut self, now: &Now<'_>) -> Result<Verdict, Diagnostic>;

    /// The latest value on held-out data, to be shown.
    fn validation(&self) -> Option<f64> {
        None
    }
}

/// A moment between two steps.
pub struct Now<'a> {
    /// The next step.
    pub at: u64,
    /// Whether there is no next step.
    pub last: bool,
    /// The step, in the state after those before.
    pub step: &'a dyn Step,
    /// The objective so far.
    pub trace: &'a Trace,
    /// Wall-clock time so far.
    pub elapsed: Duration,
}

/// Whether a fit goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    GoOn,
    /// It ends early, as it was asked to.
    Stop,
}

/// Nothing is done.
impl Watch for () {
    fn next(&mut self, _: u64) -> u64 {
        u64::MAX
    }

    fn visit(&mut self, _: &Now<'_>) -> Result<Verdict, Diagnostic> {
        Ok(Verdict::GoOn)
    }
}

impl FitOptions {
    /// `steps` steps from the first one, ten updates of the progress bar a second.
    pub fn new(steps: u64, direction: Direction) -> Self {
        Self {
            start: 0,
            steps,
            direction,
            quiet: false,
            stop: None,
            update_every: Duration::from_millis(100),
            epoch: None,
            before: Trace::default(),
        }
    }
}

/// Why a fit ended early.
#[derive(Clone, Debug)]
pub struct FitFailure {
    /// The step that failed; parameters and state are those before it.
    pub step: u64,
    /// That step's estimate of the objective, where there is one.
    pub objective: Option<f64>,
    /// Parameters that the step's update would have made NaN or infinite.
    pub non_finite: Vec<NonFinite>,
    /// What to show the user.
    pub diagnostic: Diagnostic,
}

/// What a fit gives, also where it failed or was interrupted.
#[derive(Clone, Debug, Default)]
pub struct FitOutcome {
    /// The parameters after the last good step.
    pub params: Vec<Param>,
    /// The whole state after the last good step, from which a fit can be resumed.
    pub state: Snapshot,
    /// Number of the next step, had there been one.
    pub next_step: u64,
    /// Number of good steps of this run, which may have gone on from another one.
    pub ran: u64,
    /// The objective of every good step.
    pub trace: Trace,
    /// The objective over the last part; none if no step was run.
    pub estimate: Option<Estimate>,
    /// Remarks on convergence, plain sentences.
    pub notes: Vec<String>,
    /// Why it ended early, if it did.
    pub failure: Option<FitFailure>,
    /// Whether `stop` ended it.
    pub interrupted: bool,
    /// Whether what watched it ended it.
    pub stopped: bool,
    /// Wall-clock time.
    pub elapsed: Duration,
}

impl FitOutcome {
    /// Good steps per second of wall-clock time.
    pub fn steps_per_second(&self) -> f64 {
        self.ran as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// `finished`, `stopped early`, `interrupted` or `failed`.
    pub fn status(&self) -> &'static str {
        match (&self.failure, self.interrupted, self.stopped) {
            (Some(_), _, _) => "failed",
            (None, true, _) => "interrupted",
            (None, false, true) => "stopped early",
            (None, false, false) => "finished",
        }
    }
}

/// Runs the steps. `step` is left in the state after the last good one.
pub fn fit(step: &mut dyn Step, options: &FitOptions) -> FitOutcome {
    fit_watched(step, options, &mut ())
}

/// Runs the steps, and between them what `watch` asks for.
pub fn fit_watched(step: &mut dyn Step, options: &FitOptions, watch: &mut dyn Watch) -> FitOutcome {
    let began = Instant::now();
    let mut progress = Progress::new(options);
    let end = options.start.saturating_add(options.steps);
    let mut trace = options.before.clone();
    let mut at = options.start;
    let mut good = step.snapshot();
    let mut failure = None;
    let (mut interrupted, mut stopped) = (false, false);
    let mut chunk = 1usize;
    let mut out = Vec::new();
    while at < end {
        if options.stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed)) {
            interrupted = true;
            break;
        }
        let until = watch.next(at).clamp(at + 1, end);
        let n = chunk.min(usize::try_from(until - at).unwrap_or(usize::MAX));
        out.clear();
        out.resize(n, 0.0);
        let chunk_began = Instant::now();
        let result = step.run(at, &mut out);
        let run_time = chunk_began.elapsed();
        let bad = match &result {
            Err(fault) => Some(fault.step.clamp(at, at + n as u64 - 1)),
            Ok(()) => match out.iter().position(|x| !x.is_finite()) {
                Some(i) => Some(at + i as u64),
                None => first_non_finite(&step.params()).map(|_| at + n as u64),
            },
        };
        if let Some(bad) = bad {
            let cause = Replay { step, good: &good, start: at }.explain(bad, result.err(), &mut out);
            let kept = (cause.step - at) as usize;
            (at..).zip(&out[..kept]).for_each(|(s, &x)| trace.push(s, x));
            at = cause.step;
            failure = Some(cause);
            break;
        }
        (at..).zip(&out).for_each(|(s, &x)| trace.push(s, x));
        at += n as u64;
        good = step.snapshot();
        // A snapshot costs time too: at most a tenth of it.
        let overhead = chunk_began.elapsed().saturating_sub(run_time);
        let verdict = watch.visit(&Now { at, last: at >= end, step: &*step, trace: &trace, elapsed: began.elapsed() });
        match verdict {
            Ok(Verdict::GoOn) => {}
            Ok(Verdict::Stop) => {
                stopped = at < end;
                break;
            }
            Err(diagnostic) => {
                failure = Some(FitFailure { step: at, objective: None, non_finite: Vec::new(), diagnostic });
                break;
            }
        }
        progress.show(&trace, at, watch.validation());
        let target = options.update_every.max(overhead * 10).as_secs_f64();
        let wanted = n as f64 * target / run_time.as_secs_f64().max(1e-9);
        chunk = (wanted as usize).clamp(1, MAX_CHUNK).min(chunk.saturating_mul(4));
    }
    progress.end();
    let notes = trace.verdict(options.direction.sign()).into_iter().filter(|_| failure.is_none()).collect();
    FitOutcome {
        params: step.params(),
        state: step.snapshot(),
        next_step: at,
        ran: at - options.start,
        estimate: trace.estimate(),
        trace,
        notes,
        failure,
        interrupted,
        stopped,
        elapsed: began.elapsed(),
    }
}

/// Runs the steps of a chunk again to find the first bad one.
struct Replay<'a> {
    step: &'a mut dyn Step,
    good: &'a Snapshot,
    start: u64,
}

impl Replay<'_> {
    /// The cause of the fault seen at `bad`; leaves the state before that step, and its objectives in `out`.
    fn explain(mut self, bad: u64, fault: Option<StepFault>, out: &mut [f64]) -> FitFailure {
        let mut steps = (bad - self.start) as usize;
        let mut by_gradient = false;
        if !self.finite_after(steps, out) {
            // The parameters were spoilt before the fault was seen.
            by_gradient = true;
            steps = self.last_finite(steps, out);
            self.finite_after(steps, out);
        }
        let before = self.step.snapshot();
        let number = self.start + steps as u64;
        let mut objective = [f64::NAN];
        let again = self.step.run(number, &mut objective);
        let mut non_finite: Vec<NonFinite> = self.step.params().iter().filter_map(Param::non_finite).collect();
        let restored = self.step.restore(&before);
        debug_assert!(restored.is_ok(), "a step refuses its own state: {restored:?}");
        let fault = if by_gradient { again.err() } else { fault.or(again.err()) };
        let mut value = Some(objective[0]);
        if let Some(f) = &fault {
            value = f.objective;
            if !f.non_finite.is_empty() {
                non_finite.clone_from(&f.non_finite);
            }
        }
        let diagnostic = describe(number, value, &non_finite, fault.as_ref());
        FitFailure { step: number, objective: value, non_finite, diagnostic }
    }

    /// Runs `steps` steps from the last good state; whether all went well and left finite parameters.
    fn finite_after(&mut self, steps: usize, out: &mut [f64]) -> bool {
        let restored = self.step.restore(self.good).is_ok();
        debug_assert!(restored, "a step refuses its own state");
        let out = &mut out[..steps];
        let fine = steps == 0 || self.step.run(self.start, out).is_ok();
        fine && out.iter().all(|x| x.is_finite()) && first_non_finite(&self.step.params()).is_none()
    }

    /// The largest number of steps below `hi` after which all is finite, by bisection.
    fn last_finite(&mut self, mut hi: usize, out: &mut [f64]) -> usize {
        let mut lo = 0;
        while hi - lo > 1 {
            let middle = lo + (hi - lo) / 2;
            if self.finite_after(middle, out) { lo = middle } else { hi = middle }
        }
        lo
    }
}

fn first_non_finite(params: &[Param]) -> Option<&Param> {
    params.iter().find(|p| p.values.iter().any(|x| !x.is_finite()))
}

fn describe(step: u64, objective: Option<f64>, non_finite: &[NonFinite], fault: Option<&StepFault>) -> Diagnostic {
    let bad_objective = objective.is_some_and(|x| !x.is_finite());
    let (code, title) = match (bad_objective, non_finite) {
        (true, _) => ("E0701", format!("the objective became {} at step {step}", objective.unwrap_or(f64::NAN))),
        (false, [first, ..]) => {
            ("E0702", format!("the gradient of `{}{}` is not finite at step {step}", first.name, first.first))
        }
        (false, []) => {
            let reason = fault.map_or("it could not be run again", |f| f.message.as_str());
            ("E0703", format!("step {step} failed: {reason}"))
        }
    };
    let mut d = Diagnostic::error(Code(code), title);
    if let Some(f) = fault {
        d = d.label(f.span, if f.span == Span::NONE { "" } else { f.message.as_str() });
        if code != "E0703" && !f.message.is_empty() && f.span == Span::NONE {
            d = d.note(&f.message);
        }
    }
    if !non_finite.is_empty() {
        let one = |n: &NonFinite| {
            if n.of == 1 { format!("`{}`", n.name) } else { format!("`{}` ({} of {} elements)", n.name, n.count, n.of) }
        };
        let mut list: Vec<String> = non_finite.iter().take(5).map(one).collect();
        if non_finite.len() > 5 {
            list.push(format!("and {} more", non_finite.len() - 5));
        }
        d = d.note(format!("the update would make these not finite: {}", list.join(", ")));
    }
    let d = d.note("the parameters before this step are kept");
    if code == "E0703" {
        d
    } else if step == 0 {
        d.help(
            "this is the first step: check the starting values of the parameters and the data against the supports of the model",
        )
    } else {
        d.help("try a smaller learning rate, a warm-up, or more particles")
    }
}

#[cfg(test)]
mod tests;
