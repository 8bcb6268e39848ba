//! Chains: choices in the steps of a scan.
//!
//! ```text
//!   W[t, k', k]  =  the terms of step t where its choices are k and the carry is what step t - 1 hands on from k'
//!   a_t[k]       =  log sum exp over k' of a_t-1[k'] + W[t, k', k]        a_-1 = 0 at k' = 0, -inf elsewhere: the first carry
//!   draw         k_T-1 ~ a_T-1 (with what comes after);  k_t-1 ~ a_t-1[k'] + W[t, k', k_t]
//! ```
//!
//! Not handled: what a step hands on may depend on its own choices and on what depends on none, not on what was handed to it.

use super::flow::{Chained, Node, Term};
use super::tables::{Eval, Here};
use super::{Backwards, Factor, at_plates, nest, without_last};
use crate::expand::real;
use ppl_core::{Atom, Block, Builder, DType, Est, Op, Prim, Scan, Ty, Var};
use std::collections::{BTreeSet, HashMap};

/// What a draw of a chain needs.
pub(crate) struct Chain {
    /// For the names of its draws.
    pub(crate) label: String,
    /// The choices of a step, with their numbers of values.
    latents: Vec<(usize, usize)>,
    /// Axes of each choice as positions among the chain's plates; the last is the chain's own.
    order: Vec<Vec<usize>>,
    len: usize,
    /// Log weights before each step, and of each step: `[T, plates.., outer.., K]` and `[T, plates.., outer.., K', K]`.
    before: Atom,
    weights: Atom,
    plates: Vec<usize>,
    outer: Vec<usize>,
}

/// The table of a chain's last state.
pub(super) fn chain(e: &mut Eval<'_, '_>, c: &Chained, terms: &[&Term]) -> Result<(Chain, Factor), String> {
    let s = e.flow.scan_of(c);
    if s.len == 0 {
        return Err("its loop has no rounds".into());
    }
    if s.reverse {
        return Err("its loop runs backwards".into());
    }
    let own = Node::Loop(s.index);
    let plates = e.own_plates(c.state);
    for l in &c.latents {
        let inner: Vec<usize> = e.own_plates(*l);
        let extra = inner.iter().filter(|p| !plates.contains(p) && !e.flow.same(e.plates[**p].0, own)).count();
        if extra > 0 {
            return Err(format!("`{}` stands in a plate inside the loop that carries its values", e.flow.latents[*l].name));
        }
    }
    check_carries(e, c)?;
    let mut outer: BTreeSet<usize> = BTreeSet::new();
    for t in terms {
        outer.extend(t.deps.iter().filter(|d| !c.latents.contains(d) && **d != c.state));
    }
    if outer.iter().any(|l| e.flow.latents.get(*l).is_none()) {
        return Err("two loops hand their states to each other".into());
    }
    let outer: Vec<usize> = outer.into_iter().collect();
    for l in &outer {
        if e.own_plates(*l).iter().any(|p| !plates.contains(p)) {
            return Err(format!("`{}` stands in another plate than the loop's choices", e.flow.latents[*l].name));
        }
    }
    let states = e.values(c.state);
    // Carries that no choice reaches, before each step.
    let plain = plain_carries(e, c)?;
    let sizes: Vec<usize> =
        plates.iter().map(|p| e.plates[*p].1).chain(outer.iter().map(|l| e.values(*l))).chain([s.len, states, states]).collect();
    let entries = sizes.iter().try_fold(1usize, |n, k| n.checked_mul(*k)).filter(|n| *n <= super::TABLE);
    let Some(entries) = entries else {
        return Err(format!("{} steps with {states} x {states} states would be needed", s.len));
    };
    e.done.evaluations += entries;
    let own_plate = e.plate(own, s.len);
    let (np, no) = (plates.len(), outer.len());
    let all: Vec<usize> = plates.iter().copied().chain([own_plate]).collect();
    let w = e.nested(&sizes, &mut Vec::new(), &mut |e, at| {
        let mut here = Here::default();
        for (p, i) in plates.iter().zip(at) {
            e.enter(&mut here, *p, *i);
        }
        for (l, k) in outer.iter().zip(&at[np..]) {
            here.numbers.insert(*l, *k);
        }
        let (t, before, now) = (at[np + no], at[np + no + 1], at[np + no + 2]);
        e.enter(&mut here, own_plate, t);
        for (v, a) in &plain {
            let x = e.b.gather(*a, t, 0);
            here.map.insert(*v, x);
        }
        carried(e, &mut here, c, t, before);
        choose(e, &mut here, c, now);
        let parts: Vec<Atom> = terms.iter().map(|x| e.term(&mut here, x, &all)).collect();
        let mut sum = crate::expand::sum(e.b, parts);
        if e.flow.latents.iter().enumerate().any(|(n, l)| l.conditional && c.latents.contains(&n)) {
            e.failed.get_or_insert("a choice of a step stands under a condition".into());
        }
        if sum.var().is_none() {
            sum = e.b.full(sum, &[]);
        }
        sum
    });
    if let Some(why) = e.failed.take() {
        return Err(why);
    }
    let rank = sizes.len();
    let perm: Vec<usize> = std::iter::once(np + no).chain(0..np + no).chain([rank - 2, rank - 1]).collect();
    let weights = e.b.transpose(w, &perm);
    let (last, before) = forward(e.b, weights, s.len, &sizes[..np + no], states);
    let names: Vec<String> = c.latents.iter().map(|l| e.flow.latents[*l].name.clone()).collect();
    e.done.text.push(format!("{}: {} steps of {states} x {states}", names.join(", "), s.len));
    let order = c
        .latents
        .iter()
        .map(|l| e.own_plates(*l).iter().map(|p| all.iter().position(|q| q == p).unwrap_or(0)).collect())
        .collect();
    let chain = Chain {
        label: names.join("_"),
        latents: c.latents.iter().map(|l| (*l, e.flow.latents[*l].values)).collect(),
        order,
        len: s.len,
        before,
        weights,
        plates: plates.clone(),
        outer: outer.clone(),
    };
    let latents = outer.into_iter().chain([c.state]).collect();
    Ok((chain, Factor { value: last, plates, latents }))
}

/// The recursion: the last log weights, and those before each step, stacked.
fn forward(b: &mut Builder<Est>, weights: Atom, len: usize, outer: &[usize], states: usize) -> (Atom, Atom) {
    let shape: Vec<usize> = outer.iter().copied().chain([states]).collect();
    let numbers = b.iota(states);
    let first = b.emit1(Op::Prim(Prim::Eq, vec![numbers, Atom::int(0)]), "first", Ty::new(DType::Bool, [states]));
    let (zero, none) = (b.full(Atom::float(0.0), &[states]), b.full(Atom::float(f64::NEG_INFINITY), &[states]));
    let start = real(b, Prim::Select, &[first, zero, none]);
    let start = b.broadcast(start, &shape, &[shape.len() - 1]);
    let a = b.fresh("a", Ty::float(shape.clone()));
    let full: Vec<usize> = shape.iter().copied().chain([states]).collect();
    let w = b.fresh("w", Ty::float(full.clone()));
    let index = b.index_var("t");
    b.begin();
    let axes: Vec<usize> = (0..shape.len()).collect();
    let spread = b.broadcast(a.into(), &full, &axes);
    let joined = real(b, Prim::Add, &[spread, w.into()]);
    // The earlier state is the axis before the last: bring it to the end.
    let n = full.len();
    let mut perm: Vec<usize> = (0..n).collect();
    perm.swap(n - 2, n - 1);
    let joined = b.transpose(joined, &perm);
    let next = without_last(b, joined);
    let body = b.end(vec![next, a.into()]);
    let outs = b.scan(Scan { len, index, carry: vec![(a, start)], xs: vec![(w, weights)], body, reverse: false });
    (outs[0].into(), outs[1].into())
}

/// Carries that depend on the chain's choices.
fn touched(e: &Eval<'_, '_>, c: &Chained) -> Vec<usize> {
    let s = e.flow.scan_of(c);
    (0..s.carry.len()).filter(|k| e.flow.of(s.carry[*k].0.into()).contains(&c.state)).collect()
}

fn check_carries(e: &Eval<'_, '_>, c: &Chained) -> Result<(), String> {
    let s = e.flow.scan_of(c);
    for k in touched(e, c) {
        let r = s.body.results[k];
        if e.flow.of(r).contains(&c.state) {
            let name = &e.flow.f.vars[s.carry[k].0.index()].name;
            return Err(format!("the carried value `{name}` depends on more than the choices of the step before"));
        }
    }
    Ok(())
}

/// Binds the choices of a step to state number `number`.
fn choose(e: &mut Eval<'_, '_>, here: &mut Here, c: &Chained, number: Atom) {
    let sizes: Vec<usize> = c.latents.iter().map(|l| e.flow.latents[*l].values).collect();
    for (l, k) in c.latents.iter().zip(digits(e.b, number, &sizes)) {
        here.numbers.insert(*l, k);
    }
}

/// A state's number as the numbers of its choices, the last counting fastest; elementwise.
fn digits(b: &mut Builder<Est>, number: Atom, sizes: &[usize]) -> Vec<Atom> {
    if sizes.len() == 1 {
        return vec![number];
    }
    let ty = b.ty(number);
    let mut out = Vec::new();
    let mut rest = number;
    for n in sizes.iter().rev() {
        let n = b.full(Atom::int(*n as i64), &ty.shape);
        out.push(b.emit1(Op::Prim(Prim::Rem, vec![rest, n]), "k", ty.clone()));
        rest = b.emit1(Op::Prim(Prim::IntDiv, vec![rest, n]), "k", ty.clone());
    }
    out.reverse();
    out
}

/// What step `t` hands on as carry `k` where its state is `number`.
pub(super) fn handed_on(e: &mut Eval<'_, '_>, here: &Here, c: &Chained, k: usize, t: Atom, number: Atom) -> Atom {
    let s = e.flow.scan_of(c);
    let mut inside = Here { map: HashMap::new(), numbers: here.numbers.clone() };
    // Loops around the scan keep their indices; the scan's own values are those of step t.
    let outer: BTreeSet<Var> = e.flow.loops(&c.path).into_iter().map(|(v, _)| v).collect();
    inside.map.extend(here.map.iter().filter(|(v, _)| outer.contains(v)).map(|(v, a)| (*v, *a)));
    let own: Vec<Var> = e.flow.lens.keys().copied().filter(|v| e.flow.same(Node::Loop(*v), Node::Loop(s.index))).collect();
    inside.map.extend(own.into_iter().map(|v| (v, t)));
    choose(e, &mut inside, c, number);
    e.eval(&mut inside, s.body.results[k])
}

/// Binds the carries of step `t` that depend on the state `before` it.
fn carried(e: &mut Eval<'_, '_>, here: &mut Here, c: &Chained, t: Atom, before: Atom) {
    let s = e.flow.scan_of(c);
    for k in touched(e, c) {
        let (v, init) = s.carry[k];
        let at = e.b.emit1(Op::Prim(Prim::Sub, vec![t, Atom::int(1)]), "t", Ty::INT);
        let at = e.b.emit1(Op::Prim(Prim::Max, vec![at, Atom::int(0)]), "t", Ty::INT);
        let from = handed_on(e, here, c, k, at, before);
        let init = e.eval(here, init);
        let first = e.b.emit1(Op::Prim(Prim::Eq, vec![t, Atom::int(0)]), "start", Ty::BOOL);
        let ty = e.flow.f.ty(v).clone();
        let mask = e.b.full(first, &ty.shape);
        let init = if e.b.ty(init).shape == ty.shape { init } else { e.b.full(init, &ty.shape) };
        let x = e.b.emit1(Op::Prim(Prim::Select, vec![mask, init, from]), "carry", ty);
        here.map.insert(v, x);
    }
}

/// The other carries before each step, stacked.
fn plain_carries(e: &mut Eval<'_, '_>, c: &Chained) -> Result<Vec<(Var, Atom)>, String> {
    let s = e.flow.scan_of(c);
    let with: BTreeSet<usize> = touched(e, c).into_iter().collect();
    let rest: Vec<usize> = (0..s.carry.len()).filter(|k| !with.contains(k)).collect();
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    if !c.path.is_empty() || rest.iter().any(|k| !e.flow.of(s.carry[*k].0.into()).is_empty()) {
        let name = &e.flow.f.vars[s.carry[rest[0]].0.index()].name;
        return Err(format!("the carried value `{name}` is computed beside the chain"));
    }
    // The statements that these carries need: none of them depends on a choice.
    let mut wanted: BTreeSet<Var> = rest.iter().filter_map(|k| s.body.results[*k].var()).collect();
    let mut needed = Vec::new();
    for (i, stmt) in s.body.stmts.iter().enumerate().rev() {
        if stmt.outs.iter().any(|v| wanted.contains(v)) {
            wanted.extend(ppl_core::op_atoms(&stmt.op).into_iter().filter_map(Atom::var));
            wanted.extend(ppl_core::op_blocks(&stmt.op).into_iter().flat_map(ppl_core::free_vars));
            needed.push(i);
        }
    }
    needed.reverse();
    let mut here = Here::default();
    let mut map: HashMap<Var, Atom> = HashMap::new();
    let inner: BTreeSet<Var> = s.body.stmts.iter().flat_map(|s| s.outs.iter().copied()).chain([s.index]).collect();
    let heads: BTreeSet<Var> = s.carry.iter().chain(&s.xs).map(|(v, _)| *v).collect();
    for v in wanted.iter().filter(|v| !inner.contains(v) && !heads.contains(v)) {
        let x = e.eval(&mut here, (*v).into());
        map.insert(*v, x);
    }
    let carry: Vec<(Var, Atom)> = rest
        .iter()
        .map(|k| {
            let (v, init) = s.carry[*k];
            let init = e.eval(&mut here, init);
            let new = e.b.fresh("c", e.flow.f.ty(v).clone());
            map.insert(v, new.into());
            (new, init)
        })
        .collect();
    let mut xs = Vec::new();
    for (v, x) in s.xs.iter().filter(|(v, _)| wanted.contains(v)) {
        let x = e.eval(&mut here, *x);
        let new = e.b.fresh("x", e.flow.f.ty(*v).clone());
        map.insert(*v, new.into());
        xs.push((new, x));
    }
    let index = e.b.index_var("t");
    map.insert(s.index, index.into());
    e.b.begin();
    let mut cx = crate::expand::Cx { from: e.flow.f, map };
    needed.iter().for_each(|i| cx.stmt(e.b, &mut super::tables::Plain, &s.body.stmts[*i]));
    let mut results: Vec<Atom> = rest.iter().map(|k| cx.atom(s.body.results[*k])).collect();
    results.extend(carry.iter().map(|(v, _)| Atom::Var(*v)));
    let body: Block<Est> = e.b.end(results);
    let n = carry.len();
    let outs = e.b.scan(Scan { len: s.len, index, carry, xs, body, reverse: false });
    if let Some(why) = e.failed.take() {
        return Err(why);
    }
    Ok(rest.iter().zip(&outs[n..]).map(|(k, v)| (s.carry[*k].0, Atom::Var(*v))).collect())
}

impl Chain {
    /// The choice of a step, where there is one.
    pub(crate) fn single(&self) -> Option<usize> {
        match self.latents[..] {
            [(l, _)] => Some(l),
            _ => None,
        }
    }

    /// Number of states.
    pub(crate) fn states(&self) -> usize {
        self.latents.iter().map(|(_, n)| n).product()
    }

    /// The numbers of the chain's choices, from its last state: arrays in the order of their own axes.
    pub(crate) fn draw_back(
        &self,
        b: &mut Builder<Est>,
        last: Atom,
        plates: &[usize],
        known: &[Option<Atom>],
        back: &Backwards,
        sample: &mut dyn FnMut(&mut Builder<Est>, Atom) -> Atom,
    ) -> Vec<(usize, Atom)> {
        let sizes: Vec<usize> = b.ty(last).shape;
        let path = nest(b, &sizes, &mut |b, at| {
            let (mut before, mut weights) = (self.before, self.weights);
            // Steps stay in front: what is fixed is read from the second axis on.
            let mut pick = |b: &mut Builder<Est>, i: Atom| {
                for x in [&mut before, &mut weights] {
                    let rank = b.ty(*x).rank();
                    let perm: Vec<usize> = std::iter::once(1).chain([0]).chain(2..rank).collect();
                    let turned = b.transpose(*x, &perm);
                    *x = b.gather(turned, i, 0);
                }
            };
            for p in &self.plates {
                if let Some(n) = plates.iter().position(|q| q == p) {
                    pick(b, at[n]);
                }
            }
            for l in &self.outer {
                let Some(v) = known[*l] else { continue };
                let v = at_plates(b, v, &back.plates_of(*l), plates, at);
                pick(b, v);
            }
            let mut end = last;
            at.iter().for_each(|i| end = b.gather(end, *i, 0));
            let (sb, sw) = (b.ty(before).shape[1..].to_vec(), b.ty(weights).shape[1..].to_vec());
            let (state, a, w) = (b.fresh("k", Ty::INT), b.fresh("a", Ty::float(sb)), b.fresh("w", Ty::float(sw)));
            let index = b.index_var("t");
            b.begin();
            // Column of this state: the earlier one is the first axis left.
            let turned = b.transpose(w.into(), &[1, 0]);
            let column = b.gather(turned, state.into(), 0);
            let logits = real(b, Prim::Add, &[a.into(), column]);
            let earlier = sample(b, logits);
            let body = b.end(vec![earlier, state.into()]);
            let scan = Scan {
                len: self.len,
                index,
                carry: vec![(state, end)],
                xs: vec![(a, before), (w, weights)],
                body,
                reverse: true,
            };
            b.scan(scan)[1].into()
        });
        let sizes: Vec<usize> = self.latents.iter().map(|(_, n)| *n).collect();
        let all = digits(b, path, &sizes);
        let own: Vec<(usize, Atom)> = self.latents.iter().map(|(l, _)| *l).zip(all).collect();
        own.into_iter().zip(&self.order).map(|((l, x), order)| (l, b.transpose(x, order))).collect()
    }
}
