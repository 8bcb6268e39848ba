//! Pages of the library of estimators, from its sources and the measurements.

use super::benchmarks::{ALL, Benchmark, UNMEASURED};
use super::figure::{Point, figure};
use super::{Entry, Kind, entries};
use crate::library::{cases, strategies_of};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

const MADE: &str = "<!-- generated from the library's sources and measured.json; PPL_BLESS=1 cargo test -p ppl-tests rewrites it, `cargo dev estimators` measures -->";

/// What the literature has and the library lacks, with the reason.
const MISSING: &[(&str, &str)] = &[
    (
        "serial enumeration",
        "`enumerate` runs as one batch; the derivative of runs in a loop needs what each of them computed all the same, so a loop would save no memory. `local_expectation` needs costs only",
    ),
    (
        "a weak derivative of the gamma distribution by its shape",
        "there is no closed form as a difference of distributions: `measure_valued` takes the rate that way and the shape by its score",
    ),
    (
        "unbiased implicit variational inference by a Markov chain",
        "`uivi` draws from the mixing distribution given the value by self-normalised weights, which is biased for finitely many; finite mixing distributions are exact by `marginal .. by enumeration`",
    ),
    (
        "RELAX with the relaxed cost inside its control variate",
        "strategies that differentiate several runs have no parameters of their own yet: `relax` learns a function of the relaxed choice, `rebar` has the relaxed cost",
    ),
    (
        "ARM and DisARM for indices",
        "truth values only, as first published; `measure_valued` and `local_expectation` are for indices",
    ),
];

/// Files below `spec/estimators/`, with their texts.
///
/// # Errors
/// An entry that was not measured, a measurement that does not read.
pub fn pages(measured: &str) -> Result<Vec<(String, String)>, String> {
    let measured: Value = serde_json::from_str(measured).map_err(|e| format!("measured.json: {e}"))?;
    let all = entries();
    let takes = distributions();
    let mut out = vec![("README.md".to_string(), index(&all, &takes, &measured))];
    for e in &all {
        let figures = figures(e, &all, &measured)?;
        let mut links = String::new();
        for (b, svg) in figures {
            let file = format!("figures/{}-{}.svg", e.name, b.name);
            let _ = write!(links, "\n![variance against time on {}](../{file})\n", b.title);
            out.push((file, svg));
        }
        out.push((format!("{}/{}.md", e.kind.folder(), e.name), page(e, &takes, &links)));
    }
    Ok(out)
}

/// Distributions that each strategy works with, by name.
fn distributions() -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for c in cases() {
        for s in strategies_of(&c) {
            let of = out.entry(s).or_default();
            if !of.iter().any(|d| c.dist.name == d.as_str()) {
                of.push(c.dist.name.as_str().to_string());
            }
        }
    }
    out
}

/// The points of a benchmark.
fn points(b: &Benchmark, all: &[Entry], measured: &Value) -> Vec<Point> {
    let found = measured["benchmarks"].as_array().into_iter().flatten().find(|m| m["benchmark"] == b.name);
    let rows = found.and_then(|m| m["rows"].as_array()).into_iter().flatten();
    rows.filter_map(|r| {
        let name = r["name"].as_str()?.to_string();
        let biased = all.iter().any(|e| e.name == name && e.kind == b.kind && e.biased);
        Some(Point { name, micros: r["microseconds"].as_f64()?, variance: r["variance"].as_f64()?, biased })
    })
    .collect()
}

fn figures<'b>(e: &Entry, all: &[Entry], measured: &Value) -> Result<Vec<(&'b Benchmark, String)>, String> {
    let mut out = Vec::new();
    for b in ALL.iter().filter(|b| b.kind == e.kind) {
        let points = points(b, all, measured);
        let unit = match e.kind {
            Kind::Strategy => "variance of the gradient",
            Kind::Objective => "variance of the gradient / its squared length",
        };
        if points.iter().any(|p| p.name == e.name) {
            out.push((b, figure(b.title, unit, &points, &e.name)));
        }
    }
    if out.is_empty() && !UNMEASURED.iter().any(|(n, _)| *n == e.name) {
        return Err(format!("`{}` is not measured: run `cargo dev estimators`, or say in benchmarks.rs why it can't be", e.name));
    }
    Ok(out)
}

fn page(e: &Entry, takes: &BTreeMap<String, Vec<String>>, links: &str) -> String {
    let mut out = format!("# {}\n\n{MADE}\n\n{}\n\n| | |\n|---|---|\n", e.name, e.about);
    for (name, text) in &e.fields {
        let _ = writeln!(out, "| {name} | {} |", text.replace('|', "\\|"));
    }
    if e.kind == Kind::Strategy {
        let of = takes.get(&e.name).map_or(String::new(), |d| d.iter().map(|d| format!("`{d}`")).collect::<Vec<_>>().join(" "));
        let _ = writeln!(out, "| Distributions | {of} |");
    }
    let _ = write!(out, "\n## Program\n\n```ppl\n{}\n```\n\n## Variance and time\n", e.programs.join("\n\n"));
    match UNMEASURED.iter().find(|(n, _)| *n == e.name) {
        Some((_, why)) => {
            let _ = write!(out, "\nNot measured: {why}.\n");
        }
        None => out.push_str(links),
    }
    out
}

fn first_sentence(text: &str) -> &str {
    let end = [". ", ".\n", ": "].iter().filter_map(|p| text.find(p)).min().unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

fn index(all: &[Entry], takes: &BTreeMap<String, Vec<String>>, measured: &Value) -> String {
    let row = |e: &Entry, cells: &[&str]| {
        let cells: Vec<String> = cells.iter().map(|c| c.replace('|', "\\|").replace('\n', " ")).collect();
        format!("| [`{}`]({}/{}.md) | {} |\n", e.name, e.kind.folder(), e.name, cells.join(" | "))
    };
    let mut out = format!(
        "# Estimators\n\n{MADE}\n\nObjectives and gradient strategies of the library, each a program with a page of its own. [How to write one](../writing.md).\n\n## Objectives\n\n| objective | | direction | cost |\n|---|---|---|---|\n"
    );
    for e in all.iter().filter(|e| e.kind == Kind::Objective) {
        out += &row(e, &[first_sentence(&e.about), e.field("Direction"), e.field("Cost")]);
    }
    out.push_str("\n## Strategies\n\n| strategy | | bias | cost | distributions |\n|---|---|---|---|---|\n");
    for e in all.iter().filter(|e| e.kind == Kind::Strategy) {
        let of = takes.get(&e.name).map_or(0, Vec::len);
        out += &row(e, &[first_sentence(&e.about), e.field("Bias"), e.field("Cost"), &of.to_string()]);
    }
    out.push_str("\n## Missing\n\n");
    for (what, why) in MISSING {
        let _ = writeln!(out, "- {what}: {why}.");
    }
    let _ = write!(
        out,
        "\n## Figures\n\nEach page shows the variance of the gradient against the time of one, on common benchmarks with all estimators that take them; lower and further to the left is better. \
         What strategies learn and remember has settled before. Strategies marked biased have empty marks: their variance is not all that is wrong with them. \
         Objectives have gradients of different size and direction: their variance is divided by the squared length of the mean gradient.\n\n\
         Measured on {} ({}, {} thread).\n",
        measured["processor"].as_str().unwrap_or_default(),
        measured["precision"].as_str().unwrap_or_default(),
        measured["threads"]
    );
    for b in ALL {
        let _ = write!(out, "\n{}:\n\n```text\n{}\n```\n", capital(b.title), b.text);
    }
    out
}

fn capital(text: &str) -> String {
    text[..1].to_uppercase() + &text[1..]
}
