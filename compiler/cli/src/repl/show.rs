//! Values as text.

use ppl_core::{DType, Ty};
use ppl_fit::data::{Array, Elem, Values};

/// Elements of an axis that are shown; of longer ones, the first and the last.
const SHOWN: usize = 12;

/// An array as users write it: `3.5`, `[1, 2]`, rows of a matrix below each other.
pub(crate) fn value(a: &Array) -> String {
    let dtype = match a.data {
        Values::Real(_) | Values::Stored(Elem::Real, _) => DType::Float,
        Values::Int(_) | Values::Stored(Elem::Int, _) => DType::Int,
        Values::Bool(_) | Values::Stored(Elem::Bool, _) => DType::Bool,
    };
    nested(&Ty::new(dtype, a.shape.clone()), &a.to_f64(), 0)
}

fn nested(ty: &Ty, values: &[f64], depth: usize) -> String {
    let Some((n, rest)) = ty.shape.split_first() else {
        return values.first().map_or(String::new(), |x| match ty.dtype {
            DType::Float => real(*x),
            DType::Int => format!("{}", *x as i64),
            DType::Bool => (*x != 0.0).to_string(),
        });
    };
    let inner = Ty::new(ty.dtype, rest);
    let width = inner.numel();
    let one = |i: usize| nested(&inner, &values[i * width..(i + 1) * width], depth + 1);
    let parts: Vec<String> = if *n > SHOWN {
        (0..SHOWN - 2).map(one).chain(["..".to_string(), one(n - 1)]).collect()
    } else {
        (0..*n).map(one).collect()
    };
    let separator = if rest.is_empty() { ", ".to_string() } else { format!(",\n{}", " ".repeat(depth + 1)) };
    format!("[{}]", parts.join(&separator))
}

/// Ten significant digits, without trailing zeros.
pub(crate) fn real(x: f64) -> String {
    if !x.is_finite() || x == 0.0 {
        return format!("{x}");
    }
    let rounded: f64 = format!("{x:.9e}").parse().unwrap_or(x);
    if (1e-5..1e16).contains(&rounded.abs()) { format!("{rounded}") } else { format!("{rounded:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_they_are_written() {
        let a = |shape: &[usize], v: Vec<f64>| value(&Array { shape: shape.to_vec(), data: Values::Real(v), missing: vec![] });
        assert_eq!(a(&[], vec![0.1 + 0.2]), "0.3");
        assert_eq!(a(&[2, 2], vec![1.0, 2.0, 3.0, 4.5]), "[[1, 2],\n [3, 4.5]]");
        assert_eq!(a(&[100], vec![1.0; 100]).matches('1').count(), 11);
        assert_eq!((real(1e-9), real(-2e20), real(f64::NAN)), ("1e-9".into(), "-2e20".into(), "NaN".into()));
        assert_eq!(value(&Array { shape: vec![2], data: Values::Bool(vec![1, 0]), missing: vec![] }), "[true, false]");
    }
}
