//! Value-only runs that share one text: right, and linear in the number of choices.

mod common;

use common::{Value, run};
use ppl_core::{Block, Det, Est, Func, Module, Op};
use ppl_transform::{batch::batch, inline, strategies, vjp::vjp};

const LIBRARY: &str = include_str!("estimators/library.core");

fn module(programs: &str) -> Module {
    let m = ppl_core::parse_module(&format!("{LIBRARY}\n{programs}"), ppl_diag::FileId(0)).unwrap_or_else(|e| panic!("{e:?}"));
    m.verify().unwrap_or_else(|e| panic!("{e:?}"));
    m
}

fn surrogate(m: &Module) -> Func<Det> {
    let f: &Func<Est> = m.ests.iter().find(|f| f.name == "objective").expect("an objective");
    let flat = inline(m, f).unwrap_or_else(|e| panic!("{e:?}"));
    let f = strategies(m, &flat, 0).unwrap_or_else(|e| panic!("{e:?}"));
    ppl_core::verify(m, &f).unwrap_or_else(|e| panic!("{e:?}\n{}", ppl_core::print_func(&f, Some(m))));
    f
}

fn gradient(m: &Module, f: &Func<Det>) -> Func<Det> {
    let batched = batch(f.clone());
    ppl_core::verify(m, &batched).unwrap_or_else(|e| panic!("{e:?}\n{}", ppl_core::print_func(&batched, Some(m))));
    vjp(&batched, &[0, 1], 0).unwrap_or_else(|e| panic!("{e:?}"))
}

fn reseed(f: &Func<Det>, seed: u64) -> Func<Det> {
    fn walk(b: &mut Block<Det>, seed: u64) {
        for s in &mut b.stmts {
            if let Op::Random(r) = &mut s.op {
                r.site = r.site.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
            ppl_core::op_blocks_mut(&mut s.op).into_iter().for_each(|b| walk(b, seed));
        }
    }
    let mut f = f.clone();
    walk(&mut f.body, seed);
    f
}

fn size(b: &Block<Det>) -> usize {
    b.stmts.iter().map(|s| 1 + ppl_core::op_blocks(&s.op).into_iter().map(size).sum::<usize>()).sum()
}

/// `n` flips, each with a probability that depends on the one before and a cost of its own; `%c` is their sum.
fn steps(n: usize, by: &str) -> String {
    let mut out = String::new();
    for i in 0..n {
        let p = if i == 0 { "%p".to_string() } else { format!("%p{i}") };
        if i > 0 {
            out += &format!("%p{i} = select %b{}, 0.8, %p : float\n", i - 1);
        }
        out += &format!("%b{i} = sample dist@1({p}) as q.b{i} by {by} : bool\n%c{i} = select %b{i}, %w, 0.5 : float\n");
        let before = if i == 0 { "0.0".to_string() } else { format!("%s{}", i - 1) };
        out += &format!("%s{i} = add {before}, %c{i} : float\n");
    }
    out
}

fn line(n: usize, by: &str) -> Module {
    let last = n - 1;
    module(&format!("est fn @objective(%p: float, %w: float) -> (float) {{\n{}ret %s{last}\n}}", steps(n, by)))
}

fn plate(n: usize, by: &str) -> Module {
    let last = n - 1;
    module(&format!(
        "est fn @objective(%p: float, %w: float) -> (float) {{
           %all = map %m in 3 : float[3] {{
             {}
             ret %s{last}
           }}
           %t = reduce sum %all axes [0] : float
           ret %t
         }}",
        steps(n, by)
    ))
}

/// Value and gradient of the expected cost of a chain, times `k`.
fn exact(n: usize, k: f64, x: &[f64; 2]) -> [f64; 3] {
    let value = |p: f64, w: f64| {
        let (mut on, mut total) = (0.0, 0.0);
        for _ in 0..n {
            on = on * 0.8 + (1.0 - on) * p;
            total += on * w + (1.0 - on) * 0.5;
        }
        k * total
    };
    let h = 1e-5;
    let (p, w) = (x[0], x[1]);
    [value(p, w), (value(p + h, w) - value(p - h, w)) / (2.0 * h), (value(p, w + h) - value(p, w - h)) / (2.0 * h)]
}

fn check(m: &Module, want: [f64; 3], x: &[f64; 2], runs: u64) {
    let g = gradient(m, &surrogate(m));
    let mut sums = [(0.0, 0.0); 3];
    for seed in 0..runs {
        let out = run(&reseed(&g, seed), &[Value::scalar(x[0]), Value::scalar(x[1])]);
        for (s, v) in sums.iter_mut().zip(&out) {
            s.0 += v.item();
            s.1 += v.item() * v.item();
        }
    }
    let n = runs as f64;
    for ((a, b), want) in sums.into_iter().zip(want) {
        let (mean, se) = (a / n, ((b / n - (a / n).powi(2)).max(0.0) / n).sqrt());
        assert!((mean - want).abs() <= 4.5 * se + 1e-6, "{mean} +- {se}, expected {want}");
    }
}

#[test]
fn chains_are_unbiased() {
    let x = [0.3, 1.7];
    check(&line(12, "strategy@3()"), exact(12, 1.0, &x), &x, 800);
}

#[test]
fn chains_in_plates_are_unbiased() {
    let x = [0.3, 1.7];
    check(&plate(12, "strategy@3()"), exact(12, 3.0, &x), &x, 400);
}

#[test]
fn text_is_linear_in_the_number_of_choices() {
    for by in ["strategy@3()", "strategy@4(0.0)"] {
        for make in [line, plate] {
            let [a, b] = [40, 80].map(|n| size(&surrogate(&make(n, by)).body));
            assert!(b * 10 < a * 21, "{by}: {a} statements of 40 choices, {b} of 80");
        }
    }
}

#[test]
fn lanes_agree_with_runs_of_their_own() {
    // Few choices have texts of their own, many share one: the same draws, so the same numbers. The chain of 7 is the beginning of one of 8.
    let x = [Value::scalar(0.3), Value::scalar(1.7)];
    let cut = |n: usize| {
        let body = steps(n, "strategy@3()");
        // Costs after the seventh choice are constants: they differ by what `%w` is multiplied by only.
        module(&format!("est fn @objective(%p: float, %w: float) -> (float) {{\n{body}ret %s6\n}}"))
    };
    let (short, long) = (gradient(&cut(7), &surrogate(&cut(7))), gradient(&cut(8), &surrogate(&cut(8))));
    for seed in 0..20 {
        let (a, b) = (run(&reseed(&short, seed), &x), run(&reseed(&long, seed), &x));
        for (a, b) in a.iter().zip(&b) {
            assert!((a.item() - b.item()).abs() < 1e-12, "{a:?} {b:?}");
        }
    }
}

#[test]
fn costs_that_a_choice_does_not_reach_are_not_counted() {
    // An infinite cost of the first choice: in the lanes of others it is selected away, not subtracted.
    let n = 10;
    let make = |cost: &str| {
        let body = steps(n, "strategy@3()").replacen("dist@1(%p)", "dist@1(0.5)", 1);
        let last = n - 1;
        module(&format!(
            "est fn @objective(%p: float, %w: float) -> (float) {{
               {body}
               %f = select %b0, {cost}, {cost} : float
               %g = log %f : float
               %all = add %s{last}, %g : float
               ret %all
             }}"
        ))
    };
    let [infinite, finite] = ["0.0", "2.0"].map(|cost| gradient(&make(cost), &surrogate(&make(cost))));
    for seed in 0..20 {
        let x = [Value::scalar(0.3), Value::scalar(1.7)];
        let (a, b) = (run(&reseed(&infinite, seed), &x), run(&reseed(&finite, seed), &x));
        assert!((a[1].item() - b[1].item()).abs() < 1e-12 && (a[2].item() - b[2].item()).abs() < 1e-12, "{a:?} {b:?}");
    }
}
