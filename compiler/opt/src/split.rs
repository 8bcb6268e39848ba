//! Contractions with arrays that are put together anew in each round of a loop.
//!
//! in, out: the same stage
//! keeps:   values up to the order of summation, derivatives, random bits
//!
//! ```text
//! scan { c = concat(p, q); y = dot(c, w) }  =  scan { y = dot(p, w[..n]) + dot(q, w[n..]) }
//! ```
//!
//! where `p` does not change from round to round, and the axis of the concatenation is contracted. What is the same in all rounds is then computed
//! once (`licm`): the input of a recurrent network that looks at one image again and again.

use crate::util::each_atom;
use ppl_core::{Atom, Block, Builder, Func, Op, Prim, Scan, Stage, Stmt, Var, op_blocks, op_blocks_mut};
use std::collections::{HashMap, HashSet};

/// Splits contractions in the loops of `f`; whether there were any.
pub fn split<S: Stage>(f: &mut Func<S>) -> bool {
    let body = std::mem::take(&mut f.body);
    let shell =
        Func { name: f.name.clone(), vars: f.vars.clone(), params: f.params.clone(), body: Block::default(), span: f.span };
    let mut pass = Split { b: Builder::over(shell), changed: false };
    let body = pass.block(body, None);
    let changed = pass.changed;
    let (func, _) = pass.b.into_parts();
    f.vars = func.vars;
    f.body = body;
    changed
}

/// What is known inside a loop.
struct Loop {
    /// Variables that may change from round to round.
    inner: HashSet<Var>,
    /// Concatenations with a part that does not: operands and axis.
    joined: HashMap<Var, (Vec<Atom>, usize)>,
}

struct Split<S: Stage> {
    b: Builder<S>,
    changed: bool,
}

impl<S: Stage> Split<S> {
    fn block(&mut self, block: Block<S>, mut around: Option<&mut Loop>) -> Block<S> {
        self.b.begin();
        for mut stmt in block.stmts {
            match &mut stmt.op {
                Op::Scan(s) => self.scan(s),
                op => {
                    for inner in op_blocks_mut(op) {
                        let taken = std::mem::take(inner);
                        *inner = self.block(taken, around.as_deref_mut());
                    }
                }
            }
            self.b.span = stmt.span;
            match &mut around {
                Some(l) => {
                    l.note(&stmt);
                    self.stmt(stmt, l);
                }
                None => self.b.push(stmt),
            }
        }
        self.b.end(block.results)
    }

    fn scan(&mut self, s: &mut Scan<S>) {
        let inner = std::iter::once(s.index).chain(s.carry.iter().chain(&s.xs).map(|(v, _)| *v)).collect();
        let mut l = Loop { inner, joined: HashMap::new() };
        let body = std::mem::take(&mut s.body);
        s.body = self.block(body, Some(&mut l));
    }

    fn stmt(&mut self, stmt: Stmt<S>, l: &Loop) {
        let Op::Dot { a, b, batch, contract } = &stmt.op else { return self.b.push(stmt) };
        let of = |x: &Atom| x.var().and_then(|v| l.joined.get(&v));
        let left = of(a).and_then(|(parts, axis)| contract.iter().find(|(i, _)| i == axis).map(|(i, j)| (parts, *i, *j)));
        let right = of(b).and_then(|(parts, axis)| contract.iter().find(|(_, j)| j == axis).map(|(i, j)| (parts, *j, *i)));
        let (parts, own, other, first) = match (left, right) {
            (Some((p, i, j)), _) => (p, i, j, true),
            (None, Some((p, j, i))) => (p, j, i, false),
            (None, None) => return self.b.push(stmt),
        };
        let weights = if first { *b } else { *a };
        let groups = grouped(parts, &l.inner);
        let (mut sum, mut start, last): (Option<Atom>, usize, usize) = (None, 0, groups.len() - 1);
        if last == 0 {
            return self.b.push(stmt);
        }
        self.changed = true;
        for (k, part) in groups.into_iter().enumerate() {
            let part = if part.len() == 1 { part[0] } else { self.b.concat(&part, own) };
            let len = self.b.ty(part).shape[own];
            let rows = self.b.slice(weights, other, start, len);
            start += len;
            let term = if first { self.b.dot(part, rows, batch, contract) } else { self.b.dot(rows, part, batch, contract) };
            sum = match sum {
                None => Some(term),
                // The last sum is the contraction's value.
                Some(s) if k == last => {
                    self.b.push(Stmt { outs: stmt.outs.clone(), op: Op::Prim(Prim::Add, vec![s, term]), span: stmt.span });
                    None
                }
                Some(s) => Some(self.b.prim(Prim::Add, &[s, term])),
            };
        }
    }
}

impl Loop {
    fn note<S: Stage>(&mut self, stmt: &Stmt<S>) {
        // What is computed from values of before the loop is the same in all rounds.
        let mut same = op_blocks(&stmt.op).is_empty() && !matches!(stmt.op, Op::Random(_) | Op::Call { .. });
        each_atom(&stmt.op, &mut |a| same &= a.var().is_none_or(|v| !self.inner.contains(&v)));
        if same {
            return;
        }
        self.inner.extend(&stmt.outs);
        if let (Op::Concat { xs, axis }, Some(out)) = (&stmt.op, stmt.outs.first())
            && xs.iter().any(|x| x.var().is_some_and(|v| !self.inner.contains(&v)))
        {
            self.joined.insert(*out, (xs.clone(), *axis));
        }
    }
}

/// Neighbouring parts that all change or all stay, together.
fn grouped(parts: &[Atom], inner: &HashSet<Var>) -> Vec<Vec<Atom>> {
    let changes = |a: &Atom| a.var().is_some_and(|v| inner.contains(&v));
    let mut out: Vec<Vec<Atom>> = Vec::new();
    for p in parts {
        match out.last_mut() {
            Some(g) if changes(&g[0]) == changes(p) => g.push(*p),
            _ => out.push(vec![*p]),
        }
    }
    out
}
