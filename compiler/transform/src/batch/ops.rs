//! Operations without blocks, on operands of which some vary.

use super::lanes::Lanes;
use ppl_core::{Atom, Det, Linalg, Lit, Op, Prim, Stmt, Var};

impl Lanes<'_> {
    pub(super) fn varying_stmt(&mut self, s: &Stmt<Det>) {
        let out = s.outs.first().copied();
        let Some(out) = out else { return };
        match &s.op {
            Op::Prim(prim, args) => self.prim(out, *prim, args),
            Op::Broadcast { x, shape, axes } => {
                let axes = std::iter::once(0).chain(axes.iter().map(|a| a + 1)).collect();
                let op = Op::Broadcast { x: self.value(*x), shape: self.lifted(shape), axes };
                self.define(out, op);
                self.keep_offset(*x, out);
            }
            Op::Reduce { op, x, axes } => {
                let op = Op::Reduce { op: *op, x: self.value(*x), axes: axes.iter().map(|a| a + 1).collect() };
                self.define(out, op);
            }
            Op::ArgMax { x, axis } => self.define(out, Op::ArgMax { x: self.value(*x), axis: axis + 1 }),
            Op::CumSum { x, axis, reverse } => {
                self.define(out, Op::CumSum { x: self.value(*x), axis: axis + 1, reverse: *reverse });
            }
            Op::Dot { a, b, batch, contract } => self.dot(out, *a, *b, batch, contract),
            Op::Transpose { x, perm } => {
                let perm = std::iter::once(0).chain(perm.iter().map(|p| p + 1)).collect();
                self.define(out, Op::Transpose { x: self.value(*x), perm });
            }
            Op::Reshape { x, shape } => {
                self.define(out, Op::Reshape { x: self.value(*x), shape: self.lifted(shape) });
                self.keep_offset(*x, out);
            }
            Op::Slice { x, axis, start, len } => {
                self.define(out, Op::Slice { x: self.value(*x), axis: axis + 1, start: *start, len: *len });
            }
            Op::Pad { x, axis, before, after } => {
                self.define(out, Op::Pad { x: self.value(*x), axis: axis + 1, before: *before, after: *after });
            }
            Op::Concat { xs, axis } => {
                let xs = xs.iter().map(|x| self.stacked(*x)).collect();
                self.define(out, Op::Concat { xs, axis: axis + 1 });
            }
            Op::Gather { x, idx, batch } => self.gather(out, *x, *idx, *batch),
            Op::ScatterAdd { idx, updates, batch, len } => {
                let (idx, updates) = (self.stacked(*idx), self.stacked(*updates));
                self.define(out, Op::ScatterAdd { idx, updates, batch: batch + 1, len: *len });
            }
            Op::Reverse { x, axis } => self.define(out, Op::Reverse { x: self.value(*x), axis: axis + 1 }),
            Op::Linalg(op, args) => self.linalg(out, *op, args),
            Op::Stop(x) => self.define(out, Op::Stop(self.value(*x))),
            Op::Random(r) => self.random(s, r),
            Op::Call { .. } => self.one_by_one(s),
            // `iota` has no operands; maps are gone, and `if` and `scan` have their own rules.
            Op::Iota { .. } | Op::Minibatch { .. } | Op::If { .. } | Op::Map { .. } | Op::Scan(_) => {}
        }
    }

    fn prim(&mut self, out: Var, prim: Prim, args: &[Atom]) {
        let shape = self.lane_ty(Atom::Var(out)).shape;
        let operands = args.iter().map(|a| self.elementwise(*a, &shape)).collect();
        self.define(out, Op::Prim(prim, operands));
        let number = |a: Atom| match a {
            Atom::Lit(Lit::Int(c)) => Some(c),
            Atom::Lit(_) | Atom::Var(_) => None,
        };
        let offset = |a: Atom| a.var().and_then(|v| self.offset.get(&v).copied());
        let sum = match (prim, args) {
            (Prim::Add, [a, b]) => offset(*a).zip(number(*b)).or(offset(*b).zip(number(*a))).and_then(|(o, c)| o.checked_add(c)),
            (Prim::Sub, [a, b]) => offset(*a).zip(number(*b)).and_then(|(o, c)| o.checked_sub(c)),
            _ => None,
        };
        if let Some(sum) = sum {
            self.offset.insert(out, sum);
        }
    }

    /// Repeating or rearranging equal elements keeps them equal.
    fn keep_offset(&mut self, from: Atom, to: Var) {
        if let Some(o) = from.var().and_then(|v| self.offset.get(&v).copied()) {
            self.offset.insert(to, o);
        }
    }

    fn dot(&mut self, out: Var, a: Atom, b: Atom, batch: &[(usize, usize)], contract: &[(usize, usize)]) {
        let shifted = |pairs: &[(usize, usize)], by: (usize, usize)| -> Vec<(usize, usize)> {
            pairs.iter().map(|(i, j)| (i + by.0, j + by.1)).collect()
        };
        let (x, y) = (self.value(a), self.value(b));
        match (self.varies(a), self.varies(b)) {
            (true, true) => {
                let batch = std::iter::once((0, 0)).chain(shifted(batch, (1, 1))).collect();
                self.define(out, Op::Dot { a: x, b: y, batch, contract: shifted(contract, (1, 1)) });
            }
            (true, false) => {
                let d = self.b.dot(x, y, &shifted(batch, (1, 0)), &shifted(contract, (1, 0)));
                self.lane_axis_to_front(out, d, batch.len(), self.needs_guard(b));
            }
            (false, _) => {
                let free = |rank: usize| rank - batch.len() - contract.len();
                let (free_a, free_b) = (free(self.lane_ty(a).rank()), free(self.lane_ty(b).rank()));
                let (batch_s, contract_s) = (shifted(batch, (0, 1)), shifted(contract, (0, 1)));
                let guard = self.needs_guard(a);
                if batch.is_empty() && free_b == 0 && free_a > 0 {
                    // With the operands exchanged the lanes come first by themselves.
                    let flipped: Vec<(usize, usize)> = contract_s.iter().map(|(i, j)| (*j, *i)).collect();
                    let d = self.b.dot(y, x, &[], &flipped);
                    self.lane_axis_to_front(out, d, 0, guard);
                } else {
                    let d = self.b.dot(x, y, &batch_s, &contract_s);
                    self.lane_axis_to_front(out, d, batch.len() + free_a, guard);
                }
            }
        }
    }

    /// Moves the axis of lanes to the front, guards the value if asked, and binds it.
    fn lane_axis_to_front(&mut self, out: Var, x: Atom, axis: usize, guard: bool) {
        let rank = self.b.ty(x).rank();
        let perm: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|i| *i != axis)).collect();
        let mut x = self.b.transpose(x, &perm);
        if guard {
            let shape = self.lane_ty(Atom::Var(out)).shape;
            x = self.guarded(x, &shape);
        }
        if let Some(v) = x.var() {
            self.b.func.vars[v.index()].name = self.b.func.vars[out.index()].name.clone();
        }
        self.bind(out, x);
    }

    fn gather(&mut self, out: Var, x: Atom, idx: Atom, batch: usize) {
        let (tx, ti) = (self.lane_ty(x), self.lane_ty(idx));
        let (vx, vi) = (self.value(x), self.value(idx));
        if self.varies(x) {
            if let Atom::Lit(Lit::Int(i)) = idx
                && tx.shape[0] > 0
            {
                // A constant index cuts one element out of every lane.
                let last = tx.shape[0] - 1;
                let i = usize::try_from(i).unwrap_or(0).min(last);
                let cut = self.b.slice(vx, 1, i, 1);
                let shape = self.lifted(&tx.shape[1..]);
                let cut = self.b.reshape(cut, &shape);
                return self.bind(out, cut);
            }
            let idx = self.stacked(idx);
            return self.define(out, Op::Gather { x: vx, idx, batch: batch + 1 });
        }
        let guard = self.needs_guard(x);
        // Rows at lane number + constant: a slice, with the indexed axis in front and repeated over the other indices.
        let offset = idx.var().and_then(|v| self.offset.get(&v).copied()).and_then(|o| usize::try_from(o).ok());
        if let Some(start) = offset.filter(|o| o.checked_add(self.len).is_some_and(|end| end <= tx.shape[batch])) {
            let perm: Vec<usize> = std::iter::once(batch).chain((0..tx.rank()).filter(|i| *i != batch)).collect();
            let rows = self.b.slice(vx, batch, start, self.len);
            let rows = self.b.transpose(rows, &perm);
            let shape = self.lifted(&self.lane_ty(Atom::Var(out)).shape);
            let axes: Vec<usize> = (0..=batch).chain(ti.rank() + 1..shape.len()).collect();
            let rows = self.b.broadcast(rows, &shape, &axes);
            let lane_shape = shape[1..].to_vec();
            let rows = if guard { self.guarded(rows, &lane_shape) } else { rows };
            return self.bind(out, rows);
        }
        // The lanes' indices stand behind the common axes, so that `x` is not repeated.
        let perm: Vec<usize> = (1..=batch).chain(std::iter::once(0)).chain(batch + 1..=ti.rank()).collect();
        let idx = self.b.transpose(vi, &perm);
        let rows = self.b.gather(vx, idx, batch);
        self.lane_axis_to_front(out, rows, batch, guard);
    }

    fn linalg(&mut self, out: Var, op: Linalg, args: &[Atom]) {
        if let (Linalg::Solve { .. }, [l, rhs]) = (op, args)
            && !self.varies(*l)
        {
            // One triangular system for all lanes: their right-hand sides become columns.
            let t = self.lane_ty(*rhs);
            let r = t.rank();
            let x = self.value(*rhs);
            let to_columns: Vec<usize> = (1..r).chain([0, r]).collect();
            let mut columns = t.shape[..r - 1].to_vec();
            let split = [&columns[..], &[self.len, t.shape[r - 1]]].concat();
            columns.push(self.len * t.shape[r - 1]);
            let x = self.b.transpose(x, &to_columns);
            let x = self.b.reshape(x, &columns);
            let l_value = self.value(*l);
            let y = self.b.linalg(op, &[l_value, x]);
            let y = self.b.reshape(y, &split);
            return self.lane_axis_to_front(out, y, r - 1, self.needs_guard(*l));
        }
        let args = args.iter().map(|a| self.stacked(*a)).collect();
        self.define(out, Op::Linalg(op, args));
    }
}
