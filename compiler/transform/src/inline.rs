//! One flat estimator program.
//!
//! in:    `Est` with `sim`, `density` and calls of estimator functions; the module's `gen`s and `est`s
//! out:   `Est` in which only samples, draws, densities, scores and (in strategies) calls of `k` are random
//! keeps: spans, the order of samples; every sample's label is distinct (`q.x`, `q.x#1`: see [`user_label`])
//!
//! ```text
//!   I[ y = sim g(e) ]      =  y = S[g](e)       ([`mod@crate::sim`], made once for each program)
//!   I[ y = density g(e) ]  =  y = D[g](e)       ([`mod@crate::density`])
//!   I[ y = log_weight p(e; t) over q(e'; t), log_q ]  =  as in [`mod@crate::analytic`]
//!   I[ y = call f(e) ]     =  y = I[f](e)
//!   I[ g.. = grad f(e; x..) ]  =  g.. = G[f](e; x..)      ([`mod@crate::grad`])
//! ```

use crate::analytic::Divergences;
use crate::density::Mode;
use crate::eliminate::EliminationCost;
use crate::expand::{Cx, Hook};
use ppl_core::{Atom, Block, Builder, Est, EstId, EstRandom, Func, GenId, Module, Op, Stmt};
use ppl_diag::{Code, Diagnostic};
use std::collections::HashMap;

/// The flat form of an estimator function: no `sim`, `density` or estimator calls are left.
///
/// Errors: a program with `factor` is simulated (E0401); functions call each other in a circle (E0501).
pub fn inline(module: &Module, func: &Func<Est>) -> Result<Func<Est>, Vec<Diagnostic>> {
    Ok(inline_with_remarks(module, func)?.0)
}

/// What there is to say of a flat form.
#[derive(Clone, Debug, Default)]
pub struct Remarks {
    /// What the exact sums over finite choices in it cost.
    pub eliminations: Vec<EliminationCost>,
    /// Where divergences stand for log densities.
    pub divergences: Vec<Divergences>,
}

/// As [`inline`], with remarks.
///
/// # Errors
/// As [`inline`].
pub fn inline_with_remarks(module: &Module, func: &Func<Est>) -> Result<(Func<Est>, Remarks), Vec<Diagnostic>> {
    let mut cx = Inliner::new(module);
    let mut f = cx.flat(func)?;
    distinct_labels(&mut f.body, &mut HashMap::new());
    Ok((f, Remarks { eliminations: cx.costs, divergences: cx.divergences }))
}

/// `(args..) -> (results.., choices.., log_q)` of a generative function.
///
/// Errors: `factor` inside (E0401), recursion (E0501).
pub fn sim(module: &Module, id: GenId) -> Result<Func<Est>, Vec<Diagnostic>> {
    Inliner::new(module).sim(id)
}

/// `(args.., choices..) -> (results.., reports.., log_w)` of a generative function.
///
/// Errors: recursion (E0501).
pub fn density(module: &Module, id: GenId) -> Result<Func<Est>, Vec<Diagnostic>> {
    crate::density::density(&mut Inliner::new(module), id)
}

/// A sample's label as users know it: without the ordinal that tells apart repeated calls.
pub fn user_label(label: &str) -> &str {
    label.split('#').next().unwrap_or(label)
}

/// Makes flat functions, each once.
pub(crate) struct Inliner<'m> {
    pub(crate) module: &'m Module,
    sims: HashMap<GenId, Func<Est>>,
    densities: HashMap<(GenId, Vec<Mode>), Func<Est>>,
    ests: HashMap<EstId, Func<Est>>,
    grads: HashMap<(EstId, usize), Func<Est>>,
    /// What sums over finite choices cost.
    pub(crate) costs: Vec<EliminationCost>,
    /// Where divergences stand for log densities.
    pub(crate) divergences: Vec<Divergences>,
    /// What is being made, outermost first.
    active: Vec<Making>,
}

#[derive(Clone, Copy, PartialEq)]
enum Making {
    Sim(GenId),
    Density(GenId),
    Est(EstId),
}

impl<'m> Inliner<'m> {
    pub(crate) fn new(module: &'m Module) -> Self {
        Inliner {
            module,
            sims: HashMap::new(),
            densities: HashMap::new(),
            ests: HashMap::new(),
            grads: HashMap::new(),
            costs: Vec::new(),
            divergences: Vec::new(),
            active: Vec::new(),
        }
    }

    pub(crate) fn sim(&mut self, id: GenId) -> Result<Func<Est>, Vec<Diagnostic>> {
        if let Some(f) = self.sims.get(&id) {
            return Ok(f.clone());
        }
        let f = self.making(Making::Sim(id), |cx| crate::sim::sim(cx, id))?;
        self.sims.insert(id, f.clone());
        Ok(f)
    }

    pub(crate) fn density(&mut self, id: GenId) -> Result<Func<Est>, Vec<Diagnostic>> {
        let modes = vec![Mode::Scored; self.module.choices(id).len()];
        self.reading(id, &modes)
    }

    pub(crate) fn reading(&mut self, id: GenId, modes: &[Mode]) -> Result<Func<Est>, Vec<Diagnostic>> {
        let key = (id, modes.to_vec());
        if let Some(f) = self.densities.get(&key) {
            return Ok(f.clone());
        }
        let f = self.making(Making::Density(id), |cx| crate::density::reading(cx, id, modes))?;
        self.densities.insert(key, f.clone());
        Ok(f)
    }

    fn est(&mut self, id: EstId) -> Result<Func<Est>, Vec<Diagnostic>> {
        if let Some(f) = self.ests.get(&id) {
            return Ok(f.clone());
        }
        let module = self.module;
        let f = self.making(Making::Est(id), |cx| cx.flat(module.est(id)))?;
        self.ests.insert(id, f.clone());
        Ok(f)
    }

    fn grad(&mut self, id: EstId, wrt: usize) -> Result<Func<Est>, Vec<Diagnostic>> {
        if let Some(f) = self.grads.get(&(id, wrt)) {
            return Ok(f.clone());
        }
        let flat = self.est(id)?;
        let f = crate::grad::grad(self.module, &flat, wrt)?;
        self.grads.insert((id, wrt), f.clone());
        Ok(f)
    }

    fn making<T>(
        &mut self,
        what: Making,
        make: impl FnOnce(&mut Self) -> Result<T, Vec<Diagnostic>>,
    ) -> Result<T, Vec<Diagnostic>> {
        if self.active.contains(&what) {
            let (name, span) = match what {
                Making::Sim(g) | Making::Density(g) => (&self.module.generative(g).name, self.module.generative(g).span),
                Making::Est(e) => (&self.module.est(e).name, self.module.est(e).span),
            };
            let d = Diagnostic::error(Code("E0501"), format!("`{name}` calls itself, which is not compiled yet"))
                .label(span, "reached again from its own body")
                .help("write the repetition as a loop, `for i in n carry (..) { .. }`");
            return Err(vec![d]);
        }
        self.active.push(what);
        let out = make(self);
        self.active.pop();
        out
    }

    /// A copy without calls. Labels may repeat.
    fn flat(&mut self, func: &Func<Est>) -> Result<Func<Est>, Vec<Diagnostic>> {
        let mut b = Builder::<Est>::new(func.name.clone());
        b.func.span = func.span;
        let args: Vec<Atom> =
            func.params.iter().map(|p| b.param(func.vars[p.index()].name.clone(), func.ty(*p).clone()).into()).collect();
        let mut hook = Flat { cx: self, errors: Vec::new() };
        let results = Cx::new(func, &args).block(&mut b, &mut hook, &func.body);
        if hook.errors.is_empty() { Ok(b.finish(results)) } else { Err(hook.errors) }
    }
}

struct Flat<'a, 'm> {
    cx: &'a mut Inliner<'m>,
    errors: Vec<Diagnostic>,
}

impl Hook<Est, Est> for Flat<'_, '_> {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, op: &EstRandom) -> Vec<Atom> {
        let (callee, args) = match op {
            EstRandom::Sim { callee, args } => (self.cx.sim(*callee), args.clone()),
            EstRandom::Density { callee, args, trace } => (self.cx.density(*callee), [&args[..], trace].concat()),
            EstRandom::Call { callee, args } => (self.cx.est(*callee), args.clone()),
            EstRandom::Grad { callee, args, wrt } => (self.cx.grad(*callee, *wrt), args.clone()),
            EstRandom::LogWeight(w) => {
                let mut w = w.clone();
                w.map_atoms(&mut |a| cx.atom(a));
                return match self.cx.log_weight(b, &w) {
                    Ok(w) => vec![w],
                    Err(e) => {
                        self.errors.extend(e);
                        Vec::new()
                    }
                };
            }
            EstRandom::Sample { .. }
            | EstRandom::Draw(_)
            | EstRandom::Path(_)
            | EstRandom::LogDensity { .. }
            | EstRandom::Score { .. }
            | EstRandom::Continue { .. } => {
                let mut op = Op::Random(op.clone());
                ppl_core::map_atoms(&mut op, &mut |a| cx.atom(a));
                let outs = cx.declare(stmt, std::iter::empty());
                return b.emit(op, outs).into_iter().map(Atom::Var).collect();
            }
        };
        match callee {
            Ok(f) => b.inline(&f, &cx.atoms(&args)),
            Err(e) => {
                self.errors.extend(e);
                Vec::new()
            }
        }
    }
}

/// Replaces the program's name in front of every label: `callee.x` becomes `prefix.x`.
pub(crate) fn label_prefix(block: &mut Block<Est>, callee: &str, prefix: &str) {
    each_label(block, &mut |label| {
        if let Some(rest) = label.strip_prefix(callee).filter(|r| r.starts_with('.')) {
            *label = format!("{prefix}{rest}");
        }
    });
}

/// Adds an ordinal to labels that occur again.
pub(crate) fn distinct_labels(block: &mut Block<Est>, seen: &mut HashMap<String, usize>) {
    each_label(block, &mut |label| {
        let first = label.clone();
        let mut n = seen.get(&first).copied().unwrap_or_default();
        // A label with this ordinal may stand in the program already.
        while seen.contains_key(label.as_str()) {
            *label = format!("{first}#{n}");
            n += 1;
        }
        seen.insert(first, n.max(1));
        seen.entry(label.clone()).or_insert(1);
    });
}

fn each_label(block: &mut Block<Est>, f: &mut dyn FnMut(&mut String)) {
    for stmt in &mut block.stmts {
        if let Op::Random(EstRandom::Sample { label, .. }) = &mut stmt.op {
            f(label);
        }
        ppl_core::op_blocks_mut(&mut stmt.op).into_iter().for_each(|b| each_label(b, f));
    }
}
