//! The command line.

mod training;
mod tuning;

pub(crate) use training::{EvalArgs, Part, TrainArgs};
pub(crate) use tuning::{FitTuneArgs, TUNE_BUDGET, TUNE_DRAWS, TUNE_WARMUP, TuneArgs};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Probabilistic programs, fitted by variational inference that the program itself describes.
#[derive(Debug, Parser)]
#[command(
    name = "ppl",
    version,
    about,
    propagate_version = true,
    after_help = "\
Exit codes: 0 fine; 1 the program or its data are wrong; 2 wrong usage; 3 a fault of ppl itself; 4 the fit failed numerically;
5 a gradient was refuted.

Examples:
  ppl check model.ppl
  ppl fit model.ppl --data data.csv
  ppl explain E0412"
)]
pub(crate) struct Cli {
    /// Threads of native code; results do not depend on their number [default: the number of cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fit a model: run the `fit` of a file, with any clause replaced
    #[command(after_help = "\
Examples:
  ppl fit cone.ppl --data '{\"z\": 5}'
  ppl fit cone.ppl --objective 'iwelbo(5)' --particles 20 --steps 2000
  ppl fit schools.ppl --data schools.json --guide auto_normal --using 'adam(0.05, schedule = cosine(0.01))'
  ppl fit air.ppl --by z_pres=measure_valued --by _=reparam --out runs/air --overwrite
  ppl fit cone.ppl --report 'iwelbo(50)' --report 'cubo(-5)'
  ppl fit table.ppl --all --no-save
  ppl fit air.ppl --tune
  ppl fit vae.ppl --epochs 100 --validation 0.1 --patience 10 --checkpoint 60s
  ppl fit vae.ppl --using 'adam(0.001, schedule = cosine(0.01, warmup = 500), clip_norm = 10)'
  ppl fit --resume runs/vae-1
  ppl fit --resume runs/vae-1 --epochs 20
  ppl fit cone.ppl --json --no-save | jq .objective.mean")]
    Fit(FitArgs),
    /// Evaluate a fitted run on data: its objective, other estimates, one for each datum, pictures
    #[command(after_help = "\
A run is evaluated with the model, settings and parameters in its folder, on the data of the fit unless --data replaces some. Estimates
are printed with mean, standard error and what they bound. An array, one estimate for each datum, is computed in parts.

Examples:
  ppl eval runs/vae-1
  ppl eval runs/vae-1 --data images=test.npy
  ppl eval runs/vae-1 --data images=test.npy --objective '[for n in N { iwelbo(digit() given { x: images[n] }, encode(images[n]), 50) }]' --out bounds.csv
  ppl eval runs/vae-1 --images '[for k in 64 { reshape(draw_digit(), 28, 28) }]=digits.png' --columns 8
  ppl eval vae.ppl --data images=test.npy --params params.safetensors --json")]
    Eval(EvalArgs),
    /// Check a file: names, types, shapes, supports, unbiasedness
    #[command(after_help = "\
Without data, sizes that the data give are left open: what checks is right for all sizes.

Examples:
  ppl check model.ppl
  ppl check model.ppl --data data.csv")]
    Check(CheckArgs),
    /// Certify the gradient of a fit's objective against its expectation, computed without any strategy
    #[command(after_help = "\
The mean of many draws of the gradient is held against the derivative of the objective's expectation: by enumeration and quadrature
where the program allows, by coupled differences elsewhere. A refuted program ends with exit code 5 and names the choice to blame.

Examples:
  ppl check-grad model.ppl
  ppl check-grad model.ppl --data data.json --params runs/model-1 --draws 100000
  ppl check-grad model.ppl --by z=my_strategy --json")]
    CheckGrad(CheckGradArgs),
    /// Find the gradient strategy of each choice that gives the most precise gradient for its time
    #[command(after_help = "\
For each choice that a gradient is estimated through, the variance of the gradient and the time of a step are measured under each
strategy that takes its distribution, on this program and these data. Lower variance x seconds is better; a change must be better by
more than its noise. At the end the strategies are printed as text to paste.

Examples:
  ppl tune model.ppl
  ppl tune model.ppl --data data.json --after 500
  ppl tune model.ppl --params runs/model-1 --by z=reinforce --json
  ppl fit model.ppl --tune")]
    Tune(TuneArgs),
    /// Show a model between two passes of the compiler, or the page of an error code
    #[command(after_help = "\
Examples:
  ppl explain E0412
  ppl explain model.ppl --emit=guide
  ppl explain model.ppl --emit=costs
  ppl explain model.ppl --emit=vjp --time-passes")]
    Explain(ExplainArgs),
    /// Draw from a generative program
    #[command(after_help = "\
Examples:
  ppl simulate model.ppl -n 100 > draws.csv
  ppl simulate chain.ppl 'walk(100)' --seed 7
  ppl simulate cone.ppl mean_field --params runs/cone-1 --format json")]
    Simulate(SimulateArgs),
    /// Try out expressions, programs and fits interactively
    #[command(after_help = "\
Type :help for the commands. Reads lines from a pipe if there is no terminal.

Examples:
  ppl repl
  ppl repl model.ppl --data data.csv
  echo 'mean([1, 2, 3])' | ppl repl")]
    Repl(ReplArgs),
}

/// How programs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// Native code
    Jit,
    /// The reference interpreter: slow, for comparison
    Interp,
}

/// Width of reals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionName {
    /// Single precision
    F32,
    /// Double precision
    F64,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct DataArgs {
    /// Data: a .csv, .json, .npy or .safetensors file (also compressed, .gz), `name=file`, or JSON text such as '{"z": 5}'; may be repeated
    #[arg(long = "data", value_name = "SOURCE")]
    pub(crate) data: Vec<String>,
}

/// What replaces clauses of the `fit`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ClauseArgs {
    /// Objective, such as 'iwelbo(5)'
    #[arg(long, value_name = "EXPR")]
    pub(crate) objective: Option<String>,
    /// Another objective or number to report after the fit, such as 'iwelbo(50)'; may be repeated
    #[arg(long, value_name = "EXPR")]
    pub(crate) report: Vec<String>,
    /// Guide, such as auto_normal or 'mean_field()'
    #[arg(long, value_name = "EXPR")]
    pub(crate) guide: Option<String>,
    /// Optimiser, such as 'adam(0.01)' [default: what the fit says, or adam(0.01)]
    #[arg(long, value_name = "EXPR")]
    pub(crate) using: Option<String>,
    /// Strategy of a choice, such as z=measure_valued, or guide.z=.. for that of one program; `_` stands for all choices; may be repeated
    #[arg(long, value_name = "CHOICE=STRATEGY")]
    pub(crate) by: Vec<String>,
    /// Particles: independent estimates averaged in each step [default: what the fit says, or 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) particles: Option<u32>,
    /// Which `fit` of the file, from 0
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub(crate) fit: usize,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FitArgs {
    /// The model file [with --resume: that of the run, as it was]
    #[arg(required_unless_present = "resume")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) clauses: ClauseArgs,
    #[command(flatten)]
    pub(crate) tuning: FitTuneArgs,
    /// Run every `fit` of the file, and print one table of what they reached
    #[arg(long, conflicts_with_all = ["fit", "objective", "guide"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Go on with the run in this folder where it ended, with its settings unless they are given anew; --steps and --epochs are added to its own
    #[arg(long, value_name = "RUN", conflicts_with_all = ["all", "tune", "fit"])]
    pub(crate) resume: Option<PathBuf>,
    /// Save the run while it trains, so that it can be resumed: every so many steps, or 60s, 10m, 1h, 1epoch
    #[arg(long, value_name = "EVERY", value_parser = training::every, conflicts_with = "no_save")]
    pub(crate) checkpoint: Option<String>,
    /// Folder for the results [default: runs/MODEL-1, -2, .., or that of --resume]
    #[arg(long, value_name = "DIR", conflicts_with = "no_save")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the folder of --out if it exists
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,
    /// Write no folder
    #[arg(long)]
    pub(crate) no_save: bool,
    /// No progress bar, no remarks
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Print the time of each pass of the compiler
    #[arg(long)]
    pub(crate) time_passes: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a fit runs.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// Optimisation steps [default: what the fit says, or 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: Option<u64>,
    #[command(flatten)]
    pub(crate) train: TrainArgs,
    /// Draws from the fitted guide [default: what the fit says, or 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) draws: Option<u32>,
    /// Seed of all random numbers [default: what the fit says, or 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Width of reals [default: what the fit says, or f64]
    #[arg(long, value_name = "WIDTH")]
    pub(crate) precision: Option<PrecisionName>,
    /// What runs the program [default: jit]
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<EngineName>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The model file
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) clauses: ClauseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckGradArgs {
    /// The model file
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) clauses: ClauseArgs,
    /// Draws of the gradient
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) draws: u64,
    /// Probability that a right program is refuted
    #[arg(long, value_name = "P", default_value_t = 0.01, value_parser = level)]
    pub(crate) level: f64,
    /// Parameters: the folder of a fit, or a .safetensors file [default: their initial values]
    #[arg(long, value_name = "PATH")]
    pub(crate) params: Option<PathBuf>,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Width of reals
    #[arg(long, value_name = "WIDTH", default_value = "f64")]
    pub(crate) precision: PrecisionName,
    /// Do not measure the variance under other strategies
    #[arg(long)]
    pub(crate) no_strategies: bool,
    /// Print the certificate as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A probability between 0 and 1.
fn level(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(p) if p > 0.0 && p < 1.0 => Ok(p),
        _ => Err("a number between 0 and 1".into()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The model file, or an error code such as E0412
    #[arg(value_name = "MODEL|CODE")]
    pub(crate) target: String,
    /// What to print: the program after this pass, the machine code (clif, asm), the derived guide (guide), or the costs that each choice sees (costs)
    #[arg(long, value_name = "STAGE")]
    pub(crate) emit: Option<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) clauses: ClauseArgs,
    /// Width of reals, for clif and asm
    #[arg(long, value_name = "WIDTH")]
    pub(crate) precision: Option<PrecisionName>,
    /// Print the time of each pass
    #[arg(long)]
    pub(crate) time_passes: bool,
}

/// How draws are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One row a draw, one column a number
    Csv,
    /// One object a draw
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// The model file
    pub(crate) model: PathBuf,
    /// The program, such as cone or 'walk(100)' [default: the model of the fit]
    pub(crate) program: Option<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Number of draws
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) draws: u32,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Parameters: the folder of a fit, or a .safetensors file [default: their initial values]
    #[arg(long, value_name = "PATH")]
    pub(crate) params: Option<PathBuf>,
    /// How draws are printed
    #[arg(long, default_value = "csv")]
    pub(crate) format: Format,
    /// Width of reals
    #[arg(long, value_name = "WIDTH", default_value = "f64")]
    pub(crate) precision: PrecisionName,
    /// What runs the program
    #[arg(long, value_name = "ENGINE", default_value = "jit")]
    pub(crate) engine: EngineName,
}

#[derive(Debug, Args)]
pub(crate) struct ReplArgs {
    /// A model file to start with
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}
