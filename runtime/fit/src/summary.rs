//! Draws from a fitted program and their summary: mean, standard deviation, quantiles, Monte Carlo error.

use std::fmt::Write as _;

use ppl_diag::Diagnostic;
use serde::Serialize;

use crate::trace::Estimate;

/// Rows of the terminal table; longer ones are elided.
pub const TABLE_ROWS: usize = 40;

/// Independent draws of scalar quantities, one column each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draws {
    /// Column names such as `mu`, `theta[1]`, `w[2,1]`: indices from 1, as in the files of Stan and its readers.
    pub names: Vec<String>,
    /// As many columns as names, all of the same length.
    pub columns: Vec<Vec<f64>>,
}

impl Draws {
    /// Adds one quantity: `values` has the elements of the first draw in row-major order, then those of the second, ...
    ///
    /// # Errors
    /// An internal error (`E0703`) if the length is no multiple of the number of elements, or differs from other columns.
    pub fn push(&mut self, name: &str, shape: &[usize], values: &[f64]) -> Result<(), Diagnostic> {
        let width: usize = shape.iter().product();
        if width == 0 {
            return Ok(());
        }
        let draws = values.len() / width;
        if draws * width != values.len() || self.columns.first().is_some_and(|c| c.len() != draws) {
            let title = format!("{} values are no whole number of draws of `{name}` with shape {shape:?}", values.len());
            return Err(Diagnostic::error(ppl_diag::Code("E0703"), title));
        }
        for i in 0..width {
            self.names.push(column_name(name, shape, i));
            self.columns.push(values.iter().skip(i).step_by(width).copied().collect());
        }
        Ok(())
    }

    /// Number of draws.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As CSV: the names, then one row a draw. Names with a comma are quoted.
    pub fn to_csv(&self) -> String {
        let quoted = |n: &String| if n.contains([',', '"']) { format!("\"{}\"", n.replace('"', "\"\"")) } else { n.clone() };
        let mut out = self.names.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
        for r in 0..self.len() {
            for (i, column) in self.columns.iter().enumerate() {
                let separator = if i == 0 { "" } else { "," };
                let _ = write!(out, "{separator}{}", column[r]);
            }
            out.push('\n');
        }
        out
    }
}

/// `theta[1]`, `w[2,1]`: indices from 1.
pub fn column_name(name: &str, shape: &[usize], position: usize) -> String {
    if shape.is_empty() {
        return name.to_owned();
    }
    let index: Vec<String> = crate::data::unravel(position, shape).iter().map(|i| (i + 1).to_string()).collect();
    format!("{name}[{}]", index.join(","))
}

/// What the draws say of one scalar quantity. Numbers that don't exist are NaN, `null` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SummaryRow {
    /// The column's name.
    pub name: String,
    /// Mean of the draws.
    pub mean: f64,
    /// Standard deviation of the draws.
    pub sd: f64,
    /// 5 % quantile.
    pub q5: f64,
    /// Median.
    pub q50: f64,
    /// 95 % quantile.
    pub q95: f64,
    /// Monte Carlo standard error of the mean; the draws are independent.
    pub mcse: f64,
    /// Draws that are NaN or infinite; they are left out of all other numbers.
    pub non_finite: usize,
}

/// Summaries of all quantities, and the objective.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// The objective over the last part of the fit.
    pub objective: Option<Estimate>,
    /// Number of draws.
    pub draws: usize,
    /// One row a quantity.
    pub rows: Vec<SummaryRow>,
}

/// The fields of a row and what they hold.
pub const SUMMARY_COLUMNS: &[(&str, &str)] = &[
    ("name", "the quantity; indices of arrays from 1, row by row"),
    ("mean", "mean of the draws"),
    ("sd", "standard deviation of the draws (n - 1 in the denominator)"),
    ("q5", "5 % quantile of the draws (linear interpolation)"),
    ("q50", "median of the draws"),
    ("q95", "95 % quantile of the draws"),
    ("mcse", "Monte Carlo standard error of the mean, sd / sqrt(draws)"),
    ("non_finite", "draws that were NaN or infinite and are left out of the other numbers"),
];

impl Summary {
    /// Summarises all columns.
    pub fn new(draws: &Draws, objective: Option<Estimate>) -> Self {
        let rows = draws.names.iter().zip(&draws.columns).map(|(n, c)| summarise(n, c)).collect();
        Self { objective, draws: draws.len(), rows }
    }

    /// An ASCII table for a terminal `width` characters wide: at most [`TABLE_ROWS`] rows, a note for the rest. Columns that don't fit are dropped,
    /// from the least telling on.
    pub fn table(&self, width: usize) -> String {
        let mut out = String::new();
        if let Some(e) = self.objective {
            let _ =
                writeln!(out, "objective {} +/- {} (Monte Carlo error, last {} steps)", number(e.mean), number(e.mcse), e.steps);
        }
        if self.rows.is_empty() {
            return out;
        }
        let shown = &self.rows[..if self.rows.len() > TABLE_ROWS { TABLE_ROWS - 1 } else { self.rows.len() }];
        let cells = |f: fn(&SummaryRow) -> f64| shown.iter().map(|r| number(f(r))).collect::<Vec<_>>();
        let mut columns: Vec<(&str, Vec<String>)> = vec![
            ("mean", cells(|r| r.mean)),
            ("sd", cells(|r| r.sd)),
            ("5%", cells(|r| r.q5)),
            ("50%", cells(|r| r.q50)),
            ("95%", cells(|r| r.q95)),
            ("mcse", cells(|r| r.mcse)),
        ];
        let column_width =
            |(head, cells): &(&str, Vec<String>)| cells.iter().map(String::len).max().unwrap_or(0).max(head.len()) + 2;
        let longest = shown.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
        for drop in ["mcse", "50%", "5%", "95%"] {
            let total: usize = columns.iter().map(column_width).sum();
            if total + longest.min(24) > width {
                columns.retain(|(head, _)| *head != drop);
            }
        }
        let numbers: usize = columns.iter().map(column_width).sum();
        let names = longest.min(width.saturating_sub(numbers).max(12));
        let mut line = |name: &str, cell: &dyn Fn(usize) -> String| {
            let mut text = format!("{:<names$}", fit_name(name, names));
            for (c, column) in columns.iter().enumerate() {
                let _ = write!(text, "{:>w$}", cell(c), w = column_width(column));
            }
            let _ = writeln!(out, "{}", text.trim_end());
        };
        line("", &|c| columns[c].0.to_owned());
        for (r, row) in shown.iter().enumerate() {
            line(&row.name, &|c| columns[c].1[r].clone());
        }
        if shown.len() < self.rows.len() {
            let _ = writeln!(out, "... and {} more rows, all in summary.json", self.rows.len() - shown.len());
        }
        let bad = self.rows.iter().filter(|r| r.non_finite > 0).count();
        if bad > 0 {
            let _ = writeln!(out, "draws that are not finite, in {bad} rows, are left out");
        }
        out
    }

    /// The content of `summary.json`, with a description of each field under `columns`.
    pub fn to_json(&self) -> serde_json::Value {
        let describe = |columns: &[(&str, &str)]| -> serde_json::Map<String, serde_json::Value> {
            columns.iter().map(|(n, t)| ((*n).to_owned(), (*t).into())).collect()
        };
        serde_json::json!({
            "columns": {
                "rows": describe(SUMMARY_COLUMNS),
                "objective": {
                    "mean": "mean estimate of the objective over the last steps",
                    "mcse": "Monte Carlo standard error of that mean (batch means)",
                    "steps": "number of steps it is taken over",
                },
                "trace.csv": describe(crate::trace::TRACE_COLUMNS),
                "draws.csv": "one row a draw, one column a quantity; indices of arrays from 1, row by row: theta[1], w[2,1]",
            },
            "objective": self.objective,
            "draws": self.draws,
            "rows": self.rows,
        })
    }
}

fn summarise(name: &str, column: &[f64]) -> SummaryRow {
    let mut x: Vec<f64> = column.iter().copied().filter(|x| x.is_finite()).collect();
    x.sort_by(f64::total_cmp);
    let n = x.len() as f64;
    // Moments around the median, so that a large offset costs no digits.
    let centre = quantile(&x, 0.5);
    let shift = x.iter().map(|v| v - centre).sum::<f64>() / n;
    let mean = centre + shift;
    let squares = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    let sd = if x.len() > 1 { (squares / (n - 1.0)).sqrt() } else { f64::NAN };
    SummaryRow {
        name: name.to_owned(),
        mean,
        sd,
        q5: quantile(&x, 0.05),
        q50: centre,
        q95: quantile(&x, 0.95),
        mcse: sd / n.sqrt(),
        non_finite: column.len() - x.len(),
    }
}

/// The `p` quantile of increasing `x`, by linear interpolation (type 7 of Hyndman & Fan 1996); NaN if there is none.
pub fn quantile(x: &[f64], p: f64) -> f64 {
    let at = p * x.len().saturating_sub(1) as f64;
    let (lo, t) = (at.floor() as usize, at.fract());
    match (x.get(lo), x.get(lo + 1)) {
        (Some(a), Some(b)) if t > 0.0 => a + t * (b - a),
        (Some(a), _) => *a,
        (None, _) => f64::NAN,
    }
}

/// A number with four significant digits, short.
pub fn number(x: f64) -> String {
    let size = x.abs();
    if !x.is_finite() || x == 0.0 {
        return x.to_string();
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{x:.3e}");
    }
    let before_point = size.log10().floor() as i32 + 1;
    format!("{x:.*}", (4 - before_point).clamp(0, 6) as usize)
}

/// The name in `width` characters: its middle is left out where it is longer.
fn fit_name(name: &str, width: usize) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= width {
        return name.to_owned();
    }
    let tail = (width.saturating_sub(2)) / 2;
    let head = width.saturating_sub(2 + tail);
    chars[..head].iter().chain(&['.', '.']).chain(&chars[chars.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws() -> Draws {
        let mut d = Draws::default();
        d.push("mu", &[], &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        d.push("w", &[2, 1], &[0.0, 10.0, 0.0, 20.0, 0.0, 30.0, f64::NAN, 40.0, 0.0, 50.0]).unwrap();
        d
    }

    #[test]
    fn moments_and_quantiles() {
        let s = Summary::new(&draws(), None);
        let mu = &s.rows[0];
        assert_eq!((mu.mean, mu.q5, mu.q50, mu.q95), (3.0, 1.2, 3.0, 4.8));
        assert!((mu.sd - 2.5f64.sqrt()).abs() < 1e-12 && (mu.mcse - 0.5f64.sqrt()).abs() < 1e-12);
        assert_eq!((s.rows[1].name.as_str(), s.rows[1].non_finite, s.rows[1].mean), ("w[1,1]", 1, 0.0));
        assert_eq!((s.rows[2].name.as_str(), s.rows[2].mean), ("w[2,1]", 30.0));
        let mut far = Draws::default();
        far.push("x", &[], &[1e15 + 1.0, 1e15 + 2.0, 1e15 + 3.0]).unwrap();
        assert_eq!(Summary::new(&far, None).rows[0].sd, 1.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn csv_quotes_names_with_commas() {
        let csv = draws().to_csv();
        assert!(csv.starts_with("mu,\"w[1,1]\",\"w[2,1]\"\n1,0,10\n2,0,20\n"), "{csv}");
        assert_eq!(csv.lines().count(), 6);
        assert!(Draws::default().push("x", &[2], &[1.0]).is_err());
    }

    #[test]
    fn table_is_aligned_and_elided() {
        let e = Estimate { mean: -12.3456, mcse: 0.012, steps: 500 };
        let table = Summary::new(&draws(), Some(e)).table(80);
        let want = "objective -12.35 +/- 0.01200 (Monte Carlo error, last 500 steps)\n         \
                    mean     sd     5%    50%    95%    mcse\n\
                    mu      3.000  1.581  1.200  3.000  4.800  0.7071\n\
                    w[1,1]      0      0      0      0      0       0\n\
                    w[2,1]  30.00  15.81  12.00  30.00  48.00   7.071\n\
                    draws that are not finite, in 1 rows, are left out\n";
        assert_eq!(table, want, "\n{table}");

        let mut many = Draws::default();
        many.push("a_rather_long_name_for_a_vector_of_things", &[100], &vec![0.5; 200]).unwrap();
        let summary = Summary::new(&many, None);
        let table = summary.table(50);
        assert_eq!(table.lines().count(), TABLE_ROWS + 1);
        assert!(table.contains("... and 61 more rows") && table.lines().all(|l| l.len() <= 50), "{table}");
        assert_eq!(summary.to_json()["rows"].as_array().unwrap().len(), 100);
    }

    #[test]
    fn numbers_have_four_digits() {
        let shown: Vec<String> = [0.0, 1234.56, 0.0123, -3.0, 1e9, 1e-5, f64::NAN].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "1235", "0.01230", "-3.000", "1.000e9", "1.000e-5", "NaN"]);
    }

    #[test]
    fn json_explains_every_field() {
        let json = Summary::new(&draws(), None).to_json();
        let row = json["rows"][0].as_object().unwrap();
        assert!(row.keys().all(|k| json["columns"]["rows"][k].is_string()), "{json}");
    }
}
