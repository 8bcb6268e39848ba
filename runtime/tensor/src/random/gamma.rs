//! Gamma draws (Marsaglia and Tsang 2000), computed in double precision.

use super::draw::normal_pair64;
use super::philox::{ElementStream, Stream};
use crate::float::{Elementary, Float};
use crate::isa::per_isa;
use ppl_abi::Precision;

/// The acceptance rate is above 95%, so this many rounds are never needed.
const ROUNDS: usize = 64;

per_isa! {
    /// Address of `Kernel::StandardGamma`. Draws that would round to 0 are the smallest normal number instead.
    standard_gamma = standard_gamma_body[T: Float](
        dst: *mut T, shape: *const T, stride: usize, n: usize, seed: u64, site: u64, step: u64, time: u64)
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn standard_gamma_body<T: Float>(
    dst: *mut T,
    shape: *const T,
    stride: usize,
    n: usize,
    seed: u64,
    site: u64,
    step: u64,
    time: u64,
) {
    let stream = Stream::new(seed, site, step, time);
    let least = match T::PRECISION {
        Precision::F32 => f64::from(f32::MIN_POSITIVE),
        Precision::F64 => f64::MIN_POSITIVE,
    };
    for e in 0..n {
        // SAFETY: `e` is below `n`.
        unsafe {
            let x = gamma(ElementStream::new(stream, e), (*shape.add(e * stride)).wide());
            *dst.add(e) = T::lit(if x < least { least } else { x });
        }
    }
}

/// One draw.
#[inline(always)]
fn gamma(mut rng: ElementStream, shape: f64) -> f64 {
    if !(shape > 0.0 && shape < f64::INFINITY) {
        return f64::NAN;
    }
    let small = shape < 1.0;
    let (boost, _) = rng.uniforms();
    let d = if small { shape + 1.0 } else { shape } - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let mut x = d;
    for _ in 0..ROUNDS {
        let (z, _) = normal_pair64(rng.words());
        let (u, _) = rng.uniforms();
        let root = 1.0 + c * z;
        let v = root * root * root;
        if v > 0.0 && u.log_() < 0.5 * z * z + d * (1.0 - v + v.log_()) {
            x = d * v;
            break;
        }
    }
    if small { x * (boost.log_() / shape).exp_() } else { x }
}
