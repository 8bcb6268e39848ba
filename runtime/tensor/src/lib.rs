//! The kernels behind [`ppl_abi::Kernel`], random keys included, on slices and on candle tensors' storage.
//!
//! Elementwise kernels are written once, over a float type, as branch-free scalar functions; loops over fixed blocks of lanes are
//! compiled for AVX-512, AVX2 and the baseline instruction set, and the best one is chosen when an address is asked for. All
//! three use the same operations in the same order (fused multiply-add where the source says so), so elementwise kernels and random
//! numbers have the same bits on every instruction set. Matrix products go to faer and do not promise that.
//!
//! - [`address`] gives code generation its [`ppl_abi::KernelTable`].
//! - [`kernels`] is the safe interface on slices; [`value`] the one on candle tensors.
//! - [`init()`] is the first thing a binary calls.
//!
//! **Invariant:** kernels are total: they never panic, whatever the values. Only lengths are checked, by the safe interface.

#![allow(clippy::needless_range_loop, reason = "several arrays of lanes are indexed alike, in a shape that vectorises")]

mod float;
mod gemm;
mod init;
mod isa;
pub mod kernels;
mod linear;
mod math;
mod ops;
mod patches;
mod random;
mod rows;
mod table;
pub mod value;

pub use float::Float;
pub use init::init;
pub use isa::Isa;
pub use ppl_abi::{Key, fold};
pub use table::{address, address_for};
