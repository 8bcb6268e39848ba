//! Emission of native functions: the state that lasts for a whole program, and the emitter for one native function.

mod control;
mod dot;
mod group;
mod index;
mod kernels;
mod nest;
mod prims;
mod stmt;

pub(crate) use prims::lowered_inline;

use crate::arena::Arena;
use crate::schedule::{Step, reads};
use crate::view::{Base, Loc, View, elem_size};
use crate::{CodegenError, Options};
use cranelift::codegen::ir::SigRef;
use cranelift::prelude::*;
use ppl_abi::Precision;
use ppl_core::{Atom, Block as IrBlock, DType, Det, Func, Lit, Op, Stmt, Var, op_blocks};
use std::collections::HashMap;

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
    /// Where a variable is wanted: memory that its block's results go to.
    hints: HashMap<Var, (Base, i64)>,
    /// Workspace for scalar operands of kernels.
    scratch: i64,
}

/// Bytes of the scratch area: three operands and a result of a batch of scalars.
const SCRATCH: usize = 4 * crate::schedule::MAX_SCALARS * 8;

impl<'a> State<'a> {
    pub(crate) fn new(func: &'a Func<Det>, options: &'a Options) -> State<'a> {
        let n = func.vars.len();
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
            hints: HashMap::new(),
            scratch,
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
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    workspace: Value,
    seed: Value,
    step: Value,
    sigs: HashMap<usize, SigRef>,
    /// Id of the block being emitted.
    block: u32,
}

impl<'s, 'f> Emitter<'s, 'f> {
    /// Starts a function: loads the pointers and what earlier functions saved.
    pub(crate) fn start(st: &'s mut State<'f>, mut fb: FunctionBuilder<'s>, has_fma: bool) -> Result<Self> {
        let entry = fb.create_block();
        fb.append_block_params_for_function_params(entry);
        fb.switch_to_block(entry);
        fb.seal_block(entry);
        let params = fb.block_params(entry).to_vec();
        let [ins, outs, workspace, seed, step] = params[..] else {
            return Err(CodegenError::internal("the entry's signature has changed"));
        };
        let trusted = MemFlagsData::trusted().with_readonly();
        let mut pointers = |from: Value, n: usize| -> Vec<Value> {
            (0..n).map(|i| fb.ins().load(types::I64, trusted, from, i as i32 * 8)).collect()
        };
        let inputs = pointers(ins, st.func.params.len());
        let outputs = pointers(outs, st.func.body.results.len());
        let (float, vector, mask, lanes) = match st.precision() {
            Precision::F32 => (types::F32, types::F32X4, types::I32X4, 4),
            Precision::F64 => (types::F64, types::F64X2, types::I64X2, 2),
        };
        let sigs = HashMap::new();
        let mut e =
            Emitter { st, fb, float, vector, mask, lanes, has_fma, inputs, outputs, workspace, seed, step, sigs, block: 0 };
        e.restore()?;
        Ok(e)
    }

    /// Makes the parameters available, and what the function's results are wanted at.
    pub(crate) fn bind_params(&mut self) -> Result<()> {
        let func = self.st.func;
        for (i, v) in func.params.iter().enumerate() {
            let ty = func.ty(*v);
            let loc = if ty.is_scalar() {
                let base = self.inputs[i];
                Loc::Scalar(self.load(ty.dtype, base, 0))
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
            let stmt = &block.stmts[*i];
            for v in reads(stmt) {
                self.used(v);
            }
            for v in &stmt.outs {
                if self.st.remaining[v.index()] == 0 {
                    self.drop_var(*v);
                }
            }
        }
        Ok(())
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
        self.st.locs[v.index()] = Some(loc);
    }

    /// Says where a variable is, handing over the buffer that was allocated for it.
    fn bind_owned(&mut self, v: Var, view: View) {
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

    /// Gives back what [`Emitter::alloc`] or [`Emitter::alloc_for`] handed out.
    fn free(&mut self, view: View) {
        for o in view.owners {
            self.st.arena.release(o);
        }
    }

    /// The pointer a view's offset counts from.
    fn base(&mut self, base: Base) -> Result<Value> {
        let lost = || CodegenError::internal("a pointer is not available here");
        match base {
            Base::Workspace => Ok(self.workspace),
            Base::Input(i) => self.inputs.get(i).copied().ok_or_else(lost),
            Base::Output(i) => self.outputs.get(i).copied().ok_or_else(lost),
            Base::Dynamic(i) => self.st.dynamics.get(i).copied().flatten().ok_or_else(lost),
            Base::Constant(a) => Ok(self.iconst(a as i64)),
        }
    }

    /// A new run-time pointer.
    fn dynamic(&mut self, pointer: Value) -> Base {
        self.st.dynamics.push(Some(pointer));
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
            Loc::Splat(_) | Loc::View(_) | Loc::Saved { .. } => {
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

    fn save(&mut self) -> Result<()> {
        for i in 0..self.st.locs.len() {
            let v = Var(i as u32);
            match self.st.locs[i].clone() {
                Some(Loc::Scalar(x)) => self.save_scalar(v, x, false),
                Some(Loc::Splat(x)) => self.save_scalar(v, x, true),
                Some(Loc::View(View { base: Base::Dynamic(d), .. })) if !self.st.saved_dynamics.contains_key(&d) => {
                    let buf = self.st.arena.alloc(8);
                    let off = self.st.arena.offset(buf);
                    self.st.saved_dynamics.insert(d, off);
                    let p = self.base(Base::Dynamic(d))?;
                    self.store(p, self.workspace, off);
                }
                Some(Loc::View(_) | Loc::Saved { .. }) | None => {}
            }
        }
        self.st.dynamics.iter_mut().for_each(|d| *d = None);
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

    fn restore(&mut self) -> Result<()> {
        for i in 0..self.st.locs.len() {
            if let Some(Loc::Saved { offset, splat }) = self.st.locs[i] {
                let dt = self.st.func.vars[i].ty.dtype;
                let v = self.load(dt, self.workspace, offset);
                self.st.locs[i] = Some(if splat { Loc::Splat(v) } else { Loc::Scalar(v) });
            }
        }
        let mut saved: Vec<(usize, i64)> = self.st.saved_dynamics.iter().map(|(d, o)| (*d, *o)).collect();
        saved.sort_unstable();
        for (d, o) in saved {
            let p = self.load(DType::Int, self.workspace, o);
            self.st.dynamics[d] = Some(p);
        }
        Ok(())
    }
}

/// Whether a block holds an operation that code generation does not take.
pub(crate) fn unsupported(block: &IrBlock<Det>) -> Option<&'static str> {
    block.stmts.iter().find_map(|s| match &s.op {
        Op::Map { .. } => Some("`map`: it must be batched first"),
        Op::Call { .. } => Some("a call: it must be inlined first"),
        op => op_blocks(op).into_iter().find_map(unsupported),
    })
}
