//! The generator of random programs covers the language, and its programs are valid and finite.

use ppl_abi::Precision;
use ppl_core::{Block, Det, Module, Op, PRIMS, Prim, op_blocks, verify};
use ppl_interp::Interp;
use ppl_interp::testgen::{GenOptions, arguments, program};
use std::collections::BTreeSet;

fn collect(b: &Block<Det>, prims: &mut BTreeSet<Prim>, ops: &mut BTreeSet<String>) {
    for s in &b.stmts {
        match &s.op {
            Op::Prim(p, _) => {
                prims.insert(*p);
            }
            Op::Random(r) => {
                ops.insert(r.kind.name().to_string());
            }
            op => {
                let text = format!("{op:?}");
                ops.insert(text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string());
            }
        }
        op_blocks(&s.op).into_iter().for_each(|b| collect(b, prims, ops));
    }
}

#[test]
fn every_primitive_and_operation_appears_and_programs_are_valid() {
    let (mut prims, mut ops) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..400 {
        let f = program(seed, GenOptions::default());
        if let Err(faults) = verify(&Module::default(), &f) {
            panic!("seed {seed}: {}", faults[0]);
        }
        assert_eq!(f, program(seed, GenOptions::default()), "a program is a function of its seed");
        collect(&f.body, &mut prims, &mut ops);
    }
    let missing: Vec<&str> = PRIMS.iter().flat_map(|t| t.iter()).filter(|r| !prims.contains(&r.prim)).map(|r| r.name).collect();
    assert!(missing.is_empty(), "never generated: {missing:?}");
    let all = [
        "ArgMax",
        "Broadcast",
        "Concat",
        "CumSum",
        "Dot",
        "Gather",
        "If",
        "Iota",
        "Linalg",
        "Map",
        "Pad",
        "Reduce",
        "Reshape",
        "Reverse",
        "Scan",
        "ScatterAdd",
        "Slice",
        "Stop",
        "Transpose",
        "binomial",
        "categorical",
        "gamma",
        "normal",
        "poisson",
        "uniform",
    ];
    assert_eq!(ops.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn programs_are_finite_in_single_precision_too() {
    for seed in 0..100 {
        let f = program(seed, GenOptions::default());
        let args = arguments(&f, seed, Precision::F32).expect("arguments");
        let interp = Interp::new(&[]).precision(Precision::F32);
        let found = interp.first_non_finite(&f, &args).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(found, None, "seed {seed}");
    }
}
