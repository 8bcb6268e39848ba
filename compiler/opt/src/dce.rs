//! Dead code.
//!
//! in, out: the same stage
//! keeps:   values to the bit, derivatives, random bits, everything with an effect (samples, factors, reports of the
//!          generative stage; continuations of strategies)
//!
//! ```text
//! x = op; k                       =  k                       x not used in k
//! x, y = if c { a, b } ..; k      =  x = if c { a } ..; k    the same for map, and for a scan's outputs
//! scan { c = c0, .. -> f(c), .. } =  scan { .. }             a carry that only feeds itself, with its slices
//! ```
//!
//! Liveness spreads from the results over a table of definitions, so nested loops cost no more than flat code.

use crate::util::{each_atom, is_pure};
use ppl_core::{Atom, Block, Func, Op, Stage, Stmt, Var};

/// Removes what does not reach the results.
pub fn dce<S: Stage>(f: &mut Func<S>) {
    let mut live = vec![false; f.vars.len()];
    {
        let mut cx = Cx { defs: vec![None; f.vars.len()], live: &mut live, work: Vec::new() };
        cx.define(&f.body);
        cx.effects(&f.body);
        cx.atoms(&f.body.results);
        cx.run();
    }
    sweep(&mut f.body, &live);
}

/// Where a variable comes from.
#[derive(Clone, Copy)]
enum Def<'a, S: Stage> {
    /// Output number of a statement.
    Out(&'a Stmt<S>, usize),
    /// Carry number of a scan.
    Carry(&'a Stmt<S>, usize),
    /// Slice number of a scan.
    Slice(&'a Stmt<S>, usize),
}

struct Cx<'a, 'l, S: Stage> {
    defs: Vec<Option<Def<'a, S>>>,
    live: &'l mut Vec<bool>,
    work: Vec<Var>,
}

impl<'a, S: Stage> Cx<'a, '_, S> {
    fn define(&mut self, block: &'a Block<S>) {
        for stmt in &block.stmts {
            for (i, v) in stmt.outs.iter().enumerate() {
                self.defs[v.index()] = Some(Def::Out(stmt, i));
            }
            match &stmt.op {
                Op::If { then, els, .. } => {
                    self.define(then);
                    self.define(els);
                }
                Op::Map { body, .. } => self.define(body),
                Op::Scan(s) => {
                    for (i, (v, _)) in s.carry.iter().enumerate() {
                        self.defs[v.index()] = Some(Def::Carry(stmt, i));
                    }
                    for (i, (v, _)) in s.xs.iter().enumerate() {
                        self.defs[v.index()] = Some(Def::Slice(stmt, i));
                    }
                    self.define(&s.body);
                }
                _ => {}
            }
        }
    }

    /// Marks what statements with effects need.
    fn effects(&mut self, block: &'a Block<S>) {
        for stmt in block.stmts.iter().filter(|s| !is_pure(&s.op)) {
            match &stmt.op {
                Op::If { cond, then, els } => {
                    self.atom(*cond);
                    self.effects(then);
                    self.effects(els);
                }
                Op::Map { body, .. } => self.effects(body),
                Op::Scan(s) => self.effects(&s.body),
                op => each_atom(op, &mut |a| self.atom(a)),
            }
        }
    }

    fn atom(&mut self, a: Atom) {
        if let Atom::Var(v) = a
            && !std::mem::replace(&mut self.live[v.index()], true)
        {
            self.work.push(v);
        }
    }

    fn atoms(&mut self, atoms: &[Atom]) {
        for a in atoms {
            self.atom(*a);
        }
    }

    fn run(&mut self) {
        while let Some(v) = self.work.pop() {
            match self.defs[v.index()] {
                None => {}
                Some(Def::Out(stmt, i)) => match &stmt.op {
                    Op::If { cond, then, els } => {
                        self.atoms(&[*cond, then.results[i], els.results[i]]);
                    }
                    Op::Map { body, .. } => self.atom(body.results[i]),
                    Op::Scan(s) => {
                        self.atom(s.body.results[i]);
                        if let Some((c, init)) = s.carry.get(i) {
                            self.atoms(&[Atom::Var(*c), *init]);
                        }
                    }
                    op => each_atom(op, &mut |a| self.atom(a)),
                },
                Some(Def::Carry(stmt, i)) => {
                    if let Op::Scan(s) = &stmt.op {
                        self.atoms(&[s.carry[i].1, s.body.results[i]]);
                    }
                }
                Some(Def::Slice(stmt, i)) => {
                    if let Op::Scan(s) = &stmt.op {
                        self.atom(s.xs[i].1);
                    }
                }
            }
        }
    }
}

fn sweep<S: Stage>(block: &mut Block<S>, live: &[bool]) {
    let alive = |v: &Var| live[v.index()];
    block.stmts.retain(|s| s.outs.iter().any(alive) || !is_pure(&s.op) || carries_live(s, live));
    for stmt in &mut block.stmts {
        match &mut stmt.op {
            Op::If { then, els, .. } => {
                let keep: Vec<bool> = stmt.outs.iter().map(alive).collect();
                retain(&mut then.results, &keep);
                retain(&mut els.results, &keep);
                retain(&mut stmt.outs, &keep);
                sweep(then, live);
                sweep(els, live);
            }
            Op::Map { body, .. } => {
                let keep: Vec<bool> = stmt.outs.iter().map(alive).collect();
                retain(&mut body.results, &keep);
                retain(&mut stmt.outs, &keep);
                sweep(body, live);
            }
            Op::Scan(s) => {
                let carried: Vec<bool> =
                    s.carry.iter().zip(&stmt.outs).map(|((c, _), out)| live[c.index()] || live[out.index()]).collect();
                let keep: Vec<bool> =
                    stmt.outs.iter().enumerate().map(|(i, v)| carried.get(i).copied().unwrap_or(live[v.index()])).collect();
                retain(&mut s.carry, &carried);
                retain(&mut s.body.results, &keep);
                retain(&mut stmt.outs, &keep);
                s.xs.retain(|(v, _)| live[v.index()]);
                sweep(&mut s.body, live);
            }
            _ => {}
        }
    }
}

/// Whether a scan has a carry that is read although none of its outputs is.
fn carries_live<S: Stage>(stmt: &Stmt<S>, live: &[bool]) -> bool {
    matches!(&stmt.op, Op::Scan(s) if s.carry.iter().any(|(v, _)| live[v.index()]))
}

fn retain<T>(list: &mut Vec<T>, keep: &[bool]) {
    let mut i = 0;
    list.retain(|_| {
        i += 1;
        keep.get(i - 1).copied().unwrap_or(true)
    });
}
