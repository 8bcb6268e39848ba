//! A guide derived from a model, as plain source: its loops over latent choices written out.

use crate::bijectors;
use crate::entries::{model_and_guide, prepare};
use crate::func::FnElab;
use crate::session::{Decl, TopName};
use crate::{DataShapes, FitOverrides, Program};
use ppl_core::{Atom, Builder, Choice, Det, Est, Func, Op, Support};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{
    Address, AddressPart, Arg, Block, Callable, Expr, ExprKind, File, For, Ident, Item, ItemKind, Literal, Pattern, PatternKind,
    Stmt, StmtKind, Type, TypeKind,
};

/// The fit's guide for its model as a program without loops over latents, which can be pasted into the model file.
///
/// # Errors
/// The diagnostics of the model and guide; a guide that does not take a target is already plain.
pub fn guide_source(
    library: &[File],
    file: &File,
    shapes: Option<DataShapes>,
    overrides: &FitOverrides,
) -> Result<String, Vec<Diagnostic>> {
    let mut s = prepare(library, file, shapes, overrides);
    let Some((fit, span)) = s.fits.get(overrides.index).cloned() else {
        return Err(vec![Diagnostic::error(crate::codes::WRONG_PLACE, "the file has no `fit`, so there is no guide to print")]);
    };
    let guide = overrides.guide.clone().or(fit.guide.clone());
    let Some(guide) = guide else {
        return Err(vec![Diagnostic::error(crate::codes::WRONG_PLACE, "the `fit` names no guide").label(span, "no `with`")]);
    };
    let mut me = FnElab::<Est>::new(&mut s, "guide", 0, true);
    let model = model_and_guide(&mut me, &fit, Some(&guide)).and_then(|(m, _)| m);
    let Some(model) = model else {
        return Err(s.diagnostics);
    };
    let latents = me.latents(&model);
    let name = match &guide.kind {
        ExprKind::Name(n) => n.clone(),
        ExprKind::Call { callee, .. } => match &callee.kind {
            ExprKind::Name(n) => n.clone(),
            _ => {
                return Err(vec![
                    Diagnostic::error(crate::codes::WRONG_TYPE, "the guide is not a named program").label(guide.span, "here"),
                ]);
            }
        },
        _ => {
            return Err(vec![
                Diagnostic::error(crate::codes::WRONG_TYPE, "the guide is not a named program").label(guide.span, "here"),
            ]);
        }
    };
    let decl = match s.top(name.as_str()) {
        Some(TopName::Decl(id)) => s.decl(id),
        _ => return Err(s.diagnostics),
    };
    let Decl::Gen(c) = &*decl else {
        return Err(s.diagnostics);
    };
    let body = match &c.body.kind {
        ExprKind::Block(b) => ExprKind::Block(block(b, &latents)),
        _ => c.body.kind.clone(),
    };
    let plain = Callable {
        name: c.name.clone(),
        params: c
            .params
            .iter()
            .filter(|p| !matches!(&p.ty, Some(Type { kind: TypeKind::Named { name, .. }, .. }) if name == "target"))
            .cloned()
            .collect(),
        ret: c.ret.clone(),
        body: Expr::new(c.body.span, body),
    };
    let item = Item {
        span: Span::NONE,
        doc: Some(format!("`{}` for `{}`, written out.", c.name, model.program.name)),
        kind: ItemKind::Gen(plain),
    };
    Ok(ppl_syntax::print_item(&item))
}

/// A block with its loops over latents written out.
fn block(b: &Block, latents: &[Choice]) -> Block {
    let mut stmts = Vec::new();
    for s in &b.stmts {
        match &s.kind {
            StmtKind::Expr(e) => stmts.extend(expanded(e, latents).unwrap_or_else(|| vec![s.clone()])),
            _ => stmts.push(s.clone()),
        }
    }
    let mut result = b.result.clone();
    if let Some(e) = &b.result
        && let Some(more) = expanded(e, latents)
    {
        stmts.extend(more);
        result = None;
    }
    Block { span: b.span, stmts, result }
}

/// `for a in latents(p) { .. }`, once for each latent choice.
fn expanded(e: &Expr, latents: &[Choice]) -> Option<Vec<Stmt>> {
    let ExprKind::For(f) = &e.kind else { return None };
    let For { pattern: Pattern { kind: PatternKind::Name(var), .. }, iter, body, .. } = &**f else {
        return None;
    };
    if !matches!(&iter.kind, ExprKind::Call { callee, .. } if matches!(&callee.kind, ExprKind::Name(n) if n == "latents")) {
        return None;
    }
    let mut out = Vec::new();
    for c in latents {
        let params = body
            .stmts
            .iter()
            .filter_map(|s| match &s.kind {
                StmtKind::Param(p) => Some(p.name.as_str().to_string()),
                _ => None,
            })
            .collect();
        let with = With { var: var.as_str(), choice: c, params };
        out.extend(body.stmts.iter().map(|s| with.stmt(s)));
        if let Some(r) = &body.result {
            out.push(Stmt { span: r.span, kind: StmtKind::Expr(with.expr(r)) });
        }
    }
    Some(out)
}

/// Replaces a loop variable over latents by one latent choice.
struct With<'a> {
    var: &'a str,
    choice: &'a Choice,
    params: Vec<String>,
}

impl With<'_> {
    fn name(&self, id: &Ident) -> Ident {
        if self.params.iter().any(|p| p == id.as_str()) {
            Ident::new(format!("{}_{id}", self.choice.addr.replace('.', "_")), id.span)
        } else {
            id.clone()
        }
    }

    fn sizes(&self) -> Vec<Expr> {
        let shape = bijectors::free_shape(&self.choice.support, &self.choice.ty.shape);
        shape.iter().map(|n| Expr::new(Span::NONE, ExprKind::Literal(Literal::Int(*n as i64)))).collect()
    }

    fn is_call(&self, e: &Expr, name: &str) -> bool {
        matches!(&e.kind, ExprKind::Call { callee, args } if matches!(&callee.kind, ExprKind::Name(n) if n == name)
            && matches!(args.as_slice(), [Arg { value: Expr { kind: ExprKind::Name(v), .. }, .. }] if v == self.var))
    }

    fn stmt(&self, s: &Stmt) -> Stmt {
        let kind = match &s.kind {
            StmtKind::Param(p) => {
                let ty = p.ty.as_ref().map(|t| match &t.kind {
                    TypeKind::Named { name, args, missing, dims } if matches!(dims.as_slice(), [d] if self.is_call(d, "dim")) => {
                        Type {
                            span: t.span,
                            kind: TypeKind::Named {
                                name: name.clone(),
                                args: args.clone(),
                                missing: *missing,
                                dims: self.sizes(),
                            },
                        }
                    }
                    _ => t.clone(),
                });
                let init = p.init.as_ref().map(|e| {
                    if self.is_call(e, "init") { Expr::new(e.span, ExprKind::Literal(Literal::Real(0.0))) } else { self.expr(e) }
                });
                StmtKind::Param(ppl_syntax::ast::Param { name: self.name(&p.name), ty, init })
            }
            StmtKind::Let(l) => StmtKind::Let(ppl_syntax::ast::Let { value: self.expr(&l.value), ..l.clone() }),
            StmtKind::Choice(c) => {
                let mut c = c.clone();
                if c.address.base == self.var {
                    let mut parts = self.choice.addr.split('.');
                    let base = Ident::new(parts.next().unwrap_or_default(), c.address.span);
                    let path = parts.map(|p| AddressPart::Field(Ident::new(p, c.address.span))).collect();
                    c.address = Address { span: c.address.span, base, path };
                }
                c.dist = self.expr(&c.dist);
                StmtKind::Choice(c)
            }
            StmtKind::Report { name, value } => StmtKind::Report { name: name.clone(), value: self.expr(value) },
            StmtKind::Factor(e) => StmtKind::Factor(self.expr(e)),
            StmtKind::Expr(e) => StmtKind::Expr(self.expr(e)),
            other => other.clone(),
        };
        Stmt { span: s.span, kind }
    }

    fn expr(&self, e: &Expr) -> Expr {
        let each = |es: &[Expr]| es.iter().map(|e| self.expr(e)).collect::<Vec<_>>();
        if self.is_call(e, "support") {
            return support(&self.choice.support);
        }
        if self.is_call(e, "dim") {
            let n = bijectors::free_size(&self.choice.support, &self.choice.ty.shape).unwrap_or(1);
            return Expr::new(e.span, ExprKind::Literal(Literal::Int(n as i64)));
        }
        let kind = match &e.kind {
            ExprKind::Name(id) => ExprKind::Name(self.name(id)),
            ExprKind::Call { callee, args } => {
                let args: Vec<Arg> = args.iter().map(|a| Arg { name: a.name.clone(), value: self.expr(&a.value) }).collect();
                // `constrain(d, real)` is `d`.
                if matches!(&callee.kind, ExprKind::Name(n) if n == "constrain")
                    && matches!(args.get(1).map(|a| &a.value.kind), Some(ExprKind::Name(s)) if s == "real")
                {
                    return args.into_iter().next().map_or_else(|| e.clone(), |a| a.value);
                }
                ExprKind::Call { callee: Box::new(self.expr(callee)), args }
            }
            ExprKind::Unary(op, x) => ExprKind::Unary(*op, Box::new(self.expr(x))),
            ExprKind::Binary(op, a, b) => ExprKind::Binary(*op, Box::new(self.expr(a)), Box::new(self.expr(b))),
            ExprKind::Tuple(es) => ExprKind::Tuple(each(es)),
            ExprKind::Array(es) => ExprKind::Array(each(es)),
            ExprKind::Index { base, subscripts } => {
                ExprKind::Index { base: Box::new(self.expr(base)), subscripts: each(subscripts) }
            }
            other => other.clone(),
        };
        Expr::new(e.span, kind)
    }
}

/// A support as an argument of `constrain`.
fn support(s: &Support) -> Expr {
    let name = |n: &str| Expr::new(Span::NONE, ExprKind::Name(Ident::new(n, Span::NONE)));
    match s {
        Support::Interval { lo, hi } if *s != Support::POSITIVE && *s != Support::UNIT => {
            let bound = |b: Option<f64>, inf: f64| Arg { name: None, value: number(b.unwrap_or(inf)) };
            let args = vec![bound(*lo, f64::NEG_INFINITY), bound(*hi, f64::INFINITY)];
            Expr::new(Span::NONE, ExprKind::Call { callee: Box::new(name("interval")), args })
        }
        s => name(&s.to_string()),
    }
}

fn number(v: f64) -> Expr {
    let inf = || Box::new(Expr::new(Span::NONE, ExprKind::Name(Ident::new("inf", Span::NONE))));
    let kind = match v {
        f64::INFINITY => return *inf(),
        f64::NEG_INFINITY => ExprKind::Unary(ppl_syntax::ast::UnaryOp::Neg, inf()),
        v if v < 0.0 => ExprKind::Unary(ppl_syntax::ast::UnaryOp::Neg, Box::new(number(-v))),
        v => ExprKind::Literal(Literal::Real(v)),
    };
    Expr::new(Span::NONE, kind)
}

/// The function of a parameter's initial unconstrained value, of the inputs of its `init`; `None` where it starts at zeros.
pub fn unconstrained_init(program: &Program, param: usize) -> Option<Func<Det>> {
    let p = program.params.get(param)?;
    let (id, _) = p.init.as_ref()?;
    let f = program.module.det(*id);
    let mut b = Builder::<Det>::new(format!("{}.free", f.name));
    let args: Vec<Atom> = f.params.iter().map(|v| Atom::Var(b.param(f.vars[v.index()].name.clone(), f.ty(*v).clone()))).collect();
    let tys = f.result_tys();
    let value = b.emit(Op::Call { callee: *id, args }, tys.into_iter().map(|t| ("init".to_string(), t)).collect());
    let free = bijectors::unconstrain(&mut b, Atom::Var(*value.first()?), &p.support, &p.shape);
    Some(b.finish(vec![free]))
}
