//! Copying programs from one stage into another.
//!
//! in:    a block of one stage, an environment for its free variables
//! out:   the same statements in a builder of another stage; random operations are what a [`Hook`] makes of them
//! keeps: spans, names, order
//!
//! ```text
//!   C[ y = op(x) ]    =  y' = op(x')            (op has the same meaning in every stage)
//!   C[ y = random ]   =  hook(random)
//!   C[ loop { b } ]   =  loop { C[b]; extras }  (a hook may give blocks more results)
//! ```

use ppl_core::{Atom, Block, Builder, DType, Func, Lit, Op, Prim, ReduceOp, Scan, Stage, Stmt, Ty, Var};
use std::collections::HashMap;

/// Where a copy comes from, and what its variables have become.
pub(crate) struct Cx<'a, A: Stage> {
    pub(crate) from: &'a Func<A>,
    pub(crate) map: HashMap<Var, Atom>,
}

/// A loop that a copy enters, with its new index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Index variable in the source.
    pub(crate) old: Var,
    /// Index variable in the copy.
    pub(crate) index: Var,
    pub(crate) len: usize,
    pub(crate) scan: bool,
}

/// What a copy does at random operations and at the edges of blocks.
pub(crate) trait Hook<A: Stage, B: Stage> {
    /// Emits what stands for `op`; returns one operand for each output of `stmt`.
    fn random(&mut self, b: &mut Builder<B>, cx: &mut Cx<'_, A>, stmt: &Stmt<A>, op: &A::Random) -> Vec<Atom>;

    /// Before a loop's body, still outside: more arrays for a scan to slice.
    fn enter(&mut self, _b: &mut Builder<B>, _head: Head, _body: &Block<A>) -> Vec<(Var, Atom)> {
        Vec::new()
    }

    /// At the start of a loop's body, inside.
    fn begin(&mut self, _b: &mut Builder<B>, _head: Head) {}

    /// At the end of a loop's body, inside: its further results.
    fn end(&mut self, _b: &mut Builder<B>, _head: Head) -> Vec<Atom> {
        Vec::new()
    }

    /// After a loop: the further results, stacked.
    fn leave(&mut self, _b: &mut Builder<B>, _head: Head, _outs: Vec<Atom>) {}

    /// Before an `if`, outside of its blocks: its condition in the copy, and its blocks in the source.
    fn before_if(&mut self, _b: &mut Builder<B>, _cond: Atom, _then: &Block<A>, _els: &Block<A>) {}

    /// At the start of a branch.
    fn branch(&mut self) {}

    /// At the end of a branch, inside.
    fn branch_end(&mut self, _b: &mut Builder<B>) {}

    /// After both branches, outside: their further results, of the same number and types.
    fn join(&mut self, _b: &mut Builder<B>) -> (Vec<Atom>, Vec<Atom>) {
        (Vec::new(), Vec::new())
    }

    /// After an `if`: the further results.
    fn leave_if(&mut self, _b: &mut Builder<B>, _outs: Vec<Atom>) {}
}

impl<'a, A: Stage> Cx<'a, A> {
    /// A copy of `from` in which `args` stand for the parameters.
    pub(crate) fn new(from: &'a Func<A>, args: &[Atom]) -> Self {
        Cx { from, map: from.params.iter().copied().zip(args.iter().copied()).collect() }
    }

    /// What an operand has become.
    pub(crate) fn atom(&self, a: Atom) -> Atom {
        match a {
            Atom::Var(v) => self.map.get(&v).copied().unwrap_or(a),
            Atom::Lit(_) => a,
        }
    }

    /// What operands have become.
    pub(crate) fn atoms(&self, xs: &[Atom]) -> Vec<Atom> {
        xs.iter().map(|a| self.atom(*a)).collect()
    }

    /// Copies a block's statements; returns what its results have become.
    pub(crate) fn block<B: Stage>(&mut self, b: &mut Builder<B>, hook: &mut dyn Hook<A, B>, block: &Block<A>) -> Vec<Atom> {
        block.stmts.iter().for_each(|s| self.stmt(b, hook, s));
        self.atoms(&block.results)
    }

    /// Copies one statement.
    pub(crate) fn stmt<B: Stage>(&mut self, b: &mut Builder<B>, hook: &mut dyn Hook<A, B>, stmt: &Stmt<A>) {
        b.span = stmt.span;
        match &stmt.op {
            Op::Random(r) => {
                let mut outs = hook.random(b, self, stmt, r);
                // After an error nothing stands for the outputs: what follows still needs their types.
                for v in &stmt.outs[outs.len().min(stmt.outs.len())..] {
                    let info = &self.from.vars[v.index()];
                    outs.push(b.fresh(&info.name, info.ty.clone()).into());
                }
                self.map.extend(stmt.outs.iter().copied().zip(outs));
            }
            Op::If { cond, then, els } => {
                let cond = self.atom(*cond);
                hook.before_if(b, cond, then, els);
                let mut blocks = Vec::new();
                for block in [then, els] {
                    b.begin();
                    hook.branch();
                    let results = self.block(b, hook, block);
                    hook.branch_end(b);
                    blocks.push(b.end(results));
                }
                b.span = stmt.span;
                let (t, e) = hook.join(b);
                let (mut els, mut then) = (blocks.remove(1), blocks.remove(0));
                then.results.extend(t);
                els.results.extend(e);
                let extra = b.block_tys(&then).into_iter().skip(stmt.outs.len());
                let outs = self.declare(stmt, extra.map(|t| ("if".to_string(), t)));
                let outs = b.emit(Op::If { cond, then, els }, outs);
                let more = self.bind(stmt, &outs);
                hook.leave_if(b, more);
            }
            Op::Map { len, index, body } => {
                let head = self.head(b, *index, *len, false);
                hook.enter(b, head, body);
                b.begin();
                hook.begin(b, head);
                let mut results = self.block(b, hook, body);
                results.extend(hook.end(b, head));
                let body = b.end(results);
                b.span = stmt.span;
                let extra = b.block_tys(&body).into_iter().skip(stmt.outs.len());
                let outs = self.declare(stmt, extra.map(|t| ("m".to_string(), t.lifted(&[*len]))));
                let outs = b.emit(Op::Map { len: *len, index: head.index, body }, outs);
                let more = self.bind(stmt, &outs);
                hook.leave(b, head, more);
            }
            Op::Scan(s) => self.scan(b, hook, stmt, s),
            other => {
                let Some(mut op) = convert::<A, B>(other) else { return };
                ppl_core::map_atoms(&mut op, &mut |a| self.atom(a));
                let outs = self.declare(stmt, std::iter::empty());
                let outs = b.emit(op, outs);
                self.bind(stmt, &outs);
            }
        }
    }

    fn scan<B: Stage>(&mut self, b: &mut Builder<B>, hook: &mut dyn Hook<A, B>, stmt: &Stmt<A>, s: &Scan<A>) {
        let head = self.head(b, s.index, s.len, true);
        let mut xs = hook.enter(b, head, &s.body);
        let mut fresh = |this: &mut Self, v: Var, init: Atom| {
            let init = this.atom(init);
            let info = &this.from.vars[v.index()];
            let new = b.fresh(&info.name, info.ty.clone());
            this.map.insert(v, new.into());
            (new, init)
        };
        let carry: Vec<_> = s.carry.iter().map(|(v, a)| fresh(self, *v, *a)).collect();
        let sliced: Vec<_> = s.xs.iter().map(|(v, a)| fresh(self, *v, *a)).collect();
        xs.splice(0..0, sliced);
        b.begin();
        hook.begin(b, head);
        let mut results = self.block(b, hook, &s.body);
        results.extend(hook.end(b, head));
        let body = b.end(results);
        b.span = stmt.span;
        let extra = b.block_tys(&body).into_iter().skip(stmt.outs.len());
        let outs = self.declare(stmt, extra.map(|t| ("s".to_string(), t.lifted(&[s.len]))));
        let scan = Scan { len: s.len, index: head.index, carry, xs, body, reverse: s.reverse };
        let outs = b.emit(Op::Scan(Box::new(scan)), outs);
        let more = self.bind(stmt, &outs);
        hook.leave(b, head, more);
    }

    fn head<B: Stage>(&mut self, b: &mut Builder<B>, old: Var, len: usize, scan: bool) -> Head {
        let index = b.index_var(&self.from.vars[old.index()].name);
        self.map.insert(old, index.into());
        Head { old, index, len, scan }
    }

    /// Names and types of a statement's outputs, then of further ones.
    pub(crate) fn declare(&self, stmt: &Stmt<A>, extra: impl Iterator<Item = (String, Ty)>) -> Vec<(String, Ty)> {
        let own = stmt.outs.iter().map(|v| {
            let info = &self.from.vars[v.index()];
            (info.name.clone(), info.ty.clone())
        });
        own.chain(extra).collect()
    }

    /// Records a statement's outputs; returns the further ones.
    fn bind(&mut self, stmt: &Stmt<A>, outs: &[Var]) -> Vec<Atom> {
        let n = stmt.outs.len();
        self.map.extend(stmt.outs.iter().copied().zip(outs.iter().map(|v| Atom::Var(*v))));
        outs[n.min(outs.len())..].iter().map(|v| Atom::Var(*v)).collect()
    }
}

/// The same operation in another stage; `None` for random operations and those with blocks.
pub(crate) fn convert<A: Stage, B: Stage>(op: &Op<A>) -> Option<Op<B>> {
    Some(match op.clone() {
        Op::Prim(p, args) => Op::Prim(p, args),
        Op::Broadcast { x, shape, axes } => Op::Broadcast { x, shape, axes },
        Op::Reduce { op, x, axes } => Op::Reduce { op, x, axes },
        Op::ArgMax { x, axis } => Op::ArgMax { x, axis },
        Op::CumSum { x, axis, reverse } => Op::CumSum { x, axis, reverse },
        Op::Dot { a, b, batch, contract } => Op::Dot { a, b, batch, contract },
        Op::Transpose { x, perm } => Op::Transpose { x, perm },
        Op::Reshape { x, shape } => Op::Reshape { x, shape },
        Op::Slice { x, axis, start, len } => Op::Slice { x, axis, start, len },
        Op::Pad { x, axis, before, after } => Op::Pad { x, axis, before, after },
        Op::Concat { xs, axis } => Op::Concat { xs, axis },
        Op::Gather { x, idx, batch } => Op::Gather { x, idx, batch },
        Op::ScatterAdd { idx, updates, batch, len } => Op::ScatterAdd { idx, updates, batch, len },
        Op::Iota { len } => Op::Iota { len },
        Op::Minibatch { data, size } => Op::Minibatch { data, size },
        Op::Reverse { x, axis } => Op::Reverse { x, axis },
        Op::Linalg(l, args) => Op::Linalg(l, args),
        Op::Call { callee, args } => Op::Call { callee, args },
        Op::Stop(x) => Op::Stop(x),
        Op::If { .. } | Op::Map { .. } | Op::Scan(_) | Op::Random(_) => return None,
    })
}

/// A real elementwise operation.
pub(crate) fn real<S: Stage>(b: &mut Builder<S>, prim: Prim, args: &[Atom]) -> Atom {
    let shape = args.iter().map(|a| b.ty(*a).shape).max_by_key(Vec::len).unwrap_or_default();
    b.emit1(Op::Prim(prim, args.to_vec()), "t", Ty::float(shape))
}

/// `a + b`, without adding a literal zero.
pub(crate) fn add<S: Stage>(b: &mut Builder<S>, x: Atom, y: Atom) -> Atom {
    const ZERO: Atom = Atom::Lit(Lit::Float(0.0));
    match (x, y) {
        (ZERO, y) => y,
        (x, ZERO) => x,
        (x, y) => real(b, Prim::Add, &[x, y]),
    }
}

/// The sum of scalars; 0 of none.
pub(crate) fn sum<S: Stage>(b: &mut Builder<S>, xs: impl IntoIterator<Item = Atom>) -> Atom {
    let mut total = Atom::float(0.0);
    for x in xs {
        total = add(b, total, x);
    }
    total
}

/// Sum over the first axis.
pub(crate) fn sum_first<S: Stage>(b: &mut Builder<S>, x: Atom) -> Atom {
    b.reduce(ReduceOp::Sum, x, &[0])
}

/// An array of one literal: `value` for numbers, `false`.
pub(crate) fn filler<S: Stage>(b: &mut Builder<S>, ty: &Ty, value: f64) -> Atom {
    let lit = match ty.dtype {
        DType::Float => Atom::float(value),
        DType::Int => Atom::int(value as i64),
        DType::Bool => Atom::bool(false),
    };
    b.full(lit, &ty.shape)
}

/// FNV-1a, 64 bits: stable between runs, machines and versions.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, c| (h ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3))
}
