//! What the checker accepts, what it refuses and with which code, and the programs it makes.

use ppl_check::{Checked, DataShapes, Evaluated, FitOverrides, elaborate, elaborate_expression, guide_source};
use ppl_core::Support;
use ppl_diag::FileId;
use ppl_syntax::ast::File;

fn library() -> Vec<File> {
    ppl_stdlib::PRELUDE.iter().enumerate().map(|(i, f)| ppl_syntax::parse(FileId(i as u32), f.text).ast).collect()
}

fn parsed(text: &str) -> File {
    let p = ppl_syntax::parse(FileId(100), text);
    assert!(p.diagnostics.is_empty(), "{text}\n{:?}", p.diagnostics);
    p.ast
}

fn checked(text: &str) -> Checked {
    let c = elaborate(&library(), &parsed(text), None, &FitOverrides::default());
    if c.diagnostics.is_empty() {
        let faults = c.program.module.verify();
        assert!(faults.is_ok(), "{text}\n{faults:?}");
    }
    c
}

fn codes(text: &str) -> Vec<&'static str> {
    checked(text).diagnostics.iter().map(|d| d.code.0).collect()
}

/// The type of an expression as users see it, or its description.
fn type_of(prelude: &str, e: &str) -> String {
    let (expr, errors) = ppl_syntax::parse_expr(FileId(101), e);
    assert!(errors.is_empty(), "{e}: {errors:?}");
    let (c, v) = elaborate_expression(&library(), &parsed(prelude), None, &expr);
    match v {
        Some(Evaluated::Computed { types, .. }) => types.join(", "),
        Some(Evaluated::Described(d)) => d,
        None => c.diagnostics.iter().map(|d| d.code.0).collect::<Vec<_>>().join(", "),
    }
}

#[test]
fn expressions_have_the_types_of_the_language() {
    let p = "data N: int\ndata x: real[N, 3]\ndata b: bool[N]\nparam s: positive = 1.0\n";
    for (e, ty) in [
        ("1 + 2", "int"),
        ("1 / 2", "real"),
        ("2 ^ 3", "int"),
        ("x[0]", "real[3]"),
        ("x[0, 1]", "real"),
        ("x[0, 0..2]", "real[2]"),
        ("x[1..3]", "real[2, 3]"),
        ("[for i in 4 { real(i) }]", "real[4]"),
        ("for t in 3 carry (a = 0.0) { a + 1 }", "real"),
        ("(1, true)", "int, bool"),
        ("sum(for i in 3 { s * i })", "real"),
        ("matmul(x, [1.0, 2.0, 3.0])", "real[N]"),
        ("transpose(x)", "real[3, N]"),
        ("if b[0] { 1 } else { 0.5 }", "real"),
        ("mean(x)", "real"),
        ("diag(eye(3))", "real[3]"),
        ("x + [1.0, 2.0]", "E0202"),
        ("b[0] + 1", "E0201"),
        ("log(true)", "E0201"),
        ("x[5, 7]", "E0205"),
        ("normal(0)", "E0203"),
        ("3(4)", "E0204"),
        ("zeros(sum(x))", "E0207"),
        ("nosuch(1)", "E0101"),
    ] {
        assert_eq!(type_of(p, e), ty, "{e}");
    }
}

#[test]
fn sizes_that_only_agree_for_some_data_are_refused() {
    let p = "data N: int, M: int\ndata x: real[N]\ndata y: real[M]\n";
    assert_eq!(type_of(p, "x + y"), "E0202");
    assert_eq!(type_of(p, "x[0..M]"), "E0205");
}

#[test]
fn programs_with_mistakes_get_their_codes() {
    for (text, code) in [
        ("gen m() { x ~ normal(0, 1)\n x ~ normal(0, 1) }", "E0104"),
        ("gen m() { for i in 3 { x ~ normal(0, 1) } }", "E0104"),
        ("gen m() { let a = 1\n let b = a + c }", "E0101"),
        ("let a = 1\nlet a = 2", "E0102"),
        ("use std.nothing", "E0103"),
        ("fn f(x) = x\ngen m() { y ~ f(1) }", "E0201"),
        ("gen m() { x ~ flip(0.5) by reparam }", "E0412"),
        ("gen m() { x ~ normal(0, 1) by magic }", "E0413"),
        ("gen m() { x ~ poisson(2) by enumerate }", "E0412"),
        (
            "gen m() { let (a, b) = if true { (1, 2) } else { (3, 4) }\n x ~ normal(a, b)\n let y = if x > 0 { 1.0 } else { true } }",
            "E0206",
        ),
        ("gen m() { for t in 3 carry (a = 0) { x[t] ~ normal(a, 1)\n x[t] } }", "E0209"),
        ("data y: reel", "E0210"),
        ("gen m() { x ~ normal(0, 1) }\ngen g() { y ~ normal(0, 1) }\nfit m() with g()", "E0301"),
        ("gen m() { x ~ normal(0, 1) }\ngen g() { x ~ normal(0, 1)\n y ~ flip(0.5) }\nfit m() with g()", "E0302"),
        ("gen m() { x ~ gamma(1, 1) }\ngen g() { x ~ normal(0, 1) }\nfit m() with g()", "E0303"),
        ("gen m() { x ~ normal(zeros(2), 1) }\ngen g() { x ~ normal(0, 1) }\nfit m() with g()", "E0304"),
        ("gen m() { x ~ normal(0, 1) }\nfit m() given { z: 1.0 } with auto_normal", "E0305"),
        ("gen m() { x ~ poisson(1) }\nfit m() with auto_normal", "E0306"),
        ("gen m() { x ~ normal(0, 1) }\nfit m() with auto_normal maximize log(elbo(m(), m()))", "E0414"),
        ("gen m() { x ~ normal(0, 1) }\nfit m() with auto_normal using adam(0.1), step 10", "E0211"),
        ("gen m() { n ~ m() }", "E0511"),
        ("gen m() { factor true }", "E0201"),
        ("fn f() { report a = 1 }", "E0208"),
        ("param p: int = 1", "E0201"),
        ("data x: real?[3]", "E0510"),
    ] {
        assert!(codes(text).contains(&code), "{text}\nwanted {code}, got {:?}", codes(text));
    }
}

#[test]
fn one_run_reports_every_error_and_no_consequences() {
    let text = "gen m() { a ~ normal(0, one)\n b ~ flip(0.5) by reparam\n c ~ normal(0, 1) }\n\
                gen g() { c ~ normal(0, two) }\nfit m() with g()";
    let found = codes(text);
    // The unknown names, the strategy; not that `a` and `b` are missing, which follows.
    assert_eq!(found.iter().filter(|c| **c == "E0101").count(), 2, "{found:?}");
    assert!(found.contains(&"E0412") && !found.contains(&"E0301"), "{found:?}");
}

#[test]
fn choices_have_types_supports_and_addresses() {
    let c = checked(
        "data K: int\ngen step(h: real) { v ~ normal(h, 1)\n v * 2 }\n\
         gen m() { w ~ dirichlet(ones(3))\n for k in K { for d in 2 { t[d, k] ~ gamma(1, 1) } }\n for i in 4 { s[i] ~ step(1.0) }\n u ~ uniform(0, 5) }",
    );
    assert!(c.diagnostics.is_empty(), "{:?}", c.diagnostics);
    let m = &c.program.module;
    let g = m.gens.iter().position(|f| f.name == "m").expect("a program m");
    let choices = m.choices(ppl_core::GenId(g as u32));
    let shown: Vec<(String, usize, Support)> = choices.iter().map(|c| (c.addr.clone(), c.ty.rank(), c.support.clone())).collect();
    let interval = Support::Interval { lo: Some(0.0), hi: Some(5.0) };
    assert_eq!(
        shown,
        [
            ("w".to_string(), 1, Support::Simplex),
            ("t".to_string(), 2, Support::POSITIVE),
            ("s.v".to_string(), 1, Support::Real),
            ("u".to_string(), 0, interval),
        ]
    );
    // `t[d, k]`: axes in the address's order, not the loops'.
    assert_eq!(choices[1].ty.shape[0], 2);
}

#[test]
fn capabilities_are_read_off_the_programs() {
    let c = checked(
        "gen m() { a ~ normal(0, 1)\n b ~ gamma(1, 1)\n c ~ flip(0.5)\n d ~ geometric(0.5)\n e ~ categorical([0.5, 0.5])\n f ~ von_mises(0, 1) }",
    );
    let works = |name: &str, yes: &str, no: &str| {
        let d = c.program.module.dists.iter().find(|d| d.name == name).unwrap_or_else(|| panic!("no {name}"));
        let has = |s: &str| d.works_with.iter().any(|w| w == s);
        for s in yes.split(' ') {
            assert!(has(s), "{name} by {s}: {:?}", d.works_with);
        }
        for s in no.split(' ') {
            assert!(!has(s), "{name} by {s}: {:?}", d.works_with);
        }
    };
    let scores = "reinforce reinforce_mean reinforce_learned reinforce_baseline leave_one_out importance";
    for d in ["normal", "gamma", "flip", "geometric", "categorical", "von_mises"] {
        works(d, scores, "no_such_strategy");
    }
    works(
        "normal",
        "reparam implicit control_variate measure_valued antithetic quasi_monte_carlo",
        "enumerate rejection_reparam",
    );
    works("gamma", "reparam implicit rejection_reparam measure_valued", "enumerate control_variate antithetic");
    works("flip", "enumerate local_expectation measure_valued control_variate arm disarm", "reparam implicit");
    works("geometric", "measure_valued", "enumerate reparam implicit weak_derivative");
    works("categorical", "enumerate local_expectation measure_valued", "reparam implicit arm");
    works("von_mises", "implicit", "reparam enumerate");
}

#[test]
fn a_derived_guide_prints_as_source_that_checks() {
    let model = "gen m() { mu ~ normal(0, 1)\n tau ~ half_cauchy(1)\n u ~ uniform(0, 3)\n w ~ dirichlet(ones(3))\n for i in 4 { t[i] ~ normal(mu, tau) } }\n";
    let file = parsed(&format!("{model}fit m() with auto_normal"));
    let text = guide_source(&library(), &file, Some(DataShapes::default()), &FitOverrides::default()).expect("a guide");
    assert!(text.contains("tau ~ constrain(normal(tau_loc, exp(tau_log_scale)), positive)"), "{text}");
    let again = format!("{model}{text}\nfit m() with auto_normal()");
    let c = checked(&again);
    assert!(c.diagnostics.is_empty(), "{again}\n{:?}", c.diagnostics);
    assert_eq!(c.program.params.len(), 10);
}

#[test]
fn users_may_redefine_what_the_library_declares() {
    let c = checked("dist normal(m: real) on real { log_density(x) = -(x - m)^2\n sample = m }\ngen m() { x ~ normal(2.0) }");
    assert!(c.diagnostics.is_empty(), "{:?}", c.diagnostics);
}

#[test]
fn loops_may_read_earlier_elements_of_their_choices() {
    let fine = [
        // The elements before the first round are the data's.
        "data T: int\ndata y: real[T]\ngen m() { for t in 1..T { y[t] ~ normal(0.5 * y[t - 1], 1) } }\nfit m() given { y } with m2()\ngen m2() { }",
        // A window of several, at an index computed from another loop's.
        "data y: real[T]\ndata T: int\ngen m() { a ~ normal(0, 1)\n for t in 5..T { y[t] ~ normal(sum([for k in 5 { a * y[t - k - 1] }]), 1) } }\nfit m() given { y } with auto_normal",
        // Latent: in a branch; of ints, and rows of arrays.
        "gen m(T: int) { for t in T { z[t] ~ categorical(if t == 0 { [0.5, 0.5] } else { if z[t - 1] == 0 { [0.9, 0.1] } else { [0.2, 0.8] } }) } }",
        "gen m(T: int) { for t in T { for i in 3 { g[t, i] ~ normal(if t < 2 { 0.0 } else { g[t - 2, i] + g[t - 1, 0] }, 1) } } }",
        "gen m(T: int) { for i in 4 { for t in T { h[i, t] ~ normal(if t == 0 { 0.0 } else { h[i, t - 1] }, 1) } } }",
        // Beside a value that is carried anyway, and after the loop as a whole.
        "data T: int\ndata y: real[T]\ngen m() { let s = for t in 1..T carry (s = 0.0) { y[t] ~ normal(s + y[t - 1], 1)\n s + y[t] }\n report total = s + y[0] }",
    ];
    for text in fine {
        let c = checked(text);
        assert!(c.diagnostics.is_empty(), "{text}\n{:?}", c.diagnostics);
    }
    let refused = [
        ("data T: int\ndata y: real[T]\ngen m() { for t in T { y[t] ~ normal(y[t - 1], 1) } }", "E0205"),
        ("gen m(T: int) { for t in T { y[t] ~ normal(if t == 0 { 0.0 } else { y[t + 1] }, 1) } }", "E0205"),
        ("gen m(T: int) { for t in 1..T { h[t] ~ normal(h[t - 1], 1) } }", "E0205"),
        ("gen m(T: int) { for t in 1..T { h[t] ~ normal(0, 1) } }", "E0205"),
        (
            "data j: int\ngen m(T: int, r: real) { for t in T { h[t] ~ normal(if t == 0 { 0.0 } else { h[t * t - 1] }, 1) } }",
            "E0106",
        ),
        (
            "gen m(T: int) { for i in 4 { for t in T { h[i, t] ~ normal(if t == 0 { 0.0 } else { h[i - 1, t - 1] }, 1) } } }",
            "E0205",
        ),
    ];
    for (text, code) in refused {
        assert_eq!(codes(text), [code], "{text}");
    }
}
