//! All combinations, one by one: for choices that something couples.
//!
//! ```text
//!   log sum exp over J of log_w(x, u(J))      u(J) = the digits of J, in the base of each choice
//! ```

use super::Latent;
use crate::marginal::{last, log_sum_exp};
use ppl_core::{Atom, Builder, DType, Est, Func, Op, Prim, Ty};

/// Number of combinations, where it can be counted.
pub(super) fn combinations(f: &Func<Est>, latents: &[Latent]) -> Option<usize> {
    latents.iter().try_fold(1usize, |n, l| {
        let elements = u32::try_from(f.ty(l.param).numel()).ok()?;
        n.checked_mul(l.values.checked_pow(elements)?)
    })
}

/// The sum over `n` combinations.
pub(super) fn sum(b: &mut Builder<Est>, f: &Func<Est>, latents: &[Latent], args: &[Option<Atom>], n: usize) -> Atom {
    let index = b.index_var("combination");
    b.begin();
    let mut base: i64 = 1;
    let mut all = args.to_vec();
    for l in latents {
        let ty = f.ty(l.param).clone();
        let strides: Vec<Atom> = (0..ty.numel() as u32).map(|e| Atom::int(base * (l.values as i64).pow(e))).collect();
        base *= (l.values as i64).pow(strides.len() as u32);
        let flat = |n: usize| Ty::new(DType::Int, [n]);
        let stride = if strides.is_empty() { b.full(Atom::int(1), &[0]) } else { b.stack(&strides) };
        let count = strides.len();
        let j = b.full(index.into(), &[count]);
        let high = b.emit1(Op::Prim(Prim::IntDiv, vec![j, stride]), "high", flat(count));
        let values = b.full(Atom::int(l.values as i64), &[count]);
        let digit = b.emit1(Op::Prim(Prim::Rem, vec![high, values]), "digit", flat(count));
        let value = super::value_of(b, l, digit);
        let value = b.reshape(value, &ty.shape);
        if let Some(slot) = f.params.iter().position(|p| *p == l.param) {
            all[slot] = Some(value);
        }
    }
    let args: Vec<Atom> = all.into_iter().map(|a| a.unwrap_or(Atom::int(0))).collect();
    let w = last(b.inline(f, &args));
    let body = b.end(vec![w]);
    let ws: Atom = b.map(n, index, body)[0].into();
    log_sum_exp(b, ws, 0)
}
