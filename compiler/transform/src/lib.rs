//! Transformations between and within the stages of the core IR.
//!
//! **Invariant:** every pass is a plain function from programs to programs: nothing here does IO, prints or runs a program.

pub mod batch;
pub mod step;
pub mod vjp;
