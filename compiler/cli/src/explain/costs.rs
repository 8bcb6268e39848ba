//! `ppl explain --emit=costs`: what each choice's score is multiplied by.

use ppl_diag::{SourceMap, Span};
use ppl_driver::{ChoiceCosts, CostTerm, Reach};
use std::fmt::Write;

/// One paragraph for each choice.
pub(super) fn text(all: &[ChoiceCosts], map: &SourceMap) -> String {
    let mut out = String::new();
    for c in all {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{} by {}{}", c.label, c.strategy, place(map, c.span));
        if c.pathwise {
            out += "  its gradient flows through its value: no score\n";
            continue;
        }
        let seen: Vec<[String; 3]> = c
            .seen
            .iter()
            .map(|(t, reach)| [written(map, t), place(map, t.span).trim().to_string(), reached(&c.loops, reach)])
            .collect();
        let unseen: Vec<[String; 3]> =
            c.unseen.iter().map(|t| [written(map, t), place(map, t.span).trim().to_string(), String::new()]).collect();
        if seen.is_empty() {
            out += "  no cost depends on it\n";
        } else {
            out += "  its cost\n";
            rows(&mut out, &seen);
        }
        if !unseen.is_empty() {
            out += "  not in its cost\n";
            rows(&mut out, &unseen);
        }
    }
    if all.is_empty() {
        out += "no choice depends on a parameter\n";
    }
    out
}

fn rows(out: &mut String, rows: &[[String; 3]]) {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let (a, b) = (width(0), width(1));
    for [what, place, reach] in rows {
        let line = format!("    {what:a$}  {place:b$}  {reach}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// `log density of y[n] ~ normal(z[n], 1)`, or an expression.
fn written(map: &SourceMap, t: &CostTerm) -> String {
    let text = map.text(t.span).split_whitespace().collect::<Vec<_>>().join(" ");
    let text = if text.chars().count() > 60 { text.chars().take(57).collect::<String>() + "..." } else { text };
    match (t.density, text.is_empty()) {
        (_, true) => "a value".to_string(),
        (true, false) => format!("log density of {text}"),
        (false, false) => text,
    }
}

fn place(map: &SourceMap, span: Span) -> String {
    let at = map.place(span).filter(|_| span != Span::NONE);
    // The line is enough.
    at.as_deref().and_then(|p| p.rsplit_once(':')).map_or(String::new(), |(p, _)| format!("  ({p})"))
}

fn reached(loops: &[String], reach: &[Reach]) -> String {
    if loops.is_empty() {
        return "whole".to_string();
    }
    let one = |(name, r): (&String, &Reach)| match r {
        Reach::Same => format!("same {name}"),
        Reach::Later => format!("from {name} on"),
        Reach::Earlier => format!("up to {name}"),
        Reach::All => format!("every {name}"),
    };
    loops.iter().zip(reach).map(one).collect::<Vec<_>>().join(", ")
}
