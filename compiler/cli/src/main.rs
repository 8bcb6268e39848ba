//! The `ppl` command.
fn main() {}
