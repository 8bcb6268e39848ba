//! Strategies that remember and learn.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_tests::{Fitted, Model, mean_and_error, root};

const WRONG: &str = "strategy sees_itself for d (k) {\n  state b: real = 0\n  let x = draw d\n  let cost = k(x)\n  \
    let c = 0.5 * b + 0.5 * stop(cost)\n  set b = c\n  cost + stop(cost - c) * score(d, x)\n}\n";

fn fitted(by: &str, n: usize, particles: usize) -> Fitted {
    let text = format!(
        "param l: real = 0.4\n{WRONG}gen q() {{ for i in {n} {{ z[i] ~ flip_logits(l) by {by} }} }}\n\
         objective cost(q: gen) = expect {{\n  let (t, _) = sim(q)\n  sum(for i in {n} {{ if t.z[i] {{ 3.0 }} else {{ 1.0 }} }})\n}}\n\
         fit minimize cost(q())\n  using adam(0.02), particles {particles}, steps 400\n"
    );
    let model = Model::from_text(&text, root(), &[]).unwrap_or_else(|e| panic!("{by}: {e:?}"));
    Fitted::new(&model, &FitOverrides::default(), None).unwrap_or_else(|e| panic!("{by}: {e:?}"))
}

fn position(f: &Fitted, name: &str) -> usize {
    f.program.params.iter().position(|p| p.name == name).unwrap_or_else(|| panic!("no {name} in {:?}", f.program.params))
}

/// Mean and error of the gradient with respect to `l`.
fn gradient(f: &Fitted) -> (f64, f64) {
    let at = f.code.learned.iter().position(|p| f.program.params[*p].name == "l").expect("l learns");
    let values: Vec<f64> =
        (0..400).map(|step| f.gradient_native(Precision::F64, 5, step).expect("a gradient")[1 + at][0]).collect();
    mean_and_error(&values)
}

fn exact(n: usize) -> f64 {
    let p = 1.0 / (1.0 + (-0.4_f64).exp());
    2.0 * n as f64 * p * (1.0 - p)
}

#[test]
fn baselines_from_earlier_steps_are_unbiased() {
    for (by, n) in [
        ("reinforce_mean(0.5)", 1),
        ("reinforce_mean", 3),
        ("reinforce_learned", 1),
        ("reinforce_learned", 3),
        ("control_variate", 1),
        ("control_variate(0.2)", 3),
    ] {
        let mut f = fitted(by, n, 4);
        for b in [0.0, -2.0, 1.5] {
            f.remember(b);
            let (mean, error) = gradient(&f);
            assert!((mean - exact(n)).abs() < 4.5 * error, "{by} at {b}: {mean} +/- {error}, not {}", exact(n));
        }
    }
}

/// The same test sees a baseline that holds its own cost.
#[test]
fn a_baseline_that_sees_its_own_cost_is_found_biased() {
    let (mean, error) = gradient(&fitted("sees_itself", 1, 4));
    assert!((mean - exact(1)).abs() > 4.5 * error, "{mean} +/- {error}");
    assert!((mean - 0.5 * exact(1)).abs() < 4.5 * error, "{mean} +/- {error}");
}

/// A step replaces the state by the mean over lanes.
#[test]
fn a_state_follows_the_mean_of_the_cost() {
    let mut f = fitted("reinforce_mean(0.5)", 3, 64);
    assert_eq!(f.code.carried.len(), 1);
    assert_eq!(f.program.params[f.code.carried[0]].name, "reinforce_mean.q.z.b");
    let at = f.code.layout.roles.iter().position(|r| *r == ppl_driver::step::Role::Carried(0)).expect("a state");
    let mut r = f.runner(Precision::F64).expect("a runner");
    let mut out = vec![0.0; 400];
    r.run_steps(3, 0, f.code.layout.objective, &mut out).expect("steps");
    // The cost of a choice is its part of the objective, in each particle.
    let b = r.input_values(at)[0];
    // All choices are false in the end: each costs 1.
    let p = out[350..].iter().sum::<f64>() / 50.0 / 3.0;
    assert!((b - p).abs() < 0.2, "{b}, not about {p}");
    f.run(Precision::F64, 3, 400).expect("steps");
    assert!(f.params[0][0] < -2.0, "{:?}", f.params);
}

#[test]
fn a_learned_baseline_goes_to_the_mean_of_the_cost() {
    let mut f = fitted("reinforce_learned", 1, 1);
    f.run(Precision::F64, 3, 1200).expect("steps");
    let c = f.params[position(&f, "reinforce_learned.q.z.c")][0];
    assert!((c - 1.0).abs() < 0.4, "{c}");
    assert!(f.params[0][0] < -2.0, "{:?}", f.params);
}

/// Unbiased for every number of draws, with less variance than as many draws without a baseline.
#[test]
fn leave_one_out_is_unbiased_and_lowers_the_variance() {
    for n in [1, 3] {
        let errors: Vec<f64> = ["leave_one_out(2)", "leave_one_out(4)", "reinforce", "leave_one_out(1)"]
            .iter()
            .map(|by| {
                let (mean, error) = gradient(&fitted(by, n, 4));
                assert!((mean - exact(n)).abs() < 4.5 * error, "{by}: {mean} +/- {error}, not {}", exact(n));
                error
            })
            .collect();
        // The baseline is worth more than the further draws: with plain averages of 4 the error would be half of that of one.
        assert!(errors[1] < 0.4 * errors[2], "{errors:?}");
        assert!(errors[1] < errors[0], "{errors:?}");
    }
}

/// Standard deviation of a gradient with respect to the first parameter, after `steps` steps of a fit that does not move it.
fn spread_after(choice: &str, cost: &str, by: &str, steps: usize) -> f64 {
    let text = format!(
        "param l: real = 0.4\ngen q() {{ z ~ {choice} by {by} }}\nobjective cost(q: gen) = expect {{\n  let (t, _) = sim(q)\n  {cost}\n}}\n\
         fit minimize cost(q())\n  using sgd(1e-9), particles 8, steps 10\n"
    );
    let model = Model::from_text(&text, root(), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    let mut f = Fitted::new(&model, &FitOverrides::default(), None).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    f.run(Precision::F64, 11, steps).unwrap_or_else(|e| panic!("{text}\n{e}"));
    assert!((f.params[0][0] - 0.4).abs() < 1e-3, "{:?}", f.params);
    let g: Vec<f64> = (0..400).map(|s| f.gradient_native(Precision::F64, 5, 1000 + s).expect("a gradient")[1][0]).collect();
    mean_and_error(&g).1 * 20.0
}

/// Coefficients go to those of least squares: what remains is what the costs lack of a line (of a parabola, for `normal`), and the noise of the coefficients.
#[test]
fn control_variates_learn_their_coefficients() {
    let cases = [
        ("flip_logits(l)", "if t.z { 3.0 } else { 1.0 }", 0.05),
        ("flip(sigmoid(l))", "if t.z { 3.0 } else { 1.0 }", 0.05),
        ("poisson(exp(l))", "5 + 2 * t.z", 0.05),
        ("normal(l, 0.7)", "3 + t.z - 2 * t.z^2", 0.05),
        ("normal(0.3, 0.4 * exp(l))", "sin(t.z)", 0.5),
    ];
    for (choice, cost, part) in cases {
        let (plain, with) =
            (spread_after(choice, cost, "reinforce_mean(0.99)", 1000), spread_after(choice, cost, "control_variate", 1000));
        assert!(with < part * plain, "{choice}: {with}, with a mean for a baseline {plain}");
    }
}
