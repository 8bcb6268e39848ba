//! Divergences between distributions, and log weights in which they stand for log densities.
//!
//! A member `kl(normal(m, s)) = ..` of a `dist` declares `KL(self || normal(m, s))`. Its program is elaborated for the pairs that are compared,
//! at their types, and kept with the distribution. A transported distribution, `constrain(d, support)`, diverges from another one on the same
//! support as their bases do; `constrain(normal(m, s), positive)` is `log_normal(m, s)`.

use crate::builtins::Argument;
use crate::codes;
use crate::func::FnElab;
use crate::session::{Decl, Session, TopName};
use crate::stage::ElabStage;
use crate::value::{Arr, DeclId, Dim, DistVal, GenVal, TargetVal, TraceOrigin, Value};
use ppl_core::{Atom, Builder, DType, Det, DetId, DistId, EstRandom, Lit, LogWeight, Op, ReduceOp, Support, Ty, Var};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{Dist, DistMember, PatternKind};
use std::collections::{HashMap, HashSet};

/// Types of the parameters of one event, with their values where known.
pub(crate) type EventParams = Vec<(Ty, Option<Lit>)>;

/// What a distribution was made from.
#[derive(Clone, Debug)]
pub(crate) enum Made {
    /// A declaration at these parameters.
    Declared(DeclId, EventParams),
    /// A distribution on the reals, for each of the unconstrained elements.
    Constrained {
        /// The distribution of one element.
        base: DistId,
        /// Shape of the unconstrained event.
        free: Vec<usize>,
    },
}

impl Session {
    /// The program for `KL(q || p)`, if it is declared and both have the same support.
    pub(crate) fn divergence(&mut self, q: DistId, p: DistId) -> Option<DetId> {
        if let Some(f) = self.module.dist(q).divergence(p) {
            return Some(f);
        }
        // Looked for before, without success; or by itself.
        if !self.compared.insert((q, p)) || !self.same_support(q, p) {
            return None;
        }
        let (from, to) = (self.made.get(&q)?.clone(), self.made.get(&p)?.clone());
        let f = match (from, to) {
            (Made::Constrained { base: x, free }, Made::Constrained { base: y, free: other }) if free == other => {
                self.transported(x, y, &free)?
            }
            _ => {
                let (from, to) = (self.as_declared(q)?, self.as_declared(p)?);
                self.declared(from, to)?
            }
        };
        self.module.dists[q.index()].divergences.push((p, f));
        Some(f)
    }

    /// Whether both have one support, as far as that is known without running.
    fn same_support(&self, q: DistId, p: DistId) -> bool {
        let (q, p) = (self.module.dist(q), self.module.dist(p));
        q.event == p.event
            && q.support == p.support
            && !matches!(q.support, Support::DynamicInterval | Support::DynamicIntegers | Support::Point)
    }

    /// A declaration that gives the same distribution.
    fn as_declared(&self, d: DistId) -> Option<(DeclId, EventParams)> {
        match self.made.get(&d)? {
            Made::Declared(id, params) => Some((*id, params.clone())),
            Made::Constrained { base, free } => {
                let Made::Declared(id, params) = self.made.get(base)? else { return None };
                let log_normal = self.module.dist(d).support == Support::POSITIVE
                    && free.is_empty()
                    && self.library_decl("normal") == Some(*id);
                log_normal.then(|| Some((self.library_decl("log_normal")?, params.clone()))).flatten()
            }
        }
    }

    /// Divergences of the elements, added up.
    fn transported(&mut self, q: DistId, p: DistId, free: &[usize]) -> Option<DetId> {
        let f = self.divergence(q, p)?;
        let f = self.module.det(f).clone();
        let mut b = Builder::<Det>::new(f.name.clone());
        let params: Vec<Atom> = [q, p]
            .iter()
            .flat_map(|d| self.module.dist(*d).params.clone())
            .map(|(n, t)| b.param(n, t.lifted(free)).into())
            .collect();
        let kl = match free {
            [] => b.inline(&f, &params)[0],
            [n, ..] => {
                let index = b.index_var("e");
                b.begin();
                let one: Vec<Atom> = params.iter().map(|a| b.gather(*a, index.into(), 0)).collect();
                let kl = b.inline(&f, &one)[0];
                let body = b.end(vec![kl]);
                let all = b.map(*n, index, body)[0].into();
                b.sum_all(all)
            }
        };
        Some(self.module.add_det(b.finish(vec![kl])))
    }

    /// The member of a declaration for another one, elaborated.
    fn declared(&mut self, (q, q_params): (DeclId, EventParams), (p, p_params): (DeclId, EventParams)) -> Option<DetId> {
        let decl = self.decl(q);
        let Decl::Dist(d) = &*decl else { return None };
        let m = d.members.iter().find(|m| self.other_of(m) == Some(p))?;
        let mut me = FnElab::<Det>::new(self, &format!("{}.kl", d.name), 1, false);
        me.bind_dist_params(d, &q_params)?;
        let names = m.other.iter().flat_map(|o| &o.params);
        for (name, (ty, konst)) in names.zip(&p_params) {
            let text = if let PatternKind::Name(i) = &name.kind { i.as_str() } else { "unused" };
            let v = me.b.param(text, ty.clone());
            let konst = konst.filter(|_| ty.dtype == DType::Int);
            if let PatternKind::Name(i) = &name.kind {
                me.bind(i.as_str(), Value::Array(Arr { konst, ..Arr::from_ty(Atom::Var(v), ty) }));
            }
        }
        let a = me.real_scalar(&m.body, "a divergence")?;
        let func = me.finish(vec![a.atom], m.span).func;
        Some(self.module.add_det(func))
    }

    /// The distribution from which a member declares the divergence.
    fn other_of(&self, m: &DistMember) -> Option<DeclId> {
        let other = m.other.as_ref().filter(|_| m.name == "kl")?;
        let id = if self.in_library(m.span) {
            self.library_decl(other.name.as_str())?
        } else {
            match self.names.get(other.name.as_str()) {
                Some((TopName::Decl(id), _)) => *id,
                _ => return None,
            }
        };
        matches!(&*self.decl(id), Decl::Dist(_)).then_some(id)
    }

    /// Reports a `kl` member that names no distribution, or not all of its parameters.
    pub(crate) fn check_divergence(&mut self, decl: &Dist, m: &DistMember) {
        let Some(other) = &m.other else {
            return self.report(
                Diagnostic::error(codes::WRONG_ARGUMENTS, "`kl` names the other distribution with its parameters")
                    .label(m.name.span, "no other distribution")
                    .help(format!("write `kl({}(..)) = ..`, with a name for each parameter", decl.name)),
            );
        };
        let Some(id) = self.other_of(m) else {
            return self.report(
                Diagnostic::error(codes::UNKNOWN_NAME, format!("there is no distribution `{}`", other.name))
                    .label(other.name.span, "not a `dist`"),
            );
        };
        let found = self.decl(id);
        let Decl::Dist(found) = &*found else { return };
        if found.params.len() != other.params.len() || other.params.iter().any(|p| matches!(p.kind, PatternKind::Tuple(_))) {
            let names: Vec<&str> = found.params.iter().map(|p| p.name.as_str()).collect();
            return self.report(
                Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{}` has {} parameters", other.name, names.len()))
                    .label(other.span, format!("signature: {}({})", other.name, names.join(", ")))
                    .help("give each a name here, `_` where it is not used"),
            );
        }
        let same = decl.members.iter().find(|n| self.other_of(n) == Some(id) && n.span != m.span);
        if let Some(first) = same.filter(|n| n.span.start < m.span.start) {
            self.report(
                Diagnostic::error(codes::DUPLICATE_NAME, format!("two divergences from `{}`", other.name))
                    .label(m.span, "again here")
                    .label(first.span, "first here"),
            );
        }
    }

    /// All pairs with a declared divergence, as text.
    fn pairs(&self) -> String {
        let mut out = Vec::new();
        for (decl, _) in &self.decls {
            let Decl::Dist(d) = &**decl else { continue };
            out.extend(d.members.iter().filter_map(|m| m.other.as_ref()).map(|o| format!("`kl({}, {})`", d.name, o.name)));
        }
        out.join(", ")
    }
}

impl<S: ElabStage> FnElab<'_, S> {
    /// `kl(d1, d2)`: summed over independent elements.
    pub(crate) fn kl(&mut self, args: &[Argument], span: Span) -> Option<Value> {
        let (q, p) = match (self.applied(args[0].0.clone(), args[0].1), self.applied(args[1].0.clone(), args[1].1)) {
            (Value::Dist(q), Value::Dist(p)) => (*q, *p),
            (Value::Error, _) | (_, Value::Error) => return None,
            (a, b) => {
                let d = Diagnostic::error(codes::WRONG_TYPE, "`kl` takes two distributions")
                    .label(args[0].1, format!("this is {}", a.describe()))
                    .label(args[1].1, format!("this is {}", b.describe()));
                return Some(self.fail(d));
            }
        };
        let Some(callee) = self.s.divergence(q.dist, p.dist) else {
            return Some(self.no_divergence((&q, args[0].1), (&p, args[1].1), span));
        };
        let batch = if q.batch.is_empty() { p.batch.clone() } else { q.batch.clone() };
        if !p.batch.is_empty() && p.batch != batch {
            let show = |d: &[Dim]| d.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            self.report(
                Diagnostic::error(codes::SHAPES_DISAGREE, "the distributions have different numbers of independent elements")
                    .label(args[0].1, format!("[{}]", show(&q.batch)))
                    .label(args[1].1, format!("[{}]", show(&p.batch))),
            );
            return None;
        }
        let ranks = |d: &DistVal, s: &Session| s.module.dist(d.dist).params.iter().map(|(_, t)| t.rank()).collect::<Vec<_>>();
        let ranks = [ranks(&q, self.s), ranks(&p, self.s)].concat();
        let all: Vec<Arr> = q.args.iter().chain(&p.args).cloned().collect();
        let kl = self.over_elements(&ranks, &batch, &all, &mut |me, args| {
            let atoms: Vec<Atom> = args.iter().map(|a| a.atom).collect();
            let atom = if S::draw_stage().is_some() {
                let f = me.s.module.det(callee).clone();
                me.inline_sample(&f, &atoms)?
            } else {
                me.b.emit1(Op::Call { callee, args: atoms }, "kl", Ty::FLOAT)
            };
            Some(Arr::new(atom, DType::Float, Vec::new()))
        })?;
        Some(Value::Array(self.reduce_all(ReduceOp::Sum, &kl)))
    }

    fn no_divergence(&mut self, (q, q_span): (&DistVal, Span), (p, p_span): (&DistVal, Span), span: Span) -> Value {
        let (a, b) = (self.s.module.dist(q.dist).clone(), self.s.module.dist(p.dist).clone());
        let show = |d: &ppl_core::DistInst| format!("{} on {}", d.event, d.support);
        let d = Diagnostic::error(codes::NO_DIVERGENCE, format!("no divergence of `{}` from `{}` is known", a.name, b.name))
            .label(q_span, show(&a))
            .label(p_span, show(&b))
            .note(format!("known: {}; both on one support, known before running", self.s.pairs()))
            .help(format!(
                "estimate it from draws: the mean of `log_density({}(..), x) - log_density({}(..), x)`",
                a.name, b.name
            ));
        self.fail(if self.s.in_library(span) { d.label(span, "needed here") } else { d })
    }

    /// `expected_log_weight(p, q, t)`.
    pub(crate) fn expected_log_weight(&mut self, args: &[Argument], span: Span) -> Option<Value> {
        let subjects = (self.applied(args[0].0.clone(), args[0].1), self.applied(args[1].0.clone(), args[1].1));
        let (t, q, trace) = match (subjects, &args[2].0) {
            ((Value::Target(t), Value::Program(q)), Value::Trace(tr)) => (*t, *q, tr),
            ((Value::Program(p), Value::Program(q)), Value::Trace(tr)) => {
                (TargetVal { span: p.span, program: *p, given: Vec::new() }, *q, tr)
            }
            ((Value::Error, _) | (_, Value::Error), _) => return None,
            ((p, q), tr) => {
                let d =
                    Diagnostic::error(codes::WRONG_TYPE, "`expected_log_weight` takes a target, a program, and a trace of it")
                        .label(args[0].1, format!("this is {}", p.describe()))
                        .label(args[1].1, format!("this is {}", q.describe()))
                        .label(args[2].1, format!("this is {}", tr.describe()));
                return Some(self.fail(d));
            }
        };
        let Some(origin) = trace.origin.clone().filter(|o| o.program.is_same(&q)) else {
            let d = Diagnostic::error(codes::NOT_ITS_TRACE, format!("this is no trace that `{}` has just drawn", q.name))
                .label(args[2].1, format!("a trace of `{}`", trace.program))
                .label(args[1].1, "the program whose draws the divergences average over")
                .help("draw it in the same block: `let (t, _) = sim(q)`");
            return Some(self.fail(d));
        };
        let values = self.covered(&t, trace)?;
        let target_args = self.program_args(&t.program, span)?;
        let given = t.given.iter().map(|(_, a, _)| a.atom);
        let drawn: HashSet<Var> =
            trace.entries.iter().map(|e| e.value.atom).chain([origin.log_q]).filter_map(Atom::var).collect();
        let lw = if self.reads_any(target_args.iter().copied().chain(given).collect(), &drawn) {
            // The target itself changes with the draws: no average over one choice is known.
            let (_, lp) = self.emit_density(&t, values, span)?;
            self.b.sub(lp.atom, origin.log_q)
        } else {
            self.compare(&t.program, &q);
            let guide_args = self.program_args(&q, span)?;
            let op = EstRandom::LogWeight(Box::new(LogWeight {
                target: t.program.id,
                target_args,
                target_trace: values,
                guide: q.id,
                guide_args,
                guide_trace: trace.entries.iter().map(|e| e.value.atom).collect(),
                log_q: origin.log_q,
            }));
            let Some(r) = S::estimator(op) else {
                let d = Diagnostic::error(codes::WRONG_PLACE, "`expected_log_weight` stands only in objectives")
                    .label(span, format!("in {}", S::PLACE));
                return Some(self.fail(d));
            };
            self.b.emit1(Op::Random(r), "log_w", Ty::FLOAT)
        };
        Some(Value::Array(Arr { estimate: true, ..Arr::new(lw, DType::Float, Vec::new()) }))
    }

    /// Elaborates the divergences of the choices that both programs make.
    fn compare(&mut self, p: &GenVal, q: &GenVal) {
        let (p, q) = (self.s.module.choices(p.id), self.s.module.choices(q.id));
        for c in &p {
            if let Some(d) = q.iter().find(|d| d.addr == c.addr) {
                self.s.divergence(d.dist, c.dist);
            }
        }
    }

    /// Whether any of `atoms` is computed from any of `on`.
    fn reads_any(&self, mut atoms: Vec<Atom>, on: &HashSet<Var>) -> bool {
        let mut defs: HashMap<Var, &Op<S>> = HashMap::new();
        for s in self.statements().into_iter().flatten() {
            defs.extend(s.outs.iter().map(|v| (*v, &s.op)));
            for b in ppl_core::op_blocks(&s.op) {
                ppl_core::each_stmt(b, &mut |s| defs.extend(s.outs.iter().map(|v| (*v, &s.op))));
            }
        }
        let mut seen = HashSet::new();
        while let Some(a) = atoms.pop() {
            let Some(v) = a.var().filter(|v| seen.insert(*v)) else { continue };
            if on.contains(&v) {
                return true;
            }
            if let Some(op) = defs.get(&v) {
                atoms.extend(ppl_core::op_atoms(op));
                ppl_core::op_blocks(op).into_iter().for_each(|b| atoms.extend(&b.results));
            }
        }
        false
    }
}

impl TraceOrigin {
    pub(crate) fn new(program: &GenVal, log_q: Atom) -> Box<TraceOrigin> {
        Box::new(TraceOrigin { program: program.clone(), log_q })
    }
}
