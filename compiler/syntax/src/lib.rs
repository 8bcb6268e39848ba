//! Source text to syntax tree, and back.
//!
//! **Invariant:** parsing never fails and never panics: it returns a tree and a list of diagnostics. This crate knows no
//! types and does no IO.

pub mod ast;
mod build;
mod layout;
mod lex;
mod mistakes;
mod parse;
mod printer;
mod token;
pub mod visit;

pub use layout::{MAX_BRACKETS, MAX_DEPTH};
pub use parse::{Parse, Repl, is_incomplete, parse, parse_expr, parse_repl};
pub use printer::{format, print_expr, print_file, print_item, print_stmt, print_type};

#[allow(clippy::all, clippy::unwrap_used, unreachable_pub, missing_docs, unused, dead_code, reason = "generated code")]
mod grammar {
    include!(concat!(env!("OUT_DIR"), "/grammar.rs"));
}
