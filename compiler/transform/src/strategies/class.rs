//! How a strategy uses its continuation.
//!
//! ```text
//!   tail       result = k(x)
//!   term       result = k(x) + e           where calls of `k` reach `e` through `stop` only
//!   weighted   result = f(k(x))            one call, at the top, in linear position
//!   whole      anything else that is linear in the calls
//! ```

use ppl_core::{Atom, Block, Est, EstRandom, Func, Op, Prim, ReduceOp, Var};
use ppl_diag::{Code, Diagnostic, Span};
use std::collections::{BTreeSet, HashMap, HashSet};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The value is the call's argument.
    Tail { call: usize },
    /// One call in place and a term; the index of the call's statement.
    Term { call: usize },
    /// One call in place, scaled.
    Weighted { call: usize },
    /// Several calls with gradients, or calls in loops and branches.
    Whole,
}

impl Class {
    /// Whether several runs of the continuation are differentiated.
    pub(crate) fn differentiates_runs(self) -> bool {
        self == Class::Whole
    }
}

/// Classifies a flat strategy function. Errors: `k` is used in a way that gives no unbiased estimate (E0404, E0405).
pub(crate) fn classify(f: &Func<Est>, name: &str) -> Result<Class, Diagnostic> {
    if calls(&f.body) == 0 {
        return Err(Diagnostic::error(Code("E0404"), format!("strategy `{name}` never calls its continuation"))
            .label(f.span, "the rest of the objective is lost")
            .help("end with `k(x)`, or with an estimate made from calls of `k`"));
    }
    if let Some(span) = in_scan(&f.body, false) {
        return Err(Diagnostic::error(Code("E0502"), format!("strategy `{name}` calls `k` in a loop that carries a value"))
            .label(span, "not compiled yet")
            .help("use a loop without `carry`, and sum what its iterations return"));
    }
    Linear { f, calls: HashMap::new() }.check(name)?;
    let top: Vec<usize> = (0..f.body.stmts.len()).filter(|i| is_call(&f.body.stmts[*i].op)).collect();
    let result = f.body.results.first().copied().unwrap_or(Atom::float(0.0));
    if let [call] = top[..]
        && calls(&f.body) == 1
        && Some(f.body.stmts[call].outs[0]) == result.var()
    {
        return Ok(Class::Tail { call });
    }
    let mut leaves = Vec::new();
    summands(f, result, false, &mut leaves);
    for call in &top {
        let out = f.body.stmts[*call].outs[0];
        let mut rest = leaves.iter().filter(|(a, neg)| a.var() != Some(out) || *neg);
        let tainted = taint(&f.body);
        if leaves.iter().filter(|(a, _)| a.var() == Some(out)).count() == 1 && rest.all(|(a, _)| !holds(&tainted, *a)) {
            return Ok(Class::Term { call: *call });
        }
    }
    match top[..] {
        [call] if calls(&f.body) == 1 => Ok(Class::Weighted { call }),
        _ => Ok(Class::Whole),
    }
}

fn holds(set: &HashSet<Var>, a: Atom) -> bool {
    a.var().is_some_and(|v| set.contains(&v))
}

fn is_call(op: &Op<Est>) -> bool {
    matches!(op, Op::Random(EstRandom::Continue { .. }))
}

fn in_scan(block: &Block<Est>, inside: bool) -> Option<Span> {
    block.stmts.iter().find_map(|s| {
        if inside && is_call(&s.op) {
            return Some(s.span);
        }
        let scan = inside || matches!(s.op, Op::Scan(_));
        ppl_core::op_blocks(&s.op).into_iter().find_map(|b| in_scan(b, scan))
    })
}

/// Number of calls of `k` in the text.
fn calls(block: &Block<Est>) -> usize {
    let inner = |op| ppl_core::op_blocks(op).into_iter().map(calls).sum::<usize>();
    block.stmts.iter().map(|s| usize::from(is_call(&s.op)) + inner(&s.op)).sum()
}

/// The result as a sum: each summand, and whether it is subtracted.
pub(crate) fn summands(f: &Func<Est>, a: Atom, negated: bool, out: &mut Vec<(Atom, bool)>) {
    let def = a.var().and_then(|v| f.body.stmts.iter().find(|s| s.outs.contains(&v)));
    match def.map(|s| &s.op) {
        Some(Op::Prim(Prim::Add, xs)) => xs.iter().for_each(|x| summands(f, *x, negated, out)),
        Some(Op::Prim(Prim::Sub, xs)) => {
            summands(f, xs[0], negated, out);
            summands(f, xs[1], !negated, out);
        }
        Some(Op::Prim(Prim::Neg, xs)) => summands(f, xs[0], !negated, out),
        _ => out.push((a, negated)),
    }
}

/// Variables that a call of `k` reaches without passing `stop`.
fn taint(block: &Block<Est>) -> HashSet<Var> {
    fn walk(block: &Block<Est>, set: &mut HashSet<Var>) {
        for s in &block.stmts {
            let blocks = ppl_core::op_blocks(&s.op);
            blocks.iter().for_each(|b| walk(b, set));
            let stop = matches!(s.op, Op::Stop(_));
            let reached = is_call(&s.op)
                || ppl_core::op_atoms(&s.op).into_iter().any(|a| holds(set, a))
                || blocks.iter().any(|b| b.results.iter().any(|a| holds(set, *a)));
            if reached && !stop {
                set.extend(s.outs.iter().copied().chain(s.op.bound_vars()));
            }
        }
    }
    let mut set = HashSet::new();
    // Twice: a carry passes on what its body computes.
    walk(block, &mut set);
    walk(block, &mut set);
    set
}

/// Checks that the result is linear in every call of `k`.
struct Linear<'a> {
    f: &'a Func<Est>,
    /// Calls that each variable is made from (`stop` included: the value has to be unbiased as well).
    calls: HashMap<Var, BTreeSet<Var>>,
}

impl Linear<'_> {
    /// What is returned besides the estimate may use the cost in any way.
    fn check(mut self, name: &str) -> Result<(), Diagnostic> {
        let mut body = self.f.body.clone();
        body.results.truncate(1);
        let mut used: HashSet<Var> = body.results.iter().filter_map(|a| a.var()).collect();
        let mut kept: Vec<_> = Vec::new();
        for s in body.stmts.into_iter().rev() {
            if is_call(&s.op) || s.outs.iter().any(|v| used.contains(v)) {
                used.extend(ppl_core::op_atoms(&s.op).into_iter().filter_map(Atom::var));
                ppl_core::op_blocks(&s.op).into_iter().for_each(|b| used.extend(ppl_core::free_vars(b)));
                kept.push(s);
            }
        }
        kept.reverse();
        body.stmts = kept;
        self.block(&body, name)
    }

    fn of(&self, a: Atom) -> BTreeSet<Var> {
        a.var().and_then(|v| self.calls.get(&v).cloned()).unwrap_or_default()
    }

    fn block(&mut self, block: &Block<Est>, name: &str) -> Result<(), Diagnostic> {
        for s in &block.stmts {
            if is_call(&s.op) {
                let out = s.outs[0];
                self.calls.insert(out, BTreeSet::from([out]));
                continue;
            }
            for b in ppl_core::op_blocks(&s.op) {
                self.block(b, name)?;
            }
            let sets: Vec<BTreeSet<Var>> = ppl_core::op_atoms(&s.op).into_iter().map(|a| self.of(a)).collect();
            let mut all: BTreeSet<Var> = sets.iter().flatten().copied().collect();
            for b in ppl_core::op_blocks(&s.op) {
                all.extend(b.results.iter().flat_map(|a| self.of(*a)));
            }
            if all.is_empty() {
                continue;
            }
            self.linear(&s.op, &sets, s.span, name)?;
            for out in &s.outs {
                self.calls.insert(*out, all.clone());
            }
        }
        Ok(())
    }

    fn linear(&self, op: &Op<Est>, sets: &[BTreeSet<Var>], span: Span, name: &str) -> Result<(), Diagnostic> {
        let ok = match op {
            Op::Prim(Prim::Add | Prim::Sub | Prim::Neg, _) | Op::Stop(_) => true,
            Op::Prim(Prim::Mul, _) => {
                let [a, b] = sets else { return Ok(()) };
                if !a.is_empty() && !b.is_empty() {
                    return Err(Diagnostic::error(Code("E0405"), format!("strategy `{name}` multiplies two calls of `k`"))
                        .label(span, "both factors come from `k`")
                        .note("calls of one `k` share their random numbers, so their product is no unbiased estimate of a product; and with `fresh(k)` it is one of a product of expectations, where a strategy returns one of `E[k(x)]`")
                        .help("return sums and differences of calls of `k`; products `k(x) * fresh(k)(y)` may go to `set` and `also_minimize`"));
                }
                true
            }
            Op::Prim(Prim::Div, _) => sets.get(1).is_none_or(BTreeSet::is_empty),
            Op::Prim(Prim::Select | Prim::Guard, _) | Op::If { .. } | Op::Gather { .. } => {
                let at = if matches!(op, Op::Gather { .. }) { 1 } else { 0 };
                sets.get(at).is_none_or(BTreeSet::is_empty)
            }
            Op::Reduce { op, .. } => *op == ReduceOp::Sum,
            Op::Broadcast { .. }
            | Op::CumSum { .. }
            | Op::Transpose { .. }
            | Op::Reshape { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::Reverse { .. }
            | Op::ScatterAdd { .. }
            | Op::Map { .. }
            | Op::Scan(_) => true,
            Op::Dot { .. } => sets.iter().filter(|s| !s.is_empty()).count() < 2,
            Op::Prim(..)
            | Op::ArgMax { .. }
            | Op::Iota { .. }
            | Op::Minibatch { .. }
            | Op::Linalg(..)
            | Op::Call { .. }
            | Op::Random(_) => false,
        };
        if ok {
            return Ok(());
        }
        Err(Diagnostic::error(Code("E0404"), format!("strategy `{name}` uses the result of `k` in a way that is not linear"))
            .label(span, "this is no unbiased estimate, even where `k(x)` is one")
            .help("add results of `k`, subtract them, and multiply them by values that do not come from `k`"))
    }
}
