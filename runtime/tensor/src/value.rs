//! Dense CPU tensors of the runtime's four types, and kernels on them.
//!
//! The runtime's values are candle tensors of `f32` or `f64` (floats), `i64` (integers) and `u8` (booleans). Functions here accept any
//! layout and return contiguous tensors. Errors are candle's: a wrong type, a wrong shape, or a tensor on another device.

use crate::kernels::{self, Gemm, Triangle};
use candle_core::{CpuStorage, DType, Device, Error, Result, Shape, Storage, Tensor, WithDType, bail};
use ppl_abi::{Kernel, Key, Precision};

/// candle's type for floats of a precision.
pub fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::F64 => DType::F64,
    }
}

/// The precision of a float tensor.
///
/// # Errors
///
/// The tensor holds no floats of the runtime.
pub fn precision(tensor: &Tensor) -> Result<Precision> {
    match tensor.dtype() {
        DType::F32 => Ok(Precision::F32),
        DType::F64 => Ok(Precision::F64),
        other => bail!("expected a tensor of f32 or f64, found {other:?}"),
    }
}

/// A tensor of these elements, row-major.
///
/// # Errors
///
/// The number of elements is not that of the shape.
pub fn tensor<T: WithDType>(data: Vec<T>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// A float tensor, rounded to the precision.
///
/// # Errors
///
/// The number of elements is not that of the shape.
pub fn floats(data: &[f64], shape: &[usize], precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::F32 => tensor(data.iter().map(|&x| x as f32).collect(), shape),
        Precision::F64 => tensor(data.to_vec(), shape),
    }
}

/// The elements, row-major.
///
/// # Errors
///
/// The tensor holds another type, or is on another device.
pub fn elements<T: WithDType>(tensor: &Tensor) -> Result<Vec<T>> {
    with(tensor, |data: &[T]| Ok(data.to_vec()))
}

/// The elements of a tensor of any of the four types as `f64`, row-major.
///
/// # Errors
///
/// The tensor holds another type, or is on another device.
pub fn elements_f64(tensor: &Tensor) -> Result<Vec<f64>> {
    match tensor.dtype() {
        DType::F64 => elements::<f64>(tensor),
        DType::F32 => Ok(elements::<f32>(tensor)?.into_iter().map(f64::from).collect()),
        DType::I64 => Ok(elements::<i64>(tensor)?.into_iter().map(|x| x as f64).collect()),
        DType::U8 => Ok(elements::<u8>(tensor)?.into_iter().map(f64::from).collect()),
        other => bail!("expected a tensor of f32, f64, i64 or u8, found {other:?}"),
    }
}

/// Runs `f` on the elements, row-major, copying only if the layout is not contiguous.
///
/// # Errors
///
/// The tensor holds another type, is on another device, or `f` fails.
pub fn with<T: WithDType, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => {
            let data = T::cpu_storage_as_slice(cpu)?;
            let from = layout.start_offset();
            match data.get(from..from + layout.shape().elem_count()) {
                Some(data) => f(data),
                None => bail!("tensor layout leaves its storage"),
            }
        }
        _ => bail!("expected a tensor in main memory"),
    }
}

/// A new tensor made by filling a buffer of zeros.
fn fill<T: WithDType>(shape: &Shape, f: impl FnOnce(&mut [T]) -> Result<()>) -> Result<Tensor> {
    let mut data = vec![T::zero(); shape.elem_count()];
    f(&mut data)?;
    Tensor::from_vec(data, shape, &Device::Cpu)
}

fn run(result: std::result::Result<(), kernels::KernelError>) -> Result<()> {
    result.map_err(Error::wrap)
}

/// Evaluates `$body` with `$t` the float type of `$precision`.
macro_rules! at_precision {
    ($precision:expr, $t:ident => $body:expr) => {
        match $precision {
            Precision::F32 => {
                type $t = f32;
                $body
            }
            Precision::F64 => {
                type $t = f64;
                $body
            }
        }
    };
}

/// Elementwise function of one tensor.
///
/// # Errors
///
/// The kernel takes other arguments, or the tensor holds no floats.
pub fn apply_unary(kernel: Kernel, x: &Tensor) -> Result<Tensor> {
    at_precision!(precision(x)?, T => with(x, |x_data: &[T]| {
        fill(x.shape(), |dst: &mut [T]| run(kernels::unary(kernel, dst, x_data)))
    }))
}

/// The shape of operands that have it, where the others have one element.
fn common_shape(operands: &[&Tensor]) -> Result<Shape> {
    let mut shape: Option<&Shape> = None;
    for t in operands {
        if t.elem_count() == 1 && (t.rank() == 0 || operands.len() > 1) {
            continue;
        }
        match shape {
            None => shape = Some(t.shape()),
            Some(s) if s == t.shape() => {}
            Some(s) => bail!("operands have the shapes {s:?} and {:?}", t.shape()),
        }
    }
    // All have one element: the one of the highest rank.
    let all_single = || operands.iter().map(|t| t.shape()).max_by_key(|s| s.rank()).cloned();
    match shape.cloned().or_else(all_single) {
        Some(shape) => Ok(shape),
        None => bail!("no operands"),
    }
}

/// Elementwise function of two tensors of one shape; one of one element serves all.
///
/// # Errors
///
/// The kernel takes other arguments, or the types or shapes do not fit.
pub fn apply_binary(kernel: Kernel, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let shape = common_shape(&[a, b])?;
    at_precision!(precision(a)?, T => with(a, |a: &[T]| with(b, |b: &[T]| {
        fill(&shape, |dst: &mut [T]| run(kernels::binary(kernel, dst, a, b)))
    })))
}

/// Elementwise function of three tensors of one shape; those of one element serve all.
///
/// # Errors
///
/// The kernel takes other arguments, or the types or shapes do not fit.
pub fn apply_ternary(kernel: Kernel, a: &Tensor, b: &Tensor, x: &Tensor) -> Result<Tensor> {
    let shape = common_shape(&[a, b, x])?;
    at_precision!(precision(a)?, T => with(a, |a: &[T]| with(b, |b: &[T]| with(x, |x: &[T]| {
        fill(&shape, |dst: &mut [T]| run(kernels::ternary(kernel, dst, a, b, x)))
    }))))
}

/// A draw of `uniform` or `normal`.
///
/// # Errors
///
/// The kernel takes other arguments.
pub fn draw(kernel: Kernel, shape: &[usize], key: Key, precision: Precision) -> Result<Tensor> {
    let shape = Shape::from(shape);
    at_precision!(precision, T => fill(&shape, |dst: &mut [T]| run(kernels::draw(kernel, dst, key))))
}

/// A draw of `standard_gamma` (floats), `poisson` (integers) or `bernoulli` (booleans); the parameter has the draw's shape, or one
/// element.
///
/// # Errors
///
/// The kernel takes other arguments, or the parameter's type or shape does not fit.
pub fn draw_with(kernel: Kernel, p: &Tensor, shape: &[usize], key: Key) -> Result<Tensor> {
    let shape = Shape::from(shape);
    at_precision!(precision(p)?, T => with(p, |p: &[T]| match kernel {
        Kernel::StandardGamma => fill(&shape, |dst: &mut [T]| run(kernels::draw_gamma(dst, p, key))),
        Kernel::Poisson => fill(&shape, |dst: &mut [i64]| run(kernels::draw_poisson(dst, p, key))),
        Kernel::Bernoulli => fill(&shape, |dst: &mut [u8]| run(kernels::draw_bernoulli(dst, p, key))),
        _ => run(Err(kernels::KernelError::Family { kernel })).and_then(|()| Tensor::zeros(&shape, DType::U8, &Device::Cpu)),
    }))
}

/// A binomial draw; `trials` (integers) and `p` have the draw's shape, or one element.
///
/// # Errors
///
/// A type or shape does not fit.
pub fn draw_binomial(trials: &Tensor, p: &Tensor, shape: &[usize], key: Key) -> Result<Tensor> {
    let shape = Shape::from(shape);
    at_precision!(precision(p)?, T => with(p, |p: &[T]| with(trials, |trials: &[i64]| {
        fill(&shape, |dst: &mut [i64]| run(kernels::draw_binomial(dst, trials, p, key)))
    })))
}

/// A draw of `categorical` or `categorical_log`; the last axis of `p` runs over categories, the others are the draw's shape or absent.
///
/// # Errors
///
/// The kernel takes other arguments, or a type or shape does not fit.
pub fn draw_categorical(kernel: Kernel, p: &Tensor, shape: &[usize], key: Key) -> Result<Tensor> {
    let Some(&k) = p.dims().last() else { bail!("categorical weights need at least one axis") };
    let shape = Shape::from(shape);
    at_precision!(precision(p)?, T => with(p, |p: &[T]| {
        fill(&shape, |dst: &mut [i64]| run(kernels::draw_categorical(kernel, dst, p, k, key)))
    }))
}

/// A random permutation of `0 .. n`, as integers.
///
/// # Errors
///
/// Out of candle's limits only.
pub fn draw_permutation(n: usize, key: Key) -> Result<Tensor> {
    fill(&Shape::from(n), |dst: &mut [i64]| {
        kernels::draw_permutation(dst, key);
        Ok(())
    })
}

/// The batch size of `rank >= 2` operands, and their last two axes.
fn matrix(t: &Tensor) -> Result<(&[usize], usize, usize)> {
    match t.dims() {
        [batch @ .., r, c] => Ok((batch, *r, *c)),
        other => bail!("expected a matrix or a batch of them, found the shape {other:?}"),
    }
}

/// Product of two matrices, or of batches of one shape; a single matrix is shared by a batch.
///
/// # Errors
///
/// The types or shapes do not fit.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((batch_a, m, k), (batch_b, k2, n)) = (matrix(a)?, matrix(b)?);
    if k != k2 || !(batch_a.is_empty() || batch_b.is_empty() || batch_a == batch_b) {
        bail!("cannot multiply the shapes {:?} and {:?}", a.shape(), b.shape());
    }
    let batch = if batch_a.is_empty() { batch_b } else { batch_a };
    let dims: Vec<usize> = batch.iter().copied().chain([m, n]).collect();
    let g = Gemm::dense(m, n, k).batched(batch.iter().product(), batch_a.is_empty(), batch_b.is_empty());
    at_precision!(precision(a)?, T => with(a, |a: &[T]| with(b, |b: &[T]| {
        fill(&Shape::from(dims), |c: &mut [T]| run(kernels::gemm(c, a, b, g, false)))
    })))
}

/// Lower Cholesky factors of a matrix or a batch; NaN where it is not positive definite.
///
/// # Errors
///
/// The matrices are not square, or hold no floats.
pub fn cholesky(a: &Tensor) -> Result<Tensor> {
    let (_, n, n2) = matrix(a)?;
    if n != n2 {
        bail!("a Cholesky factor needs square matrices, found the shape {:?}", a.shape());
    }
    at_precision!(precision(a)?, T => with(a, |data: &[T]| {
        fill(a.shape(), |dst: &mut [T]| run(kernels::cholesky(dst, data, n)))
    }))
}

/// Solves triangular systems `op(a) x = b`; `a` is one matrix, or one for each of the batch of `b`.
///
/// # Errors
///
/// The types or shapes do not fit.
pub fn triangular_solve(a: &Tensor, b: &Tensor, triangle: Triangle) -> Result<Tensor> {
    let ((batch_a, n, n2), (batch_b, rows, m)) = (matrix(a)?, matrix(b)?);
    if n != n2 || n != rows || !(batch_a.is_empty() || batch_a == batch_b) {
        bail!("cannot solve with the shapes {:?} and {:?}", a.shape(), b.shape());
    }
    at_precision!(precision(a)?, T => with(a, |a: &[T]| with(b, |data: &[T]| {
        fill(b.shape(), |dst: &mut [T]| run(kernels::triangular_solve(dst, a, data, n, m, triangle)))
    })))
}

/// A row kernel along the last axis (`sum_cols`: along the first of a matrix); reductions drop that axis.
///
/// # Errors
///
/// The kernel takes other arguments, or the tensor has no axes or no floats.
pub fn apply_rows(kernel: Kernel, x: &Tensor) -> Result<Tensor> {
    let Some((&cols, outer)) = x.dims().split_last() else { bail!("`{}` needs at least one axis", kernel.name()) };
    let rows: usize = outer.iter().product();
    let shape = match kernel {
        Kernel::SoftmaxRows | Kernel::LogSoftmaxRows => x.shape().clone(),
        Kernel::SumCols => Shape::from(cols),
        _ => Shape::from(outer),
    };
    at_precision!(precision(x)?, T => with(x, |x: &[T]| {
        fill(&shape, |dst: &mut [T]| run(kernels::rows(kernel, dst, x, rows, cols)))
    }))
}

/// Running sums along the last axis, from its end if `reverse`.
///
/// # Errors
///
/// The tensor has no axes or no floats.
pub fn cumsum(x: &Tensor, reverse: bool) -> Result<Tensor> {
    let Some(&cols) = x.dims().last() else { bail!("a running sum needs at least one axis") };
    at_precision!(precision(x)?, T => with(x, |data: &[T]| {
        fill(x.shape(), |dst: &mut [T]| run(kernels::cumsum_rows(dst, data, cols, reverse)))
    }))
}

/// Moves a float vector into a tensor's storage without copying, for results of compiled code.
pub fn from_storage(storage: CpuStorage, shape: &[usize]) -> Result<Tensor> {
    let found = match &storage {
        CpuStorage::F32(v) => v.len(),
        CpuStorage::F64(v) => v.len(),
        CpuStorage::I64(v) => v.len(),
        CpuStorage::U8(v) => v.len(),
        _ => bail!("expected storage of f32, f64, i64 or u8"),
    };
    let shape = Shape::from(shape);
    if found != shape.elem_count() {
        bail!("{found} elements do not fill the shape {shape:?}");
    }
    let op = candle_core::op::BackpropOp::none();
    Ok(Tensor::from_storage(Storage::Cpu(storage), shape, op, false))
}
