//! The commands as a user runs them.

mod common;

use common::{CONJUGATE, folder, ppl};
use serde_json::Value;

const Y: &str = r#"{"y": [1.0, 2.0, 4.5]}"#;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

#[test]
fn fit_recovers_a_conjugate_posterior() {
    let dir = folder(&[("m.ppl", CONJUGATE)]);
    let ran = ppl(dir.path(), &["fit", "m.ppl", "--data", Y, "--json", "--draws", "4000"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let v = json(&ran.out);
    // Precision 1/4 + 3, mean 7.5 / 3.25.
    let (mean, sd) = (7.5 / 3.25, 3.25f64.sqrt().recip());
    let row = |i: usize, k: &str| v["rows"][i][k].as_f64().unwrap();
    assert_eq!((v["rows"][0]["name"].as_str(), v["rows"][1]["name"].as_str()), (Some("mu"), Some("twice")));
    // Five standard errors of 4000 draws, and a hundredth of sd for the optimisation.
    let se = sd / 4000f64.sqrt();
    assert!((row(0, "mean") - mean).abs() < 5.0 * se + 0.01 * sd, "{}", row(0, "mean"));
    assert!((row(0, "sd") - sd).abs() < 5.0 * se + 0.01 * sd, "{}", row(0, "sd"));
    assert!((row(1, "mean") - 2.0 * row(0, "mean")).abs() < 1e-9);
    // The guide contains the posterior: the bound is the evidence, without variance but for the optimisation's.
    let (n, ss, s) = (3.0, 1.0 + 4.0 + 20.25, 7.5f64);
    let evidence =
        -0.5 * n * (2.0 * std::f64::consts::PI).ln() - 0.5 * (1.0 + 4.0 * n).ln() - 0.5 * (ss - s * s * 4.0 / (1.0 + 4.0 * n));
    let bound = v["objective"]["mean"].as_f64().unwrap();
    assert!((bound - evidence).abs() < 0.01, "{bound} {evidence}");
    assert_eq!(v["strategies"][0]["strategy"], "reparam");
}

#[test]
fn engines_agree() {
    let dir = folder(&[("m.ppl", CONJUGATE)]);
    let run = |engine: &str| {
        let args = [
            "fit",
            "m.ppl",
            "--data",
            Y,
            "--json",
            "--no-save",
            "--steps",
            "60",
            "--seed",
            "3",
            "--draws",
            "150",
            "--engine",
            engine,
        ];
        let ran = ppl(dir.path(), &args, "");
        assert_eq!(ran.code, 0, "{}", ran.err);
        json(&ran.out)
    };
    let (a, b) = (run("jit"), run("interp"));
    let close = |x: &Value, y: &Value| {
        let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
        assert!((x - y).abs() <= 1e-9 * (1.0 + x.abs()), "{x} {y}");
    };
    close(&a["objective"]["mean"], &b["objective"]["mean"]);
    close(&a["rows"][0]["mean"], &b["rows"][0]["mean"]);
    close(&a["rows"][0]["q95"], &b["rows"][0]["q95"]);
    assert_eq!(a["objective"]["draws"], b["objective"]["draws"]);
}

#[test]
fn run_folders_are_whole_and_reproducible() {
    let dir = folder(&[("m.ppl", CONJUGATE)]);
    let run = |more: &[&str]| ppl(dir.path(), &[&["fit", "m.ppl", "--data", Y, "--steps", "50", "--quiet"], more].concat(), "");
    let read = |f: &str| std::fs::read_to_string(dir.path().join(f)).unwrap();
    assert!(run(&[]).out.contains("saved in runs/m-1"));
    assert!(run(&[]).out.contains("saved in runs/m-2"));
    assert_eq!(read("runs/m-1/draws.csv"), read("runs/m-2/draws.csv"));
    run(&["--seed", "1"]);
    assert_ne!(read("runs/m-1/draws.csv"), read("runs/m-3/draws.csv"));
    assert_eq!(json(&read("runs/m-3/settings.json"))["seed"], 1);
    assert_eq!(run(&["--out", "here"]).code, 0);
    let again = run(&["--out", "here"]);
    assert!(again.code == 1 && again.err.contains("E0620"), "{}", again.err);
    assert_eq!(run(&["--out", "here", "--overwrite"]).code, 0);
    let draw = |params: &str| ppl(dir.path(), &["simulate", "m.ppl", "walk(2)", "-n", "2", "--params", params], "").out;
    assert!(draw("here").starts_with("h[1],h[2]\n"));
    assert_eq!(draw("here"), draw("here/params.safetensors"));
}

#[test]
fn clauses_can_be_replaced() {
    let dir = folder(&[("m.ppl", CONJUGATE)]);
    let args = [
        "fit",
        "m.ppl",
        "--data",
        Y,
        "--json",
        "--no-save",
        "--objective",
        "iwelbo(3)",
        "--using",
        "sgd(1e-3)",
        "--particles",
        "5",
        "--steps",
        "30",
        "--by",
        "mu=reinforce",
        "--precision",
        "f32",
        "--guide",
        "auto_normal",
        "--draws",
        "7",
    ];
    let v = json(&ppl(dir.path(), &args, "").out);
    assert_eq!(v["objective"]["name"], "iwelbo(3)");
    assert_eq!((v["steps"].as_u64(), v["draws"].as_u64()), (Some(30), Some(7)));
    assert_eq!(v["strategies"][0]["strategy"], "reinforce");
    assert_eq!(v["run"], Value::Null);
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn check_tells_good_from_bad() {
    let bad = "gen m() { x ~ normla(0, 1) }\ngen g() { x ~ flip(0.5) by reparam }\nparam s: positive = 0.0\n";
    let dir = folder(&[("m.ppl", CONJUGATE), ("bad.ppl", bad)]);
    let good = ppl(dir.path(), &["check", "m.ppl"], "");
    assert!(good.code == 0 && good.out.starts_with("m.ppl: fine (m with auto_normal"), "{}{}", good.out, good.err);
    assert!(ppl(dir.path(), &["check", "m.ppl", "--data", Y], "").out.contains("auto_normal.mu: reparam"));
    let ran = ppl(dir.path(), &["check", "bad.ppl"], "");
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("error[E0101]") && ran.err.contains("bad.ppl:1:15") && ran.err.contains("ppl explain E0101"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("E0412") && ran.err.contains("2 errors"), "every error is shown: {}", ran.err);
    assert!(ran.err.is_ascii(), "plain text without a terminal");
    let outside = folder(&[("s.ppl", "param s: positive = 0.0\ngen m() { x ~ normal(0, s) }\n")]);
    assert!(ppl(outside.path(), &["check", "s.ppl"], "").err.contains("E0307"));
}

#[test]
fn exit_codes() {
    let bad = "param a: real = 0.5\ngen m() {\n  x ~ normal(0, 1)\n  factor log(1 - a)\n}\ngen g() { x ~ normal(a, 1) }\n\
               fit m() with g() minimize elbo using sgd(10), steps 100\n";
    let dir = folder(&[("m.ppl", CONJUGATE), ("nan.ppl", bad)]);
    let run = |args: &[&str]| ppl(dir.path(), args, "");
    assert_eq!(run(&["fit", "none.ppl"]).code, 1);
    assert!(run(&["fit", "m.ppl"]).err.contains("E0604"));
    assert_eq!(run(&["fit", "m.ppl", "--data", r#"{"y": [1, "a"]}"#]).code, 1);
    assert_eq!(run(&["fit"]).code, 2);
    assert_eq!(run(&["fit", "m.ppl", "--data", Y, "--by", "z"]).code, 2);
    assert_eq!(run(&["fit", "m.ppl", "--data", Y, "--objective", "iwelbo("]).code, 2);
    assert!(run(&["fit", "m.ppl", "--data", Y, "--fit", "4"]).err.contains("E0802"));
    assert!(run(&["fit", "m.ppl", "--data", Y, "--using", "adm(0.1)"]).err.contains("did you mean `adam`"));
    assert!(!dir.path().join("runs").join("m-1").exists(), "nothing is written by what did not run");
    let failed = run(&["fit", "nan.ppl", "--out", "kept"]);
    assert_eq!(failed.code, 4);
    assert!(failed.err.contains("E0701") && failed.err.contains("log(") && failed.err.contains("nan.ppl:4:10"), "{}", failed.err);
    let kept = std::fs::read_to_string(dir.path().join("kept/settings.json")).unwrap();
    assert_eq!(json(&kept)["status"], "failed");
}

#[test]
fn explain_shows_pages_and_stages() {
    let dir = folder(&[("m.ppl", CONJUGATE)]);
    let run = |args: &[&str]| ppl(dir.path(), args, "");
    assert!(run(&["explain", "e0801"]).out.starts_with("E0801: "));
    assert_eq!(run(&["explain", "E9999"]).code, 2);
    assert!(run(&["explain", "m.ppl", "--emit=stratgies"]).err.contains("did you mean `strategies`"));
    assert!(run(&["explain", "m.ppl", "--emit=guide"]).out.contains("mu ~ normal("));
    for stage in ["ast", "core", "inline", "smooth", "strategies", "batch", "simplify", "vjp", "step", "optimised", "clif", "asm"]
    {
        let ran = run(&["explain", "m.ppl", &format!("--emit={stage}"), "--data", Y]);
        assert!(ran.code == 0 && ran.out.len() > 100, "{stage}: {}", ran.err);
    }
    let times = run(&["explain", "m.ppl", "--data", Y, "--time-passes"]).out;
    assert!(times.contains("vjp") && times.contains("machine code") && times.contains("total"), "{times}");
}

#[test]
fn explain_shows_the_costs_of_each_choice() {
    let model = "let y = [0.1, 0.2]
param m: real[2] = 0.1
param s: real[3] = 0.3
gen model() {
  w ~ normal(0, 2)
  for n in 2 {
    z[n] ~ normal(w, 1)
    y[n] ~ normal(z[n], 1)
  }
  for t in 3 carry (l = 0.0) {
    x[t] ~ normal(l, 0.5)
    x[t]
  }
}
gen guide() {
  w ~ normal(0.2, 1) by reparam
  for n in 2 { z[n] ~ normal(m[n], 1) by reinforce }
  for t in 3 carry (l = 0.0) {
    x[t] ~ normal(l + s[t], 1) by reinforce
    x[t]
  }
}
fit model() given { y } with guide()
";
    let dir = folder(&[("m.ppl", model)]);
    let ran = ppl(dir.path(), &["explain", "m.ppl", "--emit=costs"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let want = "guide.w by reparam  (m.ppl:16)
  its gradient flows through its value: no score

guide.z by reinforce  (m.ppl:17)
  its cost
    log density of z[n] ~ normal(w, 1)                  (m.ppl:7)   same particle, same n
    log density of y[n] ~ normal(z[n], 1)               (m.ppl:8)   same particle, same n
    log density of z[n] ~ normal(m[n], 1) by reinforce  (m.ppl:17)  same particle, same n
  not in its cost
    log density of w ~ normal(0, 2)                         (m.ppl:5)
    log density of x[t] ~ normal(l, 0.5)                    (m.ppl:11)
    log density of w ~ normal(0.2, 1) by reparam            (m.ppl:16)
    log density of x[t] ~ normal(l + s[t], 1) by reinforce  (m.ppl:19)

guide.x by reinforce  (m.ppl:19)
  its cost
    log density of x[t] ~ normal(l, 0.5)                    (m.ppl:11)  same particle, from t on
    log density of x[t] ~ normal(l + s[t], 1) by reinforce  (m.ppl:19)  same particle, from t on
  not in its cost
    log density of w ~ normal(0, 2)                     (m.ppl:5)
    log density of z[n] ~ normal(w, 1)                  (m.ppl:7)
    log density of y[n] ~ normal(z[n], 1)               (m.ppl:8)
    log density of w ~ normal(0.2, 1) by reparam        (m.ppl:16)
    log density of z[n] ~ normal(m[n], 1) by reinforce  (m.ppl:17)
";
    assert_eq!(ran.out, want, "{}", ran.out);
}

#[test]
fn simulate_draws_from_programs() {
    let dir = folder(&[("m.ppl", CONJUGATE)]);
    let run = |args: &[&str]| ppl(dir.path(), args, "");
    let csv = run(&["simulate", "m.ppl", "--data", r#"{"N": 2}"#, "-n", "2000"]).out;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("mu,y[1],y[2],twice"));
    let y: Vec<f64> = lines.map(|l| l.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(y.len(), 2000);
    let mean = y.iter().sum::<f64>() / 2000.0;
    let variance = y.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1999.0;
    // y ~ normal(0, sqrt(5)): five standard errors of mean and variance.
    assert!(mean.abs() < 5.0 * (5.0f64 / 2000.0).sqrt(), "{mean}");
    assert!((variance - 5.0).abs() < 5.0 * 5.0 * (2.0f64 / 1999.0).sqrt(), "{variance}");
    let rows = json(&run(&["simulate", "m.ppl", "walk(3)", "-n", "4", "--format", "json", "--data", r#"{"N": 2}"#]).out);
    assert_eq!((rows.as_array().unwrap().len(), rows[0]["h"].as_array().unwrap().len()), (4, 3));
    let open = run(&["simulate", "m.ppl"]);
    assert!(open.code == 1 && open.err.contains("`N`"), "{}", open.err);
}

/// Two fits of one model, and the exact log evidence as a number of the file.
const TWO_FITS: &str = "\
data y: real
param m: real = 0.0
param s: positive = 1.0

gen model() {
  x ~ normal(0, 2)
  y ~ normal(x, 1)
}

gen guide() { x ~ normal(m, s) }

gen wide() { x ~ normal(m, 1.2) }

let exact = log_density(normal(0, sqrt(5)), y)

fit model() given { y } with guide() using adam(0.05), particles 5, steps 200, report(exact, iwelbo(8))

fit model() given { y } with wide() maximize iwelbo(4) using adam(0.05), particles 5, steps 100, report(exact, cubo(-2))
";

#[test]
fn all_fits_of_a_file_make_one_table() {
    let dir = folder(&[("m.ppl", TWO_FITS)]);
    let ran = ppl(dir.path(), &["fit", "m.ppl", "--data", r#"{"y": 1.5}"#, "--all", "--quiet", "--out", "runs/both"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    let row = |i: usize| lines[i].split_whitespace().collect::<Vec<_>>();
    assert_eq!(row(0), ["fit", "guide", "estimate", "value", "se", "direction", "steps", "seconds"]);
    assert_eq!(
        (row(1)[..3].to_vec(), row(2)[0], row(3)[..3].to_vec()),
        (vec!["0", "guide", "elbo"], "iwelbo(8)", vec!["1", "wide", "iwelbo(4)"])
    );
    assert!(lines[2].contains("lower bound on log p(y)"), "{}", ran.out);
    // The number is listed once, and the last fit has bounds from both sides of it.
    let exact: f64 = -0.5 * (2.0 * std::f64::consts::PI * 5.0).ln() - 1.5 * 1.5 / 10.0;
    assert_eq!(ran.out.matches("exact: -1.949").count(), 1, "{}", ran.out);
    let gap = lines.iter().find(|l| l.starts_with("fit 1: log p(y) in [")).unwrap();
    let ends: Vec<f64> =
        gap["fit 1: log p(y) in [".len()..].split([',', ']']).take(2).map(|x| x.trim().parse().unwrap()).collect();
    assert!((ends[0] - exact).abs() < 0.05 && (ends[1] - exact).abs() < 0.2, "{gap}: {exact}");
    for k in ["0", "1"] {
        assert!(dir.path().join("runs/both").join(k).join("summary.json").exists(), "{k}");
    }
    let ran = ppl(dir.path(), &["fit", "m.ppl", "--data", r#"{"y": 1.5}"#, "--all", "--quiet", "--json", "--no-save"], "");
    let v = json(&ran.out);
    assert_eq!(v["fits"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&v["fits"][0]["objective"]["direction"], &v["fits"][0]["objective"]["quantity"]),
        (&"lower".into(), &"log p(y)".into())
    );
    assert_eq!(v["fits"][1]["reports"][1]["log"]["direction"], "upper");
    assert!((v["fits"][0]["reports"][0]["mean"].as_f64().unwrap() - exact).abs() < 1e-9);
    // Every field is described.
    for field in v["fits"][1]["objective"].as_object().unwrap().keys().filter(|k| *k != "log") {
        assert!(v["columns"][field].is_string(), "{field}");
    }
    assert_eq!(ppl(dir.path(), &["fit", "m.ppl", "--all", "--fit", "1"], "").code, 2);
}
