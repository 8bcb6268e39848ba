//! Kernels on candle tensors.

use candle_core::{DType, Device, Tensor};
use ppl_abi::{Kernel, Key, Precision};
use ppl_tensor::kernels::Triangle;
use ppl_tensor::value::*;

type Result = candle_core::Result<()>;

const KEY: Key = Key { seed: 1, site: 2, step: 3, time: 4 };

#[test]
fn any_layout_is_read_row_major() -> Result {
    let x = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3], Precision::F64)?;
    let t = x.t()?;
    assert_eq!(elements::<f64>(&t)?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(elements::<f64>(&x.narrow(1, 1, 2)?)?, [2.0, 3.0, 5.0, 6.0]);
    assert_eq!(elements::<f64>(&x.get(1)?)?, [4.0, 5.0, 6.0]);
    let y = apply_unary(Kernel::Sqrt, &t)?;
    assert_eq!(y.dims(), [3, 2]);
    assert_eq!(elements::<f64>(&y)?[1], 2.0);
    assert_eq!(elements_f64(&tensor(vec![1u8, 0], &[2])?)?, [1.0, 0.0]);
    assert_eq!(elements_f64(&tensor(vec![-3i64], &[])?)?, [-3.0]);
    assert!(elements::<f32>(&x).is_err());
    assert!(floats(&[1.0], &[2], Precision::F32).is_err());
    Ok(())
}

#[test]
fn scalars_serve_all_elements() -> Result {
    let x = floats(&[1.0, 2.0, 3.0], &[3], Precision::F32)?;
    let two = floats(&[2.0], &[], Precision::F32)?;
    assert_eq!(elements::<f32>(&apply_binary(Kernel::Pow, &x, &two)?)?, [1.0, 4.0, 9.0]);
    assert_eq!(elements::<f32>(&apply_binary(Kernel::Pow, &two, &x)?)?, [2.0, 4.0, 8.0]);
    assert_eq!(apply_binary(Kernel::Pow, &two, &two)?.rank(), 0);
    assert_eq!(apply_binary(Kernel::Pow, &two, &two.reshape((1, 1))?)?.dims(), [1, 1]);
    assert!(apply_binary(Kernel::Pow, &x, &floats(&[1.0; 2], &[2], Precision::F32)?).is_err());
    assert!(apply_binary(Kernel::Pow, &x, &floats(&[1.0; 3], &[3], Precision::F64)?).is_err());
    assert!(apply_unary(Kernel::Pow, &x).is_err());
    assert!(apply_unary(Kernel::Exp, &Tensor::zeros(3, DType::I64, &Device::Cpu)?).is_err());
    let half = floats(&[0.5], &[], Precision::F32)?;
    let y = apply_ternary(Kernel::BetaInc, &x, &x, &half)?;
    assert!(elements::<f32>(&y)?.iter().all(|y| (y - 0.5).abs() < 1e-6));
    Ok(())
}

#[test]
fn draws_have_their_shapes_and_types() -> Result {
    let u = draw(Kernel::Uniform, &[2, 3], KEY, Precision::F32)?;
    assert_eq!((u.dims(), u.dtype()), (&[2, 3][..], DType::F32));
    let rate = floats(&[3.0], &[], Precision::F64)?;
    assert_eq!(draw_with(Kernel::Poisson, &rate, &[5], KEY)?.dtype(), DType::I64);
    assert_eq!(draw_with(Kernel::StandardGamma, &rate, &[5], KEY)?.dtype(), DType::F64);
    assert_eq!(draw_with(Kernel::Bernoulli, &rate, &[5], KEY)?.dtype(), DType::U8);
    assert!(draw_with(Kernel::Normal, &rate, &[5], KEY).is_err());
    assert!(draw_with(Kernel::Poisson, &floats(&[1.0; 2], &[2], Precision::F64)?, &[5], KEY).is_err());
    let p = floats(&[0.0, 1.0, 1.0, 0.0], &[2, 2], Precision::F64)?;
    assert_eq!(elements::<i64>(&draw_categorical(Kernel::Categorical, &p, &[2], KEY)?)?, [1, 0]);
    let trials = tensor(vec![4i64], &[])?;
    let one = floats(&[1.0], &[], Precision::F64)?;
    assert_eq!(elements::<i64>(&draw_binomial(&trials, &one, &[2], KEY)?)?, [4, 4]);
    let mut order = elements::<i64>(&draw_permutation(9, KEY)?)?;
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    Ok(())
}

#[test]
fn linear_algebra_agrees_with_candle() -> Result {
    let a = draw(Kernel::Normal, &[3, 4, 5], KEY, Precision::F64)?;
    let b = draw(Kernel::Normal, &[5, 2], KEY, Precision::F64)?;
    let c = matmul(&a, &b)?;
    let want = a.reshape((12, 5))?.matmul(&b)?.reshape((3, 4, 2))?;
    assert_eq!(c.dims(), [3, 4, 2]);
    assert!((c - want)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-14);
    let s = matmul(&a, &a.transpose(1, 2)?.contiguous()?)?;
    let l = cholesky(&s)?;
    assert!((matmul(&l, &l.transpose(1, 2)?)? - &s)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-13);
    let x = triangular_solve(&l, &s, Triangle { upper: false, transposed: false })?;
    assert!((matmul(&l, &x)? - &s)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-13);
    assert!(matmul(&b, &a).is_err());
    assert!(cholesky(&b).is_err());
    assert!(triangular_solve(&b, &s, Triangle { upper: false, transposed: false }).is_err());
    Ok(())
}

#[test]
fn rows_drop_or_keep_their_axis() -> Result {
    let x = floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1, 2, 3], Precision::F64)?;
    let sum = apply_rows(Kernel::SumRows, &x)?;
    assert_eq!((sum.dims(), elements::<f64>(&sum)?), (&[1, 2][..], vec![6.0, 15.0]));
    assert_eq!(elements::<f64>(&apply_rows(Kernel::SumCols, &x.reshape((2, 3))?)?)?, [5.0, 7.0, 9.0]);
    assert_eq!(apply_rows(Kernel::SoftmaxRows, &x)?.dims(), x.dims());
    assert_eq!(elements::<f64>(&cumsum(&x, true)?)?, [6.0, 5.0, 3.0, 15.0, 11.0, 6.0]);
    assert!(apply_rows(Kernel::SumRows, &floats(&[1.0], &[], Precision::F64)?).is_err());
    assert!(apply_rows(Kernel::CumsumRows, &x).is_err());
    let moved = from_storage(candle_core::CpuStorage::I64(vec![1, 2, 3, 4]), &[2, 2])?;
    assert_eq!(moved.to_vec2::<i64>()?, [[1, 2], [3, 4]]);
    assert!(from_storage(candle_core::CpuStorage::I64(vec![1]), &[2]).is_err());
    Ok(())
}
