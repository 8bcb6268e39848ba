//! E02xx: types and shapes.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0201"),
        name: "a value of the wrong kind",
        page: r#"The label shows what stands here, the title what is needed. Values are numbers (`real`, `int`), truth values, arrays of these, tuples, distributions, generative programs, targets (`m() given { y }`), traces and functions.

An `int` is taken wherever a `real` is needed. Nothing else is converted silently: write `real(b)` for 0 and 1, `int(x)` to cut off the fraction."#,
    },
    CodeInfo {
        code: Code("E0202"),
        name: "shapes disagree",
        page: r#"Arrays combine element by element only where all their sizes are equal; only scalars broadcast. The labels show both sides with their types, and sizes by the name they were declared with: `real[N]` and `real[J]` disagree even where a data set happens to make them equal.

Use a loop to combine along one axis (`[for n in N { x[n] + b }]`), `matmul` and `dot` for products, and `reshape`, `transpose` or a slice to change a shape."#,
    },
    CodeInfo {
        code: Code("E0203"),
        name: "wrong arguments",
        page: r#"A call gives too many or too few arguments, or one by a name that the function does not have, or one twice. The note has the signature. Arguments may be given by name (`normal(0, sigma = 2)`) after those by position; built-in functions take them by position only."#,
    },
    CodeInfo {
        code: Code("E0204"),
        name: "this can't be called",
        page: r#"Only functions, distributions, generative programs, objectives and continuations are called. A product needs its sign: `2 * (x + 1)`, not `2 (x + 1)`. Elements are taken with brackets: `x[0]`."#,
    },
    CodeInfo {
        code: Code("E0205"),
        name: "an index out of range",
        page: r#"Indices start at 0, so an array of `N` elements has `0` to `N - 1`. There are no negative indices: the last element is `x[N - 1]`. A slice `x[lo..hi]` holds `lo` and leaves out `hi`.

A loop may read earlier elements of the choices that it makes. The first rounds must not read what does not exist: elements before the first round are those of
the data of that name, if the choice has data; otherwise read in a branch.

```ppl
data T: int
data y: real[T]
gen ar() { for t in 1..T { y[t] ~ normal(0.9 * y[t - 1], 1) } }
gen walk() { for t in T { h[t] ~ normal(if t == 0 { 0.0 } else { h[t - 1] }, 1) } }
```"#,
    },
    CodeInfo {
        code: Code("E0206"),
        name: "branches of different types",
        page: r#"An `if` that yields a value needs an `else`, and both branches must yield the same type and sizes, since both are compiled.

```ppl
fn f(c: bool, x: real[3]) = if c { x } else { zeros(3) }
```"#,
    },
    CodeInfo {
        code: Code("E0207"),
        name: "a size is not known",
        page: r#"Sizes of arrays and ends of loops are fixed before a program runs. They come from constants, from `data` declared as `int`, from the sizes of arrays, and from arithmetic on these. A random or computed value can't be one: draw the largest number that can occur, and select."#,
    },
    CodeInfo {
        code: Code("E0208"),
        name: "not in this place",
        page: r#"Some statements have a meaning only in one kind of program:

- `x ~ d`, `report`, `factor` in a `gen`;
- `draw`, calls of a continuation in a `strategy` (or `draw` in a distribution's `sample`);
- `log_density` of a program, `sim`, `expect` in objectives;
- ranges `a..b` after `in` and in subscripts;
- a top-level `let` is computed once, before the fit, from data only. A function of parameters is an `fn`.
- a `param` is declared at top level or at the outer level of a `gen`: not in a plate, nor in a branch."#,
    },
    CodeInfo {
        code: Code("E0209"),
        name: "a carried value changes",
        page: r#"A loop with `carry (a = .., b = ..)` ends with the next values of `a` and `b`, in that order, of the same types and sizes as the first ones:

```ppl
fn f(x: real[10]) = for i in 10 carry (s = 0.0, m = x[0]) { (s + x[i], max(m, x[i])) }
```

A carried number that starts as `0` and becomes a real is taken as a real."#,
    },
    CodeInfo {
        code: Code("E0210"),
        name: "an unknown type",
        page: r#"Types are `real`, `int`, `bool`, the supports `positive`, `nonnegative`, `unit`, `interval(lo, hi)`, `simplex`, `ordered`, each with sizes in brackets (`real[N, 2]`), and for arguments of programs `gen`, `target`, `trace of g`."#,
    },
    CodeInfo {
        code: Code("E0211"),
        name: "a setting is wrong",
        page: r#"After `using` stand an optimiser, such as `adam(0.01)`, and settings: `particles`, `steps`, `draws` (positive whole numbers), `seed` (a whole number), `precision` (`f32` or `f64`), `report(..)` (estimates to evaluate at the end; may be repeated).

```ppl
gen m() { x ~ normal(0, 1) }
fit m() with auto_normal
  using adam(0.05), particles 10, steps 1000, seed 1
```"#,
    },
];
