//! A model file with its data: loading, binding, checking.

use crate::args::ClauseArgs;
use crate::report::Failure;
use ppl_core::{DType, Support};
use ppl_diag::{Code, Diagnostic, Severity};
use ppl_driver::check::{DataShapes, DataSpec, FitOverrides, Override, Program};
use ppl_driver::{Disk, Source, check_source};
use ppl_fit::data::{Array, BindRequest, Bound, Constraint, DataDecl, DimDecl, Elem, bind};
use ppl_syntax::ast::{Expr, ExprKind, Fit, ItemKind, Literal};
use std::collections::BTreeMap;
use std::path::Path;

/// The file has no such `fit`.
pub(crate) const NO_FIT: Code = Code("E0802");
/// An option's value is not understood.
pub(crate) const BAD_OPTION: Code = Code("E0803");

/// Codes of data and sizes without a value.
const ABSENT: &[&str] = &["E0601", "E0604", "E0610"];

/// Particles and draws where neither the file nor the command line says.
const PARTICLES: usize = 10;
const DRAWS: usize = 1000;

/// What must be there of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Every declaration.
    All,
    /// What is there; what is needed is found out later.
    Some,
}

/// A file and its data.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The parsed file.
    pub(crate) source: Source,
    /// The data.
    pub(crate) bound: Bound,
    /// Their sizes; absent where there are no data.
    pub(crate) shapes: Option<DataShapes>,
    /// The arguments that they come from.
    pub(crate) arguments: Vec<String>,
}

/// A file without its data.
pub(crate) fn load(path: &Path) -> Result<Source, Failure> {
    Source::load(&Disk, path).map_err(Failure::plain)
}

/// The declarations of data, as binding wants them. Nothing where they are wrong.
fn declarations(source: &Source, need: Need) -> Option<Vec<DataDecl>> {
    let (specs, problems) = ppl_driver::check::data_declarations(&source.libraries(), &source.file);
    let wrong = |ds: &[Diagnostic]| ds.iter().any(|d| d.severity == Severity::Error);
    if wrong(&source.diagnostics) || wrong(&problems) {
        return None;
    }
    Some(specs.iter().map(|s| declaration(s, need)).collect())
}

/// Binds data. Where the declarations themselves are wrong nothing is bound: checking reports that.
///
/// # Errors
/// Everything wrong with the data.
pub(crate) fn with_data(source: Source, arguments: &[String], need: Need) -> Result<Model, (Source, Vec<Diagnostic>)> {
    with_sources(source, arguments, &[], need)
}

/// As [`with_data`]; what the arguments do not have is looked for in those behind them.
///
/// # Errors
/// Everything wrong with the data.
pub(crate) fn with_sources(
    source: Source,
    arguments: &[String],
    behind: &[String],
    need: Need,
) -> Result<Model, (Source, Vec<Diagnostic>)> {
    let Some(mut decls) = declarations(&source, need) else {
        return Ok(Model { source, bound: Bound::default(), shapes: None, arguments: Vec::new() });
    };
    let known = known_sizes(&source);
    loop {
        let request = BindRequest { decls: &decls, arguments, behind, model_dir: &source.dir, known_sizes: &known };
        let problems = match bind(request) {
            Ok(bound) => {
                let mut sizes: BTreeMap<String, i64> = bound.sizes.iter().map(|(n, s)| (n.clone(), *s as i64)).collect();
                sizes.extend(bound.arrays.iter().filter_map(|(n, a)| Some((n.clone(), a.as_int()?))));
                let arguments = [arguments, behind].concat();
                return Ok(Model { source, bound, shapes: Some(DataShapes { sizes }), arguments });
            }
            Err(problems) => problems,
        };
        // What has no value is left out, and missed only where something takes it.
        let absent = |d: &DataDecl| problems.iter().any(|p| ABSENT.contains(&p.code.0) && p.span() == Some(d.span));
        let before = decls.len();
        if need == Need::Some && problems.iter().all(|p| ABSENT.contains(&p.code.0)) {
            decls.retain(|d| !absent(d));
        }
        if decls.len() == before {
            return Err((source, problems));
        }
    }
}

/// Sizes that the program itself fixes: `let K = 3`.
fn known_sizes(source: &Source) -> BTreeMap<String, u64> {
    let (specs, _) = ppl_driver::check::data_declarations(&source.libraries(), &source.file);
    let dims = specs.iter().flat_map(|s| &s.dims);
    dims.filter_map(|d| Some((d.name.clone().filter(|n| is_name(n))?, d.size? as u64))).collect()
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_') && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn declaration(s: &DataSpec, need: Need) -> DataDecl {
    let elem = match s.dtype {
        DType::Float => Elem::Real,
        DType::Int => Elem::Int,
        DType::Bool => Elem::Bool,
    };
    let dims = s.dims.iter().map(|d| match (&d.name, d.size) {
        (Some(n), _) if is_name(n) => DimDecl::Named(n.clone()),
        (_, Some(n)) => DimDecl::Const(n as u64),
        (Some(e), None) => DimDecl::Expr(e.clone()),
        (None, None) => DimDecl::Expr("?".into()),
    });
    let mut d = DataDecl::new(s.name.clone(), elem, dims.collect());
    d.support = constraint(&s.support);
    d.columns.clone_from(&s.columns);
    d.from.clone_from(&s.from);
    d.span = s.span;
    d.optional = need == Need::Some;
    d
}

/// A support as a constraint on values.
pub(crate) fn constraint(s: &Support) -> Constraint {
    match s {
        Support::Interval { lo: Some(lo), hi: None } if *lo == 0.0 => Constraint::Positive,
        Support::Interval { lo: Some(lo), hi: Some(hi) } if *lo == 0.0 && *hi == 1.0 => Constraint::Unit,
        Support::Interval { lo, hi } => {
            Constraint::Interval { lo: lo.unwrap_or(f64::NEG_INFINITY), hi: hi.unwrap_or(f64::INFINITY) }
        }
        Support::Integers { lo, hi } => Constraint::Interval { lo: *lo as f64, hi: hi.map_or(f64::INFINITY, |h| h as f64) },
        Support::Simplex => Constraint::Simplex,
        Support::Ordered => Constraint::Ordered,
        Support::Real
        | Support::DynamicInterval
        | Support::CorrCholesky
        | Support::Boolean
        | Support::DynamicIntegers
        | Support::Point => Constraint::Any,
    }
}

impl Model {
    /// Checks the file with these clauses. The diagnostics are warnings only.
    ///
    /// # Errors
    /// Everything found, if any of it is an error.
    pub(crate) fn check(&self, overrides: &FitOverrides) -> Result<(Program, Vec<Diagnostic>), Failure> {
        let checked = check_source(&self.source, self.shapes.clone(), overrides);
        let (program, mut found) = (checked.program, checked.diagnostics);
        for d in &self.bound.deferred {
            let spec = program.data.iter().find(|s| s.name == d.name);
            let size = spec.and_then(|s| s.dims.get(d.axis)).and_then(|x| x.size);
            found.extend(size.and_then(|n| d.check(n as u64)));
        }
        if found.iter().any(|d| d.severity == Severity::Error) {
            return Err(self.failure(found));
        }
        Ok((program, found))
    }

    /// Diagnostics about this model.
    pub(crate) fn failure(&self, diagnostics: Vec<Diagnostic>) -> Failure {
        Failure::program(&self.source.map, diagnostics)
    }

    /// The bound values in the order of the program's declarations.
    pub(crate) fn data(&self, program: &Program) -> Vec<Option<Array>> {
        program.data.iter().map(|s| self.bound.arrays.get(&s.name).cloned()).collect()
    }

    /// Number of `fit` clauses.
    pub(crate) fn fits(&self) -> usize {
        fits(&self.source).count()
    }
}

fn fits(source: &Source) -> impl Iterator<Item = &Fit> {
    source.file.items.iter().filter_map(|i| match &i.kind {
        ItemKind::Fit(f) => Some(&**f),
        _ => None,
    })
}

/// The `fit` clause with this number.
pub(crate) fn fit_clause(source: &Source, index: usize) -> Option<&Fit> {
    fits(source).nth(index)
}

/// The error where a file has no `fit` with this number.
pub(crate) fn no_fit(path: &str, fits: usize, index: usize) -> Diagnostic {
    match fits {
        0 => Diagnostic::error(NO_FIT, format!("`{path}` has no `fit`, so there is nothing to run"))
            .help("add one, such as `fit model() given { y } with auto_normal`"),
        n => Diagnostic::error(NO_FIT, format!("`{path}` has no `fit` number {index}"))
            .note(format!("it has {n}, numbered from 0")),
    }
}

/// A setting of the clause that is a plain number.
fn number_of(fit: Option<&Fit>, name: &str) -> Option<usize> {
    let s = fit?.settings.iter().find(|s| s.name.as_str() == name)?;
    match &s.value.kind {
        ExprKind::Literal(Literal::Int(n)) => usize::try_from(*n).ok(),
        _ => None,
    }
}

/// Draws of one call: large samples are drawn in parts.
pub(crate) fn part_of(draws: usize) -> usize {
    draws.clamp(1, 100)
}

/// Clauses from the command line, parsed; their texts become files of the source.
///
/// # Errors
/// All that can't be parsed.
pub(crate) fn overrides(source: &mut Source, c: &ClauseArgs, draws: Option<u32>) -> Result<FitOverrides, Failure> {
    let mut problems = Vec::new();
    let mut parse = |option: &str, text: &str| -> Option<Expr> {
        let id = source.map.add(option, text);
        let (e, found) = ppl_syntax::parse_expr(id, text);
        let fine = found.iter().all(|d| d.severity != Severity::Error);
        problems.extend(found);
        fine.then_some(e)
    };
    let objective = c.objective.as_ref().and_then(|t| parse("--objective", t));
    let guide = c.guide.as_ref().and_then(|t| parse("--guide", t));
    let optimizer = c.using.as_ref().and_then(|t| parse("--using", t));
    let reports = c.report.iter().filter_map(|t| parse("--report", t)).collect();
    let mut strategies = Vec::new();
    let mut malformed = Vec::new();
    for text in &c.by {
        let Some((address, strategy)) = text.split_once('=').filter(|(a, s)| !a.trim().is_empty() && !s.trim().is_empty()) else {
            malformed.push(
                Diagnostic::error(BAD_OPTION, format!("`--by {text}` names no choice and strategy"))
                    .help("write `--by z=reinforce`, or `--by _=reparam` for all choices that name none"),
            );
            continue;
        };
        let address = address.trim();
        if let Some(strategy) = parse("--by", strategy) {
            strategies.push(Override { address: (address != "_").then(|| address.to_string()), strategy });
        }
    }
    problems.extend(malformed);
    if !problems.is_empty() {
        return Err(Failure { code: 2, ..Failure::program(&source.map, problems) });
    }
    let parsed = FitOverrides {
        objective,
        guide,
        optimizer,
        particles: c.particles.map(|n| n as usize),
        strategies,
        reports,
        ..FitOverrides::default()
    };
    Ok(of_fit(source, &parsed, c.fit, draws))
}

/// Clauses of the command line for the `fit` with this number; `draws` is what the command line says.
pub(crate) fn of_fit(source: &Source, parsed: &FitOverrides, index: usize, draws: Option<u32>) -> FitOverrides {
    let clause = fit_clause(source, index);
    let of_estimate = parsed.particles.or_else(|| number_of(clause, "particles")).unwrap_or(PARTICLES);
    let draws = draws.map(|n| n as usize).or_else(|| number_of(clause, "draws")).unwrap_or(DRAWS);
    FitOverrides { index, draws: Some(part_of(draws)), estimate_draws: Some(of_estimate.clamp(1, 100)), ..parsed.clone() }
}
