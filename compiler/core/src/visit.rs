//! Walking and rewriting operands and nested blocks, the same for every stage.

use crate::{Atom, Block, Op, RandomOp, Stage, Var};
use std::collections::{HashMap, HashSet};

/// Every operand of the operation itself, in order; not those inside its blocks.
pub fn op_atoms<S: Stage>(op: &Op<S>) -> Vec<Atom> {
    let mut out = Vec::new();
    // Reading through the rewriting visitor keeps the list of operands in one place.
    let mut op = op.clone_shallow();
    map_atoms(&mut op, &mut |a| {
        out.push(a);
        a
    });
    out
}

/// Rewrites every operand of the operation itself; not those inside its blocks.
pub fn map_atoms<S: Stage>(op: &mut Op<S>, f: &mut dyn FnMut(Atom) -> Atom) {
    match op {
        Op::Prim(_, args) | Op::Linalg(_, args) | Op::Call { args, .. } => args.iter_mut().for_each(|a| *a = f(*a)),
        Op::Concat { xs, .. } => xs.iter_mut().for_each(|a| *a = f(*a)),
        Op::Broadcast { x, .. }
        | Op::Reduce { x, .. }
        | Op::ArgMax { x, .. }
        | Op::CumSum { x, .. }
        | Op::Transpose { x, .. }
        | Op::Reshape { x, .. }
        | Op::Slice { x, .. }
        | Op::Pad { x, .. }
        | Op::Reverse { x, .. }
        | Op::Stop(x) => *x = f(*x),
        Op::Dot { a, b, .. } => {
            *a = f(*a);
            *b = f(*b);
        }
        Op::Gather { x, idx, .. } => {
            *x = f(*x);
            *idx = f(*idx);
        }
        Op::ScatterAdd { idx, updates, .. } => {
            *idx = f(*idx);
            *updates = f(*updates);
        }
        Op::Iota { .. } | Op::Minibatch { .. } | Op::Map { .. } => {}
        Op::If { cond, .. } => *cond = f(*cond),
        Op::Scan(s) => s.carry.iter_mut().chain(&mut s.xs).for_each(|(_, a)| *a = f(*a)),
        Op::Random(r) => r.map_atoms(f),
    }
}

impl<S: Stage> Op<S> {
    /// A copy whose blocks are empty.
    fn clone_shallow(&self) -> Op<S> {
        match self {
            Op::If { cond, .. } => Op::If { cond: *cond, then: Block::default(), els: Block::default() },
            Op::Map { len, index, .. } => Op::Map { len: *len, index: *index, body: Block::default() },
            Op::Scan(s) => Op::Scan(Box::new(crate::Scan {
                len: s.len,
                index: s.index,
                carry: s.carry.clone(),
                xs: s.xs.clone(),
                body: Block::default(),
                reverse: s.reverse,
            })),
            other => other.clone(),
        }
    }

    /// Variables that the operation defines inside its blocks' headers: loop indices, carries, slices.
    pub fn bound_vars(&self) -> Vec<Var> {
        match self {
            Op::Map { index, .. } => vec![*index],
            Op::Scan(s) => std::iter::once(s.index).chain(s.carry.iter().chain(&s.xs).map(|(v, _)| *v)).collect(),
            _ => Vec::new(),
        }
    }
}

/// The operation's blocks, in order.
pub fn op_blocks<S: Stage>(op: &Op<S>) -> Vec<&Block<S>> {
    match op {
        Op::If { then, els, .. } => vec![then, els],
        Op::Map { body, .. } => vec![body],
        Op::Scan(s) => vec![&s.body],
        _ => Vec::new(),
    }
}

/// The operation's blocks, in order, for rewriting.
pub fn op_blocks_mut<S: Stage>(op: &mut Op<S>) -> Vec<&mut Block<S>> {
    match op {
        Op::If { then, els, .. } => vec![then, els],
        Op::Map { body, .. } => vec![body],
        Op::Scan(s) => vec![&mut s.body],
        _ => Vec::new(),
    }
}

/// Calls `f` with every statement of the block and of its nested blocks, outer ones before those inside them.
pub fn each_stmt<'a, S: Stage>(block: &'a Block<S>, f: &mut dyn FnMut(&'a crate::Stmt<S>)) {
    for stmt in &block.stmts {
        f(stmt);
        op_blocks(&stmt.op).into_iter().for_each(|b| each_stmt(b, f));
    }
}

/// Number of statements, those of nested blocks included, for which `wanted` holds.
pub fn count_ops<S: Stage>(block: &Block<S>, wanted: impl Fn(&Op<S>) -> bool) -> usize {
    let mut n = 0;
    each_stmt(block, &mut |s| n += usize::from(wanted(&s.op)));
    n
}

/// Variables that the block uses and does not define, in order of first use.
pub fn free_vars<S: Stage>(block: &Block<S>) -> Vec<Var> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    collect_free(block, &mut seen, &mut out);
    out
}

fn collect_free<S: Stage>(block: &Block<S>, seen: &mut HashSet<Var>, out: &mut Vec<Var>) {
    fn visit(a: Atom, seen: &mut HashSet<Var>, out: &mut Vec<Var>) {
        if let Atom::Var(v) = a
            && seen.insert(v)
        {
            out.push(v);
        }
    }
    for stmt in &block.stmts {
        op_atoms(&stmt.op).into_iter().for_each(|a| visit(a, seen, out));
        seen.extend(stmt.op.bound_vars());
        op_blocks(&stmt.op).into_iter().for_each(|b| collect_free(b, seen, out));
        seen.extend(stmt.outs.iter().copied());
    }
    block.results.iter().for_each(|a| visit(*a, seen, out));
}

/// Replaces used variables by operands, in nested blocks too. Definitions are left alone, so the map must not
/// name variables that the block defines.
pub fn substitute_block<S: Stage>(block: &mut Block<S>, map: &HashMap<Var, Atom>) {
    let mut replace = |a: Atom| match a {
        Atom::Var(v) => map.get(&v).copied().unwrap_or(a),
        Atom::Lit(_) => a,
    };
    for stmt in &mut block.stmts {
        map_atoms(&mut stmt.op, &mut replace);
        op_blocks_mut(&mut stmt.op).into_iter().for_each(|b| substitute_block(b, map));
    }
    block.results.iter_mut().for_each(|a| *a = replace(*a));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Det, Prim, Ty};

    #[test]
    fn nested_statements_are_counted_and_inner_definitions_are_not_free() {
        let mut b: Builder<Det> = Builder::new("f");
        let x = b.param("x", Ty::FLOAT).into();
        let i = b.index_var("i");
        b.begin();
        let r = b.un(Prim::ToReal, i.into());
        let y = b.add(r, x);
        let body = b.end(vec![y]);
        assert_eq!(free_vars(&body), vec![i, Var(0)]);
        let out = b.map(3, i, body)[0];
        let f = b.finish(vec![out.into()]);
        assert_eq!(count_ops(&f.body, |_| true), 3);
        assert_eq!(count_ops(&f.body, |op| matches!(op, Op::Prim(Prim::Add, _))), 1);
        assert_eq!(free_vars(&f.body), vec![Var(0)]);
    }
}
