//! Relaxed choices: what is unbiased is told from what is not, variances are in the published order, and uses that can't be relaxed are refused.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_fit::certify::{Moments, z_score};
use ppl_tests::engine::native;
use ppl_tests::{Fitted, Model, root};

/// The benchmark of the papers: one choice, `(b - 0.45)^2`.
const TOY: &str = "param logit: real = 0.2
gen guide() { b ~ flip_logits(logit) }
objective o(q: gen) = expect { let (t, _) = sim(q); (real(t.b) - 0.45)^2 }
";

fn fitted(text: &str) -> Fitted {
    let model = Model::from_text(text, root().join("examples"), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// Moments of the value and of the gradient by the first parameter.
fn moments(f: &Fitted, runs: u64) -> (Moments, Moments) {
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
    let first = 1 + f.code.learned.iter().position(|p| *p == 0).expect("the first parameter learns");
    let (mut value, mut slope) = (Moments::default(), Moments::default());
    for step in 0..runs {
        r.run(3, step);
        value.add(r.output_values(0)[0]);
        slope.add(r.output_values(first)[0]);
    }
    (value, slope)
}

fn toy(strategy: &str) -> Fitted {
    fitted(&format!("{TOY}fit minimize o(guide() by {{ b: {strategy} }}) using adam(0.01), particles 1"))
}

/// Variance of one draw, and its standard error.
fn variance(m: &Moments) -> (f64, f64) {
    (m.variance(), m.variance() * ((m.kurtosis() + 2.0) / m.count()).max(0.0).sqrt())
}

fn below(what: &str, a: &Moments, b: &Moments) {
    let ((x, dx), (y, dy)) = (variance(a), variance(b));
    assert!(x + 4.0 * dx.hypot(dy) < y, "{what}: {x} +- {dx} against {y} +- {dy}");
}

/// The toy's mean and its derivative.
fn truth() -> (f64, f64) {
    let p = 1.0 / (1.0 + (-0.2f64).exp());
    (p * 0.55f64.powi(2) + (1.0 - p) * 0.45f64.powi(2), p * (1.0 - p) * (0.55f64.powi(2) - 0.45f64.powi(2)))
}

#[test]
fn control_variates_by_relaxation_lower_the_variance() {
    let of = |strategy: &str, steps: usize| {
        let text = format!(
            "param l: real[4] = [0.3, -0.4, 0.8, -0.1]
gen model() {{ {} }}
gen guide() {{ {} }}
fit model() with guide() using adam(0.01), particles 1",
            "a ~ flip(0.5);  b ~ flip(0.5);  c ~ flip(0.5);  d ~ flip(0.5);  factor -0.125 * (real(a) + 2 * real(b) + 3 * real(c) + 4 * real(d) - 4)^2",
            ["a", "b", "c", "d"]
                .iter()
                .enumerate()
                .map(|(i, z)| format!("{z} ~ flip_logits(l[{i}]) by {strategy}"))
                .collect::<Vec<_>>()
                .join(";  "),
        );
        let mut f = fitted(&text);
        f.settle(steps).expect("a fit");
        moments(&f, 40_000).1
    };
    let (reinforce, rebar, relax) = (of("reinforce", 0), of("rebar(1.0)", 0), of("relax", 2500));
    below("REBAR and the score function", &rebar, &reinforce);
    below("RELAX and the score function", &relax, &reinforce);
}

#[test]
fn relax_is_unbiased_after_training() {
    let mut f = toy("relax");
    f.settle(2500).expect("a fit");
    let (v, s) = moments(&f, 40_000);
    let (value, slope) = truth();
    let z = |m: &Moments, want| z_score(m.mean(), m.standard_error(), want, 0.0, 1e-9, 1.0).abs();
    assert!(z(&v, value) < 4.5 && z(&s, slope) < 4.5, "{v:?} {s:?}");
    // A single choice: there is nothing that the relaxed cost knows and the learned line does not.
    below("RELAX and the score function", &s, &moments(&toy("reinforce"), 40_000).1);
    below("RELAX and REBAR", &s, &moments(&toy("rebar"), 40_000).1);
}

#[test]
fn multi_sample_bounds_by_vimco_vary_less_than_by_the_score_function() {
    let model = "param l: real[4] = [0.3, -0.4, 0.8, -0.1]
gen model() { for i in 4 { z[i] ~ flip(0.5) };  y ~ normal(sum([for i in 4 { real(z[i]) * (i + 1) }]), 0.7) }
gen guide() { for i in 4 { z[i] ~ flip_logits(l[i]) } }
let t = model() given { y: 4.0 }
";
    let of =
        |objective: &str| moments(&fitted(&format!("{model}fit maximize {objective} using adam(0.1), particles 1")), 40_000).1;
    let vimco = of("vimco(t, guide(), 5)");
    below("VIMCO and the score function", &vimco, &of("iwelbo(t, guide() by { z: reinforce }, 5)"));
}

#[test]
fn biased_strategies_are_biased_and_say_so() {
    for (strategy, exact_value) in [("straight_through", true), ("gumbel_softmax", false)] {
        let f = toy(strategy);
        assert!(f.code.chosen.iter().all(|c| c.biased), "{:?}", f.code.chosen);
        let (v, s) = moments(&f, 40_000);
        let (value, slope) = truth();
        let z = |m: &Moments, want| z_score(m.mean(), m.standard_error(), want, 0.0, 1e-9, 1.0).abs();
        assert_eq!(z(&v, value) < 4.5, exact_value, "{strategy}: {v:?}");
        assert!(z(&s, slope) > 4.5, "{strategy}: {s:?}");
    }
    // What is linear in the choice is exact: the straight-through gradient is then the derivative of the mean.
    let f = fitted(
        "param logit: real = 0.2
gen guide() { b ~ flip_logits(logit) by straight_through }
objective o(q: gen) = expect { let (t, _) = sim(q); 3 * real(t.b) }
fit maximize o(guide()) using particles 1",
    );
    let (_, s) = moments(&f, 100);
    let p = 1.0 / (1.0 + (-0.2f64).exp());
    assert!((s.mean() - 3.0 * p * (1.0 - p)).abs() < 1e-12 && s.variance() < 1e-20, "{s:?}");
}

#[test]
fn relaxed_indices_read_tables_linearly() {
    // A table at a point of the simplex is the mean of its entries: with the probabilities themselves as the point, the exact expectation.
    let f = fitted(
        "param w: real[3] = [0.1, 0.4, -0.3]
biased strategy mean_field for categorical_logits(logits) (k) = k(softmax(logits))
gen guide() { for n in 2 { z[n] ~ categorical_logits(w) by mean_field } }
objective o(q: gen) = expect {
  let (t, _) = sim(q)
  let table = [1.0, 2.5, -1.0]
  sum([for n in 2 { (n + 1) * table[t.z[n]] + 0.5 * real(t.z[n]) + select(t.z[n] == 1, 2.0, 0.0) }])
}
fit maximize o(guide()) using particles 1",
    );
    let w = [0.1f64, 0.4, -0.3];
    let total: f64 = w.iter().map(|x| x.exp()).sum();
    let p: Vec<f64> = w.iter().map(|x| x.exp() / total).collect();
    let want = 3.0 * (p[0] + 2.5 * p[1] - p[2]) + 2.0 * (0.5 * (p[1] + 2.0 * p[2]) + 2.0 * p[1]);
    let (v, _) = moments(&f, 2);
    assert!((v.mean() - want).abs() < 1e-12, "{} {want}", v.mean());
}

#[test]
fn a_branch_on_a_relaxed_choice_is_refused() {
    let text = "param logit: real = 0.2
gen model() { b ~ flip(0.5);  if b { x ~ normal(0, 1) } else { } }
gen guide() { b ~ flip_logits(logit) by rebar;  if b { x ~ normal(0, 1) } else { } }
fit model() with guide()";
    let model = Model::from_text(text, root().join("examples"), &[]).expect("parses");
    let shown = match Fitted::new(&model, &FitOverrides::default(), Some(1)) {
        Ok(_) => String::new(),
        Err(e) => format!("{e:?}"),
    };
    assert!(shown.contains("E0474") && shown.contains("a branch on it"), "{shown}");
}
