//! The table is complete and well formed. Values and derivatives are tested where there are engines to run them.

use super::*;
use crate::{Op, Ty};
use std::collections::HashSet;

fn rows() -> impl Iterator<Item = &'static PrimDef> {
    PRIMS.iter().flat_map(|t| t.iter())
}

#[test]
fn every_primitive_has_exactly_one_row() {
    let mut ids: Vec<usize> = rows().map(|r| r.prim as usize).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..=Prim::ToInt as usize).collect::<Vec<_>>());
    for r in rows() {
        assert_eq!((r.prim.def().prim, r.prim.name()), (r.prim, r.name));
        assert_eq!(Prim::by_name(r.name), Some(r.prim));
    }
    assert_eq!(rows().map(|r| r.name).collect::<HashSet<_>>().len(), ids.len(), "two rows share a name");
}

#[test]
fn signatures_are_well_formed() {
    for r in rows() {
        let sig = r.prim.sig();
        let words = ["real", "positive", "unit", "int", "bool", "num", "any", "interval", "inf"];
        let (params, result) = r.sig.split_once(" -> ").expect(r.name);
        assert!(words.contains(&result), "{}", r.sig);
        assert!(!sig.params.is_empty() && params.matches(':').count() == sig.params.len(), "{}", r.sig);
        for p in &sig.params {
            assert!(p.name.chars().all(|c| c.is_ascii_lowercase()), "{}", r.sig);
        }
        let classes = params.split(&[':', ',', '(', ')']).map(str::trim).filter(|w| !w.is_empty());
        for word in classes {
            let known = words.contains(&word) || sig.params.iter().any(|p| p.name == word) || word.parse::<f64>().is_ok();
            assert!(known, "`{word}` in {}", r.sig);
        }
        // A shared class in the result must be fixed by an operand.
        if matches!(sig.result, Elem::Num | Elem::Any) {
            assert!(sig.params.iter().any(|p| p.elem == sig.result), "{}", r.sig);
        }
    }
}

#[test]
fn rows_are_documented_and_kernels_fit() {
    for r in rows() {
        assert!(r.doc.ends_with('.') && !r.doc.contains("  "), "{}", r.name);
        assert!(!r.example.0.is_empty());
        match r.prim.sig().result {
            Elem::Bool => assert!(matches!(r.example.1, "true" | "false"), "{}", r.name),
            Elem::Int => assert!(r.example.1.parse::<i64>().is_ok(), "{}", r.name),
            _ => assert!(r.example.1.parse::<f64>().is_ok(), "{}", r.name),
        }
        if let Lower::Kernel(k) = r.lower {
            let inputs = k.sig().args.iter().filter(|a| matches!(a.kind, ppl_abi::ArgKind::In(_))).count();
            assert_eq!(inputs, r.prim.sig().params.len(), "{}", r.name);
        }
    }
}

/// Runs a row's rule on operands of which those in `arrays` have shape `[3]`.
fn cotangents(r: &PrimDef, rule: VjpRule, arrays: usize) {
    let sig = r.prim.sig();
    let mut b: Builder<Det> = Builder::new("f");
    let args: Vec<Atom> = sig
        .params
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let dtype = match p.elem {
                Elem::Int => DType::Int,
                Elem::Bool => DType::Bool,
                _ => DType::Float,
            };
            let shape = if arrays >> i & 1 == 1 { vec![3] } else { vec![] };
            b.param(p.name.clone(), Ty::new(dtype, shape)).into()
        })
        .collect();
    let y = b.prim(r.prim, &args);
    let ty = b.ty(y);
    let ct = b.param("ct", ty.clone()).into();
    let out = rule(&mut b, &args, y, ct);
    assert_eq!(out.len(), args.len(), "{}: one entry per operand", r.name);
    for (x, d) in args.iter().zip(&out) {
        if b.ty(*x).dtype != DType::Float {
            assert!(d.is_none(), "{}: a cotangent for an operand that is not real", r.name);
        }
        if let Some(d) = d {
            assert_eq!(b.ty(*d), ty, "{}: cotangents have the result's type", r.name);
        }
    }
    let f = b.finish(out.into_iter().flatten().collect());
    for stmt in &f.body.stmts {
        if let Op::Prim(p, args) = &stmt.op {
            let dtypes: Vec<DType> = args.iter().map(|a| f.atom_ty(*a).dtype).collect();
            assert!(p.result_dtype(&dtypes).is_some(), "{}: {} of {dtypes:?}", r.name, p.name());
        }
    }
}

#[test]
fn rules_give_one_cotangent_per_operand_of_the_results_type() {
    for r in rows() {
        let n = r.prim.sig().params.len();
        match r.vjp {
            Vjp::Rule(rule) => (0..1 << n).for_each(|arrays| cotangents(r, rule, arrays)),
            Vjp::Zero => {}
            Vjp::None(why) => assert!(!why.is_empty(), "{}", r.name),
        }
    }
}

#[test]
fn result_types_follow_the_classes() {
    use DType::{Bool, Float, Int};
    assert_eq!(Prim::Add.result_dtype(&[Int, Int]), Some(Int));
    assert_eq!(Prim::Add.result_dtype(&[Int, Float]), None);
    assert_eq!(Prim::Add.result_dtype(&[Bool, Bool]), None);
    assert_eq!(Prim::Lt.result_dtype(&[Int, Int]), Some(Bool));
    assert_eq!(Prim::Select.result_dtype(&[Bool, Int, Int]), Some(Int));
    assert_eq!(Prim::Select.result_dtype(&[Bool, Int, Float]), None);
    assert_eq!(Prim::ToReal.result_dtype(&[Bool]), Some(Float));
    assert_eq!(Prim::Exp.result_dtype(&[Float, Float]), None);
}

#[test]
fn domains_are_read() {
    assert_eq!(Prim::Log1p.sig().params[0].domain, Domain::Interval(-1.0, f64::INFINITY));
    assert_eq!(Prim::BetaInc.sig().params[2].domain, Domain::Interval(0.0, 1.0));
    assert_eq!(Prim::Exp.sig().params[0].domain, Domain::All);
}
