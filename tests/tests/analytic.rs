//! `analytic_elbo` against `elbo`: the same means and gradients, less noise, exact where guide and model are one, and log densities where a
//! divergence would be wrong.
//!
//! The family-wise level of each comparison is 1 % (Bonferroni), with fixed seeds.

use ppl_abi::Precision;
use ppl_check::{FitOverrides, Side};
use ppl_driver::{Cx, Divergences, analyse};
use ppl_fit::certify::threshold;
use ppl_tests::engine::native;
use ppl_tests::fitting::mean_and_error;
use ppl_tests::{Fitted, Model, root};

fn model(text: &str) -> Model {
    Model::from_text(text, root().join("examples"), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

fn fitted(text: &str) -> Fitted {
    Fitted::new(&model(text), &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

/// Value and gradients in `runs` steps, a column for each.
fn columns(f: &Fitted, seed: u64, runs: u64) -> Vec<Vec<f64>> {
    let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64).expect("native code");
    let mut out: Vec<Vec<f64>> = Vec::new();
    for step in 0..runs {
        r.run(seed, step);
        let row: Vec<f64> = (0..=f.code.learned.len()).flat_map(|k| r.output_values(k)).collect();
        out.resize(row.len(), Vec::new());
        out.iter_mut().zip(row).for_each(|(c, x)| c.push(x));
    }
    out
}

fn variance(x: &[f64]) -> f64 {
    mean_and_error(x).1.powi(2) * x.len() as f64
}

/// For which choices divergences stand.
fn divergences(text: &str) -> Vec<Divergences> {
    let mut cx = Cx::default();
    let program = model(text).check(&FitOverrides::default()).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    analyse(&program, &mut cx).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    cx.divergences
}

struct Case {
    text: &'static str,
    /// Choices with an exact divergence.
    exact: &'static [&'static str],
    /// Choices without, and words of the reason.
    plain: &'static [(&'static str, &'static str)],
}

const PLATE: Case = Case {
    text: "param m: real = 0.3\nparam s: positive = 0.7\nparam a: real = 0.2\nparam b: positive = 0.6\nparam t: real[3] = [0.1, -0.5, 0.4]\nparam u: positive[3] = [0.5, 0.8, 0.3]\n\
        gen p() {\n  mu ~ normal(0, 2)\n  tau ~ gamma(2, 1)\n  for j in 3 {\n    theta[j] ~ normal(mu, tau)\n    y[j] ~ normal(theta[j], 0.5 + j)\n  }\n}\n\
        gen q() {\n  mu ~ normal(m, s)\n  tau ~ log_normal(a, b)\n  for j in 3 { theta[j] ~ normal(t[j], u[j]) }\n}\n\
        fit p() given { y: [1.0, -0.5, 2.0] } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["mu", "tau", "theta"],
    plain: &[],
};

const SCAN: Case = Case {
    text: "param m: real[4] = [0.1, 0.3, -0.2, 0.5]\nparam s: positive = 0.6\nparam r: positive = 0.9\n\
        gen p() {\n  for t in 4 carry (prev = 0.0) {\n    h[t] ~ normal(0.9 * prev, r)\n    y[t] ~ normal(h[t], 0.5)\n    h[t]\n  }\n}\n\
        gen q() { for t in 4 { h[t] ~ normal(m[t], s) } }\n\
        fit p() given { y: [0.2, 0.6, 0.1, -0.4] } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["h"],
    plain: &[],
};

const MARKOV: Case = Case {
    text: "param m: real[4] = [0.1, 0.3, -0.2, 0.5]\nparam c: real = 0.4\nparam s: positive = 0.6\n\
        gen p() {\n  for t in 4 carry (prev = 0.0) {\n    h[t] ~ normal(0.9 * prev, 1)\n    y[t] ~ normal(h[t], 0.5)\n    h[t]\n  }\n}\n\
        gen q() { for t in 4 carry (prev = 0.0) { h[t] ~ normal(m[t] + c * prev, s)\n h[t] } }\n\
        fit p() given { y: [0.2, 0.6, 0.1, -0.4] } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["h"],
    plain: &[],
};

const BRANCH: Case = Case {
    text: "param l: real = 0.4\nparam m: real = 0.5\nparam s: positive = 0.8\nparam n: real = -0.4\n\
        gen p() {\n  v ~ flip(0.6)\n  let z = if v { x ~ normal(2, 1)\n x } else { w ~ normal(-1, 0.5)\n w * w }\n  y ~ normal(z, 0.7)\n}\n\
        gen q() {\n  v ~ flip_logits(l)\n  if v { x ~ normal(m, s) } else { w ~ normal(n, s) }\n}\n\
        fit p() given { y: 1.2 } with q()\n  maximize OBJECTIVE using particles 8\n",
    exact: &["v", "x", "w"],
    plain: &[],
};

const LATER: Case = Case {
    text: "param m: real = 0.3\nparam s: positive = 0.7\nparam c: real = 0.5\nparam n: real = 0.1\n\
        gen p() {\n  b ~ normal(0, 1)\n  a ~ normal(b, 1)\n  y ~ normal(a + b, 1)\n}\n\
        gen q() {\n  a ~ normal(m, s)\n  b ~ normal(c * a + n, 0.6)\n}\n\
        fit p() given { y: 0.8 } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["b"],
    plain: &[("a", "depends on `b`")],
};

/// In the model `z` depends on this round's `w`, in the guide `w` on this round's `z`.
const TURNED: Case = Case {
    text: "param c: real = 0.5\nparam s: positive = 0.7\n\
        gen p() {\n  for t in 3 carry (prev = 0.0) {\n    w[t] ~ normal(prev, 1)\n    z[t] ~ normal(w[t], 1)\n    y[t] ~ normal(z[t], 1)\n    z[t]\n  }\n}\n\
        gen q() { for t in 3 { z[t] ~ normal(0.2 * t, s)\n w[t] ~ normal(c * z[t], s) } }\n\
        fit p() given { y: [0.3, 0.5, -0.2] } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["w"],
    plain: &[("z", "depends on `w`")],
};

/// The same in one order: each `z` depends on what comes before it.
const STRAIGHT: Case = Case {
    text: "param c: real = 0.5\nparam s: positive = 0.7\n\
        gen p() {\n  for t in 3 carry (prev = 0.0) {\n    w[t] ~ normal(prev, 1)\n    z[t] ~ normal(w[t], 1)\n    y[t] ~ normal(z[t], 1)\n    z[t]\n  }\n}\n\
        gen q() { for t in 3 carry (prev = 0.1) { w[t] ~ normal(c * prev, s)\n z[t] ~ normal(c * w[t], s)\n z[t] } }\n\
        fit p() given { y: [0.3, 0.5, -0.2] } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["w", "z"],
    plain: &[],
};

const DISCRETE: Case = Case {
    text: "param l: real[3, 2] = 0.2\nparam g: positive[2] = [1.5, 1.2]\nparam k: real[2] = [0.4, -0.3]\nparam e: positive = 0.8\n\
        gen p() {\n  weights ~ dirichlet(ones(2))\n  rate ~ exponential(1)\n  for k in 2 { centre[k] ~ normal(0, 2) }\n  for n in 3 {\n    z[n] ~ categorical(weights)\n    y[n] ~ normal(centre[z[n]] * rate, 1)\n  }\n}\n\
        gen q() {\n  weights ~ dirichlet(g) by reinforce\n  rate ~ gamma(e, e) by reinforce\n  for i in 2 { centre[i] ~ normal(k[i], e) }\n  for n in 3 { z[n] ~ categorical_logits(l[n]) }\n}\n\
        fit p() given { y: [1.0, -0.5, 2.0] } with q()\n  maximize OBJECTIVE using particles 32\n",
    exact: &["weights", "rate", "centre", "z"],
    plain: &[],
};

const CALLED: Case = Case {
    text: "param m: real[3] = [0.3, 0.1, -0.2]\nparam s: positive = 0.7\n\
        gen step(h: real) {\n  x ~ normal(h, 1)\n  e ~ student_t(4, x, 1)\n  x + 0.1 * e\n}\n\
        gen near(h: real) {\n  x ~ normal(h, s)\n  e ~ normal(x, s)\n}\n\
        gen p() {\n  for t in 3 carry (h = 0.0) {\n    s[t] ~ step(h)\n    y[t] ~ normal(s[t], 0.5)\n    s[t]\n  }\n}\n\
        gen q() { for t in 3 { s[t] ~ near(m[t]) } }\n\
        fit p() given { y: [0.5, 0.1, -0.4] } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["s.x"],
    plain: &[("s.e", "`normal` declares no divergence from `student_t`")],
};

const VECTORS: Case = Case {
    text: "param m: real[3] = [0.3, 0.1, -0.2]\nparam s: positive = 0.7\nparam d: positive = 0.9\n\
        gen p() {\n  w ~ normal(zeros(3), 1)\n  v ~ mv_normal([0.0, 0.0], [[1.0, 0.3], [0.3, 1.0]])\n  y ~ normal(sum(w) + v[0] * w, 0.5)\n}\n\
        gen q() {\n  w ~ normal(m, s)\n  v ~ mv_normal_cholesky([w[0], 0.2], [[d, 0.0], [0.1, d]])\n}\n\
        fit p() given { y: [0.5, 0.1, -0.4] } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["w", "v"],
    plain: &[],
};

const DERIVED: Case = Case {
    text: "gen p() {\n  mu ~ normal(0, 2)\n  tau ~ half_normal(1)\n  k ~ gamma(2, 1)\n  r ~ half_cauchy(1)\n  for j in 3 { y[j] ~ normal(mu + r, tau + k) }\n}\n\
        fit p() given { y: [1.0, -0.5, 2.0] } with auto_normal\n  maximize OBJECTIVE using particles 4\n",
    exact: &["mu", "tau", "k"],
    plain: &[("r", "declares no divergence from `half_cauchy`")],
};

const MINIBATCH: Case = Case {
    text: "let x = [0.3, -0.2, 0.8, 1.4, -0.6, 0.1]\nparam a: real = 0.3\nparam m: real = 0.2\nparam s: positive = 0.7\n\
        gen p() {\n  mu ~ normal(0, 1)\n  for n in minibatch(6, 2) {\n    z[n] ~ normal(mu, 1)\n    y[n] ~ normal(z[n], 0.5)\n  }\n}\n\
        gen q() {\n  mu ~ normal(m, s)\n  for n in minibatch(6, 2) { z[n] ~ normal(a * x[n] + mu, s) }\n}\n\
        fit p() given { y: x } with q()\n  maximize OBJECTIVE using particles 4\n",
    exact: &["mu", "z"],
    plain: &[],
};

const ALL: [&Case; 12] =
    [&PLATE, &SCAN, &MARKOV, &BRANCH, &LATER, &TURNED, &STRAIGHT, &DISCRETE, &CALLED, &VECTORS, &DERIVED, &MINIBATCH];

#[test]
fn choices_are_told_apart() {
    for c in ALL {
        let found = divergences(&c.text.replace("OBJECTIVE", "analytic_elbo"));
        assert_eq!(found.len(), 1, "{}\n{found:?}", c.text);
        assert_eq!(found[0].exact, c.exact, "{}\n{found:?}", c.text);
        let plain: Vec<&str> = found[0].plain.iter().map(|(a, _)| a.as_str()).collect();
        assert_eq!(plain, c.plain.iter().map(|(a, _)| *a).collect::<Vec<_>>(), "{}\n{found:?}", c.text);
        for ((_, why), (_, words)) in found[0].plain.iter().zip(c.plain) {
            assert!(why.contains(words), "{}\n{why}", c.text);
        }
    }
}

/// `|z|` of the differences of two estimates' means, component by component.
fn differences(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<f64> {
    assert_eq!(a.len(), b.len());
    let z = |(x, y): (&Vec<f64>, &Vec<f64>)| {
        let ((m, e), (n, f)) = (mean_and_error(x), mean_and_error(y));
        ((m - n).abs() - 1e-9).max(0.0) / (e * e + f * f).sqrt().max(1e-12)
    };
    a.iter().zip(b).map(z).collect()
}

#[test]
fn means_and_gradients_are_those_of_elbo() {
    let mut all = Vec::new();
    for (k, c) in ALL.iter().enumerate() {
        let [exact, plain] = ["analytic_elbo", "elbo"].map(|o| fitted(&c.text.replace("OBJECTIVE", o)));
        let (a, b) = (columns(&exact, 3, 20_000), columns(&plain, 4, 20_000));
        all.extend(differences(&a, &b).into_iter().enumerate().map(|(i, z)| (format!("case {k}, result {i}: {z}"), z)));
    }
    let bound = threshold(0.01, all.len());
    let wrong: Vec<&str> = all.iter().filter(|(_, z)| z.is_nan() || *z > bound).map(|(w, _)| w.as_str()).collect();
    assert!(wrong.is_empty(), "{} of {} beyond {bound}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

#[test]
fn a_divergence_where_it_is_not_allowed_would_be_seen() {
    // The fallback of `LATER` matters: with a divergence for `a` too, which depends on `b`, the mean is another one.
    let forced = "objective forced(p: target, q: gen) = expect {\n  let (t, _) = sim(q)\n  log_density(normal(t.a + t.b, 1), 0.8) - kl(normal(m, s), normal(t.b, 1)) - kl(normal(c * t.a + n, 0.6), normal(0, 1))\n}\n";
    let text = LATER.text.replace("gen p()", &format!("{forced}gen p()"));
    let [wrong, plain] = ["forced", "elbo"].map(|o| fitted(&text.replace("OBJECTIVE", o)));
    let z = differences(&columns(&wrong, 3, 20_000), &columns(&plain, 4, 20_000));
    assert!(z[0] > 5.0 && z.iter().filter(|z| **z > 5.0).count() >= 3, "{z:?}");
}

#[test]
fn gradients_are_less_noisy() {
    // Not of every model: what a divergence takes away may have been cancelled by noise of the likelihood.
    for c in [&SCAN, &BRANCH, &DISCRETE] {
        let noise = |o: &str| {
            let columns = columns(&fitted(&c.text.replace("OBJECTIVE", o)), 5, 4000);
            columns[1..].iter().map(|x| variance(x)).sum::<f64>()
        };
        let (exact, plain) = (noise("analytic_elbo"), noise("elbo"));
        assert!(exact < 0.95 * plain, "{}\n{exact} {plain}", c.text);
    }
}

#[test]
fn a_guide_that_is_the_prior_has_no_noise() {
    let text = "param m: real = 0.0\nparam s: positive = 1.0\nparam g: positive[2] = [1.0, 1.0]\n\
        gen p() {\n  mu ~ normal(0, 1)\n  w ~ dirichlet(ones(2))\n  for j in 3 { theta[j] ~ normal(mu, 2) }\n  k ~ categorical(w)\n}\n\
        gen q() {\n  mu ~ normal(m, s)\n  w ~ dirichlet(g) by reinforce\n  for j in 3 { theta[j] ~ normal(mu, 2 * s) }\n  k ~ categorical(w)\n}\n\
        fit p() with q()\n  maximize OBJECTIVE using particles 2\n";
    let exact = columns(&fitted(&text.replace("OBJECTIVE", "analytic_elbo")), 3, 50);
    for column in &exact {
        assert!(column.iter().all(|x| x.abs() < 1e-12), "{column:?}");
    }
    let plain = columns(&fitted(&text.replace("OBJECTIVE", "elbo")), 3, 50);
    assert!(plain[1..].iter().any(|c| variance(c) > 1e-3), "{plain:?}");
}

#[test]
fn it_is_a_lower_bound() {
    for c in ALL {
        let program = model(&c.text.replace("OBJECTIVE", "analytic_elbo")).check(&FitOverrides::default()).expect("right");
        let claim = &program.fit.expect("a fit").goals[0].claim;
        assert_eq!(claim.side, Side::Lower, "{claim}");
        assert!(claim.log_evidence().is_some(), "{claim}");
    }
    // The difference of an upper and this lower bound is the evidence gap.
    let text = "param l: real = 0.3\ngen p() { z ~ flip(0.4)\n y ~ flip(if z { 0.8 } else { 0.3 }) }\ngen q() { z ~ flip_logits(l) }\n\
        fit minimize eubo(p() given { y: true }, q()) - analytic_elbo(p() given { y: true }, q())";
    let program = model(text).check(&FitOverrides::default()).expect("right");
    assert_eq!(program.fit.expect("a fit").goals[0].claim.side, Side::Upper);
}

#[test]
fn estimated_densities_keep_the_densities_of_the_simulation() {
    let text = "param s: positive = 0.7\nparam c: real = 0.6\n\
        gen p() {\n  x ~ normal(0, 1)\n  y ~ normal(x, 0.5)\n}\n\
        gen ring() {\n  u ~ normal(0, 1)\n  x ~ normal(c * u, s)\n}\n\
        fit p() given { y: 0.4 } with (marginal { x } of ring() by importance(3))\n  maximize OBJECTIVE using particles 8\n";
    let found = divergences(&text.replace("OBJECTIVE", "analytic_elbo"));
    assert!(found[0].exact.is_empty() && found[0].plain[0].1.contains("is an estimate"), "{found:?}");
    let [exact, plain] = ["analytic_elbo", "elbo"].map(|o| columns(&fitted(&text.replace("OBJECTIVE", o)), 3, 5));
    assert_eq!(exact, plain);
    let claim = &model(&text.replace("OBJECTIVE", "analytic_elbo")).check(&FitOverrides::default()).expect("right");
    assert_eq!(claim.fit.as_ref().expect("a fit").goals[0].claim.side, Side::Lower);
}

#[test]
fn engines_agree() {
    for c in ALL {
        let f = fitted(&c.text.replace("OBJECTIVE", "analytic_elbo"));
        let native = f.gradient_native(Precision::F64, 7, 2).expect("native");
        let reference = f.gradient_reference(Precision::F64, 7, 2).expect("interpreted");
        for (a, b) in native.iter().zip(&reference) {
            assert!(ppl_tests::distance(a, b) < 1e-9, "{}\n{native:?}\n{reference:?}", c.text);
        }
        // The program before inlining is its own text.
        let text = f.program.module.to_string();
        let read = ppl_core::parse_module(&text, ppl_diag::FileId(0)).unwrap_or_else(|d| panic!("{}\n{text}", d.title));
        assert_eq!(read.to_string(), text);
    }
}

/// Codes of what is wrong with an objective of a model.
fn refused(objective: &str) -> String {
    let text = format!(
        "param m: real = 0.3\ngen p() {{ x ~ normal(0, 1)\n y ~ normal(x, 1) }}\ngen q() {{ x ~ normal(m, 0.7) }}\ngen r() {{ x ~ normal(m, 0.5) }}\n\
         objective o(p: target, q: gen) = expect {{ {objective} }}\nfit p() given {{ y: 1.0 }} with q() maximize o"
    );
    match model(&text).check(&FitOverrides::default()) {
        Ok(_) => String::new(),
        Err(e) => format!("{e:?}"),
    }
}

#[test]
fn what_has_another_mean_is_refused() {
    // Functions of the log weight.
    for o in [
        "let (t, _) = sim(q)\n exp(expected_log_weight(p, q, t))",
        "let w = [for k in 4 { let (t, _) = sim(q)\n expected_log_weight(p, q, t) }]\n log_mean_exp(w)",
    ] {
        let e = refused(o);
        assert!(e.contains("E0414"), "{o}: {e}");
    }
    // Traces that the program has not drawn, or not as it stands here.
    for o in [
        "let (t, _) = sim(r())\n expected_log_weight(p, q, t)",
        "let (t, _) = sim(q)\n expected_log_weight(p, stop(q), t)",
        "let (t, _) = sim(stop(q))\n expected_log_weight(p, q, t)",
    ] {
        let e = refused(o);
        assert!(e.contains("E0417"), "{o}: {e}");
    }
    for o in [
        "let (t, _) = sim(q)\n expected_log_weight(p, q, t)",
        "let (t, _) = sim(stop(q))\n expected_log_weight(p, stop(q), t)",
        "sum([for k in 4 { let (t, _) = sim(q)\n expected_log_weight(p, q, t) }]) / 4",
    ] {
        assert_eq!(refused(o), "", "{o}");
    }
}

#[test]
fn a_target_that_reads_the_trace_keeps_its_log_densities() {
    let text = |o: &str| {
        format!(
            "param m: real = 0.3\nparam s: positive = 0.7\ngen p(c: real) {{ x ~ normal(c, 1)\n y ~ normal(x, 1) }}\ngen q() {{ x ~ normal(m, s) }}\n\
             objective o() = expect {{ let (t, lq) = sim(q())\n {o} }}\nfit maximize o() using particles 4"
        )
    };
    let target = "p(0.5 * t.x) given { y: 1.0 }";
    let a = columns(&fitted(&text(&format!("expected_log_weight({target}, q(), t)"))), 3, 5);
    let b = columns(&fitted(&text(&format!("log_density({target}, t) - lq"))), 3, 5);
    assert_eq!(a, b);
}
