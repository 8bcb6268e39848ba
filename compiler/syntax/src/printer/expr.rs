//! Expressions as text. Levels follow the grammar: an operand of a lower level is put in parentheses.

use super::{Printer, WIDTH};
use crate::ast::*;

/// Anything, also a bare block.
pub(super) const BLOCK: u8 = 0;
/// Any expression but a bare block.
pub(super) const EXPR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const MINUS: u8 = 7;
const POWER: u8 = 8;
const OPERAND: u8 = 9;
const MODIFIED: u8 = 10;
/// Names, constants, calls, indices, anything in brackets.
pub(super) const POSTFIX: u8 = 11;

fn binary_levels(op: BinaryOp) -> (u8, u8, u8) {
    match op {
        BinaryOp::Or => (EXPR, EXPR, AND),
        BinaryOp::And => (AND, AND, NOT),
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => (COMPARE, SUM, SUM),
        BinaryOp::Add | BinaryOp::Sub => (SUM, SUM, PRODUCT),
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => (PRODUCT, PRODUCT, MINUS),
        BinaryOp::Pow => (POWER, OPERAND, MINUS),
    }
}

fn level(e: &Expr) -> u8 {
    match &e.kind {
        ExprKind::Block(_) | ExprKind::Function(_) => BLOCK,
        ExprKind::Binary(op, ..) => binary_levels(*op).0,
        ExprKind::Unary(UnaryOp::Not, _) => NOT,
        ExprKind::Unary(UnaryOp::Neg, _) => MINUS,
        ExprKind::Literal(Literal::Int(n)) if *n < 0 => MINUS,
        ExprKind::Literal(Literal::Real(x)) if x.is_sign_negative() => MINUS,
        ExprKind::If { .. }
        | ExprKind::For(_)
        | ExprKind::Expect(_)
        | ExprKind::AssumeContinuous(_)
        | ExprKind::Draw(_)
        | ExprKind::Marginal { .. }
        | ExprKind::Normalize { .. } => OPERAND,
        ExprKind::Given { .. } | ExprKind::WithData { .. } | ExprKind::By { .. } => MODIFIED,
        ExprKind::Range { .. }
        | ExprKind::Literal(_)
        | ExprKind::Name(_)
        | ExprKind::Field(..)
        | ExprKind::Call { .. }
        | ExprKind::Index { .. }
        | ExprKind::Tuple(_)
        | ExprKind::Array(_)
        | ExprKind::Comprehension(_)
        | ExprKind::Error => POSTFIX,
    }
}

impl Printer<'_> {
    /// Prints `e` where the grammar asks for at least `min`.
    pub(super) fn expr(&mut self, e: &Expr, min: u8) {
        if level(e) < min {
            self.push("(");
            self.bare(e);
            self.push(")");
        } else {
            self.bare(e);
        }
    }

    fn bare(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Literal(l) => self.literal(l),
            ExprKind::Name(i) => self.push(i.as_str()),
            ExprKind::Field(base, field) => {
                self.expr(base, POSTFIX);
                self.push(".");
                self.push(field.as_str());
            }
            ExprKind::Call { callee, args } => {
                self.expr(callee, POSTFIX);
                self.push("(");
                self.list(args, |p, a| {
                    if let Some(name) = &a.name {
                        p.push(name.as_str());
                        p.push(" = ");
                    }
                    p.expr(&a.value, BLOCK);
                });
                self.push(")");
            }
            ExprKind::Index { base, subscripts } => {
                self.expr(base, POSTFIX);
                self.push("[");
                self.list(subscripts, |p, s| p.expr(s, EXPR));
                self.push("]");
            }
            ExprKind::Range { start, end } => {
                if let Some(a) = start {
                    self.expr(a, EXPR);
                }
                self.push("..");
                if let Some(b) = end {
                    self.expr(b, EXPR);
                }
            }
            ExprKind::Unary(op, a) => {
                self.push(op.symbol());
                if *op == UnaryOp::Not {
                    self.push(" ");
                }
                self.expr(a, if *op == UnaryOp::Not { NOT } else { MINUS });
            }
            ExprKind::Binary(op, a, b) => {
                let (_, left, right) = binary_levels(*op);
                self.expr(a, left);
                if *op == BinaryOp::Pow {
                    self.push("^");
                } else {
                    self.push(" ");
                    self.push(op.symbol());
                    self.push(" ");
                }
                self.expr(b, right);
            }
            ExprKind::Tuple(parts) => {
                self.push("(");
                self.list(parts, |p, x| p.expr(x, BLOCK));
                if parts.len() == 1 {
                    self.push(",");
                }
                self.push(")");
            }
            ExprKind::Array(parts) => {
                self.push("[");
                self.list(parts, |p, x| p.expr(x, BLOCK));
                self.push("]");
            }
            ExprKind::If { cond, then, otherwise } => self.if_(cond, then, otherwise.as_deref()),
            ExprKind::For(f) => self.for_(f),
            ExprKind::Comprehension(f) => {
                self.push("[");
                self.for_(f);
                self.push("]");
            }
            ExprKind::Block(b) => self.block(b),
            ExprKind::Expect(b) => {
                self.push("expect ");
                self.open_block(b);
            }
            ExprKind::AssumeContinuous(b) => {
                self.push("assume_continuous ");
                self.block(b);
            }
            ExprKind::Draw(d) => {
                self.push("draw ");
                self.expr(d, POSTFIX);
            }
            ExprKind::Given { program, bindings } => {
                self.expr(program, MODIFIED);
                self.push(" given ");
                self.bindings(bindings);
            }
            ExprKind::WithData { program, bindings } => {
                self.expr(program, MODIFIED);
                self.push(" with data ");
                self.bindings(bindings);
            }
            ExprKind::By { program, strategies } => {
                self.expr(program, MODIFIED);
                self.push(" by { ");
                self.list(strategies, |p, s| {
                    match &s.address {
                        Some(a) => p.address(a),
                        None => p.push("_"),
                    }
                    p.push(": ");
                    p.expr(&s.strategy, EXPR);
                });
                self.push(" }");
            }
            ExprKind::Marginal { keep, program, by } => {
                self.push("marginal { ");
                self.list(keep, |p, k| match k {
                    Kept::Address(a) => p.address(a),
                    Kept::Latents(t) => {
                        p.push("latents(");
                        p.expr(t, EXPR);
                        p.push(")");
                    }
                });
                self.push(" } of ");
                self.expr(program, MODIFIED);
                self.by(by.as_deref());
            }
            ExprKind::Normalize { program, by } => {
                self.push("normalize ");
                self.expr(program, MODIFIED);
                self.by(by.as_deref());
            }
            ExprKind::Function(c) => self.callable("fn ", c),
            ExprKind::Error => self.push("_error_"),
        }
    }

    fn by(&mut self, by: Option<&Expr>) {
        if let Some(by) = by {
            self.push(" by ");
            self.expr(by, POSTFIX);
        }
    }

    fn bindings(&mut self, bindings: &[Binding]) {
        self.push("{ ");
        self.list(bindings, |p, b| {
            p.address(&b.address);
            if !b.shorthand {
                p.push(": ");
                p.expr(&b.value, BLOCK);
            }
        });
        self.push(" }");
    }

    pub(super) fn address(&mut self, a: &Address) {
        self.push(a.base.as_str());
        for part in &a.path {
            match part {
                AddressPart::Field(f) => {
                    self.push(".");
                    self.push(f.as_str());
                }
                AddressPart::Index(subscripts) => {
                    self.push("[");
                    self.list(subscripts, |p, s| p.expr(s, EXPR));
                    self.push("]");
                }
            }
        }
    }

    pub(super) fn choice(&mut self, c: &Choice) {
        self.address(&c.address);
        self.push(" ~ ");
        let bare = match &c.dist.kind {
            ExprKind::If { .. } => true,
            ExprKind::Normalize { by, .. } | ExprKind::Marginal { by, .. } => by.is_some() || c.by.is_none(),
            _ => false,
        };
        self.expr(&c.dist, if bare { EXPR } else { MODIFIED });
        self.by(c.by.as_ref());
    }

    fn literal(&mut self, l: &Literal) {
        match l {
            Literal::Int(n) => self.push(&n.to_string()),
            Literal::Real(x) => self.push(&format!("{x:?}")),
            Literal::Bool(b) => self.push(if *b { "true" } else { "false" }),
            Literal::Str(s) => {
                self.push("\"");
                for c in s.chars() {
                    match c {
                        '\n' => self.push("\\n"),
                        '\t' => self.push("\\t"),
                        '"' => self.push("\\\""),
                        '\\' => self.push("\\\\"),
                        c => self.out.push(c),
                    }
                }
                self.push("\"");
            }
        }
    }

    fn if_(&mut self, cond: &Expr, then: &Block, otherwise: Option<&Expr>) {
        self.push("if ");
        self.expr(cond, EXPR);
        self.push(" ");
        self.block(then);
        match otherwise.map(|o| (o, &o.kind)) {
            None => {}
            Some((_, ExprKind::Block(b))) => {
                self.push(" else ");
                self.block(b);
            }
            Some((o, _)) => {
                self.push(" else ");
                self.bare(o);
            }
        }
    }

    fn for_(&mut self, f: &For) {
        self.push("for ");
        self.pattern(&f.pattern);
        self.push(" in ");
        self.expr(&f.iter, EXPR);
        if !f.carry.is_empty() {
            self.push(" carry (");
            self.list(&f.carry, |p, c| {
                p.push(c.name.as_str());
                p.push(" = ");
                p.expr(&c.init, EXPR);
            });
            self.push(")");
        }
        self.push(" ");
        self.block(&f.body);
    }

    /// On one line where it is short and has at most two statements, otherwise over several.
    fn block(&mut self, b: &Block) {
        let count = b.stmts.len() + usize::from(b.result.is_some());
        if count == 0 && !self.comment_within(b.span) {
            self.push("{ }");
            return;
        }
        if count <= 2 && !self.comment_within(b.span) {
            let mut p = Printer::new(&[], None);
            p.push("{ ");
            for s in &b.stmts {
                p.stmt(s);
                if b.result.is_some() || b.stmts.last() != Some(s) {
                    p.push("; ");
                }
            }
            if let Some(e) = &b.result {
                p.expr(e, BLOCK);
            }
            p.push(" }");
            if !p.out.contains('\n') && self.column() + p.out.len() <= WIDTH {
                self.push(&p.out);
                return;
            }
        }
        self.open_block(b);
    }
}
