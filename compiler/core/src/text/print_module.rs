//! Printing modules.

use super::print::{list, print_func, quoted, ty, word};
use crate::{DistInst, Module, StrategyInst, StrategySide, Support};
use std::fmt::{self, Display};

impl Display for Module {
    /// Distributions, strategies, then the functions of each stage, each kind in the order of its ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.dists.iter().enumerate().map(|(i, d)| format!("# dist@{i}\n{}", dist(d))));
        parts.extend(self.strategies.iter().enumerate().map(|(i, s)| format!("# strategy@{i}\n{}", strategy(s))));
        parts.extend(self.gens.iter().enumerate().map(|(i, g)| format!("# gen@{i}\n{}", print_func(g, Some(self)))));
        parts.extend(self.ests.iter().enumerate().map(|(i, g)| format!("# est@{i}\n{}", print_func(g, Some(self)))));
        parts.extend(self.dets.iter().enumerate().map(|(i, g)| format!("# det@{i}\n{}", print_func(g, Some(self)))));
        f.write_str(&parts.join("\n"))
    }
}

fn dist(d: &DistInst) -> String {
    let params = list(&d.params, |(n, t)| format!("{}: {}", word(n), ty(t)));
    let mut out = format!("dist @{}({params}) -> {} {{\n", word(&d.name), ty(&d.event));
    out += &format!("  support {}\n", support(&d.support));
    for (key, id) in [("log_density", d.log_density), ("sample", d.sample), ("cdf", d.cdf), ("support_value", d.support_value)] {
        if let Some(id) = id {
            out += &format!("  {key} {id}\n");
        }
    }
    if d.pathwise {
        out += "  pathwise\n";
    }
    for (other, f) in &d.divergences {
        out += &format!("  divergence {other} {f}\n");
    }
    if !d.auto.is_empty() {
        out += &format!("  auto {}\n", list(&d.auto, ToString::to_string));
    }
    if !d.works_with.is_empty() {
        out += &format!("  works_with {}\n", list(&d.works_with, |n| quoted(n)));
    }
    out + "}\n"
}

fn strategy(s: &StrategyInst) -> String {
    let flags = [(s.pathwise, " pathwise"), (s.biased, " biased"), (s.relaxed, " relaxed")];
    let flags: String = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
    let sides = s.sides.iter().map(|s| match s {
        StrategySide::Next(p) => format!(" next {p}"),
        StrategySide::Also => " also".to_string(),
    });
    format!("strategy @{} {}{flags}{}\n", word(&s.name), s.func, sides.collect::<String>())
}

fn support(s: &Support) -> String {
    let bound = |b: Option<String>| b.unwrap_or_else(|| "_".to_string());
    match s {
        Support::Real => "real".to_string(),
        Support::Interval { lo, hi } => {
            let real = |b: &Option<f64>| bound(b.map(|v| crate::Lit::Float(v).to_string()));
            format!("interval({}, {})", real(lo), real(hi))
        }
        Support::DynamicInterval => "dynamic_interval".to_string(),
        Support::Simplex => "simplex".to_string(),
        Support::Ordered => "ordered".to_string(),
        Support::CorrCholesky => "corr_cholesky".to_string(),
        Support::Boolean => "boolean".to_string(),
        Support::Integers { lo, hi } => format!("integers({lo}, {})", bound(hi.map(|h| h.to_string()))),
        Support::DynamicIntegers => "dynamic_integers".to_string(),
        Support::Point => "point".to_string(),
    }
}
