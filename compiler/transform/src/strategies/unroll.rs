//! Unrolls loops around choices of which several runs are differentiated.
//!
//! ```text
//!   (c', ys) = scan i < n carry c { b }   ->   b[i := 0]; ..; b[i := n - 1]; ys = stack    (n <= 16)
//!   ys       = map i < n { b }            ->   b[i := 0]; ..; b[i := n - 1]; ys = stack    (where a cost couples the lanes; at most 16 in all)
//! ```
//!
//! Each copy is a choice of its own, summed inside the sums of the ones before: exact, at a cost that is exponential in their number.

use super::lower::Strategies;
use crate::expand::{Cx, Hook};
use ppl_core::{Atom, Block, Builder, Est, EstRandom, Func, Lit, Op, Prim, Scan, Stmt, StrategyUse, Var};
use ppl_diag::{Code, Diagnostic, Span};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Longest scan that is unrolled, and most lanes that are summed jointly: where the author asked for it, and where not.
pub(crate) fn limit(asked: bool) -> usize {
    if asked { 16 } else { 4 }
}

/// The program in which no scan holds a choice of which several runs are differentiated. Errors: such a scan has more than 16 steps (E0502).
pub(crate) fn unroll(f: &Func<Est>, strategies: &Strategies, asked: &dyn Fn(Span) -> bool) -> Result<Func<Est>, Vec<Diagnostic>> {
    let (mut loops, mut errors) = (HashSet::new(), Vec::new());
    scans(&f.body, strategies, asked, &mut loops, &mut errors);
    if errors.is_empty() { Ok(unrolled(f, loops)) } else { Err(errors) }
}

/// The program in which loops around the choice `label` are unrolled: those with the index name and the length of one of `coupled`.
/// `None` where there is none.
pub(crate) fn lanes(f: &Func<Est>, label: &str, coupled: &BTreeSet<(String, usize)>) -> Option<Func<Est>> {
    let mut loops = HashSet::new();
    around(f, &f.body, label, coupled, &mut loops);
    (!loops.is_empty()).then(|| unrolled(f, loops))
}

/// A strategy's function in which runs on random numbers of their own stand in no loop: each has its own text.
pub(crate) fn fresh_runs(f: &Func<Est>) -> Func<Est> {
    fn walk(block: &Block<Est>, loops: &mut HashSet<Var>) -> bool {
        let mut found = false;
        for s in &block.stmts {
            let own = matches!(s.op, Op::Random(EstRandom::Continue { fresh: true, .. }));
            // Every block is walked.
            let inner = ppl_core::op_blocks(&s.op).into_iter().map(|b| walk(b, loops)).max().unwrap_or(false);
            if inner {
                loops.extend(index(&s.op));
            }
            found |= own || inner;
        }
        found
    }
    let mut loops = HashSet::new();
    walk(&f.body, &mut loops);
    unrolled(f, loops)
}

fn unrolled(f: &Func<Est>, loops: HashSet<Var>) -> Func<Est> {
    if loops.is_empty() {
        return f.clone();
    }
    let mut b = Builder::<Est>::new(f.name.clone());
    b.func.span = f.span;
    let args: Vec<Atom> = f.params.iter().map(|p| b.param(f.vars[p.index()].name.clone(), f.ty(*p).clone()).into()).collect();
    let mut cx = Cx::new(f, &args);
    let results = Unroll { loops }.block(&mut b, &mut cx, &f.body);
    let mut f = b.finish(results);
    // Each copy draws its own random numbers.
    crate::inline::distinct_labels(&mut f.body, &mut HashMap::new());
    f
}

/// The index of a loop.
fn index(op: &Op<Est>) -> Option<Var> {
    match op {
        Op::Map { index, .. } => Some(*index),
        Op::Scan(s) => Some(s.index),
        _ => None,
    }
}

/// Collects the scans to unroll, by their indices.
fn scans(
    block: &Block<Est>,
    strategies: &Strategies,
    asked: &dyn Fn(Span) -> bool,
    loops: &mut HashSet<Var>,
    errors: &mut Vec<Diagnostic>,
) {
    for s in &block.stmts {
        if let Op::Scan(scan) = &s.op
            && let Some((label, span)) = first(&scan.body, strategies)
        {
            if scan.len > limit(asked(span)) {
                errors.push(too_long(scan.len, &label, span, s.span));
                continue;
            }
            loops.insert(scan.index);
        }
        ppl_core::op_blocks(&s.op).into_iter().for_each(|b| scans(b, strategies, asked, loops, errors));
    }
}

/// The first choice in the block of which several runs are differentiated.
fn first(block: &Block<Est>, strategies: &Strategies) -> Option<(String, Span)> {
    block.stmts.iter().find_map(|s| match &s.op {
        Op::Random(EstRandom::Sample { strategy: StrategyUse::Named { strategy, .. }, label, .. })
            if strategies.get(strategy).is_some_and(|(_, c)| c.differentiates_runs()) =>
        {
            Some((label.clone(), s.span))
        }
        op => ppl_core::op_blocks(op).into_iter().find_map(|b| first(b, strategies)),
    })
}

/// Collects the loops around a choice that are like `coupled` ones; whether it is in the block.
fn around(f: &Func<Est>, block: &Block<Est>, label: &str, coupled: &BTreeSet<(String, usize)>, loops: &mut HashSet<Var>) -> bool {
    block.stmts.iter().any(|s| {
        if let Op::Random(EstRandom::Sample { label: own, .. }) = &s.op {
            return own == label;
        }
        let found = ppl_core::op_blocks(&s.op).into_iter().any(|b| around(f, b, label, coupled, loops));
        let len = match &s.op {
            Op::Map { len, .. } => *len,
            Op::Scan(s) => s.len,
            _ => return found,
        };
        loops.extend(index(&s.op).filter(|i| found && coupled.contains(&(f.vars[i.index()].name.clone(), len))));
        found
    })
}

struct Unroll {
    /// The indices of the loops to unroll.
    loops: HashSet<Var>,
}

impl Unroll {
    fn holds(&self, block: &Block<Est>) -> bool {
        block.stmts.iter().any(|s| self.here(&s.op) || self.inside(&s.op))
    }

    fn here(&self, op: &Op<Est>) -> bool {
        index(op).is_some_and(|i| self.loops.contains(&i))
    }

    fn inside(&self, op: &Op<Est>) -> bool {
        ppl_core::op_blocks(op).into_iter().any(|b| self.holds(b))
    }

    fn block(&self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, block: &Block<Est>) -> Vec<Atom> {
        for stmt in &block.stmts {
            match &stmt.op {
                // What distinguishes the rounds is known in each.
                Op::Prim(Prim::Eq, args) if let [Atom::Lit(x), Atom::Lit(y)] = cx.atoms(args)[..] => {
                    cx.map.insert(stmt.outs[0], Atom::bool(x == y));
                }
                Op::If { cond, then, els } if let Atom::Lit(Lit::Bool(c)) = cx.atom(*cond) => {
                    let results = self.block(b, cx, if c { then } else { els });
                    cx.map.extend(stmt.outs.iter().copied().zip(results));
                }
                Op::Scan(s) if self.here(&stmt.op) => self.scan(b, cx, stmt, s),
                Op::Map { len, index, body } if self.here(&stmt.op) => {
                    let mut stacks: Vec<Vec<Atom>> = vec![Vec::new(); stmt.outs.len()];
                    for i in 0..*len {
                        cx.map.insert(*index, Atom::Lit(Lit::Int(i as i64)));
                        let results = self.block(b, cx, body);
                        stacks.iter_mut().zip(results).for_each(|(s, r)| s.push(r));
                    }
                    stack(b, cx, &stmt.outs, stacks);
                }
                op if !self.inside(op) => cx.stmt(b, &mut Plain, stmt),
                Op::Map { len, index, body } => {
                    let new = b.index_var(&cx.from.vars[index.index()].name);
                    cx.map.insert(*index, new.into());
                    b.begin();
                    let results = self.block(b, cx, body);
                    let body = b.end(results);
                    let outs = b.map(*len, new, body);
                    cx.map.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
                }
                Op::If { cond, then, els } => {
                    let cond = cx.atom(*cond);
                    let mut blocks = Vec::new();
                    for block in [then, els] {
                        b.begin();
                        let results = self.block(b, cx, block);
                        blocks.push(b.end(results));
                    }
                    let (els, then) = (blocks.remove(1), blocks.remove(0));
                    let outs = b.if_(cond, then, els);
                    cx.map.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
                }
                Op::Scan(s) => self.around(b, cx, stmt, s),
                _ => cx.stmt(b, &mut Plain, stmt),
            }
        }
        cx.atoms(&block.results)
    }

    /// A scan that stays, with something inside that does not.
    fn around(&self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, s: &Scan<Est>) {
        let mut bind = |b: &mut Builder<Est>, list: &[(Var, Atom)]| -> Vec<(Var, Atom)> {
            let values: Vec<Atom> = list.iter().map(|(_, a)| cx.atom(*a)).collect();
            let mut out = Vec::new();
            for ((v, _), a) in list.iter().zip(values) {
                let info = &cx.from.vars[v.index()];
                let new = b.fresh(&info.name, info.ty.clone());
                cx.map.insert(*v, new.into());
                out.push((new, a));
            }
            out
        };
        let (carry, xs) = (bind(b, &s.carry), bind(b, &s.xs));
        let index = b.index_var(&cx.from.vars[s.index.index()].name);
        cx.map.insert(s.index, index.into());
        b.begin();
        let results = self.block(b, cx, &s.body);
        let body = b.end(results);
        let outs = b.scan(Scan { len: s.len, index, carry, xs, body, reverse: s.reverse });
        cx.map.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
    }

    fn scan(&self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, s: &Scan<Est>) {
        let mut carry: Vec<Atom> = s.carry.iter().map(|(_, a)| cx.atom(*a)).collect();
        let xs: Vec<Atom> = s.xs.iter().map(|(_, a)| cx.atom(*a)).collect();
        let n = carry.len();
        let mut stacks: Vec<Vec<Atom>> = vec![Vec::new(); stmt.outs.len() - n];
        for step in 0..s.len {
            let t = if s.reverse { s.len - 1 - step } else { step };
            let index = Atom::Lit(Lit::Int(t as i64));
            cx.map.insert(s.index, index);
            for ((v, _), x) in s.xs.iter().zip(&xs) {
                let slice = b.gather(*x, index, 0);
                cx.map.insert(*v, slice);
            }
            for ((v, _), c) in s.carry.iter().zip(&carry) {
                cx.map.insert(*v, *c);
            }
            let results = self.block(b, cx, &s.body);
            carry = results[..n].to_vec();
            for (stack, y) in stacks.iter_mut().zip(&results[n..]) {
                stack.push(*y);
            }
        }
        cx.map.extend(stmt.outs.iter().copied().zip(carry));
        if s.reverse {
            stacks.iter_mut().for_each(|ys| ys.reverse());
        }
        stack(b, cx, &stmt.outs[n..], stacks);
    }
}

/// What a loop stacks, from its iterations' values.
fn stack(b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, outs: &[Var], stacks: Vec<Vec<Atom>>) {
    for (out, ys) in outs.iter().zip(stacks) {
        let value = if ys.is_empty() { b.full(Atom::float(0.0), &cx.from.ty(*out).shape) } else { b.stack(&ys) };
        cx.map.insert(*out, value);
    }
}

fn too_long(len: usize, label: &str, span: Span, scan: Span) -> Diagnostic {
    let label = crate::user_label(label);
    Diagnostic::error(
        Code("E0502"),
        format!("the strategy of `{label}` is not compiled yet in a loop of {len} steps that carries a value"),
    )
    .label(span, "runs the rest of the objective again for other values")
    .label(scan, format!("carries a value from step to step; at most {} steps are handled", limit(true)))
    .help("use `by local_expectation`, `by measure_valued` or `by reinforce`, which work in loops of any length")
}

/// Copies samples as they are.
struct Plain;

impl Hook<Est, Est> for Plain {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, op: &EstRandom) -> Vec<Atom> {
        let mut op = Op::Random(op.clone());
        ppl_core::map_atoms(&mut op, &mut |a| cx.atom(a));
        let outs = cx.declare(stmt, std::iter::empty());
        b.emit(op, outs).into_iter().map(Atom::Var).collect()
    }
}
