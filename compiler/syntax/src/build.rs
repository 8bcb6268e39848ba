//! What the grammar's actions call: nodes, and the few rules the grammar itself does not state.

use std::collections::BTreeMap;

use ppl_diag::{Code, Diagnostic, FileId, Span};

use crate::ast::*;
use crate::token::Lexed;

/// What an action can see and add to.
pub(crate) struct Cx<'s> {
    pub(crate) file: FileId,
    pub(crate) tokens: &'s [Lexed<'s>],
    /// Documentation by the offset of the token below it; what is left in the end is an ordinary comment.
    pub(crate) docs: BTreeMap<usize, (Span, String)>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// What was parsed.
pub(crate) enum Start {
    File(Vec<Item>),
    Stmts(Block),
    Expr(Expr),
}

/// A clause of `fit`.
pub(crate) enum FitClause {
    With(Span, Expr),
    Goals(Direction, Vec<(Span, Expr, Option<Expr>)>),
    Using(Vec<Result<Expr, Setting>>),
}

impl Cx<'_> {
    /// The place of tokens `l` to `r`, both included.
    pub(crate) fn span(&self, l: usize, r: usize) -> Span {
        let at = |i: usize| self.tokens.get(i).or(self.tokens.last());
        let (Some(first), Some(last)) = (at(l), at(r)) else { return Span::new(self.file, 0, 0) };
        Span::new(self.file, first.start, last.end.max(first.start))
    }

    pub(crate) fn ident(&self, l: usize, r: usize, name: &str) -> Ident {
        Ident::new(name, self.span(l, r))
    }

    fn doc(&mut self, l: usize) -> Option<String> {
        let start = self.tokens.get(l)?.start;
        self.docs.remove(&start).map(|(_, text)| text)
    }

    pub(crate) fn item(&mut self, l: usize, r: usize, kind: ItemKind) -> Item {
        Item { span: self.span(l, r), doc: self.doc(l), kind }
    }

    pub(crate) fn member(&mut self, l: usize, r: usize, name: Ident, params: Vec<FnParam>, body: Expr) -> DistMember {
        DistMember { span: self.span(l, r), doc: self.doc(l), name, params, other: None, body }
    }

    pub(crate) fn member_of_two(&mut self, l: usize, r: usize, name: Ident, other: OtherDist, body: Expr) -> DistMember {
        DistMember { other: Some(other), ..self.member(l, r, name, Vec::new(), body) }
    }

    pub(crate) fn error_member(&mut self, l: usize, r: usize) -> DistMember {
        let span = self.span(l, r);
        let body = Expr::new(span, ExprKind::Error);
        DistMember { span, doc: None, name: Ident::new("", span), params: Vec::new(), other: None, body }
    }

    fn error(&mut self, d: Diagnostic) {
        self.diagnostics.push(d);
    }
}

pub(crate) fn block(cx: &Cx<'_>, l: usize, r: usize, mut stmts: Vec<Stmt>) -> Block {
    let result = match stmts.pop() {
        Some(Stmt { kind: StmtKind::Expr(e), .. }) => Some(Box::new(e)),
        Some(other) => {
            stmts.push(other);
            None
        }
        None => None,
    };
    Block { span: cx.span(l, r), stmts, result }
}

pub(crate) fn name(i: Ident) -> Expr {
    Expr::new(i.span, ExprKind::Name(i))
}

pub(crate) fn binary(cx: &Cx<'_>, l: usize, r: usize, op: BinaryOp, a: Expr, b: Expr) -> Expr {
    Expr::new(cx.span(l, r), ExprKind::Binary(op, Box::new(a), Box::new(b)))
}

pub(crate) fn range(cx: &Cx<'_>, l: usize, r: usize, a: Option<Expr>, b: Option<Expr>) -> Expr {
    Expr::new(cx.span(l, r), ExprKind::Range { start: a.map(Box::new), end: b.map(Box::new) })
}

pub(crate) fn if_(cx: &Cx<'_>, l: usize, r: usize, cond: Expr, then: Block, otherwise: Option<Expr>) -> Expr {
    Expr::new(cx.span(l, r), ExprKind::If { cond: Box::new(cond), then, otherwise: otherwise.map(Box::new) })
}

/// A function without a name is called `fn`.
pub(crate) fn function(cx: &Cx<'_>, l: usize, r: usize, params: Vec<FnParam>, ret: Option<Type>, body: Expr) -> Expr {
    let name = cx.ident(l, l, "fn");
    Expr::new(cx.span(l, r), ExprKind::Function(Box::new(Callable { name, params, ret, body })))
}

pub(crate) fn tuple(cx: &Cx<'_>, l: usize, r: usize, first: Expr, rest: Vec<Expr>) -> Expr {
    let mut all = Vec::with_capacity(rest.len() + 1);
    all.push(first);
    all.extend(rest);
    Expr::new(cx.span(l, r), ExprKind::Tuple(all))
}

/// `[for ..]` is a comprehension, anything else an array.
pub(crate) fn array(cx: &Cx<'_>, l: usize, r: usize, mut elements: Vec<Expr>) -> Expr {
    let span = cx.span(l, r);
    if elements.len() == 1
        && let Some(e) = elements.pop()
    {
        return match e.kind {
            ExprKind::For(f) => Expr::new(span, ExprKind::Comprehension(f)),
            kind => Expr::new(span, ExprKind::Array(vec![Expr::new(e.span, kind)])),
        };
    }
    Expr::new(span, ExprKind::Array(elements))
}

pub(crate) fn int(cx: &mut Cx<'_>, l: usize, r: usize, text: &str) -> Expr {
    let span = cx.span(l, r);
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    match digits.parse() {
        Ok(n) => Expr::new(span, ExprKind::Literal(Literal::Int(n))),
        Err(_) => {
            let d = Diagnostic::error(Code("E0013"), format!("`{text}` is too large for an integer"))
                .label(span, format!("the largest integer is {}", i64::MAX))
                .help(format!("write it as a real number: `{digits}.0`"))
                .edit(span, format!("{digits}.0"));
            cx.error(d);
            Expr::new(span, ExprKind::Error)
        }
    }
}

pub(crate) fn real(cx: &mut Cx<'_>, l: usize, r: usize, text: &str) -> Expr {
    let span = cx.span(l, r);
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    match digits.parse::<f64>() {
        Ok(x) if x.is_finite() => Expr::new(span, ExprKind::Literal(Literal::Real(x))),
        _ => {
            let d = Diagnostic::error(Code("E0013"), format!("`{text}` is too large for a number"))
                .label(span, "the largest is about 1.8e308")
                .help("write `inf` for infinity");
            cx.error(d);
            Expr::new(span, ExprKind::Error)
        }
    }
}

pub(crate) fn string(cx: &mut Cx<'_>, l: usize, r: usize, text: &str) -> Expr {
    let span = cx.span(l, r);
    let mut out = String::new();
    let mut chars = text.get(1..text.len().saturating_sub(1)).unwrap_or_default().chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some(e @ ('"' | '\\'))) => out.push(e),
            ('\\', Some(e)) => {
                let d = Diagnostic::error(Code("E0012"), format!("`\\{e}` means nothing in a string"))
                    .label(span, "in this string")
                    .help("the escapes are `\\n`, `\\t`, `\\\"` and `\\\\`; write a backslash as `\\\\`");
                cx.error(d);
            }
            (c, _) => out.push(c),
        }
    }
    Expr::new(span, ExprKind::Literal(Literal::Str(out)))
}

/// Reads an expression as the address of a choice.
pub(crate) fn address(cx: &mut Cx<'_>, e: &Expr) -> Option<Address> {
    fn walk(e: &Expr, path: &mut Vec<AddressPart>) -> Option<Ident> {
        match &e.kind {
            ExprKind::Name(i) => Some(i.clone()),
            ExprKind::Field(base, field) => {
                let i = walk(base, path)?;
                path.push(AddressPart::Field(field.clone()));
                Some(i)
            }
            ExprKind::Index { base, subscripts } => {
                let i = walk(base, path)?;
                path.push(AddressPart::Index(subscripts.clone()));
                Some(i)
            }
            _ => None,
        }
    }
    let mut path = Vec::new();
    let base = walk(e, &mut path);
    if base.is_none() {
        let d = Diagnostic::error(Code("E0018"), "this is not the address of a choice")
            .label(e.span, "an address is a name, with indices or fields after it: `z`, `theta[j]`, `s.x`");
        let d = match e.kind {
            ExprKind::Tuple(_) => d.help("draw each choice by itself, or name a tuple with `let (a, b) = ..`"),
            _ => d.help("put the name of the choice to the left of `~`, and what it is drawn from to the right"),
        };
        cx.error(d);
    }
    base.map(|base| Address { span: e.span, base, path })
}

pub(crate) fn choice(cx: &mut Cx<'_>, target: Expr, dist: Expr, by: Option<Expr>) -> StmtKind {
    match address(cx, &target) {
        Some(address) => StmtKind::Choice(Choice { address, dist, by }),
        None => StmtKind::Error,
    }
}

pub(crate) fn binding(cx: &mut Cx<'_>, l: usize, r: usize, target: Expr, value: Option<Expr>) -> Option<Binding> {
    let span = cx.span(l, r);
    let address = address(cx, &target)?;
    let shorthand = value.is_none();
    Some(Binding { span, address, value: value.unwrap_or(target), shorthand })
}

pub(crate) fn by_entry(cx: &mut Cx<'_>, l: usize, r: usize, target: Expr, strategy: Expr) -> Option<ByEntry> {
    let span = cx.span(l, r);
    let address = address(cx, &target)?;
    Some(ByEntry { span, address: Some(address), strategy })
}

pub(crate) fn normalize(cx: &Cx<'_>, l: usize, r: usize, program: Expr, by: Option<Expr>) -> Expr {
    Expr::new(cx.span(l, r), ExprKind::Normalize { program: Box::new(program), by: by.map(Box::new) })
}

pub(crate) fn marginal(cx: &mut Cx<'_>, l: usize, r: usize, keep: Vec<Expr>, program: Expr, by: Option<Expr>) -> Expr {
    let latents = |e: &Expr| match &e.kind {
        ExprKind::Call { callee, args } if matches!(&callee.kind, ExprKind::Name(n) if n == "latents") => match &args[..] {
            [Arg { name: None, value }] => Some(value.clone()),
            _ => None,
        },
        _ => None,
    };
    let kept = |cx: &mut Cx<'_>, e: &Expr| match latents(e) {
        Some(p) => Some(Kept::Latents(p)),
        None => address(cx, e).map(Kept::Address),
    };
    let keep = keep.iter().filter_map(|e| kept(cx, e)).collect();
    let kind = ExprKind::Marginal { keep, program: Box::new(program), by: by.map(Box::new) };
    Expr::new(cx.span(l, r), kind)
}

pub(crate) fn named_type(span: Span, name: Ident, args: Vec<Expr>, missing: bool) -> Type {
    Type { span, kind: TypeKind::Named { name, args, missing, dims: Vec::new() } }
}

/// Adds brackets: the first ones are a name's own sizes, further ones make an array of it.
pub(crate) fn type_dims(span: Span, t: Type, sizes: Vec<Expr>) -> Type {
    let kind = match t.kind {
        TypeKind::Named { name, args, missing, dims } if dims.is_empty() => TypeKind::Named { name, args, missing, dims: sizes },
        kind => TypeKind::Array { element: Box::new(Type { span: t.span, kind }), dims: sizes },
    };
    Type { span, kind }
}

pub(crate) fn trace_of(cx: &mut Cx<'_>, l: usize, r: usize, word: Ident, program: Expr) -> Type {
    if word != "trace" {
        let d = Diagnostic::error(Code("E0014"), format!("`{word} of` is not a type"))
            .label(word.span, "only a trace is `of` a program")
            .help("write `trace of ring`")
            .edit(word.span, "trace");
        cx.error(d);
    }
    Type { span: cx.span(l, r), kind: TypeKind::TraceOf(Box::new(program)) }
}

/// `for d (k)` or `for normal(mu, sigma) (k)`: without a second pair of parentheses the first holds the continuation.
pub(crate) fn strategy_head(
    cx: &mut Cx<'_>,
    span: Span,
    dist: Ident,
    mut args: Vec<Pattern>,
    k: Option<Ident>,
) -> (StrategyTarget, Ident) {
    if let Some(k) = k {
        return (StrategyTarget::Dist { dist, args }, k);
    }
    if args.len() == 1
        && let Some(Pattern { kind: PatternKind::Name(k), .. }) = args.pop()
    {
        return (StrategyTarget::Any { name: dist, needs: None }, k);
    }
    let d = Diagnostic::error(Code("E0016"), "this strategy has no continuation")
        .label(span, "the distribution it is for")
        .note("a strategy computes with `k`, the rest of the objective as a function of the choice")
        .help("add `(k)` after the distribution: `strategy mine for normal(mu, sigma) (k) { .. }`")
        .edit(Span { start: span.end, ..span }, " (k)");
    cx.error(d);
    let k = Ident::new("k", span);
    (StrategyTarget::Dist { dist, args }, k)
}

pub(crate) fn fit(cx: &mut Cx<'_>, model: Option<Expr>, clauses: Vec<FitClause>) -> Fit {
    let mut fit = Fit { model, guide: None, goals: Vec::new(), optimizer: None, settings: Vec::new() };
    for clause in clauses {
        match clause {
            FitClause::With(span, e) => match &fit.guide {
                Some(first) => {
                    let d = Diagnostic::error(Code("E0015"), "this fit has two guides")
                        .label(span, "a second `with`")
                        .label(first.span, "the first guide")
                        .help("keep one of them, or write a second `fit`");
                    cx.error(d);
                }
                None => fit.guide = Some(e),
            },
            FitClause::Goals(direction, goals) => {
                fit.goals.extend(goals.into_iter().map(|(span, objective, over)| Goal { span, direction, objective, over }))
            }
            FitClause::Using(entries) => {
                for entry in entries {
                    using(cx, &mut fit, entry);
                }
            }
        }
    }
    fit
}

/// `report(iwelbo(50))` after `using` is a setting.
fn is_report(callee: &Expr) -> bool {
    matches!(&callee.kind, ExprKind::Name(n) if n == "report")
}

fn using(cx: &mut Cx<'_>, fit: &mut Fit, entry: Result<Expr, Setting>) {
    match entry {
        // A fit may report several estimates.
        Err(setting) if setting.name == "report" => fit.settings.push(setting),
        Err(setting) => {
            if let Some(first) = fit.settings.iter().find(|s| s.name.name == setting.name.name) {
                let d = Diagnostic::error(Code("E0015"), format!("`{}` is set twice", setting.name))
                    .label(setting.span, "set again")
                    .label(first.span, "set here")
                    .help("keep one of them");
                cx.error(d);
            } else {
                fit.settings.push(setting);
            }
        }
        Ok(Expr { span, kind: ExprKind::Call { callee, args } }) if is_report(&callee) => {
            let ExprKind::Name(name) = callee.kind else { return };
            let settings = args.into_iter().map(|a| Setting { span, name: name.clone(), value: a.value });
            fit.settings.extend(settings);
        }
        Ok(e) => match &fit.optimizer {
            None => fit.optimizer = Some(e),
            Some(first) => {
                let d = Diagnostic::error(Code("E0015"), "this fit has two optimisers")
                    .label(e.span, "a second one")
                    .label(first.span, "the first optimiser")
                    .help("a setting is written as a name and a value: `steps 5000`");
                cx.error(d);
            }
        },
    }
}
