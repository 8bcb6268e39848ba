//! E04xx: strategies, smoothness, estimates.

use super::{Code, CodeInfo};

pub(super) const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: Code("E0401"),
        name: "a program with factor is simulated",
        page: "`factor e` multiplies the density of a program by a number, so its draws no longer have a density that is known: the total is known only up to a constant. Such a program can be scored (as a model), not simulated (as a guide).\n\nUse `normalize p() by sir(guide(), 20)` to draw from it approximately, or move the factor to the model.",
    },
    CodeInfo {
        code: Code("E0402"),
        name: "a jump in a smooth value",
        page: "A learned parameter reaches a comparison, a rounding or an index by computation. The derivative of such a step is zero wherever it exists, and the jumps, which move the expectation too, would be missed: the gradient would be biased without a sign of it.\n\nGive the choice that the message names a strategy that does not differentiate through its value (`by reinforce`, `by measure_valued`, `by enumerate`), or write `assume_continuous { .. }` around the use where you know that the result has no jumps. Kinks (`abs`, `max`, `relu`, `clip`) are fine.",
    },
    CodeInfo {
        code: Code("E0403"),
        name: "no strategy for a choice",
        page: "The parameters of a choice are learned, but no gradient strategy was written and the compiler has none to pick for its distribution.\n\nWrite one: `x ~ d(..) by reinforce`.",
    },
    CodeInfo {
        code: Code("E0404"),
        name: "the result of k is not used linearly",
        page: "A strategy's continuation `k(x)` returns an unbiased estimate of the rest of the objective. Sums, differences and products with values that do not come from `k` keep it unbiased; `exp(k(x))` or `k(x) > 0` do not.\n\nWrite the strategy as a linear combination of calls of `k`.",
    },
    CodeInfo {
        code: Code("E0405"),
        name: "a product of two calls of k",
        page: "Calls of one `k` share their random numbers, so that differences of them have low variance. The expectation of their product is not the product of the expectations.\n\nWrite the strategy as sums and differences of calls of `k`.",
    },
    CodeInfo {
        code: Code("E0406"),
        name: "a distribution lacks a program",
        page: "A draw needs the distribution's `sample` program, a score its log density; the distribution was declared without.\n\nAdd it to the `dist` declaration.",
    },
    CodeInfo {
        code: Code("E0407"),
        name: "lanes of an enumerated choice are coupled",
        page: "A choice in a plate is summed over its values, one element at a time, which is exact where the objective is a sum over elements. Here some cost depends on several elements together (a product, `log_mean_exp`, a loop that carries a value), so that every combination has to be run: their number is exponential in that of the elements, and up to 16 of these are taken.\n\nUse `by local_expectation`, `by measure_valued` or `by reinforce` for this choice, or an objective that is a sum over elements.",
    },
    CodeInfo {
        code: Code("E0408"),
        name: "too many combinations",
        page: "Enumerated choices that depend on each other are run for every combination of their values, and the program became too large.\n\nUse another strategy for some of them.",
    },
    CodeInfo {
        code: Code("E0409"),
        name: "a moving support under a strategy that scores",
        page: "The score function differentiates the density at a fixed value. Where the support moves with the parameters (`uniform(a, b)` with learned bounds) it misses what enters and leaves the support.\n\nUse `by reparam`, or draw on fixed bounds and scale afterwards.",
    },
    CodeInfo {
        code: Code("E0412"),
        name: "a strategy does not fit a distribution",
        page: r#"A strategy states what it needs, a distribution what it can do:

| strategy | needs |
|---|---|
| `reparam` | a `sample` program that is smooth in the parameters |
| `enumerate` | a finite support |
| `implicit` | a `cdf` that is smooth in the value and the parameters |
| `reinforce` | a log density, and a support that parameters don't move |
| `measure_valued` | a program for the distribution, such as those for `flip`, `poisson`, `normal` and `gamma` |
| `importance(r)` | a log density, and a distribution `r` of the same type on the same support |

The note lists the strategies that work with this distribution, in the order in which the compiler prefers them. The same code reports distributions used for something that their declaration does not give: a draw without a `sample` program, a distribution function without a `cdf`, a sum over a support that can't be listed."#,
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

Move the function inside: `expect { log_mean_exp([for k in 5 { .. }]) }` is a lower bound, `iwelbo`, that grows tighter with the number of draws.

The log density of a program that loops over a minibatch is an estimate too: its mean over minibatches is the log density, and the mean of its exponential is not the density. `elbo` is linear in it; `iwelbo`, `cubo`, `marginal` and `normalize` are not. Where a bound of each datum is wanted, make it the objective: `sum(for n in minibatch(N, 64) { iwelbo(..) })`. Of an array over a minibatch only the sum and the mean say something of all data."#,
    },
    CodeInfo {
        code: Code("E0415"),
        name: "an objective is one number",
        page: r#"What is maximised or minimised, and what `expect { }` ends with, is one real number: not an array, not an int, not a program. Sum an array (`sum(..)`)."#,
    },
    CodeInfo {
        code: Code("E0416"),
        name: "a divergence that is not known",
        page: r#"`kl(d1, d2)` is the Kullback-Leibler divergence in closed form, which a distribution declares from each other one for which there is one:

```ppl
dist rayleigh(sigma: positive) on positive {
  log_density(x) = log(x) - 2 * log(sigma) - 0.5 * (x / sigma)^2
  sample = sigma * sqrt(-2 * log(random_uniform()))
  kl(rayleigh(s)) = 2 * log(s / sigma) + (sigma / s)^2 - 1
}
```

Both distributions have the same type and the same support, as far as it is known before running: bounds and numbers of trials are data or numbers. The note lists the pairs that are declared.

Where there is no closed form, estimate the divergence from draws, `log_density(d1, x) - log_density(d2, x)`; `analytic_elbo` does that for such choices by itself."#,
    },
    CodeInfo {
        code: Code("E0417"),
        name: "a trace of another program",
        page: r#"`expected_log_weight(p, q, t)` averages the log weight over choices of `t` whose distributions in `q` are known, so `t` must be a trace that `q` has just drawn: `let (t, _) = sim(q)` in the same block, with the same arguments. For other traces, and for a `q` that is detached after the draw, `log_density(p, t) - log_density(q, t)` has another mean than what would stand for it.

Draw the trace where it is used, or use log densities."#,
    },
    CodeInfo {
        code: Code("E0420"),
        name: "a marginal of a target is simulated",
        page: "`marginal { .. } of p() given { .. }` has a density: that of what is kept, together with what is given. Drawing from it would need the posterior, so it serves as a model, not as a guide.\n\nUse `normalize .. by sir(guide(), 20)` to draw from a posterior.",
    },
    CodeInfo {
        code: Code("E0421"),
        name: "a marginal or normalised program is run from part of its choices",
        page: "Without a proposal, what is integrated out is proposed by running the program itself, with the kept and given choices scored. A program inside it that is itself marginal or normalised can be scored or simulated as a whole only.\n\nName an algorithm with a proposal: `marginal { x } of p() by importance(proposal, 5)`.",
    },
    CodeInfo {
        code: Code("E0422"),
        name: "a program cannot be run step by step",
        page: "`smc` runs particles through the rounds of a program's loop and resamples them after each. The program must be one loop at its top level, with `carry` or reading earlier rounds, and statements before and after it. What is integrated out is chosen before the loop or in it, and densities after it depend on the last carried values, not on all of the loop's choices. A proposal has a loop of as many rounds.\n\nUse `importance` or `sir` for other programs.",
    },
    CodeInfo {
        code: Code("E0423"),
        name: "normalize without an algorithm",
        page: "A target has no density that could be computed by itself: `normalize` needs to know how the posterior is approached.\n\n- `by sir(q, N)`: `N` draws of a proposal `q`, one of them chosen by its weight;\n- `by smc(q, N)`: the same step by step, for programs that are a loop;\n- `by enumeration`: exactly, where all that is not given has finitely many values.",
    },
    CodeInfo {
        code: Code("E0424"),
        name: "an unknown algorithm",
        page: "The algorithms of `marginal` and `normalize` are `importance(q, N)` and `sir(q, N)` (the same weighted draws; a normalised program resamples one of them), `smc(q, N)` and `enumeration`. Without `q`, as in `importance(10)`, the program itself proposes.",
    },
    CodeInfo {
        code: Code("E0425"),
        name: "an integral without draws",
        page: "`importance`, `sir` and `smc` estimate an integral from draws; the last argument is their number, at least 1.",
    },
    CodeInfo {
        code: Code("E0426"),
        name: "a proposal does not fit",
        page: r#"A proposal makes exactly the choices that are integrated out, with their types and supports: a draw that it cannot make would be missing from the integral, without a sign of it.

```ppl
gen pair() {
  u ~ normal(0, 1)
  x ~ normal(u, 1)
}
gen aux(t: trace of pair) { u ~ normal(t.x / 2, 0.8) }
let only_x = marginal { x } of pair() by importance(aux, 5)
```

A proposal that takes an argument gets the trace of what is kept."#,
    },
    CodeInfo {
        code: Code("E0430"),
        name: "enumeration of infinitely many values",
        page: "Enumeration sums over choices with finitely many values that are known before running: `flip`, `categorical`, integers between known bounds.\n\nKeep the choice in the marginal, or integrate it out by `importance(proposal, 10)`.",
    },
    CodeInfo {
        code: Code("E0431"),
        name: "a posterior that cannot be drawn exactly",
        page: "The choices of the program are coupled so that all their combinations were summed one by one. That gives the exact density, but draws go choice by choice through tables, which need the choices to depend on each other in plates and chains.\n\nUse `normalize .. by sir(guide(), 20)`.",
    },
    CodeInfo {
        code: Code("E0432"),
        name: "an elimination that is too large",
        page: "Choices in a plate are summed element by element and the steps of a loop one after the other, which costs as much as the program itself times the number of values (squared, in a loop). The label says what stands against that here: a value that depends on several elements together, a carried value that depends on more than the choices of the step before, or tables of many choices at once. Then all combinations would have to be summed, and there are too many.\n\nUse `importance(proposal, 10)`, or keep the choices and give them a strategy in the guide.",
    },
    CodeInfo {
        code: Code("E0440"),
        name: "a parameter in two groups",
        page: r#"A fit with several objectives says which parameters learn from which: `maximize p_wake(10) over params(model), q_wake(10) over params(guide)`. A step moves each parameter once, by the gradient of one objective.

Add the two objectives up, or let the groups be disjoint."#,
    },
    CodeInfo {
        code: Code("E0441"),
        name: "a parameter in no group",
        page: r#"A fit with several objectives says which parameters learn from which, and every parameter that an objective uses is in one of the groups: `over params(model)`, `over params(guide)`, `over mu`, or several in parentheses. The same code reports an objective without a group beside others, and a group whose parameters its objective does not use.

Add the parameter to the group of the objective that is to train it."#,
    },
    CodeInfo {
        code: Code("E0442"),
        name: "a statement of strategies in another place",
        page: r#"A strategy can remember numbers from step to step and train parameters of its own:

```
strategy with_mean for d (k) {
  state b: real = 0
  let x = draw d
  let cost = k(x)
  set b = 0.9 * b + 0.1 * stop(cost)
  cost + stop(cost - b) * score(d, x)
}
```

`state`, `set` and `also_minimize` stand at the top of a strategy, not in its branches and loops. A state is a real number, is read as it was before the step, and is set exactly once."#,
    },
    CodeInfo {
        code: Code("E0443"),
        name: "other data that a program does not read",
        page: r#"`model() with data { x: v }` is the model with `v` where it reads the data `x`: simulated data in a sleep phase, new inputs of a prediction. The value has the data's type, sizes included. Data that the program does not read, sizes (they are part of types), and data from which a top-level `let` of the program is computed can't be replaced in this way.

Pass what varies as an argument of the program: `gen model(x: real[N])`."#,
    },
    CodeInfo {
        code: Code("E0450"),
        name: "estimates are compared",
        page: r#"Two estimates are compared, or one is picked by `max` or `min`. Estimates are random numbers: the larger of two is larger than either expectation, and which of them is larger changes from draw to draw. Nor does the comparison mean much where they are bounds: a higher lower bound may only be a tighter one, and a lower and an upper bound lie on different sides of the same number.

Report both after the fit, `using .., report(iwelbo(5))` or `--report 'iwelbo(5)'`: the command prints each with its direction and its Monte Carlo error, and the gap where there is a lower and an upper bound on the same evidence."#,
    },
    CodeInfo {
        code: Code("E0451"),
        name: "bounds on different evidences",
        page: r#"A `report` stands beside the fit's objective, so that a reader compares the two. Both are bounds, but of different quantities: evidences of different programs, or of one program with different given values or arguments. Such numbers say nothing about each other.

Report a bound on the evidence that the fit is about, or write a second `fit`."#,
    },
    CodeInfo {
        code: Code("E0452"),
        name: "a bound is moved away from its quantity",
        page: r#"A lower bound is tightened by maximising it, an upper bound by minimising it. The other way round the number moves away from the quantity that it bounds, without end.

The direction is inferred from the objective's text: `elbo` is a lower bound, `-elbo` an upper bound on the negative log evidence, `cubo` an upper bound on the squared evidence."#,
    },
    CodeInfo {
        code: Code("E0453"),
        name: "a biased objective",
        page: r#"The objective is made of importance weights, but its steps fight each other: the logarithm of a Monte Carlo mean is low on average, where the mean itself is high (`renyi` of order above 1, the logarithm of a Monte Carlo chi-square bound); a difference of two lower bounds; draws of an approximate posterior where the exact one is meant. Its expectation may lie on either side of the quantity, so its value must not be read as a bound. It can still be a good thing to optimise.

Report a bound beside it, `using adam(0.01), report(elbo)`, or use an objective without the step that turns: the chi-square bound is minimised as `cubo`, before its logarithm."#,
    },
    CodeInfo {
        code: Code("E0460"),
        name: "no gradient flows through an operation",
        page: "A learned parameter reaches an operation whose derivative does not exist or is not implemented, and the objective \
           depends on its result. The label says which operation and why.\n\n\
           Write the quantity with operations that have derivatives, detach the operand with `stop(..)` if its gradient is not \
           wanted, or give the choice involved a strategy that does not differentiate through its value, such as `reinforce`.",
    },
    CodeInfo {
        code: Code("E0470"),
        name: "a gradient estimator is refuted",
        page: "`ppl check-grad` drew the gradient many times, and its mean differs from the derivative of the objective's expectation by more than chance allows. The expectation is computed without any strategy, so a wrong strategy can't hide.\n\nThe label names the choice whose strategy is to blame: with another one for it alone, the gradient is right. Where no single choice repairs it, look at surrogates that are unbiased by their author's word only, `stop(v) + e - stop(e)`, at `assume_continuous`, and at strategies that several choices share.\n\nA right program is refuted with the probability of `--level`, one percent if nothing else is said: run again with another `--seed` and more `--draws`.",
    },
    CodeInfo {
        code: Code("E0471"),
        name: "no gradient to certify",
        page: "No parameter reaches the objective, so it has no gradient. Declare one, `param mu: real = 0.0`, and use it in the model or the guide.",
    },
    CodeInfo {
        code: Code("E0472"),
        name: "a gradient that is not finite",
        page: "A draw of the gradient is NaN or infinite, so it has no mean that `ppl check-grad` could compare and no variance that `ppl tune` could measure. `ppl fit` from the same parameters explains which expression it comes from.",
    },
    CodeInfo {
        code: Code("E0473"),
        name: "a gradient of something drawn",
        page: "`grad(e, x)` is the derivative of a value that is computed from `x`. A draw inside `e` would make it another value at each evaluation, and the derivative of one draw is not that of the expectation.\n\nDraw first and differentiate what is computed from the draw: `let (t, _) = sim(q)`, then `grad(log_density(p, t), t)`. Densities that are estimates (`marginal`, `normalize`, not by enumeration) draw as well, and have no gradient of this kind.",
    },
    CodeInfo {
        code: Code("E0474"),
        name: "a relaxed choice used as a discrete one",
        page: "Strategies such as `straight_through`, `gumbel_softmax` and `rebar` go on with a number between 0 and 1 in place of a truth value, and with a point of the simplex in place of an index, so that derivatives flow through it. The rest of the program must then take such values: `real(b)`, `select(b, x, y)`, an element `table[z]`, products, sums and log densities are extended linearly between the values; a branch `if b { .. }` makes its choices or it doesn't, and can't be taken by half.\n\nWrite the use as arithmetic, `select(b, x, y)` in place of `if b { x } else { y }`, or give the choice a strategy that keeps it discrete: `enumerate`, `measure_valued`, `disarm`, `reinforce`.",
    },
    CodeInfo {
        code: Code("E0475"),
        name: "a biased strategy",
        page: "The strategy of this choice is marked `biased strategy`: the mean of its gradient is not the gradient of the objective. A fit moves where the biased gradient leads, which may be somewhere else; `ppl check-grad` shows by how much the two differ here.\n\nThis is a warning. The compiler and `ppl tune` never pick such a strategy by themselves.",
    },
];
