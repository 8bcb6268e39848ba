//! Diagnostics and results on the terminal: the only place that draws and prints.

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use ppl_diag::{Diagnostic, FileId, Severity, SourceMap, Span};
use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Why a command ended early: what to show, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The texts that the diagnostics point into.
    pub(crate) map: SourceMap,
    /// Everything found.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// The program or its data are wrong.
    pub(crate) fn program(map: &SourceMap, diagnostics: Vec<Diagnostic>) -> Failure {
        // A fault of the compiler itself is not the user's.
        let internal = diagnostics.iter().any(|d| d.severity == Severity::Error && d.code.0.starts_with("E09"));
        Failure { map: map.clone(), diagnostics, code: if internal { 3 } else { 1 } }
    }

    /// A single diagnostic without places.
    pub(crate) fn plain(d: Diagnostic) -> Failure {
        Failure::program(&SourceMap::default(), vec![d])
    }

    /// A mistake in the usage of the command.
    pub(crate) fn usage(d: Diagnostic) -> Failure {
        Failure { map: SourceMap::default(), diagnostics: vec![d], code: 2 }
    }
}

/// Prints to standard output. A reader that has gone away ends the process quietly.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        leave(&e);
    }
}

/// Prints a remark to standard error.
pub(crate) fn remark(text: &str) {
    // Nothing is left to tell a user whose standard error is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn leave(e: &io::Error) -> ! {
    if e.kind() != io::ErrorKind::BrokenPipe {
        remark(&format!("standard output can't be written: {e}\n"));
    }
    std::process::exit(i32::from(e.kind() != io::ErrorKind::BrokenPipe));
}

/// Prints diagnostics to standard error.
pub(crate) fn diagnostics(map: &SourceMap, all: &[Diagnostic]) {
    let mut text = String::new();
    for d in all {
        text += &draw(map, d, &style());
        text.push('\n');
    }
    let errors = all.iter().filter(|d| d.severity == Severity::Error).count();
    if errors > 1 {
        text += &format!("{errors} errors\n");
    }
    remark(&text);
}

/// How diagnostics look.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    theme: GraphicalTheme,
    width: usize,
    bold: bool,
}

/// The style for standard error: colours and lines on a terminal, plain text elsewhere.
pub(crate) fn style() -> Style {
    if !io::stderr().is_terminal() {
        return Style::plain();
    }
    let width = terminal_width();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || std::env::var("TERM").is_ok_and(|t| t == "dumb");
    if plain {
        Style { theme: GraphicalTheme::unicode_nocolor(), width, bold: false }
    } else {
        Style { theme: GraphicalTheme::unicode(), width, bold: true }
    }
}

impl Style {
    /// Plain text, 100 characters wide.
    pub(crate) fn plain() -> Style {
        Style { theme: GraphicalTheme::none(), width: 100, bold: false }
    }
}

/// Columns of the terminal; 100 where there is none.
pub(crate) fn terminal_width() -> usize {
    let found = terminal_size::terminal_size().map(|(w, _)| usize::from(w.0));
    found.filter(|w| *w >= 40).unwrap_or(100)
}

/// One diagnostic as text.
pub(crate) fn draw(map: &SourceMap, d: &Diagnostic, style: &Style) -> String {
    let main = d.labels.first().map(|l| l.span.file);
    let mut others: Vec<FileId> = d.labels.iter().map(|l| l.span.file).filter(|f| Some(*f) != main).collect();
    others.dedup();
    let handler = GraphicalReportHandler::new_themed(style.theme.clone()).with_width(style.width).with_links(false);
    let mut text = String::new();
    if handler.render_report(&mut text, &Shown::new(map, d, main, d.title.clone())).is_err() {
        text = format!("{}: {}\n", d.code, d.title);
    }
    for file in others {
        let mut more = String::new();
        if handler.render_report(&mut more, &Shown::new(map, d, Some(file), String::new())).is_ok() {
            // Only the excerpt: it starts with the corner that holds the file's name.
            let excerpt: Vec<&str> = more.lines().skip_while(|l| !l.contains("-[") && !l.contains("\u{2500}[")).collect();
            text = format!("{}\n{}\n", text.trim_end(), excerpt.join("\n"));
        }
    }
    let mut text = text.trim_end().to_string();
    text.push('\n');
    let mark = |name: &str| if style.bold { format!("\x1b[1;36m{name}:\x1b[0m") } else { format!("{name}:") };
    let mut footer = |name: &str, body: &str| {
        let mut lines = body.lines();
        text += &format!("  {} {}\n", mark(name), lines.next().unwrap_or(""));
        lines.for_each(|l| text += &format!("  {:w$} {l}\n", "", w = name.len() + 1));
    };
    d.notes.iter().for_each(|n| footer("note", n));
    if let Some(help) = &d.help {
        footer("help", help);
    }
    if let Some(edit) = &d.edit
        && d.help.as_ref().is_none_or(|h| !h.contains(edit.text.trim()))
    {
        let old = map.text(edit.span);
        let place = map.place(edit.span).unwrap_or_default();
        let what = match (old.is_empty(), edit.text.is_empty()) {
            (true, _) => format!("insert `{}` at {place}", edit.text.trim()),
            (false, true) => format!("remove `{old}` at {place}"),
            (false, false) => format!("write `{}` for `{old}` at {place}", edit.text.trim()),
        };
        footer("edit", &what);
    }
    if ppl_diag::code_info(d.code.0).is_some() {
        footer("more", &format!("ppl explain {}", d.code));
    }
    text
}

/// A diagnostic as miette wants it: the labels of one file.
#[derive(Debug)]
struct Shown {
    title: String,
    code: String,
    severity: miette::Severity,
    source: Option<NamedSource<String>>,
    labels: Vec<LabeledSpan>,
}

impl Shown {
    fn new(map: &SourceMap, d: &Diagnostic, file: Option<FileId>, title: String) -> Shown {
        let text = file.and_then(|f| map.get(f));
        let label = |span: Span, text: &str, source: &str| {
            let end = (span.end as usize).min(source.len());
            let start = (span.start as usize).min(end);
            LabeledSpan::new((!text.is_empty()).then(|| text.to_string()), start, end - start)
        };
        let (word, severity) = match d.severity {
            Severity::Error => ("error", miette::Severity::Error),
            Severity::Warning => ("warning", miette::Severity::Warning),
        };
        Shown {
            title,
            code: format!("{word}[{}]", d.code),
            severity,
            labels: text.map_or(Vec::new(), |t| {
                d.labels.iter().filter(|l| Some(l.span.file) == file).map(|l| label(l.span, &l.text, &t.text)).collect()
            }),
            source: text.map(|t| NamedSource::new(&t.name, t.text.to_string())),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Shown {}

impl miette::Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

/// Where the last panic happened and what it said.
static PANIC: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

/// Keeps panics for [`caught`] instead of printing them.
pub(crate) fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut kept) = PANIC.lock() {
            *kept = Some(info.to_string());
        }
    }));
}

/// Runs `f`; a panic in it is a fault of ppl, as text.
///
/// # Errors
/// What the panic said.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).map_err(|_| {
        let said = PANIC.lock().ok().and_then(|mut p| p.take()).unwrap_or_else(|| "no message".into());
        format!(
            "internal error: ppl {} made a mistake\n  {}\n  This is a fault of ppl, not of your program. Please report it with this \
             text, the model file, and the command line.\n",
            env!("CARGO_PKG_VERSION"),
            said.replace('\n', "\n  ")
        )
    })
}

/// Runs a command and reports how it ended; the exit code.
pub(crate) fn guarded(f: impl FnOnce() -> Result<(), Failure>) -> std::process::ExitCode {
    catch_panics();
    std::process::ExitCode::from(match caught(f) {
        Ok(Ok(())) => 0,
        Ok(Err(e)) => {
            diagnostics(&e.map, &e.diagnostics);
            e.code
        }
        Err(text) => {
            remark(&text);
            3
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppl_diag::Code;

    #[test]
    fn labels_of_two_files_notes_help_and_edit_are_drawn() {
        let mut map = SourceMap::default();
        let a = map.add("a.ppl", "gen m() {\n  x ~ flip(0.5) by reparam\n}\n");
        let b = map.add("std/strategies.ppl", "strategy reparam\n");
        let d = Diagnostic::error(Code("E0412"), "`reparam` cannot be used with `flip`")
            .label(Span::new(a, 29, 36), "needs a smooth value")
            .label(Span::new(b, 9, 16), "declared here")
            .note("it works with: enumerate")
            .help("use another strategy")
            .edit(Span::new(a, 29, 36), "enumerate");
        let text = draw(&map, &d, &Style::plain());
        for part in [
            "error[E0412]",
            "`reparam` cannot be used with `flip`",
            "[a.ppl:2:20]",
            "needs a smooth value",
            "[std/strategies.ppl:1:10]",
            "declared here",
            "  note: it works with: enumerate\n",
            "  help: use another strategy\n",
            "  edit: write `enumerate` for `reparam` at a.ppl:2:20\n",
            "  more: ppl explain E0412\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.is_ascii() && text.matches("cannot be used").count() == 1, "{text}");
    }

    #[test]
    fn places_beyond_the_text_do_no_harm() {
        let mut map = SourceMap::default();
        let a = map.add("a.ppl", "x");
        let d =
            Diagnostic::warning(Code("E0612"), "odd").label(Span::new(a, 50, 70), "there").label(Span::new(FileId(9), 0, 1), "");
        assert!(draw(&map, &d, &Style::plain()).contains("warning[E0612]"));
    }

    #[test]
    fn panics_are_told_as_faults_of_ppl() {
        catch_panics();
        let told = caught(|| -> () { panic!("lost a variable") }).unwrap_err();
        let _ = std::panic::take_hook();
        assert!(told.contains("internal error") && told.contains("lost a variable") && told.contains("report"), "{told}");
    }
}
