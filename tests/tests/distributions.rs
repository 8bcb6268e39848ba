//! Every distribution of the library is normalised: densities integrate to 1, probabilities sum to 1.

use ppl_check::{Evaluated, elaborate_expression};
use ppl_diag::FileId;
use ppl_driver::{Cx, Source, lower_expression};
use ppl_interp::Interp;

/// The value of a real expression, by the reference interpreter.
fn value(text: &str) -> f64 {
    let source = Source::from_text("m.ppl", "");
    let (e, errors) = ppl_syntax::parse_expr(FileId(900), text);
    assert!(errors.is_empty(), "{text}: {errors:?}");
    let (checked, v) = elaborate_expression(&source.libraries(), &source.file, None, &e);
    let Some(Evaluated::Computed { func, inputs, .. }) = v else {
        panic!("{text}: {:?}", checked.diagnostics);
    };
    let lowered = lower_expression(&checked.program, func, &inputs, &mut Cx::default()).expect("lowers");
    let out = Interp::new(&checked.program.module.dets).run(&lowered.func, &[]).expect("runs");
    out[0].to_vec0::<f64>().expect("a real scalar")
}

/// The midpoint rule over `(lo, hi)` after `x = t(u)`, with the derivative of `t`.
fn integral(dist: &str, t: &str, dt: &str, lo: f64, hi: f64) -> f64 {
    let n = 20_000;
    let h = (hi - lo) / f64::from(n);
    let text =
        format!("sum([for i in {n} {{ let u = ({lo:?}) + {h:?} * (real(i) + 0.5); density({dist}, {t}) * ({dt}) }}]) * {h:?}");
    value(&text)
}

#[test]
fn densities_integrate_to_one() {
    // x = sinh(u) reaches far into the tails, x = exp(u) and x = sigmoid(u) to both ends.
    for d in ["normal(0.3, 1.7)", "student_t(3.5, -0.2, 1.3)", "cauchy(0.5, 2)", "laplace(0.4, 1.5)", "logistic(-0.3, 0.8)"] {
        let total = integral(d, "sinh(u)", "cosh(u)", -25.0, 25.0);
        assert!((total - 1.0).abs() < 1e-5, "{d}: {total}");
    }
    for d in [
        "half_normal(1.4)",
        "half_cauchy(0.7)",
        "exponential(2.5)",
        "gamma(2.3, 1.7)",
        "gamma(0.4, 1.0)",
        "inverse_gamma(3.2, 2.0)",
        "log_normal(0.2, 0.9)",
    ] {
        let total = integral(d, "exp(u)", "exp(u)", -60.0, 40.0);
        assert!((total - 1.0).abs() < 1e-6, "{d}: {total}");
    }
    let total = integral("beta(1.5, 2.5)", "sigmoid(u)", "sigmoid(u) * sigmoid(-u)", -30.0, 30.0);
    assert!((total - 1.0).abs() < 1e-6, "beta: {total}");
    let total = integral("uniform(-1, 2)", "u", "1.0", -1.0, 2.0);
    assert!((total - 1.0).abs() < 1e-9, "uniform: {total}");
}

#[test]
fn probabilities_sum_to_one() {
    for (d, n) in [
        ("poisson(3.7)", 80),
        ("geometric(0.3)", 200),
        ("negative_binomial(2.5, 1.4)", 400),
        ("binomial(12, 0.35)", 13),
        ("categorical([0.2, 0.5, 0.3])", 3),
        ("categorical_logits([0.1, -2.0, 1.5])", 3),
    ] {
        let total = value(&format!("sum([for i in {n} {{ density({d}, i) }}])"));
        assert!((total - 1.0).abs() < 1e-9, "{d}: {total}");
    }
    for d in ["flip(0.3)", "flip_logits(-0.7)"] {
        let total = value(&format!("density({d}, true) + density({d}, false)"));
        assert!((total - 1.0).abs() < 1e-12, "{d}: {total}");
    }
}

#[test]
fn vector_densities_agree_with_their_scalar_parts() {
    // A Dirichlet of two parts is a beta; a normal with diagonal covariance is a product, however it is given.
    let d = value("log_density(dirichlet([1.5, 2.5]), [0.3, 0.7]) - log_density(beta(1.5, 2.5), 0.3)");
    assert!(d.abs() < 1e-12, "{d}");
    let parts = "log_density(normal(0.5, 2.0), 1.0) + log_density(normal(-1.0, 0.5), 0.25)";
    let m = value(&format!("log_density(mv_normal([0.5, -1.0], [[4.0, 0.0], [0.0, 0.25]]), [1.0, 0.25]) - ({parts})"));
    let c = value(&format!("log_density(mv_normal_cholesky([0.5, -1.0], [[2.0, 0.0], [0.0, 0.5]]), [1.0, 0.25]) - ({parts})"));
    assert!(m.abs() < 1e-12 && c.abs() < 1e-12, "{m} {c}");
}
