//! Several goals in one step.
//!
//! ```text
//!   g_i(inputs of i) = (value of i, gradients for the parameters of i)
//!   merged(union of the inputs) = (value of 1, .., value of n, gradients of all parameters that learn)
//! ```
//!
//! Draws are counted, so two goals that simulate the same program at the same sites see the same draws, and what they share is computed once
//! (common subexpressions).

use ppl_check::Global;
use ppl_core::{Builder, Det, Func};

/// A goal's function with what it takes, and the numbers of the inputs that learn from it. Results: the value, others, then (in a gradient
/// function) one gradient for each of `learned`.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) func: Func<Det>,
    pub(crate) inputs: Vec<Global>,
    pub(crate) learned: Vec<usize>,
    /// Number of results before the gradients.
    pub(crate) results: usize,
}

/// The merged function.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    pub(crate) func: Func<Det>,
    pub(crate) inputs: Vec<Global>,
    /// Input, number of the gradient's result, and the goal, of everything that learns; in the order of the inputs.
    pub(crate) learned: Vec<(usize, usize, usize)>,
}

/// Puts functions side by side. `gradients`: whether they have gradients behind their values.
pub(crate) fn merge(parts: &[Part], gradients: bool) -> Merged {
    let mut inputs: Vec<Global> = Vec::new();
    for p in parts {
        let new: Vec<Global> = p.inputs.iter().filter(|g| !inputs.contains(g)).copied().collect();
        inputs.extend(new);
    }
    let at = |g: &Global| inputs.iter().position(|h| h == g).unwrap_or_default();
    let mut learned: Vec<(usize, usize, usize)> = Vec::new();
    for (goal, p) in parts.iter().enumerate() {
        learned.extend(p.learned.iter().map(|i| (at(&p.inputs[*i]), 0, goal)));
    }
    learned.sort_unstable();
    for (k, l) in learned.iter_mut().enumerate() {
        l.1 = parts.len() + k;
    }
    if let [p] = parts {
        let first = p.results;
        let learned = p.learned.iter().enumerate().map(|(k, i)| (*i, first + k, 0)).collect();
        return Merged { func: p.func.clone(), inputs: p.inputs.clone(), learned };
    }
    let mut b = Builder::<Det>::new(parts.first().map_or(String::new(), |p| p.func.name.clone()));
    b.func.span = parts.first().map_or(ppl_diag::Span::NONE, |p| p.func.span);
    let mut params = Vec::new();
    for g in &inputs {
        let found = parts.iter().find_map(|p| p.inputs.iter().position(|h| h == g).map(|i| (&p.func, p.func.params[i])));
        if let Some((f, v)) = found {
            params.push(ppl_core::Atom::Var(b.param(f.vars[v.index()].name.clone(), f.ty(v).clone())));
        }
    }
    let mut values = Vec::new();
    let mut slopes = vec![ppl_core::Atom::float(0.0); learned.len()];
    for (goal, p) in parts.iter().enumerate() {
        let args: Vec<ppl_core::Atom> = p.inputs.iter().map(|g| params[at(g)]).collect();
        let results = b.inline(&p.func, &args);
        values.push(results[0]);
        if gradients {
            for (k, i) in p.learned.iter().enumerate() {
                let input = at(&p.inputs[*i]);
                if let Some(n) = learned.iter().position(|(j, _, g)| *j == input && *g == goal) {
                    slopes[n] = results[p.results + k];
                }
            }
        }
    }
    if gradients {
        values.extend(slopes);
    }
    Merged { func: b.finish(values), inputs, learned }
}
