//! A program whose draws are arguments: for quadrature.
//!
//! in:    `Det`, batched, in which all draws are standard normals or uniforms outside of loops
//! out:   `Det`: `(args.., z) -> the same`, `z` a vector of as many standard normal numbers as are drawn; a uniform is `normal_cdf(z)`
//!
//! ```text
//!   x = random normal() shape s    =  x = reshape(z[n .. n + |s|]) to s
//!   x = random uniform() shape s   =  x = normal_cdf(reshape(z[n .. n + |s|]) to s)
//! ```

use ppl_core::{Atom, Block, Builder, Det, Func, Op, Prim, RngKind, Stmt, Ty};

/// The program and the number of its draws; `None` where other things are drawn, or more than `limit` numbers.
pub fn given_draws(func: &Func<Det>, limit: usize) -> Option<(Func<Det>, usize)> {
    let mut count = 0;
    for s in &func.body.stmts {
        if ppl_core::op_blocks(&s.op).into_iter().any(draws) {
            return None;
        }
        if let Op::Random(r) = &s.op {
            if !matches!(r.kind, RngKind::Normal | RngKind::Uniform) || !r.times.is_empty() {
                return None;
            }
            count += r.shape.iter().product::<usize>();
        }
    }
    if count > limit {
        return None;
    }
    let mut out = func.clone();
    let stmts = std::mem::take(&mut out.body.stmts);
    let mut b = Builder::over(out);
    let z: Atom = b.param("z", Ty::float(vec![count])).into();
    let mut at = 0;
    for s in stmts {
        let Op::Random(r) = &s.op else {
            b.push(s);
            continue;
        };
        let n: usize = r.shape.iter().product();
        let part = b.slice(z, 0, at, n);
        at += n;
        // Outputs keep their names.
        let op = if r.kind == RngKind::Uniform {
            let x = b.reshape(part, &r.shape);
            Op::Prim(Prim::NormalCdf, vec![x])
        } else {
            Op::Reshape { x: part, shape: r.shape.clone() }
        };
        b.push(Stmt { outs: s.outs.clone(), op, span: s.span });
    }
    let (mut f, stmts) = b.into_parts();
    f.body = Block { stmts, results: f.body.results };
    Some((f, count))
}

fn draws(block: &Block<Det>) -> bool {
    block.stmts.iter().any(|s| matches!(s.op, Op::Random(_)) || ppl_core::op_blocks(&s.op).into_iter().any(draws))
}
