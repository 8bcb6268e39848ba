//! Marginals of generative functions, by weighted draws.
//!
//! in:    `marginal { x } of p given y by importance(q, N)`, its arguments in place
//! out:   `Est` statements: a draw of `x` with its log density, or the log density of a given `x`
//! keeps: strategies of the choices inside
//!
//! With `u` the choices that are integrated out:
//!
//! ```text
//!   D[x]  =  u_i ~ sim q(x), i < N;  w_i = log p(x, u_i, y) - log q(u_i);  log_mean_exp(w)
//!   S     =  (x, u_0) ~ sim p;  u_1 .. u_N-1 ~ sim q(x);  the same w, u_0 among them;  (x, log_mean_exp(w))
//! ```
//!
//! Without `q` the program itself proposes `u`, its other choices scored as given: `w_i` is then the density of `x` and `y` alone.
//! `exp` of `D` is unbiased for the density of `x`. `S` is a conditional run: given `x`, `u_0` has the posterior `p(u | x)`, and `exp` of
//! the negative is unbiased for the reciprocal of the density.
//!
//! Not handled: simulation with given choices, which would need the posterior (E0420).

use crate::density::Mode;
use crate::expand::real;
use crate::inline::Inliner;
use ppl_core::{Algorithm, Atom, Builder, Choice, Est, Integral, IntegralKind, Op, Prim, Proposal, ReduceOp, Ty};
use ppl_diag::{Code, Diagnostic, Span};

type Result<T> = std::result::Result<T, Vec<Diagnostic>>;

impl Inliner<'_> {
    /// A draw of an integral's choices with their log density. Errors: what can't be simulated (E0420), and those of the programs inside.
    pub(crate) fn integral_sim(&mut self, b: &mut Builder<Est>, name: &str, i: &Integral) -> Result<(Vec<Atom>, Atom)> {
        match (&i.kind, i.algorithm) {
            (IntegralKind::Marginal { .. }, _) if !i.given.is_empty() => Err(vec![given_and_drawn(self, i)]),
            (IntegralKind::Marginal { .. }, Algorithm::Importance) => self.marginal_sim(b, i),
            (IntegralKind::Normalize, Algorithm::Importance) => self.resampled_sim(b, name, i),
            (_, Algorithm::Smc) => self.smc_sim(b, name, i),
            (_, Algorithm::Enumeration) => self.exact_sim(b, name, i),
        }
    }

    /// The log density of an integral's choices. Errors: those of the programs inside.
    pub(crate) fn integral_density(&mut self, b: &mut Builder<Est>, name: &str, i: &Integral, kept: &[Atom]) -> Result<Atom> {
        match (&i.kind, i.algorithm) {
            (IntegralKind::Marginal { .. }, Algorithm::Importance) => {
                let ws = self.repeated(b, i.count, |cx, b| cx.fresh_weight(b, i, kept))?;
                Ok(log_mean_exp(b, ws))
            }
            (IntegralKind::Normalize, Algorithm::Importance) => self.resampled_density(b, i, kept),
            (_, Algorithm::Smc) => self.smc_density(b, name, i, kept),
            (_, Algorithm::Enumeration) => self.exact_density(b, i, kept),
        }
    }

    fn marginal_sim(&mut self, b: &mut Builder<Est>, i: &Integral) -> Result<(Vec<Atom>, Atom)> {
        let f = self.sim(i.callee)?;
        let mut outs = b.inline(&f, &i.args);
        let log_p = outs.pop().unwrap_or(Atom::float(0.0));
        let choices = self.module.choices(i.callee);
        let all = outs.split_off(outs.len() - choices.len());
        let kept: Vec<Atom> = all.iter().enumerate().filter(|(k, _)| i.keeps(*k)).map(|(_, a)| *a).collect();
        let own = match &i.proposal {
            None => {
                let f = self.reading(i.callee, &modes(i, choices.len(), Mode::Known))?;
                last(b.inline(&f, &[&i.args[..], &all].concat()))
            }
            Some(p) => {
                let log_q = self.proposal_density(b, i, p, &kept, &choices, &all)?;
                real(b, Prim::Sub, &[log_p, log_q])
            }
        };
        if i.count == 1 {
            return Ok((kept, own));
        }
        let others = self.repeated(b, i.count - 1, |cx, b| cx.fresh_weight(b, i, &kept))?;
        let first = b.full(own, &[1]);
        let ws = b.concat(&[first, others], 0);
        Ok((kept, log_mean_exp(b, ws)))
    }

    /// The log weight of one fresh proposal of what is integrated out.
    pub(crate) fn fresh_weight(&mut self, b: &mut Builder<Est>, i: &Integral, kept: &[Atom]) -> Result<Atom> {
        self.proposed(b, i, kept).map(|p| p.weight)
    }

    /// One fresh proposal of the choices that are neither kept nor given.
    pub(crate) fn proposed(&mut self, b: &mut Builder<Est>, i: &Integral, kept: &[Atom]) -> Result<Proposed> {
        let choices = self.module.choices(i.callee);
        let marginal = matches!(i.kind, IntegralKind::Marginal { .. });
        let fixed = |k: usize| i.value_of(k).is_some() || marginal && i.keeps(k);
        let mut next = kept.iter();
        let mut values: Vec<Option<Atom>> =
            (0..choices.len()).map(|k| i.value_of(k).or_else(|| if fixed(k) { next.next().copied() } else { None })).collect();
        let Some(p) = &i.proposal else {
            let modes: Vec<Mode> = (0..choices.len()).map(|k| if fixed(k) { Mode::Scored } else { Mode::Drawn }).collect();
            let f = self.reading(i.callee, &modes)?;
            let given: Vec<Atom> = values.iter().flatten().copied().collect();
            let mut outs = b.inline(&f, &[&i.args[..], &given].concat());
            let weight = outs.pop().unwrap_or(Atom::float(0.0));
            let drawn = outs.split_off(outs.len() - modes.iter().filter(|m| **m == Mode::Drawn).count());
            let mut drawn = drawn.into_iter();
            values.iter_mut().filter(|v| v.is_none()).for_each(|v| *v = drawn.next());
            return Ok(Proposed { values: values.into_iter().flatten().collect(), weight, log_p: None });
        };
        let f = self.sim(p.callee)?;
        let mut outs = b.inline(&f, &proposal_args(i, p, kept));
        let log_q = outs.pop().unwrap_or(Atom::float(0.0));
        let proposed = self.module.choices(p.callee);
        let drawn = outs.split_off(outs.len() - proposed.len());
        for (v, c) in values.iter_mut().zip(&choices).filter(|(v, _)| v.is_none()) {
            *v = proposed.iter().position(|q| q.addr == c.addr).map(|at| drawn[at]);
        }
        let values: Vec<Atom> = values.into_iter().flatten().collect();
        let f = self.density(i.callee)?;
        let log_p = last(b.inline(&f, &[&i.args[..], &values].concat()));
        Ok(Proposed { values, weight: real(b, Prim::Sub, &[log_p, log_q]), log_p: Some(log_p) })
    }

    /// The proposal's log density of its choices among `all` choices of the program.
    pub(crate) fn proposal_density(
        &mut self,
        b: &mut Builder<Est>,
        i: &Integral,
        p: &Proposal,
        kept: &[Atom],
        choices: &[Choice],
        all: &[Atom],
    ) -> Result<Atom> {
        let f = self.density(p.callee)?;
        let mut args = proposal_args(i, p, kept);
        for q in self.module.choices(p.callee) {
            args.extend(choices.iter().position(|c| c.addr == q.addr).map(|at| all[at]));
        }
        Ok(last(b.inline(&f, &args)))
    }

    /// A real scalar computed `n` times, independently: their array.
    pub(crate) fn repeated(
        &mut self,
        b: &mut Builder<Est>,
        n: usize,
        one: impl FnOnce(&mut Self, &mut Builder<Est>) -> Result<Atom>,
    ) -> Result<Atom> {
        let index = b.index_var("draw");
        b.begin();
        let w = one(self, b);
        let body = b.end(vec![*w.as_ref().unwrap_or(&Atom::float(0.0))]);
        w?;
        Ok(b.map(n, index, body)[0].into())
    }
}

/// One proposal.
pub(crate) struct Proposed {
    /// Every choice of the program, given and kept ones included.
    pub(crate) values: Vec<Atom>,
    /// Log weight.
    pub(crate) weight: Atom,
    /// Log density of all of them, where it was computed.
    pub(crate) log_p: Option<Atom>,
}

/// What is kept or given is scored; the rest is in mode `rest`.
pub(crate) fn modes(i: &Integral, n: usize, rest: Mode) -> Vec<Mode> {
    let marginal = matches!(i.kind, IntegralKind::Marginal { .. });
    (0..n).map(|k| if i.value_of(k).is_some() || marginal && i.keeps(k) { Mode::Scored } else { rest }).collect()
}

fn proposal_args(i: &Integral, p: &Proposal, kept: &[Atom]) -> Vec<Atom> {
    let trace = if p.takes_trace && matches!(i.kind, IntegralKind::Marginal { .. }) { kept } else { &[] };
    [trace, &p.args[..]].concat()
}

pub(crate) fn last(outs: Vec<Atom>) -> Atom {
    outs.last().copied().unwrap_or(Atom::float(0.0))
}

/// `log(mean(exp(ws)))` of a vector, without overflow; an infinity where all are that, with gradient 0.
pub(crate) fn log_mean_exp(b: &mut Builder<Est>, ws: Atom) -> Atom {
    let n = b.ty(ws).shape.first().copied().unwrap_or(1);
    let l = log_sum_exp(b, ws, 0);
    if n == 1 { l } else { real(b, Prim::Sub, &[l, Atom::float((n as f64).ln())]) }
}

/// `log(sum(exp(ws)))` along one axis, without overflow; `-inf` where all are, with gradient 0.
pub(crate) fn log_sum_exp(b: &mut Builder<Est>, ws: Atom, axis: usize) -> Atom {
    let ty = b.ty(ws);
    let max = b.reduce(ReduceOp::Max, ws, &[axis]);
    if ty.shape[axis] == 1 {
        return max;
    }
    let max = b.stop(max);
    let shape = b.ty(max).shape;
    let ok = b.emit1(Op::Prim(Prim::IsFinite, vec![max]), "finite", Ty::new(ppl_core::DType::Bool, shape.clone()));
    let pick = |b: &mut Builder<Est>, x: Atom, y: f64| {
        let y = b.full(Atom::float(y), &shape);
        real(b, Prim::Select, &[ok, x, y])
    };
    let at = pick(b, max, 0.0);
    let others: Vec<usize> = (0..ty.rank()).filter(|a| *a != axis).collect();
    let spread = b.broadcast(at, &ty.shape, &others);
    let d = real(b, Prim::Sub, &[ws, spread]);
    let e = real(b, Prim::Exp, &[d]);
    let s = b.reduce(ReduceOp::Sum, e, &[axis]);
    let s = pick(b, s, 1.0);
    let l = real(b, Prim::Log, &[s]);
    let l = real(b, Prim::Add, &[at, l]);
    real(b, Prim::Select, &[ok, l, max])
}

/// A marginal of a target is simulated.
fn given_and_drawn(cx: &Inliner<'_>, i: &Integral) -> Diagnostic {
    let g = cx.module.generative(i.callee);
    let choices = cx.module.choices(i.callee);
    let given: Vec<String> = i.given.iter().filter_map(|(k, _)| choices.get(*k)).map(|c| format!("`{}`", c.addr)).collect();
    Diagnostic::error(Code("E0420"), format!("a marginal of `{}` with given choices can be scored, not simulated", g.name))
        .label(g.span, format!("{} given", given.join(", ")))
        .note("its draws would have to come from the posterior")
        .help("use `normalize .. by sir(guide(), 20)` to draw from a posterior, or use the marginal as the model")
}

/// Of an inner integral's choices only some are given.
pub(crate) fn partly_given(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(Code("E0421"), format!("some choices of `{name}` are given and the others have to be proposed"))
        .label(span, "this program is itself marginal or normalised, so it can't be run from part of its choices")
        .help("name an algorithm with a proposal for what is integrated out: `marginal { .. } of .. by importance(proposal, 5)`")
}
