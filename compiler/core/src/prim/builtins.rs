//! The language's structural functions: those that are not elementwise primitives.
//!
//! A second table beside [`PRIMS`](super::PRIMS), of what documentation, completion and the type checker say of each. Their
//! typing and translation are the checker's.

/// Heading under which the documentation lists a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Whole arrays or one axis to fewer numbers.
    Reduce,
    /// Along an axis, size unchanged.
    Scan,
    /// Vectors and matrices.
    Matrix,
    /// Making and reshaping arrays.
    Array,
    /// Conversions.
    Convert,
    /// Densities, traces and gradients, in objectives and strategies.
    Estimate,
    /// Guides derived from a target, at compile time.
    Guide,
    /// Draws of the run-time, in `sample` programs of distributions.
    Random,
}

/// A structural function of the language.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinDef {
    /// Name.
    pub name: &'static str,
    /// How it is called, in the language's type syntax: `..` stands for further axes or arguments, `?` for an argument that may be
    /// left out, `any` and `num` for one element type throughout.
    pub sig: &'static str,
    /// What it computes; the first sentence stands alone.
    pub doc: &'static str,
    /// An expression and its value, or a line of a program and an empty value.
    pub example: (&'static str, &'static str),
    /// Heading in the documentation.
    pub topic: Topic,
}

/// The function of this name, if there is one.
pub fn builtin(name: &str) -> Option<&'static BuiltinDef> {
    BUILTINS.iter().find(|b| b.name == name)
}

const fn row(
    topic: Topic,
    name: &'static str,
    sig: &'static str,
    doc: &'static str,
    example: (&'static str, &'static str),
) -> BuiltinDef {
    BuiltinDef { name, sig, doc, example, topic }
}

/// All structural functions, by topic.
pub const BUILTINS: &[BuiltinDef] = &[
    row(
        Topic::Reduce,
        "sum",
        "sum(x: num[..], axis: int?) -> num[..]",
        "Sum of all elements, or along `axis`; 0 if there are none.",
        ("sum([1.0, 2.0, 4.0])", "7.0"),
    ),
    row(
        Topic::Reduce,
        "prod",
        "prod(x: num[..], axis: int?) -> num[..]",
        "Product of all elements, or along `axis`; 1 if there are none.",
        ("prod([1.0, 2.0, 4.0])", "8.0"),
    ),
    row(
        Topic::Reduce,
        "all",
        "all(x: bool[..], axis: int?) -> bool[..]",
        "Whether every element is true, of all or along `axis`.",
        ("all([true, false])", "false"),
    ),
    row(
        Topic::Reduce,
        "any",
        "any(x: bool[..], axis: int?) -> bool[..]",
        "Whether at least one element is true, of all or along `axis`.",
        ("any([true, false])", "true"),
    ),
    row(
        Topic::Reduce,
        "maximum",
        "maximum(x: num[..], axis: int?) -> num[..]",
        "The largest of all elements, or along `axis`; NaN if one is NaN. See `max` for two numbers.",
        ("maximum([1.0, 4.0, 2.0])", "4.0"),
    ),
    row(
        Topic::Reduce,
        "minimum",
        "minimum(x: num[..], axis: int?) -> num[..]",
        "The smallest of all elements, or along `axis`; NaN if one is NaN. See `min` for two numbers.",
        ("minimum([1.0, 4.0, 2.0])", "1.0"),
    ),
    row(
        Topic::Reduce,
        "argmax",
        "argmax(x: num[N]) -> int",
        "Index of the largest element, the first one of equals.",
        ("argmax([1.0, 4.0, 4.0])", "1"),
    ),
    row(Topic::Reduce, "mean", "mean(x: real[..]) -> real", "Arithmetic mean of all elements.", ("mean([1.0, 2.0, 6.0])", "3.0")),
    row(
        Topic::Reduce,
        "var",
        "var(x: real[..]) -> real",
        "Variance of all elements, with the divisor `size(x) - 1`.",
        ("var([1.0, 2.0, 3.0])", "1.0"),
    ),
    row(
        Topic::Reduce,
        "sd",
        "sd(x: real[..]) -> real",
        "Standard deviation of all elements, with the divisor `size(x) - 1`.",
        ("sd([1.0, 2.0, 3.0])", "1.0"),
    ),
    row(
        Topic::Reduce,
        "norm",
        "norm(x: real[..]) -> real",
        "Euclidean length: the square root of the sum of squares.",
        ("norm([3.0, 4.0])", "5.0"),
    ),
    row(
        Topic::Reduce,
        "log_sum_exp",
        "log_sum_exp(x: real[..]) -> real",
        "`log(sum(exp(x)))` without overflow; -inf where all elements are.",
        ("log_sum_exp([1.0, 2.0])", "2.313261687518223"),
    ),
    row(
        Topic::Reduce,
        "log_mean_exp",
        "log_mean_exp(x: real[..]) -> real",
        "`log(mean(exp(x)))` without overflow.",
        ("log_mean_exp([1.0, 1.0])", "1.0"),
    ),
    row(
        Topic::Scan,
        "cumsum",
        "cumsum(x: num[N]) -> num[N]",
        "Running sum along the first axis.",
        ("cumsum([1.0, 2.0, 4.0])", "[1.0, 3.0, 7.0]"),
    ),
    row(
        Topic::Scan,
        "softmax",
        "softmax(x: real[N]) -> simplex[N]",
        "Probabilities proportional to `exp(x)`.",
        ("softmax([0.0, 0.0])", "[0.5, 0.5]"),
    ),
    row(
        Topic::Scan,
        "log_softmax",
        "log_softmax(x: real[N]) -> real[N]",
        "Logarithms of `softmax(x)`, without underflow.",
        ("log_softmax([0.0, 0.0])", "[-0.6931471805599453, -0.6931471805599453]"),
    ),
    row(
        Topic::Scan,
        "reverse",
        "reverse(x: any[N, ..]) -> any[N, ..]",
        "The elements in reverse order along the first axis.",
        ("reverse([1.0, 2.0, 4.0])", "[4.0, 2.0, 1.0]"),
    ),
    row(
        Topic::Matrix,
        "dot",
        "dot(a: real[N], b: real[N]) -> real",
        "Inner product of two vectors.",
        ("dot([1.0, 2.0], [3.0, 4.0])", "11.0"),
    ),
    row(
        Topic::Matrix,
        "matmul",
        "matmul(a: real[N, M], b: real[M, K]) -> real[N, K]",
        "Matrix product; `b` may be a vector `real[M]`, which gives `real[N]`.",
        ("matmul([[1.0, 2.0], [3.0, 4.0]], [1.0, 1.0])", "[3.0, 7.0]"),
    ),
    row(
        Topic::Matrix,
        "outer",
        "outer(a: real[N], b: real[M]) -> real[N, M]",
        "Every product of an element of `a` and one of `b`.",
        ("outer([1.0, 2.0], [3.0, 4.0])", "[[3.0, 4.0], [6.0, 8.0]]"),
    ),
    row(
        Topic::Matrix,
        "transpose",
        "transpose(x: any[N, M]) -> any[M, N]",
        "Rows and columns exchanged.",
        ("transpose([[1.0, 2.0], [3.0, 4.0]])", "[[1.0, 3.0], [2.0, 4.0]]"),
    ),
    row(
        Topic::Matrix,
        "cholesky",
        "cholesky(a: real[N, N]) -> real[N, N]",
        "The lower triangular `l` with positive diagonal for which `l` times its transpose is `a`; NaN where `a` is not positive definite. Reads the lower triangle.",
        ("cholesky([[4.0, 2.0], [2.0, 5.0]])", "[[2.0, 0.0], [1.0, 2.0]]"),
    ),
    row(
        Topic::Matrix,
        "solve_lower",
        "solve_lower(l: real[N, N], b: real[N]) -> real[N]",
        "The solution `x` of `matmul(l, x) = b` for lower triangular `l`; `b` may be a matrix `real[N, M]`.",
        ("solve_lower([[2.0, 0.0], [1.0, 2.0]], [2.0, 5.0])", "[1.0, 2.0]"),
    ),
    row(
        Topic::Matrix,
        "solve_upper_t",
        "solve_upper_t(l: real[N, N], b: real[N]) -> real[N]",
        "The solution `x` of `matmul(transpose(l), x) = b` for lower triangular `l`; `b` may be a matrix `real[N, M]`.",
        ("solve_upper_t([[2.0, 0.0], [1.0, 2.0]], [4.0, 4.0])", "[1.0, 2.0]"),
    ),
    row(
        Topic::Matrix,
        "log_det_cholesky",
        "log_det_cholesky(l: real[N, N]) -> real",
        "Logarithm of the determinant of the matrix whose lower Cholesky factor is `l`.",
        ("log_det_cholesky([[1.0, 0.0], [3.0, 1.0]])", "0.0"),
    ),
    row(
        Topic::Matrix,
        "diag",
        "diag(x: real[N, N]) -> real[N]",
        "The diagonal of a matrix; of a vector `real[N]` the diagonal matrix `real[N, N]`.",
        ("diag([[1.0, 2.0], [3.0, 4.0]])", "[1.0, 4.0]"),
    ),
    row(Topic::Matrix, "eye", "eye(n: int) -> real[n, n]", "The identity matrix.", ("eye(2)", "[[1.0, 0.0], [0.0, 1.0]]")),
    row(
        Topic::Array,
        "zeros",
        "zeros(n: int, ..) -> real[n, ..]",
        "An array of zeros of the given sizes.",
        ("zeros(2)", "[0.0, 0.0]"),
    ),
    row(
        Topic::Array,
        "ones",
        "ones(n: int, ..) -> real[n, ..]",
        "An array of ones of the given sizes.",
        ("ones(2)", "[1.0, 1.0]"),
    ),
    row(
        Topic::Array,
        "full",
        "full(x: any, n: int, ..) -> any[n, ..]",
        "An array of the given sizes that repeats one value.",
        ("full(2.5, 2)", "[2.5, 2.5]"),
    ),
    row(Topic::Array, "range", "range(n: int) -> int[n]", "The integers from 0 to `n - 1`.", ("range(3)", "[0, 1, 2]")),
    row(
        Topic::Array,
        "linspace",
        "linspace(lo: real, hi: real, n: int) -> real[n]",
        "`n` equally spaced numbers from `lo` to `hi`, both included.",
        ("linspace(0.0, 1.0, 3)", "[0.0, 0.5, 1.0]"),
    ),
    row(
        Topic::Array,
        "length",
        "length(x: any[N, ..]) -> int",
        "Size of the first axis, known when the program is compiled.",
        ("length([1.0, 2.0])", "2"),
    ),
    row(
        Topic::Array,
        "size",
        "size(x: any[..]) -> int",
        "Number of elements, known when the program is compiled.",
        ("size([[1.0, 2.0], [3.0, 4.0]])", "4"),
    ),
    row(
        Topic::Array,
        "shape",
        "shape(x: any[..]) -> int[R]",
        "Sizes of the axes, known when the program is compiled.",
        ("shape([[1.0], [2.0]])", "[2, 1]"),
    ),
    row(
        Topic::Array,
        "reshape",
        "reshape(x: any[..], n: int, ..) -> any[n, ..]",
        "The same elements, row by row, with other sizes.",
        ("reshape([1.0, 2.0, 3.0, 4.0], 2, 2)", "[[1.0, 2.0], [3.0, 4.0]]"),
    ),
    row(
        Topic::Array,
        "unfold",
        "unfold(x: real[C, H, W], kernel_height: int, kernel_width: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> real[K, L]",
        "The elements of each channel under a window at each of its `L` positions: `K = C * kernel_height * kernel_width` rows, zeros outside of the image. `matmul(w, unfold(x, ..))` is a convolution.",
        ("unfold([[[1.0, 2.0], [3.0, 4.0]]], 1, 2)", "[[1.0, 3.0], [2.0, 4.0]]"),
    ),
    row(
        Topic::Array,
        "fold",
        "fold(y: real[K, L], height: int, width: int, kernel_height: int, kernel_width: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> real[C, height, width]",
        "The adjoint of `unfold`: patches put back in their places and added up where they overlap.",
        ("fold([[1.0, 3.0], [2.0, 4.0]], 2, 2, 1, 2)", "[[[1.0, 2.0], [3.0, 4.0]]]"),
    ),
    row(
        Topic::Array,
        "concat",
        "concat(a: any[N, ..], b: any[M, ..], ..) -> any[N + M, ..]",
        "Arrays one after the other along the first axis.",
        ("concat([1.0], [2.0, 3.0])", "[1.0, 2.0, 3.0]"),
    ),
    row(
        Topic::Array,
        "stack",
        "stack(a: any[..], b: any[..], ..) -> any[K, ..]",
        "`K` arrays of the same sizes along a new first axis.",
        ("stack([1.0, 2.0], [3.0, 4.0])", "[[1.0, 2.0], [3.0, 4.0]]"),
    ),
    row(Topic::Convert, "real", "real(x: any) -> real", "A number as a real; false is 0 and true is 1.", ("real(3)", "3.0")),
    row(
        Topic::Convert,
        "int",
        "int(x: any) -> int",
        "A real without its fraction as an integer; false is 0 and true is 1.",
        ("int(2.75)", "2"),
    ),
    row(
        Topic::Estimate,
        "stop",
        "stop(x: any[..]) -> any[..]",
        "The value without its gradient; of a program, the program with its parameters detached.",
        ("stop(2.5)", "2.5"),
    ),
    row(
        Topic::Estimate,
        "density",
        "density(d: dist, x: any) -> real",
        "Density (or probability) of a value. Of a program and a trace: its density.",
        ("density(flip(0.25), true)", "0.25"),
    ),
    row(
        Topic::Estimate,
        "log_density",
        "log_density(p: target, t: trace) -> real",
        "Log density of a trace. Of a distribution and a value: the value's log density.",
        ("log_density(exponential(1.0), 2.0)", "-2.0"),
    ),
    row(
        Topic::Estimate,
        "cdf",
        "cdf(d: dist, x: real) -> real",
        "Distribution function: the probability of values up to `x`. For distributions with a `cdf` program.",
        ("cdf(exponential(1.0), 2.0)", "0.8646647167633873"),
    ),
    row(
        Topic::Estimate,
        "score",
        "score(d: dist, x: any) -> real",
        "In a strategy: value 0, with the gradient of the log density of `x` with respect to the parameters of `d`.",
        ("score(d, x)", ""),
    ),
    row(
        Topic::Estimate,
        "kl",
        "kl(d1: dist, d2: dist) -> real",
        "The Kullback-Leibler divergence of `d1` from `d2`, `E[log_density(d1, x) - log_density(d2, x)]` for `x` drawn from `d1`, in closed form. Summed over independent elements. The pairs are those that distributions declare: `kl(normal(m, s)) = ..` in `dist normal(mu, sigma)`.",
        ("kl(normal(0.0, 1.0), normal(1.0, 2.0))", "0.4431471805599453"),
    ),
    row(
        Topic::Estimate,
        "expected_log_weight",
        "expected_log_weight(p: target, q: gen, t: trace) -> estimate",
        "`log_density(p, t) - log_density(q, t)` of a trace that `q` has just drawn, or a value of the same mean and less variance: minus the divergence `kl` stands for the log densities of each choice for which it is declared, if what the distribution in `p` depends on is not drawn by `q` from that choice.",
        ("expected_log_weight(p, q, t)", ""),
    ),
    row(
        Topic::Estimate,
        "sim",
        "sim(q: gen) -> (trace, real)",
        "Runs a program forward: its trace and the trace's log density.",
        ("let (t, log_q) = sim(q)", ""),
    ),
    row(
        Topic::Estimate,
        "grad",
        "grad(e: real, x: any) -> real[..]",
        "In an objective or strategy: the gradient of `e` with respect to the variable `x`, a number or an array, of its shape; of a trace, one vector of the derivatives by all its real choices. `e` is written in place and draws nothing; what comes out is differentiated like any value.",
        ("grad(log_density(p, t), t)", ""),
    ),
    row(
        Topic::Estimate,
        "restrict",
        "restrict(t: trace, p: target) -> trace",
        "The part of a trace that a program or target chooses itself: what was simulated as data is left out.",
        ("log_density(q with data { y: t.y }, restrict(t, q))", ""),
    ),
    row(
        Topic::Estimate,
        "path",
        "path(d: dist) -> any",
        "In a strategy: a draw through which derivatives flow to the parameters of `d`.",
        ("k(path(d))", ""),
    ),
    row(
        Topic::Estimate,
        "fresh",
        "fresh(k) -> continuation",
        "In a strategy: the continuation with random numbers of its own, so that products of its values are unbiased.",
        ("fresh(k)(x)", ""),
    ),
    row(
        Topic::Estimate,
        "noise",
        "noise(d: dist, x?) -> value",
        "A draw that is not part of the trace, with `x` one for each of its elements: what is computed from it, such as a log density, is an estimate of its mean over such draws.",
        ("noise(flip(0.9), x)", ""),
    ),
    row(
        Topic::Estimate,
        "fitting",
        "fitting() -> bool",
        "Whether this is a step of a fit; false in evaluations, draws and simulations. Known while compiling.",
        ("if fitting() { x * real(noise(flip(0.9), x)) / 0.9 } else { x }", ""),
    ),
    row(
        Topic::Estimate,
        "support",
        "support(d: dist) -> support",
        "The set of values of a distribution, to loop over if it is finite; of an address in a guide, that of the latent choice.",
        ("sum(for x in support(d) { density(d, x) * k(x) })", ""),
    ),
    row(
        Topic::Guide,
        "latents",
        "latents(p: target) -> addresses",
        "The addresses of a target's latent choices, to loop over at compile time.",
        ("for a in latents(p) { a ~ constrain(normal(0, 1), support(a)) }", ""),
    ),
    row(
        Topic::Guide,
        "dim",
        "dim(a: address) -> sizes",
        "Sizes of a latent choice on unconstrained space.",
        ("param loc: real[dim(a)] = init(a)", ""),
    ),
    row(
        Topic::Guide,
        "init",
        "init(a: address) -> real[..]",
        "Initial values for a latent choice on unconstrained space.",
        ("param loc: real[dim(a)] = init(a)", ""),
    ),
    row(
        Topic::Guide,
        "constrain",
        "constrain(d: dist, s: support) -> dist",
        "The distribution of a draw of `d` carried to the support `s` by its bijector, with the Jacobian in the density.",
        ("x ~ constrain(normal(0, 1), positive)", ""),
    ),
    row(
        Topic::Random,
        "random_uniform",
        "random_uniform() -> real",
        "A uniform number on the open interval (0, 1). For the `sample` program of a `dist`.",
        ("random_uniform()", ""),
    ),
    row(
        Topic::Random,
        "random_normal",
        "random_normal() -> real",
        "A standard normal number. For the `sample` program of a `dist`.",
        ("mu + sigma * random_normal()", ""),
    ),
    row(
        Topic::Random,
        "random_gamma",
        "random_gamma(shape: positive) -> real",
        "A gamma number with rate 1. Derivatives flow to `shape`. For the `sample` program of a `dist`.",
        ("random_gamma(shape) / rate", ""),
    ),
    row(
        Topic::Random,
        "random_poisson",
        "random_poisson(rate: positive) -> int",
        "A Poisson count. For the `sample` program of a `dist`.",
        ("random_poisson(rate)", ""),
    ),
    row(
        Topic::Random,
        "random_binomial",
        "random_binomial(n: int, p: unit) -> int",
        "The number of successes in `n` trials. For the `sample` program of a `dist`.",
        ("random_binomial(n, p)", ""),
    ),
    row(
        Topic::Random,
        "random_categorical",
        "random_categorical(probs: simplex[K]) -> int",
        "An index from 0 to `K - 1`, drawn with these probabilities. For the `sample` program of a `dist`.",
        ("random_categorical(probs)", ""),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_signatures_start_with_them() {
        let mut names: Vec<&str> = BUILTINS.iter().map(|b| b.name).collect();
        for b in BUILTINS {
            assert!(b.sig.strip_prefix(b.name).is_some_and(|s| s.starts_with('(')), "{}", b.sig);
            assert!(b.sig.contains(") -> ") && b.doc.ends_with('.') && !b.example.0.is_empty(), "{}", b.name);
            assert!(crate::Prim::by_name(b.name).is_none_or(|p| !p.def().callable), "{} is a primitive too", b.name);
            assert_eq!(builtin(b.name).map(|f| f.sig), Some(b.sig));
        }
        assert!(BUILTINS.windows(2).all(|w| w[0].topic <= w[1].topic), "grouped by topic");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), BUILTINS.len());
    }
}
