//! E04xx: strategies, smoothness, estimates.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0401"),
        name: "a program with a factor is simulated",
        page: r#"`factor e` adds `e` to a program's log density, so the density of its draws is known only up to a constant. Such a program can be a model, which is scored. It can't be simulated: it is no guide, and no argument of `sim`."#,
    },
    CodeInfo {
        code: Code("E0403"),
        name: "no strategy for a choice",
        page: r#"No strategy of the library fits the distribution of a choice and the way its value is used. Write one: `x ~ d by reinforce`."#,
    },
    CodeInfo {
        code: Code("E0404"),
        name: "a strategy that is no unbiased estimate",
        page: r#"A strategy must return an estimate whose mean is right because that of `k(x)` is. So it may add and subtract calls of its continuation `k`, sum them over a loop, and multiply them by values that do not come from `k`; it may not take a logarithm of `k(x)`, branch on it, or leave it out altogether."#,
    },
    CodeInfo {
        code: Code("E0405"),
        name: "a product of two calls of a continuation",
        page: r#"Calls of one continuation share their random numbers, which makes differences precise. The mean of a product of dependent estimates is not the product of their means. `fresh(k)(x)` draws its own random numbers; a product of a call of `k` and a call of `fresh(k)` is unbiased."#,
    },
    CodeInfo {
        code: Code("E0406"),
        name: "a distribution lacks a program",
        page: r#"A distribution can do what its declaration gives: `log_density(x)` to be scored, `sample` to be drawn. The use at the label needs one that is not there."#,
    },
    CodeInfo {
        code: Code("E0407"),
        name: "too many combinations to enumerate",
        page: r#"`enumerate` in a plate is cheap where the cost is a sum over the plate: each element is summed on its own. Here the cost couples the elements (a logarithm of a mean, a product), so every combination of all elements would count: a number exponential in the size of the plate. Use `measure_valued` or `reinforce` for this choice, or an objective that is a sum over elements."#,
    },
    CodeInfo {
        code: Code("E0408"),
        name: "the enumerated program is too large",
        page: r#"Choices that are enumerated one inside the other multiply the size of the program. Enumerate those that matter most and give the others another strategy."#,
    },
    CodeInfo {
        code: Code("E0412"),
        name: "a strategy does not fit a distribution",
        page: r#"A strategy states what it needs, a distribution what it can do:

| strategy | needs |
|---|---|
| `reparam` | a `sample` program that is smooth in the parameters |
| `enumerate` | a finite support |
| `reinforce` | a log density, and a support that parameters don't move |
| `measure_valued` | a program for the distribution: `flip`, `flip_logits`, `poisson` |

The note lists the strategies that work with this distribution, in the order in which the compiler prefers them. The same code reports distributions used for something that their declaration does not give: a draw without a `sample` program, a sum over a support that can't be listed."#,
    },
    CodeInfo {
        code: Code("E0413"),
        name: "an unknown strategy",
        page: r#"After `by` stands the name of a strategy of the library or of the file, with its arguments: `by reparam`, `by reinforce(0.5)`, `by reinforce(baseline = 0.5)`."#,
    },
    CodeInfo {
        code: Code("E0414"),
        name: "a nonlinear function of an estimate",
        page: r#"`expect { }` is an estimate: a random number whose mean is the expectation. Estimates are added and multiplied by numbers. The logarithm of an estimate has another mean than the logarithm of the expectation, so its gradient would be biased without a word.

Move the function inside: `expect { log_mean_exp([for k in 5 { .. }]) }` is a lower bound, `iwelbo`, that grows tighter with the number of draws."#,
    },
    CodeInfo {
        code: Code("E0415"),
        name: "an objective is one number",
        page: r#"What is maximised or minimised, and what `expect { }` ends with, is one real number: not an array, not an int, not a program. Sum an array (`sum(..)`)."#,
    },
    CodeInfo {
        code: Code("E0460"),
        name: "no gradient flows through an operation",
        page: "A learned parameter reaches an operation whose derivative does not exist or is not implemented, and the objective \
               depends on its result. The label says which operation and why.\n\n\
               Write the quantity with operations that have derivatives, detach the operand with `stop(..)` if its gradient is not \
               wanted, or give the choice involved a strategy that does not differentiate through its value, such as `reinforce`.",
    },
];
