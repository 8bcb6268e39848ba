//! `ppl explain`: the page of an error code, or a model between two passes.

mod costs;

use crate::args::{ExplainArgs, PrecisionName};
use crate::check::with_data_if_any;
use crate::fit::time_table;
use crate::model::{self, BAD_OPTION, Model};
use crate::report::{self, Failure};
use crate::run;
use crate::sizes::open_size;
use ppl_abi::Precision;
use ppl_codegen::{Options, compile};
use ppl_diag::{Code, Diagnostic, did_you_mean};
use ppl_driver::check::{FitOverrides, guide_source};
use ppl_driver::{Cx, STAGES, analyse, choice_costs, lower_fit};
use std::path::Path;
use std::time::Instant;

const NO_STAGE: Code = Code("E0804");
const NO_CODE: Code = Code("E0805");

/// Stages after those of the driver.
const MORE: &[&str] = &["clif", "asm", "guide", "costs"];

/// Runs the command.
///
/// # Errors
/// Whatever is wrong with the code, the stage, or the model.
pub(crate) fn command(args: &ExplainArgs) -> Result<(), Failure> {
    if is_code(&args.target) && args.emit.is_none() && !Path::new(&args.target).exists() {
        report::say(&page(&args.target).map_err(Failure::usage)?);
        return Ok(());
    }
    let stage = match &args.emit {
        Some(s) => Some(known(s).map_err(Failure::usage)?),
        None if args.time_passes => None,
        None => {
            let d = Diagnostic::error(BAD_OPTION, "say what to print of the model");
            return Err(Failure::usage(d.help("add `--emit=STAGE`").note(format!("stages: {}", all().join(", ")))));
        }
    };
    let mut cx = Cx { emit: stage.clone(), ..Cx::default() };
    let begun = Instant::now();
    let mut source = model::load(Path::new(&args.target))?;
    cx.record("parse", begun.elapsed());
    let overrides = model::overrides(&mut source, &args.clauses, None)?;
    if stage.as_deref() == Some("ast") {
        let failed = crate::fit::any_error(&source.diagnostics);
        report::say(&format!("{:#?}\n", source.file));
        return if failed { Err(Failure::program(&source.map, source.diagnostics)) } else { Ok(()) };
    }
    let model = with_data_if_any(source, &args.data.data)?;
    let text = stage_text(args, stage.as_deref(), &model, &overrides, &mut cx)?;
    report::say(&text);
    if args.time_passes {
        let table = time_table(&cx.timings);
        if stage.is_some() { report::remark(&table) } else { report::say(&table) }
    }
    Ok(())
}

fn stage_text(
    args: &ExplainArgs,
    stage: Option<&str>,
    model: &Model,
    overrides: &FitOverrides,
    cx: &mut Cx,
) -> Result<String, Failure> {
    let fail = |d: Vec<Diagnostic>| model.failure(d);
    let begun = Instant::now();
    let (program, _) = model.check(overrides)?;
    cx.record("check", begun.elapsed());
    let Some(plan) = &program.fit else {
        return Err(Failure::plain(model::no_fit(&args.target, model.fits(), overrides.index)));
    };
    if stage == Some("guide") {
        return guide_source(&model.source.libraries(), &model.source.file, model.shapes.clone(), overrides)
            .map(|s| s.trim_end().to_string() + "\n")
            .map_err(fail);
    }
    if stage == Some("costs") {
        let all = choice_costs(&program, plan, cx).map_err(fail)?;
        return Ok(costs::text(&all, &model.source.map));
    }
    if let Some(d) = open_size(model, &program, None) {
        // Sizes that are left open are large numbers: nothing beyond this is built with them.
        if !matches!(stage, Some("core" | "inline")) {
            return Err(fail(vec![d]));
        }
        analyse(&program, cx).map_err(fail)?;
        return Ok(cx.emitted.first().cloned().unwrap_or_default());
    }
    let optimizer = run::optimizer(plan).map_err(|d| fail(vec![d]))?;
    let code = lower_fit(&program, plan, &run::compiled(&optimizer), 10_000, cx).map_err(fail)?;
    let machine_code = matches!(stage, None | Some("clif" | "asm"));
    if !machine_code {
        return Ok(cx.emitted.first().map_or(String::new(), |t| t.trim_end().to_string() + "\n"));
    }
    let precision =
        args.precision.map_or(Precision::F64, |p| if p == PrecisionName::F32 { Precision::F32 } else { Precision::F64 });
    let options = Options { keep_text: stage.is_some(), ..crate::engine::options(precision) };
    let compiled = compile(&code.step, &options).map_err(|e| fail(vec![crate::engine::fault(&e.to_string())]))?;
    let times = compiled.times();
    cx.record("plan buffers", times.plan);
    cx.record("clif", times.clif);
    cx.record("machine code", times.machine);
    let text = match stage {
        Some("clif") => compiled.clif(),
        Some("asm") => compiled.disassembly(),
        _ => None,
    };
    Ok(text.unwrap_or_default().to_string())
}

fn all() -> Vec<&'static str> {
    STAGES.iter().chain(MORE).copied().collect()
}

fn known(stage: &str) -> Result<String, Diagnostic> {
    if all().contains(&stage) {
        return Ok(stage.to_string());
    }
    let d = Diagnostic::error(NO_STAGE, format!("there is no stage `{stage}`")).note(format!("stages: {}", all().join(", ")));
    Err(match did_you_mean(stage, all()) {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d,
    })
}

fn is_code(text: &str) -> bool {
    let mut chars = text.chars();
    matches!(chars.next(), Some('E' | 'e')) && chars.clone().count() == 4 && chars.all(|c| c.is_ascii_digit())
}

/// The page of a code, as `ppl explain E0412` prints it.
pub(crate) fn page(code: &str) -> Result<String, Diagnostic> {
    match ppl_diag::code_info(code) {
        Some(info) => Ok(format!("{}: {}\n\n{}\n", info.code, info.name, info.page.trim())),
        None => Err(Diagnostic::error(NO_CODE, format!("there is no error code `{code}`"))
            .help("codes are `E` and four digits, as error messages show them")),
    }
}
