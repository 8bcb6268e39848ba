//! Random trees survive printing and parsing.

use ppl_diag::{FileId, Span};
use ppl_syntax::ast::*;
use ppl_syntax::{parse_expr, print_expr};
use proptest::prelude::*;
use proptest::strategy::Strategy;

fn expr(kind: ExprKind) -> Expr {
    Expr::new(Span::NONE, kind)
}

fn ident() -> impl Strategy<Value = Ident> {
    let names = ["x", "mu", "data", "by", "on", "given", "theta_1", "trace", "of", "with", "sample", "from"];
    prop::sample::select(names.to_vec()).prop_map(|n| Ident::new(n, Span::NONE))
}

fn leaf() -> impl Strategy<Value = Expr> {
    prop_oneof![
        (0..1000i64).prop_map(|n| expr(ExprKind::Literal(Literal::Int(n)))),
        (0.0..1e12f64).prop_map(|x| expr(ExprKind::Literal(Literal::Real(x)))),
        any::<bool>().prop_map(|b| expr(ExprKind::Literal(Literal::Bool(b)))),
        "[ -~\n\t]{0,6}".prop_map(|s| expr(ExprKind::Literal(Literal::Str(s)))),
        ident().prop_map(|i| expr(ExprKind::Name(i))),
    ]
}

fn operator() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp::*;
    prop::sample::select(vec![Or, And, Eq, Ne, Lt, Le, Gt, Ge, Add, Sub, Mul, Div, Rem, Pow])
}

fn block(e: impl Strategy<Value = Expr> + Clone) -> impl Strategy<Value = Block> {
    let stmt = prop_oneof![
        (ident(), e.clone()).prop_map(|(i, value)| {
            let pattern = Pattern { span: Span::NONE, kind: PatternKind::Name(i) };
            StmtKind::Let(Let { pattern, ty: None, value })
        }),
        (ident(), e.clone(), prop::option::of(e.clone())).prop_map(|(base, dist, by)| {
            let address = Address { span: Span::NONE, base, path: vec![] };
            StmtKind::Choice(Choice { address, dist, by })
        }),
        e.clone().prop_map(StmtKind::Factor),
        e.clone().prop_map(StmtKind::Expr),
    ];
    (prop::collection::vec(stmt, 0..4), e).prop_map(|(stmts, result)| Block {
        span: Span::NONE,
        stmts: stmts.into_iter().map(|kind| Stmt { span: Span::NONE, kind }).collect(),
        result: Some(Box::new(result)),
    })
}

fn tree() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(5, 40, 4, |e| {
        let b = |e: Expr| Box::new(e);
        let many = prop::collection::vec(e.clone(), 2..4);
        prop_oneof![
            4 => (operator(), e.clone(), e.clone()).prop_map(move |(op, x, y)| expr(ExprKind::Binary(op, b(x), b(y)))),
            2 => (any::<bool>(), e.clone()).prop_map(move |(neg, x)| {
                expr(ExprKind::Unary(if neg { UnaryOp::Neg } else { UnaryOp::Not }, b(x)))
            }),
            1 => (e.clone(), ident()).prop_map(move |(x, i)| expr(ExprKind::Field(b(x), i))),
            1 => (e.clone(), ident(), e.clone(), e.clone()).prop_map(move |(f, i, x, y)| expr(ExprKind::Call {
                callee: b(f),
                args: vec![Arg { name: None, value: x }, Arg { name: Some(i), value: y }],
            })),
            1 => (e.clone(), e.clone(), prop::option::of(e.clone())).prop_map(move |(x, i, end)| {
                let slice = expr(ExprKind::Range { start: None, end: end.map(b) });
                expr(ExprKind::Index { base: b(x), subscripts: vec![i, slice] })
            }),
            1 => many.clone().prop_map(|v| expr(ExprKind::Tuple(v))),
            1 => many.prop_map(|v| expr(ExprKind::Array(v))),
            1 => e.clone().prop_map(move |x| expr(ExprKind::Draw(b(x)))),
            1 => (e.clone(), block(e.clone()), block(e.clone())).prop_map(move |(c, then, other)| expr(ExprKind::If {
                cond: b(c),
                then,
                otherwise: Some(b(expr(ExprKind::Block(other)))),
            })),
            1 => block(e.clone()).prop_map(|x| expr(ExprKind::Expect(x))),
            1 => block(e.clone()).prop_map(|x| expr(ExprKind::Block(x))),
            1 => (ident(), e.clone(), block(e.clone()), any::<bool>()).prop_map(|(i, iter, body, listed)| {
                let pattern = Pattern { span: Span::NONE, kind: PatternKind::Name(i.clone()) };
                let carry = vec![Carry { name: i, init: iter.clone() }];
                let f = Box::new(For { span: Span::NONE, pattern, iter, carry, body });
                expr(if listed { ExprKind::Comprehension(f) } else { ExprKind::For(f) })
            }),
            1 => (ident(), e.clone(), e.clone(), prop::option::of(e.clone()), any::<bool>()).prop_map(
                move |(base, program, value, by, kind)| {
                    let address = Address { span: Span::NONE, base, path: vec![] };
                    let given = expr(ExprKind::Given {
                        program: b(program),
                        bindings: vec![Binding { span: Span::NONE, address: address.clone(), value, shorthand: false }],
                    });
                    let (program, by) = (b(given), by.map(b));
                    expr(if kind {
                        ExprKind::Normalize { program, by }
                    } else {
                        ExprKind::Marginal { keep: vec![Kept::Address(address)], program, by }
                    })
                }
            ),
        ]
    })
}

fn shape(e: &Expr) -> String {
    let text = format!("{e:?}");
    let mut parts = text.split("Span {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, p| out + p.split_once('}').map_or("", |x| x.1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printed_expressions_parse_to_themselves(e in tree()) {
        let text = print_expr(&e);
        let (again, diagnostics) = parse_expr(FileId(0), &text);
        prop_assert!(diagnostics.is_empty(), "{}\n{:#?}", text, diagnostics);
        prop_assert_eq!(shape(&e), shape(&again), "{}", text);
    }
}
