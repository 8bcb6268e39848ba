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

/// The tree without places and comments, as text.
fn shape(file: &ppl_syntax::ast::File) -> String {
    let mut file = file.clone();
    file.comments.clear();
    let text = format!("{file:?}");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(i) = rest.find("Span {") {
        out.push_str(&rest[..i]);
        let end = rest[i..].find('}').unwrap();
        rest = &rest[i + end + 1..];
    }
    out + rest
}

#[test]
fn printing_and_parsing_keeps_the_tree() {
    for (path, text) in programs() {
        let first = parse(FileId(0), &text);
        for printed in [ppl_syntax::print_file(&first.ast), ppl_syntax::format(FileId(0), &text).unwrap()] {
            let second = parse(FileId(0), &printed);
            assert!(second.diagnostics.is_empty(), "{}\n{printed}\n{}", path.display(), show(&printed, &second.diagnostics));
            assert_eq!(shape(&first.ast), shape(&second.ast), "{}\n{printed}", path.display());
        }
    }
}

#[test]
fn formatting_is_idempotent_and_keeps_comments() {
    for (path, text) in programs() {
        let once = ppl_syntax::format(FileId(0), &text).unwrap();
        assert_eq!(ppl_syntax::format(FileId(0), &once).unwrap(), once, "{}", path.display());
        let texts = |s: &str| parse(FileId(0), s).ast.comments.into_iter().map(|c| c.text).collect::<Vec<_>>();
        assert_eq!(texts(&text), texts(&once), "{}", path.display());
    }
}
