//! `ppl check-grad` as users run it: right programs are certified, wrong ones refuted, with the choice to blame.

mod common;

use common::{folder, ppl};
use std::path::Path;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn example(path: &str, arguments: &[&str]) -> common::Ran {
    let file = root().join("examples").join(path).display().to_string();
    let dir = folder(&[]);
    ppl(dir.path(), &[&["check-grad", file.as_str()], arguments].concat(), "")
}

#[test]
fn examples_are_certified() {
    for (path, arguments) in [
        ("cone/cone.ppl", &["--draws", "4000"][..]),
        ("cone/cone.ppl", &["--draws", "2000", "--objective", "iwelbo(5)", "--no-strategies"][..]),
        ("cone/cone.ppl", &["--draws", "4000", "--precision", "f32", "--no-strategies"][..]),
        ("branching/branching.ppl", &[][..]),
        ("branching/branching.ppl", &["--by", "v=reinforce"][..]),
        ("eight_schools/schools.ppl", &["--draws", "2000", "--no-strategies"][..]),
    ] {
        let ran = example(path, arguments);
        assert_eq!(ran.code, 0, "{path} {arguments:?}\n{}\n{}", ran.out, ran.err);
        assert!(ran.out.contains("certified: the largest |z|"), "{}", ran.out);
    }
}

#[test]
fn many_parameters_are_tested_along_random_directions() {
    let text = "data x: real[150]\ngen m() { for i in 150 { t[i] ~ normal(0, 1);  x[i] ~ normal(t[i], 1) } }\nfit m() given { x } with auto_normal\n";
    let values: Vec<String> = (0..150).map(|i| format!("{}", f64::from(i % 7) / 3.0)).collect();
    let data = format!("{{\"x\": [{}]}}", values.join(", "));
    let dir = folder(&[("m.ppl", text), ("d.json", &data)]);
    let ran = ppl(dir.path(), &["check-grad", "m.ppl", "--data", "d.json", "--draws", "1000", "--no-strategies"], "");
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("direction 20"), "{}", ran.out);
}

/// Runs the file of right and wrong strategies.
fn strategies(by: &str) -> common::Ran {
    let text = std::fs::read_to_string(root().join("tests/certificates/strategies.ppl")).expect("the file of strategies");
    let dir = folder(&[("m.ppl", &text)]);
    ppl(dir.path(), &["check-grad", "m.ppl", "--by", by, "--json"], "")
}

#[test]
fn wrong_strategies_are_refuted_and_blamed() {
    for by in ["b=wrong_sign", "b=own_baseline", "b=summed_loo", "x=own_baseline", "x=summed_loo"] {
        let ran = strategies(by);
        assert_eq!(ran.code, 5, "{by}\n{}\n{}", ran.out, ran.err);
        let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}\n{}", ran.out));
        assert_eq!(found["certified"], false);
        let (choice, strategy) = by.split_once('=').expect("a choice and a strategy");
        assert_eq!(found["blamed"]["choice"], format!("guide.{choice}"), "{by}");
        assert_eq!(found["blamed"]["strategy"], strategy, "{by}");
        assert!(ran.err.contains("E0470") && ran.err.contains("the truth is"), "{}", ran.err);
    }
}

#[test]
fn right_strategies_are_certified() {
    for by in ["b=loo", "x=loo", "b=reinforce", "x=reinforce", "b=measure_valued", "b=enumerate"] {
        let ran = strategies(by);
        assert_eq!(ran.code, 0, "{by}\n{}\n{}", ran.out, ran.err);
        let found: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
        assert_eq!(found["certified"], true);
        assert!(
            found["rows"].as_array().is_some_and(|r| r.len() == 2 && r.iter().all(|r| r["how"] == "quadrature")),
            "{}",
            ran.out
        );
        // Its strategies are compared by variance.
        assert!(found["strategies"].as_array().is_some_and(|s| s.len() > 6), "{}", ran.out);
    }
}

#[test]
fn the_authors_word_is_tested_too() {
    // A surrogate with the value of one thing and the gradient of another.
    let text = "param m: real = 0.3\ngen q() { x ~ normal(m, 1) }\nobjective o() = expect { let (t, _) = sim(q()); let v = t.x^2\n stop(v) + 0.5 * (v - stop(v)) }\nfit maximize o()\n";
    let dir = folder(&[("m.ppl", text)]);
    let ran = ppl(dir.path(), &["check-grad", "m.ppl"], "");
    assert_eq!(ran.code, 5, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("no other strategy for a single choice repairs it"), "{}", ran.err);
}

#[test]
fn there_must_be_something_to_certify() {
    let dir = folder(&[("m.ppl", "gen m() { x ~ normal(0, 1) }\ngen q() { x ~ normal(0.1, 1) }\nfit m() with q()\n")]);
    let ran = ppl(dir.path(), &["check-grad", "m.ppl"], "");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("E0471"), "{}", ran.err);
}

#[test]
fn strategies_that_learn_are_certified_for_the_parameters_of_the_objective() {
    let text = "param m: real = 0.3\ngen q() { x ~ flip_logits(m) by reinforce_learned; y ~ flip_logits(m) by reinforce_mean }\n\
        objective o() = expect { let (t, _) = sim(q()); (if t.x { 3.0 } else { 1.0 }) + (if t.y { 2.0 } else { 1.0 }) }\nfit maximize o()\n";
    let dir = folder(&[("m.ppl", text)]);
    let ran = ppl(dir.path(), &["check-grad", "m.ppl"], "");
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("reinforce_learned"), "{}", ran.out);
}
