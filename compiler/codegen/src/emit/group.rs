//! A group of elementwise statements and reductions of one shape as one loop nest.

use super::kernels::kernel_of;
use super::nest::{Nest, Node, Sink};
use super::tile::overwritable;
use super::{Emitter, Result, lowered_inline};
use crate::CodegenError;
use crate::view::{Base, Loc, View, dense_strides};
use cranelift::prelude::Value;
use ppl_core::{Atom, DType, Det, Op, Stmt, Var};
use std::collections::{HashMap, HashSet};

/// A group that is to be emitted.
pub(super) struct Built {
    pub nest: Nest,
    /// Whether it calls kernels.
    pub tiled: bool,
    /// What later statements read.
    pub stored: Vec<(Var, View)>,
    /// Reductions; full ones have no array.
    pub sinks: Vec<(Var, Option<View>)>,
}

impl Emitter<'_, '_> {
    pub(super) fn group(&mut self, stmts: &[&Stmt<Det>]) -> Result<()> {
        if stmts.is_empty() {
            return Ok(());
        }
        let g = self.built(stmts)?;
        if self.chunk.is_some() {
            let totals = self.chunked(&g.nest, g.tiled)?;
            return self.bind_chunked(g.stored, g.sinks, totals);
        }
        let totals = if g.tiled { self.tiled(g.nest)? } else { self.nest(g.nest)? };
        for (v, view) in g.stored {
            self.bind_owned(v, view);
        }
        for ((v, view), total) in g.sinks.into_iter().zip(totals) {
            match (view, total) {
                (Some(view), _) => self.bind_owned(v, view),
                (None, Some(total)) => self.bind(v, Loc::Scalar(total)),
                (None, None) => return Err(CodegenError::internal("a full reduction without a value")),
            }
        }
        Ok(())
    }

    /// Says where the results of a group in chunks are; `totals` are the places of its full reductions.
    pub(super) fn bind_chunked(
        &mut self,
        stored: Vec<(Var, View)>,
        sinks: Vec<(Var, Option<View>)>,
        totals: Vec<Option<i64>>,
    ) -> Result<()> {
        for (v, view) in stored {
            self.bind_owned(v, view);
        }
        for ((v, view), total) in sinks.into_iter().zip(totals) {
            match (view, total) {
                (Some(view), _) => self.bind_owned(v, view),
                (None, Some(offset)) => self.bind_saved(v, offset),
                (None, None) => return Err(CodegenError::internal("a full reduction without a place")),
            }
        }
        Ok(())
    }

    /// The nest of a group, and memory for its results.
    pub(super) fn built(&mut self, stmts: &[&Stmt<Det>]) -> Result<Built> {
        let func = self.st.func;
        let shape = stmts.first().map(|s| space(func, s)).unwrap_or_default();
        let mut nest = Nest { shape: shape.clone(), ..Nest::default() };
        let mut ids: HashMap<Var, usize> = HashMap::new();
        // Uses inside the group, from the node itself.
        let mut inside: HashMap<Var, u32> = HashMap::new();
        let mut sinks: Vec<(Var, Option<View>)> = Vec::new();
        let mut tiled = false;
        let mut known: HashSet<Var> = HashSet::new();
        for stmt in stmts {
            let [out] = stmt.outs[..] else { return Err(CodegenError::internal("an elementwise statement has several outputs")) };
            match &stmt.op {
                Op::Prim(p, args) if !lowered_inline(*p, args.first().map(|a| func.atom_ty(*a).dtype)) => {
                    let args = args.iter().map(|a| self.node(&mut nest, &mut ids, *a)).collect::<Result<Vec<_>>>()?;
                    let same: Vec<Value> = args
                        .iter()
                        .filter_map(|a| if let Node::Scalar(v, _) = nest.nodes[*a] { Some(v) } else { None })
                        .collect();
                    if same.len() == args.len() {
                        self.splat_kernel(out, kernel_of(*p)?, &same)?;
                        known.insert(out);
                        continue;
                    }
                    tiled = true;
                    nest.nodes.push(Node::Kernel(kernel_of(*p)?, args));
                    ids.insert(out, nest.nodes.len() - 1);
                }
                Op::Prim(p, args) => {
                    let decisive = self.operand_dtype(*p, args)?;
                    let args = args.iter().map(|a| self.node(&mut nest, &mut ids, *a)).collect::<Result<Vec<_>>>()?;
                    let dt = func.ty(out).dtype;
                    nest.nodes.push(Node::Op(*p, args, dt, decisive));
                    ids.insert(out, nest.nodes.len() - 1);
                }
                Op::Reduce { op, x, axes } => {
                    let node = self.node(&mut nest, &mut ids, *x)?;
                    let to = &func.ty(out).shape;
                    let mut dense = dense_strides(to).into_iter();
                    let strides: Vec<i64> =
                        (0..shape.len()).map(|i| if axes.contains(&i) { 0 } else { dense.next().unwrap_or(0) }).collect();
                    let view = if to.is_empty() { None } else { Some(self.alloc_for(out)) };
                    let place = view.as_ref().map(|v| (v.base, v.offset));
                    nest.sinks.push(Sink { op: *op, node, strides, to: place, accumulate: false });
                    sinks.push((out, view));
                }
                _ => return Err(CodegenError::internal("a statement that is not elementwise was put into a loop")),
            }
            for v in ppl_core::op_atoms(&stmt.op).into_iter().filter_map(|a| a.var()) {
                *inside.entry(v).or_default() += 1;
            }
        }
        // What later statements read is written to memory.
        let mut stored: Vec<(Var, View)> = Vec::new();
        for stmt in stmts.iter().filter(|s| matches!(s.op, Op::Prim(..))) {
            for v in stmt.outs.iter().filter(|v| !known.contains(v)) {
                if self.st.remaining[v.index()] > inside.get(v).copied().unwrap_or(0) {
                    let view = match self.taken_over(*v, &nest, &ids, &inside) {
                        Some(view) => {
                            nest.in_place = true;
                            view
                        }
                        None => self.alloc_for(*v),
                    };
                    nest.stores.push((ids[v], view.clone()));
                    stored.push((*v, view));
                }
            }
        }
        Ok(Built { nest, tiled, stored, sinks })
    }

    /// The buffer of an array that this group reads last, element by element, for a result of the same shape and type: what is in the caches stays
    /// there, and the workspace is smaller.
    fn taken_over(&mut self, v: Var, nest: &Nest, ids: &HashMap<Var, usize>, inside: &HashMap<Var, u32>) -> Option<View> {
        let func = self.st.func;
        let ty = func.ty(v);
        if self.st.hints.contains_key(&v) {
            return None;
        }
        let dense = dense_strides(&ty.shape);
        let mut inputs: Vec<(Var, usize)> = ids.iter().map(|(x, i)| (*x, *i)).collect();
        inputs.sort_unstable();
        for (x, id) in inputs {
            let Node::Load(view, dt) = &nest.nodes[id] else { continue };
            let [buf] = view.owners[..] else { continue };
            let last = self.st.owner[x.index()] == self.block
                && self.st.remaining[x.index()] == inside.get(&x).copied().unwrap_or(0)
                && self.st.arena.owners(buf) == 1;
            let whole = view.base == Base::Workspace
                && view.strides == dense
                && *dt == ty.dtype
                && func.ty(x).shape == ty.shape
                && view.offset == self.st.arena.offset(buf);
            let alone =
                nest.nodes.iter().enumerate().all(|(i, n)| i == id || !matches!(n, Node::Load(w, _) if w.owners.contains(&buf)));
            let free = nest.stores.iter().all(|(_, w)| !w.owners.contains(&buf));
            if last && whole && alone && free && overwritable(nest, id, ids[&v]) {
                self.st.arena.retain(buf);
                return Some(view.clone());
            }
        }
        None
    }

    /// The node for an operand.
    fn node(&mut self, nest: &mut Nest, ids: &mut HashMap<Var, usize>, a: Atom) -> Result<usize> {
        if let Some(id) = a.var().and_then(|v| ids.get(&v)) {
            return Ok(*id);
        }
        let ty = self.st.func.atom_ty(a);
        let node = match self.loc(a)? {
            Loc::Scalar(v) | Loc::Splat(v) => Node::Scalar(v, ty.dtype),
            Loc::View(v) => Node::Load(v, ty.dtype),
            Loc::Saved { .. } | Loc::Given(_) => return Err(CodegenError::internal("a saved scalar was not restored")),
        };
        nest.nodes.push(node);
        if let Some(v) = a.var() {
            ids.insert(v, nest.nodes.len() - 1);
        }
        Ok(nest.nodes.len() - 1)
    }

    /// Fills a dense array with one value.
    pub(super) fn fill(&mut self, to: &View, v: Value, dt: DType, shape: &[usize]) -> Result<()> {
        self.copy(to, &Loc::Scalar(v), dt, shape)
    }

    /// A view's element type and shape as another base and offset.
    pub(super) fn at(&mut self, pointer: Value, strides: Vec<i64>) -> View {
        let base: Base = self.dynamic(pointer);
        View { base, offset: 0, strides, owners: Vec::new() }
    }
}

/// The index space of an elementwise statement or reduction.
fn space(func: &ppl_core::Func<Det>, stmt: &Stmt<Det>) -> Vec<usize> {
    match &stmt.op {
        Op::Reduce { x, .. } => func.atom_ty(*x).shape,
        _ => stmt.outs.first().map(|v| func.ty(*v).shape.clone()).unwrap_or_default(),
    }
}
