//! Primitives of literals.
//!
//! Arithmetic folds exactly as IEEE 754 double arithmetic does; a few functions fold through the standard library. Every engine
//! runs the folded program, so engines still agree. Integers wrap, as they do at run time.

use ppl_core::{Lit, Prim};

/// The value of a primitive of literals, where it is known at compile time.
pub(super) fn fold(p: Prim, args: &[Lit]) -> Option<Lit> {
    match *args {
        [Lit::Float(x)] => real1(p, x),
        [Lit::Int(i)] => int1(p, i),
        [Lit::Bool(b)] => match p {
            Prim::Not => Some(Lit::Bool(!b)),
            Prim::ToReal => Some(Lit::Float(f64::from(u8::from(b)))),
            Prim::ToInt => Some(Lit::Int(i64::from(b))),
            _ => None,
        },
        [Lit::Float(x), Lit::Float(y)] => real2(p, x, y),
        [Lit::Int(i), Lit::Int(j)] => int2(p, i, j),
        [Lit::Bool(a), Lit::Bool(b)] => match p {
            Prim::And => Some(Lit::Bool(a && b)),
            Prim::Or => Some(Lit::Bool(a || b)),
            Prim::Eq => Some(Lit::Bool(a == b)),
            Prim::Ne => Some(Lit::Bool(a != b)),
            _ => None,
        },
        [Lit::Bool(c), a, b] if p == Prim::Select => Some(if c { a } else { b }),
        [_, x] if p == Prim::Guard => Some(x),
        _ => None,
    }
}

fn real1(p: Prim, x: f64) -> Option<Lit> {
    Some(Lit::Float(match p {
        Prim::Neg => -x,
        Prim::Abs => x.abs(),
        Prim::Square => x * x,
        Prim::Sqrt => x.sqrt(),
        Prim::Recip => 1.0 / x,
        Prim::Floor => x.floor(),
        Prim::Ceil => x.ceil(),
        Prim::Round => x.round_ties_even(),
        Prim::Trunc => x.trunc(),
        Prim::Exp => x.exp(),
        Prim::Expm1 => x.exp_m1(),
        Prim::Log => x.ln(),
        Prim::Log1p => x.ln_1p(),
        Prim::Log2 => x.log2(),
        Prim::IsFinite => return Some(Lit::Bool(x.is_finite())),
        Prim::IsNan => return Some(Lit::Bool(x.is_nan())),
        Prim::ToReal => x,
        _ => return None,
    }))
}

fn real2(p: Prim, x: f64, y: f64) -> Option<Lit> {
    Some(match p {
        Prim::Add => Lit::Float(x + y),
        Prim::Sub => Lit::Float(x - y),
        Prim::Mul => Lit::Float(x * y),
        Prim::Div => Lit::Float(x / y),
        Prim::Lt => Lit::Bool(x < y),
        Prim::Le => Lit::Bool(x <= y),
        Prim::Gt => Lit::Bool(x > y),
        Prim::Ge => Lit::Bool(x >= y),
        Prim::Eq => Lit::Bool(x == y),
        Prim::Ne => Lit::Bool(x != y),
        _ => return None,
    })
}

fn int1(p: Prim, i: i64) -> Option<Lit> {
    match p {
        Prim::Neg => Some(Lit::Int(i.wrapping_neg())),
        Prim::Abs => Some(Lit::Int(i.wrapping_abs())),
        Prim::Square => Some(Lit::Int(i.wrapping_mul(i))),
        Prim::ToReal => Some(Lit::Float(i as f64)),
        Prim::ToInt => Some(Lit::Int(i)),
        _ => None,
    }
}

fn int2(p: Prim, i: i64, j: i64) -> Option<Lit> {
    match p {
        Prim::Add => Some(Lit::Int(i.wrapping_add(j))),
        Prim::Sub => Some(Lit::Int(i.wrapping_sub(j))),
        Prim::Mul => Some(Lit::Int(i.wrapping_mul(j))),
        Prim::Min => Some(Lit::Int(i.min(j))),
        Prim::Max => Some(Lit::Int(i.max(j))),
        Prim::Lt => Some(Lit::Bool(i < j)),
        Prim::Le => Some(Lit::Bool(i <= j)),
        Prim::Gt => Some(Lit::Bool(i > j)),
        Prim::Ge => Some(Lit::Bool(i >= j)),
        Prim::Eq => Some(Lit::Bool(i == j)),
        Prim::Ne => Some(Lit::Bool(i != j)),
        _ => None,
    }
}
