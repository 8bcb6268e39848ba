//! Buffers for compiled code, and loops over it.

use crate::{CodegenError, Compiled, Slot};
use ppl_abi::Precision;
use ppl_core::DType;
use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;

/// The alignment of every buffer.
const ALIGN: usize = 64;

/// An aligned buffer of zeros. Pages that nothing touches take no memory.
struct Buffer {
    at: NonNull<u8>,
    layout: Layout,
    bytes: usize,
}

impl Buffer {
    fn new(bytes: usize) -> Buffer {
        let Ok(layout) = Layout::from_size_align(bytes.next_multiple_of(ALIGN).max(ALIGN), ALIGN) else {
            panic!("a buffer of {bytes} bytes is larger than the address space")
        };
        // SAFETY: the layout's size is not 0.
        let at = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(at) = NonNull::new(at) else { std::alloc::handle_alloc_error(layout) };
        Buffer { at, layout, bytes }
    }

    fn ptr(&mut self) -> *mut u8 {
        self.at.as_ptr()
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the allocation holds at least `bytes` initialised bytes.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and it is borrowed from its one owner.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.at.as_ptr(), self.layout) }
    }
}

/// How far [`Runner::run_steps`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Steps done, the one that went wrong included.
    pub done: usize,
    /// The step at which the watched result was not finite; the loop ended there.
    pub not_finite: Option<u64>,
}

/// Elements that the runner does not own.
struct Borrowed {
    elements: NonNull<[u8]>,
    _keep: Arc<dyn std::any::Any + Send + Sync>,
}

/// Owns the buffers of one compiled function and runs it.
///
/// With [`Runner::set_state`] results become the next run's parameters: their buffers change places, nothing is copied.
pub struct Runner {
    code: Arc<Compiled>,
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    workspace: Buffer,
    input_ptrs: Vec<*const u8>,
    output_ptrs: Vec<*mut u8>,
    /// Inputs whose elements are elsewhere, with what keeps them there.
    borrowed: Vec<Option<Borrowed>>,
    /// Whether every input has its elements.
    complete: bool,
    state: Vec<(usize, usize)>,
    /// Whether buffers of the state have changed places since the last run: results of it are then found among the inputs.
    swapped: bool,
}

// SAFETY: the pointers are to buffers that the runner owns alone.
unsafe impl Send for Runner {}

impl Runner {
    /// Buffers of zeros for `code`.
    pub fn new(code: Arc<Compiled>) -> Runner {
        let buffers = |slots: &[Slot]| slots.iter().map(|s| Buffer::new(s.bytes)).collect::<Vec<_>>();
        // Inputs that are borrowed may be larger than memory: what is not gets its buffer when it is set, or at the first run.
        let inputs: Vec<Buffer> = code.params().iter().map(|_| Buffer::new(0)).collect();
        let outputs = buffers(code.results());
        let borrowed = inputs.iter().map(|_| None).collect();
        let workspace = Buffer::new(code.workspace());
        let mut r = Runner {
            code,
            inputs,
            outputs,
            workspace,
            input_ptrs: Vec::new(),
            output_ptrs: Vec::new(),
            borrowed,
            complete: false,
            state: Vec::new(),
            swapped: false,
        };
        r.refresh();
        r
    }

    fn refresh(&mut self) {
        let at = |(b, other): (&mut Buffer, &Option<Borrowed>)| match other {
            Some(o) => o.elements.as_ptr().cast::<u8>().cast_const(),
            None => b.ptr().cast_const(),
        };
        self.input_ptrs = self.inputs.iter_mut().zip(&self.borrowed).map(at).collect();
        self.output_ptrs = self.outputs.iter_mut().map(Buffer::ptr).collect();
    }

    /// Gives an input a buffer of its own, if it has none.
    fn own(&mut self, i: usize, bytes: usize) {
        if self.inputs[i].bytes != bytes {
            self.inputs[i] = Buffer::new(bytes);
        }
    }

    /// Gives every input its elements: zeros where nothing was set.
    fn complete(&mut self) {
        for i in 0..self.inputs.len() {
            if self.borrowed[i].is_none() {
                let bytes = self.code.params()[i].bytes;
                self.own(i, bytes);
            }
        }
        self.complete = true;
        self.refresh();
    }

    /// The compiled function.
    pub fn code(&self) -> &Arc<Compiled> {
        &self.code
    }

    /// Pairs `(parameter, result)`: the result of a run is the parameter of the next.
    ///
    /// Each parameter and each result may occur once, and their types must agree.
    pub fn set_state(&mut self, pairs: &[(usize, usize)]) -> Result<(), CodegenError> {
        for (k, (p, r)) in pairs.iter().enumerate() {
            let what = || format!("state ({p}, {r})");
            let (Some(a), Some(b)) = (self.code.params().get(*p), self.code.results().get(*r)) else {
                return Err(CodegenError::Buffer { what: what(), reason: "no such parameter or result".into() });
            };
            if a.ty != b.ty {
                return Err(CodegenError::Buffer {
                    what: what(),
                    reason: format!("the parameter is {} and the result {}", a.ty, b.ty),
                });
            }
            if pairs[..k].iter().any(|(q, s)| q == p || s == r) {
                return Err(CodegenError::Buffer { what: what(), reason: "named twice".into() });
            }
        }
        if let Some((p, _)) = pairs.iter().find(|(p, _)| self.borrowed[*p].is_some()) {
            let reason = "its elements are borrowed, and state is written".into();
            return Err(CodegenError::Buffer { what: format!("input {p}"), reason });
        }
        self.state = pairs.to_vec();
        Ok(())
    }

    fn input(&mut self, i: usize, dtype: DType, len: usize) -> Result<&mut [u8], CodegenError> {
        let Some(slot) = self.code.params().get(i) else {
            return Err(CodegenError::Buffer { what: format!("input {i}"), reason: "there is no such parameter".into() });
        };
        let what = || format!("input {i} ({})", slot.name);
        if slot.ty.dtype != dtype {
            return Err(CodegenError::Buffer { what: what(), reason: format!("it is {}, not an array of {dtype}", slot.ty) });
        }
        if slot.ty.numel() != len {
            return Err(CodegenError::Buffer { what: what(), reason: format!("it is {}; {len} elements were given", slot.ty) });
        }
        let bytes = slot.bytes;
        if self.borrowed[i].take().is_some() || self.inputs[i].bytes != bytes {
            self.own(i, bytes);
            self.refresh();
        }
        Ok(self.inputs[i].bytes_mut())
    }

    /// Reads a parameter where its elements are, row-major and of `width` bytes each, as long as `keep` lives; nothing is copied. False, and
    /// nothing changes, where they are not as the code wants them: of another length or width, not aligned to it, or state.
    ///
    /// # Safety
    /// `elements` must live, unmoved and unchanged, as long as `keep` does.
    pub unsafe fn borrow_input(
        &mut self,
        i: usize,
        elements: &[u8],
        width: usize,
        keep: Arc<dyn std::any::Any + Send + Sync>,
    ) -> bool {
        let Some(slot) = self.code.params().get(i) else { return false };
        let fits = slot.ty.numel() * width == elements.len() && slot.bytes == elements.len();
        let aligned = elements.as_ptr().align_offset(width.max(1)) == 0;
        if elements.is_empty() || !fits || !aligned || self.state.iter().any(|(p, _)| *p == i) {
            return false;
        }
        self.borrowed[i] = Some(Borrowed { elements: NonNull::from(elements), _keep: keep });
        self.refresh();
        true
    }

    /// The bytes of a parameter.
    fn input_bytes(&self, i: usize) -> Option<&[u8]> {
        match self.borrowed.get(i)? {
            // SAFETY: they live as long as what is kept beside them.
            Some(o) => Some(unsafe { o.elements.as_ref() }),
            None => self.inputs.get(i).map(Buffer::bytes),
        }
    }

    /// Sets a real parameter; values are rounded to the precision of the code.
    pub fn set_floats(&mut self, i: usize, values: &[f64]) -> Result<(), CodegenError> {
        let precision = self.code.precision();
        let bytes = self.input(i, DType::Float, values.len())?;
        match precision {
            Precision::F32 => {
                bytes.chunks_exact_mut(4).zip(values).for_each(|(b, v)| b.copy_from_slice(&(*v as f32).to_ne_bytes()));
            }
            Precision::F64 => bytes.chunks_exact_mut(8).zip(values).for_each(|(b, v)| b.copy_from_slice(&v.to_ne_bytes())),
        }
        Ok(())
    }

    /// Sets an integer parameter.
    pub fn set_ints(&mut self, i: usize, values: &[i64]) -> Result<(), CodegenError> {
        let bytes = self.input(i, DType::Int, values.len())?;
        if bytes.len() == values.len() {
            // Parameters of single bytes; a wider value is none that the code was made for.
            for (b, v) in bytes.iter_mut().zip(values) {
                *b = u8::try_from(*v).map_err(|_| CodegenError::Buffer {
                    what: format!("input {i}"),
                    reason: format!("{v} does not fit into a byte"),
                })?;
            }
            return Ok(());
        }
        bytes.chunks_exact_mut(8).zip(values).for_each(|(b, v)| b.copy_from_slice(&v.to_ne_bytes()));
        Ok(())
    }

    /// Sets a parameter of truth values.
    pub fn set_bools(&mut self, i: usize, values: &[bool]) -> Result<(), CodegenError> {
        let bytes = self.input(i, DType::Bool, values.len())?;
        bytes.iter_mut().zip(values).for_each(|(b, v)| *b = u8::from(*v));
        Ok(())
    }

    /// A parameter's present values as reals, whatever its type: also how the state is read after a run.
    pub fn input_values(&self, i: usize) -> Vec<f64> {
        match (self.code.params().get(i), self.input_bytes(i)) {
            (Some(s), Some(b)) if b.len() != s.bytes => vec![0.0; s.ty.numel()],
            (Some(s), Some(b)) => read(s, b, self.code.precision()),
            _ => Vec::new(),
        }
    }

    /// A result's values as reals, whatever its type.
    ///
    /// Results that are state are read here too: after a run they are the parameter's buffer.
    pub fn output_values(&self, i: usize) -> Vec<f64> {
        let moved = self.state.iter().find(|(_, r)| *r == i).filter(|_| self.swapped);
        match (moved, self.code.results().get(i), self.outputs.get(i)) {
            (Some((p, _)), Some(s), _) => read(s, self.inputs[*p].bytes(), self.code.precision()),
            (None, Some(s), Some(b)) => read(s, b.bytes(), self.code.precision()),
            _ => Vec::new(),
        }
    }

    /// A result's integers; truth values are 0 and 1. Empty for reals.
    pub fn output_ints(&self, i: usize) -> Vec<i64> {
        let moved = self.state.iter().find(|(_, r)| *r == i).filter(|_| self.swapped);
        let buffer = match moved {
            Some((p, _)) => self.inputs.get(*p),
            None => self.outputs.get(i),
        };
        match (self.code.results().get(i), buffer) {
            (Some(s), Some(b)) if s.ty.dtype == DType::Int => words(b.bytes()).map(i64::from_ne_bytes).collect(),
            (Some(s), Some(b)) if s.ty.dtype == DType::Bool => b.bytes().iter().map(|x| i64::from(*x)).collect(),
            _ => Vec::new(),
        }
    }

    /// Runs once. Results that are state become parameters.
    pub fn run(&mut self, seed: u64, step: u64) {
        if !self.complete {
            self.complete();
        }
        // SAFETY: the buffers have the sizes that the code asks for, are aligned to 64 bytes and distinct.
        unsafe { self.code.call(&self.input_ptrs, &self.output_ptrs, self.workspace.ptr(), seed, step) }
        for (p, r) in &self.state {
            std::mem::swap(&mut self.inputs[*p], &mut self.outputs[*r]);
            let (old_in, old_out) = (self.input_ptrs[*p], self.output_ptrs[*r]);
            self.input_ptrs[*p] = old_out.cast_const();
            self.output_ptrs[*r] = old_in.cast_mut();
        }
        self.swapped = true;
    }

    /// Runs steps `start .. start + record.len()`, and records the scalar real result `watch` of each.
    ///
    /// Stops after a step whose result is not finite; the rest of `record` is left as it was.
    pub fn run_steps(&mut self, seed: u64, start: u64, watch: usize, record: &mut [f64]) -> Result<Steps, CodegenError> {
        let fits = self.code.results().get(watch).is_some_and(|s| s.ty == ppl_core::Ty::FLOAT);
        if !fits || self.state.iter().any(|(_, r)| *r == watch) {
            let reason = "only a real scalar result that is not state can be watched".into();
            return Err(CodegenError::Buffer { what: format!("result {watch}"), reason });
        }
        for (k, slot) in record.iter_mut().enumerate() {
            let step = start + k as u64;
            self.run(seed, step);
            let bytes = self.outputs[watch].bytes();
            *slot = match self.code.precision() {
                Precision::F32 => f64::from(f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
                Precision::F64 => words(bytes).next().map_or(f64::NAN, f64::from_ne_bytes),
            };
            if !slot.is_finite() {
                return Ok(Steps { done: k + 1, not_finite: Some(step) });
            }
        }
        Ok(Steps { done: record.len(), not_finite: None })
    }
}

fn words(b: &[u8]) -> impl Iterator<Item = [u8; 8]> + '_ {
    b.as_chunks::<8>().0.iter().copied()
}

fn read(slot: &Slot, b: &[u8], precision: Precision) -> Vec<f64> {
    match (slot.ty.dtype, precision) {
        (DType::Float, Precision::F32) => b.as_chunks::<4>().0.iter().map(|x| f64::from(f32::from_ne_bytes(*x))).collect(),
        (DType::Float, Precision::F64) => words(b).map(f64::from_ne_bytes).collect(),
        (DType::Int, _) if b.len() == slot.ty.numel() => b.iter().map(|x| f64::from(*x)).collect(),
        (DType::Int, _) => words(b).map(|x| i64::from_ne_bytes(x) as f64).collect(),
        (DType::Bool, _) => b.iter().map(|x| f64::from(*x)).collect(),
    }
}
