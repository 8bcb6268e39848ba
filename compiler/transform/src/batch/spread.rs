//! Which variables of a map's body differ between iterations.

use ppl_core::{Atom, Block, Det, Func, Op, Prim, Var, op_atoms};
use std::collections::HashSet;

/// The variables of `body`, at any depth, that depend on `index`.
pub(super) fn varying(index: Var, body: &Block<Det>, func: &Func<Det>) -> HashSet<Var> {
    let mut set = HashSet::from([index]);
    block(body, &mut set, func);
    set
}

/// Whether the operation guards a value by a single condition: some lane of an inner map takes a branch. Where that value meets a batched one,
/// it is guarded lane by lane, so that it stays the same in all lanes of an outer map, whatever the condition.
pub(super) fn guards_shared(op: &Op<Det>, set: &HashSet<Var>, func: &Func<Det>) -> bool {
    match op {
        Op::Prim(Prim::Guard, args) => func.atom_ty(args[0]).is_scalar() && has(set, args[0]) && !has(set, args[1]),
        _ => false,
    }
}

/// Whether an operand is in the set.
pub(super) fn has(set: &HashSet<Var>, a: Atom) -> bool {
    a.var().is_some_and(|v| set.contains(&v))
}

fn block(b: &Block<Det>, set: &mut HashSet<Var>, func: &Func<Det>) {
    for stmt in &b.stmts {
        match &stmt.op {
            Op::If { cond, then, els } => {
                block(then, set, func);
                block(els, set, func);
                let all = has(set, *cond);
                for (out, (t, e)) in stmt.outs.iter().zip(then.results.iter().zip(&els.results)) {
                    if all || has(set, *t) || has(set, *e) {
                        set.insert(*out);
                    }
                }
            }
            Op::Scan(s) => {
                for (v, a) in s.xs.iter().chain(&s.carry) {
                    if has(set, *a) {
                        set.insert(*v);
                    }
                }
                // A carry varies as soon as one iteration of the loop makes it vary.
                loop {
                    block(&s.body, set, func);
                    let more: Vec<Var> = s
                        .carry
                        .iter()
                        .zip(&s.body.results)
                        .filter(|((v, _), r)| has(set, **r) && !set.contains(v))
                        .map(|((v, _), _)| *v)
                        .collect();
                    if more.is_empty() {
                        break;
                    }
                    set.extend(more);
                }
                for (i, out) in stmt.outs.iter().enumerate() {
                    let varies = s.carry.get(i).map_or_else(|| has(set, s.body.results[i]), |(v, _)| set.contains(v));
                    if varies {
                        set.insert(*out);
                    }
                }
            }
            op => {
                if op_atoms(op).into_iter().any(|a| has(set, a)) && !guards_shared(op, set, func) {
                    set.extend(stmt.outs.iter().copied());
                }
            }
        }
    }
}
