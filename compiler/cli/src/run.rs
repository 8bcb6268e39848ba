//! From a checked program to one that can run: values of top-level lets, initial parameters, the optimiser.

use crate::args::EngineName;
use crate::engine::{Evaluator, Globals, INITIAL, Machine, evaluate, fault, from_tensor, tensor};
use crate::model::constraint;
use ppl_abi::Precision;
use ppl_core::{Atom, Builder, Det, Support, Ty};
use ppl_diag::{Code, Diagnostic};
use ppl_driver::check::{FitPlan, Global, GuideDraws, ParamSpec, Program, Setting, SettingValue, unconstrained_init};
use ppl_driver::step::{Clip, Optimizer, OptimizerKind, Schedule, Shape};
use ppl_driver::{Cx, Lowered, lower_function};
use ppl_fit::data::{Array, Values};
use ppl_fit::optim::OptimizerSpec;
use ppl_fit::step::Param;
use ppl_fit::summary::Draws;
use ppl_interp::Interp;

/// An initial value outside of its constraint.
const OUTSIDE: Code = Code("E0307");

/// The parameters' and lets' values before a fit. `needed` says which parameters and lets are asked for.
///
/// # Errors
/// Data that were not given; initial values outside of their constraints.
pub(crate) fn globals(
    machine: Machine,
    program: &Program,
    data: Vec<Option<Array>>,
    needed: &dyn Fn(Global) -> bool,
    cx: &mut Cx,
) -> Result<Globals, Vec<Diagnostic>> {
    let mut g = Globals { data, ..Globals::default() };
    let lets = let_closure(program, needed);
    for (i, spec) in program.lets.iter().enumerate() {
        if !lets[i] {
            g.lets.push(placeholder(&spec.ty));
            continue;
        }
        let lowered = lower_function(program, program.module.det(spec.func), &spec.inputs, cx)?;
        let mut results = evaluate(machine, program, &lowered, &g, INITIAL).map_err(|d| vec![d])?;
        if spec.result >= results.len() {
            return Err(vec![fault("a `let` has fewer results than names")]);
        }
        g.lets.push(results.swap_remove(spec.result));
    }
    let mut problems = Vec::new();
    for (i, spec) in program.params.iter().enumerate() {
        let zeros =
            Array { shape: spec.free_shape.clone(), data: Values::Real(vec![0.0; numel(&spec.free_shape)]), missing: vec![] };
        if !needed(Global::Param(i)) {
            g.params.push(zeros);
            continue;
        }
        match initial(machine, program, i, spec, &g) {
            Ok(v) => g.params.push(v.unwrap_or(zeros)),
            Err(d) => {
                problems.push(d);
                g.params.push(zeros);
            }
        }
    }
    if problems.is_empty() { Ok(g) } else { Err(problems) }
}

/// The lets that are needed, by themselves, by another let, or by an initial value.
fn let_closure(program: &Program, needed: &dyn Fn(Global) -> bool) -> Vec<bool> {
    let mut out: Vec<bool> = (0..program.lets.len()).map(|i| needed(Global::Let(i))).collect();
    let mark = |inputs: &[Global], out: &mut Vec<bool>| {
        inputs.iter().for_each(|g| {
            if let Global::Let(j) = g {
                out[*j] = true;
            }
        });
    };
    for (i, p) in program.params.iter().enumerate() {
        if let (true, Some((_, inputs))) = (needed(Global::Param(i)), &p.init) {
            mark(inputs, &mut out);
        }
    }
    for i in (0..program.lets.len()).rev() {
        if out[i] {
            mark(&program.lets[i].inputs, &mut out);
        }
    }
    out
}

fn placeholder(ty: &Ty) -> Array {
    Array { shape: ty.shape.clone(), data: Values::Real(Vec::new()), missing: Vec::new() }
}

fn numel(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Elements from which on it takes less time to compile an initial value than to interpret it.
const COMPILED: usize = 128;

/// The unconstrained initial value, if the declaration has one.
fn initial(machine: Machine, program: &Program, i: usize, spec: &ParamSpec, g: &Globals) -> Result<Option<Array>, Diagnostic> {
    let (Some((id, inputs)), Some(free)) = (&spec.init, unconstrained_init(program, i)) else { return Ok(None) };
    let large = numel(&spec.shape) >= COMPILED && machine.engine == EngineName::Jit;
    let inputs = inputs.as_slice();
    // Initial values are exact numbers, whatever the precision of the run.
    let compiled = |f: &ppl_core::Func<Det>| {
        let first = |mut all: Vec<Diagnostic>| if all.is_empty() { fault("an initial value") } else { all.swap_remove(0) };
        let lowered = lower_function(program, f, inputs, &mut Cx::default()).map_err(first)?;
        let results = evaluate(Machine { precision: Precision::F64, ..machine }, program, &lowered, g, INITIAL)?;
        results.into_iter().next().ok_or_else(|| fault("an initial value has no result"))
    };
    let interp = Interp::new(&program.module.dets).precision(Precision::F64).seed(machine.seed).step(INITIAL);
    let args =
        inputs.iter().map(|x| g.get(program, *x).and_then(|a| tensor(a, Precision::F64))).collect::<Result<Vec<_>, _>>()?;
    let run = |f: &ppl_core::Func<Det>| {
        if large {
            return compiled(f);
        }
        let results = interp.run(f, &args).map_err(|e| {
            Diagnostic::error(Code("E0703"), format!("the initial value of `{}` can't be computed: {}", spec.name, e.fault))
                .label(spec.span, "declared here")
        })?;
        results.first().map_or_else(|| Err(fault("an initial value has no result")), from_tensor)
    };
    let value = run(program.module.det(*id))?;
    check_constraint(spec, &value)?;
    if spec.support == Support::Real && spec.free_shape == value.shape { Ok(Some(value)) } else { run(&free).map(Some) }
}

/// Initial values that are constants outside of their constraints. Large ones, and those that depend on data, are left to the fit.
pub(crate) fn check_initial(program: &Program) -> Vec<Diagnostic> {
    let machine = Machine { engine: EngineName::Interp, precision: Precision::F64, seed: 0 };
    let constants = program.params.iter().enumerate().filter(|(_, p)| {
        p.support != Support::Real && numel(&p.shape) <= 10_000 && p.init.as_ref().is_some_and(|(_, inputs)| inputs.is_empty())
    });
    constants.filter_map(|(i, p)| initial(machine, program, i, p, &Globals::default()).err()).collect()
}

/// Whether an initial value is in the constraint.
fn check_constraint(spec: &ParamSpec, value: &Array) -> Result<(), Diagnostic> {
    let values = value.to_f64();
    let name = |i: usize| ppl_fit::step::element_name(&spec.name, &value.shape, i);
    let outside = |what: String, must: String| {
        Diagnostic::error(
            OUTSIDE,
            format!("the initial value of `{}` is outside of its constraint `{}`", spec.name, spec.support),
        )
        .label(spec.span, what)
        .note(must)
        .help("change the initial value, or leave it out: the constraint has a default")
    };
    if let Some(i) = values.iter().position(|x| !x.is_finite()) {
        let must = format!("every element must {}, and be finite", constraint(&spec.support));
        return Err(outside(format!("`{}` starts at {}", name(i), values[i]), must));
    }
    let (c, open) = match &spec.support {
        // The unconstrained value of a bound itself would be infinite.
        Support::Interval { lo, hi } => {
            let inside = |x: f64| lo.is_none_or(|l| x > l) && hi.is_none_or(|h| x < h);
            (constraint(&spec.support), values.iter().position(|x| !inside(*x)))
        }
        Support::Simplex => (constraint(&spec.support), values.iter().position(|x| *x <= 0.0)),
        s => (constraint(s), None),
    };
    if let Some(i) = open {
        let must = match &spec.support {
            Support::Interval { lo: Some(l), hi: Some(h) } => format!("every element must lie between {l} and {h}"),
            Support::Simplex => "every element must be greater than 0".into(),
            _ => format!("every element must {c}"),
        };
        return Err(outside(format!("`{}` starts at {}", name(i), values[i]), must));
    }
    let width = value.shape.last().copied().unwrap_or(1).max(1);
    if let Some(i) = values.chunks(width).position(|row| c.is_on_rows() && !c.admits_row(row)) {
        let row: Vec<String> = values[i * width..(i + 1) * width].iter().take(8).map(ToString::to_string).collect();
        return Err(outside(format!("starts at [{}]", row.join(", ")), format!("the elements must {c}")));
    }
    Ok(())
}

/// The optimiser of a plan; `adam(0.01)` where none is written.
///
/// # Errors
/// `E0704` for one that does not exist or settings out of range.
pub(crate) fn optimizer(plan: &FitPlan) -> Result<OptimizerSpec, Diagnostic> {
    let Some(setting) = &plan.optimizer else { return OptimizerSpec::from_call("adam", &[0.01], &[]) };
    of_setting(setting).map_err(|d| if d.labels.is_empty() { d.label(setting.span, "this optimiser") } else { d })
}

fn of_setting(s: &Setting) -> Result<OptimizerSpec, Diagnostic> {
    let bad = |title: &str| Diagnostic::error(Code("E0704"), title);
    let (name, args) = match &s.value {
        SettingValue::Name(n) => (n.as_str(), &[][..]),
        SettingValue::Call { name, args } => (name.as_str(), args.as_slice()),
        SettingValue::Number(_) | SettingValue::Text(_) => {
            return Err(bad("an optimiser is a call such as `adam(0.01)`, not a number or a text"));
        }
    };
    let mut schedule = None;
    let mut numbers = Vec::new();
    for (key, value) in args {
        if key.as_deref() == Some("schedule") {
            schedule = Some(match value {
                SettingValue::Name(n) => (n.as_str(), &[][..]),
                SettingValue::Call { name, args } => (name.as_str(), args.as_slice()),
                SettingValue::Number(_) | SettingValue::Text(_) => {
                    return Err(bad("a schedule is a call such as `cosine(0.01)`, not a number or a text"));
                }
            });
        } else {
            numbers.push((key.clone(), value.clone()));
        }
    }
    let (positional, named) = split(name, &numbers)?;
    let mut spec = OptimizerSpec::from_call(name, &positional, &borrowed(&named))?;
    if let Some((name, args)) = schedule {
        let (positional, named) = split(name, args)?;
        spec.schedule = ppl_fit::optim::Schedule::from_call(name, &positional, &borrowed(&named))?;
    }
    Ok(spec)
}

type Arguments = (Vec<f64>, Vec<(String, f64)>);

fn split(name: &str, args: &[(Option<String>, SettingValue)]) -> Result<Arguments, Diagnostic> {
    let (mut positional, mut named) = (Vec::new(), Vec::new());
    for (key, value) in args {
        let SettingValue::Number(x) = value else {
            let d = Diagnostic::error(Code("E0704"), format!("the settings of `{name}` are numbers"));
            return Err(d.note("only `schedule` takes a call, such as `schedule = cosine(0.01)`"));
        };
        match key {
            Some(k) => named.push((k.clone(), *x)),
            None => positional.push(*x),
        }
    }
    Ok((positional, named))
}

fn borrowed(named: &[(String, f64)]) -> Vec<(&str, f64)> {
    named.iter().map(|(k, v)| (k.as_str(), *v)).collect()
}

/// The optimiser as the compiler wants it.
pub(crate) fn compiled(o: &OptimizerSpec) -> Optimizer {
    use ppl_fit::optim as f;
    Optimizer {
        kind: match o.kind {
            f::OptimizerKind::Sgd => OptimizerKind::Sgd,
            f::OptimizerKind::Momentum { mu, nesterov } => OptimizerKind::Momentum { mu, nesterov },
            f::OptimizerKind::Adam { beta1, beta2, eps } => OptimizerKind::Adam { beta1, beta2, eps },
            f::OptimizerKind::RmsProp { rho, eps } => OptimizerKind::RmsProp { rho, eps },
            f::OptimizerKind::AdaGrad { eps } => OptimizerKind::AdaGrad { eps },
        },
        rate: o.rate,
        clip: Clip { norm: o.clip.norm, value: o.clip.value },
        schedule: Schedule {
            shape: match o.schedule.shape {
                f::Shape::Constant => Shape::Constant,
                f::Shape::Cosine { to_fraction } => Shape::Cosine { to_fraction },
                f::Shape::Exponential { rate, every } => Shape::Exponential { rate, every },
                f::Shape::Linear { to_fraction } => Shape::Linear { to_fraction },
                f::Shape::Step { rate, every } => Shape::Step { rate, every },
                f::Shape::Polynomial { power, to_fraction } => Shape::Polynomial { power, to_fraction },
            },
            warmup: o.schedule.warmup,
        },
    }
}

/// At least `wanted` draws, cut to that number; each call of the program gives `draws.draws`.
///
/// # Errors
/// As [`Evaluator::run`].
pub(crate) fn sample(
    machine: Machine,
    program: &Program,
    draws: &GuideDraws,
    lowered: &Lowered,
    globals: &Globals,
    wanted: usize,
    from: u64,
) -> Result<Vec<Sampled>, Diagnostic> {
    let mut run = Evaluator::new(machine, program, lowered, globals)?;
    let mut out: Vec<Sampled> =
        draws.outputs.iter().map(|o| Sampled { name: o.name.clone(), ty: o.ty.clone(), values: Vec::new() }).collect();
    for call in 0..wanted.div_ceil(draws.draws.max(1)) {
        for (s, a) in out.iter_mut().zip(run.run(from + call as u64)?) {
            s.values.extend(a.to_f64());
        }
    }
    for s in &mut out {
        s.values.truncate(wanted * s.ty.numel());
    }
    Ok(out)
}

/// Draws of one named quantity.
#[derive(Clone, Debug)]
pub(crate) struct Sampled {
    /// Its address, or the name of the report.
    pub(crate) name: String,
    /// Its type in one draw.
    pub(crate) ty: Ty,
    /// The elements of the first draw, then those of the second, ..
    pub(crate) values: Vec<f64>,
}

/// Draws as columns.
///
/// # Errors
/// A fault of the compiler.
pub(crate) fn columns(sampled: &[Sampled]) -> Result<Draws, Diagnostic> {
    let mut draws = Draws::default();
    sampled.iter().try_for_each(|s| draws.push(&s.name, &s.ty.shape, &s.values))?;
    Ok(draws)
}

/// Sets parameters from named unconstrained values.
pub(crate) fn set_free(program: &Program, globals: &mut Globals, values: &[Param]) {
    for (spec, slot) in program.params.iter().zip(&mut globals.params) {
        if let Some(p) = values.iter().find(|p| p.name == spec.name && p.shape == spec.free_shape) {
            slot.data = Values::Real(p.values.clone());
        }
    }
}

/// The unconstrained value of a parameter from its constrained one.
///
/// # Errors
/// `E0307` where it is outside of its constraint.
pub(crate) fn free_value(program: &Program, i: usize, value: &Array) -> Result<Array, Diagnostic> {
    let spec = &program.params[i];
    check_constraint(spec, value)?;
    let mut b = Builder::<Det>::new("given");
    let v = b.param(spec.name.clone(), Ty::float(spec.shape.clone()));
    let identity = b.finish(vec![Atom::Var(v)]);
    let mut with_value = Program { module: program.module.clone(), params: program.params.clone(), ..Program::default() };
    let id = with_value.module.add_det(identity);
    with_value.params[i].init = Some((id, vec![Global::Param(i)]));
    let free = unconstrained_init(&with_value, i).ok_or_else(|| fault("a parameter has no unconstrained form"))?;
    let out =
        Interp::new(&with_value.module.dets).run(&free, &[tensor(value, Precision::F64)?]).map_err(|e| fault(&e.to_string()))?;
    out.first().map_or_else(|| Err(fault("a parameter has no unconstrained form")), from_tensor)
}

/// The engine of a run with its defaults.
pub(crate) fn engine_or_default(e: Option<EngineName>) -> EngineName {
    e.unwrap_or(EngineName::Jit)
}
