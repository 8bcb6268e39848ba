use super::*;
use crate::optim::{OptimizerSpec, OptimizerState};
use crate::step::check_params;

/// Maximises `-sum (x - 2)^2` plus a little noise that is a function of the step's number.
struct Mock {
    spec: OptimizerSpec,
    params: Vec<Param>,
    optimizer: OptimizerState,
    total: u64,
    /// From this step on, the gradient of `x[1]` is NaN.
    bad_gradient: Option<u64>,
    /// At this step the objective is infinite.
    bad_objective: Option<u64>,
    /// At this step native code reports a fault.
    fault: Option<u64>,
    largest_run: usize,
}

fn mock(total: u64) -> Mock {
    let spec = OptimizerSpec::from_call("adam", &[0.01], &[]).unwrap();
    let params = vec![
        Param { name: "x".into(), shape: vec![3], values: vec![0.0, 1.0, -1.0] },
        Param { name: "y".into(), shape: vec![], values: vec![0.0] },
    ];
    let optimizer = OptimizerState::new(&spec, &params);
    let (bad_gradient, bad_objective, fault) = (None, None, None);
    Mock { spec, params, optimizer, total, bad_gradient, bad_objective, fault, largest_run: 0 }
}

fn noise(step: u64) -> f64 {
    let bits = (step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((bits ^ (bits >> 29)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

impl Step for Mock {
    fn run(&mut self, start: u64, out: &mut [f64]) -> Result<(), StepFault> {
        self.largest_run = self.largest_run.max(out.len());
        for (step, out) in (start..).zip(out) {
            if self.fault == Some(step) {
                let message = "the matrix is not positive definite".to_owned();
                return Err(StepFault { step, message, ..StepFault::default() });
            }
            let squares: f64 = self.params.iter().flat_map(|p| &p.values).map(|x| (x - 2.0).powi(2)).sum();
            *out = if self.bad_objective == Some(step) { f64::INFINITY } else { noise(step) - squares };
            let mut gradients: Vec<Vec<f64>> =
                self.params.iter().map(|p| p.values.iter().map(|x| noise(step) - 2.0 * (x - 2.0)).collect()).collect();
            if self.bad_gradient.is_some_and(|bad| step >= bad) {
                gradients[0][1] = f64::NAN;
            }
            self.optimizer.update(&self.spec, Direction::Maximize, &mut self.params, &gradients, step, self.total);
        }
        Ok(())
    }

    fn params(&self) -> Vec<Param> {
        self.params.clone()
    }

    fn set_params(&mut self, params: &[Param]) -> Result<(), Diagnostic> {
        check_params(&self.params, params, false)?;
        for new in params {
            self.params.iter_mut().filter(|p| p.name == new.name).for_each(|p| p.values.clone_from(&new.values));
        }
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        let mut all = self.params.clone();
        all.extend(self.optimizer.to_params(&self.spec, &self.params));
        Snapshot(all)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), Diagnostic> {
        check_params(&self.snapshot().0, &snapshot.0, true)?;
        self.params.iter_mut().for_each(|p| p.values.clone_from(&snapshot.get(&p.name).unwrap().values));
        self.optimizer = OptimizerState::from_params(&self.spec, &self.params, &snapshot.0).unwrap();
        Ok(())
    }
}

fn options(steps: u64) -> FitOptions {
    FitOptions { quiet: true, ..FitOptions::new(steps, Direction::Maximize) }
}

/// The state after exactly `steps` steps, run one at a time.
fn reference(mut m: Mock, steps: u64) -> Snapshot {
    for s in 0..steps {
        m.run(s, &mut [0.0]).unwrap();
    }
    m.snapshot()
}

#[test]
fn a_fit_runs_all_steps_and_reports() {
    let mut m = mock(4000);
    let outcome = fit(&mut m, &options(4000));
    assert_eq!((outcome.status(), outcome.next_step, outcome.trace.steps()), ("finished", 4000, 4000));
    assert!(outcome.params.iter().flat_map(|p| &p.values).all(|x| (x - 2.0).abs() < 0.2), "{:?}", outcome.params);
    assert_eq!(outcome.state, reference(mock(4000), 4000));
    let e = outcome.estimate.unwrap();
    assert!(e.mean.abs() < 0.2 && e.mcse < 0.1, "{e:?}");
    assert!(m.largest_run > 1 && outcome.notes.is_empty(), "{:?}", outcome.notes);
}

#[test]
fn results_do_not_depend_on_the_length_of_runs() {
    let run = |every| {
        let mut m = mock(700);
        let outcome = fit(&mut m, &FitOptions { update_every: every, ..options(700) });
        (outcome.state, outcome.trace.to_csv())
    };
    assert_eq!(run(Duration::ZERO), run(Duration::from_secs(5)));
}

#[test]
fn a_resumed_fit_is_the_same_to_the_bit() {
    let whole = fit(&mut mock(500), &options(500));
    let first = fit(&mut mock(500), &options(200));
    let mut m = mock(500);
    m.restore(&first.state).unwrap();
    let rest = fit(&mut m, &FitOptions { start: first.next_step, ..options(300) });
    assert_eq!((rest.state, rest.next_step), (whole.state, 500));
}

#[test]
fn an_infinite_objective_stops_and_keeps_the_state_before() {
    for bad in [0, 1, 5, 333] {
        let mut m = Mock { bad_objective: Some(bad), ..mock(1000) };
        let outcome = fit(&mut m, &options(1000));
        let failure = outcome.failure.clone().unwrap();
        assert_eq!((failure.step, failure.objective, outcome.next_step), (bad, Some(f64::INFINITY), bad));
        assert_eq!(failure.diagnostic.code.0, "E0701");
        assert_eq!(outcome.trace.steps(), bad);
        assert_eq!(outcome.state, reference(mock(1000), bad));
        assert_eq!(m.snapshot(), outcome.state);
        assert_eq!(outcome.status(), "failed");
    }
}

#[test]
fn a_bad_gradient_is_blamed_on_its_step_and_parameter() {
    for bad in [0, 1, 6, 500, 999] {
        let mut m = Mock { bad_gradient: Some(bad), ..mock(1000) };
        let outcome = fit(&mut m, &options(1000));
        let failure = outcome.failure.unwrap();
        assert_eq!((failure.step, failure.diagnostic.code.0), (bad, "E0702"), "{:?}", failure.diagnostic);
        let want = NonFinite { name: "x".into(), first: "[1]".into(), count: 1, of: 3 };
        assert_eq!(failure.non_finite, [want]);
        assert!(failure.diagnostic.title.contains("`x[1]`"));
        assert_eq!(outcome.state, reference(mock(1000), bad));
        assert_eq!(outcome.trace.steps(), bad);
    }
}

#[test]
fn a_native_fault_is_reported_with_its_message() {
    let mut m = Mock { fault: Some(77), ..mock(1000) };
    let outcome = fit(&mut m, &options(1000));
    let failure = outcome.failure.unwrap();
    assert_eq!((failure.step, failure.diagnostic.code.0), (77, "E0703"));
    assert!(failure.diagnostic.title.contains("not positive definite"));
    assert_eq!(outcome.state, reference(mock(1000), 77));
    assert!(failure.non_finite.is_empty());
}

#[test]
fn no_steps_and_an_early_stop() {
    let outcome = fit(&mut mock(1), &options(0));
    assert_eq!((outcome.status(), outcome.estimate, outcome.trace.steps()), ("finished", None, 0));
    let stop = Arc::new(AtomicBool::new(true));
    let outcome = fit(&mut mock(10), &FitOptions { stop: Some(stop), ..options(10) });
    assert_eq!((outcome.status(), outcome.next_step), ("interrupted", 0));
}

#[test]
fn an_unfinished_climb_is_noted() {
    let mut m = mock(100);
    m.spec.rate = 1e-4;
    let outcome = fit(&mut m, &options(1000));
    assert!(outcome.notes.iter().any(|n| n.contains("still improving")), "{:?}", outcome.notes);
}

#[test]
fn a_failed_run_is_saved_and_resumes_to_the_same_bits() {
    use crate::rundir::{Place, RunFiles, Settings, load_params, load_state, write_run};
    use crate::summary::Summary;

    let root = tempfile::tempdir().unwrap();
    let outcome = fit(&mut Mock { bad_gradient: Some(321), ..mock(600) }, &options(600));
    let failure = outcome.failure.as_ref().unwrap();
    let settings = Settings {
        status: outcome.status().into(),
        failure: Some(failure.diagnostic.title.clone()),
        version: "0".into(),
        model: "m.ppl".into(),
        model_source: String::new(),
        seed: 0,
        next_step: outcome.next_step,
        data: vec![],
        command: serde_json::Value::Null,
        options: serde_json::Map::new(),
        notes: outcome.notes.clone(),
    };
    let summary = Summary { objective: outcome.estimate, ..Summary::default() };
    let (params, state, trace) = (&outcome.params[..], &outcome.state, &outcome.trace);
    let files =
        RunFiles { settings: &settings, params, state, trace, summary: &summary, validation: None, best: None, draws: None };
    let place = Place::Next { root: root.path().into(), model: "m".into() };
    let folder = write_run(&place, files).unwrap();

    assert!(crate::rundir::load_settings(&folder).unwrap()["failure"].as_str().unwrap().contains("step 321"));
    let mut resumed = mock(600);
    resumed.set_params(&load_params(&folder).unwrap()).unwrap();
    resumed.restore(&load_state(&folder).unwrap()).unwrap();
    assert_eq!(resumed.restore(&Snapshot(vec![])).unwrap_err().code.0, "E0623");
    let rest = fit(&mut resumed, &FitOptions { start: 321, ..options(600 - 321) });
    assert_eq!(rest.state, fit(&mut mock(600), &options(600)).state);
}
