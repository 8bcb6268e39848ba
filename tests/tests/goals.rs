//! Fits with several goals, detached programs, and programs with other data.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_tests::{Fitted, Model, mean_and_error, root};

/// `z ~ normal(a, 1)`, `y ~ normal(z, 1)`: at the best `a` the posterior of `z` is normal with mean `y` and variance 1/2.
const MODEL: &str = "data y: real\nparam a: real = 0.5\nparam m: real = 0.3\nparam s: real = -0.2\n\
    gen model() { z ~ normal(a, 1);  y ~ normal(z, 1) }\n\
    gen guide() { z ~ normal(m, exp(s)) by reparam }\n\
    fit model() given { y } with guide()\n  ";

fn fitted(goals: &str) -> Fitted {
    let text = format!("{MODEL}{goals}\n  using adam(0.02), particles 64, steps 1500\n");
    let model = Model::from_text(&text, root(), &["{\"y\": 2.0}"]).unwrap_or_else(|e| panic!("{goals}: {e:?}"));
    Fitted::new(&model, &FitOverrides::default(), None).unwrap_or_else(|e| panic!("{goals}: {e:?}"))
}

/// The gradients by name, without the goals' values.
fn gradients(f: &Fitted, step: u64) -> Vec<(String, f64)> {
    let all = f.gradient_native(Precision::F64, 5, step).expect("a gradient");
    let values = f.program.fit.as_ref().expect("a fit").goals.len();
    f.code.learned.iter().zip(&all[values..]).map(|(p, g)| (f.program.params[*p].name.clone(), g[0])).collect()
}

#[test]
fn gradients_of_two_goals_are_those_of_each() {
    let both = fitted("maximize iwelbo(3) over params(model), elbo over params(guide)");
    assert_eq!(both.program.fit.as_ref().expect("a fit").goals.len(), 2);
    let (tight, plain) = (fitted("maximize iwelbo(3)"), fitted("maximize elbo"));
    for step in 0..5 {
        let of = |f: &Fitted, name: &str| gradients(f, step).into_iter().find(|(n, _)| n == name).expect("a parameter").1;
        for (f, name) in [(&tight, "a"), (&plain, "m"), (&plain, "s")] {
            let (found, wanted) = (of(&both, name), of(f, name));
            assert!((found - wanted).abs() < 1e-10, "{name} at step {step}: {found}, not {wanted}");
        }
    }
}

#[test]
fn directions_differ_by_goal() {
    let mut f = fitted("maximize elbo over params(model)\n  minimize 0 - elbo(model() given { y }, guide()) over (m, s)");
    f.run(Precision::F64, 3, 1500).expect("steps");
    assert!((f.params[0][0] - 2.0).abs() < 0.1, "{:?}", f.params);
    assert!((f.params[1][0] - 2.0).abs() < 0.1, "{:?}", f.params);
    assert!((f.params[2][0] - 0.5_f64.sqrt().ln()).abs() < 0.1, "{:?}", f.params);
}

#[test]
fn reweighted_wake_sleep_finds_model_and_posterior() {
    let mut f = fitted("maximize p_wake(20) over params(model), q_wake(20) over params(guide)");
    f.run(Precision::F64, 3, 1500).expect("steps");
    let [a, m, s] = [f.params[0][0], f.params[1][0], f.params[2][0]];
    assert!((a - 2.0).abs() < 0.1 && (m - 2.0).abs() < 0.1 && (s - 0.5_f64.sqrt().ln()).abs() < 0.1, "{a} {m} {s}");
}

/// With the posterior as guide the gradient that sticks the landing is 0 in every draw; that of the bound itself is not.
#[test]
fn sticking_the_landing_has_no_variance_at_the_posterior() {
    let text = MODEL.replace("param a: real = 0.5", "let a = 0.5").replace("m: real = 0.3", "m: real = 1.25");
    let text = text.replace("s: real = -0.2", "s: real = -0.5 * log(2.0)");
    let of = |goal: &str| {
        let text = format!("{text}maximize {goal}\n  using adam(0.02), particles 1\n");
        let model = Model::from_text(&text, root(), &["{\"y\": 2.0}"]).unwrap_or_else(|e| panic!("{goal}: {e:?}"));
        let f = Fitted::new(&model, &FitOverrides::default(), None).unwrap_or_else(|e| panic!("{goal}: {e:?}"));
        (0..200).map(|step| gradients(&f, step)).collect::<Vec<_>>()
    };
    assert!(of("stl").iter().flatten().all(|(_, g)| g.abs() < 1e-12));
    assert!(of("elbo").iter().flatten().any(|(_, g)| g.abs() > 0.1));
}

/// Away from the posterior, both gradients estimate the same.
#[test]
fn sticking_the_landing_is_unbiased() {
    let (stl, elbo) = (fitted("maximize stl"), fitted("maximize elbo"));
    for name in ["m", "s"] {
        let of = |f: &Fitted| {
            let values: Vec<f64> =
                (0..400).map(|step| gradients(f, step).into_iter().find(|(n, _)| n == name).expect("a parameter").1).collect();
            mean_and_error(&values)
        };
        let ((a, ea), (b, eb)) = (of(&stl), of(&elbo));
        assert!((a - b).abs() < 4.5 * ea.hypot(eb), "{name}: {a} +/- {ea}, {b} +/- {eb}");
    }
}

/// A sleep phase: data are simulated from the model, and the guide that reads them learns the posterior of every `y`.
#[test]
fn a_sleep_phase_trains_a_guide_with_simulated_data() {
    let text = "data y: real\nparam w: real = 0.0\nparam c: real = 0.3\nparam s: real = -0.2\n\
        gen model() { z ~ normal(1, 1) }\n\
        gen guide() { z ~ normal(w * y + c, exp(s)) }\n\
        objective sleep(p: gen) = expect {\n  let (t, _) = sim(p)\n  let x = draw normal(t.z, 1)\n  \
        log_density(guide() with data { y: x }, t)\n}\n\
        fit maximize sleep(model())\n  using adam(0.02), particles 128, steps 1500\n";
    let text = text.replace(
        "log_density(guide() with data { y: t.y }, { z: t.z })",
        "log_density(guide() with data { y: t.y } given { z: t.z }, t)",
    );
    let model = Model::from_text(&text, root(), &["{\"y\": 2.0}"]).unwrap_or_else(|e| panic!("{e:?}"));
    let mut f = Fitted::new(&model, &FitOverrides::default(), None).unwrap_or_else(|e| panic!("{e:?}"));
    f.run(Precision::F64, 3, 1500).expect("steps");
    let [w, c, s] = [f.params[0][0], f.params[1][0], f.params[2][0]];
    assert!((w - 0.5).abs() < 0.1 && (c - 0.5).abs() < 0.1 && (s - 0.5_f64.sqrt().ln()).abs() < 0.1, "{w} {c} {s}");
}
