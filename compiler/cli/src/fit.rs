//! `ppl fit`: compile, optimise, summarise, save.

mod all;
mod bounds;
mod epochs;
mod estimate;
mod held_out;
mod output;
mod saving;
mod timing;
mod watcher;

pub(crate) use bounds::{Valued, gap, with_error};
pub(crate) use epochs::Every;
pub(crate) use estimate::{CALLS, Drawn, Estimate, Estimated, SAMPLE, epoch_start, moments};
pub(crate) use held_out::{HeldOut, split};
pub(crate) use output::{Outcome, divergence, elimination, nested};
pub(crate) use saving::{Resumed, Saver};
pub(crate) use timing::table as time_table;

use crate::args::{EngineName, FitArgs, RunArgs};
use crate::engine::{EVALUATION, Globals, Machine, StepSpec, interpreted_step, native_step, tensor};
use crate::model::{self, Model, Need};
use crate::report::{self, Failure};
use crate::run;
use crate::saved::Saved;
use crate::tune;
use held_out::Held;
use ppl_abi::Precision;
use ppl_diag::{Code, Diagnostic, Severity};
use ppl_driver::check::{FitOverrides, FitPlan, Global, Program, SettingValue, Side};
use ppl_driver::{Cx, FitCode, Lowered, lower_fit};
use ppl_fit::fit::{FitFailure, FitOptions, FitOutcome, Validation, fit_watched};
use ppl_fit::optim::{Direction, OptimizerSpec};
use ppl_fit::rundir::{Place, check_place, load_params};
use ppl_interp::Interp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use watcher::{Checkpoints, Evaluations, Watcher};

/// Steps where neither the file nor the command line says.
const STEPS: u64 = 10_000;
/// Evaluations of held-out data in a fit without epochs.
const EVALUATIONS: u64 = 100;
/// Nothing can be held out, or nothing is.
const NOTHING_HELD_OUT: Code = Code("E0706");

/// The settings that a fit runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) machine: Machine,
    pub(crate) steps: u64,
    pub(crate) draws: usize,
    pub(crate) optimizer: OptimizerSpec,
    /// Steps of an epoch, where there are epochs.
    pub(crate) epoch: Option<f64>,
    /// Held-out data.
    pub(crate) held_out: Option<HeldOut>,
    /// Steps between two evaluations of them.
    pub(crate) validate_every: f64,
    /// Evaluations without improvement that end the fit.
    pub(crate) patience: Option<u64>,
}

/// What a fit is asked for beside its settings.
#[derive(Default)]
pub(crate) struct Task<'a> {
    /// No progress, no remarks.
    pub(crate) quiet: bool,
    /// Ends it early.
    pub(crate) stop: Option<Arc<AtomicBool>>,
    /// Where it goes on from.
    pub(crate) resumed: Option<Resumed>,
    /// What saves it while it runs, if it is to be saved; how often, where the command line says.
    pub(crate) saver: Option<(&'a mut Saver, Option<Every>)>,
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
    let mut args = args.clone();
    let saved = args.resume.as_deref().map(Saved::open).transpose()?;
    let mut resumed = saved.as_ref().map(|s| Resumed::open(s, &args.run)).transpose()?;
    if let Some(s) = &saved {
        s.complete(&mut args);
    }
    let begun = Instant::now();
    let (mut source, path) = match (&args.model, &saved) {
        (Some(path), _) => (model::load(path)?, path.clone()),
        (None, Some(s)) => (s.source(), s.path()),
        (None, None) => return Err(Failure::usage(Diagnostic::error(model::BAD_OPTION, "no model is named"))),
    };
    cx.record("parse", begun.elapsed());
    let overrides = model::overrides(&mut source, &args.clauses, args.run.draws)?;
    let place = place(&args, &source.name);
    let begun = Instant::now();
    let model = model::with_data(source, &args.data.data, Need::All).map_err(|(s, d)| Failure::program(&s.map, d))?;
    cx.record("data", begun.elapsed());
    if let Some(place) = &place {
        check_place(place).map_err(Failure::plain)?;
    }
    if let Some(d) = saved.as_ref().and_then(|s| s.other_data(&model.bound.sources)) {
        report::diagnostics(&model.source.map, &[d]);
    }
    let (overrides, tuning) = tune::before_fit(&model, overrides, &args)?;
    let by = [args.clauses.by.clone(), tuning.as_ref().map_or(Vec::new(), |t| t.forms.by.clone())].concat();
    let mut saver = place.map(|place| Saver::new(place, &path, crate::saved::record(&args, &by)));
    let every = args.checkpoint.as_deref().and_then(|t| Every::parse(t).ok());
    let task = Task {
        quiet: args.quiet,
        stop: Some(stop_on_interrupt()),
        resumed: resumed.take(),
        saver: saver.as_mut().map(|s| (s, every)),
    };
    let mut done = run(&model, &overrides, &args.run, task, &mut cx)?;
    done.tuning = tuning;
    let saved = saver.map(|mut s| s.save(&done, &model)).transpose().map_err(Failure::plain)?;
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
    task: Task<'_>,
    cx: &mut Cx,
) -> Result<Outcome, Failure> {
    let Task { quiet, stop, resumed, mut saver } = task;
    let begun = Instant::now();
    let (mut program, mut warnings) = model.check(overrides)?;
    cx.record("check", begun.elapsed());
    let no_fit = || {
        let path = model.source.map.get(model.source.id).map_or(String::new(), |f| f.name.to_string());
        Failure::plain(model::no_fit(&path, model.fits(), overrides.index))
    };
    let mut plan = program.fit.clone().ok_or_else(no_fit)?;
    warnings.extend(model.bound.warnings.iter().cloned());
    let fail = |d: Vec<Diagnostic>| model.failure(d);
    let mut settings = settings(&plan, args, model).map_err(|d| fail(vec![d]))?;
    let begun = Instant::now();
    let split = match &settings.held_out {
        Some(from) => Some(split(model, &program, &plan, from, settings.machine.seed)?),
        None => None,
    };
    // Fewer rows make another program, with fewer steps an epoch.
    let whole = model;
    let model = split.as_ref().map_or(model, |s| &s.training);
    if matches!(settings.held_out, Some(HeldOut::Fraction(_))) {
        program = model.check(overrides)?.0;
        plan = program.fit.clone().ok_or_else(no_fit)?;
        settings = self::settings(&plan, args, model).map_err(|d| fail(vec![d]))?;
    }
    let held = split.as_ref().map(|s| Held::new(s.held.clone(), overrides, &program)).transpose()?;
    cx.record("held-out data", begun.elapsed());
    if !quiet {
        report::diagnostics(&whole.source.map, &warnings);
    }
    if let Some(r) = &resumed {
        settings.steps = r.total(settings.steps).map_err(|d| fail(vec![d]))?;
    }
    let code = lower_fit(&program, &plan, &run::compiled(&settings.optimizer), settings.steps, cx).map_err(fail)?;
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
    if let Some(path) = &args.train.init {
        let taken = initialise(&program, &mut globals, path).map_err(|d| fail(vec![d]))?;
        if !quiet {
            report::remark(&format!("{taken} of {} parameters start from {}\n", program.params.len(), path.display()));
        }
    }
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
    let mut options = FitOptions { quiet, stop, epoch: settings.epoch, ..FitOptions::new(settings.steps, direction) };
    let mut record = Validation::new(direction.sign(), settings.patience);
    let mut best = None;
    if let Some(r) = resumed {
        step.restore(&r.state).map_err(|d| fail(vec![saving::other_parameters(d)]))?;
        (options.start, options.steps) = (r.next_step, settings.steps - r.next_step);
        r.validation
            .map_or(Ok(()), |text| record.restore(&text, r.next_step))
            .map_err(|why| fail(vec![r.saved.damaged("validation.csv", &why)]))?;
        (options.before, best) = (r.trace, r.best);
    }
    let evaluations = match &held {
        Some(h) => Some(Evaluations {
            validator: h.evaluator(settings.machine).map_err(&fail)?,
            record,
            every: settings.validate_every,
            epoch: settings.epoch,
            best,
        }),
        None => None,
    };
    let mut outcome = Outcome {
        parameters: Vec::new(),
        settings: settings.clone(),
        plan: plan.clone(),
        chosen: code.chosen.clone(),
        eliminations: cx.eliminations.clone(),
        divergences: cx.divergences.clone(),
        draws: ppl_fit::summary::Draws::default(),
        objectives: Vec::new(),
        reports: Vec::new(),
        fitted: FitOutcome::default(),
        running: false,
        failure: None,
        tuning: None,
        held_out: split.as_ref().map(|s| s.how.clone()),
        validation: None,
        best: None,
    };
    let asked = saver.as_ref().and_then(|(_, every)| *every);
    let every = asked.map_or_else(|| checkpoint_of(&plan), |e| Ok(Some(e))).map_err(|d| fail(vec![d]))?;
    if let (Some(Every::Epochs(_)), None) = (every, settings.epoch) {
        epochs::steps(1.0, &plan, model).map_err(|d| fail(vec![d]))?;
    }
    let checkpoints = match (&mut saver, every) {
        (Some((saver, _)), Some(every)) => {
            let (mut draft, mut globals, program) = (outcome.clone(), globals.clone(), &program);
            let start = options.start;
            let save: watcher::Save<'_> = Box::new(move |now, validation, best| {
                run::set_free(program, &mut globals, best.unwrap_or(&now.step.params()));
                draft.parameters = output::parameters(model, program, &globals);
                draft.validation = validation.cloned();
                draft.best = best.map(<[_]>::to_vec);
                (draft.fitted, draft.running) = (saving::so_far(now, start), true);
                saver.save(&draft, model).map(drop)
            });
            Some(Checkpoints { every, epoch: settings.epoch, save })
        }
        _ => None,
    };
    let mut watcher = Watcher::new(evaluations, checkpoints, options.start);
    let fitted = fit_watched(&mut *step, &options, &mut watcher);
    drop(step);
    if let Some(e) = watcher.evaluations {
        (outcome.validation, outcome.best) = (Some(e.record), e.best);
    }
    run::set_free(&program, &mut globals, outcome.best.as_deref().unwrap_or(&fitted.params));
    let failure = fitted.failure.as_ref().map(|f| explain(f, &program, &code, &globals, settings.machine));
    let begun = Instant::now();
    let machine = settings.machine;
    let estimate_of = |lowered: &Lowered, claim: &ppl_driver::check::Claim, minibatches: &[ppl_driver::check::Minibatch]| {
        let fixed = claim.side == Side::Exact;
        let drawn = Drawn { each: plan.estimate_draws, minibatches: minibatches.to_vec(), fixed, draws: None };
        Estimate::new(machine, &program, lowered, &globals, drawn)?.value()
    };
    let objectives = plan.goals.iter().zip(&code.estimates);
    let objectives: Vec<Result<Estimated, Diagnostic>> =
        objectives.map(|(g, lowered)| estimate_of(lowered, &g.claim, &g.minibatches)).collect();
    let reports = plan.reports.iter().zip(&code.reports);
    let reports: Result<Vec<Estimated>, Diagnostic> =
        reports.map(|(r, lowered)| estimate_of(lowered, &r.claim, &r.minibatches)).collect();
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
    outcome.objectives = plan
        .goals
        .iter()
        .zip(objectives)
        .map(|(g, estimate)| Valued { name: g.name.clone(), claim: g.claim.clone(), estimate })
        .collect();
    let reports =
        plan.reports.iter().zip(reports).map(|(r, e)| Valued { name: r.name.clone(), claim: r.claim.clone(), estimate: Some(e) });
    outcome.reports = reports.collect();
    outcome.parameters = output::parameters(model, &program, &globals);
    outcome.draws = run::columns(&sampled).map_err(|d| fail(vec![d]))?;
    (outcome.fitted, outcome.failure) = (fitted, failure);
    Ok(outcome)
}

/// Gives parameters the values saved under their names; how many there are.
///
/// # Errors
/// `E0622` for a file that can't be read, values of other shapes, and where no name is a parameter's.
fn initialise(program: &Program, globals: &mut Globals, path: &Path) -> Result<usize, Diagnostic> {
    let saved = load_params(path)?;
    let taken = program.params.iter().filter(|p| saved.iter().any(|s| s.name == p.name)).count();
    if taken == 0 {
        let names = |all: &mut dyn Iterator<Item = &str>| all.take(6).collect::<Vec<_>>().join(", ");
        return Err(Diagnostic::error(Code("E0622"), format!("`{}` has no parameter of this model", path.display()))
            .note(format!("it has: {}", names(&mut saved.iter().map(|p| p.name.as_str()))))
            .note(format!("the model has: {}", names(&mut program.params.iter().map(|p| p.name.as_str())))));
    }
    crate::simulate::set_saved(program, globals, path)?;
    Ok(taken)
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
/// `E0704` for an optimiser that does not exist or settings of it out of range; `E0705` and `E0706` where epochs or held-out data are asked for
/// and there are none.
pub(crate) fn settings(plan: &FitPlan, args: &RunArgs, model: &Model) -> Result<Settings, Diagnostic> {
    let real = |name: &str| {
        plan.settings.iter().find(|s| s.name == name).and_then(|s| match s.value {
            SettingValue::Number(n) => Some(n),
            SettingValue::Name(_) | SettingValue::Text(_) | SettingValue::Call { .. } => None,
        })
    };
    let number = |name: &str| real(name).map(|n| n as u64);
    let named = plan.settings.iter().find(|s| s.name == "precision").and_then(|s| match &s.value {
        SettingValue::Name(n) if n == "f32" => Some(Precision::F32),
        SettingValue::Name(_) | SettingValue::Number(_) | SettingValue::Text(_) | SettingValue::Call { .. } => None,
    });
    let draws = args.draws.map(u64::from).or_else(|| number("draws")).unwrap_or(1000);
    let written = || number("steps").map(Ok).or_else(|| real("epochs").map(|e| epochs::steps(e, plan, model)));
    let steps = match (args.steps, args.train.epochs) {
        (Some(n), _) => n,
        (None, Some(e)) => epochs::steps(e, plan, model)?,
        (None, None) => written().unwrap_or(Ok(STEPS))?,
    };
    let epoch = epochs::epoch(plan, model).ok().flatten();
    let held_out = HeldOut::parse(&args.train.validation)?.or_else(|| real("validation").map(HeldOut::Fraction));
    let patience = args.train.patience.or_else(|| number("patience"));
    let validate_every = args.train.validate_every.or_else(|| number("validate_every"));
    if held_out.is_none() && (patience.is_some() || validate_every.is_some()) {
        let what = if patience.is_some() { "patience" } else { "validate_every" };
        let place = plan.settings.iter().find(|s| s.name == what).map_or(plan.span, |s| s.span);
        let d = Diagnostic::error(NOTHING_HELD_OUT, format!("`{what}` is about held-out data, and there are none"));
        return Err(d
            .label(place, "in this fit")
            .help("hold a tenth of the data out: `validation 0.1`, or `--validation 0.1`; or give some: `--validation FILE`"));
    }
    Ok(Settings {
        machine: Machine {
            engine: run::engine_or_default(args.engine),
            precision: args.precision.map(Precision::from).or(named).unwrap_or(Precision::F64),
            seed: args.seed.or_else(|| number("seed")).unwrap_or(0),
        },
        steps,
        draws: draws as usize,
        optimizer: run::optimizer(plan)?,
        epoch,
        held_out,
        validate_every: validate_every.map_or_else(|| epoch.unwrap_or((steps / EVALUATIONS).max(1) as f64), |n| n as f64),
        patience,
    })
}

/// How often the file says that the run is saved.
fn checkpoint_of(plan: &FitPlan) -> Result<Option<Every>, Diagnostic> {
    let Some(s) = plan.settings.iter().find(|s| s.name == "checkpoint") else { return Ok(None) };
    match &s.value {
        SettingValue::Number(n) => Ok(Some(Every::Steps(*n as u64))),
        SettingValue::Text(text) => Every::parse(text)
            .map(Some)
            .map_err(|must| Diagnostic::error(Code("E0211"), format!("`checkpoint` is {must}")).label(s.span, "not that")),
        SettingValue::Name(_) | SettingValue::Call { .. } => Ok(None),
    }
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
    match (&args.out, args.no_save, &args.resume) {
        (_, true, _) => None,
        (Some(path), _, _) => Some(Place::Dir { path: path.clone(), overwrite: args.overwrite }),
        (None, _, Some(run)) => Some(Place::Dir { path: run.clone(), overwrite: true }),
        (None, _, None) => Some(Place::Next { root: Path::new("runs").to_path_buf(), model: name.to_string() }),
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
