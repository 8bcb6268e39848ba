//! Source text to syntax tree, and back.
//!
//! **Invariant:** parsing never fails and never panics: it returns a tree and a list of diagnostics. This crate knows no
//! types and does no IO.

pub mod ast;
