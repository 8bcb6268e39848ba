//! `ppl check`: everything that is wrong with a file, or a line about what it is.

use crate::args::CheckArgs;
use crate::fit::any_error;
use crate::model::{self, Model, Need};
use crate::report::{self, Failure};
use crate::run;
use ppl_diag::{Code, Diagnostic};
use ppl_driver::check::Program;
use ppl_driver::{Cx, Source, analyse};
use ppl_fit::data::Bound;
use ppl_transform::Chosen;

/// Runs the command.
///
/// # Errors
/// Everything found in the file and its data.
pub(crate) fn command(args: &CheckArgs) -> Result<(), Failure> {
    let mut source = model::load(&args.model)?;
    let overrides = model::overrides(&mut source, &args.clauses, None)?;
    let model = with_data_if_any(source, &args.data.data)?;
    let (program, mut warnings) = model.check(&overrides)?;
    if program.fit.is_none() && args.clauses.fit > 0 {
        return Err(Failure::plain(model::no_fit(&args.model.display().to_string(), model.fits(), args.clauses.fit)));
    }
    let mut problems = run::check_initial(&program);
    if let Some(plan) = &program.fit {
        problems.extend(run::optimizer(plan).err());
    }
    let mut cx = Cx::default();
    let chosen = analyse(&program, &mut cx).map_err(|mut d| {
        d.append(&mut problems);
        model.failure(d)
    })?;
    if !problems.is_empty() {
        return Err(model.failure(problems));
    }
    warnings.extend(model.bound.warnings.iter().cloned());
    warnings.extend(ppl_driver::biased(&chosen));
    if !warnings.is_empty() {
        report::diagnostics(&model.source.map, &warnings);
    }
    report::say(&summary(&args.model.display().to_string(), &model, &program, &chosen));
    cx.divergences.iter().for_each(|d| report::say(&format!("divergences: {}\n", crate::fit::divergence(d))));
    // What unknown sizes stand for would make no number.
    if model.shapes.is_some() {
        cx.eliminations.iter().for_each(|e| report::say(&format!("summed exactly: {}\n", crate::fit::elimination(e))));
    }
    Ok(())
}

/// The model with its data; where none are named and none found, without.
pub(crate) fn with_data_if_any(source: Source, arguments: &[String]) -> Result<Model, Failure> {
    match model::with_data(source, arguments, Need::All) {
        Ok(m) => Ok(m),
        Err((source, problems)) => {
            let absent = |d: &Diagnostic| d.code == Code("E0604") || d.code == Code("E0601");
            if arguments.is_empty() && problems.iter().all(absent) {
                return Ok(Model { source, bound: Bound::default(), shapes: None, arguments: Vec::new() });
            }
            let checked = ppl_driver::check_source(&source, None, &ppl_driver::check::FitOverrides::default());
            let mut all = checked.diagnostics;
            debug_assert!(any_error(&problems));
            all.extend(problems);
            Err(Failure::program(&source.map, all))
        }
    }
}

fn summary(path: &str, model: &Model, program: &Program, chosen: &[Chosen]) -> String {
    let count = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let mut parts = Vec::new();
    if let Some(plan) = &program.fit {
        let goals: Vec<String> = plan
            .goals
            .iter()
            .map(|g| {
                let about = g.claim.about.quantity().map_or(String::new(), |_| format!(", {}", g.claim));
                format!("{}{about}", g.name)
            })
            .collect();
        let goals = goals.join(" and ");
        parts.push(match plan.guide.is_empty() {
            true => format!("{} by {goals}", plan.model),
            false => format!("{} with {} by {goals}", plan.model, plan.guide),
        });
    }
    let choices: usize = program.module.gens.iter().map(|f| f.name.as_str()).filter(|n| !n.is_empty()).count();
    if program.fit.is_none() {
        parts.push(count(choices, "generative program", "generative programs"));
    }
    let data = program.data.len();
    let given = if model.shapes.is_some() || data == 0 { "" } else { " (not given: sizes are left open)" };
    parts.push(format!("{data} data{given}"));
    parts.push(count(program.params.len(), "parameter", "parameters"));
    if !chosen.is_empty() {
        let list: Vec<String> = chosen.iter().map(|c| format!("{}: {}", c.label, c.strategy)).collect();
        parts.push(list.join(", "));
    }
    format!("{path}: fine ({})\n", parts.join("; "))
}
