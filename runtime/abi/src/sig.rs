//! Signatures of kernels, as data.

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// `f32` or `f64`, by the run's precision.
    Float,
    /// `i64`.
    Int,
    /// `u8`, 0 or 1.
    Bool,
}

/// What one argument means. All are 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// Pointer to a buffer the kernel writes.
    Out(Elem),
    /// Pointer to a buffer the kernel reads.
    In(Elem),
    /// `usize`: distance between elements of the input before it, 0 (one value for all) or 1.
    Stride,
    /// `usize`: a length, or a distance in elements.
    Count,
    /// `u64`: a part of a [`Key`](crate::Key).
    Key,
    /// `usize`: 0 for no, 1 for yes.
    Flag,
}

/// One argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Name, as the kernel's documentation uses it.
    pub name: &'static str,
    /// Meaning.
    pub kind: ArgKind,
}

/// The arguments of a kernel, in order. No kernel returns a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSig {
    /// The arguments.
    pub args: &'static [Arg],
}

const fn out(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::Out(Elem::Float) }
}
const fn out_int(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::Out(Elem::Int) }
}
const fn out_bool(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::Out(Elem::Bool) }
}
const fn input(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::In(Elem::Float) }
}
const fn input_int(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::In(Elem::Int) }
}
const fn stride(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::Stride }
}
const fn count(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::Count }
}
const fn flag(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::Flag }
}
const fn key(name: &'static str) -> Arg {
    Arg { name, kind: ArgKind::Key }
}

const SEED: Arg = key("seed");
const SITE: Arg = key("site");
const STEP: Arg = key("step");
const TIME: Arg = key("time");

pub(crate) const UNARY: &[Arg] = &[out("dst"), input("src"), count("n")];
pub(crate) const PAIR: &[Arg] = &[out("dst"), out("slope"), input("src"), count("n")];
pub(crate) const BINARY: &[Arg] = &[out("dst"), input("a"), stride("a_stride"), input("b"), stride("b_stride"), count("n")];
pub(crate) const TERNARY: &[Arg] =
    &[out("dst"), input("a"), stride("a_stride"), input("b"), stride("b_stride"), input("x"), stride("x_stride"), count("n")];
pub(crate) const DRAW: &[Arg] = &[out("dst"), count("n"), SEED, SITE, STEP, TIME];
pub(crate) const DRAW_PARAM: &[Arg] = &[out("dst"), input("p"), stride("p_stride"), count("n"), SEED, SITE, STEP, TIME];
pub(crate) const DRAW_INT: &[Arg] = &[out_int("dst"), input("p"), stride("p_stride"), count("n"), SEED, SITE, STEP, TIME];
pub(crate) const DRAW_BOOL: &[Arg] = &[out_bool("dst"), input("p"), stride("p_stride"), count("n"), SEED, SITE, STEP, TIME];
pub(crate) const DRAW_BINOMIAL: &[Arg] = &[
    out_int("dst"),
    input_int("trials"),
    stride("trials_stride"),
    input("p"),
    stride("p_stride"),
    count("n"),
    SEED,
    SITE,
    STEP,
    TIME,
];
pub(crate) const DRAW_ROWS: &[Arg] =
    &[out_int("dst"), input("p"), count("p_row_stride"), count("k"), count("n"), SEED, SITE, STEP, TIME];
pub(crate) const DRAW_PERMUTATION: &[Arg] = &[out_int("dst"), count("n"), SEED, SITE, STEP, TIME];
pub(crate) const DRAW_MINIBATCH: &[Arg] = &[out_int("dst"), count("data"), count("n"), SEED, SITE, STEP, TIME];
pub(crate) const GATHER_ROWS: &[Arg] =
    &[out("dst"), input("src"), input_int("index"), count("rows"), count("cols"), count("len")];
pub(crate) const GEMM: &[Arg] = &[
    out("c"),
    input("a"),
    input("b"),
    count("m"),
    count("n"),
    count("k"),
    count("a_row_stride"),
    count("a_col_stride"),
    count("b_row_stride"),
    count("b_col_stride"),
    count("batch"),
    count("a_batch_stride"),
    count("b_batch_stride"),
    count("c_batch_stride"),
    flag("accumulate"),
];
pub(crate) const CHOLESKY: &[Arg] = &[out("dst"), input("src"), count("n"), count("batch")];
pub(crate) const TRIANGULAR_SOLVE: &[Arg] = &[
    out("dst"),
    input("a"),
    input("b"),
    count("n"),
    count("m"),
    count("batch"),
    count("a_batch_stride"),
    count("b_batch_stride"),
    flag("upper"),
    flag("transposed"),
];
pub(crate) const PATCHES: &[Arg] = &[
    out("dst"),
    input("src"),
    count("planes"),
    count("height"),
    count("width"),
    count("kernel_height"),
    count("kernel_width"),
    count("stride_height"),
    count("stride_width"),
    count("pad_height"),
    count("pad_width"),
    count("dilation_height"),
    count("dilation_width"),
];
pub(crate) const ROWS: &[Arg] = &[out("dst"), input("src"), count("rows"), count("cols")];
pub(crate) const ROWS_REVERSIBLE: &[Arg] = &[out("dst"), input("src"), count("rows"), count("cols"), flag("reverse")];
