//! Steps of the program's body that several threads share: each is a native function of its own, called once for each chunk.
//!
//! A group is cut along its first axis, a matrix product along its rows. Sums over the cut axis end in one partial result for each
//! chunk, which a short function adds up afterwards. How a step is cut depends on its size only, never on the number of threads, so neither do
//! results.

use super::nest::{Nest, Node, Sink};
use super::{Emitter, Result};
use crate::CodegenError;
use crate::emit::lowered_inline;
use crate::schedule::Step;
use crate::view::{Base, Loc, View};
use cranelift::prelude::*;
use ppl_abi::Kernel;
use ppl_core::{Block as IrBlock, DType, Det, Func, Op, ReduceOp, Var};

/// Elementary operations from which on a group is worth the threads: some ten microseconds.
pub(crate) const GRAIN: usize = 150_000;
/// A function of a kernel counts for as many.
const KERNEL: usize = 6;
/// Multiplications of a chunk of a matrix product.
const PRODUCT: usize = 30_000_000;
/// So many of them take the time of an elementary operation.
const PER_OPERATION: usize = 8;
const CHUNKS: usize = 8;

/// The chunk that the present native function computes.
#[derive(Clone, Copy)]
pub(crate) struct Chunk {
    pub index: Value,
    pub worker: Value,
}

/// A sum over chunks that is still to be made.
pub(crate) struct Partial {
    pub op: ReduceOp,
    pub dtype: DType,
    /// Results of the chunks, one after the other.
    pub from: View,
    pub chunks: usize,
    pub to: (Base, i64),
    pub shape: Vec<usize>,
    /// Strides of the result in `shape`.
    pub strides: Vec<i64>,
}

/// A matrix product whose operands are ready.
pub(crate) struct Product {
    pub c: View,
    pub a: View,
    pub b: View,
    /// Rows, columns, inner dimension; strides of the operands.
    pub sizes: [i64; 3],
    pub a_strides: [i64; 2],
    pub b_strides: [i64; 2],
    /// Results of the chunks, where the inner dimension is cut.
    pub partials: Option<View>,
}

impl Product {
    /// Whether the inner dimension is cut: where there are few rows.
    pub(crate) fn sums_chunks(&self) -> bool {
        (self.sizes[0] as usize) < ROWS
    }

    /// Rows of a chunk, or elements of the inner dimension.
    fn piece(&self) -> usize {
        let [m, n, k] = self.sizes.map(|x| x as usize);
        let cut = if self.sums_chunks() { k } else { m };
        // A power of two: what two threads share comes out even.
        let chunks = (m * n * k / PRODUCT).clamp(2, CHUNKS).min(cut / 8).max(1);
        let chunks = 1 << chunks.ilog2();
        cut.div_ceil(chunks).next_multiple_of(4).min(cut)
    }

    pub(crate) fn chunks(&self) -> usize {
        let cut = if self.sums_chunks() { self.sizes[2] } else { self.sizes[0] };
        (cut as usize).div_ceil(self.piece())
    }
}

/// Products of fewer rows are cut along the inner dimension, if at all.
const ROWS: usize = 16;

/// Whether a product is cut.
pub(crate) fn cuts_product(m: usize, n: usize, k: usize, grain: usize) -> bool {
    (m >= ROWS || k >= 1024 && m.saturating_mul(n) <= 4096) && m.saturating_mul(n).saturating_mul(k) / PER_OPERATION >= grain
}

/// The axis along which a group is cut, and the length of a piece.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cut {
    pub(crate) axis: usize,
    pub(crate) piece: usize,
    pub(crate) chunks: usize,
}

/// How a step of the program's body is cut, if it is.
pub(crate) fn cut(func: &Func<Det>, block: &IrBlock<Det>, step: &Step, grain: usize) -> Option<Cut> {
    let Step::Group(g) = step else { return None };
    let first = block.stmts.get(*g.first()?)?;
    let shape = match &first.op {
        Op::Reduce { x, .. } => func.atom_ty(*x).shape,
        _ => func.ty(*first.outs.first()?).shape.clone(),
    };
    let work: usize = g
        .iter()
        .map(|i| match &block.stmts[*i].op {
            Op::Prim(p, args) if !lowered_inline(*p, args.first().map(|a| func.atom_ty(*a).dtype)) => KERNEL,
            _ => 1,
        })
        .sum();
    if shape.iter().product::<usize>().saturating_mul(work) < grain {
        return None;
    }
    let axis = shape.iter().position(|n| *n > 1).filter(|a| shape[*a] >= 4)?;
    let n = shape[axis];
    // A number of chunks that comes out even, if there is one.
    let chunks = [8, 7, 6, 5, 4].into_iter().find(|c| n % c == 0).unwrap_or(CHUNKS.min(n));
    let piece = n.div_ceil(chunks);
    Some(Cut { axis, piece, chunks: n.div_ceil(piece) })
}

impl Emitter<'_, '_> {
    /// Places for what the chunks of a nest leave: of full reductions, and of each sum over the cut axis (one for each chunk).
    pub(super) fn left_behind(&mut self, nest: &Nest, axis: usize, chunks: usize) -> (Vec<Option<i64>>, Vec<Option<View>>) {
        let (mut totals, mut partials) = (Vec::new(), Vec::new());
        for s in &nest.sinks {
            let dtype = nest.nodes[s.node].dtype();
            let mut total = None;
            let to = match s.to {
                Some(to) => to,
                None => {
                    let buf = self.st.arena.alloc(8);
                    let at = self.st.arena.offset(buf);
                    total = Some(at);
                    (Base::Workspace, at)
                }
            };
            totals.push(total);
            partials.push((s.strides[axis] == 0).then(|| {
                let mut shape: Vec<usize> =
                    nest.shape.iter().zip(&s.strides).map(|(n, x)| if *x == 0 { 1 } else { *n }).collect();
                let each: usize = shape.iter().product();
                let from = self.alloc(dtype, &[chunks, each]);
                shape.insert(0, chunks);
                let mut strides = s.strides.clone();
                strides.insert(0, 0);
                self.st.partials.push(Partial { op: s.op, dtype, from: from.clone(), chunks, to, shape, strides });
                from
            }));
        }
        (totals, partials)
    }

    /// Emits a nest in the chunk of this function. Where a full reduction is left to be made, its place.
    pub(super) fn chunked(&mut self, nest: &Nest, tiled: bool) -> Result<Vec<Option<i64>>> {
        let (Some(chunk), Some(cut)) = (self.chunk, self.st.cut) else {
            return Err(CodegenError::internal("a nest outside chunks"));
        };
        let n = nest.shape[cut.axis];
        let (totals, partials) = self.left_behind(nest, cut.axis, cut.chunks);
        let by = self.iconst(cut.piece as i64);
        let first = self.fb.ins().imul(chunk.index, by);
        let rest = n % cut.piece;
        if rest == 0 {
            self.piece(nest, tiled, cut.axis, (first, cut.piece), &partials, false)?;
            self.let_go();
            return Ok(totals);
        }
        let (whole, last, after) = (self.fb.create_block(), self.fb.create_block(), self.fb.create_block());
        let end = self.iconst(cut.chunks as i64 - 1);
        let is_last = self.fb.ins().icmp(IntCC::Equal, chunk.index, end);
        self.fb.ins().brif(is_last, last, &[], whole, &[]);
        for (block, len) in [(whole, cut.piece), (last, rest)] {
            self.fb.switch_to_block(block);
            self.fb.seal_block(block);
            self.piece(nest, tiled, cut.axis, (first, len), &partials, false)?;
            self.fb.ins().jump(after, &[]);
        }
        self.fb.switch_to_block(after);
        self.fb.seal_block(after);
        self.let_go();
        Ok(totals)
    }

    pub(super) fn let_go(&mut self) {
        for v in std::mem::take(&mut self.st.held) {
            self.free(v);
        }
    }

    /// The nest for `len` elements of an axis, from the element `first` on. Sums over the axis are begun, or gone on with, in the chunk's `partials`.
    pub(super) fn piece(
        &mut self,
        nest: &Nest,
        tiled: bool,
        axis: usize,
        (first, len): (Value, usize),
        partials: &[Option<View>],
        accumulate: bool,
    ) -> Result<()> {
        let mut shape = nest.shape.clone();
        shape[axis] = len;
        let mut nodes = Vec::new();
        for node in &nest.nodes {
            nodes.push(match node {
                Node::Load(v, dt) => Node::Load(self.moved(v, *dt, axis, first)?, *dt),
                Node::Scalar(v, dt) => Node::Scalar(*v, *dt),
                Node::Op(p, args, dt, decisive) => Node::Op(*p, args.clone(), *dt, *decisive),
                Node::Kernel(k, args) => Node::Kernel(*k, args.clone()),
            });
        }
        let mut stores = Vec::new();
        for (node, v) in &nest.stores {
            stores.push((*node, self.moved(v, nest.nodes[*node].dtype(), axis, first)?));
        }
        let mut sinks = Vec::new();
        for (s, partial) in nest.sinks.iter().zip(partials) {
            let dt = nest.nodes[s.node].dtype();
            let to = match (partial, s.to) {
                (Some(v), _) => {
                    let each: usize = nest.shape.iter().zip(&s.strides).map(|(n, x)| if *x == 0 { 1 } else { *n }).product();
                    let at = self.of_chunk(v, each, dt)?;
                    (self.dynamic(at), 0)
                }
                (None, Some((base, offset))) => {
                    let v = View { base, offset, strides: s.strides.clone(), owners: Vec::new() };
                    let m = self.moved(&v, dt, axis, first)?;
                    (m.base, m.offset)
                }
                (None, None) => return Err(CodegenError::internal("a full reduction over an axis that it keeps")),
            };
            let accumulate = accumulate && partial.is_some();
            sinks.push(Sink { op: s.op, node: s.node, strides: s.strides.clone(), to: Some(to), accumulate });
        }
        let part = Nest { shape, nodes, stores, sinks, in_place: nest.in_place };
        if tiled {
            self.tiled(part)?
        } else {
            self.nest(part)?
        };
        Ok(())
    }

    /// Address of the chunk's part of an array that has `each` elements for each chunk.
    pub(super) fn of_chunk(&mut self, v: &View, each: usize, dt: DType) -> Result<Value> {
        let Some(chunk) = self.chunk else { return Err(CodegenError::internal("a chunk outside chunks")) };
        let base = self.pointer(v)?;
        let bytes = self.iconst(each as i64 * self.st.size(dt));
        let off = self.fb.ins().imul(chunk.index, bytes);
        Ok(self.fb.ins().iadd(base, off))
    }

    /// The view from an element of an axis on.
    fn moved(&mut self, v: &View, dt: DType, axis: usize, first: Value) -> Result<View> {
        let bytes = v.strides[axis] * self.st.size(dt);
        if bytes == 0 {
            return Ok(v.clone());
        }
        let base = self.base(v.base)?;
        let by = self.iconst(bytes);
        let off = self.fb.ins().imul(first, by);
        let at = self.fb.ins().iadd(base, off);
        Ok(View { offset: v.offset, ..self.at(at, v.strides.clone()) })
    }

    /// A chunk of a matrix product.
    pub(crate) fn product_chunk(&mut self, p: &Product) -> Result<()> {
        let Some(chunk) = self.chunk else { return Err(CodegenError::internal("a chunk outside chunks")) };
        let [m, n, k] = p.sizes;
        let piece = p.piece() as i64;
        let size = self.st.size(DType::Float);
        let step = self.iconst(piece);
        let first = self.fb.ins().imul(chunk.index, step);
        let all = self.iconst(if p.partials.is_some() { k } else { m });
        let left = self.fb.ins().isub(all, first);
        let short = self.fb.ins().icmp(IntCC::SignedLessThan, left, step);
        let here = self.fb.ins().select(short, left, step);
        let at = |e: &mut Self, v: &View, stride: i64| -> Result<Value> {
            let base = e.pointer(v)?;
            let by = e.iconst(stride * size);
            let off = e.fb.ins().imul(first, by);
            Ok(e.fb.ins().iadd(base, off))
        };
        if let Some(partials) = &p.partials {
            let c = self.of_chunk(partials, (m * n) as usize, DType::Float)?;
            let (a, b) = (at(self, &p.a, p.a_strides[1])?, at(self, &p.b, p.b_strides[0])?);
            let (m, n) = (self.iconst(m), self.iconst(n));
            let mut call = vec![c, a, b, m, n, here];
            let rest = [p.a_strides[0], p.a_strides[1], p.b_strides[0], p.b_strides[1], 1, 0, 0, 0, 0];
            call.extend(rest.map(|v| self.iconst(v)));
            self.st.partials.push(Partial {
                op: ReduceOp::Sum,
                dtype: DType::Float,
                from: partials.clone(),
                chunks: p.chunks(),
                to: (p.c.base, p.c.offset),
                shape: vec![p.chunks(), (p.sizes[0] * p.sizes[1]) as usize],
                strides: vec![0, 1],
            });
            return self.call_kernel(Kernel::Gemm, &call);
        }
        let (c, a, b) = (at(self, &p.c, n)?, at(self, &p.a, p.a_strides[0])?, self.pointer(&p.b)?);
        let mut call = vec![c, a, b, here];
        let rest = [n, k, p.a_strides[0], p.a_strides[1], p.b_strides[0], p.b_strides[1], 1, 0, 0, 0, 0];
        call.extend(rest.map(|v| self.iconst(v)));
        self.call_kernel(Kernel::Gemm, &call)
    }

    /// Adds up what chunks have left.
    pub(crate) fn add_partials(&mut self) -> Result<()> {
        for p in std::mem::take(&mut self.st.partials) {
            let each = p.shape[1..].iter().product::<usize>();
            let mut dense = crate::view::dense_strides(&p.shape);
            dense[0] = each as i64;
            let from = View { strides: dense, ..p.from.clone() };
            debug_assert_eq!(p.shape[0], p.chunks);
            let sink = Sink { op: p.op, node: 0, strides: p.strides, to: Some(p.to), accumulate: false };
            self.nest(Nest { shape: p.shape, nodes: vec![Node::Load(from, p.dtype)], sinks: vec![sink], ..Nest::default() })?;
            self.free(p.from);
        }
        Ok(())
    }

    /// Binds a scalar that a later function finds in the workspace.
    pub(super) fn bind_saved(&mut self, v: Var, offset: i64) {
        self.st.saved.insert(v, offset);
        self.st.locs[v.index()] = Some(Loc::Saved { offset, splat: false });
    }
}
