//! Small questions about operations that several passes ask.

use ppl_core::{Atom, Block, Det, Lit, Op, RandomOp, Stage, op_blocks};
use std::hash::Hasher;

/// Whether `S` is the deterministic stage: there two equal draws are one draw.
pub(crate) fn is_det<S: Stage>() -> bool {
    S::NAME == Det::NAME
}

/// Whether the operation, blocks included, may be removed when its results are unused.
pub(crate) fn is_pure<S: Stage>(op: &Op<S>) -> bool {
    if let Op::Random(r) = op {
        return r.is_pure();
    }
    op_blocks(op).into_iter().all(|b| all_ops(b, &is_pure))
}

/// Whether `test` holds for every statement of the block itself.
pub(crate) fn all_ops<S: Stage>(block: &Block<S>, test: &dyn Fn(&Op<S>) -> bool) -> bool {
    block.stmts.iter().all(|s| test(&s.op))
}

/// Whether two operands are the same, literals to the bit.
pub(crate) fn same_atom(a: Atom, b: Atom) -> bool {
    match (a, b) {
        (Atom::Lit(Lit::Float(x)), Atom::Lit(Lit::Float(y))) => x.to_bits() == y.to_bits(),
        _ => a == b,
    }
}

/// Visits every operand of the operation itself, in the order of [`ppl_core::op_atoms`], without copying it.
pub(crate) fn each_atom<S: Stage>(op: &Op<S>, f: &mut dyn FnMut(Atom)) {
    match op {
        Op::Prim(_, args) | Op::Linalg(_, args) | Op::Call { args, .. } => args.iter().for_each(|a| f(*a)),
        Op::Concat { xs, .. } => xs.iter().for_each(|a| f(*a)),
        Op::Broadcast { x, .. }
        | Op::Reduce { x, .. }
        | Op::ArgMax { x, .. }
        | Op::CumSum { x, .. }
        | Op::Transpose { x, .. }
        | Op::Reshape { x, .. }
        | Op::Slice { x, .. }
        | Op::Pad { x, .. }
        | Op::Reverse { x, .. }
        | Op::Stop(x) => f(*x),
        Op::Dot { a, b, .. } | Op::Gather { x: a, idx: b, .. } | Op::ScatterAdd { idx: a, updates: b, .. } => {
            f(*a);
            f(*b);
        }
        Op::If { cond, .. } => f(*cond),
        Op::Scan(s) => s.carry.iter().chain(&s.xs).for_each(|(_, a)| f(*a)),
        Op::Random(r) => r.atoms().into_iter().for_each(f),
        Op::Iota { .. } | Op::Minibatch { .. } | Op::Map { .. } => {}
    }
}

/// A fast hasher for small words; not for hostile input.
#[derive(Default)]
pub(crate) struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        // The high bits are the well mixed ones, and tables use both ends.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, x: u32) {
        self.write_u64(u64::from(x));
    }

    fn write_usize(&mut self, x: usize) {
        self.write_u64(x as u64);
    }

    fn write_u64(&mut self, x: u64) {
        self.0 = (self.0.rotate_left(23) ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
