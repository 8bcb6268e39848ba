//! Exact sums over finite choices, by elimination.
//!
//! in:    the density form of a program, and which of its choices are summed
//! out:   `Est` statements: `log sum over u of exp(log_w(x, u))`; or a draw of `u` from `exp(log_w) / sum`, with its log density
//! keeps: densities as operations, so that later passes see them
//!
//! `log_w` is a sum of terms, each of which depends on some choices `S`, element by element along plates `P` ([`flow`]):
//!
//! ```text
//!   table     f[p, s] = the terms of one (P, S), computed in a nest of maps over plates and values         ([`tables`])
//!   choice z  f[p, s \ z] = log sum exp over z of the sum of all tables with z                              cost |P| |S| values
//!   plate     f[s] = sum over p of f[p, s]                                                                  once no choice of p is left
//!   scan      W[t, k', k] = the terms of step t, whose carry is what step t - 1 hands on where its choices are k'
//!             a_t[k] = log sum exp over k' of a_t-1[k'] + W[t, k', k];  a_-1 = the first carry              cost T K^2 ([`chain`])
//! ```
//!
//! so plates cost N K, chains T K^2, and code size does not grow with N or T. Choices with more plates go first, then those with the
//! smallest tables. Choices that something couples (a value across elements, a carry that depends on carries) are
//! summed over all their combinations where these are few ([`JOINT`]), and refused beyond. A draw goes backwards through the same tables.

mod chain;
mod flow;
mod joint;
mod tables;

use crate::density::Mode;
use crate::expand::real;
use crate::inline::Inliner;
use crate::marginal::log_sum_exp;
use flow::Flow;
use ppl_core::{Atom, Builder, DType, DistUse, Est, EstRandom, Func, Integral, Op, Prim, ReduceOp, Support, Ty, Var};
use ppl_diag::{Code, Diagnostic, Span};
use std::collections::BTreeSet;

type Result<T> = std::result::Result<T, Vec<Diagnostic>>;

/// Most entries of one table.
const TABLE: usize = 10_000_000;
/// Most combinations that are summed one by one.
const JOINT: usize = 65_536;

/// What a sum costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EliminationCost {
    /// The program.
    pub program: String,
    /// The choices that are summed.
    pub choices: Vec<String>,
    /// How, in a few words.
    pub text: String,
    /// Number of densities (or groups of them) that are evaluated.
    pub evaluations: usize,
    /// Where the program is declared.
    pub span: Span,
}

/// A finite choice that is summed.
#[derive(Clone, Debug)]
pub(crate) struct Latent {
    pub(crate) name: String,
    /// Parameter of the density form.
    pub(crate) param: Var,
    pub(crate) values: usize,
    pub(crate) support: Support,
    /// Whether it stands under an `if`.
    pub(crate) conditional: bool,
}

/// A table of log weights: an axis for each plate, then one for each choice, in order.
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    pub(crate) value: Atom,
    pub(crate) plates: Vec<usize>,
    pub(crate) latents: Vec<usize>,
}

/// What is needed to draw an eliminated choice.
pub(crate) struct Eliminated {
    pub(crate) latent: usize,
    /// The table with the choice as its last axis.
    pub(crate) table: Factor,
}

impl Inliner<'_> {
    /// The log of the sum over everything that is neither kept nor given.
    pub(crate) fn exact_density(&mut self, b: &mut Builder<Est>, i: &Integral, kept: &[Atom]) -> Result<Atom> {
        if i.kind == ppl_core::IntegralKind::Normalize {
            let all = self.filled(i, kept);
            let f = self.density(i.callee)?;
            let log_p = crate::marginal::last(b.inline(&f, &[&i.args[..], &all].concat()));
            let (z, _) = self.summed(b, i, &[])?;
            return Ok(real(b, Prim::Sub, &[log_p, z]));
        }
        Ok(self.summed(b, i, kept)?.0)
    }

    /// A draw of what is kept with its exact log density.
    pub(crate) fn exact_sim(&mut self, b: &mut Builder<Est>, name: &str, i: &Integral) -> Result<(Vec<Atom>, Atom)> {
        if i.kind == ppl_core::IntegralKind::Normalize {
            let (z, back) = self.summed(b, i, &[])?;
            let kept = self.drawn_back(b, name, i, back)?;
            let all = self.filled(i, &kept);
            let f = self.density(i.callee)?;
            let log_p = crate::marginal::last(b.inline(&f, &[&i.args[..], &all].concat()));
            return Ok((kept, real(b, Prim::Sub, &[log_p, z])));
        }
        let f = self.sim(i.callee)?;
        let mut outs = b.inline(&f, &i.args);
        outs.pop();
        let all = outs.split_off(outs.len() - self.module.choices(i.callee).len());
        let kept: Vec<Atom> = all.iter().enumerate().filter(|(k, _)| i.keeps(*k)).map(|(_, a)| *a).collect();
        let z = self.exact_density(b, i, &kept)?;
        Ok((kept, z))
    }

    /// The sum, and what draws need.
    fn summed(&mut self, b: &mut Builder<Est>, i: &Integral, kept: &[Atom]) -> Result<(Atom, Backwards)> {
        let choices = self.module.choices(i.callee);
        let marginal = i.kind != ppl_core::IntegralKind::Normalize;
        let f = self.reading(i.callee, &vec![Mode::Scored; choices.len()])?;
        let first = f.params.len() - choices.len();
        let mut next = kept.iter();
        let mut args: Vec<Option<Atom>> = i.args.iter().map(|a| Some(*a)).collect();
        let mut latents = Vec::new();
        let mut errors = Vec::new();
        for (k, c) in choices.iter().enumerate() {
            let known = i.value_of(k).or_else(|| if marginal && i.keeps(k) { next.next().copied() } else { None });
            args.push(known);
            if known.is_some() {
                continue;
            }
            match c.support.size() {
                Some(values) => latents.push(Latent {
                    name: c.addr.clone(),
                    param: f.params[first + k],
                    values,
                    support: c.support.clone(),
                    conditional: c.conditional,
                }),
                None => errors.push(infinite(&c.addr, &self.module.dist(c.dist).name, &c.support, c.span)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let g = self.module.generative(i.callee);
        let (program, span) = (g.name.clone(), g.span);
        let names: Vec<String> = latents.iter().map(|l| l.name.clone()).collect();
        let simple = simplified(&f, &latents);
        let flow = Flow::new(&simple, &latents);
        let saved = b.clone();
        let (out, text, evaluations) = match tables::eliminate(b, &flow, &args) {
            Ok(done) => (done.0, done.1.text.join("; "), done.1.evaluations),
            Err(why) => {
                *b = saved;
                let count = joint::combinations(&simple, &latents);
                let Some(n) = count.filter(|n| *n <= JOINT) else {
                    return Err(vec![too_large(&program, &names, count, &why, span)]);
                };
                let z = joint::sum(b, &simple, &latents, &args, n);
                (
                    (
                        z,
                        Backwards {
                            steps: Vec::new(),
                            latents: latents.clone(),
                            joint: Some(why),
                            chains: Vec::new(),
                            plates: Vec::new(),
                        },
                    ),
                    format!("{n} combinations"),
                    n,
                )
            }
        };
        if !self.costs.iter().any(|c| c.program == program && c.choices == names) {
            self.costs.push(EliminationCost { program, choices: names, text, evaluations, span });
        }
        Ok(out)
    }

    /// Draws the choices, last eliminated first.
    fn drawn_back(&mut self, b: &mut Builder<Est>, name: &str, i: &Integral, back: Backwards) -> Result<Vec<Atom>> {
        if let Some(why) = &back.joint {
            let g = self.module.generative(i.callee);
            return Err(vec![
                Diagnostic::error(Code("E0431"), format!("the posterior of `{}` cannot be drawn exactly", g.name))
                    .label(g.span, why.clone())
                    .note("its combinations can be summed, but the draw goes element by element")
                    .help("use `sir` with a proposal"),
            ]);
        }
        let dists: Vec<_> =
            i.sites.iter().map(|s| (s.dist, s.strategy.clone(), self.module.dist(s.dist).params[0].1.shape.clone())).collect();
        let mut known: Vec<Option<Atom>> = vec![None; back.latents.len() + back.chains.len()];
        let sample = |b: &mut Builder<Est>, site: Option<usize>, logits: Atom, label: &str| -> Atom {
            let wanted = b.ty(logits).shape;
            let found = site.and_then(|n| dists.get(n)).or_else(|| dists.iter().skip(back.latents.len()).find(|d| d.2 == wanted));
            let Some((dist, strategy, _)) = found.cloned() else { return Atom::int(-1) };
            let op = EstRandom::Sample { dist: DistUse { dist, args: vec![logits] }, strategy, label: format!("{name}.{label}") };
            b.emit1(Op::Random(op), "k", Ty::INT)
        };
        if let Some(c) = back
            .chains
            .iter()
            .find(|c| c.single().is_none() && !dists.iter().skip(back.latents.len()).any(|d| d.2 == [c.states()]))
        {
            let g = self.module.generative(i.callee);
            return Err(vec![
                Diagnostic::error(Code("E0431"), format!("the posterior of `{}` cannot be drawn exactly", g.name))
                    .label(g.span, format!("each step of its loop has {} states together", c.states()))
                    .help("use `sir` with a proposal"),
            ]);
        }
        for e in back.steps.iter().rev() {
            let chain = e.latent.checked_sub(back.latents.len());
            let (site, label) = match chain {
                Some(c) => (back.chains[c].single(), back.chains[c].label.clone()),
                None => (Some(e.latent), back.latents[e.latent].name.clone()),
            };
            let outer: Vec<(usize, Atom, Vec<usize>)> = e
                .table
                .latents
                .iter()
                .filter(|l| **l != e.latent)
                .filter_map(|l| known[*l].map(|a| (*l, a, back.plates_of(*l))))
                .collect();
            let sizes = b.ty(e.table.value).shape;
            let drawn = nest(b, &sizes[..e.table.plates.len()], &mut |b, at| {
                let mut t = e.table.value;
                at.iter().for_each(|n| t = b.gather(t, *n, 0));
                for (_, values, plates) in &outer {
                    let v = at_plates(b, *values, plates, &e.table.plates, at);
                    t = b.gather(t, v, 0);
                }
                sample(b, site, t, &label)
            });
            known[e.latent] = Some(drawn);
            if let Some(c) = chain {
                back.chains[c]
                    .draw_back(b, drawn, &e.table.plates, &known, &back, &mut |b, logits| sample(b, site, logits, &label))
                    .into_iter()
                    .for_each(|(l, v)| known[l] = Some(v));
            }
        }
        Ok(back.latents.iter().enumerate().map(|(n, l)| known[n].map_or(Atom::int(0), |k| value_of(b, l, k))).collect())
    }
}

/// What draws need: tables in the order of elimination.
pub(crate) struct Backwards {
    pub(crate) steps: Vec<Eliminated>,
    pub(crate) latents: Vec<Latent>,
    /// Why the combinations were summed one by one.
    pub(crate) joint: Option<String>,
    pub(crate) chains: Vec<chain::Chain>,
    /// Plates of each choice, then of each chain's state.
    pub(crate) plates: Vec<Vec<usize>>,
}

impl Backwards {
    pub(crate) fn plates_of(&self, latent: usize) -> Vec<usize> {
        self.plates.get(latent).cloned().unwrap_or_default()
    }
}

/// Runs `f` for every index of the axes `sizes`; its value, stacked.
pub(crate) fn nest(b: &mut Builder<Est>, sizes: &[usize], f: &mut dyn FnMut(&mut Builder<Est>, &[Atom]) -> Atom) -> Atom {
    fn go(
        b: &mut Builder<Est>,
        sizes: &[usize],
        at: &mut Vec<Atom>,
        f: &mut dyn FnMut(&mut Builder<Est>, &[Atom]) -> Atom,
    ) -> Atom {
        let Some((n, rest)) = sizes.split_first() else { return f(b, at) };
        let index = b.index_var("i");
        b.begin();
        at.push(index.into());
        let v = go(b, rest, at, f);
        at.pop();
        let body = b.end(vec![v]);
        b.map(*n, index, body)[0].into()
    }
    go(b, sizes, &mut Vec::new(), f)
}

/// An array over the plates `own` at the indices `at` of the plates `plates`.
pub(crate) fn at_plates(b: &mut Builder<Est>, x: Atom, own: &[usize], plates: &[usize], at: &[Atom]) -> Atom {
    let mut x = x;
    for p in own {
        if let Some(n) = plates.iter().position(|q| q == p) {
            x = b.gather(x, at[n], 0);
        }
    }
    x
}

/// The value number `k` of a finite support, elementwise.
pub(crate) fn value_of(b: &mut Builder<Est>, l: &Latent, k: Atom) -> Atom {
    let shape = b.ty(k).shape;
    match &l.support {
        Support::Boolean => b.emit1(Op::Prim(Prim::Ne, vec![k, Atom::int(0)]), &l.name, Ty::new(DType::Bool, shape)),
        Support::Integers { lo, .. } if *lo != 0 => {
            b.emit1(Op::Prim(Prim::Add, vec![k, Atom::int(*lo)]), &l.name, Ty::new(DType::Int, shape))
        }
        _ => k,
    }
}

/// The density form with stacks of a choice's own elements replaced by the choice.
fn simplified(f: &Func<Est>, latents: &[Latent]) -> Func<Est> {
    let known: BTreeSet<Var> = latents.iter().map(|l| l.param).collect();
    let mut f = f.clone();
    let mut map = std::collections::HashMap::new();
    for s in &f.body.stmts {
        let Op::Map { index, body, len } = &s.op else { continue };
        for (out, r) in s.outs.iter().zip(&body.results) {
            let Some(v) = r.var() else { continue };
            let element = body.stmts.iter().find(|s| s.outs.contains(&v)).map(|s| &s.op);
            if let Some(Op::Gather { x: Atom::Var(x), idx, batch: 0 }) = element
                && known.contains(x)
                && *idx == Atom::Var(*index)
                && f.ty(*x).shape == [*len]
            {
                map.insert(*out, Atom::Var(*x));
            }
        }
    }
    // The loop keeps its outputs: only their uses change.
    let results = f.body.results.clone();
    for s in &mut f.body.stmts {
        ppl_core::map_atoms(&mut s.op, &mut |a| a.var().and_then(|v| map.get(&v).copied()).unwrap_or(a));
        ppl_core::op_blocks_mut(&mut s.op).into_iter().for_each(|b| ppl_core::substitute_block(b, &map));
    }
    f.body.results = results;
    f
}

/// Adds tables over the same axes: all are brought to `plates`, `latents`.
pub(crate) fn combined(b: &mut Builder<Est>, fs: &[Factor], plates: &[usize], latents: &[usize], shape: &[usize]) -> Atom {
    let mut total: Option<Atom> = None;
    for f in fs {
        let axes: Vec<usize> = f
            .plates
            .iter()
            .filter_map(|p| plates.iter().position(|q| p == q))
            .chain(f.latents.iter().filter_map(|l| latents.iter().position(|m| l == m)).map(|n| plates.len() + n))
            .collect();
        // Ascending axes for the broadcast.
        let mut perm: Vec<usize> = (0..axes.len()).collect();
        perm.sort_by_key(|i| axes[*i]);
        let value = b.transpose(f.value, &perm);
        let sorted: Vec<usize> = perm.iter().map(|i| axes[*i]).collect();
        let value = b.broadcast(value, shape, &sorted);
        total = Some(match total {
            None => value,
            Some(t) => real(b, Prim::Add, &[t, value]),
        });
    }
    total.unwrap_or_else(|| b.full(Atom::float(0.0), shape))
}

/// `f` without the plates that are not in `keep`: summed.
pub(crate) fn over_plates(b: &mut Builder<Est>, f: &Factor, keep: &[usize]) -> Factor {
    let gone: Vec<usize> = (0..f.plates.len()).filter(|i| !keep.contains(&f.plates[*i])).collect();
    let value = b.reduce(ReduceOp::Sum, f.value, &gone);
    let plates = f.plates.iter().copied().filter(|p| keep.contains(p)).collect();
    Factor { value, plates, latents: f.latents.clone() }
}

/// The log sum over the last axis.
pub(crate) fn without_last(b: &mut Builder<Est>, value: Atom) -> Atom {
    let axis = b.ty(value).rank() - 1;
    log_sum_exp(b, value, axis)
}

fn infinite(name: &str, dist: &str, support: &Support, span: Span) -> Diagnostic {
    let kind = if support.is_discrete() { "has no known end" } else { "is continuous" };
    Diagnostic::error(Code("E0430"), format!("`{name}` cannot be summed by enumeration"))
        .label(span, format!("`{dist}`: its support, {support}, {kind}"))
        .note("enumeration sums over choices with finitely many values: `flip`, `categorical`, integers between known bounds")
        .help(format!("keep `{name}`, or use `importance(proposal, 10)`"))
}

fn too_large(program: &str, names: &[String], count: Option<usize>, why: &str, span: Span) -> Diagnostic {
    let many = count.map_or_else(|| "more than can be counted".to_string(), |n| format!("{n}"));
    let list: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    Diagnostic::error(Code("E0432"), format!("summing {} of `{program}` is too large", list.join(", ")))
        .label(span, why.to_string())
        .note(format!("one by one there are {many} combinations; at most {JOINT} are summed"))
        .help("use `importance(proposal, 10)` for these choices, or make what couples them a sum over elements")
}
