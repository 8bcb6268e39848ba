//! Kernel calls: elementwise functions on arrays and on batches of scalars, random draws, linear algebra.

use super::{Emitter, Result};
use crate::CodegenError;
use crate::schedule::MAX_SCALARS;
use crate::view::{Loc, View, collapse};
use cranelift::prelude::*;
use ppl_abi::Kernel;
use ppl_core::{Atom, DType, Det, DetRandom, Linalg, Lower, Op, Prim, RngKind, Stmt, Var};

pub(super) fn kernel_of(p: Prim) -> Result<Kernel> {
    match p.def().lower {
        Lower::Kernel(k) => Ok(k),
        Lower::Inline => Err(CodegenError::internal(format!("`{}` has no kernel", p.name()))),
    }
}

impl Emitter<'_, '_> {
    /// Calls one kernel on several scalars at once: the operands are laid out as short arrays.
    pub(super) fn scalar_kernels(&mut self, stmts: &[&Stmt<Det>]) -> Result<()> {
        let Some(Op::Prim(p, first)) = stmts.first().map(|s| &s.op) else { return Ok(()) };
        let (kernel, arity, n) = (kernel_of(*p)?, first.len(), stmts.len());
        let row = (MAX_SCALARS * 8) as i64;
        let (size, scratch) = (self.st.size(DType::Float), self.st.scratch);
        for (i, s) in stmts.iter().enumerate() {
            let Op::Prim(_, args) = &s.op else { continue };
            for (k, a) in args.iter().enumerate() {
                let v = self.scalar(*a)?;
                self.store(v, self.workspace, scratch + (k as i64 + 1) * row + i as i64 * size);
            }
        }
        let one = self.iconst(1);
        let mut call = vec![self.workspace_at(scratch)];
        for k in 0..arity {
            call.push(self.workspace_at(scratch + (k as i64 + 1) * row));
            if arity > 1 {
                call.push(one);
            }
        }
        call.push(self.iconst(n as i64));
        self.call_kernel(kernel, &call)?;
        for (i, s) in stmts.iter().enumerate() {
            let v = self.load(DType::Float, self.workspace, scratch + i as i64 * size);
            for out in &s.outs {
                self.bind(*out, Loc::Scalar(v));
            }
        }
        Ok(())
    }

    fn workspace_at(&mut self, offset: i64) -> Value {
        if offset == 0 {
            return self.workspace;
        }
        let off = self.iconst(offset);
        self.fb.ins().iadd(self.workspace, off)
    }

    /// Puts a scalar operand of a kernel into the workspace; its address.
    pub(super) fn scratch_scalar(&mut self, k: usize, v: Value) -> Value {
        let (base, offset) = self.scratch();
        let at = offset + (k as i64 + 1) * (MAX_SCALARS * 8) as i64;
        self.store(v, base, at);
        let off = self.iconst(at);
        self.fb.ins().iadd(base, off)
    }

    /// A kernel on arrays whose elements all are the same: computed once.
    pub(super) fn splat_kernel(&mut self, out: Var, kernel: Kernel, args: &[Value]) -> Result<()> {
        let (base, offset) = self.scratch();
        let off = self.iconst(offset);
        let to = self.fb.ins().iadd(base, off);
        let mut call = vec![to];
        for (k, a) in args.iter().enumerate() {
            call.push(self.scratch_scalar(k, *a));
            if args.len() > 1 {
                call.push(self.iconst(0));
            }
        }
        call.push(self.iconst(1));
        self.call_kernel(kernel, &call)?;
        let v = self.load(DType::Float, to, 0);
        self.bind(out, Loc::Splat(v));
        Ok(())
    }

    /// A draw.
    pub(super) fn random(&mut self, out: Var, r: &DetRandom) -> Result<()> {
        if !r.lanes.is_empty() {
            return Err(CodegenError::internal("a draw inside `map`: it must be batched first"));
        }
        let ty = self.st.func.ty(out).clone();
        let n = ty.numel();
        let size = self.st.size(ty.dtype);
        // A scalar is drawn into the scratch area.
        let to = if ty.is_scalar() { None } else { Some(self.alloc_for(out)) };
        let dst = match &to {
            Some(v) => self.pointer(v)?,
            None => self.workspace_at(self.st.scratch),
        };
        if n > 0 {
            let mut call = vec![dst];
            let mut temps = Vec::new();
            match r.kind {
                RngKind::Uniform | RngKind::Normal => {}
                RngKind::Gamma | RngKind::Poisson | RngKind::Binomial => {
                    for (k, a) in r.args.iter().enumerate() {
                        self.draw_param(&mut call, &mut temps, k, *a, &ty.shape)?;
                    }
                }
                RngKind::Categorical => self.draw_rows(&mut call, &mut temps, r)?,
            }
            call.push(self.iconst(n as i64));
            let site = self.iconst(r.site as i64);
            let time = self.time(&r.times)?;
            call.extend([self.seed, site, self.step, time]);
            let kernel = match r.kind {
                RngKind::Uniform => Kernel::Uniform,
                RngKind::Normal => Kernel::Normal,
                RngKind::Gamma => Kernel::StandardGamma,
                RngKind::Poisson => Kernel::Poisson,
                RngKind::Binomial => Kernel::Binomial,
                RngKind::Categorical => Kernel::Categorical,
            };
            self.call_kernel(kernel, &call)?;
            for t in temps {
                self.free(t);
            }
        }
        match to {
            Some(view) => self.bind_owned(out, view),
            None => {
                debug_assert!(size <= 8);
                let v = self.load(ty.dtype, self.workspace, self.st.scratch);
                self.bind(out, Loc::Scalar(v));
            }
        }
        Ok(())
    }

    /// The data of this step.
    pub(super) fn minibatch(&mut self, out: Var, data: usize, size: usize) -> Result<()> {
        let to = self.alloc_for(out);
        if size > 0 {
            let dst = self.pointer(&to)?;
            let (data_count, n) = (self.iconst(data as i64), self.iconst(size as i64));
            let site = self.iconst(ppl_core::minibatch_site(data, size) as i64);
            let time = self.iconst(0);
            self.call_kernel(Kernel::Minibatch, &[dst, data_count, n, self.seed, site, self.step, time])?;
        }
        self.bind_owned(out, to);
        Ok(())
    }

    /// Pointer and stride of a draw's parameter.
    fn draw_param(&mut self, call: &mut Vec<Value>, temps: &mut Vec<View>, k: usize, a: Atom, shape: &[usize]) -> Result<()> {
        let stride = match self.loc(a)? {
            Loc::Scalar(v) | Loc::Splat(v) => {
                let at = self.st.scratch + (k as i64 + 1) * (MAX_SCALARS * 8) as i64;
                self.store(v, self.workspace, at);
                call.push(self.workspace_at(at));
                0
            }
            Loc::View(v) if v.is_constant(shape) => {
                call.push(self.pointer(&v)?);
                0
            }
            _ => {
                let (v, temp) = self.dense(a)?;
                call.push(self.pointer(&v)?);
                temps.extend(temp);
                1
            }
        };
        call.push(self.iconst(stride));
        Ok(())
    }

    /// Pointer, row stride and number of categories.
    fn draw_rows(&mut self, call: &mut Vec<Value>, temps: &mut Vec<View>, r: &DetRandom) -> Result<()> {
        let Some(a) = r.args.first().copied() else {
            return Err(CodegenError::internal("a categorical draw without probabilities"));
        };
        let ty = self.st.func.atom_ty(a);
        let Some((k, outer)) = ty.shape.split_last() else {
            return Err(CodegenError::internal("a categorical draw from a scalar"));
        };
        let mut stride = *k as i64;
        let shared = match self.loc(a)? {
            Loc::View(v) => {
                let rows: Vec<(usize, i64)> = outer.iter().copied().zip(v.strides.iter().copied()).collect();
                let row_dense = *k <= 1 || v.strides.last() == Some(&1);
                collapse(&rows).filter(|(_, s)| *s == 0 && row_dense).map(|_| v)
            }
            _ => None,
        };
        let v = match shared {
            // One row of probabilities for every draw.
            Some(v) => {
                stride = 0;
                v
            }
            None => {
                // A single row that is a constant is written out, and still serves every draw.
                if outer.is_empty() {
                    stride = 0;
                }
                let (v, temp) = self.dense(a)?;
                temps.extend(temp);
                v
            }
        };
        call.push(self.pointer(&v)?);
        call.push(self.iconst(stride));
        call.push(self.iconst(*k as i64));
        Ok(())
    }

    /// The linear index over enclosing scans.
    fn time(&mut self, times: &[(Atom, usize)]) -> Result<Value> {
        let mut time = self.iconst(0);
        for (i, n) in times {
            let i = self.scalar(*i)?;
            let n = self.iconst(*n as i64);
            time = self.fb.ins().imul(time, n);
            time = self.fb.ins().iadd(time, i);
        }
        Ok(time)
    }

    pub(super) fn linalg(&mut self, out: Var, op: Linalg, args: &[Atom]) -> Result<()> {
        let ty = self.st.func.ty(out).clone();
        let [outer @ .., n, m] = &ty.shape[..] else {
            return Err(CodegenError::internal("a matrix operation on fewer than two axes"));
        };
        let batch = outer.iter().product::<usize>();
        let to = self.alloc_for(out);
        if ty.numel() > 0 {
            let mut call = vec![self.pointer(&to)?];
            let mut temps = Vec::new();
            for a in args {
                let (v, temp) = self.dense(*a)?;
                call.push(self.pointer(&v)?);
                temps.extend(temp);
            }
            let sizes: Vec<usize> = match op {
                Linalg::Cholesky => vec![*n, batch],
                Linalg::Solve { transpose } => {
                    vec![*n, *m, batch, n * n, n * m, 0, usize::from(transpose)]
                }
                Linalg::Unfold(w) | Linalg::Fold(w) => {
                    let whole = if matches!(op, Linalg::Fold(_)) { ty.numel() } else { self.st.func.atom_ty(args[0]).numel() };
                    std::iter::once(whole / (w.image.0 * w.image.1).max(1)).chain(w.numbers()).collect()
                }
            };
            for s in sizes {
                call.push(self.iconst(s as i64));
            }
            let kernel = match op {
                Linalg::Cholesky => Kernel::Cholesky,
                Linalg::Solve { .. } => Kernel::TriangularSolve,
                Linalg::Unfold(_) => Kernel::Unfold,
                Linalg::Fold(_) => Kernel::Fold,
            };
            self.call_kernel(kernel, &call)?;
            for t in temps {
                self.free(t);
            }
        }
        self.bind_owned(out, to);
        Ok(())
    }
}
