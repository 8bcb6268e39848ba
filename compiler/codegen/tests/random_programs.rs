//! Random programs in both engines.

mod common;

use common::agree;
use ppl_interp::testgen::{GenOptions, arguments, program};

fn check(seeds: std::ops::Range<u64>, options: GenOptions, tolerance: [f64; 2]) {
    for seed in seeds {
        let f = program(seed, options);
        agree(&f, &|p| arguments(&f, seed, p).expect("arguments"), tolerance);
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
fn programs_with_branches_and_loops() {
    check(1000..1060, GenOptions { linalg: false, ..SMOOTH }, [1e-9, 2e-3]);
}

#[test]
fn deep_programs_with_matrices() {
    check(2000..2030, GenOptions { depth: 3, ..SMOOTH }, [1e-9, 5e-3]);
}
