//! Batching: every map becomes arrays with one more leading axis.
//!
//! in:    `Det`, verified
//! out:   `Det` without `map`, loops over slices where they read rows by their index; the same results from the same random numbers
//! keeps: spans, names, statements that no iteration changes (they leave the loop as they are)
//!
//! Inner maps go first. For a map of `n` iterations over `i` write `x~` for the array of all iterations' `x`, of shape
//! `[n, shape of x]`, and `x` unmarked for a value that is the same in all of them (a variable without `~` stays as it is):
//!
//! ```text
//!   B[ map i < n { k; ret r } ]  =  i~ = iota n;  B[k];  r~
//!   B[ y = op(x..) ]             =  y = op(x..)                                    no operand has a ~
//!   B[ y = prim(x..) ]           =  y~ = prim(x~..)                                scalars stay, arrays are broadcast
//!   B[ y = op(x) along axis a ]  =  y~ = op(x~) along axis a + 1                   reduce, cumsum, slice, pad, ...
//!   B[ y = dot(x, w) ]           =  dot(x~, w~) with batch pair (0, 0);  dot(x~, w) with the axis of i free, moved to the front
//!   B[ y = gather(w, i + c) ]    =  y~ = slice(w, c, n)
//!   B[ y = gather(x, j) ]        =  gather(x, j~);  gather(x~, j~) with one more common axis
//!   B[ if c  { s } { t } ]       =  if c { B[s] } { B[t] }
//!   B[ if c~ { s } { t } ]       =  B[s] with v := guard(c~, v);  B[t] with v := guard(not c~, v);  select(c~, s~, t~)
//!   B[ scan { k } ]              =  scan { B[k] }                                  carries that vary are batched, by fix-point
//!   scan                         =  map, where the carries are known beforehand ([`plates`])
//!   scan i { k }                 =  h;  scan i, row in x[c..] { k' }               first: h does not depend on the loop,
//!                                                                                gather(x, i + c) of an outer x is row
//!   B[ random lanes (.., i) [s] ] =  random lanes (..) [n, s]
//!   B[ random, call, otherwise ] =  a scan over the iterations
//! ```
//!
//! `v` ranges over the real variables that a branch captures. A captured value that is the same in all iterations is
//! guarded by "some iteration takes the branch" (of all maps around), and again, iteration by iteration, where it meets a batched value: so
//! an iteration that does not take a branch contributes exactly zero to every derivative, and shared operands of
//! contractions are not repeated.

mod control;
mod lanes;
mod loops;
mod ops;
mod plates;
mod spread;

use ppl_core::{Atom, Block, Builder, Det, Func, Op, Stmt, Var, map_atoms, op_blocks_mut};
use std::collections::HashMap;

/// Name of the pass.
pub const NAME: &str = "batch";

/// The function without [`Op::Map`]: iterations become leading array axes.
pub fn batch(mut func: Func<Det>) -> Func<Det> {
    let body = std::mem::take(&mut func.body);
    let mut pass = Batch { b: Builder::over(func), replaced: HashMap::new() };
    let results = pass.block(body);
    let (mut func, stmts) = pass.b.into_parts();
    func.body = Block { stmts, results };
    func
}

struct Batch {
    b: Builder<Det>,
    /// Outputs of former maps.
    replaced: HashMap<Var, Atom>,
}

impl Batch {
    /// Emits the statements into the open block; returns the results.
    fn block(&mut self, block: Block<Det>) -> Vec<Atom> {
        for stmt in block.stmts {
            self.stmt(stmt);
        }
        block.results.into_iter().map(|a| self.atom(a)).collect()
    }

    fn nested(&mut self, block: Block<Det>) -> Block<Det> {
        self.b.begin();
        let results = self.block(block);
        self.b.end(results)
    }

    fn stmt(&mut self, mut stmt: Stmt<Det>) {
        if let Some(stmts) = plates::scan(&mut self.b, &stmt) {
            return stmts.into_iter().for_each(|s| self.stmt(s));
        }
        map_atoms(&mut stmt.op, &mut |a| self.atom(a));
        for block in op_blocks_mut(&mut stmt.op) {
            let inner = std::mem::take(block);
            *block = self.nested(inner);
        }
        if let Op::Map { len, index, body } = &stmt.op {
            self.b.span = stmt.span;
            let results = lanes::run(&mut self.b, *len, *index, body);
            self.replaced.extend(stmt.outs.iter().copied().zip(results));
        } else {
            if let Op::Scan(scan) = &mut stmt.op {
                self.b.span = stmt.span;
                loops::tidy(&mut self.b, scan);
            }
            self.b.push(stmt);
        }
    }

    fn atom(&self, a: Atom) -> Atom {
        a.var().and_then(|v| self.replaced.get(&v).copied()).unwrap_or(a)
    }
}
