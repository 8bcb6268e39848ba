//! Building functions: typed constructors, and nested blocks.

use crate::{Atom, Block, DType, Func, Linalg, Op, Prim, ReduceOp, Scan, Stage, Stmt, Ty, Var};
use ppl_diag::Span;

/// Builds one function, statement by statement.
///
/// Constructors infer result types; operands must fit (the verifier says where they don't).
/// Nested blocks are built between [`Builder::begin`] and [`Builder::end`].
#[derive(Clone, Debug)]
pub struct Builder<S: Stage> {
    /// The function under construction: its variables and parameters. Its body is set by [`Builder::finish`].
    pub func: Func<S>,
    blocks: Vec<Vec<Stmt<S>>>,
    /// Span given to new statements.
    pub span: Span,
}

impl<S: Stage> Builder<S> {
    /// A function called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        let func = Func { name: name.into(), vars: Vec::new(), params: Vec::new(), body: Block::default(), span: Span::NONE };
        Builder { func, blocks: vec![Vec::new()], span: Span::NONE }
    }

    /// Continues an existing function: new statements go after its body's; its results stay until [`Builder::finish`].
    pub fn reopen(func: Func<S>) -> Self {
        let stmts = func.body.stmts.clone();
        Builder { func, blocks: vec![stmts], span: Span::NONE }
    }

    /// A builder that emits into an empty block of `func`'s variables; take the statements with [`Builder::into_parts`].
    pub fn over(func: Func<S>) -> Self {
        Builder { func, blocks: vec![Vec::new()], span: Span::NONE }
    }

    /// The function (its body untouched) and the statements emitted.
    pub fn into_parts(mut self) -> (Func<S>, Vec<Stmt<S>>) {
        let stmts = self.blocks.pop().unwrap_or_default();
        (self.func, stmts)
    }

    /// A parameter.
    pub fn param(&mut self, name: impl Into<String>, ty: Ty) -> Var {
        let v = self.func.new_var(name, ty);
        self.func.params.push(v);
        v
    }

    /// Type of an operand.
    pub fn ty(&self, a: Atom) -> Ty {
        self.func.atom_ty(a)
    }

    /// Ends the function.
    pub fn finish(mut self, results: Vec<Atom>) -> Func<S> {
        debug_assert_eq!(self.blocks.len(), 1, "a nested block is still open");
        self.func.body = Block { stmts: self.blocks.pop().unwrap_or_default(), results };
        self.func
    }

    /// Opens a nested block.
    pub fn begin(&mut self) {
        self.blocks.push(Vec::new());
    }

    /// Closes the innermost block.
    pub fn end(&mut self, results: Vec<Atom>) -> Block<S> {
        debug_assert!(self.blocks.len() > 1, "no nested block is open");
        Block { stmts: self.blocks.pop().unwrap_or_default(), results }
    }

    /// The statements of the open blocks, outermost first.
    pub fn open(&self) -> &[Vec<Stmt<S>>] {
        &self.blocks
    }

    /// Number of open blocks; 1 at the function's own level.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Appends a finished statement.
    pub fn push(&mut self, stmt: Stmt<S>) {
        if let Some(b) = self.blocks.last_mut() {
            b.push(stmt);
        }
    }

    /// Appends `op` with outputs of the given names and types.
    pub fn emit(&mut self, op: Op<S>, outs: Vec<(String, Ty)>) -> Vec<Var> {
        let outs: Vec<Var> = outs.into_iter().map(|(n, t)| self.func.new_var(n, t)).collect();
        let span = self.span;
        self.push(Stmt { outs: outs.clone(), op, span });
        outs
    }

    /// Appends `op` with one output.
    pub fn emit1(&mut self, op: Op<S>, name: &str, ty: Ty) -> Atom {
        Atom::Var(self.emit(op, vec![(name.to_string(), ty)])[0])
    }

    /// An elementwise primitive.
    pub fn prim(&mut self, prim: Prim, args: &[Atom]) -> Atom {
        let tys: Vec<Ty> = args.iter().map(|a| self.ty(*a)).collect();
        let dtypes: Vec<DType> = tys.iter().map(|t| t.dtype).collect();
        let shape = tys.iter().map(|t| &t.shape).max_by_key(|s| s.len()).cloned().unwrap_or_default();
        let dtype = prim.result_dtype(&dtypes).unwrap_or(DType::Float);
        self.emit1(Op::Prim(prim, args.to_vec()), "t", Ty::new(dtype, shape))
    }

    /// `a + b`.
    pub fn add(&mut self, a: Atom, b: Atom) -> Atom {
        self.prim(Prim::Add, &[a, b])
    }

    /// `a - b`.
    pub fn sub(&mut self, a: Atom, b: Atom) -> Atom {
        self.prim(Prim::Sub, &[a, b])
    }

    /// `a * b`.
    pub fn mul(&mut self, a: Atom, b: Atom) -> Atom {
        self.prim(Prim::Mul, &[a, b])
    }

    /// `a / b`.
    pub fn div(&mut self, a: Atom, b: Atom) -> Atom {
        self.prim(Prim::Div, &[a, b])
    }

    /// `-a`.
    pub fn neg(&mut self, a: Atom) -> Atom {
        self.prim(Prim::Neg, &[a])
    }

    /// A unary primitive.
    pub fn un(&mut self, prim: Prim, a: Atom) -> Atom {
        self.prim(prim, &[a])
    }

    /// `if c { a } else { b }`, elementwise.
    pub fn select(&mut self, c: Atom, a: Atom, b: Atom) -> Atom {
        self.prim(Prim::Select, &[c, a, b])
    }

    /// The value without gradient.
    pub fn stop(&mut self, a: Atom) -> Atom {
        let ty = self.ty(a);
        self.emit1(Op::Stop(a), "stop", ty)
    }

    /// `x` broadcast to `shape`; `axes[i]` is the result axis of axis `i`. Nothing is emitted where nothing changes.
    pub fn broadcast(&mut self, x: Atom, shape: &[usize], axes: &[usize]) -> Atom {
        let ty = self.ty(x);
        if ty.shape == shape && axes.iter().enumerate().all(|(i, a)| i == *a) {
            return x;
        }
        let out = Ty::new(ty.dtype, shape);
        self.emit1(Op::Broadcast { x, shape: shape.to_vec(), axes: axes.to_vec() }, "b", out)
    }

    /// A scalar repeated into `shape`.
    pub fn full(&mut self, x: Atom, shape: &[usize]) -> Atom {
        self.broadcast(x, shape, &[])
    }

    /// Reduction over `axes`, ascending. Nothing is emitted for no axes.
    pub fn reduce(&mut self, op: ReduceOp, x: Atom, axes: &[usize]) -> Atom {
        if axes.is_empty() {
            return x;
        }
        let ty = self.ty(x);
        let shape: Vec<usize> = ty.shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, n)| *n).collect();
        self.emit1(Op::Reduce { op, x, axes: axes.to_vec() }, "r", Ty::new(ty.dtype, shape))
    }

    /// Sum of all elements.
    pub fn sum_all(&mut self, x: Atom) -> Atom {
        let axes: Vec<usize> = (0..self.ty(x).rank()).collect();
        self.reduce(ReduceOp::Sum, x, &axes)
    }

    /// Contraction; see [`Op::Dot`].
    pub fn dot(&mut self, a: Atom, b: Atom, batch: &[(usize, usize)], contract: &[(usize, usize)]) -> Atom {
        let (ta, tb) = (self.ty(a), self.ty(b));
        let mut shape: Vec<usize> = batch.iter().map(|(i, _)| ta.shape[*i]).collect();
        let free = |ty: &Ty, used: Vec<usize>| -> Vec<usize> {
            ty.shape.iter().enumerate().filter(|(i, _)| !used.contains(i)).map(|(_, n)| *n).collect()
        };
        shape.extend(free(&ta, batch.iter().chain(contract).map(|p| p.0).collect()));
        shape.extend(free(&tb, batch.iter().chain(contract).map(|p| p.1).collect()));
        let op = Op::Dot { a, b, batch: batch.to_vec(), contract: contract.to_vec() };
        self.emit1(op, "dot", Ty::new(ta.dtype, shape))
    }

    /// Axis `i` of the result is axis `perm[i]` of `x`. Nothing is emitted for the identity.
    pub fn transpose(&mut self, x: Atom, perm: &[usize]) -> Atom {
        if perm.iter().enumerate().all(|(i, p)| i == *p) {
            return x;
        }
        let ty = self.ty(x);
        let shape: Vec<usize> = perm.iter().map(|p| ty.shape[*p]).collect();
        self.emit1(Op::Transpose { x, perm: perm.to_vec() }, "tr", Ty::new(ty.dtype, shape))
    }

    /// The same elements in another shape. Nothing is emitted where the shape is the same.
    pub fn reshape(&mut self, x: Atom, shape: &[usize]) -> Atom {
        let ty = self.ty(x);
        if ty.shape == shape {
            return x;
        }
        self.emit1(Op::Reshape { x, shape: shape.to_vec() }, "rs", Ty::new(ty.dtype, shape))
    }

    /// Elements `start..start + len` along `axis`. Nothing is emitted for the whole axis.
    pub fn slice(&mut self, x: Atom, axis: usize, start: usize, len: usize) -> Atom {
        let mut ty = self.ty(x);
        if start == 0 && ty.shape[axis] == len {
            return x;
        }
        ty.shape[axis] = len;
        self.emit1(Op::Slice { x, axis, start, len }, "sl", ty)
    }

    /// Zeros added along `axis`.
    pub fn pad(&mut self, x: Atom, axis: usize, before: usize, after: usize) -> Atom {
        if before == 0 && after == 0 {
            return x;
        }
        let mut ty = self.ty(x);
        ty.shape[axis] += before + after;
        self.emit1(Op::Pad { x, axis, before, after }, "pad", ty)
    }

    /// Arrays one after the other along `axis`.
    pub fn concat(&mut self, xs: &[Atom], axis: usize) -> Atom {
        if let [x] = xs {
            return *x;
        }
        let mut ty = self.ty(xs[0]);
        ty.shape[axis] = xs.iter().map(|x| self.ty(*x).shape[axis]).sum();
        self.emit1(Op::Concat { xs: xs.to_vec(), axis }, "cat", ty)
    }

    /// Arrays of one type stacked along a new first axis.
    pub fn stack(&mut self, xs: &[Atom]) -> Atom {
        let parts: Vec<Atom> = xs
            .iter()
            .map(|x| {
                let ty = self.ty(*x);
                // A literal has no storage to reshape: broadcasting makes it an array.
                if ty.is_scalar() { self.full(*x, &[1]) } else { self.reshape(*x, &[&[1], &ty.shape[..]].concat()) }
            })
            .collect();
        self.concat(&parts, 0)
    }

    /// `x` indexed along axis `batch`; see [`Op::Gather`].
    pub fn gather(&mut self, x: Atom, idx: Atom, batch: usize) -> Atom {
        let (tx, ti) = (self.ty(x), self.ty(idx));
        let shape: Vec<usize> = ti.shape.iter().chain(&tx.shape[batch + 1..]).copied().collect();
        self.emit1(Op::Gather { x, idx, batch }, "g", Ty::new(tx.dtype, shape))
    }

    /// Adjoint of [`Builder::gather`].
    pub fn scatter_add(&mut self, idx: Atom, updates: Atom, batch: usize, len: usize) -> Atom {
        let (ti, tu) = (self.ty(idx), self.ty(updates));
        let mut shape: Vec<usize> = ti.shape[..batch].to_vec();
        shape.push(len);
        shape.extend(&tu.shape[ti.rank()..]);
        self.emit1(Op::ScatterAdd { idx, updates, batch, len }, "sc", Ty::new(tu.dtype, shape))
    }

    /// `0, 1, .., len - 1`.
    pub fn iota(&mut self, len: usize) -> Atom {
        self.emit1(Op::Iota { len }, "iota", Ty::new(DType::Int, [len]))
    }

    /// The indices of this step's minibatch.
    pub fn minibatch(&mut self, data: usize, size: usize) -> Atom {
        self.emit1(Op::Minibatch { data, size }, "batch", Ty::new(DType::Int, [size]))
    }

    /// Running sum along `axis`.
    pub fn cumsum(&mut self, x: Atom, axis: usize, reverse: bool) -> Atom {
        let ty = self.ty(x);
        self.emit1(Op::CumSum { x, axis, reverse }, "cs", ty)
    }

    /// Elements in reverse order along `axis`.
    pub fn reverse(&mut self, x: Atom, axis: usize) -> Atom {
        let ty = self.ty(x);
        self.emit1(Op::Reverse { x, axis }, "rev", ty)
    }

    /// Index of the largest element along `axis`.
    pub fn argmax(&mut self, x: Atom, axis: usize) -> Atom {
        let mut ty = self.ty(x).with_dtype(DType::Int);
        ty.shape.remove(axis);
        self.emit1(Op::ArgMax { x, axis }, "am", ty)
    }

    /// An operation on the last axes.
    pub fn linalg(&mut self, op: Linalg, args: &[Atom]) -> Atom {
        let tys: Vec<Ty> = args.iter().map(|a| self.ty(*a)).collect();
        // Where operands do not fit, the verifier says so.
        let ty = crate::shape::linalg(op, &tys).unwrap_or_else(|_| tys[tys.len() - 1].clone());
        self.emit1(Op::Linalg(op, args.to_vec()), "la", ty)
    }

    /// Types of a block's results, while it is in this function.
    pub fn block_tys(&self, b: &Block<S>) -> Vec<Ty> {
        b.results.iter().map(|a| self.ty(*a)).collect()
    }

    /// `if`; both blocks have results of the same types.
    pub fn if_(&mut self, cond: Atom, then: Block<S>, els: Block<S>) -> Vec<Var> {
        let outs = self.block_tys(&then).into_iter().map(|t| ("if".to_string(), t)).collect();
        self.emit(Op::If { cond, then, els }, outs)
    }

    /// Independent iterations; outputs are the stacked results. `index` must be a new int variable used by `body`.
    pub fn map(&mut self, len: usize, index: Var, body: Block<S>) -> Vec<Var> {
        let outs = self.block_tys(&body).into_iter().map(|t| ("m".to_string(), t.lifted(&[len]))).collect();
        self.emit(Op::Map { len, index, body }, outs)
    }

    /// A sequential loop; outputs are the last carries and the stacked rest of the body's results.
    pub fn scan(&mut self, scan: Scan<S>) -> Vec<Var> {
        let tys = self.block_tys(&scan.body);
        let n = scan.carry.len();
        let outs = tys
            .into_iter()
            .enumerate()
            .map(|(i, t)| if i < n { ("c".to_string(), t) } else { ("s".to_string(), t.lifted(&[scan.len])) })
            .collect();
        self.emit(Op::Scan(Box::new(scan)), outs)
    }

    /// A new int variable, for a loop's index.
    pub fn index_var(&mut self, name: &str) -> Var {
        self.func.new_var(name, Ty::INT)
    }

    /// A new variable of type `ty`, for a loop's header.
    pub fn fresh(&mut self, name: &str, ty: Ty) -> Var {
        self.func.new_var(name, ty)
    }

    /// Copies `block` of `callee` into the innermost open block, with new variables; `args` take the place of the
    /// callee's parameters. Returns the results.
    pub fn inline(&mut self, callee: &Func<S>, args: &[Atom]) -> Vec<Atom> {
        let mut copy =
            Copier { to: &mut self.func, from: callee, map: callee.params.iter().copied().zip(args.iter().copied()).collect() };
        let body = copy.block(&callee.body);
        for stmt in body.stmts {
            self.push(stmt);
        }
        body.results
    }

    /// A copy of `block` (of the same function) in which every variable that it defines is new.
    pub fn duplicate(&mut self, block: &Block<S>) -> Block<S> {
        let from = self.func.clone();
        let mut copy = Copier { to: &mut self.func, from: &from, map: Default::default() };
        copy.block(block)
    }
}

struct Copier<'a, S: Stage> {
    to: &'a mut Func<S>,
    from: &'a Func<S>,
    map: std::collections::HashMap<Var, Atom>,
}

impl<S: Stage> Copier<'_, S> {
    fn block(&mut self, b: &Block<S>) -> Block<S> {
        let stmts = b.stmts.iter().map(|s| self.stmt(s)).collect();
        Block { stmts, results: b.results.iter().map(|a| self.atom(*a)).collect() }
    }

    fn stmt(&mut self, s: &Stmt<S>) -> Stmt<S> {
        let mut op = s.op.clone();
        for v in op.bound_vars() {
            self.define(v);
        }
        crate::map_atoms(&mut op, &mut |a| self.atom(a));
        match &mut op {
            Op::Map { index, .. } => *index = self.renamed(*index),
            Op::Scan(s) => {
                s.index = self.renamed(s.index);
                for (v, _) in s.carry.iter_mut().chain(&mut s.xs) {
                    *v = self.renamed(*v);
                }
            }
            _ => {}
        }
        for b in crate::op_blocks_mut(&mut op) {
            *b = self.block(b);
        }
        let outs = s.outs.iter().map(|v| self.define(*v)).collect();
        Stmt { outs, op, span: s.span }
    }

    fn atom(&self, a: Atom) -> Atom {
        match a {
            Atom::Var(v) => self.map.get(&v).copied().unwrap_or(a),
            Atom::Lit(_) => a,
        }
    }

    fn renamed(&self, v: Var) -> Var {
        self.map.get(&v).and_then(|a| a.var()).unwrap_or(v)
    }

    fn define(&mut self, v: Var) -> Var {
        let info = &self.from.vars[v.index()];
        let new = self.to.new_var(info.name.clone(), info.ty.clone());
        self.map.insert(v, Atom::Var(new));
        new
    }
}
