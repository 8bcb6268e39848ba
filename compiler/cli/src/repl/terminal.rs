//! The session on a terminal: line editing, history, completion.

use super::commands::COMMANDS;
use super::session::Session;
use super::{Next, input};
use crate::report;
use ppl_core::PRIMS;
use ppl_driver::check::BUILTIN_NAMES;
use reedline::{
    ColumnarMenu, DefaultCompleter, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Prompt, PromptEditMode,
    PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal, ValidationResult, Validator, default_emacs_keybindings,
};
use std::borrow::Cow;
use std::path::PathBuf;

const HISTORY: usize = 2000;
const MENU: &str = "names";

/// Runs until `:quit` or the end of input.
pub(super) fn run(session: &mut Session) {
    report::say(&format!("ppl {}; :help lists the commands, :quit leaves\n", env!("CARGO_PKG_VERSION")));
    let mut keys = default_emacs_keybindings();
    let menu = ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.into()), ReedlineEvent::MenuNext]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, menu);
    let mut editor = Reedline::create()
        .with_validator(Box::new(Complete))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU))))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_ansi_colors(std::env::var_os("NO_COLOR").is_none());
    if let Some(history) = history_file().and_then(|f| FileBackedHistory::with_file(HISTORY, f).ok()) {
        editor = editor.with_history(Box::new(history));
    }
    loop {
        editor = editor.with_completer(Box::new(completer(session)));
        match editor.read_line(&Line) {
            Ok(Signal::Success(text)) => {
                if input(session, &text) == Next::Quit {
                    break;
                }
            }
            Ok(Signal::CtrlD) => break,
            Ok(_) => {}
            Err(e) => {
                report::remark(&format!("the terminal can't be read: {e}\n"));
                break;
            }
        }
    }
}

/// `ppl/history` in the user's data folder.
fn history_file() -> Option<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let dir = data.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")))?.join("ppl");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}

/// Completes names of the session, functions and commands.
fn completer(session: &Session) -> DefaultCompleter {
    let mut words: Vec<String> = COMMANDS.iter().map(|(n, ..)| format!(":{n}")).collect();
    words.extend(BUILTIN_NAMES.iter().map(ToString::to_string));
    words.extend(PRIMS.iter().flat_map(|t| t.iter()).filter(|p| p.callable).map(|p| p.name.to_string()));
    let library = ppl_driver::library().iter().flat_map(|f| &f.items);
    words.extend(library.flat_map(super::session::names_of).map(|n| n.trim_start_matches("strategy ").to_string()));
    words.extend(session.names().map(str::to_string));
    words.sort();
    words.dedup();
    let mut completer = DefaultCompleter::with_inclusions(&[':', '_']).set_min_word_len(1);
    completer.insert(words);
    completer
}

struct Complete;

impl Validator for Complete {
    fn validate(&self, line: &str) -> ValidationResult {
        // An empty line ends an input that is never finished.
        if ppl_syntax::is_incomplete(line) && !line.ends_with('\n') {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Complete
        }
    }
}

struct Line;

impl Prompt for Line {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("ppl")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("   . ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(history: {}) ", search.term))
    }
}
