//! Divergences that the library declares, against integrals and sums of their definition; `kl` of batches and transported distributions.

use ppl_check::{Evaluated, elaborate_expression};
use ppl_core::BUILTINS;
use ppl_diag::FileId;
use ppl_driver::{Cx, Source, lower_expression};
use ppl_interp::Interp;
use ppl_syntax::ast::{Dist, ItemKind, TypeKind};

/// The value of a real expression beside some declarations, by the reference interpreter; codes of what is wrong.
fn evaluated(file: &str, text: &str) -> Result<f64, Vec<String>> {
    let source = Source::from_text("m.ppl", file);
    let (e, errors) = ppl_syntax::parse_expr(FileId(900), text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    let (checked, v) = elaborate_expression(&source.libraries(), &source.file, None, &e);
    let Some(Evaluated::Computed { func, inputs, .. }) = v else {
        return Err(checked.diagnostics.iter().map(|d| format!("{} {} {:?}", d.code, d.title, d.notes)).collect());
    };
    let lowered = lower_expression(&checked.program, func, &inputs, &mut Cx::default()).expect("lowers");
    let out = Interp::new(&checked.program.module.dets).run(&lowered.func, &[]).expect("runs");
    Ok(out[0].to_vec0::<f64>().expect("a real scalar"))
}

fn value(text: &str) -> f64 {
    evaluated("", text).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

fn library() -> Vec<Dist> {
    let file = ppl_stdlib::PRELUDE.iter().find(|f| f.name == "std/distributions.ppl").expect("distributions");
    let parsed = ppl_syntax::parse(FileId(0), file.text);
    parsed.ast.items.into_iter().filter_map(|i| if let ItemKind::Dist(d) = i.kind { Some(d) } else { None }).collect()
}

/// A distribution at known parameters, two choices of them.
fn applied(d: &Dist, second: bool) -> String {
    let pick = |a: &str, b: &str| if second { b.to_string() } else { a.to_string() };
    let args: Vec<String> = d
        .params
        .iter()
        .enumerate()
        .map(|(k, p)| {
            let ty = p.ty.as_ref().map(|t| match &t.kind {
                TypeKind::Named { name, dims, .. } => (name.as_str().to_string(), dims.len()),
                _ => (String::new(), 0),
            });
            let (kind, rank) = ty.unwrap_or_default();
            match (kind.as_str(), rank, p.name.as_str()) {
                ("real", 0, _) => pick("0.4", "-0.3"),
                ("positive", 0, _) if k % 2 == 0 => pick("1.7", "1.2"),
                ("positive", 0, _) => pick("0.8", "2.1"),
                ("unit", 0, _) => pick("0.35", "0.25"),
                ("int", 0, _) => "4".to_string(),
                ("simplex", 1, _) => pick("[0.2, 0.5, 0.3]", "[0.4, 0.25, 0.35]"),
                ("positive", 1, _) => pick("[1.5, 1.2, 2.0]", "[1.9, 2.2, 1.4]"),
                ("real", 1, "logits") => pick("[0.3, -0.2, 0.5]", "[-1.0, 0.4, 0.1]"),
                ("real", 1, _) => pick("[0.3, -0.4]", "[-0.2, 0.5]"),
                ("real", 2, "l") => pick("[[0.9, 0.0], [0.3, 0.8]]", "[[1.2, 0.0], [-0.2, 0.7]]"),
                ("real", 2, _) => pick("[[1.0, 0.3], [0.3, 0.8]]", "[[1.5, -0.2], [-0.2, 0.9]]"),
                other => panic!("`{}` has a parameter of type {other:?}: give it values here", d.name),
            }
        })
        .collect();
    format!("{}({})", d.name, args.join(", "))
}

/// The mean of `log_density(a, x) - log_density(b, x)` under `a`, by a sum or the midpoint rule, and how exact that is.
fn defined(d: &Dist, a: &str, b: &str) -> (f64, f64) {
    let TypeKind::Named { name, dims, .. } = &d.support.kind else { panic!("a support of `{}`", d.name) };
    let term = |x: &str| format!("density({a}, {x}) * (log_density({a}, {x}) - log_density({b}, {x}))");
    let line = |t: &str, dt: &str, lo: f64, hi: f64| {
        let h = (hi - lo) / 20_000.0;
        let one = term("x");
        value(&format!(
            "sum([for i in 20000 {{ let u = ({lo:?}) + {h:?} * (real(i) + 0.5)\n let x = {t}\n ({dt}) * {one} }}]) * {h:?}"
        ))
    };
    match (name.as_str(), dims.len()) {
        ("bool", 0) => (value(&format!("{} + {}", term("true"), term("false"))), 1e-12),
        ("integers", 0) => {
            let n = if d.name.as_str().starts_with("categorical") { 3 } else { 5 };
            (value(&format!("sum([for i in {n} {{ {} }}])", term("i"))), 1e-12)
        }
        ("natural", 0) => (value(&format!("sum([for i in 150 {{ {} }}])", term("i"))), 1e-12),
        ("real", 0) => (line("sinh(u)", "cosh(u)", -25.0, 25.0), 1e-5),
        ("positive", 0) => (line("exp(u)", "exp(u)", -60.0, 40.0), 1e-6),
        ("unit", 0) => (line("sigmoid(u)", "sigmoid(u) * sigmoid(-u)", -30.0, 30.0), 1e-6),
        ("simplex", 1) => {
            let one = term("x");
            let text = format!(
                "sum([for i in 400 {{ sum([for j in 400 {{ let u = (i + 0.5) / 400\n let v = (j + 0.5) / 400\n let s = u^2 * (3 - 2 * u)\n let t = v^2 * (3 - 2 * v)\n let x = [s, (1 - s) * t, (1 - s) * (1 - t)]\n (1 - s) * 36 * u * (1 - u) * v * (1 - v) * {one} / 160000 }}]) }}])"
            );
            (value(&text), 1e-4)
        }
        ("real", 1) => {
            let one = term("x");
            let text = format!(
                "sum([for i in 300 {{ sum([for j in 300 {{ let x = [(i - 149.5) / 18, (j - 149.5) / 18]\n {one} / 324 }}]) }}])"
            );
            (value(&text), 1e-6)
        }
        other => panic!("`{}` has the support {other:?}: write its integral here", d.name),
    }
}

#[test]
fn declared_divergences_are_the_integrals() {
    let all = library();
    let (mut pairs, mut wrong) = (0, Vec::new());
    for d in &all {
        for other in d.members.iter().filter_map(|m| m.other.as_ref()) {
            let e = all.iter().find(|e| e.name.as_str() == other.name.as_str()).expect("a distribution of the library");
            let (a, b) = (applied(d, false), applied(e, true));
            let (kl, (want, tolerance)) = (value(&format!("kl({a}, {b})")), defined(d, &a, &b));
            pairs += 1;
            if !((kl - want).abs() <= tolerance * (1.0 + want.abs()) && want > 0.01) {
                wrong.push(format!("kl({a}, {b}) = {kl}, not {want}"));
            }
            if d.name == e.name {
                let none = value(&format!("kl({a}, {a})"));
                if none.abs() > 1e-14 {
                    wrong.push(format!("kl({a}, {a}) = {none}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pairs >= 30, "{pairs} pairs");
}

#[test]
fn certain_values_have_finite_divergences() {
    let half = 0.5f64.ln();
    for (text, want) in [
        ("kl(flip(0.0), flip(0.0))", 0.0),
        ("kl(flip(1.0), flip(1.0))", 0.0),
        ("kl(flip(1.0), flip(0.25))", -(0.25f64.ln())),
        ("kl(flip(0.0), flip(0.25))", -(0.75f64.ln())),
        ("kl(flip(1.0), flip(0.0))", f64::INFINITY),
        ("kl(flip(0.0), flip_logits(0.0))", -half),
        ("kl(flip(1.0), flip_logits(0.0))", -half),
        ("kl(flip_logits(0.0), flip(1.0))", f64::INFINITY),
        ("kl(categorical([0.0, 1.0, 0.0]), categorical([0.5, 0.5, 0.0]))", -half),
        ("kl(categorical([0.0, 1.0, 0.0]), categorical([0.0, 1.0, 0.0]))", 0.0),
        ("kl(categorical([0.0, 1.0, 0.0]), categorical_logits([0.0, 0.0, -700.0]))", -half),
        ("kl(categorical_logits([0.0, 0.0]), categorical([0.5, 0.5]))", 0.0),
        ("kl(binomial(4, 0.0), binomial(4, 0.5))", -4.0 * half),
        ("kl(binomial(4, 1.0), binomial(4, 1.0))", 0.0),
        ("kl(geometric(1.0), geometric(0.5))", -half),
        ("kl(geometric(1.0), geometric(1.0))", 0.0),
    ] {
        let found = value(text);
        assert!(found == want || (found - want).abs() < 1e-12, "{text}: {found}, not {want}");
    }
}

#[test]
fn examples_of_functions_evaluate() {
    let mut seen = 0;
    for b in BUILTINS.iter().filter(|b| b.example.1.parse::<f64>().is_ok()) {
        let (text, want) = b.example;
        let found = value(&format!("real({text})"));
        let want: f64 = want.parse().expect("a number");
        assert!((found - want).abs() < 1e-12, "{text}: {found}, not {want}");
        seen += 1;
    }
    assert!(seen > 5 && BUILTINS.iter().any(|b| b.name == "kl"), "{seen}");
}

#[test]
fn elements_add_up() {
    let near = |a: &str, b: &str| {
        let d = value(&format!("({a}) - ({b})"));
        assert!(d.abs() < 1e-12, "{a} is not {b}: {d}");
    };
    near(
        "kl(normal([0.0, 1.0], 1.0), normal(0.5, [1.0, 2.0]))",
        "kl(normal(0, 1), normal(0.5, 1)) + kl(normal(1, 1), normal(0.5, 2))",
    );
    near("kl(flip([[0.2, 0.3], [0.4, 0.5]]), flip(0.5))", "sum([for p in 4 { kl(flip(0.2 + 0.1 * p), flip(0.5)) }])");
    near(
        "kl(dirichlet([[1.0, 2.0], [3.0, 1.0]]), dirichlet([1.0, 1.0]))",
        "kl(beta(1, 2), beta(1, 1)) + kl(beta(3, 1), beta(1, 1))",
    );
    near(
        "kl(mv_normal([0.5, -1.0], [[4.0, 0.0], [0.0, 0.25]]), mv_normal([0.0, 0.0], eye(2)))",
        "kl(normal([0.5, -1.0], [2.0, 0.5]), normal(0, 1))",
    );
}

#[test]
fn transported_distributions_diverge_as_their_bases() {
    let near = |a: &str, b: &str| {
        let d = value(&format!("({a}) - ({b})"));
        assert!(d.abs() < 1e-12, "{a} is not {b}: {d}");
    };
    near("kl(constrain(normal(0.3, 0.5), positive), gamma(2, 1))", "kl(log_normal(0.3, 0.5), gamma(2, 1))");
    near("kl(log_normal(0.3, 0.5), constrain(normal(0, 1), positive))", "kl(normal(0.3, 0.5), normal(0, 1))");
    near("kl(constrain(normal(0.3, 0.5), unit), constrain(normal(0, 1), unit))", "kl(normal(0.3, 0.5), normal(0, 1))");
    let simplex = "constrain(normal([0.1, -0.4], 0.5), simplex), constrain(normal(zeros(2), 1), simplex)";
    near(&format!("kl({simplex})"), "kl(normal([0.1, -0.4], 0.5), normal(0, 1))");
}

#[test]
fn pairs_without_a_divergence_are_refused_with_those_that_have_one() {
    for text in [
        "kl(normal(0, 1), student_t(3, 0, 1))",
        "kl(normal(0, 1), gamma(2, 1))",
        "kl(binomial(4, 0.5), binomial(5, 0.5))",
        "kl(categorical([0.5, 0.5]), categorical([0.2, 0.3, 0.5]))",
        "kl(uniform(0, 1), uniform(0, 2))",
    ] {
        let e = evaluated("", text).expect_err(text).concat();
        assert!(e.contains("E0416") && e.contains("`kl(gamma, exponential)`"), "{text}: {e}");
    }
    let e = evaluated("", "kl(normal([0.0, 1.0], 1), normal([0.0, 1.0, 2.0], 1))").expect_err("sizes").concat();
    assert!(e.contains("E0202"), "{e}");
    let e = evaluated("", "kl(normal(0, 1), 2.0)").expect_err("a number").concat();
    assert!(e.contains("E0201"), "{e}");
}

#[test]
fn a_model_may_declare_its_own() {
    let rayleigh = "dist rayleigh(sigma: positive) on positive {\n  log_density(x) = log(x) - 2 * log(sigma) - 0.5 * (x / sigma)^2\n  MEMBER\n}\n";
    let with = |member: &str, text: &str| evaluated(&rayleigh.replace("MEMBER", member), text);
    let own = "kl(rayleigh(s)) = 2 * log(s / sigma) + (sigma / s)^2 - 1";
    let found = with(own, "kl(rayleigh(1.5), rayleigh(0.7))").expect("declared");
    let want = 2.0 * (0.7f64 / 1.5).ln() + (1.5f64 / 0.7).powi(2) - 1.0;
    assert!((found - want).abs() < 1e-12, "{found} {want}");
    // A library distribution's declarations are not changed by names of the model.
    let d =
        evaluated("dist normal(a: real) on real { log_density(x) = -abs(x - a) }", "kl(log_normal(0, 1), log_normal(0.5, 1))");
    assert!((d.expect("the library's normal") - 0.125).abs() < 1e-12);
    for (member, code) in [
        ("kl(x) = 1.0", "E0203"),
        ("kl(nothing(s)) = 1.0", "E0101"),
        ("kl(gamma(s)) = 1.0", "E0203"),
        ("kl(rayleigh(s)) = 1.0\n  kl(rayleigh(t)) = 2.0", "E0102"),
    ] {
        let e = with(member, "log_density(rayleigh(1.0), 1.0)").expect_err(member).concat();
        assert!(e.contains(code), "{member}: {e}");
    }
    let e = with("kl(rayleigh(s)) = s + true", "kl(rayleigh(1.0), rayleigh(2.0))").expect_err("wrong").concat();
    assert!(e.contains("E02"), "{e}");
}
