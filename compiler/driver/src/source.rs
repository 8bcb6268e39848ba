//! A model file with what it imports.

use ppl_diag::{Code, Diagnostic, FileId, SourceMap};
use ppl_syntax::ast::{File, ItemKind};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The file was not found or is not text.
const UNREADABLE: Code = Code("E0801");

/// Where source files come from.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// Files on disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A parsed model file.
#[derive(Clone, Debug)]
pub struct Source {
    /// All texts: the library's first, then modules, then the model.
    pub map: SourceMap,
    /// The model's tree.
    pub file: File,
    /// Its text's id.
    pub id: FileId,
    /// Imported files of the user's.
    pub modules: Vec<File>,
    /// Where the model stands; data files are found beside it.
    pub dir: PathBuf,
    /// File name without extension.
    pub name: String,
    /// Syntax errors, of all files.
    pub diagnostics: Vec<Diagnostic>,
}

/// The standard library, parsed once.
pub fn library() -> &'static [File] {
    static LIBRARY: OnceLock<Vec<File>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        ppl_stdlib::PRELUDE.iter().enumerate().map(|(i, f)| ppl_syntax::parse(FileId(i as u32), f.text).ast).collect()
    })
}

/// A module of the standard library, parsed when a file first uses it.
pub fn library_module(name: &str) -> Option<&'static File> {
    static PARSED: OnceLock<Vec<OnceLock<File>>> = OnceLock::new();
    let i = ppl_stdlib::MODULES.iter().position(|m| m.name == name)?;
    let all = PARSED.get_or_init(|| ppl_stdlib::MODULES.iter().map(|_| OnceLock::new()).collect());
    Some(all[i].get_or_init(|| {
        let module = ppl_stdlib::MODULES[i];
        let id = FileId((ppl_stdlib::PRELUDE.len() + i) as u32);
        File { module: Some(module.name.into()), ..ppl_syntax::parse(id, module.file.text).ast }
    }))
}

fn library_map() -> SourceMap {
    let mut map = SourceMap::default();
    for f in ppl_stdlib::PRELUDE.iter().chain(ppl_stdlib::MODULES.iter().map(|m| &m.file)) {
        map.add(f.name, f.text);
    }
    map
}

/// The names of the library's modules that a file uses.
fn used_modules(file: &File) -> impl Iterator<Item = &str> {
    file.items.iter().filter_map(|item| match &item.kind {
        ItemKind::Use(path) => match path.as_slice() {
            [std, module] if *std == "std" => Some(module.as_str()),
            _ => None,
        },
        _ => None,
    })
}

impl Source {
    /// Reads and parses a model and what it imports.
    ///
    /// # Errors
    /// The model's file can't be read.
    pub fn load(files: &dyn Files, path: &Path) -> Result<Source, Diagnostic> {
        let text = files.read(path).map_err(|e| unreadable(path, &e))?;
        Ok(Self::recalled(files, path, &text))
    }

    /// A model from the text that the file at `path` had; what it imports is read beside it.
    pub fn recalled(files: &dyn Files, path: &Path, text: &str) -> Source {
        let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
        let name = path.file_stem().map_or("model".into(), |s| s.to_string_lossy().into_owned());
        Self::parse(files, &path.display().to_string(), text, dir, name)
    }

    /// A model from text, such as a session's.
    pub fn from_text(name: &str, text: &str) -> Source {
        Self::parse(&Disk, name, text, PathBuf::from("."), "model".into())
    }

    fn parse(files: &dyn Files, shown: &str, text: &str, dir: PathBuf, name: String) -> Source {
        let mut map = library_map();
        let id = map.add(shown, text);
        let parsed = ppl_syntax::parse(id, text);
        let mut source =
            Source { map, file: parsed.ast, id, modules: Vec::new(), dir: dir.clone(), name, diagnostics: parsed.diagnostics };
        let mut seen = Vec::new();
        let file = source.file.clone();
        source.import(files, &file, &dir, &mut seen);
        source
    }

    /// Reads the files that `use` names: `use models.shared` is `models/shared.ppl` beside the model.
    fn import(&mut self, files: &dyn Files, file: &File, dir: &Path, seen: &mut Vec<PathBuf>) {
        for item in &file.items {
            let ItemKind::Use(parts) = &item.kind else { continue };
            if parts.first().is_some_and(|p| p == "std") {
                continue;
            }
            let mut path = dir.to_path_buf();
            parts.iter().for_each(|p| path.push(p.as_str()));
            path.set_extension("ppl");
            if seen.contains(&path) {
                continue;
            }
            seen.push(path.clone());
            match files.read(&path) {
                Ok(text) => {
                    let id = self.map.add(path.display().to_string(), text.as_str());
                    let parsed = ppl_syntax::parse(id, &text);
                    self.diagnostics.extend(parsed.diagnostics);
                    self.import(files, &parsed.ast, dir, seen);
                    self.modules.push(parsed.ast);
                }
                Err(e) => self.diagnostics.push(unreadable(&path, &e).label(item.span, "imported here")),
            }
        }
    }

    /// The model's text.
    pub fn text(&self) -> &str {
        self.map.get(self.id).map_or("", |f| &f.text)
    }

    /// The library, its modules that are used, and the imported files, in the order they are declared.
    pub fn libraries(&self) -> Vec<File> {
        let mut used: Vec<String> = self.modules.iter().chain([&self.file]).flat_map(used_modules).map(str::to_string).collect();
        used.sort_unstable();
        used.dedup();
        let modules = used.into_iter().filter_map(|m| library_module(&m));
        library().iter().chain(modules).chain(&self.modules).cloned().collect()
    }
}

fn unreadable(path: &Path, e: &io::Error) -> Diagnostic {
    Diagnostic::error(UNREADABLE, format!("`{}` can't be read: {e}", path.display()))
        .help("check the path; model files end in `.ppl`")
}
