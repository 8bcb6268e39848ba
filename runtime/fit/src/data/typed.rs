//! From the entries of a file to the elements of a declaration: type, missing entries, support.

use ppl_diag::{Code, Diagnostic};

use super::array::{Array, Values};
use super::decl::{DataDecl, Elem};
use super::raw::{Cell, Raw, RawValues};
use super::stored::{Kind, Stored};

/// How many places one diagnostic lists.
const SHOWN: usize = 5;

/// The elements of `raw` as `decl` wants them.
///
/// # Errors
/// One diagnostic for each kind of problem; it lists the first places.
pub(super) fn typed(decl: &DataDecl, raw: &Raw) -> Result<Array, Vec<Diagnostic>> {
    if raw.shape.len() != decl.dims.len() {
        return Err(vec![wrong_rank(decl, raw)]);
    }
    if let RawValues::Stored(s) = &raw.values
        && stays(decl, s)
    {
        s.in_any_order();
        return Ok(Array { shape: raw.shape.clone(), data: Values::Stored(decl.elem, s.clone()), missing: Vec::new() });
    }
    let n = raw.len();
    let mut problems = Problems::default();
    let mut missing = Vec::new();
    let data = match decl.elem {
        Elem::Real => Values::Real(collect(n, raw, decl, &mut missing, &mut problems, f64::NAN, as_real)),
        Elem::Int => Values::Int(collect(n, raw, decl, &mut missing, &mut problems, 0, as_int)),
        Elem::Bool => Values::Bool(collect(n, raw, decl, &mut missing, &mut problems, 0, as_bool)),
    };
    let array = Array { shape: raw.shape.clone(), data, missing };
    if decl.support.is_on_rows() && problems.is_empty() {
        check_rows(decl, raw, &array, &mut problems);
    }
    let problems = problems.into_diagnostics(decl, raw);
    if problems.is_empty() { Ok(array) } else { Err(problems) }
}

/// Whether elements of a file are what the declaration wants, as they are. What is not looked at here, or is not admitted, is told element by element.
fn stays(decl: &DataDecl, s: &Stored) -> bool {
    if !s.is_native() || s.shape.is_empty() || decl.support.is_on_rows() {
        return false;
    }
    match (decl.elem, s.kind, s.width) {
        (Elem::Real, Kind::Float, _) => s.reals().all(|x| x.is_finite() && decl.support.admits(x)),
        (Elem::Int, Kind::Unsigned, 1) => {
            let mut seen = [false; 256];
            s.elements().iter().for_each(|b| seen[usize::from(*b)] = true);
            (0..256).all(|i| !seen[i] || decl.support.admits(i as f64))
        }
        (Elem::Int, Kind::Signed, 8) => s.ints().all(|i| decl.support.admits(i as f64)),
        (Elem::Bool, Kind::Bool | Kind::Unsigned, 1) => {
            s.elements().iter().all(|b| *b <= 1 && decl.support.admits(f64::from(*b)))
        }
        _ => false,
    }
}

fn collect<T: Copy>(
    n: usize,
    raw: &Raw,
    decl: &DataDecl,
    missing: &mut Vec<usize>,
    problems: &mut Problems,
    absent: T,
    convert: fn(&Cell) -> Option<(T, f64)>,
) -> Vec<T> {
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let cell = raw.cell(i);
        let value = if *cell == Cell::Missing {
            if decl.missing_allowed {
                missing.push(i)
            } else {
                problems.missing.add(i, String::new)
            }
            absent
        } else if let Some((value, number)) = convert(&cell) {
            if !decl.support.admits(number) {
                problems.support.add(i, || cell.show());
            }
            value
        } else {
            problems.kind.add(i, || cell.show());
            absent
        };
        out.push(value);
    }
    out
}

fn as_real(cell: &Cell) -> Option<(f64, f64)> {
    match cell {
        Cell::Int(i) => Some((*i as f64, *i as f64)),
        Cell::Real(x) if x.is_finite() => Some((*x, *x)),
        Cell::Real(_) | Cell::Bool(_) | Cell::Text(_) | Cell::Missing => None,
    }
}

fn as_int(cell: &Cell) -> Option<(i64, f64)> {
    match cell {
        Cell::Int(i) => Some((*i, *i as f64)),
        // Up to 2^53 every whole number is exact.
        Cell::Real(x) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => Some((*x as i64, *x)),
        Cell::Real(_) | Cell::Bool(_) | Cell::Text(_) | Cell::Missing => None,
    }
}

fn as_bool(cell: &Cell) -> Option<(u8, f64)> {
    let truth = match cell {
        Cell::Bool(b) => *b,
        Cell::Int(i @ (0 | 1)) => *i == 1,
        Cell::Real(x) if *x == 0.0 || *x == 1.0 => *x == 1.0,
        Cell::Int(_) | Cell::Real(_) | Cell::Text(_) | Cell::Missing => return None,
    };
    Some((u8::from(truth), f64::from(u8::from(truth))))
}

fn check_rows(decl: &DataDecl, raw: &Raw, array: &Array, problems: &mut Problems) {
    let values = array.to_f64();
    let Some(&width) = raw.shape.last().filter(|&&w| w > 0) else { return };
    for (r, row) in values.chunks_exact(width).enumerate() {
        if row.iter().all(|x| !x.is_nan()) && !decl.support.admits_row(row) {
            problems.support.add(r * width, || format!("the row {:?}", &row[..width.min(8)]));
        }
    }
}

/// The first few places of one kind of problem, and how many there are.
#[derive(Default)]
struct Places {
    first: Vec<(usize, String)>,
    count: usize,
}

impl Places {
    fn add(&mut self, i: usize, value: impl FnOnce() -> String) {
        if self.count < SHOWN {
            self.first.push((i, value()));
        }
        self.count += 1;
    }
}

#[derive(Default)]
struct Problems {
    kind: Places,
    missing: Places,
    support: Places,
}

impl Problems {
    fn is_empty(&self) -> bool {
        self.kind.count + self.missing.count + self.support.count == 0
    }

    fn into_diagnostics(self, decl: &DataDecl, raw: &Raw) -> Vec<Diagnostic> {
        let name = &decl.name;
        let wanted = match decl.elem {
            Elem::Real => "a finite number",
            Elem::Int => "a whole number",
            Elem::Bool => "0, 1, true or false",
        };
        let support = decl.support;
        let mut out = Vec::new();
        if let Some((i, value)) = self.kind.first.first() {
            let title = format!("{value} is not {wanted}, as `{name}` needs ({})", raw.place(*i));
            out.push(with_places(Diagnostic::error(Code("E0605"), title), decl, raw, &self.kind));
        }
        if let Some((i, _)) = self.missing.first.first() {
            let title = format!("a value of `{name}` is missing ({})", raw.place(*i));
            let d = Diagnostic::error(Code("E0606"), title).help("drop the rows with missing entries, or impute them before");
            out.push(with_places(d, decl, raw, &self.missing));
        }
        if let Some((i, value)) = self.support.first.first() {
            let title = format!("{value} is no value for `{name}`, which must {support} ({})", raw.place(*i));
            out.push(with_places(Diagnostic::error(Code("E0607"), title), decl, raw, &self.support));
        }
        out
    }
}

fn with_places(d: Diagnostic, decl: &DataDecl, raw: &Raw, places: &Places) -> Diagnostic {
    let mut d = d.label(decl.span, format!("declared as `{decl}`"));
    for (i, value) in places.first.iter().skip(1) {
        let value = if value.is_empty() { String::new() } else { format!(": {value}") };
        d = d.note(format!("also {}{value}", raw.place(*i)));
    }
    if places.count > SHOWN { d.note(format!("and {} more such entries", places.count - SHOWN)) } else { d }
}

fn wrong_rank(decl: &DataDecl, raw: &Raw) -> Diagnostic {
    let axes = |shape: &[usize]| match shape {
        [] => "a single value".to_owned(),
        [n] => format!("{n} values"),
        more => more.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ") + " values",
    };
    let wanted = match decl.dims.len() {
        0 => "a single value".to_owned(),
        1 => "an array with 1 axis".to_owned(),
        n => format!("an array with {n} axes"),
    };
    let found = axes(&raw.shape);
    let d = Diagnostic::error(Code("E0608"), format!("`{}` is declared as {wanted}, but {} has {found}", decl.name, raw.source))
        .label(decl.span, format!("declared as `{decl}`"));
    match (decl.dims.len(), raw.shape.len()) {
        (2, 1) => d.help(format!(
            "name the columns of the matrix: `data {decl} from columns(\"..\", \"..\")`, or call them {0}.1, {0}.2, ..",
            decl.name
        )),
        (0, 1) => d.help(format!(
            "declare an array: `data {}: {}[N]`",
            decl.name,
            decl.to_string().split(": ").last().unwrap_or("real")
        )),
        _ => d,
    }
}
