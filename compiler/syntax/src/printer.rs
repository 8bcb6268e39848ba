//! The syntax tree back to text, in one canonical layout: two blanks a level, one statement a line.
//!
//! Printing and parsing again gives the same tree, apart from places. Comments are printed where their places say; in a tree
//! made by a program (places all [`Span::NONE`]) there are none.

mod expr;

use ppl_diag::{Diagnostic, FileId, Span};

use crate::ast::*;

/// Longer lines are broken where the layout can.
const WIDTH: usize = 110;

/// A file in canonical layout, with its comments; blank lines between items only.
pub fn print_file(file: &File) -> String {
    let mut p = Printer::new(&file.comments, None);
    p.file(file);
    p.finish()
}

/// One declaration in canonical layout, without a line end.
pub fn print_item(item: &Item) -> String {
    let mut p = Printer::new(&[], None);
    p.item(item);
    p.out
}

/// A statement in canonical layout.
pub fn print_stmt(stmt: &Stmt) -> String {
    let mut p = Printer::new(&[], None);
    p.stmt(stmt);
    p.out
}

/// An expression in canonical layout.
pub fn print_expr(e: &Expr) -> String {
    let mut p = Printer::new(&[], None);
    p.expr(e, expr::BLOCK);
    p.out
}

/// A type as it is written.
pub fn print_type(t: &Type) -> String {
    let mut p = Printer::new(&[], None);
    p.ty(t);
    p.out
}

/// Lays out a source text anew: comments stay, and so does one blank line wherever there were some.
///
/// # Errors
/// The syntax errors of a text that can't be parsed.
pub fn format(file: FileId, text: &str) -> Result<String, Vec<Diagnostic>> {
    let parsed = crate::parse(file, text);
    if !parsed.diagnostics.is_empty() {
        return Err(parsed.diagnostics);
    }
    let mut p = Printer::new(&parsed.ast.comments, Some(text));
    p.file(&parsed.ast);
    Ok(p.finish())
}

pub(crate) struct Printer<'a> {
    out: String,
    indent: usize,
    comments: &'a [Comment],
    text: Option<&'a str>,
    /// Where the text that was printed last ended in the source.
    last: Option<u32>,
}

impl<'a> Printer<'a> {
    fn new(comments: &'a [Comment], text: Option<&'a str>) -> Self {
        Self { out: String::new(), indent: 0, comments, text, last: None }
    }

    fn finish(mut self) -> String {
        let end = self.out.trim_end().len();
        self.out.truncate(end);
        if end > 0 {
            self.out.push('\n');
        }
        self.out
    }

    fn push(&mut self, s: &str) {
        self.out.push_str(s);
    }

    fn line(&mut self) {
        self.out.push('\n');
        self.out.push_str(&"  ".repeat(self.indent));
    }

    fn column(&self) -> usize {
        self.out.len() - self.out.rfind('\n').map_or(0, |i| i + 1)
    }

    /// Starts the line of something at `span`: comments before it first, a blank line where the source has one.
    fn start(&mut self, span: Span, first: bool) {
        let mut first = first;
        let mut after_comment = false;
        while let Some((comment, rest)) = self.comments.split_first() {
            if span == Span::NONE || comment.span.start >= span.start {
                break;
            }
            self.comments = rest;
            if comment.own_line || after_comment || self.out.is_empty() {
                self.new_line(comment.span, first);
                self.push(&comment.text);
            } else {
                self.push("  ");
                self.push(&comment.text);
            }
            first = false;
            after_comment = true;
            self.last = Some(comment.span.end);
        }
        self.new_line(span, first);
    }

    fn new_line(&mut self, span: Span, first: bool) {
        if self.out.is_empty() {
            return;
        }
        if !first && self.blank_before(span) {
            self.out.push('\n');
        }
        self.line();
    }

    /// The source has a blank line between what was printed last and `span`.
    fn blank_before(&self, span: Span) -> bool {
        let (Some(text), Some(last)) = (self.text, self.last) else { return false };
        let between = text.get(last as usize..span.start as usize).unwrap_or_default();
        let mut lines = between.split('\n').skip(1).map(str::trim).collect::<Vec<_>>();
        lines.pop();
        lines.iter().any(|l| l.is_empty())
    }

    /// There is a comment between these places.
    fn comment_within(&self, span: Span) -> bool {
        span != Span::NONE && self.comments.iter().any(|c| c.span.start >= span.start && c.span.end <= span.end)
    }

    fn file(&mut self, file: &File) {
        if let Some(doc) = &file.doc {
            self.doc(doc);
            self.out.push('\n');
        }
        let mut previous: Option<&Item> = None;
        for item in &file.items {
            let big = |i: &Item| {
                i.doc.is_some()
                    || matches!(
                        i.kind,
                        ItemKind::Gen(_)
                            | ItemKind::Fn(_)
                            | ItemKind::Objective(_)
                            | ItemKind::Strategy(_)
                            | ItemKind::Dist(_)
                            | ItemKind::Fit(_)
                    )
            };
            // Without the source, declarations of a line stand together and programs apart.
            let blank = self.text.is_none() && previous.is_some_and(|p| big(p) || big(item));
            if blank {
                self.out.push('\n');
            }
            self.start(self.doc_start(item), previous.is_none() && file.doc.is_none());
            self.item(item);
            self.last = Some(item.span.end);
            previous = Some(item);
        }
        self.start(Span { start: u32::MAX - 1, ..Span::new(FileId(0), 0, 0) }, false);
    }

    /// The place of an item with its documentation.
    fn doc_start(&self, item: &Item) -> Span {
        let (Some(text), Some(doc)) = (self.text, &item.doc) else { return item.span };
        let mut start = item.span.start as usize;
        for _ in 0..doc.split('\n').count() {
            start = text.get(..start).and_then(|s| s.rfind("##")).unwrap_or(start);
        }
        Span { start: start as u32, ..item.span }
    }

    fn doc(&mut self, doc: &str) {
        for (i, line) in doc.split('\n').enumerate() {
            if i > 0 {
                self.line();
            }
            self.push("##");
            if !line.is_empty() {
                self.push(" ");
                self.push(line);
            }
        }
    }

    fn item(&mut self, item: &Item) {
        if let Some(doc) = &item.doc {
            self.doc(doc);
            self.line();
        }
        match &item.kind {
            ItemKind::Use(path) => {
                self.push("use ");
                self.push(&path.iter().map(Ident::as_str).collect::<Vec<_>>().join("."));
            }
            ItemKind::Data(decls) => {
                self.push("data ");
                self.list(decls, |p, d| {
                    p.push(d.name.as_str());
                    p.push(": ");
                    p.ty(&d.ty);
                    if let Some(source) = &d.source {
                        p.push(" from ");
                        p.expr(source, expr::POSTFIX);
                    }
                });
            }
            ItemKind::Param(p) => self.param("param ", p),
            ItemKind::Let(l) => self.let_(l),
            ItemKind::Gen(c) => self.callable("gen ", c),
            ItemKind::Fn(c) => self.callable("fn ", c),
            ItemKind::Objective(c) => self.callable("objective ", c),
            ItemKind::Strategy(s) => self.strategy(s),
            ItemKind::Dist(d) => self.dist(d, item.span),
            ItemKind::Fit(f) => self.fit(f),
        }
    }

    fn callable(&mut self, word: &str, c: &Callable) {
        self.push(word);
        // A function without a name has the keyword's.
        if c.name != "fn" {
            self.push(c.name.as_str());
        }
        self.params(&c.params);
        if let Some(ret) = &c.ret {
            self.push(" -> ");
            self.ty(ret);
        }
        self.body(&c.body);
    }

    fn params(&mut self, params: &[FnParam]) {
        self.push("(");
        self.list(params, |p, f| {
            p.push(f.name.as_str());
            if let Some(ty) = &f.ty {
                p.push(": ");
                p.ty(ty);
            }
            if let Some(default) = &f.default {
                p.push(" = ");
                p.expr(default, expr::EXPR);
            }
        });
        self.push(")");
    }

    fn body(&mut self, body: &Expr) {
        self.push(" ");
        if let ExprKind::Block(b) = &body.kind {
            self.open_block(b);
        } else {
            self.push("= ");
            self.expr(body, expr::BLOCK);
        }
    }

    fn strategy(&mut self, s: &Strategy) {
        self.push(if s.biased { "biased strategy " } else { "strategy " });
        self.push(s.name.as_str());
        if !s.params.is_empty() {
            self.params(&s.params);
        }
        self.push(" for ");
        match &s.target {
            StrategyTarget::Any { name, needs } => {
                self.push(name.as_str());
                if let Some(needs) = needs {
                    self.push(": ");
                    self.push(needs.as_str());
                }
            }
            StrategyTarget::Dist { dist, args } => {
                self.push(dist.as_str());
                self.push("(");
                self.list(args, |p, a| p.pattern(a));
                self.push(")");
            }
        }
        self.push(" (");
        self.push(s.k.as_str());
        self.push(")");
        self.body(&s.body);
    }

    fn dist(&mut self, d: &Dist, span: Span) {
        self.push("dist ");
        self.push(d.name.as_str());
        if !d.params.is_empty() {
            self.params(&d.params);
        }
        self.push(" on ");
        self.ty(&d.support);
        self.push(" {");
        self.indent += 1;
        self.last = None;
        for (i, m) in d.members.iter().enumerate() {
            self.start(m.span, i == 0);
            if let Some(doc) = &m.doc {
                self.doc(doc);
                self.line();
            }
            self.push(m.name.as_str());
            if !m.params.is_empty() {
                self.params(&m.params);
            }
            if let Some(other) = &m.other {
                self.push("(");
                self.push(other.name.as_str());
                self.push("(");
                self.list(&other.params, |p, x| p.pattern(x));
                self.push("))");
            }
            self.body(&m.body);
            self.last = Some(m.span.end);
        }
        self.end_block(span, d.members.is_empty());
    }

    fn fit(&mut self, f: &Fit) {
        let mut clauses: Vec<String> = Vec::new();
        let piece = |f: &dyn Fn(&mut Printer<'_>)| {
            let mut p = Printer::new(&[], None);
            p.indent = self.indent;
            f(&mut p);
            p.out
        };
        if let Some(guide) = &f.guide {
            clauses.push(piece(&|p| {
                p.push("with ");
                p.expr(guide, expr::EXPR);
            }));
        }
        let mut goals = f.goals.as_slice();
        while let Some(first) = goals.first() {
            let n = goals.iter().take_while(|g| g.direction == first.direction).count();
            clauses.push(piece(&|p| {
                p.push(match first.direction {
                    Direction::Maximize => "maximize ",
                    Direction::Minimize => "minimize ",
                });
                p.list(&goals[..n], |p, g| {
                    p.expr(&g.objective, expr::EXPR);
                    if let Some(over) = &g.over {
                        p.push(" over ");
                        p.expr(over, expr::EXPR);
                    }
                });
            }));
            goals = &goals[n..];
        }
        if f.optimizer.is_some() || !f.settings.is_empty() {
            clauses.push(piece(&|p| {
                p.push("using ");
                if let Some(o) = &f.optimizer {
                    p.expr(o, expr::EXPR);
                    if !f.settings.is_empty() {
                        p.push(", ");
                    }
                }
                p.list(&f.settings, |p, s| {
                    p.push(s.name.as_str());
                    if s.name == "report" {
                        p.push("(");
                        p.expr(&s.value, expr::EXPR);
                        p.push(")");
                    } else {
                        p.push(" ");
                        p.expr(&s.value, expr::POSTFIX);
                    }
                });
            }));
        }
        self.push("fit");
        if let Some(model) = &f.model {
            self.push(" ");
            self.expr(model, expr::EXPR);
        }
        let width: usize = self.column() + clauses.iter().map(|c| c.len() + 1).sum::<usize>();
        let broken = width > WIDTH || clauses.iter().any(|c| c.contains('\n'));
        for (i, c) in clauses.iter().enumerate() {
            let joins = !broken || (i == 0 && (f.model.is_none() || c.starts_with("with ")));
            if joins {
                self.push(" ");
            } else {
                self.out.push_str("\n  ");
            }
            self.push(c);
        }
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        for (i, x) in items.iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            each(self, x);
        }
    }

    fn param(&mut self, word: &str, p: &Param) {
        self.push(word);
        self.push(p.name.as_str());
        if let Some(ty) = &p.ty {
            self.push(": ");
            self.ty(ty);
        }
        if let Some(init) = &p.init {
            self.push(" = ");
            self.expr(init, expr::BLOCK);
        }
    }

    fn let_(&mut self, l: &Let) {
        self.push("let ");
        self.pattern(&l.pattern);
        if let Some(ty) = &l.ty {
            self.push(": ");
            self.ty(ty);
        }
        self.push(" = ");
        self.expr(&l.value, expr::BLOCK);
    }

    fn pattern(&mut self, p: &Pattern) {
        match &p.kind {
            PatternKind::Wildcard => self.push("_"),
            PatternKind::Name(i) => self.push(i.as_str()),
            PatternKind::Tuple(parts) => {
                self.push("(");
                self.list(parts, |p, x| p.pattern(x));
                self.push(")");
            }
        }
    }

    fn ty(&mut self, t: &Type) {
        match &t.kind {
            TypeKind::Named { name, args, missing, dims } => {
                self.push(name.as_str());
                if !args.is_empty() {
                    self.push("(");
                    self.list(args, |p, e| p.expr(e, expr::EXPR));
                    self.push(")");
                }
                if *missing {
                    self.push("?");
                }
                self.dims(dims);
            }
            TypeKind::Array { element, dims } => {
                self.ty(element);
                self.dims(dims);
            }
            TypeKind::TraceOf(e) => {
                self.push("trace of ");
                self.expr(e, expr::POSTFIX);
            }
            TypeKind::Tuple(parts) => {
                self.push("(");
                self.list(parts, |p, x| p.ty(x));
                self.push(")");
            }
        }
    }

    fn dims(&mut self, dims: &[Expr]) {
        if !dims.is_empty() {
            self.push("[");
            self.list(dims, |p, e| p.expr(e, expr::EXPR));
            self.push("]");
        }
    }

    fn stmt(&mut self, s: &Stmt) {
        match &s.kind {
            StmtKind::Let(l) => self.let_(l),
            StmtKind::Choice(c) => self.choice(c),
            StmtKind::Param(p) => self.param("param ", p),
            StmtKind::State(p) => self.param("state ", p),
            StmtKind::Set { name, value } => {
                self.push("set ");
                self.push(name.as_str());
                self.push(" = ");
                self.expr(value, expr::BLOCK);
            }
            StmtKind::Report { name, value } => {
                self.push("report ");
                self.push(name.as_str());
                self.push(" = ");
                self.expr(value, expr::EXPR);
            }
            StmtKind::Factor(e) => {
                self.push("factor ");
                self.expr(e, expr::BLOCK);
            }
            StmtKind::AlsoMinimize(e) => {
                self.push("also_minimize ");
                self.expr(e, expr::BLOCK);
            }
            StmtKind::Expr(e) => self.expr(e, expr::BLOCK),
            StmtKind::Error => self.push("# a statement that could not be read"),
        }
    }

    /// A block over several lines.
    fn open_block(&mut self, b: &Block) {
        self.push("{");
        self.indent += 1;
        self.last = None;
        for (i, s) in b.stmts.iter().enumerate() {
            self.start(s.span, i == 0);
            self.stmt(s);
            self.last = Some(s.span.end);
        }
        if let Some(e) = &b.result {
            self.start(e.span, b.stmts.is_empty());
            self.expr(e, expr::BLOCK);
            self.last = Some(e.span.end);
        }
        self.end_block(b.span, b.stmts.is_empty() && b.result.is_none());
    }

    fn end_block(&mut self, span: Span, empty: bool) {
        let comments = self.comment_within(Span { start: self.last.unwrap_or(span.start), ..span });
        if comments {
            // Prints what is left before the brace; the line it opens then holds the brace.
            self.start(Span { start: span.end, ..span }, empty);
            let end = self.out.trim_end().len();
            self.out.truncate(end);
        }
        self.indent -= 1;
        if comments || !empty {
            self.line();
        }
        self.push("}");
        self.last = Some(span.end);
    }
}
