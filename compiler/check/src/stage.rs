//! What each stage's functions may contain.

use ppl_core::{Block, Det, DetRandom, Est, EstRandom, Gen, GenRandom, Stage};

/// A stage that programs are elaborated into.
pub(crate) trait ElabStage: Stage {
    /// Generative operations, where the stage has them.
    fn generative(_: GenRandom) -> Option<Self::Random> {
        None
    }
    /// Estimator operations, where the stage has them.
    fn estimator(_: EstRandom) -> Option<Self::Random> {
        None
    }
    /// A block as part of an estimator program, where it is one.
    fn estimator_block(_: Block<Self>) -> Option<Block<Est>>
    where
        Self: Sized,
    {
        None
    }
    /// Draws of the run-time, where the stage has them.
    fn draw(_: DetRandom) -> Option<Self::Random> {
        None
    }
    /// Whether the stage draws from the run-time's generators.
    fn draw_stage() -> Option<()> {
        None
    }
    /// What a function of the stage is called in messages.
    const PLACE: &'static str;
}

impl ElabStage for Gen {
    fn generative(r: GenRandom) -> Option<GenRandom> {
        Some(r)
    }
    const PLACE: &'static str = "a `gen`";
}

impl ElabStage for Est {
    fn estimator(r: EstRandom) -> Option<EstRandom> {
        Some(r)
    }
    fn estimator_block(b: Block<Est>) -> Option<Block<Est>> {
        Some(b)
    }
    const PLACE: &'static str = "an estimator program";
}

impl ElabStage for Det {
    fn draw(r: DetRandom) -> Option<DetRandom> {
        Some(r)
    }
    fn draw_stage() -> Option<()> {
        Some(())
    }
    const PLACE: &'static str = "a function or distribution";
}
