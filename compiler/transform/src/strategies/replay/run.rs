//! One run: the statements that depend on the choice, with its other value.

use super::super::edit::{Edit, Open};
use super::super::mid::{Mid, MidRandom};
use super::{Continuation, Dropped};
use crate::expand::real;
use crate::scope::{Align, Bits, Order, Path, Scale, Term};
use ppl_core::{Atom, DType, Op, Prim, Scan, Stmt, Ty, Var};
use std::collections::{HashMap, HashSet};

/// One run of a continuation.
pub(super) struct Run<'c, 'f> {
    c: &'c Continuation<'f>,
    lanes: &'c [Atom],
    /// Dependent variables, without the axes of [`Run::dropped`].
    views: HashMap<Var, Atom>,
    differentiable: bool,
    /// In a group's run: its lane, and the values of all lanes.
    lane: Option<(Atom, &'c [Atom])>,
    /// In the later steps of a scan around the choice: its level.
    later: Option<usize>,
    /// Levels that there are a lane for: those inside a branch that was not taken have none.
    levels: usize,
}

impl<'c, 'f> Run<'c, 'f> {
    pub(super) fn new(
        c: &'c Continuation<'f>,
        lanes: &'c [Atom],
        views: HashMap<Var, Atom>,
        differentiable: bool,
        lane: Option<(Atom, &'c [Atom])>,
    ) -> Self {
        Run { c, lanes, views, differentiable, lane, later: None, levels: c.loops.len() }
    }

    /// A run outside a branch of the choice's path, around which there are so many loops.
    pub(super) fn outside(mut self, loops: usize) -> Self {
        self.levels = loops;
        self
    }
}

impl Run<'_, '_> {
    fn dropped(&self, a: Atom) -> Dropped {
        let mut out = Dropped::new();
        for (level, align) in self.c.on(a).into_iter().flatten().enumerate().take(self.levels) {
            if let Align::Axis(axis, _) = align {
                out.entry(*axis).or_insert(level);
            }
        }
        out
    }

    /// The level of a loop of which one iteration is repeated.
    fn lane_of(&self, index: Var) -> Option<usize> {
        self.c.matched.get(&index).or_else(|| self.c.again.get(&index)).copied().filter(|level| *level < self.levels)
    }

    /// In the later steps of a scan: what depends on the choice of the same step only is as it was.
    fn same(&self, aligns: Option<&Vec<Align>>) -> bool {
        self.later.is_some_and(|level| aligns.is_some_and(|a| a[level] == Align::Loop(self.c.loops[level].index, Order::Same)))
    }

    fn wants(&self, v: Var) -> bool {
        self.c.needed.contains(&v) && !self.same(self.c.on(v.into()))
    }

    /// Leaves a map or a branch around the choice: its outputs are what this lane returned from block `k`, and in other lanes what they were.
    pub(super) fn leave(&mut self, e: &mut Edit<'_>, stmt: &Stmt<Mid>, k: usize) {
        let inner = ppl_core::op_blocks(&stmt.op)[k];
        for (out, result) in stmt.outs.iter().zip(&inner.results) {
            if !self.c.needed.contains(out) {
                continue;
            }
            let want = self.dropped((*out).into());
            let view = if let Op::Map { index, .. } = &stmt.op {
                let level = self.c.loops.iter().position(|l| l.index == *index).unwrap_or_default();
                let mut have = want.clone();
                have.entry(0).or_insert(level);
                let view = self.operand(e, *result, &under(&want));
                self.convert(e, (*out).into(), view, &have, &want)
            } else {
                self.operand(e, *result, &want)
            };
            self.views.insert(*out, view);
        }
    }

    /// The steps of a scan around the choice after this lane's; returns their cost. `body` is the path of the scan's body.
    pub(super) fn rest(&mut self, e: &mut Edit<'_>, body: &[(usize, usize)], stmt: &Stmt<Mid>, s: &Scan<Mid>) -> Atom {
        let Some(level) = self.c.loops.iter().position(|l| l.index == s.index) else { return Atom::float(0.0) };
        let step = self.lanes[level];
        let n = s.carry.len();
        let wanted: Vec<usize> = (0..stmt.outs.len()).filter(|k| self.c.needed.contains(&stmt.outs[*k])).collect();
        let carried: Vec<usize> = (0..n).filter(|k| self.c.needed.contains(&s.carry[*k].0) || wanted.contains(k)).collect();
        // What this step returned.
        let mut carry = Vec::new();
        for k in &carried {
            let target = self.dropped(s.carry[*k].0.into());
            let now = self.operand(e, s.body.results[*k], &target);
            let ty = e.b.ty(now);
            carry.push((e.b.fresh("c", ty), now));
        }
        // Stacks: one element, where an element depends on the choice of its own step only; else this step's and the later ones' are replaced.
        let (mut elements, mut stacks) = (Vec::new(), Vec::new());
        for k in wanted.iter().copied().filter(|k| *k >= n) {
            let target = self.dropped(stmt.outs[k].into());
            let now = self.operand(e, s.body.results[k], &under(&target));
            if target.contains_key(&0) { elements.push((k, now)) } else { stacks.push((k, under(&target), now)) }
        }
        let (outer, outer_later) = (self.views.clone(), self.later.replace(level));
        let inside: HashSet<Var> = s.carry.iter().chain(&s.xs).map(|(v, _)| *v).collect();
        self.views.retain(|v, _| !inside.contains(v) && !self.c.base.flow.def(*v).is_some_and(|(p, _)| p.starts_with(body)));
        let unchanged: Vec<Atom> = carry.iter().map(|(v, _)| (*v).into()).collect();
        for (k, (new, _)) in carried.iter().zip(&carry) {
            self.views.insert(s.carry[*k].0, (*new).into());
        }
        let indices = e.index.clone();
        let Open::Map { index, .. } = e.open_map(s.index, s.len) else { return Atom::float(0.0) };
        let after = if s.reverse { Prim::Lt } else { Prim::Gt };
        let active = e.b.emit1(Op::Prim(after, vec![index.into(), step]), "after", Ty::BOOL);
        e.begin();
        let cost = self.block(e, &body.to_vec(), 0);
        let mut results = Vec::new();
        for k in &carried {
            let target = self.dropped(s.carry[*k].0.into());
            results.push(self.operand(e, s.body.results[*k], &target));
        }
        for (k, target, _) in &stacks {
            results.push(self.operand(e, s.body.results[*k], target));
        }
        results.push(cost);
        let then = e.end(results);
        e.begin();
        self.views.retain(|v, _| !inside.contains(v) && !self.c.base.flow.def(*v).is_some_and(|(p, _)| p.starts_with(body)));
        let mut results = unchanged;
        let here = e.b.emit1(Op::Prim(Prim::Eq, vec![index.into(), step]), "here", Ty::BOOL);
        for (k, target, now) in &stacks {
            let old = e.bring(s.body.results[*k]);
            let old = self.convert(e, s.body.results[*k], old, &Dropped::new(), target);
            results.push(select(e, here, *now, old));
        }
        results.push(Atom::float(0.0));
        let els = e.end(results);
        let outs = e.b.if_(active, then, els);
        let block = e.end(outs.into_iter().map(Atom::Var).collect());
        e.index = indices;
        let outs = e.b.scan(Scan { len: s.len, index, carry, xs: Vec::new(), body: block, reverse: s.reverse });
        (self.views, self.later) = (outer, outer_later);
        for (k, out) in carried.iter().zip(&outs) {
            let have = self.dropped(s.carry[*k].0.into());
            self.settle(e, stmt.outs[*k], (*out).into(), &have);
        }
        for ((k, target, _), out) in stacks.iter().zip(&outs[carried.len()..]) {
            let have = target.iter().map(|(a, l)| (a + 1, *l)).collect();
            self.settle(e, stmt.outs[*k], (*out).into(), &have);
        }
        self.views.extend(elements.into_iter().map(|(k, now)| (stmt.outs[k], now)));
        crate::expand::sum_first(&mut e.b, outs[carried.len() + stacks.len()].into())
    }

    /// Notes an output whose value lacks the axes in `have`.
    fn settle(&mut self, e: &mut Edit<'_>, out: Var, value: Atom, have: &Dropped) {
        let want = self.dropped(out.into());
        let view = self.convert(e, out.into(), value, have, &want);
        self.views.insert(out, view);
    }

    /// The block's statements from `from` on, then its terms; returns their sum.
    pub(super) fn block(&mut self, e: &mut Edit<'_>, path: &Path, from: usize) -> Atom {
        let block = self.c.base.flow.block_at(path);
        let mut costs = Vec::new();
        for (i, terms) in self.c.statements.get(path).into_iter().flat_map(|s| s.range(from..)) {
            costs.extend(self.stmt(e, path, *i, &block.stmts[*i], *terms));
        }
        for t in self.c.terms.iter().filter(|t| t.path == *path && !self.same(self.c.aligned(&t.deps))) {
            let dropped = self.dropped(t.atom);
            let mut value = self.operand(e, t.atom, &dropped);
            value = e.b.sum_all(value);
            for s in &t.scale {
                value = match s {
                    Scale::Neg => real(&mut e.b, Prim::Neg, &[value]),
                    Scale::Mul(c) => {
                        let c = self.operand(e, *c, &Dropped::new());
                        real(&mut e.b, Prim::Mul, &[value, c])
                    }
                    Scale::Div(c) => {
                        let c = self.operand(e, *c, &Dropped::new());
                        real(&mut e.b, Prim::Div, &[value, c])
                    }
                };
            }
            costs.push(self.masked(e, t, value));
        }
        crate::expand::sum(&mut e.b, costs)
    }

    /// A term counts in the lanes of choices that it depends on.
    fn masked(&self, e: &mut Edit<'_>, t: &Term, value: Atom) -> Atom {
        let (Some(group), Some((lane, _))) = (&self.c.group, self.lane) else { return value };
        let mut mine = Bits::default();
        for c in t.deps.all().intersection(&group.choices).iter() {
            if let Some((first, n)) = group.lanes.get(&c) {
                (*first..first + n).for_each(|l| mine.insert(l));
            }
        }
        let test = |e: &mut Edit<'_>, p: Prim, xs: &[Atom]| e.b.emit1(Op::Prim(p, xs.to_vec()), "counts", Ty::BOOL);
        let mut any = None;
        for (first, end) in mine.intervals() {
            let from = (first > 0).then(|| test(e, Prim::Ge, &[lane, Atom::int(first as i64)]));
            let to = (end < group.len).then(|| test(e, Prim::Lt, &[lane, Atom::int(end as i64)]));
            let both = match (from, to) {
                (Some(a), Some(b)) => test(e, Prim::And, &[a, b]),
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => return value,
            };
            any = Some(any.map_or(both, |a| test(e, Prim::Or, &[a, both])));
        }
        any.map_or(Atom::float(0.0), |c| real(&mut e.b, Prim::Select, &[c, value, Atom::float(0.0)]))
    }

    /// The value of a choice of the group: in its own lanes what they replace it by.
    fn replaced(&self, e: &mut Edit<'_>, choice: Var, value: Atom) -> Atom {
        let own = self.c.group.as_ref().and_then(|g| g.lanes.get(&self.c.base.flow.numbers.of(choice)?));
        let (Some((first, n)), Some((lane, xs))) = (own, self.lane) else { return value };
        (*first..first + n).fold(value, |v, l| {
            let here = e.b.emit1(Op::Prim(Prim::Eq, vec![lane, Atom::int(l as i64)]), "here", Ty::BOOL);
            let ty = e.b.ty(v);
            e.b.emit1(Op::Prim(Prim::Select, vec![here, xs[l], v]), "x", ty)
        })
    }

    /// One statement; returns the cost inside it.
    fn stmt(&mut self, e: &mut Edit<'_>, path: &Path, i: usize, stmt: &Stmt<Mid>, terms: bool) -> Option<Atom> {
        e.b.span = stmt.span;
        let wanted: Vec<usize> = (0..stmt.outs.len()).filter(|k| self.wants(stmt.outs[*k])).collect();
        if wanted.is_empty() && !terms {
            return None;
        }
        let inner = |k: usize| path.iter().copied().chain([(i, k)]).collect::<Path>();
        match &stmt.op {
            Op::Map { len, index, body } => {
                let around = e.index.get(index).copied();
                if let Some(level) = self.lane_of(*index) {
                    e.index.insert(*index, self.lanes[level]);
                    let cost = self.block(e, &inner(0), 0);
                    for k in wanted {
                        let target = self.dropped(body.results[k]);
                        let view = self.operand(e, body.results[k], &target);
                        let mut have: Dropped = above(&target);
                        have.insert(0, level);
                        self.settle(e, stmt.outs[k], view, &have);
                    }
                    restore(e, *index, around);
                    return Some(cost);
                }
                let Open::Map { index: new, .. } = e.open_map(*index, *len) else { return None };
                let cost = self.block(e, &inner(0), 0);
                let targets: Vec<Dropped> = wanted.iter().map(|k| self.dropped(body.results[*k])).collect();
                let mut results = Vec::new();
                for (k, target) in wanted.iter().zip(&targets) {
                    results.push(self.operand(e, body.results[*k], target));
                }
                results.extend(terms.then_some(cost));
                let body = e.end(results);
                restore(e, *index, around);
                let outs = e.b.map(*len, new, body);
                for ((k, target), out) in wanted.iter().zip(&targets).zip(&outs) {
                    self.settle(e, stmt.outs[*k], (*out).into(), &above(target));
                }
                terms.then(|| crate::expand::sum_first(&mut e.b, outs[wanted.len()].into()))
            }
            Op::Scan(s) => self.scan(e, &inner(0), stmt, s, &wanted, terms),
            Op::If { cond, then, els } => {
                let cond = self.operand(e, *cond, &Dropped::new());
                let mut blocks = Vec::new();
                for (n, block) in [then, els].into_iter().enumerate() {
                    e.begin();
                    let cost = self.block(e, &inner(n), 0);
                    let mut results = Vec::new();
                    for k in &wanted {
                        let target = self.dropped(stmt.outs[*k].into());
                        results.push(self.operand(e, block.results[*k], &target));
                    }
                    results.extend(terms.then_some(cost));
                    blocks.push(e.end(results));
                }
                let (els, then) = (blocks.remove(1), blocks.remove(0));
                let outs = e.b.if_(cond, then, els);
                for (k, out) in wanted.iter().zip(&outs) {
                    self.views.insert(stmt.outs[*k], (*out).into());
                }
                terms.then(|| outs[wanted.len()].into())
            }
            op => {
                self.plain(e, stmt, op);
                None
            }
        }
    }

    fn scan(
        &mut self,
        e: &mut Edit<'_>,
        path: &Path,
        stmt: &Stmt<Mid>,
        s: &Scan<Mid>,
        wanted: &[usize],
        terms: bool,
    ) -> Option<Atom> {
        let carried: Vec<usize> = (0..s.carry.len()).filter(|k| self.wants(s.carry[*k].0) || wanted.contains(k)).collect();
        let mut carry = Vec::new();
        for k in &carried {
            let (v, init) = s.carry[*k];
            let init = self.operand(e, init, &self.dropped(v.into()));
            let ty = e.b.ty(init);
            let new = e.b.fresh("c", ty);
            carry.push((new, init));
        }
        let mut xs = Vec::new();
        for (v, x) in &s.xs {
            if !self.wants(*v) {
                continue;
            }
            let target = above(&self.dropped((*v).into()));
            let x = self.operand(e, *x, &target);
            let mut ty = e.b.ty(x);
            ty.shape.remove(0);
            let new = e.b.fresh("x", ty);
            self.views.insert(*v, new.into());
            xs.push((new, x));
        }
        for (k, (new, _)) in carried.iter().zip(&carry) {
            self.views.insert(s.carry[*k].0, (*new).into());
        }
        let around = e.index.get(&s.index).copied();
        let Open::Map { index, .. } = e.open_map(s.index, s.len) else { return None };
        let cost = self.block(e, path, 0);
        let mut results = Vec::new();
        for k in &carried {
            let target = self.dropped(s.carry[*k].0.into());
            results.push(self.operand(e, s.body.results[*k], &target));
        }
        let mut stacks = Vec::new();
        for k in wanted.iter().copied().filter(|k| *k >= s.carry.len()) {
            let target = self.dropped(s.body.results[k]);
            results.push(self.operand(e, s.body.results[k], &target));
            stacks.push((k, above(&target)));
        }
        results.extend(terms.then_some(cost));
        let body = e.end(results);
        restore(e, s.index, around);
        let outs = e.b.scan(Scan { len: s.len, index, carry, xs, body, reverse: s.reverse });
        for (k, out) in carried.iter().zip(&outs) {
            let have = self.dropped(s.carry[*k].0.into());
            self.settle(e, stmt.outs[*k], (*out).into(), &have);
        }
        for ((k, have), out) in stacks.iter().zip(&outs[carried.len()..]) {
            self.settle(e, stmt.outs[*k], (*out).into(), have);
        }
        terms.then(|| crate::expand::sum_first(&mut e.b, outs[carried.len() + stacks.len()].into()))
    }

    /// A statement without blocks.
    fn plain(&mut self, e: &mut Edit<'_>, stmt: &Stmt<Mid>, op: &Op<Mid>) {
        let Some(first) = stmt.outs.first() else { return };
        let target = self.dropped((*first).into());
        let kept = |d: &Dropped, axis: usize| axis - d.keys().filter(|a| **a < axis).count();
        let none = Dropped::new();
        let full = self.c.base.flow.func.ty(*first).clone();
        let shape: Vec<usize> = full.shape.iter().enumerate().filter(|(a, _)| !target.contains_key(a)).map(|(_, n)| *n).collect();
        let ty = Ty::new(full.dtype, shape.clone());
        let name = self.c.base.flow.func.vars[first.index()].name.clone();
        let new = match op {
            Op::Random(MidRandom::Mark { x, .. }) if !self.differentiable => {
                let v = self.operand(e, *x, &target);
                let v = self.replaced(e, *first, v);
                self.views.insert(*first, v);
                return;
            }
            Op::Prim(p, args) => {
                let args = args.iter().map(|a| {
                    let scalar = self.c.base.flow.func.atom_ty(*a).is_scalar();
                    self.operand(e, *a, if scalar { &none } else { &target })
                });
                Op::Prim(*p, args.collect())
            }
            Op::Stop(x) => Op::Stop(self.operand(e, *x, &target)),
            Op::Broadcast { x, axes, .. } => {
                let t: Dropped = axes.iter().enumerate().filter_map(|(i, a)| target.get(a).map(|l| (i, *l))).collect();
                let left = axes.iter().filter(|a| !target.contains_key(a)).map(|a| kept(&target, *a)).collect();
                Op::Broadcast { x: self.operand(e, *x, &t), shape, axes: left }
            }
            Op::Reduce { op, x, axes } => {
                let rank = self.c.base.flow.func.atom_ty(*x).rank();
                let stay: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
                let t: Dropped = target.iter().map(|(a, l)| (stay[*a], *l)).collect();
                let axes = axes.iter().map(|a| kept(&t, *a)).collect();
                Op::Reduce { op: *op, x: self.operand(e, *x, &t), axes }
            }
            Op::Transpose { x, perm } => {
                let t: Dropped = target.iter().map(|(a, l)| (perm[*a], *l)).collect();
                let left = perm.iter().filter(|p| !t.contains_key(p)).map(|p| kept(&t, *p)).collect();
                Op::Transpose { x: self.operand(e, *x, &t), perm: left }
            }
            Op::Gather { x, idx, batch } => {
                let matched = self.c.on(*x).and_then(|al| {
                    let v = idx.var()?;
                    al.iter()
                        .position(|a| *a == Align::Axis(*batch, crate::scope::Order::Same))
                        .filter(|l| self.lane_of(v) == Some(*l))
                });
                let indices = self.c.base.flow.func.atom_ty(*idx).rank();
                let mut t: Dropped = target.iter().map(|(a, l)| (a + 1 - indices, *l)).collect();
                if let Some(level) = matched {
                    t.insert(*batch, level);
                    let v = self.operand(e, *x, &t);
                    self.views.insert(*first, v);
                    return;
                }
                Op::Gather { x: self.operand(e, *x, &t), idx: self.operand(e, *idx, &none), batch: *batch }
            }
            other => {
                let mut op = other.clone();
                ppl_core::map_atoms(&mut op, &mut |a| self.operand(e, a, &none));
                op
            }
        };
        let outs: Vec<(String, Ty)> = std::iter::once((name, ty))
            .chain(stmt.outs[1..].iter().map(|v| {
                let info = &self.c.base.flow.func.vars[v.index()];
                (info.name.clone(), info.ty.clone())
            }))
            .collect();
        let outs = e.b.emit(new, outs);
        self.views.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
    }

    /// An operand of the program without the axes in `target`: at this lane there, and with this lane replaced elsewhere.
    fn operand(&self, e: &mut Edit<'_>, a: Atom, target: &Dropped) -> Atom {
        match a.var().and_then(|v| self.views.get(&v)).copied() {
            Some(view) => self.convert(e, a, view, &self.dropped(a), target),
            None if target.is_empty() => e.bring(a),
            None => {
                let x = e.bring(a);
                self.convert(e, a, x, &Dropped::new(), target)
            }
        }
    }

    /// `view`, which is `a` without the axes in `have`, without those in `target`: an axis of this lane that comes back has the program's values elsewhere.
    fn convert(&self, e: &mut Edit<'_>, a: Atom, view: Atom, have: &Dropped, target: &Dropped) -> Atom {
        if have == target {
            return view;
        }
        let ty = self.c.base.flow.func.atom_ty(a);
        // Axes of the view or of the whole, counted in the operand's own type.
        let take = |e: &mut Edit<'_>, mut x: Atom, mut axes: Vec<usize>, drop: &[(usize, usize)]| {
            for (axis, level) in drop {
                let Some(at) = axes.iter().position(|a| a == axis) else { continue };
                let mut perm: Vec<usize> = (0..axes.len()).collect();
                perm.remove(at);
                perm.insert(0, at);
                x = e.b.transpose(x, &perm);
                x = e.b.gather(x, self.lanes[*level], 0);
                axes.remove(at);
            }
            x
        };
        let all: Vec<usize> = (0..ty.rank()).collect();
        let extra: Vec<(usize, usize)> = have.iter().filter(|(a, l)| target.get(a) != Some(l)).map(|(a, l)| (*a, *l)).collect();
        let missing: Vec<(usize, usize)> = target.iter().filter(|(a, l)| have.get(a) != Some(l)).map(|(a, l)| (*a, *l)).collect();
        if extra.is_empty() {
            let axes = all.into_iter().filter(|a| !have.contains_key(a)).collect();
            return take(e, view, axes, &missing);
        }
        let shared: Vec<(usize, usize)> = have.iter().filter(|(a, l)| target.get(a) == Some(l)).map(|(a, l)| (*a, *l)).collect();
        let axes: Vec<usize> = all.iter().copied().filter(|a| !shared.iter().any(|(s, _)| s == a)).collect();
        let old = e.bring(a);
        let old = take(e, old, all, &shared);
        let shape: Vec<usize> = axes.iter().map(|a| ty.shape[*a]).collect();
        let mut mask = None;
        for (axis, level) in &extra {
            let Some(at) = axes.iter().position(|a| a == axis) else { continue };
            let iota = e.b.iota(shape[at]);
            let hit = e.b.emit1(Op::Prim(Prim::Eq, vec![iota, self.lanes[*level]]), "here", Ty::new(DType::Bool, [shape[at]]));
            let hit = e.b.broadcast(hit, &shape, &[at]);
            mask = Some(match mask {
                None => hit,
                Some(m) => e.b.emit1(Op::Prim(Prim::And, vec![m, hit]), "here", Ty::new(DType::Bool, shape.clone())),
            });
        }
        let into: Vec<usize> = (0..axes.len()).filter(|i| !extra.iter().any(|(a, _)| axes[*i] == *a)).collect();
        let new = e.b.broadcast(view, &shape, &into);
        let Some(mask) = mask else { return new };
        let full = Ty::new(ty.dtype, shape);
        let x = e.b.emit1(Op::Prim(Prim::Select, vec![mask, new, old]), "with", full);
        take(e, x, axes, &missing)
    }
}

/// Axes of a loop's result, from those of the stack of results.
fn under(stack: &Dropped) -> Dropped {
    stack.iter().filter(|(a, _)| **a > 0).map(|(a, l)| (a - 1, *l)).collect()
}

/// Axes of a stack, from those of its elements.
fn above(element: &Dropped) -> Dropped {
    element.iter().map(|(a, l)| (a + 1, *l)).collect()
}

/// Sets what an index is to what it was around a loop.
fn restore(e: &mut Edit<'_>, index: Var, around: Option<Atom>) {
    match around {
        Some(i) => e.index.insert(index, i),
        None => e.index.remove(&index),
    };
}

/// `if c { x } else { y }` for a scalar condition.
fn select(e: &mut Edit<'_>, c: Atom, x: Atom, y: Atom) -> Atom {
    e.begin();
    let then = e.end(vec![x]);
    e.begin();
    let els = e.end(vec![y]);
    e.b.if_(c, then, els)[0].into()
}
