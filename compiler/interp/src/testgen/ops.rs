//! Operations without blocks.

use super::{Entry, Gen, MAX_NUMEL};
use ppl_core::{Atom, DType, DetRandom, Domain, Elem, Linalg, Op, PRIMS, Prim, ReduceOp, RngKind, Ty};

/// Primitives whose value jumps.
const JUMPS: &[Prim] = &[
    Prim::Sign,
    Prim::Floor,
    Prim::Ceil,
    Prim::Round,
    Prim::Trunc,
    Prim::Rem,
    Prim::Lt,
    Prim::Le,
    Prim::Gt,
    Prim::Ge,
    Prim::Eq,
    Prim::Ne,
    Prim::ToInt,
    Prim::IsFinite,
    Prim::IsNan,
    Prim::Atan2,
];

impl Gen {
    /// One statement without blocks, and what it needs.
    pub(super) fn flat(&mut self) {
        match self.rng.below(20) {
            0..=8 => self.primitive(),
            9 => self.reduce(),
            10 => self.broadcast(),
            11..=13 => self.move_elements(),
            14 => self.dot(),
            15 => self.index(),
            16 => self.running(),
            17 => {
                if let Some(e) = self.find_dtype(DType::Float) {
                    let s = self.b.stop(e.atom);
                    self.push(s, e.bound);
                }
            }
            18 if self.options.random => self.draw(),
            19 if self.options.linalg => self.matrix(),
            _ => self.primitive(),
        }
    }

    fn primitive(&mut self) {
        let rows: Vec<Prim> = PRIMS.iter().flat_map(|t| t.iter()).map(|r| r.prim).collect();
        let Some(p) = self.rng.pick(&rows) else { return };
        let sig = p.sig();
        let lead = self.any();
        let Ty { dtype, shape } = self.b.ty(lead.atom);
        let first = sig.params.first().map(|p| p.elem);
        let shared = match first {
            Some(Elem::Any) => dtype,
            Some(Elem::Num) if dtype != DType::Bool => dtype,
            _ => DType::Float,
        };
        let select = matches!(p, Prim::Select | Prim::Guard);
        let shared = if select { dtype } else { shared };
        let lead_at = self.rng.below(sig.params.len());
        let mut args = Vec::with_capacity(sig.params.len());
        let mut bound: f64 = 0.0;
        let mut product = 1.0;
        for (i, param) in sig.params.iter().enumerate() {
            let want = match param.elem {
                Elem::Real => DType::Float,
                Elem::Int => DType::Int,
                Elem::Bool => DType::Bool,
                Elem::Num | Elem::Any => shared,
            };
            let mut e = if i == lead_at && want == dtype { lead } else { self.beside(want, &shape) };
            if want == DType::Float {
                e = self.inside(p, i, e, param.domain);
            }
            bound = bound.max(e.bound);
            product *= e.bound;
            args.push(e.atom);
        }
        let jumps = JUMPS.contains(&p) && args.iter().any(|a| self.b.ty(*a).dtype == DType::Float);
        if jumps && !self.options.discontinuous {
            return;
        }
        let sum = bound * args.len() as f64;
        let bound = match p {
            Prim::Mul | Prim::Fma => product.max(bound) + bound,
            Prim::Square => bound * bound,
            Prim::Add | Prim::Sub => sum,
            Prim::Exp | Prim::Expm1 | Prim::Sinh | Prim::Cosh => bound.exp() + 1.0,
            Prim::Div => bound * 2.5,
            Prim::IntDiv | Prim::ToInt => bound + 1.0,
            _ if sig.result == Elem::Bool => 1.0,
            _ if shared == DType::Int => sum,
            _ => sum.max(12.0),
        };
        let out = self.b.prim(p, &args);
        self.push(out, bound);
    }

    /// The operand moved into the primitive's domain.
    fn inside(&mut self, p: Prim, position: usize, e: Entry, domain: Domain) -> Entry {
        match (p, domain) {
            (Prim::Div | Prim::Rem, _) if position == 1 => self.positive(e),
            (Prim::Recip, _) => self.positive(e),
            (Prim::Atan2, _) if position == 1 => self.positive(e),
            (Prim::Exp | Prim::Expm1 | Prim::Sinh | Prim::Cosh, _) => self.small(e),
            (Prim::Pow, _) if position == 1 => self.small(e),
            (_, Domain::Interval(lo, hi)) if hi.is_finite() && lo.is_finite() => {
                let s = self.b.un(Prim::Sigmoid, e.atom);
                let s = self.b.mul(s, Atom::float(0.9 * (hi - lo)));
                let atom = self.b.add(s, Atom::float(lo + 0.05 * (hi - lo)));
                Entry { atom, bound: lo.abs().max(hi.abs()) }
            }
            (_, Domain::Interval(lo, _)) => {
                let e = self.positive(e);
                let atom = if lo == 0.0 { e.atom } else { self.b.add(e.atom, Atom::float(lo)) };
                Entry { atom, bound: e.bound }
            }
            _ => e,
        }
    }

    /// At most 3 in magnitude.
    fn small(&mut self, e: Entry) -> Entry {
        if e.bound <= 3.0 { e } else { Entry { atom: self.b.un(Prim::Tanh, e.atom), bound: 1.0 } }
    }

    /// Between 0.5 and 10.
    fn positive(&mut self, e: Entry) -> Entry {
        let e = self.small(e);
        let s = self.b.un(Prim::Square, e.atom);
        Entry { atom: self.b.add(s, Atom::float(0.5)), bound: 9.5 }
    }

    /// A value with at least one axis, and one of its axes.
    fn with_axis(&mut self, dtype: Option<DType>) -> Option<(Entry, Ty, usize)> {
        let e = self.find(|t| t.rank() > 0 && t.numel() > 0 && dtype.is_none_or(|d| d == t.dtype))?;
        let ty = self.b.ty(e.atom);
        let axis = self.rng.below(ty.rank());
        Some((e, ty, axis))
    }

    fn reduce(&mut self) {
        let Some((e, ty, axis)) = self.with_axis(None) else { return };
        let mut axes = vec![axis];
        axes.extend((axis + 1..ty.rank()).filter(|_| self.rng.chance(40)));
        let n: usize = axes.iter().map(|a| ty.shape[*a]).product();
        let (op, bound) = if ty.dtype == DType::Bool {
            (if self.rng.chance(50) { ReduceOp::All } else { ReduceOp::Any }, 1.0)
        } else {
            match self.rng.below(6) {
                0 => (ReduceOp::Max, e.bound),
                1 => (ReduceOp::Min, e.bound),
                2 if e.bound.max(1.0).powi(n as i32) < 1e4 => (ReduceOp::Prod, e.bound.max(1.0).powi(n as i32)),
                _ => (ReduceOp::Sum, e.bound * n as f64),
            }
        };
        let out = self.b.reduce(op, e.atom, &axes);
        self.push(out, bound);
    }

    fn broadcast(&mut self) {
        let e = if self.rng.chance(20) { self.literal(DType::Float) } else { self.any() };
        let ty = self.b.ty(e.atom);
        let mut shape = ty.shape.clone();
        let mut axes: Vec<usize> = (0..ty.rank()).collect();
        let at = self.rng.below(ty.rank() + 1);
        shape.insert(at, 1 + self.rng.below(4));
        axes.iter_mut().skip(at).for_each(|a| *a += 1);
        if shape.iter().product::<usize>() <= MAX_NUMEL && shape.len() <= 4 {
            let out = self.b.broadcast(e.atom, &shape, &axes);
            self.push(out, e.bound);
        }
    }

    fn move_elements(&mut self) {
        let Some((e, ty, axis)) = self.with_axis(None) else { return };
        let n = ty.shape[axis];
        let out = match self.rng.below(6) {
            0 => {
                let mut perm: Vec<usize> = (0..ty.rank()).collect();
                perm.rotate_left(1 + axis);
                if self.rng.chance(50) {
                    perm.reverse();
                }
                self.b.transpose(e.atom, &perm)
            }
            1 => {
                let mut shape = ty.shape.clone();
                match self.rng.below(3) {
                    0 => shape = vec![ty.numel()],
                    1 => shape.insert(axis, 1),
                    _ if axis > 0 => {
                        shape[axis - 1] *= n;
                        shape.remove(axis);
                    }
                    _ => shape.push(1),
                }
                self.b.reshape(e.atom, &shape)
            }
            2 => {
                let start = self.rng.below(n);
                let len = 1 + self.rng.below(n - start);
                self.b.slice(e.atom, axis, start, len)
            }
            3 if ty.numel() / n * (n + 3) <= MAX_NUMEL => {
                let (before, after) = (self.rng.below(3), self.rng.below(2));
                self.b.pad(e.atom, axis, before, after)
            }
            4 if ty.numel() * 2 <= MAX_NUMEL => {
                let other = self.of_type(&ty);
                let out = self.b.concat(&[e.atom, other.atom], axis);
                self.push(out, e.bound.max(other.bound));
                return;
            }
            _ => self.b.reverse(e.atom, axis),
        };
        self.push(out, e.bound);
    }

    fn dot(&mut self) {
        let Some((e, ty, axis)) = self.with_axis(Some(DType::Float)) else { return };
        let n = ty.shape[axis];
        // A product under a sum becomes a contraction: make both forms.
        if self.rng.chance(40) && ty.rank() > 1 {
            let v = self.of_type(&Ty::float([n]));
            let wide = self.b.broadcast(v.atom, &ty.shape, &[axis]);
            let product = self.b.mul(e.atom, wide);
            let out = self.b.reduce(ReduceOp::Sum, product, &[axis]);
            self.push(out, e.bound * v.bound * n as f64);
            return;
        }
        let Some(other) = self.find(|t| t.dtype == DType::Float && t.shape.contains(&n)) else { return };
        let shape = self.b.ty(other.atom).shape;
        let Some(with) = shape.iter().position(|s| *s == n) else { return };
        let numel = ty.numel() / n * (shape.iter().product::<usize>() / n);
        if numel > MAX_NUMEL || ty.rank() + shape.len() > 6 {
            return;
        }
        let a = if self.rng.chance(30) { self.b.transpose(e.atom, &(0..ty.rank()).rev().collect::<Vec<_>>()) } else { e.atom };
        let axis = if a == e.atom { axis } else { ty.rank() - 1 - axis };
        let pair = [(axis, with)];
        let out = if self.rng.chance(25) { self.b.dot(a, other.atom, &pair, &[]) } else { self.b.dot(a, other.atom, &[], &pair) };
        self.push(out, e.bound * other.bound * n as f64);
    }

    fn index(&mut self) {
        let Some((e, ty, _)) = self.with_axis(None) else { return };
        let n = ty.shape[0];
        let idx = match self.rng.below(5) {
            0 => self.b.iota(n),
            1 => Atom::int(self.rng.below(n) as i64),
            2 if n > 1 => {
                let i = self.b.iota(n - 1);
                self.b.add(i, Atom::int(1))
            }
            _ => {
                let i = self.find(|t| t.dtype == DType::Int && t.rank() <= 2).map_or(Atom::int(0), |e| e.atom);
                self.b.prim(Prim::Clip, &[i, Atom::int(0), Atom::int(n as i64 - 1)])
            }
        };
        let count = self.b.ty(idx).numel();
        if ty.numel() / n * count > MAX_NUMEL || ty.rank() + self.b.ty(idx).rank() > 5 {
            return;
        }
        let rows = self.b.gather(e.atom, idx, 0);
        self.push(rows, e.bound);
        if ty.dtype != DType::Bool && self.rng.chance(40) {
            let back = self.b.scatter_add(idx, rows, 0, n);
            self.push(back, e.bound * count as f64);
        }
    }

    fn running(&mut self) {
        match self.rng.below(4) {
            0 if self.options.discontinuous => {
                let Some((e, ty, axis)) = self.with_axis(None) else { return };
                if ty.dtype != DType::Bool {
                    let out = self.b.argmax(e.atom, axis);
                    self.push(out, ty.shape[axis] as f64);
                }
            }
            1 => {
                let n = 1 + self.rng.below(4);
                let out = self.b.iota(n);
                self.push(out, n as f64);
            }
            _ => {
                let Some((e, ty, axis)) = self.with_axis(Some(DType::Float)) else { return };
                let reverse = self.rng.chance(50);
                let out = self.b.cumsum(e.atom, axis, reverse);
                self.push(out, e.bound * ty.shape[axis] as f64);
            }
        }
    }

    fn draw(&mut self) {
        let kind = RngKind::ALL[self.rng.below(RngKind::ALL.len())];
        let like = self.any();
        let shape = self.b.ty(like.atom).shape;
        let numel: usize = shape.iter().product();
        let mut bound = 8.0;
        let mut draw_args = Vec::new();
        match kind {
            RngKind::Uniform | RngKind::Normal => {}
            RngKind::Gamma | RngKind::Poisson => {
                let e = self.beside(DType::Float, &shape);
                draw_args.push(self.positive(e).atom);
                bound = 60.0;
            }
            RngKind::Binomial => {
                let e = self.beside(DType::Float, &shape);
                draw_args.push(Atom::int(self.rng.below(9) as i64));
                draw_args.push(self.b.un(Prim::Sigmoid, e.atom));
            }
            RngKind::Categorical => {
                let k = 3;
                if numel * k > MAX_NUMEL || shape.len() > 3 {
                    return;
                }
                let own = if self.rng.chance(50) { [&shape[..], &[k]].concat() } else { vec![k] };
                let e = self.of_type(&Ty::float(own));
                draw_args.push(self.positive(e).atom);
                bound = k as f64;
            }
        }
        self.next_site = self.next_site.wrapping_add(1);
        let op = DetRandom {
            kind,
            args: draw_args,
            site: ppl_abi::fold(0x73, self.next_site),
            lanes: self.lanes.clone(),
            times: self.times.clone(),
            shape: shape.clone(),
        };
        let out = self.b.emit1(Op::Random(op), "draw", Ty::new(kind.dtype(), shape));
        // Draws without a limit are pulled back, so that the bound holds.
        self.push(out, if kind.dtype() == DType::Float { bound.max(60.0) } else { bound });
    }

    /// A positive definite matrix, its factor, and a solution.
    fn matrix(&mut self) {
        let n = 2 + self.rng.below(2);
        let v = self.of_type(&Ty::float([n]));
        let v = self.small(v);
        let outer = self.b.dot(v.atom, v.atom, &[], &[]);
        let i = self.b.iota(n);
        let row = self.b.broadcast(i, &[n, n], &[0]);
        let column = self.b.broadcast(i, &[n, n], &[1]);
        let diagonal = self.b.prim(Prim::Eq, &[row, column]);
        let diagonal = self.b.un(Prim::ToReal, diagonal);
        let a = self.b.add(outer, diagonal);
        let l = self.b.linalg(Linalg::Cholesky, &[a]);
        self.push(l, 5.0);
        let rhs = self.b.broadcast(v.atom, &[n, 2], &[0]);
        let transpose = self.rng.chance(50);
        let x = self.b.linalg(Linalg::Solve { transpose }, &[l, rhs]);
        self.push(x, 10.0);
        // Patches of an image of two channels, and back.
        let image = self.b.reshape(x, &[1, n, 2]);
        let image = self.b.concat(&[image, image], 0);
        let (stride, padding) = (1 + self.rng.below(2), self.rng.below(2));
        let w = ppl_core::Window {
            image: (n, 2),
            kernel: (2, 1 + self.rng.below(2)),
            stride: (stride, 1),
            padding: (padding, 1),
            dilation: (1, 1),
        };
        let patches = self.b.linalg(Linalg::Unfold(w), &[image]);
        self.push(patches, 10.0);
        let back = self.b.linalg(Linalg::Fold(w), &[patches]);
        self.push(back, 40.0);
    }
}
