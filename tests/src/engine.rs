//! One function in three engines.

use candle_core::{Device, Tensor};
use ppl_abi::Precision;
use ppl_codegen::{Options, Runner, compile};
use ppl_core::{DType, Det, Func, Ty};
use ppl_interp::Interp;
use std::sync::Arc;

/// The elements of an argument, row-major; ints and truth values as reals.
pub type Input = Vec<f64>;

/// A tensor of type `ty`.
pub fn tensor(ty: &Ty, values: &[f64], precision: Precision) -> Tensor {
    let cpu = &Device::Cpu;
    let shape = ty.shape.clone();
    match (ty.dtype, precision) {
        (DType::Float, Precision::F32) => Tensor::from_vec(values.iter().map(|v| *v as f32).collect(), shape, cpu),
        (DType::Float, Precision::F64) => Tensor::from_vec(values.to_vec(), shape, cpu),
        (DType::Int, _) => Tensor::from_vec(values.iter().map(|v| *v as i64).collect(), shape, cpu),
        (DType::Bool, _) => Tensor::from_vec(values.iter().map(|v| *v as u8).collect(), shape, cpu),
    }
    .expect("a tensor")
}

/// The elements of a tensor.
pub fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).expect("a tensor's values")
}

/// Runs `f` in the interpreter.
pub fn interpret(
    dets: &[Func<Det>],
    f: &Func<Det>,
    inputs: &[Input],
    precision: Precision,
    seed: u64,
    step: u64,
) -> Result<Vec<Vec<f64>>, String> {
    assert_eq!(f.params.len(), inputs.len(), "arguments of {}", f.name);
    let args: Vec<Tensor> = f.params.iter().zip(inputs).map(|(v, x)| tensor(f.ty(*v), x, precision)).collect();
    let run = Interp::new(dets).precision(precision).seed(seed).step(step).clamp_indices();
    run.run(f, &args).map(|ts| ts.iter().map(values).collect()).map_err(|e| format!("{}: {e:?}", f.name))
}

/// A compiled function with its inputs set.
pub fn native(f: &Func<Det>, inputs: &[Input], precision: Precision) -> Result<Runner, String> {
    native_with(f, inputs, &Options::new(precision, ppl_tensor::address))
}

/// As [`native`], compiled with these options.
pub fn native_with(f: &Func<Det>, inputs: &[Input], options: &Options) -> Result<Runner, String> {
    assert_eq!(f.params.len(), inputs.len(), "arguments of {}", f.name);
    let code = compile(f, options).map_err(|e| format!("{}: {e}", f.name))?;
    let mut r = Runner::new(Arc::new(code));
    for (i, x) in inputs.iter().enumerate() {
        set(&mut r, i, f.ty(f.params[i]).dtype, x)?;
    }
    Ok(r)
}

/// Sets parameter `i` of type `dtype`.
pub fn set(r: &mut Runner, i: usize, dtype: DType, x: &[f64]) -> Result<(), String> {
    match dtype {
        DType::Float => r.set_floats(i, x),
        DType::Int => r.set_ints(i, &x.iter().map(|v| *v as i64).collect::<Vec<_>>()),
        DType::Bool => r.set_bools(i, &x.iter().map(|v| *v != 0.0).collect::<Vec<_>>()),
    }
    .map_err(|e| e.to_string())
}

/// Runs `f` once as machine code.
pub fn run_native(f: &Func<Det>, inputs: &[Input], precision: Precision, seed: u64, step: u64) -> Result<Vec<Vec<f64>>, String> {
    let mut r = native(f, inputs, precision)?;
    r.run(seed, step);
    Ok((0..f.body.results.len()).map(|i| r.output_values(i)).collect())
}

/// Largest difference relative to the largest magnitude (at least 1) of `a`; NaN equals NaN, infinities equal themselves.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
    let one = |(x, y): (&f64, &f64)| if x.is_nan() && y.is_nan() || x == y { 0.0 } else { ((x - y) / scale).abs() };
    a.iter().zip(b).map(one).fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}
