//! Contractions: small ones and matrix-vector products as loop nests, others through the matrix product kernel, with the
//! operands' own strides.

use super::chunk::Product;
use super::nest::{Nest, Node, Sink};
use super::{Emitter, Result};
use crate::view::{Loc, View, collapse, dense_strides};
use ppl_abi::Kernel;
use ppl_core::{Atom, DType, Prim, ReduceOp, Ty, Var};

/// Products of at most this many multiplications are done in place.
const INLINE: usize = 512;
/// So are batches of products of at most this many each.
const INLINE_EACH: usize = 64;
/// Products of a vector of at least this many go to the kernel.
const VECTOR: usize = 4096;

/// One axis of the contraction: its size and its strides in the operands and the result (0 where it does not occur).
#[derive(Clone, Copy)]
struct Axis {
    n: usize,
    a: i64,
    b: i64,
    c: i64,
}

/// Axes of batch, rows, columns and the inner dimension.
fn axes_of(
    [ta, tb, tc]: [&Ty; 3],
    batch: &[(usize, usize)],
    contract: &[(usize, usize)],
    va: &View,
    vb: &View,
) -> [Vec<Axis>; 4] {
    let free = |rank: usize, used: &dyn Fn(usize) -> bool| (0..rank).filter(|i| !used(*i)).collect::<Vec<usize>>();
    let a_free = free(ta.rank(), &|i| batch.iter().chain(contract).any(|p| p.0 == i));
    let b_free = free(tb.rank(), &|i| batch.iter().chain(contract).any(|p| p.1 == i));
    let mut c = dense_strides(&tc.shape).into_iter();
    let mut kept = || c.next().unwrap_or(0);
    let bs: Vec<Axis> =
        batch.iter().map(|(i, j)| Axis { n: ta.shape[*i], a: va.strides[*i], b: vb.strides[*j], c: kept() }).collect();
    let ms: Vec<Axis> = a_free.iter().map(|i| Axis { n: ta.shape[*i], a: va.strides[*i], b: 0, c: kept() }).collect();
    let ns: Vec<Axis> = b_free.iter().map(|j| Axis { n: tb.shape[*j], a: 0, b: vb.strides[*j], c: kept() }).collect();
    let ks: Vec<Axis> =
        contract.iter().map(|(i, j)| Axis { n: ta.shape[*i], a: va.strides[*i], b: vb.strides[*j], c: 0 }).collect();
    [bs, ms, ns, ks]
}

/// Whether a product is a loop nest rather than a call.
fn in_place(tc: &Ty, [bs, ms, ns, ks]: [&[Axis]; 4]) -> bool {
    let size = |axes: &[Axis]| axes.iter().map(|x| x.n).product::<usize>();
    let (nb, m, n, k) = (size(bs), size(ms), size(ns), size(ks));
    let each = m.saturating_mul(n).saturating_mul(k);
    // A row or column is a loop nest while it is short; then the kernel needs contiguous rows.
    let contiguous = |axes: &[Axis], f: &dyn Fn(&Axis) -> i64| {
        collapse(&axes.iter().map(|x| (x.n, f(x))).collect::<Vec<_>>()).is_some_and(|(n, s)| n == 1 || s == 1)
    };
    let by_vector = |x: &dyn Fn(&Axis) -> i64, y: &dyn Fn(&Axis) -> i64, across: &[Axis]| {
        each >= VECTOR && (k >= 16 && contiguous(ks, x) && contiguous(ks, y) || size(across) >= 16 && contiguous(across, y))
    };
    let line = match (m == 1, n == 1) {
        (true, _) => !by_vector(&|x| x.a, &|x| x.b, ns),
        (_, true) => !by_vector(&|x| x.b, &|x| x.a, ms),
        _ => false,
    };
    tc.dtype != DType::Float || line || k <= 1 || each <= INLINE_EACH || each.saturating_mul(nb) <= INLINE
}

/// Whether the kernel is to compute the transpose: one row times columns that are contiguous becomes columns times that row; one column of a matrix whose
/// columns are contiguous goes the other way.
fn turned([m, n]: [usize; 2], [_, a_col]: [i64; 2], [b_row, b_col]: [i64; 2]) -> bool {
    m == 1 && b_row == 1 && a_col == 1 && b_col != 1 || n == 1 && m > 1 && !(a_col == 1 && b_row == 1)
}

impl Emitter<'_, '_> {
    pub(super) fn dot(
        &mut self,
        out: Var,
        a: Atom,
        b: Atom,
        batch: &[(usize, usize)],
        contract: &[(usize, usize)],
    ) -> Result<()> {
        let func = self.st.func;
        let (ta, tb, tc) = (func.atom_ty(a), func.atom_ty(b), func.ty(out).clone());
        let mut temps = Vec::new();
        let va = self.strided(a, &mut temps)?;
        let vb = self.strided(b, &mut temps)?;
        let dst = if tc.is_scalar() { self.alloc(tc.dtype, &[]) } else { self.alloc_for(out) };
        let types = [&ta, &tb, &tc];
        let [bs, ms, ns, ks] = axes_of(types, batch, contract, &va, &vb);
        let size = |axes: &[Axis]| axes.iter().map(|x| x.n).product::<usize>();
        let (nb, m, n, k) = (size(&bs), size(&ms), size(&ns), size(&ks));
        let inline = in_place(&tc, [&bs, &ms, &ns, &ks]);
        if inline {
            let order = self.order(&bs, &ms, &ns, &ks);
            self.product(&va, &vb, &dst, tc.dtype, &order)?;
        } else if nb > 0 {
            let a_parts = [&bs[..], &ms[..], &ks[..]].map(|g| g.iter().map(|x| (x.n, x.a)).collect::<Vec<_>>());
            let b_parts = [&bs[..], &ks[..], &ns[..]].map(|g| g.iter().map(|x| (x.n, x.b)).collect::<Vec<_>>());
            let (mut m, mut n) = (m, n);
            let (mut pa, [mut a_batch, mut a_row, mut a_col]) = self.matrix(va, &a_parts, &mut temps)?;
            let (mut pb, [mut b_batch, mut b_row, mut b_col]) = self.matrix(vb, &b_parts, &mut temps)?;
            if turned([m, n], [a_row, a_col], [b_row, b_col]) {
                (m, n) = (n, m);
                (pa, pb) = (pb, pa);
                (a_batch, b_batch) = (b_batch, a_batch);
                ((a_row, a_col), (b_row, b_col)) = ((b_col, b_row), (a_col, a_row));
            }
            if self.block == 0 && nb == 1 && super::chunk::cuts_product(m, n, k, self.st.options.grain) {
                let sizes = [m, n, k].map(|x| x as i64);
                let (a_strides, b_strides) = ([a_row, a_col], [b_row, b_col]);
                let mut p = Product { c: dst.clone(), a: pa, b: pb, sizes, a_strides, b_strides, partials: None };
                if p.sums_chunks() {
                    p.partials = Some(self.alloc(DType::Float, &[p.chunks(), m * n]));
                }
                self.st.product = Some(p);
                for t in temps {
                    self.free(t);
                }
                self.bind_owned(out, dst);
                return Ok(());
            }
            let (pa, pb, pc) = (self.pointer(&pa)?, self.pointer(&pb)?, self.pointer(&dst)?);
            let mut call = vec![pc, pa, pb];
            let sizes =
                [m as i64, n as i64, k as i64, a_row, a_col, b_row, b_col, nb as i64, a_batch, b_batch, (m * n) as i64, 0];
            call.extend(sizes.map(|v| self.iconst(v)));
            self.call_kernel(Kernel::Gemm, &call)?;
        }
        for t in temps {
            self.free(t);
        }
        if tc.is_scalar() {
            let p = self.pointer(&dst)?;
            let v = self.load(tc.dtype, p, 0);
            self.free(dst);
            self.bind(out, Loc::Scalar(v));
        } else {
            self.bind_owned(out, dst);
        }
        Ok(())
    }

    /// The product as the kernel takes it, where it takes the operands as they are and it is worth cutting.
    pub(super) fn planned_product(
        &self,
        types: [&Ty; 3],
        batch: &[(usize, usize)],
        contract: &[(usize, usize)],
        [a, b, c]: [&View; 3],
    ) -> Option<Product> {
        let groups = axes_of(types, batch, contract, a, b);
        let [bs, ms, ns, ks] = &groups;
        let size = |axes: &[Axis]| axes.iter().map(|x| x.n).product::<usize>();
        let (mut m, mut n, k) = (size(ms), size(ns), size(ks));
        if size(bs) != 1 || in_place(types[2], [bs, ms, ns, ks]) {
            return None;
        }
        let merged = |axes: &[Axis], f: &dyn Fn(&Axis) -> i64| {
            let (n, s) = collapse(&axes.iter().map(|x| (x.n, f(x))).collect::<Vec<_>>())?;
            (n == 1 || s > 0).then_some(s)
        };
        let (mut a, mut b) = (a.clone(), b.clone());
        let mut a_strides = [merged(ms, &|x| x.a)?, merged(ks, &|x| x.a)?];
        let mut b_strides = [merged(ks, &|x| x.b)?, merged(ns, &|x| x.b)?];
        if turned([m, n], a_strides, b_strides) {
            (m, n) = (n, m);
            (a, b) = (b, a);
            (a_strides, b_strides) = ([b_strides[1], b_strides[0]], [a_strides[1], a_strides[0]]);
        }
        let sizes = [m, n, k].map(|x| x as i64);
        super::chunk::cuts_product(m, n, k, self.st.options.grain).then(|| Product {
            c: c.clone(),
            a,
            b,
            sizes,
            a_strides,
            b_strides,
            partials: None,
        })
    }

    /// An operand as a view with any strides.
    fn strided(&mut self, a: Atom, temps: &mut Vec<View>) -> Result<View> {
        if let Loc::View(v) = self.loc(a)? {
            return Ok(v);
        }
        let (v, temp) = self.dense(a)?;
        temps.extend(temp);
        Ok(v)
    }

    /// The order of loops in which the innermost one runs over neighbours in memory.
    fn order(&self, bs: &[Axis], ms: &[Axis], ns: &[Axis], ks: &[Axis]) -> Vec<Axis> {
        let wide =
            |axes: &[Axis], f: &dyn Fn(&Axis) -> bool| axes.iter().rfind(|x| x.n != 1).is_some_and(|x| x.n >= self.lanes && f(x));
        let by_k = wide(ks, &|x| x.a == 1 && x.b <= 1 || x.b == 1 && x.a <= 1);
        let by_n = wide(ns, &|x| x.b == 1 || x.b == 0);
        let by_m = ns.iter().all(|x| x.n == 1) && wide(ms, &|x| x.a == 1 || x.a == 0);
        let groups = if by_k || !(by_n || by_m) {
            [bs, ms, ns, ks]
        } else if by_n {
            [bs, ms, ks, ns]
        } else {
            [bs, ns, ks, ms]
        };
        groups.concat()
    }

    /// The products, summed over the axes that the result lacks.
    fn product(&mut self, a: &View, b: &View, c: &View, dt: DType, axes: &[Axis]) -> Result<()> {
        let strided = |v: &View, f: &dyn Fn(&Axis) -> i64| View { strides: axes.iter().map(f).collect(), ..v.clone() };
        let nodes = vec![
            Node::Load(strided(a, &|x| x.a), dt),
            Node::Load(strided(b, &|x| x.b), dt),
            Node::Op(if dt == DType::Bool { Prim::And } else { Prim::Mul }, vec![0, 1], dt, dt),
        ];
        let op = if dt == DType::Bool { ReduceOp::Any } else { ReduceOp::Sum };
        // An axis that is kept but never advances (of one element) is no reduction.
        let sink =
            Sink { op, node: 2, strides: axes.iter().map(|x| x.c).collect(), to: Some((c.base, c.offset)), accumulate: false };
        self.nest(Nest { shape: axes.iter().map(|x| x.n).collect(), nodes, sinks: vec![sink], ..Nest::default() })?;
        Ok(())
    }

    /// A batch of matrices with one stride for each of batch, rows and columns; copied where the axes don't merge.
    fn matrix(&mut self, v: View, parts: &[Vec<(usize, i64)>; 3], temps: &mut Vec<View>) -> Result<(View, [i64; 3])> {
        let merged = [0, 1, 2].map(|i| collapse(&parts[i]));
        if let [Some(batch), Some(rows), Some(cols)] = merged
            && batch.1 >= 0
            && [rows, cols].iter().all(|(n, s)| *n == 1 || *s > 0)
        {
            return Ok((v, [batch.1, rows.1, cols.1]));
        }
        let axes: Vec<(usize, i64)> = parts.concat();
        let shape: Vec<usize> = axes.iter().map(|x| x.0).collect();
        let copy = self.alloc(DType::Float, &shape);
        let from = View { strides: axes.iter().map(|x| x.1).collect(), ..v };
        self.copy(&copy, &Loc::View(from), DType::Float, &shape)?;
        temps.push(copy.clone());
        let [rows, cols] = [1, 2].map(|i| parts[i].iter().map(|x| x.0).product::<usize>() as i64);
        Ok((copy, [rows * cols, cols, 1]))
    }
}
