//! Batched matrix products: faer's kernel on one thread, with own loops where a call costs more than the product.

use crate::float::Float;
use crate::isa::{Isa, per_isa};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ppl_abi::Kernel;
use std::mem::MaybeUninit;

/// A matrix in memory: element (i, j) at `ptr + i * row + j * col`.
#[derive(Clone, Copy)]
pub struct Strided<P> {
    /// First element.
    pub ptr: P,
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub col: usize,
}

/// Matrix products of one float type.
pub trait Product: Sized {
    /// `c = alpha a b`, or `c += alpha a b` if `accumulate`; `c` is `m x n` and `a` is `m x k`.
    ///
    /// # Safety
    ///
    /// The pointers are valid for their shapes and strides, and `c` overlaps neither `a` nor `b`.
    #[allow(clippy::too_many_arguments, reason = "three matrices and their shape")]
    unsafe fn product(
        c: Strided<*mut Self>,
        a: Strided<*const Self>,
        b: Strided<*const Self>,
        m: usize,
        n: usize,
        k: usize,
        alpha: Self,
        accumulate: bool,
    );
}

macro_rules! product {
    ($t:ty) => {
        impl Product for $t {
            unsafe fn product(
                c: Strided<*mut $t>,
                a: Strided<*const $t>,
                b: Strided<*const $t>,
                m: usize,
                n: usize,
                k: usize,
                alpha: $t,
                accumulate: bool,
            ) {
                let beta = if accumulate { Accum::Add } else { Accum::Replace };
                // SAFETY: the caller vouches for the three matrices.
                unsafe {
                    let c = MatMut::from_raw_parts_mut(c.ptr, m, n, c.row as isize, c.col as isize);
                    let a = MatRef::from_raw_parts(a.ptr, m, k, a.row as isize, a.col as isize);
                    let b = MatRef::from_raw_parts(b.ptr, k, n, b.row as isize, b.col as isize);
                    matmul(c, beta, a, b, alpha, Par::Seq);
                }
            }
        }
    };
}
product!(f32);
product!(f64);

/// Products of at most this many multiplications are done here.
const SMALL_WORK: usize = 4096;
/// Elements of an operand that may be packed for that.
const PACKED: usize = 512;

/// Address of a kernel of this file.
pub(crate) fn address<T: Float>(kernel: Kernel, isa: Isa) -> Option<*const u8> {
    match kernel {
        Kernel::Gemm => Some(gemm::<T>(isa)),
        _ => None,
    }
}

per_isa! {
    /// Address of `Kernel::Gemm`.
    gemm = gemm_body[T: Float](
        c: *mut T, a: *const T, b: *const T, m: usize, n: usize, k: usize, a_row: usize, a_col: usize, b_row: usize, b_col: usize,
        batch: usize, a_batch: usize, b_batch: usize, c_batch: usize, accumulate: usize)
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn gemm_body<T: Float>(
    c: *mut T,
    a: *const T,
    b: *const T,
    m: usize,
    n: usize,
    k: usize,
    a_row: usize,
    a_col: usize,
    b_row: usize,
    b_col: usize,
    batch: usize,
    a_batch: usize,
    b_batch: usize,
    c_batch: usize,
    accumulate: usize,
) {
    let accumulate = accumulate != 0;
    let work = m.saturating_mul(n).saturating_mul(k);
    for i in 0..batch {
        // SAFETY: the caller's buffers hold `batch` matrices at these distances.
        unsafe {
            let c = Strided { ptr: c.add(i * c_batch), row: n, col: 1 };
            let a = Strided { ptr: a.add(i * a_batch), row: a_row, col: a_col };
            let b = Strided { ptr: b.add(i * b_batch), row: b_row, col: b_col };
            if n == 1 && a_col == 1 && b_row == 1 {
                matrix_vector(c.ptr, a, b.ptr, m, k, accumulate);
            } else if m == 1 && n >= LANES && b_col == 1 && k > 0 {
                vector_matrix(c.ptr, a, b, n, k, accumulate);
            } else if k == 0 || (b_col == 1 && (m == 1 || work <= SMALL_WORK)) {
                by_rows(c.ptr, a, b, m, n, k, accumulate);
            } else if work <= SMALL_WORK && n.saturating_mul(k) <= PACKED {
                let mut rows = [const { MaybeUninit::<T>::uninit() }; PACKED];
                let rows = rows.as_mut_ptr().cast::<T>();
                pack(b, n, k, rows);
                by_rows(c.ptr, a, Strided { ptr: rows.cast_const(), row: n, col: 1 }, m, n, k, accumulate);
            } else {
                by_blocks(c, a, b, m, n, k, accumulate);
            }
        }
    }
}

/// Rows of a piece of a few columns that is computed the other way round.
const TURNED: usize = 256;

/// A product in which the library's kernel has no short last block of columns. It takes six vectors of them at a time (three before AVX-512), and a rest
/// of one vector costs as much as two: those columns are computed as rows of the transpose, where they are what the kernel repeats.
unsafe fn by_blocks<T: Float>(
    c: Strided<*mut T>,
    a: Strided<*const T>,
    b: Strided<*const T>,
    m: usize,
    n: usize,
    k: usize,
    accumulate: bool,
) {
    let (vector, block) = if Isa::best() == Isa::Avx512 { (64, 6) } else { (32, 3) };
    let vector = vector / size_of::<T>();
    let rest = n % (block * vector);
    // In double precision the detour costs what it saves.
    let turn = size_of::<T>() == 4 && n > rest && rest > 0 && rest <= vector && m >= 32 && k >= 32;
    // SAFETY: the caller's matrices, in two parts that cover the columns of `c`.
    unsafe {
        if !turn {
            return T::product(c, a, b, m, n, k, T::lit(1.0), accumulate);
        }
        let whole = n - rest;
        T::product(c, a, b, m, whole, k, T::lit(1.0), accumulate);
        let mut piece = [const { MaybeUninit::<T>::uninit() }; 16 * TURNED];
        let piece = piece.as_mut_ptr().cast::<T>();
        let left = Strided { ptr: b.ptr.add(whole * b.col), row: b.col, col: b.row };
        for from in (0..m).step_by(TURNED) {
            let rows = (m - from).min(TURNED);
            let right = Strided { ptr: a.ptr.add(from * a.row), row: a.col, col: a.row };
            T::product(Strided { ptr: piece, row: rows, col: 1 }, left, right, rest, rows, k, T::lit(1.0), false);
            for i in 0..rows {
                for j in 0..rest {
                    let (to, x) = (&mut *c.ptr.add((from + i) * c.row + whole + j), *piece.add(j * rows + i));
                    *to = if accumulate { *to + x } else { x };
                }
            }
        }
    }
}

/// Elements that are worked on together.
const LANES: usize = 16;

/// Contiguous rows of `a` times a contiguous vector: four rows at a time.
#[inline(always)]
unsafe fn matrix_vector<T: Float>(c: *mut T, a: Strided<*const T>, b: *const T, m: usize, k: usize, accumulate: bool) {
    if k < LANES {
        for i in 0..m {
            // SAFETY: row `i` of `a`, all of `b`, element `i` of `c`.
            unsafe {
                let y = dot(a.ptr.add(i * a.row), b, k);
                let c = &mut *c.add(i);
                *c = if accumulate { *c + y } else { y };
            }
        }
        return;
    }
    let mut lanes = [const { MaybeUninit::<[T; LANES]>::uninit() }; BATCH];
    let full = k / LANES * LANES;
    for first in (0..m).step_by(BATCH) {
        let rows = (m - first).min(BATCH);
        let mut r = 0;
        // SAFETY: rows below `m`, which get a place in `lanes` each.
        unsafe {
            while rows - r >= 4 {
                some_rows::<T, 4>(lanes.as_mut_ptr().add(r).cast(), a.ptr.add((first + r) * a.row), a.row, b, full);
                r += 4;
            }
            while r < rows {
                some_rows::<T, 1>(lanes.as_mut_ptr().add(r).cast(), a.ptr.add((first + r) * a.row), a.row, b, full);
                r += 1;
            }
            for (r, lanes) in lanes[..rows].iter().enumerate() {
                let mut y = halved(lanes.assume_init_ref());
                for at in full..k {
                    y = (*a.ptr.add((first + r) * a.row + at)).fma(*b.add(at), y);
                }
                let c = &mut *c.add(first + r);
                *c = if accumulate { *c + y } else { y };
            }
        }
    }
}

/// Rows whose sums are added up together, after the products: either loop stays simple.
const BATCH: usize = 32;

/// Products of `R` contiguous rows with `b`, lane by lane, of the first `k` elements, a multiple of [`LANES`].
#[inline(always)]
unsafe fn some_rows<T: Float, const R: usize>(to: *mut [T; LANES], a: *const T, row: usize, b: *const T, k: usize) {
    let mut sum = [[T::lit(0.0); LANES]; R];
    for at in (0..k).step_by(LANES) {
        // SAFETY: `at + LANES` is at most `k`.
        unsafe {
            let y = b.add(at).cast::<[T; LANES]>().read_unaligned();
            for r in 0..R {
                let x = a.add(r * row + at).cast::<[T; LANES]>().read_unaligned();
                for j in 0..LANES {
                    sum[r][j] = x[j].fma(y[j], sum[r][j]);
                }
            }
        }
    }
    for (r, s) in sum.iter().enumerate() {
        // SAFETY: there are `R` places.
        unsafe { to.add(r).write(*s) }
    }
}

/// The sum of lanes, halves onto halves.
#[inline(always)]
fn halved<T: Float>(lanes: &[T; LANES]) -> T {
    let (mut eight, mut four) = ([T::lit(0.0); 8], [T::lit(0.0); 4]);
    for j in 0..8 {
        eight[j] = lanes[j] + lanes[j + 8];
    }
    for j in 0..4 {
        four[j] = eight[j] + eight[j + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// A vector times a matrix of contiguous rows: up to 64 columns at a time, two rows at a time, so that sums don't wait for one another.
#[inline(always)]
unsafe fn vector_matrix<T: Float>(c: *mut T, a: Strided<*const T>, b: Strided<*const T>, n: usize, k: usize, accumulate: bool) {
    let mut at = 0;
    // SAFETY: columns `at..at + here` exist; there are at least `LANES` of them up to the end.
    unsafe {
        while at < n {
            let here = (n - at).min(4 * LANES);
            let (c, from) = (c.add(at), Strided { ptr: b.ptr.add(at), ..b });
            match here.div_ceil(LANES) {
                1 if here == LANES => columns::<T, 1>(c, a, from, here, k, accumulate),
                2 => columns::<T, 2>(c, a, from, here, k, accumulate),
                3 => columns::<T, 3>(c, a, from, here, k, accumulate),
                4 => columns::<T, 4>(c, a, from, here, k, accumulate),
                _ => by_rows(c, a, from, 1, here, k, accumulate),
            }
            at += here;
        }
    }
}

/// `n` columns in `V` vectors, of which the last one may begin inside the one before; what they share is computed twice, to the same bits.
#[inline(always)]
unsafe fn columns<T: Float, const V: usize>(
    c: *mut T,
    a: Strided<*const T>,
    b: Strided<*const T>,
    n: usize,
    k: usize,
    accumulate: bool,
) {
    let start = |v: usize| if v + 1 == V { n - LANES } else { v * LANES };
    let mut sum = [[[T::lit(0.0); LANES]; V]; 2];
    // SAFETY: every vector lies within the `n` columns of rows below `k`.
    unsafe {
        if accumulate {
            for v in 0..V {
                sum[0][v] = c.add(start(v)).cast::<[T; LANES]>().read_unaligned();
            }
        }
        let pairs = k / 2 * 2;
        for p in (0..pairs).step_by(2) {
            for (h, part) in sum.iter_mut().enumerate() {
                let x = *a.ptr.add((p + h) * a.col);
                let row = b.ptr.add((p + h) * b.row);
                for v in 0..V {
                    let y = row.add(start(v)).cast::<[T; LANES]>().read_unaligned();
                    for j in 0..LANES {
                        part[v][j] = x.fma(y[j], part[v][j]);
                    }
                }
            }
        }
        if pairs < k {
            let x = *a.ptr.add(pairs * a.col);
            for v in 0..V {
                let y = b.ptr.add(pairs * b.row + start(v)).cast::<[T; LANES]>().read_unaligned();
                for j in 0..LANES {
                    sum[0][v][j] = x.fma(y[j], sum[0][v][j]);
                }
            }
        }
        for v in 0..V {
            let mut out = sum[0][v];
            for j in 0..LANES {
                out[j] += sum[1][v][j];
            }
            c.add(start(v)).cast::<[T; LANES]>().write_unaligned(out);
        }
    }
}

/// Sum of products of two contiguous vectors, in a fixed order.
///
/// # Safety
///
/// Both are valid for reads of `n` elements.
#[inline(always)]
pub(crate) unsafe fn dot<T: Float>(a: *const T, b: *const T, n: usize) -> T {
    const L: usize = 32;
    let mut lanes = [T::lit(0.0); L];
    let full = n / L * L;
    for at in (0..full).step_by(L) {
        // SAFETY: `at + L` is at most `n`.
        let (x, y) = unsafe { (a.add(at).cast::<[T; L]>().read_unaligned(), b.add(at).cast::<[T; L]>().read_unaligned()) };
        for i in 0..L {
            lanes[i] = x[i].fma(y[i], lanes[i]);
        }
    }
    let mut tail = T::lit(0.0);
    for i in full..n {
        // SAFETY: `i` is below `n`.
        tail = unsafe { (*a.add(i)).fma(*b.add(i), tail) };
    }
    if full == 0 {
        return tail;
    }
    let mut width = L / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0] + tail
}

/// Row of `c` after row, each as a sum of contiguous rows of `b`.
#[inline(always)]
unsafe fn by_rows<T: Float>(
    c: *mut T,
    a: Strided<*const T>,
    b: Strided<*const T>,
    m: usize,
    n: usize,
    k: usize,
    accumulate: bool,
) {
    let mut at = 0;
    // SAFETY: `panel` gets `N` columns from `at`, of which all exist.
    unsafe {
        while n - at >= 32 {
            panel::<T, 32>(c, a, b, at, m, n, k, accumulate);
            at += 32;
        }
        if n - at >= 16 {
            panel::<T, 16>(c, a, b, at, m, n, k, accumulate);
            at += 16;
        }
        if n - at >= 8 {
            panel::<T, 8>(c, a, b, at, m, n, k, accumulate);
            at += 8;
        }
        if n - at >= 4 {
            panel::<T, 4>(c, a, b, at, m, n, k, accumulate);
            at += 4;
        }
        if n - at >= 2 {
            panel::<T, 2>(c, a, b, at, m, n, k, accumulate);
            at += 2;
        }
        if at < n {
            panel::<T, 1>(c, a, b, at, m, n, k, accumulate);
        }
    }
}

/// `N` columns of `c`, from column `at` on: four rows at a time, to have independent sums, then one.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "three matrices, their shape and a panel of it")]
unsafe fn panel<T: Float, const N: usize>(
    c: *mut T,
    a: Strided<*const T>,
    b: Strided<*const T>,
    at: usize,
    m: usize,
    n: usize,
    k: usize,
    accumulate: bool,
) {
    let mut i = 0;
    // SAFETY: rows below the matrices' heights, and `N` columns that exist.
    unsafe {
        while m - i >= 4 {
            tile::<T, 4, N>(c.add(i * n + at), n, a.ptr.add(i * a.row), a, b.ptr.add(at), b.row, k, accumulate);
            i += 4;
        }
        while i < m {
            tile::<T, 1, N>(c.add(i * n + at), n, a.ptr.add(i * a.row), a, b.ptr.add(at), b.row, k, accumulate);
            i += 1;
        }
    }
}

/// `R` rows and `N` columns of `c`; `c`, `from` and `b` point at the tile's first elements.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "three matrices and a tile")]
unsafe fn tile<T: Float, const R: usize, const N: usize>(
    c: *mut T,
    c_row: usize,
    from: *const T,
    a: Strided<*const T>,
    b: *const T,
    b_row: usize,
    k: usize,
    accumulate: bool,
) {
    // SAFETY: the caller's tile exists in `c`, its rows in `a` and its columns in `b`.
    unsafe {
        let mut sum = [[T::lit(0.0); N]; R];
        if accumulate {
            for r in 0..R {
                sum[r] = c.add(r * c_row).cast::<[T; N]>().read_unaligned();
            }
        }
        for p in 0..k {
            let y = b.add(p * b_row).cast::<[T; N]>().read_unaligned();
            for r in 0..R {
                let x = *from.add(r * a.row + p * a.col);
                for j in 0..N {
                    sum[r][j] = x.fma(y[j], sum[r][j]);
                }
            }
        }
        for r in 0..R {
            c.add(r * c_row).cast::<[T; N]>().write_unaligned(sum[r]);
        }
    }
}

/// Copies a small `k x n` matrix into contiguous rows.
///
/// # Safety
///
/// `b` is valid, and `to` has room for `k * n` elements.
#[inline(always)]
unsafe fn pack<T: Float>(b: Strided<*const T>, n: usize, k: usize, to: *mut T) {
    for p in 0..k {
        for j in 0..n {
            // SAFETY: indices below the matrix's shape.
            unsafe { *to.add(p * n + j) = *b.ptr.add(p * b.row + j * b.col) }
        }
    }
}
