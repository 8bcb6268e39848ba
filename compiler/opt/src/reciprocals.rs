//! Divisions by one value as products with its reciprocal.
//!
//! in, out: deterministic functions after derivatives have been taken
//! keeps:   values to a rounding; not at divisors of which the reciprocal overflows
//!
//! ```text
//! y = x / s          =  r = 1 / s;  y = x * r                   x an array, s a scalar
//! y = a / x; z = b / x  =  r = 1 / x;  y = a * r;  z = b * r    two or more in a block
//! ```

use ppl_core::{Atom, Block, DType, Det, Func, Op, Prim, Stmt, Var};
use std::collections::HashMap;

/// Replaces divisions.
pub fn reciprocals(f: &mut Func<Det>) {
    let mut body = std::mem::take(&mut f.body);
    block(f, &mut body);
    f.body = body;
}

fn block(f: &mut Func<Det>, b: &mut Block<Det>) {
    let mut count: HashMap<Var, usize> = HashMap::new();
    for s in &b.stmts {
        if let Some(v) = divisor(f, s) {
            *count.entry(v).or_default() += 1;
        }
    }
    let mut known: HashMap<Var, Atom> = HashMap::new();
    let mut out: Vec<Stmt<Det>> = Vec::with_capacity(b.stmts.len());
    for mut s in std::mem::take(&mut b.stmts) {
        ppl_core::op_blocks_mut(&mut s.op).into_iter().for_each(|b| block(f, b));
        let wanted = divisor(f, &s).filter(|v| {
            let result = f.ty(s.outs[0]).numel();
            f.ty(*v).is_scalar() && result > 1 || count.get(v).is_some_and(|n| *n > 1) && f.ty(*v).numel() == result
        });
        if let (Some(v), Op::Prim(_, args)) = (wanted, &s.op) {
            let x = args[0];
            let r = known.get(&v).copied().unwrap_or_else(|| {
                let ty = f.ty(v).clone();
                let r = f.new_var("recip", ty);
                out.push(Stmt { outs: vec![r], op: Op::Prim(Prim::Recip, vec![v.into()]), span: s.span });
                known.insert(v, r.into());
                r.into()
            });
            s.op = Op::Prim(Prim::Mul, vec![x, r]);
        }
        out.push(s);
    }
    b.stmts = out;
}

/// The variable by which a statement divides reals.
fn divisor(f: &Func<Det>, s: &Stmt<Det>) -> Option<Var> {
    match &s.op {
        Op::Prim(Prim::Div, args) if f.ty(s.outs[0]).dtype == DType::Float => args[1].var(),
        _ => None,
    }
}
