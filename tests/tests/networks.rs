//! Every layer of `std.nn`: values and gradients against candle's own operations and its autodiff, gradients against differences of values, names and shapes
//! of parameters, and what is said where layers do not fit.

use candle_core::{D, Device, Tensor, Var};
use ppl_abi::Precision;
use ppl_check::{FitOverrides, Global};
use ppl_tests::engine::run_native;
use ppl_tests::{Fitted, Model, root};
use std::collections::BTreeMap;

type Computed = candle_core::Result<Tensor>;

/// Parameters as candle's variables, by name.
struct Env(BTreeMap<String, Var>);

impl Env {
    fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no parameter `{name}`; there are {:?}", self.0.keys()))
    }

    /// `weight x + bias` of the layer `name`, for a vector or for each row.
    fn linear(&self, name: &str, x: &Tensor) -> Computed {
        let (w, b) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        match x.rank() {
            1 => x.unsqueeze(0)?.matmul(&w.t()?)?.squeeze(0)?.add(b),
            _ => x.matmul(&w.t()?)?.broadcast_add(b),
        }
    }
}

struct Case {
    /// Declarations: `net` and its inputs.
    text: &'static str,
    /// An array.
    value: &'static str,
    /// The same, by candle.
    candle: fn(&Env) -> Computed,
    /// Parameters of `net` with their shapes, as PyTorch has them.
    names: &'static [(&'static str, &'static [usize])],
}

fn sigmoid(x: &Tensor) -> Computed {
    (x.neg()?.exp()? + 1.0)?.recip()
}

fn softmax(x: &Tensor) -> Computed {
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

fn two_layers(e: &Env, activation: fn(&Tensor) -> Computed) -> Computed {
    e.linear("net.2", &activation(&e.linear("net.0", e.get("x"))?)?)
}

const MLP: &[(&str, &[usize])] =
    &[("net.0.weight", &[5, 3]), ("net.0.bias", &[5]), ("net.2.weight", &[2, 5]), ("net.2.bias", &[2])];

fn attention(e: &Env, causal: bool) -> Computed {
    let (w, b) = (e.get("net.in_proj_weight"), e.get("net.in_proj_bias"));
    let project =
        |x: &Tensor, k: usize| -> Computed { x.matmul(&w.narrow(0, 4 * k, 4)?.t()?)?.broadcast_add(&b.narrow(0, 4 * k, 4)?) };
    let (q, k, v) = (project(e.get("q"), 0)?, project(e.get("k"), 1)?, project(e.get("k"), 2)?);
    let mut heads = Vec::new();
    for h in 0..2 {
        let part = |x: &Tensor| x.narrow(1, 2 * h, 2);
        let mut scores = (part(&q)?.matmul(&part(&k)?.t()?)? / 2f64.sqrt())?;
        if causal {
            let mask: Vec<f64> = (0..9).map(|i| if i % 3 > i / 3 { -1e30 } else { 0.0 }).collect();
            scores = (scores + Tensor::from_vec(mask, (3, 3), &Device::Cpu)?)?;
        }
        heads.push(softmax(&scores)?.matmul(&part(&v)?)?);
    }
    e.linear("net.out_proj", &Tensor::cat(&heads, 1)?)
}

/// Bilinear interpolation of `image` at positions `scale * u + shift`, where `u` are the centres of the result's pixels: pixel by pixel.
fn sampled(e: &Env, image: &str, n: usize, inverse: bool) -> Computed {
    let (image, pos) = (e.get(image), e.get("pos"));
    let (scale, dx, dy) = (pos.get(0)?, pos.get(1)?, pos.get(2)?);
    let (scale, dx, dy) = match inverse {
        true => (scale.recip()?, (dx.neg()? / &scale)?, (dy.neg()? / &scale)?),
        false => (scale, dx, dy),
    };
    let (height, width) = image.dims2()?;
    let at = |i: usize, shift: &Tensor, size: usize| -> Computed {
        let u = (2 * i + 1) as f64 / n as f64 - 1.0;
        (((((&scale * u)? + shift)? + 1.0)? * size as f64)? - 1.0)? / 2.0
    };
    let mut rows = Vec::new();
    for i in 0..n {
        let y = at(i, &dy, height)?;
        for j in 0..n {
            let x = at(j, &dx, width)?;
            let (fy, fx) = (y.to_scalar::<f64>()?.floor(), x.to_scalar::<f64>()?.floor());
            let mut sum = Tensor::zeros((), candle_core::DType::F64, &Device::Cpu)?;
            for (r, wy) in [(fy, ((fy + 1.0) - &y)?), (fy + 1.0, (&y - fy)?)] {
                for (c, wx) in [(fx, ((fx + 1.0) - &x)?), (fx + 1.0, (&x - fx)?)] {
                    if r >= 0.0 && c >= 0.0 && (r as usize) < height && (c as usize) < width {
                        sum = (sum + (image.get(r as usize)?.get(c as usize)? * (&wy * &wx)?)?)?;
                    }
                }
            }
            rows.push(sum);
        }
    }
    Tensor::stack(&rows, 0)?.reshape((n, n))
}

const CASES: &[Case] = &[
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.linear(3, 2)",
        value: "net(x)",
        candle: |e| e.linear("net", e.get("x")),
        names: &[("net.weight", &[2, 3]), ("net.bias", &[2])],
    },
    Case {
        text: "param x: real[4, 3] = normal(0, 1)\nparam net = nn.linear(3, 2, bias = false)",
        value: "net(x)",
        candle: |e| e.get("x").matmul(&e.get("net.weight").t()?),
        names: &[("net.weight", &[2, 3])],
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.mlp([3, 5, 2], relu)",
        value: "net(x)",
        candle: |e| two_layers(e, |h| h.relu()),
        names: MLP,
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.mlp([3, 5, 2], tanh, init = nn.xavier_normal)",
        value: "net(x)",
        candle: |e| two_layers(e, |h| h.tanh()),
        names: MLP,
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.mlp([3, 5, 2], leaky_relu, init = nn.kaiming_uniform)",
        value: "net(x)",
        candle: |e| two_layers(e, |h| h.relu()? - (h.neg()?.relu()? * 0.01)?),
        names: MLP,
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.mlp([3, 5, 2], sigmoid, init = nn.orthogonal)",
        value: "net(x)",
        candle: |e| two_layers(e, sigmoid),
        names: MLP,
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.mlp([3, 5, 2], softplus, init = nn.kaiming_normal)",
        value: "net(x)",
        candle: |e| two_layers(e, |h| (h.exp()? + 1.0)?.log()),
        names: MLP,
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.mlp([3, 5, 2], elu, init = nn.xavier_uniform)",
        value: "net(x)",
        candle: |e| two_layers(e, |h| h.elu(1.0)),
        names: MLP,
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.mlp([3, 5, 2], silu)",
        value: "net(x)",
        candle: |e| two_layers(e, |h| h.silu()),
        names: MLP,
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.mlp([3, 5, 2], gelu)",
        value: "net(x)",
        candle: |e| two_layers(e, |h| h.gelu_erf()),
        names: MLP,
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam net = nn.sequential([nn.residual(nn.linear(3, 3)), nn.layer_norm(3)])",
        value: "net(x)",
        candle: |e| {
            let h = (e.get("x") + e.linear("net.0", e.get("x"))?)?;
            let c = h.broadcast_sub(&h.mean(0)?)?;
            let s = (c.sqr()?.mean(0)? + 1e-5)?.sqrt()?;
            c.broadcast_div(&s)?.mul(e.get("net.1.weight"))?.add(e.get("net.1.bias"))
        },
        names: &[("net.0.weight", &[3, 3]), ("net.0.bias", &[3]), ("net.1.weight", &[3]), ("net.1.bias", &[3])],
    },
    Case {
        text: "param net = nn.embedding(4, 3)",
        value: "net([2, 0, 2])",
        candle: |e| e.get("net.weight").index_select(&Tensor::new(&[2u32, 0, 2], &Device::Cpu)?, 0),
        names: &[("net.weight", &[4, 3])],
    },
    Case {
        text: "param x: real[2, 5, 7] = normal(0, 1)\nparam net = nn.conv2d(2, 3, 3, stride = 2, padding = 1)",
        value: "net(x)",
        candle: |e| {
            let y = e.get("x").unsqueeze(0)?.conv2d(e.get("net.weight"), 1, 2, 1, 1)?;
            y.squeeze(0)?.broadcast_add(&e.get("net.bias").reshape((3, 1, 1))?)
        },
        names: &[("net.weight", &[3, 2, 3, 3]), ("net.bias", &[3])],
    },
    Case {
        text: "param x: real[1, 4, 4] = normal(0, 1)\nparam net = nn.conv2d(1, 2, 2)",
        value: "net(x)",
        candle: |e| {
            let y = e.get("x").unsqueeze(0)?.conv2d(e.get("net.weight"), 0, 1, 1, 1)?;
            y.squeeze(0)?.broadcast_add(&e.get("net.bias").reshape((2, 1, 1))?)
        },
        names: &[("net.weight", &[2, 1, 2, 2]), ("net.bias", &[2])],
    },
    Case {
        text: "param x: real[2, 3, 4] = normal(0, 1)\nparam net = nn.conv_transpose2d(2, 3, 3, stride = 2, padding = 1)",
        value: "net(x)",
        candle: |e| {
            let y = e.get("x").unsqueeze(0)?.conv_transpose2d(e.get("net.weight"), 1, 0, 2, 1)?;
            y.squeeze(0)?.broadcast_add(&e.get("net.bias").reshape((3, 1, 1))?)
        },
        names: &[("net.weight", &[2, 3, 3, 3]), ("net.bias", &[3])],
    },
    Case {
        text: "param x: real[2, 4, 6] = normal(0, 1)\nparam net = nn.sequential([nn.conv2d(2, 2, 1), nn.max_pool2d(2), nn.flatten()])",
        value: "net(x)",
        candle: |e| {
            let y = e.get("x").unsqueeze(0)?.conv2d(e.get("net.0.weight"), 0, 1, 1, 1)?;
            let y = y.squeeze(0)?.broadcast_add(&e.get("net.0.bias").reshape((2, 1, 1))?)?;
            y.reshape((2, 2, 2, 3, 2))?.max(4)?.max(2)?.flatten_all()
        },
        names: &[("net.0.weight", &[2, 2, 1, 1]), ("net.0.bias", &[2])],
    },
    Case {
        text: "param x: real[8] = normal(0, 1)\nparam net = nn.sequential([nn.linear(8, 8), nn.unflatten(2, 2, 2), nn.avg_pool2d(2)])",
        value: "net(x)",
        candle: |e| e.linear("net.0", e.get("x"))?.reshape((2, 4))?.mean(1)?.reshape((2, 1, 1)),
        names: &[("net.0.weight", &[8, 8]), ("net.0.bias", &[8])],
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam h: real[2] = normal(0, 1)\nparam net = nn.gru_cell(3, 2)",
        value: "net(x, h)",
        candle: |e| {
            let row =
                |w: &str, b: &str, x: &Tensor| -> Computed { x.unsqueeze(0)?.matmul(&e.get(w).t()?)?.squeeze(0)? + e.get(b) };
            let a = row("net.weight_ih", "net.bias_ih", e.get("x"))?;
            let b = row("net.weight_hh", "net.bias_hh", e.get("h"))?;
            let r = sigmoid(&(a.narrow(0, 0, 2)? + b.narrow(0, 0, 2)?)?)?;
            let z = sigmoid(&(a.narrow(0, 2, 2)? + b.narrow(0, 2, 2)?)?)?;
            let n = (a.narrow(0, 4, 2)? + (r * b.narrow(0, 4, 2)?)?)?.tanh()?;
            ((1.0 - &z)? * n)? + (z * e.get("h"))?
        },
        names: &[("net.weight_ih", &[6, 3]), ("net.weight_hh", &[6, 2]), ("net.bias_ih", &[6]), ("net.bias_hh", &[6])],
    },
    Case {
        text: "param x: real[3] = normal(0, 1)\nparam h: real[2] = normal(0, 1)\nparam c: real[2] = normal(0, 1)\nparam net = nn.lstm_cell(3, 2)\n\
            fn both() { let (a, b) = net(x, h, c)\n concat(a, b) }",
        value: "both()",
        candle: |e| {
            let row =
                |w: &str, b: &str, x: &Tensor| -> Computed { x.unsqueeze(0)?.matmul(&e.get(w).t()?)?.squeeze(0)? + e.get(b) };
            let a = (row("net.weight_ih", "net.bias_ih", e.get("x"))? + row("net.weight_hh", "net.bias_hh", e.get("h"))?)?;
            let part = |k: usize| a.narrow(0, 2 * k, 2);
            let c = ((sigmoid(&part(1)?)? * e.get("c"))? + (sigmoid(&part(0)?)? * part(2)?.tanh()?)?)?;
            Tensor::cat(&[(sigmoid(&part(3)?)? * c.tanh()?)?, c], 0)
        },
        names: &[("net.weight_ih", &[8, 3]), ("net.weight_hh", &[8, 2]), ("net.bias_ih", &[8]), ("net.bias_hh", &[8])],
    },
    Case {
        text: "param q: real[2, 4] = normal(0, 1)\nparam k: real[3, 4] = normal(0, 1)\nparam net = nn.attention(4, 2)",
        value: "net(q, k, k)",
        candle: |e| attention(e, false),
        names: ATTENTION,
    },
    Case {
        text: "param q: real[3, 4] = normal(0, 1)\nparam k: real[3, 4] = normal(0, 1)\nparam net = nn.attention(4, 2, causal = true)",
        value: "net(q, k, k)",
        candle: |e| attention(e, true),
        names: ATTENTION,
    },
    Case {
        text: "param x: real[6, 5] = normal(0, 1)\nparam pos: real[3] = [1.7, 0.31, -0.43]",
        value: "nn.crop(x, pos, 4, 4)",
        candle: |e| sampled(e, "x", 4, true),
        names: &[],
    },
    Case {
        text: "param x: real[4, 3] = normal(0, 1)\nparam pos: real[3] = [1.7, 0.31, -0.43]",
        value: "nn.place(x, pos, 6, 6)",
        candle: |e| sampled(e, "x", 6, false),
        names: &[],
    },
];

const ATTENTION: &[(&str, &[usize])] = &[
    ("net.in_proj_weight", &[12, 4]),
    ("net.in_proj_bias", &[12]),
    ("net.out_proj.weight", &[4, 4]),
    ("net.out_proj.bias", &[4]),
];

/// The sum of the sines of the array, so that every element counts differently.
fn fitted(case: &Case) -> Fitted {
    let text = format!("use std.nn\n{}\nfit maximize sum(sin({})) using particles 1\n", case.text, case.value);
    let model = Model::from_text(&text, root().join("examples"), &[]).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{text}\n{e:?}"))
}

#[test]
fn values_and_gradients_are_candles() {
    for case in CASES {
        let f = fitted(case);
        let specs = &f.program.params;
        let vars = specs.iter().zip(&f.params).map(|(p, x)| {
            let t = Tensor::from_vec(x.clone(), p.shape.clone(), &Device::Cpu).expect("a tensor");
            (p.name.clone(), Var::from_tensor(&t).expect("a variable"))
        });
        let env = Env(vars.collect());
        let value = (case.candle)(&env).and_then(|y| y.sin()?.sum_all()).unwrap_or_else(|e| panic!("{}: {e}", case.text));
        let grads = value.backward().expect("gradients");
        for precision in [Precision::F64, Precision::F32] {
            // candle's derivative of erf has eight digits.
            let double = if case.text.contains("gelu") { 1e-7 } else { 1e-10 };
            let tolerance = if precision == Precision::F64 { double } else { 2e-4 };
            let all = [f.gradient_native(precision, 0, 0), f.gradient_reference(precision, 0, 0)].map(|r| r.expect("a gradient"));
            for ours in all {
                let theirs = value.to_scalar::<f64>().expect("a number");
                assert!(
                    (ours[0][0] - theirs).abs() < tolerance * theirs.abs().max(1.0),
                    "{}: {} is not {theirs}",
                    case.text,
                    ours[0][0]
                );
                for (p, g) in f.code.learned.iter().zip(&ours[1..]) {
                    let name = &specs[*p].name;
                    let theirs = grads.get(env.get(name)).unwrap_or_else(|| panic!("{}: no gradient of {name}", case.text));
                    let theirs: Vec<f64> = theirs.flatten_all().and_then(|t| t.to_vec1()).expect("numbers");
                    for (i, (a, b)) in g.iter().zip(&theirs).enumerate() {
                        assert!((a - b).abs() < tolerance * b.abs().max(1.0), "{}: {name}[{i}]: {a} is not {b}", case.text);
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_are_limits_of_differences() {
    const H: f64 = 1e-5;
    for case in CASES {
        let mut f = fitted(case);
        let ours = f.gradient_native(Precision::F64, 0, 0).expect("a gradient");
        let learned = f.code.learned.clone();
        for (k, p) in learned.into_iter().enumerate() {
            for (i, found) in ours[k + 1].iter().copied().enumerate() {
                let x = f.params[p][i];
                let mut at = |v: f64| {
                    f.params[p][i] = v;
                    f.gradient_native(Precision::F64, 0, 0).expect("a value")[0][0]
                };
                let slope = (at(x + H) - at(x - H)) / (2.0 * H);
                at(x);
                // The error of a central difference: curvature of order 1 times H^2, and rounding of order 1e-16 / H.
                assert!(
                    (found - slope).abs() < 1e-7 * slope.abs().max(1.0),
                    "{}: {}[{i}]: {found}, {slope}",
                    case.text,
                    f.program.params[p].name
                );
            }
        }
    }
}

#[test]
fn parameters_have_pytorchs_names_and_shapes() {
    for case in CASES {
        let f = fitted(case);
        let own = f.program.params.iter().filter(|p| p.name.starts_with("net."));
        let found: BTreeMap<&str, &[usize]> = own.map(|p| (p.name.as_str(), p.shape.as_slice())).collect();
        assert_eq!(found, case.names.iter().copied().collect(), "{}", case.text);
    }
}

/// Initial values of the weights of a layer of many.
fn weights(init: &str) -> Vec<f64> {
    let text = format!("use std.nn\nparam net = nn.linear(200, 100, init = nn.{init})\nfit maximize -sum(net(zeros(200)))\n");
    let model = Model::from_text(&text, root().join("examples"), &[]).unwrap_or_else(|e| panic!("{e:?}"));
    let f = Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{e:?}"));
    let at = f.program.params.iter().position(|p| p.name == "net.weight").expect("weights");
    f.params[at].clone()
}

/// Variances against those that the initialisers promise: 20,000 draws, so the relative standard error is 1 % for normal and 0.6 % for uniform ones; five of
/// them are allowed.
#[test]
fn initialisers_have_their_variances() {
    let cases = [
        ("fan_in_uniform", 1.0 / 600.0),
        ("xavier_uniform", 2.0 / 300.0),
        ("xavier_normal", 2.0 / 300.0),
        ("kaiming_uniform", 2.0 / 200.0),
        ("kaiming_normal", 2.0 / 200.0),
    ];
    for (init, variance) in cases {
        let w = weights(init);
        let found = w.iter().map(|x| x * x).sum::<f64>() / w.len() as f64;
        assert!((found / variance - 1.0).abs() < 0.05, "{init}: {found}, {variance}");
        let mean = w.iter().sum::<f64>() / w.len() as f64;
        assert!(mean.abs() < 5.0 * (variance / w.len() as f64).sqrt(), "{init}: {mean}");
    }
    let w = weights("orthogonal");
    for i in 0..3 {
        for j in 0..3 {
            let dot: f64 = (0..200).map(|k| w[i * 200 + k] * w[j * 200 + k]).sum();
            assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-9, "{i}, {j}: {dot}");
        }
    }
}

/// Dropout: zeros and scaled numbers in a step, nothing in an evaluation; its mean over steps is the number itself.
#[test]
fn dropout_is_for_steps() {
    let text = "use std.nn\nparam w: real[2000] = 1.0\nparam net = nn.sequential([nn.dropout(0.2)])\nfit maximize sum(net(w)) using particles 1\n";
    let model = Model::from_text(text, root().join("examples"), &[]).unwrap_or_else(|e| panic!("{e:?}"));
    let f = Fitted::new(&model, &FitOverrides::default(), Some(1)).unwrap_or_else(|e| panic!("{e:?}"));
    let step = f.gradient_native(Precision::F64, 3, 0).expect("a gradient");
    let kept = step[1].iter().filter(|g| (**g - 1.25).abs() < 1e-12).count();
    assert_eq!(kept + step[1].iter().filter(|g| **g == 0.0).count(), 2000);
    // A binomial number with standard deviation sqrt(2000 * 0.16) = 18.
    assert!((kept as f64 - 1600.0).abs() < 5.0 * 18.0, "{kept}");
    assert_ne!(step[1], f.gradient_native(Precision::F64, 3, 1).expect("another step")[1]);
    let estimate = &f.code.estimates[0];
    let inputs: Vec<_> = estimate.inputs.iter().filter(|g| matches!(g, Global::Param(_))).copied().collect();
    let value = run_native(&estimate.func, &f.inputs(&inputs), Precision::F64, 3, 0).expect("an evaluation");
    assert!(value[0].iter().all(|v| (v - 2000.0).abs() < 1e-9), "{:?}", value[0]);
}
