//! The NPY format of NumPy, versions 1 to 3.
//!
//! `\x93NUMPY`, two version bytes, the header's length (2 bytes, from version 2 on 4), then a Python dictionary with
//! `descr`, `fortran_order` and `shape`, then the elements.

use super::stored::{Bytes, Kind, Stored};

/// Reads the header and checks the length.
///
/// # Errors
/// A sentence on what is wrong with the bytes.
pub(super) fn parse(bytes: Bytes) -> Result<Stored, String> {
    if bytes.get(..6) != Some(b"\x93NUMPY") {
        return Err("it does not begin with the bytes of an NPY file".into());
    }
    let major = *bytes.get(6).ok_or("the header is cut off")?;
    let (from, length) = match major {
        1 => (10, bytes.get(8..10).map(|b| usize::from(b[0]) | usize::from(b[1]) << 8)),
        2 | 3 => (12, bytes.get(8..12).map(|b| b.iter().rev().fold(0, |acc, &x| acc << 8 | usize::from(x)))),
        v => return Err(format!("version {v} of the format is not known (1, 2 and 3 are)")),
    };
    let start = from + length.ok_or("the header is cut off")?;
    let header = bytes.get(from..start).ok_or("the header is cut off")?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text".to_owned())?;

    let descr = field(header, "descr").ok_or("the header has no `descr`")?;
    let descr = descr.strip_prefix(['\'', '"']).and_then(|d| d.split(['\'', '"']).next());
    let (kind, width, big_endian) = descr.and_then(element).ok_or_else(|| {
        let shown: String = field(header, "descr").unwrap_or("").chars().take(40).collect();
        format!(
            "elements of type {shown}.. are not read; save as f4, f8, i1 to i8, u1 to u8 or b1 (for instance `.astype(\"f8\")`)"
        )
    })?;
    let fortran = field(header, "fortran_order").ok_or("the header has no `fortran_order`")?.starts_with("True");
    let shape = field(header, "shape").ok_or("the header has no `shape`")?;
    let shape = shape.strip_prefix('(').and_then(|s| s.split(')').next()).ok_or("the header's `shape` is no tuple")?;
    let shape: Option<Vec<usize>> = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().ok()).collect();
    let shape = shape.ok_or("the header's `shape` is no tuple of numbers")?;

    let wanted = shape.iter().try_fold(width, |acc, &n| acc.checked_mul(n)).ok_or("the shape is too large")?;
    let have = bytes.len() - start;
    if have != wanted {
        return Err(format!("the shape {shape:?} needs {wanted} bytes of elements, but the file has {have}"));
    }
    Ok(Stored { bytes, start, kind, width, big_endian, fortran, shape })
}

/// The bytes of an NPY file of 64-bit floats, row-major.
pub fn npy_bytes(shape: &[usize], values: &[f64]) -> Vec<u8> {
    let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if axes.len() == 1 { "," } else { "" };
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}{comma}), }}", axes.join(", "));
    // The elements begin at a multiple of 64 bytes, as the format asks for.
    let padding = 63 - (10 + header.len()) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    values.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
    out
}

/// The text behind `'name':` in the header's dictionary.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{name}'")).or_else(|| header.find(&format!("\"{name}\"")))?;
    let rest = header.get(at + name.len() + 2..)?.trim_start();
    Some(rest.strip_prefix(':')?.trim_start())
}

fn element(descr: &str) -> Option<(Kind, usize, bool)> {
    let (big_endian, rest) = match descr.strip_prefix('>') {
        Some(rest) => (true, rest),
        None => (false, descr.trim_start_matches(['<', '|', '='])),
    };
    let (kind, width) = match rest {
        "f4" => (Kind::Float, 4),
        "f8" => (Kind::Float, 8),
        "i1" => (Kind::Signed, 1),
        "i2" => (Kind::Signed, 2),
        "i4" => (Kind::Signed, 4),
        "i8" => (Kind::Signed, 8),
        "u1" => (Kind::Unsigned, 1),
        "u2" => (Kind::Unsigned, 2),
        "u4" => (Kind::Unsigned, 4),
        "u8" => (Kind::Unsigned, 8),
        "b1" | "?" => (Kind::Bool, 1),
        _ => return None,
    };
    Some((kind, width, big_endian))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::raw::Cell;
    use super::*;

    fn parsed(bytes: Vec<u8>) -> Result<Stored, String> {
        parse(Bytes::Owned(std::sync::Arc::new(bytes)))
    }

    /// The bytes of an NPY file, version 1.
    pub(in super::super) fn npy(descr: &str, fortran: bool, shape: &str, elements: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend_from_slice(&(header.len() as u16).to_le_bytes());
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(elements);
        out
    }

    fn cells(array: &Stored) -> Vec<Cell> {
        (0..array.shape.iter().product()).map(|i| array.cell(i)).collect()
    }

    #[test]
    fn every_element_type() {
        let one = |descr, elements: &[u8]| cells(&parsed(npy(descr, false, "(1,)", elements)).unwrap()).remove(0);
        assert_eq!(one("<f8", &(-1.5f64).to_le_bytes()), Cell::Real(-1.5));
        assert_eq!(one(">f8", &(-1.5f64).to_be_bytes()), Cell::Real(-1.5));
        assert_eq!(one("<f4", &0.25f32.to_le_bytes()), Cell::Real(0.25));
        assert_eq!(one("|i1", &[0xff]), Cell::Int(-1));
        assert_eq!(one("<i2", &(-300i16).to_le_bytes()), Cell::Int(-300));
        assert_eq!(one(">i4", &(-70_000i32).to_be_bytes()), Cell::Int(-70_000));
        assert_eq!(one("<i8", &i64::MIN.to_le_bytes()), Cell::Int(i64::MIN));
        assert_eq!(one("|u1", &[200]), Cell::Int(200));
        assert_eq!(one("|b1", &[1]), Cell::Bool(true));
        assert_eq!(one("<f8", &f64::NAN.to_le_bytes()), Cell::Missing);
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[3][..], &[3, 1], &[1, 1, 3]] {
            let bytes = npy_bytes(shape, &[0.5, -1.0, 1e300]);
            let start = bytes.len() - 24;
            assert_eq!(start % 64, 0);
            let array = parsed(bytes).unwrap();
            assert_eq!((array.shape.as_slice(), array.start, array.is_native()), (shape, start, true));
            assert_eq!(cells(&array), [Cell::Real(0.5), Cell::Real(-1.0), Cell::Real(1e300)]);
        }
    }

    #[test]
    fn fortran_order_is_transposed() {
        let column_major = [1u8, 4, 2, 5, 3, 6];
        let array = parsed(npy("|u1", true, "(2, 3)", &column_major)).unwrap();
        assert_eq!(cells(&array), (1..=6).map(Cell::Int).collect::<Vec<_>>());
    }

    #[test]
    fn scalars_and_version_two() {
        assert_eq!(parsed(npy("<f8", false, "()", &2.0f64.to_le_bytes())).unwrap().shape, [0usize; 0]);
        let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }";
        let mut v2 = b"\x93NUMPY\x02\x00".to_vec();
        v2.extend_from_slice(&(header.len() as u32).to_le_bytes());
        v2.extend_from_slice(header);
        v2.extend_from_slice(&[7, 8]);
        assert_eq!(cells(&parsed(v2).unwrap()), [Cell::Int(7), Cell::Int(8)]);
    }

    #[test]
    fn damage_is_told_not_suffered() {
        let whole = npy("<f8", false, "(2,)", &[0; 16]);
        for end in 0..whole.len() {
            assert!(parsed(whole[..end].to_vec()).is_err(), "cut at {end}");
        }
        assert!(parsed(npy("<c16", false, "(1,)", &[0; 16])).unwrap_err().contains("c16"));
        assert!(parsed(npy("[('a', '<f4')]", false, "(1,)", &[0; 4])).is_err());
        assert!(parsed(npy("<f8", false, "(99999999999, 99999999999)", &[])).unwrap_err().contains("too large"));
        assert!(parsed(npy("<f8", false, "(-1,)", &[])).is_err());
    }
}
