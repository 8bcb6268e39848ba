//! Strategies wherever a choice can stand, two at a time: gradients against exact sums over all values of all choices.
//!
//! Bounds are for |z| at a family-wise level of 1 % (Bonferroni) over the file's programs.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_driver::{Cx, lower_expectation};
use ppl_fit::certify::{threshold, z_score};
use ppl_tests::engine::{native, set};
use ppl_tests::fitting::mean_and_error;
use ppl_tests::{Fitted, Model, root};

/// Name, guide and cost.
type Place = (&'static str, &'static str, &'static str);

/// What surrounds two choices `a` and `b`, and a cost that couples them.
const PLACES: [Place; 10] = [
    (
        "straight line",
        "gen q() { a ~ flip(p) by S1;  b ~ categorical(if t.a { w } else { v }) by S2 }",
        "if t.a { f(t.b) * r } else { 0.3 * f(t.b)^2 }",
    ),
    (
        "plate",
        "gen q() { for n in 3 { a[n] ~ flip(p) by S1;  b[n] ~ categorical(if t.a[n] { w } else { v }) by S2 } }",
        "sum(for n in 3 { if t.a[n] { (n + 1) * f(t.b[n]) * r } else { f(t.b[n])^2 } })",
    ),
    (
        "scan",
        "gen q() { for n in 3 carry (s = 0.3) { a[n] ~ flip(s) by S1;  b[n] ~ categorical(if t.a[n] { w } else { v }) by S2
           if t.a[n] { p } else { 0.2 + 0.1 * b[n] } } }",
        "for n in 3 carry (c = 0.0) { c * r + (if t.a[n] { f(t.b[n]) } else { 0.5 }) }",
    ),
    (
        "scan with stacks",
        "gen q() { for n in 4 carry (s = false) { a[n] ~ flip(if s { p } else { 0.6 }) by S1;  a[n] }
           b ~ categorical(if t.a[3] { w } else { v }) by S2 }",
        "sum(for n in 4 { if t.a[n] { (n + 1) * r } else { 0.2 } }) * f(t.b) + (if t.a[0] { r * r } else { 1.0 })",
    ),
    (
        "branch",
        "gen q() { a ~ flip(p) by S1;  if t.a { b ~ categorical(w) by S2 } else { } }",
        "if t.a { f(t.b) * r } else { 0.4 }",
    ),
    (
        "branch in a scan",
        "gen q() { for n in 3 carry (on = true) { let here = if on { a[n] ~ flip(p) by S1;  t.a[n] } else { false }
           if here { b[n] ~ categorical(w) by S2 } else { }
           here } }",
        "let (_, cost) = for n in 3 carry (on = true, c = 0.0) { let here = if on { t.a[n] } else { false }
           if here { (true, c * r + f(t.b[n])) } else { (false, c) } }
           cost",
    ),
    (
        "scan in a plate",
        "gen q() { for m in 2 { for n in 2 carry (s = p) { a[m, n] ~ flip(s) by S1;  b[m, n] ~ categorical(if t.a[m, n] { w } else { v }) by S2
           if t.a[m, n] { p } else { 0.2 + 0.1 * b[m, n] } } } }",
        "sum(for m in 2 { for n in 2 carry (c = 0.0) { c * r + (if t.a[m, n] { f(t.b[m, n]) } else { 0.5 }) } })",
    ),
    (
        "plate in a scan",
        "gen q() { for n in 2 carry (s = [0.3, 0.6]) { for m in 2 { a[n, m] ~ flip(s[m]) by S1;  b[n, m] ~ categorical(if t.a[n, m] { w } else { v }) by S2 }
           [for m in 2 { if t.a[n, m] { p } else { 0.2 + 0.1 * b[n, m] } }] } }",
        "for n in 2 carry (c = 0.0) { c * r + sum(for m in 2 { if t.a[n, m] { (m + 1) * f(t.b[n, m]) } else { 0.5 } }) }",
    ),
    (
        "coupled plate in a scan",
        "gen q() { for n in 2 carry (s = [0.3, 0.6]) { for m in 2 { a[n, m] ~ flip(s[m]) by S1;  b[n, m] ~ categorical(if t.a[n, m] { w } else { v }) by S2 }
           let total = sum(for m in 2 { if t.a[n, m] { 0.1 } else { 0.05 * b[n, m] } })
           [p * (0.3 + total), 0.5 + total] } }",
        "for n in 2 carry (c = 0.0) { c * r + exp(sum(for m in 2 { if t.a[n, m] { 0.3 * f(t.b[n, m]) } else { 0.1 } })) }",
    ),
    (
        "scan in a scan",
        "gen q() { for m in 2 carry (o = p) { for n in 2 carry (s = o) { a[m, n] ~ flip(s) by S1;  b[m, n] ~ categorical(if t.a[m, n] { w } else { v }) by S2
           if t.a[m, n] { p } else { 0.2 + 0.1 * b[m, n] } } } }",
        "for m in 2 carry (o = 0.5) { for n in 2 carry (c = o) { c * r + (if t.a[m, n] { f(t.b[m, n]) } else { 0.5 }) } }",
    ),
];

/// Of `flip`, and of `categorical`.
const STRATEGIES: [(&str, &str); 11] = [
    ("reinforce", "reinforce"),
    ("measure_valued", "leave_one_out(3)"),
    ("measure_valued", "local_expectation"),
    ("control_variate", "reinforce_mean"),
    ("reinforce_learned", "local_expectation"),
    ("leave_one_out(3)", "local_expectation"),
    ("local_expectation", "reinforce"),
    ("reinforce", "local_expectation"),
    ("enumerate", "local_expectation"),
    ("measure_valued", "enumerate"),
    ("enumerate", "enumerate"),
];

fn fitted((_, guide, cost): Place, (s1, s2): (&str, &str), particles: usize) -> Result<Fitted, String> {
    // In the guide a choice goes by its own name.
    let guide = guide.replace("t.a", "a").replace("t.b", "b").replace("S1", s1).replace("S2", s2);
    let text = format!(
        "param p: unit = 0.35\nparam w: simplex[3] = [0.2, 0.5, 0.3]\nparam v: simplex[3] = [0.5, 0.1, 0.4]\nparam r: real = 0.8\n\
         fn f(x) = 0.4 + x * (1.3 - 0.2 * x)\n{guide}\nobjective o() = expect {{ let (t, _) = sim(q())\n {cost} }}\n\
         fit maximize o() using particles {particles}"
    );
    let model = Model::from_text(&text, root().join("examples"), &[]).map_err(|e| format!("{text}\n{e:?}"))?;
    let mut f = Fitted::new(&model, &FitOverrides::default(), Some(1)).map_err(|e| format!("{text}\n{e:?}"))?;
    f.remember(0.7);
    Ok(f)
}

/// The objective's expectation and its derivatives with respect to the unconstrained parameters, by sums and differences.
fn exact(f: &Fitted) -> Vec<f64> {
    let goal = &f.program.fit.as_ref().expect("a fit").goals[0];
    let e = lower_expectation(&f.program, &goal.objective, &mut Cx::default()).unwrap_or_else(|d| panic!("{d:?}"));
    assert!(!e.random, "everything is summed");
    let mut inputs = f.inputs(&e.inputs);
    inputs.push(vec![0.0]);
    let mut r = native(&e.func, &inputs, Precision::F64).expect("native code");
    let mut sum = |slot: usize, values: &[f64]| {
        set(&mut r, slot, ppl_core::DType::Float, values).expect("a parameter");
        (0..e.combinations)
            .map(|n| {
                set(&mut r, inputs.len() - 1, ppl_core::DType::Int, &[n as f64]).expect("a number");
                r.run(0, 0);
                r.output_values(0)[0]
            })
            .sum::<f64>()
    };
    let (mut out, mut value) = (Vec::new(), f64::NAN);
    for p in &f.code.learned {
        let slot = e.inputs.iter().position(|g| *g == ppl_check::Global::Param(*p)).expect("an input");
        let base = f.params[*p].clone();
        for k in 0..base.len() {
            let mut at = |h: f64| {
                let mut x = base.clone();
                x[k] += h;
                sum(slot, &x)
            };
            let d = |h: f64, up: f64, down: f64| (up - down) / (2.0 * h);
            let (wide, narrow) = (d(2e-3, at(2e-3), at(-2e-3)), d(1e-3, at(1e-3), at(-1e-3)));
            out.push((4.0 * narrow - wide) / 3.0);
        }
        value = sum(slot, &base);
    }
    out.insert(0, value);
    out
}

/// `(what, z)` of every component.
fn scores(place: Place, pair: (&str, &str), truth: &[f64]) -> Result<Vec<(String, f64)>, String> {
    // Sums over all values have little or no variance, and many lanes.
    let (particles, runs) = match (pair.0, pair.1) {
        ("enumerate", "enumerate") => (1, 2),
        ("enumerate", _) | (_, "enumerate") => (5, 200),
        _ => (100, 200),
    };
    let f = fitted(place, pair, particles)?;
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64)?;
    let mut one = |step| -> Vec<f64> {
        r.run(7, step);
        let own = |k: &usize| *k == 0 || f.code.own[k - 1];
        (0..=f.code.learned.len()).filter(own).flat_map(|k| r.output_values(k)).collect()
    };
    let all: Vec<Vec<f64>> = (0..runs).map(&mut one).collect();
    let mut out = Vec::new();
    for (k, want) in truth.iter().enumerate() {
        let column: Vec<f64> = all.iter().map(|x| x[k]).collect();
        let (mean, se) = mean_and_error(&column);
        let what = format!("{} by {pair:?}, result {k}: {mean} +- {se}, expected {want}", place.0);
        out.push((what, z_score(mean, se, *want, 1e-9, 1e-9, 1.0)));
    }
    Ok(out)
}

#[test]
fn strategies_agree_with_exact_sums_wherever_choices_stand() {
    let mut found = Vec::new();
    for place in PLACES {
        let truth = exact(&fitted(place, ("reinforce", "reinforce"), 1).unwrap_or_else(|e| panic!("{e}")));
        for pair in STRATEGIES {
            // All combinations of eight choices take a minute.
            if pair == ("enumerate", "enumerate") && place.0.contains("plate in a scan") {
                continue;
            }
            match scores(place, pair, &truth) {
                Ok(z) => found.extend(z),
                Err(e) => panic!("{} by {pair:?}\n{e}", place.0),
            }
        }
    }
    let bound = threshold(0.01, found.len());
    let wrong: Vec<&str> = found.iter().filter(|(_, z)| z.abs() > bound || z.is_nan()).map(|(w, _)| w.as_str()).collect();
    assert!(wrong.is_empty(), "{} of {} beyond |z| = {bound:.2}:\n{}", wrong.len(), found.len(), wrong.join("\n"));
}

/// A value that is drawn without gradients is a cost of the choices that its distribution depends on.
#[test]
fn draws_are_costs_of_earlier_choices() {
    for by in ["reinforce", "measure_valued", "enumerate", "leave_one_out(3)", "local_expectation"] {
        for cost in ["t.n", "2 * t.n - t.n", "sum([t.n, 0.0])"] {
            let text = format!(
                "param p: unit = 0.35\ngen q() {{ b ~ flip(p) by {by};  n ~ normal(if b {{ 3.0 }} else {{ 1.0 }}, 0.5) }}\n\
                 objective o() = expect {{ let (t, _) = sim(q())\n {cost} }}\nfit maximize o() using particles 200"
            );
            let model = Model::from_text(&text, root(), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
            let f = Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
            let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
            let mut one = |step| {
                r.run(3, step);
                r.output_values(1)[0]
            };
            let (mean, se) = mean_and_error(&(0..200).map(&mut one).collect::<Vec<f64>>());
            let want = 2.0 * 0.35 * 0.65;
            assert!((mean - want).abs() < 4.5 * se + 1e-9, "{by}, {cost}: {mean} +- {se}, expected {want}");
        }
    }
}

/// Costs that are infinite where a probability is 0 leave value and gradient alone: runs there are not made.
#[test]
fn impossible_values_may_cost_anything() {
    // Guide, cost, and its expectation; `mask` is (1, 0, 1).
    let cases = [
        (
            "z ~ flip(p * mask[1]) by S;  c ~ flip(p) by S",
            "(if t.z { log(mask[1]) } else { 0.5 * r }) * (if t.c { 2.0 } else { 1.0 })",
            "0.5 * r * (1 + p)",
        ),
        (
            "for n in 3 { z[n] ~ flip(p * mask[n]) by S }",
            "sum(for n in 3 { if t.z[n] { log(mask[n]) + 3 } else { (n + 1) * r } })",
            "6 * p + r * (6 - 4 * p)",
        ),
        (
            "z ~ categorical(w * mask / (w[0] + w[2])) by S",
            "if t.z == 1 { log(mask[1]) } else { r * t.z }",
            "2 * r * w[2] / (w[0] + w[2])",
        ),
        (
            "for n in 3 carry (s = 1.0) { z[n] ~ flip(p * mask[n]) by S;  s }",
            "for n in 3 carry (c = 0.0) { c * r + (if t.z[n] { log(mask[n]) + 3 } else { 1.0 }) }",
            "r * r * (1 + 2 * p) + r + 1 + 2 * p",
        ),
    ];
    let data = r#"{ "mask": [1.0, 0.0, 1.0] }"#;
    let mean = |text: &str, runs: u64| {
        let text = format!(
            "data mask: real[3]\nparam p: unit = 0.35\nparam w: simplex[3] = [0.2, 0.5, 0.3]\nparam r: real = 0.8\n{text}\nfit maximize o() using particles 20"
        );
        let model = Model::from_text(&text, root(), &[data]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
        let mut f = Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
        f.remember(0.7);
        let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
        let rows: Vec<Vec<f64>> = (0..runs)
            .map(|step| {
                r.run(9, step);
                // The value, then the gradients for p, w, r.
                let at = |p: &usize| f.code.learned.iter().position(|l| l == p);
                let learned: Vec<usize> = (0..3).filter_map(|p| at(&p)).collect();
                std::iter::once(0).chain(learned.into_iter().map(|k| k + 1)).flat_map(|k| r.output_values(k)).collect()
            })
            .collect();
        (0..rows[0].len()).map(|k| mean_and_error(&rows.iter().map(|x| x[k]).collect::<Vec<_>>())).collect::<Vec<_>>()
    };
    for (guide, cost, expected) in cases {
        let truth = mean(&format!("objective o() = expect {{ {expected} }}"), 1);
        for by in ["enumerate", "measure_valued", "local_expectation", "reinforce", "leave_one_out(3)", "control_variate"] {
            if guide.contains("categorical") && ["measure_valued", "control_variate"].contains(&by) {
                continue;
            }
            let text =
                format!("gen q() {{ {} }}\nobjective o() = expect {{ let (t, _) = sim(q())\n {cost} }}", guide.replace('S', by));
            let found = mean(&text, if by == "enumerate" { 2 } else { 1000 });
            for (k, ((have, se), (want, _))) in found.iter().zip(&truth).enumerate() {
                assert!((have - want).abs() < 4.5 * se + 1e-9, "{guide} by {by}, result {k}: {have} +- {se}, expected {want}");
            }
        }
    }
}
