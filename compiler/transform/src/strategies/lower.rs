//! Draws, densities and choices of a flat estimator program, with sites.
//!
//! ```text
//!   L[ x = draw d ]            =  x = stop(d.sample())           at a site of its own, with the lanes and times around it
//!   L[ x = path d ]            =  x = d.sample()
//!   L[ l = log_density(d, x) ] =  l = d.log_density(x)
//!   L[ s = score(d, x) ]       =  l = d.log_density(stop(x));  s = l - stop(l)
//!   L[ x = sample d by s ]     =  the strategy's statements before its call `k(e)`;  x = e      (tail: nothing else)
//!                                 mark x                                                        (term, weighted)
//!                                 split x                                                       (whole)
//! ```

use super::class::{Class, classify, summands};
use super::mid::{Mid, MidRandom, Plan, PlanKind, PlanSide, SideOf};
use crate::expand::{Cx, Head, Hook, fnv1a, real};
use ppl_core::{
    Atom, Block, Builder, DType, Det, DetId, DetRandom, DistUse, Est, EstRandom, Func, Module, Op, Prim, Stmt, StrategySide,
    StrategyUse, Ty, Var,
};
use ppl_diag::{Code, Diagnostic, Span};
use std::collections::{BTreeSet, HashMap};

/// Flat strategy functions and their classes, by strategy.
pub(crate) type Strategies = HashMap<ppl_core::StrategyId, (Func<Est>, Class)>;

/// Lowers one program.
pub(crate) struct Lower<'m> {
    pub(crate) module: &'m Module,
    pub(crate) strategies: &'m Strategies,
    /// Every sample just draws.
    pub(crate) value_only: bool,
    pub(crate) plans: Vec<Plan>,
    pub(crate) errors: Vec<Diagnostic>,
    /// Where the density that a variable belongs to was taken.
    pub(crate) origins: HashMap<Var, Span>,
    /// Choices whose value carries the gradient: label, strategy, place.
    pub(crate) tails: Vec<(String, String, Span)>,
    /// Parameters of the whole function.
    params: Vec<Atom>,
    /// Indices and lengths of the loops around, outermost first.
    lanes: Vec<Lane>,
    /// Path of the sites, and the number of the next one.
    path: String,
    next: usize,
}

impl<'m> Lower<'m> {
    pub(crate) fn new(module: &'m Module, strategies: &'m Strategies, value_only: bool) -> Self {
        Lower {
            module,
            strategies,
            value_only,
            plans: Vec::new(),
            errors: Vec::new(),
            origins: HashMap::new(),
            tails: Vec::new(),
            params: Vec::new(),
            lanes: Vec::new(),
            path: String::new(),
            next: 0,
        }
    }

    /// The whole function.
    pub(crate) fn function(&mut self, f: &Func<Est>) -> Func<Mid> {
        let mut b = Builder::<Mid>::new(f.name.clone());
        b.func.span = f.span;
        let args: Vec<Atom> = f.params.iter().map(|p| b.param(f.vars[p.index()].name.clone(), f.ty(*p).clone()).into()).collect();
        self.path = f.name.clone();
        self.params.clone_from(&args);
        let results = Cx::new(f, &args).block(&mut b, self, &f.body);
        b.finish(results)
    }

    fn missing(&mut self, what: &str, dist: &DistUse, span: Span) -> Vec<Atom> {
        let d = self.module.dist(dist.dist);
        self.errors.push(
            Diagnostic::error(Code("E0406"), format!("`{}` has no {what}", d.name))
                .label(span, format!("needs the {what}"))
                .label(d.span, "declared here")
                .help(format!("give the distribution a {what}")),
        );
        Vec::new()
    }

    fn log_density(&mut self, b: &mut Builder<Mid>, dist: &DistUse, x: Atom, span: Span) -> Vec<Atom> {
        let Some(id) = self.module.dist(dist.dist).log_density else { return self.missing("log density", dist, span) };
        let first = b.func.vars.len();
        let out = self.det(b, id, &[&[x], &dist.args[..]].concat());
        self.origins.extend((first..b.func.vars.len()).map(|v| (Var(v as u32), span)));
        out
    }

    fn draw(&mut self, b: &mut Builder<Mid>, dist: &DistUse, stop: bool, span: Span) -> Vec<Atom> {
        let Some(id) = self.module.dist(dist.dist).sample else { return self.missing("`sample` program", dist, span) };
        let out = self.det(b, id, &dist.args);
        out.into_iter().map(|x| if stop && b.ty(x).dtype == DType::Float { rigid(b, x) } else { x }).collect()
    }

    /// A deterministic function's body, in place, its draws at this path.
    fn det(&mut self, b: &mut Builder<Mid>, id: DetId, args: &[Atom]) -> Vec<Atom> {
        let f = flat_det(self.module, id, 0);
        let mut hook = Draws { path: &self.path, next: &mut self.next, lanes: &self.lanes };
        Cx::new(&f, args).block(b, &mut hook, &f.body)
    }

    /// Loop indices around the statement.
    fn indices(&self) -> Vec<Atom> {
        self.lanes.iter().map(|l| l.index).collect()
    }

    fn sample(&mut self, b: &mut Builder<Mid>, dist: &DistUse, strategy: &StrategyUse, label: &str, span: Span) -> Vec<Atom> {
        let saved = (std::mem::replace(&mut self.path, label.to_string()), std::mem::take(&mut self.next));
        let out = match strategy {
            StrategyUse::Named { strategy: id, args, .. } if !self.value_only => {
                let own = self.strategies.get(id).cloned();
                match own {
                    Some((f, class)) => {
                        let args = [&dist.args[..], args].concat();
                        let name = self.module.strategy(*id).name.clone();
                        let sides = self.module.strategy(*id).sides.clone();
                        let plan =
                            |kind| Plan { label: label.to_string(), strategy: name.clone(), span, kind, sides: Vec::new() };
                        self.by_class(b, dist, &f, class, &args, &plan, &sides, span)
                    }
                    None => Vec::new(),
                }
            }
            _ => self.draw(b, dist, true, span),
        };
        (self.path, self.next) = saved;
        out
    }

    #[expect(clippy::too_many_arguments, reason = "one sample's parts")]
    fn by_class(
        &mut self,
        b: &mut Builder<Mid>,
        dist: &DistUse,
        f: &Func<Est>,
        class: Class,
        args: &[Atom],
        plan: &dyn Fn(PlanKind) -> Plan,
        sides: &[StrategySide],
        span: Span,
    ) -> Vec<Atom> {
        // What is returned besides the estimate is computed from the cost, as a term is.
        let class = match class {
            Class::Tail { call } if !sides.is_empty() => Class::Term { call },
            class => class,
        };
        let (call, term) = match class {
            Class::Tail { call } => (call, false),
            Class::Term { call } | Class::Weighted { call } => (call, true),
            Class::Whole if !sides.is_empty() => {
                let made = plan(PlanKind::Term { term: Builder::<Mid>::new("none").finish(Vec::new()), weighted: false });
                self.errors.push(
                    Diagnostic::error(
                        Code("E0502"),
                        format!("`{}` has state, and differentiates several runs of `k`", made.strategy),
                    )
                    .label(span, "not compiled yet")
                    .help("call `k` once with gradients and the other times under `stop`"),
                );
                return Vec::new();
            }
            Class::Whole => return self.whole(b, dist, f, args, plan, span),
        };
        let Op::Random(EstRandom::Continue { x, .. }) = f.body.stmts[call].op else { return Vec::new() };
        let before = slice(&f.body, call, &[x]);
        let mut cx = Cx::new(f, args);
        for i in &before {
            cx.stmt(b, self, &f.body.stmts[*i]);
        }
        let value = cx.atom(x);
        if !term {
            let Plan { label, strategy, span, .. } = plan(PlanKind::Tail);
            self.tails.push((label, strategy, span));
            return vec![value];
        }
        let (all, inner) = self.term(f, class, call, &before, span);
        let part = |i: usize| {
            let mut part = all.clone();
            part.body.results = all.body.results.get(i).copied().into_iter().collect();
            super::prune::prune(part)
        };
        let term = part(0);
        let captured = [self.indices(), cx.atoms(&inner)].concat();
        let weighted = matches!(class, Class::Weighted { .. });
        let mut made = plan(PlanKind::Term { term, weighted });
        for (i, side) in sides.iter().enumerate() {
            let of = match side {
                StrategySide::Also => SideOf::Also,
                StrategySide::Next(p) => match args.get(*p).and_then(|a| self.params.iter().position(|q| q == a)) {
                    Some(at) => SideOf::State(at),
                    None => continue,
                },
            };
            made.sides.push(PlanSide { of, func: part(1 + i) });
        }
        self.plans.push(made);
        let ty = b.ty(value);
        let op = MidRandom::Mark { plan: self.plans.len() - 1, x: value, captured };
        vec![b.emit1(Op::Random(op), "x", ty)]
    }

    /// `(loop indices.., captured.., cost) -> (what is added to the cost, sides..)`; and what of the strategy is captured.
    fn term(&mut self, f: &Func<Est>, class: Class, call: usize, before: &[usize], span: Span) -> (Func<Mid>, Vec<Atom>) {
        let main = f.body.stmts[call].outs[0];
        let mut est = f.clone();
        let result = est.body.results.first().copied().unwrap_or(Atom::float(0.0));
        let mut leaves = Vec::new();
        if matches!(class, Class::Term { .. }) {
            summands(f, result, false, &mut leaves);
            leaves.retain(|(a, _)| a.var() != Some(main));
        } else {
            leaves.extend([(result, false), (main.into(), true)]);
        }
        let summed = leaves.len();
        leaves.extend(f.body.results.iter().skip(1).map(|a| (*a, false)));
        let uses: Vec<Atom> = leaves.iter().map(|(a, _)| *a).collect();
        let after: Vec<usize> =
            slice(&f.body, f.body.stmts.len(), &uses).into_iter().filter(|i| !before.contains(i) && *i != call).collect();
        est.body.stmts = after.iter().map(|i| f.body.stmts[*i].clone()).collect();
        est.body.results = uses;
        let captured: Vec<Var> = ppl_core::free_vars(&est.body).into_iter().filter(|v| *v != main).collect();

        let mut b = Builder::<Mid>::new(format!("{}.term", f.name));
        b.span = span;
        let (lanes, path, next) = (self.lanes.clone(), self.path.clone(), self.next);
        // The term is a function with variables of its own.
        let origins = std::mem::take(&mut self.origins);
        // Times become lanes: the terms of a scan's steps are independent of each other.
        self.lanes = lanes.iter().map(|l| Lane { index: b.param("i", Ty::INT).into(), len: l.len, scan: false }).collect();
        let mut cx = Cx { from: &est, map: HashMap::new() };
        for v in &captured {
            let p = b.param(f.vars[v.index()].name.clone(), f.ty(*v).clone());
            cx.map.insert(*v, p.into());
        }
        let cost = b.param("cost", Ty::FLOAT);
        cx.map.insert(main, cost.into());
        let outs = cx.block(&mut b, self, &est.body);
        let mut total = Atom::float(0.0);
        let sides = outs.get(summed..).unwrap_or_default().to_vec();
        for (x, (_, negated)) in outs.into_iter().zip(leaves).take(summed) {
            total = if negated { real(&mut b, Prim::Sub, &[total, x]) } else { crate::expand::add(&mut b, total, x) };
        }
        (self.lanes, self.path, self.next) = (lanes, path, next);
        self.origins = origins;
        (b.finish(std::iter::once(total).chain(sides).collect()), captured.into_iter().map(Atom::Var).collect())
    }

    /// A choice that is split: its strategy as a function, called where the estimate is taken apart.
    fn whole(
        &mut self,
        b: &mut Builder<Mid>,
        dist: &DistUse,
        f: &Func<Est>,
        args: &[Atom],
        plan: &dyn Fn(PlanKind) -> Plan,
        span: Span,
    ) -> Vec<Atom> {
        let lanes = self.lanes.clone();
        let make = |this: &mut Self, draw: bool| {
            let mut fb = Builder::<Mid>::new(f.name.clone());
            fb.span = span;
            let params: Vec<Atom> = args.iter().map(|a| b.ty(*a)).map(|t| fb.param("p", t).into()).collect();
            this.lanes = lanes.iter().map(|l| Lane { index: fb.param("i", Ty::INT).into(), ..*l }).collect();
            let results = if draw {
                let dist = DistUse { dist: dist.dist, args: params[..dist.args.len()].to_vec() };
                let x = this.draw(&mut fb, &dist, true, span);
                relaxed(&mut fb, this.module.dist(dist.dist), &x, continued(f, &f.body))
            } else {
                Cx::new(f, &params).block(&mut fb, this, &f.body)
            };
            fb.finish(results)
        };
        let origins = std::mem::take(&mut self.origins);
        let (draw, whole) = (make(self, true), make(self, false));
        self.origins = origins;
        self.lanes = lanes;
        let event = self.module.dist(dist.dist).event.clone();
        let ty = continued(f, &f.body).unwrap_or(event);
        let args = [args, &self.indices()].concat();
        self.plans.push(plan(PlanKind::Whole { whole, draw }));
        let op = MidRandom::Split { plan: self.plans.len() - 1, args };
        vec![b.emit1(Op::Random(op), "x", ty)]
    }
}

impl Hook<Est, Mid> for Lower<'_> {
    fn random(&mut self, b: &mut Builder<Mid>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, op: &EstRandom) -> Vec<Atom> {
        let mapped = |d: &DistUse| DistUse { dist: d.dist, args: cx.atoms(&d.args) };
        match op {
            EstRandom::Sample { dist, strategy, label } => {
                let mut strategy = strategy.clone();
                if let StrategyUse::Named { args, .. } = &mut strategy {
                    *args = cx.atoms(args);
                }
                self.sample(b, &mapped(dist), &strategy, label, stmt.span)
            }
            EstRandom::Draw(d) => self.draw(b, &mapped(d), true, stmt.span),
            EstRandom::Path(d) => self.draw(b, &mapped(d), false, stmt.span),
            EstRandom::LogDensity { dist, x } => self.log_density(b, &mapped(dist), cx.atom(*x), stmt.span),
            EstRandom::Score { dist, x } => {
                let x = cx.atom(*x);
                let x = if b.ty(x).dtype == DType::Float { b.stop(x) } else { x };
                let l = self.log_density(b, &mapped(dist), x, stmt.span);
                l.into_iter()
                    .map(|l| {
                        let s = b.stop(l);
                        real(b, Prim::Sub, &[l, s])
                    })
                    .collect()
            }
            EstRandom::Continue { x, fresh } => {
                let fresh = fresh.then(|| fnv1a(&format!("{}/fresh/{}", self.path, self.next)));
                self.next += usize::from(fresh.is_some());
                vec![b.emit1(Op::Random(MidRandom::Again { x: cx.atom(*x), fresh }), "k", Ty::FLOAT)]
            }
            EstRandom::Sim { .. }
            | EstRandom::Density { .. }
            | EstRandom::LogWeight(_)
            | EstRandom::Call { .. }
            | EstRandom::Grad { .. } => {
                self.errors.push(
                    Diagnostic::error(Code("E0901"), "strategies met a program that had not been inlined")
                        .label(stmt.span, "here"),
                );
                Vec::new()
            }
        }
    }

    fn begin(&mut self, _: &mut Builder<Mid>, head: Head) {
        self.lanes.push(Lane { index: head.index.into(), len: head.len, scan: head.scan });
    }

    fn end(&mut self, _: &mut Builder<Mid>, _: Head) -> Vec<Atom> {
        self.lanes.pop();
        Vec::new()
    }
}

/// A loop around a statement.
#[derive(Clone, Copy, Debug)]
struct Lane {
    index: Atom,
    len: usize,
    scan: bool,
}

/// Gives a distribution program's draws their sites, lanes and times.
struct Draws<'a> {
    path: &'a str,
    next: &'a mut usize,
    lanes: &'a [Lane],
}

impl Hook<Det, Mid> for Draws<'_> {
    fn random(&mut self, b: &mut Builder<Mid>, cx: &mut Cx<'_, Det>, stmt: &Stmt<Det>, op: &DetRandom) -> Vec<Atom> {
        let mut r = op.clone();
        ppl_core::RandomOp::map_atoms(&mut r, &mut |a| cx.atom(a));
        r.site = fnv1a(&format!("{}/{}", self.path, self.next));
        *self.next += 1;
        let of = |scan: bool| self.lanes.iter().filter(move |l| l.scan == scan).map(|l| (l.index, l.len));
        r.lanes.splice(0..0, of(false));
        r.times.splice(0..0, of(true));
        let outs = cx.declare(stmt, std::iter::empty());
        b.emit(Op::Random(MidRandom::Rng(r)), outs).into_iter().map(Atom::Var).collect()
    }
}

/// A deterministic function whose calls are inlined: each call's draws need sites of their own.
fn flat_det(module: &Module, id: DetId, depth: usize) -> Func<Det> {
    fn block(module: &Module, b: &mut Builder<Det>, from: &Block<Det>, depth: usize) -> Vec<Stmt<Det>> {
        let mut out = Vec::new();
        for stmt in &from.stmts {
            if let Op::Call { callee, args } = &stmt.op
                && depth < 64
            {
                let f = flat_det(module, *callee, depth + 1);
                b.begin();
                let results = b.inline(&f, args);
                let inner = b.end(Vec::new());
                out.extend(inner.stmts);
                // The outputs keep their names: a reshape to the same shape is the identity.
                for (v, r) in stmt.outs.iter().zip(results) {
                    let shape = b.func.ty(*v).shape.clone();
                    let op =
                        if r.var().is_some() { Op::Reshape { x: r, shape } } else { Op::Broadcast { x: r, shape, axes: vec![] } };
                    out.push(Stmt { outs: vec![*v], op, span: stmt.span });
                }
                continue;
            }
            let mut stmt = stmt.clone();
            for inner in ppl_core::op_blocks_mut(&mut stmt.op) {
                inner.stmts = block(module, b, &inner.clone(), depth);
            }
            out.push(stmt);
        }
        out
    }
    let f = module.det(id).clone();
    let body = f.body.clone();
    let mut b = Builder::over(f);
    let stmts = block(module, &mut b, &body, depth);
    let (mut f, _) = b.into_parts();
    f.body.stmts = stmts;
    f
}

/// The type that a strategy's program continues with.
fn continued(f: &Func<Est>, block: &Block<Est>) -> Option<Ty> {
    block.stmts.iter().find_map(|s| match &s.op {
        Op::Random(EstRandom::Continue { x, .. }) => Some(f.atom_ty(*x)),
        op => ppl_core::op_blocks(op).into_iter().find_map(|b| continued(f, b)),
    })
}

/// A draw as the strategy hands it on: as reals, if it does so.
fn relaxed(b: &mut Builder<Mid>, d: &ppl_core::DistInst, x: &[Atom], as_ty: Option<Ty>) -> Vec<Atom> {
    let mut out = x.to_vec();
    if let ([x], Some(ty)) = (&mut out[..], as_ty)
        && ty.dtype == DType::Float
        && d.event.dtype != DType::Float
    {
        *x = match (&d.support, d.support.size()) {
            (ppl_core::Support::Integers { lo, .. }, Some(len)) => crate::relax::one_hot(b, *x, *lo, len),
            _ => b.un(Prim::ToReal, *x),
        };
    }
    out
}

/// A drawn value: no gradient flows through it, but unlike what an author puts under `stop` it is a cost of the choices that it depends on.
fn rigid(b: &mut Builder<Mid>, x: Atom) -> Atom {
    let stopped = b.stop(x);
    b.prim(Prim::Guard, &[Atom::bool(true), stopped])
}

/// Statements of `block` before `end` that `uses` need, in order.
fn slice(block: &Block<Est>, end: usize, uses: &[Atom]) -> Vec<usize> {
    let mut wanted: BTreeSet<Var> = uses.iter().filter_map(|a| a.var()).collect();
    let mut out = Vec::new();
    for i in (0..end.min(block.stmts.len())).rev() {
        let s = &block.stmts[i];
        if s.outs.iter().any(|v| wanted.contains(v)) {
            wanted.extend(ppl_core::op_atoms(&s.op).into_iter().filter_map(Atom::var));
            for b in ppl_core::op_blocks(&s.op) {
                wanted.extend(ppl_core::free_vars(b));
            }
            out.push(i);
        }
    }
    out.reverse();
    out
}

/// The flat functions and classes of the strategies that a program uses.
pub(crate) fn strategies_of(module: &Module, f: &Func<Est>) -> Result<Strategies, Vec<Diagnostic>> {
    fn collect(block: &Block<Est>, out: &mut BTreeSet<ppl_core::StrategyId>) {
        for s in &block.stmts {
            if let Op::Random(EstRandom::Sample { strategy: StrategyUse::Named { strategy, .. }, .. }) = &s.op {
                out.insert(*strategy);
            }
            ppl_core::op_blocks(&s.op).into_iter().for_each(|b| collect(b, out));
        }
    }
    let mut ids = BTreeSet::new();
    collect(&f.body, &mut ids);
    let (mut out, mut errors) = (HashMap::new(), Vec::new());
    for id in ids {
        let s = module.strategy(id);
        match crate::inline::inline(module, module.est(s.func)) {
            Ok(flat) => match classify(&flat, &s.name) {
                Ok(class) => {
                    let flat = super::unroll::fresh_runs(&flat);
                    // Runs in loops are statements of their own now.
                    let class = classify(&flat, &s.name).unwrap_or(class);
                    out.insert(id, (flat, class));
                }
                Err(e) => errors.push(e),
            },
            Err(e) => errors.extend(e),
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}
