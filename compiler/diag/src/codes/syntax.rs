//! E00xx: the text doesn't parse.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0001"),
        name: "unexpected text",
        page: r#"The text can't continue this way. The label says what could stand here.

Often something before it is unfinished: an operator without its right side, a missing comma between arguments, a bracket closed too early. The help shows the form of the statement."#,
    },
    CodeInfo {
        code: Code("E0002"),
        name: "a block is missing",
        page: r#"`if`, `else`, `for`, `expect`, `gen` and others are followed by a block in braces, also where it holds a single statement:

```text
for n in N { y[n] ~ normal(mu, 1) }
```

The `{` stands on the same line. There are no blocks by indentation and no `:`."#,
    },
    CodeInfo {
        code: Code("E0003"),
        name: "a bracket is never closed",
        page: r#"The label is at the opening bracket. The compiler closes it where its statement seems to end and goes on, so later messages are about the rest of the file."#,
    },
    CodeInfo {
        code: Code("E0004"),
        name: "a bracket closes nothing",
        page: r#"A closing bracket has no partner, or its partner is of another kind. Delete it, or correct the one that opens."#,
    },
    CodeInfo {
        code: Code("E0005"),
        name: "`=` where a choice or a binding was meant",
        page: r#"A choice is written `x ~ normal(0, 1)`, a value gets a name by `let x = 3`. Nothing is ever assigned a second time: a value that changes from round to round of a loop is carried, `for t in T carry (s = 0) { .. }`."#,
    },
    CodeInfo {
        code: Code("E0006"),
        name: "an operator of another language",
        page: r#"The operators are `+ - * / % ^`, `== != < <= > >=`, `and or not`. A power is `x^2`. Comparisons don't chain: write `a < b and b < c`. A value gets its name by `=`, a choice is drawn by `~`."#,
    },
    CodeInfo {
        code: Code("E0007"),
        name: "a keyword as a name",
        page: r#"Words such as `let`, `gen`, `for`, `draw` can't be names. Words such as `data`, `by`, `on`, `given` can: they are keywords only where their place says so. The syntax page of the specification lists both."#,
    },
    CodeInfo {
        code: Code("E0008"),
        name: "a statement in the wrong place",
        page: r#"Declarations (`gen`, `fn`, `data`, `fit`, ...) stand at top level. Choices and expressions stand in programs. A choice is a statement of its own, never a part of an expression."#,
    },
    CodeInfo {
        code: Code("E0009"),
        name: "a word of another language",
        page: r#"The help says how the same thing is written here. A function's value is the last expression of its body, loops run over sizes, models and guides are both `gen`."#,
    },
    CodeInfo {
        code: Code("E0010"),
        name: "nested too deeply",
        page: r#"Brackets may nest 200 deep, and one expression may chain 500 operators. Programs that people write stay far below; in generated text, name parts with `let` or sum an array."#,
    },
    CodeInfo {
        code: Code("E0011"),
        name: "a character outside the language",
        page: r#"Outside of strings and comments a program is written in ASCII; `×`, `≤`, typographic quotes and Greek letters are not. Write `*`, `<=`, `"`, `mu`."#,
    },
    CodeInfo {
        code: Code("E0012"),
        name: "a string that does not end",
        page: r#"A string ends on the line where it starts. Its escapes are `\n`, `\t`, `\"` and `\\`."#,
    },
    CodeInfo {
        code: Code("E0013"),
        name: "not a number",
        page: r#"Numbers are decimal: `10`, `1_000`, `0.5`, `1e-3`. A digit stands on both sides of the point, and a product needs its `*`. Integers have 64 bits; write larger ones as reals, `1e20`."#,
    },
    CodeInfo {
        code: Code("E0014"),
        name: "not a type",
        page: r#"The only type with `of` is `trace of f`, the trace of the program `f`. Other types are names with sizes: `real[N, D]`, `simplex[K]`."#,
    },
    CodeInfo {
        code: Code("E0015"),
        name: "a clause of `fit` twice",
        page: r#"A `fit` has one guide, one optimiser and one value for each setting. Several objectives are one clause: `maximize a over params(model), b over params(guide)`."#,
    },
    CodeInfo {
        code: Code("E0016"),
        name: "a strategy without a continuation",
        page: r#"A strategy is a program over a distribution and the rest of the objective, its continuation: `strategy mine for normal(mu, sigma) (k) { .. }`. It calls `k` with the value of the choice."#,
    },
    CodeInfo {
        code: Code("E0017"),
        name: "two statements on one line",
        page: r#"Statements are separated by a new line or by `;`. Where a product was meant, write `*`."#,
    },
    CodeInfo {
        code: Code("E0018"),
        name: "not an address",
        page: r#"To the left of `~`, and in `given { .. }`, `by { .. }` and `marginal { .. }`, stand addresses of choices: a name, with indices and fields after it (`z`, `theta[j]`, `s.x`)."#,
    },
];
