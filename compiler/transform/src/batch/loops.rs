//! Sequential loops: what no iteration changes runs before them, and arrays read at the loop's index become slices.

use ppl_core::{
    Atom, Block, Builder, Det, Lit, Op, Prim, Scan, Ty, Var, free_vars, op_atoms, op_blocks, op_blocks_mut, substitute_block,
};
use std::collections::{HashMap, HashSet};

/// Rewrites a loop whose blocks are free of maps; statements that leave it go into the open block.
///
/// Reading `x[i]` through a slice makes its adjoint a stack of one cotangent an iteration; through an index it would be
/// a whole array an iteration.
pub(super) fn tidy(b: &mut Builder<Det>, s: &mut Scan<Det>) {
    // A loop that never runs may read arrays without elements.
    if s.len == 0 {
        return;
    }
    let header: HashSet<Var> = std::iter::once(s.index).chain(s.carry.iter().chain(&s.xs).map(|(v, _)| *v)).collect();
    hoist(b, s, header.clone());
    let outer = free_vars(&s.body).into_iter().filter(|v| !header.contains(v)).collect();
    let mut body = std::mem::take(&mut s.body);
    let offset = HashMap::from([(s.index, 0)]);
    let mut pass = Slices { b, s, outer, offset, known: HashMap::new(), replaced: HashMap::new() };
    pass.block(&mut body);
    let replaced = pass.replaced;
    substitute_block(&mut body, &replaced);
    s.body = body;
}

/// Moves the statements of the body that depend on nothing of the loop in front of it.
fn hoist(b: &mut Builder<Det>, s: &mut Scan<Det>, mut inside: HashSet<Var>) {
    for stmt in std::mem::take(&mut s.body.stmts) {
        let depends = op_atoms(&stmt.op).into_iter().any(|a| a.var().is_some_and(|v| inside.contains(&v)))
            || op_blocks(&stmt.op).into_iter().any(|block| free_vars(block).iter().any(|v| inside.contains(v)));
        if depends {
            inside.extend(stmt.outs.iter().copied());
            s.body.stmts.push(stmt);
        } else {
            b.push(stmt);
        }
    }
}

struct Slices<'a> {
    b: &'a mut Builder<Det>,
    s: &'a mut Scan<Det>,
    /// Variables from outside the loop.
    outer: HashSet<Var>,
    /// Variables that are the loop's index plus a constant.
    offset: HashMap<Var, i64>,
    /// Slices by array and first row.
    known: HashMap<(Var, usize), Var>,
    /// Outputs of former gathers.
    replaced: HashMap<Var, Atom>,
}

impl Slices<'_> {
    fn block(&mut self, block: &mut Block<Det>) {
        for mut stmt in std::mem::take(&mut block.stmts) {
            for inner in op_blocks_mut(&mut stmt.op) {
                self.block(inner);
            }
            match (&stmt.op, &stmt.outs[..]) {
                (Op::Gather { x: Atom::Var(x), idx: Atom::Var(i), batch: 0 }, [out]) => {
                    if let Some(row) = self.slice(*x, *i) {
                        self.replaced.insert(*out, Atom::Var(row));
                        continue;
                    }
                }
                (Op::Prim(prim, args), [out]) => {
                    if let Some(o) = self.shifted(*prim, args) {
                        self.offset.insert(*out, o);
                    }
                }
                _ => {}
            }
            block.stmts.push(stmt);
        }
    }

    fn shifted(&self, prim: Prim, args: &[Atom]) -> Option<i64> {
        match (prim, args) {
            (Prim::Add, [Atom::Var(v), Atom::Lit(Lit::Int(c))] | [Atom::Lit(Lit::Int(c)), Atom::Var(v)]) => {
                self.offset.get(v)?.checked_add(*c)
            }
            (Prim::Sub, [Atom::Var(v), Atom::Lit(Lit::Int(c))]) => self.offset.get(v)?.checked_sub(*c),
            _ => None,
        }
    }

    /// The variable for row `i` of `x` in each iteration, if all those rows exist.
    fn slice(&mut self, x: Var, i: Var) -> Option<Var> {
        let start = usize::try_from(*self.offset.get(&i)?).ok()?;
        let ty = self.b.func.ty(x).clone();
        if !self.outer.contains(&x) || start.checked_add(self.s.len)? > ty.shape[0] {
            return None;
        }
        if let Some(row) = self.known.get(&(x, start)) {
            return Some(*row);
        }
        let name = self.b.func.vars[x.index()].name.clone();
        let rows = self.b.slice(x.into(), 0, start, self.s.len);
        let row = self.b.fresh(&name, Ty::new(ty.dtype, &ty.shape[1..]));
        self.s.xs.push((row, rows));
        self.known.insert((x, start), row);
        Some(row)
    }
}
