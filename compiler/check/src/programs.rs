//! Generative programs as values: instances, targets, simulation and scoring.

use crate::codes;
use crate::func::FnElab;
use crate::session::{Decl, Global};
use crate::stage::ElabStage;
use crate::value::{Arr, DeclId, Dim, GenVal, Layout, NamedStrategy, TargetVal, TraceEntry, TraceOrigin, TraceVal, Value};
use ppl_core::{Atom, Choice, DType, EstRandom, Gen, Op, Support, Ty};
use ppl_diag::{Diagnostic, Span, did_you_mean};
use ppl_syntax::ast::{Binding, ByEntry, Callable, Expr};
use std::collections::HashMap;

impl<S: ElabStage> FnElab<'_, S> {
    /// A generative program applied to arguments: its function is elaborated for their types and known values.
    pub(crate) fn instance(
        &mut self,
        id: DeclId,
        c: &Callable,
        args: Vec<(Value, Span)>,
        strategies: &HashMap<String, NamedStrategy>,
        span: Span,
    ) -> Value {
        // Known values and programs specialise the function, arrays are passed.
        let purpose = match (self.s.evaluating, self.s.fitting) {
            (true, _) => "|evaluating",
            (false, true) => "|fitting",
            (false, false) => "",
        };
        let mut key = format!("{}{purpose}", id.0);
        let mut passed = Vec::new();
        for (v, at) in &args {
            if let Value::Array(a) = v
                && self.refuse_estimate(a, "an argument of a generative program", *at)
            {
                return Value::Error;
            }
            match v {
                Value::Array(a) if a.konst.is_some() => key += &format!("|{:?}", a.konst),
                Value::Array(a) => {
                    key += &format!("|{}", a.ty());
                    passed.push(a.atom);
                }
                Value::Tuple(_) | Value::Trace(_) => {
                    let layout = v.flatten(&mut passed);
                    key += &format!("|{layout:?}");
                }
                Value::Program(g) if g.is_plain() => key += &format!("|{}", g.id),
                Value::Target(t) if t.program.is_plain() => {
                    key += &format!("|{}", t.program.id);
                    for (n, _, _) in &t.given {
                        key += &format!("+{n}");
                    }
                }
                Value::Decl(d) => key += &format!("|decl{}", d.0),
                Value::Builtin(name) => key += &format!("|fn {name}"),
                Value::Function(c) if c.network.is_some() => key += &format!("|net {:?}", c.network),
                Value::Function(_) | Value::List(_) => {
                    return self.fail(
                        Diagnostic::error(
                            codes::WRONG_TYPE,
                            "a function without a name can't be an argument of a generative program",
                        )
                        .label(*at, format!("this is {}", v.describe()))
                        .help("declare it, `fn f(x) = ..`, or make it a network of the file: `param net = ..`"),
                    );
                }
                Value::Error => return Value::Error,
                v => {
                    return self.fail(
                        Diagnostic::error(codes::NOT_COMPILED_YET, "this argument of a generative program is not compiled yet")
                            .label(*at, format!("this is {}", v.describe())),
                    );
                }
            }
        }
        let mut names: Vec<&String> = strategies.keys().collect();
        names.sort();
        for n in names {
            key += &format!("|by {n}:{}", strategies[n].name);
            for (a, v) in &strategies[n].args {
                key += &format!("{a:?}{v:?}");
            }
        }
        if let Some((g, captures)) = self.s.gen_cache.get(&key).cloned() {
            self.s.gen_captures.insert(g.id.0, captures);
            return Value::Program(Box::new(GenVal { args: passed, level: self.level, span, ..g }));
        }
        if self.level > 32 || self.s.active.contains(&key) {
            return self.fail(
                Diagnostic::error(codes::TOO_DEEP, format!("`{}` calls itself without end", c.name))
                    .label(span, "the call")
                    .note("programs whose choices are not bounded before they run are not compiled yet")
                    .help("use a loop with a size: `for t in T { .. }`"),
            );
        }
        let decl_span = self.s.decls[id.0].1;
        let level = self.level + 1;
        let errors = self.s.diagnostics.len();
        self.s.active.push(key.clone());
        let mut me = FnElab::<Gen>::new(self.s, c.name.as_str(), level, false);
        me.strategies = strategies.clone();
        for ((v, at), p) in args.iter().zip(&c.params) {
            let v = me.parameter_value(v, p.name.as_str());
            let v = match &p.ty {
                Some(t) => me.check_type(&format!("`{}` of `{}`", p.name, c.name), t, v, *at),
                None => v,
            };
            me.bind(p.name.as_str(), v);
        }
        me.push_scope();
        let mut value = match &c.body.kind {
            ppl_syntax::ast::ExprKind::Block(b) => me.block(b),
            _ => me.expr(&c.body),
        };
        if let Some(t) = &c.ret {
            value = me.check_type(&format!("the result of `{}`", c.name), t, value, c.body.span);
        }
        if value.holds_function() {
            me.report(
                Diagnostic::error(codes::WRONG_TYPE, "the result of a generative program is made of numbers")
                    .label(c.body.span, format!("ends with {}", value.describe())),
            );
            value = Value::Error;
        }
        let mut results = Vec::new();
        let layout = value.flatten(&mut results);
        let named = std::mem::take(&mut me.choice_dims);
        let starts = std::mem::take(&mut me.choice_starts);
        let broken = std::mem::take(&mut me.broken);
        let done = me.finish(results, decl_span);
        self.s.active.pop();
        let gen_id = self.s.module.add_gen(done.func);
        self.s.broken.insert(gen_id.0, broken);
        self.s.choice_dims.extend(named.into_iter().map(|(n, d)| ((gen_id.0, n), d)));
        self.s.choice_starts.extend(starts.into_iter().map(|(n, s)| ((gen_id.0, n), s)));
        self.s.gen_captures.insert(gen_id.0, done.captures.clone());
        let g = GenVal {
            name: c.name.as_str().to_string(),
            id: gen_id,
            args: passed,
            level: self.level,
            result: layout,
            detached: false,
            rebound: Vec::new(),
            span,
        };
        if self.s.diagnostics.len() == errors {
            self.s.gen_cache.insert(key, (g.clone(), done.captures));
        }
        Value::Program(Box::new(g))
    }

    /// An argument inside the function it is passed to: arrays become parameters.
    fn parameter_value(&mut self, v: &Value, name: &str) -> Value {
        match v {
            Value::Array(a) if a.konst.is_some() => v.clone(),
            Value::Array(a) => {
                let p = self.b.param(name, a.ty());
                Value::Array(Arr { atom: Atom::Var(p), ..a.clone() })
            }
            Value::Tuple(_) | Value::Trace(_) => {
                let mut atoms = Vec::new();
                let layout = v.flatten(&mut atoms);
                let tys = layout_types(&layout);
                let vars: Vec<Atom> = tys.into_iter().map(|t| Atom::Var(self.b.param(name, t))).collect();
                layout.build(&mut vars.into_iter(), &[])
            }
            Value::Function(c) => match &c.network {
                Some(net) => self.lookup_quiet(net).unwrap_or(Value::Error),
                None => Value::Error,
            },
            other => other.clone(),
        }
    }

    /// Operands of a call of `g` in this function.
    pub(crate) fn program_args(&mut self, g: &GenVal, span: Span) -> Option<Vec<Atom>> {
        if !(g.args.is_empty() && g.rebound.is_empty()) && g.level != self.level {
            self.not_yet(
                "a program with computed arguments, used inside another program,",
                span,
                "pass the values as arguments instead",
            );
            return None;
        }
        let captures: Vec<Global> = self.s.gen_captures.get(&g.id.0).cloned().unwrap_or_default();
        let mut args = g.args.clone();
        for c in captures {
            let other = g.rebound.iter().find(|(d, _)| *d == c).map(|(_, a)| *a);
            args.push(other.unwrap_or_else(|| self.global(c).atom));
        }
        if g.detached {
            for a in &mut args {
                if a.var().is_some() && self.b.ty(*a).dtype == DType::Float {
                    *a = self.b.stop(*a);
                }
            }
        }
        Some(args)
    }

    /// `stop(p)`: the program with everything that it takes detached.
    pub(crate) fn stop_program(&mut self, v: Value, span: Span) -> Value {
        match self.applied(v, span) {
            Value::Program(g) => Value::Program(Box::new(GenVal { detached: true, ..*g })),
            Value::Target(t) => Value::Target(Box::new(TargetVal { program: GenVal { detached: true, ..t.program }, ..*t })),
            Value::Error => Value::Error,
            v => self.fail(
                Diagnostic::error(codes::WRONG_TYPE, "`stop` takes a value or a generative program")
                    .label(span, format!("this is {}", v.describe())),
            ),
        }
    }

    /// `p with data { x: v }`: the program, reading these values where it reads the data.
    pub(crate) fn with_data(&mut self, program: &Expr, bindings: &[Binding], span: Span) -> Value {
        let v = self.expr(program);
        let (mut g, given) = match self.applied(v, program.span) {
            Value::Program(g) => (*g, None),
            Value::Target(t) => (t.program, Some((t.given, t.span))),
            Value::Error => return Value::Error,
            v => {
                return self.fail(
                    Diagnostic::error(codes::WRONG_TYPE, "`with data` needs a generative program")
                        .label(program.span, format!("this is {}", v.describe())),
                );
            }
        };
        let captures: Vec<Global> = self.s.gen_captures.get(&g.id.0).cloned().unwrap_or_default();
        let data = |c: &Global| match c {
            Global::Data(i) => Some(*i),
            Global::Param(_) | Global::Let(_) => None,
        };
        for b in bindings {
            let name = address_name(&b.address);
            let Some(at) = captures.iter().filter_map(data).find(|i| self.s.data[*i].name == name) else {
                let read: Vec<String> = captures.iter().filter_map(data).map(|i| self.s.data[i].name.clone()).collect();
                let declared = self.s.data.iter().find(|d| d.name == name).map(|d| (d.span, d.is_size));
                let mut d = Diagnostic::error(codes::NOT_READ, format!("`{}` does not read the data `{name}`", g.name))
                    .label(b.address.span, if declared.is_some() { "not read by the program" } else { "no such data" });
                if let Some((at, size)) = declared {
                    d = d.label(at, if size { "a size: it is part of the program's types" } else { "declared here" });
                }
                d = match did_you_mean(&name, read.iter().map(String::as_str)) {
                    Some(near) if near != name => d.help(format!("did you mean `{near}`?")).edit(b.address.span, near),
                    _ if read.is_empty() => d.note("it reads no data"),
                    _ => d.note(format!("it reads: {}", read.join(", "))),
                };
                self.report(d);
                continue;
            };
            let global = Global::Data(at);
            let v = self.expr(&b.value);
            let Some(a) = self.as_array(v, b.value.span) else { continue };
            if self.refuse_estimate(&a, "a value for data", b.value.span) {
                continue;
            }
            let info = self.s.global_info(global).arr;
            let a = match (info.dtype, a.dtype) {
                (DType::Float, DType::Int) => match self.as_real(a, b.value.span) {
                    Some(a) => a,
                    None => continue,
                },
                _ => a,
            };
            if a.ty() != info.ty() {
                self.wrong_shape(&format!("the data `{name}`"), info.dtype, &info.dims, &a, b.value.span, self.s.data[at].span);
                continue;
            }
            // What is computed from the data before the fit is not computed again.
            let stale = captures.iter().find_map(|c| match c {
                Global::Let(i) if self.reads(*i, global) => Some(self.s.lets[*i].clone()),
                _ => None,
            });
            if let Some(l) = stale {
                self.report(
                    Diagnostic::error(
                        codes::NOT_READ,
                        format!("`{}` also reads `{}`, which is computed from `{name}`", g.name, l.name),
                    )
                    .label(b.span, "given here")
                    .label(l.span, "computed once, before the fit")
                    .help("compute it inside the program, or give the program the value as an argument"),
                );
                continue;
            }
            if g.rebound.iter().any(|(d, _)| *d == global) {
                self.report(
                    Diagnostic::error(codes::ADDRESS_COLLISION, format!("`{name}` is given twice")).label(b.span, "again here"),
                );
                continue;
            }
            g.rebound.push((global, a.atom));
        }
        g.level = self.level;
        match given {
            None => Value::Program(Box::new(GenVal { span, ..g })),
            Some((given, span)) => Value::Target(Box::new(TargetVal { program: g, given, span })),
        }
    }

    /// Whether a top-level `let` is computed from a global.
    fn reads(&self, l: usize, g: Global) -> bool {
        self.s.lets[l].inputs.iter().any(|i| *i == g || matches!(i, Global::Let(j) if *j != l && self.reads(*j, g)))
    }

    /// `p given { z: v }`.
    pub(crate) fn given(&mut self, program: &Expr, bindings: &[Binding], span: Span) -> Value {
        let v = self.expr(program);
        let mut target = match self.applied(v, program.span) {
            Value::Program(g) => TargetVal { program: *g, given: Vec::new(), span },
            Value::Target(t) => *t,
            Value::Error => return Value::Error,
            v => {
                return self.fail(
                    Diagnostic::error(codes::WRONG_TYPE, "`given` needs a generative program")
                        .label(program.span, format!("this is {}", v.describe())),
                );
            }
        };
        let choices = self.s.module.choices(target.program.id);
        for b in bindings {
            let name = address_name(&b.address);
            if self.s.broken.get(&target.program.id.0).is_some_and(|b| b.contains(&name)) {
                continue;
            }
            let Some(choice) = choices.iter().find(|c| c.addr == name) else {
                let all: Vec<&str> = choices.iter().map(|c| c.addr.as_str()).collect();
                let mut d =
                    Diagnostic::error(codes::UNKNOWN_GIVEN, format!("`{}` makes no choice `{name}`", target.program.name))
                        .label(b.address.span, "no such choice");
                d = match did_you_mean(&name, all.iter().copied()) {
                    Some(near) => d.help(format!("did you mean `{near}`?")).edit(b.address.span, near),
                    None => d.note(format!("its choices: {}", all.join(", "))),
                };
                self.report(d);
                continue;
            };
            let v = self.expr(&b.value);
            let Some(a) = self.as_array(v, b.value.span) else {
                continue;
            };
            let Some(a) = self.fits_choice(a, choice, b.value.span, &target.program) else {
                continue;
            };
            if target.given.iter().any(|(n, _, _)| *n == name) {
                self.report(
                    Diagnostic::error(codes::ADDRESS_COLLISION, format!("`{name}` is given twice")).label(b.span, "again here"),
                );
                continue;
            }
            target.given.push((name, a, b.span));
        }
        Value::Target(Box::new(target))
    }

    /// A value as the choice's type.
    fn fits_choice(&mut self, a: Arr, choice: &Choice, span: Span, program: &GenVal) -> Option<Arr> {
        if self.refuse_estimate(&a, "a given value", span) {
            return None;
        }
        let a = match (choice.ty.dtype, a.dtype) {
            (DType::Float, DType::Int) => self.as_real(a, span)?,
            _ => a,
        };
        let dims = self.choice_dims(program, choice);
        let a = self.drawn_part(a, choice, program);
        let a = self.minibatch_part(a, &dims);
        if a.ty() != choice.ty {
            let code = if a.dtype == choice.ty.dtype { codes::SHAPES_DISAGREE } else { codes::WRONG_TYPE };
            let shown = crate::value::show_ty(choice.ty.dtype, &dims);
            let mut d =
                Diagnostic::error(code, format!("the choice `{}` has type `{shown}`, this has type `{}`", choice.addr, a.show()))
                    .label(span, format!("`{}`", a.show()))
                    .label(choice.span, format!("`{shown}`"));
            if let Some(data) = dims.iter().find_map(|d| d.of) {
                let n = if data < crate::value::FIRST_STAND_IN { format!("{data} elements, ") } else { String::new() };
                d = d.help(format!("give the array of all data: {n}one for each datum, of which a step reads its own"));
            }
            self.report(d);
            return None;
        }
        Some(a)
    }

    /// The part of an array that the choice draws, where its loops do not start at 0: the elements before are the program's own.
    fn drawn_part(&mut self, a: Arr, choice: &Choice, program: &GenVal) -> Arr {
        let Some(starts) = self.s.choice_starts.get(&(program.id.0, choice.addr.clone())).cloned() else { return a };
        if a.dims.len() != choice.ty.rank() {
            return a;
        }
        let mut out = a;
        for (axis, start) in starts.into_iter().enumerate().filter(|(_, s)| *s > 0) {
            let (start, n) = (start as usize, choice.ty.shape[axis]);
            if out.dims[axis].n == n + start {
                let atom = self.b.slice(out.atom, axis, start, n);
                out.atom = atom;
                out.dims[axis] = Dim::from(n);
            }
        }
        out
    }

    /// The elements of an array that belong to this step, where the choice is one of each datum of a minibatch and the array of all data.
    fn minibatch_part(&mut self, a: Arr, dims: &[Dim]) -> Arr {
        if a.dims.len() != dims.len() {
            return a;
        }
        let mut out = a;
        for (axis, dim) in dims.iter().enumerate() {
            let Some(data) = dim.of.filter(|n| out.dims[axis].n == *n && out.dims[axis].of.is_none()) else { continue };
            let indices = self.b.minibatch(data, dim.n);
            let rank = out.dims.len();
            let front: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|k| *k != axis)).collect();
            let back: Vec<usize> = (0..rank).map(|k| front.iter().position(|f| *f == k).unwrap_or(k)).collect();
            let x = self.b.transpose(out.atom, &front);
            let x = self.b.gather(x, indices, 0);
            out.atom = self.b.transpose(x, &back);
            out.dims[axis] = dim.clone();
        }
        out
    }

    /// Sizes of a choice, with the names of the loops around it where known.
    pub(crate) fn choice_dims(&self, program: &GenVal, choice: &Choice) -> Vec<Dim> {
        let plain = || choice.ty.shape.iter().map(|n| Dim::from(*n)).collect();
        self.s.choice_dims.get(&(program.id.0, choice.addr.clone())).cloned().unwrap_or_else(plain)
    }

    /// The choice that a strategy is for, or one element of it: `z`, `z[2]`, `_`.
    fn strategy_key(&mut self, a: Option<&ppl_syntax::ast::Address>) -> Option<String> {
        let Some(a) = a else { return Some("_".into()) };
        let name = address_name(a);
        let subscripts = ppl_syntax::visit::subscripts(a);
        match subscripts.as_slice() {
            [] => Some(name),
            [k] => match self.quietly(|me| me.size(k)).flatten() {
                Some(d) => Some(format!("{name}[{}]", d.n)),
                None => {
                    self.report(
                        Diagnostic::error(
                            codes::SIZE_NOT_KNOWN,
                            "the element that a strategy is for must be known before the program runs",
                        )
                        .label(k.span, "not a known number"),
                    );
                    None
                }
            },
            [_, second, ..] => {
                self.report(
                    Diagnostic::error(
                        codes::WRONG_ARGUMENTS,
                        "a strategy is for all of a choice or for one element along its first axis",
                    )
                    .label(second.span, "a second index"),
                );
                None
            }
        }
    }

    /// `p by { z: measure_valued, _: reparam }`: the program again, with these strategies.
    pub(crate) fn by(&mut self, program: &Expr, entries: &[ByEntry], span: Span) -> Value {
        let mut map = HashMap::new();
        for e in entries {
            let Some(n) = self.named_strategy(&e.strategy) else {
                return Value::Error;
            };
            let Some(key) = self.strategy_key(e.address.as_ref()) else { return Value::Error };
            map.insert(key, n);
        }
        let (callee, args) = match &program.kind {
            ppl_syntax::ast::ExprKind::Call { callee, args } => (&**callee, args.as_slice()),
            _ => (program, &[][..]),
        };
        // Integrals, and names of them: strategies of the programs inside.
        let integral =
            matches!(program.kind, ppl_syntax::ast::ExprKind::Marginal { .. } | ppl_syntax::ast::ExprKind::Normalize { .. });
        let saved = std::mem::replace(&mut self.forced, map.clone());
        let f = self.expr(if integral { program } else { callee });
        self.forced = saved;
        let Value::Decl(id) = f else {
            return match f {
                Value::Error => Value::Error,
                v @ (Value::Program(_) | Value::Target(_)) => v,
                v => self.fail(
                    Diagnostic::error(codes::WRONG_TYPE, "`by { }` needs a call of a generative program")
                        .label(program.span, format!("this is {}", v.describe())),
                ),
            };
        };
        let decl = self.s.decl(id);
        let Decl::Gen(c) = &*decl else {
            return self.fail(
                Diagnostic::error(codes::WRONG_TYPE, "`by { }` needs a generative program").label(callee.span, "not a `gen`"),
            );
        };
        let Some(values) = self.arguments(c.name.as_str(), &c.params, args, span) else {
            return Value::Error;
        };
        let v = self.instance(id, c, values, &map, span);
        if let Value::Program(g) = &v {
            let choices = self.s.module.choices(g.id);
            let broken = self.s.broken.get(&g.id.0).cloned().unwrap_or_default();
            for e in entries {
                if let Some(a) = &e.address
                    && !broken.contains(&address_name(a))
                    && !choices.iter().any(|c| c.addr == address_name(a))
                {
                    let all: Vec<&str> = choices.iter().map(|c| c.addr.as_str()).collect();
                    let (name, note) = (address_name(a), format!("its choices: {}", all.join(", ")));
                    self.report(
                        Diagnostic::error(codes::UNKNOWN_ADDRESS, format!("`{}` makes no choice `{name}`", g.name))
                            .label(a.span, "no such choice")
                            .note(note),
                    );
                }
            }
        }
        v
    }

    /// Choices of a target that it is not given.
    pub(crate) fn latents(&self, t: &TargetVal) -> Vec<Choice> {
        let mut all = self.s.module.choices(t.program.id);
        all.retain(|c| !t.given.iter().any(|(n, _, _)| *n == c.addr));
        all
    }

    /// `sim(q)`: `(trace, log_density)`.
    pub(crate) fn sim(&mut self, g: &GenVal, span: Span) -> Value {
        let Some(args) = self.program_args(g, span) else {
            return Value::Error;
        };
        let Some(r) = S::estimator(EstRandom::Sim { callee: g.id, args }) else {
            return self.fail(
                Diagnostic::error(codes::WRONG_PLACE, "`sim` stands only in objectives").label(span, format!("in {}", S::PLACE)),
            );
        };
        let results = self.s.module.generative(g.id).result_tys();
        let choices = self.s.module.choices(g.id);
        let mut outs: Vec<(String, Ty)> = results.iter().map(|t| ("result".to_string(), t.clone())).collect();
        outs.extend(choices.iter().map(|c| (c.addr.clone(), c.ty.clone())));
        outs.push(("log_q".to_string(), Ty::FLOAT));
        let vars = self.b.emit(Op::Random(r), outs);
        let entries = choices
            .into_iter()
            .zip(&vars[results.len()..])
            .map(|(c, v)| TraceEntry {
                value: Arr { support: Some(c.support.clone()), ..Arr::new(Atom::Var(*v), c.ty.dtype, self.choice_dims(g, &c)) },
                addr: c.addr,
                support: c.support,
                conditional: c.conditional,
                span: c.span,
            })
            .collect();
        let broken = self.s.broken.get(&g.id.0).cloned().unwrap_or_default();
        let lq = vars.last().map_or(Atom::float(0.0), |v| Atom::Var(*v));
        let origin = Some(TraceOrigin::new(g, lq));
        let trace = TraceVal { program: g.name.clone(), entries, broken, origin, span: g.span };
        let estimate = self.s.module.subsampled(g.id);
        Value::Tuple(vec![Value::Trace(trace), Value::Array(Arr { estimate, ..Arr::new(lq, DType::Float, Vec::new()) })])
    }

    /// `log_density(p, t)`: reports and the log density. The trace must hold exactly what the target is not given.
    pub(crate) fn score_target(&mut self, t: &TargetVal, trace: &TraceVal, span: Span) -> Option<(Vec<Arr>, Arr)> {
        let atoms = self.covered(t, trace)?;
        self.emit_density(t, atoms, span)
    }

    /// Every choice of a target, from a trace that holds exactly what it is not given.
    pub(crate) fn covered(&mut self, t: &TargetVal, trace: &TraceVal) -> Option<Vec<Atom>> {
        let choices = self.s.module.choices(t.program.id);
        let mut atoms = Vec::new();
        let mut missing = Vec::new();
        let mut ok = true;
        for c in &choices {
            if let Some((_, a, _)) = t.given.iter().find(|(n, _, _)| *n == c.addr) {
                atoms.push(a.atom);
                continue;
            }
            match trace.entries.iter().find(|e| e.addr == c.addr) {
                None if trace.broken.contains(&c.addr) => ok = false,
                None => missing.push(c.clone()),
                Some(e) => {
                    ok &= self.compatible(t, c, trace, e);
                    atoms.push(e.value.atom);
                }
            }
        }
        for c in &missing {
            let dist = self.s.module.dist(c.dist);
            let suggestion = suggest_choice(c, &dist.name);
            let hidden = t.given.is_empty() && self.lookup_quiet(&c.addr).is_some_and(|v| matches!(v, Value::Array(_)));
            let mut d = Diagnostic::error(
                codes::MISSING_CHOICE,
                format!("`{}` does not make the choice `{}` of `{}`", trace.program, c.addr, t.program.name),
            )
            .label(trace.span, format!("`{}` covers {}", trace.program, list(trace.entries.iter().map(|e| e.addr.as_str()))))
            .label(c.span, format!("`{}` is chosen here", c.addr));
            d = if hidden {
                d.help(format!("if `{0}` is data, give it: `{1}() given {{ {0} }}`", c.addr, t.program.name))
            } else {
                d.help(format!("add to `{}`: `{suggestion}`", trace.program))
            };
            self.report(d);
        }
        let broken = self.s.broken.get(&t.program.id.0).cloned().unwrap_or_default();
        for e in trace.entries.iter().filter(|e| !broken.contains(&e.addr)) {
            let given = t.given.iter().find(|(n, _, _)| *n == e.addr);
            if given.is_some() || !choices.iter().any(|c| c.addr == e.addr) {
                let why = if given.is_some() { "is given" } else { "makes no such choice" };
                let mut d = Diagnostic::error(
                    codes::EXTRA_CHOICE,
                    format!("`{}` makes the choice `{}`, which `{}` does not need", trace.program, e.addr, t.program.name),
                )
                .label(e.span, "chosen here");
                if let Some((_, _, at)) = given {
                    d = d.label(*at, format!("`{}` {why} this", t.program.name));
                } else {
                    d = d.label(t.span, format!("`{}` {why}", t.program.name));
                }
                d = match did_you_mean(&e.addr, missing.iter().map(|c| c.addr.as_str())) {
                    Some(near) => d.help(format!("did you mean `{near}`?")),
                    None => d.help("remove it, or sum it out with `marginal`"),
                };
                self.report(d);
                ok = false;
            }
        }
        if !ok || !missing.is_empty() || !broken.is_empty() {
            return None;
        }
        Some(atoms)
    }

    pub(crate) fn emit_density(&mut self, t: &TargetVal, trace: Vec<Atom>, span: Span) -> Option<(Vec<Arr>, Arr)> {
        let args = self.program_args(&t.program, span)?;
        let Some(r) = S::estimator(EstRandom::Density { callee: t.program.id, args, trace }) else {
            self.report(
                Diagnostic::error(codes::WRONG_PLACE, "`log_density` of a program stands only in objectives")
                    .label(span, format!("in {}", S::PLACE)),
            );
            return None;
        };
        let results = self.s.module.generative(t.program.id).result_tys();
        let reports = self.s.module.reports(t.program.id);
        let mut outs: Vec<(String, Ty)> = results.iter().map(|t| ("result".to_string(), t.clone())).collect();
        outs.extend(reports.iter().map(|r| (r.name.clone(), r.ty.clone())));
        outs.push(("log_p".to_string(), Ty::FLOAT));
        let vars = self.b.emit(Op::Random(r), outs);
        let reported = reports.iter().zip(&vars[results.len()..]).map(|(r, v)| Arr::from_ty(Atom::Var(*v), &r.ty)).collect();
        let lp = vars.last().map(|v| Atom::Var(*v))?;
        let estimate = self.s.module.subsampled(t.program.id);
        Some((reported, Arr { estimate, ..Arr::new(lp, DType::Float, Vec::new()) }))
    }

    /// Whether a trace's entry can stand for a model's choice: type, support, condition.
    fn compatible(&mut self, t: &TargetVal, c: &Choice, trace: &TraceVal, e: &TraceEntry) -> bool {
        let dims = self.choice_dims(&t.program, c);
        let other = |d: &[Dim]| d.iter().find_map(|d| d.of.map(|_| d.to_string()));
        if e.value.ty() == c.ty && dims.iter().map(|d| d.of).ne(e.value.dims.iter().map(|d| d.of)) {
            let plain = "one array for all steps".to_string();
            let data = t.given.is_empty() && self.lookup_quiet(&c.addr).is_some_and(|v| matches!(v, Value::Array(_)));
            let help = if data {
                format!("if `{0}` is data, give it: `{1}() given {{ {0} }}`", c.addr, t.program.name)
            } else {
                format!(
                    "write the guide out: `for n in minibatch(..) {{ {}[n] ~ .. }}`, with parameters indexed by `n` or computed from the data",
                    c.addr
                )
            };
            self.report(
                Diagnostic::error(
                    codes::WRONG_CHOICE_TYPE,
                    format!("`{}` belongs to other data in `{}` than in `{}`", c.addr, trace.program, t.program.name),
                )
                .label(e.span, other(&e.value.dims).unwrap_or(plain.clone()))
                .label(c.span, other(&dims).unwrap_or(plain))
                .note("a choice of each datum of a minibatch needs a guide that loops over the same minibatch")
                .help(help),
            );
            return false;
        }
        if e.value.ty() != c.ty {
            let model = crate::value::show_ty(c.ty.dtype, &dims);
            let guide = e.value.show();
            let d = Diagnostic::error(
                codes::WRONG_CHOICE_TYPE,
                format!("`{}` has another type in `{}` than in `{}`", c.addr, trace.program, t.program.name),
            )
            .label(e.span, format!("`{guide}` in `{}`", trace.program))
            .label(c.span, format!("`{model}` in `{}`", t.program.name));
            self.report(match dims.iter().chain(&e.value.dims).any(|d| d.of.is_some()) {
                true => d.help("loop over the same `minibatch(N, B)` in both: then both see the same data"),
                false => d,
            });
            return false;
        }
        if !supports_match(&c.support, &e.support) {
            let (model, guide) = (c.support.clone(), e.support.clone());
            let mut d = Diagnostic::error(
                codes::WRONG_SUPPORT,
                format!("`{}` is {guide} in `{}`, but {model} in `{}`", c.addr, trace.program, t.program.name),
            )
            .label(e.span, format!("support: {guide}"))
            .label(c.span, format!("support: {model}"));
            d = match (&model, &guide) {
                (Support::Interval { .. } | Support::Simplex | Support::Ordered, Support::Real) => {
                    let shown = if model == Support::POSITIVE { "positive".to_string() } else { format!("{model}") };
                    d.note("values outside the model's support have density 0, so the objective would be -inf")
                        .help(format!("carry it there: `{} ~ constrain(normal(..), {shown})`", c.addr))
                }
                _ => d.help("use a distribution with the model's support"),
            };
            self.report(d);
            return false;
        }
        if c.conditional != e.conditional {
            let (always, never) = if c.conditional { (e.span, c.span) } else { (c.span, e.span) };
            self.report(
                Diagnostic::error(codes::CONDITION_DIFFERS, format!("`{}` stands under a condition in one program only", c.addr))
                    .label(always, "always made")
                    .label(never, "made under a condition")
                    .help("put it under the same condition on earlier choices in both programs"),
            );
            return false;
        }
        true
    }
}

/// Whether a guide's support covers exactly a model's, as far as it is known before running.
pub(crate) fn supports_match(model: &Support, guide: &Support) -> bool {
    let dynamic = |s: &Support| matches!(s, Support::DynamicInterval | Support::DynamicIntegers);
    match (model, guide) {
        (m, g) if m == g => true,
        (m, g) if dynamic(m) || dynamic(g) => m.is_discrete() == g.is_discrete(),
        _ => false,
    }
}

/// A line that adds a choice to a guide.
fn suggest_choice(c: &Choice, dist: &str) -> String {
    let indices = match c.ty.rank() {
        0 => String::new(),
        1 => "[i]".to_string(),
        _ => "[i, j]".to_string(),
    };
    match &c.support {
        Support::Real => format!("{}{indices} ~ normal(.., ..)", c.addr),
        s if *s == Support::POSITIVE => format!("{}{indices} ~ log_normal(.., ..)", c.addr),
        _ => format!("{}{indices} ~ {dist}(..)", c.addr),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|n| format!("`{n}`")).collect();
    if names.is_empty() { "nothing".into() } else { names.join(", ") }
}

/// The address as it stands in traces.
pub(crate) fn address_name(a: &ppl_syntax::ast::Address) -> String {
    let mut name = a.base.as_str().to_string();
    for p in &a.path {
        if let ppl_syntax::ast::AddressPart::Field(f) = p {
            name.push('.');
            name.push_str(f.as_str());
        }
    }
    name
}

fn layout_types(l: &Layout) -> Vec<Ty> {
    match l {
        Layout::Array { dtype, dims, .. } => vec![Ty::new(*dtype, dims.iter().map(|d| d.n).collect::<Vec<_>>())],
        Layout::Tuple(ls) | Layout::List(ls) => ls.iter().flat_map(layout_types).collect(),
        Layout::Trace(t) => t.entries.iter().map(|e| e.value.ty()).collect(),
        Layout::Static(_) => Vec::new(),
    }
}
