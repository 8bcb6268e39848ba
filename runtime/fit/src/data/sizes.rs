//! Sizes: one number for each name, from whoever states it.

use std::collections::{BTreeMap, BTreeSet};

use ppl_diag::{Code, Diagnostic, Span};

use super::array::{Array, Values};
use super::decl::{DataDecl, DimDecl, Elem};

/// Who states the value of a size.
#[derive(Clone, Debug)]
struct Evidence {
    value: u64,
    said_by: String,
    span: Span,
}

/// The size of an axis whose length the program gives as an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeferredDim {
    /// The declaration's name.
    pub name: String,
    /// The axis, from 0.
    pub axis: usize,
    /// The expression as written.
    pub expr: String,
    /// The length in the data.
    pub found: u64,
    /// The declaration.
    pub span: Span,
}

impl DeferredDim {
    /// The error to report if the expression turns out to have another value.
    pub fn check(&self, value: u64) -> Option<Diagnostic> {
        (value != self.found).then(|| {
            let title =
                format!("`{}` has {} values along axis {}, but `{}` is {value}", self.name, self.found, self.axis, self.expr);
            Diagnostic::error(Code("E0609"), title).label(self.span, "declared here")
        })
    }
}

/// All sizes that are known or used, what is wrong with them, and the axes left to the compiler.
pub(super) struct Sizes {
    pub(super) values: BTreeMap<String, u64>,
    pub(super) problems: Vec<Diagnostic>,
    pub(super) deferred: Vec<DeferredDim>,
}

/// The names that declarations use as sizes.
pub(super) fn used(decls: &[DataDecl]) -> BTreeSet<&str> {
    let dims = decls.iter().flat_map(|d| &d.dims);
    dims.filter_map(|d| match d {
        DimDecl::Named(n) => Some(n.as_str()),
        DimDecl::Const(_) | DimDecl::Expr(_) => None,
    })
    .collect()
}

/// Collects evidence from `known`, integer scalars and array shapes, and compares. `from` tells where an array was found;
/// `failed` names declarations whose value was found but is wrong, which count as given.
pub(super) fn infer(
    decls: &[DataDecl],
    arrays: &BTreeMap<String, Array>,
    from: &BTreeMap<String, String>,
    failed: &BTreeSet<String>,
    known: &BTreeMap<String, u64>,
) -> Sizes {
    let mut evidence: BTreeMap<&str, Vec<Evidence>> = BTreeMap::new();
    let mut out = Sizes { values: BTreeMap::new(), problems: Vec::new(), deferred: Vec::new() };
    let used = used(decls);
    for (name, &value) in known {
        evidence.entry(name).or_default().push(Evidence {
            value,
            said_by: format!("the program says {name} = {value}"),
            span: Span::NONE,
        });
    }
    for decl in decls {
        let Some(array) = arrays.get(&decl.name) else { continue };
        let source = from.get(&decl.name).map_or("the data", String::as_str);
        if decl.elem == Elem::Int && decl.dims.is_empty() {
            match array.as_int().map(u64::try_from) {
                Some(Ok(value)) => {
                    let said_by = format!("{source} gives {} = {value}", decl.name);
                    evidence.entry(&decl.name).or_default().push(Evidence { value, said_by, span: decl.span });
                }
                Some(Err(_)) if used.contains(decl.name.as_str()) => {
                    let title = format!("`{}` is used as a size, but {source} gives a negative number", decl.name);
                    out.problems.push(Diagnostic::error(Code("E0607"), title).label(decl.span, "declared here"));
                }
                _ => {}
            }
        }
        for (axis, (dim, &n)) in decl.dims.iter().zip(&array.shape).enumerate() {
            let found = n as u64;
            let along = if decl.dims.len() == 1 { String::new() } else { format!(" along axis {axis}") };
            let said_by = format!("{source} has {found} values of `{}`{along}", decl.name);
            match dim {
                DimDecl::Named(name) => {
                    evidence.entry(name).or_default().push(Evidence { value: found, said_by, span: decl.span });
                }
                DimDecl::Const(want) if *want != found => {
                    let title = format!("`{}` needs {want} values{along}, but {source} has {found}", decl.name);
                    let d = Diagnostic::error(Code("E0609"), title).label(decl.span, format!("declared as `{decl}`"));
                    out.problems.push(d);
                }
                DimDecl::Const(_) => {}
                DimDecl::Expr(expr) => {
                    out.deferred.push(DeferredDim { name: decl.name.clone(), axis, expr: expr.clone(), found, span: decl.span })
                }
            }
        }
    }
    for (name, all) in &evidence {
        let Some(first) = all.first() else { continue };
        if all.iter().any(|e| e.value != first.value) {
            out.problems.push(disagreement(name, all));
        }
        out.values.insert((*name).to_owned(), first.value);
    }
    for name in used {
        let blocked = decls.iter().any(|d| failed.contains(&d.name) && (d.name == name || uses(d, name)));
        if !out.values.contains_key(name) && !blocked {
            out.problems.extend(unknown(name, decls, arrays));
        }
    }
    out
}

/// The scalar declarations whose value was read off the shapes, as arrays.
pub(super) fn inferred_scalars(decls: &[DataDecl], arrays: &mut BTreeMap<String, Array>, sizes: &BTreeMap<String, u64>) {
    for decl in decls.iter().filter(|d| d.elem == Elem::Int && d.dims.is_empty()) {
        if let Some(&n) = sizes.get(&decl.name) {
            let value = Array { shape: Vec::new(), data: Values::Int(vec![n as i64]), missing: Vec::new() };
            arrays.entry(decl.name.clone()).or_insert(value);
        }
    }
}

fn uses(decl: &DataDecl, size: &str) -> bool {
    decl.dims.iter().any(|d| matches!(d, DimDecl::Named(n) if n == size))
}

fn disagreement(name: &str, all: &[Evidence]) -> Diagnostic {
    let mut values: Vec<u64> = all.iter().map(|e| e.value).collect();
    values.sort_unstable();
    values.dedup();
    let shown = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let mut d = Diagnostic::error(Code("E0609"), format!("the size `{name}` has different values: {shown}"));
    for e in all {
        d = d.label(e.span, format!("{} here", e.value)).note(&e.said_by);
    }
    d
}

fn unknown(name: &str, decls: &[DataDecl], arrays: &BTreeMap<String, Array>) -> Option<Diagnostic> {
    let users: Vec<&DataDecl> = decls.iter().filter(|d| uses(d, name)).collect();
    // A required array that is absent has its own error, and would tell the size.
    let explained = users.iter().any(|d| !d.optional && !arrays.contains_key(&d.name));
    if explained {
        return None;
    }
    let mut d = Diagnostic::error(Code("E0610"), format!("the size `{name}` is neither given nor the length of any given array"));
    for user in &users {
        d = d.label(user.span, "used here");
    }
    Some(d.help(format!("give it: --data '{{\"{name}\": ..}}'")))
}
