//! Epochs: how many steps they have, and what happens every so often.

use crate::model::Model;
use ppl_diag::{Code, Diagnostic};
use ppl_driver::check::{FitPlan, Minibatch};
use std::time::Duration;

/// Epochs can't be counted.
const NO_EPOCHS: Code = Code("E0705");

/// Steps of an epoch, where the objectives loop over minibatches. One step where the data are no more than a minibatch.
///
/// # Errors
/// `E0705` where two minibatches disagree.
pub(crate) fn epoch(plan: &FitPlan, model: &Model) -> Result<Option<f64>, Diagnostic> {
    let mut all: Vec<Minibatch> = Vec::new();
    for m in plan.goals.iter().flat_map(|g| &g.trained) {
        if !all.contains(m) {
            all.push(*m);
        }
    }
    let Some(first) = all.first() else {
        let own = model.source.text();
        return Ok(own.contains("minibatch(").then_some(1.0));
    };
    let steps = |m: &Minibatch| m.data as f64 / m.size as f64;
    if let Some(other) = all.iter().find(|m| m.data * first.size != first.data * m.size) {
        let of = |m: &Minibatch| format!("`minibatch` of {} of {}: {:.4} steps an epoch", m.size, m.data, steps(m));
        let d = Diagnostic::error(NO_EPOCHS, "two minibatches disagree on the steps of an epoch").label(plan.span, "in this fit");
        return Err(d
            .note(of(first))
            .note(of(other))
            .help("say how long the fit runs in steps: `steps 10000`, or `--steps 10000`"));
    }
    Ok(Some(steps(first)))
}

/// Steps of so many epochs.
///
/// # Errors
/// `E0705` where there is no minibatch, or two disagree.
pub(crate) fn steps(epochs: f64, plan: &FitPlan, model: &Model) -> Result<u64, Diagnostic> {
    match epoch(plan, model)? {
        Some(steps) => Ok(((epochs * steps - 1e-9).ceil() as u64).max(1)),
        None => Err(Diagnostic::error(NO_EPOCHS, "epochs are passes over the data of a minibatch, and there is none")
            .label(plan.span, "in this fit")
            .note("each step sees all data")
            .help("loop over `minibatch(N, 512)` in place of `N`, or say how long the fit runs in steps")),
    }
}

/// The first multiple of `every` after `at`, rounded up to whole steps.
pub(crate) fn next_multiple(every: f64, at: u64) -> u64 {
    let mut k = (at as f64 / every).floor().max(0.0);
    loop {
        k += 1.0;
        let step = (k * every - 1e-9).ceil() as u64;
        if step > at {
            return step;
        }
    }
}

/// How often something is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Every {
    /// After so many steps.
    Steps(u64),
    /// After so many epochs.
    Epochs(f64),
    /// After this time.
    Time(Duration),
}

impl Every {
    /// `1000`, `60s`, `10m`, `1h`, `1epoch`.
    ///
    /// # Errors
    /// A sentence with examples.
    pub(crate) fn parse(text: &str) -> Result<Every, String> {
        let text = text.trim();
        let wrong = || "a number of steps, a time such as 60s, 10m or 1h, or epochs such as 1epoch".to_string();
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = text[..text.len() - unit.len()].parse::<f64>().ok().filter(|x| *x > 0.0 && *x < 1e15).ok_or_else(wrong)?;
        let seconds = |s: f64| Ok(Every::Time(Duration::from_secs_f64(s)));
        match unit.trim() {
            "" if number.fract() == 0.0 => Ok(Every::Steps(number as u64)),
            "s" => seconds(number),
            "m" => seconds(60.0 * number),
            "h" => seconds(3600.0 * number),
            "epoch" | "epochs" => Ok(Every::Epochs(number)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_whole_steps() {
        let all = |every: f64| {
            let mut at = 0;
            (0..4)
                .map(|_| {
                    at = next_multiple(every, at);
                    at
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(all(9.5), [10, 19, 29, 38]);
        assert_eq!(all(1.0), [1, 2, 3, 4]);
        assert_eq!(all(0.3), [1, 2, 3, 4]);
        assert_eq!(all(1000.0 / 3.0), [334, 667, 1000, 1334]);
        assert_eq!(next_multiple(10.0, 10), 20);
    }

    #[test]
    fn times_steps_and_epochs_are_told_apart() {
        assert_eq!(Every::parse("1000"), Ok(Every::Steps(1000)));
        assert_eq!(Every::parse("90s"), Ok(Every::Time(Duration::from_secs(90))));
        assert_eq!(Every::parse("1.5m"), Ok(Every::Time(Duration::from_secs(90))));
        assert_eq!(Every::parse("1h"), Ok(Every::Time(Duration::from_secs(3600))));
        assert_eq!(Every::parse("2 epochs"), Ok(Every::Epochs(2.0)));
        for bad in ["", "s", "0", "-3", "1.5", "3 days", "1e3", "epoch"] {
            assert!(Every::parse(bad).is_err(), "{bad}");
        }
    }
}
