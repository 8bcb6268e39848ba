//! Loop nests: the one way in which elementwise work, copies, reductions and small products become instructions.
//!
//! A nest is a small dataflow graph evaluated at each point of an index space. Axes are merged where every operand permits; the
//! innermost axis is a loop over 128-bit vectors (unrolled when the body is short), and a scalar remainder, or one vector that
//! overlaps the last where nothing is accumulated. Loop-invariant operands are loaded and repeated before the loop.
//! Sums and the like that end with the innermost axes are kept in registers, one for each unrolled copy, and combined
//! in a fixed order; others are added up in memory.

use super::{Emitter, Result};
use crate::CodegenError;
use crate::view::{Base, Loc, View};
use cranelift::prelude::*;
use ppl_abi::Kernel;
use ppl_core::{DType, Prim, ReduceOp};
use std::collections::HashMap;

/// A value of the graph; operands have smaller numbers.
pub(super) enum Node {
    /// An element of an array; strides are those of the index space.
    Load(View, DType),
    /// A loop-invariant scalar.
    Scalar(Value, DType),
    /// A primitive; the type is its result's, and the second one decides how it computes.
    Op(Prim, Vec<usize>, DType, DType),
    /// A kernel on reals, in nests that [`Emitter::tiled`] takes apart.
    Kernel(Kernel, Vec<usize>),
}

/// A reduction over some axes of the index space.
pub(super) struct Sink {
    pub op: ReduceOp,
    pub node: usize,
    /// Strides of the result in the index space: 0 for each reduced axis (of more than one element).
    pub strides: Vec<i64>,
    /// Where the result goes; `None` for a full reduction to a scalar.
    pub to: Option<(Base, i64)>,
    /// Whether what is there already is the beginning.
    pub accumulate: bool,
}

/// A loop nest.
#[derive(Default)]
pub(super) struct Nest {
    pub shape: Vec<usize>,
    pub nodes: Vec<Node>,
    /// What is written to arrays.
    pub stores: Vec<(usize, View)>,
    pub sinks: Vec<Sink>,
    /// Whether a store replaces what a load reads, so that no element may be computed twice.
    pub in_place: bool,
}

/// An array as the loops see it: strides in bytes, by merged axis.
struct Track {
    strides: Vec<i64>,
    dtype: DType,
}

/// A running address: register and displacement.
type Cursor = (Value, i64);

struct Accumulators {
    vectors: Vec<Variable>,
    scalars: Vec<Variable>,
}

/// A nest after planning.
struct Plan {
    nodes: Vec<Node>,
    shape: Vec<usize>,
    tracks: Vec<Track>,
    /// Track of each load, in the order of nodes.
    loads: HashMap<usize, usize>,
    /// `(node, track)`.
    stores: Vec<(usize, usize)>,
    sinks: Vec<PlannedSink>,
    vector: bool,
    unroll: usize,
    flat: bool,
    /// Instructions of one body, roughly.
    cost: usize,
    in_place: bool,
}

struct PlannedSink {
    op: ReduceOp,
    node: usize,
    dtype: DType,
    track: Option<usize>,
    /// Axes from here on are reduced.
    from: usize,
    /// Whether an earlier axis is reduced, so that the result is added up in memory.
    in_memory: bool,
    acc: Option<Accumulators>,
    total: Option<Value>,
}

/// Bodies are repeated without a loop up to this many instructions.
const FLAT: usize = 48;

impl Node {
    pub(super) fn dtype(&self) -> DType {
        match self {
            Node::Load(_, d) | Node::Scalar(_, d) | Node::Op(_, _, d, _) => *d,
            Node::Kernel(..) => DType::Float,
        }
    }
}

/// The primitive that combines two partial results.
pub(super) fn combiner(op: ReduceOp) -> Prim {
    match op {
        ReduceOp::Sum => Prim::Add,
        ReduceOp::Prod => Prim::Mul,
        ReduceOp::Max => Prim::Max,
        ReduceOp::Min => Prim::Min,
        ReduceOp::All => Prim::And,
        ReduceOp::Any => Prim::Or,
    }
}

impl Emitter<'_, '_> {
    /// The result for no elements.
    pub(super) fn identity(&mut self, op: ReduceOp, dt: DType) -> Value {
        let float = match op {
            ReduceOp::Sum | ReduceOp::Any => 0.0,
            ReduceOp::Prod | ReduceOp::All => 1.0,
            ReduceOp::Max => f64::NEG_INFINITY,
            ReduceOp::Min => f64::INFINITY,
        };
        match dt {
            DType::Float => self.fconst(float, false),
            // Saturates: the largest and smallest integers stand for the infinities.
            DType::Int => self.iconst(float as i64),
            DType::Bool => {
                self.fb.ins().iconst(types::I8, i64::from(matches!(op, ReduceOp::All | ReduceOp::Prod | ReduceOp::Min)))
            }
        }
    }

    /// `to = from`, elementwise.
    pub(super) fn copy(&mut self, to: &View, from: &Loc, dt: DType, shape: &[usize]) -> Result<()> {
        let node = match from {
            Loc::Scalar(v) | Loc::Splat(v) => Node::Scalar(*v, dt),
            Loc::View(v) => Node::Load(v.clone(), dt),
            Loc::Saved { .. } | Loc::Given(_) => return Err(CodegenError::internal("a saved scalar was not restored")),
        };
        self.nest(Nest { shape: shape.to_vec(), nodes: vec![node], stores: vec![(0, to.clone())], ..Nest::default() })?;
        Ok(())
    }

    /// Emits a nest; the values of its full reductions, by sink.
    pub(super) fn nest(&mut self, nest: Nest) -> Result<Vec<Option<Value>>> {
        self.prefill(&nest)?;
        if nest.shape.contains(&0) {
            let mut out = Vec::new();
            for s in &nest.sinks {
                let dt = nest.nodes[s.node].dtype();
                out.push(if s.to.is_none() { Some(self.identity(s.op, dt)) } else { None });
            }
            return Ok(out);
        }
        let (mut plan, cursors) = self.plan(nest)?;
        self.level(&mut plan, 0, &cursors)?;
        Ok(plan.sinks.iter().map(|s| s.total).collect())
    }

    /// Gives results that are added up in memory their first value.
    fn prefill(&mut self, nest: &Nest) -> Result<()> {
        for s in &nest.sinks {
            let Some((base, offset)) = s.to else { continue };
            let kept = s.strides.iter().rposition(|x| *x != 0).map_or(0, |i| i + 1);
            let early = (0..kept).any(|i| s.strides[i] == 0 && nest.shape[i] != 1);
            if s.accumulate || !early && !nest.shape.contains(&0) {
                continue;
            }
            let dt = nest.nodes[s.node].dtype();
            let zero = self.identity(s.op, dt);
            let view = View { base, offset, strides: s.strides.clone(), owners: Vec::new() };
            let shape: Vec<usize> = nest.shape.iter().zip(&s.strides).map(|(n, x)| if *x == 0 { 1 } else { *n }).collect();
            self.copy(&view, &Loc::Scalar(zero), dt, &shape)?;
        }
        Ok(())
    }

    fn plan(&mut self, nest: Nest) -> Result<(Plan, Vec<Cursor>)> {
        let mut tracks: Vec<(Vec<i64>, DType)> = Vec::new();
        let mut cursors: Vec<Cursor> = Vec::new();
        let mut loads = HashMap::new();
        let mut stores = Vec::new();
        for (i, node) in nest.nodes.iter().enumerate() {
            if let Node::Load(v, dt) = node {
                loads.insert(i, tracks.len());
                tracks.push((v.strides.clone(), *dt));
                cursors.push((self.base(v.base)?, v.offset));
            }
        }
        for (node, v) in &nest.stores {
            stores.push((*node, tracks.len()));
            tracks.push((v.strides.clone(), nest.nodes[*node].dtype()));
            cursors.push((self.base(v.base)?, v.offset));
        }
        let mut sink_tracks = Vec::new();
        for s in &nest.sinks {
            sink_tracks.push(tracks.len());
            tracks.push((s.strides.clone(), nest.nodes[s.node].dtype()));
            cursors.push(match s.to {
                Some((base, offset)) => (self.base(base)?, offset),
                None => (self.workspace, 0),
            });
        }
        let (shape, merged) = merge(&nest.shape, &tracks.iter().map(|t| &t.0[..]).collect::<Vec<_>>());
        let tracks: Vec<Track> = tracks
            .into_iter()
            .zip(merged)
            .map(|((_, dtype), s)| Track { strides: s.into_iter().map(|x| x * self.st.size(dtype)).collect(), dtype })
            .collect();
        let last = shape.len() - 1;
        let n = shape[last];
        let mut sinks = Vec::new();
        for (s, t) in nest.sinks.iter().zip(sink_tracks) {
            let strides = &tracks[t].strides;
            let from = strides.iter().rposition(|x| *x != 0).map_or(0, |i| i + 1);
            let in_memory = s.accumulate || strides[..from].contains(&0);
            let dtype = tracks[t].dtype;
            let track = s.to.map(|_| t);
            sinks.push(PlannedSink { op: s.op, node: s.node, dtype, track, from, in_memory, acc: None, total: None });
        }
        let unit = |t: usize| tracks[t].strides[last] == self.st.size(tracks[t].dtype);
        let vector = nest.nodes.iter().all(|x| x.dtype() != DType::Int && !matches!(x, Node::Op(_, _, _, DType::Int)))
            && n >= self.lanes
            && stores.iter().all(|(_, t)| unit(*t))
            && sinks.iter().all(|s| s.from <= last || s.track.is_some_and(unit));
        let cost = nest.nodes.iter().filter(|x| !matches!(x, Node::Scalar(..))).count() + stores.len() + sinks.len();
        let bodies: usize = shape[..last].iter().product::<usize>() * if vector { n / self.lanes + n % self.lanes } else { n };
        let flat = bodies.saturating_mul(cost) <= FLAT;
        let wish = match cost {
            0..=7 => 4,
            8..=16 => 2,
            _ => 1,
        };
        let trips = if vector { n / self.lanes } else { n };
        let unroll = if flat { trips.clamp(1, 4) } else { (1..=wish).rev().find(|u| trips >= 2 * u).unwrap_or(1) };
        let in_place = nest.in_place;
        Ok((Plan { nodes: nest.nodes, in_place, shape, tracks, loads, stores, sinks, vector, unroll, flat, cost }, cursors))
    }

    /// The loop over one axis and all inside it.
    fn level(&mut self, plan: &mut Plan, axis: usize, cursors: &[Cursor]) -> Result<()> {
        for i in 0..plan.sinks.len() {
            if plan.sinks[i].from == axis {
                self.begin_sink(plan, i);
            }
        }
        let last = plan.shape.len() - 1;
        if axis == last {
            self.inner(plan, cursors)?;
        } else {
            let n = plan.shape[axis] as i64;
            if plan.flat || n == 1 {
                for k in 0..n {
                    let next: Vec<Cursor> =
                        cursors.iter().zip(&plan.tracks).map(|(c, t)| (c.0, c.1 + k * t.strides[axis])).collect();
                    self.level(plan, axis + 1, &next)?;
                }
            } else {
                self.repeat(n, 1, &mut |e, i| {
                    let mut memo: HashMap<(Value, i64), Value> = HashMap::new();
                    let next: Vec<Cursor> = cursors
                        .iter()
                        .zip(&plan.tracks)
                        .map(|(c, t)| (e.advance(&mut memo, c.0, i, t.strides[axis]), c.1))
                        .collect();
                    e.level(plan, axis + 1, &next)
                })?;
            }
        }
        for i in 0..plan.sinks.len() {
            if plan.sinks[i].from == axis {
                self.end_sink(plan, i, cursors)?;
            }
        }
        Ok(())
    }

    /// `base + i * stride`, computed once for each base and stride.
    fn advance(&mut self, memo: &mut HashMap<(Value, i64), Value>, base: Value, i: Value, stride: i64) -> Value {
        if stride == 0 {
            return base;
        }
        if let Some(v) = memo.get(&(base, stride)) {
            return *v;
        }
        let off = if stride == 1 {
            i
        } else if stride > 0 && stride.count_ones() == 1 {
            let k = self.iconst(i64::from(stride.trailing_zeros()));
            self.fb.ins().ishl(i, k)
        } else {
            let k = self.iconst(stride);
            self.fb.ins().imul(i, k)
        };
        let v = self.fb.ins().iadd(base, off);
        memo.insert((base, stride), v);
        v
    }

    /// Runs `body` for `0, step, 2 step, ..` below `n`, a positive multiple of `step`.
    pub(super) fn repeat(&mut self, n: i64, step: i64, body: &mut dyn FnMut(&mut Self, Value) -> Result<()>) -> Result<()> {
        let (inside, after) = (self.fb.create_block(), self.fb.create_block());
        let i = self.fb.append_block_param(inside, types::I64);
        let zero = self.iconst(0);
        self.fb.ins().jump(inside, &[zero.into()]);
        self.fb.switch_to_block(inside);
        body(self, i)?;
        let by = self.iconst(step);
        let next = self.fb.ins().iadd(i, by);
        let end = self.iconst(n);
        let more = self.fb.ins().icmp(IntCC::UnsignedLessThan, next, end);
        self.fb.ins().brif(more, inside, &[next.into()], after, &[]);
        self.fb.seal_block(inside);
        self.fb.switch_to_block(after);
        self.fb.seal_block(after);
        Ok(())
    }

    fn begin_sink(&mut self, plan: &mut Plan, i: usize) {
        let (vector, unroll) = (plan.vector, plan.unroll);
        let s = &mut plan.sinks[i];
        let (scalar_type, vector_type) =
            (self.scalar_type(s.dtype), if s.dtype == DType::Bool { self.mask } else { self.vector });
        let acc = s.acc.get_or_insert_with(|| Accumulators {
            vectors: (0..if vector { unroll } else { 0 }).map(|_| self.fb.declare_var(vector_type)).collect(),
            scalars: (0..if vector { 1 } else { unroll }).map(|_| self.fb.declare_var(scalar_type)).collect(),
        });
        let (vectors, scalars) = (acc.vectors.clone(), acc.scalars.clone());
        let (op, dt) = (s.op, s.dtype);
        let start = self.identity(op, dt);
        for v in scalars {
            self.fb.def_var(v, start);
        }
        if !vectors.is_empty() {
            let start = self.splat(start, dt);
            for v in vectors {
                self.fb.def_var(v, start);
            }
        }
    }

    fn end_sink(&mut self, plan: &mut Plan, i: usize, cursors: &[Cursor]) -> Result<()> {
        let s = &plan.sinks[i];
        let (p, dt, tail) = (combiner(s.op), s.dtype, !plan.shape[plan.shape.len() - 1].is_multiple_of(self.lanes));
        let Some(acc) = &s.acc else { return Ok(()) };
        let mut parts: Vec<Value> = Vec::new();
        let mut vectors: Vec<Value> = acc.vectors.iter().map(|v| self.fb.use_var(*v)).collect();
        while vectors.len() > 1 {
            vectors = self.pairwise(p, &vectors, dt, true)?;
        }
        if let Some(v) = vectors.first() {
            parts.extend((0..self.lanes).map(|l| self.lane(*v, l, dt)));
        }
        if vectors.is_empty() || tail {
            parts.extend(acc.scalars.iter().map(|v| self.fb.use_var(*v)));
        }
        while parts.len() > 1 {
            parts = self.pairwise(p, &parts, dt, false)?;
        }
        let Some(mut total) = parts.first().copied() else {
            return Err(CodegenError::internal("a reduction without accumulators"));
        };
        match s.track {
            None => {}
            Some(t) => {
                let (base, disp) = cursors[t];
                if s.in_memory {
                    let old = self.load(dt, base, disp);
                    total = self.prim(p, &[old, total], dt, false)?;
                }
                self.store(total, base, disp);
            }
        }
        plan.sinks[i].total = Some(total);
        Ok(())
    }

    fn pairwise(&mut self, p: Prim, xs: &[Value], dt: DType, vec: bool) -> Result<Vec<Value>> {
        xs.chunks(2)
            .map(|c| match c {
                [a, b] => self.prim(p, &[*a, *b], dt, vec),
                _ => Ok(c[0]),
            })
            .collect()
    }

    /// The innermost axis.
    fn inner(&mut self, plan: &Plan, cursors: &[Cursor]) -> Result<()> {
        let last = plan.shape.len() - 1;
        let n = plan.shape[last];
        let width = if plan.vector { self.lanes } else { 1 };
        // Invariant operands, as scalars and repeated.
        let mut fixed: Vec<Option<(Value, Option<Value>)>> = Vec::new();
        for (i, node) in plan.nodes.iter().enumerate() {
            let scalar = match node {
                Node::Scalar(v, _) => Some(*v),
                Node::Load(_, dt) => {
                    let t = plan.loads[&i];
                    (plan.tracks[t].strides[last] == 0).then(|| self.load(*dt, cursors[t].0, cursors[t].1))
                }
                Node::Op(..) | Node::Kernel(..) => None,
            };
            fixed.push(scalar.map(|s| (s, plan.vector.then(|| self.splat(s, node.dtype())))));
        }
        let block = width * plan.unroll;
        let trips = n / block;
        let main = trips * block;
        if trips == 1 || plan.flat {
            for start in (0..main).step_by(block) {
                for u in 0..plan.unroll {
                    self.body(plan, cursors, &fixed, plan.vector, None, start + u * width, u)?;
                }
            }
        } else if trips > 1 {
            self.repeat(main as i64, block as i64, &mut |e, i| {
                for u in 0..plan.unroll {
                    e.body(plan, cursors, &fixed, plan.vector, Some(i), u * width, u)?;
                }
                Ok(())
            })?;
        }
        // Whole vectors that do not fill an unrolled block.
        let vectors = (n - main) / width;
        for k in 0..vectors {
            self.body(plan, cursors, &fixed, plan.vector, None, main + k * width, k % plan.unroll)?;
        }
        let done = main + vectors * width;
        let rest = n - done;
        if rest == 0 {
            return Ok(());
        }
        if plan.sinks.is_empty() && plan.vector && !plan.in_place {
            return self.body(plan, cursors, &fixed, true, None, n - width, 0);
        }
        if rest == 1 || rest * plan.cost <= FLAT {
            for k in done..n {
                self.body(plan, cursors, &fixed, false, None, k, 0)?;
            }
            return Ok(());
        }
        self.repeat(rest as i64, 1, &mut |e, i| e.body(plan, cursors, &fixed, false, Some(i), done, 0))
    }

    /// The graph at element `index + at` of the innermost axis; one element or a vector of them.
    #[expect(clippy::too_many_arguments, reason = "private, and each is a plain part of the position")]
    fn body(
        &mut self,
        plan: &Plan,
        cursors: &[Cursor],
        fixed: &[Option<(Value, Option<Value>)>],
        vec: bool,
        index: Option<Value>,
        at: usize,
        copy: usize,
    ) -> Result<()> {
        let last = plan.shape.len() - 1;
        let mut memo: HashMap<(Value, i64), Value> = HashMap::new();
        let mut place = |e: &mut Self, t: usize| -> Cursor {
            let stride = plan.tracks[t].strides[last];
            let base = match index {
                Some(i) => e.advance(&mut memo, cursors[t].0, i, stride),
                None => cursors[t].0,
            };
            (base, cursors[t].1 + at as i64 * stride)
        };
        let mut values: Vec<Value> = Vec::with_capacity(plan.nodes.len());
        for (i, node) in plan.nodes.iter().enumerate() {
            if let Some((scalar, repeated)) = fixed[i] {
                values.push(if vec { repeated.unwrap_or(scalar) } else { scalar });
                continue;
            }
            let v = match node {
                Node::Load(_, dt) => {
                    let t = plan.loads[&i];
                    let stride = plan.tracks[t].strides[last];
                    let (base, disp) = place(self, t);
                    if !vec {
                        self.load(*dt, base, disp)
                    } else if stride == self.st.size(*dt) {
                        self.load_vector(*dt, base, disp)
                    } else {
                        self.load_lanes(*dt, base, disp, stride)
                    }
                }
                Node::Op(p, args, _, dt) => {
                    let args: Vec<Value> = args.iter().map(|a| values[*a]).collect();
                    self.prim(*p, &args, *dt, vec)?
                }
                Node::Scalar(v, _) => *v,
                Node::Kernel(..) => return Err(CodegenError::internal("a kernel inside a loop body")),
            };
            values.push(v);
        }
        for (node, t) in &plan.stores {
            let (base, disp) = place(self, *t);
            if vec {
                self.store_vector(values[*node], plan.tracks[*t].dtype, base, disp);
            } else {
                self.store(values[*node], base, disp);
            }
        }
        for s in &plan.sinks {
            let (p, v) = (combiner(s.op), values[s.node]);
            if let Some(acc) = &s.acc {
                let var = if vec { acc.vectors[copy] } else { acc.scalars[copy.min(acc.scalars.len() - 1)] };
                let old = self.fb.use_var(var);
                let new = self.prim(p, &[old, v], s.dtype, vec)?;
                self.fb.def_var(var, new);
                continue;
            }
            let Some(t) = s.track else { return Err(CodegenError::internal("a scalar reduction in memory")) };
            let (base, disp) = place(self, t);
            let v = match (s.in_memory, vec) {
                (false, _) => v,
                (true, true) => {
                    let old = self.load_vector(s.dtype, base, disp);
                    self.prim(p, &[old, v], s.dtype, true)?
                }
                (true, false) => {
                    let old = self.load(s.dtype, base, disp);
                    self.prim(p, &[old, v], s.dtype, false)?
                }
            };
            if vec {
                self.store_vector(v, s.dtype, base, disp);
            } else {
                self.store(v, base, disp);
            }
        }
        Ok(())
    }

    /// Lanes from elements that are not neighbours.
    fn load_lanes(&mut self, dt: DType, base: Value, disp: i64, stride: i64) -> Value {
        let first = self.load(dt, base, disp);
        let mut v = self.splat(first, dt);
        for lane in 1..self.lanes {
            let x = self.load(dt, base, disp + lane as i64 * stride);
            let x = if dt == DType::Bool {
                let wide = self.fb.ins().uextend(self.mask.lane_type(), x);
                self.fb.ins().ineg(wide)
            } else {
                x
            };
            v = self.fb.ins().insertlane(v, x, lane as u8);
        }
        v
    }
}

/// Drops axes of one element and merges neighbours where every array permits; at least one axis remains.
pub(super) fn merge(shape: &[usize], arrays: &[&[i64]]) -> (Vec<usize>, Vec<Vec<i64>>) {
    let mut out: Vec<usize> = Vec::new();
    let mut strides: Vec<Vec<i64>> = vec![Vec::new(); arrays.len()];
    for axis in (0..shape.len()).rev().filter(|a| shape[*a] != 1) {
        // Axes are collected from the innermost outwards.
        let fits = out
            .last()
            .is_some_and(|n| arrays.iter().zip(&strides).all(|(a, s)| s.last().is_some_and(|i| a[axis] == i * *n as i64)));
        if fits {
            if let Some(n) = out.last_mut() {
                *n *= shape[axis];
            }
        } else {
            out.push(shape[axis]);
            for (a, s) in arrays.iter().zip(&mut strides) {
                s.push(a[axis]);
            }
        }
    }
    if out.is_empty() {
        out.push(1);
        strides.iter_mut().for_each(|s| s.push(0));
    }
    out.reverse();
    strides.iter_mut().for_each(|s| s.reverse());
    (out, strides)
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn axes_merge_where_all_arrays_permit() {
        assert_eq!(merge(&[4, 1, 3], &[&[3, 9, 1], &[3, 3, 1]]), (vec![12], vec![vec![1], vec![1]]));
        assert_eq!(merge(&[4, 3], &[&[3, 1], &[0, 1]]), (vec![4, 3], vec![vec![3, 1], vec![0, 1]]));
        assert_eq!(merge(&[4, 3], &[&[3, 1], &[0, 0]]), (vec![12], vec![vec![1], vec![0]]));
        assert_eq!(merge(&[1], &[&[1]]), (vec![1], vec![vec![0]]));
    }
}
