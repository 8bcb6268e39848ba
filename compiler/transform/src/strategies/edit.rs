//! New statements after a program that read what was computed inside its loops.
//!
//! A value inside loops becomes an output of each of them (a stack with an axis for each loop); in a branch, with zeros
//! in the other. A nest of maps over the same loops reads the stacks by its indices. No statement of the program moves.

use super::mid::Mid;
use crate::scope::Path;
use ppl_core::{Atom, Block, Builder, DType, Func, Op, ReduceOp, Stmt, Var};
use std::collections::HashMap;

/// A program under extension.
pub(crate) struct Edit<'a> {
    /// Over the program: its body gains outputs only; new statements are the builder's.
    pub(crate) b: Builder<Mid>,
    /// The program before.
    pub(crate) from: &'a Func<Mid>,
    /// The block that defines each variable of the program.
    at: &'a HashMap<Var, Path>,
    exported: HashMap<(Var, Path), Atom>,
    /// What an index of the program's loops is in the nest under construction.
    pub(crate) index: HashMap<Var, Atom>,
    /// What has been read at which indices, for each open block.
    read: Vec<HashMap<(Var, Vec<Var>), Atom>>,
}

/// Blocks that a nest has opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Open {
    Map { old: Var, index: Var, len: usize },
    Branch { cond: Atom, taken: usize, depth: usize },
}

impl<'a> Edit<'a> {
    pub(crate) fn new(from: &'a Func<Mid>, at: &'a HashMap<Var, Path>) -> Self {
        Edit {
            b: Builder::over(from.clone()),
            from,
            at,
            exported: HashMap::new(),
            index: HashMap::new(),
            read: vec![HashMap::new()],
        }
    }

    /// The program with the new statements after its own; `results` replace its results.
    pub(crate) fn finish(self, results: Vec<Atom>) -> Func<Mid> {
        let (mut f, stmts) = self.b.into_parts();
        f.body.stmts.extend(stmts);
        f.body.results = results;
        f
    }

    /// `atom`, as seen in the block at `path`, with an axis in front for each loop of `path`.
    pub(crate) fn export(&mut self, atom: Atom, path: &[(usize, usize)]) -> Atom {
        let mut value = atom;
        for n in (0..path.len()).rev() {
            let key = value.var().map(|v| (v, path[..=n].to_vec()));
            if let Some(out) = key.as_ref().and_then(|k| self.exported.get(k)) {
                value = *out;
                continue;
            }
            let out = self.export_once(value, &path[..=n]);
            if let Some(k) = key {
                self.exported.insert(k, out);
            }
            value = out;
        }
        value
    }

    fn export_once(&mut self, value: Atom, path: &[(usize, usize)]) -> Atom {
        let Some(((i, k), outer)) = path.split_last() else { return value };
        let func = &mut self.b.func;
        let ty = func.atom_ty(value);
        let name = value.var().map_or_else(|| "out".to_string(), |v| func.vars[v.index()].name.clone());
        let zero = match ty.dtype {
            DType::Float => Atom::float(0.0),
            DType::Int => Atom::int(0),
            DType::Bool => Atom::bool(false),
        };
        // A filler is a statement of its own where the value is an array.
        let array = (!ty.is_scalar()).then(|| func.new_var("none", ty.clone()));
        let fill = array.map_or(zero, Atom::Var);
        let fill_stmt = array.map(|v| {
            let op = Op::Broadcast { x: zero, shape: ty.shape.clone(), axes: Vec::new() };
            Stmt { outs: vec![v], op, span: ppl_diag::Span::NONE }
        });
        let parent = block_mut(&mut self.b.func.body, outer);
        let out_ty = match &mut parent.stmts[*i].op {
            Op::Map { len, body, .. } => {
                body.results.push(value);
                ty.lifted(&[*len])
            }
            Op::Scan(s) => {
                s.body.results.push(value);
                ty.lifted(&[s.len])
            }
            op => {
                for (n, block) in ppl_core::op_blocks_mut(op).into_iter().enumerate() {
                    if n == *k {
                        block.results.push(value);
                    } else {
                        block.stmts.extend(fill_stmt.iter().cloned());
                        block.results.push(fill);
                    }
                }
                ty
            }
        };
        let out = self.b.func.new_var(name, out_ty);
        block_mut(&mut self.b.func.body, outer).stmts[*i].outs.push(out);
        out.into()
    }

    /// Opens maps and branches for `path`, outermost first: inside, [`Edit::bring`] reads the program's values there.
    pub(crate) fn open(&mut self, path: &[(usize, usize)]) -> Vec<Open> {
        let mut out = Vec::new();
        let mut block = &self.from.body;
        for (depth, (i, k)) in path.iter().enumerate() {
            let op = &block.stmts[*i].op;
            match op {
                Op::Map { index, len, .. } => out.push(self.open_map(*index, *len)),
                Op::Scan(s) => out.push(self.open_map(s.index, s.len)),
                Op::If { cond, .. } => {
                    let cond = self.bring(*cond);
                    self.begin();
                    out.push(Open::Branch { cond, taken: *k, depth });
                }
                _ => {}
            }
            block = ppl_core::op_blocks(op)[*k];
        }
        out
    }

    pub(crate) fn open_map(&mut self, old: Var, len: usize) -> Open {
        let name = self.from.vars[old.index()].name.clone();
        let index = self.b.index_var(&name);
        self.begin();
        self.index.insert(old, index.into());
        Open::Map { old, index, len }
    }

    /// Closes what [`Edit::open`] opened around a real scalar; returns its sum over the nest. Where a branch was not
    /// taken, `otherwise` gives what is summed instead (its argument: the branch's position in the path).
    pub(crate) fn close(
        &mut self,
        mut open: Vec<Open>,
        value: Atom,
        otherwise: &mut dyn FnMut(&mut Self, usize) -> Atom,
    ) -> Atom {
        let mut value = value;
        while let Some(o) = open.pop() {
            let block = self.end(vec![value]);
            match o {
                Open::Map { old, index, len } => {
                    self.index.remove(&old);
                    let out = self.b.map(len, index, block);
                    let sum = Op::Reduce { op: ReduceOp::Sum, x: out[0].into(), axes: vec![0] };
                    value = self.b.emit1(sum, "sum", ppl_core::Ty::FLOAT);
                }
                Open::Branch { cond, taken, depth } => {
                    self.begin();
                    let other = otherwise(self, depth);
                    let other = self.end(vec![other]);
                    let (then, els) = if taken == 0 { (block, other) } else { (other, block) };
                    value = self.b.if_(cond, then, els)[0].into();
                }
            }
        }
        value
    }

    /// Closes what [`Edit::open`] opened around an array of reals: the stack of all of them, zeros where a branch was not taken.
    pub(crate) fn close_stacked(&mut self, mut open: Vec<Open>, value: Atom) -> Atom {
        let mut value = value;
        while let Some(o) = open.pop() {
            let ty = self.b.ty(value);
            let block = self.end(vec![value]);
            value = match o {
                Open::Map { old, index, len } => {
                    self.index.remove(&old);
                    self.b.map(len, index, block)[0].into()
                }
                Open::Branch { cond, taken, .. } => {
                    self.begin();
                    let none = self.b.full(Atom::float(0.0), &ty.shape);
                    let other = self.end(vec![none]);
                    let (then, els) = if taken == 0 { (block, other) } else { (other, block) };
                    self.b.if_(cond, then, els)[0].into()
                }
            };
        }
        value
    }

    /// Opens a block.
    pub(crate) fn begin(&mut self) {
        self.b.begin();
        self.read.push(HashMap::new());
    }

    /// Closes the innermost block.
    pub(crate) fn end(&mut self, results: Vec<Atom>) -> Block<Mid> {
        self.read.pop();
        self.b.end(results)
    }

    /// A value of the program in the nest: the stack's element at the nest's indices.
    pub(crate) fn bring(&mut self, a: Atom) -> Atom {
        let Some(v) = a.var() else { return a };
        if let Some(i) = self.index.get(&v) {
            return *i;
        }
        let Some(path) = self.at.get(&v).filter(|p| !p.is_empty()) else { return a };
        let indices: Vec<Atom> =
            crate::scope::loops(self.from, path).iter().filter_map(|l| self.index.get(&l.index).copied()).collect();
        let key = (v, indices.iter().filter_map(|i| i.var()).collect());
        if let Some(known) = self.read.iter().find_map(|r| r.get(&key)) {
            return *known;
        }
        let mut value = self.export(a, path);
        for i in &indices {
            value = self.b.gather(value, *i, 0);
        }
        if let Some(r) = self.read.last_mut() {
            r.insert(key, value);
        }
        value
    }

    /// `a` with an axis in front for each loop around its definition.
    pub(crate) fn stack(&mut self, a: Atom) -> Atom {
        let path = a.var().and_then(|v| self.at.get(&v)).cloned().unwrap_or_default();
        self.export(a, &path)
    }
}

fn block_mut<'b>(body: &'b mut Block<Mid>, path: &[(usize, usize)]) -> &'b mut Block<Mid> {
    let mut block = body;
    for (i, k) in path {
        let mut inner = ppl_core::op_blocks_mut(&mut block.stmts[*i].op);
        block = inner.swap_remove(*k);
    }
    block
}
