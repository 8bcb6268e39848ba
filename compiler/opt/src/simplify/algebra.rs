//! Identities of elementwise primitives.
//!
//! ```text
//! exact           x + 0 = x      x - 0 = x     0 - x = -x     x + -y = x - y    x - -y = x + y
//!                 x * 1 = x      x * -1 = -x   -x * -y = x*y  x * x = square x  -x * c = x * -c
//!                 x / 1 = x      x / -1 = -x   x / 2^k = x * 2^-k               1 / x = recip x
//!                 pow(x, 1) = x  pow(x, 0) = 1
//!                 - -x = x       square -x = square x         abs -x = abs x
//!                 select(true, a, b) = a       select(!c, a, b) = select(c, b, a)
//!                 p(broadcast s, y) = p(s, y)  p(broadcast x, broadcast y) = broadcast p(x, y)
//! reassociating   (x + c) + d = x + (c + d)    (x * c) * d = x * (c * d)
//!                 pow(x, n) = products, n = 2, 3, 4, -1, -2   pow(x, 1/2) = sqrt x
//!                 log exp x = x  log sigmoid x = log_sigmoid x                  log1p exp x = softplus x
//!                 x*c + x*d = x * (c + d)         (x * c) * (y * d) = (x * y) * (c * d)
//!                 x / c = x * (1 / c)             x - c = x + -c
//!                 (x + c) + (y + d) = (x + y) + (c + d), so for -        (x + y) - x = y    (x - y) + y = x
//!                 (x * y) / x = y
//!                 select(c, select(c, x, _), y) = select(c, x, y)
//!                 c * select(d, x, 0) = select(d, c * x, 0)                     so for -select
//!                 select(c, x, 0) + select(c, 0, y) = select(c, x, y)           so where one side is 0
//!                 exp log x = x  exp log1p x = x + 1   exp log_sigmoid x = sigmoid x
//!                 exp select(c, log x, log y) = select(c, x, y)
//! ```
//!
//! `x * 0` stays: `x` may be infinite or NaN. So does `x - x`: it may be the value 0 with a gradient (`x - stop x`).

use super::{Cx, Rewrite, fold};
use crate::util::same_atom;
use ppl_core::{Atom, DType, Lit, Op, Prim, Stage, Ty};

impl<S: Stage> Cx<'_, S> {
    pub(super) fn prim(&mut self, p: Prim, args: &[Atom], ty: &Ty) -> Rewrite<S> {
        let lits: Vec<Lit> = args.iter().map_while(|a| self.lit(*a)).collect();
        if lits.len() == args.len() {
            return match fold::fold(p, &lits, self.options.reassociate) {
                Some(l) => self.fit(Atom::Lit(l), &ty.shape),
                None => Rewrite::Keep,
            };
        }
        if let Some(rewrite) = self.narrow_operands(p, args, ty) {
            return rewrite;
        }
        let new = match *args {
            [x] => self.unary(p, x, ty),
            [a, b] => self.binary(p, a, b, ty),
            [a, b, c] => self.ternary(p, a, b, c, ty),
            _ => None,
        };
        match new {
            Some(Rewrite::Atom(a)) => self.fit(a, &ty.shape),
            Some(rewrite) => rewrite,
            None => Rewrite::Keep,
        }
    }

    /// Computes on what was broadcast, before it was.
    fn narrow_operands(&mut self, p: Prim, args: &[Atom], ty: &Ty) -> Option<Rewrite<S>> {
        if ty.shape.is_empty() {
            return None;
        }
        let wide: Vec<Atom> = args.iter().copied().filter(|a| !self.shape(*a).is_empty()).collect();
        let scalars = wide.iter().filter(|a| self.scalar_of(**a).is_some()).count();
        if scalars > 0 && scalars < wide.len() {
            let args = args.iter().map(|a| self.scalar_of(*a).unwrap_or(*a)).collect();
            return Some(Rewrite::Op(Op::Prim(p, args)));
        }
        if scalars == wide.len() {
            // Every operand is a scalar or repeats one.
            let args: Vec<Atom> = args.iter().filter_map(|a| self.scalar_of(*a)).collect();
            let x = self.emit_prim(p, &args, Ty::new(ty.dtype, []));
            return Some(Rewrite::Op(Op::Broadcast { x, shape: ty.shape.clone(), axes: Vec::new() }));
        }
        let (first, _, axes) = self.broadcast_of(wide[0])?;
        let (axes, shape) = (axes.to_vec(), self.shape(first).to_vec());
        let mut sources = Vec::with_capacity(args.len());
        for a in args {
            if self.shape(*a).is_empty() {
                sources.push(*a);
                continue;
            }
            match self.broadcast_of(*a) {
                Some((x, _, other)) if other == axes && self.shape(x) == shape => sources.push(x),
                _ => return None,
            }
        }
        let x = self.emit_prim(p, &sources, Ty::new(ty.dtype, shape));
        Some(Rewrite::Op(Op::Broadcast { x, shape: ty.shape.clone(), axes }))
    }

    fn unary(&mut self, p: Prim, x: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        let reassociate = self.options.reassociate;
        let inner = |p: Prim| self.unary_of(x, p);
        match p {
            Prim::Neg => match inner(Prim::Neg) {
                Some(y) => Some(Rewrite::Atom(y)),
                None if reassociate => self.scaled_select(x, -1.0, ty),
                None => None,
            },
            Prim::ToReal | Prim::ToInt => (self.ty(x).dtype == ty.dtype).then_some(Rewrite::Atom(x)),
            Prim::Not => match inner(Prim::Not) {
                Some(y) => Some(Rewrite::Atom(y)),
                None => self.binary_of(x, Prim::Eq).map(|(a, b)| prim(Prim::Ne, &[a, b])),
            },
            Prim::Square => inner(Prim::Neg).or_else(|| inner(Prim::Abs)).map(|y| prim(Prim::Square, &[y])),
            Prim::Abs => {
                if [Prim::Abs, Prim::Square, Prim::Exp].into_iter().any(|q| inner(q).is_some()) && ty.dtype == DType::Float {
                    return Some(Rewrite::Atom(x));
                }
                inner(Prim::Neg).map(|y| prim(Prim::Abs, &[y]))
            }
            Prim::Log if reassociate => match inner(Prim::Exp) {
                Some(y) => Some(Rewrite::Atom(y)),
                None => inner(Prim::Sigmoid).map(|y| prim(Prim::LogSigmoid, &[y])),
            },
            Prim::Log1p if reassociate => inner(Prim::Exp).map(|y| prim(Prim::Softplus, &[y])),
            Prim::Exp if reassociate => self.exp(x, ty),
            _ => None,
        }
    }

    /// The exponential of a logarithm. A density comes like this; at 0 its derivative would be lost in `exp(-inf) / 0`.
    fn exp(&mut self, x: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        if let Some(Op::Prim(Prim::Select, args)) = self.def(x) {
            let (c, a, b) = (args[0], args[1], args[2]);
            let narrow = |y: Atom| self.broadcast_of(y).map_or(y, |(x, ..)| x);
            let log = |y: Atom| [Prim::Log, Prim::Log1p, Prim::LogSigmoid].iter().any(|p| self.unary_of(narrow(y), *p).is_some());
            if !log(a) || !log(b) {
                return None;
            }
            let [a, b] = [a, b].map(|y| self.emit_prim(Prim::Exp, &[y], ty.clone()));
            return Some(prim(Prim::Select, &[c, a, b]));
        }
        if let Some(y) = self.unary_of(x, Prim::Log) {
            return Some(Rewrite::Atom(y));
        }
        if let Some(y) = self.unary_of(x, Prim::Log1p) {
            return Some(prim(Prim::Add, &[y, Atom::float(1.0)]));
        }
        self.unary_of(x, Prim::LogSigmoid).map(|y| prim(Prim::Sigmoid, &[y]))
    }

    fn binary(&mut self, p: Prim, a: Atom, b: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        match p {
            Prim::Add => self.add(a, b, ty),
            Prim::Sub => self.sub(a, b, ty),
            Prim::Mul => self.mul(a, b, ty),
            Prim::Div => self.div(a, b, ty),
            Prim::Pow => self.pow(a, b, ty),
            Prim::And | Prim::Or => {
                let neutral = p == Prim::And;
                for (x, y) in [(a, b), (b, a)] {
                    match self.lit(x) {
                        Some(Lit::Bool(v)) if v == neutral => return Some(Rewrite::Atom(y)),
                        Some(Lit::Bool(_)) => return Some(Rewrite::Atom(x)),
                        _ => {}
                    }
                }
                same_atom(a, b).then_some(Rewrite::Atom(a))
            }
            Prim::Guard => {
                let inert = self.options.after_vjp || ty.dtype != DType::Float || self.lit(a) == Some(Lit::Bool(true));
                // The value must have the result's shape by itself: the condition may be the wider operand.
                inert.then_some(Rewrite::Atom(b))
            }
            _ => None,
        }
    }

    fn add(&mut self, a: Atom, b: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        for (x, y) in [(a, b), (b, a)] {
            if self.is_num(y, 0.0) {
                return Some(Rewrite::Atom(x));
            }
            if let Some(n) = self.unary_of(y, Prim::Neg) {
                return Some(prim(Prim::Sub, &[x, n]));
            }
            if self.options.reassociate
                && let Some(c) = self.real_lit(y)
                && let Some((z, d)) = self.constant_operand(x, Prim::Add)
            {
                return usable(c + d).map(|e| prim(Prim::Add, &[z, e]));
            }
        }
        if !self.options.reassociate || ty.dtype != DType::Float {
            return None;
        }
        let ((x, c), (y, d)) = (self.multiple(a), self.multiple(b));
        if let Some(z) = self.difference_added(a, b).or_else(|| self.difference_added(b, a)) {
            return Some(Rewrite::Atom(z));
        }
        if let Some(moved) = self.offsets(a, b, Prim::Add, ty) {
            return Some(moved);
        }
        // Twice the same, with two factors: one product. A sum `x + x` stays.
        if same_atom(x, y) && (c != 1.0 || d != 1.0) && x.var().is_some() {
            return usable(c + d).map(|e| prim(Prim::Mul, &[x, e]));
        }
        self.added_selects(a, b, ty)
    }

    fn sub(&mut self, a: Atom, b: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        if self.is_num(b, 0.0) {
            return Some(Rewrite::Atom(a));
        }
        if self.is_num(a, 0.0) {
            return Some(prim(Prim::Neg, &[b]));
        }
        if let Some(y) = self.unary_of(b, Prim::Neg) {
            return Some(prim(Prim::Add, &[a, y]));
        }
        if !self.options.reassociate || ty.dtype != DType::Float {
            return None;
        }
        if let Some(c) = self.real_lit(b) {
            return Some(prim(Prim::Add, &[a, Atom::float(-c)]));
        }
        if let Some((x, y)) = self.binary_of(a, Prim::Add) {
            if self.same_value(x, b) {
                return Some(Rewrite::Atom(y));
            }
            if self.same_value(y, b) {
                return Some(Rewrite::Atom(x));
            }
        }
        self.offsets(a, b, Prim::Sub, ty)
    }

    /// `x` where `a = x - b`.
    fn difference_added(&self, a: Atom, b: Atom) -> Option<Atom> {
        let (x, y) = self.binary_of(a, Prim::Sub)?;
        (self.same_value(y, b) && !self.same_value(x, y)).then_some(x)
    }

    /// A sum or difference of two values to each of which a literal is added: one literal is.
    fn offsets(&mut self, a: Atom, b: Atom, p: Prim, ty: &Ty) -> Option<Rewrite<S>> {
        let ((x, c), (y, d)) = (self.constant_operand(a, Prim::Add)?, self.constant_operand(b, Prim::Add)?);
        let e = usable(if p == Prim::Sub { c - d } else { c + d })?;
        let shape = self.common_shape(x, y);
        let z = self.emit_prim(p, &[x, y], Ty::new(ty.dtype, shape));
        Some(prim(Prim::Add, &[z, e]))
    }

    fn mul(&mut self, a: Atom, b: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        for (x, y) in [(a, b), (b, a)] {
            if self.is_num(y, 1.0) {
                return Some(Rewrite::Atom(x));
            }
            if self.is_num(y, -1.0) {
                return Some(prim(Prim::Neg, &[x]));
            }
            let Some(c) = self.real_lit(y) else { continue };
            if let Some(n) = self.unary_of(x, Prim::Neg) {
                return Some(prim(Prim::Mul, &[n, Atom::float(-c)]));
            }
            if self.options.reassociate
                && let Some((z, d)) = self.constant_operand(x, Prim::Mul)
            {
                return usable(c * d).map(|e| prim(Prim::Mul, &[z, e]));
            }
            if self.options.reassociate
                && c != 0.0
                && c.is_finite()
                && let Some(selected) = self.scaled_select(x, c, ty)
            {
                return Some(selected);
            }
        }
        if let (Some(x), Some(y)) = (self.unary_of(a, Prim::Neg), self.unary_of(b, Prim::Neg)) {
            return Some(prim(Prim::Mul, &[x, y]));
        }
        if self.options.reassociate
            && ty.dtype == DType::Float
            && let (Some((x, c)), Some((y, d))) = (self.constant_operand(a, Prim::Mul), self.constant_operand(b, Prim::Mul))
            && let Some(e) = usable(c * d)
        {
            let shape = self.common_shape(x, y);
            let z = self.emit_prim(Prim::Mul, &[x, y], Ty::float(shape));
            return Some(prim(Prim::Mul, &[z, e]));
        }
        (same_atom(a, b) && ty.dtype == DType::Float).then(|| prim(Prim::Square, &[a]))
    }

    fn div(&mut self, a: Atom, b: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        if ty.dtype != DType::Float {
            return None;
        }
        if self.is_num(b, 1.0) {
            return Some(Rewrite::Atom(a));
        }
        if self.is_num(b, -1.0) {
            return Some(prim(Prim::Neg, &[a]));
        }
        if self.is_num(a, 1.0) {
            return Some(prim(Prim::Recip, &[b]));
        }
        let Some(c) = self.real_lit(b) else {
            let (x, y) = self.binary_of(a, Prim::Mul).filter(|_| self.options.reassociate)?;
            return match (self.same_value(x, b), self.same_value(y, b)) {
                (true, _) => Some(Rewrite::Atom(y)),
                (_, true) => Some(Rewrite::Atom(x)),
                _ => None,
            };
        };
        let moderate = c.abs() > 1e-30 && c.abs() < 1e30 && self.options.reassociate;
        (moderate || is_power_of_two(c)).then(|| prim(Prim::Mul, &[a, Atom::float(1.0 / c)]))
    }

    fn pow(&mut self, a: Atom, b: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        if ty.dtype != DType::Float || self.shape(a) != ty.shape {
            return None;
        }
        let n = self.real_lit(b)?;
        if n == 1.0 || n == 0.0 {
            return Some(Rewrite::Atom(if n == 1.0 { a } else { Atom::float(1.0) }));
        }
        if !self.options.reassociate {
            return None;
        }
        let direct = [(2.0, Prim::Square), (-1.0, Prim::Recip), (0.5, Prim::Sqrt)];
        if let Some((_, p)) = direct.into_iter().find(|(m, _)| *m == n) {
            return Some(prim(p, &[a]));
        }
        if ![3.0, 4.0, -2.0].contains(&n) {
            return None;
        }
        let square = self.emit_prim(Prim::Square, &[a], ty.clone());
        Some(if n == 3.0 {
            prim(Prim::Mul, &[square, a])
        } else if n == 4.0 {
            prim(Prim::Square, &[square])
        } else {
            prim(Prim::Recip, &[square])
        })
    }

    fn ternary(&mut self, p: Prim, c: Atom, a: Atom, b: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        if p != Prim::Select {
            return None;
        }
        match self.lit(c) {
            Some(Lit::Bool(true)) => return Some(Rewrite::Atom(a)),
            Some(Lit::Bool(false)) => return Some(Rewrite::Atom(b)),
            _ => {}
        }
        if same_atom(a, b) {
            return Some(Rewrite::Atom(a));
        }
        if let Some(c) = self.unary_of(c, Prim::Not) {
            return Some(prim(Prim::Select, &[c, b, a]));
        }
        if let Some((x, shape, axes)) = self.broadcast_of(c)
            && let Some(y) = self.unary_of(x, Prim::Not)
        {
            let op = Op::Broadcast { x: y, shape: shape.to_vec(), axes: axes.to_vec() };
            let c = self.emit(op, "b", Ty::new(DType::Bool, ty.shape.clone()));
            return Some(prim(Prim::Select, &[c, b, a]));
        }
        // What the condition decides already.
        let inner = |x: Atom, first: bool| {
            let (d, a, b) = self.select_of(x)?;
            self.same_value(c, d).then_some(if first { a } else { b })
        };
        let (x, y) = (inner(a, true), inner(b, false));
        if x.is_none() && y.is_none() {
            return None;
        }
        let args = [c, x.unwrap_or(a), y.unwrap_or(b)];
        args.iter().any(|a| *self.shape(*a) == ty.shape).then(|| prim(Prim::Select, &args))
    }

    /// Whether two operands are one, or repeat one value alike.
    fn same_value(&self, a: Atom, b: Atom) -> bool {
        let alike = || Some(self.broadcast_of(a)? == self.broadcast_of(b)?);
        same_atom(a, b) || alike().unwrap_or(false)
    }

    /// Shape of an elementwise operation on two operands of one shape, or of which one is a scalar.
    fn common_shape(&self, a: Atom, b: Atom) -> Vec<usize> {
        if self.shape(a).is_empty() { self.shape(b) } else { self.shape(a) }.to_vec()
    }

    /// Condition and values of a selection.
    fn select_of(&self, a: Atom) -> Option<(Atom, Atom, Atom)> {
        match self.def(a) {
            Some(Op::Prim(Prim::Select, args)) => Some((args[0], args[1], args[2])),
            _ => None,
        }
    }

    /// `c x` where one side of the selection `x` is a literal: it is computed here.
    fn scaled_select(&mut self, x: Atom, c: f64, ty: &Ty) -> Option<Rewrite<S>> {
        let (cond, a, b) = self.select_of(x)?;
        if ty.dtype != DType::Float || self.real_lit(a).is_none() && self.real_lit(b).is_none() {
            return None;
        }
        let mut of = |x: Atom| match self.real_lit(x) {
            // A zero of either sign.
            Some(0.0) => Some(Atom::float(0.0)),
            Some(v) => usable(v * c),
            None => {
                let ty = self.ty(x);
                Some(if c == -1.0 {
                    self.emit_prim(Prim::Neg, &[x], ty)
                } else {
                    self.emit_prim(Prim::Mul, &[x, Atom::float(c)], ty)
                })
            }
        };
        let args = [cond, of(a)?, of(b)?];
        args.iter().any(|a| *self.shape(*a) == ty.shape).then(|| prim(Prim::Select, &args))
    }

    /// The sum of two selections by one condition, where a side has a 0: the sum is selected.
    fn added_selects(&mut self, x: Atom, y: Atom, ty: &Ty) -> Option<Rewrite<S>> {
        let ((c, a, b), (d, e, f)) = (self.select_of(x)?, self.select_of(y)?);
        if !self.same_value(c, d) || ty.dtype != DType::Float {
            return None;
        }
        let zero = |a: Atom, b: Atom| self.is_num(a, 0.0) || self.is_num(b, 0.0);
        if !zero(a, e) && !zero(b, f) {
            return None;
        }
        let mut sum = |a: Atom, b: Atom| {
            if self.is_num(a, 0.0) {
                return b;
            }
            if self.is_num(b, 0.0) {
                return a;
            }
            let shape = self.common_shape(a, b);
            self.emit_prim(Prim::Add, &[a, b], Ty::float(shape))
        };
        let args = [c, sum(a, e), sum(b, f)];
        args.iter().any(|a| *self.shape(*a) == ty.shape).then(|| prim(Prim::Select, &args))
    }

    /// `x` and `c` where `a = c x`; 1 times itself otherwise.
    fn multiple(&self, a: Atom) -> (Atom, f64) {
        self.constant_operand(a, Prim::Mul).unwrap_or((a, 1.0))
    }

    fn real_lit(&self, a: Atom) -> Option<f64> {
        match self.lit(a) {
            Some(Lit::Float(v)) => Some(v),
            _ => None,
        }
    }

    /// `x` and `c` where `a = p(x, c)` or `p(c, x)` with a literal real `c`.
    fn constant_operand(&self, a: Atom, p: Prim) -> Option<(Atom, f64)> {
        let (x, y) = self.binary_of(a, p)?;
        self.real_lit(y).map(|c| (x, c)).or_else(|| self.real_lit(x).map(|c| (y, c)))
    }
}

fn prim<S: Stage>(p: Prim, args: &[Atom]) -> Rewrite<S> {
    Rewrite::Op(Op::Prim(p, args.to_vec()))
}

/// Whether dividing by `c` and multiplying by `1 / c` give the same bits for all but subnormal results.
fn is_power_of_two(c: f64) -> bool {
    const FRACTION: u64 = (1 << 52) - 1;
    c.is_normal() && c.to_bits() & FRACTION == 0 && c.abs() < 1e30 && c.abs() > 1e-30
}

/// A merged constant, if merging did not overflow or underflow (to single precision).
fn usable(c: f64) -> Option<Atom> {
    let size = c.abs();
    (size == 0.0 || (size > 1e-30 && size < 1e30)).then(|| Atom::float(c))
}
