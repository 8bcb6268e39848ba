//! Short loops of heavy work, written out.
//!
//! in, out: `Det`, after derivatives
//! keeps:   values and random bits
//!
//! ```text
//! c, ys = scan i < n carry (c = a) over x in xs { b; ret c', y }  =  b[c := a, i := 0, x := xs[0]];  b[c := c', i := 1, x := xs[1]];  ..;  ys = [y, ..]
//! ```
//!
//! Threads share the steps at the top of a program, never those inside a loop. So a loop of few rounds whose rounds multiply large matrices is worth
//! more written out, as long as its text stays small. What one such loop stacks the next one takes round by round, without the array in between.

use ppl_core::{Atom, Block, Builder, Det, Func, Op, Scan, Stmt, Var, op_blocks, substitute_block};
use std::collections::HashMap;

/// Most rounds that are written out.
const ROUNDS: usize = 8;
/// Most statements that they have together.
const STATEMENTS: usize = 4000;
/// Multiplications of a round's matrix products from which on it is worth it.
const HEAVY: usize = 1 << 20;

/// Writes out short loops at the top of the function.
pub fn unroll(f: &mut Func<Det>) {
    if !f.body.stmts.iter().any(|s| matches!(&s.op, Op::Scan(scan) if worthwhile(f, scan))) {
        return;
    }
    let body = std::mem::take(&mut f.body);
    let shell = Func {
        name: f.name.clone(),
        vars: std::mem::take(&mut f.vars),
        params: f.params.clone(),
        body: Block::default(),
        span: f.span,
    };
    let mut b = Builder::over(shell);
    let mut seen = Seen::default();
    for stmt in body.stmts {
        let mut one = Block { stmts: vec![stmt], results: Vec::new() };
        substitute_block(&mut one, &seen.replaced);
        for stmt in one.stmts {
            b.span = stmt.span;
            match stmt.op {
                Op::Scan(scan) if worthwhile(&b.func, &scan) => written_out(&mut b, *scan, &stmt.outs, &mut seen),
                op => b.push(Stmt { op, ..stmt }),
            }
        }
    }
    let mut results = Block { stmts: Vec::new(), results: body.results };
    substitute_block(&mut results, &seen.replaced);
    let (func, stmts) = b.into_parts();
    f.vars = func.vars;
    f.body = Block { stmts, ..results };
}

/// What stands for the loops before.
#[derive(Default)]
struct Seen {
    /// Their outputs.
    replaced: HashMap<Var, Atom>,
    /// The rounds' values of arrays that they stacked.
    rounds: HashMap<Var, Vec<Atom>>,
}

fn worthwhile(f: &Func<Det>, s: &Scan<Det>) -> bool {
    (1..=ROUNDS).contains(&s.len) && crate::pipeline::count(&s.body) * s.len <= STATEMENTS && products(f, &s.body) >= HEAVY
}

/// Multiplications of a block's matrix products.
fn products(f: &Func<Det>, b: &Block<Det>) -> usize {
    let one = |s: &Stmt<Det>| match &s.op {
        Op::Dot { a, contract, .. } => {
            let shape = f.atom_ty(*a).shape;
            let inner: usize = contract.iter().map(|(i, _)| shape[*i]).product();
            inner * f.ty(s.outs[0]).numel()
        }
        op => op_blocks(op).into_iter().map(|b| products(f, b)).sum(),
    };
    b.stmts.iter().map(one).sum()
}

fn written_out(b: &mut Builder<Det>, scan: Scan<Det>, outs: &[Var], seen: &mut Seen) {
    let carries = scan.carry.len();
    let mut carried: Vec<Atom> = scan.carry.iter().map(|(_, init)| *init).collect();
    let stacks = scan.body.results.len() - carries;
    let mut stacked: Vec<Vec<Atom>> = vec![vec![Atom::int(0); scan.len]; stacks];
    for k in 0..scan.len {
        let i = if scan.reverse { scan.len - 1 - k } else { k };
        let mut map: HashMap<Var, Atom> = scan.carry.iter().map(|(v, _)| *v).zip(carried.iter().copied()).collect();
        map.insert(scan.index, Atom::int(i as i64));
        for (v, x) in &scan.xs {
            let known = x.var().and_then(|x| seen.rounds.get(&x)).map(|r| r[i]);
            map.insert(*v, known.unwrap_or_else(|| row(b, *x, i)));
        }
        let mut copy = b.duplicate(&scan.body);
        substitute_block(&mut copy, &map);
        carried = copy.results[..carries].to_vec();
        for (all, r) in stacked.iter_mut().zip(&copy.results[carries..]) {
            all[i] = *r;
        }
        copy.stmts.into_iter().for_each(|s| b.push(s));
    }
    seen.replaced.extend(outs.iter().copied().zip(carried));
    for (out, all) in outs[carries..].iter().zip(stacked) {
        let whole = b.stack(&all);
        seen.replaced.insert(*out, whole);
        if let Some(v) = whole.var() {
            seen.rounds.insert(v, all);
        }
    }
}

/// Element `i` along the first axis.
fn row(b: &mut Builder<Det>, x: Atom, i: usize) -> Atom {
    let shape = b.ty(x).shape;
    if shape.len() == 1 {
        return b.gather(x, Atom::int(i as i64), 0);
    }
    let part = b.slice(x, 0, i, 1);
    b.reshape(part, &shape[1..])
}
