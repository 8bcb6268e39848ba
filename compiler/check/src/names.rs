//! Unknown names in declarations that nothing instantiates.
//!
//! Elaboration finds unknown names where a program is used; this walk finds them everywhere, in one pass over the tree.

use crate::codes;
use crate::session::{Session, TopName, pattern_names};
use ppl_diag::Diagnostic;
use ppl_syntax::ast::{
    AddressPart, Arg, Block, Expr, ExprKind, File, FnParam, For, Ident, ItemKind, Pattern, Stmt, StmtKind, StrategyTarget, Type,
    TypeKind,
};
use std::collections::HashSet;

/// Reports unknown names of a file's declarations.
pub(crate) fn resolve(s: &mut Session, file: &File) {
    for item in &file.items {
        let mut w = Walk { s, scopes: vec![HashSet::new()] };
        match &item.kind {
            ItemKind::Gen(c) | ItemKind::Fn(c) | ItemKind::Objective(c) => {
                w.params(&c.params);
                w.expr(&c.body);
            }
            ItemKind::Strategy(st) => {
                w.params(&st.params);
                match &st.target {
                    StrategyTarget::Any { name, .. } => w.bind(name),
                    StrategyTarget::Dist { args, .. } => args.iter().for_each(|p| w.pattern(p)),
                }
                w.bind(&st.k);
                w.expr(&st.body);
            }
            ItemKind::Dist(d) => {
                w.params(&d.params);
                for m in &d.members {
                    w.scopes.push(HashSet::new());
                    w.params(&m.params);
                    if let Some(other) = &m.other {
                        w.name(&other.name);
                        other.params.iter().for_each(|p| w.pattern(p));
                    }
                    w.expr(&m.body);
                    w.scopes.pop();
                }
            }
            _ => {}
        }
    }
}

struct Walk<'s> {
    s: &'s mut Session,
    scopes: Vec<HashSet<String>>,
}

impl Walk<'_> {
    fn bind(&mut self, id: &Ident) {
        if let Some(s) = self.scopes.last_mut() {
            s.insert(id.as_str().to_string());
        }
    }

    fn pattern(&mut self, p: &Pattern) {
        let mut names = Vec::new();
        pattern_names(&p.kind, &mut names);
        if let Some(s) = self.scopes.last_mut() {
            s.extend(names.into_iter().map(|(n, _)| n));
        }
    }

    fn params(&mut self, params: &[FnParam]) {
        for p in params {
            self.bind(&p.name);
            if let Some(t) = &p.ty {
                self.sizes(t);
            }
        }
    }

    /// Sizes named in a parameter's type are bound by it.
    fn sizes(&mut self, t: &Type) {
        match &t.kind {
            TypeKind::Named { dims, .. } => dims.iter().for_each(|e| self.size_name(e)),
            TypeKind::Array { element, dims } => {
                self.sizes(element);
                dims.iter().for_each(|e| self.size_name(e));
            }
            TypeKind::Tuple(ts) => ts.iter().for_each(|t| self.sizes(t)),
            TypeKind::TraceOf(_) => {}
        }
    }

    fn size_name(&mut self, e: &Expr) {
        if let ExprKind::Name(id) = &e.kind {
            self.bind(id);
        }
    }

    fn known(&self, name: &str) -> bool {
        self.scopes.iter().any(|s| s.contains(name))
            || self.s.names.contains_key(name)
            || matches!(name, "pi" | "inf" | "nan" | "std" | "params" | "columns")
            || crate::builtins::NAMES.contains(&name)
            || crate::types::TYPE_NAMES.contains(&name)
            || ppl_core::Prim::by_name(name).is_some_and(|p| p.def().callable)
    }

    fn name(&mut self, id: &Ident) {
        if self.known(id.as_str()) {
            return;
        }
        let mut locals: Vec<String> = self.scopes.iter().flatten().cloned().collect();
        locals.sort();
        let mut d = Diagnostic::error(codes::UNKNOWN_NAME, format!("there is no `{id}` here")).label(id.span, "unknown name");
        if let Some(near) = self.s.suggestion(id.as_str(), &locals) {
            d = d.help(format!("did you mean `{near}`?")).edit(id.span, near);
        }
        self.s.report(d);
    }

    fn args(&mut self, args: &[Arg]) {
        args.iter().for_each(|a| self.expr(&a.value));
    }

    fn block(&mut self, b: &Block) {
        b.stmts.iter().for_each(|s| self.stmt(s));
        if let Some(e) = &b.result {
            self.expr(e);
        }
    }

    /// A block's choices stay visible after it; its other names do not matter for this walk.
    fn stmt(&mut self, s: &Stmt) {
        match &s.kind {
            StmtKind::Let(l) => {
                self.expr(&l.value);
                self.pattern(&l.pattern);
            }
            StmtKind::Choice(c) => {
                for p in &c.address.path {
                    if let AddressPart::Index(es) = p {
                        es.iter().for_each(|e| self.expr(e));
                    }
                }
                self.expr(&c.dist);
                if let Some(by) = &c.by
                    && let ExprKind::Call { args, .. } = &by.kind
                {
                    self.args(args);
                }
                self.bind(&c.address.base);
            }
            StmtKind::Param(p) | StmtKind::State(p) => {
                if let Some(e) = &p.init {
                    self.expr(e);
                }
                self.bind(&p.name);
            }
            StmtKind::Report { name, value } => {
                self.expr(value);
                self.bind(name);
            }
            StmtKind::Set { value: e, .. } | StmtKind::Factor(e) | StmtKind::AlsoMinimize(e) | StmtKind::Expr(e) => self.expr(e),
            StmtKind::Error => {}
        }
    }

    fn for_loop(&mut self, f: &For) {
        self.expr(&f.iter);
        for c in &f.carry {
            self.expr(&c.init);
            self.bind(&c.name);
        }
        self.pattern(&f.pattern);
        // Earlier rounds' choices can be read before this round's is made.
        let mut made = Vec::new();
        crate::control::drawn(&f.body, &mut made);
        made.iter().for_each(|a| self.bind(&a.base));
        self.block(&f.body);
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Literal(_) | ExprKind::Error => {}
            ExprKind::Name(id) => self.name(id),
            ExprKind::Field(b, field) => {
                if let ExprKind::Name(id) = &b.kind
                    && !self.scopes.iter().any(|s| s.contains(id.as_str()))
                    && let Some((TopName::Module(m), _)) = self.s.names.get(id.as_str())
                    && self.s.module_decl(m, field.as_str()).is_none()
                {
                    let d = self.s.no_member(&m.clone(), field);
                    return self.s.report(d);
                }
                self.expr(b);
            }
            ExprKind::Function(c) => {
                self.scopes.push(HashSet::new());
                self.params(&c.params);
                self.expr(&c.body);
                self.scopes.pop();
            }
            ExprKind::Call { callee, args } => {
                self.expr(callee);
                self.args(args);
            }
            ExprKind::Index { base, subscripts } => {
                self.expr(base);
                subscripts.iter().for_each(|e| self.expr(e));
            }
            ExprKind::Range { start, end } => start.iter().chain(end).for_each(|e| self.expr(e)),
            ExprKind::Unary(_, x) | ExprKind::Draw(x) => self.expr(x),
            ExprKind::Binary(_, a, b) => {
                self.expr(a);
                self.expr(b);
            }
            ExprKind::Tuple(es) | ExprKind::Array(es) => es.iter().for_each(|e| self.expr(e)),
            ExprKind::If { cond, then, otherwise } => {
                self.expr(cond);
                self.block(then);
                if let Some(e) = otherwise {
                    self.expr(e);
                }
            }
            ExprKind::For(f) | ExprKind::Comprehension(f) => self.for_loop(f),
            ExprKind::Block(b) | ExprKind::Expect(b) | ExprKind::AssumeContinuous(b) => self.block(b),
            ExprKind::Given { program, bindings } | ExprKind::WithData { program, bindings } => {
                self.expr(program);
                bindings.iter().for_each(|b| self.expr(&b.value));
            }
            ExprKind::By { program, .. } => self.expr(program),
            ExprKind::Marginal { program, by, .. } | ExprKind::Normalize { program, by } => {
                self.expr(program);
                // The algorithm's own name is no value.
                if let Some(ExprKind::Call { args, .. }) = by.as_deref().map(|b| &b.kind) {
                    args.iter().for_each(|a| self.expr(&a.value));
                }
            }
        }
    }
}
