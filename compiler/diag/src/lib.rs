//! Source positions and diagnostics, as plain data.
//!
//! Every crate of the compiler and the runtime reports problems as [`Diagnostic`] values: a code, one plain sentence,
//! labelled places, notes and something to paste. Only `ppl-cli` draws them.
//!
//! **Invariant:** this crate does no IO, prints nothing and depends on nothing.

mod codes;
mod source;

pub use codes::{CODES, Code, CodeInfo, code_info};
pub use source::{FileId, SourceFile, SourceMap, Span};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The program can't be run.
    Error,
    /// The program runs; the user probably wants to know.
    Warning,
}

/// A place in the source and why it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// The reason shown beside it; may be empty.
    pub text: String,
}

/// A replacement that can be pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced (an empty span inserts).
    pub span: Span,
    /// The new text.
    pub text: String,
}

/// One problem: what, where, why, what next.
///
/// The title is one plain sentence in the user's words; labels carry the reasons; `help` is something to do or paste.
/// The first label is the main place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its code, such as `E0412`.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// One plain sentence.
    pub title: String,
    /// Every place involved; the first is the main one.
    pub labels: Vec<Label>,
    /// Facts that help to understand (`= ...`).
    pub notes: Vec<String>,
    /// What to do next, something to paste where possible.
    pub help: Option<String>,
    /// The edit that `help` describes, if it is one.
    pub edit: Option<Edit>,
}

impl Diagnostic {
    /// An error with `code` and `title`.
    pub fn error(code: Code, title: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            title: title.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
            edit: None,
        }
    }

    /// A warning with `code` and `title`.
    pub fn warning(code: Code, title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, title) }
    }

    /// Adds a labelled place. Spans without a file ([`Span::NONE`]) are dropped.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        if span != Span::NONE {
            self.labels.push(Label { span, text: text.into() });
        }
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Sets the help text.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Sets the edit that can be pasted.
    #[must_use]
    pub fn edit(mut self, span: Span, text: impl Into<String>) -> Self {
        self.edit = Some(Edit { span, text: text.into() });
        self
    }

    /// The main place, if it has one.
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|l| l.span)
    }
}

/// The name in `candidates` that `name` was probably meant to be.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = name.chars().count().div_ceil(3).min(3);
    // Of equally near names, the one of the same length: letters are exchanged more often than left out.
    let far = |c: &str| (edit_distance(name, c), c.len().abs_diff(name.len()));
    candidates.into_iter().map(|c| (far(c), c)).filter(|((d, _), _)| *d <= limit).min().map(|(_, c)| c)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_close_names_only() {
        assert_eq!(did_you_mean("normla", ["normal", "gamma"]), Some("normal"));
        assert_eq!(did_you_mean("normla", ["norm", "normal"]), Some("normal"));
        assert_eq!(did_you_mean("zzz", ["normal", "gamma"]), None);
    }
}
