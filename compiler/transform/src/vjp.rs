//! Reverse mode: gradients as programs.
//!
//! in:    `Det`, verified, without `map` and `call` where derivatives flow (after batching and inlining)
//! out:   `Det`, the same function with the gradient of one result as further results
//! keeps: spans, the original statements and results, in order
//!
//! Write `x'` for the cotangent of `x`; a variable used twice receives two contributions, which are added.
//! The statements run as before, then, from the last one to the first:
//!
//! ```text
//!   y = prim(x..)               x' += the row's adjoint, summed over all elements for a scalar operand of an array
//!   y = broadcast(x)            x' += sum of y' over the new axes;      y = sum(x): x' += broadcast(y')
//!   y = prod(x)                 x' += y' * (product of those before) * (product of those behind), so zeros are safe
//!   y = max(x), min(x)          x' += y' shared equally between the elements that attain it
//!   y = dot(a, b)               a' += dot(y', b) over b's free axes;  b' += dot(a, y') over a's free axes
//!   y = transpose, reshape, slice, pad, concat, reverse, gather, scatter_add, cumsum:  the transposed linear map
//!   y = solve(l, b)             b' += s = solve(l', y');  l' += tril(-s y')  (with y, s exchanged if l is transposed)
//!   l = cholesky(a)             a' += (s + s') / 2,  s = l^-T phi(l^T l') l^-1,  phi: lower triangle, diagonal halved
//!   ys = if c { s } { t }       vs' += if c { s; s reversed } { t; t reversed }      vs: what the branches capture
//!   scan carry c, xs x          stacks each iteration's c, and a scan the other way recomputes the body, carries c' and
//!                               the cotangents of what the body captures, and stacks x'
//!   stop, random, argmax, int and bool values:  nothing flows
//! ```
//!
//! Only statements between the chosen parameters and the chosen result take part; no zero is computed for the others.
//! In straight lines and around loops every value stays live for the reverse sweep; inside branches and loop bodies
//! values are computed again. Output is `Det` without new operations, so the pass applies to its own output.

mod activity;
mod control;
mod copy;
mod linear;
mod reverse;

use ppl_core::{Atom, Block, Builder, DType, Det, Func, Var};
use ppl_diag::{Code, Diagnostic, Span};
use reverse::{Cotangents, Reverse};
use std::fmt;

/// Name of the pass.
pub const NAME: &str = "vjp";

/// Why a function has no gradient program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VjpError {
    /// The statement's source.
    pub span: Span,
    /// What has no derivative: a primitive's or operation's name.
    pub what: String,
    /// Why, in the user's words.
    pub reason: String,
}

impl VjpError {
    fn new(span: Span, what: impl Into<String>, reason: impl Into<String>) -> VjpError {
        VjpError { span, what: what.into(), reason: reason.into() }
    }

    /// The error as the user sees it.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::error(Code("E0460"), format!("no gradient flows through `{}`", self.what))
            .label(self.span, self.reason.clone())
            .help("detach it with `stop(..)` where the gradient is not wanted, or draw the choice by a strategy that needs none")
    }
}

impl fmt::Display for VjpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no gradient flows through `{}`: {}", self.what, self.reason)
    }
}

impl std::error::Error for VjpError {}

/// `func` with the gradient of its real scalar result number `result` with respect to each of the parameters at
/// positions `wrt`, as further results behind its own, each of its parameter's type.
///
/// # Errors
/// Where a derivative is asked of something that has none; see [`VjpError`].
pub fn vjp(func: &Func<Det>, wrt: &[usize], result: usize) -> Result<Func<Det>, VjpError> {
    let seed = result_atom(func, result)?;
    if func.atom_ty(seed) != ppl_core::Ty::FLOAT {
        return Err(VjpError::new(func.span, &func.name, "only a real scalar has a gradient"));
    }
    build(func.clone(), wrt, &[(seed, Atom::float(1.0))])
}

/// `func` with the cotangents of the parameters at positions `wrt` as further results, given cotangents of the results
/// numbered `results` as further parameters (in this order, each of its result's type).
///
/// # Errors
/// Where a derivative is asked of something that has none; see [`VjpError`].
pub fn pullback(func: &Func<Det>, wrt: &[usize], results: &[usize]) -> Result<Func<Det>, VjpError> {
    let mut func = func.clone();
    let mut seeds = Vec::new();
    for r in results {
        let y = result_atom(&func, *r)?;
        let ty = func.atom_ty(y);
        if ty.dtype != DType::Float {
            return Err(VjpError::new(func.span, &func.name, "only real results have cotangents"));
        }
        let ct = func.new_var("ct", ty);
        func.params.push(ct);
        seeds.push((y, Atom::Var(ct)));
    }
    build(func, wrt, &seeds)
}

fn result_atom(func: &Func<Det>, result: usize) -> Result<Atom, VjpError> {
    let found = func.body.results.get(result).copied();
    found.ok_or_else(|| VjpError::new(func.span, &func.name, format!("it has no result number {result}")))
}

fn build(mut func: Func<Det>, wrt: &[usize], seeds: &[(Atom, Atom)]) -> Result<Func<Det>, VjpError> {
    let mut params: Vec<Var> = Vec::with_capacity(wrt.len());
    for i in wrt {
        match func.params.get(*i) {
            Some(v) if func.ty(*v).dtype == DType::Float => params.push(*v),
            Some(v) => {
                let name = func.vars[v.index()].name.clone();
                return Err(VjpError::new(func.span, name, "only real parameters have gradients"));
            }
            None => return Err(VjpError::new(func.span, &func.name, format!("it has no parameter number {i}"))),
        }
    }
    let mut body = std::mem::take(&mut func.body);
    let active = activity::active(&func, &body, &params);
    let mut pass = Reverse { b: Builder::over(func), active };
    let mut cts = Cotangents::new();
    for (y, ct) in seeds {
        pass.accumulate(&mut cts, *y, *ct);
    }
    pass.block(&mut body.stmts, &mut cts)?;
    for v in &params {
        let g = match cts.get(v) {
            Some(ct) => *ct,
            None => pass.zeros(*v),
        };
        body.results.push(g);
    }
    let (mut func, reverse) = pass.b.into_parts();
    body.stmts.extend(reverse);
    copy::prune(&mut body);
    func.body = Block { stmts: body.stmts, results: body.results };
    Ok(func)
}
