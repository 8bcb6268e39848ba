//! Running lowered programs: native code or the reference interpreter.

mod step;

pub(crate) use step::{StepSpec, interpreted_step, native_step};

use candle_core::Tensor;
use ppl_abi::Precision;
use ppl_codegen::{Options, Runner, compile};
use ppl_core::{DType, Det, Func, Ty};
use ppl_diag::{Code, Diagnostic};
use ppl_driver::Lowered;
use ppl_driver::check::{Global, Program};
use ppl_fit::data::{Array, Elem, Values};
use ppl_interp::Interp;
use std::sync::{Arc, OnceLock};

use crate::args::{EngineName, PrecisionName};

/// A fault of code generation.
const FAULT: Code = Code("E0903");
/// A run that could not be finished.
const RUN: Code = Code("E0703");

/// Steps beyond this number belong to evaluations, not to the fit: their draws are others than those of any step.
pub(crate) const EVALUATION: u64 = 1 << 40;
/// The step of initial values.
pub(crate) const INITIAL: u64 = 1 << 41;

/// How programs are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Native or interpreted.
    pub(crate) engine: EngineName,
    /// Width of reals.
    pub(crate) precision: Precision,
    /// Seed of every draw.
    pub(crate) seed: u64,
}

impl From<PrecisionName> for Precision {
    fn from(p: PrecisionName) -> Precision {
        match p {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::F64 => Precision::F64,
        }
    }
}

/// Values from outside of a program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globals {
    /// By position in [`Program::data`]; absent where none was given.
    pub(crate) data: Vec<Option<Array>>,
    /// By position in [`Program::params`], unconstrained.
    pub(crate) params: Vec<Array>,
    /// By position in [`Program::lets`].
    pub(crate) lets: Vec<Array>,
}

impl Globals {
    /// A value.
    ///
    /// # Errors
    /// Data that were not given.
    pub(crate) fn get(&self, program: &Program, g: Global) -> Result<&Array, Diagnostic> {
        let found = match g {
            Global::Data(i) => self.data.get(i).and_then(Option::as_ref),
            Global::Param(i) => self.params.get(i),
            Global::Let(i) => self.lets.get(i),
        };
        found.ok_or_else(|| match g {
            Global::Data(i) => {
                let spec = &program.data[i];
                Diagnostic::error(Code("E0604"), format!("no value is given for `{}`", spec.name))
                    .label(spec.span, "declared here")
                    .help(format!("add `--data FILE`, or `--data '{{\"{}\": ..}}'`", spec.name))
            }
            Global::Param(_) | Global::Let(_) => fault("a value was asked for before it was computed"),
        })
    }

    /// Values of a function's parameters.
    ///
    /// # Errors
    /// As [`Globals::get`].
    pub(crate) fn all(&self, program: &Program, inputs: &[Global]) -> Result<Vec<Array>, Diagnostic> {
        inputs.iter().map(|g| self.get(program, *g).cloned()).collect()
    }
}

pub(crate) fn fault(message: &str) -> Diagnostic {
    Diagnostic::error(FAULT, format!("the compiler made a mistake: {message}"))
        .help("this is a fault of the compiler, not of your program; please report it with the program")
}

static THREADS: OnceLock<usize> = OnceLock::new();

/// Sets the number of threads of all runs; the machine's cores by default.
pub(crate) fn set_threads(n: Option<usize>) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let _ = THREADS.set(n.unwrap_or(cores));
}

/// How native code is made.
pub(crate) fn options(precision: Precision) -> Options {
    Options { threads: THREADS.get().copied().unwrap_or(1), ..Options::new(precision, ppl_tensor::address) }
}

/// Native code for a function, with its inputs. Ints that a file has as single bytes stay so where the code can read them.
///
/// # Errors
/// A fault of the compiler.
pub(crate) fn native(func: &Func<Det>, precision: Precision, inputs: &[Array]) -> Result<Runner, Diagnostic> {
    let byte = |a: &Array| matches!(&a.data, Values::Stored(Elem::Int, s) if s.width() == 1);
    let bytes = inputs.iter().enumerate().filter(|(_, a)| byte(a)).map(|(i, _)| i).collect();
    let options = Options { bytes, ..options(precision) };
    let code = compile(func, &options).map_err(|e| fault(&e.to_string()))?;
    let mut runner = Runner::new(Arc::new(code));
    for (i, a) in inputs.iter().enumerate() {
        set_input(&mut runner, i, a)?;
    }
    Ok(runner)
}

/// Sets one input.
pub(crate) fn set_input(r: &mut Runner, i: usize, a: &Array) -> Result<(), Diagnostic> {
    let dtype = r.code().params().get(i).map(|s| s.ty.dtype);
    if let Values::Stored(_, s) = &a.data {
        // SAFETY: the elements are a part of what is kept: a mapped file.
        if unsafe { r.borrow_input(i, s.elements(), s.width(), s.keep()) } {
            return Ok(());
        }
    }
    match (dtype, &a.data) {
        (Some(DType::Int), Values::Int(v)) => r.set_ints(i, v),
        (Some(DType::Bool), Values::Bool(v)) => r.set_bools(i, &v.iter().map(|b| *b != 0).collect::<Vec<_>>()),
        (_, Values::Real(v)) => r.set_floats(i, v),
        (Some(DType::Int), Values::Stored(Elem::Int, s)) => r.set_ints(i, &s.ints().collect::<Vec<_>>()),
        (Some(DType::Bool), Values::Stored(..)) => r.set_bools(i, &a.to_f64().iter().map(|x| *x != 0.0).collect::<Vec<_>>()),
        (_, _) => r.set_floats(i, &a.to_f64()),
    }
    .map_err(|e| fault(&e.to_string()))
}

/// An array of this type from reals, ints, or truth values as 0 and 1.
fn array(ty: &Ty, values: Vec<f64>) -> Array {
    let data = match ty.dtype {
        DType::Float => Values::Real(values),
        DType::Int => Values::Int(values.into_iter().map(|x| x as i64).collect()),
        DType::Bool => Values::Bool(values.into_iter().map(|x| u8::from(x != 0.0)).collect()),
    };
    Array { shape: ty.shape.clone(), data, missing: Vec::new() }
}

/// An array as a tensor of this width of reals.
pub(crate) fn tensor(a: &Array, precision: Precision) -> Result<Tensor, Diagnostic> {
    a.to_tensor(ppl_tensor::value::dtype(precision), &candle_core::Device::Cpu).map_err(|e| fault(&e.to_string()))
}

/// A tensor as an array.
pub(crate) fn from_tensor(t: &Tensor) -> Result<Array, Diagnostic> {
    let fail = |e: candle_core::Error| fault(&e.to_string());
    let shape = t.dims().to_vec();
    let flat = t.flatten_all().map_err(fail)?;
    let data = match t.dtype() {
        candle_core::DType::I64 => Values::Int(flat.to_vec1().map_err(fail)?),
        candle_core::DType::U8 => Values::Bool(flat.to_vec1().map_err(fail)?),
        _ => Values::Real(flat.to_dtype(candle_core::DType::F64).and_then(|t| t.to_vec1()).map_err(fail)?),
    };
    Ok(Array { shape, data, missing: Vec::new() })
}

/// A lowered program with its inputs, to be run at several steps.
pub(crate) struct Evaluator<'p> {
    program: &'p Program,
    machine: Machine,
    reference: Func<Det>,
    inputs: Vec<Global>,
    args: Vec<Array>,
    runner: Option<Runner>,
}

impl<'p> Evaluator<'p> {
    /// Compiles where native code is wanted.
    ///
    /// # Errors
    /// Data that were not given; a fault of the compiler.
    pub(crate) fn new(machine: Machine, program: &'p Program, lowered: &Lowered, globals: &Globals) -> Result<Self, Diagnostic> {
        let args = globals.all(program, &lowered.inputs)?;
        let runner = match machine.engine {
            EngineName::Interp => None,
            EngineName::Jit => Some(native(&lowered.func, machine.precision, &args)?),
        };
        Ok(Evaluator { program, machine, reference: lowered.reference.clone(), inputs: lowered.inputs.clone(), args, runner })
    }

    /// Takes other parameters from now on.
    ///
    /// # Errors
    /// A fault of the compiler.
    pub(crate) fn set_params(&mut self, globals: &Globals) -> Result<(), Diagnostic> {
        for (i, g) in self.inputs.iter().enumerate().filter(|(_, g)| matches!(g, Global::Param(_))) {
            let value = globals.get(self.program, *g)?;
            if let Some(r) = &mut self.runner {
                set_input(r, i, value)?;
            }
            self.args[i] = value.clone();
        }
        Ok(())
    }

    /// Bytes that a run of native code works in.
    pub(crate) fn workspace(&self) -> Option<usize> {
        self.runner.as_ref().map(|r| r.code().workspace())
    }

    /// The results at this step.
    ///
    /// # Errors
    /// What the interpreter reports, such as an index out of range.
    pub(crate) fn run(&mut self, step: u64) -> Result<Vec<Array>, Diagnostic> {
        if let Some(r) = &mut self.runner {
            r.run(self.machine.seed, step);
            let slots = r.code().results().to_vec();
            return Ok(slots.iter().enumerate().map(|(i, s)| read(r, i, &s.ty)).collect());
        }
        let interp = Interp::new(&self.program.module.dets).precision(self.machine.precision).seed(self.machine.seed).step(step);
        let args = self.args.iter().map(|a| tensor(a, self.machine.precision)).collect::<Result<Vec<_>, _>>()?;
        let results = interp
            .run(&self.reference, &args)
            .map_err(|e| Diagnostic::error(RUN, format!("the program could not be run: {}", e.fault)).label(e.span, "here"))?;
        results.iter().map(from_tensor).collect()
    }
}

/// A result of native code; ints keep all their bits.
fn read(r: &Runner, i: usize, ty: &Ty) -> Array {
    match ty.dtype {
        DType::Int => Array { shape: ty.shape.clone(), data: Values::Int(r.output_ints(i)), missing: Vec::new() },
        DType::Float | DType::Bool => array(ty, r.output_values(i)),
    }
}

/// Runs a program once.
///
/// # Errors
/// As [`Evaluator::new`] and [`Evaluator::run`].
pub(crate) fn evaluate(
    machine: Machine,
    program: &Program,
    lowered: &Lowered,
    globals: &Globals,
    step: u64,
) -> Result<Vec<Array>, Diagnostic> {
    Evaluator::new(machine, program, lowered, globals)?.run(step)
}
