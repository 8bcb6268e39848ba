//! `cargo dev bench`: whole-process and steady-state figures, ours and the peers' interleaved in one run.

use crate::data;
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
    /// Another Python, and what it is to find GenJAX by.
    genjax_python: Option<String>,
    genjax: Option<String>,
    /// Where the published artifact's Pyro programs are.
    artifact: Option<String>,
    runs: usize,
    out: String,
    scaling: bool,
    ppl: Option<String>,
    /// Seconds between measurements.
    rest: f64,
    /// Names of workloads; all, if there are none.
    only: Vec<String>,
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
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "ppl-tests", "--bench", "gradients", "--bench", "by_hand"])
        .status();
    if !built.is_ok_and(|s| s.success()) {
        return Err("the benchmark of gradients does not build".into());
    }
    let wanted = |name: &str| s.only.is_empty() || s.only.iter().any(|o| name.contains(o.as_str()));
    let mut rows = Vec::new();
    let mut add = |name: &str, row: &dyn Fn() -> Result<Vec<Row>, String>| -> Result<(), String> {
        if wanted(name) {
            rows.extend(row()?);
        }
        Ok(())
    };
    let schools_model = "examples/eight_schools/noncentered.ppl";
    add("start", &|| Ok(vec![start_up(&s, "start to first gradient, cone", "examples/cone/cone.ppl", "cone")]))?;
    add("start", &|| Ok(vec![start_up(&s, "start to first gradient, eight schools", schools_model, "schools")]))?;
    add("start", &|| first_gradients(&s))?;
    add("check", &|| Ok(vec![check(&s)]))?;
    add("compile", &|| Ok(vec![compile(&s)]))?;
    add("cone", &|| Ok(vec![cone(&s, "cone ELBO, 64 particles, f32, 1 thread", "elbo")]))?;
    add("cone", &|| Ok(vec![cone(&s, "cone IWELBO(5), 64 particles, f32, 1 thread", "iwelbo(5)")]))?;
    add("schools", &|| Ok(vec![schools(&s), schools_steps(&s)]))?;
    add("discrete", &|| Ok(vec![discrete(&s)]))?;
    add("logistic", &|| logistic(&s))?;
    add("vae", &|| vae(&s))?;
    add("air", &|| Ok(air(&s)))?;
    add("hand", &|| by_hand(&s))?;
    add("memory", &|| memory(&s))?;
    let table = table(&rows);
    super::print(&table);
    let json: Vec<Value> = rows
        .iter()
        .map(|r| {
            let peers: serde_json::Map<String, Value> = r.peers.iter().map(|(n, v)| ((*n).to_string(), json!(v))).collect();
            json!({ "what": r.what, "unit": r.unit, "ours": r.ours, "peers": peers, "runs": s.runs })
        })
        .collect();
    let all = json!({ "machine": machine(), "versions": versions(&s), "rows": json });
    fs::write(&s.out, format!("{all:#}\n")).map_err(|e| format!("{}: {e}", s.out))
}

fn settings(args: &[String]) -> Result<Settings, String> {
    let mut s = Settings {
        python: None,
        genjax_python: None,
        genjax: None,
        artifact: None,
        runs: 5,
        out: "target/bench.json".into(),
        scaling: false,
        ppl: None,
        rest: 3.0,
        only: Vec::new(),
    };
    let mut it = args.iter();
    while let Some(a) = it.next() {
        let mut value = || it.next().cloned().ok_or(format!("{a} needs a value"));
        match a.as_str() {
            "--peers" => s.python = Some(value()?),
            "--genjax-python" => s.genjax_python = Some(value()?),
            "--genjax" => s.genjax = Some(value()?),
            "--artifact" => s.artifact = Some(value()?),
            "--runs" => s.runs = value()?.parse().map_err(|_| "--runs needs a number".to_string())?,
            "--out" => s.out = value()?,
            "--scaling" => s.scaling = true,
            "--rest" => s.rest = value()?.parse().map_err(|_| "--rest needs a number of seconds".to_string())?,
            "--only" => s.only.extend(value()?.split(',').map(str::to_string)),
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

/// Our version, and the peers'.
fn versions(s: &Settings) -> Value {
    let ours = timed(&mut ppl(&["--version"])).map(|t| t.0.trim().to_string());
    let code = "import jax, numpyro; print(jax.__version__, numpyro.__version__)";
    let peers = s.python.as_ref().and_then(|p| timed(Command::new(p).args(["-c", code]))).map(|t| t.0.trim().to_string());
    json!({ "ppl": ours, "jax numpyro": peers })
}

/// A measurement that may fail.
type Measure<'a> = &'a dyn Fn() -> Option<f64>;

/// Medians of ours and of the peers, measured in turn.
fn in_turn(
    s: &Settings,
    ours: Measure<'_>,
    peers: &[(&'static str, Measure<'_>)],
) -> (Option<f64>, Vec<(&'static str, Option<f64>)>) {
    let (mut mine, mut theirs) = (Vec::new(), vec![Vec::new(); peers.len()]);
    // Shared machines give both cores for a while only: every measurement starts rested.
    let rest = || std::thread::sleep(std::time::Duration::from_secs_f64(s.rest));
    for _ in 0..s.runs {
        rest();
        mine.extend(ours());
        for ((_, p), all) in peers.iter().zip(&mut theirs) {
            rest();
            all.extend(p());
        }
    }
    (median(mine), peers.iter().zip(theirs).map(|((n, _), v)| (*n, median(v))).collect())
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

/// A peer's field.
fn peer_field(s: &Settings, script: &str, args: &[&str], name: &str, scale: f64) -> Option<f64> {
    field(&timed(&mut peer(s, script, args)?)?.0, name).map(|v| v * scale)
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
    let args = [model];
    let (jax, numpyro) = (format!("{workload}_jax.py"), format!("{workload}_numpyro.py"));
    let first = "time_to_first_gradient_s";
    let (ours, peers) = in_turn(
        s,
        &|| one_step(&args),
        &[
            ("JAX", &|| {
                let steps = ["--mode", "step", "--steps", "1"];
                peer_field(s, &jax, &["--mode", "step", "--wall"], first, 1e3)
                    .or_else(|| peer_start(s, &jax, &steps, &["import_s", "first_run_s"]))
            }),
            ("NumPyro", &|| peer_field(s, &numpyro, &["--wall"], first, 1e3)),
        ],
    );
    Row { what, unit: "ms", more: false, ours, peers }
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
    let name = if objective == "elbo" { "elbo" } else { "iwelbo" };
    let peer_args = ["--objective", name, "--mode", "scan", "--threads", "1"];
    let (ours, peers) = in_turn(
        s,
        &|| speed(&args),
        &[
            ("JAX, whole loop compiled", &|| peer_field(s, "cone_jax.py", &peer_args, "steps_per_s", 1.0)),
            ("NumPyro, whole loop compiled", &|| peer_field(s, "cone_numpyro.py", &peer_args, "steps_per_s", 1.0)),
        ],
    );
    Row { what, unit: "steps/s", more: true, ours, peers }
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
    let wall = |script: &str| -> Option<f64> { Some(timed(&mut peer(s, script, &["--wall"])?)?.1) };
    let (ours, peers) = in_turn(
        s,
        &|| Some(timed(&mut ppl(&args))?.1),
        &[("JAX", &|| wall("schools_jax.py")), ("NumPyro", &|| wall("schools_numpyro.py"))],
    );
    Row { what: "eight schools, 10,000 Adam steps, 10 particles, whole process", unit: "ms", more: false, ours, peers }
}

fn schools_steps(s: &Settings) -> Row {
    let args = ["examples/eight_schools/noncentered.ppl", "--steps", "300000", "--particles", "10", "--using", "adam(0.01)"];
    let args = [&args[..], &["--precision", "f32"]].concat();
    let (ours, peers) = in_turn(
        s,
        &|| speed(&args),
        &[
            ("JAX, whole loop compiled", &|| {
                peer_field(s, "schools_jax.py", &["--mode", "scan", "--steps", "20000"], "steps_per_s", 1.0)
            }),
            ("NumPyro, whole loop compiled", &|| peer_field(s, "schools_numpyro.py", &[], "steps_per_s", 1.0)),
        ],
    );
    Row { what: "eight schools, 10 particles, Adam, f32", unit: "steps/s", more: true, ours, peers }
}

/// Sum of fields of a peer's output, in seconds, as milliseconds: what passes before its first gradient, Python's own start left out.
fn peer_start(s: &Settings, script: &str, args: &[&str], fields: &[&str]) -> Option<f64> {
    let text = timed(&mut peer(s, script, args)?)?.0;
    fields.iter().map(|f| field(&text, f)).sum::<Option<f64>>().map(|v| v * 1e3)
}

/// Milliseconds of a whole process of a one-step fit, but for the evaluation of the objective that follows.
fn one_step(args: &[&str]) -> Option<f64> {
    let all = [&["fit"], args, &["--quiet", "--no-save", "--steps", "1", "--draws", "1", "--time-passes"]].concat();
    let start = Instant::now();
    let out = ppl(&all).stdin(Stdio::null()).output().ok().filter(|o| o.status.success())?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let line = text.lines().find(|l| l.starts_with("evaluation"))?;
    let evaluation: f64 = line.split_whitespace().nth(2)?.parse().ok()?;
    Some(ms - evaluation)
}

/// Start to first gradient of the larger workloads, data included.
fn first_gradients(s: &Settings) -> Result<Vec<Row>, String> {
    let images = images(512)?;
    let regression = regression()?;
    let one = |model: &'static str, data: Vec<String>| {
        move || {
            let mut args = vec![model, "--precision", "f32"];
            data.iter().for_each(|d| args.extend(["--data", d.as_str()]));
            one_step(&args)
        }
    };
    let mut out = Vec::new();
    let x = vec![format!("x={images}")];
    let (ours, peers) = in_turn(
        s,
        &one("tests/bench/models/vae.ppl", x),
        &[("JAX", &|| peer_start(s, "vae_jax.py", &["--batches", "512"], &["import_s", "trace_s", "compile_s"]))],
    );
    out.push(Row { what: "start to first gradient, VAE, batch 512", unit: "ms", more: false, ours, peers });
    let (ours, peers) = in_turn(
        s,
        &one("tests/bench/models/minibatch.ppl", regression.to_vec()),
        &[("JAX", &|| {
            peer_start(s, "logreg_jax.py", &["--mode", "step", "--batch", "512", "--steps", "1"], &["import_s", "first_call_s"])
        })],
    );
    out.push(Row { what: "start to first gradient, logistic regression, minibatch", unit: "ms", more: false, ours, peers });
    let (ours, peers) = in_turn(
        s,
        &one("tests/bench/models/discrete.ppl", Vec::new()),
        &[("JAX", &|| peer_start(s, "discrete.py", &["--peer", "jax"], &["import_s", "trace_s", "compile_s"]))],
    );
    out.push(Row { what: "start to first gradient, 10 Bernoulli latents", unit: "ms", more: false, ours, peers });
    Ok(out)
}

/// Largest resident memory of a process in MB, read while it runs.
fn peak(command: &mut Command) -> Option<f64> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let status = format!("/proc/{}/status", child.id());
    let mut most = None;
    loop {
        if let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
            let kb = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
            most = kb.map(|k| k / 1024.0).or(most);
        }
        if let Some(done) = child.try_wait().ok()? {
            return most.filter(|_| done.success());
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Peak memory of whole processes.
fn memory(s: &Settings) -> Result<Vec<Row>, String> {
    let images = format!("x={}", images(512)?);
    let regression = regression()?;
    let fit = |model: &'static str, more: Vec<String>| {
        move || {
            let mut args = vec!["fit", model, "--quiet", "--no-save", "--precision", "f32"];
            args.extend(more.iter().map(String::as_str));
            peak(&mut ppl(&args))
        }
    };
    let words = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
    let theirs = |script: &'static str, args: &'static [&'static str]| move || peer_field(s, script, args, "max_rss_mb", 1.0);
    let data: Vec<String> = regression.iter().flat_map(|d| ["--data".to_string(), d.clone()]).collect();
    let mut out = Vec::new();
    let mut add = |what: &'static str, ours: Measure<'_>, peer: Measure<'_>| {
        let (ours, peers) = in_turn(s, ours, &[("JAX", peer)]);
        out.push(Row { what, unit: "MB", more: false, ours, peers });
    };
    add(
        "peak memory, cone ELBO",
        &fit("examples/cone/cone.ppl", words("--objective elbo --steps 20000")),
        &theirs("cone_jax.py", &["--objective", "elbo", "--mode", "scan"]),
    );
    add(
        "peak memory, eight schools",
        &fit("examples/eight_schools/noncentered.ppl", words("--steps 10000 --particles 10")),
        &theirs("schools_jax.py", &["--mode", "scan"]),
    );
    add(
        "peak memory, 10 Bernoulli latents",
        &fit("tests/bench/models/discrete.ppl", words("--steps 100")),
        &theirs("discrete.py", &["--peer", "jax"]),
    );
    add(
        "peak memory, logistic regression, full batch",
        &fit("tests/bench/models/logistic.ppl", [data.clone(), words("--steps 200")].concat()),
        &theirs("logreg_jax.py", &["--mode", "scan", "--steps", "200"]),
    );
    add(
        "peak memory, logistic regression, minibatch 512",
        &fit("tests/bench/models/minibatch.ppl", [data, words("--steps 20000")].concat()),
        &theirs("logreg_jax.py", &["--mode", "scan", "--batch", "512", "--steps", "20000"]),
    );
    add(
        "peak memory, VAE, batch 512",
        &fit("tests/bench/models/vae.ppl", [vec!["--data".into(), images], words("--steps 50 --draws 1")].concat()),
        &theirs("vae_jax.py", &["--batches", "512"]),
    );
    Ok(out)
}

/// Milliseconds of a gradient of a model in process.
fn gradient(args: &[&str]) -> Option<f64> {
    in_process(args, "gradient_us").map(|us| us / 1e3)
}

/// Microseconds of a gradient or step of a model in process.
fn in_process(args: &[&str], name: &str) -> Option<f64> {
    let (model, args) = args.split_first()?;
    // The benchmark runs in another folder.
    let model = fs::canonicalize(model).ok()?;
    let mut c = Command::new("cargo");
    c.args(["bench", "--quiet", "--package", "ppl-tests", "--bench", "gradients", "--"]).arg(model).args(args);
    field(&timed(&mut c)?.0, name)
}

/// The same steps written by hand: the price of the abstraction.
fn by_hand(s: &Settings) -> Result<Vec<Row>, String> {
    let rows: Vec<Vec<bool>> = pixels(512).chunks(784).map(<[bool]>::to_vec).collect();
    let images = written("target/bench-vae.json", &json!({ "N": 512, "x": rows }))?;
    let z = written("target/bench-cone.json", &json!({ "z": 5 }))?;
    let hand = |name: &'static str| {
        move || {
            let mut c = Command::new("cargo");
            c.args(["bench", "--quiet", "--package", "ppl-tests", "--bench", "by_hand"]);
            field(&timed(&mut c)?.0, name)
        }
    };
    let one = ["--precision", "f32", "--threads", "1"];
    let vae = [&["tests/bench/models/vae.ppl", images.as_str()], &one[..]].concat();
    let cone = [&["examples/cone/cone.ppl", z.as_str()], &one[..], &["--particles", "64", "--objective", "elbo"]].concat();
    let mut out = Vec::new();
    for (what, args, name, theirs) in [
        ("VAE gradient, batch 512, one thread", &vae, "gradient_us", "vae_us"),
        ("cone ELBO step, 64 particles, one thread", &cone, "step_us", "cone_us"),
    ] {
        let (ours, peers) = in_turn(s, &|| in_process(args, name), &[("Rust by hand", &hand(theirs))]);
        out.push(Row { what, unit: "us", more: false, ours, peers });
    }
    Ok(out)
}

/// Writes JSON; the file's whole name.
fn written(file: &str, value: &Value) -> Result<String, String> {
    fs::write(file, value.to_string()).map_err(|e| format!("{file}: {e}"))?;
    let file = fs::canonicalize(file).map_err(|e| format!("{file}: {e}"))?;
    Ok(file.to_string_lossy().into_owned())
}

fn discrete(s: &Settings) -> Row {
    let (ours, peers) = in_turn(
        s,
        &|| gradient(&["tests/bench/models/discrete.ppl", "--precision", "f32", "--threads", "2"]),
        &[
            ("JAX", &|| peer_field(s, "discrete.py", &["--peer", "jax"], "median_ms", 1.0)),
            ("NumPyro", &|| peer_field(s, "discrete.py", &["--peer", "numpyro"], "median_ms", 1.0)),
        ],
    );
    Row { what: "10 Bernoulli latents, 1,000 particles, REINFORCE gradient", unit: "ms", more: false, ours, peers }
}

/// Writes the data of the regressions: the arguments of `--data`.
fn regression() -> Result<[String; 2], String> {
    let (n, d) = (50_000, 50);
    let mut r = data::Numbers::new(20_240_620);
    let x: Vec<f64> = (0..n * d).map(|_| r.normal()).collect();
    let w: Vec<f64> = (0..d).map(|_| 0.5 * r.normal()).collect();
    let label: Vec<bool> = x
        .chunks(d)
        .map(|row| {
            let logit: f64 = row.iter().zip(&w).map(|(a, b)| a * b).sum::<f64>() - 0.3;
            r.uniform() < 1.0 / (1.0 + (-logit).exp())
        })
        .collect();
    let (x_file, label_file) = ("target/bench-X.npy", "target/bench-label.npy");
    data::write_reals(x_file, &[n, d], &x)?;
    data::write_bools(label_file, &[n], &label)?;
    Ok([format!("X={x_file}"), format!("label={label_file}")])
}

fn logistic(s: &Settings) -> Result<Vec<Row>, String> {
    let [x, label] = regression()?;
    let mut out = Vec::new();
    let (full, part) = ("tests/bench/models/logistic.ppl", "tests/bench/models/minibatch.ppl");
    for (what, model, precision, more) in [
        ("logistic regression, 50,000 x 50, full batch, f32", full, "f32", &[][..]),
        ("the same in f64", full, "f64", &["--x64"][..]),
        ("logistic regression, 50,000 x 50, minibatch 512, f32", part, "f32", &["--batch", "512", "--steps", "20000"][..]),
        ("minibatches in f64", part, "f64", &["--batch", "512", "--steps", "20000", "--x64"][..]),
    ] {
        let args = [model, "--data", &x, "--data", &label, "--precision", precision];
        let mut theirs = vec!["--mode", "scan"];
        theirs.extend(more);
        let (ours, peers) = in_turn(
            s,
            &|| speed(&args),
            &[("JAX, whole loop compiled", &|| peer_field(s, "logreg_jax.py", &theirs, "steps_per_s", 1.0))],
        );
        out.push(Row { what, unit: "steps/s", more: true, ours, peers });
    }
    Ok(out)
}

/// Pixels of random images.
fn pixels(batch: usize) -> Vec<bool> {
    let mut r = data::Numbers::new(1);
    (0..batch * 784).map(|_| r.uniform() < 0.3).collect()
}

/// Writes random images; the file.
fn images(batch: usize) -> Result<&'static str, String> {
    let file = "target/bench-images.npy";
    data::write_bools(file, &[batch, 784], &pixels(batch))?;
    Ok(file)
}

fn vae(s: &Settings) -> Result<Vec<Row>, String> {
    let mut out = Vec::new();
    for (what, batch, threads) in [
        ("VAE gradient, batch 64, f32", 64, "2"),
        ("batch 128", 128, "2"),
        ("batch 256", 256, "2"),
        ("batch 512", 512, "2"),
        ("batch 1024", 1024, "2"),
        ("batch 512, one thread", 512, "1"),
    ] {
        let rows: Vec<Vec<bool>> = pixels(batch).chunks(784).map(<[bool]>::to_vec).collect();
        let file = written("target/bench-vae.json", &json!({ "N": batch, "x": rows }))?;
        let args = ["tests/bench/models/vae.ppl", &file, "--precision", "f32", "--threads", threads];
        let batches = batch.to_string();
        let mut theirs = vec!["--batches", &batches];
        if threads == "1" {
            theirs.extend(["--threads", "1"]);
        }
        let (ours, peers) =
            in_turn(s, &|| gradient(&args), &[("JAX", &|| peer_field(s, "vae_jax.py", &theirs, "median_ms", 1.0))]);
        out.push(Row { what, unit: "ms", more: false, ours, peers });
    }
    Ok(out)
}

/// Attend, infer, repeat as the example has it. GenJAX and the Pyro of the published artifact run from checkouts with a Python of their own each.
fn air(s: &Settings) -> Vec<Row> {
    let of = |script: &str, python: &Option<String>, path: &Option<String>, args: &[&str], estimator: &str| {
        let (python, path) = (python.as_ref()?, path.as_ref()?);
        let mut c = Command::new(python);
        c.arg(format!("tests/bench/peers/{script}")).args(args).env("PYTHONPATH", path);
        let text = timed(&mut c)?.0;
        let named = format!("\"estimator\": \"{estimator}\"");
        field(text.lines().rfind(|l| l.contains(&named))?, "median_ms")
    };
    let mut out = Vec::new();
    for (what, strategy, estimator) in [
        ("AIR gradient, batch 64, REINFORCE", "reinforce", "reinforce"),
        ("AIR gradient, batch 64, measure-valued", "measure_valued", "mvd"),
        ("AIR gradient, batch 64, enumeration", "enumerate", "enum"),
    ] {
        let by = format!("pres={strategy}");
        let model = "examples/attend_infer_repeat/air.ppl";
        let args = [model, "--precision", "f32", "--threads", "2", "--by", &by, "--seconds", "5"];
        let (ours, peers) = in_turn(
            s,
            &|| in_process(&args, "gradient_us").map(|us| us / 1e3),
            &[
                ("GenJAX", &|| of("air_genjax.py", &s.genjax_python, &s.genjax, &["--estimators", estimator], estimator)),
                ("Pyro", &|| of("air_pyro.py", &s.python, &s.artifact, &[], estimator)),
            ],
        );
        out.push(Row { what, unit: "ms", more: false, ours, peers });
    }
    out
}

fn number(v: f64) -> String {
    if v >= 1e5 {
        format!("{:.0}k", v / 1e3)
    } else if v >= 100.0 {
        format!("{v:.0}")
    } else if v >= 10.0 {
        format!("{v:.1}")
    } else {
        format!("{v:.2}")
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
