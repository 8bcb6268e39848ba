//! The reverse sweep over a block, and the adjoints of operations that move or add elements.

use super::VjpError;
use ppl_core::{Atom, Builder, Det, DetRandom, Op, Prim, ReduceOp, RngKind, Stmt, Ty, Var, Vjp};
use ppl_diag::Span;
use std::collections::{HashMap, HashSet};

/// Cotangents collected so far.
pub(super) type Cotangents = HashMap<Var, Atom>;

pub(super) struct Reverse {
    pub(super) b: Builder<Det>,
    /// Variables that derivatives flow through.
    pub(super) active: HashSet<Var>,
}

impl Reverse {
    /// Sweeps over `stmts` from the last to the first, emitting into the open block. Loops among them are changed to
    /// stack what the sweep needs.
    pub(super) fn block(&mut self, stmts: &mut [Stmt<Det>], cts: &mut Cotangents) -> Result<(), VjpError> {
        for stmt in stmts.iter_mut().rev() {
            self.b.span = stmt.span;
            match &stmt.op {
                Op::If { .. } => self.if_(stmt, cts)?,
                Op::Scan(_) => self.scan(stmt, cts)?,
                _ => {
                    if let Some(ct) = stmt.outs.iter().find_map(|v| cts.remove(v)) {
                        self.stmt(stmt, ct, cts)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds `ct` to the cotangent of `x`, or starts it. Values that no derivative flows through receive nothing.
    pub(super) fn accumulate(&mut self, cts: &mut Cotangents, x: Atom, ct: Atom) {
        let Some(v) = x.var().filter(|v| self.active.contains(v)) else { return };
        let sum = match cts.get(&v) {
            Some(before) => self.b.add(*before, ct),
            None => ct,
        };
        cts.insert(v, sum);
    }

    pub(super) fn is_active(&self, a: Atom) -> bool {
        a.var().is_some_and(|v| self.active.contains(&v))
    }

    /// Zeros of the variable's shape.
    pub(super) fn zeros(&mut self, v: Var) -> Atom {
        let shape = self.b.func.ty(v).shape.clone();
        self.b.full(Atom::float(0.0), &shape)
    }

    pub(super) fn shape(&self, a: Atom) -> Vec<usize> {
        self.b.ty(a).shape
    }

    fn stmt(&mut self, stmt: &Stmt<Det>, ct: Atom, cts: &mut Cotangents) -> Result<(), VjpError> {
        let out = Atom::Var(stmt.outs[0]);
        match &stmt.op {
            Op::Prim(prim, args) => self.prim(stmt.span, *prim, args, out, ct, cts)?,
            Op::Broadcast { x, shape, axes } => {
                let new: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).collect();
                let sum = self.b.reduce(ReduceOp::Sum, ct, &new);
                self.accumulate(cts, *x, sum);
            }
            Op::Reduce { op, x, axes } => self.reduce(*op, *x, axes, out, ct, cts),
            Op::CumSum { x, axis, reverse } => {
                let c = self.b.cumsum(ct, *axis, !reverse);
                self.accumulate(cts, *x, c);
            }
            Op::Dot { a, b, batch, contract } => self.dot(*a, *b, batch, contract, ct, cts),
            Op::Transpose { x, perm } => {
                let c = self.b.transpose(ct, &inverse(perm));
                self.accumulate(cts, *x, c);
            }
            Op::Reshape { x, .. } => {
                let shape = self.shape(*x);
                let c = self.b.reshape(ct, &shape);
                self.accumulate(cts, *x, c);
            }
            Op::Slice { x, axis, start, len } => {
                let after = self.shape(*x)[*axis] - start - len;
                let c = self.b.pad(ct, *axis, *start, after);
                self.accumulate(cts, *x, c);
            }
            Op::Pad { x, axis, before, .. } => {
                let len = self.shape(*x)[*axis];
                let c = self.b.slice(ct, *axis, *before, len);
                self.accumulate(cts, *x, c);
            }
            Op::Concat { xs, axis } => {
                let mut start = 0;
                for x in xs {
                    let len = self.shape(*x)[*axis];
                    if self.is_active(*x) {
                        let c = self.b.slice(ct, *axis, start, len);
                        self.accumulate(cts, *x, c);
                    }
                    start += len;
                }
            }
            Op::Gather { x, idx, batch } => {
                let len = self.shape(*x)[*batch];
                let c = self.b.scatter_add(*idx, ct, *batch, len);
                self.accumulate(cts, *x, c);
            }
            Op::ScatterAdd { idx, updates, batch, .. } => {
                let c = self.b.gather(ct, *idx, *batch);
                self.accumulate(cts, *updates, c);
            }
            Op::Reverse { x, axis } => {
                let c = self.b.reverse(ct, *axis);
                self.accumulate(cts, *x, c);
            }
            Op::Linalg(op, args) => self.linalg(*op, args, out, ct, cts),
            // A gamma draw moves with its shape, at a constant distribution function.
            Op::Random(DetRandom { kind: RngKind::Gamma, args, .. }) => {
                let shape = self.shape(out);
                let own = self.shape(args[0]);
                let a = if own == shape { args[0] } else { self.b.full(args[0], &shape) };
                let moves = self.b.prim(Prim::GammaDrawGrad, &[a, out]);
                let mut c = self.b.mul(ct, moves);
                if own != shape {
                    let axes: Vec<usize> = (0..shape.len()).collect();
                    c = self.b.reduce(ReduceOp::Sum, c, &axes);
                }
                self.accumulate(cts, args[0], c);
            }
            Op::Map { .. } => {
                return Err(VjpError::new(stmt.span, "map", "independent iterations are batched before derivatives are taken"));
            }
            Op::Call { .. } => {
                return Err(VjpError::new(stmt.span, "call", "functions are inlined before derivatives are taken"));
            }
            Op::ArgMax { .. }
            | Op::Iota { .. }
            | Op::Minibatch { .. }
            | Op::Stop(_)
            | Op::Random(_)
            | Op::If { .. }
            | Op::Scan(_) => {}
        }
        Ok(())
    }

    fn prim(&mut self, span: Span, prim: Prim, args: &[Atom], out: Atom, ct: Atom, cts: &mut Cotangents) -> Result<(), VjpError> {
        let rule = match prim.def().vjp {
            Vjp::Zero => return Ok(()),
            Vjp::None(reason) => return Err(VjpError::new(span, prim.name(), reason)),
            Vjp::Rule(rule) => rule,
        };
        let list = rule(&mut self.b, args, out, ct);
        for (x, c) in args.iter().zip(list) {
            let Some(c) = c.filter(|_| self.is_active(*x)) else { continue };
            let c = if self.b.ty(*x).is_scalar() { self.b.sum_all(c) } else { c };
            self.accumulate(cts, *x, c);
        }
        Ok(())
    }

    fn reduce(&mut self, op: ReduceOp, x: Atom, axes: &[usize], out: Atom, ct: Atom, cts: &mut Cotangents) {
        let shape = self.shape(x);
        let kept: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).collect();
        let c = match op {
            ReduceOp::Sum => self.b.broadcast(ct, &shape, &kept),
            ReduceOp::Prod => self.others(x, axes, &kept, ct),
            ReduceOp::Max | ReduceOp::Min => {
                let extreme = self.b.broadcast(out, &shape, &kept);
                let attained = self.b.prim(Prim::Eq, &[x, extreme]);
                let ones = self.b.un(Prim::ToReal, attained);
                let count = self.b.reduce(ReduceOp::Sum, ones, axes);
                let share = self.b.div(ct, count);
                let share = self.b.broadcast(share, &shape, &kept);
                self.b.select(attained, share, Atom::float(0.0))
            }
            ReduceOp::All | ReduceOp::Any => return,
        };
        self.accumulate(cts, x, c);
    }

    /// Cotangent of a product's factors: the product of all others, without dividing.
    fn others(&mut self, x: Atom, axes: &[usize], kept: &[usize], ct: Atom) -> Atom {
        let shape = self.shape(x);
        let perm = [axes, kept].concat();
        let rest: Vec<usize> = kept.iter().map(|i| shape[*i]).collect();
        let n: usize = axes.iter().map(|i| shape[*i]).product();
        let flat = [&[n], &rest[..]].concat();
        let moved = self.b.transpose(x, &perm);
        let moved_shape = self.shape(moved);
        let rows = self.b.reshape(moved, &flat);
        let before = self.running_product(rows, n, &rest, false);
        let behind = self.running_product(rows, n, &rest, true);
        let others = self.b.mul(before, behind);
        let spread: Vec<usize> = (1..flat.len()).collect();
        let ct = self.b.broadcast(ct, &flat, &spread);
        let c = self.b.mul(others, ct);
        let c = self.b.reshape(c, &moved_shape);
        self.b.transpose(c, &inverse(&perm))
    }

    /// For each row the product of those before it (behind it, if `reverse`).
    fn running_product(&mut self, rows: Atom, n: usize, rest: &[usize], reverse: bool) -> Atom {
        let one = self.b.full(Atom::float(1.0), rest);
        let index = self.b.index_var("i");
        let p = self.b.fresh("p", Ty::float(rest));
        let x = self.b.fresh("x", Ty::float(rest));
        self.b.begin();
        let next = self.b.mul(Atom::Var(p), Atom::Var(x));
        let body = self.b.end(vec![next, Atom::Var(p)]);
        let scan = ppl_core::Scan { len: n, index, carry: vec![(p, one)], xs: vec![(x, rows)], body, reverse };
        Atom::Var(self.b.scan(scan)[1])
    }
}

/// The permutation that undoes `perm`.
pub(super) fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inv = vec![0; perm.len()];
    for (i, p) in perm.iter().enumerate() {
        inv[*p] = i;
    }
    inv
}
