//! Emission of native functions: the state that lasts for a whole program, and the emitter for one native function.

pub(crate) mod chunk;
mod control;
mod dot;
mod group;
mod index;
mod kernels;
mod nest;
mod prims;
mod stmt;
pub(crate) mod strip;
mod tile;

pub(crate) use prims::lowered_inline;

use crate::arena::Arena;
use crate::schedule::{Step, reads};
use crate::view::{Base, Loc, View, elem_size};
use crate::{CodegenError, Options};
use cranelift::codegen::cursor::{Cursor, FuncCursor};
use cranelift::codegen::ir::SigRef;
use cranelift::prelude::*;
use ppl_abi::Precision;
use ppl_core::{Atom, Block as IrBlock, DType, Det, Func, Lit, Op, Stmt, Var, op_blocks};
use std::collections::{HashMap, HashSet};

type Result<T, E = CodegenError> = std::result::Result<T, E>;

/// What lasts from the first native function of a program to the last.
pub(crate) struct State<'a> {
    pub func: &'a Func<Det>,
    pub options: &'a Options,
    pub arena: Arena,
    /// Integer tables that the code refers to by address.
    pub constants: Vec<Box<[i64]>>,
    /// Time spent on ordering statements.
    pub plan: std::time::Duration,
    locs: Vec<Option<Loc>>,
    /// Uses still to come, counted in the block that defines the variable.
    remaining: Vec<u32>,
    /// The block that defines it.
    owner: Vec<u32>,
    next_block: u32,
    /// Run-time pointers, valid in the current native function.
    dynamics: Vec<Option<Value>>,
    /// Where scalars and pointers are kept between native functions.
    saved: HashMap<Var, i64>,
    saved_dynamics: HashMap<usize, i64>,
    /// Scalar parameters.
    given: HashMap<Var, usize>,
    /// Variables and pointers that got values in the current native function.
    fresh: Vec<Var>,
    fresh_dynamics: Vec<usize>,
    /// Where a variable is wanted: memory that its block's results go to.
    hints: HashMap<Var, (Base, i64)>,
    /// Workspace for scalar operands of kernels.
    scratch: i64,
    /// The same for each worker, made when the first chunk needs it.
    worker_scratch: Option<i64>,
    /// How the step that is being emitted is cut.
    pub cut: Option<chunk::Cut>,
    /// Buffers of workers, kept until the function of chunks ends.
    pub held: Vec<View>,
    /// What chunks leave to be added up.
    pub partials: Vec<chunk::Partial>,
    /// A matrix product to be cut.
    pub product: Option<chunk::Product>,
    /// Int parameters whose elements are single bytes in memory.
    pub narrow: HashSet<Var>,
}

/// Bytes of the scratch area: three operands and a result of a batch of scalars.
const SCRATCH: usize = 4 * crate::schedule::MAX_SCALARS * 8;

impl<'a> State<'a> {
    pub(crate) fn new(func: &'a Func<Det>, options: &'a Options) -> State<'a> {
        let n = func.vars.len();
        let given = options.bytes.iter().filter_map(|i| func.params.get(*i)).copied();
        let narrow = given.filter(|v| func.ty(*v).dtype == DType::Int && only_rows(&func.body, *v, func)).collect();
        let mut arena = Arena::default();
        let scratch = arena.alloc(SCRATCH);
        let scratch = arena.offset(scratch);
        let mut state = State {
            func,
            options,
            arena,
            constants: Vec::new(),
            plan: Default::default(),
            locs: vec![None; n],
            remaining: vec![0; n],
            owner: vec![0; n],
            next_block: 1,
            dynamics: Vec::new(),
            saved: HashMap::new(),
            saved_dynamics: HashMap::new(),
            given: HashMap::new(),
            fresh: Vec::new(),
            fresh_dynamics: Vec::new(),
            hints: HashMap::new(),
            scratch,
            worker_scratch: None,
            cut: None,
            held: Vec::new(),
            partials: Vec::new(),
            product: None,
            narrow,
        };
        // Block 0 defines the parameters and is the body.
        state.count(&func.body, 0);
        state
    }

    /// Assigns the block's variables to it and counts their uses in it; a use inside a nested block is one of the statement.
    fn count(&mut self, block: &IrBlock<Det>, id: u32) {
        for stmt in &block.stmts {
            for v in &stmt.outs {
                self.owner[v.index()] = id;
            }
        }
        for stmt in &block.stmts {
            for v in reads(stmt) {
                if self.owner[v.index()] == id {
                    self.remaining[v.index()] += 1;
                }
            }
        }
        for v in block.results.iter().filter_map(|a| a.var()) {
            if self.owner[v.index()] == id {
                self.remaining[v.index()] += 1;
            }
        }
    }

    /// Enters a nested block: gives it an id and counts its uses.
    fn enter(&mut self, block: &IrBlock<Det>, bound: &[Var]) -> u32 {
        let id = self.next_block;
        self.next_block += 1;
        for v in bound {
            self.owner[v.index()] = id;
        }
        self.count(block, id);
        id
    }

    fn precision(&self) -> Precision {
        self.options.precision
    }

    /// Bytes of one element.
    fn size(&self, dt: DType) -> i64 {
        elem_size(dt, self.precision()) as i64
    }
}

/// Emits one native function.
pub(crate) struct Emitter<'s, 'f> {
    pub st: &'s mut State<'f>,
    pub fb: FunctionBuilder<'s>,
    float: Type,
    vector: Type,
    mask: Type,
    lanes: usize,
    has_fma: bool,
    entry: Block,
    /// The arrays of pointers to parameters and results, and the pointers that have been read.
    tables: [Value; 2],
    pointers: HashMap<Base, Value>,
    workspace: Value,
    seed: Value,
    step: Value,
    /// The chunk, in functions that are called once for each.
    chunk: Option<chunk::Chunk>,
    sigs: HashMap<usize, SigRef>,
    /// Id of the block being emitted.
    block: u32,
}

impl<'s, 'f> Emitter<'s, 'f> {
    /// Starts a function.
    pub(crate) fn start(st: &'s mut State<'f>, mut fb: FunctionBuilder<'s>, has_fma: bool, chunked: bool) -> Result<Self> {
        let entry = fb.create_block();
        fb.append_block_params_for_function_params(entry);
        fb.switch_to_block(entry);
        fb.seal_block(entry);
        fb.ensure_inserted_block();
        let params = fb.block_params(entry).to_vec();
        let [ins, outs, workspace, seed, step, index, worker] = params[..] else {
            return Err(CodegenError::internal("the entry's signature has changed"));
        };
        let (float, vector, mask, lanes) = match st.precision() {
            Precision::F32 => (types::F32, types::F32X4, types::I32X4, 4),
            Precision::F64 => (types::F64, types::F64X2, types::I64X2, 2),
        };
        let sigs = HashMap::new();
        let (tables, pointers) = ([ins, outs], HashMap::new());
        let block = 0;
        let chunk = chunked.then_some(chunk::Chunk { index, worker });
        Ok(Emitter {
            st,
            fb,
            float,
            vector,
            mask,
            lanes,
            has_fma,
            entry,
            tables,
            pointers,
            workspace,
            seed,
            step,
            chunk,
            sigs,
            block,
        })
    }

    /// A load at the beginning of the function, right after `from` is known: what is read there is known everywhere.
    fn load_early(&mut self, ty: Type, from: Value, offset: i64) -> Value {
        let flags = MemFlagsData::trusted();
        let at = self.fb.func.dfg.value_def(from).inst();
        let cursor = FuncCursor::new(self.fb.func);
        let mut cursor = match at {
            Some(inst) => cursor.after_inst(inst),
            None => cursor.at_first_insertion_point(self.entry),
        };
        match i32::try_from(offset) {
            Ok(o) => cursor.ins().load(ty, flags, from, o),
            Err(_) => {
                let o = cursor.ins().iconst(types::I64, offset);
                let at = cursor.ins().iadd(from, o);
                cursor.ins().load(ty, flags, at, 0)
            }
        }
    }

    /// Makes the parameters available, and what the function's results are wanted at.
    pub(crate) fn bind_params(&mut self) -> Result<()> {
        let func = self.st.func;
        for (i, v) in func.params.iter().enumerate() {
            let ty = func.ty(*v);
            let loc = if ty.is_scalar() {
                self.st.given.insert(*v, i);
                Loc::Given(i)
            } else {
                Loc::View(View::dense(Base::Input(i), 0, &ty.shape, Vec::new()))
            };
            self.st.locs[v.index()] = Some(loc);
        }
        let wanted: Vec<(Base, i64)> = (0..func.body.results.len()).map(|i| (Base::Output(i), 0)).collect();
        self.want(&func.body, &wanted);
        Ok(())
    }

    /// Asks that the block's array results be computed where they are wanted, looking through reshapes.
    fn want(&mut self, block: &IrBlock<Det>, wanted: &[(Base, i64)]) {
        let mut defs: HashMap<Var, &Stmt<Det>> = HashMap::new();
        for s in &block.stmts {
            defs.extend(s.outs.iter().map(|v| (*v, s)));
        }
        let arrays = block.results.iter().zip(wanted).filter(|(r, _)| !self.st.func.atom_ty(**r).is_scalar());
        for (r, at) in arrays {
            let mut next = r.var();
            while let Some(v) = next {
                let Some(stmt) = defs.get(&v) else { break };
                next = match &stmt.op {
                    Op::Reshape { x, .. } => x.var(),
                    _ => {
                        self.st.hints.entry(v).or_insert(*at);
                        None
                    }
                };
            }
        }
    }

    /// Emits steps of the current block.
    pub(crate) fn step(&mut self, block: &IrBlock<Det>, step: &Step) -> Result<()> {
        let done: &[usize] = match step {
            Step::One(i) => {
                self.stmt(&block.stmts[*i])?;
                std::slice::from_ref(i)
            }
            Step::Group(g) => {
                let stmts: Vec<&Stmt<Det>> = g.iter().map(|i| &block.stmts[*i]).collect();
                self.group(&stmts)?;
                g
            }
            Step::Scalars(g) => {
                let stmts: Vec<&Stmt<Det>> = g.iter().map(|i| &block.stmts[*i]).collect();
                self.scalar_kernels(&stmts)?;
                g
            }
        };
        for i in done {
            self.finished(&block.stmts[*i]);
        }
        Ok(())
    }

    /// A statement is done: one use of its operands less.
    fn finished(&mut self, stmt: &Stmt<Det>) {
        for v in reads(stmt) {
            self.used(v);
        }
        for v in &stmt.outs {
            if self.st.remaining[v.index()] == 0 {
                self.drop_var(*v);
            }
        }
    }

    /// Emits a nested block; its results stay available until [`Emitter::leave`].
    fn nested(&mut self, block: &IrBlock<Det>, bound: &[Var], wanted: &[(Base, i64)]) -> Result<u32> {
        let outer = self.block;
        self.block = self.st.enter(block, bound);
        self.want(block, wanted);
        let started = std::time::Instant::now();
        let steps = crate::schedule::schedule(self.st.func, block, self.st.options.fuse);
        self.st.plan += started.elapsed();
        for s in &steps {
            self.step(block, s)?;
        }
        Ok(outer)
    }

    /// Lets go of a nested block's results.
    fn leave(&mut self, block: &IrBlock<Det>, bound: &[Var], outer: u32) {
        for v in block.results.iter().filter_map(|a| a.var()) {
            self.used(v);
        }
        for v in bound {
            self.drop_var(*v);
        }
        self.block = outer;
    }

    /// One use less; after the last one the variable's memory is free.
    fn used(&mut self, v: Var) {
        if self.st.owner[v.index()] != self.block {
            return;
        }
        let left = &mut self.st.remaining[v.index()];
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.drop_var(v);
        }
    }

    fn drop_var(&mut self, v: Var) {
        if let Some(Loc::View(view)) = self.st.locs[v.index()].take() {
            for o in view.owners {
                self.st.arena.release(o);
            }
        }
    }

    /// Says where a variable is. Its view's owners are counted once more.
    fn bind(&mut self, v: Var, loc: Loc) {
        if let Loc::View(view) = &loc {
            for o in &view.owners {
                self.st.arena.retain(*o);
            }
        }
        self.st.fresh.push(v);
        self.st.locs[v.index()] = Some(loc);
    }

    /// Says where a variable is, handing over the buffer that was allocated for it.
    fn bind_owned(&mut self, v: Var, view: View) {
        self.st.fresh.push(v);
        self.st.locs[v.index()] = Some(Loc::View(view));
    }

    /// Memory for a new dense array: where the block wants it, or in the workspace. The caller owns it.
    fn alloc_for(&mut self, v: Var) -> View {
        let func = self.st.func;
        let ty = func.ty(v);
        match self.st.hints.remove(&v) {
            Some((base, offset)) => View::dense(base, offset, &ty.shape, Vec::new()),
            None => self.alloc(ty.dtype, &ty.shape),
        }
    }

    /// A dense array in the workspace, owned by the caller.
    fn alloc(&mut self, dt: DType, shape: &[usize]) -> View {
        let bytes = shape.iter().product::<usize>() * self.st.size(dt) as usize;
        let buf = self.st.arena.alloc(bytes);
        View::dense(Base::Workspace, self.st.arena.offset(buf), shape, vec![buf])
    }

    /// Workspace of this worker alone, aligned to a cache line. The caller owns it.
    fn alloc_local(&mut self, dt: DType, len: usize) -> Result<View> {
        let Some(c) = self.chunk else { return Ok(self.alloc(dt, &[len])) };
        let bytes = (len * self.st.size(dt) as usize).next_multiple_of(64);
        let buf = self.st.arena.alloc(bytes * self.st.options.threads.max(1));
        let at = self.of_worker(self.st.arena.offset(buf), bytes, c.worker);
        let base = self.dynamic(at);
        Ok(View::dense(base, 0, &[len], vec![buf]))
    }

    /// Address of the worker's part of an area.
    fn of_worker(&mut self, offset: i64, bytes: usize, worker: Value) -> Value {
        let (offset, bytes) = (self.iconst(offset), self.iconst(bytes as i64));
        let own = self.fb.ins().imul(worker, bytes);
        let off = self.fb.ins().iadd(offset, own);
        self.fb.ins().iadd(self.workspace, off)
    }

    /// The area for scalar operands of kernels: base and offset.
    fn scratch(&mut self) -> (Value, i64) {
        let Some(c) = self.chunk else { return (self.workspace, self.st.scratch) };
        let offset = match self.st.worker_scratch {
            Some(o) => o,
            None => {
                let buf = self.st.arena.alloc(SCRATCH * self.st.options.threads.max(1));
                *self.st.worker_scratch.insert(self.st.arena.offset(buf))
            }
        };
        (self.of_worker(offset, SCRATCH, c.worker), 0)
    }

    /// Gives back what [`Emitter::alloc`] or [`Emitter::alloc_for`] handed out.
    fn free(&mut self, view: View) {
        for o in view.owners {
            self.st.arena.release(o);
        }
    }

    /// The pointer a view's offset counts from.
    fn base(&mut self, base: Base) -> Result<Value> {
        let table = match base {
            Base::Workspace => return Ok(self.workspace),
            Base::Constant(a) => return Ok(self.iconst(a as i64)),
            Base::Dynamic(i) => return self.dynamic_pointer(i),
            Base::Input(i) => (0, i),
            Base::Output(i) => (1, i),
        };
        if let Some(known) = self.pointers.get(&base) {
            return Ok(*known);
        }
        let (which, i) = table;
        let pointer = self.load_early(types::I64, self.tables[which], i as i64 * 8);
        self.pointers.insert(base, pointer);
        Ok(pointer)
    }

    fn dynamic_pointer(&mut self, i: usize) -> Result<Value> {
        if let Some(known) = self.st.dynamics.get(i).copied().flatten() {
            return Ok(known);
        }
        let lost = || CodegenError::internal("a pointer is not available here");
        let offset = *self.st.saved_dynamics.get(&i).ok_or_else(lost)?;
        let pointer = self.load_early(types::I64, self.workspace, offset);
        self.st.dynamics[i] = Some(pointer);
        self.st.fresh_dynamics.push(i);
        Ok(pointer)
    }

    /// A new run-time pointer.
    fn dynamic(&mut self, pointer: Value) -> Base {
        self.st.dynamics.push(Some(pointer));
        self.st.fresh_dynamics.push(self.st.dynamics.len() - 1);
        Base::Dynamic(self.st.dynamics.len() - 1)
    }

    /// Address of a view's first element.
    fn pointer(&mut self, view: &View) -> Result<Value> {
        let base = self.base(view.base)?;
        if view.offset == 0 {
            return Ok(base);
        }
        let off = self.iconst(view.offset);
        Ok(self.fb.ins().iadd(base, off))
    }

    fn lit(&mut self, l: Lit) -> Value {
        match l {
            Lit::Float(v) => self.fconst(v, false),
            Lit::Int(v) => self.iconst(v),
            Lit::Bool(v) => self.fb.ins().iconst(types::I8, i64::from(v)),
        }
    }

    /// Where an operand is.
    fn loc(&mut self, a: Atom) -> Result<Loc> {
        match a {
            Atom::Lit(l) => Ok(Loc::Scalar(self.lit(l))),
            Atom::Var(v) => match self.st.locs.get(v.index()) {
                Some(Some(Loc::Saved { offset, splat })) => {
                    let (offset, splat) = (*offset, *splat);
                    self.restore(v, Base::Workspace, offset, splat)
                }
                Some(Some(Loc::Given(i))) => self.restore(v, Base::Input(*i), 0, false),
                Some(Some(l)) => Ok(l.clone()),
                _ => Err(CodegenError::internal(format!(
                    "{v} ({}) is used before it is defined",
                    self.st.func.vars[v.index()].name
                ))),
            },
        }
    }

    /// A scalar operand.
    fn scalar(&mut self, a: Atom) -> Result<Value> {
        match self.loc(a)? {
            Loc::Scalar(v) => Ok(v),
            Loc::Splat(_) | Loc::View(_) | Loc::Saved { .. } | Loc::Given(_) => {
                Err(CodegenError::internal(format!("{a:?} is not a scalar here")))
            }
        }
    }

    /// An operand as a dense array; a copy is made where it is not one. Free the second part after use.
    fn dense(&mut self, a: Atom) -> Result<(View, Option<View>)> {
        let ty = self.st.func.atom_ty(a);
        let loc = self.loc(a)?;
        if let Loc::View(v) = &loc
            && v.is_dense(&ty.shape)
        {
            return Ok((v.clone(), None));
        }
        let copy = self.alloc(ty.dtype, &ty.shape);
        self.copy(&copy, &loc, ty.dtype, &ty.shape)?;
        Ok((copy.clone(), Some(copy)))
    }

    /// Calls a kernel.
    fn call_kernel(&mut self, kernel: ppl_abi::Kernel, args: &[Value]) -> Result<()> {
        let n = kernel.sig().args.len();
        if n != args.len() {
            return Err(CodegenError::internal(format!("kernel `{}` is called with {} arguments", kernel.name(), args.len())));
        }
        let sig = match self.sigs.get(&n) {
            Some(s) => *s,
            None => {
                let mut sig = Signature::new(self.fb.func.signature.call_conv);
                sig.params.extend((0..n).map(|_| AbiParam::new(types::I64)));
                let s = self.fb.import_signature(sig);
                self.sigs.insert(n, s);
                s
            }
        };
        let address = (self.st.options.kernels)(kernel, self.st.precision());
        if address.is_null() {
            return Err(CodegenError::internal(format!("kernel `{}` has no address", kernel.name())));
        }
        let callee = self.iconst(address as i64);
        self.fb.ins().call_indirect(sig, callee, args);
        Ok(())
    }

    /// Copies results to where they are wanted, unless they were computed there.
    fn deliver(&mut self, results: &[Atom], wanted: &[(Base, i64)]) -> Result<()> {
        let func = self.st.func;
        for (r, (base, offset)) in results.iter().zip(wanted) {
            let ty = func.atom_ty(*r);
            let to = View::dense(*base, *offset, &ty.shape, Vec::new());
            let loc = self.loc(*r)?;
            if let Loc::View(v) = &loc
                && v.base == to.base
                && v.offset == to.offset
                && v.is_dense(&ty.shape)
            {
                continue;
            }
            self.copy(&to, &loc, ty.dtype, &ty.shape)?;
        }
        Ok(())
    }

    /// Ends the program: copies the results out.
    pub(crate) fn deliver_results(&mut self) -> Result<()> {
        let func = self.st.func;
        let wanted: Vec<(Base, i64)> = (0..func.body.results.len()).map(|i| (Base::Output(i), 0)).collect();
        self.deliver(&func.body.results, &wanted)
    }

    /// Ends this native function; scalars and pointers that later ones use are saved in the workspace.
    pub(crate) fn finish(mut self, last: bool, config: codegen::isa::TargetFrontendConfig) -> Result<()> {
        if !last {
            self.save()?;
        }
        self.fb.ins().return_(&[]);
        self.fb.finalize(config);
        Ok(())
    }

    /// Saves the pointers of a product that follows in chunks: its operands have had their last use already.
    pub(crate) fn save_operands(&mut self, p: &chunk::Product) -> Result<()> {
        [p.c.base, p.a.base, p.b.base].into_iter().try_for_each(|base| self.save_pointer(base))
    }

    fn save(&mut self) -> Result<()> {
        for v in std::mem::take(&mut self.st.fresh) {
            match self.st.locs[v.index()].clone() {
                Some(Loc::Scalar(_)) if let Some(i) = self.st.given.get(&v) => {
                    self.st.locs[v.index()] = Some(Loc::Given(*i));
                }
                Some(Loc::Scalar(x)) => self.save_scalar(v, x, false),
                Some(Loc::Splat(x)) => self.save_scalar(v, x, true),
                Some(Loc::View(view)) => self.save_pointer(view.base)?,
                Some(Loc::Saved { .. } | Loc::Given(_)) | None => {}
            }
        }
        for d in std::mem::take(&mut self.st.fresh_dynamics) {
            self.st.dynamics[d] = None;
        }
        Ok(())
    }

    fn save_pointer(&mut self, base: Base) -> Result<()> {
        let Base::Dynamic(d) = base else { return Ok(()) };
        if self.st.saved_dynamics.contains_key(&d) {
            return Ok(());
        }
        let buf = self.st.arena.alloc(8);
        let off = self.st.arena.offset(buf);
        self.st.saved_dynamics.insert(d, off);
        let p = self.base(base)?;
        self.store(p, self.workspace, off);
        Ok(())
    }

    fn save_scalar(&mut self, v: Var, x: Value, splat: bool) {
        let offset = match self.st.saved.get(&v) {
            Some(o) => *o,
            None => {
                let buf = self.st.arena.alloc(8);
                let o = self.st.arena.offset(buf);
                self.st.saved.insert(v, o);
                self.store(x, self.workspace, o);
                o
            }
        };
        self.st.locs[v.index()] = Some(Loc::Saved { offset, splat });
    }

    /// Reads a scalar that an earlier native function saved, or a parameter: once in this one.
    fn restore(&mut self, v: Var, base: Base, offset: i64, splat: bool) -> Result<Loc> {
        let from = self.base(base)?;
        let ty = self.scalar_type(self.st.func.ty(v).dtype);
        let x = self.load_early(ty, from, offset);
        let loc = if splat { Loc::Splat(x) } else { Loc::Scalar(x) };
        self.st.fresh.push(v);
        self.st.locs[v.index()] = Some(loc.clone());
        Ok(loc)
    }
}

/// Whether the block, and what is inside, takes only elements and rows of a parameter, several at a time.
fn only_rows(block: &IrBlock<Det>, v: Var, func: &Func<Det>) -> bool {
    let own = Atom::Var(v);
    let one = |s: &Stmt<Det>| match &s.op {
        Op::Gather { x, idx, batch } if *x == own => *batch == 0 && *idx != own && !func.atom_ty(*idx).is_scalar(),
        op => !ppl_core::op_atoms(op).contains(&own) && op_blocks(op).into_iter().all(|b| only_rows(b, v, func)),
    };
    block.stmts.iter().all(one) && !block.results.contains(&own)
}

/// Whether a block holds an operation that code generation does not take.
pub(crate) fn unsupported(block: &IrBlock<Det>) -> Option<&'static str> {
    block.stmts.iter().find_map(|s| match &s.op {
        Op::Map { .. } => Some("`map`: it must be batched first"),
        Op::Call { .. } => Some("a call: it must be inlined first"),
        op => op_blocks(op).into_iter().find_map(unsupported),
    })
}
