//! The gradient that a fit would use, compiled to be drawn one by one: what certificates test and tuning measures.

use crate::engine::{EVALUATION, Globals, Machine, native};
use crate::model::{self, Model};
use crate::report::Failure;
use crate::run;
use ppl_codegen::Runner;
use ppl_diag::{Code, Diagnostic};
use ppl_driver::check::{FitOverrides, FitPlan, Global, Program};
use ppl_driver::{Cx, FitCode, lower_fit};
use ppl_fit::step::Param;
use std::path::Path;

/// A gradient is not finite.
const NOT_FINITE: Code = Code("E0472");
/// There is nothing to learn.
const NOTHING: Code = Code("E0471");

/// A model whose fit is compiled again and again, each time with other clauses.
pub(crate) struct Lab<'a> {
    /// The model.
    pub(crate) model: &'a Model,
    /// How it runs.
    pub(crate) machine: Machine,
    /// Saved parameters to start from, instead of the initial values.
    pub(crate) params: Option<&'a Path>,
    /// Account of the compilations.
    pub(crate) cx: Cx,
}

/// A fit, lowered: its program, and its code.
pub(crate) struct Compiled {
    /// The program; it has a plan.
    pub(crate) program: Program,
    /// What it does.
    pub(crate) plan: FitPlan,
    /// Its code, without draws and reports.
    pub(crate) code: FitCode,
}

impl Compiled {
    /// Names of the parameters that learn from an objective. What strategies train for themselves moves none.
    pub(crate) fn learned(&self) -> Vec<String> {
        self.own().map(|p| self.program.params[p].name.clone()).collect()
    }

    /// Their positions in the program.
    pub(crate) fn own(&self) -> impl Iterator<Item = usize> {
        self.code.learned.iter().zip(&self.code.own).filter(|(_, own)| **own).map(|(p, _)| *p)
    }

    /// Names of their unconstrained components, in the order of [`Gradient::at`].
    pub(crate) fn components(&self) -> Vec<String> {
        let names = |i: usize| {
            let p = &self.program.params[i];
            let n: usize = p.free_shape.iter().product();
            (0..n).map(|k| ppl_fit::step::element_name(&p.name, &p.free_shape, k)).collect::<Vec<_>>()
        };
        self.own().flat_map(names).collect()
    }

    /// The error where there are none.
    pub(crate) fn nothing_learned(&self) -> Diagnostic {
        Diagnostic::error(NOTHING, "no parameter reaches the objective")
            .label(self.plan.span, "nothing is learned here")
            .help("a gradient needs parameters: `param mu: real = 0.0`, used in the model or the guide")
    }
}

/// A compiled gradient.
pub(crate) struct Gradient {
    runner: Runner,
    seed: u64,
    /// Numbers of the results that are wanted.
    results: Vec<usize>,
}

impl Gradient {
    /// All components of the gradient at a step.
    pub(crate) fn at(&mut self, step: u64) -> Vec<f64> {
        self.runner.run(self.seed, step);
        self.results.iter().flat_map(|k| self.runner.output_values(*k)).collect()
    }

    /// All components in a draw, at a step beyond those of any fit.
    ///
    /// # Errors
    /// One of them is not finite.
    pub(crate) fn draw(&mut self, draw: u64) -> Result<Vec<f64>, Diagnostic> {
        let x = self.at(EVALUATION + draw);
        let Some(bad) = x.iter().position(|x| !x.is_finite()) else { return Ok(x) };
        Err(Diagnostic::error(NOT_FINITE, format!("component {bad} of the gradient is {}", x[bad]))
            .note(format!("in draw {draw} of seed {}", self.seed))
            .help("`ppl fit` with these parameters explains which expression is not finite"))
    }

    /// Sets an input.
    ///
    /// # Errors
    /// A fault of the compiler.
    pub(crate) fn set(&mut self, input: usize, values: &[f64]) -> Result<(), Diagnostic> {
        self.runner.set_floats(input, values).map_err(|e| crate::engine::fault(&e.to_string()))
    }

    /// Lets the states of strategies follow from draw to draw, as a fit does.
    ///
    /// # Errors
    /// A fault of the compiler.
    pub(crate) fn carry(&mut self, c: &Compiled) -> Result<(), Diagnostic> {
        let first = c.plan.goals.len() + c.code.learned.len();
        let places = c.code.carried.iter().enumerate().filter_map(|(k, p)| {
            let input = c.code.inputs.iter().position(|g| *g == Global::Param(*p))?;
            Some((input, first + k))
        });
        self.runner.set_state(&places.collect::<Vec<_>>()).map_err(|e| crate::engine::fault(&e.to_string()))
    }
}

impl Lab<'_> {
    /// The diagnostics as a failure of the command.
    pub(crate) fn fail(&self, d: Vec<Diagnostic>) -> Failure {
        self.model.failure(d)
    }

    /// Checks and lowers the fit of `steps` steps with these clauses.
    ///
    /// # Errors
    /// Whatever is wrong with the program.
    pub(crate) fn compiled(&mut self, overrides: &FitOverrides, steps: u64) -> Result<Compiled, Failure> {
        let (program, _) = self.model.check(overrides)?;
        let Some(mut plan) = program.fit.clone() else {
            let path = self.model.source.map.get(self.model.source.id).map_or(String::new(), |f| f.name.to_string());
            return Err(Failure::plain(model::no_fit(&path, self.model.fits(), overrides.index)));
        };
        // Nothing is evaluated after it.
        plan.reports.clear();
        plan.draws = None;
        let optimizer = run::optimizer(&plan).map_err(|d| self.fail(vec![d]))?;
        let code = lower_fit(&program, &plan, &run::compiled(&optimizer), steps, &mut self.cx).map_err(|d| self.fail(d))?;
        Ok(Compiled { program, plan, code })
    }

    /// Data, lets and parameters for these inputs. Parameters in `kept` have the values given there, others their initial ones.
    ///
    /// # Errors
    /// Data that were not given; initial values outside of their constraints; saved parameters that do not fit.
    pub(crate) fn globals(&mut self, program: &Program, inputs: &[Global], kept: &[Param]) -> Result<Globals, Failure> {
        let known = |i: usize| kept.iter().any(|k| k.name == program.params[i].name && k.shape == program.params[i].free_shape);
        let needed = |g: Global| match g {
            Global::Param(i) => !known(i),
            Global::Data(_) | Global::Let(_) => inputs.contains(&g),
        };
        let globals = run::globals(self.machine, program, self.model.data(program), &needed, &mut self.cx);
        let mut globals = globals.map_err(|d| self.fail(d))?;
        if let Some(path) = self.params {
            crate::simulate::set_saved(program, &mut globals, path).map_err(|d| self.fail(vec![d]))?;
        }
        run::set_free(program, &mut globals, kept);
        Ok(globals)
    }

    /// The gradient for these parameters: other strategies may have parameters of their own.
    ///
    /// # Errors
    /// Data that were not given; a fault of the compiler.
    pub(crate) fn gradient(&self, c: &Compiled, globals: &Globals, wanted: &[String]) -> Result<Gradient, Failure> {
        let fail = |d: Diagnostic| self.fail(vec![d]);
        let inputs = globals.all(&c.program, &c.code.inputs).map_err(fail)?;
        let runner = native(&c.code.gradient, self.machine.precision, &inputs).map_err(fail)?;
        let goals = c.plan.goals.len();
        let number = |name: &String| c.code.learned.iter().position(|p| c.program.params[*p].name == *name).map(|k| goals + k);
        let results: Option<Vec<usize>> = wanted.iter().map(number).collect();
        let results = results.ok_or_else(|| fail(crate::engine::fault("a gradient lacks a parameter")))?;
        Ok(Gradient { runner, seed: self.machine.seed, results })
    }
}

/// Strategies that take the distribution of this name, in the order in which they are declared.
pub(crate) fn works_with(program: &Program, dist: &str) -> Vec<String> {
    program.module.dists.iter().find(|d| d.name == dist).map_or(Vec::new(), |d| d.works_with.clone())
}
