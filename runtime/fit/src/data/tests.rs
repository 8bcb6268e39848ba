//! Binding, end to end: files on disk, all kinds of mistakes.

use std::fs;

use ppl_diag::{FileId, Span};
use tempfile::TempDir;

use super::npy::tests::npy;
use super::*;

struct World {
    folder: TempDir,
    decls: Vec<DataDecl>,
    arguments: Vec<String>,
    known: BTreeMap<String, u64>,
}

fn dim(n: &str) -> DimDecl {
    DimDecl::Named(n.into())
}

fn decl(name: &str, elem: Elem, dims: &[&str]) -> DataDecl {
    DataDecl { span: Span::new(FileId(0), 1, 2), ..DataDecl::new(name, elem, dims.iter().map(|d| dim(d)).collect()) }
}

impl World {
    fn new(decls: Vec<DataDecl>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), decls, arguments: vec![], known: BTreeMap::new() }
    }

    fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        fs::write(self.folder.path().join(name), bytes).unwrap();
        self
    }

    /// A `--data` argument; `@` stands for the folder.
    fn arg(mut self, text: &str) -> Self {
        self.arguments.push(text.replace('@', &self.folder.path().display().to_string()));
        self
    }

    fn bind(&self) -> Result<Bound, Vec<Diagnostic>> {
        let (decls, arguments, model_dir) = (&self.decls[..], &self.arguments[..], self.folder.path());
        bind(BindRequest { decls, arguments, behind: &[], model_dir, known_sizes: &self.known })
    }

    fn errors(&self) -> Vec<Diagnostic> {
        let errors = self.bind().unwrap_err();
        for e in &errors {
            assert!(ppl_diag::code_info(e.code.0).is_some(), "{e:?} has no page");
        }
        errors
    }

    /// The only error, which must have this code and mention all `parts`.
    fn error(&self, code: &str, parts: &[&str]) -> Diagnostic {
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        let text = format!("{}; {}; {}", errors[0].title, errors[0].notes.join("; "), errors[0].help.as_deref().unwrap_or(""));
        assert_eq!(errors[0].code.0, code, "{text}");
        for part in parts {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        errors[0].clone()
    }
}

fn schools() -> Vec<DataDecl> {
    let sigma = DataDecl { support: Constraint::Positive, ..decl("sigma", Elem::Real, &["J"]) };
    vec![decl("J", Elem::Int, &[]), decl("y", Elem::Real, &["J"]), sigma]
}

#[test]
fn columns_of_a_table_and_an_inferred_size() {
    let world = World::new(schools()).file("s.csv", "school,y,sigma\nA,28,15\nB,8.5,10\n").arg("@/s.csv");
    let bound = world.bind().unwrap();
    assert_eq!(bound.arrays["y"].data, Values::Real(vec![28.0, 8.5]));
    assert_eq!(bound.sizes["J"], 2);
    assert_eq!(bound.arrays["J"].as_int(), Some(2));
    assert!(bound.warnings.is_empty());
    assert_eq!(bound.sources[0].declarations, ["y", "sigma"]);
    assert_eq!(bound.sources[0].sha256, sha256_hex(b"school,y,sigma\nA,28,15\nB,8.5,10\n"));
}

#[test]
fn several_sources_together() {
    let world = World::new(schools()).file("s.csv", "y\n1\n2\n").arg("@/s.csv").arg("{\"J\": 2, \"sigma\": [1, 2.5]}");
    let bound = world.bind().unwrap();
    assert_eq!(bound.arrays["sigma"].data, Values::Real(vec![1.0, 2.5]));
    assert_eq!(bound.sources[1].text.as_deref(), Some("{\"J\": 2, \"sigma\": [1, 2.5]}"));
}

#[test]
fn disagreeing_sizes_show_both_sources() {
    let world = World::new(schools()).arg("{\"J\": 3, \"y\": [1, 2], \"sigma\": [1, 2]}");
    let d = world.error("E0609", &["`J` has different values: 2 and 3", "gives J = 3", "2 values of `y`"]);
    assert_eq!(d.labels.len(), 3);
    let mut world = World::new(vec![decl("y", Elem::Real, &["K"])]).arg("{\"y\": [1, 2]}");
    world.known.insert("K".into(), 5);
    world.error("E0609", &["the program says K = 5"]);
}

#[test]
fn bad_values_name_file_line_column_and_declaration() {
    let world = World::new(schools()).file("s.csv", "y,sigma\n1,2\nx1,-3\n4,oops\n,0\n").arg("@/s.csv");
    let errors = world.errors();
    let codes: Vec<&str> = errors.iter().map(|e| e.code.0).collect();
    assert_eq!(codes, ["E0605", "E0606", "E0605", "E0607"]);
    assert!(errors[0].title.contains("\"x1\" is not a finite number") && errors[0].title.contains("line 3, column \"y\""));
    assert!(errors[1].title.contains("line 5, column \"y\"") && errors[1].help.as_ref().unwrap().contains("impute"));
    assert!(errors[2].title.contains("line 4, column \"sigma\""));
    assert!(errors[3].title.contains("-3 is no value for `sigma`, which must be greater than 0"));
    assert!(errors[3].notes[0].contains("line 5, column \"sigma\": 0"));
    assert_eq!(errors[3].labels[0].text, "declared as `sigma: positive[J]`");
}

#[test]
fn whole_numbers_and_truth_values() {
    let decls = vec![decl("k", Elem::Int, &["N"]), decl("b", Elem::Bool, &["N"])];
    let world = World::new(decls.clone()).file("t.csv", "k,b\n3.0,true\n-4,0\n").arg("@/t.csv");
    let bound = world.bind().unwrap();
    assert_eq!(bound.arrays["k"].data, Values::Int(vec![3, -4]));
    assert_eq!(bound.arrays["b"].data, Values::Bool(vec![1, 0]));
    let world = World::new(decls).arg("{\"k\": [3.5, 1], \"b\": [2, true]}");
    let errors = world.errors();
    assert!(errors[0].title.contains("3.5 is not a whole number") && errors[0].title.contains("`k[0]`"));
    assert!(errors[1].title.contains("2 is not 0, 1, true or false"));
    World::new(vec![decl("x", Elem::Real, &["N"])]).arg("{\"x\": [\"Infinity\"]}").error("E0605", &["inf"]);
    World::new(vec![decl("x", Elem::Real, &[])]).arg("{\"x\": true}").error("E0605", &["true is not a finite number"]);
}

#[test]
fn missing_entries_where_they_are_declared() {
    let y = DataDecl { missing_allowed: true, support: Constraint::Positive, ..decl("y", Elem::Real, &["N"]) };
    let bound = World::new(vec![y.clone()]).file("t.csv", "y,z\n1,1\n,1\nNA,1\n").arg("@/t.csv").bind().unwrap();
    assert_eq!(bound.arrays["y"].missing, [1, 2]);
    assert!(matches!(&bound.arrays["y"].data, Values::Real(v) if v[0] == 1.0 && v[1].is_nan()));
    let bound = World::new(vec![y]).arg("{\"y\": [null, 2]}").bind().unwrap();
    assert_eq!(bound.arrays["y"].missing, [0]);
}

#[test]
fn matrices_from_columns() {
    let csv = "age,bmi,y,X.1,X.2,p0,p1\n30,20.5,1,7,8,0,1\n40,21.5,2,9,10,2,3\n";
    let x = |columns: &[&str]| {
        let columns = (!columns.is_empty()).then(|| columns.iter().map(|c| (*c).to_owned()).collect());
        vec![DataDecl { columns, ..decl("X", Elem::Real, &["N", "D"]) }]
    };
    let values = |decls| {
        let bound = World::new(decls).file("t.csv", csv).arg("@/t.csv").bind().unwrap();
        assert_eq!((bound.sizes["N"], bound.sizes["D"], &bound.arrays["X"].shape[..]), (2, 2, &[2, 2][..]));
        bound.arrays["X"].to_f64()
    };
    assert_eq!(values(x(&["bmi", "age"])), [20.5, 30.0, 21.5, 40.0]);
    assert_eq!(values(x(&[])), [7.0, 8.0, 9.0, 10.0]);
    assert_eq!(values(x(&["p*"])), [0.0, 1.0, 2.0, 3.0]);
    let world = World::new(x(&["age", "bni"])).file("t.csv", csv).arg("@/t.csv");
    world.error("E0604", &["no column \"bni\"", "did you mean \"bmi\""]);
    let bound = World::new(x(&["a", "b"])).arg("{\"a\": [1, 2], \"b\": [3, 4]}").bind().unwrap();
    assert_eq!(bound.arrays["X"].to_f64(), [1.0, 3.0, 2.0, 4.0]);
    World::new(x(&["a", "b"])).arg("{\"a\": [1, 2], \"b\": [3, \"u\"]}").error("E0605", &["`b[1]`"]);
    let one = World::new(x(&["age"])).file("t.csv", csv).arg("@/t.csv").bind().unwrap();
    assert_eq!(one.arrays["X"].shape, [2, 1]);
    let world = World::new(vec![decl("y", Elem::Real, &["N", "D"])]).file("t.csv", csv).arg("@/t.csv");
    world.error("E0608", &["2 values", "from columns"]);
}

#[test]
fn npy_by_stem_by_name_and_with_support() {
    let unit = DataDecl { support: Constraint::Unit, ..decl("X", Elem::Real, &["N", "D"]) };
    let floats: Vec<u8> = [0.0f32, 0.5, 1.0, 0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
    let file = npy("<f4", false, "(2, 2)", &floats);
    let bound = World::new(vec![unit.clone()]).file("X.npy", &file).arg("@/X.npy").bind().unwrap();
    assert_eq!(bound.arrays["X"].to_f64(), [0.0, 0.5, 1.0, 0.25]);
    assert!(World::new(vec![unit.clone()]).file("images.npy", &file).arg("X=@/images.npy").bind().is_ok());
    let bytes = npy("|u1", false, "(2, 2)", &[0, 1, 200, 1]);
    let world = World::new(vec![unit.clone()]).file("X.npy", &bytes).arg("@/X.npy");
    world.error("E0607", &["200 is no value for `X`", "between 0 and 1", "`X[1, 0]`"]);
    let world = World::new(vec![unit]).file("other.npy", &bytes).arg("@/other.npy");
    world.error("E0604", &["no value is given for `X`", "for `other`"]);
}

#[test]
fn files_named_by_the_program() {
    let from = |name, file: &str, dims: &[&str]| DataDecl { from: Some(file.into()), ..decl(name, Elem::Real, dims) };
    let decls = vec![from("z", "cone.json", &[]), from("w", "cone.json", &["N"]), from("v", "v.json", &["N"])];
    let world = World::new(decls).file("cone.json", "{\"z\": 5, \"w\": [1, 2]}").file("v.json", "[3, 4]");
    let bound = world.bind().unwrap();
    assert_eq!(bound.arrays["z"].to_f64(), [5.0]);
    assert_eq!(bound.sources.len(), 2, "a file is read once");
    let bound = world.arg("{\"z\": 6}").bind().unwrap();
    assert_eq!(bound.arrays["z"].to_f64(), [6.0], "what the user gives comes first");
    let world = World::new(vec![from("z", "cone.jsn", &[])]);
    world.error("E0602", &["cone.jsn"]);
    let d = World::new(vec![from("z", "cone.json", &[])]).file("Cone.json", "{}").error("E0601", &["did you mean"]);
    assert_eq!(d.labels.len(), 1);
}

#[test]
fn what_is_absent_is_told_with_what_there_is() {
    let world = World::new(schools()).file("s.csv", "Y,sd\n1,2\n").arg("@/s.csv");
    let errors = world.errors();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].notes.iter().any(|n| n.ends_with("has: Y, sd")));
    assert_eq!(errors[0].help.as_deref(), Some("did you mean `Y`?"));
    World::new(vec![decl("z", Elem::Real, &[])]).error("E0604", &["no data was given", "'{\"z\": ..}'"]);
    let headless = World::new(vec![decl("z", Elem::Real, &["N"])]).file("h.csv", "1,2\n3,4\n").arg("@/h.csv");
    headless.error("E0604", &["should name the columns"]);
}

#[test]
fn unknown_sizes_and_optional_data() {
    let optional = DataDecl { optional: true, ..decl("y", Elem::Real, &["N"]) };
    let n = decl("N", Elem::Int, &[]);
    World::new(vec![n.clone(), optional.clone()]).arg("{}").error("E0610", &["`N`"]);
    let bound = World::new(vec![n, optional]).arg("{\"N\": 4}").bind().unwrap();
    assert!(!bound.arrays.contains_key("y") && bound.sizes["N"] == 4);
    World::new(vec![decl("K", Elem::Int, &[])]).arg("{}").error("E0604", &["`K`"]);
    let decls = vec![decl("K", Elem::Int, &[]), decl("y", Elem::Real, &["K"])];
    World::new(decls).arg("{\"K\": -1, \"y\": []}").error("E0607", &["negative"]);
}

#[test]
fn fixed_and_computed_lengths() {
    let dims = vec![DimDecl::Const(3), DimDecl::Expr("N - 1".into())];
    let x = DataDecl { dims, ..decl("x", Elem::Real, &[]) };
    let bound = World::new(vec![x.clone()]).arg("{\"x\": [[1, 2], [3, 4], [5, 6]]}").bind().unwrap();
    assert_eq!(bound.deferred[0].found, 2);
    assert!(bound.deferred[0].check(2).is_none());
    assert!(bound.deferred[0].check(4).unwrap().title.contains("`N - 1` is 4"));
    World::new(vec![x]).arg("{\"x\": [[1, 2]]}").error("E0609", &["needs 3 values along axis 0", "has 1"]);
}

#[test]
fn rows_that_must_add_up_or_increase() {
    let with = |support| vec![DataDecl { support, ..decl("p", Elem::Real, &["N", "K"]) }];
    assert!(World::new(with(Constraint::Simplex)).arg("{\"p\": [[0.25, 0.75], [1, 0]]}").bind().is_ok());
    World::new(with(Constraint::Simplex)).arg("{\"p\": [[0.2, 0.75]]}").error("E0607", &["add up to 1"]);
    World::new(with(Constraint::Simplex)).arg("{\"p\": [[-0.5, 1.5]]}").error("E0607", &["-0.5"]);
    World::new(with(Constraint::Ordered)).arg("{\"p\": [[1, 1]]}").error("E0607", &["increase"]);
}

#[test]
fn malformed_sources() {
    let one = || World::new(vec![decl("z", Elem::Real, &[])]);
    one().arg("{\"z\": ").error("E0603", &["JSON text"]);
    one().arg("nofile.csv").error("E0601", &["nofile.csv"]);
    one().arg("@").error("E0602", &[]);
    one().file("a.json", "{\"z\": 1").arg("@/a.json").error("E0603", &["a.json"]);
    one().file("a.json", b"\xff\xfe").arg("@/a.json").error("E0603", &["UTF-8"]);
    one().file("a.npy", b"junk").arg("@/a.npy").error("E0603", &["NPY"]);
    one().file("a.csv", "z,y\n1\n").arg("@/a.csv").error("E0603", &["line 2"]);
    one().file("a.csv", "z\n1\n2\n").arg("@/a.csv").error("E0608", &["2 values", "single value"]);
    one().arg("{\"z\": [[1], [2, 3]]}").error("E0608", &["`z[1]` has 2"]);
    one().arg("{\"z\": 1}").arg("{\"z\": 2}").error("E0611", &["twice"]);
    assert_eq!(one().arg("@/no.csv").arg("@/no.json").errors().len(), 2);
    one().file("a.json", "[1, 2]").arg("@/a.json").error("E0604", &["array without a name"]);
}

#[test]
fn undeclared_keys_warn_on_the_command_line_only() {
    let world = World::new(vec![decl("sigma", Elem::Real, &[])]).file("a.json", "{\"other\": 1}");
    let bound = world.arg("@/a.json").arg("{\"sigma\": 1, \"sgima\": 2}").bind().unwrap();
    assert_eq!(bound.warnings.len(), 1);
    assert_eq!(bound.warnings[0].help.as_deref(), Some("did you mean `sigma`?"));
}

#[test]
fn empty_and_single_entries() {
    let y = vec![decl("y", Elem::Real, &["N"])];
    let bound = World::new(y.clone()).file("a.csv", "y\n").arg("@/a.csv").bind().unwrap();
    assert_eq!((bound.sizes["N"], bound.arrays["y"].is_empty()), (0, true));
    assert_eq!(World::new(y).arg("{\"y\": [4]}").bind().unwrap().sizes["N"], 1);
    let z = World::new(vec![decl("z", Elem::Real, &[])]).file("a.csv", "z\n4\n").arg("@/a.csv").bind().unwrap();
    assert_eq!(z.arrays["z"].shape, [0usize; 0]);
}

#[test]
fn rows_as_objects() {
    let world = World::new(schools()).file("r.json", "[{\"y\": 1, \"sigma\": 2}, {\"y\": 3, \"sigma\": 4}]");
    assert_eq!(world.arg("@/r.json").bind().unwrap().arrays["sigma"].to_f64(), [2.0, 4.0]);
}

#[test]
fn arrays_stay_in_their_files_where_they_are_of_the_declared_type() {
    let floats: Vec<u8> = [0.5f32, -1.0, 2.0, 0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
    let stays = |elem, file: &[u8]| {
        let bound = World::new(vec![decl("X", elem, &["N", "D"])]).file("X.npy", file).arg("@/X.npy").bind().unwrap();
        let a = bound.arrays["X"].clone();
        (matches!(a.data, Values::Stored(..)), a.to_f64())
    };
    let values = vec![0.5, -1.0, 2.0, 0.25];
    assert_eq!(stays(Elem::Real, &npy("<f4", false, "(2, 2)", &floats)), (true, values));
    assert_eq!(stays(Elem::Real, &npy("<f4", true, "(2, 2)", &floats)), (false, vec![0.5, 2.0, -1.0, 0.25]));
    let ints: Vec<u8> = [1i64, 0, 0, 1].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(stays(Elem::Int, &npy("<i8", false, "(2, 2)", &ints)), (true, vec![1.0, 0.0, 0.0, 1.0]));
    assert_eq!(stays(Elem::Real, &npy("<i8", false, "(2, 2)", &ints)), (false, vec![1.0, 0.0, 0.0, 1.0]));
    assert_eq!(stays(Elem::Bool, &npy("|b1", false, "(2, 2)", &[1, 0, 0, 1])), (true, vec![1.0, 0.0, 0.0, 1.0]));
    assert_eq!(stays(Elem::Bool, &npy("|u1", false, "(2, 2)", &[1, 0, 0, 1])), (true, vec![1.0, 0.0, 0.0, 1.0]));
    // What is wrong with them is told as for any other file.
    let bad = npy("|u1", false, "(2, 2)", &[1, 0, 7, 1]);
    let world = World::new(vec![decl("X", Elem::Bool, &["N", "D"])]).file("X.npy", &bad).arg("@/X.npy");
    world.error("E0605", &["7 is not 0, 1, true or false", "`X[1, 0]`"]);
    let nan: Vec<u8> = [0.5f64, f64::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
    let world = World::new(vec![decl("X", Elem::Real, &["N"])]).file("X.npy", npy("<f8", false, "(2,)", &nan)).arg("@/X.npy");
    world.error("E0606", &["`X[1]`"]);
}

#[test]
fn arrays_of_safetensors_by_name() {
    use safetensors::tensor::{Dtype, TensorView};
    let x: Vec<u8> = [1.0f64, 2.0, 3.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let y: Vec<u8> = [0u8, 1, 1].to_vec();
    let views =
        [("x", TensorView::new(Dtype::F64, vec![3], &x).unwrap()), ("y", TensorView::new(Dtype::U8, vec![3], &y).unwrap())];
    let file = safetensors::serialize(views, None).unwrap();
    let decls = vec![decl("x", Elem::Real, &["N"]), decl("y", Elem::Bool, &["N"])];
    let bound = World::new(decls).file("d.safetensors", &file).arg("@/d.safetensors").bind().unwrap();
    assert_eq!((bound.arrays["x"].to_f64(), bound.sizes["N"]), (vec![1.0, 2.0, 3.0], 3));
    assert!(bound.arrays.values().all(|a| matches!(a.data, Values::Stored(..))));
    let world = World::new(vec![decl("z", Elem::Real, &["N"])]).file("d.safetensors", &file).arg("@/d.safetensors");
    world.error("E0604", &["no value is given for `z`", "d.safetensors has:"]);
    let world = World::new(vec![decl("z", Elem::Real, &["N"])]).file("d.safetensors", &file[..20]).arg("@/d.safetensors");
    world.error("E0603", &["malformed"]);
}
