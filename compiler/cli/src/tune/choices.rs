//! What is tuned: choices as `--by` names them, each with the strategies that take its distribution.
//!
//! One name may stand for several choices (of the same name in two programs, or in one that is called twice): they get one strategy.

use crate::gradient::{Compiled, works_with};
use crate::model::Model;
use ppl_diag::{Code, FileId};
use ppl_driver::check::{FitOverrides, Override};
use ppl_driver::{Cx, analyse};
use ppl_transform::Chosen;

/// A choice with its strategies.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Its address, as `--by` takes it.
    pub(crate) name: String,
    /// The choices that it stands for, with what is decided for each.
    pub(crate) chosen: Vec<Chosen>,
    /// Its strategies; the first is the one in use.
    pub(crate) options: Vec<Strategy>,
}

/// A strategy of a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strategy {
    /// Its text, with arguments.
    pub(crate) text: String,
    /// What `--by` has to call the choice for it: the choice's name, with that of its program where a choice of the same name refuses the strategy.
    pub(crate) address: String,
}

/// The strategy is not for this distribution.
const NOT_FOR_DIST: Code = Code("E0412");

impl Choice {
    /// The distributions, by name.
    pub(crate) fn dists(&self) -> String {
        distinct(self.chosen.iter().map(|c| c.dist.clone())).join(", ")
    }

    /// Labels of the choices, such as `guide.z`.
    pub(crate) fn labels(&self) -> Vec<String> {
        distinct(self.chosen.iter().map(|c| c.label.clone()))
    }

    /// An address of this choice alone: with its program's name. Absent where there are several, or programs in programs.
    pub(crate) fn qualified(&self) -> Option<String> {
        match &self.labels()[..] {
            [one] if one.matches('.').count() == 1 => Some(one.clone()),
            _ => None,
        }
    }

    /// The clauses with this strategy for this choice.
    pub(crate) fn with(&self, clauses: &FitOverrides, option: usize, model: &Model) -> FitOverrides {
        match self.options.get(option).filter(|_| option != 0) {
            Some(s) => with(model, clauses, &s.address, &s.text),
            None => clauses.clone(),
        }
    }
}

/// The clauses with this strategy, before all others.
fn with(model: &Model, clauses: &FitOverrides, address: &str, strategy: &str) -> FitOverrides {
    let mut out = clauses.clone();
    let (strategy, _) = ppl_syntax::parse_expr(elsewhere(model), strategy);
    out.strategies.insert(0, Override { address: Some(address.to_string()), strategy });
    out
}

/// A file beyond those of the model: places in it are known to belong to no text of the user.
fn elsewhere(model: &Model) -> FileId {
    FileId(model.source.map.files().count() as u32)
}

/// The strategy's text, as written, with its arguments; its name where the compiler picked it.
pub(crate) fn text_of(model: &Model, c: &Chosen) -> String {
    let text = model.source.map.text(c.written).trim();
    if text.starts_with(&c.strategy) { text.to_string() } else { c.strategy.clone() }
}

/// The choices that a gradient is estimated through, in the order of the program.
pub(crate) fn choices(model: &Model, clauses: &FitOverrides, compiled: &Compiled) -> Vec<Choice> {
    let mut out: Vec<Choice> = Vec::new();
    for c in compiled.code.chosen.iter().filter(|c| c.reached && c.strategy != "draw") {
        let name = address(model, clauses, c);
        match out.iter_mut().find(|x| x.name == name) {
            Some(x) => x.chosen.push(c.clone()),
            None => out.push(Choice { name, chosen: vec![c.clone()], options: Vec::new() }),
        }
    }
    for x in &mut out {
        let used = distinct(x.chosen.iter().map(|c| text_of(model, c)));
        let all = distinct(x.chosen.iter().flat_map(|c| works_with(&compiled.program, &c.dist)));
        let mine = distinct(x.chosen.iter().map(|c| c.strategy.clone()));
        let used = Strategy { text: used.join(" / "), address: x.name.clone() };
        let others = all.into_iter().filter(|s| mine[..] != [s.clone()]);
        let others = others.map(|text| Strategy { address: reaching(model, clauses, x, &text), text });
        x.options = std::iter::once(used).chain(others).collect();
    }
    out
}

/// What a choice has to be called for this strategy.
fn reaching(model: &Model, clauses: &FitOverrides, x: &Choice, strategy: &str) -> String {
    let refused = || match model.check(&with(model, clauses, &x.name, strategy)) {
        Ok(_) => false,
        Err(f) => f.diagnostics.iter().any(|d| d.code == NOT_FOR_DIST),
    };
    let works = |a: &String| model.check(&with(model, clauses, a, strategy)).is_ok();
    x.qualified().filter(|_| refused()).filter(works).unwrap_or_else(|| x.name.clone())
}

/// The address under which `--by` finds the choice: the last part of its label, or more of it where a guide was made from programs in programs.
fn address(model: &Model, clauses: &FitOverrides, c: &Chosen) -> String {
    let parts: Vec<&str> = c.label.split('.').skip(1).collect();
    let last = parts.last().map_or(c.label.clone(), ToString::to_string);
    if parts.len() < 2 {
        return last;
    }
    let mut suffixes = (1..=parts.len()).map(|n| parts[parts.len() - n..].join("."));
    suffixes.find(|a| reaches(model, clauses, c, a)).unwrap_or(last)
}

/// Whether an override of this address reaches the choice: its strategy is then written there.
fn reaches(model: &Model, clauses: &FitOverrides, c: &Chosen, address: &str) -> bool {
    let found = model
        .check(&with(model, clauses, address, &c.strategy))
        .ok()
        .and_then(|(program, _)| analyse(&program, &mut Cx::default()).ok());
    found.is_some_and(|all| all.iter().any(|x| x.label == c.label && x.written.file == elsewhere(model)))
}

fn distinct(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for x in all {
        if !out.contains(&x) {
            out.push(x);
        }
    }
    out
}
