//! Random functions for tests, right by construction.

use crate::{
    AnyRandom, Atom, Block, Builder, DType, Det, DetId, DetRandom, Elem, Func, Linalg, Module, Op, PRIMS, RandomOp, ReduceOp,
    RngKind, Scan, Stage, Ty, Var,
};
use ppl_diag::Span;

/// A linear congruential generator (Knuth's constants).
pub(super) struct Lcg(u64);

impl Lcg {
    pub(super) fn new(seed: u64) -> Lcg {
        Lcg(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

/// A function's structure, its variables numbered in the order of the text, without their names and without places.
///
/// As a string, because NaN literals are not equal to themselves.
pub(super) fn canonical<S: Stage>(f: &Func<S>) -> String {
    let mut b: Builder<S> = Builder::new(f.name.clone());
    let params: Vec<Atom> = f.params.iter().map(|p| b.param(f.vars[p.index()].name.clone(), f.ty(*p).clone()).into()).collect();
    let results = b.inline(f, &params);
    let mut f = b.finish(results);
    fn clear<S: Stage>(block: &mut Block<S>) {
        for s in &mut block.stmts {
            s.span = Span::NONE;
            if let Op::Random(r) = &mut s.op {
                clear_random(r);
            }
            crate::op_blocks_mut(&mut s.op).into_iter().for_each(clear);
        }
    }
    fn clear_random<R: RandomOp>(r: &mut R) {
        use crate::{EstRandom, GenRandom, RandomView, StrategyUse};
        let strategy = match r.view() {
            RandomView::Gen(GenRandom::Sample { dist, addr, strategy, .. }) => AnyRandom::Gen(GenRandom::Sample {
                dist: dist.clone(),
                addr: addr.clone(),
                strategy: strategy.clone(),
                elements: vec![(1, strategy.clone())],
            }),
            RandomView::Est(EstRandom::Sample { dist, strategy, label }) => {
                AnyRandom::Est(EstRandom::Sample { dist: dist.clone(), strategy: strategy.clone(), label: label.clone() })
            }
            _ => return,
        };
        let cleared = match strategy {
            AnyRandom::Gen(GenRandom::Sample {
                dist,
                addr,
                strategy: StrategyUse::Named { strategy, args, .. },
                mut elements,
            }) => {
                let strategy = StrategyUse::Named { strategy, args, span: Span::NONE };
                elements.iter_mut().for_each(|(_, s)| *s = strategy.clone());
                AnyRandom::Gen(GenRandom::Sample { dist, addr, strategy, elements })
            }
            AnyRandom::Est(EstRandom::Sample { dist, label, strategy: StrategyUse::Named { strategy, args, .. } }) => {
                let strategy = StrategyUse::Named { strategy, args, span: Span::NONE };
                AnyRandom::Est(EstRandom::Sample { dist, label, strategy })
            }
            other => other,
        };
        *r = R::from_any(cleared).expect("the same stage");
    }
    clear(&mut f.body);
    f.span = Span::NONE;
    f.vars.iter_mut().for_each(|v| v.name.clear());
    format!("{f:?}")
}

/// A function over floats, ints and bools with nested blocks; calls go to the first function of `m`.
pub(super) fn random_func(rng: &mut Lcg, m: &Module) -> Func<Det> {
    let mut b = Builder::new(["f", "g.h", "a b"][rng.below(3)]);
    let mut scope: Vec<Atom> = vec![Atom::float(0.5), Atom::int(-3), Atom::bool(true), Atom::float(f64::INFINITY)];
    for i in 0..3 + rng.below(4) {
        let shape: Vec<usize> = (0..rng.below(4)).map(|_| 1 + rng.below(3)).collect();
        let dtype = rng.pick(&[DType::Float, DType::Float, DType::Int, DType::Bool]);
        scope.push(b.param(["x", "y.1", "%"][i % 3], Ty::new(dtype, shape)).into());
    }
    let n = 5 + rng.below(25);
    block(rng, &mut b, m, &mut scope, n, 0);
    let results = (0..rng.below(4)).map(|_| rng.pick(&scope)).collect();
    b.finish(results)
}

fn block(rng: &mut Lcg, b: &mut Builder<Det>, m: &Module, scope: &mut Vec<Atom>, n: usize, depth: usize) {
    for _ in 0..n {
        if depth < 3 && rng.below(8) == 0 {
            nested(rng, b, m, scope, depth);
        } else if let Some(a) = simple(rng, b, m, scope) {
            scope.push(a);
        }
    }
}

fn nested(rng: &mut Lcg, b: &mut Builder<Det>, m: &Module, scope: &mut Vec<Atom>, depth: usize) {
    let (outer, n) = (scope.len(), 1 + rng.below(4));
    let outs = match rng.below(3) {
        0 => {
            let cond = of(rng, b, scope, |t| *t == Ty::BOOL);
            let then = inner(rng, b, m, scope, (n, depth), &[]);
            // Both blocks must return the same types: the second one returns what is there of these types.
            b.begin();
            let results = then.results.iter().map(|a| same_type(b, *a)).collect();
            let els = b.end(results);
            b.if_(cond, then, els)
        }
        1 => {
            let index = b.index_var("i");
            let body = inner(rng, b, m, scope, (n, depth), &[index]);
            b.map(1 + rng.below(3), index, body)
        }
        _ => {
            let array = of(rng, b, scope, |t| !t.is_scalar());
            let ty = b.ty(array);
            let (len, index) = (ty.shape[0], b.index_var("t"));
            let x = b.fresh("x", Ty::new(ty.dtype, &ty.shape[1..]));
            let first = rng.pick(scope);
            let first_ty = b.ty(first);
            let s = b.fresh("s", first_ty);
            let mut body = inner(rng, b, m, scope, (n, depth), &[index, x, s]);
            body.results.insert(0, s.into());
            let reverse = rng.below(2) == 0;
            b.scan(Scan { len, index, carry: vec![(s, first)], xs: vec![(x, array)], body, reverse })
        }
    };
    scope.truncate(outer);
    scope.extend(outs.into_iter().map(Atom::Var));
}

fn inner(
    rng: &mut Lcg,
    b: &mut Builder<Det>,
    m: &Module,
    scope: &mut Vec<Atom>,
    size: (usize, usize),
    bound: &[Var],
) -> Block<Det> {
    let outer = scope.len();
    b.begin();
    scope.extend(bound.iter().map(|v| Atom::Var(*v)));
    block(rng, b, m, scope, size.0, size.1 + 1);
    let results = (0..1 + rng.below(2)).map(|_| rng.pick(scope)).collect();
    scope.truncate(outer);
    b.end(results)
}

/// A new value of the type of `a`.
fn same_type(b: &mut Builder<Det>, a: Atom) -> Atom {
    let ty = b.ty(a);
    let zero = match ty.dtype {
        DType::Float => Atom::float(0.0),
        DType::Int => Atom::int(0),
        DType::Bool => Atom::bool(false),
    };
    b.full(zero, &ty.shape)
}

/// An operand that `ok` accepts, made if there is none; `ok` accepts a scalar, or an array of floats with up to 3 axes.
fn of(rng: &mut Lcg, b: &mut Builder<Det>, scope: &[Atom], ok: impl Fn(&Ty) -> bool) -> Atom {
    let found: Vec<Atom> = scope.iter().copied().filter(|a| ok(&b.ty(*a))).collect();
    if !found.is_empty() {
        return rng.pick(&found);
    }
    let shapes: [&[usize]; 5] = [&[], &[2], &[2, 2], &[2, 3], &[2, 2, 2]];
    for a in [Atom::float(1.5), Atom::int(1), Atom::bool(false)] {
        for shape in shapes {
            if ok(&b.ty(a).lifted(shape)) {
                return b.full(a, shape);
            }
        }
    }
    panic!("no operand of the wanted type");
}

fn elementwise(rng: &mut Lcg, b: &mut Builder<Det>, scope: &[Atom]) -> Atom {
    let topic = rng.pick(PRIMS);
    let row = &topic[rng.below(topic.len())];
    let shared = rng.pick(&[DType::Float, DType::Int]);
    let mut shape: Option<Vec<usize>> = None;
    let args: Vec<Atom> = row
        .prim
        .sig()
        .params
        .iter()
        .map(|p| {
            let dtype = match p.elem {
                Elem::Real => DType::Float,
                Elem::Int => DType::Int,
                Elem::Bool => DType::Bool,
                Elem::Num | Elem::Any => shared,
            };
            let fixed = shape.clone();
            let a = of(rng, b, scope, |t| t.dtype == dtype && (t.is_scalar() || fixed.as_ref().is_none_or(|s| *s == t.shape)));
            let ty = b.ty(a);
            if !ty.is_scalar() {
                shape = Some(ty.shape);
            }
            a
        })
        .collect();
    b.prim(row.prim, &args)
}

fn simple(rng: &mut Lcg, b: &mut Builder<Det>, m: &Module, scope: &[Atom]) -> Option<Atom> {
    // Shapes that keep growing would make the texts long.
    let small = |t: &Ty| t.rank() >= 1 && t.rank() <= 3 && (1..=100).contains(&t.numel());
    let number = |t: &Ty| small(t) && t.dtype != DType::Bool;
    let choice = rng.below(24);
    let x = of(rng, b, scope, small);
    let ty = b.ty(x);
    let axis = rng.below(ty.rank());
    let size = ty.shape[axis];
    Some(match choice {
        0..=6 => elementwise(rng, b, scope),
        7 => {
            let mut shape = ty.shape.clone();
            shape.insert(axis, 2);
            let axes: Vec<usize> = (0..=ty.rank()).filter(|a| *a != axis).collect();
            b.broadcast(x, &shape, &axes)
        }
        8 => {
            let ops = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];
            let op = if ty.dtype == DType::Bool { rng.pick(&[ReduceOp::All, ReduceOp::Any]) } else { rng.pick(&ops) };
            b.reduce(op, x, &[axis])
        }
        9 => {
            let x = of(rng, b, scope, number);
            b.argmax(x, 0)
        }
        10 => {
            let x = of(rng, b, scope, number);
            b.cumsum(x, 0, rng.below(2) == 0)
        }
        11 => {
            let a = of(rng, b, scope, |t| small(t) && t.dtype == DType::Float);
            let batch: &[(usize, usize)] = if rng.below(2) == 0 { &[(0, 0)] } else { &[] };
            let last = b.ty(a).rank() - 1;
            let contract: &[(usize, usize)] = if batch.is_empty() || last > 0 { &[(last, last)] } else { &[] };
            b.dot(a, a, batch, contract)
        }
        12 => {
            let perm: Vec<usize> = (0..ty.rank()).rev().collect();
            b.transpose(x, &perm)
        }
        13 => b.reshape(x, &[ty.numel()]),
        14 => b.slice(x, axis, size - 1, 1),
        15 => b.pad(x, axis, rng.below(2), 1),
        16 => b.concat(&[x, x], axis),
        17 => {
            let idx = of(rng, b, scope, |t| t.dtype == DType::Int && t.rank() <= 1);
            b.gather(x, idx, 0)
        }
        18 => {
            let idx = of(rng, b, scope, |t| t.dtype == DType::Int && t.rank() == 1);
            let n = b.ty(idx).shape[0];
            let updates = b.full(Atom::float(1.0), &[n, 2]);
            b.scatter_add(idx, updates, 0, 5)
        }
        19 => b.iota(rng.below(4)),
        20 => b.reverse(x, axis),
        21 => {
            let a = of(rng, b, scope, |t| t.dtype == DType::Float && t.rank() == 2 && t.shape[0] == t.shape[1]);
            let l = b.linalg(Linalg::Cholesky, &[a]);
            b.linalg(Linalg::Solve { transpose: rng.below(2) == 0 }, &[l, a])
        }
        22 => {
            let s = b.stop(x);
            let callee = m.dets.first()?;
            let float = of(rng, b, scope, |t| *t == Ty::FLOAT);
            let outs = callee.result_tys().into_iter().map(|t| ("c".to_string(), t)).collect();
            b.emit(Op::Call { callee: DetId(0), args: vec![float; callee.params.len()] }, outs);
            s
        }
        _ => {
            let kind = rng.pick(&RngKind::ALL);
            let args = match kind {
                RngKind::Uniform | RngKind::Normal => vec![],
                RngKind::Gamma | RngKind::Poisson => vec![Atom::float(0.5)],
                RngKind::Binomial => vec![Atom::int(4), Atom::float(0.5)],
                RngKind::Categorical => vec![b.full(Atom::float(0.5), &[2])],
            };
            let shape = vec![2; rng.below(3)];
            let out = Ty::new(kind.dtype(), shape.clone());
            let site = rng.below(usize::MAX) as u64 ^ rng.0;
            let random = DetRandom { kind, args, site, lanes: vec![], times: vec![(Atom::int(1), 2)], shape };
            b.emit1(Op::Random(random), "draw", out)
        }
    })
}
