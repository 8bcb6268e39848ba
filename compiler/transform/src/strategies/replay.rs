//! Running a choice's continuation again, for one lane, with another value.
//!
//! ```text
//!   k(x) at lane i  =  the sum of the terms that depend on lane i of the choice, computed from `x` in its place
//! ```
//!
//! Only statements that depend on the choice are repeated; all other values are read from the program's run. Draws keep their sites, so that
//! all calls share their random numbers. In a map whose iterations correspond to the choice's lanes one iteration is repeated; where a value
//! mixes lanes, it is computed with this lane's element replaced.
//!
//! A variable that is aligned with lanes along some axes is kept without these axes (its *view*).

use super::edit::{Edit, Open};
use super::mid::{Mid, MidRandom};
use crate::expand::real;
use crate::scope::{Align, Flow, Path, Scale, Term};
use ppl_core::{Atom, Block, DType, Func, Op, Prim, Scan, Stmt, Ty, Var};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Axes that a view lacks, and the level of the choice's loops that each belongs to.
type Dropped = BTreeMap<usize, usize>;

/// What a choice's replays need, computed once.
pub(crate) struct Continuation<'f> {
    pub(crate) flow: Flow<'f>,
    choice: Var,
    path: Path,
    stmt: usize,
    /// The terms that depend on it.
    pub(crate) terms: Vec<Term>,
    needed: HashSet<Var>,
    /// Loops of which one iteration is repeated, with the level.
    matched: HashMap<Var, usize>,
}

impl<'f> Continuation<'f> {
    /// The continuation of the choice made by statement `stmt` of the block at `path`; `keep` picks the terms that count.
    pub(crate) fn new(
        func: &'f Func<Mid>,
        result: Atom,
        choice: Var,
        path: &Path,
        stmt: usize,
        keep: &dyn Fn(&Term) -> bool,
    ) -> Self {
        let own: HashSet<Var> = crate::scope::loops(func, path).iter().map(|l| l.index).collect();
        let mut unmatched = HashSet::new();
        loop {
            let flow = Flow::strict(func, unmatched.clone());
            let terms: Vec<Term> = flow.terms(result).into_iter().filter(|t| keep(t) && t.deps.contains_key(&choice)).collect();
            let mut c =
                Continuation { flow, choice, path: path.clone(), stmt, terms, needed: HashSet::new(), matched: HashMap::new() };
            c.needed = c.terms.iter().filter_map(|t| t.atom.var()).collect();
            while c.need(&func.body) {}
            let mixed = c.matching(&func.body, &mut Vec::new(), &own);
            if mixed.is_empty() {
                return c;
            }
            unmatched.extend(mixed);
        }
    }

    fn depends(&self, a: Atom) -> bool {
        self.flow.on(a, self.choice).is_some()
    }

    fn want(&mut self, a: Atom) -> bool {
        self.depends(a) && a.var().is_some_and(|v| self.needed.insert(v))
    }

    /// Marks what the needed variables are made from; whether any was new.
    fn need(&mut self, block: &Block<Mid>) -> bool {
        let mut grown = false;
        for stmt in block.stmts.iter().rev() {
            for (k, out) in stmt.outs.iter().enumerate() {
                if self.needed.contains(out) {
                    for b in ppl_core::op_blocks(&stmt.op) {
                        grown |= b.results.get(k).is_some_and(|r| self.want(*r));
                    }
                }
            }
            let any = stmt.outs.iter().any(|v| self.needed.contains(v));
            match &stmt.op {
                Op::Scan(s) => {
                    for (k, (v, init)) in s.carry.iter().enumerate() {
                        if self.needed.contains(v) {
                            grown |= self.want(*init) | self.want(s.body.results[k]);
                        }
                    }
                    for (v, x) in &s.xs {
                        if self.needed.contains(v) {
                            grown |= self.want(*x);
                        }
                    }
                }
                Op::If { cond, .. } if any || self.holds_terms(stmt) => grown |= self.want(*cond),
                Op::If { .. } | Op::Map { .. } => {}
                op if any => ppl_core::op_atoms(op).into_iter().for_each(|a| grown |= self.want(a)),
                _ => {}
            }
            for b in ppl_core::op_blocks(&stmt.op) {
                grown |= self.need(b);
            }
        }
        grown
    }

    /// Whether a term stands in the statement's blocks (found by a variable that a block defines or uses).
    fn holds_terms(&self, stmt: &Stmt<Mid>) -> bool {
        self.terms
            .iter()
            .any(|t| (0..t.path.len()).any(|n| std::ptr::eq(&self.flow.block_at(&t.path[..n]).stmts[t.path[n].0], stmt)))
    }

    /// Finds the loops of which one iteration is repeated; returns those in which lanes correspond for some values only.
    fn matching(&mut self, block: &Block<Mid>, path: &mut Path, own: &HashSet<Var>) -> Vec<Var> {
        let mut mixed = Vec::new();
        for (i, stmt) in block.stmts.iter().enumerate() {
            if let Op::Map { index, body, .. } = &stmt.op
                && !own.contains(index)
            {
                path.push((i, 0));
                let mut inside: Vec<Vec<Align>> = Vec::new();
                self.aligns(body, &mut inside);
                inside.extend(
                    self.terms.iter().filter(|t| t.path.starts_with(path)).filter_map(|t| t.deps.get(&self.choice)).cloned(),
                );
                path.pop();
                let on = |al: &Vec<Align>| al.iter().position(|a| matches!(a, Align::Loop(l, _) if l == index));
                let levels: HashSet<Option<usize>> = inside.iter().map(on).collect();
                let mut found: Vec<Option<usize>> = levels.into_iter().collect();
                found.sort_unstable();
                match found[..] {
                    [Some(level)] => {
                        self.matched.insert(*index, level);
                    }
                    [] | [None] => {}
                    _ => mixed.push(*index),
                }
            }
            for (k, b) in ppl_core::op_blocks(&stmt.op).into_iter().enumerate() {
                path.push((i, k));
                mixed.extend(self.matching(b, path, own));
                path.pop();
            }
        }
        mixed
    }

    fn aligns(&self, block: &Block<Mid>, out: &mut Vec<Vec<Align>>) {
        for stmt in &block.stmts {
            for v in stmt.outs.iter().chain(&stmt.op.bound_vars()).filter(|v| self.needed.contains(v)) {
                out.extend(self.flow.on(Atom::Var(*v), self.choice).cloned());
            }
            ppl_core::op_blocks(&stmt.op).into_iter().for_each(|b| self.aligns(b, out));
        }
    }

    /// Emits `k(x)` in the nest of `e` that is open for the choice's path; `lanes` are the nest's indices by level.
    ///
    /// `differentiable`: other choices in the continuation keep their strategies.
    pub(crate) fn run(&self, e: &mut Edit<'_>, x: Atom, lanes: &[Atom], differentiable: bool) -> Atom {
        let r = Run { c: self, lanes, views: HashMap::from([(self.choice, x)]), differentiable };
        self.outward(e, r, self.path.len(), None)
    }

    /// Emits the cost of the lane where the branch at position `depth` of the choice's path was not taken.
    pub(crate) fn skipped(&self, e: &mut Edit<'_>, depth: usize, lanes: &[Atom]) -> Atom {
        let r = Run { c: self, lanes, views: HashMap::new(), differentiable: true };
        self.outward(e, r, depth, Some(depth))
    }

    /// The blocks around the choice, from the one at `start` outwards; `skipped`: at this position the other branch's results count.
    fn outward(&self, e: &mut Edit<'_>, mut r: Run<'_, '_>, start: usize, skipped: Option<usize>) -> Atom {
        let saved = e.index.clone();
        let mut costs = Vec::new();
        for n in (0..=start).rev() {
            let path = self.path[..n].to_vec();
            let from = if n == self.path.len() { self.stmt + 1 } else { self.path[n].0 + 1 };
            if n < self.path.len() {
                // Leaving a loop or branch: its outputs are what this lane returned.
                let (i, k) = self.path[n];
                let k = if skipped == Some(n) { 1 - k } else { k };
                let stmt = &self.flow.block_at(&path).stmts[i];
                let inner = ppl_core::op_blocks(&stmt.op)[k];
                for (out, result) in stmt.outs.iter().zip(&inner.results) {
                    if self.needed.contains(out) {
                        let view = r.operand(e, *result, &r.dropped((*out).into()).inner(&stmt.op));
                        r.views.insert(*out, view);
                    }
                }
            }
            costs.push(r.block(e, &path, from));
        }
        e.index = saved;
        crate::expand::sum(&mut e.b, costs)
    }
}

/// Axes of a result, from those of the output it becomes.
trait Inner {
    fn inner(self, op: &Op<Mid>) -> Dropped;
}

impl Inner for Dropped {
    fn inner(self, op: &Op<Mid>) -> Dropped {
        match op {
            // The first axis counts the iterations, of which there is one.
            Op::Map { .. } | Op::Scan(_) => self.into_iter().filter(|(a, _)| *a > 0).map(|(a, l)| (a - 1, l)).collect(),
            _ => self,
        }
    }
}

struct Run<'c, 'f> {
    c: &'c Continuation<'f>,
    lanes: &'c [Atom],
    /// Dependent variables, without the axes of [`Run::dropped`].
    views: HashMap<Var, Atom>,
    differentiable: bool,
}

impl Run<'_, '_> {
    fn dropped(&self, a: Atom) -> Dropped {
        let mut out = Dropped::new();
        for (level, align) in self.c.flow.on(a, self.c.choice).into_iter().flatten().enumerate() {
            if let Align::Axis(axis, _) = align {
                out.entry(*axis).or_insert(level);
            }
        }
        out
    }

    /// The block's statements from `from` on, then its terms; returns their sum.
    fn block(&mut self, e: &mut Edit<'_>, path: &Path, from: usize) -> Atom {
        let block = self.c.flow.block_at(path);
        let mut costs = Vec::new();
        for (i, stmt) in block.stmts.iter().enumerate().skip(from) {
            let inner = |t: &Term| t.path.len() > path.len() && t.path.starts_with(path) && t.path[path.len()].0 == i;
            let terms = self.c.terms.iter().any(inner);
            if terms || stmt.outs.iter().any(|v| self.c.needed.contains(v)) {
                costs.extend(self.stmt(e, path, i, stmt, terms));
            }
        }
        for t in self.c.terms.iter().filter(|t| t.path == *path) {
            let dropped = self.dropped(t.atom);
            let mut value = self.operand(e, t.atom, &dropped);
            value = e.b.sum_all(value);
            for s in &t.scale {
                value = match s {
                    Scale::Neg => real(&mut e.b, Prim::Neg, &[value]),
                    Scale::Mul(c) => {
                        let c = e.bring(*c);
                        real(&mut e.b, Prim::Mul, &[value, c])
                    }
                    Scale::Div(c) => {
                        let c = e.bring(*c);
                        real(&mut e.b, Prim::Div, &[value, c])
                    }
                };
            }
            costs.push(value);
        }
        crate::expand::sum(&mut e.b, costs)
    }

    /// One statement; returns the cost inside it.
    fn stmt(&mut self, e: &mut Edit<'_>, path: &Path, i: usize, stmt: &Stmt<Mid>, terms: bool) -> Option<Atom> {
        e.b.span = stmt.span;
        let wanted: Vec<usize> = (0..stmt.outs.len()).filter(|k| self.c.needed.contains(&stmt.outs[*k])).collect();
        let inner = |k: usize| path.iter().copied().chain([(i, k)]).collect::<Path>();
        match &stmt.op {
            Op::Map { len, index, body } => {
                if let Some(level) = self.c.matched.get(index) {
                    e.index.insert(*index, self.lanes[*level]);
                    let cost = self.block(e, &inner(0), 0);
                    for k in wanted {
                        let view = self.operand(e, body.results[k], &self.dropped(body.results[k]));
                        self.views.insert(stmt.outs[k], view);
                    }
                    e.index.remove(index);
                    return Some(cost);
                }
                let Open::Map { index: new, .. } = e.open_map(*index, *len) else { return None };
                let cost = self.block(e, &inner(0), 0);
                let mut results: Vec<Atom> =
                    wanted.iter().map(|k| self.operand(e, body.results[*k], &self.dropped(body.results[*k]))).collect();
                results.extend(terms.then_some(cost));
                let body = e.end(results);
                e.index.remove(index);
                let outs = e.b.map(*len, new, body);
                self.outputs(stmt, &wanted, &outs);
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
                self.outputs(stmt, &wanted, &outs);
                terms.then(|| outs[wanted.len()].into())
            }
            op => {
                self.plain(e, stmt, op);
                None
            }
        }
    }

    fn outputs(&mut self, stmt: &Stmt<Mid>, wanted: &[usize], outs: &[Var]) {
        for (k, out) in wanted.iter().zip(outs) {
            self.views.insert(stmt.outs[*k], (*out).into());
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
        let carried: Vec<usize> =
            (0..s.carry.len()).filter(|k| self.c.needed.contains(&s.carry[*k].0) || wanted.contains(k)).collect();
        let mut carry = Vec::new();
        for k in &carried {
            let (v, init) = s.carry[*k];
            let init = self.operand(e, init, &self.dropped(v.into()));
            let ty = e.b.ty(init);
            let new = e.b.fresh("c", ty);
            carry.push((new, init));
        }
        let mut xs = Vec::new();
        for (v, x) in s.xs.iter().filter(|(v, _)| self.c.needed.contains(v)) {
            let target: Dropped = self.dropped((*v).into()).into_iter().map(|(a, l)| (a + 1, l)).collect();
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
        let Open::Map { index, .. } = e.open_map(s.index, s.len) else { return None };
        let cost = self.block(e, path, 0);
        let mut results = Vec::new();
        for k in &carried {
            let target = self.dropped(s.carry[*k].0.into());
            results.push(self.operand(e, s.body.results[*k], &target));
        }
        let stacks: Vec<usize> = wanted.iter().copied().filter(|k| *k >= s.carry.len()).collect();
        for k in &stacks {
            results.push(self.operand(e, s.body.results[*k], &self.dropped(s.body.results[*k])));
        }
        results.extend(terms.then_some(cost));
        let body = e.end(results);
        e.index.remove(&s.index);
        let outs = e.b.scan(Scan { len: s.len, index, carry, xs, body, reverse: s.reverse });
        for (k, out) in carried.iter().zip(&outs) {
            self.views.insert(stmt.outs[*k], (*out).into());
        }
        self.outputs(stmt, &stacks, &outs[carried.len()..]);
        terms.then(|| crate::expand::sum_first(&mut e.b, outs[carried.len() + stacks.len()].into()))
    }

    /// A statement without blocks.
    fn plain(&mut self, e: &mut Edit<'_>, stmt: &Stmt<Mid>, op: &Op<Mid>) {
        let Some(first) = stmt.outs.first() else { return };
        let target = self.dropped((*first).into());
        let kept = |d: &Dropped, axis: usize| axis - d.keys().filter(|a| **a < axis).count();
        let none = Dropped::new();
        let full = self.c.flow.func.ty(*first).clone();
        let shape: Vec<usize> = full.shape.iter().enumerate().filter(|(a, _)| !target.contains_key(a)).map(|(_, n)| *n).collect();
        let ty = Ty::new(full.dtype, shape.clone());
        let name = self.c.flow.func.vars[first.index()].name.clone();
        let new = match op {
            Op::Random(MidRandom::Mark { x, .. }) if !self.differentiable => {
                let v = self.operand(e, *x, &target);
                self.views.insert(*first, v);
                return;
            }
            Op::Prim(p, args) => {
                let args = args.iter().map(|a| {
                    let scalar = self.c.flow.func.atom_ty(*a).is_scalar();
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
                let rank = self.c.flow.func.atom_ty(*x).rank();
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
                let matched = self.c.flow.on(*x, self.c.choice).and_then(|al| {
                    let v = idx.var()?;
                    al.iter()
                        .position(|a| *a == Align::Axis(*batch, crate::scope::Order::Same))
                        .filter(|l| self.c.matched.get(&v) == Some(l))
                });
                let indices = self.c.flow.func.atom_ty(*idx).rank();
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
                let info = &self.c.flow.func.vars[v.index()];
                (info.name.clone(), info.ty.clone())
            }))
            .collect();
        let outs = e.b.emit(new, outs);
        self.views.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
    }

    /// An operand of the program without the axes in `target`: at this lane there, and with this lane replaced elsewhere.
    fn operand(&self, e: &mut Edit<'_>, a: Atom, target: &Dropped) -> Atom {
        let ty = self.c.flow.func.atom_ty(a);
        let view = a.var().and_then(|v| self.views.get(&v)).copied();
        let have = if view.is_some() { self.dropped(a) } else { Dropped::new() };
        if let (Some(v), true) = (view, have == *target) {
            return v;
        }
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
        let wanted: Vec<(usize, usize)> = target.iter().map(|(a, l)| (*a, *l)).collect();
        let Some(view) = view else {
            let x = e.bring(a);
            return take(e, x, all, &wanted);
        };
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
