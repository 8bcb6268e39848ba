//! JSON sources: an object of named values, or an array of objects (one a row).

use serde_json::Value;

use super::raw::{Cell, Place, Raw, RawValues};

/// The keys and values of a JSON source; an array of objects becomes one array a key.
///
/// # Errors
/// A sentence on why the text has no names.
pub(super) fn named_values(value: Value) -> Result<Vec<(String, Value)>, String> {
    match value {
        Value::Object(map) => Ok(map.into_iter().collect()),
        Value::Array(rows) if !rows.is_empty() && rows.iter().all(Value::is_object) => Ok(columns(rows)),
        Value::Array(_) => Err("it is an array, which has no names for the declared data".into()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err("it is a single value, which has no names for the declared data".into())
        }
    }
}

fn columns(rows: Vec<Value>) -> Vec<(String, Value)> {
    let mut names: Vec<String> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for row in &rows {
        for key in row.as_object().into_iter().flat_map(|o| o.keys()) {
            if known.insert(key.clone()) {
                names.push(key.clone());
            }
        }
    }
    let column = |name: &str| rows.iter().map(|r| r.get(name).cloned().unwrap_or(Value::Null)).collect();
    names.into_iter().map(|n| (n.clone(), Value::Array(column(&n)))).collect()
}

/// The array that nested JSON arrays make.
///
/// # Errors
/// A sentence on where the array is ragged.
pub(super) fn to_raw(name: &str, value: &Value, source: &str) -> Result<Raw, String> {
    let mut shape = Vec::new();
    let mut inner = value;
    while let Value::Array(items) = inner {
        shape.push(items.len());
        // A null row says nothing about the shape; the first array does.
        match items.iter().find(|v| v.is_array()).or(items.first()) {
            Some(first) => inner = first,
            None => break,
        }
    }
    let mut cells = Vec::new();
    fill(name, value, &shape, &mut cells)?;
    Ok(Raw { shape, values: RawValues::Cells(cells), source: source.to_owned(), place: Place::Index(name.to_owned()) })
}

fn fill(path: &str, value: &Value, shape: &[usize], cells: &mut Vec<Cell>) -> Result<(), String> {
    match (value, shape) {
        (Value::Array(items), [n, rest @ ..]) => {
            if items.len() != *n {
                return Err(format!("`{path}` has {} entries where the first one beside it has {n}", items.len()));
            }
            items.iter().enumerate().try_for_each(|(i, item)| fill(&format!("{path}[{i}]"), item, rest, cells))
        }
        (Value::Null, [_, ..]) => {
            cells.extend(std::iter::repeat_n(Cell::Missing, shape.iter().product()));
            Ok(())
        }
        (_, [_, ..]) => Err(format!("`{path}` is one value where the first one beside it is an array")),
        (Value::Array(_), []) => Err(format!("`{path}` is an array where the first one beside it is one value")),
        (Value::Object(_), []) => Err(format!("`{path}` is an object, not a number")),
        (Value::Null, []) => push(cells, Cell::Missing),
        (Value::Bool(b), []) => push(cells, Cell::Bool(*b)),
        (Value::Number(n), []) => {
            push(cells, n.as_i64().map(Cell::Int).or_else(|| n.as_f64().map(Cell::Real)).unwrap_or(Cell::Missing))
        }
        (Value::String(s), []) => push(cells, text(s)),
    }
}

fn push(cells: &mut Vec<Cell>, cell: Cell) -> Result<(), String> {
    cells.push(cell);
    Ok(())
}

/// JSON has no NaN, so writers quote it; any other text stays text (`"3"` is not a number).
fn text(s: &str) -> Cell {
    match s {
        "NaN" | "nan" | "NA" => Cell::Missing,
        "Infinity" | "Inf" | "+Infinity" => Cell::Real(f64::INFINITY),
        "-Infinity" | "-Inf" => Cell::Real(f64::NEG_INFINITY),
        _ => Cell::Text(s.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Result<Raw, String> {
        to_raw("x", &serde_json::from_str(json).unwrap(), "d.json")
    }

    #[test]
    fn nested_arrays_have_shapes() {
        let r = raw("[[1, 2.5, null], [true, \"a\", -3]]").unwrap();
        assert_eq!(r.shape, [2, 3]);
        let cells: Vec<Cell> = (0..6).map(|i| r.cell(i).into_owned()).collect();
        let want = [Cell::Int(1), Cell::Real(2.5), Cell::Missing, Cell::Bool(true), Cell::Text("a".into()), Cell::Int(-3)];
        assert_eq!(cells, want);
        assert_eq!(r.place(5), "d.json, `x[1, 2]`");
        assert_eq!(raw("4").unwrap().shape, [0usize; 0]);
        assert_eq!(raw("[]").unwrap().shape, [0]);
        assert_eq!(raw("[null, [1, 2]]").unwrap().shape, [2, 2]);
    }

    #[test]
    fn ragged_arrays_name_the_place() {
        assert!(raw("[[1, 2], [3]]").unwrap_err().contains("`x[1]` has 1"));
        assert!(raw("[[1, 2], 3]").unwrap_err().contains("`x[1]` is one value"));
        assert!(raw("[1, [3]]").is_err());
        assert!(raw("[{}]").is_err());
    }

    #[test]
    fn rows_become_columns() {
        let rows = serde_json::from_str("[{\"a\": 1, \"b\": [1, 2]}, {\"b\": [3, 4], \"c\": true}]").unwrap();
        let named = named_values(rows).unwrap();
        assert_eq!(named.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(to_raw("b", &named[1].1, "").unwrap().shape, [2, 2]);
        assert_eq!(to_raw("a", &named[0].1, "").unwrap().cell(1).into_owned(), Cell::Missing);
        assert!(named_values(Value::Array(vec![])).is_err());
    }
}
