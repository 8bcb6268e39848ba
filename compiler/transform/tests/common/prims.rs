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
