use super::*;

fn call(name: &str, positional: &[f64]) -> OptimizerSpec {
    OptimizerSpec::from_call(name, positional, &[]).unwrap()
}

/// The values of one scalar parameter, from 1, under these gradients of a minimised objective.
fn path(spec: &OptimizerSpec, gradients: &[f64]) -> Vec<f64> {
    let mut params = vec![Param { name: "x".into(), shape: vec![], values: vec![1.0] }];
    let mut state = OptimizerState::new(spec, &params);
    let mut update = |(s, &g)| {
        state.update(spec, Direction::Minimize, &mut params, &[vec![g]], s as u64, gradients.len() as u64);
        params[0].values[0]
    };
    gradients.iter().enumerate().map(&mut update).collect()
}

fn close(got: &[f64], want: &[f64]) {
    assert!(got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?} is not {want:?}");
}

#[test]
fn updates_computed_by_hand() {
    close(&path(&call("sgd", &[0.1]), &[1.0, -2.0]), &[0.9, 1.1]);
    // v = 1, then 0.5 * 1 + 1 = 1.5
    close(&path(&call("momentum", &[0.1, 0.5]), &[1.0, 1.0]), &[0.9, 0.75]);
    // g + mu v = 1.5, then 1.75
    close(&path(&call("nesterov", &[0.1, 0.5]), &[1.0, 1.0]), &[0.85, 0.675]);
    // v = 0.1 * 4 = 0.4; 0.1 * 2 / sqrt(0.4)
    close(&path(&call("rmsprop", &[0.1, 0.9, 0.0]), &[2.0]), &[1.0 - 0.2 / 0.4f64.sqrt()]);
    // v = 9, then 25
    close(&path(&call("adagrad", &[0.1, 0.0]), &[3.0, 4.0]), &[0.9, 0.9 - 0.4 / 5.0]);
    // Bias correction makes the first step lr * sign(g); second: m = 0.9 * 0.1 * 2 - 0.1 * 1, v = 0.999 * 0.004 + 0.001
    let m: f64 = (0.9 * 0.2 - 0.1) / 0.19;
    let v: f64 = (0.999 * 0.004 + 0.001) / (1.0 - 0.999f64.powi(2));
    close(&path(&call("adam", &[0.1, 0.9, 0.999, 0.0]), &[2.0, -1.0]), &[0.9, 0.9 - 0.1 * m / v.sqrt()]);
}

#[test]
fn clipped_updates_computed_by_hand() {
    let clipped = |named: &[(&str, f64)]| {
        let spec = OptimizerSpec::from_call("sgd", &[1.0], named).unwrap();
        let mut params =
            [("x", vec![0.0, 0.0]), ("y", vec![0.0])].map(|(n, v)| Param { name: n.into(), shape: vec![v.len()], values: v });
        let mut state = OptimizerState::new(&spec, &params);
        state.update(&spec, Direction::Minimize, &mut params, &[vec![-2.0, 1.0], vec![2.0]], 0, 1);
        params.iter().flat_map(|p| p.values.clone()).collect::<Vec<f64>>()
    };
    // The norm is 3.
    close(&clipped(&[("clip_norm", 1.5)]), &[1.0, -0.5, -1.0]);
    close(&clipped(&[("clip_norm", 3.5)]), &[2.0, -1.0, -2.0]);
    close(&clipped(&[("clip_value", 1.25)]), &[1.25, -1.0, -1.25]);
    // The norm first.
    close(&clipped(&[("clip_value", 0.75), ("clip_norm", 1.5)]), &[0.75, -0.5, -0.75]);
    let mut huge = vec![vec![3e200], vec![4e200]];
    Clip { norm: Some(5.0), value: None }.apply(&mut huge);
    close(&huge.concat(), &[3.0, 4.0]);
    let mut none = vec![vec![0.0]];
    Clip { norm: Some(5.0), value: Some(1.0) }.apply(&mut none);
    close(&none.concat(), &[0.0]);
    let mut infinite = vec![vec![f64::INFINITY, 1.0]];
    Clip { norm: Some(5.0), value: None }.apply(&mut infinite);
    assert!(infinite[0].iter().any(|g| !g.is_finite()), "a gradient that is not finite is not hidden");
}

#[test]
fn every_optimiser_descends_a_parabola_both_ways() {
    for name in OptimizerSpec::names() {
        let spec = OptimizerSpec {
            schedule: Schedule { shape: Shape::Cosine { to_fraction: 0.0 }, warmup: 10 },
            ..call(name, &[if name == "adagrad" { 0.5 } else { 0.1 }])
        };
        for direction in [Direction::Minimize, Direction::Maximize] {
            let mut params = vec![Param { name: "x".into(), shape: vec![2], values: vec![2.0, -3.0] }];
            let mut state = OptimizerState::new(&spec, &params);
            for step in 0..2000 {
                let g = params[0].values.iter().map(|x| -direction.sign() * 2.0 * (x - 0.5)).collect();
                state.update(&spec, direction, &mut params, &[g], step, 2000);
            }
            assert!(params[0].values.iter().all(|x| (x - 0.5).abs() < 1e-2), "{name}: {:?}", params[0].values);
        }
    }
}

#[test]
fn calls_print_as_they_are_written() {
    for name in OptimizerSpec::names() {
        let spec = call(name, &[0.5]);
        let text = spec.to_string();
        let (head, args) = text.strip_suffix(')').unwrap().split_once('(').unwrap();
        let values: Vec<f64> = args.split(", ").map(|a| a.parse().unwrap()).collect();
        assert_eq!(call(head, &values), spec);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<OptimizerSpec>(&json).unwrap(), spec);
    }
    let spec = OptimizerSpec::from_call("adam", &[0.1], &[("clip_norm", 10.0), ("clip_value", 0.5)]).unwrap();
    assert_eq!(spec.to_string(), "adam(0.1, 0.9, 0.999, 1e-8, clip_norm = 10.0, clip_value = 0.5)");
    assert_eq!(serde_json::from_str::<OptimizerSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
    let spec = OptimizerSpec::from_call("adam", &[], &[("lr", 0.5), ("beta2", 0.9)]).unwrap();
    assert_eq!(spec.kind, OptimizerKind::Adam { beta1: 0.9, beta2: 0.9, eps: 1e-8 });
}

#[test]
fn wrong_calls_are_explained() {
    let error = |name, positional: &[f64], named: &[(&str, f64)]| {
        let d = OptimizerSpec::from_call(name, positional, named).unwrap_err();
        assert_eq!(d.code.0, "E0704");
        format!("{} {:?}", d.title, d.help)
    };
    assert!(error("adm", &[], &[]).contains("did you mean `adam`"));
    assert!(error("sgd", &[-1.0], &[]).contains("positive number, not -1"));
    assert!(error("sgd", &[f64::NAN], &[]).contains("positive"));
    assert!(error("sgd", &[0.1, 0.9], &[]).contains("at most 1"));
    assert!(error("adam", &[0.1, 1.0], &[]).contains("`beta1` must lie in [0, 1), not 1"));
    assert!(error("adam", &[0.1], &[("rate", 0.2)]).contains("twice"));
    assert!(error("adam", &[], &[("mu", 0.2)]).contains("no setting `mu`"));
    assert!(error("adam", &[], &[("clip_norm", 0.0)]).contains("`clip_norm` must be a positive number, not 0"));
    assert!(error("sgd", &[], &[("clip_value", 1.0), ("clip_value", 2.0)]).contains("twice"));
    let bad =
        OptimizerSpec { schedule: Schedule { shape: Shape::Exponential { rate: 0.9, every: 0 }, warmup: 0 }, ..call("sgd", &[]) };
    assert!(bad.check().is_err());
}
