//! Loop-invariant code.
//!
//! in, out: the same stage
//! keeps:   values to the bit, derivatives, random bits, the order of effects
//!
//! ```text
//! map n i { x = op; k }  =  x = op; map n i { k }      op reads nothing of the loop; the same for scan
//! ```
//!
//! Loops that never run keep their bodies. Draws move in the deterministic stage only: there one whose loop indices do not name
//! the loop is the same in every iteration. Calls stay, since their draws are counted by position.

use crate::util::{all_ops, each_atom, is_det, is_pure};
use ppl_core::{Block, Func, Op, Stage, Stmt, Var, op_blocks};

/// Moves invariant statements out of loops.
pub fn licm<S: Stage>(f: &mut Func<S>) {
    let mut level = vec![0; f.vars.len()];
    let body = std::mem::take(&mut f.body);
    f.body = block(body, 0, &mut level);
}

/// `level` holds, for each variable, the number of loops around its definition; it may only shrink.
fn block<S: Stage>(b: Block<S>, depth: u32, level: &mut [u32]) -> Block<S> {
    let mut stmts = Vec::with_capacity(b.stmts.len());
    for mut stmt in b.stmts {
        match &mut stmt.op {
            Op::If { then, els, .. } => {
                *then = block(std::mem::take(then), depth, level);
                *els = block(std::mem::take(els), depth, level);
            }
            Op::Map { len, index, body } => {
                level[index.index()] = depth + 1;
                *body = block(std::mem::take(body), depth + 1, level);
                if *len > 0 {
                    hoist(body, depth, level, &mut stmts);
                }
            }
            Op::Scan(s) => {
                for v in std::iter::once(s.index).chain(s.carry.iter().chain(&s.xs).map(|(v, _)| *v)) {
                    level[v.index()] = depth + 1;
                }
                s.body = block(std::mem::take(&mut s.body), depth + 1, level);
                if s.len > 0 {
                    hoist(&mut s.body, depth, level, &mut stmts);
                }
            }
            _ => {}
        }
        for v in &stmt.outs {
            level[v.index()] = depth;
        }
        stmts.push(stmt);
    }
    Block { stmts, results: b.results }
}

/// Moves the statements of a loop's body that read nothing deeper than `depth` to `out`.
fn hoist<S: Stage>(body: &mut Block<S>, depth: u32, level: &mut [u32], out: &mut Vec<Stmt<S>>) {
    let mut kept = Vec::with_capacity(body.stmts.len());
    for stmt in std::mem::take(&mut body.stmts) {
        if movable(&stmt.op) && reads_at_most(&stmt, depth, level) {
            settle(&stmt, depth, level);
            out.push(stmt);
        } else {
            kept.push(stmt);
        }
    }
    body.stmts = kept;
}

fn movable<S: Stage>(op: &Op<S>) -> bool {
    match op {
        Op::Call { .. } => false,
        Op::Random(_) => is_det::<S>(),
        _ => is_pure(op) && op_blocks(op).into_iter().all(|b| all_ops(b, &movable)),
    }
}

/// Whether everything that the statement reads from outside is defined at `depth` or above.
fn reads_at_most<S: Stage>(stmt: &Stmt<S>, depth: u32, level: &[u32]) -> bool {
    let fits = |v: Var| level[v.index()] <= depth;
    let mut fit = true;
    each_atom(&stmt.op, &mut |a| fit &= a.var().is_none_or(fits));
    fit && op_blocks(&stmt.op).into_iter().all(|b| {
        ppl_core::free_vars(b).into_iter().all(|v| {
            // Loop variables of the statement itself are bound by it.
            stmt.op.bound_vars().contains(&v) || fits(v)
        })
    })
}

/// The statement now stands at `depth`; loops inside it moved out by as much, which no later question depends on.
fn settle<S: Stage>(stmt: &Stmt<S>, depth: u32, level: &mut [u32]) {
    for v in &stmt.outs {
        level[v.index()] = depth;
    }
}
