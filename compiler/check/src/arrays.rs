//! Operations on arrays: promotion, broadcasting, elementwise primitives, indexing, reductions.

use crate::codes;
use crate::func::FnElab;
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, show_ty};
use ppl_core::{Atom, DType, Elem, Lit, Op, Prim, ReduceOp, Ty};
use ppl_diag::{Diagnostic, Span};
use std::rc::Rc;

impl<S: ElabStage> FnElab<'_, S> {
    /// `a` as a real array; ints are converted, truth values are not.
    pub(crate) fn as_real(&mut self, a: Arr, span: Span) -> Option<Arr> {
        match (a.dtype, a.konst) {
            (DType::Float, _) => Some(a),
            (DType::Int, Some(Lit::Int(i))) => Some(Arr::lit(Lit::Float(i as f64))),
            (DType::Int, _) => {
                let atom = self.b.prim(Prim::ToReal, &[a.atom]);
                Some(Arr { atom, dtype: DType::Float, konst: None, ..a })
            }
            (DType::Bool, _) => {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, "a number is needed here, this is true or false")
                        .label(span, format!("has type `{}`", a.show()))
                        .help("write `real(..)` to use 0 and 1, or `if .. { } else { }`"),
                );
                None
            }
        }
    }

    /// Applies an elementwise primitive. Ints among reals are converted; scalars broadcast; other shapes must agree.
    pub(crate) fn elementwise(&mut self, prim: Prim, mut args: Vec<Arr>, spans: &[Span], span: Span) -> Option<Arr> {
        let sig = prim.sig();
        if args.len() != sig.params.len() {
            let names: Vec<&str> = sig.params.iter().map(|p| p.name.as_str()).collect();
            self.report(
                Diagnostic::error(
                    codes::WRONG_ARGUMENTS,
                    format!("`{}` takes {} argument(s), here are {}", prim.name(), sig.params.len(), args.len()),
                )
                .label(span, format!("signature: {}({})", prim.name(), names.join(", "))),
            );
            return None;
        }
        let any_real = args.iter().any(|a| a.dtype == DType::Float);
        for (i, p) in sig.params.iter().enumerate() {
            let at = spans.get(i).copied().unwrap_or(span);
            let a = args[i].clone();
            let wrong = match p.elem {
                Elem::Real => {
                    args[i] = self.as_real(a, at)?;
                    continue;
                }
                Elem::Num | Elem::Any if any_real && a.dtype == DType::Int => {
                    args[i] = self.as_real(a, at)?;
                    continue;
                }
                Elem::Num => (a.dtype == DType::Bool).then_some("a number"),
                Elem::Int => (a.dtype != DType::Int).then_some("an int"),
                Elem::Bool => (a.dtype != DType::Bool).then_some("true or false"),
                Elem::Any => None,
            };
            if let Some(needed) = wrong {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, format!("`{}` needs {needed} here", prim.name()))
                        .label(at, format!("has type `{}`", a.show())),
                );
                return None;
            }
        }
        let dtypes: Vec<DType> = args.iter().map(|a| a.dtype).collect();
        let Some(dtype) = prim.result_dtype(&dtypes) else {
            let tys: Vec<String> = args.iter().map(|a| format!("`{}`", a.show())).collect();
            self.report(
                Diagnostic::error(codes::WRONG_TYPE, format!("`{}` can't combine {}", prim.name(), tys.join(" and ")))
                    .label(span, "here"),
            );
            return None;
        };
        let dims = self.broadcast_dims(&args, spans, span)?;
        self.check_estimates(prim, &args, spans, span)?;
        if let Some(k) = fold(prim, &args) {
            return Some(Arr { size_name: fold_name(prim, &args), ..Arr::lit(k) });
        }
        let atoms: Vec<Atom> = args.iter().map(|a| a.atom).collect();
        let atom = self.b.emit1(Op::Prim(prim, atoms), prim.name(), Ty::new(dtype, dims.iter().map(|d| d.n).collect::<Vec<_>>()));
        let estimate = args.iter().any(|a| a.estimate);
        let layer = args.iter().find_map(|a| a.layer.clone());
        Some(Arr { estimate, layer, ..Arr::new(atom, dtype, dims) })
    }

    /// The common sizes of operands: equal, or scalars.
    pub(crate) fn broadcast_dims(&mut self, args: &[Arr], spans: &[Span], span: Span) -> Option<Vec<Dim>> {
        let mut shaped: Option<(usize, &Arr)> = None;
        for (i, a) in args.iter().enumerate() {
            if a.is_scalar() {
                continue;
            }
            match shaped {
                None => shaped = Some((i, a)),
                Some((j, first)) if first.dims != a.dims => {
                    let at = |k: usize| spans.get(k).copied().unwrap_or(span);
                    let mut d = Diagnostic::error(codes::SHAPES_DISAGREE, "these shapes disagree")
                        .label(at(i), format!("has type `{}`", a.show()))
                        .label(at(j), format!("has type `{}`", first.show()));
                    d = d.note("scalars broadcast; arrays combine element by element only where all sizes are equal");
                    self.report(d);
                    return None;
                }
                Some((j, first)) => {
                    // Prefer the array whose sizes have names.
                    if first.dims.iter().all(|d| d.name.is_none()) {
                        shaped = Some((i, a));
                    } else {
                        shaped = Some((j, first));
                    }
                }
            }
        }
        Some(shaped.map(|(_, a)| a.dims.clone()).unwrap_or_default())
    }

    /// `a` repeated along `outer` new leading axes.
    pub(crate) fn lift(&mut self, a: &Arr, outer: &[Dim]) -> Arr {
        if outer.is_empty() {
            return a.clone();
        }
        let dims: Vec<Dim> = outer.iter().chain(&a.dims).cloned().collect();
        let shape: Vec<usize> = dims.iter().map(|d| d.n).collect();
        let axes: Vec<usize> = (outer.len()..dims.len()).collect();
        let atom = self.b.broadcast(a.atom, &shape, &axes);
        Arr { dims, konst: None, atom, ..a.clone() }
    }

    /// A scalar or array as exactly `dims`: scalars are repeated.
    pub(crate) fn fill(&mut self, a: &Arr, dims: &[Dim]) -> Option<Arr> {
        if a.dims == dims {
            return Some(a.clone());
        }
        a.is_scalar().then(|| self.lift(a, dims))
    }

    /// Sum (product, ..) over all axes.
    pub(crate) fn reduce_all(&mut self, op: ReduceOp, a: &Arr) -> Arr {
        let axes: Vec<usize> = (0..a.dims.len()).collect();
        let atom = self.b.reduce(op, a.atom, &axes);
        self.for_the_plate(a, &axes, Arr { estimate: a.estimate, ..Arr::new(atom, a.dtype, Vec::new()) })
    }

    /// A sum over these axes: one over a minibatch is scaled, and estimates the sum over the plate.
    pub(crate) fn for_the_plate(&mut self, a: &Arr, axes: &[usize], sum: Arr) -> Arr {
        let of: Vec<&Dim> = axes.iter().filter_map(|k| a.dims.get(*k)).filter(|d| d.of.is_some()).collect();
        if of.is_empty() {
            return sum;
        }
        let scale: f64 = of.iter().map(|d| d.whole() as f64 / d.n.max(1) as f64).product();
        let real = if sum.dtype == DType::Float { sum.atom } else { self.b.prim(Prim::ToReal, &[sum.atom]) };
        let shape = sum.shape();
        let atom = self.b.emit1(Op::Prim(Prim::Mul, vec![real, Atom::float(scale)]), "scaled", Ty::float(shape));
        Arr { estimate: true, ..Arr::new(atom, DType::Float, sum.dims) }
    }

    /// Refuses an array with one element for each datum of a minibatch where it is not summed; true if it is one.
    pub(crate) fn refuse_minibatch(&mut self, a: &Arr, what: &str, span: Span) -> bool {
        let Some(d) = a.dims.iter().find(|d| d.of.is_some()) else { return false };
        let d = d.name.as_deref().unwrap_or("a minibatch").to_string();
        self.report(
            Diagnostic::error(codes::NONLINEAR_ESTIMATE, format!("{what} can't be taken of an array over {d}"))
                .label(span, format!("has type `{}`: a random part of the plate", a.show()))
                .note("its sum and its mean are unbiased for those of the whole plate, nothing else is")
                .help("use `sum(..)` or `mean(..)`, or loop over the whole plate"),
        );
        true
    }

    /// Element `index` along the first axis.
    pub(crate) fn element(&mut self, a: &Arr, index: &Arr, span: Span) -> Option<Arr> {
        self.check_index(a, index, span)?;
        let atom = self.b.gather(a.atom, index.atom, 0);
        let dims: Vec<Dim> = index.dims.iter().chain(&a.dims[1..]).cloned().collect();
        Some(Arr { support: elementwise_support(a), estimate: a.estimate, ..Arr::new(atom, a.dtype, dims) })
    }

    fn check_index(&mut self, a: &Arr, index: &Arr, span: Span) -> Option<()> {
        if a.dims.first().is_some_and(|d| d.of.is_some()) && self.refuse_minibatch(a, "an element", span) {
            return None;
        }
        if index.dtype != DType::Int {
            self.report(
                Diagnostic::error(codes::WRONG_TYPE, "an index must be an int")
                    .label(span, format!("has type `{}`", index.show())),
            );
            return None;
        }
        if let (Some(i), Some(first)) = (index.const_int(), a.dims.first())
            && (i < 0 || i as usize >= first.n)
            && (first.n < crate::value::FIRST_STAND_IN || i < 0)
        {
            self.report(
                Diagnostic::error(codes::INDEX_RANGE, format!("index {i} is out of range"))
                    .label(span, format!("the array has type `{}`: indices go from 0 to {}", a.show(), first.n as i64 - 1)),
            );
            return None;
        }
        Some(())
    }

    /// `len` elements from `start` along the first axis.
    pub(crate) fn range(&mut self, a: &Arr, start: usize, len: Dim, axis: usize) -> Arr {
        let atom = self.b.slice(a.atom, axis, start, len.n);
        let mut dims = a.dims.clone();
        dims[axis] = len;
        Arr { support: elementwise_support(a), estimate: a.estimate, ..Arr::new(atom, a.dtype, dims) }
    }

    /// Says that `found` was expected to have type `dtype` and sizes `dims`.
    pub(crate) fn wrong_shape(&mut self, what: &str, dtype: DType, dims: &[Dim], found: &Arr, span: Span, declared: Span) {
        let code = if found.dtype == dtype { codes::SHAPES_DISAGREE } else { codes::WRONG_TYPE };
        self.report(
            Diagnostic::error(code, format!("{what} has type `{}`, this has type `{}`", show_ty(dtype, dims), found.show()))
                .label(span, format!("`{}`", found.show()))
                .label(declared, format!("declared `{}`", show_ty(dtype, dims))),
        );
    }
}

/// The support of an element or slice of an array, where elements have one of their own.
fn elementwise_support(a: &Arr) -> Option<ppl_core::Support> {
    a.support.clone().filter(|s| matches!(s, ppl_core::Support::Interval { .. } | ppl_core::Support::Integers { .. }))
}

/// Folds arithmetic on known scalars, so that sizes can be computed.
fn fold(prim: Prim, args: &[Arr]) -> Option<Lit> {
    let k: Vec<Lit> = args.iter().map(|a| a.konst).collect::<Option<_>>()?;
    Some(match (prim, k.as_slice()) {
        (Prim::Add, [Lit::Int(a), Lit::Int(b)]) => Lit::Int(a.checked_add(*b)?),
        (Prim::Sub, [Lit::Int(a), Lit::Int(b)]) => Lit::Int(a.checked_sub(*b)?),
        (Prim::Mul, [Lit::Int(a), Lit::Int(b)]) => Lit::Int(a.checked_mul(*b)?),
        (Prim::Min, [Lit::Int(a), Lit::Int(b)]) => Lit::Int(*a.min(b)),
        (Prim::Max, [Lit::Int(a), Lit::Int(b)]) => Lit::Int(*a.max(b)),
        (Prim::IntDiv, [Lit::Int(a), Lit::Int(b)]) => Lit::Int(a.checked_div_euclid(*b)?),
        (Prim::Rem, [Lit::Int(a), Lit::Int(b)]) => Lit::Int(a.checked_rem_euclid(*b)?),
        (Prim::Neg, [Lit::Int(a)]) => Lit::Int(a.checked_neg()?),
        (Prim::Add, [Lit::Float(a), Lit::Float(b)]) => Lit::Float(a + b),
        (Prim::Sub, [Lit::Float(a), Lit::Float(b)]) => Lit::Float(a - b),
        (Prim::Mul, [Lit::Float(a), Lit::Float(b)]) => Lit::Float(a * b),
        (Prim::Div, [Lit::Float(a), Lit::Float(b)]) => Lit::Float(a / b),
        (Prim::Neg, [Lit::Float(a)]) => Lit::Float(-a),
        (Prim::ToReal, [Lit::Int(a)]) => Lit::Float(*a as f64),
        (Prim::Not, [Lit::Bool(a)]) => Lit::Bool(!a),
        (Prim::And, [Lit::Bool(a), Lit::Bool(b)]) => Lit::Bool(*a && *b),
        (Prim::Or, [Lit::Bool(a), Lit::Bool(b)]) => Lit::Bool(*a || *b),
        (p, [Lit::Int(a), Lit::Int(b)]) => Lit::Bool(compare(p, a.cmp(b))?),
        (p, [Lit::Float(a), Lit::Float(b)]) => Lit::Bool(compare(p, a.partial_cmp(b)?)?),
        _ => return None,
    })
}

fn compare(prim: Prim, o: std::cmp::Ordering) -> Option<bool> {
    Some(match prim {
        Prim::Lt => o.is_lt(),
        Prim::Le => o.is_le(),
        Prim::Gt => o.is_gt(),
        Prim::Ge => o.is_ge(),
        Prim::Eq => o.is_eq(),
        Prim::Ne => o.is_ne(),
        _ => return None,
    })
}

fn fold_name(prim: Prim, args: &[Arr]) -> Option<Rc<str>> {
    let symbol = match prim {
        Prim::Add => "+",
        Prim::Sub => "-",
        Prim::Mul => "*",
        _ => return None,
    };
    let part = |a: &Arr| a.size_name.as_deref().map(str::to_string).or_else(|| a.const_int().map(|i| i.to_string()));
    args.iter()
        .any(|a| a.size_name.is_some())
        .then(|| Some(format!("{} {symbol} {}", part(args.first()?)?, part(args.get(1)?)?).into()))?
}
