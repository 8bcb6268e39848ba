//! Saving a run, while it trains and after, and going on with one.

use super::output::Outcome;
use crate::args::RunArgs;
use crate::model::Model;
use crate::report::Failure;
use crate::saved::Saved;
use ppl_diag::{Code, Diagnostic};
use ppl_fit::fit::{FitOutcome, Now};
use ppl_fit::rundir::{Place, load_best, load_state, load_text};
use ppl_fit::step::{Param, Snapshot};
use ppl_fit::trace::Trace;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A run has come to its end.
const ENDED: Code = Code("E0809");

/// Where a run is saved, and what is recorded beside its settings.
#[derive(Clone, Debug)]
pub(crate) struct Saver {
    place: Place,
    model: PathBuf,
    command: Value,
}

impl Saver {
    /// Nothing is written before the first [`Saver::save`].
    pub(crate) fn new(place: Place, model: &Path, command: Value) -> Saver {
        Saver { place, model: model.to_path_buf(), command }
    }

    /// Writes the folder, whole; later ones replace it.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn save(&mut self, outcome: &Outcome, model: &Model) -> Result<PathBuf, Diagnostic> {
        let path = outcome.save(&self.place, model, &self.model, &self.command)?;
        self.place = Place::Dir { path: path.clone(), overwrite: true };
        Ok(path)
    }
}

/// The outcome of a fit that has not ended.
pub(super) fn so_far(now: &Now<'_>, start: u64) -> FitOutcome {
    FitOutcome {
        params: now.step.params(),
        state: now.step.snapshot(),
        next_step: now.at,
        ran: now.at - start,
        trace: now.trace.clone(),
        estimate: now.trace.estimate(),
        notes: Vec::new(),
        failure: None,
        interrupted: false,
        stopped: false,
        elapsed: now.elapsed,
    }
}

/// A run to go on with.
#[derive(Clone, Debug)]
pub(crate) struct Resumed {
    pub(super) saved: Saved,
    pub(super) state: Snapshot,
    pub(super) next_step: u64,
    pub(super) trace: Trace,
    pub(super) validation: Option<String>,
    pub(super) best: Option<Vec<Param>>,
    /// Whether the command line says how many steps more.
    more: bool,
}

impl Resumed {
    /// Reads what the run left; `args` are those of the command line alone.
    ///
    /// # Errors
    /// `E0622` where something is damaged.
    pub(crate) fn open(saved: &Saved, args: &RunArgs) -> Result<Resumed, Failure> {
        let folder = &saved.folder;
        let read = || {
            let state = load_state(folder)?;
            let step = state.get("optimizer.step").and_then(|p| p.values.first().copied());
            let next_step =
                step.ok_or_else(|| saved.damaged("state.safetensors", "it does not say after which step it was saved"))? as u64;
            let text = load_text(folder, "trace.csv")?.unwrap_or_default();
            let trace = Trace::from_csv(&text, next_step).map_err(|why| saved.damaged("trace.csv", &why))?;
            let validation = load_text(folder, "validation.csv")?;
            let best = load_best(folder)?;
            let more = args.steps.is_some() || args.train.epochs.is_some();
            Ok(Resumed { saved: saved.clone(), state, next_step, trace, validation, best, more })
        };
        read().map_err(Failure::plain)
    }

    /// Steps of the whole fit: those done and `steps` more where the command line says so, else what the fit was begun with.
    ///
    /// # Errors
    /// `E0809` where nothing is left.
    pub(super) fn total(&self, steps: u64) -> Result<u64, Diagnostic> {
        let total = if self.more { self.next_step.saturating_add(steps) } else { self.saved.steps().unwrap_or(0) };
        if total > self.next_step {
            return Ok(total);
        }
        let title = format!("the run in `{}` has done all its {} steps", self.saved.folder.display(), self.next_step);
        Err(Diagnostic::error(ENDED, title).help("say how many more: `--steps 1000`, or `--epochs 10`"))
    }
}

impl Saved {
    /// The error for a file that can't be understood.
    pub(super) fn damaged(&self, file: &str, why: &str) -> Diagnostic {
        let title = format!("`{}` can't be read as saved results", self.folder.join(file).display());
        Diagnostic::error(Code("E0622"), title).note(why)
    }
}

/// What is said where the saved state is that of another program.
pub(super) fn other_parameters(d: Diagnostic) -> Diagnostic {
    d.note("a run goes on with the parameters, the optimiser's and the strategies' state that it had")
        .help("resume with the model, the data's sizes and the kind of optimiser of the run, or fit anew")
}
