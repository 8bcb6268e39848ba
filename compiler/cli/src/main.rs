//! The `ppl` command.
//!
//! It joins the compiler, the engines and the runtime: `model` loads and checks, `engine` runs lowered programs, each command has
//! its module.
//!
//! **Invariant:** only `report` prints; exit codes are 0 fine, 1 program or data wrong, 2 usage, 3 a fault of ppl, 4 numerical failure.
#![allow(clippy::result_large_err, reason = "a failure is made once, on the way out; boxing it would only blur signatures")]

mod args;
mod check;
mod check_grad;
mod engine;
mod eval;
mod explain;
mod fit;
mod gradient;
mod model;
mod repl;
mod report;
mod run;
mod saved;
mod simulate;
mod sizes;
mod tune;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    ppl_tensor::init(None);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help into a closed pipe needs no remark.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    engine::set_threads(cli.threads.map(usize::from));
    report::guarded(|| match &cli.command {
        Command::Fit(a) => fit::command(a),
        Command::Eval(a) => eval::command(a),
        Command::Check(a) => check::command(a),
        Command::CheckGrad(a) => check_grad::command(a),
        Command::Tune(a) => tune::command(a),
        Command::Explain(a) => explain::command(a),
        Command::Simulate(a) => simulate::command(a),
        Command::Repl(a) => repl::command(a),
    })
}
