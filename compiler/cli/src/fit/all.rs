//! `ppl fit --all`: every `fit` of a file, and one table of what they reached.
//!
//! A row is an estimate: the objective of a fit, or a report of it about an evidence, at the final parameters. Numbers that are computed without
//! draws are the same in every fit; they are listed once, under the table.

use super::bounds::{FIELDS, Valued, with_error};
use super::{Every, Outcome, Saver, Task, place, run, stop_on_interrupt, timing};
use crate::args::FitArgs;
use crate::model::{self, Model, Need};
use crate::report::{self, Failure};
use crate::tune;
use ppl_diag::Diagnostic;
use ppl_driver::Cx;
use ppl_driver::check::{About, Side};
use ppl_fit::rundir::{Place, check_place};
use ppl_fit::summary::number;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Runs every fit of the file, in the order of the text.
///
/// # Errors
/// Whatever is wrong with the program or its data; numerical failure of some fit after the others have run, with exit code 4.
pub(crate) fn command(args: &FitArgs) -> Result<(), Failure> {
    let mut cx = Cx::default();
    let begun = Instant::now();
    let path = args.model.clone().unwrap_or_default();
    let mut source = model::load(&path)?;
    cx.record("parse", begun.elapsed());
    let shared = model::overrides(&mut source, &args.clauses, args.run.draws)?;
    let name = source.name.clone();
    let model = model::with_data(source, &args.data.data, Need::All).map_err(|(s, d)| Failure::program(&s.map, d))?;
    if model.fits() == 0 {
        return Err(Failure::plain(model::no_fit(&path.display().to_string(), 0, 0)));
    }
    let places: Vec<Option<Place>> = (0..model.fits()).map(|k| place_of(args, &name, k)).collect();
    for p in places.iter().flatten() {
        check_place(p).map_err(Failure::plain)?;
    }
    let stop = stop_on_interrupt();
    let mut done: Vec<(Outcome, Option<PathBuf>)> = Vec::new();
    for (k, place) in places.iter().enumerate() {
        let overrides = model::of_fit(&model.source, &shared, k, args.run.draws);
        cx.eliminations.clear();
        cx.divergences.clear();
        let (overrides, tuning) = tune::before_fit(&model, overrides, args)?;
        let by = [args.clauses.by.clone(), tuning.as_ref().map_or(Vec::new(), |t| t.forms.by.clone())].concat();
        let mut one = args.clone();
        one.clauses.fit = k;
        let mut saver = place.clone().map(|p| Saver::new(p, &path, crate::saved::record(&one, &by)));
        let every = args.checkpoint.as_deref().and_then(|t| Every::parse(t).ok());
        let task = Task { quiet: args.quiet, stop: Some(stop.clone()), resumed: None, saver: saver.as_mut().map(|s| (s, every)) };
        let mut outcome = run(&model, &overrides, &args.run, task, &mut cx)?;
        outcome.tuning = tuning;
        let saved = saver.map(|mut s| s.save(&outcome, &model)).transpose().map_err(Failure::plain)?;
        done.push((outcome, saved));
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    report::say(&if args.json { as_json(&done) } else { table(&done) });
    if args.time_passes {
        report::remark(&timing::table(&cx.timings));
    }
    let failures: Vec<Diagnostic> = done.iter().filter_map(|(o, _)| o.failure.clone()).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failure { map: map(model), diagnostics: failures, code: 4 }) }
}

fn map(model: Model) -> ppl_diag::SourceMap {
    model.source.map
}

/// A folder for each fit: `DIR/0`, `DIR/1`, .. or the next free ones.
fn place_of(args: &FitArgs, name: &str, k: usize) -> Option<Place> {
    match place(args, name)? {
        Place::Dir { path, overwrite } => Some(Place::Dir { path: path.join(k.to_string()), overwrite }),
        next => Some(next),
    }
}

/// The estimates that have a row: the objective, and reports that are not plain numbers.
fn rows(o: &Outcome) -> Vec<Valued> {
    o.valued().into_iter().enumerate().filter(|(k, v)| *k == 0 || !is_number(v)).map(|(_, v)| v).collect()
}

fn is_number(v: &Valued) -> bool {
    v.claim.about == About::Number && v.claim.side == Side::Exact
}

/// What a row says of its direction.
fn direction(v: &Valued) -> String {
    if v.claim.about == About::Number { "no known bound".into() } else { v.claim.to_string() }
}

fn table(done: &[(Outcome, Option<PathBuf>)]) -> String {
    let head = ["fit", "guide", "estimate", "value", "se", "direction", "steps", "seconds"];
    let mut lines: Vec<Vec<String>> = vec![head.iter().map(ToString::to_string).collect()];
    let (mut gaps, mut numbers) = (String::new(), Vec::<String>::new());
    for (k, (o, _)) in done.iter().enumerate() {
        for (r, v) in rows(o).iter().enumerate() {
            let (mean, se) = match v.estimate {
                Some(e) if e.se > 0.0 => with_error(e.mean, e.se),
                Some(e) => (number(e.mean), String::new()),
                None => ("failed".into(), String::new()),
            };
            let first = |text: String| if r == 0 { text } else { String::new() };
            lines.push(vec![
                first(k.to_string()),
                first(o.plan.guide.clone()),
                v.name.clone(),
                mean,
                se,
                direction(v),
                first(o.fitted.trace.steps().to_string()),
                first(number(o.fitted.elapsed.as_secs_f64())),
            ]);
        }
        if let Some(g) = super::bounds::gap(&o.valued()) {
            gaps += &format!("fit {k}: {}", g.line());
        }
        for v in o.reports.iter().filter(|v| is_number(v)) {
            let text = v.lines();
            if !numbers.contains(&text) {
                numbers.push(text);
            }
        }
    }
    let widths: Vec<usize> = (0..head.len()).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let right = |c: usize| matches!(c, 3 | 4 | 6 | 7);
    let mut out = String::new();
    for l in &lines {
        let cells: Vec<String> = l
            .iter()
            .enumerate()
            .map(|(c, text)| if right(c) { format!("{text:>w$}", w = widths[c]) } else { format!("{text:<w$}", w = widths[c]) })
            .collect();
        out += cells.join("  ").trim_end();
        out.push('\n');
    }
    if !numbers.is_empty() || !gaps.is_empty() {
        out.push('\n');
    }
    out += &numbers.concat();
    out += &gaps;
    let saved: Vec<String> = done.iter().filter_map(|(_, p)| p.as_ref().map(|p| p.display().to_string())).collect();
    if !saved.is_empty() {
        out += &format!("\nsaved in {}\n", saved.join(", "));
    }
    out
}

fn as_json(done: &[(Outcome, Option<PathBuf>)]) -> String {
    let fits: Vec<Value> = done.iter().map(|(o, p)| o.json_value(p.as_deref())).collect();
    let columns: Map<String, Value> = FIELDS.iter().map(|(n, t)| ((*n).to_string(), (*t).into())).collect();
    format!("{:#}\n", json!({ "columns": columns, "fits": fits }))
}
