//! Functions as values, lists of them, and networks: functions that have parameters.
//!
//! ```text
//!   fn (x) = e                 a function that sees the names around it
//!   [f, g, h]                  a list: its elements are known while compiling, and `for f in list` runs while compiling
//!   param net = f(..)          the call constructs a network: `param weight` in it is the parameter `net.weight`,
//!                              one of the `i`-th element of a list `net.i.weight`
//! ```
//!
//! A network is constructed anew in every function that uses it: parameters are found by their names, so each function takes those that it uses.
//! While one is constructed, all loops run and all arrays written out are lists. What it is then applied to is ordinary code.

use crate::builtins::Argument;
use crate::codes;
use crate::func::FnElab;
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, DistVal, Value};
use ppl_core::{Atom, DistUse, GenRandom, Lit, Op};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{Callable, Expr, ExprKind, For, Param};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A function without a name.
#[derive(Clone, Debug)]
pub(crate) struct Closure {
    pub(crate) callable: Rc<Callable>,
    /// The names that it sees, innermost scope last.
    env: Vec<HashMap<String, Value>>,
    /// The part of a network that it is.
    layer: Option<Rc<Layer>>,
    /// The network of the file whose value it is.
    pub(crate) network: Option<Rc<str>>,
}

impl Closure {
    /// What it is called in messages.
    pub(crate) fn shown(&self) -> &str {
        self.layer.as_ref().map_or("fn", |l| &l.name)
    }
}

/// A part of a network, for messages.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    /// `enc.0`
    name: String,
    /// The call in the user's text that made it.
    made: Span,
}

/// A network under construction.
#[derive(Clone, Debug)]
pub(crate) struct Construction {
    /// Names of parts, outermost first.
    path: Vec<String>,
    /// Parameters declared so far.
    declared: HashSet<String>,
    /// The declaration of the network.
    span: Span,
}

impl Value {
    /// Whether it is or holds a function that sees operands of the function under construction.
    pub(crate) fn holds_function(&self) -> bool {
        match self {
            Value::Function(_) => true,
            Value::Tuple(vs) | Value::List(vs) => vs.iter().any(Value::holds_function),
            _ => false,
        }
    }

    /// Whether it is applied and not computed with: a function or a collection of them.
    pub(crate) fn is_network(&self) -> bool {
        match self {
            Value::Function(_) | Value::Builtin(_) | Value::Decl(_) => true,
            Value::Tuple(vs) | Value::List(vs) => !vs.is_empty() && vs.iter().all(Value::is_network),
            _ => false,
        }
    }

    /// The value without operands, where it has none.
    fn fixed(&self) -> Option<Value> {
        match self {
            Value::Array(a) => a.konst.map(|_| self.clone()),
            Value::Decl(_) | Value::Builtin(_) | Value::Module(_) => Some(self.clone()),
            Value::List(vs) => vs.iter().map(Value::fixed).collect::<Option<_>>().map(Value::List),
            Value::Tuple(vs) => vs.iter().map(Value::fixed).collect::<Option<_>>().map(Value::Tuple),
            Value::Function(c) => Some(Value::Function(Rc::new(Closure { env: fixed_scopes(&c.env), ..(**c).clone() }))),
            _ => None,
        }
    }
}

/// The names whose values have no operands.
fn fixed_scopes(scopes: &[HashMap<String, Value>]) -> Vec<HashMap<String, Value>> {
    let fixed = |s: &HashMap<String, Value>| s.iter().filter_map(|(n, v)| Some((n.clone(), v.fixed()?))).collect();
    scopes.iter().map(fixed).collect()
}

impl<S: ElabStage> FnElab<'_, S> {
    /// `fn (x) = e`.
    pub(crate) fn function(&mut self, c: &Callable) -> Value {
        let layer = self.net.as_ref().map(|n| Layer { name: n.path.join("."), made: self.users_place(n.span) });
        Value::Function(Rc::new(Closure {
            callable: Rc::new(c.clone()),
            env: self.scopes().to_vec(),
            layer: layer.map(Rc::new),
            network: None,
        }))
    }

    /// The innermost call that stands in the user's text.
    fn users_place(&self, otherwise: Span) -> Span {
        self.callers.iter().rev().map(|(_, s)| *s).find(|s| !self.s.in_library(*s)).unwrap_or(otherwise)
    }

    /// Applies a function to evaluated arguments.
    pub(crate) fn call_closure(&mut self, c: &Rc<Closure>, args: Vec<Argument>, span: Span) -> Value {
        if args.iter().any(|(v, _)| matches!(v, Value::Error)) {
            return Value::Error;
        }
        // What is applied is ordinary code, also where that happens in a network's construction.
        let net = self.net.take();
        self.callers.push((c.layer.as_ref().map_or("fn".to_string(), |l| l.name.clone()), span));
        let out = self.within(c.env.clone(), |me| {
            for ((v, at), p) in args.into_iter().zip(&c.callable.params) {
                let v = match (&p.ty, &c.layer) {
                    (Some(t), Some(l)) => me.layer_input(l, t, v, at),
                    (Some(t), None) => me.check_type(&format!("`{}`", p.name), t, v, at),
                    (None, _) => v,
                };
                me.bind(p.name.as_str(), v);
            }
            let v = match &c.callable.body.kind {
                ExprKind::Block(b) => me.scoped_block(b),
                _ => me.expr(&c.callable.body),
            };
            match &c.callable.ret {
                Some(t) => me.check_type("the result", t, v, c.callable.body.span),
                None => v,
            }
        });
        self.callers.pop();
        self.net = net;
        match out {
            Some(Value::Array(a)) if c.layer.is_some() => Value::Array(Arr { layer: c.layer.clone(), ..a }),
            Some(v) => v,
            None => self.too_deep("fn", span),
        }
    }

    /// An argument of a layer; where it does not fit, the message shows both layers.
    fn layer_input(&mut self, layer: &Layer, ty: &ppl_syntax::ast::Type, v: Value, at: Span) -> Value {
        let Value::Array(a) = &v else { return self.check_type(&format!("the input of `{}`", layer.name), ty, v, at) };
        let (found, from) = (a.show(), a.layer.clone());
        let Some(out) = self.quietly(|me| me.check_type("", ty, v.clone(), at)) else {
            let wanted = self.shown_type(ty);
            let place = if self.s.in_library(at) { self.users_place(at) } else { at };
            let mut d = Diagnostic::error(
                codes::SHAPES_DISAGREE,
                format!("the layer `{}` takes `{wanted}`, and gets `{found}`", layer.name),
            )
            .label(layer.made, format!("`{}` is made here: takes `{wanted}`", layer.name));
            d = match from {
                Some(l) if l.made != layer.made => {
                    d.label(l.made, format!("`{}` is made here: gives `{found}`", l.name)).label(place, "applied here")
                }
                Some(l) => {
                    d.label(place, "applied here").note(format!("the input comes from `{}`, which gives `{found}`", l.name))
                }
                None => d.label(place, format!("gets `{found}`")),
            };
            return self.fail(d);
        };
        out
    }

    /// A type with the values of its sizes.
    fn shown_type(&mut self, ty: &ppl_syntax::ast::Type) -> String {
        let Some(Some(crate::types::Written::Array { dtype, dims, .. })) = self.quietly(|me| me.written(ty)) else {
            return "another type".into();
        };
        let sizes: Vec<String> = dims
            .iter()
            .map(|e| match self.quietly(|me| me.size(e)).flatten() {
                Some(d) => d.to_string(),
                None => ppl_syntax::print_expr(e),
            })
            .collect();
        let elem = crate::value::show_ty(dtype, &[]);
        if sizes.is_empty() { elem } else { format!("{elem}[{}]", sizes.join(", ")) }
    }

    // Construction.

    /// The value of the network `name` of the file, whose parameters this function then takes.
    pub(crate) fn network(&mut self, name: &str, e: &Expr) -> Value {
        let v = self.isolated(|me| me.constructed(vec![name.to_string()], e)).unwrap_or(Value::Error);
        match v {
            Value::Function(c) => Value::Function(Rc::new(Closure { network: Some(name.into()), ..(*c).clone() })),
            v => v,
        }
    }

    /// Evaluates the initial value of a parameter, which may turn out to be a network.
    pub(crate) fn constructed(&mut self, path: Vec<String>, e: &Expr) -> Value {
        let net = Construction { path, declared: HashSet::new(), span: e.span };
        let saved = self.net.replace(net);
        let v = self.expr(e);
        self.net = saved;
        v
    }

    /// Runs `f` with one more name in the path of the network under construction.
    pub(crate) fn named_part<T>(&mut self, part: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        if let Some(n) = &mut self.net {
            n.path.push(part.to_string());
        }
        let out = f(self);
        if let Some(n) = &mut self.net {
            n.path.pop();
        }
        out
    }

    /// `param layer = linear(2, 3)` in a program or a network: its value, if that is a network.
    pub(crate) fn local_network(&mut self, full: &str, p: &Param) -> Option<Value> {
        let init = p.init.as_ref().filter(|e| p.ty.is_none() && (self.s.constructs(e) || self.applies_function(e)))?;
        let v = match self.net.is_some() {
            true => self.named_part(p.name.as_str(), |me| me.expr(init)),
            false => self.constructed(vec![full.to_string()], init),
        };
        if v.is_network() || matches!(v, Value::Error) {
            return Some(v);
        }
        Some(
            self.fail(
                Diagnostic::error(codes::WRONG_TYPE, format!("the parameter `{full}` is neither a number nor a network"))
                    .label(init.span, format!("this is {}", v.describe()))
                    .note("a network is a function, or a list of functions, that declare parameters"),
            ),
        )
    }

    /// Whether a local name of a function is called or named: what a network was given to build its parts with.
    fn applies_function(&self, e: &Expr) -> bool {
        let name = match &e.kind {
            ExprKind::Call { callee, .. } => &callee.kind,
            kind => kind,
        };
        let ExprKind::Name(id) = name else { return false };
        match self.local(id.as_str()) {
            Some(Value::Decl(d)) => matches!(&*self.s.decl(d), crate::session::Decl::Fn(c) if self.s.constructs(&c.body)),
            Some(v) => matches!(v, Value::Function(_) | Value::List(_)) && v.is_network(),
            None => false,
        }
    }

    /// The full name of a parameter of the network under construction.
    pub(crate) fn network_param(&mut self, p: &Param, span: Span) -> Option<String> {
        let net = self.net.as_mut()?;
        let full = format!("{}.{}", net.path.join("."), p.name);
        if !net.declared.insert(full.clone()) {
            self.report(
                Diagnostic::error(codes::DUPLICATE_NAME, format!("the network has two parameters `{full}`"))
                    .label(span, "again here")
                    .help("name the parts: `param a = f(..)` and `param b = f(..)`, or make a list of them: `param parts = [f(..), f(..)]`"),
            );
            return None;
        }
        Some(full)
    }

    /// The names in scope whose values have no operands: what the initial value of a parameter sees.
    pub(crate) fn fixed_names(&self) -> Vec<HashMap<String, Value>> {
        fixed_scopes(self.scopes())
    }

    // Lists.

    /// An array written out, where it is a list: in a construction, and where its elements are functions.
    pub(crate) fn list_literal(&mut self, parts: &[Expr]) -> Vec<Value> {
        (0..parts.len()).map(|i| self.named_part(&i.to_string(), |me| me.expr(&parts[i]))).collect()
    }

    /// A list of arrays as an array.
    pub(crate) fn stacked(&mut self, items: Vec<Value>, span: Span) -> Option<Arr> {
        let mut arrs = Vec::new();
        for v in items {
            arrs.push(self.as_array(v, span)?);
        }
        if arrs.iter().any(|a| a.dtype == ppl_core::DType::Float) {
            for a in &mut arrs {
                *a = self.as_real(a.clone(), span)?;
            }
        }
        let first = arrs.first()?.clone();
        if let Some(a) = arrs.iter().find(|a| a.dims != first.dims || a.dtype != first.dtype) {
            self.report(
                Diagnostic::error(codes::SHAPES_DISAGREE, "the elements of an array have one type")
                    .label(span, format!("elements of types `{}` and `{}`", first.show(), a.show())),
            );
            return None;
        }
        let atoms: Vec<Atom> = arrs.iter().map(|a| a.atom).collect();
        let dims = std::iter::once(arrs.len().into()).chain(first.dims.iter().cloned()).collect();
        let atom = self.b.stack(&atoms);
        Some(Arr::new(atom, first.dtype, dims))
    }

    /// Element `subscript` of a list, or a part of it.
    pub(crate) fn list_element(&mut self, items: &[Value], subscript: &Expr) -> Value {
        if let ExprKind::Range { start, end } = &subscript.kind {
            let bound = |me: &mut Self, e: Option<&Expr>, default: usize| e.map_or(Some(default), |e| me.size(e).map(|d| d.n));
            let (Some(lo), Some(hi)) = (bound(self, start.as_deref(), 0), bound(self, end.as_deref(), items.len())) else {
                return Value::Error;
            };
            if lo > hi || hi > items.len() {
                return self.fail(
                    Diagnostic::error(codes::INDEX_RANGE, format!("the slice {lo}..{hi} is outside the list"))
                        .label(subscript.span, format!("the list has {} elements", items.len())),
                );
            }
            return Value::List(items[lo..hi].to_vec());
        }
        let Some(i) = self.array(subscript) else { return Value::Error };
        match i.const_int() {
            Some(k) => match usize::try_from(k).ok().and_then(|k| items.get(k)) {
                Some(v) => v.clone(),
                None => self.fail(
                    Diagnostic::error(codes::INDEX_RANGE, format!("index {k} is out of range"))
                        .label(subscript.span, format!("the list has {} elements", items.len())),
                ),
            },
            None => self.fail(
                Diagnostic::error(
                    codes::SIZE_NOT_KNOWN,
                    "an index into a list of functions must be known before the program runs",
                )
                .label(subscript.span, format!("has type `{}`", i.show()))
                .help("loop over the list itself: `for f in list carry (h = x) { f(h) }`"),
            ),
        }
    }

    /// A loop that runs while compiling: once for each element, with carried values of any kind.
    pub(crate) fn unrolled(&mut self, f: &For, items: Vec<Value>, collect: bool) -> Value {
        let mut carried: Vec<Value> = f.carry.iter().map(|c| self.expr(&c.init)).collect();
        let mut rounds = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            self.push_scope();
            self.bind_pattern(&f.pattern, item, f.iter.span);
            for (c, v) in f.carry.iter().zip(&carried) {
                self.bind(c.name.as_str(), v.clone());
            }
            let value = self.named_part(&i.to_string(), |me| {
                me.push_scope();
                let v = me.block(&f.body);
                let inner = me.pop_scope();
                me.keep_choices(inner);
                v
            });
            let scope = self.pop_scope();
            self.keep_choices(scope);
            match f.carry.len() {
                0 => {}
                1 => carried = vec![value.clone()],
                n => match &value {
                    Value::Tuple(vs) if vs.len() == n => carried.clone_from(vs),
                    Value::Error => return Value::Error,
                    v => {
                        return self.fail(
                            Diagnostic::error(
                                codes::CARRY_CHANGES,
                                format!("the body must end with the next {n} carried values, as a tuple"),
                            )
                            .label(f.body.span, format!("ends with {}", v.describe())),
                        );
                    }
                },
            }
            if matches!(value, Value::Error) {
                return Value::Error;
            }
            rounds.push(value);
        }
        if !collect {
            return match carried.len() {
                0 => Value::Unit,
                1 => carried.remove(0),
                _ => Value::Tuple(carried),
            };
        }
        if let Some(Value::Unit) = rounds.first() {
            return self.fail(
                Diagnostic::error(codes::WRONG_TYPE, "each round of this loop must yield a value")
                    .label(f.body.span, "ends without an expression"),
            );
        }
        let alike = |vs: &[Value]| {
            let ty = |v: &Value| if let Value::Array(a) = v { Some(a.ty()) } else { None };
            vs.first().is_some_and(|v| ty(v).is_some() && vs.iter().all(|w| ty(w) == ty(v)))
        };
        if self.net.is_none() && alike(&rounds) {
            return Value::unit_or(self.stacked(rounds, f.span));
        }
        Value::List(rounds)
    }

    /// The indices of a loop over known numbers, in a construction.
    pub(crate) fn known_indices(&self, start: i64, len: &Dim) -> Vec<Value> {
        (start..start + len.n as i64).map(|i| Value::Array(Arr::lit(Lit::Int(i)))).collect()
    }

    /// `noise(d, x)`: draws that are no choices, one for each element of an array of sizes `dims`.
    pub(crate) fn noise_over(&mut self, d: &DistVal, dims: &[Dim], span: Span) -> Option<Arr> {
        let Some((len, rest)) = dims.split_first() else { return self.noise(d, span) };
        let v = self.map_loop(len, "e", |me, _| Value::unit_or(me.noise_over(d, rest, span)));
        self.as_array(v, span)
    }

    fn noise(&mut self, d: &DistVal, span: Span) -> Option<Arr> {
        let generative = |dist: DistUse| S::generative(GenRandom::Noise(dist));
        if generative(DistUse { dist: d.dist, args: Vec::new() }).is_none() {
            let v = self.draw(d, span, false);
            return self.as_array(v, span);
        }
        let batch = d.batch.clone();
        self.over_batch(d, &batch, &d.args.clone(), &mut |me, args| {
            let event = me.s.module.dist(d.dist).event.clone();
            let r = generative(DistUse { dist: d.dist, args: args.iter().map(|a| a.atom).collect() })?;
            let atom = me.b.emit1(Op::Random(r), "noise", event.clone());
            Some(Arr::from_ty(atom, &event))
        })
    }

    // Initial values.

    /// Elements drawn from a distribution, once, before the fit.
    pub(crate) fn drawn(&mut self, d: &DistVal, dims: &[Dim], span: Span) -> Option<Arr> {
        let event = self.s.module.dist(d.dist).event.rank() + d.batch.len();
        let extra = dims.len().saturating_sub(event);
        self.drawn_over(d, &dims[..extra], span)
    }

    fn drawn_over(&mut self, d: &DistVal, outer: &[Dim], span: Span) -> Option<Arr> {
        let Some((len, rest)) = outer.split_first() else {
            let v = self.draw(d, span, false);
            return self.as_array(v, span);
        };
        let v = self.map_loop(len, "e", |me, _| Value::unit_or(me.drawn_over(d, rest, span)));
        self.as_array(v, span)
    }
}

/// Gives the draws of a parameter's initial value sites of its own.
pub(crate) fn name_sites(block: &mut ppl_core::Block<ppl_core::Det>, name: &str) {
    let hash = name.bytes().fold(0x7061_7261_6d00, |h, b| ppl_abi::fold(h, u64::from(b)));
    fn walk(stmts: &mut [ppl_core::Stmt<ppl_core::Det>], hash: u64) {
        for s in stmts {
            if let Op::Random(r) = &mut s.op {
                r.site = ppl_abi::fold(hash, r.site);
            }
            ppl_core::op_blocks_mut(&mut s.op).into_iter().for_each(|b| walk(&mut b.stmts, hash));
        }
    }
    walk(&mut block.stmts, hash);
}
