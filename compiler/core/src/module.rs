//! A module: functions of the three stages with the distributions and strategies they use.

use crate::{
    Block, Det, DetId, DistId, DistInst, Est, EstId, Func, Gen, GenId, GenRandom, Op, Stmt, StrategyId, StrategyInst, Support,
    Ty, Var,
};
use ppl_diag::Span;
use std::collections::HashMap;

/// Functions, distributions and strategies, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// Generative functions.
    pub gens: Vec<Func<Gen>>,
    /// Estimator functions (objectives and strategies).
    pub ests: Vec<Func<Est>>,
    /// Deterministic functions.
    pub dets: Vec<Func<Det>>,
    /// Distributions at given types.
    pub dists: Vec<DistInst>,
    /// Strategies for one distribution each.
    pub strategies: Vec<StrategyInst>,
}

/// A choice of a generative function's trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Address, dots between the parts.
    pub addr: String,
    /// Type in the trace: axes of enclosing loops, then the event's.
    pub ty: Ty,
    /// Support of one event.
    pub support: Support,
    /// Distribution's name.
    pub dist: DistId,
    /// Whether it stands under an `if`: a run may lack it.
    pub conditional: bool,
    /// Where it is made.
    pub span: Span,
}

/// A reported quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportInfo {
    /// Name, dots between the parts.
    pub name: String,
    /// Type, with the axes of enclosing loops.
    pub ty: Ty,
    /// Where it is reported.
    pub span: Span,
}

impl Module {
    /// Adds a generative function.
    pub fn add_gen(&mut self, f: Func<Gen>) -> GenId {
        self.gens.push(f);
        GenId(self.gens.len() as u32 - 1)
    }

    /// Adds an estimator function.
    pub fn add_est(&mut self, f: Func<Est>) -> EstId {
        self.ests.push(f);
        EstId(self.ests.len() as u32 - 1)
    }

    /// Adds a deterministic function.
    pub fn add_det(&mut self, f: Func<Det>) -> DetId {
        self.dets.push(f);
        DetId(self.dets.len() as u32 - 1)
    }

    /// A generative function.
    pub fn generative(&self, id: GenId) -> &Func<Gen> {
        &self.gens[id.index()]
    }

    /// An estimator function.
    pub fn est(&self, id: EstId) -> &Func<Est> {
        &self.ests[id.index()]
    }

    /// A deterministic function.
    pub fn det(&self, id: DetId) -> &Func<Det> {
        &self.dets[id.index()]
    }

    /// A distribution.
    pub fn dist(&self, id: DistId) -> &DistInst {
        &self.dists[id.index()]
    }

    /// A strategy.
    pub fn strategy(&self, id: StrategyId) -> &StrategyInst {
        &self.strategies[id.index()]
    }

    /// The choices of a generative function's trace, in program order; those of called functions stand where the call does.
    pub fn choices(&self, id: GenId) -> Vec<Choice> {
        let mut out = Vec::new();
        let mut loops = HashMap::new();
        let f = self.generative(id);
        self.collect(Wanted::Choices, f, &f.body, &mut loops, false, &mut |entry| {
            if let Entry::Choice(c) = entry {
                out.push(c);
            }
        });
        out
    }

    /// Whether the log density of a generative function is an estimate: some program inside is marginal or normalised, and not exactly.
    pub fn density_is_estimated(&self, id: GenId) -> bool {
        fn block(m: &Module, b: &Block<Gen>) -> bool {
            b.stmts.iter().any(|s| match &s.op {
                Op::Random(GenRandom::Call { callee, .. }) => m.density_is_estimated(*callee),
                Op::Random(GenRandom::Integral(i)) => {
                    i.algorithm != crate::Algorithm::Enumeration
                        || m.density_is_estimated(i.callee)
                        || i.proposal.as_ref().is_some_and(|p| m.density_is_estimated(p.callee))
                }
                op => crate::op_blocks(op).into_iter().any(|b| block(m, b)),
            })
        }
        block(self, &self.generative(id).body)
    }

    /// Whether the log density of a generative function is estimated from a minibatch: its mean over minibatches is the log density.
    pub fn subsampled(&self, id: GenId) -> bool {
        self.subsampled_at(id).is_some()
    }

    /// Where a generative function, or one that it runs, loops over a minibatch.
    pub fn subsampled_at(&self, id: GenId) -> Option<Span> {
        fn block(m: &Module, b: &Block<Gen>) -> Option<Span> {
            b.stmts.iter().find_map(|s| match &s.op {
                Op::Random(GenRandom::Scale(_)) => Some(s.span),
                Op::Random(GenRandom::Call { callee, .. }) => m.subsampled_at(*callee),
                Op::Random(GenRandom::Integral(i)) => {
                    m.subsampled_at(i.callee).or_else(|| i.proposal.as_ref().and_then(|p| m.subsampled_at(p.callee)))
                }
                op => crate::op_blocks(op).into_iter().find_map(|b| block(m, b)),
            })
        }
        block(self, &self.generative(id).body)
    }

    /// The marginal or normalised program that a function is, if it is one.
    pub fn integral(&self, id: GenId) -> Option<&crate::Integral> {
        match self.generative(id).body.stmts.as_slice() {
            [Stmt { op: Op::Random(GenRandom::Integral(i)), .. }] => Some(i),
            _ => None,
        }
    }

    /// The reported quantities of a generative function, in program order.
    pub fn reports(&self, id: GenId) -> Vec<ReportInfo> {
        let mut out = Vec::new();
        let mut loops = HashMap::new();
        let f = self.generative(id);
        self.collect(Wanted::Reports, f, &f.body, &mut loops, false, &mut |entry| {
            if let Entry::Report(r) = entry {
                out.push(r);
            }
        });
        out
    }

    fn collect(
        &self,
        wanted: Wanted,
        f: &Func<Gen>,
        block: &Block<Gen>,
        loops: &mut HashMap<Var, usize>,
        conditional: bool,
        emit: &mut dyn FnMut(Entry),
    ) {
        for stmt in &block.stmts {
            match &stmt.op {
                Op::If { then, els, .. } => {
                    self.collect(wanted, f, then, loops, true, emit);
                    self.collect(wanted, f, els, loops, true, emit);
                }
                Op::Map { len, index, body } => {
                    loops.insert(*index, *len);
                    self.collect(wanted, f, body, loops, conditional, emit);
                }
                Op::Scan(s) => {
                    loops.insert(s.index, s.len);
                    self.collect(wanted, f, &s.body, loops, conditional, emit);
                }
                Op::Random(GenRandom::Sample { dist, addr, .. }) => {
                    let d = self.dist(dist.dist);
                    emit(Entry::Choice(Choice {
                        addr: addr.name.clone(),
                        ty: d.event.lifted(&axes(&addr.indices, loops)),
                        support: d.support.clone(),
                        dist: dist.dist,
                        conditional,
                        span: stmt.span,
                    }));
                }
                Op::Random(GenRandom::Call { callee, addr, .. }) => {
                    let outer = axes(&addr.indices, loops);
                    for c in if wanted == Wanted::Choices { self.choices(*callee) } else { Vec::new() } {
                        emit(Entry::Choice(Choice {
                            addr: format!("{}.{}", addr.name, c.addr),
                            ty: c.ty.lifted(&outer),
                            conditional: conditional || c.conditional,
                            ..c
                        }));
                    }
                    for r in if wanted == Wanted::Reports { self.reports(*callee) } else { Vec::new() } {
                        emit(Entry::Report(ReportInfo {
                            name: format!("{}.{}", addr.name, r.name),
                            ty: r.ty.lifted(&outer),
                            span: r.span,
                        }));
                    }
                }
                Op::Random(GenRandom::Integral(i)) if wanted == Wanted::Choices => {
                    for (_, c) in self.choices(i.callee).into_iter().enumerate().filter(|(k, _)| i.keeps(*k)) {
                        emit(Entry::Choice(c));
                    }
                }
                Op::Random(GenRandom::Report { addr, value }) => emit(Entry::Report(ReportInfo {
                    name: addr.name.clone(),
                    ty: f.atom_ty(*value).lifted(&axes(&addr.indices, loops)),
                    span: stmt.span,
                })),
                _ => {}
            }
        }
    }
}

/// What a walk is for: only that is collected from called programs, so that nesting costs no more than its size.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Choices,
    Reports,
}

enum Entry {
    Choice(Choice),
    Report(ReportInfo),
}

fn axes(indices: &[Var], loops: &HashMap<Var, usize>) -> Vec<usize> {
    indices.iter().map(|v| loops.get(v).copied().unwrap_or(1)).collect()
}
