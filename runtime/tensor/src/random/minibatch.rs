//! The data of a step: a slice of endless epochs, each a permutation of its own, computed where it is needed.
//!
//! Nothing is kept between steps and nothing of the size of the data is touched. Up to [`SHUFFLED`] data an epoch is shuffled outright. Beyond, it is
//! a keyed bijection of `0..2^k`, `2^k >= data`: rounds of `x ^= key`, `x *= odd key` and `x ^= x >> k / 2`, repeated while the image is not below
//! `data` (cycle walking, Black and Rogaway 2002), then rotated by a uniform offset, so that every position of an epoch is uniform exactly.

use super::philox::Stream;
use crate::float::Float;
use crate::isa::per_isa;

/// Largest number of data that are shuffled.
pub(super) const SHUFFLED: usize = 256;
const ROUNDS: usize = 4;
/// Indices that are computed together.
const LANES: usize = 16;

per_isa! {
    /// Address of `Kernel::Minibatch`; the precision does not matter.
    minibatch = minibatch_body[T: Float](
        dst: *mut i64, data: usize, n: usize, seed: u64, site: u64, step: u64, time: u64)
}

#[inline(always)]
#[allow(clippy::extra_unused_type_parameters, reason = "kernels have an address for each precision")]
unsafe fn minibatch_body<T: Float>(dst: *mut i64, data: usize, n: usize, seed: u64, site: u64, step: u64, time: u64) {
    if data == 0 {
        return;
    }
    let first = u128::from(step) * n as u128;
    let (mut epoch, mut at) = ((first / data as u128) as u64, (first % data as u128) as usize);
    let mut done = 0;
    while done < n {
        let len = (n - done).min(data - at);
        let stream = Stream::new(seed, site, epoch, time);
        // SAFETY: `done + len` is at most `n`.
        unsafe {
            if data <= SHUFFLED {
                shuffled(dst.add(done), at, len, data, stream);
            } else {
                permuted(dst.add(done), at, len, data as u32, stream);
            }
        }
        done += len;
        at = 0;
        epoch = epoch.wrapping_add(1);
    }
}

/// Positions `at..at + len` of a shuffle.
#[inline(always)]
unsafe fn shuffled(dst: *mut i64, at: usize, len: usize, data: usize, stream: Stream) {
    let mut order = [0u16; SHUFFLED];
    for (i, o) in order.iter_mut().enumerate() {
        *o = i as u16;
    }
    for i in (1..data).rev() {
        let j = below(stream.words(i as u32, 0), i + 1);
        order.swap(i, j);
    }
    for (i, o) in order[at..at + len].iter().enumerate() {
        // SAFETY: `i` is below `len`.
        unsafe { *dst.add(i) = i64::from(*o) }
    }
}

/// A number below `n`, uniform up to `n / 2^64`.
#[inline(always)]
fn below(w: [u32; 4], n: usize) -> usize {
    let word = (u64::from(w[0]) << 32) | u64::from(w[1]);
    ((u128::from(word) * n as u128) >> 64) as usize
}

/// Positions `at..at + len` of a keyed permutation.
#[inline(always)]
unsafe fn permuted(dst: *mut i64, at: usize, len: usize, data: u32, stream: Stream) {
    let bits = u32::BITS - (data - 1).leading_zeros();
    let (mask, shift) = (u32::MAX >> (u32::BITS - bits), bits / 2);
    let (a, b) = (stream.words(0, 0), stream.words(1, 0));
    let keys: [(u32, u32); ROUNDS] = [(a[0], b[0] | 1), (a[1], b[1] | 1), (a[2], b[2] | 1), (a[3], b[3] | 1)];
    let offset = below(stream.words(2, 0), data as usize) as u32;
    let mut from = 0;
    while from < len {
        let mut x = [0u32; LANES];
        for (i, x) in x.iter_mut().enumerate() {
            *x = mixed((at + (from + i).min(len - 1)) as u32, &keys, mask, shift);
        }
        loop {
            // No closure: it would not be compiled for the instruction set.
            let mut outside = false;
            for x in &x {
                outside |= *x >= data;
            }
            if !outside {
                break;
            }
            for x in &mut x {
                let again = mixed(*x, &keys, mask, shift);
                *x = if *x >= data { again } else { *x };
            }
        }
        let width = LANES.min(len - from);
        for (i, x) in x.iter().enumerate().take(width) {
            // Both are below `data`.
            let rest = data - offset;
            let rotated = if *x >= rest { *x - rest } else { *x + offset };
            // SAFETY: `from + i` is below `len`.
            unsafe { *dst.add(from + i) = i64::from(rotated) }
        }
        from += width;
    }
}

/// A bijection of `0..=mask`.
#[inline(always)]
fn mixed(mut x: u32, keys: &[(u32, u32); ROUNDS], mask: u32, shift: u32) -> u32 {
    for (add, times) in keys {
        x = (x ^ (add & mask)).wrapping_mul(*times) & mask;
        x ^= x >> shift;
    }
    x
}
