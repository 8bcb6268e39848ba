//! The minibatches that programs loop over.

use ppl_core::{Block, Est, EstId, EstRandom, GenId, GenRandom, Module, Op, Stage};

/// Sizes of a minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minibatch {
    /// Number of data.
    pub data: usize,
    /// Number of indices in a step.
    pub size: usize,
}

impl Minibatch {
    /// Steps after which every datum has been in a minibatch, the last step begun included.
    pub fn epoch(&self) -> usize {
        self.data.div_ceil(self.size.max(1))
    }
}

/// Evaluations of an epoch at most, about.
const EPOCH: usize = 1000;
/// Data that an evaluation visits all of; of more it takes a sample.
const VISITED: usize = 5_000_000;

/// The size of minibatches of an evaluation: at most about a thousand visit all data. The largest such size up to that which divides the data evenly,
/// so that an epoch visits each once; where only far smaller ones do, as it is.
pub(crate) fn even(data: usize, size: usize) -> usize {
    if data > VISITED {
        return size;
    }
    let size = size.max(data.div_ceil(EPOCH));
    (size.div_ceil(4).max(1)..=size).rev().find(|k| data.is_multiple_of(*k)).unwrap_or(size)
}

/// The minibatches of an estimator function and all programs that it runs, each once.
pub(crate) fn minibatches(module: &Module, id: EstId) -> Vec<Minibatch> {
    let mut out = Vec::new();
    in_est(module, &module.est(id).body, &mut out);
    out
}

fn in_est(m: &Module, b: &Block<Est>, out: &mut Vec<Minibatch>) {
    ppl_core::each_stmt(b, &mut |s| {
        own(&s.op, out);
        match &s.op {
            Op::Random(EstRandom::Sim { callee, .. } | EstRandom::Density { callee, .. }) => in_gen(m, *callee, out),
            Op::Random(EstRandom::LogWeight(w)) => [w.target, w.guide].into_iter().for_each(|g| in_gen(m, g, out)),
            Op::Random(EstRandom::Call { callee, .. } | EstRandom::Grad { callee, .. }) => in_est(m, &m.est(*callee).body, out),
            _ => {}
        }
    });
}

fn in_gen(m: &Module, id: GenId, out: &mut Vec<Minibatch>) {
    ppl_core::each_stmt(&m.generative(id).body, &mut |s| {
        own(&s.op, out);
        match &s.op {
            Op::Random(GenRandom::Call { callee, .. }) => in_gen(m, *callee, out),
            Op::Random(GenRandom::Integral(i)) => {
                in_gen(m, i.callee, out);
                if let Some(p) = &i.proposal {
                    in_gen(m, p.callee, out);
                }
            }
            _ => {}
        }
    });
}

fn own<S: Stage>(op: &Op<S>, out: &mut Vec<Minibatch>) {
    if let Op::Minibatch { data, size } = op {
        let found = Minibatch { data: *data, size: *size };
        if !out.contains(&found) {
            out.push(found);
        }
    }
}
