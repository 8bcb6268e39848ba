//! Branches and loops.

use crate::codes;
use crate::func::{FnElab, LoopCtx};
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, Layout, Partial, Value};
use ppl_core::{Atom, Block, DType, GenRandom, Lit, Prim, Scan, Support};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{self, Expr, ExprKind, For, PatternKind};
use std::collections::HashMap;

/// What a loop runs over.
enum Iter {
    /// `lo, lo + 1, ..`; `len` of them.
    Range { start: i64, len: Dim },
    /// The values of a finite support.
    Support(Box<crate::value::DistVal>),
    /// The rows of an array.
    Rows(Arr),
    /// The data of this step.
    Minibatch { data: Dim, size: usize },
    /// The elements of a list, while compiling.
    List(Vec<Value>),
    /// The latent choices of a target, while compiling.
    Latents(std::rc::Rc<crate::value::TargetVal>, usize),
}

impl<S: ElabStage> FnElab<'_, S> {
    pub(crate) fn if_expr(&mut self, cond: &Expr, then: &ast::Block, otherwise: Option<&Expr>, span: Span) -> Value {
        let Some(c) = self.array(cond) else {
            return Value::Error;
        };
        if c.dtype != DType::Bool || !c.is_scalar() {
            return self.fail(
                Diagnostic::error(codes::WRONG_TYPE, "a condition is a single truth value")
                    .label(cond.span, format!("has type `{}`", c.show()))
                    .help("compare: `x > 0`; for arrays, `all(..)`, `any(..)` or `select(c, a, b)`"),
            );
        }
        if let Some(Lit::Bool(b)) = c.konst {
            return match (b, otherwise) {
                (true, _) => self.scoped_block(then),
                (false, Some(e)) => self.expr(e),
                (false, None) => Value::Unit,
            };
        }
        let saved = self.conditional;
        self.conditional = true;
        let (a, then_stmts) = self.nested(|me| me.block(then));
        let (b, else_stmts) = self.nested(|me| otherwise.map_or(Value::Unit, |e| me.expr(e)));
        self.conditional = saved;
        let else_span = otherwise.map_or(span, |e| e.span);
        let (a, b, then_stmts, else_stmts) = self.unify(a, b, then_stmts, else_stmts, then.span, else_span);
        let (then_block, layout) = Self::block_of(then_stmts, &a);
        let (else_block, _) = Self::block_of(else_stmts, &b);
        if then_block.results.len() != else_block.results.len() {
            return Value::Error;
        }
        let outs = self.b.if_(c.atom, then_block, else_block);
        layout.build(&mut outs.into_iter().map(Atom::Var), &[])
    }

    /// Brings the results of two branches to one type.
    fn unify(
        &mut self,
        a: Value,
        b: Value,
        mut sa: Vec<ppl_core::Stmt<S>>,
        mut sb: Vec<ppl_core::Stmt<S>>,
        span_a: Span,
        span_b: Span,
    ) -> (Value, Value, Vec<ppl_core::Stmt<S>>, Vec<ppl_core::Stmt<S>>) {
        let pair = match (a, b) {
            (Value::Error, _) | (_, Value::Error) => (Value::Error, Value::Error),
            (Value::Unit, _) | (_, Value::Unit) => (Value::Unit, Value::Unit),
            (Value::Array(x), Value::Array(y)) => {
                let (x, y) = match (x.dtype, y.dtype) {
                    (DType::Int, DType::Float) => (self.convert_in(x, &mut sa, span_a), Some(y)),
                    (DType::Float, DType::Int) => (Some(x), self.convert_in(y, &mut sb, span_b)),
                    _ => (Some(x), Some(y)),
                };
                match (x, y) {
                    (Some(x), Some(y)) => {
                        // A scalar in one branch fills the other's shape.
                        let (x, y) = match (x.is_scalar(), y.is_scalar()) {
                            (true, false) => (self.fill_in(x, &y.dims, &mut sa), y),
                            (false, true) => {
                                let filled = self.fill_in(y, &x.dims, &mut sb);
                                (x, filled)
                            }
                            _ => (x, y),
                        };
                        if x.dtype != y.dtype || x.dims != y.dims {
                            self.report(
                                Diagnostic::error(codes::BRANCHES_DISAGREE, "the branches have different types")
                                    .label(span_a, format!("`{}`", x.show()))
                                    .label(span_b, format!("`{}`", y.show())),
                            );
                            (Value::Error, Value::Error)
                        } else {
                            let estimate = x.estimate || y.estimate;
                            let plain = |a: Arr| Value::Array(Arr { konst: None, support: None, size_name: None, estimate, ..a });
                            (plain(x), plain(y))
                        }
                    }
                    _ => (Value::Error, Value::Error),
                }
            }
            (Value::Tuple(xs), Value::Tuple(ys)) if xs.len() == ys.len() => {
                let (mut left, mut right) = (Vec::new(), Vec::new());
                for (x, y) in xs.into_iter().zip(ys) {
                    let (x, y, na, nb) = self.unify(x, y, sa, sb, span_a, span_b);
                    (sa, sb) = (na, nb);
                    left.push(x);
                    right.push(y);
                }
                (Value::Tuple(left), Value::Tuple(right))
            }
            (x, y) => {
                self.report(
                    Diagnostic::error(codes::BRANCHES_DISAGREE, "the branches have different types")
                        .label(span_a, x.describe())
                        .label(span_b, y.describe())
                        .note("both branches are compiled, so each must yield numbers, arrays or tuples of the same types"),
                );
                (Value::Error, Value::Error)
            }
        };
        (pair.0, pair.1, sa, sb)
    }

    fn convert_in(&mut self, a: Arr, stmts: &mut Vec<ppl_core::Stmt<S>>, span: Span) -> Option<Arr> {
        self.b.begin();
        let out = self.as_real(a, span);
        stmts.extend(self.b.end(Vec::new()).stmts);
        out
    }

    fn fill_in(&mut self, a: Arr, dims: &[Dim], stmts: &mut Vec<ppl_core::Stmt<S>>) -> Arr {
        self.b.begin();
        let out = self.lift(&a, dims);
        stmts.extend(self.b.end(Vec::new()).stmts);
        out
    }

    /// A plate, a scan, a comprehension, or a loop over latents.
    pub(crate) fn for_loop(&mut self, f: &For, collect: bool) -> Value {
        let Some(iter) = self.iter(&f.iter) else {
            return self.lost(f);
        };
        if let (Iter::Minibatch { .. }, Some(c)) = (&iter, f.carry.first()) {
            self.report(
                Diagnostic::error(codes::WRONG_PLACE, "a loop over a minibatch carries no values")
                    .label(f.iter.span, "the data come in a random order")
                    .label(c.name.span, "carried from one to the next")
                    .help("loop over the whole plate, `for n in N carry (..)`, or leave out the carried values"),
            );
            return self.lost(f);
        }
        match iter {
            Iter::List(items) => self.unrolled(f, items, collect),
            Iter::Range { start, len } if self.net.is_some() => {
                let items = self.known_indices(start, &len);
                self.unrolled(f, items, collect)
            }
            Iter::Latents(target, n) => {
                if !f.carry.is_empty() || collect {
                    return self.not_yet("a carried loop over latents", f.span, "use a plain loop");
                }
                for index in 0..n {
                    self.push_scope();
                    self.bind_pattern(&f.pattern, Value::Address { target: target.clone(), index }, f.iter.span);
                    self.block(&f.body);
                    let scope = self.pop_scope();
                    self.keep_choices(scope);
                }
                Value::Unit
            }
            iter => {
                let start = if let Iter::Range { start, .. } = &iter { *start } else { 0 };
                let value = match self.with_history(f, start) {
                    Some(Err(())) => return Value::Error,
                    Some(Ok((scan, carries))) => return self.history_loop(&scan, f, carries, collect),
                    None if f.carry.is_empty() => self.plate(f, iter, collect),
                    None => self.scan_loop(f, iter, collect),
                };
                if self.loops.is_empty() && !self.choice_starts.is_empty() {
                    self.join_data(f);
                }
                value
            }
        }
    }

    /// A loop that is not elaborated: that its choices are missing is no error of its own.
    fn lost(&mut self, f: &For) -> Value {
        let mut made = Vec::new();
        drawn(&f.body, &mut made);
        for name in made.iter().map(crate::programs::address_name) {
            self.bind(&name, Value::Error);
            self.broken.push(name);
        }
        Value::Error
    }

    /// The loop variable's operand in the innermost loop.
    fn loop_value(&mut self, v: &Value) {
        if let (Value::Array(a), Some(l)) = (v, self.loops.last_mut())
            && a.is_scalar()
            && a.dtype == DType::Int
        {
            l.value = a.atom;
        }
    }

    /// Choices of a loop that starts later are the rest of the data's array of that name.
    fn join_data(&mut self, f: &For) {
        let mut made = Vec::new();
        drawn(&f.body, &mut made);
        for name in made.iter().map(crate::programs::address_name) {
            let Some(Value::Array(a)) = self.local(&name) else { continue };
            let Some(starts) = self.choice_starts.iter().rev().find(|(n, _)| *n == name).map(|(_, s)| s.clone()) else {
                continue;
            };
            let late: Vec<usize> = (0..starts.len()).filter(|i| starts[*i] != 0).collect();
            let [axis] = late[..] else { continue };
            let (start, first) = (starts[axis], starts[axis] as usize);
            let data = match self.s.top(&name) {
                Some(crate::session::TopName::Global(g @ crate::session::Global::Data(_))) => self.global(g),
                _ => {
                    self.bind(&name, Value::Error);
                    let at = self.addresses.get(&name).copied().unwrap_or(f.span);
                    self.report(
                        Diagnostic::error(codes::INDEX_RANGE, format!("`{name}` has no elements before index {start}"))
                            .label(at, format!("drawn from index {start} on"))
                            .label(f.iter.span, "the loop starts here")
                            .note("they would be the data's of that name, and there are none")
                            .help(format!("loop from 0, and treat the first rounds in a branch: `if t >= {start} {{ .. }}`")),
                    );
                    continue;
                }
            };
            let fits = data.dims.len() == a.dims.len()
                && data.dtype == a.dtype
                && data.dims.iter().zip(&a.dims).enumerate().all(|(i, (d, x))| d.n == x.n + if i == axis { first } else { 0 });
            if !fits {
                continue;
            }
            let head = self.b.slice(data.atom, axis, 0, first);
            let atom = self.b.concat(&[head, a.atom], axis);
            self.bind(&name, Value::Array(Arr { atom, dims: data.dims.clone(), ..a }));
        }
    }

    fn iter(&mut self, e: &Expr) -> Option<Iter> {
        if let ExprKind::Range { start, end } = &e.kind {
            let lo = match start {
                Some(s) => self.size(s)?,
                None => Dim::from(0),
            };
            let Some(end) = end else {
                self.report(
                    Diagnostic::error(codes::SIZE_NOT_KNOWN, "a loop needs an end")
                        .label(e.span, "open range")
                        .help("write `0..N`"),
                );
                return None;
            };
            let hi = self.size(end)?;
            let n = hi.n.saturating_sub(lo.n);
            let len =
                if lo.n == 0 { hi } else { Dim { name: hi.name.map(|h| format!("{h} - {}", lo.n).into()), ..Dim::from(n) } };
            return Some(Iter::Range { start: lo.n as i64, len });
        }
        if let ExprKind::Call { callee, args } = &e.kind
            && let ExprKind::Name(id) = &callee.kind
        {
            match (id.as_str(), args.as_slice()) {
                ("support", [arg]) => {
                    return match self.expr(&arg.value) {
                        Value::Dist(d) => Some(Iter::Support(d)),
                        Value::Error => None,
                        v => {
                            self.report(
                                Diagnostic::error(codes::WRONG_TYPE, "`support` needs a distribution")
                                    .label(arg.value.span, format!("this is {}", v.describe())),
                            );
                            None
                        }
                    };
                }
                ("latents", [arg]) => {
                    let v = self.expr(&arg.value);
                    return match v {
                        Value::Target(t) => {
                            let n = self.latents(&t).len();
                            Some(Iter::Latents(std::rc::Rc::new(*t), n))
                        }
                        Value::Error => None,
                        v => {
                            self.report(
                                Diagnostic::error(codes::WRONG_TYPE, "`latents` needs a target")
                                    .label(arg.value.span, format!("this is {}", v.describe())),
                            );
                            None
                        }
                    };
                }
                ("minibatch", args) => return self.minibatch(args, e.span),
                _ => {}
            }
        }
        let v = self.expr(e);
        if let Value::List(items) = v {
            return Some(Iter::List(items));
        }
        let a = self.as_array(v, e.span)?;
        if a.is_scalar() {
            let d = self.size(e)?;
            return Some(Iter::Range { start: 0, len: d });
        }
        Some(Iter::Rows(a))
    }

    /// `minibatch(N, B)`: the whole plate where `B >= N`, and where programs run outside of fits.
    fn minibatch(&mut self, args: &[ast::Arg], span: Span) -> Option<Iter> {
        let [n, b] = args else {
            self.report(
                Diagnostic::error(codes::WRONG_ARGUMENTS, "`minibatch` takes the number of data and the size of a minibatch")
                    .label(span, format!("{} arguments", args.len()))
                    .help("`for n in minibatch(N, 512) { .. }`"),
            );
            return None;
        };
        if let Some(name) = args.iter().find_map(|a| a.name.as_ref()) {
            self.report(
                Diagnostic::error(codes::WRONG_ARGUMENTS, "the arguments of `minibatch` have no names")
                    .label(name.span, "named")
                    .help("`minibatch(N, 512)`: the number of data, then the size of a minibatch"),
            );
            return None;
        }
        let (data, size) = (self.size(&n.value)?, self.size(&b.value)?);
        if size.n == 0 {
            self.report(
                Diagnostic::error(codes::INDEX_RANGE, "a minibatch has at least one element").label(b.value.span, "empty"),
            );
            return None;
        }
        if u32::try_from(data.n).is_err() {
            self.report(
                Diagnostic::error(codes::INDEX_RANGE, "a minibatch is drawn from at most 4294967295 data")
                    .label(n.value.span, format!("{data}")),
            );
            return None;
        }
        if size.n >= data.n || self.s.whole_plates {
            return Some(Iter::Range { start: 0, len: data });
        }
        let size = if self.s.evaluating { crate::minibatch::even(data.n, size.n) } else { size.n };
        Some(Iter::Minibatch { data, size })
    }

    fn iter_len(&mut self, iter: &Iter, span: Span) -> Option<Dim> {
        match iter {
            Iter::Minibatch { data, size } => {
                let whole = data.name.as_deref().map_or_else(|| data.n.to_string(), str::to_string);
                Some(Dim { n: *size, name: Some(format!("minibatch({whole}, {size})").into()), of: Some(data.n) })
            }
            Iter::Range { len, .. } => Some(len.clone()),
            Iter::Rows(a) => Some(a.dims[0].clone()),
            Iter::Support(d) => {
                let inst = self.s.module.dist(d.dist);
                match inst.support.size() {
                    Some(n) if d.batch.is_empty() => Some(Dim::from(n)),
                    _ => {
                        let name = inst.name.clone();
                        let support = inst.support.clone();
                        self.report(
                            Diagnostic::error(codes::STRATEGY_NOT_FOR_DIST, format!("the support of `{name}` can't be listed"))
                                .label(span, format!("support: {support}")),
                        );
                        None
                    }
                }
            }
            Iter::List(items) => Some(Dim::from(items.len())),
            Iter::Latents(_, n) => Some(Dim::from(*n)),
        }
    }

    /// The loop variable's value in an iteration.
    fn iteration(&mut self, iter: &Iter, index: Atom, len: &Dim) -> Value {
        let plain = |support| Arr { support: Some(support), ..Arr::new(index, DType::Int, Vec::new()) };
        match iter {
            Iter::Range { start, .. } => {
                let arr = plain(Support::Integers { lo: *start, hi: Some(*start + len.n as i64 - 1) });
                if *start == 0 {
                    Value::Array(arr)
                } else {
                    let atom = self.b.prim(Prim::Add, &[index, Atom::int(*start)]);
                    Value::Array(Arr { atom, ..arr })
                }
            }
            Iter::Rows(a) => {
                let atom = self.b.gather(a.atom, index, 0);
                Value::Array(Arr { support: a.support.clone(), ..Arr::new(atom, a.dtype, a.dims[1..].to_vec()) })
            }
            Iter::Support(d) => self.support_value(d, index),
            Iter::List(_) | Iter::Latents(..) | Iter::Minibatch { .. } => Value::Error,
        }
    }

    fn plate(&mut self, f: &For, iter: Iter, collect: bool) -> Value {
        let Some(len) = self.iter_len(&iter, f.iter.span) else {
            return Value::Error;
        };
        let name = match &f.pattern.kind {
            PatternKind::Name(id) => id.as_str().to_string(),
            _ => "i".into(),
        };
        let index = self.b.index_var(&name);
        let start = if let Iter::Range { start, .. } = &iter { *start } else { 0 };
        let batch = match &iter {
            Iter::Minibatch { data, size } => Some((self.b.minibatch(data.n, *size), data.n)),
            _ => None,
        };
        self.loops.push(LoopCtx { index, len: len.clone(), scan: false, start, value: Atom::Var(index), span: f.span });
        self.b.begin();
        self.push_scope();
        let v = match batch {
            Some((all, data)) => {
                self.b.span = f.iter.span;
                if let Some(scale) = S::generative(GenRandom::Scale(data as f64 / len.n as f64)) {
                    self.b.emit(ppl_core::Op::Random(scale), Vec::new());
                }
                let support = Some(Support::Integers { lo: 0, hi: Some(data as i64 - 1) });
                let atom = self.b.gather(all, Atom::Var(index), 0);
                Value::Array(Arr { support, ..Arr::new(atom, DType::Int, Vec::new()) })
            }
            None => self.iteration(&iter, Atom::Var(index), &len),
        };
        self.loop_value(&v);
        self.bind_pattern(&f.pattern, v, f.iter.span);
        self.push_scope();
        let value = self.block(&f.body);
        let inner = self.pop_scope();
        self.keep_choices(inner);
        let scope = self.pop_scope();
        self.loops.pop();
        let kept = self.choices_of(scope);
        let value = if collect { self.collected(value, f) } else { Value::Unit };
        let mut results = Vec::new();
        let layout = value.flatten(&mut results);
        let layouts: Vec<Layout> = kept.iter().map(|(_, p)| p.value.flatten(&mut results)).collect();
        let body = self.b.end(results);
        let outs = self.b.map(len.n, index, body);
        let mut atoms = outs.into_iter().map(Atom::Var);
        let out = layout.build(&mut atoms, std::slice::from_ref(&len));
        self.rebind(kept, layouts, &mut atoms, &len, index);
        out
    }

    fn collected(&mut self, value: Value, f: &For) -> Value {
        match value {
            Value::Unit => self.fail(
                Diagnostic::error(codes::WRONG_TYPE, "each round of this loop must yield a value")
                    .label(f.body.span, "ends without an expression"),
            ),
            Value::Array(a) => Value::Array(Arr { konst: None, ..a }),
            v @ (Value::Tuple(_) | Value::Trace(_) | Value::Error) => v,
            v => self.fail(
                Diagnostic::error(codes::WRONG_TYPE, "only numbers, arrays, tuples and traces can be collected")
                    .label(f.body.span, format!("ends with {}", v.describe())),
            ),
        }
    }

    /// Choices drawn in a loop's body, as partial arrays, in a fixed order.
    fn choices_of(&mut self, scope: HashMap<String, Value>) -> Vec<(String, Partial)> {
        let mut kept: Vec<(String, Partial)> = scope
            .into_iter()
            .filter_map(|(n, v)| match v {
                Value::Partial(p) => Some((n, *p)),
                _ => None,
            })
            .collect();
        kept.sort_by(|a, b| a.0.cmp(&b.0));
        kept
    }

    /// Binds choices after the loop over `index` has closed.
    fn rebind(
        &mut self,
        kept: Vec<(String, Partial)>,
        layouts: Vec<Layout>,
        atoms: &mut impl Iterator<Item = Atom>,
        len: &Dim,
        index: ppl_core::Var,
    ) {
        for ((name, mut p), layout) in kept.into_iter().zip(layouts) {
            p.value = layout.build(atoms, std::slice::from_ref(len));
            if len.of.is_some() {
                // After the loop it would be a random part of the plate.
                p.part = true;
            } else if let Some(slot) = p.open.iter_mut().find(|o| **o == Some(index)) {
                *slot = None;
            }
            p.closed.insert(0, index);
            let value = if p.open.iter().all(Option::is_none) {
                let v = self.ordered(p.value, &p.order, &p.closed);
                if p.whole { v } else { Value::Unit }
            } else {
                Value::Partial(Box::new(p))
            };
            self.bind(&name, value);
        }
    }

    /// Axes in the address's order instead of the order of nesting.
    fn ordered(&mut self, v: Value, order: &[ppl_core::Var], closed: &[ppl_core::Var]) -> Value {
        match v {
            Value::Array(a) => {
                let n = closed.len();
                let perm: Vec<usize> =
                    order.iter().filter_map(|v| closed.iter().position(|c| c == v)).chain(n..a.dims.len()).collect();
                let atom = self.b.transpose(a.atom, &perm);
                Value::Array(Arr { atom, dims: perm.iter().map(|p| a.dims[*p].clone()).collect(), ..a })
            }
            v => v,
        }
    }

    fn scan_loop(&mut self, f: &For, iter: Iter, collect: bool) -> Value {
        let Some(len) = self.iter_len(&iter, f.iter.span) else {
            return Value::Error;
        };
        // First values, and their structure.
        let mut init = Vec::new();
        let mut layouts = Vec::new();
        for c in &f.carry {
            let v = match self.expr(&c.init) {
                Value::Array(a) => Value::Array(Arr { konst: None, support: None, ..a }),
                v => v,
            };
            layouts.push(v.flatten(&mut init));
        }
        let index = self.b.index_var(match &f.pattern.kind {
            PatternKind::Name(id) => id.as_str(),
            _ => "t",
        });
        let start = if let Iter::Range { start, .. } = &iter { *start } else { 0 };
        self.loops.push(LoopCtx { index, len: len.clone(), scan: true, start, value: Atom::Var(index), span: f.span });
        self.b.begin();
        self.push_scope();
        let v = self.iteration(&iter, Atom::Var(index), &len);
        self.loop_value(&v);
        self.bind_pattern(&f.pattern, v, f.iter.span);
        let mut vars = Vec::new();
        for a in &init {
            let ty = self.b.ty(*a);
            vars.push(self.b.fresh("carry", ty));
        }
        let mut carried = vars.iter().map(|v| Atom::Var(*v));
        for (c, l) in f.carry.iter().zip(&layouts) {
            let v = l.build(&mut carried, &[]);
            self.bind(c.name.as_str(), v);
        }
        self.push_scope();
        let value = self.block(&f.body);
        let inner = self.pop_scope();
        self.keep_choices(inner);
        let scope = self.pop_scope();
        self.loops.pop();
        let kept = self.choices_of(scope);
        let next = match (value, f.carry.len()) {
            (Value::Tuple(vs), n) if vs.len() == n && n > 1 => vs,
            (v, 1) => vec![v],
            (Value::Error, n) => vec![Value::Error; n],
            (v, n) => {
                self.report(
                    Diagnostic::error(
                        codes::CARRY_CHANGES,
                        format!("the body must end with the next {n} carried values, as a tuple"),
                    )
                    .label(f.body.span, format!("ends with {}", v.describe())),
                );
                vec![Value::Error; n]
            }
        };
        let mut results = Vec::new();
        let mut bad = false;
        for (k, v) in next.into_iter().enumerate() {
            bad |= self.next_carry(&layouts[k], v, f, k, &mut results).is_none();
        }
        let last: Vec<Atom> = results.clone();
        let collected = if collect { Some(results.clone()) } else { None };
        let stacked: Vec<Layout> = kept.iter().map(|(_, p)| p.value.flatten(&mut results)).collect();
        if let Some(c) = &collected {
            results.extend(c);
        }
        if bad || last.len() != init.len() {
            self.b.end(Vec::new());
            return Value::Error;
        }
        let body = Block { results, ..self.b.end(Vec::new()) };
        let scan = Scan { len: len.n, index, carry: vars.into_iter().zip(init).collect(), xs: Vec::new(), body, reverse: false };
        let scan = slices(&mut self.b, scan);
        let outs = self.b.scan(scan);
        let mut atoms = outs.into_iter().map(Atom::Var);
        let finals: Vec<Value> = layouts.iter().map(|l| l.build(&mut atoms, &[])).collect();
        self.rebind(kept, stacked, &mut atoms, &len, index);
        let pick = |mut vs: Vec<Value>| if vs.len() == 1 { vs.remove(0) } else { Value::Tuple(vs) };
        if collect {
            let all: Vec<Value> = layouts.iter().map(|l| l.build(&mut atoms, std::slice::from_ref(&len))).collect();
            return pick(all);
        }
        pick(finals)
    }

    /// Appends the next value of carry `k`, brought to the type of the first.
    fn next_carry(&mut self, layout: &Layout, v: Value, f: &For, k: usize, out: &mut Vec<Atom>) -> Option<()> {
        let span = f.body.result.as_ref().map_or(f.body.span, |e| e.span);
        match (layout, v) {
            (_, Value::Error) => None,
            (Layout::Array { estimate: false, .. }, Value::Array(a)) if a.estimate => {
                self.report(
                    Diagnostic::error(
                        codes::NONLINEAR_ESTIMATE,
                        format!("the carried value `{}` becomes an estimate", f.carry[k].name),
                    )
                    .label(span, "an estimate")
                    .label(f.carry[k].init.span, "the first value is a number")
                    .help("add up estimates without a carried value: `sum(for i in n { .. })`"),
                );
                None
            }
            (Layout::Array { dtype, dims, .. }, Value::Array(a)) => {
                let a = if *dtype == DType::Float { self.as_real(a, span)? } else { a };
                let a = self.fill(&a, dims).unwrap_or(a);
                if a.dtype != *dtype || a.dims != *dims {
                    let name = f.carry[k].name.as_str().to_string();
                    let help = if *dtype == DType::Int {
                        "start it with a real: `= 0.0`"
                    } else {
                        "start it with a value of the type it becomes: `= zeros(..)`"
                    };
                    let first = crate::value::show_ty(*dtype, dims);
                    self.carry_found.push((k, a.dtype, a.dims.clone()));
                    self.report(
                        Diagnostic::error(codes::CARRY_CHANGES, format!("the carried value `{name}` changes its type"))
                            .label(span, format!("the next value has type `{}`", a.show()))
                            .label(f.carry[k].init.span, format!("the first has type `{first}`"))
                            .help(help),
                    );
                    return None;
                }
                out.push(a.atom);
                Some(())
            }
            (Layout::Tuple(ls), Value::Tuple(vs)) if ls.len() == vs.len() => {
                for (l, v) in ls.iter().zip(vs) {
                    self.next_carry(l, v, f, k, out)?;
                }
                Some(())
            }
            (_, v) => {
                self.report(
                    Diagnostic::error(codes::CARRY_CHANGES, format!("the carried value `{}` changes its type", f.carry[k].name))
                        .label(span, format!("the next value is {}", v.describe()))
                        .label(f.carry[k].init.span, "the first value"),
                );
                None
            }
        }
    }
}

/// Turns reads `x[t]` of outer arrays at the scan's own index into slices that the scan hands to its body.
fn slices<S: ElabStage>(b: &mut ppl_core::Builder<S>, mut scan: Scan<S>) -> Scan<S> {
    let mut inner: std::collections::HashSet<ppl_core::Var> = scan.carry.iter().map(|(v, _)| *v).collect();
    inner.insert(scan.index);
    for s in &scan.body.stmts {
        inner.extend(s.outs.iter().copied());
    }
    let mut xs: Vec<(ppl_core::Var, Atom)> = Vec::new();
    let mut replaced: HashMap<ppl_core::Var, Atom> = HashMap::new();
    let index = Atom::Var(scan.index);
    scan.body.stmts.retain(|s| match &s.op {
        ppl_core::Op::Gather { x: Atom::Var(x), idx, batch: 0 }
            if *idx == index && !inner.contains(x) && b.func.ty(*x).shape.first() == Some(&scan.len) =>
        {
            let known = xs.iter().find(|(_, a)| *a == Atom::Var(*x)).map(|(v, _)| *v);
            let v = known.unwrap_or_else(|| {
                let ty = b.func.ty(s.outs[0]).clone();
                let v = b.fresh("x", ty);
                xs.push((v, Atom::Var(*x)));
                v
            });
            replaced.insert(s.outs[0], Atom::Var(v));
            false
        }
        _ => true,
    });
    ppl_core::substitute_block(&mut scan.body, &replaced);
    scan.xs = xs;
    scan
}

/// Addresses of the choices of a block.
pub(crate) fn drawn(b: &ast::Block, out: &mut Vec<ast::Address>) {
    for s in &b.stmts {
        if let ast::StmtKind::Choice(c) = &s.kind {
            out.push(c.address.clone());
        }
    }
    let mut b = b.clone();
    ppl_syntax::visit::block_exprs_mut(&mut b).into_iter().for_each(|e| drawn_in(e, out));
}

fn drawn_in(e: &mut Expr, out: &mut Vec<ast::Address>) {
    match &e.kind {
        ExprKind::For(f) | ExprKind::Comprehension(f) => drawn(&f.body, out),
        ExprKind::If { then, otherwise, .. } => {
            drawn(then, out);
            if let Some(e) = otherwise {
                drawn_in(&mut e.clone(), out);
            }
        }
        ExprKind::Block(b) => drawn(b, out),
        _ => {}
    }
}
