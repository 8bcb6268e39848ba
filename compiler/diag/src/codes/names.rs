//! E01xx: names, imports, addresses.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0101"),
        name: "an unknown name",
        page: r#"Nothing of this name is in scope here: no data, parameter, choice, local, function, program or distribution.

Names are seen from where they are bound to the end of their block; top-level declarations are seen everywhere. A value that a block computes leaves it only as the block's value:

```ppl
fn f(c: bool) {
  let y = if c { 1.0 } else { 2.0 }     # not: if c { let y = 1.0 } ..
  y
}
```"#,
    },
    CodeInfo {
        code: Code("E0102"),
        name: "a name is declared twice",
        page: r#"Two declarations of a file have the same name. Rename one. A declaration of the model file may have the name of one of the library's, which it then replaces in that file."#,
    },
    CodeInfo {
        code: Code("E0103"),
        name: "an unknown module",
        page: r#"`use std.NAME` names no module of the library. The library's usual parts need no `use`; they are always in scope.

`use shared` reads `shared.ppl` beside the model, `use models.shared` reads `models/shared.ppl`."#,
    },
    CodeInfo {
        code: Code("E0104"),
        name: "two choices at one address",
        page: r#"Every choice of a program has an address of its own, since a trace maps addresses to values.

- Two statements `x ~ ..` that can both run need different names. Choices in the two branches of an `if` can share none either.
- A choice in a loop needs the loop's variable as its index, otherwise every round draws at the same address:

```ppl
gen g() {
  for i in 3 { x[i] ~ normal(0, 1) }    # not: x ~ normal(0, 1)
}
```

- The index must be the loop's variable itself, not an expression: then no two rounds can meet.
- A `report` is named in the same space as the choices."#,
    },
    CodeInfo {
        code: Code("E0105"),
        name: "no choice at this address",
        page: r#"`t.x`, or `by { x: .. }`, names a choice that the program does not make. The note lists those it makes."#,
    },
    CodeInfo {
        code: Code("E0106"),
        name: "a choice is used where it does not exist",
        page: r#"A choice made in one branch of an `if` exists in that branch only, and an array of choices is complete only after the loop that draws it. Inside the loop, use the element of the present round (`x[i]`) or of an earlier one (`x[i - 1]`, at a distance that is known before running), or carry what later rounds need:

```ppl
gen walk() {
  for t in 10 carry (prev = 0.0) {
    h[t] ~ normal(prev, 1)
    h[t]
  }
}
```"#,
    },
];
