//! Algebraic simplification: constant folding, identities of primitives, shape operations, control flow.
//!
//! in, out: the same stage; one forward walk, so every rule sees simplified operands
//! keeps:   values (exact rules: to the bit; reassociating ones: to rounding), derivatives, spans, random bits
//!
//! ```text
//! constants       prim(lits) = lit                                        fold.rs
//! algebra         x + 0 = x    x * x = square x    pow(x, 2) = square x   algebra.rs
//! shapes          broadcast(broadcast x) = broadcast x                    layout.rs, index.rs
//! scalars         add(broadcast s, y) = add(s, y)                         algebra.rs
//! contractions    sum(a * broadcast b) = dot(a, b)   dot(transpose a, b)  contract.rs
//! control         if true { a } = a    map of an invariant = broadcast    control.rs
//! stop            stop x = x, only once derivatives have been taken
//! ```

mod algebra;
mod contract;
mod control;
mod fold;
mod index;
mod layout;

use ppl_core::{Atom, Block, DType, Det, DetRandom, Func, Lit, Op, Prim, RngKind, Stage, Stmt, Ty, Var, map_atoms};
use ppl_diag::Span;

/// What [`simplify`] may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimplifyOptions {
    /// Derivatives have been taken: `stop x` and `guard(c, x)` are `x`.
    pub after_vjp: bool,
    /// Rules that change rounding are allowed.
    pub reassociate: bool,
}

/// Simplifies a function of any stage.
pub fn simplify<S: Stage>(f: &mut Func<S>, options: SimplifyOptions) {
    simplify_with(f, options, |_, _| {});
}

/// Simplifies a deterministic function; also turns parameters of draws that are broadcast scalars into scalars.
pub fn simplify_det(f: &mut Func<Det>, options: SimplifyOptions) {
    simplify_with(f, options, |r: &mut DetRandom, scalar| {
        if r.kind != RngKind::Categorical {
            for a in &mut r.args {
                *a = scalar(*a).unwrap_or(*a);
            }
        }
    });
}

/// Rewrites a draw, given what an operand is a broadcast scalar of.
type RandomHook<S> = fn(&mut <S as Stage>::Random, &dyn Fn(Atom) -> Option<Atom>);

fn simplify_with<S: Stage>(f: &mut Func<S>, options: SimplifyOptions, random: RandomHook<S>) {
    let body = std::mem::take(&mut f.body);
    let n = f.vars.len();
    let mut cx = Cx {
        func: f,
        options,
        random,
        defs: vec![None; n],
        subst: vec![None; n],
        level: vec![0; n],
        depth: 0,
        out: Vec::new(),
        span: Span::NONE,
    };
    let body = cx.block(body);
    f.body = body;
}

/// What a rule does with an operation.
enum Rewrite<S: Stage> {
    /// Nothing.
    Keep,
    /// Its result is this operand, which has the same type.
    Atom(Atom),
    /// It is replaced by this operation, of the same type; rules are tried again.
    Op(Op<S>),
}

/// State of one walk.
struct Cx<'f, S: Stage> {
    func: &'f mut Func<S>,
    options: SimplifyOptions,
    random: RandomHook<S>,
    /// Definitions without blocks, by variable.
    defs: Vec<Option<Op<S>>>,
    /// What replaces a variable.
    subst: Vec<Option<Atom>>,
    /// Number of blocks around a variable's definition.
    level: Vec<u32>,
    depth: u32,
    out: Vec<Stmt<S>>,
    span: Span,
}

/// Rules tried on one operation before giving up; each rule makes it simpler, so this is never reached.
const MAX_REWRITES: usize = 64;

impl<S: Stage> Cx<'_, S> {
    fn block(&mut self, block: Block<S>) -> Block<S> {
        let outer = std::mem::take(&mut self.out);
        self.depth += 1;
        for stmt in block.stmts {
            self.stmt(stmt);
        }
        let results = block.results.iter().map(|a| self.resolve(*a)).collect();
        self.depth -= 1;
        Block { stmts: std::mem::replace(&mut self.out, outer), results }
    }

    fn stmt(&mut self, mut stmt: Stmt<S>) {
        self.span = stmt.span;
        let Cx { subst, .. } = self;
        map_atoms(&mut stmt.op, &mut |a| resolve(subst, a));
        for v in &stmt.outs {
            self.level[v.index()] = self.depth;
        }
        match stmt.op {
            Op::If { .. } | Op::Map { .. } | Op::Scan(_) => self.control(stmt),
            Op::Random(mut r) => {
                (self.random)(&mut r, &|a| self.scalar_of(a));
                self.out.push(Stmt { op: Op::Random(r), ..stmt });
            }
            Op::Call { .. } => self.out.push(stmt),
            op => {
                let out = stmt.outs[0];
                let ty = self.func.ty(out).clone();
                match self.normalise(op, &ty) {
                    Ok(atom) => self.subst[out.index()] = Some(atom),
                    Err(op) => {
                        self.defs[out.index()] = Some(op.clone());
                        self.out.push(Stmt { op, ..stmt });
                    }
                }
            }
        }
    }

    /// Applies rules until none fits: an operand that is the result, or the operation to keep.
    fn normalise(&mut self, mut op: Op<S>, ty: &Ty) -> Result<Atom, Op<S>> {
        for _ in 0..MAX_REWRITES {
            match self.rules(&op, ty) {
                Rewrite::Keep => return Err(op),
                Rewrite::Atom(a) => return Ok(a),
                Rewrite::Op(new) => op = new,
            }
        }
        Err(op)
    }

    fn rules(&mut self, op: &Op<S>, ty: &Ty) -> Rewrite<S> {
        match op {
            Op::Prim(p, args) => self.prim(*p, args, ty),
            Op::Dot { a, b, batch, contract } => self.dot(*a, *b, batch, contract, ty),
            Op::Reduce { op, x, axes } => self.reduce(*op, *x, axes, ty),
            Op::Gather { x, idx, batch } => self.gather(*x, *idx, *batch, ty),
            Op::ScatterAdd { idx, updates, batch, len } => self.scatter_add(*idx, *updates, *batch, *len, ty),
            Op::Stop(x) => self.stop(*x, ty),
            Op::Broadcast { .. }
            | Op::Transpose { .. }
            | Op::Reshape { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Reverse { .. } => self.layout(op, ty),
            Op::ArgMax { .. } | Op::CumSum { .. } | Op::Iota { .. } | Op::Minibatch { .. } | Op::Linalg(..) => Rewrite::Keep,
            Op::If { .. } | Op::Map { .. } | Op::Scan(_) | Op::Call { .. } | Op::Random(_) => Rewrite::Keep,
        }
    }

    /// Before derivatives are taken only what carries none is uncovered.
    fn stop(&mut self, x: Atom, ty: &Ty) -> Rewrite<S> {
        let inert = self.options.after_vjp
            || ty.dtype != DType::Float
            || matches!(x, Atom::Lit(_))
            || matches!(self.def(x), Some(Op::Stop(_)));
        if inert { Rewrite::Atom(x) } else { Rewrite::Keep }
    }

    /// Appends an operation, simplified first; its result.
    fn emit(&mut self, op: Op<S>, name: &str, ty: Ty) -> Atom {
        match self.normalise(op, &ty) {
            Ok(atom) => atom,
            Err(op) => {
                let v = self.fresh(name, ty);
                self.defs[v.index()] = Some(op.clone());
                self.out.push(Stmt { outs: vec![v], op, span: self.span });
                Atom::Var(v)
            }
        }
    }

    /// Appends a primitive on operands of shape `ty.shape` or scalars.
    fn emit_prim(&mut self, p: Prim, args: &[Atom], ty: Ty) -> Atom {
        self.emit(Op::Prim(p, args.to_vec()), "t", ty)
    }

    fn fresh(&mut self, name: &str, ty: Ty) -> Var {
        let v = self.func.new_var(name, ty);
        self.defs.push(None);
        self.subst.push(None);
        self.level.push(self.depth);
        v
    }

    fn resolve(&self, a: Atom) -> Atom {
        resolve(&self.subst, a)
    }

    /// The operation that defines an operand, if it has no blocks.
    fn def(&self, a: Atom) -> Option<&Op<S>> {
        a.var().and_then(|v| self.defs[v.index()].as_ref())
    }

    fn shape(&self, a: Atom) -> &[usize] {
        match a {
            Atom::Var(v) => &self.func.ty(v).shape,
            Atom::Lit(_) => &[],
        }
    }

    fn ty(&self, a: Atom) -> Ty {
        self.func.atom_ty(a)
    }

    /// The scalar that `a` is, or repeats.
    fn scalar_of(&self, a: Atom) -> Option<Atom> {
        if self.shape(a).is_empty() {
            return Some(a);
        }
        match self.def(a) {
            Some(Op::Broadcast { x, .. }) if self.shape(*x).is_empty() => Some(*x),
            _ => None,
        }
    }

    /// The literal that `a` is.
    fn lit(&self, a: Atom) -> Option<Lit> {
        match a {
            Atom::Lit(l) => Some(l),
            Atom::Var(_) => None,
        }
    }

    /// Whether `a` is a number literal equal to `v`.
    fn is_num(&self, a: Atom, v: f64) -> bool {
        match a {
            Atom::Lit(Lit::Float(x)) => x == v,
            Atom::Lit(Lit::Int(i)) => v == i as f64,
            _ => false,
        }
    }

    /// Operand of a unary primitive.
    fn unary_of(&self, a: Atom, p: Prim) -> Option<Atom> {
        match self.def(a) {
            Some(Op::Prim(q, args)) if *q == p && args.len() == 1 => Some(args[0]),
            _ => None,
        }
    }

    /// Operands of a binary primitive.
    fn binary_of(&self, a: Atom, p: Prim) -> Option<(Atom, Atom)> {
        match self.def(a) {
            Some(Op::Prim(q, args)) if *q == p && args.len() == 2 => Some((args[0], args[1])),
            _ => None,
        }
    }

    /// Source, result shape and axes of a broadcast.
    fn broadcast_of(&self, a: Atom) -> Option<(Atom, &[usize], &[usize])> {
        match self.def(a) {
            Some(Op::Broadcast { x, shape, axes }) => Some((*x, shape, axes)),
            _ => None,
        }
    }

    /// `a` as a value of `shape`, if it has that shape or is a scalar.
    fn fit(&self, a: Atom, shape: &[usize]) -> Rewrite<S> {
        if self.shape(a) == shape {
            Rewrite::Atom(a)
        } else {
            Rewrite::Op(Op::Broadcast { x: a, shape: shape.to_vec(), axes: Vec::new() })
        }
    }
}

fn resolve(subst: &[Option<Atom>], a: Atom) -> Atom {
    match a {
        Atom::Var(v) => subst.get(v.index()).copied().flatten().unwrap_or(a),
        Atom::Lit(_) => a,
    }
}
