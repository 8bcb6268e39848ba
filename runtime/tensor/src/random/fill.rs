//! Draws that take one uniform or half a normal pair per element, and permutations.

use super::draw::BLOCK;
use super::philox::Stream;
use crate::float::{Elementary, Float};
use crate::isa::per_isa;

/// From this many elements on, the rest of a draw is computed as a block.
const SCALAR: usize = 3;

per_isa! {
    /// Address of `Kernel::Uniform`.
    uniform = uniform_body[T: Float](dst: *mut T, n: usize, seed: u64, site: u64, step: u64, time: u64)
}
per_isa! {
    /// Address of `Kernel::Normal`.
    normal = normal_body[T: Float](dst: *mut T, n: usize, seed: u64, site: u64, step: u64, time: u64)
}
per_isa! {
    /// Address of `Kernel::Bernoulli`.
    bernoulli = bernoulli_body[T: Float](
        dst: *mut u8, p: *const T, p_stride: usize, n: usize, seed: u64, site: u64, step: u64, time: u64)
}
per_isa! {
    /// Address of `Kernel::Categorical`.
    categorical = categorical_body[T: Float](
        dst: *mut i64, p: *const T, row: usize, k: usize, n: usize, seed: u64, site: u64, step: u64, time: u64)
}
per_isa! {
    /// Address of `Kernel::CategoricalLog`.
    categorical_log = categorical_log_body[T: Float](
        dst: *mut i64, p: *const T, row: usize, k: usize, n: usize, seed: u64, site: u64, step: u64, time: u64)
}
per_isa! {
    /// Address of `Kernel::Permutation`; the precision does not matter.
    permutation = permutation_body[T: Float](dst: *mut i64, n: usize, seed: u64, site: u64, step: u64, time: u64)
}

/// Fills `$n` elements at `$dst` from blocks, or a few one by one. A macro, as closures would not be compiled for the instruction set.
macro_rules! fill {
    ($dst:ident, $n:ident, $stream:ident, $block:path, $at:path) => {{
        let full = $n / BLOCK;
        for b in 0..full {
            // SAFETY: `(b + 1) * BLOCK` is at most `n`.
            unsafe { $dst.add(b * BLOCK).cast::<[T; BLOCK]>().write_unaligned($block($stream, b)) }
        }
        let from = full * BLOCK;
        let rest = $n - from;
        if rest < SCALAR {
            for e in from..$n {
                // SAFETY: `e` is below `n`.
                unsafe { *$dst.add(e) = $at($stream, e) }
            }
        } else {
            let last = $block($stream, full);
            // SAFETY: `rest` elements remain, fewer than a block.
            unsafe { std::ptr::copy_nonoverlapping(last.as_ptr(), $dst.add(from), rest) }
        }
    }};
}

#[inline(always)]
unsafe fn uniform_body<T: Float>(dst: *mut T, n: usize, seed: u64, site: u64, step: u64, time: u64) {
    let stream = Stream::new(seed, site, step, time);
    fill!(dst, n, stream, T::uniform_block, T::uniform_at)
}

#[inline(always)]
unsafe fn normal_body<T: Float>(dst: *mut T, n: usize, seed: u64, site: u64, step: u64, time: u64) {
    let stream = Stream::new(seed, site, step, time);
    fill!(dst, n, stream, T::normal_block, T::normal_at)
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn bernoulli_body<T: Float>(
    dst: *mut u8,
    p: *const T,
    p_stride: usize,
    n: usize,
    seed: u64,
    site: u64,
    step: u64,
    time: u64,
) {
    let stream = Stream::new(seed, site, step, time);
    for b in 0..n.div_ceil(BLOCK) {
        let from = b * BLOCK;
        let len = (n - from).min(BLOCK);
        if len < SCALAR {
            for e in from..n {
                // SAFETY: `e` is below `n`.
                unsafe { *dst.add(e) = u8::from(T::uniform_at(stream, e) < *p.add(e * p_stride)) }
            }
        } else {
            let u = T::uniform_block(stream, b);
            for (i, u) in u.iter().enumerate().take(len) {
                // SAFETY: `from + i` is below `n`.
                unsafe { *dst.add(from + i) = u8::from(*u < *p.add((from + i) * p_stride)) }
            }
        }
    }
}

/// Weights of categories.
trait Weights {
    /// The weight of category `j`.
    fn weight(&self, j: usize) -> f64;
}

/// Weights as they are.
struct Plain<T>(*const T);
impl<T: Float> Weights for Plain<T> {
    #[inline(always)]
    fn weight(&self, j: usize) -> f64 {
        // SAFETY: made from a row of weights, and asked for its categories only.
        unsafe { (*self.0.add(j)).wide() }
    }
}

/// Weights from logarithms, over the largest one.
struct Log<T>(*const T, f64);
impl<T: Float> Weights for Log<T> {
    #[inline(always)]
    fn weight(&self, j: usize) -> f64 {
        // SAFETY: made from a row of logarithms, and asked for its categories only.
        unsafe { ((*self.0.add(j)).wide() - self.1).exp_() }
    }
}

/// The index at which the running sum of `k` weights passes a share `u` of their total; -1 without positive finite total.
#[inline(always)]
fn invert(k: usize, u: f64, weights: impl Weights) -> i64 {
    let mut total = 0.0;
    for j in 0..k {
        let w = weights.weight(j);
        total += if w >= 0.0 { w } else { f64::NAN };
    }
    if !(total > 0.0 && total < f64::INFINITY) {
        return -1;
    }
    let target = u * total;
    let (mut sum, mut last) = (0.0, -1);
    for j in 0..k {
        let w = weights.weight(j);
        if w > 0.0 {
            sum += w;
            last = j as i64;
            if target < sum {
                break;
            }
        }
    }
    last
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn categorical_body<T: Float>(
    dst: *mut i64,
    p: *const T,
    row: usize,
    k: usize,
    n: usize,
    seed: u64,
    site: u64,
    step: u64,
    time: u64,
) {
    let stream = Stream::new(seed, site, step, time);
    for e in 0..n {
        let u = T::uniform_at(stream, e).wide();
        // SAFETY: row `e` holds `k` weights; `e` is below `n`.
        unsafe { *dst.add(e) = invert(k, u, Plain(p.add(e * row))) }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn categorical_log_body<T: Float>(
    dst: *mut i64,
    p: *const T,
    row: usize,
    k: usize,
    n: usize,
    seed: u64,
    site: u64,
    step: u64,
    time: u64,
) {
    let stream = Stream::new(seed, site, step, time);
    for e in 0..n {
        let u = T::uniform_at(stream, e).wide();
        // SAFETY: row `e` holds `k` logarithms; `e` is below `n`.
        unsafe {
            let row = p.add(e * row);
            let mut top = f64::NEG_INFINITY;
            for j in 0..k {
                let l = (*row.add(j)).wide();
                top = if l > top { l } else { top };
            }
            *dst.add(e) = invert(k, u, Log(row, top));
        }
    }
}

#[inline(always)]
unsafe fn permutation_body<T: Float>(dst: *mut i64, n: usize, seed: u64, site: u64, step: u64, time: u64) {
    let stream = Stream::new(seed, site, step, time);
    for i in 0..n {
        // SAFETY: `i` is below `n`.
        unsafe { *dst.add(i) = i as i64 }
    }
    for i in (1..n).rev() {
        let w = stream.words(i as u32, 0);
        // Scaling 64 bits to i + 1 values is uneven by less than n / 2^64.
        let word = (u64::from(w[0]) << 32) | u64::from(w[1]);
        let j = ((u128::from(word) * (i as u128 + 1)) >> 64) as usize;
        // SAFETY: `j` is at most `i`, which is below `n`.
        unsafe { std::ptr::swap(dst.add(i), dst.add(j)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{uniform32, uniform64};
    use super::{Plain, invert};

    #[test]
    fn uniforms_reach_neither_end() {
        assert!(uniform64(0, 0) > 0.0 && uniform64(u32::MAX, u32::MAX) < 1.0);
        assert!(uniform32(0) > 0.0 && uniform32(u32::MAX) < 1.0);
    }

    #[test]
    fn inversion_skips_empty_categories_and_refuses_bad_weights() {
        let w = |v: &[f64]| Plain(v.as_ptr());
        assert_eq!(invert(4, 0.999_999_999, w(&[0.0, 1.0, 3.0, 0.0])), 2);
        assert_eq!(invert(4, 1e-12, w(&[0.0, 1.0, 3.0, 0.0])), 1);
        assert_eq!(invert(4, 0.26, w(&[0.0, 1.0, 3.0, 0.0])), 2);
        assert_eq!(invert(2, 0.5, w(&[0.0, 0.0])), -1);
        assert_eq!(invert(2, 0.5, w(&[-1.0, 2.0])), -1);
        assert_eq!(invert(2, 0.5, w(&[f64::NAN, 2.0])), -1);
        assert_eq!(invert(2, 0.5, w(&[f64::INFINITY, 2.0])), -1);
        assert_eq!(invert(0, 0.5, w(&[])), -1);
    }
}
