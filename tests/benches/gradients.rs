//! Times gradients and steps of a model in process, without reading, checking or starting: `cargo bench --bench gradients -- MODEL [DATA] [--precision f32] ..`.
//!
//! Prints one line of JSON: medians in microseconds. `cargo dev bench` reads it.

use ppl_abi::Precision;
use ppl_check::{FitOverrides, Override};
use ppl_codegen::Options;
use ppl_tests::engine::native_with;
use ppl_tests::timing::median;
use ppl_tests::{Fitted, Model};
use std::path::Path;

fn main() -> Result<(), String> {
    let mut files = Vec::new();
    let mut strategies = Vec::new();
    let (mut precision, mut seconds, mut threads, mut particles, mut objective) = (Precision::F64, 1.0, 1, None, None);
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        let mut value = || args.next().ok_or(format!("{a} needs a value"));
        match a.as_str() {
            "--bench" => {}
            "--precision" => precision = if value()? == "f32" { Precision::F32 } else { Precision::F64 },
            "--threads" => threads = value()?.parse().map_err(|_| "--threads needs a number")?,
            "--seconds" => seconds = value()?.parse().map_err(|_| "--seconds needs a number")?,
            "--particles" => particles = Some(value()?.parse().map_err(|_| "--particles needs a number")?),
            "--by" => {
                let text = value()?;
                let (choice, strategy) = text.split_once('=').ok_or("--by takes CHOICE=STRATEGY")?;
                let strategy = ppl_syntax::parse_expr(ppl_diag::FileId(u32::MAX), strategy).0;
                strategies.push(Override { address: Some(choice.to_string()), strategy });
            }
            "--objective" => objective = Some(ppl_syntax::parse_expr(ppl_diag::FileId(u32::MAX), &value()?).0),
            _ => files.push(a),
        }
    }
    let Some((model, data)) = files.split_first() else { return Err("a model is needed".into()) };
    let data: Vec<String> =
        data.iter().map(|d| std::fs::read_to_string(d).map_err(|e| format!("{d}: {e}"))).collect::<Result<_, _>>()?;
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    let model = Model::open(Path::new(model), &data).map_err(|e| format!("{e:?}"))?;
    let overrides = FitOverrides { particles, objective, strategies, ..FitOverrides::default() };
    let fitted = Fitted::new(&model, &overrides, None).map_err(|e| format!("{e:?}"))?;
    let options = Options { threads, ..Options::new(precision, ppl_tensor::address) };
    let mut gradient = native_with(&fitted.code.gradient, &fitted.inputs(&fitted.code.inputs), &options)?;
    let mut step = native_with(&fitted.code.step, &fitted.step_inputs(), &options)?;
    let state: Vec<(usize, usize)> = (0..fitted.code.layout.state).map(|i| (i, i)).collect();
    step.set_state(&state).map_err(|e| e.to_string())?;
    let g = median(seconds, |k| gradient.run(1, k));
    let s = median(seconds, |k| step.run(1, k));
    #[expect(clippy::print_stdout, reason = "the result")]
    {
        println!("{{\"gradient_us\": {g:.3}, \"step_us\": {s:.3}, \"workspace\": {}}}", gradient.code().workspace());
    }
    Ok(())
}
