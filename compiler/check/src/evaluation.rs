//! Expressions that are evaluated at given parameters: estimates, arrays of one estimate for each datum, pictures.
//!
//! ```text
//! elbo, iwelbo(50), sum(..)                an estimate, as the reports of a fit
//! [for n in N { iwelbo(..) }]              with `lanes` below N: the loop runs over `minibatch(N, lanes)`, so that a call computes `lanes` of the
//!                                          elements, whatever N; the indices come as a second result
//! anything else                            one array, computed whole
//! ```

use crate::claims::claim;
use crate::codes;
use crate::entries::{Entry, Reported, done, prepare, show, written_value};
use crate::func::FnElab;
use crate::goals::evaluated;
use crate::minibatch::Minibatch;
use crate::session::Session;
use crate::value::{Arr, Value};
use crate::{Checked, Claim, DataShapes, FitOverrides};
use ppl_core::{DType, Est, Ty};
use ppl_diag::Diagnostic;
use ppl_syntax::ast::{Arg, Expr, ExprKind, File, Fit, For, Ident, Literal, PatternKind};

/// What an expression gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluation {
    /// A number, with as many particles in a call as were asked for.
    Number(Reported),
    /// An array.
    Array(ArrayEvaluation),
}

/// An array, whole or in parts.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayEvaluation {
    /// As written.
    pub name: String,
    /// The elements of a call, then, where it is computed in parts, their indices along the first axis.
    pub entry: Entry,
    /// Type of the whole.
    pub ty: Ty,
    /// As users write it.
    pub shown: String,
    /// The parts: which elements along the first axis a call computes.
    pub parts: Option<Minibatch>,
    /// What an element is an estimate of.
    pub claim: Claim,
}

/// Checks a file and evaluates expressions as its `fit` would: objectives may leave out the target and the guide. `draws` is the number of particles of a
/// number's call, `lanes` the number of elements of an array that one call computes. Nothing for expressions that are wrong.
pub fn elaborate_evaluations(
    library: &[File],
    file: &File,
    shapes: Option<DataShapes>,
    overrides: &FitOverrides,
    expressions: &[Expr],
    (draws, lanes): (usize, usize),
) -> (Checked, Vec<Option<Evaluation>>) {
    let mut s = prepare(library, file, shapes, overrides);
    crate::names::resolve(&mut s, file);
    let none = Fit { model: None, guide: None, goals: Vec::new(), optimizer: None, settings: Vec::new() };
    let fit = s.fits.get(overrides.index).map_or(none, |(f, _)| (**f).clone());
    let guide = overrides.guide.as_ref().or(fit.guide.as_ref()).cloned();
    let out = expressions.iter().map(|e| evaluation(&mut s, &fit, guide.as_ref(), e, draws, lanes)).collect();
    (done(s, None, Vec::new()), out)
}

fn evaluation(s: &mut Session, fit: &Fit, guide: Option<&Expr>, e: &Expr, draws: usize, lanes: usize) -> Option<Evaluation> {
    let name = show(e);
    let mut me = FnElab::<Est>::new(s, "evaluation", 0, true);
    let plate = plate(&mut me, e);
    let value = match &plate {
        Some((f, n)) => {
            let size = if lanes < *n { Some(lanes.max(1)) } else { None };
            let f = Expr::new(e.span, ExprKind::Comprehension(Box::new(in_parts(f, size))));
            me.expr(&f)
        }
        None => written_value(&mut me, fit, guide, e, e.span)?,
    };
    let (value, indices) = match (value, &plate) {
        (Value::Tuple(parts), Some(_)) => match <[Value; 2]>::try_from(parts) {
            Ok([v, Value::Array(i)]) => (v, Some(i)),
            Ok([v, _]) => (v, None),
            Err(_) => return None,
        },
        (v, _) => (v, None),
    };
    let a = match value {
        Value::Array(a) => a,
        Value::Error => return None,
        v => {
            let d = Diagnostic::error(codes::NOT_AN_ESTIMATE, "only numbers and arrays of numbers can be evaluated");
            me.report(d.label(e.span, format!("this is {}", v.describe())));
            return None;
        }
    };
    if plate.is_none() && a.is_scalar() && a.dtype == DType::Float {
        // Elaborated once more, for all its particles.
        let (entry, minibatches) = evaluated(s, fit, guide, e, draws, e.span)?;
        let claim = claim(&s.module, s.module.est(entry.func));
        return Some(Evaluation::Number(Reported { name, entry, minibatches, claim }));
    }
    let parts = match (&plate, a.dims.first().and_then(|d| d.of)) {
        (Some((_, data)), Some(of)) if of == *data => a.dims.first().map(|d| Minibatch { data: *data, size: d.n }),
        _ => None,
    };
    if parts.is_none() && a.dims.iter().any(|d| d.of.is_some()) {
        me.report(
            Diagnostic::error(codes::NOT_AN_ESTIMATE, "an array over a minibatch holds a part of the data only")
                .label(e.span, format!("this is an array, `{}`", a.show()))
                .help("loop over all data: `[for n in N { .. }]`; it is computed part by part"),
        );
        return None;
    }
    let whole: Vec<usize> = a.dims.iter().map(crate::value::Dim::whole).collect();
    let ty = Ty::new(a.dtype, whole);
    let shown = Arr::from_ty(a.atom, &ty).show();
    let mut results = vec![a.atom];
    if let (Some(_), Some(i)) = (parts, &indices) {
        results.push(i.atom);
    }
    let f = me.finish(results, e.span);
    let claim = if a.dtype == DType::Float { claim(&s.module, &f.func) } else { Claim::NONE };
    let entry = Entry { func: s.module.add_est(f.func), inputs: f.captures };
    Some(Evaluation::Array(ArrayEvaluation { name, entry, ty, shown, parts, claim }))
}

/// A comprehension over a size that yields a value each round, and the size: `for n in N`, `0..N`, `minibatch(N, B)`.
fn plate<'e>(me: &mut FnElab<'_, Est>, e: &'e Expr) -> Option<(&'e For, usize)> {
    let ExprKind::Comprehension(f) = &e.kind else { return None };
    if !f.carry.is_empty() || f.body.result.is_none() || !matches!(f.pattern.kind, PatternKind::Name(_)) {
        return None;
    }
    let n = me.quietly(|me| me.size(length(&f.iter)?))??;
    Some((f, n.n))
}

/// The size that a loop runs to, where it is written as one.
fn length(iter: &Expr) -> Option<&Expr> {
    match &iter.kind {
        ExprKind::Range { start, end } => {
            let from_zero = start.as_ref().is_none_or(|s| matches!(s.kind, ExprKind::Literal(Literal::Int(0))));
            end.as_deref().filter(|_| from_zero)
        }
        ExprKind::Call { callee, args } if matches!(&callee.kind, ExprKind::Name(n) if n == "minibatch") => match &args[..] {
            [n, _] => Some(&n.value),
            _ => None,
        },
        ExprKind::Name(_) | ExprKind::Literal(Literal::Int(_)) | ExprKind::Binary(..) => Some(iter),
        _ => None,
    }
}

/// The loop over a minibatch of this size (over all where there is none) that yields each value with its index.
fn in_parts(f: &For, size: Option<usize>) -> For {
    let mut out = f.clone();
    let at = f.iter.span;
    let n = length(&f.iter).unwrap_or(&f.iter).clone();
    out.iter = match size {
        None => n,
        Some(b) => {
            let argument = |value: Expr| Arg { name: None, value };
            let b = Expr::new(at, ExprKind::Literal(Literal::Int(b as i64)));
            let callee = Box::new(Expr::new(at, ExprKind::Name(Ident::new("minibatch", at))));
            Expr::new(at, ExprKind::Call { callee, args: vec![argument(n), argument(b)] })
        }
    };
    if let (PatternKind::Name(index), Some(result)) = (&f.pattern.kind, out.body.result.take()) {
        let index = Expr::new(index.span, ExprKind::Name(index.clone()));
        let span = result.span;
        out.body.result = Some(Box::new(Expr::new(span, ExprKind::Tuple(vec![*result, index]))));
    }
    out
}
