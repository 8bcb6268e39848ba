//! Every row of the table of primitives against central differences, at points of its domain.

mod common;

use common::{Stream, Value, close, prims, run};
use ppl_core::{Atom, Builder, DType, Det, Domain, Elem, Func, PRIMS, PrimDef, Ty, Vjp};
use ppl_transform::vjp::vjp;

fn dtype(elem: Elem) -> DType {
    match elem {
        Elem::Int => DType::Int,
        Elem::Bool => DType::Bool,
        Elem::Real | Elem::Num | Elem::Any => DType::Float,
    }
}

fn point(s: &mut Stream, domain: Domain, dtype: DType) -> f64 {
    match (dtype, domain) {
        (DType::Int, _) => (s.below(7) as f64) - 3.0,
        (DType::Bool, _) => s.below(2) as f64,
        (DType::Float, Domain::All) => s.real(-2.0, 2.0),
        (DType::Float, Domain::Interval(lo, hi)) if lo.is_finite() && hi.is_finite() => lo + (hi - lo) * s.real(0.05, 0.95),
        (DType::Float, Domain::Interval(lo, _)) if lo.is_finite() => lo + s.real(0.1, 4.0),
        (DType::Float, Domain::Interval(_, hi)) => hi - s.real(0.1, 4.0),
    }
}

/// `sum(weight * prim(..))`, with operands of shape `[3]` where a bit of `arrays` is set.
fn program(row: &PrimDef, arrays: usize) -> Option<Func<Det>> {
    let mut b = Builder::new(row.name);
    let mut args = Vec::new();
    for (i, p) in row.prim.sig().params.iter().enumerate() {
        let shape = if arrays >> i & 1 == 1 { vec![3] } else { vec![] };
        args.push(Atom::Var(b.param(p.name.clone(), Ty::new(dtype(p.elem), shape))));
    }
    let y = b.prim(row.prim, &args);
    if b.ty(y).dtype != DType::Float {
        return None;
    }
    let w: Atom = b.param("weight", b.ty(y)).into();
    let y = b.mul(y, w);
    let y = b.sum_all(y);
    Some(b.finish(vec![y]))
}

#[test]
fn rows_agree_with_differences() {
    let mut checked = 0;
    for row in PRIMS.iter().flat_map(|t| t.iter()) {
        // A guard's derivative is not that of its value, on purpose.
        if row.prim == ppl_core::Prim::Guard {
            continue;
        }
        let params = &row.prim.sig().params;
        if matches!(row.vjp, Vjp::None(_)) {
            continue;
        }
        let wrt: Vec<usize> = (0..params.len()).filter(|i| dtype(params[*i].elem) == DType::Float).collect();
        let (mut compared, mut all) = (0, 0);
        for arrays in 0..1usize << params.len() {
            let Some(f) = program(row, arrays) else { continue };
            let g = vjp(&f, &wrt, 0).expect(row.name);
            let mut s = Stream(row.prim as u64, arrays as u64 * 1000);
            for _ in 0..8 {
                let mut args: Vec<Value> = Vec::new();
                for (i, v) in f.params.iter().enumerate() {
                    let ty = f.ty(*v).clone();
                    let domain = params.get(i).map_or(Domain::All, |p| p.domain);
                    let data = (0..ty.numel()).map(|_| point(&mut s, domain, ty.dtype)).collect();
                    args.push(Value::new(&ty.shape, data));
                }
                let out = run(&g, &args);
                for (k, p) in wrt.iter().enumerate() {
                    for e in 0..args[*p].data.len() {
                        let at = |d: f64| {
                            let mut a = args.clone();
                            a[*p].data[e] += d;
                            run(&f, &a)[0].item()
                        };
                        let slope = |h: f64| (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
                        let (wide, narrow) = (slope(1e-3), slope(3e-4));
                        all += 1;
                        if !close(wide, narrow, 1e-4) {
                            continue;
                        }
                        compared += 1;
                        let have = out[1 + k].data[e];
                        assert!(
                            close(narrow, have, 2e-5),
                            "{} operand {p} of {args:?}: differences {narrow}, vjp {have}",
                            row.name
                        );
                    }
                }
            }
        }
        assert!(10 * compared >= 9 * all, "{}: {compared} of {all}", row.name);
        checked += usize::from(all > 0);
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn missing_derivatives_are_explained() {
    let mut found = 0;
    for row in PRIMS.iter().flat_map(|t| t.iter()) {
        let Vjp::None(reason) = row.vjp else { continue };
        let f = program(row, 0).expect("a real result");
        for i in 0..row.prim.sig().params.len() {
            let e = vjp(&f, &[i], 0).expect_err("no derivative");
            assert_eq!((e.what.as_str(), e.reason.as_str()), (row.name, reason));
            assert_eq!(e.diagnostic().code.0, "E0460");
            found += 1;
        }
        // The weight behind it can still be differentiated.
        assert!(vjp(&f, &[row.prim.sig().params.len()], 0).is_ok());
    }
    assert!(found >= 3);
}

#[test]
fn examples_of_the_table_hold_in_this_evaluator() {
    // A spot check that the oracle computes what the table says.
    let near = |a: f64, b: f64| assert!(close(a, b, 1e-9), "{a} {b}");
    near(prims::eval(ppl_core::Prim::Trigamma, &[1.0]), std::f64::consts::PI.powi(2) / 6.0);
    near(prims::eval(ppl_core::Prim::GammaP, &[2.0, 3.0]), 0.800_851_726_528_544_2);
    assert!(close(prims::eval(ppl_core::Prim::GammaDrawGrad, &[2.0, 3.0]), 1.321_798_518_177_963, 1e-6));
}
