//! `ppl tune`: which gradient strategy of each choice gives the most precise gradient for its time, on the user's own program and data.
//!
//! ```text
//!   choices     what a gradient is estimated through, with the strategies that take its distribution
//!   candidate   one setting of the strategies, compiled: its gradient drawn, its step timed
//!   measure     settings side by side, within the time that is left
//!   search      which settings are measured, and which is taken
//!   decide      what is better, by how much, and by how much it must be: no clock in it
//!   output      the table, and the strategies as text to paste
//! ```

mod candidate;
mod choices;
mod decide;
mod forms;
mod measure;
mod output;
mod search;

use crate::args::{EngineName, FitArgs, RunArgs, TUNE_BUDGET, TUNE_DRAWS, TUNE_WARMUP, TuneArgs};
use crate::engine::{Machine, StepSpec, native_step};
use crate::fit;
use crate::gradient::{Compiled, Lab};
use crate::model::{self, BAD_OPTION, Model, Need};
use crate::report::{self, Failure};
use choices::Choice;
use forms::Forms;
use measure::Workbench;
use ppl_diag::Diagnostic;
use ppl_driver::Cx;
use ppl_driver::check::{FitOverrides, Global};
use ppl_fit::data::Values;
use ppl_fit::step::Param;
use search::{Found, search};
use std::path::Path;
use std::time::{Duration, Instant};

/// The part of the budget that steps before the measurements may take.
const BEFORE: f64 = 1.0 / 3.0;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Gradients drawn of each setting.
    pub(crate) draws: u64,
    /// Steps that strategies which remember something run before they are measured.
    pub(crate) warmup: u64,
    /// Steps of fitting before anything is measured.
    pub(crate) after: u64,
    /// Seconds in all.
    pub(crate) budget: f64,
    /// Whether strategies marked biased may be taken.
    pub(crate) allow_biased: bool,
}

/// What is tuned: a fit of a model from some parameters.
pub(crate) struct Subject<'a> {
    pub(crate) model: &'a Model,
    /// Clauses of the fit, as the user has them.
    pub(crate) clauses: &'a FitOverrides,
    /// How the fit runs: steps, precision, seed.
    pub(crate) run: &'a RunArgs,
    /// Saved parameters to start from.
    pub(crate) params: Option<&'a Path>,
}

/// What tuning found.
#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    pub(crate) objective: String,
    pub(crate) choices: Vec<Choice>,
    /// Absent where there is nothing to tune.
    pub(crate) found: Option<Found>,
    pub(crate) options: Options,
    pub(crate) machine: Machine,
    pub(crate) particles: usize,
    /// Steps of fitting before.
    pub(crate) after: u64,
    /// Whether something was left out for want of time.
    pub(crate) late: bool,
    pub(crate) seconds: f64,
    /// The clauses with the picked strategies.
    pub(crate) clauses: FitOverrides,
    /// The picked strategies as text.
    pub(crate) forms: Forms,
}

/// Runs the command.
///
/// # Errors
/// Whatever is wrong with the program or its data; a gradient that is not finite.
pub(crate) fn command(args: &TuneArgs) -> Result<(), Failure> {
    let mut source = model::load(&args.model)?;
    let clauses = model::overrides(&mut source, &args.clauses, None)?;
    let model = model::with_data(source, &args.data.data, Need::All).map_err(|(s, d)| Failure::program(&s.map, d))?;
    let run = RunArgs { seed: args.seed, precision: args.precision, ..RunArgs::default() };
    let subject = Subject { model: &model, clauses: &clauses, run: &run, params: args.params.as_deref() };
    let options = Options {
        draws: args.draws,
        warmup: args.warmup,
        after: args.after,
        budget: args.budget,
        allow_biased: args.allow_biased,
    };
    let found = tune(&subject, |_| options)?;
    report::say(&if args.json { found.json() } else { found.text(&model) });
    Ok(())
}

/// Tunes the strategies of a fit; `options` may depend on the number of its steps.
///
/// # Errors
/// Whatever is wrong with the program or its data; a gradient that is not finite with the strategies in use.
pub(crate) fn tune(subject: &Subject<'_>, options: impl Fn(u64) -> Options) -> Result<Tuning, Failure> {
    let begun = Instant::now();
    let Subject { model, clauses, run, params } = *subject;
    // Nothing is reported.
    let clauses = &FitOverrides { reports: Vec::new(), ..clauses.clone() };
    let (program, _) = model.check(clauses)?;
    let Some(plan) = &program.fit else {
        let path = model.source.map.get(model.source.id).map_or(String::new(), |f| f.name.to_string());
        return Err(Failure::plain(model::no_fit(&path, model.fits(), clauses.index)));
    };
    let settings = fit::settings(plan, run, model).map_err(|d| model.failure(vec![d]))?;
    let (machine, steps) = (settings.machine, settings.steps);
    if machine.engine != EngineName::Jit {
        return Err(Failure::usage(
            Diagnostic::error(BAD_OPTION, "strategies are tuned by the time of native code")
                .help("leave out `--engine interp`, or give the strategies: `--by z=reinforce`"),
        ));
    }
    let options = options(steps);
    let deadline = begun + Duration::from_secs_f64(options.budget);
    let mut lab = Lab { model, machine, params, cx: Cx::default() };
    let compiled = lab.compiled(clauses, steps)?;
    let (wanted, choices) = (compiled.learned(), choices::choices(model, clauses, &compiled));
    let objective = compiled.plan.goals.iter().map(|g| g.name.clone()).collect::<Vec<_>>().join(", ");
    let mut out = Tuning {
        objective,
        found: None,
        options,
        machine,
        particles: compiled.plan.particles,
        after: 0,
        late: false,
        seconds: 0.0,
        clauses: clauses.clone(),
        forms: Forms::default(),
        choices: Vec::new(),
    };
    if wanted.is_empty() || choices.is_empty() {
        return Ok(out);
    }
    let until = begun + Duration::from_secs_f64(options.budget * BEFORE);
    let (at, done) = start(&mut lab, &compiled, options.after, until)?;
    drop(compiled);
    // The parameters are known: the saved ones are in them, but for what strategies remember, which each setting makes for itself.
    lab.params = None;
    let counts: Vec<usize> = choices.iter().map(|c| c.options.len()).collect();
    let mut bench =
        Workbench { lab, clauses, choices: &choices, at, wanted, steps, options, deadline, late: done < options.after };
    let found = search(&mut bench, &counts)?;
    out.late = bench.late;
    out.after = done;
    out.clauses = FitOverrides { reports: subject.clauses.reports.clone(), ..bench.clauses(&found.picked) };
    out.forms = forms::forms(model, clauses, &choices, &found.picked);
    out.found = Some(found);
    out.choices = choices;
    out.seconds = begun.elapsed().as_secs_f64();
    Ok(out)
}

/// The parameters where variances are measured, after `steps` steps of the fit or as many as there is time for; and how many those were. What
/// strategies remember or train for themselves is not among them.
fn start(lab: &mut Lab<'_>, c: &Compiled, steps: u64, until: Instant) -> Result<(Vec<Param>, u64), Failure> {
    let all: Vec<Global> = (0..c.program.params.len()).map(Global::Param).chain(c.code.inputs.iter().copied()).collect();
    let globals = lab.globals(&c.program, &all, &[])?;
    let memory: Vec<usize> = c.code.carried.iter().copied().chain(trained_by_strategies(c)).collect();
    let params = c.program.params.iter().zip(&globals.params).enumerate().filter(|(i, _)| !memory.contains(i));
    let mut at: Vec<Param> = params
        .map(|(_, (spec, a))| Param { name: spec.name.clone(), shape: spec.free_shape.clone(), values: values(&a.data) })
        .collect();
    if steps == 0 {
        return Ok((at, 0));
    }
    let spec = StepSpec { program: &c.program, code: &c.code, globals: &globals, machine: lab.machine };
    let mut step = native_step(&spec).map_err(|d| lab.fail(vec![d]))?;
    let (mut done, mut chunk) = (0, 1);
    let mut good = step.params();
    while done < steps && Instant::now() < until {
        let n = chunk.min(steps - done);
        // Where a step is not finite, the parameters before it are good enough: a fit reports it.
        if step.run(done, &mut vec![0.0; n as usize]).is_err() || step.params().iter().any(|p| p.non_finite().is_some()) {
            break;
        }
        good = step.params();
        done += n;
        chunk = (2 * chunk).min(256);
    }
    for p in &mut at {
        if let Some(q) = good.iter().find(|q| q.name == p.name) {
            p.values.clone_from(&q.values);
        }
    }
    Ok((at, done))
}

fn trained_by_strategies(c: &Compiled) -> impl Iterator<Item = usize> {
    c.code.learned.iter().zip(&c.code.own).filter(|(_, own)| !**own).map(|(p, _)| *p)
}

fn values(v: &Values) -> Vec<f64> {
    match v {
        Values::Real(x) => x.clone(),
        Values::Int(_) | Values::Bool(_) | Values::Stored(..) => Vec::new(),
    }
}

/// With `--tune`, the clauses of a fit with tuned strategies, and how they were found; the tables are printed. Not where the fit begins but after a
/// tenth of its steps, where gradients are more like those of most of them.
///
/// # Errors
/// As [`tune`].
pub(crate) fn before_fit(
    model: &Model,
    clauses: FitOverrides,
    args: &FitArgs,
) -> Result<(FitOverrides, Option<Tuning>), Failure> {
    let t = &args.tuning;
    if !t.tune {
        return Ok((clauses, None));
    }
    let options = |steps: u64| Options {
        draws: TUNE_DRAWS,
        warmup: TUNE_WARMUP,
        after: t.tune_after.unwrap_or((steps / 10).min(1000)),
        budget: t.tune_budget.unwrap_or(TUNE_BUDGET),
        allow_biased: t.allow_biased,
    };
    let subject = Subject { model, clauses: &clauses, run: &args.run, params: None };
    let found = tune(&subject, options)?;
    if !args.quiet {
        report::remark(&format!("{}\n", found.text(model)));
    }
    Ok((found.clauses.clone(), Some(found)))
}
