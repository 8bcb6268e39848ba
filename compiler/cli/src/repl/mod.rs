//! `ppl repl`: an interactive session, on a terminal or from a pipe.

mod commands;
mod doc;
mod session;
mod show;
mod terminal;

use crate::args::ReplArgs;
use crate::report::{self, Failure};
use session::Session;
use std::io::{BufRead, IsTerminal};

/// Whether the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read the next input.
    Go,
    /// `:quit`
    Quit,
}

/// Runs the command.
///
/// # Errors
/// A model file that can't be loaded; later errors are printed and the session goes on.
pub(crate) fn command(args: &ReplArgs) -> Result<(), Failure> {
    let mut session = Session::new(args.seed);
    if let Some(path) = &args.model {
        session.load(path)?;
    }
    for data in &args.data.data {
        session.add_data(data)?;
    }
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        terminal::run(&mut session)
    } else {
        pipe(&mut session)
    }
    Ok(())
}

/// Reads inputs from a pipe; results are printed without prompts.
fn pipe(session: &mut Session) {
    let mut buffer = String::new();
    for line in std::io::stdin().lock().lines() {
        let line = match line {
            Ok(l) => l,
            Err(e) => {
                report::remark(&format!("standard input can't be read: {e}\n"));
                break;
            }
        };
        if !buffer.is_empty() {
            buffer.push('\n');
        }
        buffer += &line;
        // An empty line ends an input that is never finished.
        if ppl_syntax::is_incomplete(&buffer) && !line.trim().is_empty() {
            continue;
        }
        if input(session, &std::mem::take(&mut buffer)) == Next::Quit {
            return;
        }
    }
    if !buffer.trim().is_empty() {
        input(session, &buffer);
    }
}

/// One input. Errors are printed; a panic is a fault of ppl and does not end the session.
fn input(session: &mut Session, text: &str) -> Next {
    let text = text.trim();
    if text.is_empty() {
        return Next::Go;
    }
    let kept = session.clone();
    let done = report::caught(|| match text.strip_prefix(':') {
        Some(command) => commands::run(session, command),
        None => session.enter(text).map(|()| Next::Go),
    });
    match done {
        Ok(Ok(next)) => next,
        Ok(Err(failure)) => {
            report::diagnostics(&failure.map, &failure.diagnostics);
            Next::Go
        }
        Err(text) => {
            report::remark(&text);
            *session = kept;
            Next::Go
        }
    }
}
