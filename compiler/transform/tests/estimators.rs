//! From generative and estimator programs to surrogates: values, gradients and structure.

mod common;

use common::{Value, run};
use ppl_core::{Block, Det, Est, Func, Module, Op};
use ppl_transform::{batch::batch, inline, smooth, strategies, strategies_value_only, vjp::vjp};

/// Distributions 0 normal, 1 flip, 2 categorical of 3; strategies 0 reparam, 1 reinforce (normal), 2 enumerate, 3 measure_valued,
/// 4 reinforce (flip), 5 enumerate (categorical), 6 importance (flip).
const LIBRARY: &str = include_str!("estimators/library.core");

fn module(programs: &str) -> Module {
    let m = ppl_core::parse_module(&format!("{LIBRARY}\n{programs}"), ppl_diag::FileId(0)).unwrap_or_else(|e| panic!("{e:?}"));
    m.verify().unwrap_or_else(|e| panic!("{e:?}"));
    m
}

fn objective(m: &Module) -> Func<Est> {
    let f = m.ests.iter().find(|f| f.name == "objective").expect("an objective");
    let flat = inline(m, f).unwrap_or_else(|e| panic!("{e:?}"));
    ppl_core::verify(m, &flat).unwrap_or_else(|e| panic!("{e:?}\n{}", ppl_core::print_func(&flat, Some(m))));
    flat
}

fn surrogate(m: &Module) -> Func<Det> {
    let f = strategies(m, &objective(m), 0).unwrap_or_else(|e| panic!("{e:?}"));
    ppl_core::verify(m, &f).unwrap_or_else(|e| panic!("{e:?}\n{}", ppl_core::print_func(&f, Some(m))));
    f
}

fn gradient(m: &Module, f: &Func<Det>, wrt: &[usize]) -> Func<Det> {
    let batched = batch(f.clone());
    let text = || format!("{}\n{}", ppl_core::print_func(f, Some(m)), ppl_core::print_func(&batched, Some(m)));
    ppl_core::verify(m, &batched).unwrap_or_else(|e| panic!("{e:?}\n{}", text()));
    vjp(&batched, wrt, 0).unwrap_or_else(|e| panic!("{e:?}\n{}", text()))
}

/// The same program with other random numbers.
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

/// Means and standard errors of each result over `n` seeds.
fn means(f: &Func<Det>, args: &[f64], n: u64) -> Vec<(f64, f64)> {
    let args: Vec<Value> = args.iter().map(|x| Value::scalar(*x)).collect();
    let mut sums: Vec<(f64, f64)> = Vec::new();
    for seed in 0..n {
        let out = run(&reseed(f, seed), &args);
        sums.resize(out.len(), (0.0, 0.0));
        for (s, x) in sums.iter_mut().zip(&out) {
            let x = x.item();
            s.0 += x;
            s.1 += x * x;
        }
    }
    let n = n as f64;
    sums.iter().map(|(a, b)| (a / n, ((b / n - (a / n).powi(2)).max(0.0) / n).sqrt())).collect()
}

/// Value and gradient have these expectations, within 4.5 standard errors.
fn check(m: &Module, args: &[f64], n: u64, exact: impl Fn(&[f64]) -> f64) {
    let f = surrogate(m);
    let wrt: Vec<usize> = (0..args.len()).collect();
    let g = gradient(m, &f, &wrt);
    let got = means(&g, args, n);
    let h = 1e-5;
    let mut want = vec![exact(args)];
    for i in 0..args.len() {
        let at = |d: f64| {
            let mut a = args.to_vec();
            a[i] += d;
            exact(&a)
        };
        want.push((at(h) - at(-h)) / (2.0 * h));
    }
    for (k, ((mean, se), want)) in got.iter().zip(&want).enumerate() {
        assert!(
            (mean - want).abs() <= 4.5 * se + 1e-6 * (1.0 + want.abs()),
            "result {k}: {mean} +- {se}, expected {want}\n{}",
            ppl_core::print_func(&f, Some(m))
        );
    }
    let value = strategies_value_only(m, &objective(m)).unwrap_or_else(|e| panic!("{e:?}"));
    ppl_core::verify(m, &value).unwrap_or_else(|e| panic!("{e:?}"));
    let (mean, se) = means(&value, args, n)[0];
    assert!((mean - want[0]).abs() <= 4.5 * se + 1e-9, "value only: {mean} +- {se}, expected {}", want[0]);
}

fn flip_objective(strategy: &str) -> Module {
    module(&format!(
        "est fn @objective(%p: float, %a: float) -> (float) {{
           %b = sample dist@1(%p) as q.b by {strategy} : bool
           %hit = mul %a, %a : float
           %miss = mul 0.3, %a : float
           %c = select %b, %hit, %miss : float
           ret %c
         }}"
    ))
}

#[test]
fn flip_by_every_strategy() {
    let exact = |x: &[f64]| x[0] * x[1] * x[1] + (1.0 - x[0]) * 0.3 * x[1];
    for s in ["strategy@2()", "strategy@3()", "strategy@4(0.0)", "strategy@4(0.5)", "strategy@6()"] {
        check(&flip_objective(s), &[0.3, 1.7], 2000, exact);
    }
    // Enumeration has no variance at all.
    let f = surrogate(&flip_objective("strategy@2()"));
    assert!(means(&f, &[0.3, 1.7], 50)[0].1 < 1e-8);
}

#[test]
fn density_zero_is_skipped() {
    // log(0) where b is true, which has density 0.
    let m = module(
        "est fn @objective(%p: float, %a: float) -> (float) {
           %b = sample dist@1(%p) as q.b by strategy@2() : bool
           %x = select %b, 0.0, %a : float
           %c = log %x : float
           ret %c
         }",
    );
    let g = gradient(&m, &surrogate(&m), &[1]);
    let out = run(&g, &[Value::scalar(0.0), Value::scalar(2.0)]);
    assert!((out[0].item() - 2.0f64.ln()).abs() < 1e-12 && (out[1].item() - 0.5).abs() < 1e-12, "{out:?}");
}

#[test]
fn normal_by_every_strategy() {
    for s in ["strategy@0()", "strategy@1(0.0)", "strategy@1(2.0)"] {
        let m = module(&format!(
            "est fn @objective(%mu: float, %sigma: float) -> (float) {{
               %x = sample dist@0(%mu, %sigma) as q.x by {s} : float
               %c = square %x : float
               ret %c
             }}"
        ));
        check(&m, &[0.7, 1.3], 4000, |x| x[0] * x[0] + x[1] * x[1]);
    }
}

/// A chain of dependent flips: later choices' parameters depend on earlier ones.
fn chain(strategies: [&str; 3]) -> Module {
    let [a, b, c] = strategies;
    module(&format!(
        "est fn @objective(%p: float, %w: float) -> (float) {{
           %a = sample dist@1(%p) as q.a by {a} : bool
           %pb = select %a, 0.9, %p : float
           %b = sample dist@1(%pb) as q.b by {b} : bool
           %pc = select %b, %p, 0.2 : float
           %c = sample dist@1(%pc) as q.c by {c} : bool
           %ra = select %a, %w, 1.0 : float
           %rb = select %b, 2.0, %w : float
           %rc = select %c, %w, -1.0 : float
           %ab = mul %ra, %rb : float
           %t = add %ab, %rc : float
           ret %t
         }}"
    ))
}

fn chain_exact(x: &[f64]) -> f64 {
    let (p, w) = (x[0], x[1]);
    let mut total = 0.0;
    for (a, b, c) in (0..8).map(|i| (i & 1 > 0, i & 2 > 0, i & 4 > 0)) {
        let pr = |p: f64, b: bool| if b { p } else { 1.0 - p };
        let weight = pr(p, a) * pr(if a { 0.9 } else { p }, b) * pr(if b { p } else { 0.2 }, c);
        total += weight * ((if a { w } else { 1.0 }) * (if b { 2.0 } else { w }) + if c { w } else { -1.0 });
    }
    total
}

#[test]
fn nested_choices_in_every_combination() {
    let all = ["strategy@2()", "strategy@3()", "strategy@4(0.3)"];
    for a in all {
        for b in all {
            for c in all {
                check(&chain([a, b, c]), &[0.35, 1.4], 600, chain_exact);
            }
        }
    }
}

#[test]
fn weights_compose_with_scores() {
    check(&chain(["strategy@4(0.0)", "strategy@6()", "strategy@4(0.0)"]), &[0.35, 1.4], 4000, chain_exact);
    check(&chain(["strategy@6()", "strategy@6()", "strategy@3()"]), &[0.35, 1.4], 4000, chain_exact);
}

/// A guide and a model over a plate: lanes stay together from one plate to the other.
fn plates(strategy: &str) -> Module {
    module(&format!(
        "gen fn @model(%w: float) -> () {{
           %m = map %n in 4 : float[4] {{
             %z = sample dist@1(0.4) at z[%n] : bool
             %loc = select %z, %w, 0.0 : float
             %y = sample dist@0(%loc, 1.0) at y[%n] : float
             ret %y
           }}
           ret
         }}
         gen fn @guide(%p: float) -> () {{
           %m = map %n in 4 : bool[4] {{
             %z = sample dist@1(%p) at z[%n] by {strategy} : bool
             ret %z
           }}
           ret
         }}
         est fn @objective(%p: float, %w: float) -> (float) {{
           %z, %lq = sim gen@1(%p) : bool[4], float
           %y = broadcast 0.8 to [4] axes [] : float[4]
           %lp = density gen@0(%w; %z, %y) : float
           %e = sub %lp, %lq : float
           ret %e
         }}"
    ))
}

fn plates_exact(x: &[f64]) -> f64 {
    let (p, w) = (x[0], x[1]);
    let normal = |y: f64, m: f64| -0.5 * (y - m) * (y - m) - 0.5 * (2.0 * std::f64::consts::PI).ln();
    4.0 * (p * (0.4f64.ln() + normal(0.8, w) - p.ln()) + (1.0 - p) * (0.6f64.ln() + normal(0.8, 0.0) - (1.0 - p).ln()))
}

#[test]
fn plates_are_estimated_lane_by_lane() {
    for s in ["strategy@2()", "strategy@3()", "strategy@4(0.0)"] {
        check(&plates(s), &[0.3, 1.1], 800, plates_exact);
    }
    // Plate-local enumeration is exact.
    let m = plates("strategy@2()");
    let g = gradient(&m, &surrogate(&m), &[0, 1]);
    for (_, se) in means(&g, &[0.3, 1.1], 30) {
        assert!(se < 1e-7);
    }
}

#[test]
fn scores_multiply_their_lane_only() {
    // With costs of 1 per lane and one of 1000 in the last, the other lanes' terms must not see the last one's cost.
    let m = module(
        "est fn @objective(%p: float) -> (float) {
           %c = map %n in 5 : float[5] {
             %b = sample dist@1(%p) as q.b by strategy@4(0.0) : bool
             %last = eq %n, 4 : bool
             %scale = select %last, 1000.0, 1.0 : float
             %d = select %b, %scale, 0.0 : float
             ret %d
           }
           %s = reduce sum %c axes [0] : float
           %t = div %s, 5.0 : float
           ret %t
         }",
    );
    let g = gradient(&m, &surrogate(&m), &[0]);
    // The gradient is sum over lanes of scale * b / p / 5: at p = 0.5, a multiple of 2/5 below 2000/5 or above by few.
    for seed in 0..40 {
        let d = run(&reseed(&g, seed), &[Value::scalar(0.5)])[1].item() * 5.0 / 2.0;
        let small = if d > 500.0 { d - 1000.0 } else { d };
        assert!((-1e-6..=4.0 + 1e-6).contains(&small) && (small - small.round()).abs() < 1e-6, "{d}");
    }
}

#[test]
fn scans_sum_costs_from_each_step_on() {
    for s in ["strategy@4(0.0)", "strategy@3()", "strategy@2()"] {
        let steps = 3;
        let m = module(&format!(
            "est fn @objective(%p: float, %w: float) -> (float) {{
               %last, %cs = scan %i in {steps} carry (%s0: bool = false) : bool, float[{steps}] {{
                 %pt = select %s0, 0.8, %p : float
                 %b = sample dist@1(%pt) as q.b by {s} : bool
                 %c = select %b, %w, 0.5 : float
                 ret %b, %c
               }}
               %r = reduce sum %cs axes [0] : float
               %extra = select %last, %w, 0.0 : float
               %t = add %r, %extra : float
               ret %t
             }}"
        ));
        let exact = move |x: &[f64]| {
            let (p, w) = (x[0], x[1]);
            let (mut on, mut total) = (0.0, 0.0);
            for _ in 0..steps {
                on = on * 0.8 + (1.0 - on) * p;
                total += on * w + (1.0 - on) * 0.5;
            }
            total + on * w
        };
        check(&m, &[0.3, 1.7], 1500, exact);
    }
}

fn long_scan(strategy: &str) -> Module {
    module(&format!(
        "est fn @objective(%p: float, %w: float) -> (float) {{
           %s, %cs = scan %t in 40 carry (%c: float = 0.0) : float, float[40] {{
             %b = sample dist@1(%p) as q.b by {strategy} : bool
             %h = mul 0.5, %c : float
             %n = select %b, %w, %h : float
             ret %n, %n
           }}
           %l = reduce sum %cs axes [0] : float
           %r = add %s, %l : float
           ret %r
         }}"
    ))
}

#[test]
fn long_scans_replay_their_later_steps() {
    // The expected carry is p w + (1 - p) / 2 times the one before.
    let exact = |x: &[f64]| {
        let (mut c, mut sum) = (0.0, 0.0);
        for _ in 0..40 {
            c = x[0] * x[1] + (1.0 - x[0]) * 0.5 * c;
            sum += c;
        }
        c + sum
    };
    check(&long_scan("strategy@3()"), &[0.3, 1.7], 400, exact);
}

#[test]
fn long_scans_refuse_differentiated_runs() {
    let m = long_scan("strategy@2()");
    let e = strategies(&m, &objective(&m), 0).expect_err("refused");
    assert_eq!(e[0].code.0, "E0502");
    assert!(e[0].title.contains("q.b"), "{}", e[0].title);
}

/// Lanes that the cost couples: a product of sums.
fn coupled(strategy: &str, lanes: usize) -> Module {
    module(&format!(
        "est fn @objective(%p: float, %w: float) -> (float) {{
           %c = map %n in {lanes} : float[{lanes}] {{
             %b = sample dist@1(%p) as q.b by {strategy} : bool
             %d = select %b, %w, 1.0 : float
             ret %d
           }}
           %t = reduce prod %c axes [0] : float
           ret %t
         }}"
    ))
}

#[test]
fn coupled_lanes() {
    let exact = |x: &[f64]| (x[0] * x[1] + 1.0 - x[0]).powi(3);
    for s in ["strategy@2()", "strategy@3()", "strategy@4(0.0)"] {
        check(&coupled(s, 3), &[0.3, 1.5], 2000, exact);
    }
    // All combinations of a few lanes: no variance. Of many: refused.
    assert!(means(&surrogate(&coupled("strategy@2()", 5)), &[0.3, 1.5], 20)[0].1 < 1e-8);
    let m = coupled("strategy@2()", 20);
    let e = strategies(&m, &objective(&m), 0).expect_err("refused");
    assert_eq!(e[0].code.0, "E0407");
}

#[test]
fn particles_with_log_mean_exp() {
    // Not additive over particles: the whole cost is one term, and each particle's plate is coupled.
    let m = module(
        "est fn @objective(%p: float, %w: float) -> (float) {
           %lw = map %k in 2 : float[2] {
             %b = sample dist@1(%p) as q.b by strategy@3() : bool
             %x = select %b, %w, 0.4 : float
             ret %x
           }
           %e = exp %lw : float[2]
           %s = reduce sum %e axes [0] : float
           %m = div %s, 2.0 : float
           %l = log %m : float
           ret %l
         }",
    );
    let exact = |x: &[f64]| {
        let (p, w) = (x[0], x[1]);
        let f = |a: f64, b: f64| ((a.exp() + b.exp()) / 2.0).ln();
        p * p * f(w, w) + 2.0 * p * (1.0 - p) * f(w, 0.4) + (1.0 - p) * (1.0 - p) * f(0.4, 0.4)
    };
    check(&m, &[0.3, 1.5], 1500, exact);
}

#[test]
fn choices_in_branches() {
    for (a, b) in [("2", "3"), ("3", "2"), ("4(0.0)", "3"), ("3", "4(0.0)"), ("2", "2"), ("4(0.0)", "4(0.0)")] {
        let name = |s: &str| if s.contains('(') { format!("strategy@{s}") } else { format!("strategy@{s}()") };
        let m = module(&format!(
            "est fn @objective(%p: float, %w: float) -> (float) {{
               %a = sample dist@1(%p) as q.a by {} : bool
               %r = if %a : float {{
                 %b = sample dist@1(%p) as q.b by {} : bool
                 %x = select %b, %w, 2.0 : float
                 ret %x
               }} else {{
                 ret 0.7
               }}
               %sq = mul %r, %r : float
               %t = add %sq, %r : float
               ret %t
             }}",
            name(a),
            name(b)
        ));
        check(&m, &[0.4, 1.3], 2000, |x| {
            let f = |r: f64| r * r + r;
            x[0] * (x[0] * f(x[1]) + (1.0 - x[0]) * f(2.0)) + (1.0 - x[0]) * f(0.7)
        });
    }
}

#[test]
fn simulation_and_density_agree() {
    let m = module(
        "gen fn @inner(%mu: float) -> (float) {
           %z = sample dist@0(%mu, 1.5) at z : float
           ret %z
         }
         gen fn @g(%p: float) -> (float) {
           %m = map %i in 2 : float[2] {
             %q = call gen@0(%p) at s[%i] : float
             %last, %h = scan %t in 3 carry (%c: float = 0.0) : float, float[3] {
               %x = sample dist@0(%c, 0.7) at x[%t, %i] : float
               ret %x, %x
             }
             %k = add %q, %last : float
             ret %k
           }
           %v = sample dist@1(0.6) at v : bool
           %r = if %v : float {
             %y = sample dist@0(1.0, 2.0) at y : float
             ret %y
           } else {
             %u = sample dist@1(%p) at u : bool
             ret 0.5
           }
           %s = reduce sum %m axes [0] : float
           %tt = add %s, %r : float
           report total = %tt
           ret %tt
         }
         est fn @objective(%p: float) -> (float, float, float, float, float[3,2], float) {
           %r, %s, %x, %v, %y, %u, %lq = sim gen@1(%p) : float, float[2], float[3,2], bool, float, bool, float
           %r2, %total, %lp = density gen@1(%p; %s, %x, %v, %y, %u) : float, float, float
           ret %lq, %lp, %r, %r2, %x, %total
         }",
    );
    let f = strategies_value_only(&m, &objective(&m)).unwrap_or_else(|e| panic!("{e:?}"));
    ppl_core::verify(&m, &f).unwrap_or_else(|e| panic!("{e:?}"));
    for seed in 0..20 {
        let out = run(&reseed(&f, seed), &[Value::scalar(0.3)]);
        assert!((out[0].item() - out[1].item()).abs() < 1e-9, "{out:?}");
        assert!((out[2].item() - out[3].item()).abs() < 1e-9 && out[3] == out[5], "{out:?}");
        assert_eq!(out[4].shape, [3, 2]);
    }
}

#[test]
fn measure_valued_runs_grow_linearly() {
    let size = |n: usize| {
        let mut text = String::from("est fn @objective(%p: float) -> (float) {\n  %c0 = mul %p, 1.0 : float\n");
        for i in 1..=n {
            text += &format!("  %b{i} = sample dist@1(%p) as q.b{i} by strategy@3() : bool\n");
            text += &format!("  %c{i} = select %b{i}, 1.5, %c{} : float\n", i - 1);
        }
        text += &format!("  ret %c{n}\n}}");
        let m = module(&text);
        count(&surrogate(&m).body)
    };
    // Quadratic at most in statements: each of n choices runs the statements after it.
    let (a, b) = (size(6), size(12));
    assert!(b <= 5 * a, "{a} statements for 6 choices, {b} for 12");
}

fn count(b: &Block<Det>) -> usize {
    b.stmts.iter().map(|s| 1 + ppl_core::op_blocks(&s.op).into_iter().map(count).sum::<usize>()).sum()
}

#[test]
fn factor_cannot_be_simulated() {
    let m = module(
        "gen fn @g(%p: float) -> () {
           factor %p
           ret
         }
         est fn @objective(%p: float) -> (float) {
           %lq = sim gen@0(%p) : float
           ret %lq
         }",
    );
    let f = m.ests.iter().find(|f| f.name == "objective").expect("an objective");
    let e = inline(&m, f).expect_err("refused");
    assert_eq!(e[0].code.0, "E0401");
}

#[test]
fn results_of_k_must_be_used_linearly() {
    for (body, code) in [
        ("%k = continue true : float\n %e = exp %k : float\n ret %e", "E0404"),
        ("%k = continue true : float\n %l = continue false : float\n %e = mul %k, %l : float\n ret %e", "E0405"),
    ] {
        let m = module(&format!(
            "strategy @odd est@8
             est fn @objective(%p: float) -> (float) {{
               %b = sample dist@1(%p) as q.b by strategy@7() : bool
               %c = select %b, 1.0, 0.0 : float
               ret %c
             }}
             est fn @odd(%p: float) -> (float) {{
               {body}
             }}"
        ));
        let e = strategies(&m, &objective(&m), 0).expect_err("refused");
        assert_eq!(e[0].code.0, code, "{body}");
    }
}

fn choose(body: &str) -> Result<Vec<(String, String, String)>, Vec<ppl_diag::Diagnostic>> {
    let m = module(&format!("est fn @objective(%p: float, %a: float) -> (float) {{\n{body}\n}}"));
    // Only `p` is learned.
    let (f, chosen) = smooth(&m, &objective(&m), &[true, false], &Default::default())?;
    ppl_core::verify(&m, &f).unwrap_or_else(|e| panic!("{e:?}"));
    strategies(&m, &f, 0)?;
    Ok(chosen.into_iter().map(|c| (c.label, c.strategy, c.why)).collect())
}

#[test]
fn strategies_are_chosen_by_smoothness() {
    let pick = |body: &str| choose(body).unwrap_or_else(|e| panic!("{e:?}")).into_iter().map(|c| c.1).collect::<Vec<_>>();
    // Pathwise where the draw is used smoothly.
    assert_eq!(pick("%x = sample dist@0(%p, 1.0) as q.x : float\n %c = square %x : float\n ret %c"), ["reparam"]);
    // Compared: moved to the score function, also through a later computation and a scan's carry.
    assert_eq!(
        pick(
            "%x = sample dist@0(%p, 1.0) as q.x : float\n %y = exp %x : float\n %b = lt %y, 2.0 : bool
             %c = select %b, 1.0, 0.0 : float\n ret %c"
        ),
        ["reinforce"]
    );
    assert_eq!(
        pick(
            "%x = sample dist@0(%p, 1.0) as q.x : float
             %s = scan %i in 3 carry (%c: float = 0.0) : float {
               %b = lt %c, 2.0 : bool
               %d = select %b, %x, 0.0 : float
               ret %d
             }
             ret %s"
        ),
        ["reinforce"]
    );
    // Only the choice that is compared moves; a pathwise choice whose parameters are rigid is rigid.
    assert_eq!(
        pick(
            "%x = sample dist@0(%p, 1.0) as q.x : float\n %y = sample dist@0(%p, 2.0) as q.y : float
             %z = sample dist@0(%a, 2.0) as q.z by strategy@0() : float
             %b = lt %y, %z : bool\n %c = select %b, %x, 0.0 : float\n ret %c"
        ),
        ["reparam", "reinforce", "reparam"]
    );
    // Nothing learned reaches it.
    assert_eq!(pick("%b = sample dist@1(%a) as q.b : bool\n %c = select %b, %p, 0.0 : float\n ret %c"), ["draw"]);
    // Discrete.
    assert_eq!(pick("%b = sample dist@1(%p) as q.b : bool\n %c = select %b, %p, 0.0 : float\n ret %c"), ["enumerate"]);
}

#[test]
fn jumps_that_no_strategy_cures_are_errors() {
    let e = choose("%b = lt %p, 0.0 : bool\n %c = select %b, 1.0, %p : float\n ret %c").expect_err("a parameter is compared");
    assert_eq!((e.len(), e[0].code.0), (1, "E0402"));
    assert!(e[0].title.contains("parameter `p` is compared"), "{}", e[0].title);
    let e = choose("%x = sample dist@0(%p, 1.0) as q.x by strategy@0() : float\n %r = round %x : float\n ret %r")
        .expect_err("an explicit strategy");
    assert_eq!(e[0].code.0, "E0402");
    assert!(e[0].title.contains("`q.x` is rounded") && e[0].help.as_deref().is_some_and(|h| h.contains("by reinforce")), "{e:?}");
    assert!(e[0].labels.len() >= 2, "the use and the choice are shown");
}
