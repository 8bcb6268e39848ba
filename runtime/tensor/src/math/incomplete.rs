//! The incomplete gamma functions and the pathwise derivative of gamma draws.

use super::gamma::{HALF_LOG_TWO_PI, digamma_positive, lgamma_positive, stirling};
use crate::float::Elementary;

/// Above this shape, expansions around the normal limit replace the series.
const HUGE_SHAPE: f64 = 1e7;
/// Enough for every shape below `HUGE_SHAPE`: the terms needed grow as its square root.
const TERMS: usize = 60_000;

/// log(1 + u) - u, without cancellation.
#[inline(always)]
fn log1p_less(u: f64) -> f64 {
    if u.abs() > 0.1 {
        return u.log1p_() - u;
    }
    // log(1 + u) = 2 atanh(s), s = u / (2 + u); less u leaves -u s + 2 (s^3 / 3 + s^5 / 5 + ..).
    let s = u / (2.0 + u);
    let z = s * s;
    let mut sum = 0.0;
    for k in (1..=8).rev() {
        sum = z * (sum + 1.0 / (2 * k + 1) as f64);
    }
    s * (2.0 * sum - u)
}

/// log(x^a e^-x / gamma(a + 1)).
#[inline(always)]
pub(crate) fn log_prefactor(a: f64, x: f64) -> f64 {
    if a >= 8.0 {
        let mu = (x - a) / a;
        // Far from the mode the sum 1 + mu would not give back x / a.
        let log_less = if mu.abs() > 0.5 { (x / a).log_() - mu } else { log1p_less(mu) };
        a * log_less - 0.5 * a.log_() - HALF_LOG_TWO_PI - stirling(a)
    } else {
        a * x.log_() - x - lgamma_positive(a + 1.0)
    }
}

/// A value with its derivative by the shape.
#[derive(Clone, Copy)]
struct Dual {
    v: f64,
    d: f64,
}

/// sum of x^n / ((a + 1) .. (a + n)), n from 0, with its derivative by a. Converges well for x <= a + 1.
#[inline(always)]
fn series(a: f64, x: f64) -> Dual {
    let (mut term, mut log_slope) = (1.0, 0.0);
    let mut sum = Dual { v: 1.0, d: 0.0 };
    for n in 1..TERMS {
        let r = 1.0 / (a + n as f64);
        term *= x * r;
        log_slope -= r;
        sum.v += term;
        sum.d += term * log_slope;
        if term < sum.v * 1e-17 {
            break;
        }
    }
    sum
}

/// The continued fraction h of Q(a, x) gamma(a) / (x^a e^-x) (DLMF 8.9.2 contracted), with its derivative by a. For x > a + 1.
#[inline(always)]
fn fraction(a: f64, x: f64) -> Dual {
    const TINY: f64 = 1e-300;
    let b0 = x + 1.0 - a;
    // Modified Lentz; every quantity carries its derivative.
    let (mut c, mut dc) = (1.0 / TINY, 0.0);
    let mut d = 1.0 / b0;
    let mut dd = d * d;
    let (mut h, mut log_slope) = (d, dd * b0);
    for n in 1..TERMS {
        let n = n as f64;
        let an = n * (a - n);
        let b = b0 + 2.0 * n;
        let den = an * d + b;
        let dden = an * dd + (n * d - 1.0);
        d = 1.0 / if den.abs() < TINY { TINY } else { den };
        dd = -d * d * dden;
        let next = b + an / c;
        dc = -1.0 + (n - an * dc / c) / c;
        c = if next.abs() < TINY { TINY } else { next };
        let step = c * d;
        let slope = dc / c + dd / d;
        h *= step;
        log_slope += slope;
        if (step - 1.0).abs() < 1e-16 && slope.abs() <= 1e-16 * (1.0 + log_slope.abs()) {
            break;
        }
    }
    Dual { v: h, d: h * log_slope }
}

/// (P, Q), each accurate where it is small. None outside the domain.
#[inline(always)]
fn gamma_pq(a: f64, x: f64) -> Option<(f64, f64)> {
    if !(a >= 0.0 && x >= 0.0) || a == f64::INFINITY {
        return None;
    }
    if a == 0.0 || x == f64::INFINITY {
        return Some((1.0, 0.0));
    }
    if x == 0.0 {
        return Some((0.0, 1.0));
    }
    if a > HUGE_SHAPE {
        return Some(normal_limit(a, x));
    }
    let log_front = log_prefactor(a, x);
    // The fraction also where a small shape makes Q small; there P is not.
    if x <= a + 1.0 && !(a < 1.0 && x > 0.7) {
        let p = (log_front.exp_() * series(a, x).v).min(1.0);
        Some((p, 1.0 - p))
    } else {
        let q = (log_front.exp_() * a * fraction(a, x).v).min(1.0);
        Some((1.0 - q, q))
    }
}

/// Temme's uniform expansion (DLMF 8.12.3), first two terms: relative error O(1 / a^2) of the density.
fn normal_limit(a: f64, x: f64) -> (f64, f64) {
    let mu = (x - a) / a;
    let half_eta2 = -log1p_less(mu);
    let eta = (2.0 * half_eta2).sqrt().copysign(mu);
    // c0 = 1 / mu - 1 / eta; c1 at the centre. Near the centre by its Taylor series in eta.
    let c0 = if eta.abs() < 1e-2 {
        -1.0 / 3.0 + eta * (1.0 / 12.0 + eta * (-2.0 / 135.0 + eta / 864.0))
    } else {
        1.0 / mu - 1.0 / eta
    };
    let c1 = -1.0 / 540.0;
    let r = (-a * half_eta2).exp_() * (c0 + c1 / a) / (2.0 * std::f64::consts::PI * a).sqrt();
    let t = eta * (0.5 * a).sqrt();
    (0.5 * libm::erfc(-t) - r, 0.5 * libm::erfc(t) + r)
}

/// Regularised lower incomplete gamma function.
#[inline(always)]
pub(crate) fn gamma_p(a: f64, x: f64) -> f64 {
    gamma_pq(a, x).map_or(f64::NAN, |(p, _)| p)
}

/// Regularised upper incomplete gamma function.
#[inline(always)]
pub(crate) fn gamma_q(a: f64, x: f64) -> f64 {
    gamma_pq(a, x).map_or(f64::NAN, |(_, q)| q)
}

/// dx/da at constant P(a, x): minus the derivative of P by the shape, over the density. The common factor x^a e^-x cancels.
#[inline(always)]
pub(crate) fn gamma_draw_grad(a: f64, x: f64) -> f64 {
    if !(a > 0.0 && x >= 0.0) || a == f64::INFINITY || x == f64::INFINITY {
        return f64::NAN;
    }
    if x == 0.0 {
        return 0.0;
    }
    if a > 1e5 {
        // Wilson and Hilferty: x = a (1 - 1 / (9 a) + z / (3 sqrt a))^3 with a normal z.
        let root = libm::cbrt(x / a);
        let inv = 1.0 / (9.0 * a);
        let z_term = root - 1.0 + inv;
        return root * root * (root + 3.0 * (inv - 0.5 * z_term));
    }
    if x <= a + 1.0 {
        let s = series(a, x);
        -(s.v * (x.log_() - digamma_positive(a + 1.0)) + s.d) * x / a
    } else {
        let h = fraction(a, x);
        x * (h.v * (x.log_() - digamma_positive(a)) + h.d)
    }
}
