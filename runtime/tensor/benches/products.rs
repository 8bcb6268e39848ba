//! Times matrix products: `cargo bench --bench products`, or `.. -- M N K [a] [b]`, where `a` or `b` says that the operand is transposed in memory.
//!
//! Prints a line for each product: its shape, microseconds and GFLOP/s in both precisions, on one thread.

use ppl_tensor::kernels::{Gemm, gemm};
use std::time::Instant;

/// Products of a variational autoencoder's gradient, of a regression's, and square ones.
const SHAPES: &[(usize, usize, usize, bool, bool)] = &[
    (512, 200, 784, false, true),
    (512, 784, 200, false, true),
    (784, 200, 512, true, false),
    (512, 200, 784, false, false),
    (200, 784, 512, true, false),
    (512, 20, 200, false, true),
    (512, 200, 10, false, true),
    (128, 200, 784, false, true),
    (64, 64, 64, false, false),
    (192, 192, 192, false, false),
    (512, 512, 512, false, false),
    (500, 500, 500, false, false),
];

fn time<T: ppl_tensor::Float>(m: usize, n: usize, k: usize, ta: bool, tb: bool) -> f64 {
    let fill = |len: usize| (0..len).map(|i| T::lit(((i * 7919) % 1000) as f64 / 1000.0 - 0.5)).collect::<Vec<T>>();
    let (a, b, mut c) = (fill(m * k), fill(k * n), vec![T::lit(0.0); m * n]);
    let mut shape = Gemm::dense(m, n, k);
    if ta {
        shape = shape.transpose_a();
    }
    if tb {
        shape = shape.transpose_b();
    }
    let mut run = |times: usize| {
        let t = Instant::now();
        for _ in 0..times {
            gemm(&mut c, &a, &b, shape, false).unwrap_or_else(|e| panic!("{e}"));
        }
        t.elapsed().as_secs_f64() / times as f64
    };
    let times = (2e-3 / run(2)).clamp(1.0, 1e6) as usize;
    let mut all: Vec<f64> = (0..41).map(|_| run(times)).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let sizes: Vec<usize> = args.iter().filter_map(|a| a.parse().ok()).collect();
    let turned = |x: &str| args.iter().any(|a| a == x);
    let shapes = match sizes[..] {
        [m, n, k] => vec![(m, n, k, turned("a"), turned("b"))],
        _ => SHAPES.to_vec(),
    };
    for (m, n, k, ta, tb) in shapes {
        let (single, double) = (time::<f32>(m, n, k, ta, tb), time::<f64>(m, n, k, ta, tb));
        let flops = (2 * m * n * k) as f64 * 1e-9;
        let layout = |t: bool| if t { "'" } else { "" };
        let what = format!("{m} x {k}{} times {k} x {n}{}", layout(ta), layout(tb));
        #[expect(clippy::print_stdout, reason = "the result")]
        {
            println!(
                "{what:32} f32 {:9.1} us {:6.1} GFLOP/s   f64 {:9.1} us {:6.1} GFLOP/s",
                single * 1e6,
                flops / single,
                double * 1e6,
                flops / double
            );
        }
    }
}
