//! Batching: one run over arrays gives what running the lanes one by one gives.

mod common;

use common::generate::{Options, program};
use common::{Stream, Value, assert_close, run, verified};
use ppl_core::{Atom, Block, Builder, DType, Det, DetRandom, Func, Linalg, Op, Prim, ReduceOp, RngKind, Scan, Ty, op_blocks};
use ppl_transform::batch::batch;

fn count(b: &Block<Det>, is: &dyn Fn(&Op<Det>) -> bool) -> usize {
    b.stmts.iter().map(|s| usize::from(is(&s.op)) + op_blocks(&s.op).into_iter().map(|b| count(b, is)).sum::<usize>()).sum()
}

fn maps(f: &Func<Det>) -> usize {
    count(&f.body, &|op| matches!(op, Op::Map { .. }))
}

fn agrees(f: &Func<Det>, args: &[Value]) -> Func<Det> {
    verified(f);
    let g = batch(f.clone());
    verified(&g);
    assert_eq!(maps(&g), 0, "{}", f.name);
    assert_eq!(f.result_tys(), g.result_tys(), "{}", f.name);
    let (want, have) = (run(f, args), run(&g, args));
    for (i, (w, h)) in want.iter().zip(&have).enumerate() {
        assert_close(&format!("{} result {i}", f.name), w, h, 1e-9);
    }
    g
}

#[test]
fn random_programs() {
    let mut with_maps = 0;
    for seed in 0..1500 {
        let f = program(seed, Options { maps: true, depth: 3, size: 12, moving_draws: true });
        with_maps += usize::from(maps(&f) > 0);
        let mut s = Stream(seed, 1000);
        let args: Vec<Value> = f.params.iter().map(|v| s.value(&f.ty(*v).shape.clone(), -1.5, 1.5)).collect();
        agrees(&f, &args);
    }
    assert!(with_maps > 500, "{with_maps}");
}

/// Names of the operations at the function's own level, without `iota`.
fn shape_of(f: &Func<Det>) -> Vec<String> {
    let name = |op: &Op<Det>| match op {
        Op::Prim(p, _) => p.name().to_string(),
        other => format!("{other:?}").split([' ', '(', '{']).next().unwrap_or_default().to_lowercase(),
    };
    f.body.stmts.iter().map(|s| name(&s.op)).filter(|n| n != "iota").collect()
}

/// A function whose result is a plate of `n` lanes.
fn plate(n: usize, params: &[Ty], body: impl FnOnce(&mut Builder<Det>, Atom, &[Atom]) -> Vec<Atom>) -> Func<Det> {
    let mut b = Builder::new("plate");
    let p: Vec<Atom> = params.iter().map(|t| b.param("p", t.clone()).into()).collect();
    let i = b.index_var("i");
    b.begin();
    let results = body(&mut b, i.into(), &p);
    let block = b.end(results);
    let outs = b.map(n, i, block);
    b.finish(outs.into_iter().map(Atom::Var).collect())
}

fn random_args(f: &Func<Det>) -> Vec<Value> {
    let mut s = Stream(5, 5);
    let value = |t: &Ty, s: &mut Stream| match t.dtype {
        DType::Float => s.value(&t.shape, -1.5, 1.5),
        DType::Int => Value::new(&t.shape, (0..t.numel()).map(|_| s.below(5) as f64 - 1.0).collect()),
        DType::Bool => Value::new(&t.shape, (0..t.numel()).map(|_| s.below(2) as f64).collect()),
    };
    f.params.iter().map(|v| value(&f.ty(*v).clone(), &mut s)).collect()
}

fn batched(f: &Func<Det>) -> (Func<Det>, Vec<String>) {
    let g = agrees(f, &random_args(f));
    let ops = shape_of(&g);
    (g, ops)
}

#[test]
fn a_linear_predictor_is_one_contraction() {
    let f = plate(6, &[Ty::float([6, 4]), Ty::float([4])], |b, i, p| {
        let row = b.gather(p[0], i, 0);
        let d = b.dot(row, p[1], &[], &[(0, 0)]);
        let e = b.dot(p[1], row, &[], &[(0, 0)]);
        vec![d, e]
    });
    let (g, ops) = batched(&f);
    assert_eq!(ops, ["dot", "dot"]);
    for s in &g.body.stmts {
        if let Op::Dot { a, b, .. } = &s.op {
            assert!(f.params.iter().all(|p| [*a, *b].contains(&Atom::Var(*p))), "contracts the parameters themselves");
        }
    }
}

#[test]
fn a_layer_is_one_matrix_product() {
    let f = plate(6, &[Ty::float([6, 4]), Ty::float([3, 4]), Ty::float([4, 3])], |b, i, p| {
        let row = b.gather(p[0], i, 0);
        vec![b.dot(p[1], row, &[], &[(1, 0)]), b.dot(row, p[2], &[], &[(0, 0)])]
    });
    assert_eq!(batched(&f).1, ["dot", "dot"]);
}

#[test]
fn lanes_at_an_offset_are_slices() {
    let f = plate(4, &[Ty::float([6, 2]), Ty::float([3, 6])], |b, i, p| {
        let next = b.add(i, Atom::int(2));
        let before = b.sub(next, Atom::int(1));
        let x = b.gather(p[0], i, 0);
        let y = b.gather(p[0], next, 0);
        let z = b.gather(p[0], before, 0);
        let d = b.sub(y, x);
        let e = b.sub(z, x);
        let column = b.full(next, &[3]);
        let column = b.gather(p[1], column, 1);
        vec![d, e, column]
    });
    let ops = batched(&f).1;
    assert_eq!(ops.iter().filter(|o| *o == "gather").count(), 0, "{ops:?}");
    assert_eq!(ops.iter().filter(|o| *o == "slice").count(), 4, "{ops:?}");
    // Beyond the end the index is clamped, which a slice is not.
    let f = plate(4, &[Ty::float([5, 2])], |b, i, p| {
        let next = b.add(i, Atom::int(2));
        vec![b.gather(p[0], next, 0)]
    });
    assert!(batched(&f).1.contains(&"gather".to_string()));
}

#[test]
fn gathers_and_scatters_of_every_kind() {
    let int = |shape: &[usize]| Ty::new(DType::Int, shape);
    let f = plate(5, &[Ty::float([3, 2]), int(&[5]), Ty::float([5, 4, 2]), int(&[4]), int(&[5, 4])], |b, i, p| {
        let k = b.gather(p[1], i, 0);
        let x = b.gather(p[2], i, 0);
        let idx = b.gather(p[4], i, 0);
        vec![
            b.gather(p[0], k, 0),
            b.gather(x, p[3], 0),
            b.gather(x, Atom::int(2), 0),
            b.gather(x, Atom::int(9), 0),
            b.gather(x, idx, 0),
            b.gather(x, idx, 1),
            b.gather(x, p[3], 1),
            b.gather(p[0], idx, 0),
            b.scatter_add(idx, x, 0, 3),
            b.scatter_add(p[3], x, 0, 3),
            b.scatter_add(idx, p[3], 0, 6),
            b.scatter_add(p[3], p[3], 0, 6),
            b.scatter_add(idx, x, 1, 3),
            b.gather(p[3], k, 0),
        ]
    });
    let ops = batched(&f).1;
    let repeated = ops.iter().filter(|o| *o == "broadcast").count();
    assert!(repeated <= 5, "shared tables are not repeated: {ops:?}");
    // Common axes of a shared operand.
    let f = plate(5, &[Ty::float([4, 3, 2]), int(&[5, 4, 2])], |b, i, p| {
        let idx = b.gather(p[1], i, 0);
        vec![b.gather(p[0], idx, 1)]
    });
    assert!(!batched(&f).1.contains(&"broadcast".to_string()));
}

#[test]
fn axes_move_behind_the_lanes() {
    let f = plate(4, &[Ty::float([4, 2, 3]), Ty::float([2, 3]), Ty::float([4, 3, 3])], |b, i, p| {
        let x = b.gather(p[0], i, 0);
        let square = b.gather(p[2], i, 0);
        let g = b.dot(square, square, &[], &[(1, 1)]);
        let iota = b.iota(3);
        let (rows, columns) = (b.broadcast(iota, &[3, 3], &[0]), b.broadcast(iota, &[3, 3], &[1]));
        let eye = b.prim(Prim::Eq, &[rows, columns]);
        let ridge = b.select(eye, Atom::float(1.0), Atom::float(0.0));
        let g = b.add(g, ridge);
        let positive = b.prim(Prim::Gt, &[x, Atom::float(0.0)]);
        vec![
            b.broadcast(x, &[2, 5, 3], &[0, 2]),
            b.reduce(ReduceOp::Sum, x, &[0]),
            b.reduce(ReduceOp::Prod, x, &[1]),
            b.reduce(ReduceOp::Max, x, &[0, 1]),
            b.reduce(ReduceOp::Min, x, &[1]),
            b.reduce(ReduceOp::All, positive, &[0]),
            b.reduce(ReduceOp::Any, positive, &[1]),
            b.argmax(x, 0),
            b.argmax(x, 1),
            b.cumsum(x, 0, false),
            b.cumsum(x, 1, true),
            b.transpose(x, &[1, 0]),
            b.reshape(x, &[3, 2]),
            b.slice(x, 1, 1, 2),
            b.pad(x, 0, 1, 2),
            b.concat(&[x, p[1]], 0),
            b.concat(&[p[1], x, x], 1),
            b.reverse(x, 1),
            b.stop(x),
            b.linalg(Linalg::Cholesky, &[g]),
            b.dot(x, p[1], &[], &[(1, 1)]),
            b.dot(p[1], x, &[(0, 0)], &[]),
            b.dot(x, p[1], &[(1, 1)], &[(0, 0)]),
            b.dot(p[1], x, &[], &[]),
            b.select(positive, p[1], Atom::float(2.0)),
        ]
    });
    batched(&f);
}

#[test]
fn shared_statements_run_once() {
    let f = plate(6, &[Ty::float([6, 3]), Ty::float([3]), Ty::FLOAT], |b, i, p| {
        let row = b.gather(p[0], i, 0);
        let e = b.un(Prim::Exp, p[1]);
        let s = b.un(Prim::Log1p, p[2]);
        let y = b.mul(row, e);
        let y = b.mul(y, s);
        vec![b.sum_all(y), e]
    });
    let (g, ops) = batched(&f);
    assert_eq!(ops, ["exp", "log1p", "broadcast", "mul", "mul", "reduce", "broadcast"]);
    let exp = g.body.stmts.iter().find(|s| matches!(s.op, Op::Prim(Prim::Exp, _))).expect("kept");
    assert_eq!(g.ty(exp.outs[0]).shape, [3]);
}

#[test]
fn one_factor_solves_for_all_lanes() {
    for transpose in [false, true] {
        let f = plate(5, &[Ty::float([3, 3]), Ty::float([5, 3, 2]), Ty::float([5, 3, 3]), Ty::float([3, 2])], |b, i, p| {
            let rhs = b.gather(p[1], i, 0);
            let l = b.gather(p[2], i, 0);
            let op = Linalg::Solve { transpose };
            vec![b.linalg(op, &[p[0], rhs]), b.linalg(op, &[l, rhs]), b.linalg(op, &[l, p[3]])]
        });
        let (g, _) = batched(&f);
        let first = g.body.stmts.iter().find(|s| matches!(s.op, Op::Linalg(..))).expect("solves");
        assert_eq!(g.ty(first.outs[0]).shape, [3, 10]);
    }
}

fn draw(b: &mut Builder<Det>, kind: RngKind, args: &[Atom], lanes: &[(Atom, usize)], shape: &[usize]) -> Atom {
    let r = DetRandom { kind, args: args.to_vec(), site: 9, lanes: lanes.to_vec(), times: vec![], shape: shape.to_vec() };
    b.emit1(Op::Random(r), "draw", Ty::new(kind.dtype(), shape))
}

#[test]
fn draws_of_a_lane_become_one_array() {
    let f = plate(5, &[Ty::float([5, 3]), Ty::float([3])], |b, i, p| {
        let row = b.gather(p[0], i, 0);
        let rate = b.un(Prim::Exp, row);
        let scalar = b.sum_all(rate);
        let own = [(i, 5)];
        let probs = b.un(Prim::Sigmoid, p[1]);
        vec![
            draw(b, RngKind::Normal, &[], &own, &[2]),
            draw(b, RngKind::Gamma, &[rate], &own, &[3]),
            draw(b, RngKind::Poisson, &[scalar], &own, &[2]),
            draw(b, RngKind::Binomial, &[Atom::int(4), scalar], &own, &[]),
            draw(b, RngKind::Categorical, &[rate], &own, &[]),
            draw(b, RngKind::Categorical, &[rate], &own, &[2]),
            draw(b, RngKind::Categorical, &[probs], &own, &[2]),
        ]
    });
    let ops = batched(&f).1;
    assert!(!ops.contains(&"scan".to_string()), "{ops:?}");
    assert_eq!(ops.iter().filter(|o| *o == "random").count(), 7);
}

#[test]
fn unrolled_lanes_cut_their_part_of_one_array() {
    let f = plate(5, &[Ty::float([5])], |b, i, p| {
        let rate = b.gather(p[0], i, 0);
        let rate = b.un(Prim::Exp, rate);
        let lanes = |k| [(i, 5), (Atom::int(k), 3), (Atom::int(1), 2)];
        vec![
            draw(b, RngKind::Normal, &[], &lanes(0), &[2]),
            draw(b, RngKind::Normal, &[], &lanes(2), &[2]),
            draw(b, RngKind::Gamma, &[rate], &lanes(2), &[]),
        ]
    });
    let (g, ops) = batched(&f);
    assert_eq!(ops.iter().filter(|o| *o == "scan").count(), 1, "{ops:?}");
    let draws: Vec<_> = g.body.stmts.iter().filter(|s| matches!(s.op, Op::Random(_))).map(|s| &s.op).collect();
    assert!(draws.len() == 2 && draws[0] == draws[1], "equal draws, which are merged later");
}

#[test]
fn coupled_draws_share_their_numbers() {
    let f = plate(5, &[Ty::float([5])], |b, i, p| {
        let rate = b.gather(p[0], i, 0);
        let rate = b.un(Prim::Exp, rate);
        vec![draw(b, RngKind::Gamma, &[rate], &[], &[]), draw(b, RngKind::Normal, &[], &[], &[])]
    });
    let (g, ops) = batched(&f);
    assert_eq!(ops, ["exp", "scan", "random", "broadcast"]);
    let normal = g.body.stmts.iter().find(|s| matches!(s.op, Op::Random(_))).expect("drawn");
    assert_eq!(g.ty(normal.outs[0]), &Ty::FLOAT, "one number for all lanes");
}

#[test]
fn nested_plates_in_any_order() {
    // An entry of a matrix by both indices, in both orders of nesting, is the matrix.
    for swap in [false, true] {
        let f = plate(4, &[Ty::float([4, 3]), Ty::float([3, 4])], |b, i, p| {
            let k = b.index_var("k");
            b.begin();
            let x = if swap {
                let column = b.gather(p[1], k.into(), 0);
                b.gather(column, i, 0)
            } else {
                let row = b.gather(p[0], i, 0);
                b.gather(row, k.into(), 0)
            };
            let z = draw(b, RngKind::Normal, &[], &[(i, 4), (k.into(), 3)], &[]);
            let y = b.mul(x, z);
            let block = b.end(vec![y]);
            vec![b.map(3, k, block)[0].into()]
        });
        let ops = batched(&f).1;
        let want: &[&str] = if swap { &["transpose", "random", "mul"] } else { &["random", "mul"] };
        let ops: Vec<&str> = ops.iter().map(String::as_str).filter(|o| *o != "broadcast").collect();
        assert_eq!(ops, want);
    }
}

#[test]
fn maps_of_no_and_one_lane() {
    for n in [0, 1] {
        let f = plate(n, &[Ty::float([n, 3]), Ty::float([3]), Ty::float([2, 2])], |b, i, p| {
            // A row of an array of no rows does not exist: there the lanes' number stands for data.
            let d = if n > 0 {
                let row = b.gather(p[0], i, 0);
                b.dot(row, p[1], &[], &[(0, 0)])
            } else {
                b.un(Prim::ToReal, i)
            };
            let c = b.prim(Prim::Gt, &[d, Atom::float(0.0)]);
            b.begin();
            let l = b.un(Prim::Exp, d);
            let then = b.end(vec![l, Atom::float(1.0)]);
            b.begin();
            let els = b.end(vec![d, d]);
            let y = b.if_(c, then, els);
            let z = draw(b, RngKind::Normal, &[], &[(i, n)], &[]);
            vec![y[0].into(), y[1].into(), z, p[2], Atom::int(3), i]
        });
        batched(&f);
    }
}

#[test]
fn branches_on_shared_conditions_stay_branches() {
    let f = plate(4, &[Ty::BOOL, Ty::float([4])], |b, i, p| {
        let x = b.gather(p[1], i, 0);
        b.begin();
        let e = b.un(Prim::Exp, x);
        let then = b.end(vec![e, Atom::float(2.0)]);
        b.begin();
        let els = b.end(vec![Atom::float(0.5), Atom::float(3.0)]);
        let y = b.if_(p[0], then, els);
        vec![y[0].into(), y[1].into()]
    });
    let (g, ops) = batched(&f);
    assert_eq!(ops, ["if", "broadcast"]);
    for c in [0.0, 1.0] {
        let mut args = random_args(&f);
        args[0] = Value::scalar(c);
        agrees(&f, &args);
    }
    assert_eq!(g.ty(g.body.stmts[1].outs[0]).shape, [4]);
}

#[test]
fn a_chain_in_a_plate_is_one_loop_over_arrays() {
    // Only the carry that depends on the lane is batched.
    let f = plate(4, &[Ty::float([4, 6]), Ty::float([6])], |b, i, p| {
        let row = b.gather(p[0], i, 0);
        let t = b.index_var("t");
        let (h, s) = (b.fresh("h", Ty::FLOAT), b.fresh("s", Ty::FLOAT));
        let (x, w) = (b.fresh("x", Ty::FLOAT), b.fresh("w", Ty::FLOAT));
        b.begin();
        let sum = b.add(s.into(), w.into());
        let next = b.mul(h.into(), Atom::float(0.5));
        let next = b.add(next, x.into());
        let y = b.mul(next, sum);
        let body = b.end(vec![next, sum, y, sum]);
        let zero = Atom::float(0.0);
        let scan =
            Scan { len: 6, index: t, carry: vec![(h, zero), (s, zero)], xs: vec![(x, row), (w, p[1])], body, reverse: false };
        b.scan(scan).into_iter().map(Atom::Var).collect()
    });
    let (g, _) = batched(&f);
    let scan = g.body.stmts.iter().find_map(|s| if let Op::Scan(s) = &s.op { Some(s) } else { None }).expect("a loop");
    let shapes: Vec<&[usize]> = scan.carry.iter().map(|(v, _)| &g.ty(*v).shape[..]).collect();
    assert_eq!(shapes, [&[4][..], &[]]);
}

#[test]
fn rows_read_at_a_loops_index_are_slices() {
    // In a plate of chains, with a row chosen by the lane inside the loop, and with the next row.
    let f = plate(4, &[Ty::float([4, 7]), Ty::float([7]), Ty::float([7])], |b, i, p| {
        let t = b.index_var("t");
        let h = b.fresh("h", Ty::FLOAT);
        b.begin();
        let row = b.gather(p[0], i, 0);
        let x = b.gather(row, t.into(), 0);
        let after = b.add(t.into(), Atom::int(1));
        let x_next = b.gather(row, after, 0);
        let c = b.prim(Prim::Gt, &[h.into(), Atom::float(0.0)]);
        b.begin();
        let w = b.gather(p[1], t.into(), 0);
        let again = b.gather(p[1], t.into(), 0);
        let y = b.add(w, again);
        let then = b.end(vec![y]);
        b.begin();
        let els = b.end(vec![x_next]);
        let y: Atom = b.if_(c, then, els)[0].into();
        let e = b.sum_all(p[2]);
        let y = b.mul(y, e);
        let next = b.mul(h.into(), x);
        let next = b.add(next, y);
        let next = b.un(Prim::Sin, next);
        let body = b.end(vec![next, next]);
        let scan = Scan { len: 6, index: t, carry: vec![(h, Atom::float(0.0))], xs: vec![], body, reverse: true };
        b.scan(scan).into_iter().map(Atom::Var).collect()
    });
    let (g, _) = batched(&f);
    assert_eq!(count(&g.body, &|op| matches!(op, Op::Gather { .. })), 0);
    let scan = g.body.stmts.iter().find_map(|s| if let Op::Scan(s) = &s.op { Some(s) } else { None }).expect("a loop");
    assert_eq!(scan.xs.len(), 3);
    assert_eq!(count(&scan.body, &|op| matches!(op, Op::Reduce { op: ReduceOp::Sum, .. })), 0, "runs once");
}

#[test]
fn calls_run_lane_by_lane() {
    let mut b = Builder::new("calls");
    let x: Atom = b.param("x", Ty::float([3])).into();
    let i = b.index_var("i");
    b.begin();
    let v = b.gather(x, i.into(), 0);
    let call = Op::Call { callee: ppl_core::DetId(0), args: vec![v, Atom::float(1.0)] };
    let y = b.emit1(call, "y", Ty::FLOAT);
    let block = b.end(vec![y]);
    let outs = b.map(3, i, block);
    let g = batch(b.finish(vec![outs[0].into()]));
    assert_eq!(shape_of(&g), ["scan"]);
    assert_eq!(g.result_tys(), [Ty::float([3])]);
}

#[test]
fn scans_with_known_carries_become_arrays() {
    // y[t] is given, so the values carried from round to round are its earlier elements; `reverse` counts down.
    for (reverse, n) in [("", 6), (" reverse", 6), ("", 1), (" reverse", 1), ("", 2), ("", 0)] {
        let text = format!(
            "det fn @ar(%y: float[{n}], %a: float) -> (float, float, float[{n}], float) {{
               %p.1, %q.1, %ws, %e = scan %t in {n}{reverse} carry (%p: float = 0.5, %q: float = %a, %s: float = 0.0) over (%x: float = %y) : float, float, float, float[{n}] {{
                 %m = mul %a, %p : float
                 %m2 = add %m, %q : float
                 %d = sub %x, %m2 : float
                 %w = square %d : float
                 %s2 = mul %s, 0.5 : float
                 %s3 = add %s2, %w : float
                 %x2 = mul %x, 2.0 : float
                 ret %x2, %p, %s3, %w
               }}
               ret %p.1, %q.1, %e, %ws
             }}"
        );
        let m = ppl_core::parse_module(&text, ppl_diag::FileId(0)).unwrap_or_else(|e| panic!("{e:?}"));
        let f = &m.dets[0];
        let mut s = Stream(3, 10);
        let args = [s.value(&[n], -1.0, 1.0), Value::scalar(0.7)];
        let g = agrees(f, &args);
        let carried = count(&g.body, &|op| matches!(op, Op::Scan(s) if s.carry.len() > 1));
        assert!(n == 0 || carried == 0, "only the running sum is left to carry:\n{}", ppl_core::print_func(&g, None));
    }
    // Nothing is carried: a plate.
    let text = "det fn @ar(%y: float[5], %a: float) -> (float[5]) {
       %p.1, %w.1 = scan %t in 5 carry (%p: float = 0.5) over (%x: float = %y) : float, float[5] {
         %m = mul %a, %p : float
         %d = sub %x, %m : float
         ret %x, %d
       }
       ret %w.1
     }";
    let m = ppl_core::parse_module(text, ppl_diag::FileId(0)).unwrap_or_else(|e| panic!("{e:?}"));
    let g = agrees(&m.dets[0], &[Stream(3, 10).value(&[5], -1.0, 1.0), Value::scalar(0.7)]);
    assert_eq!(count(&g.body, &|op| matches!(op, Op::Scan(_))), 0);
}
