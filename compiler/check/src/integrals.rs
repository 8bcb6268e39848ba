//! `marginal` and `normalize`: generative programs made from programs.
//!
//! Either becomes a function whose body is one operation ([`ppl_core::Integral`]): what is inside with its arguments and given values, what is
//! kept, and the algorithm. Arguments that are globals are captured, others are passed.

use crate::codes;
use crate::func::FnElab;
use crate::session::{Decl, Global, TopName};
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, GenVal, Layout, NamedStrategy, TargetVal, TraceEntry, TraceVal, Value};
use ppl_core::{
    Algorithm, Atom, Choice, DType, Gen, GenRandom, Integral, IntegralKind, Op, Proposal, Resampling, StrategyUse, Ty,
};
use ppl_diag::{Diagnostic, Span, did_you_mean};
use ppl_syntax::ast::{Arg, Expr, ExprKind, Kept};

/// Algorithms by name.
const ALGORITHMS: &[&str] = &["enumeration", "importance", "sir", "smc"];

/// An algorithm as written.
struct How {
    algorithm: Algorithm,
    count: usize,
    proposal: Option<(Expr, Span)>,
    /// Whether the user named one.
    written: bool,
    span: Span,
}

/// A proposal with its arguments.
struct Proposes {
    program: GenVal,
    takes_trace: bool,
}

impl<S: ElabStage> FnElab<'_, S> {
    /// `marginal { x, y } of p by a`.
    pub(crate) fn marginal(&mut self, keep: &[Kept], program: &Expr, by: Option<&Expr>, span: Span) -> Value {
        let Some(target) = self.inner(program, "marginal") else { return Value::Error };
        let choices = self.s.module.choices(target.program.id);
        let mut kept = Vec::new();
        let mut fine = true;
        let mut names = Vec::new();
        for k in keep {
            match k {
                Kept::Address(a) => names.push((crate::programs::address_name(a), a.span)),
                Kept::Latents(e) => {
                    let Some(of) = self.inner(e, "latents") else { return Value::Error };
                    names.extend(self.latents(&of).iter().map(|c| (c.addr.clone(), e.span)));
                }
            }
        }
        for (name, at) in names {
            let found: Vec<usize> = (0..choices.len())
                .filter(|k| choices[*k].addr == name || choices[*k].addr.starts_with(&format!("{name}.")))
                .collect();
            if self.s.broken.get(&target.program.id.0).is_some_and(|b| b.contains(&name)) {
                fine = false;
                continue;
            }
            if found.is_empty() {
                let all: Vec<&str> = choices.iter().map(|c| c.addr.as_str()).collect();
                let d = Diagnostic::error(codes::UNKNOWN_ADDRESS, format!("`{}` makes no choice `{name}`", target.program.name))
                    .label(at, "no such choice");
                let d = match did_you_mean(&name, all.iter().copied()) {
                    Some(near) => d.help(format!("did you mean `{near}`?")).edit(at, near),
                    None => d.note(format!("its choices: {}", all.join(", "))),
                };
                self.report(d);
                fine = false;
            }
            if let Some((_, _, given_at)) = target.given.iter().find(|(n, _, _)| *n == name) {
                self.report(
                    Diagnostic::error(codes::EXTRA_CHOICE, format!("`{name}` is given, so it cannot be kept"))
                        .label(at, "kept here")
                        .label(*given_at, "given here")
                        .help("given choices stay given: leave it out of the list"),
                );
                fine = false;
            }
            kept.extend(found);
        }
        kept.sort_unstable();
        kept.dedup();
        let Some(how) = self.algorithm(by, span) else { return Value::Error };
        if !fine {
            return Value::Error;
        }
        self.integral(target, IntegralKind::Marginal { keep: kept }, how, span)
    }

    /// `normalize p by a`.
    pub(crate) fn normalized(&mut self, program: &Expr, by: Option<&Expr>, span: Span) -> Value {
        let Some(target) = self.inner(program, "normalize") else { return Value::Error };
        let Some(how) = self.algorithm(by, span) else { return Value::Error };
        if !how.written {
            return self.fail(
                Diagnostic::error(codes::NO_ALGORITHM, "`normalize` needs an algorithm")
                    .label(span, "nothing says how the posterior is approached")
                    .help("`normalize .. by sir(guide(), 20)`; or `by enumeration`, where all that is not given has finitely many values"),
            );
        }
        self.integral(target, IntegralKind::Normalize, how, span)
    }

    /// The marginal over the finite choices of a target, exactly; `None` where it has none.
    pub(crate) fn without_finite(&mut self, t: &TargetVal) -> Option<TargetVal> {
        let choices = self.s.module.choices(t.program.id);
        let given = |c: &Choice| t.given.iter().any(|(n, _, _)| *n == c.addr);
        if !choices.iter().any(|c| !given(c) && c.support.size().is_some()) {
            return None;
        }
        let keep = (0..choices.len()).filter(|k| !given(&choices[*k]) && choices[*k].support.size().is_none()).collect();
        let how = How { algorithm: Algorithm::Enumeration, count: 1, proposal: None, written: true, span: t.span };
        match self.integral(t.clone(), IntegralKind::Marginal { keep }, how, t.span) {
            Value::Program(g) => Some(TargetVal { program: *g, given: Vec::new(), span: t.span }),
            _ => None,
        }
    }

    fn inner(&mut self, program: &Expr, what: &str) -> Option<TargetVal> {
        let v = self.expr(program);
        match self.applied(v, program.span) {
            Value::Program(g) => Some(TargetVal { span: g.span, program: *g, given: Vec::new() }),
            Value::Target(t) => Some(*t),
            Value::Error => None,
            v => {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, format!("`{what}` needs a generative program"))
                        .label(program.span, format!("this is {}", v.describe())),
                );
                None
            }
        }
    }

    /// `importance(aux, 5)`, `sir(q(), 20)`, `smc(10)`, `enumeration`; one weight where none is written.
    fn algorithm(&mut self, by: Option<&Expr>, span: Span) -> Option<How> {
        let Some(e) = by else {
            return Some(How { algorithm: Algorithm::Importance, count: 1, proposal: None, written: false, span });
        };
        let (name, args): (_, &[Arg]) = match &e.kind {
            ExprKind::Name(n) => (n, &[]),
            ExprKind::Call { callee, args } => match &callee.kind {
                ExprKind::Name(n) => (n, args.as_slice()),
                _ => return self.unknown_algorithm("this", e.span),
            },
            _ => return self.unknown_algorithm("this", e.span),
        };
        let algorithm = match name.as_str() {
            "enumeration" => Algorithm::Enumeration,
            "importance" | "sir" => Algorithm::Importance,
            "smc" => Algorithm::Smc,
            other => return self.unknown_algorithm(&format!("`{other}`"), name.span),
        };
        let shape = |me: &mut Self| -> Option<How> {
            let usage = if algorithm == Algorithm::Enumeration {
                "`enumeration`"
            } else {
                "`importance(proposal, 10)`, or `importance(10)`"
            };
            me.report(
                Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{name}` does not take these arguments"))
                    .label(e.span, "here")
                    .help(
                        format!("write {usage}: a program that proposes what is integrated out, and the number of draws")
                            .replace("importance", name.as_str()),
                    ),
            );
            None
        };
        if args.iter().any(|a| a.name.is_some()) {
            return shape(self);
        }
        let (proposal, count) = match (algorithm, args) {
            (Algorithm::Enumeration, []) => {
                return Some(How { algorithm, count: 1, proposal: None, written: true, span: e.span });
            }
            (Algorithm::Importance | Algorithm::Smc, [n]) => (None, n),
            (Algorithm::Importance | Algorithm::Smc, [q, n]) => (Some((q.value.clone(), q.value.span)), n),
            _ => return shape(self),
        };
        let count = self.size(&count.value)?;
        if count.n == 0 {
            self.report(
                Diagnostic::error(codes::NO_WEIGHTS, format!("`{name}` needs at least one draw"))
                    .label(e.span, "0 draws")
                    .help("more draws bring the estimate nearer to the exact value; 5 to 50 are usual"),
            );
            return None;
        }
        Some(How { algorithm, count: count.n, proposal, written: true, span: e.span })
    }

    fn unknown_algorithm(&mut self, what: &str, span: Span) -> Option<How> {
        let d = Diagnostic::error(codes::UNKNOWN_ALGORITHM, format!("{what} is no algorithm of `marginal` or `normalize`"))
            .label(span, "unknown");
        let near = did_you_mean(what.trim_matches('`'), ALGORITHMS.iter().copied()).map(str::to_string);
        self.report(match near {
            Some(near) => d.help(format!("did you mean `{near}`?")).edit(span, near),
            None => d.note(format!("algorithms: {}", ALGORITHMS.join(", "))),
        });
        None
    }

    /// The proposal, applied to a trace of the kept choices where it takes one.
    fn proposal(&mut self, t: &TargetVal, kept: &[Choice], e: &Expr) -> Option<Proposes> {
        let v = self.expr(e);
        let trace = || {
            let entries = kept
                .iter()
                .map(|c| TraceEntry {
                    addr: c.addr.clone(),
                    value: Arr::from_ty(Atom::int(0), &c.ty),
                    support: c.support.clone(),
                    conditional: c.conditional,
                    span: c.span,
                })
                .collect();
            TraceVal { program: t.program.name.clone(), entries, broken: Vec::new(), origin: None, span: t.span }
        };
        let (v, takes_trace) = match &v {
            Value::Decl(id) => {
                let decl = self.s.decl(*id);
                match &*decl {
                    Decl::Gen(c) if c.params.len() == 1 => {
                        (self.call_decl(*id, vec![(Value::Trace(trace()), e.span)], e.span), true)
                    }
                    _ => (self.applied(v, e.span), false),
                }
            }
            _ => (v, false),
        };
        match v {
            Value::Program(program) => Some(Proposes { program: *program, takes_trace }),
            Value::Error => None,
            v => {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, "a proposal is a generative program")
                        .label(e.span, format!("this is {}", v.describe()))
                        .help("a program without arguments, or one that takes a trace of what is kept: `gen aux(t: trace of p) { u ~ .. }`"),
                );
                None
            }
        }
    }

    /// Whether the proposal makes exactly the choices that are integrated out.
    fn covers(&mut self, t: &TargetVal, wanted: &[Choice], p: &Proposes, span: Span) -> bool {
        let made = self.s.module.choices(p.program.id);
        let mut fine = true;
        for c in wanted {
            let found = made.iter().find(|m| m.addr == c.addr);
            let wrong = match found {
                None => Some(format!("does not propose `{}`", c.addr)),
                Some(m) if m.ty != c.ty => Some(format!(
                    "proposes `{}` as `{}`, not `{}`",
                    c.addr,
                    Arr::from_ty(Atom::int(0), &m.ty).show(),
                    Arr::from_ty(Atom::int(0), &c.ty).show()
                )),
                Some(m) if !crate::programs::supports_match(&c.support, &m.support) => {
                    Some(format!("proposes `{}` on {}, but its support is {}", c.addr, m.support, c.support))
                }
                Some(_) => None,
            };
            if let Some(wrong) = wrong {
                let mut d = Diagnostic::error(codes::PROPOSAL, format!("`{}` {wrong}", p.program.name))
                    .label(span, "proposes what is integrated out")
                    .label(c.span, format!("`{}` of `{}`", c.addr, t.program.name));
                if let Some(m) = found {
                    d = d.label(m.span, "proposed here");
                }
                self.report(d.note("draws that the proposal can't make would be missing from the integral"));
                fine = false;
            }
        }
        for m in made.iter().filter(|m| !wanted.iter().any(|c| c.addr == m.addr)) {
            self.report(
                Diagnostic::error(
                    codes::PROPOSAL,
                    format!("`{}` proposes `{}`, which is not integrated out", p.program.name, m.addr),
                )
                .label(m.span, "proposed here")
                .label(span, "used as a proposal here")
                .help("remove it, or sum it out: `marginal { .. } of` the proposal"),
            );
            fine = false;
        }
        fine
    }

    /// The function, and the program that calls it.
    fn integral(&mut self, t: TargetVal, kind: IntegralKind, how: How, span: Span) -> Value {
        if self.s.module.subsampled(t.program.id) {
            let g = self.s.module.generative(t.program.id);
            let d = Diagnostic::error(
                codes::NONLINEAR_ESTIMATE,
                format!("`{}` loops over a minibatch, so it cannot be integrated as a whole", t.program.name),
            )
            .label(span, "exponentiates the log density, of which there is only an estimate")
            .label(g.span, "its mean over minibatches is the log density, that of its exponential is not the density")
            .help(
                "integrate out the choices of one datum, in the loop: `gen datum(..) { z ~ ..;  y ~ .. }` and `d[n] ~ marginal { y } of datum(..) by enumeration`, given `d.y`",
            );
            return self.fail(d);
        }
        let choices = self.s.module.choices(t.program.id);
        let given: Vec<(usize, Arr)> = choices
            .iter()
            .enumerate()
            .filter_map(|(k, c)| t.given.iter().find(|(n, _, _)| *n == c.addr).map(|(_, a, _)| (k, a.clone())))
            .collect();
        let is_given = |k: usize| given.iter().any(|(g, _)| *g == k);
        let keeps = |k: usize| match &kind {
            IntegralKind::Marginal { keep } => keep.contains(&k),
            IntegralKind::Normalize => !is_given(k),
        };
        let normalize = kind == IntegralKind::Normalize;
        let kept: Vec<Choice> = (0..choices.len()).filter(|k| keeps(*k)).map(|k| choices[k].clone()).collect();
        let integrated: Vec<Choice> =
            (0..choices.len()).filter(|k| !is_given(*k) && (normalize || !keeps(*k))).map(|k| choices[k].clone()).collect();
        if integrated.is_empty() && !normalize && how.written && how.algorithm != Algorithm::Enumeration {
            return self.fail(
                Diagnostic::error(codes::PROPOSAL, "nothing is integrated out")
                    .label(span, format!("every choice of `{}` is kept", t.program.name))
                    .help("leave out `by ..`, or keep fewer choices"),
            );
        }
        let proposal = match &how.proposal {
            None => None,
            Some((e, at)) => {
                let shown = if normalize { &[][..] } else { &kept[..] };
                let Some(p) = self.proposal(&t, shown, e) else { return Value::Error };
                if !self.covers(&t, &integrated, &p, *at) {
                    return Value::Error;
                }
                Some(p)
            }
        };
        if how.algorithm == Algorithm::Enumeration {
            let mut fine = true;
            for c in integrated.iter().filter(|c| c.support.size().is_none()) {
                let name = self.s.module.dist(c.dist).name.clone();
                self.report(not_finite(c, &name, how.span));
                fine = false;
            }
            if !fine {
                return Value::Error;
            }
        }
        if !t.program.is_itself() || proposal.as_ref().is_some_and(|p| !p.program.is_itself()) {
            return self.not_yet(
                "an integral of a detached program, or of one with other data,",
                span,
                "detach the integral itself: `stop(marginal { .. } of ..)`",
            );
        }
        // Operands of this function become parameters, unless they are globals.
        let inner_captures: Vec<Global> = self.s.gen_captures.get(&t.program.id.0).cloned().unwrap_or_default();
        let proposal_captures: Vec<Global> =
            proposal.as_ref().and_then(|p| self.s.gen_captures.get(&p.program.id.0).cloned()).unwrap_or_default();
        let mut operands: Vec<Atom> = t.program.args.clone();
        operands.extend(given.iter().map(|(_, a)| a.atom));
        let skip = proposal.as_ref().map_or(0, |p| if p.takes_trace { p.program.args.len() } else { 0 });
        operands.extend(proposal.iter().flat_map(|p| p.program.args.iter().skip(skip).copied()));
        let typed: Vec<(Atom, Ty, Option<Global>)> = operands.iter().map(|a| (*a, self.b.ty(*a), self.captured(*a))).collect();
        let strategies = self.forced.clone();
        let level = self.level + 1;
        let name = t.program.name.clone();
        let mut me = FnElab::<Gen>::new(self.s, &name, level, false);
        me.strategies = strategies;
        let mut passed = Vec::new();
        let mut inside: Vec<Atom> = Vec::new();
        for (a, ty, global) in typed {
            inside.push(match (a, global) {
                (Atom::Lit(_), _) => a,
                (_, Some(g)) => me.global(g).atom,
                (Atom::Var(_), None) => {
                    passed.push(a);
                    Atom::Var(me.b.param("v", ty))
                }
            });
        }
        let mut inside = inside.into_iter();
        let mut args: Vec<Atom> = inside.by_ref().take(t.program.args.len()).collect();
        let given: Vec<(usize, Atom)> = given.iter().map(|(k, _)| *k).zip(inside.by_ref()).take(given.len()).collect();
        args.extend(me.globals(&inner_captures));
        let proposal = proposal.map(|p| {
            let mut args: Vec<Atom> = inside.collect();
            args.extend(me.globals(&proposal_captures));
            Proposal { callee: p.program.id, args, takes_trace: p.takes_trace }
        });
        let resamples = how.algorithm == Algorithm::Smc || how.algorithm == Algorithm::Importance && normalize;
        let index = if resamples {
            let Some(r) = me.resampling(how.count, "index", how.algorithm == Algorithm::Smc, how.span) else {
                return Value::Error;
            };
            Some(r)
        } else {
            None
        };
        let mut sites = Vec::new();
        if how.algorithm == Algorithm::Enumeration && normalize {
            for c in &integrated {
                let n = c.support.size().unwrap_or(1);
                let Some(r) = me.resampling(n, &c.addr, false, how.span) else { return Value::Error };
                sites.push(r);
            }
            // A loop may choose several of them in each step: its state is all of them together.
            let sizes: Vec<usize> = integrated.iter().map(|c| c.support.size().unwrap_or(1)).collect();
            for n in products(&sizes) {
                let Some(r) = me.resampling(n, "state", false, how.span) else { return Value::Error };
                sites.push(r);
            }
        }
        let integral = Integral {
            kind,
            callee: t.program.id,
            args,
            given,
            algorithm: how.algorithm,
            count: how.count,
            proposal,
            index,
            sites,
        };
        me.b.span = span;
        let Some(random) = <Gen as ElabStage>::generative(GenRandom::Integral(Box::new(integral))) else { return Value::Error };
        me.b.emit(Op::Random(random), Vec::new());
        let done = me.finish(Vec::new(), span);
        let id = self.s.module.add_gen(done.func);
        self.s.gen_captures.insert(id.0, done.captures);
        for c in &kept {
            for starts in [false, true] {
                let key = (t.program.id.0, c.addr.clone());
                let to = (id.0, c.addr.clone());
                if starts {
                    if let Some(s) = self.s.choice_starts.get(&key).cloned() {
                        self.s.choice_starts.insert(to, s);
                    }
                } else if let Some(d) = self.s.choice_dims.get(&key).cloned() {
                    self.s.choice_dims.insert(to, d);
                }
            }
        }
        let result = Layout::Static(Box::new(Value::Unit));
        Value::Program(Box::new(GenVal {
            name,
            id,
            args: passed,
            level: self.level,
            result,
            detached: false,
            rebound: Vec::new(),
            span,
        }))
    }

    /// The global that an operand of this function is.
    fn captured(&self, a: Atom) -> Option<Global> {
        self.captures_of().find(|(_, arr)| arr.atom == a && matches!(a, Atom::Var(_))).map(|(g, _)| *g)
    }
}

impl FnElab<'_, Gen> {
    /// How an index below `n` is drawn by log weights: a choice at `address`.
    fn resampling(&mut self, n: usize, address: &str, reinforced: bool, span: Span) -> Option<Resampling> {
        let Some(TopName::Decl(id)) = self.s.top("categorical_logits") else { return None };
        let decl = self.s.decl(id);
        let Decl::Dist(d) = &*decl else { return None };
        let logits = Arr::new(Atom::int(0), DType::Float, vec![Dim::from(n)]);
        let Value::Dist(dist) = self.apply_dist(id, d, vec![(logits, span)], span) else { return None };
        let chosen = self.s.overrides.iter().find(|o| o.address.as_deref() == Some(address)).map(|o| o.strategy.clone());
        let named: Option<NamedStrategy> = match chosen {
            Some(e) => self.named_strategy(&e),
            None => self.strategies.get(address).cloned(),
        };
        let strategy = match named {
            None if reinforced => {
                let reinforce = NamedStrategy { name: "reinforce".into(), args: Vec::new(), span };
                let (strategy, args) = self.strategy_for(&reinforce, &dist, address)?;
                StrategyUse::Named { strategy, args, span: Span::NONE }
            }
            None => StrategyUse::Auto,
            Some(named) => {
                let (strategy, args) = self.strategy_for(&named, &dist, address)?;
                StrategyUse::Named { strategy, args, span: named.span }
            }
        };
        Some(Resampling { dist: dist.dist, strategy })
    }
}

/// Numbers of states that two or more choices can have together, as far as they are likely to be steps of one loop.
fn products(sizes: &[usize]) -> Vec<usize> {
    const MOST: usize = 4096;
    let mut all: Vec<(usize, usize)> = vec![(0, 1)];
    for n in sizes.iter().take(8) {
        let with: Vec<(usize, usize)> = all.iter().map(|(k, p)| (k + 1, p * n)).filter(|(_, p)| *p <= MOST).collect();
        all.extend(with);
    }
    let mut out: Vec<usize> = all.into_iter().filter(|(k, _)| *k > 1).map(|(_, p)| p).collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn not_finite(c: &Choice, dist: &str, span: Span) -> Diagnostic {
    let kind = if c.support.is_discrete() { "has no known end" } else { "is continuous" };
    Diagnostic::error(codes::NOT_FINITE, format!("`{}` cannot be summed by enumeration", c.addr))
        .label(c.span, format!("`{dist}`: its support, {}, {kind}", c.support))
        .label(span, "sums over all values")
        .note("enumeration sums over choices with finitely many values: `flip`, `categorical`, integers between known bounds")
        .help(format!("keep `{}`, or use `importance(proposal, 10)`", c.addr))
}
