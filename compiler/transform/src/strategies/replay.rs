//! Running a choice's continuation again, for one lane, with another value.
//!
//! ```text
//!   k(x) at lane i  =  the sum of the terms that depend on lane i of the choice, computed from `x` in its place
//! ```
//!
//! Only statements that depend on the choice are repeated; all other values are read from the program's run. Draws keep their sites, so that
//! all calls share their random numbers. In a map whose iterations correspond to the choice's lanes one iteration is repeated; where a value
//! mixes lanes, it is computed with this lane's element replaced. A scan around the choice goes on from its step:
//!
//! ```text
//!   scan t < n carry c { b }, the choice in b at step t    ->    the rest of b at t, with x;
//!                                                                scan u < n carry c' { if u > t { b } else { c' } }, c' from step t
//! ```
//!
//! so all steps' runs are a loop of loops, whose text does not grow with `n`. A variable that is aligned with lanes along some axes is kept without these axes (its *view*).

mod run;

use super::edit::Edit;
use super::mid::Mid;
use crate::scope::{Align, Bits, Deps, Flow, Loop, Order, Path, Term};
use ppl_core::{Atom, Func, Op, Var};
use run::Run;
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
                loops: crate::scope::loops(self.func, path),
                again: HashMap::new(),
                statements: HashMap::new(),
                group: None,
            };
            c.need();
            let mixed = c.matching(&own);
            if mixed.is_empty() {
                c.matching_later();
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
    /// The loops around the choice.
    loops: Vec<Loop>,
    /// Those inside a scan of which one iteration is repeated in the scan's later steps, with the level.
    again: HashMap<Var, usize>,
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
            work.extend(t.scale.iter().filter_map(|s| s.factor()));
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
    ///
    /// An array along the lanes that is read inside such a loop is read at this lane.
    fn matching(&mut self, own: &HashSet<Var>) -> Vec<Var> {
        let levels = self.loops.len();
        // For each loop: the levels that it corresponds to for some value, whether for none, and the levels that could be any value's.
        let mut found: BTreeMap<Var, (BTreeSet<usize>, bool, BTreeSet<usize>)> = BTreeMap::new();
        let mut add = |path: &Path, aligns: &[Align], term: bool| {
            for l in self.base.flow.loops(path).iter().filter(|l| !l.scan && !own.contains(&l.index)) {
                let (some, none, could) = found.entry(l.index).or_insert_with(|| (BTreeSet::new(), false, (0..levels).collect()));
                match aligns.iter().position(|a| matches!(a, Align::Loop(m, _) if *m == l.index)) {
                    Some(level) => {
                        some.insert(level);
                    }
                    None => {
                        *none = true;
                        could.retain(|n| !term && matches!(aligns.get(*n), Some(Align::Axis(..))));
                    }
                }
            }
        };
        for v in &self.needed {
            if let (Some(path), Some(aligns)) = (self.base.flow.at.get(v), self.on(Atom::Var(*v))) {
                add(path, aligns, false);
            }
        }
        for t in &self.terms {
            if let Some(aligns) = self.aligned(&t.deps) {
                add(&t.path, aligns, true);
            }
        }
        let mut mixed = Vec::new();
        for (index, (some, none, could)) in found {
            match some.into_iter().collect::<Vec<_>>()[..] {
                [] => {}
                [level] if !none || could.contains(&level) => {
                    self.matched.insert(index, level);
                }
                _ => mixed.push(index),
            }
        }
        mixed
    }

    /// Finds the maps around the choice of which later steps of a scan repeat one iteration: what depends on the choice there does so lane by lane.
    fn matching_later(&mut self) {
        let first = self.loops.iter().position(|l| l.scan).unwrap_or(self.loops.len());
        for (level, l) in self.loops.iter().enumerate().skip(first).filter(|(_, l)| !l.scan) {
            let inside = |path: &Path| self.base.flow.loops(path).contains(l);
            let same = |aligns: Option<&Vec<Align>>| aligns.is_none_or(|a| a[level] == Align::Loop(l.index, Order::Same));
            let needed = self.needed.iter().filter(|v| self.base.flow.at.get(v).is_some_and(inside));
            if needed.into_iter().all(|v| same(self.on(Atom::Var(*v))))
                && self.terms.iter().filter(|t| inside(&t.path)).all(|t| same(self.aligned(&t.deps)))
            {
                self.again.insert(l.index, level);
            }
        }
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
        let r = Run::new(self, lanes, views, differentiable, None);
        self.outward(e, r, self.path.len(), None)
    }

    /// Emits the costs of all lanes of a group as an array; `xs` are the values by lane.
    pub(crate) fn run_lanes(&self, e: &mut Edit<'_>, xs: &[Atom], lanes: &[Atom]) -> Atom {
        let lane = e.b.index_var("lane");
        e.begin();
        let r = Run::new(self, lanes, HashMap::new(), false, Some((lane.into(), xs)));
        let cost = self.outward(e, r, self.path.len(), None);
        let body = e.end(vec![cost]);
        e.b.map(xs.len(), lane, body)[0].into()
    }

    /// Emits the cost of the lane where the branch at position `depth` of the choice's path was not taken.
    pub(crate) fn skipped(&self, e: &mut Edit<'_>, depth: usize, lanes: &[Atom]) -> Atom {
        let loops = self.base.flow.loops(&self.path[..depth]).len();
        let r = Run::new(self, lanes, HashMap::new(), true, None).outside(loops);
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
                if let Op::Scan(s) = &stmt.op {
                    costs.push(r.rest(e, &self.path[..=n], stmt, s));
                } else {
                    r.leave(e, stmt, k);
                }
            }
            costs.push(r.block(e, &path, from));
        }
        e.index = saved;
        crate::expand::sum(&mut e.b, costs)
    }
}
