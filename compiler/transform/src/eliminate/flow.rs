//! Which values depend on which summed choices, element by element.
//!
//! A choice inside loops is an array. Inside a loop its element is read at the loop's index, so the loop runs along that axis of the choice;
//! loops and axes that run along each other are one *plate*:
//!
//! ```text
//!   e = gather z, i               loop i ~ first axis of z
//!   y = gather x, i; x made by map j { .. }      loop i ~ loop j
//!   y = prim(a, b)                axis k of a ~ axis k of b
//! ```
//!
//! What mixes elements (a reduction other than the final sum, a fixed index) is *coupled*.

use super::Latent;
use ppl_core::{Atom, Block, Est, EstRandom, Func, Op, Prim, ReduceOp, Scan, Stmt, Var};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Statements with blocks, and which block, outermost first.
pub(super) type Path = Vec<(usize, usize)>;

/// What runs along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    Loop(Var),
    Axis(usize, usize),
}

/// A part of a summed choice's array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) latent: usize,
    /// Axes that are left, in order.
    pub(super) axes: Vec<usize>,
    /// Axes that loops have consumed.
    used: Vec<(usize, Var)>,
}

/// One summand of the log weight: the sum of all elements of `atom`, in every round of the loops of `path`.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) path: Path,
    pub(super) atom: Atom,
    pub(super) negated: bool,
    pub(super) deps: BTreeSet<usize>,
}

/// A scan in which choices are summed.
#[derive(Clone, Debug)]
pub(super) struct Chained {
    pub(super) path: Path,
    pub(super) stmt: usize,
    /// The choices of a step.
    pub(super) latents: Vec<usize>,
    /// Number of the state that it hands on, after those of the choices.
    pub(super) state: usize,
}

pub(super) struct Flow<'f> {
    pub(super) f: &'f Func<Est>,
    pub(super) latents: &'f [Latent],
    pub(super) views: HashMap<Var, View>,
    deps: HashMap<Var, BTreeSet<usize>>,
    /// Leading axes of dependent arrays.
    lanes: HashMap<Var, Vec<Option<Node>>>,
    pub(super) coupled: HashMap<Var, String>,
    pub(super) defs: HashMap<Var, (Path, usize)>,
    /// Slices of scans: the array and the scan's index.
    pub(super) slices: HashMap<Var, (Atom, Var)>,
    /// Lengths of loops, by index.
    pub(super) lens: BTreeMap<Var, usize>,
    /// Conditions around the site of a choice: the block's path, condition and branch.
    pub(super) conditions: HashMap<usize, Vec<(Atom, bool)>>,
    pub(super) sites: HashMap<usize, Path>,
    pub(super) chains: Vec<Chained>,
    parent: RefCell<HashMap<Node, Node>>,
}

impl<'f> Flow<'f> {
    pub(super) fn new(f: &'f Func<Est>, latents: &'f [Latent]) -> Self {
        let mut flow = Flow {
            f,
            latents,
            views: HashMap::new(),
            deps: HashMap::new(),
            lanes: HashMap::new(),
            coupled: HashMap::new(),
            defs: HashMap::new(),
            slices: HashMap::new(),
            lens: BTreeMap::new(),
            conditions: HashMap::new(),
            sites: HashMap::new(),
            chains: Vec::new(),
            parent: RefCell::new(HashMap::new()),
        };
        // Plates are known only after all of the program has been seen; chains change what depends on what.
        for _ in 0..3 {
            flow.views.clear();
            flow.deps.clear();
            flow.lanes.clear();
            flow.coupled.clear();
            for (n, l) in latents.iter().enumerate() {
                let axes = (0..f.ty(l.param).rank()).collect();
                flow.views.insert(l.param, View { latent: n, axes, used: Vec::new() });
                flow.deps.insert(l.param, BTreeSet::from([n]));
            }
            flow.block(&f.body, &mut Vec::new(), &mut Vec::new());
            flow.find_chains(&f.body, &mut Vec::new());
        }
        flow
    }

    pub(super) fn of(&self, a: Atom) -> BTreeSet<usize> {
        a.var().and_then(|v| self.deps.get(&v).cloned()).unwrap_or_default()
    }

    fn root(&self, n: Node) -> Node {
        let up = self.parent.borrow().get(&n).copied();
        match up {
            Some(p) if p != n => self.root(p),
            _ => n,
        }
    }

    fn union(&self, a: Node, b: Node) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parent.borrow_mut().insert(a.max(b), a.min(b));
        }
    }

    pub(super) fn same(&self, a: Node, b: Node) -> bool {
        self.root(a) == self.root(b)
    }

    /// Plates of a choice, or of a chain's state, as roots in the order of its axes.
    pub(super) fn plates(&self, latent: usize) -> Vec<Node> {
        match self.latents.get(latent) {
            Some(l) => (0..self.f.ty(l.param).rank()).map(|a| self.root(Node::Axis(latent, a))).collect(),
            None => {
                let c = &self.chains[latent - self.latents.len()];
                let index = self.scan_of(c).index;
                let own = self.root(Node::Loop(index));
                let around: Vec<Node> = self.loops(&c.path).into_iter().map(|(v, _)| self.root(Node::Loop(v))).collect();
                // Of the loops around the scan, those that its choices run along.
                let used: BTreeSet<Node> = c.latents.iter().flat_map(|l| self.plates(*l)).filter(|n| *n != own).collect();
                around.into_iter().filter(|n| used.contains(n)).collect()
            }
        }
    }

    pub(super) fn relevant(&self, deps: &BTreeSet<usize>, n: Node) -> bool {
        let r = self.root(n);
        deps.iter().any(|l| self.plates(*l).contains(&r))
    }

    pub(super) fn block_at(&self, path: &[(usize, usize)]) -> &'f Block<Est> {
        let mut block = &self.f.body;
        for (s, k) in path {
            block = ppl_core::op_blocks(&block.stmts[*s].op)[*k];
        }
        block
    }

    /// Indices and lengths of the loops on a path.
    pub(super) fn loops(&self, path: &[(usize, usize)]) -> Vec<(Var, usize)> {
        let mut out = Vec::new();
        let mut block = &self.f.body;
        for (s, k) in path {
            let op = &block.stmts[*s].op;
            match op {
                Op::Map { index, len, .. } => out.push((*index, *len)),
                Op::Scan(s) => out.push((s.index, s.len)),
                _ => {}
            }
            block = ppl_core::op_blocks(op)[*k];
        }
        out
    }

    pub(super) fn scan_of(&self, c: &Chained) -> &'f Scan<Est> {
        match &self.block_at(&c.path).stmts[c.stmt].op {
            Op::Scan(s) => s,
            _ => panic!("a chain is a scan"),
        }
    }

    fn find_chains(&mut self, block: &'f Block<Est>, path: &mut Path) {
        if path.is_empty() {
            self.chains.clear();
        }
        for (i, s) in block.stmts.iter().enumerate() {
            if let Op::Scan(scan) = &s.op {
                let own = self.root(Node::Loop(scan.index));
                let latents: Vec<usize> = (0..self.latents.len())
                    .filter(|l| {
                        self.plates(*l).contains(&own)
                            && self.sites.get(l).is_some_and(|p| p.starts_with(&[&path[..], &[(i, 0)]].concat()))
                    })
                    .collect();
                if !latents.is_empty() {
                    let state = self.latents.len() + self.chains.len();
                    self.chains.push(Chained { path: path.clone(), stmt: i, latents, state });
                }
            }
            for (k, b) in ppl_core::op_blocks(&s.op).into_iter().enumerate() {
                path.push((i, k));
                self.find_chains(b, path);
                path.pop();
            }
        }
    }

    fn set(&mut self, v: Var, deps: BTreeSet<usize>, lanes: Vec<Option<Node>>, coupled: Option<String>) {
        if deps.is_empty() {
            self.deps.remove(&v);
            return;
        }
        self.deps.insert(v, deps);
        if lanes.iter().any(Option::is_some) {
            self.lanes.insert(v, lanes);
        }
        if let Some(c) = coupled {
            self.coupled.insert(v, c);
        }
    }

    /// Leading axes of an operand.
    pub(super) fn lanes_of(&self, a: Atom) -> Vec<Option<Node>> {
        let Some(v) = a.var() else { return Vec::new() };
        if let Some(view) = self.views.get(&v) {
            return view.axes.iter().map(|a| Some(Node::Axis(view.latent, *a))).collect();
        }
        self.lanes.get(&v).cloned().unwrap_or_default()
    }

    fn block(&mut self, block: &'f Block<Est>, path: &mut Path, conds: &mut Vec<(Atom, bool)>) {
        for (i, s) in block.stmts.iter().enumerate() {
            for v in &s.outs {
                self.defs.insert(*v, (path.clone(), i));
            }
            self.stmt(s, i, path, conds);
        }
    }

    fn stmt(&mut self, s: &'f Stmt<Est>, i: usize, path: &mut Path, conds: &mut Vec<(Atom, bool)>) {
        match &s.op {
            Op::Map { len, index, body } => {
                self.lens.insert(*index, *len);
                path.push((i, 0));
                self.block(body, path, conds);
                path.pop();
                for (out, r) in s.outs.iter().zip(&body.results) {
                    self.stacked(*out, *r, *index);
                }
            }
            Op::Scan(scan) => self.scan(s, scan, i, path, conds),
            Op::If { cond, then, els } => {
                for (k, b) in [then, els].into_iter().enumerate() {
                    path.push((i, k));
                    conds.push((*cond, k == 0));
                    self.block(b, path, conds);
                    conds.pop();
                    path.pop();
                }
                for ((out, a), b) in s.outs.iter().zip(&then.results).zip(&els.results) {
                    let mut deps = self.of(*cond);
                    deps.extend(self.of(*a));
                    deps.extend(self.of(*b));
                    let lanes = self.merged(&[*a, *b]);
                    let coupled = [*cond, *a, *b].iter().find_map(|a| self.coupling(*a));
                    self.set(*out, deps, lanes, coupled);
                }
            }
            Op::Gather { x, idx, batch: 0 } => self.gather(s.outs[0], *x, *idx),
            Op::Transpose { x: Atom::Var(x), perm } if self.views.contains_key(x) => {
                let v = self.views[x].clone();
                let axes = perm.iter().map(|p| v.axes[*p]).collect();
                self.deps.insert(s.outs[0], BTreeSet::from([v.latent]));
                self.views.insert(s.outs[0], View { axes, ..v });
            }
            op => {
                let atoms = ppl_core::op_atoms(op);
                let mut deps = BTreeSet::new();
                atoms.iter().for_each(|a| deps.extend(self.of(*a)));
                if let Op::Random(EstRandom::LogDensity { x: Atom::Var(x), .. }) = op
                    && let Some(View { latent, axes, .. }) = self.views.get(x)
                    && axes.is_empty()
                {
                    self.sites.insert(*latent, path.clone());
                    self.conditions.insert(*latent, conds.clone());
                }
                let mut coupled = atoms.iter().find_map(|a| self.coupling(*a));
                let elementwise = matches!(op, Op::Prim(..) | Op::Stop(_));
                let lanes = if elementwise { self.merged(&atoms) } else { Vec::new() };
                if !elementwise && coupled.is_none() {
                    coupled = atoms.iter().find_map(|a| {
                        let mixes = self.lanes_of(*a).into_iter().flatten().any(|n| self.relevant(&self.of(*a), n));
                        mixes.then(|| self.mixed(&self.of(*a)))
                    });
                }
                for out in &s.outs {
                    self.set(*out, deps.clone(), lanes.clone(), coupled.clone());
                }
            }
        }
    }

    fn mixed(&self, deps: &BTreeSet<usize>) -> String {
        let names: Vec<String> = deps.iter().filter_map(|l| self.latents.get(*l)).map(|l| format!("`{}`", l.name)).collect();
        format!("a value depends on several elements of {} together", names.join(", "))
    }

    fn coupling(&self, a: Atom) -> Option<String> {
        a.var().and_then(|v| self.coupled.get(&v).cloned())
    }

    fn merged(&self, atoms: &[Atom]) -> Vec<Option<Node>> {
        let mut out: Vec<Option<Node>> = Vec::new();
        for a in atoms {
            let lanes = self.lanes_of(*a);
            if out.len() < lanes.len() {
                out.resize(lanes.len(), None);
            }
            for (x, y) in out.iter_mut().zip(lanes) {
                match (*x, y) {
                    (Some(p), Some(q)) => self.union(p, q),
                    (None, Some(q)) => *x = Some(q),
                    _ => {}
                }
            }
        }
        out
    }

    fn stacked(&mut self, out: Var, r: Atom, index: Var) {
        if let Some(v) = r.var().and_then(|v| self.views.get(&v)).cloned()
            && let Some(at) = v.used.iter().position(|(_, i)| *i == index)
        {
            let mut view = v.clone();
            let (axis, _) = view.used.remove(at);
            view.axes.insert(0, axis);
            self.deps.insert(out, BTreeSet::from([view.latent]));
            self.views.insert(out, view);
            return;
        }
        let lanes = std::iter::once(Some(Node::Loop(index))).chain(self.lanes_of(r)).collect();
        let (deps, coupled) = (self.of(r), self.coupling(r));
        self.set(out, deps, lanes, coupled);
    }

    fn gather(&mut self, out: Var, x: Atom, idx: Atom) {
        let index = idx.var().filter(|v| self.lens.contains_key(v));
        if let Some(view) = x.var().and_then(|v| self.views.get(&v)).cloned().filter(|v| !v.axes.is_empty()) {
            self.deps.insert(out, BTreeSet::from([view.latent]));
            match index {
                Some(i) => {
                    self.union(Node::Loop(i), Node::Axis(view.latent, view.axes[0]));
                    let mut view = view;
                    let axis = view.axes.remove(0);
                    view.used.push((axis, i));
                    self.views.insert(out, view);
                }
                None => {
                    let name = &self.latents[view.latent].name;
                    self.coupled.insert(out, format!("`{name}` is read at an index that is not its loop's"));
                }
            }
            return;
        }
        let mut deps = self.of(x);
        let lanes = self.lanes_of(x);
        let mut coupled = self.coupling(x).or_else(|| self.coupling(idx));
        let out_lanes = match (lanes.first(), index) {
            (Some(Some(n)), Some(i)) => {
                self.union(*n, Node::Loop(i));
                lanes[1..].to_vec()
            }
            (Some(Some(n)), None) => {
                if self.relevant(&deps, *n) {
                    coupled = coupled.or_else(|| Some(self.mixed(&deps)));
                }
                Vec::new()
            }
            _ => {
                let mut l = self.lanes_of(idx);
                l.resize(self.f.atom_ty(idx).rank(), None);
                l.extend(lanes.into_iter().skip(1));
                l
            }
        };
        deps.extend(self.of(idx));
        self.set(out, deps, out_lanes, coupled);
    }

    fn scan(&mut self, s: &'f Stmt<Est>, scan: &'f Scan<Est>, i: usize, path: &mut Path, conds: &mut Vec<(Atom, bool)>) {
        self.lens.insert(scan.index, scan.len);
        for (v, x) in &scan.xs {
            self.slices.insert(*v, (*x, scan.index));
            self.gather(*v, *x, Atom::Var(scan.index));
        }
        let chain = self.chains.iter().find(|c| c.path == *path && c.stmt == i).cloned();
        let own: BTreeSet<usize> = chain.iter().flat_map(|c| c.latents.iter().copied()).collect();
        for (v, a) in &scan.carry {
            let (deps, lanes, coupled) = (self.of(*a), self.lanes_of(*a), self.coupling(*a));
            self.set(*v, deps, lanes, coupled);
        }
        loop {
            path.push((i, 0));
            self.block(&scan.body, path, conds);
            path.pop();
            let mut grown = false;
            for ((v, _), r) in scan.carry.iter().zip(&scan.body.results) {
                let mut deps = self.of(Atom::Var(*v));
                let known = deps.len();
                // What a step hands on is the state of the chain.
                for d in self.of(*r) {
                    deps.insert(if own.contains(&d) { chain.as_ref().map_or(d, |c| c.state) } else { d });
                }
                if deps.len() > known {
                    grown = true;
                    let coupled = self.coupling(*r);
                    self.set(*v, deps, Vec::new(), coupled);
                }
            }
            if !grown {
                break;
            }
        }
        let n = scan.carry.len();
        for (k, (out, r)) in s.outs.iter().zip(&scan.body.results).enumerate() {
            if k < n {
                let deps =
                    self.of(*r).into_iter().map(|d| if own.contains(&d) { chain.as_ref().map_or(d, |c| c.state) } else { d });
                let (deps, coupled) = (deps.collect(), self.coupling(*r));
                self.set(*out, deps, Vec::new(), coupled);
            } else {
                self.stacked(*out, *r, scan.index);
            }
        }
    }

    /// Whether the statement is a scan of which steps are summed.
    pub(super) fn chain(&self, path: &Path, stmt: usize) -> Option<&Chained> {
        self.chains.iter().find(|c| c.path == *path && c.stmt == stmt)
    }

    /// The log weight as terms.
    pub(super) fn terms(&self) -> Vec<Term> {
        let mut out = Vec::new();
        self.decompose(crate::marginal::last(self.f.body.results.clone()), Vec::new(), false, &mut out);
        out
    }

    fn decompose(&self, atom: Atom, path: Path, negated: bool, out: &mut Vec<Term>) {
        if atom == Atom::float(0.0) {
            return;
        }
        let deps = self.of(atom);
        let def = atom.var().and_then(|v| self.defs.get(&v).map(|(p, i)| (v, p, *i))).filter(|(_, p, _)| **p == path);
        if let (Some((v, _, i)), false) = (def, deps.is_empty()) {
            let stmt = &self.block_at(&path).stmts[i];
            let rank = |a: Atom| self.f.atom_ty(a).rank();
            let k = stmt.outs.iter().position(|o| *o == v).unwrap_or(0);
            let inside = |b: usize| path.iter().copied().chain([(i, b)]).collect::<Path>();
            match &stmt.op {
                Op::Prim(p @ (Prim::Add | Prim::Sub), xs) if xs.iter().all(|x| rank(*x) == rank(atom)) => {
                    self.decompose(xs[0], path.clone(), negated, out);
                    return self.decompose(xs[1], path, negated != (*p == Prim::Sub), out);
                }
                Op::Prim(Prim::Neg, xs) => return self.decompose(xs[0], path, !negated, out),
                Op::Reduce { op: ReduceOp::Sum, x, .. } | Op::Transpose { x, .. } | Op::Reshape { x, .. } => {
                    return self.decompose(*x, path, negated, out);
                }
                Op::Map { body, .. } => return self.decompose(body.results[k], inside(0), negated, out),
                Op::Scan(s) if k >= s.carry.len() && self.chain(&path, i).is_some() => {
                    return self.decompose(s.body.results[k], inside(0), negated, out);
                }
                _ => {}
            }
        }
        out.push(Term { path, atom, negated, deps });
    }
}
