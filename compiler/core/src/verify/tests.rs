//! Each rule is broken once, and the fault names it.

use super::*;
use crate::{Builder, Det, DetId, Gen, parse_func, parse_module};
use ppl_diag::FileId;

const GOLDEN: &str = include_str!("../../tests/golden/stages.core");

fn golden() -> Module {
    parse_module(GOLDEN, FileId(0)).expect("the golden module parses")
}

/// Faults of the golden module with `from` replaced by `to`.
fn faults_after(from: &str, to: &str) -> Vec<String> {
    assert_eq!(GOLDEN.matches(from).count(), 1, "`{from}` is not unique");
    let text = GOLDEN.replace(from, to);
    let m = parse_module(&text, FileId(0)).unwrap_or_else(|d| panic!("{from}: {}", d.title));
    m.verify().err().into_iter().flatten().map(|f| f.text).collect()
}

#[track_caller]
fn breaks(from: &str, to: &str, wanted: &str) {
    let faults = faults_after(from, to);
    assert!(faults.iter().any(|f| f.contains(wanted)), "{from} -> {to}: {faults:#?}");
}

#[test]
fn v2_scopes() {
    breaks("  ret %s, %ys, %m\n", "  ret %x, %ys, %m\n", "%x is used outside the block that defines it");
    breaks("ret %l.2", "ret %l.1", "%l.1 is used outside the block that defines it");
    // A loop's index ends with its loop.
    breaks("%k.1 = gather %k, %i.1 batch 0", "%k.1 = gather %k, %j batch 0", "%j is used outside");
}

#[test]
fn v1_v2_definitions() {
    let f = |build: &dyn Fn(&mut Builder<Det>, Var) -> Atom| {
        let mut b: Builder<Det> = Builder::new("f");
        let x = b.param("x", Ty::FLOAT);
        let y = build(&mut b, x);
        let f = b.finish(vec![y]);
        verify(&Module::default(), &f).err().into_iter().flatten().map(|f| f.text).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(f(&|b, x| b.neg(x.into())), "");
    let twice = f(&|b, x| {
        b.push(Stmt { outs: vec![x], op: Op::Stop(Atom::float(1.0)), span: Span::NONE });
        x.into()
    });
    assert_eq!(twice, "in `f`: output %x is defined a second time");
    let early = f(&|b, _| {
        let later = b.fresh("later", Ty::FLOAT);
        let y = b.neg(later.into());
        b.push(Stmt { outs: vec![later], op: Op::Stop(Atom::float(1.0)), span: Span::NONE });
        y
    });
    assert_eq!(early, "in `f`: operand: %later is used before it is defined");
    assert_eq!(f(&|_, _| Var(99).into()), "in `f`: result of a block: %?99 does not exist");
    let unknown_out = f(&|b, x| {
        b.push(Stmt { outs: vec![Var(99)], op: Op::Stop(Atom::float(1.0)), span: Span::NONE });
        x.into()
    });
    assert!(unknown_out.contains("output %99 does not exist"), "{unknown_out}");
}

#[test]
fn v3_types_of_outputs() {
    breaks(
        "%tr = transpose %x perm [1, 0] : float[3,2]",
        "%tr = transpose %x perm [1, 0] : float[2,3]",
        "%tr should be float[3,2]",
    );
    breaks(
        "%u = random uniform() shape [] site 0x1 : float",
        "%u = random uniform() shape [2] site 0x1 : float",
        "%u should be float[2]",
    );
    breaks("%cost = continue %b : float", "%cost, %more = continue %b : float, float", "1 results");
}

#[test]
fn o1_elementwise() {
    breaks("%e = sub %c, %stopped", "%e = sub %c, 1", "`sub` is (a: num, b: num) -> num, not of (float, int)");
    breaks("%n.2 = add %n.1, 1 : int", "%n.2 = add %n.1, 1, 1 : int", "not of (int, int, int)");
    breaks("%k.2 = to_real %k.1 : float", "%q.1 = add %a, %p : float[4]\n    %k.2 = to_real %k.1 : float", "which differ");
}

#[test]
fn o2_arrays() {
    breaks("gather %x, %idx batch 1", "gather %x, %idx batch 2", "axis 2 of float[2,3], which has 2 axes");
    breaks("contract [(1, 1)]", "contract [(1, 0)]", "whose size differs");
    breaks("slice %rs axis 0 start 1 len 4", "slice %rs axis 0 start 3 len 4", "4 elements from 3 along axis 0");
}

#[test]
fn o3_branches() {
    breaks("%l = if %x : float {", "%l = if %p : float {", "the condition is float, not bool");
    breaks("ret %l.2", "ret", "the blocks return (float) and ()");
}

#[test]
fn o4_loops() {
    breaks("ret %s.2, %n.2, %x", "ret %s.2, %e, %x", "a carry is int in the body, starts as int and continues as float");
    breaks("over (%x: float = %a)", "over (%x: float = %p)", "4 slices of float do not make float[3]");
    breaks("ret %s.2, %n.2, %x", "ret %s.2", "2 values are carried, but the body returns 1");
    let mut b: Builder<Det> = Builder::new("f");
    let index = b.fresh("i", Ty::FLOAT);
    b.begin();
    let body = b.end(vec![index.into()]);
    b.map(2, index, body);
    let f = b.finish(vec![]);
    let faults = verify(&Module::default(), &f).expect_err("a real index");
    assert!(faults[0].text.contains("the loop's index is float, not int"), "{}", faults[0]);
}

#[test]
fn o5_calls() {
    breaks(
        "call det@0(%t.1, inf, 1e-300)",
        "call det@0(%t.1, inf)",
        "`normal.log_density` takes (float, float, float), not (float, float)",
    );
    breaks("call est@4(%x, %p)", "call est@9(%x, %p)", "est@9 does not exist");
    breaks("call gen@0(0.0) at s", "call gen@7(0.0) at s", "gen@7 does not exist");
}

#[test]
fn o6_distributions_and_strategies() {
    breaks("sample dist@0(%mu, 1.0) at z", "sample dist@0(%mu) at z", "`normal` takes (float, float), not (float)");
    breaks(
        "by strategy@1(0.5)",
        "by strategy@1(true)",
        "strategy `reinforce` takes (float, float, float), not (float, float, bool)",
    );
    breaks("log_density dist@1(true; 0.5)", "log_density dist@1(1.0; 0.5)", "`flip` gives bool, not float");
    breaks("%p = log_density dist@1(true; 0.5)", "%p = log_density dist@2(0.5; 0.5)", "has no log density");
    breaks("%b = draw dist@1(%p) : bool", "%b = path dist@1(%p) : bool", "derivatives do not flow through draws of `flip`");
    breaks("%n = sample dist@3()", "%n = sample dist@8()", "dist@8 does not exist");
}

#[test]
fn o7_traces() {
    breaks("density gen@0(%t; %z_)", "density gen@0(%t; true)", "the trace takes (float), not (bool)");
    breaks("%z, %z_, %lq = sim gen@0(%t) : float, float, float", "%z, %z_ = sim gen@0(%t) : float, float", "3 results");
    // A trace of a function that samples from nothing known has no list of choices, and asking for it does not panic.
    breaks("sample dist@0(%mu, 1.0) at z", "sample dist@77(%mu, 1.0) at z", "dist@77 does not exist");
}

#[test]
fn o8_factors() {
    breaks("factor %w", "factor %m", "`factor` takes (float), not (float[3])");
}

#[test]
fn p1_addresses() {
    breaks("at y[%i, %j]", "at y[%i]", "the index of each enclosing loop once");
    breaks("at y[%i, %j]", "at y[%i, %i]", "the index of each enclosing loop once");
    breaks("report total[%i] = %t", "report total = %t", "the index of each enclosing loop once");
    assert!(faults_after("at y[%i, %j]", "at y[%j, %i]").is_empty(), "the order of axes is free");
}

#[test]
fn p2_lanes() {
    breaks("lanes (1 in 2, %j in 3)", "lanes (2 in 2, %j in 3)", "the lanes are not indices of enclosing loops");
    breaks("lanes (%i.1 in 2, %j in 3)", "lanes (%j in 3, %i.1 in 2)", "outermost first");
    breaks("lanes (%i.1 in 2, %j in 3)", "lanes (%i.1 in 5, %j in 3)", "with their lengths");
    breaks("times (%t in 4)", "times (%x in 4)", "a position in a loop takes (int), not (float)");
}

#[test]
fn m1_m2_m3_m4_modules() {
    breaks(
        "log_density det@0",
        "log_density det@2",
        "distribution `normal`: `log_density` is `flip.log_density`, whose types do not fit",
    );
    breaks("sample det@3", "sample det@33", "`sample` is det@33, which does not exist");
    breaks("auto strategy@0, strategy@1", "auto strategy@2", "distribution `normal`: strategy@2 does not take its parameters");
    breaks("support interval(0.0, _)", "support interval(0.0, _) pathwise", "is pathwise without a `sample` program");
    breaks("strategy @reparam est@1", "strategy @reparam est@11", "its program is est@11, which does not exist");
    breaks("strategy @reparam est@1", "strategy @reparam est@4", "strategy `reparam`: its program never continues");
    breaks("strategy @reparam est@1", "strategy @reparam est@4", "`reparam` continues, but is not a strategy's program");
    breaks("%other = continue %x fresh", "%other = continue true fresh", "continues with values of different types");
    breaks(
        "%s = call gen@0(0.0) at s : float",
        "%s = call gen@0(0.0) at s : float\n  call gen@1(%xs) at t",
        "gen@1 calls itself",
    );
}

#[test]
fn faults_have_places_and_show_the_statement() {
    let text = "gen fn @f(%x: float[2]) -> () {\n  factor %x\n  ret\n}";
    let f = parse_func::<Gen>(text, FileId(3)).expect("parses");
    let faults = verify(&golden(), &f).expect_err("a factor is a scalar");
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].to_string(), "in `f`: `factor %x`: `factor` takes (float), not (float[2])");
    assert_eq!(&text[faults[0].span.start as usize..faults[0].span.end as usize], "factor %x");
    assert_eq!(faults[0].diagnostic().code.0, "E0902");
    assert!(ppl_diag::code_info("E0902").is_some());
}

#[test]
fn programs_built_wrongly_do_not_panic() {
    let mut b: Builder<Det> = Builder::new("f");
    b.emit1(Op::Call { callee: DetId(5), args: vec![Var(1000).into()] }, "c", Ty::FLOAT);
    let f = b.finish(vec![Var(7).into()]);
    assert!(verify(&Module::default(), &f).is_err());
    let _ = f.to_string();
}
