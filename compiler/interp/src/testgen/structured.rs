//! Operations with blocks.

use super::{Entry, Gen};
use ppl_core::{Atom, DType, Prim, Scan, Ty};

impl Gen {
    pub(super) fn structured(&mut self, depth: usize) {
        match self.rng.below(3) {
            0 => self.branch(depth),
            1 if self.options.maps => self.map(depth),
            _ => self.scan(depth),
        }
    }

    /// A block of a few statements; some of the values it leaves, and the pool as it was.
    fn body(&mut self, depth: usize) -> Vec<Entry> {
        let mark = self.pool.len();
        let count = 2 + self.rng.below(4);
        self.statements(count, depth);
        let made = self.pool.len() - mark;
        let mut out = Vec::new();
        for _ in 0..1 + self.rng.below(2) {
            let e = if made > 0 && self.rng.chance(80) { self.pool[mark + self.rng.below(made)] } else { self.any() };
            // Loops add an axis to what leaves them.
            if self.b.ty(e.atom).numel() <= 60 && self.b.ty(e.atom).rank() <= 3 {
                out.push(e);
            }
        }
        out
    }

    fn condition(&mut self) -> Atom {
        if self.rng.chance(15) {
            return self.literal(DType::Bool).atom;
        }
        if self.options.discontinuous
            && let Some(x) = self.find(|t| *t == Ty::FLOAT)
        {
            return self.b.prim(Prim::Lt, &[x.atom, Atom::float(0.1)]);
        }
        if let Some(i) = self.find(|t| *t == Ty::INT) {
            return self.b.prim(Prim::Ge, &[i.atom, Atom::int(1)]);
        }
        self.find(|t| *t == Ty::BOOL).map_or(Atom::bool(true), |e| e.atom)
    }

    fn branch(&mut self, depth: usize) {
        let cond = self.condition();
        let mark = self.pool.len();
        self.b.begin();
        let results = self.body(depth);
        self.pool.truncate(mark);
        let tys: Vec<Ty> = results.iter().map(|e| self.b.ty(e.atom)).collect();
        let then = self.b.end(results.iter().map(|e| e.atom).collect());
        self.b.begin();
        self.body(depth);
        let others: Vec<Entry> = tys.iter().map(|t| self.of_type(t)).collect();
        self.pool.truncate(mark);
        let els = self.b.end(others.iter().map(|e| e.atom).collect());
        let outs = self.b.if_(cond, then, els);
        for ((v, a), b) in outs.into_iter().zip(&results).zip(&others) {
            self.push(v.into(), a.bound.max(b.bound));
        }
    }

    fn map(&mut self, depth: usize) {
        let len = 1 + self.rng.below(4);
        let index = self.b.index_var("i");
        let mark = self.pool.len();
        self.b.begin();
        self.lanes.push((index.into(), len));
        self.push(index.into(), len as f64);
        let results = self.body(depth);
        self.lanes.pop();
        self.pool.truncate(mark);
        let block = self.b.end(results.iter().map(|e| e.atom).collect());
        let outs = self.b.map(len, index, block);
        for (v, e) in outs.into_iter().zip(results) {
            self.push(v.into(), e.bound);
        }
    }

    fn scan(&mut self, depth: usize) {
        let sliced = if self.rng.chance(70) { self.find(|t| t.rank() > 0 && t.shape[0] > 0) } else { None };
        let len = sliced.map_or(1 + self.rng.below(4), |e| self.b.ty(e.atom).shape[0]);
        let index = self.b.index_var("t");
        let mark = self.pool.len();
        let mut carry = Vec::new();
        for _ in 0..1 + self.rng.below(2) {
            let init = match self.find(|t| t.dtype != DType::Bool && t.numel() <= 30) {
                Some(e) if self.rng.chance(70) => e,
                _ => self.literal(DType::Float),
            };
            let ty = self.b.ty(init.atom);
            carry.push((self.b.fresh("c", ty), init));
        }
        let mut xs = Vec::new();
        if let Some(e) = sliced {
            let ty = self.b.ty(e.atom);
            xs.push((self.b.fresh("x", Ty::new(ty.dtype, &ty.shape[1..])), e));
        }
        self.b.begin();
        self.times.push((index.into(), len));
        self.push(index.into(), len as f64);
        for (v, e) in &carry {
            self.pool.push(Entry { atom: (*v).into(), bound: e.bound.max(11.0) });
        }
        for (v, e) in &xs {
            self.pool.push(Entry { atom: (*v).into(), bound: e.bound });
        }
        let ys = self.body(depth);
        let mut results = Vec::new();
        for (v, _) in &carry {
            results.push(self.next_carry((*v).into()));
        }
        self.times.pop();
        self.pool.truncate(mark);
        results.extend(ys.iter().map(|e| e.atom));
        let body = self.b.end(results);
        let scan = Scan {
            len,
            index,
            carry: carry.iter().map(|(v, e)| (*v, e.atom)).collect(),
            xs: xs.iter().map(|(v, e)| (*v, e.atom)).collect(),
            body,
            reverse: self.rng.chance(40),
        };
        let outs = self.b.scan(scan);
        let bounds = carry.iter().map(|(_, e)| e.bound.max(11.0)).chain(ys.iter().map(|e| e.bound));
        for (v, bound) in outs.into_iter().zip(bounds.collect::<Vec<_>>()) {
            self.push(v.into(), bound);
        }
    }

    /// The next value of a carry: the same, or a bounded function of it and of something else.
    fn next_carry(&mut self, c: Atom) -> Atom {
        if self.rng.chance(15) {
            return c;
        }
        let ty = self.b.ty(c);
        let other = self.beside(ty.dtype, &ty.shape);
        let sum = self.b.add(c, other.atom);
        if ty.dtype == DType::Float { self.b.un(Prim::Tanh, sum) } else { self.b.prim(Prim::Rem, &[sum, Atom::int(7)]) }
    }
}
