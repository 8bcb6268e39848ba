//! Computes each value of an estimator function as a sum of symbols, statement by statement.
//!
//! ```text
//! sim(g)                  log_q = Simulated;  the choices are remembered by position
//! density(p, t)           log_p = Scored, with where each of its choices comes from
//! a + b, a - b, c * a     linear;  stop(a) = a;  score = 0
//! exp(shift + a log w)    Mean { shift, w^a }                        (weigh)
//! log(c exp(shift) M)     log c + shift + LogMean(M)
//! sum over lanes of c M   Mean of the same, `log len` added to its shift, where shift and quantity are the same in all lanes
//! sum over lanes of a     len * (what is the same in all lanes) + Lanes(the rest)
//! everything else         a symbol of its own
//! ```

use super::form::{Kind, Lin, Mean, Root, Sym, SymId};
use super::weigh;
use ppl_core::{Atom, Block, DType, Func, Lit, Module, Op, Prim, RandomOp, RandomView, ReduceOp, Stage, Stmt, Var, op_atoms};
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What is known of a variable beside its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Info {
    pub(super) roots: BTreeSet<Root>,
    /// Equal for values that are computed alike, also in different functions.
    pub(super) key: u64,
    nonnegative: bool,
}

pub(super) struct Walk<'a, S: Stage> {
    pub(super) module: &'a Module,
    func: &'a Func<S>,
    pub(super) syms: Vec<Sym>,
    pub(super) values: HashMap<Var, Lin>,
    info: HashMap<Var, Info>,
    pub(super) choices: HashMap<Var, (SymId, usize)>,
    /// `exp` of values so far: equal values have one symbol.
    exponentials: Vec<(Lin, SymId)>,
    /// Index variables of the loops around.
    path: Vec<Var>,
    /// The indices of minibatches, and loops over them, with the number of data.
    minibatches: HashMap<Var, usize>,
}

pub(super) fn hash(parts: impl Hash) -> u64 {
    let mut h = DefaultHasher::new();
    parts.hash(&mut h);
    h.finish()
}

impl<'a, S: Stage> Walk<'a, S> {
    pub(super) fn new(module: &'a Module, func: &'a Func<S>) -> Self {
        let mut w = Walk {
            module,
            func,
            syms: Vec::new(),
            values: HashMap::new(),
            info: HashMap::new(),
            choices: HashMap::new(),
            exponentials: Vec::new(),
            path: Vec::new(),
            minibatches: HashMap::new(),
        };
        for p in &func.params {
            let name = &func.vars[p.index()].name;
            w.info.insert(*p, Info { key: hash(("global", name)), ..Info::default() });
        }
        w
    }

    /// Enters loops whose statements are still open.
    pub(super) fn enter(&mut self, loops: &[Var]) {
        for l in loops {
            self.enter_loop(*l);
        }
    }

    fn enter_loop(&mut self, index: Var) {
        let key = hash(("index", self.path.len()));
        self.info.insert(index, Info { roots: BTreeSet::from([Root::Index(index)]), key, nonnegative: true });
        self.path.push(index);
    }

    pub(super) fn block(&mut self, b: &Block<S>) {
        self.stmts(&b.stmts);
    }

    pub(super) fn stmts(&mut self, stmts: &[Stmt<S>]) {
        stmts.iter().for_each(|s| self.stmt(s));
    }

    // Values.

    pub(super) fn symbol(&mut self, kind: Kind) -> SymId {
        self.syms.push(Sym { kind, home: self.path.clone() });
        self.syms.len() - 1
    }

    /// The value of an operand (of each element, for an array).
    pub(super) fn lin(&mut self, a: Atom) -> Lin {
        match a {
            Atom::Lit(Lit::Float(c)) => Lin::constant(c),
            Atom::Lit(Lit::Int(i)) => Lin::constant(i as f64),
            Atom::Lit(Lit::Bool(_)) => Lin::of(self.symbol(Kind::Opaque { nonnegative: true, array: false })),
            Atom::Var(v) => {
                if let Some(l) = self.values.get(&v) {
                    return l.clone();
                }
                let nonnegative = self.info.get(&v).is_some_and(|i| i.nonnegative);
                let array = !self.func.ty(v).is_scalar();
                let l = Lin::of(self.symbol(Kind::Opaque { nonnegative, array }));
                self.values.insert(v, l.clone());
                l
            }
        }
    }

    pub(super) fn info(&self, a: Atom) -> Info {
        match a {
            Atom::Lit(Lit::Float(c)) => Info { key: hash(("real", c.to_bits())), nonnegative: c >= 0.0, ..Info::default() },
            Atom::Lit(Lit::Int(i)) => Info { key: hash(("int", i)), nonnegative: i >= 0, ..Info::default() },
            Atom::Lit(Lit::Bool(b)) => Info { key: hash(("bool", b)), nonnegative: true, ..Info::default() },
            Atom::Var(v) => self.info.get(&v).cloned().unwrap_or_else(|| Info {
                roots: BTreeSet::from([Root::Unknown]),
                key: hash(("variable", v.0)),
                nonnegative: false,
            }),
        }
    }

    pub(super) fn roots(&self, atoms: &[Atom]) -> BTreeSet<Root> {
        atoms.iter().flat_map(|a| self.info(*a).roots).collect()
    }

    pub(super) fn keys(&self, atoms: &[Atom]) -> Vec<u64> {
        atoms.iter().map(|a| self.info(*a).key).collect()
    }

    pub(super) fn set(&mut self, out: Var, roots: BTreeSet<Root>, key: u64, nonnegative: bool) {
        self.info.insert(out, Info { roots, key, nonnegative });
    }

    fn alias(&mut self, out: Var, x: Atom) {
        let l = self.lin(x);
        self.values.insert(out, l);
        let info = self.info(x);
        self.info.insert(out, info);
        if let Atom::Var(v) = x
            && let Some(c) = self.choices.get(&v).copied()
        {
            self.choices.insert(out, c);
        }
    }

    // Statements.

    fn stmt(&mut self, s: &Stmt<S>) {
        match &s.op {
            Op::Random(r) => match r.view() {
                RandomView::Est(r) => self.random(&s.outs, r),
                RandomView::Gen(_) | RandomView::Det(_) => self.unknown(&s.outs, &r.atoms()),
            },
            Op::Stop(x) => self.alias(s.outs[0], *x),
            Op::Prim(p, args) => self.prim(s.outs[0], *p, args),
            Op::Broadcast { x, .. } if self.func.atom_ty(*x).is_scalar() => self.alias(s.outs[0], *x),
            Op::Reduce { op: ReduceOp::Sum, x, axes } => self.sum(s.outs[0], *x, axes),
            Op::Map { len, index, body } => {
                self.enter_loop(*index);
                self.block(body);
                let results: Vec<(Lin, Info)> = body.results.iter().map(|r| (self.lin(*r), self.info(*r))).collect();
                self.path.pop();
                for ((out, (l, i)), r) in s.outs.iter().zip(results).zip(&body.results) {
                    if self.func.atom_ty(*r).dtype == DType::Float && l.known().is_none() {
                        self.values.insert(*out, l);
                    }
                    let mut roots = i.roots;
                    roots.remove(&Root::Index(*index));
                    self.set(*out, roots, hash(("map", len, i.key)), i.nonnegative);
                }
            }
            Op::If { cond, then, els } => {
                self.block(then);
                self.block(els);
                for (k, out) in s.outs.iter().enumerate() {
                    let from: Vec<Atom> =
                        [Some(cond), then.results.get(k), els.results.get(k)].into_iter().flatten().copied().collect();
                    let (roots, key) = (self.roots(&from), hash(("if", self.keys(&from))));
                    let nonnegative = from[1..].iter().all(|a| self.info(*a).nonnegative);
                    self.set(*out, roots, key, nonnegative);
                }
            }
            Op::Scan(scan) => self.scan(s, scan),
            Op::Minibatch { data, size } => {
                self.minibatches.insert(s.outs[0], *data);
                self.set(s.outs[0], BTreeSet::from([Root::Minibatch]), hash(("minibatch", data, size)), true);
            }
            op => {
                if let Op::Gather { x: Atom::Var(x), idx: Atom::Var(i), .. } = op
                    && let Some(data) = self.minibatches.get(x).copied()
                    && self.path.contains(i)
                {
                    self.minibatches.insert(*i, data);
                }
                let atoms = op_atoms(op);
                let (roots, keys) = (self.roots(&atoms), self.keys(&atoms));
                let mut shape = op.clone();
                ppl_core::map_atoms(&mut shape, &mut |_| Atom::int(0));
                let nonnegative = matches!(op, Op::Reduce { .. } | Op::Gather { .. } | Op::Slice { .. } | Op::Reshape { .. })
                    && atoms.first().is_some_and(|a| self.info(*a).nonnegative);
                for (k, out) in s.outs.iter().enumerate() {
                    self.set(*out, roots.clone(), hash((format!("{shape:?}"), &keys, k)), nonnegative);
                }
            }
        }
    }

    fn scan(&mut self, s: &Stmt<S>, scan: &ppl_core::Scan<S>) {
        let inits: Vec<Atom> = scan.carry.iter().chain(&scan.xs).map(|(_, a)| *a).collect();
        let mut drawn = false;
        ppl_core::each_stmt(&scan.body, &mut |s| drawn |= matches!(s.op, Op::Random(_)));
        let mut roots = self.roots(&inits);
        roots.extend(
            ppl_core::free_vars(&scan.body).into_iter().flat_map(|v| self.info.get(&v).cloned().unwrap_or_default().roots),
        );
        if drawn {
            roots.insert(Root::Unknown);
        }
        self.enter_loop(scan.index);
        for (v, _) in scan.carry.iter().chain(&scan.xs) {
            self.set(*v, roots.clone(), hash(("carry", v.0)), false);
        }
        self.block(&scan.body);
        self.path.pop();
        for out in &s.outs {
            self.set(*out, roots.clone(), hash(("scan", out.0)), false);
        }
    }

    pub(super) fn unknown(&mut self, outs: &[Var], atoms: &[Atom]) {
        let mut roots = self.roots(atoms);
        roots.insert(Root::Unknown);
        for out in outs {
            self.set(*out, roots.clone(), hash(("drawn", out.0)), false);
        }
    }

    fn prim(&mut self, out: Var, p: Prim, args: &[Atom]) {
        let infos: Vec<Info> = args.iter().map(|a| self.info(*a)).collect();
        let nonnegative = match p {
            Prim::Square | Prim::Exp | Prim::Abs | Prim::Sqrt | Prim::Softplus | Prim::Relu => true,
            Prim::Add | Prim::Mul | Prim::Div | Prim::Min | Prim::ToReal => infos.iter().all(|i| i.nonnegative),
            Prim::Max => infos.iter().any(|i| i.nonnegative),
            _ => false,
        } || (p == Prim::Mul && args.len() == 2 && args[0] == args[1]);
        self.set(
            out,
            infos.iter().flat_map(|i| i.roots.iter().copied()).collect(),
            hash((p.name(), infos.iter().map(|i| i.key).collect::<Vec<_>>())),
            nonnegative,
        );
        if self.func.ty(out).dtype != DType::Float {
            return;
        }
        let ls: Vec<Lin> = args.iter().map(|a| self.lin(*a)).collect();
        if let Some(l) = self.value_of(p, &ls) {
            self.values.insert(out, l);
        }
    }

    fn value_of(&mut self, p: Prim, x: &[Lin]) -> Option<Lin> {
        match (p, x) {
            (Prim::Neg, [a]) => Some(a.scaled(-1.0)),
            (Prim::Add, [a, b]) => Some(a.clone().add(b, 1.0)),
            (Prim::Sub, [a, b]) => Some(a.clone().add(b, -1.0)),
            (Prim::ToReal, [a]) => Some(a.clone()),
            (Prim::Mul, [a, b]) => match (a.known(), b.known()) {
                (Some(c), _) => Some(b.scaled(c)),
                (_, Some(c)) => Some(a.scaled(c)),
                _ if a == b => self.power(a, 2.0),
                _ => self.product(a, b, 1.0),
            },
            (Prim::Div, [a, b]) => match b.known() {
                Some(c) if c != 0.0 => Some(a.scaled(1.0 / c)),
                Some(_) => None,
                None => match a.known() {
                    Some(c) => self.power(b, -1.0).map(|l| l.scaled(c)),
                    None => self.product(a, b, -1.0),
                },
            },
            (Prim::Square, [a]) => self.power(a, 2.0),
            (Prim::Sqrt, [a]) => self.power(a, 0.5),
            (Prim::Pow, [a, b]) => self.power(a, b.known()?),
            (Prim::Log, [a]) => match a.known() {
                Some(c) => Some(Lin::constant(c.ln())),
                None => {
                    let (c, mean) = self.single_mean(a)?;
                    let l = self.symbol(Kind::LogMean(mean.core.clone()));
                    Some(Lin::constant(c.ln()).add(&mean.shift, 1.0).add(&Lin::of(l), 1.0))
                }
            },
            (Prim::Exp, [a]) => match a.known() {
                Some(c) => Some(Lin::constant(c.exp())),
                None => {
                    let known = self.exponentials.iter().find(|(l, _)| l == a).map(|(_, s)| *s);
                    let s = match known {
                        Some(s) => s,
                        None => {
                            let mean = weigh::exponential(self, a)?;
                            let s = self.symbol(Kind::Mean(mean));
                            self.exponentials.push((a.clone(), s));
                            s
                        }
                    };
                    Some(Lin::of(s))
                }
            },
            _ => None,
        }
    }

    /// `c exp(shift) M` with `c > 0`.
    fn single_mean(&self, a: &Lin) -> Option<(f64, Mean)> {
        if a.constant != 0.0 || a.terms.len() != 1 {
            return None;
        }
        let (s, c) = a.terms.iter().next()?;
        match &self.syms[*s].kind {
            Kind::Mean(m) if *c > 0.0 => Some((*c, m.clone())),
            _ => None,
        }
    }

    fn power(&mut self, a: &Lin, power: f64) -> Option<Lin> {
        if let Some(c) = a.known() {
            return Some(Lin::constant(c.powf(power)));
        }
        let (c, m) = self.single_mean(a)?;
        let mean = Mean { shift: m.shift.scaled(power), core: m.core.power(power) };
        Some(Lin::of(self.symbol(Kind::Mean(mean))).scaled(c.powf(power)))
    }

    fn product(&mut self, a: &Lin, b: &Lin, power: f64) -> Option<Lin> {
        let (c, m) = self.single_mean(a)?;
        let (d, n) = self.single_mean(b)?;
        let core = m.core.times(&n.core.power(power))?;
        let mean = Mean { shift: m.shift.add(&n.shift, power), core };
        Some(Lin::of(self.symbol(Kind::Mean(mean))).scaled(c * d.powf(power)))
    }

    // Sums over lanes.

    /// Whether a symbol has the same value in all lanes of the loops that have been left.
    fn same_in_lanes(&self, s: SymId) -> bool {
        let sym = &self.syms[s];
        let array = matches!(sym.kind, Kind::Opaque { array: true, .. });
        !array && sym.home.iter().all(|v| self.path.contains(v))
    }

    fn sum(&mut self, out: Var, x: Atom, axes: &[usize]) {
        let ty = self.func.atom_ty(x);
        let info = self.info(x);
        self.set(out, info.roots, hash(("sum", axes, info.key)), info.nonnegative);
        if ty.dtype != DType::Float || axes.len() != ty.rank() {
            return;
        }
        let len = ty.numel();
        let l = self.lin(x);
        if let Some((c, m)) = self.single_mean(&l)
            && m.shift.terms.keys().all(|s| self.same_in_lanes(*s))
            && m.core.terms.iter().all(|(_, e)| e.lanes.iter().all(|v| self.path.contains(v)))
        {
            let shift = Lin { constant: m.shift.constant + (c * len as f64).ln(), ..m.shift };
            let s = self.symbol(Kind::Mean(Mean { shift, core: m.core }));
            self.values.insert(out, Lin::of(s));
            return;
        }
        let (mut same, mut rest) = (Lin::constant(l.constant), Lin::default());
        for (s, c) in &l.terms {
            let part = if self.same_in_lanes(*s) { &mut same } else { &mut rest };
            part.terms.insert(*s, *c);
        }
        let mut sum = same.scaled(len as f64);
        // A minibatch stands for all lanes: what multiplies its sum is the number of data over its size.
        let data = rest
            .terms
            .keys()
            .flat_map(|s| &self.syms[*s].home)
            .filter(|v| !self.path.contains(v))
            .find_map(|v| self.minibatches.get(v).copied());
        if !rest.terms.is_empty() {
            // An opaque array needs no symbol beside the sum's own.
            let opaque = rest.terms.keys().all(|s| matches!(self.syms[*s].kind, Kind::Opaque { .. }));
            let kind = if opaque {
                let nonnegative = rest
                    .terms
                    .iter()
                    .all(|(s, c)| *c >= 0.0 && matches!(self.syms[*s].kind, Kind::Opaque { nonnegative: true, .. }));
                Kind::Opaque { nonnegative, array: false }
            } else {
                Kind::Lanes { of: rest, len: data.unwrap_or(len), sampled: data.is_some() }
            };
            let s = self.symbol(kind);
            sum = sum.add(&Lin::of(s), data.map_or(1.0, |n| len as f64 / n as f64));
        }
        self.values.insert(out, sum);
    }

    /// Whether two values share no randomness.
    pub(super) fn independent(&self, a: Atom, b: Atom) -> bool {
        let sims = |a: Atom| -> Option<BTreeSet<SymId>> {
            let of = |r: Root| match r {
                Root::Choice(s, _) => Some(Some(s)),
                Root::Index(_) => None,
                Root::Minibatch | Root::Unknown => Some(None),
            };
            self.info(a).roots.into_iter().filter_map(of).collect()
        };
        matches!((sims(a), sims(b)), (Some(x), Some(y)) if x.is_disjoint(&y))
    }

    /// Loops of a set of roots.
    pub(super) fn loops(roots: &BTreeSet<Root>) -> Vec<Var> {
        roots
            .iter()
            .filter_map(|r| match r {
                Root::Index(v) => Some(*v),
                _ => None,
            })
            .collect()
    }
}
