//! Limits and the runner: long programs, state, stopping, errors.

mod common;

use common::{SEED, agree, distance, interpreted, native, options, tensor};
use ppl_abi::Precision;
use ppl_codegen::{CodegenError, Options, Regalloc, Runner, Steps, compile};
use ppl_core::{Atom, Builder, Det, Func, Prim, ReduceOp, Ty};
use std::sync::Arc;

/// Thousands of statements: scalars, arrays, reductions, and pointers made by indexing.
fn long(n: usize) -> Func<Det> {
    let mut b = Builder::<Det>::new("long");
    let (x, m) = (b.param("x", Ty::float([12])), b.param("m", Ty::float([4, 12])));
    let one = b.un(Prim::ToInt, Atom::float(1.0));
    let row = b.gather(m.into(), one, 0);
    let mut y = Atom::Var(x);
    let mut s = Atom::float(0.1);
    for i in 0..n {
        let t = b.mul(y, Atom::float(0.5));
        y = b.add(t, s);
        let u = b.un(Prim::Sin, y);
        let u = b.add(u, row);
        s = b.sum_all(u);
        s = b.un(Prim::Tanh, s);
        // Small, so that rounding is not amplified from statement to statement.
        s = b.mul(s, Atom::float(0.05 + 0.05 * i as f64 / n as f64));
    }
    let last = b.add(y, row);
    b.finish(vec![s, last])
}

fn ramp(n: usize) -> Vec<f64> {
    (0..n).map(|i| i as f64 / n as f64 - 0.4).collect()
}

#[test]
fn long_programs_are_split() {
    let f = long(300);
    let code = compile(&f, &options(Precision::F64)).expect("compiles");
    assert!(code.functions() > 1, "{} instructions in one function", code.instructions());
    agree(&f, &|p| vec![tensor(&Ty::float([12]), &ramp(12), p), tensor(&Ty::float([4, 12]), &ramp(48), p)], [1e-9, 1e-3]);
}

#[test]
fn both_register_allocators_give_the_same_bits() {
    let f = long(20);
    let run = |regalloc| {
        let mut r = Runner::new(Arc::new(compile(&f, &Options { regalloc, ..options(Precision::F32) }).expect("compiles")));
        r.set_floats(0, &ramp(12)).expect("input");
        r.set_floats(1, &ramp(48)).expect("input");
        r.run(0, 0);
        (r.output_values(0), r.output_values(1))
    };
    assert_eq!(run(Regalloc::SinglePass), run(Regalloc::Backtracking));
}

/// `x - 0.1 (x - 3)` with its loss.
fn descent() -> Func<Det> {
    let mut b = Builder::<Det>::new("descent");
    let x = b.param("x", Ty::float([5]));
    let d = b.sub(x.into(), Atom::float(3.0));
    let q = b.un(Prim::Square, d);
    let loss = b.sum_all(q);
    let step = b.mul(Atom::float(0.1), d);
    let next = b.sub(x.into(), step);
    b.finish(vec![loss, next])
}

#[test]
fn state_goes_round() {
    let mut r = Runner::new(Arc::new(compile(&descent(), &options(Precision::F64)).expect("compiles")));
    r.set_state(&[(0, 1)]).expect("state");
    r.set_floats(0, &[0.0; 5]).expect("input");
    let mut losses = [0.0; 50];
    let steps = r.run_steps(SEED, 0, 0, &mut losses).expect("runs");
    assert_eq!(steps, Steps { done: 50, not_finite: None });
    for (k, l) in losses.iter().enumerate() {
        let expected = 45.0 * 0.81f64.powi(k as i32);
        assert!((l - expected).abs() < 1e-10, "step {k}: {l} instead of {expected}");
    }
    let x = 3.0 - 3.0 * 0.9f64.powi(50);
    assert!(r.input_values(0).iter().all(|v| (v - x).abs() < 1e-12));
    assert_eq!(r.input_values(0), r.output_values(1));
}

#[test]
fn a_loop_stops_where_its_value_is_not_finite() {
    let mut b = Builder::<Det>::new("grows");
    let x = b.param("x", Ty::FLOAT);
    let y = b.mul(x.into(), Atom::float(1e30));
    let loss = b.un(Prim::Square, x.into());
    let f = b.finish(vec![loss, y]);
    let mut r = Runner::new(Arc::new(compile(&f, &options(Precision::F32)).expect("compiles")));
    r.set_state(&[(0, 1)]).expect("state");
    r.set_floats(0, &[1.0]).expect("input");
    let mut losses = [7.0; 10];
    assert_eq!(r.run_steps(0, 100, 0, &mut losses).expect("runs"), Steps { done: 2, not_finite: Some(101) });
    assert_eq!(losses[2], 7.0);
}

#[test]
fn misuse_is_an_error() {
    let mut r = Runner::new(Arc::new(compile(&descent(), &options(Precision::F64)).expect("compiles")));
    assert!(matches!(r.set_floats(0, &[0.0; 4]), Err(CodegenError::Buffer { .. })));
    assert!(r.set_ints(0, &[0; 5]).is_err());
    assert!(r.set_floats(1, &[0.0]).is_err());
    assert!(r.set_state(&[(0, 0)]).is_err());
    assert!(r.set_state(&[(0, 1), (0, 1)]).is_err());
    assert!(r.run_steps(0, 0, 1, &mut [0.0]).is_err());
}

#[test]
fn what_earlier_passes_must_remove_is_named() {
    let mut b = Builder::<Det>::new("plate");
    let i = b.index_var("i");
    b.begin();
    let body = b.end(vec![Atom::float(1.0)]);
    let m = b.map(3, i, body);
    let f = b.finish(vec![m[0].into()]);
    let e = compile(&f, &options(Precision::F64)).expect_err("maps are not compiled");
    assert!(e.to_string().contains("map"), "{e}");
}

#[test]
fn fusion_keeps_intermediates_out_of_memory() {
    let mut b = Builder::<Det>::new("chain");
    let x = b.param("x", Ty::float([1000]));
    let mut y = Atom::Var(x);
    for i in 0..20 {
        let t = b.mul(y, Atom::float(0.9));
        y = b.add(t, Atom::float(f64::from(i)));
    }
    let s = b.sum_all(y);
    let f = b.finish(vec![s]);
    let fused = compile(&f, &options(Precision::F64)).expect("compiles");
    let plain = compile(&f, &Options { fuse: false, ..options(Precision::F64) }).expect("compiles");
    assert!(fused.workspace() < 4096, "{}", fused.workspace());
    assert!(plain.workspace() >= 8_000, "{}", plain.workspace());
}

#[test]
fn text_is_kept_on_request() {
    let code = compile(&descent(), &Options { keep_text: true, ..options(Precision::F32) }).expect("compiles");
    assert!(code.clif().is_some_and(|t| t.contains("f32x4")));
    assert!(code.disassembly().is_some_and(|t| t.contains("ret")));
    assert!(compile(&descent(), &options(Precision::F32)).expect("compiles").clif().is_none());
}

/// Elementwise work with functions of the library, sums over either axis and both, and a product, large enough to be cut and not of an even size.
#[test]
fn chunks_of_large_steps() {
    for (n, m) in [(37, 300), (8, 2000), (130, 64), (600, 3), (4, 4)] {
        let mut b = Builder::<Det>::new("large");
        let (x, bias) = (b.param("x", Ty::float([1, n, m])), b.param("bias", Ty::float([m])));
        let wide = b.broadcast(bias.into(), &[1, n, m], &[2]);
        let y = b.add(x.into(), wide);
        let e = b.un(Prim::Softplus, y);
        let s = b.un(Prim::Sigmoid, wide);
        let z = b.mul(e, s);
        let mut out = vec![z];
        for axes in [&[0][..], &[1], &[2], &[0, 1], &[1, 2], &[0, 1, 2]] {
            out.push(b.reduce(ReduceOp::Sum, z, axes));
            out.push(b.reduce(ReduceOp::Max, y, axes));
        }
        out.push(b.dot(z, z, &[(0, 0)], &[(2, 2)]));
        let rows = b.reshape(z, &[n, m]);
        out.push(b.dot(rows, rows, &[], &[(0, 0)]));
        let flat = b.reshape(z, &[n * m]);
        let turned = b.reshape(x.into(), &[n * m]);
        out.push(b.dot(flat, turned, &[], &[(0, 0)]));
        let line = b.reshape(z, &[1, n * m]);
        let three = b.broadcast(turned, &[n * m, 3], &[0]);
        let three = b.mul(three, three);
        out.push(b.dot(line, three, &[], &[(1, 0)]));
        let f = b.finish(out);
        let args = |p| vec![tensor(&Ty::float([1, n, m]), &ramp(n * m), p), tensor(&Ty::float([m]), &ramp(m), p)];
        for (precision, tolerance) in [(Precision::F64, 1e-12), (Precision::F32, 1e-4)] {
            let args = args(precision);
            let want = interpreted(&f, &args, precision);
            let cut = compile(&f, &Options { grain: 1, ..options(precision) }).expect("compiles");
            let whole = compile(&f, &Options { grain: usize::MAX, ..options(precision) }).expect("compiles");
            assert!(cut.functions() > whole.functions(), "{n} x {m}: nothing is cut");
            for threads in [1, 2, 3] {
                let found = native(&f, &args, &Options { threads, grain: 1, ..options(precision) });
                for (k, w) in want.iter().enumerate() {
                    let d = distance(w, &found[k]);
                    assert!(d < tolerance, "{n} x {m}, {threads} threads, result {k}: off by {d}");
                }
            }
        }
    }
}

/// `X w`, what is made of it, and `X^T r`: block of rows by block, of even sizes and not, in one piece or in chunks.
#[test]
fn products_that_read_a_matrix_once() {
    for (rows, cols, precision, tolerance) in [
        (4000, 50, Precision::F64, 1e-9),
        (2053, 17, Precision::F64, 1e-9),
        (3001, 40, Precision::F32, 2e-3),
        (5000, 64, Precision::F32, 2e-3),
    ] {
        let mut b = Builder::<Det>::new("regression");
        let (x, w, y) =
            (b.param("x", Ty::float([rows, cols])), b.param("w", Ty::float([1, cols])), b.param("y", Ty::float([rows])));
        let t = b.dot(w.into(), x.into(), &[], &[(1, 1)]);
        let y = b.broadcast(y.into(), &[1, rows], &[1]);
        let p = b.un(Prim::Sigmoid, t);
        let r = b.sub(y, p);
        let s = b.un(Prim::Softplus, t);
        let loss = b.reduce(ReduceOp::Sum, s, &[1]);
        let most = b.reduce(ReduceOp::Max, t, &[0, 1]);
        let g = b.dot(r, x.into(), &[], &[(1, 0)]);
        let f = b.finish(vec![loss, g, most, r, t]);
        let args = [
            tensor(&Ty::float([rows, cols]), &ramp(rows * cols), precision),
            tensor(&Ty::float([1, cols]), &ramp(cols), precision),
            tensor(&Ty::float([rows]), &ramp(rows), precision),
        ];
        let want = interpreted(&f, &args, precision);
        let once = compile(&f, &options(precision)).expect("compiles");
        assert!(once.functions() <= 4, "{} functions", once.functions());
        for threads in [1, 2, 3] {
            let found = native(&f, &args, &Options { threads, ..options(precision) });
            for (k, w) in want.iter().enumerate() {
                let d = distance(w, &found[k]);
                assert!(d < tolerance, "{rows} x {cols}, {threads} threads, result {k}: off by {d}");
            }
        }
    }
}
