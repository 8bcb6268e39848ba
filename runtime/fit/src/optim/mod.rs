//! Optimisers as data, and their reference implementations.
//!
//! With `g` the gradient of what is minimised (the negated gradient of what is maximised), `lr` the learning rate of the step
//! and `s` the number of updates so far, each element `x` changes independently:
//!
//! | optimiser | update | reference |
//! |---|---|---|
//! | sgd | x -= lr g | Robbins & Monro 1951 |
//! | momentum(mu) | v = mu v + g; x -= lr v | Polyak 1964 |
//! | nesterov(mu) | v = mu v + g; x -= lr (g + mu v) | Nesterov 1983, as in Sutskever et al. 2013 |
//! | adam(b1, b2, eps) | m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; x -= lr m^ / (sqrt(v^) + eps) with m^ = m / (1 - b1^(s+1)), v^ = v / (1 - b2^(s+1)) | Kingma & Ba 2015, algorithm 1 |
//! | rmsprop(rho, eps) | v = rho v + (1 - rho) g^2; x -= lr g / (sqrt(v) + eps) | Tieleman & Hinton 2012 |
//! | adagrad(eps) | v = v + g^2; x -= lr g / (sqrt(v) + eps) | Duchi, Hazan & Singer 2011 |
//!
//! Before that the gradients may be clipped: `clip_norm = c` multiplies all gradients of an objective by `min(1, c / norm)`, `norm` being the
//! Euclidean norm of all of them together (Pascanu, Mikolov & Bengio 2013), then `clip_value = c` takes each element into `[-c, c]`.
//!
//! State starts at 0. The compiled step uses the same formulas in the same order of operations; [`OptimizerState::update`] is
//! what its tests and the interpreter compare with.

mod calls;
mod schedule;
#[cfg(test)]
mod tests;

use std::fmt;

use ppl_diag::{Code, Diagnostic};
pub use schedule::{Schedule, Shape};
use serde::{Deserialize, Serialize};

use crate::step::Param;

/// An update rule and its decay rates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Plain stochastic gradient steps.
    Sgd,
    /// Heavy-ball momentum, or Nesterov's.
    Momentum {
        /// Decay of the velocity, in [0, 1).
        mu: f64,
        /// Whether the step looks ahead.
        nesterov: bool,
    },
    /// Adam.
    Adam {
        /// Decay of the first moment, in [0, 1).
        beta1: f64,
        /// Decay of the second moment, in [0, 1).
        beta2: f64,
        /// Added to the root, outside of it.
        eps: f64,
    },
    /// RMSProp.
    RmsProp {
        /// Decay of the squared gradient, in [0, 1).
        rho: f64,
        /// Added to the root, outside of it.
        eps: f64,
    },
    /// AdaGrad.
    AdaGrad {
        /// Added to the root, outside of it.
        eps: f64,
    },
}

/// Bounds on gradients, applied before the update rule sees them; the norm first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// Largest Euclidean norm of the gradients of one objective.
    pub norm: Option<f64>,
    /// Largest magnitude of an element.
    pub value: Option<f64>,
}

/// An optimiser with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerSpec {
    /// The update rule.
    pub kind: OptimizerKind,
    /// Base learning rate.
    pub rate: f64,
    /// Bounds on gradients.
    #[serde(default)]
    pub clip: Clip,
    /// How the rate changes.
    pub schedule: Schedule,
}

/// Whether the objective is to rise or to fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// As a lower bound (`maximize elbo`).
    Maximize,
    /// As a divergence or a loss.
    Minimize,
}

impl Direction {
    /// 1 where larger is better, -1 where smaller is.
    pub fn sign(self) -> f64 {
        match self {
            Direction::Maximize => 1.0,
            Direction::Minimize => -1.0,
        }
    }
}

/// Optimisers by name: settings in the order of positional arguments, with defaults as in the cited papers or, where these
/// leave them open, in common libraries.
const TABLE: calls::Table = &[
    ("sgd", &[("rate", 1e-2)]),
    ("momentum", &[("rate", 1e-2), ("mu", 0.9)]),
    ("nesterov", &[("rate", 1e-2), ("mu", 0.9)]),
    ("adam", &[("rate", 1e-3), ("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8)]),
    ("rmsprop", &[("rate", 1e-3), ("rho", 0.9), ("eps", 1e-8)]),
    ("adagrad", &[("rate", 1e-2), ("eps", 1e-10)]),
];

/// Settings that every optimiser takes.
const CLIPS: [&str; 2] = ["clip_norm", "clip_value"];

impl Clip {
    /// Bounds the gradients of one objective.
    pub fn apply(&self, gradients: &mut [Vec<f64>]) {
        if let Some(bound) = self.norm {
            // Relative to the largest element, so that no square overflows; what is not finite stays so.
            let largest = gradients.iter().flatten().fold(f64::from(f32::MIN_POSITIVE), |m, g| m.max(g.abs()));
            let norm = largest * gradients.iter().flatten().map(|g| (g / largest) * (g / largest)).sum::<f64>().sqrt();
            let factor = (bound / norm).min(1.0);
            gradients.iter_mut().flatten().for_each(|g| *g *= factor);
        }
        if let Some(bound) = self.value {
            gradients.iter_mut().flatten().for_each(|g| *g = g.clamp(-bound, bound));
        }
    }
}

impl OptimizerSpec {
    /// The names of all optimisers.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(n, _)| *n)
    }

    /// The optimiser that a call such as `adam(1e-2, beta1 = 0.5)` means. The first positional argument is the rate (`lr` is
    /// another name for it).
    ///
    /// # Errors
    /// `E0704` for an unknown name or argument, one given twice, or one out of range. The label is for the caller to add.
    pub fn from_call(name: &str, positional: &[f64], named: &[(&str, f64)]) -> Result<Self, Diagnostic> {
        // Every optimiser takes the bounds, by name only.
        let (bounds, named): (Vec<_>, Vec<_>) = named.iter().copied().partition(|(k, _)| CLIPS.contains(k));
        let value = calls::arguments("optimiser", TABLE, name, positional, &named)
            .map_err(|d| if named.is_empty() { d } else { d.note(format!("every optimiser also takes {}", CLIPS.join(", "))) })?;
        let mut clip = Clip::default();
        for (key, bound) in bounds {
            let slot = if key == CLIPS[0] { &mut clip.norm } else { &mut clip.value };
            if slot.replace(bound).is_some() {
                return Err(Diagnostic::error(Code("E0704"), format!("`{key}` of `{name}` is given twice")));
            }
        }
        let kind = match name {
            "sgd" => OptimizerKind::Sgd,
            "momentum" => OptimizerKind::Momentum { mu: value("mu"), nesterov: false },
            "nesterov" => OptimizerKind::Momentum { mu: value("mu"), nesterov: true },
            "adam" => OptimizerKind::Adam { beta1: value("beta1"), beta2: value("beta2"), eps: value("eps") },
            "rmsprop" => OptimizerKind::RmsProp { rho: value("rho"), eps: value("eps") },
            _ => OptimizerKind::AdaGrad { eps: value("eps") },
        };
        let spec = Self { kind, rate: value("rate"), clip, schedule: Schedule::default() };
        spec.check()?;
        Ok(spec)
    }

    /// Whether all settings are in range.
    ///
    /// # Errors
    /// `E0704`, naming the setting and its range.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let decay = |name: &str, x: f64| (!(0.0..1.0).contains(&x)).then(|| format!("`{name}` must lie in [0, 1), not {x}"));
        let eps = |x: f64| (!(x >= 0.0 && x.is_finite())).then(|| format!("`eps` must not be negative, but is {x}"));
        let rate = (!(self.rate > 0.0 && self.rate.is_finite()))
            .then(|| format!("the learning rate must be a positive number, not {}", self.rate));
        let of_kind = || match self.kind {
            OptimizerKind::Sgd => None,
            OptimizerKind::Momentum { mu, .. } => decay("mu", mu),
            OptimizerKind::Adam { beta1, beta2, eps: e } => {
                decay("beta1", beta1).or_else(|| decay("beta2", beta2)).or_else(|| eps(e))
            }
            OptimizerKind::RmsProp { rho, eps: e } => decay("rho", rho).or_else(|| eps(e)),
            OptimizerKind::AdaGrad { eps: e } => eps(e),
        };
        let bound = |name: &str, x: Option<f64>| {
            x.filter(|x| !(*x > 0.0 && x.is_finite())).map(|x| format!("`{name}` must be a positive number, not {x}"))
        };
        let clip = || bound(CLIPS[0], self.clip.norm).or_else(|| bound(CLIPS[1], self.clip.value));
        match rate.or_else(of_kind).or_else(clip).or_else(|| self.schedule.problem()) {
            Some(problem) => Err(Diagnostic::error(Code("E0704"), problem)),
            None => Ok(()),
        }
    }

    /// The learning rate at `step` (from 0) of `total` steps.
    pub fn learning_rate(&self, step: u64, total: u64) -> f64 {
        self.rate * self.schedule.factor(step, total)
    }

    /// Names of the state arrays it keeps for each parameter, such as `m` and `v`.
    pub fn state_names(&self) -> &'static [&'static str] {
        match self.kind {
            OptimizerKind::Sgd => &[],
            OptimizerKind::Momentum { .. } | OptimizerKind::RmsProp { .. } | OptimizerKind::AdaGrad { .. } => &["v"],
            OptimizerKind::Adam { .. } => &["m", "v"],
        }
    }
}

impl fmt::Display for OptimizerSpec {
    /// As in the language: `adam(0.001, 0.9, 0.999, 1e-8)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate;
        match self.kind {
            OptimizerKind::Sgd => write!(f, "sgd({rate:?}"),
            OptimizerKind::Momentum { mu, nesterov: false } => write!(f, "momentum({rate:?}, {mu:?}"),
            OptimizerKind::Momentum { mu, nesterov: true } => write!(f, "nesterov({rate:?}, {mu:?}"),
            OptimizerKind::Adam { beta1, beta2, eps } => write!(f, "adam({rate:?}, {beta1:?}, {beta2:?}, {eps:?}"),
            OptimizerKind::RmsProp { rho, eps } => write!(f, "rmsprop({rate:?}, {rho:?}, {eps:?}"),
            OptimizerKind::AdaGrad { eps } => write!(f, "adagrad({rate:?}, {eps:?}"),
        }?;
        for (name, bound) in CLIPS.iter().zip([self.clip.norm, self.clip.value]) {
            if let Some(x) = bound {
                write!(f, ", {name} = {x:?}")?;
            }
        }
        f.write_str(")")
    }
}

/// The arrays an optimiser keeps: for each of [`OptimizerSpec::state_names`], one array a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    slots: Vec<Vec<Vec<f64>>>,
}

impl OptimizerState {
    /// Zeros for these parameters.
    pub fn new(spec: &OptimizerSpec, params: &[Param]) -> Self {
        let zeros: Vec<Vec<f64>> = params.iter().map(|p| vec![0.0; p.values.len()]).collect();
        Self { slots: vec![zeros; spec.state_names().len()] }
    }

    /// One update of `params` by the gradient of one objective, at `step` (from 0) of `total`.
    ///
    /// `gradients` has one array a parameter, of the same length.
    pub fn update(
        &mut self,
        spec: &OptimizerSpec,
        direction: Direction,
        params: &mut [Param],
        gradients: &[Vec<f64>],
        step: u64,
        total: u64,
    ) {
        let lr = spec.learning_rate(step, total);
        let updates = step as f64 + 1.0;
        let mut gradients = gradients.to_vec();
        spec.clip.apply(&mut gradients);
        for (p, (param, gradient)) in params.iter_mut().zip(&gradients).enumerate() {
            for (i, (x, &g)) in param.values.iter_mut().zip(gradient).enumerate() {
                let g = -direction.sign() * g;
                let mut slot = |k: usize, f: &dyn Fn(f64) -> f64| {
                    let s = &mut self.slots[k][p][i];
                    *s = f(*s);
                    *s
                };
                *x -= match spec.kind {
                    OptimizerKind::Sgd => lr * g,
                    OptimizerKind::Momentum { mu, nesterov } => {
                        let v = slot(0, &|v| mu * v + g);
                        if nesterov { lr * (g + mu * v) } else { lr * v }
                    }
                    OptimizerKind::Adam { beta1, beta2, eps } => {
                        let m = slot(0, &|m| beta1 * m + (1.0 - beta1) * g);
                        let v = slot(1, &|v| beta2 * v + (1.0 - beta2) * (g * g));
                        let m_hat = m / (1.0 - beta1.powf(updates));
                        let v_hat = v / (1.0 - beta2.powf(updates));
                        lr * m_hat / (v_hat.sqrt() + eps)
                    }
                    OptimizerKind::RmsProp { rho, eps } => {
                        let v = slot(0, &|v| rho * v + (1.0 - rho) * (g * g));
                        lr * g / (v.sqrt() + eps)
                    }
                    OptimizerKind::AdaGrad { eps } => {
                        let v = slot(0, &|v| v + g * g);
                        lr * g / (v.sqrt() + eps)
                    }
                };
            }
        }
    }

    /// The state that [`to_params`](Self::to_params) named; nothing if an array is absent or has another length.
    pub fn from_params(spec: &OptimizerSpec, params: &[Param], saved: &[Param]) -> Option<Self> {
        let mut state = Self::new(spec, params);
        for (slot, arrays) in spec.state_names().iter().zip(&mut state.slots) {
            for (values, p) in arrays.iter_mut().zip(params) {
                let name = format!("optimizer.{slot}.{}", p.name);
                let found = saved.iter().find(|s| s.name == name && s.values.len() == values.len())?;
                values.clone_from(&found.values);
            }
        }
        Some(state)
    }

    /// The state as named arrays, such as `optimizer.m.mu`, for a [`Snapshot`](crate::step::Snapshot).
    pub fn to_params(&self, spec: &OptimizerSpec, params: &[Param]) -> Vec<Param> {
        let named = spec.state_names().iter().zip(&self.slots);
        named
            .flat_map(|(slot, arrays)| {
                arrays.iter().zip(params).map(move |(values, p)| Param {
                    name: format!("optimizer.{slot}.{}", p.name),
                    shape: p.shape.clone(),
                    values: values.clone(),
                })
            })
            .collect()
    }
}
