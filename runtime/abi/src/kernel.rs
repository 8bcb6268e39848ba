//! The kernels.

use crate::sig::{self, KernelSig};

/// Kernels of one family share a signature or a shape of signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `(dst, src, n)`: `dst[i] = f(src[i])` for `i < n`; `dst` may equal `src`.
    Unary,
    /// `(dst, a, a_stride, b, b_stride, n)`: `dst[i] = f(a[i * a_stride], b[i * b_stride])`; `dst` may equal an input of stride 1.
    Binary,
    /// `(dst, a, a_stride, b, b_stride, x, x_stride, n)`, otherwise as `Binary`.
    Ternary,
    /// `(dst, slope, src, n)`: `dst[i] = f(src[i])`, `slope[i] = f'(src[i])`, at the price of little more than one; neither may equal `src`.
    Pair,
    /// Fills `dst` with a draw addressed by `(seed, site, step, time)`, see [`Key`](crate::Key).
    Random,
    /// Batched dense linear algebra.
    Linear,
    /// Works on the contiguous rows of a `rows x cols` array.
    Rows,
}

macro_rules! kernels {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $family:ident, $sig:ident;)*) => {
        /// A kernel: the unit of work that compiled code and the interpreter call rather than spell out.
        ///
        /// `Float` buffers hold the run's precision. Values outside a function's domain give NaN, poles give infinities, as in IEEE
        /// 754; nothing is reported otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kernel {
            $($(#[$doc])* $variant,)*
        }

        impl Kernel {
            /// Every kernel, in the order of their discriminants.
            pub const ALL: &[Kernel] = &[$(Kernel::$variant),*];

            /// The kernel's name, the one string for text formats and symbols.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Kernel::$variant => $name,)*
                }
            }

            /// The family.
            pub const fn family(self) -> Family {
                match self {
                    $(Kernel::$variant => Family::$family,)*
                }
            }

            /// The signature.
            pub const fn sig(self) -> KernelSig {
                match self {
                    $(Kernel::$variant => KernelSig { args: sig::$sig },)*
                }
            }

            /// The kernel of this name.
            pub fn from_name(name: &str) -> Option<Kernel> {
                match name {
                    $($name => Some(Kernel::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

kernels! {
    /// e^x.
    Exp, "exp", Unary, UNARY;
    /// e^x - 1, accurate near 0.
    Expm1, "expm1", Unary, UNARY;
    /// Natural logarithm.
    Log, "log", Unary, UNARY;
    /// log(1 + x), accurate near 0.
    Log1p, "log1p", Unary, UNARY;
    /// Logarithm to base 2.
    Log2, "log2", Unary, UNARY;
    /// Sine of radians.
    Sin, "sin", Unary, UNARY;
    /// Cosine of radians.
    Cos, "cos", Unary, UNARY;
    /// Tangent of radians.
    Tan, "tan", Unary, UNARY;
    /// Arc sine, in [-pi/2, pi/2].
    Asin, "asin", Unary, UNARY;
    /// Arc cosine, in [0, pi].
    Acos, "acos", Unary, UNARY;
    /// Arc tangent, in [-pi/2, pi/2].
    Atan, "atan", Unary, UNARY;
    /// Hyperbolic sine.
    Sinh, "sinh", Unary, UNARY;
    /// Hyperbolic cosine.
    Cosh, "cosh", Unary, UNARY;
    /// Hyperbolic tangent.
    Tanh, "tanh", Unary, UNARY;
    /// 1 / (1 + e^-x).
    Sigmoid, "sigmoid", Unary, UNARY;
    /// log(1 + e^x), without overflow.
    Softplus, "softplus", Unary, UNARY;
    /// log(sigmoid(x)) = -softplus(-x).
    LogSigmoid, "log_sigmoid", Unary, UNARY;
    /// Error function.
    Erf, "erf", Unary, UNARY;
    /// 1 - erf(x), accurate in the right tail.
    Erfc, "erfc", Unary, UNARY;
    /// Inverse of the error function, on [-1, 1].
    ErfInv, "erf_inv", Unary, UNARY;
    /// log |gamma(x)|.
    Lgamma, "lgamma", Unary, UNARY;
    /// Derivative of `lgamma`.
    Digamma, "digamma", Unary, UNARY;
    /// Derivative of `digamma`.
    Trigamma, "trigamma", Unary, UNARY;
    /// Distribution function of the standard normal.
    NormalCdf, "normal_cdf", Unary, UNARY;
    /// Logarithm of `normal_cdf`, accurate in the left tail.
    LogNormalCdf, "log_normal_cdf", Unary, UNARY;
    /// Inverse of `normal_cdf`, on [0, 1].
    NormalQuantile, "normal_quantile", Unary, UNARY;
    /// Logarithm of the modified Bessel function I0.
    LogBesselI0, "log_bessel_i0", Unary, UNARY;
    /// I1(x) / I0(x), the derivative of `log_bessel_i0`.
    BesselRatio, "bessel_ratio", Unary, UNARY;
    /// Largest integer not above x.
    Floor, "floor", Unary, UNARY;
    /// Smallest integer not below x.
    Ceil, "ceil", Unary, UNARY;
    /// Nearest integer, halves to even.
    Round, "round", Unary, UNARY;
    /// x without its fraction.
    Trunc, "trunc", Unary, UNARY;
    /// Square root, correctly rounded.
    Sqrt, "sqrt", Unary, UNARY;

    /// a^b.
    Pow, "pow", Binary, BINARY;
    /// Angle of the point (x = b, y = a), in [-pi, pi].
    Atan2, "atan2", Binary, BINARY;
    /// a - b floor(a / b): the remainder with the sign of b.
    Rem, "rem", Binary, BINARY;
    /// log(e^a + e^b).
    LogAddExp, "log_add_exp", Binary, BINARY;
    /// a log(b), and 0 where a is 0 (unless b is NaN).
    Xlogy, "xlogy", Binary, BINARY;
    /// a log(1 + b), and 0 where a is 0 (unless b is NaN).
    Xlog1py, "xlog1py", Binary, BINARY;
    /// Regularised lower incomplete gamma function P(a, x = b), for a > 0, x >= 0.
    GammaP, "gamma_p", Binary, BINARY;
    /// 1 - P(a, x = b), accurate in the right tail.
    GammaQ, "gamma_q", Binary, BINARY;
    /// lgamma(a) + lgamma(b) - lgamma(a + b), without cancellation; for a, b > 0.
    Lbeta, "lbeta", Binary, BINARY;
    /// dx/da at constant P(a, x = b): the pathwise derivative of a standard gamma draw x by its shape a.
    GammaDrawGrad, "gamma_draw_grad", Binary, BINARY;
    /// Distribution function of the von Mises distribution of mean 0 at the angle a, for a concentration b >= 0; by 1 more in each turn.
    VonMisesCdf, "von_mises_cdf", Binary, BINARY;
    /// Its inverse, an angle in [-pi, pi], for a in [0, 1].
    VonMisesQuantile, "von_mises_quantile", Binary, BINARY;
    /// da/db at constant `von_mises_cdf(a, b)`.
    VonMisesDrawGrad, "von_mises_draw_grad", Binary, BINARY;

    /// Regularised incomplete beta function I_x(a, b), for a, b > 0, x in [0, 1].
    BetaInc, "beta_inc", Ternary, TERNARY;
    /// dx/da at constant I_x(a, b).
    BetaDrawGrad, "beta_draw_grad", Ternary, TERNARY;

    /// `softplus` and its derivative, `sigmoid`; the same bits as by themselves.
    SoftplusPair, "softplus_pair", Pair, PAIR;
    /// `log_sigmoid` and its derivative, `sigmoid(-x)`; the same bits as by themselves.
    LogSigmoidPair, "log_sigmoid_pair", Pair, PAIR;

    /// `(dst, n, key)`: uniform on the open interval (0, 1); never 0 or 1.
    Uniform, "uniform", Random, DRAW;
    /// `(dst, n, key)`: standard normal.
    Normal, "normal", Random, DRAW;
    /// `(dst, p, p_stride, n, key)`: gamma with shape `p > 0` and rate 1; NaN for other shapes.
    StandardGamma, "standard_gamma", Random, DRAW_PARAM;
    /// `(dst: int, p, p_stride, n, key)`: Poisson with rate `p >= 0`; -1 for other rates.
    Poisson, "poisson", Random, DRAW_INT;
    /// `(dst: int, trials: int, trials_stride, p, p_stride, n, key)`: binomial; -1 for negative trials or `p` outside [0, 1].
    Binomial, "binomial", Random, DRAW_BINOMIAL;
    /// `(dst: bool, p, p_stride, n, key)`: `u < p` for the element `u` that `uniform` would draw under the same key.
    Bernoulli, "bernoulli", Random, DRAW_BOOL;
    /// `(dst: int, p, p_row_stride, k, n, key)`: an index below `k` with probability in proportion to the weights
    /// `p[i * p_row_stride ..][.. k]`, by inversion of `uniform`'s element `i`; -1 if the weights have no positive finite sum.
    /// `p_row_stride` 0 means one row for all draws.
    Categorical, "categorical", Random, DRAW_ROWS;
    /// As `categorical`, from the logarithms of the weights (which need not be normalised).
    CategoricalLog, "categorical_log", Random, DRAW_ROWS;
    /// `(dst: int, n, key)`: a random permutation of `0 .. n`. Unlike other draws not a prefix of a longer one.
    Permutation, "permutation", Random, DRAW_PERMUTATION;

    /// `(dst: int, data, n, key)`: positions `step n .. (step + 1) n` of endless epochs, each a random permutation of `0 .. data`; for `n <= data <
    /// 2^32`. Epochs depend on the seed, the site and their number.
    Minibatch, "minibatch", Random, DRAW_MINIBATCH;

    /// `(c, a, b, m, n, k, a_row_stride, a_col_stride, b_row_stride, b_col_stride, batch, a_batch_stride, b_batch_stride,
    /// c_batch_stride, accumulate)`: `c = a b`, or `c += a b` with `accumulate`, for each of `batch` products. `a` is `m x k` and
    /// `b` is `k x n` with any strides (a batch stride of 0 shares an operand); each `c` is `m x n`, dense row-major.
    Gemm, "gemm", Linear, GEMM;
    /// `(dst, src, n, batch)`: lower Cholesky factors of `batch` symmetric `n x n` matrices, contiguous; reads the lower triangles,
    /// writes zeros above the diagonal. A matrix that is not positive definite gives a factor of NaN. `dst` may equal `src`.
    Cholesky, "cholesky", Linear, CHOLESKY;
    /// `(dst, a, b, n, m, batch, a_batch_stride, b_batch_stride, upper, transposed)`: solves `op(a) dst = b`, where `a` is `n x n`, lower
    /// triangular or `upper`, `op` transposes it if `transposed`, and `b` is `n x m`; all row-major, `dst` contiguous over the batch.
    /// Only the named triangle of `a` is read. `dst` may equal `b` if `b_batch_stride` is `n m`.
    TriangularSolve, "triangular_solve", Linear, TRIANGULAR_SOLVE;
    /// `(dst, src, planes, height, width, kernel_height, .., dilation_width)`: for each of the planes and each element of the window a row with that element
    /// at every position of the window; 0 where it lies outside of the plane. Sizes of the window and strides are at least 1.
    Unfold, "unfold", Linear, PATCHES;
    /// The adjoint of `unfold`: `src` holds the rows, `dst` the planes, to whose elements they are added up.
    Fold, "fold", Linear, PATCHES;

    /// `(dst, src, rows, cols)`: `dst[r] = log sum_c exp(src[r, c])`; -inf for empty rows.
    LogSumExpRows, "log_sum_exp_rows", Rows, ROWS;
    /// `(dst, src, rows, cols)`: `dst[r, c] = exp(src[r, c]) / sum`, stably; `dst` may equal `src`.
    SoftmaxRows, "softmax_rows", Rows, ROWS;
    /// `(dst, src, rows, cols)`: `dst[r, c] = src[r, c] - log_sum_exp(src[r])`; `dst` may equal `src`.
    LogSoftmaxRows, "log_softmax_rows", Rows, ROWS;
    /// `(dst, src, rows, cols, reverse)`: running sums along each row, from its end if `reverse`; `dst` may equal `src`.
    CumsumRows, "cumsum_rows", Rows, ROWS_REVERSIBLE;
    /// `(dst, src, rows, cols)`: `dst[r] = sum_c src[r, c]`; 0 for empty rows.
    SumRows, "sum_rows", Rows, ROWS;
    /// `(dst, src, rows, cols)`: `dst[r] = max_c src[r, c]`, NaN if one is NaN; -inf for empty rows.
    MaxRows, "max_rows", Rows, ROWS;
    /// `(dst, src, rows, cols)`: `dst[c] = sum_r src[r, c]`; 0 if there are no rows.
    SumCols, "sum_cols", Rows, ROWS;
    /// `(dst, src, index: int, rows, cols, len)`: `dst[r, c] = src[index[r], c]`, indices clamped to `0 .. len`, `len > 0`. Rows that come next are
    /// fetched early: they may lie anywhere in memory.
    GatherRows, "gather_rows", Rows, GATHER_ROWS;
}

impl Kernel {
    /// Upper bounds of an elementwise function's error over its whole domain, in units in the last place of double and of single precision, against
    /// values of 60 digits (`runtime/tensor/tests/accuracy.rs`). Those of functions of which single precision is the rounded double are 0.5 there.
    /// Digamma's is relative to 1 near its zeros. `None` for draws, rows and matrices, and for what is exact.
    pub const fn ulps(self) -> Option<(f64, f64)> {
        Some(match self {
            Kernel::Exp | Kernel::Log | Kernel::Log2 | Kernel::Log1p => (1.5, 1.5),
            Kernel::Sin | Kernel::Cos => (2.0, 2.0),
            Kernel::Expm1 => (2.5, 2.5),
            Kernel::Tan => (3.5, 3.5),
            Kernel::Tanh | Kernel::Sigmoid | Kernel::Softplus | Kernel::LogSigmoid => (3.0, 3.0),
            Kernel::SoftplusPair | Kernel::LogSigmoidPair => (3.0, 3.0),
            Kernel::LogAddExp | Kernel::Xlogy | Kernel::Xlog1py => (3.0, 3.0),
            Kernel::Rem => (0.0, 0.5),
            Kernel::Lgamma | Kernel::Lbeta => (16.0, 0.5),
            Kernel::Digamma | Kernel::Trigamma => (8.0, 0.5),
            Kernel::NormalCdf | Kernel::LogNormalCdf | Kernel::NormalQuantile | Kernel::ErfInv => (4.0, 0.5),
            Kernel::GammaP | Kernel::GammaQ | Kernel::GammaDrawGrad => (400.0, 0.5),
            Kernel::BetaInc => (200.0, 0.5),
            Kernel::LogBesselI0 | Kernel::BesselRatio => (8.0, 0.5),
            Kernel::VonMisesCdf | Kernel::VonMisesDrawGrad => (100.0, 0.5),
            Kernel::VonMisesQuantile => (400.0, 0.5),
            Kernel::BetaDrawGrad => (1000.0, 0.5),
            Kernel::Asin | Kernel::Acos | Kernel::Atan | Kernel::Sinh | Kernel::Cosh => (2.0, 0.5),
            Kernel::Erf | Kernel::Erfc | Kernel::Pow | Kernel::Atan2 => (2.0, 0.5),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArgKind, Elem};

    #[test]
    fn names_are_unique_and_found_again() {
        for &k in Kernel::ALL {
            assert_eq!(Kernel::from_name(k.name()), Some(k));
        }
        assert_eq!(Kernel::from_name("no_such_kernel"), None);
    }

    #[test]
    fn all_is_ordered_by_discriminant() {
        for (i, &k) in Kernel::ALL.iter().enumerate() {
            assert_eq!(k as usize, i);
        }
    }

    #[test]
    fn signatures_match_their_families() {
        for &k in Kernel::ALL {
            let args = k.sig().args;
            assert!(matches!(args[0].kind, ArgKind::Out(_)), "{}", k.name());
            let keys = args.iter().filter(|a| a.kind == ArgKind::Key).count();
            let inputs = args.iter().filter(|a| a.kind == ArgKind::In(Elem::Float)).count();
            match k.family() {
                Family::Unary => assert_eq!((args.len(), inputs), (3, 1)),
                Family::Pair => assert_eq!((args.len(), inputs), (4, 1)),
                Family::Binary => assert_eq!((args.len(), inputs), (6, 2)),
                Family::Ternary => assert_eq!((args.len(), inputs), (8, 3)),
                Family::Random => assert_eq!(keys, 4, "{}", k.name()),
                Family::Linear | Family::Rows => assert_eq!(keys, 0, "{}", k.name()),
            }
        }
    }
}
