//! Special functions of statistics.

use super::{
    Lower::Kernel as K,
    Prim, PrimDef,
    Vjp::{None as NoVjp, Rule},
};
use crate::{Atom, Builder, Det};
use ppl_abi::Kernel;
use std::f64::consts::{FRAC_2_SQRT_PI, PI};

/// `log(sqrt(2 pi))`.
const LOG_SQRT_2PI: f64 = 0.918_938_533_204_672_8;
/// `sqrt(2 pi)`.
const SQRT_2PI: f64 = 2.506_628_274_631_000_5;

pub(super) const ROWS: &[PrimDef] = &[
    PrimDef {
        prim: Prim::Erf,
        name: "erf",
        sig: "(x: real) -> real",
        doc: "Error function.",
        example: ("erf(1.0)", "0.8427007929497149"),
        vjp: Rule(|b, x, _, ct| {
            let d = gauss(b, FRAC_2_SQRT_PI, -1.0, x[0]);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::Erf),
        callable: true,
    },
    PrimDef {
        prim: Prim::Erfc,
        name: "erfc",
        sig: "(x: real) -> real",
        doc: "`1 - erf(x)`, accurate in the right tail.",
        example: ("erfc(3.0)", "2.209049699858544e-5"),
        vjp: Rule(|b, x, _, ct| {
            let d = gauss(b, -FRAC_2_SQRT_PI, -1.0, x[0]);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::Erfc),
        callable: true,
    },
    PrimDef {
        prim: Prim::ErfInv,
        name: "erf_inv",
        sig: "(p: interval(-1, 1)) -> real",
        doc: "Inverse of the error function; infinite at -1 and 1, NaN outside.",
        example: ("erf_inv(0.5)", "0.4769362762044699"),
        vjp: Rule(|b, _, y, ct| {
            let d = gauss(b, 0.5 * PI * FRAC_2_SQRT_PI / 2.0, 1.0, y);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::ErfInv),
        callable: true,
    },
    PrimDef {
        prim: Prim::Lgamma,
        name: "lgamma",
        sig: "(x: positive) -> real",
        doc: "Natural logarithm of the absolute value of the gamma function.",
        example: ("lgamma(4.0)", "1.791759469228055"),
        vjp: Rule(|b, x, _, ct| {
            let d = b.un(Prim::Digamma, x[0]);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::Lgamma),
        callable: true,
    },
    PrimDef {
        prim: Prim::Digamma,
        name: "digamma",
        sig: "(x: positive) -> real",
        doc: "The derivative of `lgamma`.",
        example: ("digamma(1.0)", "-0.5772156649015329"),
        vjp: Rule(|b, x, _, ct| {
            let d = b.un(Prim::Trigamma, x[0]);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::Digamma),
        callable: true,
    },
    PrimDef {
        prim: Prim::Trigamma,
        name: "trigamma",
        sig: "(x: positive) -> real",
        doc: "The derivative of `digamma`. Its own derivative is not available.",
        example: ("trigamma(1.0)", "1.6449340668482264"),
        vjp: NoVjp("the derivative of `trigamma` is not implemented: `lgamma` can be differentiated twice, no further"),
        lower: K(Kernel::Trigamma),
        callable: true,
    },
    PrimDef {
        prim: Prim::NormalCdf,
        name: "normal_cdf",
        sig: "(x: real) -> real",
        doc: "Distribution function of the standard normal, accurate in the left tail.",
        example: ("normal_cdf(1.0)", "0.8413447460685429"),
        vjp: Rule(|b, x, _, ct| {
            let d = gauss(b, 1.0 / SQRT_2PI, -0.5, x[0]);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::NormalCdf),
        callable: true,
    },
    PrimDef {
        prim: Prim::LogNormalCdf,
        name: "log_normal_cdf",
        sig: "(x: real) -> real",
        doc: "Logarithm of `normal_cdf`, accurate in the left tail.",
        example: ("log_normal_cdf(-10.0)", "-53.23128515051247"),
        vjp: Rule(|b, x, y, ct| {
            let s = b.un(Prim::Square, x[0]);
            let h = b.mul(Atom::float(-0.5), s);
            let h = b.sub(h, Atom::float(LOG_SQRT_2PI));
            let l = b.sub(h, y);
            let d = b.un(Prim::Exp, l);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::LogNormalCdf),
        callable: true,
    },
    PrimDef {
        prim: Prim::NormalQuantile,
        name: "normal_quantile",
        sig: "(p: unit) -> real",
        doc: "Inverse of `normal_cdf`; infinite at 0 and 1, NaN outside.",
        example: ("normal_quantile(0.975)", "1.9599639845400538"),
        vjp: Rule(|b, _, y, ct| {
            let d = gauss(b, SQRT_2PI, 0.5, y);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::NormalQuantile),
        callable: true,
    },
    PrimDef {
        prim: Prim::Lbeta,
        name: "lbeta",
        sig: "(a: positive, b: positive) -> real",
        doc: "Logarithm of the beta function, `lgamma(a) + lgamma(b) - lgamma(a + b)` without cancellation.",
        example: ("lbeta(2.0, 3.0)", "-2.4849066497880004"),
        vjp: Rule(|b, x, _, ct| {
            let s = b.add(x[0], x[1]);
            let ds = b.un(Prim::Digamma, s);
            let slope = |b: &mut Builder<Det>, x: Atom| {
                let d = b.un(Prim::Digamma, x);
                let d = b.sub(d, ds);
                Some(b.mul(ct, d))
            };
            vec![slope(b, x[0]), slope(b, x[1])]
        }),
        lower: K(Kernel::Lbeta),
        callable: true,
    },
    PrimDef {
        prim: Prim::GammaP,
        name: "gamma_p",
        sig: "(a: positive, x: positive) -> real",
        doc: "Regularised lower incomplete gamma function: the distribution function at `x` of a gamma with shape `a` and rate 1.",
        example: ("gamma_p(2.0, 3.0)", "0.8008517265285442"),
        vjp: Rule(|b, x, _, ct| gamma_slopes(b, x, ct)),
        lower: K(Kernel::GammaP),
        callable: true,
    },
    PrimDef {
        prim: Prim::GammaQ,
        name: "gamma_q",
        sig: "(a: positive, x: positive) -> real",
        doc: "`1 - gamma_p(a, x)`, accurate in the right tail.",
        example: ("gamma_q(2.0, 3.0)", "0.19914827347145578"),
        vjp: Rule(|b, x, _, ct| {
            let n = b.neg(ct);
            gamma_slopes(b, x, n)
        }),
        lower: K(Kernel::GammaQ),
        callable: true,
    },
    PrimDef {
        prim: Prim::BetaInc,
        name: "beta_inc",
        sig: "(a: positive, b: positive, x: unit) -> real",
        doc: "Regularised incomplete beta function: the distribution function at `x` of a beta with pseudo-counts `a` and `b`. \
              Its derivatives with respect to `a` and `b` can't be differentiated again.",
        example: ("beta_inc(2.0, 3.0, 0.5)", "0.6875"),
        vjp: Rule(|b, x, _, ct| {
            let one = Atom::float(1.0);
            let (a1, b1) = (b.sub(x[0], one), b.sub(x[1], one));
            let left = b.prim(Prim::XLogY, &[a1, x[2]]);
            let minus = b.neg(x[2]);
            let right = b.prim(Prim::XLog1pY, &[b1, minus]);
            let l = b.add(left, right);
            let norm = b.prim(Prim::Lbeta, &[x[0], x[1]]);
            let l = b.sub(l, norm);
            let density = b.un(Prim::Exp, l);
            let dx = b.mul(ct, density);
            // The density times how the quantile moves, with the sign reversed; `b` is the `a` of 1 - x.
            let moves = b.prim(Prim::BetaDrawGrad, &[x[0], x[1], x[2]]);
            let rest = b.sub(one, x[2]);
            let mirrored = b.prim(Prim::BetaDrawGrad, &[x[1], x[0], rest]);
            let da = b.mul(dx, moves);
            let db = b.mul(dx, mirrored);
            vec![Some(b.neg(da)), Some(db), Some(dx)]
        }),
        lower: K(Kernel::BetaInc),
        callable: true,
    },
    PrimDef {
        prim: Prim::XLogY,
        name: "xlogy",
        sig: "(x: real, y: positive) -> real",
        doc: "`x * log(y)`, and 0 where `x` is 0 (unless `y` is NaN). Derivatives where both are 0 are 0.",
        example: ("xlogy(2.0, 3.0)", "2.1972245773362196"),
        vjp: Rule(|b, x, _, ct| {
            let y = off_corner(b, x[0], x[1], 0.0, 1.0);
            let l = b.un(Prim::Log, y);
            let q = b.div(x[0], y);
            vec![Some(b.mul(ct, l)), Some(b.mul(ct, q))]
        }),
        lower: K(Kernel::Xlogy),
        callable: true,
    },
    PrimDef {
        prim: Prim::XLog1pY,
        name: "xlog1py",
        sig: "(x: real, y: interval(-1, inf)) -> real",
        doc: "`x * log1p(y)`, and 0 where `x` is 0 (unless `y` is NaN). Derivatives where `x` is 0 and `y` is -1 are 0.",
        example: ("xlog1py(2.0, -0.5)", "-1.3862943611198906"),
        vjp: Rule(|b, x, _, ct| {
            let y = off_corner(b, x[0], x[1], -1.0, 0.0);
            let l = b.un(Prim::Log1p, y);
            let y1 = b.add(Atom::float(1.0), y);
            let q = b.div(x[0], y1);
            vec![Some(b.mul(ct, l)), Some(b.mul(ct, q))]
        }),
        lower: K(Kernel::Xlog1py),
        callable: true,
    },
    PrimDef {
        prim: Prim::GammaDrawGrad,
        name: "gamma_draw_grad",
        sig: "(a: positive, x: positive) -> real",
        doc: "How a standard gamma draw `x` moves with its shape `a`: the derivative of `x` by `a` at constant `gamma_p(a, x)`. \
              The pathwise derivative of `random_gamma`.",
        example: ("gamma_draw_grad(2.0, 3.0)", "1.321798518177963"),
        vjp: NoVjp("second derivatives through a gamma draw, or of `gamma_p` with respect to its shape, are not implemented"),
        lower: K(Kernel::GammaDrawGrad),
        callable: true,
    },
    PrimDef {
        prim: Prim::BetaDrawGrad,
        name: "beta_draw_grad",
        sig: "(a: positive, b: positive, x: unit) -> real",
        doc: "How a beta draw `x` moves with its first pseudo-count `a`: the derivative of `x` by `a` at constant `beta_inc(a, b, x)`.",
        example: ("beta_draw_grad(2.0, 3.0, 0.5)", "0.1301924577566416"),
        vjp: NoVjp("second derivatives of `beta_inc` with respect to its pseudo-counts are not implemented"),
        lower: K(Kernel::BetaDrawGrad),
        callable: true,
    },
    PrimDef {
        prim: Prim::LogBesselI0,
        name: "log_bessel_i0",
        sig: "(x: real) -> real",
        doc: "Logarithm of the modified Bessel function of order 0.",
        example: ("log_bessel_i0(2.0)", "0.8239935414829563"),
        vjp: Rule(|b, x, _, ct| {
            let d = b.un(Prim::BesselRatio, x[0]);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::LogBesselI0),
        callable: true,
    },
    PrimDef {
        prim: Prim::BesselRatio,
        name: "bessel_ratio",
        sig: "(x: real) -> real",
        doc: "The derivative of `log_bessel_i0`: the quotient of the modified Bessel functions of orders 1 and 0.",
        example: ("bessel_ratio(2.0)", "0.697774657964008"),
        vjp: Rule(|b, x, y, ct| {
            // 1 - y / x - y^2, and 1/2 at 0.
            let zero = b.prim(Prim::Eq, &[x[0], Atom::float(0.0)]);
            let safe = b.select(zero, Atom::float(1.0), x[0]);
            let q = b.div(y, safe);
            let q = b.select(zero, Atom::float(0.5), q);
            let s = b.un(Prim::Square, y);
            let d = b.sub(Atom::float(1.0), q);
            let d = b.sub(d, s);
            vec![Some(b.mul(ct, d))]
        }),
        lower: K(Kernel::BesselRatio),
        callable: true,
    },
    PrimDef {
        prim: Prim::VonMisesCdf,
        name: "von_mises_cdf",
        sig: "(x: real, kappa: positive) -> real",
        doc: "Distribution function of the von Mises distribution of mean 0 and concentration `kappa`: 0 at the angle -pi, 1 at pi, and by 1 more in each turn.",
        example: ("von_mises_cdf(0.5, 2.0)", "0.7381922144185262"),
        vjp: Rule(|b, x, _, ct| {
            let density = von_mises_density(b, x[0], x[1]);
            let dx = b.mul(ct, density);
            let moves = b.prim(Prim::VonMisesDrawGrad, &[x[0], x[1]]);
            let dk = b.mul(dx, moves);
            vec![Some(dx), Some(b.neg(dk))]
        }),
        lower: K(Kernel::VonMisesCdf),
        callable: true,
    },
    PrimDef {
        prim: Prim::VonMisesQuantile,
        name: "von_mises_quantile",
        sig: "(p: unit, kappa: positive) -> real",
        doc: "Inverse of `von_mises_cdf`, an angle between -pi and pi; NaN outside of [0, 1].",
        example: ("von_mises_quantile(0.75, 2.0)", "0.5296631836806698"),
        vjp: Rule(|b, x, y, ct| {
            let density = von_mises_density(b, y, x[1]);
            let moves = b.prim(Prim::VonMisesDrawGrad, &[y, x[1]]);
            vec![Some(b.div(ct, density)), Some(b.mul(ct, moves))]
        }),
        lower: K(Kernel::VonMisesQuantile),
        callable: true,
    },
    PrimDef {
        prim: Prim::VonMisesDrawGrad,
        name: "von_mises_draw_grad",
        sig: "(x: real, kappa: positive) -> real",
        doc: "How a von Mises angle `x` moves with its concentration: the derivative of `x` by `kappa` at constant `von_mises_cdf(x, kappa)`.",
        example: ("von_mises_draw_grad(0.5, 2.0)", "-0.15552632465558092"),
        vjp: NoVjp("second derivatives of `von_mises_cdf` with respect to its concentration are not implemented"),
        lower: K(Kernel::VonMisesDrawGrad),
        callable: true,
    },
];

/// `scale * exp(rate * x^2)`.
fn gauss(b: &mut Builder<Det>, scale: f64, rate: f64, x: Atom) -> Atom {
    let s = b.un(Prim::Square, x);
    let e = b.mul(Atom::float(rate), s);
    let e = b.un(Prim::Exp, e);
    b.mul(Atom::float(scale), e)
}

/// Derivatives of `gamma_p(a, x)`: the density in `x`; in `a` the density times how the quantile moves, with the sign reversed.
fn gamma_slopes(b: &mut Builder<Det>, x: &[Atom], ct: Atom) -> Vec<Option<Atom>> {
    let (a, x) = (x[0], x[1]);
    let a1 = b.sub(a, Atom::float(1.0));
    let l = b.prim(Prim::XLogY, &[a1, x]);
    let l = b.sub(l, x);
    let norm = b.un(Prim::Lgamma, a);
    let l = b.sub(l, norm);
    let density = b.un(Prim::Exp, l);
    let dx = b.mul(ct, density);
    let moves = b.prim(Prim::GammaDrawGrad, &[a, x]);
    let da = b.mul(dx, moves);
    vec![Some(b.neg(da)), Some(dx)]
}

/// `exp(k cos x) / (2 pi I0(k))`.
fn von_mises_density(b: &mut Builder<Det>, x: Atom, k: Atom) -> Atom {
    let c = b.un(Prim::Cos, x);
    let l = b.mul(k, c);
    let norm = b.un(Prim::LogBesselI0, k);
    let l = b.sub(l, norm);
    let e = b.un(Prim::Exp, l);
    b.mul(Atom::float(1.0 / (2.0 * PI)), e)
}

/// `y`, and `instead` where `x` is 0 and `y` is `pole`.
fn off_corner(b: &mut Builder<Det>, x: Atom, y: Atom, pole: f64, instead: f64) -> Atom {
    let x0 = b.prim(Prim::Eq, &[x, Atom::float(0.0)]);
    let y0 = b.prim(Prim::Eq, &[y, Atom::float(pole)]);
    let corner = b.prim(Prim::And, &[x0, y0]);
    b.select(corner, Atom::float(instead), y)
}
