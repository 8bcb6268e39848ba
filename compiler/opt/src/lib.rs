//! Passes that make core IR smaller and faster and keep its meaning.
//!
//! One file for each pass; its header has the equations. [`pipeline`] is the only place that orders them. Passes are
//! generic over the stage where that makes sense, and take time linear (or n log n) in the size of the program.
//!
//! Rules are of two kinds. *Exact* rules keep every bit of every finite result (the sign of a zero aside). *Reassociating* rules
//! are equal for real numbers and change rounding; [`SimplifyOptions::reassociate`] turns them off. No rule changes a
//! derivative, so all of them may run before `vjp`; until then [`ppl_core::Op::Stop`] is opaque.
//!
//! **Invariant:** no pass runs a program, knows the source language or does IO; a fault of a pass is a value ([`OptError`]).

pub mod pipeline;
mod reciprocals;

mod columns;
mod cse;
mod dce;
mod inline_calls;
mod licm;
mod simplify;
mod split;
mod unroll;
mod util;

pub use columns::columns;
pub use cse::cse;
pub use dce::dce;
pub use inline_calls::{call_ordinals, inline_calls, inlined_site};
pub use licm::licm;
pub use pipeline::{OptError, PassManager, PassTiming, When};
pub use reciprocals::reciprocals;
pub use simplify::{SimplifyOptions, simplify, simplify_det};
pub use split::split;
pub use unroll::unroll;
