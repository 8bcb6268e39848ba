//! Branches and loops.

use super::{Emitter, Result};
use crate::CodegenError;
use crate::view::{Base, Loc, View, dense_strides};
use cranelift::prelude::*;
use ppl_core::{Atom, Block as IrBlock, Det, Scan, Stmt};

/// Where a result of a branch or loop ends up.
enum Target {
    Register(Variable),
    Memory(View),
}

impl Emitter<'_, '_> {
    pub(super) fn branch(&mut self, stmt: &Stmt<Det>, cond: Atom, then: &IrBlock<Det>, els: &IrBlock<Det>) -> Result<()> {
        let func = self.st.func;
        let c = self.scalar(cond)?;
        let mut targets = Vec::new();
        for v in &stmt.outs {
            let ty = func.ty(*v);
            targets.push(if ty.is_scalar() {
                Target::Register(self.fb.declare_var(self.scalar_type(ty.dtype)))
            } else {
                Target::Memory(self.alloc_for(*v))
            });
        }
        let (yes, no, join) = (self.fb.create_block(), self.fb.create_block(), self.fb.create_block());
        self.fb.ins().brif(c, yes, &[], no, &[]);
        for (side, block) in [(yes, then), (no, els)] {
            self.fb.switch_to_block(side);
            self.fb.seal_block(side);
            let wanted = wishes(&targets);
            let outer = self.nested(block, &[], &wanted)?;
            self.settle(&block.results, &targets)?;
            self.leave(block, &[], outer);
            self.fb.ins().jump(join, &[]);
        }
        self.fb.switch_to_block(join);
        self.fb.seal_block(join);
        for (v, t) in stmt.outs.iter().zip(targets) {
            match t {
                Target::Register(r) => {
                    let x = self.fb.use_var(r);
                    self.bind(*v, Loc::Scalar(x));
                }
                Target::Memory(view) => self.bind_owned(*v, view),
            }
        }
        Ok(())
    }

    /// Moves a block's results to their targets.
    fn settle(&mut self, results: &[Atom], targets: &[Target]) -> Result<()> {
        // Scalars first: a result may still be read from a register that another one replaces.
        let mut scalars = Vec::new();
        for (r, t) in results.iter().zip(targets) {
            match t {
                Target::Register(var) => scalars.push((*var, self.scalar(*r)?)),
                Target::Memory(view) => self.deliver(&[*r], &[(view.base, view.offset)])?,
            }
        }
        for (var, v) in scalars {
            self.fb.def_var(var, v);
        }
        Ok(())
    }

    pub(super) fn scan(&mut self, stmt: &Stmt<Det>, scan: &Scan<Det>) -> Result<()> {
        let func = self.st.func;
        let carries = scan.carry.len();
        let (carry_outs, stack_outs) = stmt
            .outs
            .split_at_checked(carries)
            .ok_or_else(|| CodegenError::internal("a loop has fewer outputs than carried values"))?;
        if scan.len == 0 {
            for (out, (_, init)) in carry_outs.iter().zip(&scan.carry) {
                let loc = self.loc(*init)?;
                self.bind(*out, loc);
            }
            for out in stack_outs {
                let view = self.alloc_for(*out);
                self.bind_owned(*out, view);
            }
            return Ok(());
        }
        // Carried scalars live in registers; arrays in two buffers that take turns, after the first value is read in place.
        let mut carried: Vec<Carry> = Vec::new();
        for (v, init) in &scan.carry {
            let ty = func.ty(*v);
            if ty.is_scalar() {
                let var = self.fb.declare_var(self.scalar_type(ty.dtype));
                let x = self.scalar(*init)?;
                self.fb.def_var(var, x);
                carried.push(Carry::Register(var));
                continue;
            }
            let (first, temp) = self.dense(*init)?;
            let (a, b) = (self.alloc(ty.dtype, &ty.shape), self.alloc(ty.dtype, &ty.shape));
            let vars = [first.clone(), a.clone(), b.clone()].map(|view| (self.fb.declare_var(types::I64), view));
            for (var, view) in &vars {
                let p = self.pointer(view)?;
                self.fb.def_var(*var, p);
            }
            let [(current, _), (next, _), (spare, _)] = vars;
            carried.push(Carry::Memory { current, next, spare, buffers: Box::new([a, b]), temp: temp.map(Box::new) });
        }
        // Sliced arrays.
        let mut slices: Vec<(Loc, Option<Value>)> = Vec::new();
        for (_, x) in &scan.xs {
            let loc = self.loc(*x)?;
            let p = match &loc {
                Loc::View(v) => Some(self.base(v.base)?),
                _ => None,
            };
            slices.push((loc, p));
        }
        let mut stacks: Vec<(View, Value)> = Vec::new();
        for out in stack_outs {
            let view = self.alloc_for(*out);
            let p = self.pointer(&view)?;
            stacks.push((view, p));
        }
        let bound: Vec<_> = std::iter::once(scan.index).chain(scan.carry.iter().chain(&scan.xs).map(|(v, _)| *v)).collect();
        self.repeat(scan.len as i64, 1, &mut |e, count| {
            let index = if scan.reverse {
                let top = e.iconst(scan.len as i64 - 1);
                e.fb.ins().isub(top, count)
            } else {
                count
            };
            e.bind(scan.index, Loc::Scalar(index));
            let mut targets: Vec<Target> = Vec::new();
            for ((v, _), c) in scan.carry.iter().zip(&carried) {
                match c {
                    Carry::Register(var) => {
                        let x = e.fb.use_var(*var);
                        e.bind(*v, Loc::Scalar(x));
                        targets.push(Target::Register(*var));
                    }
                    Carry::Memory { current, next, .. } => {
                        let (p, q) = (e.fb.use_var(*current), e.fb.use_var(*next));
                        let strides = dense_strides(&func.ty(*v).shape);
                        let (now, then) = (e.at(p, strides.clone()), e.at(q, strides));
                        e.bind(*v, Loc::View(now));
                        targets.push(Target::Memory(then));
                    }
                }
            }
            for ((v, _), (loc, p)) in scan.xs.iter().zip(&slices) {
                let ty = func.ty(*v);
                let size = e.st.size(ty.dtype);
                let slice = match (loc, p) {
                    (Loc::View(view), Some(p)) => {
                        let stride = e.iconst(view.strides[0] * size);
                        let off = e.fb.ins().imul(index, stride);
                        let p = e.fb.ins().iadd(*p, off);
                        if ty.is_scalar() {
                            Loc::Scalar(e.load(ty.dtype, p, view.offset))
                        } else {
                            let base = e.dynamic(p);
                            Loc::View(View { base, offset: view.offset, strides: view.strides[1..].to_vec(), owners: Vec::new() })
                        }
                    }
                    (Loc::Scalar(x) | Loc::Splat(x), _) if ty.is_scalar() => Loc::Scalar(*x),
                    (other, _) => other.clone(),
                };
                e.bind(*v, slice);
            }
            // Stacked scalars are stored, arrays computed in place.
            let mut stacked_scalars: Vec<(Value, Atom)> = Vec::new();
            let mut wanted = wishes(&targets);
            let stacked = scan.body.results.get(carries..).unwrap_or_default();
            let mut stack_targets: Vec<(Atom, (Base, i64))> = Vec::new();
            for (r, (_, p)) in stacked.iter().zip(&stacks) {
                let ty = func.atom_ty(*r);
                let bytes = e.iconst(ty.numel() as i64 * e.st.size(ty.dtype));
                let off = e.fb.ins().imul(index, bytes);
                let at = e.fb.ins().iadd(*p, off);
                if ty.is_scalar() {
                    stacked_scalars.push((at, *r));
                    wanted.push((Base::Workspace, -1));
                } else {
                    let base = e.dynamic(at);
                    wanted.push((base, 0));
                    stack_targets.push((*r, (base, 0)));
                }
            }
            let outer = e.nested(&scan.body, &bound, &wanted)?;
            for (at, r) in stacked_scalars {
                let v = e.scalar(r)?;
                e.store(v, at, 0);
            }
            for (r, to) in stack_targets {
                e.deliver(&[r], &[to])?;
            }
            e.settle(&scan.body.results, &targets)?;
            e.leave(&scan.body, &bound, outer);
            for c in &carried {
                if let Carry::Memory { current, next, spare, .. } = c {
                    let (n, s) = (e.fb.use_var(*next), e.fb.use_var(*spare));
                    e.fb.def_var(*current, n);
                    e.fb.def_var(*next, s);
                    e.fb.def_var(*spare, n);
                }
            }
            Ok(())
        })?;
        for (out, c) in carry_outs.iter().zip(carried) {
            match c {
                Carry::Register(var) => {
                    let x = self.fb.use_var(var);
                    self.bind(*out, Loc::Scalar(x));
                }
                Carry::Memory { current, buffers, temp, .. } => {
                    let [a, b] = &*buffers;
                    let p = self.fb.use_var(current);
                    let base = self.dynamic(p);
                    // The last value is in one of the two; both stay allocated with it.
                    let owners = a.owners.iter().chain(&b.owners).copied().collect();
                    let shape = &func.ty(*out).shape;
                    self.bind_owned(*out, View::dense(base, 0, shape, owners));
                    if let Some(t) = temp {
                        self.free(*t);
                    }
                }
            }
        }
        for (out, (view, _)) in stack_outs.iter().zip(stacks) {
            self.bind_owned(*out, view);
        }
        Ok(())
    }
}

/// A value carried from one iteration to the next.
enum Carry {
    Register(Variable),
    Memory { current: Variable, next: Variable, spare: Variable, buffers: Box<[View; 2]>, temp: Option<Box<View>> },
}

/// The places at which array results are wanted; scalars get a place that no array has.
fn wishes(targets: &[Target]) -> Vec<(Base, i64)> {
    targets
        .iter()
        .map(|t| match t {
            Target::Register(_) => (Base::Workspace, -1),
            Target::Memory(v) => (v.base, v.offset),
        })
        .collect()
}
