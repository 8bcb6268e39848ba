//! Declarations of the standard library, with values for the parameters of its distributions.

use crate::Model;
use ppl_check::FitOverrides;
use ppl_diag::FileId;
use ppl_syntax::ast::{Dist, ItemKind, Strategy, TypeKind};

/// A declaration of the library with values for its parameters.
pub struct Case {
    /// The declaration.
    pub dist: Dist,
    /// Declarations of learned parameters.
    pub params: String,
    /// The distribution applied to them.
    pub applied: String,
    /// Parameters by their own names: for bounds of the support.
    pub named: Vec<(String, String)>,
}

/// Every declaration of the library.
pub fn items() -> impl Iterator<Item = ItemKind> {
    ppl_stdlib::PRELUDE.iter().flat_map(|f| ppl_syntax::parse(FileId(0), f.text).ast.items).map(|i| i.kind)
}

/// The library's first declaration of a strategy.
pub fn declared(strategy: &str) -> Option<Strategy> {
    items().find_map(|i| match i {
        ItemKind::Strategy(s) if s.name.as_str() == strategy => Some(s),
        _ => None,
    })
}

/// The library's distributions.
pub fn library() -> Vec<Dist> {
    items().filter_map(|i| if let ItemKind::Dist(d) = i { Some(d) } else { None }).collect()
}

/// The distribution with learned parameters; `fixed`: but for bounds.
pub fn case(dist: Dist, fixed: bool) -> Case {
    let (mut params, mut args, mut named) = (String::new(), Vec::new(), Vec::new());
    for (k, p) in dist.params.iter().enumerate() {
        let name = format!("a{k}");
        let ty = p.ty.as_ref().map(|t| match &t.kind {
            TypeKind::Named { name, dims, .. } => (name.as_str().to_string(), dims.len()),
            _ => (String::new(), 0),
        });
        let (kind, rank) = ty.unwrap_or_default();
        let arg = match (kind.as_str(), rank) {
            ("real", 0) if fixed && matches!(p.name.as_str(), "lo" | "hi") => {
                if p.name.as_str() == "lo" { "-0.5" } else { "1.7" }.to_string()
            }
            // Bounds stay in order.
            ("real", 0) => {
                let value = match (p.name.as_str(), k) {
                    ("lo", 1..) => -0.5,
                    (_, 0) => 0.4,
                    _ => 1.7,
                };
                params += &format!("param {name}: real = {value}\n");
                name.clone()
            }
            ("positive", 0) => {
                params += &format!("param {name}: positive = {}\n", if k % 2 == 0 { 1.7 } else { 0.8 });
                name.clone()
            }
            ("unit", 0) => {
                params += &format!("param {name}: unit = 0.35\n");
                name.clone()
            }
            ("int", 0) => "4".to_string(),
            ("simplex", 1) => {
                params += &format!("param {name}: simplex[3] = [0.2, 0.5, 0.3]\n");
                name.clone()
            }
            ("positive", 1) => {
                params += &format!("param {name}: positive[3] = [1.5, 1.2, 2.0]\n");
                name.clone()
            }
            ("real", 1) => {
                let three = dist.name.as_str().starts_with("categorical") || dist.name == "normal_mixture";
                let n = if three { "[0.3, -0.9, 0.8]" } else { "[0.3, -0.4]" };
                params += &format!("param {name} = {n}\n");
                name.clone()
            }
            ("real", 2) => {
                // A scaled matrix that is positive definite, and lower triangular where it is a factor.
                params += &format!("param {name}: positive = 0.9\n");
                let corner = if p.name.as_str() == "l" { "0.0" } else { "0.3" };
                format!("{name} * [[1.0, {corner}], [0.3, 0.8]]")
            }
            other => panic!("`{}` has a parameter of type {other:?}: give it a value here", dist.name),
        };
        named.push((p.name.as_str().to_string(), arg.clone()));
        args.push(arg);
    }
    let applied = format!("{}({})", dist.name, args.join(", "));
    Case { dist, params, applied, named }
}

/// Every distribution; those with bounds also between bounds that do not move.
pub fn cases() -> Vec<Case> {
    let bounded = |d: &Dist| d.params.iter().any(|p| p.name == "lo");
    let mut all: Vec<Case> = library().into_iter().map(|d| case(d, false)).collect();
    all.extend(library().into_iter().filter(bounded).map(|d| case(d, true)));
    all.retain(|c| !c.params.is_empty());
    all
}

/// Names of the strategies that take it.
pub fn strategies_of(c: &Case) -> Vec<String> {
    let text = format!("{}gen q() {{ x ~ {} }}\nfit q() with q()", c.params, c.applied);
    let program = Model::from_text(&text, crate::root(), &[])
        .and_then(|m| m.check(&FitOverrides::default()))
        .unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    let d = program.module.dists.iter().find(|d| d.name == c.dist.name.as_str());
    d.map_or_else(|| panic!("no `{}`", c.dist.name), |d| d.works_with.clone())
}
