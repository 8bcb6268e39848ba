//! Progress: a bar on a terminal, a plain line from time to time elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::FitOptions;
use crate::summary::number;
use crate::trace::Trace;

/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(10);

/// What shows how far a fit is.
pub(super) struct Progress {
    bar: ProgressBar,
    /// When the last plain line was written; none where there are no such lines.
    plain: Option<Instant>,
    began: Instant,
    start: u64,
    end: u64,
    epoch: Option<f64>,
}

impl Progress {
    pub(super) fn new(options: &FitOptions) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if options.quiet || !terminal { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(20) };
        let end = options.start.saturating_add(options.steps);
        let bar = ProgressBar::with_draw_target(Some(end), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        let began = Instant::now();
        let plain = (!options.quiet && !terminal).then_some(began);
        Progress { bar, plain, began, start: options.start, end, epoch: options.epoch }
    }

    /// Shows that the steps before `at` are done.
    pub(super) fn show(&mut self, trace: &Trace, at: u64, validation: Option<f64>) {
        if !self.bar.is_hidden() {
            self.bar.set_message(self.text(trace, at, validation));
            self.bar.set_position(at);
        }
        if self.plain.is_some_and(|last| last.elapsed() >= LINES) {
            self.plain = Some(Instant::now());
            // Nothing is left to tell a user whose standard error is closed.
            let _ = writeln!(std::io::stderr().lock(), "{}", self.text(trace, at, validation));
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn text(&self, trace: &Trace, at: u64, validation: Option<f64>) -> String {
        let rate = (at - self.start) as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        let left = self.end.saturating_sub(at) as f64 / rate.max(1e-9);
        place(at, self.end, self.epoch)
            + &trace.recent().map_or_else(String::new, |x| format!("  objective {}", number(x)))
            + &validation.map_or_else(String::new, |x| format!("  validation {}", number(x)))
            + &format!("  {} steps/s  {left:.0} s left", number(rate))
    }
}

/// `epoch 12/100`, or `step 1200/10000` where there are no epochs. The epoch is that of the last step, from 1.
fn place(at: u64, end: u64, epoch: Option<f64>) -> String {
    match epoch {
        Some(steps) => {
            let of = |s: u64| (s as f64 / steps).ceil();
            format!("epoch {:.0}/{:.0}", of(at), of(end))
        }
        None => format!("step {at}/{end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::Direction;

    #[test]
    fn a_line_says_where_the_fit_is() {
        assert_eq!(place(1, 1000, Some(10.0)), "epoch 1/100");
        assert_eq!(place(10, 1000, Some(10.0)), "epoch 1/100");
        assert_eq!(place(11, 1000, Some(10.0)), "epoch 2/100");
        assert_eq!(place(19, 19, Some(9.5)), "epoch 2/2");
        assert_eq!(place(7, 30, None), "step 7/30");
        let p = Progress::new(&FitOptions { quiet: true, epoch: Some(5.0), ..FitOptions::new(20, Direction::Maximize) });
        let mut trace = Trace::default();
        (0..10).for_each(|s| trace.push(s, -2.0));
        let text = p.text(&trace, 10, Some(-2.5));
        assert!(text.starts_with("epoch 2/4  objective -2.000  validation -2.500  ") && text.contains("steps/s"), "{text}");
        assert!(p.plain.is_none() && p.bar.is_hidden());
    }
}
