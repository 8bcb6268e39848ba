//! Unrolls short scans around choices whose continuation is run again.
//!
//! ```text
//!   (c', ys) = scan i < n carry c { b }   ->   b[i := 0]; ..; b[i := n - 1]; ys = stack    (n <= 16)
//! ```

use super::lower::Strategies;
use crate::expand::{Cx, Hook};
use ppl_core::{Atom, Block, Builder, Est, EstRandom, Func, Lit, Op, Scan, Stmt, StrategyUse};
use ppl_diag::{Code, Diagnostic, Span};
use std::collections::HashMap;

/// Longest scan that is unrolled.
const LIMIT: usize = 16;

/// The program in which no scan holds a choice whose continuation is run again. Errors: such a scan has more than 16 steps (E0502).
pub(crate) fn unroll(f: &Func<Est>, strategies: &Strategies) -> Result<Func<Est>, Vec<Diagnostic>> {
    if !scans(&f.body, strategies) {
        return Ok(f.clone());
    }
    let mut b = Builder::<Est>::new(f.name.clone());
    b.func.span = f.span;
    let args: Vec<Atom> = f.params.iter().map(|p| b.param(f.vars[p.index()].name.clone(), f.ty(*p).clone()).into()).collect();
    let mut pass = Unroll { strategies, errors: Vec::new() };
    let mut cx = Cx::new(f, &args);
    let results = pass.block(&mut b, &mut cx, &f.body);
    if !pass.errors.is_empty() {
        return Err(pass.errors);
    }
    let mut f = b.finish(results);
    // Each step draws its own random numbers.
    crate::inline::distinct_labels(&mut f.body, &mut HashMap::new());
    Ok(f)
}

/// The first choice in the block whose continuation is run again.
fn first(block: &Block<Est>, strategies: &Strategies) -> Option<(String, Span)> {
    block.stmts.iter().find_map(|s| match &s.op {
        Op::Random(EstRandom::Sample { strategy: StrategyUse::Named { strategy, .. }, label, .. })
            if strategies.get(strategy).is_some_and(|(f, c)| c.replays(f)) =>
        {
            Some((label.clone(), s.span))
        }
        op => ppl_core::op_blocks(op).into_iter().find_map(|b| first(b, strategies)),
    })
}

fn scans(block: &Block<Est>, strategies: &Strategies) -> bool {
    block.stmts.iter().any(|s| match &s.op {
        Op::Scan(s) => first(&s.body, strategies).is_some(),
        op => ppl_core::op_blocks(op).into_iter().any(|b| scans(b, strategies)),
    })
}

struct Unroll<'a> {
    strategies: &'a Strategies,
    errors: Vec<Diagnostic>,
}

impl Unroll<'_> {
    fn block(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, block: &Block<Est>) -> Vec<Atom> {
        for stmt in &block.stmts {
            let inner = ppl_core::op_blocks(&stmt.op).into_iter().any(|b| scans(b, self.strategies));
            match &stmt.op {
                Op::Scan(s) => match first(&s.body, self.strategies) {
                    Some((label, span)) if s.len > LIMIT => self.errors.push(too_long(s.len, &label, span, stmt.span)),
                    Some(_) => self.scan(b, cx, stmt, s),
                    None => cx.stmt(b, &mut Plain, stmt),
                },
                Op::Map { len, index, body } if inner => {
                    let new = b.index_var(&cx.from.vars[index.index()].name);
                    cx.map.insert(*index, new.into());
                    b.begin();
                    let results = self.block(b, cx, body);
                    let body = b.end(results);
                    let outs = b.map(*len, new, body);
                    cx.map.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
                }
                Op::If { cond, then, els } if inner => {
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
                _ => cx.stmt(b, &mut Plain, stmt),
            }
        }
        cx.atoms(&block.results)
    }

    fn scan(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, s: &Scan<Est>) {
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
            let before = b.depth();
            let results = self.block(b, cx, &s.body);
            debug_assert_eq!(before, b.depth(), "a block is open after a step");
            carry = results[..n].to_vec();
            for (stack, y) in stacks.iter_mut().zip(&results[n..]) {
                stack.push(*y);
            }
        }
        cx.map.extend(stmt.outs.iter().copied().zip(carry));
        for (out, mut ys) in stmt.outs[n..].iter().zip(stacks) {
            if s.reverse {
                ys.reverse();
            }
            let value = if ys.is_empty() { b.full(Atom::float(0.0), &cx.from.ty(*out).shape) } else { b.stack(&ys) };
            cx.map.insert(*out, value);
        }
    }
}

fn too_long(len: usize, label: &str, span: Span, scan: Span) -> Diagnostic {
    let label = crate::user_label(label);
    Diagnostic::error(
        Code("E0502"),
        format!("the strategy of `{label}` is not compiled yet in a loop of {len} steps that carries a value"),
    )
    .label(span, "runs the rest of the objective again for other values")
    .label(scan, format!("carries a value from step to step; at most {LIMIT} steps are handled"))
    .help("use `by reinforce` for this choice: its cost is then summed from each step on")
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
