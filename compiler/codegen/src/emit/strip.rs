//! A product, the elementwise work on it, and a product that sums over its rows, block of rows by block: `X w`, then `r`, then `X^T r` read `X` once.
//!
//! ```text
//!   for rows in blocks {  t[rows] = X[rows] w;  r[rows] = f(t[rows], ..);  s += ..r[rows]..;  g += X[rows]^T r[rows]  }
//! ```
//!
//! Blocks are short enough for the second-level cache and are dealt out to chunks, each with sums of its own.

use super::chunk::{Partial, Product, cut};
use super::{Emitter, Result};
use crate::CodegenError;
use crate::schedule::{Step, reads};
use crate::view::{Loc, View};
use cranelift::prelude::*;
use ppl_abi::Kernel;
use ppl_core::{Atom, Block as IrBlock, DType, Det, Op, ReduceOp, Stmt, Var};
use std::collections::BTreeSet;

/// Bytes of a block's rows of the first product's matrix.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes from which on a matrix is worth it: it does not stay in the second-level cache from one product to the next.
const MATRIX_BYTES: usize = 256 << 10;
const CHUNKS: usize = 8;

/// Steps that are done together.
pub(crate) struct Strip {
    /// Positions of steps among those still to come: of the first product, the group, and the second product.
    pub first: usize,
    pub group: usize,
    pub second: usize,
    axis: usize,
    rows: usize,
    /// Rows of a block, and blocks of a chunk.
    block: usize,
    each: usize,
    pub chunks: usize,
}

impl Strip {
    /// Steps before the group that do not need the first product.
    pub(crate) fn between(&self) -> std::ops::Range<usize> {
        self.first + 1..self.group
    }
}

fn dot_of(block: &IrBlock<Det>, step: &Step) -> Option<usize> {
    match step {
        Step::One(i) if matches!(block.stmts[*i].op, Op::Dot { .. }) => Some(*i),
        _ => None,
    }
}

/// Whether a step only looks at arrays in another way.
fn is_view(block: &IrBlock<Det>, step: &Step) -> bool {
    let Step::One(i) = step else { return false };
    matches!(
        block.stmts[*i].op,
        Op::Broadcast { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Reverse { .. } | Op::Reshape { .. } | Op::Stop(_)
    )
}

impl Emitter<'_, '_> {
    /// The strip that begins with the first of these steps, if there is one.
    pub(crate) fn strip(&self, block: &IrBlock<Det>, steps: &[Step]) -> Option<Strip> {
        let func = self.st.func;
        let a = &block.stmts[dot_of(block, steps.first()?)?];
        let out = *a.outs.first()?;
        let group = 1 + steps[1..].iter().position(|s| !is_view(block, s))?;
        let Step::Group(members) = &steps[group] else { return None };
        let uses = |s: &Stmt<Det>, v: Var| reads(s).contains(&v);
        let needed = |step: &Step| matches!(step, Step::One(i) if uses(&block.stmts[*i], out));
        if steps[1..group].iter().any(needed) || !members.iter().any(|i| uses(&block.stmts[*i], out)) {
            return None;
        }
        let grouped = cut(func, block, &steps[group], self.st.options.grain)?;
        let shape = &func.ty(out).shape;
        let rows = *shape.get(grouped.axis)?;
        if rows < 1024 || shape.iter().product::<usize>() != rows {
            return None;
        }
        // Arrays of the group's shape that it leaves, as if they were there.
        let leaves: BTreeSet<Var> = members
            .iter()
            .map(|i| &block.stmts[*i])
            .filter(|s| matches!(s.op, Op::Prim(..)))
            .flat_map(|s| s.outs.iter().copied())
            .collect();
        let first = self.product_of(a, &BTreeSet::new())?;
        let bytes = first.sizes.map(|x| x as usize)[2] * self.st.size(DType::Float) as usize;
        if first.sizes[0] as usize != rows || first.sizes[1] != 1 || first.a_strides[1] != 1 || bytes * rows < MATRIX_BYTES {
            return None;
        }
        let mut second = group + 1;
        while is_view(block, steps.get(second)?) {
            second += 1;
        }
        let b = &block.stmts[dot_of(block, &steps[second])?];
        let product = self.product_of(b, &leaves)?;
        if !product.sums_chunks() || product.sizes[2] as usize != rows || !reads(b).iter().any(|v| leaves.contains(v)) {
            return None;
        }
        // A number of rows that comes out even, if there is one.
        let most = (BLOCK_BYTES / bytes.max(1)).clamp(64, 2048).min(rows);
        let size = (most / 2..=most).rev().find(|r| rows.is_multiple_of(*r)).unwrap_or(most);
        let blocks = rows.div_ceil(size);
        let each = blocks.div_ceil(CHUNKS);
        let chunks = blocks.div_ceil(each);
        Some(Strip { first: 0, group, second, axis: grouped.axis, rows, block: size, each, chunks })
    }

    /// How a product would be called; `leaves` are dense arrays that are not there yet.
    fn product_of(&self, stmt: &Stmt<Det>, leaves: &BTreeSet<Var>) -> Option<Product> {
        let Op::Dot { a, b, batch, contract } = &stmt.op else { return None };
        let func = self.st.func;
        let (ta, tb, tc) = (func.atom_ty(*a), func.atom_ty(*b), func.ty(*stmt.outs.first()?));
        let view = |x: &Atom| -> Option<View> {
            let v = x.var()?;
            if leaves.contains(&v) {
                return Some(View::dense(crate::view::Base::Workspace, 0, &func.ty(v).shape, Vec::new()));
            }
            match self.st.locs.get(v.index()) {
                Some(Some(Loc::View(view))) => Some(view.clone()),
                _ => None,
            }
        };
        let c = View::dense(crate::view::Base::Workspace, 0, &tc.shape, Vec::new());
        self.planned_product([&ta, &tb, tc], batch, contract, [&view(a)?, &view(b)?, &c])
    }

    /// The chunk of a strip: its steps on block after block.
    pub(crate) fn strip_chunk(&mut self, block: &IrBlock<Det>, s: &Strip, steps: [&Step; 3]) -> Result<()> {
        let Some(chunk) = self.chunk else { return Err(CodegenError::internal("a strip outside chunks")) };
        let lost = || CodegenError::internal("a strip's product is not what it was");
        let [Step::One(a), Step::Group(g), Step::One(b)] = steps else { return Err(lost()) };
        let (a, b) = (&block.stmts[*a], &block.stmts[*b]);
        let members: Vec<&Stmt<Det>> = g.iter().map(|i| &block.stmts[*i]).collect();
        let mut first = self.product_of(a, &BTreeSet::new()).ok_or_else(lost)?;
        let t = self.alloc_for(a.outs[0]);
        first.c = t.clone();
        self.bind_owned(a.outs[0], t);
        let built = self.built(&members)?;
        let (totals, partials) = self.left_behind(&built.nest, s.axis, s.chunks);
        self.bind_chunked(built.stored, built.sinks, totals)?;
        let mut second = self.product_of(b, &BTreeSet::new()).ok_or_else(lost)?;
        let to = self.alloc_for(b.outs[0]);
        second.c = to.clone();
        let each = (second.sizes[0] * second.sizes[1]) as usize;
        let sums = self.alloc(DType::Float, &[s.chunks, each]);
        self.st.partials.push(Partial {
            op: ReduceOp::Sum,
            dtype: DType::Float,
            from: sums.clone(),
            chunks: s.chunks,
            to: (to.base, to.offset),
            shape: vec![s.chunks, each],
            strides: vec![0, 1],
        });
        self.bind_owned(b.outs[0], to);
        // Sums begin.
        for (sink, v) in built.nest.sinks.iter().zip(&partials) {
            let Some(v) = v else { continue };
            let dt = built.nest.nodes[sink.node].dtype();
            let shape: Vec<usize> =
                built.nest.shape.iter().zip(&sink.strides).map(|(n, x)| if *x == 0 { 1 } else { *n }).collect();
            let at = self.of_chunk(v, shape.iter().product(), dt)?;
            let start = self.identity(sink.op, dt);
            let own = self.at(at, sink.strides.clone());
            self.fill(&own, start, dt, &shape)?;
        }
        let at = self.of_chunk(&sums, each, DType::Float)?;
        let zero = self.fconst(0.0, false);
        let own = self.at(at, vec![1]);
        self.fill(&own, zero, DType::Float, &[each])?;
        // Whole blocks, then what is left, in the last chunk.
        let whole = s.rows / s.block;
        let per = self.iconst(s.each as i64);
        let begin = self.fb.ins().imul(chunk.index, per);
        let end = self.fb.ins().iadd(begin, per);
        let all = self.iconst(whole as i64);
        let past = self.fb.ins().icmp(IntCC::SignedLessThan, end, all);
        let end = self.fb.ins().select(past, end, all);
        let (head, body, after) = (self.fb.create_block(), self.fb.create_block(), self.fb.create_block());
        let i = self.fb.append_block_param(head, types::I64);
        self.fb.ins().jump(head, &[begin.into()]);
        self.fb.switch_to_block(head);
        let more = self.fb.ins().icmp(IntCC::SignedLessThan, i, end);
        self.fb.ins().brif(more, body, &[], after, &[]);
        self.fb.switch_to_block(body);
        self.fb.seal_block(body);
        let by = self.iconst(s.block as i64);
        let row = self.fb.ins().imul(i, by);
        let nest = (&built.nest, built.tiled);
        self.strip_block(s, (&first, &second), nest, (&partials, at), (row, s.block))?;
        let next = self.fb.ins().iadd_imm_s(i, 1);
        self.fb.ins().jump(head, &[next.into()]);
        self.fb.seal_block(head);
        self.fb.switch_to_block(after);
        self.fb.seal_block(after);
        let rest = s.rows % s.block;
        if rest > 0 {
            let (last, done) = (self.fb.create_block(), self.fb.create_block());
            let is_last = self.fb.ins().icmp_imm_s(IntCC::Equal, chunk.index, s.chunks as i64 - 1);
            self.fb.ins().brif(is_last, last, &[], done, &[]);
            self.fb.switch_to_block(last);
            self.fb.seal_block(last);
            let row = self.iconst((whole * s.block) as i64);
            self.strip_block(s, (&first, &second), nest, (&partials, at), (row, rest))?;
            self.fb.ins().jump(done, &[]);
            self.fb.switch_to_block(done);
            self.fb.seal_block(done);
        }
        self.let_go();
        for stmt in std::iter::once(a).chain(members).chain(std::iter::once(b)) {
            self.finished(stmt);
        }
        Ok(())
    }

    fn strip_block(
        &mut self,
        s: &Strip,
        (first, second): (&Product, &Product),
        (nest, tiled): (&super::nest::Nest, bool),
        (partials, sums): (&[Option<View>], Value),
        (row, len): (Value, usize),
    ) -> Result<()> {
        let here = self.iconst(len as i64);
        let [_, n, k] = first.sizes;
        let (c, a, b) =
            (self.row_of(&first.c, n, row)?, self.row_of(&first.a, first.a_strides[0], row)?, self.pointer(&first.b)?);
        let mut call = vec![c, a, b, here];
        let rest = [n, k, first.a_strides[0], first.a_strides[1], first.b_strides[0], first.b_strides[1], 1, 0, 0, 0, 0];
        call.extend(rest.map(|v| self.iconst(v)));
        self.call_kernel(Kernel::Gemm, &call)?;
        self.piece(nest, tiled, s.axis, (row, len), partials, true)?;
        let [m, n, _] = second.sizes;
        let (a, b) = (self.row_of(&second.a, second.a_strides[1], row)?, self.row_of(&second.b, second.b_strides[0], row)?);
        let (m, n) = (self.iconst(m), self.iconst(n));
        let mut call = vec![sums, a, b, m, n, here];
        let rest = [second.a_strides[0], second.a_strides[1], second.b_strides[0], second.b_strides[1], 1, 0, 0, 0, 1];
        call.extend(rest.map(|v| self.iconst(v)));
        self.call_kernel(Kernel::Gemm, &call)
    }

    /// Address of an operand's row.
    fn row_of(&mut self, v: &View, stride: i64, row: Value) -> Result<Value> {
        let base = self.pointer(v)?;
        let by = self.iconst(stride * self.st.size(DType::Float));
        let off = self.fb.ins().imul(row, by);
        Ok(self.fb.ins().iadd(base, off))
    }
}
