//! `ppl simulate`: draws from a generative program.

use crate::args::{Format, SimulateArgs};
use crate::engine::{EVALUATION, Globals, Machine};
use crate::fit::any_error;
use crate::model::{self, Model, Need, part_of};
use crate::report::{self, Failure};
use crate::run::{self, Sampled, columns};
use crate::sizes::open_size;
use ppl_diag::{Code, Diagnostic};
use ppl_driver::check::{Program, elaborate_simulation};
use ppl_driver::{Cx, Source, lower_draws};
use ppl_fit::data::{Array, Values};
use ppl_fit::rundir::{load_free, load_params};
use ppl_fit::step::{Param, check_params};
use ppl_syntax::ast::{Expr, ExprKind, Ident, ItemKind};
use serde_json::{Map, Value};
use std::path::Path;

const UNCLEAR: Code = Code("E0806");

/// Runs the command.
///
/// # Errors
/// Whatever is wrong with the program, its data or the parameters.
pub(crate) fn command(args: &SimulateArgs) -> Result<(), Failure> {
    let mut source = model::load(&args.model)?;
    let program = match &args.program {
        Some(text) => {
            let id = source.map.add("PROGRAM", text.as_str());
            let (e, found) = ppl_syntax::parse_expr(id, text);
            if any_error(&found) {
                return Err(Failure { code: 2, ..Failure::program(&source.map, found) });
            }
            e
        }
        None => default_program(&source).map_err(|d| Failure::program(&source.map, vec![d]))?,
    };
    let machine = Machine { engine: args.engine, precision: args.precision.into(), seed: args.seed };
    let model = model::with_data(source, &args.data.data, Need::Some).map_err(|(s, d)| Failure::program(&s.map, d))?;
    report::diagnostics(&model.source.map, &model.bound.warnings);
    let draws = args.draws as usize;
    let from = args.params.as_deref();
    let sampled = simulate(&model, &program, draws, machine, &|p, g| match from {
        Some(path) => set_saved(p, g, path).map_err(|d| vec![d]),
        None => Ok(()),
    })?;
    report::say(&match args.format {
        Format::Csv => columns(&sampled).map_err(Failure::plain)?.to_csv(),
        Format::Json => json(&sampled, draws),
    });
    Ok(())
}

/// Sets parameters beside the initial ones.
type SetParams<'a> = &'a dyn Fn(&Program, &mut Globals) -> Result<(), Vec<Diagnostic>>;

/// Draws from a program of the model.
///
/// # Errors
/// Whatever is wrong with the program or its data.
pub(crate) fn simulate(
    model: &Model,
    program: &Expr,
    draws: usize,
    machine: Machine,
    set: SetParams<'_>,
) -> Result<Vec<Sampled>, Failure> {
    let fail = |d: Vec<Diagnostic>| model.failure(d);
    let at = program.span;
    let libraries = model.source.libraries();
    let checked = elaborate_simulation(&libraries, &model.source.file, model.shapes.clone(), program, part_of(draws));
    let mut found = model.source.diagnostics.clone();
    found.extend(checked.diagnostics);
    if any_error(&found) {
        return Err(fail(found));
    }
    let program = checked.program;
    let Some(simulation) = program.simulations.first() else {
        let d = Diagnostic::error(UNCLEAR, "this program makes no choices, so there is nothing to draw");
        return Err(fail(vec![d]));
    };
    if let Some(d) = open_size(model, &program, Some(model.source.map.text(at))) {
        return Err(fail(vec![d]));
    }
    let mut cx = Cx::default();
    let lowered = lower_draws(&program, &simulation.draws, &mut cx).map_err(fail)?;
    let needed = |g| lowered.inputs.contains(&g);
    let mut globals = run::globals(machine, &program, model.data(&program), &needed, &mut cx).map_err(fail)?;
    set(&program, &mut globals).map_err(fail)?;
    run::sample(machine, &program, &simulation.draws, &lowered, &globals, draws, EVALUATION).map_err(|d| fail(vec![d]))
}

/// The model of the first `fit`, or the only program without parameters.
fn default_program(source: &Source) -> Result<Expr, Diagnostic> {
    if let Some(e) = model::fit_clause(source, 0).and_then(|f| f.model.as_ref()) {
        return Ok(match &e.kind {
            ExprKind::Given { program, .. } => (**program).clone(),
            _ => e.clone(),
        });
    }
    let gens: Vec<_> = source
        .file
        .items
        .iter()
        .filter_map(|i| match &i.kind {
            ItemKind::Gen(c) => Some(c),
            _ => None,
        })
        .collect();
    let plain: Vec<_> = gens.iter().filter(|c| c.params.iter().all(|p| p.default.is_some())).collect();
    match plain[..] {
        [one] => Ok(Expr::new(one.name.span, ExprKind::Name(Ident::new(one.name.as_str(), one.name.span)))),
        _ => {
            let d = Diagnostic::error(UNCLEAR, "the file has no `fit` that says which program to draw from");
            Err(if gens.is_empty() {
                d.note("it has no generative programs")
            } else {
                let names: Vec<&str> = gens.iter().map(|c| c.name.as_str()).collect();
                d.note(format!("its programs: {}", names.join(", "))).help(format!("name one: `ppl simulate MODEL {}`", names[0]))
            })
        }
    }
}

/// Parameters of a run folder (its exact state), or of a file of parameters.
pub(crate) fn set_saved(program: &Program, globals: &mut Globals, path: &Path) -> Result<(), Diagnostic> {
    if path.is_dir() {
        let mut saved = load_free(path)?;
        saved.retain(|p| program.params.iter().any(|q| q.name == p.name));
        let shapes: Vec<Param> = program
            .params
            .iter()
            .map(|p| Param { name: p.name.clone(), shape: p.free_shape.clone(), values: Vec::new() })
            .collect();
        check_params(&shapes, &saved, false)?;
        run::set_free(program, globals, &saved);
        return Ok(());
    }
    let saved = load_params(path)?;
    for (i, spec) in program.params.iter().enumerate() {
        let Some(p) = saved.iter().find(|p| p.name == spec.name) else { continue };
        let declared = Param { name: spec.name.clone(), shape: spec.shape.clone(), values: Vec::new() };
        check_params(&[declared], std::slice::from_ref(p), false)?;
        let value = Array { shape: p.shape.clone(), data: Values::Real(p.values.clone()), missing: Vec::new() };
        globals.params[i] = run::free_value(program, i, &value)?;
    }
    Ok(())
}

/// One object a draw, with whole arrays.
pub(crate) fn json(sampled: &[Sampled], draws: usize) -> String {
    let one = |k: usize| {
        let fields: Map<String, Value> = sampled
            .iter()
            .map(|s| {
                let width = s.ty.numel();
                (s.name.clone(), crate::fit::nested(&s.ty, &s.values[k * width..(k + 1) * width]))
            })
            .collect();
        Value::Object(fields).to_string()
    };
    let rows: Vec<String> = (0..draws).map(one).collect();
    format!("[{}]\n", rows.join(",\n"))
}

/// One line a draw: `x = 1.5, y = [1, 2]`.
pub(crate) fn lines(sampled: &[Sampled], draws: usize) -> String {
    let one = |k: usize| {
        let fields: Vec<String> = sampled
            .iter()
            .map(|s| {
                let width = s.ty.numel();
                let value = crate::fit::nested(&s.ty, &s.values[k * width..(k + 1) * width]);
                format!("{} = {value}", s.name)
            })
            .collect();
        fields.join(", ") + "\n"
    };
    (0..draws).map(one).collect()
}
