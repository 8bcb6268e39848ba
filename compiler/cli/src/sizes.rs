//! Sizes that only data give, and what depends on them.
//!
//! Without data such a size is a large stand-in: right for checking, wrong for computing. So before anything runs, the open sizes
//! that it can depend on are looked for: by name, through all declarations that it names.

use crate::model::Model;
use ppl_diag::{Code, Diagnostic, Span};
use ppl_driver::Source;
use ppl_driver::check::Program;
use ppl_syntax::ast::{ItemKind, PatternKind};
use std::collections::BTreeSet;

/// A size that only data give.
const NO_SIZE: Code = Code("E0808");

/// The error for sizes that no data give, if any is needed: by everything, or by what `text` names.
pub(crate) fn open_size(model: &Model, program: &Program, text: Option<&str>) -> Option<Diagnostic> {
    let known = |name: &str| model.shapes.as_ref().is_some_and(|s| s.sizes.contains_key(name));
    let reached = text.map(|t| reachable(&model.source, t));
    let needed = |name: &str| reached.as_ref().is_none_or(|r| r.contains(name));
    let open: Vec<_> = program.data.iter().filter(|s| s.is_size && !known(&s.name) && needed(&s.name)).collect();
    let first = open.first()?;
    let names: Vec<String> = open.iter().map(|s| format!("`{}`", s.name)).collect();
    let is = if open.len() == 1 { "is" } else { "are" };
    Some(
        Diagnostic::error(NO_SIZE, format!("{} {is} not known without data", names.join(", ")))
            .label(first.span, "read off the data")
            .help(format!("give data that have it, or the size alone: '{{\"{}\": 10}}'", first.name)),
    )
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty())
}

/// Every word of `text`, of the declarations that it names, of those that they name, and so on.
fn reachable(source: &Source, text: &str) -> BTreeSet<String> {
    let mut declared: Vec<(String, Span)> = Vec::new();
    for item in source.modules.iter().chain([&source.file]).flat_map(|f| &f.items) {
        match &item.kind {
            ItemKind::Data(ds) => declared.extend(ds.iter().map(|d| (d.name.to_string(), d.span))),
            ItemKind::Param(p) => declared.push((p.name.to_string(), item.span)),
            ItemKind::Let(l) => pattern_names(&l.pattern.kind, &mut |n| declared.push((n.to_string(), item.span))),
            ItemKind::Gen(c) | ItemKind::Fn(c) | ItemKind::Objective(c) => declared.push((c.name.to_string(), item.span)),
            ItemKind::Strategy(s) => declared.push((s.name.to_string(), item.span)),
            ItemKind::Dist(d) => declared.push((d.name.to_string(), item.span)),
            ItemKind::Use(_) | ItemKind::Fit(_) => {}
        }
    }
    let mut reached = BTreeSet::new();
    let mut open: Vec<String> = words(text).map(str::to_string).collect();
    while let Some(word) = open.pop() {
        if reached.contains(&word) {
            continue;
        }
        for (_, span) in declared.iter().filter(|(n, _)| *n == word) {
            open.extend(words(source.map.text(*span)).map(str::to_string));
        }
        reached.insert(word);
    }
    reached
}

/// The names that a pattern binds.
pub(crate) fn pattern_names(p: &PatternKind, found: &mut dyn FnMut(&str)) {
    match p {
        PatternKind::Wildcard => {}
        PatternKind::Name(n) => found(n.as_str()),
        PatternKind::Tuple(parts) => parts.iter().for_each(|p| pattern_names(&p.kind, found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependence_goes_through_declarations() {
        let s =
            Source::from_text("m.ppl", "data N: int\ndata y: real[N]\nfn f(x) = x * total\nlet total = sum(y)\nfn g(x) = x\n");
        assert!(reachable(&s, "f(1)").contains("N"));
        assert!(!reachable(&s, "g(1)").contains("N"));
    }
}
