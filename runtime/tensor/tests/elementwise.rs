//! Elementwise kernels: special values, strides, in-place calls, and the same bits on every instruction set.

use ppl_abi::{Family, Kernel};
use ppl_tensor::{Float, Isa, address_for, kernels};
use std::f64::consts::PI;

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// Equal, both NaN, or (for finite values) within an ulp or two of the type.
fn same(got: f64, want: f64, eps: f64) -> bool {
    (got.is_nan() && want.is_nan())
        || (got == want && (got != 0.0 || got.is_sign_negative() == want.is_sign_negative()))
        || (want.is_finite() && want != 0.0 && (got - want).abs() <= 2.0 * eps * want.abs())
}

fn unary<T: Float>(kernel: Kernel, cases: &[(f64, f64)], eps: f64) {
    let x: Vec<T> = cases.iter().map(|c| T::lit(c.0)).collect();
    let mut y = vec![T::lit(7.0); x.len()];
    kernels::unary(kernel, &mut y, &x).expect("lengths fit");
    for (&(x, want), got) in cases.iter().zip(&y) {
        assert!(same(got.wide(), want, eps), "{}({x:e}) = {:e}, not {want:e}", kernel.name(), got.wide());
    }
}

fn both(kernel: Kernel, cases: &[(f64, f64)]) {
    unary::<f64>(kernel, cases, f64::EPSILON);
    unary::<f32>(kernel, cases, f64::from(f32::EPSILON));
}

#[test]
fn special_values() {
    both(Kernel::Exp, &[(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (NAN, NAN), (1e5, INF), (-1e5, 0.0)]);
    both(
        Kernel::Expm1,
        &[(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (NAN, NAN), (1e5, INF), (-1e5, -1.0), (1e-30, 1e-30)],
    );
    both(Kernel::Log, &[(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN), (NAN, NAN)]);
    both(Kernel::Log2, &[(1.0, 0.0), (8.0, 3.0), (0.125, -3.0), (0.0, -INF), (INF, INF), (-1.0, NAN), (NAN, NAN)]);
    both(Kernel::Log1p, &[(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (NAN, NAN), (1e-30, 1e-30)]);
    both(Kernel::Sin, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]);
    both(Kernel::Cos, &[(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (NAN, NAN)]);
    both(Kernel::Tan, &[(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (NAN, NAN)]);
    both(Kernel::Tanh, &[(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN), (1e4, 1.0)]);
    both(Kernel::Sigmoid, &[(0.0, 0.5), (INF, 1.0), (-INF, 0.0), (NAN, NAN), (1e4, 1.0), (-1e4, 0.0)]);
    both(Kernel::Softplus, &[(0.0, 2f64.ln()), (INF, INF), (-INF, 0.0), (NAN, NAN), (1e4, 1e4)]);
    both(Kernel::LogSigmoid, &[(0.0, -(2f64.ln())), (-INF, -INF), (NAN, NAN), (-1e4, -1e4)]);
    both(Kernel::Erf, &[(0.0, 0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN)]);
    both(Kernel::ErfInv, &[(0.0, 0.0), (1.0, INF), (-1.0, -INF), (1.5, NAN), (NAN, NAN)]);
    both(Kernel::NormalQuantile, &[(0.5, 0.0), (0.0, -INF), (1.0, INF), (-0.5, NAN), (1.5, NAN), (NAN, NAN)]);
    both(Kernel::NormalCdf, &[(0.0, 0.5), (-INF, 0.0), (INF, 1.0), (NAN, NAN)]);
    both(Kernel::LogNormalCdf, &[(0.0, -(2f64.ln())), (-INF, -INF), (INF, -0.0), (NAN, NAN)]);
    both(
        Kernel::Lgamma,
        &[
            (1.0, 0.0),
            (2.0, 0.0),
            (0.0, INF),
            (-0.0, INF),
            (-3.0, INF),
            (INF, INF),
            (-INF, INF),
            (NAN, NAN),
            (-0.5, 1.265_512_123_484_645_4),
        ],
    );
    both(Kernel::Digamma, &[(0.0, -INF), (-0.0, INF), (-2.0, NAN), (INF, INF), (NAN, NAN), (-INF, NAN)]);
    both(Kernel::Trigamma, &[(0.0, INF), (-2.0, INF), (INF, 0.0), (NAN, NAN), (1.0, PI * PI / 6.0)]);
    both(Kernel::Round, &[(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (INF, INF), (NAN, NAN)]);
    both(Kernel::Floor, &[(-0.5, -1.0), (2.0, 2.0), (-INF, -INF), (NAN, NAN)]);
    both(Kernel::Ceil, &[(-0.5, -0.0), (2.5, 3.0), (INF, INF)]);
    both(Kernel::Trunc, &[(-1.5, -1.0), (1.5, 1.0), (INF, INF)]);
    both(Kernel::Sqrt, &[(4.0, 2.0), (0.0, 0.0), (-1.0, NAN), (INF, INF), (NAN, NAN)]);
}

#[test]
fn subnormal_numbers() {
    unary::<f64>(Kernel::Exp, &[(-745.0, 5e-324), (-720.0, 2.032_23e-313)], 1e-3);
    unary::<f64>(Kernel::Log, &[(5e-324, -744.440_071_921_381_2), (1e-310, -713.801_378_828_154_2)], f64::EPSILON);
    unary::<f64>(Kernel::Log1p, &[(5e-324, 5e-324)], 0.0);
    unary::<f64>(Kernel::Sin, &[(5e-324, 5e-324)], 0.0);
    unary::<f64>(Kernel::Expm1, &[(5e-324, 5e-324)], 0.0);
    unary::<f64>(Kernel::Tanh, &[(1e-300, 1e-300)], f64::EPSILON);
    unary::<f64>(Kernel::Sigmoid, &[(-740.0, 4.2e-322)], 0.01);
    unary::<f32>(Kernel::Log, &[(f64::from(f32::from_bits(1)), -103.278_929_903_431_85)], f64::from(f32::EPSILON));
}

fn binary(kernel: Kernel, cases: &[(f64, f64, f64)]) {
    let a: Vec<f64> = cases.iter().map(|c| c.0).collect();
    let b: Vec<f64> = cases.iter().map(|c| c.1).collect();
    let mut y = vec![7.0; a.len()];
    kernels::binary(kernel, &mut y, &a, &b).expect("lengths fit");
    for (&(a, b, want), &got) in cases.iter().zip(&y) {
        assert!(same(got, want, f64::EPSILON), "{}({a:e}, {b:e}) = {got:e}, not {want:e}", kernel.name());
    }
}

#[test]
fn special_values_of_two_arguments() {
    binary(
        Kernel::LogAddExp,
        &[
            (-INF, -INF, -INF),
            (INF, INF, INF),
            (-INF, 3.0, 3.0),
            (3.0, -INF, 3.0),
            (INF, -INF, INF),
            (NAN, 0.0, NAN),
            (0.0, NAN, NAN),
        ],
    );
    binary(
        Kernel::Xlogy,
        &[(0.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, INF, 0.0), (0.0, NAN, NAN), (1.0, 0.0, -INF), (NAN, 1.0, NAN)],
    );
    binary(Kernel::Xlog1py, &[(0.0, -1.0, 0.0), (0.0, NAN, NAN), (2.0, -1.0, -INF)]);
    binary(
        Kernel::Rem,
        &[
            (5.0, 3.0, 2.0),
            (-5.0, 3.0, 1.0),
            (5.0, -3.0, -1.0),
            (-6.0, 3.0, -0.0),
            (1.0, 0.0, NAN),
            (INF, 1.0, NAN),
            (1.0, INF, 1.0),
        ],
    );
    binary(Kernel::Pow, &[(0.0, 0.0, 1.0), (2.0, -1.0, 0.5), (-2.0, 3.0, -8.0), (-2.0, 0.5, NAN), (0.0, -1.0, INF)]);
    binary(
        Kernel::GammaP,
        &[
            (2.0, 0.0, 0.0),
            (2.0, INF, 1.0),
            (-1.0, 1.0, NAN),
            (1.0, -1.0, NAN),
            (0.0, 1.0, 1.0),
            (NAN, 1.0, NAN),
            (1.0, NAN, NAN),
            (INF, 1.0, NAN),
        ],
    );
    binary(Kernel::GammaQ, &[(2.0, 0.0, 1.0), (2.0, INF, 0.0), (-1.0, 1.0, NAN)]);
    binary(Kernel::Lbeta, &[(1.0, 1.0, 0.0), (0.0, 1.0, INF), (-1.0, 1.0, NAN), (NAN, 1.0, NAN), (1.0, 4.0, -(4f64.ln()))]);
    binary(Kernel::GammaDrawGrad, &[(2.0, 0.0, 0.0), (-1.0, 1.0, NAN), (1.0, NAN, NAN)]);
    binary(
        Kernel::VonMisesCdf,
        &[(0.0, 0.0, 0.5), (0.0, 3.0, 0.5), (1.0, -1.0, NAN), (NAN, 1.0, NAN), (1.0, INF, NAN), (INF, 1.0, NAN)],
    );
    binary(
        Kernel::VonMisesQuantile,
        &[(0.5, 3.0, 0.0), (-0.5, 1.0, NAN), (1.5, 1.0, NAN), (NAN, 1.0, NAN), (0.5, -1.0, NAN), (0.5, INF, NAN)],
    );
    binary(Kernel::VonMisesDrawGrad, &[(1.0, -1.0, NAN), (NAN, 1.0, NAN), (1.0, INF, NAN)]);
}

#[test]
fn huge_shapes_meet_the_series() {
    // The expansions above a limit agree with the series below it, at the same quantile.
    for z in [-2.0, -0.3, 0.0, 0.4, 3.0] {
        let at = |a: f64| a + z * a.sqrt();
        let (low, high) = (9.99e6, 1.001e7);
        let mut p = [0.0f64; 2];
        kernels::binary(Kernel::GammaP, &mut p, &[low, high], &[at(low), at(high)]).expect("lengths fit");
        assert!((p[0] - p[1]).abs() < 1e-6 && (p[0] - p[1]).abs() > 0.0, "{p:?}");
        let mut g = [0.0f64; 2];
        kernels::binary(Kernel::GammaDrawGrad, &mut g, &[9.999e4, 1.0001e5], &[at(9.999e4), at(1.0001e5)]).expect("lengths fit");
        assert!((g[0] - g[1]).abs() < 2e-6, "{g:?}");
    }
}

fn arguments<T: Float>() -> Vec<T> {
    let mut x = vec![0.0; 600];
    kernels::draw(Kernel::Normal, &mut x, ppl_abi::Key { seed: 1, site: 1, step: 0, time: 0 }).expect("a draw");
    for (i, v) in x.iter_mut().enumerate() {
        *v *= 10f64.powi(i as i32 % 9 - 4);
    }
    x.extend([0.0, -0.0, INF, -INF, NAN, 1.0, -1.0, 5e-324, 1e300, -1e300, 0.5, 2.0, 1e6]);
    x.into_iter().map(T::lit).collect()
}

fn bits<T: Float>(x: &[T]) -> Vec<u64> {
    // One NaN is as good as another.
    x.iter().map(|x| if x.wide().is_nan() { u64::MAX } else { x.wide().to_bits() }).collect()
}

fn same_bits_everywhere<T: Float>() {
    let x = arguments::<T>();
    let n = x.len();
    for &kernel in Kernel::ALL {
        let entry = |isa| address_for(isa, kernel, T::PRECISION);
        let run = |isa, len: usize| {
            let mut y = x.clone();
            let (p, q) = (y.as_mut_ptr(), y.as_ptr());
            // SAFETY: the documented signatures; in place, so both buffers hold `len` elements.
            unsafe {
                match kernel.family() {
                    Family::Unary => {
                        let f: unsafe extern "C" fn(*mut T, *const T, usize) = std::mem::transmute(entry(isa));
                        f(p, q, len);
                    }
                    Family::Binary => {
                        let f: unsafe extern "C" fn(*mut T, *const T, usize, *const T, usize, usize) =
                            std::mem::transmute(entry(isa));
                        f(p, q, 1, x.as_ptr().add(n - len), 1, len);
                    }
                    _ => {
                        let f: unsafe extern "C" fn(*mut T, *const T, usize, *const T, usize, *const T, usize, usize) =
                            std::mem::transmute(entry(isa));
                        f(p, q, 1, x.as_ptr().add(n - len), 1, x.as_ptr().add(100), 0, len);
                    }
                }
            }
            // Nothing beyond the length is touched.
            assert_eq!(bits(&y[len..]), bits(&x[len..]), "{}", kernel.name());
            y.truncate(len);
            y
        };
        if !matches!(kernel.family(), Family::Unary | Family::Binary | Family::Ternary) {
            continue;
        }
        for len in [0, 1, 15, 16, 17, 63, 64, 65, 130, n - 1, n] {
            let want = run(Isa::Portable, len);
            for &isa in Isa::available() {
                assert_eq!(bits(&run(isa, len)), bits(&want), "{} {isa:?} {len}", kernel.name());
            }
        }
        if kernel.family() == Family::Unary {
            // A prefix is the prefix of the whole, and out of place is in place.
            let mut y = vec![T::lit(0.0); n];
            kernels::unary(kernel, &mut y, &x).expect("lengths fit");
            assert_eq!(bits(&y), bits(&run(Isa::Portable, n)));
            assert_eq!(bits(&y[..77]), bits(&run(Isa::Portable, 77)));
        }
    }
}

#[test]
fn a_function_with_its_derivative_has_the_bits_of_both() {
    fn check<T: Float>() {
        let x: Vec<T> = (0..1003).map(|i| T::lit((i as f64 - 500.0) * if i % 7 == 0 { 3.0 } else { 0.02 })).collect();
        let negated: Vec<T> = x.iter().map(|x| -*x).collect();
        for (both, f, slope, at) in [
            (Kernel::SoftplusPair, Kernel::Softplus, Kernel::Sigmoid, &x),
            (Kernel::LogSigmoidPair, Kernel::LogSigmoid, Kernel::Sigmoid, &negated),
        ] {
            let mut found = [vec![T::lit(0.0); x.len()], vec![T::lit(0.0); x.len()]];
            let mut wanted = found.clone();
            let [y, z] = &mut found;
            kernels::pair(both, y, z, &x).expect("lengths fit");
            kernels::unary(f, &mut wanted[0], &x).expect("lengths fit");
            kernels::unary(slope, &mut wanted[1], at).expect("lengths fit");
            for (a, b) in found.iter().zip(&wanted) {
                assert_eq!(bits(a), bits(b), "{}", both.name());
            }
        }
        assert!(kernels::pair(Kernel::SoftplusPair, &mut [T::lit(0.0)], &mut [], &x[..1]).is_err());
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn same_bits_on_every_instruction_set_and_in_place() {
    same_bits_everywhere::<f32>();
    same_bits_everywhere::<f64>();
}

#[test]
fn one_value_serves_all() {
    let x = arguments::<f64>();
    let two = vec![2.0; x.len()];
    let (mut full, mut one) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for kernel in [Kernel::LogAddExp, Kernel::Xlogy, Kernel::Rem] {
        kernels::binary(kernel, &mut full, &x, &two).expect("lengths fit");
        kernels::binary(kernel, &mut one, &x, &[2.0]).expect("lengths fit");
        assert_eq!(bits(&full), bits(&one));
        kernels::binary(kernel, &mut full, &two, &x).expect("lengths fit");
        kernels::binary(kernel, &mut one, &[2.0], &x).expect("lengths fit");
        assert_eq!(bits(&full), bits(&one));
    }
}
