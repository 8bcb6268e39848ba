//! How random bits are addressed.
//!
//! A draw is addressed by a [`Key`] of four words; element `e` of a draw is a function of (seed, site, step, time, e) and of nothing
//! else: not of the length of the draw, the number of threads, the instruction set or the order of evaluation. So a draw of
//! `n` elements is a prefix of a draw of more.
//!
//! The generator is Philox4x32-10. Its 64-bit key is `fold(fold(fold(seed, site), step >> 32), time >> 32)`, low half first; its counter is
//! `[block, step as u32, time as u32, round]`, where `block` counts groups of elements and `round` is 0 except in the
//! rejection samplers.

/// Address of a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The run's seed.
    pub seed: u64,
    /// The static path to the draw (call sites and address), folded to a word.
    pub site: u64,
    /// The optimisation step, or the index of a run.
    pub step: u64,
    /// The dynamic path to the draw (loop indices, particle), folded to a word; 0 outside loops.
    pub time: u64,
}

/// Folds `word` into the hash `state`.
///
/// Used for paths (call sites, loop indices) and to derive the generator's key; compiled code, interpreter and kernels must agree
/// on it, so it is spelled out here: with wrapping arithmetic, `z = state * 0x9e3779b97f4a7c15 + word + 0x9e3779b97f4a7c15`,
/// then the SplitMix64 finaliser (`z ^= z >> 30; z *= 0xbf58476d1ce4e5b9; z ^= z >> 27; z *= 0x94d049bb133111eb; z ^= z >> 31`).
pub const fn fold(state: u64, word: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = state.wrapping_mul(GOLDEN).wrapping_add(word).wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn fold_depends_on_order_and_on_both_words() {
        let mut seen = std::collections::BTreeSet::new();
        for a in 0..40 {
            for b in 0..40 {
                assert!(seen.insert(fold(fold(7, a), b)), "collision at {a}, {b}");
            }
        }
    }

    #[test]
    fn fold_of_zero_is_the_first_splitmix_output() {
        // SplitMix64 seeded with 0 starts with this word.
        assert_eq!(fold(0, 0), 0xe220_a839_7b1d_cdaf);
    }
}
