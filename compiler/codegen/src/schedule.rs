//! The order of statements, and which of them become one loop.
//!
//! A block's statements are reordered by readiness. Scalar work and views go first, since they cost next to nothing and
//! unlock more; then kernel calls and loops; only when nothing else is ready, elementwise statements of one shape are collected
//! into a group: all that are ready, and all that become ready by them, with the reductions over them at the end.
//! Of these, what only later members of other groups read is left for later, where waiting costs no memory: it is computed where it is used. The
//! group that no later statement could still join is taken first. Ties go by program order, so the schedule is a
//! function of the program.

use crate::emit::lowered_inline;
use ppl_core::{Block, DType, Det, Func, Op, Prim, Stmt, Var, free_vars, op_atoms, op_blocks};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Groups stop growing here, so that one loop body does not outgrow the register allocator.
const MAX_GROUP: usize = 192;
/// Scalars handed to one kernel call.
pub(crate) const MAX_SCALARS: usize = 16;

/// One step of a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A statement by itself.
    One(usize),
    /// Elementwise statements and reductions of one shape, in program order.
    Group(Vec<usize>),
    /// Scalar calls of one kernel.
    Scalars(Vec<usize>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Instant,
    ScalarKernel(Prim),
    Heavy,
    Member { shape: Vec<usize>, int: bool },
}

/// Shape over which a statement that can be fused iterates, and whether integers are involved (those loops are not vectorised).
fn classify(func: &Func<Det>, stmt: &Stmt<Det>) -> Class {
    match &stmt.op {
        Op::Prim(p, args) => {
            let Some(out) = stmt.outs.first().map(|v| func.ty(*v)) else { return Class::Heavy };
            let first = args.first().map(|a| func.atom_ty(*a).dtype);
            let inline = lowered_inline(*p, first);
            match (out.is_scalar(), inline) {
                (true, true) => Class::Instant,
                (true, false) => Class::ScalarKernel(*p),
                (false, _) => {
                    let int = out.dtype == DType::Int || args.iter().any(|a| func.atom_ty(*a).dtype == DType::Int);
                    Class::Member { shape: out.shape.clone(), int }
                }
            }
        }
        Op::Reduce { x, axes, .. } => {
            let ty = func.atom_ty(*x);
            if axes.is_empty() || ty.is_scalar() {
                return Class::Instant;
            }
            Class::Member { int: ty.dtype == DType::Int, shape: ty.shape }
        }
        Op::Gather { idx, batch: 0, .. } if func.atom_ty(*idx).is_scalar() => Class::Instant,
        Op::Broadcast { .. }
        | Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Slice { .. }
        | Op::Reverse { .. }
        | Op::Stop(_)
        | Op::Iota { .. } => Class::Instant,
        Op::Minibatch { .. }
        | Op::ArgMax { .. }
        | Op::CumSum { .. }
        | Op::Dot { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::ScatterAdd { .. }
        | Op::Linalg(..)
        | Op::If { .. }
        | Op::Map { .. }
        | Op::Scan(_)
        | Op::Call { .. }
        | Op::Random(_) => Class::Heavy,
    }
}

/// Variables a statement reads, also from inside its blocks.
pub(crate) fn reads(stmt: &Stmt<Det>) -> Vec<Var> {
    let mut out: Vec<Var> = op_atoms(&stmt.op).into_iter().filter_map(|a| a.var()).collect();
    let blocks = op_blocks(&stmt.op);
    if !blocks.is_empty() {
        let bound = stmt.op.bound_vars();
        for b in blocks {
            out.extend(free_vars(b).into_iter().filter(|v| !bound.contains(v)));
        }
    }
    out
}

struct Graph {
    class: Vec<Class>,
    users: Vec<Vec<usize>>,
    waits: Vec<usize>,
    reduces: Vec<bool>,
    /// Statements whose results a statement reads.
    sources: Vec<Vec<usize>>,
    /// Whether the block returns a result.
    wanted: Vec<bool>,
    done: Vec<bool>,
}

/// Orders a block. Without `fuse` every statement is a step of its own.
pub(crate) fn schedule(func: &Func<Det>, block: &Block<Det>, fuse: bool) -> Vec<Step> {
    let n = block.stmts.len();
    if !fuse {
        return (0..n)
            .map(|i| match classify(func, &block.stmts[i]) {
                Class::Member { .. } => Step::Group(vec![i]),
                Class::ScalarKernel(_) => Step::Scalars(vec![i]),
                Class::Instant | Class::Heavy => Step::One(i),
            })
            .collect();
    }
    let mut def: HashMap<Var, usize> = HashMap::new();
    let mut g = Graph {
        class: Vec::with_capacity(n),
        users: vec![Vec::new(); n],
        waits: vec![0; n],
        reduces: Vec::new(),
        sources: Vec::with_capacity(n),
        wanted: vec![false; n],
        done: vec![false; n],
    };
    for (i, stmt) in block.stmts.iter().enumerate() {
        let deps: BTreeSet<usize> = reads(stmt).iter().filter_map(|v| def.get(v).copied()).collect();
        g.waits[i] = deps.len();
        for d in &deps {
            g.users[*d].push(i);
        }
        g.sources.push(deps.into_iter().collect());
        g.class.push(classify(func, stmt));
        g.reduces.push(matches!(stmt.op, Op::Reduce { .. }));
        def.extend(stmt.outs.iter().map(|v| (*v, i)));
    }
    for v in block.results.iter().filter_map(|a| a.var()) {
        if let Some(i) = def.get(&v) {
            g.wanted[*i] = true;
        }
    }
    // How many members of each class are still to come.
    let mut left: BTreeMap<Class, usize> = BTreeMap::new();
    for c in &g.class {
        *left.entry(c.clone()).or_default() += 1;
    }
    let mut ready: BTreeMap<Class, BTreeSet<usize>> = BTreeMap::new();
    for i in 0..n {
        if g.waits[i] == 0 {
            ready.entry(g.class[i].clone()).or_default().insert(i);
        }
    }
    let mut steps = Vec::new();
    while let Some(step) = next(&g, &mut ready, &left) {
        let done: &[usize] = match &step {
            Step::One(i) => std::slice::from_ref(i),
            Step::Group(v) | Step::Scalars(v) => v,
        };
        for i in done {
            g.done[*i] = true;
            if let Some(l) = left.get_mut(&g.class[*i]) {
                *l -= 1;
            }
            // Members of the group itself may be waiting for one another: they are done, not ready.
            for u in g.users[*i].clone() {
                g.waits[u] -= 1;
                if g.waits[u] == 0 && !done.contains(&u) {
                    ready.entry(g.class[u].clone()).or_default().insert(u);
                }
            }
        }
        steps.push(step);
    }
    steps
}

/// Takes the next step out of `ready`.
fn next(g: &Graph, ready: &mut BTreeMap<Class, BTreeSet<usize>>, left: &BTreeMap<Class, usize>) -> Option<Step> {
    if let Some(i) = ready.get_mut(&Class::Instant).and_then(BTreeSet::pop_first) {
        return Some(Step::One(i));
    }
    let scalar = ready.iter_mut().find(|(c, s)| matches!(c, Class::ScalarKernel(_)) && !s.is_empty());
    if let Some((_, set)) = scalar {
        let batch: Vec<usize> = set.iter().copied().take(MAX_SCALARS).collect();
        batch.iter().for_each(|i| {
            set.remove(i);
        });
        return Some(Step::Scalars(batch));
    }
    if let Some(i) = ready.get_mut(&Class::Heavy).and_then(BTreeSet::pop_first) {
        return Some(Step::One(i));
    }
    // Whether all of it can wait and whether the class has members left out, and the members.
    let mut best: Option<((bool, bool), Vec<usize>)> = None;
    for (class, set) in ready.iter().filter(|(_, s)| !s.is_empty()) {
        let group = closure(g, class, set);
        let missing = left.get(class).copied().unwrap_or(0).saturating_sub(group.len());
        let now = needed(g, &group);
        let rank = (now.is_empty(), missing != 0);
        let group = if now.is_empty() { group } else { now };
        let better = best.as_ref().is_none_or(|(r, b)| rank < *r || rank == *r && group.len() > b.len());
        if better {
            best = Some((rank, group));
        }
    }
    let (_, group) = best?;
    for i in &group {
        if let Some(s) = ready.get_mut(&g.class[*i]) {
            s.remove(i);
        }
    }
    Some(Step::Group(group))
}

/// A group without what only other groups will read and what can wait: its operands stay in memory for others in any case.
fn needed(g: &Graph, group: &[usize]) -> Vec<usize> {
    let inside: BTreeSet<usize> = group.iter().copied().collect();
    let outside = |i: usize| g.users[i].iter().filter(|u| !inside.contains(u) && !g.done[**u]);
    let mut kept: BTreeSet<usize> = BTreeSet::new();
    let mut open: Vec<usize> = group
        .iter()
        .copied()
        .filter(|i| g.reduces[*i] || g.wanted[*i] || outside(*i).any(|u| g.class[*u] != g.class[*i]))
        .collect();
    loop {
        while let Some(i) = open.pop() {
            if kept.insert(i) {
                open.extend(g.sources[i].iter().filter(|s| inside.contains(s)));
            }
        }
        // What would keep an array alive that nothing else needs does not wait.
        let stays = |i: &usize| {
            g.sources[*i].iter().all(|s| inside.contains(s) && !kept.contains(s) || outside(*s).next().is_some() || g.wanted[*s])
        };
        let next = group.iter().find(|i| !kept.contains(i) && !stays(i));
        match next {
            Some(i) => open.push(*i),
            None => break,
        }
    }
    group.iter().copied().filter(|i| kept.contains(i)).collect()
}

/// Everything of one class that can be computed in a single loop from what is there now.
fn closure(g: &Graph, class: &Class, start: &BTreeSet<usize>) -> Vec<usize> {
    let mut work = start.clone();
    let mut met: HashMap<usize, usize> = HashMap::new();
    let mut group = Vec::new();
    while let Some(i) = work.pop_first() {
        group.push(i);
        if group.len() == MAX_GROUP {
            break;
        }
        if g.reduces[i] {
            continue;
        }
        for &u in &g.users[i] {
            if g.class[u] == *class {
                let m = met.entry(u).or_default();
                *m += 1;
                if *m == g.waits[u] {
                    work.insert(u);
                }
            }
        }
    }
    group
}
