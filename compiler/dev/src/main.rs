//! The `cargo dev` helper.
fn main() {}
