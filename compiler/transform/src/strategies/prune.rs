//! Removes what no result needs: statements, and outputs of loops and branches.

use super::mid::{Mid, MidRandom};
use ppl_core::{Atom, Block, Func, Op, Var};
use std::collections::HashSet;

/// The function without unused statements and outputs. Scans keep a carry that any used value needs.
pub(crate) fn prune(mut f: Func<Mid>) -> Func<Mid> {
    let mut used = HashSet::new();
    f.body.results.iter().for_each(|a| use_atom(*a, &mut used));
    block(&mut f.body, &mut used);
    f
}

fn use_atom(a: Atom, used: &mut HashSet<Var>) {
    if let Atom::Var(v) = a {
        used.insert(v);
    }
}

/// Backwards over the block, whose needed results are already in `used`.
fn block(b: &mut Block<Mid>, used: &mut HashSet<Var>) {
    let stmts = std::mem::take(&mut b.stmts);
    let mut kept = Vec::new();
    for mut stmt in stmts.into_iter().rev() {
        let impure = matches!(&stmt.op, Op::Random(MidRandom::Again { .. })) || holds_call(&stmt.op);
        if !impure && !stmt.outs.iter().any(|v| used.contains(v)) {
            continue;
        }
        let wanted = |v: &Var, used: &HashSet<Var>| used.contains(v);
        match &mut stmt.op {
            Op::If { cond, then, els } => {
                use_atom(*cond, used);
                let keep: Vec<bool> = stmt.outs.iter().map(|v| wanted(v, used)).collect();
                for inner in [then, els] {
                    retain(&mut inner.results, &keep);
                    inner.results.iter().for_each(|a| use_atom(*a, used));
                    block(inner, used);
                }
                retain(&mut stmt.outs, &keep);
            }
            Op::Map { body, .. } => {
                let keep: Vec<bool> = stmt.outs.iter().map(|v| wanted(v, used)).collect();
                retain(&mut body.results, &keep);
                retain(&mut stmt.outs, &keep);
                body.results.iter().for_each(|a| use_atom(*a, used));
                block(body, used);
            }
            Op::Scan(s) => {
                let n = s.carry.len();
                // Which carries the outputs need, by growing the set until it is closed.
                let mut needed: HashSet<Var> = used.clone();
                let outs = stmt.outs.clone();
                loop {
                    let before = needed.len();
                    for (k, out) in outs.iter().enumerate() {
                        let carried = k < n && needed.contains(&s.carry[k].0);
                        if carried || needed.contains(out) {
                            use_atom(s.body.results[k], &mut needed);
                            if k < n {
                                needed.insert(s.carry[k].0);
                            }
                        }
                    }
                    block(&mut s.body.clone(), &mut needed);
                    if needed.len() == before {
                        break;
                    }
                }
                let keep: Vec<bool> = (0..outs.len())
                    .map(|k| if k < n { needed.contains(&s.carry[k].0) } else { wanted(&outs[k], used) })
                    .collect();
                retain(&mut s.carry, &keep[..n.min(keep.len())]);
                retain(&mut s.body.results, &keep);
                retain(&mut stmt.outs, &keep);
                s.body.results.iter().for_each(|a| use_atom(*a, used));
                block(&mut s.body, used);
                s.xs.retain(|(v, _)| used.contains(v));
                s.xs.iter().chain(&s.carry).for_each(|(_, a)| use_atom(*a, used));
            }
            op => ppl_core::op_atoms(op).into_iter().for_each(|a| use_atom(a, used)),
        }
        kept.push(stmt);
    }
    kept.reverse();
    b.stmts = kept;
}

fn holds_call(op: &Op<Mid>) -> bool {
    ppl_core::op_blocks(op)
        .into_iter()
        .any(|b| b.stmts.iter().any(|s| matches!(s.op, Op::Random(MidRandom::Again { .. })) || holds_call(&s.op)))
}

fn retain<T>(xs: &mut Vec<T>, keep: &[bool]) {
    let mut i = 0;
    xs.retain(|_| {
        i += 1;
        keep.get(i - 1).copied().unwrap_or(true)
    });
}
