//! Loops that read earlier elements of the choices they make.
//!
//! ```text
//!   for t in a..T { .. y[t - c] .. ; y[t] ~ d }
//!     =  for t in a..T carry (y.1 = y[a - 1], .., y.L = y[a - L]) { .. y.c .. ; y[t] ~ d;  (y[t], y.1, .., y.(L - 1)) }
//! ```
//!
//! `L` is the largest distance that the loop reads back, known from constants and the ranges of inner loops. Where the distance varies, the
//! window `[y.1, .., y.L]` is indexed. Elements before the first round are the data's of that name; a read that reaches
//! before the first of these must stand in a branch on the loop's variable, which keeps the first rounds from it.

use crate::codes;
use crate::func::FnElab;
use crate::session::{Global, TopName};
use crate::stage::ElabStage;
use crate::value::{Dim, Value};
use ppl_core::DType;
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{
    BinaryOp, Block, Carry, Expr, ExprKind, For, Ident, Let, Literal, Pattern, PatternKind, Stmt, StmtKind, UnaryOp,
};
use ppl_syntax::visit::{children_mut, subscripts};
use std::collections::HashMap;

/// Furthest that a loop may read back.
const MAX_LAG: i64 = 256;

/// A choice of the loop's body.
#[derive(Clone, Debug)]
struct Made {
    name: String,
    /// Subscripts up to the loop's own, which comes last.
    upto: Vec<Expr>,
    /// Sizes of the loops inside, for subscripts after it.
    inner: Vec<Expr>,
    /// How far back it is read; 0 if it is not.
    lags: i64,
    /// Furthest read that is not in a branch.
    unguarded: Option<(i64, Span)>,
    first: Option<Span>,
    span: Span,
}

/// Names of loop variables with their smallest and largest values.
type Ranges = HashMap<String, (i64, i64)>;

/// An index as `coefficient * t + [lo, hi]`.
type Affine = (i64, i64, i64);

impl<S: ElabStage> FnElab<'_, S> {
    /// The loop as a scan that carries what it reads back, with the values it carries for that; `None` where it reads nothing back.
    pub(crate) fn with_history(&mut self, f: &For, start: i64) -> Option<Result<(For, Vec<HistoryCarry>), ()>> {
        let PatternKind::Name(var) = &f.pattern.kind else { return None };
        let mut made = Vec::new();
        choices(&f.body, var.as_str(), &mut Vec::new(), &mut made);
        if made.is_empty() {
            return None;
        }
        let mut body = f.body.clone();
        let mut reads = Reads { me: self, var: var.as_str(), made: &mut made, rewrite: false, failed: false };
        reads.block(&mut body, &Ranges::new(), false);
        if reads.failed {
            return Some(Err(()));
        }
        made.retain(|m| m.lags > 0);
        if made.is_empty() {
            return None;
        }
        let mut reads = Reads { me: self, var: var.as_str(), made: &mut made, rewrite: true, failed: false };
        reads.block(&mut body, &Ranges::new(), false);
        let mut carries = Vec::new();
        let complete = made.iter().all(|m| self.first_elements(m, start, &mut carries));
        Some(if complete { Ok((rebuilt(f, body, &made), carries)) } else { Err(()) })
    }

    /// The first values of a choice's carries; false where the first round reads what does not exist.
    fn first_elements(&mut self, m: &Made, start: i64, out: &mut Vec<HistoryCarry>) -> bool {
        let data = match self.s.top(&m.name) {
            Some(TopName::Global(g @ Global::Data(_))) => {
                let info = self.s.global_info(g);
                (info.arr.dims.len() >= m.upto.len()).then_some(info.arr)
            }
            _ => None,
        };
        if let Some((lag, span)) = m.unguarded.filter(|(lag, _)| start - lag < 0 || data.is_none()) {
            let (first, name) = (start - lag, &m.name);
            let d =
                Diagnostic::error(codes::INDEX_RANGE, format!("the first round reads `{name}[{first}]`, which does not exist"))
                    .label(span, format!("reads {lag} back; the loop starts at {start}"))
                    .label(m.span, "drawn here");
            self.report(if data.is_some() {
                d.help(format!("start the loop at {lag}: the elements before are the data's; or read in a branch: `if t >= {lag} {{ .. }}`"))
            } else {
                d.help(format!("read it in a branch, such as `if t >= {lag} {{ {name}[..] }} else {{ 0.0 }}`, or carry the value from a first one"))
            });
            return false;
        }
        for lag in 1..=m.lags {
            let at = start - lag;
            let from_data = at >= 0 && data.is_some();
            let init = if from_data {
                let mut subs = m.upto.clone();
                subs.pop();
                subs.push(int(at, m.span));
                Init::Given(Expr::new(m.span, ExprKind::Index { base: Box::new(name(&m.name, m.span)), subscripts: subs }))
            } else {
                match &data {
                    Some(a) => Init::Typed(a.dtype, a.dims[m.upto.len()..].to_vec()),
                    None => Init::Guessed(m.inner.clone()),
                }
            };
            out.push(HistoryCarry { name: carried(&m.name, lag), init, span: m.span });
        }
        true
    }
}

/// A value carried for reads of earlier elements.
#[derive(Clone, Debug)]
pub(crate) struct HistoryCarry {
    pub(crate) name: String,
    pub(crate) init: Init,
    pub(crate) span: Span,
}

/// What it is before the first round.
#[derive(Clone, Debug)]
pub(crate) enum Init {
    /// An element of the data.
    Given(Expr),
    /// Zeros of this type, never read.
    Typed(DType, Vec<Dim>),
    /// Zeros, never read, of a type not known yet; sizes of the loops inside.
    Guessed(Vec<Expr>),
}

impl HistoryCarry {
    /// The first value as an expression.
    pub(crate) fn expr(&self) -> Expr {
        let zero = |dtype: DType| match dtype {
            DType::Float => Expr::new(self.span, ExprKind::Literal(Literal::Real(0.0))),
            DType::Int => int(0, self.span),
            DType::Bool => Expr::new(self.span, ExprKind::Literal(Literal::Bool(false))),
        };
        let (dtype, sizes) = match &self.init {
            Init::Given(e) => return e.clone(),
            Init::Typed(d, dims) => (*d, dims.iter().map(|d| int(d.n as i64, self.span)).collect()),
            Init::Guessed(sizes) => (DType::Float, sizes.clone()),
        };
        sizes.into_iter().rev().fold(zero(dtype), |inner, n| {
            let f = For {
                span: self.span,
                pattern: Pattern { span: self.span, kind: PatternKind::Wildcard },
                iter: n,
                carry: Vec::new(),
                body: Block { span: self.span, stmts: Vec::new(), result: Some(Box::new(inner)) },
            };
            Expr::new(self.span, ExprKind::Comprehension(Box::new(f)))
        })
    }
}

fn name(n: &str, span: Span) -> Expr {
    Expr::new(span, ExprKind::Name(Ident::new(n, span)))
}

fn int(n: i64, span: Span) -> Expr {
    Expr::new(span, ExprKind::Literal(Literal::Int(n)))
}

fn mentions(e: &mut Expr, n: &str) -> bool {
    is_name(e, n) || children_mut(e).into_iter().any(|c| mentions(c, n))
}

/// No name of the language has a blank.
fn carried(choice: &str, lag: i64) -> String {
    format!("{choice} {lag}")
}

fn is_name(e: &Expr, n: &str) -> bool {
    matches!(&e.kind, ExprKind::Name(id) if id.as_str() == n)
}

/// The loop with its carries, without their first values.
fn rebuilt(f: &For, mut body: Block, made: &[Made]) -> For {
    let span = f.span;
    let mut next: Vec<Expr> = Vec::new();
    match (body.result.take(), f.carry.len()) {
        (None, _) => {}
        (Some(e), 0) => body.stmts.push(Stmt { span: e.span, kind: StmtKind::Expr(*e) }),
        (Some(e), 1) => next.push(*e),
        (Some(e), n) => {
            let names: Vec<Ident> = (0..n).map(|i| Ident::new(format!("next {i}"), e.span)).collect();
            let parts = names.iter().map(|n| Pattern { span: e.span, kind: PatternKind::Name(n.clone()) }).collect();
            let pattern = Pattern { span: e.span, kind: PatternKind::Tuple(parts) };
            let at = e.span;
            body.stmts.push(Stmt { span: at, kind: StmtKind::Let(Let { pattern, ty: None, value: *e }) });
            next.extend(names.into_iter().map(|n| Expr::new(at, ExprKind::Name(n))));
        }
    }
    for m in made {
        let own = ExprKind::Index { base: Box::new(name(&m.name, m.span)), subscripts: m.upto.clone() };
        next.push(Expr::new(m.span, own));
        next.extend((1..m.lags).map(|lag| name(&carried(&m.name, lag), m.span)));
    }
    let result = if next.len() == 1 { next.remove(0) } else { Expr::new(span, ExprKind::Tuple(next)) };
    body.result = Some(Box::new(result));
    For { body, ..f.clone() }
}

/// The choices of a block whose addresses are indexed by `var`.
fn choices(b: &Block, var: &str, inner: &mut Vec<(String, Expr)>, out: &mut Vec<Made>) {
    let mut expr = |e: &Expr, inner: &mut Vec<(String, Expr)>| nested(e, var, inner, out);
    for s in &b.stmts {
        match &s.kind {
            StmtKind::Let(l) => expr(&l.value, inner),
            StmtKind::Expr(e) => expr(e, inner),
            StmtKind::Choice(_) | StmtKind::Param(_) | StmtKind::State(_) | StmtKind::Set { .. } | StmtKind::Report { .. } => {}
            StmtKind::Factor(_) | StmtKind::AlsoMinimize(_) | StmtKind::Error => {}
        }
    }
    if let Some(e) = &b.result {
        expr(e, inner);
    }
    for s in &b.stmts {
        let StmtKind::Choice(c) = &s.kind else { continue };
        let subs = subscripts(&c.address);
        let Some(at) = subs.iter().position(|s| is_name(s, var)) else { continue };
        let sizes: Option<Vec<Expr>> =
            subs[at + 1..].iter().map(|s| inner.iter().find(|(n, _)| is_name(s, n)).map(|(_, size)| size.clone())).collect();
        let Some(sizes) = sizes else { continue };
        out.push(Made {
            name: c.address.base.as_str().to_string(),
            upto: subs[..=at].iter().map(|e| (*e).clone()).collect(),
            inner: sizes,
            lags: 0,
            unguarded: None,
            first: None,
            span: c.address.span,
        });
    }
}

/// Choices in the blocks of an expression statement.
fn nested(e: &Expr, var: &str, inner: &mut Vec<(String, Expr)>, out: &mut Vec<Made>) {
    match &e.kind {
        ExprKind::For(f) | ExprKind::Comprehension(f) => {
            if let PatternKind::Name(n) = &f.pattern.kind {
                let size = match &f.iter.kind {
                    ExprKind::Range { start: None, end: Some(e) } => (**e).clone(),
                    _ => f.iter.clone(),
                };
                inner.push((n.as_str().to_string(), size));
                choices(&f.body, var, inner, out);
                inner.pop();
            }
        }
        ExprKind::If { then, otherwise, .. } => {
            choices(then, var, inner, out);
            if let Some(e) = otherwise {
                nested(e, var, inner, out);
            }
        }
        ExprKind::Block(b) | ExprKind::AssumeContinuous(b) => choices(b, var, inner, out),
        _ => {}
    }
}

/// Finds reads of earlier elements, or replaces them.
struct Reads<'a, 's, S: ElabStage> {
    me: &'a mut FnElab<'s, S>,
    var: &'a str,
    made: &'a mut Vec<Made>,
    rewrite: bool,
    failed: bool,
}

impl<S: ElabStage> Reads<'_, '_, S> {
    fn block(&mut self, b: &mut Block, ranges: &Ranges, guarded: bool) {
        for e in ppl_syntax::visit::block_exprs_mut(b) {
            self.expr(e, ranges, guarded);
        }
    }

    fn expr(&mut self, e: &mut Expr, ranges: &Ranges, guarded: bool) {
        match &mut e.kind {
            ExprKind::If { cond, then, otherwise } => {
                self.expr(cond, ranges, guarded);
                let guarded = guarded || mentions(cond, self.var);
                self.block(then, ranges, guarded);
                if let Some(e) = otherwise {
                    self.expr(e, ranges, guarded);
                }
                return;
            }
            ExprKind::For(f) | ExprKind::Comprehension(f) => {
                self.expr(&mut f.iter, ranges, guarded);
                f.carry.iter_mut().for_each(|c| self.expr(&mut c.init, ranges, guarded));
                let mut ranges = ranges.clone();
                if let PatternKind::Name(n) = &f.pattern.kind {
                    match self.range(&f.iter) {
                        Some(r) => ranges.insert(n.as_str().to_string(), r),
                        None => ranges.remove(n.as_str()),
                    };
                }
                self.block(&mut f.body, &ranges, guarded);
                return;
            }
            _ => {}
        }
        children_mut(e).into_iter().for_each(|c| self.expr(c, ranges, guarded));
        if let ExprKind::Index { base, subscripts } = &e.kind
            && let ExprKind::Name(id) = &base.kind
            && let Some(k) = self.made.iter().position(|m| m.name == id.as_str())
            && let Some(at) = subscripts.get(self.made[k].upto.len() - 1)
            && !is_name(at, self.var)
            && !matches!(at.kind, ExprKind::Range { .. })
        {
            let (at, subs, span) = (at.clone(), subscripts.clone(), e.span);
            if let Some(new) = self.read(k, &at, &subs, span, ranges, guarded) {
                *e = new;
            }
        }
    }

    /// What an inner loop's variable ranges over.
    fn range(&mut self, iter: &Expr) -> Option<(i64, i64)> {
        let mut size = |e: &Expr| self.me.quietly(|me| me.size(e)).flatten().map(|d| d.n as i64);
        match &iter.kind {
            ExprKind::Range { start, end } => {
                let lo = start.as_ref().map_or(Some(0), |s| size(s))?;
                Some((lo, size(end.as_ref()?)? - 1))
            }
            _ => Some((0, size(iter)? - 1)),
        }
    }

    fn affine(&mut self, e: &Expr, ranges: &Ranges) -> Option<Affine> {
        Some(match &e.kind {
            ExprKind::Literal(Literal::Int(n)) => (0, *n, *n),
            ExprKind::Name(id) if id.as_str() == self.var => (1, 0, 0),
            ExprKind::Name(id) => match ranges.get(id.as_str()) {
                Some((lo, hi)) => (0, *lo, *hi),
                None => {
                    let n = self.me.quietly(|me| me.size(e)).flatten()?.n as i64;
                    (0, n, n)
                }
            },
            ExprKind::Unary(UnaryOp::Neg, x) => {
                let (c, lo, hi) = self.affine(x, ranges)?;
                (-c, -hi, -lo)
            }
            ExprKind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) => {
                let (a, b) = (self.affine(a, ranges)?, self.affine(b, ranges)?);
                let (c, lo, hi) = if *op == BinaryOp::Add { b } else { (-b.0, -b.2, -b.1) };
                (a.0 + c, a.1 + lo, a.2 + hi)
            }
            ExprKind::Binary(BinaryOp::Mul, a, b) => match (self.affine(a, ranges)?, self.affine(b, ranges)?) {
                ((0, n, m), x) | (x, (0, n, m)) if n == m => {
                    let (p, q) = (n * x.1, n * x.2);
                    (n * x.0, p.min(q), p.max(q))
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    /// One read: records how far back it goes, or gives what stands for it.
    fn read(&mut self, k: usize, at: &Expr, subs: &[Expr], span: Span, ranges: &Ranges, guarded: bool) -> Option<Expr> {
        let m = self.made[k].clone();
        let (var, name_of) = (self.var, &m.name);
        let Some((1, lo, hi)) = self.affine(at, ranges) else {
            self.failed = true;
            if !self.rewrite {
                self.me.report(
                    Diagnostic::error(codes::NOT_IN_SCOPE_YET, format!("`{name_of}` is read at an index of another round"))
                        .label(at.span, format!("not `{var}` minus a number that is known before running"))
                        .label(m.span, "drawn here, one element a round")
                        .help(format!(
                            "read `{name_of}[{var} - 1]`, or carry the value: `for .. carry (previous = 0.0) {{ .. }}`"
                        )),
                );
            }
            return None;
        };
        if hi >= 0 || -lo > MAX_LAG {
            self.failed = true;
            if !self.rewrite {
                let what = if hi >= 0 { "an element that is not drawn yet" } else { "too far back" };
                self.me.report(
                    Diagnostic::error(codes::INDEX_RANGE, format!("a round reads {what} of `{name_of}`"))
                        .label(span, format!("`{var}{lo:+}` to `{var}{hi:+}`"))
                        .label(m.span, "drawn here, in the order of the rounds")
                        .note(format!("a round may read the {MAX_LAG} rounds before it")),
                );
            }
            return None;
        }
        if subs[..m.upto.len() - 1]
            .iter()
            .zip(&m.upto)
            .any(|(a, b)| !matches!(&b.kind, ExprKind::Name(n) if is_name(a, n.as_str())))
        {
            self.failed = true;
            if !self.rewrite {
                self.me.report(
                    Diagnostic::error(codes::NOT_IN_SCOPE_YET, format!("`{name_of}` is read at another index of an outer loop"))
                        .label(span, "only earlier rounds of this loop can be read")
                        .label(m.span, "drawn here"),
                );
            }
            return None;
        }
        if !self.rewrite {
            let m = &mut self.made[k];
            m.lags = m.lags.max(-lo);
            m.first.get_or_insert(span);
            if !guarded && m.unguarded.is_none_or(|(lag, _)| -lo > lag) {
                m.unguarded = Some((-lo, span));
            }
            return None;
        }
        let rest = subs[m.upto.len()..].to_vec();
        let element = |lag: i64| name(&carried(name_of, lag), span);
        let mut subscripts = Vec::new();
        let base = if lo == hi {
            element(-lo)
        } else {
            // t - at - 1 counts from the round before.
            let back = Expr::new(span, ExprKind::Binary(BinaryOp::Sub, Box::new(name(var, span)), Box::new(at.clone())));
            subscripts.push(Expr::new(span, ExprKind::Binary(BinaryOp::Sub, Box::new(back), Box::new(int(1, span)))));
            Expr::new(span, ExprKind::Array((1..=m.lags).map(element).collect()))
        };
        subscripts.extend(rest);
        if subscripts.is_empty() {
            return Some(base);
        }
        Some(Expr::new(span, ExprKind::Index { base: Box::new(base), subscripts }))
    }
}

impl<S: ElabStage> FnElab<'_, S> {
    /// Runs a loop that reads back: `f` has no first values yet. Types of values that are not data are found by running it.
    pub(crate) fn history_loop(&mut self, f: &For, original: &For, mut carries: Vec<HistoryCarry>, collect: bool) -> Value {
        let own = original.carry.len();
        if collect {
            let at = original.span;
            return self.not_yet(
                "an array of a loop that reads earlier rounds",
                at,
                "draw in a plain loop; the choices are arrays after it",
            );
        }
        let saved = self.save();
        let mut value = Value::Error;
        for round in 0..2 {
            let mut f = f.clone();
            f.carry.extend(carries.iter().map(|c| Carry { name: Ident::new(c.name.clone(), c.span), init: c.expr() }));
            self.carry_found.clear();
            value = self.for_loop(&f, false);
            let found = std::mem::take(&mut self.carry_found);
            let mut changed = false;
            for (k, dtype, dims) in found {
                if let Some(c) = k.checked_sub(own).and_then(|k| carries.get_mut(k))
                    && matches!(c.init, Init::Guessed(_))
                {
                    c.init = Init::Typed(dtype, dims);
                    changed = true;
                }
            }
            if !changed || round > 0 {
                break;
            }
            // Later elements are copies of the first, so they have its type.
            for k in 1..carries.len() {
                let before = carries[k - 1].clone();
                let same = carries[k].name.split(' ').next() == before.name.split(' ').next();
                if same && matches!(carries[k].init, Init::Guessed(_)) {
                    carries[k].init = before.init;
                }
            }
            self.restore(saved.clone());
        }
        match (value, own) {
            (Value::Error, _) => Value::Error,
            (_, 0) => Value::Unit,
            (Value::Tuple(vs), 1) => vs.into_iter().next().unwrap_or(Value::Error),
            (Value::Tuple(mut vs), n) => {
                vs.truncate(n);
                Value::Tuple(vs)
            }
            (v, _) => v,
        }
    }
}
