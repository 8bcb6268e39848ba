//! Operations that move elements: each is a formula from the result's index to the operand's.

use crate::error::{Fault, Res, malformed};
use crate::index::{each_index, linear};
use crate::value::{Slice, make, to_ints, with};
use candle_core::{Tensor, WithDType};

/// The array of `shape` whose element at `i` is `x`'s element number `source(i)`, or zero.
pub(crate) fn pick(x: &Tensor, shape: &[usize], mut source: impl FnMut(&[usize]) -> Option<usize>) -> Res<Tensor> {
    fn go<T: WithDType>(v: &[T], shape: &[usize], source: &mut dyn FnMut(&[usize]) -> Option<usize>) -> Res<Tensor> {
        let mut out = Vec::with_capacity(shape.iter().product());
        let mut missing = false;
        each_index(shape, |i| match source(i).map(|s| v.get(s)) {
            Some(Some(e)) => out.push(*e),
            None => out.push(T::zero()),
            Some(None) => missing = true,
        });
        if missing { malformed("an operand is too small") } else { make(shape, out) }
    }
    with(x, |s| match s {
        Slice::F32(v) => go(v, shape, &mut source),
        Slice::F64(v) => go(v, shape, &mut source),
        Slice::Int(v) => go(v, shape, &mut source),
        Slice::Bool(v) => go(v, shape, &mut source),
    })
}

pub(crate) fn broadcast(x: &Tensor, shape: &[usize], axes: &[usize]) -> Res<Tensor> {
    pick(x, shape, |i| Some(linear(axes.iter().map(|a| i[*a]), x.dims())))
}

pub(crate) fn transpose(x: &Tensor, perm: &[usize]) -> Res<Tensor> {
    let shape: Vec<usize> = perm.iter().map(|p| x.dims()[*p]).collect();
    let mut source = vec![0; perm.len()];
    pick(x, &shape, |i| {
        perm.iter().zip(i).for_each(|(p, i)| source[*p] = *i);
        Some(linear(source.iter().copied(), x.dims()))
    })
}

pub(crate) fn reshape(x: &Tensor, shape: &[usize]) -> Res<Tensor> {
    pick(x, shape, |i| Some(linear(i.iter().copied(), shape)))
}

/// Moves along one axis: `source` of the index along `axis`, or nothing for zero.
pub(crate) fn along(x: &Tensor, axis: usize, len: usize, source: impl Fn(usize) -> Option<usize>) -> Res<Tensor> {
    let mut shape = x.dims().to_vec();
    shape[axis] = len;
    pick(x, &shape, |i| {
        let at = source(i[axis])?;
        Some(linear(i.iter().enumerate().map(|(a, i)| if a == axis { at } else { *i }), x.dims()))
    })
}

/// Row `i` of the first axis.
pub(crate) fn row(x: &Tensor, i: usize) -> Res<Tensor> {
    let shape = &x.dims()[1..];
    let offset = i * shape.iter().product::<usize>();
    pick(x, shape, |at| Some(offset + linear(at.iter().copied(), shape)))
}

/// All elements of all parts, one after the other.
fn chained(xs: &[Tensor]) -> Res<Tensor> {
    fn go<T: WithDType>(xs: &[Tensor], get: fn(Slice<'_>) -> Option<Vec<T>>) -> Res<Tensor> {
        let mut out = Vec::new();
        for x in xs {
            out.extend(with(x, |s| get(s).map_or_else(|| malformed("parts of different element types"), Ok))?);
        }
        make(&[out.len()], out)
    }
    let Some(first) = xs.first() else { return malformed("no operands") };
    match first.dtype() {
        candle_core::DType::F32 => go(xs, |s| if let Slice::F32(v) = s { Some(v.to_vec()) } else { None }),
        candle_core::DType::F64 => go(xs, |s| if let Slice::F64(v) = s { Some(v.to_vec()) } else { None }),
        candle_core::DType::I64 => go(xs, |s| if let Slice::Int(v) = s { Some(v.to_vec()) } else { None }),
        _ => go(xs, |s| if let Slice::Bool(v) = s { Some(v.to_vec()) } else { None }),
    }
}

/// Arrays of one shape along a new first axis.
pub(crate) fn stack(xs: &[Tensor]) -> Res<Tensor> {
    let shape: Vec<usize> = std::iter::once(xs.len()).chain(xs.first().map_or(&[][..], |x| x.dims()).iter().copied()).collect();
    reshape(&chained(xs)?, &shape)
}

pub(crate) fn concat(xs: &[Tensor], axis: usize) -> Res<Tensor> {
    let all = chained(xs)?;
    let mut shape = xs[0].dims().to_vec();
    shape[axis] = xs.iter().map(|x| x.dims()[axis]).sum();
    pick(&all, &shape, |i| {
        let (mut before, mut offset) = (0, 0);
        for x in xs {
            let size = x.dims()[axis];
            if i[axis] < before + size {
                let at = i.iter().enumerate().map(|(a, i)| if a == axis { i - before } else { *i });
                return Some(offset + linear(at, x.dims()));
            }
            before += size;
            offset += x.elem_count();
        }
        None
    })
}

/// Every index, in range: as it is, or clamped.
fn in_range(idx: &Tensor, len: usize, check: bool) -> Res<Vec<usize>> {
    to_ints(idx)?
        .into_iter()
        .map(|i| match usize::try_from(i) {
            Ok(u) if u < len => Ok(u),
            _ if check => Err(Fault::Index { index: i, len }),
            Ok(_) => Ok(len.saturating_sub(1)),
            Err(_) => Ok(0),
        })
        .collect()
}

/// `out[b, i, r] = x[b, idx[b, i], r]`.
pub(crate) fn gather(x: &Tensor, idx: &Tensor, batch: usize, check: bool) -> Res<Tensor> {
    let at = in_range(idx, x.dims()[batch], check)?;
    let lead = idx.rank();
    let shape: Vec<usize> = idx.dims().iter().chain(&x.dims()[batch + 1..]).copied().collect();
    pick(x, &shape, |o| {
        let chosen = at[linear(o[..lead].iter().copied(), idx.dims())];
        Some(linear(o[..batch].iter().copied().chain([chosen]).chain(o[lead..].iter().copied()), x.dims()))
    })
}

/// `out[b, idx[b, i], r] += updates[b, i, r]`, in the order of the updates.
pub(crate) fn scatter_add(idx: &Tensor, updates: &Tensor, batch: usize, len: usize, check: bool) -> Res<Tensor> {
    fn go<T: WithDType>(
        v: &[T],
        from: &[usize],
        shape: &[usize],
        place: &mut dyn FnMut(&[usize]) -> usize,
        add: fn(T, T) -> T,
    ) -> Res<Tensor> {
        let mut out = vec![T::zero(); shape.iter().product()];
        each_index(from, |i| {
            let to = place(i);
            out[to] = add(out[to], v[linear(i.iter().copied(), from)]);
        });
        make(shape, out)
    }
    let at = in_range(idx, len, check)?;
    let lead = idx.rank();
    let mut shape = idx.dims()[..batch].to_vec();
    shape.push(len);
    shape.extend(&updates.dims()[lead..]);
    let mut place = |i: &[usize]| {
        let chosen = at[linear(i[..lead].iter().copied(), idx.dims())];
        linear(i[..batch].iter().copied().chain([chosen]).chain(i[lead..].iter().copied()), &shape)
    };
    with(updates, |s| match s {
        Slice::F32(v) => go(v, updates.dims(), &shape, &mut place, |a, b| a + b),
        Slice::F64(v) => go(v, updates.dims(), &shape, &mut place, |a, b| a + b),
        Slice::Int(v) => go(v, updates.dims(), &shape, &mut place, i64::wrapping_add),
        Slice::Bool(_) => malformed("truth values are not added"),
    })
}
