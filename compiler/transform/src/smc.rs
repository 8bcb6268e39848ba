//! Sequential Monte Carlo inside marginals and normalised targets.
//!
//! in:    an integral by `smc(q, N)` of a program of the form `before; scan; after`, its arguments in place
//! out:   `Est` statements: a draw of what is kept with its log density, or the log density of given values
//! keeps: strategies of the choices inside; each resampled index is a sample with a strategy of its own
//!
//! `A` runs forwards (`sim q`, or the program itself with what is given scored), `B` scores (`density p`); both have a scan over the same steps.
//!
//! ```text
//!   before   x^i, A, B of each particle i < N                                  w0^i
//!   step t   x_t^i, A, B;  w^i = B's weight - A's  (+ w0^i in the first);  Z += log_mean_exp(w)
//!            a^i ~ categorical_logits(w);  particle i goes on from particle a^i
//!   after    w^i;  Z += log_mean_exp(w);  k ~ categorical_logits(w)            (k = 0 where nothing is weighted)
//!   path     back from k: x_t = x_t^j, j = a_t^k, k := j                       a reverse scan: T N numbers, not T T N
//! ```
//!
//! `exp(Z)` is unbiased for the integral. A conditional run keeps given values in particle 0, whose ancestor is always particle 0.
//! A marginal is `Z`, of a draw by the conditional run; a normalised target draws the path, with log density `log p(path) - Z`.
//!
//! Not handled: choices or weights in `after` that need the whole of an earlier array (E0422).

use crate::density::Mode;
use crate::expand::{Cx, Hook, add, real};
use crate::inline::Inliner;
use crate::marginal::{last, log_mean_exp, modes};
use ppl_core::{
    Atom, Block, Builder, Choice, Est, EstRandom, Func, Integral, IntegralKind, Op, Prim, ReduceOp, Scan, Stmt, Ty, Var,
};
use ppl_diag::{Code, Diagnostic};
use std::collections::{HashMap, HashSet};

type Result<T> = std::result::Result<T, Vec<Diagnostic>>;

/// A program around its scan.
struct Parts {
    f: Func<Est>,
    /// The scan's position in the body.
    at: usize,
    /// The scan's output that stacks the steps' weights.
    weights: Option<usize>,
    /// Summands of the weight that are known before the scan, and after it.
    before: Vec<Atom>,
    after: Vec<Atom>,
}

/// Where a choice's value comes from in a forward run.
#[derive(Clone, Copy)]
enum Source {
    /// Result `k` of the scan's body.
    Step(usize),
    /// A variable before the scan.
    Before(Var),
}

impl Parts {
    fn scan(&self) -> &Scan<Est> {
        match &self.f.body.stmts[self.at].op {
            Op::Scan(s) => s,
            _ => unreachable_scan(),
        }
    }

    fn outs(&self) -> &[Var] {
        &self.f.body.stmts[self.at].outs
    }

    fn def(&self, v: Var) -> Option<&Stmt<Est>> {
        self.f.body.stmts.iter().find(|s| s.outs.contains(&v))
    }

    /// `None` where the program is not of the form, or its weight is not a sum over steps.
    fn of(f: Func<Est>) -> Option<Parts> {
        let scans: Vec<usize> = (0..f.body.stmts.len()).filter(|i| matches!(f.body.stmts[*i].op, Op::Scan(_))).collect();
        let [at] = scans[..] else { return None };
        let mut p = Parts { f, at, weights: None, before: Vec::new(), after: Vec::new() };
        let late = p.late();
        let mut leaves = vec![last(p.f.body.results.clone())];
        while let Some(a) = leaves.pop() {
            let Some(v) = a.var() else {
                if a != Atom::float(0.0) {
                    p.before.push(a);
                }
                continue;
            };
            match p.def(v).map(|s| s.op.clone()) {
                Some(Op::Prim(Prim::Add, xs)) if late.contains(&v) => leaves.extend(xs),
                Some(Op::Reduce { op: ReduceOp::Sum, x: Atom::Var(x), axes }) if axes == [0] => {
                    match p.outs().iter().position(|o| *o == x) {
                        Some(k) if p.f.ty(x).rank() == 1 => p.weights = Some(k),
                        _ if late.contains(&v) => p.after.push(a),
                        _ => p.before.push(a),
                    }
                }
                _ if late.contains(&v) => p.after.push(a),
                _ => p.before.push(a),
            }
        }
        Some(p)
    }

    /// Variables computed from the scan's results.
    fn late(&self) -> HashSet<Var> {
        let mut late: HashSet<Var> = self.outs().iter().copied().collect();
        for s in &self.f.body.stmts[self.at + 1..] {
            if reads(s).any(|v| late.contains(&v)) {
                late.extend(&s.outs);
            }
        }
        late
    }

    /// Where result `k` of the function, a choice, is made.
    fn source(&self, k: usize) -> Option<Source> {
        let mut v = self.f.body.results[k].var()?;
        if let Some(Stmt { op: Op::Transpose { x: Atom::Var(x), .. }, .. }) = self.def(v) {
            v = *x;
        }
        match self.outs().iter().position(|o| *o == v) {
            Some(k) if k >= self.scan().carry.len() => Some(Source::Step(k)),
            Some(_) => None,
            None if self.late().contains(&v) => None,
            None => Some(Source::Before(v)),
        }
    }

    /// Parameter behind a scan's slice, through a transposition.
    fn sliced(&self, x: Atom) -> Option<usize> {
        let mut v = x.var()?;
        if let Some(Stmt { op: Op::Transpose { x: Atom::Var(x), .. }, .. }) = self.def(v) {
            v = *x;
        }
        self.f.params.iter().position(|p| *p == v)
    }

    /// Statements before the scan, and those after it that `uses` need.
    fn after(&self, uses: &[Atom]) -> Vec<usize> {
        let mut wanted: HashSet<Var> = uses.iter().filter_map(|a| a.var()).collect();
        let mut out = Vec::new();
        for i in (self.at + 1..self.f.body.stmts.len()).rev() {
            let s = &self.f.body.stmts[i];
            if s.outs.iter().any(|v| wanted.contains(v)) {
                wanted.extend(reads(s));
                out.push(i);
            }
        }
        out.reverse();
        out
    }
}

fn unreachable_scan() -> ! {
    panic!("a program around a scan has lost it")
}

fn reads(s: &Stmt<Est>) -> impl Iterator<Item = Var> {
    let inner: Vec<Var> = ppl_core::op_blocks(&s.op).into_iter().flat_map(ppl_core::free_vars).collect();
    ppl_core::op_atoms(&s.op).into_iter().filter_map(Atom::var).chain(inner)
}

/// Copies random operations as they are.
struct Plain;

impl Hook<Est, Est> for Plain {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, op: &EstRandom) -> Vec<Atom> {
        let mut op = Op::Random(op.clone());
        ppl_core::map_atoms(&mut op, &mut |a| cx.atom(a));
        let outs = cx.declare(stmt, std::iter::empty());
        b.emit(op, outs).into_iter().map(Atom::Var).collect()
    }
}

/// One program in the run: what its variables have become outside of the particles, and by particle.
struct Lane<'p> {
    parts: &'p Parts,
    /// The same for every particle.
    shared: HashMap<Var, Atom>,
    /// Arrays by particle.
    by_particle: Vec<(Var, Atom)>,
    negated: bool,
}

impl Inliner<'_> {
    pub(crate) fn smc_sim(&mut self, b: &mut Builder<Est>, name: &str, i: &Integral) -> Result<(Vec<Atom>, Atom)> {
        if i.kind == IntegralKind::Normalize {
            let (path, z) = self.particles(b, name, i, &[], None)?;
            let f = self.density(i.callee)?;
            let log_p = last(b.inline(&f, &[&i.args[..], &self.filled(i, &path)].concat()));
            return Ok((path, real(b, Prim::Sub, &[log_p, z])));
        }
        let f = self.sim(i.callee)?;
        let mut outs = b.inline(&f, &i.args);
        outs.pop();
        let all = outs.split_off(outs.len() - self.module.choices(i.callee).len());
        let kept: Vec<Atom> = all.iter().enumerate().filter(|(k, _)| i.keeps(*k)).map(|(_, a)| *a).collect();
        let (_, z) = self.particles(b, name, i, &kept, Some(&all))?;
        Ok((kept, z))
    }

    pub(crate) fn smc_density(&mut self, b: &mut Builder<Est>, name: &str, i: &Integral, kept: &[Atom]) -> Result<Atom> {
        if i.kind == IntegralKind::Normalize {
            let all = self.filled(i, kept);
            let f = self.density(i.callee)?;
            let log_p = last(b.inline(&f, &[&i.args[..], &all].concat()));
            let (_, z) = self.particles(b, name, i, &[], Some(&all))?;
            return Ok(real(b, Prim::Sub, &[log_p, z]));
        }
        Ok(self.particles(b, name, i, kept, None)?.1)
    }

    /// The run: a path of the choices that are integrated out (of a normalised target), and the log of the estimate. `retained` holds every choice of a
    /// conditional run.
    fn particles(
        &mut self,
        b: &mut Builder<Est>,
        name: &str,
        i: &Integral,
        kept: &[Atom],
        retained: Option<&[Atom]>,
    ) -> Result<(Vec<Atom>, Atom)> {
        let choices = self.module.choices(i.callee);
        let marginal = matches!(i.kind, IntegralKind::Marginal { .. });
        let mut next = kept.iter();
        let fixed: Vec<Option<Atom>> = (0..choices.len())
            .map(|k| i.value_of(k).or_else(|| if marginal && i.keeps(k) { next.next().copied() } else { None }))
            .collect();
        let latent: Vec<usize> = (0..choices.len()).filter(|k| fixed[*k].is_none()).collect();
        let given: Vec<Atom> = fixed.iter().flatten().copied().collect();
        // The forward run, its arguments, and the number of the result that each latent choice is.
        let (forward, args, made) = match &i.proposal {
            None => {
                let f = self.reading(i.callee, &modes(i, choices.len(), Mode::Drawn))?;
                let first = f.body.results.len() - 1 - latent.len();
                let made = (first..first + latent.len()).collect::<Vec<_>>();
                (f, [&i.args[..], &given].concat(), made)
            }
            Some(p) => {
                let f = self.sim(p.callee)?;
                let proposed = self.module.choices(p.callee);
                let first = f.body.results.len() - 1 - proposed.len();
                let at = |c: &Choice| proposed.iter().position(|q| q.addr == c.addr).map(|n| first + n);
                let made: Vec<usize> = latent.iter().filter_map(|k| at(&choices[*k])).collect();
                let trace = if p.takes_trace && marginal { kept } else { &[] };
                (f, [trace, &p.args[..]].concat(), made)
            }
        };
        let span = self.module.generative(i.callee).span;
        let unfit = |what: &str| {
            let g = &self.module.generative(i.callee).name;
            vec![
                Diagnostic::error(Code("E0422"), format!("`smc` cannot run `{g}` step by step: {what}"))
                    .label(span, "resampled after each round of its loop")
                    .note("the program is one loop with `carry` (or one that reads earlier rounds), with statements before and after it; what is integrated out is chosen before the loop or in it")
                    .help("use `importance` or `sir`, which need no loop"),
            ]
        };
        let Some(a) = Parts::of(forward) else { return Err(unfit("it is not a single loop")) };
        let sources: Option<Vec<Source>> = made.iter().map(|k| a.source(*k)).collect();
        let Some(sources) = sources else { return Err(unfit("a choice is made after the loop")) };
        let scored = match &i.proposal {
            None => None,
            Some(_) => match Parts::of(self.density(i.callee)?) {
                Some(p) if p.scan().len == a.scan().len => Some(p),
                Some(_) => return Err(unfit("the proposal's loop has another number of rounds")),
                None => return Err(unfit("it is not a single loop")),
            },
        };
        if a.scan().len == 0 {
            return Err(unfit("its loop has no rounds"));
        }
        let mut run = Run {
            b,
            n: i.count,
            len: a.scan().len,
            latent: &latent,
            sources: &sources,
            retained,
            first_latent_param: scored.as_ref().map(|p| p.f.params.len() - choices.len()),
        };
        let mut lanes = vec![Lane {
            parts: &a,
            shared: a.f.params.iter().copied().zip(args.iter().copied()).collect(),
            by_particle: Vec::new(),
            negated: scored.is_some(),
        }];
        if let Some(p) = &scored {
            let all: Vec<Atom> = (0..choices.len()).map(|k| fixed[k].unwrap_or(Atom::int(0))).collect();
            let args = [&i.args[..], &all].concat();
            let known = p.f.params.iter().copied().zip(args).enumerate();
            let skip = p.f.params.len() - choices.len();
            let shared = known.filter(|(n, _)| *n < skip || fixed[n - skip].is_some()).map(|(_, x)| x).collect();
            lanes.push(Lane { parts: p, shared, by_particle: Vec::new(), negated: false });
        }
        if lanes.iter().any(|l| l.parts.after(&l.parts.after).iter().any(|s| run.whole_stacks(l.parts, *s))) {
            return Err(unfit("a density after the loop depends on the whole of its values"));
        }
        let w0 = run.before(&mut lanes);
        let mut index = |b: &mut Builder<Est>, ws: Atom| self.index(b, name, i, ws);
        run.steps(&mut lanes, w0, &mut index)
    }
}

struct Run<'r> {
    b: &'r mut Builder<Est>,
    n: usize,
    len: usize,
    /// Numbers of the choices that are integrated out, and where the forward run makes them.
    latent: &'r [usize],
    sources: &'r [Source],
    /// Every choice, where particle 0 is given.
    retained: Option<&'r [Atom]>,
    /// The scoring program's first parameter that is a choice.
    first_latent_param: Option<usize>,
}

/// The array of the steps and where the path of each choice is read.
struct Paths {
    steps: Vec<Atom>,
    ancestors: Atom,
}

impl Run<'_> {
    /// Whether a statement after the loop reads a stack of it, not only last values.
    fn whole_stacks(&self, p: &Parts, stmt: usize) -> bool {
        let carries = p.scan().carry.len();
        let stacks: HashSet<Var> = p.outs()[carries..].iter().copied().collect();
        reads(&p.f.body.stmts[stmt]).any(|v| stacks.contains(&v))
    }

    /// The value of latent `k` that particle 0 is given, where `lane` is 0.
    fn keep(&mut self, lane: Atom, value: Atom, given: impl FnOnce(&mut Builder<Est>, Atom) -> Atom, k: usize) -> Atom {
        let Some(all) = self.retained else { return value };
        let old = given(self.b, all[self.latent[k]]);
        let first = self.b.emit1(Op::Prim(Prim::Eq, vec![lane, Atom::int(0)]), "kept", Ty::BOOL);
        let ty = self.b.ty(value);
        let mask = self.b.full(first, &ty.shape);
        self.b.emit1(Op::Prim(Prim::Select, vec![mask, old, value]), "x", ty)
    }

    /// Copies statements of a lane's program, with these variables.
    fn copy(&mut self, p: &Parts, map: HashMap<Var, Atom>, stmts: &[usize]) -> HashMap<Var, Atom> {
        let mut cx = Cx { from: &p.f, map };
        for s in stmts {
            cx.stmt(self.b, &mut Plain, &p.f.body.stmts[*s]);
        }
        cx.map
    }

    /// Statements before the scan; returns the particles' weights so far.
    fn before(&mut self, lanes: &mut [Lane<'_>]) -> Atom {
        let lane_index = self.b.index_var("particle");
        let mut plans = Vec::new();
        let mut drawn: Vec<(usize, Atom)> = Vec::new();
        for (n, l) in lanes.iter_mut().enumerate() {
            let p = l.parts;
            // What no draw reaches is computed once.
            let mut varies: HashSet<Var> = p.f.params.iter().copied().filter(|v| !l.shared.contains_key(v)).collect();
            let (mut once, mut each) = (Vec::new(), Vec::new());
            for (k, s) in p.f.body.stmts[..p.at].iter().enumerate() {
                if samples(s) || reads(s).any(|v| varies.contains(&v)) {
                    varies.extend(&s.outs);
                    each.push(k);
                } else {
                    once.push(k);
                }
            }
            let shared = std::mem::take(&mut l.shared);
            l.shared = self.copy(p, shared, &once);
            plans.push((n, each, varies));
        }
        self.b.begin();
        let mut results: Vec<Atom> = Vec::new();
        let mut outs: Vec<(usize, Var)> = Vec::new();
        let mut w = Atom::float(0.0);
        for (n, each, varies) in &plans {
            let l = &lanes[*n];
            let mut map = l.shared.clone();
            if *n == 1 {
                for (k, x) in &drawn {
                    map.insert(l.parts.f.params[self.first_latent_param.unwrap_or(0) + self.latent[*k]], *x);
                }
            }
            let mut cx = Cx { from: &l.parts.f, map };
            for s in each {
                cx.stmt(self.b, &mut Plain, &l.parts.f.body.stmts[*s]);
                for v in &l.parts.f.body.stmts[*s].outs {
                    let made = self.sources.iter().position(|x| matches!(x, Source::Before(u) if u == v));
                    if let (Some(k), 0) = (made, *n) {
                        let x = self.keep(lane_index.into(), cx.atom((*v).into()), |_, a| a, k);
                        cx.map.insert(*v, x);
                        drawn.push((k, x));
                    }
                }
            }
            for a in &l.parts.before {
                w = signed(self.b, w, cx.atom(*a), l.negated);
            }
            let mut vars: Vec<Var> = varies.iter().copied().filter(|v| cx.map.contains_key(v)).collect();
            vars.sort_unstable();
            let used = used_later(l.parts);
            for v in vars {
                let source = *n == 0 && self.sources.iter().any(|x| matches!(x, Source::Before(u) if *u == v));
                if used.contains(&v) || source {
                    results.push(cx.map[&v]);
                    outs.push((*n, v));
                }
            }
        }
        results.push(w);
        let body = self.b.end(results);
        let arrays = self.b.map(self.n, lane_index, body);
        for ((n, v), a) in outs.iter().zip(&arrays) {
            lanes[*n].by_particle.push((*v, (*a).into()));
        }
        arrays.last().map_or(Atom::float(0.0), |v| (*v).into())
    }

    /// The scan, what follows it, and the path.
    fn steps(
        &mut self,
        lanes: &mut [Lane<'_>],
        w0: Atom,
        index: &mut dyn FnMut(&mut Builder<Est>, Atom) -> Result<Atom>,
    ) -> Result<(Vec<Atom>, Atom)> {
        let n = self.n;
        // Carried: each program's carries and its values by particle, then the weights and the estimate so far.
        let mut carry: Vec<(Var, Atom)> = Vec::new();
        let mut slots: Vec<(usize, Var)> = Vec::new();
        for (k, l) in lanes.iter().enumerate() {
            for (v, init) in &l.parts.scan().carry {
                let ty = l.parts.f.ty(*v).lifted(&[n]);
                let known = init.var().and_then(|u| l.by_particle.iter().find(|(w, _)| *w == u)).map(|(_, a)| *a);
                let init = known.unwrap_or_else(|| {
                    let one = init.var().and_then(|u| l.shared.get(&u).copied()).unwrap_or(*init);
                    let axes: Vec<usize> = (1..ty.rank()).collect();
                    self.b.broadcast(one, &ty.shape, &axes)
                });
                carry.push((self.b.fresh("c", ty), init));
                slots.push((k, *v));
            }
            for (v, a) in &l.by_particle {
                let ty = self.b.ty(*a);
                carry.push((self.b.fresh("p", ty), *a));
                slots.push((k, *v));
            }
        }
        let (w_in, z_in) = (self.b.fresh("w", Ty::float([n])), self.b.fresh("z", Ty::FLOAT));
        carry.extend([(w_in, w0), (z_in, Atom::float(0.0))]);
        let mut xs: Vec<(Var, Atom)> = Vec::new();
        // Slices that are the same for all particles; those of latent choices of particle 0.
        let mut slices: Vec<HashMap<Var, Atom>> = vec![HashMap::new(); lanes.len()];
        for (k, l) in lanes.iter().enumerate() {
            for (v, x) in &l.parts.scan().xs {
                if let Some(a) = x.var().and_then(|u| l.shared.get(&u).copied()) {
                    let new = self.b.fresh("x", l.parts.f.ty(*v).clone());
                    xs.push((new, a));
                    slices[k].insert(*v, new.into());
                }
            }
        }
        let mut kept: Vec<Option<Atom>> = vec![None; self.latent.len()];
        if let Some(all) = self.retained {
            for (k, s) in self.sources.iter().enumerate() {
                let Source::Step(r) = s else { continue };
                let p = lanes[0].parts;
                let ty = p.f.atom_ty(p.scan().body.results[*r]);
                let whole = in_step_order(self.b, p, *r, all[self.latent[k]]);
                let new = self.b.fresh("kept", ty);
                xs.push((new, whole));
                kept[k] = Some(new.into());
            }
        }
        let time = self.b.index_var("t");
        self.b.begin();
        let particle = self.b.index_var("particle");
        self.b.begin();
        let mut w = self.b.gather(w_in.into(), particle.into(), 0);
        let mut drawn: Vec<Option<Atom>> = vec![None; self.latent.len()];
        let (mut nexts, mut stay) = (Vec::new(), Vec::new());
        for (k, l) in lanes.iter().enumerate() {
            let (p, s) = (l.parts, l.parts.scan());
            let mut map = l.shared.clone();
            map.insert(s.index, time.into());
            for ((slot, v), (c, _)) in slots.iter().zip(&carry).filter(|((slot, _), _)| *slot == k) {
                let _ = slot;
                map.insert(*v, self.b.gather((*c).into(), particle.into(), 0));
            }
            for (v, x) in &s.xs {
                if let Some(a) = slices[k].get(v) {
                    map.insert(*v, *a);
                } else if let Some(c) = p.sliced(*x).and_then(|n| n.checked_sub(self.first_latent_param?)).filter(|_| k == 1) {
                    if let Some(x) = self.latent.iter().position(|l| *l == c).and_then(|m| drawn[m]) {
                        map.insert(*v, x);
                    }
                } else {
                    let whole = map.get(&x.var().unwrap_or(*v)).copied().unwrap_or(*x);
                    map.insert(*v, self.b.gather(whole, time.into(), 0));
                }
            }
            let mut cx = Cx { from: &p.f, map };
            for stmt in &s.body.stmts {
                cx.stmt(self.b, &mut Plain, stmt);
                if k > 0 {
                    continue;
                }
                for v in &stmt.outs {
                    for m in 0..self.sources.len() {
                        let made = matches!(self.sources[m], Source::Step(r) if s.body.results[r] == Atom::Var(*v));
                        if !made {
                            continue;
                        }
                        let old = kept[m];
                        let x = self.keep(particle.into(), cx.atom((*v).into()), |_, a| old.unwrap_or(a), m);
                        cx.map.insert(*v, x);
                        drawn[m] = Some(x);
                    }
                }
            }
            if let Some(r) = p.weights {
                w = signed(self.b, w, cx.atom(s.body.results[r]), l.negated);
            }
            nexts.extend(s.body.results[..s.carry.len()].iter().map(|a| cx.atom(*a)));
            stay.push(l.by_particle.len());
        }
        let values: Vec<Atom> = drawn.iter().flatten().copied().collect();
        let (n_next, n_values) = (nexts.len(), values.len());
        let body = self.b.end([nexts, values, vec![w]].concat());
        let outs: Vec<Atom> = self.b.map(n, particle, body).into_iter().map(Atom::Var).collect();
        let ws = outs[n_next + n_values];
        let mean = log_mean_exp(self.b, ws);
        let z = add(self.b, z_in.into(), mean);
        let ancestors = self.resample(ws, index)?;
        // In the order of the carries: each program's next carries, then its values by particle.
        let mut results = Vec::new();
        let mut next = outs[..n_next].iter();
        for (k, l) in lanes.iter().enumerate() {
            for (c, _) in slots
                .iter()
                .zip(&carry)
                .filter(|((slot, _), _)| *slot == k)
                .map(|(_, c)| c)
                .enumerate()
                .map(|(m, c)| if m < l.parts.scan().carry.len() { (next.next().copied(), *c) } else { (None, *c) })
                .map(|(a, (v, _))| (a.unwrap_or(v.into()), ()))
            {
                results.push(self.b.gather(c, ancestors, 0));
            }
        }
        results.extend([self.b.full(Atom::float(0.0), &[n]), z]);
        results.extend(&outs[n_next..n_next + n_values]);
        results.push(ancestors);
        let body: Block<Est> = self.b.end(results);
        let carries = carry.len();
        let scan = Scan { len: self.len, index: time, carry, xs, body, reverse: false };
        let outs: Vec<Atom> = self.b.scan(scan).into_iter().map(Atom::Var).collect();
        let mut z = outs[carries - 1];
        let mut end: Atom = Atom::int(0);
        if lanes.iter().any(|l| !l.parts.after.is_empty()) {
            let ws = self.after(lanes, &slots, &outs);
            let mean = log_mean_exp(self.b, ws);
            z = add(self.b, z, mean);
            if self.retained.is_none() {
                end = index(self.b, ws)?;
            }
        }
        let paths = Paths { steps: outs[carries..carries + n_values].to_vec(), ancestors: outs[carries + n_values] };
        let path = if self.retained.is_some() { Vec::new() } else { self.path(lanes, &slots, &outs, &paths, end) };
        Ok((path, z))
    }

    /// Ancestors of each particle; particle 0 of a conditional run is its own.
    fn resample(&mut self, ws: Atom, index: &mut dyn FnMut(&mut Builder<Est>, Atom) -> Result<Atom>) -> Result<Atom> {
        let n = self.n - usize::from(self.retained.is_some());
        if n == 0 {
            return Ok(self.b.full(Atom::int(0), &[1]));
        }
        let lane = self.b.index_var("particle");
        self.b.begin();
        let a = index(self.b, ws);
        let body = self.b.end(vec![*a.as_ref().unwrap_or(&Atom::int(0))]);
        a?;
        let drawn: Atom = self.b.map(n, lane, body)[0].into();
        if self.retained.is_none() {
            return Ok(drawn);
        }
        let own = self.b.full(Atom::int(0), &[1]);
        Ok(self.b.concat(&[own, drawn], 0))
    }

    /// Weights after the scan, by particle.
    fn after(&mut self, lanes: &[Lane<'_>], slots: &[(usize, Var)], outs: &[Atom]) -> Atom {
        let particle = self.b.index_var("particle");
        self.b.begin();
        let mut w = Atom::float(0.0);
        for (k, l) in lanes.iter().enumerate() {
            let p = l.parts;
            let mut map = l.shared.clone();
            let mut carried = 0;
            for ((_, v), c) in slots.iter().zip(outs).filter(|((slot, _), _)| *slot == k) {
                let x = self.b.gather(*c, particle.into(), 0);
                // A carry's last value is the scan's output.
                if carried < p.scan().carry.len() {
                    map.insert(p.outs()[carried], x);
                    carried += 1;
                } else {
                    map.insert(*v, x);
                }
            }
            let map = self.copy(p, map, &p.after(&p.after));
            for a in &p.after {
                let x = a.var().and_then(|v| map.get(&v).copied()).unwrap_or(*a);
                w = signed(self.b, w, x, l.negated);
            }
        }
        let body = self.b.end(vec![w]);
        self.b.map(self.n, particle, body)[0].into()
    }

    /// The choices along the ancestors of particle `end`.
    fn path(&mut self, lanes: &[Lane<'_>], slots: &[(usize, Var)], outs: &[Atom], paths: &Paths, end: Atom) -> Vec<Atom> {
        let back = self.b.fresh("k", Ty::INT);
        let ancestors = self.b.fresh("a", Ty::new(ppl_core::DType::Int, [self.n]));
        let mut xs = vec![(ancestors, paths.ancestors)];
        for s in &paths.steps {
            let mut ty = self.b.ty(*s);
            ty.shape.remove(0);
            xs.push((self.b.fresh("x", ty), *s));
        }
        let time = self.b.index_var("t");
        self.b.begin();
        let from = self.b.gather(ancestors.into(), back.into(), 0);
        let mut results = vec![from];
        for (v, _) in &xs[1..] {
            results.push(self.b.gather((*v).into(), from, 0));
        }
        let body = self.b.end(results);
        let scan = Scan { len: self.len, index: time, carry: vec![(back, end)], xs, body, reverse: true };
        let back = self.b.scan(scan);
        let p = lanes[0].parts;
        let mut steps = back[1..].iter();
        let mut out = Vec::new();
        for s in self.sources {
            out.push(match s {
                Source::Step(r) => {
                    let stack = steps.next().map_or(Atom::float(0.0), |v| (*v).into());
                    in_address_order(self.b, p, *r, stack)
                }
                Source::Before(v) => {
                    let at = slots.iter().position(|(k, u)| *k == 0 && u == v);
                    let values = at.map_or(Atom::float(0.0), |n| outs[n]);
                    self.b.gather(values, end, 0)
                }
            });
        }
        out
    }
}

fn signed(b: &mut Builder<Est>, w: Atom, x: Atom, negated: bool) -> Atom {
    if negated { real(b, Prim::Sub, &[w, x]) } else { add(b, w, x) }
}

fn samples(s: &Stmt<Est>) -> bool {
    matches!(s.op, Op::Random(EstRandom::Sample { .. } | EstRandom::Draw(_) | EstRandom::Path(_)))
        || ppl_core::op_blocks(&s.op).into_iter().any(|b| b.stmts.iter().any(samples))
}

/// Variables that the scan or what counts after it reads.
fn used_later(p: &Parts) -> HashSet<Var> {
    let mut used: HashSet<Var> = reads(&p.f.body.stmts[p.at]).collect();
    for s in p.after(&p.after) {
        used.extend(reads(&p.f.body.stmts[s]));
    }
    used.extend(p.after.iter().filter_map(|a| a.var()));
    used
}

/// The transposition from the scan's output `r` to the choice's array, if there is one.
fn order(p: &Parts, r: usize) -> Option<&Vec<usize>> {
    let out = Atom::Var(p.outs()[r]);
    p.f.body.stmts.iter().find_map(|s| match &s.op {
        Op::Transpose { x, perm } if *x == out => Some(perm),
        _ => None,
    })
}

fn in_address_order(b: &mut Builder<Est>, p: &Parts, r: usize, stack: Atom) -> Atom {
    match order(p, r) {
        Some(perm) => b.transpose(stack, perm),
        None => stack,
    }
}

fn in_step_order(b: &mut Builder<Est>, p: &Parts, r: usize, whole: Atom) -> Atom {
    match order(p, r) {
        Some(perm) => {
            let back: Vec<usize> = (0..perm.len()).filter_map(|i| perm.iter().position(|p| *p == i)).collect();
            b.transpose(whole, &back)
        }
        None => whole,
    }
}
