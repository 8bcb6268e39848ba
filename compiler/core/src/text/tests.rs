//! Printing then parsing gives the same program; no text makes the parser panic.

use super::generate::{Lcg, canonical, random_func};
use crate::{Det, Est, Func, Gen, Module, Stage, Ty, parse_func, parse_module, verify};
use ppl_diag::FileId;

const FILE: FileId = FileId(0);
const GOLDEN: &str = include_str!("../../tests/golden/stages.core");

fn module(text: &str) -> Module {
    let shown = |s: ppl_diag::Span| text.get(s.start as usize..).and_then(|t| t.lines().next()).unwrap_or_default().to_string();
    parse_module(text, FILE).unwrap_or_else(|d| panic!("{} at {:?}", d.title, d.span().map(shown)))
}

#[test]
fn a_module_with_every_operation_is_right_and_prints_as_it_was_read() {
    let m = module(GOLDEN);
    assert_eq!(m.verify(), Ok(()));
    let printed = m.to_string();
    if std::env::var_os("PPL_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/stages.core");
        std::fs::write(path, &printed).expect("the golden file can be written");
    } else {
        assert_eq!(printed, GOLDEN);
    }
    for op in super::OPS {
        assert!(printed.contains(&format!(" {op} ")), "the golden module lacks `{op}`");
    }
}

#[test]
fn functions_print_alone_as_in_their_module() {
    fn check<S: Stage>(funcs: &[Func<S>]) {
        for f in funcs {
            let again: Func<S> = parse_func(&f.to_string(), FILE).expect("printed functions parse");
            assert!(canonical(&again) == canonical(f), "{f}");
        }
    }
    let m = module(GOLDEN);
    check::<Gen>(&m.gens);
    check::<Est>(&m.ests);
    check::<Det>(&m.dets);
}

#[test]
fn random_functions_are_right_and_print_and_parse_to_the_same() {
    let m = module(GOLDEN);
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let f = random_func(&mut Lcg::new(seed), &m);
        assert_eq!(verify(&m, &f), Ok(()), "seed {seed}:\n{f}");
        let text = f.to_string();
        let again: Func<Det> = parse_func(&text, FILE).unwrap_or_else(|d| panic!("seed {seed}: {}\n{text}", d.title));
        assert!(canonical(&again) == canonical(&f), "seed {seed}:\n{f}");
        assert_eq!(again.to_string(), text, "seed {seed}");
        assert_eq!(verify(&m, &again), Ok(()), "seed {seed}");
        kinds.extend(text.lines().filter_map(|l| l.split(" = ").nth(1)?.split(' ').next()).map(str::to_string));
    }
    assert!(kinds.len() > 50, "the generator is too narrow: {kinds:?}");
}

#[test]
fn damaged_texts_give_errors_with_places_and_never_panic() {
    let mut rng = Lcg::new(7);
    let chars: Vec<char> = GOLDEN.chars().collect();
    let mut refused = 0;
    for _ in 0..1500 {
        // A window of the text, so that damage near the end is met as well.
        let from = rng.below(chars.len());
        let mut text: Vec<char> = if rng.below(2) == 0 { chars.clone() } else { chars[from..].to_vec() };
        for _ in 0..=rng.below(3) {
            let at = rng.below(text.len().max(1)).min(text.len().saturating_sub(1));
            match rng.below(4) {
                0 => text.truncate(at),
                1 if !text.is_empty() => {
                    text.remove(at);
                }
                2 if !text.is_empty() => text[at] = ['%', '@', '"', '(', '{', '-', '9', 'é', '\\', ' '][rng.below(10)],
                _ => {
                    let other = rng.below(chars.len());
                    let piece: Vec<char> = chars[other..(other + 9).min(chars.len())].to_vec();
                    text.splice(at..at, piece);
                }
            }
        }
        let text: String = text.into_iter().collect();
        match parse_module(&text, FILE) {
            Ok(m) => {
                // What can be read can be checked and printed, however wrong it is.
                let _ = m.verify();
                assert_eq!(module(&m.to_string()).to_string(), m.to_string());
            }
            Err(d) => {
                refused += 1;
                let span = d.span().expect("an error has a place");
                assert!(span.start <= span.end && text.len() + 1 >= span.end as usize, "{span:?} in {} bytes", text.len());
            }
        }
    }
    assert!(refused > 500);
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("det fn @f() -> () { ret }}", "expected the end of the text"),
        ("gen fn @f() -> () { ret }", "expected `det`"),
        ("det fn @f(%x: float) -> (int) { ret %x }", "the body returns (float)"),
        ("det fn @f() -> (float) { %y = exp %x : float ret %y }", "`%x` is not defined"),
        ("det fn @f(%x: float) -> () { %x = exp %x : float ret }", "`%x` is defined twice"),
        ("det fn @f(%x: float) -> () { %y = exq %x : float ret }", "there is no operation `exq`"),
        ("det fn @f(%x: float) -> () { factor %x ret }", "not an operation of `det` functions"),
        ("det fn @f(%x: float[99999999999,99999999999]) -> () { ret }", "too many elements"),
        ("det fn @f(%x: float[-1]) -> () { ret }", "a size is not negative"),
        ("det fn @f() -> () { %x = neg 99999999999999999999 : int ret }", "out of range"),
        ("det fn @\"f", "this string has no end"),
        ("det fn @f() -> () { %x = random weibull() shape [] site 0x0 : float ret }", "`weibull` cannot be drawn"),
    ];
    for (text, wanted) in cases {
        let d = parse_func::<Det>(text, FILE).expect_err(text);
        assert!(d.title.contains(wanted), "{text}\n{}", d.title);
        assert_eq!(d.code.0, "E0901");
    }
    let d = parse_func::<Det>("det fn @f(%x: float) -> () { %y = sigmoud %x : float ret }", FILE).expect_err("misspelt");
    assert_eq!(d.help.as_deref(), Some("did you mean `sigmoid`?"));
}

#[test]
fn nesting_has_a_limit() {
    let text = |depth: usize| {
        let (open, close) = ("if true { ".repeat(depth), "ret } else { ret } ".repeat(depth));
        format!("det fn @f() -> () {{ {open}{close}ret }}")
    };
    assert!(parse_func::<Det>(&text(super::MAX_DEPTH - 1), FILE).is_ok());
    let d = parse_func::<Det>(&text(100_000), FILE).expect_err("too deep");
    assert!(d.title.contains("nested"));
}

#[test]
fn names_are_stable_and_literals_exact() {
    let mut b: crate::Builder<Det> = crate::Builder::new("odd name");
    let x = b.param("k.3", Ty::FLOAT).into();
    let y = b.neg(x);
    for v in [0.1, -0.0, 1e300, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 5e-324] {
        b.add(y, crate::Atom::float(v));
    }
    b.func.vars[1].name = "k".to_string();
    b.func.vars[2].name = "a b%".to_string();
    let f = b.finish(vec![y]);
    let text = f.to_string();
    assert!(text.starts_with("det fn @\"odd name\"(%k: float) -> (float) {\n  %k.1 = neg %k : float\n  %a_b_ = add %k.1, 0.1"));
    let again: Func<Det> = parse_func(&text, FILE).expect("parses");
    assert_eq!(again.to_string(), text);
    for bits in ["-0.0", "1e300", "2.2250738585072014e-308", "inf", "-inf", "nan", "5e-324"] {
        assert!(text.contains(&format!(", {bits} :")), "{bits} in\n{text}");
    }
}
