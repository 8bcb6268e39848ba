//! Derivatives where they are easily wrong: at kinks, at 0, far out.

use ppl_abi::Precision;
use ppl_check::FitOverrides;
use ppl_core::{Atom, Builder, Det, Func, Prim, ReduceOp, Ty};
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
