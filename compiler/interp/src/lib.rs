//! The reference interpreter of deterministic functions: short, slow, obviously right.
//!
//! Values are candle tensors. Every operation is written as its definition: shape operations as a formula from result index
//! to operand index, arithmetic as the IEEE operation, sums in the order of the elements. Transcendental functions, random
//! numbers and matrix factors come from the kernels that compiled code calls too, so those agree to the bit; sums and
//! contractions are accumulated in double precision here and may be reassociated by compiled code.
//!
//! It runs functions at any point of the pipeline: with calls, with loops over lanes that batching has not touched, with
//! or without derivatives. So it is the oracle for inlining, batching, differentiation, simplification and the JIT.
//!
//! - [`Interp`] runs a function; [`Interp::run_traced`] shows every statement's values on the way.
//! - [`Interp::first_non_finite`] finds where a NaN or an infinity comes from.
//! - [`testgen`] makes random well-typed programs for tests of passes and engines.
//!
//! **Invariant:** it changes no program and never panics on bad input; an error is a value ([`InterpError`]).

mod array;
mod elementwise;
mod error;
mod eval;
mod fold;
mod index;
mod numeric;
mod random;
pub mod testgen;
mod value;

pub use error::{Fault, InterpError};
pub use eval::Event;
pub use numeric::NonFinite;

use candle_core::Tensor;
use ppl_abi::Precision;
use ppl_core::{Det, Func};

/// Runs functions under one precision, seed and step.
#[derive(Clone, Copy, Debug)]
pub struct Interp<'m> {
    /// The functions that calls name.
    pub dets: &'m [Func<Det>],
    /// Width of reals.
    pub precision: Precision,
    /// Seed of every draw.
    pub seed: u64,
    /// Number of the optimisation step, or of the run.
    pub step: u64,
    /// Report indices out of range. Otherwise they are clamped, as in compiled code; a lane whose branch was not taken
    /// may compute such indices once branches have become selects.
    pub check_indices: bool,
}

impl<'m> Interp<'m> {
    /// Double precision, seed and step 0, checked indices.
    pub fn new(dets: &'m [Func<Det>]) -> Self {
        Interp { dets, precision: Precision::F64, seed: 0, step: 0, check_indices: true }
    }

    /// With another width of reals.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Interp { precision, ..self }
    }

    /// With another seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Interp { seed, ..self }
    }

    /// At another step.
    #[must_use]
    pub fn step(self, step: u64) -> Self {
        Interp { step, ..self }
    }

    /// With indices clamped, as compiled code does.
    #[must_use]
    pub fn clamp_indices(self) -> Self {
        Interp { check_indices: false, ..self }
    }

    /// The results of `f` for these arguments: floats of the run's precision, i64, and u8 (0 or 1) for truth values.
    ///
    /// # Errors
    /// Arguments that do not fit, an index out of range, calls nested too deep, or a malformed function.
    pub fn run(&self, f: &Func<Det>, args: &[Tensor]) -> Result<Vec<Tensor>, InterpError> {
        eval::run(self, f, args, None)
    }

    /// As [`Interp::run`]; `observe` sees every statement once its results are known, inner ones first.
    ///
    /// # Errors
    /// As [`Interp::run`].
    pub fn run_traced(
        &self,
        f: &Func<Det>,
        args: &[Tensor],
        observe: &mut dyn FnMut(&Event<'_>),
    ) -> Result<Vec<Tensor>, InterpError> {
        eval::run(self, f, args, Some(observe))
    }

    /// The first statement whose result has a NaN or an infinity while its operands are finite.
    ///
    /// # Errors
    /// As [`Interp::run`].
    pub fn first_non_finite(&self, f: &Func<Det>, args: &[Tensor]) -> Result<Option<NonFinite>, InterpError> {
        numeric::first_non_finite(self, f, args)
    }
}
