//! Every operation at awkward sizes, against the interpreter.

mod common;

use common::{agree, tensor};
use ppl_core::{Atom, Builder, DType, Det, DetRandom, Linalg, Lower, Op, Prim, ReduceOp, RngKind, Scan, Ty};

const SIZES: [usize; 13] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 100];
/// Same instructions in both engines but for the order of sums.
const CLOSE: [f64; 2] = [1e-11, 2e-4];

/// Builds a function of parameters of these types and compares the engines on it.
fn check(name: &str, params: &[Ty], build: impl FnOnce(&mut Builder<Det>, &[Atom]) -> Vec<Atom>) {
    let mut b = Builder::<Det>::new(name);
    let atoms: Vec<Atom> = params.iter().enumerate().map(|(i, t)| b.param(format!("p{i}"), t.clone()).into()).collect();
    let results = build(&mut b, &atoms);
    let f = b.finish(results);
    let params = params.to_vec();
    agree(
        &f,
        &|p| {
            params
                .iter()
                .enumerate()
                .map(|(k, ty)| {
                    // Distinct, of both signs, inside (-1, 1); integers in -3..=5.
                    let raw = (0..ty.numel()).map(|i| ((i * 37 + k * 11 + 5) % 101) as f64);
                    let v: Vec<f64> = match ty.dtype {
                        DType::Float => raw.map(|x| x / 50.5 - 0.9).collect(),
                        DType::Int => raw.map(|x| (x as i64 % 9 - 3) as f64).collect(),
                        DType::Bool => raw.map(|x| (x as i64 % 2) as f64).collect(),
                    };
                    tensor(ty, &v, p)
                })
                .collect()
        },
        CLOSE,
    );
}

#[test]
fn inline_primitives_of_every_type_and_size() {
    for row in ppl_core::PRIMS.iter().flat_map(|t| t.iter()) {
        for dt in [DType::Float, DType::Int, DType::Bool] {
            let mut dtypes = vec![dt; row.prim.sig().params.len()];
            if matches!(row.prim, Prim::Select | Prim::Guard) {
                dtypes[0] = DType::Bool;
            }
            if row.prim.result_dtype(&dtypes).is_none() || !(matches!(row.lower, Lower::Inline) || dt == DType::Int) {
                continue;
            }
            for n in SIZES {
                let tys: Vec<Ty> = dtypes.iter().map(|d| Ty::new(*d, [n])).collect();
                check(row.name, &tys, |b, x| vec![b.prim(row.prim, x)]);
            }
            let scalars: Vec<Ty> = dtypes.iter().map(|d| Ty::new(*d, [])).collect();
            check(row.name, &scalars, |b, x| vec![b.prim(row.prim, x)]);
        }
    }
}

#[test]
fn kernel_primitives_on_scalars_arrays_and_mixtures() {
    for row in ppl_core::PRIMS.iter().flat_map(|t| t.iter()).filter(|r| matches!(r.lower, Lower::Kernel(_))) {
        let arity = row.prim.sig().params.len();
        for n in [0, 1, 5, 64] {
            check(row.name, &vec![Ty::float([n]); arity], |b, x| {
                let mut out = vec![b.prim(row.prim, x)];
                // Literals, splats and transposed operands beside an array.
                if arity > 1 {
                    let mut y = x.to_vec();
                    y[1] = Atom::float(0.5);
                    out.push(b.prim(row.prim, &y));
                    y[0] = b.full(Atom::float(0.25), &[n]);
                    out.push(b.prim(row.prim, &y));
                }
                out
            });
        }
        check(row.name, &vec![Ty::FLOAT; arity], |b, x| {
            let y = b.prim(row.prim, x);
            let mut z = x.to_vec();
            z.reverse();
            vec![y, b.prim(row.prim, &z)]
        });
    }
}

#[test]
fn division_by_zero_and_overflow_do_not_trap() {
    for (a, d) in [(7, 0), (-7, 2), (7, -2), (-7, -1), (i64::MIN, -1), (i64::MIN, 0), (0, 5), (-8, 4)] {
        check("int_div", &[Ty::INT], |b, x| {
            // Through a parameter, so that nothing is folded.
            let zero = b.sub(x[0], x[0]);
            let (a, d) = (b.add(zero, Atom::int(a)), b.add(zero, Atom::int(d)));
            let (q, r) = (b.prim(Prim::IntDiv, &[a, d]), b.prim(Prim::Rem, &[a, d]));
            let small = b.prim(Prim::Rem, &[q, Atom::int(1000)]);
            vec![small, r]
        });
    }
}

#[test]
fn not_a_number_goes_through_extrema() {
    check("nan", &[Ty::float([9]), Ty::float([9])], |b, x| {
        let zero = b.sub(x[0], x[0]);
        let c = b.prim(Prim::Gt, &[x[0], Atom::float(0.3)]);
        let nan = b.div(zero, zero);
        let y = b.select(c, nan, x[0]);
        let mut out = vec![b.prim(Prim::Max, &[y, x[1]]), b.prim(Prim::Max, &[x[1], y])];
        out.extend([b.prim(Prim::Min, &[y, x[1]]), b.un(Prim::Relu, y), b.un(Prim::Sign, y), b.un(Prim::IsNan, y)]);
        out.extend([b.reduce(ReduceOp::Max, y, &[0]), b.reduce(ReduceOp::Min, y, &[0]), b.argmax(y, 0)]);
        out.push(b.prim(Prim::Clip, &[y, Atom::float(-0.5), x[1]]));
        out
    });
}

#[test]
fn reductions_over_any_axes() {
    for n in SIZES {
        for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min] {
            check("reduce", &[Ty::float([n]), Ty::float([3, n]), Ty::float([n, 2])], |b, x| {
                let mut out = vec![b.reduce(op, x[0], &[0])];
                for a in [&[0][..], &[1], &[0, 1]] {
                    out.extend([b.reduce(op, x[1], a), b.reduce(op, x[2], a)]);
                }
                out
            });
        }
    }
    for axes in [&[0][..], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]] {
        let sizes = [2, 3, 9];
        check("reduce3", &[Ty::float(sizes), Ty::new(DType::Int, sizes), Ty::new(DType::Bool, sizes)], |b, x| {
            let y = b.un(Prim::Square, x[0]);
            let t = b.transpose(y, &[2, 0, 1]);
            vec![
                b.reduce(ReduceOp::Sum, y, axes),
                b.reduce(ReduceOp::Max, t, axes),
                b.reduce(ReduceOp::Sum, x[1], axes),
                b.reduce(ReduceOp::Min, x[1], axes),
                b.reduce(ReduceOp::All, x[2], axes),
                b.reduce(ReduceOp::Any, x[2], axes),
            ]
        });
    }
}

#[test]
fn broadcasts_in_loops() {
    for (m, n) in [(1, 1), (3, 1), (1, 5), (4, 8), (5, 9), (10, 64), (0, 3), (3, 0)] {
        check("broadcast", &[Ty::float([m]), Ty::float([n]), Ty::FLOAT, Ty::float([m, n])], |b, x| {
            let (r, c) = (b.broadcast(x[0], &[m, n], &[0]), b.broadcast(x[1], &[m, n], &[1]));
            let s = b.full(x[2], &[m, n]);
            let t = b.add(r, c);
            let t = b.mul(t, s);
            let t = b.mul(t, x[3]);
            let k = b.prim(Prim::Gt, &[t, Atom::float(0.0)]);
            let u = b.select(k, t, c);
            let e = b.un(Prim::Exp, c);
            vec![t, k, u, b.sum_all(u), b.reduce(ReduceOp::Sum, u, &[0]), b.reduce(ReduceOp::Sum, u, &[1]), e, r]
        });
    }
}

#[test]
fn contractions() {
    for n in [0, 1, 2, 4, 5, 9, 17] {
        check("dot", &[Ty::float([n]), Ty::float([n, 6]), Ty::float([7, n]), Ty::float([6, n])], |b, x| {
            let t = b.transpose(x[1], &[1, 0]);
            let wide = b.broadcast(x[0], &[3, n], &[1]);
            vec![
                b.dot(x[0], x[0], &[], &[(0, 0)]),
                b.dot(x[0], x[1], &[], &[(0, 0)]),
                b.dot(x[1], x[0], &[], &[(0, 0)]),
                b.dot(x[2], x[0], &[], &[(1, 0)]),
                b.dot(x[2], x[1], &[], &[(1, 0)]),
                b.dot(x[1], x[2], &[], &[(0, 1)]),
                b.dot(t, x[3], &[(0, 0)], &[(1, 1)]),
                b.dot(x[1], x[3], &[], &[(0, 1), (1, 0)]),
                b.dot(x[0], x[0], &[], &[]),
                b.dot(wide, x[1], &[], &[(1, 0)]),
                b.dot(x[0], x[1], &[(0, 0)], &[]),
            ]
        });
    }
    // Long vectors with matrices, either way round, with rows or columns that are contiguous, of even sizes and not.
    for (n, k) in [(200, 70), (513, 16), (64, 64), (257, 50), (16, 300), (1100, 33)] {
        check("vector", &[Ty::float([1, k]), Ty::float([n, k]), Ty::float([n]), Ty::float([k, n])], |b, x| {
            let column = b.transpose(x[0], &[1, 0]);
            vec![
                b.dot(x[0], x[1], &[], &[(1, 1)]),
                b.dot(x[1], x[0], &[], &[(1, 1)]),
                b.dot(x[1], column, &[], &[(1, 0)]),
                b.dot(x[2], x[1], &[], &[(0, 0)]),
                b.dot(x[1], x[2], &[], &[(0, 0)]),
                b.dot(x[0], x[3], &[], &[(1, 0)]),
                b.dot(x[3], x[0], &[], &[(0, 1)]),
                b.dot(x[3], x[2], &[], &[(1, 0)]),
            ]
        });
    }
    // Beyond what is done in place, with axes that do and do not merge.
    check("gemm", &[Ty::float([12, 3, 11]), Ty::float([13, 11, 3]), Ty::float([4, 11, 9]), Ty::float([4, 9, 10])], |b, x| {
        let r = b.reverse(x[3], 2);
        vec![
            b.dot(x[0], x[1], &[], &[(1, 2), (2, 1)]),
            b.dot(x[0], x[1], &[(1, 2)], &[(2, 1)]),
            b.dot(x[2], x[3], &[(0, 0)], &[(2, 1)]),
            b.dot(x[2], r, &[(0, 0)], &[(2, 1)]),
            b.dot(x[0], x[1], &[], &[(2, 1)]),
        ]
    });
}

#[test]
fn views_and_rearrangements() {
    for n in [1, 2, 5, 8, 9] {
        check("views", &[Ty::float([n, 6]), Ty::new(DType::Bool, [n, 6]), Ty::new(DType::Int, [n, 6])], |b, x| {
            let mut out = Vec::new();
            for v in x {
                let t = b.transpose(*v, &[1, 0]);
                let s = b.slice(*v, 1, 2, 3);
                let r = b.reverse(*v, 1);
                let flat = b.reshape(t, &[6 * n]);
                let p = b.pad(s, 1, 1, 2);
                let c = b.concat(&[s, r, s], 1);
                let back = b.reshape(c, &[n * 12]);
                let cat = b.concat(&[*v, r], 0);
                out.extend([t, s, r, flat, p, c, back, cat]);
            }
            let rev = b.reverse(x[0], 0);
            let e = b.un(Prim::Exp, rev);
            let one = b.reshape(x[0], &[n, 1, 6]);
            let parts = [b.sum_all(x[0]), Atom::float(2.0)];
            let st = b.stack(&parts);
            let back = b.slice(st, 0, 1, 1);
            let back = b.reshape(back, &[]);
            out.extend([e, one, st, back]);
            out
        });
    }
}

#[test]
fn running_sums_and_argmax() {
    for n in SIZES {
        check("cumsum", &[Ty::float([n]), Ty::float([2, n, 3]), Ty::new(DType::Int, [2, n])], |b, x| {
            let mut out = Vec::new();
            for reverse in [false, true] {
                out.extend([b.cumsum(x[0], 0, reverse), b.cumsum(x[2], 1, reverse)]);
                out.extend((0..3).map(|a| b.cumsum(x[1], a, reverse)));
            }
            let ones = b.full(Atom::float(1.0), &[n]);
            out.push(b.cumsum(ones, 0, false));
            if n > 0 {
                out.extend([b.argmax(x[0], 0), b.argmax(x[2], 1)]);
                out.extend((0..3).map(|a| b.argmax(x[1], a)));
            }
            out
        });
    }
}

#[test]
fn gathers_and_scatters_clamp() {
    let int = |s: &[usize]| Ty::new(DType::Int, s);
    check("gather", &[Ty::float([5]), Ty::float([3, 4, 2]), int(&[7]), int(&[3, 2]), Ty::INT, int(&[3])], |b, x| {
        let r = b.gather(x[1], x[4], 0);
        let e = b.un(Prim::Exp, r);
        vec![
            b.gather(x[0], x[2], 0),
            b.gather(x[0], x[4], 0),
            b.gather(x[1], x[2], 0),
            b.gather(x[1], x[3], 1),
            b.gather(x[1], x[5], 1),
            e,
            b.gather(x[0], Atom::int(99), 0),
        ]
    });
    check("scatter", &[Ty::float([7]), Ty::float([3, 2, 9]), int(&[7]), int(&[3, 2]), int(&[3]), Ty::float([3])], |b, x| {
        let ones = b.full(Atom::float(1.0), &[7]);
        vec![
            b.scatter_add(x[2], x[0], 0, 4),
            b.scatter_add(x[2], ones, 0, 4),
            b.scatter_add(x[3], x[1], 1, 5),
            b.scatter_add(x[4], x[5], 1, 2),
            b.scatter_add(Atom::int(2), x[5], 0, 4),
        ]
    });
}

#[test]
fn matrix_factors() {
    for n in [1, 2, 5] {
        check("linalg", &[Ty::float([2, n, n]), Ty::float([2, n, 3])], |b, x| {
            let s = b.dot(x[0], x[0], &[(0, 0)], &[(2, 2)]);
            let i = b.iota(n);
            let (r, c) = (b.broadcast(i, &[2, n, n], &[1]), b.broadcast(i, &[2, n, n], &[2]));
            let diagonal = b.prim(Prim::Eq, &[r, c]);
            let d = b.select(diagonal, Atom::float(4.0), Atom::float(0.0));
            let a = b.add(s, d);
            let l = b.linalg(Linalg::Cholesky, &[a]);
            vec![
                l,
                b.linalg(Linalg::Solve { transpose: false }, &[l, x[1]]),
                b.linalg(Linalg::Solve { transpose: true }, &[l, x[1]]),
            ]
        });
    }
}

#[test]
fn draws() {
    let draw = |b: &mut Builder<Det>, kind: RngKind, args: Vec<Atom>, site: u64, shape: &[usize]| {
        let r = DetRandom { kind, args, site, lanes: vec![], times: vec![], shape: shape.to_vec() };
        b.emit1(Op::Random(r), "draw", Ty::new(kind.dtype(), shape))
    };
    check("draws", &[Ty::float([5]), Ty::FLOAT, Ty::float([5, 3]), Ty::float([3])], |b, x| {
        let p = b.un(Prim::Sigmoid, x[0]);
        let q = b.un(Prim::Exp, x[1]);
        let (rows, row) = (b.un(Prim::Exp, x[2]), b.un(Prim::Exp, x[3]));
        let shared = b.broadcast(row, &[5, 3], &[1]);
        let five = b.full(Atom::int(5), &[5]);
        let constant = b.full(Atom::float(0.25), &[4]);
        vec![
            draw(b, RngKind::Normal, vec![], 1, &[5]),
            draw(b, RngKind::Normal, vec![], 1, &[]),
            draw(b, RngKind::Uniform, vec![], 2, &[3, 5]),
            draw(b, RngKind::Uniform, vec![], 2, &[0]),
            draw(b, RngKind::Gamma, vec![p], 3, &[5]),
            draw(b, RngKind::Gamma, vec![q], 3, &[5]),
            draw(b, RngKind::Gamma, vec![q], 3, &[]),
            draw(b, RngKind::Poisson, vec![p], 4, &[5]),
            draw(b, RngKind::Binomial, vec![five, p], 5, &[5]),
            draw(b, RngKind::Binomial, vec![Atom::int(9), Atom::float(0.5)], 5, &[]),
            draw(b, RngKind::Categorical, vec![rows], 6, &[5]),
            draw(b, RngKind::Categorical, vec![shared], 6, &[5]),
            draw(b, RngKind::Categorical, vec![row], 6, &[]),
            draw(b, RngKind::Categorical, vec![row], 6, &[5]),
            draw(b, RngKind::Categorical, vec![constant], 6, &[50]),
            draw(b, RngKind::Categorical, vec![constant], 6, &[]),
        ]
    });
}

#[test]
fn loops_carry_scalars_and_arrays() {
    for len in [0, 1, 2, 3, 7] {
        for reverse in [false, true] {
            check("scan", &[Ty::FLOAT, Ty::float([5]), Ty::float([len, 5]), Ty::float([len])], |b, x| {
                let i = b.index_var("i");
                let (c, a) = (b.fresh("c", Ty::FLOAT), b.fresh("a", Ty::float([5])));
                let (u, k) = (b.fresh("u", Ty::float([5])), b.fresh("k", Ty::float([5])));
                let (row, e) = (b.fresh("row", Ty::float([5])), b.fresh("e", Ty::FLOAT));
                b.begin();
                let s = b.sum_all(row.into());
                let c1 = b.mul(c.into(), Atom::float(0.5));
                let c1 = b.add(c1, s);
                let c1 = b.add(c1, e.into());
                let a1 = b.add(a.into(), row.into());
                let a1 = b.mul(a1, c.into());
                // Carries that trade places, and one that never changes.
                let real = b.un(Prim::ToReal, i.into());
                let y = b.mul(a1, real);
                let r = DetRandom {
                    kind: RngKind::Normal,
                    args: vec![],
                    site: 9,
                    lanes: vec![],
                    times: vec![(i.into(), len)],
                    shape: vec![2],
                };
                let noise = b.emit1(Op::Random(r), "noise", Ty::float([2]));
                let body = b.end(vec![c1, u.into(), a1, k.into(), y, c1, noise]);
                let scan = Scan {
                    len,
                    index: i,
                    carry: vec![(c, x[0]), (a, x[1]), (u, x[1]), (k, x[1])],
                    xs: vec![(row, x[2]), (e, x[3])],
                    body,
                    reverse,
                };
                b.scan(scan).into_iter().map(Atom::Var).collect()
            });
        }
    }
}

#[test]
fn branches_run_one_side() {
    for flag in [-0.5, 0.5] {
        check("if", &[Ty::float([3]), Ty::float([9])], |b, x| {
            let s = b.sum_all(x[0]);
            let s = b.sub(s, s);
            let s = b.add(s, Atom::float(flag));
            let c = b.prim(Prim::Gt, &[s, Atom::float(0.0)]);
            b.begin();
            let y = b.un(Prim::Exp, x[1]);
            let t = b.sum_all(y);
            let then = b.end(vec![t, y, x[1]]);
            b.begin();
            let z = b.neg(x[1]);
            let els = b.end(vec![Atom::float(2.0), x[1], z]);
            let mut out: Vec<Atom> = b.if_(c, then, els).into_iter().map(Atom::Var).collect();
            let twice = b.mul(out[1], Atom::float(2.0));
            out.push(twice);
            out
        });
    }
}

#[test]
fn results_that_are_parameters_literals_or_repeated() {
    check("results", &[Ty::float([9]), Ty::FLOAT], |b, x| {
        let y = b.mul(x[0], x[1]);
        let t = b.reshape(y, &[3, 3]);
        let f = b.full(x[1], &[4]);
        vec![x[0], x[1], y, y, t, Atom::float(1.5), Atom::int(3), Atom::bool(true), f]
    });
}

#[test]
fn results_take_over_what_is_read_last() {
    // Arrays that end with a group: with kernels before and after, in sums, with tails of vectors, and read once more.
    for n in [3, 7, 64, 1000, 5003] {
        let ty = Ty::float([n]);
        check("take over", &[ty.clone(), ty.clone()], |b, x| {
            // A running sum stands in memory; its last reader is a group that stores.
            let read = |b: &mut Builder<Det>, x: Atom| b.cumsum(x, 0, false);
            let p = read(b, x[0]);
            let scaled = b.mul(p, Atom::float(1e-3));
            let q = read(b, scaled);
            let e = b.prim(Prim::Sigmoid, &[q]);
            let t = b.add(e, q);
            let u = b.mul(t, x[1]);
            let r = read(b, u);
            let l = b.prim(Prim::Softplus, &[r]);
            let late = b.prim(Prim::Exp, &[l]);
            let v = b.sub(late, r);
            let s = b.sum_all(v);
            let w = read(b, v);
            let both = b.add(w, v);
            vec![both, s, w]
        });
    }
}

/// Rows of ints that are given as single bytes, and where the code needs more than rows.
#[test]
fn bytes_stand_for_ints_where_rows_are_taken() {
    use ppl_codegen::{Options, Runner, compile};
    use std::sync::Arc;
    let values: Vec<i64> = (0..12).map(|i| (i * 23 + 7) % 256).collect();
    for rows_only in [true, false] {
        let mut b = Builder::<Det>::new("bytes");
        let x = Atom::Var(b.param("x", Ty::new(DType::Int, [4, 3])));
        let i = Atom::Var(b.param("i", Ty::new(DType::Int, [2])));
        let rows = b.gather(x, i, 0);
        let real = b.un(Prim::ToReal, rows);
        let mut results = vec![real];
        if !rows_only {
            let sum = b.sum_all(x);
            results.push(sum);
        }
        let f = b.finish(results);
        let options = Options { bytes: vec![0, 1], ..Options::new(ppl_abi::Precision::F32, ppl_tensor::address) };
        let mut r = Runner::new(Arc::new(compile(&f, &options).expect("code")));
        assert_eq!(r.code().params()[0].bytes, if rows_only { 12 } else { 96 });
        r.set_ints(0, &values).expect("ints");
        r.set_ints(1, &[3, 1]).expect("indices");
        r.run(0, 0);
        let wanted: Vec<f64> = [9, 10, 11, 3, 4, 5].map(|k: usize| values[k] as f64).to_vec();
        assert_eq!(r.output_values(0), wanted);
        assert_eq!(r.input_values(0), values.iter().map(|v| *v as f64).collect::<Vec<_>>());
        assert_eq!(r.set_ints(0, &[256; 12]).is_err(), rows_only);
        if !rows_only {
            assert_eq!(r.output_values(1), [values.iter().sum::<i64>() as f64]);
        }
    }
}
