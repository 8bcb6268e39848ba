//! Branches and loops.
//!
//! ```text
//! if true { a } else { b }            = a
//! if c { x } else { x }               = x
//! if c { x } else { y }               = select(c, x, y)              where both blocks compute nothing
//! map n { x }                         = broadcast x                  x from outside
//! map n i { i }                       = iota n
//! map 1 i { .. }, scan 1 i { .. }     = the body, i = 0              (deterministic stage)
//! scan { c = c0, .. -> c, .. }        c is c0                        a carry that never changes
//! scan { .. -> .., x }                = broadcast x                  an output from outside
//! scan { x <- broadcast y, .. }       x is y; with x <- iota n, x is the index
//! scan 0 { c = c0 }                   = c0
//! ```
//!
//! Unused results and carries that this leaves are removed by `dce`. All rules are exact.

use super::Cx;
use crate::util::{is_det, same_atom};
use ppl_core::{Atom, Block, Lit, Op, Prim, Scan, Stage, Stmt, Ty, Var};
use ppl_diag::Span;

impl<S: Stage> Cx<'_, S> {
    pub(super) fn control(&mut self, stmt: Stmt<S>) {
        let Stmt { outs, op, span } = stmt;
        match op {
            Op::If { cond, then, els } => self.branch(outs, cond, then, els, span),
            Op::Map { len, index, body } => self.map(outs, len, index, body, span),
            Op::Scan(scan) => self.scan(outs, *scan, span),
            op => self.out.push(Stmt { outs, op, span }),
        }
    }

    fn branch(&mut self, outs: Vec<Var>, cond: Atom, then: Block<S>, els: Block<S>, span: Span) {
        if let Atom::Lit(Lit::Bool(c)) = cond {
            self.splice(if c { then } else { els }, &outs);
            return;
        }
        let then = self.block(then);
        let els = self.block(els);
        self.span = span;
        let trivial = then.stmts.is_empty() && els.stmts.is_empty();
        for (i, out) in outs.iter().enumerate() {
            let (a, b) = (then.results[i], els.results[i]);
            if same_atom(a, b) {
                self.subst[out.index()] = Some(a);
            } else if trivial {
                let ty = self.func.ty(*out).clone();
                self.subst[out.index()] = Some(self.emit_prim(Prim::Select, &[cond, a, b], ty));
            }
        }
        if !(trivial && is_det::<S>()) {
            self.out.push(Stmt { outs, op: Op::If { cond, then, els }, span });
        }
    }

    /// The block's statements in place of the statement that defines `outs`.
    fn splice(&mut self, block: Block<S>, outs: &[Var]) {
        for stmt in block.stmts {
            self.stmt(stmt);
        }
        for (out, a) in outs.iter().zip(&block.results) {
            self.subst[out.index()] = Some(self.resolve(*a));
        }
    }

    fn map(&mut self, outs: Vec<Var>, len: usize, index: Var, body: Block<S>, span: Span) {
        if len == 1 && is_det::<S>() {
            self.subst[index.index()] = Some(Atom::int(0));
            for stmt in body.stmts {
                self.stmt(stmt);
            }
            self.span = span;
            for (out, a) in outs.iter().zip(&body.results) {
                let a = self.resolve(*a);
                let lifted = self.lifted(a, 1);
                self.subst[out.index()] = Some(lifted);
            }
            return;
        }
        self.level[index.index()] = self.depth + 1;
        let body = self.block(body);
        self.span = span;
        for (out, a) in outs.iter().zip(&body.results) {
            if *a == Atom::Var(index) {
                let ty = self.func.ty(*out).clone();
                self.subst[out.index()] = Some(self.emit(Op::Iota { len }, "iota", ty));
            } else if self.is_outside(*a) {
                self.subst[out.index()] = Some(self.lifted(*a, len));
            }
        }
        self.out.push(Stmt { outs, op: Op::Map { len, index, body }, span });
    }

    fn scan(&mut self, outs: Vec<Var>, mut scan: Scan<S>, span: Span) {
        let n = scan.carry.len();
        if scan.len == 0 {
            for ((_, init), out) in scan.carry.iter().zip(&outs) {
                self.subst[out.index()] = Some(*init);
            }
        }
        if scan.len == 1 && is_det::<S>() {
            self.subst[scan.index.index()] = Some(Atom::int(0));
            for (v, init) in &scan.carry {
                self.subst[v.index()] = Some(*init);
            }
            for (v, array) in &scan.xs {
                let shape = self.func.ty(*v).shape.clone();
                let ty = self.ty(*array).with_dtype(self.func.ty(*v).dtype);
                let flat = Op::Reshape { x: *array, shape: shape.clone() };
                let element = self.emit(flat, "x", Ty::new(ty.dtype, shape));
                self.subst[v.index()] = Some(element);
            }
            for stmt in scan.body.stmts {
                self.stmt(stmt);
            }
            self.span = span;
            for (i, (out, a)) in outs.iter().zip(&scan.body.results).enumerate() {
                let a = self.resolve(*a);
                let result = if i < n { a } else { self.lifted(a, 1) };
                self.subst[out.index()] = Some(result);
            }
            return;
        }
        for (i, (v, init)) in scan.carry.iter().enumerate() {
            if scan.body.results[i] == Atom::Var(*v) {
                self.subst[v.index()] = Some(*init);
                self.subst[outs[i].index()] = Some(*init);
            }
        }
        for (v, array) in scan.xs.clone() {
            if let Some(element) = self.element(array, scan.index) {
                self.subst[v.index()] = Some(element);
            }
        }
        for v in std::iter::once(scan.index).chain(scan.carry.iter().chain(&scan.xs).map(|(v, _)| *v)) {
            self.level[v.index()] = self.depth + 1;
        }
        scan.body = self.block(scan.body);
        self.span = span;
        for (out, a) in outs.iter().zip(&scan.body.results).skip(n) {
            if *a == Atom::Var(scan.index) {
                let ty = self.func.ty(*out).clone();
                self.subst[out.index()] = Some(self.emit(Op::Iota { len: scan.len }, "iota", ty));
            } else if self.is_outside(*a) {
                self.subst[out.index()] = Some(self.lifted(*a, scan.len));
            }
        }
        self.out.push(Stmt { outs, op: Op::Scan(Box::new(scan)), span });
    }

    /// What a slice of `array` is in every iteration, if it needs no slicing.
    fn element(&mut self, array: Atom, index: Var) -> Option<Atom> {
        let (x, shape, axes) = match self.def(array)? {
            Op::Iota { .. } => return Some(Atom::Var(index)),
            Op::Broadcast { x, shape, axes } if !axes.contains(&0) => {
                (*x, shape[1..].to_vec(), axes.iter().map(|a| a - 1).collect::<Vec<_>>())
            }
            _ => return None,
        };
        let ty = Ty::new(self.ty(x).dtype, shape.clone());
        Some(self.emit(Op::Broadcast { x, shape, axes }, "b", ty))
    }

    /// `a` repeated along a new first axis.
    fn lifted(&mut self, a: Atom, len: usize) -> Atom {
        let ty = self.ty(a).lifted(&[len]);
        let axes = (1..ty.shape.len()).collect();
        self.emit(Op::Broadcast { x: a, shape: ty.shape.clone(), axes }, "b", ty)
    }

    /// Whether an operand of a block just closed is defined outside of it.
    fn is_outside(&self, a: Atom) -> bool {
        a.var().is_none_or(|v| self.level[v.index()] <= self.depth)
    }
}
