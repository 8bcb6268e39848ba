//! Every strategy with every distribution of the library that can take it, generated from the library's own declarations: the mean of
//! 100,000 draws of the gradient against the derivative of an integral over the density, which no `sample` program has a part in.
//!
//! The family-wise level over all tests of the file is 1 % (Bonferroni).

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_fit::certify::{threshold, z_score};
use ppl_syntax::ast::{Expr, TypeKind};
use ppl_tests::engine::native;
use ppl_tests::fitting::mean_and_error;
use ppl_tests::library::{Case, case, cases, declared, library, strategies_of};
use ppl_tests::{Fitted, Model, root};

const SEED: u64 = 5;

/// The strategy with values of its own parameters where they have no default.
fn arguments(strategy: &str, c: &Case) -> String {
    let own = declared(strategy).into_iter().flat_map(|s| s.params).filter(|p| p.default.is_none());
    let values: Vec<String> = own
        .map(|p| match p.ty.map(|t| t.kind) {
            Some(TypeKind::Named { name, .. }) if name == "dist" => proposal(c),
            _ => "3".to_string(),
        })
        .collect();
    if values.is_empty() { strategy.to_string() } else { format!("{strategy}({})", values.join(", ")) }
}

/// A distribution on the same support, with tails that are as heavy or heavier.
fn proposal(c: &Case) -> String {
    let TypeKind::Named { name, dims, .. } = &c.dist.support.kind else { panic!("a support of `{}`", c.dist.name) };
    let text = match (name.as_str(), dims.len()) {
        ("bool", 0) => "flip(0.5)",
        ("integers", 0) if c.dist.name == "binomial" => "binomial(4, 0.5)",
        ("integers", 0) => "categorical([0.4, 0.3, 0.3])",
        ("natural", 0) => "geometric(0.2)",
        ("real", 0) => "cauchy(0.2, 1.5)",
        ("positive", 0) => "half_cauchy(1.5)",
        ("unit", 0) => "beta(1, 1)",
        ("simplex", 1) => "dirichlet([1.1, 1.0, 1.3])",
        ("real", 1) => "mv_normal_cholesky([0.1, -0.1], [[1.4, 0.0], [0.0, 1.4]])",
        ("interval", 0) if c.dist.name == "von_mises" => "von_mises(0.2, 0.4)",
        ("interval", 0) => "uniform(-0.5, 1.7)",
        _ => panic!("no proposal for `{}`", c.dist.name),
    };
    text.to_string()
}

fn text_of(e: &Expr, case: &Case) -> String {
    let mut text = ppl_syntax::print_expr(e);
    for (name, value) in &case.named {
        if text == *name {
            text.clone_from(value);
        }
    }
    text
}

/// A bounded smooth function of an event `x`, and the expectation of it as an expression: a sum or integral over the support.
fn function_and_integral(c: &Case) -> (String, String) {
    let TypeKind::Named { name, args, dims, .. } = &c.dist.support.kind else { panic!("a support of `{}`", c.dist.name) };
    let d = &c.applied;
    let scalar = |x: &str| format!("sin({x}) + 0.4 * {x} / (1 + 0.3 * {x}^2)");
    let density = |x: &str| format!("exp(log_density({d}, {x}))");
    let sum = |n: &str, lo: &str| {
        let f = format!("(let_f({}))", "real(i + LO)".replace("LO", lo));
        format!("sum([for i in {n} {{ {} * {} }}])", density(&format!("i + {lo}")), f)
    };
    // Midpoints of a transformed unit interval.
    let line = |x: &str, jac: &str| {
        format!(
            "sum([for i in 20000 {{ let u = (i + 0.5) / 20000\n let x = {x}\n {jac} * {} * let_f(x) / 20000 }}])",
            density("x")
        )
    };
    match (name.as_str(), dims.len()) {
        ("bool", 0) => ("select(x, 1.3, -0.4)".into(), format!("{} * 1.3 + {} * -0.4", density("true"), density("false"))),
        ("integers", 0) => {
            let lo = text_of(&args[0], c);
            let n = if c.dist.name.as_str().starts_with("categorical") { "3" } else { "5" };
            (scalar("real(x)"), sum(n, &lo))
        }
        ("natural", 0) => (scalar("real(x)"), sum("150", "0")),
        ("real", 0) => (scalar("x"), line("tan(pi * (u - 0.5))", "pi * (1 + x^2)")),
        ("positive", 0) => (scalar("x"), line("(u / (1 - u))^2", "2 * u / (1 - u)^3")),
        ("unit", 0) => (scalar("x"), line("u^2 * (3 - 2 * u)", "6 * u * (1 - u)")),
        ("interval", 0) => {
            let (lo, hi) = (text_of(&args[0], c), text_of(&args[1], c));
            // Nodes move with the bounds: no value crosses one.
            let inside = line(&format!("{lo} + ({hi} - {lo}) * u"), &format!("({hi} - {lo})"));
            (scalar("x"), format!("assume_continuous {{ {inside} }}"))
        }
        ("point", 0) => (scalar("x"), "let_f(a0)".into()),
        ("simplex", 1) => (
            "sin(3 * x[0]) + x[1] * x[2] - 0.5 * x[1]".into(),
            format!(
                "sum([for i in 400 {{ sum([for j in 400 {{ let u = (i + 0.5) / 400\n let v = (j + 0.5) / 400\n let s = u^2 * (3 - 2 * u)\n let t = v^2 * (3 - 2 * v)\n let x = [s, (1 - s) * t, (1 - s) * (1 - t)]\n (1 - s) * 36 * u * (1 - u) * v * (1 - v) * {} * let_f(x) / 160000 }}]) }}])",
                density("x")
            ),
        ),
        ("real", 1) => (
            "sin(x[0]) * cos(0.5 * x[1]) + 0.2 * x[1]".into(),
            format!(
                "sum([for i in 300 {{ sum([for j in 300 {{ let x = [(i - 149.5) / 18, (j - 149.5) / 18]\n {} * let_f(x) / 324 }}]) }}])",
                density("x")
            ),
        ),
        other => panic!("`{}` has the support {other:?}: write its integral here", c.dist.name),
    }
}

/// Where the choice stands, with the factor and the constant that the expectation of `f` gets there.
const PLACES: [(&str, &str, f64, f64); 4] = [
    ("gen q() { x ~ D by S }", "let_f(t.x)", 1.0, 0.0),
    ("gen q() { for n in 3 { x[n] ~ D by S } }", "sum([for n in 3 { (n + 1) * let_f(t.x[n]) }])", 6.0, 0.0),
    (
        "gen q() { for n in 3 carry (s = 0.0) { x[n] ~ D by S\n s + 1 } }",
        "for n in 3 carry (s = 0.0) { s + (n + 1) * let_f(t.x[n]) }",
        6.0,
        0.0,
    ),
    ("gen q() { c ~ flip(0.6)\n if c { x ~ D by S } else { } }", "if t.c { let_f(t.x) } else { 0.3 }", 0.6, 0.12),
];

fn model(text: &str) -> Model {
    Model::from_text(text, root().join("examples"), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// What strategies remember is of no matter to the mean: anything but zero.
fn fitted(text: &str) -> Fitted {
    let mut f = Fitted::new(&model(text), &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    f.remember(0.7);
    f
}

/// Value and gradients, a vector for each of `runs` steps.
fn samples(f: &Fitted, runs: u64) -> Vec<Vec<f64>> {
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
    // Parameters in the order of their declarations, wherever the program first meets them.
    let mut order: Vec<usize> = (0..f.code.learned.len()).collect();
    order.sort_by_key(|k| f.code.learned[*k]);
    let one = |step| {
        r.run(SEED, step);
        std::iter::once(0).chain(order.iter().map(|k| k + 1)).flat_map(|k| r.output_values(k)).collect()
    };
    (0..runs).map(one).collect()
}

/// `(what, z)` of every component of one pair in one place.
fn scores(c: &Case, f: &str, truth: &[f64], strategy: &str, place: usize, particles: usize, runs: u64) -> Vec<(String, f64)> {
    let (gen_text, value, factor, constant) = PLACES[place];
    let program = gen_text.replace('D', &c.applied).replace('S', &arguments(strategy, c));
    let text = format!(
        "{}fn let_f(x) = {f}\n{program}\nobjective o() = expect {{ let (t, _) = sim(q())\n {value} }}\nfit maximize o() using particles {particles}",
        c.params
    );
    let all = samples(&fitted(&text), runs);
    let mut out = Vec::new();
    for k in 0..truth.len() {
        let column: Vec<f64> = all.iter().map(|x| x[k]).collect();
        let (mean, se) = mean_and_error(&column);
        let want = factor * truth[k] + if k == 0 { constant } else { 0.0 };
        let what = format!("{} by {strategy} in place {place}, result {k}: {mean} +- {se}, expected {want}", c.dist.name);
        // The integrals are exact to about 1e-5.
        out.push((what, z_score(mean, se, want, 1e-5, 1e-9, 1.0)));
    }
    out
}

/// The derivative of the integral.
fn truth(c: &Case) -> (String, Vec<f64>) {
    let (f, integral) = function_and_integral(c);
    let text =
        format!("{}fn let_f(x) = {f}\nobjective o() = expect {{ {integral} }}\nfit maximize o() using particles 1", c.params);
    let g = samples(&fitted(&text), 1).remove(0);
    (f, g)
}

/// The parts that run beside one another, which share the level.
const PARTS: f64 = 3.0;

/// Every strategy with every distribution of a part: `pairs` of them, or more.
fn certify(part: impl Fn(&str) -> bool, pairs: usize) {
    let mut found = Vec::new();
    let mut tested = 0;
    // `PPL_PAIR=gamma,arm` tests the pairs whose names hold one of these.
    let only = std::env::var("PPL_PAIR").unwrap_or_default();
    for c in cases() {
        let TypeKind::Named { name, dims, .. } = &c.dist.support.kind else { panic!("a support of `{}`", c.dist.name) };
        if !part(if dims.is_empty() { name.as_str() } else { "vector" }) {
            continue;
        }
        let (f, want) = truth(&c);
        // Those marked biased are shown to be so elsewhere (`relaxations.rs`).
        for s in strategies_of(&c).into_iter().filter(|s| declared(s).is_none_or(|s| !s.biased)) {
            let pair = format!("{} {s}", c.dist.name);
            if !only.is_empty() && !only.split(',').any(|o| pair.contains(o)) {
                continue;
            }
            tested += 1;
            // Each draw is the inverse of an integral.
            let slow = c.dist.name == "von_mises";
            for place in 0..PLACES.len() {
                // 100,000 draws alone, 5,000 in a plate, a scan, a branch.
                let particles = match (place, slow) {
                    (0, false) => 500,
                    (0, true) => 100,
                    (_, false) => 25,
                    (_, true) => 5,
                };
                found.extend(scores(&c, &f, &want, &s, place, particles, 200));
            }
        }
    }
    assert!(tested >= pairs || !only.is_empty(), "{tested} pairs of a distribution and a strategy");
    let bound = threshold(0.01 / PARTS, found.len());
    let wrong: Vec<&str> = found.iter().filter(|(_, z)| z.abs() > bound || z.is_nan()).map(|(w, _)| w.as_str()).collect();
    assert!(wrong.is_empty(), "{} of {} beyond |z| = {bound:.2}:\n{}", wrong.len(), found.len(), wrong.join("\n"));
}

fn is_discrete(support: &str) -> bool {
    matches!(support, "bool" | "integers" | "natural" | "point")
}

#[test]
fn every_strategy_with_every_discrete_distribution() {
    certify(is_discrete, 70);
}

#[test]
fn every_strategy_with_every_distribution_on_the_reals() {
    certify(|s| s == "real", 54);
}

#[test]
fn every_strategy_with_every_other_distribution() {
    certify(|s| s != "real" && !is_discrete(s), 80);
}

#[test]
fn a_wrong_strategy_is_caught() {
    // The same machinery, with a strategy whose sign is wrong and one whose baseline is its own cost.
    let c = case(library().into_iter().find(|d| d.name.as_str() == "flip").expect("flip"), false);
    let (f, want) = truth(&c);
    for body in [
        "strategy odd for flip(p) (k) { let b = draw flip(p)\n k(b) - (p - stop(p)) * stop(k(true) - k(false)) }",
        "strategy odd for d (k) { let x = draw d\n let cost = k(x)\n cost + stop(0.5 * cost) * score(d, x) }",
    ] {
        let with =
            Case { params: format!("{body}\n{}", c.params), dist: c.dist.clone(), applied: c.applied.clone(), named: Vec::new() };
        let z: Vec<f64> = scores(&with, &f, &want, "odd", 0, 500, 200).into_iter().map(|(_, z)| z.abs()).collect();
        assert!(z[0] < 5.0 && z[1] > 20.0, "the value is right, the gradient is not: {z:?}");
    }
}

#[test]
fn pairs_that_do_not_fit_are_refused_with_those_that_do() {
    let declared: Vec<String> = ["reparam", "reinforce", "enumerate", "measure_valued"].map(String::from).to_vec();
    for c in cases() {
        let works = strategies_of(&c);
        for s in declared.iter().filter(|s| !works.contains(s)) {
            let text = format!("{}gen q() {{ x ~ {} by {s} }}\nfit q() with q()", c.params, c.applied);
            let e = model(&text).check(&FitOverrides::default()).expect_err("refused");
            let shown = format!("{e:?}");
            assert!(shown.contains("E0412"), "{text}\n{shown}");
            assert!(works.iter().all(|w| shown.contains(w.as_str())), "{text}\n{shown}");
        }
    }
}
