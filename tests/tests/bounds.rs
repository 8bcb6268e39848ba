//! Every bound lies on its side of the exact log evidence.

use ppl_check::{Claim, FitOverrides, Side};
use ppl_tests::{Fitted, Model, mean_and_error, root};

/// `x ~ normal(0, 2)`, `y ~ normal(x, 1)`: `y` is normal with mean 0 and variance 5.
const CONJUGATE: &str = "data y: real\nparam m: real = 0.0\nparam s: positive = 1.0\n\
    gen model() { x ~ normal(0, 2);  y ~ normal(x, 1) }\n\
    gen guide() { x ~ normal(m, s) }\n\
    fit model() given { y } with guide() using adam(0.05), steps 300\n";
const Y: f64 = 1.5;

fn conjugate() -> f64 {
    -0.5 * (2.0 * std::f64::consts::PI * 5.0).ln() - Y * Y / 10.0
}

/// The log evidence of the cone at `z = 5`, by the trapezoidal rule over the plane.
fn cone() -> f64 {
    let normal = |x: f64, m: f64, s: f64| -0.5 * ((x - m) / s).powi(2) - s.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln();
    let (n, half) = (2000, 6.0);
    let h = 2.0 * half / f64::from(n);
    let mut sum = 0.0;
    for i in 0..n {
        for j in 0..n {
            let (x, y) = (-half + (f64::from(i) + 0.5) * h, -half + (f64::from(j) + 0.5) * h);
            let r = x * x + y * y;
            sum += (normal(x, 0.0, 10.0) + normal(y, 0.0, 10.0) + normal(5.0, r, 0.1 + r / 100.0)).exp() * h * h;
        }
    }
    sum.ln()
}

fn expr(text: &str) -> ppl_syntax::ast::Expr {
    let (e, errors) = ppl_syntax::parse_expr(ppl_diag::FileId(1000), text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    e
}

/// The claim and the mean with its error of an objective at the parameters that `elbo` is fitted to.
fn evaluate(model: &Model, objective: &str, steps: usize, runs: usize) -> (Claim, f64, f64) {
    let overrides = FitOverrides { reports: vec![expr(objective)], particles: Some(64), ..FitOverrides::default() };
    let mut f = Fitted::new(model, &overrides, None).unwrap_or_else(|e| panic!("{objective}\n{e:?}"));
    f.run(ppl_abi::Precision::F64, 3, steps).expect("steps");
    let values = f.report(0, 11, runs).expect("a report");
    let (m, e) = mean_and_error(&values);
    (f.program.fit.expect("a fit").reports[0].claim.clone(), m, e)
}

/// Asserts the side of a value whose claim is about a multiple of the log evidence, or a power of the evidence.
fn on_its_side(model: &Model, exact: f64, objective: &str, wanted: &str, steps: usize, runs: usize) {
    let (claim, mean, error) = evaluate(model, objective, steps, runs);
    assert_eq!(claim.to_string(), wanted, "{objective}");
    let quantity = match claim.power() {
        Some((a, offset, _)) => (a * exact + offset).exp(),
        None => exact,
    };
    let z = (mean - quantity) / error;
    let fine = match claim.side {
        Side::Lower => z < 4.5,
        Side::Upper => z > -4.5,
        Side::Exact | Side::Unbiased => z.abs() < 4.5,
        Side::Biased => true,
    };
    assert!(fine, "{objective}: {claim}; {mean} +/- {error} against {quantity}");
}

#[test]
fn bounds_of_a_conjugate_model_are_on_their_sides() {
    let model = Model::from_text(CONJUGATE, root(), &["{\"y\": 1.5}"]).expect("a model");
    for steps in [0, 300] {
        for (objective, wanted) in [
            ("elbo", "lower bound on log p(y)"),
            ("iwelbo(4)", "lower bound on log p(y)"),
            ("renyi(0.5, 4)", "lower bound on log p(y)"),
            ("renyi(2, 4)", "biased: no bound on log p(y)"),
            ("evidence(4)", "unbiased for p(y)"),
            ("evidence(4, -2)", "unbiased for exp(2) p(y)"),
        ] {
            on_its_side(&model, conjugate(), objective, wanted, steps, 40);
        }
    }
    // A guide narrower than the posterior has weights of infinite variance: their second moment is evaluated where the guide is wide.
    let wide = CONJUGATE.replace("normal(m, s)", "normal(1.2, 1.3)");
    let wide = Model::from_text(&format!("{wide}param unused: real = 0.0\n"), root(), &["{\"y\": 1.5}"]).expect("a model");
    for (objective, wanted) in [
        ("cubo", "upper bound on p(y)^2"),
        ("cubo(-2)", "upper bound on exp(4) p(y)^2"),
        ("elbo", "lower bound on log p(y)"),
        ("iwelbo(16)", "lower bound on log p(y)"),
    ] {
        on_its_side(&wide, conjugate(), objective, wanted, 0, 100);
    }
}

#[test]
fn a_fitted_guide_closes_the_gap_of_a_conjugate_model() {
    let model = Model::from_text(CONJUGATE, root(), &["{\"y\": 1.5}"]).expect("a model");
    let (_, lower, _) = evaluate(&model, "elbo", 300, 20);
    assert!((lower - conjugate()).abs() < 0.02, "{lower} against {}", conjugate());
}

#[test]
fn bounds_of_the_cone_are_on_their_sides() {
    let exact = cone();
    assert!((exact + 5.323).abs() < 2e-3, "{exact}");
    let model = Model::open(&root().join("examples/cone/cone.ppl"), &[]).expect("a model");
    for objective in ["elbo", "iwelbo(5)", "renyi(0.5, 5)"] {
        on_its_side(&model, exact, objective, "lower bound on log p(z)", 1000, 10);
    }
}

/// A coin whose side shifts what is observed: everything can be summed.
const COIN: &str = "data y: real\nparam a: real = 1.5\n\
    gen coin() { b ~ flip(0.3);  y ~ normal(if b { 1.0 } else { -1.0 }, 1) }\n\
    gen toss() { b ~ flip_logits(a) }\n\
    let post = normalize coin() given { y } by enumeration\n\
    let near = normalize coin() given { y } by sir(toss(), 3)\n\
    fit coin() given { y } with toss() using adam(0.05), steps 300\n";

#[test]
fn bounds_of_a_finite_model_are_on_their_sides() {
    let model = Model::from_text(COIN, root(), &["{\"y\": 0.4}"]).expect("a model");
    let density = |m: f64| (-0.5 * (0.4 - m) * (0.4 - m)).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let exact = (0.3 * density(1.0) + 0.7 * density(-1.0)).ln();
    for (objective, wanted) in [
        ("elbo", "lower bound on log p(y)"),
        ("eubo", "upper bound on log p(y)"),
        ("cubo", "upper bound on p(y)^2"),
        ("renyi(0.5, 3)", "lower bound on log p(y)"),
        ("evidence(3)", "unbiased for p(y)"),
        ("elbo(coin() given { y }, near)", "lower bound on log p(y)"),
        ("iwelbo(coin() given { y }, near, 4)", "lower bound on log p(y)"),
        ("evidence(coin() given { y }, near, 2)", "unbiased for p(y)"),
    ] {
        on_its_side(&model, exact, objective, wanted, 0, 60);
    }
    let (claim, mean, error) = evaluate(&model, "elbo(coin() given { y }, post)", 0, 1);
    assert_eq!(claim.to_string(), "exactly log p(y)");
    assert!((mean - exact).abs() < 1e-12 && error < 1e-12, "{mean} +/- {error} against {exact}");
    // Away from the posterior the bounds are apart, and fitting the guide brings them together.
    let gap = |steps| {
        let (_, lower, _) = evaluate(&model, "elbo", steps, 60);
        let (_, upper, _) = evaluate(&model, "eubo", steps, 60);
        upper - lower
    };
    assert!(gap(0) > 0.5 && gap(300).abs() < 0.02, "{} {}", gap(0), gap(300));
}

/// Final objectives of the cone in Becker, Lew et al. (2024), Table 4: ELBO, IWELBO (5), HVI, IWHVI (5), DIWHVI (5, 5).
const TABLE: [f64; 5] = [-8.08, -7.79, -9.75, -8.18, -7.33];

/// The bounds of the cone's last fit, whose guide covers the ring, lie close on both sides.
fn the_wheel_closes_in(model: &Model, exact: f64) {
    let overrides = FitOverrides { index: TABLE.len(), estimate_draws: Some(64), ..FitOverrides::default() };
    let mut f = Fitted::new(model, &overrides, None).unwrap_or_else(|e| panic!("{e:?}"));
    f.run(ppl_abi::Precision::F64, 0, 5000).expect("steps");
    let (lower, error) = f.estimate(5, 60).expect("an estimate");
    assert!(lower < exact + 4.5 * error && lower > exact - 0.05, "{lower} +/- {error} against {exact}");
    let (m, e) = mean_and_error(&f.report(1, 7, 60).expect("a report"));
    let plan = f.program.fit.as_ref().expect("a fit");
    let (a, offset, _) = plan.reports[1].claim.power().expect("a power of the evidence");
    assert_eq!(plan.reports[1].claim.to_string(), "upper bound on exp(10.6) p(z)^2");
    let (upper, error) = ((m.ln() - offset) / a, e / m / a);
    assert!(upper > exact - 4.5 * error && upper < exact + 0.05 && error < 0.01, "{upper} +/- {error} against {exact}");
    // Its draws go all around.
    let draws = f.draws(3).expect("draws");
    let (mx, ex) = mean_and_error(&draws.iter().find(|(n, ..)| n == "x").expect("x").2);
    assert!(mx.abs() < 4.5 * ex, "{mx} +/- {ex}");
}

#[test]
fn the_table_of_the_cone_is_reached() {
    let exact = cone();
    let model = Model::open(&root().join("examples/cone/table.ppl"), &[]).expect("a model");
    the_wheel_closes_in(&model, exact);
    for (index, published) in TABLE.into_iter().enumerate() {
        let overrides = FitOverrides { index, estimate_draws: Some(64), ..FitOverrides::default() };
        let mut f = Fitted::new(&model, &overrides, None).unwrap_or_else(|e| panic!("fit {index}\n{e:?}"));
        f.run(ppl_abi::Precision::F64, 0, 5000).expect("steps");
        let (mean, error) = f.estimate(5, 60).expect("an estimate");
        let claim = f.program.fit.as_ref().expect("a fit").goals[0].claim.to_string();
        assert_eq!(claim, "lower bound on log p(z)", "fit {index}");
        assert!(error < 0.05 && mean < exact + 4.5 * error, "fit {index}: {mean} +/- {error} against {exact}");
        // The published figures are means of 64 draws with a standard deviation of about 1.
        assert!(mean > published - 0.1, "fit {index}: {mean} +/- {error} against {published}");
        // The quadrature of the file is the one over the plane.
        let at = f.program.lets.iter().position(|l| l.name == "log_evidence").expect("a number of the file");
        assert!((f.lets[at][0] - exact).abs() < 1e-6, "{:?} against {exact}", f.lets[at]);
    }
}
