//! The text format of functions and modules: printing, and reading back. Described in `spec/ir.md`.

mod lex;
mod parse;
mod parse_module;
mod parse_op;
mod print;
mod print_module;

pub use parse::parse_func;
pub use parse_module::parse_module;
pub(crate) use print::stmt_head;
pub use print::{Names, print_func};

/// Nesting of blocks beyond which the parser refuses a text.
pub const MAX_DEPTH: usize = 200;

/// Keywords of operations that are not elementwise primitives, for messages.
const OPS: &[&str] = &[
    "argmax",
    "broadcast",
    "call",
    "cholesky",
    "concat",
    "continue",
    "cumsum",
    "density",
    "dot",
    "draw",
    "factor",
    "gather",
    "grad",
    "if",
    "iota",
    "log_density",
    "log_weight",
    "map",
    "pad",
    "path",
    "random",
    "reduce",
    "report",
    "reshape",
    "reverse",
    "sample",
    "scan",
    "scatter_add",
    "score",
    "sim",
    "slice",
    "solve",
    "stop",
    "transpose",
];

#[cfg(test)]
mod generate;
#[cfg(test)]
mod spec;
#[cfg(test)]
mod tests;
