//! Transformations: from generative and estimator programs to one deterministic surrogate with its gradient.
//!
//! In pipeline order: [`sim`] and [`density`] (applied by [`inline`]), [`smooth`], [`strategies`], then batching and derivatives.
//! Each file opens with its equations.
//!
//! **Invariant:** programs in, programs and diagnostics out. Nothing is run, read or printed; the same input gives the
//! same output, names and sites included.

mod density;
mod expand;
mod inline;
mod scope;
mod sim;
mod strategies;

pub use inline::{density, inline, sim, user_label};
pub use strategies::{strategies, strategies_value_only};
