//! Adjoints at kinks, poles and corners, where comparing with finite differences says nothing.

use super::*;
use crate::{Func, Lit, Op, Ty};
use std::collections::HashMap;

/// The cotangents of `prim`'s operands at the point `x` for the cotangent 1, computed by the row's rule.
fn slopes(prim: Prim, x: &[f64]) -> Vec<f64> {
    let Vjp::Rule(rule) = prim.def().vjp else { panic!("{} has no rule", prim.name()) };
    let mut b: Builder<Det> = Builder::new(prim.name());
    let bools = prim.sig().params.iter().map(|p| p.elem == Elem::Bool);
    let args: Vec<Atom> = bools.map(|t| b.param("x", if t { Ty::BOOL } else { Ty::FLOAT }).into()).collect();
    let y = b.prim(prim, &args);
    let ct = b.param("ct", Ty::FLOAT).into();
    let out = rule(&mut b, &args, y, ct);
    let f = b.finish(out.into_iter().flatten().collect());
    run(&f, x.iter().copied().chain([1.0]))
}

/// Runs a scalar function; truth values are 0 and 1.
fn run(f: &Func<Det>, args: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut env: HashMap<_, f64> = f.params.iter().copied().zip(args).collect();
    let value = |env: &HashMap<_, f64>, a: &Atom| match a {
        Atom::Var(v) => env[v],
        Atom::Lit(Lit::Float(v)) => *v,
        Atom::Lit(l) => panic!("{l} in a real function"),
    };
    for stmt in &f.body.stmts {
        let Op::Prim(p, args) = &stmt.op else { panic!("not elementwise") };
        let x: Vec<f64> = args.iter().map(|a| value(&env, a)).collect();
        let y = match p {
            Prim::Neg => -x[0],
            Prim::Abs => x[0].abs(),
            Prim::Sign => f64::from(x[0] > 0.0) - f64::from(x[0] < 0.0),
            Prim::Add => x[0] + x[1],
            Prim::Sub => x[0] - x[1],
            Prim::Mul => x[0] * x[1],
            Prim::Div => x[0] / x[1],
            Prim::Pow => x[0].powf(x[1]),
            Prim::Log => x[0].ln(),
            Prim::Log1p => x[0].ln_1p(),
            Prim::Sigmoid => 1.0 / (1.0 + (-x[0]).exp()),
            // The rules under test do not read the results of these.
            Prim::XLogY | Prim::XLog1pY | Prim::LogAddExp | Prim::Clip => f64::NAN,
            Prim::Min => x[0].min(x[1]),
            Prim::Max | Prim::Relu => x[0].max(x.get(1).copied().unwrap_or(0.0)),
            Prim::Lt => f64::from(x[0] < x[1]),
            Prim::Gt => f64::from(x[0] > x[1]),
            Prim::Eq => f64::from(x[0] == x[1]),
            Prim::And => x[0] * x[1],
            Prim::IsNan => f64::from(x[0].is_nan()),
            Prim::Select => x[if x[0] == 1.0 { 1 } else { 2 }],
            Prim::Guard => x[1],
            _ => panic!("`{}` is not needed by these rules", p.name()),
        };
        env.insert(stmt.outs[0], y);
    }
    f.body.results.iter().map(|a| value(&env, a)).collect()
}

#[test]
fn kinks_have_the_documented_slope() {
    assert_eq!(slopes(Prim::Abs, &[0.0]), [0.0]);
    assert_eq!(slopes(Prim::Abs, &[-2.0]), [-1.0]);
    assert_eq!(slopes(Prim::Relu, &[0.0]), [0.0]);
    assert_eq!(slopes(Prim::Relu, &[3.0]), [1.0]);
    assert_eq!(slopes(Prim::Max, &[1.0, 1.0]), [0.5, 0.5]);
    assert_eq!(slopes(Prim::Max, &[1.0, 2.0]), [0.0, 1.0]);
    assert_eq!(slopes(Prim::Min, &[1.0, 1.0]), [0.5, 0.5]);
    assert_eq!(slopes(Prim::Min, &[1.0, 2.0]), [1.0, 0.0]);
    assert_eq!(slopes(Prim::Clip, &[0.5, 0.0, 1.0]), [1.0, 0.0, 0.0]);
    assert_eq!(slopes(Prim::Clip, &[-1.0, 0.0, 1.0]), [0.0, 1.0, 0.0]);
    assert_eq!(slopes(Prim::Clip, &[2.0, 0.0, 1.0]), [0.0, 0.0, 1.0]);
    assert_eq!(slopes(Prim::Clip, &[0.0, 0.0, 1.0]), [0.5, 0.5, 0.0]);
}

#[test]
fn powers_of_zero_are_finite() {
    assert_eq!(slopes(Prim::Pow, &[0.0, 1.0]), [1.0, 0.0]);
    assert_eq!(slopes(Prim::Pow, &[0.0, 2.0]), [0.0, 0.0]);
    assert_eq!(slopes(Prim::Pow, &[0.0, 0.0]), [0.0, 0.0]);
    assert_eq!(slopes(Prim::Pow, &[0.0, -1.0])[1], 0.0);
    assert_eq!(slopes(Prim::Pow, &[-3.0, 2.0])[0], -6.0);
}

#[test]
fn literal_exponents_need_no_logarithm() {
    for (p, slope) in [(0.0, None), (1.0, Some(1.0)), (2.0, Some(-6.0)), (3.0, Some(27.0))] {
        let mut b: Builder<Det> = Builder::new("f");
        let (x, ct) = (b.param("x", Ty::FLOAT).into(), b.param("ct", Ty::FLOAT).into());
        let Vjp::Rule(rule) = Prim::Pow.def().vjp else { panic!("a rule") };
        let out = rule(&mut b, &[x, Atom::float(p)], Atom::float(f64::NAN), ct);
        assert_eq!(out[1], None);
        let f = b.finish(out.into_iter().flatten().collect());
        assert_eq!(run(&f, [-3.0, 1.0].into_iter()).first().copied(), slope, "p = {p}");
    }
}

#[test]
fn corners_of_x_log_y_are_zero() {
    assert_eq!(slopes(Prim::XLogY, &[0.0, 0.0]), [0.0, 0.0]);
    assert_eq!(slopes(Prim::XLogY, &[0.0, 1.0]), [0.0, 0.0]);
    assert_eq!(slopes(Prim::XLogY, &[2.0, 0.5])[1], 4.0);
    assert_eq!(slopes(Prim::XLogY, &[0.0, 2.0]), [std::f64::consts::LN_2, 0.0]);
    assert_eq!(slopes(Prim::XLog1pY, &[0.0, -1.0]), [0.0, 0.0]);
    assert_eq!(slopes(Prim::XLog1pY, &[2.0, -0.5])[1], 4.0);
}

#[test]
fn infinities_of_log_add_exp_share_or_win() {
    let inf = f64::INFINITY;
    assert_eq!(slopes(Prim::LogAddExp, &[-inf, -inf]), [0.5, 0.5]);
    assert_eq!(slopes(Prim::LogAddExp, &[inf, inf]), [0.5, 0.5]);
    assert_eq!(slopes(Prim::LogAddExp, &[-inf, 3.0]), [0.0, 1.0]);
    assert_eq!(slopes(Prim::LogAddExp, &[2.0, 2.0]), [0.5, 0.5]);
}

#[test]
fn untaken_sides_get_exact_zeros() {
    assert_eq!(slopes(Prim::Select, &[1.0, f64::NAN, f64::NAN]), [1.0, 0.0]);
    assert_eq!(slopes(Prim::Select, &[0.0, f64::NAN, f64::NAN]), [0.0, 1.0]);
    assert_eq!(slopes(Prim::Guard, &[0.0, f64::NAN]), [0.0]);
    assert_eq!(slopes(Prim::Guard, &[1.0, 2.0]), [1.0]);
}
