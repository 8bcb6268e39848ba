//! Which variables of a map's body differ between iterations.

use ppl_core::{Atom, Block, Det, Op, Var, op_atoms};
use std::collections::HashSet;

/// The variables of `body`, at any depth, that depend on `index`.
pub(super) fn varying(index: Var, body: &Block<Det>) -> HashSet<Var> {
    let mut set = HashSet::from([index]);
    block(body, &mut set);
    set
}

/// Whether an operand is in the set.
pub(super) fn has(set: &HashSet<Var>, a: Atom) -> bool {
    a.var().is_some_and(|v| set.contains(&v))
}

fn block(b: &Block<Det>, set: &mut HashSet<Var>) {
    for stmt in &b.stmts {
        match &stmt.op {
            Op::If { cond, then, els } => {
                block(then, set);
                block(els, set);
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
                    block(&s.body, set);
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
                if op_atoms(op).into_iter().any(|a| has(set, a)) {
                    set.extend(stmt.outs.iter().copied());
                }
            }
        }
    }
}
