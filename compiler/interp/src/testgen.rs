//! Random well-typed programs, for tests of passes and engines.
//!
//! A program is a function of its seed alone. It covers every operation of the deterministic stage, keeps every real between
//! about -30 and 30 and inside the domains of the primitives, and its indices in range: no value is infinite or NaN, so
//! engines can be compared value by value.

mod ops;
mod structured;

use crate::value::{make, reals};
use candle_core::Tensor;
use ppl_abi::{Precision, fold};
use ppl_core::{Atom, Builder, DType, Det, Func, Prim, Ty};

/// What programs may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenOptions {
    /// Statements at the function's own level, roughly.
    pub stmts: usize,
    /// Nesting of blocks.
    pub depth: usize,
    /// Draws.
    pub random: bool,
    /// `if`, `map` and `scan`.
    pub control: bool,
    /// `map`; turn off for engines that run after batching.
    pub maps: bool,
    /// Comparisons of computed reals, rounding, `argmax`: a last bit's difference may change such a value by much, so leave
    /// them out where rounding may differ.
    pub discontinuous: bool,
    /// Matrix factors and solutions.
    pub linalg: bool,
}

impl Default for GenOptions {
    fn default() -> Self {
        GenOptions { stmts: 30, depth: 2, random: true, control: true, maps: true, discontinuous: true, linalg: true }
    }
}

/// A program: its first result is a real scalar that depends on many of its values, the others are values of any type.
pub fn program(seed: u64, options: GenOptions) -> Func<Det> {
    let mut g = Gen {
        b: Builder::new(format!("random_{seed}")),
        rng: Rng(fold(0x7067, seed)),
        options,
        pool: Vec::new(),
        lanes: Vec::new(),
        times: Vec::new(),
        next_site: fold(1, seed),
    };
    let shapes: [&[usize]; 6] = [&[], &[3], &[4], &[2, 3], &[3, 3], &[2, 3, 4]];
    for (i, shape) in shapes.into_iter().enumerate() {
        let v = g.b.param(format!("p{i}"), Ty::float(shape));
        g.push(v.into(), 1.0);
    }
    let v = g.b.param("k", Ty::new(DType::Int, [3]));
    g.push(v.into(), 3.0);
    let v = g.b.param("flag", Ty::BOOL);
    g.push(v.into(), 1.0);
    g.statements(options.stmts, options.depth);
    let sum = g.checksum();
    let mut results = vec![sum];
    for _ in 0..4 {
        results.push(g.any().atom);
    }
    g.b.finish(results)
}

/// Arguments for a function of [`program`]: reals in (-1, 1), integers in 0..3.
///
/// # Errors
/// The tensor library refused.
pub fn arguments(f: &Func<Det>, seed: u64, precision: Precision) -> Result<Vec<Tensor>, crate::Fault> {
    let mut rng = Rng(fold(0x6172, seed));
    f.params
        .iter()
        .map(|v| {
            let ty = f.ty(*v);
            let n = ty.numel();
            match ty.dtype {
                DType::Float => reals(&ty.shape, (0..n).map(|_| rng.real(-1.0, 1.0)).collect(), precision),
                DType::Int => make(&ty.shape, (0..n).map(|_| rng.below(3) as i64).collect()),
                DType::Bool => make(&ty.shape, (0..n).map(|_| rng.below(2) as u8).collect()),
            }
        })
        .collect()
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        fold(0x7465_7374, self.0)
    }

    /// Below `n`; 0 for `n` = 0.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn real(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        list.get(self.below(list.len())).copied()
    }
}

/// A visible value; its elements are at most `bound` in magnitude.
#[derive(Clone, Copy)]
struct Entry {
    atom: Atom,
    bound: f64,
}

struct Gen {
    b: Builder<Det>,
    rng: Rng,
    options: GenOptions,
    pool: Vec<Entry>,
    lanes: Vec<(Atom, usize)>,
    times: Vec<(Atom, usize)>,
    next_site: u64,
}

/// Reals beyond this are pulled back.
const LIMIT: f64 = 30.0;

/// Arrays larger than this are not made.
const MAX_NUMEL: usize = 400;

impl Gen {
    fn statements(&mut self, count: usize, depth: usize) {
        for _ in 0..count {
            if self.options.control && depth > 0 && self.rng.chance(12) {
                self.structured(depth - 1);
            } else {
                self.flat();
            }
        }
    }

    /// Makes a value visible; reals that may be large go through `tanh`.
    fn push(&mut self, atom: Atom, bound: f64) {
        let ty = self.b.ty(atom);
        if ty.dtype == DType::Float && bound > LIMIT {
            let atom = self.b.un(Prim::Tanh, atom);
            self.pool.push(Entry { atom, bound: 1.0 });
        } else if ty.dtype == DType::Int && bound > 1e6 {
            let atom = self.b.prim(Prim::Rem, &[atom, Atom::int(11)]);
            self.pool.push(Entry { atom, bound: 11.0 });
        } else {
            self.pool.push(Entry { atom, bound });
        }
    }

    fn any(&mut self) -> Entry {
        // Recent values more often, so that programs are deep and not only wide.
        let n = self.pool.len();
        let i = if self.rng.chance(50) { n - 1 - self.rng.below(n.min(6)) } else { self.rng.below(n) };
        self.pool[i]
    }

    /// A visible value that passes; literals are not among them.
    fn find(&mut self, test: impl Fn(&Ty) -> bool) -> Option<Entry> {
        let fitting: Vec<Entry> = self.pool.iter().filter(|e| test(&self.b.ty(e.atom))).copied().collect();
        self.rng.pick(&fitting)
    }

    fn find_dtype(&mut self, dtype: DType) -> Option<Entry> {
        self.find(|t| t.dtype == dtype)
    }

    /// A value of this type: a visible one, or a literal repeated.
    fn of_type(&mut self, ty: &Ty) -> Entry {
        if self.rng.chance(70)
            && let Some(e) = self.find(|t| t == ty)
        {
            return e;
        }
        let e = self.literal(ty.dtype);
        Entry { atom: self.b.full(e.atom, &ty.shape), bound: e.bound }
    }

    fn literal(&mut self, dtype: DType) -> Entry {
        match dtype {
            DType::Float => {
                let special = [0.0, 1.0, -1.0, 2.0, 0.5, 3.0];
                let x = if self.rng.chance(60) { special[self.rng.below(special.len())] } else { self.rng.real(-2.0, 2.0) };
                Entry { atom: Atom::float(x), bound: x.abs() }
            }
            DType::Int => {
                let i = self.rng.below(4) as i64;
                Entry { atom: Atom::int(i), bound: i as f64 }
            }
            DType::Bool => Entry { atom: Atom::bool(self.rng.chance(50)), bound: 1.0 },
        }
    }

    /// An operand beside one of shape `shape`: of that shape, a scalar, a literal or a repeated scalar.
    fn beside(&mut self, dtype: DType, shape: &[usize]) -> Entry {
        match self.rng.below(10) {
            0..=1 => self.literal(dtype),
            2..=3 => self.find(|t| t.dtype == dtype && t.is_scalar()).unwrap_or_else(|| self.beside_wide(dtype, shape)),
            4 => {
                let e = self.find(|t| t.dtype == dtype && t.is_scalar());
                match e {
                    Some(e) => Entry { atom: self.b.full(e.atom, shape), ..e },
                    None => self.beside_wide(dtype, shape),
                }
            }
            _ => self.beside_wide(dtype, shape),
        }
    }

    fn beside_wide(&mut self, dtype: DType, shape: &[usize]) -> Entry {
        self.of_type(&Ty::new(dtype, shape))
    }

    /// A real scalar of every visible real: differences anywhere show in it.
    fn checksum(&mut self) -> Atom {
        let entries: Vec<Entry> = self.pool.clone();
        let mut sum = Atom::float(0.0);
        for (i, e) in entries.into_iter().enumerate() {
            if self.b.ty(e.atom).dtype == DType::Float {
                let x = self.b.sum_all(e.atom);
                let x = self.b.mul(Atom::float(1.0 / (1.0 + i as f64)), x);
                sum = self.b.add(sum, x);
            }
        }
        sum
    }
}
