//! Distributions: declarations applied to parameters, instantiated at the types of one event.

use crate::bijectors;
use crate::codes;
use crate::divergences::Made;
use crate::func::FnElab;
use crate::session::Session;
use crate::stage::ElabStage;
use crate::types::Written;
use crate::value::{Arr, DeclId, Dim, DistVal, Value};
use ppl_core::{
    Atom, Builder, DType, Det, DetRandom, DistId, DistInst, EstRandom, Func, Lit, Op, Prim, RngKind, Stage, Support, Ty, Var,
};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{Dist, ExprKind, TypeKind};
use std::collections::HashSet;

impl<S: ElabStage> FnElab<'_, S> {
    /// `normal(mu, sigma)`: parameters may have extra leading axes, which makes independent elements.
    pub(crate) fn apply_dist(&mut self, id: DeclId, decl: &Dist, args: Vec<(Arr, Span)>, span: Span) -> Value {
        // Written parameter types tell how many axes belong to one event.
        let mut ranks = Vec::new();
        let mut wanted = Vec::new();
        for p in &decl.params {
            let written = p.ty.as_ref().and_then(|t| self.written_shape(t));
            let (dtype, rank) = written.unwrap_or((DType::Float, 0));
            ranks.push(rank);
            wanted.push(dtype);
        }
        let mut arrs = Vec::new();
        let mut batch: Option<(Vec<Dim>, usize)> = None;
        for (i, (a, at)) in args.into_iter().enumerate() {
            if self.refuse_estimate(&a, "a parameter of a distribution", at) {
                return Value::Error;
            }
            let a = match (wanted[i], a.dtype) {
                (DType::Float, DType::Int) => match self.as_real(a, at) {
                    Some(a) => a,
                    None => return Value::Error,
                },
                (w, d) if w != d => {
                    let name = decl.params[i].name.as_str().to_string();
                    self.wrong_shape(&format!("`{name}` of `{}`", decl.name), w, &[], &a, at, decl.params[i].span);
                    return Value::Error;
                }
                _ => a,
            };
            let Some(extra) = a.dims.len().checked_sub(ranks[i]) else {
                return self.fail(
                    Diagnostic::error(
                        codes::SHAPES_DISAGREE,
                        format!("`{}` of `{}` is an array", decl.params[i].name, decl.name),
                    )
                    .label(at, format!("has type `{}`", a.show())),
                );
            };
            if extra > 0 {
                let outer = a.dims[..extra].to_vec();
                match &batch {
                    None => batch = Some((outer, i)),
                    Some((b, j)) if *b != outer => {
                        let (b, j) = (b.clone(), *j);
                        let show = |d: &[Dim]| d.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                        return self.fail(
                            Diagnostic::error(
                                codes::SHAPES_DISAGREE,
                                format!("the parameters of `{}` have different sizes", decl.name),
                            )
                            .label(at, format!("`{}`: [{}]", decl.params[i].name, show(&outer)))
                            .label(span, format!("`{}`: [{}]", decl.params[j].name, show(&b))),
                        );
                    }
                    Some(_) => {}
                }
            }
            arrs.push(a);
        }
        let batch = batch.map(|b| b.0).unwrap_or_default();
        let event_params: Vec<(Ty, Option<Lit>)> =
            arrs.iter().zip(&ranks).map(|(a, r)| (Ty::new(a.dtype, a.shape()[a.dims.len() - r..].to_vec()), a.konst)).collect();
        match self.s.dist_instance(id, decl, &event_params) {
            Some(dist) => Value::Dist(Box::new(DistVal { batch, args: arrs, dist, span })),
            None => Value::Error,
        }
    }

    /// Element type and number of axes of a written parameter type, without evaluating its sizes.
    fn written_shape(&mut self, ty: &ppl_syntax::ast::Type) -> Option<(DType, usize)> {
        match &ty.kind {
            TypeKind::Named { name, dims, .. } => {
                let dtype = match name.as_str() {
                    "int" | "natural" | "integers" => DType::Int,
                    "bool" => DType::Bool,
                    _ => DType::Float,
                };
                Some((dtype, dims.len()))
            }
            TypeKind::Array { element, dims } => self.written_shape(element).map(|(d, r)| (d, r + dims.len())),
            _ => None,
        }
    }

    /// `constrain(d, support)`: `d` on unconstrained reals, carried to `support` with the Jacobian.
    pub(crate) fn constrain_dist(&mut self, base: &DistVal, support: &Support, dims: &[Dim], span: Span) -> Value {
        let shape: Vec<usize> = dims.iter().map(|d| d.n).collect();
        let inst = self.s.module.dist(base.dist);
        if inst.support != Support::Real || !inst.event.is_scalar() {
            let (name, s) = (inst.name.clone(), inst.support.clone());
            return self.fail(
                Diagnostic::error(codes::NO_BIJECTOR, "`constrain` takes a distribution on the reals, element by element")
                    .label(span, format!("`{name}` has support {s}")),
            );
        }
        let Some(free) = bijectors::free_size(support, &shape) else {
            return self.fail(
                Diagnostic::error(codes::NO_BIJECTOR, format!("there is no map from the reals to `{support}`"))
                    .label(span, "here")
                    .help(if support.is_discrete() {
                        "discrete choices have no unconstrained space: write a guide with `flip`, `categorical`, .. for them"
                    } else {
                        "write a guide for this choice"
                    }),
            );
        };
        let given: usize = base.batch.iter().map(|d| d.n).product();
        if given != free && !base.batch.is_empty() {
            return self.fail(
                Diagnostic::error(codes::SHAPES_DISAGREE, format!("`{support}` of this size takes {free} unconstrained reals"))
                    .label(span, format!("here are {given}"))
                    .help("their number is `dim(a)`"),
            );
        }
        let vector = matches!(support, Support::Simplex | Support::Ordered);
        if vector && dims.is_empty() {
            return self.fail(
                Diagnostic::error(codes::SHAPES_DISAGREE, format!("`{support}` is a set of vectors"))
                    .label(span, "no size here")
                    .help("`constrain(normal(zeros(3), 1), ordered)`"),
            );
        }
        let free_shape = bijectors::free_shape(support, &shape);
        let (event, batch): (Vec<usize>, Vec<Dim>) =
            if vector { (vec![shape[shape.len() - 1]], dims[..dims.len() - 1].to_vec()) } else { (Vec::new(), dims.to_vec()) };
        let args: Vec<Arr> = base
            .args
            .iter()
            .map(|a| {
                if a.is_scalar() && !vector {
                    a.clone()
                } else if a.is_scalar() {
                    let last = Dim::from(free_shape[free_shape.len() - 1]);
                    self.lift(a, &[last])
                } else {
                    let atom = self.b.reshape(a.atom, &free_shape);
                    Arr::new(atom, a.dtype, free_shape.iter().map(|n| Dim::from(*n)).collect())
                }
            })
            .collect();
        let free_event: Vec<usize> = if vector { vec![free_shape[free_shape.len() - 1]] } else { Vec::new() };
        let dist = self.s.constrained_instance(base.dist, support, &event, &free_event, span);
        Value::Dist(Box::new(DistVal { batch, args, dist, span }))
    }

    /// `log_density(d, x)` or `score(d, x)`: summed over independent elements.
    pub(crate) fn score_dist(&mut self, d: &DistVal, x: &Arr, x_span: Span, span: Span, score: bool) -> Value {
        let inst = self.s.module.dist(d.dist);
        let event = inst.event.clone();
        let x = if event.dtype == DType::Float {
            match self.as_real(x.clone(), x_span) {
                Some(x) => x,
                None => return Value::Error,
            }
        } else {
            x.clone()
        };
        let dims: Vec<Dim> = d.batch.iter().cloned().chain(event.shape.iter().map(|n| Dim::from(*n))).collect();
        if x.dims != dims || x.dtype != event.dtype {
            self.wrong_shape("a value of this distribution", event.dtype, &dims, &x, x_span, span);
            return Value::Error;
        }
        let mut args = d.args.clone();
        args.push(x);
        let lp = self.over_batch(d, &d.batch.clone(), &args, &mut |me, args| {
            let (x, params) = args.split_last()?;
            let dist = ppl_core::DistUse { dist: d.dist, args: params.iter().map(|a| a.atom).collect() };
            let random = if score { EstRandom::Score { dist, x: x.atom } } else { EstRandom::LogDensity { dist, x: x.atom } };
            if let Some(r) = S::estimator(random) {
                let atom = me.b.emit1(Op::Random(r), "lp", Ty::FLOAT);
                return Some(Arr::new(atom, DType::Float, Vec::new()));
            }
            let f = me.s.module.dist(d.dist).log_density?;
            let mut atoms = vec![x.atom];
            atoms.extend(params.iter().map(|a| a.atom));
            if S::draw_stage().is_some() {
                let callee = me.s.module.det(f).clone();
                return me.inline_sample(&callee, &atoms).map(|a| Arr::new(a, DType::Float, Vec::new()));
            }
            let atom = me.b.emit1(Op::Call { callee: f, args: atoms }, "lp", Ty::FLOAT);
            Some(Arr::new(atom, DType::Float, Vec::new()))
        });
        match lp {
            Some(a) => Value::Array(self.reduce_all(ppl_core::ReduceOp::Sum, &a)),
            None => {
                let name = self.s.module.dist(d.dist).name.clone();
                self.fail(
                    Diagnostic::error(codes::STRATEGY_NOT_FOR_DIST, format!("`{name}` has no log density"))
                        .label(span, "needed here"),
                )
            }
        }
    }

    /// `cdf(d, x)`: the distribution function of one event.
    pub(crate) fn cdf(&mut self, d: &DistVal, x: &Arr, x_span: Span, span: Span) -> Option<Arr> {
        let inst = self.s.module.dist(d.dist);
        let (name, found) = (inst.name.clone(), inst.cdf);
        let Some(f) = found else {
            self.report(
                Diagnostic::error(codes::STRATEGY_NOT_FOR_DIST, format!("`{name}` has no distribution function"))
                    .label(span, "needed here")
                    .note("a `dist` has one if it has a member `cdf(x)`"),
            );
            return None;
        };
        if x.dims != d.batch {
            self.wrong_shape("a value of this distribution", DType::Float, &d.batch, x, x_span, span);
            return None;
        }
        let mut args = d.args.clone();
        args.push(x.clone());
        self.over_batch(d, &d.batch.clone(), &args, &mut |me, args| {
            let (x, params) = args.split_last()?;
            let atoms: Vec<Atom> = std::iter::once(x).chain(params).map(|a| a.atom).collect();
            let atom = if S::draw_stage().is_some() {
                let callee = me.s.module.det(f).clone();
                me.inline_sample(&callee, &atoms)?
            } else {
                me.b.emit1(Op::Call { callee: f, args: atoms }, "p", Ty::FLOAT)
            };
            Some(Arr::new(atom, DType::Float, Vec::new()))
        })
    }

    /// The `i`-th value of a finite support.
    pub(crate) fn support_value(&mut self, d: &DistVal, index: Atom) -> Value {
        let support = self.s.module.dist(d.dist).support.clone();
        let (atom, dtype) = support_element(&mut self.b, &support, index);
        Value::Array(Arr { support: Some(support), ..Arr::new(atom, dtype, Vec::new()) })
    }

    /// Copies a deterministic function into a `sample` or `log_density` program; its draws get this program's loops and sites of their own.
    pub(crate) fn inline_sample(&mut self, callee: &Func<Det>, args: &[Atom]) -> Option<Atom> {
        let (lanes, times) = self.draw_path();
        self.draws += 1;
        let ordinal = self.draws;
        // Stages share every operation but the random one, which only this stage has: convert statement by statement.
        let mut b = Builder::<Det>::over(Func {
            name: String::new(),
            vars: self.b.func.vars.clone(),
            params: Vec::new(),
            body: ppl_core::Block::default(),
            span: Span::NONE,
        });
        let results = b.inline(callee, args);
        let (func, mut stmts) = b.into_parts();
        self.b.func.vars = func.vars;
        retarget(&mut stmts, &lanes, &times, ordinal);
        for stmt in stmts {
            let stmt = convert_stmt::<S>(stmt)?;
            self.b.push(stmt);
        }
        results.first().copied()
    }
}

/// The `i`-th value of a finite support, and its element type.
fn support_element<S: Stage>(b: &mut Builder<S>, support: &Support, index: Atom) -> (Atom, DType) {
    match support {
        Support::Boolean => (b.prim(Prim::Eq, &[index, Atom::int(1)]), DType::Bool),
        Support::Integers { lo, .. } if *lo != 0 => (b.add(index, Atom::int(*lo)), DType::Int),
        _ => (index, DType::Int),
    }
}

/// Draws of an inlined program: inside the caller's loops, at a site of their own.
fn retarget(stmts: &mut [ppl_core::Stmt<Det>], lanes: &[(Atom, usize)], times: &[(Atom, usize)], ordinal: u64) {
    for s in stmts {
        if let Op::Random(r) = &mut s.op {
            r.lanes.splice(0..0, lanes.iter().copied());
            r.times.splice(0..0, times.iter().copied());
            r.site = r.site.wrapping_mul(0x0100_0000_01b3) ^ ordinal;
        }
        for b in ppl_core::op_blocks_mut(&mut s.op) {
            retarget(&mut b.stmts, lanes, times, ordinal);
        }
    }
}

/// A deterministic statement in another stage; `None` if that stage has no draws and this is one.
fn convert_stmt<S: ElabStage>(s: ppl_core::Stmt<Det>) -> Option<ppl_core::Stmt<S>> {
    let block = |b: ppl_core::Block<Det>| -> Option<ppl_core::Block<S>> {
        Some(ppl_core::Block { stmts: b.stmts.into_iter().map(convert_stmt::<S>).collect::<Option<_>>()?, results: b.results })
    };
    let op = match s.op {
        Op::Prim(p, a) => Op::Prim(p, a),
        Op::Broadcast { x, shape, axes } => Op::Broadcast { x, shape, axes },
        Op::Reduce { op, x, axes } => Op::Reduce { op, x, axes },
        Op::ArgMax { x, axis } => Op::ArgMax { x, axis },
        Op::CumSum { x, axis, reverse } => Op::CumSum { x, axis, reverse },
        Op::Dot { a, b, batch, contract } => Op::Dot { a, b, batch, contract },
        Op::Transpose { x, perm } => Op::Transpose { x, perm },
        Op::Reshape { x, shape } => Op::Reshape { x, shape },
        Op::Slice { x, axis, start, len } => Op::Slice { x, axis, start, len },
        Op::Pad { x, axis, before, after } => Op::Pad { x, axis, before, after },
        Op::Concat { xs, axis } => Op::Concat { xs, axis },
        Op::Gather { x, idx, batch } => Op::Gather { x, idx, batch },
        Op::ScatterAdd { idx, updates, batch, len } => Op::ScatterAdd { idx, updates, batch, len },
        Op::Iota { len } => Op::Iota { len },
        Op::Minibatch { data, size } => Op::Minibatch { data, size },
        Op::Reverse { x, axis } => Op::Reverse { x, axis },
        Op::Linalg(l, a) => Op::Linalg(l, a),
        Op::If { cond, then, els } => Op::If { cond, then: block(then)?, els: block(els)? },
        Op::Map { len, index, body } => Op::Map { len, index, body: block(body)? },
        Op::Scan(s) => Op::Scan(Box::new(ppl_core::Scan {
            len: s.len,
            index: s.index,
            carry: s.carry,
            xs: s.xs,
            body: block(s.body)?,
            reverse: s.reverse,
        })),
        Op::Call { callee, args } => Op::Call { callee, args },
        Op::Stop(x) => Op::Stop(x),
        Op::Random(r) => Op::Random(S::draw(r)?),
    };
    Some(ppl_core::Stmt { outs: s.outs, op, span: s.span })
}

impl Session {
    /// A declared distribution at the types of one event's parameters, with their values where known (they fix supports).
    fn dist_instance(&mut self, id: DeclId, decl: &Dist, params: &[(Ty, Option<Lit>)]) -> Option<DistId> {
        // Only values that fix the support tell instances apart.
        let fixed = decl
            .params
            .iter()
            .zip(params)
            .map(|(p, (t, k))| {
                let k = k.filter(|_| t.dtype == DType::Int || is_bound(decl, p.name.as_str()));
                format!("{t}{k:?}")
            })
            .collect::<Vec<_>>()
            .join(";");
        let key = format!("{}|{fixed}", id.0);
        if let Some(d) = self.dist_cache.get(&key) {
            return Some(*d);
        }
        let decl_span = self.decls[id.0].1;
        let errors = self.diagnostics.len();
        // Support and event type, with the sizes that the parameters bind.
        let mut me = FnElab::<Det>::new(self, "support", 1, false);
        me.bind_dist_params(decl, params)?;
        let Some(Written::Array { dtype, support, dims, .. }) = me.written(&decl.support) else {
            return None;
        };
        let event: Vec<usize> = dims.iter().map(|e| me.size(e).map(|d| d.n)).collect::<Option<_>>()?;
        let event = Ty::new(dtype, event);
        let names: Vec<(String, Ty)> =
            decl.params.iter().zip(params).map(|(p, (t, _))| (p.name.as_str().to_string(), t.clone())).collect();
        let mut inst = DistInst {
            name: decl.name.as_str().to_string(),
            params: names,
            event: event.clone(),
            support: support.clone(),
            log_density: None,
            sample: None,
            cdf: None,
            pathwise: false,
            support_value: None,
            divergences: Vec::new(),
            auto: Vec::new(),
            works_with: Vec::new(),
            span: decl_span,
        };
        for m in &decl.members {
            // Elaborated for the pairs that are compared.
            if m.name == "kl" {
                self.check_divergence(decl, m);
                continue;
            }
            let mut me = FnElab::<Det>::new(self, &format!("{}.{}", decl.name, m.name), 1, false);
            let x = matches!(m.name.as_str(), "log_density" | "cdf")
                .then(|| me.b.param(m.params.first().map_or("x", |p| p.name.as_str()), event.clone()));
            let vars = me.bind_dist_params(decl, params)?;
            match m.name.as_str() {
                "log_density" => {
                    let Some(p) = m.params.first() else {
                        me.report(
                            Diagnostic::error(codes::WRONG_ARGUMENTS, "`log_density` takes the value")
                                .label(m.span, "write `log_density(x) = ..`"),
                        );
                        return None;
                    };
                    let x = Arr { support: Some(support.clone()), ..Arr::from_ty(Atom::Var(x?), &event) };
                    me.bind(p.name.as_str(), Value::Array(x));
                    let a = me.real_scalar(&m.body, "a log density")?;
                    let func = me.finish(vec![a.atom], m.span).func;
                    inst.log_density = Some(self.module.add_det(func));
                }
                "sample" => {
                    let v = me.expr(&m.body);
                    let a = me.as_array(v, m.body.span)?;
                    let a = if event.dtype == DType::Float { me.as_real(a, m.body.span)? } else { a };
                    if a.ty() != event {
                        me.wrong_shape(
                            "a draw",
                            event.dtype,
                            &Arr::from_ty(a.atom, &event).dims,
                            &a,
                            m.body.span,
                            decl.support.span,
                        );
                        return None;
                    }
                    let func = me.finish(vec![a.atom], m.span).func;
                    inst.pathwise = event.dtype == DType::Float && is_pathwise(&func, &vars, &self.continuous);
                    inst.sample = Some(self.module.add_det(func));
                }
                "cdf" => {
                    let (Some(p), Some(x)) = (m.params.first(), x) else {
                        me.report(
                            Diagnostic::error(codes::WRONG_ARGUMENTS, "`cdf` takes the value")
                                .label(m.span, "write `cdf(x) = ..`"),
                        );
                        return None;
                    };
                    if event != Ty::FLOAT {
                        me.report(
                            Diagnostic::error(codes::WRONG_TYPE, "a distribution function is one of real numbers")
                                .label(m.span, format!("the values of `{}` are of type `{event}`", decl.name)),
                        );
                        return None;
                    }
                    me.bind(p.name.as_str(), Value::Array(Arr::from_ty(Atom::Var(x), &event)));
                    let a = me.real_scalar(&m.body, "a distribution function")?;
                    let func = me.finish(vec![a.atom], m.span).func;
                    inst.cdf = Some(self.module.add_det(func));
                }
                other => {
                    let at = m.name.span;
                    self.report(
                        Diagnostic::error(codes::NOT_COMPILED_YET, format!("`{other}` of a distribution is not compiled yet"))
                            .label(at, "unknown member")
                            .note("members: log_density(x), sample, cdf(x), kl(other(..))"),
                    );
                }
            }
        }
        if support.size().is_some() {
            let mut b = Builder::<Det>::new(format!("{}.support", decl.name));
            let i = b.param("i", Ty::INT);
            for (n, t) in &inst.params {
                b.param(n.clone(), t.clone());
            }
            let (v, _) = support_element(&mut b, &support, Atom::Var(i));
            inst.support_value = Some(self.module.add_det(b.finish(vec![v])));
        }
        if self.diagnostics.len() > errors {
            return None;
        }
        Some(self.add_dist(key, inst, Made::Declared(id, params.to_vec())))
    }

    /// `constrain(base, support)` at one event.
    fn constrained_instance(&mut self, base: DistId, support: &Support, event: &[usize], free: &[usize], span: Span) -> DistId {
        let key = format!("constrain|{base}|{support:?}|{event:?}|{free:?}");
        if let Some(d) = self.dist_cache.get(&key) {
            return *d;
        }
        let b_inst = self.module.dist(base).clone();
        if *support == Support::Real && event.is_empty() {
            return base;
        }
        let params: Vec<(String, Ty)> = b_inst.params.iter().map(|(n, t)| (n.clone(), t.lifted(free))).collect();
        let name = format!("constrain({}, {support})", b_inst.name);
        // The base over the free elements: one call, or a loop of calls.
        let elementwise = |b: &mut Builder<Det>, f: &Func<Det>, args: &[Atom], skip: usize| -> Atom {
            if free.is_empty() {
                let mut body = Builder::<Det>::over(b.func.clone());
                let out = body.inline(f, args);
                let (func, stmts) = body.into_parts();
                b.func = func;
                stmts.into_iter().for_each(|s| b.push(s));
                return out[0];
            }
            let index = b.index_var("e");
            b.begin();
            let inner: Vec<Atom> = args.iter().map(|a| b.gather(*a, Atom::Var(index), 0)).collect();
            let mut body = Builder::<Det>::over(b.func.clone());
            let out = body.inline(f, &inner);
            let (func, mut stmts) = body.into_parts();
            b.func = func;
            retarget(&mut stmts, &[(Atom::Var(index), free[0])], &[], skip as u64);
            stmts.into_iter().for_each(|s| b.push(s));
            let block = b.end(vec![out[0]]);
            Atom::Var(b.map(free[0], index, block)[0])
        };
        let event_ty = Ty::float(event.to_vec());
        let log_density = b_inst.log_density.map(|f| {
            let f = self.module.det(f).clone();
            let mut b = Builder::<Det>::new(format!("{name}.log_density"));
            let x = Atom::Var(b.param("x", event_ty.clone()));
            let args: Vec<Atom> = params.iter().map(|(n, t)| Atom::Var(b.param(n.clone(), t.clone()))).collect();
            let u = bijectors::unconstrain(&mut b, x, support, event);
            let mut all = vec![u];
            all.extend(args);
            let lp = elementwise(&mut b, &f, &all, 0);
            let lp = b.sum_all(lp);
            let det = bijectors::log_det(&mut b, u, support, event);
            let out = b.sub(lp, det);
            self.module.add_det(b.finish(vec![out]))
        });
        let sample = b_inst.sample.map(|f| {
            let f = self.module.det(f).clone();
            let mut b = Builder::<Det>::new(format!("{name}.sample"));
            let args: Vec<Atom> = params.iter().map(|(n, t)| Atom::Var(b.param(n.clone(), t.clone()))).collect();
            let u = elementwise(&mut b, &f, &args, 1);
            let y = bijectors::constrain(&mut b, u, support, event);
            self.module.add_det(b.finish(vec![y]))
        });
        let inst = DistInst {
            name,
            params,
            event: event_ty,
            support: support.clone(),
            log_density,
            sample,
            cdf: None,
            pathwise: b_inst.pathwise,
            support_value: None,
            divergences: Vec::new(),
            auto: Vec::new(),
            works_with: Vec::new(),
            span,
        };
        self.add_dist(key, inst, Made::Constrained { base, free: free.to_vec() })
    }

    fn add_dist(&mut self, key: String, inst: DistInst, made: Made) -> DistId {
        self.module.dists.push(inst);
        let id = DistId(self.module.dists.len() as u32 - 1);
        // Known before its strategies are elaborated: they may draw from the same distribution.
        self.dist_cache.insert(key, id);
        self.made.insert(id, made);
        self.attach_strategies(id);
        id
    }
}

impl FnElab<'_, Det> {
    /// Declares the parameters of a distribution's program and binds their names and sizes.
    pub(crate) fn bind_dist_params(&mut self, decl: &Dist, params: &[(Ty, Option<Lit>)]) -> Option<Vec<Var>> {
        let mut vars = Vec::new();
        for (p, (ty, konst)) in decl.params.iter().zip(params) {
            let v = self.b.param(p.name.as_str(), ty.clone());
            vars.push(v);
            let mut arr = Arr::from_ty(Atom::Var(v), ty);
            // An int parameter known while compiling fixes the support (binomial's number of trials).
            if let (DType::Int, Some(k)) = (ty.dtype, konst) {
                arr.konst = Some(*k);
            }
            if let (true, DType::Float, Some(k)) = (is_bound(decl, p.name.as_str()), ty.dtype, konst) {
                arr.konst = Some(*k);
            }
            let value = match &p.ty {
                Some(t) => self.check_type(&format!("`{}` of `{}`", p.name, decl.name), t, Value::Array(arr), p.span),
                None => Value::Array(arr),
            };
            if matches!(value, Value::Error) {
                return None;
            }
            self.bind(p.name.as_str(), value);
        }
        Some(vars)
    }
}

/// Whether a parameter is a bound of the declared support.
fn is_bound(decl: &Dist, name: &str) -> bool {
    match &decl.support.kind {
        TypeKind::Named { args, .. } => args.iter().any(|a| matches!(&a.kind, ExprKind::Name(n) if n == name)),
        _ => false,
    }
}

/// Whether derivatives flow from the parameters to the draw: every value computed from them stays real and every draw that
/// depends on them is one whose derivative by its parameter is known. In the places `exempt` branches are the author's word.
fn is_pathwise(f: &Func<Det>, params: &[Var], exempt: &[Span]) -> bool {
    fn block(b: &ppl_core::Block<Det>, f: &Func<Det>, exempt: &[Span], tainted: &mut HashSet<Var>) -> bool {
        for s in &b.stmts {
            let inside = |e: &Span| e.file == s.span.file && e.start <= s.span.start && s.span.end <= e.end;
            let assumed = exempt.iter().any(inside);
            let dirty = ppl_core::op_atoms(&s.op).iter().any(|a| a.var().is_some_and(|v| tainted.contains(&v)));
            if let Op::Scan(sc) = &s.op {
                for (v, a) in sc.carry.iter().chain(&sc.xs) {
                    if a.var().is_some_and(|x| tainted.contains(&x)) {
                        tainted.insert(*v);
                    }
                }
            }
            let mut inner_dirty = false;
            for inner in ppl_core::op_blocks(&s.op) {
                if !block(inner, f, exempt, tainted) {
                    return false;
                }
                inner_dirty |= ppl_core::free_vars(inner).iter().any(|v| tainted.contains(v));
            }
            if dirty || inner_dirty {
                match &s.op {
                    Op::Random(DetRandom { kind: RngKind::Uniform | RngKind::Normal, .. }) => continue,
                    // Moves with its shape, at a constant distribution function.
                    Op::Random(DetRandom { kind: RngKind::Gamma, .. }) => {}
                    Op::Random(_) => return false,
                    Op::Prim(Prim::Lt | Prim::Le | Prim::Gt | Prim::Ge, _) if assumed => continue,
                    Op::If { cond, .. } if cond.var().is_some_and(|v| tainted.contains(&v)) => return false,
                    Op::Prim(Prim::Floor | Prim::Ceil | Prim::Round | Prim::Trunc | Prim::Sign, _) => return false,
                    _ => {}
                }
                if s.outs.iter().any(|o| f.ty(*o).dtype != DType::Float) {
                    return false;
                }
                tainted.extend(s.outs.iter().copied());
            }
        }
        true
    }
    let mut tainted: HashSet<Var> = params.iter().copied().filter(|v| f.ty(*v).dtype == DType::Float).collect();
    block(&f.body, f, exempt, &mut tainted)
}
