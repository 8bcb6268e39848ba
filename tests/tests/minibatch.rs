//! Minibatches: the same data in model, guide and particles, a scaled log density, epochs, and what is refused.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_tests::engine::native;
use ppl_tests::{Fitted, Model, distance, mean_and_error, root};

const DATA: usize = 12;

fn data() -> String {
    let y: Vec<String> = (0..DATA).map(|n| format!("{:.2}", (1.3 * n as f64).sin() + 0.1 * n as f64)).collect();
    let x: Vec<String> = (0..DATA).map(|n| format!("{:.2}", (0.7 * n as f64).cos())).collect();
    format!("{{\"y\": [{}], \"x\": [{}]}}", y.join(", "), x.join(", "))
}

fn fitted(text: &str) -> Fitted {
    let text = format!("data N: int\ndata y: real[N], x: real[N]\n{text}");
    let model = Model::from_text(&text, root(), &[&data()]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// The codes and titles of what is wrong with a program.
fn refused(text: &str) -> Vec<(String, String)> {
    let text = format!("data N: int\ndata y: real[N], x: real[N]\n{text}");
    let model = Model::from_text(&text, root(), &[&data()]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    match Fitted::new(&model, &FitOverrides::default(), Some(1)) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(e) => e.diagnostics.iter().map(|d| (d.code.0.to_string(), d.title.clone())).collect(),
    }
}

/// Value and gradients, averaged over `steps` steps.
fn averaged(f: &Fitted, steps: u64) -> Vec<Vec<f64>> {
    let mut total: Vec<Vec<f64>> = Vec::new();
    for step in 0..steps {
        let one = f.gradient_native(Precision::F64, 3, step).expect("a gradient");
        if total.is_empty() {
            total = one.iter().map(|v| vec![0.0; v.len()]).collect();
        }
        for (t, o) in total.iter_mut().zip(&one) {
            t.iter_mut().zip(o).for_each(|(t, o)| *t += o / steps as f64);
        }
    }
    total
}

/// Programs without draws of which the log density is a sum over the data, with `over` for the loops.
const FIXED: &[&str] = &[
    "param m: real = 0.3\nparam s: positive = 1.5\n
     gen model() { for n in OVER { y[n] ~ normal(m + 0.5 * x[n], s) } }\ngen guide() { 0 }\n
     fit model() given { y } with guide() maximize elbo",
    // The data of a plate inside, a factor, a choice of a called program, and a second loop over the same minibatch.
    "param m: real = 0.3\nparam w: real[3] = [0.1, -0.2, 0.4]\n
     gen one(v: real, at: real) { y ~ normal(v, 1 + at^2) }\n
     gen model() {
       for n in OVER { for k in 3 { factor -0.5 * (w[k] - y[n])^2 };  s[n] ~ one(m, x[n]) }
       for n in OVER { factor x[n] * m }
     }\ngen guide() { 0 }\nfit model() given { s.y: y } with guide() maximize elbo",
    // Per-datum objectives add up.
    "param m: real = 0.3\n
     gen model(v: real) { e ~ normal(m, 1);  factor -0.5 * (v - m)^2 }\n
     gen none() { 0 }\n
     fit maximize sum(for n in OVER { elbo(model(x[n]) given { e: y[n] }, none()) })",
    "param m: real = 0.3\n
     gen model(v: real) { e ~ normal(m * v, 1) }\ngen none() { 0 }\n
     fit maximize mean(for n in OVER { elbo(model(x[n]) given { e: y[n] }, none()) })",
];

#[test]
fn an_epoch_of_minibatches_is_the_whole_plate() {
    for text in FIXED {
        for size in [1, 3, 4, 6] {
            let part = fitted(&text.replace("OVER", &format!("minibatch(N, {size})")));
            let whole = fitted(&text.replace("OVER", "N"));
            let epoch = averaged(&part, (DATA / size) as u64);
            let truth = whole.gradient_native(Precision::F64, 3, 0).expect("a gradient");
            for (a, b) in epoch.iter().zip(&truth) {
                assert!(distance(a, b) < 1e-9, "{size}: {a:?} and {b:?}\n{text}");
            }
            let one = part.gradient_native(Precision::F64, 3, 0).expect("a gradient");
            assert!(distance(&one[1], &truth[1]) > 1e-6, "a minibatch of {size} is no part of the plate\n{text}");
        }
        // As many as there are, or more: the plate itself.
        let all = fitted(&text.replace("OVER", "minibatch(N, 40)")).gradient_native(Precision::F64, 3, 7).expect("a gradient");
        let truth = fitted(&text.replace("OVER", "N")).gradient_native(Precision::F64, 3, 7).expect("a gradient");
        assert_eq!(all, truth);
    }
}

/// Programs with choices of all data and of each datum.
const RANDOM: &[&str] = &[
    "param a: real = 0.2\nparam b: real = 0.1\n
     gen model() { w ~ normal(0, 1);  for n in minibatch(N, 4) { z[n] ~ normal(w, 1);  y[n] ~ normal(z[n], 1) } }\n
     gen guide() { w ~ normal(b, 0.8) by BY;  for n in minibatch(N, 4) { z[n] ~ normal(a * y[n] + 0.1 * w, 0.6) by BY } }\n
     fit model() given { y } with guide() maximize elbo using adam(0.01), particles 2",
    "param a: real = 0.2\nparam b: real = 0.1\n
     gen model() { w ~ normal(0, 1);  for n in minibatch(N, 5) { z[n] ~ flip(0.4);  y[n] ~ normal(if z[n] { w } else { -w }, 1) } }\n
     gen guide() { w ~ normal(b, 0.8);  for n in minibatch(N, 5) { z[n] ~ flip(sigmoid(a * y[n])) by BY } }\n
     fit model() given { y } with guide() maximize elbo using adam(0.01), particles 2",
    "param a: real = 0.2\nparam b: real = 0.1\n
     gen model(v: real) { z ~ normal(b, 1);  e ~ normal(z * v, 1) }\ngen guide(v: real, e: real) { z ~ normal(a * v * e, 0.8) by BY }\n
     fit maximize sum(for n in minibatch(N, 3) { iwelbo(model(x[n]) given { e: y[n] }, guide(x[n], y[n]), 2) })",
];

#[test]
fn gradients_from_minibatches_are_unbiased() {
    let strategies: [&[&str]; 3] =
        [&["reparam", "reinforce", "leave_one_out"], &["enumerate", "reinforce", "measure_valued"], &["reparam", "reinforce"]];
    for (text, strategies) in RANDOM.iter().zip(strategies) {
        for by in strategies {
            let part = fitted(&text.replace("BY", by));
            let whole = fitted(&whole_plates(text).replace("BY", strategies[0]));
            let runs = 4000;
            let sample = |f: &Fitted| -> Vec<(f64, f64)> {
                let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
                let mut all: Vec<Vec<f64>> = vec![Vec::new(); 1 + f.code.learned.len()];
                for step in 0..runs {
                    r.run(5, step);
                    all.iter_mut().enumerate().for_each(|(k, v)| v.push(r.output_values(k)[0]));
                }
                all.iter().map(|v| mean_and_error(v)).collect()
            };
            for (k, (a, b)) in sample(&part).iter().zip(sample(&whole)).enumerate() {
                let z = (a.0 - b.0) / a.1.hypot(b.1);
                assert!(z.abs() < 4.5, "result {k}: {a:?} and {b:?}, {by}\n{text}");
            }
        }
    }
}

fn whole_plates(text: &str) -> String {
    let mut out = text.to_string();
    for size in 3..6 {
        out = out.replace(&format!("minibatch(N, {size})"), "N");
    }
    out
}

#[test]
fn engines_agree_on_minibatches() {
    for text in FIXED {
        let f = fitted(&text.replace("OVER", "minibatch(N, 5)"));
        for step in [0, 1, 7, 1 << 40] {
            let native = f.gradient_native(Precision::F64, 3, step).expect("a gradient");
            let reference = f.gradient_reference(Precision::F64, 3, step).expect("a gradient");
            native.iter().zip(&reference).for_each(|(a, b)| assert!(distance(a, b) < 1e-12, "{a:?} and {b:?}"));
        }
    }
    let mut f = fitted(&RANDOM[0].replace("BY", "reparam"));
    let mut g = fitted(&RANDOM[0].replace("BY", "reparam"));
    let (a, b) = (f.run(Precision::F64, 9, 30).expect("steps"), g.run_interpreted(9, 30).expect("steps"));
    assert!(distance(&a, &b) < 1e-9, "{a:?} and {b:?}");
}

#[test]
fn a_step_reads_the_rows_of_its_minibatch_only() {
    // Data that belong to no datum of the minibatch may be anything.
    let f = fitted(&FIXED[0].replace("OVER", "minibatch(N, 4)"));
    let code = &f.code;
    let mut r = native(&code.gradient, &f.inputs(&code.inputs), Precision::F64).expect("native code");
    r.run(3, 0);
    let before = r.output_values(0);
    let (mut same, mut other) = (0, 0);
    for n in 0..DATA {
        let mut g = fitted(&FIXED[0].replace("OVER", "minibatch(N, 4)"));
        let y = g.program.data.iter().position(|d| d.name == "y").expect("y");
        g.data[y][n] += 100.0;
        let out = g.gradient_native(Precision::F64, 3, 0).expect("a gradient");
        if out[0] == before { same += 1 } else { other += 1 }
    }
    assert_eq!((same, other), (DATA - 4, 4));
}

#[test]
fn functions_of_a_log_density_from_a_minibatch_are_refused() {
    let model = "gen model() { w ~ normal(0, 1);  for n in minibatch(N, 4) { y[n] ~ normal(w, 1) } }\n
                 param m: real = 0.0\ngen guide() { w ~ normal(m, 1) }\n";
    for objective in ["iwelbo(5)", "renyi(0.5, 5)", "cubo(-20)", "evidence(5)", "p_wake(5)"] {
        let found = refused(&format!("{model}fit model() given {{ y }} with guide() maximize {objective}"));
        assert!(found.iter().any(|(c, _)| c == "E0414"), "{objective}: {found:?}");
    }
    let squared = "objective squared(p: target, q: gen) = expect { let (t, lq) = sim(q);  (log_density(p, t) - lq)^2 }\n";
    let found = refused(&format!("{model}{squared}fit model() given {{ y }} with guide() minimize squared"));
    assert!(found.iter().any(|(c, _)| c == "E0414"), "{found:?}");
    let product = "objective product(p: target, q: gen) = elbo(p, q) * elbo(p, q)\n";
    let found = refused(&format!("{model}{product}fit model() given {{ y }} with guide() minimize product"));
    assert!(found.iter().any(|(c, _)| c == "E0414"), "{found:?}");
    // Integrals exponentiate.
    let found = refused(&format!(
        "{model}gen z() = normalize model() given {{ y }} by sir(guide(), 5)\nfit model() given {{ y }} with z()"
    ));
    assert!(found.iter().any(|(c, t)| c == "E0414" && t.contains("integrated")), "{found:?}");
}

#[test]
fn choices_of_a_minibatch_belong_to_it() {
    let local =
        "gen model() { for n in minibatch(N, 4) { z[n] ~ normal(0, 1);  y[n] ~ normal(z[n], 1) } }\nparam m: real = 0.0\n";
    // Another minibatch, or none.
    for guide in [
        "for n in minibatch(N, 3) { z[n] ~ normal(m, 1) }",
        "for k in 4 { z[k] ~ normal(m, 1) }",
        "for n in N { z[n] ~ normal(m, 1) }",
    ] {
        let found = refused(&format!("{local}gen guide() {{ {guide} }}\nfit model() given {{ y }} with guide()"));
        assert!(found.iter().any(|(c, _)| c == "E0304"), "{guide}: {found:?}");
    }
    let found = refused(&format!("{local}fit model() given {{ y }} with auto_normal"));
    assert!(found.iter().any(|(c, _)| c == "E0304"), "{found:?}");
    // After the loop there is a part of them only; reports likewise.
    let after = "gen model() { for n in minibatch(N, 4) { z[n] ~ normal(0, 1) };  y ~ normal(sum(z), 1) }\n";
    let found = refused(&format!("{after}fit model() with auto_normal"));
    assert!(found.iter().any(|(_, t)| t.contains("no value after its loop")), "{found:?}");
    let report = "gen model() { w ~ normal(0, 1);  for n in minibatch(N, 4) { y[n] ~ normal(w, 1);  report r = w * y[n] } }\n";
    let found = refused(&format!("{report}fit model() given {{ y }} with auto_normal"));
    assert!(found.iter().any(|(_, t)| t.contains("this step's data only")), "{found:?}");
    let carried = "gen model() { w ~ normal(0, 1);  for n in minibatch(N, 4) carry (s = 0.0) { y[n] ~ normal(w + s, 1);  s } }\n";
    let found = refused(&format!("{carried}fit model() given {{ y }} with auto_normal"));
    assert!(found.iter().any(|(_, t)| t.contains("carries no values")), "{found:?}");
    let found = refused("fit maximize log_sum_exp([for n in minibatch(N, 4) { x[n] }])");
    assert!(found.iter().any(|(c, _)| c == "E0414"), "{found:?}");
}

#[test]
fn claims_survive_minibatches() {
    let claim = |text: &str| {
        let f = fitted(text);
        let plan = f.program.fit.expect("a fit");
        plan.goals[0].claim.to_string()
    };
    let model = "gen model() { w ~ normal(0, 1);  for n in minibatch(N, 4) { y[n] ~ normal(w, 1) } }\n";
    assert_eq!(claim(&format!("{model}fit model() given {{ y }} with auto_normal")), "lower bound on log p(y)");
    let known = "param w: real = 0.0\ngen model() { for n in minibatch(N, 4) { y[n] ~ normal(w, 1) } }\ngen none() { 0 }\n";
    assert_eq!(claim(&format!("{known}fit model() given {{ y }} with none()")), "unbiased for log p(y)");
    let each = "param a: real = 0.2\ngen model(v: real) { z ~ normal(0, 1);  e ~ normal(z * v, 1) }\n
                gen guide(v: real) { z ~ normal(a * v, 0.8) }\n";
    let sum = "sum(for n in minibatch(N, 3) { iwelbo(model(x[n]) given { e: y[n] }, guide(x[n]), 2) })";
    assert_eq!(claim(&format!("{each}fit maximize {sum}")), "lower bound on sum of log p(e)");
}
