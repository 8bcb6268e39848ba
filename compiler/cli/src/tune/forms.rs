//! The picked strategies as text to paste: for the command line, and for the file.

use super::choices::{Choice, text_of};
use super::search::Setting;
use crate::model::{Model, fit_clause};
use ppl_diag::Span;
use ppl_driver::check::FitOverrides;
use ppl_driver::{Cx, analyse};
use ppl_syntax::ast::{Address, AddressPart, Expr, ExprKind};
use ppl_syntax::{parse_expr, print_expr};
use ppl_transform::Chosen;

/// The strategies that differ from what the file alone gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    /// `z=enumerate`, to be written after `--by`.
    pub(crate) by: Vec<String>,
    /// The guide with strategies, to be written after `with`.
    pub(crate) guide: Option<String>,
    /// What to change at the choices themselves.
    pub(crate) places: Vec<Place>,
}

/// A change at a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `model.ppl:3:7`.
    pub(crate) at: String,
    /// What stands there.
    pub(crate) text: String,
    /// The strategy to write.
    pub(crate) strategy: String,
    /// Whether `text` is a strategy that it replaces; else the choice that it is added to.
    pub(crate) replaces: bool,
}

/// A strategy that is wanted at some choices.
struct Wanted<'a> {
    address: String,
    strategy: String,
    choice: &'a Choice,
}

/// The forms of a setting.
pub(crate) fn forms(model: &Model, clauses: &FitOverrides, choices: &[Choice], picked: &Setting) -> Forms {
    let alone = FitOverrides { strategies: Vec::new(), ..clauses.clone() };
    let own = chosen(model, &alone).unwrap_or_default();
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    for (c, k) in choices.iter().zip(picked) {
        let Some(s) = c.options.get(*k) else { continue };
        let here = |label: &String| own.iter().find(|o| o.label == *label);
        let same = c.labels().iter().all(|l| here(l).is_some_and(|o| text_of(model, o) == s.text));
        // A name that stands for several strategies is left as it is: nothing was picked.
        if !same && (*k != 0 || !s.text.contains(" / ")) {
            wanted.push(Wanted { address: s.address.clone(), strategy: s.text.clone(), choice: c });
        }
    }
    let by = wanted.iter().map(|w| format!("{}={}", w.address, w.strategy)).collect();
    // What is written at a choice comes before what is said of its program.
    let (outside, inside): (Vec<&Wanted<'_>>, Vec<&Wanted<'_>>) =
        wanted.iter().partition(|w| written(w, &own).iter().all(|(_, at)| *at == Span::NONE));
    let guide = if outside.is_empty() { None } else { around(model, &alone, &outside) };
    let rest = if guide.is_some() { inside } else { wanted.iter().collect() };
    let places = rest.iter().flat_map(|w| written(w, &own).into_iter().filter_map(|(c, at)| place(model, w, &c, at))).collect();
    Forms { by, guide, places }
}

/// The strategies of all choices with these clauses.
fn chosen(model: &Model, clauses: &FitOverrides) -> Option<Vec<Chosen>> {
    let (program, _) = model.check(clauses).ok()?;
    analyse(&program, &mut Cx::default()).ok()
}

/// The choices that a strategy is wanted at, each with the place of the strategy that is written at it, if one is.
fn written(w: &Wanted<'_>, own: &[Chosen]) -> Vec<(Chosen, Span)> {
    let found = w.choice.chosen.iter().map(|c| own.iter().find(|o| o.label == c.label).unwrap_or(c));
    // In a `by { }` around the program it is not at the choice.
    let at = |c: &Chosen| {
        let inside = c.written.file == c.span.file && c.span.start <= c.written.start && c.written.end <= c.span.end;
        if inside { c.written } else { Span::NONE }
    };
    found.map(|c| (c.clone(), at(c))).collect()
}

/// The fit's guide with strategies around it, where that has the effect that is wanted.
fn around(model: &Model, alone: &FitOverrides, wanted: &[&Wanted<'_>]) -> Option<String> {
    let guide = alone.guide.as_ref().or(fit_clause(&model.source, alone.index)?.guide.as_ref())?;
    let (program, mut entries) = match &guide.kind {
        ExprKind::By { program, strategies } => {
            let kept = strategies.iter().map(|e| (e.address.as_ref().map_or("_".into(), name), print_expr(&e.strategy)));
            (&**program, kept.collect::<Vec<_>>())
        }
        _ => (guide, Vec::new()),
    };
    for w in wanted {
        entries.retain(|(a, _)| *a != w.address);
        // What is said of all others stands last.
        entries.insert(0, (w.address.clone(), w.strategy.clone()));
    }
    entries.sort_by_key(|(a, _)| a == "_");
    let entries: Vec<String> = entries.iter().map(|(a, s)| format!("{a}: {s}")).collect();
    let text = format!("{} by {{ {} }}", print_expr(program), entries.join(", "));
    let (e, problems): (Expr, _) = parse_expr(model.source.id, &text);
    if !problems.is_empty() {
        return None;
    }
    let found = chosen(model, &FitOverrides { guide: Some(e), ..alone.clone() })?;
    let right = |w: &&Wanted<'_>| {
        let name = w.strategy.split('(').next().unwrap_or_default();
        w.choice.labels().iter().all(|l| found.iter().any(|c| c.label == *l && c.strategy == name && !c.auto))
    };
    wanted.iter().all(right).then_some(text)
}

fn name(a: &Address) -> String {
    let fields = a.path.iter().filter_map(|p| match p {
        AddressPart::Field(f) => Some(format!(".{}", f.as_str())),
        AddressPart::Index(_) => None,
    });
    a.base.as_str().to_string() + &fields.collect::<String>()
}

fn place(model: &Model, w: &Wanted<'_>, c: &Chosen, written: Span) -> Option<Place> {
    let replaces = written != Span::NONE;
    let at = if replaces { written } else { c.span };
    let text = model.source.map.text(at).trim();
    let text = text.lines().next().filter(|t| !t.is_empty())?;
    Some(Place { at: model.source.map.place(at)?, text: text.to_string(), strategy: w.strategy.clone(), replaces })
}
