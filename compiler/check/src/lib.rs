//! From the syntax tree to the core IR: names, types, shapes, supports, traces.
//!
//! Programs are specialised while they are checked: sizes are known, calls of `fn`s and objectives are inlined, and every
//! generative program, distribution and strategy becomes a function of the module for each combination of types it is used at.
//! Without data, each unknown size is a stand-in that equals no other size, so a program checks if it does for all sizes.
//!
//! **Invariant:** no IO, and no rewriting of the IR: traces, strategies and derivatives are taken by later passes.

mod arrays;
mod bijectors;
mod builtins;
mod calls;
mod choices;
mod claims;
mod codes;
mod control;
mod dists;
mod divergences;
mod entries;
mod estimates;
mod evaluation;
mod expr;
mod func;
mod goals;
mod gradient;
mod guide;
mod history;
mod integrals;
mod memory;
mod minibatch;
mod names;
mod networks;
mod patches;
mod programs;
mod session;
mod stage;
mod strategies;
mod types;
mod value;

pub use builtins::NAMES as BUILTIN_NAMES;
pub use claims::{About, Claim, Evidence, Side};
pub use entries::{
    Entry, Evaluated, FitPlan, GuideDraws, Output, Probe, Reported, Setting, SettingValue, Simulation, elaborate,
    elaborate_density, elaborate_expression, elaborate_simulation,
};
pub use evaluation::{ArrayEvaluation, Evaluation, elaborate_evaluations};
pub use goals::Goal;
pub use guide::{guide_source, unconstrained_init};
pub use minibatch::Minibatch;
pub use session::Global;

use ppl_core::{DType, DetId, Module, Support, Ty};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{Expr, File};
use std::collections::BTreeMap;

/// What the data say: values of scalar ints, shapes of arrays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataShapes {
    /// Values of declared scalar ints, given or read off shapes.
    pub sizes: BTreeMap<String, i64>,
}

/// A strategy chosen on the command line, for the choice `address` or (where `None`) all that name none.
#[derive(Clone, Debug)]
pub struct Override {
    /// `z`, or `guide.z` for that of one program; `None` for `_`.
    pub address: Option<String>,
    /// Such as `reinforce(0.5)`.
    pub strategy: Expr,
}

/// What replaces clauses of the `fit` in the file.
#[derive(Clone, Debug, Default)]
pub struct FitOverrides {
    /// Which `fit` of the file, from 0.
    pub index: usize,
    /// `elbo`, `iwelbo(5)`, any objective expression.
    pub objective: Option<Expr>,
    /// `auto_normal`, `mean_field()`.
    pub guide: Option<Expr>,
    /// `adam(0.01)`.
    pub optimizer: Option<Expr>,
    /// Number of particles.
    pub particles: Option<usize>,
    /// Number of draws from the fitted guide.
    pub draws: Option<usize>,
    /// Draws for the final estimate of the objective.
    pub estimate_draws: Option<usize>,
    /// Strategies.
    pub strategies: Vec<Override>,
    /// Estimates to report after the fit, beside those that it names.
    pub reports: Vec<Expr>,
    /// A minibatch is the whole plate.
    pub whole_plates: bool,
}

/// A size as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct DimSpec {
    /// Its value, where known.
    pub size: Option<usize>,
    /// Its name or expression.
    pub name: Option<String>,
}

/// A `data` declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSpec {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Support that every element must be in.
    pub support: Support,
    /// Sizes.
    pub dims: Vec<DimSpec>,
    /// `from columns(..)`.
    pub columns: Option<Vec<String>>,
    /// `from "file"`.
    pub from: Option<String>,
    /// A scalar int: its value is known while compiling.
    pub is_size: bool,
    /// Its declaration.
    pub span: Span,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Name, such as `mu` or `auto_normal.theta.log_scale`.
    pub name: String,
    /// Shape of the constrained value.
    pub shape: Vec<usize>,
    /// Shape of the unconstrained value that is optimised.
    pub free_shape: Vec<usize>,
    /// Constraint.
    pub support: Support,
    /// Whether it is state of a strategy: a result of the step replaces it, nothing is differentiated.
    pub state: bool,
    /// Function of the initial constrained value with its inputs; zeros of the unconstrained value where absent.
    pub init: Option<(DetId, Vec<Global>)>,
    /// Its declaration.
    pub span: Span,
}

/// A top-level `let` computed from data.
#[derive(Clone, Debug, PartialEq)]
pub struct LetSpec {
    /// Name.
    pub name: String,
    /// The function that computes it.
    pub func: DetId,
    /// Which of the function's results it is.
    pub result: usize,
    /// The function's inputs.
    pub inputs: Vec<Global>,
    /// Type.
    pub ty: Ty,
    /// Its declaration.
    pub span: Span,
}

/// A checked program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Functions, distributions, strategies.
    pub module: Module,
    /// Data declarations.
    pub data: Vec<DataSpec>,
    /// Parameters.
    pub params: Vec<ParamSpec>,
    /// Top-level lets.
    pub lets: Vec<LetSpec>,
    /// The fit to run, if the file has one (or the command line).
    pub fit: Option<FitPlan>,
    /// Generative programs without arguments, ready to be simulated: name and entry.
    pub simulations: Vec<Simulation>,
    /// Scores of the programs without arguments, for analyses.
    pub probes: Vec<Probe>,
    /// Spans of `assume_continuous { }`.
    pub continuous: Vec<Span>,
}

/// The result of [`elaborate`].
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The program, complete only if there are no errors.
    pub program: Program,
    /// Everything found, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// The declarations of data in a file, before data are read: sizes by name.
pub fn data_declarations(library: &[File], file: &File) -> (Vec<DataSpec>, Vec<Diagnostic>) {
    let mut s = session::Session::new(None, Vec::new());
    library.iter().for_each(|f| s.declare(f, true));
    s.declare(file, false);
    s.declare_values(file);
    (s.data, s.diagnostics)
}
