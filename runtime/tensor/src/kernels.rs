//! The kernels as safe functions on slices.

use crate::{Float, address};
use ppl_abi::{Family, Kernel, Key};

/// Why a kernel was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// The kernel is not of the family the function serves.
    Family {
        /// The kernel.
        kernel: Kernel,
    },
    /// A buffer has the wrong length.
    Length {
        /// The kernel.
        kernel: Kernel,
        /// The argument's name in the kernel's signature.
        argument: &'static str,
        /// Elements it must have.
        expected: usize,
        /// Elements it has.
        found: usize,
    },
    /// Sizes overflow the address space.
    TooLarge {
        /// The kernel.
        kernel: Kernel,
    },
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            KernelError::Family { kernel } => write!(f, "kernel `{}` does not take these arguments", kernel.name()),
            KernelError::Length { kernel, argument, expected, found } => {
                write!(f, "kernel `{}`: `{argument}` has {found} elements, {expected} are needed", kernel.name())
            }
            KernelError::TooLarge { kernel } => write!(f, "kernel `{}`: the sizes overflow", kernel.name()),
        }
    }
}

impl std::error::Error for KernelError {}

type Result = std::result::Result<(), KernelError>;

fn family(kernel: Kernel, wanted: bool) -> Result {
    if wanted { Ok(()) } else { Err(KernelError::Family { kernel }) }
}

fn length(kernel: Kernel, argument: &'static str, expected: Option<usize>, found: usize) -> Result {
    match expected {
        Some(expected) if expected == found => Ok(()),
        Some(expected) => Err(KernelError::Length { kernel, argument, expected, found }),
        None => Err(KernelError::TooLarge { kernel }),
    }
}

/// The stride of an operand of `found` elements, which serve `n` results: one for all, or one each.
fn stride(kernel: Kernel, argument: &'static str, n: usize, found: usize) -> std::result::Result<usize, KernelError> {
    match found {
        _ if found == n => Ok(1),
        1 => Ok(0),
        _ => Err(KernelError::Length { kernel, argument, expected: n, found }),
    }
}

/// Reads the kernel's address as a function of these argument types.
macro_rules! call {
    ($kernel:expr, $t:ty, ($($ty:ty),*), ($($arg:expr),*)) => {{
        let entry = address($kernel, <$t as Float>::PRECISION);
        // SAFETY: `address` gives a function of the kernel's documented signature, which this is, and the lengths were checked.
        unsafe { std::mem::transmute::<*const u8, unsafe extern "C" fn($($ty),*)>(entry)($($arg),*) }
    }};
}

/// `dst[i] = f(src[i])`.
pub fn unary<T: Float>(kernel: Kernel, dst: &mut [T], src: &[T]) -> Result {
    family(kernel, kernel.family() == Family::Unary)?;
    length(kernel, "src", Some(dst.len()), src.len())?;
    call!(kernel, T, (*mut T, *const T, usize), (dst.as_mut_ptr(), src.as_ptr(), dst.len()));
    Ok(())
}

/// `x[i] = f(x[i])`.
pub fn unary_in_place<T: Float>(kernel: Kernel, x: &mut [T]) -> Result {
    family(kernel, kernel.family() == Family::Unary)?;
    let p = x.as_mut_ptr();
    call!(kernel, T, (*mut T, *const T, usize), (p, p.cast_const(), x.len()));
    Ok(())
}

/// `dst[i] = f(src[i])` and `slope[i] = f'(src[i])`.
pub fn pair<T: Float>(kernel: Kernel, dst: &mut [T], slope: &mut [T], src: &[T]) -> Result {
    family(kernel, kernel.family() == Family::Pair)?;
    length(kernel, "src", Some(dst.len()), src.len())?;
    length(kernel, "slope", Some(dst.len()), slope.len())?;
    let args = (dst.as_mut_ptr(), slope.as_mut_ptr(), src.as_ptr(), dst.len());
    call!(kernel, T, (*mut T, *mut T, *const T, usize), (args.0, args.1, args.2, args.3));
    Ok(())
}

/// `dst[i] = f(a[i], b[i])`; an operand of one element serves all.
pub fn binary<T: Float>(kernel: Kernel, dst: &mut [T], a: &[T], b: &[T]) -> Result {
    family(kernel, kernel.family() == Family::Binary)?;
    let n = dst.len();
    let (sa, sb) = (stride(kernel, "a", n, a.len())?, stride(kernel, "b", n, b.len())?);
    call!(kernel, T, (*mut T, *const T, usize, *const T, usize, usize), (dst.as_mut_ptr(), a.as_ptr(), sa, b.as_ptr(), sb, n));
    Ok(())
}

/// `dst[i] = f(a[i], b[i], x[i])`; an operand of one element serves all.
pub fn ternary<T: Float>(kernel: Kernel, dst: &mut [T], a: &[T], b: &[T], x: &[T]) -> Result {
    family(kernel, kernel.family() == Family::Ternary)?;
    let n = dst.len();
    let (sa, sb) = (stride(kernel, "a", n, a.len())?, stride(kernel, "b", n, b.len())?);
    let sx = stride(kernel, "x", n, x.len())?;
    call!(
        kernel,
        T,
        (*mut T, *const T, usize, *const T, usize, *const T, usize, usize),
        (dst.as_mut_ptr(), a.as_ptr(), sa, b.as_ptr(), sb, x.as_ptr(), sx, n)
    );
    Ok(())
}

/// Fills `dst` with a draw of `uniform` or `normal`.
pub fn draw<T: Float>(kernel: Kernel, dst: &mut [T], key: Key) -> Result {
    family(kernel, matches!(kernel, Kernel::Uniform | Kernel::Normal))?;
    call!(kernel, T, (*mut T, usize, u64, u64, u64, u64), (dst.as_mut_ptr(), dst.len(), key.seed, key.site, key.step, key.time));
    Ok(())
}

/// Fills `dst` with a draw of `kernel` under parameters `p` (one for all, or one each), for the kernels whose only parameter is a float.
fn draw_with<T: Float, D>(kernel: Kernel, dst: &mut [D], p: &[T], key: Key) -> Result {
    let n = dst.len();
    let s = stride(kernel, "p", n, p.len())?;
    call!(
        kernel,
        T,
        (*mut D, *const T, usize, usize, u64, u64, u64, u64),
        (dst.as_mut_ptr(), p.as_ptr(), s, n, key.seed, key.site, key.step, key.time)
    );
    Ok(())
}

/// Standard gamma draws with these shapes.
pub fn draw_gamma<T: Float>(dst: &mut [T], shape: &[T], key: Key) -> Result {
    draw_with(Kernel::StandardGamma, dst, shape, key)
}

/// Poisson draws with these rates.
pub fn draw_poisson<T: Float>(dst: &mut [i64], rate: &[T], key: Key) -> Result {
    draw_with(Kernel::Poisson, dst, rate, key)
}

/// Bernoulli draws with these probabilities: 0 or 1.
pub fn draw_bernoulli<T: Float>(dst: &mut [u8], p: &[T], key: Key) -> Result {
    draw_with(Kernel::Bernoulli, dst, p, key)
}

/// Binomial draws.
pub fn draw_binomial<T: Float>(dst: &mut [i64], trials: &[i64], p: &[T], key: Key) -> Result {
    let kernel = Kernel::Binomial;
    let n = dst.len();
    let (st, sp) = (stride(kernel, "trials", n, trials.len())?, stride(kernel, "p", n, p.len())?);
    call!(
        kernel,
        T,
        (*mut i64, *const i64, usize, *const T, usize, usize, u64, u64, u64, u64),
        (dst.as_mut_ptr(), trials.as_ptr(), st, p.as_ptr(), sp, n, key.seed, key.site, key.step, key.time)
    );
    Ok(())
}

/// Draws of `categorical` or `categorical_log` from rows of `k` weights: one row for all, or one each.
pub fn draw_categorical<T: Float>(kernel: Kernel, dst: &mut [i64], p: &[T], k: usize, key: Key) -> Result {
    family(kernel, matches!(kernel, Kernel::Categorical | Kernel::CategoricalLog))?;
    let n = dst.len();
    let row = if p.len() == k {
        0
    } else {
        length(kernel, "p", n.checked_mul(k), p.len())?;
        k
    };
    call!(
        kernel,
        T,
        (*mut i64, *const T, usize, usize, usize, u64, u64, u64, u64),
        (dst.as_mut_ptr(), p.as_ptr(), row, k, n, key.seed, key.site, key.step, key.time)
    );
    Ok(())
}

/// A random permutation of `0 .. dst.len()`.
pub fn draw_permutation(dst: &mut [i64], key: Key) {
    call!(
        Kernel::Permutation,
        f64,
        (*mut i64, usize, u64, u64, u64, u64),
        (dst.as_mut_ptr(), dst.len(), key.seed, key.site, key.step, key.time)
    );
}

/// The data of a step: `dst.len()` of the indices `0 .. data`. Errors where there are not so many, or 2^32 and more.
pub fn draw_minibatch(dst: &mut [i64], data: usize, key: Key) -> Result {
    let kernel = Kernel::Minibatch;
    if dst.len() > data || u32::try_from(data).is_err() {
        return Err(KernelError::Length { kernel, argument: "dst", expected: data.min(u32::MAX as usize), found: dst.len() });
    }
    call!(
        kernel,
        f64,
        (*mut i64, usize, usize, u64, u64, u64, u64),
        (dst.as_mut_ptr(), data, dst.len(), key.seed, key.site, key.step, key.time)
    );
    Ok(())
}

/// Shape and strides of a batched product, in elements, as in `Kernel::Gemm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
    /// Row and column stride of `a`.
    pub a: (usize, usize),
    /// Row and column stride of `b`.
    pub b: (usize, usize),
    /// Number of products.
    pub batch: usize,
    /// Distances between the `a`s, the `b`s and the `c`s.
    pub batch_strides: (usize, usize, usize),
}

impl Gemm {
    /// One product of dense row-major matrices.
    pub fn dense(m: usize, n: usize, k: usize) -> Gemm {
        Gemm { m, n, k, a: (k, 1), b: (n, 1), batch: 1, batch_strides: (0, 0, 0) }
    }

    /// The same, of transposed `a`: stored dense as `k x m`.
    pub fn transpose_a(self) -> Gemm {
        Gemm { a: (1, self.m), ..self }
    }

    /// The same, of transposed `b`: stored dense as `n x k`.
    pub fn transpose_b(self) -> Gemm {
        Gemm { b: (1, self.k), ..self }
    }

    /// The same for a batch, each operand contiguous over it or shared.
    pub fn batched(self, batch: usize, share_a: bool, share_b: bool) -> Gemm {
        let a = if share_a { 0 } else { self.m * self.k };
        let b = if share_b { 0 } else { self.k * self.n };
        Gemm { batch, batch_strides: (a, b, self.m * self.n), ..self }
    }
}

/// Elements that `rows x cols` at these strides span, over a batch.
fn span(rows: usize, cols: usize, strides: (usize, usize), batch: usize, batch_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 || batch == 0 {
        return Some(0);
    }
    let last = (rows - 1).checked_mul(strides.0)?.checked_add((cols - 1).checked_mul(strides.1)?)?;
    last.checked_add((batch - 1).checked_mul(batch_stride)?)?.checked_add(1)
}

fn at_least(kernel: Kernel, argument: &'static str, needed: Option<usize>, found: usize) -> Result {
    match needed {
        Some(expected) if expected <= found => Ok(()),
        Some(expected) => Err(KernelError::Length { kernel, argument, expected, found }),
        None => Err(KernelError::TooLarge { kernel }),
    }
}

/// Batched `c = a b` or, if `accumulate`, `c += a b`.
pub fn gemm<T: Float>(c: &mut [T], a: &[T], b: &[T], g: Gemm, accumulate: bool) -> Result {
    let kernel = Kernel::Gemm;
    let (sa, sb, sc) = g.batch_strides;
    at_least(kernel, "a", span(g.m, g.k, g.a, g.batch, sa), a.len())?;
    at_least(kernel, "b", span(g.k, g.n, g.b, g.batch, sb), b.len())?;
    at_least(kernel, "c", span(g.m, g.n, (g.n, 1), g.batch, sc), c.len())?;
    call!(
        kernel,
        T,
        (*mut T, *const T, *const T, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize),
        (
            c.as_mut_ptr(),
            a.as_ptr(),
            b.as_ptr(),
            g.m,
            g.n,
            g.k,
            g.a.0,
            g.a.1,
            g.b.0,
            g.b.1,
            g.batch,
            sa,
            sb,
            sc,
            usize::from(accumulate)
        )
    );
    Ok(())
}

/// Lower Cholesky factors of the `n x n` matrices in `src`; NaN for those that are not positive definite.
pub fn cholesky<T: Float>(dst: &mut [T], src: &[T], n: usize) -> Result {
    let kernel = Kernel::Cholesky;
    let batch = batch_of(kernel, "src", src.len(), n.checked_mul(n))?;
    length(kernel, "dst", Some(src.len()), dst.len())?;
    call!(kernel, T, (*mut T, *const T, usize, usize), (dst.as_mut_ptr(), src.as_ptr(), n, batch));
    Ok(())
}

/// How many matrices of `each` elements make up `found`.
fn batch_of(
    kernel: Kernel,
    argument: &'static str,
    found: usize,
    each: Option<usize>,
) -> std::result::Result<usize, KernelError> {
    match each {
        Some(0) => Ok(0),
        Some(each) if found.is_multiple_of(each) => Ok(found / each),
        Some(each) => Err(KernelError::Length { kernel, argument, expected: each, found }),
        None => Err(KernelError::TooLarge { kernel }),
    }
}

/// Which triangle of the matrix counts, and whether it is transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triangle {
    /// Use the upper triangle.
    pub upper: bool,
    /// Solve with the transpose.
    pub transposed: bool,
}

/// Solves `op(a) dst = b` for each right-hand side of `n x m` in `b`; `a` holds one matrix for all, or one each.
pub fn triangular_solve<T: Float>(dst: &mut [T], a: &[T], b: &[T], n: usize, m: usize, triangle: Triangle) -> Result {
    let kernel = Kernel::TriangularSolve;
    let batch = batch_of(kernel, "b", b.len(), n.checked_mul(m))?;
    length(kernel, "dst", Some(b.len()), dst.len())?;
    let each = n.checked_mul(n);
    let shared = each == Some(a.len());
    if !shared {
        length(kernel, "a", each.and_then(|e| e.checked_mul(batch)), a.len())?;
    }
    call!(
        kernel,
        T,
        (*mut T, *const T, *const T, usize, usize, usize, usize, usize, usize, usize),
        (
            dst.as_mut_ptr(),
            a.as_ptr(),
            b.as_ptr(),
            n,
            m,
            batch,
            if shared { 0 } else { n * n },
            n * m,
            usize::from(triangle.upper),
            usize::from(triangle.transposed)
        )
    );
    Ok(())
}

/// A window that slides over planes of `height` by `width`; pairs are (rows, columns).
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Size of a plane.
    pub plane: (usize, usize),
    /// Size of the window, at least 1.
    pub kernel: (usize, usize),
    /// Distance of its positions, at least 1.
    pub stride: (usize, usize),
    /// Zeros around a plane.
    pub padding: (usize, usize),
    /// Distance of its elements, at least 1.
    pub dilation: (usize, usize),
}

/// The elements under the window at all of its positions, for each plane; the adjoint, which adds them up, if `fold`.
pub fn patches<T: Float>(dst: &mut [T], src: &[T], planes: usize, w: Window, fold: bool) -> Result {
    let kernel = if fold { Kernel::Fold } else { Kernel::Unfold };
    let along = |n: usize, k: usize, s: usize, p: usize, d: usize| {
        let span = d.checked_mul(k.checked_sub(1)?)?.checked_add(1)?;
        Some(n.checked_add(p.checked_mul(2)?)?.checked_sub(span)? / s.max(1) + 1)
    };
    let rows = along(w.plane.0, w.kernel.0, w.stride.0, w.padding.0, w.dilation.0);
    let columns = along(w.plane.1, w.kernel.1, w.stride.1, w.padding.1, w.dilation.1);
    let product = |all: &[Option<usize>]| all.iter().try_fold(planes, |n, x| n.checked_mul((*x)?));
    let whole = product(&[Some(w.plane.0), Some(w.plane.1)]);
    let pieces = product(&[Some(w.kernel.0), Some(w.kernel.1), rows, columns]);
    let (to, from) = if fold { (whole, pieces) } else { (pieces, whole) };
    length(kernel, "dst", to, dst.len())?;
    length(kernel, "src", from, src.len())?;
    call!(
        kernel,
        T,
        (*mut T, *const T, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize, usize),
        (
            dst.as_mut_ptr(),
            src.as_ptr(),
            planes,
            w.plane.0,
            w.plane.1,
            w.kernel.0,
            w.kernel.1,
            w.stride.0,
            w.stride.1,
            w.padding.0,
            w.padding.1,
            w.dilation.0,
            w.dilation.1
        )
    );
    Ok(())
}

/// Rows of `cols` elements of `src` at these indices, clamped to those that there are; none of none.
pub fn gather_rows<T: Float>(dst: &mut [T], src: &[T], index: &[i64], cols: usize) -> Result {
    let kernel = Kernel::GatherRows;
    let len = batch_of(kernel, "src", src.len(), Some(cols))?;
    length(kernel, "dst", index.len().checked_mul(cols), dst.len())?;
    if len == 0 && !dst.is_empty() {
        return Err(KernelError::Length { kernel, argument: "src", expected: cols, found: 0 });
    }
    call!(
        kernel,
        T,
        (*mut T, *const T, *const i64, usize, usize, usize),
        (dst.as_mut_ptr(), src.as_ptr(), index.as_ptr(), index.len(), cols, len)
    );
    Ok(())
}

/// A row kernel other than `cumsum_rows` and `gather_rows`, on `rows` rows of `cols`.
pub fn rows<T: Float>(kernel: Kernel, dst: &mut [T], src: &[T], rows: usize, cols: usize) -> Result {
    family(kernel, kernel.family() == Family::Rows && !matches!(kernel, Kernel::CumsumRows | Kernel::GatherRows))?;
    let all = rows.checked_mul(cols);
    length(kernel, "src", all, src.len())?;
    let out = match kernel {
        Kernel::SoftmaxRows | Kernel::LogSoftmaxRows => all,
        Kernel::SumCols => Some(cols),
        _ => Some(rows),
    };
    length(kernel, "dst", out, dst.len())?;
    call!(kernel, T, (*mut T, *const T, usize, usize), (dst.as_mut_ptr(), src.as_ptr(), rows, cols));
    Ok(())
}

/// Running sums along rows of `cols`, from their ends if `reverse`.
pub fn cumsum_rows<T: Float>(dst: &mut [T], src: &[T], cols: usize, reverse: bool) -> Result {
    let kernel = Kernel::CumsumRows;
    let rows = batch_of(kernel, "src", src.len(), Some(cols))?;
    length(kernel, "dst", Some(src.len()), dst.len())?;
    call!(kernel, T, (*mut T, *const T, usize, usize, usize), (dst.as_mut_ptr(), src.as_ptr(), rows, cols, usize::from(reverse)));
    Ok(())
}
