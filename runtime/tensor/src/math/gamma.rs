//! The gamma function's logarithm and its derivatives.

use crate::float::{Elementary, horner};
use std::f64::consts::PI;

/// log(2 pi) / 2.
pub(crate) const HALF_LOG_TWO_PI: f64 = 0.918_938_533_204_672_7;
/// From here on the asymptotic series are used.
const LARGE: f64 = 8.0;

/// lgamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2), for x >= 8.
#[inline(always)]
pub(crate) fn stirling(x: f64) -> f64 {
    let r = 1.0 / x;
    r * horner!(r * r;
        -0.029_550_653_594_771_242, 0.006_410_256_410_256_41, -0.001_917_526_917_526_917_6, 0.000_841_750_841_750_841_7,
        -0.000_595_238_095_238_095_3, 0.000_793_650_793_650_793_7, -0.002_777_777_777_777_778, 0.083_333_333_333_333_33)
}

/// log gamma(x) for x > 0, branch-free; relative error below 2e-15 also near the zeros 1 and 2.
///
/// Below 8 the argument is brought into [1, 2) by the recurrence, where `(z - 1)(z - 2) P(z)` keeps the zeros exact.
#[inline(always)]
pub(crate) fn lgamma_positive(x: f64) -> f64 {
    let tiny = x < 1.0;
    let large = x >= LARGE;
    let mut z = if tiny { x + 1.0 } else { x };
    let mut product = if tiny { x } else { 1.0 };
    for _ in 0..6 {
        let down = z - 1.0;
        let far = z >= 2.0;
        product = if far { product * down } else { product };
        z = if far { down } else { z };
    }
    let log = (if large { x } else { product }).log_();
    let t = z - 1.5;
    let p = horner!(t;
        -7.760660152513446e-06, 1.2140008083973407e-05, -8.355075869795273e-06, 1.3186019073996835e-05, -2.7201673025504752e-05,
        4.30276814976503e-05, -6.614136022346414e-05, 0.00010535512483785591, -0.0001689178215524898, 0.00027131373861446925,
        -0.00043799307479613914, 0.000711519067515296, -0.0011644145847310124, 0.0019229163127905161, -0.0032120740737152814,
        0.005446457839126065, -0.009425622448525798, 0.01679709863127416, -0.031308487501010646, 0.06291140107456439,
        -0.14595989591430608, 0.4831289505409809);
    let small = ((z - 1.0) * (z - 2.0)).mul_add(p, if tiny { -log } else { log });
    let series = (x - 0.5).mul_add(log - 1.0, stirling(x) + (HALF_LOG_TWO_PI - 0.5));
    let y = if large { series } else { small };
    if x < f64::INFINITY { y } else { x }
}

/// log |gamma(x)| for x <= 0, by reflection; infinite at the poles.
pub(crate) fn lgamma_reflected(x: f64) -> f64 {
    if x == x.floor() {
        return f64::INFINITY;
    }
    if x > -1e-300 {
        return -(-x).log_();
    }
    // |gamma(x)| gamma(1 - x) = pi / |sin(pi x)|
    (PI / sin_pi(x).abs()).log_() - lgamma_positive(1.0 - x)
}

/// log |gamma(x)|.
pub(crate) fn lgamma(x: f64) -> f64 {
    if x <= 0.0 { lgamma_reflected(x) } else { lgamma_positive(x) }
}

/// sin(pi x), with an exact reduction.
fn sin_pi(x: f64) -> f64 {
    let r = x % 2.0;
    let n = (2.0 * r).round();
    let t = PI * (r - 0.5 * n);
    match n.rem_euclid(4.0) as u8 {
        0 => t.sin_(),
        1 => t.cos_(),
        2 => -t.sin_(),
        _ => -t.cos_(),
    }
}

/// Digamma for x > 0, branch-free; relative error below 1e-14 away from the zero 1.4616, where the error is absolute.
#[inline(always)]
pub(crate) fn digamma_positive(x: f64) -> f64 {
    // psi(x) = psi(x + 8) - sum of 1 / (x + i); the sum as one fraction, from its small terms on.
    let shift = x < LARGE;
    let (mut num, mut den) = (0.0f64, 1.0f64);
    for i in (0..8).rev() {
        let xi = x + i as f64;
        num = num.mul_add(xi, den);
        den *= xi;
    }
    let y = if shift { x + LARGE } else { x };
    let r = 1.0 / y;
    let z = r * r;
    let series = horner!(z;
        3.053_954_330_270_12, -0.443_259_803_921_568_6, 0.083_333_333_333_333_33, -0.021_092_796_092_796_094, 0.007_575_757_575_757_576, -0.004_166_666_666_666_667,
        0.003_968_253_968_253_968, -0.008_333_333_333_333_333, 0.083_333_333_333_333_33);
    let sum = if shift { num / den } else { 0.0 };
    let v = y.log_() - 0.5f64.mul_add(r, z.mul_add(series, sum));
    if x < f64::INFINITY { v } else { x }
}

/// Digamma for x <= 0: NaN at the negative integers, infinite at 0.
pub(crate) fn digamma_reflected(x: f64) -> f64 {
    if x == 0.0 {
        return -1.0 / x;
    }
    if x == x.floor() {
        return f64::NAN;
    }
    // psi(x) = psi(1 - x) - pi / tan(pi x)
    digamma_positive(1.0 - x) - PI * sin_pi(x + 0.5 - x.floor()) / sin_pi(x - x.floor())
}

/// Trigamma for x > 0; relative error below 1e-14.
#[inline(always)]
pub(crate) fn trigamma_positive(x: f64) -> f64 {
    let shift = x < LARGE;
    let mut sum = 0.0;
    for i in (0..8).rev() {
        let r = 1.0 / (x + i as f64);
        sum += r * r;
    }
    let y = if shift { x + LARGE } else { x };
    let r = 1.0 / y;
    let z = r * r;
    let series = horner!(z;
        -529.124_242_424_242_4, 54.971_177_944_862_156, -7.092_156_862_745_098, 1.166_666_666_666_666_7, -0.253_113_553_113_553_1, 0.075_757_575_757_575_76, -0.033_333_333_333_333_33,
        0.023_809_523_809_523_808, -0.033_333_333_333_333_33, 0.166_666_666_666_666_66);
    let v = r + (0.5 * z + r * z * series);
    if shift { v + sum } else { v }
}

/// Trigamma for x <= 0: infinite at the poles.
pub(crate) fn trigamma_reflected(x: f64) -> f64 {
    if x == x.floor() {
        return f64::INFINITY;
    }
    // psi'(x) + psi'(1 - x) = (pi / sin(pi x))^2
    let s = PI / sin_pi(x);
    s * s - trigamma_positive(1.0 - x)
}
