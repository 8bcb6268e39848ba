//! Density form of a generative function.
//!
//! in:    `Gen`, verified
//! out:   `Est`: `(args.., choices..) -> (results.., reports.., log_w)`, in the orders of `Module::choices`, `Module::reports`
//! keeps: spans, the order of choices; draws inside `marginal` and `normalize` only
//!
//! ```text
//!   D[ x ~ d at a; k ]      =  x = t.a;  w += log_density(d, x);  D[k]
//!   D[ s ~ g(e) at a; k ]   =  (s, r, w') = density g(e; t.a);  w += w';  D[k]
//!   D[ factor e; k ]        =  w += e;  D[k]
//!   D[ scale c; k ]         =  D[k];  w is c times what it would be
//!   D[ report r = e; k ]    =  r = e is an output;  D[k]
//!   D[ map i { b }; k ]     =  t.a is t.a[i] inside;  ws = map i { D[b] };  w += sum(ws);  D[k]
//!   D[ scan i { b }; k ]    =  the same, with t.a sliced by the scan; ws is stacked, never carried
//!   D[ if c { b } else { b' }; k ]  =  each branch returns its w; choices of the other branch are not scored
//!   D[ ret e ]              =  (e, r, w)
//! ```
//!
//! Other readings of a program differ in what they do at a choice ([`Mode`]): `propose` scores what is kept and draws the rest,
//! [`mod@crate::analytic`] shows the parameters of a guide's distributions and measures the model's against them.
//!
//! Weights are stacked and summed outside loops, so that costs can be scoped to iterations.

use crate::expand::{Cx, Head, Hook, sum};
use crate::inline::{Inliner, label_prefix};
use crate::sim::{Pending, Scope, Stacked};
use ppl_core::{Atom, Block, Builder, Choice, DistId, DistUse, Est, EstRandom, Func, Gen, GenId, GenRandom, Op, Stmt, Ty, Var};
use ppl_diag::Diagnostic;

/// What a reading of a program does at a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Its value is given, and its density counts.
    Scored,
    /// Its value is given, and its density does not count.
    Known,
    /// It is drawn, and its density does not count.
    Drawn,
    /// As known; the parameters of its distribution are results.
    Shown,
    /// As known; the parameters of this distribution are given behind the value, and minus its divergence from the choice's own counts.
    Measured(DistId),
}

/// What stands for a parameter of a choice that was not made.
const UNUSED_PARAMETER: f64 = 0.5;

/// `density` of one program. Errors: those of the programs that it calls.
pub(crate) fn density(cx: &mut Inliner<'_>, id: GenId) -> Result<Func<Est>, Vec<Diagnostic>> {
    let modes = vec![Mode::Scored; cx.module.choices(id).len()];
    reading(cx, id, &modes)
}

/// A reading of a program: `(args.., given choices..) -> (results.., reports.., drawn choices.., log_w)`, by the mode of each choice. Parameters that
/// are shown stand among the drawn choices, those that are given behind the choice's value. `factor`s count. Errors: those of the programs that it calls; a marginal or normalised program inside of which only a part is given (E0425).
pub(crate) fn reading(cx: &mut Inliner<'_>, id: GenId, modes: &[Mode]) -> Result<Func<Est>, Vec<Diagnostic>> {
    let g = cx.module.generative(id).clone();
    let mut b = Builder::<Est>::new(format!("{}.density", g.name));
    b.func.span = g.span;
    let args: Vec<Atom> = g.params.iter().map(|p| b.param(g.vars[p.index()].name.clone(), g.ty(*p).clone()).into()).collect();
    let mut trace = Vec::new();
    for ((c, order), mode) in cx.module.choices(id).into_iter().zip(orders(cx, &g.body)).zip(modes) {
        let mut values = Vec::new();
        if let Mode::Measured(other) = mode {
            let outer = &c.ty.shape[..c.ty.rank() - cx.module.dist(c.dist).event.rank()];
            let params = &cx.module.dist(*other).params;
            values.extend(params.iter().map(|(n, t)| (format!("{}.{n}", c.addr), t.lifted(outer))));
        }
        values.insert(0, (c.addr, c.ty));
        trace.push(
            (*mode != Mode::Drawn)
                .then(|| View { values: values.into_iter().map(|(n, t)| b.param(n, t).into()).collect(), axes: order }),
        );
    }
    let scopes = vec![Scope::default()];
    let mut pass = Density {
        cx,
        program: g.name.clone(),
        modes,
        trace: vec![trace],
        next: 0,
        loops: Vec::new(),
        scopes,
        pending: Vec::new(),
        errors: Vec::new(),
    };
    let mut copy = Cx::new(&g, &args);
    let mut results = copy.block(&mut b, &mut pass, &g.body);
    if !pass.errors.is_empty() {
        return Err(pass.errors);
    }
    let scope = pass.scopes.pop().unwrap_or_default();
    for drawn in [false, true] {
        for r in scope.choices.iter().filter(|r| r.choice == drawn) {
            results.push(r.in_address_order(&mut b));
        }
    }
    results.push(sum(&mut b, scope.weights));
    Ok(b.finish(results))
}

/// The loops around each choice of a block, in the order of its address; choices of callees stand where the call does.
fn orders(cx: &Inliner<'_>, block: &Block<Gen>) -> Vec<Vec<Var>> {
    let mut out = Vec::new();
    for stmt in &block.stmts {
        match &stmt.op {
            Op::Random(GenRandom::Sample { addr, .. }) => out.push(addr.indices.clone()),
            Op::Random(GenRandom::Call { callee, addr, .. }) => {
                out.extend(cx.module.choices(*callee).iter().map(|_| addr.indices.clone()));
            }
            Op::Random(GenRandom::Integral(i)) => {
                out.extend((0..cx.module.choices(i.callee).len()).filter(|k| i.keeps(*k)).map(|_| Vec::new()));
            }
            op => ppl_core::op_blocks(op).into_iter().for_each(|b| out.extend(orders(cx, b))),
        }
    }
    out
}

/// What is left of a trace's array inside some loops.
#[derive(Clone)]
struct View {
    /// The choice's value, then given parameters.
    values: Vec<Atom>,
    /// Index variables of their leading axes.
    axes: Vec<Var>,
}

struct Density<'a, 'm> {
    cx: &'a mut Inliner<'m>,
    program: String,
    modes: &'a [Mode],
    /// Views of every choice that is given, for each enclosing loop.
    trace: Vec<Vec<Option<View>>>,
    /// Number of the next choice.
    next: usize,
    loops: Vec<Var>,
    scopes: Vec<Scope>,
    pending: Vec<Pending>,
    errors: Vec<Diagnostic>,
}

impl Density<'_, '_> {
    fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    fn pop(&mut self) -> Scope {
        self.scopes.pop().unwrap_or_default()
    }

    /// The next `n` choices: their modes, and the values of those that are given, each with its given parameters.
    fn take(&mut self, n: usize) -> (Vec<Mode>, Vec<Atom>) {
        let views = self.trace.last().map_or(&[][..], Vec::as_slice);
        let given = views.iter().skip(self.next).take(n).flatten().flat_map(|v| v.values.iter().copied()).collect();
        let modes = self.modes.iter().skip(self.next).take(n).copied().collect();
        self.next += n;
        (modes, given)
    }

    fn leaves(&mut self, value: Atom, order: &[Var], choice: bool, fill: f64) {
        let loops = self.loops.clone();
        self.scope().choices.push(Stacked { value, loops, order: order.to_vec(), fill, choice });
    }

    /// What stands for each result that a choice of a callee has, where it was not made.
    fn fills(&self, dist: DistId, mode: Mode) -> Vec<f64> {
        match mode {
            Mode::Drawn => vec![self.cx.filler(dist)],
            Mode::Shown => vec![UNUSED_PARAMETER; self.cx.module.dist(dist).params.len()],
            Mode::Scored | Mode::Known | Mode::Measured(_) => Vec::new(),
        }
    }

    fn report(&mut self, value: Atom, order: &[Var]) {
        self.leaves(value, order, false, 0.0);
    }

    fn fail(&mut self, e: Vec<Diagnostic>) -> Vec<Atom> {
        self.errors.extend(e);
        Vec::new()
    }
}

impl Hook<Gen, Est> for Density<'_, '_> {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Gen>, stmt: &Stmt<Gen>, op: &GenRandom) -> Vec<Atom> {
        match op {
            GenRandom::Sample { dist, addr, strategy, elements } => {
                let mut dist = dist.clone();
                dist.args = cx.atoms(&dist.args);
                let (mode, x) = self.take(1);
                if mode == [Mode::Drawn] {
                    let label = format!("{}.{}", self.program, addr.name);
                    let x = crate::sim::draw_by_element(b, cx, stmt, &dist, (strategy, elements, addr), label);
                    let fill = self.cx.filler(dist.dist);
                    self.leaves(x, &addr.indices, true, fill);
                    return vec![x];
                }
                match (&x[..], &mode[..]) {
                    ([x], [Mode::Scored]) => {
                        let w = b.emit1(Op::Random(EstRandom::LogDensity { dist, x: *x }), "lp", Ty::FLOAT);
                        self.scope().weights.push(w);
                    }
                    (_, [Mode::Shown]) => {
                        dist.args.iter().for_each(|a| self.leaves(*a, &addr.indices, true, UNUSED_PARAMETER));
                    }
                    ([_, other @ ..], [Mode::Measured(q)]) => {
                        let w = crate::analytic::minus_divergence(
                            b,
                            self.cx.module,
                            &DistUse { dist: *q, args: other.to_vec() },
                            &dist,
                        );
                        self.scope().weights.push(w);
                    }
                    _ => {}
                }
                x.into_iter().take(1).collect()
            }
            GenRandom::Call { callee, args, addr } => {
                let (modes, given) = self.take(self.cx.module.choices(*callee).len());
                let mut f = match self.cx.reading(*callee, &modes) {
                    Ok(f) => f,
                    Err(e) => return self.fail(e),
                };
                let name = self.cx.module.generative(*callee).name.clone();
                label_prefix(&mut f.body, &name, &format!("{}.{}", self.program, addr.name));
                let mut outs = b.inline(&f, &[cx.atoms(args), given].concat());
                let w = outs.pop().unwrap_or(Atom::float(0.0));
                self.scope().weights.push(w);
                let more = outs.split_off(stmt.outs.len());
                let reports = self.cx.module.reports(*callee).len();
                more[..reports].iter().for_each(|r| self.report(*r, &addr.indices));
                let choices = self.cx.module.choices(*callee);
                let fills: Vec<f64> = choices.iter().zip(&modes).flat_map(|(c, m)| self.fills(c.dist, *m)).collect();
                for (fill, x) in fills.into_iter().zip(&more[reports..]) {
                    self.leaves(*x, &addr.indices, true, fill);
                }
                outs
            }
            GenRandom::Integral(i) => {
                let mut i = (**i).clone();
                i.map_atoms(&mut |a| cx.atom(a));
                let kept: Vec<Choice> = self
                    .cx
                    .module
                    .choices(i.callee)
                    .into_iter()
                    .enumerate()
                    .filter(|(k, _)| i.keeps(*k))
                    .map(|(_, c)| c)
                    .collect();
                let (modes, given) = self.take(kept.len());
                let all = |m: Mode| modes.iter().all(|x| *x == m);
                if all(Mode::Scored) {
                    return match self.cx.integral_density(b, &self.program, &i, &given) {
                        Ok(w) => {
                            self.scope().weights.push(w);
                            Vec::new()
                        }
                        Err(e) => self.fail(e),
                    };
                }
                if all(Mode::Known) {
                    return Vec::new();
                }
                if !all(Mode::Drawn) {
                    let d = crate::marginal::partly_given(&self.program, stmt.span);
                    return self.fail(vec![d]);
                }
                match self.cx.integral_sim(b, &self.program, &i) {
                    Ok((values, _)) => {
                        for (x, c) in values.into_iter().zip(kept) {
                            let fill = self.cx.filler(c.dist);
                            self.leaves(x, &[], true, fill);
                        }
                        Vec::new()
                    }
                    Err(e) => self.fail(e),
                }
            }
            GenRandom::Factor(w) => {
                let w = cx.atom(*w);
                self.scope().weights.push(w);
                Vec::new()
            }
            GenRandom::Scale(c) => {
                self.scope().scale(*c);
                Vec::new()
            }
            GenRandom::Noise(dist) => crate::sim::noise(b, cx, stmt, dist),
            GenRandom::Report { addr, value } => {
                let value = cx.atom(*value);
                self.report(value, &addr.indices);
                Vec::new()
            }
        }
    }

    fn enter(&mut self, b: &mut Builder<Est>, head: Head, body: &Block<Gen>) -> Vec<(Var, Atom)> {
        let inside = self.next..self.next + orders(self.cx, body).len();
        let mut views = self.trace.last().cloned().unwrap_or_default();
        let mut xs = Vec::new();
        for view in views.get_mut(inside).unwrap_or_default().iter_mut().flatten() {
            let Some(at) = view.axes.iter().position(|v| *v == head.old) else { continue };
            for value in &mut view.values {
                let mut perm: Vec<usize> = (0..b.ty(*value).rank()).collect();
                let axis = perm.remove(at);
                perm.insert(0, axis);
                *value = b.transpose(*value, &perm);
                if head.scan {
                    let mut ty = b.ty(*value);
                    ty.shape.remove(0);
                    let slice = b.fresh("x", ty);
                    xs.push((slice, *value));
                    *value = slice.into();
                }
            }
            view.axes.remove(at);
            if !head.scan {
                // Read inside the loop, by its index.
                view.axes.insert(0, head.old);
            }
        }
        self.trace.push(views);
        xs
    }

    fn begin(&mut self, b: &mut Builder<Est>, head: Head) {
        for view in self.trace.last_mut().map_or(&mut [][..], Vec::as_mut_slice).iter_mut().flatten() {
            if !head.scan && view.axes.first() == Some(&head.old) {
                view.values.iter_mut().for_each(|x| *x = b.gather(*x, head.index.into(), 0));
                view.axes.remove(0);
            }
        }
        self.loops.push(head.old);
        self.scopes.push(Scope::default());
    }

    fn end(&mut self, b: &mut Builder<Est>, _: Head) -> Vec<Atom> {
        self.loops.pop();
        self.trace.pop();
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
