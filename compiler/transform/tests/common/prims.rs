//! Values of primitives.

use ppl_core::Prim;
use statrs::function::{beta, erf, gamma};

fn t(b: bool) -> f64 {
    f64::from(u8::from(b))
}

pub fn normal_quantile(p: f64) -> f64 {
    std::f64::consts::SQRT_2 * erf::erf_inv(2.0 * p - 1.0)
}

fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 12.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let i = 1.0 / (x * x);
    sum + 1.0 / x + i / 2.0 + i / x * (1.0 / 6.0 - i * (1.0 / 30.0 - i * (1.0 / 42.0 - i / 30.0)))
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * erf::erfc(-x / std::f64::consts::SQRT_2)
}

fn gamma_p(a: f64, x: f64) -> f64 {
    gamma::gamma_lr(a, x)
}

/// The derivative of a gamma draw by its shape, by central differences of the distribution function.
fn gamma_draw_grad(a: f64, x: f64) -> f64 {
    let h = 1e-4;
    let da = (8.0 * (gamma_p(a + h, x) - gamma_p(a - h, x)) - (gamma_p(a + 2.0 * h, x) - gamma_p(a - 2.0 * h, x))) / (12.0 * h);
    let density = ((a - 1.0) * x.ln() - x - gamma::ln_gamma(a)).exp();
    -da / density
}

/// The derivative of a beta draw by its first pseudo-count, likewise.
fn beta_draw_grad(a: f64, b: f64, x: f64) -> f64 {
    let h = 1e-4;
    let f = |a: f64| beta::beta_reg(a, b, x);
    let da = (8.0 * (f(a + h) - f(a - h)) - (f(a + 2.0 * h) - f(a - 2.0 * h))) / (12.0 * h);
    -da / ((a - 1.0) * x.ln() + (b - 1.0) * (-x).ln_1p() - beta::ln_beta(a, b)).exp()
}

/// The modified Bessel function of order `n`, by the trapezoid rule, which is exact for periodic functions.
fn bessel_i(n: f64, x: f64) -> f64 {
    let t = |i: i32| f64::from(i) * std::f64::consts::PI / 60.0;
    (0..120).map(|i| (x * t(i).cos()).exp() * (n * t(i)).cos()).sum::<f64>() / 120.0
}

/// The distribution function of the von Mises distribution, by its Fourier series.
fn von_mises_cdf(x: f64, k: f64) -> f64 {
    let term = |j: i32| bessel_i(f64::from(j), k) * (f64::from(j) * x).sin() / f64::from(j);
    0.5 + x / std::f64::consts::TAU + (1..50).map(term).sum::<f64>() / (std::f64::consts::PI * bessel_i(0.0, k))
}

fn von_mises_quantile(p: f64, k: f64) -> f64 {
    let (mut lo, mut hi) = (-std::f64::consts::PI, std::f64::consts::PI);
    for _ in 0..60 {
        let y = 0.5 * (lo + hi);
        if von_mises_cdf(y, k) > p {
            hi = y;
        } else {
            lo = y;
        }
    }
    0.5 * (lo + hi)
}

fn von_mises_draw_grad(x: f64, k: f64) -> f64 {
    let h = 1e-4;
    let f = |k: f64| von_mises_cdf(x, k);
    let dk = (8.0 * (f(k + h) - f(k - h)) - (f(k + 2.0 * h) - f(k - 2.0 * h))) / (12.0 * h);
    -dk * std::f64::consts::TAU * bessel_i(0.0, k) / (k * x.cos()).exp()
}

/// The primitive's value.
pub fn eval(p: Prim, x: &[f64]) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    match p {
        Prim::Neg => -x[0],
        Prim::Abs => x[0].abs(),
        Prim::Sign => {
            if x[0] == 0.0 {
                0.0
            } else {
                x[0].signum()
            }
        }
        Prim::Add => x[0] + x[1],
        Prim::Sub => x[0] - x[1],
        Prim::Mul => x[0] * x[1],
        Prim::Div => x[0] / x[1],
        Prim::Pow => x[0].powf(x[1]),
        Prim::Square => x[0] * x[0],
        Prim::Sqrt => x[0].sqrt(),
        Prim::Recip => 1.0 / x[0],
        Prim::Min => x[0].min(x[1]),
        Prim::Max => x[0].max(x[1]),
        Prim::Rem => x[0] - x[1] * (x[0] / x[1]).floor(),
        Prim::Floor => x[0].floor(),
        Prim::Ceil => x[0].ceil(),
        Prim::Round => x[0].round_ties_even(),
        Prim::Trunc => x[0].trunc(),
        Prim::Clip => x[0].max(x[1]).min(x[2]),
        Prim::IntDiv => (x[0] / x[1]).floor(),
        Prim::Fma => x[0] * x[1] + x[2],
        Prim::Exp => x[0].exp(),
        Prim::Expm1 => x[0].exp_m1(),
        Prim::Log => x[0].ln(),
        Prim::Log1p => x[0].ln_1p(),
        Prim::Log2 => x[0].log2(),
        Prim::Sin => x[0].sin(),
        Prim::Cos => x[0].cos(),
        Prim::Tan => x[0].tan(),
        Prim::Asin => x[0].asin(),
        Prim::Acos => x[0].acos(),
        Prim::Atan => x[0].atan(),
        Prim::Atan2 => x[0].atan2(x[1]),
        Prim::Sinh => x[0].sinh(),
        Prim::Cosh => x[0].cosh(),
        Prim::Tanh => x[0].tanh(),
        Prim::Sigmoid => sigmoid(x[0]),
        Prim::Softplus => softplus(x[0]),
        Prim::LogSigmoid => -softplus(-x[0]),
        Prim::LogAddExp => x[0].max(x[1]) + (-(x[0] - x[1]).abs()).exp().ln_1p(),
        Prim::Relu => x[0].max(0.0),
        Prim::Erf => erf::erf(x[0]),
        Prim::Erfc => erf::erfc(x[0]),
        Prim::ErfInv => erf::erf_inv(x[0]),
        Prim::Lgamma => gamma::ln_gamma(x[0]),
        Prim::Digamma => gamma::digamma(x[0]),
        Prim::Trigamma => trigamma(x[0]),
        Prim::NormalCdf => normal_cdf(x[0]),
        Prim::LogNormalCdf => normal_cdf(x[0]).ln(),
        Prim::NormalQuantile => normal_quantile(x[0]),
        Prim::Lbeta => beta::ln_beta(x[0], x[1]),
        Prim::GammaP => gamma_p(x[0], x[1]),
        Prim::GammaQ => gamma::gamma_ur(x[0], x[1]),
        Prim::BetaInc => beta::beta_reg(x[0], x[1], x[2]),
        Prim::XLogY => {
            if x[0] == 0.0 {
                0.0
            } else {
                x[0] * x[1].ln()
            }
        }
        Prim::XLog1pY => {
            if x[0] == 0.0 {
                0.0
            } else {
                x[0] * x[1].ln_1p()
            }
        }
        Prim::GammaDrawGrad => gamma_draw_grad(x[0], x[1]),
        Prim::BetaDrawGrad => beta_draw_grad(x[0], x[1], x[2]),
        Prim::LogBesselI0 => bessel_i(0.0, x[0]).ln(),
        Prim::BesselRatio => bessel_i(1.0, x[0]) / bessel_i(0.0, x[0]),
        Prim::VonMisesCdf => von_mises_cdf(x[0], x[1]),
        Prim::VonMisesQuantile => von_mises_quantile(x[0], x[1]),
        Prim::VonMisesDrawGrad => von_mises_draw_grad(x[0], x[1]),
        Prim::Lt => t(x[0] < x[1]),
        Prim::Le => t(x[0] <= x[1]),
        Prim::Gt => t(x[0] > x[1]),
        Prim::Ge => t(x[0] >= x[1]),
        Prim::Eq => t(x[0] == x[1]),
        Prim::Ne => t(x[0] != x[1]),
        Prim::And => t(x[0] != 0.0 && x[1] != 0.0),
        Prim::Or => t(x[0] != 0.0 || x[1] != 0.0),
        Prim::Not => t(x[0] == 0.0),
        Prim::Select => {
            if x[0] != 0.0 {
                x[1]
            } else {
                x[2]
            }
        }
        Prim::Guard => x[1],
        Prim::IsFinite => t(x[0].is_finite()),
        Prim::IsNan => t(x[0].is_nan()),
        Prim::ToReal => x[0],
        Prim::ToInt => x[0].trunc(),
    }
}
