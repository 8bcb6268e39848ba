//! Commands of the session, which start with `:`.

use super::Next;
use super::session::Session;
use super::{doc, show};
use crate::args::{ClauseArgs, RunArgs};
use crate::report::{self, Failure};
use crate::run::columns;
use crate::{fit, model, simulate};
use clap::Parser;
use ppl_diag::{Code, Diagnostic, did_you_mean};
use ppl_driver::Cx;
use ppl_fit::summary::Summary;
use std::path::Path;
use std::sync::atomic::Ordering;

const NOT_UNDERSTOOD: Code = Code("E0807");

/// Commands: name, what it takes, what it does.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    ("load", "FILE", "take over the declarations of a model file"),
    ("data", "SOURCE", "data: a .csv, .json, .npy or .safetensors file, name=file, or JSON text such as {\"z\": 5}"),
    ("type", "EXPR", "the type of an expression, or what a name stands for"),
    ("simulate", "PROGRAM [N]", "draw from a program"),
    ("density", "PROGRAM {x: 1, y: 2}", "log density of a program at given choices"),
    ("fit", "[OPTIONS]", "run the session's fit; options as of `ppl fit`: --steps 1000 --objective 'iwelbo(5)' .."),
    ("doc", "NAME", "documentation of a function, distribution, strategy, objective or error code"),
    ("help", "", "this list; `:fit --help` lists the options of `:fit`"),
    ("quit", "", "leave"),
];

/// Draws that `:simulate` prints one by one; of more, the summary.
const PRINTED: usize = 20;

#[derive(Debug, Parser)]
#[command(name = ":fit", no_binary_name = true, disable_version_flag = true)]
struct FitLine {
    #[command(flatten)]
    clauses: ClauseArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs a command, without its `:`.
///
/// # Errors
/// Whatever is wrong with it or its arguments.
pub(crate) fn run(session: &mut Session, line: &str) -> Result<Next, Failure> {
    let line = line.trim();
    let (name, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(n, r)| (n, r.trim()));
    if takes_argument(name) && rest.is_empty() {
        return Err(misused(name));
    }
    match name {
        "load" => {
            let n = session.load(Path::new(unquote(rest)))?;
            report::say(&format!("{n} declarations\n"));
        }
        "data" => session.add_data(unquote(rest))?,
        "type" => report::say(&format!("{}\n", session.type_of(rest)?)),
        "simulate" => simulate_line(session, rest)?,
        "density" => {
            let value = session.density(&as_target(rest))?;
            report::say(&format!("{}\n", show::real(value)));
        }
        "fit" => fit_line(session, rest)?,
        "doc" => doc_line(session, rest)?,
        "help" | "h" | "?" => report::say(&help()),
        "quit" | "q" | "exit" => return Ok(Next::Quit),
        _ => {
            let d = Diagnostic::error(NOT_UNDERSTOOD, format!("there is no command `:{name}`"));
            let near = did_you_mean(name, COMMANDS.iter().map(|(n, ..)| *n));
            return Err(Failure::plain(match near {
                Some(n) => d.help(format!("did you mean `:{n}`?")),
                None => d.help("`:help` lists the commands"),
            }));
        }
    }
    Ok(Next::Go)
}

fn takes_argument(name: &str) -> bool {
    COMMANDS.iter().any(|(n, takes, _)| *n == name && !takes.is_empty() && !takes.starts_with('['))
}

fn misused(name: &str) -> Failure {
    let usage = COMMANDS.iter().find(|(n, ..)| *n == name).map_or(String::new(), |(n, takes, _)| format!(":{n} {takes}"));
    Failure::plain(
        Diagnostic::error(NOT_UNDERSTOOD, format!("`:{name}` needs something to work on")).help(format!("write `{usage}`")),
    )
}

fn help() -> String {
    let mut out = String::from(
        "An expression is evaluated; a declaration (data, param, let, gen, fn, fit, ..) is kept, or replaces an old one.\n",
    );
    for (name, takes, what) in COMMANDS {
        out += &format!("  {:<30} {what}\n", format!(":{name} {takes}"));
    }
    out
}

/// Text in one pair of quotes, as for a shell, without them.
fn unquote(text: &str) -> &str {
    let inner = |q: char| text.strip_prefix(q).and_then(|t| t.strip_suffix(q));
    inner('\'').or_else(|| inner('"')).unwrap_or(text)
}

/// `cone {x: 1}` means `cone given {x: 1}`.
fn as_target(text: &str) -> String {
    let given = text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "given");
    match (given, text.find('{')) {
        (false, Some(at)) => format!("{}given {}", &text[..at], &text[at..]),
        _ => text.to_string(),
    }
}

fn simulate_line(session: &mut Session, rest: &str) -> Result<(), Failure> {
    let last = rest.rsplit_once(char::is_whitespace).and_then(|(p, n)| Some((p.trim(), n.parse::<usize>().ok()?)));
    let (program, draws) = last.map_or((rest, 1), |(p, n)| (p, n.max(1)));
    let mut source = session.source()?;
    let id = source.map.add("input", program);
    let (e, found) = ppl_syntax::parse_expr(id, program);
    if fit::any_error(&found) {
        return Err(Failure::program(&source.map, found));
    }
    let model = session.model(source)?;
    let machine = session.machine();
    let fitted = session.fitted.clone();
    let sampled = simulate::simulate(&model, &e, draws, machine, &|p, g| {
        crate::run::set_free(p, g, &fitted);
        Ok(())
    })?;
    let draws = columns(&sampled).map_err(Failure::plain)?;
    if draws.len() > PRINTED {
        report::say(&Summary::new(&draws, None).table(report::terminal_width()));
    } else {
        report::say(&simulate::lines(&sampled, draws.len()));
    }
    Ok(())
}

fn fit_line(session: &mut Session, rest: &str) -> Result<(), Failure> {
    let wrong = |text: String| Failure::plain(Diagnostic::error(NOT_UNDERSTOOD, text).help("`:fit --help` lists its options"));
    let words = words(rest).ok_or_else(|| wrong("a quotation is not closed".into()))?;
    let line = match FitLine::try_parse_from(words) {
        Ok(l) => l,
        Err(e) if e.use_stderr() => {
            let text = e.to_string();
            return Err(wrong(text.lines().next().unwrap_or("").trim_start_matches("error: ").to_string()));
        }
        Err(e) => {
            report::say(&e.to_string());
            return Ok(());
        }
    };
    let mut source = session.source()?;
    let overrides = model::overrides(&mut source, &line.clauses, line.run.draws)?;
    let model = session.model(source)?;
    session.stop.store(false, Ordering::Relaxed);
    let run = RunArgs { seed: line.run.seed.or(Some(session.seed)), ..line.run };
    let task = fit::Task { stop: Some(session.stop.clone()), ..fit::Task::default() };
    let done = fit::run(&model, &overrides, &run, task, &mut Cx::default())?;
    session.fitted.clone_from(done.best.as_ref().unwrap_or(&done.fitted.params));
    report::say(&done.text(None, false));
    match done.failure {
        Some(d) => Err(model.failure(vec![d])),
        None => Ok(()),
    }
}

/// Words as a shell splits them; nothing where a quotation is open.
fn words(text: &str) -> Option<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    let mut open: Option<char> = None;
    let mut inside = false;
    for c in text.chars() {
        match (open, c) {
            (Some(q), _) if c == q => open = None,
            (None, '\'' | '"') => {
                open = Some(c);
                if !inside {
                    out.push(String::new());
                }
                inside = true;
            }
            (None, _) if c.is_whitespace() => inside = false,
            _ => {
                if !inside {
                    out.push(String::new());
                }
                inside = true;
                if let Some(w) = out.last_mut() {
                    w.push(c);
                }
            }
        }
    }
    open.is_none().then_some(out)
}

fn doc_line(session: &Session, name: &str) -> Result<(), Failure> {
    if let Ok(page) = crate::explain::page(name) {
        report::say(&page);
        return Ok(());
    }
    let source = session.source()?;
    match doc::text(&source, name) {
        Some(text) => {
            report::say(&text);
            Ok(())
        }
        None => {
            let d = Diagnostic::error(NOT_UNDERSTOOD, format!("there is no documentation of `{name}`"));
            Err(Failure::plain(match doc::near(&source, name) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d.help("names of functions, distributions, strategies, objectives and programs have some"),
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_by_a_shell() {
        let split = |t: &str| words(t).map(|w| w.join("|"));
        assert_eq!(split("--steps 10  --objective 'iwelbo(5, 2)'").as_deref(), Some("--steps|10|--objective|iwelbo(5, 2)"));
        assert_eq!(split("--by=\"z=reinforce(0)\"").as_deref(), Some("--by=z=reinforce(0)"));
        assert_eq!(split("'a"), None);
        assert_eq!(words(""), Some(vec![]));
    }

    #[test]
    fn short_densities_are_given() {
        assert_eq!(as_target("cone {x: 1}"), "cone given {x: 1}");
        assert_eq!(as_target("walk(3) given {h: xs}"), "walk(3) given {h: xs}");
    }
}
