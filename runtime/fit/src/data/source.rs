//! Where data comes from: files and text on the command line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ppl_diag::{Code, Diagnostic, Span};
use serde::Serialize;
use serde_json::Value;

use super::decl::DataDecl;
use super::raw::{Place, Raw, RawValues};
use super::sha256::sha256_hex;
use super::stored::{self, Bytes, Stored};
use super::table::Table;
use super::{json, lookup, npy};

/// A source that was read, for messages and the settings of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceInfo {
    /// As shown: the path as given, or `--data` for text on the command line.
    pub name: String,
    /// The file; none for text on the command line.
    pub path: Option<PathBuf>,
    /// The text itself, where it was on the command line.
    pub text: Option<String>,
    /// SHA-256, hexadecimal: of the bytes, uncompressed; of a file of more than 64 MiB that is mapped, of its first MiB, its last MiB and its length (8 bytes,
    /// little-endian).
    pub sha256: String,
    /// Number of bytes.
    pub bytes: u64,
    /// The declarations that took their value from it.
    pub declarations: Vec<String>,
}

/// A source and what it holds.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) info: SourceInfo,
    /// The one declaration it is for (`name=path`, or an NPY file's stem).
    pub(super) only_for: Option<String>,
    /// Whether the program names this file, so that only declarations that name it ask, and a value needs no name.
    from_program: bool,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Table(Table),
    Named(Vec<(String, Value)>),
    Whole(Value),
    Npy(Stored),
    Arrays(Vec<(String, Stored)>),
}

/// Mapped files up to this many bytes are hashed whole.
const HASHED: usize = 64 << 20;
const END: usize = 1 << 20;

fn hash_of(bytes: &[u8]) -> String {
    if bytes.len() <= HASHED {
        return sha256_hex(bytes);
    }
    let length = (bytes.len() as u64).to_le_bytes();
    sha256_hex(&[&bytes[..END], &bytes[bytes.len() - END..], &length[..]].concat())
}

impl Source {
    /// Reads what one `--data` argument names.
    pub(super) fn from_argument(argument: &str) -> Result<Self, Vec<Diagnostic>> {
        if argument.trim_start().starts_with('{') {
            return Self::inline(argument).map_err(|d| vec![d]);
        }
        match argument.split_once('=') {
            Some((name, path)) if is_name(name) && !Path::new(argument).exists() => {
                Self::read(Path::new(path), path, Some(name), Span::NONE)
            }
            _ => Self::read(Path::new(argument), argument, None, Span::NONE),
        }
    }

    /// Reads the file a declaration names; declarations that name it take their values from it.
    pub(super) fn from_declaration(decl: &DataDecl, file: &str, folder: &Path) -> Result<Self, Vec<Diagnostic>> {
        let path = folder.join(file);
        let mut source = Self::read(&path, &path.display().to_string(), None, decl.span)?;
        source.only_for = None;
        source.from_program = true;
        Ok(source)
    }

    fn inline(text: &str) -> Result<Self, Diagnostic> {
        let fail = |e: String| {
            Diagnostic::error(Code("E0603"), format!("the JSON text after `--data` can't be read: {e}"))
                .help("write an object of named values and quote it for the shell: --data '{\"z\": 5}'")
        };
        let value = serde_json::from_str(text).map_err(|e| fail(e.to_string()))?;
        let named = json::named_values(value).map_err(fail)?;
        let info = SourceInfo {
            name: "--data".into(),
            path: None,
            text: Some(text.to_owned()),
            sha256: sha256_hex(text.as_bytes()),
            bytes: text.len() as u64,
            declarations: Vec::new(),
        };
        Ok(Self { info, only_for: None, from_program: false, content: Content::Named(named) })
    }

    fn read(path: &Path, shown: &str, name: Option<&str>, span: Span) -> Result<Self, Vec<Diagnostic>> {
        let extension_of = |p: &Path| p.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
        // `images.npy.gz` is what `images.npy` is, compressed.
        let compressed = extension_of(path) == "gz";
        let inner = if compressed { path.with_extension("") } else { path.to_path_buf() };
        let extension = extension_of(&inner);
        if !matches!(extension.as_str(), "csv" | "json" | "npy" | "safetensors") {
            let d = Diagnostic::error(Code("E0602"), format!("`{shown}` is no data source that can be read"))
                .label(span, "named here")
                .help("give a .csv, .json, .npy or .safetensors file (or one of them compressed, .gz), `name=file`, or JSON text that starts with `{`");
            return Err(vec![d]);
        }
        let failed = |e: std::io::Error| vec![unreadable(path, shown, &e).label(span, "named here")];
        let malformed = |problem: String| {
            Diagnostic::error(Code("E0603"), format!("`{shown}` is malformed: {problem}")).label(span, "named here")
        };
        let info = |bytes: &[u8]| SourceInfo {
            name: shown.to_owned(),
            path: Some(path.to_path_buf()),
            text: None,
            sha256: hash_of(bytes),
            bytes: bytes.len() as u64,
            declarations: Vec::new(),
        };
        let mut only_for = name.map(str::to_owned);
        let open = || -> std::io::Result<Bytes> {
            if !compressed {
                return Bytes::map(path);
            }
            let mut bytes = Vec::new();
            flate2::read::MultiGzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut bytes)?;
            Ok(Bytes::Owned(Arc::new(bytes)))
        };
        if extension == "safetensors" {
            let bytes = open().map_err(failed)?;
            let mut arrays = stored::safetensors(&bytes).map_err(|e| vec![malformed(e)])?;
            // A file of one array may be given for another name.
            if let (Some(name), [(own, _)]) = (name, &mut arrays[..]) {
                name.clone_into(own);
            }
            let content = Content::Arrays(arrays);
            return Ok(Self { info: info(&bytes), only_for, from_program: false, content });
        }
        if extension == "npy" {
            let bytes = open().map_err(failed)?;
            let stem = inner.file_stem().and_then(|s| s.to_str()).unwrap_or("");
            let stem = stem.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
            only_for = only_for.or(Some(stem));
            let content = Content::Npy(npy::parse(bytes.clone()).map_err(|e| vec![malformed(e)])?);
            return Ok(Self { info: info(&bytes), only_for, from_program: false, content });
        }
        let bytes = if compressed { open().map_err(failed)?.to_vec() } else { std::fs::read(path).map_err(failed)? };
        let info = info(&bytes);
        let content = {
            let text = String::from_utf8(bytes).map_err(|e| {
                let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
                vec![malformed(format!("line {line} is not UTF-8 text"))]
            })?;
            if extension == "csv" {
                let table = Table::parse(&text).map_err(|ps| ps.into_iter().map(malformed).collect::<Vec<_>>())?;
                Content::Table(table)
            } else {
                let value: Value = serde_json::from_str(&text).map_err(|e| vec![malformed(e.to_string())])?;
                if value.is_object() || is_rows(&value) {
                    Content::Named(json::named_values(value).map_err(|e| vec![malformed(e)])?)
                } else {
                    Content::Whole(value)
                }
            }
        };
        Ok(Self { info, only_for, from_program: false, content })
    }

    /// The value for `decl`, if this source has one.
    pub(super) fn find(&self, decl: &DataDecl) -> Result<Option<Raw>, Diagnostic> {
        let shown = &self.info.name;
        if self.only_for.as_ref().is_some_and(|n| *n != decl.name) {
            return Ok(None);
        }
        match &self.content {
            Content::Table(table) => lookup::in_table(table, decl, self.only_for.is_some(), shown),
            Content::Named(named) => lookup::in_named(named, decl, shown),
            Content::Whole(value) if self.only_for.is_some() || self.from_program => lookup::to_raw(decl, value, shown).map(Some),
            Content::Whole(_) => Ok(None),
            Content::Npy(array) => Ok(Some(in_place(array, decl, shown))),
            Content::Arrays(arrays) => {
                Ok(arrays.iter().find(|(n, _)| *n == decl.name).map(|(_, array)| in_place(array, decl, shown)))
            }
        }
    }

    /// The names it has, as a note: `schools.csv has: y, sigma`.
    pub(super) fn contents(&self) -> String {
        let names = self.names();
        let shown = &self.info.name;
        match &self.content {
            Content::Whole(_) => format!("{shown} holds an array without a name; write `--data name={shown}`"),
            Content::Npy(_) => format!("{shown} holds one array, for `{}`", names.join("")),
            Content::Table(table) if table.names_are_numbers() => {
                format!("the first row of {shown} holds numbers, but it should name the columns")
            }
            Content::Table(_) | Content::Named(_) | Content::Arrays(_) => {
                let extra = if names.len() > 30 { ", .." } else { "" };
                let list = names.iter().take(30).copied().collect::<Vec<_>>().join(", ");
                format!("{shown} has: {}{extra}", if list.is_empty() { "nothing" } else { &list })
            }
        }
    }

    /// The names it can give values for.
    pub(super) fn names(&self) -> Vec<&str> {
        match &self.content {
            Content::Table(table) => table.names.iter().map(String::as_str).collect(),
            Content::Named(named) => named.iter().map(|(n, _)| n.as_str()).collect(),
            Content::Arrays(arrays) => arrays.iter().map(|(n, _)| n.as_str()).collect(),
            Content::Whole(_) | Content::Npy(_) => self.only_for.iter().map(String::as_str).collect(),
        }
    }
}

fn in_place(array: &Stored, decl: &DataDecl, shown: &str) -> Raw {
    Raw {
        shape: array.shape.clone(),
        values: RawValues::Stored(array.clone()),
        source: shown.to_owned(),
        place: Place::Index(decl.name.clone()),
    }
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
}

fn is_rows(value: &Value) -> bool {
    value.as_array().is_some_and(|rows| !rows.is_empty() && rows.iter().all(Value::is_object))
}

fn unreadable(path: &Path, shown: &str, error: &std::io::Error) -> Diagnostic {
    let d = Diagnostic::error(Code("E0601"), format!("the data file `{shown}` can't be read")).note(error.to_string());
    if error.kind() != std::io::ErrorKind::NotFound {
        return d;
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside: Vec<String> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    let wanted = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    match ppl_diag::did_you_mean(wanted, beside.iter().map(String::as_str)) {
        Some(near) => d.help(format!("did you mean `{}`?", path.with_file_name(near).display())),
        None => d,
    }
}
