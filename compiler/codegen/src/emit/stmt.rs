//! One statement: views cost nothing, the rest goes to its own file.

use super::{Emitter, Result};
use crate::CodegenError;
use crate::view::{Base, Loc, View, collapse};
use cranelift::prelude::*;
use ppl_core::{Atom, Det, Op, Stmt, Var};

impl Emitter<'_, '_> {
    pub(super) fn stmt(&mut self, stmt: &Stmt<Det>) -> Result<()> {
        let func = self.st.func;
        if let Op::If { cond, then, els } = &stmt.op {
            return self.branch(stmt, *cond, then, els);
        }
        if let Op::Scan(scan) = &stmt.op {
            return self.scan(stmt, scan);
        }
        let [out] = stmt.outs[..] else {
            return Err(CodegenError::internal("an operation with one result has another number of outputs"));
        };
        match &stmt.op {
            Op::Prim(p, args) => {
                let v = self.scalar_prim(*p, args)?;
                self.bind(out, Loc::Scalar(v));
                Ok(())
            }
            Op::Broadcast { x, shape, axes } => self.broadcast(out, *x, shape, axes),
            Op::Transpose { x, perm } => {
                let loc = self.remap(*x, |_, v| View { strides: perm.iter().map(|p| v.strides[*p]).collect(), ..v })?;
                self.bind(out, loc);
                Ok(())
            }
            Op::Slice { x, axis, start, .. } => {
                let loc = self.remap(*x, |size, v| {
                    let offset = v.offset + v.strides[*axis] * *start as i64 * size;
                    View { offset, ..v }
                })?;
                self.bind(out, loc);
                Ok(())
            }
            Op::Reverse { x, axis } => {
                let n = func.atom_ty(*x).shape.get(*axis).copied().unwrap_or(0);
                let loc = self.remap(*x, |size, mut v| {
                    v.offset += v.strides[*axis] * (n.max(1) as i64 - 1) * size;
                    v.strides[*axis] = -v.strides[*axis];
                    v
                })?;
                self.bind(out, loc);
                Ok(())
            }
            Op::Reshape { x, shape } => self.reshape(out, *x, shape),
            Op::Stop(x) | Op::Reduce { x, .. } => {
                // A reduction that gets here has no axes.
                let loc = self.loc(*x)?;
                self.bind(out, loc);
                Ok(())
            }
            Op::Iota { len } => {
                let table: Box<[i64]> = (0..*len as i64).collect();
                let address = table.as_ptr() as u64;
                self.st.constants.push(table);
                self.bind(out, Loc::View(View::dense(Base::Constant(address), 0, &[*len], Vec::new())));
                Ok(())
            }
            Op::Minibatch { data, size } => self.minibatch(out, *data, *size),
            Op::Gather { x, idx, batch } => self.gather(out, *x, *idx, *batch),
            Op::ScatterAdd { idx, updates, batch, len } => self.scatter_add(out, *idx, *updates, *batch, *len),
            Op::Pad { x, axis, before, after } => self.pad(out, *x, *axis, *before, *after),
            Op::Concat { xs, axis } => self.concat(out, xs, *axis),
            Op::CumSum { x, axis, reverse } => self.cumsum(out, *x, *axis, *reverse),
            Op::ArgMax { x, axis } => self.argmax(out, *x, *axis),
            Op::Dot { a, b, batch, contract } => self.dot(out, *a, *b, batch, contract),
            Op::Linalg(op, args) => self.linalg(out, *op, args),
            Op::Random(r) => self.random(out, r),
            Op::If { .. } | Op::Scan(_) | Op::Map { .. } | Op::Call { .. } => {
                Err(CodegenError::internal("`map` or a call is left"))
            }
        }
    }

    /// A primitive on scalars, by instructions.
    fn scalar_prim(&mut self, p: ppl_core::Prim, args: &[Atom]) -> Result<Value> {
        let values = args.iter().map(|a| self.scalar(*a)).collect::<Result<Vec<_>>>()?;
        let dt = self.operand_dtype(p, args)?;
        self.prim(p, &values, dt, false)
    }

    /// The type that decides how a primitive computes.
    pub(super) fn operand_dtype(&self, p: ppl_core::Prim, args: &[Atom]) -> Result<ppl_core::DType> {
        use ppl_core::Prim;
        let decisive = if matches!(p, Prim::Select | Prim::Guard) { args.get(1) } else { args.first() };
        decisive
            .map(|a| self.st.func.atom_ty(*a).dtype)
            .ok_or_else(|| CodegenError::internal(format!("`{}` has too few operands", p.name())))
    }

    /// A view of a view; what is the same everywhere stays so. `f` gets the size of an element.
    fn remap(&mut self, x: Atom, f: impl FnOnce(i64, View) -> View) -> Result<Loc> {
        let size = self.st.size(self.st.func.atom_ty(x).dtype);
        Ok(match self.loc(x)? {
            Loc::View(v) => Loc::View(f(size, v)),
            same => same,
        })
    }

    fn broadcast(&mut self, out: Var, x: Atom, shape: &[usize], axes: &[usize]) -> Result<()> {
        let from = self.st.func.atom_ty(x).shape;
        let loc = match self.loc(x)? {
            Loc::Scalar(v) | Loc::Splat(v) => {
                if shape.is_empty() {
                    Loc::Scalar(v)
                } else {
                    Loc::Splat(v)
                }
            }
            Loc::View(v) => {
                let mut strides = vec![0; shape.len()];
                for (i, a) in axes.iter().enumerate() {
                    // An axis of size 1 may be stretched.
                    strides[*a] = if from[i] == shape[*a] { v.strides[i] } else { 0 };
                }
                Loc::View(View { strides, ..v })
            }
            Loc::Saved { .. } | Loc::Given(_) => return Err(CodegenError::internal("a saved scalar was not restored")),
        };
        self.bind(out, loc);
        Ok(())
    }

    fn reshape(&mut self, out: Var, x: Atom, shape: &[usize]) -> Result<()> {
        let ty = self.st.func.atom_ty(x);
        let loc = match self.loc(x)? {
            Loc::Scalar(v) | Loc::Splat(v) if shape.is_empty() => Loc::Scalar(v),
            Loc::Scalar(v) | Loc::Splat(v) => Loc::Splat(v),
            Loc::View(v) => {
                if shape.is_empty() {
                    let p = self.base(v.base)?;
                    Loc::Scalar(self.load(ty.dtype, p, v.offset))
                } else if let Some(strides) = reshaped(&v, &ty.shape, shape) {
                    Loc::View(View { strides, ..v })
                } else {
                    let copy = self.alloc_for(out);
                    let as_source = View::dense(copy.base, copy.offset, &ty.shape, Vec::new());
                    self.copy(&as_source, &Loc::View(v), ty.dtype, &ty.shape)?;
                    self.bind_owned(out, copy);
                    return Ok(());
                }
            }
            Loc::Saved { .. } | Loc::Given(_) => return Err(CodegenError::internal("a saved scalar was not restored")),
        };
        self.bind(out, loc);
        Ok(())
    }
}

/// Strides for the same elements in another shape, where no copy is needed.
fn reshaped(v: &View, from: &[usize], to: &[usize]) -> Option<Vec<i64>> {
    if from.contains(&0) {
        return Some(vec![0; to.len()]);
    }
    let mut strides = vec![0i64; to.len()];
    let (mut i, mut j) = (0, 0);
    // Matches the shortest runs of axes that hold equally many elements.
    while i < from.len() || j < to.len() {
        let (i0, j0) = (i, j);
        let (mut a, mut b) = (1usize, 1usize);
        loop {
            if a == b && i > i0 && j > j0 {
                break;
            }
            if i < from.len() && (a <= b || j == to.len()) {
                a *= from[i];
                i += 1;
            } else if j < to.len() {
                b *= to[j];
                j += 1;
            } else if a == b {
                break;
            } else {
                return None;
            }
        }
        let run: Vec<(usize, i64)> = (i0..i).map(|k| (from[k], v.strides[k])).collect();
        let (_, mut stride) = collapse(&run)?;
        for k in (j0..j).rev() {
            strides[k] = if to[k] == 1 { 0 } else { stride };
            stride *= to[k] as i64;
        }
    }
    Some(strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(strides: &[i64]) -> View {
        View { base: Base::Workspace, offset: 0, strides: strides.to_vec(), owners: Vec::new() }
    }

    #[test]
    fn dense_arrays_take_any_shape() {
        assert_eq!(reshaped(&view(&[6, 2, 1]), &[4, 3, 2], &[2, 12]), Some(vec![12, 1]));
        assert_eq!(reshaped(&view(&[12, 1]), &[2, 12], &[4, 1, 3, 2]), Some(vec![6, 0, 2, 1]));
        assert_eq!(reshaped(&view(&[1]), &[1], &[1, 1]), Some(vec![0, 0]));
    }

    #[test]
    fn a_transposed_matrix_cannot_be_flattened() {
        assert_eq!(reshaped(&view(&[1, 3]), &[3, 4], &[12]), None);
        assert_eq!(reshaped(&view(&[1, 3]), &[3, 4], &[3, 2, 2]), Some(vec![1, 6, 3]));
    }

    #[test]
    fn repeated_axes_stay_repeated() {
        assert_eq!(reshaped(&view(&[0, 1]), &[5, 6], &[5, 2, 3]), Some(vec![0, 3, 1]));
        assert_eq!(reshaped(&view(&[0, 1]), &[5, 6], &[30]), None);
    }
}
