//! Inputs of entries, gradients in three engines, and fits through compiled code.

use crate::engine::{Input, interpret, native, run_native, set};
use crate::model::{Failure, Model};
use ppl_abi::Precision;
use ppl_check::{FitOverrides, Global, Program};
use ppl_codegen::Runner;
use ppl_core::{Det, Func};
use ppl_driver::step::Role;
use ppl_driver::{Cx, FitCode, Lowered, lower_function};
use ppl_transform::vjp;

/// A quantity's name, shape and values.
pub type Quantity = (String, Vec<usize>, Vec<f64>);

/// A checked and lowered fit with the values of its inputs.
pub struct Fitted {
    /// The program.
    pub program: Program,
    /// Its code.
    pub code: FitCode,
    /// Number of steps that schedules refer to.
    pub steps: u64,
    /// Values of the data, in order.
    pub data: Vec<Input>,
    /// Values of the top-level lets.
    pub lets: Vec<Input>,
    /// Unconstrained values of the parameters.
    pub params: Vec<Input>,
}

fn of(program: &Program, data: &[Input], lets: &[Input], params: &[Input], inputs: &[Global]) -> Vec<Input> {
    let _ = program;
    inputs
        .iter()
        .map(|g| match g {
            Global::Data(i) => data[*i].clone(),
            Global::Let(i) => lets[*i].clone(),
            Global::Param(i) => params[*i].clone(),
        })
        .collect()
}

impl Fitted {
    /// Checks and lowers the fit of a model; parameters start at their initial values.
    pub fn new(model: &Model, overrides: &FitOverrides, steps: Option<u64>) -> Result<Fitted, Failure> {
        Fitted::of_program(model, model.check(overrides)?, steps)
    }

    fn of_program(model: &Model, program: Program, steps: Option<u64>) -> Result<Fitted, Failure> {
        let (code, steps) = model.lower(&program, steps)?;
        let data: Vec<Input> =
            program.data.iter().map(|d| model.arrays.get(&d.name).map_or(Vec::new(), |a| a.to_f64())).collect();
        let mut lets: Vec<Input> = Vec::new();
        let run = |f: &Func<Det>, args: &[Input]| {
            interpret(&program.module.dets, f, args, Precision::F64, 0, 0).unwrap_or_else(|e| panic!("{e}"))
        };
        for l in &program.lets {
            let args = of(&program, &data, &lets, &[], &l.inputs);
            lets.push(run(program.module.det(l.func), &args).swap_remove(l.result));
        }
        // The interpreter takes its time over the weights of networks.
        let compiled = |f: &Func<Det>, inputs: &[Global], args: &[Input]| {
            let lowered = lower_function(&program, f, inputs, &mut Cx::default()).unwrap_or_else(|e| panic!("{e:?}"));
            run_native(&lowered.func, args, Precision::F64, 0, 0).unwrap_or_else(|e| panic!("{e}"))
        };
        let params = (0..program.params.len())
            .map(|i| match (ppl_check::unconstrained_init(&program, i), &program.params[i].init) {
                (Some(f), Some((_, inputs))) if program.params[i].shape.iter().product::<usize>() > 10_000 => {
                    compiled(&f, inputs, &of(&program, &data, &lets, &[], inputs)).swap_remove(0)
                }
                (Some(f), Some((_, inputs))) => run(&f, &of(&program, &data, &lets, &[], inputs)).swap_remove(0),
                _ => vec![0.0; program.params[i].free_shape.iter().product()],
            })
            .collect();
        Ok(Fitted { program, code, steps, data, lets, params })
    }

    /// As [`Fitted::new`], for one step, of a program with warnings.
    pub fn warned(model: &Model) -> Result<Fitted, Failure> {
        let program = model.check_with_warnings(&FitOverrides::default())?;
        Fitted::of_program(model, program, Some(1))
    }

    /// Values of an entry's inputs.
    pub fn inputs(&self, inputs: &[Global]) -> Vec<Input> {
        of(&self.program, &self.data, &self.lets, &self.params, inputs)
    }

    /// Value and gradients of the objective by machine code.
    pub fn gradient_native(&self, precision: Precision, seed: u64, step: u64) -> Result<Vec<Vec<f64>>, String> {
        run_native(&self.code.gradient, &self.inputs(&self.code.inputs), precision, seed, step)
    }

    /// Value and gradients by the interpreter, of the optimised program that the machine code is made from.
    pub fn gradient_optimised(&self, precision: Precision, seed: u64, step: u64) -> Result<Vec<Vec<f64>>, String> {
        let dets = &self.program.module.dets;
        interpret(dets, &self.code.gradient, &self.inputs(&self.code.inputs), precision, seed, step)
    }

    /// Value by the interpreter of the program before batching; gradients by the interpreter of the batched program without
    /// any optimisation.
    pub fn gradient_reference(&self, precision: Precision, seed: u64, step: u64) -> Result<Vec<Vec<f64>>, String> {
        let dets = &self.program.module.dets;
        let inputs = self.inputs(&self.code.inputs);
        let value = interpret(dets, &self.code.reference, &inputs, precision, seed, step)?;
        let mut f = self.code.reference.clone();
        ppl_opt::inline_calls(&mut f, dets);
        let f = ppl_transform::batch::batch(f);
        let g = vjp::vjp(&f, &smooth(&self.code.inputs), 0).map_err(|e| e.diagnostic().title)?;
        let mut all = interpret(dets, &g, &inputs, precision, seed, step)?;
        let apart = crate::distance(&value[0], &all[0]);
        if apart > if precision == Precision::F64 { 1e-9 } else { 2e-3 } {
            return Err(format!("before batching {:?}, after it {:?}", value[0], all[0]));
        }
        all[0].clone_from(&value[0]);
        Ok(all)
    }

    /// Gives states of strategies, and what strategies learn for themselves, the value `x`.
    pub fn remember(&mut self, x: f64) {
        let own = self.code.learned.iter().zip(&self.code.own).filter(|(_, own)| !**own).map(|(p, _)| *p);
        for p in own.chain(self.code.carried.iter().copied()).collect::<Vec<_>>() {
            self.params[p].fill(x);
        }
    }

    /// Trains what strategies learn and remember, for about `steps` steps; the parameters of the objective stay where they are, but for a few steps at a time.
    pub fn settle(&mut self, steps: usize) -> Result<(), String> {
        const ROUND: usize = 50;
        let objective: Vec<usize> =
            self.code.learned.iter().zip(&self.code.own).filter(|(_, own)| **own).map(|(p, _)| *p).collect();
        let start: Vec<Input> = objective.iter().map(|p| self.params[*p].clone()).collect();
        for round in 0..steps / ROUND {
            self.run(Precision::F64, 11 + round as u64, ROUND)?;
            for (p, x) in objective.iter().zip(&start) {
                self.params[*p].clone_from(x);
            }
        }
        Ok(())
    }

    /// The step's inputs before the first step.
    pub fn step_inputs(&self) -> Vec<Input> {
        let f = &self.code.step;
        let given = self.inputs(&self.code.inputs);
        let slot = |i: usize| vec![0.0; f.ty(f.params[i]).numel()];
        let value = |(i, role): (usize, &Role)| match role {
            Role::Param(n) => self.params[self.code.learned[*n]].clone(),
            Role::Carried(n) => self.params[self.code.carried[*n]].clone(),
            Role::Step | Role::Slot { .. } => slot(i),
            Role::Given(at) => given[*at].clone(),
        };
        self.code.layout.roles.iter().enumerate().map(value).collect()
    }

    /// A runner of the step, ready for step 0.
    pub fn runner(&self, precision: Precision) -> Result<Runner, String> {
        let mut r = native(&self.code.step, &self.step_inputs(), precision)?;
        let pairs: Vec<(usize, usize)> = (0..self.code.layout.state).map(|i| (i, i)).collect();
        r.set_state(&pairs).map_err(|e| e.to_string())?;
        Ok(r)
    }

    /// Runs `steps` steps by machine code; the parameters are then the fitted ones. Returns the objectives.
    pub fn run(&mut self, precision: Precision, seed: u64, steps: usize) -> Result<Vec<f64>, String> {
        let mut r = self.runner(precision)?;
        let mut record = vec![f64::NAN; steps];
        let done = r.run_steps(seed, 0, self.code.layout.objective, &mut record).map_err(|e| e.to_string())?;
        if let Some(step) = done.not_finite {
            return Err(format!("the objective is not finite at step {step}"));
        }
        for (i, role) in self.code.layout.roles.iter().enumerate() {
            match role {
                Role::Param(n) => self.params[self.code.learned[*n]] = r.input_values(i),
                Role::Carried(n) => self.params[self.code.carried[*n]] = r.input_values(i),
                Role::Step | Role::Slot { .. } | Role::Given(_) => {}
            }
        }
        Ok(record)
    }

    /// The same steps by the interpreter on the optimised step.
    pub fn run_interpreted(&mut self, seed: u64, steps: usize) -> Result<Vec<f64>, String> {
        let mut inputs = self.step_inputs();
        let mut record = Vec::new();
        for step in 0..steps as u64 {
            let out = interpret(&self.program.module.dets, &self.code.step, &inputs, Precision::F64, seed, step)?;
            record.push(out[self.code.layout.objective][0]);
            inputs[..self.code.layout.state].clone_from_slice(&out[..self.code.layout.state]);
        }
        for (i, role) in self.code.layout.roles.iter().enumerate() {
            if let Role::Param(n) = role {
                self.params[self.code.learned[*n]].clone_from(&inputs[i]);
            }
        }
        Ok(record)
    }

    /// Runs a lowered entry at the present parameters.
    pub fn evaluate(&self, entry: &Lowered, seed: u64) -> Result<Vec<Vec<f64>>, String> {
        run_native(&entry.func, &self.inputs(&entry.inputs), Precision::F64, seed, 0)
    }

    /// The objective at the present parameters: mean and standard error over the particles of the estimate, for `runs` seeds.
    pub fn estimate(&self, seed: u64, runs: usize) -> Result<(f64, f64), String> {
        let entry = &self.code.estimates[0];
        let mut r = native(&entry.func, &self.inputs(&entry.inputs), Precision::F64)?;
        let mut all = Vec::new();
        for k in 0..runs {
            r.run(seed, k as u64);
            all.extend(r.output_values(0));
        }
        Ok(mean_and_error(&all))
    }

    /// Values of report `i` of the fit at the present parameters: the particles of its entry, for `runs` steps.
    pub fn report(&self, i: usize, seed: u64, runs: usize) -> Result<Vec<f64>, String> {
        let entry = &self.code.reports[i];
        let mut r = native(&entry.func, &self.inputs(&entry.inputs), Precision::F64)?;
        let mut all = Vec::new();
        for k in 0..runs {
            r.run(seed, k as u64);
            all.extend(r.output_values(0));
        }
        Ok(all)
    }

    /// Draws of every latent choice and report: name, shape of one draw, values with draws outermost.
    pub fn draws(&self, seed: u64) -> Result<Vec<Quantity>, String> {
        let lowered = self.code.draws.as_ref().ok_or("the fit has no single guide")?;
        let plan = self.program.fit.as_ref().and_then(|f| f.draws.as_ref()).ok_or("no draws")?;
        let values = self.evaluate(lowered, seed)?;
        Ok(plan.outputs.iter().zip(values).map(|(o, v)| (o.name.clone(), o.ty.shape.clone(), v)).collect())
    }

    /// Posterior means of all elements, by names such as `theta[1]`, counted from 1.
    pub fn means(&self, seed: u64) -> Result<Vec<(String, f64)>, String> {
        let mut out = Vec::new();
        for (name, shape, values) in self.draws(seed)? {
            let n: usize = shape.iter().product();
            let draws = values.len() / n.max(1);
            for e in 0..n {
                let mean = (0..draws).map(|d| values[d * n + e]).sum::<f64>() / draws as f64;
                out.push((if shape.is_empty() { name.clone() } else { format!("{name}[{}]", e + 1) }, mean));
            }
        }
        Ok(out)
    }

    /// Sets parameter `i` to unconstrained values in a runner of the gradient.
    pub fn set_param(&self, r: &mut Runner, i: usize, x: &[f64]) -> Result<(), String> {
        let at = self.code.inputs.iter().position(|g| *g == Global::Param(i)).ok_or("not an input")?;
        set(r, at, ppl_core::DType::Float, x)
    }
}

fn smooth(inputs: &[Global]) -> Vec<usize> {
    inputs.iter().enumerate().filter(|(_, g)| matches!(g, Global::Param(_))).map(|(i, _)| i).collect()
}

/// Mean and its standard error.
pub fn mean_and_error(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let m = x.iter().sum::<f64>() / n;
    let v = x.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (n - 1.0);
    (m, (v / n).sqrt())
}
