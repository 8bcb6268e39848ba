//! Elementary functions for `f32`.
//!
//! Polynomials are near-minimax (Chebyshev) fits; their errors are far below half an ulp of the result.
#![allow(clippy::excessive_precision, reason = "coefficients are printed to more digits than the type holds")]
#![allow(clippy::unnecessary_cast, reason = "the two float types share this text")]

use super::{Elementary, horner};

/// Adding this rounds to an integer and leaves that integer in the low bits.
const MAGIC: f32 = 12_582_912.0;
const MANTISSA: u32 = f32::MANTISSA_DIGITS - 1;
const BIAS: f32 = 127.0;
const LN2_HI: f32 = 0.693_147_182_464_6;
const LN2_LO: f32 = -1.904_654_212_125_933_6e-9;
/// ln 2 with a short mantissa, so that its products with exponents are exact.
const LN2_SHORT: f32 = 0.693_115_234_375;
const LN2_REST: f32 = 3.194_618_494_530_942e-5;
const PIO2_1: f32 = 1.570_796_370_506_286_6;
const PIO2_2: f32 = -4.371_138_828_673_793e-8;
const PIO2_3: f32 = -1.715_124_510_005_881_9e-15;
/// Bits of sqrt(1/2), the lower end of the reduced interval of `log`.
const SQRT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
const ONE: u32 = (1.0 as f32).to_bits();

/// 2^n for an integer n in the normal range.
#[inline(always)]
fn pow2(n: f32) -> f32 {
    f32::from_bits((n + (MAGIC + BIAS)).to_bits() << MANTISSA)
}

#[inline(always)]
fn clamp(x: f32, lo: f32, hi: f32) -> f32 {
    // Comparisons with NaN are false, so NaN passes.
    let x = if x > hi { hi } else { x };
    if x < lo { lo } else { x }
}

/// x = n ln 2 + r with |r| <= ln(2) / 2.
#[inline(always)]
fn reduce_exp(x: f32) -> (f32, f32) {
    let n = x.mul_add(std::f32::consts::LOG2_E, MAGIC) - MAGIC;
    (n, (-n).mul_add(LN2_LO, (-n).mul_add(LN2_HI, x)))
}

/// e^r - 1 on the reduced interval.
#[inline(always)]
fn expm1_reduced(r: f32) -> f32 {
    let q = horner!(r; 0.00019890990824673654, 0.0013933649996309251, 0.0083333109254809, 0.041666464925285904, 0.16666666681623232, 0.500000001346581);
    (r * r).mul_add(q, r)
}

/// x = 2^k m with m in [sqrt(1/2), sqrt(2)), for normal positive x.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    let bits = x.to_bits().wrapping_add(ONE - SQRT_HALF);
    let k = f32::from_bits((bits >> MANTISSA) | 0x4b00_0000) - (8_388_608.0 + BIAS);
    let m = f32::from_bits((bits & ((1 << MANTISSA) - 1)).wrapping_add(SQRT_HALF));
    (k, m)
}

/// log(1 + f) + k ln 2, for 1 + f in the reduced interval.
#[inline(always)]
fn log_reduced(k: f32, f: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * horner!(z; 0.23330581938241893, 0.2855081659971155, 0.40000121876972, 0.6666666655445165);
    let half = 0.5 * f * f;
    k.mul_add(LN2_SHORT, f - (half - s.mul_add(half + r, k * LN2_REST)))
}

/// Exponent and mantissa less one, with subnormal numbers scaled up.
#[inline(always)]
fn log_parts(x: f32) -> (f32, f32) {
    let small = x < f32::MIN_POSITIVE;
    let (k, m) = split(if small { x * 33_554_432.0 } else { x });
    (if small { k - 25.0 } else { k }, m - 1.0)
}

/// The special values of a logarithm of `x`, and `y` otherwise.
#[inline(always)]
fn log_special(x: f32, y: f32) -> f32 {
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 { f32::NAN } else { y }
}

/// x = n pi/2 + r; n in the low bits of the first result.
#[inline(always)]
fn reduce_trig(x: f32) -> (u32, f32) {
    let t = x.mul_add(std::f32::consts::FRAC_2_PI, MAGIC);
    let n = -(t - MAGIC);
    (t.to_bits(), n.mul_add(PIO2_3, n.mul_add(PIO2_2, n.mul_add(PIO2_1, x))))
}

/// sin(r + quadrant pi/2) for |r| <= pi/4.
#[inline(always)]
pub(crate) fn sin_quadrant(quadrant: u32, r: f32) -> f32 {
    let z = r * r;
    let sin = (r * z).mul_add(horner!(z; -0.00019587840521305324, 0.008332748037517147, -0.16666664661114838), r);
    let c = horner!(z; 2.454789161981386e-05, -0.0013888302802309161, 0.04166666465830042);
    let h = 0.5 * z;
    let w = 1.0 - h;
    let cos = w + (z * z).mul_add(c, (1.0 - w) - h);
    let v = if quadrant & 1 == 1 { cos } else { sin };
    f32::from_bits(v.to_bits() ^ ((quadrant & 2) << (u32::BITS - 2)))
}

impl Elementary for f32 {
    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;
    const TRIG_LIMIT: f32 = 1e5;

    #[inline(always)]
    fn lit(x: f64) -> f32 {
        x as f32
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self as f64
    }

    #[inline(always)]
    fn fma(self, b: f32, c: f32) -> f32 {
        self.mul_add(b, c)
    }

    #[inline(always)]
    fn abs_(self) -> f32 {
        self.abs()
    }

    #[inline(always)]
    fn with_sign(self, sign: f32) -> f32 {
        self.copysign(sign)
    }

    #[inline(always)]
    fn sqrt_(self) -> f32 {
        self.sqrt()
    }

    #[inline(always)]
    fn floor_(self) -> f32 {
        self.floor()
    }

    #[inline(always)]
    fn ceil_(self) -> f32 {
        self.ceil()
    }

    #[inline(always)]
    fn round_(self) -> f32 {
        self.round_ties_even()
    }

    #[inline(always)]
    fn trunc_(self) -> f32 {
        self.trunc()
    }

    #[inline(always)]
    fn fmod(self, b: f32) -> f32 {
        self % b
    }

    #[inline(always)]
    fn exp_(self) -> f32 {
        let (n, r) = reduce_exp(clamp(self, -104.0, 89.0));
        let e = 1.0 + expm1_reduced(r);
        // In two steps: the first is exact, the second rounds subnormal results and overflows.
        let n1 = clamp(n, -120.0, 120.0);
        e * pow2(n1) * pow2(n - n1)
    }

    #[inline(always)]
    fn expm1_(self) -> f32 {
        let (n, r) = reduce_exp(clamp(self, -20.0, 89.0));
        let p = expm1_reduced(r);
        // Half of 2^n, which itself may overflow.
        let s = pow2(n - 1.0);
        let y = 2.0 * s.mul_add(p, s - 0.5);
        if self == 0.0 { self } else { y }
    }

    #[inline(always)]
    fn log_(self) -> f32 {
        let (k, f) = log_parts(self);
        log_special(self, log_reduced(k, f))
    }

    #[inline(always)]
    fn log2_(self) -> f32 {
        let (k, f) = log_parts(self);
        log_special(self, log_reduced(0.0, f).mul_add(std::f32::consts::LOG2_E, k))
    }

    #[inline(always)]
    fn log1p_(self) -> f32 {
        let u = 1.0 + self;
        let v = u - 1.0;
        let lost = (1.0 - (u - v)) + (self - v);
        let (k, m) = split(u);
        // What the sum lost, on the scale of the mantissa; it vanishes for large arguments, where 2^-k may too.
        let f = (m - 1.0) + lost * pow2(-k);
        let y = log_special(u, log_reduced(k, f));
        if self == 0.0 { self } else { y }
    }

    #[inline(always)]
    fn sin_(self) -> f32 {
        let (q, r) = reduce_trig(self);
        let y = sin_quadrant(q, r);
        if self == 0.0 { self } else { y }
    }

    #[inline(always)]
    fn cos_(self) -> f32 {
        let (q, r) = reduce_trig(self);
        sin_quadrant(q.wrapping_add(1), r)
    }
}
