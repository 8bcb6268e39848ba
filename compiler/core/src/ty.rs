//! Types of IR values: dense arrays of one element type, with static sizes.

use std::fmt;

/// Element type. The width of `Float` (f32 or f64) is chosen for each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// f32 or f64, by the precision of the run.
    Float,
    /// i64.
    Int,
    /// One byte, 0 or 1.
    Bool,
}

/// An array type; scalars have an empty shape. Arrays are dense and row-major.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ty {
    /// Element type.
    pub dtype: DType,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
}

impl Ty {
    /// A real scalar.
    pub const FLOAT: Ty = Ty { dtype: DType::Float, shape: Vec::new() };
    /// An integer scalar.
    pub const INT: Ty = Ty { dtype: DType::Int, shape: Vec::new() };
    /// A truth value.
    pub const BOOL: Ty = Ty { dtype: DType::Bool, shape: Vec::new() };

    /// An array of `dtype`.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Ty {
        Ty { dtype, shape: shape.into() }
    }

    /// A real array.
    pub fn float(shape: impl Into<Vec<usize>>) -> Ty {
        Ty::new(DType::Float, shape)
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Whether it has no axes.
    pub fn is_scalar(&self) -> bool {
        self.shape.is_empty()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// The same shape with another element type.
    #[must_use]
    pub fn with_dtype(&self, dtype: DType) -> Ty {
        Ty { dtype, shape: self.shape.clone() }
    }

    /// `outer` axes added in front.
    #[must_use]
    pub fn lifted(&self, outer: &[usize]) -> Ty {
        Ty { dtype: self.dtype, shape: outer.iter().chain(&self.shape).copied().collect() }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::Float => "float",
            DType::Int => "int",
            DType::Bool => "bool",
        })
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dtype)?;
        if !self.shape.is_empty() {
            let sizes: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
            write!(f, "[{}]", sizes.join(","))?;
        }
        Ok(())
    }
}
