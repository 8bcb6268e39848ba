//! Short rows become columns.
//!
//! in, out: deterministic functions after derivatives have been taken
//! keeps:   values, up to the order of sums
//!
//! An objective of a few samples for each of many particles works on arrays of many short rows: a loop over a row fills no vector, and sums and
//! maxima of rows keep elementwise work from running through all of them. The same arrays with their axes exchanged have long rows.
//!
//! ```text
//!   y = f(x): [n, k]                   =  y' = f(x'): [k, n]                   x' = transpose x, where x is not made here
//!   y = broadcast x to [n, k] axes [0] =  y' = broadcast x to [k, n] axes [1]
//!   s = reduce y axes [1]              =  s = reduce y' axes [0]               so for a product that sums over one of its axes
//! ```
//!
//! Only where everything that reads such arrays is of these kinds, and something works row by row.

use ppl_core::{Atom, Block, Det, Func, Op, Stmt, Ty, Var, op_atoms};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Longest row.
const SHORT: usize = 12;
/// Fewest and most rows.
const ROWS: std::ops::RangeInclusive<usize> = 16..=16_384;

/// Exchanges the axes of arrays of short rows.
pub fn columns(f: &mut Func<Det>) {
    let mut body = std::mem::take(&mut f.body);
    block(f, &mut body);
    f.body = body;
}

fn block(f: &mut Func<Det>, b: &mut Block<Det>) {
    for s in &mut b.stmts {
        ppl_core::op_blocks_mut(&mut s.op).into_iter().for_each(|b| block(f, b));
    }
    // Shapes with what makes their arrays.
    let mut made: BTreeMap<Vec<usize>, BTreeSet<Var>> = BTreeMap::new();
    let mut by_row: BTreeSet<Vec<usize>> = BTreeSet::new();
    for s in &b.stmts {
        let shape = shape_of(f, s);
        match &s.op {
            Op::Prim(..) if eligible(&shape) => {
                made.entry(shape).or_default().insert(s.outs[0]);
            }
            Op::Broadcast { axes, .. } if axes.len() < 2 && eligible(&shape) => {
                if axes[..] == [0] {
                    by_row.insert(shape.clone());
                }
                made.entry(shape).or_default().insert(s.outs[0]);
            }
            Op::Reduce { x, axes, .. } if axes[..] == [1] => {
                by_row.insert(f.atom_ty(*x).shape);
            }
            _ => {}
        }
    }
    made.retain(|shape, _| by_row.contains(shape));
    // Nothing else may read them.
    let mut elsewhere: BTreeSet<Var> = b.results.iter().filter_map(|a| a.var()).collect();
    for s in &b.stmts {
        let inside = match &s.op {
            Op::Prim(..) => made.get(&shape_of(f, s)).is_some_and(|m| m.contains(&s.outs[0])),
            Op::Reduce { .. } => true,
            // At most one axis of the operand is left, so the result's axes stay in order.
            Op::Dot { batch, contract, .. } => !batch.is_empty() || !contract.is_empty(),
            _ => false,
        };
        if !inside {
            elsewhere.extend(op_atoms(&s.op).into_iter().filter_map(|a| a.var()));
            ppl_core::op_blocks(&s.op).into_iter().for_each(|b| elsewhere.extend(ppl_core::free_vars(b)));
        }
    }
    made.retain(|_, m| m.is_disjoint(&elsewhere));
    for (shape, members) in made {
        turn(f, b, &shape, &members);
    }
}

fn eligible(shape: &[usize]) -> bool {
    matches!(shape, [n, k] if ROWS.contains(n) && (2..=SHORT).contains(k))
}

fn shape_of(f: &Func<Det>, s: &Stmt<Det>) -> Vec<usize> {
    s.outs.first().map(|v| f.ty(*v).shape.clone()).unwrap_or_default()
}

fn turn(f: &mut Func<Det>, b: &mut Block<Det>, shape: &[usize], members: &BTreeSet<Var>) {
    let turned: Vec<usize> = shape.iter().rev().copied().collect();
    for v in members {
        f.vars[v.index()].ty.shape.clone_from(&turned);
    }
    // Arrays that come from elsewhere, as views with their axes exchanged.
    let mut views: HashMap<Var, Atom> = HashMap::new();
    let mut out: Vec<Stmt<Det>> = Vec::with_capacity(b.stmts.len());
    for mut s in std::mem::take(&mut b.stmts) {
        let member = s.outs.first().is_some_and(|v| members.contains(v));
        let span = s.span;
        match &mut s.op {
            Op::Prim(_, args) if member => {
                for a in args {
                    let Some(v) = a.var().filter(|v| !members.contains(v) && f.ty(*v).shape == shape) else { continue };
                    *a = *views.entry(v).or_insert_with(|| {
                        let ty = Ty::new(f.ty(v).dtype, turned.clone());
                        let view = f.new_var("columns", ty);
                        let op = Op::Transpose { x: v.into(), perm: vec![1, 0] };
                        out.push(Stmt { outs: vec![view], op, span });
                        view.into()
                    });
                }
            }
            Op::Broadcast { shape, axes, .. } if member => {
                shape.clone_from(&turned);
                axes.iter_mut().for_each(|a| *a = 1 - *a);
            }
            Op::Dot { a, b, batch, contract } => {
                for (i, j) in batch.iter_mut().chain(contract) {
                    if a.var().is_some_and(|v| members.contains(&v)) {
                        *i = 1 - *i;
                    }
                    if b.var().is_some_and(|v| members.contains(&v)) {
                        *j = 1 - *j;
                    }
                }
            }
            Op::Reduce { x, axes, .. } if x.var().is_some_and(|v| members.contains(&v)) => {
                axes.iter_mut().for_each(|a| *a = 1 - *a);
                axes.sort_unstable();
            }
            _ => {}
        }
        out.push(s);
    }
    b.stmts = out;
}
