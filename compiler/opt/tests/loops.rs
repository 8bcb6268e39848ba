//! Passes on loops with matrix products: what they do, and that values stay.

use candle_core::Tensor;
use ppl_abi::Precision;
use ppl_core::{Atom, Builder, Det, DetRandom, Func, Op, Prim, RngKind, Scan, Ty, Var, op_blocks};
use ppl_interp::Interp;
use ppl_interp::testgen::arguments;
use ppl_opt::{dce, licm, simplify_det, split, unroll};

fn run(f: &Func<Det>) -> Vec<Tensor> {
    let args = arguments(f, 5, Precision::F64).expect("arguments");
    Interp::new(&[]).seed(5).step(3).run(f, &args).expect("a run")
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("values")
}

fn same(what: &str, a: &[Tensor], b: &[Tensor]) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(b) {
        assert_eq!(x.dims(), y.dims(), "{what}");
        for (x, y) in values(x).into_iter().zip(values(y)) {
            assert!((x - y).abs() <= 1e-12 * (1.0 + x.abs()), "{what}: {x} became {y}");
        }
    }
}

fn count(f: &Func<Det>, wanted: fn(&Op<Det>) -> bool) -> usize {
    fn walk(b: &ppl_core::Block<Det>, wanted: fn(&Op<Det>) -> bool) -> usize {
        let here = |s: &ppl_core::Stmt<Det>| {
            usize::from(wanted(&s.op)) + op_blocks(&s.op).into_iter().map(|b| walk(b, wanted)).sum::<usize>()
        };
        b.stmts.iter().map(here).sum()
    }
    walk(&f.body, wanted)
}

/// A recurrent network of `rounds` rounds that looks at one image each time: `h' = tanh(w [image, h] + u[t]) + noise`, and the sums of all `h`.
fn recurrent(rounds: usize, image: usize, hidden: usize, reverse: bool) -> Func<Det> {
    let mut b = Builder::<Det>::new("recurrent");
    let w = Atom::Var(b.param("w", Ty::float([hidden, image + hidden])));
    let x = Atom::Var(b.param("x", Ty::float([image])));
    let u = Atom::Var(b.param("u", Ty::float([rounds, hidden])));
    let start = b.full(Atom::float(0.1), &[hidden]);
    let index = b.index_var("t");
    let (h, slice): (Var, Var) = (b.fresh("h", Ty::float([hidden])), b.fresh("u_t", Ty::float([hidden])));
    b.begin();
    let twice = b.mul(x, Atom::float(2.0));
    let both = b.concat(&[twice, h.into()], 0);
    let d = b.dot(w, both, &[], &[(1, 0)]);
    let d = b.add(d, slice.into());
    let next = b.un(Prim::Tanh, d);
    let draw = DetRandom {
        kind: RngKind::Normal,
        args: Vec::new(),
        site: 77,
        lanes: Vec::new(),
        times: vec![(index.into(), rounds)],
        shape: vec![hidden],
    };
    let noise = b.emit1(Op::Random(draw), "noise", Ty::float([hidden]));
    let next = b.add(next, noise);
    let sum = b.sum_all(next);
    let body = b.end(vec![next, sum, next]);
    let scan = Scan { len: rounds, index, carry: vec![(h, start)], xs: vec![(slice, u)], body, reverse };
    let outs = b.scan(scan);
    // A second loop over what the first one stacked.
    let index = b.index_var("t");
    let (c, row) = (b.fresh("c", Ty::float([hidden])), b.fresh("row", Ty::float([hidden])));
    b.begin();
    let d = b.sum_all(x);
    let next = b.mul(c.into(), Atom::float(0.5));
    let next = b.add(next, row.into());
    let next = b.add(next, d);
    let body = b.end(vec![next]);
    let zero = b.full(Atom::float(0.0), &[hidden]);
    let second = Scan { len: rounds, index, carry: vec![(c, zero)], xs: vec![(row, outs[2].into())], body, reverse: !reverse };
    let last = b.scan(second);
    b.finish(vec![outs[0].into(), outs[1].into(), outs[2].into(), last[0].into()])
}

#[test]
fn contractions_with_what_stays_leave_the_loop() {
    let f = recurrent(3, 5, 4, false);
    let mut g = f.clone();
    assert!(split(&mut g));
    licm(&mut g);
    dce(&mut g);
    same("split", &run(&f), &run(&g));
    let products = |b: &ppl_core::Block<Det>| b.stmts.iter().filter(|s| matches!(s.op, Op::Dot { .. })).count();
    let inside = g.body.stmts.iter().find_map(|s| if let Op::Scan(s) = &s.op { Some(products(&s.body)) } else { None });
    // One product with the image before the loop, one with the hidden state in it; no concatenation is left.
    assert_eq!((products(&g.body), inside), (1, Some(1)), "{g}");
    assert_eq!(count(&g, |op| matches!(op, Op::Concat { .. })), 0, "{g}");
    // Where all parts change, nothing is to gain.
    let mut h = g.clone();
    assert!(!split(&mut h));
    assert_eq!(g, h);
}

#[test]
fn short_loops_of_heavy_work_are_written_out() {
    for reverse in [false, true] {
        let f = recurrent(3, 4000, 300, reverse);
        let mut g = f.clone();
        unroll(&mut g);
        assert_eq!(count(&g, |op| matches!(op, Op::Scan(_))), 1, "the loop of products is gone, the one of sums is not heavy");
        simplify_det(&mut g, ppl_opt::SimplifyOptions { after_vjp: true, reassociate: true });
        dce(&mut g);
        same("unroll", &run(&f), &run(&g));
    }
    let light = recurrent(3, 5, 4, false);
    let mut g = light.clone();
    unroll(&mut g);
    assert_eq!(g, light);
}
