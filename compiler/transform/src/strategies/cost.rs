//! Costs to go, lane by lane.
//!
//! ```text
//!   C_s[i1 .. in] = sum of the terms that depend on lane (i1 .. in) of choice s
//! ```
//!
//! Each term is a stack over its own loops. Where its lanes correspond to those of `s` its axis is kept; where it depends on earlier
//! lanes of `s` the axis is summed from each lane on; any other axis is summed.

use super::edit::Edit;
use crate::expand::real;
use crate::scope::{Align, Order, Scale, Term};
use ppl_core::{Atom, Prim, ReduceOp, Var};
use std::collections::BTreeMap;

/// A cost as arrays by lanes: for each set of levels of the choice's loops, the sum of what is known at that level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost(BTreeMap<Vec<usize>, Atom>);

/// A term as one array: an axis for each loop on its path, then its own.
pub(crate) fn array(e: &mut Edit<'_>, t: &Term) -> Atom {
    let mut value = e.export(t.atom, &t.path);
    for s in &t.scale {
        let (prim, by) = match s {
            Scale::Neg => {
                value = real(&mut e.b, Prim::Neg, &[value]);
                continue;
            }
            Scale::Mul(c) => (Prim::Mul, *c),
            Scale::Div(c) => (Prim::Div, *c),
        };
        let by = e.stack(by);
        let (ty, own) = (e.b.ty(value), e.b.ty(by));
        let axes: Vec<usize> = (0..own.rank()).collect();
        let by = if own.is_scalar() { by } else { e.b.broadcast(by, &ty.shape, &axes) };
        // A literal term that is scaled by a stack takes its shape.
        value = real(&mut e.b, prim, &[value, by]);
    }
    value
}

/// A term's sum over everything.
pub(crate) fn total(e: &mut Edit<'_>, t: &Term) -> Atom {
    let a = array(e, t);
    e.b.sum_all(a)
}

impl Cost {
    /// Adds a term (`array` of it) as choice `s` sees it.
    pub(crate) fn add(&mut self, e: &mut Edit<'_>, t: &Term, array: Atom, s: Var) {
        let Some(levels) = t.deps.get(&s) else { return };
        let loops = crate::scope::loops(e.from, &t.path);
        let mut axis_of: Vec<(usize, usize)> = Vec::new();
        let mut value = array;
        for (level, align) in levels.iter().enumerate() {
            let place = match align {
                Align::Loop(l, o) => loops.iter().position(|x| x.index == *l).map(|p| (p, *o)),
                Align::Axis(a, o) => Some((loops.len() + a, *o)),
                Align::All => None,
            };
            let Some((axis, order)) = place.filter(|(p, _)| !axis_of.iter().any(|(_, q)| p == q)) else { continue };
            match order {
                Order::Same => {}
                Order::After => value = e.b.cumsum(value, axis, true),
                Order::Before => value = e.b.cumsum(value, axis, false),
            }
            axis_of.push((level, axis));
        }
        let rank = e.b.ty(value).rank();
        let gone: Vec<usize> = (0..rank).filter(|a| !axis_of.iter().any(|(_, q)| a == q)).collect();
        value = e.b.reduce(ReduceOp::Sum, value, &gone);
        let perm: Vec<usize> = axis_of.iter().map(|(_, a)| a - gone.iter().filter(|g| *g < a).count()).collect();
        value = e.b.transpose(value, &perm);
        self.put(e, axis_of.into_iter().map(|(l, _)| l).collect(), value);
    }

    /// Adds a scalar that every lane reaches.
    pub(crate) fn add_scalar(&mut self, e: &mut Edit<'_>, value: Atom) {
        self.put(e, Vec::new(), value);
    }

    fn put(&mut self, e: &mut Edit<'_>, levels: Vec<usize>, value: Atom) {
        let sum = match self.0.get(&levels) {
            Some(old) => real(&mut e.b, Prim::Add, &[*old, value]),
            None => value,
        };
        self.0.insert(levels, sum);
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The cost of one lane, in a nest; `lanes` are its indices by level.
    pub(crate) fn at(&self, e: &mut Edit<'_>, lanes: &[Atom]) -> Atom {
        let mut sum = Atom::float(0.0);
        for (levels, array) in &self.0 {
            let mut value = *array;
            for l in levels {
                value = e.b.gather(value, lanes[*l], 0);
            }
            sum = crate::expand::add(&mut e.b, sum, value);
        }
        sum
    }
}
