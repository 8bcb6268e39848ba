//! Small questions about operations that several passes ask.

use ppl_core::{Atom, Block, Det, Lit, Op, RandomOp, Stage, op_blocks};

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
