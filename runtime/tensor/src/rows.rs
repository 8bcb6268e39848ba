//! Reductions and scans along the rows of a dense array.

use crate::float::Float;
use crate::isa::{Isa, per_isa};
use ppl_abi::Kernel;

/// Lanes of partial results. Fixed, so that sums are associated the same way on every machine.
const L: usize = 32;

/// Address of a kernel of this file.
pub(crate) fn address<T: Float>(kernel: Kernel, isa: Isa) -> Option<*const u8> {
    match kernel {
        Kernel::LogSumExpRows => Some(log_sum_exp_rows::<T>(isa)),
        Kernel::SoftmaxRows => Some(softmax_rows::<T>(isa)),
        Kernel::LogSoftmaxRows => Some(log_softmax_rows::<T>(isa)),
        Kernel::CumsumRows => Some(cumsum_rows::<T>(isa)),
        Kernel::SumRows => Some(sum_rows::<T>(isa)),
        Kernel::MaxRows => Some(max_rows::<T>(isa)),
        Kernel::SumCols => Some(sum_cols::<T>(isa)),
        Kernel::GatherRows => Some(gather_rows::<T>(isa)),
        _ => None,
    }
}

per_isa! { log_sum_exp_rows = log_sum_exp_body[T: Float](dst: *mut T, src: *const T, rows: usize, cols: usize) }
per_isa! { softmax_rows = softmax_body[T: Float](dst: *mut T, src: *const T, rows: usize, cols: usize) }
per_isa! { log_softmax_rows = log_softmax_body[T: Float](dst: *mut T, src: *const T, rows: usize, cols: usize) }
per_isa! { cumsum_rows = cumsum_body[T: Float](dst: *mut T, src: *const T, rows: usize, cols: usize, reverse: usize) }
per_isa! { sum_rows = sum_body[T: Float](dst: *mut T, src: *const T, rows: usize, cols: usize) }
per_isa! { max_rows = max_body[T: Float](dst: *mut T, src: *const T, rows: usize, cols: usize) }
per_isa! {
    gather_rows = gather_rows_body[T: Float](
        dst: *mut T, src: *const T, index: *const i64, rows: usize, cols: usize, len: usize)
}
per_isa! { sum_cols = sum_cols_body[T: Float](dst: *mut T, src: *const T, rows: usize, cols: usize) }

/// A reduction: `join` over `map` of the elements. A trait, as closures would not be compiled for the instruction set.
trait Reduction<T> {
    fn start(&self) -> T;
    fn map(&self, x: T) -> T;
    fn join(a: T, b: T) -> T;
}

struct Sum;
impl<T: Float> Reduction<T> for Sum {
    #[inline(always)]
    fn start(&self) -> T {
        T::lit(0.0)
    }
    #[inline(always)]
    fn map(&self, x: T) -> T {
        x
    }
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a + b
    }
}

struct Max;
impl<T: Float> Reduction<T> for Max {
    #[inline(always)]
    fn start(&self) -> T {
        -T::INF
    }
    #[inline(always)]
    fn map(&self, x: T) -> T {
        x
    }
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        max(a, b)
    }
}

/// Sum of exponentials above a shift.
struct SumExp<T>(T);
impl<T: Float> Reduction<T> for SumExp<T> {
    #[inline(always)]
    fn start(&self) -> T {
        T::lit(0.0)
    }
    #[inline(always)]
    fn map(&self, x: T) -> T {
        (x - self.0).exp_()
    }
    #[inline(always)]
    fn join(a: T, b: T) -> T {
        a + b
    }
}

/// Reduces a contiguous row into lanes, and the lanes pairwise.
///
/// # Safety
///
/// `src` is valid for reads of `n` elements.
#[inline(always)]
unsafe fn reduce<T: Float, R: Reduction<T>>(src: *const T, n: usize, r: R) -> T {
    let full = n / L * L;
    let mut tail = r.start();
    let mut lanes = [tail; L];
    for at in (0..full).step_by(L) {
        // SAFETY: `at + L` is at most `n`.
        let x = unsafe { src.add(at).cast::<[T; L]>().read_unaligned() };
        for i in 0..L {
            lanes[i] = R::join(lanes[i], r.map(x[i]));
        }
    }
    for i in full..n {
        // SAFETY: `i` is below `n`.
        tail = R::join(tail, r.map(unsafe { *src.add(i) }));
    }
    if full > 0 {
        let mut width = L / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = R::join(lanes[i], lanes[i + width]);
            }
            width /= 2;
        }
        tail = R::join(lanes[0], tail);
    }
    tail
}

/// The larger one; NaN if one is NaN.
#[inline(always)]
fn max<T: Float>(a: T, b: T) -> T {
    // `a` also if it is NaN: then both comparisons are false.
    if b >= a {
        b
    } else if a > b {
        a
    } else {
        a + b
    }
}

/// Maximum and sum of exponentials of the rest; the shift is 0 where the maximum is infinite, so that -inf and inf come out right.
#[inline(always)]
unsafe fn shifted_sum<T: Float>(src: *const T, n: usize) -> (T, T) {
    // SAFETY: the caller's row holds `n` elements.
    unsafe {
        let top = reduce(src, n, Max);
        let shift = if top.abs_() < T::INF { top } else { T::lit(0.0) };
        (shift, reduce(src, n, SumExp(shift)))
    }
}

#[inline(always)]
unsafe fn log_sum_exp_body<T: Float>(dst: *mut T, src: *const T, rows: usize, cols: usize) {
    for r in 0..rows {
        // SAFETY: row `r` of `src`, element `r` of `dst`.
        unsafe {
            let (shift, sum) = shifted_sum(src.add(r * cols), cols);
            *dst.add(r) = shift + sum.log_();
        }
    }
}

#[inline(always)]
unsafe fn softmax_body<T: Float>(dst: *mut T, src: *const T, rows: usize, cols: usize) {
    for r in 0..rows {
        // SAFETY: row `r` of both; each element is read before it is written.
        unsafe {
            let src = src.add(r * cols);
            let (shift, sum) = shifted_sum(src, cols);
            map(dst.add(r * cols), src, cols, Share(shift, sum));
        }
    }
}

#[inline(always)]
unsafe fn log_softmax_body<T: Float>(dst: *mut T, src: *const T, rows: usize, cols: usize) {
    for r in 0..rows {
        // SAFETY: row `r` of both; each element is read before it is written.
        unsafe {
            let src = src.add(r * cols);
            let (shift, sum) = shifted_sum(src, cols);
            let log_sum = sum.log_();
            map(dst.add(r * cols), src, cols, LogShare(shift, log_sum));
        }
    }
}

/// What a softmax does to each element.
trait Normalise<T> {
    fn apply(&self, x: T) -> T;
}

/// Subtracts, exponentiates, divides.
struct Share<T>(T, T);
impl<T: Float> Normalise<T> for Share<T> {
    #[inline(always)]
    fn apply(&self, x: T) -> T {
        (x - self.0).exp_() / self.1
    }
}

/// Subtracts twice.
struct LogShare<T>(T, T);
impl<T: Float> Normalise<T> for LogShare<T> {
    #[inline(always)]
    fn apply(&self, x: T) -> T {
        (x - self.0) - self.1
    }
}

/// Elementwise over a row, in blocks, so that `dst` may equal `src`.
///
/// # Safety
///
/// Both are valid for `n` elements, equal or apart.
#[inline(always)]
unsafe fn map<T: Float>(dst: *mut T, src: *const T, n: usize, f: impl Normalise<T>) {
    let full = n / L * L;
    for at in (0..full).step_by(L) {
        // SAFETY: `at + L` is at most `n`.
        unsafe {
            let mut x = src.add(at).cast::<[T; L]>().read_unaligned();
            for lane in &mut x {
                *lane = f.apply(*lane);
            }
            dst.add(at).cast::<[T; L]>().write_unaligned(x);
        }
    }
    for i in full..n {
        // SAFETY: `i` is below `n`.
        unsafe { *dst.add(i) = f.apply(*src.add(i)) }
    }
}

#[inline(always)]
unsafe fn cumsum_body<T: Float>(dst: *mut T, src: *const T, rows: usize, cols: usize, reverse: usize) {
    for r in 0..rows {
        let mut sum = T::lit(0.0);
        for c in 0..cols {
            let at = r * cols + if reverse != 0 { cols - 1 - c } else { c };
            // SAFETY: `at` is below `rows * cols`.
            unsafe {
                sum += *src.add(at);
                *dst.add(at) = sum;
            }
        }
    }
}

#[inline(always)]
unsafe fn sum_body<T: Float>(dst: *mut T, src: *const T, rows: usize, cols: usize) {
    for r in 0..rows {
        // SAFETY: row `r` of `src`, element `r` of `dst`.
        unsafe { *dst.add(r) = reduce(src.add(r * cols), cols, Sum) }
    }
}

#[inline(always)]
unsafe fn max_body<T: Float>(dst: *mut T, src: *const T, rows: usize, cols: usize) {
    for r in 0..rows {
        // SAFETY: row `r` of `src`, element `r` of `dst`.
        unsafe { *dst.add(r) = reduce(src.add(r * cols), cols, Max) }
    }
}

/// Rows that are fetched before they are copied.
const AHEAD: usize = 6;
/// Bytes of a row that are fetched early at most; the processor goes on by itself.
const EARLY: usize = 1024;

#[inline(always)]
unsafe fn gather_rows_body<T: Float>(dst: *mut T, src: *const T, index: *const i64, rows: usize, cols: usize, len: usize) {
    // SAFETY: row `r` of the index exists, and is clamped to a row of `src`.
    let row = |r: usize| unsafe { src.add((*index.add(r)).clamp(0, len as i64 - 1) as usize * cols) };
    let bytes = (cols * size_of::<T>()).min(EARLY);
    for r in 0..rows {
        if r + AHEAD < rows {
            let next = row(r + AHEAD).cast::<u8>();
            for at in (0..bytes).step_by(64) {
                fetch(next.wrapping_add(at));
            }
        }
        // SAFETY: `cols` elements each, of different buffers.
        unsafe { std::ptr::copy_nonoverlapping(row(r), dst.add(r * cols), cols) }
    }
}

/// Asks for a line of memory, if the machine can be asked.
#[inline(always)]
fn fetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[inline(always)]
unsafe fn sum_cols_body<T: Float>(dst: *mut T, src: *const T, rows: usize, cols: usize) {
    let full = cols / L * L;
    for at in (0..full).step_by(L) {
        let mut sum = [T::lit(0.0); L];
        for r in 0..rows {
            // SAFETY: `at + L` is at most `cols`, and `r` is a row.
            let x = unsafe { src.add(r * cols + at).cast::<[T; L]>().read_unaligned() };
            for i in 0..L {
                sum[i] += x[i];
            }
        }
        // SAFETY: as above.
        unsafe { dst.add(at).cast::<[T; L]>().write_unaligned(sum) }
    }
    for c in full..cols {
        let mut sum = T::lit(0.0);
        for r in 0..rows {
            // SAFETY: `c` is a column, and `r` a row.
            sum += unsafe { *src.add(r * cols + c) };
        }
        // SAFETY: as above.
        unsafe { *dst.add(c) = sum }
    }
}
