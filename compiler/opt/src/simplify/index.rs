//! Indexing by known indices.
//!
//! ```text
//! gather(x, i)                       = reshape(slice x)          i a literal in range
//! gather(x, iota n)                  = x                         n the whole axis; also with batch axes
//! gather(x, iota n + k)              = slice x                   in range
//! gather(x, broadcast i)             = broadcast (gather(x, i))  no batch axes
//! scatter_add(iota n, u)             = u, or pad u
//! ```
//!
//! All of them are exact. Literals out of range stay, so that the interpreter reports them.

use super::{Cx, Rewrite};
use ppl_core::{Atom, Lit, Op, Prim, Stage, Ty};

impl<S: Stage> Cx<'_, S> {
    pub(super) fn gather(&mut self, x: Atom, idx: Atom, batch: usize, ty: &Ty) -> Rewrite<S> {
        let n = self.shape(x)[batch];
        if batch == 0
            && let Atom::Lit(Lit::Int(i)) = idx
        {
            let Ok(start) = usize::try_from(i) else { return Rewrite::Keep };
            if start >= n {
                return Rewrite::Keep;
            }
            let mut row = self.ty(x);
            row.shape[0] = 1;
            let row = self.emit(Op::Slice { x, axis: 0, start, len: 1 }, "row", row);
            return Rewrite::Op(Op::Reshape { x: row, shape: ty.shape.clone() });
        }
        if let Some((start, len)) = self.range_of(idx, batch) {
            if start == 0 && len == n {
                return Rewrite::Atom(x);
            }
            if len > 0 && start + len <= n {
                return Rewrite::Op(Op::Slice { x, axis: batch, start, len });
            }
            return Rewrite::Keep;
        }
        let Some((source, _, axes)) = self.broadcast_of(idx) else { return Rewrite::Keep };
        if batch > 0 {
            return Rewrite::Keep;
        }
        let (mut axes, lead) = (axes.to_vec(), self.shape(idx).len());
        let mut inner = self.ty(x);
        let tail = inner.shape.split_off(1);
        inner.shape = [self.shape(source), &tail].concat();
        let rows = self.emit(Op::Gather { x, idx: source, batch: 0 }, "g", inner);
        axes.extend(lead..lead + tail.len());
        Rewrite::Op(Op::Broadcast { x: rows, shape: ty.shape.clone(), axes })
    }

    pub(super) fn scatter_add(&mut self, idx: Atom, updates: Atom, batch: usize, len: usize, ty: &Ty) -> Rewrite<S> {
        match self.range_of(idx, batch) {
            Some((0, n)) if n == len && self.shape(updates) == ty.shape => Rewrite::Atom(updates),
            Some((start, n)) if n > 0 && start + n <= len => {
                Rewrite::Op(Op::Pad { x: updates, axis: batch, before: start, after: len - start - n })
            }
            _ => Rewrite::Keep,
        }
    }

    /// Start and length where `idx` counts up by 1 along its last axis, one axis after `batch` axes along which it repeats.
    fn range_of(&self, idx: Atom, batch: usize) -> Option<(usize, usize)> {
        if self.shape(idx).len() != batch + 1 {
            return None;
        }
        let counter = if batch == 0 {
            idx
        } else {
            let (x, _, axes) = self.broadcast_of(idx)?;
            (axes == [batch]).then_some(x)?
        };
        match self.def(counter)? {
            Op::Iota { len } => Some((0, *len)),
            Op::Prim(p @ (Prim::Add | Prim::Sub), args) => {
                let (x, k) = match (p, args[0], args[1]) {
                    (_, x, Atom::Lit(Lit::Int(k))) => (x, if *p == Prim::Sub { k.checked_neg()? } else { k }),
                    (Prim::Add, Atom::Lit(Lit::Int(k)), x) => (x, k),
                    _ => return None,
                };
                match self.def(x)? {
                    Op::Iota { len } => Some((usize::try_from(k).ok()?, *len)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
