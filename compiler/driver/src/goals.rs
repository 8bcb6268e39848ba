//! Several goals in one step.
//!
//! ```text
//!   g_i(inputs of i) = (value of i, sides of i, gradients for the parameters of i)
//!   merged(union of the inputs) = (value of 1, .., value of n, gradients of all parameters that learn, next states)
//! ```
//!
//! Draws are counted, so two goals that simulate the same program at the same sites see the same draws, and what they share is computed once
//! (common subexpressions).

use ppl_check::Global;
use ppl_core::{Atom, Block, Builder, Det, Func, Op, Var, free_vars, op_atoms, op_blocks};
use std::collections::HashSet;

/// A goal's function with what it takes.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) func: Func<Det>,
    pub(crate) inputs: Vec<Global>,
    /// Inputs that learn, with the number of the result that is their gradient, and whether it is the goal's (else that of what is also minimised).
    pub(crate) learned: Vec<(usize, usize, bool)>,
    /// Inputs that are states, with the number of the result that is their next value.
    pub(crate) states: Vec<(usize, usize)>,
}

/// The merged function.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    pub(crate) func: Func<Det>,
    pub(crate) inputs: Vec<Global>,
    /// Input, number of the gradient's result, and the goal (none: what is also minimised), of everything that learns; in the order of the inputs.
    pub(crate) learned: Vec<(usize, usize, Option<usize>)>,
    /// Input and number of the next value's result of each state.
    pub(crate) states: Vec<(usize, usize)>,
}

/// Puts functions side by side. A state that several goals have takes its next value from the first.
pub(crate) fn merge(parts: &[Part]) -> Merged {
    let mut inputs: Vec<Global> = Vec::new();
    for p in parts {
        let new: Vec<Global> = p.inputs.iter().filter(|g| !inputs.contains(g)).copied().collect();
        inputs.extend(new);
    }
    let at = |g: &Global| inputs.iter().position(|h| h == g).unwrap_or_default();
    let mut b = Builder::<Det>::new(parts.first().map_or(String::new(), |p| p.func.name.clone()));
    b.func.span = parts.first().map_or(ppl_diag::Span::NONE, |p| p.func.span);
    let mut params: Vec<Atom> = Vec::new();
    for g in &inputs {
        let found = parts.iter().find_map(|p| p.inputs.iter().position(|h| h == g).map(|i| (&p.func, p.func.params[i])));
        if let Some((f, v)) = found {
            params.push(b.param(f.vars[v.index()].name.clone(), f.ty(v).clone()).into());
        }
    }
    let (mut values, mut slopes, mut next) = (Vec::new(), Vec::new(), Vec::new());
    for (goal, p) in parts.iter().enumerate() {
        let args: Vec<Atom> = p.inputs.iter().map(|g| params[at(g)]).collect();
        let results = b.inline(&p.func, &args);
        values.push(results[0]);
        slopes.extend(p.learned.iter().map(|(i, r, own)| (at(&p.inputs[*i]), results[*r], own.then_some(goal))));
        for (i, r) in &p.states {
            let i = at(&p.inputs[*i]);
            if next.iter().all(|(j, _)| *j != i) {
                next.push((i, results[*r]));
            }
        }
    }
    slopes.sort_by_key(|(i, _, _)| *i);
    let mut results = values;
    let mut learned: Vec<(usize, usize, Option<usize>)> = Vec::new();
    for (i, g, goal) in slopes {
        // Asked for by several goals as well: their sum.
        match learned.last().filter(|l| l.0 == i).map(|l| l.1) {
            Some(r) => results[r] = b.add(results[r], g),
            None => {
                learned.push((i, results.len(), goal));
                results.push(g);
            }
        }
    }
    let states = next.iter().enumerate().map(|(k, (i, _))| (*i, results.len() + k)).collect();
    results.extend(next.into_iter().map(|(_, a)| a));
    Merged { func: b.finish(results), inputs, learned, states }
}

/// Parameters of the function, by position, that a derivative of the result can reach.
pub(crate) fn reaches(f: &Func<Det>, result: usize) -> Vec<usize> {
    let mut set: HashSet<Var> = f.body.results.get(result).and_then(|a| a.var()).into_iter().collect();
    back(&f.body, &mut set);
    f.params.iter().enumerate().filter(|(_, v)| set.contains(v)).map(|(i, _)| i).collect()
}

fn back(block: &Block<Det>, set: &mut HashSet<Var>) {
    for s in block.stmts.iter().rev() {
        if matches!(s.op, Op::Stop(_) | Op::Random(_)) || !s.outs.iter().any(|v| set.contains(v)) {
            continue;
        }
        let blocks = op_blocks(&s.op);
        let mut around: HashSet<Var> = blocks.iter().flat_map(|b| free_vars(b)).collect();
        set.extend(op_atoms(&s.op).into_iter().filter_map(Atom::var).filter(|v| blocks.is_empty() || !around.contains(v)));
        // Twice: what is carried passes on what the round before was made from.
        for _ in 0..2 {
            for b in &blocks {
                set.extend(b.results.iter().filter_map(|a| a.var()));
                back(b, set);
            }
        }
        around.retain(|v| set.contains(v));
    }
}
