//! Matrix kernels against the definitions, row kernels against plain loops.

use ppl_abi::{Kernel, Key};
use ppl_tensor::kernels::{self, Gemm, Triangle};
use ppl_tensor::{Float, kernels::KernelError};

fn normals<T: Float>(n: usize, site: u64) -> Vec<T> {
    let mut x = vec![T::lit(0.0); n];
    kernels::draw(Kernel::Normal, &mut x, Key { seed: 7, site, step: 0, time: 0 }).expect("a draw");
    x
}

/// Unit roundoff.
fn eps<T: Float>() -> f64 {
    match T::PRECISION {
        ppl_abi::Precision::F32 => f64::from(f32::EPSILON),
        ppl_abi::Precision::F64 => f64::EPSILON,
    }
}

fn assert_product<T: Float>(c: &[T], before: &[T], a: &[T], b: &[T], g: Gemm, accumulate: bool) {
    let (sa, sb, sc) = g.batch_strides;
    for batch in 0..g.batch {
        for i in 0..g.m {
            for j in 0..g.n {
                let at = batch * sc + i * g.n + j;
                let mut sum = if accumulate { before[at].wide() } else { 0.0 };
                let mut scale = sum.abs();
                for p in 0..g.k {
                    let x = a[batch * sa + i * g.a.0 + p * g.a.1].wide() * b[batch * sb + p * g.b.0 + j * g.b.1].wide();
                    sum += x;
                    scale += x.abs();
                }
                let error = (c[at].wide() - sum).abs();
                assert!(
                    error <= (g.k + 2) as f64 * eps::<T>() * scale,
                    "{g:?} at {batch}, {i}, {j}: {} is not {sum}",
                    c[at].wide()
                );
            }
        }
    }
}

fn products<T: Float>() {
    let sizes = [0, 1, 2, 3, 5, 8, 17, 33];
    for m in sizes {
        for n in sizes {
            for k in [0, 1, 2, 7, 16, 40] {
                let (a, b) = (normals::<T>(m * k, 1), normals::<T>(k * n, 2));
                for g in [
                    Gemm::dense(m, n, k),
                    Gemm::dense(m, n, k).transpose_a(),
                    Gemm::dense(m, n, k).transpose_b(),
                    Gemm::dense(m, n, k).transpose_a().transpose_b(),
                ] {
                    for accumulate in [false, true] {
                        let before = normals::<T>(m * n, 3);
                        let mut c = before.clone();
                        kernels::gemm(&mut c, &a, &b, g, accumulate).expect("sizes fit");
                        assert_product(&c, &before, &a, &b, g, accumulate);
                    }
                }
            }
        }
    }
    for (m, n, k) in [(3, 4, 5), (20, 24, 30), (1, 9, 4), (6, 1, 90)] {
        for (share_a, share_b) in [(false, false), (true, false), (false, true)] {
            let g = Gemm::dense(m, n, k).batched(4, share_a, share_b);
            let (a, b) = (normals::<T>(4 * m * k, 4), normals::<T>(4 * k * n, 5));
            let before = vec![T::NAN; 4 * m * n];
            let mut c = before.clone();
            kernels::gemm(&mut c, &a, &b, g, false).expect("sizes fit");
            assert_product(&c, &before, &a, &b, g, false);
        }
    }
}

#[test]
fn products_agree_with_the_definition() {
    products::<f32>();
    products::<f64>();
}

#[test]
fn short_buffers_are_refused() {
    let mut c = [0.0; 4];
    let result = kernels::gemm(&mut c, &[0.0; 3], &[0.0; 4], Gemm::dense(2, 2, 2), false);
    assert_eq!(result, Err(KernelError::Length { kernel: Kernel::Gemm, argument: "a", expected: 4, found: 3 }));
    assert!(kernels::unary(Kernel::Pow, &mut c, &[0.0; 4]).is_err());
    assert!(kernels::binary(Kernel::Pow, &mut c, &[0.0; 4], &[0.0; 3]).is_err());
    assert!(kernels::gemm(&mut c, &[0.0; 4], &[0.0; 4], Gemm::dense(usize::MAX, 2, 2), false).is_err());
}

/// A well-conditioned positive definite matrix: a a' / n + 1.
fn positive<T: Float>(n: usize, site: u64) -> Vec<T> {
    let a = normals::<T>(n * n, site);
    let mut c = vec![T::lit(0.0); n * n];
    for i in 0..n {
        c[i * n + i] = T::lit(n as f64);
    }
    kernels::gemm(&mut c, &a, &a, Gemm::dense(n, n, n).transpose_b(), true).expect("sizes fit");
    c
}

fn factors<T: Float>() {
    for n in [1, 2, 3, 7, 47, 48, 49, 100, 150] {
        let a: Vec<T> = [positive::<T>(n, 1), positive::<T>(n, 2)].concat();
        let mut l = vec![T::NAN; a.len()];
        kernels::cholesky(&mut l, &a, n).expect("sizes fit");
        for batch in 0..2 {
            let (a, l) = (&a[batch * n * n..][..n * n], &l[batch * n * n..][..n * n]);
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..n).map(|p| l[i * n + p].wide() * l[j * n + p].wide()).sum();
                    let scale = (a[i * n + i].wide() * a[j * n + j].wide()).sqrt();
                    assert!((sum - a[i * n + j].wide()).abs() < (n + 4) as f64 * eps::<T>() * scale, "{n}: {i}, {j}");
                    assert!(j <= i || l[i * n + j].wide() == 0.0);
                }
            }
        }
        // Solves: op(l) x = b.
        let l = &l[..n * n];
        for (transposed, upper) in [(false, false), (true, false), (false, true), (true, true)] {
            // The upper triangle as the transpose of l; the other triangle is poisoned and must not be read.
            let mut t = vec![T::NAN; n * n];
            for i in 0..n {
                for j in 0..=i {
                    t[if upper { j * n + i } else { i * n + j }] = l[i * n + j];
                }
            }
            for m in [1, 3, 20] {
                let b = normals::<T>(2 * n * m, 3);
                let mut x = vec![T::NAN; 2 * n * m];
                kernels::triangular_solve(&mut x, &t, &b, n, m, Triangle { upper, transposed }).expect("sizes fit");
                for batch in 0..2 {
                    let (x, b) = (&x[batch * n * m..], &b[batch * n * m..]);
                    for i in 0..n {
                        for j in 0..m {
                            let (mut sum, mut scale) = (0.0, b[i * m + j].wide().abs());
                            // op of a stored triangle is lower if exactly one or none of the two flags is set.
                            let lower = upper == transposed;
                            let range = if lower { 0..i + 1 } else { i..n };
                            for p in range {
                                let e = if lower { l[i * n + p] } else { l[p * n + i] }.wide() * x[p * m + j].wide();
                                sum += e;
                                scale += e.abs();
                            }
                            let error = (sum - b[i * m + j].wide()).abs();
                            assert!(error <= (n + 4) as f64 * eps::<T>() * scale, "{n} {m} {i} {j} {upper} {transposed}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn factors_and_solutions_have_small_residuals() {
    factors::<f32>();
    factors::<f64>();
}

#[test]
fn a_matrix_that_is_not_positive_definite_gives_nan() {
    let mut l = [0.0f64; 8];
    kernels::cholesky(&mut l, &[1.0, 2.0, 2.0, 1.0, 4.0, 99.0, 2.0, 2.0], 2).expect("sizes fit");
    assert!(l[0].is_nan() && l[2].is_nan() && l[3].is_nan());
    assert_eq!(l[4..], [2.0, 0.0, 1.0, 1.0]);
    for bad in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
        let mut l = [0.0f64];
        kernels::cholesky(&mut l, &[bad], 1).expect("sizes fit");
        assert!(l[0].is_nan(), "{bad}");
    }
}

fn row_kernels<T: Float>() {
    for (rows, cols) in [(1, 1), (3, 5), (4, 32), (2, 33), (5, 100), (2, 0), (0, 4)] {
        let x = normals::<T>(rows * cols, 9);
        let run = |kernel, len: usize| {
            let mut y = vec![T::NAN; len];
            kernels::rows(kernel, &mut y, &x, rows, cols).expect("sizes fit");
            y.iter().map(|y| y.wide()).collect::<Vec<f64>>()
        };
        let (sum, max, lse) = (run(Kernel::SumRows, rows), run(Kernel::MaxRows, rows), run(Kernel::LogSumExpRows, rows));
        let (soft, log_soft) = (run(Kernel::SoftmaxRows, rows * cols), run(Kernel::LogSoftmaxRows, rows * cols));
        let by_col = run(Kernel::SumCols, cols);
        let tol = 40.0 * eps::<T>();
        let at = |r: usize, c: usize| x[r * cols + c].wide();
        for r in 0..rows {
            let row = || (0..cols).map(|c| at(r, c));
            let total: f64 = row().map(f64::exp).sum();
            assert!((sum[r] - row().sum::<f64>()).abs() <= tol * (1.0 + row().map(f64::abs).sum::<f64>()));
            assert_eq!(max[r], row().fold(f64::NEG_INFINITY, f64::max));
            assert!(lse[r] == total.ln() || (lse[r] - total.ln()).abs() <= tol * 4.0);
            for c in 0..cols {
                assert!((soft[r * cols + c] - at(r, c).exp() / total).abs() <= tol);
                assert!((log_soft[r * cols + c] - (at(r, c) - total.ln())).abs() <= tol * 10.0);
            }
        }
        for (c, got) in by_col.iter().enumerate() {
            let want: f64 = (0..rows).map(|r| at(r, c)).sum();
            assert!((got - want).abs() <= tol * 10.0);
        }
        if cols > 0 {
            let (mut forward, mut backward) = (x.clone(), x.clone());
            kernels::cumsum_rows(&mut forward, &x, cols, false).expect("sizes fit");
            kernels::cumsum_rows(&mut backward, &x, cols, true).expect("sizes fit");
            for r in 0..rows {
                let (last, first) = (forward[r * cols + cols - 1].wide(), backward[r * cols].wide());
                assert!((last - sum[r]).abs() < tol * 10.0 * cols as f64 && (first - sum[r]).abs() < tol * 10.0 * cols as f64);
                for c in 0..cols {
                    let both = forward[r * cols + c].wide() + backward[r * cols + c].wide() - at(r, c);
                    assert!((both - sum[r]).abs() < tol * 10.0 * cols as f64);
                }
            }
        }
    }
}

#[test]
fn row_kernels_agree_with_loops() {
    row_kernels::<f32>();
    row_kernels::<f64>();
}

#[test]
fn row_kernels_at_infinities() {
    let inf = f64::INFINITY;
    let mut y = [0.0; 4];
    let x = [-inf, -inf, 0.0, inf, f64::NAN, 1.0, -1e6, -1e6];
    kernels::rows(Kernel::LogSumExpRows, &mut y, &x, 4, 2).expect("sizes fit");
    assert_eq!((y[0], y[1], y[2].is_nan()), (-inf, inf, true));
    assert!((y[3] + 1e6 - 2f64.ln()).abs() < 1e-9);
    kernels::rows(Kernel::MaxRows, &mut y, &x, 4, 2).expect("sizes fit");
    assert_eq!((y[0], y[1], y[2].is_nan(), y[3]), (-inf, inf, true, -1e6));
}
