//! Operations on whole arrays, index by index.

use super::Value;
use ppl_core::{Det, Linalg, Op, ReduceOp};

/// All indices of a shape, row-major.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let n: usize = shape.iter().product();
    (0..n)
        .map(|mut e| {
            let mut i = vec![0; shape.len()];
            for (k, len) in shape.iter().enumerate().rev() {
                i[k] = e % len;
                e /= len;
            }
            i
        })
        .collect()
}

fn at(shape: &[usize], i: &[usize]) -> usize {
    assert_eq!(shape.len(), i.len());
    shape.iter().zip(i).fold(0, |e, (len, k)| {
        assert!(k < len);
        e * len + k
    })
}

fn build(shape: Vec<usize>, mut f: impl FnMut(&[usize]) -> f64) -> Value {
    let data = indices(&shape).iter().map(|i| f(i)).collect();
    Value { shape, data }
}

fn get(x: &Value, i: &[usize]) -> f64 {
    x.data[at(&x.shape, i)]
}

pub fn eval(op: &Op<Det>, v: &[Value]) -> Value {
    match op {
        Op::Broadcast { shape, axes, .. } => {
            assert!(axes.windows(2).all(|w| w[0] < w[1]) && axes.len() == v[0].shape.len());
            axes.iter().zip(&v[0].shape).for_each(|(a, n)| assert_eq!(shape[*a], *n));
            build(shape.clone(), |i| get(&v[0], &axes.iter().map(|a| i[*a]).collect::<Vec<_>>()))
        }
        Op::Reduce { op, axes, .. } => reduce(*op, &v[0], axes),
        Op::ArgMax { axis, .. } => {
            let mut shape = v[0].shape.clone();
            let n = shape.remove(*axis);
            build(shape, |i| {
                let mut best = 0;
                let value = |k: usize| get(&v[0], &[&i[..*axis], &[k], &i[*axis..]].concat());
                (1..n).for_each(|k| {
                    if value(k) > value(best) {
                        best = k
                    }
                });
                best as f64
            })
        }
        Op::CumSum { axis, reverse, .. } => build(v[0].shape.clone(), |i| {
            let range = if *reverse { i[*axis]..v[0].shape[*axis] } else { 0..i[*axis] + 1 };
            range.map(|k| get(&v[0], &with(i, *axis, k))).sum()
        }),
        Op::Dot { batch, contract, .. } => dot(&v[0], &v[1], batch, contract),
        Op::Transpose { perm, .. } => {
            let shape = perm.iter().map(|p| v[0].shape[*p]).collect();
            build(shape, |i| {
                let mut src = vec![0; i.len()];
                perm.iter().zip(i).for_each(|(p, k)| src[*p] = *k);
                get(&v[0], &src)
            })
        }
        Op::Reshape { shape, .. } => Value::new(shape, v[0].data.clone()),
        Op::Slice { axis, start, len, .. } => {
            build(with(&v[0].shape, *axis, *len), |i| get(&v[0], &with(i, *axis, i[*axis] + start)))
        }
        Op::Pad { axis, before, after, .. } => {
            let n = v[0].shape[*axis];
            build(with(&v[0].shape, *axis, n + before + after), |i| {
                let k = i[*axis];
                if k < *before || k >= before + n { 0.0 } else { get(&v[0], &with(i, *axis, k - before)) }
            })
        }
        Op::Concat { axis, .. } => {
            let total = v.iter().map(|x| x.shape[*axis]).sum();
            build(with(&v[0].shape, *axis, total), |i| {
                let mut k = i[*axis];
                for x in v {
                    if k < x.shape[*axis] {
                        return get(x, &with(i, *axis, k));
                    }
                    k -= x.shape[*axis];
                }
                unreachable!()
            })
        }
        Op::Gather { batch, .. } => {
            let (x, idx) = (&v[0], &v[1]);
            assert_eq!(x.shape[..*batch], idx.shape[..*batch]);
            let r = idx.shape.len();
            build([&idx.shape[..], &x.shape[batch + 1..]].concat(), |i| {
                let k = get(idx, &i[..r]).clamp(0.0, x.shape[*batch] as f64 - 1.0) as usize;
                get(x, &[&i[..*batch], &[k], &i[r..]].concat())
            })
        }
        Op::ScatterAdd { batch, len, .. } => {
            let (idx, up) = (&v[0], &v[1]);
            let r = idx.shape.len();
            assert_eq!(idx.shape[..], up.shape[..r]);
            let shape = [&idx.shape[..*batch], &[*len], &up.shape[r..]].concat();
            let mut out = build(shape, |_| 0.0);
            for i in indices(&up.shape) {
                let k = get(idx, &i[..r]).clamp(0.0, *len as f64 - 1.0) as usize;
                let e = at(&out.shape, &[&i[..*batch], &[k], &i[r..]].concat());
                out.data[e] += get(up, &i);
            }
            out
        }
        Op::Iota { len } => Value::new(&[*len], (0..*len).map(|i| i as f64).collect()),
        Op::Reverse { axis, .. } => build(v[0].shape.clone(), |i| get(&v[0], &with(i, *axis, v[0].shape[*axis] - 1 - i[*axis]))),
        Op::Linalg(op, _) => linalg(*op, v),
        Op::Stop(_) => v[0].clone(),
        _ => panic!("not an array operation"),
    }
}

fn with(i: &[usize], axis: usize, k: usize) -> Vec<usize> {
    let mut i = i.to_vec();
    i[axis] = k;
    i
}

fn reduce(op: ReduceOp, x: &Value, axes: &[usize]) -> Value {
    let kept: Vec<usize> = (0..x.shape.len()).filter(|a| !axes.contains(a)).collect();
    let start = match op {
        ReduceOp::Sum | ReduceOp::Any => 0.0,
        ReduceOp::Prod | ReduceOp::All => 1.0,
        ReduceOp::Max => f64::NEG_INFINITY,
        ReduceOp::Min => f64::INFINITY,
    };
    let mut out = build(kept.iter().map(|a| x.shape[*a]).collect(), |_| start);
    for i in indices(&x.shape) {
        let e = at(&out.shape, &kept.iter().map(|a| i[*a]).collect::<Vec<_>>());
        let (acc, x) = (out.data[e], get(x, &i));
        out.data[e] = match op {
            ReduceOp::Sum => acc + x,
            ReduceOp::Prod => acc * x,
            ReduceOp::Max | ReduceOp::Any => acc.max(x),
            ReduceOp::Min | ReduceOp::All => acc.min(x),
        };
    }
    out
}

fn dot(a: &Value, b: &Value, batch: &[(usize, usize)], contract: &[(usize, usize)]) -> Value {
    let pairs = [batch, contract].concat();
    pairs.iter().for_each(|(i, j)| assert_eq!(a.shape[*i], b.shape[*j], "{:?} {:?} {batch:?} {contract:?}", a.shape, b.shape));
    let free = |x: &Value, used: Vec<usize>| -> Vec<usize> { (0..x.shape.len()).filter(|i| !used.contains(i)).collect() };
    let free_a = free(a, pairs.iter().map(|p| p.0).collect());
    let free_b = free(b, pairs.iter().map(|p| p.1).collect());
    let mut shape: Vec<usize> = batch.iter().map(|p| a.shape[p.0]).collect();
    shape.extend(free_a.iter().map(|i| a.shape[*i]));
    shape.extend(free_b.iter().map(|i| b.shape[*i]));
    let inner: Vec<usize> = contract.iter().map(|p| a.shape[p.0]).collect();
    build(shape, |i| {
        let (mut ia, mut ib) = (vec![0; a.shape.len()], vec![0; b.shape.len()]);
        let mut rest = i.iter();
        for (p, q) in batch {
            let k = *rest.next().expect("an axis for each index");
            ia[*p] = k;
            ib[*q] = k;
        }
        free_a.iter().for_each(|p| ia[*p] = *rest.next().expect("an axis for each index"));
        free_b.iter().for_each(|q| ib[*q] = *rest.next().expect("an axis for each index"));
        indices(&inner)
            .iter()
            .map(|c| {
                for ((p, q), k) in contract.iter().zip(c) {
                    ia[*p] = *k;
                    ib[*q] = *k;
                }
                get(a, &ia) * get(b, &ib)
            })
            .sum()
    })
}

/// Every element of every patch: its place among the patches, and in the images if it lies inside.
fn patches(w: &ppl_core::Window, planes: usize) -> Vec<(usize, Option<usize>)> {
    let (rows, columns) = w.positions().expect("positions");
    let mut out = Vec::new();
    for plane in 0..planes {
        for i in 0..w.kernel.0 {
            for j in 0..w.kernel.1 {
                for r in 0..rows {
                    for c in 0..columns {
                        let y = (r * w.stride.0 + i * w.dilation.0).checked_sub(w.padding.0).filter(|y| *y < w.image.0);
                        let x = (c * w.stride.1 + j * w.dilation.1).checked_sub(w.padding.1).filter(|x| *x < w.image.1);
                        out.push((out.len(), y.zip(x).map(|(y, x)| (plane * w.image.0 + y) * w.image.1 + x)));
                    }
                }
            }
        }
    }
    out
}

fn linalg(op: Linalg, v: &[Value]) -> Value {
    if let Linalg::Unfold(w) | Linalg::Fold(w) = op {
        let fold = matches!(op, Linalg::Fold(_));
        let ty = ppl_core::shape::linalg(op, &[ppl_core::Ty::float(v[0].shape.clone())]).expect("operands that fit");
        let mut out = Value::new(&ty.shape, vec![0.0; ty.numel()]);
        let whole = if fold { ty.numel() } else { v[0].data.len() };
        for (piece, place) in patches(&w, whole / (w.image.0 * w.image.1)) {
            match (fold, place) {
                (true, Some(e)) => out.data[e] += v[0].data[piece],
                (false, Some(e)) => out.data[piece] = v[0].data[e],
                (_, None) => {}
            }
        }
        return out;
    }
    let r = v[0].shape.len();
    let n = v[0].shape[r - 1];
    assert_eq!(v[0].shape[r - 2], n);
    let mut out = v[v.len() - 1].clone();
    let count: usize = v[0].shape[..r - 2].iter().product();
    if v.len() == 2 {
        assert_eq!(v[0].shape[..r - 2], v[1].shape[..r - 2]);
        assert_eq!(v[1].shape[r - 2], n);
    }
    for c in 0..count {
        let a = |i: usize, j: usize| v[0].data[(c * n + i) * n + j];
        match op {
            Linalg::Unfold(_) | Linalg::Fold(_) => unreachable!("done above"),
            Linalg::Cholesky => {
                let mut l = vec![0.0; n * n];
                for i in 0..n {
                    for j in 0..=i {
                        let s: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
                        l[i * n + j] = if i == j { (a(i, i) - s).sqrt() } else { (a(i, j) - s) / l[j * n + j] };
                    }
                }
                out.data[c * n * n..(c + 1) * n * n].copy_from_slice(&l);
            }
            Linalg::Solve { transpose } => {
                let m = out.shape[r - 1];
                for col in 0..m {
                    let cell = |i: usize| (c * n + i) * m + col;
                    let order: Vec<usize> = if transpose { (0..n).rev().collect() } else { (0..n).collect() };
                    for &i in &order {
                        let mut s = out.data[cell(i)];
                        if transpose {
                            (i + 1..n).for_each(|k| s -= a(k, i) * out.data[cell(k)]);
                        } else {
                            (0..i).for_each(|k| s -= a(i, k) * out.data[cell(k)]);
                        }
                        out.data[cell(i)] = s / a(i, i);
                    }
                }
            }
        }
    }
    out
}
