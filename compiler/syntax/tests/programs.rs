//! Every program of the language document parses, and survives printing.

use std::fs;
use std::path::{Path, PathBuf};

use ppl_diag::{Diagnostic, FileId};
use ppl_syntax::parse;

fn programs() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    for dir in [root.join("tests/programs"), root.join("../../stdlib/std")] {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "ppl") {
                let text = fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    out.sort();
    assert!(out.len() >= 14, "programs are missing");
    out
}

fn show(text: &str, diagnostics: &[Diagnostic]) -> String {
    let line = |at: u32| text[..at as usize].matches('\n').count() + 1;
    diagnostics.iter().map(|d| format!("line {}: {d:#?}\n", d.span().map_or(0, |s| line(s.start)))).collect()
}

#[test]
fn programs_of_the_language_parse() {
    let mut failures = String::new();
    for (path, text) in programs() {
        let p = parse(FileId(0), &text);
        if !p.diagnostics.is_empty() {
            failures += &format!("{}\n{}\n", path.display(), show(&text, &p.diagnostics));
        }
        assert!(!p.ast.items.is_empty(), "{}", path.display());
    }
    assert!(failures.is_empty(), "{failures}");
}
