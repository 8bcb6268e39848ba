//! Gradient strategies: matching declarations with distributions, and elaborating their programs.

use crate::codes;
use crate::func::FnElab;
pub(crate) use crate::memory::Sides;
use crate::memory::has_memory;
use crate::session::{Session, StrategyDecl};
use crate::stage::ElabStage;
use crate::value::{Arr, DistVal, NamedStrategy, Value};
use ppl_core::{
    Atom, Block, DType, DistId, DistInst, Est, EstRandom, Func, Lit, Op, StrategyId, StrategyInst, StrategyNeed, StrategySide,
    Var, op_atoms, op_blocks,
};
use ppl_diag::{Diagnostic, Span, did_you_mean};
use ppl_syntax::ast::{Expr, ExprKind, FnParam, PatternKind, StrategyTarget, TypeKind};
use std::collections::{BTreeSet, HashSet};

/// Names of capabilities that a strategy may ask for (`for d: finite`).
const CAPABILITIES: &[(&str, StrategyNeed)] = &[
    ("finite", StrategyNeed::Finite),
    ("pathwise", StrategyNeed::Pathwise),
    ("fixed_support", StrategyNeed::FixedSupport),
    ("cdf", StrategyNeed::Cdf),
];

/// The value of a strategy's parameter that is known while compiling: such values tell instances apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Static {
    /// A number of runs.
    Count(i64),
    /// A distribution; its parameters are arguments.
    Dist(DistId),
}

/// What a parameter of a strategy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Real,
    /// Known before running, so that it can be the size of a loop.
    Count,
    Dist,
}

impl<S: ElabStage> FnElab<'_, S> {
    /// `reinforce(0.5)` after `by`: the name and the arguments' values.
    pub(crate) fn named_strategy(&mut self, e: &Expr) -> Option<NamedStrategy> {
        let (id, args) = match &e.kind {
            ExprKind::Name(id) => (id, &[][..]),
            ExprKind::Call { callee, args } => match &callee.kind {
                ExprKind::Name(id) => (id, args.as_slice()),
                _ => {
                    self.report(Diagnostic::error(codes::UNKNOWN_STRATEGY, "a strategy is named").label(e.span, "not a name"));
                    return None;
                }
            },
            _ => {
                self.report(
                    Diagnostic::error(codes::UNKNOWN_STRATEGY, "a strategy is named")
                        .label(e.span, "not a name")
                        .help("such as `by reparam` or `by reinforce(0.5)`"),
                );
                return None;
            }
        };
        let known: BTreeSet<&str> = self.s.strategies.iter().map(|s| s.ast.name.as_str()).collect();
        if !known.contains(id.as_str()) {
            let mut d =
                Diagnostic::error(codes::UNKNOWN_STRATEGY, format!("there is no strategy `{id}`")).label(id.span, "unknown");
            d = match did_you_mean(id.as_str(), known.iter().copied()) {
                Some(near) => d.help(format!("did you mean `{near}`?")).edit(id.span, near),
                None => d.note(format!("strategies: {}", known.iter().copied().collect::<Vec<_>>().join(", "))),
            };
            self.report(d);
            return None;
        }
        let mut values = Vec::new();
        for a in args {
            values.push((a.name.as_ref().map(|n| n.as_str().to_string()), self.expr(&a.value)));
        }
        Some(NamedStrategy { name: id.as_str().to_string(), args: values, span: e.span })
    }

    /// The strategy at this choice's distribution, with its own arguments.
    pub(crate) fn strategy_for(&mut self, n: &NamedStrategy, d: &DistVal, address: &str) -> Option<(StrategyId, Vec<Atom>)> {
        let site = format!("{}.{address}", self.name);
        let Some(decl) = self.s.strategy_decl(&n.name, d.dist) else {
            let inst = self.s.module.dist(d.dist).clone();
            self.report(not_for(&n.name, n.span, &inst, d.span, address));
            return None;
        };
        let (mut args, mut consts) = (Vec::new(), Vec::new());
        let mut positional = n.args.iter().filter(|(name, _)| name.is_none());
        for p in &decl.ast.params {
            let given = n.args.iter().find(|(name, _)| name.as_deref() == Some(p.name.as_str())).or_else(|| positional.next());
            let value = match (given, &p.default) {
                (Some((_, v)), _) => v.clone(),
                (None, Some(e)) => self.expr(e),
                (None, None) => {
                    self.report(
                        Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{}` needs `{}`", n.name, p.name))
                            .label(n.span, "missing argument")
                            .label(p.span, "declared here"),
                    );
                    return None;
                }
            };
            if takes(p) == Takes::Dist {
                let r = self.distribution_argument(value, p, n, d)?;
                args.extend(r.args.iter().map(|a| a.atom));
                consts.push((p.name.as_str().to_string(), Static::Dist(r.dist)));
                continue;
            }
            let a = self.as_array(value, n.span)?;
            if takes(p) == Takes::Count {
                let Some(Lit::Int(m)) = a.konst.filter(|m| matches!(m, Lit::Int(m) if *m > 0)) else {
                    self.report(
                        Diagnostic::error(codes::WRONG_TYPE, format!("`{}` of `{}` is a number of runs", p.name, n.name))
                            .label(n.span, "not a positive int that is known before running")
                            .label(p.span, "declared here"),
                    );
                    return None;
                };
                consts.push((p.name.as_str().to_string(), Static::Count(m)));
                continue;
            }
            args.push(self.as_real(a, n.span)?.atom);
        }
        for (name, _) in
            n.args.iter().filter(|(name, _)| name.as_ref().is_some_and(|n| !decl.ast.params.iter().any(|p| p.name == n.as_str())))
        {
            self.report(
                Diagnostic::error(
                    codes::WRONG_ARGUMENTS,
                    format!("`{}` has no parameter `{}`", n.name, name.as_deref().unwrap_or("")),
                )
                .label(n.span, "unknown argument"),
            );
        }
        if n.args.len() > decl.ast.params.len() {
            self.report(
                Diagnostic::error(
                    codes::WRONG_ARGUMENTS,
                    format!("`{}` takes {} argument(s), here are {}", n.name, decl.ast.params.len(), n.args.len()),
                )
                .label(n.span, "too many arguments"),
            );
            return None;
        }
        let (id, _) = self.s.strategy_instance(&n.name, d.dist, Some(&site), &consts)?;
        let captures = self.s.strategy_captures.get(&id.0).cloned().unwrap_or_default();
        args.extend(self.globals(&captures));
        Some((id, args))
    }

    /// A distribution that a strategy at a choice of `d` is given: one event of the same type and support.
    fn distribution_argument(&mut self, value: Value, p: &FnParam, n: &NamedStrategy, d: &DistVal) -> Option<DistVal> {
        let r = match self.applied(value, n.span) {
            Value::Dist(r) => *r,
            Value::Error => return None,
            v => {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, format!("`{}` of `{}` is a distribution", p.name, n.name))
                        .label(n.span, format!("this is {}", v.describe()))
                        .label(p.span, "declared here")
                        .help(format!("such as `by {}(normal(0, 1))`", n.name)),
                );
                return None;
            }
        };
        let (own, given) = (self.s.module.dist(d.dist).clone(), self.s.module.dist(r.dist).clone());
        if !r.batch.is_empty() {
            self.report(
                Diagnostic::error(codes::SHAPES_DISAGREE, format!("`{}` of `{}` is one distribution", p.name, n.name))
                    .label(
                        r.span,
                        format!("these are {}", r.batch.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")),
                    )
                    .help("make the choices in a loop, each with a distribution of its own"),
            );
            return None;
        }
        if given.event != own.event || given.support != own.support || given.support.is_dynamic() {
            let values = |d: &DistInst| {
                let ty = Arr::from_ty(Atom::int(0), &d.event).show();
                format!("`{}` has values of type `{ty}`, support: {}", d.name, d.support)
            };
            self.report(
                Diagnostic::error(
                    codes::STRATEGY_NOT_FOR_DIST,
                    format!("`{}` draws from a distribution of other values", n.name),
                )
                .label(r.span, values(&given))
                .label(d.span, values(&own))
                .help("give it a distribution of the same type on the same support"),
            );
            return None;
        }
        if !given.can(StrategyNeed::Sample) || !given.can(StrategyNeed::LogDensity) {
            self.report(
                Diagnostic::error(
                    codes::STRATEGY_NOT_FOR_DIST,
                    format!("`{}` draws from `{}` and takes its density", n.name, given.name),
                )
                .label(r.span, "has no `sample`, or no `log_density`"),
            );
            return None;
        }
        Some(r)
    }

    /// A call of the continuation.
    pub(crate) fn continue_with(&mut self, x: Value, fresh: bool, x_span: Span, span: Span) -> Value {
        let Some(a) = self.as_array(x, x_span) else {
            return Value::Error;
        };
        let Some(own) = self.own.clone() else {
            return self.fail(
                Diagnostic::error(codes::WRONG_PLACE, "a continuation is called only in its strategy").label(span, "here"),
            );
        };
        let inst = self.s.module.dist(own.dist);
        let (event, relaxed) = (inst.event.clone(), relaxed_event(&inst.event, &inst.support));
        let is_relaxed = relaxed.as_ref() == Some(&a.ty());
        if let Some(sides) = &mut self.sides {
            let (first, at) = *sides.relaxed.get_or_insert((is_relaxed, x_span));
            if first != is_relaxed && (is_relaxed || a.ty() == event) {
                return self.fail(
                    Diagnostic::error(codes::WRONG_TYPE, "all calls of a continuation take one type")
                        .label(x_span, format!("has type `{}`", a.show()))
                        .label(at, if first { "a relaxed value here" } else { "a value of the choice here" })
                        .help("a relaxed strategy hands on reals only: `k(real(b))`; for an index, `k([for v in K { real(v == x) }])`"),
                );
            }
        }
        if is_relaxed {
            let call = S::estimator(EstRandom::Continue { x: a.atom, fresh });
            return match call {
                Some(r) => {
                    Value::Array(Arr::new(self.b.emit1(Op::Random(r), "cost", ppl_core::Ty::FLOAT), DType::Float, Vec::new()))
                }
                None => Value::Error,
            };
        }
        let a = if event.dtype == DType::Float {
            match self.as_real(a, x_span) {
                Some(a) => a,
                None => return Value::Error,
            }
        } else {
            a
        };
        if a.ty() != event {
            self.wrong_shape("the choice", event.dtype, &Arr::from_ty(a.atom, &event).dims, &a, x_span, own.span);
            return Value::Error;
        }
        match S::estimator(EstRandom::Continue { x: a.atom, fresh }) {
            Some(r) => Value::Array(Arr::new(self.b.emit1(Op::Random(r), "cost", ppl_core::Ty::FLOAT), DType::Float, Vec::new())),
            None => self
                .fail(Diagnostic::error(codes::WRONG_PLACE, "a continuation is called only in a strategy").label(span, "here")),
        }
    }
}

/// What stands for a discrete event where it is relaxed: a real for a truth value, a point of the simplex for one of finitely many integers.
fn relaxed_event(event: &ppl_core::Ty, support: &ppl_core::Support) -> Option<ppl_core::Ty> {
    match (event.dtype, support.size()) {
        _ if !event.is_scalar() => None,
        (DType::Bool, _) => Some(ppl_core::Ty::FLOAT),
        (DType::Int, Some(n)) => Some(ppl_core::Ty::float([n])),
        _ => None,
    }
}

fn takes(p: &FnParam) -> Takes {
    match p.ty.as_ref().map(|t| &t.kind) {
        Some(TypeKind::Named { name, dims, .. }) if name == "int" && dims.is_empty() => Takes::Count,
        Some(TypeKind::Named { name, dims, .. }) if name == "dist" && dims.is_empty() => Takes::Dist,
        _ => Takes::Real,
    }
}

/// The diagnostic for a strategy that can't take a distribution.
fn not_for(strategy: &str, at: Span, inst: &DistInst, dist_span: Span, address: &str) -> Diagnostic {
    let why = match strategy {
        "reparam" if inst.event.dtype == DType::Bool => {
            "differentiates through the sampled value, but this one is true or false".to_string()
        }
        "reparam" if inst.event.dtype == DType::Int => {
            "differentiates through the sampled value, but this one is an integer".to_string()
        }
        "reparam" => "differentiates through the sampled value, but this distribution's `sample` is not smooth in its parameters"
            .to_string(),
        "enumerate" => format!("sums over all values, but the support is {}", inst.support),
        _ if inst.support.is_dynamic() => {
            "needs a support that does not move with the parameters: what enters and leaves it would be missed".to_string()
        }
        _ => "is not declared for this distribution".to_string(),
    };
    let mut d = Diagnostic::error(codes::STRATEGY_NOT_FOR_DIST, format!("`{strategy}` cannot be used with `{}`", inst.name))
        .label(at, why)
        .label(dist_span, format!("support: {}", inst.support));
    let works: Vec<&str> = inst.works_with.iter().map(String::as_str).collect();
    d = d.note(format!("`{}` works with: {}", inst.name, works.join(", ")));
    match (works.contains(&"enumerate"), inst.support.size(), works.first()) {
        (true, Some(n), _) => {
            d.help(format!("`{address} ~ {}(..) by enumerate` is exact here and costs {n} evaluations", inst.name))
        }
        (_, _, Some(first)) => d.help(format!("write `by {first}`")),
        _ => d,
    }
}

impl Session {
    /// Gives a distribution its strategies: those that take it, and the compiler's order of preference.
    pub(crate) fn attach_strategies(&mut self, dist: DistId) {
        let mut names: Vec<String> = Vec::new();
        for s in self.strategies.clone() {
            let name = s.ast.name.as_str();
            if !names.iter().any(|n| n == name) && self.takes(&s, dist) {
                names.push(name.to_string());
            }
        }
        let inst = self.module.dist(dist).clone();
        let mut order: Vec<&str> = Vec::new();
        if inst.can(StrategyNeed::Pathwise) {
            order.push("reparam");
        } else if inst.can(StrategyNeed::Cdf) {
            order.push("implicit");
        }
        if inst.can(StrategyNeed::Finite) && inst.support.size().is_some_and(|n| n <= 64) {
            order.push("enumerate");
        }
        if inst.event.dtype != DType::Float && inst.support.size().is_none_or(|n| n <= 64) {
            order.push("measure_valued");
        }
        order.push("reinforce");
        self.module.dists[dist.index()].works_with = names.clone();
        let auto = order
            .into_iter()
            .filter(|n| names.iter().any(|m| m == n))
            .filter_map(|n| self.strategy_instance(n, dist, None, &[]).map(|(id, _)| id))
            .collect();
        self.module.dists[dist.index()].auto = auto;
    }

    /// Whether a declaration takes a distribution.
    fn takes(&self, s: &StrategyDecl, dist: DistId) -> bool {
        let inst = self.module.dist(dist);
        match &s.ast.target {
            StrategyTarget::Dist { dist, args } => dist.as_str() == inst.name && args.len() == inst.params.len(),
            StrategyTarget::Any { needs, .. } => {
                let asked = needs.as_ref().and_then(|n| CAPABILITIES.iter().find(|(c, _)| *c == n.as_str()).map(|(_, n)| *n));
                // A value that moves with the parameters may do so with the support.
                let fixed = s.scores || (s.weighs && asked != Some(StrategyNeed::Cdf));
                (needs.is_none() || asked.is_some_and(|n| inst.can(n)))
                    && inst.can(StrategyNeed::Sample)
                    && (!(s.scores || s.weighs) || inst.can(StrategyNeed::LogDensity))
                    && (!fixed || (inst.can(StrategyNeed::FixedSupport) && inst.support != ppl_core::Support::Point))
            }
        }
    }

    fn strategy_decl(&self, name: &str, dist: DistId) -> Option<StrategyDecl> {
        self.strategies.iter().find(|s| s.ast.name == name && self.takes(s, dist)).cloned()
    }

    /// The strategy called `name` for a distribution, with its declaration, for these values of its parameters that are known; at a choice (`guide.z`), whose state and parameters it has.
    pub(crate) fn strategy_instance(
        &mut self,
        name: &str,
        dist: DistId,
        site: Option<&str>,
        consts: &[(String, Static)],
    ) -> Option<(StrategyId, StrategyDecl)> {
        let decl = self.strategy_decl(name, dist)?;
        let site = site.filter(|_| has_memory(&decl.ast.body));
        let key = format!("{name}|{dist}|{}|{consts:?}", site.unwrap_or_default());
        let cached = self.strategy_cache.get(&key).copied();
        let id = match cached {
            Some(id) => id?,
            None => {
                let id = self.elaborate_strategy(&decl, dist, site, consts);
                self.strategy_cache.insert(key, id);
                id?
            }
        };
        Some((id, decl))
    }

    fn elaborate_strategy(
        &mut self,
        decl: &StrategyDecl,
        dist: DistId,
        site: Option<&str>,
        consts: &[(String, Static)],
    ) -> Option<StrategyId> {
        let inst = self.module.dist(dist).clone();
        let name = decl.ast.name.as_str();
        let mut me = FnElab::<Est>::new(self, &format!("{name}.{}", inst.name), 1, false);
        let vars: Vec<Var> = inst.params.iter().map(|(n, t)| me.b.param(n.clone(), t.clone())).collect();
        let args: Vec<Arr> = vars.iter().zip(&inst.params).map(|(v, (_, t))| Arr::from_ty(Atom::Var(*v), t)).collect();
        let own = DistVal { batch: Vec::new(), args: args.clone(), dist, span: inst.span };
        me.own = Some(own.clone());
        me.name = match site {
            Some(site) => format!("{name}.{site}"),
            None => name.to_string(),
        };
        me.sides = Some(Sides { open: me.statements().len(), ..Sides::default() });
        match &decl.ast.target {
            StrategyTarget::Any { name, .. } => me.bind(name.as_str(), Value::Dist(Box::new(own))),
            StrategyTarget::Dist { args: patterns, .. } => {
                for (p, a) in patterns.iter().zip(args) {
                    if let PatternKind::Name(id) = &p.kind {
                        me.bind(id.as_str(), Value::Array(a));
                    }
                }
            }
        }
        let mut own_params = 0;
        for p in &decl.ast.params {
            let known = consts.iter().find(|(n, _)| p.name == n.as_str()).map(|c| c.1);
            match (takes(p), known) {
                (Takes::Real, _) => {
                    let v = me.b.param(p.name.as_str(), ppl_core::Ty::FLOAT);
                    own_params += 1;
                    me.bind(p.name.as_str(), Value::Array(Arr::new(Atom::Var(v), DType::Float, Vec::new())));
                }
                (Takes::Count, Some(Static::Count(m))) => me.bind(p.name.as_str(), Value::Array(Arr::lit(Lit::Int(m)))),
                (Takes::Dist, Some(Static::Dist(r))) => {
                    let given = me.s.module.dist(r).clone();
                    let mut args = Vec::new();
                    for (name, ty) in &given.params {
                        args.push(Arr::from_ty(Atom::Var(me.b.param(format!("{}.{name}", p.name), ty.clone())), ty));
                    }
                    own_params += args.len();
                    let given = DistVal { batch: Vec::new(), args, dist: r, span: p.span };
                    me.bind(p.name.as_str(), Value::Dist(Box::new(given)));
                }
                (Takes::Count | Takes::Dist, _) => return None,
            }
        }
        me.bind(decl.ast.k.as_str(), Value::Continuation { fresh: false });
        // Globals become parameters where they are met: these, then, are its own.
        let first = vars.len() + own_params;
        let a = me.real_scalar(&decl.ast.body, "a strategy's result")?;
        let sides = me.sides.take().unwrap_or_default();
        let captured: Vec<crate::session::Global> = me.captures_of().map(|(g, _)| *g).collect();
        let mut results = vec![a.atom];
        let mut kinds = Vec::new();
        for e in &sides.also {
            results.push(*e);
            kinds.push(StrategySide::Also);
        }
        for st in &sides.states {
            match (st.next, captured.iter().position(|g| *g == st.global)) {
                (Some(next), Some(at)) => {
                    results.push(next);
                    kinds.push(StrategySide::Next(first + at));
                }
                (Some(_), None) => {}
                (None, _) => me.report(
                    Diagnostic::error(codes::STRATEGY_STATEMENT, format!("the state `{}` is never set", st.name))
                        .label(st.span, "stays at its first value")
                        .help(format!("set its value in the next step: `set {} = e`", st.name)),
                ),
            }
        }
        let done = me.finish(results, decl.span);
        let pathwise = carries_gradients(&done.func, &vars);
        let relaxed = sides.relaxed.is_some_and(|(r, _)| r);
        let func = self.module.add_est(done.func);
        let span = decl.span;
        self.module.strategies.push(StrategyInst {
            name: name.to_string(),
            func,
            pathwise,
            biased: decl.ast.biased,
            relaxed,
            sides: kinds,
            span,
        });
        let id = StrategyId(self.module.strategies.len() as u32 - 1);
        self.strategy_captures.insert(id.0, done.captures);
        Some(id)
    }
}

/// Whether a value handed to a differentiated run of the continuation depends smoothly on the distribution's parameters.
fn carries_gradients(f: &Func<Est>, params: &[Var]) -> bool {
    /// Smooth variables, and those that runs from smooth values reach without passing `stop`.
    struct Known {
        smooth: HashSet<Var>,
        runs: HashSet<Var>,
    }
    fn block(b: &Block<Est>, f: &Func<Est>, known: &mut Known) {
        let is = |a: &Atom, set: &HashSet<Var>| a.var().is_some_and(|v| set.contains(&v));
        for s in &b.stmts {
            for inner in op_blocks(&s.op) {
                block(inner, f, known);
            }
            match &s.op {
                Op::Random(EstRandom::Continue { x, .. }) => {
                    if is(x, &known.smooth) {
                        known.runs.extend(s.outs.iter().copied());
                    }
                }
                Op::Random(EstRandom::Draw(_)) => {}
                op => {
                    let uses = |set: &HashSet<Var>| {
                        op_atoms(op).iter().any(|a| is(a, set))
                            || op_blocks(op).iter().any(|b| b.results.iter().any(|a| is(a, set)))
                    };
                    let (smooth, run) = (uses(&known.smooth), uses(&known.runs) && !matches!(op, Op::Stop(_)));
                    if smooth {
                        known.smooth.extend(s.outs.iter().copied().filter(|o| f.ty(*o).dtype == DType::Float));
                    }
                    if run {
                        known.runs.extend(s.outs.iter().copied());
                    }
                }
            }
        }
    }
    let smooth = params.iter().copied().filter(|v| f.ty(*v).dtype == DType::Float).collect();
    let mut known = Known { smooth, runs: HashSet::new() };
    block(&f.body, f, &mut known);
    f.body.results.first().and_then(|a| a.var()).is_some_and(|v| known.runs.contains(&v))
}
