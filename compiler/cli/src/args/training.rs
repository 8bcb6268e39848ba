//! Arguments of training on minibatches, and of evaluating what came out.

use super::{DataArgs, EngineName, PrecisionName};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How long a fit trains, and what is looked at meanwhile.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TrainArgs {
    /// Epochs, in place of steps: passes over the data of the objective's minibatches
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "steps")]
    pub(crate) epochs: Option<f64>,
    /// Held-out data, evaluated after each epoch: sources as for --data, which replace those of the fit, or a fraction of the fit's own, such as 0.1; may
    /// be repeated
    #[arg(long, value_name = "SOURCE|FRACTION")]
    pub(crate) validation: Vec<String>,
    /// Evaluate the held-out data after so many steps [default: an epoch, or a hundredth of the steps]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) validate_every: Option<u64>,
    /// Start from saved parameters, by their names: the folder of a fit, or a .safetensors file, such as one saved from PyTorch. Others start as they are
    /// declared
    #[arg(long, value_name = "PATH")]
    pub(crate) init: Option<PathBuf>,
    /// Stop after so many evaluations of the held-out data without improvement, and keep the parameters of the best
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) patience: Option<u64>,
}

/// Which of the fit's data are evaluated where it held some out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Those that it learned from
    Training,
    /// Those that it held out
    Validation,
    /// Both
    All,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// The folder of a fit, or a model file
    #[arg(value_name = "RUN|MODEL")]
    pub(crate) target: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// What to evaluate: an objective such as 'iwelbo(50)', a number, or an array such as one estimate for each datum; may be repeated [default: the
    /// fit's objective]
    #[arg(long, value_name = "EXPR")]
    pub(crate) objective: Vec<String>,
    /// Pictures, as a PNG file: EXPR is an array [n, H, W] (grey, from 0 black to 1 white) or [n, H, W, 3] (red, green, blue); may be repeated
    #[arg(long, value_name = "EXPR=FILE")]
    pub(crate) images: Vec<String>,
    /// Pictures in a row [default: about as many as rows]
    #[arg(long, value_name = "N", requires = "images", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) columns: Option<u32>,
    /// A .csv or .npy file for the elements of arrays
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Parameters: the folder of a fit, or a .safetensors file [default: those of the run]
    #[arg(long, value_name = "PATH")]
    pub(crate) params: Option<PathBuf>,
    /// Which of the fit's data, where it held some out and none are given [default: training]
    #[arg(long, value_name = "PART", conflicts_with = "data")]
    pub(crate) part: Option<Part>,
    /// Draws of each estimate [default: 1000, spread over an epoch of minibatches; 1 of each element of an array]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) draws: Option<u32>,
    /// Guide, in place of the fit's
    #[arg(long, value_name = "EXPR")]
    pub(crate) guide: Option<String>,
    /// Which `fit` of the file, from 0 [default: that of the run, or 0]
    #[arg(long, value_name = "INDEX")]
    pub(crate) fit: Option<usize>,
    /// Seed of all random numbers [default: that of the run, or 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Width of reals [default: that of the run, or f64]
    #[arg(long, value_name = "WIDTH")]
    pub(crate) precision: Option<PrecisionName>,
    /// What runs the program [default: jit]
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<EngineName>,
    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("a number above 0".into()),
    }
}

/// A text that [`Every`](crate::fit::Every) reads.
pub(super) fn every(text: &str) -> Result<String, String> {
    crate::fit::Every::parse(text).map(|_| text.to_string())
}
