//! Kernels against values computed with 60 digits (`data/reference.py`).
//!
//! Double precision is compared with the table, single precision with double precision at the same arguments.

use ppl_abi::{Family, Kernel};
use ppl_tensor::{Float, kernels};

/// What the kernel's row says.
fn bound(kernel: Kernel) -> (f64, f64) {
    kernel.ulps().unwrap_or_else(|| panic!("{} states no error", kernel.name()))
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

/// Error of `got` in units of the last of `mantissa` bits of `want`, or of `floor` if that is larger.
fn ulps(got: f64, want: f64, mantissa: i32, floor: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) {
        return 0.0;
    }
    let exponent = want.abs().max(floor).log2().floor() as i32;
    // In two steps, as the unit of a subnormal number's scale is none in itself.
    (got - want).abs() * 2f64.powi(mantissa / 2 - exponent / 2) * 2f64.powi((mantissa - mantissa / 2) - (exponent - exponent / 2))
}

#[test]
fn double_precision_agrees_with_the_table() {
    let all = cases();
    let mut tested = 0;
    for &kernel in Kernel::ALL {
        let here: Vec<&Case> = all.iter().filter(|c| c.kernel == kernel).collect();
        let points: Vec<Vec<f64>> = here.iter().map(|c| c.args.clone()).collect();
        if points.is_empty() {
            continue;
        }
        tested += 1;
        let floor = if kernel == Kernel::Digamma { 1.0 } else { f64::MIN_POSITIVE };
        for (case, got) in here.iter().zip(eval::<f64>(kernel, &points)) {
            let e = ulps(got, case.value, 52, floor);
            let what = kernel.name();
            assert!(e <= bound(kernel).0, "{what}{:?} = {got:e}, not {:e}: {e} ulp", case.args, case.value);
        }
    }
    let elementwise = |k: &&Kernel| matches!(k.family(), Family::Unary | Family::Binary | Family::Ternary);
    // All but floor, ceil, round, trunc, sqrt.
    assert_eq!(tested, Kernel::ALL.iter().filter(elementwise).count() - 5);
}

#[test]
fn single_precision_agrees_with_double_precision() {
    let all = cases();
    for &kernel in Kernel::ALL {
        let points: Vec<Vec<f32>> =
            all.iter().filter(|c| c.kernel == kernel).map(|c| c.args.iter().map(|&x| x as f32).collect()).collect();
        if points.is_empty() {
            continue;
        }
        let wide: Vec<Vec<f64>> = points.iter().map(|p| p.iter().map(|&x| f64::from(x)).collect()).collect();
        for ((args, got), want) in points.iter().zip(eval::<f32>(kernel, &points)).zip(eval::<f64>(kernel, &wide)) {
            // Rounding itself, also to infinity and to subnormal numbers, is no error.
            let rounded = got == want as f32 || (got.is_nan() && want.is_nan());
            let e = if rounded { 0.0 } else { ulps(f64::from(got), want, 23, f64::from(f32::MIN_POSITIVE)) };
            assert!(e <= bound(kernel).1, "{}{args:?} = {got:e}, not {want:e}: {e} ulp", kernel.name());
        }
    }
}
