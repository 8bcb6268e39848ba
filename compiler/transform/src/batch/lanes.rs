//! One map's body, run for all iterations (lanes) at once.

use super::spread;
use ppl_core::{Atom, Block, Builder, DType, Det, Op, Prim, ReduceOp, Stmt, Ty, Var, map_atoms};
use std::collections::{HashMap, HashSet};

/// State while the body of one map is rewritten.
pub(super) struct Lanes<'a> {
    pub(super) b: &'a mut Builder<Det>,
    /// Number of iterations.
    pub(super) len: usize,
    /// The map's index variable.
    pub(super) index: Var,
    /// Variables that differ between iterations.
    pub(super) varying: HashSet<Var>,
    /// What stands for a variable: the array of all lanes of a varying one, a guarded copy of a shared one.
    pub(super) env: HashMap<Var, Atom>,
    /// Varying int variables all of whose elements are the lane's number plus a constant.
    pub(super) offset: HashMap<Var, i64>,
    /// Inside a branch on a varying condition: which lanes take it, `bool[len]`.
    pub(super) mask: Option<Atom>,
}

/// Emits the body for all lanes; returns the stacked results.
pub(super) fn run(b: &mut Builder<Det>, len: usize, index: Var, body: &Block<Det>) -> Vec<Atom> {
    let varying = spread::varying(index, body, &b.func);
    let iota = b.iota(len);
    let mut lanes =
        Lanes { b, len, index, varying, env: HashMap::from([(index, iota)]), offset: HashMap::from([(index, 0)]), mask: None };
    lanes.stmts(&body.stmts);
    body.results.iter().map(|r| lanes.stacked(*r)).collect()
}

impl Lanes<'_> {
    pub(super) fn stmts(&mut self, stmts: &[Stmt<Det>]) {
        for s in stmts {
            self.b.span = s.span;
            match &s.op {
                Op::If { cond, then, els } => self.if_(s, *cond, then, els),
                Op::Scan(scan) => self.scan(s, scan),
                Op::Prim(_, args) if spread::guards_shared(&s.op, &self.varying, &self.b.func) => {
                    let cond = self.value(args[0]);
                    let any = self.b.reduce(ReduceOp::Any, cond, &[0]);
                    let op = Op::Prim(Prim::Guard, vec![any, self.value(args[1])]);
                    self.b.push(Stmt { outs: s.outs.clone(), op, span: s.span });
                }
                _ if s.outs.iter().any(|v| self.varying.contains(v)) => self.varying_stmt(s),
                _ => self.shared_stmt(s),
            }
        }
    }

    /// A statement that is the same in all lanes.
    fn shared_stmt(&mut self, s: &Stmt<Det>) {
        let mut s = s.clone();
        map_atoms(&mut s.op, &mut |a| self.value(a));
        self.b.push(s);
    }

    /// Whether the operand differs between lanes.
    pub(super) fn varies(&self, a: Atom) -> bool {
        spread::has(&self.varying, a)
    }

    /// Type of the operand in one lane.
    pub(super) fn lane_ty(&self, a: Atom) -> Ty {
        self.b.func.atom_ty(a)
    }

    /// Shape `[len, shape..]`.
    pub(super) fn lifted(&self, shape: &[usize]) -> Vec<usize> {
        std::iter::once(self.len).chain(shape.iter().copied()).collect()
    }

    /// What stands for the operand: all lanes of a varying one.
    pub(super) fn value(&self, a: Atom) -> Atom {
        a.var().and_then(|v| self.env.get(&v).copied()).unwrap_or(a)
    }

    /// All lanes of the operand, of shape `[len, shape of the operand..]`, repeated (and guarded) if shared.
    pub(super) fn stacked(&mut self, a: Atom) -> Atom {
        let shape = self.lane_ty(a).shape;
        self.stacked_to(a, &shape)
    }

    /// All lanes of an operand that is a scalar or of `shape`, of shape `[len, shape..]`.
    pub(super) fn stacked_to(&mut self, a: Atom, shape: &[usize]) -> Atom {
        let (x, rank) = (self.value(a), self.lane_ty(a).rank());
        let full = self.lifted(shape);
        if self.varies(a) {
            // One number a lane is repeated over the lane's elements.
            return if rank == shape.len() { x } else { self.b.broadcast(x, &full, &[0]) };
        }
        let axes: Vec<usize> = if rank == 0 { Vec::new() } else { (1..=rank).collect() };
        let x = self.b.broadcast(x, &full, &axes);
        if a.var().is_some() { self.guarded(x, shape) } else { x }
    }

    /// An operand of an elementwise operation with a varying result of `shape` in each lane: scalars shared by all
    /// lanes stay scalars.
    pub(super) fn elementwise(&mut self, a: Atom, shape: &[usize]) -> Atom {
        if self.varies(a) || !self.lane_ty(a).is_scalar() {
            return self.stacked_to(a, shape);
        }
        let x = self.value(a);
        if a.var().is_some() { self.guarded(x, shape) } else { x }
    }

    /// The mask repeated over the elements of lanes of `shape`.
    pub(super) fn spread_mask(&mut self, mask: Atom, shape: &[usize]) -> Atom {
        let full = self.lifted(shape);
        self.b.broadcast(mask, &full, &[0])
    }

    /// `x` (of all lanes, or a scalar) guarded by the current mask, if there is one and `x` is real.
    pub(super) fn guarded(&mut self, x: Atom, shape: &[usize]) -> Atom {
        let Some(mask) = self.mask else { return x };
        if self.b.ty(x).dtype != DType::Float {
            return x;
        }
        let mask = self.spread_mask(mask, shape);
        self.b.prim(Prim::Guard, &[mask, x])
    }

    /// Whether a shared operand's derivatives have to be kept apart from those of lanes that do not take the branch.
    pub(super) fn needs_guard(&self, a: Atom) -> bool {
        self.mask.is_some() && a.var().is_some() && !self.varies(a) && self.lane_ty(a).dtype == DType::Float
    }

    /// Emits `op` as all lanes of `out`.
    pub(super) fn define(&mut self, out: Var, op: Op<Det>) {
        let info = &self.b.func.vars[out.index()];
        let (name, ty) = (info.name.clone(), info.ty.lifted(&[self.len]));
        let v = self.b.emit(op, vec![(name, ty)])[0];
        self.env.insert(out, Atom::Var(v));
    }

    /// Lets `x` stand for all lanes of `out`.
    pub(super) fn bind(&mut self, out: Var, x: Atom) {
        self.env.insert(out, x);
    }
}
