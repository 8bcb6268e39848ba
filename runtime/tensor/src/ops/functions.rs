//! The functions. Errors in ulp are upper bounds that `tests/accuracy.rs` checks.

use super::{Binary, Pair, Ternary, Unary};
use crate::float::Float;
use crate::math::{beta, gamma, incomplete, normal, von_mises};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident, $x:ident => $value:expr $(, rare $rare:expr => $slow:expr)?;)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;
            impl Unary for $name {
                #[inline(always)]
                fn eval<T: Float>($x: T) -> T {
                    $value
                }
                $(
                    #[inline(always)]
                    fn rare<T: Float>($x: T) -> bool {
                        $rare
                    }
                    #[inline(never)]
                    fn slow<T: Float>($x: T) -> T {
                        $slow
                    }
                )?
            }
        )*
    };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident, $a:ident, $b:ident => $value:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;
            impl Binary for $name {
                #[inline(always)]
                fn eval<T: Float>($a: T, $b: T) -> T {
                    $value
                }
            }
        )*
    };
}

unary! {
    Exp, x => x.exp_();
    Expm1, x => x.expm1_();
    Log, x => x.log_();
    Log1p, x => x.log1p_();
    Log2, x => x.log2_();
    Sin, x => x.sin_(), rare beyond_trig(x) => T::lit(libm::sin(x.wide()));
    Cos, x => x.cos_(), rare beyond_trig(x) => T::lit(libm::cos(x.wide()));
    /// The quotient, within 3.5 ulp.
    Tan, x => x.sin_() / x.cos_(), rare beyond_trig(x) => T::lit(libm::tan(x.wide()));
    Asin, x => T::lit(libm::asin(x.wide()));
    Acos, x => T::lit(libm::acos(x.wide()));
    Atan, x => T::lit(libm::atan(x.wide()));
    Sinh, x => T::lit(libm::sinh(x.wide()));
    Cosh, x => T::lit(libm::cosh(x.wide()));
    /// Within 3 ulp.
    Tanh, x => tanh(x);
    /// Within 3 ulp.
    Sigmoid, x => sigmoid(x);
    /// Within 3 ulp.
    Softplus, x => softplus(x);
    /// Within 3 ulp.
    LogSigmoid, x => -softplus(-x);
    Erf, x => T::lit(libm::erf(x.wide()));
    Erfc, x => T::lit(libm::erfc(x.wide()));
    ErfInv, x => T::lit(normal::erf_inv(x.wide()));
    Lgamma, x => T::lit(gamma::lgamma_positive(x.wide())), rare x <= T::lit(0.0) => T::lit(gamma::lgamma_reflected(x.wide()));
    Digamma, x => T::lit(gamma::digamma_positive(x.wide())), rare x <= T::lit(0.0) => T::lit(gamma::digamma_reflected(x.wide()));
    Trigamma, x => T::lit(gamma::trigamma_positive(x.wide())), rare x <= T::lit(0.0) => T::lit(gamma::trigamma_reflected(x.wide()));
    NormalCdf, x => T::lit(normal::normal_cdf(x.wide()));
    LogNormalCdf, x => T::lit(normal::log_normal_cdf(x.wide()));
    NormalQuantile, x => T::lit(normal::normal_quantile(x.wide()));
    LogBesselI0, x => T::lit(von_mises::log_bessel_i0(x.wide()));
    BesselRatio, x => T::lit(von_mises::bessel_ratio(x.wide()));
    Floor, x => x.floor_();
    Ceil, x => x.ceil_();
    Round, x => x.round_();
    Trunc, x => x.trunc_();
    Sqrt, x => x.sqrt_();
}

binary! {
    Pow, a, b => T::lit(libm::pow(a.wide(), b.wide()));
    Atan2, a, b => T::lit(libm::atan2(a.wide(), b.wide()));
    Rem, a, b => rem(a, b);
    LogAddExp, a, b => log_add_exp(a, b);
    Xlogy, a, b => if a == T::lit(0.0) && b.abs_() >= T::lit(0.0) { a.abs_() } else { a * b.log_() };
    Xlog1py, a, b => if a == T::lit(0.0) && b.abs_() >= T::lit(0.0) { a.abs_() } else { a * b.log1p_() };
    GammaP, a, x => T::lit(incomplete::gamma_p(a.wide(), x.wide()));
    GammaQ, a, x => T::lit(incomplete::gamma_q(a.wide(), x.wide()));
    Lbeta, a, b => T::lit(beta::lbeta(a.wide(), b.wide()));
    GammaDrawGrad, a, x => T::lit(incomplete::gamma_draw_grad(a.wide(), x.wide()));
    VonMisesCdf, x, k => T::lit(von_mises::von_mises_cdf(x.wide(), k.wide()));
    VonMisesQuantile, p, k => T::lit(von_mises::von_mises_quantile(p.wide(), k.wide()));
    VonMisesDrawGrad, x, k => T::lit(von_mises::von_mises_draw_grad(x.wide(), k.wide()));
}

/// I_x(a, b).
pub(super) struct BetaInc;
impl Ternary for BetaInc {
    #[inline(always)]
    fn eval<T: Float>(a: T, b: T, x: T) -> T {
        T::lit(beta::beta_inc(a.wide(), b.wide(), x.wide()))
    }
}

/// dx/da at constant I_x(a, b).
pub(super) struct BetaDrawGrad;
impl Ternary for BetaDrawGrad {
    #[inline(always)]
    fn eval<T: Float>(a: T, b: T, x: T) -> T {
        T::lit(beta::beta_draw_grad(a.wide(), b.wide(), x.wide()))
    }
}

/// `softplus(x)` and `sigmoid(x)`, from one exponential.
pub(super) struct SoftplusPair;
impl Pair for SoftplusPair {
    #[inline(always)]
    fn eval<T: Float>(x: T) -> (T, T) {
        let (zero, one) = (T::lit(0.0), T::lit(1.0));
        let e = (-x.abs_()).exp_();
        ((if x > zero { x } else { zero }) + e.log1p_(), (if x < zero { e } else { one }) / (one + e))
    }
}

/// `log_sigmoid(x)` and `sigmoid(-x)`, likewise.
pub(super) struct LogSigmoidPair;
impl Pair for LogSigmoidPair {
    #[inline(always)]
    fn eval<T: Float>(x: T) -> (T, T) {
        let (y, slope) = SoftplusPair::eval(-x);
        (-y, slope)
    }
}

#[inline(always)]
fn beyond_trig<T: Float>(x: T) -> bool {
    x.abs_() > T::TRIG_LIMIT
}

#[inline(always)]
fn tanh<T: Float>(x: T) -> T {
    // tanh |x| = (1 - e^(-2|x|)) / (1 + e^(-2|x|)), with t = e^(-2|x|) - 1
    let t = (T::lit(-2.0) * x.abs_()).expm1_();
    ((-t) / (t + T::lit(2.0))).with_sign(x)
}

#[inline(always)]
fn sigmoid<T: Float>(x: T) -> T {
    let one = T::lit(1.0);
    let e = (-x.abs_()).exp_();
    (if x < T::lit(0.0) { e } else { one }) / (one + e)
}

#[inline(always)]
fn softplus<T: Float>(x: T) -> T {
    let tail = (-x.abs_()).exp_().log1p_();
    (if x > T::lit(0.0) { x } else { T::lit(0.0) }) + tail
}

#[inline(always)]
fn log_add_exp<T: Float>(a: T, b: T) -> T {
    // Equal arguments may be infinite.
    let d = if a == b { T::lit(0.0) } else { a - b };
    (if a > b { a } else { b }) + (-d.abs_()).exp_().log1p_()
}

#[inline(always)]
fn rem<T: Float>(a: T, b: T) -> T {
    let r = a.fmod(b);
    let zero = T::lit(0.0);
    if r != zero && (r < zero) != (b < zero) { r + b } else { r }
}
