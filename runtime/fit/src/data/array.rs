//! Bound values, and their conversion to tensors.

use candle_core::{DType, Device, Tensor};

use super::decl::Elem;
use super::stored::Stored;

/// The elements of an array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Of declared type `real` (or a real support); missing entries are NaN.
    Real(Vec<f64>),
    /// Of declared type `int`; missing entries are 0.
    Int(Vec<i64>),
    /// Of declared type `bool`, as 0 and 1; missing entries are 0.
    Bool(Vec<u8>),
    /// As a file has them, of the declared type: reals of 4 or 8 bytes, ints of 8 or (without sign) of 1, truth values of 1. None is missing.
    Stored(Elem, Stored),
}

/// A value bound to a declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Lengths of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many elements as the product of `shape`.
    pub data: Values,
    /// Positions (row-major, increasing) of missing entries; empty where the declaration admits none.
    pub missing: Vec<usize>,
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Values::Real(v) => v.len(),
            Values::Int(v) => v.len(),
            Values::Bool(v) => v.len(),
            Values::Stored(_, s) => s.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements as floating-point numbers (booleans as 0 and 1).
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Values::Real(v) => v.clone(),
            Values::Int(v) => v.iter().map(|&x| x as f64).collect(),
            Values::Bool(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Values::Stored(Elem::Real, s) => s.reals().collect(),
            Values::Stored(Elem::Int, s) => s.ints().map(|x| x as f64).collect(),
            Values::Stored(Elem::Bool, s) => s.elements().iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// The value of an integer scalar.
    pub fn as_int(&self) -> Option<i64> {
        match &self.data {
            Values::Int(v) if self.shape.is_empty() => v.first().copied(),
            Values::Stored(Elem::Int, s) if self.shape.is_empty() => s.ints().next(),
            Values::Int(_) | Values::Real(_) | Values::Bool(_) | Values::Stored(..) => None,
        }
    }

    /// A tensor of the array's shape: `real` in `float` (F32 or F64), `int` as I64, `bool` as U8.
    ///
    /// # Errors
    /// What candle reports, such as a device without memory.
    pub fn to_tensor(&self, float: DType, device: &Device) -> candle_core::Result<Tensor> {
        match &self.data {
            Values::Real(v) => Tensor::from_slice(v, self.shape.as_slice(), device)?.to_dtype(float),
            Values::Int(v) => Tensor::from_slice(v, self.shape.as_slice(), device),
            Values::Bool(v) => Tensor::from_slice(v, self.shape.as_slice(), device),
            Values::Stored(Elem::Real, s) => {
                Tensor::from_vec(s.reals().collect::<Vec<f64>>(), self.shape.as_slice(), device)?.to_dtype(float)
            }
            Values::Stored(Elem::Int, s) => Tensor::from_vec(s.ints().collect::<Vec<i64>>(), self.shape.as_slice(), device),
            Values::Stored(Elem::Bool, s) => Tensor::from_slice(s.elements(), self.shape.as_slice(), device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_keep_shape_and_type() {
        let real = Array { shape: vec![2, 1], data: Values::Real(vec![0.5, -1.0]), missing: vec![] };
        let t = real.to_tensor(DType::F32, &Device::Cpu).unwrap();
        assert_eq!((t.dims(), t.dtype()), (&[2, 1][..], DType::F32));
        assert_eq!(t.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.5, -1.0]);

        let scalar = Array { shape: vec![], data: Values::Int(vec![7]), missing: vec![] };
        let t = scalar.to_tensor(DType::F64, &Device::Cpu).unwrap();
        assert_eq!((t.rank(), t.dtype(), scalar.as_int()), (0, DType::I64, Some(7)));

        let empty = Array { shape: vec![0], data: Values::Bool(vec![]), missing: vec![] };
        assert_eq!(empty.to_tensor(DType::F64, &Device::Cpu).unwrap().dims(), [0]);
    }
}
