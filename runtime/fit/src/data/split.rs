//! Rows held out of data: a permutation of the seed says which.

use super::array::{Array, Values};

/// Two parts of the rows of an array, each ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Rows that are kept.
    pub kept: Vec<usize>,
    /// Rows that are held out.
    pub held: Vec<usize>,
}

/// Holds `held` of `n` rows out, the first ones of a permutation that depends on `seed` alone.
pub fn held_out(n: usize, held: usize, seed: u64) -> Rows {
    let mut order: Vec<usize> = (0..n).collect();
    let mut state = seed;
    // Fisher and Yates from the front; as many rounds as rows are wanted.
    for i in 0..held.min(n) {
        let left = (n - i) as u128;
        let j = i + ((u128::from(split_mix(&mut state)) * left) >> 64) as usize;
        order.swap(i, j);
    }
    let mut kept = order.split_off(held.min(n));
    order.sort_unstable();
    kept.sort_unstable();
    Rows { kept, held: order }
}

/// SplitMix64 (Steele, Lea & Flood 2014): 64 bits, and the next state.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Array {
    /// The array of these rows along the first axis. Elements that are read in a file stay of their type there, in memory or, where they are many, in a
    /// file without a name.
    ///
    /// # Errors
    /// What the system says of such a file.
    pub fn rows(&self, rows: &[usize]) -> std::io::Result<Array> {
        let width: usize = self.shape.iter().skip(1).product();
        fn pick<T: Copy>(v: &[T], rows: &[usize], width: usize) -> Vec<T> {
            rows.iter().flat_map(|r| v.iter().skip(r * width).take(width)).copied().collect()
        }
        let data = match &self.data {
            Values::Real(v) => Values::Real(pick(v, rows, width)),
            Values::Int(v) => Values::Int(pick(v, rows, width)),
            Values::Bool(v) => Values::Bool(pick(v, rows, width)),
            Values::Stored(elem, s) => Values::Stored(*elem, s.rows(rows)?),
        };
        let mut missing = Vec::new();
        for (to, from) in rows.iter().enumerate() {
            let first = self.missing.partition_point(|m| *m < from * width);
            let of_row = self.missing.iter().skip(first).take_while(|m| **m < (from + 1) * width);
            missing.extend(of_row.map(|m| m - from * width + to * width));
        }
        let shape = std::iter::once(rows.len()).chain(self.shape.iter().skip(1).copied()).collect();
        Ok(Array { shape, data, missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_part_and_the_seed_decides() {
        let r = held_out(1000, 100, 7);
        assert_eq!((r.kept.len(), r.held.len()), (900, 100));
        let mut all: Vec<usize> = r.kept.iter().chain(&r.held).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        assert_eq!(held_out(1000, 100, 7), r);
        assert_ne!(held_out(1000, 100, 8), r);
        // The mean of the held rows: standard deviation sqrt((n^2 - 1) / 12 / 100 * 0.9) = 27.4.
        let mean = r.held.iter().sum::<usize>() as f64 / 100.0;
        assert!((mean - 499.5).abs() < 4.0 * 27.4, "{mean}");
        assert_eq!(held_out(3, 5, 0).held, [0, 1, 2]);
    }

    #[test]
    fn rows_are_taken_with_what_is_missing() {
        let a = Array { shape: vec![3, 2], data: Values::Int(vec![0, 1, 2, 3, 4, 5]), missing: vec![1, 4] };
        let b = a.rows(&[2, 0]).unwrap();
        assert_eq!(b, Array { shape: vec![2, 2], data: Values::Int(vec![4, 5, 0, 1]), missing: vec![0, 3] });
        let v = Array { shape: vec![3], data: Values::Real(vec![0.5, 1.5, 2.5]), missing: vec![] };
        assert_eq!(v.rows(&[1]).unwrap().data, Values::Real(vec![1.5]));
    }
}
