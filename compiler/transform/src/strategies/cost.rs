//! Costs to go, lane by lane.
//!
//! ```text
//!   C_s[i1 .. in] = sum of the terms that depend on lane (i1 .. in) of choice s
//! ```
//!
//! Each term is a stack over its own loops. Where its lanes correspond to those of `s` its axis is kept; where it depends on earlier
//! lanes of `s` the axis is summed from each lane on; any other axis is summed.
//!
//! Sums are shared: with `T_s` the set of terms that reach `s`,
//!
//! ```text
//!   sum(T)  =  sum(S) + sum(T - S)      S: the largest subset of T whose sum is known
//! ```
//!
//! so a chain of choices, whose sets are nested, takes one addition for each term.

use super::edit::Edit;
use crate::expand::real;
use crate::scope::{Align, Bits, Order, Scale, Term};
use ppl_core::{Atom, Prim, ReduceOp};
use std::collections::{BTreeMap, HashMap};

/// A cost by lanes: for each set of levels of the choice's loops, the numbers of what is added up at that level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost(BTreeMap<Vec<usize>, Bits>);

/// Axes of a term that are kept, with how lanes correspond along them: in the order of the choice's loops.
type Kept = Vec<(usize, Order)>;

/// Summands and the sums of sets of them that have been made.
pub(crate) struct Sums<'t> {
    terms: &'t [Term],
    /// Each term as an array.
    arrays: Vec<Option<Atom>>,
    /// Summands: the first are the terms' own sums, by their numbers.
    parts: Vec<Option<Atom>>,
    by_axes: HashMap<(usize, Kept), usize>,
    /// Larger sets first.
    made: Vec<(Bits, usize, Atom)>,
}

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

impl<'t> Sums<'t> {
    pub(crate) fn new(terms: &'t [Term]) -> Self {
        let none = vec![None; terms.len()];
        Sums { terms, arrays: none.clone(), parts: none, by_axes: HashMap::new(), made: Vec::new() }
    }

    /// Another summand, a scalar; its number.
    pub(crate) fn scalar(&mut self, value: Atom) -> usize {
        self.parts.push(Some(value));
        self.parts.len() - 1
    }

    fn array(&mut self, e: &mut Edit<'_>, n: usize) -> Atom {
        *self.arrays[n].get_or_insert_with(|| array(e, &self.terms[n]))
    }

    fn part(&mut self, e: &mut Edit<'_>, n: usize) -> Atom {
        if let Some(known) = self.parts[n] {
            return known;
        }
        let all = self.array(e, n);
        let value = e.b.sum_all(all);
        self.parts[n] = Some(value);
        value
    }

    /// The number of term `n` with some axes kept, in this order.
    fn kept(&mut self, e: &mut Edit<'_>, n: usize, kept: Kept) -> usize {
        if kept.is_empty() {
            return n;
        }
        let key = (n, kept);
        if let Some(known) = self.by_axes.get(&key) {
            return *known;
        }
        let mut value = self.array(e, n);
        for (axis, order) in &key.1 {
            match order {
                Order::Same => {}
                Order::After => value = e.b.cumsum(value, *axis, true),
                Order::Before => value = e.b.cumsum(value, *axis, false),
            }
        }
        let rank = e.b.ty(value).rank();
        let gone: Vec<usize> = (0..rank).filter(|a| !key.1.iter().any(|(q, _)| a == q)).collect();
        value = e.b.reduce(ReduceOp::Sum, value, &gone);
        let perm: Vec<usize> = key.1.iter().map(|(a, _)| a - gone.iter().filter(|g| *g < a).count()).collect();
        value = e.b.transpose(value, &perm);
        self.parts.push(Some(value));
        self.by_axes.insert(key, self.parts.len() - 1);
        self.parts.len() - 1
    }

    /// The sum of a set of summands of one shape: made from the largest sums known of parts of it.
    fn sum(&mut self, e: &mut Edit<'_>, set: &Bits) -> Atom {
        let mut left = set.clone();
        let mut total = Atom::float(0.0);
        let mut count = left.len();
        while count > 1 {
            let start = self.made.partition_point(|(_, n, _)| *n > count);
            let Some((known, n, value)) = self.made[start..].iter().find(|(b, ..)| b.is_subset(&left)) else { break };
            left = left.difference(known);
            count -= n;
            total = crate::expand::add(&mut e.b, total, *value);
        }
        let rest: Vec<usize> = left.iter().collect();
        for n in rest {
            let value = self.part(e, n);
            total = crate::expand::add(&mut e.b, total, value);
        }
        let size = set.len();
        if size > 1 {
            let at = self.made.partition_point(|(_, n, _)| *n > size);
            self.made.insert(at, (set.clone(), size, total));
        }
        total
    }
}

/// The costs of the `wanted` ones of `choices`: every term as each of them sees it.
pub(crate) fn costs(e: &mut Edit<'_>, sums: &mut Sums<'_>, choices: usize, wanted: &Bits) -> Vec<Cost> {
    let mut by_levels: BTreeMap<Vec<usize>, Vec<Bits>> = BTreeMap::new();
    let terms = sums.terms;
    for (n, t) in terms.iter().enumerate() {
        for (aligns, set) in t.deps.classes() {
            if !set.meets(wanted) {
                continue;
            }
            let (kept, levels) = kept(e, t, aligns);
            let part = sums.kept(e, n, kept);
            let sets = by_levels.entry(levels).or_insert_with(|| vec![Bits::default(); choices]);
            set.intersection(wanted).iter().for_each(|c| sets[c].insert(part));
        }
    }
    let mut out = vec![Cost::default(); choices];
    for (levels, sets) in by_levels {
        for (cost, set) in out.iter_mut().zip(sets).filter(|(_, s)| !s.is_empty()) {
            cost.0.insert(levels.clone(), set);
        }
    }
    out
}

/// The axes of a term that correspond to a choice's loops, and which loops these are.
fn kept(e: &Edit<'_>, t: &Term, aligns: &[Align]) -> (Kept, Vec<usize>) {
    let loops = crate::scope::loops(e.from, &t.path);
    let (mut kept, mut at) = (Kept::new(), Vec::new());
    for (level, align) in aligns.iter().enumerate() {
        let place = match align {
            Align::Loop(l, o) => loops.iter().position(|x| x.index == *l).map(|p| (p, *o)),
            Align::Axis(a, o) => Some((loops.len() + a, *o)),
            Align::All => None,
        };
        if let Some((axis, order)) = place.filter(|(p, _)| !kept.iter().any(|(q, _)| p == q)) {
            kept.push((axis, order));
            at.push(level);
        }
    }
    (kept, at)
}

impl Cost {
    /// What every lane reaches: summands by number.
    pub(crate) fn whole(set: Bits) -> Self {
        Cost(if set.is_empty() { BTreeMap::new() } else { BTreeMap::from([(Vec::new(), set)]) })
    }

    /// Adds a scalar summand that every lane reaches.
    pub(crate) fn add_scalar(&mut self, part: usize) {
        self.0.entry(Vec::new()).or_default().insert(part);
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sums, by level, at the top of the program.
    pub(crate) fn sums(&self, e: &mut Edit<'_>, sums: &mut Sums<'_>) -> Vec<(Vec<usize>, Atom)> {
        self.0.iter().map(|(levels, set)| (levels.clone(), sums.sum(e, set))).collect()
    }
}

/// The cost of one lane, in a nest; `lanes` are its indices by level.
pub(crate) fn at_lane(e: &mut Edit<'_>, sums: &[(Vec<usize>, Atom)], lanes: &[Atom]) -> Atom {
    let mut sum = Atom::float(0.0);
    for (levels, array) in sums {
        let mut value = *array;
        for l in levels {
            value = e.b.gather(value, lanes[*l], 0);
        }
        sum = crate::expand::add(&mut e.b, sum, value);
    }
    sum
}
