//! The state of a session: declarations as text, data, fitted parameters.

use super::show;
use crate::args::EngineName;
use crate::engine::{EVALUATION, Machine, evaluate};
use crate::fit::any_error;
use crate::model::{self, Model, Need};
use crate::report::{self, Failure};
use crate::run;
use crate::sizes::{open_size, pattern_names};
use ppl_abi::Precision;
use ppl_diag::{Diagnostic, FileId, SourceMap};
use ppl_driver::check::{Evaluated, FitOverrides, Program, elaborate_density, elaborate_expression};
use ppl_driver::{Cx, Disk, Files, Lowered, Source, lower_density, lower_expression};
use ppl_fit::data::Array;
use ppl_fit::step::Param;
use ppl_syntax::ast::{Block, Expr, ExprKind, Item, ItemKind};
use ppl_syntax::{Repl, parse_expr, parse_repl};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The session's text, as messages name it.
const NAME: &str = "session";

/// A declaration.
#[derive(Clone, Debug)]
struct Declared {
    names: Vec<String>,
    text: String,
}

/// An interactive session.
#[derive(Clone)]
pub(crate) struct Session {
    declared: Vec<Declared>,
    dir: PathBuf,
    data: Vec<String>,
    /// Unconstrained parameters of the last fit.
    pub(crate) fitted: Vec<Param>,
    /// Seed of all random numbers.
    pub(crate) seed: u64,
    /// Number of inputs that drew random numbers.
    pub(crate) drawn: u64,
    /// Raised by Ctrl-C.
    pub(crate) stop: Arc<AtomicBool>,
}

/// Files on disk, and the session's own text.
struct WithSession<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Files for WithSession<'_> {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path == self.path { Ok(self.text.to_string()) } else { Disk.read(path) }
    }
}

/// What an expression comes to.
pub(crate) enum Answer {
    /// Values with their types.
    Values(Vec<(Array, String)>),
    /// Something that is not computed, described.
    Described(String),
}

impl Session {
    /// An empty session.
    pub(crate) fn new(seed: u64) -> Session {
        let stop = crate::fit::stop_on_interrupt();
        Session { declared: Vec::new(), dir: PathBuf::new(), data: Vec::new(), fitted: Vec::new(), seed, drawn: 0, stop }
    }

    /// How the session runs programs; every call draws other random numbers.
    pub(crate) fn machine(&mut self) -> Machine {
        self.drawn += 1;
        Machine { engine: EngineName::Jit, precision: Precision::F64, seed: self.seed.wrapping_add(self.drawn - 1) }
    }

    /// Names that are declared.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().flat_map(|d| &d.names).map(String::as_str)
    }

    fn text(&self) -> String {
        self.declared.iter().map(|d| d.text.clone() + "\n").collect()
    }

    /// The session's declarations as a source.
    ///
    /// # Errors
    /// An import that can't be read.
    pub(crate) fn source(&self) -> Result<Source, Failure> {
        let path = self.dir.join(NAME);
        let text = self.text();
        Source::load(&WithSession { path: &path, text: &text }, &path).map_err(Failure::plain)
    }

    /// The source with the data that are there.
    ///
    /// # Errors
    /// Data that are wrong.
    pub(crate) fn model(&self, source: Source) -> Result<Model, Failure> {
        model::with_data(source, &self.data, Need::Some).map_err(|(s, d)| Failure::program(&s.map, d))
    }

    /// Takes over the declarations of a file; data that it names are found beside it.
    ///
    /// # Errors
    /// Whatever is wrong with the file; the session is as before then.
    pub(crate) fn load(&mut self, path: &Path) -> Result<usize, Failure> {
        let source = model::load(path)?;
        if any_error(&source.diagnostics) {
            return Err(Failure::program(&source.map, source.diagnostics));
        }
        let text = source.map.get(source.id).map_or(String::new(), |f| f.text.to_string());
        let mut next = self.clone();
        next.dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        for item in &source.file.items {
            next.declare(item, &text);
        }
        next.check(Some(&source))?;
        *self = next;
        Ok(source.file.items.len())
    }

    /// Adds a source of data.
    ///
    /// # Errors
    /// Data that can't be read, or don't fit the declarations.
    pub(crate) fn add_data(&mut self, argument: &str) -> Result<(), Failure> {
        let mut next = self.clone();
        next.data.push(argument.to_string());
        let model = next.model(next.source()?)?;
        let warnings = model.bound.warnings.clone();
        next.check(None)?;
        report::diagnostics(&model.source.map, &warnings);
        *self = next;
        Ok(())
    }

    /// Whether the declarations check. The errors of a file point into that file.
    fn check(&self, file: Option<&Source>) -> Result<(), Failure> {
        let source = self.source()?;
        match self.model(source).and_then(|m| m.check(&FitOverrides::default())) {
            Ok(_) => Ok(()),
            Err(e) => {
                let Some(file) = file else { return Err(e) };
                let model = model::with_data(file.clone(), &self.data, Need::Some).map_err(|(s, d)| Failure::program(&s.map, d));
                model?.check(&FitOverrides::default())?;
                Err(e)
            }
        }
    }

    /// Adds a declaration, in the place of those with the same names.
    fn declare(&mut self, item: &Item, text: &str) -> Vec<String> {
        let names = names_of(item);
        let span = text.get(item.span.start as usize..item.span.end as usize).unwrap_or("");
        let doc: String = item.doc.iter().flat_map(|d| d.lines()).map(|l| format!("## {l}\n")).collect();
        let replaced = |d: &Declared| d.names.iter().any(|n| names.contains(n));
        let at = self.declared.iter().position(replaced).unwrap_or(self.declared.len());
        self.declared.retain(|d| !replaced(d));
        let new = Declared { names: names.clone(), text: format!("{doc}{span}") };
        self.declared.insert(at.min(self.declared.len()), new);
        names
    }

    /// A declaration, or an expression to be evaluated.
    ///
    /// # Errors
    /// Whatever is wrong with it; the session is as before then.
    pub(crate) fn enter(&mut self, text: &str) -> Result<(), Failure> {
        let mut map = SourceMap::default();
        let id = map.add("input", text);
        let (repl, found) = parse_repl(id, text);
        if any_error(&found) {
            return Err(Failure::program(&map, found));
        }
        match repl {
            Repl::Items(items) => {
                let mut next = self.clone();
                let old: Vec<String> = self.names().map(str::to_string).collect();
                let mut said = String::new();
                for item in &items {
                    for name in next.declare(item, text) {
                        let word = if old.contains(&name) { "redefined" } else { "defined" };
                        said += &format!("{name} {word}\n");
                    }
                }
                next.check(None)?;
                *self = next;
                report::say(&said);
                Ok(())
            }
            Repl::Stmts(block) if block.stmts.is_empty() && block.result.is_none() => Ok(()),
            Repl::Stmts(_) => match self.evaluate(text)? {
                Answer::Described(d) => {
                    report::say(&format!("{d}\n"));
                    Ok(())
                }
                Answer::Values(values) => {
                    let shown: Vec<String> = values.iter().map(|(a, _)| show::value(a)).collect();
                    let text = if shown.len() == 1 { shown.concat() } else { format!("({})", shown.join(", ")) };
                    report::say(&format!("{text}\n"));
                    Ok(())
                }
            },
        }
    }

    /// The source with one more text, and the expression in it.
    fn expression(&self, text: &str) -> Result<(Model, Expr), Failure> {
        let mut source = self.source()?;
        let id = source.map.add("input", text);
        let (e, found) = as_expression(id, text);
        if any_error(&found) {
            return Err(Failure::program(&source.map, found));
        }
        Ok((self.model(source)?, e))
    }

    /// What an expression comes to.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub(crate) fn evaluate(&mut self, text: &str) -> Result<Answer, Failure> {
        let (model, e) = self.expression(text)?;
        let (checked, value) = elaborate_expression(&model.source.libraries(), &model.source.file, model.shapes.clone(), &e);
        let fail = |d: Vec<Diagnostic>| model.failure(d);
        if any_error(&checked.diagnostics) {
            return Err(fail(checked.diagnostics));
        }
        let program = checked.program;
        match value {
            None => Ok(Answer::Described("nothing".into())),
            Some(Evaluated::Described(d)) => Ok(Answer::Described(d)),
            Some(Evaluated::Computed { func, inputs, types }) => {
                if let Some(d) = open_size(&model, &program, Some(text)) {
                    return Err(fail(vec![d]));
                }
                let mut cx = Cx::default();
                let lowered = lower_expression(&program, func, &inputs, &mut cx).map_err(fail)?;
                let results = self.compute(&model, &program, &lowered, &mut cx)?;
                Ok(Answer::Values(results.into_iter().zip(types).collect()))
            }
        }
    }

    /// The type of an expression, without computing it.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub(crate) fn type_of(&self, text: &str) -> Result<String, Failure> {
        let (model, e) = self.expression(text)?;
        let (checked, value) = elaborate_expression(&model.source.libraries(), &model.source.file, model.shapes.clone(), &e);
        if any_error(&checked.diagnostics) {
            return Err(model.failure(checked.diagnostics));
        }
        Ok(match value {
            None => "nothing".into(),
            Some(Evaluated::Described(d)) => d,
            Some(Evaluated::Computed { types, .. }) if types.len() == 1 => types.concat(),
            Some(Evaluated::Computed { types, .. }) => format!("({})", types.join(", ")),
        })
    }

    /// The log density of a program whose choices are all given.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub(crate) fn density(&mut self, text: &str) -> Result<f64, Failure> {
        let (model, e) = self.expression(text)?;
        let (checked, entry) = elaborate_density(&model.source.libraries(), &model.source.file, model.shapes.clone(), &e);
        let fail = |d: Vec<Diagnostic>| model.failure(d);
        if any_error(&checked.diagnostics) {
            return Err(fail(checked.diagnostics));
        }
        let program = checked.program;
        let Some(entry) = entry else { return Err(fail(vec![crate::engine::fault("a density without errors has no value")])) };
        if let Some(d) = open_size(&model, &program, Some(text)) {
            return Err(fail(vec![d]));
        }
        let mut cx = Cx::default();
        let lowered = lower_density(&program, &entry, &mut cx).map_err(fail)?;
        let results = self.compute(&model, &program, &lowered, &mut cx)?;
        Ok(results.first().and_then(|a| a.to_f64().first().copied()).unwrap_or(f64::NAN))
    }

    fn compute(&mut self, model: &Model, program: &Program, lowered: &Lowered, cx: &mut Cx) -> Result<Vec<Array>, Failure> {
        let fail = |d: Vec<Diagnostic>| model.failure(d);
        let machine = self.machine();
        let needed = |g| lowered.inputs.contains(&g);
        let mut globals = run::globals(machine, program, model.data(program), &needed, cx).map_err(fail)?;
        run::set_free(program, &mut globals, &self.fitted);
        evaluate(machine, program, lowered, &globals, EVALUATION).map_err(|d| fail(vec![d]))
    }
}

/// An input as an expression: a lone one, or statements that end in one.
fn as_expression(id: FileId, text: &str) -> (Expr, Vec<Diagnostic>) {
    let (repl, found) = parse_repl(id, text);
    match repl {
        Repl::Stmts(Block { stmts, result: Some(e), .. }) if stmts.is_empty() => (*e, found),
        Repl::Stmts(b) => (Expr::new(b.span, ExprKind::Block(b)), found),
        Repl::Items(_) => parse_expr(id, text),
    }
}

/// What a declaration declares; `fit` for the fit.
pub(super) fn names_of(item: &Item) -> Vec<String> {
    match &item.kind {
        ItemKind::Use(parts) => vec![format!("use {}", parts.iter().map(|p| p.as_str()).collect::<Vec<_>>().join("."))],
        ItemKind::Data(ds) => ds.iter().map(|d| d.name.as_str().to_string()).collect(),
        ItemKind::Param(p) => vec![p.name.as_str().to_string()],
        ItemKind::Let(l) => {
            let mut out = Vec::new();
            pattern_names(&l.pattern.kind, &mut |n| out.push(n.to_string()));
            out
        }
        ItemKind::Gen(c) | ItemKind::Fn(c) | ItemKind::Objective(c) => vec![c.name.as_str().to_string()],
        ItemKind::Strategy(s) => vec![format!("strategy {}", s.name)],
        ItemKind::Dist(d) => vec![d.name.as_str().to_string()],
        ItemKind::Fit(_) => vec!["fit".into()],
    }
}
