//! Adjoints of branches and loops.

use super::VjpError;
use super::activity::reached;
use super::copy::prune;
use super::reverse::{Cotangents, Reverse};
use ppl_core::{Atom, Block, Det, Op, Scan, Stmt, Ty, Var, free_vars};
use std::collections::{HashMap, HashSet};

impl Reverse {
    pub(super) fn if_(&mut self, stmt: &Stmt<Det>, cts: &mut Cotangents) -> Result<(), VjpError> {
        let Op::If { cond, then, els } = &stmt.op else { return Ok(()) };
        let outs: Vec<Option<Atom>> = stmt.outs.iter().map(|v| cts.remove(v)).collect();
        if outs.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut captured: Vec<Var> = Vec::new();
        for block in [then, els] {
            let roots: Vec<Atom> = block.results.iter().zip(&outs).filter(|(_, ct)| ct.is_some()).map(|(r, _)| *r).collect();
            let set = reached(block, &roots, &self.active);
            captured.extend(free_vars(block).into_iter().filter(|v| set.contains(v)));
        }
        let mut seen = HashSet::new();
        captured.retain(|v| seen.insert(*v));
        let then = self.branch(then, &outs, &captured)?;
        let els = self.branch(els, &outs, &captured)?;
        self.b.span = stmt.span;
        let results = self.b.if_(*cond, then, els);
        for (v, ct) in captured.iter().zip(results) {
            self.accumulate(cts, Atom::Var(*v), Atom::Var(ct));
        }
        Ok(())
    }

    /// The branch run again and then backwards: cotangents of `captured`.
    fn branch(&mut self, block: &Block<Det>, outs: &[Option<Atom>], captured: &[Var]) -> Result<Block<Det>, VjpError> {
        let mut again = self.copy_block(block, &mut HashMap::new());
        let mut inner = Cotangents::new();
        self.b.begin();
        for (r, ct) in again.results.iter().zip(outs) {
            if let Some(ct) = ct {
                self.accumulate(&mut inner, *r, *ct);
            }
        }
        self.block(&mut again.stmts, &mut inner)?;
        let results = captured.iter().map(|v| inner.get(v).copied().unwrap_or_else(|| self.zeros(*v))).collect();
        let back = self.b.end(results);
        again.stmts.extend(back.stmts);
        again.results = back.results;
        prune(&mut again);
        Ok(again)
    }

    pub(super) fn scan(&mut self, stmt: &mut Stmt<Det>, cts: &mut Cotangents) -> Result<(), VjpError> {
        let outs: Vec<Option<Atom>> = stmt.outs.iter().map(|v| cts.remove(v)).collect();
        if outs.iter().all(Option::is_none) {
            return Ok(());
        }
        let Op::Scan(scan) = &stmt.op else { return Ok(()) };
        let flow = self.flow(scan, &outs);
        let mut map = HashMap::new();
        let index = self.copy_var(scan.index, &mut map);
        let saved: Vec<Var> = scan.carry.iter().map(|(v, _)| self.copy_var(*v, &mut map)).collect();
        let slices: Vec<Var> = scan.xs.iter().map(|(v, _)| self.copy_var(*v, &mut map)).collect();
        let mut again = self.copy_block(&scan.body, &mut map);

        // Carried backwards: cotangents of the carries, then sums for what the body captures.
        let mut carry = Vec::new();
        let mut xs = Vec::new();
        let mut inner = Cotangents::new();
        let mut sums = Vec::new();
        for i in &flow.carries {
            let v = scan.carry[*i].0;
            let init = match outs[*i] {
                Some(ct) => ct,
                None => self.zeros(v),
            };
            carry.push((self.fresh_like(v), init));
        }
        for v in &flow.captured {
            let sum = self.fresh_like(*v);
            sums.push(sum);
            carry.push((sum, self.zeros(*v)));
        }
        self.b.begin();
        for (i, (ct, _)) in flow.carries.iter().zip(&carry) {
            self.accumulate(&mut inner, again.results[*i], Atom::Var(*ct));
        }
        for (j, stack) in outs.iter().enumerate().skip(scan.carry.len()) {
            if let Some(stack) = stack {
                let ty = self.b.ty(again.results[j]);
                let ct = self.b.fresh("ct", ty);
                xs.push((ct, *stack));
                self.accumulate(&mut inner, again.results[j], Atom::Var(ct));
            }
        }
        self.block(&mut again.stmts, &mut inner)?;
        let mut results: Vec<Atom> = Vec::new();
        for i in &flow.carries {
            let ct = inner.get(&saved[*i]).copied();
            results.push(ct.unwrap_or_else(|| self.zeros(saved[*i])));
        }
        for (v, sum) in flow.captured.iter().zip(&sums) {
            results.push(match inner.get(v) {
                Some(ct) => self.b.add(Atom::Var(*sum), *ct),
                None => Atom::Var(*sum),
            });
        }
        for j in &flow.xs {
            let ct = inner.get(&slices[*j]).copied();
            results.push(ct.unwrap_or_else(|| self.zeros(slices[*j])));
        }
        let back = self.b.end(results);
        again.stmts.extend(back.stmts);
        again.results = back.results;
        prune(&mut again);

        // What recomputing reads: slices of the same arrays, and carries, which the forward loop now stacks.
        let used: HashSet<Var> = free_vars(&again).into_iter().collect();
        xs.extend(slices.iter().zip(&scan.xs).filter(|(v, _)| used.contains(v)).map(|(v, (_, array))| (*v, *array)));
        let (len, reverse) = (scan.len, !scan.reverse);
        let needed: Vec<(Var, Var)> =
            saved.iter().zip(&scan.carry).filter(|(v, _)| used.contains(v)).map(|(v, (c, _))| (*v, *c)).collect();
        let inits: Vec<Atom> = flow.carries.iter().map(|i| scan.carry[*i].1).collect();
        let arrays: Vec<Atom> = flow.xs.iter().map(|j| scan.xs[*j].1).collect();
        for (copy, original) in needed {
            let stack = self.stack_carry(stmt, original, len);
            xs.push((copy, Atom::Var(stack)));
        }

        self.b.span = stmt.span;
        let results = self.b.scan(Scan { len, index, carry, xs, body: again, reverse });
        let targets = inits.into_iter().chain(flow.captured.into_iter().map(Atom::Var)).chain(arrays);
        for (x, ct) in targets.zip(results) {
            self.accumulate(cts, x, Atom::Var(ct));
        }
        Ok(())
    }

    /// Makes a loop stack the value that carry `v` has at the start of each iteration.
    fn stack_carry(&mut self, stmt: &mut Stmt<Det>, v: Var, len: usize) -> Var {
        let info = self.b.func.vars[v.index()].clone();
        let stack = self.b.fresh(&info.name, info.ty.lifted(&[len]));
        if let Op::Scan(scan) = &mut stmt.op {
            scan.body.results.push(Atom::Var(v));
        }
        stmt.outs.push(stack);
        stack
    }

    fn fresh_like(&mut self, v: Var) -> Var {
        let ty: Ty = self.b.func.ty(v).clone();
        self.b.fresh("ct", ty)
    }

    /// Through which carries, slices and captured variables cotangents of the outputs flow, by fix-point.
    fn flow(&self, scan: &Scan<Det>, outs: &[Option<Atom>]) -> Flow {
        let mut on: Vec<bool> = outs.iter().map(Option::is_some).collect();
        loop {
            let roots: Vec<Atom> = scan.body.results.iter().zip(&on).filter(|(_, on)| **on).map(|(r, _)| *r).collect();
            let set = reached(&scan.body, &roots, &self.active);
            let mut changed = false;
            for (i, (v, _)) in scan.carry.iter().enumerate() {
                if set.contains(v) && !on[i] {
                    on[i] = true;
                    changed = true;
                }
            }
            if changed {
                continue;
            }
            let header: HashSet<Var> = scan.carry.iter().chain(&scan.xs).map(|(v, _)| *v).collect();
            return Flow {
                carries: (0..scan.carry.len()).filter(|i| on[*i]).collect(),
                captured: free_vars(&scan.body).into_iter().filter(|v| set.contains(v) && !header.contains(v)).collect(),
                xs: (0..scan.xs.len()).filter(|j| set.contains(&scan.xs[*j].0)).collect(),
            };
        }
    }
}

struct Flow {
    carries: Vec<usize>,
    captured: Vec<Var>,
    xs: Vec<usize>,
}
