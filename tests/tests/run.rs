//! Each program in three engines: the interpreter before batching and optimisation, the interpreter on the optimised
//! program, and machine code. Values, gradients and twenty optimiser steps agree.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_tests::{Fitted, Model, distance, root, scenes};
use std::path::{Path, PathBuf};

const SEED: u64 = 7;

fn examples() -> Vec<PathBuf> {
    let mut out = Vec::new();
    for folder in std::fs::read_dir(root().join("examples")).expect("examples").flatten() {
        let Ok(files) = std::fs::read_dir(folder.path()) else { continue };
        out.extend(files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "ppl")));
    }
    out.sort();
    assert!(out.len() >= 7, "{out:?}");
    out
}

/// Images of noise with labels, as the auto-encoders take them.
fn digits(n: usize) -> String {
    let ink = |i: usize| if (i * 2_654_435_761) >> 7 & 3 == 0 { 255 } else { 0 };
    let images: Vec<Vec<usize>> = (0..n).map(|k| (0..784).map(|i| ink(784 * k + i + 1)).collect()).collect();
    serde_json::json!({ "images": images, "labels": (0..n).collect::<Vec<_>>() }).to_string()
}

fn three_ways(path: &Path, model: &Model, overrides: &FitOverrides, steps: u64) {
    let shown = path.display();
    let mut f = Fitted::new(model, overrides, Some(steps)).unwrap_or_else(|e| panic!("{shown}:\n{e:?}"));
    for (precision, tolerance) in [(Precision::F64, 1e-9), (Precision::F32, 2e-3)] {
        let reference = f.gradient_reference(precision, SEED, 3).unwrap_or_else(|e| panic!("{shown}: {e}"));
        let optimised = f.gradient_optimised(precision, SEED, 3).unwrap_or_else(|e| panic!("{shown}: {e}"));
        let native = f.gradient_native(precision, SEED, 3).unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert!(reference[0][0].is_finite(), "{shown}: {:?}", reference[0]);
        for (k, r) in reference.iter().enumerate() {
            let (a, b) = (distance(r, &optimised[k]), distance(r, &native[k]));
            assert!(a < tolerance, "{shown} {} result {k}, optimised: off by {a}\n{r:?}\n{:?}", precision.name(), optimised[k]);
            assert!(b < tolerance, "{shown} {} result {k}, native: off by {b}\n{r:?}\n{:?}", precision.name(), native[k]);
        }
    }
    let start = f.params.clone();
    let a = f.run_interpreted(SEED, steps as usize).unwrap_or_else(|e| panic!("{shown}: {e}"));
    let after = std::mem::replace(&mut f.params, start);
    let b = f.run(Precision::F64, SEED, steps as usize).unwrap_or_else(|e| panic!("{shown}: {e}"));
    assert!(distance(&a, &b) < 1e-6, "{shown}: objectives of {steps} steps\n{a:?}\n{b:?}");
    for (x, y) in after.iter().zip(&f.params) {
        assert!(distance(x, y) < 1e-6, "{shown}: parameters after {steps} steps\n{x:?}\n{y:?}");
    }
}

/// The folder that an example is in.
fn folder(path: &Path) -> &str {
    path.parent().and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or_default()
}

fn examples_agree(wanted: fn(&str) -> bool) {
    for path in examples().into_iter().filter(|p| wanted(folder(p))) {
        // The same program as `small.ppl`, at a size for which the interpreter is not made.
        if path.ends_with("attend_infer_repeat/air.ppl") {
            continue;
        }
        // The interpreter takes its time over images.
        let (few, steps) = match folder(&path) {
            "attend_infer_repeat" => (Some(scenes(&[3, 5])), 20),
            "vae" => (Some(digits(1)), 1),
            "deep_markov" => (Some(format!("{{\"sunspots\": {:?}}}", [5, 11, 16, 23, 36, 58, 29, 20])), 5),
            _ => (None, 20),
        };
        let model = Model::open(&path, &few.iter().map(String::as_str).collect::<Vec<_>>())
            .unwrap_or_else(|e| panic!("{}:\n{e:?}", path.display()));
        three_ways(&path, &model, &FitOverrides::default(), steps);
    }
}

const NETWORKS: &[&str] = &["vae", "deep_markov", "attend_infer_repeat"];

#[test]
fn examples_agree_in_all_engines() {
    examples_agree(|folder| !NETWORKS.contains(&folder));
}

#[test]
fn networks_agree_in_all_engines() {
    examples_agree(|folder| NETWORKS.contains(&folder));
}
