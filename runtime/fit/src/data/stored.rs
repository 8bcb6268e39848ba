//! Arrays in the bytes of a file, which stays where it is: mapped into memory, read where something asks for it.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::raw::Cell;

/// Kind of element in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Float,
    Signed,
    Unsigned,
    Bool,
}

/// The bytes of a file.
#[derive(Clone)]
pub(super) enum Bytes {
    Mapped(Arc<memmap2::Mmap>),
    /// Of a compressed file.
    Owned(Arc<Vec<u8>>),
}

impl Bytes {
    /// Maps a file.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn map(path: &Path) -> std::io::Result<Bytes> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a directory"));
        }
        // SAFETY: the map is only read. Who shortens the file while it is in use ends the process, as for any mapped file.
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        Ok(Bytes::Mapped(Arc::new(map)))
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(m) => m,
            Bytes::Owned(v) => v,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// Files beyond this many bytes are not expected to stay in memory.
#[cfg(unix)]
const LARGE: usize = 4 << 30;

/// Bytes of rows that are copied to memory and not to a file.
const IN_MEMORY: usize = 256 << 20;

/// An array in the bytes of a file; elements are decoded when they are asked for.
#[derive(Clone, Debug)]
pub struct Stored {
    pub(super) bytes: Bytes,
    pub(super) start: usize,
    pub(super) kind: Kind,
    /// Bytes of an element.
    pub(super) width: usize,
    pub(super) big_endian: bool,
    /// Column-major.
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.kind == other.kind && self.width == other.width && self.elements() == other.elements()
    }
}

impl Stored {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of an element: 4 or 8 for a real, 8 or 1 for an int, 1 for a truth value.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The bytes of all elements, row-major and in the machine's order in arrays that are bound.
    pub fn elements(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.len() * self.width).unwrap_or_default()
    }

    /// Says that rows of a file of more than a few gigabytes will be read in any order, so that reading one does not fetch its neighbours.
    pub(super) fn in_any_order(&self) {
        #[cfg(unix)]
        if let Bytes::Mapped(m) = &self.bytes
            && m.len() > LARGE
        {
            // A hint: without it everything works, only slower.
            let _ = m.advise(memmap2::Advice::Random);
        }
    }

    /// These rows along the first axis, in memory or, where they are many, in a file without a name, so that the system may take their memory.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn rows(&self, rows: &[usize]) -> std::io::Result<Stored> {
        let width = self.shape.iter().skip(1).product::<usize>() * self.width;
        let bytes = width * rows.len();
        let mut map = if bytes > IN_MEMORY {
            let file = tempfile::tempfile()?;
            file.set_len(bytes as u64)?;
            // SAFETY: nobody else knows the file, so nobody shortens it.
            unsafe { memmap2::MmapMut::map_mut(&file) }?
        } else {
            memmap2::MmapMut::map_anon(bytes.max(1))?
        };
        let elements = self.elements();
        for (to, from) in map.chunks_exact_mut(width.max(1)).zip(rows) {
            to.copy_from_slice(&elements[from * width..(from + 1) * width]);
        }
        let shape = std::iter::once(rows.len()).chain(self.shape.iter().skip(1).copied()).collect();
        let map = Bytes::Mapped(Arc::new(map.make_read_only()?));
        Ok(Stored { bytes: map, start: 0, shape, ..self.clone() })
    }

    /// What keeps [`Self::elements`] alive.
    pub fn keep(&self) -> Arc<dyn std::any::Any + Send + Sync> {
        match &self.bytes {
            Bytes::Mapped(m) => m.clone(),
            Bytes::Owned(v) => v.clone(),
        }
    }

    /// Whether the file holds the elements as memory would: row-major, in the machine's byte order.
    pub(super) fn is_native(&self) -> bool {
        let ordered = !self.fortran || self.shape.len() < 2;
        ordered && (self.width == 1 || self.big_endian == cfg!(target_endian = "big"))
    }

    /// Reals of 4 or 8 bytes, in order.
    pub(super) fn reals(&self) -> impl Iterator<Item = f64> + '_ {
        let wide = self.width == 8;
        self.elements().chunks_exact(self.width.max(1)).map(move |b| match (wide, b) {
            (true, &[a, b, c, d, e, f, g, h]) => f64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            (false, &[a, b, c, d]) => f64::from(f32::from_ne_bytes([a, b, c, d])),
            _ => f64::NAN,
        })
    }

    /// Ints of 8 bytes, or of one without sign, in order.
    pub fn ints(&self) -> impl Iterator<Item = i64> + '_ {
        let bytes = if self.width == 1 { self.elements() } else { &[] };
        let words = if self.width == 1 { &[] } else { self.elements() };
        let words = words.as_chunks::<8>().0.iter().map(|b| i64::from_ne_bytes(*b));
        bytes.iter().map(|b| i64::from(*b)).chain(words)
    }

    /// Element `i` in row-major order. NaN is a missing value.
    pub(super) fn cell(&self, i: usize) -> Cell {
        let i = if self.fortran { self.fortran_position(i) } else { i };
        let from = self.start + i * self.width;
        let Some(bytes) = self.bytes.get(from..from + self.width) else { return Cell::Missing };
        let join = |acc: u64, b: &u8| acc << 8 | u64::from(*b);
        let bits = if self.big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
        match self.kind {
            Kind::Float => {
                let x = if self.width == 4 { f64::from(f32::from_bits(bits as u32)) } else { f64::from_bits(bits) };
                if x.is_nan() { Cell::Missing } else { Cell::Real(x) }
            }
            Kind::Signed => {
                let unused = 64 - 8 * self.width as u32;
                Cell::Int((bits << unused) as i64 >> unused)
            }
            Kind::Unsigned => i64::try_from(bits).map_or(Cell::Real(bits as f64), Cell::Int),
            Kind::Bool => Cell::Bool(bits != 0),
        }
    }

    /// Where the element with row-major position `i` is in column-major order.
    fn fortran_position(&self, mut i: usize) -> usize {
        let mut stride = self.shape.iter().product::<usize>();
        let mut position = 0;
        for &n in self.shape.iter().rev() {
            stride /= n.max(1);
            position += (i % n.max(1)) * stride;
            i /= n.max(1);
        }
        position
    }
}

/// The arrays of a safetensors file, with their names.
///
/// # Errors
/// A sentence on what is wrong with the bytes.
pub(super) fn safetensors(bytes: &Bytes) -> Result<Vec<(String, Stored)>, String> {
    use safetensors::tensor::Dtype;
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, view) in tensors {
        let (kind, width) = match view.dtype() {
            Dtype::F32 => (Kind::Float, 4),
            Dtype::F64 => (Kind::Float, 8),
            Dtype::I8 => (Kind::Signed, 1),
            Dtype::I16 => (Kind::Signed, 2),
            Dtype::I32 => (Kind::Signed, 4),
            Dtype::I64 => (Kind::Signed, 8),
            Dtype::U8 => (Kind::Unsigned, 1),
            Dtype::U16 => (Kind::Unsigned, 2),
            Dtype::U32 => (Kind::Unsigned, 4),
            Dtype::U64 => (Kind::Unsigned, 8),
            Dtype::BOOL => (Kind::Bool, 1),
            other => return Err(format!("`{name}` has elements of type {other:?}; save it as F32, F64, I64, U8 or BOOL")),
        };
        let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        let shape = view.shape().to_vec();
        out.push((name, Stored { bytes: bytes.clone(), start, kind, width, big_endian: false, fortran: false, shape }));
    }
    Ok(out)
}
