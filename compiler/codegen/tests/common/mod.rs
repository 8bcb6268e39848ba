//! Running a function in both engines.
#![allow(dead_code, reason = "each test binary uses a part")]

use candle_core::Tensor;
use ppl_abi::Precision;
use ppl_codegen::{Options, Runner, compile};
use ppl_core::{DType, Det, Func};
use ppl_interp::Interp;
use std::sync::Arc;

pub(crate) const SEED: u64 = 42;
pub(crate) const STEP: u64 = 7;

pub(crate) fn options(precision: Precision) -> Options {
    Options::new(precision, ppl_tensor::address)
}

pub(crate) fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).expect("a tensor's values")
}

pub(crate) fn tensor(ty: &ppl_core::Ty, values: &[f64], precision: Precision) -> Tensor {
    let cpu = &candle_core::Device::Cpu;
    let shape = ty.shape.clone();
    match (ty.dtype, precision) {
        (DType::Float, Precision::F32) => Tensor::from_vec(values.iter().map(|v| *v as f32).collect(), shape, cpu),
        (DType::Float, Precision::F64) => Tensor::from_vec(values.to_vec(), shape, cpu),
        (DType::Int, _) => Tensor::from_vec(values.iter().map(|v| *v as i64).collect(), shape, cpu),
        (DType::Bool, _) => Tensor::from_vec(values.iter().map(|v| *v as u8).collect(), shape, cpu),
    }
    .expect("a tensor")
}

pub(crate) fn runner(f: &Func<Det>, args: &[Tensor], options: &Options) -> Runner {
    let code = compile(f, options).unwrap_or_else(|e| panic!("{}: {e}", f.name));
    let mut r = Runner::new(Arc::new(code));
    for (i, (v, t)) in f.params.iter().zip(args).enumerate() {
        let x = values(t);
        match f.ty(*v).dtype {
            DType::Float => r.set_floats(i, &x),
            DType::Int => r.set_ints(i, &x.iter().map(|v| *v as i64).collect::<Vec<_>>()),
            DType::Bool => r.set_bools(i, &x.iter().map(|v| *v != 0.0).collect::<Vec<_>>()),
        }
        .expect("an argument");
    }
    r
}

pub(crate) fn native(f: &Func<Det>, args: &[Tensor], options: &Options) -> Vec<Vec<f64>> {
    let mut r = runner(f, args, options);
    r.run(SEED, STEP);
    (0..f.body.results.len()).map(|i| r.output_values(i)).collect()
}

pub(crate) fn interpreted(f: &Func<Det>, args: &[Tensor], precision: Precision) -> Vec<Vec<f64>> {
    let i = Interp::new(&[]).precision(precision).seed(SEED).step(STEP).clamp_indices();
    i.run(f, args).unwrap_or_else(|e| panic!("{}: {e:?}", f.name)).iter().map(values).collect()
}

/// Largest difference, relative to magnitudes above 1; NaN equals NaN and infinities equal themselves.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let one = |(x, y): (&f64, &f64)| {
        if x.is_nan() && y.is_nan() || x == y { 0.0 } else { ((x - y) / x.abs().max(1.0)).abs() }
    };
    a.iter().zip(b).map(one).fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

/// Both engines agree on `f`, fused or not, within `tolerance` (of double precision; single precision gets the wider one).
pub(crate) fn agree(f: &Func<Det>, args: &dyn Fn(Precision) -> Vec<Tensor>, tolerance: [f64; 2]) {
    for (precision, tolerance) in [Precision::F64, Precision::F32].into_iter().zip(tolerance) {
        let args = args(precision);
        let expected = interpreted(f, &args, precision);
        for fuse in [true, false] {
            let found = native(f, &args, &Options { fuse, ..options(precision) });
            for (k, (e, g)) in expected.iter().zip(&found).enumerate() {
                let d = distance(e, g);
                assert!(
                    d <= tolerance,
                    "{} {} fuse={fuse} result {k}: off by {d}\n interp {e:?}\n native {g:?}",
                    f.name,
                    precision.name()
                );
            }
        }
    }
}
