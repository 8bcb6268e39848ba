//! Supports: the sets a choice's values come from.

use std::fmt;

/// The set of possible values of a choice, of one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Support {
    /// All reals, elementwise.
    Real,
    /// Reals above `lo` (if given) and below `hi` (if given), elementwise; `(0, inf)` is `positive`, `(0, 1)` is `unit`.
    Interval {
        /// Lower bound.
        lo: Option<f64>,
        /// Upper bound.
        hi: Option<f64>,
    },
    /// An interval whose bounds are computed as the program runs.
    DynamicInterval,
    /// Positive vectors that sum to 1.
    Simplex,
    /// Increasing vectors.
    Ordered,
    /// Lower Cholesky factors of correlation matrices.
    CorrCholesky,
    /// `false` and `true`.
    Boolean,
    /// Integers `lo..=hi`; without `hi`, all from `lo` on.
    Integers {
        /// Smallest value.
        lo: i64,
        /// Largest value.
        hi: Option<i64>,
    },
    /// Integers whose bounds are computed as the program runs.
    DynamicIntegers,
    /// A single value.
    Point,
}

impl Support {
    /// Positive reals.
    pub const POSITIVE: Support = Support::Interval { lo: Some(0.0), hi: None };
    /// Reals between 0 and 1.
    pub const UNIT: Support = Support::Interval { lo: Some(0.0), hi: Some(1.0) };

    /// Whether values are discrete.
    pub fn is_discrete(&self) -> bool {
        matches!(self, Support::Boolean | Support::Integers { .. } | Support::DynamicIntegers)
    }

    /// Number of values of a finite discrete support.
    pub fn size(&self) -> Option<usize> {
        match self {
            Support::Boolean => Some(2),
            Support::Integers { lo, hi: Some(hi) } => Some((hi - lo + 1).max(0) as usize),
            _ => None,
        }
    }

    /// Whether the whole support moves with parameters, which rules out the score function.
    pub fn is_dynamic(&self) -> bool {
        matches!(self, Support::DynamicInterval | Support::DynamicIntegers)
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Support::Real => f.write_str("real"),
            s if *s == Support::POSITIVE => f.write_str("positive"),
            s if *s == Support::UNIT => f.write_str("unit"),
            Support::Interval { lo, hi } => {
                let bound = |b: &Option<f64>, inf: &str| b.map_or(inf.to_string(), |v| format!("{v}"));
                write!(f, "interval({}, {})", bound(lo, "-inf"), bound(hi, "inf"))
            }
            Support::DynamicInterval => f.write_str("interval(computed bounds)"),
            Support::Simplex => f.write_str("simplex"),
            Support::Ordered => f.write_str("ordered"),
            Support::CorrCholesky => f.write_str("corr_cholesky"),
            Support::Boolean => f.write_str("boolean"),
            Support::Integers { lo: 0, hi: None } => f.write_str("natural"),
            Support::Integers { lo, hi: Some(hi) } => write!(f, "integers({lo}..={hi})"),
            Support::Integers { lo, hi: None } => write!(f, "integers({lo}..)"),
            Support::DynamicIntegers => f.write_str("integers(computed bounds)"),
            Support::Point => f.write_str("a single value"),
        }
    }
}
