//! The beta function and its incomplete form.

use super::gamma::{HALF_LOG_TWO_PI, lgamma, stirling};
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
    if y > 1.0 {
        1.0
    } else if y < 0.0 {
        0.0
    } else {
        y
    }
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
