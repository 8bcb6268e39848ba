//! Each operation against values worked out by hand.

use candle_core::{Device, Tensor};
use ppl_abi::Precision;
use ppl_core::{Atom, Builder, DType, Det, DetId, DetRandom, Func, Linalg, Op, Prim, ReduceOp, RngKind, Scan, Ty};
use ppl_interp::{Fault, Interp};

fn reals(data: &[f64], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape, &Device::Cpu).expect("a tensor")
}

fn ints(data: &[i64], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape, &Device::Cpu).expect("a tensor")
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("values")
}

/// One operation on arguments of these types; its result's shape and elements.
fn apply(args: &[Tensor], op: impl FnOnce(&mut Builder<Det>, &[Atom]) -> Atom) -> (Vec<usize>, Vec<f64>) {
    let mut b = Builder::new("f");
    let params: Vec<Atom> = args
        .iter()
        .map(|t| {
            let dtype = match t.dtype() {
                candle_core::DType::I64 => DType::Int,
                candle_core::DType::U8 => DType::Bool,
                _ => DType::Float,
            };
            b.param("x", Ty::new(dtype, t.dims())).into()
        })
        .collect();
    let out = op(&mut b, &params);
    let f = b.finish(vec![out]);
    let out = Interp::new(&[]).run(&f, args).expect("a run");
    (out[0].dims().to_vec(), values(&out[0]))
}

fn m23() -> Tensor {
    reals(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])
}

#[test]
fn moves() {
    let x = [m23()];
    assert_eq!(apply(&x, |b, x| b.transpose(x[0], &[1, 0])), (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    assert_eq!(apply(&x, |b, x| b.reshape(x[0], &[3, 2])).1, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(apply(&x, |b, x| b.slice(x[0], 1, 1, 2)), (vec![2, 2], vec![2.0, 3.0, 5.0, 6.0]));
    assert_eq!(apply(&x, |b, x| b.pad(x[0], 0, 1, 0)).1, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(apply(&x, |b, x| b.reverse(x[0], 1)).1, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    assert_eq!(
        apply(&x, |b, x| b.concat(&[x[0], x[0]], 1)),
        (vec![2, 6], vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 4.0, 5.0, 6.0])
    );
    assert_eq!(apply(&[reals(&[1.0, 2.0], &[2])], |b, x| b.broadcast(x[0], &[2, 3], &[0])).1, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    assert_eq!(apply(&[], |b, _| b.iota(4)).1, [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(apply(&[], |b, _| b.full(Atom::float(2.5), &[0, 3])), (vec![0, 3], vec![]));
}

#[test]
fn reductions() {
    let x = [m23()];
    assert_eq!(apply(&x, |b, x| b.reduce(ReduceOp::Sum, x[0], &[0])), (vec![3], vec![5.0, 7.0, 9.0]));
    assert_eq!(apply(&x, |b, x| b.reduce(ReduceOp::Prod, x[0], &[1])).1, [6.0, 120.0]);
    assert_eq!(apply(&x, |b, x| b.reduce(ReduceOp::Max, x[0], &[0, 1])), (vec![], vec![6.0]));
    assert_eq!(apply(&x, |b, x| b.reduce(ReduceOp::Min, x[0], &[1])).1, [1.0, 4.0]);
    let nan = [reals(&[f64::NAN, 2.0, 1.0, f64::NAN], &[2, 2])];
    assert!(apply(&nan, |b, x| b.reduce(ReduceOp::Max, x[0], &[1])).1.iter().all(|x| x.is_nan()));
    assert!(apply(&nan, |b, x| b.reduce(ReduceOp::Min, x[0], &[1])).1.iter().all(|x| x.is_nan()));
    let empty = [reals(&[], &[2, 0])];
    assert_eq!(apply(&empty, |b, x| b.reduce(ReduceOp::Sum, x[0], &[1])).1, [0.0, 0.0]);
    assert_eq!(apply(&empty, |b, x| b.reduce(ReduceOp::Max, x[0], &[1])).1, [f64::NEG_INFINITY; 2]);
    assert_eq!(apply(&[reals(&[1.0, 7.0, 7.0, 3.0], &[4])], |b, x| b.argmax(x[0], 0)), (vec![], vec![1.0]));
    assert_eq!(apply(&x, |b, x| b.cumsum(x[0], 1, false)).1, [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    assert_eq!(apply(&x, |b, x| b.cumsum(x[0], 0, true)).1, [5.0, 7.0, 9.0, 4.0, 5.0, 6.0]);
    let all = |op| {
        apply(&x, |b, x| {
            let t = b.prim(Prim::Gt, &[x[0], Atom::float(2.5)]);
            b.reduce(op, t, &[1])
        })
        .1
    };
    assert_eq!(all(ReduceOp::All), [0.0, 1.0]);
    assert_eq!(all(ReduceOp::Any), [1.0, 1.0]);
}

#[test]
fn contractions() {
    let x = [m23(), reals(&[1.0, 0.0, 2.0, 1.0, 0.0, 3.0], &[3, 2])];
    assert_eq!(apply(&x, |b, x| b.dot(x[0], x[1], &[], &[(1, 0)])), (vec![2, 2], vec![5.0, 11.0, 14.0, 23.0]));
    assert_eq!(apply(&x, |b, x| b.dot(x[0], x[1], &[(1, 0)], &[])), {
        let mut out = Vec::new();
        let (a, c) = (values(&x[0]), values(&x[1]));
        for k in 0..3 {
            for i in 0..2 {
                for j in 0..2 {
                    out.push(a[i * 3 + k] * c[k * 2 + j]);
                }
            }
        }
        (vec![3, 2, 2], out)
    });
    assert_eq!(apply(&x, |b, x| b.dot(x[0], x[1], &[], &[(0, 1), (1, 0)])), (vec![], vec![1.0 + 4.0 + 0.0 + 0.0 + 5.0 + 18.0]));
}

#[test]
fn indexing() {
    let x = [m23(), ints(&[1, 1, 0], &[3])];
    assert_eq!(apply(&x, |b, x| b.gather(x[0], x[1], 0)), (vec![3, 3], vec![4.0, 5.0, 6.0, 4.0, 5.0, 6.0, 1.0, 2.0, 3.0]));
    let y = [m23(), ints(&[2, 0], &[2, 1])];
    assert_eq!(apply(&y, |b, x| b.gather(x[0], x[1], 1)), (vec![2, 1], vec![3.0, 4.0]));
    assert_eq!(
        apply(&[ints(&[1, 1, 0], &[3]), reals(&[1.0, 2.0, 4.0], &[3])], |b, x| b.scatter_add(x[0], x[1], 0, 3)),
        (vec![3], vec![4.0, 3.0, 0.0])
    );
}

#[test]
fn indices_out_of_range_are_reported_or_clamped() {
    let mut b: Builder<Det> = Builder::new("f");
    let (x, i) = (b.param("x", Ty::float([3])), b.param("i", Ty::new(DType::Int, [2])));
    let y = b.gather(x.into(), i.into(), 0);
    let f = b.finish(vec![y]);
    let args = [reals(&[1.0, 2.0, 3.0], &[3]), ints(&[-4, 3], &[2])];
    let e = Interp::new(&[]).run(&f, &args).expect_err("out of range");
    assert_eq!((e.func.as_str(), e.name.as_str(), &e.fault), ("f", "g", &Fault::Index { index: -4, len: 3 }));
    assert_eq!(e.to_string(), "in `f`, computing `g`: the index -4 is outside 0..3");
    let out = Interp::new(&[]).clamp_indices().run(&f, &args).expect("clamped");
    assert_eq!(values(&out[0]), [1.0, 3.0]);
}

#[test]
fn matrices() {
    let a = reals(&[4.0, 2.0, 2.0, 5.0], &[2, 2]);
    assert_eq!(apply(&[a], |b, x| b.linalg(Linalg::Cholesky, &[x[0]])).1, [2.0, 0.0, 1.0, 2.0]);
    let l = || reals(&[2.0, 0.0, 1.0, 2.0], &[2, 2]);
    let rhs = || reals(&[2.0, 5.0], &[2, 1]);
    assert_eq!(apply(&[l(), rhs()], |b, x| b.linalg(Linalg::Solve { transpose: false }, x)).1, [1.0, 2.0]);
    assert_eq!(apply(&[l(), rhs()], |b, x| b.linalg(Linalg::Solve { transpose: true }, x)).1, [-0.25, 2.5]);
    let negative = reals(&[-1.0], &[1, 1]);
    assert!(apply(&[negative], |b, x| b.linalg(Linalg::Cholesky, &[x[0]])).1[0].is_nan());
}

#[test]
fn scans_carry_slice_stack_and_reverse() {
    for reverse in [false, true] {
        let (shape, out) = apply(&[reals(&[1.0, 2.0, 3.0], &[3])], |b, x| {
            let (t, c, e) = (b.index_var("t"), b.fresh("c", Ty::FLOAT), b.fresh("e", Ty::FLOAT));
            b.begin();
            let ten = b.mul(c.into(), Atom::float(10.0));
            let next = b.add(ten, e.into());
            let body = b.end(vec![next, next]);
            let s = Scan { len: 3, index: t, carry: vec![(c, Atom::float(0.0))], xs: vec![(e, x[0])], body, reverse };
            let outs = b.scan(s);
            let last = b.full(outs[0].into(), &[1]);
            b.concat(&[last, outs[1].into()], 0)
        });
        assert_eq!(shape, [4]);
        assert_eq!(out, if reverse { [321.0, 321.0, 32.0, 3.0] } else { [123.0, 1.0, 12.0, 123.0] });
    }
}

#[test]
fn loops_that_never_run_leave_empty_arrays() {
    let (shape, out) = apply(&[], |b, _| {
        let i = b.index_var("i");
        b.begin();
        let r = b.un(Prim::ToReal, i.into());
        let body = b.end(vec![r]);
        b.map(0, i, body)[0].into()
    });
    assert_eq!((shape, out), (vec![0], vec![]));
}

#[test]
fn branches_run_only_the_side_taken() {
    let mut b: Builder<Det> = Builder::new("f");
    let (c, x, i) = (b.param("c", Ty::BOOL), b.param("x", Ty::float([2])), b.param("i", Ty::INT));
    b.begin();
    let y = b.gather(x.into(), i.into(), 0);
    let then = b.end(vec![y]);
    b.begin();
    let els = b.end(vec![Atom::float(-1.0)]);
    let out = b.if_(c.into(), then, els);
    let f = b.finish(vec![out[0].into()]);
    let run = |c: u8, i: i64| {
        let c = Tensor::new(c, &Device::Cpu).expect("a scalar");
        Interp::new(&[]).run(&f, &[c, reals(&[5.0, 6.0], &[2]), Tensor::new(i, &Device::Cpu).expect("a scalar")])
    };
    assert_eq!(values(&run(1, 1).expect("a run")[0]), [6.0]);
    assert_eq!(values(&run(0, 9).expect("a run")[0]), [-1.0]);
    assert!(run(1, 9).is_err());
}

fn draw(kind: RngKind, args: Vec<Atom>, lanes: Vec<(Atom, usize)>, times: Vec<(Atom, usize)>, shape: &[usize]) -> Op<Det> {
    Op::Random(DetRandom { kind, args, site: 9, lanes, times, shape: shape.to_vec() })
}

/// A draw in a map over lanes is the slice of one draw with the lanes' axis in front: what batching relies on.
#[test]
fn lanes_are_leading_axes_of_draws() {
    for kind in RngKind::ALL {
        let args = |b: &mut Builder<Det>, like: Option<Atom>| -> Vec<Atom> {
            let p = match like {
                Some(x) => x,
                None => b.full(Atom::float(0.4), &[2]),
            };
            match kind {
                RngKind::Uniform | RngKind::Normal => vec![],
                RngKind::Gamma | RngKind::Poisson => vec![p],
                RngKind::Binomial => vec![Atom::int(9), p],
                RngKind::Categorical => {
                    let mut shape = b.ty(p).shape;
                    shape.push(3);
                    let axes: Vec<usize> = (0..shape.len() - 1).collect();
                    vec![b.broadcast(p, &shape, &axes)]
                }
            }
        };
        let mut b: Builder<Det> = Builder::new("mapped");
        let (i, t) = (b.index_var("i"), b.index_var("t"));
        b.begin();
        b.begin();
        let list = args(&mut b, None);
        let op = draw(kind, list, vec![(i.into(), 3)], vec![(t.into(), 4)], &[2]);
        let y = b.emit1(op, "u", Ty::new(kind.dtype(), [2]));
        let inner = b.end(vec![y]);
        let s = b.scan(Scan { len: 4, index: t, carry: vec![], xs: vec![], body: inner, reverse: false });
        let outer = b.end(vec![s[0].into()]);
        let m = b.map(3, i, outer);
        let mapped = b.finish(vec![m[0].into()]);

        let mut b: Builder<Det> = Builder::new("batched");
        let t = b.index_var("t");
        b.begin();
        let wide = b.full(Atom::float(0.4), &[3, 2]);
        let list = args(&mut b, Some(wide));
        let op = draw(kind, list, vec![], vec![(t.into(), 4)], &[3, 2]);
        let y = b.emit1(op, "u", Ty::new(kind.dtype(), [3, 2]));
        let body = b.end(vec![y]);
        let s = b.scan(Scan { len: 4, index: t, carry: vec![], xs: vec![], body, reverse: false });
        let y = b.transpose(s[0].into(), &[1, 0, 2]);
        let batched = b.finish(vec![y]);

        for precision in Precision::ALL {
            let interp = Interp::new(&[]).seed(11).step(4).precision(precision);
            let a = values(&interp.run(&mapped, &[]).expect("a run")[0]);
            assert_eq!(a, values(&interp.run(&batched, &[]).expect("a run")[0]), "{}", kind.name());
            let other = values(&interp.step(5).run(&mapped, &[]).expect("a run")[0]);
            assert_ne!(a, other, "{}: another step draws anew", kind.name());
        }
    }
}

#[test]
fn runaway_recursion_is_an_error() {
    let mut b: Builder<Det> = Builder::new("loop");
    let x = b.param("x", Ty::FLOAT);
    let y = b.emit1(Op::Call { callee: DetId(0), args: vec![x.into()] }, "y", Ty::FLOAT);
    let f = b.finish(vec![y]);
    let e = Interp::new(std::slice::from_ref(&f)).run(&f, &[reals(&[1.0], &[])]).expect_err("endless");
    assert!(matches!(e.fault, Fault::Depth(_)));
}

#[test]
fn arguments_are_checked() {
    let mut b: Builder<Det> = Builder::new("f");
    let x = b.param("x", Ty::float([2]));
    let f: Func<Det> = b.finish(vec![x.into()]);
    let fault = |args: &[Tensor]| Interp::new(&[]).run(&f, args).expect_err("unfit").fault;
    assert_eq!(fault(&[]), Fault::Arguments { expected: 1, found: 0 });
    assert!(matches!(fault(&[reals(&[1.0], &[1])]), Fault::ArgumentType { .. }));
    assert!(matches!(fault(&[ints(&[1, 2], &[2])]), Fault::ArgumentType { .. }));
    let transposed = m23().t().and_then(|t| t.get(0)).expect("a strided view");
    assert_eq!(values(&Interp::new(&[]).run(&f, &[transposed]).expect("a run")[0]), [1.0, 4.0]);
}

#[test]
fn the_first_infinity_is_found_with_its_place() {
    let mut b: Builder<Det> = Builder::new("f");
    let x = b.param("x", Ty::float([3]));
    let i = b.index_var("i");
    b.begin();
    let e = b.gather(x.into(), i.into(), 0);
    let l = b.un(Prim::Log, e);
    let y = b.mul(l, Atom::float(0.0));
    let body = b.end(vec![y]);
    let m = b.map(3, i, body);
    let f = b.finish(vec![m[0].into()]);
    let find = |data: &[f64]| Interp::new(&[]).first_non_finite(&f, &[reals(data, &[3])]).expect("a run");
    assert_eq!(find(&[1.0, 2.0, 3.0]), None);
    let found = find(&[1.0, 0.0, 3.0]).expect("log(0)");
    assert_eq!(found.description, "log(0) is -inf, i = 1");
}
