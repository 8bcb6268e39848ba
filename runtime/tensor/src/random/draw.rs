//! From random words to uniform and normal floats.
//!
//! Elements come in blocks of 64. In single precision a block takes 16 generator calls and every element one word: element
//! `16 w + i` is word `w` of call `i`. In double precision it takes 32 calls and every element two words: element `32 h + i`
//! is words `2 h, 2 h + 1` of call `i`. Normals come in pairs by Box and Muller: the words of the first element of a pair give the radius,
//! those of the second, one stretch of calls further, the angle.

use super::philox::Stream;
use crate::float::{Elementary, double, single};
use std::f64::consts::TAU;

/// Elements of a block.
pub(super) const BLOCK: usize = 64;
const CALLS32: usize = 16;
const CALLS64: usize = 32;

/// Uniform and normal numbers of a float type.
pub trait Draw: Sized {
    /// Block `block` of uniforms in (0, 1).
    fn uniform_block(stream: Stream, block: usize) -> [Self; BLOCK];
    /// Block `block` of standard normals.
    fn normal_block(stream: Stream, block: usize) -> [Self; BLOCK];
    /// One element of a draw of uniforms, the same as in its block.
    fn uniform_at(stream: Stream, element: usize) -> Self;
    /// One element of a draw of normals, the same as in its block.
    fn normal_at(stream: Stream, element: usize) -> Self;
}

/// From 31 bits, on a fine grid near 0: at least 2^-32, at most 1 - 2^-24.
#[inline(always)]
pub(super) fn uniform32(word: u32) -> f32 {
    const SCALE: f32 = 1.0 / 2_147_483_648.0;
    const BELOW_ONE: f32 = 1.0 - 1.0 / 16_777_216.0;
    let u = ((word >> 1) as i32 as f32 + 0.5) * SCALE;
    if u > BELOW_ONE { BELOW_ONE } else { u }
}

/// The upper 52 bits of two words.
#[inline(always)]
fn bits52(high: u32, low: u32) -> u64 {
    (u64::from(high) << 20) | u64::from(low >> 12)
}

/// The middle of one of 2^52 equal parts of (0, 1): an odd multiple of 2^-53.
#[inline(always)]
pub(super) fn uniform64(high: u32, low: u32) -> f64 {
    // Ones with these mantissas lie in [1, 2).
    f64::from_bits(bits52(high, low) | 0x3ff0_0000_0000_0000) - (1.0 - f64::EPSILON / 2.0)
}

/// Cosine and sine of `word / 2^32` turns.
#[inline(always)]
fn turn32(word: u32) -> (f32, f32) {
    const SCALE: f32 = (TAU / 4_294_967_296.0) as f32;
    let shifted = word.wrapping_add(1 << 29);
    let quadrant = shifted >> 30;
    let angle = ((shifted & ((1 << 30) - 1)) as i32 - (1 << 29)) as f32 * SCALE;
    (single::sin_quadrant(quadrant + 1, angle), single::sin_quadrant(quadrant, angle))
}

/// Cosine and sine of `bits / 2^52` turns.
#[inline(always)]
fn turn64(bits: u64) -> (f64, f64) {
    const TWO52: f64 = 4_503_599_627_370_496.0;
    let shifted = bits + (1 << 49);
    let quadrant = shifted >> 50;
    let offset = f64::from_bits((shifted & ((1 << 50) - 1)) | 0x4330_0000_0000_0000) - (TWO52 + (1u64 << 49) as f64);
    let angle = offset * (TAU / TWO52);
    (double::sin_quadrant(quadrant + 1, angle), double::sin_quadrant(quadrant, angle))
}

#[inline(always)]
fn normal_pair32(radius: u32, angle: u32) -> (f32, f32) {
    let r = (-2.0 * uniform32(radius).log_()).sqrt();
    let (cos, sin) = turn32(angle);
    (r * cos, r * sin)
}

#[inline(always)]
pub(super) fn normal_pair64(w: [u32; 4]) -> (f64, f64) {
    let r = (-2.0 * uniform64(w[0], w[1]).log_()).sqrt();
    let (cos, sin) = turn64(bits52(w[2], w[3]));
    (r * cos, r * sin)
}

impl Draw for f32 {
    #[inline(always)]
    fn uniform_block(stream: Stream, block: usize) -> [f32; BLOCK] {
        let w = stream.lanes::<CALLS32>((block * CALLS32) as u32);
        let mut out = [0.0; BLOCK];
        for q in 0..4 {
            for i in 0..CALLS32 {
                out[q * CALLS32 + i] = uniform32(w[q][i]);
            }
        }
        out
    }

    #[inline(always)]
    fn normal_block(stream: Stream, block: usize) -> [f32; BLOCK] {
        let w = stream.lanes::<CALLS32>((block * CALLS32) as u32);
        let mut out = [0.0; BLOCK];
        for pair in 0..2 {
            let at = 2 * pair * CALLS32;
            for i in 0..CALLS32 {
                let (a, b) = normal_pair32(w[2 * pair][i], w[2 * pair + 1][i]);
                out[at + i] = a;
                out[at + CALLS32 + i] = b;
            }
        }
        out
    }

    #[inline(always)]
    fn uniform_at(stream: Stream, element: usize) -> f32 {
        let (block, at) = (element / BLOCK, element % BLOCK);
        uniform32(stream.words((block * CALLS32 + at % CALLS32) as u32, 0)[at / CALLS32])
    }

    #[inline(always)]
    fn normal_at(stream: Stream, element: usize) -> f32 {
        let (block, at) = (element / BLOCK, element % BLOCK);
        let w = stream.words((block * CALLS32 + at % CALLS32) as u32, 0);
        let (pair, second) = (at / CALLS32 / 2, at / CALLS32 % 2 == 1);
        let (a, b) = normal_pair32(w[2 * pair], w[2 * pair + 1]);
        if second { b } else { a }
    }
}

impl Draw for f64 {
    #[inline(always)]
    fn uniform_block(stream: Stream, block: usize) -> [f64; BLOCK] {
        let w = stream.lanes::<CALLS64>((block * CALLS64) as u32);
        let mut out = [0.0; BLOCK];
        for h in 0..2 {
            for i in 0..CALLS64 {
                out[h * CALLS64 + i] = uniform64(w[2 * h][i], w[2 * h + 1][i]);
            }
        }
        out
    }

    #[inline(always)]
    fn normal_block(stream: Stream, block: usize) -> [f64; BLOCK] {
        let w = stream.lanes::<CALLS64>((block * CALLS64) as u32);
        let mut out = [0.0; BLOCK];
        for i in 0..CALLS64 {
            let (a, b) = normal_pair64([w[0][i], w[1][i], w[2][i], w[3][i]]);
            out[i] = a;
            out[CALLS64 + i] = b;
        }
        out
    }

    #[inline(always)]
    fn uniform_at(stream: Stream, element: usize) -> f64 {
        let (block, at) = (element / BLOCK, element % BLOCK);
        let w = stream.words((block * CALLS64 + at % CALLS64) as u32, 0);
        let h = at / CALLS64;
        uniform64(w[2 * h], w[2 * h + 1])
    }

    #[inline(always)]
    fn normal_at(stream: Stream, element: usize) -> f64 {
        let (block, at) = (element / BLOCK, element % BLOCK);
        let (a, b) = normal_pair64(stream.words((block * CALLS64 + at % CALLS64) as u32, 0));
        if at < CALLS64 { a } else { b }
    }
}
