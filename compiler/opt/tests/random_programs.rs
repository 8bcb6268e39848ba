//! Every pass keeps the meaning of random programs, as the reference interpreter sees it.

use candle_core::Tensor;
use ppl_abi::Precision;
use ppl_core::{Det, Func};
use ppl_interp::testgen::{GenOptions, arguments, program};
use ppl_interp::{Interp, InterpError};
use ppl_opt::{PassManager, SimplifyOptions, When, cse, dce, licm, simplify_det};

const SEEDS: u64 = 150;

fn run(f: &Func<Det>, seed: u64) -> Result<Vec<Tensor>, InterpError> {
    let args = arguments(f, seed, Precision::F64).expect("arguments");
    Interp::new(&[]).seed(seed).step(3).run(f, &args)
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("values")
}

/// Compares all results; `tolerance` 0 asks for equal bits (zeros of either sign are equal).
fn compare(what: &str, seed: u64, before: &[Tensor], after: &[Tensor], tolerance: f64) {
    assert_eq!(before.len(), after.len());
    for (r, (a, b)) in before.iter().zip(after).enumerate() {
        assert_eq!(a.dims(), b.dims(), "{what}, seed {seed}, result {r}");
        assert_eq!(a.dtype(), b.dtype(), "{what}, seed {seed}, result {r}");
        for (i, (x, y)) in values(a).into_iter().zip(values(b)).enumerate() {
            assert!(x.is_finite(), "seed {seed}, result {r}, element {i}: the generator made {x}");
            let close = x == y || (x - y).abs() <= tolerance * (1.0 + x.abs().max(y.abs()));
            assert!(close, "{what}, seed {seed}, result {r}, element {i}: {x} became {y}");
        }
    }
}

fn check(what: &str, options: GenOptions, tolerance: f64, pass: impl Fn(&mut Func<Det>)) {
    for seed in 0..SEEDS {
        let f = program(seed, options);
        let before = run(&f, seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let mut g = f.clone();
        pass(&mut g);
        let after = run(&g, seed).unwrap_or_else(|e| panic!("{what}, seed {seed}: {e}"));
        compare(what, seed, &before, &after, tolerance);
    }
}

/// Everything, discontinuous primitives too: for passes that keep every bit.
const ALL: GenOptions =
    GenOptions { stmts: 30, depth: 2, random: true, control: true, maps: true, discontinuous: true, linalg: true };

/// For passes that change rounding.
const SMOOTH: GenOptions = GenOptions { discontinuous: false, ..ALL };

#[test]
fn dce_keeps_every_bit() {
    check("dce", ALL, 0.0, dce);
}

#[test]
fn cse_keeps_every_bit() {
    check("cse", ALL, 0.0, cse);
}

#[test]
fn licm_keeps_every_bit() {
    check("licm", ALL, 0.0, licm);
}

#[test]
fn exact_simplification_keeps_every_bit() {
    for after_vjp in [false, true] {
        check("simplify", ALL, 0.0, |f| simplify_det(f, SimplifyOptions { after_vjp, reassociate: false }));
    }
}

#[test]
fn reassociating_simplification_changes_only_rounding() {
    check("simplify", SMOOTH, 1e-9, |f| simplify_det(f, SimplifyOptions { after_vjp: true, reassociate: true }));
}

#[test]
fn the_exact_pipeline_keeps_every_bit() {
    check("pipeline", ALL, 0.0, |f| {
        let mut pm = PassManager { exact: true, ..PassManager::default() };
        pm.run(f, &[], When::AfterVjp).expect("pipeline");
    });
}

#[test]
fn the_pipeline_changes_only_rounding() {
    let options = GenOptions { stmts: 60, depth: 3, ..SMOOTH };
    check("pipeline", options, 1e-9, |f| {
        PassManager::default().run(f, &[], When::AfterVjp).expect("pipeline");
    });
}

#[test]
fn the_pipeline_shrinks_programs_and_is_stable() {
    let count = |f: &Func<Det>| {
        let mut pm = PassManager { limit: Some(1), ..PassManager::default() };
        pm.run(&mut f.clone(), &[], When::AfterVjp).expect("pipeline");
        pm.timings[0].stmts
    };
    let (mut before, mut after, mut again) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut f = program(seed, ALL);
        before += count(&f);
        PassManager::default().run(&mut f, &[], When::AfterVjp).expect("pipeline");
        after += count(&f);
        PassManager::default().run(&mut f, &[], When::AfterVjp).expect("pipeline");
        again += count(&f);
    }
    assert!(after < before, "{before} statements became {after}");
    assert!(again <= after && again * 100 >= after * 97, "a second run still finds much: {after} became {again}");
}
