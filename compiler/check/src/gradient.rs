//! `grad(e, x)`: an expression as a function of one variable, and the operation that differentiates it.

use crate::codes;
use crate::func::FnElab;
use crate::stage::ElabStage;
use crate::value::{Arr, Dim, Value};
use ppl_core::{Atom, Block, DType, Est, EstRandom, Func, Op, Var};
use ppl_diag::{Diagnostic, Span};
use ppl_syntax::ast::{Arg, ExprKind};

impl<S: ElabStage> FnElab<'_, S> {
    /// The gradient of the first argument with respect to the variable that the second one names.
    pub(crate) fn gradient(&mut self, args: &[Arg], span: Span) -> Value {
        let [e, x] = args else {
            return self.fail(
                Diagnostic::error(codes::WRONG_ARGUMENTS, format!("`grad` takes 2 arguments, here are {}", args.len()))
                    .label(span, "signature: grad(e: real, x: any) -> real[..]"),
            );
        };
        let ExprKind::Name(name) = &x.value.kind else {
            return self.fail(
                Diagnostic::error(codes::WRONG_ARGUMENTS, "`grad` differentiates with respect to a variable")
                    .label(x.value.span, "not a name")
                    .help("give it one: `let v = ..`, then `grad(f(v), v)`"),
            );
        };
        let at = self.expr(&x.value);
        let mut wrt = Vec::new();
        self.b.begin();
        self.push_scope();
        let moved = self.moved(at, &mut wrt);
        let y = match &moved {
            Some(v) if !wrt.is_empty() => {
                self.bind(name.as_str(), v.clone());
                self.real_scalar(&e.value, "what `grad` differentiates")
            }
            _ => None,
        };
        self.pop_scope();
        let block = self.b.end(y.iter().map(|y| y.atom).collect());
        let Some(y) = y else {
            return match moved {
                Some(v) if wrt.is_empty() && !matches!(v, Value::Error) => self.fail(
                    Diagnostic::error(codes::WRONG_TYPE, "`grad` differentiates with respect to real values")
                        .label(x.value.span, format!("this is {}", v.describe())),
                ),
                _ => Value::Error,
            };
        };
        if self.refuse_estimate(&y, "what `grad` differentiates", e.value.span) {
            return Value::Error;
        }
        self.differentiated(block, wrt, matches!(moved, Some(Value::Trace(_))), span)
    }

    /// The value with its real arrays replaced by new variables, which are listed with the operands that they stand for.
    fn moved(&mut self, v: Value, wrt: &mut Vec<(Var, Arr)>) -> Option<Value> {
        let mut one = |me: &mut Self, a: Arr| {
            if a.dtype != DType::Float {
                return a;
            }
            let v = me.b.fresh("at", a.ty());
            wrt.push((v, a.clone()));
            Arr { atom: Atom::Var(v), konst: None, ..a }
        };
        Some(match v {
            Value::Array(a) => {
                let a = if a.dtype == DType::Int && a.is_scalar() { self.as_real(a, Span::NONE)? } else { a };
                Value::Array(one(self, a))
            }
            Value::Trace(mut t) => {
                for e in &mut t.entries {
                    e.value = one(self, e.value.clone());
                }
                Value::Trace(t)
            }
            v => v,
        })
    }

    fn differentiated(&mut self, block: Block<S>, wrt: Vec<(Var, Arr)>, trace: bool, span: Span) -> Value {
        let own: Vec<Var> = wrt.iter().map(|(v, _)| *v).collect();
        let Some(body) = S::estimator_block(block) else {
            return self.fail(
                Diagnostic::error(codes::WRONG_PLACE, "`grad` stands only in objectives and strategies")
                    .label(span, format!("in {}", S::PLACE)),
            );
        };
        let free: Vec<Var> = ppl_core::free_vars(&body).into_iter().filter(|v| !own.contains(v)).collect();
        let func = Func::<Est> {
            name: format!("{}.grad", self.name),
            vars: self.b.func.vars.clone(),
            params: free.iter().chain(&own).copied().collect(),
            body,
            span,
        };
        let callee = self.s.module.add_est(func);
        let args = free.into_iter().map(Atom::Var).chain(wrt.iter().map(|(_, a)| a.atom)).collect();
        let Some(op) = S::estimator(EstRandom::Grad { callee, args, wrt: wrt.len() }) else { return Value::Error };
        let outs = self.b.emit(Op::Random(op), wrt.iter().map(|(_, a)| ("grad".to_string(), a.ty())).collect());
        if !trace {
            let (_, a) = &wrt[0];
            return Value::Array(Arr::new(outs[0].into(), DType::Float, a.dims.clone()));
        }
        let flat: Vec<Atom> = outs
            .iter()
            .zip(&wrt)
            .map(|(v, (_, a))| {
                let n: usize = a.shape().iter().product();
                self.b.reshape(Atom::Var(*v), &[n])
            })
            .collect();
        let n = wrt.iter().map(|(_, a)| a.shape().iter().product::<usize>()).sum::<usize>();
        let atom = if let [one] = flat[..] { one } else { self.b.concat(&flat, 0) };
        Value::Array(Arr::new(atom, DType::Float, vec![Dim::from(n)]))
    }
}
