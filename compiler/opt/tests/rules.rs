//! Single rules, by the programs that they leave.

use ppl_core::{Atom, Builder, DType, Det, DetId, DetRandom, Func, Op, Prim, ReduceOp, RngKind, Scan, Ty, print_func};
use ppl_interp::Interp;
use ppl_opt::{PassManager, SimplifyOptions, When, cse, dce, inline_calls, licm, simplify_det};

/// Simplifies and removes dead code.
fn simplified(build: impl FnOnce(&mut Builder<Det>) -> Vec<Atom>, after_vjp: bool) -> Func<Det> {
    let mut b = Builder::new("f");
    let results = build(&mut b);
    let mut f = b.finish(results);
    simplify_det(&mut f, SimplifyOptions { after_vjp, reassociate: true });
    dce(&mut f);
    f
}

fn ops(f: &Func<Det>) -> Vec<&Op<Det>> {
    f.body.stmts.iter().map(|s| &s.op).collect()
}

#[track_caller]
fn only(f: &Func<Det>) -> &Op<Det> {
    match ops(f)[..] {
        [op] => op,
        _ => panic!("one statement expected:\n{}", print_func(f, None)),
    }
}

#[test]
fn a_value_less_itself_stopped_stays_until_derivatives_are_taken() {
    let build = |b: &mut Builder<Det>| {
        let p = b.param("p", Ty::FLOAT);
        let s = b.stop(p.into());
        vec![b.sub(p.into(), s)]
    };
    assert!(matches!(ops(&simplified(build, false))[..], [Op::Stop(_), Op::Prim(Prim::Sub, _)]));
    let f = simplified(build, true);
    let p = Atom::Var(f.params[0]);
    assert_eq!(only(&f), &Op::Prim(Prim::Sub, vec![p, p]));
}

#[test]
fn guards_end_with_derivatives() {
    let build = |b: &mut Builder<Det>| {
        let (c, x) = (b.param("c", Ty::BOOL), b.param("x", Ty::float([3])));
        vec![b.prim(Prim::Guard, &[c.into(), x.into()])]
    };
    assert_eq!(ops(&simplified(build, false)).len(), 1);
    assert_eq!(ops(&simplified(build, true)).len(), 0);
}

#[test]
fn scalars_are_operands_of_elementwise_primitives() {
    let f = simplified(
        |b| {
            let (s, x) = (b.param("s", Ty::FLOAT), b.param("x", Ty::float([4])));
            let w = b.full(s.into(), &[4]);
            vec![b.mul(w, x.into())]
        },
        false,
    );
    assert_eq!(only(&f), &Op::Prim(Prim::Mul, f.params.iter().map(|v| Atom::Var(*v)).collect()));
}

#[test]
fn broadcasts_sink_below_primitives() {
    let f = simplified(
        |b| {
            let (x, y) = (b.param("x", Ty::float([3])), b.param("y", Ty::float([3])));
            let x = b.broadcast(x.into(), &[5, 3], &[1]);
            let y = b.broadcast(y.into(), &[5, 3], &[1]);
            vec![b.add(x, y)]
        },
        false,
    );
    assert!(matches!(ops(&f)[..], [Op::Prim(Prim::Add, _), Op::Broadcast { .. }]));
    assert_eq!(f.ty(f.body.stmts[0].outs[0]), &Ty::float([3]));
}

#[test]
fn infinite_operands_keep_products_with_zero() {
    let f = simplified(
        |b| {
            let x = b.param("x", Ty::FLOAT);
            vec![b.mul(x.into(), Atom::float(0.0))]
        },
        true,
    );
    assert!(matches!(only(&f), Op::Prim(Prim::Mul, _)));
}

#[test]
fn whole_gathers_vanish_and_constant_ones_are_slices() {
    let f = simplified(
        |b| {
            let x = b.param("x", Ty::float([5, 2]));
            let i = b.iota(5);
            vec![b.gather(x.into(), i, 0)]
        },
        false,
    );
    assert_eq!(f.body.results, [Atom::Var(f.params[0])]);
    let f = simplified(
        |b| {
            let x = b.param("x", Ty::float([5, 2]));
            vec![b.gather(x.into(), Atom::int(3), 0)]
        },
        false,
    );
    assert!(matches!(ops(&f)[..], [Op::Slice { start: 3, len: 1, .. }, Op::Reshape { .. }]));
    let f = simplified(
        |b| {
            let x = b.param("x", Ty::float([5]));
            vec![b.gather(x.into(), Atom::int(7), 0)]
        },
        false,
    );
    assert!(matches!(only(&f), Op::Gather { .. }), "an index out of range is left to the interpreter's report");
}

#[test]
fn a_matrix_times_a_repeated_vector_is_a_contraction() {
    let f = simplified(
        |b| {
            let (x, v) = (b.param("x", Ty::float([20, 7])), b.param("v", Ty::float([7])));
            let w = b.broadcast(v.into(), &[20, 7], &[1]);
            let p = b.mul(x.into(), w);
            vec![b.reduce(ReduceOp::Sum, p, &[1])]
        },
        false,
    );
    assert!(matches!(only(&f), Op::Dot { contract, batch, .. } if contract == &[(1, 0)] && batch.is_empty()));
}

#[test]
fn transposes_merge_into_contractions() {
    let f = simplified(
        |b| {
            let (x, y) = (b.param("x", Ty::float([3, 4])), b.param("y", Ty::float([3, 5])));
            let t = b.transpose(x.into(), &[1, 0]);
            let d = b.dot(t, y.into(), &[], &[(1, 0)]);
            vec![b.transpose(d, &[1, 0])]
        },
        false,
    );
    let (x, y) = (Atom::Var(f.params[0]), Atom::Var(f.params[1]));
    assert_eq!(only(&f), &Op::Dot { a: y, b: x, batch: vec![], contract: vec![(0, 0)] });
}

#[test]
fn unused_carries_and_outputs_of_scans_go() {
    let mut b: Builder<Det> = Builder::new("f");
    let x = b.param("x", Ty::FLOAT);
    let (t, c, d) = (b.index_var("t"), b.fresh("c", Ty::FLOAT), b.fresh("d", Ty::FLOAT));
    b.begin();
    let next_c = b.add(c.into(), x.into());
    let next_d = b.mul(d.into(), x.into());
    let y = b.add(next_c, Atom::float(1.0));
    let body = b.end(vec![next_c, next_d, y]);
    let scan =
        Scan { len: 3, index: t, carry: vec![(c, Atom::float(0.0)), (d, Atom::float(1.0))], xs: vec![], body, reverse: false };
    let outs = b.scan(scan);
    let mut f = b.finish(vec![outs[0].into()]);
    dce(&mut f);
    let Op::Scan(s) = only(&f) else { panic!("a scan") };
    assert_eq!((s.carry.len(), s.body.results.len(), s.body.stmts.len()), (1, 1, 1));
}

#[test]
fn invariant_work_leaves_nested_loops() {
    let mut b: Builder<Det> = Builder::new("f");
    let x = b.param("x", Ty::FLOAT);
    let (i, j) = (b.index_var("i"), b.index_var("j"));
    b.begin();
    b.begin();
    let e = b.un(Prim::Exp, x.into());
    let r = b.un(Prim::ToReal, j.into());
    let y = b.mul(e, r);
    let inner = b.end(vec![y]);
    let m = b.map(4, j, inner);
    let outer = b.end(vec![m[0].into()]);
    let m = b.map(2, i, outer);
    let mut f = b.finish(vec![m[0].into()]);
    licm(&mut f);
    // The inner loop does not depend on the outer one either.
    assert!(matches!(ops(&f)[..], [Op::Prim(Prim::Exp, _), Op::Map { len: 4, .. }, Op::Map { len: 2, .. }]));
}

fn draw(b: &mut Builder<Det>, site: u64, shape: &[usize]) -> Atom {
    let r = DetRandom { kind: RngKind::Normal, args: vec![], site, lanes: vec![], times: vec![], shape: shape.to_vec() };
    b.emit1(Op::Random(r), "u", Ty::float(shape))
}

#[test]
fn equal_draws_are_one_draw_and_signed_zeros_are_two() {
    let mut b: Builder<Det> = Builder::new("f");
    let x = b.param("x", Ty::FLOAT);
    let (u, v, w) = (draw(&mut b, 1, &[2]), draw(&mut b, 1, &[2]), draw(&mut b, 2, &[2]));
    let p = b.mul(x.into(), Atom::float(0.0));
    let n = b.mul(x.into(), Atom::float(-0.0));
    let mut f = b.finish(vec![u, v, w, p, n]);
    cse(&mut f);
    assert_eq!(f.body.results[0], f.body.results[1]);
    assert_eq!(f.body.stmts.len(), 4);
}

/// `noise` draws; `twice` calls it two times, in a map and in a scan.
fn callers() -> (Vec<Func<Det>>, Func<Det>) {
    let mut b: Builder<Det> = Builder::new("noise");
    let s = b.param("s", Ty::FLOAT);
    let u = draw(&mut b, 77, &[2]);
    let y = b.mul(s.into(), u);
    let noise = b.finish(vec![y]);

    let mut b: Builder<Det> = Builder::new("twice");
    let s = b.param("s", Ty::FLOAT);
    let vector = || vec![("y".to_string(), Ty::float([2]))];
    let call = |b: &mut Builder<Det>| -> Atom { b.emit(Op::Call { callee: DetId(0), args: vec![s.into()] }, vector())[0].into() };
    let (i, t) = (b.index_var("i"), b.index_var("t"));
    b.begin();
    let y = call(&mut b);
    let body = b.end(vec![y]);
    let m = b.map(3, i, body);
    b.begin();
    let y = call(&mut b);
    let body = b.end(vec![y]);
    let c = b.scan(Scan { len: 3, index: t, carry: vec![], xs: vec![], body, reverse: true });
    let twice = b.finish(vec![m[0].into(), c[0].into()]);

    let mut b: Builder<Det> = Builder::new("main");
    let s = b.param("s", Ty::FLOAT);
    let outs = || vec![("a".to_string(), Ty::float([3, 2])), ("b".to_string(), Ty::float([3, 2]))];
    let first = b.emit(Op::Call { callee: DetId(1), args: vec![s.into()] }, outs());
    let second = b.emit(Op::Call { callee: DetId(1), args: vec![s.into()] }, outs());
    let main = b.finish(first.into_iter().chain(second).map(Atom::Var).collect());
    (vec![noise, twice], main)
}

#[test]
fn inlining_keeps_draws_and_tells_calls_apart() {
    let (dets, main) = callers();
    let arg = candle_core::Tensor::new(1.0f64, &candle_core::Device::Cpu).expect("a scalar");
    let interp = Interp::new(&dets).seed(5);
    let read = |f: &Func<Det>| -> Vec<Vec<f64>> {
        let out = interp.run(f, std::slice::from_ref(&arg)).expect("a run");
        out.iter().map(|t| t.flatten_all().and_then(|t| t.to_vec1()).expect("reals")).collect()
    };
    let called = read(&main);
    let mut inlined = main.clone();
    inline_calls(&mut inlined, &dets);
    assert!(!print_func(&inlined, None).contains("call"));
    assert_eq!(read(&inlined), called);
    let mut optimised = main;
    PassManager::default().run(&mut optimised, &dets, When::AfterVjp).expect("pipeline");
    assert_eq!(read(&optimised), called);
    let mut all: Vec<u64> = called.iter().flatten().map(|x| x.to_bits()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 24, "every call, lane and time has draws of its own");
}

#[test]
fn recursive_calls_stay() {
    let mut b: Builder<Det> = Builder::new("loop");
    let x = b.param("x", Ty::FLOAT);
    let y = b.emit1(Op::Call { callee: DetId(0), args: vec![x.into()] }, "y", Ty::FLOAT);
    let f = b.finish(vec![y]);
    let mut g = f.clone();
    inline_calls(&mut g, std::slice::from_ref(&f));
    assert!(matches!(g.body.stmts[..], [ref s] if matches!(s.op, Op::Call { .. })));
}

#[test]
fn a_broken_program_names_its_pass() {
    let mut b: Builder<Det> = Builder::new("f");
    let x = b.param("x", Ty::FLOAT);
    let y = b.un(Prim::Exp, x.into());
    let mut f = b.finish(vec![y]);
    let check = |f: &Func<Det>| if f.body.stmts.len() == 1 { Err("one statement".to_string()) } else { Ok(()) };
    let mut pm = PassManager { verify: Some(&check), ..PassManager::default() };
    let e = pm.run(&mut f, &[], When::AfterVjp).expect_err("the check fails");
    assert_eq!((e.pass, e.func.as_str()), ("inline_calls", "f"));
    assert_eq!(e.to_string(), "the pass `inline_calls` broke the function `f`: one statement");
}

#[test]
fn passes_can_be_skipped_limited_and_watched() {
    let mut b: Builder<Det> = Builder::new("f");
    let x = b.param("x", Ty::new(DType::Int, []));
    let y = b.add(x.into(), Atom::int(0));
    let f = b.finish(vec![y]);
    let mut seen = Vec::new();
    let mut dump = |name: &'static str, after: bool, _: &Func<Det>| seen.push((name, after));
    let mut g = f.clone();
    let mut pm = PassManager { dump: Some(&mut dump), limit: Some(3), ..PassManager::default() };
    pm.skip.extend(["simplify".to_string(), "unroll".to_string()]);
    pm.run(&mut g, &[], When::BeforeVjp).expect("pipeline");
    assert_eq!(pm.timings.len(), 1);
    assert_eq!(g, f);
    assert_eq!(seen, [("inline_calls", false), ("inline_calls", true)]);
    PassManager::default().run(&mut g, &[], When::BeforeVjp).expect("pipeline");
    assert_eq!(g.body.stmts.len(), 0);
}

#[test]
fn selections_by_one_condition_become_one() {
    let real = |n: &str, b: &mut Builder<Det>| Atom::Var(b.param(n, Ty::float([4])));
    let (zero, two) = (Atom::float(0.0), Atom::float(2.0));
    // The derivative of `log_sigmoid(select(c, x, -x))` by `x`.
    let f = simplified(
        |b| {
            let c = Atom::Var(b.param("c", Ty::new(DType::Bool, [4])));
            let s = real("s", b);
            let (first, second) = (b.select(c, s, zero), b.select(c, zero, s));
            let less = b.prim(Prim::Neg, &[second]);
            let not = b.prim(Prim::Not, &[c]);
            let (x, y) = (b.select(not, less, zero), b.select(c, first, zero));
            vec![b.add(x, y)]
        },
        true,
    );
    let (c, s) = (Atom::Var(f.params[0]), Atom::Var(f.params[1]));
    match ops(&f)[..] {
        [Op::Prim(Prim::Neg, x), Op::Prim(Prim::Select, y)] => {
            assert_eq!((&x[..], &y[..2]), (&[s][..], &[c, s][..]), "{}", print_func(&f, None));
        }
        _ => panic!("{}", print_func(&f, None)),
    }
    // Through a broadcast of the condition, and with factors.
    let f = simplified(
        |b| {
            let c = Atom::Var(b.param("c", Ty::new(DType::Bool, [4])));
            let x = Atom::Var(b.param("x", Ty::float([2, 4])));
            let not = b.prim(Prim::Not, &[c]);
            let (c, not) = (b.broadcast(c, &[2, 4], &[1]), b.broadcast(not, &[2, 4], &[1]));
            let (p, q) = (b.select(c, x, zero), b.select(not, x, zero));
            let q = b.mul(q, two);
            vec![b.add(p, q)]
        },
        true,
    );
    assert!(
        matches!(ops(&f)[..], [Op::Broadcast { .. }, Op::Prim(Prim::Mul, _), Op::Prim(Prim::Select, _)]),
        "{}",
        print_func(&f, None)
    );
    // Sums on both sides, and other conditions, stay.
    let f = simplified(
        |b| {
            let (c, d) = (b.param("c", Ty::new(DType::Bool, [4])), b.param("d", Ty::new(DType::Bool, [4])));
            let (x, y) = (real("x", b), real("y", b));
            let (p, q) = (b.select(c.into(), x, y), b.select(c.into(), y, x));
            let r = b.select(d.into(), x, zero);
            let s = b.add(p, q);
            vec![s, b.add(q, r)]
        },
        true,
    );
    assert_eq!(ops(&f).len(), 5, "{}", print_func(&f, None));
}

#[test]
fn multiples_of_one_value_are_added_up() {
    let f = simplified(
        |b| {
            let x = Atom::Var(b.param("x", Ty::float([4])));
            let half = b.mul(x, Atom::float(0.5));
            let more = b.mul(half, Atom::float(3.0));
            vec![b.add(half, more)]
        },
        true,
    );
    assert_eq!(only(&f), &Op::Prim(Prim::Mul, vec![Atom::Var(f.params[0]), Atom::float(2.0)]));
}

/// Values of a function of one real array, before and after the last passes.
fn both_ways(shape: &[usize], build: impl Fn(&mut Builder<Det>, Atom) -> Vec<Atom>) -> (Func<Det>, Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut b = Builder::new("f");
    let x = b.param("x", Ty::float(shape.to_vec())).into();
    let results = build(&mut b, x);
    let plain = b.finish(results);
    let mut f = plain.clone();
    PassManager::default().run(&mut f, &[], When::AfterVjp).expect("the passes");
    let run = |f: &Func<Det>| -> Vec<Vec<f64>> {
        let n: usize = shape.iter().product();
        let values: Vec<f64> = (0..n).map(|i| ((i * 37) % 101) as f64 / 50.0 - 1.0).collect();
        let x = candle_core::Tensor::from_vec(values, shape, &candle_core::Device::Cpu).expect("a tensor");
        let out = Interp::new(&[]).run(f, &[x]).expect("a run");
        out.iter().map(|t| t.flatten_all().and_then(|t| t.to_vec1::<f64>()).expect("reals")).collect()
    };
    let (before, after) = (run(&plain), run(&f));
    (f, before, after)
}

#[track_caller]
fn close(a: &[Vec<f64>], b: &[Vec<f64>]) {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.for_each(|(x, y)| assert!((x - y).abs() < 1e-12 * (1.0 + x.abs()), "{x} and {y}"));
}

/// The importance-weighted bound's shape of work: rows are summed, and read what is summed of them.
fn by_rows(b: &mut Builder<Det>, x: Atom, keep: bool) -> Vec<Atom> {
    let shape = b.ty(x).shape;
    let y = b.mul(x, Atom::float(0.5));
    let m = b.reduce(ReduceOp::Max, y, &[1]);
    let wide = b.broadcast(m, &shape, &[0]);
    let column = b.reduce(ReduceOp::Sum, y, &[0]);
    let tall = b.broadcast(column, &shape, &[1]);
    let d = b.sub(y, wide);
    let e = b.un(Prim::Exp, d);
    let t = b.mul(e, tall);
    let s = b.reduce(ReduceOp::Sum, t, &[1]);
    let all = b.sum_all(t);
    if keep { vec![s, all, t] } else { vec![s, all] }
}

#[test]
fn short_rows_become_columns() {
    let (f, before, after) = both_ways(&[40, 5], |b, x| by_rows(b, x, false));
    close(&before, &after);
    assert!(f.body.stmts.iter().any(|s| f.ty(s.outs[0]).shape == [5, 40]), "{}", print_func(&f, None));
    // Rows that are returned, long ones, and few of them, stay.
    for (shape, keep) in [([40, 5], true), ([40, 50], false), ([10, 5], false)] {
        let (f, before, after) = both_ways(&shape, |b, x| by_rows(b, x, keep));
        close(&before, &after);
        assert!(f.body.stmts.iter().all(|s| f.ty(s.outs[0]).shape != [shape[1], shape[0]]), "{}", print_func(&f, None));
    }
}

#[test]
fn divisions_by_one_value_become_one() {
    let (f, before, after) = both_ways(&[20], |b, x| {
        let s = b.sum_all(x);
        let y = b.add(s, Atom::float(3.0));
        let p = b.div(x, y);
        let one = b.add(x, Atom::float(2.0));
        let (q, r) = (b.div(p, one), b.div(Atom::float(1.5), one));
        let third = b.add(x, Atom::float(5.0));
        let last = b.div(x, third);
        vec![q, r, last]
    });
    close(&before, &after);
    let count = |p: Prim| ops(&f).iter().filter(|o| matches!(o, Op::Prim(q, _) if *q == p)).count();
    assert_eq!((count(Prim::Recip), count(Prim::Div)), (2, 1), "{}", print_func(&f, None));
}

#[test]
fn what_is_added_and_taken_away_again_is_gone() {
    let (f, before, after) = both_ways(&[20], |b, x| {
        let m = b.sum_all(x);
        let scaled = b.mul(x, Atom::float(1.25));
        let y = b.add(m, scaled);
        let back = b.sub(y, m);
        let again = b.sub(back, x);
        let z = b.add(again, x);
        let p = b.mul(z, m);
        vec![b.div(p, m)]
    });
    close(&before, &after);
    assert_eq!(only(&f), &Op::Prim(Prim::Mul, vec![Atom::Var(f.params[0]), Atom::float(1.25)]));
}
