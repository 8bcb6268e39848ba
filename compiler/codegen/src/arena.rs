//! Offsets of buffers in the workspace, by first use and last use.

use std::collections::BTreeMap;

const ALIGN: usize = 64;

/// Hands out ranges of the workspace; a range is free again when its last owner lets go.
#[derive(Default)]
pub(crate) struct Arena {
    /// Free ranges below `end`: start to length.
    free: BTreeMap<usize, usize>,
    /// End of the part handed out so far.
    end: usize,
    bufs: Vec<Buf>,
}

struct Buf {
    start: usize,
    len: usize,
    refs: usize,
}

impl Arena {
    /// A buffer of `bytes`, with one owner.
    pub(crate) fn alloc(&mut self, bytes: usize) -> usize {
        let len = bytes.max(1).next_multiple_of(ALIGN);
        // Best fit: the shortest free range that is long enough.
        let found = self.free.iter().filter(|(_, l)| **l >= len).min_by_key(|(_, l)| **l).map(|(s, l)| (*s, *l));
        let start = match found {
            Some((start, have)) => {
                self.free.remove(&start);
                if have > len {
                    self.free.insert(start + len, have - len);
                }
                start
            }
            None => {
                // A free range at the very end is extended.
                let start = match self.free.last_key_value() {
                    Some((s, l)) if s + l == self.end => *s,
                    _ => self.end,
                };
                self.free.remove(&start);
                self.end = start + len;
                start
            }
        };
        self.bufs.push(Buf { start, len, refs: 1 });
        self.bufs.len() - 1
    }

    /// Byte offset of a buffer.
    pub(crate) fn offset(&self, buf: usize) -> i64 {
        self.bufs[buf].start as i64
    }

    /// Number of owners.
    pub(crate) fn owners(&self, buf: usize) -> usize {
        self.bufs[buf].refs
    }

    /// One more owner.
    pub(crate) fn retain(&mut self, buf: usize) {
        self.bufs[buf].refs += 1;
    }

    /// One owner less.
    pub(crate) fn release(&mut self, buf: usize) {
        let b = &mut self.bufs[buf];
        b.refs = b.refs.saturating_sub(1);
        if b.refs > 0 {
            return;
        }
        let (mut start, mut len) = (b.start, b.len);
        if let Some((s, l)) = self.free.range(..start).next_back().map(|(s, l)| (*s, *l))
            && s + l == start
        {
            self.free.remove(&s);
            (start, len) = (s, l + len);
        }
        if let Some(l) = self.free.remove(&(start + len)) {
            len += l;
        }
        self.free.insert(start, len);
    }

    /// Bytes needed.
    pub(crate) fn size(&self) -> usize {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::Arena;

    #[test]
    fn ranges_are_reused_and_merged() {
        let mut a = Arena::default();
        let (x, y, z) = (a.alloc(100), a.alloc(64), a.alloc(1));
        assert_eq!((a.offset(x), a.offset(y), a.offset(z)), (0, 128, 192));
        a.release(x);
        a.release(y);
        let w = a.alloc(192);
        assert_eq!(a.offset(w), 0);
        assert_eq!(a.size(), 256);
    }

    #[test]
    fn a_shared_buffer_stays_until_its_last_owner_goes() {
        let mut a = Arena::default();
        let x = a.alloc(64);
        a.retain(x);
        a.release(x);
        let y = a.alloc(64);
        assert_eq!(a.offset(y), 64);
        a.release(x);
        let z = a.alloc(64);
        assert_eq!(a.offset(z), 0);
    }

    #[test]
    fn the_last_free_range_grows() {
        let mut a = Arena::default();
        let x = a.alloc(64);
        a.release(x);
        let y = a.alloc(640);
        assert_eq!((a.offset(y), a.size()), (0, 640));
    }
}
