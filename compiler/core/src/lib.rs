//! The core IR: types, ids, functions in three stages, the tables of primitives and supports, and the text format.
//!
//! A [`Module`] holds functions of three stages. [`Gen`] functions make addressed random choices, [`Est`] functions
//! compute estimates in which every sample names its gradient strategy, [`Det`] functions are deterministic given a
//! counter-based key. All of them are in A-normal form: every operand is an [`Atom`], a variable or a scalar literal.
//!
//! **Invariant:** this crate knows no source syntax, does no IO and runs nothing.

mod builder;
mod dist;
mod ids;
mod infer;
mod integral;
mod ir;
mod module;
mod prim;
pub mod shape;
mod support;
mod text;
mod ty;
mod verify;
mod visit;

pub use builder::Builder;
pub use dist::{DistInst, StrategyInst, StrategyNeed, StrategySide};
pub use ids::{DetId, DistId, EstId, GenId, StrategyId, Var};
pub use infer::result_tys;
pub use integral::{Algorithm, Integral, IntegralKind, Proposal, Resampling};
pub use ir::{
    Address, AnyRandom, Atom, Block, Det, DetRandom, DistUse, Est, EstRandom, Func, Gen, GenRandom, Linalg, Lit, LogWeight, Op,
    RandomOp, RandomView, ReduceOp, RngKind, Scan, Stage, Stmt, StrategyUse, VarInfo, Window, minibatch_site,
};
pub use module::{Choice, Module, ReportInfo};
pub use prim::{BUILTINS, BuiltinDef, Domain, Elem, Lower, PRIMS, ParamSig, Prim, PrimDef, Sig, Topic, Vjp, VjpRule, builtin};
pub use support::Support;
pub use text::{MAX_DEPTH, Names, parse_func, parse_module, print_func};
pub use ty::{DType, Ty};
pub use verify::{Fault, verify};
pub use visit::{count_ops, each_stmt, free_vars, map_atoms, op_atoms, op_blocks, op_blocks_mut, substitute_block};
