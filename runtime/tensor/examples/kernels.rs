//! Prints nanoseconds per element of the hot kernels: `cargo run --release -p ppl-tensor --example kernels [isa]`.
#![allow(clippy::print_stdout, reason = "a report")]

use ppl_abi::{Family, Kernel};
use ppl_tensor::{Float, Isa, address_for};
use std::hint::black_box;
use std::time::Instant;

type Unary<T> = unsafe extern "C" fn(*mut T, *const T, usize);
type Draw<T> = unsafe extern "C" fn(*mut T, usize, u64, u64, u64, u64);

/// Nanoseconds per call, the best of several runs.
fn time(mut f: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed().as_micros() < 3000 {
            for _ in 0..8 {
                f();
            }
            calls += 8;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    best
}

fn unary<T: Float>(isa: Isa, kernel: Kernel, n: usize) -> f64 {
    // SAFETY: the signature of unary kernels.
    let f: Unary<T> = unsafe { std::mem::transmute(address_for(isa, kernel, T::PRECISION)) };
    let mut x: Vec<T> = (0..n).map(|i| T::lit(0.05 + 0.9 * (i as f64 * 0.618).fract())).collect();
    let src = x.clone();
    let p = x.as_mut_ptr();
    // SAFETY: both buffers hold `n` elements.
    time(|| unsafe { f(black_box(p), black_box(src.as_ptr()), n) }) / n as f64
}

fn draw<T: Float>(isa: Isa, kernel: Kernel, n: usize) -> f64 {
    // SAFETY: the signature of `uniform` and `normal`.
    let f: Draw<T> = unsafe { std::mem::transmute(address_for(isa, kernel, T::PRECISION)) };
    let mut x = vec![T::lit(0.0); n];
    let p = x.as_mut_ptr();
    let mut step = 0;
    time(|| {
        step += 1;
        // SAFETY: the buffer holds `n` elements.
        unsafe { f(black_box(p), n, 1, 2, step, 0) }
    }) / n as f64
}

fn gemm<T: Float>(n: usize) -> f64 {
    let a: Vec<T> = (0..n * n).map(|i| T::lit(i as f64 * 1e-3)).collect();
    let mut c = a.clone();
    let g = ppl_tensor::kernels::Gemm::dense(n, n, n);
    time(|| {
        let _ = black_box(ppl_tensor::kernels::gemm(&mut c, &a, &a, g, false));
    })
}

fn main() {
    let wanted = std::env::args().nth(1);
    for &isa in Isa::available() {
        if wanted.as_ref().is_some_and(|w| !format!("{isa:?}").eq_ignore_ascii_case(w)) {
            continue;
        }
        println!("{isa:?}: ns per element, 512 elements\n{:<16} {:>8} {:>8}", "kernel", "f32", "f64");
        for &k in Kernel::ALL.iter().filter(|k| k.family() == Family::Unary) {
            println!("{:<16} {:>8.2} {:>8.2}", k.name(), unary::<f32>(isa, k, 512), unary::<f64>(isa, k, 512));
        }
        for k in [Kernel::Uniform, Kernel::Normal] {
            for n in [512, 64, 10, 1] {
                println!("{:<12}{n:>4} {:>8.2} {:>8.2}", k.name(), draw::<f32>(isa, k, n), draw::<f64>(isa, k, n));
            }
        }
    }
    println!("gemm n x n x n: ns per product");
    for n in [2, 4, 6, 8, 10, 12, 16, 24, 32, 64, 128] {
        println!("{:<16} {:>8.0} {:>8.0}", n, gemm::<f32>(n), gemm::<f64>(n));
    }
}
