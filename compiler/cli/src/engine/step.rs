//! The optimisation step behind [`ppl_fit::step::Step`], native and interpreted.

use super::{Globals, Machine, fault, from_tensor, native, set_input, tensor};
use candle_core::Tensor;
use ppl_codegen::Runner;
use ppl_core::{DType, Det, Func};
use ppl_diag::Diagnostic;
use ppl_driver::FitCode;
use ppl_driver::check::Program;
use ppl_driver::step::Role;
use ppl_fit::data::{Array, Values};
use ppl_fit::step::{Param, Snapshot, Step, StepFault, check_params};
use ppl_interp::Interp;

/// What a step is made of.
#[derive(Clone, Copy)]
pub(crate) struct StepSpec<'a> {
    /// The program.
    pub(crate) program: &'a Program,
    /// Its code.
    pub(crate) code: &'a FitCode,
    /// Data, lets, initial parameters.
    pub(crate) globals: &'a Globals,
    /// How it runs.
    pub(crate) machine: Machine,
}

/// A place in the state: what it is called in snapshots.
struct Place {
    name: String,
    shape: Vec<usize>,
    is_param: bool,
    is_step: bool,
}

impl StepSpec<'_> {
    /// Names of the state's arrays, in the order of the step's parameters.
    fn places(&self) -> Vec<Place> {
        let layout = &self.code.layout;
        let func = &self.code.step;
        let named = |n: usize| self.code.learned.get(n).map_or(String::new(), |i| self.program.params[*i].name.clone());
        let state = |n: usize| self.code.carried.get(n).map_or(String::new(), |i| self.program.params[*i].name.clone());
        let roles = layout.roles.iter().take(layout.state).zip(&func.params);
        roles
            .map(|(role, v)| Place {
                name: match role {
                    Role::Param(n) => named(*n),
                    Role::Step => "optimizer.step".into(),
                    Role::Slot { name, of } => format!("optimizer.{name}.{}", named(*of)),
                    Role::Carried(n) => format!("strategy.{}", state(*n)),
                    Role::Given(n) => format!("given.{n}"),
                },
                shape: func.ty(*v).shape.clone(),
                is_param: matches!(role, Role::Param(_)),
                is_step: matches!(role, Role::Step),
            })
            .collect()
    }

    /// Initial values of all parameters of the step.
    fn inputs(&self) -> Result<Vec<Array>, Diagnostic> {
        let func = &self.code.step;
        let roles = self.code.layout.roles.iter().zip(&func.params);
        roles
            .map(|(role, v)| match role {
                Role::Param(n) => {
                    let i = self.code.learned.get(*n).ok_or_else(|| fault("a learned parameter has no number"))?;
                    self.globals.get(self.program, ppl_driver::check::Global::Param(*i)).cloned()
                }
                Role::Given(at) => {
                    let g = self.code.inputs.get(*at).ok_or_else(|| fault("an input of the step has no number"))?;
                    self.globals.get(self.program, *g).cloned()
                }
                Role::Carried(n) => {
                    let i = self.code.carried.get(*n).ok_or_else(|| fault("a state has no number"))?;
                    self.globals.get(self.program, ppl_driver::check::Global::Param(*i)).cloned()
                }
                Role::Step | Role::Slot { .. } => {
                    let ty = func.ty(*v);
                    let n = ty.numel();
                    let data = match ty.dtype {
                        DType::Float => Values::Real(vec![0.0; n]),
                        DType::Int => Values::Int(vec![0; n]),
                        DType::Bool => Values::Bool(vec![0; n]),
                    };
                    Ok(Array { shape: ty.shape.clone(), data, missing: Vec::new() })
                }
            })
            .collect()
    }
}

/// State that engines keep, by position.
trait Store {
    fn read(&self, i: usize) -> Vec<f64>;
    fn write(&mut self, i: usize, a: &Array) -> Result<(), Diagnostic>;
    fn run(&mut self, start: u64, out: &mut [f64]) -> Result<(), StepFault>;
}

/// A step over a store.
struct Stepper<S> {
    store: S,
    places: Vec<Place>,
}

impl<S: Store> Stepper<S> {
    fn read(&self, wanted: impl Fn(&Place) -> bool) -> Vec<Param> {
        let places = self.places.iter().enumerate().filter(|(_, p)| wanted(p));
        places.map(|(i, p)| Param { name: p.name.clone(), shape: p.shape.clone(), values: self.store.read(i) }).collect()
    }

    fn write(&mut self, params: &[Param]) -> Result<(), Diagnostic> {
        for p in params {
            let found = self.places.iter().enumerate().find(|(_, q)| q.name == p.name);
            let Some((i, place)) = found else { continue };
            let data = if place.is_step {
                Values::Int(p.values.iter().map(|x| *x as i64).collect())
            } else {
                Values::Real(p.values.clone())
            };
            self.store.write(i, &Array { shape: p.shape.clone(), data, missing: Vec::new() })?;
        }
        Ok(())
    }
}

impl<S: Store> Step for Stepper<S> {
    fn run(&mut self, start: u64, out: &mut [f64]) -> Result<(), StepFault> {
        self.store.run(start, out)
    }

    fn params(&self) -> Vec<Param> {
        self.read(|p| p.is_param)
    }

    fn set_params(&mut self, params: &[Param]) -> Result<(), Diagnostic> {
        check_params(&self.params(), params, false)?;
        self.write(params)
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot(self.read(|_| true))
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic> {
        check_params(&self.snapshot().0, &snapshot.0, true)?;
        self.write(&snapshot.0)
    }
}

struct Native {
    runner: Runner,
    seed: u64,
    objective: usize,
}

impl Store for Native {
    fn read(&self, i: usize) -> Vec<f64> {
        self.runner.input_values(i)
    }

    fn write(&mut self, i: usize, a: &Array) -> Result<(), Diagnostic> {
        set_input(&mut self.runner, i, a)
    }

    fn run(&mut self, start: u64, out: &mut [f64]) -> Result<(), StepFault> {
        let done = self.runner.run_steps(self.seed, start, self.objective, out).map_err(|e| StepFault {
            step: start,
            message: e.to_string(),
            ..StepFault::default()
        })?;
        match done.not_finite {
            Some(step) => {
                let objective = done.done.checked_sub(1).and_then(|i| out.get(i)).copied();
                Err(StepFault { step, objective, ..StepFault::default() })
            }
            None => Ok(()),
        }
    }
}

/// The step as native code; also the time that took.
///
/// # Errors
/// Data that were not given; a fault of the compiler.
pub(crate) fn native_step(spec: &StepSpec<'_>) -> Result<Box<dyn Step>, Diagnostic> {
    let mut runner = native(&spec.code.step, spec.machine.precision, &spec.inputs()?)?;
    let state: Vec<(usize, usize)> = (0..spec.code.layout.state).map(|i| (i, i)).collect();
    runner.set_state(&state).map_err(|e| fault(&e.to_string()))?;
    let store = Native { runner, seed: spec.machine.seed, objective: spec.code.layout.objective };
    Ok(Box::new(Stepper { store, places: spec.places() }))
}

struct Interpreted<'a> {
    dets: &'a [Func<Det>],
    func: &'a Func<Det>,
    machine: Machine,
    args: Vec<Tensor>,
    state: usize,
    objective: usize,
}

impl Store for Interpreted<'_> {
    fn read(&self, i: usize) -> Vec<f64> {
        self.args.get(i).and_then(|t| from_tensor(t).ok()).map_or(Vec::new(), |a| a.to_f64())
    }

    fn write(&mut self, i: usize, a: &Array) -> Result<(), Diagnostic> {
        let t = tensor(a, self.machine.precision)?;
        match self.args.get_mut(i) {
            Some(slot) => *slot = t,
            None => return Err(fault("the state has no such place")),
        }
        Ok(())
    }

    fn run(&mut self, start: u64, out: &mut [f64]) -> Result<(), StepFault> {
        // Branches have become selects, and the side that is not taken may compute any index.
        let interp = Interp::new(self.dets).precision(self.machine.precision).seed(self.machine.seed).clamp_indices();
        for (k, slot) in out.iter_mut().enumerate() {
            let step = start + k as u64;
            let mut results = interp.step(step).run(self.func, &self.args).map_err(|e| StepFault {
                step,
                message: e.fault.to_string(),
                span: e.span,
                ..StepFault::default()
            })?;
            let value = results.get(self.objective).and_then(|t| from_tensor(t).ok()).and_then(|a| a.to_f64().first().copied());
            *slot = value.unwrap_or(f64::NAN);
            for (arg, new) in self.args.iter_mut().zip(results.drain(..self.state.min(results.len()))) {
                *arg = new;
            }
            if !slot.is_finite() {
                return Err(StepFault { step, objective: Some(*slot), ..StepFault::default() });
            }
        }
        Ok(())
    }
}

/// The step in the reference interpreter.
///
/// # Errors
/// Data that were not given.
pub(crate) fn interpreted_step<'a>(spec: &StepSpec<'a>) -> Result<Box<dyn Step + 'a>, Diagnostic> {
    let args = spec.inputs()?.iter().map(|a| tensor(a, spec.machine.precision)).collect::<Result<_, _>>()?;
    let store = Interpreted {
        dets: &spec.program.module.dets,
        func: &spec.code.step,
        machine: spec.machine,
        args,
        state: spec.code.layout.state,
        objective: spec.code.layout.objective,
    };
    Ok(Box::new(Stepper { store, places: spec.places() }))
}
