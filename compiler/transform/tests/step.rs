//! Training steps against a plain implementation of the formulas.

mod common;

use common::{Value, assert_close, run, verified};
use ppl_core::{Atom, Builder, Det, Func, Prim, Ty};
use ppl_transform::step::{Carried, Clip, Direction, Learned, Optimizer, OptimizerKind, Role, Schedule, Shape, StepSpec, step};
use ppl_transform::vjp::vjp;

/// `sum((x - 0.5)^2) + (y - data)^2`, its next running value, and its gradients.
fn objective(sign: f64) -> Func<Det> {
    let mut b = Builder::new("objective");
    let data: Atom = b.param("data", Ty::FLOAT).into();
    let x: Atom = b.param("x", Ty::float([2])).into();
    let mean: Atom = b.param("mean", Ty::FLOAT).into();
    let y: Atom = b.param("y", Ty::FLOAT).into();
    let dx = b.sub(x, Atom::float(0.5));
    let dx = b.un(Prim::Square, dx);
    let sum = b.sum_all(dx);
    let dy = b.sub(y, data);
    let dy = b.un(Prim::Square, dy);
    let total = b.add(sum, dy);
    let total = b.mul(total, Atom::float(sign));
    let next = b.add(mean, total);
    let next = b.mul(next, Atom::float(0.5));
    vjp(&b.finish(vec![total, next]), &[1, 3], 0).expect("differentiable")
}

fn kinds() -> Vec<OptimizerKind> {
    vec![
        OptimizerKind::Sgd,
        OptimizerKind::Momentum { mu: 0.9, nesterov: false },
        OptimizerKind::Momentum { mu: 0.8, nesterov: true },
        OptimizerKind::Adam { beta1: 0.9, beta2: 0.99, eps: 1e-8 },
        OptimizerKind::RmsProp { rho: 0.9, eps: 1e-8 },
        OptimizerKind::AdaGrad { eps: 1e-10 },
    ]
}

fn schedules() -> Vec<Schedule> {
    let shapes = [
        Shape::Constant,
        Shape::Cosine { to_fraction: 0.1 },
        Shape::Exponential { rate: 0.5, every: 10 },
        Shape::Linear { to_fraction: 0.2 },
        Shape::Step { rate: 0.5, every: 7 },
        Shape::Polynomial { power: 1.5, to_fraction: 0.1 },
    ];
    shapes.into_iter().flat_map(|shape| [0, 5].map(|warmup| Schedule { shape, warmup })).collect()
}

/// The factor of the learning rate at step `s` of `total`.
fn factor(schedule: Schedule, s: u64, total: u64) -> f64 {
    if s < schedule.warmup {
        return (s + 1) as f64 / schedule.warmup as f64;
    }
    let after = (s - schedule.warmup) as f64;
    let t = (after / (total - schedule.warmup) as f64).min(1.0);
    match schedule.shape {
        Shape::Constant => 1.0,
        Shape::Cosine { to_fraction: f } => f + (1.0 - f) * (1.0 + (std::f64::consts::PI * t).cos()) / 2.0,
        Shape::Exponential { rate, every } => rate.powf(after / every as f64),
        Shape::Linear { to_fraction: f } => 1.0 + (f - 1.0) * t,
        Shape::Step { rate, every } => rate.powi((after / every as f64) as i32),
        Shape::Polynomial { power, to_fraction: f } => f + (1.0 - f) * (1.0 - t).powf(power),
    }
}

/// One element's update: what is subtracted, and the two state numbers changed in place.
fn reference(kind: OptimizerKind, lr: f64, s: u64, g: f64, m: &mut f64, v: &mut f64) -> f64 {
    let n = s as i32 + 1;
    match kind {
        OptimizerKind::Sgd => lr * g,
        OptimizerKind::Momentum { mu, nesterov } => {
            *v = mu * *v + g;
            if nesterov { lr * (g + mu * *v) } else { lr * *v }
        }
        OptimizerKind::Adam { beta1, beta2, eps } => {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            lr * (*m / (1.0 - beta1.powi(n))) / ((*v / (1.0 - beta2.powi(n))).sqrt() + eps)
        }
        OptimizerKind::RmsProp { rho, eps } => {
            *v = rho * *v + (1.0 - rho) * g * g;
            lr * g / (v.sqrt() + eps)
        }
        OptimizerKind::AdaGrad { eps } => {
            *v += g * g;
            lr * g / (v.sqrt() + eps)
        }
    }
}

#[test]
fn steps_follow_the_formulas() {
    for direction in [Direction::Minimize, Direction::Maximize] {
        let sign = if direction == Direction::Minimize { 1.0 } else { -1.0 };
        let f = objective(sign);
        for kind in kinds() {
            for schedule in schedules() {
                let total = 30;
                let spec = StepSpec {
                    learned: vec![
                        Learned { param: 3, gradient: 3, direction, objective: 0 },
                        Learned { param: 1, gradient: 2, direction, objective: 0 },
                    ],
                    carried: vec![Carried { param: 2, next: 1 }],
                    objective: 0,
                    outputs: vec![2],
                    optimizer: Optimizer { kind, rate: 0.1, clip: Clip::default(), schedule },
                    steps: total,
                };
                let (g, layout) = step(&f, &spec).expect("fits");
                verified(&g);
                let zeros = |i: usize| {
                    let shape = g.ty(g.params[i]).shape.clone();
                    let n = shape.iter().product();
                    Value::new(&shape, vec![0.0; n])
                };
                let mut args: Vec<Value> = (0..g.params.len()).map(zeros).collect();
                args[0] = Value::scalar(2.0);
                args[1] = Value::new(&[2], vec![1.5, -1.0]);
                let data = layout.roles.iter().position(|r| *r == Role::Given(0)).expect("the step reads the data");
                args[data] = Value::scalar(-0.25);
                let (mut x, mut mean) = ([2.0, 1.5, -1.0], 0.0);
                let (mut m, mut v) = ([0.0; 3], [0.0; 3]);
                for s in 0..total + 2 {
                    let out = run(&g, &args);
                    let d = [x[0] + 0.25, x[1] - 0.5, x[2] - 0.5];
                    let value = sign * d.iter().map(|d| d * d).sum::<f64>();
                    let norm = d.iter().map(|d| 4.0 * d * d).sum::<f64>().sqrt();
                    let what = format!("{kind:?} {schedule:?} {direction:?} step {s}");
                    assert_close(&what, &out[layout.objective], &Value::scalar(value), 1e-12);
                    assert_close(&what, &out[layout.gradient_norm], &Value::scalar(norm), 1e-12);
                    let gradient = Value::new(&[2], vec![sign * 2.0 * d[1], sign * 2.0 * d[2]]);
                    assert_close(&what, &out[layout.outputs], &gradient, 1e-12);
                    let lr = 0.1 * factor(schedule, s, total);
                    for i in 0..3 {
                        x[i] -= reference(kind, lr, s, 2.0 * d[i], &mut m[i], &mut v[i]);
                    }
                    mean = 0.5 * (mean + value);
                    assert_close(&what, &out[0], &Value::scalar(x[0]), 1e-12);
                    assert_close(&what, &out[1], &Value::new(&[2], x[1..].to_vec()), 1e-12);
                    assert_eq!(out[2].item(), (s + 1) as f64);
                    for (i, role) in layout.roles.iter().enumerate().take(layout.state) {
                        let want = match role {
                            Role::Slot { name, of } => {
                                let all = if *name == "m" { m } else { v };
                                if *of == 0 { Value::scalar(all[0]) } else { Value::new(&[2], all[1..].to_vec()) }
                            }
                            Role::Carried(0) => Value::scalar(mean),
                            _ => continue,
                        };
                        assert_close(&what, &out[i], &want, 1e-12);
                    }
                    args[..layout.state].clone_from_slice(&out[..layout.state]);
                }
            }
        }
    }
}

#[test]
fn clipped_steps_follow_the_formulas() {
    let f = objective(1.0);
    let at = |clip: Clip, objectives: [usize; 2]| {
        let learned = |param, gradient, objective| Learned { param, gradient, direction: Direction::Minimize, objective };
        let spec = StepSpec {
            learned: vec![learned(3, 3, objectives[0]), learned(1, 2, objectives[1])],
            carried: vec![],
            objective: 0,
            outputs: vec![],
            optimizer: Optimizer { kind: OptimizerKind::Sgd, rate: 1.0, clip, schedule: Schedule::default() },
            steps: 1,
        };
        let (g, layout) = step(&f, &spec).expect("fits");
        verified(&g);
        // y - data = 1, x - 0.5 = (1, -0.5): gradients 2, (2, -1), of norm 3.
        let mut args: Vec<Value> = g.params.iter().map(|v| Value::new(&g.ty(*v).shape, vec![0.0; g.ty(*v).numel()])).collect();
        args[0] = Value::scalar(1.0);
        args[1] = Value::new(&[2], vec![1.5, 0.0]);
        let out = run(&g, &args);
        assert_close("norm", &out[layout.gradient_norm], &Value::scalar(3.0), 1e-12);
        let moved = [&out[0], &out[1]].map(|v| v.data.clone()).concat();
        [1.0 - moved[0], 1.5 - moved[1], 0.0 - moved[2]]
    };
    let close = |got: [f64; 3], want: [f64; 3]| {
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} and {want:?}");
    };
    close(at(Clip::default(), [0, 0]), [2.0, 2.0, -1.0]);
    close(at(Clip { norm: Some(1.5), value: None }, [0, 0]), [1.0, 1.0, -0.5]);
    close(at(Clip { norm: Some(4.0), value: None }, [0, 0]), [2.0, 2.0, -1.0]);
    // Each objective has a norm of its own: 2, and sqrt(5).
    let of_two = 5f64.sqrt().recip();
    close(at(Clip { norm: Some(1.0), value: None }, [0, 1]), [1.0, 2.0 * of_two, -of_two]);
    close(at(Clip { norm: None, value: Some(1.25) }, [0, 0]), [1.25, 1.25, -1.0]);
    close(at(Clip { norm: Some(1.5), value: Some(0.75) }, [0, 0]), [0.75, 0.75, -0.5]);
}

#[test]
fn state_comes_first_and_keeps_its_types() {
    let f = objective(1.0);
    let adam = OptimizerKind::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    let spec = StepSpec {
        learned: vec![Learned { param: 1, gradient: 2, direction: Direction::Minimize, objective: 0 }],
        carried: vec![Carried { param: 2, next: 1 }],
        objective: 0,
        outputs: vec![],
        optimizer: Optimizer { kind: adam, rate: 0.1, clip: Clip::default(), schedule: Schedule::default() },
        steps: 10,
    };
    let (g, layout) = step(&f, &spec).expect("fits");
    let roles = [
        Role::Param(0),
        Role::Step,
        Role::Slot { name: "m", of: 0 },
        Role::Slot { name: "v", of: 0 },
        Role::Carried(0),
        Role::Given(0),
        Role::Given(3),
    ];
    assert_eq!(layout.roles, roles);
    assert_eq!((layout.state, layout.objective, layout.gradient_norm), (5, 5, 6));
    let params: Vec<Ty> = g.params.iter().map(|v| g.ty(*v).clone()).collect();
    assert_eq!(params[..5], g.result_tys()[..5]);
}

#[test]
fn specifications_that_do_not_fit_are_refused() {
    let f = objective(1.0);
    let learned = |param, gradient| Learned { param, gradient, direction: Direction::Maximize, objective: 0 };
    let spec = |learned: Vec<Learned>, objective| StepSpec {
        learned,
        carried: vec![],
        objective,
        outputs: vec![],
        optimizer: Optimizer { kind: OptimizerKind::Sgd, rate: 0.1, clip: Clip::default(), schedule: Schedule::default() },
        steps: 1,
    };
    let reason = |s: StepSpec| step(&f, &s).expect_err("does not fit").0;
    assert_eq!(reason(spec(vec![learned(9, 2)], 0)), "`objective` has no parameter 9");
    assert_eq!(reason(spec(vec![learned(1, 9)], 0)), "`objective` has no result 9");
    assert_eq!(reason(spec(vec![learned(1, 3)], 0)), "the gradient of `x: float[2]` has type float");
    assert_eq!(reason(spec(vec![learned(1, 2), learned(1, 2)], 0)), "parameter 1 of `objective` is named twice");
    assert_eq!(reason(spec(vec![learned(1, 2)], 2)), "the objective of `objective` is not a real scalar");
}
