//! Branches, sequential loops and draws inside a map.

use super::lanes::Lanes;
use ppl_core::{Atom, Block, DType, Det, DetRandom, Op, Prim, ReduceOp, RngKind, Scan, Stmt, Ty, Var, free_vars, map_atoms};
use std::collections::HashMap;

impl Lanes<'_> {
    pub(super) fn if_(&mut self, s: &Stmt<Det>, cond: Atom, then: &Block<Det>, els: &Block<Det>) {
        if self.varies(cond) {
            return self.select(s, cond, then, els);
        }
        let cond = self.value(cond);
        let then = self.same_branch(&s.outs, then);
        let els = self.same_branch(&s.outs, els);
        let outs = s.outs.iter().map(|v| self.output(*v)).collect();
        self.b.push(Stmt { outs, op: Op::If { cond, then, els }, span: s.span });
    }

    /// A branch that all lanes take or none.
    fn same_branch(&mut self, outs: &[Var], block: &Block<Det>) -> Block<Det> {
        self.b.begin();
        self.stmts(&block.stmts);
        let results = outs
            .iter()
            .zip(&block.results)
            .map(|(out, r)| if self.varying.contains(out) { self.stacked(*r) } else { self.value(*r) })
            .collect();
        self.b.end(results)
    }

    /// The variable that a rebuilt statement defines for `out`.
    fn output(&mut self, out: Var) -> Var {
        if !self.varying.contains(&out) {
            return out;
        }
        let info = &self.b.func.vars[out.index()];
        let (name, ty) = (info.name.clone(), info.ty.lifted(&[self.len]));
        let new = self.b.fresh(&name, ty);
        self.bind(out, Atom::Var(new));
        new
    }

    /// Both branches for all lanes; each lane selects its own.
    fn select(&mut self, s: &Stmt<Det>, cond: Atom, then: &Block<Det>, els: &Block<Det>) {
        let cond = self.value(cond);
        let not = self.b.un(Prim::Not, cond);
        let taken = self.branch(cond, then);
        let other = self.branch(not, els);
        self.b.span = s.span;
        for (out, (t, e)) in s.outs.iter().zip(taken.into_iter().zip(other)) {
            let shape = self.lane_ty(Atom::Var(*out)).shape;
            let mask = self.spread_mask(cond, &shape);
            let args = vec![mask, self.choice(t, &shape), self.choice(e, &shape)];
            self.define(*out, Op::Prim(Prim::Select, args));
        }
    }

    /// A branch's result as an operand of the selection. The selection itself keeps its derivatives apart.
    fn choice(&mut self, (x, varies): (Atom, bool), shape: &[usize]) -> Atom {
        if varies || shape.is_empty() {
            return x;
        }
        let full = self.lifted(shape);
        let axes: Vec<usize> = (1..full.len()).collect();
        self.b.broadcast(x, &full, &axes)
    }

    /// Emits a branch taken by the lanes of `mask`; returns its results and whether they vary.
    fn branch(&mut self, mask: Atom, block: &Block<Det>) -> Vec<(Atom, bool)> {
        let mask = match self.mask {
            Some(outer) => self.b.prim(Prim::And, &[outer, mask]),
            None => mask,
        };
        let mut any = None;
        let mut hidden: Vec<(Var, Option<Atom>)> = Vec::new();
        for v in free_vars(block) {
            let ty = self.lane_ty(Atom::Var(v));
            if ty.dtype != DType::Float {
                continue;
            }
            let x = self.value(Atom::Var(v));
            let cond = if self.varying.contains(&v) {
                self.spread_mask(mask, &ty.shape)
            } else {
                *any.get_or_insert_with(|| self.b.reduce(ReduceOp::Any, mask, &[0]))
            };
            let guarded = self.b.prim(Prim::Guard, &[cond, x]);
            hidden.push((v, self.env.insert(v, guarded)));
        }
        let outer = self.mask.replace(mask);
        self.stmts(&block.stmts);
        self.mask = outer;
        let results = block.results.iter().map(|r| (self.value(*r), self.varies(*r))).collect();
        for (v, before) in hidden {
            match before {
                Some(x) => self.env.insert(v, x),
                None => self.env.remove(&v),
            };
        }
        results
    }

    pub(super) fn scan(&mut self, s: &Stmt<Det>, scan: &Scan<Det>) {
        let carry: Vec<(Var, Atom)> = scan
            .carry
            .iter()
            .map(|(v, init)| {
                let init = if self.varying.contains(v) { self.stacked(*init) } else { self.value(*init) };
                (self.output(*v), init)
            })
            .collect();
        let xs = scan
            .xs
            .iter()
            .map(|(v, x)| {
                let all = if self.varies(*x) { self.exchanged(self.value(*x)) } else { self.value(*x) };
                (self.output(*v), all)
            })
            .collect();
        self.b.begin();
        self.stmts(&scan.body.stmts);
        let results = scan
            .body
            .results
            .iter()
            .enumerate()
            .map(|(i, r)| match scan.carry.get(i) {
                Some((v, _)) if self.varying.contains(v) => self.stacked(*r),
                _ => self.value(*r),
            })
            .collect();
        let body = self.b.end(results);
        self.b.span = s.span;
        let mut stacked = Vec::new();
        let outs = s
            .outs
            .iter()
            .enumerate()
            .map(|(i, out)| {
                if i < scan.carry.len() || !self.varying.contains(out) {
                    return self.output(*out);
                }
                // Stacked over time first, lanes second: put right behind the loop.
                let info = &self.b.func.vars[out.index()];
                let mut ty: Ty = info.ty.lifted(&[info.ty.shape[0]]);
                ty.shape[1] = self.len;
                let name = info.name.clone();
                let raw = self.b.fresh(&name, ty);
                stacked.push((*out, raw));
                raw
            })
            .collect();
        let op = Op::Scan(Box::new(Scan { len: scan.len, index: scan.index, carry, xs, body, reverse: scan.reverse }));
        self.b.push(Stmt { outs, op, span: s.span });
        for (out, raw) in stacked {
            let x = self.exchanged(Atom::Var(raw));
            self.bind(out, x);
        }
    }

    /// The first two axes exchanged.
    fn exchanged(&mut self, x: Atom) -> Atom {
        let perm: Vec<usize> = [1, 0].into_iter().chain(2..self.b.ty(x).rank()).collect();
        self.b.transpose(x, &perm)
    }

    pub(super) fn random(&mut self, s: &Stmt<Det>, r: &DetRandom) {
        let own_lane = r.lanes.last().is_some_and(|(a, _)| *a == Atom::Var(self.index));
        let others = &r.lanes[..r.lanes.len().saturating_sub(1)];
        if !own_lane || others.iter().chain(&r.times).any(|(a, _)| self.varies(*a)) {
            return self.one_by_one(s);
        }
        let args = r
            .args
            .iter()
            .map(|a| {
                if r.kind != RngKind::Categorical {
                    return self.unguarded(*a, &r.shape);
                }
                // Probabilities that all draws share stay one row.
                let t = self.lane_ty(*a);
                if t.rank() == 1 && !self.varies(*a) {
                    return self.value(*a);
                }
                let categories = t.shape.last().copied().unwrap_or(0);
                let shape = [&r.shape[..], &[categories]].concat();
                if t.rank() < shape.len() {
                    // One row of probabilities a lane.
                    let full = self.lifted(&shape);
                    let row = self.value(*a);
                    return self.b.broadcast(row, &full, &[0, shape.len()]);
                }
                self.unguarded(*a, &shape)
            })
            .collect();
        let keep = |list: &[(Atom, usize)]| list.iter().map(|(a, n)| (self.value(*a), *n)).collect();
        let op = DetRandom {
            kind: r.kind,
            args,
            site: r.site,
            lanes: keep(others),
            times: keep(&r.times),
            shape: self.lifted(&r.shape),
        };
        self.define(s.outs[0], Op::Random(op));
    }

    /// An operand that carries no derivatives.
    fn unguarded(&mut self, a: Atom, shape: &[usize]) -> Atom {
        let mask = self.mask.take();
        let x = self.elementwise(a, shape);
        self.mask = mask;
        x
    }

    /// Runs the lanes of a statement one after the other: draws that lanes share but for their parameters, calls.
    pub(super) fn one_by_one(&mut self, s: &Stmt<Det>) {
        let mut slices: HashMap<Var, Var> = HashMap::new();
        let mut xs = Vec::new();
        let mut op = s.op.clone();
        map_atoms(&mut op, &mut |a| match a {
            Atom::Var(v) if self.varying.contains(&v) => {
                let slice = *slices.entry(v).or_insert_with(|| {
                    let info = self.b.func.vars[v.index()].clone();
                    let slice = self.b.fresh(&info.name, info.ty);
                    xs.push((slice, self.value(a)));
                    slice
                });
                Atom::Var(slice)
            }
            a => self.value(a),
        });
        let index = self.b.index_var("lane");
        let infos: Vec<(String, Ty)> = s
            .outs
            .iter()
            .map(|v| {
                let info = &self.b.func.vars[v.index()];
                (info.name.clone(), info.ty.clone())
            })
            .collect();
        self.b.begin();
        let results = self.b.emit(op, infos).into_iter().map(Atom::Var).collect();
        let body = self.b.end(results);
        let outs = self.b.scan(Scan { len: self.len, index, carry: Vec::new(), xs, body, reverse: false });
        for (out, all) in s.outs.iter().zip(outs) {
            self.bind(*out, Atom::Var(all));
        }
    }
}
