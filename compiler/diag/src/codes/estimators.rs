//! E04xx: strategies, smoothness, estimates.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[CodeInfo {
    code: Code("E0460"),
    name: "no gradient flows through an operation",
    page: "A learned parameter reaches an operation whose derivative does not exist or is not implemented, and the objective \
           depends on its result. The label says which operation and why.\n\n\
           Write the quantity with operations that have derivatives, detach the operand with `stop(..)` if its gradient is not \
           wanted, or give the choice involved a strategy that does not differentiate through its value, such as `reinforce`.",
}];
