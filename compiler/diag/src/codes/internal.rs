//! E09xx: faults of the compiler itself, and its text formats.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0901"),
        name: "text of the IR not understood",
        page: "A text in the compiler's own format (as `ppl explain --emit=density` prints and `ppl run-pass` reads) has a mistake at \
               the place shown: an unknown operation, a variable that is not defined before its use or defined twice, a missing \
               word.\n\nPrint a program with `ppl explain --emit=..` to see the format, or read `spec/ir.md`.",
    },
    CodeInfo {
        code: Code("E0902"),
        name: "program of the IR breaks a rule",
        page: "A program in the compiler's own format can be read but means nothing: the sizes of operands do not fit, a variable is \
               used outside the block that defines it, an id names nothing. The message names the statement and the rule; `spec/ir.md` \
               lists all rules.\n\nIf the program came out of the compiler rather than out of a file that you wrote, this is a fault of \
               the compiler: the message then names the pass, and a report with the file is welcome.",
    },
    CodeInfo {
        code: Code("E0903"),
        name: "fault of the compiler",
        page: "A pass of the compiler, or code generation, met a program that an earlier pass should not have made. This is a fault of \
               the compiler, not of your program.\n\nA report with the message, the model file and the command line is welcome. \
               `ppl fit --engine interp` runs without code generation, and `ppl explain MODEL --emit=STAGE` shows how far the \
               program came.",
    },
];
