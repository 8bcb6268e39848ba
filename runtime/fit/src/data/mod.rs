//! Binding of data to a program's declarations.
//!
//! Sources are CSV, JSON, NPY and safetensors files, and JSON text on the command line. Each declaration finds its value by name in one of
//! them (or in the file its `from` names), is checked against its type, support and shape, and sizes are read off the shapes.
//! All problems are reported at once; each names the file, the place in it and the declaration.
//!
//! | source | gives |
//! |---|---|
//! | CSV | `y: real[N]`: column `y`. `X: real[N, D]`: the columns listed by `from columns(..)`, else `X.1`, `X.2`, .. or `X[1]`, .. (from 0 or 1). `z: real`: column `z` of a file with one row |
//! | JSON object | the value under the declaration's name: a number, nested arrays, `null` for a missing entry |
//! | JSON array of objects | one row an object; as CSV, but entries may be arrays |
//! | NPY | one array, for the declaration named as the file (other characters than letters and digits read as `_`) |
//! | safetensors | the array under the declaration's name |
//! | `name=path` | the same files, for this declaration alone; a CSV file may then be the matrix, a JSON file the bare array |
//!
//! Missing entries are empty cells, `NA`, `NaN`, `null`. Infinite numbers are refused. What the user gives comes before what the
//! program names with `from`.
//!
//! NPY and safetensors files are mapped into memory. Where their elements have the declared type (`f4` or `f8` for reals, `i8` for ints, `b1` or `u1` for
//! truth values, row-major) they stay in the file, and a run in the same precision reads them there: they may be larger than memory.

mod array;
mod decl;
mod json;
mod lookup;
mod npy;
mod raw;
mod sha256;
mod sizes;
mod source;
mod split;
mod stored;
mod table;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ppl_diag::{Code, Diagnostic, did_you_mean};

pub use array::{Array, Values};
pub use decl::{Constraint, DataDecl, DimDecl, Elem};
pub use npy::npy_bytes;
pub(crate) use raw::unravel;
pub use sha256::sha256_hex;
pub use sizes::DeferredDim;
use source::Source;
pub use source::SourceInfo;
pub use split::{Rows, held_out};
pub use stored::Stored;

/// What [`bind`] is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct BindRequest<'a> {
    /// The program's declarations.
    pub decls: &'a [DataDecl],
    /// The `--data` arguments: paths, `name=path`, or JSON text that starts with `{`.
    pub arguments: &'a [String],
    /// Arguments of the same form that come after those: what they have counts where the others have nothing, such as the data of a fit when
    /// some of them are replaced. A size that the arrays of the others tell is not taken from them.
    pub behind: &'a [String],
    /// The folder of the model file, to which `from` is relative.
    pub model_dir: &'a Path,
    /// Sizes that the program itself fixes.
    pub known_sizes: &'a BTreeMap<String, u64>,
}

/// All data of a program.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// The value of each declaration; optional ones that were not found are absent. Scalars used as sizes are here too.
    pub arrays: BTreeMap<String, Array>,
    /// The value of each size, known or read off the data.
    pub sizes: BTreeMap<String, u64>,
    /// Axes whose declared length is an expression, to be compared by the compiler with [`DeferredDim::check`].
    pub deferred: Vec<DeferredDim>,
    /// Every source that was read.
    pub sources: Vec<SourceInfo>,
    /// Warnings, such as keys on the command line that nothing declares.
    pub warnings: Vec<Diagnostic>,
}

/// Finds, reads and checks the value of every declaration.
///
/// # Errors
/// Every problem found, none twice: codes `E0601` to `E0611`.
pub fn bind(request: BindRequest<'_>) -> Result<Bound, Vec<Diagnostic>> {
    let mut binder = Binder::default();
    for argument in request.arguments {
        match Source::from_argument(argument) {
            Ok(source) => binder.sources.push(source),
            Err(mut problems) => {
                binder.problems.append(&mut problems);
                binder.unreadable = true;
            }
        }
    }
    binder.first = binder.sources.len();
    for argument in request.behind {
        match Source::from_argument(argument) {
            Ok(source) => binder.sources.push(source),
            Err(mut problems) => binder.unread.append(&mut problems),
        }
    }
    let given = binder.sources.len();
    for decl in request.decls {
        binder.bind_one(decl, given, &request);
    }
    binder.finish(&request, given)
}

#[derive(Default)]
struct Binder {
    /// Those of the arguments, then those behind them, then files that the program names.
    sources: Vec<Source>,
    /// Number of the first ones.
    first: usize,
    /// What can't be read of those behind them: an error where something is looked for there.
    unread: Vec<Diagnostic>,
    /// Files named by declarations: position in `sources`, or nothing if it could not be read.
    from_files: BTreeMap<String, Option<usize>>,
    arrays: BTreeMap<String, Array>,
    found_in: BTreeMap<String, String>,
    failed: BTreeSet<String>,
    absent: Vec<usize>,
    problems: Vec<Diagnostic>,
    unreadable: bool,
}

impl Binder {
    fn bind_one(&mut self, decl: &DataDecl, given: usize, request: &BindRequest<'_>) {
        let mut found = Vec::new();
        for i in 0..self.first {
            self.look(i, decl, &mut found);
        }
        if found.is_empty() && !self.told_by_arrays(decl, request.decls) {
            if !self.unread.is_empty() {
                self.problems.append(&mut self.unread);
                self.unreadable = true;
            }
            for i in self.first..given {
                self.look(i, decl, &mut found);
            }
        }
        if let (true, Some(file), false) = (found.is_empty(), &decl.from, self.failed.contains(&decl.name)) {
            match self.program_file(decl, file, request.model_dir) {
                Some(i) => self.look(i, decl, &mut found),
                None => {
                    self.failed.insert(decl.name.clone());
                }
            }
        }
        if let [(i, _), (j, _), ..] = &found[..] {
            let names = (&self.sources[*i].info.name, &self.sources[*j].info.name);
            let d =
                Diagnostic::error(Code("E0611"), format!("`{}` is given twice: by {} and by {}", decl.name, names.0, names.1))
                    .label(decl.span, "declared here")
                    .help("remove one of the sources, or rename the value in it");
            self.problems.push(d);
            self.failed.insert(decl.name.clone());
            return;
        }
        let Some((i, raw)) = found.pop() else {
            if !self.failed.contains(&decl.name) && !decl.optional {
                self.absent.push(request.decls.iter().position(|d| std::ptr::eq(d, decl)).unwrap_or(0));
            }
            return;
        };
        let info = &mut self.sources[i].info;
        info.declarations.push(decl.name.clone());
        self.found_in.insert(decl.name.clone(), info.name.clone());
        match typed::typed(decl, &raw) {
            Ok(array) => {
                self.arrays.insert(decl.name.clone(), array);
            }
            Err(mut problems) => {
                self.problems.append(&mut problems);
                self.failed.insert(decl.name.clone());
            }
        }
    }

    /// Whether the first sources have an array of which this is the length of an axis.
    fn told_by_arrays(&self, decl: &DataDecl, decls: &[DataDecl]) -> bool {
        let is_axis = |d: &&DataDecl| d.dims.iter().any(|x| matches!(x, DimDecl::Named(n) if *n == decl.name));
        let has = |d: &DataDecl| self.sources[..self.first].iter().any(|s| matches!(s.find(d), Ok(Some(_))));
        decl.elem == Elem::Int && decl.dims.is_empty() && self.first > 0 && decls.iter().filter(is_axis).any(has)
    }

    fn look(&mut self, i: usize, decl: &DataDecl, found: &mut Vec<(usize, raw::Raw)>) {
        match self.sources[i].find(decl) {
            Ok(Some(raw)) => found.push((i, raw)),
            Ok(None) => {}
            Err(d) => {
                self.problems.push(d);
                self.failed.insert(decl.name.clone());
            }
        }
    }

    /// The position of the source that `from` names; a file is read once for all declarations that name it.
    fn program_file(&mut self, decl: &DataDecl, file: &str, folder: &Path) -> Option<usize> {
        if let Some(&known) = self.from_files.get(file) {
            return known;
        }
        let read = match Source::from_declaration(decl, file, folder) {
            Ok(source) => {
                self.sources.push(source);
                Some(self.sources.len() - 1)
            }
            Err(mut problems) => {
                self.problems.append(&mut problems);
                None
            }
        };
        self.from_files.insert(file.to_owned(), read);
        read
    }

    fn finish(mut self, request: &BindRequest<'_>, given: usize) -> Result<Bound, Vec<Diagnostic>> {
        let decls = request.decls;
        let failed = &self.failed;
        let mut sizes = sizes::infer(decls, &self.arrays, &self.found_in, failed, request.known_sizes);
        let used = sizes::used(decls);
        for &i in &self.absent {
            let decl = &decls[i];
            let is_size = decl.elem == Elem::Int && decl.dims.is_empty() && used.contains(decl.name.as_str());
            let inferred = decl.elem == Elem::Int && decl.dims.is_empty() && sizes.values.contains_key(&decl.name);
            // A source that can't be read may have it, and a size has its own error.
            if !is_size && !inferred && !self.unreadable {
                self.problems.push(not_given(decl, &self.sources, given, decls));
            }
        }
        sizes::inferred_scalars(decls, &mut self.arrays, &sizes.values);
        if !self.unreadable {
            self.problems.append(&mut sizes.problems);
        }
        let mut warnings = Vec::new();
        for source in self.sources.iter().filter(|s| s.info.text.is_some()) {
            warnings.extend(undeclared(source, decls));
        }
        if self.problems.is_empty() {
            let sources = self.sources.into_iter().map(|s| s.info).collect();
            Ok(Bound { arrays: self.arrays, sizes: sizes.values, deferred: sizes.deferred, sources, warnings })
        } else {
            self.problems.append(&mut warnings);
            Err(self.problems)
        }
    }
}

/// The error for a declaration without a value: what was looked for, and what there is.
fn not_given(decl: &DataDecl, sources: &[Source], given: usize, decls: &[DataDecl]) -> Diagnostic {
    let name = &decl.name;
    let mut d = Diagnostic::error(Code("E0604"), format!("no value is given for `{name}`")).label(decl.span, "declared here");
    d = match &decl.columns {
        Some(columns) => d.note(format!("looked for the columns {}", columns.join(", "))),
        None if decl.dims.len() > 1 => d.note(format!("looked for `{name}`, or columns {name}.1, {name}.2, .. of a table")),
        None => d.note(format!("looked for `{name}`")),
    };
    let relevant = || {
        sources.iter().take(given).chain(
            sources
                .iter()
                .skip(given)
                .filter(|s| decl.from.as_ref().is_some_and(|f| s.info.path.as_ref().is_some_and(|p| p.ends_with(f)))),
        )
    };
    for source in relevant() {
        d = d.note(source.contents());
    }
    if relevant().next().is_none() {
        return d.note("no data was given").help(format!("add `--data FILE`, or `--data '{{\"{name}\": ..}}'`"));
    }
    // Names that other declarations use are not misspellings of this one.
    let free = |n: &&str| decls.iter().all(|other| other.name != *n);
    let wanted = decl.columns.iter().flatten().chain([name]);
    let near = wanted.into_iter().find_map(|w| {
        let same = relevant().flat_map(Source::names).filter(free).find(|n| n.eq_ignore_ascii_case(w));
        same.or_else(|| did_you_mean(w, relevant().flat_map(Source::names).filter(free)))
    });
    match near {
        Some(near) => d.help(format!("did you mean `{near}`?")),
        None => d,
    }
}

/// Warnings for keys of JSON text on the command line that nothing declares.
fn undeclared(source: &Source, decls: &[DataDecl]) -> Vec<Diagnostic> {
    let used = |n: &str| decls.iter().any(|d| d.name == n || d.columns.iter().flatten().any(|c| c == n || c.contains('*')));
    let unused = source.names().into_iter().filter(|n| !used(n));
    unused
        .map(|n| {
            let d =
                Diagnostic::warning(Code("E0612"), format!("`{n}` is given with --data, but the program declares no such data"));
            match did_you_mean(n, decls.iter().map(|d| d.name.as_str())) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d,
            }
        })
        .collect()
}
