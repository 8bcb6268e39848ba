//! Which costs depend on which choices, and where.
//!
//! in:    a program between `Est` and `Det`, its estimate
//! out:   the estimate as a sum of terms, and for each variable the choices that it depends on, lane by lane
//!
//! Terms (the estimate, all elements summed):
//!
//! ```text
//!   T[ a + b ] = T[a] + T[b]      T[ -a ] = -T[a]      T[ c * a ] = c * T[a]      T[ a / c ] = T[a] / c      (c: no choice reaches it)
//!   T[ c * a ] = c * T[a]                                where a choice is made inside the sum `a`, and `c` is known before
//!   T[ concat(a, b) ] = T[a] + T[b]
//!   T[ sum(a) ] = T[a]            T[ (map i { r })] = T[r] in the body, once an iteration;  the same for stacks of a scan
//!   T[ if c { a } else { b } ] = T[a] in one branch + T[b] in the other
//!   T[ stop(a) ] = a, which is no cost: no gradient is wanted of it
//!   T[ a ] = a otherwise: what is not additive is one term
//! ```
//!
//! Dependence of `v` on a choice inside loops `l1 .. ln`, for each of them:
//!
//! ```text
//!   loop m      `v` stands in an iteration of `m`, and depends on the choice's lane of that number (same);
//!               on that and earlier ones (after); on that and later ones (before, where the scan runs backwards)
//!   axis a      the same for the elements of `v` along its axis `a`
//!   all         `v` depends on every lane
//! ```
//!
//! A map turns `loop m` into axis 0 of its outputs, indexing by a loop's index turns it back: so lanes keep together
//! from one plate to the next (a guide's plate and the model's). A carry turns `same` into `after`.

mod bits;
mod deps;

use crate::strategies::mid::{Mid, MidRandom};
pub(crate) use bits::Bits;
pub(crate) use deps::{Deps, Numbers};
use ppl_core::{Atom, Block, Func, Op, Prim, ReduceOp, Var};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Lanes relative to a choice's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Same,
    After,
    Before,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Loop(Var, Order),
    Axis(usize, Order),
    All,
}

/// A position in a function: statements with blocks, and which block, outermost first.
pub(crate) type Path = Vec<(usize, usize)>;

/// A loop around a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loop {
    pub(crate) index: Var,
    pub(crate) len: usize,
    pub(crate) scan: bool,
}

/// How a term is scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    Neg,
    Mul(Atom),
    Div(Atom),
}

impl Scale {
    /// What is multiplied or divided by.
    pub(crate) fn factor(self) -> Option<Atom> {
        match self {
            Scale::Neg => None,
            Scale::Mul(c) | Scale::Div(c) => Some(c),
        }
    }
}

/// One summand of the estimate: every element of `atom`, in every iteration of the loops on `path`.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) path: Path,
    pub(crate) atom: Atom,
    pub(crate) scale: Vec<Scale>,
    /// Whether it is under `stop`.
    pub(crate) stopped: bool,
    pub(crate) deps: Deps,
}

/// What a scan's body sees of it.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Carry(usize),
    Slice(usize),
}

/// What is known of a function.
pub(crate) struct Flow<'f> {
    pub(crate) func: &'f Func<Mid>,
    /// By variable; none for those that no choice reaches.
    pub(crate) deps: HashMap<Var, Deps>,
    /// The block that defines each variable; absent for parameters.
    pub(crate) at: HashMap<Var, Path>,
    /// Statement that defines each output.
    defs: HashMap<Var, (Path, usize)>,
    /// The scan that each carry and slice belongs to, and its number among them.
    bound: HashMap<Var, (Path, usize, Bound)>,
    /// Choices reached through the conditions around each branch.
    control: HashMap<Path, Deps>,
    /// Every choice, in program order, with the block and statement that make it.
    pub(crate) choices: Vec<(Var, Path, usize)>,
    /// Loops whose lanes are not matched with a choice's.
    unmatched: HashSet<Var>,
    /// The choices' numbers.
    pub(crate) numbers: Rc<Numbers>,
    /// Only what a replay can follow is matched.
    strict: bool,
    /// Draws after this choice count as depending on it.
    fresh: Option<Place>,
    /// The plan of each choice, by number. Runs of one continuation make a choice again by the same plan, on the same random numbers.
    plans: HashMap<usize, usize>,
}

/// A choice: the variable, and the block and the statement that make it.
pub(crate) type Place = (Var, Path, usize);

impl<'f> Flow<'f> {
    /// Analyses `func`.
    pub(crate) fn new(func: &'f Func<Mid>) -> Self {
        Self::with(func, false, HashSet::new(), None)
    }

    /// Analyses `func` for a replay: slices of scans and the loops in `unmatched` are not matched lane by lane, nor are earlier or later steps.
    ///
    /// `fresh`: a choice whose continuation is run on random numbers of its own, so that whatever is drawn later depends on it.
    pub(crate) fn strict(func: &'f Func<Mid>, unmatched: HashSet<Var>, fresh: Option<Place>) -> Self {
        Self::with(func, true, unmatched, fresh)
    }

    fn with(func: &'f Func<Mid>, strict: bool, unmatched: HashSet<Var>, fresh: Option<Place>) -> Self {
        let mut known = Vec::new();
        choices(&func.body, &mut known);
        let mut flow = Flow {
            func,
            numbers: Rc::new(Numbers::new(&known)),
            deps: HashMap::new(),
            at: HashMap::new(),
            defs: HashMap::new(),
            bound: HashMap::new(),
            control: HashMap::new(),
            choices: Vec::new(),
            unmatched,
            strict,
            fresh,
            plans: HashMap::new(),
        };
        flow.block(&func.body, &mut Vec::new(), &mut Vec::new(), &Deps::default(), true);
        flow
    }

    /// Choices that reach an operand.
    pub(crate) fn of(&self, a: Atom) -> Deps {
        a.var().and_then(|v| self.deps.get(&v).cloned()).unwrap_or_default()
    }

    /// The statement that defines an output, with its block.
    pub(crate) fn def(&self, v: Var) -> Option<&(Path, usize)> {
        self.defs.get(&v)
    }

    /// What a variable is made from, in one step.
    pub(crate) fn parents(&self, v: Var) -> Vec<Atom> {
        if let Some((path, i, bound)) = self.bound.get(&v) {
            let Op::Scan(s) = &self.block_at(path).stmts[*i].op else { return Vec::new() };
            return match bound {
                Bound::Carry(k) => vec![s.carry[*k].1, s.body.results[*k]],
                Bound::Slice(k) => vec![s.xs[*k].1],
            };
        }
        let Some((path, i)) = self.defs.get(&v) else { return Vec::new() };
        let stmt = &self.block_at(path).stmts[*i];
        let blocks = ppl_core::op_blocks(&stmt.op);
        if blocks.is_empty() {
            return ppl_core::op_atoms(&stmt.op);
        }
        let k = stmt.outs.iter().position(|o| *o == v).unwrap_or(0);
        let cond = if let Op::If { cond, .. } = &stmt.op { Some(*cond) } else { None };
        blocks.into_iter().filter_map(|b| b.results.get(k).copied()).chain(cond).collect()
    }

    /// The block at `path`.
    pub(crate) fn block_at(&self, path: &[(usize, usize)]) -> &'f Block<Mid> {
        let mut block = &self.func.body;
        for (stmt, k) in path {
            block = ppl_core::op_blocks(&block.stmts[*stmt].op)[*k];
        }
        block
    }

    /// Loops on `path`, outermost first.
    pub(crate) fn loops(&self, path: &[(usize, usize)]) -> Vec<Loop> {
        loops(self.func, path)
    }

    fn block(&mut self, block: &Block<Mid>, path: &mut Path, loops: &mut Vec<Loop>, control: &Deps, last: bool) {
        for (i, stmt) in block.stmts.iter().enumerate() {
            for v in &stmt.outs {
                self.at.insert(*v, path.clone());
                self.defs.insert(*v, (path.clone(), i));
            }
            let outs: Vec<Deps> = match &stmt.op {
                Op::If { cond, then, els } => {
                    let cond = self.of(*cond);
                    let inner = join(control.clone(), &cond);
                    for (k, b) in [then, els].into_iter().enumerate() {
                        path.push((i, k));
                        self.control.insert(path.clone(), inner.clone());
                        self.block(b, path, loops, &inner, last);
                        path.pop();
                    }
                    let pairs = then.results.iter().zip(&els.results);
                    pairs.map(|(t, e)| join(join(self.of(*t), &self.of(*e)), &cond)).collect()
                }
                Op::Map { len, index, body } => {
                    path.push((i, 0));
                    loops.push(Loop { index: *index, len: *len, scan: false });
                    self.at.insert(*index, path.clone());
                    self.block(body, path, loops, control, last);
                    loops.pop();
                    path.pop();
                    body.results.iter().map(|r| stacked(self.of(*r), *index)).collect()
                }
                Op::Scan(s) => {
                    path.push((i, 0));
                    loops.push(Loop { index: s.index, len: s.len, scan: true });
                    self.at.insert(s.index, path.clone());
                    let outer = path[..path.len() - 1].to_vec();
                    for (k, (v, _)) in s.xs.iter().enumerate() {
                        self.bound.insert(*v, (outer.clone(), i, Bound::Slice(k)));
                    }
                    for (k, (v, _)) in s.carry.iter().enumerate() {
                        self.bound.insert(*v, (outer.clone(), i, Bound::Carry(k)));
                    }
                    for (v, a) in &s.xs {
                        self.at.insert(*v, path.clone());
                        let d = join(each(self.of(*a), |x| self.sliced(x, s.index)), control);
                        self.set(*v, d);
                    }
                    for (v, a) in &s.carry {
                        self.at.insert(*v, path.clone());
                        let d = join(self.of(*a), control);
                        self.set(*v, d);
                    }
                    loop {
                        let known = self.choices.len();
                        self.block(&s.body, path, loops, control, false);
                        self.choices.truncate(known);
                        let mut changed = false;
                        for ((v, _), next) in s.carry.iter().zip(&s.body.results) {
                            let old = self.of(Atom::Var(*v));
                            let new = join(old.clone(), &carried(self.of(*next), s.index, s.reverse));
                            changed |= new != old;
                            self.set(*v, new);
                        }
                        if !changed {
                            break;
                        }
                    }
                    if last {
                        self.block(&s.body, path, loops, control, true);
                    }
                    loops.pop();
                    path.pop();
                    let n = s.carry.len();
                    let out = |(k, r): (usize, &Atom)| {
                        let d = self.of(*r);
                        if k < n { left(d, s.index) } else { stacked(if self.strict { steps(d, s.index) } else { d }, s.index) }
                    };
                    s.body.results.iter().enumerate().map(out).collect()
                }
                op => {
                    let mut d = Deps::default();
                    for (k, a) in ppl_core::op_atoms(op).into_iter().enumerate() {
                        if let Some(own) = a.var().and_then(|v| self.deps.get(&v)) {
                            d = join(d, &each(own.clone(), |x| self.moved(op, k, x)));
                        }
                    }
                    if let (Op::Random(MidRandom::Rng(_) | MidRandom::Split { .. }), Some(place)) = (op, &self.fresh)
                        && let Some(aligns) = self.later(place, path, i)
                    {
                        d = join(d, &Deps::of_choice(&self.numbers, place.0, aligns));
                    }
                    if let Op::Random(MidRandom::Mark { .. } | MidRandom::Split { .. }) = op {
                        let out = stmt.outs[0];
                        // Joined, not replaced: a scan's step may depend on the same choice in earlier ones.
                        let own = loops.iter().map(|l| Align::Loop(l.index, Order::Same)).collect();
                        if let (Op::Random(MidRandom::Mark { plan, .. } | MidRandom::Split { plan, .. }), Some(n)) =
                            (op, self.numbers.of(out))
                        {
                            self.plans.insert(n, *plan);
                        }
                        d = join(d, &Deps::of_choice(&self.numbers, out, own));
                        self.choices.push((out, path.clone(), i));
                    }
                    vec![d; stmt.outs.len()]
                }
            };
            for (v, d) in stmt.outs.iter().zip(outs) {
                // What a branch computes exists where its condition holds only.
                self.set(*v, join(d, control));
            }
        }
    }

    /// How statement `i` of the block at `path` is aligned with a choice before it; `None` where it is not after it.
    fn later(&self, (_, own, stmt): &Place, path: &Path, i: usize) -> Option<Vec<Align>> {
        let common = own.iter().zip(path).take_while(|(a, b)| a == b).count();
        let position = |p: &Path, last: usize| p.get(common).map_or(last, |s| s.0);
        let (mine, its) = (position(own, *stmt), position(path, i));
        let shared = self.loops(&path[..common]);
        let again = shared.iter().any(|l| l.scan);
        if its <= mine && !again {
            return None;
        }
        let aligns = self.loops(own).into_iter().map(|l| match (shared.contains(&l), l.scan) {
            (true, true) => Align::Loop(l.index, Order::After),
            (true, false) => Align::Loop(l.index, Order::Same),
            (false, _) => Align::All,
        });
        Some(aligns.collect())
    }

    fn set(&mut self, v: Var, d: Deps) {
        if d.is_empty() {
            self.deps.remove(&v);
        } else {
            self.deps.insert(v, d);
        }
    }

    /// Inside a scan, of an array that it slices.
    fn sliced(&self, a: Align, index: Var) -> Align {
        match a {
            Align::Axis(0, o) if !self.strict => Align::Loop(index, o),
            Align::Axis(0, _) => Align::All,
            Align::Axis(n, o) => Align::Axis(n - 1, o),
            other => other,
        }
    }

    /// The result of `op`, whose operand number `k` is aligned by `a`.
    fn moved(&self, op: &Op<Mid>, k: usize, a: Align) -> Align {
        let Align::Axis(axis, order) = a else { return a };
        let to = |axis: usize| Align::Axis(axis, order);
        match op {
            Op::Prim(..) | Op::Stop(_) => a,
            Op::Random(MidRandom::Mark { .. }) if k == 0 => a,
            Op::Broadcast { axes, .. } => to(axes[axis]),
            Op::Reduce { axes, .. } if !axes.contains(&axis) => to(axis - axes.iter().filter(|r| **r < axis).count()),
            Op::Transpose { perm, .. } => perm.iter().position(|p| *p == axis).map_or(Align::All, to),
            Op::Gather { idx, batch, x } if k == 0 => {
                let indices = self.func.atom_ty(*idx).rank();
                match axis.cmp(batch) {
                    std::cmp::Ordering::Less if !self.strict => a,
                    std::cmp::Ordering::Less => Align::All,
                    std::cmp::Ordering::Equal => self.matched(*idx, self.func.atom_ty(*x).shape[axis], order),
                    std::cmp::Ordering::Greater if self.strict && (indices > 0 || *batch > 0) => Align::All,
                    std::cmp::Ordering::Greater => to(axis + indices - batch - 1),
                }
            }
            Op::CumSum { axis: c, reverse, .. } if !self.strict => match (axis == *c, order, *reverse) {
                (false, ..) => a,
                (true, Order::Same | Order::After, false) => Align::Axis(axis, Order::After),
                (true, Order::Same | Order::Before, true) => Align::Axis(axis, Order::Before),
                (true, ..) => Align::All,
            },
            Op::Gather { .. } if !self.strict => a,
            Op::Slice { axis: c, .. } | Op::Pad { axis: c, .. } | Op::Concat { axis: c, .. } | Op::Reverse { axis: c, .. }
                if !self.strict && axis != *c =>
            {
                a
            }
            _ => Align::All,
        }
    }

    /// `x[idx]` where `x` is aligned along the indexed axis.
    fn matched(&self, idx: Atom, len: usize, order: Order) -> Align {
        let Some(v) = idx.var() else { return Align::All };
        let is_index = self.at.get(&v).and_then(|p| self.loops(p).pop()).filter(|l| l.index == v && l.len == len);
        match is_index {
            Some(l) if !(self.unmatched.contains(&v) || self.strict && l.scan) => Align::Loop(v, order),
            _ => Align::All,
        }
    }

    /// For each choice, by its number, the numbers of the terms that depend on it.
    pub(crate) fn reaching(&self, terms: &[Term]) -> Vec<Bits> {
        let mut out = vec![Bits::default(); self.choices.len()];
        for (n, t) in terms.iter().enumerate() {
            t.deps.all().iter().for_each(|c| out[c].insert(n));
        }
        out
    }

    /// The sum of every element of `result` as terms.
    pub(crate) fn terms(&self, result: Atom) -> Vec<Term> {
        let mut out = Vec::new();
        self.decompose(result, Vec::new(), Vec::new(), &mut out);
        out
    }

    /// Whether two of these sets have different choices of one plan: runs that share their random numbers.
    fn share(&self, sets: &[Bits]) -> bool {
        let mut seen: HashMap<usize, usize> = HashMap::new();
        sets.iter().flat_map(Bits::iter).any(|c| {
            let Some(plan) = self.plans.get(&c) else { return false };
            *seen.entry(*plan).or_insert(c) != c
        })
    }

    /// Whether the term depends on two runs that share their random numbers: a score in one of them would not be independent of the other's cost.
    pub(crate) fn mixes_runs(&self, term: &Term) -> bool {
        self.share(&[term.deps.all()])
    }

    /// Whether `atom`, in the block at `path`, is a sum of runs, or one inside of which a choice is made, after `factor` is known.
    fn sum_of_choices(&self, atom: Atom, factor: Atom, path: &Path) -> bool {
        let Some((own, i)) = atom.var().and_then(|v| self.defs.get(&v)) else { return false };
        if own != path {
            return false;
        }
        match &self.block_at(own).stmts[*i].op {
            Op::Prim(Prim::Add | Prim::Sub, xs) if self.share(&[self.of(xs[0]).all(), self.of(xs[1]).all()]) => true,
            Op::Concat { xs, .. } if self.share(&xs.iter().map(|x| self.of(*x).all()).collect::<Vec<_>>()) => true,
            Op::Prim(Prim::Add | Prim::Sub | Prim::Neg | Prim::Mul, xs) | Op::Concat { xs, .. } => {
                xs.iter().any(|x| self.sum_of_choices(*x, factor, path))
            }
            Op::Reduce { op: ReduceOp::Sum, x, .. }
            | Op::Reshape { x, .. }
            | Op::Transpose { x, .. }
            | Op::Broadcast { x, .. } => self.sum_of_choices(*x, factor, path),
            Op::Map { .. } | Op::If { .. } => {
                let inside = |k: usize| path.iter().copied().chain([(*i, k)]).collect::<Path>();
                let (then, els) = (inside(0), inside(1));
                let def = factor.var().and_then(|v| self.defs.get(&v));
                if def.is_some_and(|(p, n)| p == path && n >= i) {
                    return false;
                }
                self.choices.iter().any(|(_, p, _)| p.starts_with(&then) || p.starts_with(&els))
            }
            _ => false,
        }
    }

    fn decompose(&self, atom: Atom, path: Path, scale: Vec<Scale>, out: &mut Vec<Term>) {
        let scaled = |s: Scale| scale.iter().copied().chain([s]).collect::<Vec<_>>();
        let within = |i: usize, k: usize| path.iter().copied().chain([(i, k)]).collect::<Path>();
        let def = atom.var().and_then(|v| self.defs.get(&v).map(|d| (v, d))).filter(|(_, (p, _))| *p == path);
        let stmt = def.map(|(v, (p, i))| (v, *i, &self.block_at(p).stmts[*i]));
        let rank = |a: Atom| self.func.atom_ty(a).rank();
        let free = |a: Atom| rank(a) == 0 && self.of(a).is_empty();
        if let Some((v, i, stmt)) = stmt {
            match &stmt.op {
                Op::Prim(p @ (Prim::Add | Prim::Sub), xs) if xs.iter().all(|x| rank(*x) == rank(atom)) => {
                    self.decompose(xs[0], path.clone(), scale.clone(), out);
                    let second = if *p == Prim::Sub { scaled(Scale::Neg) } else { scale };
                    return self.decompose(xs[1], path, second, out);
                }
                Op::Prim(Prim::Neg, xs) => return self.decompose(xs[0], path, scaled(Scale::Neg), out),
                Op::Prim(Prim::Mul, xs) if free(xs[0]) && rank(xs[1]) == rank(atom) => {
                    return self.decompose(xs[1], path, scaled(Scale::Mul(xs[0])), out);
                }
                Op::Prim(Prim::Mul, xs) if free(xs[1]) && rank(xs[0]) == rank(atom) => {
                    return self.decompose(xs[0], path, scaled(Scale::Mul(xs[1])), out);
                }
                Op::Prim(Prim::Mul, xs) if rank(xs[0]) == 0 && rank(atom) == 0 && self.sum_of_choices(xs[1], xs[0], &path) => {
                    return self.decompose(xs[1], path, scaled(Scale::Mul(xs[0])), out);
                }
                Op::Prim(Prim::Mul, xs) if rank(xs[1]) == 0 && rank(atom) == 0 && self.sum_of_choices(xs[0], xs[1], &path) => {
                    return self.decompose(xs[0], path, scaled(Scale::Mul(xs[1])), out);
                }
                Op::Prim(Prim::Div, xs) if free(xs[1]) && rank(xs[0]) == rank(atom) => {
                    return self.decompose(xs[0], path, scaled(Scale::Div(xs[1])), out);
                }
                Op::Reduce { op: ReduceOp::Sum, x, .. } | Op::Reshape { x, .. } | Op::Transpose { x, .. } => {
                    return self.decompose(*x, path, scale, out);
                }
                Op::Concat { xs, .. } => return xs.iter().for_each(|x| self.decompose(*x, path.clone(), scale.clone(), out)),
                Op::Broadcast { x, shape, .. } => {
                    let times = shape.iter().product::<usize>() / self.func.atom_ty(*x).numel().max(1);
                    let scale = if times == 1 { scale } else { scaled(Scale::Mul(Atom::float(times as f64))) };
                    return self.decompose(*x, path, scale, out);
                }
                Op::Map { body, .. } => {
                    if let Some(k) = stmt.outs.iter().position(|o| *o == v) {
                        return self.decompose(body.results[k], within(i, 0), scale, out);
                    }
                }
                Op::Scan(s) => {
                    if let Some(k) = stmt.outs.iter().position(|o| *o == v).filter(|k| *k >= s.carry.len()) {
                        return self.decompose(s.body.results[k], within(i, 0), scale, out);
                    }
                }
                Op::If { then, els, .. } => {
                    if let Some(k) = stmt.outs.iter().position(|o| *o == v) {
                        self.decompose(then.results[k], within(i, 0), scale.clone(), out);
                        return self.decompose(els.results[k], within(i, 1), scale, out);
                    }
                }
                _ => {}
            }
        }
        if matches!(atom, Atom::Lit(ppl_core::Lit::Float(0.0))) {
            return;
        }
        let mut deps = self.of(atom);
        for n in 1..=path.len() {
            if let Some(c) = self.control.get(&path[..n]) {
                deps = join(deps, c);
            }
        }
        for c in scale.iter().filter_map(|s| s.factor()) {
            deps = join(deps, &self.of(c));
        }
        let stopped = stmt.is_some_and(|(_, _, s)| matches!(s.op, Op::Stop(_)));
        out.push(Term { path, atom, scale, stopped, deps });
    }
}

/// Loops on `path`, outermost first.
pub(crate) fn loops(func: &Func<Mid>, path: &[(usize, usize)]) -> Vec<Loop> {
    let mut out = Vec::new();
    let mut block = &func.body;
    for (stmt, k) in path {
        let op = &block.stmts[*stmt].op;
        match op {
            Op::Map { len, index, .. } => out.push(Loop { index: *index, len: *len, scan: false }),
            Op::Scan(s) => out.push(Loop { index: s.index, len: s.len, scan: true }),
            _ => {}
        }
        block = ppl_core::op_blocks(op)[*k];
    }
    out
}

fn join(a: Deps, b: &Deps) -> Deps {
    a.join(b)
}

fn each(d: Deps, f: impl Fn(Align) -> Align) -> Deps {
    d.each(f)
}

/// Every choice, in program order.
fn choices(block: &Block<Mid>, out: &mut Vec<Var>) {
    for stmt in &block.stmts {
        if let Op::Random(MidRandom::Mark { .. } | MidRandom::Split { .. }) = &stmt.op {
            out.push(stmt.outs[0]);
        }
        ppl_core::op_blocks(&stmt.op).into_iter().for_each(|b| choices(b, out));
    }
}

/// The stack that a loop makes of a result.
fn stacked(d: Deps, index: Var) -> Deps {
    each(d, |a| match a {
        Align::Loop(l, o) if l == index => Align::Axis(0, o),
        Align::Axis(n, o) => Align::Axis(n + 1, o),
        other => other,
    })
}

/// Without the order of steps: in a step, either the same one's choice counts or any.
fn steps(d: Deps, index: Var) -> Deps {
    each(d, |a| if matches!(a, Align::Loop(l, o) if l == index && o != Order::Same) { Align::All } else { a })
}

/// The last value of a carry.
fn left(d: Deps, index: Var) -> Deps {
    each(d, |a| if matches!(a, Align::Loop(l, _) if l == index) { Align::All } else { a })
}

/// A carry in the iteration after.
fn carried(d: Deps, index: Var, reverse: bool) -> Deps {
    each(d, |a| match (a, reverse) {
        (Align::Loop(l, Order::Same | Order::After), false) if l == index => Align::Loop(l, Order::After),
        (Align::Loop(l, Order::Same | Order::Before), true) if l == index => Align::Loop(l, Order::Before),
        (Align::Loop(l, _), _) if l == index => Align::All,
        (other, _) => other,
    })
}
