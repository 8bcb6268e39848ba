//! Poisson and binomial draws: inversion for small means, transformed rejection (Hörmann 1993) for large ones.

use super::philox::{ElementStream, Stream};
use crate::float::{Elementary, Float};
use crate::isa::per_isa;
use crate::math::gamma::{HALF_LOG_TWO_PI, lgamma_positive, stirling};
use crate::math::incomplete::log_prefactor;

/// Means from here on use rejection.
const LARGE_MEAN: f64 = 10.0;
/// Every round is accepted with a probability above 0.7.
const ROUNDS: usize = 256;
/// Larger rates could leave the range of `i64`.
const MAX_RATE: f64 = 4e18;

per_isa! {
    /// Address of `Kernel::Poisson`.
    poisson = poisson_body[T: Float](
        dst: *mut i64, rate: *const T, stride: usize, n: usize, seed: u64, site: u64, step: u64, time: u64)
}
per_isa! {
    /// Address of `Kernel::Binomial`.
    binomial = binomial_body[T: Float](
        dst: *mut i64, trials: *const i64, trials_stride: usize, p: *const T, p_stride: usize, n: usize, seed: u64, site: u64,
        step: u64, time: u64)
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn poisson_body<T: Float>(
    dst: *mut i64,
    rate: *const T,
    stride: usize,
    n: usize,
    seed: u64,
    site: u64,
    step: u64,
    time: u64,
) {
    let stream = Stream::new(seed, site, step, time);
    for e in 0..n {
        // SAFETY: `e` is below `n`.
        unsafe { *dst.add(e) = draw_poisson(ElementStream::new(stream, e), (*rate.add(e * stride)).wide()) }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn binomial_body<T: Float>(
    dst: *mut i64,
    trials: *const i64,
    trials_stride: usize,
    p: *const T,
    p_stride: usize,
    n: usize,
    seed: u64,
    site: u64,
    step: u64,
    time: u64,
) {
    let stream = Stream::new(seed, site, step, time);
    for e in 0..n {
        // SAFETY: `e` is below `n`.
        unsafe {
            let (trials, p) = (*trials.add(e * trials_stride), (*p.add(e * p_stride)).wide());
            *dst.add(e) = draw_binomial(ElementStream::new(stream, e), trials, p);
        }
    }
}

#[inline(always)]
fn draw_poisson(mut rng: ElementStream, rate: f64) -> i64 {
    if !(0.0..MAX_RATE).contains(&rate) {
        return -1;
    }
    if rate < LARGE_MEAN {
        let (mut u, _) = rng.uniforms();
        let mut p = (-rate).exp_();
        let mut k = 0;
        // Ends: for k beyond 200 the probabilities vanish.
        while u > p && k < 200 {
            u -= p;
            k += 1;
            p *= rate / k as f64;
        }
        return k;
    }
    let b = 0.931 + 2.53 * rate.sqrt();
    let a = -0.059 + 0.02483 * b;
    let inv_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let v_r = 0.9277 - 3.6224 / (b - 2.0);
    for _ in 0..ROUNDS {
        let (u, v) = rng.uniforms();
        let u = u - 0.5;
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + rate + 0.43).floor();
        if us >= 0.07 && v <= v_r {
            return k as i64;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let log_p = if k > 0.0 { log_prefactor(k, rate) } else { -rate };
        if (v * inv_alpha / (a / (us * us) + b)).log_() <= log_p {
            return k as i64;
        }
    }
    rate as i64
}

/// lgamma(k + 1) less its leading Stirling terms at k + 1.
#[inline(always)]
fn tail(k: f64) -> f64 {
    let x = k + 1.0;
    if x >= 8.0 { stirling(x) } else { lgamma_positive(x) - ((x - 0.5) * x.log_() - x + HALF_LOG_TWO_PI) }
}

#[inline(always)]
fn draw_binomial(mut rng: ElementStream, trials: i64, p: f64) -> i64 {
    if trials < 0 || !(0.0..=1.0).contains(&p) {
        return -1;
    }
    let flip = p > 0.5;
    let p = if flip { 1.0 - p } else { p };
    let n = trials as f64;
    let k = if n * p < LARGE_MEAN { invert_binomial(&mut rng, n, p) } else { reject_binomial(&mut rng, n, p) };
    let k = (k as i64).clamp(0, trials);
    if flip { trials - k } else { k }
}

#[inline(always)]
fn invert_binomial(rng: &mut ElementStream, n: f64, p: f64) -> f64 {
    let (mut u, _) = rng.uniforms();
    let odds = p / (1.0 - p);
    let mut mass = (n * (-p).log1p_()).exp_();
    let mut k = 0.0;
    while u > mass && k < n && k < 200.0 {
        u -= mass;
        k += 1.0;
        mass *= odds * (n - k + 1.0) / k;
    }
    k
}

#[inline(always)]
fn reject_binomial(rng: &mut ElementStream, n: f64, p: f64) -> f64 {
    let spread = (n * p * (1.0 - p)).sqrt();
    let b = 1.15 + 2.53 * spread;
    let a = -0.0873 + 0.0248 * b + 0.01 * p;
    let c = n * p + 0.5;
    let v_r = 0.92 - 4.2 / b;
    let alpha = (2.83 + 5.1 / b) * spread;
    let odds = p / (1.0 - p);
    let mode = ((n + 1.0) * p).floor();
    for _ in 0..ROUNDS {
        let (u, v) = rng.uniforms();
        let u = u - 0.5;
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + c).floor();
        if us >= 0.07 && v <= v_r {
            return k;
        }
        if k < 0.0 || k > n {
            continue;
        }
        let bound = (mode + 0.5) * ((mode + 1.0) / (odds * (n - mode + 1.0))).log_()
            + (n + 1.0) * ((n - mode + 1.0) / (n - k + 1.0)).log_()
            + (k + 0.5) * (odds * (n - k + 1.0) / (k + 1.0)).log_()
            + (tail(mode) + tail(n - mode) - tail(k) - tail(n - k));
        if (v * alpha / (a / (us * us) + b)).log_() <= bound {
            return k;
        }
    }
    mode
}
