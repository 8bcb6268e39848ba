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
use crate::scope::{Align, Bits, Deps, Flow, Path, Scale, Term};
use ppl_core::{Atom, DType, Func, Op, Prim, Scan, Stmt, Ty, Var};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// Axes that a view lacks, and the level of the choice's loops that each belongs to.
type Dropped = BTreeMap<usize, usize>;

/// What the replays of one program share.
pub(crate) struct Base<'f> {
    pub(crate) flow: Flow<'f>,
    terms: Vec<Term>,
    /// For each choice, the numbers of the terms that depend on it.
    reaching: Vec<Bits>,
}

/// The continuations of one program's choices.
pub(crate) struct Replays<'f> {
    func: &'f Func<Mid>,
    result: Atom,
    /// Which terms count.
    keep: fn(&Term) -> bool,
    base: Rc<Base<'f>>,
}

impl<'f> Base<'f> {
    fn new(func: &'f Func<Mid>, result: Atom, keep: fn(&Term) -> bool, unmatched: HashSet<Var>) -> Self {
        let flow = Flow::strict(func, unmatched);
        let terms: Vec<Term> = flow.terms(result).into_iter().filter(keep).collect();
        let reaching = flow.reaching(&terms);
        Base { flow, terms, reaching }
    }
}

impl<'f> Replays<'f> {
    pub(crate) fn new(func: &'f Func<Mid>, result: Atom, keep: fn(&Term) -> bool) -> Self {
        Replays { func, result, keep, base: Rc::new(Base::new(func, result, keep, HashSet::new())) }
    }

    /// The continuation of the choice made by statement `stmt` of the block at `path`.
    pub(crate) fn of(&self, choice: Var, path: &Path, stmt: usize) -> Continuation<'f> {
        let number = self.base.flow.numbers.of(choice).map_or_else(Bits::default, Bits::one);
        self.of_set(number, Some(choice), path, stmt)
    }

    /// The continuation of all choices of a group, each in lanes of its own; the first is made by statement `stmt` of the block at `path`.
    /// `None` where a value's lanes do not correspond to those of all of them in the same way.
    pub(crate) fn of_group(&self, group: Group, path: &Path, stmt: usize) -> Option<Continuation<'f>> {
        let mut c = self.of_set(group.choices.clone(), None, path, stmt);
        let alike = |d: &Deps| d.classes().filter(|(_, b)| b.meets(&c.choices)).count() == 1;
        let ok = c.needed.iter().all(|v| c.base.flow.deps.get(v).is_some_and(alike)) && c.terms.iter().all(|t| alike(&t.deps));
        c.group = Some(group);
        ok.then_some(c)
    }

    fn of_set(&self, choices: Bits, choice: Option<Var>, path: &Path, stmt: usize) -> Continuation<'f> {
        let own: HashSet<Var> = crate::scope::loops(self.func, path).iter().map(|l| l.index).collect();
        let mut unmatched = HashSet::new();
        let mut base = self.base.clone();
        loop {
            let mut numbers = Bits::default();
            choices.iter().for_each(|c| numbers.union(&base.reaching[c]));
            let terms: Vec<Term> = numbers.iter().map(|n| base.terms[n].clone()).collect();
            let mut c = Continuation {
                base: base.clone(),
                choice,
                choices: choices.clone(),
                path: path.clone(),
                stmt,
                terms,
                needed: BTreeSet::new(),
                matched: HashMap::new(),
                statements: HashMap::new(),
                group: None,
            };
            c.need();
            let mixed = c.matching(&own);
            if mixed.is_empty() {
                c.index();
                return c;
            }
            unmatched.extend(mixed);
            base = Rc::new(Base::new(self.func, self.result, self.keep, unmatched.clone()));
        }
    }
}

/// Choices of one block that are replaced in the same run, in lanes of their own.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The numbers of the choices.
    pub(crate) choices: Bits,
    /// First lane and number of lanes of each.
    pub(crate) lanes: HashMap<usize, (usize, usize)>,
    /// Number of lanes of all.
    pub(crate) len: usize,
}

/// What a choice's replays need, computed once.
pub(crate) struct Continuation<'f> {
    pub(crate) base: Rc<Base<'f>>,
    /// The choice, if it is a single one.
    choice: Option<Var>,
    choices: Bits,
    path: Path,
    stmt: usize,
    /// The terms that depend on it.
    pub(crate) terms: Vec<Term>,
    pub(crate) needed: BTreeSet<Var>,
    /// Loops of which one iteration is repeated, with the level.
    matched: HashMap<Var, usize>,
    /// By block, the statements that are repeated, and whether terms stand in them.
    statements: HashMap<Path, BTreeMap<usize, bool>>,
    group: Option<Group>,
}

impl Continuation<'_> {
    fn aligned<'d>(&self, deps: &'d Deps) -> Option<&'d Vec<Align>> {
        deps.classes().find(|(_, b)| b.meets(&self.choices)).map(|(a, _)| a)
    }

    /// How an operand's lanes correspond to the choice's.
    fn on(&self, a: Atom) -> Option<&Vec<Align>> {
        self.aligned(self.base.flow.deps.get(&a.var()?)?)
    }

    /// Finds what the terms are made from, as far as it depends on the choice.
    fn need(&mut self) {
        let flow = &self.base.flow;
        let mut work: Vec<Atom> = self.terms.iter().map(|t| t.atom).collect();
        for t in &self.terms {
            for n in 0..t.path.len() {
                if let Op::If { cond, .. } = &flow.block_at(&t.path[..n]).stmts[t.path[n].0].op {
                    work.push(*cond);
                }
            }
        }
        let mut needed: BTreeSet<Var> = BTreeSet::new();
        // A term that depends on the choice through branches alone is computed again where it stands.
        needed.extend(self.terms.iter().filter_map(|t| t.atom.var()));
        let mut seen: HashSet<Var> = HashSet::new();
        while let Some(a) = work.pop() {
            let Some(v) = a.var().filter(|v| seen.insert(*v)) else { continue };
            if self.on(a).is_some() {
                needed.insert(v);
                work.extend(flow.parents(v));
            }
        }
        self.needed = needed;
    }

    /// Finds the loops of which one iteration is repeated; returns those in which lanes correspond for some values only.
    fn matching(&mut self, own: &HashSet<Var>) -> Vec<Var> {
        let mut found: BTreeMap<Var, BTreeSet<Option<usize>>> = BTreeMap::new();
        let mut add = |path: &Path, aligns: &[Align]| {
            for l in self.base.flow.loops(path).iter().filter(|l| !l.scan && !own.contains(&l.index)) {
                let level = aligns.iter().position(|a| matches!(a, Align::Loop(m, _) if *m == l.index));
                found.entry(l.index).or_default().insert(level);
            }
        };
        for v in &self.needed {
            if let (Some(path), Some(aligns)) = (self.base.flow.at.get(v), self.on(Atom::Var(*v))) {
                add(path, aligns);
            }
        }
        for t in &self.terms {
            if let Some(aligns) = self.aligned(&t.deps) {
                add(&t.path, aligns);
            }
        }
        let mut mixed = Vec::new();
        for (index, levels) in found {
            match levels.into_iter().collect::<Vec<_>>()[..] {
                [Some(level)] => {
                    self.matched.insert(index, level);
                }
                [] | [None] => {}
                _ => mixed.push(index),
            }
        }
        mixed
    }

    /// Lists the statements that are repeated.
    fn index(&mut self) {
        for v in &self.needed {
            if let Some((path, i)) = self.base.flow.def(*v) {
                self.statements.entry(path.clone()).or_default().entry(*i).or_insert(false);
            }
        }
        for t in &self.terms {
            for n in 0..t.path.len() {
                self.statements.entry(t.path[..n].to_vec()).or_default().insert(t.path[n].0, true);
            }
        }
    }

    /// Emits `k(x)` in the nest of `e` that is open for the choice's path; `lanes` are the nest's indices by level.
    ///
    /// `differentiable`: other choices in the continuation keep their strategies.
    pub(crate) fn run(&self, e: &mut Edit<'_>, x: Atom, lanes: &[Atom], differentiable: bool) -> Atom {
        let views = self.choice.map(|c| (c, x)).into_iter().collect();
        let r = Run { c: self, lanes, views, differentiable, lane: None };
        self.outward(e, r, self.path.len(), None)
    }

    /// Emits the costs of all lanes of a group as an array; `xs` are the values by lane.
    pub(crate) fn run_lanes(&self, e: &mut Edit<'_>, xs: &[Atom], lanes: &[Atom]) -> Atom {
        let lane = e.b.index_var("lane");
        e.begin();
        let r = Run { c: self, lanes, views: HashMap::new(), differentiable: false, lane: Some((lane.into(), xs)) };
        let cost = self.outward(e, r, self.path.len(), None);
        let body = e.end(vec![cost]);
        e.b.map(xs.len(), lane, body)[0].into()
    }

    /// Emits the cost of the lane where the branch at position `depth` of the choice's path was not taken.
    pub(crate) fn skipped(&self, e: &mut Edit<'_>, depth: usize, lanes: &[Atom]) -> Atom {
        let r = Run { c: self, lanes, views: HashMap::new(), differentiable: true, lane: None };
        self.outward(e, r, depth, Some(depth))
    }

    /// The blocks around the choice, from the one at `start` outwards; `skipped`: at this position the other branch's results count.
    fn outward(&self, e: &mut Edit<'_>, mut r: Run<'_, '_>, start: usize, skipped: Option<usize>) -> Atom {
        let saved = e.index.clone();
        let mut costs = Vec::new();
        for n in (0..=start).rev() {
            let path = self.path[..n].to_vec();
            let from = if n == self.path.len() { self.stmt + usize::from(self.group.is_none()) } else { self.path[n].0 + 1 };
            if n < self.path.len() {
                // Leaving a loop or branch: its outputs are what this lane returned.
                let (i, k) = self.path[n];
                let k = if skipped == Some(n) { 1 - k } else { k };
                let stmt = &self.base.flow.block_at(&path).stmts[i];
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
    /// In a group's run: its lane, and the values of all lanes.
    lane: Option<(Atom, &'c [Atom])>,
}

impl Run<'_, '_> {
    fn dropped(&self, a: Atom) -> Dropped {
        let mut out = Dropped::new();
        for (level, align) in self.c.on(a).into_iter().flatten().enumerate() {
            if let Align::Axis(axis, _) = align {
                out.entry(*axis).or_insert(level);
            }
        }
        out
    }

    /// The block's statements from `from` on, then its terms; returns their sum.
    fn block(&mut self, e: &mut Edit<'_>, path: &Path, from: usize) -> Atom {
        let block = self.c.base.flow.block_at(path);
        let mut costs = Vec::new();
        for (i, terms) in self.c.statements.get(path).into_iter().flat_map(|s| s.range(from..)) {
            costs.extend(self.stmt(e, path, *i, &block.stmts[*i], *terms));
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
                        .filter(|l| self.c.matched.get(&v) == Some(l))
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
        let ty = self.c.base.flow.func.atom_ty(a);
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
