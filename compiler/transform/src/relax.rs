//! Choices that are continued with a number or a point of the simplex.
//!
//! in:    flat `Est`; the strategies of some samples continue with reals where the choice is a truth value or an index
//! out:   `Est` in which these choices are reals: `b` in [0, 1] for a truth value, `w` on the simplex of `K` for one of `K` integers
//! keeps: everything that does not depend on them
//!
//! Every use is replaced by its multilinear extension, which is what it was at the corners:
//!
//! ```text
//!   real(b)               =  b                                real(z)     =  sum over v of (lo + v) w[v]
//!   not b, b and c        =  1 - b, b c                       z == j      =  w[j - lo]
//!   select(b, x, y)       =  y + b (x - y)
//!   table[z]              =  sum over v of w[v] table[v]
//!   log_density(d, b)     =  b log_density(d, true) + (1 - b) log_density(d, false)
//!   log_density(d, z)     =  sum over v of w[v] log_density(d, v)
//!   stacks, elements, slices, branches' and loops' results: the same of reals; a hard value that meets a relaxed one is 0 or 1
//! ```
//!
//! Other uses, a branch above all, are E0474.

use crate::expand::{Cx, Hook};
use ppl_core::{
    Atom, Block, Builder, DType, DistUse, Est, EstRandom, Func, Module, Op, Prim, Scan, Stmt, StrategyUse, Support, Ty, Var,
};
use ppl_diag::{Code, Diagnostic, Span};
use std::collections::HashMap;

/// The program with its relaxed choices as reals; `None` where it has none. Errors: a use of one that has no extension (E0474).
pub fn relax(module: &Module, func: &Func<Est>) -> Result<Option<Func<Est>>, Vec<Diagnostic>> {
    if !any_relaxed(module, &func.body) {
        return Ok(None);
    }
    let mut b = Builder::<Est>::new(func.name.clone());
    b.func.span = func.span;
    let args: Vec<Atom> =
        func.params.iter().map(|p| b.param(func.vars[p.index()].name.clone(), func.ty(*p).clone()).into()).collect();
    let mut r = Relax { module, soft: HashMap::new(), labels: HashMap::new(), errors: Vec::new() };
    let mut cx = Cx::new(func, &args);
    r.block(&mut b, &mut cx, &func.body);
    let results = cx.atoms(&func.body.results);
    if r.errors.is_empty() { Ok(Some(b.finish(results))) } else { Err(r.errors) }
}

/// Whether the strategy of a sample relaxes it.
fn relaxes(module: &Module, op: &Op<Est>) -> bool {
    match op {
        Op::Random(EstRandom::Sample { strategy: StrategyUse::Named { strategy, .. }, .. }) => module.strategy(*strategy).relaxed,
        _ => false,
    }
}

fn any_relaxed(module: &Module, block: &Block<Est>) -> bool {
    block.stmts.iter().any(|s| relaxes(module, &s.op) || ppl_core::op_blocks(&s.op).into_iter().any(|b| any_relaxed(module, b)))
}

/// A relaxed value: what stands for it, and the integers that it was one of (none for a truth value).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Soft {
    kind: Kind,
    /// The choice that it comes from: its statement's place.
    from: Span,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// In [0, 1].
    Bool,
    /// On a simplex along the last axis, for `lo, lo + 1, ..`.
    Int { lo: i64, len: usize },
}

impl Kind {
    fn axes(self) -> Vec<usize> {
        match self {
            Kind::Bool => Vec::new(),
            Kind::Int { len, .. } => vec![len],
        }
    }
}

struct Relax<'m> {
    module: &'m Module,
    /// Variables of the source that are relaxed.
    soft: HashMap<Var, Soft>,
    /// Names of the choices, by place.
    labels: HashMap<Span, (String, String)>,
    errors: Vec<Diagnostic>,
}

/// Copies statements that nothing relaxed reaches.
struct Same;

impl Hook<Est, Est> for Same {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, op: &EstRandom) -> Vec<Atom> {
        let mut op = Op::Random(op.clone());
        ppl_core::map_atoms(&mut op, &mut |a| cx.atom(a));
        let outs = cx.declare(stmt, std::iter::empty());
        b.emit(op, outs).into_iter().map(Atom::Var).collect()
    }
}

impl Relax<'_> {
    fn of(&self, a: Atom) -> Option<Soft> {
        a.var().and_then(|v| self.soft.get(&v).copied())
    }

    fn touches(&self, s: &Stmt<Est>) -> bool {
        relaxes(self.module, &s.op)
            || ppl_core::op_atoms(&s.op).iter().any(|a| self.of(*a).is_some())
            || ppl_core::op_blocks(&s.op)
                .into_iter()
                .any(|b| any_relaxed(self.module, b) || ppl_core::free_vars(b).iter().any(|v| self.soft.contains_key(v)))
    }

    fn block(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, block: &Block<Est>) {
        for s in &block.stmts {
            if self.touches(s) {
                b.span = s.span;
                self.stmt(b, cx, s);
            } else {
                cx.stmt(b, &mut Same, s);
            }
        }
    }

    fn stmt(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, s: &Stmt<Est>) {
        match &s.op {
            Op::Random(EstRandom::Sample { dist, label, strategy }) if relaxes(self.module, &s.op) => {
                self.sample(b, cx, s, dist, label, strategy);
            }
            Op::Random(EstRandom::LogDensity { dist, x }) => {
                if let Some(soft) = self.of(*x) {
                    let l = log_density(b, &DistUse { dist: dist.dist, args: cx.atoms(&dist.args) }, cx.atom(*x), soft.kind);
                    cx.map.insert(s.outs[0], l);
                }
            }
            Op::Map { len, index, body } => {
                let new = b.index_var(&cx.from.vars[index.index()].name);
                cx.map.insert(*index, new.into());
                b.begin();
                self.block(b, cx, body);
                let done = b.end(cx.atoms(&body.results));
                let outs = b.map(*len, new, done);
                self.results(cx, s, &body.results, &outs);
            }
            Op::If { cond, then, els } => self.branch(b, cx, s, *cond, then, els),
            Op::Scan(scan) => self.scan(b, cx, s, scan),
            op => {
                let Some((out, soft)) = self.plain(b, cx, op) else { return self.refuse(s) };
                cx.map.insert(s.outs[0], out);
                if let Some(soft) = soft {
                    self.soft.insert(s.outs[0], soft);
                }
            }
        }
    }

    /// Notes what a loop's outputs have become.
    fn results(&mut self, cx: &mut Cx<'_, Est>, s: &Stmt<Est>, results: &[Atom], outs: &[Var]) {
        for ((old, new), r) in s.outs.iter().zip(outs).zip(results) {
            cx.map.insert(*old, (*new).into());
            if let Some(soft) = self.of(*r) {
                self.soft.insert(*old, soft);
            }
        }
    }

    fn sample(
        &mut self,
        b: &mut Builder<Est>,
        cx: &mut Cx<'_, Est>,
        s: &Stmt<Est>,
        dist: &DistUse,
        label: &str,
        by: &StrategyUse,
    ) {
        let d = self.module.dist(dist.dist);
        let kind = match (&d.support, d.support.size()) {
            (Support::Integers { lo, .. }, Some(len)) => Kind::Int { lo: *lo, len },
            _ => Kind::Bool,
        };
        let mut strategy = by.clone();
        if let StrategyUse::Named { args, .. } = &mut strategy {
            *args = cx.atoms(args);
        }
        let op = EstRandom::Sample {
            dist: DistUse { dist: dist.dist, args: cx.atoms(&dist.args) },
            strategy,
            label: label.to_string(),
        };
        let x = b.emit1(Op::Random(op), "x", Ty::float(kind.axes()));
        cx.map.insert(s.outs[0], x);
        self.soft.insert(s.outs[0], Soft { kind, from: s.span });
        let name = by_name(self.module, by);
        self.labels.insert(s.span, (crate::user_label(label).to_string(), name));
    }

    /// The hard value `a` of the source as a relaxed one.
    fn soften(&self, b: &mut Builder<Est>, a: Atom, kind: Kind) -> Atom {
        match kind {
            Kind::Bool => b.un(Prim::ToReal, a),
            Kind::Int { lo, len } => one_hot(b, a, lo, len),
        }
    }

    fn branch(
        &mut self,
        b: &mut Builder<Est>,
        cx: &mut Cx<'_, Est>,
        s: &Stmt<Est>,
        cond: Atom,
        then: &Block<Est>,
        els: &Block<Est>,
    ) {
        if self.of(cond).is_some() {
            return self.refuse(s);
        }
        let cond = cx.atom(cond);
        let kinds = |r: &Self| -> Vec<Option<Soft>> {
            then.results.iter().zip(&els.results).map(|(t, e)| r.of(*t).or_else(|| r.of(*e))).collect()
        };
        // What is relaxed in one branch is in the other, too: that is known after both.
        let mut blocks = Vec::new();
        for block in [then, els] {
            b.begin();
            self.block(b, cx, block);
            blocks.push((b.end(Vec::new()).stmts, block));
        }
        let kinds = kinds(self);
        let mut done = Vec::new();
        for (stmts, block) in blocks {
            b.begin();
            stmts.into_iter().for_each(|s| b.push(s));
            let mut results = Vec::new();
            for (r, kind) in block.results.iter().zip(&kinds) {
                let a = cx.atom(*r);
                results.push(match kind {
                    Some(k) if self.of(*r).is_none() => self.soften(b, a, k.kind),
                    _ => a,
                });
            }
            done.push(b.end(results));
        }
        let (els, then) = (done.remove(1), done.remove(0));
        let outs = b.if_(cond, then, els);
        for ((old, new), kind) in s.outs.iter().zip(outs).zip(kinds) {
            cx.map.insert(*old, new.into());
            if let Some(k) = kind {
                self.soft.insert(*old, k);
            }
        }
    }

    fn scan(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, s: &Stmt<Est>, scan: &Scan<Est>) {
        let mut carried: Vec<Option<Soft>> = scan.carry.iter().map(|(_, a)| self.of(*a)).collect();
        loop {
            let saved = (b.clone(), cx.map.clone(), self.soft.clone(), self.errors.len());
            let index = b.index_var(&cx.from.vars[scan.index.index()].name);
            cx.map.insert(scan.index, index.into());
            let mut carry = Vec::new();
            for ((v, init), soft) in scan.carry.iter().zip(&carried) {
                let mut at = cx.atom(*init);
                if let (Some(k), None) = (soft, self.of(*init)) {
                    at = self.soften(b, at, k.kind);
                }
                let ty = b.ty(at);
                carry.push((b.fresh(&cx.from.vars[v.index()].name, ty), at));
                if let Some(k) = soft {
                    self.soft.insert(*v, *k);
                }
            }
            let mut xs = Vec::new();
            for (v, a) in &scan.xs {
                let at = cx.atom(*a);
                let ty = b.ty(at);
                xs.push((b.fresh(&cx.from.vars[v.index()].name, Ty::new(ty.dtype, ty.shape[1..].to_vec())), at));
                if let Some(k) = self.of(*a) {
                    self.soft.insert(*v, k);
                }
            }
            for ((v, _), (new, _)) in scan.carry.iter().zip(&carry).chain(scan.xs.iter().zip(&xs)) {
                cx.map.insert(*v, (*new).into());
            }
            b.begin();
            self.block(b, cx, &scan.body);
            let mut grown = false;
            let mut results = Vec::new();
            for (k, r) in scan.body.results.iter().enumerate() {
                let mut a = cx.atom(*r);
                if let Some(was) = carried.get_mut(k) {
                    match (&was, self.of(*r)) {
                        (None, Some(new)) => {
                            *was = Some(new);
                            grown = true;
                        }
                        (Some(k), None) => a = self.soften(b, a, k.kind),
                        _ => {}
                    }
                }
                results.push(a);
            }
            let body = b.end(results);
            if grown {
                // Again, with this value relaxed from the start.
                (*b, cx.map, self.soft) = (saved.0, saved.1, saved.2);
                self.errors.truncate(saved.3);
                continue;
            }
            let stacked = body.results[scan.carry.len()..].iter().map(|a| b.ty(*a).lifted(&[scan.len]));
            let tys: Vec<Ty> = carry.iter().map(|(v, _)| b.func.ty(*v).clone()).chain(stacked).collect();
            let names = tys.into_iter().map(|t| ("s".to_string(), t)).collect();
            let new = Scan { len: scan.len, index, carry, xs, body, reverse: scan.reverse };
            let outs = b.emit(Op::Scan(Box::new(new)), names);
            for (k, (old, new)) in s.outs.iter().zip(outs).enumerate() {
                cx.map.insert(*old, new.into());
                let soft = carried.get(k).copied().unwrap_or_else(|| self.of(scan.body.results[k]));
                if let Some(k) = soft {
                    self.soft.insert(*old, k);
                }
            }
            return;
        }
    }

    /// A statement without blocks: what its output has become, and whether that is relaxed. `None`: there is no extension.
    fn plain(&mut self, b: &mut Builder<Est>, cx: &Cx<'_, Est>, op: &Op<Est>) -> Option<(Atom, Option<Soft>)> {
        let at = |a: &Atom| cx.atom(*a);
        match op {
            Op::Prim(p, args) => self.prim(b, cx, *p, args),
            Op::Stop(x) => Some((b.stop(at(x)), self.of(*x))),
            Op::Gather { x, idx, batch } => match (self.of(*x), self.of(*idx)) {
                (Some(soft), None) => Some((b.gather(at(x), at(idx), *batch), Some(soft))),
                (None, Some(Soft { kind: Kind::Int { lo: 0, len }, .. })) => {
                    let (w, table) = (at(idx), at(x));
                    let ty = b.ty(table);
                    if ty.dtype != DType::Float || ty.shape.get(*batch) != Some(&len) {
                        return None;
                    }
                    let last = b.ty(w).rank() - 1;
                    let shared: Vec<(usize, usize)> = (0..*batch).map(|k| (k, k)).collect();
                    Some((b.dot(w, table, &shared, &[(last, *batch)]), None))
                }
                _ => None,
            },
            Op::Reshape { x, shape } => {
                let soft = self.of(*x)?;
                let shape = [&shape[..], &soft.kind.axes()].concat();
                Some((b.reshape(at(x), &shape), Some(soft)))
            }
            Op::Broadcast { x, shape, axes } => {
                let soft = self.of(*x)?;
                let own = soft.kind.axes();
                let axes: Vec<usize> = axes.iter().copied().chain((0..own.len()).map(|_| shape.len())).collect();
                Some((b.broadcast(at(x), &[&shape[..], &own].concat(), &axes), Some(soft)))
            }
            Op::Slice { x, axis, start, len } => Some((b.slice(at(x), *axis, *start, *len), Some(self.of(*x)?))),
            Op::Reverse { x, axis } => Some((b.reverse(at(x), *axis), Some(self.of(*x)?))),
            Op::Concat { xs, axis } => {
                let soft = xs.iter().find_map(|x| self.of(*x))?;
                let parts: Vec<Atom> =
                    xs.iter().map(|x| if self.of(*x).is_some() { at(x) } else { self.soften(b, at(x), soft.kind) }).collect();
                Some((b.concat(&parts, *axis), Some(soft)))
            }
            _ => None,
        }
    }

    fn prim(&mut self, b: &mut Builder<Est>, cx: &Cx<'_, Est>, p: Prim, args: &[Atom]) -> Option<(Atom, Option<Soft>)> {
        let softs: Vec<Option<Soft>> = args.iter().map(|a| self.of(*a)).collect();
        let at = cx.atoms(args);
        let hard = |r: &Self, b: &mut Builder<Est>, k: usize| match softs[k] {
            Some(_) => at[k],
            None => r.soften(b, at[k], Kind::Bool),
        };
        match (p, &softs[..]) {
            (Prim::ToReal, [Some(Soft { kind: Kind::Bool, .. })]) => Some((at[0], None)),
            (Prim::ToReal, [Some(Soft { kind: Kind::Int { lo, len }, .. })]) => {
                let values = b.iota(*len);
                let values = b.add(values, Atom::int(*lo));
                let values = b.un(Prim::ToReal, values);
                let last = b.ty(at[0]).rank() - 1;
                Some((b.dot(at[0], values, &[], &[(last, 0)]), None))
            }
            (Prim::Not, [Some(s)]) => Some((b.sub(Atom::float(1.0), at[0]), Some(*s))),
            (Prim::And | Prim::Or | Prim::Eq | Prim::Ne, [x, y])
                if [x, y].iter().all(|s| s.is_none_or(|s| s.kind == Kind::Bool)) =>
            {
                let s = (*x).or(*y)?;
                let (x, y) = (hard(self, b, 0), hard(self, b, 1));
                let both = b.mul(x, y);
                let some = b.add(x, y);
                let out = match p {
                    Prim::And => both,
                    Prim::Or => b.sub(some, both),
                    _ => {
                        let twice = b.mul(both, Atom::float(2.0));
                        let unlike = b.sub(some, twice);
                        if p == Prim::Ne { unlike } else { b.sub(Atom::float(1.0), unlike) }
                    }
                };
                Some((out, Some(s)))
            }
            (Prim::Eq | Prim::Ne, [x, y]) => {
                let (s, w, j) = match (x, y) {
                    (Some(s), None) => (*s, at[0], at[1]),
                    (None, Some(s)) => (*s, at[1], at[0]),
                    _ => return None,
                };
                let Kind::Int { lo, len } = s.kind else { return None };
                if b.ty(w).rank() != 1 || !b.ty(j).is_scalar() {
                    return None;
                }
                let spot = one_hot(b, j, lo, len);
                let same = b.dot(w, spot, &[], &[(0, 0)]);
                let out = if p == Prim::Eq { same } else { b.sub(Atom::float(1.0), same) };
                Some((out, Some(Soft { kind: Kind::Bool, ..s })))
            }
            (Prim::Select, [Some(Soft { kind: Kind::Bool, .. }), None, None]) if b.ty(at[1]).dtype == DType::Float => {
                let d = b.sub(at[1], at[2]);
                let part = b.mul(at[0], d);
                Some((b.add(at[2], part), None))
            }
            _ => None,
        }
    }

    fn refuse(&mut self, s: &Stmt<Est>) {
        let soft = ppl_core::op_atoms(&s.op).iter().find_map(|a| self.of(*a));
        let from = soft.map_or(Span::NONE, |s| s.from);
        let (label, strategy) = self.labels.get(&from).cloned().unwrap_or_default();
        let what = match &s.op {
            Op::If { .. } => "a branch on it",
            Op::Prim(Prim::Lt | Prim::Le | Prim::Gt | Prim::Ge | Prim::Eq | Prim::Ne, _) => "compared here",
            _ => "this is no arithmetic",
        };
        let d = Diagnostic::error(
            Code("E0474"),
            format!("`{strategy}` makes `{label}` a number between its values, which this does not take"),
        )
        .label(s.span, what)
        .label(from, format!("continued with a relaxed value by `{strategy}`"))
        .note("a relaxed choice may be used arithmetically: `real(b)`, `select(b, x, y)`, `table[z]`, in densities")
        .help("write the use as arithmetic, or give the choice a strategy that keeps it discrete, such as `by enumerate`");
        if !self.errors.iter().any(|e| e.span() == d.span()) {
            self.errors.push(d);
        }
        for v in &s.outs {
            self.soft.remove(v);
        }
    }
}

fn by_name(module: &Module, s: &StrategyUse) -> String {
    match s {
        StrategyUse::Named { strategy, .. } => module.strategy(*strategy).name.clone(),
        StrategyUse::Auto => String::new(),
    }
}

/// Integers as corners of the simplex, along a new last axis.
pub(crate) fn one_hot<S: ppl_core::Stage>(b: &mut Builder<S>, x: Atom, lo: i64, len: usize) -> Atom {
    let shape = b.ty(x).shape;
    let all = [&shape[..], &[len]].concat();
    let values = b.iota(len);
    let values = b.add(values, Atom::int(lo));
    let values = b.broadcast(values, &all, &[shape.len()]);
    let x = b.broadcast(x, &all, &(0..shape.len()).collect::<Vec<_>>());
    let same = b.prim(Prim::Eq, &[x, values]);
    b.un(Prim::ToReal, same)
}

fn log_density(b: &mut Builder<Est>, dist: &DistUse, x: Atom, kind: Kind) -> Atom {
    let of =
        |b: &mut Builder<Est>, x: Atom| b.emit1(Op::Random(EstRandom::LogDensity { dist: dist.clone(), x }), "lp", Ty::FLOAT);
    match kind {
        Kind::Bool => {
            let (yes, no) = (of(b, Atom::bool(true)), of(b, Atom::bool(false)));
            let d = b.sub(yes, no);
            let part = b.mul(x, d);
            b.add(no, part)
        }
        Kind::Int { lo, len } => {
            let index = b.index_var("v");
            b.begin();
            let v = if lo == 0 { index.into() } else { b.add(index.into(), Atom::int(lo)) };
            let l = of(b, v);
            let body = b.end(vec![l]);
            let all = b.map(len, index, body)[0];
            b.dot(x, all.into(), &[], &[(0, 0)])
        }
    }
}
