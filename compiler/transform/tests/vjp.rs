//! Reverse mode against central differences.

mod common;

use common::generate::{Options, program};
use common::{Stream, Value, close, run};
use ppl_core::{Atom, Builder, DType, Det, Func, Prim};
use ppl_transform::batch::batch;
use ppl_transform::vjp::vjp;

/// The function with one result more in front: a real scalar made of all its results.
fn scalarised(f: &Func<Det>) -> Func<Det> {
    let mut b = Builder::reopen(f.clone());
    let mut total = Atom::float(0.0);
    for (i, r) in f.body.results.iter().enumerate() {
        let y = b.un(Prim::Sin, *r);
        let y = b.sum_all(y);
        let y = b.mul(y, Atom::float(1.0 + i as f64));
        total = b.add(total, y);
    }
    let results = [&[total], &f.body.results[..]].concat();
    b.finish(results)
}

fn real_params(f: &Func<Det>) -> Vec<usize> {
    (0..f.params.len()).filter(|i| f.ty(f.params[*i]).dtype == DType::Float).collect()
}

/// Central differences of result `r` by every element of parameter `p`, of fourth order; none where two step sizes
/// disagree, as they do beside a jump or a kink.
fn differences(f: &Func<Det>, args: &[Value], r: usize, p: usize) -> Vec<Option<f64>> {
    (0..args[p].data.len())
        .map(|e| {
            let at = |d: f64| {
                let mut a = args.to_vec();
                a[p].data[e] += d;
                run(f, &a)[r].item()
            };
            let slope = |h: f64| (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            let (wide, narrow) = (slope(3e-4), slope(1e-4));
            close(wide, narrow, 1e-5).then_some(narrow)
        })
        .collect()
}

/// Compares gradients of result 0 with differences; returns the largest derivative and the share of elements compared.
fn check(f: &Func<Det>, args: &[Value], tol: f64) -> (f64, f64) {
    let wrt = real_params(f);
    let g = vjp(f, &wrt, 0).expect("differentiable");
    let n = f.body.results.len();
    let out = run(&g, args);
    assert_eq!(out.len(), n + wrt.len());
    let plain = run(f, args);
    assert_eq!(plain, out[..n], "{}: values stay", f.name);
    let (mut largest, mut compared, mut all) = (0.0f64, 0.0, 0.0);
    for (k, p) in wrt.iter().enumerate() {
        assert_eq!(out[n + k].shape, args[*p].shape);
        for (e, (d, g)) in differences(f, args, 0, *p).into_iter().zip(&out[n + k].data).enumerate() {
            all += 1.0;
            let Some(d) = d else { continue };
            compared += 1.0;
            assert!(close(d, *g, tol), "{}: parameter {p} element {e}: differences {d}, vjp {g}", f.name);
            largest = largest.max(d.abs());
        }
    }
    (largest, compared / all)
}

fn arguments(f: &Func<Det>, seed: u64) -> Vec<Value> {
    let mut s = Stream(seed, 1000);
    f.params.iter().map(|v| s.value(&f.ty(*v).shape.clone(), -1.2, 1.2)).collect()
}

/// Checks many programs; most must move, and nearly all elements must be comparable.
fn check_all(seeds: std::ops::Range<u64>, make: impl Fn(u64) -> Func<Det>) {
    let (mut moving, mut share, n) = (0.0, 0.0, seeds.clone().count() as f64);
    for seed in seeds {
        let f = make(seed);
        let (largest, compared) = check(&f, &arguments(&f, seed), 1e-6);
        moving += f64::from(u8::from(largest > 1e-3));
        share += compared;
    }
    assert!(moving > 0.7 * n && share > 0.9 * n, "{moving} {share} of {n}");
}

#[test]
fn random_programs() {
    check_all(0..150, |seed| scalarised(&program(seed, Options { maps: false, depth: 3, size: 10, moving_draws: false })));
}

#[test]
fn random_batched_programs() {
    check_all(0..80, |seed| batch(scalarised(&program(seed, Options { maps: true, depth: 3, size: 10, moving_draws: false }))));
}
