//! Every objective of the library against its closed form: value, gradient and direction.
//!
//! Truths are sums over the values of discrete choices and Gauss-Hermite rules over normal ones, written here and not in the language; their
//! derivatives are central differences. The family-wise level over all tests of the file is 1 % (Bonferroni).

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_diag::FileId;
use ppl_fit::certify::{gauss_hermite, threshold, z_score};
use ppl_syntax::ast::ItemKind;
use ppl_tests::engine::native;
use ppl_tests::fitting::mean_and_error;
use ppl_tests::{Fitted, Model, root};
use std::collections::BTreeSet;

/// A discrete model and guide; the posterior is exact. Parameters: `l` (guide), `a` (model).
const FLIP: &str = "param l: real = -0.6
param a: real = -0.4
gen model() { z ~ flip_logits(a);  y ~ normal(select(z, 1.0, -0.5), 0.8) }
gen guide() { z ~ flip_logits(l) }
let t = model() given { y: 0.4 }
let post = normalize model() given { y: 0.4 } by enumeration
objective small(p: target, q: gen) = expect { let (t, _) = sim(q); 0.5 + 0.2 * real(t.z) }
";

/// A normal model, a normal guide, and one with a mixing choice. Parameters: `m`, `s` (the logarithm of the guide's scale), `a` (model).
const NORMAL: &str = "param m: real = 0.3
param s: real = -0.2
param a: real = 0.2
gen model() { x ~ normal(a, 1);  y ~ normal(x, 1) }
gen guide() { x ~ normal(m, exp(s)) }
gen mixed() { u ~ flip(0.4);  x ~ normal(m + select(u, 0.9, 0.0), exp(s)) }
gen aux(t: trace of mixed) { u ~ flip(0.5) }
let t = model() given { y: 0.4 }
";

/// A function of the parameters.
type Truth = Box<dyn Fn(&[f64]) -> f64>;

/// Its derivatives.
type Slopes = Box<dyn Fn(&[f64]) -> Vec<f64>>;

struct Case {
    model: &'static str,
    call: &'static str,
    /// What the compiler infers; empty where no bound is known.
    direction: &'static str,
    value: Truth,
    /// Gradients that are not the derivative of `value`: parameters that are held, or what an objective detaches.
    gradient: Option<Slopes>,
}

const LOWER: &str = "lower bound on log p(y)";

fn normal_log_density(x: f64, mu: f64, sigma: f64) -> f64 {
    -0.5 * ((x - mu) / sigma).powi(2) - sigma.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

fn log_mean_exp(x: &[f64]) -> f64 {
    let m = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    m + (x.iter().map(|x| (x - m).exp()).sum::<f64>() / x.len() as f64).ln()
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let z = log_mean_exp(x) + (x.len() as f64).ln();
    x.iter().map(|x| (x - z).exp()).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The derivative by every parameter; those of `held` are 0.
fn slopes(f: &dyn Fn(&[f64]) -> f64, at: &[f64], held: &[usize]) -> Vec<f64> {
    let one = |k: usize| {
        let moved = |h: f64| {
            let mut x = at.to_vec();
            x[k] += h;
            f(&x)
        };
        let h = 1e-4;
        let (wide, narrow) = ((moved(h) - moved(-h)) / (2.0 * h), (moved(h / 2.0) - moved(-h / 2.0)) / h);
        (4.0 * narrow - wide) / 3.0
    };
    (0..at.len()).map(|k| if held.contains(&k) { 0.0 } else { one(k) }).collect()
}

// The discrete model.

fn flip_joint(x: &[f64], z: bool) -> f64 {
    let prior = sigmoid(if z { x[1] } else { -x[1] });
    prior.ln() + normal_log_density(0.4, if z { 1.0 } else { -0.5 }, 0.8)
}

fn flip_guide(x: &[f64], z: bool) -> f64 {
    sigmoid(if z { x[0] } else { -x[0] }).ln()
}

fn flip_evidence(x: &[f64]) -> f64 {
    (flip_joint(x, true).exp() + flip_joint(x, false).exp()).ln()
}

/// The posterior's log probability.
fn flip_posterior(x: &[f64], z: bool) -> f64 {
    flip_joint(x, z) - flip_evidence(x)
}

/// The mean over `k` draws of the guide at `drawn` of a function of the draws.
fn over_flips(drawn: &[f64], k: usize, f: &dyn Fn(&[bool]) -> f64) -> f64 {
    (0..1usize << k)
        .map(|n| {
            let zs: Vec<bool> = (0..k).map(|i| n >> i & 1 == 1).collect();
            zs.iter().map(|z| flip_guide(drawn, *z)).sum::<f64>().exp() * f(&zs)
        })
        .sum()
}

/// The mean of a function of `k` log weights.
fn over_weights(x: &[f64], k: usize, f: &dyn Fn(&[f64]) -> f64) -> f64 {
    over_flips(x, k, &|zs| f(&zs.iter().map(|z| flip_joint(x, *z) - flip_guide(x, *z)).collect::<Vec<_>>()))
}

fn flip_elbo(x: &[f64]) -> f64 {
    over_weights(x, 1, &|w| w[0])
}

fn flip_eubo(x: &[f64]) -> f64 {
    [true, false].iter().map(|z| flip_posterior(x, *z).exp() * (flip_joint(x, *z) - flip_guide(x, *z))).sum()
}

/// An f-divergence of the posterior from the guide.
fn flip_divergence(x: &[f64], f: &dyn Fn(f64) -> f64) -> f64 {
    let of = |z: bool| flip_guide(x, z).exp() * f((flip_posterior(x, z) - flip_guide(x, z)).exp());
    of(true) + of(false)
}

fn js_generator(u: f64) -> f64 {
    0.5 * (u * u.ln() - (1.0 + u) * (0.5 * (1.0 + u)).ln())
}

// The normal model.

fn normal_log_weight(x: &[f64], eps: f64) -> f64 {
    let v = x[0] + x[1].exp() * eps;
    normal_joint(x, v) - normal_log_density(v, x[0], x[1].exp())
}

fn normal_joint(x: &[f64], v: f64) -> f64 {
    normal_log_density(v, x[2], 1.0) + normal_log_density(0.4, v, 1.0)
}

fn over_normals(x: &[f64], k: usize, f: &dyn Fn(&[f64]) -> f64) -> f64 {
    let rule = gauss_hermite(40);
    match k {
        1 => rule.iter().map(|(e, w)| w * f(&[normal_log_weight(x, *e)])).sum(),
        _ => {
            let pairs = rule.iter().flat_map(|a| rule.iter().map(move |b| (a, b)));
            pairs.map(|((e, w), (d, v))| w * v * f(&[normal_log_weight(x, *e), normal_log_weight(x, *d)])).sum()
        }
    }
}

fn normal_elbo(x: &[f64]) -> f64 {
    over_normals(x, 1, &|w| w[0])
}

fn shift(u: bool) -> f64 {
    if u { 0.9 } else { 0.0 }
}

fn chance(p: f64, u: bool) -> f64 {
    if u { p } else { 1.0 - p }
}

/// The mean over the mixing choice, `m - 1` further ones with probability `p`, and the noise, of `f(noise, choices)`.
fn over_mixed(m: usize, p: f64, f: &dyn Fn(f64, &[bool]) -> f64) -> f64 {
    let rule = gauss_hermite(40);
    (0..1usize << m)
        .map(|n| {
            let us: Vec<bool> = (0..m).map(|i| n >> i & 1 == 1).collect();
            let weight: f64 = us.iter().enumerate().map(|(k, u)| chance(if k == 0 { 0.4 } else { p }, *u)).product();
            weight * rule.iter().map(|(e, w)| w * f(*e, &us)).sum::<f64>()
        })
        .sum()
}

/// `log p - log of the mean over choices of q(x, u) / r(u)`, `r` the choices' own probabilities or 1 / 2.
fn mixed_log_weight(x: &[f64], eps: f64, us: &[bool], proposed: bool) -> f64 {
    let v = x[0] + shift(us[0]) + x[1].exp() * eps;
    let of = |u: &bool| {
        let own = if proposed { (chance(0.4, *u) / 0.5).ln() } else { 0.0 };
        normal_log_density(v, x[0] + shift(*u), x[1].exp()) + own
    };
    normal_joint(x, v) - log_mean_exp(&us.iter().map(of).collect::<Vec<_>>())
}

/// Value and pathwise gradient of `uivi` with two fresh mixing choices.
fn uivi(x: &[f64], f: &dyn Fn(f64, f64, f64) -> f64) -> f64 {
    over_mixed(3, 0.4, &|eps, us| {
        let sd = x[1].exp();
        let v = x[0] + shift(us[0]) + sd * eps;
        let logs: Vec<f64> = us[1..].iter().map(|u| normal_log_density(v, x[0] + shift(*u), sd)).collect();
        let weights = softmax(&logs);
        let slope: f64 = us[1..].iter().zip(weights).map(|(u, w)| -w * (v - x[0] - shift(*u)) / (sd * sd)).sum();
        f(normal_joint(x, v) - log_mean_exp(&logs), (x[2] - v) + (0.4 - v) - slope, eps)
    })
}

fn cases() -> Vec<Case> {
    let case = |model, call, direction, value: Truth| Case { model, call, direction, value, gradient: None };
    let flip = |call, direction, value: fn(&[f64]) -> f64| case(FLIP, call, direction, Box::new(value));
    let normal = |call, direction, value: fn(&[f64]) -> f64| case(NORMAL, call, direction, Box::new(value));
    // Divergences hold the posterior.
    let divergence = |call, value: fn(&[f64]) -> f64| Case {
        gradient: Some(Box::new(move |x: &[f64]| slopes(&value, x, &[1]))),
        ..case(FLIP, call, "", Box::new(value))
    };
    let f_divergence = |call, f: fn(f64) -> f64| Case {
        gradient: Some(Box::new(move |x: &[f64]| slopes(&|x| flip_divergence(x, &f), x, &[1]))),
        ..case(FLIP, call, "", Box::new(move |x: &[f64]| flip_divergence(x, &f)))
    };
    vec![
        flip("elbo(t, guide())", LOWER, flip_elbo),
        normal("elbo(t, guide())", LOWER, normal_elbo),
        normal("analytic_elbo(t, guide())", LOWER, normal_elbo),
        flip("analytic_elbo(t, guide())", LOWER, flip_elbo),
        flip("iwelbo(t, guide(), 3)", LOWER, |x| over_weights(x, 3, &log_mean_exp)),
        normal("iwelbo(t, guide(), 2)", LOWER, |x| over_normals(x, 2, &log_mean_exp)),
        flip("renyi(t, guide(), 0.4, 3)", LOWER, |x| {
            over_weights(x, 3, &|w| log_mean_exp(&w.iter().map(|w| 0.6 * w).collect::<Vec<_>>()) / 0.6)
        }),
        flip("vr_max(t, guide(), 3)", "", |x| over_weights(x, 3, &|w| w.iter().copied().fold(f64::NEG_INFINITY, f64::max))),
        flip("evidence(t, guide(), 2, -1.2)", "unbiased for exp(1.2) p(y)", |x| (flip_evidence(x) + 1.2).exp()),
        flip("cubo(t, guide(), -1.2)", "upper bound on exp(2.4) p(y)^2", |x| over_weights(x, 1, &|w| (2.0 * (w[0] + 1.2)).exp())),
        flip("eubo(t, guide())", "upper bound on log p(y)", flip_eubo),
        flip("symmetric_kl(t, guide())", "evidence gap: at least the distance of either bound from log p(y)", |x| {
            flip_eubo(x) - flip_elbo(x)
        }),
        flip("thermodynamic(t, guide(), 3, 3, 0.2)", "", |x| {
            let ends = [0.0, 0.2, 0.2f64.sqrt(), 1.0];
            over_weights(x, 3, &|w| {
                let at = |b: f64| -> f64 {
                    softmax(&w.iter().map(|w| b * w).collect::<Vec<_>>()).iter().zip(w).map(|(v, w)| v * w).sum()
                };
                (0..3).map(|j| (ends[j + 1] - ends[j]) * at(ends[j])).sum()
            })
        }),
        normal("stl(t, guide())", LOWER, normal_elbo),
        normal("dreg(t, guide(), 2)", LOWER, |x| over_normals(x, 2, &log_mean_exp)),
        flip("vimco(t, guide(), 3)", LOWER, |x| over_weights(x, 3, &log_mean_exp)),
        normal("vimco(t, guide(), 2)", LOWER, |x| over_normals(x, 2, &log_mean_exp)),
        Case {
            // The variance of the guide that draws is held; the gradient for its own parameters is that of the divergence.
            gradient: Some(Box::new(|x| {
                let half_variance = |x: &[f64]| 0.5 * (over_weights(x, 1, &|w| w[0] * w[0]) - flip_elbo(x).powi(2));
                vec![-slopes(&flip_elbo, x, &[])[0], slopes(&half_variance, x, &[])[1]]
            })),
            ..flip("log_variance(t, guide(), 3)", "", |x| 0.5 * (over_weights(x, 1, &|w| w[0] * w[0]) - flip_elbo(x).powi(2)))
        },
        Case {
            gradient: Some(Box::new(|x| slopes(&|x| over_weights(x, 3, &log_mean_exp), x, &[0]))),
            ..flip("p_wake(t, guide(), 3)", LOWER, |x| over_weights(x, 3, &log_mean_exp))
        },
        Case {
            gradient: Some(Box::new(|x| {
                let moved = |l: f64| {
                    over_flips(x, 3, &|zs| {
                        let w: Vec<f64> = zs.iter().map(|z| flip_joint(x, *z) - flip_guide(x, *z)).collect();
                        softmax(&w).iter().zip(zs).map(|(v, z)| v * flip_guide(&[l], *z)).sum()
                    })
                };
                vec![slopes(&|y| moved(y[0]), &x[..1], &[])[0], 0.0]
            })),
            ..flip("q_wake(t, guide(), 3)", "", |x| {
                over_flips(x, 3, &|zs| {
                    let w: Vec<f64> = zs.iter().map(|z| flip_joint(x, *z) - flip_guide(x, *z)).collect();
                    softmax(&w).iter().zip(zs).map(|(v, z)| v * flip_guide(x, *z)).sum()
                })
            })
        },
        normal("hvi(t, mixed())", LOWER, |x| over_mixed(1, 0.4, &|e, us| mixed_log_weight(x, e, us, false))),
        normal("iwhvi(t, mixed(), aux, 2)", LOWER, |x| over_mixed(2, 0.5, &|e, us| mixed_log_weight(x, e, us, true))),
        normal("diwhvi(t, mixed(), aux, 2, 2)", LOWER, |x| {
            over_mixed(2, 0.5, &|e, us| {
                let one = mixed_log_weight(x, e, us, true);
                over_mixed(2, 0.5, &|d, vs| log_mean_exp(&[one, mixed_log_weight(x, d, vs, true)]))
            })
        }),
        normal("sivi(t, mixed(), 2)", LOWER, |x| over_mixed(2, 0.4, &|e, us| mixed_log_weight(x, e, us, false))),
        Case {
            gradient: Some(Box::new(|x| {
                let model = slopes(&|y| uivi(&[x[0], x[1], y[0]], &|value, _, _| value), &x[2..], &[])[0];
                vec![uivi(x, &|_, slope, _| slope), uivi(x, &|_, slope, eps| slope * x[1].exp() * eps), model]
            })),
            ..normal("uivi(t, mixed(), 2)", "biased: no bound on log p(y)", |x| uivi(x, &|value, _, _| value))
        },
        flip("exp_of(small, t, guide(), 0.6)", "", |x| (0.5 + 0.2 * sigmoid(x[0])).exp()),
        divergence("reverse_kl(post, guide())", |x| flip_evidence(x) - flip_elbo(x)),
        divergence("forward_kl(post, guide())", |x| flip_eubo(x) - flip_evidence(x)),
        divergence("jeffreys(post, guide())", |x| flip_eubo(x) - flip_elbo(x)),
        divergence("jensen_shannon(post, guide())", |x| flip_divergence(x, &js_generator)),
        f_divergence("f_divergence(post, guide(), kl_generator)", |u| u * u.ln()),
        f_divergence("f_divergence(post, guide(), reverse_kl_generator)", |u| -u.ln()),
        f_divergence("f_divergence(post, guide(), chi_square_generator)", |u| (u - 1.0) * (u - 1.0)),
        f_divergence("f_divergence(post, guide(), hellinger_generator)", |u| 1.0 - u.sqrt()),
        f_divergence("f_divergence(post, guide(), total_variation_generator)", |u| 0.5 * (u - 1.0).abs()),
        f_divergence("f_divergence(post, guide(), jensen_shannon_generator)", js_generator),
        normal("fisher_divergence(t, guide())", "", |x| {
            let sd = x[1].exp();
            let one = |(e, w): &(f64, f64)| {
                let v = x[0] + sd * e;
                w * ((x[2] - v) + (0.4 - v) + e / sd).powi(2)
            };
            gauss_hermite(40).iter().map(one).sum()
        }),
    ]
}

fn fitted(text: &str) -> Fitted {
    let model = Model::from_text(text, root().join("examples"), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// Moments of the value and of the gradient by every parameter of the file, in order; of none where the objective does not reach it.
fn moments(f: &Fitted, runs: u64) -> Vec<(f64, f64)> {
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
    let mut columns = vec![Vec::new(); 1 + f.program.params.len()];
    for step in 0..runs {
        r.run(17, step);
        columns[0].push(r.output_values(0)[0]);
        for (k, p) in f.code.learned.iter().enumerate() {
            columns[1 + p].push(r.output_values(1 + k)[0]);
        }
    }
    columns.iter().map(|c| if c.is_empty() { (0.0, 0.0) } else { mean_and_error(c) }).collect()
}

#[test]
fn every_objective_against_its_closed_form() {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for c in cases() {
        let way = if c.direction.starts_with("upper") || c.direction.contains("gap") { "minimize" } else { "maximize" };
        let f = fitted(&format!("{}fit {way} {} using sgd(0.1), particles 100", c.model, c.call));
        let claim = f.program.fit.as_ref().map(|p| p.goals[0].claim.to_string()).unwrap_or_default();
        if claim != c.direction && !(c.direction.is_empty() && claim.contains("no bound")) {
            wrong.push(format!("{}: `{claim}` in place of `{}`", c.call, c.direction));
        }
        let at: Vec<f64> = f.params.iter().map(|p| p[0]).collect();
        let slopes = c.gradient.as_ref().map_or_else(|| slopes(&*c.value, &at, &[]), |g| g(&at));
        let truth: Vec<f64> = std::iter::once((c.value)(&at)).chain(slopes).collect();
        for (k, ((mean, se), want)) in moments(&f, 400).into_iter().zip(&truth).enumerate() {
            let what = format!("{}, result {k}: {mean} +- {se}, expected {want}", c.call);
            found.push((what, z_score(mean, se, *want, 1e-8, 1e-8, 1.0)));
        }
    }
    let bound = threshold(0.01, found.len());
    wrong.extend(found.into_iter().filter(|(_, z)| z.abs() > bound || z.is_nan()).map(|(w, _)| w));
    assert!(wrong.is_empty(), "beyond |z| = {bound:.2}:\n{}", wrong.join("\n"));
}

#[test]
fn no_objective_of_the_library_is_left_out() {
    let tested: BTreeSet<String> = cases().iter().map(|c| c.call.split('(').next().unwrap_or_default().to_string()).collect();
    for file in ppl_stdlib::PRELUDE {
        for item in ppl_syntax::parse(FileId(0), file.text).ast.items {
            if let ItemKind::Objective(o) = item.kind {
                assert!(tested.contains(o.name.as_str()), "`{}` has no closed form here", o.name);
            }
        }
    }
}

#[test]
fn an_exponential_times_its_argument_has_both_derivatives() {
    // d/dx x exp(x) = (1 + x) exp(x), which is 3.42 at 0.7: the exponential's factor is its own estimate, not that of its argument.
    let f = fitted(
        "param x: real = 0.7
gen near(x: real) { v ~ normal(x, 0.3) }
objective of(p: target, q: gen) = expect { let (t, _) = sim(q); t.v }
fit maximize x * exp_of(of, near(x), near(x)) using particles 100",
    );
    let found = moments(&f, 600);
    for ((mean, se), want) in found.into_iter().zip([0.7 * 0.7f64.exp(), 1.7 * 0.7f64.exp()]) {
        assert!(z_score(mean, se, want, 0.0, 1e-9, 1.0).abs() < 4.0 && se < 0.05, "{mean} +- {se}, expected {want}");
    }
}
