//! E05xx: what is not compiled yet, or too large.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0501"),
        name: "a program calls itself",
        page: "Programs that reach their own call are not compiled yet.\n\nWrite the repetition as a loop, `for i in n carry (..) { .. }`.",
    },
    CodeInfo {
        code: Code("E0502"),
        name: "a continuation in a loop that carries a value",
        page: "A strategy that differentiates several runs of the rest of the objective (enumerate) multiplies them with those of the choices that follow. Inside a loop that carries a value this is done for up to 16 steps, which are then unrolled. A strategy's own program may call `k` in loops without `carry` only.\n\nUse `by local_expectation` or `by measure_valued`, whose further runs give costs only: they go on from each step, in loops of any length. Or use `by reinforce`: its cost is summed from each step on.",
    },
    CodeInfo {
        code: Code("E0503"),
        name: "fresh runs of a continuation",
        page: "`fresh(k)(x)` asks for a run of the continuation with random numbers of its own, as products of two runs need. \
               This is not compiled yet; runs of one `k` share their random numbers.\n\n\
               Write the strategy as sums and differences of calls of `k`, for which sharing lowers the variance.",
    },
    CodeInfo {
        code: Code("E0510"),
        name: "not compiled yet",
        page: r#"The language defines this, and this version does not compile it yet. The text was understood: it is no mistake in the program. The label says which part it is and the help, where there is one, how to write the program without it. The status section of the README lists what is not compiled."#,
    },
    CodeInfo {
        code: Code("E0511"),
        name: "calls nest too deep",
        page: r#"Functions and programs are expanded where they are called. A function that calls itself must reach its end by sizes or constants known before the program runs; this one did not within the limit. Write the repetition as a loop."#,
    },
];
