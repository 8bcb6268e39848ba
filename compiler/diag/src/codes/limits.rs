//! E05xx: what is not compiled yet, or too large.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0501"),
        name: "a program calls itself",
        page: r#"Programs are expanded where they are called, so one that reaches itself again would have no end. Write the repetition as a loop, with `carry` where a round needs the one before."#,
    },
    CodeInfo {
        code: Code("E0502"),
        name: "a strategy in a loop that carries",
        page: r#"A strategy that runs the rest of the objective several times (`enumerate`, `measure_valued`) in a loop that carries a value would need the rest of the loop for each value of each choice. Short loops are unrolled; longer ones are refused. Use `reinforce`, or `reparam` where the distribution allows it, for choices in such loops."#,
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
