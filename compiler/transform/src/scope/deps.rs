//! Sets of choices with how their lanes correspond.
//!
//! Choices whose lanes correspond in the same way share one set of bits: in a chain of `n` choices every variable depends on up to `n`.

use super::bits::Bits;
use super::{Align, Order};
use ppl_core::Var;
use std::collections::HashMap;
use std::rc::Rc;

/// The number of each choice, in program order.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    by_var: HashMap<Var, usize>,
}

impl Numbers {
    pub(crate) fn new(vars: &[Var]) -> Self {
        Numbers { by_var: vars.iter().enumerate().map(|(i, v)| (*v, i)).collect() }
    }

    pub(crate) fn of(&self, choice: Var) -> Option<usize> {
        self.by_var.get(&choice).copied()
    }
}

/// Choices (by the variable that holds the value), and for each of their loops how lanes correspond.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deps {
    numbers: Rc<Numbers>,
    /// Disjoint sets, each with a correspondence of its own.
    classes: Vec<(Rc<Vec<Align>>, Bits)>,
}

impl PartialEq for Deps {
    fn eq(&self, other: &Self) -> bool {
        self.classes.len() == other.classes.len() && self.classes.iter().all(|c| other.classes.contains(c))
    }
}

impl Deps {
    pub(crate) fn of_choice(numbers: &Rc<Numbers>, choice: Var, aligns: Vec<Align>) -> Self {
        let classes = numbers.of(choice).map(|n| (Rc::new(aligns), Bits::one(n))).into_iter().collect();
        Deps { numbers: numbers.clone(), classes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    pub(crate) fn get(&self, choice: &Var) -> Option<&Vec<Align>> {
        let n = self.numbers.of(*choice)?;
        self.classes.iter().find(|(_, b)| b.contains(n)).map(|(a, _)| a.as_ref())
    }

    pub(crate) fn contains_key(&self, choice: &Var) -> bool {
        self.get(choice).is_some()
    }

    /// The numbers of all choices.
    pub(crate) fn all(&self) -> Bits {
        let mut out = Bits::default();
        self.classes.iter().for_each(|(_, b)| out.union(b));
        out
    }

    /// Each correspondence with its choices.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (&Vec<Align>, &Bits)> {
        self.classes.iter().map(|(a, b)| (a.as_ref(), b))
    }

    /// With every correspondence replaced.
    pub(crate) fn each(mut self, f: impl Fn(Align) -> Align) -> Deps {
        let numbers = std::mem::take(&mut self.numbers);
        let mut out = Deps { numbers, classes: Vec::with_capacity(self.classes.len()) };
        for (a, b) in self.classes {
            let moved: Vec<Align> = a.iter().copied().map(&f).collect();
            if moved == *a { out.put(a, &b) } else { out.put(Rc::new(moved), &b) }
        }
        out
    }

    fn put(&mut self, aligns: Rc<Vec<Align>>, set: &Bits) {
        match self.classes.iter_mut().find(|(a, _)| *a == aligns) {
            Some((_, b)) => b.union(set),
            None => self.classes.push((aligns, set.clone())),
        }
    }

    /// Of either; where both depend on a choice, by what is common.
    pub(crate) fn join(mut self, other: &Deps) -> Deps {
        if other.is_empty() {
            return self;
        }
        if self.is_empty() {
            return other.clone();
        }
        for (aligns, set) in &other.classes {
            let mut left = set.clone();
            let mut moved: Vec<(Vec<Align>, Bits)> = Vec::new();
            for (mine, bits) in self.classes.iter_mut().filter(|(mine, _)| mine != aligns) {
                if !bits.meets(&left) {
                    continue;
                }
                let both = bits.intersection(&left);
                *bits = bits.difference(&both);
                left = left.difference(&both);
                moved.push((mine.iter().zip(aligns.iter()).map(|(x, y)| join_align(*x, *y)).collect(), both));
            }
            if !moved.is_empty() {
                self.classes.retain(|(_, b)| !b.is_empty());
                moved.into_iter().for_each(|(a, b)| self.put(Rc::new(a), &b));
            }
            if !left.is_empty() {
                self.put(aligns.clone(), &left);
            }
        }
        self
    }
}

fn join_align(a: Align, b: Align) -> Align {
    let order = |x: Order, y: Order| match (x, y) {
        (x, y) if x == y => Some(x),
        (Order::Same, y) => Some(y),
        (x, Order::Same) => Some(x),
        _ => None,
    };
    match (a, b) {
        (Align::Loop(l, x), Align::Loop(m, y)) if l == m => order(x, y).map_or(Align::All, |o| Align::Loop(l, o)),
        (Align::Axis(l, x), Align::Axis(m, y)) if l == m => order(x, y).map_or(Align::All, |o| Align::Axis(l, o)),
        _ => Align::All,
    }
}
