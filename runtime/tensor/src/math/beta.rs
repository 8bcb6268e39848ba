//! The beta function and its incomplete form.

use super::gamma::{HALF_LOG_TWO_PI, digamma_positive, lgamma, stirling};
use crate::float::Elementary;

/// log B(a, b) for a, b > 0, without the cancellation of three large `lgamma`s.
pub(crate) fn lbeta(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() || a < 0.0 || b < 0.0 {
        return f64::NAN;
    }
    let (p, q) = if a <= b { (a, b) } else { (b, a) };
    if p == 0.0 {
        return f64::INFINITY;
    }
    if q == f64::INFINITY {
        return f64::NEG_INFINITY;
    }
    if p >= 8.0 {
        let correction = stirling(p) + (stirling(q) - stirling(p + q));
        let ratio = p / q;
        -0.5 * q.log_() + HALF_LOG_TWO_PI + correction + (p - 0.5) * (ratio / (1.0 + ratio)).log_() - q * ratio.log1p_()
    } else if q >= 8.0 {
        let correction = stirling(q) - stirling(p + q);
        lgamma(p) + correction + p - p * (p + q).log_() + (q - 0.5) * (-p / (p + q)).log1p_()
    } else {
        lgamma(p) + (lgamma(q) - lgamma(p + q))
    }
}

/// x^a (1 - x)^b / B(a, b), by way of the deviation from the mode where a and b are large.
fn prefactor(a: f64, b: f64, x: f64) -> f64 {
    let s = a + b;
    if a >= 8.0 && b >= 8.0 {
        let correction = stirling(s) - stirling(a) - stirling(b);
        // d = x - a / s
        let d = (x * b - (1.0 - x) * a) / s;
        let exponent = a * (d * s / a).log1p_() + b * (-d * s / b).log1p_();
        let root = (0.5 * correction - HALF_LOG_TWO_PI + 0.5 * correction).exp_() * (a / s * b).sqrt();
        root * exponent.exp_()
    } else {
        (a * x.log_() + b * (-x).log1p_() - lbeta(a, b)).exp_()
    }
}

/// Regularised incomplete beta function I_x(a, b); NaN outside a, b > 0, 0 <= x <= 1.
pub(crate) fn beta_inc(a: f64, b: f64, x: f64) -> f64 {
    if !(a > 0.0 && b > 0.0 && (0.0..=1.0).contains(&x)) || a == f64::INFINITY || b == f64::INFINITY {
        return f64::NAN;
    }
    if x == 0.0 || x == 1.0 {
        return x;
    }
    let front = prefactor(a, b, x);
    let y = if x < (a + 1.0) / (a + b + 2.0) { front * fraction(a, b, x) / a } else { 1.0 - front * fraction(b, a, 1.0 - x) / b };
    y.clamp(0.0, 1.0)
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22), by the modified Lentz algorithm.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const TERMS: usize = 20_000;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for m in 1..TERMS {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    h
}

/// As [`fraction`], with the derivative along `(da, db)`.
fn fraction_slope(a: f64, b: f64, x: f64, (da, db): (f64, f64)) -> (f64, f64) {
    const TINY: f64 = 1e-300;
    const TERMS: usize = 20_000;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let (mut c, mut dc) = (1.0, 0.0);
    let first = -(a + b) * x / (a + 1.0);
    let mut d = 1.0 / away(1.0 + first);
    let mut dd = d * d * x * ((da + db) * (a + 1.0) - (a + b) * da) / ((a + 1.0) * (a + 1.0));
    let (mut h, mut log_slope) = (d, dd / d);
    for m in 1..TERMS {
        let m = m as f64;
        let (a1, a2, a3) = (a + 2.0 * m - 1.0, a + 2.0 * m, a + 2.0 * m + 1.0);
        let even = m * (b - m) * x / (a1 * a2);
        let deven = m * x / (a1 * a2) * db - even * da * (1.0 / a1 + 1.0 / a2);
        let odd = -(a + m) * (a + b + m) * x / (a2 * a3);
        let dodd = odd * (da / (a + m) + (da + db) / (a + b + m) - da / a2 - da / a3);
        let mut last = (1.0, 0.0);
        for (e, de) in [(even, deven), (odd, dodd)] {
            let old = (c, dc, d, dd);
            d = 1.0 / away(1.0 + e * old.2);
            dd = -d * d * (de * old.2 + e * old.3);
            c = away(1.0 + e / old.0);
            dc = de / old.0 - e * old.1 / (old.0 * old.0);
            last = (d * c, dc / c + dd / d);
            h *= last.0;
            log_slope += last.1;
        }
        if (last.0 - 1.0).abs() < 1e-16 && last.1.abs() <= 1e-16 * (1.0 + log_slope.abs()) {
            break;
        }
    }
    (h, h * log_slope)
}

/// dx/da at constant I_x(a, b): minus the derivative by `a`, over the density. The common factor x^a (1 - x)^b / B(a, b) cancels.
pub(crate) fn beta_draw_grad(a: f64, b: f64, x: f64) -> f64 {
    if !(a > 0.0 && b > 0.0 && (0.0..=1.0).contains(&x)) || a == f64::INFINITY || b == f64::INFINITY {
        return f64::NAN;
    }
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    // The derivative of the factor's logarithm.
    let front = x.log_() - digamma_positive(a) + digamma_positive(a + b);
    if x < (a + 1.0) / (a + b + 2.0) {
        let (h, dh) = fraction_slope(a, b, x, (1.0, 0.0));
        -x * (1.0 - x) * (h * (front - 1.0 / a) + dh) / a
    } else {
        let (h, dh) = fraction_slope(b, a, 1.0 - x, (0.0, 1.0));
        x * (1.0 - x) * (h * front + dh) / b
    }
}
