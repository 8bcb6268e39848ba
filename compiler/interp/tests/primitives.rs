//! Every row of the table of primitives at points of its domain: against the kernel or the standard library, scalar and array,
//! in both precisions.

use candle_core::{Device, Tensor};
use ppl_abi::{Family, Precision};
use ppl_core::{Builder, DType, Det, Domain, Elem, Lower, PRIMS, Prim, Ty};
use ppl_interp::Interp;
use ppl_tensor::kernels;

/// Points of a domain, the same number for each.
fn points(domain: Domain, salt: usize) -> Vec<f64> {
    (0..9)
        .map(|i| {
            let u = ((i * 5 + salt * 3) % 9) as f64 / 9.0 + 0.06;
            match domain {
                Domain::Interval(lo, hi) if hi.is_finite() => lo + (hi - lo) * u * 0.95,
                Domain::Interval(lo, _) => lo + 4.0 * u,
                _ => 5.0 * u - 2.5,
            }
        })
        .collect()
}

fn tensor(dtype: DType, x: &[f64], precision: Precision) -> Tensor {
    let as_ints: Vec<i64> = x.iter().map(|x| (*x * 3.0) as i64).collect();
    match (dtype, precision) {
        (DType::Float, Precision::F64) => Tensor::from_slice(x, x.len(), &Device::Cpu),
        (DType::Float, Precision::F32) => Tensor::from_vec(x.iter().map(|x| *x as f32).collect(), x.len(), &Device::Cpu),
        (DType::Int, _) => Tensor::from_vec(as_ints, x.len(), &Device::Cpu),
        (DType::Bool, _) => Tensor::from_vec(x.iter().map(|x| u8::from(*x > 0.3)).collect(), x.len(), &Device::Cpu),
    }
    .expect("a tensor")
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("values")
}

fn eval(p: Prim, args: &[Tensor], dtypes: &[DType], precision: Precision) -> Tensor {
    let mut b: Builder<Det> = Builder::new("f");
    let params: Vec<_> = args.iter().zip(dtypes).map(|(t, d)| b.param("x", Ty::new(*d, t.dims())).into()).collect();
    let y = b.prim(p, &params);
    let f = b.finish(vec![y]);
    Interp::new(&[]).precision(precision).run(&f, args).unwrap_or_else(|e| panic!("{}: {e}", p.name())).remove(0)
}

/// Element types that the primitive takes for all its shared operands.
fn choices(p: Prim) -> Vec<Vec<DType>> {
    let kinds = |e: Elem| match e {
        Elem::Real => vec![DType::Float],
        Elem::Int => vec![DType::Int],
        Elem::Bool => vec![DType::Bool],
        Elem::Num => vec![DType::Float, DType::Int],
        Elem::Any => vec![DType::Float, DType::Int, DType::Bool],
    };
    let shared: Vec<DType> = p.sig().params.iter().map(|q| kinds(q.elem)).max_by_key(Vec::len).unwrap_or_default();
    let list = |d: DType| {
        p.sig().params.iter().map(|q| if matches!(q.elem, Elem::Num | Elem::Any) { d } else { kinds(q.elem)[0] }).collect()
    };
    shared.into_iter().map(list).collect()
}

#[test]
fn every_primitive_runs_at_every_type_and_arrays_agree_with_scalars() {
    for row in PRIMS.iter().flat_map(|t| t.iter()) {
        let p = row.prim;
        for dtypes in choices(p) {
            for precision in Precision::ALL {
                let args: Vec<Tensor> = p
                    .sig()
                    .params
                    .iter()
                    .zip(&dtypes)
                    .enumerate()
                    .map(|(i, (q, d))| tensor(*d, &points(q.domain, i), precision))
                    .collect();
                let whole = values(&eval(p, &args, &dtypes, precision));
                for (i, y) in whole.iter().enumerate() {
                    let one: Vec<Tensor> = args.iter().map(|t| t.get(i).expect("an element")).collect();
                    let scalar = values(&eval(p, &one, &dtypes, precision))[0];
                    assert!(scalar == *y || scalar.is_nan() && y.is_nan(), "{}: {scalar} alone, {y} in an array", p.name());
                    assert!(!y.is_nan() || p == Prim::Pow, "{} is NaN inside its domain", p.name());
                }
            }
        }
    }
}

#[test]
fn kernels_are_called_as_the_table_says() {
    for row in PRIMS.iter().flat_map(|t| t.iter()) {
        let (p, Lower::Kernel(k)) = (row.prim, row.lower) else { continue };
        let xs: Vec<Vec<f64>> = p.sig().params.iter().enumerate().map(|(i, q)| points(q.domain, i)).collect();
        let mut direct = vec![0.0; 9];
        match k.family() {
            Family::Unary => kernels::unary(k, &mut direct, &xs[0]),
            Family::Binary => kernels::binary(k, &mut direct, &xs[0], &xs[1]),
            _ => kernels::ternary(k, &mut direct, &xs[0], &xs[1], &xs[2]),
        }
        .expect("a kernel");
        let args: Vec<Tensor> = xs.iter().map(|x| tensor(DType::Float, x, Precision::F64)).collect();
        let dtypes = vec![DType::Float; args.len()];
        let ours = values(&eval(p, &args, &dtypes, Precision::F64));
        let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&ours), bits(&direct), "{}", p.name());
    }
}

#[test]
fn inline_primitives_at_hard_points() {
    let f = |p: Prim, x: &[f64]| {
        let args: Vec<Tensor> = x.iter().map(|x| tensor(DType::Float, &[*x], Precision::F64)).collect();
        values(&eval(p, &args, &vec![DType::Float; x.len()], Precision::F64))[0]
    };
    let i = |p: Prim, x: &[i64]| {
        let args: Vec<Tensor> = x.iter().map(|x| Tensor::from_slice(&[*x], 1, &Device::Cpu).expect("a tensor")).collect();
        eval(p, &args, &vec![DType::Int; x.len()], Precision::F64).to_vec1::<i64>().expect("ints")[0]
    };
    let nan = f64::NAN;
    assert!(f(Prim::Min, &[nan, 1.0]).is_nan() && f(Prim::Max, &[1.0, nan]).is_nan());
    assert!(f(Prim::Clip, &[0.0, nan, 1.0]).is_nan() && f(Prim::Sign, &[nan]).is_nan() && f(Prim::Relu, &[nan]).is_nan());
    assert_eq!((f(Prim::Round, &[2.5]), f(Prim::Round, &[-3.5]), f(Prim::Trunc, &[-2.7])), (2.0, -4.0, -2.0));
    assert_eq!((f(Prim::Sign, &[-3.0]), f(Prim::Sign, &[0.0]), f(Prim::Relu, &[-1.0])), (-1.0, 0.0, 0.0));
    assert_eq!((f(Prim::ToInt, &[-2.75]), f(Prim::ToInt, &[nan]), f(Prim::Ne, &[nan, nan])), (-2.0, 0.0, 1.0));
    assert_eq!(f(Prim::Fma, &[1.0 + f64::EPSILON, 1.0 - f64::EPSILON, -1.0]), -f64::EPSILON * f64::EPSILON);
    for (a, b, q, r) in [(-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1), (7, 2, 3, 1), (5, 0, 0, 0)] {
        assert_eq!((i(Prim::IntDiv, &[a, b]), i(Prim::Rem, &[a, b])), (q, r), "{a} by {b}");
    }
    assert_eq!(i(Prim::IntDiv, &[i64::MIN, -1]), i64::MIN);
    assert_eq!(i(Prim::Add, &[i64::MAX, 1]), i64::MIN);
}
