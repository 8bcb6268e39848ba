//! Sets of small numbers, as words of bits from the first that is not empty.

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bits {
    /// Number of empty words in front.
    first: usize,
    /// The last one is not 0.
    words: Vec<u64>,
}

impl Bits {
    pub(crate) fn one(n: usize) -> Self {
        Bits { first: n / 64, words: vec![1 << (n % 64)] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    fn word(&self, at: usize) -> u64 {
        at.checked_sub(self.first).and_then(|i| self.words.get(i)).copied().unwrap_or(0)
    }

    fn end(&self) -> usize {
        self.first + self.words.len()
    }

    pub(crate) fn contains(&self, n: usize) -> bool {
        self.word(n / 64) >> (n % 64) & 1 == 1
    }

    pub(crate) fn insert(&mut self, n: usize) {
        match (n / 64).checked_sub(self.first).and_then(|i| self.words.get_mut(i)) {
            Some(w) => *w |= 1 << (n % 64),
            None => self.union(&Bits::one(n)),
        }
    }

    pub(crate) fn union(&mut self, other: &Bits) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        if other.first < self.first {
            self.words.splice(0..0, std::iter::repeat_n(0, self.first - other.first));
            self.first = other.first;
        }
        if other.end() > self.end() {
            self.words.resize(other.end() - self.first, 0);
        }
        let shift = other.first - self.first;
        self.words[shift..].iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    fn combine(&self, other: &Bits, f: impl Fn(u64, u64) -> u64) -> Bits {
        let mut words: Vec<u64> = (self.first..self.end()).map(|i| f(self.word(i), other.word(i))).collect();
        while words.last() == Some(&0) {
            words.pop();
        }
        let zeros = words.iter().take_while(|w| **w == 0).count();
        words.drain(..zeros);
        let first = if words.is_empty() { 0 } else { self.first + zeros };
        Bits { first, words }
    }

    pub(crate) fn intersection(&self, other: &Bits) -> Bits {
        self.combine(other, |a, b| a & b)
    }

    pub(crate) fn difference(&self, other: &Bits) -> Bits {
        self.combine(other, |a, b| a & !b)
    }

    pub(crate) fn meets(&self, other: &Bits) -> bool {
        (self.first.max(other.first)..self.end().min(other.end())).any(|i| self.word(i) & other.word(i) != 0)
    }

    pub(crate) fn is_subset(&self, other: &Bits) -> bool {
        (self.first..self.end()).all(|i| self.word(i) & !other.word(i) == 0)
    }

    pub(crate) fn len(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(move |(i, w)| {
            let mut left = *w;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some((self.first + i) * 64 + bit)
            })
        })
    }

    /// Maximal runs of consecutive numbers, as `(first, last + 1)`.
    pub(crate) fn intervals(&self) -> Vec<(usize, usize)> {
        let mut out: Vec<(usize, usize)> = Vec::new();
        for n in self.iter() {
            match out.last_mut().filter(|(_, end)| *end == n) {
                Some((_, end)) => *end = n + 1,
                None => out.push((n, n + 1)),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn of(ns: &[usize]) -> Bits {
        let mut b = Bits::default();
        ns.iter().for_each(|n| b.insert(*n));
        b
    }

    #[test]
    fn sets_agree_with_ordered_sets() {
        let all: Vec<Vec<usize>> =
            vec![vec![], vec![3], vec![0, 64, 200], vec![63, 64, 65], vec![200, 201, 202, 500], (60..300).collect()];
        for a in &all {
            for b in &all {
                let (x, y) = (of(a), of(b));
                let (s, t): (BTreeSet<usize>, BTreeSet<usize>) = (a.iter().copied().collect(), b.iter().copied().collect());
                let mut u = x.clone();
                u.union(&y);
                assert!(u.iter().eq(s.union(&t).copied()));
                assert!(x.intersection(&y).iter().eq(s.intersection(&t).copied()));
                assert!(x.difference(&y).iter().eq(s.difference(&t).copied()));
                assert_eq!(x.meets(&y), !s.is_disjoint(&t));
                assert_eq!(x.is_subset(&y), s.is_subset(&t));
                assert_eq!(x == y, s == t);
                assert_eq!(u.len(), s.union(&t).count());
                assert_eq!(x.difference(&x), Bits::default());
            }
        }
        assert_eq!(of(&[3, 4, 5, 9]).intervals(), vec![(3, 6), (9, 10)]);
    }
}
