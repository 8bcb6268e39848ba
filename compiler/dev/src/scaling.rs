//! `cargo dev bench --scaling`: text and compile time of programs with 10, 100 and 1,000 choices or steps.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

const SIZES: [usize; 3] = [10, 100, 1000];

/// How choices depend on one another.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// Statements, each for itself.
    Independent,
    /// Statements, each on the one before.
    Chain,
    /// Rounds of a loop, each on the one before.
    Scan,
}

const ROWS: [(Shape, &str); 11] = [
    (Shape::Independent, "reparam"),
    (Shape::Independent, "reinforce"),
    (Shape::Independent, "enumerate"),
    (Shape::Independent, "measure_valued"),
    (Shape::Chain, "reparam"),
    (Shape::Chain, "reinforce"),
    (Shape::Chain, "measure_valued"),
    (Shape::Scan, "reparam"),
    (Shape::Scan, "reinforce"),
    (Shape::Scan, "enumerate"),
    (Shape::Scan, "measure_valued"),
];

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Shape::Independent => "independent choices",
            Shape::Chain => "a chain of choices",
            Shape::Scan => "a loop with `carry`",
        }
    }
}

/// A model and a guide with `n` choices, the guide's by `strategy`.
fn program(shape: Shape, strategy: &str, n: usize) -> String {
    let discrete = matches!(strategy, "enumerate" | "measure_valued");
    let mut out = String::new();
    if shape == Shape::Scan {
        let _ = writeln!(out, "param m: real[{n}] = 0.1");
        for (name, shift, by) in [("model", "", String::new()), ("guide", "m[t] + ", format!(" by {strategy}"))] {
            let body = if discrete {
                format!("b[t] ~ flip_logits({shift}0.3 * s){by}\n    0.5 * s + if b[t] {{ 1.0 }} else {{ 0.0 }}")
            } else {
                format!("x[t] ~ normal({shift}0.5 * s, 1){by}\n    x[t]")
            };
            let _ = writeln!(out, "gen {name}() {{\n  for t in {n} carry (s = 0.0) {{\n    {body}\n  }}\n}}");
        }
    } else {
        for i in 0..n {
            let _ = writeln!(out, "param m{i}: real = 0.1");
        }
        for guide in [false, true] {
            let _ = writeln!(out, "gen {}() {{", if guide { "guide" } else { "model" });
            for i in 0..n {
                let by = if guide { format!(" by {strategy}") } else { String::new() };
                let own = if guide { format!("m{i}") } else { "0".to_string() };
                let before = (shape == Shape::Chain && i > 0).then(|| i - 1);
                let _ = match (discrete, before) {
                    (true, Some(k)) => writeln!(out, "  b{i} ~ flip_logits({own} + if b{k} {{ 0.5 }} else {{ -0.5 }}){by}"),
                    (true, None) => writeln!(out, "  b{i} ~ flip_logits({own} + 0.3){by}"),
                    (false, Some(k)) => writeln!(out, "  x{i} ~ normal({own} + 0.5 * x{k}, 1){by}"),
                    (false, None) => writeln!(out, "  x{i} ~ normal({own}, 1){by}"),
                };
            }
            out += "}\n";
        }
    }
    out + "fit model() with guide()\n"
}

/// What was measured of one program.
struct Measured {
    strategies: usize,
    optimised: usize,
    clif: usize,
    /// Milliseconds, from source to machine code, by pass.
    passes: Vec<(String, f64)>,
}

impl Measured {
    fn total(&self) -> f64 {
        self.passes.iter().map(|(_, t)| t).sum()
    }
}

/// Measures all rows with the `ppl` at `binary`, prints a Markdown table and writes JSON.
///
/// # Errors
/// A file that can't be written.
pub(crate) fn run(binary: &Path, runs: usize, out: &str) -> Result<(), String> {
    let dir = env::temp_dir().join(format!("ppl-scaling-{}", std::process::id()));
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut table = String::from(
        "| program, strategy | statements after `strategies` | after `optimised` | CLIF lines | compile, ms | 1,000 to 100 |\n|---|---|---|---|---|---|\n",
    );
    let mut rows = Vec::new();
    for (shape, strategy) in ROWS {
        let mut all = Vec::new();
        for n in SIZES {
            let file = dir.join("model.ppl");
            fs::write(&file, program(shape, strategy, n)).map_err(|e| format!("{}: {e}", file.display()))?;
            all.push(measure(binary, &file, runs));
        }
        table += &line(shape, strategy, &all);
        rows.push(as_json(shape, strategy, &all));
    }
    super::print(table.trim_end());
    let _ = fs::remove_dir_all(&dir);
    fs::write(out, format!("{:#}\n", json!({ "sizes": SIZES, "rows": rows }))).map_err(|e| format!("{out}: {e}"))
}

fn explain(binary: &Path, file: &PathBuf, stage: Option<&str>) -> Option<String> {
    let mut c = Command::new(binary);
    c.arg("explain").arg(file);
    match stage {
        Some(s) => c.arg(format!("--emit={s}")),
        None => c.arg("--time-passes"),
    };
    let out = c.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// `None` where the program is refused.
fn measure(binary: &Path, file: &PathBuf, runs: usize) -> Option<Measured> {
    let statements = |stage: &str| Some(explain(binary, file, Some(stage))?.lines().filter(|l| l.contains(" = ")).count());
    let clif = explain(binary, file, Some("clif"))?.lines().filter(|l| l.starts_with("    ")).count();
    // The run of the median total.
    let mut all: Vec<Vec<(String, f64)>> = (0..runs).filter_map(|_| Some(passes(&explain(binary, file, None)?))).collect();
    all.sort_by(|a, b| a.iter().map(|p| p.1).sum::<f64>().total_cmp(&b.iter().map(|p| p.1).sum()));
    let passes = all.into_iter().nth(runs / 2)?;
    Some(Measured { strategies: statements("strategies")?, optimised: statements("optimised")?, clif, passes })
}

/// Rows of the table of `--time-passes`: a name (perhaps of two words), runs, milliseconds, share, `%`.
fn passes(table: &str) -> Vec<(String, f64)> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let n = words.len().checked_sub(4)?;
        let name = words.get(..n)?.join(" ");
        Some((name, words[n + 1].parse().ok()?))
    };
    table.lines().filter_map(row).filter(|(name, _)| !name.is_empty() && name != "total").collect()
}

fn line(shape: Shape, strategy: &str, all: &[Option<Measured>]) -> String {
    let cells = |f: &dyn Fn(&Measured) -> String| -> String {
        all.iter().map(|m| m.as_ref().map_or("refused".to_string(), f)).collect::<Vec<_>>().join(" / ")
    };
    let ratio = match all {
        [_, Some(a), Some(b)] => {
            format!("{:.1}x text, {:.1}x time", b.clif as f64 / a.clif.max(1) as f64, b.total() / a.total())
        }
        _ => String::new(),
    };
    format!(
        "| {}, `{strategy}` | {} | {} | {} | {} | {ratio} |\n",
        shape.name(),
        cells(&|m| m.strategies.to_string()),
        cells(&|m| m.optimised.to_string()),
        cells(&|m| m.clif.to_string()),
        cells(&|m| format!("{:.0}", m.total())),
    )
}

fn as_json(shape: Shape, strategy: &str, all: &[Option<Measured>]) -> Value {
    let one = |m: &Option<Measured>| {
        m.as_ref().map_or(Value::Null, |m| {
            let passes: serde_json::Map<String, Value> = m.passes.iter().map(|(n, t)| (n.clone(), json!(t))).collect();
            json!({ "strategies": m.strategies, "optimised": m.optimised, "clif": m.clif, "ms": m.total(), "passes_ms": passes })
        })
    };
    json!({ "program": shape.name(), "strategy": strategy, "by_size": all.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_table() {
        let table = "machine code     1     1.437    9.1 %\nvjp              1     0.5      2.0 %\ntotal                 15.826  100.0 %\n";
        assert_eq!(passes(table), [("machine code".to_string(), 1.437), ("vjp".to_string(), 0.5)]);
    }

    #[test]
    fn programs_have_as_many_choices_as_asked() {
        let text = program(Shape::Chain, "reinforce", 5);
        assert_eq!(text.matches(" by reinforce").count(), 5);
        assert!(text.contains("x4 ~ normal(m4 + 0.5 * x3, 1) by reinforce"));
    }
}
