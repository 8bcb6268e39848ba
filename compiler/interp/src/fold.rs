//! Operations that combine many elements: reductions, running sums, contractions, matrix operations.
//!
//! Reals are accumulated in double precision, in row-major order of the elements, and rounded once at the end.

use crate::error::{Res, malformed};
use crate::index::{each_index, linear, others, sizes};
use crate::value::{Slice, make, reals, to_bools, to_ints, to_reals, with};
use candle_core::Tensor;
use ppl_abi::Precision;
use ppl_core::{Linalg, ReduceOp};
use ppl_tensor::{Float, kernels};

/// Accumulates the elements over `axes` into an array without them.
fn accumulate<T: Copy>(
    x: &[T],
    shape: &[usize],
    axes: &[usize],
    start: T,
    mut step: impl FnMut(T, T) -> T,
) -> (Vec<usize>, Vec<T>) {
    let kept = others(shape.len(), axes);
    let out_shape = sizes(shape, &kept);
    let mut out = vec![start; out_shape.iter().product()];
    each_index(shape, |i| {
        let to = linear(kept.iter().map(|a| i[*a]), &out_shape);
        out[to] = step(out[to], x[linear(i.iter().copied(), shape)]);
    });
    (out_shape, out)
}

pub(crate) fn reduce(op: ReduceOp, x: &Tensor, axes: &[usize], precision: Precision) -> Res<Tensor> {
    let shape = x.dims();
    match x.dtype() {
        candle_core::DType::F32 | candle_core::DType::F64 => {
            let v = to_reals(x)?;
            let larger = |a: f64, b: f64| if !a.is_nan() && (b.is_nan() || b > a) { b } else { a };
            let (shape, out) = match op {
                ReduceOp::Sum => accumulate(&v, shape, axes, 0.0, |a, b| a + b),
                ReduceOp::Prod => accumulate(&v, shape, axes, 1.0, |a, b| a * b),
                ReduceOp::Max => accumulate(&v, shape, axes, f64::NEG_INFINITY, larger),
                ReduceOp::Min => accumulate(&v, shape, axes, f64::INFINITY, |a, b| -larger(-a, -b)),
                ReduceOp::All | ReduceOp::Any => return malformed(format!("`{}` of reals", op.name())),
            };
            reals(&shape, out, precision)
        }
        candle_core::DType::I64 => {
            let v = to_ints(x)?;
            let (shape, out) = match op {
                ReduceOp::Sum => accumulate(&v, shape, axes, 0, i64::wrapping_add),
                ReduceOp::Prod => accumulate(&v, shape, axes, 1, i64::wrapping_mul),
                ReduceOp::Max => accumulate(&v, shape, axes, i64::MIN, i64::max),
                ReduceOp::Min => accumulate(&v, shape, axes, i64::MAX, i64::min),
                ReduceOp::All | ReduceOp::Any => return malformed(format!("`{}` of integers", op.name())),
            };
            make(&shape, out)
        }
        _ => {
            let v = to_bools(x)?;
            let (shape, out) = match op {
                ReduceOp::All => accumulate(&v, shape, axes, true, |a, b| a && b),
                ReduceOp::Any => accumulate(&v, shape, axes, false, |a, b| a || b),
                _ => return malformed(format!("`{}` of truth values", op.name())),
            };
            make(&shape, out.into_iter().map(u8::from).collect())
        }
    }
}

/// The index along `axis` of the largest element, the first of equals; NaN is larger than everything.
pub(crate) fn argmax(x: &Tensor, axis: usize) -> Res<Tensor> {
    let shape = x.dims();
    let kept = others(shape.len(), &[axis]);
    let out_shape = sizes(shape, &kept);
    let n: usize = out_shape.iter().product();
    let mut at = vec![0i64; n];
    let mut go = |larger: &dyn Fn(usize, usize) -> bool| {
        let mut best: Vec<Option<usize>> = vec![None; n];
        each_index(shape, |i| {
            let here = linear(i.iter().copied(), shape);
            let to = linear(kept.iter().map(|a| i[*a]), &out_shape);
            if best[to].is_none_or(|b| larger(here, b)) {
                best[to] = Some(here);
                at[to] = i[axis] as i64;
            }
        });
    };
    if x.dtype() == candle_core::DType::I64 {
        let v = to_ints(x)?;
        go(&|a, b| v[a] > v[b]);
    } else {
        let v = to_reals(x)?;
        go(&|a, b| v[a] > v[b] || v[a].is_nan() && !v[b].is_nan());
    }
    make(&out_shape, at)
}

pub(crate) fn cumsum(x: &Tensor, axis: usize, reverse: bool, precision: Precision) -> Res<Tensor> {
    fn go<T: Copy>(mut v: Vec<T>, shape: &[usize], axis: usize, reverse: bool, add: fn(T, T) -> T) -> Vec<T> {
        let len = shape[axis];
        let mut lines = shape.to_vec();
        lines[axis] = 1;
        each_index(&lines, |i| {
            let at = |k: usize| linear(i.iter().enumerate().map(|(a, i)| if a == axis { k } else { *i }), shape);
            for k in 1..len {
                let (here, before) = if reverse { (len - 1 - k, len - k) } else { (k, k - 1) };
                v[at(here)] = add(v[at(before)], v[at(here)]);
            }
        });
        v
    }
    let shape = x.dims();
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    if x.dtype() == candle_core::DType::I64 {
        return make(shape, go(to_ints(x)?, shape, axis, reverse, i64::wrapping_add));
    }
    reals(shape, go(to_reals(x)?, shape, axis, reverse, |a, b| a + b), precision)
}

/// `out[batch, free a, free b]` = the sum of `a * b` over the contracted axes.
pub(crate) fn dot(
    a: &Tensor,
    b: &Tensor,
    batch: &[(usize, usize)],
    contract: &[(usize, usize)],
    precision: Precision,
) -> Res<Tensor> {
    let side = |t: &Tensor, pick: fn(&(usize, usize)) -> usize| -> (Vec<usize>, Vec<usize>) {
        let used: Vec<usize> = batch.iter().chain(contract).map(pick).collect();
        let free = others(t.rank(), &used);
        (used, free)
    };
    let ((used_a, free_a), (used_b, free_b)) = (side(a, |p| p.0), side(b, |p| p.1));
    let shape = [sizes(a.dims(), &used_a[..batch.len()]), sizes(a.dims(), &free_a), sizes(b.dims(), &free_b)].concat();
    let inner = sizes(a.dims(), &used_a[batch.len()..]);
    let n = batch.len();
    // Operand index from the result's index and the contracted one.
    let place = |t: &Tensor, used: &[usize], free: &[usize], skip: usize, o: &[usize], k: &[usize]| -> usize {
        let mut at = vec![0; t.rank()];
        used[..n].iter().zip(o).for_each(|(axis, i)| at[*axis] = *i);
        used[n..].iter().zip(k).for_each(|(axis, i)| at[*axis] = *i);
        free.iter().zip(&o[n + skip..]).for_each(|(axis, i)| at[*axis] = *i);
        linear(at, t.dims())
    };
    let visit = |term: &mut dyn FnMut(usize, usize, usize)| {
        let mut to = 0;
        each_index(&shape, |o| {
            each_index(&inner, |k| {
                term(to, place(a, &used_a, &free_a, 0, o, k), place(b, &used_b, &free_b, free_a.len(), o, k));
            });
            to += 1;
        });
    };
    let count = shape.iter().product();
    if a.dtype() == candle_core::DType::I64 {
        let (x, y) = (to_ints(a)?, to_ints(b)?);
        let mut out = vec![0i64; count];
        visit(&mut |o, i, j| out[o] = out[o].wrapping_add(x[i].wrapping_mul(y[j])));
        return make(&shape, out);
    }
    let (x, y) = (to_reals(a)?, to_reals(b)?);
    let mut out = vec![0.0; count];
    visit(&mut |o, i, j| out[o] += x[i] * y[j]);
    reals(&shape, out, precision)
}

/// By the kernels of compiled code.
pub(crate) fn linalg(op: Linalg, args: &[Tensor]) -> Res<Tensor> {
    fn go<T: Float>(op: Linalg, a: &[T], b: &[T], shape: &[usize], out_shape: &[usize]) -> Res<Tensor> {
        let n = shape.last().copied().unwrap_or(1);
        let mut out = vec![T::zero(); out_shape.iter().product()];
        if !out.is_empty() {
            match op {
                Linalg::Cholesky => kernels::cholesky(&mut out, a, n)?,
                Linalg::Solve { transpose } => {
                    let triangle = kernels::Triangle { upper: false, transposed: transpose };
                    kernels::triangular_solve(&mut out, a, b, n, out_shape[out_shape.len() - 1], triangle)?;
                }
                Linalg::Unfold(w) | Linalg::Fold(w) => {
                    let fold = matches!(op, Linalg::Fold(_));
                    let whole = if fold { out.len() } else { a.len() };
                    let window = kernels::Window {
                        plane: w.image,
                        kernel: w.kernel,
                        stride: w.stride,
                        padding: w.padding,
                        dilation: w.dilation,
                    };
                    kernels::patches(&mut out, a, whole / (w.image.0 * w.image.1).max(1), window, fold)?;
                }
            }
        }
        make(out_shape, out)
    }
    let (a, b) = match (op, args) {
        (Linalg::Cholesky | Linalg::Unfold(_) | Linalg::Fold(_), [a]) => (a, a),
        (Linalg::Solve { .. }, [l, b]) => (l, b),
        _ => return malformed("a matrix operation with other operands"),
    };
    let ty = |t: &Tensor| ppl_core::Ty::float(t.dims().to_vec());
    let tys: Vec<ppl_core::Ty> = args.iter().map(ty).collect();
    let Ok(out) = ppl_core::shape::linalg(op, &tys) else { return malformed("a matrix operation on operands that do not fit") };
    let out = &out.shape[..];
    with(a, |x| {
        with(b, |y| match (x, y) {
            (Slice::F64(x), Slice::F64(y)) => go(op, x, y, a.dims(), out),
            (Slice::F32(x), Slice::F32(y)) => go(op, x, y, a.dims(), out),
            _ => malformed("a matrix operation on other than reals"),
        })
    })
}
