//! `:doc`: what a name means.

use ppl_core::PRIMS;
use ppl_diag::did_you_mean;
use ppl_driver::Source;
use ppl_driver::check::BUILTIN_NAMES;
use ppl_syntax::ast::{Callable, File, FnParam, Item, ItemKind};
use ppl_syntax::print_type;

/// The documentation of a name: the session's own first, then the library, elementwise functions, built-in functions.
pub(crate) fn text(source: &Source, name: &str) -> Option<String> {
    if let Some((module, own)) = name.split_once('.') {
        let found: Vec<String> = ppl_driver::library_module(module)?.items.iter().filter_map(|i| item(i, own)).collect();
        return (!found.is_empty()).then(|| found.join("\n"));
    }
    let files: Vec<&File> = std::iter::once(&source.file).chain(&source.modules).chain(ppl_driver::library()).collect();
    let found: Vec<String> = files.iter().flat_map(|f| &f.items).filter_map(|i| item(i, name)).collect();
    if !found.is_empty() {
        return Some(found.join("\n"));
    }
    if let Some(p) = PRIMS.iter().flat_map(|t| t.iter()).find(|p| p.name == name && p.callable) {
        let (call, value) = p.example;
        let example = if call.is_empty() { String::new() } else { format!("  {call} is {value}\n") };
        return Some(format!("fn {name}{}\n  {}\n{example}", p.sig, p.doc));
    }
    BUILTIN_NAMES.contains(&name).then(|| format!("`{name}` is built in; `spec/` describes it\n"))
}

/// A name that was probably meant.
pub(crate) fn near(source: &Source, name: &str) -> Option<String> {
    if let Some((module, own)) = name.split_once('.') {
        let members = ppl_driver::library_module(module)?.items.iter().filter_map(|i| head(i).map(|(_, n, _)| n));
        return did_you_mean(own, members.collect::<Vec<_>>()).map(|near| format!("{module}.{near}"));
    }
    let mut all: Vec<&str> = BUILTIN_NAMES.to_vec();
    all.extend(PRIMS.iter().flat_map(|t| t.iter()).filter(|p| p.callable).map(|p| p.name));
    let files = std::iter::once(&source.file).chain(ppl_driver::library());
    all.extend(files.flat_map(|f| &f.items).filter_map(|i| head(i).map(|(_, n, _)| n)));
    did_you_mean(name, all).map(str::to_string)
}

fn item(i: &Item, name: &str) -> Option<String> {
    let (keyword, found, params) = head(i)?;
    if found != name {
        return None;
    }
    let doc: String = i.doc.iter().flat_map(|d| d.lines()).map(|l| format!("  {}\n", l.trim())).collect();
    Some(format!("{keyword} {name}{params}\n{doc}"))
}

fn head(i: &Item) -> Option<(&'static str, &str, String)> {
    let of = |c: &Callable| signature(&c.params);
    Some(match &i.kind {
        ItemKind::Gen(c) => ("gen", c.name.as_str(), of(c)),
        ItemKind::Fn(c) => ("fn", c.name.as_str(), of(c)),
        ItemKind::Objective(c) => ("objective", c.name.as_str(), of(c)),
        ItemKind::Strategy(s) => ("strategy", s.name.as_str(), String::new()),
        ItemKind::Dist(d) => ("dist", d.name.as_str(), signature(&d.params)),
        ItemKind::Param(p) => ("param", p.name.as_str(), p.ty.as_ref().map_or(String::new(), |t| format!(": {}", print_type(t)))),
        ItemKind::Use(_) | ItemKind::Data(_) | ItemKind::Let(_) | ItemKind::Fit(_) => return None,
    })
}

fn signature(params: &[FnParam]) -> String {
    let one = |p: &FnParam| match &p.ty {
        Some(t) => format!("{}: {}", p.name, print_type(t)),
        None => p.name.to_string(),
    };
    format!("({})", params.iter().map(one).collect::<Vec<_>>().join(", "))
}
