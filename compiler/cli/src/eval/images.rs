//! Arrays of pictures as one PNG file: tiles with a pixel between them.

use super::{NOT_EVALUATED, shown};
use ppl_diag::{Code, Diagnostic};
use ppl_fit::data::Array;
use std::io::BufWriter;
use std::path::Path;

/// What lies between pictures, a dark blue that is no grey.
const GAP: [u8; 3] = [32, 32, 64];
/// Pixels of a file at most.
const LARGEST: u64 = 1 << 28;

/// Number, height and width of pictures, and whether they have colours.
fn layout(shape: &[usize]) -> Option<(usize, usize, usize, bool)> {
    match *shape {
        [n, h, w] if n * h * w > 0 => Some((n, h, w, false)),
        [n, h, w, 3] if n * h * w > 0 => Some((n, h, w, true)),
        _ => None,
    }
}

/// Whether an array of this shape is pictures.
///
/// # Errors
/// `E0810` with what to write instead.
pub(super) fn check(shape: &[usize], text: &str) -> Result<(), Diagnostic> {
    if layout(shape).is_some() {
        return Ok(());
    }
    let title = format!("`{}` is no array of pictures", shown(text));
    let d = Diagnostic::error(NOT_EVALUATED, title).note("pictures are an array `[n, H, W]`, or `[n, H, W, 3]` with colours");
    let rows = shape.last().copied().unwrap_or(1);
    let side = rows.isqrt();
    Err(match *shape {
        [n, m] if side * side == m && side > 1 => {
            d.help(format!("give the rows their height and width: `reshape(.., {n}, {side}, {side})`"))
        }
        [h, w] => d.help(format!("one picture is `reshape(.., 1, {h}, {w})`")),
        [_] | [] => d.help("give the pixels their place: `reshape(.., n, H, W)`"),
        _ => d.help("order the axes as number, height, width, colour"),
    })
}

/// Writes the pictures in rows of `columns`; width and height of the file.
///
/// # Errors
/// `E0810` for elements that are not finite; `E0621` with what the system says.
pub(super) fn write(a: &Array, text: &str, path: &Path, columns: Option<u32>) -> Result<[u32; 2], Diagnostic> {
    check(&a.shape, text)?;
    let Some((n, h, w, colours)) = layout(&a.shape) else { return Err(crate::engine::fault("pictures without a shape")) };
    let values = a.to_f64();
    if let Some(i) = values.iter().position(|x| !x.is_finite()) {
        let at = ppl_fit::step::element_name("", &a.shape, i);
        return Err(Diagnostic::error(NOT_EVALUATED, format!("a pixel is {}, at {at}", values[i])).note("colours go from 0 to 1"));
    }
    // About as many columns as rows of pictures, by their outer size.
    let square = (n as f64 * (h + 1) as f64 / (w + 1) as f64).sqrt().round() as usize;
    let columns = columns.map_or(square, |c| c as usize).clamp(1, n);
    let rows = n.div_ceil(columns);
    let size = [columns * (w + 1) - 1, rows * (h + 1) - 1];
    if size[0] as u64 * size[1] as u64 > LARGEST {
        let title = format!("{n} pictures of {h} x {w} make a file of {} x {} pixels", size[0], size[1]);
        return Err(Diagnostic::error(NOT_EVALUATED, title).help("take fewer of them"));
    }
    let mut pixels: Vec<u8> = GAP.iter().copied().cycle().take(3 * size[0] * size[1]).collect();
    let level = |x: f64| (x.clamp(0.0, 1.0) * 255.0).round() as u8;
    for k in 0..n {
        let (left, top) = ((k % columns) * (w + 1), (k / columns) * (h + 1));
        for y in 0..h {
            for x in 0..w {
                let from = (k * h + y) * w + x;
                let colour = if colours {
                    [values[3 * from], values[3 * from + 1], values[3 * from + 2]].map(level)
                } else {
                    [level(values[from]); 3]
                };
                let to = 3 * ((top + y) * size[0] + left + x);
                pixels[to..to + 3].copy_from_slice(&colour);
            }
        }
    }
    let size = size.map(|s| s as u32);
    save(path, size, &pixels)
        .map_err(|e| Diagnostic::error(Code("E0621"), format!("the results can't be written to `{}`", path.display())).note(e))?;
    Ok(size)
}

fn save(path: &Path, [width, height]: [u32; 2], pixels: &[u8]) -> Result<(), String> {
    let file = std::fs::File::create(path).map_err(|e| e.to_string())?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(pixels).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ppl_fit::data::Values;

    #[test]
    fn tiles_have_a_pixel_between_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.png");
        let values = (0..3 * 2 * 2).map(|i| f64::from(i % 4) / 2.0 - 0.5).collect();
        let a = Array { shape: vec![3, 2, 2], data: Values::Real(values), missing: Vec::new() };
        assert_eq!(write(&a, "x", &path, Some(2)).unwrap(), [5, 5]);
        let mut reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let at = |x: usize, y: usize| &pixels[3 * (5 * y + x)..3 * (5 * y + x) + 3];
        // Below 0 is black, above 1 white.
        assert_eq!([at(0, 0), at(1, 0), at(0, 1), at(1, 1)], [[0; 3], [0; 3], [128; 3], [255; 3]]);
        assert_eq!([at(2, 0), at(0, 2), at(4, 4)], [GAP; 3]);
        assert_eq!(at(3, 1), [128; 3]);
        assert_eq!(write(&a, "x", &path, None).unwrap(), [5, 5]);
        let red = Array { shape: vec![1, 1, 1, 3], data: Values::Real(vec![1.0, 0.0, 0.5]), missing: Vec::new() };
        assert_eq!(write(&red, "x", &path, None).unwrap(), [1, 1]);
    }

    #[test]
    fn other_shapes_are_told_how_to_be_pictures() {
        let help = |shape: &[usize]| check(shape, "x").unwrap_err().help.unwrap();
        assert!(help(&[5, 784]).contains("reshape(.., 5, 28, 28)"));
        assert!(help(&[28, 30]).contains("reshape(.., 1, 28, 30)"));
        assert!(help(&[784]).contains("reshape"));
        assert!(check(&[2, 3, 4, 2], "x").is_err() && check(&[2, 3, 4, 3], "x").is_ok() && check(&[0, 3, 4], "x").is_err());
        let nan = Array { shape: vec![1, 1, 1], data: Values::Real(vec![f64::NAN]), missing: Vec::new() };
        assert_eq!(write(&nan, "x", Path::new("/"), None).unwrap_err().code.0, "E0810");
    }
}
