//! A run folder as a starting point: the model, the clauses and the data of its fit, for going on with it and for evaluating it.

use crate::args::{EngineName, FitArgs, PrecisionName};
use crate::report::Failure;
use ppl_diag::{Code, Diagnostic};
use ppl_driver::{Disk, Source};
use ppl_fit::data::SourceInfo;
use ppl_fit::rundir::load_settings;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Something else is read as saved results.
const UNREADABLE: Code = Code("E0622");
/// Data differ from those of the run.
const DATA_DIFFER: Code = Code("E0624");

/// What a run's settings say.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// The folder.
    pub(crate) folder: PathBuf,
    settings: Value,
}

/// The arguments of a fit that `settings.json` records beside its settings: what is needed to run it again.
pub(crate) fn record(args: &FitArgs, by: &[String]) -> Value {
    let c = &args.clauses;
    let t = &args.run.train;
    json!({
        "directory": std::env::current_dir().ok().map(|d| d.display().to_string()),
        "data": args.data.data,
        "fit": c.fit,
        "objective": c.objective,
        "guide": c.guide,
        "using": c.using,
        "by": by,
        "particles": c.particles,
        "report": c.report,
        "validation": t.validation,
        "validate_every": t.validate_every,
        "patience": t.patience,
        "checkpoint": args.checkpoint,
    })
}

impl Saved {
    /// Reads the settings of a run folder.
    ///
    /// # Errors
    /// `E0622` if there are none, or they are those of another version.
    pub(crate) fn open(folder: &Path) -> Result<Saved, Failure> {
        let settings = load_settings(folder).map_err(Failure::plain)?;
        let saved = Saved { folder: folder.to_path_buf(), settings };
        if saved.settings["model_source"].is_string() && saved.command().is_object() {
            return Ok(saved);
        }
        let title = format!("`{}` does not say how its fit was run", folder.display());
        let d = Diagnostic::error(UNREADABLE, title).note("its `settings.json` has no `command`, or no `model_source`");
        Err(Failure::plain(d.help("fit the model anew, with this version of ppl")))
    }

    fn command(&self) -> &Value {
        &self.settings["command"]
    }

    fn text(&self, key: &str) -> Option<String> {
        self.command()[key].as_str().map(str::to_string)
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.command()[key].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_string)).collect()
    }

    /// A path as the fit saw it: relative ones are found from where it ran, else from here.
    fn resolved(&self, path: &str) -> PathBuf {
        let from_there = self.text("directory").map(|d| Path::new(&d).join(path));
        from_there.filter(|p| p.exists()).unwrap_or_else(|| PathBuf::from(path))
    }

    /// A data argument as the fit saw it.
    fn argument(&self, text: &str) -> String {
        if text.trim_start().starts_with('{') {
            return text.to_string();
        }
        match text.split_once('=') {
            Some((name, path)) if !self.resolved(text).exists() => format!("{name}={}", self.resolved(path).display()),
            _ => self.resolved(text).display().to_string(),
        }
    }

    /// The model's text as it was.
    pub(crate) fn source(&self) -> Source {
        let path = self.resolved(&self.path().display().to_string());
        Source::recalled(&Disk, &path, self.settings["model_source"].as_str().unwrap_or_default())
    }

    /// The model's path, as it was given.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(self.settings["model"].as_str().unwrap_or("model.ppl"))
    }

    /// The data arguments.
    pub(crate) fn data(&self) -> Vec<String> {
        self.texts("data").iter().map(|t| self.argument(t)).collect()
    }

    /// Seed of the run.
    pub(crate) fn seed(&self) -> Option<u64> {
        self.settings["seed"].as_u64()
    }

    /// Width of reals.
    pub(crate) fn precision(&self) -> Option<PrecisionName> {
        match self.settings["options"]["precision"].as_str() {
            Some("f32") => Some(PrecisionName::F32),
            Some("f64") => Some(PrecisionName::F64),
            _ => None,
        }
    }

    /// Steps of the whole fit, as it was begun.
    pub(crate) fn steps(&self) -> Option<u64> {
        self.settings["options"]["steps"].as_u64()
    }

    /// The arguments of the fit, where `args` does not give others.
    pub(crate) fn complete(&self, args: &mut FitArgs) {
        let c = &mut args.clauses;
        let fill = |slot: &mut Option<String>, key: &str| *slot = slot.take().or_else(|| self.text(key));
        fill(&mut c.objective, "objective");
        fill(&mut c.guide, "guide");
        fill(&mut c.using, "using");
        fill(&mut args.checkpoint, "checkpoint");
        let fill = |slot: &mut Vec<String>, all: Vec<String>| {
            if slot.is_empty() {
                *slot = all;
            }
        };
        fill(&mut c.by, self.texts("by"));
        fill(&mut c.report, self.texts("report"));
        fill(&mut args.data.data, self.data());
        let train = &mut args.run.train;
        fill(&mut train.validation, self.texts("validation").iter().map(|t| self.argument(t)).collect());
        train.validate_every = train.validate_every.or_else(|| self.command()["validate_every"].as_u64());
        train.patience = train.patience.or_else(|| self.command()["patience"].as_u64());
        let whole = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        c.particles = c.particles.or_else(|| whole(&self.command()["particles"]));
        c.fit = self.command()["fit"].as_u64().map_or(c.fit, |n| n as usize);
        let run = &mut args.run;
        run.seed = run.seed.or_else(|| self.seed());
        run.precision = run.precision.or_else(|| self.precision());
        run.draws = run.draws.or_else(|| whole(&self.settings["options"]["draws"]));
        let engine = || (self.settings["options"]["engine"].as_str() == Some("interp")).then_some(EngineName::Interp);
        run.engine = run.engine.or_else(engine);
    }

    /// A warning where a declaration takes its value from other bytes than in the run.
    pub(crate) fn other_data(&self, sources: &[SourceInfo]) -> Option<Diagnostic> {
        let before = self.settings["data"].as_array()?;
        let hash = |name: &str| {
            let of = |s: &&Value| s["declarations"].as_array().is_some_and(|d| d.iter().any(|x| x.as_str() == Some(name)));
            before.iter().find(of).and_then(|s| s["sha256"].as_str())
        };
        let differs = |s: &SourceInfo| {
            let names = s.declarations.iter().filter(|n| hash(n).is_some_and(|h| h != s.sha256));
            names.map(|n| format!("`{n}`")).collect::<Vec<_>>()
        };
        let names: Vec<String> = sources.iter().flat_map(differs).collect();
        if names.is_empty() {
            return None;
        }
        let d = Diagnostic::warning(DATA_DIFFER, format!("{} is not what the run was fitted to", names.join(", ")));
        Some(d.note("the bytes of the source differ from those that the run recorded"))
    }
}
