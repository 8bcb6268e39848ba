//! Statements, blocks, loops and calls.

use crate::error::{Fault, InterpError, Res, malformed};
use crate::{Interp, array, elementwise, fold, random, value};
use candle_core::Tensor;
use ppl_abi::Key;
use ppl_core::{Atom, Block, Det, DetRandom, Func, Op, Scan, Stmt, Ty, Var, op_atoms, op_blocks};
use std::collections::HashMap;

/// Calls may be nested this deep.
const MAX_DEPTH: usize = 256;

/// A statement whose results are known.
pub struct Event<'a> {
    /// The function that it belongs to.
    pub func: &'a Func<Det>,
    /// The statement.
    pub stmt: &'a Stmt<Det>,
    /// Its operands' values, in the order of [`ppl_core::op_atoms`]; not those inside its blocks.
    pub operands: &'a [Tensor],
    /// Its results' values.
    pub results: &'a [Tensor],
    /// Indices of the loops around it in the function, outermost first.
    pub loops: &'a [(Var, i64)],
}

/// Sees every statement.
type Observer<'o> = &'o mut dyn FnMut(&Event<'_>);

pub(crate) fn run(
    interp: &Interp<'_>,
    f: &Func<Det>,
    args: &[Tensor],
    observer: Option<Observer<'_>>,
) -> Result<Vec<Tensor>, InterpError> {
    let mut observer = observer;
    let at_call = |fault| InterpError { span: f.span, func: f.name.clone(), name: String::new(), fault };
    if args.len() != f.params.len() {
        return Err(at_call(Fault::Arguments { expected: f.params.len(), found: args.len() }));
    }
    let mut values = Vec::with_capacity(args.len());
    for (v, t) in f.params.iter().zip(args) {
        let info = f.vars.get(v.index()).ok_or_else(|| at_call(Fault::Malformed(format!("there is no variable {v}"))))?;
        values.push(value::argument(&info.name, &info.ty, t, interp.precision).map_err(at_call)?);
    }
    call(interp, f, values, &Place::default(), &mut observer)
}

/// Where a function is called: what makes its draws differ from another call's.
#[derive(Clone, Default)]
struct Place {
    /// Values and lengths of the maps around the calls.
    lanes: Vec<(i64, usize)>,
    /// Of the scans.
    times: Vec<(i64, usize)>,
    /// Numbers of the calls, outermost first.
    calls: Vec<u64>,
}

fn call(
    interp: &Interp<'_>,
    f: &Func<Det>,
    args: Vec<Tensor>,
    place: &Place,
    observer: &mut Option<Observer<'_>>,
) -> Result<Vec<Tensor>, InterpError> {
    let mut env = vec![None; f.vars.len()];
    for (v, t) in f.params.iter().zip(args) {
        env[v.index()] = Some(t);
    }
    let mut frame = Frame {
        interp,
        func: f,
        env,
        place,
        ordinals: call_ordinals(f),
        lanes: Vec::new(),
        times: Vec::new(),
        loops: Vec::new(),
        observer,
    };
    frame.block(&f.body)
}

/// Number of each call in program order, by the call's first output: it tells the draws of one call from another's.
fn call_ordinals(f: &Func<Det>) -> HashMap<Var, u64> {
    fn walk(b: &Block<Det>, out: &mut HashMap<Var, u64>, next: &mut u64) {
        for stmt in &b.stmts {
            if let Op::Call { .. } = stmt.op {
                if let Some(v) = stmt.outs.first() {
                    out.insert(*v, *next);
                }
                *next += 1;
            }
            op_blocks(&stmt.op).into_iter().for_each(|b| walk(b, out, next));
        }
    }
    let mut out = HashMap::new();
    walk(&f.body, &mut out, &mut 0);
    out
}

/// The site of a draw inside call number `ordinal`. Inlining uses the same formula; a test of `ppl-opt` compares them.
fn inlined_site(ordinal: u64, site: u64) -> u64 {
    let mut z =
        site.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(ordinal.wrapping_add(1).wrapping_mul(0xd1b5_4a32_d192_ed03));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One running function.
struct Frame<'a, 'm, 'o> {
    interp: &'a Interp<'m>,
    func: &'a Func<Det>,
    /// Values by variable. Blocks see enclosing blocks' variables, so one table serves all; loops overwrite.
    env: Vec<Option<Tensor>>,
    place: &'a Place,
    ordinals: HashMap<Var, u64>,
    /// Maps and scans being run in this function, and all loops.
    lanes: Vec<(i64, usize)>,
    times: Vec<(i64, usize)>,
    loops: Vec<(Var, i64)>,
    observer: &'a mut Option<Observer<'o>>,
}

impl Frame<'_, '_, '_> {
    fn block(&mut self, b: &Block<Det>) -> Result<Vec<Tensor>, InterpError> {
        for stmt in &b.stmts {
            let operands = match self.observer {
                Some(_) => self.values(&op_atoms(&stmt.op)).map_err(|e| self.error(stmt, e))?,
                None => Vec::new(),
            };
            let results = self.stmt(stmt)?;
            if results.len() != stmt.outs.len() {
                let why = format!("{} results for {} variables", results.len(), stmt.outs.len());
                return Err(self.error(stmt, Fault::Malformed(why)));
            }
            for (v, t) in stmt.outs.iter().zip(&results) {
                self.set(*v, t.clone()).map_err(|e| self.error(stmt, e))?;
            }
            if let Some(observe) = self.observer {
                observe(&Event { func: self.func, stmt, operands: &operands, results: &results, loops: &self.loops });
            }
        }
        self.values(&b.results).map_err(|fault| InterpError {
            span: self.func.span,
            func: self.func.name.clone(),
            name: String::new(),
            fault,
        })
    }

    fn error(&self, stmt: &Stmt<Det>, fault: Fault) -> InterpError {
        let name = stmt.outs.first().and_then(|v| self.func.vars.get(v.index())).map_or(String::new(), |i| i.name.clone());
        InterpError { span: stmt.span, func: self.func.name.clone(), name, fault }
    }

    fn set(&mut self, v: Var, t: Tensor) -> Res<()> {
        match (self.env.get_mut(v.index()), self.func.vars.get(v.index())) {
            (Some(place), Some(info)) => {
                let dtype = value::candle_dtype(info.ty.dtype, self.interp.precision);
                if t.dims() != info.ty.shape || t.dtype() != dtype {
                    return malformed(format!("`{}` is {}, its value {:?}{:?}", info.name, info.ty, t.dtype(), t.dims()));
                }
                *place = Some(t);
                Ok(())
            }
            _ => malformed(format!("there is no variable {v}")),
        }
    }

    fn value(&self, a: Atom) -> Res<Tensor> {
        match a {
            Atom::Lit(l) => value::literal(l, self.interp.precision),
            Atom::Var(v) => match self.env.get(v.index()) {
                Some(Some(t)) => Ok(t.clone()),
                _ => malformed(format!("{v} is used before it is defined")),
            },
        }
    }

    fn values(&self, atoms: &[Atom]) -> Res<Vec<Tensor>> {
        atoms.iter().map(|a| self.value(*a)).collect()
    }

    fn stmt(&mut self, stmt: &Stmt<Det>) -> Result<Vec<Tensor>, InterpError> {
        match &stmt.op {
            Op::If { cond, then, els } => {
                let c = self.value(*cond).and_then(|t| value::to_bools(&t)).map_err(|e| self.error(stmt, e))?;
                self.block(if c.first() == Some(&true) { then } else { els })
            }
            Op::Map { len, index, body } => self.map(stmt, *len, *index, body),
            Op::Scan(scan) => self.scan(stmt, scan),
            Op::Call { callee, args } => {
                let Some(f) = self.interp.dets.get(callee.index()) else {
                    return Err(self.error(stmt, Fault::Callee(*callee)));
                };
                if self.place.calls.len() >= MAX_DEPTH {
                    return Err(self.error(stmt, Fault::Depth(MAX_DEPTH)));
                }
                let values = self.values(args).map_err(|e| self.error(stmt, e))?;
                if values.len() != f.params.len() {
                    return Err(self.error(stmt, Fault::Arguments { expected: f.params.len(), found: values.len() }));
                }
                let mut place = self.place.clone();
                place.lanes.extend(&self.lanes);
                place.times.extend(&self.times);
                place.calls.push(stmt.outs.first().and_then(|v| self.ordinals.get(v)).copied().unwrap_or(0));
                call(self.interp, f, values, &place, self.observer)
            }
            op => self.leaf(op).map(|t| vec![t]).map_err(|e| self.error(stmt, e)),
        }
    }

    /// Operations without blocks: one result.
    fn leaf(&self, op: &Op<Det>) -> Res<Tensor> {
        let precision = self.interp.precision;
        let check = self.interp.check_indices;
        match op {
            Op::Prim(p, args) => elementwise::prim(*p, &self.values(args)?, precision),
            Op::Broadcast { x, shape, axes } => array::broadcast(&self.value(*x)?, shape, axes),
            Op::Reduce { op, x, axes } => fold::reduce(*op, &self.value(*x)?, axes, precision),
            Op::ArgMax { x, axis } => fold::argmax(&self.value(*x)?, *axis),
            Op::CumSum { x, axis, reverse } => fold::cumsum(&self.value(*x)?, *axis, *reverse, precision),
            Op::Dot { a, b, batch, contract } => fold::dot(&self.value(*a)?, &self.value(*b)?, batch, contract, precision),
            Op::Transpose { x, perm } => array::transpose(&self.value(*x)?, perm),
            Op::Reshape { x, shape } => array::reshape(&self.value(*x)?, shape),
            Op::Slice { x, axis, start, len } => array::along(&self.value(*x)?, *axis, *len, |i| Some(start + i)),
            Op::Pad { x, axis, before, after } => {
                let x = self.value(*x)?;
                let n = x.dims()[*axis];
                array::along(&x, *axis, before + n + after, |i| i.checked_sub(*before).filter(|i| *i < n))
            }
            Op::Concat { xs, axis } => array::concat(&self.values(xs)?, *axis),
            Op::Gather { x, idx, batch } => array::gather(&self.value(*x)?, &self.value(*idx)?, *batch, check),
            Op::ScatterAdd { idx, updates, batch, len } => {
                array::scatter_add(&self.value(*idx)?, &self.value(*updates)?, *batch, *len, check)
            }
            Op::Iota { len } => value::make(&[*len], (0..*len as i64).collect()),
            Op::Minibatch { data, size } => {
                let mut indices = vec![0; *size];
                let site = ppl_core::minibatch_site(*data, *size);
                let key = Key { seed: self.interp.seed, site, step: self.interp.step, time: 0 };
                ppl_tensor::kernels::draw_minibatch(&mut indices, *data, key)?;
                value::make(&[*size], indices)
            }
            Op::Reverse { x, axis } => {
                let x = self.value(*x)?;
                let n = x.dims()[*axis];
                array::along(&x, *axis, n, |i| Some(n - 1 - i))
            }
            Op::Linalg(op, args) => fold::linalg(*op, &self.values(args)?),
            Op::Stop(x) => self.value(*x),
            Op::Random(r) => self.random(r),
            Op::If { .. } | Op::Map { .. } | Op::Scan(_) | Op::Call { .. } => malformed("a block where none is expected"),
        }
    }

    fn random(&self, r: &DetRandom) -> Res<Tensor> {
        let position = |outer: &[(i64, usize)], own: &[(Atom, usize)]| -> Res<u64> {
            let own = own.iter().map(|(a, n)| Ok((value::to_int(&self.value(*a)?)?, *n))).collect::<Res<Vec<_>>>()?;
            Ok(outer.iter().chain(&own).fold(0u64, |at, (i, n)| at.wrapping_mul(*n as u64).wrapping_add(*i as u64)))
        };
        let lane = position(&self.place.lanes, &r.lanes)?;
        let time = position(&self.place.times, &r.times)?;
        let site = self.place.calls.iter().rev().fold(r.site, |site, n| inlined_site(*n, site));
        let key = Key { seed: self.interp.seed, site, step: self.interp.step, time };
        let offset = lane as usize * r.shape.iter().product::<usize>();
        random::draw(r.kind, &self.values(&r.args)?, &r.shape, offset, key, self.interp.precision)
    }

    fn map(&mut self, stmt: &Stmt<Det>, len: usize, index: Var, body: &Block<Det>) -> Result<Vec<Tensor>, InterpError> {
        let mut lanes: Vec<Vec<Tensor>> = vec![Vec::new(); stmt.outs.len()];
        for i in 0..len {
            self.enter(stmt, index, i)?;
            self.lanes.push((i as i64, len));
            let results = self.block(body)?;
            self.lanes.pop();
            self.loops.pop();
            lanes.iter_mut().zip(results).for_each(|(l, r)| l.push(r));
        }
        self.stacked(stmt, &stmt.outs, lanes)
    }

    fn scan(&mut self, stmt: &Stmt<Det>, scan: &Scan<Det>) -> Result<Vec<Tensor>, InterpError> {
        let fail = |s: &Self, e| s.error(stmt, e);
        let n = scan.carry.len();
        let mut carry = Vec::with_capacity(n);
        for (_, init) in &scan.carry {
            carry.push(self.value(*init).map_err(|e| fail(self, e))?);
        }
        let mut xs = Vec::with_capacity(scan.xs.len());
        for (_, a) in &scan.xs {
            xs.push(self.value(*a).map_err(|e| fail(self, e))?);
        }
        let mut ys: Vec<Vec<Tensor>> = vec![Vec::new(); stmt.outs.len().saturating_sub(n)];
        for k in 0..scan.len {
            let i = if scan.reverse { scan.len - 1 - k } else { k };
            self.enter(stmt, scan.index, i)?;
            self.times.push((i as i64, scan.len));
            for ((v, _), t) in scan.carry.iter().zip(&carry) {
                self.set(*v, t.clone()).map_err(|e| fail(self, e))?;
            }
            for ((v, _), t) in scan.xs.iter().zip(&xs) {
                let row = array::row(t, i).map_err(|e| fail(self, e))?;
                self.set(*v, row).map_err(|e| fail(self, e))?;
            }
            let mut results = self.block(&scan.body)?;
            self.times.pop();
            self.loops.pop();
            let rest = results.split_off(n.min(results.len()));
            carry = results;
            ys.iter_mut().zip(rest).for_each(|(y, r)| y.push(r));
        }
        if scan.reverse {
            ys.iter_mut().for_each(|y| y.reverse());
        }
        carry.extend(self.stacked(stmt, stmt.outs.get(n..).unwrap_or_default(), ys)?);
        Ok(carry)
    }

    fn enter(&mut self, stmt: &Stmt<Det>, index: Var, i: usize) -> Result<(), InterpError> {
        let value = value::make(&[], vec![i as i64]).and_then(|t| self.set(index, t));
        value.map_err(|e| self.error(stmt, e))?;
        self.loops.push((index, i as i64));
        Ok(())
    }

    /// Each output's iterations stacked; a loop that never ran gives arrays without elements.
    fn stacked(&self, stmt: &Stmt<Det>, outs: &[Var], parts: Vec<Vec<Tensor>>) -> Result<Vec<Tensor>, InterpError> {
        let one = |(v, parts): (&Var, Vec<Tensor>)| {
            let empty = || self.func.vars.get(v.index()).map_or(Ty::FLOAT, |i| i.ty.clone());
            if parts.is_empty() { value::zeros(&empty(), self.interp.precision) } else { array::stack(&parts) }
        };
        outs.iter().zip(parts).map(one).collect::<Res<Vec<_>>>().map_err(|e| self.error(stmt, e))
    }
}
