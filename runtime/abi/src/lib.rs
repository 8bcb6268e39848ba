//! The contract between compiled programs, the reference interpreter and the kernels: which kernels exist, what they are
//! called with, and how random bits are addressed.
//!
//! Code generation needs this crate alone; the addresses of the kernels come from outside, as a [`KernelTable`].
//!
//! **Invariant:** no dependencies and no kernel bodies. Whoever depends on this crate can check or print a program
//! without linking a tensor library.
//!
//! # Buffers
//!
//! Buffers are dense row-major arrays of `f32` or `f64` (by the [`Precision`] of the run), `i64`, or `u8` (booleans, 0 or 1),
//! aligned to their element. Lengths and strides count elements, never bytes.
//!
//! # Calling convention
//!
//! Every kernel is an `unsafe extern "C" fn` without a return value, and **every argument is one 64-bit word**: a pointer,
//! a `usize` or a `u64` (flags are the words 0 and 1). So a caller needs no extension rules, and [`KernelSig::args`] says all
//! there is to know about a signature. A kernel never unwinds, keeps no state and does not retain its pointers. Elementwise,
//! random and row kernels never allocate; the linear algebra may use scratch memory of its own.
//!
//! Pointers must be valid for as many elements as the kernel's documentation says, and non-null even where that is none.
//! Outputs must not overlap inputs, except that `dst` may *equal* a `src` where the family says so.

mod kernel;
mod random;
mod sig;

pub use kernel::{Family, Kernel};
pub use random::{Key, fold};
pub use sig::{Arg, ArgKind, Elem, KernelSig};

/// The floating point type of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Precision {
    /// 32-bit floats, the default for networks.
    F32 = 0,
    /// 64-bit floats, the default for statistics.
    F64 = 1,
}

impl Precision {
    /// Both precisions.
    pub const ALL: [Precision; 2] = [Precision::F32, Precision::F64];

    /// Bytes of one float.
    pub const fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F64 => 8,
        }
    }

    /// The name used on the command line and in symbols: `f32` or `f64`.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F64 => "f64",
        }
    }
}

/// Gives the address of a kernel for a precision; never null.
pub type KernelTable = fn(Kernel, Precision) -> *const u8;
