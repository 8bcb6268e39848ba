//! Simulated and scored programs, and which evidence each has.

use super::form::{Identity, Kind, Lin, Root, Scored, Simulated, SymId};
use super::walk::{Walk, hash};
use ppl_core::{Atom, EstRandom, GenId, IntegralKind, RandomOp, Stage, Var};
use std::collections::BTreeSet;

impl<S: Stage> Walk<'_, S> {
    /// A random operation: the densities of traces are symbols, the rest is not followed.
    pub(super) fn random(&mut self, outs: &[Var], r: &EstRandom) {
        match r {
            EstRandom::Sim { callee, args } => {
                let (args_roots, program_key) = (self.roots(args), hash(("program", callee.0, self.keys(args))));
                let choices = self.module.choices(*callee).len();
                let posterior = self.posterior(*callee, &self.keys(args));
                let id = self.symbol(Kind::Simulated(Simulated { program: *callee, choices, program_key, posterior }));
                let all: BTreeSet<Root> = (0..choices).map(|j| Root::Choice(id, j)).chain(args_roots).collect();
                let results = outs.len().saturating_sub(choices + 1);
                for (k, out) in outs.iter().enumerate() {
                    let key = hash(("simulated", id, k));
                    if k >= results && k < results + choices {
                        self.choices.insert(*out, (id, k - results));
                        self.set(*out, BTreeSet::from([Root::Choice(id, k - results)]), key, false);
                    } else {
                        self.set(*out, all.clone(), key, false);
                    }
                }
                if let Some(log_q) = outs.last() {
                    if self.module.subsampled(*callee) {
                        self.set(*log_q, all.iter().copied().chain([Root::Minibatch]).collect(), hash(("log q", id)), false);
                    }
                    self.values.insert(*log_q, Lin::of(id));
                }
            }
            EstRandom::Density { callee, args, trace } => {
                let scored = self.scored(*callee, args, trace);
                let program_key = scored.program_key;
                let all: Vec<Atom> = args.iter().chain(trace).copied().collect();
                let mut roots = self.roots(&all);
                let id = self.symbol(Kind::Scored(scored));
                if self.module.density_is_estimated(*callee) {
                    // It draws for itself.
                    roots.insert(Root::Choice(id, usize::MAX));
                }
                for (k, out) in outs.iter().enumerate() {
                    self.set(*out, roots.clone(), hash(("scored", program_key, self.keys(trace), k)), false);
                }
                if let Some(log_p) = outs.last() {
                    if self.module.subsampled(*callee) {
                        let key = self.info(Atom::Var(*log_p)).key;
                        self.set(*log_p, roots.iter().copied().chain([Root::Minibatch]).collect(), key, false);
                    }
                    self.values.insert(*log_p, Lin::of(id));
                }
            }
            EstRandom::LogWeight(w) => {
                let mut roots = self.roots(&w.atoms());
                let scored = self.scored(w.target, &w.target_args, &w.target_trace);
                let id = self.symbol(Kind::Scored(scored));
                if self.module.density_is_estimated(w.target) {
                    roots.insert(Root::Choice(id, usize::MAX));
                }
                if self.module.subsampled(w.target) || self.module.subsampled(w.guide) {
                    roots.insert(Root::Minibatch);
                }
                // Its mean is that of the log weight; no function of it has the mean of that of the log weight.
                let of = Lin::of(id).add(&self.lin(w.log_q), -1.0);
                let estimate = self.symbol(Kind::Lanes { of, len: 1, sampled: true });
                for out in outs {
                    self.values.insert(*out, Lin::of(estimate));
                    self.set(*out, roots.clone(), hash(("log weight", estimate)), false);
                }
            }
            EstRandom::Score { .. } => {
                for out in outs {
                    self.values.insert(*out, Lin::constant(0.0));
                    self.set(*out, BTreeSet::new(), hash("score"), true);
                }
            }
            EstRandom::LogDensity { dist, x } => {
                let atoms: Vec<Atom> = dist.args.iter().copied().chain([*x]).collect();
                let (roots, keys) = (self.roots(&atoms), self.keys(&atoms));
                for out in outs {
                    self.set(*out, roots.clone(), hash(("log density", dist.dist.0, &keys)), false);
                }
            }
            other => self.unknown(outs, &other.atoms()),
        }
    }

    /// A program's log density of a trace.
    fn scored(&self, program: GenId, args: &[Atom], trace: &[Atom]) -> Scored {
        let from: Vec<Option<(SymId, usize)>> =
            trace.iter().map(|a| a.var().and_then(|v| self.choices.get(&v).copied())).collect();
        let given: Vec<(usize, Atom)> = trace.iter().copied().enumerate().filter(|(j, _)| from[*j].is_none()).collect();
        let given_atoms: Vec<Atom> = given.iter().map(|(_, a)| *a).collect();
        let given_keys = given.iter().map(|(j, a)| (*j, self.info(*a).key)).collect();
        Scored {
            program,
            trace: from,
            identity: self.identity(program, self.keys(args), given_keys),
            program_key: hash(("program", program.0, self.keys(args))),
            args: self.roots(args),
            given: self.roots(&given_atoms),
        }
    }

    // Programs.

    /// Keys of the operands of an integral, whose function takes arguments with the keys `args`.
    fn inner_keys(&self, id: GenId, atoms: &[Atom], args: &[u64]) -> Vec<u64> {
        let params = &self.module.generative(id).params;
        let key = |a: &Atom| match a {
            Atom::Var(v) => {
                params.iter().position(|p| p == v).and_then(|k| args.get(k).copied()).unwrap_or_else(|| hash(("inner", v.0)))
            }
            lit => self.info(*lit).key,
        };
        atoms.iter().map(key).collect()
    }

    /// Which evidence a program with given values has.
    fn identity(&self, id: GenId, args: Vec<u64>, mut given: Vec<(usize, u64)>) -> Identity {
        if let Some(i) = self.module.integral(id)
            && let IntegralKind::Marginal { keep } = &i.kind
        {
            let mut inside: Vec<(usize, u64)> = given.iter().filter_map(|(j, k)| Some((*keep.get(*j)?, *k))).collect();
            let values: Vec<Atom> = i.given.iter().map(|(_, a)| *a).collect();
            inside.extend(i.given.iter().map(|(j, _)| *j).zip(self.inner_keys(id, &values, &args)));
            return self.identity(i.callee, self.inner_keys(id, &i.args, &args), inside);
        }
        given.sort_unstable();
        let key = hash(("target", id.0, args, &given));
        Identity { program: id, given: given.into_iter().map(|(j, _)| j).collect(), key }
    }

    /// The target of a normalised program, and whether its density is exact.
    fn posterior(&self, id: GenId, args: &[u64]) -> Option<(Identity, bool)> {
        let i = self.module.integral(id)?;
        if i.kind != IntegralKind::Normalize {
            return None;
        }
        let values: Vec<Atom> = i.given.iter().map(|(_, a)| *a).collect();
        let given = i.given.iter().map(|(j, _)| *j).zip(self.inner_keys(id, &values, args)).collect();
        let target = self.identity(i.callee, self.inner_keys(id, &i.args, args), given);
        Some((target, !self.module.density_is_estimated(id)))
    }
}
