//! Transcripts of sessions read from a pipe.

mod common;

use common::{CONJUGATE, folder, ppl};

/// What a session prints: results and errors.
fn session(input: &str) -> (String, String) {
    let dir = folder(&[("m.ppl", CONJUGATE)]);
    let ran = ppl(dir.path(), &["repl"], input);
    assert_eq!(ran.code, 0, "{}", ran.err);
    (ran.out, ran.err)
}

#[test]
fn expressions_and_definitions() {
    let (out, err) = session(
        "1 + 2\nlet a = [1.0, 2.5]\na * 2\nfn f(x) = x^2 + 1\nf(\n  3\n)\nfn f(x) = x^3\nf(3)\n(1, true)\n:type a\n:quit\n9\n",
    );
    assert_eq!(out, "3\na defined\n[2, 5]\nf defined\n10\nf redefined\n27\n(1, true)\nreal[2]\n");
    assert_eq!(err, "");
}

#[test]
fn an_error_never_ends_it() {
    let (out, err) = session("g(1)\n1 +* 2\n:foo\n:type\n:load nothing.ppl\nfn f(x) = x +\n\nf(1)\n:fit\n:fit --stepz 1\n5\n");
    assert_eq!(out, "5\n");
    for code in ["E0101", "E0807", "E0801", "E0802"] {
        assert!(err.contains(code), "{code} is not in {err}");
    }
}

#[test]
fn data_programs_densities_and_fits() {
    let (out, err) = session(
        ":load m.ppl\nlength(y)\n:data {\"y\": [1, 2, 4.5]}\nlength(y)\n:density m {mu: 0, y: [0, 0, 0]}\n\
         :density m() given { mu: 1, y: y }\n:simulate walk(2)\n:fit --steps 20 --draws 10\ntilt\n",
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["6 declarations", "3"], "{out}{err}");
    assert!(err.contains("E0808"), "a size without data: {err}");
    let log_normal =
        |x: f64, mu: f64, sd: f64| -0.5 * ((x - mu) / sd).powi(2) - sd.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln();
    let near = |text: &str, want: f64| assert!((text.parse::<f64>().unwrap() - want).abs() < 1e-8, "{text} {want}");
    near(lines[2], log_normal(0.0, 0.0, 2.0) + 3.0 * log_normal(0.0, 0.0, 1.0));
    near(lines[3], log_normal(1.0, 0.0, 2.0) + [1.0, 2.0, 4.5].iter().map(|y| log_normal(*y, 1.0, 1.0)).sum::<f64>());
    assert!(lines[4].starts_with("h = ["), "{out}");
    assert!(lines[5].starts_with("m with auto_normal: 20 steps"), "{out}");
    assert_eq!(lines.last(), Some(&"2"));
}

#[test]
fn documentation() {
    let (out, _) = session(":doc normal\n:doc lgamma\n:doc E0801\n:help\n");
    for part in ["dist normal(mu: real, sigma: positive)", "lgamma(4.0) is", "E0801: ", ":density PROGRAM"] {
        assert!(out.contains(part), "{part} is not in {out}");
    }
}
