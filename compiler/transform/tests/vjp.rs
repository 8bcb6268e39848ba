//! Reverse mode against central differences.

mod common;

use common::generate::{Options, program};
use common::{Stream, Value, assert_close, close, prims, run, verified};
use ppl_core::{Atom, Block, Builder, DType, Det, DetRandom, Func, Linalg, Op, Prim, ReduceOp, RngKind, Scan, Ty};
use ppl_transform::batch::batch;
use ppl_transform::vjp::{pullback, vjp};

/// The function with one result more in front: a real scalar made of all its results.
fn scalarised(f: &Func<Det>) -> Func<Det> {
    let mut b = Builder::reopen(f.clone());
    let mut total = Atom::float(0.0);
    for (i, r) in f.body.results.iter().enumerate() {
        let y = b.un(Prim::Sin, *r);
        let y = b.sum_all(y);
        let y = b.mul(y, Atom::float(1.0 + i as f64));
        total = b.add(total, y);
    }
    let results = [&[total], &f.body.results[..]].concat();
    b.finish(results)
}

fn real_params(f: &Func<Det>) -> Vec<usize> {
    (0..f.params.len()).filter(|i| f.ty(f.params[*i]).dtype == DType::Float).collect()
}

/// Central differences of result `r` by every element of parameter `p`, of fourth order; none where two step sizes
/// disagree, as they do beside a jump or a kink.
fn differences(f: &Func<Det>, args: &[Value], r: usize, p: usize) -> Vec<Option<f64>> {
    (0..args[p].data.len())
        .map(|e| {
            let at = |d: f64| {
                let mut a = args.to_vec();
                a[p].data[e] += d;
                run(f, &a)[r].item()
            };
            let slope = |h: f64| (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            let (wide, narrow) = (slope(3e-4), slope(1e-4));
            close(wide, narrow, 1e-5).then_some(narrow)
        })
        .collect()
}

/// Compares gradients of result 0 with differences; returns the largest derivative and the share of elements compared.
fn check(f: &Func<Det>, args: &[Value], tol: f64) -> (f64, f64) {
    let wrt = real_params(f);
    let g = vjp(f, &wrt, 0).expect("differentiable");
    verified(&g);
    let n = f.body.results.len();
    let out = run(&g, args);
    assert_eq!(out.len(), n + wrt.len());
    let plain = run(f, args);
    assert_eq!(plain, out[..n], "{}: values stay", f.name);
    let (mut largest, mut compared, mut all) = (0.0f64, 0.0, 0.0);
    for (k, p) in wrt.iter().enumerate() {
        assert_eq!(out[n + k].shape, args[*p].shape);
        for (e, (d, g)) in differences(f, args, 0, *p).into_iter().zip(&out[n + k].data).enumerate() {
            all += 1.0;
            let Some(d) = d else { continue };
            compared += 1.0;
            assert!(close(d, *g, tol), "{}: parameter {p} element {e}: differences {d}, vjp {g}", f.name);
            largest = largest.max(d.abs());
        }
    }
    (largest, compared / all)
}

fn arguments(f: &Func<Det>, seed: u64) -> Vec<Value> {
    let mut s = Stream(seed, 1000);
    f.params.iter().map(|v| s.value(&f.ty(*v).shape.clone(), -1.2, 1.2)).collect()
}

/// Checks many programs; most must move, and nearly all elements must be comparable.
fn check_all(seeds: std::ops::Range<u64>, make: impl Fn(u64) -> Func<Det>) {
    let (mut moving, mut share, n) = (0.0, 0.0, seeds.clone().count() as f64);
    for seed in seeds {
        let f = make(seed);
        let (largest, compared) = check(&f, &arguments(&f, seed), 1e-6);
        moving += f64::from(u8::from(largest > 1e-3));
        share += compared;
    }
    assert!(moving > 0.7 * n && share > 0.9 * n, "{moving} {share} of {n}");
}

#[test]
fn random_programs() {
    check_all(0..100, |seed| scalarised(&program(seed, Options { maps: false, depth: 3, size: 10, moving_draws: false })));
}

#[test]
fn random_batched_programs() {
    check_all(0..60, |seed| batch(scalarised(&program(seed, Options { maps: true, depth: 3, size: 10, moving_draws: false }))));
}

#[test]
fn gradients_of_gradients() {
    check_all(1000..1030, |seed| {
        let f = scalarised(&batch(program(seed, Options { maps: true, depth: 2, size: 7, moving_draws: false })));
        let mut g = vjp(&f, &real_params(&f), 0).expect("differentiable");
        // Only the gradients: their derivatives are second ones.
        g.body.results.drain(..f.body.results.len());
        scalarised(&g)
    });
}

/// A function of one lane's number and of parameters, as a plate whose lanes are summed, and as the lane itself.
fn plate(n: usize, params: &[Ty], body: impl Fn(&mut Builder<Det>, Atom, &[Atom]) -> Atom) -> (Func<Det>, Func<Det>) {
    let build = |whole: bool| {
        let mut b = Builder::new("plate");
        let p: Vec<Atom> = params.iter().map(|t| b.param("p", t.clone()).into()).collect();
        if whole {
            let i = b.index_var("i");
            b.begin();
            let y = body(&mut b, i.into(), &p);
            let block = b.end(vec![y]);
            let ys = b.map(n, i, block)[0];
            let total = b.sum_all(ys.into());
            return batch(b.finish(vec![total]));
        }
        let i = b.param("i", Ty::INT).into();
        let y = body(&mut b, i, &p);
        b.finish(vec![y])
    };
    (build(true), build(false))
}

/// Gradients of the batched plate are finite and the sums of those of its lanes, each of which runs only one branch.
fn lanes_agree(n: usize, args: &[Value], body: impl Fn(&mut Builder<Det>, Atom, &[Atom]) -> Atom) -> Vec<Value> {
    let tys: Vec<Ty> = args.iter().map(|a| Ty::float(&a.shape[..])).collect();
    let (whole, lane) = plate(n, &tys, body);
    let wrt: Vec<usize> = (0..args.len()).collect();
    let have = run(&vjp(&whole, &wrt, 0).expect("differentiable"), args);
    let lane = vjp(&lane, &wrt, 0).expect("differentiable");
    let mut want: Vec<Value> = Vec::new();
    for i in 0..n {
        let out = run(&lane, &[args, &[Value::scalar(i as f64)]].concat());
        if want.is_empty() {
            want = out;
        } else {
            want.iter_mut().zip(out).for_each(|(w, o)| w.data.iter_mut().zip(o.data).for_each(|(w, o)| *w += o));
        }
    }
    for (w, h) in want.iter().zip(&have) {
        assert!(h.data.iter().all(|x| x.is_finite()), "{h:?}");
        assert_close("lanes", w, h, 1e-12);
    }
    have
}

/// `if c { then } else { els }` of one real result.
fn if1(
    b: &mut Builder<Det>,
    c: Atom,
    then: impl FnOnce(&mut Builder<Det>) -> Atom,
    els: impl FnOnce(&mut Builder<Det>) -> Atom,
) -> Atom {
    b.begin();
    let y = then(b);
    let then = b.end(vec![y]);
    b.begin();
    let y = els(b);
    let els = b.end(vec![y]);
    b.if_(c, then, els)[0].into()
}

#[test]
fn untaken_branches_of_lanes_give_no_nan() {
    let x = Value::new(&[4], vec![0.0, 2.0, -1.0, 0.5]);
    let w = Value::scalar(3.0);
    // log and sqrt at 0 and below, in lanes that do not take them, with a shared scalar.
    let out = lanes_agree(4, &[x.clone(), w], |b, i, p| {
        let x = b.gather(p[0], i, 0);
        let c = b.prim(Prim::Gt, &[x, Atom::float(0.0)]);
        let (w, y) = (p[1], x);
        if1(
            b,
            c,
            |b| {
                let l = b.un(Prim::Log, y);
                let r = b.un(Prim::Sqrt, y);
                let q = b.prim(Prim::Pow, &[y, w]);
                let d = b.div(w, r);
                let s = b.add(l, d);
                b.add(s, q)
            },
            |b| b.mul(y, w),
        )
    });
    assert!(out[1].data[1] != 0.0);
}

#[test]
fn untaken_branches_give_no_nan_to_shared_operands() {
    let x = Value::new(&[3, 2], vec![0.0, 0.0, 1.0, 2.0, -1.0, 0.0]);
    let w = Value::new(&[2], vec![0.5, 0.25]);
    // The logarithm of a contraction that is 0 or negative in lanes that do not take it.
    lanes_agree(3, &[x, w], |b, i, p| {
        let row = b.gather(p[0], i, 0);
        let d = b.dot(row, p[1], &[], &[(0, 0)]);
        let c = b.prim(Prim::Gt, &[d, Atom::float(0.0)]);
        let w = p[1];
        if1(
            b,
            c,
            |b| {
                let d = b.dot(row, w, &[], &[(0, 0)]);
                let l = b.un(Prim::Log, d);
                let e = b.un(Prim::Exp, w);
                let e = b.sum_all(e);
                b.mul(l, e)
            },
            |_| Atom::float(0.0),
        )
    });
    // A computation that is the same in all lanes, in a branch that none takes.
    let out = lanes_agree(3, &[Value::scalar(0.0), Value::new(&[2], vec![0.0, 1.0])], |b, i, p| {
        let c = b.prim(Prim::Gt, &[i, Atom::int(5)]);
        if1(
            b,
            c,
            |b| {
                let l = b.un(Prim::Log, p[0]);
                let s = b.un(Prim::Sqrt, p[1]);
                let s = b.sum_all(s);
                b.mul(l, s)
            },
            |b| b.un(Prim::Square, p[0]),
        )
    });
    assert_eq!(out[1].data, [0.0]);
    assert_eq!(out[2].data, [0.0, 0.0]);
}

#[test]
fn untaken_branches_guard_where_shared_meets_varying() {
    let x = Value::new(&[3, 2], vec![0.0, 0.0, 1.0, 2.0, -1.0, 0.0]);
    let w = Value::new(&[2], vec![0.5, 1.5]);
    let s = Value::scalar(0.75);
    // Rows are read inside the branch; arrays and scalars that lanes share are exponents of numbers that are not positive.
    lanes_agree(3, &[x, w, s], |b, i, p| {
        let taken = b.prim(Prim::Eq, &[i, Atom::int(1)]);
        let p = p.to_vec();
        if1(
            b,
            taken,
            |b| {
                let row = b.gather(p[0], i, 0);
                let l = b.un(Prim::Log, row);
                let q = b.prim(Prim::Pow, &[row, p[1]]);
                let r = b.prim(Prim::Pow, &[row, p[2]]);
                let y = b.add(l, q);
                let y = b.add(y, r);
                b.sum_all(y)
            },
            |b| b.sum_all(p[1]),
        )
    });
}

#[test]
fn inner_branches_of_untaken_ones_are_untaken() {
    let x = Value::new(&[3], vec![-1.0, 0.5, 2.0]);
    lanes_agree(3, &[x, Value::scalar(1.5)], |b, i, p| {
        let x = b.gather(p[0], i, 0);
        let positive = b.prim(Prim::Gt, &[x, Atom::float(0.0)]);
        let w = p[1];
        if1(
            b,
            positive,
            |b| {
                let small = b.prim(Prim::Lt, &[x, Atom::float(1.0)]);
                if1(b, small, |b| b.prim(Prim::Pow, &[x, w]), |b| b.mul(x, w))
            },
            |b| b.un(Prim::Square, w),
        )
    });
}

#[test]
fn nested_branches_and_loops_inside_lanes() {
    let x = Value::new(&[4], vec![0.0, 2.0, -1.0, 0.5]);
    let w = Value::new(&[3], vec![0.5, 1.5, 2.5]);
    lanes_agree(4, &[x, w], |b, i, p| {
        let x = b.gather(p[0], i, 0);
        let c = b.prim(Prim::Gt, &[x, Atom::float(0.0)]);
        let w = p[1];
        if1(
            b,
            c,
            |b| {
                let small = b.prim(Prim::Lt, &[x, Atom::float(1.0)]);
                let start = if1(b, small, |b| b.un(Prim::Log, x), |b| b.div(x, Atom::float(3.0)));
                let t = b.index_var("t");
                let (carry, slice) = (b.fresh("c", Ty::FLOAT), b.fresh("w", Ty::FLOAT));
                b.begin();
                let y = b.prim(Prim::Pow, &[x, slice.into()]);
                let y = b.mul(y, carry.into());
                let body = b.end(vec![y]);
                let scan = Scan { len: 3, index: t, carry: vec![(carry, start)], xs: vec![(slice, w)], body, reverse: true };
                b.scan(scan)[0].into()
            },
            |b| b.sum_all(w),
        )
    });
}

#[test]
fn products_with_zeros() {
    let mut b = Builder::new("prod");
    let x: Atom = b.param("x", Ty::float([2, 3])).into();
    let y = b.reduce(ReduceOp::Prod, x, &[1]);
    let y = b.sum_all(y);
    let f = b.finish(vec![y]);
    let x = Value::new(&[2, 3], vec![0.0, 2.0, 3.0, 0.0, 0.0, 5.0]);
    let g = vjp(&f, &[0], 0).expect("differentiable");
    assert_eq!(run(&g, std::slice::from_ref(&x))[1].data, [6.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert!(check(&scalarised(&g), &[x], 1e-6).0 > 0.1);
}

#[test]
fn a_gamma_draw_moves_with_its_shape() {
    for own in [vec![], vec![2]] {
        let mut b = Builder::new("gamma");
        let x: Atom = b.param("x", Ty::float(own.clone())).into();
        let gamma = DetRandom { kind: RngKind::Gamma, args: vec![x], site: 3, lanes: vec![], times: vec![], shape: vec![2] };
        let draw = b.emit1(Op::Random(gamma), "draw", Ty::float([2]));
        let y = b.un(Prim::Square, draw);
        let y = b.sum_all(y);
        let f = b.finish(vec![y, draw]);
        let x = Value::new(&own, vec![1.5, 2.5][..own.iter().product::<usize>()].to_vec());
        let draws = run(&f, std::slice::from_ref(&x)).swap_remove(1).data;
        let mut g = f.clone();
        g.body.results.truncate(1);
        let got = run(&vjp(&g, &[0], 0).expect("differentiable"), std::slice::from_ref(&x)).swap_remove(1).data;
        let shape = |i: usize| x.data[i.min(x.data.len() - 1)];
        let parts: Vec<f64> = (0..2).map(|i| 2.0 * draws[i] * prims::eval(Prim::GammaDrawGrad, &[shape(i), draws[i]])).collect();
        let want = if own.is_empty() { vec![parts[0] + parts[1]] } else { parts };
        assert_eq!(got, want);
    }
}

#[test]
fn stop_and_draws_cut_and_unused_parameters_get_zeros() {
    let mut b = Builder::new("cut");
    let x: Atom = b.param("x", Ty::float([2])).into();
    let unused = b.param("unused", Ty::float([3]));
    let held = b.stop(x);
    let gamma = DetRandom { kind: RngKind::Gamma, args: vec![x], site: 3, lanes: vec![], times: vec![], shape: vec![2] };
    let draw = b.emit1(Op::Random(gamma), "draw", Ty::float([2]));
    let draw = b.stop(draw);
    let y = b.mul(x, held);
    let y = b.mul(y, draw);
    let y = b.sum_all(y);
    let f = b.finish(vec![y]);
    let g = vjp(&f, &[0, 1], 0).expect("differentiable");
    let x = Value::new(&[2], vec![1.5, 2.5]);
    let out = run(&g, &[x.clone(), Value::new(&[3], vec![1.0; 3])]);
    let draw = run(&Func { body: Block { results: vec![draw], ..f.body.clone() }, ..f.clone() }, &[x.clone(), out[2].clone()]);
    assert_eq!(out[1].data, [1.5 * draw[0].data[0], 2.5 * draw[0].data[1]]);
    assert_eq!(out[2].data, [0.0; 3]);
    assert_eq!(f.ty(unused).shape, [3]);
}

#[test]
fn only_the_path_to_the_result_is_reversed() {
    let mut b = Builder::new("path");
    let x: Atom = b.param("x", Ty::float([4])).into();
    let z: Atom = b.param("z", Ty::float([4])).into();
    let a = b.un(Prim::Trigamma, z);
    let y = b.un(Prim::Trigamma, x);
    let c = b.un(Prim::Sin, x);
    let c = b.mul(c, a);
    let s = b.sum_all(c);
    let f = b.finish(vec![s, y]);
    // `trigamma` has no derivative, but is not on the way from `x` to the sum.
    let g = vjp(&f, &[0], 0).expect("differentiable");
    let prims: Vec<Prim> = g.body.stmts[f.body.stmts.len()..]
        .iter()
        .filter_map(|s| if let Op::Prim(p, _) = &s.op { Some(*p) } else { None })
        .collect();
    assert_eq!(prims, [Prim::Mul, Prim::Cos, Prim::Mul]);
    let e = vjp(&f, &[1], 0).expect_err("no derivative");
    assert_eq!(e.what, "trigamma");
}

#[test]
fn what_cannot_be_differentiated_is_refused() {
    let (mut b, span) = (Builder::new("f"), ppl_diag::Span { start: 3, end: 7, ..ppl_diag::Span::NONE });
    let x: Atom = b.param("x", Ty::FLOAT).into();
    b.param("n", Ty::INT);
    let i = b.index_var("i");
    b.span = span;
    b.begin();
    let block = b.end(vec![x]);
    let m = b.map(2, i, block)[0];
    let y = b.sum_all(m.into());
    let f = b.finish(vec![y, m.into()]);
    assert_eq!(vjp(&f, &[0], 0).map_err(|e| (e.what, e.span)), Err(("map".to_string(), span)));
    assert!(vjp(&f, &[1], 0).is_err(), "an int parameter");
    assert!(vjp(&f, &[0], 1).is_err(), "an array result");
    assert!(vjp(&f, &[0], 7).is_err() && vjp(&f, &[7], 0).is_err());
    assert!(vjp(&f, &[], 0).is_ok());
}

#[test]
fn pullback_takes_cotangents() {
    let mut b = Builder::new("f");
    let x: Atom = b.param("x", Ty::float([2])).into();
    let y = b.un(Prim::Square, x);
    let z = b.un(Prim::Exp, x);
    let f = b.finish(vec![y, z]);
    let g = pullback(&f, &[0], &[1, 0]).expect("differentiable");
    let v = |a, b| Value::new(&[2], vec![a, b]);
    let out = run(&g, &[v(1.0, 2.0), v(3.0, 5.0), v(7.0, 11.0)]);
    assert_close("pullback", &out[2], &v(3.0 * 1f64.exp() + 14.0, 5.0 * 2f64.exp() + 44.0), 1e-12);
}

#[test]
fn solves_read_the_lower_triangle_only() {
    for transpose in [false, true] {
        let mut b = Builder::new("solve");
        let l: Atom = b.param("l", Ty::float([2, 3, 3])).into();
        let rhs: Atom = b.param("b", Ty::float([2, 3, 2])).into();
        let y = b.linalg(Linalg::Solve { transpose }, &[l, rhs]);
        let f = scalarised(&b.finish(vec![y]));
        let mut args = arguments(&f, 7);
        (0..2).for_each(|c| (0..3).for_each(|i| args[0].data[c * 9 + i * 4] += 3.0));
        assert!(check(&f, &args, 1e-7).1 == 1.0);
    }
}
