//! Log weights with exact divergences.
//!
//! in:    `log_weight p(e; t) over q(e'; t), log_q`: a trace `t` of `q` with its log density, scored by `p`
//! out:   `Est`: readings of both programs, which draw nothing; the mean over `t` is that of `log_density(p, t) - log_q`
//! keeps: spans, loops and branches of both programs, and so the scaling of minibatches
//!
//! ```text
//!   W  =  log_q' = K[q](e'; t), the parameters of q at each choice of A its further results
//!         log_p' = K[p](e; t), given these parameters
//!         log_p' - log_q'
//!
//!   K[ x ~ d at a; k ]  =  x = t.a;  K[k]                                   in q, for a in A;  the parameters of d are results
//!                       =  x = t.a;  w += -KL(q's d || d);  K[k]            in p, for a in A
//!                       =  D[ x ~ d at a; k ]                               else ([`mod@crate::density`])
//! ```
//!
//! `A` are the choices of both programs for which this does not change the mean: by the tower rule, the mean of `log p(t.a | ..) - log q(t.a | ..)`
//! given what does not come after `a` is `-KL`. A choice is in `A` if
//!
//! - neither program's choice is inside a marginal or normalised program, and both count equally often (minibatches);
//! - the distribution in `q` declares its divergence from that in `p`;
//! - what `p`'s distribution depends on, the conditions around it included, is neither `t.a` nor anything that `q` draws from `t.a`; element by
//!   element, as [`deps`] finds it.
//!
//! A program whose density is an estimate keeps all log densities, `log_q` of the simulation included: it is unbiased on that side only.

mod deps;

use crate::density::Mode;
use crate::expand::real;
use crate::inline::Inliner;
use deps::{Link, Place, Site};
use ppl_core::{Atom, Builder, Choice, DistUse, Est, GenId, LogWeight, Module, Op, Prim, Ty};
use ppl_diag::Diagnostic;

/// What stands for the log densities of each choice of a log weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergences {
    /// The target's program.
    pub target: String,
    /// The program that draws.
    pub guide: String,
    /// Addresses of choices with an exact divergence.
    pub exact: Vec<String>,
    /// Addresses of the others, and why their log densities stay.
    pub plain: Vec<(String, String)>,
}

/// `-KL(q || p)` of one event.
pub(crate) fn minus_divergence(b: &mut Builder<Est>, module: &Module, q: &DistUse, p: &DistUse) -> Atom {
    let Some(callee) = module.dist(q.dist).divergence(p.dist) else { return Atom::float(f64::NAN) };
    let kl = b.emit1(Op::Call { callee, args: [&q.args[..], &p.args].concat() }, "kl", Ty::FLOAT);
    real(b, Prim::Neg, &[kl])
}

impl Inliner<'_> {
    /// The value of a log weight. Errors: those of the programs.
    pub(crate) fn log_weight(&mut self, b: &mut Builder<Est>, w: &LogWeight) -> Result<Atom, Vec<Diagnostic>> {
        let plan = Plan::new(self.module, w);
        let note = plan.remark(self.module, w);
        if !w.guide_trace.is_empty() && !self.divergences.contains(&note) {
            self.divergences.push(note);
        }
        if plan.exact.is_empty() {
            let f = self.density(w.target)?;
            let log_p = crate::marginal::last(b.inline(&f, &[&w.target_args[..], &w.target_trace].concat()));
            return Ok(real(b, Prim::Sub, &[log_p, w.log_q]));
        }
        let shown = |j: usize| plan.exact.iter().find(|(_, k)| *k == j);
        let modes: Vec<Mode> =
            (0..plan.guide.len()).map(|j| if shown(j).is_some() { Mode::Shown } else { Mode::Scored }).collect();
        let f = self.reading(w.guide, &modes)?;
        let mut outs = b.inline(&f, &[&w.guide_args[..], &w.guide_trace].concat());
        let log_q = outs.pop().unwrap_or(Atom::float(0.0));
        // The parameters of each choice, in the guide's order.
        let counts: Vec<usize> = (0..plan.guide.len())
            .map(|j| if shown(j).is_some() { self.module.dist(plan.guide[j].dist).params.len() } else { 0 })
            .collect();
        let total: usize = counts.iter().sum();
        let params = outs.split_off(outs.len().saturating_sub(total));
        let of = |j: usize| {
            let start: usize = counts[..j].iter().sum();
            params[start..start + counts[j]].to_vec()
        };
        let (mut args, mut modes) = (w.target_args.clone(), Vec::new());
        for (i, value) in w.target_trace.iter().enumerate() {
            args.push(*value);
            modes.push(match plan.exact.iter().find(|(k, _)| *k == i) {
                Some((_, j)) => {
                    args.extend(of(*j));
                    Mode::Measured(plan.guide[*j].dist)
                }
                None => Mode::Scored,
            });
        }
        let f = self.reading(w.target, &modes)?;
        let log_p = crate::marginal::last(b.inline(&f, &args));
        Ok(real(b, Prim::Sub, &[log_p, log_q]))
    }
}

/// Which choices have an exact divergence.
struct Plan {
    target: Vec<Choice>,
    guide: Vec<Choice>,
    /// Choices of both, by number in the target and the guide.
    exact: Vec<(usize, usize)>,
    /// The others, with the reason.
    plain: Vec<(usize, String)>,
}

impl Plan {
    fn new(module: &Module, w: &LogWeight) -> Plan {
        let (target, guide) = (module.choices(w.target), module.choices(w.guide));
        let mut plan = Plan { target, guide, exact: Vec::new(), plain: Vec::new() };
        let same = |a: &Atom, c: &Atom| a == c && a.var().is_some();
        let pairs: Vec<(usize, usize)> = (w.target_trace.iter().enumerate())
            .filter_map(|(i, a)| Some((i, w.guide_trace.iter().position(|c| same(a, c))?)))
            .collect();
        let estimated = [w.target, w.guide].into_iter().find(|g| module.density_is_estimated(*g));
        if let Some(g) = estimated {
            let why = format!("the density of `{}` is an estimate", module.generative(g).name);
            plan.plain = pairs.iter().map(|(i, _)| (*i, why.clone())).collect();
            return plan;
        }
        let (p, q) = (deps::sites(module, w.target, false), deps::sites(module, w.guide, true));
        for (i, j) in &pairs {
            match plan.obstacle(module, w, (&p, &q), &pairs, (*i, *j)) {
                None => plan.exact.push((*i, *j)),
                Some(why) => plan.plain.push((*i, why)),
            }
        }
        plan
    }

    /// Why the log densities of a choice stay.
    fn obstacle(
        &self,
        module: &Module,
        w: &LogWeight,
        (p, q): (&[Site], &[Site]),
        pairs: &[(usize, usize)],
        (i, j): (usize, usize),
    ) -> Option<String> {
        let name = |g: GenId| &module.generative(g).name;
        if let Some(g) = [(p[i].joint, w.target), (q[j].joint, w.guide)].iter().find(|(joint, _)| *joint).map(|(_, g)| *g) {
            return Some(format!("`{}` has no distribution of its own for it", name(g)));
        }
        let (dp, dq) = (self.target[i].dist, self.guide[j].dist);
        if module.dist(dq).divergence(dp).is_none() {
            let (dq, dp) = (&module.dist(dq).name, &module.dist(dp).name);
            return Some(format!("`{dq}` declares no divergence from `{dp}`"));
        }
        if p[i].scale != q[j].scale {
            return Some("it counts differently in the two programs".to_string());
        }
        // Elements of `a` are `x`, those of what p's distribution at `x` depends on are `y`.
        for dep in &p[i].deps {
            let Some((k, l)) = pairs.iter().find(|(k, _)| *k == dep.choice).copied() else { continue };
            let y = ordered(&dep.links, &p[i].axes);
            if k == i && !y.iter().any(|o| o.before && o.of == o.to) {
                return Some(format!("its distribution in `{}` depends on other elements of it", name(w.target)));
            }
            let meets = q[l].deps.iter().filter(|d| d.choice == j).any(|d| {
                let x = ordered(&d.links, &q[l].axes);
                // Before or at `x`, and drawn from `x`: not both.
                !y.iter().any(|y| x.iter().any(|x| (x.of, x.to) == (y.to, y.of) && (x.before || y.before)))
            });
            if meets {
                let (of, from) = (&self.target[k].addr, name(w.guide));
                let what = if k == i { "elements of it that" } else { &format!("`{of}`, which") };
                return Some(format!(
                    "its distribution in `{}` depends on {what} `{from}` draws after it and from it",
                    name(w.target)
                ));
            }
        }
        None
    }

    fn remark(&self, module: &Module, w: &LogWeight) -> Divergences {
        let addr = |i: usize| self.target[i].addr.clone();
        Divergences {
            target: module.generative(w.target).name.clone(),
            guide: module.generative(w.guide).name.clone(),
            exact: self.exact.iter().map(|(i, _)| addr(*i)).collect(),
            plain: self.plain.iter().map(|(i, why)| (addr(*i), why.clone())).collect(),
        }
    }
}

/// Axis `of` of what is depended on has the index of axis `to` of what depends, or one before it.
struct Order {
    of: usize,
    to: usize,
    before: bool,
}

/// How the indices of what is depended on stand to those of what depends, whose axes are the loops `axes`.
fn ordered(links: &[Link], axes: &[usize]) -> Vec<Order> {
    let order = |(of, l): (usize, &Link)| {
        let (place, before) = match l {
            Link::Any => return None,
            Link::Same(p) => (p, false),
            Link::Before(p) => (p, true),
        };
        let Place::Loop(l) = place else { return None };
        Some(Order { of, to: axes.iter().position(|a| a == l)?, before })
    };
    links.iter().enumerate().filter_map(order).collect()
}
