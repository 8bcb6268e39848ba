use super::*;
use crate::step::Param;

fn settings() -> Settings {
    Settings {
        status: "finished".into(),
        failure: None,
        version: "0.1.0".into(),
        model: "cone.ppl".into(),
        model_source: "abc".into(),
        seed: 3,
        next_step: 10,
        data: vec![],
        command: serde_json::Value::Null,
        options: serde_json::Map::from_iter([("particles".to_owned(), 64.into())]),
        notes: vec![],
    }
}

fn params() -> Vec<Param> {
    let p = |name: &str, shape: &[usize], values: &[f64]| Param { name: name.into(), shape: shape.into(), values: values.into() };
    vec![
        p("auto_normal.theta.log_scale", &[2, 2], &[0.1, -0.0, f64::MIN_POSITIVE, 1e300]),
        p("empty", &[0], &[]),
        p("mu", &[], &[std::f64::consts::PI]),
    ]
}

fn write(place: &Place, params: &[Param]) -> Result<PathBuf, Diagnostic> {
    let mut trace = Trace::default();
    trace.push(0, -1.5);
    let mut draws = Draws::default();
    draws.push("theta", &[2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
    let summary = Summary::new(&draws, trace.estimate());
    let state = Snapshot(params.to_vec());
    let files = RunFiles {
        settings: &settings(),
        params,
        state: &state,
        trace: &trace,
        summary: &summary,
        validation: None,
        best: None,
        draws: Some(&draws),
    };
    write_run(place, files)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn dir(path: PathBuf, overwrite: bool) -> Place {
    Place::Dir { path, overwrite }
}

#[test]
fn everything_is_written_and_read_back_to_the_bit() {
    let root = tempfile::tempdir().unwrap();
    let path = write(&Place::Next { root: root.path().join("runs"), model: "cone".into() }, &params()).unwrap();
    assert!(path.ends_with("runs/cone-1"));
    let files = ["draws.csv", "params.safetensors", "settings.json", "state.safetensors", "summary.json", "trace.csv"];
    assert_eq!(names(&path), files);
    let read = load_params(&path).unwrap();
    assert_eq!(read, params());
    assert_eq!(read[0].values[1].to_bits(), (-0.0f64).to_bits());
    assert_eq!(load_state(&path).unwrap().0, params());
    let settings = load_settings(&path).unwrap();
    assert_eq!(settings["options"]["particles"], 64);
    assert!(settings["model_sha256"].as_str().unwrap().starts_with("ba7816bf"));
    let summary: serde_json::Value = serde_json::from_str(&fs::read_to_string(path.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["rows"][1]["name"], "theta[2]");
    assert!(summary["columns"]["trace.csv"]["moving_mean"].is_string());
    assert!(summary["objective"]["mcse"].is_null(), "one step has no error");
}

#[test]
fn numbers_go_up_and_skip_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::Next { root: root.path().into(), model: "m".into() };
    for name in ["m-7", "m-x", "m2-90", "other-50"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    assert!(write(&place, &params()).unwrap().ends_with("m-8"));
    assert!(write(&place, &params()).unwrap().ends_with("m-9"));
    assert_eq!(names(root.path()).len(), 6, "no temporary folder is left");
}

#[test]
fn a_folder_in_use_is_kept_unless_overwriting() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/out");
    assert!(check_place(&dir(path.clone(), false)).is_ok());
    write(&dir(path.clone(), false), &params()).unwrap();
    let again = dir(path.clone(), false);
    assert_eq!(check_place(&again).unwrap_err().code.0, "E0620");
    assert_eq!(write(&again, &params()).unwrap_err().code.0, "E0620");
    fs::write(path.join("stale.txt"), "old").unwrap();
    write(&dir(path.clone(), true), &params()[2..]).unwrap();
    assert_eq!(load_params(&path).unwrap().len(), 1);
    assert!(!path.join("stale.txt").exists());
    assert_eq!(names(&root.path().join("deep")), ["out"]);
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    write(&dir(empty, false), &params()).unwrap();
}

#[test]
fn failures_leave_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "x").unwrap();
    assert_eq!(check_place(&dir(file.join("sub"), false)).unwrap_err().code.0, "E0621");
    assert_eq!(write(&dir(file.join("sub"), false), &params()).unwrap_err().code.0, "E0621");
    assert_eq!(write(&dir(file.clone(), true), &params()).unwrap_err().code.0, "E0621");
    // A shape that does not match its values can't be saved.
    let broken = [Param { name: "x".into(), shape: vec![3], values: vec![1.0] }];
    assert_eq!(write(&dir(root.path().join("out"), false), &broken).unwrap_err().code.0, "E0621");
    assert_eq!(names(root.path()), ["file"]);
}

#[test]
fn damaged_files_are_refused() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(load_params(root.path()).unwrap_err().code.0, "E0622");
    let file = root.path().join("p.safetensors");
    write(&dir(root.path().join("run"), false), &params()).unwrap();
    let whole = fs::read(root.path().join("run/params.safetensors")).unwrap();
    for end in [0, 4, 20, whole.len() - 1] {
        fs::write(&file, &whole[..end]).unwrap();
        assert_eq!(load_params(&file).unwrap_err().code.0, "E0622", "cut at {end}");
    }
    fs::write(root.path().join("settings.json"), "{").unwrap();
    assert_eq!(load_settings(root.path()).unwrap_err().code.0, "E0622");
}
