//! Values on held-out data over the course of a fit, and when to stop.

/// Held-out data were evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Number of steps done.
    pub step: u64,
    /// Epochs done, where there are epochs.
    pub epoch: Option<f64>,
    /// Each objective's mean and Monte Carlo standard error; the first decides.
    pub values: Vec<(f64, f64)>,
}

/// All evaluations, the best of them, and how many without improvement end the fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    points: Vec<Point>,
    patience: Option<u64>,
    sign: f64,
}

/// The columns of `validation.csv`; a second objective has columns `objective.2` and `se.2`, and so on.
pub const VALIDATION_COLUMNS: &[(&str, &str)] = &[
    ("step", "number of optimisation steps done"),
    ("epoch", "epochs done; empty where the objective loops over no minibatch"),
    ("objective", "mean of the objective's estimate on the held-out data, at the parameters after these steps"),
    ("se", "its Monte Carlo standard error"),
];

impl Validation {
    /// Without evaluations; `sign` is 1 where larger is better. The fit ends after `patience` evaluations without improvement.
    pub fn new(sign: f64, patience: Option<u64>) -> Self {
        Self { points: Vec::new(), patience, sign }
    }

    /// Adds an evaluation; whether it is the best so far. A value that is not finite never is.
    pub fn push(&mut self, point: Point) -> bool {
        self.points.push(point);
        self.best_at() == Some(self.points.len() - 1)
    }

    /// All evaluations, in order.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The best evaluation, the first of equals.
    pub fn best(&self) -> Option<&Point> {
        self.points.get(self.best_at()?)
    }

    fn best_at(&self) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (i, p) in self.points.iter().enumerate() {
            let value = p.values.first().map_or(f64::NAN, |(x, _)| self.sign * x);
            if value.is_finite() && best.is_none_or(|(_, b)| value > b) {
                best = Some((i, value));
            }
        }
        best.map(|(i, _)| i)
    }

    /// Evaluations that end the fit where none of them improves.
    pub fn patience(&self) -> Option<u64> {
        self.patience
    }

    /// Whether patience has come to its end.
    pub fn exhausted(&self) -> bool {
        let since = self.points.len() - self.best_at().map_or(0, |b| b + 1);
        self.patience.is_some_and(|p| since as u64 >= p)
    }

    /// As CSV: see [`VALIDATION_COLUMNS`] for its columns.
    pub fn to_csv(&self) -> String {
        let mut names: Vec<String> = VALIDATION_COLUMNS.iter().map(|(n, _)| (*n).to_string()).collect();
        let goals = self.points.first().map_or(1, |p| p.values.len());
        (2..=goals).for_each(|k| names.extend([format!("objective.{k}"), format!("se.{k}")]));
        let mut out = names.join(",") + "\n";
        for p in &self.points {
            let mut cells = vec![p.step.to_string(), p.epoch.map_or(String::new(), |e| e.to_string())];
            p.values.iter().for_each(|(x, se)| cells.extend([x.to_string(), se.to_string()]));
            out += &(cells.join(",") + "\n");
        }
        out
    }

    /// Takes over the evaluations that [`to_csv`](Self::to_csv) wrote, up to `step` steps.
    ///
    /// # Errors
    /// A sentence on the first line that is none of them.
    pub fn restore(&mut self, text: &str, step: u64) -> Result<(), String> {
        for (number, line) in text.lines().enumerate().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let read = || {
                let [at, epoch, values @ ..] = &cells[..] else { return None };
                let numbers: Option<Vec<f64>> = values.iter().map(|c| c.parse().ok()).collect();
                let values = numbers?.chunks_exact(2).map(|c| (c[0], c[1])).collect();
                Some(Point { step: at.parse().ok()?, epoch: epoch.parse().ok(), values })
            };
            let point = read().ok_or_else(|| format!("line {} is no evaluation", number + 1))?;
            if point.step <= step {
                self.points.push(point);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: u64, value: f64) -> Point {
        Point { step, epoch: Some(step as f64 / 10.0), values: vec![(value, 0.5), (-1.0, 0.0)] }
    }

    #[test]
    fn patience_counts_from_the_best() {
        let mut v = Validation::new(1.0, Some(3));
        let improved: Vec<bool> =
            [1.0, 3.0, 2.0, f64::NAN].into_iter().enumerate().map(|(i, x)| v.push(point(i as u64, x))).collect();
        assert_eq!((improved, v.exhausted()), (vec![true, true, false, false], false));
        assert_eq!(v.best().map(|p| p.step), Some(1));
        assert!(!v.push(point(4, 3.0)) && v.exhausted(), "an equal value is no improvement");
        let mut falling = Validation::new(-1.0, None);
        assert!([5.0, 4.0].into_iter().all(|x| falling.push(point(0, x))) && !falling.exhausted());
        let mut never = Validation::new(1.0, Some(2));
        never.push(point(0, f64::NAN));
        never.push(point(1, f64::INFINITY));
        assert!(never.best().is_none() && never.exhausted());
    }

    #[test]
    fn text_is_read_back() {
        let mut v = Validation::new(1.0, Some(3));
        (0..5).for_each(|i| {
            v.push(point(10 * i, (i as f64).sin()));
        });
        let csv = v.to_csv();
        assert!(csv.starts_with("step,epoch,objective,se,objective.2,se.2\n0,0,0,0.5,-1,0\n"), "{csv}");
        let mut again = Validation::new(1.0, Some(3));
        again.restore(&csv, 40).unwrap();
        assert_eq!(again, v);
        let mut part = Validation::new(1.0, None);
        part.restore(&csv, 25).unwrap();
        assert_eq!(part.points(), &v.points()[..3]);
        assert!(part.restore("step\nx", 9).unwrap_err().contains("line 2"));
    }
}
