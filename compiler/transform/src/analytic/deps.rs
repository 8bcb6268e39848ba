//! Which choices the distribution at each choice depends on, element by element.
//!
//! in:    `Gen`, verified
//! out:   a [`Site`] for each choice, in the order of `Module::choices`
//! keeps: -
//!
//! The dependencies of a value are choices, each with a link for every axis of its address: the index is that of an enclosing loop (or of
//! an axis of the value), one before it, or any.
//!
//! ```text
//!   x ~ d(e) at a[i]       x: {a[i]}, with those of e and of the conditions around where draws are followed
//!   y = op(e)              y: those of e; axes that `op` does not keep in place have any index
//!   y = x[i]  (gather)     the first axis of x becomes the loop i
//!   map i { b }            results: the loop i becomes the first axis
//!   scan i, c { b }        the same; c: those of its first value, and of its next value with i before i; until nothing is added
//!   if e { b } else { b' } e counts for all choices and results inside
//!   s ~ g(e) at a          the sites of g with the axes of a in front
//! ```

use ppl_core::{Atom, Block, DistId, Func, Gen, GenId, GenRandom, Module, Op, Scan, Stmt, Var};
use std::collections::{BTreeSet, HashMap};

/// What an index along an axis is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The index of a loop, by its number.
    Loop(usize),
    /// The index along an axis of the value itself.
    Axis(usize),
}

/// The index along one axis of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    Any,
    Same(Place),
    Before(Place),
}

/// Elements of a choice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dep {
    /// Its number.
    pub(super) choice: usize,
    /// For each axis of its address.
    pub(super) links: Vec<Link>,
}

type Deps = BTreeSet<Dep>;

/// A choice.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The loops of its address, by number; one for each axis.
    pub(super) axes: Vec<usize>,
    /// What its distribution and the conditions around it depend on.
    pub(super) deps: Deps,
    /// How often its log density counts.
    pub(super) scale: f64,
    /// Whether it is a choice of a marginal or normalised program.
    pub(super) joint: bool,
}

/// The choices of a program. With `through`, what a choice depends on includes what its value was drawn from.
pub(super) fn sites(module: &Module, id: GenId, through: bool) -> Vec<Site> {
    let mut w = Walk { module, through, next: 0, loops: 0, scale: 1.0, control: Vec::new(), sites: Vec::new(), noisy: false };
    let f = module.generative(id);
    let mut frame = Frame { f, values: HashMap::new(), loops: HashMap::new(), prefix: Vec::new() };
    w.block(&mut frame, &f.body);
    // Draws that are no choices are made anew in each reading of a program, so what depends on them is not the same in two.
    if w.noisy {
        w.sites.iter_mut().for_each(|s| s.joint = true);
    }
    w.sites
}

struct Walk<'m> {
    module: &'m Module,
    through: bool,
    /// Numbers of the next choice and the next loop. A body that is walked again has the same numbers.
    next: usize,
    loops: usize,
    scale: f64,
    /// Dependencies of the conditions around.
    control: Vec<Deps>,
    sites: Vec<Site>,
    /// Whether the program makes draws that are no choices.
    noisy: bool,
}

/// A function being walked.
struct Frame<'m> {
    f: &'m Func<Gen>,
    values: HashMap<Var, Deps>,
    loops: HashMap<Var, usize>,
    /// Loops of the address of the call.
    prefix: Vec<usize>,
}

impl Frame<'_> {
    fn of(&self, a: Atom) -> Deps {
        a.var().and_then(|v| self.values.get(&v)).cloned().unwrap_or_default()
    }

    fn all<'a>(&self, atoms: impl IntoIterator<Item = &'a Atom>) -> Deps {
        atoms.into_iter().flat_map(|a| self.of(*a)).collect()
    }

    fn axes(&self, indices: &[Var]) -> Vec<usize> {
        self.prefix.iter().copied().chain(indices.iter().filter_map(|v| self.loops.get(v).copied())).collect()
    }

    fn rank(&self, a: Atom) -> usize {
        self.f.atom_ty(a).rank()
    }
}

/// Every place replaced; `None` is any index.
fn moved(deps: Deps, f: impl Fn(Place) -> Option<Place>) -> Deps {
    relinked(deps, |l| match l {
        Link::Any => Link::Any,
        Link::Same(p) => f(p).map_or(Link::Any, Link::Same),
        Link::Before(p) => f(p).map_or(Link::Any, Link::Before),
    })
}

fn relinked(deps: Deps, f: impl Fn(Link) -> Link) -> Deps {
    deps.into_iter().map(|d| Dep { links: d.links.into_iter().map(&f).collect(), ..d }).collect()
}

/// Axes of a value replaced by others of a new value.
fn axes(deps: Deps, f: impl Fn(usize) -> Option<usize>) -> Deps {
    moved(deps, |p| match p {
        Place::Loop(_) => Some(p),
        Place::Axis(k) => f(k).map(Place::Axis),
    })
}

/// A loop's index forgotten.
fn without(deps: Deps, index: usize) -> Deps {
    moved(deps, |p| (p != Place::Loop(index)).then_some(p))
}

/// Results of a loop's body, stacked.
fn stacked(deps: Deps, index: usize) -> Deps {
    moved(deps, |p| match p {
        Place::Loop(l) if l == index => Some(Place::Axis(0)),
        Place::Loop(_) => Some(p),
        Place::Axis(k) => Some(Place::Axis(k + 1)),
    })
}

/// An element along the first axis, at the index of a loop.
fn sliced(deps: Deps, index: usize) -> Deps {
    moved(deps, |p| match p {
        Place::Axis(0) => Some(Place::Loop(index)),
        Place::Axis(k) => Some(Place::Axis(k - 1)),
        Place::Loop(_) => Some(p),
    })
}

/// A carried value in the next round.
fn carried(deps: Deps, index: usize, reverse: bool) -> Deps {
    relinked(deps, |l| match l {
        Link::Same(Place::Loop(i)) | Link::Before(Place::Loop(i)) if i == index => {
            if reverse {
                Link::Any
            } else {
                Link::Before(Place::Loop(i))
            }
        }
        l => l,
    })
}

impl<'m> Walk<'m> {
    fn block(&mut self, fr: &mut Frame<'m>, b: &'m Block<Gen>) -> Vec<Deps> {
        b.stmts.iter().for_each(|s| self.stmt(fr, s));
        b.results.iter().map(|a| fr.of(*a)).collect()
    }

    /// A loop's body, which counts as often as it says.
    fn body(&mut self, fr: &mut Frame<'m>, b: &'m Block<Gen>) -> Vec<Deps> {
        let outer = self.scale;
        for s in &b.stmts {
            if let Op::Random(GenRandom::Scale(c)) = &s.op {
                self.scale *= c;
            }
        }
        let outs = self.block(fr, b);
        self.scale = outer;
        outs
    }

    fn enter(&mut self, fr: &mut Frame<'m>, index: Var) -> usize {
        let l = self.loops;
        self.loops += 1;
        fr.loops.insert(index, l);
        l
    }

    fn stmt(&mut self, fr: &mut Frame<'m>, s: &'m Stmt<Gen>) {
        let outs: Vec<Deps> = match &s.op {
            Op::Map { index, body, .. } => {
                let l = self.enter(fr, *index);
                self.body(fr, body).into_iter().map(|d| stacked(d, l)).collect()
            }
            Op::Scan(scan) => self.scan(fr, scan),
            Op::If { cond, then, els } => {
                let cond = fr.of(*cond);
                self.control.push(cond.clone());
                let (t, e) = (self.block(fr, then), self.block(fr, els));
                self.control.pop();
                t.into_iter().zip(e).map(|(t, e)| t.into_iter().chain(e).chain(cond.iter().cloned()).collect()).collect()
            }
            Op::Random(r) => self.random(fr, r),
            op => vec![value(fr, op)],
        };
        fr.values.extend(s.outs.iter().copied().zip(outs));
    }

    fn scan(&mut self, fr: &mut Frame<'m>, s: &'m Scan<Gen>) -> Vec<Deps> {
        let (next, loops) = (self.next, self.loops);
        let inits: Vec<Deps> = s.carry.iter().map(|(_, a)| fr.of(*a)).collect();
        let mut carry = inits;
        loop {
            (self.next, self.loops) = (next, loops);
            let l = self.enter(fr, s.index);
            fr.values.extend(s.carry.iter().map(|(v, _)| *v).zip(carry.iter().cloned()));
            let slices: Vec<Deps> = s.xs.iter().map(|(_, a)| sliced(fr.of(*a), l)).collect();
            fr.values.extend(s.xs.iter().map(|(v, _)| *v).zip(slices));
            let outs = self.body(fr, &s.body);
            let mut grown = false;
            for (c, out) in carry.iter_mut().zip(&outs) {
                let before = c.len();
                c.extend(carried(out.clone(), l, s.reverse));
                grown |= c.len() > before;
            }
            if !grown {
                let n = s.carry.len();
                let last = carry.into_iter().zip(&outs).map(|(c, out)| without(c.into_iter().chain(out.clone()).collect(), l));
                return last.chain(outs[n.min(outs.len())..].iter().map(|d| stacked(d.clone(), l))).collect();
            }
        }
    }

    fn random(&mut self, fr: &mut Frame<'m>, r: &'m GenRandom) -> Vec<Deps> {
        match r {
            GenRandom::Sample { dist, addr, .. } => {
                let params = fr.all(&dist.args);
                vec![self.site(fr.axes(&addr.indices), params, false)]
            }
            GenRandom::Call { callee, args, addr } => {
                let f = self.module.generative(*callee);
                let values = f.params.iter().copied().zip(args.iter().map(|a| fr.of(*a))).collect();
                let mut inner = Frame { f, values, loops: HashMap::new(), prefix: fr.axes(&addr.indices) };
                self.block(&mut inner, &f.body)
            }
            GenRandom::Integral(i) => {
                let params = axes(fr.all(&i.atoms()), |_| None);
                for k in (0..self.module.choices(i.callee).len()).filter(|k| i.keeps(*k)) {
                    let own = self.own_axes(i.callee, k);
                    let outer = fr.prefix.iter().copied().chain(std::iter::repeat_n(usize::MAX, own)).collect();
                    self.site(outer, params.clone(), true);
                }
                Vec::new()
            }
            GenRandom::Noise(d) => {
                self.noisy = true;
                vec![fr.all(&d.args)]
            }
            GenRandom::Factor(_) | GenRandom::Scale(_) | GenRandom::Report { .. } => Vec::new(),
        }
    }

    /// Number of axes of a choice's address.
    fn own_axes(&self, id: GenId, k: usize) -> usize {
        let rank = |d: DistId| self.module.dist(d).event.rank();
        self.module.choices(id).get(k).map_or(0, |c| c.ty.rank() - rank(c.dist))
    }

    /// Records the next choice; returns the dependencies of its value.
    fn site(&mut self, axes: Vec<usize>, params: Deps, joint: bool) -> Deps {
        let deps: Deps = params.into_iter().chain(self.control.iter().flatten().cloned()).collect();
        let own = Dep { choice: self.next, links: axes.iter().map(|l| Link::Same(Place::Loop(*l))).collect() };
        let mut out = if self.through { deps.clone() } else { Deps::new() };
        out.insert(own);
        match self.sites.get_mut(self.next) {
            Some(s) => s.deps.extend(deps),
            None => self.sites.push(Site { axes, deps, scale: self.scale, joint }),
        }
        self.next += 1;
        out
    }
}

/// The result of an operation without blocks.
fn value(fr: &Frame<'_>, op: &Op<Gen>) -> Deps {
    let all = || fr.all(&ppl_core::op_atoms(op));
    match op {
        Op::Prim(..) | Op::Stop(_) => all(),
        Op::Broadcast { axes: to, .. } => axes(all(), |k| to.get(k).copied()),
        Op::Transpose { perm, .. } => axes(all(), |k| perm.iter().position(|p| *p == k)),
        Op::Reduce { axes: gone, .. } => {
            axes(all(), |k| (!gone.contains(&k)).then(|| k - gone.iter().filter(|g| **g < k).count()))
        }
        Op::Slice { axis, start, .. } => axes(all(), |k| (k != *axis || *start == 0).then_some(k)),
        Op::Gather { x, idx, batch: 0 } if fr.rank(*idx) == 0 => {
            let (from, index) = (fr.of(*x), idx.var().and_then(|v| fr.loops.get(&v)));
            let element = match index {
                Some(l) => sliced(from, *l),
                None => axes(from, |k| k.checked_sub(1)),
            };
            element.into_iter().chain(fr.of(*idx)).collect()
        }
        _ => axes(all(), |_| None),
    }
}
