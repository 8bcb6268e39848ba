//! Indexing and rearranging: gather, scatter-add, padding, concatenation, running sums, argmax.

use super::{Emitter, Result};
use crate::CodegenError;
use crate::view::{Loc, View, dense_strides};
use cranelift::prelude::*;
use ppl_abi::Kernel;
use ppl_core::{Atom, DType, Prim, Var};

/// Rows of at least this many reals are gathered by a kernel.
const LONG_ROW: usize = 8;

impl Emitter<'_, '_> {
    /// `min(max(i, 0), n - 1)`.
    fn clamp(&mut self, i: Value, n: usize) -> Value {
        let (zero, top) = (self.iconst(0), self.iconst(n as i64 - 1));
        let i = self.fb.ins().smax(i, zero);
        self.fb.ins().smin(i, top)
    }

    /// `base + i * bytes`.
    fn offset_by(&mut self, base: Value, i: Value, bytes: i64) -> Value {
        let k = self.iconst(bytes);
        let off = self.fb.ins().imul(i, k);
        self.fb.ins().iadd(base, off)
    }

    /// Rows of a parameter of single bytes, as ints.
    fn gather_bytes(&mut self, out: Var, x: Atom, idx: Atom, shape: &[usize]) -> Result<()> {
        let Loc::View(xv) = self.loc(x)? else { return Err(CodegenError::internal("an array without memory")) };
        let (n, len) = (shape[0], shape[1..].iter().product::<usize>());
        let rows = self.st.func.atom_ty(idx).numel();
        let dst = self.alloc_for(out);
        if rows * len > 0 {
            let (iv, temp) = self.dense(idx)?;
            // The view counts in words, of which there is one a byte.
            let xp = self.base(xv.base)?;
            let (ip, dp) = (self.pointer(&iv)?, self.pointer(&dst)?);
            self.repeat(rows as i64, 1, &mut |e, k| {
                let at = e.offset_by(ip, k, 8);
                let i = e.load(DType::Int, at, 0);
                let i = e.clamp(i, n);
                let from = e.offset_by(xp, i, len as i64);
                let to = e.offset_by(dp, k, len as i64 * 8);
                e.repeat(len as i64, 1, &mut |e, j| {
                    let at = e.fb.ins().iadd(from, j);
                    let byte = e.load(DType::Bool, at, 0);
                    let word = e.fb.ins().uextend(types::I64, byte);
                    let at = e.offset_by(to, j, 8);
                    e.store(word, at, 0);
                    Ok(())
                })
            })?;
            if let Some(t) = temp {
                self.free(t);
            }
        }
        self.bind_owned(out, dst);
        Ok(())
    }

    pub(super) fn gather(&mut self, out: Var, x: Atom, idx: Atom, batch: usize) -> Result<()> {
        let func = self.st.func;
        let (tx, ti, to) = (func.atom_ty(x), func.atom_ty(idx), func.ty(out).clone());
        let n = tx.shape.get(batch).copied().unwrap_or(0);
        if let Loc::Scalar(v) | Loc::Splat(v) = self.loc(x)?
            && n > 0
        {
            self.bind(out, if to.is_scalar() { Loc::Scalar(v) } else { Loc::Splat(v) });
            return Ok(());
        }
        if n == 0 {
            // Nothing to choose from: zeros, as for what lies outside.
            let zero = self.identity(ppl_core::ReduceOp::Sum, to.dtype);
            self.bind(out, if to.is_scalar() { Loc::Scalar(zero) } else { Loc::Splat(zero) });
            return Ok(());
        }
        if x.var().is_some_and(|v| self.st.narrow.contains(&v)) {
            return self.gather_bytes(out, x, idx, &tx.shape);
        }
        let size = self.st.size(tx.dtype);
        if batch == 0 && ti.is_scalar() {
            let Loc::View(v) = self.loc(x)? else { return Err(CodegenError::internal("an array without memory")) };
            let i = self.scalar(idx)?;
            let i = self.clamp(i, n);
            let start = self.base(v.base)?;
            let p = self.offset_by(start, i, v.strides[0] * size);
            let loc = if to.is_scalar() {
                Loc::Scalar(self.load(tx.dtype, p, v.offset))
            } else {
                let base = self.dynamic(p);
                Loc::View(View { base, offset: v.offset, strides: v.strides[1..].to_vec(), owners: v.owners })
            };
            self.bind(out, loc);
            return Ok(());
        }
        let dst = self.alloc_for(out);
        let row: Vec<usize> = tx.shape[batch + 1..].to_vec();
        let (lanes, per_lane) = (ti.shape[..batch].iter().product::<usize>(), ti.shape[batch..].iter().product::<usize>());
        let len = row.iter().product::<usize>();
        if lanes * per_lane * len > 0 {
            let (xv, t1) = self.dense(x)?;
            let (iv, t2) = self.dense(idx)?;
            let (xp, ip, dp) = (self.pointer(&xv)?, self.pointer(&iv)?, self.pointer(&dst)?);
            let strides = dense_strides(&row);
            if lanes == 1 && tx.dtype == DType::Float && len >= LONG_ROW {
                let sizes = [per_lane, len, n].map(|x| self.iconst(x as i64));
                self.call_kernel(Kernel::GatherRows, &[&[dp, xp, ip], &sizes[..]].concat())?;
                for t in [t1, t2].into_iter().flatten() {
                    self.free(t);
                }
                self.bind_owned(out, dst);
                return Ok(());
            }
            self.repeat(lanes as i64, 1, &mut |e, b| {
                let xb = e.offset_by(xp, b, (n * len) as i64 * size);
                let first = e.iconst(per_lane as i64);
                let first = e.fb.ins().imul(b, first);
                e.repeat(per_lane as i64, 1, &mut |e, k| {
                    let k = e.fb.ins().iadd(first, k);
                    let at = e.offset_by(ip, k, 8);
                    let i = e.load(DType::Int, at, 0);
                    let i = e.clamp(i, n);
                    let from = e.offset_by(xb, i, len as i64 * size);
                    let to = e.offset_by(dp, k, len as i64 * size);
                    let (from, to) = (e.at(from, strides.clone()), e.at(to, strides.clone()));
                    e.copy(&to, &Loc::View(from), tx.dtype, &row)
                })
            })?;
            for t in [t1, t2].into_iter().flatten() {
                self.free(t);
            }
        }
        self.bind_owned(out, dst);
        Ok(())
    }

    pub(super) fn scatter_add(&mut self, out: Var, idx: Atom, updates: Atom, batch: usize, n: usize) -> Result<()> {
        let func = self.st.func;
        let (ti, tu, to) = (func.atom_ty(idx), func.atom_ty(updates), func.ty(out).clone());
        if to.is_scalar() {
            return Err(CodegenError::internal("a scatter into a scalar"));
        }
        let dst = self.alloc_for(out);
        let zero = self.identity(ppl_core::ReduceOp::Sum, to.dtype);
        self.fill(&dst, zero, to.dtype, &to.shape)?;
        let size = self.st.size(to.dtype);
        let (lanes, per_lane) = (ti.shape[..batch].iter().product::<usize>(), ti.shape[batch..].iter().product::<usize>());
        let row: Vec<usize> = to.shape[batch + 1..].to_vec();
        let len = row.iter().product::<usize>();
        if lanes * per_lane * len * n > 0 {
            // Scalar operands are arrays of one element in memory.
            let (uv, t1) = self.dense(updates)?;
            let (iv, t2) = self.dense(idx)?;
            let (up, ip, dp) = (self.pointer(&uv)?, self.pointer(&iv)?, self.pointer(&dst)?);
            let strides = dense_strides(&row);
            self.repeat(lanes as i64, 1, &mut |e, b| {
                let db = e.offset_by(dp, b, (n * len) as i64 * size);
                let first = e.iconst(per_lane as i64);
                let first = e.fb.ins().imul(b, first);
                e.repeat(per_lane as i64, 1, &mut |e, k| {
                    let k = e.fb.ins().iadd(first, k);
                    let at = e.offset_by(ip, k, 8);
                    let i = e.load(DType::Int, at, 0);
                    let i = e.clamp(i, n);
                    let to = e.offset_by(db, i, len as i64 * size);
                    let from = e.offset_by(up, k, len as i64 * size);
                    let (from, to) = (e.at(from, strides.clone()), e.at(to, strides.clone()));
                    e.add_into(&to, &from, tu.dtype, &row)
                })
            })?;
            for t in [t1, t2].into_iter().flatten() {
                self.free(t);
            }
        }
        self.bind_owned(out, dst);
        Ok(())
    }

    /// `to += from`.
    fn add_into(&mut self, to: &View, from: &View, dt: DType, shape: &[usize]) -> Result<()> {
        use super::nest::{Nest, Node};
        let nodes = vec![
            Node::Load(to.clone(), dt),
            Node::Load(from.clone(), dt),
            Node::Op(if dt == DType::Bool { Prim::Or } else { Prim::Add }, vec![0, 1], dt, dt),
        ];
        self.nest(Nest { shape: shape.to_vec(), nodes, stores: vec![(2, to.clone())], in_place: true, ..Nest::default() })?;
        Ok(())
    }

    pub(super) fn pad(&mut self, out: Var, x: Atom, axis: usize, before: usize, after: usize) -> Result<()> {
        let func = self.st.func;
        let (tx, to) = (func.atom_ty(x), func.ty(out).clone());
        let loc = self.loc(x)?;
        let dst = self.alloc_for(out);
        let zero = self.identity(ppl_core::ReduceOp::Sum, to.dtype);
        let n = tx.shape.get(axis).copied().unwrap_or(1);
        for (start, len, from) in [(0, before, Loc::Scalar(zero)), (before, n, loc), (before + n, after, Loc::Scalar(zero))] {
            self.copy_part(&dst, &to.shape, axis, start, len, &from, to.dtype)?;
        }
        self.bind_owned(out, dst);
        Ok(())
    }

    pub(super) fn concat(&mut self, out: Var, xs: &[Atom], axis: usize) -> Result<()> {
        let func = self.st.func;
        let to = func.ty(out).clone();
        let dst = self.alloc_for(out);
        let mut start = 0;
        for x in xs {
            let len = func.atom_ty(*x).shape.get(axis).copied().unwrap_or(1);
            let from = self.loc(*x)?;
            self.copy_part(&dst, &to.shape, axis, start, len, &from, to.dtype)?;
            start += len;
        }
        self.bind_owned(out, dst);
        Ok(())
    }

    /// Copies `from` to the elements `start..start + len` of `dst` along `axis`.
    #[expect(clippy::too_many_arguments, reason = "private, and each is a plain part of the position")]
    fn copy_part(
        &mut self,
        dst: &View,
        shape: &[usize],
        axis: usize,
        start: usize,
        len: usize,
        from: &Loc,
        dt: DType,
    ) -> Result<()> {
        let mut part = dst.clone();
        part.offset += part.strides[axis] * start as i64 * self.st.size(dt);
        let mut shape = shape.to_vec();
        shape[axis] = len;
        self.copy(&part, from, dt, &shape)
    }

    pub(super) fn cumsum(&mut self, out: Var, x: Atom, axis: usize, reverse: bool) -> Result<()> {
        let ty = self.st.func.ty(out).clone();
        let loc = self.loc(x)?;
        let dst = self.alloc_for(out);
        // The first row is copied; every other row is the one before it plus the operand's.
        let n = ty.shape.get(axis).copied().unwrap_or(0);
        if ty.numel() > 0 {
            let size = self.st.size(ty.dtype);
            let mut shape = ty.shape.clone();
            shape[axis] = 1;
            let first = if reverse { n as i64 - 1 } else { 0 };
            let row = |v: &View, i: i64| View { offset: v.offset + v.strides[axis] * i * size, ..v.clone() };
            let operand = |i: i64| match &loc {
                Loc::View(v) => Loc::View(row(v, i)),
                other => other.clone(),
            };
            self.copy(&row(&dst, first), &operand(first), ty.dtype, &shape)?;
            if n > 1 {
                let down = if reverse { -1 } else { 1 };
                let before = row(&dst, first);
                let (dp, xp) = (
                    self.base(dst.base)?,
                    match &loc {
                        Loc::View(v) => Some(self.base(v.base)?),
                        _ => None,
                    },
                );
                self.repeat(n as i64 - 1, 1, &mut |e, i| {
                    let p = e.offset_by(dp, i, dst.strides[axis] * size * down);
                    let base = e.dynamic(p);
                    let old = View { base, ..before.clone() };
                    let new = View { offset: old.offset + dst.strides[axis] * size * down, ..old.clone() };
                    let x = match (operand(first + down), xp) {
                        (Loc::View(v), Some(xp)) => {
                            let p = e.offset_by(xp, i, v.strides[axis] * size * down);
                            Loc::View(View { base: e.dynamic(p), ..v })
                        }
                        (other, _) => other,
                    };
                    e.add_rows(&new, &old, &x, ty.dtype, &shape)
                })?;
            }
        }
        self.bind_owned(out, dst);
        Ok(())
    }

    /// `to = a + x`.
    fn add_rows(&mut self, to: &View, a: &View, x: &Loc, dt: DType, shape: &[usize]) -> Result<()> {
        use super::nest::{Nest, Node};
        let x = match x {
            Loc::Scalar(v) | Loc::Splat(v) => Node::Scalar(*v, dt),
            Loc::View(v) => Node::Load(v.clone(), dt),
            Loc::Saved { .. } | Loc::Given(_) => return Err(CodegenError::internal("a saved scalar was not restored")),
        };
        let nodes = vec![Node::Load(a.clone(), dt), x, Node::Op(Prim::Add, vec![0, 1], dt, dt)];
        self.nest(Nest { shape: shape.to_vec(), nodes, stores: vec![(2, to.clone())], ..Nest::default() })?;
        Ok(())
    }

    pub(super) fn argmax(&mut self, out: Var, x: Atom, axis: usize) -> Result<()> {
        let func = self.st.func;
        let (tx, to) = (func.atom_ty(x), func.ty(out).clone());
        let n = tx.shape.get(axis).copied().unwrap_or(0);
        let dst = self.alloc(DType::Int, &to.shape);
        if to.numel() > 0 {
            let zero = self.iconst(0);
            self.fill(&dst, zero, DType::Int, &to.shape)?;
        }
        if to.numel() > 0 && n > 1 {
            let size = self.st.size(tx.dtype);
            let (xv, temp) = self.dense(x)?;
            let (xp, dp) = (self.pointer(&xv)?, self.pointer(&dst)?);
            let inner: usize = tx.shape[axis + 1..].iter().product();
            let outer: usize = tx.shape[..axis].iter().product();
            let (best_var, at_var) = (self.fb.declare_var(self.scalar_type(tx.dtype)), self.fb.declare_var(types::I64));
            self.repeat(outer as i64, 1, &mut |e, o| {
                let xo = e.offset_by(xp, o, (n * inner) as i64 * size);
                let d = e.offset_by(dp, o, inner as i64 * 8);
                e.repeat(inner as i64, 1, &mut |e, r| {
                    let xr = e.offset_by(xo, r, size);
                    let first = e.load(tx.dtype, xr, 0);
                    let zero = e.iconst(0);
                    e.fb.def_var(best_var, first);
                    e.fb.def_var(at_var, zero);
                    e.repeat(n as i64 - 1, 1, &mut |e, i| {
                        let p = e.offset_by(xr, i, inner as i64 * size);
                        let x = e.load(tx.dtype, p, inner as i64 * size);
                        let (best, at) = (e.fb.use_var(best_var), e.fb.use_var(at_var));
                        let larger = match tx.dtype {
                            DType::Bool => e.fb.ins().icmp(IntCC::UnsignedGreaterThan, x, best),
                            DType::Int => e.prim(Prim::Gt, &[x, best], DType::Int, false)?,
                            // NaN is larger than everything: not at most the best so far, unless that is NaN too.
                            DType::Float => {
                                let above = e.fb.ins().fcmp(FloatCC::UnorderedOrGreaterThan, x, best);
                                let known = e.fb.ins().fcmp(FloatCC::Ordered, best, best);
                                e.fb.ins().band(above, known)
                            }
                        };
                        let one = e.iconst(1);
                        let i1 = e.fb.ins().iadd(i, one);
                        let best = e.fb.ins().select(larger, x, best);
                        let at = e.fb.ins().select(larger, i1, at);
                        e.fb.def_var(best_var, best);
                        e.fb.def_var(at_var, at);
                        Ok(())
                    })?;
                    let at = e.fb.use_var(at_var);
                    let p = e.offset_by(d, r, 8);
                    e.store(at, p, 0);
                    Ok(())
                })
            })?;
            if let Some(t) = temp {
                self.free(t);
            }
        }
        if to.is_scalar() {
            let p = self.pointer(&dst)?;
            let v = self.load(DType::Int, p, 0);
            self.free(dst);
            self.bind(out, Loc::Scalar(v));
        } else {
            self.bind_owned(out, dst);
        }
        Ok(())
    }
}
