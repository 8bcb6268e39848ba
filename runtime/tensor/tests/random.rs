//! Random kernels: independence of length and instruction set, moments and distribution functions.
//!
//! Seeds are fixed; bounds are 5 standard errors, or the corresponding quantile of the Kolmogorov distribution.

use ppl_abi::{Kernel, Precision};
use ppl_tensor::{Float, Isa, Key, address_for, kernels};

const N: usize = 60_000;

fn key(site: u64) -> Key {
    Key { seed: 20_240_229, site, step: 3, time: 1 }
}

fn draw<T: Float>(kernel: Kernel, n: usize, key: Key) -> Vec<T> {
    let mut out = vec![T::lit(0.0); n];
    kernels::draw(kernel, &mut out, key).expect("a draw");
    out
}

/// Largest distance of the empirical from the true distribution function, times the root of the number of draws. Beyond 2.5 with a
/// probability of 7e-6.
fn kolmogorov(mut x: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    x.sort_by(f64::total_cmp);
    let n = x.len() as f64;
    let gap = |(i, &x): (usize, &f64)| {
        let c = cdf(x);
        (c - i as f64 / n).abs().max(((i + 1) as f64 / n - c).abs())
    };
    x.iter().enumerate().map(gap).fold(0.0, f64::max) * n.sqrt()
}

fn special(kernel: Kernel, args: &[f64]) -> f64 {
    let mut y = [0.0];
    match args {
        [x] => kernels::unary(kernel, &mut y, &[*x]),
        [a, x] => kernels::binary(kernel, &mut y, &[*a], &[*x]),
        _ => kernels::ternary(kernel, &mut y, &[args[0]], &[args[1]], &[args[2]]),
    }
    .expect("lengths fit");
    y[0]
}

fn mean_and_variance(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    (mean, x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n)
}

/// Mean and variance within 5 standard errors, the fourth central moment being `fourth` times the squared variance.
fn assert_moments(what: &str, x: &[f64], mean: f64, variance: f64, fourth: f64) {
    let n = x.len() as f64;
    let (m, v) = mean_and_variance(x);
    assert!((m - mean).abs() < 5.0 * (variance / n).sqrt(), "{what}: mean {m}, expected {mean}");
    let error = variance * ((fourth - 1.0) / n).sqrt();
    assert!((v - variance).abs() < 5.0 * error, "{what}: variance {v}, expected {variance} +- {error}");
}

fn wide<T: Float>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.wide()).collect()
}

fn uniform_and_normal<T: Float>() {
    let u = wide(&draw::<T>(Kernel::Uniform, N, key(1)));
    assert!(u.iter().all(|&u| u > 0.0 && u < 1.0));
    assert_moments("uniform", &u, 0.5, 1.0 / 12.0, 1.8);
    assert!(kolmogorov(u, |x| x) < 2.5);
    let z = wide(&draw::<T>(Kernel::Normal, N, key(2)));
    assert_moments("normal", &z, 0.0, 1.0, 3.0);
    // Neighbours, pairs of one Box-Muller transform, and blocks are uncorrelated.
    for lag in [1, 16, 32, 64] {
        let c = z.iter().zip(&z[lag..]).map(|(a, b)| a * b).sum::<f64>() / (N - lag) as f64;
        assert!(c.abs() < 5.0 / (N as f64).sqrt(), "lag {lag}: {c}");
        let s = z.iter().zip(&z[lag..]).map(|(a, b)| (a * a - 1.0) * (b * b - 1.0)).sum::<f64>() / (N - lag) as f64;
        assert!(s.abs() < 5.0 * 2.0 / (N as f64).sqrt(), "squares at lag {lag}: {s}");
    }
    assert!(kolmogorov(z, |x| special(Kernel::NormalCdf, &[x])) < 2.5);
}

#[test]
fn uniform_and_normal_single() {
    uniform_and_normal::<f32>();
}

#[test]
fn uniform_and_normal_double() {
    uniform_and_normal::<f64>();
}

#[test]
fn keys_give_unrelated_draws() {
    let base = Key { seed: 1, site: 2, step: 3, time: 4 };
    let far = 1u64 << 40;
    let others = [
        Key { seed: 2, ..base },
        Key { site: 3, ..base },
        Key { step: 4, ..base },
        Key { time: 5, ..base },
        Key { step: 3 + far, ..base },
        Key { time: 4 + far, ..base },
        Key { seed: 1 + far, ..base },
        Key { site: 2 + far, ..base },
    ];
    let n = 50_000;
    let a = draw::<f64>(Kernel::Normal, n, base);
    for other in others {
        let b = draw::<f64>(Kernel::Normal, n, other);
        let c = a.iter().zip(&b).map(|(a, b)| a * b).sum::<f64>() / n as f64;
        assert!(c != 0.0 && c.abs() < 5.0 / (n as f64).sqrt(), "{other:?}: correlation {c}");
    }
}

/// Runs a random kernel of one float parameter at an instruction set.
fn with_param<T: Float, D: Copy>(isa: Isa, kernel: Kernel, n: usize, p: f64, zero: D) -> Vec<D> {
    type F<T, D> = unsafe extern "C" fn(*mut D, *const T, usize, usize, u64, u64, u64, u64);
    let mut out = vec![zero; n];
    let p = T::lit(p);
    // SAFETY: the documented signature of these kernels; one parameter for all elements.
    unsafe {
        let f: F<T, D> = std::mem::transmute(address_for(isa, kernel, T::PRECISION));
        f(out.as_mut_ptr(), &p, 0, n, 5, 6, 7, 8);
    }
    out
}

fn plain<T: Float>(isa: Isa, kernel: Kernel, n: usize) -> Vec<T> {
    let mut out = vec![T::lit(0.0); n];
    // SAFETY: the documented signature of `uniform` and `normal`.
    unsafe {
        let f: unsafe extern "C" fn(*mut T, usize, u64, u64, u64, u64) =
            std::mem::transmute(address_for(isa, kernel, T::PRECISION));
        f(out.as_mut_ptr(), n, 5, 6, 7, 8);
    }
    out
}

fn same_bits<T: Float>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.wide().to_bits() == b.wide().to_bits())
}

fn any_length_any_isa<T: Float>() {
    for kernel in [Kernel::Uniform, Kernel::Normal] {
        let long = plain::<T>(Isa::Portable, kernel, 300);
        for &isa in Isa::available() {
            for n in [0, 1, 2, 3, 5, 16, 63, 64, 65, 66, 127, 130, 300] {
                assert!(same_bits(&plain::<T>(isa, kernel, n), &long[..n]), "{} {isa:?} {n}", kernel.name());
            }
        }
    }
    let gamma = |isa, n, a| with_param::<T, T>(isa, Kernel::StandardGamma, n, a, T::lit(0.0));
    let ints = |isa, kernel, n, p| with_param::<T, i64>(isa, kernel, n, p, 0);
    let bools = |isa, n| with_param::<T, u8>(isa, Kernel::Bernoulli, n, 0.3, 0);
    for &isa in Isa::available() {
        for n in [1, 2, 65, 200] {
            for a in [0.05, 0.9, 30.0] {
                assert!(same_bits(&gamma(isa, n, a), &gamma(Isa::Portable, 200, a)[..n]));
            }
            for rate in [0.5, 9.0, 80.0] {
                let long = ints(Isa::Portable, Kernel::Poisson, 200, rate);
                assert_eq!(ints(isa, Kernel::Poisson, n, rate), long[..n]);
            }
            assert_eq!(bools(isa, n), bools(Isa::Portable, 200)[..n]);
        }
    }
}

#[test]
fn same_bits_for_any_length_and_instruction_set() {
    any_length_any_isa::<f32>();
    any_length_any_isa::<f64>();
}

#[test]
fn gamma_draws() {
    for (i, a) in [0.03, 0.4, 1.0, 2.5, 40.0, 1e4].into_iter().enumerate() {
        let mut x = vec![0.0f64; N];
        kernels::draw_gamma(&mut x, &[a], key(10 + i as u64)).expect("a draw");
        assert!(x.iter().all(|&x| x > 0.0 && x < f64::INFINITY));
        assert_moments(&format!("gamma({a})"), &x, a, a, 3.0 + 6.0 / a);
        let d = kolmogorov(x, |x| special(Kernel::GammaP, &[a, x]));
        assert!(d < 2.5, "gamma({a}): {d}");
    }
    let mut x = [0.0f32; 2];
    kernels::draw_gamma(&mut x, &[-1.0, 1e-6], key(9)).expect("a draw");
    assert!(x[0].is_nan() && x[1] >= f32::MIN_POSITIVE);
}

/// Pearson's statistic against a distribution function on the integers, over cells that expect at least 25 draws: within 5 standard
/// deviations of its degrees of freedom.
fn assert_discrete(what: &str, x: &[i64], cdf: impl Fn(i64) -> f64) {
    let n = x.len() as f64;
    let (lo, hi) = (x.iter().min().copied().unwrap_or(0), x.iter().max().copied().unwrap_or(0));
    let (mut chi, mut cells, mut from, mut seen) = (0.0, 0.0f64, 0.0, 0.0);
    let mut counts = vec![0u32; (hi - lo + 1) as usize];
    for x in x {
        counts[(x - lo) as usize] += 1;
    }
    for (i, count) in counts.iter().enumerate() {
        seen += f64::from(*count);
        let to = cdf(lo + i as i64);
        let expected = n * (to - from);
        if expected >= 25.0 && n * (1.0 - to) >= 25.0 {
            chi += (seen - expected) * (seen - expected) / expected;
            cells += 1.0;
            (from, seen) = (to, 0.0);
        }
    }
    let expected = n * (1.0 - from);
    chi += (seen - expected) * (seen - expected) / expected;
    assert!((chi - cells).abs() < 5.0 * (2.0 * cells).sqrt() + 10.0, "{what}: chi2 {chi} on {cells}");
}

#[test]
fn poisson_draws() {
    for (i, rate) in [0.0, 0.2, 4.0, 9.99, 10.0, 37.5, 5e3].into_iter().enumerate() {
        let mut x = vec![0i64; N];
        kernels::draw_poisson(&mut x, &[rate], key(20 + i as u64)).expect("a draw");
        if rate == 0.0 {
            assert!(x.iter().all(|&x| x == 0));
            continue;
        }
        let f: Vec<f64> = x.iter().map(|&x| x as f64).collect();
        assert_moments(&format!("poisson({rate})"), &f, rate, rate, 3.0 + 1.0 / rate);
        assert_discrete(&format!("poisson({rate})"), &x, |k| special(Kernel::GammaQ, &[k as f64 + 1.0, rate]));
    }
    let mut x = [0; 3];
    kernels::draw_poisson(&mut x, &[-1.0, f64::NAN, f64::INFINITY], key(1)).expect("a draw");
    assert_eq!(x, [-1; 3]);
}

#[test]
fn binomial_draws() {
    let cases = [(1, 0.3), (7, 0.5), (1000, 0.001), (40, 0.25), (40, 0.8), (30_000, 0.35), (12, 0.9999)];
    for (i, (trials, p)) in cases.into_iter().enumerate() {
        let mut x = vec![0i64; N];
        kernels::draw_binomial(&mut x, &[trials], &[p], key(30 + i as u64)).expect("a draw");
        assert!(x.iter().all(|x| (0..=trials).contains(x)));
        let f: Vec<f64> = x.iter().map(|&x| x as f64).collect();
        let n = trials as f64;
        let v = n * p * (1.0 - p);
        assert_moments(&format!("binomial({trials}, {p})"), &f, n * p, v, 3.0 + (1.0 - 6.0 * p * (1.0 - p)) / v);
        assert_discrete(&format!("binomial({trials}, {p})"), &x, |k| {
            if k >= trials { 1.0 } else { special(Kernel::BetaInc, &[n - k as f64, k as f64 + 1.0, 1.0 - p]) }
        });
    }
    let mut x = [0; 5];
    kernels::draw_binomial(&mut x, &[-1, 3, 3, 0, 4], &[0.5, 1.5, f64::NAN, 0.5, 1.0], key(1)).expect("a draw");
    assert_eq!(x, [-1, -1, -1, 0, 4]);
}

#[test]
fn bernoulli_follows_uniform() {
    let u = draw::<f64>(Kernel::Uniform, 1000, key(4));
    let mut b = vec![9u8; 1000];
    kernels::draw_bernoulli(&mut b, &[0.3], key(4)).expect("a draw");
    assert!(u.iter().zip(&b).all(|(&u, &b)| (b == 1) == (u < 0.3) && b <= 1));
    kernels::draw_bernoulli(&mut b, &[1.0], key(4)).expect("a draw");
    assert!(b.iter().all(|&b| b == 1));
    kernels::draw_bernoulli(&mut b, &[0.0f32], key(4)).expect("a draw");
    assert!(b.iter().all(|&b| b == 0));
}

#[test]
fn categorical_draws() {
    let weights = [0.5, 0.0, 2.0, 1.5];
    let logs = weights.map(|w: f64| w.ln() + 700.0);
    let (mut x, mut y) = (vec![0i64; N], vec![0i64; N]);
    kernels::draw_categorical(Kernel::Categorical, &mut x, &weights, 4, key(5)).expect("a draw");
    kernels::draw_categorical(Kernel::CategoricalLog, &mut y, &logs, 4, key(5)).expect("a draw");
    for (j, w) in weights.iter().enumerate() {
        let p = w / 4.0;
        let share = x.iter().filter(|&&x| x == j as i64).count() as f64 / N as f64;
        assert!((share - p).abs() <= 5.0 * (p * (1.0 - p) / N as f64).sqrt(), "{j}: {share}");
    }
    // The same uniform decides; rounding may move a boundary by an ulp.
    assert!(x.iter().zip(&y).filter(|(a, b)| a != b).count() <= 1);
    let rows = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0f32];
    let mut z = [7i64; 3];
    kernels::draw_categorical(Kernel::Categorical, &mut z, &rows, 2, key(6)).expect("a draw");
    assert_eq!(z, [1, 0, -1]);
}

#[test]
fn permutations_are_uniform() {
    let mut counts = [0u32; 24];
    let runs = 24_000;
    for step in 0..runs {
        let mut x = [0i64; 4];
        kernels::draw_permutation(&mut x, Key { seed: 1, site: 2, step, time: 0 });
        let mut sorted = x;
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3]);
        // Lehmer code.
        let rank = (0..4).fold(0, |r, i| r * (4 - i) + x[i + 1..].iter().filter(|&&y| y < x[i]).count());
        counts[rank] += 1;
    }
    let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0).sum();
    assert!((chi - 23.0).abs() < 5.0 * 46f64.sqrt(), "{chi}");
}

/// The indices of the first `steps` steps, one after the other.
fn minibatches(seed: u64, data: usize, size: usize, steps: u64) -> Vec<i64> {
    let mut out = Vec::new();
    for step in 0..steps {
        let mut x = vec![0i64; size];
        kernels::draw_minibatch(&mut x, data, Key { seed, site: 5, step, time: 0 }).expect("a minibatch");
        out.extend(x);
    }
    out
}

#[test]
fn minibatches_are_epochs_whose_remainders_go_on() {
    for (data, size) in [(1, 1), (7, 3), (7, 7), (256, 100), (257, 100), (1000, 64), (4096, 4096), (50_000, 512), (65_537, 1000)]
    {
        let epochs = 3;
        let all = minibatches(9, data, size, (epochs * data).div_ceil(size) as u64);
        for epoch in all.chunks_exact(data) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert!(sorted.iter().enumerate().all(|(i, x)| *x == i as i64), "{data} by {size}");
        }
        if data > 200 {
            assert_ne!(all[..data], all[data..2 * data], "{data} by {size}: two epochs are alike");
        }
        assert_eq!(all[..size], minibatches(9, data, size, 1), "a step depends on its number alone");
    }
    assert!(kernels::draw_minibatch(&mut [0; 3], 2, Key { seed: 1, site: 2, step: 0, time: 0 }).is_err());
}

/// Pearson's statistic of counts that should be equal, in standard deviations from its mean.
fn unevenness(counts: &[u32]) -> f64 {
    let expected = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
    let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
    let free = counts.len() as f64 - 1.0;
    (chi - free) / (2.0 * free).sqrt()
}

#[test]
fn minibatches_are_uniform_and_neighbours_independent() {
    // Small epochs: every order is as likely as every other.
    let all = minibatches(3, 4, 4, 24_000);
    let mut counts = [0u32; 24];
    for x in all.chunks_exact(4) {
        counts[(0..4).fold(0, |r, i| r * (4 - i) + x[i + 1..].iter().filter(|&&y| y < x[i]).count())] += 1;
    }
    assert!(unevenness(&counts).abs() < 5.0, "{}", unevenness(&counts));
    // Large ones: at a few positions over many epochs, each index, the distance to the next one, and pairs of both halves.
    for data in [257usize, 300, 511, 513, 1000, 5000] {
        let epochs = 8000u64;
        let (mut first, mut gap, mut halves) = (vec![0u32; 64], vec![0u32; 64], vec![0u32; 4]);
        for e in 0..epochs {
            let mut x = vec![0i64; data];
            kernels::draw_minibatch(&mut x[..], data, Key { seed: 11, site: 5, step: e, time: 0 }).expect("a minibatch");
            let bin = |i: i64| (i as usize * 64) / data;
            first[bin(x[0])] += 1;
            gap[bin((x[1] - x[0]).rem_euclid(data as i64))] += 1;
            let upper = |i: i64| usize::from(2 * i as usize >= data);
            halves[2 * upper(x[data / 3]) + upper(x[data / 2])] += 1;
        }
        // Bins of 64 do not divide the sizes evenly: their expected counts differ by a few percent, so compare by pairs of sums.
        let coarse = |c: &[u32]| c.chunks(8).map(|c| c.iter().sum()).collect::<Vec<u32>>();
        for (what, c) in [("index", coarse(&first)), ("gap", coarse(&gap)), ("pairs", halves)] {
            assert!(unevenness(&c).abs() < 6.0, "{data}, {what}: {} {c:?}", unevenness(&c));
        }
    }
}

#[test]
fn every_kernel_has_an_address_at_every_instruction_set() {
    for &kernel in Kernel::ALL {
        for precision in Precision::ALL {
            for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
                assert!(!address_for(isa, kernel, precision).is_null(), "{}", kernel.name());
            }
        }
    }
}
