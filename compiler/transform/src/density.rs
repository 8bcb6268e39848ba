//! Density form of a generative function.
//!
//! in:    `Gen`, verified
//! out:   `Est`: `(args.., choices..) -> (results.., reports.., log_w)`, in the orders of `Module::choices`, `Module::reports`
//! keeps: spans, the order of choices; draws nothing
//!
//! ```text
//!   D[ x ~ d at a; k ]      =  x = t.a;  w += log_density(d, x);  D[k]
//!   D[ s ~ g(e) at a; k ]   =  (s, r, w') = density g(e; t.a);  w += w';  D[k]
//!   D[ factor e; k ]        =  w += e;  D[k]
//!   D[ report r = e; k ]    =  r = e is an output;  D[k]
//!   D[ map i { b }; k ]     =  t.a is t.a[i] inside;  ws = map i { D[b] };  w += sum(ws);  D[k]
//!   D[ scan i { b }; k ]    =  the same, with t.a sliced by the scan; ws is stacked, never carried
//!   D[ if c { b } else { b' }; k ]  =  each branch returns its w; choices of the other branch are not scored
//!   D[ ret e ]              =  (e, r, w)
//! ```
//!
//! Weights are stacked and summed outside loops, so that costs can be scoped to iterations.

use crate::expand::{Cx, Head, Hook, sum};
use crate::inline::Inliner;
use crate::sim::{Pending, Scope, Stacked};
use ppl_core::{Atom, Block, Builder, Est, EstRandom, Func, Gen, GenId, GenRandom, Op, Stmt, Ty, Var};
use ppl_diag::Diagnostic;

/// `density` of one program. Errors: those of the programs that it calls.
pub(crate) fn density(cx: &mut Inliner<'_>, id: GenId) -> Result<Func<Est>, Vec<Diagnostic>> {
    let g = cx.module.generative(id).clone();
    let mut b = Builder::<Est>::new(format!("{}.density", g.name));
    b.func.span = g.span;
    let args: Vec<Atom> = g.params.iter().map(|p| b.param(g.vars[p.index()].name.clone(), g.ty(*p).clone()).into()).collect();
    let mut trace = Vec::new();
    for (c, order) in cx.module.choices(id).into_iter().zip(orders(cx, &g.body)) {
        trace.push(View { value: b.param(c.addr, c.ty).into(), axes: order });
    }
    let scopes = vec![Scope::default()];
    let mut pass =
        Density { cx, trace: vec![trace], next: 0, loops: Vec::new(), scopes, pending: Vec::new(), errors: Vec::new() };
    let mut copy = Cx::new(&g, &args);
    let mut results = copy.block(&mut b, &mut pass, &g.body);
    if !pass.errors.is_empty() {
        return Err(pass.errors);
    }
    let scope = pass.scopes.pop().unwrap_or_default();
    for r in &scope.choices {
        results.push(r.in_address_order(&mut b));
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
            op => ppl_core::op_blocks(op).into_iter().for_each(|b| out.extend(orders(cx, b))),
        }
    }
    out
}

/// What is left of a trace's array inside some loops.
#[derive(Clone)]
struct View {
    value: Atom,
    /// Index variables of its leading axes.
    axes: Vec<Var>,
}

struct Density<'a, 'm> {
    cx: &'a mut Inliner<'m>,
    /// Views of every choice, for each enclosing loop.
    trace: Vec<Vec<View>>,
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

    /// The next `n` choices of the trace.
    fn take(&mut self, n: usize) -> Vec<Atom> {
        let views = self.trace.last().map_or(&[][..], Vec::as_slice);
        let out = views.iter().skip(self.next).take(n).map(|v| v.value).collect();
        self.next += n;
        out
    }

    fn report(&mut self, value: Atom, order: &[Var]) {
        let loops = self.loops.clone();
        self.scope().choices.push(Stacked { value, loops, order: order.to_vec(), fill: 0.0 });
    }
}

impl Hook<Gen, Est> for Density<'_, '_> {
    fn random(&mut self, b: &mut Builder<Est>, cx: &mut Cx<'_, Gen>, stmt: &Stmt<Gen>, op: &GenRandom) -> Vec<Atom> {
        match op {
            GenRandom::Sample { dist, .. } => {
                let mut dist = dist.clone();
                dist.args = cx.atoms(&dist.args);
                let x = self.take(1);
                if let [x] = x[..] {
                    let w = b.emit1(Op::Random(EstRandom::LogDensity { dist, x }), "lp", Ty::FLOAT);
                    self.scope().weights.push(w);
                }
                x
            }
            GenRandom::Call { callee, args, addr } => {
                let trace = self.take(self.cx.module.choices(*callee).len());
                let f = match self.cx.density(*callee) {
                    Ok(f) => f,
                    Err(e) => {
                        self.errors.extend(e);
                        return Vec::new();
                    }
                };
                let mut all = cx.atoms(args);
                all.extend(trace);
                let mut outs = b.inline(&f, &all);
                let w = outs.pop().unwrap_or(Atom::float(0.0));
                self.scope().weights.push(w);
                for r in outs.split_off(stmt.outs.len()) {
                    self.report(r, &addr.indices);
                }
                outs
            }
            GenRandom::Factor(w) => {
                let w = cx.atom(*w);
                self.scope().weights.push(w);
                Vec::new()
            }
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
        for view in views.get_mut(inside).unwrap_or_default() {
            let Some(at) = view.axes.iter().position(|v| *v == head.old) else { continue };
            let mut perm: Vec<usize> = (0..b.ty(view.value).rank()).collect();
            let axis = perm.remove(at);
            perm.insert(0, axis);
            view.value = b.transpose(view.value, &perm);
            view.axes.remove(at);
            if head.scan {
                let mut ty = b.ty(view.value);
                ty.shape.remove(0);
                let slice = b.fresh("x", ty);
                xs.push((slice, view.value));
                view.value = slice.into();
            } else {
                // Read inside the loop, by its index.
                view.axes.insert(0, head.old);
            }
        }
        self.trace.push(views);
        xs
    }

    fn begin(&mut self, b: &mut Builder<Est>, head: Head) {
        for view in self.trace.last_mut().map_or(&mut [][..], Vec::as_mut_slice) {
            if !head.scan && view.axes.first() == Some(&head.old) {
                view.value = b.gather(view.value, head.index.into(), 0);
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
