//! Arithmetic, rounding and bounds.

use super::{
    Lower::{Inline, Kernel as K},
    Prim, PrimDef,
    Vjp::{Rule, Zero},
};
use crate::{Atom, Builder, Det, Lit};
use ppl_abi::Kernel;

pub(super) const ROWS: &[PrimDef] = &[
    PrimDef {
        prim: Prim::Neg,
        name: "neg",
        sig: "(x: num) -> num",
        doc: "The negative, `-x`. Integers wrap on overflow.",
        example: ("-(2.5)", "-2.5"),
        vjp: Rule(|b, _, _, ct| vec![Some(b.neg(ct))]),
        lower: Inline,
        callable: false,
    },
    PrimDef {
        prim: Prim::Abs,
        name: "abs",
        sig: "(x: num) -> num",
        doc: "Absolute value. Its derivative at 0 is 0. Integers wrap on overflow.",
        example: ("abs(-2.5)", "2.5"),
        vjp: Rule(|b, x, _, ct| {
            let s = b.un(Prim::Sign, x[0]);
            vec![Some(b.mul(ct, s))]
        }),
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Sign,
        name: "sign",
        sig: "(x: num) -> num",
        doc: "-1, 0 or 1, as `x` is below, at or above 0; NaN for NaN.",
        example: ("sign(-2.5)", "-1.0"),
        vjp: Zero,
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Add,
        name: "add",
        sig: "(a: num, b: num) -> num",
        doc: "The sum, `a + b`. Integers wrap on overflow.",
        example: ("2.0 + 3.0", "5.0"),
        vjp: Rule(|_, _, _, ct| vec![Some(ct), Some(ct)]),
        lower: Inline,
        callable: false,
    },
    PrimDef {
        prim: Prim::Sub,
        name: "sub",
        sig: "(a: num, b: num) -> num",
        doc: "The difference, `a - b`. Integers wrap on overflow.",
        example: ("2.0 - 3.0", "-1.0"),
        vjp: Rule(|b, _, _, ct| vec![Some(ct), Some(b.neg(ct))]),
        lower: Inline,
        callable: false,
    },
    PrimDef {
        prim: Prim::Mul,
        name: "mul",
        sig: "(a: num, b: num) -> num",
        doc: "The product, `a * b`. Integers wrap on overflow.",
        example: ("2.0 * 3.0", "6.0"),
        vjp: Rule(|b, x, _, ct| vec![Some(b.mul(ct, x[1])), Some(b.mul(ct, x[0]))]),
        lower: Inline,
        callable: false,
    },
    PrimDef {
        prim: Prim::Div,
        name: "div",
        sig: "(a: real, b: real) -> real",
        doc: "The quotient, `a / b`, of reals; see `int_div` for integers. Division by 0 gives an infinity, 0 / 0 gives NaN.",
        example: ("1.0 / 8.0", "0.125"),
        vjp: Rule(|b, x, y, ct| {
            let da = b.div(ct, x[1]);
            let t = b.mul(da, y);
            vec![Some(da), Some(b.neg(t))]
        }),
        lower: Inline,
        callable: false,
    },
    PrimDef {
        prim: Prim::Pow,
        name: "pow",
        sig: "(x: positive, p: real) -> real",
        doc: "The power `x^p`. 1 where `p` is 0; NaN for negative `x` unless `p` is a whole number. The derivative with respect \
              to `p` is 0 where `x` is 0.",
        example: ("pow(2.0, 0.5)", "1.4142135623730951"),
        vjp: Rule(pow_vjp),
        lower: K(Kernel::Pow),
        callable: true,
    },
    PrimDef {
        prim: Prim::Square,
        name: "square",
        sig: "(x: num) -> num",
        doc: "The square, `x * x`. Integers wrap on overflow.",
        example: ("square(3.0)", "9.0"),
        vjp: Rule(|b, x, _, ct| {
            let two = b.mul(Atom::float(2.0), x[0]);
            vec![Some(b.mul(ct, two))]
        }),
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Sqrt,
        name: "sqrt",
        sig: "(x: positive) -> real",
        doc: "Square root, correctly rounded; NaN for negative numbers. The derivative at 0 is infinite.",
        example: ("sqrt(2.0)", "1.4142135623730951"),
        vjp: Rule(|b, _, y, ct| {
            let h = b.mul(Atom::float(0.5), ct);
            vec![Some(b.div(h, y))]
        }),
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Recip,
        name: "recip",
        sig: "(x: real) -> real",
        doc: "The reciprocal, `1 / x`.",
        example: ("recip(8.0)", "0.125"),
        vjp: Rule(|b, _, y, ct| {
            let y2 = b.un(Prim::Square, y);
            let t = b.mul(ct, y2);
            vec![Some(b.neg(t))]
        }),
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Min,
        name: "min",
        sig: "(a: num, b: num) -> num",
        doc: "The smaller of two numbers; NaN if one is NaN. Where they are equal each gets half of the derivative.",
        example: ("min(2.0, 3.0)", "2.0"),
        vjp: Rule(|b, x, _, ct| {
            let (l, r) = tie_split(b, Prim::Lt, x[0], x[1], ct);
            vec![Some(l), Some(r)]
        }),
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Max,
        name: "max",
        sig: "(a: num, b: num) -> num",
        doc: "The larger of two numbers; NaN if one is NaN. Where they are equal each gets half of the derivative.",
        example: ("max(2.0, 3.0)", "3.0"),
        vjp: Rule(|b, x, _, ct| {
            let (l, r) = tie_split(b, Prim::Gt, x[0], x[1], ct);
            vec![Some(l), Some(r)]
        }),
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Rem,
        name: "rem",
        sig: "(a: num, b: num) -> num",
        doc: "The remainder `a - b * floor(a / b)`, with the sign of `b`. An integer remainder by 0 is 0.",
        example: ("rem(-7.0, 3.0)", "2.0"),
        vjp: Rule(|b, x, _, ct| {
            let q = b.div(x[0], x[1]);
            let f = b.un(Prim::Floor, q);
            let t = b.mul(ct, f);
            vec![Some(ct), Some(b.neg(t))]
        }),
        lower: K(Kernel::Rem),
        callable: true,
    },
    PrimDef {
        prim: Prim::Floor,
        name: "floor",
        sig: "(x: real) -> real",
        doc: "The largest whole number not above `x`.",
        example: ("floor(-2.5)", "-3.0"),
        vjp: Zero,
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Ceil,
        name: "ceil",
        sig: "(x: real) -> real",
        doc: "The smallest whole number not below `x`.",
        example: ("ceil(2.25)", "3.0"),
        vjp: Zero,
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Round,
        name: "round",
        sig: "(x: real) -> real",
        doc: "The nearest whole number, halves to the even one.",
        example: ("round(2.5)", "2.0"),
        vjp: Zero,
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Trunc,
        name: "trunc",
        sig: "(x: real) -> real",
        doc: "The number without its fraction: rounded towards 0.",
        example: ("trunc(-2.75)", "-2.0"),
        vjp: Zero,
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Clip,
        name: "clip",
        sig: "(x: num, lo: num, hi: num) -> num",
        doc: "`x` moved into the interval from `lo` to `hi`: `min(max(x, lo), hi)`. NaN if one of them is NaN.",
        example: ("clip(3.5, 0.0, 1.0)", "1.0"),
        vjp: Rule(|b, x, _, ct| {
            let m = b.prim(Prim::Max, &[x[0], x[1]]);
            let (dm, dhi) = tie_split(b, Prim::Lt, m, x[2], ct);
            let (dx, dlo) = tie_split(b, Prim::Gt, x[0], x[1], dm);
            vec![Some(dx), Some(dlo), Some(dhi)]
        }),
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::IntDiv,
        name: "int_div",
        sig: "(a: int, b: int) -> int",
        doc: "The quotient of integers, rounded down, so that `a == b * int_div(a, b) + rem(a, b)`. Division by 0 gives 0.",
        example: ("int_div(-7, 2)", "-4"),
        vjp: Zero,
        lower: Inline,
        callable: true,
    },
    PrimDef {
        prim: Prim::Fma,
        name: "fma",
        sig: "(a: real, b: real, c: real) -> real",
        doc: "`a * b + c`, rounded once.",
        example: ("fma(2.0, 3.0, 4.0)", "10.0"),
        vjp: Rule(|b, x, _, ct| vec![Some(b.mul(ct, x[1])), Some(b.mul(ct, x[0])), Some(ct)]),
        lower: Inline,
        callable: true,
    },
];

/// Shares `ct` between the operands of `min` or `max`: all to the one that wins, half each where they are equal.
fn tie_split(b: &mut Builder<Det>, wins: Prim, l: Atom, r: Atom, ct: Atom) -> (Atom, Atom) {
    let half = b.mul(Atom::float(0.5), ct);
    let zero = Atom::float(0.0);
    let equal = b.prim(Prim::Eq, &[l, r]);
    let left = b.prim(wins, &[l, r]);
    let (left_rest, right_rest) = (b.select(equal, half, zero), b.select(equal, half, ct));
    (b.select(left, ct, left_rest), b.select(left, zero, right_rest))
}

/// `p x^(p - 1)` and `x^p log x`; where a factor is 0 its partner may be infinite, so both are selected.
fn pow_vjp(b: &mut Builder<Det>, x: &[Atom], y: Atom, ct: Atom) -> Vec<Option<Atom>> {
    let zero = Atom::float(0.0);
    let (x, p) = (x[0], x[1]);
    if let Atom::Lit(Lit::Float(p)) = p {
        let slope = match p {
            0.0 => return vec![None, None],
            1.0 => return vec![Some(ct), None],
            2.0 => b.mul(Atom::float(2.0), x),
            _ => {
                let q = b.prim(Prim::Pow, &[x, Atom::float(p - 1.0)]);
                b.mul(Atom::float(p), q)
            }
        };
        return vec![Some(b.mul(ct, slope)), None];
    }
    let p1 = b.sub(p, Atom::float(1.0));
    let q = b.prim(Prim::Pow, &[x, p1]);
    let slope = b.mul(p, q);
    let constant = b.prim(Prim::Eq, &[p, zero]);
    let slope = b.select(constant, zero, slope);
    let dx = b.mul(ct, slope);
    let at_zero = b.prim(Prim::Eq, &[x, zero]);
    let safe = b.select(at_zero, Atom::float(1.0), x);
    let log = b.un(Prim::Log, safe);
    let slope = b.mul(y, log);
    let slope = b.select(at_zero, zero, slope);
    vec![Some(dx), Some(b.mul(ct, slope))]
}
