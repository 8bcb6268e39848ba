//! Simulation form of a generative function.
//!
//! in:    `Gen`, verified
//! out:   `Est`: `(args..) -> (results.., choices.., log_q)`, choices in the order of `Module::choices`
//! keeps: spans, the order of choices, strategies
//!
//! ```text
//!   S[ x ~ d by s at a; k ]   =  x = sample d by s;  q += log_density(d, x);  S[k]      x is an output
//!   S[ s ~ g(e) at a; k ]     =  (s, t, q') = sim g(e);  q += q';  S[k]                 t are outputs, at a.t
//!   S[ map i { b }; k ]       =  (r, t, qs) = map i { S[b] };  q += sum(qs);  S[k]      axes in the address's order
//!   S[ if c { b } else { b' }; k ]  =  each branch returns its q and its choices, fillers inside the support for the other's
//!   S[ marginal, normalize; k ]  =  (t, q') as in [`mod@crate::marginal`], [`mod@crate::normalize`];  q += q'
//!   S[ scale c; k ]           =  S[k];  q is c times what it would be
//!   S[ report r = e; k ]      =  S[k]
//!   S[ ret e ]                =  (e, t, q)
//! ```
//!
//! Not handled: `factor` (E0401): such a program has no density that simulation could return.

use crate::expand::{Cx, Head, Hook, real, sum, sum_first};
use crate::inline::{Inliner, label_prefix};
use ppl_core::{
    Atom, Builder, DistId, DistUse, Est, EstRandom, Func, Gen, GenId, GenRandom, Op, Prim, Stmt, StrategyUse, Support, Ty, Var,
};
use ppl_diag::{Code, Diagnostic};

/// `sim` of one program. Errors: `factor` inside (E0401).
pub(crate) fn sim(cx: &mut Inliner<'_>, id: GenId) -> Result<Func<Est>, Vec<Diagnostic>> {
    let g = cx.module.generative(id).clone();
    let mut b = Builder::<Est>::new(format!("{}.sim", g.name));
    b.func.span = g.span;
    let args: Vec<Atom> = g.params.iter().map(|p| b.param(g.vars[p.index()].name.clone(), g.ty(*p).clone()).into()).collect();
    let mut sim = Sim {
        cx,
        program: g.name.clone(),
        loops: Vec::new(),
        scopes: vec![Scope::default()],
        pending: Vec::new(),
        errors: Vec::new(),
    };
    let mut copy = Cx::new(&g, &args);
    let mut results = copy.block(&mut b, &mut sim, &g.body);
    if !sim.errors.is_empty() {
        return Err(sim.errors);
    }
    let scope = sim.scopes.pop().unwrap_or_default();
    for c in &scope.choices {
        results.push(c.in_address_order(&mut b));
    }
    results.push(sum(&mut b, scope.weights));
    Ok(b.finish(results))
}

/// A value that leaves the loops around it as a stack: a choice, or a report.
#[derive(Clone, Debug)]
pub(crate) struct Stacked {
    /// The value, with an axis for each loop left so far.
    pub(crate) value: Atom,
    /// Index variables (of the source) of the enclosing loops, outermost first.
    pub(crate) loops: Vec<Var>,
    /// The same in the order of the address.
    pub(crate) order: Vec<Var>,
    /// What stands for it where its branch is not taken.
    pub(crate) fill: f64,
    /// Whether it is a choice, not a report.
    pub(crate) choice: bool,
}

impl Stacked {
    /// The stack with its axes in the address's order, once all loops are left.
    pub(crate) fn in_address_order(&self, b: &mut Builder<Est>) -> Atom {
        let n = self.loops.len();
        let mut perm: Vec<usize> = self.order.iter().filter_map(|v| self.loops.iter().position(|l| l == v)).collect();
        if perm.len() != n {
            return self.value;
        }
        perm.extend(n..b.ty(self.value).rank());
        b.transpose(self.value, &perm)
    }
}

/// What a block returns besides its results.
#[derive(Default)]
pub(crate) struct Scope {
    pub(crate) choices: Vec<Stacked>,
    pub(crate) weights: Vec<Atom>,
    scale: Option<f64>,
}

impl Scope {
    /// The weight of this loop counts `c` times.
    pub(crate) fn scale(&mut self, c: f64) {
        self.scale = Some(self.scale.unwrap_or(1.0) * c);
    }

    /// The further results of a loop's body: stacked values, then one weight if there is any.
    pub(crate) fn close(self, b: &mut Builder<Est>) -> (Vec<Atom>, Pending) {
        let mut out: Vec<Atom> = self.choices.iter().map(|c| c.value).collect();
        let weight = !self.weights.is_empty();
        if weight {
            out.push(sum(b, self.weights));
        }
        (out, Pending { choices: self.choices, weight, scale: self.scale })
    }

    /// Takes a body's further results, now stacked by the loop.
    pub(crate) fn absorb(&mut self, b: &mut Builder<Est>, pending: Pending, outs: &[Atom], is_loop: bool) {
        for (mut c, out) in pending.choices.into_iter().zip(outs) {
            c.value = *out;
            self.choices.push(c);
        }
        if pending.weight
            && let Some(w) = outs.last()
        {
            let mut w = if is_loop { sum_first(b, *w) } else { *w };
            if let Some(c) = pending.scale {
                w = real(b, Prim::Mul, &[w, Atom::float(c)]);
            }
            self.weights.push(w);
        }
    }

    /// The further results of two branches, with fillers for what only the other has.
    pub(crate) fn join(b: &mut Builder<Est>, then: Scope, els: Scope) -> (Vec<Atom>, Vec<Atom>, Pending) {
        let (mut t, mut e) = (Vec::new(), Vec::new());
        for c in &then.choices {
            t.push(c.value);
            e.push(fill(b, c));
        }
        for c in &els.choices {
            t.push(fill(b, c));
            e.push(c.value);
        }
        let weight = !then.weights.is_empty() || !els.weights.is_empty();
        // Each sum is already one operand: a branch closes its scope before it ends.
        if weight {
            t.push(then.weights.first().copied().unwrap_or(Atom::float(0.0)));
            e.push(els.weights.first().copied().unwrap_or(Atom::float(0.0)));
        }
        let choices = then.choices.into_iter().chain(els.choices).collect();
        (t, e, Pending { choices, weight, scale: None })
    }
}

fn fill(b: &mut Builder<Est>, c: &Stacked) -> Atom {
    let ty = b.ty(c.value);
    crate::expand::filler(b, &ty, c.fill)
}

/// The further results of a block that has been closed.
pub(crate) struct Pending {
    pub(crate) choices: Vec<Stacked>,
    pub(crate) weight: bool,
    scale: Option<f64>,
}

struct Sim<'a, 'm> {
    cx: &'a mut Inliner<'m>,
    program: String,
    loops: Vec<Var>,
    scopes: Vec<Scope>,
    pending: Vec<Pending>,
    errors: Vec<Diagnostic>,
}

impl Sim<'_, '_> {
    fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    fn choice(&mut self, value: Atom, order: &[Var], fill: f64) {
        let loops = self.loops.clone();
        self.scope().choices.push(Stacked { value, loops, order: order.to_vec(), fill, choice: true });
    }

    fn pop(&mut self) -> Scope {
        self.scopes.pop().unwrap_or_default()
    }
}

impl Hook<Gen, Est> for Sim<'_, '_> {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Gen>, stmt: &Stmt<Gen>, op: &GenRandom) -> Vec<Atom> {
        match op {
            GenRandom::Sample { dist, addr, strategy, elements } => {
                let mut dist = dist.clone();
                dist.args = cx.atoms(&dist.args);
                let label = format!("{}.{}", self.program, addr.name);
                let x = draw_by_element(b, cx, stmt, &dist, (strategy, elements, addr), label);
                let q = b.emit1(Op::Random(EstRandom::LogDensity { dist: dist.clone(), x }), "lq", Ty::FLOAT);
                self.scope().weights.push(q);
                let fill = self.cx.filler(dist.dist);
                self.choice(x, &addr.indices, fill);
                vec![x]
            }
            GenRandom::Call { callee, args, addr } => {
                let mut f = match self.cx.sim(*callee) {
                    Ok(f) => f,
                    Err(e) => {
                        self.errors.extend(e);
                        return Vec::new();
                    }
                };
                let name = self.cx.module.generative(*callee).name.clone();
                label_prefix(&mut f.body, &name, &format!("{}.{}", self.program, addr.name));
                let mut outs = b.inline(&f, &cx.atoms(args));
                let q = outs.pop().unwrap_or(Atom::float(0.0));
                self.scope().weights.push(q);
                let choices = self.cx.module.choices(*callee);
                for (x, c) in outs.split_off(stmt.outs.len()).into_iter().zip(choices) {
                    let fill = self.cx.filler(c.dist);
                    self.choice(x, &addr.indices, fill);
                }
                outs
            }
            GenRandom::Factor(_) => {
                self.errors.push(
                    Diagnostic::error(
                        Code("E0401"),
                        format!("`{}` adds a `factor`, so it can be scored but not simulated", self.program),
                    )
                    .label(stmt.span, "adds to the log density, whatever the draws are")
                    .note("the log density of its draws is known only up to a constant")
                    .help(format!("use `normalize {}() by sir(guide(), 20)`, or move the factor to the model", self.program)),
                );
                Vec::new()
            }
            GenRandom::Scale(c) => {
                self.scope().scale(*c);
                Vec::new()
            }
            GenRandom::Noise(dist) => crate::sim::noise(b, cx, stmt, dist),
            GenRandom::Report { .. } => Vec::new(),
            GenRandom::Integral(i) => {
                let mut i = (**i).clone();
                i.map_atoms(&mut |a| cx.atom(a));
                let choices = self.cx.module.choices(i.callee);
                match self.cx.integral_sim(b, &self.program, &i) {
                    Ok((values, w)) => {
                        self.scope().weights.push(w);
                        let kept = choices.iter().enumerate().filter(|(k, _)| i.keeps(*k));
                        for (x, (_, c)) in values.into_iter().zip(kept) {
                            let fill = self.cx.filler(c.dist);
                            self.choice(x, &[], fill);
                        }
                    }
                    Err(e) => self.errors.extend(e),
                }
                Vec::new()
            }
        }
    }

    fn begin(&mut self, _: &mut Builder<Est>, head: Head) {
        self.loops.push(head.old);
        self.scopes.push(Scope::default());
    }

    fn end(&mut self, b: &mut Builder<Est>, _: Head) -> Vec<Atom> {
        self.loops.pop();
        let (out, pending) = self.pop().close(b);
        self.pending.push(pending);
        out
    }

    fn leave(&mut self, b: &mut Builder<Est>, _: Head, outs: Vec<Atom>) {
        if let Some(p) = self.pending.pop() {
            self.scope().absorb(b, p, &outs, true);
        }
    }

    fn branch(&mut self) {
        self.scopes.push(Scope::default());
    }

    fn branch_end(&mut self, b: &mut Builder<Est>) {
        let weights = std::mem::take(&mut self.scope().weights);
        if !weights.is_empty() {
            let w = sum(b, weights);
            self.scope().weights.push(w);
        }
    }

    fn join(&mut self, b: &mut Builder<Est>) -> (Vec<Atom>, Vec<Atom>) {
        let els = self.pop();
        let then = self.pop();
        let (t, e, pending) = Scope::join(b, then, els);
        self.pending.push(pending);
        (t, e)
    }

    fn leave_if(&mut self, b: &mut Builder<Est>, outs: Vec<Atom>) {
        if let Some(p) = self.pending.pop() {
            self.scope().absorb(b, p, &outs, false);
        }
    }
}

/// A draw that is not part of the trace.
pub(crate) fn noise(b: &mut Builder<Est>, cx: &Cx<'_, Gen>, stmt: &Stmt<Gen>, dist: &DistUse) -> Vec<Atom> {
    let dist = DistUse { dist: dist.dist, args: cx.atoms(&dist.args) };
    let outs = cx.declare(stmt, std::iter::empty());
    b.emit(Op::Random(EstRandom::Draw(dist)), outs).into_iter().map(Atom::Var).collect()
}

/// A sample whose elements may have strategies of their own: `if index == k { sample by s } else { .. }`.
pub(crate) fn draw_by_element(
    b: &mut Builder<Est>,
    cx: &Cx<'_, Gen>,
    stmt: &Stmt<Gen>,
    dist: &DistUse,
    (strategy, elements, addr): (&StrategyUse, &[(usize, StrategyUse)], &ppl_core::Address),
    label: String,
) -> Atom {
    let (Some(((k, own), rest)), Some(index)) = (elements.split_first(), addr.indices.first()) else {
        return draw(b, cx, stmt, dist, strategy, label);
    };
    let index = cx.atom((*index).into());
    let here = b.prim(Prim::Eq, &[index, Atom::int(*k as i64)]);
    b.begin();
    let x = draw(b, cx, stmt, dist, own, label.clone());
    let then = b.end(vec![x]);
    b.begin();
    let x = draw_by_element(b, cx, stmt, dist, (strategy, rest, addr), label);
    let els = b.end(vec![x]);
    b.if_(here, then, els).first().map_or(Atom::float(0.0), |v| Atom::Var(*v))
}

/// One sample with its strategy: the value.
fn draw(b: &mut Builder<Est>, cx: &Cx<'_, Gen>, stmt: &Stmt<Gen>, dist: &DistUse, strategy: &StrategyUse, label: String) -> Atom {
    let mut strategy = strategy.clone();
    if let StrategyUse::Named { args, .. } = &mut strategy {
        *args = cx.atoms(args);
    }
    let outs = cx.declare(stmt, std::iter::empty());
    let x = b.emit(Op::Random(EstRandom::Sample { dist: dist.clone(), strategy, label }), outs);
    x.first().map_or(Atom::float(0.0), |v| (*v).into())
}

/// A number that, repeated, lies inside the support.
pub(crate) fn inside(support: &Support, event: &Ty) -> f64 {
    match support {
        Support::Interval { lo: Some(lo), hi: Some(hi) } => 0.5 * (lo + hi),
        Support::Interval { lo: Some(lo), hi: None } => lo + 1.0,
        Support::Interval { lo: None, hi: Some(hi) } => hi - 1.0,
        Support::Simplex => 1.0 / event.shape.last().copied().unwrap_or(1).max(1) as f64,
        Support::Integers { lo, .. } => *lo as f64,
        _ => 0.0,
    }
}

impl Inliner<'_> {
    /// What stands for a choice that was not made.
    pub(crate) fn filler(&self, dist: DistId) -> f64 {
        let d = self.module.dist(dist);
        inside(&d.support, &d.event)
    }
}
