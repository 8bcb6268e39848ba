//! `ppl tune` as users run it. Times are the machine's; what is asserted follows from variances that differ by orders of magnitude.

mod common;

use common::{folder, ppl};
use serde_json::Value;

/// Objects in an image of four pixels: whether there is a next one, and how bright it is. Presence and brightness by the score function, as a beginner
/// would write it.
const SCENE: &str = "\
data img: real[4]
param w: real[4] = 0.1
param b: real = 0.5
param at: real = 1.0
param spread: positive = 0.3

gen scene() {
  let (_, total) = for t in 2 carry (on = true, c = 0.0) {
    let here = if on { z_pres[t] ~ flip(0.5); z_pres[t] } else { false }
    if here {
      bright[t] ~ normal(1, 0.5)
      (true, c + bright[t])
    } else { (false, c) }
  }
  for i in 4 { img[i] ~ normal(total, 0.3) }
}

gen look() {
  for t in 2 carry (on = true) {
    let here = if on { z_pres[t] ~ flip_logits(dot(w, img) + b) by reinforce; z_pres[t] } else { false }
    if here { bright[t] ~ normal(at, spread) by reinforce }
    here
  }
}

fit scene() given { img } with look()
  using adam(0.01), steps 300, particles 4, draws 50
";
const IMG: &str = r#"{"img": [1.9, 2.1, 2.0, 2.2]}"#;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text}"))
}

fn tuned(text: &str, arguments: &[&str]) -> Value {
    let dir = folder(&[("m.ppl", text)]);
    let ran = ppl(dir.path(), &[&["tune", "m.ppl", "--json"], arguments].concat(), "");
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    json(&ran.out)
}

fn choice<'a>(v: &'a Value, name: &str) -> &'a Value {
    v["choices"].as_array().into_iter().flatten().find(|c| c["choice"] == name).unwrap_or_else(|| panic!("no {name} in {v:#}"))
}

fn strategy<'a>(v: &'a Value, name: &str, strategy: &str) -> &'a Value {
    let all = choice(v, name)["strategies"].as_array();
    all.into_iter().flatten().find(|s| s["strategy"] == strategy).unwrap_or_else(|| panic!("no {strategy} in {v:#}"))
}

/// Strategies that differentiate the value.
const PATHWISE: [&str; 4] = ["reparam", "implicit", "antithetic", "quasi_monte_carlo"];
const EXACT: [&str; 3] = ["measure_valued", "enumerate", "local_expectation"];

#[test]
fn presence_and_place_get_better_strategies() {
    let v = tuned(SCENE, &["--data", IMG, "--draws", "1000", "--warmup", "100", "--budget", "100"]);
    let (pres, bright) = (choice(&v, "z_pres"), choice(&v, "bright"));
    assert_eq!((pres["current"].as_str(), bright["current"].as_str()), (Some("reinforce"), Some("reinforce")));
    assert!(EXACT.contains(&pres["picked"].as_str().unwrap()), "{v:#}");
    let path = bright["picked"].as_str().unwrap();
    assert!(PATHWISE.contains(&path), "{v:#}");
    // All that take the distribution are listed.
    for s in
        ["reinforce", "reinforce_mean", "reinforce_learned", "leave_one_out", "control_variate", "enumerate", "measure_valued"]
    {
        assert!(strategy(&v, "z_pres", s)["status"].is_string());
    }
    assert!(strategy(&v, "bright", "reparam")["ratio"].as_f64().unwrap() < 0.5);
    assert!(v["overall"]["ratio"].as_f64().unwrap() < 0.5, "{v:#}");
    assert_eq!(v["by"], serde_json::json!([format!("z_pres={}", pres["picked"].as_str().unwrap()), format!("bright={path}")]));
    // They are written at the choices, so that is where to change them.
    let places = v["source"]["places"].as_array().unwrap();
    assert_eq!(places.len(), 2);
    assert!(places.iter().all(|p| p["replaces"] == true && p["text"] == "reinforce"));
    assert!(places[0]["at"].as_str().unwrap().contains("m.ppl:20:"), "{v:#}");
}

#[test]
fn what_is_picked_is_text_to_paste() {
    // The compiler's own choice for `b` is to sum; `x` by the score function from outside of the guide.
    let text = "param p: real = 0.3\nparam m: real = 0.3\n\
        gen model() { b ~ flip(0.4);  x ~ normal(0, 1);  y ~ normal(if b { x } else { -x }, 0.5) }\n\
        gen guide(s) { b ~ flip_logits(p);  x ~ normal(m, s) }\n\
        fit model() given { y: 0.7 } with guide(0.8) by { x: reinforce, b: reinforce(1.5) }\n";
    let v = tuned(text, &["--draws", "2000", "--warmup", "50"]);
    assert_eq!(choice(&v, "b")["current"], "reinforce(1.5)");
    let b = choice(&v, "b")["picked"].as_str().unwrap().to_string();
    // A fitted parabola and a smooth path are both far better than the score alone.
    let x = choice(&v, "x")["picked"].as_str().unwrap().to_string();
    assert!(EXACT.contains(&b.as_str()) && (PATHWISE.contains(&x.as_str()) || x == "control_variate"), "{v:#}");
    let guide = v["source"]["guide"].as_str().unwrap();
    assert!(
        guide.starts_with("guide(0.8) by { ") && guide.contains(&format!("b: {b}")) && guide.contains(&format!("x: {x}")),
        "{guide}"
    );
    // Both forms do what they say.
    let pasted = text.replace("guide(0.8) by { x: reinforce, b: reinforce(1.5) }", guide);
    let dir = folder(&[("m.ppl", text), ("n.ppl", &pasted)]);
    let fit = |file: &str, more: &[&str]| {
        let ran = ppl(dir.path(), &[&["fit", file, "--json", "--no-save", "--steps", "5"], more].concat(), "");
        assert_eq!(ran.code, 0, "{}", ran.err);
        let v = json(&ran.out);
        let all = v["strategies"].as_array().unwrap().iter();
        all.map(|s| (s["choice"].to_string(), s["strategy"].to_string())).collect::<Vec<_>>()
    };
    let by: Vec<String> = v["by"].as_array().unwrap().iter().map(|b| b.as_str().unwrap().to_string()).collect();
    let options: Vec<&str> = by.iter().flat_map(|b| ["--by", b.as_str()]).collect();
    assert_eq!(fit("n.ppl", &[]), fit("m.ppl", &options));
    assert!(v["search"]["exhaustive"] == true || v["search"]["sweeps"].as_u64() >= Some(1));
}

#[test]
fn refused_strategies_are_listed_with_the_reason() {
    let text = "strategy needs_one(a: real) for flip_logits(l) (k) { let x = draw flip_logits(l); let c = k(x)\n c + stop(c - a) * score(flip_logits(l), x) }\n\
        param p: real = 0.3\n\
        gen guide() { b ~ flip_logits(p) }\n\
        objective o() = expect { let (t, _) = sim(guide()); if t.b { 3.0 } else { 1.0 } }\nfit maximize o()\n";
    let v = tuned(text, &["--draws", "200", "--warmup", "10"]);
    let row = strategy(&v, "b", "needs_one");
    assert_eq!(
        (row["status"].as_str(), row["error"]["title"].as_str()),
        (Some("refused"), Some("`needs_one` needs `a`")),
        "{v:#}"
    );
    // The gradient is exact already: nothing is better by its variance.
    assert_eq!(strategy(&v, "b", "enumerate")["variance"], 0.0);
    // As a table, with the reason.
    let dir = folder(&[("m.ppl", text)]);
    let ran = ppl(dir.path(), &["tune", "m.ppl", "--draws", "200", "--by", "b=reinforce"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("refused: `needs_one` needs `a`") && ran.out.contains("variance x s"), "{}", ran.out);
}

#[test]
fn a_choice_is_called_by_its_program_where_its_name_is_not_enough() {
    // `weak_derivative` takes the guide's distribution, not the model's of the same name.
    let text = "param r: positive = 2.0\n\
        gen model() { n ~ geometric(0.3);  y ~ normal(real(n), 1) }\n\
        gen guide() { n ~ poisson(r) by reinforce }\n\
        fit model() given { y: 3.0 } with guide()\n";
    let v = tuned(text, &["--draws", "1000", "--warmup", "10"]);
    let row = strategy(&v, "n", "weak_derivative");
    assert_eq!((row["status"].as_str(), row["address"].as_str()), (Some("measured"), Some("guide.n")), "{v:#}");
    let dir = folder(&[("m.ppl", text)]);
    let ran = ppl(dir.path(), &["fit", "m.ppl", "--by", "guide.n=weak_derivative", "--steps", "5", "--json", "--no-save"], "");
    assert_eq!((ran.code, &json(&ran.out)["strategies"][0]["strategy"]), (0, &"weak_derivative".into()), "{}", ran.err);
}

#[test]
fn several_goals_are_tuned_together() {
    let text = "param a: real = 0.0\nparam m: real = 0.3\nparam s: positive = 1.0\n\
        gen model() { z ~ normal(a, 1);  y ~ normal(z, 1) }\n\
        gen guide() { z ~ normal(m, s) by reinforce }\n\
        fit model() given { y: 1.0 } with guide()\n  maximize elbo over params(model), elbo over params(guide)\n";
    let v = tuned(text, &["--draws", "1000", "--warmup", "10"]);
    let z = choice(&v, "z")["picked"].as_str().unwrap();
    assert!(PATHWISE.contains(&z) || z == "control_variate", "{v:#}");
    assert!(strategy(&v, "z", "reparam")["ratio"].as_f64().unwrap() < 0.7, "{v:#}");
}

#[test]
fn there_may_be_nothing_to_tune() {
    let dir = folder(&[("m.ppl", "gen m() { x ~ normal(0, 1) }\ngen q() { x ~ normal(0.1, 1) }\nfit m() with q()\n")]);
    let ran = ppl(dir.path(), &["tune", "m.ppl"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("nothing to tune"), "{}", ran.out);
}

#[test]
fn a_fit_is_tuned_first_and_can_be_repeated() {
    let dir = folder(&[("m.ppl", SCENE)]);
    let args = ["fit", "m.ppl", "--data", IMG, "--tune", "--tune-budget", "10", "--out", "r"];
    let ran = ppl(dir.path(), &args, "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("after 30 steps with the strategies in use") && ran.err.contains("picked"), "{}", ran.err);
    let text = std::fs::read_to_string(dir.path().join("r/settings.json")).unwrap();
    let settings = json(&text);
    let found = &settings["options"];
    let found = if found.is_null() { &settings } else { found };
    let by: Vec<&str> = found["tuning"]["by"].as_array().unwrap().iter().map(|b| b.as_str().unwrap()).collect();
    assert!(by.iter().any(|b| b.strip_prefix("bright=").is_some_and(|s| PATHWISE.contains(&s))), "{text}");
    // The same strategies give the same fit.
    let options: Vec<&str> = by.iter().flat_map(|b| ["--by", b]).collect();
    let again = ppl(dir.path(), &[&["fit", "m.ppl", "--data", IMG, "--out", "s"][..], &options].concat(), "");
    assert_eq!(again.code, 0, "{}", again.err);
    let params = |run: &str| std::fs::read(dir.path().join(run).join("params.safetensors")).unwrap();
    assert_eq!(params("r"), params("s"));
}

#[test]
fn wrong_usage_is_told() {
    let dir = folder(&[("m.ppl", SCENE)]);
    for (args, part) in [
        (&["fit", "m.ppl", "--data", IMG, "--tune", "--engine", "interp", "--no-save"][..], "native code"),
        (&["fit", "m.ppl", "--tune-after", "5"][..], "--tune"),
        (&["tune", "m.ppl", "--budget", "0"][..], "seconds"),
    ] {
        let ran = ppl(dir.path(), args, "");
        assert!(ran.code == 2 && ran.err.contains(part), "{args:?} {}\n{}", ran.code, ran.err);
    }
    let ran = ppl(dir.path(), &["tune", "m.ppl", "--data", IMG, "--by", "bright=enumerate"], "");
    assert!(ran.code == 1 && ran.err.contains("E0412"), "{}", ran.err);
}

#[test]
fn biased_strategies_are_listed_and_taken_only_if_allowed() {
    let text = "param p: real = 0.3\n\
        biased strategy nothing for d (k) = k(draw d)\n\
        gen guide() { b ~ flip_logits(p) by reinforce }\n\
        objective o() = expect { let (t, _) = sim(guide()); if t.b { 3.0 } else { 1.0 } }\nfit maximize o()\n";
    let v = tuned(text, &["--draws", "200", "--warmup", "10"]);
    let row = strategy(&v, "b", "nothing");
    assert_eq!((row["status"].as_str(), row["biased"].as_bool()), (Some("biased"), Some(true)), "{v:#}");
    assert!(EXACT.contains(&choice(&v, "b")["picked"].as_str().unwrap()), "{v:#}");
    // Without a gradient there is no variance: the fastest of all.
    let v = tuned(text, &["--draws", "200", "--warmup", "10", "--allow-biased"]);
    let row = strategy(&v, "b", "nothing");
    assert_eq!((row["status"].as_str(), row["variance"].as_f64()), (Some("measured"), Some(0.0)), "{v:#}");
}
