//! What a fit prints and saves.

use super::bounds::{self, FIELDS, Valued, with_error};
use super::{Fitted, Settings};
use crate::engine::{Globals, INITIAL, Machine, evaluate};
use crate::model::Model;
use crate::report::terminal_width;
use crate::tune::Tuning;
use ppl_core::{DType, Support, Ty};
use ppl_diag::Diagnostic;
use ppl_driver::check::{Evaluated, FitPlan, Global, Program, elaborate_expression};
use ppl_driver::{Cx, lower_expression};
use ppl_fit::data::Array;
use ppl_fit::fit::{Point, Validation};
use ppl_fit::rundir::{Place, RunFiles, write_run};
use ppl_fit::step::Param;
use ppl_fit::summary::{Draws, Summary, number};
use ppl_transform::{Chosen, Divergences, EliminationCost};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Elements of a parameter that are printed.
const SHOWN: usize = 6;
/// Parameters that are printed.
const SHOWN_PARAMETERS: usize = 12;
/// Elements from which on a parameter is printed as its shape and norm.
const LARGE: usize = 100;
/// Elements from which on that is so in JSON.
const LARGE_JSON: usize = 10_000;

/// Everything a fit gives.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The settings it ran with.
    pub(crate) settings: Settings,
    /// The plan.
    pub(crate) plan: FitPlan,
    /// Strategy of each choice.
    pub(crate) chosen: Vec<Chosen>,
    /// Finite choices that are summed exactly.
    pub(crate) eliminations: Vec<EliminationCost>,
    /// Where divergences stand for log densities.
    pub(crate) divergences: Vec<Divergences>,
    /// Draws from the fitted guide.
    pub(crate) draws: Draws,
    /// The objective of each goal at the end.
    pub(crate) objectives: Vec<Valued>,
    /// What else is reported.
    pub(crate) reports: Vec<Valued>,
    /// The loop's outcome, once it has begun; parameters are unconstrained.
    pub(crate) fitted: Fitted,
    /// Whether it has not ended.
    pub(crate) running: bool,
    /// Constrained parameters.
    pub(crate) parameters: Vec<Param>,
    /// Why it ended early.
    pub(crate) failure: Option<Diagnostic>,
    /// How its strategies were tuned, if they were.
    pub(crate) tuning: Option<Tuning>,
    /// Which data were held out.
    pub(crate) held_out: Option<Value>,
    /// The objectives on them.
    pub(crate) validation: Option<Validation>,
    /// The unconstrained parameters with the best of these, where they are kept.
    pub(crate) best: Option<Vec<Param>>,
}

/// The constrained parameters.
pub(crate) fn parameters(model: &Model, program: &Program, globals: &Globals) -> Vec<Param> {
    let shown = program.params.iter().enumerate().map(|(i, spec)| {
        let free = globals.params.get(i).filter(|_| !spec.state)?;
        let value =
            if spec.support == Support::Real { Some(free.clone()) } else { constrained(model, program, &spec.name, globals) };
        let value = value?;
        Some(Param { name: spec.name.clone(), shape: value.shape.clone(), values: value.to_f64() })
    });
    shown.flatten().collect()
}

/// The value that the program sees: a parameter is an expression like others.
fn constrained(model: &Model, fitted: &Program, name: &str, globals: &Globals) -> Option<Array> {
    let (e, _) = ppl_syntax::parse_expr(model.source.id, name);
    let (checked, value) = elaborate_expression(&model.source.libraries(), &model.source.file, model.shapes.clone(), &e);
    let program = checked.program;
    let Some(Evaluated::Computed { func, inputs, .. }) = value else { return None };
    let [Global::Param(i)] = inputs[..] else { return None };
    let at = fitted.params.iter().position(|p| p.name == program.params[i].name)?;
    let mut params = vec![globals.params[at].clone(); program.params.len()];
    params[i] = globals.params[at].clone();
    let globals = Globals { params, ..Globals::default() };
    let lowered = lower_expression(&program, func, &inputs, &mut Cx::default()).ok()?;
    let machine = Machine { engine: crate::args::EngineName::Interp, precision: ppl_abi::Precision::F64, seed: 0 };
    evaluate(machine, &program, &lowered, &globals, INITIAL).ok()?.into_iter().next()
}

impl Outcome {
    /// The objectives and the reports.
    pub(super) fn valued(&self) -> Vec<Valued> {
        self.objectives.iter().chain(&self.reports).cloned().collect()
    }

    /// What was optimised: each objective with its direction and the parameters that learned from it.
    fn goals(&self) -> Value {
        let goals = self.plan.goals.iter().zip(&self.objectives);
        let shown = goals.map(|(g, v)| {
            json!({
                "direction": if g.maximize { "maximize" } else { "minimize" },
                "objective": v.json(),
                "parameters": g.trains,
            })
        });
        shown.collect()
    }

    /// `finished`, `stopped early`, ..
    fn status(&self) -> &'static str {
        if self.running { "running" } else { self.fitted.status() }
    }

    /// What the held-out data say, in two lines at most.
    fn held_out_lines(&self) -> String {
        let Some(v) = &self.validation else { return String::new() };
        let when = |p: &Point| match p.epoch {
            Some(e) if (e - e.round()).abs() < 1e-6 => format!("epoch {e:.0}"),
            Some(e) if self.settings.epoch == Some(self.settings.validate_every) => format!("epoch {:.0}", e.floor()),
            Some(_) | None => format!("step {}", p.step),
        };
        let value = |p: &Point| {
            let (x, se) = p.values.first().copied().unwrap_or((f64::NAN, f64::NAN));
            if se > 0.0 { format!("{} (se {})", with_error(x, se).0, with_error(x, se).1) } else { number(x) }
        };
        match (v.best(), v.points().last()) {
            (Some(best), Some(last)) => {
                let ended = if self.fitted.stopped { "stopped" } else { "ended" };
                let kept = if self.best.is_some() { ", whose parameters are kept" } else { "" };
                format!(
                    "held out: best {} at {}{kept}, {} at {}, where it {ended}\n",
                    value(best),
                    when(best),
                    value(last),
                    when(last)
                )
            }
            (None, Some(_)) => "held out: no value is finite\n".into(),
            (_, None) => String::new(),
        }
    }

    /// The same for programs.
    fn held_out_json(&self) -> Value {
        let Some(v) = &self.validation else { return Value::Null };
        let point = |p: &Point| {
            let values: Vec<Value> = p.values.iter().map(|(x, se)| json!({ "mean": x, "mcse": se })).collect();
            json!({ "step": p.step, "epoch": p.epoch, "objectives": values })
        };
        json!({
            "data": self.held_out,
            "every": self.settings.validate_every,
            "patience": v.patience(),
            "evaluations": v.points().len(),
            "best": v.best().map(point),
            "last": v.points().last().map(point),
            "kept": if self.best.is_some() { "best" } else { "last" },
        })
    }

    fn summary(&self) -> Summary {
        Summary::new(&self.draws, self.fitted.estimate)
    }

    /// The summary as text.
    pub(crate) fn text(&self, saved: Option<&Path>, quiet: bool) -> String {
        let mut out = String::new();
        let title = match (self.plan.model.is_empty(), self.plan.guide.is_empty()) {
            (true, _) => "fit".to_string(),
            (false, true) => self.plan.model.clone(),
            (false, false) => format!("{} with {}", self.plan.model, self.plan.guide),
        };
        let f = &self.fitted;
        let seconds = f.elapsed.as_secs_f64();
        let _ = writeln!(
            out,
            "{title}: {} steps in {} s ({} steps/s), {}",
            f.ran,
            number(seconds),
            number(f.steps_per_second()),
            self.status()
        );
        out += &self.held_out_lines();
        let all = self.valued();
        all.iter().for_each(|v| out += &v.lines());
        let parts = self.plan.goals.iter().flat_map(|g| &g.minibatches).filter(|m| m.epoch() > super::SAMPLE);
        if let Some(m) = parts.max_by_key(|m| m.epoch()) {
            let _ = writeln!(out, "  (evaluated on a sample: {} of {} minibatches)", super::SAMPLE, m.epoch());
        }
        out += &bounds::gap(&all).map_or(String::new(), |g| g.line());
        if !quiet {
            out += &self.strategies();
            out += &self.eliminations();
            out += &self.divergences();
        }
        if !self.draws.names.is_empty() {
            out.push('\n');
            out += &Summary::new(&self.draws, None).table(terminal_width());
        }
        if !self.plan.undrawn.is_empty() && !quiet {
            let names: Vec<String> = self.plan.undrawn.iter().map(|n| format!("`{n}`")).collect();
            let _ = writeln!(out, "\nnot drawn: {}, one for each datum of a minibatch", names.join(", "));
        }
        let own: Vec<&Param> = self.parameters.iter().filter(|p| !p.name.contains('.')).collect();
        if !own.is_empty() && (!quiet || self.draws.names.is_empty()) {
            out += "\nparameters\n";
            let width = own.iter().map(|p| p.name.len()).max().unwrap_or(0);
            for p in own.iter().take(SHOWN_PARAMETERS) {
                let _ = writeln!(out, "  {:width$}  {}", p.name, show(p));
            }
            if own.len() > SHOWN_PARAMETERS {
                let _ = writeln!(out, "  .. and {} more", own.len() - SHOWN_PARAMETERS);
            }
        }
        if !quiet {
            for note in &f.notes {
                let _ = writeln!(out, "\nnote: {note}");
            }
        }
        if let Some(path) = saved {
            let _ = writeln!(out, "\nsaved in {}", path.display());
        }
        out
    }

    fn strategies(&self) -> String {
        let width = self.chosen.iter().map(|c| c.label.chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for c in &self.chosen {
            let biased = if c.biased { ", biased" } else { "" };
            let why = if c.why.is_empty() { String::new() } else { format!(" ({}{biased})", c.why) };
            let _ = writeln!(out, "  {:width$}  {}{why}", c.label, c.strategy);
        }
        if out.is_empty() { out } else { format!("strategies\n{out}") }
    }

    fn eliminations(&self) -> String {
        let lines: Vec<String> = self.eliminations.iter().map(|e| format!("  {}\n", elimination(e))).collect();
        if lines.is_empty() { String::new() } else { format!("summed exactly\n{}", lines.concat()) }
    }

    fn divergences(&self) -> String {
        let lines: Vec<String> = self.divergences.iter().map(|d| format!("  {}\n", divergence(d))).collect();
        if lines.is_empty() { String::new() } else { format!("divergences\n{}", lines.concat()) }
    }

    /// The summary as JSON text.
    pub(crate) fn json(&self, saved: Option<&Path>) -> String {
        format!("{:#}\n", self.json_value(saved))
    }

    /// The summary as JSON.
    pub(super) fn json_value(&self, saved: Option<&Path>) -> Value {
        let summary = self.summary().to_json();
        // The weights of a network are in the run's folder.
        let value = |p: &Param| match p.values.len() {
            0..LARGE_JSON => nested(&Ty::float(p.shape.clone()), &p.values),
            _ => json!({ "shape": p.shape, "norm": norm(p) }),
        };
        let parameters: Map<String, Value> = self.parameters.iter().map(|p| (p.name.clone(), value(p))).collect();
        json!({
            "status": self.status(),
            "failure": self.failure.as_ref().map(|d| json!({ "code": d.code.0, "title": d.title })),
            "model": self.plan.model,
            "guide": self.plan.guide,
            "objective": self.objectives.first().map(Valued::json),
            "goals": self.goals(),
            "reports": self.reports.iter().map(Valued::json).collect::<Vec<_>>(),
            "gap": bounds::gap(&self.valued()).map(|g| g.json()),
            "columns": FIELDS.iter().map(|(n, t)| ((*n).to_string(), (*t).into())).collect::<Map<String, Value>>(),
            "rows": summary["rows"],
            "draws": self.draws.len(),
            "undrawn": self.plan.undrawn,
            "validation": self.held_out_json(),
            "parameters": parameters,
            "strategies": self.chosen.iter().map(strategy_json).collect::<Vec<_>>(),
            "tuning": self.tuning.as_ref().map(Tuning::json_value),
            "summed": self.eliminations.iter().map(elimination_json).collect::<Vec<_>>(),
            "divergences": self.divergences.iter().map(divergence_json).collect::<Vec<_>>(),
            "seed": self.settings.machine.seed,
            "steps": self.fitted.trace.steps(),
            "seconds": self.fitted.elapsed.as_secs_f64(),
            "notes": self.fitted.notes,
            "run": saved.map(|p| p.display().to_string()),
        })
    }

    /// Writes the run folder.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn save(&self, place: &Place, model: &Model, path: &Path, command: &Value) -> Result<PathBuf, Diagnostic> {
        let text = model.source.map.get(model.source.id).map_or(String::new(), |f| f.text.to_string());
        let m = &self.settings.machine;
        let options = json!({
            "model_program": self.plan.model,
            "guide": self.plan.guide,
            "objective": self.objectives.first().map(Valued::json),
            "goals": self.goals(),
            "reports": self.reports.iter().map(Valued::json).collect::<Vec<_>>(),
            "gap": bounds::gap(&self.valued()).map(|g| g.json()),
            "optimizer": self.settings.optimizer.to_string(),
            "schedule": self.settings.optimizer.schedule,
            "particles": self.plan.particles,
            "steps": self.settings.steps,
            "epoch": self.settings.epoch,
            "validation": self.held_out_json(),
            "draws": self.settings.draws,
            "precision": m.precision.name(),
            "engine": if m.engine == crate::args::EngineName::Jit { "jit" } else { "interp" },
            "strategies": self.chosen.iter().map(strategy_json).collect::<Vec<_>>(),
            "tuning": self.tuning.as_ref().map(Tuning::json_value),
            "seconds": self.fitted.elapsed.as_secs_f64(),
        });
        let settings = ppl_fit::rundir::Settings {
            status: self.status().to_string(),
            failure: self.failure.as_ref().map(|d| d.title.clone()),
            version: env!("CARGO_PKG_VERSION").to_string(),
            model: path.display().to_string(),
            model_source: text,
            seed: m.seed,
            next_step: self.fitted.next_step,
            data: model.bound.sources.clone(),
            command: command.clone(),
            options: options.as_object().cloned().unwrap_or_default(),
            notes: self.fitted.notes.clone(),
        };
        let summary = self.summary();
        let files = RunFiles {
            settings: &settings,
            params: &self.parameters,
            state: &self.fitted.state,
            trace: &self.fitted.trace,
            summary: &summary,
            validation: self.validation.as_ref(),
            best: self.best.as_deref(),
            draws: (!self.draws.is_empty()).then_some(&self.draws),
        };
        write_run(place, files)
    }
}

fn strategy_json(c: &Chosen) -> Value {
    json!({ "choice": c.label, "dist": c.dist, "strategy": c.strategy, "why": c.why, "biased": c.biased })
}

/// The Euclidean norm.
fn norm(p: &Param) -> f64 {
    p.values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn show(p: &Param) -> String {
    if p.shape.is_empty() {
        return p.values.first().map_or(String::new(), |x| number(*x));
    }
    if p.values.len() >= LARGE {
        return format!("shape {:?}, norm {}", p.shape, number(norm(p)));
    }
    let shown: Vec<String> = p.values.iter().take(SHOWN).map(|x| number(*x)).collect();
    let more = if p.values.len() > SHOWN { ", .." } else { "" };
    let shape = if p.shape.len() > 1 { format!(" (shape {:?})", p.shape) } else { String::new() };
    format!("[{}{more}]{shape}", shown.join(", "))
}

/// Nested arrays of this type; numbers that are not finite are null.
pub(crate) fn nested(ty: &Ty, values: &[f64]) -> Value {
    match ty.shape.split_first() {
        None => values.first().map_or(Value::Null, |x| match ty.dtype {
            DType::Float => json!(x),
            DType::Int => json!(*x as i64),
            DType::Bool => json!(*x != 0.0),
        }),
        Some((n, rest)) => {
            let inner = Ty::new(ty.dtype, rest);
            let width = inner.numel();
            Value::Array((0..*n).map(|i| nested(&inner, &values[i * width..(i + 1) * width])).collect())
        }
    }
}

/// One exact sum over finite choices, in a line.
pub(crate) fn elimination(e: &EliminationCost) -> String {
    format!("{}: {} ({} evaluations a density)", e.program, e.text, e.evaluations)
}

/// For which choices divergences stand for log densities, in a line.
pub(crate) fn divergence(d: &Divergences) -> String {
    let plain: Vec<String> = d.plain.iter().map(|(a, why)| format!("{a} ({why})")).collect();
    let parts = [("exact for", &d.exact), ("log densities for", &plain)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, of)| !of.is_empty()).map(|(what, of)| format!("{what} {}", of.join(", "))).collect();
    format!("{} with {}: {}", d.target, d.guide, parts.join("; "))
}

fn divergence_json(d: &Divergences) -> Value {
    let plain: Map<String, Value> = d.plain.iter().map(|(a, why)| (a.clone(), json!(why))).collect();
    json!({ "program": d.target, "guide": d.guide, "exact": d.exact, "log_densities": plain })
}

fn elimination_json(e: &EliminationCost) -> Value {
    json!({ "program": e.program, "choices": e.choices, "how": e.text, "evaluations": e.evaluations })
}
