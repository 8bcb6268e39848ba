//! Normalised targets, by importance resampling.
//!
//! in:    `normalize p given y by sir(q, N)`, its arguments in place
//! out:   `Est` statements: a draw `t` of the choices that are not given with its log density, or the log density of a given `t`
//! keeps: strategies of the choices inside; the resampled index is a sample with a strategy of its own
//!
//! ```text
//!   S     =  t_i ~ sim q, i < N;  w_i = log p(t_i, y) - log q(t_i);  index ~ categorical_logits(w);  t = t_index
//!            (t, log p(t, y) - log_mean_exp(w))
//!   D[t]  =  t_0 = t;  t_1 .. t_N-1 ~ sim q;  the same w;  log p(t, y) - log_mean_exp(w)
//! ```
//!
//! Without `q` the program proposes `t` itself, what is given scored. `exp` of `D` is unbiased for the density of the program `S`,
//! which nears the posterior as `N` grows; given `t`, the others of `S` are fresh, so `exp` of the negative is unbiased for its reciprocal.

use crate::density::Mode;
use crate::expand::real;
use crate::inline::Inliner;
use crate::marginal::{last, log_mean_exp, modes};
use ppl_core::{Atom, Builder, DistUse, Est, EstRandom, Integral, Op, Prim, StrategyUse, Ty};
use ppl_diag::{Code, Diagnostic};

type Result<T> = std::result::Result<T, Vec<Diagnostic>>;

impl Inliner<'_> {
    pub(crate) fn resampled_sim(&mut self, b: &mut Builder<Est>, name: &str, i: &Integral) -> Result<(Vec<Atom>, Atom)> {
        let lane = b.index_var("draw");
        b.begin();
        let one = self.proposed(b, i, &[]);
        let results = one.as_ref().map_or(Vec::new(), |p| {
            let latent = p.values.iter().enumerate().filter(|(k, _)| i.keeps(*k)).map(|(_, a)| *a);
            std::iter::once(p.weight).chain(p.log_p).chain(latent).collect()
        });
        let body = b.end(results);
        let scored = one?.log_p.is_some();
        let outs: Vec<Atom> = b.map(i.count, lane, body).into_iter().map(Atom::Var).collect();
        let ws = outs[0];
        let index = self.index(b, name, i, ws)?;
        let mut chosen: Vec<Atom> = outs[1..].iter().map(|x| b.gather(*x, index, 0)).collect();
        let log_p = if scored { chosen.remove(0) } else { self.joint(b, i, &chosen)? };
        let total = log_mean_exp(b, ws);
        let log_density = real(b, Prim::Sub, &[log_p, total]);
        Ok((chosen, log_density))
    }

    pub(crate) fn resampled_density(&mut self, b: &mut Builder<Est>, i: &Integral, t: &[Atom]) -> Result<Atom> {
        let choices = self.module.choices(i.callee);
        let all = self.filled(i, t);
        let log_p = self.joint(b, i, t)?;
        let own = match &i.proposal {
            None => {
                let f = self.reading(i.callee, &modes(i, choices.len(), Mode::Known))?;
                last(b.inline(&f, &[&i.args[..], &all].concat()))
            }
            Some(p) => {
                let log_q = self.proposal_density(b, i, p, &[], &choices, &all)?;
                real(b, Prim::Sub, &[log_p, log_q])
            }
        };
        let total = if i.count == 1 {
            own
        } else {
            let others = self.repeated(b, i.count - 1, |cx, b| cx.fresh_weight(b, i, &[]))?;
            let first = b.full(own, &[1]);
            let ws = b.concat(&[first, others], 0);
            log_mean_exp(b, ws)
        };
        Ok(real(b, Prim::Sub, &[log_p, total]))
    }

    /// Every choice of the program, from those that are kept.
    pub(crate) fn filled(&self, i: &Integral, kept: &[Atom]) -> Vec<Atom> {
        let mut kept = kept.iter();
        let n = self.module.choices(i.callee).len();
        (0..n).filter_map(|k| i.value_of(k).or_else(|| if i.keeps(k) { kept.next().copied() } else { None })).collect()
    }

    /// The joint log density of what is kept and what is given.
    fn joint(&mut self, b: &mut Builder<Est>, i: &Integral, t: &[Atom]) -> Result<Atom> {
        let f = self.density(i.callee)?;
        Ok(last(b.inline(&f, &[&i.args[..], &self.filled(i, t)].concat())))
    }

    /// An index drawn by log weights, with its strategy.
    pub(crate) fn index(&mut self, b: &mut Builder<Est>, name: &str, i: &Integral, ws: Atom) -> Result<Atom> {
        let Some(r) = &i.index else {
            let d = Diagnostic::error(Code("E0903"), format!("`{name}` resamples without a distribution for its index"));
            return Err(vec![d]);
        };
        let dist = DistUse { dist: r.dist, args: vec![ws] };
        let strategy: StrategyUse = r.strategy.clone();
        let op = EstRandom::Sample { dist, strategy, label: format!("{name}.index") };
        Ok(b.emit1(Op::Random(op), "index", Ty::INT))
    }
}
