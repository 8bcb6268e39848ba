//! Nanoseconds per gradient step of a small reparameterised ELBO (two latents, 64 particles): draws, transcendentals,
//! elementwise arithmetic, sums and a gradient step on four parameters.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use ppl_abi::Precision;
use ppl_codegen::{Options, Regalloc, Runner, compile};
use ppl_core::{Atom, Builder, Det, DetRandom, Func, Op, Prim, RngKind, Ty};
use std::sync::Arc;
use std::time::Instant;

/// `x, y ~ normal`, `z ~ normal(x^2 + y^2, 0.1)`, z = 5; a mean-field guide; its ELBO and gradient by hand.
fn cone(n: usize) -> Func<Det> {
    let b = &mut Builder::<Det>::new("cone");
    let p: Vec<Atom> = ["mx", "sx", "my", "sy"].iter().map(|s| b.param(*s, Ty::FLOAT).into()).collect();
    let lit = Atom::float;
    let draw = |b: &mut Builder<Det>, site: u64| {
        let r = DetRandom { kind: RngKind::Normal, args: vec![], site, lanes: vec![], times: vec![], shape: vec![n] };
        b.emit1(Op::Random(r), "eps", Ty::float([n]))
    };
    let (ex, ey) = (draw(b, 1), draw(b, 2));
    let (sx, sy) = (b.un(Prim::Exp, p[1]), b.un(Prim::Exp, p[3]));
    let latent = |b: &mut Builder<Det>, m: Atom, s: Atom, e: Atom| {
        let t = b.mul(s, e);
        b.add(m, t)
    };
    let (x, y) = (latent(b, p[0], sx, ex), latent(b, p[2], sy, ey));
    let prior = |b: &mut Builder<Det>, x: Atom| {
        let q = b.un(Prim::Square, x);
        let q = b.mul(lit(-0.5 / 100.0), q);
        b.sub(q, lit(3.2))
    };
    let (lx, ly) = (prior(b, x), prior(b, y));
    let (x2, y2) = (b.un(Prim::Square, x), b.un(Prim::Square, y));
    let r = b.add(x2, y2);
    let d = b.sub(lit(5.0), r);
    let sc = b.mul(lit(10.0), d);
    let lik = b.un(Prim::Square, sc);
    let lik = b.mul(lit(-0.5), lik);
    // A few transcendentals per particle, as a heavier likelihood would have.
    let sp = b.un(Prim::Softplus, x);
    let sg = b.un(Prim::Sigmoid, x);
    let l1 = b.un(Prim::Exp, lx);
    let l2 = b.un(Prim::Log1p, l1);
    let entropy = |b: &mut Builder<Det>, e: Atom, s: Atom| {
        let q = b.un(Prim::Square, e);
        let q = b.mul(lit(0.5), q);
        b.add(q, s)
    };
    let (hx, hy) = (entropy(b, ex, p[1]), entropy(b, ey, p[3]));
    let mut total = b.add(lx, ly);
    for t in [lik, hx, hy, sp, l2] {
        total = b.add(total, t);
    }
    let elbo = b.sum_all(total);
    let elbo = b.mul(lit(1.0 / n as f64), elbo);
    let slope = |b: &mut Builder<Det>, x: Atom| {
        let a = b.mul(lit(200.0), d);
        let a = b.mul(a, x);
        let c = b.mul(lit(-0.01), x);
        b.add(a, c)
    };
    let (gx, gy) = (slope(b, x), slope(b, y));
    let w = b.un(Prim::Sigmoid, lx);
    let w = b.mul(w, lit(-0.01));
    let w = b.mul(w, x);
    let gx = b.add(gx, sg);
    let gx = b.add(gx, w);
    let mut results = vec![elbo];
    for (i, (g, e, s)) in [(gx, ex, sx), (gy, ey, sy)].into_iter().enumerate() {
        let gm = b.sum_all(g);
        let t = b.mul(g, e);
        let t = b.mul(t, s);
        let t = b.add(t, lit(1.0));
        let gs = b.sum_all(t);
        for (k, grad) in [gm, gs].into_iter().enumerate() {
            let step = b.mul(lit(1e-5 / n as f64), grad);
            results.push(b.add(p[2 * i + k], step));
        }
    }
    std::mem::replace(b, Builder::new("")).finish(results)
}

fn main() {
    ppl_tensor::init(Some(1));
    let steps = 200_000;
    for precision in Precision::ALL {
        for regalloc in [Regalloc::SinglePass, Regalloc::Backtracking] {
            for n in [64, 10] {
                let f = cone(n);
                let mut options = Options::new(precision, ppl_tensor::address);
                options.regalloc = regalloc;
                options.verify = false;
                options.keep_text = std::env::var_os("SHOW").is_some();
                let t = Instant::now();
                let code = compile(&f, &options).unwrap();
                let compile_time = t.elapsed();
                if let Some(asm) = code.disassembly() {
                    println!("{}\n{asm}", code.clif().unwrap());
                }
                let info = format!(
                    "{} ir, {} bytes, {:?}, workspace {}",
                    code.instructions(),
                    code.code_bytes(),
                    code.times(),
                    code.workspace()
                );
                let mut r = Runner::new(Arc::new(code));
                for (i, v) in [1.0, -1.0, 1.5, -1.0].into_iter().enumerate() {
                    r.set_floats(i, &[v]).unwrap();
                }
                r.set_state(&[(0, 1), (1, 2), (2, 3), (3, 4)]).unwrap();
                let mut record = vec![0.0; steps];
                let t = Instant::now();
                let done = r.run_steps(1, 0, 0, &mut record).unwrap();
                let ns = t.elapsed().as_nanos() as f64 / done.done as f64;
                println!(
                    "{} {regalloc:?} n={n}: {ns:.0} ns/step ({} steps), elbo {:.3} -> {:.3}",
                    precision.name(),
                    done.done,
                    record[0],
                    record[done.done - 1]
                );
                println!("    compiled in {compile_time:.2?}: {info}");
            }
        }
    }
}
