//! The statistics of gradient certificates: moments of estimators, tests against the truth, quadrature.

use statrs::distribution::{ContinuousCDF, Normal};

/// Running moments of one quantity (Welford; Pebay 2008 for the fourth).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    n: f64,
    mean: f64,
    m2: f64,
    m3: f64,
    m4: f64,
    largest: f64,
}

impl Moments {
    /// Takes one more value.
    pub fn add(&mut self, x: f64) {
        let before = self.n;
        self.n += 1.0;
        let d = x - self.mean;
        let dn = d / self.n;
        let dn2 = dn * dn;
        let t = d * dn * before;
        self.mean += dn;
        self.m4 += t * dn2 * (self.n * self.n - 3.0 * self.n + 3.0) + 6.0 * dn2 * self.m2 - 4.0 * dn * self.m3;
        self.m3 += t * dn * (self.n - 2.0) - 3.0 * dn * self.m2;
        self.m2 += t;
        self.largest = self.largest.max(x.abs());
    }

    /// Number of values.
    pub fn count(&self) -> f64 {
        self.n
    }

    /// Mean.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Unbiased variance of one value; 0 of fewer than two.
    pub fn variance(&self) -> f64 {
        if self.n < 2.0 { 0.0 } else { self.m2 / (self.n - 1.0) }
    }

    /// Standard error of the mean.
    pub fn standard_error(&self) -> f64 {
        (self.variance() / self.n.max(1.0)).sqrt()
    }

    /// Excess kurtosis; 0 of a constant.
    pub fn kurtosis(&self) -> f64 {
        if self.m2 <= 0.0 { 0.0 } else { self.n * self.m4 / (self.m2 * self.m2) - 3.0 }
    }

    /// Whether a few values dominate the variance, so that the normal bounds of the test are doubtful: the largest value alone makes up more
    /// than a tenth of the second moment, or the excess kurtosis exceeds a tenth of the number of values.
    pub fn heavy_tailed(&self) -> bool {
        let second = self.m2 + self.n * self.mean * self.mean;
        self.n >= 100.0 && self.m2 > 0.0 && (self.largest * self.largest > 0.1 * second || self.kurtosis() > 0.1 * self.n)
    }
}

/// The bound on |z| of `tests` two-sided tests with this family-wise error rate (Bonferroni).
pub fn threshold(level: f64, tests: usize) -> f64 {
    Normal::standard().inverse_cdf(1.0 - level / (2.0 * tests.max(1) as f64))
}

/// The z-score of an estimate with standard error `se` against a truth with error `error`. `scale` is the size of the numbers: differences at
/// rounding distance of it are none.
pub fn z_score(estimate: f64, se: f64, truth: f64, error: f64, rounding: f64, scale: f64) -> f64 {
    let d = estimate - truth;
    let floor = rounding * scale.max(truth.abs()).max(estimate.abs());
    let spread = (se * se + error * error + floor * floor).sqrt();
    if d == 0.0 { 0.0 } else { d / spread.max(f64::MIN_POSITIVE) }
}

/// Nodes and weights of the standard normal distribution (Gauss-Hermite, probabilists' form): `sum of w f(z)` is exact for polynomials up to degree `2 n - 1`.
pub fn gauss_hermite(n: usize) -> Vec<(f64, f64)> {
    // Newton's method on the orthonormal recurrence, from asymptotic first guesses (Press et al., section 4.6).
    let mut out = Vec::with_capacity(n);
    let half = n.div_ceil(2);
    let nf = n as f64;
    let mut z = 0.0f64;
    let mut roots: Vec<f64> = Vec::new();
    for i in 0..half {
        z = match i {
            0 => (2.0 * nf + 1.0).sqrt() - 1.85575 * (2.0 * nf + 1.0).powf(-1.0 / 6.0),
            1 => z - 1.14 * nf.powf(0.426) / z,
            2 => 1.86 * z - 0.86 * roots[0],
            3 => 1.91 * z - 0.91 * roots[1],
            _ => 2.0 * z - roots[i - 2],
        };
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut p, mut before) = (std::f64::consts::PI.powf(-0.25), 0.0);
            for j in 0..n {
                let j = j as f64;
                let next = z * (2.0 / (j + 1.0)).sqrt() * p - (j / (j + 1.0)).sqrt() * before;
                (before, p) = (p, next);
            }
            slope = (2.0 * nf).sqrt() * before;
            let step = p / slope;
            z -= step;
            if step.abs() < 1e-14 * (1.0 + z.abs()) {
                break;
            }
        }
        roots.push(z);
        let w = 2.0 / (slope * slope) / std::f64::consts::PI.sqrt();
        let x = z * std::f64::consts::SQRT_2;
        out.push((x, w));
        if n.is_multiple_of(2) || i + 1 < half {
            out.push((-x, w));
        }
    }
    out.sort_by(|a, b| a.0.total_cmp(&b.0));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_known_values() {
        let xs = [1.0, 2.0, 4.0, 8.0, 3.0];
        let mut m = Moments::default();
        xs.iter().for_each(|x| m.add(*x));
        let mean = 3.6;
        let central = |k: i32| xs.iter().map(|x: &f64| (x - mean).powi(k)).sum::<f64>();
        assert!((m.mean() - mean).abs() < 1e-12 && (m.variance() - central(2) / 4.0).abs() < 1e-12);
        assert!((m.kurtosis() - (5.0 * central(4) / central(2).powi(2) - 3.0)).abs() < 1e-10);
    }

    #[test]
    fn quadrature_has_the_moments_of_the_normal() {
        for n in [1, 2, 5, 20, 48, 64] {
            let q = gauss_hermite(n);
            assert_eq!(q.len(), n);
            let moment = |k: i32| q.iter().map(|(x, w)| w * x.powi(k)).sum::<f64>();
            assert!((moment(0) - 1.0).abs() < 1e-10, "{n}: {}", moment(0));
            assert!(moment(1).abs() < 1e-10);
            if n > 2 {
                assert!((moment(2) - 1.0).abs() < 1e-9 && (moment(4) - 3.0).abs() < 1e-8, "{n}");
            }
        }
    }

    #[test]
    fn bounds_grow_with_the_number_of_tests() {
        assert!((threshold(0.05, 1) - 1.959963985).abs() < 1e-6);
        assert!(threshold(0.01, 1000) > 4.2 && threshold(0.01, 1000) < 4.6);
        assert!(z_score(1.0 + 1e-15, 0.0, 1.0, 0.0, 1e-9, 1.0).abs() < 1.0);
        assert!(z_score(1.1, 0.01, 1.0, 0.0, 1e-9, 1.0) > 9.0);
    }

    #[test]
    fn heavy_tails_are_noticed() {
        let (mut light, mut heavy) = (Moments::default(), Moments::default());
        for i in 0..1000 {
            let u = (f64::from(i) + 0.5) / 1000.0;
            light.add(Normal::standard().inverse_cdf(u));
            heavy.add((std::f64::consts::PI * (u - 0.5)).tan());
        }
        assert!(!light.heavy_tailed() && heavy.heavy_tailed());
    }
}
