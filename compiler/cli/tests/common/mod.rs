//! Runs the built binary in a folder of its own.
#![allow(clippy::unwrap_used, dead_code, reason = "a test that can't set itself up fails; each test binary uses a part")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a run printed, and its exit code.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
    dir
}

/// Runs `ppl` with these arguments, and this text on standard input.
pub(crate) fn ppl(dir: &Path, args: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ppl"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    Ran {
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
        code: done.status.code().unwrap_or(-1),
    }
}

/// The normal mean with known variance: `mu ~ normal(0, 2)`, three observations with standard deviation 1.
pub(crate) const CONJUGATE: &str = "\
data N: int
data y: real[N]
param tilt: positive = 2.0

gen m() {
  mu ~ normal(0, 2)
  for n in N { y[n] ~ normal(mu, 1) }
  report twice = 2 * mu
}

gen walk(T: int) {
  for t in T carry (prev = 0.0) {
    h[t] ~ normal(prev, tilt)
    h[t]
  }
}

fit m() given { y } with auto_normal
  using adam(0.05, schedule = cosine(0.01)), particles 20, steps 2000
";
