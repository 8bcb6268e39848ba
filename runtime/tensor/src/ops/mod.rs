//! Elementwise kernels: one zero-sized type per function, and the loops that run it over buffers.
//!
//! A loop loads a block of lanes into a local array, computes there, and stores: so `dst` may equal a source, and the
//! compiler still sees independent lanes.

mod functions;
mod loops;

use crate::float::Float;
use crate::isa::Isa;
use functions::*;
use ppl_abi::{Family, Kernel};

/// A function of one float.
pub(crate) trait Unary: 'static {
    /// The value; branch-free where the function is hot.
    fn eval<T: Float>(x: T) -> T;

    /// Whether `eval` is not to be trusted for `x`, so that `slow` must step in.
    #[inline(always)]
    fn rare<T: Float>(_x: T) -> bool {
        false
    }

    /// The value where `rare` says so.
    fn slow<T: Float>(x: T) -> T {
        x
    }
}

/// A function of one float with its derivative.
pub(crate) trait Pair: 'static {
    /// Both.
    fn eval<T: Float>(x: T) -> (T, T);
}

/// A function of two floats.
pub(crate) trait Binary: 'static {
    /// The value.
    fn eval<T: Float>(a: T, b: T) -> T;
}

/// A function of three floats.
pub(crate) trait Ternary: 'static {
    /// The value.
    fn eval<T: Float>(a: T, b: T, x: T) -> T;
}

/// Address of an elementwise kernel for `T`, compiled for `isa`; `None` for other families.
pub(crate) fn address<T: Float>(kernel: Kernel, isa: Isa) -> Option<*const u8> {
    macro_rules! pick {
        ($($kernel:ident => $entry:ident::<$op:ident>,)*) => {
            match kernel {
                $(Kernel::$kernel => Some(loops::$entry::<$op, T>(isa)),)*
                _ => None,
            }
        };
    }
    if !matches!(kernel.family(), Family::Unary | Family::Pair | Family::Binary | Family::Ternary) {
        return None;
    }
    pick! {
        Exp => unary::<Exp>,
        Expm1 => unary::<Expm1>,
        Log => unary::<Log>,
        Log1p => unary::<Log1p>,
        Log2 => unary::<Log2>,
        Sin => unary::<Sin>,
        Cos => unary::<Cos>,
        Tan => unary::<Tan>,
        Asin => unary::<Asin>,
        Acos => unary::<Acos>,
        Atan => unary::<Atan>,
        Sinh => unary::<Sinh>,
        Cosh => unary::<Cosh>,
        Tanh => unary::<Tanh>,
        Sigmoid => unary::<Sigmoid>,
        Softplus => unary::<Softplus>,
        LogSigmoid => unary::<LogSigmoid>,
        Erf => unary::<Erf>,
        Erfc => unary::<Erfc>,
        ErfInv => unary::<ErfInv>,
        Lgamma => unary::<Lgamma>,
        Digamma => unary::<Digamma>,
        Trigamma => unary::<Trigamma>,
        NormalCdf => unary::<NormalCdf>,
        LogNormalCdf => unary::<LogNormalCdf>,
        NormalQuantile => unary::<NormalQuantile>,
        LogBesselI0 => unary::<LogBesselI0>,
        BesselRatio => unary::<BesselRatio>,
        Floor => unary::<Floor>,
        Ceil => unary::<Ceil>,
        Round => unary::<Round>,
        Trunc => unary::<Trunc>,
        Sqrt => unary::<Sqrt>,
        Pow => binary::<Pow>,
        Atan2 => binary::<Atan2>,
        Rem => binary::<Rem>,
        LogAddExp => binary::<LogAddExp>,
        Xlogy => binary::<Xlogy>,
        Xlog1py => binary::<Xlog1py>,
        GammaP => binary::<GammaP>,
        GammaQ => binary::<GammaQ>,
        Lbeta => binary::<Lbeta>,
        GammaDrawGrad => binary::<GammaDrawGrad>,
        VonMisesCdf => binary::<VonMisesCdf>,
        VonMisesQuantile => binary::<VonMisesQuantile>,
        VonMisesDrawGrad => binary::<VonMisesDrawGrad>,
        BetaInc => ternary::<BetaInc>,
        BetaDrawGrad => ternary::<BetaDrawGrad>,
        SoftplusPair => pair::<SoftplusPair>,
        LogSigmoidPair => pair::<LogSigmoidPair>,
    }
}
