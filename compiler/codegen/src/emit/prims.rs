//! Elementwise primitives as instructions, on scalars and on 128-bit vectors.
//!
//! Truth values are bytes 0 or 1 as scalars and lane masks (all zeros or all ones) in vectors. Integers occur as scalars only.

use super::Emitter;
use crate::CodegenError;
use cranelift::prelude::*;
use ppl_core::{DType, Lower, Prim};

/// Whether a primitive is computed by instructions, given its first operand's type.
pub(crate) fn lowered_inline(prim: Prim, first: Option<DType>) -> bool {
    first == Some(DType::Int) || matches!(prim.def().lower, Lower::Inline)
}

impl Emitter<'_, '_> {
    /// A float constant, repeated in each lane of a vector.
    pub(crate) fn fconst(&mut self, v: f64, vec: bool) -> Value {
        let s = if self.float == types::F32 { self.fb.ins().f32const(v as f32) } else { self.fb.ins().f64const(v) };
        if vec { self.fb.ins().splat(self.vector, s) } else { s }
    }

    /// An integer constant.
    pub(crate) fn iconst(&mut self, v: i64) -> Value {
        self.fb.ins().iconst(types::I64, v)
    }

    fn as_mask(&mut self, v: Value) -> Value {
        self.fb.ins().bitcast(self.mask, LANES, v)
    }

    fn as_vector(&mut self, v: Value) -> Value {
        self.fb.ins().bitcast(self.vector, LANES, v)
    }

    /// `c ? a : b`, of operands of type `dt`.
    pub(crate) fn choose(&mut self, c: Value, a: Value, b: Value, dt: DType, vec: bool) -> Value {
        match (vec, dt) {
            (false, _) => self.fb.ins().select(c, a, b),
            (true, DType::Float) => {
                let c = self.as_vector(c);
                self.fb.ins().bitselect(c, a, b)
            }
            (true, _) => self.fb.ins().bitselect(c, a, b),
        }
    }

    /// A primitive on operands whose type is `dt` (that of the first operand; of the second for `select` and `guard`).
    pub(crate) fn prim(&mut self, p: Prim, a: &[Value], dt: DType, vec: bool) -> Result<Value, CodegenError> {
        let missing = || CodegenError::internal(format!("`{}` has too few operands", p.name()));
        let x = *a.first().ok_or_else(missing)?;
        let arg = |i: usize| a.get(i).copied().ok_or_else(missing);
        Ok(match (p, dt) {
            (Prim::Guard, _) => arg(1)?,
            (Prim::Select, _) => self.choose(x, arg(1)?, arg(2)?, dt, vec),
            (_, DType::Float) => self.float_prim(p, a, vec)?,
            (_, DType::Int) => self.int_prim(p, a)?,
            (_, DType::Bool) => self.bool_prim(p, a, vec)?,
        })
    }

    fn float_prim(&mut self, p: Prim, a: &[Value], vec: bool) -> Result<Value, CodegenError> {
        let at =
            |i: usize| a.get(i).copied().ok_or_else(|| CodegenError::internal(format!("`{}` has too few operands", p.name())));
        let x = at(0)?;
        Ok(match p {
            Prim::Neg => self.fb.ins().fneg(x),
            Prim::Abs => self.fb.ins().fabs(x),
            Prim::Sign => {
                let (zero, one, minus) = (self.fconst(0.0, vec), self.fconst(1.0, vec), self.fconst(-1.0, vec));
                let below = self.fb.ins().fcmp(FloatCC::LessThan, x, zero);
                let above = self.fb.ins().fcmp(FloatCC::GreaterThan, x, zero);
                let s = self.choose(below, minus, x, DType::Float, vec);
                self.choose(above, one, s, DType::Float, vec)
            }
            Prim::Add => self.fb.ins().fadd(x, at(1)?),
            Prim::Sub => self.fb.ins().fsub(x, at(1)?),
            Prim::Mul => self.fb.ins().fmul(x, at(1)?),
            Prim::Div => self.fb.ins().fdiv(x, at(1)?),
            Prim::Square => self.fb.ins().fmul(x, x),
            Prim::Sqrt => self.fb.ins().sqrt(x),
            Prim::Recip => {
                let one = self.fconst(1.0, vec);
                self.fb.ins().fdiv(one, x)
            }
            Prim::Min => self.extremum(FloatCC::LessThan, x, at(1)?, vec),
            Prim::Max => self.extremum(FloatCC::GreaterThan, x, at(1)?, vec),
            Prim::Clip => {
                let m = self.extremum(FloatCC::GreaterThan, x, at(1)?, vec);
                self.extremum(FloatCC::LessThan, m, at(2)?, vec)
            }
            Prim::Relu => {
                let zero = self.fconst(0.0, vec);
                let keep = self.fb.ins().fcmp(FloatCC::UnorderedOrGreaterThan, x, zero);
                self.choose(keep, x, zero, DType::Float, vec)
            }
            Prim::Floor => self.fb.ins().floor(x),
            Prim::Ceil => self.fb.ins().ceil(x),
            Prim::Trunc => self.fb.ins().trunc(x),
            Prim::Round => self.fb.ins().nearest(x),
            Prim::Fma => self.fma(x, at(1)?, at(2)?, vec),
            Prim::Lt => self.fb.ins().fcmp(FloatCC::LessThan, x, at(1)?),
            Prim::Le => self.fb.ins().fcmp(FloatCC::LessThanOrEqual, x, at(1)?),
            Prim::Gt => self.fb.ins().fcmp(FloatCC::GreaterThan, x, at(1)?),
            Prim::Ge => self.fb.ins().fcmp(FloatCC::GreaterThanOrEqual, x, at(1)?),
            Prim::Eq => self.fb.ins().fcmp(FloatCC::Equal, x, at(1)?),
            Prim::Ne => self.fb.ins().fcmp(FloatCC::NotEqual, x, at(1)?),
            Prim::IsFinite => {
                let (m, inf) = (self.fb.ins().fabs(x), self.fconst(f64::INFINITY, vec));
                self.fb.ins().fcmp(FloatCC::LessThan, m, inf)
            }
            Prim::IsNan => self.fb.ins().fcmp(FloatCC::Unordered, x, x),
            Prim::ToReal => x,
            Prim::ToInt if !vec => self.fb.ins().fcvt_to_sint_sat(types::I64, x),
            _ => return Err(CodegenError::internal(format!("`{}` on reals has no instructions", p.name()))),
        })
    }

    /// The smaller or larger one; NaN if one is NaN.
    fn extremum(&mut self, cc: FloatCC, x: Value, y: Value, vec: bool) -> Value {
        let wins = self.fb.ins().fcmp(cc, x, y);
        let nan = self.fb.ins().fcmp(FloatCC::Unordered, x, x);
        let c = self.fb.ins().bor(wins, nan);
        self.choose(c, x, y, DType::Float, vec)
    }

    fn fma(&mut self, x: Value, y: Value, z: Value, vec: bool) -> Value {
        if !vec || self.has_fma {
            return self.fb.ins().fma(x, y, z);
        }
        let mut out = self.fconst(0.0, true);
        for lane in 0..self.lanes as u8 {
            let xs = [x, y, z].map(|v| self.fb.ins().extractlane(v, lane));
            let r = self.fb.ins().fma(xs[0], xs[1], xs[2]);
            out = self.fb.ins().insertlane(out, r, lane);
        }
        out
    }

    fn int_prim(&mut self, p: Prim, a: &[Value]) -> Result<Value, CodegenError> {
        let at =
            |i: usize| a.get(i).copied().ok_or_else(|| CodegenError::internal(format!("`{}` has too few operands", p.name())));
        let x = at(0)?;
        let cmp = |e: &mut Self, cc: IntCC| -> Result<Value, CodegenError> { Ok(e.fb.ins().icmp(cc, x, at(1)?)) };
        Ok(match p {
            Prim::Neg => self.fb.ins().ineg(x),
            Prim::Abs => self.fb.ins().iabs(x),
            Prim::Sign => {
                let (zero, one, minus) = (self.iconst(0), self.iconst(1), self.iconst(-1));
                let below = self.fb.ins().icmp(IntCC::SignedLessThan, x, zero);
                let above = self.fb.ins().icmp(IntCC::SignedGreaterThan, x, zero);
                let s = self.fb.ins().select(below, minus, zero);
                self.fb.ins().select(above, one, s)
            }
            Prim::Add => self.fb.ins().iadd(x, at(1)?),
            Prim::Sub => self.fb.ins().isub(x, at(1)?),
            Prim::Mul => self.fb.ins().imul(x, at(1)?),
            Prim::Square => self.fb.ins().imul(x, x),
            Prim::Min => self.fb.ins().smin(x, at(1)?),
            Prim::Max => self.fb.ins().smax(x, at(1)?),
            Prim::Clip => {
                let m = self.fb.ins().smax(x, at(1)?);
                self.fb.ins().smin(m, at(2)?)
            }
            Prim::IntDiv => self.floor_div(x, at(1)?),
            Prim::Rem => {
                let b = at(1)?;
                let q = self.floor_div(x, b);
                let t = self.fb.ins().imul(q, b);
                let r = self.fb.ins().isub(x, t);
                let zero = self.iconst(0);
                let by_zero = self.fb.ins().icmp(IntCC::Equal, b, zero);
                self.fb.ins().select(by_zero, zero, r)
            }
            Prim::Relu => {
                let zero = self.iconst(0);
                self.fb.ins().smax(x, zero)
            }
            Prim::Lt => cmp(self, IntCC::SignedLessThan)?,
            Prim::Le => cmp(self, IntCC::SignedLessThanOrEqual)?,
            Prim::Gt => cmp(self, IntCC::SignedGreaterThan)?,
            Prim::Ge => cmp(self, IntCC::SignedGreaterThanOrEqual)?,
            Prim::Eq => cmp(self, IntCC::Equal)?,
            Prim::Ne => cmp(self, IntCC::NotEqual)?,
            Prim::ToReal => self.fb.ins().fcvt_from_sint(self.float, x),
            Prim::ToInt => x,
            _ => return Err(CodegenError::internal(format!("`{}` on integers has no instructions", p.name()))),
        })
    }

    /// The quotient rounded down; 0 for a divisor of 0. Never traps: the machine divides by neither 0 nor -1.
    fn floor_div(&mut self, a: Value, b: Value) -> Value {
        let (zero, one, minus) = (self.iconst(0), self.iconst(1), self.iconst(-1));
        let by_zero = self.fb.ins().icmp(IntCC::Equal, b, zero);
        let by_minus = self.fb.ins().icmp(IntCC::Equal, b, minus);
        let special = self.fb.ins().bor(by_zero, by_minus);
        let d = self.fb.ins().select(special, one, b);
        let q = self.fb.ins().sdiv(a, d);
        let t = self.fb.ins().imul(q, d);
        let r = self.fb.ins().isub(a, t);
        // Rounded towards zero; one less where the remainder and the divisor have different signs.
        let signs = self.fb.ins().bxor(r, d);
        let differ = self.fb.ins().icmp(IntCC::SignedLessThan, signs, zero);
        let inexact = self.fb.ins().icmp(IntCC::NotEqual, r, zero);
        let down = self.fb.ins().band(differ, inexact);
        let down = self.fb.ins().uextend(types::I64, down);
        let q = self.fb.ins().isub(q, down);
        let n = self.fb.ins().ineg(a);
        let q = self.fb.ins().select(by_minus, n, q);
        self.fb.ins().select(by_zero, zero, q)
    }

    fn bool_prim(&mut self, p: Prim, a: &[Value], vec: bool) -> Result<Value, CodegenError> {
        let at =
            |i: usize| a.get(i).copied().ok_or_else(|| CodegenError::internal(format!("`{}` has too few operands", p.name())));
        let x = at(0)?;
        Ok(match p {
            Prim::And => self.fb.ins().band(x, at(1)?),
            Prim::Or => self.fb.ins().bor(x, at(1)?),
            Prim::Not => self.not(x, vec),
            Prim::Ne => self.fb.ins().bxor(x, at(1)?),
            Prim::Eq => {
                let d = self.fb.ins().bxor(x, at(1)?);
                self.not(d, vec)
            }
            Prim::ToReal if vec => {
                let one = self.fconst(1.0, true);
                let one = self.as_mask(one);
                let r = self.fb.ins().band(x, one);
                self.as_vector(r)
            }
            Prim::ToReal => {
                let wide = self.fb.ins().uextend(types::I64, x);
                self.fb.ins().fcvt_from_sint(self.float, wide)
            }
            Prim::ToInt if !vec => self.fb.ins().uextend(types::I64, x),
            _ => return Err(CodegenError::internal(format!("`{}` on truth values has no instructions", p.name()))),
        })
    }

    fn not(&mut self, x: Value, vec: bool) -> Value {
        if vec {
            self.fb.ins().bnot(x)
        } else {
            let one = self.fb.ins().iconst(types::I8, 1);
            self.fb.ins().bxor(x, one)
        }
    }

    /// A scalar repeated in every lane.
    pub(crate) fn splat(&mut self, v: Value, dt: DType) -> Value {
        match dt {
            DType::Bool => {
                let wide = self.fb.ins().uextend(self.mask.lane_type(), v);
                let mask = self.fb.ins().ineg(wide);
                self.fb.ins().splat(self.mask, mask)
            }
            DType::Float | DType::Int => self.fb.ins().splat(self.vector, v),
        }
    }

    /// A lane of a vector as a scalar.
    pub(crate) fn lane(&mut self, v: Value, lane: usize, dt: DType) -> Value {
        let x = self.fb.ins().extractlane(v, lane as u8);
        if dt == DType::Bool { self.mask_bit(x) } else { x }
    }

    /// The byte for one lane of a mask.
    fn mask_bit(&mut self, x: Value) -> Value {
        let one = self.fb.ins().iconst(types::I8, 1);
        let byte = self.fb.ins().ireduce(types::I8, x);
        self.fb.ins().band(byte, one)
    }

    /// Loads one scalar.
    pub(crate) fn load(&mut self, dt: DType, base: Value, disp: i64) -> Value {
        let (base, disp) = self.address(base, disp);
        let ty = self.scalar_type(dt);
        self.fb.ins().load(ty, MEM, base, disp)
    }

    /// Stores one scalar.
    pub(crate) fn store(&mut self, v: Value, base: Value, disp: i64) {
        let (base, disp) = self.address(base, disp);
        self.fb.ins().store(MEM, v, base, disp);
    }

    /// Loads consecutive elements into lanes.
    pub(crate) fn load_vector(&mut self, dt: DType, base: Value, disp: i64) -> Value {
        let (base, disp) = self.address(base, disp);
        if dt != DType::Bool {
            return self.fb.ins().load(self.vector, MEM, base, disp);
        }
        let packed = if self.lanes == 4 {
            self.fb.ins().load(types::I32, MEM, base, disp)
        } else {
            self.fb.ins().uload16(types::I32, MEM, base, disp)
        };
        let v = self.fb.ins().scalar_to_vector(types::I32X4, packed);
        let v = self.fb.ins().bitcast(types::I8X16, LANES, v);
        let v = self.fb.ins().uwiden_low(v);
        let mut v = self.fb.ins().uwiden_low(v);
        if self.lanes == 2 {
            v = self.fb.ins().uwiden_low(v);
        }
        self.fb.ins().ineg(v)
    }

    /// Stores lanes to consecutive elements.
    pub(crate) fn store_vector(&mut self, v: Value, dt: DType, base: Value, disp: i64) {
        if dt != DType::Bool {
            let (base, disp) = self.address(base, disp);
            self.fb.ins().store(MEM, v, base, disp);
            return;
        }
        if self.lanes == 4 {
            let v = self.fb.ins().snarrow(v, v);
            let v = self.fb.ins().snarrow(v, v);
            let v = self.fb.ins().bitcast(types::I32X4, LANES, v);
            let packed = self.fb.ins().extractlane(v, 0);
            let ones = self.fb.ins().iconst(types::I32, 0x0101_0101);
            let packed = self.fb.ins().band(packed, ones);
            let (base, disp) = self.address(base, disp);
            self.fb.ins().store(MEM, packed, base, disp);
            return;
        }
        for lane in 0..self.lanes {
            let b = self.lane(v, lane, dt);
            self.store(b, base, disp + lane as i64);
        }
    }

    /// Register type of a scalar.
    pub(crate) fn scalar_type(&self, dt: DType) -> Type {
        match dt {
            DType::Float => self.float,
            DType::Int => types::I64,
            DType::Bool => types::I8,
        }
    }

    /// Splits off what does not fit into an instruction's displacement.
    fn address(&mut self, base: Value, disp: i64) -> (Value, i32) {
        match i32::try_from(disp) {
            Ok(d) => (base, d),
            Err(_) => {
                let d = self.iconst(disp);
                (self.fb.ins().iadd(base, d), 0)
            }
        }
    }
}

/// Memory accesses never trap; rows of arrays may be aligned to their elements only.
const MEM: MemFlagsData = MemFlagsData::new().with_notrap();
/// Vectors are cast lane for lane, lowest first.
const LANES: MemFlagsData = MemFlagsData::new().with_endianness(codegen::ir::Endianness::Little);
