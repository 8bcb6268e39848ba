//! Elementary functions for `f64`.
//!
//! Polynomials are near-minimax (Chebyshev) fits; their errors are far below half an ulp of the result.
#![allow(clippy::excessive_precision, reason = "coefficients are printed to more digits than the type holds")]
#![allow(clippy::unnecessary_cast, reason = "the two float types share this text")]

use super::{Elementary, horner};

/// Adding this rounds to an integer and leaves that integer in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
const BIAS: f64 = 1023.0;
const LN2_HI: f64 = 0.693_147_180_559_945_3;
const LN2_LO: f64 = 2.319_046_813_846_299_6e-17;
/// ln 2 with a short mantissa, so that its products with exponents are exact.
const LN2_SHORT: f64 = 0.693_147_180_369_123_8;
const LN2_REST: f64 = 1.908_214_929_270_587_7e-10;
const PIO2_1: f64 = 1.570_796_326_794_896_6;
const PIO2_2: f64 = 6.123_233_995_736_766e-17;
const PIO2_3: f64 = -1.497_384_904_859_169_8e-33;
/// Bits of sqrt(1/2), the lower end of the reduced interval of `log`.
const SQRT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
const ONE: u64 = (1.0 as f64).to_bits();

/// 2^n for an integer n in the normal range.
#[inline(always)]
fn pow2(n: f64) -> f64 {
    f64::from_bits((n + (MAGIC + BIAS)).to_bits() << MANTISSA)
}

#[inline(always)]
fn clamp(x: f64, lo: f64, hi: f64) -> f64 {
    // Comparisons with NaN are false, so NaN passes.
    let x = if x > hi { hi } else { x };
    if x < lo { lo } else { x }
}

/// x = n ln 2 + r with |r| <= ln(2) / 2.
#[inline(always)]
fn reduce_exp(x: f64) -> (f64, f64) {
    let n = x.mul_add(std::f64::consts::LOG2_E, MAGIC) - MAGIC;
    (n, (-n).mul_add(LN2_LO, (-n).mul_add(LN2_HI, x)))
}

/// e^r - 1 on the reduced interval.
#[inline(always)]
fn expm1_reduced(r: f64) -> f64 {
    let q = horner!(r; 2.0914686968086876e-09, 2.5105217004720745e-08, 2.75572736431103e-07, 2.7557255400206422e-06, 2.4801587325547743e-05, 0.00019841269874820627, 0.0013888888888883748, 0.008333333333326136, 0.04166666666666667, 0.1666666666666667, 0.5);
    (r * r).mul_add(q, r)
}

/// x = 2^k m with m in [sqrt(1/2), sqrt(2)), for normal positive x.
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    let bits = x.to_bits().wrapping_add(ONE - SQRT_HALF);
    let k = f64::from_bits((bits >> MANTISSA) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + BIAS);
    let m = f64::from_bits((bits & ((1 << MANTISSA) - 1)).wrapping_add(SQRT_HALF));
    (k, m)
}

/// log(1 + f) + k ln 2, for 1 + f in the reduced interval.
#[inline(always)]
fn log_reduced(k: f64, f: f64) -> f64 {
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z
        * horner!(z; 0.13086767009948175, 0.13268759668560612, 0.15386240205813478, 0.18181795630884753, 0.2222222239180047, 0.2857142857080323, 0.4000000000000088, 0.6666666666666666);
    let half = 0.5 * f * f;
    k.mul_add(LN2_SHORT, f - (half - s.mul_add(half + r, k * LN2_REST)))
}

/// Exponent and mantissa less one, with subnormal numbers scaled up.
#[inline(always)]
fn log_parts(x: f64) -> (f64, f64) {
    let small = x < f64::MIN_POSITIVE;
    let (k, m) = split(if small { x * 18_014_398_509_481_984.0 } else { x });
    (if small { k - 54.0 } else { k }, m - 1.0)
}

/// The special values of a logarithm of `x`, and `y` otherwise.
#[inline(always)]
fn log_special(x: f64, y: f64) -> f64 {
    let y = if x < f64::INFINITY { y } else { x };
    let y = if x == 0.0 { f64::NEG_INFINITY } else { y };
    if x < 0.0 { f64::NAN } else { y }
}

/// x = n pi/2 + r; n in the low bits of the first result.
#[inline(always)]
fn reduce_trig(x: f64) -> (u64, f64) {
    let t = x.mul_add(std::f64::consts::FRAC_2_PI, MAGIC);
    let n = -(t - MAGIC);
    (t.to_bits(), n.mul_add(PIO2_3, n.mul_add(PIO2_2, n.mul_add(PIO2_1, x))))
}

/// sin(r + quadrant pi/2) for |r| <= pi/4.
#[inline(always)]
pub(crate) fn sin_quadrant(quadrant: u64, r: f64) -> f64 {
    let z = r * r;
    let sin = (r * z).mul_add(horner!(z; 1.591810123027412e-10, -2.5051131455427946e-08, 2.755731610068303e-06, -0.0001984126983675497, 0.008333333333330946, -0.16666666666666666), r);
    let c = horner!(z; -1.1382614868556325e-11, 2.0876146024689747e-09, -2.7557317270560326e-07, 2.4801587298763433e-05, -0.0013888888888887395, 0.041666666666666664);
    let h = 0.5 * z;
    let w = 1.0 - h;
    let cos = w + (z * z).mul_add(c, (1.0 - w) - h);
    let v = if quadrant & 1 == 1 { cos } else { sin };
    f64::from_bits(v.to_bits() ^ ((quadrant & 2) << (u64::BITS - 2)))
}

impl Elementary for f64 {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    const TRIG_LIMIT: f64 = 1e5;

    #[inline(always)]
    fn lit(x: f64) -> f64 {
        x as f64
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self as f64
    }

    #[inline(always)]
    fn fma(self, b: f64, c: f64) -> f64 {
        self.mul_add(b, c)
    }

    #[inline(always)]
    fn abs_(self) -> f64 {
        self.abs()
    }

    #[inline(always)]
    fn with_sign(self, sign: f64) -> f64 {
        self.copysign(sign)
    }

    #[inline(always)]
    fn sqrt_(self) -> f64 {
        self.sqrt()
    }

    #[inline(always)]
    fn floor_(self) -> f64 {
        self.floor()
    }

    #[inline(always)]
    fn ceil_(self) -> f64 {
        self.ceil()
    }

    #[inline(always)]
    fn round_(self) -> f64 {
        self.round_ties_even()
    }

    #[inline(always)]
    fn trunc_(self) -> f64 {
        self.trunc()
    }

    #[inline(always)]
    fn fmod(self, b: f64) -> f64 {
        self % b
    }

    #[inline(always)]
    fn exp_(self) -> f64 {
        let (n, r) = reduce_exp(clamp(self, -746.0, 710.0));
        let e = 1.0 + expm1_reduced(r);
        // In two steps: the first is exact, the second rounds subnormal results and overflows.
        let n1 = clamp(n, -1000.0, 1000.0);
        e * pow2(n1) * pow2(n - n1)
    }

    #[inline(always)]
    fn expm1_(self) -> f64 {
        let (n, r) = reduce_exp(clamp(self, -40.0, 710.0));
        let p = expm1_reduced(r);
        // Half of 2^n, which itself may overflow.
        let s = pow2(n - 1.0);
        let y = 2.0 * s.mul_add(p, s - 0.5);
        if self == 0.0 { self } else { y }
    }

    #[inline(always)]
    fn log_(self) -> f64 {
        let (k, f) = log_parts(self);
        log_special(self, log_reduced(k, f))
    }

    #[inline(always)]
    fn log2_(self) -> f64 {
        let (k, f) = log_parts(self);
        log_special(self, log_reduced(0.0, f).mul_add(std::f64::consts::LOG2_E, k))
    }

    #[inline(always)]
    fn log1p_(self) -> f64 {
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
    fn sin_(self) -> f64 {
        let (q, r) = reduce_trig(self);
        let y = sin_quadrant(q, r);
        if self == 0.0 { self } else { y }
    }

    #[inline(always)]
    fn cos_(self) -> f64 {
        let (q, r) = reduce_trig(self);
        sin_quadrant(q.wrapping_add(1), r)
    }
}
