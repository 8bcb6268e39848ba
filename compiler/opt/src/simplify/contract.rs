//! Reductions and contractions.
//!
//! ```text
//! exact           reduce x = reshape x                          axes of size 1
//!                 max (max x) = max x, all (all x), ..          also min, any
//!                 max (broadcast x) = broadcast (max x)         also min, all, any
//!                 dot(transpose a, b) = dot(a, b)               transpose (dot(a, b)) = dot(b, a)
//! reassociating   sum (sum x) = sum x                           sum -x = -sum x
//!                 sum (broadcast x) = n * broadcast (sum x)     sum (s * x) = s * sum x
//!                 sum (x * broadcast y) = dot(x, y)             where the product is larger than x and y together or a
//!                                                               matrix meets a vector
//! ```

use super::{Cx, Rewrite};
use ppl_core::{Atom, DType, Op, Prim, ReduceOp, Stage, Ty};

/// An operand of a product under a sum: the array and the product's axis of each of its axes.
struct Factor {
    x: Atom,
    axes: Vec<usize>,
}

impl<S: Stage> Cx<'_, S> {
    pub(super) fn reduce(&mut self, op: ReduceOp, x: Atom, axes: &[usize], ty: &Ty) -> Rewrite<S> {
        if axes.is_empty() {
            return Rewrite::Atom(x);
        }
        if axes.iter().all(|a| self.shape(x)[*a] == 1) {
            return Rewrite::Op(Op::Reshape { x, shape: ty.shape.clone() });
        }
        let sum = op == ReduceOp::Sum;
        let idempotent = matches!(op, ReduceOp::Max | ReduceOp::Min | ReduceOp::All | ReduceOp::Any);
        if !(idempotent || self.options.reassociate) {
            return Rewrite::Keep;
        }
        match self.def(x).cloned() {
            Some(Op::Reduce { op: inner, x: y, axes: first }) if inner == op => {
                let kept: Vec<usize> = (0..self.shape(y).len()).filter(|a| !first.contains(a)).collect();
                let mut all: Vec<usize> = first.into_iter().chain(axes.iter().map(|a| kept[*a])).collect();
                all.sort_unstable();
                Rewrite::Op(Op::Reduce { op, x: y, axes: all })
            }
            Some(Op::Broadcast { x: y, shape, axes: at }) if (sum || idempotent) && axes.iter().any(|a| !at.contains(a)) => {
                self.reduce_broadcast(op, y, &shape, &at, axes, ty)
            }
            Some(Op::Prim(Prim::Neg, args)) if sum => {
                let s = self.emit(Op::Reduce { op, x: args[0], axes: axes.to_vec() }, "r", ty.clone());
                Rewrite::Op(Op::Prim(Prim::Neg, vec![s]))
            }
            Some(Op::Prim(Prim::Mul, args)) if sum && ty.dtype == DType::Float => {
                let scalar = args.iter().position(|a| self.shape(*a).is_empty());
                match scalar {
                    Some(i) => {
                        let s = self.emit(Op::Reduce { op, x: args[1 - i], axes: axes.to_vec() }, "r", ty.clone());
                        Rewrite::Op(Op::Prim(Prim::Mul, vec![args[i], s]))
                    }
                    None => self.product_to_dot(args[0], args[1], axes, ty),
                }
            }
            _ => Rewrite::Keep,
        }
    }

    /// `y` repeated along some reduced axes: reduces `y` along the others, and multiplies a sum by the number of repeats.
    fn reduce_broadcast(&mut self, op: ReduceOp, y: Atom, shape: &[usize], at: &[usize], axes: &[usize], ty: &Ty) -> Rewrite<S> {
        let repeats: usize = axes.iter().filter(|a| !at.contains(a)).map(|a| shape[*a]).product();
        if repeats == 0 {
            return Rewrite::Keep;
        }
        let inner_axes: Vec<usize> = (0..at.len()).filter(|i| axes.contains(&at[*i])).collect();
        let kept: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).collect();
        let outer_axes: Vec<usize> = at.iter().filter_map(|a| kept.iter().position(|k| k == a)).collect();
        let mut inner = self.ty(y);
        inner.shape = (0..at.len()).filter(|i| !inner_axes.contains(i)).map(|i| inner.shape[i]).collect();
        let mut x = self.emit(Op::Reduce { op, x: y, axes: inner_axes }, "r", inner.clone());
        if op == ReduceOp::Sum {
            let n = if ty.dtype == DType::Int { Atom::int(repeats as i64) } else { Atom::float(repeats as f64) };
            x = self.emit_prim(Prim::Mul, &[n, x], inner);
        }
        if self.shape(x) == ty.shape {
            return Rewrite::Atom(x);
        }
        Rewrite::Op(Op::Broadcast { x, shape: ty.shape.clone(), axes: outer_axes })
    }

    /// `sum (a * b)` as a contraction, where it pays.
    fn product_to_dot(&mut self, a: Atom, b: Atom, axes: &[usize], ty: &Ty) -> Rewrite<S> {
        let (fa, fb) = (self.factor(a), self.factor(b));
        if !axes.iter().all(|x| fa.axes.contains(x) && fb.axes.contains(x)) {
            return Rewrite::Keep;
        }
        let rank = self.shape(a).len();
        let kept = |test: &dyn Fn(usize) -> bool| -> Vec<usize> { (0..rank).filter(|i| !axes.contains(i) && test(*i)).collect() };
        let batch = kept(&|i| fa.axes.contains(&i) && fb.axes.contains(&i));
        let free_a = kept(&|i| fa.axes.contains(&i) && !fb.axes.contains(&i));
        let free_b = kept(&|i| !fa.axes.contains(&i) && fb.axes.contains(&i));
        // A matrix by a vector, or a real matrix product: everything else stays one pass over memory.
        let vector = batch.is_empty() && (free_a.is_empty() != free_b.is_empty());
        let matrix = !free_a.is_empty() && !free_b.is_empty();
        let work: usize = self.shape(a).iter().product();
        if !(vector || matrix) || work < 32 || batch.len() + free_a.len() + free_b.len() + axes.len() != rank {
            return Rewrite::Keep;
        }
        let pairs = |list: &[usize]| -> Vec<(usize, usize)> {
            let place = |f: &Factor, i: &usize| f.axes.iter().position(|a| a == i);
            list.iter().filter_map(|i| Some((place(&fa, i)?, place(&fb, i)?))).collect()
        };
        let order: Vec<usize> = [batch.clone(), free_a, free_b].concat();
        let shape: Vec<usize> = order.iter().map(|i| self.shape(a)[*i]).collect();
        let op = Op::Dot { a: fa.x, b: fb.x, batch: pairs(&batch), contract: pairs(axes) };
        if order.is_sorted() {
            return Rewrite::Op(op);
        }
        let x = self.emit(op, "dot", Ty::new(ty.dtype, shape));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        let perm = sorted.iter().filter_map(|i| order.iter().position(|o| o == i)).collect();
        Rewrite::Op(Op::Transpose { x, perm })
    }

    fn factor(&self, a: Atom) -> Factor {
        match self.broadcast_of(a) {
            Some((x, _, axes)) => Factor { x, axes: axes.to_vec() },
            None => Factor { x: a, axes: (0..self.shape(a).len()).collect() },
        }
    }

    /// Transposes of operands become axis numbers.
    pub(super) fn dot(
        &mut self,
        a: Atom,
        b: Atom,
        batch: &[(usize, usize)],
        contract: &[(usize, usize)],
        _ty: &Ty,
    ) -> Rewrite<S> {
        let used = |side: fn(&(usize, usize)) -> usize| -> Vec<usize> { batch.iter().chain(contract).map(side).collect() };
        if let Some((x, perm)) = self.untransposed(a, &used(|p| p.0)) {
            let map = |list: &[(usize, usize)]| list.iter().map(|(i, j)| (perm[*i], *j)).collect();
            return Rewrite::Op(Op::Dot { a: x, b, batch: map(batch), contract: map(contract) });
        }
        if let Some((x, perm)) = self.untransposed(b, &used(|p| p.1)) {
            let map = |list: &[(usize, usize)]| list.iter().map(|(i, j)| (*i, perm[*j])).collect();
            return Rewrite::Op(Op::Dot { a, b: x, batch: map(batch), contract: map(contract) });
        }
        Rewrite::Keep
    }

    /// The transposed array and its permutation, where the free axes (those not `used`) keep their order.
    fn untransposed(&self, a: Atom, used: &[usize]) -> Option<(Atom, Vec<usize>)> {
        let Some(Op::Transpose { x, perm }) = self.def(a) else { return None };
        let mut free = (0..perm.len()).filter(|i| !used.contains(i)).map(|i| perm[i]);
        free.by_ref().is_sorted().then(|| (*x, perm.clone()))
    }

    /// A transpose that swaps the free axes of a contraction's operands swaps the operands.
    pub(super) fn transposed_dot(&mut self, x: Atom, perm: &[usize]) -> Rewrite<S> {
        let Some(Op::Dot { a, b, batch, contract }) = self.def(x) else { return Rewrite::Keep };
        let n = batch.len();
        let used = n + contract.len();
        let (free_a, free_b) = (self.shape(*a).len() - used, self.shape(*b).len() - used);
        let swapped = (0..n).chain(n + free_a..n + free_a + free_b).chain(n..n + free_a);
        if !perm.iter().copied().eq(swapped) {
            return Rewrite::Keep;
        }
        let swap = |list: &[(usize, usize)]| list.iter().map(|(i, j)| (*j, *i)).collect();
        Rewrite::Op(Op::Dot { a: *b, b: *a, batch: swap(batch), contract: swap(contract) })
    }
}
