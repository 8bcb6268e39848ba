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

fn three_ways(path: &Path, model: &Model, overrides: &FitOverrides) {
    let shown = path.display();
    let mut f = Fitted::new(model, overrides, Some(20)).unwrap_or_else(|e| panic!("{shown}:\n{e:?}"));
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
    let a = f.run_interpreted(SEED, 20).unwrap_or_else(|e| panic!("{shown}: {e}"));
    let after = std::mem::replace(&mut f.params, start);
    let b = f.run(Precision::F64, SEED, 20).unwrap_or_else(|e| panic!("{shown}: {e}"));
    assert!(distance(&a, &b) < 1e-6, "{shown}: objectives of twenty steps\n{a:?}\n{b:?}");
    for (x, y) in after.iter().zip(&f.params) {
        assert!(distance(x, y) < 1e-6, "{shown}: parameters after twenty steps\n{x:?}\n{y:?}");
    }
}

#[test]
fn examples_agree_in_all_engines() {
    for path in examples() {
        // The interpreter takes its time over images.
        let few = path.ends_with("attend_infer_repeat/air.ppl").then(|| scenes(&[3, 5]));
        let model = Model::open(&path, &few.iter().map(String::as_str).collect::<Vec<_>>())
            .unwrap_or_else(|e| panic!("{}:\n{e:?}", path.display()));
        three_ways(&path, &model, &FitOverrides::default());
    }
}
