//! Machine code: native functions compiled and kept with their entry points.

use crate::CodegenError;
use crate::emit::chunk::{Cut, GRAIN, Product, cut};
use crate::emit::strip::Strip;
use crate::emit::{Emitter, State, unsupported};
use crate::pool::Pool;
use crate::schedule::{Step, schedule};
use crate::view::elem_size;
use cranelift::codegen::Context;
use cranelift::codegen::ir::{Function, UserFuncName};
use cranelift::jit::{JITBuilder, JITModule};
use cranelift::module::{Linkage, Module, default_libcall_names};
use cranelift::prelude::*;
use ppl_abi::{KernelTable, Precision};
use ppl_core::{Det, Func, Ty};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// A native function is ended at the next statement once it has this many instructions.
const SPLIT: usize = 5_000;
/// Programs of more instructions get the fast register allocator.
const LARGE: usize = 1_500;

/// How registers are allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Regalloc {
    /// Backtracking for small programs, a single pass for large ones.
    #[default]
    Auto,
    /// Faster to compile.
    SinglePass,
    /// Faster to run.
    Backtracking,
}

/// How to compile.
#[derive(Clone)]
pub struct Options {
    /// Width of floats.
    pub precision: Precision,
    /// Addresses of kernels.
    pub kernels: KernelTable,
    /// Register allocation.
    pub regalloc: Regalloc,
    /// Join elementwise statements into loops. Off, every statement is a loop of its own (for tests and measurements).
    pub fuse: bool,
    /// Threads that a run may use. Results do not depend on it.
    pub threads: usize,
    /// Elementary operations from which on a step is cut into chunks that threads share. Sums over chunks depend on it.
    pub grain: usize,
    /// Int parameters that are given as single bytes, 0 to 255, where the code takes only rows and elements of them; elsewhere it does not count.
    pub bytes: Vec<usize>,
    /// Keep the Cranelift IR and the disassembly for [`Compiled::clif`] and [`Compiled::disassembly`].
    pub keep_text: bool,
    /// Run Cranelift's verifier.
    pub verify: bool,
}

impl Options {
    /// The defaults: fused, nothing kept, verified in debug builds.
    pub fn new(precision: Precision, kernels: KernelTable) -> Options {
        Options {
            precision,
            kernels,
            regalloc: Regalloc::Auto,
            fuse: true,
            threads: 1,
            grain: GRAIN,
            bytes: Vec::new(),
            keep_text: false,
            verify: cfg!(debug_assertions),
        }
    }
}

/// A parameter or result of a compiled function: a dense row-major buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Name of the parameter, or of the variable that is the result.
    pub name: String,
    /// Type.
    pub ty: Ty,
    /// Size in bytes.
    pub bytes: usize,
}

/// Where the time of a compilation went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Ordering and grouping statements.
    pub plan: Duration,
    /// Building Cranelift IR, buffers included.
    pub clif: Duration,
    /// Optimisation, register allocation and encoding.
    pub machine: Duration,
}

type Entry = unsafe extern "C" fn(*const *const u8, *const *mut u8, *mut u8, u64, u64, usize, usize);

/// A native function, called once for each chunk.
#[derive(Clone, Copy)]
struct Part {
    entry: Entry,
    chunks: usize,
}

/// A call whose chunks several threads share.
struct Call {
    entry: Entry,
    inputs: *const *const u8,
    outputs: *const *mut u8,
    workspace: *mut u8,
    seed: u64,
    step: u64,
}

/// Runs a chunk of a [`Call`].
unsafe fn run_chunk(call: *const (), chunk: usize, worker: usize) {
    // SAFETY: `Compiled::call` hands over a `Call`, whose buffers its caller vouches for; chunks write to different places.
    unsafe {
        let c = &*call.cast::<Call>();
        (c.entry)(c.inputs, c.outputs, c.workspace, c.seed, c.step, chunk, worker);
    }
}

/// A compiled function: code, its entry points and what they expect.
pub struct Compiled {
    parts: Vec<Part>,
    threads: usize,
    /// Taken only when the code is freed.
    module: Option<JITModule>,
    /// Tables that the code refers to by address.
    _constants: Vec<Box<[i64]>>,
    name: String,
    precision: Precision,
    params: Vec<Slot>,
    results: Vec<Slot>,
    workspace: usize,
    code_bytes: usize,
    instructions: usize,
    times: Times,
    clif: Option<String>,
    disassembly: Option<String>,
}

// SAFETY: after `compile` nothing in the module is written; the code and the tables are read only, and the code keeps no state
// of its own: each call gets its buffers and its workspace from the caller.
unsafe impl Send for Compiled {}
// SAFETY: as above.
unsafe impl Sync for Compiled {}

impl Drop for Compiled {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the entry points are private and die with `self`, so no call is under way and none will follow.
            unsafe { module.free_memory() }
        }
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("name", &self.name).field("code_bytes", &self.code_bytes).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Runs the function once.
    ///
    /// # Safety
    ///
    /// `inputs` and `outputs` hold one pointer for each parameter and result, to buffers of the sizes given by [`Compiled::params`]
    /// and [`Compiled::results`], aligned to their elements (64 bytes is fastest); booleans are 0 or 1. Outputs overlap neither
    /// inputs nor one another. `workspace` points to [`Compiled::workspace`] bytes aligned to 64 that nothing else uses meanwhile.
    pub unsafe fn call(&self, inputs: &[*const u8], outputs: &[*mut u8], workspace: *mut u8, seed: u64, step: u64) {
        debug_assert_eq!((inputs.len(), outputs.len()), (self.params.len(), self.results.len()));
        for part in &self.parts {
            let (inputs, outputs) = (inputs.as_ptr(), outputs.as_ptr());
            if part.chunks == 1 || self.threads == 1 {
                for chunk in 0..part.chunks {
                    // SAFETY: the caller vouches for the buffers; the code was compiled for exactly this signature.
                    unsafe { (part.entry)(inputs, outputs, workspace, seed, step, chunk, 0) }
                }
                continue;
            }
            let call = Call { entry: part.entry, inputs, outputs, workspace, seed, step };
            // SAFETY: as above; workers below `threads` have parts of the workspace of their own.
            unsafe { Pool::global().run(self.threads, part.chunks, run_chunk, (&raw const call).cast()) }
        }
    }

    /// Name of the function.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Width of floats.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Parameters, in order.
    pub fn params(&self) -> &[Slot] {
        &self.params
    }

    /// Results, in order.
    pub fn results(&self) -> &[Slot] {
        &self.results
    }

    /// Bytes of workspace that a call needs.
    pub fn workspace(&self) -> usize {
        self.workspace
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// Number of Cranelift instructions.
    pub fn instructions(&self) -> usize {
        self.instructions
    }

    /// Number of native functions that the program was split into.
    pub fn functions(&self) -> usize {
        self.parts.len()
    }

    /// Where the time went.
    pub fn times(&self) -> Times {
        self.times
    }

    /// The Cranelift IR, if [`Options::keep_text`] was set.
    pub fn clif(&self) -> Option<&str> {
        self.clif.as_deref()
    }

    /// The disassembly, if [`Options::keep_text`] was set.
    pub fn disassembly(&self) -> Option<&str> {
        self.disassembly.as_deref()
    }
}

/// Compiles a flat deterministic function: no maps, no calls, no draws inside maps.
pub fn compile(func: &Func<Det>, options: &Options) -> Result<Compiled, CodegenError> {
    if let Some(what) = unsupported(&func.body) {
        return Err(CodegenError::internal(format!("`{}` contains {what}", func.name)));
    }
    let started = Instant::now();
    // The same flags for both allocators but for the allocator; the IR does not depend on it.
    let probe = isa(false, options.verify)?;
    let mut times = Times::default();
    let begun = Instant::now();
    let steps = schedule(func, &func.body, options.fuse);
    times.plan += begun.elapsed();
    let mut state = State::new(func, options);
    let mut context = FunctionBuilderContext::new();
    let mut functions: Vec<Function> = Vec::new();
    let mut signature = Signature::new(probe.default_call_conv());
    signature.params.extend((0..7).map(|_| AbiParam::new(types::I64)));
    let has_fma = has_flag(&*probe, "has_fma");
    let mut rest: VecDeque<Step> = steps.into();
    let mut chunks: Vec<usize> = Vec::new();
    let mut next = Next::Steps;
    loop {
        let mut ir = Function::with_name_signature(UserFuncName::user(0, functions.len() as u32), signature.clone());
        let builder = FunctionBuilder::new(&mut ir, &mut context);
        let here = std::mem::replace(&mut next, Next::Steps);
        let mut e =
            Emitter::start(&mut state, builder, has_fma, matches!(here, Next::Group(_) | Next::Product(_) | Next::Strip(_)))?;
        if functions.is_empty() {
            e.bind_params()?;
        }
        let mut last = false;
        chunks.push(match here {
            Next::Steps => {
                while let Some(step) = rest.front() {
                    if options.fuse
                        && let Some(s) = e.strip(&func.body, rest.as_slices().0)
                    {
                        for between in rest.drain(s.between()).collect::<Vec<_>>() {
                            e.step(&func.body, &between)?;
                        }
                        next = Next::Strip(Box::new(s));
                        break;
                    }
                    if let Some(cut) = cut(func, &func.body, step, options.grain) {
                        next = Next::Group(cut);
                        break;
                    }
                    e.step(&func.body, step)?;
                    rest.pop_front();
                    if let Some(p) = e.st.product.take() {
                        e.save_operands(&p)?;
                        next = Next::Product(Box::new(p));
                        break;
                    }
                    if e.fb.func.dfg.num_insts() > SPLIT {
                        break;
                    }
                }
                last = rest.is_empty() && matches!(next, Next::Steps);
                if last {
                    e.deliver_results()?;
                }
                1
            }
            Next::Group(cut) => {
                if let Some(step) = rest.pop_front() {
                    e.st.cut = Some(cut);
                    e.step(&func.body, &step)?;
                    e.st.cut = None;
                }
                if !e.st.partials.is_empty() {
                    next = Next::Partials;
                }
                cut.chunks
            }
            Next::Strip(s) => {
                // The steps between the first product and the group are done.
                let second = rest.remove(s.second - s.between().len());
                let (first, group) = (rest.pop_front(), rest.pop_front());
                let (Some(first), Some(group), Some(second)) = (first, group, second) else {
                    return Err(CodegenError::internal("a strip lost its steps"));
                };
                e.strip_chunk(&func.body, &s, [&first, &group, &second])?;
                next = Next::Partials;
                s.chunks
            }
            Next::Partials => {
                e.add_partials()?;
                1
            }
            Next::Product(p) => {
                e.product_chunk(&p)?;
                if !e.st.partials.is_empty() {
                    next = Next::Partials;
                }
                p.chunks()
            }
        });
        e.finish(last, probe.frontend_config())?;
        functions.push(ir);
        if last {
            break;
        }
    }
    times.plan += state.plan;
    times.clif = started.elapsed().saturating_sub(times.plan);
    let started = Instant::now();
    let instructions: usize = functions.iter().map(|f| f.dfg.num_insts()).sum();
    let single = match options.regalloc {
        Regalloc::Auto => instructions > LARGE,
        Regalloc::SinglePass => true,
        Regalloc::Backtracking => false,
    };
    let isa = if single { isa(true, options.verify)? } else { probe };
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    register_libcalls(&mut builder);
    let mut module = JITModule::new(builder);
    let code = define(&mut module, &functions, options.keep_text);
    let (ids, code_bytes, disassembly) = match code {
        Ok(c) => c,
        Err(e) => {
            // SAFETY: no function of the module was ever handed out.
            unsafe { module.free_memory() }
            return Err(e);
        }
    };
    let parts = ids
        .iter()
        .zip(&chunks)
        .map(|(id, chunks)| {
            let address = module.get_finalized_function(*id);
            // SAFETY: the function was compiled with this signature: seven words, the platform's C convention, no result.
            Part { entry: unsafe { std::mem::transmute::<*const u8, Entry>(address) }, chunks: *chunks }
        })
        .collect();
    times.machine = started.elapsed();
    let clif = options.keep_text.then(|| functions.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join("\n"));
    let slot = |name: String, ty: Ty| {
        let bytes = ty.numel() * elem_size(ty.dtype, options.precision);
        Slot { name, ty, bytes }
    };
    let param = |v: &ppl_core::Var| {
        let all = slot(func.vars[v.index()].name.clone(), func.ty(*v).clone());
        if state.narrow.contains(v) { Slot { bytes: all.ty.numel(), ..all } } else { all }
    };
    let params = func.params.iter().map(param).collect();
    let results = func
        .body
        .results
        .iter()
        .map(|a| slot(a.var().map_or_else(String::new, |v| func.vars[v.index()].name.clone()), func.atom_ty(*a)))
        .collect();
    Ok(Compiled {
        parts,
        threads: options.threads.max(1),
        module: Some(module),
        _constants: state.constants,
        name: func.name.clone(),
        precision: options.precision,
        params,
        results,
        workspace: state.arena.size(),
        code_bytes,
        instructions,
        times,
        clif,
        disassembly,
    })
}

/// What the next native function holds.
enum Next {
    /// Steps of the program.
    Steps,
    /// One step, in chunks.
    Group(Cut),
    /// Two products and the work between them, in chunks.
    Strip(Box<Strip>),
    /// The sums over its chunks.
    Partials,
    /// A matrix product, in chunks.
    Product(Box<Product>),
}

type Defined = (Vec<cranelift::module::FuncId>, usize, Option<String>);

/// Compiles the functions into the module.
fn define(module: &mut JITModule, functions: &[Function], keep_text: bool) -> Result<Defined, CodegenError> {
    let failed = |e: &dyn std::fmt::Display| CodegenError::internal(format!("Cranelift: {e}"));
    let mut ids = Vec::new();
    let mut bytes = 0;
    let mut text = keep_text.then(String::new);
    let mut context = Context::new();
    for (i, f) in functions.iter().enumerate() {
        let id = module.declare_function(&format!("part{i}"), Linkage::Export, &f.signature).map_err(|e| failed(&e))?;
        context.clear();
        context.func = f.clone();
        context.set_disasm(keep_text);
        module.define_function(id, &mut context).map_err(|e| match e {
            cranelift::module::ModuleError::Compilation(c) => failed(&format!("{c:?}")),
            other => failed(&other),
        })?;
        if let Some(code) = context.compiled_code() {
            bytes += code.code_buffer().len();
            if let (Some(t), Some(asm)) = (&mut text, &code.vcode) {
                let _ = writeln!(t, "part {i}:\n{asm}");
            }
        }
        ids.push(id);
    }
    module.finalize_definitions().map_err(|e| failed(&e))?;
    Ok((ids, bytes, text))
}

fn isa(single_pass: bool, verify: bool) -> Result<isa::OwnedTargetIsa, CodegenError> {
    let failed = |e: &dyn std::fmt::Display| CodegenError::internal(format!("this processor: {e}"));
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("regalloc_algorithm", if single_pass { "single_pass" } else { "backtracking" }),
        ("enable_verifier", if verify { "true" } else { "false" }),
        ("is_pic", "false"),
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).map_err(|e| failed(&e))?;
    }
    let native = cranelift::native::builder().map_err(|e| failed(&e))?;
    native.finish(settings::Flags::new(flags)).map_err(|e| failed(&e))
}

fn has_flag(isa: &dyn isa::TargetIsa, name: &str) -> bool {
    isa.isa_flags().iter().any(|f| f.name == name && f.as_bool() == Some(true))
}

/// Rounding and fused multiply-add are calls on processors without the instructions.
fn register_libcalls(b: &mut JITBuilder) {
    macro_rules! libcall {
        ($($symbol:literal, |$($x:ident),*| $body:expr, $t:ty;)*) => {$({
            extern "C" fn f($($x: $t),*) -> $t { $body }
            b.symbol($symbol, f as *const u8);
        })*};
    }
    libcall! {
        "floor", |x| x.floor(), f64;
        "floorf", |x| x.floor(), f32;
        "ceil", |x| x.ceil(), f64;
        "ceilf", |x| x.ceil(), f32;
        "trunc", |x| x.trunc(), f64;
        "truncf", |x| x.trunc(), f32;
        "nearbyint", |x| x.round_ties_even(), f64;
        "nearbyintf", |x| x.round_ties_even(), f32;
        "fma", |x, y, z| x.mul_add(y, z), f64;
        "fmaf", |x, y, z| x.mul_add(y, z), f32;
    }
}
