//! Which variables a derivative can flow through.

use ppl_core::{Atom, Block, DType, Det, DetRandom, Func, Op, RngKind, Stmt, Var, Vjp, free_vars, op_atoms, op_blocks};
use std::collections::HashSet;

/// Real variables of `body`, at any depth, that depend differentiably on `params` (which are included).
pub(super) fn active(func: &Func<Det>, body: &Block<Det>, params: &[Var]) -> HashSet<Var> {
    let mut pass = Forward { func, set: params.iter().copied().collect() };
    pass.block(body);
    pass.set
}

/// Active variables that the cotangents of `roots` can reach going backwards through `block`.
pub(super) fn reached(block: &Block<Det>, roots: &[Atom], active: &HashSet<Var>) -> HashSet<Var> {
    let mut set: HashSet<Var> = roots.iter().filter_map(|a| a.var()).filter(|v| active.contains(v)).collect();
    for stmt in block.stmts.iter().rev() {
        if stmt.outs.iter().any(|v| set.contains(v)) {
            set.extend(uses(stmt).into_iter().filter(|v| active.contains(v)));
        }
    }
    set
}

/// Variables that a statement uses, in its blocks too.
pub(super) fn uses(stmt: &Stmt<Det>) -> Vec<Var> {
    let mut vars: Vec<Var> = op_atoms(&stmt.op).into_iter().filter_map(Atom::var).collect();
    for b in op_blocks(&stmt.op) {
        vars.extend(free_vars(b));
    }
    vars
}

struct Forward<'a> {
    func: &'a Func<Det>,
    set: HashSet<Var>,
}

impl Forward<'_> {
    fn has(&self, a: Atom) -> bool {
        a.var().is_some_and(|v| self.set.contains(&v))
    }

    fn insert(&mut self, v: Var) {
        if self.func.ty(v).dtype == DType::Float {
            self.set.insert(v);
        }
    }

    fn block(&mut self, b: &Block<Det>) {
        for stmt in &b.stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt<Det>) {
        match &stmt.op {
            Op::If { then, els, .. } => {
                self.block(then);
                self.block(els);
                for (out, (t, e)) in stmt.outs.iter().zip(then.results.iter().zip(&els.results)) {
                    if self.has(*t) || self.has(*e) {
                        self.insert(*out);
                    }
                }
            }
            Op::Scan(s) => {
                for (v, a) in s.xs.iter().chain(&s.carry) {
                    if self.has(*a) {
                        self.insert(*v);
                    }
                }
                loop {
                    self.block(&s.body);
                    let before = self.set.len();
                    for ((v, _), r) in s.carry.iter().zip(&s.body.results) {
                        if self.has(*r) {
                            self.insert(*v);
                        }
                    }
                    if self.set.len() == before {
                        break;
                    }
                }
                for (i, out) in stmt.outs.iter().enumerate() {
                    let from = s.carry.get(i).map_or(s.body.results[i], |(v, _)| Atom::Var(*v));
                    if self.has(from) {
                        self.insert(*out);
                    }
                }
            }
            Op::Random(DetRandom { kind: RngKind::Gamma, args, .. }) => {
                if args.iter().any(|a| self.has(*a)) {
                    stmt.outs.iter().for_each(|v| self.insert(*v));
                }
            }
            Op::Stop(_) | Op::Random(_) | Op::Iota { .. } | Op::Minibatch { .. } | Op::ArgMax { .. } => {}
            Op::Prim(p, _) if matches!(p.def().vjp, Vjp::Zero) => {}
            Op::Prim(..)
            | Op::Broadcast { .. }
            | Op::Reduce { .. }
            | Op::CumSum { .. }
            | Op::Dot { .. }
            | Op::Transpose { .. }
            | Op::Reshape { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::ScatterAdd { .. }
            | Op::Reverse { .. }
            | Op::Linalg(..)
            | Op::Map { .. }
            | Op::Call { .. } => {
                if uses(stmt).into_iter().any(|v| self.set.contains(&v)) {
                    stmt.outs.iter().for_each(|v| self.insert(*v));
                }
            }
        }
    }
}
