//! Random well-typed programs over every operation.

use super::Stream;
use ppl_core::{Atom, Block, Builder, DType, Det, DetRandom, Func, Linalg, Op, Prim, ReduceOp, RngKind, Scan, Ty, Var};

/// Which operations to use.
#[derive(Clone, Copy)]
pub struct Options {
    pub maps: bool,
    pub depth: usize,
    pub size: usize,
    /// Draws whose values move with their parameters.
    pub moving_draws: bool,
}

pub struct Generator {
    pub b: Builder<Det>,
    pub s: Stream,
    /// Visible values.
    pool: Vec<Atom>,
    maps: Vec<(Atom, usize)>,
    scans: Vec<(Atom, usize)>,
    options: Options,
}

const UNARY: [Prim; 6] = [Prim::Sin, Prim::Tanh, Prim::Sigmoid, Prim::Neg, Prim::Softplus, Prim::Square];
const BINARY: [Prim; 5] = [Prim::Add, Prim::Sub, Prim::Mul, Prim::Max, Prim::LogAddExp];

/// A program of real parameters with several results, all real.
pub fn program(seed: u64, options: Options) -> Func<Det> {
    let mut b = Builder::new(format!("random_{seed}"));
    let shapes: [&[usize]; 4] = [&[], &[3], &[2, 3], &[3, 3]];
    let params: Vec<Atom> = shapes.iter().map(|s| b.param("p", Ty::float(*s)).into()).collect();
    let mut g = Generator { b, s: Stream(seed, 0), pool: params, maps: vec![], scans: vec![], options };
    g.statements(options.size, options.depth);
    let results = (0..3).map(|_| g.pick(|t| t.dtype == DType::Float)).collect();
    let last = g.latest_float();
    let results = [results, vec![last]].concat();
    g.b.finish(results)
}

impl Generator {
    fn statements(&mut self, n: usize, depth: usize) {
        for _ in 0..n {
            self.statement(depth);
        }
    }

    fn pick(&mut self, ok: impl Fn(&Ty) -> bool) -> Atom {
        let fitting: Vec<Atom> = self.pool.iter().copied().filter(|a| ok(&self.b.ty(*a))).collect();
        // Recent values are preferred, so that programs are deep.
        let n = fitting.len();
        let back = self.s.below(n).min(self.s.below(n));
        fitting[n - 1 - back]
    }

    fn latest_float(&self) -> Atom {
        *self.pool.iter().rev().find(|a| self.b.ty(**a).dtype == DType::Float).expect("parameters are real")
    }

    fn float(&mut self, min_rank: usize) -> Atom {
        self.pick(|t| t.dtype == DType::Float && t.rank() >= min_rank && t.numel() < 200)
    }

    fn keep(&mut self, a: Atom) {
        self.pool.push(a);
    }

    /// Keeps numbers small.
    fn tame(&mut self, a: Atom) {
        let a = self.b.un(Prim::Sin, a);
        self.keep(a);
    }

    fn fit(&mut self, x: Atom, shape: &[usize]) -> Atom {
        let t = self.b.ty(x);
        if t.shape == shape || t.is_scalar() {
            return x;
        }
        let x = self.b.sum_all(x);
        self.b.un(Prim::Sin, x)
    }

    fn statement(&mut self, depth: usize) {
        let control = if depth > 0 { 4 } else { 0 };
        match self.s.below(24 + control) {
            0 => {
                let p = UNARY[self.s.below(UNARY.len())];
                let x = self.float(0);
                let y = self.b.un(p, x);
                self.tame(y);
            }
            1 | 2 => {
                let p = BINARY[self.s.below(BINARY.len())];
                let (x, y) = (self.float(0), self.float(0));
                let shape = self.b.ty(x).shape;
                let y = self.fit(y, &shape);
                let z = if self.s.below(2) == 0 { self.b.prim(p, &[x, y]) } else { self.b.prim(p, &[y, x]) };
                self.keep(z);
            }
            3 => {
                let x = self.float(0);
                let t = self.b.ty(x);
                let at = self.s.below(t.rank() + 1);
                let mut shape = t.shape.clone();
                shape.insert(at, 2);
                let axes: Vec<usize> = (0..shape.len()).filter(|i| *i != at).collect();
                let y = self.b.broadcast(x, &shape, &axes);
                self.keep(y);
            }
            4 | 5 => {
                let ops = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min, ReduceOp::Sum];
                let op = ops[self.s.below(5)];
                let x = self.float(1);
                let rank = self.b.ty(x).rank();
                let mut axes: Vec<usize> = (0..rank).filter(|_| self.s.below(2) == 0).collect();
                if axes.is_empty() {
                    axes = vec![self.s.below(rank)];
                }
                let y = self.b.reduce(op, x, &axes);
                self.tame(y);
            }
            6 => {
                let x = self.float(1);
                let axis = self.axis(x);
                let y = self.b.argmax(x, axis);
                self.keep(y);
            }
            7 => {
                let x = self.float(1);
                let axis = self.axis(x);
                let reverse = self.s.below(2) == 0;
                let y = self.b.cumsum(x, axis, reverse);
                self.tame(y);
            }
            8..=10 => self.dot(),
            11 => {
                let x = self.float(2);
                let mut perm: Vec<usize> = (0..self.b.ty(x).rank()).collect();
                for i in (1..perm.len()).rev() {
                    perm.swap(i, self.s.below(i + 1));
                }
                let y = self.b.transpose(x, &perm);
                self.keep(y);
            }
            12 => {
                let x = self.float(1);
                let n = self.b.ty(x).numel();
                let y = self.b.reshape(x, &[1, n]);
                let y = if n.is_multiple_of(2) { self.b.reshape(y, &[n / 2, 2]) } else { y };
                self.keep(y);
            }
            13 => {
                let x = self.float(1);
                let axis = self.axis(x);
                let n = self.b.ty(x).shape[axis];
                let start = self.s.below(n);
                let len = 1 + self.s.below(n - start);
                let y = self.b.slice(x, axis, start, len);
                self.keep(y);
            }
            14 => {
                let x = self.float(1);
                let axis = self.axis(x);
                let (before, after) = (self.s.below(2), self.s.below(2));
                let y = self.b.pad(x, axis, before, after);
                self.keep(y);
            }
            15 => {
                let x = self.float(1);
                let shape = self.b.ty(x).shape;
                let y = self.pick(|t| t.dtype == DType::Float && t.shape == shape);
                let axis = self.axis(x);
                let z = self.b.concat(&[x, y], axis);
                self.keep(z);
            }
            16 | 17 => self.gather(),
            18 => {
                let x = self.float(1);
                let n = self.b.ty(x).shape[0];
                let idx = self.indices(&[n], 4);
                let y = self.b.scatter_add(idx, x, 0, 4);
                self.tame(y);
            }
            19 => {
                let x = self.float(1);
                let axis = self.axis(x);
                let y = self.b.reverse(x, axis);
                self.keep(y);
            }
            20 => self.linalg(),
            21 => {
                let (x, y) = (self.float(0), self.float(0));
                let shape = self.b.ty(x).shape;
                let y = self.fit(y, &shape);
                let c = self.b.prim(Prim::Lt, &[x, y]);
                let z = self.b.select(c, x, y);
                self.keep(z);
            }
            22 => {
                let x = self.float(0);
                let c = self.b.prim(Prim::Gt, &[x, Atom::float(0.3)]);
                let y = self.b.un(Prim::ToReal, c);
                self.keep(y);
            }
            23 => self.draw(),
            24 | 25 => self.if_(depth - 1),
            26 if self.options.maps => self.map(depth - 1),
            _ => self.scan(depth - 1),
        }
    }

    fn axis(&mut self, x: Atom) -> usize {
        let rank = self.b.ty(x).rank();
        self.s.below(rank)
    }

    fn dot(&mut self) {
        let (a, b) = (self.float(1), self.float(1));
        let (ta, tb) = (self.b.ty(a), self.b.ty(b));
        let (mut batch, mut contract, mut used) = (vec![], vec![], vec![]);
        for i in 0..ta.rank() {
            let partner = (0..tb.rank()).rev().find(|j| tb.shape[*j] == ta.shape[i] && !used.contains(j));
            let Some(j) = partner else { continue };
            match self.s.below(4) {
                0 => continue,
                1 => batch.push((i, j)),
                _ => contract.push((i, j)),
            }
            used.push(j);
        }
        if ta.rank() + tb.rank() - 2 * contract.len() - batch.len() > 3 {
            return;
        }
        let y = self.b.dot(a, b, &batch, &contract);
        self.tame(y);
    }

    /// Int indices of a shape, some below 0 or beyond `n`.
    fn indices(&mut self, shape: &[usize], n: usize) -> Atom {
        let found = self.pool.iter().copied().filter(|a| self.b.ty(*a) == Ty::new(DType::Int, shape)).collect::<Vec<_>>();
        if !found.is_empty() && self.s.below(3) > 0 {
            return found[self.s.below(found.len())];
        }
        let x = self.float(0);
        let x = if self.b.ty(x).shape == shape { x } else { self.b.sum_all(x) };
        let x = self.b.mul(x, Atom::float(n as f64));
        let i = self.b.un(Prim::ToInt, x);
        if self.b.ty(i).shape == shape { i } else { self.b.full(i, shape) }
    }

    fn gather(&mut self) {
        let x = self.float(1);
        let t = self.b.ty(x);
        let y = match self.s.below(5) {
            0 => self.b.gather(x, Atom::int(1), 0),
            1 if !self.maps.is_empty() => {
                let (i, _) = self.maps[self.s.below(self.maps.len())];
                let shift = Atom::int(self.s.below(3) as i64 - 1);
                let i = if self.s.below(2) == 0 { i } else { self.b.add(i, shift) };
                self.b.gather(x, i, 0)
            }
            2 => {
                let idx = self.indices(&[2], t.shape[0]);
                self.b.gather(x, idx, 0)
            }
            3 if t.rank() >= 2 => {
                let idx = self.indices(&[t.shape[0]], t.shape[1]);
                self.b.gather(x, idx, 1)
            }
            _ => {
                let idx = self.indices(&[], t.shape[0]);
                self.b.gather(x, idx, 0)
            }
        };
        self.keep(y);
    }

    /// Cholesky factor of `x x' + n`, and a solution with it.
    fn linalg(&mut self) {
        let x = self.pick(|t| t.dtype == DType::Float && t.rank() == 2 && t.shape[0] <= 4);
        let n = self.b.ty(x).shape[0];
        let x = self.b.un(Prim::Sin, x);
        let g = self.b.dot(x, x, &[], &[(1, 1)]);
        let iota = self.b.iota(n);
        let (r, c) = (self.b.broadcast(iota, &[n, n], &[0]), self.b.broadcast(iota, &[n, n], &[1]));
        let eye = self.b.prim(Prim::Eq, &[r, c]);
        let ridge = self.b.select(eye, Atom::float(2.0), Atom::float(0.0));
        let a = self.b.add(g, ridge);
        let l = self.b.linalg(Linalg::Cholesky, &[a]);
        let rhs = self.float(0);
        let rhs = self.b.sum_all(rhs);
        let rhs = self.b.un(Prim::Sin, rhs);
        let rhs = self.b.full(rhs, &[n, 2]);
        let transpose = self.s.below(2) == 0;
        let s = self.b.linalg(Linalg::Solve { transpose }, &[l, rhs]);
        self.keep(l);
        self.tame(s);
        // Patches of an image, and back.
        let x = self.pick(|t| t.dtype == DType::Float && t.rank() == 2 && t.numel() > 0);
        let shape = self.b.ty(x).shape;
        let x = self.b.un(Prim::Sin, x);
        let image = self.b.reshape(x, &[1, shape[0], shape[1]]);
        let (stride, padding) = (1 + self.s.below(2), self.s.below(2));
        let pair = |n: usize| (n, n);
        let w = ppl_core::Window {
            image: (shape[0], shape[1]),
            kernel: (shape[0].min(2), shape[1].min(2)),
            stride: pair(stride),
            padding: pair(padding),
            dilation: pair(1),
        };
        let p = self.b.linalg(Linalg::Unfold(w), &[image]);
        let p = self.b.un(Prim::Sin, p);
        let f = self.b.linalg(Linalg::Fold(w), &[p]);
        self.keep(p);
        self.tame(f);
    }

    fn draw(&mut self) {
        let site = 1 + self.s.below(1 << 20) as u64;
        let shape: Vec<usize> = if self.s.below(2) == 0 { vec![] } else { vec![3] };
        let mut lanes = self.maps.clone();
        // Sometimes a lane is shared: coupled random numbers.
        if !lanes.is_empty() && self.s.below(4) == 0 {
            let drop = self.s.below(lanes.len());
            lanes.remove(drop);
        }
        let (kind, args) = match self.s.below(4) {
            0 => (RngKind::Normal, vec![]),
            1 => (RngKind::Uniform, vec![]),
            2 if self.options.moving_draws => {
                let x = self.float(0);
                let x = self.fit(x, &shape);
                let x = self.b.un(Prim::Softplus, x);
                (RngKind::Gamma, vec![x])
            }
            _ => {
                let x = self.pick(|t| t.dtype == DType::Float && t.shape.first() == Some(&3));
                let x = if self.b.ty(x).shape == [3] || self.b.ty(x).shape == [&shape[..], &[3]].concat() {
                    x
                } else {
                    let s = self.b.sum_all(x);
                    let parts = [s, Atom::float(0.5), Atom::float(1.0)];
                    let parts = self.b.stack(&parts);
                    let full = [&shape[..], &[3]].concat();
                    self.b.broadcast(parts, &full, &[full.len() - 1])
                };
                let x = self.b.un(Prim::Sigmoid, x);
                (RngKind::Categorical, vec![x])
            }
        };
        let ty = Ty::new(kind.dtype(), shape.clone());
        let op = Op::Random(DetRandom { kind, args, site, lanes, times: self.scans.clone(), shape });
        let y = self.b.emit1(op, "draw", ty);
        if kind == RngKind::Gamma { self.tame(y) } else { self.keep(y) }
    }

    /// A block whose statements see everything outside; `results` picks what it returns.
    fn block(&mut self, n: usize, depth: usize, results: impl FnOnce(&mut Self) -> Vec<Atom>) -> Block<Det> {
        let visible = self.pool.len();
        self.b.begin();
        self.statements(n, depth);
        let results = results(self);
        self.pool.truncate(visible);
        self.b.end(results)
    }

    fn if_(&mut self, depth: usize) {
        let (x, y) = (self.float(0), self.float(0));
        let x = self.fit(x, &[]);
        let y = self.fit(y, &[]);
        let cond = self.b.prim(Prim::Lt, &[x, y]);
        let n = 1 + self.s.below(5);
        let first = self.float(0);
        let shape = self.b.ty(first).shape;
        let result = |g: &mut Self| {
            let x = g.latest_float();
            let x = g.fit(x, &shape);
            let other = g.float(0);
            let other = g.b.sum_all(other);
            let full = if g.b.ty(x).shape == shape { x } else { g.b.full(x, &shape) };
            vec![full, g.b.un(Prim::Tanh, other)]
        };
        let then = self.block(n, depth, result);
        let els = self.block(n, depth, result);
        let outs = self.b.if_(cond, then, els);
        outs.into_iter().for_each(|v| self.keep(v.into()));
    }

    fn map(&mut self, depth: usize) {
        let len = self.s.below(4);
        let index = self.b.index_var("i");
        let i = Atom::Var(index);
        self.maps.push((i, len));
        let visible = self.pool.len();
        self.pool.push(i);
        let n = 2 + self.s.below(6);
        let body = self.block(n, depth, |g| vec![g.latest_float(), g.float(0)]);
        self.pool.truncate(visible);
        self.maps.pop();
        let outs = self.b.map(len, index, body);
        // Empty results only feed sums.
        for v in outs {
            let y = if len == 0 { self.b.sum_all(v.into()) } else { v.into() };
            self.keep(y);
        }
    }

    fn scan(&mut self, depth: usize) {
        let xs_array = self.float(1);
        let t = self.b.ty(xs_array);
        let len = t.shape[0];
        let index = self.b.index_var("t");
        let x = self.b.fresh("x", Ty::float(&t.shape[1..]));
        let inits: Vec<Atom> = (0..1 + self.s.below(2)).map(|_| self.float(0)).collect();
        let carry: Vec<(Var, Atom)> = inits
            .into_iter()
            .map(|a| {
                let ty = self.b.ty(a);
                (self.b.fresh("c", ty), a)
            })
            .collect();
        let visible = self.pool.len();
        self.scans.push((index.into(), len));
        self.pool.push(index.into());
        self.pool.push(x.into());
        self.pool.extend(carry.iter().map(|(v, _)| Atom::Var(*v)));
        let n = 2 + self.s.below(5);
        let shapes: Vec<Vec<usize>> = carry.iter().map(|(v, _)| self.b.ty((*v).into()).shape).collect();
        let body = self.block(n, depth, |g| {
            let mut results = Vec::new();
            for (shape, (v, _)) in shapes.iter().zip(&carry) {
                let y = g.float(0);
                let y = g.fit(y, shape);
                let y = g.b.add(y, (*v).into());
                let y = g.b.un(Prim::Sin, y);
                results.push(y);
            }
            results.push(g.latest_float());
            results.push(g.float(0));
            results
        });
        self.pool.truncate(visible);
        self.scans.pop();
        let reverse = self.s.below(2) == 0;
        let outs = self.b.scan(Scan { len, index, carry, xs: vec![(x, xs_array)], body, reverse });
        outs.into_iter().for_each(|v| self.keep(v.into()));
    }
}
