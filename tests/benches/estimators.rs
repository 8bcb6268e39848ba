//! Measures every estimator of the library on the common benchmarks and writes `spec/estimators/measured.json`, from which the pages are made: `cargo dev estimators`.

use ppl_tests::estimators::Kind;
use ppl_tests::estimators::benchmarks::{ALL, CALLS};
use serde_json::{Value, json};

/// Seconds for each time.
const SECONDS: f64 = 0.4;

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split(": ").nth(1));
    line.unwrap_or("an unknown processor").to_string()
}

#[expect(clippy::print_stderr, reason = "progress")]
fn main() -> Result<(), String> {
    let mut out = Vec::new();
    for b in ALL {
        let names: Vec<(String, String)> = match b.kind {
            Kind::Strategy => b.strategies()?.into_iter().map(|s| (s.clone(), b.strategy(&s))).collect(),
            Kind::Objective => {
                CALLS.iter().filter(|(on, ..)| *on == b.name).map(|(_, n, call)| ((*n).into(), (*call).into())).collect()
            }
        };
        let mut rows: Vec<Value> = Vec::new();
        for (name, estimator) in names {
            match b.measure(&estimator, SECONDS) {
                Ok(m) => {
                    eprintln!("{} {name}: variance {:.4e}, {:.3} us", b.name, m.variance, m.micros);
                    rows.push(json!({ "name": name, "written": estimator, "variance": m.variance, "microseconds": m.micros }));
                }
                Err(e) => {
                    eprintln!("{} {name}: {e}", b.name);
                    rows.push(json!({ "name": name, "written": estimator, "refused": true }));
                }
            }
        }
        out.push(json!({ "benchmark": b.name, "rows": rows }));
    }
    let all = json!({ "processor": processor(), "threads": 1, "precision": "f64", "benchmarks": out });
    let folder = ppl_tests::root().join("spec/estimators");
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    std::fs::write(folder.join("measured.json"), format!("{all:#}\n")).map_err(|e| e.to_string())
}
