//! Every diagnostic code, with the page `ppl explain CODE` shows. One file a range.

mod cli;
mod data;
mod estimators;
mod internal;
mod limits;
mod names;
mod numeric;
mod supports;
mod syntax;
mod types;

use std::fmt;

/// A diagnostic's code: `E` and four digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub &'static str);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What `ppl explain CODE` and the error index say of a code.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// A short name, in plain words.
    pub name: &'static str,
    /// Why it is an error and how it is usually mended; Markdown.
    pub page: &'static str,
}

/// All codes, by range: `E00xx` syntax, `E01xx` names, `E02xx` types and shapes, `E03xx` supports and traces,
/// `E04xx` estimators, `E05xx` limits, `E06xx` data, `E07xx` numbers while fitting, `E08xx` command line and files,
/// `E09xx` internal.
pub const CODES: &[&[CodeInfo]] = &[
    syntax::CODES,
    names::CODES,
    types::CODES,
    supports::CODES,
    estimators::CODES,
    limits::CODES,
    data::CODES,
    numeric::CODES,
    cli::CODES,
    internal::CODES,
];

/// The entry of `code` (such as `E0412`), if it exists.
pub fn code_info(code: &str) -> Option<&'static CodeInfo> {
    CODES.iter().flat_map(|c| c.iter()).find(|c| c.code.0.eq_ignore_ascii_case(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_explained() {
        let all: Vec<&str> = CODES.iter().flat_map(|c| c.iter()).map(|c| c.code.0).collect();
        assert!(all.windows(2).all(|w| w[0] < w[1]), "out of order or repeated: {all:?}");
        assert!(CODES.iter().flat_map(|c| c.iter()).all(|c| c.page.len() > 40 && !c.name.is_empty()));
    }
}
