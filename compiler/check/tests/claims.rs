//! What objectives are estimates of, and from which side.

use ppl_check::{Checked, FitOverrides, elaborate};
use ppl_diag::FileId;
use ppl_syntax::ast::File;

const MODEL: &str = "data z: real\ndata u: real\nparam m: real = 0.0\nparam a: positive = 1.0\n\
    gen model() { x ~ normal(0, 1);  y ~ normal(x, 1);  z ~ normal(x + y, 1) }\n\
    gen other() { x ~ normal(0, 2);  y ~ normal(x, 1);  v ~ normal(x + y, 1) }\n\
    gen guide() { x ~ normal(m, 1);  y ~ normal(x, a) }\n\
    gen half(x: real) { y ~ normal(x, 1) }\n";

fn library() -> Vec<File> {
    ppl_stdlib::PRELUDE.iter().enumerate().map(|(i, f)| ppl_syntax::parse(FileId(i as u32), f.text).ast).collect()
}

fn checked(text: &str) -> Checked {
    let p = ppl_syntax::parse(FileId(100), text);
    assert!(p.diagnostics.is_empty(), "{text}\n{:?}", p.diagnostics);
    elaborate(&library(), &p.ast, None, &FitOverrides::default())
}

/// The claim of `maximize objective` (`minimize` after `-`) in words.
fn claim(declarations: &str, objective: &str) -> String {
    let text = format!("{MODEL}{declarations}\nfit model() given {{ z }} with guide() maximize {objective}\n");
    let c = checked(&text);
    let errors: Vec<_> = c.diagnostics.iter().filter(|d| d.severity == ppl_diag::Severity::Error).collect();
    assert!(errors.is_empty(), "{text}\n{errors:?}");
    c.program.fit.expect("a fit").goals[0].claim.to_string()
}

const NONE: &str = "no bound of an evidence is known of it";

#[test]
fn objectives_of_the_library_have_the_direction_that_they_document() {
    for (objective, expected) in [
        ("elbo", "lower bound on log p(z)"),
        ("iwelbo(5)", "lower bound on log p(z)"),
        ("renyi(0.5, 10)", "lower bound on log p(z)"),
        ("renyi(0, 10)", "lower bound on log p(z)"),
        ("renyi(2, 10)", "biased: no bound on log p(z)"),
        ("renyi(-1, 10)", "biased: no bound on log p(z)"),
        ("evidence(4)", "unbiased for p(z)"),
        ("evidence(4, -5)", "unbiased for exp(5) p(z)"),
        ("cubo", "upper bound on p(z)^2"),
        ("cubo(-5)", "upper bound on exp(10) p(z)^2"),
    ] {
        assert_eq!(claim("", objective), expected, "{objective}");
    }
}

#[test]
fn signs_and_factors_turn_and_keep_directions() {
    for (objective, expected) in [
        ("-elbo(model() given { z }, guide())", "upper bound on -log p(z)"),
        ("2 * elbo(model() given { z }, guide())", "lower bound on 2 log p(z)"),
        ("elbo(model() given { z }, guide()) / -4", "upper bound on -0.25 log p(z)"),
        ("elbo(model() given { z }, guide()) + 3", "lower bound on log p(z) + 3"),
        ("elbo(model() given { z }, guide()) - m^2", "lower bound on log p(z)"),
        ("elbo(model() given { z }, guide()) + m^2", "biased: no bound on log p(z)"),
        ("elbo(model() given { z }, guide()) + m", NONE),
        ("elbo(model() given { z }, guide()) + iwelbo(model() given { z }, guide(), 3)", "lower bound on 2 log p(z)"),
        ("elbo(model() given { z }, guide()) + elbo(other() given { v: u }, guide())", "lower bound on log p(z) + log p(v)"),
        ("elbo(model() given { z }, guide()) - elbo(other() given { v: u }, guide())", "biased: no bound on log p(z) - log p(v)"),
        ("iwelbo(model() given { z }, guide(), 3) - elbo(model() given { z }, guide())", "biased: no bound on 0"),
        ("sum(for i in 3 { elbo(model() given { z }, guide()) })", "lower bound on 3 log p(z)"),
        ("sum(for i in 3 { elbo(model() given { z: i * u }, guide()) })", "lower bound on sum of log p(z)"),
        ("sum(for i in 3 { sum(for j in 2 { elbo(model() given { z: i * u }, guide()) }) })", "lower bound on 2 sum of log p(z)"),
        ("sum([for i in 3 { [for j in 2 { elbo(model() given { z: i * u }, guide()) }] }])", "lower bound on sum of log p(z)"),
        ("stop(elbo(model() given { z }, guide()))", "lower bound on log p(z)"),
    ] {
        assert_eq!(claim("", objective), expected, "{objective}");
    }
}

/// `expect` blocks of a model `p`, a guide `q`, and two weights `lw`, `lv` of separate simulations.
fn block(body: &str) -> String {
    let d = format!(
        "objective mine(p: target, q: gen) = expect {{\n let (t, lq) = sim(q);  let lw = log_density(p, t) - lq\n \
         let (s, ls) = sim(q);  let lv = log_density(p, s) - ls\n {body}\n}}\n"
    );
    claim(&d, "mine")
}

#[test]
fn curvature_gives_directions() {
    for (body, expected) in [
        ("lw", "lower bound on log p(z)"),
        ("exp(lw)", "unbiased for p(z)"),
        ("exp(lw)^2", "upper bound on p(z)^2"),
        ("exp(lw)^3", "upper bound on p(z)^3"),
        ("exp(-lw)", "upper bound on p(z)^-1"),
        ("1 / exp(lw)", "upper bound on p(z)^-1"),
        ("exp(lw) / exp(lv)", NONE),
        ("sqrt(exp(lw))", "lower bound on p(z)^0.5"),
        ("exp(0.5 * lw)", "lower bound on p(z)^0.5"),
        ("log(exp(lw))", "lower bound on log p(z)"),
        ("log(exp(2 * lw)) / 2", "biased: no bound on log p(z)"),
        ("log(exp(0.5 * lw)) * 2", "lower bound on log p(z)"),
        ("-log(exp(-lw))", "biased: no bound on log p(z)"),
        ("exp(lw) * exp(lv)", "unbiased for p(z)^2"),
        ("exp(lw + lv)", "unbiased for p(z)^2"),
        ("exp(lw) * exp(lw)", "upper bound on p(z)^2"),
        ("exp(lw - 2)", "unbiased for exp(-2) p(z)"),
        ("lw + lv", "lower bound on 2 log p(z)"),
        ("lw - lv", "biased: no bound on 0"),
        ("log_sum_exp([for k in 4 { let (r, lr) = sim(q);  log_density(p, r) - lr }])", "lower bound on log p(z) + 1.386294"),
        ("exp(sum(for k in 3 { let (r, lr) = sim(q);  log_density(p, r) - lr }))", "unbiased for p(z)^3"),
        ("exp(sum(for k in 4 { let (r, lr) = sim(q);  log_density(p, r) - lr }) / 4)", "lower bound on p(z)"),
        (
            "exp(sum(for k in 3 { let (r, lr) = sim(q);  log_density(model() given { z: k * u }, r) - lr }))",
            "unbiased for product of p(z)",
        ),
        ("max(lw, lv)", NONE),
        ("lq", NONE),
        ("log_density(p, t)", NONE),
        ("log_density(p, t) - ls", NONE),
        ("log_density(p, t) + lq", NONE),
        ("log_density(p, t) - 2 * lq", NONE),
        ("log_density(p, t) - log_density(q, t)", "lower bound on log p(z)"),
        ("log_density(q, t) - lq + lw", "lower bound on log p(z)"),
        ("stop(lw) + lv - stop(lv)", "lower bound on log p(z)"),
    ] {
        assert_eq!(block(body), expected, "{body}");
    }
}

#[test]
fn auxiliary_programs_are_summed_out() {
    let d = "gen wide() { x ~ normal(m, 1);  y ~ normal(x, a);  e ~ normal(x, 1) }\n\
        gen first() { x ~ normal(m, 1) }\n gen second(x: real) { y ~ normal(x, 1) }\n\
        objective split(p: target) = expect {\n let (t, lq) = sim(first());  let (s, ls) = sim(second(t.x))\n\
         exp(log_density(second(2.0), s) + log_density(first(), t) - ls - lq)\n}\n";
    // Nothing is given: the mass is 1, and nothing is said of an evidence.
    assert_eq!(claim(d, "split(model() given { z })"), NONE);
}

#[test]
fn a_target_whose_given_values_are_drawn_has_no_fixed_evidence() {
    let d = "objective moving(q: gen) = expect {\n let (t, lq) = sim(other())\n let (s, ls) = sim(q)\n\
         log_density(model() given { z: t.v }, s) - ls\n}\n";
    assert_eq!(claim(d, "moving(guide())"), NONE);
}

/// A model with a finite choice, guides made of others, and posteriors.
const FINITE: &str = "gen coin() { b ~ flip(0.3);  z ~ normal(if b { 1.0 } else { -1.0 }, 1) }\n\
    gen toss() { b ~ flip_logits(m) }\n\
    gen wide() { e ~ normal(0, 1);  x ~ normal(m + e, 1);  y ~ normal(x, a) }\n\
    gen aux(t: trace of wide) { e ~ normal(0, 1) }\n\
    let hvi = marginal { x, y } of wide()\n\
    let iwhvi = marginal { x, y } of wide() by importance(aux, 5)\n\
    let exact = normalize coin() given { z } by enumeration\n\
    let summed = marginal { z } of coin() by enumeration\n\
    let sampled = normalize model() given { z } by sir(guide(), 4)\n\
    objective forward(p: target, q: gen, post: gen) = expect { let (t, _) = sim(post);  log_density(p, t) - log_density(q, t) }\n\
    objective divergence(q: gen, post: gen) = expect { let (t, l) = sim(post);  l - log_density(q, t) }\n\
    objective again(p: target, q: gen) = expect { let (t, _) = sim(q);  log_density(p, t) - log_density(q, t) }\n\
    objective alone(p: target, q: gen) = expect { let (t, l) = sim(q);  log_density(p, t) }\n\
    objective total(p: target) = expect { let (t, l) = sim(sampled);  exp(log_density(p, t) - l) }\n";

#[test]
fn estimated_densities_keep_or_lose_directions() {
    for (objective, expected) in [
        ("elbo(model() given { z }, hvi)", "lower bound on log p(z)"),
        ("iwelbo(model() given { z }, iwhvi, 5)", "lower bound on log p(z)"),
        ("evidence(model() given { z }, iwhvi, 5)", "unbiased for p(z)"),
        ("cubo(model() given { z }, hvi)", "upper bound on p(z)^2"),
        ("elbo(model() given { z }, sampled)", "lower bound on log p(z)"),
        ("total(model() given { z })", "unbiased for p(z)"),
        // A guide's density of its own trace, estimated anew, is high where the bound is low.
        ("again(model() given { z }, guide())", "lower bound on log p(z)"),
        ("again(model() given { z }, hvi)", "biased: no bound on log p(z)"),
        ("alone(model() given { z }, hvi)", NONE),
        // Draws of an approximate posterior do not make an upper bound.
        ("forward(model() given { z }, guide(), sampled)", "biased: no bound on log p(z)"),
    ] {
        assert_eq!(claim(FINITE, objective), expected, "{objective}");
    }
}

#[test]
fn a_marginal_has_the_evidence_of_its_program() {
    let d = "gen mixture() { x ~ normal(0, 1);  b ~ flip(0.5);  z ~ normal(if b { x } else { -x }, 1) }\n\
        gen both() { x ~ normal(m, a);  b ~ flip(0.4) }\n gen one() { x ~ normal(m, a) }\n\
        let summed = marginal { x, z } of mixture() by enumeration\n";
    let objective = "elbo(mixture() given { z }, both()) + elbo(summed given { z }, one())";
    assert_eq!(claim(d, objective), "lower bound on 2 log p(z)");
    // Without a choice left, the bound is the evidence.
    let d0 = format!("{FINITE}gen nothing() {{ }}\n");
    assert_eq!(claim(&d0, "elbo(summed given { z }, nothing())"), "exactly log p(z)");
    // Given inside, or outside.
    let objective = "elbo(marginal { x } of mixture() given { z } by enumeration, one()) + elbo(summed given { z }, one())";
    assert_eq!(claim(d, objective), "lower bound on 2 log p(z)");
}

#[test]
fn exact_posteriors_give_upper_bounds() {
    for (objective, expected) in [
        ("eubo(coin() given { z }, toss())", "upper bound on log p(z)"),
        ("-eubo(coin() given { z }, toss())", "lower bound on -log p(z)"),
        ("forward(coin() given { z }, toss(), exact)", "upper bound on log p(z)"),
        ("elbo(coin() given { z }, exact)", "exactly log p(z)"),
        ("elbo(coin() given { z }, toss())", "lower bound on log p(z)"),
        (
            "eubo(coin() given { z }, toss()) - elbo(coin() given { z }, toss())",
            "evidence gap: at least the distance of either bound from log p(z)",
        ),
        ("symmetric_kl(coin() given { z }, toss())", "evidence gap: at least the distance of either bound from log p(z)"),
        // Another target's posterior.
        ("forward(coin() given { z: u }, toss(), exact)", NONE),
        ("divergence(toss(), exact)", NONE),
    ] {
        assert_eq!(claim(FINITE, objective), expected, "{objective}");
    }
}

#[test]
fn independent_estimates_multiply() {
    let e = "evidence(model() given { z }, guide(), 2)";
    assert_eq!(claim("", &format!("{e} * {e}")), "unbiased for p(z)^2");
    assert_eq!(claim("", &format!("{e} * evidence(other() given {{ v: u }}, guide(), 2)")), "unbiased for p(z) p(v)");
    let d = "objective twice(p: target, q: gen) = { let e = evidence(p, q, 2)\n e * e }\n";
    let text = format!("{MODEL}{d}\nfit model() given {{ z }} with guide() maximize twice\n");
    assert_eq!(checked(&text).diagnostics.iter().map(|d| d.code.0).collect::<Vec<_>>(), ["E0414"]);
}
