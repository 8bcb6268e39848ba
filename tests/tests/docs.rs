//! Documents say what is: code blocks check, generated pages are fresh, every diagnostic has its page.

use ppl_check::FitOverrides;
use ppl_core::{BUILTINS, Lower, PRIMS, Topic};
use ppl_diag::CODES;
use ppl_driver::{Cx, Source, analyse, check_source};
use ppl_tests::blocks::{Block, blocks, typed};
use ppl_tests::{bless, render, root};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files below `dir` with one of the extensions, sorted; build folders are left out.
fn files(dir: &Path, extensions: &[&str], out: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for p in entries {
        let name = p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if p.is_dir() && name != "target" && !name.starts_with('.') {
            files(&p, extensions, out);
        } else if p.extension().is_some_and(|e| extensions.contains(&e.to_string_lossy().as_ref())) {
            out.push(p);
        }
    }
}

fn check_block(page: &Path, b: &Block) -> Result<(), String> {
    let place = format!("{}:{}", page.display(), b.line);
    let lines = typed(b);
    if !lines.is_empty() {
        for (line, e, wanted) in lines {
            let (expr, syntax) = ppl_syntax::parse_expr(ppl_diag::FileId(u32::MAX), &e);
            assert!(syntax.is_empty(), "{place}, line {line}: {syntax:?}");
            let source = Source::from_text("page", "");
            let (checked, found) = ppl_check::elaborate_expression(&source.libraries(), &source.file, None, &expr);
            assert!(checked.diagnostics.is_empty(), "{place}, line {line}: {:?}", checked.diagnostics);
            match found {
                Some(ppl_check::Evaluated::Computed { types, .. }) => {
                    assert_eq!(types.join(", "), wanted, "{place}, line {line}")
                }
                other => panic!("{place}, line {line}: {other:?}"),
            }
        }
        return Ok(());
    }
    let source = Source::from_text("page", &b.text);
    let checked = check_source(&source, None, &FitOverrides::default());
    let mut found = checked.diagnostics.clone();
    if found.is_empty()
        && let Err(e) = analyse(&checked.program, &mut Cx::default())
    {
        found.extend(e);
    }
    let codes: BTreeSet<&str> = found.iter().map(|d| d.code.0).collect();
    let wanted: BTreeSet<&str> = b.errors.iter().map(String::as_str).collect();
    if codes == wanted {
        return Ok(());
    }
    Err(format!("{place}: {wanted:?} was expected\n{}\n{}", b.text, render(&source.map, &found)))
}

#[test]
fn code_on_pages_is_checked() {
    let mut pages = vec![root().join("README.md")];
    files(&root().join("spec"), &["md"], &mut pages);
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages {
        for b in blocks(&read(&page)) {
            wrong.extend(check_block(&page, &b).err());
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "{seen} blocks");
}

#[test]
fn error_index_is_fresh() {
    let mut out = String::from(
        "# Errors\n\n<!-- generated from the table of codes; PPL_BLESS=1 cargo test -p ppl-tests rewrites it -->\n\n\
         `ppl explain CODE` shows one entry.\n",
    );
    for c in CODES.iter().flat_map(|c| c.iter()) {
        let _ = write!(out, "\n## {}: {}\n\n{}\n", c.code, c.name, c.page.trim());
    }
    bless(&root().join("spec/errors.md"), &out).unwrap_or_else(|e| panic!("{e}"));
}

fn topic(t: Topic) -> &'static str {
    match t {
        Topic::Reduce => "Reductions",
        Topic::Scan => "Along an axis",
        Topic::Matrix => "Vectors and matrices",
        Topic::Array => "Making and reshaping arrays",
        Topic::Convert => "Conversions",
        Topic::Estimate => "Densities, traces and gradients",
        Topic::Guide => "Guides derived from a target",
        Topic::Random => "Draws, in `sample` programs",
    }
}

fn example((code, value): (&str, &str)) -> String {
    if value.is_empty() { format!("`{code}`") } else { format!("`{code}` is `{value}`") }
}

/// Whether a line of a comment is a field of an estimator.
fn is_field(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(name, _)| ppl_tests::estimators::FIELDS.iter().any(|f| f.contains(&name)))
}

/// The page of an objective or strategy.
fn page_of(head: &str) -> Option<String> {
    let head = head.strip_prefix("biased ").unwrap_or(head);
    let (kind, rest) = head.split_once(' ')?;
    let folder = match kind {
        "objective" => "objectives",
        "strategy" => "strategies",
        _ => return None,
    };
    Some(format!("estimators/{folder}/{}.md", rest.split(['(', ' ']).next()?))
}

#[test]
fn library_page_is_fresh() {
    let mut out = String::from(
        "# Library\n\n<!-- generated from the library's sources and the tables of functions; PPL_BLESS=1 cargo test -p ppl-tests rewrites it -->\n",
    );
    for f in ppl_stdlib::PRELUDE.iter().chain(ppl_stdlib::MODULES.iter().map(|m| &m.file)) {
        let _ = write!(out, "\n## `{}`\n", f.name);
        let mut doc: Vec<String> = Vec::new();
        let mut first = true;
        for line in f.text.lines() {
            let declares =
                ["dist ", "strategy ", "biased strategy ", "objective ", "gen ", "fn "].iter().any(|k| line.starts_with(k));
            if let Some(text) = line.strip_prefix("##") {
                let text = text.trim();
                doc.push(if is_field(text) { format!("- {text}") } else { text.to_string() });
            } else if line.starts_with("fn ") && doc.is_empty() {
                // Without a comment for readers it is a part of what comes next.
            } else if declares {
                let head = line.split(" {").next().unwrap_or(line);
                let head = head.split(" = ").next().unwrap_or(head).trim();
                let head = match line.split_once(" (k)") {
                    Some((strategy, _)) if line.contains("strategy ") => &format!("{strategy} (k)"),
                    _ if head.contains(')') => head,
                    _ => line,
                };
                let shown = match page_of(head) {
                    Some(page) => format!("[`{head}`]({page})"),
                    None => format!("`{head}`"),
                };
                let _ = write!(out, "\n- {shown}\n  {}\n", doc.join("\n  "));
                doc.clear();
            } else if first && !doc.is_empty() {
                let _ = write!(out, "\n{}\n", doc.join("\n"));
                doc.clear();
            }
            first &= line.starts_with("##");
        }
    }
    out.push_str("\n## Functions on arrays and programs\n");
    let mut last = None;
    for b in BUILTINS {
        if last != Some(b.topic) {
            let _ = write!(out, "\n### {}\n\n", topic(b.topic));
            last = Some(b.topic);
        }
        let _ = writeln!(out, "- `{}` {} Example: {}.", b.sig, b.doc, example(b.example));
    }
    out.push_str("\n## Elementwise functions and operators\n\nThey act on arrays element by element.\n\n");
    for p in PRIMS.iter().flat_map(|t| t.iter()) {
        let error = match p.lower {
            Lower::Kernel(k) => k.ulps().map_or(String::new(), |(double, single)| {
                format!(" Within {double} ulp in double precision, {single} in single precision.")
            }),
            _ => String::new(),
        };
        let _ = writeln!(out, "- `{}{}` {}{error} Example: {}.", p.name, p.sig, p.doc, example(p.example));
    }
    bless(&root().join("spec/library.md"), &out).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn estimator_pages_are_fresh() {
    let folder = root().join("spec/estimators");
    let measured = read(&folder.join("measured.json"));
    let made = ppl_tests::estimators::pages::pages(&measured).unwrap_or_else(|e| panic!("{e}"));
    for (name, text) in &made {
        let path = folder.join(name);
        if std::env::var_os("PPL_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for the pages");
        }
        bless(&path, text).unwrap_or_else(|e| panic!("{e}"));
    }
    let mut there = Vec::new();
    files(&folder, &["md", "svg"], &mut there);
    let stale: Vec<_> = there.iter().filter(|p| !made.iter().any(|(n, _)| folder.join(n) == **p)).collect();
    assert!(stale.is_empty(), "made from nothing any more: {stale:?}");
    for e in ppl_tests::estimators::entries() {
        let fields: Vec<&str> = e.fields.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(fields, ppl_tests::estimators::FIELDS[e.kind as usize], "`{}`", e.name);
        assert!(!e.about.is_empty(), "`{}` says what it is", e.name);
    }
}

/// Codes in string literals of a text, such as `"E0412"`.
fn codes_in(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (i, _) in text.match_indices("Code(\"E") {
        if let Some(code) = text.get(i + 6..i + 11)
            && code[1..].bytes().all(|b| b.is_ascii_digit())
        {
            out.insert(code.to_string());
        }
    }
    out
}

#[test]
fn every_code_that_is_reported_has_a_page_and_the_other_way_round() {
    let mut sources = Vec::new();
    for folder in ["compiler", "runtime", "stdlib"] {
        files(&root().join(folder), &["rs", "lalrpop"], &mut sources);
    }
    let mut used = BTreeSet::new();
    for p in &sources {
        let shown = p.display().to_string();
        if !shown.contains("diag/src") && !shown.contains("/tests") {
            used.extend(codes_in(&read(p)));
        }
    }
    assert!(used.len() > 60, "{used:?}");
    let explained: BTreeSet<String> = CODES.iter().flat_map(|c| c.iter()).map(|c| c.code.0.to_string()).collect();
    let missing: Vec<_> = used.difference(&explained).collect();
    assert!(missing.is_empty(), "without a page: {missing:?}");
    // Codes reported through a helper that takes the digits are found by their text.
    let all: String = sources.iter().filter(|p| !p.display().to_string().contains("diag/src")).map(|p| read(p)).collect();
    let idle: Vec<_> = explained.iter().filter(|c| !all.contains(&format!("\"{c}\""))).collect();
    assert!(idle.is_empty(), "never reported: {idle:?}");
}
