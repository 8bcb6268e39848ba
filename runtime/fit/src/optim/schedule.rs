//! Learning-rate schedules: a factor that multiplies the base rate.
//!
//! With `s` the step (from 0), `S` the total and `t = s / S`:
//!
//! | schedule | factor |
//! |---|---|
//! | constant | 1 |
//! | cosine(f) | f + (1 - f) (1 + cos(pi t)) / 2 (Loshchilov & Hutter 2017, without restarts) |
//! | exponential(r, n) | r ^ (s / n) |
//! | linear(f) | 1 + (f - 1) t |
//! | step(r, n) | r ^ floor(s / n) |
//! | polynomial(p, f) | f + (1 - f) (1 - t) ^ p |
//!
//! A warm-up of `W` steps multiplies by `min(1, (s + 1) / W)`; the schedule itself then counts the remaining steps.

use ppl_diag::{Code, Diagnostic};
use serde::{Deserialize, Serialize};

use super::calls;

/// Schedules by name, with the defaults of their settings.
const TABLE: calls::Table = &[
    ("constant", &[("warmup", 0.0)]),
    ("cosine", &[("to_fraction", 0.0), ("warmup", 0.0)]),
    ("exponential", &[("rate", 0.5), ("every", 1000.0), ("warmup", 0.0)]),
    ("linear", &[("to_fraction", 0.0), ("warmup", 0.0)]),
    ("step", &[("rate", 0.5), ("every", 1000.0), ("warmup", 0.0)]),
    ("polynomial", &[("power", 2.0), ("to_fraction", 0.0), ("warmup", 0.0)]),
];

/// How the learning rate changes with the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The base rate throughout.
    #[default]
    Constant,
    /// Half a cosine from the base rate to a fraction of it.
    Cosine {
        /// The fraction reached at the end.
        to_fraction: f64,
    },
    /// Multiplied by `rate` every `every` steps, smoothly.
    Exponential {
        /// Factor for `every` steps.
        rate: f64,
        /// Steps for one factor.
        every: u64,
    },
    /// A straight line from the base rate to a fraction of it.
    Linear {
        /// The fraction reached at the end.
        to_fraction: f64,
    },
    /// Multiplied by `rate` every `every` steps, all at once.
    Step {
        /// Factor for `every` steps.
        rate: f64,
        /// Steps for one factor.
        every: u64,
    },
    /// A power of what is left of the steps, from the base rate to a fraction of it.
    Polynomial {
        /// The power; 1 is a straight line.
        power: f64,
        /// The fraction reached at the end.
        to_fraction: f64,
    },
}

/// A shape with an optional linear warm-up in front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The course after the warm-up.
    pub shape: Shape,
    /// Steps of warm-up; 0 for none.
    pub warmup: u64,
}

impl Schedule {
    /// The schedule that a call such as `cosine(0.1, warmup = 200)` means.
    ///
    /// # Errors
    /// `E0704` for an unknown name or setting, one given twice, or one out of range. The label is for the caller to add.
    pub fn from_call(name: &str, positional: &[f64], named: &[(&str, f64)]) -> Result<Self, Diagnostic> {
        let value = calls::arguments("schedule", TABLE, name, positional, named)?;
        let steps = |key: &str| {
            let x = value(key);
            let whole = x >= 0.0 && x.fract() == 0.0 && x < 1e18;
            let title = format!("`{key}` of `{name}` must be a number of steps, not {x}");
            if whole { Ok(x as u64) } else { Err(Diagnostic::error(Code("E0704"), title)) }
        };
        let shape = match name {
            "cosine" => Shape::Cosine { to_fraction: value("to_fraction") },
            "exponential" => Shape::Exponential { rate: value("rate"), every: steps("every")? },
            "linear" => Shape::Linear { to_fraction: value("to_fraction") },
            "step" => Shape::Step { rate: value("rate"), every: steps("every")? },
            "polynomial" => Shape::Polynomial { power: value("power"), to_fraction: value("to_fraction") },
            _ => Shape::Constant,
        };
        let schedule = Self { shape, warmup: steps("warmup")? };
        match schedule.problem() {
            Some(problem) => Err(Diagnostic::error(Code("E0704"), problem)),
            None => Ok(schedule),
        }
    }

    /// The factor at `step` (from 0) of `total` steps.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        let s = (step - self.warmup) as f64;
        let t = (s / total.saturating_sub(self.warmup).max(1) as f64).min(1.0);
        match self.shape {
            Shape::Constant => 1.0,
            Shape::Cosine { to_fraction: f } => f + (1.0 - f) * 0.5 * (1.0 + (std::f64::consts::PI * t).cos()),
            Shape::Exponential { rate, every } => rate.powf(s / every.max(1) as f64),
            Shape::Linear { to_fraction: f } => 1.0 + (f - 1.0) * t,
            Shape::Step { rate, every } => rate.powf((s / every.max(1) as f64).floor()),
            Shape::Polynomial { power, to_fraction: f } => f + (1.0 - f) * (1.0 - t).powf(power),
        }
    }

    /// What is out of range, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let fraction = |x: f64| ("to_fraction", x, x.is_finite() && x >= 0.0);
        let positive = |name: &'static str, x: f64| (name, x, x.is_finite() && x > 0.0);
        let checked = match self.shape {
            Shape::Constant => return None,
            Shape::Exponential { every: 0, .. } | Shape::Step { every: 0, .. } => {
                return Some("`every` must be at least 1 step".into());
            }
            Shape::Cosine { to_fraction } | Shape::Linear { to_fraction } => vec![fraction(to_fraction)],
            Shape::Exponential { rate, .. } | Shape::Step { rate, .. } => vec![positive("rate", rate)],
            Shape::Polynomial { power, to_fraction } => vec![positive("power", power), fraction(to_fraction)],
        };
        let bad = checked.iter().find(|(_, _, valid)| !valid);
        bad.map(|(name, value, _)| format!("`{name}` of the schedule must be a positive number, not {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_at_known_points() {
        let at = |shape, step| Schedule { shape, warmup: 0 }.factor(step, 100);
        assert_eq!(at(Shape::Constant, 50), 1.0);
        assert_eq!(at(Shape::Cosine { to_fraction: 0.1 }, 0), 1.0);
        assert!((at(Shape::Cosine { to_fraction: 0.1 }, 50) - 0.55).abs() < 1e-12);
        assert!((at(Shape::Cosine { to_fraction: 0.1 }, 100) - 0.1).abs() < 1e-12);
        assert!((at(Shape::Exponential { rate: 0.5, every: 10 }, 30) - 0.125).abs() < 1e-12);
        assert_eq!(at(Shape::Linear { to_fraction: 0.0 }, 25), 0.75);
        assert_eq!(at(Shape::Linear { to_fraction: 0.5 }, 1000), 0.5, "beyond the end it stays");
        let steps = Shape::Step { rate: 0.5, every: 10 };
        assert_eq!([0, 9, 10, 19, 20, 30].map(|s| at(steps, s)), [1.0, 1.0, 0.5, 0.5, 0.25, 0.125]);
        let square = Shape::Polynomial { power: 2.0, to_fraction: 0.2 };
        assert_eq!([0, 50, 100].map(|s| at(square, s)), [1.0, 0.2 + 0.8 * 0.25, 0.2]);
    }

    #[test]
    fn calls_with_defaults_and_mistakes() {
        let s = Schedule::from_call("exponential", &[0.9], &[("warmup", 10.0)]).unwrap();
        assert_eq!(s, Schedule { shape: Shape::Exponential { rate: 0.9, every: 1000 }, warmup: 10 });
        assert_eq!(Schedule::from_call("constant", &[], &[]).unwrap(), Schedule::default());
        for (name, args) in [
            ("cosin", &[][..]),
            ("cosine", &[-0.1]),
            ("exponential", &[0.5, 0.5]),
            ("exponential", &[0.5, 0.0]),
            ("step", &[0.5, 0.0]),
            ("step", &[0.0]),
            ("polynomial", &[0.0]),
            ("polynomial", &[1.0, -1.0]),
        ] {
            assert_eq!(Schedule::from_call(name, args, &[]).unwrap_err().code.0, "E0704", "{name}{args:?}");
        }
    }

    #[test]
    fn warmup_rises_to_one_then_the_shape_starts() {
        let s = Schedule { shape: Shape::Linear { to_fraction: 0.0 }, warmup: 4 };
        let factors: Vec<f64> = (0..6).map(|i| s.factor(i, 14)).collect();
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 0.9]);
    }
}
