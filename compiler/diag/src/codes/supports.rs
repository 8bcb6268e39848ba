//! E03xx: supports and trace types.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0301"),
        name: "a choice is missing",
        page: r#"A guide makes exactly the choices of the model that are not given. The model makes one that the guide does not: its density could not be computed.

Draw it in the guide, give it a value (`model() given { x: 2.0 }`), or derive the guide (`with auto_normal`)."#,
    },
    CodeInfo {
        code: Code("E0302"),
        name: "a choice too many",
        page: r#"The guide makes a choice that the model does not make, or whose value is given. Its density has no counterpart in the model's, so the ratio of the two would be no weight.

Remove it, or correct its name."#,
    },
    CodeInfo {
        code: Code("E0303"),
        name: "supports differ",
        page: r#"A guide must be able to draw every value that the model gives a positive density, and no others: where the model has a `positive` choice, a normal would propose negative values.

`constrain(normal(m, s), positive)` maps a distribution on the reals to a support, with the right density. Or use a distribution with the model's support (`log_normal`, `gamma`)."#,
    },
    CodeInfo {
        code: Code("E0304"),
        name: "a choice has two types",
        page: r#"A choice has one type and size in the model and another in the guide, such as `theta: real[J]` and `theta: real`. Draw it in a loop over the same size in both. A choice of each datum of a minibatch is one of other data in every step: its guide loops over the same `minibatch(N, B)`, with parameters that are indexed by the datum's number or computed from its data."#,
    },
    CodeInfo {
        code: Code("E0305"),
        name: "an unknown choice is given",
        page: r#"`given { y: v }` fixes the choice at address `y`, and the program makes none of this name. The note lists those that it makes. `given { y }` is short for `given { y: y }`: the choice `y` gets the value of the name `y`."#,
    },
    CodeInfo {
        code: Code("E0306"),
        name: "no unconstrained space",
        page: r#"Guides on unconstrained space, and parameters with a constraint, need a smooth map from the reals to the support. There is one for `real`, `positive`, `nonnegative`, `unit`, intervals with constant bounds, `simplex`, `ordered`. There is none for discrete choices: sum them out, or write a guide that draws them (`flip`, `categorical`) with a strategy such as `enumerate`. There is none for intervals whose bounds are random either: draw the position within them from `unit`."#,
    },
    CodeInfo {
        code: Code("E0307"),
        name: "initial value outside of its constraint",
        page: "A parameter is declared with a constraint, and its initial value does not satisfy it, or lies on its boundary:\n\n    \
               param tau: positive = 0.0\n\nParameters are optimised on a scale without bounds, where a boundary would be infinite, so \
               the initial value must lie inside. Change it, or leave it out: every constraint has a default.",
    },
    CodeInfo {
        code: Code("E0308"),
        name: "a choice stands under different conditions",
        page: r#"A choice in a branch exists only where the branch is taken. The model makes it under a condition on earlier choices and the guide does not, or the other way round, so one of them may draw what the other can't score. Put it under the same condition in both:

```ppl
gen model() { v ~ flip(0.3);  if v { x ~ normal(0, 1) } }
gen guide() { v ~ flip(0.5);  if v { x ~ normal(1, 1) } }
```"#,
    },
];
