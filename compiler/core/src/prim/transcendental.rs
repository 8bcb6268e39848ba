//! Exponentials, logarithms, trigonometry and the functions of neural networks.

use super::{
    Lower::{Inline, Kernel as K},
    Prim, PrimDef,
    Vjp::Rule,
};
use crate::{Atom, Builder, Det};
use ppl_abi::Kernel;

pub(super) const ROWS: &[PrimDef] = &[
    PrimDef {
        prim: Prim::Exp,
        name: "exp",
        sig: "(x: real) -> real",
        doc: "The exponential, `e^x`.",
        example: ("exp(1.0)", "2.718281828459045"),
        vjp: Rule(|b, _, y, ct| vec![Some(b.mul(ct, y))]),
        lower: K(Kernel::Exp),
        callable: true,
    },
    PrimDef {
        prim: Prim::Expm1,
        name: "expm1",
        sig: "(x: real) -> real",
        doc: "`exp(x) - 1`, accurate near 0.",
        example: ("expm1(0.00001)", "1.0000050000166668e-5"),
        vjp: Rule(|b, _, y, ct| {
            let e = b.add(y, Atom::float(1.0));
            vec![Some(b.mul(ct, e))]
        }),
        lower: K(Kernel::Expm1),
        callable: true,
    },
    PrimDef {
        prim: Prim::Log,
        name: "log",
        sig: "(x: positive) -> real",
        doc: "Natural logarithm; -inf at 0, NaN for negative numbers.",
        example: ("log(10.0)", "2.302585092994046"),
        vjp: Rule(|b, x, _, ct| vec![Some(b.div(ct, x[0]))]),
        lower: K(Kernel::Log),
        callable: true,
    },
    PrimDef {
        prim: Prim::Log1p,
        name: "log1p",
        sig: "(x: interval(-1, inf)) -> real",
        doc: "`log(1 + x)`, accurate near 0; -inf at -1, NaN below.",
        example: ("log1p(0.00001)", "9.999950000333332e-6"),
        vjp: Rule(|b, x, _, ct| {
            let t = b.add(Atom::float(1.0), x[0]);
            vec![Some(b.div(ct, t))]
        }),
        lower: K(Kernel::Log1p),
        callable: true,
    },
    PrimDef {
        prim: Prim::Log2,
        name: "log2",
        sig: "(x: positive) -> real",
        doc: "Logarithm to base 2; -inf at 0, NaN for negative numbers.",
        example: ("log2(10.0)", "3.321928094887362"),
        vjp: Rule(|b, x, _, ct| {
            let t = b.mul(Atom::float(std::f64::consts::LN_2), x[0]);
            vec![Some(b.div(ct, t))]
        }),
        lower: K(Kernel::Log2),
        callable: true,
    },
    PrimDef {
        prim: Prim::Sin,
        name: "sin",
        sig: "(x: real) -> real",
        doc: "Sine of an angle in radians.",
        example: ("sin(1.0)", "0.8414709848078965"),
        vjp: Rule(|b, x, _, ct| {
            let c = b.un(Prim::Cos, x[0]);
            vec![Some(b.mul(ct, c))]
        }),
        lower: K(Kernel::Sin),
        callable: true,
    },
    PrimDef {
        prim: Prim::Cos,
        name: "cos",
        sig: "(x: real) -> real",
        doc: "Cosine of an angle in radians.",
        example: ("cos(1.0)", "0.5403023058681398"),
        vjp: Rule(|b, x, _, ct| {
            let s = b.un(Prim::Sin, x[0]);
            let t = b.mul(ct, s);
            vec![Some(b.neg(t))]
        }),
        lower: K(Kernel::Cos),
        callable: true,
    },
    PrimDef {
        prim: Prim::Tan,
        name: "tan",
        sig: "(x: interval(-1.5, 1.5)) -> real",
        doc: "Tangent of an angle in radians.",
        example: ("tan(1.0)", "1.5574077246549023"),
        vjp: Rule(|b, _, y, ct| {
            let s = b.un(Prim::Square, y);
            let t = b.add(Atom::float(1.0), s);
            vec![Some(b.mul(ct, t))]
        }),
        lower: K(Kernel::Tan),
        callable: true,
    },
    PrimDef {
        prim: Prim::Asin,
        name: "asin",
        sig: "(x: interval(-1, 1)) -> real",
        doc: "Arc sine, from -pi/2 to pi/2; NaN outside [-1, 1].",
        example: ("asin(0.5)", "0.5235987755982989"),
        vjp: Rule(|b, x, _, ct| {
            let r = unit_circle(b, x[0]);
            vec![Some(b.div(ct, r))]
        }),
        lower: K(Kernel::Asin),
        callable: true,
    },
    PrimDef {
        prim: Prim::Acos,
        name: "acos",
        sig: "(x: interval(-1, 1)) -> real",
        doc: "Arc cosine, from 0 to pi; NaN outside [-1, 1].",
        example: ("acos(0.5)", "1.0471975511965979"),
        vjp: Rule(|b, x, _, ct| {
            let r = unit_circle(b, x[0]);
            let t = b.div(ct, r);
            vec![Some(b.neg(t))]
        }),
        lower: K(Kernel::Acos),
        callable: true,
    },
    PrimDef {
        prim: Prim::Atan,
        name: "atan",
        sig: "(x: real) -> real",
        doc: "Arc tangent, from -pi/2 to pi/2.",
        example: ("atan(1.0)", "0.7853981633974483"),
        vjp: Rule(|b, x, _, ct| {
            let s = b.un(Prim::Square, x[0]);
            let t = b.add(Atom::float(1.0), s);
            vec![Some(b.div(ct, t))]
        }),
        lower: K(Kernel::Atan),
        callable: true,
    },
    PrimDef {
        prim: Prim::Atan2,
        name: "atan2",
        sig: "(y: real, x: real) -> real",
        doc: "The angle of the point (x, y), from -pi to pi.",
        example: ("atan2(1.0, -1.0)", "2.356194490192345"),
        vjp: Rule(|b, a, _, ct| {
            let (y2, x2) = (b.un(Prim::Square, a[0]), b.un(Prim::Square, a[1]));
            let r2 = b.add(x2, y2);
            let t = b.div(ct, r2);
            let dx = b.mul(t, a[0]);
            vec![Some(b.mul(t, a[1])), Some(b.neg(dx))]
        }),
        lower: K(Kernel::Atan2),
        callable: true,
    },
    PrimDef {
        prim: Prim::Sinh,
        name: "sinh",
        sig: "(x: real) -> real",
        doc: "Hyperbolic sine.",
        example: ("sinh(1.0)", "1.1752011936438014"),
        vjp: Rule(|b, x, _, ct| {
            let c = b.un(Prim::Cosh, x[0]);
            vec![Some(b.mul(ct, c))]
        }),
        lower: K(Kernel::Sinh),
        callable: true,
    },
    PrimDef {
        prim: Prim::Cosh,
        name: "cosh",
        sig: "(x: real) -> real",
        doc: "Hyperbolic cosine.",
        example: ("cosh(1.0)", "1.5430806348152437"),
        vjp: Rule(|b, x, _, ct| {
            let s = b.un(Prim::Sinh, x[0]);
            vec![Some(b.mul(ct, s))]
        }),
        lower: K(Kernel::Cosh),
        callable: true,
    },
    PrimDef {
        prim: Prim::Tanh,
        name: "tanh",
        sig: "(x: real) -> real",
        doc: "Hyperbolic tangent.",
        example: ("tanh(1.0)", "0.7615941559557649"),
        vjp: Rule(|b, _, y, ct| {
            let s = b.un(Prim::Square, y);
            let t = b.sub(Atom::float(1.0), s);
            vec![Some(b.mul(ct, t))]
        }),
        lower: K(Kernel::Tanh),
        callable: true,
    },
    PrimDef {
        prim: Prim::Sigmoid,
        name: "sigmoid",
        sig: "(x: real) -> real",
        doc: "The logistic function, `1 / (1 + exp(-x))`: the probability with log odds `x`.",
        example: ("sigmoid(1.0)", "0.7310585786300049"),
        vjp: Rule(|b, _, y, ct| {
            let q = b.sub(Atom::float(1.0), y);
            let t = b.mul(y, q);
            vec![Some(b.mul(ct, t))]
        }),
        lower: K(Kernel::Sigmoid),
        callable: true,
    },
    PrimDef {
        prim: Prim::Softplus,
        name: "softplus",
        sig: "(x: real) -> real",
        doc: "`log(1 + exp(x))`, without overflow: a smooth positive function that approaches `x`.",
        example: ("softplus(1.0)", "1.3132616875182228"),
        vjp: Rule(|b, x, _, ct| {
            let s = b.un(Prim::Sigmoid, x[0]);
            vec![Some(b.mul(ct, s))]
        }),
        lower: K(Kernel::Softplus),
        callable: true,
    },
    PrimDef {
        prim: Prim::LogSigmoid,
        name: "log_sigmoid",
        sig: "(x: real) -> real",
        doc: "`log(sigmoid(x))`, accurate everywhere.",
        example: ("log_sigmoid(1.0)", "-0.3132616875182228"),
        vjp: Rule(|b, x, _, ct| {
            let n = b.neg(x[0]);
            let s = b.un(Prim::Sigmoid, n);
            vec![Some(b.mul(ct, s))]
        }),
        lower: K(Kernel::LogSigmoid),
        callable: true,
    },
    PrimDef {
        prim: Prim::LogAddExp,
        name: "log_add_exp",
        sig: "(a: real, b: real) -> real",
        doc: "`log(exp(a) + exp(b))`, without overflow. Two equal infinities share the derivative equally.",
        example: ("log_add_exp(1.0, 2.0)", "2.313261687518223"),
        vjp: Rule(|b, x, _, ct| {
            let d = b.sub(x[0], x[1]);
            // inf - inf: both operands are the same infinity.
            let same = b.un(Prim::IsNan, d);
            let d = b.select(same, Atom::float(0.0), d);
            let wa = b.un(Prim::Sigmoid, d);
            let n = b.neg(d);
            let wb = b.un(Prim::Sigmoid, n);
            vec![Some(b.mul(ct, wa)), Some(b.mul(ct, wb))]
        }),
        lower: K(Kernel::LogAddExp),
        callable: true,
    },
    PrimDef {
        prim: Prim::Relu,
        name: "relu",
        sig: "(x: real) -> real",
        doc: "`max(x, 0)`; NaN for NaN. Its derivative at 0 is 0.",
        example: ("relu(-2.5)", "0.0"),
        vjp: Rule(|b, x, _, ct| {
            let c = b.prim(Prim::Gt, &[x[0], Atom::float(0.0)]);
            vec![Some(b.select(c, ct, Atom::float(0.0)))]
        }),
        lower: Inline,
        callable: true,
    },
];

/// `sqrt(1 - x^2)`, without cancellation at the ends.
fn unit_circle(b: &mut Builder<Det>, x: Atom) -> Atom {
    let l = b.sub(Atom::float(1.0), x);
    let r = b.add(Atom::float(1.0), x);
    let p = b.mul(l, r);
    b.un(Prim::Sqrt, p)
}
