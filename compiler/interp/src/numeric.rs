//! Where a NaN or an infinity comes from.

use crate::error::Res;
use crate::value::to_reals;
use crate::{Event, Interp, InterpError};
use candle_core::Tensor;
use ppl_core::{Det, Func, Op};
use ppl_diag::Span;

/// A statement that made a NaN or an infinity out of finite numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// Its source.
    pub span: Span,
    /// The function.
    pub func: String,
    /// Name of its result.
    pub name: String,
    /// What happened, such as `log(0) is -inf`, with the place in the array and the loop indices.
    pub description: String,
}

pub(crate) fn first_non_finite(interp: &Interp<'_>, f: &Func<Det>, args: &[Tensor]) -> Result<Option<NonFinite>, InterpError> {
    let mut found = None;
    interp.run_traced(f, args, &mut |event| {
        if found.is_none() {
            // A value that cannot be read is reported by the run itself.
            found = inspect(event).unwrap_or(None);
        }
    })?;
    Ok(found)
}

fn inspect(event: &Event<'_>) -> Res<Option<NonFinite>> {
    // Operations with blocks only pass on what their statements made; those were seen before.
    if matches!(event.stmt.op, Op::If { .. } | Op::Map { .. } | Op::Scan(_) | Op::Call { .. }) {
        return Ok(None);
    }
    let [result] = event.results else { return Ok(None) };
    let values = to_reals(result)?;
    let Some(at) = values.iter().position(|x| !x.is_finite()) else { return Ok(None) };
    let operands = event.operands.iter().map(to_reals).collect::<Res<Vec<_>>>()?;
    if operands.iter().flatten().any(|x| !x.is_finite()) {
        return Ok(None);
    }
    let call = match &event.stmt.op {
        Op::Prim(p, _) => {
            let args: Vec<String> = operands.iter().map(|v| number(v[if v.len() == 1 { 0 } else { at }])).collect();
            format!("{}({})", p.name(), args.join(", "))
        }
        op => format!("the result of `{}`", kind(op)),
    };
    let mut description = format!("{call} is {}", number(values[at]));
    if result.rank() > 0 {
        description += &format!(" at element {:?}", unravel(at, result.dims()));
    }
    for (v, i) in event.loops {
        description += &format!(", {} = {i}", event.func.vars[v.index()].name);
    }
    let name = event.stmt.outs.first().map_or(String::new(), |v| event.func.vars[v.index()].name.clone());
    Ok(Some(NonFinite { span: event.stmt.span, func: event.func.name.clone(), name, description }))
}

fn number(x: f64) -> String {
    if x.is_nan() { "NaN".to_string() } else { format!("{x}") }
}

fn unravel(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|n| {
            let i = at % n;
            at /= n;
            i
        })
        .collect();
    index.reverse();
    index
}

fn kind(op: &Op<Det>) -> &'static str {
    match op {
        Op::Prim(p, _) => p.name(),
        Op::Broadcast { .. } => "broadcast",
        Op::Reduce { op, .. } => op.name(),
        Op::ArgMax { .. } => "argmax",
        Op::CumSum { .. } => "cumsum",
        Op::Dot { .. } => "dot",
        Op::Transpose { .. } => "transpose",
        Op::Reshape { .. } => "reshape",
        Op::Slice { .. } => "slice",
        Op::Pad { .. } => "pad",
        Op::Concat { .. } => "concat",
        Op::Gather { .. } => "gather",
        Op::ScatterAdd { .. } => "scatter_add",
        Op::Iota { .. } => "iota",
        Op::Minibatch { .. } => "minibatch",
        Op::Reverse { .. } => "reverse",
        Op::Linalg(ppl_core::Linalg::Cholesky, _) => "cholesky",
        Op::Linalg(ppl_core::Linalg::Solve { .. }, _) => "solve",
        Op::Linalg(ppl_core::Linalg::Unfold(_), _) => "unfold",
        Op::Linalg(ppl_core::Linalg::Fold(_), _) => "fold",
        Op::If { .. } => "if",
        Op::Map { .. } => "map",
        Op::Scan(_) => "scan",
        Op::Call { .. } => "call",
        Op::Stop(_) => "stop",
        Op::Random(r) => r.kind.name(),
    }
}
