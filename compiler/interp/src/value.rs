//! Reading and making tensors.

use crate::error::{Fault, Res, malformed};
use candle_core::{CpuStorage, Device, Storage, Tensor, WithDType};
use ppl_abi::Precision;
use ppl_core::{DType, Lit, Ty};

/// Elements of a tensor in row-major order.
pub(crate) enum Slice<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    Int(&'a [i64]),
    Bool(&'a [u8]),
}

/// Calls `f` with the elements.
pub(crate) fn with<R>(t: &Tensor, f: impl FnOnce(Slice<'_>) -> Res<R>) -> Res<R> {
    let (storage, layout) = t.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else { return malformed("a value is not contiguous") };
    let Storage::Cpu(storage) = &*storage else { return malformed("a value is not on the CPU") };
    match storage {
        CpuStorage::F32(v) => f(Slice::F32(&v[start..end])),
        CpuStorage::F64(v) => f(Slice::F64(&v[start..end])),
        CpuStorage::I64(v) => f(Slice::Int(&v[start..end])),
        CpuStorage::U8(v) => f(Slice::Bool(&v[start..end])),
        _ => malformed("a value of an unknown element type"),
    }
}

/// A tensor of these elements.
pub(crate) fn make<T: WithDType>(shape: &[usize], data: Vec<T>) -> Res<Tensor> {
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}

/// A tensor of reals of this precision.
pub(crate) fn reals(shape: &[usize], data: Vec<f64>, precision: Precision) -> Res<Tensor> {
    match precision {
        Precision::F64 => make(shape, data),
        Precision::F32 => make(shape, data.into_iter().map(|x| x as f32).collect()),
    }
}

/// The elements as doubles.
pub(crate) fn to_reals(t: &Tensor) -> Res<Vec<f64>> {
    with(t, |s| {
        Ok(match s {
            Slice::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Slice::F64(v) => v.to_vec(),
            Slice::Int(v) => v.iter().map(|x| *x as f64).collect(),
            Slice::Bool(v) => v.iter().map(|x| f64::from(*x)).collect(),
        })
    })
}

/// The elements of an int tensor.
pub(crate) fn to_ints(t: &Tensor) -> Res<Vec<i64>> {
    with(t, |s| if let Slice::Int(v) = s { Ok(v.to_vec()) } else { malformed("an operand is not an int") })
}

/// The elements of a bool tensor.
pub(crate) fn to_bools(t: &Tensor) -> Res<Vec<bool>> {
    with(t, |s| if let Slice::Bool(v) = s { Ok(v.iter().map(|b| *b != 0).collect()) } else { malformed("an operand is not a bool") })
}

/// The element of a scalar int.
pub(crate) fn to_int(t: &Tensor) -> Res<i64> {
    match to_ints(t)?[..] {
        [i] => Ok(i),
        _ => malformed("an operand is not a scalar"),
    }
}

/// The tensor of a literal.
pub(crate) fn literal(l: Lit, precision: Precision) -> Res<Tensor> {
    match l {
        Lit::Float(x) => reals(&[], vec![x], precision),
        Lit::Int(i) => make(&[], vec![i]),
        Lit::Bool(b) => make(&[], vec![u8::from(b)]),
    }
}

/// An array without elements, or of zeros.
pub(crate) fn zeros(ty: &Ty, precision: Precision) -> Res<Tensor> {
    Ok(Tensor::zeros(&ty.shape[..], candle_dtype(ty.dtype, precision), &Device::Cpu)?)
}

/// The tensor library's element type.
pub(crate) fn candle_dtype(dtype: DType, precision: Precision) -> candle_core::DType {
    match (dtype, precision) {
        (DType::Float, Precision::F32) => candle_core::DType::F32,
        (DType::Float, Precision::F64) => candle_core::DType::F64,
        (DType::Int, _) => candle_core::DType::I64,
        (DType::Bool, _) => candle_core::DType::U8,
    }
}

/// An argument as the interpreter needs it: of this type, contiguous.
pub(crate) fn argument(name: &str, ty: &Ty, t: &Tensor, precision: Precision) -> Res<Tensor> {
    if t.dims() != ty.shape || t.dtype() != candle_dtype(ty.dtype, precision) {
        let found = format!("{:?}{:?}", t.dtype(), t.dims());
        return Err(Fault::ArgumentType { param: name.to_string(), expected: ty.clone(), found });
    }
    Ok(t.contiguous()?)
}
