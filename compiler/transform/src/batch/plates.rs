//! Scans whose carries are known beforehand are maps.
//!
//! ```text
//!   scan i < n carry (c = a, ..) { b; ret r, .. }  =  rs = map i < n { b; ret r };  scan i, c in [a, rs[0], .., rs[n - 2]] carry (..) { b; ret .. }
//!   scan i < n carry () { b; ret ys }              =  map i < n { b; ret ys }
//! ```
//!
//! where `r`, the next value of `c`, depends on no carry and draws nothing: so a loop that reads earlier elements of an array that is
//! given costs what a plate does. Applied to one carry after the other: `r` may be a carry that was replaced before.

use ppl_core::{Atom, Block, Builder, Det, Op, Scan, Stmt, Ty, Var, free_vars, op_atoms, op_blocks};
use std::collections::{HashMap, HashSet};

/// What stands for the scan, where some carry is known beforehand.
pub(super) fn scan(b: &mut Builder<Det>, stmt: &Stmt<Det>) -> Option<Vec<Stmt<Det>>> {
    let Op::Scan(s) = &stmt.op else { return None };
    if s.len == 0 {
        return None;
    }
    let (mut s, mut outs) = ((**s).clone(), stmt.outs.clone());
    let (mut before, mut after) = (Vec::new(), Vec::new());
    while let Some((k, needed)) = known(&s) {
        b.begin();
        b.span = stmt.span;
        let next = all_rounds(b, &s, s.body.results[k], &needed);
        let (v, init) = s.carry[k];
        let ty = b.ty(next);
        let row = if b.ty(init).is_scalar() { b.full(init, &[1]) } else { b.reshape(init, &[&[1], &ty.shape[1..]].concat()) };
        let shifted = match (s.len, s.reverse) {
            (1, _) => row,
            (n, false) => {
                let rest = b.slice(next, 0, 0, n - 1);
                b.concat(&[row, rest], 0)
            }
            (n, true) => {
                let rest = b.slice(next, 0, 1, n - 1);
                b.concat(&[rest, row], 0)
            }
        };
        before.extend(b.end(Vec::new()).stmts);
        let last = Atom::int(if s.reverse { 0 } else { s.len as i64 - 1 });
        after.push(Stmt { outs: vec![outs.remove(k)], op: Op::Gather { x: next, idx: last, batch: 0 }, span: stmt.span });
        s.carry.remove(k);
        s.body.results.remove(k);
        s.xs.push((v, shifted));
    }
    if before.is_empty() && after.is_empty() {
        return None;
    }
    let op = if s.carry.is_empty() && !draws(&s.body) {
        let mut body = s.body;
        let mut stmts: Vec<Stmt<Det>> = Vec::new();
        for (v, x) in &s.xs {
            stmts.push(Stmt { outs: vec![*v], op: Op::Gather { x: *x, idx: s.index.into(), batch: 0 }, span: stmt.span });
        }
        stmts.append(&mut body.stmts);
        Op::Map { len: s.len, index: s.index, body: Block { stmts, results: body.results } }
    } else {
        Op::Scan(Box::new(s))
    };
    before.push(Stmt { outs, op, span: stmt.span });
    before.extend(after);
    Some(before)
}

/// A carry whose next value depends on no carry and draws nothing, and the statements that compute it.
fn known(s: &Scan<Det>) -> Option<(usize, Vec<usize>)> {
    let mut carried: HashSet<Var> = s.carry.iter().map(|(v, _)| *v).collect();
    for stmt in &s.body.stmts {
        if reads(stmt).any(|v| carried.contains(&v)) {
            carried.extend(&stmt.outs);
        }
    }
    (0..s.carry.len()).find_map(|k| {
        let r = s.body.results[k].var();
        if r.is_some_and(|v| carried.contains(&v)) {
            return None;
        }
        let mut wanted: HashSet<Var> = r.into_iter().collect();
        let mut needed = Vec::new();
        for (i, stmt) in s.body.stmts.iter().enumerate().rev() {
            if stmt.outs.iter().any(|v| wanted.contains(v)) {
                wanted.extend(reads(stmt));
                needed.push(i);
            }
        }
        needed.reverse();
        let drawn = needed.iter().any(|i| {
            let op = &s.body.stmts[*i].op;
            matches!(op, Op::Random(_)) || op_blocks(op).into_iter().any(draws)
        });
        (!drawn).then_some((k, needed))
    })
}

/// Variables that a statement reads.
fn reads(stmt: &Stmt<Det>) -> impl Iterator<Item = Var> {
    let inner: Vec<Var> = op_blocks(&stmt.op).into_iter().flat_map(free_vars).collect();
    op_atoms(&stmt.op).into_iter().filter_map(Atom::var).chain(inner)
}

fn draws(block: &Block<Det>) -> bool {
    block.stmts.iter().any(|s| matches!(s.op, Op::Random(_) | Op::Call { .. }) || op_blocks(&s.op).into_iter().any(draws))
}

/// The value of `r` in every round, stacked.
fn all_rounds(b: &mut Builder<Det>, s: &Scan<Det>, r: Atom, needed: &[usize]) -> Atom {
    if let Some((_, x)) = s.xs.iter().find(|(v, _)| Atom::Var(*v) == r) {
        return *x;
    }
    if r == Atom::Var(s.index) {
        return b.iota(s.len);
    }
    let ty: Ty = b.ty(r);
    if needed.is_empty() {
        let axes: Vec<usize> = (1..=ty.rank()).collect();
        return b.broadcast(r, &[&[s.len], &ty.shape[..]].concat(), &axes);
    }
    let index = b.index_var("i");
    b.begin();
    let mut map: HashMap<Var, Atom> = HashMap::from([(s.index, index.into())]);
    let stmts: Vec<Stmt<Det>> = needed.iter().map(|i| s.body.stmts[*i].clone()).collect();
    let used: HashSet<Var> = stmts.iter().flat_map(|s| reads(s).collect::<Vec<_>>()).collect();
    for (v, x) in s.xs.iter().filter(|(v, _)| used.contains(v)) {
        map.insert(*v, b.gather(*x, index.into(), 0));
    }
    let mut copy = b.duplicate(&Block { stmts, results: vec![r] });
    ppl_core::substitute_block(&mut copy, &map);
    copy.stmts.into_iter().for_each(|s| b.push(s));
    let body = b.end(copy.results);
    b.map(s.len, index, body)[0].into()
}
