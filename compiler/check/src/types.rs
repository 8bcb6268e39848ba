//! Types and supports as written.

use crate::codes;
use crate::func::FnElab;
use crate::session::Decl;
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, Value, show_ty};
use ppl_core::{DType, Support};
use ppl_diag::{Diagnostic, Span, did_you_mean};
use ppl_syntax::ast::{Expr, ExprKind, Type, TypeKind};

/// A written type, its sizes not evaluated yet.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// An array of numbers or truth values.
    Array { dtype: DType, support: Support, dims: Vec<Expr>, missing: bool },
    /// `gen`
    Gen,
    /// `target`
    Target,
    /// `trace of g`
    Trace,
    /// `fn`, `objective`: a declared function, not applied.
    Function,
    /// `(real, int)`
    Tuple(Vec<Type>),
}

/// Names of types, for suggestions.
pub(crate) const TYPE_NAMES: &[&str] = &[
    "real",
    "int",
    "bool",
    "positive",
    "nonnegative",
    "unit",
    "interval",
    "integers",
    "natural",
    "simplex",
    "ordered",
    "corr_cholesky",
    "gen",
    "target",
    "estimate",
    "point",
    "trace",
    "fn",
    "objective",
];

impl<S: ElabStage> FnElab<'_, S> {
    /// What a written type means. Bounds of intervals are evaluated here; bounds that are not known while compiling make the support dynamic.
    pub(crate) fn written(&mut self, ty: &Type) -> Option<Written> {
        match &ty.kind {
            TypeKind::Tuple(parts) => Some(Written::Tuple(parts.clone())),
            TypeKind::TraceOf(_) => Some(Written::Trace),
            TypeKind::Array { element, dims } => match self.written(element)? {
                Written::Array { dtype, support, dims: inner, missing } => {
                    Some(Written::Array { dtype, support, dims: dims.iter().chain(&inner).cloned().collect(), missing })
                }
                _ => {
                    self.report(
                        Diagnostic::error(codes::UNKNOWN_TYPE, "only numbers and truth values form arrays")
                            .label(ty.span, "here"),
                    );
                    None
                }
            },
            TypeKind::Named { name, args, missing, dims } => {
                let array = |dtype, support| Some(Written::Array { dtype, support, dims: dims.clone(), missing: *missing });
                match name.as_str() {
                    "real" | "estimate" => array(DType::Float, Support::Real),
                    "positive" | "nonnegative" => array(DType::Float, Support::POSITIVE),
                    "unit" => array(DType::Float, Support::UNIT),
                    "simplex" => array(DType::Float, Support::Simplex),
                    "ordered" => array(DType::Float, Support::Ordered),
                    "corr_cholesky" => array(DType::Float, Support::CorrCholesky),
                    "point" => array(DType::Float, Support::Point),
                    "int" => array(DType::Int, Support::Integers { lo: i64::MIN, hi: None }),
                    "natural" => array(DType::Int, Support::Integers { lo: 0, hi: None }),
                    "bool" => array(DType::Bool, Support::Boolean),
                    "interval" => {
                        let bounds: Vec<Option<f64>> = args.iter().map(|e| self.const_real(e)).collect();
                        match bounds.as_slice() {
                            [lo, hi] => {
                                let open = |v: Option<f64>| v.filter(|x| x.is_finite());
                                let support = match (lo, hi) {
                                    (Some(lo), Some(hi)) => Support::Interval { lo: open(Some(*lo)), hi: open(Some(*hi)) },
                                    _ => Support::DynamicInterval,
                                };
                                array(DType::Float, support)
                            }
                            _ => {
                                self.report(
                                    Diagnostic::error(codes::WRONG_ARGUMENTS, "an interval has two bounds")
                                        .label(ty.span, "here")
                                        .help("write `interval(0, 100)`"),
                                );
                                None
                            }
                        }
                    }
                    "integers" => {
                        let bounds: Vec<Option<i64>> = args.iter().map(|e| self.const_size(e)).collect();
                        let support = match bounds.as_slice() {
                            [Some(lo), Some(hi)] => Support::Integers { lo: *lo, hi: Some(*hi) },
                            [Some(lo)] => Support::Integers { lo: *lo, hi: None },
                            _ => Support::DynamicIntegers,
                        };
                        array(DType::Int, support)
                    }
                    "gen" => Some(Written::Gen),
                    "target" => Some(Written::Target),
                    "trace" => Some(Written::Trace),
                    "fn" | "objective" => Some(Written::Function),
                    other => {
                        let mut d = Diagnostic::error(codes::UNKNOWN_TYPE, format!("there is no type `{other}`"))
                            .label(name.span, "not a type");
                        if let Some(near) = did_you_mean(other, TYPE_NAMES.iter().copied()) {
                            d = d.help(format!("did you mean `{near}`?")).edit(name.span, near);
                        }
                        self.report(d);
                        None
                    }
                }
            }
        }
    }

    /// A real expression's value, where it is known while compiling. No diagnostics.
    fn const_real(&mut self, e: &Expr) -> Option<f64> {
        match self.quietly(|me| me.expr(e)) {
            Some(Value::Array(a)) => match a.konst? {
                ppl_core::Lit::Float(v) => Some(v),
                ppl_core::Lit::Int(i) => Some(i as f64),
                ppl_core::Lit::Bool(_) => None,
            },
            _ => None,
        }
    }

    fn const_size(&mut self, e: &Expr) -> Option<i64> {
        match self.quietly(|me| me.expr(e)) {
            Some(Value::Array(a)) => a.const_int(),
            _ => None,
        }
    }

    /// Runs `f` without keeping its diagnostics; `None` if there were errors.
    pub(crate) fn quietly<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let before = self.s.diagnostics.len();
        let out = f(self);
        let fine = self.s.diagnostics.len() == before;
        self.s.diagnostics.truncate(before);
        fine.then_some(out)
    }

    /// A size: an int known while compiling, not negative.
    pub(crate) fn size(&mut self, e: &Expr) -> Option<Dim> {
        let Value::Array(a) = self.expr(e) else {
            return None;
        };
        match a.const_int() {
            Some(n) if n >= 0 => Some(Dim { name: a.size_name, ..Dim::from(n as usize) }),
            Some(n) => {
                self.report(
                    Diagnostic::error(codes::SIZE_NOT_KNOWN, "a size can't be negative").label(e.span, format!("is {n}")),
                );
                None
            }
            None => {
                self.report(
                    Diagnostic::error(codes::SIZE_NOT_KNOWN, "a size must be known before the program runs")
                        .label(e.span, format!("has type `{}` and is computed as the program runs", a.show()))
                        .help("sizes are numbers, `data N: int`, or computed from these"),
                );
                None
            }
        }
    }

    /// Sizes of a declared type against those of a value: names not in scope yet are bound to the value's sizes.
    ///
    /// Returns false (without a report) where they disagree.
    pub(crate) fn match_dims(&mut self, written: &[Expr], dims: &[Dim]) -> Option<bool> {
        if written.len() != dims.len() {
            return Some(false);
        }
        for (e, d) in written.iter().zip(dims) {
            if let ExprKind::Name(id) = &e.kind
                && (if self.s.in_library(id.span) { self.local(id.as_str()) } else { self.lookup_quiet(id.as_str()) }).is_none()
            {
                let name = d.name.clone().unwrap_or_else(|| id.name.to_string().into());
                self.bind(id.as_str(), Value::Array(Arr { size_name: Some(name), ..Arr::lit(ppl_core::Lit::Int(d.n as i64)) }));
                continue;
            }
            if self.size(e)?.n != d.n {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Checks a value against a written type and converts ints to reals. `what` names it in messages.
    pub(crate) fn check_type(&mut self, what: &str, ty: &Type, value: Value, span: Span) -> Value {
        let Some(written) = self.written(ty) else {
            return Value::Error;
        };
        match (written, value) {
            (_, Value::Error) => Value::Error,
            (Written::Array { dtype, support, dims, .. }, Value::Array(a)) => {
                let a = if dtype == DType::Float && a.dtype == DType::Int {
                    match self.as_real(a, span) {
                        Some(a) => a,
                        None => return Value::Error,
                    }
                } else {
                    a
                };
                let fits = match self.match_dims(&dims, &a.dims) {
                    Some(f) => f,
                    None => return Value::Error,
                };
                if !fits || a.dtype != dtype {
                    let wanted: Option<Vec<Dim>> = dims.iter().map(|e| self.size(e)).collect();
                    self.wrong_shape(what, dtype, &wanted.unwrap_or_default(), &a, span, ty.span);
                    return Value::Error;
                }
                if let (Some(ppl_core::Lit::Int(n)), Support::Integers { lo, hi }) = (a.konst, &support)
                    && (n < *lo || hi.is_some_and(|hi| n > hi))
                {
                    let wanted = hi.map_or(format!("at least {lo}"), |hi| format!("from {lo} to {hi}"));
                    return self.fail(
                        Diagnostic::error(codes::WRONG_TYPE, format!("{what} is {wanted}, this is {n}"))
                            .label(span, "here")
                            .label(ty.span, "declared here"),
                    );
                }
                let support = if support == Support::Real { a.support.clone() } else { Some(support) };
                Value::Array(Arr { support, ..a })
            }
            (Written::Gen, v @ Value::Program(_)) => v,
            // One that takes arguments gets them where it is called: a proposal takes a trace.
            (Written::Gen, Value::Decl(id)) if matches!(&*self.s.decl(id), Decl::Gen(c) if !c.params.is_empty()) => {
                Value::Decl(id)
            }
            (Written::Gen, v @ Value::Decl(_)) => self.applied(v, span),
            (Written::Target, v @ Value::Target(_)) => v,
            (Written::Target, Value::Program(g)) => {
                Value::Target(Box::new(crate::value::TargetVal { span: g.span, program: *g, given: Vec::new() }))
            }
            (Written::Target, v @ Value::Decl(_)) => match self.applied(v, span) {
                Value::Program(g) => {
                    Value::Target(Box::new(crate::value::TargetVal { span: g.span, program: *g, given: Vec::new() }))
                }
                _ => Value::Error,
            },
            (Written::Trace, v @ Value::Trace(_)) => v,
            (Written::Function, v @ (Value::Builtin(_) | Value::Function(_))) => v,
            (Written::Function, Value::Decl(id)) if matches!(&*self.s.decl(id), Decl::Fn(_) | Decl::Objective(_)) => {
                Value::Decl(id)
            }
            (Written::Tuple(tys), Value::Tuple(vs)) if tys.len() == vs.len() => {
                Value::Tuple(tys.iter().zip(vs).map(|(t, v)| self.check_type(what, t, v, span)).collect())
            }
            (w, v) => {
                let wanted = match w {
                    Written::Array { dtype, dims, .. } => {
                        format!("an array of type `{}{}`", show_ty(dtype, &[]), if dims.is_empty() { "" } else { "[..]" })
                    }
                    Written::Gen => "a generative program".into(),
                    Written::Target => "a target (a model with the values it is given)".into(),
                    Written::Trace => "a trace".into(),
                    Written::Function => "a function or objective, by its name".into(),
                    Written::Tuple(t) => format!("a tuple of {} values", t.len()),
                };
                self.fail(
                    Diagnostic::error(codes::WRONG_TYPE, format!("{what} is {wanted}, this is {}", v.describe()))
                        .label(span, "here")
                        .label(ty.span, "declared here"),
                )
            }
        }
    }
}
