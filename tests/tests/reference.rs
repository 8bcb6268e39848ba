//! Fits of the examples through compiled code, against reference posteriors, closed forms and exact enumeration.

use ppl_abi::Precision;
use ppl_check::{FitOverrides, Override};
use ppl_tests::engine::native;
use ppl_tests::fitting::mean_and_error;
use ppl_tests::{Fitted, Model, root};
use serde_json::Value;

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
    let expr = |text: &str| ppl_syntax::parse_expr(ppl_diag::FileId(u32::MAX), text).0;
    let f = fitted("cone/cone.ppl", &FitOverrides { objective: Some(expr("iwelbo(5)")), ..FitOverrides::default() });
    let (iwelbo, se) = f.estimate(SEED, 200).expect("an estimate");
    assert!((iwelbo + 7.54).abs() < 0.06 + 4.5 * se, "iwelbo {iwelbo} (se {se})");
    assert!(iwelbo < -5.323, "above the log evidence");
}

/// Gradients of `branching` under a strategy for `v`, over many seeds.
fn branching(strategy: &str, seeds: u64) -> Vec<Vec<f64>> {
    let expr = ppl_syntax::parse_expr(ppl_diag::FileId(u32::MAX), strategy).0;
    let strategies = vec![Override { address: Some("v".into()), strategy: expr }];
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
