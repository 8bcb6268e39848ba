//! Built-in functions that change shapes or are not functions of arrays.

use crate::codes;
use crate::func::FnElab;
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, TargetVal, TraceVal, Value};
use ppl_core::{Atom, DType, DetRandom, Linalg, Lit, Op, Prim, ReduceOp, RngKind, Support, Ty};
use ppl_diag::{Diagnostic, Span};

/// Names of the built-in functions that are not elementwise primitives.
pub const NAMES: &[&str] = &[
    "sum",
    "prod",
    "all",
    "any",
    "maximum",
    "minimum",
    "argmax",
    "cumsum",
    "reverse",
    "dot",
    "matmul",
    "outer",
    "transpose",
    "cholesky",
    "solve_lower",
    "solve_upper_t",
    "diag",
    "eye",
    "zeros",
    "ones",
    "full",
    "range",
    "linspace",
    "length",
    "size",
    "shape",
    "reshape",
    "concat",
    "stack",
    "unfold",
    "fold",
    "int",
    "real",
    "stop",
    "density",
    "kl",
    "expected_log_weight",
    "log_density",
    "score",
    "cdf",
    "sim",
    "grad",
    "restrict",
    "path",
    "fresh",
    "support",
    "latents",
    "dim",
    "init",
    "constrain",
    "minibatch",
    "noise",
    "fitting",
    "random_uniform",
    "random_normal",
    "random_gamma",
    "random_poisson",
    "random_binomial",
    "random_categorical",
];

/// An evaluated argument.
pub(crate) type Argument = (Value, Span);

impl<S: ElabStage> FnElab<'_, S> {
    /// Calls a built-in function.
    pub(crate) fn builtin(&mut self, name: &'static str, args: &[Argument], span: Span) -> Value {
        if args.iter().any(|(v, _)| matches!(v, Value::Error)) {
            return Value::Error;
        }
        if let Some(prim) = Prim::by_name(name).filter(|p| p.def().callable) {
            let Some((arrs, spans)) = self.arrays(args) else {
                return Value::Error;
            };
            return Value::unit_or(self.elementwise(prim, arrs, &spans, span));
        }
        let Some(estimate) = self.builtin_estimates(name, args) else {
            return Value::Error;
        };
        if !matches!(name, "sum" | "real" | "stop" | "length" | "size") {
            let over = args.iter().find_map(|(v, s)| match v {
                Value::Array(a) if a.dims.iter().any(|d| d.of.is_some()) => Some((a.clone(), *s)),
                _ => None,
            });
            if let Some((a, at)) = over {
                self.refuse_minibatch(&a, &format!("`{name}`"), at);
                return Value::Error;
            }
        }
        match self.structural(name, args, span) {
            Some(Value::Array(a)) if estimate => Value::Array(Arr { estimate, ..a }),
            Some(v) => v,
            None => Value::Error,
        }
    }

    fn arrays(&mut self, args: &[Argument]) -> Option<(Vec<Arr>, Vec<Span>)> {
        let mut arrs = Vec::new();
        for (v, s) in args {
            arrs.push(self.as_array(v.clone(), *s)?);
        }
        Some((arrs, args.iter().map(|(_, s)| *s).collect()))
    }

    fn one(&mut self, name: &str, args: &[Argument], span: Span) -> Option<Arr> {
        self.count(name, args, 1, 1, span)?;
        self.as_array(args[0].0.clone(), args[0].1)
    }

    pub(crate) fn count(&mut self, name: &str, args: &[Argument], lo: usize, hi: usize, span: Span) -> Option<()> {
        if (lo..=hi).contains(&args.len()) {
            return Some(());
        }
        let sig = ppl_core::builtin(name).map_or(String::new(), |b| format!("signature: {}", b.sig));
        let takes = if lo == hi { format!("{lo}") } else { format!("{lo} to {hi}") };
        self.report(
            Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`{name}` takes {takes} argument(s), here are {}", args.len()))
                .label(span, sig),
        );
        None
    }

    pub(crate) fn real_array(&mut self, arg: &Argument) -> Option<Arr> {
        let a = self.as_array(arg.0.clone(), arg.1)?;
        self.as_real(a, arg.1)
    }

    fn known_size(&mut self, arg: &Argument) -> Option<Dim> {
        let a = self.as_array(arg.0.clone(), arg.1)?;
        match a.const_int() {
            Some(n) if n >= 0 => Some(Dim { name: a.size_name, ..Dim::from(n as usize) }),
            _ => {
                self.report(
                    Diagnostic::error(codes::SIZE_NOT_KNOWN, "a size must be known before the program runs, and not negative")
                        .label(arg.1, format!("has type `{}`", a.show())),
                );
                None
            }
        }
    }

    pub(crate) fn known_sizes(&mut self, args: &[Argument]) -> Option<Vec<Dim>> {
        args.iter().map(|a| self.known_size(a)).collect()
    }

    pub(crate) fn ranks(&mut self, name: &str, a: &Arr, rank: usize, span: Span) -> Option<()> {
        if a.dims.len() == rank {
            return Some(());
        }
        let what = ["a scalar", "a vector", "a matrix"].get(rank).copied().unwrap_or("an array");
        self.report(
            Diagnostic::error(codes::SHAPES_DISAGREE, format!("`{name}` needs {what} here"))
                .label(span, format!("has type `{}`", a.show())),
        );
        None
    }

    fn same(&mut self, name: &str, x: &Dim, y: &Dim, a: (&Arr, Span), b: (&Arr, Span)) -> Option<()> {
        if x == y {
            return Some(());
        }
        self.report(
            Diagnostic::error(codes::SHAPES_DISAGREE, format!("the shapes of `{name}` disagree: {x} and {y}"))
                .label(a.1, format!("has type `{}`", a.0.show()))
                .label(b.1, format!("has type `{}`", b.0.show())),
        );
        None
    }

    fn arr(&self, atom: Atom, dtype: DType, dims: Vec<Dim>) -> Option<Value> {
        Some(Value::Array(Arr::new(atom, dtype, dims)))
    }

    fn structural(&mut self, name: &'static str, args: &[Argument], span: Span) -> Option<Value> {
        match name {
            "sum" | "prod" | "maximum" | "minimum" | "all" | "any" => {
                self.count(name, args, 1, 2, span)?;
                let op = match name {
                    "sum" => ReduceOp::Sum,
                    "prod" => ReduceOp::Prod,
                    "maximum" => ReduceOp::Max,
                    "minimum" => ReduceOp::Min,
                    "all" => ReduceOp::All,
                    _ => ReduceOp::Any,
                };
                let Some(axis) = args.get(1) else {
                    return self.reduce_value(op, args[0].0.clone(), args[0].1).map(Value::Array);
                };
                let a = self.as_array(args[0].0.clone(), args[0].1)?;
                let axis = self.axis(&a, axis)?;
                let atom = self.b.reduce(op, a.atom, &[axis]);
                let mut dims = a.dims.clone();
                dims.remove(axis);
                let sum = Arr { estimate: a.estimate, ..Arr::new(atom, a.dtype, dims) };
                Some(Value::Array(self.for_the_plate(&a, &[axis], sum)))
            }
            "argmax" => {
                let a = self.one(name, args, span)?;
                self.ranks(name, &a, 1, args[0].1)?;
                let atom = self.b.argmax(a.atom, 0);
                self.arr(atom, DType::Int, Vec::new())
            }
            "cumsum" | "reverse" => {
                let a = self.one(name, args, span)?;
                self.ranks(name, &a, 1, args[0].1)?;
                let atom = if name == "cumsum" { self.b.cumsum(a.atom, 0, false) } else { self.b.reverse(a.atom, 0) };
                self.arr(atom, a.dtype, a.dims)
            }
            "dot" => {
                self.count(name, args, 2, 2, span)?;
                let (a, b) = (self.real_array(&args[0])?, self.real_array(&args[1])?);
                self.ranks(name, &a, 1, args[0].1)?;
                self.ranks(name, &b, 1, args[1].1)?;
                self.same(name, &a.dims[0], &b.dims[0], (&a, args[0].1), (&b, args[1].1))?;
                let atom = self.b.dot(a.atom, b.atom, &[], &[(0, 0)]);
                self.arr(atom, DType::Float, Vec::new())
            }
            "matmul" => {
                self.count(name, args, 2, 2, span)?;
                let (a, b) = (self.real_array(&args[0])?, self.real_array(&args[1])?);
                if !(1..=2).contains(&a.dims.len()) || !(1..=2).contains(&b.dims.len()) {
                    self.ranks(name, if a.dims.len() == 2 { &b } else { &a }, 2, span)?;
                }
                let inner = a.dims.len() - 1;
                self.same(name, &a.dims[inner], &b.dims[0], (&a, args[0].1), (&b, args[1].1))?;
                let dims = a.dims[..inner].iter().chain(&b.dims[1..]).cloned().collect();
                let atom = self.b.dot(a.atom, b.atom, &[], &[(inner, 0)]);
                self.arr(atom, DType::Float, dims)
            }
            "outer" => {
                self.count(name, args, 2, 2, span)?;
                let (a, b) = (self.real_array(&args[0])?, self.real_array(&args[1])?);
                self.ranks(name, &a, 1, args[0].1)?;
                self.ranks(name, &b, 1, args[1].1)?;
                let atom = self.b.dot(a.atom, b.atom, &[], &[]);
                self.arr(atom, DType::Float, vec![a.dims[0].clone(), b.dims[0].clone()])
            }
            "transpose" => {
                let a = self.one(name, args, span)?;
                self.ranks(name, &a, 2, args[0].1)?;
                let atom = self.b.transpose(a.atom, &[1, 0]);
                self.arr(atom, a.dtype, vec![a.dims[1].clone(), a.dims[0].clone()])
            }
            "cholesky" => {
                let a = self.one(name, args, span)?;
                let a = self.as_real(a, args[0].1)?;
                self.ranks(name, &a, 2, args[0].1)?;
                self.same(name, &a.dims[0], &a.dims[1], (&a, args[0].1), (&a, args[0].1))?;
                let atom = self.b.linalg(Linalg::Cholesky, &[a.atom]);
                self.arr(atom, DType::Float, a.dims)
            }
            "solve_lower" | "solve_upper_t" => {
                self.count(name, args, 2, 2, span)?;
                let (l, b) = (self.real_array(&args[0])?, self.real_array(&args[1])?);
                self.ranks(name, &l, 2, args[0].1)?;
                self.same(name, &l.dims[0], &l.dims[1], (&l, args[0].1), (&l, args[0].1))?;
                if b.dims.is_empty() || b.dims.len() > 2 {
                    self.ranks(name, &b, 1, args[1].1)?;
                }
                self.same(name, &l.dims[1], &b.dims[0], (&l, args[0].1), (&b, args[1].1))?;
                let vector = b.dims.len() == 1;
                let rhs = if vector { self.b.reshape(b.atom, &[b.dims[0].n, 1]) } else { b.atom };
                let x = self.b.linalg(Linalg::Solve { transpose: name == "solve_upper_t" }, &[l.atom, rhs]);
                let x = if vector { self.b.reshape(x, &[b.dims[0].n]) } else { x };
                self.arr(x, DType::Float, b.dims)
            }
            "diag" => {
                let a = self.one(name, args, span)?;
                let n = a.dims.first().map_or(0, |d| d.n);
                let i = self.b.iota(n);
                let flat = self.b.mul(i, Atom::int(n as i64 + 1));
                match a.dims.len() {
                    2 => {
                        self.same(name, &a.dims[0], &a.dims[1], (&a, args[0].1), (&a, args[0].1))?;
                        let all = self.b.reshape(a.atom, &[n * n]);
                        let atom = self.b.gather(all, flat, 0);
                        self.arr(atom, a.dtype, vec![a.dims[0].clone()])
                    }
                    _ => {
                        self.ranks(name, &a, 1, args[0].1)?;
                        let a = self.as_real(a, args[0].1)?;
                        let all = self.b.scatter_add(flat, a.atom, 0, n * n);
                        let atom = self.b.reshape(all, &[n, n]);
                        self.arr(atom, DType::Float, vec![a.dims[0].clone(), a.dims[0].clone()])
                    }
                }
            }
            "eye" => {
                self.count(name, args, 1, 1, span)?;
                let n = self.known_size(&args[0])?;
                let one = self.b.full(Atom::float(1.0), &[n.n]);
                let i = self.b.iota(n.n);
                let flat = self.b.mul(i, Atom::int(n.n as i64 + 1));
                let all = self.b.scatter_add(flat, one, 0, n.n * n.n);
                let atom = self.b.reshape(all, &[n.n, n.n]);
                self.arr(atom, DType::Float, vec![n.clone(), n])
            }
            "zeros" | "ones" => {
                let dims = self.known_sizes(args)?;
                let a = Arr::lit(Lit::Float(if name == "ones" { 1.0 } else { 0.0 }));
                Some(Value::Array(self.lift(&a, &dims)))
            }
            "full" => {
                self.count(name, args, 1, 8, span)?;
                let a = self.as_array(args[0].0.clone(), args[0].1)?;
                let dims = self.known_sizes(&args[1..])?;
                Some(Value::Array(self.lift(&a, &dims)))
            }
            "range" => {
                self.count(name, args, 1, 1, span)?;
                let n = self.known_size(&args[0])?;
                let atom = self.b.iota(n.n);
                self.arr(atom, DType::Int, vec![n])
            }
            "linspace" => {
                self.count(name, args, 3, 3, span)?;
                let (lo, hi) = (self.real_array(&args[0])?, self.real_array(&args[1])?);
                self.ranks(name, &lo, 0, args[0].1)?;
                self.ranks(name, &hi, 0, args[1].1)?;
                let n = self.known_size(&args[2])?;
                let i = self.b.iota(n.n);
                let i = self.b.un(Prim::ToReal, i);
                let width = self.b.sub(hi.atom, lo.atom);
                let step = self.b.div(width, Atom::float((n.n.max(2) - 1) as f64));
                let offset = self.b.mul(i, step);
                let atom = self.b.add(offset, lo.atom);
                self.arr(atom, DType::Float, vec![n])
            }
            "length" => {
                let a = self.one(name, args, span)?;
                let Some(d) = a.dims.first() else {
                    self.ranks(name, &a, 1, args[0].1)?;
                    return None;
                };
                Some(Value::Array(Arr { size_name: d.name.clone(), ..Arr::lit(Lit::Int(d.whole() as i64)) }))
            }
            "size" => {
                let a = self.one(name, args, span)?;
                let n: usize = a.dims.iter().map(Dim::whole).product();
                Some(Value::Array(Arr::lit(Lit::Int(n as i64))))
            }
            "shape" => {
                let a = self.one(name, args, span)?;
                let sizes: Vec<Atom> = a.dims.iter().map(|d| Atom::int(d.n as i64)).collect();
                if sizes.is_empty() {
                    let atom = self.b.iota(0);
                    return self.arr(atom, DType::Int, vec![Dim::from(0)]);
                }
                let atom = self.b.stack(&sizes);
                self.arr(atom, DType::Int, vec![Dim::from(sizes.len())])
            }
            "reshape" => {
                self.count(name, args, 1, 8, span)?;
                let a = self.as_array(args[0].0.clone(), args[0].1)?;
                let dims = self.known_sizes(&args[1..])?;
                let n: usize = dims.iter().map(|d| d.n).product();
                if n != a.ty().numel() {
                    self.report(
                        Diagnostic::error(
                            codes::SHAPES_DISAGREE,
                            format!("{} elements can't be given a shape of {n}", a.ty().numel()),
                        )
                        .label(args[0].1, format!("has type `{}`", a.show())),
                    );
                    return None;
                }
                let a = if a.is_scalar() { self.lift(&a, &[Dim::from(1)]) } else { a };
                let shape: Vec<usize> = dims.iter().map(|d| d.n).collect();
                let atom = self.b.reshape(a.atom, &shape);
                self.arr(atom, a.dtype, dims)
            }
            "unfold" | "fold" => self.patches(name, args, span),
            "concat" | "stack" => {
                self.count(name, args, 1, 64, span)?;
                let (mut arrs, spans) = self.arrays(args)?;
                if arrs.iter().any(|a| a.dtype == DType::Float) {
                    for (a, s) in arrs.iter_mut().zip(&spans) {
                        *a = self.as_real(a.clone(), *s)?;
                    }
                }
                let skip = usize::from(name == "concat");
                for (a, s) in arrs.iter().zip(&spans) {
                    let rest = |a: &Arr| a.dims.get(skip..).map(<[Dim]>::to_vec);
                    if a.dtype != arrs[0].dtype
                        || rest(a).is_none()
                        || rest(a) != rest(&arrs[0])
                        || a.dims.len() != arrs[0].dims.len()
                    {
                        let first = arrs[0].show();
                        self.report(
                            Diagnostic::error(codes::SHAPES_DISAGREE, format!("`{name}` needs arrays of equal sizes"))
                                .label(*s, format!("has type `{}`", a.show()))
                                .label(spans[0], format!("has type `{first}`")),
                        );
                        return None;
                    }
                }
                let atoms: Vec<Atom> = arrs.iter().map(|a| a.atom).collect();
                if name == "stack" {
                    let atom = self.b.stack(&atoms);
                    let dims = std::iter::once(Dim::from(arrs.len())).chain(arrs[0].dims.iter().cloned()).collect();
                    return self.arr(atom, arrs[0].dtype, dims);
                }
                let atom = self.b.concat(&atoms, 0);
                let mut dims = arrs[0].dims.clone();
                dims[0] = Dim::from(arrs.iter().map(|a| a.dims[0].n).sum::<usize>());
                self.arr(atom, arrs[0].dtype, dims)
            }
            "real" => {
                let a = self.one(name, args, span)?;
                if a.dtype == DType::Bool {
                    let atom = self.b.un(Prim::ToReal, a.atom);
                    return self.arr(atom, DType::Float, a.dims);
                }
                self.as_real(a, args[0].1).map(Value::Array)
            }
            "int" => {
                let a = self.one(name, args, span)?;
                if a.dtype == DType::Int {
                    return Some(Value::Array(a));
                }
                let atom = self.b.un(Prim::ToInt, a.atom);
                self.arr(atom, DType::Int, a.dims)
            }
            "stop" => {
                self.count(name, args, 1, 1, span)?;
                match &args[0].0 {
                    Value::Program(_) | Value::Target(_) | Value::Decl(_) => {
                        Some(self.stop_program(args[0].0.clone(), args[0].1))
                    }
                    Value::Trace(t) => {
                        let mut t = t.clone();
                        for e in t.entries.iter_mut().filter(|e| e.value.dtype == DType::Float) {
                            e.value.atom = self.b.stop(e.value.atom);
                        }
                        Some(Value::Trace(t))
                    }
                    v => {
                        let a = self.as_array(v.clone(), args[0].1)?;
                        if a.dtype != DType::Float || a.konst.is_some() {
                            return Some(Value::Array(a));
                        }
                        let atom = self.b.stop(a.atom);
                        Some(Value::Array(Arr { atom, ..a }))
                    }
                }
            }
            "log_density" | "density" | "score" => {
                self.count(name, args, 2, 2, span)?;
                let subject = self.applied(args[0].0.clone(), args[0].1);
                match (subject, &args[1].0) {
                    (Value::Dist(d), x) => {
                        let x = self.as_array(x.clone(), args[1].1)?;
                        let lp = self.score_dist(&d, &x, args[1].1, span, name == "score");
                        match (name, lp) {
                            ("density", Value::Array(a)) => {
                                let atom = self.b.un(Prim::Exp, a.atom);
                                self.arr(atom, DType::Float, Vec::new())
                            }
                            (_, v) => Some(v),
                        }
                    }
                    (Value::Target(t), Value::Trace(tr)) if name == "log_density" => {
                        let (_, lp) = self.score_target(&t, tr, span)?;
                        Some(Value::Array(lp))
                    }
                    (Value::Program(g), Value::Trace(tr)) if name == "log_density" => {
                        let t = crate::value::TargetVal { span: g.span, program: *g, given: Vec::new() };
                        let (_, lp) = self.score_target(&t, tr, span)?;
                        Some(Value::Array(lp))
                    }
                    (v, x) => Some(
                        self.fail(
                            Diagnostic::error(
                                codes::WRONG_TYPE,
                                format!("`{name}` takes a distribution and a value, or a program and a trace"),
                            )
                            .label(args[0].1, format!("this is {}", v.describe()))
                            .label(args[1].1, format!("this is {}", x.describe())),
                        ),
                    ),
                }
            }
            "cdf" => {
                self.count(name, args, 2, 2, span)?;
                match self.applied(args[0].0.clone(), args[0].1) {
                    Value::Dist(d) => {
                        let x = self.real_array(&args[1])?;
                        self.cdf(&d, &x, args[1].1, span).map(Value::Array)
                    }
                    v => Some(
                        self.fail(
                            Diagnostic::error(codes::WRONG_TYPE, "`cdf` needs a distribution")
                                .label(args[0].1, format!("this is {}", v.describe())),
                        ),
                    ),
                }
            }
            "kl" => {
                self.count(name, args, 2, 2, span)?;
                self.kl(args, span)
            }
            "expected_log_weight" => {
                self.count(name, args, 3, 3, span)?;
                self.expected_log_weight(args, span)
            }
            "sim" => {
                self.count(name, args, 1, 1, span)?;
                match self.applied(args[0].0.clone(), args[0].1) {
                    Value::Program(g) => Some(self.sim(&g, span)),
                    Value::Error => None,
                    v => Some(
                        self.fail(
                            Diagnostic::error(codes::WRONG_TYPE, "`sim` needs a generative program")
                                .label(args[0].1, format!("this is {}", v.describe()))
                                .note("a target can't be simulated: its posterior is what inference approximates"),
                        ),
                    ),
                }
            }
            "restrict" => {
                self.count(name, args, 2, 2, span)?;
                let of = self.applied(args[1].0.clone(), args[1].1);
                let (Value::Trace(t), Some(p)) = (&args[0].0, as_target(&of)) else {
                    return Some(
                        self.fail(
                            Diagnostic::error(codes::WRONG_TYPE, "`restrict` takes a trace and a program or target")
                                .label(args[0].1, format!("this is {}", args[0].0.describe()))
                                .label(args[1].1, format!("this is {}", of.describe())),
                        ),
                    );
                };
                let open: Vec<String> = self.latents(&p).into_iter().map(|c| c.addr).collect();
                let entries = t.entries.iter().filter(|e| open.contains(&e.addr)).cloned().collect();
                Some(Value::Trace(TraceVal { entries, ..t.clone() }))
            }
            "path" => {
                self.count(name, args, 1, 1, span)?;
                match &args[0].0 {
                    Value::Dist(d) => Some(self.draw(d, span, true)),
                    v => {
                        let d = Diagnostic::error(codes::WRONG_TYPE, "`path` needs a distribution")
                            .label(args[0].1, format!("this is {}", v.describe()));
                        Some(self.fail(d))
                    }
                }
            }
            "fresh" => {
                self.count(name, args, 1, 1, span)?;
                match args[0].0 {
                    Value::Continuation { .. } => Some(Value::Continuation { fresh: true }),
                    _ => Some(self.fail(
                        Diagnostic::error(codes::WRONG_TYPE, "`fresh` needs a strategy's continuation").label(span, "here"),
                    )),
                }
            }
            "support" => {
                self.count(name, args, 1, 1, span)?;
                match &args[0].0 {
                    Value::Address { target, index } => {
                        let c = self.latents(target)[*index].clone();
                        Some(Value::Support {
                            support: c.support,
                            dims: Some(c.ty.shape.iter().map(|n| Dim::from(*n)).collect()),
                        })
                    }
                    Value::Dist(d) => {
                        let inst = self.s.module.dist(d.dist);
                        let dims = d.batch.iter().cloned().chain(inst.event.shape.iter().map(|n| Dim::from(*n))).collect();
                        Some(Value::Support { support: inst.support.clone(), dims: Some(dims) })
                    }
                    v => {
                        let d = Diagnostic::error(codes::WRONG_TYPE, "`support` needs an address or a distribution")
                            .label(args[0].1, format!("this is {}", v.describe()));
                        Some(self.fail(d))
                    }
                }
            }
            "dim" => {
                self.count(name, args, 1, 1, span)?;
                let Value::Address { target, index } = &args[0].0 else {
                    let d = Diagnostic::error(codes::WRONG_TYPE, "`dim` needs an address of a loop over latents")
                        .label(args[0].1, "here");
                    return Some(self.fail(d));
                };
                let c = self.latents(target)[*index].clone();
                match crate::bijectors::free_size(&c.support, &c.ty.shape) {
                    Some(n) => Some(Value::Array(Arr::lit(Lit::Int(n as i64)))),
                    None => {
                        let help = if c.support.is_discrete() {
                            "write a guide in which this choice is drawn from a discrete distribution"
                        } else {
                            "write a guide for this choice"
                        };
                        Some(
                            self.fail(
                                Diagnostic::error(
                                    codes::NO_BIJECTOR,
                                    format!("`{}` has no unconstrained space: its support is {}", c.addr, c.support),
                                )
                                .label(c.span, "chosen here")
                                .label(span, "needed here")
                                .help(help),
                            ),
                        )
                    }
                }
            }
            "constrain" => {
                self.count(name, args, 2, 2, span)?;
                match (&args[0].0, &args[1].0) {
                    (Value::Dist(d), Value::Support { support, dims }) => {
                        // A support without an address: the distribution's own sizes.
                        let dims = dims.clone().unwrap_or_else(|| {
                            let mut own = d.batch.clone();
                            if let (Support::Simplex, Some(last)) = (support, own.last_mut()) {
                                *last = Dim::from(last.n + 1);
                            }
                            own
                        });
                        Some(self.constrain_dist(d, support, &dims, span))
                    }
                    (a, b) => {
                        let d = Diagnostic::error(codes::WRONG_TYPE, "`constrain` takes a distribution and a support")
                            .label(args[0].1, format!("this is {}", a.describe()))
                            .label(args[1].1, format!("this is {}", b.describe()))
                            .help("`constrain(normal(0, 1), positive)`");
                        Some(self.fail(d))
                    }
                }
            }
            "fitting" => {
                self.count(name, args, 0, 0, span)?;
                Some(Value::Array(Arr::lit(Lit::Bool(self.s.fitting))))
            }
            "noise" => {
                self.count(name, args, 1, 2, span)?;
                let Value::Dist(d) = &args[0].0 else {
                    return Some(
                        self.fail(
                            Diagnostic::error(codes::WRONG_TYPE, "`noise` needs a distribution")
                                .label(args[0].1, format!("this is {}", args[0].0.describe())),
                        ),
                    );
                };
                let like = match args.get(1) {
                    Some((v, at)) => self.as_array(v.clone(), *at)?.dims,
                    None => Vec::new(),
                };
                self.noise_over(d, &like, span).map(Value::Array)
            }
            "init" => Some(
                self.fail(
                    Diagnostic::error(codes::WRONG_PLACE, "`init` stands alone after `=` of a parameter in a loop over latents")
                        .label(span, "here"),
                ),
            ),
            "latents" | "minibatch" => Some(self.fail(
                Diagnostic::error(codes::WRONG_PLACE, format!("`{name}` stands only after `in` of a loop")).label(span, "here"),
            )),
            _ => self.random(name, args, span),
        }
    }

    fn axis(&mut self, a: &Arr, arg: &Argument) -> Option<usize> {
        let k = self.known_size(arg)?;
        if k.n >= a.dims.len() {
            self.report(
                Diagnostic::error(codes::INDEX_RANGE, format!("there is no axis {}", k.n))
                    .label(arg.1, format!("the array has type `{}`", a.show())),
            );
            return None;
        }
        Some(k.n)
    }

    /// Draws of the run-time, in `sample` programs.
    fn random(&mut self, name: &str, args: &[Argument], span: Span) -> Option<Value> {
        let (kind, n) = match name {
            "random_uniform" => (RngKind::Uniform, 0),
            "random_normal" => (RngKind::Normal, 0),
            "random_gamma" => (RngKind::Gamma, 1),
            "random_poisson" => (RngKind::Poisson, 1),
            "random_binomial" => (RngKind::Binomial, 2),
            _ => (RngKind::Categorical, 1),
        };
        self.count(name, args, n, n, span)?;
        let mut atoms = Vec::new();
        for (i, arg) in args.iter().enumerate() {
            let a = self.as_array(arg.0.clone(), arg.1)?;
            let a = if kind == RngKind::Binomial && i == 0 { a } else { self.as_real(a, arg.1)? };
            self.ranks(name, &a, usize::from(kind == RngKind::Categorical), arg.1)?;
            atoms.push(a.atom);
        }
        let (lanes, times) = self.draw_path();
        self.draws += 1;
        let r = DetRandom { kind, args: atoms, site: self.draws, lanes, times, shape: Vec::new() };
        let Some(r) = S::draw(r) else {
            self.report(
                Diagnostic::error(codes::WRONG_PLACE, format!("`{name}` stands only in `sample` programs of distributions"))
                    .label(span, format!("in {}", S::PLACE))
                    .help("a choice is written `x ~ normal(0, 1)`; a strategy draws with `draw normal(0, 1)`"),
            );
            return None;
        };
        let ty = Ty::new(kind.dtype(), Vec::new());
        let atom = self.b.emit1(Op::Random(r), "u", ty.clone());
        let support = match kind {
            RngKind::Uniform => Some(Support::UNIT),
            RngKind::Gamma => Some(Support::POSITIVE),
            _ => None,
        };
        Some(Value::Array(Arr { support, ..Arr::from_ty(atom, &ty) }))
    }
}

/// A program without given values, or a target.
fn as_target(v: &Value) -> Option<TargetVal> {
    match v {
        Value::Program(g) => Some(TargetVal { span: g.span, program: (**g).clone(), given: Vec::new() }),
        Value::Target(t) => Some((**t).clone()),
        _ => None,
    }
}
