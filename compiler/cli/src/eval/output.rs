//! What an evaluation prints, and the file of its elements.

use super::{Each, NOT_EVALUATED, Result1};
use crate::fit::{Valued, moments, with_error};
use ppl_core::Ty;
use ppl_diag::{Code, Diagnostic};
use ppl_driver::check::{About, Side};
use ppl_fit::data::npy_bytes;
use ppl_fit::step::element_name;
use ppl_fit::summary::number;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What is said of the elements of an array.
struct Summary {
    mean: f64,
    /// Standard error of the mean over rows; absent where there is one row.
    se: Option<f64>,
    /// The smallest and the largest with their positions.
    ends: Option<[(f64, usize); 2]>,
    not_finite: usize,
}

impl Each {
    fn summary(&self) -> Summary {
        let rows = self.shape.first().copied().unwrap_or(1).max(1);
        let width = (self.values.len() / rows).max(1);
        let means: Vec<f64> = self.values.chunks(width).map(|r| r.iter().sum::<f64>() / width as f64).collect();
        let (mean, variance) = moments(&means);
        let finite = || self.values.iter().enumerate().filter(|(_, x)| x.is_finite());
        let least = finite().min_by(|a, b| a.1.total_cmp(b.1)).map(|(i, x)| (*x, i));
        let most = finite().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, x)| (*x, i));
        Summary {
            mean,
            se: (means.len() > 1).then(|| (variance / means.len() as f64).sqrt()),
            ends: least.zip(most).map(|(a, b)| [a, b]),
            not_finite: self.values.iter().filter(|x| !x.is_finite()).count(),
        }
    }

    fn size(&self) -> String {
        self.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
    }

    fn text(&self) -> String {
        let s = self.summary();
        let claim = match (&self.claim.about, self.claim.side) {
            (About::Number, Side::Exact) => String::new(),
            (About::Number, _) => format!("{}, ", self.claim),
            _ => format!("each a {}, ", self.claim)
                .replace("each a unbiased", "each unbiased")
                .replace("each a exact", "each exact"),
        };
        let draws = if self.draws > 1 { format!(", {} draws of each", self.draws) } else { String::new() };
        let mut out = format!("{}: {}{} elements{draws}\n", self.name, claim, self.size());
        let mean = match s.se.filter(|e| *e > 0.0) {
            Some(e) => {
                let (mean, se) = with_error(s.mean, e);
                format!("{mean} (se {se} over {})", self.shape.first().copied().unwrap_or(1))
            }
            None => number(s.mean),
        };
        let _ = writeln!(out, "  mean {mean}");
        if let Some([least, most]) = s.ends {
            let at = |i| element_name("", &self.shape, i);
            let _ =
                writeln!(out, "  smallest {} at {}, largest {} at {}", number(least.0), at(least.1), number(most.0), at(most.1));
        }
        if s.not_finite > 0 {
            let _ = writeln!(out, "  {} are not finite", s.not_finite);
        }
        out
    }

    fn json(&self) -> Value {
        let s = self.summary();
        let end =
            |e: Option<(f64, usize)>| e.map(|(x, i)| json!({ "value": x, "index": ppl_fit::step::index_of(i, &self.shape) }));
        let quantity = self.claim.about.quantity();
        json!({
            "name": self.name,
            "shape": self.shape,
            "mean": s.mean,
            "se": s.se,
            "smallest": end(s.ends.map(|e| e[0])),
            "largest": end(s.ends.map(|e| e[1])),
            "not_finite": s.not_finite,
            "draws": self.draws,
            "direction": quantity.as_ref().map(|_| self.claim.side.name()),
            "quantity": quantity,
            "values": crate::fit::nested(&Ty::float(self.shape.clone()), &self.values),
        })
    }
}

/// The results as text.
pub(super) fn text(target: &Path, results: &[Result1], pictures: &[(PathBuf, [u32; 2])], out: Option<&Path>) -> String {
    let mut text = String::new();
    for r in results {
        text += &match r {
            Result1::Number(v) => v.lines(),
            Result1::Each(e) => e.text(),
        };
    }
    if let Some(gap) = crate::fit::gap(&numbers(results)) {
        text += &gap.line();
    }
    for (path, [w, h]) in pictures {
        let _ = writeln!(text, "pictures in {} ({w} x {h})", path.display());
    }
    if let Some(path) = out {
        let _ = writeln!(text, "elements in {}", path.display());
    }
    if text.is_empty() {
        let _ = writeln!(text, "{}: nothing to evaluate", target.display());
    }
    text
}

/// The results as JSON text.
pub(super) fn json(target: &Path, results: &[Result1], pictures: &[(PathBuf, [u32; 2])], out: Option<&Path>) -> String {
    let all: Vec<Value> = results
        .iter()
        .map(|r| match r {
            Result1::Number(v) => v.json(),
            Result1::Each(e) => e.json(),
        })
        .collect();
    let pictures: Vec<Value> =
        pictures.iter().map(|(p, [w, h])| json!({ "file": p.display().to_string(), "width": w, "height": h })).collect();
    let value = json!({
        "target": target.display().to_string(),
        "objectives": all,
        "gap": crate::fit::gap(&numbers(results)).map(|g| g.json()),
        "images": pictures,
        "out": out.map(|p| p.display().to_string()),
    });
    format!("{value:#}\n")
}

fn numbers(results: &[Result1]) -> Vec<Valued> {
    let of = |r: &Result1| match r {
        Result1::Number(v) => Some(v.clone()),
        Result1::Each(_) => None,
    };
    results.iter().filter_map(of).collect()
}

/// Writes the elements of all arrays: a column for each number of a row, or one NPY array.
pub(super) fn write(path: &Path, results: &[Result1]) -> Result<(), Diagnostic> {
    let arrays: Vec<&Each> = results
        .iter()
        .filter_map(|r| match r {
            Result1::Each(e) => Some(e),
            Result1::Number(_) => None,
        })
        .collect();
    let refused = |title: String| Err(Diagnostic::error(NOT_EVALUATED, title));
    let Some(first) = arrays.first() else {
        return refused(format!("there are no elements to be written to `{}`: every objective is one number", path.display()))
            .map_err(|d| d.help("evaluate an array: `--objective '[for n in N { elbo(..) }]'`"));
    };
    let rows = |e: &Each| e.shape.first().copied().unwrap_or(1);
    let bytes = match path.extension().and_then(|e| e.to_str()) {
        Some("npy") if arrays.len() == 1 => npy_bytes(&first.shape, &first.values),
        Some("npy") => return refused(format!("`{}` holds one array, and there are {}", path.display(), arrays.len())),
        Some("csv") => {
            if let Some(other) = arrays.iter().find(|e| rows(e) != rows(first)) {
                let title =
                    format!("the arrays have {} and {} rows, so they are no columns of one file", rows(first), rows(other));
                return refused(title);
            }
            csv(&arrays, rows(first)).into_bytes()
        }
        _ => {
            let d = Diagnostic::error(crate::model::BAD_OPTION, format!("`--out {}` is no file of elements", path.display()));
            return Err(d.help("name a .csv or a .npy file"));
        }
    };
    std::fs::write(path, bytes).map_err(|e| {
        Diagnostic::error(Code("E0621"), format!("the results can't be written to `{}`", path.display())).note(e.to_string())
    })
}

/// `index`, then a column for each number of a row.
fn csv(arrays: &[&Each], rows: usize) -> String {
    let quoted = |n: String| if n.contains([',', '"']) { format!("\"{}\"", n.replace('"', "\"\"")) } else { n };
    let width = |e: &Each| e.values.len() / rows.max(1);
    let mut names = vec!["index".to_string()];
    for e in arrays {
        let of_row = e.shape.get(1..).unwrap_or_default();
        names.extend((0..width(e)).map(|i| quoted(element_name(&e.name, of_row, i))));
    }
    let mut out = names.join(",") + "\n";
    for r in 0..rows {
        out += &r.to_string();
        for e in arrays {
            let w = width(e);
            e.values[r * w..(r + 1) * w].iter().for_each(|x| out += &format!(",{x}"));
        }
        out.push('\n');
    }
    out
}
