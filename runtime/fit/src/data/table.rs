//! CSV files: a row of names, then rows of cells.

use std::sync::Arc;

use super::raw::{Cell, Place, Raw, RawValues};

/// A CSV file in memory, not yet interpreted.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) names: Vec<String>,
    rows: Vec<csv::StringRecord>,
    lines: Arc<Vec<u64>>,
}

impl Table {
    /// Splits the text into cells.
    ///
    /// # Errors
    /// One sentence for each malformed row.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
        let names: Vec<String> = match reader.headers() {
            Ok(h) => h.iter().map(str::to_owned).collect(),
            Err(e) => return Err(vec![format!("the first row can't be read: {e}")]),
        };
        let mut problems = Vec::new();
        if names.iter().all(String::is_empty) {
            return Err(vec!["it is empty; the first row should name the columns".into()]);
        }
        for (i, name) in names.iter().enumerate() {
            if !name.is_empty() && names[..i].contains(name) {
                problems.push(format!("two columns are named \"{name}\""));
            }
        }
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        for record in reader.records() {
            match record {
                Ok(r) => {
                    let line = r.position().map_or(0, csv::Position::line);
                    if r.len() != names.len() {
                        problems.push(format!(
                            "line {line} has {} cells, but the first row names {} columns",
                            r.len(),
                            names.len()
                        ));
                    }
                    lines.push(line);
                    rows.push(r);
                }
                Err(e) => problems.push(e.to_string()),
            }
        }
        if problems.is_empty() { Ok(Self { names, rows, lines: Arc::new(lines) }) } else { Err(problems) }
    }

    /// Whether the first row looks like numbers, that is, the names were forgotten.
    pub(super) fn names_are_numbers(&self) -> bool {
        self.names.iter().all(|n| n.parse::<f64>().is_ok())
    }

    /// Columns by their position: with `inner` = `None` one vector, else rows of that shape.
    pub(super) fn take(&self, columns: &[usize], inner: Option<&[usize]>, source: &str) -> Raw {
        let mut cells = Vec::with_capacity(self.rows.len() * columns.len());
        for row in &self.rows {
            cells.extend(columns.iter().map(|&c| Cell::from_text(row.get(c).unwrap_or(""))));
        }
        let mut shape = vec![self.rows.len()];
        shape.extend_from_slice(inner.unwrap_or(&[]));
        let columns = columns.iter().filter_map(|&c| self.names.get(c).cloned()).collect();
        let place = Place::Table { lines: Arc::clone(&self.lines), columns };
        Raw { shape, values: RawValues::Cells(cells), source: source.to_owned(), place }
    }

    /// The columns `name.1`, `name.2`, .. or `name[1]`, `name[2]`, .. (also `name[1,2]`; counted from 1 or 0), in order, and
    /// the shape they make.
    pub(super) fn indexed(&self, name: &str) -> Option<(Vec<usize>, Vec<usize>)> {
        let mut found: Vec<(Vec<usize>, usize)> = Vec::new();
        for (column, full) in self.names.iter().enumerate() {
            if let Some(index) = full.strip_prefix(name).and_then(parse_index) {
                found.push((index, column));
            }
        }
        found.sort();
        let rank = found.first()?.0.len();
        if found.iter().any(|(i, _)| i.len() != rank) {
            return None;
        }
        let axis = |f: fn(usize, usize) -> usize, k: usize| found.iter().map(|(i, _)| i[k]).reduce(f).unwrap_or(0);
        let first: Vec<usize> = (0..rank).map(|k| axis(usize::min, k)).collect();
        let shape: Vec<usize> = (0..rank).map(|k| axis(usize::max, k) - first[k] + 1).collect();
        let whole = first.iter().all(|&f| f <= 1) && shape.iter().product::<usize>() == found.len();
        whole.then(|| (found.into_iter().map(|(_, c)| c).collect(), shape))
    }
}

/// `.1.2` or `[1,2]`.
fn parse_index(text: &str) -> Option<Vec<usize>> {
    let parts: Vec<&str> = if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        inner.split(',').collect()
    } else {
        text.strip_prefix('.')?.split('.').collect()
    };
    parts.into_iter().map(|p| p.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_with_indices_make_a_matrix() {
        let t = Table::parse("X.2,X.1,y,X.10,Xa\n1,2,3,4,5\n").unwrap();
        assert!(t.indexed("X").is_none(), "1, 2, 10 is not a whole range");
        let t = Table::parse("X[1],X[0],X[2]\n1,0,2\n").unwrap();
        assert_eq!(t.indexed("X"), Some((vec![1, 0, 2], vec![3])));
        let t = Table::parse("\"A[1,1]\",\"A[1,2]\",\"A[2,1]\",A.2.2\n1,2,3,4\n").unwrap();
        assert_eq!(t.indexed("A"), Some((vec![0, 1, 2, 3], vec![2, 2])));
    }

    #[test]
    fn malformed_rows_are_all_reported() {
        let problems = Table::parse("a,b\n1\n1,2\n1,2,3\n").unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("line 2 has 1") && problems[1].contains("line 4 has 3"), "{problems:?}");
        assert!(Table::parse("").is_err());
        assert!(Table::parse("a,a\n1,2\n").unwrap_err()[0].contains("two columns"));
    }

    #[test]
    fn quotes_byte_order_mark_and_blank_cells() {
        let t = Table::parse("\u{feff}a,\"b c\"\n\"1\", NA \n2,\n").unwrap();
        assert_eq!(t.names, ["a", "b c"]);
        let raw = t.take(&[0, 1], Some(&[2]), "t.csv");
        let cells: Vec<Cell> = (0..4).map(|i| raw.cell(i).into_owned()).collect();
        assert_eq!(cells, [Cell::Int(1), Cell::Missing, Cell::Int(2), Cell::Missing]);
        assert_eq!(raw.place(3), "t.csv, line 3, column \"b c\"");
    }
}
