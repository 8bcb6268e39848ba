//! Fits of the examples through compiled code, against reference posteriors, closed forms and exact enumeration.

use ppl_abi::Precision;
use ppl_check::{FitOverrides, Override};
use ppl_tests::engine::native;
use ppl_tests::fitting::mean_and_error;
use ppl_tests::{Fitted, Model, root, scenes};
use serde_json::Value;
use std::collections::BTreeSet;

const SEED: u64 = 20;

fn open(path: &str) -> Model {
    Model::open(&root().join("examples").join(path), &[]).unwrap_or_else(|e| panic!("{path}:\n{e:?}"))
}

fn fitted(path: &str, overrides: &FitOverrides) -> Fitted {
    let mut f = Fitted::new(&open(path), overrides, None).unwrap_or_else(|e| panic!("{path}:\n{e:?}"));
    let steps = f.steps as usize;
    f.run(Precision::F64, SEED, steps).unwrap_or_else(|e| panic!("{path}: {e}"));
    f
}

fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(root().join("examples").join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn expr(text: &str) -> ppl_syntax::ast::Expr {
    ppl_syntax::parse_expr(ppl_diag::FileId(u32::MAX), text).0
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or(f64::NAN)
}

/// Largest error of a posterior mean, in reference standard deviations, and the quantity's name. `rename` maps our names to
/// those of the reference.
fn worst(f: &Fitted, reference: &Value, rename: &[(&str, &str)]) -> (f64, String) {
    let means = f.means(SEED).expect("draws");
    let mut worst = (0.0, String::new());
    let mut seen = 0;
    for (name, r) in reference["parameters"].as_object().expect("parameters") {
        let ours = rename.iter().find(|(_, theirs)| theirs == name).map_or(name.as_str(), |(ours, _)| ours);
        let found = means.iter().find(|(n, _)| n == ours).unwrap_or_else(|| panic!("no `{ours}` in {means:?}"));
        let error = (found.1 - number(&r["mean"])).abs() / number(&r["sd"]);
        seen += 1;
        if error > worst.0 || error.is_nan() {
            worst = (error, name.clone());
        }
    }
    assert!(seen > 0);
    worst
}

fn anchored(path: &str, folder: &str, rename: &[(&str, &str)], elbo_offset: f64) -> (Fitted, f64) {
    let f = fitted(path, &FitOverrides::default());
    let anchors = json(&format!("{folder}/anchors.json"));
    let (error, which) = worst(&f, &json(&format!("{folder}/reference.json")), rename);
    let bound = number(&anchors["mean_field"]["max_abs_mean_error"]) + 0.15;
    assert!(error <= bound, "{path}: the mean of {which} is off by {error} standard deviations, at most {bound} expected");
    let (elbo, se) = f.estimate(SEED, 20).expect("an estimate");
    if elbo_offset.is_finite() {
        let anchor = number(&anchors["mean_field"]["elbo"]) + elbo_offset;
        assert!(elbo > anchor - 0.1 - 5.0 * se, "{path}: elbo {elbo} (se {se}), the anchor is {anchor}");
        assert!(elbo < anchor + 0.3, "{path}: elbo {elbo} (se {se}) is above the optimum of this guide, {anchor}");
    }
    (f, error)
}

#[test]
fn autoregression() {
    anchored("autoregression/ar.ppl", "autoregression", &[], 0.0);
}

#[test]
fn eight_schools_and_its_other_coordinates() {
    let (f, centred) = anchored("eight_schools/schools.ppl", "eight_schools", &[], 0.0);
    let (elbo, _) = f.estimate(SEED, 20).expect("an estimate");
    assert!(elbo < -31.311, "{elbo} is above the log evidence");
    let other = fitted("eight_schools/noncentered.ppl", &FitOverrides::default());
    let (error, which) = worst(&other, &json("eight_schools/reference.json"), &[]);
    assert!(error < centred, "non-centred: {which} is off by {error}, centred by {centred}");
    assert!(error < 0.5, "non-centred: {which} is off by {error}");
}

#[test]
fn regressions_match_their_references() {
    let log_normal_1000 = -(1000f64.ln()) - 0.918_938_533_204_672_8;
    anchored("mesquite/mesquite.ppl", "mesquite", &[], 6.0 * log_normal_1000 - 100f64.ln());
    anchored("nes_logit/nes.ppl", "nes_logit", &[("beta", "beta[1]")], 2.0 * log_normal_1000);
}

#[test]
fn minibatches_reach_the_posterior_of_all_data() {
    // The full batch's guide, fitted from minibatches: steps of the last rate leave less than a tenth of a standard deviation.
    let part = fitted("nes_logit/minibatch.ppl", &FitOverrides::default());
    let (error, which) = worst(&part, &json("nes_logit/reference.json"), &[("beta", "beta[1]")]);
    assert!(error < 0.25, "the mean of {which} is off by {error}");
    let whole = fitted("nes_logit/nes.ppl", &FitOverrides::default());
    let (truth, se) = whole.estimate(SEED, 50).expect("an estimate");
    let (elbo, error) = part.estimate(SEED, 90).expect("an estimate");
    assert!((elbo - truth).abs() < 0.3 + 4.5 * se.hypot(error), "{elbo} (se {error}) and {truth} (se {se})");
}

#[test]
fn the_walk_has_its_exact_means_and_bound() {
    let f = fitted("walk/walk.ppl", &FitOverrides::default());
    let reference = json("walk/reference.json");
    let draws = f.program.fit.as_ref().and_then(|p| p.draws.as_ref()).map_or(0, |d| d.draws);
    assert!(draws >= 1000);
    // 100 means of 1000 draws: 4.5 standard errors of a draw's sd, which is below the posterior's.
    let (error, which) = worst(&f, &reference, &[]);
    assert!(error < 0.25, "the mean of {which} is off by {error}");
    let (elbo, se) = f.estimate(SEED, 50).expect("an estimate");
    let exact = number(&reference["mean_field_elbo"]);
    assert!(elbo < exact + 4.5 * se && elbo > exact - 0.3 - 4.5 * se, "elbo {elbo} (se {se}), the optimum is {exact}");
}

#[test]
fn cone_bounds_are_those_of_independent_normals() {
    let f = fitted("cone/cone.ppl", &FitOverrides::default());
    let (elbo, se) = f.estimate(SEED, 200).expect("an estimate");
    assert!((elbo + 8.08).abs() < 0.05 + 4.5 * se, "elbo {elbo} (se {se})");
    let f = fitted("cone/cone.ppl", &FitOverrides { objective: Some(expr("iwelbo(5)")), ..FitOverrides::default() });
    let (iwelbo, se) = f.estimate(SEED, 200).expect("an estimate");
    assert!((iwelbo + 7.54).abs() < 0.06 + 4.5 * se, "iwelbo {iwelbo} (se {se})");
    assert!(iwelbo < -5.323, "above the log evidence");
}

/// Both fits of a file: the model itself, whose labels the guide leaves to be summed, and the sum as written, are one program.
fn summed_both_ways(path: &str, claim: &str) -> [Fitted; 2] {
    let both = [0, 1].map(|index| fitted(path, &FitOverrides { index, ..FitOverrides::default() }));
    for f in &both {
        assert_eq!(f.program.fit.as_ref().expect("a fit").goals[0].claim.to_string(), claim, "{path}");
    }
    for (x, y) in both[0].params.iter().zip(&both[1].params) {
        assert!(ppl_tests::distance(x, y) < 1e-6, "{path}: {x:?} {y:?}");
    }
    both
}

#[test]
fn a_mixture_with_its_labels_summed() {
    // The anchor leaves out that ordered means are half of all.
    let (f, _) = anchored("mixture/mixture.ppl", "mixture", &[], 2f64.ln());
    let [_, written] = summed_both_ways("mixture/mixture.ppl", "lower bound on log p(y)");
    let (error, which) = worst(&written, &json("mixture/reference.json"), &[]);
    assert!(error < 0.25, "written: the mean of {which} is off by {error}");
    let (a, b) = (f.estimate(SEED, 20).expect("an estimate"), written.estimate(SEED, 20).expect("an estimate"));
    assert!((a.0 - b.0).abs() < 1e-6, "{a:?} {b:?}");
}

#[test]
fn a_hidden_markov_model_with_its_states_summed() {
    let reference = json("hmm/reference.json");
    let rename = [("trans[1]", "trans[1,1]"), ("trans[2]", "trans[1,2]"), ("trans[3]", "trans[2,1]"), ("trans[4]", "trans[2,2]")];
    let evidence = number(&reference["log_evidence"]);
    for f in summed_both_ways("hmm/hmm.ppl", "lower bound on log p(disasters)") {
        // Posteriors of probabilities are skewed, which the guide follows in part.
        let (error, which) = worst(&f, &reference, &rename);
        assert!(error < 0.3, "the mean of {which} is off by {error}");
        let (elbo, se) = f.estimate(SEED, 50).expect("an estimate");
        assert!(elbo < evidence && elbo > evidence - 0.35 - 4.5 * se, "elbo {elbo} (se {se}), log evidence {evidence}");
    }
    let overrides = FitOverrides { reports: vec![expr("iwelbo(100)")], ..FitOverrides::default() };
    let f = fitted("hmm/hmm.ppl", &overrides);
    let (bound, se) = mean_and_error(&f.report(0, SEED, 1).expect("a report"));
    assert!(bound < evidence + 4.5 * se && bound > evidence - 0.15, "{bound} (se {se}), log evidence {evidence}");
}

/// Log likelihood, and the probability of each state to be the second, of a chain of two states: forwards and backwards.
fn chain(rate: [f64; 2], stay: [f64; 2], counts: &[f64]) -> (f64, Vec<f64>) {
    let poisson = |y: f64, r: f64| (y * r.ln() - r - (1..=y as u64).map(|k| (k as f64).ln()).sum::<f64>()).exp();
    let to = [[stay[0], 1.0 - stay[0]], [1.0 - stay[1], stay[1]]];
    let mut forward = vec![[0.5, 0.5]];
    let mut log_likelihood = 0.0;
    for y in counts {
        let a = forward[forward.len() - 1];
        let next = [0, 1].map(|k: usize| (a[0] * to[0][k] + a[1] * to[1][k]) * poisson(*y, rate[k]));
        let total = next[0] + next[1];
        log_likelihood += total.ln();
        forward.push(next.map(|x| x / total));
    }
    let mut back = [1.0, 1.0];
    let mut second = Vec::new();
    for (t, y) in counts.iter().enumerate().rev() {
        let a = forward[t + 1];
        second.push(a[1] * back[1] / (a[0] * back[0] + a[1] * back[1]));
        back = [0, 1].map(|k: usize| (0..2).map(|l| to[k][l] * poisson(*y, rate[l]) * back[l]).sum());
    }
    second.reverse();
    (log_likelihood, second)
}

#[test]
fn states_of_a_hidden_markov_model_at_its_maximum_likelihood() {
    let f = fitted("hmm/states.ppl", &FitOverrides::default());
    let at = |name: &str| f.params[f.program.params.iter().position(|p| p.name == name).expect("a parameter")].clone();
    let (rate, stay) = (at("rate"), at("stay"));
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let counts = &f.data[f.program.data.iter().position(|d| d.name == "disasters").expect("the data")];
    let (log_likelihood, second) = chain([rate[0].exp(), rate[1].exp()], [logistic(stay[0]), logistic(stay[1])], counts);
    let (value, se) = f.estimate(SEED, 1).expect("an estimate");
    assert!((value - log_likelihood).abs() < 1e-8 && (se <= 1e-9 || se.is_nan()), "{value} (se {se}), exactly {log_likelihood}");
    let maximum = number(&json("hmm/reference.json")["maximum_log_likelihood"]);
    assert!(value < maximum + 1e-4 && value > maximum - 0.05, "{value}, the maximum is {maximum}");
    let draws = f.draws(SEED).expect("draws");
    let (_, shape, values) = draws.iter().find(|(n, _, _)| n == "dangerous").expect("states");
    let n = values.len() / shape[0];
    for (t, p) in second.iter().enumerate() {
        let mean = (0..n).map(|d| values[d * shape[0] + t]).sum::<f64>() / n as f64;
        let se = (p * (1.0 - p) / n as f64).sqrt();
        assert!((mean - p).abs() < 4.5 * se + 2.0 / n as f64, "year {t}: {mean}, exactly {p}");
    }
}

#[test]
fn objects_of_scenes_are_counted_after_a_few_steps() {
    let mut f = Fitted::new(&open("attend_infer_repeat/small.ppl"), &FitOverrides::default(), Some(200))
        .unwrap_or_else(|e| panic!("{e:?}"));
    let counted = |f: &Fitted| mean_and_error(&f.report(0, SEED, 1).expect("a report")).0;
    let before = f.estimate(SEED, 1).expect("an estimate");
    f.run(Precision::F32, SEED, 200).expect("steps");
    let after = f.estimate(SEED, 1).expect("an estimate");
    // A third of the images has each number of objects. Without objects the bound would be 48 * (256 * log(0.3 sqrt(2 pi)) ..) less the ink.
    assert!(after.0 > before.0 + 1000.0, "{before:?} {after:?}");
    assert!(counted(&f) > 0.75, "{}", counted(&f));
}

/// Gradients of the bound of one scene with a strategy for the presence of objects: mean and standard error for each parameter's elements.
fn scene(strategies: &[(&str, &str)], runs: u64) -> Vec<(f64, f64)> {
    let path = "attend_infer_repeat/small.ppl";
    let model = Model::open(&root().join("examples").join(path), &[&scenes(&[5])]).unwrap_or_else(|e| panic!("{path}:\n{e:?}"));
    let of = |(choice, s): &(&str, &str)| Override { address: Some((*choice).into()), strategy: expr(s) };
    let overrides = FitOverrides { strategies: strategies.iter().map(of).collect(), ..FitOverrides::default() };
    let mut f = Fitted::new(&model, &overrides, None).unwrap_or_else(|e| panic!("{e:?}"));
    let pres = f.code.chosen.iter().filter(|c| c.label.contains("pres")).map(|c| c.strategy.as_str());
    let (found, wanted): (BTreeSet<&str>, BTreeSet<&str>) = (pres.collect(), strategies.iter().map(|s| s.1).collect());
    assert_eq!(found, wanted);
    // Where presence is uncertain, and some of the digit is drawn.
    for (name, x) in [("b_pres", 0.3), ("paper", 0.0)] {
        let i = f.program.params.iter().position(|p| p.name == name).expect("a parameter");
        f.params[i].fill(x);
    }
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("code");
    let at: Vec<usize> = ["b_pres", "w_pres", "b_pos"]
        .iter()
        .filter_map(|n| f.code.learned.iter().position(|i| f.program.params[*i].name == *n))
        .collect();
    assert_eq!(at.len(), 3);
    let rows: Vec<Vec<f64>> = (0..runs)
        .map(|step| {
            r.run(SEED, step);
            at.iter().flat_map(|k| r.output_values(1 + k)).collect()
        })
        .collect();
    (0..rows[0].len()).map(|k| mean_and_error(&rows.iter().map(|r| r[k]).collect::<Vec<_>>())).collect()
}

#[test]
fn presence_has_one_gradient_by_every_strategy() {
    let exact = scene(&[("pres", "enumerate")], 1000);
    let cases: [(&[(&str, &str)], u64); 4] = [
        (&[("pres", "measure_valued")], 2000),
        (&[("pres", "reinforce")], 4000),
        // Strategies of elements: the last object's presence summed, the first one's by another strategy; also named with the program.
        (&[("pres", "measure_valued"), ("pres[1]", "enumerate")], 2000),
        (&[("pres", "measure_valued"), ("look.pres[0]", "reinforce")], 4000),
    ];
    for (strategies, runs) in cases {
        for (k, ((a, sa), (b, sb))) in exact.iter().zip(scene(strategies, runs)).enumerate() {
            let se = sa.hypot(sb);
            assert!((a - b).abs() < 5.0 * se + 1e-9, "{strategies:?}, component {k}: {b}, enumerated {a}, standard error {se}");
        }
    }
}

/// Gradients of `branching` under a strategy for `v`, over many seeds.
fn branching(strategy: &str, seeds: u64) -> Vec<Vec<f64>> {
    let strategies = vec![Override { address: Some("v".into()), strategy: expr(strategy) }];
    let overrides = FitOverrides { strategies, ..FitOverrides::default() };
    let mut f = Fitted::new(&open("branching/branching.ppl"), &overrides, None).unwrap_or_else(|e| panic!("{e:?}"));
    // Away from the start, where gradients are not 0 by symmetry.
    for (name, x) in [("logit_v", vec![0.4]), ("loc", vec![2.2, 2.7]), ("log_scale", vec![-1.2, -0.7])] {
        let i = f.program.params.iter().position(|p| p.name == name).expect("a parameter");
        f.params[i] = x;
    }
    let v = f.code.chosen.iter().find(|c| c.label.ends_with('v')).expect("v");
    assert_eq!(v.strategy, strategy.split('(').next().unwrap_or(""), "{v:?}");
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("code");
    let n = f.code.gradient.body.results.len();
    (0..seeds)
        .map(|seed| {
            r.run(seed, 0);
            (0..n).flat_map(|i| r.output_values(i)).collect()
        })
        .collect()
}

#[test]
fn every_strategy_has_the_enumerated_gradient() {
    let columns = |rows: &[Vec<f64>]| -> Vec<(f64, f64)> {
        (0..rows[0].len()).map(|k| mean_and_error(&rows.iter().map(|r| r[k]).collect::<Vec<_>>())).collect()
    };
    let exact = columns(&branching("enumerate", 20_000));
    // value, logit_v, loc (2), log_scale (2)
    assert_eq!(exact.len(), 6);
    for strategy in ["reinforce", "reinforce(-3.0)", "measure_valued"] {
        let found = columns(&branching(strategy, 20_000));
        for (k, ((a, sa), (b, sb))) in exact.iter().zip(&found).enumerate() {
            let se = (sa * sa + sb * sb).sqrt();
            assert!(((a - b) / se).abs() < 4.5, "{strategy}, result {k}: {b}, enumerated {a}, standard error {se}");
            assert!(*sb > 0.0 && se < 0.2, "{strategy}, result {k}: standard error {se} proves little");
        }
    }
}
