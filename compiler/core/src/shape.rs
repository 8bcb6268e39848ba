//! Result types of the operations on arrays, from operand types alone.
//!
//! Each function states one operation's rule and gives a reason, in lower case and without a full stop, where it is broken.

use crate::{DType, Linalg, Prim, ReduceOp, RngKind, Ty};

type Rule = Result<Ty, String>;

fn need(ok: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if ok { Ok(()) } else { Err(why()) }
}

fn axis_in(x: &Ty, axis: usize) -> Result<(), String> {
    need(axis < x.rank(), || format!("axis {axis} of {x}, which has {} axes", x.rank()))
}

fn ascending(axes: &[usize], rank: usize) -> Result<(), String> {
    need(axes.windows(2).all(|w| w[0] < w[1]), || format!("axes {axes:?} do not ascend"))?;
    need(axes.iter().all(|a| *a < rank), || format!("axes {axes:?} of an array of {rank} axes"))
}

/// Number of elements, if it can be counted.
pub fn checked_numel(shape: &[usize]) -> Option<usize> {
    // Sizes of which one is 0 give 0, whatever the others are.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s))
}

/// Elementwise: every operand has the result's shape or is a scalar; classes of elements by the primitive's signature.
pub fn prim(prim: Prim, args: &[Ty]) -> Rule {
    let dtypes: Vec<DType> = args.iter().map(|t| t.dtype).collect();
    let dtype = prim.result_dtype(&dtypes).ok_or_else(|| {
        let given: Vec<String> = args.iter().map(ToString::to_string).collect();
        format!("`{}` is {}, not of ({})", prim.name(), prim.def().sig, given.join(", "))
    })?;
    let shape = args.iter().map(|t| &t.shape).max_by_key(|s| s.len()).cloned().unwrap_or_default();
    for t in args {
        need(t.is_scalar() || t.shape == shape, || format!("operands of shapes {:?} and {shape:?}, which differ", t.shape))?;
    }
    Ok(Ty::new(dtype, shape))
}

/// `x` has the sizes of the result's `axes`, which ascend.
pub fn broadcast(x: &Ty, shape: &[usize], axes: &[usize]) -> Rule {
    need(axes.len() == x.rank(), || format!("{} axes are named for {x}", axes.len()))?;
    ascending(axes, shape.len())?;
    for (i, a) in axes.iter().enumerate() {
        need(x.shape[i] == shape[*a], || format!("axis {i} of {x} becomes axis {a} of {shape:?}, whose size differs"))?;
    }
    Ok(Ty::new(x.dtype, shape))
}

/// `axes` ascend and disappear; `all` and `any` take truth values, the others numbers.
pub fn reduce(op: ReduceOp, x: &Ty, axes: &[usize]) -> Rule {
    ascending(axes, x.rank())?;
    let logical = matches!(op, ReduceOp::All | ReduceOp::Any);
    need(logical == (x.dtype == DType::Bool), || format!("`{}` of {x}", op.name()))?;
    let shape: Vec<usize> = x.shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, n)| *n).collect();
    Ok(Ty::new(x.dtype, shape))
}

/// Numbers with a nonempty `axis`, which disappears; int.
pub fn argmax(x: &Ty, axis: usize) -> Rule {
    axis_in(x, axis)?;
    number(x)?;
    need(x.shape[axis] > 0, || format!("no largest element along the empty axis {axis} of {x}"))?;
    let mut ty = x.with_dtype(DType::Int);
    ty.shape.remove(axis);
    Ok(ty)
}

/// Numbers, along an existing axis.
pub fn cumsum(x: &Ty, axis: usize) -> Rule {
    axis_in(x, axis)?;
    number(x)?;
    Ok(x.clone())
}

fn number(x: &Ty) -> Result<(), String> {
    need(x.dtype != DType::Bool, || format!("{x} is not an array of numbers"))
}

/// Paired axes exist, have equal sizes, and each is named once.
pub fn dot(a: &Ty, b: &Ty, batch: &[(usize, usize)], contract: &[(usize, usize)]) -> Rule {
    number(a)?;
    need(a.dtype == b.dtype, || format!("{a} and {b} have different elements"))?;
    let pairs = || batch.iter().chain(contract);
    for (i, j) in pairs() {
        axis_in(a, *i)?;
        axis_in(b, *j)?;
        need(a.shape[*i] == b.shape[*j], || format!("axis {i} of {a} against axis {j} of {b}, whose size differs"))?;
    }
    let free = |ty: &Ty, used: Vec<usize>| -> Result<Vec<usize>, String> {
        let mut once = used.clone();
        once.sort_unstable();
        once.dedup();
        need(once.len() == used.len(), || format!("an axis of {ty} is named twice"))?;
        Ok(ty.shape.iter().enumerate().filter(|(i, _)| !used.contains(i)).map(|(_, n)| *n).collect())
    };
    let mut shape: Vec<usize> = batch.iter().map(|(i, _)| a.shape[*i]).collect();
    shape.extend(free(a, pairs().map(|p| p.0).collect())?);
    shape.extend(free(b, pairs().map(|p| p.1).collect())?);
    Ok(Ty::new(a.dtype, shape))
}

/// `perm` names every axis once.
pub fn transpose(x: &Ty, perm: &[usize]) -> Rule {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    need(sorted.iter().copied().eq(0..x.rank()), || format!("{perm:?} is not an order of the axes of {x}"))?;
    Ok(Ty::new(x.dtype, perm.iter().map(|p| x.shape[*p]).collect::<Vec<_>>()))
}

/// The number of elements stays.
pub fn reshape(x: &Ty, shape: &[usize]) -> Rule {
    let (from, to) = (checked_numel(&x.shape), checked_numel(shape));
    need(from.is_some() && from == to, || format!("{x} has another number of elements than {shape:?}"))?;
    Ok(Ty::new(x.dtype, shape))
}

/// The range lies within the axis.
pub fn slice(x: &Ty, axis: usize, start: usize, len: usize) -> Rule {
    axis_in(x, axis)?;
    let end = start.checked_add(len);
    need(end.is_some_and(|e| e <= x.shape[axis]), || format!("{len} elements from {start} along axis {axis} of {x}"))?;
    let mut ty = x.clone();
    ty.shape[axis] = len;
    Ok(ty)
}

/// Any elements, along an existing axis.
pub fn pad(x: &Ty, axis: usize, before: usize, after: usize) -> Rule {
    axis_in(x, axis)?;
    let mut ty = x.clone();
    let size = before.checked_add(after).and_then(|n| n.checked_add(x.shape[axis]));
    ty.shape[axis] = size.ok_or_else(|| format!("{x} with {before} and {after} elements more is too large"))?;
    Ok(ty)
}

/// At least one operand; all agree but for `axis`.
pub fn concat(xs: &[Ty], axis: usize) -> Rule {
    let first = xs.first().ok_or("no operands")?;
    axis_in(first, axis)?;
    let mut ty = first.clone();
    for x in &xs[1..] {
        let agrees = x.dtype == ty.dtype
            && x.rank() == ty.rank()
            && x.shape.iter().zip(&ty.shape).enumerate().all(|(i, (a, b))| i == axis || a == b);
        need(agrees, || format!("{first} and {x} do not fit along axis {axis}"))?;
        let size = ty.shape[axis].checked_add(x.shape[axis]);
        ty.shape[axis] = size.ok_or("the result is too large")?;
    }
    Ok(ty)
}

/// Along an existing axis.
pub fn reverse(x: &Ty, axis: usize) -> Rule {
    axis_in(x, axis)?;
    Ok(x.clone())
}

/// `x: [B.., n, R..]` at int `idx: [B.., I..]` is `[B.., I.., R..]`; `n` may be 0 only where nothing is read.
pub fn gather(x: &Ty, idx: &Ty, batch: usize) -> Rule {
    need(idx.dtype == DType::Int, || format!("indices {idx} are not integers"))?;
    axis_in(x, batch)?;
    need(idx.shape.get(..batch) == Some(&x.shape[..batch]), || {
        format!("the first {batch} axes of {x} and of the indices {idx} differ")
    })?;
    let shape: Vec<usize> = idx.shape.iter().chain(&x.shape[batch + 1..]).copied().collect();
    need(x.shape[batch] > 0 || shape.contains(&0), || format!("reads from the empty axis {batch} of {x}"))?;
    Ok(Ty::new(x.dtype, shape))
}

/// `updates: [B.., I.., R..]` at int `idx: [B.., I..]` is `[B.., len, R..]`; `len` may be 0 only where nothing is added.
pub fn scatter_add(idx: &Ty, updates: &Ty, batch: usize, len: usize) -> Rule {
    need(idx.dtype == DType::Int, || format!("indices {idx} are not integers"))?;
    number(updates)?;
    need(batch <= idx.rank(), || format!("the indices {idx} have no {batch} leading axes"))?;
    need(updates.shape.get(..idx.rank()) == Some(&idx.shape[..]), || {
        format!("the first axes of {updates} are not those of the indices {idx}")
    })?;
    need(len > 0 || updates.shape.contains(&0), || "adds to an empty axis".to_string())?;
    let mut shape: Vec<usize> = idx.shape[..batch].to_vec();
    shape.push(len);
    shape.extend(&updates.shape[idx.rank()..]);
    Ok(Ty::new(updates.dtype, shape))
}

/// Real square matrices; a right-hand side has the matrix's leading sizes and rows.
pub fn linalg(op: Linalg, args: &[Ty]) -> Rule {
    let matrix = |t: &Ty| {
        let n = t.rank();
        need(t.dtype == DType::Float && n >= 2 && t.shape[n - 1] == t.shape[n - 2], || format!("{t} is not a real square matrix"))
    };
    match (op, args) {
        (Linalg::Cholesky, [a]) => {
            matrix(a)?;
            Ok(a.clone())
        }
        (Linalg::Solve { .. }, [l, b]) => {
            matrix(l)?;
            let n = l.rank() - 1;
            let fits = b.dtype == DType::Float && b.rank() == l.rank() && b.shape[..n] == l.shape[..n];
            need(fits, || format!("{b} is not a right-hand side for {l}"))?;
            Ok(b.clone())
        }
        (Linalg::Unfold(w), [x]) => {
            let n = x.rank();
            let (rows, columns) = w.positions().ok_or_else(|| format!("{w:?} has no position"))?;
            let fits = x.dtype == DType::Float && n >= 3 && (x.shape[n - 2], x.shape[n - 1]) == w.image;
            need(fits, || format!("{x} is not an image for {w:?}"))?;
            let mut shape = x.shape[..n - 3].to_vec();
            shape.extend([x.shape[n - 3] * w.kernel.0 * w.kernel.1, rows * columns]);
            Ok(Ty::float(shape))
        }
        (Linalg::Fold(w), [y]) => {
            let n = y.rank();
            let (rows, columns) = w.positions().ok_or_else(|| format!("{w:?} has no position"))?;
            let each = w.kernel.0 * w.kernel.1;
            let fits = y.dtype == DType::Float && n >= 2 && y.shape[n - 2] % each == 0 && y.shape[n - 1] == rows * columns;
            need(fits, || format!("{y} are not patches of {w:?}"))?;
            let mut shape = y.shape[..n - 2].to_vec();
            shape.extend([y.shape[n - 2] / each, w.image.0, w.image.1]);
            Ok(Ty::float(shape))
        }
        _ => Err(format!("{} operands", args.len())),
    }
}

/// Parameters have the draw's shape or are scalars; those of `categorical` have one axis more, or only that one.
pub fn random(kind: RngKind, args: &[Ty], shape: &[usize]) -> Rule {
    let wanted: &[DType] = match kind {
        RngKind::Uniform | RngKind::Normal => &[],
        RngKind::Gamma | RngKind::Poisson | RngKind::Categorical => &[DType::Float],
        RngKind::Binomial => &[DType::Int, DType::Float],
    };
    need(args.len() == wanted.len(), || format!("{} parameters, not {}", args.len(), wanted.len()))?;
    for (t, d) in args.iter().zip(wanted) {
        need(t.dtype == *d, || format!("parameter {t} does not hold {d} elements"))?;
        let outer = match kind {
            RngKind::Categorical => {
                let k = t.shape.last().ok_or("the probabilities are a scalar")?;
                need(*k > 0, || "there are no categories".to_string())?;
                &t.shape[..t.rank() - 1]
            }
            _ => &t.shape[..],
        };
        need(outer.is_empty() || outer == shape, || format!("parameter {t} does not fit a draw of shape {shape:?}"))?;
    }
    Ok(Ty::new(kind.dtype(), shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f(shape: &[usize]) -> Ty {
        Ty::float(shape)
    }

    fn i(shape: &[usize]) -> Ty {
        Ty::new(DType::Int, shape)
    }

    #[test]
    fn elementwise_takes_one_shape_and_scalars() {
        assert_eq!(prim(Prim::Add, &[f(&[2, 3]), f(&[])]), Ok(f(&[2, 3])));
        assert!(prim(Prim::Add, &[f(&[2, 3]), f(&[3])]).is_err());
        assert!(prim(Prim::Add, &[f(&[3]), i(&[3])]).is_err());
        assert_eq!(prim(Prim::Lt, &[i(&[3]), i(&[])]), Ok(Ty::new(DType::Bool, [3])));
    }

    #[test]
    fn axes_are_checked() {
        assert_eq!(broadcast(&f(&[3]), &[2, 3], &[1]), Ok(f(&[2, 3])));
        assert!(broadcast(&f(&[3]), &[2, 3], &[0]).is_err());
        assert!(broadcast(&f(&[1]), &[2], &[0]).is_err(), "sizes of 1 do not stretch");
        assert_eq!(reduce(ReduceOp::Max, &f(&[2, 3, 4]), &[0, 2]), Ok(f(&[3])));
        assert!(reduce(ReduceOp::Sum, &f(&[2, 3]), &[1, 0]).is_err());
        assert!(reduce(ReduceOp::All, &f(&[2]), &[0]).is_err());
        assert_eq!(transpose(&f(&[2, 3, 4]), &[2, 0, 1]), Ok(f(&[4, 2, 3])));
        assert!(transpose(&f(&[2, 3]), &[0, 0]).is_err());
        assert!(slice(&f(&[4]), 0, 2, 3).is_err() && slice(&f(&[4]), 0, usize::MAX, 2).is_err());
        assert!(reshape(&f(&[4]), &[3]).is_err());
        assert!(concat(&[f(&[2, 3]), f(&[2, 4])], 0).is_err());
        assert_eq!(concat(&[f(&[2, 3]), f(&[2, 4])], 1), Ok(f(&[2, 7])));
        assert!(argmax(&f(&[0]), 0).is_err());
    }

    #[test]
    fn contraction_orders_its_axes() {
        let t = dot(&f(&[5, 2, 3]), &f(&[3, 5, 4]), &[(0, 1)], &[(2, 0)]);
        assert_eq!(t, Ok(f(&[5, 2, 4])));
        assert!(dot(&f(&[2]), &f(&[3]), &[], &[(0, 0)]).is_err());
        assert!(dot(&f(&[2, 2]), &f(&[2, 2]), &[(0, 0)], &[(0, 1)]).is_err());
        assert_eq!(dot(&f(&[]), &f(&[3]), &[], &[]), Ok(f(&[3])));
    }

    #[test]
    fn gather_and_scatter_are_transposes() {
        assert_eq!(gather(&f(&[7, 5, 2]), &i(&[7, 3]), 1), Ok(f(&[7, 3, 2])));
        assert_eq!(scatter_add(&i(&[7, 3]), &f(&[7, 3, 2]), 1, 5), Ok(f(&[7, 5, 2])));
        assert_eq!(gather(&f(&[5, 2]), &i(&[]), 0), Ok(f(&[2])));
        assert!(gather(&f(&[7, 5]), &i(&[6, 3]), 1).is_err());
        assert!(gather(&f(&[5]), &f(&[]), 0).is_err());
        assert!(gather(&f(&[0]), &i(&[]), 0).is_err());
        assert!(scatter_add(&i(&[3]), &f(&[2]), 0, 4).is_err());
    }

    #[test]
    fn matrices_and_draws() {
        assert_eq!(linalg(Linalg::Solve { transpose: true }, &[f(&[4, 3, 3]), f(&[4, 3, 2])]), Ok(f(&[4, 3, 2])));
        assert!(linalg(Linalg::Solve { transpose: true }, &[f(&[3, 3]), f(&[3])]).is_err());
        assert!(linalg(Linalg::Cholesky, &[f(&[2, 3])]).is_err());
        assert_eq!(random(RngKind::Categorical, &[f(&[5, 3])], &[5]), Ok(i(&[5])));
        assert_eq!(random(RngKind::Categorical, &[f(&[3])], &[5]), Ok(i(&[5])));
        assert!(random(RngKind::Gamma, &[f(&[3])], &[5]).is_err());
        assert!(random(RngKind::Binomial, &[f(&[]), f(&[])], &[]).is_err());
    }
}
