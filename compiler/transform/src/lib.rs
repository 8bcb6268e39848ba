//! Transformations: from generative and estimator programs to one deterministic surrogate, and its gradient.
//!
//! In pipeline order: `sim` and `density` (applied by `inline`), `smooth`, `strategies`; then `batch`, `checkpoint`, `vjp` and `step`.
//! Each file opens with its equations.
//!
//! **Invariant:** every pass is a plain function from programs to programs and diagnostics: nothing here does IO, prints or
//! runs a program; the same input gives the same output, names and sites included.

mod analytic;
pub mod batch;
mod checkpoint;
mod density;
mod eliminate;
mod enumerated;
mod expand;
mod given_draws;
mod grad;
mod inline;
mod marginal;
mod normalize;
mod relax;
mod scope;
mod sim;
mod smc;
mod smooth;
pub mod step;
mod strategies;
pub mod vjp;

pub use analytic::Divergences;
pub use checkpoint::checkpoint;
pub use eliminate::EliminationCost;
pub use enumerated::{Enumerated, enumerated};
pub use given_draws::given_draws;
pub use inline::{Remarks, density, inline, inline_with_remarks, sim, user_label};
pub use relax::relax;
pub use smooth::{Avoid, Chosen, SmoothConflict, SmoothSource, smooth, smooth_avoiding};
pub use strategies::{
    ChoiceCosts, CostTerm, Reach, SideOf, costs, strategies, strategies_unscoped, strategies_value_only, strategies_with_sides,
};
