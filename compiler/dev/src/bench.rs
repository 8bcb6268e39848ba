//! `cargo dev bench`: whole-process and steady-state figures, ours and the peers' interleaved in one run.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// One line of the table.
struct Row {
    what: &'static str,
    unit: &'static str,
    /// Whether more is better.
    more: bool,
    ours: Option<f64>,
    peers: Vec<(&'static str, Option<f64>)>,
}

struct Settings {
    python: Option<String>,
    runs: usize,
    out: String,
    scaling: bool,
    ppl: Option<String>,
}

/// Runs all measurements, prints a Markdown table and writes JSON.
///
/// # Errors
/// Unknown options, a build that fails, a file that can't be written.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let s = settings(args)?;
    if let (true, Some(ppl)) = (s.scaling, &s.ppl) {
        return super::scaling::run(Path::new(ppl), s.runs, &s.out);
    }
    let built = Command::new("cargo").args(["build", "--release", "--package", "ppl-cli"]).status();
    if !built.is_ok_and(|s| s.success()) {
        return Err("the release build failed".into());
    }
    if s.scaling {
        return super::scaling::run(Path::new("target/release/ppl"), s.runs, &s.out);
    }
    let rows = vec![
        start_up(&s, "start to first gradient, cone", "examples/cone/cone.ppl", "cone"),
        start_up(&s, "start to first gradient, eight schools", "examples/eight_schools/noncentered.ppl", "schools"),
        check(&s),
        compile(&s),
        cone(&s, "cone ELBO, 64 particles, f32, 1 thread", "elbo"),
        cone(&s, "cone IWELBO(5), 64 particles, f32, 1 thread", "iwelbo(5)"),
        schools(&s),
    ];
    let table = table(&rows);
    super::print(&table);
    let json: Vec<Value> = rows
        .iter()
        .map(|r| {
            let peers: serde_json::Map<String, Value> = r.peers.iter().map(|(n, v)| ((*n).to_string(), json!(v))).collect();
            json!({ "what": r.what, "unit": r.unit, "ours": r.ours, "peers": peers, "runs": s.runs })
        })
        .collect();
    let all = json!({ "machine": machine(), "rows": json });
    fs::write(&s.out, format!("{all:#}\n")).map_err(|e| format!("{}: {e}", s.out))
}

fn settings(args: &[String]) -> Result<Settings, String> {
    let mut s = Settings { python: None, runs: 5, out: "target/bench.json".into(), scaling: false, ppl: None };
    let mut it = args.iter();
    while let Some(a) = it.next() {
        let mut value = || it.next().cloned().ok_or(format!("{a} needs a value"));
        match a.as_str() {
            "--peers" => s.python = Some(value()?),
            "--runs" => s.runs = value()?.parse().map_err(|_| "--runs needs a number".to_string())?,
            "--out" => s.out = value()?,
            "--scaling" => s.scaling = true,
            "--ppl" => s.ppl = Some(value()?),
            _ => return Err(format!("unknown option {a}")),
        }
    }
    s.runs = s.runs.max(1);
    Ok(s)
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")).map(|l| l.trim_start_matches([' ', '\t', ':']).to_string());
    json!({ "cpu": model, "cores": std::thread::available_parallelism().map(|n| n.get()).ok() })
}

fn median(mut v: Vec<f64>) -> Option<f64> {
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied()
}

/// Output and wall time, in milliseconds, of a whole process; `None` if it fails.
fn timed(command: &mut Command) -> Option<(String, f64)> {
    let start = Instant::now();
    let out = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    out.status.success().then(|| (String::from_utf8_lossy(&out.stdout).into_owned(), ms))
}

fn ppl(args: &[&str]) -> Command {
    let mut c = Command::new("target/release/ppl");
    c.args(args);
    c
}

fn peer(s: &Settings, script: &str, args: &[&str]) -> Option<Command> {
    let mut c = Command::new(s.python.as_ref()?);
    c.arg(format!("tests/bench/peers/{script}")).args(args);
    Some(c)
}

fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().rev().find_map(|l| serde_json::from_str::<Value>(l).ok()?.get(name)?.as_f64())
}

/// A peer's field, the median of a few runs.
fn peer_field(s: &Settings, script: &str, args: &[&str], name: &str, scale: f64) -> Option<f64> {
    let runs = s.runs.min(3);
    median((0..runs).filter_map(|_| field(&timed(&mut peer(s, script, args)?)?.0, name)).collect()).map(|v| v * scale)
}

/// Steps per second of a fit, from its JSON summary.
fn speed(args: &[&str]) -> Option<f64> {
    let mut all = vec!["fit", "--quiet", "--no-save", "--json"];
    all.extend(args);
    let (text, _) = timed(&mut ppl(&all))?;
    let v: Value = serde_json::from_str(&text).ok()?;
    Some(v.get("steps")?.as_f64()? / v.get("seconds")?.as_f64()?)
}

/// Milliseconds from source to native code, from the table of `--time-passes` (on standard error); data and evaluation excluded.
fn compile_ms(model: &str) -> Option<f64> {
    let args = ["fit", model, "--quiet", "--no-save", "--steps", "1", "--draws", "1", "--time-passes"];
    let out = ppl(&args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let mut total = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // name (perhaps of two words), runs, ms, share, %
        let (Some(ms), Some(name)) = (words.len().checked_sub(3).and_then(|i| words[i].parse::<f64>().ok()), words.first())
        else {
            continue;
        };
        match *name {
            "data" | "evaluation" | "total" => {}
            _ => total = Some(total.unwrap_or(0.0) + ms),
        }
    }
    total
}

fn start_up(s: &Settings, what: &'static str, model: &str, workload: &str) -> Row {
    // The whole process with a single step, so an upper bound.
    let args = ["fit", model, "--quiet", "--no-save", "--steps", "1", "--draws", "1"];
    let ours = median((0..s.runs).filter_map(|_| Some(timed(&mut ppl(&args))?.1)).collect());
    let jax = peer_field(s, &format!("{workload}_jax.py"), &["--mode", "step", "--wall"], "time_to_first_gradient_s", 1e3);
    let numpyro = peer_field(s, &format!("{workload}_numpyro.py"), &["--wall"], "time_to_first_gradient_s", 1e3);
    Row { what, unit: "ms", more: false, ours, peers: vec![("JAX", jax), ("NumPyro", numpyro)] }
}

fn examples() -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir("examples")
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|d| fs::read_dir(d.path()).into_iter().flatten().flatten())
        .filter_map(|f| f.path().to_str().map(str::to_string))
        .filter(|p| p.ends_with(".ppl"))
        .collect();
    all.sort();
    all
}

/// The slowest example's median.
fn check(s: &Settings) -> Row {
    let slowest = examples()
        .iter()
        .filter_map(|e| median((0..s.runs).filter_map(|_| Some(timed(&mut ppl(&["check", e]))?.1)).collect()))
        .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
    Row { what: "`ppl check`, whole process, slowest example", unit: "ms", more: false, ours: slowest, peers: Vec::new() }
}

fn compile(s: &Settings) -> Row {
    let slowest = examples()
        .iter()
        .filter_map(|e| median((0..s.runs).filter_map(|_| compile_ms(e)).collect()))
        .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
    Row {
        what: "compile time, source to native step, slowest example",
        unit: "ms",
        more: false,
        ours: slowest,
        peers: Vec::new(),
    }
}

fn cone(s: &Settings, what: &'static str, objective: &str) -> Row {
    let args = ["examples/cone/cone.ppl", "--objective", objective, "--precision", "f32", "--steps", "300000"];
    let ours = median((0..s.runs).filter_map(|_| speed(&args)).collect());
    let name = if objective == "elbo" { "elbo" } else { "iwelbo" };
    let peer_args = ["--objective", name, "--mode", "scan", "--threads", "1"];
    let jax = peer_field(s, "cone_jax.py", &peer_args, "steps_per_s", 1.0);
    let numpyro = peer_field(s, "cone_numpyro.py", &peer_args, "steps_per_s", 1.0);
    Row {
        what,
        unit: "steps/s",
        more: true,
        ours,
        peers: vec![("JAX, whole loop compiled", jax), ("NumPyro, whole loop compiled", numpyro)],
    }
}

fn schools(s: &Settings) -> Row {
    let args = [
        "fit",
        "examples/eight_schools/noncentered.ppl",
        "--quiet",
        "--no-save",
        "--steps",
        "10000",
        "--particles",
        "10",
        "--using",
        "adam(0.01)",
    ];
    let ours = median((0..s.runs).filter_map(|_| Some(timed(&mut ppl(&args))?.1)).collect());
    let wall = |script: &str| -> Option<f64> {
        median((0..s.runs.min(3)).filter_map(|_| Some(timed(&mut peer(s, script, &["--wall"])?)?.1)).collect())
    };
    Row {
        what: "eight schools, 10,000 Adam steps, 10 particles, whole process",
        unit: "ms",
        more: false,
        ours,
        peers: vec![("JAX", wall("schools_jax.py")), ("NumPyro", wall("schools_numpyro.py"))],
    }
}

fn number(v: f64) -> String {
    if v >= 1e5 {
        format!("{:.0}k", v / 1e3)
    } else if v >= 100.0 {
        format!("{v:.0}")
    } else {
        format!("{v:.1}")
    }
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from("| workload | ppl | peers | ratio |\n|---|---|---|---|\n");
    for r in rows {
        let ours = r.ours.map_or("failed".into(), |v| format!("{} {}", number(v), r.unit));
        let peers: Vec<String> = r.peers.iter().filter_map(|(n, v)| Some(format!("{n} {}", number((*v)?)))).collect();
        let best = r
            .peers
            .iter()
            .filter_map(|(_, v)| *v)
            .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| if r.more { a.max(b) } else { a.min(b) })));
        let ratio = match (r.ours, best) {
            (Some(o), Some(b)) if r.more => format!("{:.1}x", o / b),
            (Some(o), Some(b)) => format!("{:.1}x", b / o),
            _ => String::new(),
        };
        out += &format!("| {} | {ours} | {} | {ratio} |\n", r.what, peers.join(", "));
    }
    out
}
