//! Copies of blocks with new variables, and removal of what nothing uses.

use super::activity::uses;
use super::reverse::Reverse;
use ppl_core::{Atom, Block, Det, Op, Stmt, Var, map_atoms, op_blocks_mut};
use std::collections::{HashMap, HashSet};

impl Reverse {
    /// A copy of `block` in which every variable that it defines is new. `map` holds replacements of variables from
    /// outside, and receives those of the copied ones.
    pub(super) fn copy_block(&mut self, block: &Block<Det>, map: &mut HashMap<Var, Atom>) -> Block<Det> {
        let stmts = block.stmts.iter().map(|s| self.copy_stmt(s, map)).collect();
        Block { stmts, results: block.results.iter().map(|a| renamed(*a, map)).collect() }
    }

    fn copy_stmt(&mut self, s: &Stmt<Det>, map: &mut HashMap<Var, Atom>) -> Stmt<Det> {
        let mut op = s.op.clone();
        map_atoms(&mut op, &mut |a| renamed(a, map));
        match &mut op {
            Op::Map { index, .. } => *index = self.copy_var(*index, map),
            Op::Scan(s) => {
                s.index = self.copy_var(s.index, map);
                for (v, _) in s.carry.iter_mut().chain(&mut s.xs) {
                    *v = self.copy_var(*v, map);
                }
            }
            _ => {}
        }
        for b in op_blocks_mut(&mut op) {
            *b = self.copy_block(b, map);
        }
        let outs = s.outs.iter().map(|v| self.copy_var(*v, map)).collect();
        Stmt { outs, op, span: s.span }
    }

    /// A new variable of the same name, type and activity.
    pub(super) fn copy_var(&mut self, v: Var, map: &mut HashMap<Var, Atom>) -> Var {
        let info = self.b.func.vars[v.index()].clone();
        let new = self.b.fresh(&info.name, info.ty);
        if self.active.contains(&v) {
            self.active.insert(new);
        }
        map.insert(v, Atom::Var(new));
        new
    }
}

fn renamed(a: Atom, map: &HashMap<Var, Atom>) -> Atom {
    a.var().and_then(|v| map.get(&v).copied()).unwrap_or(a)
}

/// Removes the statements of the block (not of blocks inside) whose results nothing uses.
pub(super) fn prune(block: &mut Block<Det>) {
    let mut live: HashSet<Var> = block.results.iter().filter_map(|a| a.var()).collect();
    let mut keep = Vec::with_capacity(block.stmts.len());
    for stmt in std::mem::take(&mut block.stmts).into_iter().rev() {
        if stmt.outs.iter().any(|v| live.contains(v)) {
            live.extend(uses(&stmt));
            keep.push(stmt);
        }
    }
    keep.reverse();
    block.stmts = keep;
}
