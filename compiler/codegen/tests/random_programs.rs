//! Random programs in both engines.

mod common;

use common::{agree, distance, interpreted, native};
use ppl_abi::Precision;
use ppl_codegen::Options;
use ppl_interp::testgen::{GenOptions, arguments, program};

fn check(seeds: std::ops::Range<u64>, options: GenOptions, tolerance: [f64; 2]) {
    for seed in seeds {
        let f = program(seed, options);
        agree(&f, &|p| arguments(&f, seed, p).expect("arguments"), tolerance);
    }
}

/// Whatever can be cut is cut, and one to three threads give the same bits.
fn check_chunks(seeds: std::ops::Range<u64>, options: GenOptions, tolerance: [f64; 2]) {
    for seed in seeds {
        let f = program(seed, options);
        for (precision, tolerance) in [Precision::F64, Precision::F32].into_iter().zip(tolerance) {
            let args = arguments(&f, seed, precision).expect("arguments");
            let want = interpreted(&f, &args, precision);
            let runs = [1, 2, 3].map(|threads| native(&f, &args, &Options { threads, grain: 1, ..common::options(precision) }));
            for (k, w) in want.iter().enumerate() {
                let d = distance(w, &runs[0][k]);
                assert!(d <= tolerance, "seed {seed}, {}, result {k}: off by {d}\n{f}", precision.name());
                let bits = |x: &[f64]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert!(runs.iter().all(|r| bits(&r[k]) == bits(&runs[0][k])), "seed {seed}, result {k}: threads differ");
            }
        }
    }
}

/// Without operations on which the last bit decides, so that reassociated sums may differ.
const SMOOTH: GenOptions =
    GenOptions { stmts: 40, depth: 2, random: true, control: true, maps: false, discontinuous: false, linalg: true };

#[test]
fn straight_line_programs() {
    check(0..60, GenOptions { control: false, linalg: false, ..SMOOTH }, [1e-9, 2e-3]);
}

#[test]
fn chunks_agree_on_any_number_of_threads() {
    check_chunks(0..60, GenOptions { control: false, linalg: false, ..SMOOTH }, [1e-9, 2e-3]);
    check_chunks(1000..1040, GenOptions { linalg: false, ..SMOOTH }, [1e-9, 2e-3]);
}

#[test]
fn programs_with_branches_and_loops() {
    check(1000..1060, GenOptions { linalg: false, ..SMOOTH }, [1e-9, 2e-3]);
}

#[test]
fn deep_programs_with_matrices() {
    check(2000..2030, GenOptions { depth: 3, ..SMOOTH }, [1e-9, 5e-3]);
}
