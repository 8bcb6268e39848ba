//! Tables of terms, and the elimination of choices from them.

use super::chain::{self, Chain};
use super::flow::{Flow, Node, Path, Term};
use super::{Backwards, Eliminated, Factor, TABLE, combined, over_plates, value_of, without_last};
use crate::expand::{Cx, Hook, real};
use ppl_core::{Atom, Builder, Est, EstRandom, Op, Prim, Stmt, Ty, Var};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What was done.
#[derive(Default)]
pub(super) struct Done {
    pub(super) text: Vec<String>,
    pub(super) evaluations: usize,
}

/// What variables are in the nest under construction.
#[derive(Clone, Default)]
pub(super) struct Here {
    pub(super) map: HashMap<Var, Atom>,
    /// Numbers of the values of choices and states.
    pub(super) numbers: HashMap<usize, Atom>,
}

/// Evaluates the program's values for given values of the choices.
pub(super) struct Eval<'a, 'f> {
    pub(super) b: &'a mut Builder<Est>,
    pub(super) flow: &'a Flow<'f>,
    /// Parameters that are not summed.
    pub(super) args: HashMap<Var, Atom>,
    /// Numbers of plates.
    pub(super) plates: Vec<(Node, usize)>,
    pub(super) done: Done,
    pub(super) failed: Option<String>,
}

type Out = ((Atom, Backwards), Done);

/// The log sum; the reason where elimination does not apply.
pub(super) fn eliminate(b: &mut Builder<Est>, flow: &Flow<'_>, args: &[Option<Atom>]) -> Result<Out, String> {
    let known = flow.f.params.iter().copied().zip(args.iter().copied()).filter_map(|(v, a)| a.map(|a| (v, a))).collect();
    let mut e = Eval { b, flow, args: known, plates: Vec::new(), done: Done::default(), failed: None };
    let terms = flow.terms();
    for t in &terms {
        if let Some(why) = t.atom.var().and_then(|v| flow.coupled.get(&v)) {
            return Err(why.clone());
        }
    }
    let mut factors: Vec<Factor> = Vec::new();
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    let mut chains: Vec<Chain> = Vec::new();
    for c in &flow.chains {
        let own: Vec<usize> =
            (0..terms.len()).filter(|n| terms[*n].deps.iter().any(|d| c.latents.contains(d)) && !taken.contains(n)).collect();
        taken.extend(&own);
        let mine: Vec<&Term> = own.iter().map(|n| &terms[*n]).collect();
        let (chain, factor) = chain::chain(&mut e, c, &mine)?;
        chains.push(chain);
        factors.push(factor);
    }
    let mut groups: BTreeMap<(Vec<usize>, Vec<usize>), Vec<usize>> = BTreeMap::new();
    for (n, t) in terms.iter().enumerate().filter(|(n, _)| !taken.contains(n)) {
        let plates = e.plates_of(t);
        groups.entry((plates, t.deps.iter().copied().collect())).or_default().push(n);
    }
    let mut conditional: BTreeMap<(Vec<usize>, Vec<usize>), Vec<usize>> = BTreeMap::new();
    for (n, l) in flow.latents.iter().enumerate().filter(|(_, l)| l.conditional) {
        let _ = l;
        if flow.chains.iter().any(|c| c.latents.contains(&n)) {
            continue;
        }
        let (plates, deps) = e.condition_of(n);
        conditional.entry((plates, deps)).or_default().push(n);
    }
    for (key, members) in &groups {
        let factor = e.table(&key.0, &key.1, &mut |e, here| members.iter().map(|n| e.term(here, &terms[*n], &key.0)).collect());
        factors.push(factor?);
    }
    for (key, members) in &conditional {
        let factor = e.table(&key.0, &key.1, &mut |e, here| members.iter().map(|n| e.once(here, *n)).collect());
        factors.push(factor?);
    }
    e.solve(factors, chains)
}

impl<'f> Eval<'_, 'f> {
    pub(super) fn plate(&mut self, n: Node, len: usize) -> usize {
        match self.plates.iter().position(|(m, _)| self.flow.same(*m, n)) {
            Some(k) => k,
            None => {
                self.plates.push((n, len));
                self.plates.len() - 1
            }
        }
    }

    /// Plates of a choice or state, in the order of its axes.
    pub(super) fn own_plates(&mut self, latent: usize) -> Vec<usize> {
        let nodes = self.flow.plates(latent);
        let lens: Vec<usize> = match self.flow.latents.get(latent) {
            Some(l) => self.flow.f.ty(l.param).shape.clone(),
            None => {
                let c = &self.flow.chains[latent - self.flow.latents.len()];
                let loops = self.flow.loops(&c.path);
                nodes.iter().map(|n| loops.iter().find(|(v, _)| self.flow.same(Node::Loop(*v), *n)).map_or(1, |l| l.1)).collect()
            }
        };
        nodes.into_iter().zip(lens).map(|(n, len)| self.plate(n, len)).collect()
    }

    /// Number of values of a choice or state.
    pub(super) fn values(&self, latent: usize) -> usize {
        match self.flow.latents.get(latent) {
            Some(l) => l.values,
            None => {
                self.flow.chains[latent - self.flow.latents.len()].latents.iter().map(|l| self.flow.latents[*l].values).product()
            }
        }
    }

    /// Plates that a term's choices run along.
    fn plates_of(&mut self, t: &Term) -> Vec<usize> {
        let mut out: BTreeSet<usize> = BTreeSet::new();
        for d in &t.deps {
            out.extend(self.own_plates(*d));
        }
        out.into_iter().collect()
    }

    fn condition_of(&mut self, latent: usize) -> (Vec<usize>, Vec<usize>) {
        let mut deps = BTreeSet::from([latent]);
        for (c, _) in self.flow.conditions.get(&latent).into_iter().flatten() {
            deps.extend(self.flow.of(*c));
        }
        let mut plates = BTreeSet::new();
        for d in &deps {
            plates.extend(self.own_plates(*d));
        }
        (plates.into_iter().collect(), deps.into_iter().collect())
    }

    /// A table over plates and choices of the sum of what `one` computes.
    pub(super) fn table(
        &mut self,
        plates: &[usize],
        latents: &[usize],
        one: &mut dyn FnMut(&mut Self, &mut Here) -> Vec<Atom>,
    ) -> Result<Factor, String> {
        let sizes: Vec<usize> = plates.iter().map(|p| self.plates[*p].1).chain(latents.iter().map(|l| self.values(*l))).collect();
        let entries = sizes.iter().try_fold(1usize, |n, k| n.checked_mul(*k)).filter(|n| *n <= TABLE);
        let Some(entries) = entries else {
            return Err(format!(
                "a table of {} entries would be needed",
                sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
            ));
        };
        self.done.evaluations += entries;
        let value = self.nested(&sizes, &mut Vec::new(), &mut |e, at| {
            let mut here = Here::default();
            for (p, i) in plates.iter().zip(at) {
                e.enter(&mut here, *p, *i);
            }
            for (l, k) in latents.iter().zip(&at[plates.len()..]) {
                here.numbers.insert(*l, *k);
            }
            let parts = one(e, &mut here);
            crate::expand::sum(e.b, parts)
        });
        match self.failed.take() {
            Some(why) => Err(why),
            None => Ok(Factor { value, plates: plates.to_vec(), latents: latents.to_vec() }),
        }
    }

    pub(super) fn nested(&mut self, sizes: &[usize], at: &mut Vec<Atom>, f: &mut dyn FnMut(&mut Self, &[Atom]) -> Atom) -> Atom {
        let Some((n, rest)) = sizes.split_first() else { return f(self, at) };
        let index = self.b.index_var("i");
        self.b.begin();
        at.push(index.into());
        let v = self.nested(rest, at, f);
        at.pop();
        let body = self.b.end(vec![v]);
        self.b.map(*n, index, body)[0].into()
    }

    /// Binds the indices of all loops that run along a plate.
    pub(super) fn enter(&self, here: &mut Here, plate: usize, index: Atom) {
        let node = self.plates[plate].0;
        for v in self.flow.lens.keys() {
            if self.flow.same(Node::Loop(*v), node) {
                here.map.insert(*v, index);
            }
        }
    }

    /// A term's value: summed over the loops around it that are no plates here, and over its elements.
    pub(super) fn term(&mut self, here: &mut Here, t: &Term, plates: &[usize]) -> Atom {
        let loops: Vec<(Var, usize)> = self.flow.loops(&t.path).into_iter().filter(|(v, _)| !here.map.contains_key(v)).collect();
        let sizes: Vec<usize> = loops.iter().map(|l| l.1).collect();
        let mut value = if loops.is_empty() {
            self.elements(here, t, plates)
        } else {
            let base = here.clone();
            self.nested(&sizes, &mut Vec::new(), &mut |e, at| {
                let mut here = base.clone();
                for ((v, _), i) in loops.iter().zip(at) {
                    here.map.insert(*v, *i);
                }
                e.elements(&mut here, t, plates)
            })
        };
        value = self.b.sum_all(value);
        if t.negated { real(self.b, Prim::Neg, &[value]) } else { value }
    }

    fn elements(&mut self, here: &mut Here, t: &Term, plates: &[usize]) -> Atom {
        let mut at = Vec::new();
        for n in self.flow.lanes_of(t.atom) {
            let Some(n) = n.filter(|n| self.flow.relevant(&t.deps, *n)) else { break };
            let bound = plates.iter().find(|p| self.flow.same(self.plates[**p].0, n));
            let index = bound
                .and_then(|_| self.flow.lens.keys().find(|v| self.flow.same(Node::Loop(**v), n)))
                .and_then(|v| here.map.get(v));
            match index {
                Some(i) => at.push(*i),
                None => break,
            }
        }
        let value = self.at(here, t.atom, &at);
        self.b.sum_all(value)
    }

    /// 0 where the choice is made, or its number is 0; `-inf` elsewhere: a choice that is not made counts once.
    fn once(&mut self, here: &mut Here, latent: usize) -> Atom {
        let mut counts = self.b.emit1(
            Op::Prim(Prim::Eq, vec![here.numbers.get(&latent).copied().unwrap_or(Atom::int(0)), Atom::int(0)]),
            "first",
            Ty::BOOL,
        );
        let mut made = Atom::bool(true);
        for (c, branch) in self.flow.conditions.get(&latent).cloned().unwrap_or_default() {
            let mut c = self.eval(here, c);
            if !branch {
                c = self.b.emit1(Op::Prim(Prim::Not, vec![c]), "not", Ty::BOOL);
            }
            made = if made == Atom::bool(true) { c } else { self.b.emit1(Op::Prim(Prim::And, vec![made, c]), "made", Ty::BOOL) };
        }
        counts = self.b.emit1(Op::Prim(Prim::Or, vec![counts, made]), "counts", Ty::BOOL);
        real(self.b, Prim::Select, &[counts, Atom::float(0.0), Atom::float(f64::NEG_INFINITY)])
    }

    fn fail(&mut self, why: String) -> Atom {
        self.failed.get_or_insert(why);
        Atom::float(0.0)
    }

    /// An operand's value here.
    pub(super) fn eval(&mut self, here: &mut Here, a: Atom) -> Atom {
        let Some(v) = a.var() else { return a };
        if let Some(x) = here.map.get(&v) {
            return *x;
        }
        if let Some(view) = self.flow.views.get(&v) {
            let l = &self.flow.latents[view.latent];
            return match here.numbers.get(&view.latent).copied() {
                Some(k) if view.axes.is_empty() => {
                    let x = value_of(self.b, l, k);
                    here.map.insert(v, x);
                    x
                }
                _ => {
                    let name = l.name.clone();
                    self.fail(format!("the whole of `{name}` is used at once"))
                }
            };
        }
        if let Some(x) = self.args.get(&v) {
            return *x;
        }
        if let Some((x, index)) = self.flow.slices.get(&v).copied() {
            let i = self.eval(here, index.into());
            let out = self.at(here, x, &[i]);
            here.map.insert(v, out);
            return out;
        }
        let Some((path, i)) = self.flow.defs.get(&v).cloned() else {
            return self.fail("a carried value is used outside of its loop's steps".into());
        };
        let stmt = &self.flow.block_at(&path).stmts[i];
        self.stmt(here, stmt, &path, i, v)
    }

    fn stmt(&mut self, here: &mut Here, stmt: &'f Stmt<Est>, path: &Path, i: usize, v: Var) -> Atom {
        self.b.span = stmt.span;
        match &stmt.op {
            Op::Gather { x: x @ Atom::Var(_), idx, batch: 0 }
                if !self.flow.of(*x).is_empty() && self.flow.f.atom_ty(*idx).is_scalar() =>
            {
                let index = self.eval(here, *idx);
                let out = self.at(here, *x, &[index]);
                here.map.insert(v, out);
                out
            }
            Op::If { cond, then, els } if !self.flow.of(v.into()).is_empty() => {
                let k = stmt.outs.iter().position(|o| *o == v).unwrap_or(0);
                let cond = self.eval(here, *cond);
                let mut blocks = Vec::new();
                for b in [then, els] {
                    self.b.begin();
                    let r = self.eval(&mut here.clone(), b.results[k]);
                    blocks.push(self.b.end(vec![r]));
                }
                let (els, then) = (blocks.remove(1), blocks.remove(0));
                let out = self.b.if_(cond, then, els)[0].into();
                here.map.insert(v, out);
                out
            }
            Op::Scan(s) => match self.flow.chain(path, i) {
                Some(c) => {
                    // The last value of a carry: what the last step hands on.
                    let k = stmt.outs.iter().position(|o| *o == v).unwrap_or(0);
                    if k >= s.carry.len() {
                        return self.fail("an array of the loop's steps is used at once".into());
                    }
                    let number = here.numbers.get(&c.state).copied().unwrap_or(Atom::int(0));
                    chain::handed_on(self, here, c, k, Atom::int(s.len as i64 - 1), number)
                }
                None => self.whole(here, stmt, v),
            },
            Op::Map { .. } | Op::If { .. } => self.whole(here, stmt, v),
            op => {
                let atoms: Vec<Atom> = ppl_core::op_atoms(op).into_iter().map(|a| self.eval(here, a)).collect();
                let mut op = op.clone();
                let mut next = atoms.into_iter();
                ppl_core::map_atoms(&mut op, &mut |a| next.next().unwrap_or(a));
                let outs =
                    stmt.outs.iter().map(|o| (self.flow.f.vars[o.index()].name.clone(), self.flow.f.ty(*o).clone())).collect();
                let outs = self.b.emit(op, outs);
                here.map.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
                here.map.get(&v).copied().unwrap_or(Atom::float(0.0))
            }
        }
    }

    /// A statement with blocks, copied as it is.
    fn whole(&mut self, here: &mut Here, stmt: &'f Stmt<Est>, v: Var) -> Atom {
        let mut map = HashMap::new();
        let inner: Vec<Var> = ppl_core::op_blocks(&stmt.op).into_iter().flat_map(ppl_core::free_vars).collect();
        let bound = stmt.op.bound_vars();
        let atoms = ppl_core::op_atoms(&stmt.op).into_iter().filter_map(Atom::var);
        for u in inner.into_iter().chain(atoms).filter(|u| !bound.contains(u)) {
            let x = self.eval(here, u.into());
            map.insert(u, x);
        }
        let mut cx = Cx { from: self.flow.f, map };
        cx.stmt(self.b, &mut Plain, stmt);
        here.map.extend(stmt.outs.iter().filter_map(|o| cx.map.get(o).map(|a| (*o, *a))));
        here.map.get(&v).copied().unwrap_or(Atom::float(0.0))
    }

    /// An operand at indices of its first axes.
    pub(super) fn at(&mut self, here: &mut Here, a: Atom, at: &[Atom]) -> Atom {
        let Some(v) = a.var().filter(|_| !at.is_empty()) else { return self.eval(here, a) };
        let known = here.map.contains_key(&v) || self.args.contains_key(&v);
        if !known && let Some(view) = self.flow.views.get(&v) {
            let l = &self.flow.latents[view.latent];
            if view.axes.len() == at.len()
                && let Some(k) = here.numbers.get(&view.latent).copied()
            {
                return value_of(self.b, l, k);
            }
        }
        if !known
            && !self.flow.of(a).is_empty()
            && let Some((path, i)) = self.flow.defs.get(&v).cloned()
        {
            let stmt = &self.flow.block_at(&path).stmts[i];
            let k = stmt.outs.iter().position(|o| *o == v).unwrap_or(0);
            match &stmt.op {
                Op::Map { index, body, .. } => {
                    // One iteration, here.
                    let mut inside = here.clone();
                    inside.map.insert(*index, at[0]);
                    return self.at(&mut inside, body.results[k], &at[1..]);
                }
                Op::Prim(p, args) => {
                    let args: Vec<Atom> = args
                        .iter()
                        .map(|x| if self.flow.f.atom_ty(*x).is_scalar() { self.eval(here, *x) } else { self.at(here, *x, at) })
                        .collect();
                    let mut ty = self.flow.f.ty(v).clone();
                    ty.shape.drain(..at.len());
                    return self.b.emit1(Op::Prim(*p, args), "t", ty);
                }
                Op::Gather { x, idx, batch: 0 } if self.flow.f.atom_ty(*idx).rank() >= at.len() => {
                    let idx = self.at(here, *idx, at);
                    let x = self.eval(here, *x);
                    return self.b.gather(x, idx, 0);
                }
                Op::Gather { x, idx, batch: 0 } if self.flow.f.atom_ty(*idx).is_scalar() => {
                    let idx = self.eval(here, *idx);
                    return self.at(here, *x, &[&[idx], at].concat());
                }
                _ => {}
            }
        }
        let mut x = self.eval(here, a);
        for i in at {
            x = self.b.gather(x, *i, 0);
        }
        x
    }

    /// Eliminates choice after choice.
    fn solve(mut self, mut factors: Vec<Factor>, chains: Vec<Chain>) -> Result<Out, String> {
        let states = self.flow.latents.len() + self.flow.chains.len();
        let chained: BTreeSet<usize> = self.flow.chains.iter().flat_map(|c| c.latents.iter().copied()).collect();
        let mut left: BTreeSet<usize> = (0..states).filter(|l| !chained.contains(l)).collect();
        let mut steps = Vec::new();
        let own: Vec<Vec<usize>> = (0..states).map(|l| self.own_plates(l)).collect();
        while !left.is_empty() {
            let cost = |l: &usize| {
                let others: BTreeSet<usize> =
                    factors.iter().filter(|f| f.latents.contains(l)).flat_map(|f| f.latents.iter().copied()).collect();
                let table = others.iter().try_fold(1usize, |n, k| n.checked_mul(self.values(*k))).unwrap_or(usize::MAX);
                // A chain's state goes before the choices around its loop: a draw of its steps needs them.
                (std::cmp::Reverse(own[*l].len()), *l < self.flow.latents.len(), table, *l)
            };
            let Some(z) = left.iter().copied().min_by_key(cost) else { break };
            left.remove(&z);
            let (with, rest): (Vec<Factor>, Vec<Factor>) = factors.into_iter().partition(|f| f.latents.contains(&z));
            factors = rest;
            let others: BTreeSet<usize> = with.iter().flat_map(|f| f.latents.iter().copied()).filter(|l| *l != z).collect();
            let plates = own[z].clone();
            let mut ready = Vec::new();
            for f in &with {
                // Plates that only eliminated choices ran along are summed; others couple.
                let needed: BTreeSet<usize> = f.latents.iter().flat_map(|l| own[*l].iter().copied()).collect();
                if let Some(p) = needed.iter().find(|p| !plates.contains(p)) {
                    let name =
                        |l: usize| self.flow.latents.get(l).map_or("a chain's state".to_string(), |l| format!("`{}`", l.name));
                    let other = f.latents.iter().find(|l| own[**l].contains(p)).map_or(String::new(), |l| name(*l));
                    return Err(format!("{} and {other} stand in different plates and depend on each other", name(z)));
                }
                ready.push(over_plates(self.b, f, &plates));
            }
            let latents: Vec<usize> = others.iter().copied().chain([z]).collect();
            let shape: Vec<usize> =
                plates.iter().map(|p| self.plates[*p].1).chain(latents.iter().map(|l| self.values(*l))).collect();
            match shape.iter().try_fold(1usize, |n, k| n.checked_mul(*k)).filter(|n| *n <= TABLE) {
                Some(n) => self.done.evaluations += n,
                None => {
                    return Err(format!(
                        "a table of {} entries would be needed",
                        shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
                    ));
                }
            }
            let value = combined(self.b, &ready, &plates, &latents, &shape);
            steps.push(Eliminated { latent: z, table: Factor { value, plates: plates.clone(), latents } });
            if let Some(l) = self.flow.latents.get(z) {
                let rounds: usize = plates.iter().map(|p| self.plates[*p].1).product();
                let by = if plates.is_empty() { String::new() } else { format!("{rounds} x ") };
                self.done.text.push(format!("{}: {by}{} values", l.name, l.values));
            }
            let value = without_last(self.b, value);
            factors.push(Factor { value, plates, latents: others.into_iter().collect() });
        }
        let mut total = Atom::float(0.0);
        for f in &factors {
            let s = self.b.sum_all(f.value);
            total = crate::expand::add(self.b, total, s);
        }
        let back = Backwards { steps, latents: self.flow.latents.to_vec(), joint: None, chains, plates: own };
        Ok(((total, back), self.done))
    }
}

/// Copies random operations as they are.
pub(super) struct Plain;

impl Hook<Est, Est> for Plain {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, op: &EstRandom) -> Vec<Atom> {
        let mut op = Op::Random(op.clone());
        ppl_core::map_atoms(&mut op, &mut |a| cx.atom(a));
        let outs = cx.declare(stmt, std::iter::empty());
        b.emit(op, outs).into_iter().map(Atom::Var).collect()
    }
}
