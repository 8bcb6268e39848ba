//! The objective over the course of a fit, in bounded memory, and what can be said of it.

use serde::Serialize;

/// Rows kept at most; beyond that two neighbours become one.
const MAX_ROWS: usize = 20_000;
/// Rows in a moving window.
const WINDOW: usize = 100;
/// Batches of the batch-means standard error.
const BATCHES: usize = 20;

/// A number of consecutive steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The last step of the row.
    pub step: u64,
    /// Number of steps.
    pub count: u64,
    /// Mean of the objective over them.
    pub mean: f64,
    /// Sum of squared deviations from that mean.
    squares: f64,
}

impl Row {
    /// Standard deviation of the objective within the row, if it has more than one step.
    pub fn sd(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).sqrt())
    }

    /// Both rows as one (Chan, Golub & LeVeque 1983).
    fn join(self, later: Row) -> Row {
        let count = self.count + later.count;
        let (a, b, n) = (self.count as f64, later.count as f64, count as f64);
        let delta = later.mean - self.mean;
        Row {
            step: later.step,
            count,
            mean: self.mean + delta * b / n,
            squares: self.squares + later.squares + delta * delta * a * b / n,
        }
    }
}

/// Mean of the objective over the last part of a fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Mean over the window.
    pub mean: f64,
    /// Monte Carlo standard error of the mean by batch means, which allows for correlation between steps.
    pub mcse: f64,
    /// Steps in the window.
    pub steps: u64,
}

/// The objective of every step, thinned by averaging neighbours once there are many.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    rows: Vec<Row>,
    open: Option<Row>,
    stride: u64,
}

impl Trace {
    /// Adds the objective of `step`; steps come in order.
    pub fn push(&mut self, step: u64, objective: f64) {
        let row = Row { step, count: 1, mean: objective, squares: 0.0 };
        let row = self.open.take().map_or(row, |open| open.join(row));
        if row.count < self.stride.max(1) {
            self.open = Some(row);
            return;
        }
        self.rows.push(row);
        if self.rows.len() == MAX_ROWS {
            self.rows = self.rows.chunks_exact(2).map(|pair| pair[0].join(pair[1])).collect();
            self.stride = self.stride.max(1) * 2;
        }
    }

    /// All rows, the last of which may cover fewer steps.
    pub fn rows(&self) -> Vec<Row> {
        self.rows.iter().copied().chain(self.open).collect()
    }

    /// Number of steps.
    pub fn steps(&self) -> u64 {
        self.rows.iter().chain(&self.open).map(|r| r.count).sum()
    }

    /// Mean of the last rows, for a progress bar.
    pub fn recent(&self) -> Option<f64> {
        let from = self.rows.len().saturating_sub(WINDOW);
        let joined = self.rows[from..].iter().chain(&self.open).copied().reduce(Row::join)?;
        Some(joined.mean)
    }

    /// The estimate over the last tenth of the steps (at least 100, or all there are).
    pub fn estimate(&self) -> Option<Estimate> {
        let rows = self.rows();
        let wanted = (self.steps() / 10).max(100);
        estimate(last(&rows, wanted))
    }

    /// What the end of the trace shows about convergence: a sentence if the objective still changes, or falls.
    ///
    /// Compares the last fifth of the steps with the fifth before it; `sign` is 1 where larger is better. Differences below
    /// three standard errors, or below a thousandth of the objective's size, are nothing to report.
    pub fn verdict(&self, sign: f64) -> Option<String> {
        let rows = self.rows();
        let fifth = self.steps() / 5;
        if fifth < 20 {
            return None;
        }
        let end = last(&rows, fifth);
        let before = last(&rows[..rows.len() - end.len()], fifth);
        let (a, b) = (estimate(before)?, estimate(end)?);
        let change = sign * (b.mean - a.mean);
        let error = a.mcse.hypot(b.mcse);
        if change.abs() <= 3.0 * error || change.abs() <= 1e-3 * a.mean.abs() {
            return None;
        }
        let (from, to) = (crate::summary::number(a.mean), crate::summary::number(b.mean));
        Some(if change > 0.0 {
            format!("the objective was still improving at the end (from {from} to {to} over the last two fifths); run more steps")
        } else {
            format!(
                "the objective got worse at the end (from {from} to {to} over the last two fifths); try a smaller learning rate"
            )
        })
    }

    /// The trace that [`to_csv`](Self::to_csv) wrote, without its rows from `end` on, to which a fit that goes on from there adds.
    ///
    /// # Errors
    /// A sentence on the first line that is none of a trace.
    pub fn from_csv(text: &str, end: u64) -> Result<Self, String> {
        let mut rows = Vec::new();
        for (number, line) in text.lines().enumerate().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let row = match cells[..] {
                [step, count, mean, sd, ..] => step.parse().ok().zip(count.parse::<u64>().ok()).zip(mean.parse().ok()).map(
                    |((step, count), mean): ((u64, u64), f64)| {
                        let sd = sd.parse::<f64>().unwrap_or(0.0);
                        Row { step, count, mean, squares: sd * sd * count.saturating_sub(1) as f64 }
                    },
                ),
                _ => None,
            };
            let row = row.ok_or_else(|| format!("line {} is no row of a trace", number + 1))?;
            if row.step < end {
                rows.push(row);
            }
        }
        let stride = rows.iter().map(|r: &Row| r.count).max().unwrap_or(0);
        let open = rows.pop_if(|r| r.count < stride);
        Ok(Self { rows, open, stride })
    }

    /// The trace as CSV: see [`TRACE_COLUMNS`] for its columns.
    pub fn to_csv(&self) -> String {
        let rows = self.rows();
        let names: Vec<&str> = TRACE_COLUMNS.iter().map(|(n, _)| *n).collect();
        let mut out = names.join(",") + "\n";
        for (i, row) in rows.iter().enumerate() {
            let window = &rows[(i + 1).saturating_sub(WINDOW)..=i];
            let joined = window.iter().copied().reduce(Row::join);
            let cell = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
            let (mean, sd) = (cell(joined.map(|j| j.mean)), cell(joined.and_then(|j| j.sd())));
            out += &format!("{},{},{},{},{mean},{sd}\n", row.step, row.count, row.mean, cell(row.sd()));
        }
        out
    }
}

/// The columns of `trace.csv` and what they hold.
pub const TRACE_COLUMNS: &[(&str, &str)] = &[
    ("step", "number of the optimisation step, from 0; of a row that covers several steps, the last one"),
    ("steps", "steps that the row covers; 1 unless the fit was long"),
    ("objective", "estimate of the objective before the update of that step; a mean where the row covers several steps"),
    ("sd", "standard deviation of the estimates within the row; empty where it covers one step"),
    ("moving_mean", "mean of the estimates over this row and up to 99 rows before it"),
    ("moving_sd", "standard deviation of the estimates over the same rows"),
];

/// The last rows that cover at least `steps`.
fn last(rows: &[Row], steps: u64) -> &[Row] {
    let mut covered = 0;
    let mut from = rows.len();
    while from > 0 && covered < steps {
        from -= 1;
        covered += rows[from].count;
    }
    &rows[from..]
}

fn estimate(rows: &[Row]) -> Option<Estimate> {
    let all = rows.iter().copied().reduce(Row::join)?;
    let per_batch = (rows.len() / BATCHES).max(1);
    let batches: Vec<Row> = rows.chunks(per_batch).filter_map(|c| c.iter().copied().reduce(Row::join)).collect();
    let n = batches.len() as f64;
    // Weighted by the number of steps, since the last batch may be short.
    let spread = batches.iter().map(|b| b.count as f64 * (b.mean - all.mean).powi(2)).sum::<f64>();
    let mcse = if batches.len() > 1 { (spread / (n - 1.0) / all.count as f64).sqrt() } else { f64::NAN };
    Some(Estimate { mean: all.mean, mcse, steps: all.count })
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Noise with mean 0 and variance 1.
    fn noise(rng: &mut StdRng) -> f64 {
        (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
    }

    fn trace(n: u64, mut f: impl FnMut(u64) -> f64) -> Trace {
        let mut t = Trace::default();
        (0..n).for_each(|i| t.push(i, f(i)));
        t
    }

    #[test]
    fn thinning_keeps_means_and_deviations() {
        let n = 3 * MAX_ROWS as u64 + 5;
        let t = trace(n, |i| (i % 7) as f64);
        let rows = t.rows();
        assert!(rows.len() <= MAX_ROWS && t.steps() == n);
        let all = rows.iter().copied().reduce(Row::join).unwrap();
        let values: Vec<f64> = (0..n).map(|i| (i % 7) as f64).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let var = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        assert!((all.mean - mean).abs() < 1e-9 && (all.sd().unwrap() - var.sqrt()).abs() < 1e-9);
        assert_eq!(rows.last().unwrap().step, n - 1);
    }

    #[test]
    fn standard_error_covers_independent_and_correlated_noise() {
        let mut rng = StdRng::seed_from_u64(7);
        let e = trace(20_000, |_| 3.0 + noise(&mut rng)).estimate().unwrap();
        assert_eq!(e.steps, 2000);
        // 1 / sqrt(2000) = 0.0224; a batch-means error from 20 batches varies by about 16 %.
        assert!((0.6..1.6).contains(&(e.mcse * 2000f64.sqrt())), "{e:?}");
        assert!((e.mean - 3.0).abs() < 5.0 / 2000f64.sqrt());
        let mut x = 0.0;
        let ar = trace(20_000, |_| {
            x = 0.9 * x + noise(&mut rng);
            x
        });
        // The asymptotic deviation of an AR(1) mean is 1 / (1 - 0.9) = 10.
        let scaled = ar.estimate().unwrap().mcse * 2000f64.sqrt();
        assert!((4.5..16.0).contains(&scaled), "{scaled}");
    }

    #[test]
    fn verdicts() {
        let mut rng = StdRng::seed_from_u64(8);
        assert!(trace(5000, |_| 3.0 + noise(&mut rng)).verdict(1.0).is_none());
        assert!(trace(10, |i| i as f64).verdict(1.0).is_none());
        let rising = trace(5000, |i| 0.01 * i as f64 + noise(&mut rng));
        assert!(rising.verdict(1.0).unwrap().contains("still improving"));
        assert!(rising.verdict(-1.0).unwrap().contains("got worse"));
    }

    #[test]
    fn a_trace_goes_on_from_its_text() {
        let n = MAX_ROWS as u64 + 5;
        let whole = trace(n, |i| (i % 7) as f64 / 3.0);
        let part = Trace::from_csv(&trace(n - 4, |i| (i % 7) as f64 / 3.0).to_csv(), n - 4);
        let mut again = part.unwrap();
        (n - 4..n).for_each(|i| again.push(i, (i % 7) as f64 / 3.0));
        let (a, b) = (whole.rows(), again.rows());
        let close = |a: &Row, b: &Row| {
            (a.step, a.count) == (b.step, b.count) && (a.mean - b.mean).abs() < 1e-12 && (a.squares - b.squares).abs() < 1e-12
        };
        assert!(a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| close(a, b)), "{:?} {:?}", a.last(), b.last());
        assert_eq!(Trace::from_csv(&trace(9, |i| i as f64).to_csv(), 4).unwrap().to_csv(), trace(4, |i| i as f64).to_csv());
        assert!(Trace::from_csv("step,steps\n1,x", 9).unwrap_err().contains("line 2"));
    }

    #[test]
    fn csv_has_the_documented_columns() {
        let csv = trace(3, |i| i as f64).to_csv();
        assert_eq!(csv, "step,steps,objective,sd,moving_mean,moving_sd\n0,1,0,,0,\n1,1,1,,0.5,0.7071067811865476\n2,1,2,,1,1\n");
    }
}
