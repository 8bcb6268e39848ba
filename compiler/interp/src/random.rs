//! Draws: the part of a kernel's draw that belongs to the current lanes.
//!
//! Element `e` of a draw has number `lane * numel + e`, where `lane` is the linear index of its lanes. A kernel's draw of `n`
//! elements is a prefix of its draw of more, so the lanes before are drawn too and dropped.

use crate::error::{Res, malformed};
use crate::value::{Slice, make, to_ints, with};
use candle_core::Tensor;
use ppl_abi::{Kernel, Key, Precision};
use ppl_core::RngKind;
use ppl_tensor::{Float, kernels};

/// A draw of `shape` whose first element has number `offset`.
pub(crate) fn draw(kind: RngKind, args: &[Tensor], shape: &[usize], offset: usize, key: Key, precision: Precision) -> Res<Tensor> {
    match precision {
        Precision::F64 => typed::<f64>(kind, args, shape, offset, key, |s| if let Slice::F64(v) = s { Some(v.to_vec()) } else { None }),
        Precision::F32 => typed::<f32>(kind, args, shape, offset, key, |s| if let Slice::F32(v) = s { Some(v.to_vec()) } else { None }),
    }
}

fn typed<T: Float>(
    kind: RngKind,
    args: &[Tensor],
    shape: &[usize],
    offset: usize,
    key: Key,
    get: fn(Slice<'_>) -> Option<Vec<T>>,
) -> Res<Tensor> {
    let n: usize = shape.iter().product();
    if n == 0 {
        return crate::value::zeros(&ppl_core::Ty::new(kind.dtype(), shape), T::PRECISION);
    }
    let real = |t: &Tensor| with(t, |s| get(s).map_or_else(|| malformed("a parameter of another element type"), Ok));
    let total = offset + n;
    match (kind, args) {
        (RngKind::Uniform | RngKind::Normal, []) => {
            let kernel = if kind == RngKind::Uniform { Kernel::Uniform } else { Kernel::Normal };
            let mut out = vec![T::zero(); total];
            kernels::draw(kernel, &mut out, key)?;
            make(shape, out.split_off(offset))
        }
        (RngKind::Gamma, [p]) => {
            let mut out = vec![T::zero(); total];
            kernels::draw_gamma(&mut out, &padded(real(p)?, 1, n, offset), key)?;
            make(shape, out.split_off(offset))
        }
        (RngKind::Poisson, [p]) => {
            let mut out = vec![0; total];
            kernels::draw_poisson(&mut out, &padded(real(p)?, 1, n, offset), key)?;
            make(shape, out.split_off(offset))
        }
        (RngKind::Binomial, [trials, p]) => {
            let mut out = vec![0; total];
            let trials = padded(to_ints(trials)?, 1, n, offset);
            kernels::draw_binomial(&mut out, &trials, &padded(real(p)?, 1, n, offset), key)?;
            make(shape, out.split_off(offset))
        }
        (RngKind::Categorical, [p]) => {
            let Some(k) = p.dims().last().copied() else { return malformed("the probabilities are a scalar") };
            let mut out = vec![0; total];
            kernels::draw_categorical(Kernel::Categorical, &mut out, &padded(real(p)?, k, n, offset), k, key)?;
            make(shape, out.split_off(offset))
        }
        _ => malformed(format!("`{}` with {} parameters", kind.name(), args.len())),
    }
}

/// Parameters in groups of `k`, one group for each of `n` elements or one for all, with `offset` groups in front whose draws
/// are dropped.
fn padded<T: Copy>(p: Vec<T>, k: usize, n: usize, offset: usize) -> Vec<T> {
    if p.len() == k || offset == 0 {
        return p;
    }
    let first: Vec<T> = p[..k].to_vec();
    let mut out = Vec::with_capacity((offset + n) * k);
    for _ in 0..offset {
        out.extend(&first);
    }
    out.extend(&p);
    out
}
