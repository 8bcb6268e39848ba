//! What a program declares about its data.

use std::fmt;

use ppl_diag::Span;

/// The element type of declared data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    /// Finite floating-point numbers.
    Real,
    /// Whole numbers.
    Int,
    /// `true` and `false`; 1 and 0 in files.
    Bool,
}

/// The set of values a declaration admits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Constraint {
    /// Every value of the element type.
    Any,
    /// Greater than 0.
    Positive,
    /// 0 or greater.
    NonNegative,
    /// From 0 to 1, both included.
    Unit,
    /// From `lo` to `hi`, both included; either may be infinite.
    Interval {
        /// Smallest value.
        lo: f64,
        /// Largest value.
        hi: f64,
    },
    /// Along the last axis: not negative, and adding up to 1 (within 1e-6).
    Simplex,
    /// Along the last axis: strictly increasing.
    Ordered,
}

impl Constraint {
    /// Whether one value is admitted, as far as one value can tell.
    pub fn admits(self, x: f64) -> bool {
        match self {
            Constraint::Any | Constraint::Ordered => true,
            Constraint::Positive => x > 0.0,
            Constraint::NonNegative | Constraint::Simplex => x >= 0.0,
            Constraint::Unit => (0.0..=1.0).contains(&x),
            Constraint::Interval { lo, hi } => lo <= x && x <= hi,
        }
    }

    /// Whether a row (the last axis) is admitted, beyond its single values.
    pub fn admits_row(self, row: &[f64]) -> bool {
        match self {
            Constraint::Simplex => (row.iter().sum::<f64>() - 1.0).abs() <= 1e-6,
            Constraint::Ordered => row.windows(2).all(|w| w[0] < w[1]),
            Constraint::Any | Constraint::Positive | Constraint::NonNegative | Constraint::Unit | Constraint::Interval { .. } => {
                true
            }
        }
    }

    /// Whether the constraint speaks of whole rows.
    pub fn is_on_rows(self) -> bool {
        matches!(self, Constraint::Simplex | Constraint::Ordered)
    }
}

impl fmt::Display for Constraint {
    /// Completes the sentence "must ...".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Constraint::Any => f.write_str("be any value"),
            Constraint::Positive => f.write_str("be greater than 0"),
            Constraint::NonNegative => f.write_str("not be negative"),
            Constraint::Unit => f.write_str("lie between 0 and 1"),
            Constraint::Interval { lo, hi } if *hi == f64::INFINITY => write!(f, "be at least {lo}"),
            Constraint::Interval { lo, hi } if *lo == f64::NEG_INFINITY => write!(f, "be at most {hi}"),
            Constraint::Interval { lo, hi } => write!(f, "lie between {lo} and {hi}"),
            Constraint::Simplex => f.write_str("not be negative and add up to 1 along the last axis"),
            Constraint::Ordered => f.write_str("increase along the last axis"),
        }
    }
}

/// One axis of declared data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimDecl {
    /// A fixed length.
    Const(u64),
    /// A size that has one value in the whole program.
    Named(String),
    /// An expression in sizes (`N - 1`), as written. Its length is taken from the data and listed in
    /// [`Bound::deferred`](super::Bound::deferred), so that the compiler can compare when it has evaluated it.
    Expr(String),
}

impl fmt::Display for DimDecl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DimDecl::Const(n) => write!(f, "{n}"),
            DimDecl::Named(s) | DimDecl::Expr(s) => f.write_str(s),
        }
    }
}

/// One `data` declaration.
///
/// A scalar `int` that other declarations use as a size may be left out of the data: it is read off the shapes.
#[derive(Clone, Debug)]
pub struct DataDecl {
    /// The declared name.
    pub name: String,
    /// The element type.
    pub elem: Elem,
    /// Whether entries may be missing (`real?[N]`).
    pub missing_allowed: bool,
    /// The declared support.
    pub support: Constraint,
    /// One entry an axis; empty for a scalar.
    pub dims: Vec<DimDecl>,
    /// `from columns(...)`: the columns that make the last axis. A name may hold one `*`, which stands for all columns that
    /// match, in the order of the file.
    pub columns: Option<Vec<String>>,
    /// `from "file"`: where to look if no source given by the user has it; relative to the model file.
    pub from: Option<String>,
    /// The declaration in the source.
    pub span: Span,
    /// Whether the program runs without it.
    pub optional: bool,
}

impl DataDecl {
    /// A required declaration without constraint, columns or file.
    pub fn new(name: impl Into<String>, elem: Elem, dims: Vec<DimDecl>) -> Self {
        Self {
            name: name.into(),
            elem,
            missing_allowed: false,
            support: Constraint::Any,
            dims,
            columns: None,
            from: None,
            span: Span::NONE,
            optional: false,
        }
    }
}

impl fmt::Display for DataDecl {
    /// As in the language: `sigma: positive[J]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match (self.elem, self.support) {
            (Elem::Real, Constraint::Positive) => f.write_str("positive")?,
            (Elem::Real, Constraint::Unit) => f.write_str("unit")?,
            (Elem::Real, Constraint::Simplex) => f.write_str("simplex")?,
            (Elem::Real, Constraint::Ordered) => f.write_str("ordered")?,
            (Elem::Real, _) => f.write_str("real")?,
            (Elem::Int, _) => f.write_str("int")?,
            (Elem::Bool, _) => f.write_str("bool")?,
        }
        if self.missing_allowed {
            f.write_str("?")?;
        }
        if !self.dims.is_empty() {
            let dims: Vec<String> = self.dims.iter().map(ToString::to_string).collect();
            write!(f, "[{}]", dims.join(", "))?;
        }
        Ok(())
    }
}
