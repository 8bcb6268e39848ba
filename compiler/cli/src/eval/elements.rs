//! The elements of an array, part by part.

use crate::engine::{Evaluator, fault};
use crate::fit::epoch_start;
use ppl_core::Ty;
use ppl_diag::Diagnostic;
use ppl_driver::check::Minibatch;

/// An array's code.
pub(super) struct Elements<'a, 'p> {
    pub(super) run: Evaluator<'p>,
    /// Type of the whole.
    pub(super) ty: &'a Ty,
    /// Which elements a call computes, by its second result.
    pub(super) parts: Option<Minibatch>,
}

impl Elements<'_, '_> {
    /// Every element, the mean of so many draws of it.
    ///
    /// # Errors
    /// What the interpreter reports.
    pub(super) fn mean(&mut self, draws: usize) -> Result<Vec<f64>, Diagnostic> {
        let mut sum = vec![0.0; self.ty.numel()];
        let mut step = epoch_start(self.parts.as_ref());
        for _ in 0..draws {
            let one = match self.parts {
                Some(m) => self.epoch(m, step)?,
                None => self.call(step)?.0,
            };
            if one.len() != sum.len() {
                return Err(fault("an array has another size than its type"));
            }
            sum.iter_mut().zip(one).for_each(|(s, x)| *s += x);
            // The next draw begins an epoch of its own.
            step += self.parts.map_or(1, period);
        }
        Ok(sum.into_iter().map(|s| s / draws as f64).collect())
    }

    /// The first result of a call, and the indices of its elements.
    fn call(&mut self, step: u64) -> Result<(Vec<f64>, Vec<usize>), Diagnostic> {
        let out = self.run.run(step)?;
        let values = out.first().ok_or_else(|| fault("an array has no result"))?.to_f64();
        let indices = out.get(1).map_or(Vec::new(), |a| a.to_f64().into_iter().map(|i| i as usize).collect());
        Ok((values, indices))
    }

    /// An epoch from `step`: every element once. What the last call has of the next epoch is left out.
    fn epoch(&mut self, m: Minibatch, step: u64) -> Result<Vec<f64>, Diagnostic> {
        let width = self.ty.numel() / m.data.max(1);
        let mut out = vec![0.0; self.ty.numel()];
        let mut done = vec![false; m.data];
        for call in 0..m.epoch() as u64 {
            let (values, indices) = self.call(step + call)?;
            for (k, i) in indices.into_iter().enumerate() {
                if let (Some(seen), Some(from)) = (done.get_mut(i), values.get(k * width..(k + 1) * width))
                    && !*seen
                {
                    *seen = true;
                    out[i * width..(i + 1) * width].copy_from_slice(from);
                }
            }
        }
        if done.iter().all(|d| *d) { Ok(out) } else { Err(fault("an epoch left elements out")) }
    }
}

/// Steps after which epochs begin with a step again, and at least one epoch is over.
fn period(m: Minibatch) -> u64 {
    (1u64..).map(|k| k * m.data as u64).find(|n| n % m.size as u64 == 0).map_or(1, |n| n / m.size as u64)
}
