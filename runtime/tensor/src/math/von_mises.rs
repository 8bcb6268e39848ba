//! The Bessel functions I0 and I1, and the von Mises distribution.
//!
//! ```text
//!   density       f(y)   =  exp(k cos y) / (2 pi I0(k))                      with period 2 pi
//!   distribution  F(y)   =  integral of f from -pi to y                      F(y + 2 pi) = F(y) + 1
//!   moves         dy/dk  =  integral of (A - cos t) f(t) / f(y), -pi to y    at constant F; A = I1(k) / I0(k)
//! ```
//!
//! Integrals are taken over `f(t) / f(y)`, whose logarithm is `k (cos t - cos y)`, where it is not negligible: there it is an entire function of little
//! variation, and 28 Gauss nodes are enough for every `k`. Integrands have one sign, so nothing cancels.

use super::normal::normal_quantile;
use crate::float::Elementary;
use std::f64::consts::{PI, TAU};

/// Above this the asymptotic series converge to the last bit, below it the power series do.
const LARGE: f64 = 30.0;
/// What is smaller than `exp(-RANGE)` beside 1 is left out.
const RANGE: f64 = 38.0;

/// `I0(x) - 1` and `I1(x)` by their power series; terms are positive.
fn power_series(x: f64) -> (f64, f64) {
    let q = 0.25 * x * x;
    let (mut term, mut i0, mut i1) = (1.0, 0.0, 1.0);
    for k in 1..500 {
        let k = k as f64;
        term *= q / (k * k);
        i0 += term;
        i1 += term / (k + 1.0);
        if term < 1e-17 * i0 {
            break;
        }
    }
    (i0, 0.5 * x * i1)
}

/// `I0(x) sqrt(2 pi x) / e^x`, and what that of `I1` lacks of it (DLMF 10.40.1).
fn asymptotic(x: f64) -> (f64, f64) {
    let (mut a0, mut a1) = (1.0, 1.0);
    let (mut i0, mut less) = (1.0, 0.0);
    for k in 1..60 {
        let k = k as f64;
        let odd = (2.0 * k - 1.0) * (2.0 * k - 1.0);
        a0 *= odd / (8.0 * k * x);
        a1 *= (odd - 4.0) / (8.0 * k * x);
        i0 += a0;
        less += a0 - a1;
        if a0 < 1e-18 {
            break;
        }
    }
    (i0, less)
}

/// Logarithm of the modified Bessel function I0.
pub(crate) fn log_bessel_i0(x: f64) -> f64 {
    let x = x.abs();
    if x <= LARGE {
        power_series(x).0.log1p_()
    } else if x == f64::INFINITY {
        x
    } else {
        x + (asymptotic(x).0 / (TAU * x).sqrt()).log_()
    }
}

/// I1 / I0, the mean of the cosine of a von Mises angle.
pub(crate) fn bessel_ratio(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let (a, less) = ratio(x.abs());
    if x.abs() <= LARGE { a.copysign(x) } else { (1.0 - less).copysign(x) }
}

/// I1 / I0 and 1 less it, for `x >= 0`.
fn ratio(x: f64) -> (f64, f64) {
    if x <= LARGE {
        let (i0, i1) = power_series(x);
        let a = i1 / (1.0 + i0);
        (a, 1.0 - a)
    } else if x == f64::INFINITY {
        (1.0, 0.0)
    } else {
        let (i0, less) = asymptotic(x);
        let less = less / i0;
        (1.0 - less, less)
    }
}

/// `exp(k cos y) / (2 pi I0(k))`.
fn density(y: f64, k: f64) -> f64 {
    let s = libm::sin(0.5 * y);
    let scaled = if k <= LARGE { (-k).exp_() * (1.0 + power_series(k).0) } else { asymptotic(k).0 / (TAU * k).sqrt() };
    (-2.0 * k * s * s).exp_() / (TAU * scaled)
}

/// The integral over `d` from 0 to `width` of `weight(sin^2(t / 2)) exp(k (cos t - cos y))` at `t = y + side d`.
fn integral(y: f64, k: f64, width: f64, side: f64, weight: impl Fn(f64) -> f64) -> f64 {
    let (sin_y, cos_y) = libm::sincos(y);
    let at = |d: f64| {
        // cos t - cos y = -2 sin(y + s d / 2) sin(s d / 2)
        let (s, c) = libm::sincos(0.5 * side * d);
        let e = (-2.0 * k * (sin_y * c + cos_y * s) * s).exp_();
        let h = libm::sin(0.5 * (y + side * d));
        weight(h * h) * e
    };
    let half = 0.5 * width;
    NODES.iter().map(|(x, w)| w * (at(half * (1.0 - x)) + at(half * (1.0 + x)))).sum::<f64>() * half
}

/// How far below `y <= 0` the density is not negligible.
fn reach(y: f64, k: f64) -> f64 {
    let s = libm::sin(0.5 * y);
    let far = s * s + 0.5 * RANGE / k;
    if far < 1.0 { (y + 2.0 * libm::asin(far.sqrt())).max(0.0) } else { y + PI }
}

/// F(y) for `y` in [-pi, 0].
fn left(y: f64, k: f64) -> f64 {
    density(y, k) * integral(y, k, reach(y, k), -1.0, |_| 1.0)
}

fn in_domain(k: f64) -> bool {
    (0.0..f64::INFINITY).contains(&k)
}

/// Distribution function at the angle `y` from the mean, 0 at -pi, and by 1 more in each turn.
pub(crate) fn von_mises_cdf(y: f64, k: f64) -> f64 {
    if !(in_domain(k) && y.is_finite()) {
        return f64::NAN;
    }
    let turns = if (-PI..=PI).contains(&y) { 0.0 } else { ((y + PI) / TAU).floor_() };
    let y = (y - turns * TAU).clamp(-PI, PI);
    if y <= 0.0 { turns + left(y, k) } else { (turns + 1.0) - left(-y, k) }
}

/// dy/dk at a constant distribution function.
pub(crate) fn von_mises_draw_grad(y: f64, k: f64) -> f64 {
    if !(in_domain(k) && y.is_finite()) {
        return f64::NAN;
    }
    let turns = if (-PI..=PI).contains(&y) { 0.0 } else { ((y + PI) / TAU).floor_() };
    let y = (y - turns * TAU).clamp(-PI, PI);
    let below = -y.abs();
    let (_, less) = ratio(k);
    // cos t - A = less - 2 sin^2(t / 2) changes its sign once between -pi and 0.
    let s = libm::sin(0.5 * below);
    let moves = if 2.0 * s * s < less {
        integral(below, k, -below, 1.0, |q| less - 2.0 * q)
    } else {
        integral(below, k, reach(below, k), -1.0, |q| 2.0 * q - less)
    };
    if y > 0.0 { -moves } else { moves }
}

/// Inverse of the distribution function on [-pi, pi].
pub(crate) fn von_mises_quantile(p: f64, k: f64) -> f64 {
    if !(in_domain(k) && (0.0..=1.0).contains(&p)) {
        return f64::NAN;
    }
    if p > 0.5 {
        return -von_mises_quantile(1.0 - p, k);
    }
    if p == 0.0 {
        return -PI;
    }
    let (mut lo, mut hi) = (-PI, 0.0);
    // 2 sqrt(k) sin(y / 2) is about normal for large k, y about uniform for small ones.
    let mut y = if k < 0.3 { TAU * p - PI } else { 2.0 * libm::asin((0.5 * normal_quantile(p) / k.sqrt()).max(-0.95)) };
    for _ in 0..100 {
        let f = density(y, k);
        let found = f * integral(y, k, reach(y, k), -1.0, |_| 1.0);
        if found > p {
            hi = y;
        } else {
            lo = y;
        }
        // Halley's step; f' / f = -k sin y.
        let newton = (found - p) / f;
        let step = newton / (1.0 + 0.5 * newton * k * libm::sin(y)).max(0.5);
        let next = y - step;
        let inside = next > lo && next < hi;
        let next = if inside { next } else { 0.5 * (lo + hi) };
        let done = inside && (step * k.max(1.0).sqrt()).abs() < 1e-6 * (1.0 + y.abs());
        if done || next == y || hi - lo <= 0.0 {
            return next;
        }
        y = next;
    }
    y
}

/// Positive nodes and weights of Gauss's rule of 28 points on [-1, 1].
const NODES: [(f64, f64); 14] = [
    (0.9964424975739544, 0.009124282593094517),
    (0.9813031653708727, 0.02113211259277126),
    (0.9542592806289382, 0.03290142778230438),
    (0.9156330263921321, 0.04427293475900423),
    (0.8658925225743951, 0.05510734567571675),
    (0.8056413709171791, 0.0652729239669996),
    (0.7356108780136318, 0.07464621423456878),
    (0.656651094038865, 0.08311341722890121),
    (0.5697204718114017, 0.09057174439303284),
    (0.4758742249551183, 0.09693065799792992),
    (0.3762515160890787, 0.10211296757806076),
    (0.2720616276351781, 0.10605576592284642),
    (0.16456928213338076, 0.10871119225829413),
    (0.05507928988403427, 0.1100470130164752),
];
