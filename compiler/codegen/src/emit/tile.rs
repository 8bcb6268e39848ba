//! Loop nests with kernel calls inside: blocks of a few thousand bytes go through all of a group's stages before the next block is begun.
//!
//! A node's stage is the number of kernel calls on the way to it. For each block the elementwise work of stage 0 is a nest
//! of its own, then stage 0's kernels run, then the work of stage 1, and so on. What one stage leaves to a later one stands in a
//! short buffer (or right where the result goes), which stays in the first-level cache.
//!
//! ```text
//!   for block in blocks {  t0 = ops(loads);  t1 = kernel(t0);  t2 = ops(t1, loads);  ..;  results and sums of the block  }
//! ```
//!
//! **Invariant:** blocks are the same for any number of threads, so sums are made in one order.

use super::nest::{Nest, Node, Sink, merge};
use super::{Emitter, Result};
use crate::CodegenError;
use crate::view::{Base, View};
use cranelift::prelude::*;
use ppl_abi::{Family, Kernel};
use ppl_core::{DType, Prim};

/// Bytes that the buffers of a block may take together.
const BLOCK_BYTES: usize = 20 << 10;
/// Elements of a block: at least (where there are as many) and at most.
const BLOCK: std::ops::RangeInclusive<usize> = 128..=1024;

/// Where a node's elements of the present block are.
#[derive(Clone, Copy, PartialEq)]
enum Home {
    /// Read where it is, or computed where it is used.
    None,
    /// In a buffer of the block.
    Slot(usize),
    /// In the array that it is stored to.
    Store(usize),
}

struct Tiled<'n> {
    nest: &'n Nest,
    /// When a node can be used.
    stage: Vec<usize>,
    /// Nodes that another kernel's call gives as well.
    pairs: Vec<Option<(usize, Kernel)>>,
    stages: usize,
    homes: Vec<Home>,
    /// Offsets of the buffers.
    slots: Vec<(Base, i64)>,
    /// Merged index space, and strides in it: of loads, stores and sinks, in this order.
    shape: Vec<usize>,
    tracks: Vec<Vec<i64>>,
    dtypes: Vec<DType>,
    /// Position of each load among the tracks.
    loads: Vec<usize>,
    /// Whether a sum goes on from block to block.
    accumulate: Vec<bool>,
    /// The axis whose range is cut, and the length of a piece. Axes inside it are whole.
    cut: usize,
    piece: usize,
}

type Cursor = (Value, i64);

/// The number of kernel calls on the way to each node.
fn stages(nodes: &[Node]) -> Vec<usize> {
    let mut stage = vec![0; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        stage[i] = match node {
            Node::Load(..) | Node::Scalar(..) => 0,
            Node::Op(_, args, ..) => args.iter().map(|a| stage[*a]).max().unwrap_or(0),
            Node::Kernel(_, args) => 1 + args.iter().map(|a| stage[*a]).max().unwrap_or(0),
        };
    }
    stage
}

/// For each node, the kernel whose call gives it as well, and the one that gives both: a function and its derivative at the same operand.
fn pairs(nodes: &[Node]) -> Vec<Option<(usize, Kernel)>> {
    let mut out = vec![None; nodes.len()];
    let operand = |i: usize, kernel: Kernel| match &nodes[i] {
        Node::Kernel(k, args) if *k == kernel => args.first().copied(),
        _ => None,
    };
    let negated = |i: usize| match &nodes[i] {
        Node::Op(Prim::Neg, args, ..) => args.first().copied(),
        _ => None,
    };
    for i in 0..nodes.len() {
        let Some(x) = operand(i, Kernel::Sigmoid).filter(|x| !matches!(nodes[*x], Node::Scalar(..))) else { continue };
        let first = |kernel: Kernel, x: usize| (0..nodes.len()).find(|k| operand(*k, kernel) == Some(x));
        let found = first(Kernel::Softplus, x)
            .map(|k| (k, Kernel::SoftplusPair))
            .or_else(|| negated(x).and_then(|y| first(Kernel::LogSigmoid, y)).map(|k| (k, Kernel::LogSigmoidPair)));
        // One derivative for each function.
        out[i] = found.filter(|(k, _)| !out.iter().flatten().any(|(other, _)| other == k));
    }
    out
}

/// Whether what `load` reads may be overwritten with `stored`, element by element: in the stage that computes it, no earlier, and by a node
/// that is no kernel, nothing reads it any more.
pub(super) fn overwritable(nest: &Nest, load: usize, stored: usize) -> bool {
    let stage = stages(&nest.nodes);
    let at = stage[stored];
    let early = nest.nodes.iter().enumerate().all(|(i, n)| match n {
        Node::Op(_, args, ..) => !args.contains(&load) || stage[i] <= at,
        // Arguments are read at the end of the stage before the kernel's own.
        Node::Kernel(_, args) => !args.contains(&load) || stage[i] - 1 < at,
        Node::Load(..) | Node::Scalar(..) => true,
    });
    let summed = nest.sinks.iter().all(|s| s.node != load);
    early && summed && matches!(nest.nodes[stored], Node::Op(..)) && nest.stores.iter().all(|(n, _)| *n != stored)
}

impl Emitter<'_, '_> {
    /// Emits a nest with kernel nodes; the values of its full reductions, by sink.
    pub(super) fn tiled(&mut self, mut nest: Nest) -> Result<Vec<Option<Value>>> {
        if nest.shape.contains(&0) {
            return self.nest(Nest { nodes: nest.nodes, shape: nest.shape, sinks: nest.sinks, ..Nest::default() });
        }
        // Full reductions end in memory as well.
        let mut totals = Vec::new();
        for s in &mut nest.sinks {
            let place = s.to.is_none().then(|| self.alloc(DType::Float, &[]));
            if let Some(p) = &place {
                s.to = Some((p.base, p.offset));
            }
            totals.push(place);
        }
        let mut t = self.layout(&nest);
        let slot_views: Vec<View> =
            (0..t.slots.len()).map(|_| self.alloc_local(DType::Float, t.elements())).collect::<Result<_>>()?;
        t.slots = slot_views.iter().map(|v| (v.base, v.offset)).collect();
        for (s, _) in nest.sinks.iter().zip(&t.accumulate).filter(|(_, a)| **a) {
            let Some((base, offset)) = s.to else { continue };
            let dt = nest.nodes[s.node].dtype();
            let start = self.identity(s.op, dt);
            let view = View { base, offset, strides: s.strides.clone(), owners: Vec::new() };
            let shape: Vec<usize> = nest.shape.iter().zip(&s.strides).map(|(n, x)| if *x == 0 { 1 } else { *n }).collect();
            self.fill(&view, start, dt, &shape)?;
        }
        let mut cursors: Vec<Cursor> = Vec::new();
        for node in &nest.nodes {
            if let Node::Load(v, _) = node {
                cursors.push((self.base(v.base)?, v.offset));
            }
        }
        for (_, v) in &nest.stores {
            cursors.push((self.base(v.base)?, v.offset));
        }
        for s in &nest.sinks {
            let Some((base, offset)) = s.to else { return Err(CodegenError::internal("a reduction without a place")) };
            cursors.push((self.base(base)?, offset));
        }
        self.tile_level(&t, 0, &cursors)?;
        if self.chunk.is_some() {
            // Another worker may be in the other piece of code, whose buffers lie elsewhere.
            self.st.held.extend(slot_views);
        } else {
            slot_views.into_iter().for_each(|v| self.free(v));
        }
        let mut out = Vec::new();
        for (s, place) in nest.sinks.iter().zip(totals) {
            out.push(match place {
                Some(v) => {
                    let p = self.base(v.base)?;
                    let x = self.load(nest.nodes[s.node].dtype(), p, v.offset);
                    self.free(v);
                    Some(x)
                }
                None => None,
            });
        }
        Ok(out)
    }

    /// Stages, homes and blocks.
    fn layout<'n>(&self, nest: &'n Nest) -> Tiled<'n> {
        let nodes = &nest.nodes;
        let stage = stages(nodes);
        let pairs = pairs(nodes);
        // The stage that uses a node last: a kernel's arguments are used in the stage before its own.
        let mut last = stage.clone();
        let mut to_kernel = vec![false; nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            match node {
                Node::Op(_, args, ..) => args.iter().for_each(|a| last[*a] = last[*a].max(stage[i])),
                Node::Kernel(..) if pairs[i].is_some() => {}
                Node::Kernel(_, args) => {
                    for a in args {
                        last[*a] = last[*a].max(stage[i] - 1);
                        to_kernel[*a] = true;
                    }
                }
                Node::Load(..) | Node::Scalar(..) => {}
            }
        }
        let stages = stage.iter().max().map_or(1, |s| s + 1);
        let mut tracks: Vec<&[i64]> = Vec::new();
        let (mut dtypes, mut loads) = (Vec::new(), vec![0; nodes.len()]);
        for (i, node) in nodes.iter().enumerate() {
            if let Node::Load(v, dt) = node {
                loads[i] = tracks.len();
                tracks.push(&v.strides);
                dtypes.push(*dt);
            }
        }
        for (node, v) in &nest.stores {
            tracks.push(&v.strides);
            dtypes.push(nodes[*node].dtype());
        }
        for s in &nest.sinks {
            tracks.push(&s.strides);
            dtypes.push(nodes[s.node].dtype());
        }
        let (shape, tracks) = merge(&nest.shape, &tracks);
        let mut t = Tiled {
            nest,
            stage,
            pairs,
            stages,
            homes: vec![Home::None; nodes.len()],
            slots: Vec::new(),
            shape,
            tracks,
            dtypes,
            loads,
            accumulate: Vec::new(),
            cut: 0,
            piece: 0,
        };
        self.cut(&mut t, 1);
        // Homes, and how many buffers are needed at once; buffers are free after the last stage that reads them.
        let mut used: Vec<usize> = Vec::new();
        for s in 0..stages {
            for (i, node) in nodes.iter().enumerate() {
                let home = match node {
                    Node::Scalar(..) => continue,
                    // Kernels read an array as it is, where it is dense.
                    Node::Load(..) => s == 0 && to_kernel[i] && !t.readable(i),
                    Node::Op(..) => t.stage[i] == s && (to_kernel[i] || last[i] > s),
                    Node::Kernel(..) => t.stage[i] == s + 1,
                };
                if !home {
                    continue;
                }
                let stored = nest.stores.iter().position(|(n, _)| *n == i).filter(|k| t.dense(t.store_track(*k)));
                t.homes[i] = match stored {
                    Some(k) => Home::Store(k),
                    None => {
                        let k = used.iter().position(|until| *until < s).unwrap_or(used.len());
                        if k == used.len() {
                            used.push(0);
                        }
                        used[k] = last[i].max(s);
                        Home::Slot(k)
                    }
                };
            }
        }
        t.slots = vec![(Base::Workspace, 0); used.len()];
        // Shorter blocks leave dense what is dense.
        self.cut(&mut t, used.len());
        t.accumulate = (0..nest.sinks.len())
            .map(|k| {
                let strides = &t.tracks[t.sink_track(k)];
                (0..=t.cut).any(|a| strides[a] == 0 && (if a == t.cut { t.piece < t.shape[a] } else { t.shape[a] > 1 }))
            })
            .collect();
        t
    }

    /// Chooses the axis to cut, and the length of pieces, for blocks with `slots` buffers.
    fn cut(&self, t: &mut Tiled<'_>, slots: usize) {
        let size = self.st.size(DType::Float) as usize;
        let most = (BLOCK_BYTES / (size * slots.max(1))).clamp(*BLOCK.start(), *BLOCK.end());
        let last = t.shape.len() - 1;
        t.cut = last;
        // Short rows are taken together.
        let mut inside = 1;
        while t.cut > 0 && inside * t.shape[t.cut] * 2 <= most {
            inside *= t.shape[t.cut];
            t.cut -= 1;
        }
        let n = t.shape[t.cut];
        let want = (most / inside).max(1);
        let pieces = n.div_ceil(want);
        let even = n.div_ceil(pieces);
        t.piece = if t.cut == last && pieces > 1 { even.next_multiple_of(16).min(n) } else { even };
    }

    /// The loops outside blocks.
    fn tile_level(&mut self, t: &Tiled<'_>, axis: usize, cursors: &[Cursor]) -> Result<()> {
        let n = t.shape[axis];
        let step = |e: &Self, k: usize, by: usize| t.tracks[k][axis] * by as i64 * e.st.size(t.dtypes[k]);
        let moved = |e: &mut Self, i: Value, from: usize, by: usize| -> Vec<Cursor> {
            let mut out = Vec::with_capacity(cursors.len());
            for (k, c) in cursors.iter().enumerate() {
                let (stride, first) = (step(e, k, by), step(e, k, from));
                let base = if stride == 0 {
                    c.0
                } else {
                    let by = e.iconst(stride);
                    let off = e.fb.ins().imul(i, by);
                    e.fb.ins().iadd(c.0, off)
                };
                out.push((base, c.1 + first));
            }
            out
        };
        if axis < t.cut {
            if n == 1 {
                return self.tile_level(t, axis + 1, cursors);
            }
            return self.repeat(n as i64, 1, &mut |e, i| {
                let next = moved(e, i, 0, 1);
                e.tile_level(t, axis + 1, &next)
            });
        }
        let (whole, rest) = (n / t.piece, n % t.piece);
        match whole {
            1 => self.block(t, t.piece, cursors)?,
            _ => self.repeat(whole as i64, 1, &mut |e, i| {
                let next = moved(e, i, 0, t.piece);
                e.block(t, t.piece, &next)
            })?,
        }
        if rest > 0 {
            let next: Vec<Cursor> =
                cursors.iter().enumerate().map(|(k, c)| (c.0, c.1 + step(self, k, whole * t.piece))).collect();
            self.block(t, rest, &next)?;
        }
        Ok(())
    }

    /// One block, whose cut axis has `len` elements.
    fn block(&mut self, t: &Tiled<'_>, len: usize, cursors: &[Cursor]) -> Result<()> {
        let mut shape = t.shape[t.cut..].to_vec();
        shape[0] = len;
        let views: Vec<View> = cursors
            .iter()
            .zip(&t.tracks)
            .map(|(c, strides)| {
                let v = self.at(c.0, strides[t.cut..].to_vec());
                View { offset: c.1, ..v }
            })
            .collect();
        let home = |i: usize| -> Option<View> {
            match t.homes[i] {
                Home::None => None,
                Home::Slot(k) => Some(View::dense(t.slots[k].0, t.slots[k].1, &shape, Vec::new())),
                Home::Store(k) => Some(views[t.store_track(k)].clone()),
            }
        };
        for s in 0..t.stages {
            let mut seg = Nest { shape: shape.clone(), in_place: t.nest.in_place, ..Nest::default() };
            let mut ids: Vec<Option<usize>> = vec![None; t.nest.nodes.len()];
            let mut want: Vec<usize> = Vec::new();
            for (i, node) in t.nest.nodes.iter().enumerate() {
                let here = match node {
                    Node::Op(..) => t.stage[i] == s,
                    Node::Load(..) => s == 0 && t.homes[i] != Home::None,
                    Node::Scalar(..) | Node::Kernel(..) => false,
                };
                if !here {
                    continue;
                }
                let id = self.tile_node(t, s, i, &mut seg, &mut ids, &views, &home);
                if let Some(v) = home(i) {
                    seg.stores.push((id, v));
                }
            }
            for (k, (i, _)) in t.nest.stores.iter().enumerate() {
                let here = t.ready(*i) == s && t.homes[*i] != Home::Store(k);
                if here {
                    want.push(*i);
                    let id = self.tile_node(t, s, *i, &mut seg, &mut ids, &views, &home);
                    seg.stores.push((id, views[t.store_track(k)].clone()));
                }
            }
            for (k, sink) in t.nest.sinks.iter().enumerate() {
                if t.ready(sink.node) == s {
                    let id = self.tile_node(t, s, sink.node, &mut seg, &mut ids, &views, &home);
                    let v = &views[t.sink_track(k)];
                    let (op, strides, to) = (sink.op, v.strides.clone(), Some((v.base, v.offset)));
                    seg.sinks.push(Sink { op, node: id, strides, to, accumulate: t.accumulate[k] });
                }
            }
            if !seg.stores.is_empty() || !seg.sinks.is_empty() {
                self.nest(seg)?;
            }
            for (i, node) in t.nest.nodes.iter().enumerate() {
                let Node::Kernel(kernel, args) = node else { continue };
                if t.stage[i] != s + 1 || t.pairs[i].is_some() {
                    continue;
                }
                let mut to = vec![i];
                let mut kernel = *kernel;
                for (j, p) in t.pairs.iter().enumerate() {
                    if let Some((k, both)) = p
                        && *k == i
                    {
                        to.push(j);
                        kernel = *both;
                    }
                }
                let to: Option<Vec<View>> = to.into_iter().map(&home).collect();
                let Some(to) = to else { return Err(CodegenError::internal("a kernel's result has no place")) };
                self.tile_kernel(t, kernel, &to, args, &shape, &views, &home)?;
            }
        }
        Ok(())
    }

    /// The number in `seg` of a node of the whole nest.
    #[expect(clippy::too_many_arguments, reason = "private, and each is a plain part of the block")]
    fn tile_node(
        &self,
        t: &Tiled<'_>,
        s: usize,
        i: usize,
        seg: &mut Nest,
        ids: &mut [Option<usize>],
        views: &[View],
        home: &dyn Fn(usize) -> Option<View>,
    ) -> usize {
        if let Some(id) = ids[i] {
            return id;
        }
        let node = match &t.nest.nodes[i] {
            Node::Scalar(v, dt) => Node::Scalar(*v, *dt),
            Node::Load(_, dt) => Node::Load(views[t.loads[i]].clone(), *dt),
            // Computed in an earlier stage: read back.
            n if t.stage[i] < s || matches!(n, Node::Kernel(..)) => match home(i) {
                Some(v) => Node::Load(v, n.dtype()),
                None => Node::Load(View::dense(Base::Workspace, 0, &[], Vec::new()), n.dtype()),
            },
            Node::Op(p, args, dt, decisive) => {
                let args = args.iter().map(|a| self.tile_node(t, s, *a, seg, ids, views, home)).collect();
                Node::Op(*p, args, *dt, *decisive)
            }
            Node::Kernel(k, args) => Node::Kernel(*k, args.clone()),
        };
        seg.nodes.push(node);
        ids[i] = Some(seg.nodes.len() - 1);
        seg.nodes.len() - 1
    }

    #[expect(clippy::too_many_arguments, reason = "private, and each is a plain part of the block")]
    fn tile_kernel(
        &mut self,
        t: &Tiled<'_>,
        kernel: Kernel,
        to: &[View],
        args: &[usize],
        shape: &[usize],
        views: &[View],
        home: &dyn Fn(usize) -> Option<View>,
    ) -> Result<()> {
        let unary = matches!(kernel.family(), Family::Unary | Family::Pair);
        let mut call = to.iter().map(|v| self.pointer(v)).collect::<Result<Vec<_>>>()?;
        for (k, a) in args.iter().enumerate() {
            let stride = match (&t.nest.nodes[*a], home(*a)) {
                (Node::Scalar(v, _), _) => {
                    call.push(self.scratch_scalar(k, *v));
                    0
                }
                (_, Some(v)) => {
                    call.push(self.pointer(&v)?);
                    1
                }
                (Node::Load(..), None) => {
                    let v = &views[t.loads[*a]];
                    call.push(self.pointer(v)?);
                    i64::from(!v.is_constant(shape) || shape.iter().all(|n| *n == 1))
                }
                _ => return Err(CodegenError::internal("a kernel's operand has no place")),
            };
            if !unary {
                call.push(self.iconst(stride));
            }
        }
        call.push(self.iconst(shape.iter().product::<usize>() as i64));
        self.call_kernel(kernel, &call)
    }
}

impl Tiled<'_> {
    /// Elements of a block.
    fn elements(&self) -> usize {
        self.piece * self.shape[self.cut + 1..].iter().product::<usize>()
    }

    fn store_track(&self, k: usize) -> usize {
        self.nest.nodes.iter().filter(|n| matches!(n, Node::Load(..))).count() + k
    }

    fn sink_track(&self, k: usize) -> usize {
        self.store_track(self.nest.stores.len()) + k
    }

    /// The stage in which a node can be stored or summed.
    fn ready(&self, i: usize) -> usize {
        self.stage[i]
    }

    /// Whether an array's elements of a block are neighbours.
    fn dense(&self, track: usize) -> bool {
        let mut reach = 1;
        (self.cut..self.shape.len()).rev().all(|a| {
            let fits = self.shape[a] == 1 || self.tracks[track][a] == reach;
            reach *= self.shape[a] as i64;
            fits
        })
    }

    /// Whether kernels can read a loaded array in place: dense, or one number (of which a unary kernel makes an array all the same).
    fn readable(&self, node: usize) -> bool {
        let track = self.loads[node];
        let constant = (self.cut..self.shape.len()).all(|a| self.shape[a] == 1 || self.tracks[track][a] == 0);
        let unary = self
            .nest
            .nodes
            .iter()
            .any(|n| matches!(n, Node::Kernel(k, args) if k.family() == Family::Unary && args.contains(&node)));
        self.dense(track) || constant && !unary
    }
}
