//! From checked programs to deterministic functions, pass by pass.

use crate::goals::{Merged, Part, merge, reaches};
use ppl_check::{Entry, FitPlan, Global, Goal, GuideDraws, Program};
use ppl_core::{Atom, Builder, Det, Est, Func};
use ppl_diag::{Code, Diagnostic, Span};
use ppl_opt::{PassManager, PassTiming, When};
use ppl_transform::step::{Carried, Direction, Layout, Learned, Optimizer, StepSpec};
use ppl_transform::{
    Avoid, ChoiceCosts, Chosen, Divergences, EliminationCost, SideOf, batch, inline, inline_with_remarks, relax, smooth,
    smooth_avoiding, strategies_value_only, strategies_with_sides, vjp,
};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Names that `--emit` takes, in the order of the pipeline.
pub const STAGES: &[&str] = &["ast", "core", "inline", "smooth", "strategies", "batch", "simplify", "vjp", "step", "optimised"];

const COMPILER_FAULT: Code = Code("E0903");

/// Bytes of stacked carries from which on a scan's memory counts more than its time.
const CHECKPOINT: usize = 64 << 20;

/// What a compilation keeps account of.
#[derive(Debug, Default)]
pub struct Cx {
    /// Time of each pass, in order; repeats are added up by the caller.
    pub timings: Vec<(String, Duration)>,
    /// The stage whose programs are wanted as text.
    pub emit: Option<String>,
    /// Their texts, in order.
    pub emitted: Vec<String>,
    /// Optimiser passes to leave out.
    pub skip: Vec<String>,
    /// Leave out rules that change rounding.
    pub exact: bool,
    /// What exact sums over finite choices cost, in the order in which they were met.
    pub eliminations: Vec<EliminationCost>,
    /// Where divergences stand for log densities, in the order in which they were met.
    pub divergences: Vec<Divergences>,
}

/// A deterministic function with what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Lowered {
    /// Before batching and optimisation: what the reference interpreter runs. Calls name the module's functions.
    pub reference: Func<Det>,
    /// After all passes.
    pub func: Func<Det>,
    /// What its parameters are.
    pub inputs: Vec<Global>,
}

/// Everything that a fit runs.
#[derive(Clone, Debug)]
pub struct FitCode {
    /// One optimisation step.
    pub step: Func<Det>,
    /// What the step's parameters are.
    pub layout: Layout,
    /// What the gradient function's parameters are: the targets of [`ppl_transform::step::Role::Given`], by position.
    pub inputs: Vec<Global>,
    /// Parameters that learn, in the step's order: positions in [`Program::params`].
    pub learned: Vec<usize>,
    /// Which of `learned` learn from an objective; the others are baselines and the like, which strategies train.
    pub own: Vec<bool>,
    /// States of strategies, in the step's order: positions in [`Program::params`].
    pub carried: Vec<usize>,
    /// Values and gradients, after optimisation: results are the value of each goal, then one gradient for each of `learned`.
    pub gradient: Func<Det>,
    /// The surrogates of the goals before batching and optimisation, one result for each.
    pub reference: Func<Det>,
    /// The objective of each goal, for each of many particles.
    pub estimates: Vec<Lowered>,
    /// The reports, in the plan's order.
    pub reports: Vec<Lowered>,
    /// Draws from the guide.
    pub draws: Option<Lowered>,
    /// Strategy of each choice of the objective.
    pub chosen: Vec<Chosen>,
}

impl Cx {
    fn time<T>(&mut self, name: &str, f: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let out = f();
        self.timings.push((name.to_string(), start.elapsed()));
        out
    }

    /// Records time spent elsewhere (parsing, checking, machine code).
    pub fn record(&mut self, name: &str, time: Duration) {
        self.timings.push((name.to_string(), time));
    }

    fn show(&mut self, stage: &str, text: impl FnOnce() -> String) {
        if self.emit.as_deref() == Some(stage) {
            self.emitted.push(text());
        }
    }

    fn optimise(&mut self, f: &mut Func<Det>, program: &Program, when: When) -> Result<(), Vec<Diagnostic>> {
        let skip = self.skip.iter().cloned().collect();
        let mut pm = PassManager { skip, exact: self.exact, ..PassManager::default() };
        let module = &program.module;
        let verify = |f: &Func<Det>| -> Result<(), String> {
            ppl_core::verify(module, f).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        if cfg!(debug_assertions) {
            pm.verify = Some(&verify);
        }
        let done = pm.run(f, &program.module.dets, when);
        self.timings.extend(pm.timings.iter().map(|PassTiming { name, time, .. }| ((*name).to_string(), *time)));
        done.map_err(|e| vec![fault(&e.to_string(), &e.program)])
    }
}

fn fault(message: &str, f: &Func<Det>) -> Diagnostic {
    Diagnostic::error(COMPILER_FAULT, format!("the compiler made a mistake: {message}"))
        .note(format!("in the function `{}` of {} statements", f.name, f.body.stmts.len()))
        .help("this is a fault of the compiler, not of your program; please report it with the program")
}

/// The flat estimator program of an entry.
fn flat(program: &Program, entry: &Entry, cx: &mut Cx) -> Result<Func<Est>, Vec<Diagnostic>> {
    let func = program.module.est(entry.func);
    cx.show("core", || program.module.to_string());
    let (mut f, remarks) = cx.time("inline", || inline_with_remarks(&program.module, func))?;
    // Before strategies, so that runs of the rest of a program read what no choice changes.
    if !cx.exact && !cx.skip.iter().any(|s| s == "split") {
        cx.time("split", || {
            if ppl_opt::split(&mut f) {
                ppl_opt::licm(&mut f);
            }
        });
    }
    note(&mut cx.eliminations, remarks.eliminations);
    note(&mut cx.divergences, remarks.divergences);
    cx.show("inline", || f.to_string());
    Ok(f)
}

/// Places where the author assumes continuity.
fn exempt(program: &Program) -> HashSet<Span> {
    program.continuous.iter().copied().collect()
}

/// A program with its strategies, its surrogate, and what was chosen.
type Surrogate = (Func<Est>, Func<Det>, Vec<SideOf>, Vec<Chosen>);

/// The program with its strategies, its surrogate, and what was chosen. Where the compiler's own choice turns out not to be possible
/// (too many combinations, lanes that are coupled), it takes the next one.
fn surrogate(program: &Program, flat: &Func<Est>, learned: &[bool], cx: &mut Cx) -> Result<Surrogate, Vec<Diagnostic>> {
    let relaxed = cx.time("relax", || relax(&program.module, flat))?;
    let flat = relaxed.as_ref().unwrap_or(flat);
    let mut avoid = Avoid::new();
    let mut first: Option<Vec<Diagnostic>> = None;
    loop {
        let picked = cx.time("smooth", || smooth_avoiding(&program.module, flat, learned, &exempt(program), &avoid));
        let (f, chosen) = match (picked, &first) {
            (Ok(p), _) => p,
            // Nothing is left to take: what was wrong at first is the reason.
            (Err(_), Some(e)) => return Err(e.clone()),
            (Err(e), None) => return Err(e),
        };
        let asked = |span: Span| !chosen.iter().any(|c| c.auto && c.span == span);
        let errors = match cx.time("strategies", || strategies_with_sides(&program.module, &f, 0, &asked)) {
            Ok((reference, sides)) => return Ok((f, reference, sides, chosen)),
            Err(e) => e,
        };
        let mut moved = false;
        for e in errors.iter().filter(|e| IMPOSSIBLE.iter().any(|(code, _)| e.code.0 == *code)) {
            let why = IMPOSSIBLE.iter().find(|(code, _)| e.code.0 == *code).map_or("", |(_, why)| why);
            let at = |c: &&Chosen| c.auto && e.labels.iter().any(|l| l.span == c.span);
            for c in chosen.iter().filter(at) {
                let known = avoid.entry(c.label.clone()).or_default();
                moved |= known.insert(c.strategy.clone(), why.to_string()).is_none();
            }
        }
        if !moved {
            return Err(first.unwrap_or(errors));
        }
        first.get_or_insert(errors);
    }
}

/// Errors of strategies that depend on the program around the choice, in a few words.
const IMPOSSIBLE: &[(&str, &str)] =
    &[("E0407", "the cost couples its elements"), ("E0408", "too many combinations"), ("E0502", "the loop has too many steps")];

/// The costs that each choice of a `fit` sees.
///
/// # Errors
/// As [`analyse`].
pub fn choice_costs(program: &Program, plan: &FitPlan, cx: &mut Cx) -> Result<Vec<ChoiceCosts>, Vec<Diagnostic>> {
    let mut out = Vec::new();
    for goal in &plan.goals {
        let flat = flat(program, &goal.objective, cx)?;
        let (f, ..) = surrogate(program, &flat, &learns(goal), cx)?;
        out.extend(cx.time("costs", || ppl_transform::costs(&program.module, &f, 0))?);
    }
    Ok(out)
}

/// Analyses what a `fit` would run, and programs that no `fit` uses, without lowering them further: biased uses of smooth values, strategies
/// that do not fit. Returns the strategy of each choice of the fit.
///
/// # Errors
/// Everything that would bias or stop the fit.
pub fn analyse(program: &Program, cx: &mut Cx) -> Result<Vec<Chosen>, Vec<Diagnostic>> {
    let mut errors: Vec<Diagnostic> = Vec::new();
    let mut chosen = Vec::new();
    if let Some(plan) = &program.fit {
        for goal in &plan.goals {
            let out = flat(program, &goal.objective, cx).and_then(|f| surrogate(program, &f, &learns(goal), cx));
            match out {
                Ok((_, _, _, c)) => note_choices(&mut chosen, c),
                Err(e) => errors.extend(e),
            }
        }
        if let Some(d) = &plan.draws
            && let Err(e) = flat(program, &d.entry, cx)
        {
            errors.extend(e);
        }
    }
    for p in &program.probes {
        let out = cx
            .time("inline", || inline(&program.module, program.module.est(p.func)))
            .and_then(|f| Ok(cx.time("relax", || relax(&program.module, &f))?.unwrap_or(f)))
            .and_then(|f| cx.time("smooth", || smooth(&program.module, &f, &p.learned, &exempt(program))));
        if let Err(e) = out {
            errors.extend(e);
        }
    }
    let mut distinct: Vec<Diagnostic> = Vec::new();
    for e in errors {
        if !distinct.iter().any(|d| d.code == e.code && d.span() == e.span()) {
            distinct.push(e);
        }
    }
    if distinct.is_empty() { Ok(chosen) } else { Err(distinct) }
}

/// The function with these results, sums over `n` particles, divided by their number.
fn mean(f: &Func<Det>, sums: &[usize], n: usize) -> Func<Det> {
    if n == 1 {
        return f.clone();
    }
    let mut b = Builder::<Det>::new(f.name.clone());
    b.func.span = f.span;
    let args: Vec<Atom> = f.params.iter().map(|v| b.param(f.vars[v.index()].name.clone(), f.ty(*v).clone()).into()).collect();
    let mut results = b.inline(f, &args);
    for k in sums {
        results[*k] = b.mul(results[*k], Atom::float(1.0 / n as f64));
    }
    b.finish(results)
}

/// Which inputs of a goal's objective learn from it.
fn learns(goal: &Goal) -> Vec<bool> {
    goal.objective.inputs.iter().map(|g| matches!(g, Global::Param(i) if goal.over.contains(i))).collect()
}

/// Adds what is not noted yet: goals share choices.
fn note<T: PartialEq>(noted: &mut Vec<T>, new: Vec<T>) {
    let new: Vec<T> = new.into_iter().filter(|c| !noted.contains(c)).collect();
    noted.extend(new);
}

/// As [`note`]; learned parameters may reach a choice in one goal only.
fn note_choices(noted: &mut Vec<Chosen>, new: Vec<Chosen>) {
    for c in new {
        match noted.iter_mut().find(|d| c == Chosen { reached: c.reached, ..(**d).clone() }) {
            Some(d) => d.reached |= c.reached,
            None => noted.push(c),
        }
    }
}

/// An entry's value: every sample is drawn, nothing is differentiated.
///
/// # Errors
/// Programs that can't be simulated or compiled.
pub fn lower_values(program: &Program, entry: &Entry, cx: &mut Cx) -> Result<Lowered, Vec<Diagnostic>> {
    let f = flat(program, entry, cx)?;
    let reference = cx.time("strategies", || strategies_value_only(&program.module, &f))?;
    finish(program, reference, entry.inputs.clone(), cx)
}

fn finish(program: &Program, reference: Func<Det>, inputs: Vec<Global>, cx: &mut Cx) -> Result<Lowered, Vec<Diagnostic>> {
    let mut func = reference.clone();
    cx.time("inline_calls", || ppl_opt::inline_calls(&mut func, &program.module.dets));
    func = cx.time("batch", || batch::batch(func));
    cx.optimise(&mut func, program, When::AfterVjp)?;
    Ok(Lowered { reference, func, inputs })
}

/// The expectation of an entry, to hold gradients against: no strategy has a part in it.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// `(inputs.., number)`, with `draws` also `(inputs.., number, z)`: one summand of the expectation.
    pub func: Func<Det>,
    /// What its first parameters are.
    pub inputs: Vec<Global>,
    /// Combinations of finite choices: the expectation is the sum over `number`.
    pub combinations: usize,
    /// Labels of the choices that are enumerated.
    pub enumerated: Vec<String>,
    /// Dimension of the standard normal vector `z` over which the rest is averaged; absent where the rest is drawn.
    pub draws: Option<usize>,
    /// Whether anything is drawn.
    pub random: bool,
}

/// The expectation of an entry's estimate, as exactly as it can be had.
///
/// # Errors
/// As [`lower_values`].
pub fn lower_expectation(program: &Program, entry: &Entry, cx: &mut Cx) -> Result<Expectation, Vec<Diagnostic>> {
    let f = flat(program, entry, cx)?;
    let mut last = None;
    for limit in [ALL_COMBINATIONS, SOME_COMBINATIONS] {
        let e = ppl_transform::enumerated(&program.module, &f, 0, limit);
        let reference = cx.time("strategies", || strategies_value_only(&program.module, &e.func))?;
        let mut func = reference;
        cx.time("inline_calls", || ppl_opt::inline_calls(&mut func, &program.module.dets));
        func = cx.time("batch", || batch::batch(func));
        cx.optimise(&mut func, program, When::AfterVjp)?;
        let random = draws_anything(&func.body);
        let given = if random { ppl_transform::given_draws(&func, QUADRATURE) } else { None };
        let exact = !random || given.is_some();
        let draws = given.as_ref().map(|g| g.1);
        let func = given.map_or(func, |g| g.0);
        let found = Expectation {
            func,
            inputs: entry.inputs.clone(),
            combinations: e.combinations,
            enumerated: e.choices,
            draws,
            random,
        };
        if exact || e.combinations <= SOME_COMBINATIONS {
            return Ok(found);
        }
        last = Some(found);
    }
    last.ok_or_else(Vec::new)
}

/// Combinations of finite choices where everything else is exact, and where the rest is drawn.
const ALL_COMBINATIONS: usize = 4096;
const SOME_COMBINATIONS: usize = 16;
/// Largest dimension of quadrature.
const QUADRATURE: usize = 3;

fn draws_anything(block: &ppl_core::Block<Det>) -> bool {
    block
        .stmts
        .iter()
        .any(|s| matches!(s.op, ppl_core::Op::Random(_)) || ppl_core::op_blocks(&s.op).into_iter().any(draws_anything))
}

/// Draws from a program.
///
/// # Errors
/// As [`lower_values`].
pub fn lower_draws(program: &Program, draws: &GuideDraws, cx: &mut Cx) -> Result<Lowered, Vec<Diagnostic>> {
    lower_values(program, &draws.entry, cx)
}

/// The log density of a program whose choices are all given.
///
/// # Errors
/// As [`lower_values`].
pub fn lower_density(program: &Program, entry: &Entry, cx: &mut Cx) -> Result<Lowered, Vec<Diagnostic>> {
    lower_values(program, entry, cx)
}

/// A deterministic function of the module, such as a top-level `let` or an initial value.
///
/// # Errors
/// A fault of the compiler.
pub fn lower_function(program: &Program, func: &Func<Det>, inputs: &[Global], cx: &mut Cx) -> Result<Lowered, Vec<Diagnostic>> {
    finish(program, func.clone(), inputs.to_vec(), cx)
}

/// An expression of a session.
///
/// # Errors
/// A fault of the compiler.
pub fn lower_expression(
    program: &Program,
    func: ppl_core::DetId,
    inputs: &[Global],
    cx: &mut Cx,
) -> Result<Lowered, Vec<Diagnostic>> {
    lower_function(program, program.module.det(func), inputs, cx)
}

/// The step, the final estimate and the draws of a fit.
///
/// # Errors
/// Programs whose gradient would be biased or can't be compiled.
pub fn lower_fit(
    program: &Program,
    plan: &FitPlan,
    optimizer: &Optimizer,
    steps: u64,
    cx: &mut Cx,
) -> Result<FitCode, Vec<Diagnostic>> {
    let (mut references, mut gradients, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
    for goal in &plan.goals {
        let inputs = goal.objective.inputs.clone();
        let flat = flat(program, &goal.objective, cx)?;
        let learned = learns(goal);
        let (flat, reference, sides, c) = surrogate(program, &flat, &learned, cx)?;
        // Results of the surrogate: the value, then what strategies return besides.
        let also = sides.iter().position(|s| *s == SideOf::Also).map(|k| 1 + k);
        let sums: Vec<usize> = std::iter::once(0).chain(also).collect();
        let reference = mean(&reference, &sums, plan.particles);
        note_choices(&mut chosen, c);
        cx.show("smooth", || flat.to_string());
        cx.show("strategies", || reference.to_string());
        let mut f = reference.clone();
        cx.time("inline_calls", || ppl_opt::inline_calls(&mut f, &program.module.dets));
        f = cx.time("batch", || batch::batch(f));
        cx.show("batch", || f.to_string());
        cx.optimise(&mut f, program, When::BeforeVjp)?;
        if cx.time("checkpoint", || ppl_transform::checkpoint(&mut f, CHECKPOINT)) {
            cx.optimise(&mut f, program, When::BeforeVjp)?;
        }
        cx.show("simplify", || f.to_string());
        let learned: Vec<usize> = learned.iter().enumerate().filter(|(_, l)| **l).map(|(i, _)| i).collect();
        let reached = reaches(&f, 0);
        let (own, rest): (Vec<usize>, Vec<usize>) = learned.iter().partition(|i| also.is_none() || reached.contains(i));
        let fail = |e: vjp::VjpError| vec![e.diagnostic()];
        let mut gradient = cx.time("vjp", || vjp::vjp(&f, &own, 0)).map_err(fail)?;
        let at = f.body.results.len();
        let mut slopes: Vec<(usize, usize, bool)> = own.iter().enumerate().map(|(k, i)| (*i, at + k, true)).collect();
        if let Some(also) = also {
            let at = gradient.body.results.len();
            gradient = cx.time("vjp", || vjp::vjp(&gradient, &rest, also)).map_err(fail)?;
            slopes.extend(rest.iter().enumerate().map(|(k, i)| (*i, at + k, false)));
        }
        cx.show("vjp", || gradient.to_string());
        let states = sides.iter().enumerate().filter_map(|(k, s)| match s {
            SideOf::State(i) => Some((*i, 1 + k)),
            SideOf::Also => None,
        });
        let states: Vec<(usize, usize)> = states.collect();
        references.push(Part { func: reference, inputs: inputs.clone(), learned: Vec::new(), states: Vec::new() });
        gradients.push(Part { func: gradient, inputs, learned: slopes, states });
    }
    let reference = merge(&references).func;
    let Merged { func: mut gradient, inputs, learned, states } = merge(&gradients);
    let smooth_at: Vec<usize> = learned.iter().map(|(i, _, _)| *i).collect();
    let own = learned.iter().map(|(_, _, goal)| goal.is_some()).collect();
    let direction = |goal: Option<usize>| match goal.and_then(|g| plan.goals.get(g)) {
        Some(g) if g.maximize => Direction::Maximize,
        _ => Direction::Minimize,
    };
    let learned: Vec<Learned> = learned
        .iter()
        .map(|(param, gradient, goal)| Learned {
            param: *param,
            gradient: *gradient,
            direction: direction(*goal),
            // What strategies train for themselves has an objective of its own.
            objective: goal.unwrap_or(plan.goals.len()),
        })
        .collect();
    let carried: Vec<Carried> = states.iter().map(|(param, next)| Carried { param: *param, next: *next }).collect();
    let spec = StepSpec { learned, carried, objective: 0, outputs: Vec::new(), optimizer: *optimizer, steps };
    let (mut step, layout) =
        cx.time("step", || ppl_transform::step::step(&gradient, &spec)).map_err(|e| vec![fault(&e.to_string(), &gradient)])?;
    cx.show("step", || step.to_string());
    cx.optimise(&mut step, program, When::AfterVjp)?;
    cx.show("optimised", || step.to_string());
    cx.optimise(&mut gradient, program, When::AfterVjp)?;
    let emit = cx.emit.take();
    let estimates = plan.goals.iter().map(|g| lower_values(program, &g.estimate, cx)).collect::<Result<Vec<_>, _>>()?;
    let reports = plan.reports.iter().map(|r| lower_values(program, &r.entry, cx)).collect::<Result<Vec<_>, _>>()?;
    let draws = plan.draws.as_ref().map(|d| lower_draws(program, d, cx)).transpose()?;
    cx.emit = emit;
    let number = |i: &usize| match inputs[*i] {
        Global::Param(p) => Some(p),
        Global::Data(_) | Global::Let(_) => None,
    };
    let learned = smooth_at.iter().filter_map(number).collect();
    let carried = states.iter().filter_map(|(i, _)| number(i)).collect();
    Ok(FitCode { step, layout, inputs, learned, own, carried, gradient, reference, estimates, reports, draws, chosen })
}
