//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011) and the streams made of it.

use ppl_abi::fold;

/// Ten rounds.
#[inline(always)]
pub(super) fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const M0: u64 = 0xd251_1f53;
    const M1: u64 = 0xcd9e_8d57;
    const LOW: u64 = 0xffff_ffff;
    // In 64-bit lanes, which is what vector multiplications take.
    let mut c = counter.map(u64::from);
    let (mut k0, mut k1) = (key[0], key[1]);
    for _ in 0..10 {
        let p0 = M0 * c[0];
        let p1 = M1 * c[2];
        c = [(p1 >> 32) ^ c[1] ^ u64::from(k0), p1 & LOW, (p0 >> 32) ^ c[3] ^ u64::from(k1), p0 & LOW];
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    c.map(|word| word as u32)
}

/// The random words under one key.
#[derive(Clone, Copy)]
pub struct Stream {
    key: [u32; 2],
    step: u32,
    time: u32,
}

impl Stream {
    #[inline(always)]
    pub(super) fn new(seed: u64, site: u64, step: u64, time: u64) -> Stream {
        let key = fold(fold(fold(seed, site), step >> 32), time >> 32);
        Stream { key: [key as u32, (key >> 32) as u32], step: step as u32, time: time as u32 }
    }

    /// Four words.
    #[inline(always)]
    pub(super) fn words(self, block: u32, round: u32) -> [u32; 4] {
        philox([block, self.step, self.time, round], self.key)
    }

    /// `N` consecutive blocks of four words, word by word.
    #[inline(always)]
    pub(super) fn lanes<const N: usize>(self, first: u32) -> [[u32; N]; 4] {
        let mut out = [[0; N]; 4];
        for i in 0..N {
            let w = self.words(first.wrapping_add(i as u32), 0);
            out[0][i] = w[0];
            out[1][i] = w[1];
            out[2][i] = w[2];
            out[3][i] = w[3];
        }
        out
    }
}

/// The stream of one element of a draw, for samplers that may need several rounds.
pub(super) struct ElementStream {
    stream: Stream,
    element: u32,
    round: u32,
}

impl ElementStream {
    /// Rounds count from 1; round 0 belongs to the block draws.
    #[inline(always)]
    pub(super) fn new(stream: Stream, element: usize) -> ElementStream {
        ElementStream { stream, element: element as u32, round: 0 }
    }

    /// The four words of the next round.
    #[inline(always)]
    pub(super) fn words(&mut self) -> [u32; 4] {
        self.round += 1;
        self.stream.words(self.element, self.round)
    }

    /// Two uniforms, of the next round.
    #[inline(always)]
    pub(super) fn uniforms(&mut self) -> (f64, f64) {
        let w = self.words();
        (super::draw::uniform64(w[0], w[1]), super::draw::uniform64(w[2], w[3]))
    }
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// Known answers published with the generator (Random123, kat_vectors).
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }
}
