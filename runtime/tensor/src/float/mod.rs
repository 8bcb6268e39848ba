//! The two float types, with branch-free elementary functions that vectorise when they are called in a loop over lanes.

pub(crate) mod double;
pub(crate) mod single;

use ppl_abi::Precision;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`.
pub trait Float:
    sealed::Sealed
    + Elementary
    + crate::gemm::Product
    + crate::random::Draw
    + candle_core::WithDType
    + Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Send
    + Sync
    + 'static
{
    /// The precision this type stands for.
    const PRECISION: Precision;
}

impl Float for f32 {
    const PRECISION: Precision = Precision::F32;
}
impl Float for f64 {
    const PRECISION: Precision = Precision::F64;
}

/// What the kernels compute with: straight-line code, no branches, the same operations on every instruction set.
///
/// Errors are stated in ulp of the result, measured in `tests/accuracy.rs`.
pub trait Elementary: Sized {
    /// Infinity.
    const INF: Self;
    /// Not a number.
    const NAN: Self;
    /// Beyond this magnitude `sin` and `cos` lose accuracy, and the kernels take another path.
    const TRIG_LIMIT: Self;

    /// The nearest value of this type.
    fn lit(x: f64) -> Self;
    /// Exact.
    fn wide(self) -> f64;
    /// `self * b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// Absolute value.
    fn abs_(self) -> Self;
    /// This magnitude with the sign of `sign`.
    fn with_sign(self, sign: Self) -> Self;
    /// Square root.
    fn sqrt_(self) -> Self;
    /// Largest integer not above.
    fn floor_(self) -> Self;
    /// Smallest integer not below.
    fn ceil_(self) -> Self;
    /// Nearest integer, halves to even.
    fn round_(self) -> Self;
    /// Without the fraction.
    fn trunc_(self) -> Self;
    /// Remainder of the truncated quotient, exact.
    fn fmod(self, b: Self) -> Self;
    /// e^x, within 1.5 ulp.
    fn exp_(self) -> Self;
    /// e^x - 1, within 2.5 ulp.
    fn expm1_(self) -> Self;
    /// log x, within 1.5 ulp.
    fn log_(self) -> Self;
    /// Base 2 logarithm, within 2.5 ulp.
    fn log2_(self) -> Self;
    /// log(1 + x), within 2 ulp.
    fn log1p_(self) -> Self;
    /// sin x, within 2 ulp below `TRIG_LIMIT`.
    fn sin_(self) -> Self;
    /// cos x, within 2 ulp below `TRIG_LIMIT`.
    fn cos_(self) -> Self;
}

/// Horner's rule with fused multiply-adds, highest coefficient first.
macro_rules! horner {
    ($x:expr; $first:expr $(, $c:expr)* $(,)?) => {{
        let x = $x;
        let acc = $first;
        $(let acc = x.mul_add(acc, $c);)*
        acc
    }};
}
pub(crate) use horner;
