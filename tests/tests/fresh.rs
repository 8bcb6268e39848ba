//! Runs of the continuation on random numbers of their own.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_tests::engine::native;
use ppl_tests::{Fitted, Model, mean_and_error, root};

const STRATEGIES: &str = "
strategy apart for flip(p) (k) {
  let b = draw flip(p)
  k(b) + (p - stop(p)) * stop(fresh(k)(true) - fresh(k)(false))
}
## Two differentiated runs for each value: one that shares the program's random numbers, one that does not.
strategy twice for d: finite (k) = sum(for x in support(d) { density(d, x) * 0.5 * (k(x) + fresh(k)(x)) })
strategy averaged for d (k) {
  let x = draw d
  let costs = [for i in 3 { fresh(k)(x) }]
  k(x) + stop(sum(costs) / 3) * score(d, x)
}
strategy squared for d (k) {
  state v: real = 0
  state w: real = 0
  let x = draw d
  let cost = k(x)
  set v = stop(cost * fresh(k)(x))
  set w = stop(cost * k(x))
  cost + stop(cost) * score(d, x)
}
";

fn fitted(text: &str) -> Fitted {
    let text = format!("{STRATEGIES}\n{text}");
    let model = Model::from_text(&text, root(), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// Mean and error of value and gradients.
fn estimates(f: &Fitted, runs: u64) -> Vec<(f64, f64)> {
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
    let mut one = |step| -> Vec<f64> {
        r.run(11, step);
        (0..=f.code.learned.len()).map(|k| r.output_values(k)[0]).collect()
    };
    let all: Vec<Vec<f64>> = (0..runs).map(&mut one).collect();
    (0..all[0].len()).map(|k| mean_and_error(&all.iter().map(|x| x[k]).collect::<Vec<_>>())).collect()
}

/// A choice, another one whose distribution depends on it, noise, and a cost of all: straight, in a loop that carries, in a plate.
fn program(place: &str, by: &str, second: &str) -> String {
    let (q, cost) = match place {
        "line" => (
            format!(
                "b ~ flip(p) by {by};  c ~ flip(if b {{ 0.7 }} else {{ p }}) by {second};  n ~ normal(if b {{ m }} else {{ 0.0 }}, 1)"
            ),
            "t.n * (if t.c { 2.0 } else { 1.0 }) + (if t.b { 1.0 } else { 0.0 })",
        ),
        "scan" => (
            format!(
                "for i in 2 carry (s = 0.0) {{ b[i] ~ flip(p) by {by};  c[i] ~ flip(if b[i] {{ 0.7 }} else {{ p }}) by {second}
                   n[i] ~ normal(s + (if b[i] {{ m }} else {{ 0.0 }}), 1);  0.5 * n[i] + (if c[i] {{ 0.1 }} else {{ 0.0 }}) }}"
            ),
            "sum(for i in 2 { t.n[i] * (if t.c[i] { 2.0 } else { 1.0 }) + (if t.b[i] { 1.0 } else { 0.0 }) })",
        ),
        _ => (
            format!(
                "for i in 3 {{ b[i] ~ flip(p) by {by};  c[i] ~ flip(if b[i] {{ 0.7 }} else {{ p }}) by {second};  n[i] ~ normal(if b[i] {{ m }} else {{ 0.0 }}, 1) }}"
            ),
            "sum(for i in 3 { t.n[i] * (if t.c[i] { 2.0 } else { 1.0 }) + (if t.b[i] { 1.0 } else { 0.0 }) })",
        ),
    };
    format!(
        "param p: unit = 0.35\nparam m: real = 1.2\ngen q() {{ {q} }}\n\
         objective o() = expect {{ let (t, _) = sim(q())\n {cost} }}\nfit maximize o() using particles 60"
    )
}

#[test]
fn fresh_runs_are_unbiased() {
    for place in ["line", "scan", "plate"] {
        let truth = estimates(&fitted(&program(place, "enumerate", "enumerate")), 400);
        for (by, second) in [
            ("apart", "reinforce"),
            ("apart", "enumerate"),
            ("twice", "enumerate"),
            ("twice", "apart"),
            ("twice", "reinforce"),
            ("averaged", "measure_valued"),
            ("averaged", "averaged"),
        ] {
            if place == "scan" && by == "twice" {
                continue;
            }
            let got = estimates(&fitted(&program(place, by, second)), 400);
            for (k, ((mean, se), (want, error))) in got.iter().zip(&truth).enumerate() {
                let bound = 4.8 * (se * se + error * error).sqrt() + 1e-9;
                assert!(
                    (mean - want).abs() < bound,
                    "{place}, {by} and {second}, result {k}: {mean} +- {se}, expected {want} +- {error}"
                );
            }
        }
    }
}

/// `k(x) * fresh(k)(x)` is a product of expectations, `k(x)^2` an expectation of a square.
#[test]
fn products_of_runs_need_random_numbers_of_their_own() {
    let lanes = 40_000;
    let f = fitted(&format!(
        "param p: unit = 0.35\ngen q() {{ for i in {lanes} {{ b[i] ~ flip(p) by squared;  n[i] ~ normal(if b[i] {{ 1.0 }} else {{ 0.0 }}, 1) }} }}\n\
         objective o() = expect {{ let (t, _) = sim(q())\n sum(t.n) }}\nfit maximize o() using sgd(1e-9), particles 1"
    ));
    let mut r = f.runner(Precision::F64).expect("a runner");
    r.run_steps(3, 0, f.code.layout.objective, &mut [0.0]).expect("a step");
    let state = |name: &str| {
        let n =
            f.code.carried.iter().position(|p| f.program.params[*p].name.ends_with(name)).unwrap_or_else(|| {
                panic!("{:?} {:?}", f.code.carried, f.program.params.iter().map(|p| &p.name).collect::<Vec<_>>())
            });
        let at = f.code.layout.roles.iter().position(|r| *r == ppl_driver::step::Role::Carried(n)).expect("carried");
        r.input_values(at)[0]
    };
    // Given b, n and n' are normal(b, 1) and independent: E[n n'] = p, E[n^2] = p + 1; their variances are below 8.
    let bound = 4.5 * (8.0 / f64::from(lanes)).sqrt();
    assert!((state(".v") - 0.35).abs() < bound, "{}", state(".v"));
    assert!((state(".w") - 1.35).abs() < bound, "{}", state(".w"));
}

#[test]
fn a_strategy_that_returns_a_product_is_refused() {
    for product in ["k(x) * k(x)", "k(x) * fresh(k)(x)", "let c = fresh(k)(x)\n c * c"] {
        let text = format!(
            "strategy s for d (k) {{ let x = draw d\n {product} }}\nparam p: unit = 0.3\ngen q() {{ b ~ flip(p) by s }}\n\
             objective o() = expect {{ let (t, _) = sim(q())\n if t.b {{ 1.0 }} else {{ 2.0 }} }}\nfit maximize o()"
        );
        let model = Model::from_text(&text, root(), &[]).unwrap_or_else(|e| panic!("{e:?}"));
        let e = Fitted::new(&model, &FitOverrides::default(), Some(1)).err().expect("refused");
        assert!(format!("{e:?}").contains("E0405"), "{e:?}");
    }
}
