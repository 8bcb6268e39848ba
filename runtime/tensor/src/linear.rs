//! Cholesky factors and triangular systems, blocked so that large ones run at the speed of matrix products.

use crate::float::Float;
use crate::gemm::Strided;
use crate::isa::{Isa, per_isa};
use ppl_abi::Kernel;

/// Rows of a diagonal block.
const BLOCK: usize = 48;

/// Address of a kernel of this file.
pub(crate) fn address<T: Float>(kernel: Kernel, isa: Isa) -> Option<*const u8> {
    match kernel {
        Kernel::Cholesky => Some(cholesky::<T>(isa)),
        Kernel::TriangularSolve => Some(triangular_solve::<T>(isa)),
        _ => None,
    }
}

per_isa! {
    /// Address of `Kernel::Cholesky`.
    cholesky = cholesky_body[T: Float](dst: *mut T, src: *const T, n: usize, batch: usize)
}
per_isa! {
    /// Address of `Kernel::TriangularSolve`.
    triangular_solve = triangular_solve_body[T: Float](
        dst: *mut T, a: *const T, b: *const T, n: usize, m: usize, batch: usize, a_batch: usize, b_batch: usize, upper: usize,
        transposed: usize)
}

#[inline(always)]
unsafe fn cholesky_body<T: Float>(dst: *mut T, src: *const T, n: usize, batch: usize) {
    for i in 0..batch {
        // SAFETY: the caller's buffers hold `batch` matrices of `n * n` elements, equal or apart; `dst` is exclusive.
        unsafe {
            let l = dst.add(i * n * n);
            if l.cast_const() != src.add(i * n * n) {
                std::ptr::copy(src.add(i * n * n), l, n * n);
            }
            let ok = factor(l, n);
            for r in 0..n {
                for c in 0..n {
                    if !ok && c <= r {
                        *l.add(r * n + c) = T::NAN;
                    } else if c > r {
                        *l.add(r * n + c) = T::lit(0.0);
                    }
                }
            }
        }
    }
}

/// Replaces the lower triangle of `l` by its factor; false if it is not positive definite.
///
/// # Safety
///
/// `l` is valid for reads and writes of `n * n` elements.
#[inline(always)]
unsafe fn factor<T: Float>(l: *mut T, n: usize) -> bool {
    for from in (0..n).step_by(BLOCK) {
        let to = (from + BLOCK).min(n);
        // SAFETY: all indices are below `n`; the product reads columns below `from` and writes columns from there on.
        unsafe {
            if from > 0 {
                let c = Strided { ptr: l.add(from * n + from), row: n, col: 1 };
                let a = Strided { ptr: l.add(from * n).cast_const(), row: n, col: 1 };
                let b = Strided { ptr: l.add(from * n).cast_const(), row: 1, col: n };
                T::product(c, a, b, n - from, to - from, from, T::lit(-1.0), true);
            }
            for r in from..n {
                for c in from..to.min(r + 1) {
                    let mut sum = *l.add(r * n + c);
                    for p in from..c {
                        sum = (-*l.add(r * n + p)).fma(*l.add(c * n + p), sum);
                    }
                    if r > c {
                        *l.add(r * n + c) = sum / *l.add(c * n + c);
                    } else if sum > T::lit(0.0) && sum < T::INF {
                        *l.add(r * n + c) = sum.sqrt_();
                    } else {
                        return false;
                    }
                }
            }
        }
    }
    true
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn triangular_solve_body<T: Float>(
    dst: *mut T,
    a: *const T,
    b: *const T,
    n: usize,
    m: usize,
    batch: usize,
    a_batch: usize,
    b_batch: usize,
    upper: usize,
    transposed: usize,
) {
    let transposed = transposed != 0;
    let backward = (upper != 0) != transposed;
    for i in 0..batch {
        // SAFETY: the caller's buffers hold `batch` systems at these distances; `dst` is exclusive or equal to `b`.
        unsafe {
            let x = dst.add(i * n * m);
            let b = b.add(i * b_batch);
            if x.cast_const() != b {
                std::ptr::copy(b, x, n * m);
            }
            let a = a.add(i * a_batch);
            let op = if transposed { Strided { ptr: a, row: 1, col: n } } else { Strided { ptr: a, row: n, col: 1 } };
            solve(x, op, n, m, backward);
        }
    }
}

/// Solves `op x = b` in place; `op` is lower triangular, or upper if `backward`.
///
/// # Safety
///
/// `op` is a valid `n x n` matrix and `x` an exclusive row-major `n x m` one.
#[inline(always)]
unsafe fn solve<T: Float>(x: *mut T, op: Strided<*const T>, n: usize, m: usize, backward: bool) {
    let blocks = n.div_ceil(BLOCK);
    for block in 0..blocks {
        let block = if backward { blocks - 1 - block } else { block };
        let (from, to) = (block * BLOCK, ((block + 1) * BLOCK).min(n));
        // Solved rows: those before, or those after.
        let (done, count) = if backward { (to, n - to) } else { (0, from) };
        // SAFETY: all indices are below `n` and `m`; the product reads solved rows and writes this block's.
        unsafe {
            if count > 0 {
                let c = Strided { ptr: x.add(from * m), row: m, col: 1 };
                let a = Strided { ptr: op.ptr.add(from * op.row + done * op.col), row: op.row, col: op.col };
                let b = Strided { ptr: x.add(done * m).cast_const(), row: m, col: 1 };
                T::product(c, a, b, to - from, m, count, T::lit(-1.0), true);
            }
            for step in 0..to - from {
                let r = if backward { to - 1 - step } else { from + step };
                let others = if backward { r + 1..to } else { from..r };
                for p in others {
                    let f = -*op.ptr.add(r * op.row + p * op.col);
                    for j in 0..m {
                        let v = &mut *x.add(r * m + j);
                        *v = f.fma(*x.add(p * m + j), *v);
                    }
                }
                let pivot = *op.ptr.add(r * op.row + r * op.col);
                for j in 0..m {
                    let v = &mut *x.add(r * m + j);
                    *v = *v / pivot;
                }
            }
        }
    }
}
