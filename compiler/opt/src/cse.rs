//! Common subexpressions.
//!
//! in, out: the same stage
//! keeps:   values to the bit, derivatives, random bits
//!
//! ```text
//! x = op; ..; y = op; k      =  x = op; ..; k[y := x]
//! ```
//!
//! A definition serves its own block and the blocks within. Operands of commutative primitives are compared in either
//! order. Two draws are one if site, loop indices, parameters and shape are equal (deterministic stage only; in the others equal
//! samples are different choices). Calls and operations with blocks stay.

use crate::util::{WordHasher, each_atom, is_det};
use ppl_core::{Atom, Block, Func, Lit, Op, Prim, RandomOp, Stage, Var, map_atoms, op_blocks_mut};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Removes repeated computations.
pub fn cse<S: Stage>(f: &mut Func<S>) {
    let mut body = std::mem::take(&mut f.body);
    let mut cx = Cx {
        subst: vec![None; f.vars.len()],
        known: HashMap::with_capacity_and_hasher(body.stmts.len(), Default::default()),
        added: Vec::new(),
    };
    cx.block(&mut body);
    f.body = body;
}

struct Cx<S: Stage> {
    subst: Vec<Option<Var>>,
    /// Visible definitions by hash; of two that collide the first is kept.
    known: HashMap<u64, (Op<S>, Var), BuildHasherDefault<WordHasher>>,
    /// Hashes of definitions in order, for leaving blocks.
    added: Vec<u64>,
}

impl<S: Stage> Cx<S> {
    fn block(&mut self, block: &mut Block<S>) {
        let mark = self.added.len();
        let stmts = std::mem::take(&mut block.stmts);
        block.stmts.reserve(stmts.len());
        for mut stmt in stmts {
            map_atoms(&mut stmt.op, &mut |a| self.resolve(a));
            for b in op_blocks_mut(&mut stmt.op) {
                self.block(b);
            }
            if is_candidate(&stmt.op) {
                order_operands(&mut stmt.op);
                let hash = hash(&stmt.op);
                match self.known.entry(hash) {
                    Entry::Occupied(e) => {
                        let (op, v) = e.get();
                        if same(op, &stmt.op) {
                            self.subst[stmt.outs[0].index()] = Some(*v);
                            continue;
                        }
                    }
                    Entry::Vacant(e) => {
                        e.insert((stmt.op.clone(), stmt.outs[0]));
                        self.added.push(hash);
                    }
                }
            }
            block.stmts.push(stmt);
        }
        for a in &mut block.results {
            *a = self.resolve(*a);
        }
        // A definition ends with its block.
        for hash in self.added.drain(mark..) {
            self.known.remove(&hash);
        }
    }

    fn resolve(&self, a: Atom) -> Atom {
        match a {
            Atom::Var(v) => self.subst[v.index()].map_or(a, Atom::Var),
            Atom::Lit(_) => a,
        }
    }
}

fn is_candidate<S: Stage>(op: &Op<S>) -> bool {
    match op {
        Op::If { .. } | Op::Map { .. } | Op::Scan(_) | Op::Call { .. } => false,
        Op::Random(r) => is_det::<S>() && r.is_pure(),
        _ => true,
    }
}

/// Gives the operands of commutative primitives one order, variables before literals.
fn order_operands<S: Stage>(op: &mut Op<S>) {
    if let Op::Prim(Prim::Add | Prim::Mul | Prim::Min | Prim::Max | Prim::Eq | Prim::Ne | Prim::And | Prim::Or, args) = op
        && let [Atom::Var(a), Atom::Var(b)] = args[..]
        && b < a
    {
        args.swap(0, 1);
    }
}

/// Equal to the bit: 0 and -0 are different.
fn same<S: Stage>(a: &Op<S>, b: &Op<S>) -> bool {
    let mut zeros = (0u64, 0u64);
    let signs = |op: &Op<S>, out: &mut u64| {
        each_atom(op, &mut |a| *out = (*out << 1) | u64::from(matches!(a, Atom::Lit(Lit::Float(x)) if x.is_sign_negative())));
    };
    a == b && {
        signs(a, &mut zeros.0);
        signs(b, &mut zeros.1);
        zeros.0 == zeros.1
    }
}

fn hash<S: Stage>(op: &Op<S>) -> u64 {
    let mut h = WordHasher::default();
    std::mem::discriminant(op).hash(&mut h);
    each_atom(op, &mut |a| match a {
        Atom::Var(v) => v.hash(&mut h),
        Atom::Lit(Lit::Float(x)) => x.to_bits().hash(&mut h),
        Atom::Lit(Lit::Int(i)) => i.hash(&mut h),
        Atom::Lit(Lit::Bool(b)) => b.hash(&mut h),
    });
    match op {
        Op::Prim(p, _) => p.hash(&mut h),
        Op::Broadcast { shape, axes, .. } => (shape, axes).hash(&mut h),
        Op::Reduce { op, axes, .. } => (op, axes).hash(&mut h),
        Op::ArgMax { axis, .. } | Op::Reverse { axis, .. } => axis.hash(&mut h),
        Op::CumSum { axis, reverse, .. } => (axis, reverse).hash(&mut h),
        Op::Dot { batch, contract, .. } => (batch, contract).hash(&mut h),
        Op::Transpose { perm, .. } => perm.hash(&mut h),
        Op::Reshape { shape, .. } => shape.hash(&mut h),
        Op::Slice { axis, start, len, .. } => (axis, start, len).hash(&mut h),
        Op::Pad { axis, before, after, .. } => (axis, before, after).hash(&mut h),
        Op::Concat { axis, .. } => axis.hash(&mut h),
        Op::Gather { batch, .. } => batch.hash(&mut h),
        Op::ScatterAdd { batch, len, .. } => (batch, len).hash(&mut h),
        Op::Iota { len } => len.hash(&mut h),
        Op::Minibatch { data, size } => (data, size).hash(&mut h),
        Op::Linalg(l, _) => l.hash(&mut h),
        Op::If { .. } | Op::Map { .. } | Op::Scan(_) | Op::Call { .. } | Op::Stop(_) | Op::Random(_) => {}
    }
    h.finish()
}
