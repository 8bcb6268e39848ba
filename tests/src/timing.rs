//! Times of short runs, for benchmarks.

use std::time::Instant;

/// Median time of a run in microseconds: batches of about a millisecond, for about `seconds`. Runs are numbered.
pub fn median(seconds: f64, mut run: impl FnMut(u64)) -> f64 {
    let mut step = 0;
    let mut batch = |n: u64| {
        let t = Instant::now();
        for _ in 0..n {
            run(step);
            step += 1;
        }
        t.elapsed().as_secs_f64() / n as f64
    };
    batch(3);
    let n = (1e-3 / batch(3)).clamp(1.0, 1e6) as u64;
    let start = Instant::now();
    let mut all = Vec::new();
    while all.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        all.push(batch(n));
    }
    all.sort_by(f64::total_cmp);
    all[all.len() / 2] * 1e6
}
