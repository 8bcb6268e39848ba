//! The error function's family and the standard normal distribution.

use super::gamma::HALF_LOG_TWO_PI;
use crate::float::Elementary;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// erfc(x / sqrt 2), where the rounding of the quotient does not count: it is carried along to first order.
#[inline(always)]
fn erfc_scaled(x: f64) -> f64 {
    /// 1 / sqrt 2 less its nearest double.
    const REST: f64 = -4.833_646_656_726_457e-17;
    const TWO_OVER_SQRT_PI: f64 = 1.128_379_167_095_512_6;
    let t = x * FRAC_1_SQRT_2;
    let y = libm::erfc(t);
    if t > 1.0 && t < 27.5 {
        let lost = x.mul_add(FRAC_1_SQRT_2, -t) + x * REST;
        y - lost * TWO_OVER_SQRT_PI * (-t * t).exp_()
    } else {
        y
    }
}

/// Distribution function of the standard normal, accurate in both tails.
#[inline(always)]
pub(crate) fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc_scaled(-x)
}

/// log of `normal_cdf`, also where that underflows.
#[inline(always)]
pub(crate) fn log_normal_cdf(x: f64) -> f64 {
    if x > 0.0 {
        (-0.5 * erfc_scaled(x)).log1p_()
    } else if x > -20.0 {
        normal_cdf(x).log_()
    } else {
        // Phi(x) = phi(x) / |x| (1 - 1/x^2 + 3/x^4 - ..); for |x| >= 20 eight terms reach full precision. NaN comes here and passes.
        let r = 1.0 / (x * x);
        let mut tail = 0.0;
        for k in (1..=8).rev() {
            tail = -((2 * k - 1) as f64) * r * (1.0 + tail);
        }
        -0.5 * x * x - (-x).log_() - HALF_LOG_TWO_PI + tail.log1p_()
    }
}

/// Inverse of `normal_cdf` for 0 < p <= 1/2.
#[inline(always)]
fn lower_quantile(p: f64) -> f64 {
    if p > 0.25 {
        return SQRT_2 * erf_inv_centre(2.0 * p - 1.0);
    }
    // A rational starting value (Abramowitz and Stegun 26.2.23, error 4.5e-4), then Newton's method on the logarithm.
    let log_p = p.log_();
    let t = (-2.0 * log_p).sqrt();
    let mut x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
    for _ in 0..4 {
        let log_cdf = log_normal_cdf(x);
        // 1 / hazard = Phi(x) / phi(x)
        let slope = (log_cdf + 0.5 * x * x + HALF_LOG_TWO_PI).exp_();
        x -= (log_cdf - log_p) * slope;
    }
    x
}

/// Inverse of `normal_cdf`; infinite at 0 and 1, NaN outside.
#[inline(always)]
pub(crate) fn normal_quantile(p: f64) -> f64 {
    if p > 0.0 && p <= 0.5 {
        lower_quantile(p)
    } else if p > 0.5 && p < 1.0 {
        -lower_quantile(1.0 - p)
    } else if p == 0.0 {
        f64::NEG_INFINITY
    } else if p == 1.0 {
        f64::INFINITY
    } else {
        f64::NAN
    }
}

/// Inverse of `erf` for |y| <= 1/2, by Newton's method with the curvature known (Halley); relative precision near 0.
#[inline(always)]
fn erf_inv_centre(y: f64) -> f64 {
    const HALF_SQRT_PI: f64 = 0.886_226_925_452_758;
    let z = y * HALF_SQRT_PI;
    let w = z * z;
    let mut x = z * (1.0 + w * (1.0 / 3.0 + w * (7.0 / 30.0 + w * 127.0 / 630.0)));
    for _ in 0..3 {
        let step = (libm::erf(x) - y) * HALF_SQRT_PI * (x * x).exp_();
        x -= step / (1.0 + x * step);
    }
    x
}

/// Inverse of `erf`; infinite at -1 and 1, NaN outside.
#[inline(always)]
pub(crate) fn erf_inv(y: f64) -> f64 {
    if y.abs() <= 0.5 {
        return erf_inv_centre(y);
    }
    // The lower tail of the normal distribution: erf(x) = 2 Phi(x sqrt 2) - 1, and 1 - |y| is exact.
    let x = -normal_quantile(0.5 * (1.0 - y.abs())) * FRAC_1_SQRT_2;
    x.copysign(y)
}
