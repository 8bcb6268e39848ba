//! Primitives, element by element.
//!
//! Those that compiled code computes inline are spelled out here; the others call the kernel that compiled code calls.

use crate::error::{Res, malformed};
use crate::value::{Slice, make, to_bools, to_ints, to_reals, with};
use candle_core::Tensor;
use ppl_abi::{Family, Kernel, Precision};
use ppl_core::{DType, Lower, Prim};
use ppl_tensor::{Float, kernels};

/// The primitive's value; operands have the result's shape or are scalars.
pub(crate) fn prim(p: Prim, args: &[Tensor], precision: Precision) -> Res<Tensor> {
    let widest = args.iter().max_by_key(|t| t.rank());
    let Some(shape) = widest.map(|t| t.dims().to_vec()) else { return malformed("a primitive without operands") };
    if args.iter().any(|t| t.rank() > 0 && t.dims() != shape) {
        return malformed(format!("`{}` of arrays of different shapes", p.name()));
    }
    match (p, args) {
        (Prim::Select, [c, a, b]) => return select(c, a, b, &shape),
        (Prim::Guard, [_, x]) => return crate::array::pick(x, &shape, |i| Some(place(x, i, &shape))),
        (Prim::ToReal, [x]) if x.dtype() != crate::value::candle_dtype(DType::Float, precision) => {
            return crate::value::reals(&shape, to_reals(x)?, precision);
        }
        _ => {}
    }
    match args[0].dtype() {
        candle_core::DType::F64 => real::<f64>(p, args, &shape),
        candle_core::DType::F32 => real::<f32>(p, args, &shape),
        candle_core::DType::I64 => int(p, args, &shape),
        _ => logic(p, args, &shape),
    }
}

/// Position in `x`, which has the result's shape or is a scalar.
fn place(x: &Tensor, i: &[usize], shape: &[usize]) -> usize {
    if x.rank() == 0 { 0 } else { crate::index::linear(i.iter().copied(), shape) }
}

fn select(c: &Tensor, a: &Tensor, b: &Tensor, shape: &[usize]) -> Res<Tensor> {
    let c = to_bools(c)?;
    // Both sides one after the other, so that one formula picks from either.
    let wide = |t: &Tensor| crate::array::pick(t, shape, |i| Some(place(t, i, shape)));
    let both = crate::array::stack(&[wide(a)?, wide(b)?])?;
    let n: usize = shape.iter().product();
    crate::array::pick(&both, shape, |i| {
        let at = crate::index::linear(i.iter().copied(), shape);
        let taken = if c.len() == 1 { c[0] } else { c[at] };
        Some(if taken { at } else { n + at })
    })
}

/// Operand elements with a scalar repeated: element `i` of `n`.
fn element<T: Copy>(x: &[T], i: usize) -> T {
    if x.len() == 1 { x[0] } else { x[i] }
}

/// A float type as this file needs it.
trait Real: Float {
    fn get(s: Slice<'_>) -> Option<Vec<Self>>;
    fn eval1(p: Prim, x: Self) -> Option<Self>;
    fn eval2(p: Prim, a: Self, b: Self) -> Option<Self>;
    fn eval3(p: Prim, a: Self, b: Self, c: Self) -> Option<Self>;
    fn finite(self) -> bool;
    fn nan(self) -> bool;
    fn int(self) -> i64;
}

macro_rules! real {
    ($t:ty, $variant:ident) => {
        impl Real for $t {
            fn get(s: Slice<'_>) -> Option<Vec<Self>> {
                if let Slice::$variant(v) = s { Some(v.to_vec()) } else { None }
            }

            fn eval1(p: Prim, x: $t) -> Option<$t> {
                Some(match p {
                    Prim::Neg => -x,
                    Prim::Abs => x.abs(),
                    Prim::Sign if x > 0.0 => 1.0,
                    Prim::Sign if x < 0.0 => -1.0,
                    Prim::Sign if x == 0.0 => 0.0,
                    Prim::Sign => x,
                    Prim::Square => x * x,
                    Prim::Sqrt => x.sqrt(),
                    Prim::Recip => 1.0 / x,
                    Prim::Floor => x.floor(),
                    Prim::Ceil => x.ceil(),
                    Prim::Round => x.round_ties_even(),
                    Prim::Trunc => x.trunc(),
                    Prim::Relu if x > 0.0 || x.is_nan() => x,
                    Prim::Relu => 0.0,
                    Prim::ToReal => x,
                    _ => return None,
                })
            }

            fn eval2(p: Prim, a: $t, b: $t) -> Option<$t> {
                Some(match p {
                    Prim::Add => a + b,
                    Prim::Sub => a - b,
                    Prim::Mul => a * b,
                    Prim::Div => a / b,
                    Prim::Min | Prim::Max if a.is_nan() || b.is_nan() => <$t>::NAN,
                    Prim::Min => if b < a { b } else { a },
                    Prim::Max => if b > a { b } else { a },
                    _ => return None,
                })
            }

            fn eval3(p: Prim, a: $t, b: $t, c: $t) -> Option<$t> {
                match p {
                    Prim::Fma => Some(a.mul_add(b, c)),
                    Prim::Clip => Self::eval2(Prim::Min, Self::eval2(Prim::Max, a, b)?, c),
                    _ => None,
                }
            }

            fn finite(self) -> bool {
                self.is_finite()
            }

            fn nan(self) -> bool {
                self.is_nan()
            }

            fn int(self) -> i64 {
                self as i64
            }
        }
    };
}

real!(f32, F32);
real!(f64, F64);

fn real<T: Real>(p: Prim, args: &[Tensor], shape: &[usize]) -> Res<Tensor> {
    let mut xs: Vec<Vec<T>> = Vec::with_capacity(args.len());
    for a in args {
        xs.push(with(a, |s| T::get(s).map_or_else(|| malformed("operands of different element types"), Ok))?);
    }
    let n: usize = shape.iter().product();
    if let Lower::Kernel(k) = p.def().lower {
        return kernel(k, &xs, n, shape);
    }
    let values: Option<Vec<T>> = match &xs[..] {
        [x] => match p {
            Prim::IsFinite => return make(shape, x.iter().map(|x| u8::from(x.finite())).collect()),
            Prim::IsNan => return make(shape, x.iter().map(|x| u8::from(x.nan())).collect()),
            Prim::ToInt => return make(shape, x.iter().map(|x| x.int()).collect()),
            _ => x.iter().map(|x| T::eval1(p, *x)).collect(),
        },
        [a, b] => {
            if let Some(test) = comparison::<T>(p) {
                return make(shape, (0..n).map(|i| u8::from(test(&element(a, i), &element(b, i)))).collect());
            }
            (0..n).map(|i| T::eval2(p, element(a, i), element(b, i))).collect()
        }
        [a, b, c] => (0..n).map(|i| T::eval3(p, element(a, i), element(b, i), element(c, i))).collect(),
        _ => None,
    };
    match values {
        Some(v) => make(shape, v),
        None => malformed(format!("`{}` of {} reals", p.name(), args.len())),
    }
}

fn kernel<T: Real>(k: Kernel, xs: &[Vec<T>], n: usize, shape: &[usize]) -> Res<Tensor> {
    let mut out = vec![T::zero(); n];
    match (k.family(), xs) {
        _ if n == 0 => {}
        (Family::Unary, [x]) => kernels::unary(k, &mut out, x)?,
        (Family::Binary, [a, b]) => kernels::binary(k, &mut out, a, b)?,
        (Family::Ternary, [a, b, x]) => kernels::ternary(k, &mut out, a, b, x)?,
        _ => return malformed(format!("kernel `{}` of {} operands", k.name(), xs.len())),
    }
    make(shape, out)
}

type Test<T> = fn(&T, &T) -> bool;

fn comparison<T: PartialOrd>(p: Prim) -> Option<Test<T>> {
    Some(match p {
        Prim::Lt => T::lt,
        Prim::Le => T::le,
        Prim::Gt => T::gt,
        Prim::Ge => T::ge,
        Prim::Eq => T::eq,
        Prim::Ne => T::ne,
        _ => return None,
    })
}

fn int(p: Prim, args: &[Tensor], shape: &[usize]) -> Res<Tensor> {
    let xs = args.iter().map(to_ints).collect::<Res<Vec<_>>>()?;
    let n: usize = shape.iter().product();
    let values: Option<Vec<i64>> = match &xs[..] {
        [x] => x.iter().map(|x| int1(p, *x)).collect(),
        [a, b] => {
            if let Some(test) = comparison::<i64>(p) {
                return make(shape, (0..n).map(|i| u8::from(test(&element(a, i), &element(b, i)))).collect());
            }
            (0..n).map(|i| int2(p, element(a, i), element(b, i))).collect()
        }
        [x, lo, hi] if p == Prim::Clip => Some((0..n).map(|i| element(x, i).max(element(lo, i)).min(element(hi, i))).collect()),
        _ => None,
    };
    match values {
        Some(v) => make(shape, v),
        None => malformed(format!("`{}` of {} integers", p.name(), args.len())),
    }
}

fn int1(p: Prim, x: i64) -> Option<i64> {
    Some(match p {
        Prim::Neg => x.wrapping_neg(),
        Prim::Abs => x.wrapping_abs(),
        Prim::Sign => x.signum(),
        Prim::Square => x.wrapping_mul(x),
        Prim::ToInt => x,
        _ => return None,
    })
}

fn int2(p: Prim, a: i64, b: i64) -> Option<i64> {
    Some(match p {
        Prim::Add => a.wrapping_add(b),
        Prim::Sub => a.wrapping_sub(b),
        Prim::Mul => a.wrapping_mul(b),
        Prim::Min => a.min(b),
        Prim::Max => a.max(b),
        Prim::IntDiv | Prim::Rem if b == 0 => 0,
        // Rounded down: the truncated quotient is one too large where the signs differ and something is left.
        Prim::IntDiv => {
            let (q, r) = (a.wrapping_div(b), a.wrapping_rem(b));
            if r != 0 && (r < 0) != (b < 0) { q - 1 } else { q }
        }
        Prim::Rem => {
            let r = a.wrapping_rem(b);
            if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
        }
        _ => return None,
    })
}

fn logic(p: Prim, args: &[Tensor], shape: &[usize]) -> Res<Tensor> {
    let xs = args.iter().map(to_bools).collect::<Res<Vec<_>>>()?;
    let n: usize = shape.iter().product();
    let values: Option<Vec<bool>> = match &xs[..] {
        [x] => match p {
            Prim::Not => Some(x.iter().map(|x| !x).collect()),
            Prim::ToInt => return make(shape, x.iter().map(|x| i64::from(*x)).collect()),
            _ => None,
        },
        [a, b] => (0..n)
            .map(|i| {
                let (a, b) = (element(a, i), element(b, i));
                Some(match p {
                    Prim::And => a && b,
                    Prim::Or => a || b,
                    Prim::Eq => a == b,
                    Prim::Ne => a != b,
                    _ => return None,
                })
            })
            .collect(),
        _ => None,
    };
    match values {
        Some(v) => make(shape, v.into_iter().map(u8::from).collect()),
        None => malformed(format!("`{}` of {} truth values", p.name(), args.len())),
    }
}
