//! Each mistake gets its code, its place and something to paste; one mistake never hides the next.

use ppl_diag::{Diagnostic, FileId, code_info};
use ppl_syntax::{Repl, is_incomplete, parse, parse_expr, parse_repl};

fn diagnostics(text: &str) -> Vec<Diagnostic> {
    let d = parse(FileId(0), text).diagnostics;
    for d in &d {
        assert!(code_info(d.code.0).is_some(), "{} has no page", d.code);
        assert!(!d.labels.is_empty() && d.help.is_some(), "{d:#?}");
    }
    d
}

/// `code` at the first `place` in the text, and nothing else.
#[track_caller]
fn one(text: &str, code: &str, place: &str) -> Diagnostic {
    let all = diagnostics(text);
    assert_eq!(all.len(), 1, "{text}\n{all:#?}");
    let d = all.into_iter().next().unwrap();
    assert_eq!(d.code.0, code, "{text}\n{d:#?}");
    let span = d.span().unwrap();
    let shown = &text[span.start as usize..span.end as usize];
    assert_eq!(shown, place, "{text}\n{d:#?}");
    d
}

/// The text with the suggested edit made.
fn mended(text: &str, d: &Diagnostic) -> String {
    let e = d.edit.as_ref().unwrap();
    format!("{}{}{}", &text[..e.span.start as usize], e.text, &text[e.span.end as usize..])
}

/// The error is as told, and the edit removes it.
#[track_caller]
fn fixed(text: &str, code: &str, place: &str) {
    let d = one(text, code, place);
    let better = mended(text, &d);
    assert!(diagnostics(&better).is_empty(), "{better}\n{:#?}", diagnostics(&better));
}

#[test]
fn edits_mend_the_usual_mistakes() {
    fixed("gen f() { x = normal(0, 1) }", "E0005", "=");
    fixed("gen f() { x[1] := normal(0, 1) }", "E0005", ":=");
    fixed("x = 3", "E0005", "=");
    fixed("gen f() { let x ~ normal(0, 1) }", "E0005", "~");
    fixed("let x == 3", "E0006", "==");
    fixed("let x := 3", "E0006", ":=");
    fixed("let x = a && b", "E0006", "&&");
    fixed("let x = a || b", "E0006", "||");
    fixed("let x = !b", "E0006", "!");
    fixed("let x = a ** b", "E0006", "**");
    fixed("fn f(a) { if a = 3 { 1 } else { 2 } }", "E0006", "=");
    fixed("fn f(a) { if a { 1 } elif b { 2 } else { 3 } }", "E0006", "elif");
    fixed("fn f(a) { let for = 3 }", "E0007", "for");
    fixed("let x = 2y", "E0013", "2y");
    fixed("let x = 1.", "E0013", ".");
    fixed("let x = .5", "E0013", ".");
    fixed("let μ = 3", "E0011", "μ");
    fixed("let log_σ2 = 3", "E0011", "log_σ2");
    fixed("let x = a × b", "E0011", "×");
    fixed("data x: real from \"a.json", "E0012", "\"a.json");
    fixed("let x = 99999999999999999999", "E0013", "99999999999999999999");
    fixed("gen f() { x ~ d y ~ d }", "E0017", "y");
    fixed("let x = f(a b)", "E0001", "b");
    fixed("let x = (1, 2]", "E0004", "]");
    fixed("gen f() { x ~ d } }", "E0004", "}");
    fixed("strategy s for normal(a, b) = k(a)", "E0016", "normal(a, b)");
    fixed("gen f(t: trce of g) { }", "E0014", "trce");
}

#[test]
fn mistakes_without_an_edit() {
    one("fn f(a) { if a b else c }", "E0002", "b");
    one("gen f()\nlet x = 1", "E0002", "");
    one("let x = a < b < c", "E0006", "<");
    one("gen f() { return 3 }", "E0009", "return");
    one("def f(x) { x }", "E0009", "def");
    one("x ~ normal(0, 1)", "E0008", "~");
    one("gen f() { let y = g(x ~ d) }", "E0008", "~");
    one("gen f() { 3 ~ normal(0, 1) }", "E0018", "3");
    one("gen f() { (a, b) ~ normal(0, 1) }", "E0018", "(a, b)");
    one("let x = 1e", "E0013", "1e");
    one("let x = 1e999", "E0013", "1e999");
    one(r#"let x = "a\q""#, "E0012", r#""a\q""#);
    one("fit m() with a with b", "E0015", "with");
    one("fit m() using adam(1), sgd(2)", "E0015", "sgd(2)");
    one("fit m() using adam(1), steps 1, steps 2", "E0015", "steps 2");
    one("let x = ", "E0001", "=");
    one("let x = 3 +", "E0001", "+");
    one("gen f() { ; , }", "E0001", ",");
}

#[test]
fn unclosed_brackets_are_blamed_where_they_open() {
    one("gen f() {\n  x ~ normal(0, 1\n  y ~ normal(0, 1)\n}", "E0003", "(");
    one("gen f() {\n  let x = [1, 2\n  x\n}", "E0003", "[");
    one("gen f() {\n  let x = g(1, 2\n  let y = 3\n}", "E0003", "(");
    one("gen f() {\n  x ~ normal(0, 1)\n\ngen g() { x ~ d }\n", "E0003", "{");
    one("gen f() {\n  x ~ normal(0, 1)\n", "E0003", "{");
    one("let x = (1 + 2", "E0003", "(");
}

#[test]
fn every_error_of_a_file_is_reported() {
    let text = "let a = 1 +\nlet b = 2\ngen f() {\n  x = normal(0, 1)\n  for i n 3 {\n    y = 2\n    z ~ normal(0, 1)\n  }\n  w ~ \
                normal(0,, 1)\n}\ngen g() {\n  v := 3\n}\n";
    let p = parse(FileId(0), text);
    let lines: Vec<usize> =
        p.diagnostics.iter().map(|d| text[..d.span().unwrap().start as usize].matches('\n').count() + 1).collect();
    assert_eq!(lines, [1, 4, 5, 6, 9, 12], "{:#?}", p.diagnostics);
    assert_eq!(p.ast.items.len(), 3, "what is right is still there");
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let deep = 100_000;
    for text in [
        format!("let x = {}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("let x = {}1", "-".repeat(deep)),
        format!("let x = {}1", "not ".repeat(deep)),
        format!("let x = 1{}", " + 1".repeat(deep)),
        format!("let x = a{}", ".a".repeat(deep)),
        format!("let x = a{}", "(1)".repeat(deep)),
        format!("let x = a{}", " ^ a".repeat(deep)),
        format!("let x = if a {{ 1 }}{}", " else if a { 1 }".repeat(deep)),
    ] {
        let d = diagnostics(&text);
        assert_eq!(d.len(), 1);
        assert_eq!(d[0].code.0, "E0010");
    }
    let wide = format!("let x = [{}1]", "1 + 2, ".repeat(5000));
    assert!(diagnostics(&wide).is_empty());
}

#[test]
fn any_text_is_taken() {
    for text in ["", "\n\n", "}", "(((", "{{{", "\"", "\u{feff}let x = 1", "gen", "gen f(", "by by by", "#", "## doc", "~~", "\0"] {
        let _ = parse(FileId(0), text);
        let _ = parse_expr(FileId(0), text);
        let _ = parse_repl(FileId(0), text);
        let _ = is_incomplete(text);
    }
    // Every prefix, and every program with one character missing.
    let text = include_str!("programs/snippets.ppl");
    for i in (0..text.len()).step_by(7) {
        let _ = parse(FileId(0), &text[..i]);
        let _ = parse(FileId(0), &format!("{}{}", &text[..i], &text[i + 1..]));
    }
}

#[test]
fn prompt() {
    assert!(is_incomplete("gen f() {"));
    assert!(is_incomplete("let x = f(1,"));
    assert!(is_incomplete("let x ="));
    assert!(is_incomplete("1 +"));
    assert!(!is_incomplete("let x = 3"));
    assert!(!is_incomplete("f(1))"));
    assert!(matches!(parse_repl(FileId(0), "let x = 3").0, Repl::Items(i) if i.len() == 1));
    assert!(matches!(parse_repl(FileId(0), "x + 3").0, Repl::Stmts(b) if b.stmts.is_empty() && b.result.is_some()));
    assert!(matches!(parse_repl(FileId(0), "x ~ normal(0, 1)").0, Repl::Stmts(b) if b.stmts.len() == 1));
    assert!(parse_expr(FileId(0), "iwelbo(5)").1.is_empty());
    assert!(!parse_expr(FileId(0), "iwelbo(5").1.is_empty());
}
