//! Source text to syntax tree, and back.
//!
//! **Invariant:** parsing never fails and never panics: it returns a tree and a list of diagnostics. This crate knows no
//! types and does no IO.

pub mod ast;
mod build;
mod token;

#[allow(clippy::all, clippy::unwrap_used, unreachable_pub, missing_docs, unused, dead_code, reason = "generated code")]
mod grammar {
    include!(concat!(env!("OUT_DIR"), "/grammar.rs"));
}
