//! Calls of deterministic functions.
//!
//! in, out: `Det`
//! keeps:   values to the bit, derivatives, spans of the callee's statements, random bits
//!
//! ```text
//! ys = call f(as)                  =  body of f [params := as];  ys := results
//! random(site, lanes, times) in f  =  random(inlined_site(n, site), outer lanes ++ lanes, outer times ++ times)
//! ```
//!
//! where `n` is the number of the call among its caller's calls, and the outer lanes and times are the indices of the maps
//! and scans around the call. Calls inside `f` are inlined first, so sites are mixed from the inside out. Recursive calls stay.

use ppl_core::{Atom, Block, Builder, Det, DetId, Func, Op, Stmt, Var, map_atoms, op_blocks, op_blocks_mut, substitute_block};
use std::collections::HashMap;

/// The site of a draw inside a call: `ordinal` is the call's number (see [`call_ordinals`]), `site` the draw's own.
///
/// A SplitMix64 finaliser over both words, so that sites stay distinct.
pub fn inlined_site(ordinal: u64, site: u64) -> u64 {
    let mut z = site.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(ordinal.wrapping_add(1).wrapping_mul(0xd1b5_4a32_d192_ed03));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Number of each call of a function in program order, by the call's first output.
pub fn call_ordinals(f: &Func<Det>) -> HashMap<Var, u64> {
    fn walk(b: &Block<Det>, out: &mut HashMap<Var, u64>, next: &mut u64) {
        for stmt in &b.stmts {
            if let Op::Call { .. } = stmt.op {
                if let Some(v) = stmt.outs.first() {
                    out.insert(*v, *next);
                }
                *next += 1;
            }
            for b in op_blocks(&stmt.op) {
                walk(b, out, next);
            }
        }
    }
    let mut out = HashMap::new();
    walk(&f.body, &mut out, &mut 0);
    out
}

/// Inlines every call whose callee does not lead back to itself. `dets` are the module's deterministic functions.
pub fn inline_calls(f: &mut Func<Det>, dets: &[Func<Det>]) {
    let mut cx = Cx { dets, flat: HashMap::new(), open: Vec::new() };
    cx.func(f);
}

struct Cx<'m> {
    dets: &'m [Func<Det>],
    /// Callees with their own calls inlined.
    flat: HashMap<DetId, Func<Det>>,
    /// Callees being flattened.
    open: Vec<DetId>,
}

/// Loops around a statement.
#[derive(Clone, Default)]
struct Loops {
    lanes: Vec<(Atom, usize)>,
    times: Vec<(Atom, usize)>,
}

impl Cx<'_> {
    fn func(&mut self, f: &mut Func<Det>) {
        let ordinals = call_ordinals(f);
        if ordinals.is_empty() && !has_calls(&f.body) {
            return;
        }
        let mut body = std::mem::take(&mut f.body);
        self.block(f, &mut body, &ordinals, &Loops::default());
        f.body = body;
    }

    fn block(&mut self, f: &mut Func<Det>, block: &mut Block<Det>, ordinals: &HashMap<Var, u64>, loops: &Loops) {
        let mut subst: HashMap<Var, Atom> = HashMap::new();
        let mut stmts = Vec::with_capacity(block.stmts.len());
        for mut stmt in std::mem::take(&mut block.stmts) {
            let replace = |a: Atom| a.var().and_then(|v| subst.get(&v).copied()).unwrap_or(a);
            map_atoms(&mut stmt.op, &mut |a| replace(a));
            if !subst.is_empty() {
                op_blocks_mut(&mut stmt.op).into_iter().for_each(|b| substitute_block(b, &subst));
            }
            let inner = match &stmt.op {
                Op::Map { len, index, .. } => {
                    let mut l = loops.clone();
                    l.lanes.push((Atom::Var(*index), *len));
                    Some(l)
                }
                Op::Scan(s) => {
                    let mut l = loops.clone();
                    l.times.push((Atom::Var(s.index), s.len));
                    Some(l)
                }
                _ => None,
            };
            for b in op_blocks_mut(&mut stmt.op) {
                self.block(f, b, ordinals, inner.as_ref().unwrap_or(loops));
            }
            if let Op::Call { callee, args } = &stmt.op
                && let Some(flat) = self.flattened(*callee)
            {
                let ordinal = stmt.outs.first().and_then(|v| ordinals.get(v)).copied().unwrap_or(0);
                let (body, results) = spliced(f, flat, args, ordinal, loops);
                stmts.extend(body);
                subst.extend(stmt.outs.iter().copied().zip(results));
                continue;
            }
            stmts.push(stmt);
        }
        block.stmts = stmts;
        for a in &mut block.results {
            *a = a.var().and_then(|v| subst.get(&v).copied()).unwrap_or(*a);
        }
    }

    /// The callee with its own calls inlined; `None` where it leads back to itself or does not exist.
    fn flattened(&mut self, id: DetId) -> Option<&Func<Det>> {
        if self.open.contains(&id) {
            return None;
        }
        if !self.flat.contains_key(&id) {
            let mut callee = self.dets.get(id.index())?.clone();
            self.open.push(id);
            self.func(&mut callee);
            self.open.pop();
            self.flat.insert(id, callee);
        }
        let flat = self.flat.get(&id)?;
        (!has_calls(&flat.body)).then_some(flat)
    }
}

fn has_calls(b: &Block<Det>) -> bool {
    b.stmts.iter().any(|s| matches!(s.op, Op::Call { .. }) || op_blocks(&s.op).into_iter().any(has_calls))
}

/// A copy of `callee`'s body in `f`'s variables, and its results.
fn spliced(f: &mut Func<Det>, callee: &Func<Det>, args: &[Atom], ordinal: u64, loops: &Loops) -> (Vec<Stmt<Det>>, Vec<Atom>) {
    let mut b = Builder::over(std::mem::replace(
        f,
        Func { name: String::new(), vars: Vec::new(), params: Vec::new(), body: Block::default(), span: ppl_diag::Span::NONE },
    ));
    let results = b.inline(callee, args);
    let (func, mut stmts) = b.into_parts();
    *f = func;
    stmts.iter_mut().for_each(|s| address(&mut s.op, ordinal, loops));
    (stmts, results)
}

/// Gives draws inside an inlined body their place in the caller.
fn address(op: &mut Op<Det>, ordinal: u64, loops: &Loops) {
    if let Op::Random(r) = op {
        r.site = inlined_site(ordinal, r.site);
        r.lanes.splice(0..0, loops.lanes.iter().copied());
        r.times.splice(0..0, loops.times.iter().copied());
    }
    for b in op_blocks_mut(op) {
        b.stmts.iter_mut().for_each(|s| address(&mut s.op, ordinal, loops));
    }
}
