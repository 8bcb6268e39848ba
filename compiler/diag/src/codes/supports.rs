//! E03xx: supports and trace types.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[CodeInfo {
    code: Code("E0307"),
    name: "initial value outside of its constraint",
    page: "A parameter is declared with a constraint, and its initial value does not satisfy it, or lies on its boundary:\n\n    \
           param tau: positive = 0.0\n\nParameters are optimised on a scale without bounds, where a boundary would be infinite, so \
           the initial value must lie inside. Change it, or leave it out: every constraint has a default.",
}];
