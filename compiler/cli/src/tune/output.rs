//! What `ppl tune` prints.

use super::Tuning;
use super::choices::Choice;
use super::decide::{Measured, Ratio, ratio};
use super::search::{Finding, How, Row};
use crate::model::Model;
use ppl_fit::summary::number;
use serde_json::{Value, json};
use std::fmt::Write as _;

impl Tuning {
    /// Why there is nothing to tune, in a sentence.
    fn nothing(&self) -> String {
        format!("nothing to tune: {} has no choice that a gradient is estimated through\n", self.objective)
    }

    /// The tables and the strategies to paste.
    pub(crate) fn text(&self, model: &Model) -> String {
        let Some(found) = &self.found else { return self.nothing() };
        let mut out = self.head();
        for ((c, rows), picked) in self.choices.iter().zip(&found.table).zip(&found.picked) {
            out += &self.table(c, rows, *picked);
        }
        out.push('\n');
        out += &self.how(found.how);
        if let Some((before, after)) = &found.overall {
            let r = ratio(after, before);
            let _ = writeln!(
                out,
                "all together: variance {} -> {}, step {} -> {}, variance x time {} of what it was",
                number(before.variance),
                number(after.variance),
                time(before.seconds()),
                time(after.seconds()),
                with_error(&r)
            );
        }
        if self.late {
            let _ = writeln!(
                out,
                "the budget of {} s cut the measurements short: `--budget {}` has time for more",
                number(self.options.budget),
                number(4.0 * self.options.budget)
            );
        }
        out + &self.paste(model)
    }

    fn head(&self) -> String {
        let where_ = match self.after {
            0 => "at the first parameters".to_string(),
            n => format!("after {n} steps with the strategies in use"),
        };
        let plural = if self.particles == 1 { "" } else { "s" };
        format!(
            "gradient of {}, {where_}; {} particle{plural}, {}\n\
             step: time of a step; variance: of one step's gradient, summed over components;\n\
             variance x s: variance times seconds a step, the price of precision: lower is better; of current: that relative to the strategy in use\n",
            self.objective,
            self.particles,
            self.machine.precision.name(),
        )
    }

    fn how(&self, how: How) -> String {
        match how {
            How::Exhaustive { combinations } => format!("all {combinations} combinations were measured\n"),
            How::Greedy { sweeps, settled } => {
                let end = if settled { "" } else { "; another might change something yet" };
                let times = if sweeps == 1 { "one sweep".to_string() } else { format!("{sweeps} sweeps") };
                format!("choice by choice, with the picks of the others in place: {times}{end}\n")
            }
        }
    }

    /// The strategies of one choice.
    fn table(&self, c: &Choice, rows: &[Row], picked: usize) -> String {
        let mut lines: Vec<Vec<String>> = vec![HEAD.iter().map(ToString::to_string).collect()];
        for (k, (s, Row { finding: f, ratio: r })) in c.options.iter().zip(rows).enumerate() {
            let mut notes = Vec::new();
            if k == 0 {
                notes.push("current".to_string());
            }
            if k == picked {
                notes.push("picked".to_string());
            }
            let cells = match f {
                Finding::Measured { measured: m, biased } => {
                    if *biased {
                        notes.push("biased".into());
                    }
                    if m.heavy_tailed {
                        notes.push("heavy tails".into());
                    }
                    if let Some(n) = m.warmed.filter(|n| *n < self.options.warmup) {
                        notes.push(format!("warmed up by {n} of {} steps", self.options.warmup));
                    }
                    let relative = if k == 0 { "1".into() } else { r.map_or("?".into(), |r| with_error(&r)) };
                    vec![time(m.seconds()), number(m.variance), number(m.cost()), relative]
                }
                Finding::Refused(d) => {
                    notes.push(format!("refused: {} ({})", d.title, d.code));
                    vec![String::new(); 4]
                }
                Finding::Biased => {
                    notes.push("biased".into());
                    vec![String::new(); 4]
                }
                Finding::NotMeasured => {
                    notes.push("not measured: no time".into());
                    vec![String::new(); 4]
                }
            };
            lines.push([std::slice::from_ref(&s.text), &cells[..], &[notes.join(", ")]].concat());
        }
        let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let mut out = format!("\n{}: {} ({})\n", c.name, c.dists(), c.labels().join(", "));
        for l in &lines {
            let cell = |(i, text): (usize, &String)| match i {
                0 | 5 => format!("{text:w$}", w = if i == 0 { widths[0] } else { 0 }),
                _ => format!("{text:>w$}", w = widths[i]),
            };
            let line: Vec<String> = l.iter().enumerate().map(cell).collect();
            let _ = writeln!(out, "  {}", line.join("  ").trim_end());
        }
        out
    }

    /// What to write.
    fn paste(&self, model: &Model) -> String {
        let f = &self.forms;
        if f.by.is_empty() {
            return "the strategies in use are kept\n".into();
        }
        let by: Vec<String> = f.by.iter().map(|b| format!("--by {}", quoted(b))).collect();
        let file = model.source.map.get(model.source.id).map_or("MODEL", |s| &s.name);
        let mut out = format!("\non the command line\n  {}\nin {file}\n", by.join(" "));
        if let Some(g) = &f.guide {
            let _ = writeln!(out, "  with {g}");
        }
        for p in &f.places {
            let _ = if p.replaces {
                writeln!(out, "  {}: `by {}` in place of `by {}`", p.at, p.strategy, p.text)
            } else {
                writeln!(out, "  {}: `by {}` after `{}`", p.at, p.strategy, p.text)
            };
        }
        if f.guide.is_none() && f.places.is_empty() {
            out += "  (no text of the file makes these choices)\n";
        }
        out
    }

    /// The same as JSON text.
    pub(crate) fn json(&self) -> String {
        format!("{:#}\n", self.json_value())
    }

    /// The same as JSON.
    pub(crate) fn json_value(&self) -> Value {
        let found = self.found.as_ref();
        let choices: Vec<Value> = found.map_or(Vec::new(), |f| {
            let rows = self.choices.iter().zip(&f.table).zip(&f.picked);
            rows.map(|((c, findings), picked)| choice_json(c, findings, *picked)).collect()
        });
        let search = found.map(|f| match f.how {
            How::Exhaustive { combinations } => json!({ "exhaustive": true, "combinations": combinations }),
            How::Greedy { sweeps, settled } => json!({ "exhaustive": false, "sweeps": sweeps, "settled": settled }),
        });
        let overall = found.and_then(|f| f.overall.as_ref()).map(|(before, after)| {
            let r = ratio(after, before);
            json!({ "current": measured_json(before), "picked": measured_json(after), "ratio": r.value, "ratio_se": r.se })
        });
        let places =
            self.forms.places.iter().map(|p| json!({ "at": p.at, "text": p.text, "by": p.strategy, "replaces": p.replaces }));
        json!({
            "objective": self.objective,
            "particles": self.particles,
            "precision": self.machine.precision.name(),
            "seed": self.machine.seed,
            "draws": self.options.draws,
            "warmup": self.options.warmup,
            "after": self.after,
            "budget": self.options.budget,
            "budget_reached": self.late,
            "seconds": self.seconds,
            "choices": choices,
            "search": search,
            "overall": overall,
            "by": self.forms.by,
            "source": { "guide": self.forms.guide, "places": places.collect::<Vec<_>>() },
        })
    }
}

fn measured_json(m: &Measured) -> Value {
    json!({
        "seconds_per_step": m.seconds(),
        "variance": m.variance,
        "variance_se": m.variance_se,
        "variance_times_seconds": m.cost(),
        "draws": m.draws,
        "warmed_up_by": m.warmed,
        "heavy_tailed": m.heavy_tailed,
    })
}

fn choice_json(c: &Choice, rows: &[Row], picked: usize) -> Value {
    let rows = c.options.iter().zip(rows).enumerate().map(|(k, (s, Row { finding: f, ratio: r }))| {
        let mut row = match f {
            Finding::Measured { measured, .. } => measured_json(measured),
            Finding::Refused(_) | Finding::Biased | Finding::NotMeasured => json!({}),
        };
        row["strategy"] = json!(s.text);
        row["address"] = json!(s.address);
        row["status"] = json!(match f {
            Finding::Measured { .. } => "measured",
            Finding::Refused(_) => "refused",
            Finding::Biased => "biased",
            Finding::NotMeasured => "not measured",
        });
        if let Finding::Refused(d) = f {
            row["error"] = json!({ "code": d.code.0, "title": d.title });
        }
        row["biased"] = json!(matches!(f, Finding::Biased | Finding::Measured { biased: true, .. }));
        row["ratio"] = json!(r.map(|r| r.value));
        row["ratio_se"] = json!(r.map(|r| r.se));
        row["current"] = json!(k == 0);
        row["picked"] = json!(k == picked);
        row
    });
    json!({
        "choice": c.name,
        "labels": c.labels(),
        "distribution": c.dists(),
        "current": c.options.first().map(|s| &s.text),
        "picked": c.options.get(picked).map(|s| &s.text),
        "strategies": rows.collect::<Vec<_>>(),
    })
}

const HEAD: [&str; 6] = ["strategy", "step", "variance", "variance x s", "of current", ""];

/// `0.31 +- 0.02`
fn with_error(r: &Ratio) -> String {
    if !r.value.is_finite() {
        return "infinite".into();
    }
    if r.se == 0.0 { number(r.value) } else { format!("{} +- {}", digits(r.value, r.se), digits(r.se, r.se)) }
}

/// As many digits as the error gives a meaning to.
fn digits(x: f64, se: f64) -> String {
    let places = (1.0 - se.log10().floor()).clamp(0.0, 8.0) as usize;
    if x != 0.0 && (x.abs() < 1e-5 || x.abs() >= 1e6) { number(x) } else { format!("{x:.places$}") }
}

/// A time with its unit.
fn time(seconds: f64) -> String {
    let (x, unit) = match seconds {
        s if s < 1e-3 => (s * 1e6, "us"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    format!("{} {unit}", number(x))
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_alphanumeric() || "_=.-".contains(c));
    if plain { text.to_string() } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_their_error_allows() {
        assert_eq!(with_error(&Ratio { value: 0.312_34, se: 0.021_2 }), "0.312 +- 0.021");
        assert_eq!(with_error(&Ratio { value: 31.234, se: 12.0 }), "31 +- 12");
        assert_eq!(with_error(&Ratio { value: 0.0, se: 0.0 }), "0");
        assert_eq!(with_error(&Ratio { value: f64::INFINITY, se: 0.0 }), "infinite");
        assert_eq!((time(2.5e-7), time(0.0123), time(2.0)), ("0.2500 us".into(), "12.30 ms".into(), "2.000 s".into()));
        assert_eq!((quoted("z=a"), quoted("z=a(2)")), ("z=a".into(), "'z=a(2)'".into()));
    }
}
