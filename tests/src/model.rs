//! Models with their data.

use ppl_check::{DataShapes, DataSpec, FitOverrides, Program, Setting, SettingValue};
use ppl_core::{DType, Support};
use ppl_diag::{Diagnostic, SourceMap};
use ppl_driver::step::{Clip, Optimizer, OptimizerKind, Schedule, Shape};
use ppl_driver::{Cx, Disk, FitCode, Source, check_source, lower_fit};
use ppl_fit::data::{Array, BindRequest, Constraint, DataDecl, DimDecl, Elem, bind};
use ppl_fit::optim;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A parsed model with its data.
pub struct Model {
    /// The texts.
    pub source: Source,
    /// The arrays of its data declarations, by name.
    pub arrays: BTreeMap<String, Array>,
    /// Sizes for the checker.
    pub shapes: DataShapes,
}

/// Errors with the texts that they are about.
pub struct Failure {
    /// The texts.
    pub map: SourceMap,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::render(&self.map, &self.diagnostics))
    }
}

/// The declaration as the data binder takes it.
fn declaration(d: &DataSpec) -> DataDecl {
    let elem = match d.dtype {
        DType::Float => Elem::Real,
        DType::Int => Elem::Int,
        DType::Bool => Elem::Bool,
    };
    let support = match &d.support {
        Support::Interval { lo: Some(lo), hi: None } if *lo == 0.0 => Constraint::Positive,
        Support::Interval { lo: Some(lo), hi: Some(hi) } if (*lo, *hi) == (0.0, 1.0) => Constraint::Unit,
        Support::Interval { lo, hi } => {
            Constraint::Interval { lo: lo.unwrap_or(f64::NEG_INFINITY), hi: hi.unwrap_or(f64::INFINITY) }
        }
        Support::Integers { lo, hi } => {
            let lo = if *lo == i64::MIN { f64::NEG_INFINITY } else { *lo as f64 };
            Constraint::Interval { lo, hi: hi.map_or(f64::INFINITY, |h| h as f64) }
        }
        Support::Simplex => Constraint::Simplex,
        Support::Ordered => Constraint::Ordered,
        _ => Constraint::Any,
    };
    let is_name = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let dims = d.dims.iter().map(|dim| match (&dim.name, dim.size) {
        (Some(n), _) if is_name(n) => DimDecl::Named(n.clone()),
        (_, Some(n)) => DimDecl::Const(n as u64),
        (Some(n), None) => DimDecl::Expr(n.clone()),
        (None, None) => DimDecl::Expr("?".into()),
    });
    DataDecl {
        support,
        columns: d.columns.clone(),
        from: d.from.clone(),
        span: d.span,
        ..DataDecl::new(d.name.clone(), elem, dims.collect())
    }
}

impl Model {
    /// Reads a model file and its data; `arguments` are as after `--data`.
    pub fn open(path: &Path, arguments: &[&str]) -> Result<Model, Failure> {
        let source = match Source::load(&Disk, path) {
            Ok(s) => s,
            Err(d) => return Err(Failure { map: SourceMap::default(), diagnostics: vec![d] }),
        };
        Self::bind(source, arguments)
    }

    /// A model from text; files are found beside `dir`.
    pub fn from_text(text: &str, dir: PathBuf, arguments: &[&str]) -> Result<Model, Failure> {
        let mut source = Source::from_text("model.ppl", text);
        source.dir = dir;
        Self::bind(source, arguments)
    }

    fn bind(source: Source, arguments: &[&str]) -> Result<Model, Failure> {
        if !source.diagnostics.is_empty() {
            return Err(Failure { map: source.map, diagnostics: source.diagnostics });
        }
        let (specs, _) = ppl_check::data_declarations(&source.libraries(), &source.file);
        let decls: Vec<DataDecl> = specs.iter().map(declaration).collect();
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_string()).collect();
        let request = BindRequest {
            decls: &decls,
            arguments: &arguments,
            behind: &[],
            model_dir: &source.dir,
            known_sizes: &BTreeMap::new(),
        };
        match bind(request) {
            Ok(bound) => {
                let mut sizes: BTreeMap<String, i64> = bound.sizes.iter().map(|(n, s)| (n.clone(), *s as i64)).collect();
                sizes.extend(bound.arrays.iter().filter_map(|(n, a)| Some((n.clone(), a.as_int()?))));
                Ok(Model { source, arrays: bound.arrays, shapes: DataShapes { sizes } })
            }
            Err(diagnostics) => Err(Failure { map: source.map, diagnostics }),
        }
    }

    /// The checked program. A biased objective is its author's choice; other warnings are refused as errors are.
    pub fn check(&self, overrides: &FitOverrides) -> Result<Program, Failure> {
        let checked = check_source(&self.source, Some(self.shapes.clone()), overrides);
        if checked.diagnostics.iter().all(|d| d.code.0 == "E0453") {
            return Ok(checked.program);
        }
        Err(Failure { map: self.source.map.clone(), diagnostics: checked.diagnostics })
    }

    /// The checked program, whatever the compiler warns of.
    pub fn check_with_warnings(&self, overrides: &FitOverrides) -> Result<Program, Failure> {
        let checked = check_source(&self.source, Some(self.shapes.clone()), overrides);
        if checked.diagnostics.iter().all(|d| d.severity == ppl_diag::Severity::Warning) {
            return Ok(checked.program);
        }
        Err(Failure { map: self.source.map.clone(), diagnostics: checked.diagnostics })
    }

    /// Everything that the fit of `program` runs, for `steps` steps (those of the file where absent).
    pub fn lower(&self, program: &Program, steps: Option<u64>) -> Result<(FitCode, u64), Failure> {
        let failure = |diagnostics| Failure { map: self.source.map.clone(), diagnostics };
        let plan = program.fit.as_ref().expect("a fit");
        let written = plan.settings.iter().find(|s| s.name == "steps").and_then(|s| match s.value {
            SettingValue::Number(n) => Some(n as u64),
            _ => None,
        });
        let steps = steps.or(written).unwrap_or(1000);
        let optimizer = optimizer(plan.optimizer.as_ref()).map_err(|d| failure(vec![d]))?;
        let code = lower_fit(program, plan, &optimizer, steps, &mut Cx::default()).map_err(failure)?;
        Ok((code, steps))
    }
}

/// The optimiser of a fit, `adam(0.01)` where none is written.
fn optimizer(written: Option<&Setting>) -> Result<Optimizer, Diagnostic> {
    let spec = match written.map(|s| &s.value) {
        Some(SettingValue::Call { name, args }) => {
            let number = |v: &SettingValue| if let SettingValue::Number(n) = v { Some(*n) } else { None };
            let positional: Vec<f64> = args.iter().filter(|(n, _)| n.is_none()).filter_map(|(_, v)| number(v)).collect();
            let named: Vec<(&str, f64)> = args.iter().filter_map(|(n, v)| Some((n.as_deref()?, number(v)?))).collect();
            let mut spec = optim::OptimizerSpec::from_call(name, &positional, &named)?;
            for (n, v) in args {
                if n.as_deref() == Some("schedule") {
                    spec.schedule = schedule(v)?;
                }
            }
            spec
        }
        Some(SettingValue::Name(name)) => optim::OptimizerSpec::from_call(name, &[], &[])?,
        _ => optim::OptimizerSpec::from_call("adam", &[0.01], &[])?,
    };
    let kind = match spec.kind {
        optim::OptimizerKind::Sgd => OptimizerKind::Sgd,
        optim::OptimizerKind::Momentum { mu, nesterov } => OptimizerKind::Momentum { mu, nesterov },
        optim::OptimizerKind::Adam { beta1, beta2, eps } => OptimizerKind::Adam { beta1, beta2, eps },
        optim::OptimizerKind::RmsProp { rho, eps } => OptimizerKind::RmsProp { rho, eps },
        optim::OptimizerKind::AdaGrad { eps } => OptimizerKind::AdaGrad { eps },
    };
    let shape = match spec.schedule.shape {
        optim::Shape::Constant => Shape::Constant,
        optim::Shape::Cosine { to_fraction } => Shape::Cosine { to_fraction },
        optim::Shape::Exponential { rate, every } => Shape::Exponential { rate, every },
        optim::Shape::Linear { to_fraction } => Shape::Linear { to_fraction },
        optim::Shape::Step { rate, every } => Shape::Step { rate, every },
        optim::Shape::Polynomial { power, to_fraction } => Shape::Polynomial { power, to_fraction },
    };
    let clip = Clip { norm: spec.clip.norm, value: spec.clip.value };
    Ok(Optimizer { kind, rate: spec.rate, clip, schedule: Schedule { shape, warmup: spec.schedule.warmup } })
}

fn schedule(v: &SettingValue) -> Result<optim::Schedule, Diagnostic> {
    match v {
        SettingValue::Call { name, args } => {
            let number = |v: &SettingValue| if let SettingValue::Number(n) = v { Some(*n) } else { None };
            let positional: Vec<f64> = args.iter().filter(|(n, _)| n.is_none()).filter_map(|(_, v)| number(v)).collect();
            let named: Vec<(&str, f64)> = args.iter().filter_map(|(n, v)| Some((n.as_deref()?, number(v)?))).collect();
            optim::Schedule::from_call(name, &positional, &named)
        }
        SettingValue::Name(name) => optim::Schedule::from_call(name, &[], &[]),
        SettingValue::Number(_) | SettingValue::Text(_) => Ok(optim::Schedule::default()),
    }
}
