//! Gradients inside estimator programs.
//!
//! in:    a flat `Est` function of one real result, without draws; how many of its last parameters
//! out:   `Est` with the gradient with respect to these as results: operations of every stage only
//!
//! ```text
//!   G[f](e; x..)  =  x'..  where  y, x'.. = vjp(batch(lower(f)))(e; x..)
//! ```
//!
//! What comes out is differentiated again where the objective's own gradient is taken.

use crate::expand::{Cx, Hook};
use ppl_core::{Atom, Block, Builder, Det, DetRandom, Est, EstRandom, Func, Module, Op, Stmt};
use ppl_diag::{Code, Diagnostic, Span};

/// The gradient of `func` with respect to its last `wrt` parameters.
///
/// Errors: `func` draws (E0473); a derivative is asked of something that has none (E0460).
pub(crate) fn grad(module: &Module, func: &Func<Est>, wrt: usize) -> Result<Func<Est>, Vec<Diagnostic>> {
    if let Some(at) = draws(&func.body) {
        let d = Diagnostic::error(Code("E0473"), "`grad` is of a value that is computed, and this one is drawn")
            .label(at, "a draw")
            .label(func.span, "the gradient is taken of this")
            .help("draw before: `let (t, _) = sim(q)`, then `grad(log_density(p, t), t)`");
        return Err(vec![d]);
    }
    let lowered = crate::strategies_value_only(module, func)?;
    let lowered = crate::batch::batch(lowered);
    let first = lowered.params.len() - wrt;
    let wrt: Vec<usize> = (first..lowered.params.len()).collect();
    let mut gradient = crate::vjp::vjp(&lowered, &wrt, 0).map_err(|e| vec![e.diagnostic()])?;
    gradient.body.results.drain(..lowered.body.results.len());
    let mut b = Builder::<Est>::new(func.name.clone());
    b.func.span = func.span;
    let args: Vec<Atom> =
        gradient.params.iter().map(|p| b.param(gradient.vars[p.index()].name.clone(), gradient.ty(*p).clone()).into()).collect();
    let results = Cx::new(&gradient, &args).block(&mut b, &mut Plain, &gradient.body);
    Ok(b.finish(results))
}

/// Where a block draws.
fn draws(block: &Block<Est>) -> Option<Span> {
    block.stmts.iter().find_map(|s| match &s.op {
        Op::Random(EstRandom::LogDensity { .. } | EstRandom::Score { .. }) => None,
        Op::Random(_) => Some(s.span),
        op => ppl_core::op_blocks(op).into_iter().find_map(draws),
    })
}

/// Copies a program without draws.
struct Plain;

impl Hook<Det, Est> for Plain {
    fn random(&mut self, _: &mut Builder<Est>, _: &mut Cx<'_, Det>, _: &Stmt<Det>, _: &DetRandom) -> Vec<Atom> {
        Vec::new()
    }
}
