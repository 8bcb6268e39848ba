//! Common benchmarks: small programs whose gradient every estimator that can take them is measured on.

use super::Kind;
use crate::engine::native;
use crate::{Fitted, Model, root};
use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_fit::certify::Moments;

/// A program with a place for the estimator.
#[derive(Clone, Copy, Debug)]
pub struct Benchmark {
    /// Its name in files.
    pub name: &'static str,
    /// Its name for readers.
    pub title: &'static str,
    /// What is measured on it.
    pub kind: Kind,
    /// The program; `S` stands for a strategy, `O` for an objective with its arguments.
    pub text: &'static str,
    /// The distribution of its choices, of strategies.
    pub dist: &'static str,
    /// A proposal for `importance`.
    pub proposal: &'static str,
}

/// All benchmarks.
pub const ALL: &[Benchmark] = &[
    Benchmark {
        name: "truth_values",
        title: "four truth values",
        kind: Kind::Strategy,
        text: "param l: real[4] = [0.3, -0.4, 0.8, -0.1]
gen model() { a ~ flip(0.5);  b ~ flip(0.5);  c ~ flip(0.5);  d ~ flip(0.5)
  factor -0.125 * (real(a) + 2 * real(b) + 3 * real(c) + 4 * real(d) - 4)^2 }
gen guide() { a ~ flip_logits(l[0]) by S;  b ~ flip_logits(l[1]) by S;  c ~ flip_logits(l[2]) by S;  d ~ flip_logits(l[3]) by S }
fit model() with guide() using adam(0.01), particles 1",
        dist: "flip_logits",
        proposal: "flip(0.5)",
    },
    Benchmark {
        name: "indices",
        title: "three indices",
        kind: Kind::Strategy,
        text: "param w: real[3, 3] = [[0.3, -0.4, 0.8], [-0.1, 0.2, 0.5], [0.0, 0.6, -0.7]]
gen model() { a ~ categorical([0.2, 0.5, 0.3]);  b ~ categorical([0.3, 0.3, 0.4]);  c ~ categorical([0.6, 0.2, 0.2])
  let v = [-1.0, 0.4, 1.5]
  factor -(v[a] + 2 * v[b] - v[c] - 1)^2 }
gen guide() { a ~ categorical_logits(w[0]) by S;  b ~ categorical_logits(w[1]) by S;  c ~ categorical_logits(w[2]) by S }
fit model() with guide() using adam(0.01), particles 1",
        dist: "categorical_logits",
        proposal: "categorical([0.4, 0.3, 0.3])",
    },
    Benchmark {
        name: "counts",
        title: "two counts",
        kind: Kind::Strategy,
        text: "param r: positive[2] = [2.0, 3.5]
gen model() { a ~ poisson(3);  b ~ poisson(2)
  factor -0.125 * (real(a) + 2 * real(b) - 8)^2 }
gen guide() { a ~ poisson(r[0]) by S;  b ~ poisson(r[1]) by S }
fit model() with guide() using adam(0.01), particles 1",
        dist: "poisson",
        proposal: "geometric(0.2)",
    },
    Benchmark {
        name: "reals",
        title: "two reals",
        kind: Kind::Strategy,
        text: "param m: real[2] = [0.3, -0.5]
param s: positive[2] = [0.8, 0.6]
gen model() { a ~ normal(0, 1);  b ~ normal(a, 1)
  factor -0.5 * (a^2 + b - 1)^2 }
gen guide() { a ~ normal(m[0], s[0]) by S;  b ~ normal(m[1], s[1]) by S }
fit model() with guide() using adam(0.01), particles 1",
        dist: "normal",
        proposal: "student_t(4, 0, 1.5)",
    },
    Benchmark {
        name: "positive_reals",
        title: "two positive reals",
        kind: Kind::Strategy,
        text: "param s: positive[2] = [1.5, 3.0]
param r: positive[2] = [1.2, 2.0]
gen model() { a ~ gamma(2, 1);  b ~ gamma(a, 1)
  factor -0.5 * (a + b - 3)^2 }
gen guide() { a ~ gamma(s[0], r[0]) by S;  b ~ gamma(s[1], r[1]) by S }
fit model() with guide() using adam(0.01), particles 1",
        dist: "gamma",
        proposal: "half_cauchy(1.5)",
    },
    Benchmark {
        name: "discrete_model",
        title: "a discrete model",
        kind: Kind::Objective,
        text: "param l: real[3] = [-0.6, 0.4, 0.2]
gen model() { a ~ flip(0.4);  b ~ flip(0.4);  c ~ flip(0.4);  y ~ normal(real(a) + 2 * real(b) + 3 * real(c), 0.8) }
gen guide() { a ~ flip_logits(l[0]) by leave_one_out;  b ~ flip_logits(l[1]) by leave_one_out;  c ~ flip_logits(l[2]) by leave_one_out }
let t = model() given { y: 2.6 }
let post = normalize model() given { y: 2.6 } by enumeration
fit maximize O using adam(0.01), particles 1",
        dist: "",
        proposal: "",
    },
    Benchmark {
        name: "normal_model",
        title: "a normal model",
        kind: Kind::Objective,
        text: "param m: real = 0.3
param s: real = -0.2
gen model() { x ~ normal(0, 1);  y ~ normal(x, 1) }
gen guide() { x ~ normal(m, exp(s)) }
gen mixed() { u ~ flip(0.4);  x ~ normal(m + select(u, 0.9, 0.0), exp(s)) }
gen aux(t: trace of mixed) { u ~ flip(0.5) }
let t = model() given { y: 0.8 }
fit maximize O using adam(0.01), particles 1",
        dist: "",
        proposal: "",
    },
];

/// Objectives as they are called on a benchmark.
pub const CALLS: &[(&str, &str, &str)] = &[
    ("discrete_model", "elbo", "elbo(t, guide())"),
    ("discrete_model", "iwelbo", "iwelbo(t, guide(), 5)"),
    ("discrete_model", "renyi", "renyi(t, guide(), 0.5, 5)"),
    ("discrete_model", "vr_max", "vr_max(t, guide(), 5)"),
    ("discrete_model", "evidence", "evidence(t, guide(), 5, -2.0)"),
    ("discrete_model", "cubo", "cubo(t, guide(), -2.0)"),
    ("discrete_model", "eubo", "eubo(t, guide())"),
    ("discrete_model", "symmetric_kl", "symmetric_kl(t, guide())"),
    ("discrete_model", "thermodynamic", "thermodynamic(t, guide(), 5)"),
    ("discrete_model", "vimco", "vimco(t, guide(), 5)"),
    ("discrete_model", "log_variance", "log_variance(t, guide(), 5)"),
    ("discrete_model", "q_wake", "q_wake(t, guide(), 5)"),
    ("discrete_model", "analytic_elbo", "analytic_elbo(t, guide())"),
    ("discrete_model", "reverse_kl", "reverse_kl(post, guide())"),
    ("discrete_model", "forward_kl", "forward_kl(post, guide())"),
    ("discrete_model", "jeffreys", "jeffreys(post, guide())"),
    ("discrete_model", "jensen_shannon", "jensen_shannon(post, guide())"),
    ("discrete_model", "f_divergence", "f_divergence(post, guide(), hellinger_generator)"),
    ("normal_model", "elbo", "elbo(t, guide())"),
    ("normal_model", "iwelbo", "iwelbo(t, guide(), 5)"),
    ("normal_model", "renyi", "renyi(t, guide(), 0.5, 5)"),
    ("normal_model", "vr_max", "vr_max(t, guide(), 5)"),
    ("normal_model", "cubo", "cubo(t, guide(), -1.4)"),
    ("normal_model", "thermodynamic", "thermodynamic(t, guide(), 5)"),
    ("normal_model", "stl", "stl(t, guide())"),
    ("normal_model", "dreg", "dreg(t, guide(), 5)"),
    ("normal_model", "vimco", "vimco(t, guide(), 5)"),
    ("normal_model", "log_variance", "log_variance(t, guide(), 5)"),
    ("normal_model", "q_wake", "q_wake(t, guide(), 5)"),
    ("normal_model", "analytic_elbo", "analytic_elbo(t, guide())"),
    ("normal_model", "fisher_divergence", "fisher_divergence(t, guide())"),
    ("normal_model", "hvi", "hvi(t, mixed())"),
    ("normal_model", "iwhvi", "iwhvi(t, mixed(), aux, 3)"),
    ("normal_model", "diwhvi", "diwhvi(t, mixed(), aux, 5, 3)"),
    ("normal_model", "sivi", "sivi(t, mixed(), 3)"),
    ("normal_model", "uivi", "uivi(t, mixed(), 3)"),
];

/// Why an entry is measured on no benchmark.
pub const UNMEASURED: &[(&str, &str)] = &[
    ("p_wake", "it has no gradient for the guide, which the benchmarks learn; for the model's parameters it is that of `iwelbo`"),
    ("exp_of", "its variance is that of what it is the exponential of"),
];

/// Steps in which strategies settle what they learn and remember.
const SETTLE: usize = 2000;
/// Draws of the gradient.
const DRAWS: u64 = 4000;

/// A measured gradient.
pub struct Measured {
    /// Summed variances of the components, over their summed squared means for objectives.
    pub variance: f64,
    /// Microseconds of a gradient.
    pub micros: f64,
}

impl Benchmark {
    /// The strategy as it is written, with its arguments.
    pub fn strategy(&self, name: &str) -> String {
        match name {
            "importance" => format!("importance({})", self.proposal),
            "reinforce_baseline" => "reinforce_baseline(-1.0)".into(),
            _ => name.into(),
        }
    }

    /// The program with an estimator in its place.
    pub fn program(&self, estimator: &str) -> String {
        match self.kind {
            Kind::Strategy => self.text.replace("by S", &format!("by {estimator}")),
            Kind::Objective => self.text.replace("maximize O", &format!("maximize {estimator}")),
        }
    }

    /// Names of the strategies that take its distribution.
    pub fn strategies(&self) -> Result<Vec<String>, String> {
        let model = Model::from_text(&self.program("reinforce"), root(), &[]).map_err(|e| format!("{e:?}"))?;
        let program = model.check(&FitOverrides::default()).map_err(|e| format!("{e:?}"))?;
        let d = program.module.dists.iter().find(|d| d.name == self.dist);
        Ok(d.map(|d| d.works_with.clone()).unwrap_or_default())
    }

    /// Measures an estimator, for about `seconds`.
    pub fn measure(&self, estimator: &str, seconds: f64) -> Result<Measured, String> {
        // The compiler's warnings are the reader's: an upper bound is maximised here like a lower one.
        let text = self.program(estimator);
        let model = Model::from_text(&text, root(), &[]).map_err(|e| format!("{e:?}"))?;
        let mut f = Fitted::warned(&model).map_err(|e| format!("{text}\n{e:?}"))?;
        if f.code.own.iter().any(|own| !own) || !f.code.carried.is_empty() {
            f.settle(SETTLE)?;
        }
        let mut r = native(&f.code.gradient, &f.inputs(&f.code.inputs), Precision::F64)?;
        let mut moments: Vec<Moments> = Vec::new();
        for step in 0..DRAWS {
            r.run(7, step);
            let own = (0..f.code.learned.len()).filter(|k| f.code.own[*k]);
            let all: Vec<f64> = own.flat_map(|k| r.output_values(1 + k)).collect();
            moments.resize(all.len(), Moments::default());
            moments.iter_mut().zip(all).for_each(|(m, x)| m.add(x));
        }
        let micros = crate::timing::median(seconds, |k| r.run(7, k));
        let variance: f64 = moments.iter().map(Moments::variance).sum();
        let scale = match self.kind {
            Kind::Strategy => 1.0,
            Kind::Objective => moments.iter().map(|m| m.mean() * m.mean()).sum(),
        };
        Ok(Measured { variance: variance / scale, micros })
    }
}
