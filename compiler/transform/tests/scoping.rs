//! Scores multiply the costs that depend on their choice, and what that saves.

mod common;

use common::{Value, run};
use ppl_core::{Block, Det, Est, Func, Module, Op};
use ppl_transform::{Reach, batch::batch, costs, inline, strategies, strategies_unscoped, vjp::vjp};

const LIBRARY: &str = include_str!("estimators/library.core");

fn module(programs: &str) -> Module {
    let m = ppl_core::parse_module(&format!("{LIBRARY}\n{programs}"), ppl_diag::FileId(0)).unwrap_or_else(|e| panic!("{e:?}"));
    m.verify().unwrap_or_else(|e| panic!("{e:?}"));
    m
}

fn objective(m: &Module) -> Func<Est> {
    let f = m.ests.iter().find(|f| f.name == "objective").expect("an objective");
    inline(m, f).unwrap_or_else(|e| panic!("{e:?}"))
}

fn gradient(f: Func<Det>, n: usize) -> Func<Det> {
    let wrt: Vec<usize> = (0..n).collect();
    vjp(&batch(f), &wrt, 0).unwrap_or_else(|e| panic!("{e:?}"))
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

/// Of each gradient over independent runs: mean, variance, and the standard errors of both.
fn moments(g: &Func<Det>, args: &[f64], runs: u64) -> Vec<[f64; 4]> {
    let args: Vec<Value> = args.iter().map(|x| Value::scalar(*x)).collect();
    let all: Vec<Vec<f64>> = (0..runs).map(|s| run(&reseed(g, s), &args)[1..].iter().map(Value::item).collect()).collect();
    let n = runs as f64;
    (0..args.len())
        .map(|k| {
            let mean = all.iter().map(|r| r[k]).sum::<f64>() / n;
            let central = |p: i32| all.iter().map(|r| (r[k] - mean).powi(p)).sum::<f64>() / n;
            let (variance, fourth) = (central(2), central(4));
            [mean, variance, (variance / n).sqrt(), ((fourth - variance * variance) / n).sqrt()]
        })
        .collect()
}

/// Both estimators of a program's gradient: unbiased, and the ratio of their variances, summed over parameters, with a standard error.
fn compared(m: &Module, args: &[f64], exact: &[f64], runs: u64) -> (f64, f64) {
    let f = objective(m);
    let [scoped, whole] = [strategies(m, &f, 0), strategies_unscoped(m, &f, 0)]
        .map(|f| gradient(f.unwrap_or_else(|e| panic!("{e:?}")), args.len()));
    let [a, b] = [moments(&scoped, args, runs), moments(&whole, args, runs)];
    for (name, all) in [("scoped", &a), ("unscoped", &b)] {
        for ([mean, _, se, _], want) in all.iter().zip(exact) {
            assert!((mean - want).abs() <= 4.5 * se + 1e-9, "{name}: {mean} +- {se}, expected {want}");
        }
    }
    let total = |all: &[[f64; 4]]| -> (f64, f64) {
        (all.iter().map(|r| r[1]).sum(), all.iter().map(|r| r[3] * r[3]).sum::<f64>().sqrt())
    };
    let ((va, ea), (vb, eb)) = (total(&a), total(&b));
    let ratio = va / vb;
    (ratio, ratio * ((ea / va).powi(2) + (eb / vb).powi(2)).sqrt())
}

/// Ten independent normals with means of their own: the cost of each is `(x - i / 10)^2`.
fn ten_sites() -> (Module, Vec<f64>, Vec<f64>) {
    let n = 10;
    let params: Vec<String> = (0..n).map(|i| format!("%m{i}: float")).collect();
    let mut body = String::new();
    for i in 0..n {
        let before = if i == 0 { "0.0".to_string() } else { format!("%s{}", i - 1) };
        body += &format!(
            "%x{i} = sample dist@0(%m{i}, 1.0) as q.x{i} by strategy@1(0.0) : float
             %d{i} = sub %x{i}, {:.1} : float
             %c{i} = square %d{i} : float
             %s{i} = add {before}, %c{i} : float\n",
            i as f64 / 10.0
        );
    }
    let text = format!("est fn @objective({}) -> (float) {{\n{body}ret %s{}\n}}", params.join(", "), n - 1);
    let at: Vec<f64> = (0..n).map(|i| 0.5 - 0.05 * i as f64).collect();
    let exact = at.iter().enumerate().map(|(i, m)| 2.0 * (m - i as f64 / 10.0)).collect();
    (module(&text), at, exact)
}

#[test]
fn ten_sites_have_a_third_of_the_variance_at_most() {
    let (m, at, exact) = ten_sites();
    let (ratio, se) = compared(&m, &at, &exact, 4000);
    assert!(ratio + 4.5 * se < 1.0 / 3.0, "{ratio} +- {se} of the variance");
}

/// A plate of `n` choices, then a loop that carries the one before; each with costs of its own.
fn plate_then_scan() -> Module {
    module(
        "est fn @objective(%p: float, %w: float) -> (float) {
           %c = map %n in 6 : float[6] {
             %b = sample dist@1(%p) as q.b by strategy@4(0.0) : bool
             %d = select %b, %w, 0.5 : float
             ret %d
           }
           %last, %e = scan %t in 6 carry (%s: bool = false) : bool, float[6] {
             %pt = select %s, 0.8, %p : float
             %z = sample dist@1(%pt) as q.z by strategy@4(0.0) : bool
             %f = select %z, %w, 0.25 : float
             ret %z, %f
           }
           %a = reduce sum %c axes [0] : float
           %g = reduce sum %e axes [0] : float
           %r = add %a, %g : float
           ret %r
         }",
    )
}

fn differences(f: impl Fn(f64, f64) -> f64, p: f64, w: f64) -> [f64; 2] {
    let h = 1e-5;
    [(f(p + h, w) - f(p - h, w)) / (2.0 * h), (f(p, w + h) - f(p, w - h)) / (2.0 * h)]
}

#[test]
fn plates_and_scans_are_scoped() {
    let value = |p: f64, w: f64| {
        let (mut on, mut total) = (0.0, 6.0 * (p * w + (1.0 - p) * 0.5));
        for _ in 0..6 {
            on = on * 0.8 + (1.0 - on) * p;
            total += on * w + (1.0 - on) * 0.25;
        }
        total
    };
    let m = plate_then_scan();
    let (ratio, se) = compared(&m, &[0.3, 1.7], &differences(value, 0.3, 1.7), 3000);
    assert!(ratio + 4.5 * se < 0.5, "{ratio} +- {se} of the variance");
    let all = costs(&m, &objective(&m), 0).unwrap_or_else(|e| panic!("{e:?}"));
    let of = |label: &str| all.iter().find(|c| c.label == label).unwrap_or_else(|| panic!("{all:?}"));
    assert_eq!(of("q.b").seen.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>(), [vec![Reach::Same]]);
    assert_eq!(of("q.z").seen.iter().map(|(_, r)| r.clone()).collect::<Vec<_>>(), [vec![Reach::Later]]);
    assert!(of("q.b").unseen.len() == 1 && of("q.z").unseen.len() == 1);
}

#[test]
fn nested_plates_and_couplings() {
    // A choice in an outer plate is seen by the costs of its row, one in the inner plate by its own; a product couples everything.
    let m = module(
        "est fn @objective(%p: float, %w: float) -> (float) {
           %c = map %i in 3 : float[3] {
             %a = sample dist@1(%p) as q.a by strategy@4(0.0) : bool
             %row = map %j in 4 : float[4] {
               %b = sample dist@1(%p) as q.b by strategy@4(0.0) : bool
               %x = select %a, %w, 1.0 : float
               %y = select %b, %x, 0.5 : float
               ret %y
             }
             %s = reduce sum %row axes [0] : float
             ret %s
           }
           %z = sample dist@1(%p) as q.z by strategy@4(0.0) : bool
           %f = select %z, 2.0, %w : float
           %t = reduce sum %c axes [0] : float
           %u = mul %f, %w : float
           %r = add %t, %u : float
           ret %r
         }",
    );
    let value = |p: f64, w: f64| 12.0 * (p * (p * w + (1.0 - p)) + (1.0 - p) * 0.5) + (2.0 * p + (1.0 - p) * w) * w;
    let (ratio, se) = compared(&m, &[0.4, 1.3], &differences(value, 0.4, 1.3), 3000);
    assert!(ratio + 4.5 * se < 0.6, "{ratio} +- {se} of the variance");
    let all = costs(&m, &objective(&m), 0).unwrap_or_else(|e| panic!("{e:?}"));
    let reach = |label: &str| -> Vec<Vec<Reach>> {
        all.iter().filter(|c| c.label == label).flat_map(|c| c.seen.iter().map(|(_, r)| r.clone())).collect()
    };
    assert_eq!(reach("q.a"), [vec![Reach::Same]]);
    assert_eq!(reach("q.b"), [vec![Reach::Same, Reach::Same]]);
    assert_eq!(reach("q.z"), [vec![]]);
}

#[test]
fn branch_conditions_count() {
    // What a branch computes depends on its condition, also where its values do not.
    let m = module(
        "est fn @objective(%p: float, %w: float) -> (float) {
           %b = sample dist@1(%p) as q.b by strategy@4(0.0) : bool
           %c = if %b : float {
             %x = square %w : float
             ret %x
           } else {
             ret 0.25
           }
           %o = sample dist@1(0.5) as q.o by strategy@4(0.0) : bool
           %d = select %o, 30.0, -30.0 : float
           %r = add %c, %d : float
           ret %r
         }",
    );
    let value = |p: f64, w: f64| p * w * w + (1.0 - p) * 0.25;
    let (ratio, se) = compared(&m, &[0.4, 1.3], &differences(value, 0.4, 1.3), 3000);
    assert!(ratio + 4.5 * se < 0.01, "{ratio} +- {se} of the variance");
}
