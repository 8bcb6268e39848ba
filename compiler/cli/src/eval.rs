//! `ppl eval`: objectives, estimates for each datum and pictures at fitted parameters, on the fit's data or others.

mod elements;
mod images;
mod output;

use crate::args::{EngineName, EvalArgs, FitArgs, Part};
use crate::engine::{EVALUATION, Evaluator, Globals, Machine, evaluate};
use crate::fit::{Drawn, Estimate, HeldOut, Valued, any_error, split};
use crate::model::{self, BAD_OPTION, Model, Need, fit_clause};
use crate::report::{self, Failure};
use crate::run;
use crate::saved::Saved;
use crate::sizes::open_size;
use elements::Elements;
use ppl_abi::Precision;
use ppl_diag::{Code, Diagnostic, Severity};
use ppl_driver::check::{
    ArrayEvaluation, Claim, Evaluation, FitOverrides, Global, Program, SettingValue, Side, elaborate_evaluations,
};
use ppl_driver::{Cx, Lowered, Source, lower_values};
use ppl_syntax::ast::{Expr, ExprKind, Ident};
use std::path::PathBuf;

/// An expression that can't be evaluated as it is asked for.
const NOT_EVALUATED: Code = Code("E0810");

/// Elements of an array that a call computes at first.
const LANES: usize = 64;
/// Bytes that a call may work in, about: where it would take more, it computes fewer elements.
const WORKSPACE: usize = 256 << 20;
/// Particles in a call of an estimate without minibatches, at most.
const PARTICLES: usize = 100;

/// What is evaluated: a model with its data, and how.
struct Subject {
    model: Model,
    overrides: FitOverrides,
    machine: Machine,
    params: Option<PathBuf>,
    /// The run, as it is named.
    run: Option<PathBuf>,
    /// Draws that are wanted.
    draws: Option<usize>,
}

/// An array of estimates.
#[derive(Clone, Debug)]
struct Each {
    name: String,
    claim: Claim,
    shape: Vec<usize>,
    values: Vec<f64>,
    /// Draws of each element.
    draws: usize,
}

/// A result, in the order of the command line.
#[derive(Clone, Debug)]
enum Result1 {
    Number(Valued),
    Each(Each),
}

/// Runs the command.
///
/// # Errors
/// Whatever is wrong with the program, its data, the parameters or the expressions.
pub(crate) fn command(args: &EvalArgs) -> Result<(), Failure> {
    let (mut subject, written) = Subject::open(args)?;
    let (objectives, pictures) = (written.objectives, written.pictures);
    let mut results = Vec::new();
    for (text, e) in &objectives {
        results.push(subject.result(e, text.as_deref())?);
    }
    if let Some(path) = &args.out {
        output::write(path, &results).map_err(Failure::plain)?;
    }
    let mut drawn = Vec::new();
    for (text, e, path) in &pictures {
        let array = subject.picture(e, text)?;
        let size = images::write(&array, text, path, args.columns)
            .map_err(|d| subject.model.failure(vec![d.label(e.span, "this array")]))?;
        drawn.push((path.clone(), size));
    }
    let target = subject.run.as_deref().unwrap_or(&args.target);
    report::say(&if args.json {
        output::json(target, &results, &drawn, args.out.as_deref())
    } else {
        output::text(target, &results, &drawn, args.out.as_deref())
    });
    Ok(())
}

/// The expressions of the command line.
#[derive(Default)]
struct Written {
    /// As written, where the command line has them; parsed.
    objectives: Vec<(Option<String>, Expr)>,
    /// As written, parsed, and the file.
    pictures: Vec<(String, Expr, PathBuf)>,
}

impl Written {
    /// Parses them, or takes the objectives of the fit.
    fn parse(source: &mut Source, args: &EvalArgs, overrides: &FitOverrides) -> Result<Written, Failure> {
        let mut out = Written::default();
        let mut problems = Vec::new();
        let mut parse = |source: &mut Source, option: &str, text: &str| {
            let id = source.map.add(option, text);
            let (e, found) = ppl_syntax::parse_expr(id, text);
            let fine = found.iter().all(|d| d.severity != Severity::Error);
            problems.extend(found);
            fine.then_some(e)
        };
        for text in &args.objective {
            out.objectives.extend(parse(source, "--objective", text).map(|e| (Some(text.clone()), e)));
        }
        let mut malformed = Vec::new();
        for text in &args.images {
            match text.rsplit_once('=').filter(|(_, f)| f.to_ascii_lowercase().ends_with(".png")) {
                Some((e, file)) => {
                    out.pictures.extend(parse(source, "--images", e).map(|x| (e.to_string(), x, PathBuf::from(file))));
                }
                None => malformed.push(
                    Diagnostic::error(BAD_OPTION, format!("`--images {text}` names no file"))
                        .help("write `--images 'EXPR=pictures.png'`"),
                ),
            }
        }
        problems.extend(malformed);
        if !problems.is_empty() {
            return Err(Failure { code: 2, ..Failure::program(&source.map, problems) });
        }
        if args.objective.is_empty() && (args.images.is_empty() || args.out.is_some()) {
            out.objectives = goals(source, overrides).map_err(Failure::plain)?.into_iter().map(|e| (None, e)).collect();
        }
        Ok(out)
    }
}

/// The objectives of the fit.
fn goals(source: &Source, overrides: &FitOverrides) -> Result<Vec<Expr>, Diagnostic> {
    if let Some(e) = &overrides.objective {
        return Ok(vec![e.clone()]);
    }
    let Some(fit) = fit_clause(source, overrides.index) else {
        let fits = (0..).take_while(|k| fit_clause(source, *k).is_some()).count();
        let d = model::no_fit(&source.name, fits, overrides.index);
        return Err(d.note("without one, say what to evaluate: `--objective EXPR`"));
    };
    if fit.goals.is_empty() {
        let span = fit.model.as_ref().map_or(ppl_diag::Span::NONE, |m| m.span);
        return Ok(vec![Expr::new(span, ExprKind::Name(Ident::new("elbo", span)))]);
    }
    Ok(fit.goals.iter().map(|g| g.objective.clone()).collect())
}

impl Subject {
    /// The model, its data and the expressions.
    fn open(args: &EvalArgs) -> Result<(Subject, Written), Failure> {
        let saved = if args.target.is_dir() { Some(Saved::open(&args.target)?) } else { None };
        // The clauses of the fit.
        let mut fit = FitArgs::default();
        if let Some(s) = &saved {
            s.complete(&mut fit);
        }
        fit.clauses.report.clear();
        fit.clauses.guide = args.guide.clone().or(fit.clauses.guide);
        fit.clauses.fit = args.fit.unwrap_or(fit.clauses.fit);
        let mut source = match &saved {
            Some(s) => s.source(),
            None => model::load(&args.target)?,
        };
        let draws = args.draws.map(|n| n as usize);
        let mut overrides = model::overrides(&mut source, &fit.clauses, None)?;
        // As many particles a call as in the fit's own evaluation, unless fewer are wanted.
        let each = overrides.estimate_draws.unwrap_or(1).min(draws.unwrap_or(usize::MAX));
        overrides.estimate_draws = Some(each.clamp(1, PARTICLES));
        let written = Written::parse(&mut source, args, &overrides)?;
        let model = model::with_sources(source, &args.data.data, &fit.data.data, Need::Some);
        let model = model.map_err(|(s, d)| Failure::program(&s.map, d))?;
        report::diagnostics(&model.source.map, &model.bound.warnings);
        let precision = args.precision.or(fit.run.precision).map_or(Precision::F64, Precision::from);
        let engine = args.engine.or(fit.run.engine).unwrap_or(EngineName::Jit);
        let machine = Machine { engine, precision, seed: args.seed.or(fit.run.seed).unwrap_or(0) };
        let run = saved.as_ref().map(|s| s.folder.clone());
        let params = args.params.clone().or_else(|| run.clone());
        let mut subject = Subject { model, overrides, machine, params, run, draws };
        if let (Some(s), true) = (&saved, args.data.data.is_empty()) {
            if let Some(d) = s.other_data(&subject.model.bound.sources) {
                report::diagnostics(&subject.model.source.map, &[d]);
            }
            // The rows are divided as the fit did it, by its own seed.
            subject.take_part(args.part, &fit, s.seed().unwrap_or(0))?;
        } else if let Some(part) = args.part.filter(|p| *p != Part::All) {
            return Err(subject.nothing_held_out(part));
        }
        Ok((subject, written))
    }

    fn nothing_held_out(&self, part: Part) -> Failure {
        let name = if part == Part::Training { "training" } else { "validation" };
        let d = Diagnostic::error(Code("E0706"), format!("there is no {name} part: the fit held out no fraction of its data"));
        Failure::plain(d.help("leave `--part` out, or give data with `--data`"))
    }

    /// Keeps the rows that the fit learned from, or those that it held out.
    fn take_part(&mut self, part: Option<Part>, fit: &FitArgs, seed: u64) -> Result<(), Failure> {
        if part == Some(Part::All) {
            return Ok(());
        }
        let (program, _) = self.model.check(&self.overrides)?;
        let Some(plan) = &program.fit else { return Ok(()) };
        let written = plan.settings.iter().find(|s| s.name == "validation").and_then(|s| match s.value {
            SettingValue::Number(x) => Some(HeldOut::Fraction(x)),
            _ => None,
        });
        let given = HeldOut::parse(&fit.run.train.validation).map_err(Failure::plain)?;
        let from = given.or(written);
        match (from, part) {
            (Some(HeldOut::Sources(_)) | None, None) => Ok(()),
            (None, Some(p)) => Err(self.nothing_held_out(p)),
            (Some(HeldOut::Sources(_)), Some(Part::Training)) => Ok(()),
            (Some(from), part) => {
                let split = split(&self.model, &program, plan, &from, seed)?;
                self.model = if part == Some(Part::Validation) { split.held } else { split.training };
                Ok(())
            }
        }
    }

    /// The program with one expression, `lanes` elements a call where it is an array in parts.
    fn checked(&self, e: &Expr, lanes: usize) -> Result<(Program, Evaluation), Failure> {
        let each = self.overrides.estimate_draws.unwrap_or(1);
        let libraries = self.model.source.libraries();
        let (checked, mut out) = elaborate_evaluations(
            &libraries,
            &self.model.source.file,
            self.model.shapes.clone(),
            &self.overrides,
            std::slice::from_ref(e),
            (each, lanes),
        );
        let mut found = self.model.source.diagnostics.clone();
        found.extend(checked.diagnostics);
        let one = out.pop().flatten();
        if any_error(&found) {
            return Err(self.model.failure(found));
        }
        let text = self.model.source.map.text(e.span);
        let text = [text, "\n", self.model.source.text()].concat();
        if let Some(d) = open_size(&self.model, &checked.program, Some(&text)) {
            return Err(self.model.failure(vec![d]));
        }
        let Some(one) = one else {
            let d =
                Diagnostic::error(NOT_EVALUATED, "this can't be evaluated").label(e.span, "no number and no array of numbers");
            return Err(self.model.failure(vec![d]));
        };
        Ok((checked.program, one))
    }

    fn lowered(&self, program: &Program, entry: &ppl_driver::check::Entry) -> Result<Lowered, Failure> {
        lower_values(program, entry, &mut Cx::default()).map_err(|d| self.model.failure(d))
    }

    /// Values of what the code takes.
    fn globals(&self, program: &Program, lowered: &Lowered) -> Result<Globals, Failure> {
        let needed = |g: Global| lowered.inputs.contains(&g);
        let fail = |d| self.model.failure(d);
        let mut globals =
            run::globals(self.machine, program, self.model.data(program), &needed, &mut Cx::default()).map_err(fail)?;
        if let Some(path) = &self.params {
            crate::simulate::set_saved(program, &mut globals, path).map_err(|d| fail(vec![d]))?;
        }
        Ok(globals)
    }

    fn result(&mut self, e: &Expr, text: Option<&str>) -> Result<Result1, Failure> {
        let (program, found) = self.checked(e, LANES)?;
        match found {
            Evaluation::Number(r) => {
                let lowered = self.lowered(&program, &r.entry)?;
                let globals = self.globals(&program, &lowered)?;
                let drawn = Drawn {
                    each: self.overrides.estimate_draws.unwrap_or(1),
                    minibatches: r.minibatches,
                    fixed: r.claim.side == Side::Exact,
                    draws: self.draws,
                };
                let value = Estimate::new(self.machine, &program, &lowered, &globals, drawn).and_then(|mut e| e.value());
                let estimate = value.map_err(|d| self.model.failure(vec![d]))?;
                let name = text.map_or(r.name, shown);
                Ok(Result1::Number(Valued { name, claim: r.claim, estimate: Some(estimate) }))
            }
            Evaluation::Array(a) => self.each(e, text, program, a).map(Result1::Each),
        }
    }

    /// All elements of an array, computed in parts whose work fits in memory.
    fn each(&self, e: &Expr, text: Option<&str>, program: Program, array: ArrayEvaluation) -> Result<Each, Failure> {
        let (mut program, mut array, mut lanes) = (program, array, LANES);
        let fail = |d| self.model.failure(vec![d]);
        loop {
            let lowered = self.lowered(&program, &array.entry)?;
            let globals = self.globals(&program, &lowered)?;
            let run = Evaluator::new(self.machine, &program, &lowered, &globals).map_err(fail)?;
            // A whole plate is one part of all its elements.
            let size = array.parts.map_or_else(|| array.ty.shape.first().copied().unwrap_or(1), |m| m.size);
            let fewer = run
                .workspace()
                .filter(|w| *w > WORKSPACE)
                .map(|w| (size as u128 * WORKSPACE as u128 / w as u128).max(1) as usize);
            if let Some(fewer) = fewer.filter(|n| *n < size.min(lanes)) {
                let again = self.checked(e, fewer)?;
                // What is no plate has no parts.
                if let Evaluation::Array(a) = again.1
                    && a.parts.is_some()
                {
                    (program, array, lanes) = (again.0, a, fewer);
                    continue;
                }
            }
            let draws = self.draws.unwrap_or(1);
            let values = Elements { run, ty: &array.ty, parts: array.parts }.mean(draws).map_err(fail)?;
            let name = text.map_or_else(|| array.name.clone(), shown);
            return Ok(Each { name, claim: array.claim.clone(), shape: array.ty.shape.clone(), values, draws });
        }
    }

    /// One draw of an array, whole.
    fn picture(&self, e: &Expr, text: &str) -> Result<ppl_fit::data::Array, Failure> {
        let (program, found) = self.checked(e, usize::MAX)?;
        let fail = |d: Diagnostic| self.model.failure(vec![d]);
        let Evaluation::Array(a) = found else {
            let d = Diagnostic::error(NOT_EVALUATED, format!("`{}` is a number, not pictures", shown(text)));
            return Err(fail(d.label(e.span, "one number").help("pictures are an array `[n, H, W]`, or `[n, H, W, 3]`")));
        };
        images::check(&a.ty.shape, text).map_err(|d| fail(d.label(e.span, format!("this is `{}`", a.shown))))?;
        let lowered = self.lowered(&program, &a.entry)?;
        let globals = self.globals(&program, &lowered)?;
        let mut out = evaluate(self.machine, &program, &lowered, &globals, EVALUATION).map_err(fail)?;
        if out.is_empty() {
            return Err(fail(crate::engine::fault("pictures have no result")));
        }
        Ok(out.swap_remove(0))
    }
}

/// Characters of an expression that are shown.
const SHOWN: usize = 72;

/// An expression as it was written, on one line.
fn shown(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= SHOWN {
        return line;
    }
    line.chars().take(SHOWN - 2).collect::<String>() + ".."
}
