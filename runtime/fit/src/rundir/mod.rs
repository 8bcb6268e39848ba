//! Run folders: everything a fit leaves behind, written whole or not at all.
//!
//! | file | content |
//! |---|---|
//! | `params.safetensors` | the parameters, 64-bit floats, under their names |
//! | `state.safetensors` | parameters, optimiser and strategy state, from which the fit can go on to the same bits |
//! | `settings.json` | status, version, model source and its hash, data sources and their hashes, seed, all settings |
//! | `summary.json` | the objective, a row for each quantity, and under `columns` what every field and column means |
//! | `trace.csv` | the objective over the course of the fit |
//! | `validation.csv` | the objective on held-out data over the course of the fit, if there are any |
//! | `best.safetensors` | where a fit may stop early: the unconstrained parameters with the best value on held-out data, those of `params.safetensors` |
//! | `draws.csv` | draws from the fitted program, if there are any |

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ppl_diag::{Code, Diagnostic};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Serialize;

use crate::data::{SourceInfo, sha256_hex};
use crate::fit::Validation;
use crate::step::{Param, Snapshot};
use crate::summary::{Draws, Summary};
use crate::trace::Trace;

/// Where a run folder goes.
#[derive(Clone, Debug)]
pub enum Place {
    /// `<root>/<model>-<n>` with the next free number.
    Next {
        /// Usually `runs`; made if it does not exist.
        root: PathBuf,
        /// The model's name.
        model: String,
    },
    /// A folder chosen by the user.
    Dir {
        /// The folder; made if it does not exist.
        path: PathBuf,
        /// Whether what is there may be replaced.
        overwrite: bool,
    },
}

/// What `settings.json` records.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// `finished`, `stopped early`, `interrupted`, `failed`, or `running` where it was saved on the way.
    pub status: String,
    /// Why it failed, one sentence.
    pub failure: Option<String>,
    /// Version of the program that wrote the folder.
    pub version: String,
    /// The model file, as given.
    pub model: String,
    /// The model's whole text.
    pub model_source: String,
    /// Random seed.
    pub seed: u64,
    /// Number of the step at which the fit would go on.
    pub next_step: u64,
    /// The sources of data.
    pub data: Vec<SourceInfo>,
    /// The arguments that it was run with, so far as they are needed to run it again.
    pub command: serde_json::Value,
    /// All other settings of the run (objective, guide, optimiser, particles, steps, precision, threads, ...).
    pub options: serde_json::Map<String, serde_json::Value>,
    /// Remarks on convergence.
    pub notes: Vec<String>,
}

/// Everything that goes into a run folder.
#[derive(Clone, Copy, Debug)]
pub struct RunFiles<'a> {
    /// Settings and status.
    pub settings: &'a Settings,
    /// The parameters.
    pub params: &'a [Param],
    /// The state to go on from.
    pub state: &'a Snapshot,
    /// The objective over the course of the fit.
    pub trace: &'a Trace,
    /// The objective on held-out data, if there are any.
    pub validation: Option<&'a Validation>,
    /// The unconstrained parameters with the best value on them, where these are kept.
    pub best: Option<&'a [Param]>,
    /// Summary of draws and objective.
    pub summary: &'a Summary,
    /// The draws themselves, if wanted.
    pub draws: Option<&'a Draws>,
}

/// Whether a run folder can be written there; to be asked before a long fit.
///
/// # Errors
/// `E0620` if the folder is in use, `E0621` if its place can't be made.
pub fn check_place(place: &Place) -> Result<(), Diagnostic> {
    let parent = match place {
        Place::Next { root, .. } => root.clone(),
        Place::Dir { path, overwrite } => {
            check_free(path, *overwrite)?;
            parent_of(path)
        }
    };
    // Whether the place can be written is tried in the nearest folder that exists, so that a check leaves nothing behind.
    let existing = parent.ancestors().find(|p| p.exists()).filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".ppl-").tempdir_in(existing).map(drop).map_err(|e| cannot_write(&parent, &e))
}

/// Writes the folder and returns its path. It appears whole, by one rename; if anything fails nothing is left behind, and what
/// was to be overwritten stays.
///
/// # Errors
/// `E0620` if the folder is in use, `E0621` with the system's reason otherwise.
pub fn write_run(place: &Place, files: RunFiles<'_>) -> Result<PathBuf, Diagnostic> {
    match place {
        Place::Dir { path, overwrite } => {
            check_free(path, *overwrite)?;
            let new = fill(&parent_of(path), files)?;
            put(new, path).map_err(|e| cannot_write(path, &e))?;
            Ok(path.clone())
        }
        Place::Next { root, model } => {
            let new = fill(root, files)?;
            let mut number = next_number(root, model);
            loop {
                let path = root.join(format!("{model}-{number}"));
                // Another run may take the number in between; a folder that is not empty is never replaced by a rename.
                if path.exists() {
                    number += 1;
                    continue;
                }
                match fs::rename(new.path(), &path) {
                    Ok(()) => {
                        let _ = new.keep();
                        return Ok(path);
                    }
                    Err(e) if is_taken(&e) => number += 1,
                    Err(e) => return Err(cannot_write(&path, &e)),
                }
            }
        }
    }
}

/// The parameters of a run folder, or of a `.safetensors` file.
///
/// # Errors
/// `E0622` if there are none, or the file is damaged or has elements that are no floating-point numbers.
pub fn load_params(path: &Path) -> Result<Vec<Param>, Diagnostic> {
    let file = if path.is_dir() { path.join("params.safetensors") } else { path.to_path_buf() };
    load_tensors(&file)
}

/// The state of a run folder, from which a fit can go on.
///
/// # Errors
/// As [`load_params`].
pub fn load_state(folder: &Path) -> Result<Snapshot, Diagnostic> {
    load_tensors(&folder.join("state.safetensors")).map(Snapshot)
}

/// The unconstrained parameters of a run folder: the best ones on held-out data where the fit kept these, else those of its state.
///
/// # Errors
/// As [`load_params`].
pub fn load_free(folder: &Path) -> Result<Vec<Param>, Diagnostic> {
    match load_best(folder)? {
        Some(best) => Ok(best),
        None => load_state(folder).map(|s| s.0),
    }
}

/// The unconstrained parameters that were the best on held-out data, if the fit kept them.
///
/// # Errors
/// As [`load_params`].
pub fn load_best(folder: &Path) -> Result<Option<Vec<Param>>, Diagnostic> {
    let file = folder.join("best.safetensors");
    if file.exists() { load_tensors(&file).map(Some) } else { Ok(None) }
}

/// A text file of a run folder, if it is there.
///
/// # Errors
/// `E0622` if it can't be read.
pub fn load_text(folder: &Path, name: &str) -> Result<Option<String>, Diagnostic> {
    let file = folder.join(name);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(cannot_read(&file, &e.to_string())),
    }
}

/// The settings of a run folder.
///
/// # Errors
/// `E0622` if they can't be read.
pub fn load_settings(folder: &Path) -> Result<serde_json::Value, Diagnostic> {
    let file = folder.join("settings.json");
    let text = fs::read_to_string(&file).map_err(|e| cannot_read(&file, &e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| cannot_read(&file, &e.to_string()))
}

fn fill(parent: &Path, files: RunFiles<'_>) -> Result<tempfile::TempDir, Diagnostic> {
    let fail = |e: io::Error| cannot_write(parent, &e);
    fs::create_dir_all(parent).map_err(fail)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ppl-");
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let folder = builder.tempdir_in(parent).map_err(fail)?;
    let to = folder.path();
    write_all(to, files).map_err(fail)?;
    Ok(folder)
}

fn write_all(to: &Path, files: RunFiles<'_>) -> io::Result<()> {
    save(&to.join("params.safetensors"), &tensors(files.params)?)?;
    save(&to.join("state.safetensors"), &tensors(&files.state.0)?)?;
    let mut settings = serde_json::to_value(files.settings)?;
    settings["model_sha256"] = sha256_hex(files.settings.model_source.as_bytes()).into();
    save(&to.join("settings.json"), pretty(&settings)?.as_bytes())?;
    save(&to.join("summary.json"), pretty(&files.summary.to_json())?.as_bytes())?;
    save(&to.join("trace.csv"), files.trace.to_csv().as_bytes())?;
    if let Some(v) = files.validation {
        save(&to.join("validation.csv"), v.to_csv().as_bytes())?;
    }
    if let Some(best) = files.best {
        save(&to.join("best.safetensors"), &tensors(best)?)?;
    }
    if let Some(draws) = files.draws {
        save(&to.join("draws.csv"), draws.to_csv().as_bytes())?;
    }
    Ok(())
}

fn pretty(value: &serde_json::Value) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn tensors(params: &[Param]) -> io::Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = params.iter().map(|p| p.values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views: Result<Vec<(&str, TensorView<'_>)>, _> = params
        .iter()
        .zip(&bytes)
        .map(|(p, b)| TensorView::new(Dtype::F64, p.shape.clone(), b).map(|v| (p.name.as_str(), v)))
        .collect();
    let metadata = HashMap::from([("format".to_owned(), "ppl".to_owned())]);
    views.and_then(|v| safetensors::serialize(v, Some(metadata))).map_err(io::Error::other)
}

fn load_tensors(file: &Path) -> Result<Vec<Param>, Diagnostic> {
    let bytes = fs::read(file).map_err(|e| cannot_read(file, &e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| cannot_read(file, &e.to_string()))?;
    let mut out = Vec::new();
    for (name, view) in tensors.iter() {
        let values = match view.dtype() {
            Dtype::F64 => view.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => view.data().as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            other => return Err(cannot_read(file, &format!("`{name}` has elements of type {other:?}, not F32 or F64"))),
        };
        out.push(Param { name: name.to_owned(), shape: view.shape().to_vec(), values });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

fn parent_of(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
}

fn check_free(path: &Path, overwrite: bool) -> Result<(), Diagnostic> {
    let used = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some() && !overwrite,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(cannot_write(path, &e)),
    };
    if !used {
        return Ok(());
    }
    let title = format!("the output folder `{}` exists and is not empty", path.display());
    Err(Diagnostic::error(Code("E0620"), title).help("choose another folder, or add `--overwrite` to replace it"))
}

/// Moves the new folder to `path`. Where the system can, what was there changes places with it in one go, so that there is a whole folder at any time;
/// else it is set aside, and comes back if that fails.
fn put(new: tempfile::TempDir, path: &Path) -> io::Result<()> {
    if !path.exists() {
        fs::rename(new.path(), path)?;
        let _ = new.keep();
        return Ok(());
    }
    if exchange(new.path(), path) {
        // The temporary folder is now the old one.
        return new.close();
    }
    let aside = tempfile::Builder::new().prefix(".ppl-").tempdir_in(parent_of(path))?;
    let old = aside.path().join("old");
    fs::rename(path, &old)?;
    if let Err(e) = fs::rename(new.path(), path) {
        fs::rename(&old, path)?;
        return Err(e);
    }
    let _ = new.keep();
    aside.close()
}

/// Whether two folders have changed places.
#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    // A folder that is no plain one, such as a link, is replaced as a whole below.
    !b.is_symlink() && renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> bool {
    false
}

fn next_number(root: &Path, model: &str) -> u64 {
    let names = fs::read_dir(root).into_iter().flatten().filter_map(|e| e.ok()?.file_name().into_string().ok());
    let numbers = names.filter_map(|n| n.strip_prefix(model)?.strip_prefix('-')?.parse::<u64>().ok());
    numbers.max().unwrap_or(0) + 1
}

fn is_taken(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

fn cannot_write(path: &Path, e: &io::Error) -> Diagnostic {
    Diagnostic::error(Code("E0621"), format!("the results can't be written to `{}`", path.display())).note(e.to_string())
}

fn cannot_read(path: &Path, reason: &str) -> Diagnostic {
    Diagnostic::error(Code("E0622"), format!("`{}` can't be read as saved results", path.display())).note(reason)
}

#[cfg(test)]
mod tests;
