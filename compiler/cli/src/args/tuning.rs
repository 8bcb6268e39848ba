//! Arguments of tuning, by itself and before a fit.

use super::{ClauseArgs, DataArgs, PrecisionName};
use clap::Args;
use std::path::PathBuf;

/// Gradients drawn of each setting.
pub(crate) const TUNE_DRAWS: u64 = 4000;
/// Steps by which strategies that remember something are warmed up.
pub(crate) const TUNE_WARMUP: u64 = 500;
/// Seconds that tuning may take.
pub(crate) const TUNE_BUDGET: f64 = 20.0;

#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// The model file
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) clauses: ClauseArgs,
    /// Gradients drawn under each strategy, at most
    #[arg(long, value_name = "N", default_value_t = TUNE_DRAWS, value_parser = clap::value_parser!(u64).range(32..))]
    pub(crate) draws: u64,
    /// Steps before a strategy with a memory (a running mean, a learned baseline) is measured
    #[arg(long, value_name = "STEPS", default_value_t = TUNE_WARMUP)]
    pub(crate) warmup: u64,
    /// Fit for so many steps with the strategies in use, and measure there
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    pub(crate) after: u64,
    /// Seconds that measuring may take
    #[arg(long, value_name = "SECONDS", default_value_t = TUNE_BUDGET, value_parser = seconds)]
    pub(crate) budget: f64,
    /// Take strategies that are marked biased, too
    #[arg(long)]
    pub(crate) allow_biased: bool,
    /// Parameters: the folder of a fit, or a .safetensors file [default: their initial values]
    #[arg(long, value_name = "PATH")]
    pub(crate) params: Option<PathBuf>,
    /// Seed of all random numbers [default: what the fit says, or 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Width of reals [default: what the fit says, or f64]
    #[arg(long, value_name = "WIDTH")]
    pub(crate) precision: Option<PrecisionName>,
    /// Print the tables as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Tuning before a fit.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FitTuneArgs {
    /// Tune the strategies first (see `ppl tune`), and fit with those that are picked
    #[arg(long)]
    pub(crate) tune: bool,
    /// Steps of fitting before strategies are measured [default: a tenth of the fit's, at most 1000]
    #[arg(long, value_name = "STEPS", requires = "tune")]
    pub(crate) tune_after: Option<u64>,
    /// Seconds that tuning may take [default: 20]
    #[arg(long, value_name = "SECONDS", requires = "tune", value_parser = seconds)]
    pub(crate) tune_budget: Option<f64>,
    /// Let tuning take strategies that are marked biased
    #[arg(long, requires = "tune")]
    pub(crate) allow_biased: bool,
}

/// A time above 0, at most a day.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 86_400.0 => Ok(s),
        _ => Err("a number of seconds above 0, at most 86400".into()),
    }
}
