//! Maps between unconstrained reals and supports, with the logarithm of the Jacobian determinant.
//!
//! positive: `exp`; intervals: `lo + (hi - lo) sigmoid`; simplex: stick-breaking; ordered: the first entry, then
//! cumulated `exp`. These are the maps of the reference posteriors that the examples are compared with.

use ppl_core::{Atom, Builder, Prim, ReduceOp, Stage, Support};

/// Number of unconstrained reals behind a value of `shape` in `support`; `None` where there is no such map.
pub(crate) fn free_size(support: &Support, shape: &[usize]) -> Option<usize> {
    let all: usize = shape.iter().product();
    match support {
        Support::Real | Support::Interval { .. } | Support::Ordered => Some(all),
        Support::Simplex => {
            let k = *shape.last()?;
            Some(all.checked_div(k)? * (k - 1))
        }
        _ => None,
    }
}

/// Shape of the unconstrained value behind a value of `shape` in `support`.
pub(crate) fn free_shape(support: &Support, shape: &[usize]) -> Vec<usize> {
    let mut s = shape.to_vec();
    if let (Support::Simplex, Some(last)) = (support, s.last_mut()) {
        *last = last.saturating_sub(1);
    }
    s
}

/// The constrained value of `x`, of `shape`.
pub(crate) fn constrain<S: Stage>(b: &mut Builder<S>, x: Atom, support: &Support, shape: &[usize]) -> Atom {
    match support {
        Support::Interval { lo: None, hi: None } => x,
        Support::Interval { lo: Some(lo), hi: None } => {
            let e = b.un(Prim::Exp, x);
            if *lo == 0.0 { e } else { b.add(e, Atom::float(*lo)) }
        }
        Support::Interval { lo: None, hi: Some(hi) } => {
            let e = b.un(Prim::Exp, x);
            b.sub(Atom::float(*hi), e)
        }
        Support::Interval { lo: Some(lo), hi: Some(hi) } => {
            let s = b.un(Prim::Sigmoid, x);
            let w = if hi - lo == 1.0 { s } else { b.mul(s, Atom::float(hi - lo)) };
            if *lo == 0.0 { w } else { b.add(w, Atom::float(*lo)) }
        }
        Support::Simplex => stick_breaking(b, x, shape).0,
        Support::Ordered => {
            let axis = shape.len() - 1;
            let first = b.slice(x, axis, 0, 1.min(shape[axis]));
            if shape[axis] < 2 {
                return first;
            }
            let rest = b.slice(x, axis, 1, shape[axis] - 1);
            let steps = b.un(Prim::Exp, rest);
            let all = b.concat(&[first, steps], axis);
            b.cumsum(all, axis, false)
        }
        _ => x,
    }
}

/// `log |d constrain(x) / dx|`, summed over all elements; a scalar.
pub(crate) fn log_det<S: Stage>(b: &mut Builder<S>, x: Atom, support: &Support, shape: &[usize]) -> Atom {
    let each = match support {
        Support::Interval { lo: Some(_), hi: None } | Support::Interval { lo: None, hi: Some(_) } => x,
        Support::Interval { lo: Some(lo), hi: Some(hi) } => {
            let up = b.un(Prim::LogSigmoid, x);
            let negative = b.neg(x);
            let down = b.un(Prim::LogSigmoid, negative);
            let both = b.add(up, down);
            if hi - lo == 1.0 { both } else { b.add(both, Atom::float((hi - lo).ln())) }
        }
        Support::Simplex => return stick_breaking(b, x, shape).1,
        Support::Ordered => {
            let axis = shape.len() - 1;
            if shape[axis] < 2 {
                return Atom::float(0.0);
            }
            b.slice(x, axis, 1, shape[axis] - 1)
        }
        _ => return Atom::float(0.0),
    };
    b.sum_all(each)
}

/// The unconstrained value behind `y`, of `shape`.
pub(crate) fn unconstrain<S: Stage>(b: &mut Builder<S>, y: Atom, support: &Support, shape: &[usize]) -> Atom {
    match support {
        Support::Interval { lo: None, hi: None } => y,
        Support::Interval { lo: Some(lo), hi: None } => {
            let d = if *lo == 0.0 { y } else { b.sub(y, Atom::float(*lo)) };
            b.un(Prim::Log, d)
        }
        Support::Interval { lo: None, hi: Some(hi) } => {
            let d = b.sub(Atom::float(*hi), y);
            b.un(Prim::Log, d)
        }
        Support::Interval { lo: Some(lo), hi: Some(hi) } => {
            let up = if *lo == 0.0 { y } else { b.sub(y, Atom::float(*lo)) };
            let down = b.sub(Atom::float(*hi), y);
            let (up, down) = (b.un(Prim::Log, up), b.un(Prim::Log, down));
            b.sub(up, down)
        }
        Support::Simplex => {
            // x_k = logit(y_k / (1 - sum_{j<k} y_j)) + log(K - 1 - k)
            let axis = shape.len() - 1;
            let k = shape[axis];
            let head = b.slice(y, axis, 0, k - 1);
            let rest = remaining(b, y, axis, k);
            let (lh, lr) = (b.un(Prim::Log, head), b.un(Prim::Log, rest));
            let z = b.sub(lh, lr);
            let shift = offsets(b, shape);
            b.add(z, shift)
        }
        Support::Ordered => {
            let axis = shape.len() - 1;
            let n = shape[axis];
            let first = b.slice(y, axis, 0, 1.min(n));
            if n < 2 {
                return first;
            }
            let (hi, lo) = (b.slice(y, axis, 1, n - 1), b.slice(y, axis, 0, n - 1));
            let gaps = b.sub(hi, lo);
            let logs = b.un(Prim::Log, gaps);
            b.concat(&[first, logs], axis)
        }
        _ => y,
    }
}

/// `sum_{j > k} y_j` for each of the first `n - 1` positions.
fn remaining<S: Stage>(b: &mut Builder<S>, y: Atom, axis: usize, n: usize) -> Atom {
    let tail = b.cumsum(y, axis, true);
    b.slice(tail, axis, 1, n - 1)
}

/// `log(K - 1 - k)` at each free position, so that zeros map to the centre.
fn offsets<S: Stage>(b: &mut Builder<S>, shape: &[usize]) -> Atom {
    let k = shape[shape.len() - 1];
    let i = b.iota(k - 1);
    let i = b.prim(Prim::ToReal, &[i]);
    let left = b.sub(Atom::float((k - 1) as f64), i);
    let logs = b.un(Prim::Log, left);
    let mut free = shape.to_vec();
    free[shape.len() - 1] = k - 1;
    b.broadcast(logs, &free, &[shape.len() - 1])
}

/// Stick-breaking: the simplex and the sum of log determinants.
///
/// With `z_k = x_k - log(K - 1 - k)`, the `k`-th part is `sigmoid(z_k)` of what the earlier ones have left, computed in logarithms:
/// `log y_k = log_sigmoid(z_k) + sum_{j<k} log_sigmoid(-z_j)`.
fn stick_breaking<S: Stage>(b: &mut Builder<S>, x: Atom, shape: &[usize]) -> (Atom, Atom) {
    let axis = shape.len() - 1;
    let k = shape[axis];
    let shift = offsets(b, shape);
    let z = b.sub(x, shift);
    let part = b.un(Prim::LogSigmoid, z);
    let minus = b.neg(z);
    let keep = b.un(Prim::LogSigmoid, minus);
    // Logarithm of what is left before each of the K parts: 0, then the running sums.
    let left = b.cumsum(keep, axis, false);
    let left = b.pad(left, axis, 1, 0);
    let log_part = b.pad(part, axis, 0, 1);
    let log_y = b.add(log_part, left);
    let y = b.un(Prim::Exp, log_y);
    let before = b.slice(left, axis, 0, k - 1);
    let terms = b.add(part, keep);
    let terms = b.add(terms, before);
    let all: Vec<usize> = (0..shape.len()).collect();
    let det = b.reduce(ReduceOp::Sum, terms, &all);
    (y, det)
}
