//! Native code from deterministic programs, through Cranelift.
//!
//! [`compile`] takes one flat `Func<Det>` (batched and inlined) and gives a [`Compiled`]: machine code with its entry
//! points. A [`Runner`] owns the buffers for it and runs it, once or as an optimisation loop.
//!
//! **Invariant:** no kernels and no policy. Addresses of kernels come from outside as a [`ppl_abi::KernelTable`]; which program to
//! compile, and when to stop a loop, is decided elsewhere. Compiled code keeps no state, allocates nothing and never unwinds.
//!
//! # How it works
//!
//! 1. *Order and groups* (`schedule`). Statements are reordered by readiness: scalar work and views first, then kernels and loops, and
//!    elementwise statements of one shape are collected into groups with the reductions that follow them, as late and as large as
//!    possible.
//! 2. *Places* (`view`, `arena`). Scalars are SSA values. An array is a strided view of a buffer, so broadcasts, transposes, slices,
//!    reversals, most reshapes and indexing by a scalar are free; or a splat of a scalar. Buffers live in one workspace whose ranges are
//!    reused after the last use; what a block returns is computed in its final place.
//! 3. *Loop nests* (`emit::nest`). Groups, copies, reductions and small products are one kind of thing: a dataflow graph over an index
//!    space. Axes are merged, the innermost one is vectorised (128 bits) and unrolled. Intermediates stay in registers.
//!    Reductions have a fixed order, so results do not vary from run to run.
//!    *Blocks* (`emit::tile`): a group with transcendental functions goes through its index space in blocks that stay in the first-level
//!    cache; in each, loops over vectors and calls of wide kernels take turns.
//! 4. *Chunks* (`emit::chunk`, `pool`). A group or matrix product that is long enough is a native function of its own, called for each chunk of its
//!    first axis by whichever thread is free. How it is cut depends on its size alone, so any number of threads gives the same bits.
//!    *Strips* (`emit::strip`) take a product, the elementwise work on it and the product that sums over its rows together, block of rows by block, so that
//!    a large matrix is read once.
//! 5. *Kernels* (`emit::kernels`). Transcendentals, draws, larger matrix products and factorisations are calls to absolute addresses.
//!    Scalar calls of one kernel that are ready together are one call on a short array; interpreter and compiled code
//!    agree to the bit on them.
//! 6. *Machine code* (`machine`). The program is split into native functions of some thousands of instructions; scalars that cross are
//!    saved in the workspace.

mod arena;
mod emit;
mod error;
mod machine;
mod pool;
mod runner;
mod schedule;
mod view;

pub use error::CodegenError;
pub use machine::{Compiled, Options, Regalloc, Slot, Times, compile};
pub use runner::{Runner, Steps};
