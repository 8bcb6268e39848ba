//! Where values are: registers, or strided views of memory.

use cranelift::prelude::Value;
use ppl_abi::Precision;
use ppl_core::DType;

/// Where a view's memory starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    /// The run's workspace.
    Workspace,
    /// A parameter's buffer.
    Input(usize),
    /// A result's buffer.
    Output(usize),
    /// A pointer computed at run time, by its number.
    Dynamic(usize),
    /// Memory owned by the compiled code.
    Constant(u64),
}

/// A strided view. Its shape is that of the variable it stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    /// Start.
    pub base: Base,
    /// Bytes from there to the first element.
    pub offset: i64,
    /// Elements from one index to the next, for each axis; 0 where an axis repeats.
    pub strides: Vec<i64>,
    /// Workspace buffers that must stay allocated while the view is in use.
    pub owners: Vec<usize>,
}

/// Where a variable's value is.
#[derive(Clone, Debug)]
pub(crate) enum Loc {
    /// A scalar in a register.
    Scalar(Value),
    /// An array whose elements all are this scalar.
    Splat(Value),
    /// An array in memory.
    View(View),
    /// A scalar (or splat) kept in the workspace between two native functions.
    Saved {
        /// Byte offset in the workspace.
        offset: i64,
        /// Whether it stands for an array.
        splat: bool,
    },
    /// A scalar parameter that this native function has not read yet.
    Given(usize),
}

/// Strides of a dense row-major array.
pub(crate) fn dense_strides(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * shape[i + 1].max(1) as i64;
    }
    strides
}

/// Bytes of one element.
pub(crate) fn elem_size(dtype: DType, precision: Precision) -> usize {
    match dtype {
        DType::Float => precision.bytes(),
        DType::Int => 8,
        DType::Bool => 1,
    }
}

impl View {
    /// A dense array.
    pub(crate) fn dense(base: Base, offset: i64, shape: &[usize], owners: Vec<usize>) -> View {
        View { base, offset, strides: dense_strides(shape), owners }
    }

    /// Whether the elements lie densely in row-major order.
    pub(crate) fn is_dense(&self, shape: &[usize]) -> bool {
        if shape.contains(&0) {
            return true;
        }
        let dense = dense_strides(shape);
        shape.iter().enumerate().all(|(i, n)| *n == 1 || self.strides[i] == dense[i])
    }

    /// Whether every element is the same one in memory.
    pub(crate) fn is_constant(&self, shape: &[usize]) -> bool {
        shape.iter().zip(&self.strides).all(|(n, s)| *n <= 1 || *s == 0)
    }
}

/// Merges consecutive axes into one of a single stride, if their strides permit: `(size, stride)`.
pub(crate) fn collapse(axes: &[(usize, i64)]) -> Option<(usize, i64)> {
    let size: usize = axes.iter().map(|(n, _)| *n).product();
    let mut rest = axes.iter().rev().filter(|(n, _)| *n != 1);
    let Some((n, stride)) = rest.next() else { return Some((size, 0)) };
    let mut reach = stride * *n as i64;
    for (n, s) in rest {
        if *s != reach {
            return None;
        }
        reach = s * *n as i64;
    }
    Some((size, *stride))
}
