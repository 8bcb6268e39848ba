//! Adds the terms of choices whose continuation is called in place.
//!
//! ```text
//!   r  ->  r + sum over choices, from the last to the first, of sum over lanes of e(captured, C_s)
//! ```
//!
//! A term that holds the cost's own value (a weight) is part of the cost of earlier choices.

use super::cost::{Cost, Sums, at_lane, costs};
use super::edit::Edit;
use super::lanes::Costs;
use super::mid::{Mid, MidRandom, Plan, PlanKind, SideOf};
use super::replay::{Continuation, Replays};
use crate::expand::{Cx, Hook, add};
use crate::scope::{Bits, Deps, Flow, Term};
use ppl_core::{Atom, Builder, Func, Op, Prim, Stmt, Var};
use std::collections::{BTreeMap, HashMap};

/// The program with every mark's term in the estimate. Where not `scoped`, every choice's cost is the sum of all terms.
pub(crate) fn terms(f: &Func<Mid>, plans: &[Plan], estimate: usize, scoped: bool) -> (Func<Mid>, Vec<SideOf>) {
    let mut sides = Sides::default();
    let flow = Flow::new(f);
    let result = f.body.results[estimate];
    let all: Vec<Term> = flow.terms(result).into_iter().filter(|t| !t.stopped).collect();
    let mut e = Edit::new(f, &flow.at);
    let reaching = flow.reaching(&all);
    let mut every = Bits::default();
    (0..all.len()).for_each(|n| every.insert(n));
    let mut sums = Sums::new(&all);
    let mut scored = Bits::default();
    for (number, (_, path, stmt)) in flow.choices.iter().enumerate() {
        if let Op::Random(MidRandom::Mark { .. }) = &flow.block_at(path).stmts[*stmt].op {
            scored.insert(number);
        }
    }
    let mut seen = if scoped { costs(&mut e, &mut sums, flow.choices.len(), &scored) } else { Vec::new() };
    let replays = Replays::new(f, result, |t| !t.stopped);
    let shared = super::lanes::costs(&mut e, &flow, plans, &replays);
    let mut weights: Vec<(usize, Deps)> = Vec::new();
    let mut total = result;
    for (number, (choice, path, stmt)) in flow.choices.iter().enumerate().rev() {
        let op = &flow.block_at(path).stmts[*stmt].op;
        let Op::Random(MidRandom::Mark { plan, captured, .. }) = op else { continue };
        let PlanKind::Term { term, weighted } = &plans[*plan].kind else { continue };
        let mine = if scoped { &reaching[number] } else { &every };
        let loops = flow.loops(path);
        let mut cost = if scoped { std::mem::take(&mut seen[number]) } else { Cost::whole(every.clone()) };
        for (part, deps) in &weights {
            if !scoped || deps.contains_key(choice) {
                cost.add_scalar(*part);
            }
        }
        if cost.is_empty() {
            continue;
        }
        let cost = cost.sums(&mut e, &mut sums);
        let mut functions = std::iter::once(term).chain(plans[*plan].sides.iter().map(|s| &s.func));
        let again = match shared.get(&number) {
            Some(costs) => Again::Lane(costs.clone()),
            None if functions.clone().any(calls) => {
                let fresh = functions.any(holds_fresh);
                let fresh = fresh.then(|| Box::new(replays.of_fresh(*choice, path, *stmt)));
                Again::Run { shared: Box::new(replays.of(*choice, path, *stmt)), fresh, differentiable: false }
            }
            None => Again::None,
        };
        let open = e.open(path);
        let lanes: Vec<Atom> = loops.iter().filter_map(|l| e.index.get(&l.index).copied()).collect();
        let mut args: Vec<Atom> = captured.iter().map(|a| e.bring(*a)).collect();
        args.push(at_lane(&mut e, &cost, &lanes));
        let value = call(&mut e, term, &args, &again, &lanes);
        let value = e.close(open, value, &mut |_, _| Atom::float(0.0));
        total = add(&mut e.b, total, value);
        for side in &plans[*plan].sides {
            let none = Again::None;
            let again = if calls(&side.func) { &again } else { &none };
            let lane = |e: &mut Edit<'_>, value: Option<&Func<Mid>>| {
                let open = e.open(path);
                let lanes: Vec<Atom> = loops.iter().filter_map(|l| e.index.get(&l.index).copied()).collect();
                let value = match value {
                    Some(func) => {
                        let mut args: Vec<Atom> = captured.iter().map(|a| e.bring(*a)).collect();
                        args.push(at_lane(e, &cost, &lanes));
                        call(e, func, &args, again, &lanes)
                    }
                    None => Atom::float(1.0),
                };
                e.close(open, value, &mut |_, _| Atom::float(0.0))
            };
            let sum = lane(&mut e, Some(&side.func));
            let always = path.len() == loops.len();
            let count = match side.of {
                SideOf::Also => Atom::float(0.0),
                SideOf::State(_) if always => Atom::float(loops.iter().map(|l| l.len as f64).product()),
                SideOf::State(_) => lane(&mut e, None),
            };
            sides.add(&mut e, side.of, sum, count);
        }
        if *weighted {
            let mut reached = flow.of((*choice).into());
            mine.iter().for_each(|n| reached = std::mem::take(&mut reached).join(&all[n].deps));
            weights.push((sums.scalar(value), reached));
        }
    }
    let mut results = f.body.results.clone();
    results[estimate] = total;
    let of = sides.finish(f, &mut e, &mut results);
    (e.finish(results), of)
}

/// Sums over the lanes of all choices: of a side, and of their number.
#[derive(Default)]
struct Sides(BTreeMap<SideOf, (Atom, Atom)>);

impl Sides {
    fn add(&mut self, e: &mut Edit<'_>, of: SideOf, sum: Atom, count: Atom) {
        let new = match self.0.get(&of).copied() {
            None => (sum, count),
            Some((s, n)) => (add(&mut e.b, s, sum), add(&mut e.b, n, count)),
        };
        self.0.insert(of, new);
    }

    /// Adds the results: a state's mean over lanes (as it was, where there are none), the sum of what is minimised.
    fn finish(self, f: &Func<Mid>, e: &mut Edit<'_>, results: &mut Vec<Atom>) -> Vec<SideOf> {
        let real = crate::expand::real;
        let mut out = Vec::new();
        for (of, (sum, count)) in self.0 {
            results.push(match of {
                SideOf::Also => sum,
                SideOf::State(at) => {
                    let n = real(&mut e.b, Prim::Max, &[count, Atom::float(1.0)]);
                    let mean = real(&mut e.b, Prim::Div, &[sum, n]);
                    let any = e.b.emit1(Op::Prim(Prim::Gt, vec![count, Atom::float(0.0)]), "any", ppl_core::Ty::BOOL);
                    let op = Op::Prim(Prim::Select, vec![any, mean, f.params[at].into()]);
                    e.b.emit1(op, "next", ppl_core::Ty::FLOAT)
                }
            });
            out.push(of);
        }
        out
    }
}

fn calls(f: &Func<Mid>) -> bool {
    holds(&f.body)
}

/// Whether a call stands in the operation's blocks.
pub(crate) fn holds_call(op: &Op<Mid>) -> bool {
    ppl_core::op_blocks(op).into_iter().any(holds)
}

/// What a call of `k` becomes.
pub(crate) enum Again<'f> {
    /// There is none.
    None,
    /// A run of the continuation, on the program's random numbers or on others.
    Run {
        shared: Box<Continuation<'f>>,
        fresh: Option<Box<Continuation<'f>>>,
        /// Whether other choices in it keep their strategies.
        differentiable: bool,
    },
    /// A run that stands elsewhere.
    Lane(Costs),
}

/// Copies a plan's function into the nest of `e`.
pub(crate) fn call(e: &mut Edit<'_>, f: &Func<Mid>, args: &[Atom], again: &Again<'_>, lanes: &[Atom]) -> Atom {
    let mut cx: HashMap<Var, Atom> = f.params.iter().copied().zip(args.iter().copied()).collect();
    let mut run = Inline { f, again, lanes };
    run.block(e, &mut cx, &f.body).first().copied().unwrap_or(Atom::float(0.0))
}

/// Copies one statement of a plan's function without calls of `k`.
pub(crate) fn copy(e: &mut Edit<'_>, from: &Func<Mid>, map: &mut HashMap<Var, Atom>, stmt: &Stmt<Mid>) {
    let mut cx = Cx { from, map: std::mem::take(map) };
    cx.stmt(&mut e.b, &mut Plain, stmt);
    *map = cx.map;
}

/// Copies statements one by one, so that a run of the continuation stands where the call did.
struct Inline<'a, 'f> {
    f: &'a Func<Mid>,
    again: &'a Again<'f>,
    lanes: &'a [Atom],
}

impl Inline<'_, '_> {
    fn block(&mut self, e: &mut Edit<'_>, map: &mut HashMap<Var, Atom>, block: &ppl_core::Block<Mid>) -> Vec<Atom> {
        let at = |map: &HashMap<Var, Atom>, a: Atom| a.var().and_then(|v| map.get(&v).copied()).unwrap_or(a);
        let delayed = delayed(block);
        for (i, stmt) in block.stmts.iter().enumerate() {
            e.b.span = stmt.span;
            if delayed.iter().any(|d| d.call == i || d.stop == Some(i)) {
                continue;
            }
            if let Some(d) = delayed.iter().find(|d| d.product == i) {
                let Op::Random(MidRandom::Again { x, fresh }) = &block.stmts[d.call].op else { continue };
                let (x, w) = (at(map, *x), [d.weight, d.densities[0], d.densities[1]].map(|a| at(map, a)));
                let value = self.weighted(e, block.stmts[d.call].outs[0], (x, *fresh), w, d.stop.is_some());
                map.insert(stmt.outs[0], value);
                continue;
            }
            match &stmt.op {
                Op::Random(MidRandom::Again { x, fresh }) => {
                    let x = at(map, *x);
                    let k = self.run(e, stmt.outs[0], (x, *fresh));
                    map.insert(stmt.outs[0], k);
                }
                Op::Map { len, index, body } if holds(body) => {
                    let new = e.b.index_var(&self.f.vars[index.index()].name);
                    map.insert(*index, new.into());
                    e.begin();
                    let results = self.block(e, map, body);
                    let body = e.end(results);
                    let outs = e.b.map(*len, new, body);
                    map.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
                }
                Op::If { cond, then, els } if holds(then) || holds(els) => {
                    let cond = at(map, *cond);
                    let mut blocks = Vec::new();
                    for b in [then, els] {
                        e.begin();
                        let results = self.block(e, map, b);
                        blocks.push(e.end(results));
                    }
                    let (els, then) = (blocks.remove(1), blocks.remove(0));
                    let outs = e.b.if_(cond, then, els);
                    map.extend(stmt.outs.iter().copied().zip(outs.into_iter().map(Atom::Var)));
                }
                _ => copy(e, self.f, map, stmt),
            }
        }
        block.results.iter().map(|a| at(map, *a)).collect()
    }

    /// The cost of the call that defines `out`: its argument, and the number that changes sites.
    fn run(&mut self, e: &mut Edit<'_>, out: Var, (x, salt): (Atom, Option<u64>)) -> Atom {
        match self.again {
            Again::Run { shared, fresh, differentiable } => {
                let c = if salt.is_some() { fresh.as_ref().unwrap_or(shared) } else { shared };
                c.run(e, x, self.lanes, *differentiable, salt)
            }
            Again::Lane(costs) => costs.of(e, out, self.lanes).unwrap_or(Atom::float(0.0)),
            Again::None => Atom::float(0.0),
        }
    }

    /// `weight * k(x)`, without running `k` where the density is 0: the cost may be infinite there.
    fn weighted(
        &mut self,
        e: &mut Edit<'_>,
        out: Var,
        x: (Atom, Option<u64>),
        [weight, density, same]: [Atom; 3],
        stopped: bool,
    ) -> Atom {
        let mut nonzero = |d: Atom| {
            let op = Op::Prim(ppl_core::Prim::Ne, vec![d, Atom::float(0.0)]);
            e.b.emit1(op, "possible", ppl_core::Ty::BOOL)
        };
        let mut possible = nonzero(density);
        if same != density {
            let other = nonzero(same);
            possible = e.b.emit1(Op::Prim(ppl_core::Prim::Or, vec![possible, other]), "possible", ppl_core::Ty::BOOL);
        }
        e.begin();
        let mut k = self.run(e, out, x);
        if stopped {
            k = e.b.emit1(Op::Stop(k), "k", ppl_core::Ty::FLOAT);
        }
        let value = crate::expand::real(&mut e.b, ppl_core::Prim::Mul, &[weight, k]);
        let then = e.end(vec![value]);
        e.begin();
        let els = e.end(vec![Atom::float(0.0)]);
        e.b.if_(possible, then, els)[0].into()
    }
}

/// A call whose only use is one product in the same block, perhaps under a `stop`; by statement.
struct Delayed {
    call: usize,
    stop: Option<usize>,
    product: usize,
    /// The other factor.
    weight: Atom,
    /// The run is not made where both are 0: the factor itself, or what a factor `d - stop(d)` under which the call is stopped consists of.
    densities: [Atom; 2],
}

fn delayed(block: &ppl_core::Block<Mid>) -> Vec<Delayed> {
    let def = |a: Atom| block.stmts.iter().find(|s| s.outs.iter().any(|v| Atom::Var(*v) == a)).map(|s| &s.op);
    // The statement that uses a value, where there is one only.
    let user = |x: Atom| -> Option<usize> {
        let uses = |op: &Op<Mid>| {
            ppl_core::op_atoms(op).contains(&x)
                || ppl_core::op_blocks(op).into_iter().any(|b| ppl_core::free_vars(b).iter().any(|v| Atom::Var(*v) == x))
        };
        let mut users = (0..block.stmts.len()).filter(|n| uses(&block.stmts[*n].op));
        let first = users.next().filter(|_| !block.results.contains(&x))?;
        users.next().is_none().then_some(first)
    };
    let mut out = Vec::new();
    for (call, stmt) in block.stmts.iter().enumerate() {
        if !matches!(stmt.op, Op::Random(MidRandom::Again { .. })) {
            continue;
        }
        let mut k = Atom::Var(stmt.outs[0]);
        let Some(mut product) = user(k) else { continue };
        let stop = matches!(block.stmts[product].op, Op::Stop(_)).then_some(product);
        if let Some(s) = stop {
            k = Atom::Var(block.stmts[s].outs[0]);
            match user(k) {
                Some(n) => product = n,
                None => continue,
            }
        }
        if let Op::Prim(ppl_core::Prim::Mul, xs) = &block.stmts[product].op
            && xs[0] != xs[1]
        {
            let weight = if xs[0] == k { xs[1] } else { xs[0] };
            let densities = match (stop, def(weight)) {
                (None, _) => [weight; 2],
                (Some(_), Some(Op::Prim(ppl_core::Prim::Sub, d))) => match def(d[1]) {
                    Some(Op::Stop(same)) => [d[0], *same],
                    _ => continue,
                },
                _ => continue,
            };
            out.push(Delayed { call, stop, product, weight, densities });
        }
    }
    // A product of two calls is made as it stands.
    let products: Vec<usize> = out.iter().map(|d| d.product).collect();
    out.retain(|d| products.iter().filter(|p| **p == d.product).count() == 1);
    out
}

/// Whether a plan's function runs its continuation on random numbers of its own.
pub(crate) fn holds_fresh(f: &Func<Mid>) -> bool {
    fn any(block: &ppl_core::Block<Mid>) -> bool {
        block.stmts.iter().any(|s| {
            matches!(s.op, Op::Random(MidRandom::Again { fresh: Some(_), .. })) || ppl_core::op_blocks(&s.op).into_iter().any(any)
        })
    }
    any(&f.body)
}

fn holds(block: &ppl_core::Block<Mid>) -> bool {
    block
        .stmts
        .iter()
        .any(|s| matches!(s.op, Op::Random(MidRandom::Again { .. })) || ppl_core::op_blocks(&s.op).into_iter().any(holds))
}

/// Copies random operations as they are.
struct Plain;

impl Hook<Mid, Mid> for Plain {
    fn random(&mut self, b: &mut Builder<Mid>, cx: &mut Cx<'_, Mid>, stmt: &Stmt<Mid>, op: &MidRandom) -> Vec<Atom> {
        let mut op = Op::Random(op.clone());
        ppl_core::map_atoms(&mut op, &mut |a| cx.atom(a));
        let outs = cx.declare(stmt, std::iter::empty());
        b.emit(op, outs).into_iter().map(Atom::Var).collect()
    }
}
