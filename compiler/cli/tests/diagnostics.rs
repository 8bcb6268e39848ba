//! Every file of `tests/diagnostics` against what the command says of it. `PPL_BLESS=1` rewrites the expectations.
//!
//! A file's first lines say how it is run: `# run: fit --data data.json`, and which files stand beside it: `# file: data.json`
//! followed by their lines as `# | ..`.

mod common;

use common::{folder, ppl};
use std::fs;
use std::path::Path;

/// The arguments and the files beside a case.
fn header(text: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (mut args, mut files) = (Vec::new(), Vec::<(String, String)>::new());
    for line in text.lines().take_while(|l| l.starts_with('#')) {
        if let Some(run) = line.strip_prefix("# run: ") {
            args = run.split(' ').map(str::to_string).collect();
        } else if let Some(name) = line.strip_prefix("# file: ") {
            files.push((name.to_string(), String::new()));
        } else if let (Some(row), Some((_, body))) = (line.strip_prefix("# | "), files.last_mut()) {
            body.push_str(row);
            body.push('\n');
        }
    }
    (args, files)
}

#[test]
fn every_case_says_what_is_expected() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/diagnostics");
    let bless = std::env::var_os("PPL_BLESS").is_some();
    let mut paths: Vec<_> = fs::read_dir(&cases).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "ppl"));
    paths.sort();
    assert!(paths.len() >= 19, "the cases are missing");
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let (args, files) = header(&text);
        let mut all: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        all.push(("model.ppl", &text));
        let dir = folder(&all);
        let mut words = vec![args[0].as_str(), "model.ppl"];
        words.extend(args[1..].iter().map(String::as_str));
        let ran = ppl(dir.path(), &words, "");
        // No half-written output: a program or data that is wrong leaves nothing behind.
        if ran.code == 1 {
            assert!(!dir.path().join("runs").exists(), "{} left a run folder", path.display());
        }
        let found = format!("exit {}\n{}", ran.code, ran.err);
        let expected = path.with_extension("stderr");
        if bless {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
