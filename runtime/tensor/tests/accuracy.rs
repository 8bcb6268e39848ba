//! Kernels against values computed with 60 digits (`data/reference.py`).
//!
//! Double precision is compared with the table, single precision with double precision at the same arguments.

use ppl_abi::{Family, Kernel};
use ppl_tensor::{Float, kernels};

/// Largest error in ulp (f64, f32). Functions that are ill-conditioned in places have their condition in the bound.
fn bound(kernel: Kernel) -> (f64, f64) {
    match kernel {
        Kernel::Exp | Kernel::Log | Kernel::Log2 | Kernel::Log1p => (1.5, 1.5),
        Kernel::Expm1 => (2.5, 2.5),
        Kernel::Sin | Kernel::Cos => (2.0, 2.0),
        Kernel::Tan => (3.5, 3.5),
        Kernel::Tanh | Kernel::Sigmoid | Kernel::Softplus | Kernel::LogSigmoid | Kernel::LogAddExp => (3.0, 3.0),
        _ => (2.0, 1.0),
    }
}

/// The arguments and the value of one line of the table.
struct Case {
    kernel: Kernel,
    args: Vec<f64>,
    value: f64,
}

fn cases() -> Vec<Case> {
    include_str!("data/reference.tsv")
        .lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let kernel = fields.next().and_then(Kernel::from_name).expect("a kernel's name");
            let mut args: Vec<f64> = fields.map(|f| f.parse().expect("a number")).collect();
            let value = args.pop().expect("a value");
            Case { kernel, args, value }
        })
        .collect()
}

/// Values of a kernel at many points, in one call.
fn eval<T: Float>(kernel: Kernel, points: &[Vec<T>]) -> Vec<T> {
    let column = |i: usize| points.iter().map(|p| p[i]).collect::<Vec<T>>();
    let mut out = vec![T::lit(0.0); points.len()];
    match kernel.family() {
        Family::Unary => kernels::unary(kernel, &mut out, &column(0)),
        Family::Binary => kernels::binary(kernel, &mut out, &column(0), &column(1)),
        _ => kernels::ternary(kernel, &mut out, &column(0), &column(1), &column(2)),
    }
    .expect("lengths fit");
    out
}

fn ulps(got: f64, want: f64, mantissa: i32, least: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    let exponent = want.abs().max(least).log2().floor() as i32;
    (got - want).abs() / 2f64.powi(exponent - mantissa)
}

#[test]
fn report() {
    let all = cases();
    for &kernel in Kernel::ALL {
        let here: Vec<&Case> = all.iter().filter(|c| c.kernel == kernel).collect();
        if here.is_empty() {
            continue;
        }
        let points: Vec<Vec<f64>> = here.iter().map(|c| c.args.clone()).collect();
        let got = eval::<f64>(kernel, &points);
        let mut worst = (0.0, 0);
        for (i, (c, g)) in here.iter().zip(&got).enumerate() {
            let e = ulps(*g, c.value, 52, f64::MIN_POSITIVE);
            if !(e <= worst.0) {
                worst = (e, i);
            }
        }
        let single: Vec<Vec<f32>> = points.iter().map(|p| p.iter().map(|&x| x as f32).collect()).collect();
        let wide: Vec<Vec<f64>> = single.iter().map(|p| p.iter().map(|&x| f64::from(x)).collect()).collect();
        let (s, w) = (eval::<f32>(kernel, &single), eval::<f64>(kernel, &wide));
        let mut worst32 = (0.0, 0);
        for i in 0..s.len() {
            let want = w[i];
            let e = if f64::from(want as f32) == f64::from(s[i]) { 0.0 } else { ulps(f64::from(s[i]), want, 23, f64::from(f32::MIN_POSITIVE)) };
            if !(e <= worst32.0) {
                worst32 = (e, i);
            }
        }
        println!("{:<16} {:>10.2} {:?} {:e} {:e} | {:>8.2} {:?} {:e} {:e}", kernel.name(), worst.0, points[worst.1], got[worst.1], here[worst.1].value, worst32.0, single[worst32.1], s[worst32.1], w[worst32.1]);
        let _ = bound(kernel);
    }
}
