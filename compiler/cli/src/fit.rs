//! `ppl fit`: compile, optimise, summarise, save.

mod all;
mod bounds;
mod output;
mod timing;

pub(crate) use bounds::Valued;
pub(crate) use output::{Outcome, divergence, elimination, nested};
pub(crate) use timing::table as time_table;

use crate::args::{EngineName, FitArgs, RunArgs};
use crate::engine::{EVALUATION, Evaluator, Globals, Machine, StepSpec, interpreted_step, native_step, tensor};
use crate::model::{self, Model, Need};
use crate::report::{self, Failure};
use crate::run;
use crate::tune;
use ppl_abi::Precision;
use ppl_diag::{Diagnostic, Severity};
use ppl_driver::check::{FitOverrides, FitPlan, Global, Minibatch, Program, SettingValue, Side};
use ppl_driver::{Cx, FitCode, Lowered, lower_fit};
use ppl_fit::fit::{FitFailure, FitOptions, FitOutcome};
use ppl_fit::optim::{Direction, OptimizerSpec};
use ppl_fit::rundir::{Place, check_place};
use ppl_interp::Interp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps where neither the file nor the command line says.
const STEPS: u64 = 10_000;
/// Evaluations of the objective after the fit.
const ESTIMATES: usize = 1000;
/// Minibatches that they see at most: more than a thousand where the sizes do not divide the data, fewer than all where there are millions.
pub(crate) const SAMPLE: usize = 5000;
/// Calls for them at most.
const CALLS: usize = 100;

/// A Monte Carlo estimate of the objective at the final parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimated {
    /// Mean over particles.
    pub(crate) mean: f64,
    /// Its Monte Carlo standard error.
    pub(crate) se: f64,
    /// Number of particles.
    pub(crate) draws: usize,
}

/// The settings that a fit runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) machine: Machine,
    pub(crate) steps: u64,
    pub(crate) draws: usize,
    pub(crate) optimizer: OptimizerSpec,
}

/// Runs the command.
///
/// # Errors
/// Whatever is wrong with the program or its data; numerical failure, with exit code 4.
pub(crate) fn command(args: &FitArgs) -> Result<(), Failure> {
    if args.all {
        return all::command(args);
    }
    let mut cx = Cx::default();
    let begun = Instant::now();
    let mut source = model::load(&args.model)?;
    cx.record("parse", begun.elapsed());
    let overrides = model::overrides(&mut source, &args.clauses, args.run.draws)?;
    let place = place(args, &source.name);
    let begun = Instant::now();
    let model = model::with_data(source, &args.data.data, Need::All).map_err(|(s, d)| Failure::program(&s.map, d))?;
    cx.record("data", begun.elapsed());
    if let Some(place) = &place {
        check_place(place).map_err(Failure::plain)?;
    }
    let (overrides, tuning) = tune::before_fit(&model, overrides, args)?;
    let stop = stop_on_interrupt();
    let mut done = run(&model, &overrides, &args.run, args.quiet, Some(stop), &mut cx)?;
    done.tuning = tuning;
    let saved = place.map(|p| done.save(&p, &model, &args.model)).transpose()?;
    if args.json {
        report::say(&done.json(saved.as_deref()));
    } else {
        report::say(&done.text(saved.as_deref(), args.quiet));
    }
    if args.time_passes {
        report::remark(&timing::table(&cx.timings));
    }
    match done.failure {
        Some(d) => Err(Failure { map: model.source.map, diagnostics: vec![d], code: 4 }),
        None => Ok(()),
    }
}

/// Checks, compiles, fits and evaluates a model. Warnings are printed.
///
/// # Errors
/// Whatever is wrong with the program or its data. Numerical failure is part of the outcome.
pub(crate) fn run(
    model: &Model,
    overrides: &FitOverrides,
    args: &RunArgs,
    quiet: bool,
    stop: Option<Arc<AtomicBool>>,
    cx: &mut Cx,
) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let (program, mut warnings) = model.check(overrides)?;
    cx.record("check", begun.elapsed());
    let Some(plan) = &program.fit else {
        let path = model.source.map.get(model.source.id).map_or(String::new(), |f| f.name.to_string());
        return Err(Failure::plain(model::no_fit(&path, model.fits(), overrides.index)));
    };
    warnings.extend(model.bound.warnings.iter().cloned());
    if !quiet {
        report::diagnostics(&model.source.map, &warnings);
    }
    let fail = |d: Vec<Diagnostic>| model.failure(d);
    let settings = settings(plan, args).map_err(|d| fail(vec![d]))?;
    let code = lower_fit(&program, plan, &run::compiled(&settings.optimizer), settings.steps, cx).map_err(fail)?;
    if !quiet {
        report::diagnostics(&model.source.map, &ppl_driver::biased(&code.chosen));
        // Before anything runs: an exact sum may be expensive.
        cx.eliminations.iter().for_each(|e| report::remark(&format!("summed exactly: {}\n", output::elimination(e))));
    }
    let needed = needed(&code);
    let mut globals = run::globals(
        settings.machine,
        &program,
        model.data(&program),
        &|g| matches!(g, Global::Param(_)) || needed.contains(&g),
        cx,
    )
    .map_err(fail)?;
    let spec = StepSpec { program: &program, code: &code, globals: &globals, machine: settings.machine };
    let begun = Instant::now();
    let mut step = match settings.machine.engine {
        EngineName::Jit => native_step(&spec),
        EngineName::Interp => interpreted_step(&spec),
    }
    .map_err(|d| fail(vec![d]))?;
    cx.record("machine code", begun.elapsed());
    let maximize = plan.goals.first().is_none_or(|g| g.maximize);
    let direction = if maximize { Direction::Maximize } else { Direction::Minimize };
    let options = FitOptions { quiet, stop, ..FitOptions::new(settings.steps, direction) };
    let fitted = ppl_fit::fit::fit(&mut *step, &options);
    drop(step);
    run::set_free(&program, &mut globals, &fitted.params);
    let failure = fitted.failure.as_ref().map(|f| explain(f, &program, &code, &globals, settings.machine));
    let begun = Instant::now();
    let objectives = plan.goals.iter().zip(&code.estimates).map(|(g, lowered)| {
        let fixed = g.claim.side == Side::Exact;
        estimate_of(settings.machine, &program, lowered, &globals, plan.estimate_draws, &g.minibatches, fixed)
    });
    let objectives: Vec<Result<Estimated, Diagnostic>> = objectives.collect();
    let reports = plan.reports.iter().zip(&code.reports).map(|(r, lowered)| {
        let fixed = r.claim.side == Side::Exact;
        estimate_of(settings.machine, &program, lowered, &globals, plan.estimate_draws, &r.minibatches, fixed)
    });
    let reports: Result<Vec<Estimated>, Diagnostic> = reports.collect();
    let sampled = match (&plan.draws, &code.draws) {
        (Some(d), Some(lowered)) => {
            run::sample(settings.machine, &program, d, lowered, &globals, settings.draws, EVALUATION + CALLS as u64)
        }
        _ => Ok(Vec::new()),
    };
    cx.record("evaluation", begun.elapsed());
    // After a failure, results are shown as far as there are any.
    let (objectives, reports, sampled): (Vec<Option<Estimated>>, _, _) = match (&failure, reports, sampled) {
        (None, r, s) => {
            let found = objectives.into_iter().map(|e| e.map(Some)).collect::<Result<_, _>>();
            (found.map_err(|d| fail(vec![d]))?, r.map_err(|d| fail(vec![d]))?, s.map_err(|d| fail(vec![d]))?)
        }
        (Some(_), _, s) => {
            let found = objectives.into_iter().map(|e| e.ok().filter(|e| e.mean.is_finite())).collect();
            (found, Vec::new(), s.unwrap_or_default())
        }
    };
    let objectives = plan
        .goals
        .iter()
        .zip(objectives)
        .map(|(g, estimate)| Valued { name: g.name.clone(), claim: g.claim.clone(), estimate })
        .collect();
    let reports =
        plan.reports.iter().zip(reports).map(|(r, e)| Valued { name: r.name.clone(), claim: r.claim.clone(), estimate: Some(e) });
    let reports = reports.collect();
    Ok(Outcome {
        parameters: output::parameters(model, &program, &globals),
        settings,
        plan: plan.clone(),
        chosen: code.chosen.clone(),
        eliminations: cx.eliminations.clone(),
        divergences: cx.divergences.clone(),
        draws: run::columns(&sampled).map_err(|d| fail(vec![d]))?,
        objectives,
        reports,
        fitted,
        failure,
        tuning: None,
    })
}

/// Everything that a fit's programs take.
fn needed(code: &FitCode) -> Vec<Global> {
    let draws = code.draws.iter().flat_map(|l| &l.inputs);
    let reports = code.reports.iter().flat_map(|l| &l.inputs);
    code.inputs.iter().chain(code.estimates.iter().flat_map(|l| &l.inputs)).chain(reports).chain(draws).copied().collect()
}

/// Settings of the run: from the command line, else the file, else defaults.
///
/// # Errors
/// `E0704` for an optimiser that does not exist or settings of it out of range.
pub(crate) fn settings(plan: &FitPlan, args: &RunArgs) -> Result<Settings, Diagnostic> {
    let number = |name: &str| {
        plan.settings.iter().find(|s| s.name == name).and_then(|s| match s.value {
            SettingValue::Number(n) => Some(n as u64),
            SettingValue::Name(_) | SettingValue::Call { .. } => None,
        })
    };
    let named = plan.settings.iter().find(|s| s.name == "precision").and_then(|s| match &s.value {
        SettingValue::Name(n) if n == "f32" => Some(Precision::F32),
        SettingValue::Name(_) | SettingValue::Number(_) | SettingValue::Call { .. } => None,
    });
    let draws = args.draws.map(u64::from).or_else(|| number("draws")).unwrap_or(1000);
    Ok(Settings {
        machine: Machine {
            engine: run::engine_or_default(args.engine),
            precision: args.precision.map(Precision::from).or(named).unwrap_or(Precision::F64),
            seed: args.seed.or_else(|| number("seed")).unwrap_or(0),
        },
        steps: args.steps.or_else(|| number("steps")).unwrap_or(STEPS),
        draws: draws as usize,
        optimizer: run::optimizer(plan)?,
    })
}

/// An estimate at the final parameters: mean and standard error over independent particles; one value of what is not random (`fixed`).
fn estimate_of(
    machine: Machine,
    program: &Program,
    lowered: &Lowered,
    globals: &Globals,
    each: usize,
    minibatches: &[Minibatch],
    fixed: bool,
) -> Result<Estimated, Diagnostic> {
    let mut run = Evaluator::new(machine, program, lowered, globals)?;
    if !minibatches.is_empty() {
        return over_data(&mut run, minibatches);
    }
    let mut values = Vec::new();
    for call in 0..if fixed { 1 } else { ESTIMATES.div_ceil(each.max(1)).min(CALLS) } {
        for a in run.run(EVALUATION + call as u64)?.iter().take(1) {
            values.extend(a.to_f64());
        }
    }
    if fixed && let Some(x) = values.first() {
        return Ok(Estimated { mean: *x, se: 0.0, draws: 1 });
    }
    let (mean, variance) = moments(&values);
    Ok(Estimated { mean, se: (variance / values.len() as f64).sqrt(), draws: values.len() })
}

/// An estimate from minibatches: the mean over the calls of an epoch, each with its own. Where they visit every datum once, draws are all that is
/// random, and the error is theirs; else it is that of the calls' means, which is larger where the data differ.
fn over_data(run: &mut Evaluator<'_>, minibatches: &[Minibatch]) -> Result<Estimated, Diagnostic> {
    let calls = minibatches.iter().map(Minibatch::epoch).max().unwrap_or(1).clamp(2, SAMPLE);
    // Evaluations begin where an epoch does.
    let period = minibatches.first().map_or(1, |m| m.data / gcd(m.data, m.size)) as u64;
    let start = EVALUATION.next_multiple_of(period);
    let whole = matches!(minibatches, [m] if m.size * calls == m.data);
    let (mut means, mut within, mut draws) = (Vec::new(), 0.0, 0);
    for call in 0..calls as u64 {
        for a in run.run(start + call)?.iter().take(1) {
            let values = a.to_f64();
            let (mean, variance) = moments(&values);
            within += variance / values.len() as f64;
            draws += values.len();
            means.push(mean);
        }
    }
    let n = means.len() as f64;
    let (mean, between) = moments(&means);
    let se = if whole { within.sqrt() / n } else { (between / n).sqrt() };
    Ok(Estimated { mean, se, draws })
}

/// Mean and variance of a sample.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The failure's diagnostic, with the expression that first gave a number that is not finite.
fn explain(f: &FitFailure, program: &Program, code: &FitCode, globals: &Globals, machine: Machine) -> Diagnostic {
    let mut d = f.diagnostic.clone();
    let Ok(args) = globals.all(program, &code.inputs) else { return d };
    let Ok(args) = args.iter().map(|a| tensor(a, machine.precision)).collect::<Result<Vec<_>, _>>() else { return d };
    let interp = Interp::new(&program.module.dets).precision(machine.precision).seed(machine.seed).step(f.step).clamp_indices();
    if let Ok(Some(found)) = interp.first_non_finite(&code.gradient, &args) {
        let what = format!("the first number that is not finite: {}", found.description);
        d = if found.span == ppl_diag::Span::NONE { d.note(what) } else { d.label(found.span, what) };
    }
    d
}

/// Where results go.
fn place(args: &FitArgs, name: &str) -> Option<Place> {
    match (&args.out, args.no_save) {
        (_, true) => None,
        (Some(path), _) => Some(Place::Dir { path: path.clone(), overwrite: args.overwrite }),
        (None, _) => Some(Place::Next { root: Path::new("runs").to_path_buf(), model: name.to_string() }),
    }
}

/// A flag that Ctrl-C raises; a second Ctrl-C ends the process.
pub(crate) fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = stop.clone();
    let handler = move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    // Without a handler Ctrl-C ends the process, as always.
    let _ = ctrlc::set_handler(handler);
    stop
}

/// Whether any is an error.
pub(crate) fn any_error(ds: &[Diagnostic]) -> bool {
    ds.iter().any(|d| d.severity == Severity::Error)
}

/// What the loop gives.
pub(crate) type Fitted = FitOutcome;
