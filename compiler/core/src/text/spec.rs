//! The specification's page is true: its programs are right and print as they stand, its table is the one in the code.

use crate::{Lower, PRIMS, Vjp, parse_module};
use ppl_diag::FileId;

const PAGE: &str = include_str!("../../../../spec/ir.md");
const START: &str = "<!-- primitives: generated from the table -->\n";
const END: &str = "<!-- end -->";

#[test]
fn programs_are_right_and_print_as_they_stand() {
    let programs: Vec<&str> = PAGE.split("```core\n").skip(1).filter_map(|p| p.split("```").next()).collect();
    assert!(programs.len() >= 2);
    for text in programs {
        let m = parse_module(text, FileId(0)).unwrap_or_else(|d| panic!("{}\n{text}", d.title));
        assert_eq!(m.verify(), Ok(()));
        assert_eq!(m.to_string(), text);
    }
}

#[test]
fn every_operation_is_described() {
    for op in super::OPS {
        assert!(["`", " ", "= "].iter().any(|before| PAGE.contains(&format!("{before}{op} "))), "`{op}` is missing");
    }
}

#[test]
fn the_table_of_primitives_is_current() {
    let mut table = String::from("| name | signature | value | adjoint | computed |\n|---|---|---|---|---|\n");
    for r in PRIMS.iter().flat_map(|t| t.iter()) {
        let adjoint = match r.vjp {
            Vjp::Rule(_) => "yes",
            Vjp::Zero => "0",
            Vjp::None(_) => "none",
        };
        let lower = match r.lower {
            Lower::Inline => "inline",
            Lower::Kernel(_) => "kernel",
        };
        table += &format!("| `{}` | `{}` | {} | {adjoint} | {lower} |\n", r.name, r.sig, r.doc.replace('|', "\\|"));
    }
    let (before, rest) = PAGE.split_once(START).expect("the page has the table's start");
    let (found, after) = rest.split_once(END).expect("the page has the table's end");
    if std::env::var_os("PPL_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/ir.md");
        std::fs::write(path, format!("{before}{START}{table}{END}{after}")).expect("the page can be written");
    } else {
        assert_eq!(found, table, "PPL_BLESS=1 writes the table anew");
    }
}
