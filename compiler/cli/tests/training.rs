//! Training on minibatches as a user does it: epochs, held-out data, early stopping, checkpoints, going on, and evaluating what came out.

mod common;

use common::{Ran, folder, ppl};
use serde_json::Value;
use std::path::Path;

/// A latent mean for each datum; the guide is the posterior at `gain = 0.8`, `width = sqrt(0.2)`.
const MODEL: &str = "\
data N: int
data x: real[N]

param centre: real = 0.0
param gain: real = 0.3
param width: positive = 1.0

gen one() {
  z ~ normal(centre, 1)
  x ~ normal(z, 0.5)
}

gen look(x: real) { z ~ normal(centre + gain * (x - centre), width) }

fn pictures() = [for k in 3 { [for i in 4 { [for j in 5 { real((i + j + k) % 2) }] }] }]

objective each(K: int) = sum(for n in minibatch(N, 10) { iwelbo(one() given { x: x[n] }, look(x[n]), K) })

fit maximize sum(for n in minibatch(N, 10) { elbo(one() given { x: x[n] }, look(x[n])) })
  using adam(0.02, schedule = cosine(0.1, warmup = 5)), particles 1
";

/// `n` numbers around 1.
fn data(n: usize) -> String {
    let x: Vec<f64> = (0..n).map(|i| 1.0 + 1.1 * (12.9898 * (i as f64 + 1.0)).sin() + 0.3 * (i as f64).cos()).collect();
    serde_json::json!({ "x": x }).to_string()
}

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e} in {}", ran.out))
}

fn fit(dir: &Path, args: &[&str]) -> Ran {
    ppl(dir, &[&["fit", "m.ppl", "--data", "x.json", "--draws", "1", "-q"], args].concat(), "")
}

fn start(n: usize) -> tempfile::TempDir {
    folder(&[("m.ppl", MODEL), ("x.json", &data(n))])
}

/// The mean over the data of the log evidence at the optimum: `x ~ normal(centre, sqrt(1.25))`.
fn evidence(x: &[f64], centre: f64) -> f64 {
    let one = |x: &f64| -0.5 * ((x - centre).powi(2) / 1.25 + (2.0 * std::f64::consts::PI * 1.25).ln());
    x.iter().map(one).sum::<f64>()
}

fn numbers(text: &str) -> Vec<f64> {
    let v: Value = serde_json::from_str(text).expect("data");
    v["x"].as_array().expect("numbers").iter().filter_map(Value::as_f64).collect()
}

#[test]
fn epochs_are_steps_over_the_data() {
    let dir = start(40);
    let v = json(&fit(dir.path(), &["--epochs", "2.5", "--json", "--no-save"]));
    assert_eq!(v["steps"].as_u64(), Some(10), "{v}");
    let ran = fit(dir.path(), &["--epochs", "2", "--steps", "5"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    let plain =
        folder(&[("m.ppl", "gen m() { z ~ normal(0, 1); y ~ normal(z, 1) }\nfit m() given { y: 1.0 } with auto_normal\n")]);
    let ran = ppl(plain.path(), &["fit", "m.ppl", "--epochs", "3", "--no-save"], "");
    assert!(ran.code == 1 && ran.err.contains("E0705"), "{}", ran.err);
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    let dir = start(40);
    let whole = fit(dir.path(), &["--steps", "60", "--out", "whole"]);
    assert_eq!(whole.code, 0, "{}", whole.err);
    // The schedule of the first part knows its own length only, so the parts share one that does not depend on it.
    let constant = ["--using", "adam(0.02, clip_norm = 5)"];
    let run = |args: &[&str]| {
        let ran = fit(dir.path(), &[args, &constant].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
    };
    run(&["--steps", "60", "--out", "one"]);
    run(&["--steps", "25", "--out", "two"]);
    let ran = ppl(dir.path(), &["fit", "--resume", "two", "--steps", "35", "-q"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let read = |name: &str| std::fs::read(dir.path().join(name).join("params.safetensors")).expect("parameters");
    assert_eq!(read("one"), read("two"));
    assert_ne!(read("one"), read("whole"));
    // Another model has other parameters.
    let other = folder(&[("m.ppl", "param a: real = 1.0\ngen m() { z ~ normal(a, 1) }\nfit m() with auto_normal\n")]);
    let ran = ppl(other.path(), &["fit", "m.ppl", "--resume", dir.path().join("two").to_str().expect("a path"), "-q"], "");
    assert_ne!(ran.code, 0, "{}", ran.out);
    assert!(ran.err.contains("error[E"), "{}", ran.err);
}

#[test]
fn checkpoints_are_runs() {
    let dir = start(40);
    let ran = fit(dir.path(), &["--steps", "30", "--checkpoint", "10", "--out", "run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let settings: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("run/settings.json")).expect("settings")).expect("JSON");
    assert_eq!((settings["status"].as_str(), settings["next_step"].as_u64()), (Some("finished"), Some(30)));
    let ran = fit(dir.path(), &["--checkpoint", "soon", "--no-save"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

#[test]
fn held_out_data_end_a_fit() {
    let dir = start(60);
    let args = ["--epochs", "200", "--validation", "0.25", "--patience", "4", "--out", "run", "--using", "adam(0.05)"];
    let v = json(&fit(dir.path(), &[&args[..], &["--json"]].concat()));
    let rows = std::fs::read_to_string(dir.path().join("run/validation.csv")).expect("validation");
    let values: Vec<(u64, f64)> = rows
        .lines()
        .skip(1)
        .map(|l| {
            let c: Vec<&str> = l.split(',').collect();
            (c[0].parse().expect("a step"), c[2].parse().expect("a number"))
        })
        .collect();
    let best = values.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).expect("a best one");
    let last = values.last().expect("a last one");
    // 45 of 60 rows train, ten at a time: an evaluation every five steps.
    assert!(values.windows(2).all(|w| w[1].0 > w[0].0) && last.0 < 900, "{values:?}");
    assert_eq!(values.iter().rev().take_while(|v| **v != best).count(), 4, "{values:?}");
    assert!(v.to_string().contains("best"), "{v}");
    // The parameters that are kept are those of the best: evaluated on the held-out rows they give its value, up to draws.
    let e = json(&ppl(dir.path(), &["eval", "run", "--part", "validation", "--json"], ""));
    let (mean, se) = (e["objectives"][0]["mean"].as_f64(), e["objectives"][0]["mcse"].as_f64());
    let (mean, se) = (mean.unwrap_or_else(|| panic!("{e}")), se.unwrap_or_else(|| panic!("{e}")));
    assert!((mean - best.1).abs() < 6.0 * se.max(0.5), "{mean} ({se}), {best:?}");
    let ran = fit(dir.path(), &["--validation", "1.5", "--no-save"]);
    assert!(ran.code != 0 && ran.err.contains("E0803"), "{}", ran.err);
}

#[test]
fn an_evaluation_is_of_other_data() {
    let dir = folder(&[("m.ppl", MODEL), ("x.json", &data(40)), ("other.json", &data(25))]);
    let ran = fit(dir.path(), &["--steps", "1500", "--out", "run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let x = numbers(&data(25));
    let train = numbers(&data(40));
    let centre = train.iter().sum::<f64>() / train.len() as f64;
    let exact = evidence(&x, centre);
    let args = ["eval", "run", "--data", "other.json", "--objective", "each(200)", "--json"];
    let v = json(&ppl(dir.path(), &args, ""));
    let (mean, se) =
        (v["objectives"][0]["mean"].as_f64().expect("a mean"), v["objectives"][0]["mcse"].as_f64().expect("an error"));
    // The guide is the posterior, so the bound is the evidence; what the optimiser is short of is a hundredth of a nat each.
    assert!((mean - exact).abs() < 5.0 * se + 0.25, "{mean} ({se}), exactly {exact}");
    // An estimate for each datum, and a file of them.
    let each = "[for n in N { iwelbo(one() given { x: x[n] }, look(x[n]), 50) }]";
    let args = ["eval", "run", "--data", "other.json", "--objective", each, "--out", "each.csv"];
    let ran = ppl(dir.path(), &args, "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let rows = std::fs::read_to_string(dir.path().join("each.csv")).expect("values");
    let values: Vec<f64> =
        rows.lines().skip(1).map(|l| l.split(',').next_back().expect("a value").parse().expect("a number")).collect();
    assert_eq!(values.len(), 25);
    for (x, v) in x.iter().zip(&values) {
        let one = evidence(&[*x], centre);
        assert!((v - one).abs() < 0.2, "{x}: {v}, exactly {one}");
    }
}

#[test]
fn pictures_are_png_files() {
    let dir = start(40);
    let args = ["eval", "m.ppl", "--data", "x.json", "--images", "pictures()=p.png", "--columns", "3"];
    let ran = ppl(dir.path(), &args, "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let file = std::fs::File::open(dir.path().join("p.png")).expect("a file");
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a header");
    let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut bytes).expect("an image");
    // Three pictures of 4 by 5, one pixel apart and inside a frame of one.
    assert!(info.width >= 17 && info.height >= 4, "{info:?}");
    assert!(bytes[..info.buffer_size()].contains(&255) && bytes[..info.buffer_size()].contains(&0));
    let ran = ppl(dir.path(), &["eval", "m.ppl", "--data", "x.json", "--images", "x=p.png"], "");
    assert!(ran.code == 1 && ran.err.contains("E0810"), "{}", ran.err);
}

#[test]
fn a_norm_clips_the_gradient() {
    let dir = start(40);
    // A step of plain gradient ascent is at most rate * norm long.
    let run = |using: &str, out: &str| {
        let ran = fit(dir.path(), &["--steps", "1", "--using", using, "--out", out]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let bytes = std::fs::read(dir.path().join(out).join("params.safetensors")).expect("parameters");
        let t = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
        let value = |name: &str| {
            let t = t.tensor(name).expect("a parameter");
            f64::from_le_bytes(t.data().try_into().expect("one number"))
        };
        // `width` moves on the log scale.
        (value("centre").powi(2) + (value("gain") - 0.3).powi(2) + value("width").ln().powi(2)).sqrt()
    };
    let free = run("sgd(0.001)", "free");
    assert!(free > 0.02, "{free}");
    let clipped = run("sgd(0.001, clip_norm = 10)", "clipped");
    assert!((clipped - 0.01).abs() < 1e-4, "{clipped}, {free}");
}

/// A safetensors file as PyTorch writes it: single precision.
fn saved(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.2.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), b)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), b).expect("a tensor");
        (*name, view)
    });
    safetensors::serialize(views, None).expect("a file")
}

#[test]
fn a_network_starts_from_pytorchs_parameters() {
    const NET: &str = "use std.nn\nparam net = nn.mlp([2, 3, 1], relu)\nfit maximize -(net([1.0, -2.0])[0] - 1)^2 using sgd(1e-9), particles 1, steps 1\n";
    let dir = folder(&[("m.ppl", NET)]);
    let tensors: [(&str, &[usize], &[f32]); 4] = [
        ("net.0.weight", &[3, 2], &[1.0, 0.5, -1.0, 0.25, 2.0, 1.0]),
        ("net.0.bias", &[3], &[0.5, 4.0, 0.0]),
        ("net.2.weight", &[1, 3], &[1.0, 2.0, 3.0]),
        ("net.2.bias", &[1], &[0.125]),
    ];
    std::fs::write(dir.path().join("torch.safetensors"), saved(&tensors)).expect("written");
    let ran = ppl(dir.path(), &["fit", "m.ppl", "--init", "torch.safetensors", "--json", "--out", "run"], "");
    let v = json(&ran);
    // Hidden: relu(1 - 1 + 0.5), relu(-1 - 0.5 + 4), relu(2 - 2) = 0.5, 2.5, 0; output 0.5 + 5 + 0.125.
    let mean = v["objective"]["mean"].as_f64().expect("a mean");
    assert!((mean + (5.625f64 - 1.0).powi(2)).abs() < 1e-3, "{v}");
    assert!(ran.err.contains("4 of 4 parameters"), "{}", ran.err);
    // Back under the same names and shapes.
    let bytes = std::fs::read(dir.path().join("run/params.safetensors")).expect("parameters");
    let back = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
    for (name, shape, _) in tensors {
        assert_eq!(back.tensor(name).expect("a parameter").shape(), shape);
    }
    std::fs::write(dir.path().join("other.safetensors"), saved(&[("net.0.weight", &[2, 3], &[0.0; 6])])).expect("written");
    let ran = ppl(dir.path(), &["fit", "m.ppl", "--init", "other.safetensors", "--no-save"], "");
    assert!(ran.code == 1 && ran.err.contains("net.0.weight"), "{}", ran.err);
    std::fs::write(dir.path().join("none.safetensors"), saved(&[("a", &[1], &[0.0])])).expect("written");
    let ran = ppl(dir.path(), &["fit", "m.ppl", "--init", "none.safetensors", "--no-save"], "");
    assert!(ran.code == 1 && ran.err.contains("E0622"), "{}", ran.err);
}
