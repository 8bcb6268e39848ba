//! Walking expressions.

use crate::ast::{Address, AddressPart, Block, Expr, ExprKind, Kept, Stmt, StmtKind};

/// The expressions directly inside `e`, in the order of the text; those of blocks' statements included.
pub fn children_mut(e: &mut Expr) -> Vec<&mut Expr> {
    match &mut e.kind {
        ExprKind::Literal(_) | ExprKind::Name(_) | ExprKind::Error => Vec::new(),
        ExprKind::Field(x, _) | ExprKind::Unary(_, x) | ExprKind::Draw(x) => vec![x],
        ExprKind::Call { callee, args } => std::iter::once(&mut **callee).chain(args.iter_mut().map(|a| &mut a.value)).collect(),
        ExprKind::Index { base, subscripts } => std::iter::once(&mut **base).chain(subscripts).collect(),
        ExprKind::Range { start, end } => start.iter_mut().chain(end).map(|e| &mut **e).collect(),
        ExprKind::Binary(_, a, b) => vec![a, b],
        ExprKind::Tuple(es) | ExprKind::Array(es) => es.iter_mut().collect(),
        ExprKind::If { cond, then, otherwise } => {
            let mut out = vec![&mut **cond];
            out.extend(block_exprs_mut(then));
            out.extend(otherwise.iter_mut().map(|e| &mut **e));
            out
        }
        ExprKind::For(f) | ExprKind::Comprehension(f) => {
            let mut out = vec![&mut f.iter];
            out.extend(f.carry.iter_mut().map(|c| &mut c.init));
            out.extend(block_exprs_mut(&mut f.body));
            out
        }
        ExprKind::Block(b) | ExprKind::Expect(b) | ExprKind::AssumeContinuous(b) => block_exprs_mut(b),
        ExprKind::Given { program, bindings } | ExprKind::WithData { program, bindings } => {
            std::iter::once(&mut **program).chain(bindings.iter_mut().map(|b| &mut b.value)).collect()
        }
        ExprKind::By { program, strategies } => {
            std::iter::once(&mut **program).chain(strategies.iter_mut().map(|s| &mut s.strategy)).collect()
        }
        ExprKind::Marginal { keep, program, by } => {
            let of = keep.iter_mut().filter_map(|k| if let Kept::Latents(t) = k { Some(t) } else { None });
            of.chain([&mut **program]).chain(by.iter_mut().map(|b| &mut **b)).collect()
        }
        ExprKind::Function(c) => c.params.iter_mut().filter_map(|p| p.default.as_mut()).chain([&mut c.body]).collect(),
        ExprKind::Normalize { program, by } => std::iter::once(&mut **program).chain(by.iter_mut().map(|b| &mut **b)).collect(),
    }
}

/// The expressions of a block's statements and its value, in the order of the text. Subscripts of addresses are not among them.
pub fn block_exprs_mut(b: &mut Block) -> Vec<&mut Expr> {
    let mut out: Vec<&mut Expr> = b.stmts.iter_mut().flat_map(stmt_exprs_mut).collect();
    out.extend(b.result.iter_mut().map(|e| &mut **e));
    out
}

/// The expressions of a statement.
fn stmt_exprs_mut(s: &mut Stmt) -> Vec<&mut Expr> {
    match &mut s.kind {
        StmtKind::Let(l) => vec![&mut l.value],
        StmtKind::Choice(c) => std::iter::once(&mut c.dist).chain(c.by.as_mut()).collect(),
        StmtKind::Param(p) | StmtKind::State(p) => p.init.iter_mut().collect(),
        StmtKind::Set { value: e, .. }
        | StmtKind::Report { value: e, .. }
        | StmtKind::Factor(e)
        | StmtKind::AlsoMinimize(e)
        | StmtKind::Expr(e) => vec![e],
        StmtKind::Error => Vec::new(),
    }
}

/// All subscripts of an address, in order: `x[i][j, k]` has three.
pub fn subscripts(a: &Address) -> Vec<&Expr> {
    let parts = a.path.iter().filter_map(|p| if let AddressPart::Index(es) = p { Some(es) } else { None });
    parts.flatten().collect()
}
