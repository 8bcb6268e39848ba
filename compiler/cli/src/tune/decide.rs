//! Which of several measured strategies is taken. Nothing here looks at a clock: what was measured is given.
//!
//! ```text
//!   cost       variance of one step's gradient times the time of a step: what a given precision of the gradient costs
//!   time       the lower quartile of the rounds' times: what is slower was interrupted, or met a slow spell of the machine
//!   ratio      cost / cost of the one in use
//!   better     ratio + 2 se < 0.95
//!   picked     the lowest ratio of those that are better; of those within 5 % of it the first in order; else the one in use
//! ```

/// Standard errors by which a strategy must be better than the one in use.
const ERRORS: f64 = 2.0;
/// What a change must gain at least, and what counts as equal.
const MARGIN: f64 = 0.05;

/// What was measured of one setting of the strategies.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// Sum over the unconstrained components of the variance of one step's gradient.
    pub(crate) variance: f64,
    /// Its standard error.
    pub(crate) variance_se: f64,
    /// Seconds of a step, one number for each round; rounds alternate between the settings that are compared.
    pub(crate) rounds: Vec<f64>,
    /// Gradients drawn.
    pub(crate) draws: u64,
    /// Steps before, for strategies that remember something.
    pub(crate) warmed: Option<u64>,
    /// Whether a few draws make up most of the variance.
    pub(crate) heavy_tailed: bool,
}

impl Measured {
    /// The time of a step, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        quartile(&self.rounds)
    }

    /// Variance times seconds a step.
    pub(crate) fn cost(&self) -> f64 {
        self.variance * self.seconds()
    }
}

/// A ratio of costs with its Monte Carlo error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) value: f64,
    pub(crate) se: f64,
}

impl Ratio {
    /// The ratio of something to itself.
    pub(crate) const ONE: Ratio = Ratio { value: 1.0, se: 0.0 };

    /// Whether it is below 1 by more than its noise, and by enough to be worth a change.
    pub(crate) fn better(&self) -> bool {
        self.value + ERRORS * self.se < 1.0 - MARGIN
    }

    /// Whether it is above `limit` beyond doubt.
    pub(crate) fn hopeless(&self, limit: f64) -> bool {
        self.value - 2.0 * ERRORS * self.se > limit
    }
}

/// The cost of `a` relative to that of `b`.
pub(crate) fn ratio(a: &Measured, b: &Measured) -> Ratio {
    let time = a.seconds() / b.seconds().max(f64::MIN_POSITIVE);
    let time_se = spread(&a.rounds).hypot(spread(&b.rounds));
    // Without any variance on either side time is all that tells them apart.
    let (v, v_se) = match (a.variance, b.variance) {
        (0.0, 0.0) => (1.0, 0.0),
        (_, 0.0) => return Ratio { value: f64::INFINITY, se: 0.0 },
        (x, y) => (x / y, relative(a).hypot(relative(b))),
    };
    let value = v * time;
    let se = value * v_se.hypot(time_se);
    Ratio { value, se }
}

fn relative(m: &Measured) -> f64 {
    if m.variance > 0.0 { m.variance_se / m.variance } else { 0.0 }
}

/// The number of the setting that is taken: `ratios[0]` is the one in use. Those that may not be taken are absent.
pub(crate) fn pick(ratios: &[Option<Ratio>]) -> usize {
    let better = || ratios.iter().enumerate().skip(1).filter_map(|(k, r)| r.filter(Ratio::better).map(|r| (k, r.value)));
    let Some(best) = better().map(|(_, r)| r).min_by(f64::total_cmp) else { return 0 };
    better().find(|(_, r)| *r <= best * (1.0 + MARGIN)).map_or(0, |(k, _)| k)
}

/// The lower quartile; NaN of none.
fn quartile(values: &[f64]) -> f64 {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    v.get(v.len().saturating_sub(1) / 4).copied().unwrap_or(f64::NAN)
}

/// The relative standard error of a lower quartile, from how far the lower half is from it: outliers have no part in it.
fn spread(values: &[f64]) -> f64 {
    let q = quartile(values);
    let mut distances: Vec<f64> = values.iter().map(|x| (x - q).abs()).collect();
    distances.sort_by(f64::total_cmp);
    let n = values.len().div_ceil(2);
    let middle = distances.get(n.saturating_sub(1) / 2).copied().unwrap_or(0.0);
    // 1.4826 makes it a standard deviation of normal numbers; a quartile has 1.3626 times the error of a mean.
    1.4826 * 1.3626 * middle / (n.max(1) as f64).sqrt() / q.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(variance: f64, variance_se: f64, rounds: &[f64]) -> Measured {
        Measured { variance, variance_se, rounds: rounds.to_vec(), draws: 1000, ..Measured::default() }
    }

    #[test]
    fn the_ratio_is_of_variance_times_time() {
        let a = measured(2.0, 0.02, &[3.0, 3.0, 3.0]);
        let b = measured(4.0, 0.04, &[1.0, 1.0, 1.0]);
        let r = ratio(&a, &b);
        assert!((r.value - 1.5).abs() < 1e-12 && (r.se - 1.5 * 0.01 * 2f64.sqrt()).abs() < 1e-12, "{r:?}");
        assert_eq!(a.cost(), 6.0);
    }

    #[test]
    fn slow_spells_do_not_count() {
        let b = measured(1.0, 0.0, &[1.0, 5.0, 1.0, 9.0]);
        let a = measured(1.0, 0.0, &[2.0, 2.0, 10.0, 18.0]);
        assert_eq!(ratio(&a, &b), Ratio { value: 2.0, se: 0.0 });
    }

    #[test]
    fn exact_gradients_are_compared_by_time() {
        let (none, some) = (measured(0.0, 0.0, &[2.0]), measured(1.0, 0.1, &[1.0]));
        assert_eq!(ratio(&measured(0.0, 0.0, &[1.0]), &none).value, 0.5);
        assert_eq!(ratio(&none, &some).value, 0.0);
        assert_eq!(ratio(&some, &none).value, f64::INFINITY);
    }

    #[test]
    fn a_change_is_better_by_more_than_its_noise() {
        let r = |value, se| Some(Ratio { value, se });
        assert_eq!(pick(&[Some(Ratio::ONE), r(0.8, 0.2), r(0.99, 0.0), r(2.0, 0.1)]), 0);
        assert_eq!(pick(&[Some(Ratio::ONE), r(0.8, 0.02), r(0.1, 0.5), r(0.5, 0.01)]), 3);
        assert_eq!(pick(&[Some(Ratio::ONE), None, r(f64::NAN, 0.0)]), 0);
        assert_eq!(pick(&[Some(Ratio::ONE)]), 0);
    }

    #[test]
    fn equals_are_taken_in_order() {
        let r = |value| Some(Ratio { value, se: 0.001 });
        assert_eq!(pick(&[Some(Ratio::ONE), r(0.102), r(0.1), r(0.2)]), 1);
        assert_eq!(pick(&[Some(Ratio::ONE), r(0.2), r(0.1), r(0.102)]), 2);
    }
}
