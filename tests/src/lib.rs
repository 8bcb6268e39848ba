//! Helpers of the whole-pipeline tests: opening models with their data, running programs in each engine, fitting, and
//! rendering diagnostics as plain text.
//!
//! The tests themselves stand in `tests/tests/`, programs with wrong places in `tests/ui/`.
//!
//! **Invariant:** nothing here decides what is right. Engines get the same program, the same inputs and the same seed.

#![allow(clippy::missing_panics_doc, clippy::expect_used, reason = "helpers of tests fail by panicking")]

pub mod blocks;
pub mod engine;
pub mod estimators;
pub mod fitting;
pub mod library;
pub mod model;
pub mod render;
pub mod timing;

pub use engine::{Input, distance};
pub use fitting::{Fitted, mean_and_error};
pub use model::Model;
pub use render::render;

use std::path::PathBuf;

/// The root of the repository.
pub fn root() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_path_buf()
}

/// Data of the attend-infer-repeat example with some of its scenes only.
pub fn scenes(which: &[usize]) -> String {
    let text = std::fs::read_to_string(root().join("examples/attend_infer_repeat/scenes.json")).expect("scenes");
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let some = |field: &str| which.iter().map(|i| all[field][*i].clone()).collect::<Vec<_>>();
    serde_json::json!({ "N": which.len(), "count": some("count"), "ink": some("ink") }).to_string()
}

/// Compares `found` with the file at `path`, or writes it where `PPL_BLESS` is set.
pub fn bless(path: &std::path::Path, found: &str) -> Result<(), String> {
    if std::env::var_os("PPL_BLESS").is_some() {
        return std::fs::write(path, found).map_err(|e| format!("{}: {e}", path.display()));
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    Err(format!(
        "{} is not what was found (PPL_BLESS=1 rewrites it)\n--- expected\n{expected}\n--- found\n{found}",
        path.display()
    ))
}
