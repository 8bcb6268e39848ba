//! The training step: value, gradients and the optimiser's update in one program.
//!
//! in:    `Det` with the gradients of its objectives among its results
//! out:   `Det`, `(parameters.., step number, optimiser state.., carried state.., the rest..)
//!        -> (new parameters.., next step number, new state.., new carried state.., objective, gradient norm, outputs..)`
//! keeps: spans, the original statements
//!
//! With `g` the gradient of what is minimised (the negated gradient of what is maximised), `s` the step number, `lr` the
//! learning rate of the step, elementwise:
//!
//! ```text
//!   sgd        x -= lr g
//!   momentum   v = mu v + g;                  x -= lr v        (nesterov: x -= lr (g + mu v))
//!   adam       m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//!              x -= lr (m / (1 - b1^(s+1))) / (sqrt(v / (1 - b2^(s+1))) + eps)
//!   rmsprop    v = rho v + (1 - rho) g^2;     x -= lr g / (sqrt(v) + eps)
//!   adagrad    v = v + g^2;                   x -= lr g / (sqrt(v) + eps)
//!
//!   lr         = rate * factor(s);  with W steps of warm-up (s + 1) / W first, then, t = min((s - W) / (S - W), 1) of S steps,
//!                constant 1;  cosine f + (1 - f) (1 + cos(pi t)) / 2;  linear 1 + (f - 1) t;  exponential r^((s - W) / n);
//!                step r^floor((s - W) / n);  polynomial f + (1 - f) (1 - t)^p
//!   norm       = sqrt(sum of g^2 over all parameters)
//!   clip       g *= min(1, c / norm of g over the parameters of its objective);  then g = max(min(g, c), -c)
//! ```
//!
//! State starts at 0.

mod optimizer;

pub use optimizer::{Clip, Direction, Optimizer, OptimizerKind, Schedule, Shape};

use ppl_core::{Atom, Builder, DType, Det, Func, Prim, Ty, Var};
use std::fmt;

/// Name of the pass.
pub const NAME: &str = "step";

/// A parameter that learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Its position among the function's parameters; real, any shape.
    pub param: usize,
    /// The number of the result that is its gradient, of the same type.
    pub gradient: usize,
    /// What becomes of the objective that the gradient belongs to.
    pub direction: Direction,
    /// Which objective that is: gradients of one are clipped together.
    pub objective: usize,
}

/// State of the program itself, such as a running baseline: a parameter that a result replaces after each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its position among the function's parameters.
    pub param: usize,
    /// The number of the result with its next value, of the same type.
    pub next: usize,
}

/// What a step is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSpec {
    /// Parameters that learn.
    pub learned: Vec<Learned>,
    /// State of the program.
    pub carried: Vec<Carried>,
    /// The number of the result that is the objective's estimate, a real scalar.
    pub objective: usize,
    /// Numbers of further results that the step returns.
    pub outputs: Vec<usize>,
    /// The update rule.
    pub optimizer: Optimizer,
    /// Total number of steps, which schedules refer to.
    pub steps: u64,
}

/// What a parameter of the step stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Learned parameter number `n` of the specification.
    Param(usize),
    /// The number of steps done, an int scalar; starts at 0.
    Step,
    /// An array of the optimiser's state for learned parameter `of`; starts at 0.
    Slot {
        /// Its name in the formulas above, `m` or `v`.
        name: &'static str,
        /// The learned parameter's number.
        of: usize,
    },
    /// Carried state number `n` of the specification.
    Carried(usize),
    /// The function's parameter at this position, which the step only reads.
    Given(usize),
}

/// Which parameters of a step are state, and where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What each parameter stands for. State comes first.
    pub roles: Vec<Role>,
    /// Number of leading parameters that are state: result `i` is the next value of parameter `i`, of the same type.
    pub state: usize,
    /// The number of the result that is the objective's estimate, taken before the update.
    pub objective: usize,
    /// The number of the result that is the Euclidean norm of all gradients.
    pub gradient_norm: usize,
    /// The number of the first further output; they follow in the specification's order.
    pub outputs: usize,
}

/// Why a step does not fit its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError(
    /// The reason.
    pub String,
);

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StepError {}

/// The training step of `func`, and its layout.
///
/// # Errors
/// Positions and types in the specification that are not the function's.
pub fn step(func: &Func<Det>, spec: &StepSpec) -> Result<(Func<Det>, Layout), StepError> {
    let pieces = Pieces::of(func, spec)?;
    let mut b = Builder::reopen(func.clone());
    b.func.name = format!("{}.step", func.name);
    let number = b.fresh("step", Ty::INT);
    let mut slots: Vec<(Role, Var)> = Vec::new();
    for (of, (x, _, _)) in pieces.learned.iter().enumerate() {
        for name in spec.optimizer.kind.slots() {
            let ty = b.func.ty(*x).clone();
            let label = format!("{}.{name}", b.func.vars[x.index()].name);
            slots.push((Role::Slot { name, of }, b.fresh(&label, ty)));
        }
    }

    let rates = optimizer::Rates::emit(&mut b, &spec.optimizer, number.into(), spec.steps);
    let per = spec.optimizer.kind.slots().len();
    let mut params_next = Vec::new();
    let mut slots_next = Vec::new();
    let mut squares = Atom::float(0.0);
    let gradients: Vec<Atom> = pieces.learned.iter().map(|(_, g, _)| *g).collect();
    let objectives: Vec<usize> = spec.learned.iter().map(|l| l.objective).collect();
    let bounded = optimizer::clipped(&mut b, spec.optimizer.clip, &gradients, &objectives);
    for (i, (x, g, direction)) in pieces.learned.iter().enumerate() {
        let square = b.un(Prim::Square, *g);
        let square = b.sum_all(square);
        squares = if i == 0 { square } else { b.add(squares, square) };
        let g = match direction {
            Direction::Maximize => b.neg(bounded[i]),
            Direction::Minimize => bounded[i],
        };
        let old: Vec<Atom> = slots[i * per..(i + 1) * per].iter().map(|(_, v)| Atom::Var(*v)).collect();
        let (change, new) = optimizer::update(&mut b, spec.optimizer.kind, &rates, g, &old);
        params_next.push(b.sub((*x).into(), change));
        slots_next.extend(new);
    }
    let norm = b.un(Prim::Sqrt, squares);
    let next = b.add(number.into(), Atom::int(1));

    let mut roles: Vec<Role> = (0..pieces.learned.len()).map(Role::Param).collect();
    let mut params: Vec<Var> = pieces.learned.iter().map(|(v, _, _)| *v).collect();
    roles.push(Role::Step);
    params.push(number);
    for (role, v) in slots {
        roles.push(role);
        params.push(v);
    }
    for (i, (v, _)) in pieces.carried.iter().enumerate() {
        roles.push(Role::Carried(i));
        params.push(*v);
    }
    let state = params.len();
    for (i, v) in func.params.iter().enumerate() {
        if !params.contains(v) {
            roles.push(Role::Given(i));
            params.push(*v);
        }
    }
    b.func.params = params;
    let mut results = params_next;
    results.push(next);
    results.extend(slots_next);
    results.extend(pieces.carried.iter().map(|(_, next)| *next));
    results.extend([pieces.objective, norm]);
    results.extend(pieces.outputs);
    Ok((b.finish(results), Layout { roles, state, objective: state, gradient_norm: state + 1, outputs: state + 2 }))
}

/// The specification's variables, checked.
struct Pieces {
    learned: Vec<(Var, Atom, Direction)>,
    carried: Vec<(Var, Atom)>,
    objective: Atom,
    outputs: Vec<Atom>,
}

impl Pieces {
    fn of(func: &Func<Det>, spec: &StepSpec) -> Result<Pieces, StepError> {
        let mut taken: Vec<usize> = Vec::new();
        let mut param = |i: usize| {
            let v = func.params.get(i).copied().ok_or_else(|| StepError(format!("`{}` has no parameter {i}", func.name)))?;
            if taken.contains(&i) {
                return Err(StepError(format!("parameter {i} of `{}` is named twice", func.name)));
            }
            taken.push(i);
            Ok(v)
        };
        let result =
            |i: usize| func.body.results.get(i).copied().ok_or_else(|| StepError(format!("`{}` has no result {i}", func.name)));
        let same = |v: Var, a: Atom, what: &str| {
            let (tv, ta) = (func.ty(v), func.atom_ty(a));
            let name = &func.vars[v.index()].name;
            if *tv == ta { Ok(()) } else { Err(StepError(format!("the {what} of `{name}: {tv}` has type {ta}"))) }
        };
        let mut learned = Vec::new();
        for l in &spec.learned {
            let (v, g) = (param(l.param)?, result(l.gradient)?);
            same(v, g, "gradient")?;
            if func.ty(v).dtype != DType::Float {
                return Err(StepError(format!("`{}` is not real", func.vars[v.index()].name)));
            }
            learned.push((v, g, l.direction));
        }
        let mut carried = Vec::new();
        for c in &spec.carried {
            let (v, next) = (param(c.param)?, result(c.next)?);
            same(v, next, "next value")?;
            carried.push((v, next));
        }
        let objective = result(spec.objective)?;
        if func.atom_ty(objective) != Ty::FLOAT {
            return Err(StepError(format!("the objective of `{}` is not a real scalar", func.name)));
        }
        let outputs = spec.outputs.iter().map(|i| result(*i)).collect::<Result<_, _>>()?;
        Ok(Pieces { learned, carried, objective, outputs })
    }
}
