//! Data of the benchmarks: the same numbers each time, as NPY files.

use std::fs;

/// Pseudo-random numbers (xorshift64*), good enough for data.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Between 0 and 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// An array in NumPy's format, version 1.
fn write(file: &str, kind: &str, shape: &[usize], bytes: &[u8]) -> Result<(), String> {
    let dims: String = shape.iter().map(|n| format!("{n},")).collect();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({dims}), }}");
    // Magic, version, length and header fill a multiple of 64 bytes.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header += &" ".repeat(padding);
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(bytes);
    fs::write(file, out).map_err(|e| format!("{file}: {e}"))
}

/// Writes reals.
pub(crate) fn write_reals(file: &str, shape: &[usize], values: &[f64]) -> Result<(), String> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    write(file, "<f8", shape, &bytes)
}

/// Writes truth values.
pub(crate) fn write_bools(file: &str, shape: &[usize], values: &[bool]) -> Result<(), String> {
    let bytes: Vec<u8> = values.iter().map(|v| u8::from(*v)).collect();
    write(file, "|b1", shape, &bytes)
}
