//! Shape operations that cancel, compose or change nothing.
//!
//! ```text
//! op x = x                          where nothing changes (whole slice, no padding, identity permutation, one part, ..)
//! op (op x) = op' x                 broadcast, transpose, reshape, slice, pad, reverse
//! transpose (broadcast x)           = broadcast x             reshape (broadcast s) = broadcast s
//! slice (broadcast x)               = broadcast (slice x)     reverse (broadcast x) = broadcast x   (repeated axis)
//! slice (concat xs), slice (pad x)  = slice of the part it lies in
//! broadcast (reshape x)             = broadcast x             where the reshape only adds axes of size 1
//! ```
//!
//! All of them are exact.

use super::{Cx, Rewrite};
use ppl_core::{Op, Stage, Ty};

impl<S: Stage> Cx<'_, S> {
    pub(super) fn layout(&mut self, op: &Op<S>, ty: &Ty) -> Rewrite<S> {
        match op {
            Op::Broadcast { x, shape, axes } => {
                if self.shape(*x) == shape {
                    return Rewrite::Atom(*x);
                }
                match self.def(*x) {
                    Some(Op::Broadcast { x: y, axes: inner, .. }) => {
                        Rewrite::Op(Op::Broadcast { x: *y, shape: shape.clone(), axes: inner.iter().map(|a| axes[*a]).collect() })
                    }
                    Some(Op::Reshape { x: y, .. }) => match unit_axes(self.shape(*y), self.shape(*x)) {
                        Some(kept) => {
                            let axes = kept.iter().map(|a| axes[*a]).collect();
                            Rewrite::Op(Op::Broadcast { x: *y, shape: shape.clone(), axes })
                        }
                        None => Rewrite::Keep,
                    },
                    _ => Rewrite::Keep,
                }
            }
            Op::Transpose { x, perm } => {
                if perm.iter().enumerate().all(|(i, p)| i == *p) {
                    return Rewrite::Atom(*x);
                }
                match self.def(*x) {
                    Some(Op::Transpose { x: y, perm: inner }) => {
                        Rewrite::Op(Op::Transpose { x: *y, perm: perm.iter().map(|p| inner[*p]).collect() })
                    }
                    Some(Op::Broadcast { x: y, axes, .. }) => {
                        let moved: Vec<usize> = axes.iter().filter_map(|a| perm.iter().position(|p| p == a)).collect();
                        if moved.is_sorted() {
                            Rewrite::Op(Op::Broadcast { x: *y, shape: ty.shape.clone(), axes: moved })
                        } else {
                            Rewrite::Keep
                        }
                    }
                    _ => self.transposed_dot(*x, perm),
                }
            }
            Op::Reshape { x, shape } => {
                if self.shape(*x) == shape {
                    return Rewrite::Atom(*x);
                }
                match self.def(*x) {
                    Some(Op::Reshape { x: y, .. }) => Rewrite::Op(Op::Reshape { x: *y, shape: shape.clone() }),
                    _ => match self.scalar_of(*x) {
                        Some(s) => self.fit(s, shape),
                        None => Rewrite::Keep,
                    },
                }
            }
            Op::Slice { x, axis, start, len } => self.slice(op, *x, *axis, *start, *len),
            Op::Pad { x, axis, before, after } => {
                if *before == 0 && *after == 0 {
                    return Rewrite::Atom(*x);
                }
                match self.def(*x) {
                    Some(Op::Pad { x: y, axis: inner, before: b, after: a }) if inner == axis => {
                        Rewrite::Op(Op::Pad { x: *y, axis: *axis, before: before + b, after: after + a })
                    }
                    _ => Rewrite::Keep,
                }
            }
            Op::Concat { xs, axis } => match xs[..] {
                [x] => Rewrite::Atom(x),
                _ if xs.iter().any(|x| self.shape(*x)[*axis] == 0) => {
                    let rest: Vec<_> = xs.iter().copied().filter(|x| self.shape(*x)[*axis] > 0).collect();
                    match rest[..] {
                        [] => Rewrite::Atom(xs[0]),
                        _ => Rewrite::Op(Op::Concat { xs: rest, axis: *axis }),
                    }
                }
                _ => Rewrite::Keep,
            },
            Op::Reverse { x, axis } => {
                if self.shape(*x)[*axis] <= 1 {
                    return Rewrite::Atom(*x);
                }
                match self.def(*x) {
                    Some(Op::Reverse { x: y, axis: inner }) if inner == axis => Rewrite::Atom(*y),
                    Some(Op::Broadcast { axes, .. }) if !axes.contains(axis) => Rewrite::Atom(*x),
                    _ => Rewrite::Keep,
                }
            }
            _ => Rewrite::Keep,
        }
    }

    fn slice(&mut self, op: &Op<S>, x: ppl_core::Atom, axis: usize, start: usize, len: usize) -> Rewrite<S> {
        if start == 0 && len == self.shape(x)[axis] {
            return Rewrite::Atom(x);
        }
        let slice = |x, start| Rewrite::Op(Op::Slice { x, axis, start, len });
        match self.def(x).cloned() {
            Some(Op::Slice { x: y, axis: inner, start: s, .. }) if inner == axis => slice(y, s + start),
            Some(Op::Pad { x: y, axis: inner, before, .. })
                if inner == axis && start >= before && start + len <= before + self.shape(y)[axis] =>
            {
                slice(y, start - before)
            }
            Some(Op::Concat { xs, axis: inner }) if inner == axis => {
                let mut offset = 0;
                for part in xs {
                    let size = self.shape(part)[axis];
                    if start >= offset && start + len <= offset + size {
                        return slice(part, start - offset);
                    }
                    offset += size;
                }
                Rewrite::Keep
            }
            Some(Op::Broadcast { x: y, mut shape, axes }) => {
                shape[axis] = len;
                let x = match axes.iter().position(|a| *a == axis) {
                    None => y,
                    Some(inner) => {
                        let mut ty = self.ty(y);
                        ty.shape[inner] = len;
                        self.emit(Op::Slice { x: y, axis: inner, start, len }, "sl", ty)
                    }
                };
                Rewrite::Op(Op::Broadcast { x, shape, axes })
            }
            _ => {
                debug_assert!(matches!(op, Op::Slice { .. }));
                Rewrite::Keep
            }
        }
    }
}

/// Where `to` is `from` with axes of size 1 added: the axes of `to` that `from`'s axes became.
fn unit_axes(from: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let mut kept = Vec::with_capacity(from.len());
    for (i, n) in to.iter().enumerate() {
        // A size-1 axis of `from` may match any of several; the first is as good as another.
        if from.get(kept.len()) == Some(n) {
            kept.push(i);
        } else if *n != 1 {
            return None;
        }
    }
    (kept.len() == from.len()).then_some(kept)
}
