//! Every distribution of the library is normalised: densities integrate to 1, probabilities sum to 1.

use ppl_check::{Evaluated, elaborate_expression};
use ppl_diag::FileId;
use ppl_driver::{Cx, Source, lower_expression};
use ppl_interp::Interp;
use std::f64::consts::PI;

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
    for d in [
        "normal(0.3, 1.7)",
        "student_t(3.5, -0.2, 1.3)",
        "cauchy(0.5, 2)",
        "laplace(0.4, 1.5)",
        "logistic(-0.3, 0.8)",
        "normal_mixture([0.2, 0.5, 0.3], [-3.0, 0.1, 2.0], [0.4, 1.0, 2.0])",
    ] {
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
    for (d, lo, hi) in [
        ("uniform(-1, 2)", -1.0, 2.0),
        ("truncated_normal(0.3, 0.8, -1, 2)", -1.0, 2.0),
        ("truncated_normal(-9, 0.8, -1, 2)", -1.0, 2.0),
        ("truncated_normal(29, 0.9, -1, 2)", -1.0, 2.0),
        ("von_mises(0.4, 0.01)", -PI, PI),
        ("von_mises(-3.0, 2.5)", -PI, PI),
        ("von_mises(1.0, 400.0)", -PI, PI),
    ] {
        let total = integral(d, "u", "1.0", lo, hi);
        assert!((total - 1.0).abs() < 2e-6, "{d}: {total}");
    }
}

/// A distribution function is the integral of the density, from the middle to either side.
#[test]
fn distribution_functions_are_integrals_of_densities() {
    for (d, points) in [
        ("normal(0.3, 1.7)", [-4.0, 0.2, 3.0]),
        ("student_t(3.5, -0.2, 1.3)", [-9.0, -0.3, 4.0]),
        ("student_t(0.8, 0, 1)", [-3.0, 0.001, 30.0]),
        ("cauchy(0.5, 2)", [-8.0, 0.0, 3.0]),
        ("half_normal(1.4)", [0.1, 1.0, 4.0]),
        ("half_cauchy(0.7)", [0.1, 1.0, 9.0]),
        ("laplace(0.4, 1.5)", [-2.0, 0.3, 3.0]),
        ("logistic(-0.3, 0.8)", [-4.0, 0.0, 2.0]),
        ("normal_mixture([0.2, 0.5, 0.3], [-3.0, 0.1, 2.0], [0.4, 1.0, 2.0])", [-3.5, -1.0, 2.0]),
        ("uniform(-1, 2)", [-0.5, 0.0, 1.5]),
        ("truncated_normal(0.3, 0.8, -1, 2)", [-0.9, 0.3, 1.5]),
        ("truncated_normal(-9, 0.8, -1, 2)", [-0.99, -0.9, -0.5]),
        ("truncated_normal(29, 0.9, -1, 2)", [1.8, 1.9, 1.99]),
        ("von_mises(0.4, 1.3)", [-3.0, 0.5, 2.5]),
        ("von_mises(-3.0, 6.0)", [-2.9, 0.3, 3.0]),
        ("exponential(2.5)", [0.1, 0.5, 2.0]),
        ("gamma(2.3, 1.7)", [0.3, 1.2, 4.0]),
        ("gamma(0.4, 1.0)", [0.01, 0.3, 2.0]),
        ("inverse_gamma(3.2, 2.0)", [0.3, 1.0, 4.0]),
        ("beta(1.5, 2.5)", [0.1, 0.4, 0.9]),
        ("log_normal(0.2, 0.9)", [0.3, 1.2, 5.0]),
    ] {
        let p = points.map(|x| value(&format!("cdf({d}, {x:?})")));
        assert!(0.0 < p[0] && p[0] < p[1] && p[1] < p[2] && p[2] < 1.0, "{d}: {p:?}");
        for (i, x) in points.windows(2).enumerate() {
            let part = integral(d, "u", "1.0", x[0], x[1]);
            assert!((p[i + 1] - p[i] - part).abs() < 1e-7, "{d} between {x:?}: {}, not {part}", p[i + 1] - p[i]);
        }
    }
    // Far out, where differences from 1 would be lost.
    for (d, x, tail) in [
        ("student_t(3, 0, 1)", -1e4, 1.102_657_751e-12),
        ("normal(0, 1)", -30.0, 4.906_713_927e-198),
        ("inverse_gamma(2, 1)", 0.01, 3.757_276_736e-42),
    ] {
        let p = value(&format!("cdf({d}, {x:?})"));
        assert!((p / tail - 1.0).abs() < 1e-8, "{d}: {p:e}");
    }
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
