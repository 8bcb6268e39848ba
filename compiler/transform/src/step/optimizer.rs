//! Optimisers and learning-rate schedules as programs.

use ppl_core::{Atom, Builder, Det, Prim, ReduceOp};

/// An update rule and its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// The course of the learning rate after the warm-up, as a factor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Shape {
    /// 1 throughout.
    #[default]
    Constant,
    /// Half a cosine from 1 to a fraction.
    Cosine {
        /// The factor at the end.
        to_fraction: f64,
    },
    /// Multiplied by `rate` every `every` steps, smoothly.
    Exponential {
        /// Factor for `every` steps.
        rate: f64,
        /// Steps for one factor; 0 counts as 1.
        every: u64,
    },
    /// A straight line from 1 to a fraction.
    Linear {
        /// The factor at the end.
        to_fraction: f64,
    },
    /// Multiplied by `rate` every `every` steps, all at once.
    Step {
        /// Factor for `every` steps.
        rate: f64,
        /// Steps for one factor; 0 counts as 1.
        every: u64,
    },
    /// A power of what is left of the steps, from 1 to a fraction.
    Polynomial {
        /// The power.
        power: f64,
        /// The factor at the end.
        to_fraction: f64,
    },
}

/// A learning-rate schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Schedule {
    /// The course after the warm-up.
    pub shape: Shape,
    /// Steps of linear warm-up; 0 for none.
    pub warmup: u64,
}

/// Bounds on gradients, applied before the update rule sees them; the norm first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Largest Euclidean norm of the gradients of one objective.
    pub norm: Option<f64>,
    /// Largest magnitude of an element.
    pub value: Option<f64>,
}

/// An optimiser with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    /// The update rule.
    pub kind: OptimizerKind,
    /// Base learning rate.
    pub rate: f64,
    /// Bounds on gradients.
    pub clip: Clip,
    /// How the rate changes with the step.
    pub schedule: Schedule,
}

/// Whether an objective is to rise or to fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As a lower bound.
    Maximize,
    /// As a divergence or a loss.
    Minimize,
}

impl OptimizerKind {
    /// Names of the arrays it keeps for each parameter, in order.
    pub fn slots(self) -> &'static [&'static str] {
        match self {
            OptimizerKind::Sgd => &[],
            OptimizerKind::Momentum { .. } | OptimizerKind::RmsProp { .. } | OptimizerKind::AdaGrad { .. } => &["v"],
            OptimizerKind::Adam { .. } => &["m", "v"],
        }
    }
}

/// Scalars that all parameters' updates share.
pub(super) struct Rates {
    lr: Atom,
    /// What Adam divides its moments by.
    corrections: Option<(Atom, Atom)>,
}

impl Rates {
    /// The statements that compute them at step `number` (from 0) of `total`.
    pub(super) fn emit(b: &mut Builder<Det>, optimizer: &Optimizer, number: Atom, total: u64) -> Rates {
        let s = b.un(Prim::ToReal, number);
        let lr = match factor(b, optimizer.schedule, s, total) {
            Some(f) => b.mul(Atom::float(optimizer.rate), f),
            None => Atom::float(optimizer.rate),
        };
        let corrections = match optimizer.kind {
            OptimizerKind::Adam { beta1, beta2, .. } => {
                let updates = b.add(s, Atom::float(1.0));
                let mut correction = |beta: f64| {
                    // 1 - beta^t, without cancellation and without a power.
                    let exponent = b.mul(updates, Atom::float(beta.ln()));
                    let less = b.un(Prim::Expm1, exponent);
                    b.prim(Prim::Neg, &[less])
                };
                Some((correction(beta1), correction(beta2)))
            }
            _ => None,
        };
        Rates { lr, corrections }
    }
}

/// The schedule's factor at step `s`; none where it is always 1.
fn factor(b: &mut Builder<Det>, schedule: Schedule, s: Atom, total: u64) -> Option<Atom> {
    let warmup = schedule.warmup as f64;
    let after = if schedule.warmup == 0 { s } else { b.sub(s, Atom::float(warmup)) };
    let course = |b: &mut Builder<Det>| {
        let t = b.div(after, Atom::float(total.saturating_sub(schedule.warmup).max(1) as f64));
        b.prim(Prim::Min, &[t, Atom::float(1.0)])
    };
    let shape = match schedule.shape {
        Shape::Constant => None,
        Shape::Cosine { to_fraction } => {
            let t = course(b);
            let angle = b.mul(Atom::float(std::f64::consts::PI), t);
            let c = b.un(Prim::Cos, angle);
            let c = b.add(Atom::float(1.0), c);
            let c = b.mul(Atom::float((1.0 - to_fraction) * 0.5), c);
            Some(b.add(Atom::float(to_fraction), c))
        }
        Shape::Exponential { rate, every } => {
            let n = b.div(after, Atom::float(every.max(1) as f64));
            Some(b.prim(Prim::Pow, &[Atom::float(rate), n]))
        }
        Shape::Linear { to_fraction } => {
            let t = course(b);
            let d = b.mul(Atom::float(to_fraction - 1.0), t);
            Some(b.add(Atom::float(1.0), d))
        }
        Shape::Step { rate, every } => {
            let n = b.div(after, Atom::float(every.max(1) as f64));
            let n = b.un(Prim::Floor, n);
            Some(b.prim(Prim::Pow, &[Atom::float(rate), n]))
        }
        Shape::Polynomial { power, to_fraction } => {
            let t = course(b);
            let left = b.sub(Atom::float(1.0), t);
            let p = b.prim(Prim::Pow, &[left, Atom::float(power)]);
            let p = b.mul(Atom::float(1.0 - to_fraction), p);
            Some(b.add(Atom::float(to_fraction), p))
        }
    };
    if schedule.warmup == 0 {
        return shape;
    }
    let warm = b.prim(Prim::Lt, &[s, Atom::float(warmup)]);
    let rise = b.add(s, Atom::float(1.0));
    let rise = b.div(rise, Atom::float(warmup));
    Some(b.select(warm, rise, shape.unwrap_or(Atom::float(1.0))))
}

/// The gradients within their bounds; `groups` says whose norm each counts to.
pub(super) fn clipped(b: &mut Builder<Det>, clip: Clip, gradients: &[Atom], groups: &[usize]) -> Vec<Atom> {
    let mut out = gradients.to_vec();
    if let Some(bound) = clip.norm {
        let mut seen: Vec<usize> = Vec::new();
        for group in groups {
            if seen.contains(group) {
                continue;
            }
            seen.push(*group);
            let own: Vec<usize> = (0..out.len()).filter(|i| groups[*i] == *group).collect();
            let factor = shrink(b, bound, &own.iter().map(|i| gradients[*i]).collect::<Vec<_>>());
            for i in own {
                out[i] = b.mul(out[i], factor);
            }
        }
    }
    if let Some(bound) = clip.value {
        for g in &mut out {
            let below = b.prim(Prim::Min, &[*g, Atom::float(bound)]);
            *g = b.prim(Prim::Max, &[below, Atom::float(-bound)]);
        }
    }
    out
}

/// `min(1, bound / norm)` of all these together. The norm is taken relative to the largest element, so that no square overflows; a gradient that is not
/// finite makes it NaN or leaves it 1, and is found.
fn shrink(b: &mut Builder<Det>, bound: f64, gradients: &[Atom]) -> Atom {
    let mut largest = Atom::float(f64::from(f32::MIN_POSITIVE));
    for g in gradients {
        let size = b.un(Prim::Abs, *g);
        let axes: Vec<usize> = (0..b.ty(*g).rank()).collect();
        let most = b.reduce(ReduceOp::Max, size, &axes);
        largest = b.prim(Prim::Max, &[largest, most]);
    }
    let mut squares = Atom::float(0.0);
    for g in gradients {
        let part = b.div(*g, largest);
        let square = b.un(Prim::Square, part);
        let sum = b.sum_all(square);
        squares = b.add(squares, sum);
    }
    let root = b.un(Prim::Sqrt, squares);
    let norm = b.mul(largest, root);
    let ratio = b.div(Atom::float(bound), norm);
    b.prim(Prim::Min, &[ratio, Atom::float(1.0)])
}

/// What is subtracted from a parameter with gradient `g` (of what is minimised), and the new state.
pub(super) fn update(b: &mut Builder<Det>, kind: OptimizerKind, rates: &Rates, g: Atom, old: &[Atom]) -> (Atom, Vec<Atom>) {
    let decayed = |b: &mut Builder<Det>, beta: f64, old: Atom, new: Atom| {
        let kept = b.mul(Atom::float(beta), old);
        let added = b.mul(Atom::float(1.0 - beta), new);
        b.add(kept, added)
    };
    let scaled = |b: &mut Builder<Det>, x: Atom, v: Atom, eps: f64| {
        let x = b.mul(rates.lr, x);
        let root = b.un(Prim::Sqrt, v);
        let root = b.add(root, Atom::float(eps));
        b.div(x, root)
    };
    match (kind, old) {
        (OptimizerKind::Momentum { mu, nesterov }, [v]) => {
            let kept = b.mul(Atom::float(mu), *v);
            let v = b.add(kept, g);
            let ahead = if nesterov {
                let more = b.mul(Atom::float(mu), v);
                b.add(g, more)
            } else {
                v
            };
            (b.mul(rates.lr, ahead), vec![v])
        }
        (OptimizerKind::Adam { beta1, beta2, eps }, [m, v]) => {
            let m = decayed(b, beta1, *m, g);
            let square = b.mul(g, g);
            let v = decayed(b, beta2, *v, square);
            let (c1, c2) = rates.corrections.unwrap_or((Atom::float(1.0), Atom::float(1.0)));
            let m_hat = b.div(m, c1);
            let v_hat = b.div(v, c2);
            (scaled(b, m_hat, v_hat, eps), vec![m, v])
        }
        (OptimizerKind::RmsProp { rho, eps }, [v]) => {
            let square = b.mul(g, g);
            let v = decayed(b, rho, *v, square);
            (scaled(b, g, v, eps), vec![v])
        }
        (OptimizerKind::AdaGrad { eps }, [v]) => {
            let square = b.mul(g, g);
            let v = b.add(*v, square);
            (scaled(b, g, v, eps), vec![v])
        }
        // `slots` gives every kind its number of arrays; plain steps keep none.
        (_, _) => (b.mul(rates.lr, g), Vec::new()),
    }
}
