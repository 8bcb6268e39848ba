//! The runtime around a compiled step: data, parameters, optimisers, the fit loop, summaries and run folders.
//!
//! **Invariant:** this crate knows no language and no compiler. Declarations come in as plain data, a compiled step as a
//! [`Step`](step::Step); every problem goes out as a [`Diagnostic`](ppl_diag::Diagnostic); nothing is printed except the
//! progress of a fit.
#![allow(clippy::result_large_err, reason = "a diagnostic is made once, on the way out; boxing it would only blur signatures")]

pub mod certify;
pub mod data;
pub mod fit;
pub mod optim;
pub mod rundir;
pub mod step;
pub mod summary;
pub mod trace;
