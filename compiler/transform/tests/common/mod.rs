//! A small evaluator of `Det` over `f64`: every map runs its iterations one after the other.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod generate;
pub mod prims;
mod structure;

use ppl_core::{Atom, Block, Det, DetRandom, Func, Lit, Op, RngKind, Var};
use std::collections::HashMap;

/// An array; integers and truth values are stored as reals.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Value {
    pub fn new(shape: &[usize], data: Vec<f64>) -> Value {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Value { shape: shape.to_vec(), data }
    }

    pub fn scalar(x: f64) -> Value {
        Value { shape: vec![], data: vec![x] }
    }

    pub fn item(&self) -> f64 {
        assert_eq!(self.data.len(), 1);
        self.data[0]
    }
}

/// Runs a function.
pub fn run(f: &Func<Det>, args: &[Value]) -> Vec<Value> {
    assert_eq!(f.params.len(), args.len(), "arguments of {}", f.name);
    let mut e = Eval { f, env: HashMap::new() };
    for (v, x) in f.params.iter().zip(args) {
        assert_eq!(f.ty(*v).shape, x.shape);
        e.env.insert(*v, x.clone());
    }
    e.block(&f.body)
}

struct Eval<'a> {
    f: &'a Func<Det>,
    env: HashMap<Var, Value>,
}

/// Stacks equally shaped values; `shape` is theirs, for when there are none.
fn stack(parts: &[Value], shape: &[usize]) -> Value {
    let full = [&[parts.len()], shape].concat();
    Value::new(&full, parts.iter().flat_map(|p| p.data.clone()).collect())
}

fn row(x: &Value, i: usize) -> Value {
    let shape = x.shape[1..].to_vec();
    let n: usize = shape.iter().product();
    Value { data: x.data[i * n..(i + 1) * n].to_vec(), shape }
}

impl Eval<'_> {
    fn atom(&self, a: Atom) -> Value {
        match a {
            Atom::Var(v) => match self.env.get(&v) {
                Some(x) => x.clone(),
                None => panic!("variable {v} ({}) is not defined in {}", self.f.vars[v.index()].name, self.f.name),
            },
            Atom::Lit(Lit::Float(x)) => Value::scalar(x),
            Atom::Lit(Lit::Int(x)) => Value::scalar(x as f64),
            Atom::Lit(Lit::Bool(x)) => Value::scalar(f64::from(u8::from(x))),
        }
    }

    fn set(&mut self, v: Var, x: Value) {
        assert_eq!(self.f.ty(v).shape, x.shape, "shape of {v} ({}) in {}", self.f.vars[v.index()].name, self.f.name);
        self.env.insert(v, x);
    }

    fn block(&mut self, b: &Block<Det>) -> Vec<Value> {
        for s in &b.stmts {
            let outs = self.op(&s.op, &s.outs);
            assert_eq!(outs.len(), s.outs.len());
            for (v, x) in s.outs.iter().zip(outs) {
                self.set(*v, x);
            }
        }
        b.results.iter().map(|a| self.atom(*a)).collect()
    }

    fn op(&mut self, op: &Op<Det>, outs: &[Var]) -> Vec<Value> {
        match op {
            Op::If { cond, then, els } => {
                let block = if self.atom(*cond).item() != 0.0 { then } else { els };
                self.block(block)
            }
            Op::Map { len, index, body } => {
                let rows: Vec<Vec<Value>> = (0..*len)
                    .map(|i| {
                        self.set(*index, Value::scalar(i as f64));
                        self.block(body)
                    })
                    .collect();
                self.stacks(&rows, outs, 0)
            }
            Op::Scan(s) => {
                let mut carry: Vec<Value> = s.carry.iter().map(|(_, a)| self.atom(*a)).collect();
                let arrays: Vec<Value> = s.xs.iter().map(|(_, a)| self.atom(*a)).collect();
                let mut rows = Vec::new();
                let order: Vec<usize> = if s.reverse { (0..s.len).rev().collect() } else { (0..s.len).collect() };
                for i in order {
                    self.set(s.index, Value::scalar(i as f64));
                    for ((v, _), c) in s.carry.iter().zip(&carry) {
                        self.set(*v, c.clone());
                    }
                    for ((v, _), x) in s.xs.iter().zip(&arrays) {
                        assert_eq!(x.shape[0], s.len);
                        self.set(*v, row(x, i));
                    }
                    let mut results = self.block(&s.body);
                    let ys = results.split_off(carry.len());
                    carry = results;
                    rows.push(ys);
                }
                if s.reverse {
                    rows.reverse();
                }
                let stacks = self.stacks(&rows, outs, carry.len());
                carry.into_iter().chain(stacks).collect()
            }
            Op::Prim(p, args) => {
                let values: Vec<Value> = args.iter().map(|a| self.atom(*a)).collect();
                let shape = self.f.ty(outs[0]).shape.clone();
                for (a, v) in args.iter().zip(&values) {
                    assert!(v.shape.is_empty() || v.shape == shape, "operand {a:?} of {} in {}", p.name(), self.f.name);
                }
                let n = shape.iter().product();
                let data = (0..n)
                    .map(|e| {
                        let x: Vec<f64> = values.iter().map(|v| v.data[if v.shape.is_empty() { 0 } else { e }]).collect();
                        prims::eval(*p, &x)
                    })
                    .collect();
                vec![Value { shape, data }]
            }
            Op::Random(r) => vec![self.random(r)],
            Op::Call { .. } => panic!("calls are not evaluated here"),
            other => {
                let values: Vec<Value> = ppl_core::op_atoms(other).into_iter().map(|a| self.atom(a)).collect();
                vec![structure::eval(other, &values)]
            }
        }
    }

    fn stacks(&self, rows: &[Vec<Value>], outs: &[Var], skip: usize) -> Vec<Value> {
        (skip..outs.len())
            .map(|j| {
                let parts: Vec<Value> = rows.iter().map(|r| r[j - skip].clone()).collect();
                stack(&parts, &self.f.ty(outs[j]).shape[1..])
            })
            .collect()
    }

    /// Any fixed function of key, element number and arguments will do: here it is not even the right distribution.
    fn random(&self, r: &DetRandom) -> Value {
        let linear = |list: &[(Atom, usize)]| list.iter().fold(0, |n, (a, len)| n * len + self.atom(*a).item() as usize);
        let (lane, time) = (linear(&r.lanes), linear(&r.times));
        let n: usize = r.shape.iter().product();
        let args: Vec<Value> = r.args.iter().map(|a| self.atom(*a)).collect();
        let data = (0..n)
            .map(|e| {
                let u = uniform(r.site, time as u64, (lane * n + e) as u64);
                let arg = |i: usize| {
                    let a = &args[i];
                    assert!(a.shape.is_empty() || a.shape == r.shape);
                    a.data[if a.shape.is_empty() { 0 } else { e }]
                };
                match r.kind {
                    RngKind::Uniform => u,
                    RngKind::Normal => prims::normal_quantile(u),
                    RngKind::Gamma => arg(0) * (0.5 + u),
                    RngKind::Poisson => (arg(0) * 2.0 * u).floor(),
                    RngKind::Binomial => (arg(0) * arg(1).min(1.0) * u).round(),
                    RngKind::Categorical => {
                        let k = *args[0].shape.last().expect("probabilities have an axis");
                        assert!(args[0].shape.len() == 1 || args[0].shape[..args[0].shape.len() - 1] == r.shape);
                        let start = if args[0].shape.len() == 1 { 0 } else { e * k };
                        let p = &args[0].data[start..start + k];
                        let mut left = u * p.iter().sum::<f64>();
                        let mut found = 0;
                        for (i, w) in p.iter().enumerate() {
                            found = i;
                            left -= w;
                            if left < 0.0 {
                                break;
                            }
                        }
                        found as f64
                    }
                }
            })
            .collect();
        Value { shape: r.shape.clone(), data }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub fn uniform(a: u64, b: u64, c: u64) -> f64 {
    let h =
        mix(mix(mix(a.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_add(b)).wrapping_add(c.wrapping_mul(0x1234_5678_9abc_def1)));
    ((h >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A fixed stream of pseudo-random numbers.
pub struct Stream(pub u64, pub u64);

impl Stream {
    pub fn unit(&mut self) -> f64 {
        self.1 += 1;
        uniform(self.0, 17, self.1)
    }

    pub fn real(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    pub fn value(&mut self, shape: &[usize], lo: f64, hi: f64) -> Value {
        let n = shape.iter().product();
        Value::new(shape, (0..n).map(|_| self.real(lo, hi)).collect())
    }
}

pub fn close(a: f64, b: f64, tol: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tol * (1.0 + a.abs().max(b.abs()))
}

pub fn assert_close(what: &str, a: &Value, b: &Value, tol: f64) {
    assert_eq!(a.shape, b.shape, "{what}: shapes");
    for (i, (x, y)) in a.data.iter().zip(&b.data).enumerate() {
        assert!(close(*x, *y, tol), "{what}: element {i}: {x} and {y}\n{:?}\n{:?}", a.data, b.data);
    }
}
