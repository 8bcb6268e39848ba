//! Derivatives where they are easily wrong: at kinks, at 0, far out.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_core::{Atom, Builder, DType, Det, Domain, Elem, Func, PRIMS, ParamSig, Prim, ReduceOp, Ty, Vjp};
use ppl_interp::Interp;
use ppl_tests::{Fitted, Model, root};
use ppl_transform::vjp;

#[test]
fn a_leaky_kink_is_few_operations() {
    let mut b = Builder::<Det>::new("f");
    let x = Atom::Var(b.param("x", Ty::float([4])));
    let small = b.mul(x, Atom::float(0.25));
    let y = b.prim(Prim::Max, &[x, small]);
    let sum = b.reduce(ReduceOp::Sum, y, &[0]);
    let f = b.finish(vec![sum]);
    let mut g = vjp::vjp(&f, &[0], 0).expect("a derivative");
    let value = |f: &Func<Det>| {
        let x = candle_core::Tensor::new(&[-2.0f64, 0.0, 3.0, -0.0], &candle_core::Device::Cpu).expect("a tensor");
        Interp::new(&[]).run(f, &[x]).expect("a run")[1].to_vec1::<f64>().expect("reals")
    };
    let before = value(&g);
    ppl_opt::simplify_det(&mut g, ppl_opt::SimplifyOptions { after_vjp: true, reassociate: true });
    ppl_opt::dce(&mut g);
    assert_eq!((before, value(&g)), (vec![0.25, 0.625, 1.0, 0.625], vec![0.25, 0.625, 1.0, 0.625]));
    assert!(g.body.stmts.len() <= 8, "{}", ppl_core::print_func(&g, None));
}

/// Value and gradients of a fit's objective at the initial parameters, in both engines.
fn gradients(text: &str, data: &str, precision: Precision) -> [Vec<Vec<f64>>; 2] {
    let model = Model::from_text(text, root(), &[data]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    let f = Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    [f.gradient_native(precision, 1, 0), f.gradient_reference(precision, 1, 0)].map(|g| g.expect("a gradient"))
}

#[test]
fn bernoulli_logits_at_zero_and_far_out() {
    let text = "data y: bool[6]\nparam l: real[6] = [0.0, 0.0, 800.0, -800.0, 800.0, -800.0]\n
                gen model() { for n in 6 { y[n] ~ flip_logits(l[n]) } }\ngen guide() { 0 }\n
                fit model() given { y } with guide() maximize elbo using adam(0.01), particles 1";
    for precision in Precision::ALL {
        for all in gradients(text, "{\"y\": [false, true, true, false, false, true]}", precision) {
            assert_eq!(all[1], [-0.5, 0.5, 0.0, 0.0, -1.0, 1.0]);
            assert!((all[0][0] + 2.0 * 2f64.ln() + 1600.0).abs() < 1e-3, "{:?}", all[0]);
        }
    }
}

/// Points for an operand: the inside of its domain, and a bit more than half of the values on either side of 0 where it has none.
fn points(p: &ParamSig, n: usize, seed: usize) -> Vec<f64> {
    let (lo, hi) = match p.domain {
        Domain::All => (-2.3, 2.1),
        Domain::Interval(lo, hi) => (lo.max(-3.0), hi.min(lo.max(-3.0) + 4.0)),
    };
    let spread = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f64 / 1009.0;
    (0..n).map(|i| lo + (hi - lo) * (0.03 + 0.94 * spread(i))).collect()
}

#[test]
fn every_adjoint_agrees_with_differences() {
    const N: usize = 40;
    let mut tested = 0;
    for def in PRIMS.iter().flat_map(|rows| rows.iter()) {
        let sig = def.prim.sig();
        let real = |e: Elem| matches!(e, Elem::Real | Elem::Num | Elem::Any);
        // The adjoint of `guard` is 0 where its condition is false, whatever the value there.
        if matches!(def.vjp, Vjp::Zero)
            || def.prim == Prim::Guard
            || !real(sig.result)
            || sig.params.iter().any(|p| p.elem == Elem::Int)
        {
            continue;
        }
        let mut b = Builder::<Det>::new(def.name);
        let dtype = |e: Elem| if e == Elem::Bool { DType::Bool } else { DType::Float };
        let args: Vec<Atom> = sig.params.iter().map(|p| b.param(&p.name, Ty::new(dtype(p.elem), [N])).into()).collect();
        let y = b.prim(def.prim, &args);
        let total = b.sum_all(y);
        let f = b.finish(vec![total, y]);
        let values: Vec<Vec<f64>> = sig.params.iter().enumerate().map(|(k, p)| points(p, N, k)).collect();
        let run = |f: &Func<Det>, values: &[Vec<f64>]| -> Vec<Vec<f64>> {
            ppl_tests::engine::interpret(&[], f, values, Precision::F64, 0, 0).unwrap_or_else(|e| panic!("{}: {e}", def.name))
        };
        let truths: Vec<Vec<f64>> = sig
            .params
            .iter()
            .zip(&values)
            .map(
                |(p, v)| if p.elem == Elem::Bool { v.iter().map(|x| f64::from(u8::from(*x > 0.0))).collect() } else { v.clone() },
            )
            .collect();
        for (k, p) in sig.params.iter().enumerate().filter(|(_, p)| p.elem != Elem::Bool) {
            let Ok(g) = vjp::vjp(&f, &[k], 0) else {
                assert!(!matches!(def.vjp, Vjp::Rule(_)), "{} cannot be differentiated by `{}`", def.name, p.name);
                continue;
            };
            let gradient = run(&g, &truths).swap_remove(2);
            let at = |d: f64| -> Vec<f64> {
                let mut moved = truths.clone();
                moved[k].iter_mut().for_each(|x| *x += d);
                run(&f, &moved).swap_remove(1)
            };
            let slope = |h: f64| -> Vec<f64> {
                let (a, b, c, d) = (at(h), at(-h), at(2.0 * h), at(-2.0 * h));
                (0..N).map(|i| (8.0 * (a[i] - b[i]) - (c[i] - d[i])) / (12.0 * h)).collect()
            };
            let (wide, narrow) = (slope(2e-3), slope(7e-4));
            let mut compared = 0;
            for i in 0..N {
                let size = 1.0 + narrow[i].abs();
                // Beside kinks the two step widths disagree.
                if !narrow[i].is_finite() || (wide[i] - narrow[i]).abs() > 1e-6 * size {
                    continue;
                }
                compared += 1;
                let x: Vec<f64> = truths.iter().map(|v| v[i]).collect();
                let error = (gradient[i] - narrow[i]).abs();
                assert!(error < 2e-6 * size, "{} by `{}` at {x:?}: {} and {}", def.name, p.name, gradient[i], narrow[i]);
            }
            assert!(2 * compared > N, "{} by `{}`: {compared} of {N} points can be compared", def.name, p.name);
            tested += 1;
        }
    }
    assert!(tested > 50, "{tested}");
}

#[test]
fn scans_in_segments_have_the_same_gradients() {
    for steps in [16, 50, 100, 103] {
        let y: Vec<String> = (0..steps).map(|t| format!("{:.2}", (0.3 * f64::from(t)).sin())).collect();
        let text = "data T: int\ndata y: real[T]\nparam a: real = 0.4\nparam s: positive = 0.7\nparam loc: real[2] = [0.1, 0.2]\n
            gen walk() {
              for t in T carry (prev = 0.0, level = loc) {
                h[t] ~ normal(a * prev + level[0], 1)
                y[t] ~ normal(h[t], s)
                (h[t], 0.9 * level + 0.01 * h[t])
              }
            }
            gen guide() { for t in T carry (prev = 0.0) { h[t] ~ normal(0.5 * prev + 0.3 * y[t], 0.6) by reparam;  h[t] } }
            fit walk() given { y } with guide() maximize elbo using adam(0.01), particles 3";
        let model =
            Model::from_text(text, root(), &[&format!("{{\"y\": [{}]}}", y.join(", "))]).unwrap_or_else(|e| panic!("{e:?}"));
        let fitted = Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{e:?}"));
        let dets = &fitted.program.module.dets;
        let mut plain = fitted.code.reference.clone();
        ppl_opt::inline_calls(&mut plain, dets);
        let plain = ppl_transform::batch::batch(plain);
        let mut segments = plain.clone();
        assert!(!ppl_transform::checkpoint(&mut segments, 1 << 30));
        assert!(ppl_transform::checkpoint(&mut segments, 0));
        ppl_core::verify(&fitted.program.module, &segments).unwrap_or_else(|e| panic!("{e:?}"));
        let learned: Vec<usize> =
            (0..plain.params.len()).filter(|i| matches!(fitted.code.inputs[*i], ppl_check::Global::Param(_))).collect();
        let inputs = fitted.inputs(&fitted.code.inputs);
        let gradient = |f: &Func<Det>| {
            let g = vjp::vjp(f, &learned, 0).expect("a gradient");
            ppl_core::verify(&fitted.program.module, &g).unwrap_or_else(|e| panic!("{e:?}"));
            ppl_tests::engine::interpret(dets, &g, &inputs, Precision::F64, 4, 2).unwrap_or_else(|e| panic!("{e}"))
        };
        let (a, b) = (gradient(&plain), gradient(&segments));
        for (x, y) in a.iter().zip(&b) {
            assert!(ppl_tests::distance(x, y) < 1e-12, "{steps} steps: {x:?} and {y:?}");
        }
    }
}
