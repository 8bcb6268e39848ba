//! Choices, reports, factors, draws, parameters of programs.

use crate::codes;
use crate::func::{FnElab, LoopCtx};
use crate::session::Global;
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, DistVal, GenVal, NamedStrategy, Partial, Value};
use ppl_core::{Address, Atom, DistUse, EstRandom, GenRandom, Op, StrategyUse, Var};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{self, AddressPart, Choice, Expr, Ident, Param};
use std::collections::BTreeMap;

/// `2` for `z[2]`, where the name is `z`.
fn element_of(key: &str, name: &str) -> Option<usize> {
    key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?.trim().parse().ok()
}

impl<S: ElabStage> FnElab<'_, S> {
    pub(crate) fn choice(&mut self, c: &Choice, span: Span) {
        let base = crate::programs::address_name(&c.address);
        if S::generative(GenRandom::Factor(Atom::float(0.0))).is_none() {
            self.report(
                Diagnostic::error(codes::WRONG_PLACE, format!("`{base} ~ ..` stands only in a `gen`"))
                    .label(span, format!("a choice in {}", S::PLACE))
                    .help(format!("draw without recording: `let {base} = draw ..` (in a strategy), or make this a `gen`")),
            );
            return;
        }
        let by = c.by.as_ref().and_then(|e| self.named_strategy(e));
        // A variable of a loop over latents stands for the address it holds.
        if let Some(Value::Address { target, index }) = self.local(c.address.base.as_str()) {
            let latent = self.latents(&target)[index].clone();
            let Value::Dist(d) = self.expr(&c.dist) else {
                return;
            };
            let value = self.sample(&d, &latent.addr, &[], by, span);
            self.addresses.insert(latent.addr.clone(), c.address.span);
            if let Some(v) = value
                && v.shape() != latent.ty.shape
            {
                let name = latent.addr;
                self.wrong_shape(
                    &format!("the latent choice `{name}`"),
                    latent.ty.dtype,
                    &Arr::from_ty(v.atom, &latent.ty).dims,
                    &v,
                    c.dist.span,
                    latent.span,
                );
            }
            return;
        }
        let Some(indices) = self.address_indices(&c.address) else {
            self.expr(&c.dist);
            self.broken.push(base.clone());
            self.bind(&base, Value::Error);
            return;
        };
        if !self.check_collision(&base, &c.address, &indices) {
            self.bind(&base, Value::Error);
            return;
        }
        let v = self.expr(&c.dist);
        let value = match self.applied(v, c.dist.span) {
            Value::Dist(d) => match self.sample(&d, &base, &indices, by, span) {
                Some(a) => Value::Array(a),
                None => Value::Error,
            },
            Value::Program(g) => {
                if let Some(by) = by {
                    self.report(
                        Diagnostic::error(codes::WRONG_PLACE, "a strategy belongs to a choice, this calls a program")
                            .label(by.span, "strategy")
                            .label(c.dist.span, "a generative program")
                            .help("choose per choice: `program() by { x: reinforce }`"),
                    );
                }
                self.call_program(&g, &base, &indices, span)
            }
            Value::Error => Value::Error,
            v => self.fail(
                Diagnostic::error(codes::WRONG_TYPE, "`~` needs a distribution or a generative program")
                    .label(c.dist.span, format!("this is {}", v.describe()))
                    .help("a value that is computed is bound with `let x = ..`"),
            ),
        };
        if matches!(value, Value::Error) {
            self.broken.push(base.clone());
        }
        if let Value::Array(a) = &value {
            let outer = indices.iter().filter_map(|v| self.loops.iter().find(|l| l.index == *v)).map(|l| l.len.clone());
            let dims: Vec<Dim> = outer.chain(a.dims.iter().cloned()).collect();
            self.choice_dims.push((base.clone(), dims));
            let starts: Vec<i64> =
                indices.iter().filter_map(|v| self.loops.iter().find(|l| l.index == *v)).map(|l| l.start).collect();
            if starts.iter().any(|s| *s != 0) {
                self.choice_starts.push((base.clone(), starts));
            }
        }
        let value = if self.loops.is_empty() {
            value
        } else {
            let whole = !matches!(value, Value::Unit);
            Value::Partial(Box::new(Partial {
                name: base.clone(),
                open: indices.iter().map(|v| Some(*v)).collect(),
                value,
                order: indices,
                closed: Vec::new(),
                whole,
                part: false,
                span: c.address.span,
            }))
        };
        self.bind(&base, value);
    }

    /// The loop variables of an address: each enclosing loop's, once.
    fn address_indices(&mut self, a: &ast::Address) -> Option<Vec<Var>> {
        let mut out = Vec::new();
        for part in &a.path {
            match part {
                // Part of the name: the address of a choice that another program makes in a program it calls.
                AddressPart::Field(_) => {}
                AddressPart::Index(subscripts) => {
                    for s in subscripts {
                        let i = self.array(s)?;
                        let found = self.loops.iter().find(|l| i.atom == l.value).map(|l| l.index);
                        match found {
                            Some(v) if !out.contains(&v) => out.push(v),
                            Some(_) => {
                                self.report(
                                    Diagnostic::error(codes::ADDRESS_COLLISION, "the same loop variable twice in an address")
                                        .label(s.span, "again here"),
                                );
                                return None;
                            }
                            None => {
                                self.report(
                                    Diagnostic::error(
                                        codes::ADDRESS_COLLISION,
                                        format!("the index of `{}` must be the variable of an enclosing loop", a.base),
                                    )
                                    .label(s.span, "not a loop variable")
                                    .note(
                                        "then every iteration has an address of its own, which is known before the program runs",
                                    )
                                    .help(format!("name single choices differently: `{}_first ~ ..`", a.base)),
                                );
                                return None;
                            }
                        }
                    }
                }
            }
        }
        Some(out)
    }

    /// Whether `name` is free, and every enclosing loop has its index in the address.
    fn check_collision(&mut self, name: &str, a: &ast::Address, indices: &[Var]) -> bool {
        if let Some(first) = self.addresses.get(name).copied() {
            self.report(
                Diagnostic::error(codes::ADDRESS_COLLISION, format!("two choices have the address `{name}`"))
                    .label(a.span, "again here")
                    .label(first, "first here")
                    .help("give every choice of a program a name of its own"),
            );
            return false;
        }
        self.addresses.insert(name.to_string(), a.span);
        let missing: Vec<&LoopCtx> = self.loops.iter().filter(|l| !indices.contains(&l.index)).collect();
        if let Some(l) = missing.first() {
            let var = self.b.func.vars[l.index.index()].name.clone();
            let all: Vec<String> = self.loops.iter().map(|l| self.b.func.vars[l.index.index()].name.clone()).collect();
            let loop_span = l.span;
            self.report(
                Diagnostic::error(
                    codes::ADDRESS_COLLISION,
                    format!("`{name}` is drawn in every round of a loop, at one address"),
                )
                .label(a.span, format!("no index `{var}`"))
                .label(loop_span, "the loop")
                .help(format!("write `{name}[{}] ~ ..`", all.join(", ")))
                .edit(a.span, format!("{name}[{}]", all.join(", "))),
            );
            return false;
        }
        true
    }

    /// Emits samples of `d`: one, or one for each independent element.
    fn sample(&mut self, d: &DistVal, name: &str, indices: &[Var], by: Option<NamedStrategy>, span: Span) -> Option<Arr> {
        // The command line wins over the program, the program over `by { }` around it.
        let chosen = self.s.overrides.iter().find(|o| o.matches(&self.name, name)).map(|o| o.strategy.clone());
        let by = match chosen {
            Some(e) => self.named_strategy(&e),
            None => by.or_else(|| self.strategies.get(name).or_else(|| self.strategies.get("_")).cloned()),
        };
        let used = |me: &mut Self, by: Option<NamedStrategy>| -> Option<StrategyUse> {
            let Some(n) = by else { return Some(StrategyUse::Auto) };
            let (strategy, args) = me.strategy_for(&n, d, name)?;
            Some(StrategyUse::Named { strategy, args, span: n.span })
        };
        let strategy = used(self, by)?;
        let mut elements = Vec::new();
        for (k, n) in self.strategies_of_elements(name)? {
            let len = indices.first().and_then(|v| self.loops.iter().find(|l| l.index == *v)).map(|l| l.len.clone());
            match len {
                Some(len) if k < len.n => elements.push((k, used(self, Some(n))?)),
                len => {
                    let d = Diagnostic::error(codes::UNKNOWN_ADDRESS, format!("`{name}` has no element {k}"))
                        .label(n.span, "a strategy for it");
                    self.report(match len {
                        Some(len) => d.label(span, format!("drawn in a loop over {len}")),
                        None => d.label(span, "drawn once: name it without an index"),
                    });
                    return None;
                }
            }
        }
        let mut indices = indices.to_vec();
        self.sample_elements(d, &d.batch.clone(), &d.args.clone(), name, &mut indices, (&strategy, &elements), span)
    }

    /// Strategies chosen from outside for single elements of a choice, `z[2]`.
    fn strategies_of_elements(&mut self, name: &str) -> Option<Vec<(usize, NamedStrategy)>> {
        let around = self.strategies.iter().filter_map(|(key, n)| Some((element_of(key, name)?, n.clone())));
        let mut out: BTreeMap<usize, NamedStrategy> = around.collect();
        let program = self.name.clone();
        let given: Vec<(usize, Expr)> = self
            .s
            .overrides
            .iter()
            .filter_map(|o| {
                let a = o.address.as_deref()?;
                let own = a.strip_prefix(program.as_str()).and_then(|rest| rest.strip_prefix('.'));
                let k = element_of(a, name).or_else(|| element_of(own?, name))?;
                Some((k, o.strategy.clone()))
            })
            .collect();
        for (k, e) in given {
            out.insert(k, self.named_strategy(&e)?);
        }
        Some(out.into_iter().collect())
    }

    #[expect(clippy::too_many_arguments, reason = "one recursive worker")]
    fn sample_elements(
        &mut self,
        d: &DistVal,
        batch: &[Dim],
        args: &[Arr],
        name: &str,
        indices: &mut Vec<Var>,
        (strategy, elements): (&StrategyUse, &[(usize, StrategyUse)]),
        span: Span,
    ) -> Option<Arr> {
        let Some((len, rest)) = batch.split_first() else {
            let dist = DistUse { dist: d.dist, args: args.iter().map(|a| a.atom).collect() };
            let inst = self.s.module.dist(d.dist);
            let (event, support) = (inst.event.clone(), inst.support.clone());
            let addr = Address { name: name.to_string(), indices: indices.clone() };
            let random =
                S::generative(GenRandom::Sample { dist, addr, strategy: strategy.clone(), elements: elements.to_vec() })?;
            self.b.span = span;
            let atom = self.b.emit1(Op::Random(random), name, event.clone());
            return Some(Arr { support: Some(support), ..Arr::from_ty(atom, &event) });
        };
        // Independent elements: a loop of their own.
        let outer_rank = batch.len();
        let event_ranks: Vec<usize> = self.s.module.dist(d.dist).params.iter().map(|(_, t)| t.rank()).collect();
        let index = self.b.index_var("e");
        self.loops.push(LoopCtx { index, len: len.clone(), scan: false, start: 0, value: Atom::Var(index), span });
        indices.push(index);
        self.b.begin();
        let inner: Vec<Arr> = args
            .iter()
            .zip(&event_ranks)
            .map(|(a, r)| {
                if a.dims.len() == r + outer_rank {
                    let atom = self.b.gather(a.atom, Atom::Var(index), 0);
                    Arr::new(atom, a.dtype, a.dims[1..].to_vec())
                } else {
                    a.clone()
                }
            })
            .collect();
        let value = self.sample_elements(d, rest, &inner, name, indices, (strategy, elements), span);
        indices.pop();
        self.loops.pop();
        let body = self.b.end(value.iter().map(|v| v.atom).collect());
        let outs = self.b.map(len.n, index, body);
        let value = value?;
        let dims: Vec<Dim> = std::iter::once(len.clone()).chain(value.dims.iter().cloned()).collect();
        Some(Arr { support: value.support.clone(), ..Arr::new(Atom::Var(*outs.first()?), value.dtype, dims) })
    }

    /// `s ~ step(h)`.
    fn call_program(&mut self, g: &GenVal, name: &str, indices: &[Var], span: Span) -> Value {
        let Some(args) = self.program_args(g, span) else {
            return Value::Error;
        };
        let addr = Address { name: name.to_string(), indices: indices.to_vec() };
        let Some(random) = S::generative(GenRandom::Call { callee: g.id, args, addr }) else {
            return Value::Error;
        };
        let outer: Vec<Dim> =
            indices.iter().filter_map(|v| self.loops.iter().find(|l| l.index == *v)).map(|l| l.len.clone()).collect();
        for c in self.s.module.choices(g.id) {
            let dims = outer.iter().cloned().chain(self.choice_dims(g, &c)).collect();
            self.choice_dims.push((format!("{name}.{}", c.addr), dims));
        }
        let outs: Vec<(String, ppl_core::Ty)> =
            self.s.module.generative(g.id).result_tys().into_iter().map(|t| (name.to_string(), t)).collect();
        let outs = self.b.emit(Op::Random(random), outs);
        g.result.build(&mut outs.into_iter().map(Atom::Var), &[])
    }

    pub(crate) fn report_stmt(&mut self, name: &Ident, value: &Expr, span: Span) {
        let Some(a) = self.array(value) else {
            return;
        };
        let a = if a.dtype == ppl_core::DType::Int { a } else { Arr { ..a } };
        if let Some(first) = self.addresses.get(name.as_str()).copied() {
            self.report(
                Diagnostic::error(codes::ADDRESS_COLLISION, format!("`{name}` is the name of a choice or report already"))
                    .label(name.span, "again here")
                    .label(first, "first here"),
            );
            return;
        }
        self.addresses.insert(name.as_str().to_string(), name.span);
        if let Some(l) = self.loops.iter().find(|l| l.len.of.is_some()) {
            let d = Diagnostic::error(codes::WRONG_PLACE, format!("`{name}` would be reported of this step's data only"))
                .label(span, "a report")
                .label(l.span, "in a loop over a minibatch")
                .help("report what belongs to all data, outside of the loop");
            return self.report(d);
        }
        if self.refuse_estimate(&a, "a report", value.span) {
            return;
        }
        let indices: Vec<Var> = self.loops.iter().map(|l| l.index).collect();
        let addr = Address { name: name.as_str().to_string(), indices };
        match S::generative(GenRandom::Report { addr, value: a.atom }) {
            Some(r) => {
                self.b.emit(Op::Random(r), Vec::new());
                self.bind(name.as_str(), Value::Array(a));
            }
            None => self.report(Diagnostic::error(codes::WRONG_PLACE, "`report` stands only in a `gen`").label(span, "here")),
        }
    }

    pub(crate) fn factor(&mut self, e: &Expr, span: Span) {
        let Some(a) = self.real_scalar(e, "a factor") else {
            return;
        };
        if a.estimate {
            let d = Diagnostic::error(codes::NONLINEAR_ESTIMATE, "a factor can't be an estimate")
                .label(e.span, "a random value whose mean is the quantity")
                .help("put the factor into the loop: `for n in minibatch(N, 512) { factor .. }` counts for the whole plate");
            return self.report(d);
        }
        match S::generative(GenRandom::Factor(a.atom)) {
            Some(r) => {
                self.b.emit(Op::Random(r), Vec::new());
            }
            None => self.report(Diagnostic::error(codes::WRONG_PLACE, "`factor` stands only in a `gen`").label(span, "here")),
        }
    }

    /// `draw d`: a rigid draw, in strategies; in a distribution's `sample`, the distribution's own program.
    pub(crate) fn draw_expr(&mut self, e: &Expr, span: Span) -> Value {
        let v = self.expr(e);
        match v {
            Value::Dist(d) => self.draw(&d, span, false),
            Value::Error => Value::Error,
            Value::Array(a) if a.estimate && self.expects > 0 => Value::Array(Arr { estimate: false, ..a }),
            v => {
                let d = Diagnostic::error(codes::WRONG_TYPE, "`draw` needs a distribution")
                    .label(e.span, format!("this is {}", v.describe()));
                let outside = matches!(&v, Value::Array(a) if a.estimate);
                self.fail(if outside {
                    d.help("inside `expect { }` an estimate can be drawn as well: the value of one run")
                } else {
                    d
                })
            }
        }
    }

    /// A draw of `d`; `path`: derivatives flow through it.
    pub(crate) fn draw(&mut self, d: &DistVal, span: Span, path: bool) -> Value {
        if S::estimator(EstRandom::Continue { x: Atom::float(0.0), fresh: false }).is_none() && S::draw_stage().is_none() {
            return self.fail(
                Diagnostic::error(codes::WRONG_PLACE, "`draw` stands only in strategies and in `sample` programs")
                    .label(span, format!("in {}", S::PLACE))
                    .help("a choice of a program is written `x ~ ..`"),
            );
        }
        let batch = d.batch.clone();
        let out = self.over_batch(d, &batch, &d.args.clone(), &mut |me, args| {
            let inst = me.s.module.dist(d.dist);
            let event = inst.event.clone();
            let dist = DistUse { dist: d.dist, args: args.iter().map(|a| a.atom).collect() };
            let random = if path { EstRandom::Path(dist) } else { EstRandom::Draw(dist) };
            if let Some(r) = S::estimator(random) {
                let atom = me.b.emit1(Op::Random(r), "draw", event.clone());
                return Some(Arr::from_ty(atom, &event));
            }
            // In a `sample` program: the drawn distribution's own.
            let sample = inst.sample;
            let name = inst.name.clone();
            match sample {
                Some(f) => {
                    let callee = me.s.module.det(f).clone();
                    let atoms: Vec<Atom> = args.iter().map(|a| a.atom).collect();
                    me.inline_sample(&callee, &atoms).map(|a| Arr::from_ty(a, &event))
                }
                None => {
                    me.report(
                        Diagnostic::error(codes::STRATEGY_NOT_FOR_DIST, format!("`{name}` can't be drawn from"))
                            .label(span, "it has no `sample`"),
                    );
                    None
                }
            }
        });
        Value::unit_or(out)
    }

    /// Runs `f` for each independent element of a distribution's parameters and stacks the results.
    pub(crate) fn over_batch(
        &mut self,
        d: &DistVal,
        batch: &[Dim],
        args: &[Arr],
        f: &mut dyn FnMut(&mut Self, &[Arr]) -> Option<Arr>,
    ) -> Option<Arr> {
        // Parameters after the distribution's own (a value that is scored) always have the batch axes.
        let own: Vec<usize> = self.s.module.dist(d.dist).params.iter().map(|(_, t)| t.rank()).collect();
        let ranks: Vec<usize> =
            (args.iter().enumerate()).map(|(i, a)| own.get(i).copied().unwrap_or_else(|| a.dims.len() - batch.len())).collect();
        self.over_elements(&ranks, batch, args, f)
    }

    /// The same for any arguments, whose axes behind those of the elements are `ranks`.
    pub(crate) fn over_elements(
        &mut self,
        ranks: &[usize],
        batch: &[Dim],
        args: &[Arr],
        f: &mut dyn FnMut(&mut Self, &[Arr]) -> Option<Arr>,
    ) -> Option<Arr> {
        let Some((len, rest)) = batch.split_first() else {
            return f(self, args);
        };
        let out = self.map_loop(len, "e", |me, index| {
            let inner: Vec<Arr> = args
                .iter()
                .zip(ranks)
                .map(|(a, rank)| {
                    if a.dims.len() == rank + batch.len() {
                        let atom = me.b.gather(a.atom, index.atom, 0);
                        Arr::new(atom, a.dtype, a.dims[1..].to_vec())
                    } else {
                        a.clone()
                    }
                })
                .collect();
            Value::unit_or(me.over_elements(ranks, rest, &inner, f))
        });
        match out {
            Value::Array(a) => Some(a),
            _ => None,
        }
    }

    /// `param loc: real[dim(a)] = init(a)` in a program: named after the program and, in a loop over latents, the address.
    pub(crate) fn local_param(&mut self, p: &Param, span: Span) {
        let full = if self.net.is_some() {
            let Some(full) = self.network_param(p, span) else {
                self.bind(p.name.as_str(), Value::Error);
                return;
            };
            full
        } else if self.depth > 0 && self.sides.is_none() {
            self.report(
                Diagnostic::error(codes::WRONG_PLACE, "a parameter in a function belongs to the network that it constructs")
                    .label(span, "no network is constructed here")
                    .help("name the network where it is made: `param net = f(..)`, and apply it: `net(x)`"),
            );
            self.bind(p.name.as_str(), Value::Error);
            return;
        } else {
            let mut parts = vec![self.name.clone()];
            parts.extend(self.latent_address());
            parts.push(p.name.as_str().to_string());
            parts.join(".")
        };
        if self.net.is_none() && !self.loops.is_empty() {
            self.report(
                Diagnostic::error(codes::WRONG_PLACE, "a parameter can't be declared in a plate")
                    .label(span, "every round would share one parameter")
                    .help(format!("declare an array before the loop: `param {}: real[N] = 0.0`", p.name)),
            );
            self.bind(p.name.as_str(), Value::Error);
            return;
        }
        if let Some(v) = self.local_network(&full, p) {
            if let Some(sides) = &mut self.sides {
                sides.own = true;
            }
            self.bind(p.name.as_str(), v);
            return;
        }
        let ty = match &p.ty {
            None => None,
            Some(ty) => match self.written(ty) {
                Some(crate::types::Written::Array { dtype, support, dims, .. }) => {
                    let sizes: Option<Vec<Dim>> = dims.iter().map(|e| self.size(e)).collect();
                    match sizes {
                        Some(dims) => Some((dtype, support, dims)),
                        None => {
                            self.bind(p.name.as_str(), Value::Error);
                            return;
                        }
                    }
                }
                _ => None,
            },
        };
        if let Some(sides) = &mut self.sides {
            sides.own = true;
        }
        let existing = self.s.params.iter().position(|q| q.name == full).map(Global::Param);
        let scope = if existing.is_none() { self.fixed_names() } else { Vec::new() };
        let global = existing.or_else(|| self.s.declare_param(&full, p, span, ty, scope));
        let value = match global {
            Some(g) => Value::Array(self.global(g)),
            None => Value::Error,
        };
        self.bind(p.name.as_str(), value);
    }

    /// The address of the innermost loop over latents, if there is one.
    fn latent_address(&self) -> Option<String> {
        let mut names = self.local_names();
        names.sort();
        names.into_iter().find_map(|n| match self.local(&n) {
            Some(Value::Address { target, index }) => Some(self.latents(&target)[index].addr.clone()),
            _ => None,
        })
    }
}
