//! The loops over buffers.

use super::{Binary, Pair, Ternary, Unary};
use crate::float::Float;
use crate::isa::per_isa;

/// Lanes of a full block, and of the blocks that finish a buffer.
const BLOCK: usize = 64;
const SMALL: usize = 16;

per_isa! {
    /// Address of the unary loop over `O`.
    unary = unary_body[O: Unary, T: Float](dst: *mut T, src: *const T, n: usize)
}
per_isa! {
    /// Address of the loop over a function and its derivative.
    pair = pair_body[O: Pair, T: Float](dst: *mut T, slope: *mut T, src: *const T, n: usize)
}
per_isa! {
    /// Address of the binary loop over `O`.
    binary = binary_body[O: Binary, T: Float](dst: *mut T, a: *const T, a_stride: usize, b: *const T, b_stride: usize, n: usize)
}
per_isa! {
    /// Address of the ternary loop over `O`.
    ternary = ternary_body[O: Ternary, T: Float](
        dst: *mut T, a: *const T, a_stride: usize, b: *const T, b_stride: usize, x: *const T, x_stride: usize, n: usize)
}

/// A block of lanes from `src`: `len` elements at `stride`, the rest copies of the first.
///
/// # Safety
///
/// `src` is valid for reads of `len` elements at `stride`, at least one.
#[inline(always)]
unsafe fn load<T: Float, const N: usize>(src: *const T, stride: usize, len: usize) -> [T; N] {
    // SAFETY: the first element exists, as do those below `len`.
    unsafe {
        if len == N && stride == 1 {
            return src.cast::<[T; N]>().read_unaligned();
        }
        let mut block = [*src; N];
        if stride != 0 {
            for (i, lane) in block.iter_mut().enumerate().take(len) {
                *lane = *src.add(i * stride);
            }
        }
        block
    }
}

/// Writes the first `len` lanes.
///
/// # Safety
///
/// `dst` is valid for writes of `len` elements.
#[inline(always)]
unsafe fn store<T: Float, const N: usize>(dst: *mut T, block: &[T; N], len: usize) {
    // SAFETY: `len` is at most N, and `block` is a local array.
    unsafe {
        if len == N {
            dst.cast::<[T; N]>().write_unaligned(*block);
        } else {
            std::ptr::copy_nonoverlapping(block.as_ptr(), dst, len.min(N));
        }
    }
}

/// Runs `step(offset, len)` over full blocks and then over small ones.
macro_rules! blocks {
    ($n:expr, $step:ident [$($g:ty),*] ($($arg:expr),*)) => {{
        let n = $n;
        let mut at = 0;
        while n - at >= BLOCK {
            $step::<$($g,)* BLOCK>($($arg,)* at, BLOCK);
            at += BLOCK;
        }
        while at < n {
            let len = if n - at < SMALL { n - at } else { SMALL };
            $step::<$($g,)* SMALL>($($arg,)* at, len);
            at += len;
        }
    }};
}

#[inline(always)]
unsafe fn unary_body<O: Unary, T: Float>(dst: *mut T, src: *const T, n: usize) {
    // SAFETY: the caller's buffers hold `n` elements, and `blocks` stays below.
    unsafe { blocks!(n, unary_step[O, T](dst, src)) }
}

#[inline(always)]
unsafe fn unary_step<O: Unary, T: Float, const N: usize>(dst: *mut T, src: *const T, at: usize, len: usize) {
    // SAFETY: `at + len` is at most the buffers' length.
    let x = unsafe { load::<T, N>(src.add(at), 1, len) };
    let mut y = x;
    let mut rare = false;
    for i in 0..N {
        y[i] = O::eval(x[i]);
        rare |= O::rare(x[i]);
    }
    if rare {
        for i in 0..N {
            if O::rare(x[i]) {
                y[i] = O::slow(x[i]);
            }
        }
    }
    // SAFETY: as above.
    unsafe { store(dst.add(at), &y, len) }
}

#[inline(always)]
unsafe fn pair_body<O: Pair, T: Float>(dst: *mut T, slope: *mut T, src: *const T, n: usize) {
    // SAFETY: the caller's buffers hold `n` elements, and `blocks` stays below.
    unsafe { blocks!(n, pair_step[O, T](dst, slope, src)) }
}

#[inline(always)]
unsafe fn pair_step<O: Pair, T: Float, const N: usize>(dst: *mut T, slope: *mut T, src: *const T, at: usize, len: usize) {
    // SAFETY: `at + len` is at most the buffers' length.
    unsafe {
        let x = load::<T, N>(src.add(at), 1, len);
        let (mut y, mut z) = (x, x);
        for i in 0..N {
            (y[i], z[i]) = O::eval(x[i]);
        }
        store(dst.add(at), &y, len);
        store(slope.add(at), &z, len);
    }
}

#[inline(always)]
unsafe fn binary_body<O: Binary, T: Float>(dst: *mut T, a: *const T, a_stride: usize, b: *const T, b_stride: usize, n: usize) {
    // SAFETY: the caller's buffers hold `n` elements at their strides, and `blocks` stays below.
    unsafe { blocks!(n, binary_step[O, T](dst, a, a_stride, b, b_stride)) }
}

#[inline(always)]
unsafe fn binary_step<O: Binary, T: Float, const N: usize>(
    dst: *mut T,
    a: *const T,
    a_stride: usize,
    b: *const T,
    b_stride: usize,
    at: usize,
    len: usize,
) {
    // SAFETY: `at + len` is at most the buffers' length.
    unsafe {
        let a = load::<T, N>(a.add(at * a_stride), a_stride, len);
        let b = load::<T, N>(b.add(at * b_stride), b_stride, len);
        let mut y = a;
        for i in 0..N {
            y[i] = O::eval(a[i], b[i]);
        }
        store(dst.add(at), &y, len)
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn ternary_body<O: Ternary, T: Float>(
    dst: *mut T,
    a: *const T,
    a_stride: usize,
    b: *const T,
    b_stride: usize,
    x: *const T,
    x_stride: usize,
    n: usize,
) {
    for i in 0..n {
        // SAFETY: the caller's buffers hold `n` elements at their strides.
        unsafe { *dst.add(i) = O::eval(*a.add(i * a_stride), *b.add(i * b_stride), *x.add(i * x_stride)) }
    }
}
