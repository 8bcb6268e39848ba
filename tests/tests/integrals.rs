//! Marginals and normalised programs against closed forms, exact sums and each other.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_tests::engine::native;
use ppl_tests::fitting::mean_and_error;
use ppl_tests::{Fitted, Model, root};

const SEED: u64 = 11;

fn fitted(text: &str) -> Fitted {
    let model = Model::from_text(text, root().join("examples"), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    Fitted::new(&model, &FitOverrides::default(), Some(10)).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// The objective's mean over `runs` times 1,000 draws, and its standard error.
fn value(text: &str, runs: usize) -> (f64, f64) {
    fitted(text).estimate(SEED, runs).unwrap_or_else(|e| panic!("{text}\n{e}"))
}

/// Means and standard errors of the gradient estimator, parameter after parameter.
fn gradient(text: &str, runs: u64) -> Vec<(f64, f64)> {
    let f = fitted(text);
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).unwrap_or_else(|e| panic!("{text}\n{e}"));
    let mut all: Vec<Vec<f64>> = Vec::new();
    for step in 0..runs {
        r.run(SEED, step);
        let g: Vec<f64> = (0..f.code.learned.len()).flat_map(|k| r.output_values(1 + k)).collect();
        all.resize(g.len(), Vec::new());
        all.iter_mut().zip(g).for_each(|(a, x)| a.push(x));
    }
    all.iter().map(|x| mean_and_error(x)).collect()
}

fn near(what: &str, (mean, se): (f64, f64), want: f64) {
    assert!((mean - want).abs() <= 4.5 * se + 1e-9 * (1.0 + want.abs()), "{what}: {mean} +- {se}, expected {want}");
}

fn normal(x: f64, m: f64, v: f64) -> f64 {
    (-0.5 * (x - m) * (x - m) / v).exp() / (2.0 * std::f64::consts::PI * v).sqrt()
}

/// A normal with a normal mean, whose marginal is a normal again.
const PAIR: &str = "
param m: real = 0.3
gen pair() { u ~ normal(m, 1);  x ~ normal(u, 0.7) }
gen aux(t: trace of pair) { u ~ normal(0.6 * t.x, 0.9) }
gen nothing() { }
gen exact() { x ~ normal(m, sqrt(1.49)) }
";

const MARGINALS: [&str; 5] = [
    "marginal { x } of pair()",
    "marginal { x } of pair() by importance(4)",
    "marginal { x } of pair() by importance(aux, 1)",
    "marginal { x } of pair() by importance(aux, 5)",
    "marginal { x } of pair() by sir(aux, 3)",
];

#[test]
fn a_scored_marginal_is_unbiased_for_the_density() {
    for by in MARGINALS {
        let text = format!(
            "{PAIR}let mx = {by}\nobjective o() = expect {{ let (t, _) = sim(nothing()); exp(log_density(mx given {{ x: 1.2 }}, t)) }}\nfit maximize o()"
        );
        let want = normal(1.2, 0.3, 1.49);
        near(by, value(&text, 20), want);
        // Its gradient as well.
        near(by, gradient(&text, 3000)[0], want * (1.2 - 0.3) / 1.49);
    }
}

#[test]
fn a_simulated_marginal_is_unbiased_for_the_reciprocal() {
    for by in MARGINALS {
        // The mean of p(x) / p-hat(x) over draws from p is 1, whatever the parameters.
        let text = format!(
            "{PAIR}let mx = {by}\nobjective o() = expect {{ let (t, lq) = sim(mx); exp(log_density(exact(), t) - lq) }}\nfit maximize o()"
        );
        near(by, value(&text, 20), 1.0);
        near(by, gradient(&text, 3000)[0], 0.0);
    }
}

#[test]
fn marginals_work_inside_programs_plates_and_each_other() {
    // In a plate of a model; called with arguments; a marginal of a marginal.
    let text = "
gen step(h: real) { u ~ normal(h, 1);  x ~ normal(u, 0.7) }
gen model() { for i in 3 { s[i] ~ marginal { x } of step(0.5) by importance(3) } }
gen outer() { a ~ normal(0, 0.5);  s ~ marginal { x } of step(a) by importance(2) }
let twice = marginal { s.x } of outer() by importance(3)
gen nothing() { }
objective o() = expect {
  let (t, _) = sim(nothing())
  exp(log_density(model() given { s.x: [0.1, 0.9, -0.4] }, t)) + exp(log_density(twice given { s.x: 0.8 }, t))
}
fit maximize o()";
    let want = [0.1, 0.9, -0.4].iter().map(|x| normal(*x, 0.5, 1.49)).product::<f64>() + normal(0.8, 0.0, 1.74);
    near("nested", value(text, 30), want);
}

/// A posterior that is known: x ~ N(0, 1), y ~ N(x, 1/4), y = 1.
const TARGET: &str = "
param a: real = 0.2
gen model() { x ~ normal(0, 1);  y ~ normal(x, 0.5) }
gen q() { x ~ normal(a, 1.1) }
gen wide() { x ~ normal(0.5, 2) }
gen nothing() { }
";

const NORMALIZED: [&str; 4] = ["sir(q(), 1)", "sir(q(), 4)", "importance(q(), 4)", "sir(3)"];

#[test]
fn resampled_programs_have_unbiased_densities() {
    for by in NORMALIZED {
        let scored = format!(
            "{TARGET}let post = normalize model() given {{ y: 1.0 }} by {by}
objective o() = expect {{ let (t, lw) = sim(wide()); exp(log_density(post, t) - lw) }}\nfit maximize o()"
        );
        near(by, value(&scored, 30), 1.0);
        near(by, gradient_or_zero(&scored, 3000), 0.0);
        // Weights of its own draws are unbiased for the evidence.
        let simulated = format!(
            "{TARGET}let post = normalize model() given {{ y: 1.0 }} by {by}
objective o(p: target) = expect {{ let (t, lq) = sim(post); exp(log_density(p, t) - lq) }}\nfit maximize o(model() given {{ y: 1.0 }})"
        );
        near(by, value(&simulated, 30), normal(1.0, 0.0, 1.25));
        near(by, gradient_or_zero(&simulated, 4000), 0.0);
    }
}

/// The first parameter's gradient; 0 where no parameter reaches the objective.
fn gradient_or_zero(text: &str, runs: u64) -> (f64, f64) {
    gradient(text, runs).first().copied().unwrap_or((0.0, 0.0))
}

#[test]
fn resampling_tightens_the_bound_and_its_index_has_unbiased_gradients() {
    let fit = |n: usize, by: &str| {
        format!(
            "{TARGET}fit model() given {{ y: 1.0 }} with (normalize model() given {{ y: 1.0 }} by sir(q(), {n})) by {{ index: {by} }} maximize elbo"
        )
    };
    let log_evidence = normal(1.0, 0.0, 1.25).ln();
    let mut last = f64::NEG_INFINITY;
    for n in [1, 4, 16] {
        let (mean, se) = value(&fit(n, "enumerate"), 20);
        assert!(mean - 4.5 * se < log_evidence, "{n}: {mean} +- {se} is above {log_evidence}");
        assert!(mean > last + 3.0 * se, "{n}: {mean} +- {se} is no tighter than {last}");
        last = mean;
    }
    // Enumerated, scored, or measured: one expectation, and that of a difference quotient of the bound.
    let a = gradient(&fit(3, "enumerate"), 6000)[0];
    let b = gradient(&fit(3, "reinforce"), 30_000)[0];
    near("index by reinforce", (b.0 - a.0, a.1.hypot(b.1)), 0.0);
    let at = |x: f64| {
        let text = fit(3, "enumerate").replace("param a: real = 0.2", &format!("param a: real = {x}"));
        value(&text, 300)
    };
    let h = 0.2;
    let (up, down) = (at(0.2 + h), at(0.2 - h));
    let slope = ((up.0 - down.0) / (2.0 * h), up.1.hypot(down.1) / (2.0 * h));
    // The third derivative moves a central difference by less than this.
    assert!((slope.0 - a.0).abs() < 4.5 * slope.1.hypot(a.1) + 0.02, "{slope:?} {a:?}");
}

/// A hidden Markov chain whose evidence is summed exactly beside its estimates.
const CHAIN: &str = "
param p: real = 0.4
gen hmm() {
  first ~ flip(0.5)
  for t in 5 carry (s = first) {
    z[t] ~ flip(if s { 0.8 } else { sigmoid(p) })
    y[t] ~ normal(if z[t] { 1.5 } else { -0.5 }, 1)
    z[t]
  }
}
gen steps() {
  first ~ flip(0.6)
  for t in 5 carry (s = first) {
    z[t] ~ flip(if s { 0.7 } else { 0.4 })
    z[t]
  }
}
let exact = marginal { y } of hmm() by enumeration
gen nothing() { }
";

fn chain_evidence(p: f64, y: &[f64]) -> f64 {
    let mut alpha = [0.5, 0.5];
    for y in y {
        let to = |s: usize| if s == 1 { 0.8 } else { 1.0 / (1.0 + (-p).exp()) };
        let on = alpha[0] * to(0) + alpha[1] * to(1);
        let off = alpha[0] * (1.0 - to(0)) + alpha[1] * (1.0 - to(1));
        alpha = [off * normal(*y, -0.5, 1.0), on * normal(*y, 1.5, 1.0)];
    }
    alpha[0] + alpha[1]
}

const Y: [f64; 5] = [0.3, 1.9, -0.7, 1.1, 0.4];

#[test]
fn chains_are_summed_exactly() {
    let text = format!(
        "{CHAIN}objective o() = {{ let (t, _) = sim(nothing()); log_density(exact given {{ y: {Y:?} }}, t) }}\nfit maximize expect {{ o() }}"
    );
    let (mean, se) = value(&text, 1);
    let want = chain_evidence(0.4, &Y).ln();
    assert!(se < 1e-12 && (mean - want).abs() < 1e-9, "{mean} +- {se}, expected {want}");
    let h = 1e-5;
    let slope = (chain_evidence(0.4 + h, &Y).ln() - chain_evidence(0.4 - h, &Y).ln()) / (2.0 * h);
    let g = gradient(&text, 2)[0];
    assert!((g.0 - slope).abs() < 1e-6, "{g:?}, expected {slope}");
}

#[test]
fn sequential_monte_carlo_is_unbiased() {
    for by in ["smc(1)", "smc(4)", "smc(steps(), 4)", "importance(3)", "importance(steps(), 3)"] {
        let scored = format!(
            "{CHAIN}let est = marginal {{ y }} of hmm() by {by}
objective o() = expect {{ let (t, _) = sim(nothing()); exp(log_density(est given {{ y: {Y:?} }}, t) - log_density(exact given {{ y: {Y:?} }}, t)) }}\nfit maximize o()"
        );
        near(by, value(&scored, 40), 1.0);
        near(by, gradient(&scored, 6000)[0], 0.0);
        // The conditional run: draws of y with the reciprocal of their density.
        let simulated = format!(
            "{CHAIN}let est = marginal {{ y }} of hmm() by {by}
objective o() = expect {{ let (t, lq) = sim(est); exp(log_density(exact, t) - lq) }}\nfit maximize o()"
        );
        near(by, value(&simulated, 40), 1.0);
    }
}

#[test]
fn normalised_chains() {
    let evidence = chain_evidence(0.4, &Y);
    for by in ["smc(3)", "smc(steps(), 3)", "sir(steps(), 5)", "enumeration"] {
        let post = format!("{CHAIN}let post = normalize hmm() given {{ y: {Y:?} }} by {by}\n");
        let weights = format!(
            "{post}objective o(p: target) = expect {{ let (t, lq) = sim(post); exp(log_density(p, t) - lq) }}\nfit maximize o(hmm() given {{ y: {Y:?} }})"
        );
        near(by, value(&weights, 40), evidence);
        let bound = format!("{post}fit hmm() given {{ y: {Y:?} }} with post maximize elbo");
        let (mean, se) = value(&bound, 20);
        assert!(mean - 4.5 * se <= evidence.ln() + 1e-9, "{by}: {mean} +- {se} is above {}", evidence.ln());
        if by == "enumeration" {
            assert!(se < 1e-12 && (mean - evidence.ln()).abs() < 1e-9, "the posterior itself leaves no gap: {mean} +- {se}");
        }
        // Scored draws of another program integrate to 1.
        let mass = format!(
            "{post}objective o() = expect {{ let (t, lw) = sim(steps()); exp(log_density(post, t) - lw) }}\nfit maximize o()"
        );
        near(by, value(&mass, 40), 1.0);
    }
}

#[test]
fn exact_draws_follow_the_posterior() {
    // The probability of each state, against forwards times backwards by brute force.
    let text = format!(
        "{CHAIN}let post = normalize hmm() given {{ y: {Y:?} }} by enumeration\nfit hmm() given {{ y: {Y:?} }} with post maximize elbo using draws 20000"
    );
    let f = fitted(&text);
    let draws = f.draws(SEED).expect("draws");
    let mut want = [0.0; 6];
    let mut total = 0.0;
    for code in 0..64u32 {
        let bit = |k: u32| code >> k & 1 == 1;
        let (mut w, mut s) = (0.5, bit(0));
        for t in 0..5 {
            let on = if s { 0.8 } else { 1.0 / (1.0 + (-0.4f64).exp()) };
            s = bit(t + 1);
            w *= if s { on } else { 1.0 - on } * normal(Y[t as usize], if s { 1.5 } else { -0.5 }, 1.0);
        }
        total += w;
        (0..6).filter(|k| bit(*k)).for_each(|k| want[k as usize] += w);
    }
    let mut found = Vec::new();
    for (_, shape, values) in &draws {
        let n: usize = shape.iter().product();
        found.extend((0..n).map(|e| values.iter().skip(e).step_by(n).sum::<f64>() / 20_000.0));
    }
    for (k, (have, want)) in found.iter().zip(want).enumerate() {
        let p = want / total;
        near(&format!("state {k}"), (*have, (p * (1.0 - p) / 20_000.0).sqrt()), p);
    }
}

/// The log of a sum by enumeration is a number without error.
fn exact(what: &str, text: &str, want: f64) {
    let (mean, se) = value(text, 1);
    assert!(se < 1e-9 && (mean - want).abs() < 1e-9 * (1.0 + want.abs()), "{what}: {mean} +- {se}, expected {want}");
}

fn scored(program: &str, keep: &str, given: &str) -> String {
    format!(
        "{program}\ngen nothing() {{ }}\nobjective o() = expect {{ let (t, _) = sim(nothing()); log_density((marginal {{ {keep} }} of m() by enumeration) given {{ {given} }}, t) }}\nfit maximize o()"
    )
}

#[test]
fn mixtures_plates_branches_and_couplings() {
    let (a, b) = (normal(0.7, 1.0, 1.0), normal(0.7, -1.0, 1.0));
    // Lane by lane.
    let plate = "gen m() { for n in 3 { z[n] ~ flip(0.3);  y[n] ~ normal(if z[n] { 1.0 } else { -1.0 }, 1) } }";
    exact("plate", &scored(plate, "y", "y: [0.7, 0.7, 0.7]"), 3.0 * (0.3 * a + 0.7 * b).ln());
    // A second plate reads the first, and a vector expression reads all of it.
    let two = "gen m() { for n in 3 { z[n] ~ flip(0.3) };  for n in 3 { y[n] ~ normal(if z[n] { 1.0 } else { -1.0 }, 1) } }";
    exact("two plates", &scored(two, "y", "y: [0.7, 0.7, 0.7]"), 3.0 * (0.3 * a + 0.7 * b).ln());
    let vector = "gen m() { let c = [-1.0, 1.0]\n for n in 3 { z[n] ~ categorical([0.7, 0.3]) };  y ~ normal(c[z], 1) }";
    exact("a vector", &scored(vector, "y", "y: [0.7, 0.7, 0.7]"), 3.0 * (0.3 * a + 0.7 * b).ln());
    // An outer choice over a plate of inner ones.
    let outer = "gen m() { g ~ flip(0.5);  for n in 2 { z[n] ~ flip(if g { 0.9 } else { 0.2 });  y[n] ~ normal(if z[n] { 1.0 } else { -1.0 }, 1) } }";
    let lane = |p: f64| p * a + (1.0 - p) * b;
    exact("outer", &scored(outer, "y", "y: [0.7, 0.7]"), (0.5 * lane(0.9).powi(2) + 0.5 * lane(0.2).powi(2)).ln());
    // Nested plates.
    let nested = "gen m() { for i in 2 { g[i] ~ flip(0.5);  for j in 3 { z[i, j] ~ flip(if g[i] { 0.9 } else { 0.2 });  y[i, j] ~ normal(if z[i, j] { 1.0 } else { -1.0 }, 1) } } }";
    let ys = "[[0.7, 0.7, 0.7], [0.7, 0.7, 0.7]]";
    exact("nested", &scored(nested, "y", &format!("y: {ys}")), 2.0 * (0.5 * lane(0.9).powi(3) + 0.5 * lane(0.2).powi(3)).ln());
    // A choice in a branch counts once where it is not made.
    let branch =
        "gen m() { c ~ flip(0.4);  let r = if c { z ~ flip(0.3);  if z { 1.0 } else { -1.0 } } else { 1.0 };  y ~ normal(r, 1) }";
    exact("branch", &scored(branch, "y", "y: 0.7"), (0.4 * (0.3 * a + 0.7 * b) + 0.6 * a).ln());
    // Written out one after the other: a chain of 30 costs 30 tables, not 2^30 combinations.
    let mut chain = String::from("gen m() { z0 ~ flip(0.5)\n");
    for i in 1..30 {
        chain += &format!("z{i} ~ flip(if z{} {{ 0.8 }} else {{ 0.3 }})\n", i - 1);
    }
    chain += "y ~ normal(if z29 { 1.0 } else { -1.0 }, 1) }";
    let mut on = 0.5f64;
    (1..30).for_each(|_| on = 0.8 * on + 0.3 * (1.0 - on));
    exact("chain", &scored(&chain, "y", "y: 0.7"), (on * a + (1.0 - on) * b).ln());
    // Elements that are added up couple: 2^3 combinations.
    let sum = "gen m() { for n in 3 { z[n] ~ flip(0.3) };  y ~ normal(sum(real(z)), 1) }";
    let binomial = [0.343, 0.441, 0.189, 0.027];
    let total: f64 = binomial.iter().enumerate().map(|(k, p)| p * normal(0.7, k as f64, 1.0)).sum();
    exact("coupled", &scored(sum, "y", "y: 0.7"), total.ln());
    // A count is carried: its states are not those of one step, so combinations again.
    let count = "gen m() { let n = for t in 3 carry (n = 0.0) { z[t] ~ flip(0.3);  n + real(z[t]) };  y ~ normal(n, 1) }";
    exact("count", &scored(count, "y", "y: 0.7"), total.ln());
    // Impossible values: no NaN.
    let never = "gen m() { for n in 2 { z[n] ~ flip(0.0);  y[n] ~ normal(if z[n] { 1.0 } else { -1.0 }, 1) } }";
    exact("never", &scored(never, "y", "y: [0.7, 0.7]"), 2.0 * b.ln());
    // Empty and single plates.
    let empty = "data N: int\ngen m() { for n in 0 { z[n] ~ flip(0.3) };  for n in 1 { w[n] ~ flip(0.3) };  y ~ normal(1, 1) }"
        .replace("data N: int\n", "");
    exact("empty", &scored(&empty, "y", "y: 0.7"), a.ln());
}

#[test]
fn states_of_several_choices_in_a_step() {
    let text = "gen m() {
  for t in 4 carry (s = (false, 0)) {
    let (b, k) = s
    z[t] ~ flip(if b { 0.8 } else { 0.3 })
    w[t] ~ categorical(if k == 0 { [0.6, 0.3, 0.1] } else { [0.2, 0.3, 0.5] })
    y[t] ~ normal(real(w[t]) + (if z[t] { 1.0 } else { 0.0 }), 1)
    (z[t], w[t])
  }
}";
    let text = text.replace("carry (s = (false, 0))", "carry (b = false, k = 0)").replace("    let (b, k) = s\n", "");
    let y = [0.4, 1.8, 2.5, 0.1];
    let mut alpha = vec![((false, 0usize), 1.0)];
    for y in y {
        let mut next = std::collections::BTreeMap::new();
        for ((b, k), w) in &alpha {
            for z in [false, true] {
                for c in 0..3usize {
                    let pz = if *b { 0.8 } else { 0.3 };
                    let pc = if *k == 0 { [0.6, 0.3, 0.1] } else { [0.2, 0.3, 0.5] }[c];
                    let m = c as f64 + f64::from(u8::from(z));
                    *next.entry((z, c)).or_insert(0.0) += w * if z { pz } else { 1.0 - pz } * pc * normal(y, m, 1.0);
                }
            }
        }
        alpha = next.into_iter().collect();
    }
    let want: f64 = alpha.iter().map(|(_, w)| w).sum::<f64>().ln();
    exact("two choices a step", &scored(&text, "y", &format!("y: {y:?}")), want);
}

#[test]
fn what_is_shown_and_chosen() {
    let text = format!(
        "{CHAIN}fit hmm() given {{ y: {Y:?} }} with (normalize hmm() given {{ y: {Y:?} }} by smc(steps(), 3)) maximize elbo"
    );
    let f = fitted(&text);
    let index = f.code.chosen.iter().find(|c| c.label == "hmm.index").expect("the resampled index is a choice");
    assert_eq!(index.strategy, "reinforce", "one index would be enumerated; the ones of all steps are scored");
    let text = format!(
        "{TARGET}fit model() given {{ y: 1.0 }} with (normalize model() given {{ y: 1.0 }} by sir(q(), 4)) maximize elbo"
    );
    let f = fitted(&text);
    let index = f.code.chosen.iter().find(|c| c.label == "model.index").expect("the resampled index is a choice");
    assert_eq!(index.strategy, "enumerate");
}
