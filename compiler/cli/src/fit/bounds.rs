//! What is said of estimates: their direction, and the gap between bounds on one evidence.
//!
//! An estimate of `exp(c) Z^a` with mean `m` and standard error `s` bounds the log evidence by `(log m - c) / a`, with standard error
//! `s / (|a| m)` (delta method). The logarithm of a Monte Carlo mean is low by about `(s / m)^2 / 2`, which vanishes with the number of draws:
//! such a bound is consistent, not a bound in expectation.

use super::Estimated;
use ppl_driver::check::{About, Claim, Evidence, Side};
use ppl_fit::summary::number;
use serde_json::{Value, json};

/// An objective or report with its value at the final parameters.
#[derive(Clone, Debug)]
pub(crate) struct Valued {
    /// As written.
    pub(crate) name: String,
    /// What it is an estimate of.
    pub(crate) claim: Claim,
    /// Its value.
    pub(crate) estimate: Option<Estimated>,
}

/// The fields of `objective`, of each of `reports`, and of `gap` in the JSON summary.
pub(crate) const FIELDS: &[(&str, &str)] = &[
    ("name", "the estimate as written"),
    ("mean", "its mean over the draws, at the final parameters"),
    ("mcse", "Monte Carlo standard error of the mean; 0 for a number that is computed without draws"),
    ("draws", "number of independent draws"),
    (
        "direction",
        "exact, unbiased, lower, upper or biased: from which side its expectation approaches `quantity`; null where nothing is known of it",
    ),
    ("quantity", "what it is about, such as log p(z); null for a number that is about no evidence"),
    ("log.mean", "the bound on the log evidence that an estimate of the evidence, or of a power of it, gives"),
    ("log.mcse", "its standard error, by the delta method"),
    ("log.direction", "its direction as the number of draws grows"),
    ("log.low_by", "about how much it is low on average, being the logarithm of a mean"),
    (
        "log.reliable",
        "false where fewer than 100 draws count (Kish's effective number), so that the value rests on rare large draws",
    ),
    ("gap.quantity", "the evidence with bounds from both sides"),
    ("gap.lower", "the highest of the lower bounds"),
    ("gap.upper", "the lowest of the upper bounds"),
    ("gap.gap", "their difference: at least the distance of either from the log evidence"),
    ("gap.mcse", "standard error of the difference"),
];

/// A number and its standard error, to two digits of the latter.
pub(crate) fn with_error(mean: f64, se: f64) -> (String, String) {
    let decimals = 1.0 - se.log10().floor();
    if (0.0..=10.0).contains(&decimals) && mean.abs() < 1e9 {
        let d = decimals as usize;
        return (format!("{mean:.d$}"), format!("{se:.d$}"));
    }
    (number(mean), number(se))
}

/// A bound on a log evidence.
#[derive(Clone, Debug)]
pub(crate) struct LogBound<'a> {
    /// The evidence (several: their product).
    evidence: Vec<&'a Evidence>,
    pub(crate) value: f64,
    pub(crate) se: f64,
    pub(crate) side: Side,
    /// How much it is low, where it is the logarithm of a mean.
    pub(crate) low_by: Option<f64>,
    /// About how many of its draws count, where they are so few that neither value nor error can be trusted.
    pub(crate) few: Option<f64>,
}

/// Draws that must count: below, the mean and its error rest on a handful of large values.
const COUNTED: f64 = 100.0;

impl Valued {
    /// The bound on a log evidence that it gives.
    pub(crate) fn log_bound(&self) -> Option<LogBound<'_>> {
        let e = self.estimate?;
        let turned = |side: Side, c: f64| if c < 0.0 { side.flipped() } else { side };
        match &self.claim.about {
            About::Log { terms, offset } => {
                let c = terms.first()?.0;
                terms.iter().all(|(d, _)| (d - c).abs() < 1e-9).then(|| LogBound {
                    evidence: terms.iter().map(|(_, e)| e).collect(),
                    value: (e.mean - offset) / c,
                    se: e.se / c.abs(),
                    side: turned(self.claim.side, c),
                    low_by: None,
                    few: None,
                })
            }
            About::Scale { .. } => {
                let (a, offset, evidence) = self.claim.power()?;
                let relative = e.se / e.mean;
                (e.mean > 0.0).then(|| LogBound {
                    evidence: vec![evidence],
                    value: (e.mean.ln() - offset) / a,
                    se: relative / a.abs(),
                    side: turned(self.claim.side, a),
                    low_by: Some(relative * relative / (2.0 * a)),
                    // (sum of x)^2 / sum of x^2, Kish's effective number of draws.
                    few: Some(1.0 / (relative * relative + 1.0 / e.draws as f64)).filter(|n| *n < COUNTED),
                })
            }
            About::Gap(_) | About::Number => None,
        }
    }

    /// `elbo: lower bound on log p(z), -8.08 (se 0.03, 1000 draws)`, and the logarithm of what is not on the log scale.
    pub(crate) fn lines(&self) -> String {
        let Some(e) = self.estimate else { return String::new() };
        let (mean, se) = with_error(e.mean, e.se);
        let error = format!("se {se}, {} draws", e.draws);
        let quantity = self.claim.about.quantity();
        let mut out = match (&quantity, self.claim.side) {
            (None, Side::Exact) => format!("{}: {}\n", self.name, number(e.mean)),
            (None, _) => format!("{}: {mean} ({error}; {})\n", self.name, self.claim),
            (Some(_), Side::Exact) => format!("{}: {}, {}\n", self.name, self.claim, number(e.mean)),
            (Some(_), _) => format!("{}: {}, {mean} ({error})\n", self.name, self.claim),
        };
        if let (About::Scale { .. }, Some(b)) = (&self.claim.about, self.log_bound()) {
            let low =
                b.low_by.map_or(String::new(), |l| format!(", low by about {} as the logarithm of a mean", number(l.abs())));
            let what = match b.side {
                Side::Lower => "at most ",
                Side::Upper => "at least ",
                Side::Exact | Side::Unbiased => "",
                Side::Biased => "no bound on ",
            };
            let names: Vec<String> = b.evidence.iter().map(ToString::to_string).collect();
            let (mean, se) = with_error(b.value, b.se);
            out += &format!("  in logarithms: {what}{}, {mean} (se {se}{low})\n", names.join(" + "));
            if let Some(n) = b.few {
                out += &format!(
                    "  not to be relied on: only about {n:.0} of the {} draws count, large values are rare and may have been missed\n",
                    e.draws
                );
            }
        }
        out
    }

    /// As JSON; [`FIELDS`] says what the fields are.
    pub(crate) fn json(&self) -> Value {
        let log = match (&self.claim.about, self.log_bound()) {
            (About::Scale { .. }, Some(b)) => {
                json!({
                    "mean": b.value,
                    "mcse": b.se,
                    "direction": b.side.name(),
                    "low_by": b.low_by,
                    "reliable": b.few.is_none(),
                })
            }
            _ => Value::Null,
        };
        let quantity = self.claim.about.quantity();
        json!({
            "name": self.name,
            "mean": self.estimate.map(|e| e.mean),
            "mcse": self.estimate.map(|e| e.se),
            "draws": self.estimate.map(|e| e.draws),
            "direction": quantity.as_ref().map(|_| self.claim.side.name()),
            "quantity": quantity,
            "log": log,
        })
    }
}

/// The interval between bounds on one evidence.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    pub(crate) quantity: String,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) se: f64,
}

impl Gap {
    /// `log p(z) in [-8.08, -5.10], evidence gap 2.98 (se 0.03)`.
    pub(crate) fn line(&self) -> String {
        let shown = |x: f64| with_error(x, self.se).0;
        let (gap, se) = with_error(self.upper - self.lower, self.se);
        format!("{} in [{}, {}], evidence gap {gap} (se {se})\n", self.quantity, shown(self.lower), shown(self.upper))
    }

    /// As JSON; [`FIELDS`] says what the fields are.
    pub(crate) fn json(&self) -> Value {
        json!({
            "quantity": self.quantity,
            "lower": self.lower,
            "upper": self.upper,
            "gap": self.upper - self.lower,
            "mcse": self.se,
        })
    }
}

/// The gap between the tightest lower and the tightest upper bound on the evidence of the first estimate, if there are both that can be relied on.
pub(crate) fn gap(all: &[Valued]) -> Option<Gap> {
    let bounds: Vec<LogBound<'_>> = all.iter().filter_map(Valued::log_bound).collect();
    let evidence = &bounds.first()?.evidence;
    let about: Vec<&LogBound<'_>> =
        bounds.iter().filter(|b| b.evidence == *evidence && b.value.is_finite() && b.few.is_none()).collect();
    let of = |side: Side| about.iter().filter(move |b| b.side == side || b.side == Side::Exact);
    let lower = of(Side::Lower).max_by(|a, b| a.value.total_cmp(&b.value))?;
    let upper = of(Side::Upper).min_by(|a, b| a.value.total_cmp(&b.value))?;
    if lower.side == Side::Exact && upper.side == Side::Exact {
        return None;
    }
    let names: Vec<String> = evidence.iter().map(ToString::to_string).collect();
    Some(Gap { quantity: names.join(" + "), lower: lower.value, upper: upper.value, se: lower.se.hypot(upper.se) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppl_driver::check::{FitOverrides, elaborate};

    fn valued(objective: &str, mean: f64, se: f64) -> Valued {
        let text = format!(
            "data z: real\nparam m: real = 0.0\ngen model() {{ x ~ normal(0, 1);  z ~ normal(x, 1) }}\n\
             gen guide() {{ x ~ normal(m, 1) }}\nfit model() given {{ z }} with guide() maximize {objective}\n"
        );
        let library: Vec<_> = ppl_stdlib::PRELUDE
            .iter()
            .enumerate()
            .map(|(i, f)| ppl_syntax::parse(ppl_diag::FileId(i as u32), f.text).ast)
            .collect();
        let file = ppl_syntax::parse(ppl_diag::FileId(99), &text).ast;
        let plan = elaborate(&library, &file, None, &FitOverrides::default()).program.fit.unwrap();
        Valued {
            name: plan.goals[0].name.clone(),
            claim: plan.goals[0].claim.clone(),
            estimate: Some(Estimated { mean, se, draws: 1000 }),
        }
    }

    #[test]
    fn estimates_are_told_with_direction_and_error() {
        assert_eq!(valued("elbo", -8.08, 0.03).lines(), "elbo: lower bound on log p(z), -8.080 (se 0.030, 1000 draws)\n");
        let v = valued("cubo(-2)", 0.5f64.exp(), 0.05 * 0.5f64.exp());
        let b = v.log_bound().unwrap();
        assert!((b.value - (0.25 - 2.0)).abs() < 1e-12 && (b.se - 0.025).abs() < 1e-12, "{b:?}");
        assert_eq!(b.side, Side::Upper);
        assert!((b.low_by.unwrap() - 0.05f64.powi(2) / 4.0).abs() < 1e-12, "{b:?}");
    }

    #[test]
    fn bounds_from_both_sides_leave_a_gap() {
        let both = [valued("elbo", -3.0, 0.03), valued("iwelbo(5)", -2.5, 0.04), valued("cubo", (-4.0f64).exp(), 0.0)];
        let g = gap(&both).unwrap();
        assert!((g.lower + 2.5).abs() < 1e-12 && (g.upper + 2.0).abs() < 1e-12 && (g.se - 0.04).abs() < 1e-12, "{g:?}");
        assert_eq!(g.line(), "log p(z) in [-2.500, -2.000], evidence gap 0.500 (se 0.040)\n");
        assert!(gap(&both[..2]).is_none());
    }

    #[test]
    fn negated_bounds_turn() {
        let v = valued("-elbo(model() given { z }, guide())", 3.0, 0.1);
        let b = v.log_bound().unwrap();
        assert_eq!((b.value, b.se, b.side), (-3.0, 0.1, Side::Lower));
    }
}
