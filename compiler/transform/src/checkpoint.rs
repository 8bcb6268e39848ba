//! Long scans in segments, so that their gradients need the memory of a few of them.
//!
//! in:    `Det`, before derivatives are taken
//! out:   `Det`, the same values and random bits
//! keeps: spans
//!
//! The reverse sweep of a scan stacks the carries of all iterations and computes each iteration's values again. A scan of segments, each of them a scan,
//! stacks the carries at the beginnings of segments, and those inside a segment while it is swept: with about `sqrt(T)` segments that is
//! `2 sqrt(T)` carries instead of `T`, for one more evaluation of the loop (Griewank and Walther, 2000, with one level of checkpoints).
//!
//! ```text
//!   scan t in S L carry c { b }  =  scan s in S carry c { scan l in L carry c { t = s L + l;  b } }
//! ```
//!
//! What is left of `T` after `S L` iterations is a scan of its own.

use crate::expand::{Cx, Hook};
use ppl_core::{Atom, Builder, Det, DetRandom, Func, Op, Prim, RandomOp, Scan, Stmt, Ty, Var};
use std::collections::HashMap;

/// Splits scans whose stacked carries would take more than `bytes`, 8 for each number. Says whether there were any.
pub fn checkpoint(f: &mut Func<Det>, bytes: usize) -> bool {
    let mut any = false;
    let source = f.clone();
    let mut b = Builder::over(source.clone());
    let mut map: HashMap<Var, Atom> = HashMap::new();
    for mut s in source.body.stmts.clone() {
        ppl_core::map_atoms(&mut s.op, &mut |a| renamed(a, &map));
        ppl_core::op_blocks_mut(&mut s.op).into_iter().for_each(|b| ppl_core::substitute_block(b, &map));
        b.span = s.span;
        match s.op {
            Op::Scan(scan) if is_long(&b, &scan, bytes) => {
                any = true;
                let outs = split(&mut b, &source, *scan);
                map.extend(s.outs.into_iter().zip(outs));
            }
            op => b.push(Stmt { outs: s.outs, op, span: s.span }),
        }
    }
    let results: Vec<Atom> = source.body.results.iter().map(|a| renamed(*a, &map)).collect();
    *f = b.finish(results);
    any
}

fn renamed(a: Atom, map: &HashMap<Var, Atom>) -> Atom {
    a.var().and_then(|v| map.get(&v).copied()).unwrap_or(a)
}

/// Whether the stack of a scan's real carries is larger than `bytes`, and segments would make it smaller.
fn is_long(b: &Builder<Det>, scan: &Scan<Det>, bytes: usize) -> bool {
    let each: usize =
        scan.carry.iter().map(|(v, _)| b.func.ty(*v)).filter(|t| t.dtype == ppl_core::DType::Float).map(Ty::numel).sum();
    !scan.reverse && scan.len >= 16 && each.saturating_mul(scan.len).saturating_mul(8) > bytes
}

/// The scan in segments: its results.
fn split(b: &mut Builder<Det>, source: &Func<Det>, scan: Scan<Det>) -> Vec<Atom> {
    let len = (scan.len as f64).sqrt().ceil() as usize;
    let segments = scan.len / len;
    let whole = segments * len;
    let carries = scan.carry.len();
    let inits: Vec<Atom> = scan.carry.iter().map(|(_, a)| *a).collect();
    let mut outs = segmented(b, source, &scan, &inits, segments, len);
    if whole < scan.len {
        // What is left, from where the segments end.
        let ends: Vec<Atom> = outs[..carries].to_vec();
        let rest = iterations(b, (source, &scan), &ends, whole, scan.len - whole, None, None);
        for (k, r) in rest.into_iter().enumerate() {
            outs[k] = if k < carries { r } else { b.concat(&[outs[k], r], 0) };
        }
    }
    outs
}

fn segmented(
    b: &mut Builder<Det>,
    source: &Func<Det>,
    scan: &Scan<Det>,
    inits: &[Atom],
    segments: usize,
    len: usize,
) -> Vec<Atom> {
    let index = b.index_var("segment");
    let carry: Vec<(Var, Atom)> = scan.carry.iter().zip(inits).map(|((v, _), a)| (again(b, *v), *a)).collect();
    let mut xs = Vec::new();
    for (_, array) in &scan.xs {
        let ty = b.ty(*array);
        let part = b.slice(*array, 0, 0, segments * len);
        let rows = b.reshape(part, &[&[segments, len], &ty.shape[1..]].concat());
        let slice = b.fresh("rows", Ty::new(ty.dtype, [&[len], &ty.shape[1..]].concat()));
        xs.push((slice, rows));
    }
    b.begin();
    let first = b.prim(Prim::Mul, &[index.into(), Atom::int(len as i64)]);
    let starts: Vec<Atom> = carry.iter().map(|(v, _)| Atom::Var(*v)).collect();
    let rows: Vec<Atom> = xs.iter().map(|(v, _)| Atom::Var(*v)).collect();
    let results = iterations(b, (source, scan), &starts, 0, len, Some(first), Some(&rows));
    let body = b.end(results);
    let outs = b.scan(Scan { len: segments, index, carry, xs, body, reverse: false });
    let stacked = |b: &mut Builder<Det>, v: Var| {
        let shape = b.func.ty(v).shape.clone();
        b.reshape(v.into(), &[&[segments * len], &shape[2..]].concat())
    };
    outs.into_iter().enumerate().map(|(k, v)| if k < scan.carry.len() { v.into() } else { stacked(b, v) }).collect()
}

/// Iterations `from .. from + len` of a scan, from `starts`; `first` is the number of the first one where it is computed, `rows` what is sliced.
fn iterations(
    b: &mut Builder<Det>,
    (source, scan): (&Func<Det>, &Scan<Det>),
    starts: &[Atom],
    from: usize,
    len: usize,
    first: Option<Atom>,
    rows: Option<&[Atom]>,
) -> Vec<Atom> {
    let index = b.index_var("t");
    let mut map: HashMap<Var, Atom> = HashMap::new();
    let carry: Vec<(Var, Atom)> = scan
        .carry
        .iter()
        .zip(starts)
        .map(|((v, _), a)| {
            let new = again(b, *v);
            map.insert(*v, new.into());
            (new, *a)
        })
        .collect();
    let mut xs = Vec::new();
    for (k, (v, array)) in scan.xs.iter().enumerate() {
        let new = again(b, *v);
        map.insert(*v, new.into());
        let part = rows.map_or_else(|| b.slice(*array, 0, from, len), |r| r[k]);
        xs.push((new, part));
    }
    b.begin();
    let first = first.unwrap_or(Atom::int(from as i64));
    let t = b.prim(Prim::Add, &[first, index.into()]);
    map.insert(scan.index, t);
    let results = Cx { from: source, map }.block(b, &mut Same, &scan.body);
    let body = b.end(results);
    let outs = b.scan(Scan { len, index, carry, xs, body, reverse: false });
    outs.into_iter().map(Atom::Var).collect()
}

/// A new variable of the same name and type.
fn again(b: &mut Builder<Det>, v: Var) -> Var {
    let info = b.func.vars[v.index()].clone();
    b.fresh(&info.name, info.ty)
}

/// Copies draws like everything else.
struct Same;

impl Hook<Det, Det> for Same {
    fn random(&mut self, b: &mut Builder<Det>, cx: &mut Cx<'_, Det>, stmt: &Stmt<Det>, op: &DetRandom) -> Vec<Atom> {
        let mut op = op.clone();
        op.map_atoms(&mut |a| cx.atom(a));
        let outs = cx.declare(stmt, std::iter::empty());
        b.emit(Op::Random(op), outs).into_iter().map(Atom::Var).collect()
    }
}
