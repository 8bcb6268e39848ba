//! What is published of gradient strategies: errors of a prototype that are not made here, orderings of variances, baselines that learn.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_tests::engine::native;
use ppl_tests::{Fitted, Model, mean_and_error, root};

const SEED: u64 = 17;

fn fitted(text: &str) -> Fitted {
    let model = Model::from_text(text, root(), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    Fitted::new(&model, &FitOverrides::default(), None).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// The position of a parameter among the learned ones.
fn learned(f: &Fitted, name: &str) -> usize {
    let names: Vec<&str> = f.code.learned.iter().map(|p| f.program.params[*p].name.as_str()).collect();
    names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
}

/// Draws of a gradient's first component, with respect to the parameter of that name.
fn gradients(f: &Fitted, name: &str, runs: u64) -> Vec<f64> {
    let at = 1 + learned(f, name);
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
    let one = |step| {
        r.run(SEED, 10_000 + step);
        r.output_values(at)[0]
    };
    (0..runs).map(one).collect()
}

/// Variance, and the standard error of it.
fn variance_and_error(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let m = x.iter().sum::<f64>() / n;
    let moment = |k: i32| x.iter().map(|x| (x - m).powi(k)).sum::<f64>() / n;
    (moment(2), ((moment(4) - moment(2).powi(2)) / n).sqrt())
}

/// The published prototype of ADEV sums over the draws of `leave_one_out` where it should average: 4.00 for 2.00.
#[test]
fn leave_one_out_is_the_gradient_of_a_mean() {
    for m in [1, 2, 3, 5] {
        let f = fitted(&format!(
            "param mu: real = 1.0\ngen q() {{ x ~ normal(mu, 1) by leave_one_out({m}) }}\n\
             objective cost() = expect {{ let (t, _) = sim(q())\n t.x^2 }}\nfit minimize cost() using particles 50"
        ));
        let (mean, error) = mean_and_error(&gradients(&f, "mu", 4000));
        assert!((mean - 2.0).abs() < 4.0 * error && error < 0.05, "{m} draws: {mean} +- {error}");
    }
}

/// It drops the gradient of what follows a Poisson draw: 1.50 for 3.00.
#[test]
fn the_weak_derivative_keeps_the_gradient_of_the_continuation() {
    for by in ["weak_derivative", "measure_valued"] {
        let f = fitted(&format!(
            "param r: positive = 1.5\ngen q() {{ x ~ poisson(r) by {by} }}\n\
             objective cost() = expect {{ let (t, _) = sim(q())\n r * t.x }}\nfit minimize cost() using particles 50"
        ));
        // By the unconstrained parameter; of the loss r^2 it is 2 r, times the slope of the bijector.
        let exact = fitted("param r: positive = 1.5\nobjective cost() = expect { r^2 }\nfit minimize cost() using particles 1");
        let slope = gradients(&exact, "r", 1)[0] / 3.0;
        let (mean, error) = mean_and_error(&gradients(&f, "r", 4000));
        let (mean, error) = (mean / slope, error / slope);
        assert!((mean - 3.0).abs() < 4.0 * error && error < 0.02, "{by}: {mean} +- {error}");
    }
}

/// Five independent truth values, the sum of `(b - 0.499)^2`: a benchmark of Tucker et al. (2017) and Dong et al. (2020), in which the outcomes' costs
/// hardly differ. The gradient is that of the first log odds.
fn toy(by: &str) -> Fitted {
    let mut f = fitted(&format!(
        "param l: real[5] = [0.7, 0.7, 0.7, 0.7, 0.7]\ngen q() {{ for i in 5 {{ b[i] ~ flip_logits(l[i]) by {by} }} }}\n\
         objective cost() = expect {{ let (t, _) = sim(q())\n sum(for i in 5 {{ (real(t.b[i]) - 0.499)^2 }}) }}\n\
         fit minimize cost() using sgd(1e-9), particles 1, steps 10"
    ));
    // States and baselines settle; the parameters do not move.
    f.run(Precision::F64, SEED, 4000).expect("steps");
    f
}

#[test]
fn variances_are_ordered_as_published() {
    let measure = |by: &str| {
        let (v, e) = variance_and_error(&gradients(&toy(by), "l", 20_000));
        println!("{by}: {v:.3e} +- {e:.1e}");
        (v, e)
    };
    // Smaller by five standard errors of the difference.
    let below = |(v, e): (f64, f64), (w, f): (f64, f64)| v + 5.0 * (e * e + f * f).sqrt() < w;
    let names = [
        "reinforce",
        "reinforce_mean",
        "leave_one_out(2)",
        "leave_one_out(4)",
        "control_variate(0.02)",
        "arm",
        "disarm",
        "measure_valued",
    ];
    let [plain, mean, two, four, variate, arm, disarm, exact] = names.map(measure);
    assert!(below(mean, plain), "a running mean as baseline");
    assert!(below(two, plain) && below(four, two), "draws as baselines of one another");
    assert!(below(variate, plain), "a control variate");
    assert!(below(arm, plain), "ARM beside REINFORCE");
    assert!(below(disarm, arm), "DisARM beside ARM");
    assert!(below(disarm, two), "DisARM beside two draws");
    assert!(exact.0 < 1e-20, "both outcomes leave no variance");
}

/// A baseline that is computed from data: its parameters learn the costs, and nothing else changes.
#[test]
fn a_baseline_network_learns_and_leaves_other_gradients_alone() {
    let program = |by: &str| {
        fitted(&format!(
            "param l: real = 0.4\nparam s: real = 0.9\nparam w: real[2] = [0.0, 0.0]\nparam c: real = 0.5\n\
             let x = [1.0, -2.0]\n\
             gen q() {{ b ~ flip_logits(l) by {by} }}\n\
             objective cost() = expect {{ let (t, _) = sim(q())\n s^2 * (if t.b {{ 3.0 }} else {{ 1.0 }}) + 0 * sum(stop(w)) + 0 * stop(c) }}\n\
             fit minimize cost() using adam(0.02), particles 8, steps 800"
        ))
    };
    let mut with = program("reinforce_baseline(dot(w, x) + c)");
    // The gradients of model and guide: unbiased, and those of a plain score function with that baseline, draw by draw.
    let p = 1.0 / (1.0 + (-0.4_f64).exp());
    let exact = [0.81 * 2.0 * p * (1.0 - p), 2.0 * 0.9 * (1.0 + 2.0 * p)];
    for b in [0.0, -1.5, 2.0] {
        let at = with.program.params.iter().position(|p| p.name == "c").expect("c");
        with.params[at][0] = b;
        let plain = program(&format!("reinforce({b:?})"));
        for (name, want) in ["l", "s"].into_iter().zip(exact) {
            let draws = gradients(&with, name, 2000);
            assert_eq!(draws, gradients(&plain, name, 2000), "{name} at {b}");
            let (mean, error) = mean_and_error(&draws);
            assert!((mean - want).abs() < 4.0 * error, "{name} at {b}: {mean} +- {error}, not {want}");
        }
    }
    let at = with.program.params.iter().position(|p| p.name == "c").expect("c");
    with.params[at][0] = 0.5;
    with.run(Precision::F64, SEED, 1500).expect("steps");
    let value = |name: &str| with.params[with.program.params.iter().position(|p| p.name == name).expect("a parameter")].clone();
    let (w, c, l, s) = (value("w"), value("c")[0], value("l")[0], value("s")[0]);
    let (p, b) = (1.0 / (1.0 + (-l).exp()), w[0] - 2.0 * w[1] + c);
    assert!(w[0] != 0.0 && w[1] != 0.0, "{w:?}");
    let mean = s * s * (1.0 + 2.0 * p);
    assert!((b - mean).abs() < 0.1, "the baseline is {b}, the mean cost {mean}");
}

/// Weak derivatives and importance weights need nothing of the continuation: the probability of a side has the density at the edge as its derivative.
#[test]
fn costs_may_jump_where_no_value_is_differentiated() {
    for (choice, edge, exact) in [
        // Of P(x > 0.3) by the mean; of P(x > 1) by the logarithm of the rate, and of the gamma's.
        ("normal(l, 0.8)", "0.3", (-0.5 * (0.1_f64 / 0.8).powi(2)).exp() / (0.8 * std::f64::consts::TAU.sqrt())),
        ("exponential(exp(l))", "1", -(0.4_f64.exp()) * (-(0.4_f64.exp())).exp()),
        ("gamma(2, exp(l))", "1", -(0.8_f64.exp()) * (-(0.4_f64.exp())).exp()),
    ] {
        let proposal = if choice.starts_with("normal") { "student_t(3, 0, 1)" } else { "half_cauchy(1)" };
        for by in ["measure_valued".to_string(), "reinforce".to_string(), format!("importance({proposal})")] {
            let f = fitted(&format!(
                "param l: real = 0.4\ngen q() {{ x ~ {choice} by {by} }}\n\
                 objective cost() = expect {{ let (t, _) = sim(q())\n if t.x > {edge} {{ 1.0 }} else {{ 0.0 }} }}\nfit minimize cost() using particles 50"
            ));
            let (mean, error) = mean_and_error(&gradients(&f, "l", 2000));
            assert!((mean - exact).abs() < 4.0 * error && error < 0.02, "{choice} by {by}: {mean} +- {error}, not {exact}");
        }
    }
}

/// Where draws jump but the distribution function is smooth, values are differentiated by default; unless they are branched on.
#[test]
fn the_compiler_prefers_implicit_gradients_to_scores() {
    let chosen = |choice: &str, cost: &str| {
        let f = fitted(&format!(
            "param l: real = 0.4\ngen q() {{ x ~ {choice} }}\n\
             objective cost() = expect {{ let (t, _) = sim(q())\n {cost} }}\nfit minimize cost() using particles 1"
        ));
        f.code.chosen.iter().map(|c| c.strategy.clone()).collect::<Vec<_>>().join(" ")
    };
    let branch = "if t.x > 0.5 { 1.0 } else { 0.0 }";
    for d in ["von_mises(l, 2)", "normal_mixture([0.4, 0.6], [l, 1.0], [1.0, 2.0])"] {
        assert_eq!(chosen(d, "cos(t.x)"), "implicit", "{d}");
        assert_eq!(chosen(d, branch), "reinforce", "{d}");
    }
    for d in ["truncated_normal(l, 1, -1, 2)", "gamma(exp(l), 1)", "beta(exp(l), 2)", "student_t(3, l, 1)"] {
        assert_eq!(chosen(d, "cos(t.x)"), "reparam", "{d}");
        assert_eq!(chosen(d, branch), "reinforce", "{d}");
    }
}
