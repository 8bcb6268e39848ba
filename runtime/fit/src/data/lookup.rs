//! Which part of a source belongs to a declaration.

use ppl_diag::{Code, Diagnostic};
use serde_json::Value;

use super::decl::DataDecl;
use super::json;
use super::raw::{Place, Raw, RawValues};
use super::table::Table;

/// The columns of `decl`: those it lists, the one of its name, or `name.1`, `name.2`, ..; the whole table where the table was
/// given for this declaration alone and has none of these.
pub(super) fn in_table(table: &Table, decl: &DataDecl, whole: bool, source: &str) -> Result<Option<Raw>, Diagnostic> {
    let raw = if let Some(wanted) = &decl.columns {
        let names: Vec<&str> = table.names.iter().map(String::as_str).collect();
        let Some(found) = select(&names, wanted, decl, source)? else { return Ok(None) };
        let inner = [found.len()];
        table.take(&found, (decl.dims.len() > 1).then_some(&inner[..]).or((found.len() != 1).then_some(&inner[..])), source)
    } else if let Some(column) = table.names.iter().position(|n| *n == decl.name) {
        table.take(&[column], None, source)
    } else if let Some((found, inner)) = table.indexed(&decl.name) {
        table.take(&found, Some(&inner), source)
    } else if whole {
        let all: Vec<usize> = (0..table.names.len()).collect();
        let inner = [all.len()];
        table.take(&all, (decl.dims.len() > 1 || all.len() > 1).then_some(&inner[..]), source)
    } else {
        return Ok(None);
    };
    // A table with one row can hold scalars.
    let scalar = decl.dims.is_empty() && raw.shape == [1];
    Ok(Some(if scalar { Raw { shape: Vec::new(), ..raw } } else { raw }))
}

/// The value under the name of `decl`, or the listed ones side by side.
pub(super) fn in_named(named: &[(String, Value)], decl: &DataDecl, source: &str) -> Result<Option<Raw>, Diagnostic> {
    let Some(wanted) = &decl.columns else {
        let value = named.iter().find(|(n, _)| *n == decl.name);
        return value.map(|(_, v)| to_raw(decl, v, source)).transpose();
    };
    if let Some((_, value)) = named.iter().find(|(n, _)| *n == decl.name) {
        return to_raw(decl, value, source).map(Some);
    }
    let names: Vec<&str> = named.iter().map(|(n, _)| n.as_str()).collect();
    let Some(found) = select(&names, wanted, decl, source)? else { return Ok(None) };
    let columns: Vec<Raw> = found.iter().map(|&i| to_raw(decl, &named[i].1, source)).collect::<Result<_, _>>()?;
    let Some(first) = columns.first() else { return Ok(None) };
    for (column, &i) in columns.iter().zip(&found) {
        if column.shape.len() != 1 || column.shape != first.shape {
            let title = format!("the columns of `{}` have different shapes in {source}", decl.name);
            return Err(Diagnostic::error(Code("E0608"), title).label(decl.span, "declared here").note(format!(
                "`{}` has shape {:?}, `{}` has shape {:?}",
                names[found[0]], first.shape, names[i], column.shape
            )));
        }
    }
    let rows = first.len();
    let cells = (0..rows).flat_map(|r| columns.iter().map(move |c| c.cell(r).into_owned())).collect();
    let columns = found.iter().map(|&i| names[i].to_owned()).collect();
    let (shape, source) = (vec![rows, found.len()], source.to_owned());
    Ok(Some(Raw { shape, values: RawValues::Cells(cells), source, place: Place::Columns(columns) }))
}

/// A JSON value as an array.
pub(super) fn to_raw(decl: &DataDecl, value: &Value, source: &str) -> Result<Raw, Diagnostic> {
    json::to_raw(&decl.name, value, source).map_err(|problem| {
        Diagnostic::error(Code("E0608"), format!("the value of `{}` in {source} is no regular array: {problem}", decl.name))
            .label(decl.span, format!("declared as `{decl}`"))
    })
}

/// Positions of the `wanted` names (`*` stands for any text); none if the source has none of them.
fn select(names: &[&str], wanted: &[String], decl: &DataDecl, source: &str) -> Result<Option<Vec<usize>>, Diagnostic> {
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for want in wanted {
        let before = found.len();
        match want.split_once('*') {
            Some((head, tail)) => found.extend((0..names.len()).filter(|&i| {
                names[i].len() >= head.len() + tail.len() && names[i].starts_with(head) && names[i].ends_with(tail)
            })),
            None => found.extend(names.iter().position(|n| n == want)),
        }
        if found.len() == before {
            absent.push(want.as_str());
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    if absent.is_empty() {
        return Ok(Some(found));
    }
    let list = absent.iter().map(|a| format!("\"{a}\"")).collect::<Vec<_>>().join(", ");
    let d = Diagnostic::error(Code("E0604"), format!("{source} has no column {list}, which `{}` is made of", decl.name))
        .label(decl.span, "declared here")
        .note(format!("it has: {}", names.join(", ")));
    Err(match absent.iter().find_map(|a| ppl_diag::did_you_mean(a, names.iter().copied())) {
        Some(near) => d.help(format!("did you mean \"{near}\"?")),
        None => d,
    })
}
