//! Patches of images, as columns of a matrix, and their adjoint: what convolutions are made of.

use crate::float::Float;
use crate::isa::{Isa, per_isa};
use ppl_abi::Kernel;

/// Address of a kernel of this file.
pub(crate) fn address<T: Float>(kernel: Kernel, isa: Isa) -> Option<*const u8> {
    match kernel {
        Kernel::Unfold => Some(unfold::<T>(isa)),
        Kernel::Fold => Some(fold::<T>(isa)),
        _ => None,
    }
}

per_isa! {
    /// Address of `Kernel::Unfold`.
    unfold = unfold_body[T: Float](
        dst: *mut T, src: *const T, planes: usize, height: usize, width: usize, kernel_h: usize, kernel_w: usize, stride_h: usize,
        stride_w: usize, pad_h: usize, pad_w: usize, dilation_h: usize, dilation_w: usize)
}
per_isa! {
    /// Address of `Kernel::Fold`.
    fold = fold_body[T: Float](
        dst: *mut T, src: *const T, planes: usize, height: usize, width: usize, kernel_h: usize, kernel_w: usize, stride_h: usize,
        stride_w: usize, pad_h: usize, pad_w: usize, dilation_h: usize, dilation_w: usize)
}

/// Positions of a window along one axis, `at = out * stride + offset - pad`, of which `first..last` lie inside.
#[derive(Clone, Copy)]
struct Line {
    outs: usize,
    first: usize,
    last: usize,
    stride: usize,
    offset: usize,
    pad: usize,
}

impl Line {
    #[inline(always)]
    fn new(size: usize, outs: usize, stride: usize, offset: usize, pad: usize) -> Line {
        // The smallest `out` with `out * stride + offset >= pad`, and the smallest with `.. >= pad + size`.
        let least = |bound: usize| bound.saturating_sub(offset).div_ceil(stride).min(outs);
        let (first, last) = (least(pad), least(pad + size));
        Line { outs, first, last: last.max(first), stride, offset, pad }
    }

    #[inline(always)]
    fn at(self, out: usize) -> usize {
        out * self.stride + self.offset - self.pad
    }
}

/// Number of windows along an axis; 0 if the window is larger than the padded axis.
#[inline(always)]
fn windows(size: usize, kernel: usize, stride: usize, pad: usize, dilation: usize) -> usize {
    let span = dilation * (kernel - 1) + 1;
    if size + 2 * pad < span { 0 } else { (size + 2 * pad - span) / stride + 1 }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn unfold_body<T: Float>(
    dst: *mut T,
    src: *const T,
    planes: usize,
    height: usize,
    width: usize,
    kernel_h: usize,
    kernel_w: usize,
    stride_h: usize,
    stride_w: usize,
    pad_h: usize,
    pad_w: usize,
    dilation_h: usize,
    dilation_w: usize,
) {
    let rows = windows(height, kernel_h, stride_h, pad_h, dilation_h);
    let columns = windows(width, kernel_w, stride_w, pad_w, dilation_w);
    let mut to = dst;
    for plane in 0..planes {
        for i in 0..kernel_h {
            for j in 0..kernel_w {
                let y = Line::new(height, rows, stride_h, i * dilation_h, pad_h);
                let x = Line::new(width, columns, stride_w, j * dilation_w, pad_w);
                // SAFETY: the caller's buffers hold `planes` images and their patches; positions of `first..last` lie inside an image.
                unsafe {
                    for r in 0..y.outs {
                        let line = to.add(r * columns);
                        if r < y.first || r >= y.last {
                            (0..columns).for_each(|c| *line.add(c) = T::lit(0.0));
                            continue;
                        }
                        let from = src.add((plane * height + y.at(r)) * width);
                        (0..x.first).for_each(|c| *line.add(c) = T::lit(0.0));
                        if x.first < x.last && x.stride == 1 {
                            std::ptr::copy_nonoverlapping(from.add(x.at(x.first)), line.add(x.first), x.last - x.first);
                        } else {
                            (x.first..x.last).for_each(|c| *line.add(c) = *from.add(x.at(c)));
                        }
                        (x.last..columns).for_each(|c| *line.add(c) = T::lit(0.0));
                    }
                    to = to.add(rows * columns);
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the kernel's signature")]
unsafe fn fold_body<T: Float>(
    dst: *mut T,
    src: *const T,
    planes: usize,
    height: usize,
    width: usize,
    kernel_h: usize,
    kernel_w: usize,
    stride_h: usize,
    stride_w: usize,
    pad_h: usize,
    pad_w: usize,
    dilation_h: usize,
    dilation_w: usize,
) {
    let rows = windows(height, kernel_h, stride_h, pad_h, dilation_h);
    let columns = windows(width, kernel_w, stride_w, pad_w, dilation_w);
    let mut from = src;
    for plane in 0..planes {
        // SAFETY: as for `unfold_body`; `dst` is exclusive.
        unsafe {
            let image = dst.add(plane * height * width);
            (0..height * width).for_each(|e| *image.add(e) = T::lit(0.0));
            for i in 0..kernel_h {
                for j in 0..kernel_w {
                    let y = Line::new(height, rows, stride_h, i * dilation_h, pad_h);
                    let x = Line::new(width, columns, stride_w, j * dilation_w, pad_w);
                    for r in y.first..y.last {
                        let line = from.add(r * columns);
                        let to = image.add(y.at(r) * width);
                        if x.stride == 1 && x.first < x.last {
                            let start = to.add(x.at(x.first));
                            (0..x.last - x.first).for_each(|c| *start.add(c) = *start.add(c) + *line.add(x.first + c));
                        } else {
                            (x.first..x.last).for_each(|c| *to.add(x.at(c)) = *to.add(x.at(c)) + *line.add(c));
                        }
                    }
                    from = from.add(rows * columns);
                }
            }
        }
    }
}
