//! Diagnostics as plain text, for snapshots.

use ppl_diag::{Diagnostic, Severity, SourceMap};
use std::fmt::Write;

/// Code and title, each label with its place and text, notes and help; one diagnostic after the other.
pub fn render(map: &SourceMap, diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for d in diagnostics {
        let word = match d.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let _ = writeln!(out, "{word}[{}]: {}", d.code, d.title);
        for l in &d.labels {
            let place = map.place(l.span).unwrap_or_else(|| "?".into());
            let text = map.text(l.span).lines().next().unwrap_or("");
            let _ = writeln!(out, "  {place} `{text}`: {}", l.text);
        }
        for n in &d.notes {
            let _ = writeln!(out, "  = {n}");
        }
        if let Some(h) = &d.help {
            let _ = writeln!(out, "  = help: {h}");
        }
        if let Some(e) = &d.edit {
            let place = map.place(e.span).unwrap_or_else(|| "?".into());
            let _ = writeln!(out, "  = edit: {place} `{}` -> `{}`", map.text(e.span), e.text);
        }
    }
    out
}
