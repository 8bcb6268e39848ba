//! An estimate's exact expectation over its finite choices, for certificates.
//!
//! in:    flat `Est` (no calls), the number of combinations that may be made
//! out:   `Est`: `(args.., number) -> value`: over all numbers the values add up to the expectation over the choices that are numbered
//! keeps: all other samples; no strategy has a part in it
//!
//! ```text
//!   E[ x ~ d at lane l; k ]         =  x = value (number / (base K^l) mod K);  w += log_density(d, x);  E[k]
//!   E[ if c { b } else { b' }; k ]  =  a choice that the branch taken does not make has K equal values: w -= log K
//!   E[ ret e ]                      =  exp(w) e where w is finite, 0 elsewhere
//! ```

use crate::expand::{Cx, Head, Hook, real, sum};
use crate::sim::{Pending, Scope};
use ppl_core::{Atom, Block, Builder, DType, Est, EstRandom, Func, Module, Op, Prim, Stmt, Support, Ty};
use std::collections::HashMap;

/// The expectation over as many finite choices as `limit` combinations allow.
#[derive(Clone, Debug, PartialEq)]
pub struct Enumerated {
    /// The program; its last parameter is the number of a combination, an int.
    pub func: Func<Est>,
    /// Number of combinations, at least 1.
    pub combinations: usize,
    /// Labels of the choices that are enumerated.
    pub choices: Vec<String>,
}

/// See the module. `result` is the number of the result that is the estimate, a real scalar.
pub fn enumerated(module: &Module, func: &Func<Est>, result: usize, limit: usize) -> Enumerated {
    let mut found = Vec::new();
    sites(module, &func.body, 1, &mut found);
    let mut taken: HashMap<String, Site> = HashMap::new();
    let mut combinations = 1usize;
    for (label, values, lanes) in &found {
        let more = u32::try_from(*lanes).ok().and_then(|l| values.checked_pow(l)).and_then(|n| n.checked_mul(combinations));
        if let Some(n) = more.filter(|n| *n <= limit) {
            taken.insert(label.clone(), Site { base: combinations, values: *values, lanes: *lanes });
            combinations = n;
        }
    }
    let mut b = Builder::<Est>::new(format!("{}.enumerated", func.name));
    b.func.span = func.span;
    let args: Vec<Atom> =
        func.params.iter().map(|p| b.param(func.vars[p.index()].name.clone(), func.ty(*p).clone()).into()).collect();
    let number: Atom = b.param("number", Ty::INT).into();
    let mut pass =
        Enumerate { module, number, taken: &taken, loops: Vec::new(), scopes: vec![Scope::default()], pending: Vec::new() };
    let results = Cx::new(func, &args).block(&mut b, &mut pass, &func.body);
    let scope = pass.scopes.pop().unwrap_or_default();
    let w = sum(&mut b, scope.weights);
    let value = results[result];
    let total = if w.var().is_some() || w != Atom::float(0.0) {
        let possible = b.emit1(Op::Prim(Prim::IsFinite, vec![w]), "possible", Ty::BOOL);
        b.begin();
        let p = real(&mut b, Prim::Exp, &[w]);
        let e = real(&mut b, Prim::Mul, &[p, value]);
        let then = b.end(vec![e]);
        b.begin();
        let els = b.end(vec![Atom::float(0.0)]);
        b.if_(possible, then, els)[0].into()
    } else {
        value
    };
    let choices = found.into_iter().map(|f| f.0).filter(|l| taken.contains_key(l)).collect();
    Enumerated { func: b.finish(vec![total]), combinations, choices }
}

#[derive(Clone, Copy)]
struct Site {
    base: usize,
    values: usize,
    lanes: usize,
}

/// Labels of finite samples, their numbers of values and of lanes.
fn sites(module: &Module, block: &Block<Est>, lanes: usize, out: &mut Vec<(String, usize, usize)>) {
    for s in &block.stmts {
        let inner = match &s.op {
            Op::Map { len, .. } => lanes.saturating_mul(*len),
            Op::Scan(s) => lanes.saturating_mul(s.len),
            _ => lanes,
        };
        if let Op::Random(EstRandom::Sample { dist, label, .. }) = &s.op
            && let Some(n) = module.dist(dist.dist).support.size().filter(|n| *n > 0)
        {
            out.push((label.clone(), n, lanes));
        }
        ppl_core::op_blocks(&s.op).into_iter().for_each(|b| sites(module, b, inner, out));
    }
}

struct Enumerate<'a> {
    module: &'a Module,
    number: Atom,
    taken: &'a HashMap<String, Site>,
    loops: Vec<Head>,
    scopes: Vec<Scope>,
    pending: Vec<Pending>,
}

impl Enumerate<'_> {
    fn weight(&mut self, w: Atom) {
        if let Some(s) = self.scopes.last_mut() {
            s.weights.push(w);
        }
    }

    /// Log of the number of values of all numbered choices in a block.
    fn missing(&self, block: &Block<Est>, lanes: usize) -> f64 {
        let mut found = Vec::new();
        sites(self.module, block, lanes, &mut found);
        found.iter().filter(|(l, _, _)| self.taken.contains_key(l)).map(|(_, n, lanes)| *lanes as f64 * (*n as f64).ln()).sum()
    }
}

impl Hook<Est, Est> for Enumerate<'_> {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Est>, stmt: &Stmt<Est>, op: &EstRandom) -> Vec<Atom> {
        if let EstRandom::Sample { dist, label, .. } = op
            && let Some(site) = self.taken.get(label)
        {
            let mut dist = dist.clone();
            dist.args = cx.atoms(&dist.args);
            let mut lane = Atom::int(0);
            for l in &self.loops {
                let scaled = b.emit1(Op::Prim(Prim::Mul, vec![lane, Atom::int(l.len as i64)]), "lane", Ty::INT);
                lane = b.emit1(Op::Prim(Prim::Add, vec![scaled, l.index.into()]), "lane", Ty::INT);
            }
            let strides: Vec<Atom> = (0..site.lanes as u32).map(|l| Atom::int((site.base * site.values.pow(l)) as i64)).collect();
            let stride = if let [one] = strides[..] {
                one
            } else {
                let all = b.stack(&strides);
                b.gather(all, lane, 0)
            };
            let high = b.emit1(Op::Prim(Prim::IntDiv, vec![self.number, stride]), "high", Ty::INT);
            let k = b.emit1(Op::Prim(Prim::Rem, vec![high, Atom::int(site.values as i64)]), "k", Ty::INT);
            let x = match &self.module.dist(dist.dist).support {
                Support::Boolean => b.emit1(Op::Prim(Prim::Ne, vec![k, Atom::int(0)]), "x", Ty::new(DType::Bool, [])),
                Support::Integers { lo, .. } if *lo != 0 => b.emit1(Op::Prim(Prim::Add, vec![k, Atom::int(*lo)]), "x", Ty::INT),
                _ => k,
            };
            let w = b.emit1(Op::Random(EstRandom::LogDensity { dist, x }), "w", Ty::FLOAT);
            self.weight(w);
            return vec![x];
        }
        let mut op = Op::Random(op.clone());
        ppl_core::map_atoms(&mut op, &mut |a| cx.atom(a));
        let outs = cx.declare(stmt, std::iter::empty());
        b.emit(op, outs).into_iter().map(Atom::Var).collect()
    }

    fn begin(&mut self, _: &mut Builder<Est>, head: Head) {
        self.loops.push(head);
        self.scopes.push(Scope::default());
    }

    fn end(&mut self, b: &mut Builder<Est>, _: Head) -> Vec<Atom> {
        self.loops.pop();
        let (out, pending) = self.scopes.pop().unwrap_or_default().close(b);
        self.pending.push(pending);
        out
    }

    fn leave(&mut self, b: &mut Builder<Est>, _: Head, outs: Vec<Atom>) {
        if let (Some(p), Some(s)) = (self.pending.pop(), self.scopes.last_mut()) {
            s.absorb(b, p, &outs, true);
        }
    }

    fn before_if(&mut self, b: &mut Builder<Est>, cond: Atom, then: &Block<Est>, els: &Block<Est>) {
        let (t, e) = (self.missing(then, 1), self.missing(els, 1));
        if t != 0.0 || e != 0.0 {
            let w = real(b, Prim::Select, &[cond, Atom::float(-e), Atom::float(-t)]);
            self.weight(w);
        }
    }

    fn branch(&mut self) {
        self.scopes.push(Scope::default());
    }

    fn branch_end(&mut self, b: &mut Builder<Est>) {
        if let Some(s) = self.scopes.last_mut() {
            let weights = std::mem::take(&mut s.weights);
            if !weights.is_empty() {
                let w = sum(b, weights);
                s.weights.push(w);
            }
        }
    }

    fn join(&mut self, b: &mut Builder<Est>) -> (Vec<Atom>, Vec<Atom>) {
        let els = self.scopes.pop().unwrap_or_default();
        let then = self.scopes.pop().unwrap_or_default();
        let (t, e, pending) = Scope::join(b, then, els);
        self.pending.push(pending);
        (t, e)
    }

    fn leave_if(&mut self, b: &mut Builder<Est>, outs: Vec<Atom>) {
        if let (Some(p), Some(s)) = (self.pending.pop(), self.scopes.last_mut()) {
            s.absorb(b, p, &outs, false);
        }
    }
}
