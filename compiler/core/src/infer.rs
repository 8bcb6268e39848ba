//! Result types of any operation, from the types of its operands and its module.

use crate::{
    Atom, Block, Choice, DType, DistId, DistInst, DistUse, EstRandom, Func, GenId, GenRandom, Module, Op, RandomOp, RandomView,
    ReportInfo, Scan, Stage, StrategyUse, Ty, Var, shape,
};
use std::collections::HashMap;

/// Types of the outputs of `op` in `func`, or the first rule that its operands break.
///
/// Looks at the operation and at the results of its blocks, not at the statements inside them, and not at scoping.
///
/// # Errors
///
/// A reason in lower case without a full stop: `axis 2 of float[3], which has 1 axes`.
pub fn result_tys<S: Stage>(module: &Module, func: &Func<S>, op: &Op<S>) -> Result<Vec<Ty>, String> {
    let cx = Cx { module, func };
    let one = |t: Result<Ty, String>| t.map(|t| vec![t]);
    match op {
        Op::Prim(p, args) => one(shape::prim(*p, &cx.tys(args)?)),
        Op::Broadcast { x, shape, axes } => one(shape::broadcast(&cx.ty(*x)?, shape, axes)),
        Op::Reduce { op, x, axes } => one(shape::reduce(*op, &cx.ty(*x)?, axes)),
        Op::ArgMax { x, axis } => one(shape::argmax(&cx.ty(*x)?, *axis)),
        Op::CumSum { x, axis, .. } => one(shape::cumsum(&cx.ty(*x)?, *axis)),
        Op::Dot { a, b, batch, contract } => one(shape::dot(&cx.ty(*a)?, &cx.ty(*b)?, batch, contract)),
        Op::Transpose { x, perm } => one(shape::transpose(&cx.ty(*x)?, perm)),
        Op::Reshape { x, shape } => one(shape::reshape(&cx.ty(*x)?, shape)),
        Op::Slice { x, axis, start, len } => one(shape::slice(&cx.ty(*x)?, *axis, *start, *len)),
        Op::Pad { x, axis, before, after } => one(shape::pad(&cx.ty(*x)?, *axis, *before, *after)),
        Op::Concat { xs, axis } => one(shape::concat(&cx.tys(xs)?, *axis)),
        Op::Gather { x, idx, batch } => one(shape::gather(&cx.ty(*x)?, &cx.ty(*idx)?, *batch)),
        Op::ScatterAdd { idx, updates, batch, len } => one(shape::scatter_add(&cx.ty(*idx)?, &cx.ty(*updates)?, *batch, *len)),
        Op::Iota { len } => Ok(vec![Ty::new(DType::Int, [*len])]),
        Op::Minibatch { data, size } if size <= data && u32::try_from(*data).is_ok() => Ok(vec![Ty::new(DType::Int, [*size])]),
        Op::Minibatch { data, size } => Err(format!("no minibatch of {size} from {data} data")),
        Op::Reverse { x, axis } => one(shape::reverse(&cx.ty(*x)?, *axis)),
        Op::Linalg(op, args) => one(shape::linalg(*op, &cx.tys(args)?)),
        Op::If { cond, then, els } => cx.if_(*cond, then, els),
        Op::Map { len, index, body } => {
            cx.index(*index)?;
            Ok(cx.tys(&body.results)?.iter().map(|t| t.lifted(&[*len])).collect())
        }
        Op::Scan(s) => cx.scan(s),
        Op::Call { callee, args } => {
            let f = module.dets.get(callee.index()).ok_or_else(|| format!("{callee} does not exist"))?;
            cx.call(f, args)
        }
        Op::Stop(x) => Ok(vec![cx.ty(*x)?]),
        Op::Random(r) => cx.random(r.view()),
    }
}

struct Cx<'a, S: Stage> {
    module: &'a Module,
    func: &'a Func<S>,
}

impl<S: Stage> Cx<'_, S> {
    fn var(&self, v: Var) -> Result<Ty, String> {
        self.func.vars.get(v.index()).map(|i| i.ty.clone()).ok_or_else(|| format!("variable {v} does not exist"))
    }

    fn ty(&self, a: Atom) -> Result<Ty, String> {
        match a {
            Atom::Var(v) => self.var(v),
            Atom::Lit(l) => Ok(l.ty()),
        }
    }

    fn tys(&self, atoms: &[Atom]) -> Result<Vec<Ty>, String> {
        atoms.iter().map(|a| self.ty(*a)).collect()
    }

    fn index(&self, v: Var) -> Result<(), String> {
        let ty = self.var(v)?;
        if ty == Ty::INT { Ok(()) } else { Err(format!("the loop's index is {ty}, not int")) }
    }

    fn if_(&self, cond: Atom, then: &Block<S>, els: &Block<S>) -> Result<Vec<Ty>, String> {
        let c = self.ty(cond)?;
        if c != Ty::BOOL {
            return Err(format!("the condition is {c}, not bool"));
        }
        let (then, els) = (self.tys(&then.results)?, self.tys(&els.results)?);
        if then != els {
            return Err(format!("the blocks return ({}) and ({})", show(&then), show(&els)));
        }
        Ok(then)
    }

    fn scan(&self, s: &Scan<S>) -> Result<Vec<Ty>, String> {
        self.index(s.index)?;
        let results = self.tys(&s.body.results)?;
        if results.len() < s.carry.len() {
            return Err(format!("{} values are carried, but the body returns {}", s.carry.len(), results.len()));
        }
        for ((v, first), next) in s.carry.iter().zip(&results) {
            let (ty, first) = (self.var(*v)?, self.ty(*first)?);
            if ty != first || ty != *next {
                return Err(format!("a carry is {ty} in the body, starts as {first} and continues as {next}"));
            }
        }
        for (v, array) in &s.xs {
            let (ty, array) = (self.var(*v)?, self.ty(*array)?);
            if ty.lifted(&[s.len]) != array {
                return Err(format!("{} slices of {ty} do not make {array}", s.len));
            }
        }
        let carried = s.carry.len();
        Ok(results.into_iter().enumerate().map(|(i, t)| if i < carried { t } else { t.lifted(&[s.len]) }).collect())
    }

    fn fits(&self, what: &str, wanted: &[Ty], args: &[Atom]) -> Result<(), String> {
        let given = self.tys(args)?;
        if given == wanted { Ok(()) } else { Err(format!("{what} takes ({}), not ({})", show(wanted), show(&given))) }
    }

    fn call<T: Stage>(&self, f: &Func<T>, args: &[Atom]) -> Result<Vec<Ty>, String> {
        self.fits(&format!("`{}`", f.name), &param_tys(f)?, args)?;
        results(f)
    }

    fn dist(&self, d: &DistUse) -> Result<&DistInst, String> {
        let inst = dist(self.module, d.dist)?;
        let wanted: Vec<Ty> = inst.params.iter().map(|p| p.1.clone()).collect();
        self.fits(&format!("`{}`", inst.name), &wanted, &d.args)?;
        Ok(inst)
    }

    /// The distribution's parameters, then the strategy's own, are the strategy's parameters.
    fn strategy(&self, d: &DistUse, s: &StrategyUse) -> Result<(), String> {
        let StrategyUse::Named { strategy, args, .. } = s else { return Ok(()) };
        let inst = self.module.strategies.get(strategy.index()).ok_or_else(|| format!("{strategy} does not exist"))?;
        let f = self.module.ests.get(inst.func.index()).ok_or_else(|| format!("{} does not exist", inst.func))?;
        let all: Vec<Atom> = d.args.iter().chain(args).copied().collect();
        self.fits(&format!("strategy `{}`", inst.name), &param_tys(f)?, &all)
    }

    fn scored(&self, d: &DistUse, x: Atom, density: bool) -> Result<Vec<Ty>, String> {
        let inst = self.dist(d)?;
        let x = self.ty(x)?;
        if x != inst.event {
            return Err(format!("`{}` gives {}, not {x}", inst.name, inst.event));
        }
        if density && inst.log_density.is_none() {
            return Err(format!("`{}` has no log density", inst.name));
        }
        Ok(vec![Ty::FLOAT])
    }

    /// Rules (I1) to (I3).
    fn integral(&self, i: &crate::Integral) -> Result<(), String> {
        let m = self.module;
        self.call(generative(m, i.callee)?, &i.args)?;
        let (choices, _) = trace(m, i.callee)?;
        for (k, a) in &i.given {
            let c = choices.get(*k).ok_or_else(|| format!("there is no choice {k}"))?;
            self.fits("a given choice", std::slice::from_ref(&c.ty), &[*a])?;
        }
        if let crate::IntegralKind::Marginal { keep } = &i.kind
            && let Some(k) = keep.iter().find(|k| **k >= choices.len() || i.value_of(**k).is_some())
        {
            return Err(format!("choice {k} cannot be kept"));
        }
        if i.count == 0 {
            return Err("an integral needs a weight".into());
        }
        let Some(p) = &i.proposal else { return Ok(()) };
        let callee = generative(m, p.callee)?;
        let known = |k: usize| p.takes_trace && (matches!(i.kind, crate::IntegralKind::Marginal { .. }) && i.keeps(k));
        let mut wanted: Vec<Ty> = choices.iter().enumerate().filter(|(k, _)| known(*k)).map(|(_, c)| c.ty.clone()).collect();
        wanted.extend(p.args.iter().map(|a| self.ty(*a)).collect::<Result<Vec<_>, _>>()?);
        let params = param_tys(callee)?;
        if params != wanted {
            return Err(format!("the proposal `{}` takes other arguments", callee.name));
        }
        let normalize = i.kind == crate::IntegralKind::Normalize;
        let proposed = trace(m, p.callee)?.0;
        for (k, c) in choices.iter().enumerate().filter(|(k, _)| (normalize || !i.keeps(*k)) && i.value_of(*k).is_none()) {
            match proposed.iter().find(|q| q.addr == c.addr) {
                None => return Err(format!("the proposal `{}` makes no choice `{}` (number {k})", callee.name, c.addr)),
                Some(q) if q.ty != c.ty => return Err(format!("the proposal's choice `{}` is {}, not {}", c.addr, q.ty, c.ty)),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn random(&self, r: RandomView<'_>) -> Result<Vec<Ty>, String> {
        let m = self.module;
        match r {
            RandomView::Gen(GenRandom::Sample { dist, strategy, elements, .. }) => {
                for s in std::iter::once(strategy).chain(elements.iter().map(|(_, s)| s)) {
                    self.strategy(dist, s)?;
                }
                Ok(vec![self.dist(dist)?.event.clone()])
            }
            RandomView::Est(EstRandom::Sample { dist, strategy, .. }) => {
                self.strategy(dist, strategy)?;
                Ok(vec![self.dist(dist)?.event.clone()])
            }
            RandomView::Gen(GenRandom::Call { callee, args, .. }) => self.call(generative(m, *callee)?, args),
            RandomView::Gen(GenRandom::Factor(w)) => {
                self.fits("`factor`", &[Ty::FLOAT], &[*w])?;
                Ok(Vec::new())
            }
            RandomView::Gen(GenRandom::Scale(c)) if *c >= 1.0 => Ok(Vec::new()),
            RandomView::Gen(GenRandom::Scale(c)) => Err(format!("a minibatch cannot count {c} times")),
            RandomView::Gen(GenRandom::Report { value, .. }) => self.ty(*value).map(|_| Vec::new()),
            RandomView::Gen(GenRandom::Integral(i)) => self.integral(i).map(|()| Vec::new()),
            RandomView::Gen(GenRandom::Noise(d)) | RandomView::Est(EstRandom::Draw(d)) => {
                let inst = self.dist(d)?;
                if inst.sample.is_none() {
                    return Err(format!("`{}` cannot be drawn from", inst.name));
                }
                Ok(vec![inst.event.clone()])
            }
            RandomView::Est(EstRandom::Path(d)) => {
                let inst = self.dist(d)?;
                if inst.sample.is_none() || !inst.pathwise {
                    return Err(format!("derivatives do not flow through draws of `{}`", inst.name));
                }
                Ok(vec![inst.event.clone()])
            }
            RandomView::Est(EstRandom::LogDensity { dist, x } | EstRandom::Score { dist, x }) => self.scored(dist, *x, true),
            RandomView::Est(EstRandom::Sim { callee, args }) => {
                let mut tys = self.call(generative(m, *callee)?, args)?;
                tys.extend(trace(m, *callee)?.0.into_iter().map(|c| c.ty));
                tys.push(Ty::FLOAT);
                Ok(tys)
            }
            RandomView::Est(EstRandom::Density { callee, args, trace: given }) => {
                let mut tys = self.call(generative(m, *callee)?, args)?;
                let (choices, reports) = trace(m, *callee)?;
                let wanted: Vec<Ty> = choices.into_iter().map(|c| c.ty).collect();
                self.fits("the trace", &wanted, given)?;
                tys.extend(reports.into_iter().map(|r| r.ty));
                tys.push(Ty::FLOAT);
                Ok(tys)
            }
            RandomView::Est(EstRandom::LogWeight(w)) => {
                for (callee, args, given) in
                    [(w.target, &w.target_args, &w.target_trace), (w.guide, &w.guide_args, &w.guide_trace)]
                {
                    self.call(generative(m, callee)?, args)?;
                    let wanted: Vec<Ty> = trace(m, callee)?.0.into_iter().map(|c| c.ty).collect();
                    self.fits("the trace", &wanted, given)?;
                }
                self.fits("the log density of the simulation", &[Ty::FLOAT], &[w.log_q])?;
                Ok(vec![Ty::FLOAT])
            }
            RandomView::Est(EstRandom::Continue { x, .. }) => self.ty(*x).map(|_| vec![Ty::FLOAT]),
            RandomView::Est(EstRandom::Call { callee, args }) => {
                let f = m.ests.get(callee.index()).ok_or_else(|| format!("{callee} does not exist"))?;
                self.call(f, args)
            }
            RandomView::Est(EstRandom::Grad { callee, args, wrt }) => {
                let f = m.ests.get(callee.index()).ok_or_else(|| format!("{callee} does not exist"))?;
                let tys = self.tys(args)?;
                if self.call(f, args)? != [Ty::FLOAT] || *wrt > args.len() {
                    return Err(format!("`{}` is no real scalar function of {wrt} arguments or more", f.name));
                }
                let of = tys[args.len() - wrt..].to_vec();
                if of.iter().any(|t| t.dtype != DType::Float) { Err("a gradient is of real arguments".into()) } else { Ok(of) }
            }
            RandomView::Det(d) => {
                for (a, _) in d.lanes.iter().chain(&d.times) {
                    self.fits("a position in a loop", &[Ty::INT], &[*a])?;
                }
                shape::random(d.kind, &self.tys(&d.args)?, &d.shape).map(|t| vec![t])
            }
        }
    }
}

fn show(tys: &[Ty]) -> String {
    tys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Types of a function's parameters.
pub(crate) fn param_tys<S: Stage>(f: &Func<S>) -> Result<Vec<Ty>, String> {
    tys_of(f, f.params.iter().map(|v| Atom::Var(*v)))
}

/// Types of a function's results.
pub(crate) fn results<S: Stage>(f: &Func<S>) -> Result<Vec<Ty>, String> {
    tys_of(f, f.body.results.iter().copied())
}

fn tys_of<S: Stage>(f: &Func<S>, atoms: impl Iterator<Item = Atom>) -> Result<Vec<Ty>, String> {
    let cx = Cx { module: &Module::default(), func: f };
    atoms.map(|a| cx.ty(a).map_err(|e| format!("in `{}` {e}", f.name))).collect()
}

fn dist(m: &Module, id: DistId) -> Result<&DistInst, String> {
    m.dists.get(id.index()).ok_or_else(|| format!("{id} does not exist"))
}

fn generative(m: &Module, id: GenId) -> Result<&Func<crate::Gen>, String> {
    m.gens.get(id.index()).ok_or_else(|| format!("{id} does not exist"))
}

/// Choices and reports of a function whose trace has a static list of them.
fn trace(m: &Module, id: GenId) -> Result<(Vec<Choice>, Vec<ReportInfo>), String> {
    static_trace(m, id, &mut HashMap::new())?;
    Ok((m.choices(id), m.reports(id)))
}

/// Whether everything that `id` samples from and calls exists, and no function calls itself through others.
///
/// `done` holds false for functions being visited, true for those found right.
pub(crate) fn static_trace(m: &Module, id: GenId, done: &mut HashMap<GenId, bool>) -> Result<(), String> {
    match done.get(&id) {
        Some(true) => return Ok(()),
        Some(false) => return Err(format!("{id} calls itself, so its trace has no static list of choices")),
        None => {}
    }
    let f = generative(m, id)?;
    done.insert(id, false);
    static_block(m, f, &f.body, done)?;
    done.insert(id, true);
    Ok(())
}

fn static_block(
    m: &Module,
    f: &Func<crate::Gen>,
    block: &Block<crate::Gen>,
    done: &mut HashMap<GenId, bool>,
) -> Result<(), String> {
    for stmt in &block.stmts {
        match &stmt.op {
            Op::Random(GenRandom::Sample { dist: d, .. }) => dist(m, d.dist).map(|_| ())?,
            Op::Random(GenRandom::Call { callee, .. }) => static_trace(m, *callee, done)?,
            Op::Random(GenRandom::Integral(i)) => {
                static_trace(m, i.callee, done)?;
                if let Some(p) = &i.proposal {
                    static_trace(m, p.callee, done)?;
                }
            }
            Op::Random(GenRandom::Report { value, .. }) => {
                Cx { module: m, func: f }.ty(*value)?;
            }
            op => {
                for b in crate::op_blocks(op) {
                    static_block(m, f, b, done)?;
                }
            }
        }
    }
    Ok(())
}
