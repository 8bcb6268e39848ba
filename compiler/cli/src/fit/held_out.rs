//! Held-out data: other rows of the same declarations, given or taken from the fit's own, and the fit's objectives on them.

use super::estimate::{Drawn, Estimate};
use crate::engine::{Globals, Machine};
use crate::model::{self, BAD_OPTION, Model, Need};
use crate::report::Failure;
use crate::run;
use ppl_core::Ty;
use ppl_diag::{Code, Diagnostic};
use ppl_driver::check::{DataShapes, FitOverrides, FitPlan, Global, Minibatch, Program, Side};
use ppl_driver::{Cx, Lowered, lower_values};
use ppl_fit::data::{Array, Values, held_out};
use ppl_fit::step::Param;
use serde_json::{Value, json};

/// Nothing can be held out.
const NOTHING: Code = Code("E0706");
/// Parameters belong to the data.
const UNLIKE: Code = Code("E0707");

/// Where held-out data come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HeldOut {
    /// A fraction of the fit's rows.
    Fraction(f64),
    /// Sources that come before those of the fit.
    Sources(Vec<String>),
}

impl HeldOut {
    /// What `--validation` says.
    ///
    /// # Errors
    /// `E0803` for a fraction out of range, or one beside something else.
    pub(crate) fn parse(texts: &[String]) -> Result<Option<HeldOut>, Diagnostic> {
        let number = texts.iter().find_map(|t| t.parse::<f64>().ok());
        match (number, texts) {
            (_, []) => Ok(None),
            (None, all) => Ok(Some(HeldOut::Sources(all.to_vec()))),
            (Some(x), [_]) if x > 0.0 && x < 1.0 => Ok(Some(HeldOut::Fraction(x))),
            (Some(x), [_]) => Err(Diagnostic::error(BAD_OPTION, format!("`--validation {x}` is no fraction of the data"))
                .help("write a number between 0 and 1, such as 0.1, or a data source")),
            (Some(_), _) => Err(Diagnostic::error(BAD_OPTION, "`--validation` is either one fraction or data sources")
                .help("write `--validation 0.1`, or `--validation FILE` for each file")),
        }
    }
}

/// A model in two parts.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    /// The data that are learned from.
    pub(crate) training: Model,
    /// Those that are held out.
    pub(crate) held: Model,
    /// How, for the settings of the run.
    pub(crate) how: Value,
}

/// The model without and with only the held-out data.
///
/// # Errors
/// Everything wrong with the data; `E0706` where the rows of a minibatch can't be divided.
pub(crate) fn split(model: &Model, program: &Program, plan: &FitPlan, from: &HeldOut, seed: u64) -> Result<Split, Failure> {
    match from {
        HeldOut::Sources(sources) => {
            let held = model::with_sources(model.source.clone(), sources, &model.arguments, Need::All);
            let held = held.map_err(|(s, d)| {
                Failure::program(&s.map, d.into_iter().map(|d| d.note("in the held-out data of `--validation`")).collect())
            })?;
            let how = json!({ "sources": held.bound.sources });
            Ok(Split { training: model.clone(), held, how })
        }
        HeldOut::Fraction(x) => by_rows(model, program, plan, *x, seed).map_err(|d| model.failure(vec![d])),
    }
}

fn by_rows(model: &Model, program: &Program, plan: &FitPlan, fraction: f64, seed: u64) -> Result<Split, Diagnostic> {
    let refused = |title: &str| Diagnostic::error(NOTHING, title).label(plan.span, "in this fit");
    let other = "give held-out data in files: `--validation FILE`";
    let (name, n) =
        plate(model, program, plan).map_err(|why| refused("no fraction of the data can be held out").note(why).help(other))?;
    let spec = |d: &&ppl_driver::check::DataSpec, first: bool| {
        let axes = d.dims.iter().enumerate().filter(|(i, _)| (*i == 0) == first);
        axes.into_iter().any(|(_, x)| x.name.as_deref().is_some_and(|t| if first { t == name } else { has_word(t, &name) }))
    };
    let odd = |d: &&ppl_driver::check::DataSpec| {
        let derived = d.dims.first().and_then(|x| x.name.as_deref()).is_some_and(|t| t != name && has_word(t, &name));
        derived || spec(d, false)
    };
    if let Some(d) = program.data.iter().find(odd) {
        let why = format!("`{}` has an axis that depends on `{name}` and is not its first", d.name);
        return Err(refused("no fraction of the data can be held out").note(why).label(d.span, "declared here").help(other));
    }
    let held = ((n as f64 * fraction).round() as usize).clamp(1, n.saturating_sub(1));
    if n < 2 {
        return Err(refused("no fraction of the data can be held out").note(format!("there is only {n} datum")));
    }
    let rows = held_out(n, held, seed);
    let part = |rows: &[usize]| -> Result<Model, Diagnostic> {
        let mut part = model.clone();
        for d in program.data.iter().filter(|d| spec(d, true)) {
            let Some(a) = part.bound.arrays.get_mut(&d.name) else { continue };
            *a = a.rows(rows).map_err(|e| {
                Diagnostic::error(Code("E0621"), format!("the rows of `{}` can't be divided", d.name)).note(e.to_string())
            })?;
        }
        let size = rows.len();
        if let Some(a) = part.bound.arrays.get_mut(&name) {
            *a = Array { shape: Vec::new(), data: Values::Int(vec![size as i64]), missing: Vec::new() };
        }
        part.bound.sizes.insert(name.clone(), size as u64);
        let shapes: &mut DataShapes = part.shapes.get_or_insert_default();
        shapes.sizes.insert(name.clone(), size as i64);
        Ok(part)
    };
    let how =
        json!({ "fraction": fraction, "size": name, "training": rows.kept.len(), "held_out": rows.held.len(), "seed": seed });
    Ok(Split { training: part(&rows.kept)?, held: part(&rows.held)?, how })
}

/// The size that the minibatches loop over, by name.
fn plate(model: &Model, program: &Program, plan: &FitPlan) -> Result<(String, usize), String> {
    let all: Vec<&Minibatch> = plan.goals.iter().flat_map(|g| &g.trained).collect();
    let text = model.source.text();
    let looped = |name: &str| {
        let mut calls = text.split("minibatch(").skip(1);
        calls.any(|c| c.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(',')))
    };
    let mut names: Vec<(&str, usize)> = Vec::new();
    for d in &program.data {
        let Some((Some(name), Some(n))) = d.dims.first().map(|x| (x.name.as_deref(), x.size)) else { continue };
        // The data of a single step have no minibatch of their own.
        let counted = if all.is_empty() { looped(name) } else { all.iter().all(|m| m.data == n) };
        if counted && !names.contains(&(name, n)) {
            names.push((name, n));
        }
    }
    if names.len() > 1 {
        names.retain(|(name, _)| looped(name));
    }
    match names[..] {
        [(name, n)] => Ok((name.to_string(), n)),
        [] if all.is_empty() => Err("its objective loops over no minibatch, which would say what a row is".into()),
        [] => Err("no data are declared with the minibatch's size as their first axis".into()),
        [(a, _), (b, _), ..] => Err(format!("rows may be those of `{a}` or of `{b}`")),
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
}

/// The fit's objectives on held-out data, lowered.
pub(crate) struct Held {
    pub(crate) model: Model,
    pub(crate) program: Program,
    plan: FitPlan,
    code: Vec<Lowered>,
}

impl Held {
    /// Checks the program with the held-out data.
    ///
    /// # Errors
    /// Everything wrong with the program there; `E0707` where parameters have other shapes than in the fit.
    pub(crate) fn new(model: Model, overrides: &FitOverrides, fitted: &Program) -> Result<Held, Failure> {
        let (program, _) = model.check(overrides)?;
        let Some(plan) = program.fit.clone() else {
            return Err(Failure::plain(model::no_fit("the model", model.fits(), overrides.index)));
        };
        let shape = |s: &[usize]| Ty::float(s).to_string();
        let mut notes = Vec::new();
        for p in &fitted.params {
            if let Some(q) = program.params.iter().find(|q| q.name == p.name && q.free_shape != p.free_shape) {
                let (a, b) = (shape(&p.free_shape), shape(&q.free_shape));
                notes.push((p.span, format!("`{}`: {a} with the fit's data, {b} with those held out", p.name)));
            }
        }
        if let Some((span, _)) = notes.first() {
            let d = Diagnostic::error(UNLIKE, "there are parameters of each datum, so held-out data have none")
                .label(*span, "declared here");
            let d = notes.iter().take(5).fold(d, |d, (_, n)| d.note(n));
            let d = d.help("compute what belongs to a datum from the datum: `x ~ normal(encode(y[n]), 1)`");
            return Err(model.failure(vec![d]));
        }
        let mut cx = Cx::default();
        let code = plan.goals.iter().map(|g| lower_values(&program, &g.estimate, &mut cx)).collect::<Result<Vec<_>, _>>();
        let code = code.map_err(|d| model.failure(d))?;
        Ok(Held { model, program, plan, code })
    }

    /// Compiles them.
    ///
    /// # Errors
    /// Data that were not given; a fault of the compiler.
    pub(crate) fn evaluator(&self, machine: Machine) -> Result<Validator<'_>, Vec<Diagnostic>> {
        let needed = |g: Global| matches!(g, Global::Param(_)) || self.code.iter().any(|l| l.inputs.contains(&g));
        let globals = run::globals(machine, &self.program, self.model.data(&self.program), &needed, &mut Cx::default())?;
        let one = |(g, lowered): (&ppl_driver::check::Goal, &Lowered)| {
            let drawn = Drawn {
                each: self.plan.estimate_draws,
                minibatches: g.minibatches.clone(),
                fixed: g.claim.side == Side::Exact,
                draws: None,
            };
            Estimate::new(machine, &self.program, lowered, &globals, drawn)
        };
        let estimates = self.plan.goals.iter().zip(&self.code).map(one).collect::<Result<_, _>>().map_err(|d| vec![d])?;
        Ok(Validator { program: &self.program, globals, estimates })
    }
}

/// Evaluates objectives on held-out data, again and again.
pub(crate) struct Validator<'a> {
    program: &'a Program,
    globals: Globals,
    estimates: Vec<Estimate<'a>>,
}

impl Validator<'_> {
    /// Mean and standard error of each objective at these unconstrained parameters.
    ///
    /// # Errors
    /// What the interpreter reports.
    pub(crate) fn values(&mut self, params: &[Param]) -> Result<Vec<(f64, f64)>, Diagnostic> {
        run::set_free(self.program, &mut self.globals, params);
        let mut out = Vec::new();
        for e in &mut self.estimates {
            e.set_params(&self.globals)?;
            let found = e.value()?;
            out.push((found.mean, found.se));
        }
        Ok(out)
    }
}
