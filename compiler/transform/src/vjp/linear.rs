//! Adjoints of contractions and matrix operations.

use super::reverse::{Cotangents, Reverse, inverse};
use ppl_core::{Atom, Linalg, Prim};

type Pairs<'a> = &'a [(usize, usize)];

impl Reverse {
    pub(super) fn dot(&mut self, a: Atom, b: Atom, batch: Pairs, contract: Pairs, ct: Atom, cts: &mut Cotangents) {
        let left: Vec<(usize, usize)> = [batch, contract].concat();
        let free = |rank: usize, used: Vec<usize>| -> Vec<usize> { (0..rank).filter(|i| !used.contains(i)).collect() };
        let free_a = free(self.b.ty(a).rank(), left.iter().map(|p| p.0).collect());
        let free_b = free(self.b.ty(b).rank(), left.iter().map(|p| p.1).collect());
        let (nb, na) = (batch.len(), free_a.len());
        if self.is_active(a) {
            // Axes of `ct`: batch, free_a, free_b. What is left of `b` are its contracted axes, in its own order.
            let mut pairs = contract.to_vec();
            pairs.sort_by_key(|p| p.1);
            let c = self.contraction(
                (ct, b),
                &batch.iter().enumerate().map(|(i, p)| (i, p.1)).collect::<Vec<_>>(),
                &free_b.iter().enumerate().map(|(j, axis)| (nb + na + j, *axis)).collect::<Vec<_>>(),
                &batch.iter().map(|p| p.0).collect::<Vec<_>>(),
                (&free_a, &pairs.iter().map(|p| p.0).collect::<Vec<_>>()),
            );
            self.accumulate(cts, a, c);
        }
        if self.is_active(b) {
            let mut pairs = contract.to_vec();
            pairs.sort_by_key(|p| p.0);
            let c = self.contraction(
                (a, ct),
                &batch.iter().enumerate().map(|(i, p)| (p.0, i)).collect::<Vec<_>>(),
                &free_a.iter().enumerate().map(|(j, axis)| (*axis, nb + j)).collect::<Vec<_>>(),
                &batch.iter().map(|p| p.1).collect::<Vec<_>>(),
                (&pairs.iter().map(|p| p.1).collect::<Vec<_>>(), &free_b),
            );
            self.accumulate(cts, b, c);
        }
    }

    /// `dot(x, y)` whose batch axes, free axes of `x` and free axes of `y` are the axes `to_batch`, `to_free` of the
    /// wanted result. Operands are exchanged where that saves a transposition.
    fn contraction(
        &mut self,
        (x, y): (Atom, Atom),
        batch: Pairs,
        contract: Pairs,
        to_batch: &[usize],
        to_free: (&[usize], &[usize]),
    ) -> Atom {
        let sorted = |axes: &[usize]| axes.iter().enumerate().all(|(i, a)| i == *a);
        let straight = [to_batch, to_free.0, to_free.1].concat();
        let crossed = [to_batch, to_free.1, to_free.0].concat();
        if !sorted(&straight) && sorted(&crossed) {
            let flip = |pairs: Pairs| -> Vec<(usize, usize)> { pairs.iter().map(|(i, j)| (*j, *i)).collect() };
            return self.b.dot(y, x, &flip(batch), &flip(contract));
        }
        let d = self.b.dot(x, y, batch, contract);
        self.b.transpose(d, &inverse(&straight))
    }

    pub(super) fn linalg(&mut self, op: Linalg, args: &[Atom], out: Atom, ct: Atom, cts: &mut Cotangents) {
        match (op, args) {
            (Linalg::Cholesky, [a]) => {
                let p = self.matmul(out, ct, true, false);
                let p = self.lower(p, true);
                let left = self.b.linalg(Linalg::Solve { transpose: true }, &[out, p]);
                let left = self.matrix_transpose(left);
                let s = self.b.linalg(Linalg::Solve { transpose: true }, &[out, left]);
                let other = self.matrix_transpose(s);
                let sum = self.b.add(s, other);
                let half = self.b.mul(sum, Atom::float(0.5));
                self.accumulate(cts, *a, half);
            }
            (Linalg::Solve { transpose }, [l, rhs]) => {
                let s = self.b.linalg(Linalg::Solve { transpose: !transpose }, &[*l, ct]);
                self.accumulate(cts, *rhs, s);
                if self.is_active(*l) {
                    let outer = if transpose { self.matmul(out, s, false, true) } else { self.matmul(s, out, false, true) };
                    let outer = self.b.neg(outer);
                    let c = self.lower(outer, false);
                    self.accumulate(cts, *l, c);
                }
            }
            (Linalg::Unfold(w), [x]) => {
                let c = self.b.linalg(Linalg::Fold(w), &[ct]);
                self.accumulate(cts, *x, c);
            }
            (Linalg::Fold(w), [y]) => {
                let c = self.b.linalg(Linalg::Unfold(w), &[ct]);
                self.accumulate(cts, *y, c);
            }
            // The verifier has checked the number of operands.
            (Linalg::Cholesky | Linalg::Solve { .. } | Linalg::Unfold(_) | Linalg::Fold(_), _) => {}
        }
    }

    /// Product of matrices on the last two axes, each transposed if asked.
    fn matmul(&mut self, x: Atom, y: Atom, transpose_x: bool, transpose_y: bool) -> Atom {
        let lead = self.b.ty(x).rank() - 2;
        let batch: Vec<(usize, usize)> = (0..lead).map(|i| (i, i)).collect();
        let column = lead + usize::from(!transpose_x);
        let row = lead + usize::from(transpose_y);
        self.b.dot(x, y, &batch, &[(column, row)])
    }

    fn matrix_transpose(&mut self, x: Atom) -> Atom {
        let lead = self.b.ty(x).rank() - 2;
        let perm: Vec<usize> = (0..lead).chain([lead + 1, lead]).collect();
        self.b.transpose(x, &perm)
    }

    /// The lower triangle of square matrices, with the diagonal halved if asked.
    fn lower(&mut self, x: Atom, halve: bool) -> Atom {
        let shape = self.shape(x);
        let lead = shape.len() - 2;
        let n = shape[lead];
        let iota = self.b.iota(n);
        let rows = self.b.broadcast(iota, &[n, n], &[0]);
        let columns = self.b.broadcast(iota, &[n, n], &[1]);
        let everywhere = [lead, lead + 1];
        let inside = self.b.prim(Prim::Ge, &[rows, columns]);
        let inside = self.b.broadcast(inside, &shape, &everywhere);
        let x = self.b.select(inside, x, Atom::float(0.0));
        if !halve {
            return x;
        }
        let diagonal = self.b.prim(Prim::Eq, &[rows, columns]);
        let factor = self.b.select(diagonal, Atom::float(0.5), Atom::float(1.0));
        let factor = self.b.broadcast(factor, &shape, &everywhere);
        self.b.mul(x, factor)
    }
}
