//! One run of the continuation for many choices.
//!
//! Runs of a choice copy what depends on it: for a chain of `n` choices that is a text of `n^2 / 2`. Where the arguments of all calls are
//! known before any of them runs, the choices of one block are replaced in one text:
//!
//! ```text
//!   costs = map lane in L { x_i := if lane is one of choice i's { the call's argument } else { x_i as it comes out in this lane };
//!                           sum over terms of  if lane is one of a choice that the term depends on { term } else { 0 } }
//!   k(x) of call number l  =  costs[l]
//! ```
//!
//! Lanes are numbered in the order of the choices, so that the lanes of a term are a few intervals. Terms are selected, never subtracted:
//! costs may be infinite. The price is work: every lane computes what any of the choices reaches. So this is done for choices that
//! depend on one another, and where a statement depends on many of them.

use super::edit::{Edit, Open};
use super::mid::{Mid, MidRandom, Plan, PlanKind};
use super::replay::{Continuation, Group, Replays};
use super::terms::copy;
use crate::scope::{Bits, Flow, Path};
use ppl_core::{Atom, Func, Op, Var};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A statement depends on at least this many choices, on average.
const SHARED: usize = 4;
/// Lanes compute at most this many times what single runs would.
const WASTE: usize = 8;

/// Costs of a group's calls, an array by the loops around the choices and then by lane.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    array: Atom,
    /// The first lane of the choice at hand.
    first: usize,
    /// The calls, in the order of their lanes.
    calls: Vec<Var>,
}

impl Costs {
    /// What the call that defines `out` returns, in a nest with these indices.
    pub(crate) fn of(&self, e: &mut Edit<'_>, out: Var, lanes: &[Atom]) -> Option<Atom> {
        let n = self.calls.iter().position(|c| *c == out)?;
        let own = lanes.iter().fold(self.array, |a, i| e.b.gather(a, *i, 0));
        Some(e.b.gather(own, Atom::int((self.first + n) as i64), 0))
    }
}

/// A choice that may be replaced in lanes.
struct Member<'p> {
    choice: usize,
    stmt: usize,
    term: &'p Func<Mid>,
    captured: &'p [Atom],
    ahead: Ahead,
}

/// The calls of a term, and the statements that their arguments need.
struct Ahead {
    stmts: Vec<usize>,
    /// Output and argument of each.
    calls: Vec<(Var, Atom)>,
}

/// The calls of `f`, if all stand at its top and no argument needs the result of a call or the cost.
fn ahead(f: &Func<Mid>) -> Option<Ahead> {
    let is_call = |op: &Op<Mid>| matches!(op, Op::Random(MidRandom::Again { .. }));
    let mut calls = Vec::new();
    for s in &f.body.stmts {
        match &s.op {
            Op::Random(MidRandom::Again { fresh: Some(_), .. }) => return None,
            Op::Random(MidRandom::Again { x, fresh: None }) => calls.push((s.outs[0], *x)),
            op if super::terms::holds_call(op) => return None,
            _ => {}
        }
    }
    let mut wanted: BTreeSet<Var> = calls.iter().filter_map(|(_, x)| x.var()).collect();
    let mut stmts = Vec::new();
    for (i, s) in f.body.stmts.iter().enumerate().rev() {
        if !s.outs.iter().any(|v| wanted.contains(v)) {
            continue;
        }
        if is_call(&s.op) {
            return None;
        }
        wanted.extend(ppl_core::op_atoms(&s.op).into_iter().filter_map(Atom::var));
        ppl_core::op_blocks(&s.op).into_iter().for_each(|b| wanted.extend(ppl_core::free_vars(b)));
        stmts.push(i);
    }
    let cost = f.params.last()?;
    stmts.reverse();
    (!calls.is_empty() && !wanted.contains(cost)).then_some(Ahead { stmts, calls })
}

/// The costs of the calls of all choices for which lanes pay, by choice: emitted after the program.
pub(crate) fn costs(e: &mut Edit<'_>, flow: &Flow<'_>, plans: &[Plan], replays: &Replays<'_>) -> HashMap<usize, Costs> {
    let mut blocks: BTreeMap<&Path, Vec<Member<'_>>> = BTreeMap::new();
    for (number, (_, path, stmt)) in flow.choices.iter().enumerate() {
        let Op::Random(MidRandom::Mark { plan, captured, .. }) = &flow.block_at(path).stmts[*stmt].op else { continue };
        let PlanKind::Term { term, .. } = &plans[*plan].kind else { continue };
        if flow.loops(path).iter().any(|l| l.scan) {
            continue;
        }
        if let Some(ahead) = ahead(term) {
            blocks.entry(path).or_default().push(Member { choice: number, stmt: *stmt, term, captured, ahead });
        }
    }
    let mut out = HashMap::new();
    for (path, members) in blocks {
        for part in related(flow, members) {
            let Some((group, c)) = worthwhile(flow, replays, path, &part) else { continue };
            let array = emit(e, flow, path, &part, &c);
            for m in &part {
                let first = group.lanes.get(&m.choice).map_or(0, |l| l.0);
                out.insert(m.choice, Costs { array, first, calls: m.ahead.calls.iter().map(|(v, _)| *v).collect() });
            }
        }
    }
    out
}

/// Members that depend on one another, in program order.
fn related<'p>(flow: &Flow<'_>, members: Vec<Member<'p>>) -> Vec<Vec<Member<'p>>> {
    let mut all = Bits::default();
    members.iter().for_each(|m| all.insert(m.choice));
    // Sets of related choices so far.
    let mut sets: Vec<Bits> = Vec::new();
    for m in &members {
        let mut own = flow.of(flow.choices[m.choice].0.into()).all().intersection(&all);
        own.insert(m.choice);
        sets.retain(|s| {
            let meets = s.meets(&own);
            if meets {
                own.union(s);
            }
            !meets
        });
        sets.push(own);
    }
    let mut at: HashMap<usize, usize> = HashMap::new();
    sets.iter().enumerate().for_each(|(n, s)| at.extend(s.iter().map(|c| (c, n))));
    let mut out: Vec<Vec<Member<'p>>> = sets.iter().map(|_| Vec::new()).collect();
    for m in members {
        if let Some(n) = at.get(&m.choice) {
            out[*n].push(m);
        }
    }
    out
}

/// The continuation of a group, if one text for all is better than one for each.
fn worthwhile<'f>(flow: &Flow<'_>, replays: &Replays<'f>, path: &Path, part: &[Member<'_>]) -> Option<(Group, Continuation<'f>)> {
    let first = part.first()?;
    if part.len() < SHARED {
        return None;
    }
    let mut group = Group { choices: Bits::default(), lanes: HashMap::new(), len: 0 };
    for m in part {
        group.choices.insert(m.choice);
        group.lanes.insert(m.choice, (group.len, m.ahead.calls.len()));
        group.len += m.ahead.calls.len();
    }
    let c = replays.of_group(group.clone(), path, first.stmt)?;
    let reach = |v: &Var| flow.of((*v).into()).all().intersection(&group.choices).len();
    let single: usize = c.needed.iter().map(reach).sum();
    let lanes = c.needed.len() * part.len();
    (single >= SHARED * c.needed.len() && single * WASTE >= lanes).then_some((group, c))
}

fn emit(e: &mut Edit<'_>, flow: &Flow<'_>, path: &Path, part: &[Member<'_>], c: &Continuation<'_>) -> Atom {
    let open: Vec<Open> = e.open(path);
    let lanes: Vec<Atom> = flow.loops(path).iter().filter_map(|l| e.index.get(&l.index).copied()).collect();
    let mut xs = Vec::new();
    for m in part {
        let args: Vec<Atom> = m.captured.iter().map(|a| e.bring(*a)).collect();
        let mut map: HashMap<Var, Atom> = m.term.params.iter().copied().zip(args).collect();
        for i in &m.ahead.stmts {
            copy(e, m.term, &mut map, &m.term.body.stmts[*i]);
        }
        xs.extend(m.ahead.calls.iter().map(|(_, x)| x.var().and_then(|v| map.get(&v).copied()).unwrap_or(*x)));
    }
    let costs = c.run_lanes(e, &xs, &lanes);
    e.close_stacked(open, costs)
}
