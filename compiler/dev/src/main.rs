//! The `cargo dev` helper: what developers of the project run besides `cargo`.
//!
//! **Invariant:** nothing here is needed to build, test or use the project.

mod bench;
mod data;
mod scaling;

use std::env;
use std::process::{Command, ExitCode};

const HELP: &str = "cargo dev COMMAND

  bless              run the tests and rewrite their expected outputs (PPL_BLESS=1); review the diff
  ci                 what continuous integration runs (.ci/run)
  estimators         measure every estimator of the library; then `cargo dev bless` makes its pages
  bench [OPTIONS]    measure, with the peers beside it
      --peers PYTHON   a Python with jax and numpyro (see tests/bench/peers/README.md)
      --runs N         repetitions of each measurement; medians are reported (default 5)
      --only NAMES     of start, check, compile, cone, schools, discrete, logistic, vae, hand, memory; divided by commas
      --rest SECONDS   pause before each measurement (default 3)
      --scaling        text and compile time of programs with 10, 100 and 1,000 choices instead
      --ppl FILE       with --scaling: the program to measure, instead of a release build
      --out FILE       write the rows as JSON (default target/bench.json)
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("bless") => run(Command::new("cargo").args(["test", "--workspace"]).args(&args[1..]).env("PPL_BLESS", "1")),
        Some("estimators") => run(Command::new("cargo").args(["bench", "--package", "ppl-tests", "--bench", "estimators"])),
        Some("ci") => run(&mut Command::new(".ci/run")),
        Some("bench") => match bench::run(&args[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln(&message);
                ExitCode::FAILURE
            }
        },
        Some("help" | "--help" | "-h") => {
            print(HELP);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln(HELP);
            ExitCode::from(2)
        }
    }
}

fn run(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(s) if s.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln(&format!("{command:?}: {e}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a command-line tool")]
fn eprintln(text: &str) {
    eprintln!("{text}");
}
