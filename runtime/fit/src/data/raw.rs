//! Values as a file has them, before a declaration gives them a type.

use std::borrow::Cow;
use std::sync::Arc;

/// One entry of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Missing,
    Int(i64),
    Real(f64),
    Bool(bool),
    Text(String),
}

impl Cell {
    /// What the text of a CSV cell stands for.
    pub(super) fn from_text(text: &str) -> Cell {
        let text = text.trim();
        match text {
            "" | "NA" | "N/A" | "NaN" | "nan" | "NAN" | "null" | "NULL" => Cell::Missing,
            "true" | "True" | "TRUE" => Cell::Bool(true),
            "false" | "False" | "FALSE" => Cell::Bool(false),
            _ => {
                if let Ok(i) = text.parse() {
                    Cell::Int(i)
                } else if let Ok(x) = text.parse() {
                    Cell::Real(x)
                } else {
                    Cell::Text(text.to_owned())
                }
            }
        }
    }

    /// As shown in a message.
    pub(super) fn show(&self) -> String {
        match self {
            Cell::Missing => "a missing value".into(),
            Cell::Int(i) => i.to_string(),
            Cell::Real(x) => x.to_string(),
            Cell::Bool(b) => b.to_string(),
            Cell::Text(t) => {
                let short: String = t.chars().take(40).collect();
                format!("\"{short}{}\"", if short.len() < t.len() { "..." } else { "" })
            }
        }
    }
}

/// How the place of an element is told.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Line of the file for each element of the first axis, and the column of each element of the rest.
    Table { lines: Arc<Vec<u64>>, columns: Vec<String> },
    /// Arrays side by side: their names, in the order of the second axis.
    Columns(Vec<String>),
    /// An index, zero-based, behind this name.
    Index(String),
}

/// An array as a source has it.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) shape: Vec<usize>,
    pub(super) values: RawValues,
    /// The source's name, as shown.
    pub(super) source: String,
    pub(super) place: Place,
}

#[derive(Clone, Debug)]
pub(super) enum RawValues {
    Cells(Vec<Cell>),
    Stored(super::stored::Stored),
}

impl Raw {
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Element `i` in row-major order.
    pub(super) fn cell(&self, i: usize) -> Cow<'_, Cell> {
        match &self.values {
            RawValues::Cells(cells) => cells.get(i).map_or(Cow::Owned(Cell::Missing), Cow::Borrowed),
            RawValues::Stored(array) => Cow::Owned(array.cell(i)),
        }
    }

    /// Where element `i` is: `schools.csv, line 4, column "sigma"`, or `data.json, sigma[2]`.
    pub(super) fn place(&self, i: usize) -> String {
        match &self.place {
            Place::Table { lines, columns } => {
                let width = columns.len().max(1);
                let line = lines.get(i / width).map_or_else(String::new, |l| format!(", line {l}"));
                format!("{}{line}, column \"{}\"", self.source, columns.get(i % width).map_or("", String::as_str))
            }
            Place::Columns(columns) => {
                let width = columns.len().max(1);
                format!("{}, `{}[{}]`", self.source, columns.get(i % width).map_or("", String::as_str), i / width)
            }
            Place::Index(name) => {
                if self.shape.is_empty() {
                    return format!("{}, `{name}`", self.source);
                }
                let index: Vec<String> = unravel(i, &self.shape).iter().map(ToString::to_string).collect();
                format!("{}, `{name}[{}]`", self.source, index.join(", "))
            }
        }
    }
}

/// The index of position `i` of a row-major array.
pub(crate) fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, &n) in index.iter_mut().zip(shape).rev() {
        let n = n.max(1);
        *slot = i % n;
        i /= n;
    }
    index
}
