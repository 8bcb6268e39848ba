//! What `ppl check-grad` prints.

use super::{Certificate, Compared, REFUTED, Row};
use crate::model::Model;
use ppl_diag::Diagnostic;
use ppl_fit::summary::number;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Rows that are printed; those with the largest scores where there are more.
const SHOWN: usize = 40;

impl Certificate {
    pub(super) fn text(&self, model: &Model) -> String {
        let mut out = format!("gradient of {}, {} draws\n\n", self.objective, self.draws);
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        if rows.len() > SHOWN {
            rows.sort_by(|a, b| b.z.abs().total_cmp(&a.z.abs()));
            rows.truncate(SHOWN);
        }
        let width = rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).max(9);
        let _ = writeln!(
            out,
            "{:width$}  {:>11}  {:>9}  {:>11}  {:>9}  {:>6}  {:>9}  how",
            "parameter", "estimate", "se", "truth", "error", "z", "variance"
        );
        for r in &rows {
            let _ = writeln!(
                out,
                "{:width$}  {:>11}  {:>9}  {:>11}  {:>9}  {:>6.2}  {:>9}  {}{}",
                r.name,
                number(r.moments.mean()),
                number(r.moments.standard_error()),
                number(r.truth.value),
                number(r.truth.error),
                r.z,
                number(r.moments.variance()),
                r.truth.how.name(),
                if r.moments.heavy_tailed() { ", heavy tails" } else { "" },
            );
        }
        if rows.len() < self.rows.len() {
            let _ = writeln!(out, ".. and {} more, with smaller scores", self.rows.len() - rows.len());
        }
        out += &self.strategies();
        for a in &self.assumed {
            if let Some(place) = model.source.map.place(*a) {
                let _ = writeln!(out, "\nnote: `assume_continuous` at {place} stands for a proof");
            }
        }
        if self.rows.iter().any(|r| r.moments.heavy_tailed()) {
            out += "\nnote: few draws dominate the variance of some components; their standard errors, and so the test, are optimistic\n";
        }
        let worst = self.rows.iter().map(|r| r.z.abs()).fold(0.0, f64::max);
        let refuted = self.refuted().len();
        let _ = if refuted == 0 {
            writeln!(
                out,
                "\ncertified: the largest |z| of {} is {worst:.2}, below {:.2} (family-wise level {})",
                self.rows.len(),
                self.bound,
                self.level
            )
        } else {
            writeln!(
                out,
                "\nrefuted: {refuted} of {} have |z| above {:.2} (family-wise level {})",
                self.rows.len(),
                self.bound,
                self.level
            )
        };
        out
    }

    /// Strategies of the choices, with the variance under others.
    fn strategies(&self) -> String {
        if self.chosen.is_empty() {
            return String::new();
        }
        let mut out = String::from("\nstrategies (variance of a draw of the whole gradient)\n");
        let width = self.chosen.iter().map(|c| c.label.chars().count()).max().unwrap_or(0);
        for c in &self.chosen {
            let mine: Vec<&Compared> = self.compared.iter().filter(|x| x.label == c.label).collect();
            let biased = if c.biased { ", biased" } else { "" };
            if mine.is_empty() {
                let _ = writeln!(out, "  {:width$}  {}{biased}", c.label, c.strategy);
            }
            for (k, x) in mine.iter().enumerate() {
                let label = if k == 0 { c.label.as_str() } else { "" };
                let variance = x.variance.map_or("not possible here".to_string(), number);
                let current = if x.current { format!("  (in use{biased})") } else { String::new() };
                let _ = writeln!(out, "  {label:width$}  {:16}  {variance:>10}{current}", x.strategy);
            }
        }
        out
    }

    pub(super) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| {
                json!({
                    "parameter": r.name,
                    "estimate": r.moments.mean(),
                    "standard_error": r.moments.standard_error(),
                    "variance": r.moments.variance(),
                    "truth": r.truth.value,
                    "truth_error": r.truth.error,
                    "how": r.truth.how.name(),
                    "z": r.z,
                    "heavy_tailed": r.moments.heavy_tailed(),
                })
            })
            .collect();
        let compared: Vec<Value> = self
            .compared
            .iter()
            .map(|c| json!({ "choice": c.label, "strategy": c.strategy, "variance": c.variance, "in_use": c.current }))
            .collect();
        let value = json!({
            "objective": self.objective,
            "certified": self.refuted().is_empty(),
            "draws": self.draws,
            "level": self.level,
            "bound": self.bound,
            "rows": rows,
            "strategies": compared,
            "blamed": self.blamed.as_ref().map(|(c, s)| json!({ "choice": c.label, "strategy": c.strategy, "repaired_by": s })),
        });
        format!("{value:#}\n")
    }

    /// The refutation, with the choice to blame.
    pub(super) fn diagnostics(&self) -> Vec<Diagnostic> {
        let refuted = self.refuted();
        let Some(worst) = refuted.iter().max_by(|a, b| a.z.abs().total_cmp(&b.z.abs())) else { return Vec::new() };
        let d = Diagnostic::error(
            REFUTED,
            format!(
                "the gradient with respect to `{}` is {} +- {}, the truth is {}",
                worst.name,
                number(worst.moments.mean()),
                number(worst.moments.standard_error()),
                number(worst.truth.value)
            ),
        );
        vec![match &self.blamed {
            Some((c, by)) => d
                .label(c.span, format!("with `{}` here the gradient is wrong, with `{by}` it is right", c.strategy))
                .help(format!("use `by {by}` for `{}`, or mend the strategy `{}`", c.label, c.strategy)),
            None => d
                .note("no other strategy for a single choice repairs it")
                .note("what is drawn from `stop(q)` moves with the parameters in the truth, and not in the gradient: where that is meant (`q_wake`, `log_variance`), this refutes nothing")
                .help("look at `stop(v) + e - stop(e)` in objectives, at `assume_continuous`, and at strategies that several choices share"),
        }]
    }
}
