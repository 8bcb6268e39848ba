"""Writes reference.tsv: values of the kernels' functions, computed with at least 40 digits and rounded to double.

Needs mpmath. A line is: kernel, arguments, value; all numbers are shortest decimal doubles.
"""
import random
from mpmath import mp, mpf, nan, inf
import mpmath as m

mp.dps = 60
random.seed(20240229)
U = random.uniform


def log_uniform(lo, hi):
    return 10 ** U(lo, hi)


def signed(f):
    return random.choice((-1, 1)) * f


def normal_cdf(x):
    return m.erfc(-x / m.sqrt(2)) / 2


def normal_quantile(p):
    # Solve in the lower tail, where digits are plenty.
    if p > mpf(1) / 2:
        return -normal_quantile(1 - p)
    start = -m.sqrt(-2 * m.log(p)) if p < 0.1 else (p - mpf(1) / 2) * m.sqrt(2 * m.pi)
    lp = m.log(p)
    x = start
    for _ in range(200):
        c = normal_cdf(x)
        step = (m.log(c) - lp) * c / m.npdf(x)
        x -= step
        if abs(step) < mpf(10) ** -50 * max(abs(x), mpf(10) ** -20):
            break
    return x


def gamma_p(a, x):
    return m.gammainc(a, 0, x, regularized=True)


def gamma_q(a, x):
    return m.gammainc(a, x, m.inf, regularized=True)


def gamma_draw_grad(a, x):
    h = mpf(10) ** -20
    d = (gamma_p(a + h, x) - gamma_p(a - h, x)) / (2 * h)
    return -d / m.exp((a - 1) * m.log(x) - x - m.loggamma(a))


def span(n, *fs):
    return [f() for _ in range(n) for f in fs]


real = lambda: signed(log_uniform(-8, 2.5))
small = lambda: U(-3, 3)
cases = {
    "exp": (m.exp, span(60, lambda: U(-745, 709), small, lambda: signed(log_uniform(-12, 0)))),
    "expm1": (m.expm1, span(60, lambda: U(-40, 709), small, lambda: signed(log_uniform(-12, 0)))),
    "log": (m.log, span(60, lambda: log_uniform(-320, 308), lambda: U(0.5, 2), lambda: 1 + signed(log_uniform(-12, -1)))),
    "log2": (lambda x: m.log(x) / m.log(2), span(60, lambda: log_uniform(-320, 308), lambda: U(0.5, 2))),
    "log1p": (m.log1p, span(60, lambda: log_uniform(-20, 308), lambda: U(-1, 2), lambda: signed(log_uniform(-12, -1)))),
    "sin": (m.sin, span(60, small, lambda: signed(log_uniform(-9, 5)), lambda: signed(log_uniform(5, 300)))),
    "cos": (m.cos, span(60, small, lambda: signed(log_uniform(-9, 5)), lambda: signed(log_uniform(5, 300)))),
    "tan": (m.tan, span(60, small, lambda: signed(log_uniform(-9, 5)), lambda: signed(log_uniform(5, 300)))),
    "asin": (m.asin, span(60, lambda: U(-1, 1), lambda: signed(log_uniform(-9, 0)))),
    "acos": (m.acos, span(60, lambda: U(-1, 1))),
    "atan": (m.atan, span(60, real)),
    "sinh": (m.sinh, span(60, small, real)),
    "cosh": (m.cosh, span(60, small, real)),
    "tanh": (m.tanh, span(60, small, lambda: signed(log_uniform(-9, 1.5)))),
    "sigmoid": (lambda x: 1 / (1 + m.exp(-x)), span(60, small, real, lambda: U(-745, 40))),
    "softplus": (lambda x: m.log1p(m.exp(x)), span(60, small, real, lambda: U(-740, 40))),
    "log_sigmoid": (lambda x: -m.log1p(m.exp(-x)), span(60, small, real, lambda: U(-40, 740))),
    "erf": (m.erf, span(60, small, lambda: signed(log_uniform(-9, 0.7)))),
    "erfc": (m.erfc, span(60, small, lambda: U(-5, 26))),
    "erf_inv": (m.erfinv, span(60, lambda: U(-1, 1), lambda: signed(log_uniform(-9, 0)))),
    "lgamma": (lambda x: m.log(abs(m.gamma(x))), span(60, lambda: log_uniform(-300, 300), lambda: U(0, 10), lambda: U(0.9, 2.1), lambda: U(-20, 0), lambda: float(random.randint(1, 60)))),
    "digamma": (m.digamma, span(60, lambda: log_uniform(-100, 100), lambda: U(0, 12), lambda: U(-10, 0))),
    "trigamma": (lambda x: m.psi(1, x), span(60, lambda: log_uniform(-100, 100), lambda: U(0, 12), lambda: U(-10, 0))),
    "normal_cdf": (normal_cdf, span(60, small, lambda: U(-37, 8))),
    "log_normal_cdf": (lambda x: m.log1p(-m.erfc(x / m.sqrt(2)) / 2) if x > 0 else m.log(normal_cdf(x)), span(60, small, lambda: U(-37, 8), lambda: -log_uniform(0, 2.5))),
    "normal_quantile": (normal_quantile, span(60, lambda: U(0, 1), lambda: log_uniform(-300, 0), lambda: 0.5 + signed(log_uniform(-8, -1)))),
    "log_add_exp": (lambda a, b: max(a, b) + m.log1p(m.exp(-abs(a - b))), [(U(-700, 700), U(-700, 700)) for _ in range(30)] + [(U(0, 5), U(0, 5)) for _ in range(60)]),
    "pow": (m.power, [(log_uniform(-5, 5), U(-20, 20)) for _ in range(60)]),
    "atan2": (lambda a, b: m.atan2(a, b), [(U(-3, 3), U(-3, 3)) for _ in range(60)]),
    "rem": (lambda a, b: a - b * m.floor(a / b), [(U(-99, 99), U(-3, 3)) for _ in range(60)]),
    "xlogy": (lambda a, b: a * m.log(b), [(U(-3, 3), log_uniform(-5, 5)) for _ in range(60)]),
    "xlog1py": (lambda a, b: a * m.log1p(b), [(U(-3, 3), log_uniform(-9, 5)) for _ in range(60)]),
    "lbeta": (lambda a, b: m.loggamma(a) + m.loggamma(b) - m.loggamma(a + b), [(log_uniform(-3, 6), log_uniform(-3, 6)) for _ in range(120)]),
}
PAIRS = []
for _ in range(160):
    a = log_uniform(-2, 4)
    PAIRS.append((a, max(a * (1 + U(-3, 3) / (a + 1) ** 0.5), 0.0) or a * 0.1))
for _ in range(60):
    PAIRS.append((log_uniform(-2, 1.5), log_uniform(-3, 2)))
cases["gamma_p"] = (gamma_p, PAIRS)
cases["gamma_q"] = (gamma_q, PAIRS)
cases["gamma_draw_grad"] = (gamma_draw_grad, [p for p in PAIRS if p[0] < 3000])
TRIPLES = [(log_uniform(-1, 1.3), log_uniform(-1, 1.3), U(0, 1)) for _ in range(80)]
for _ in range(40):
    a, b = log_uniform(1, 3), log_uniform(1, 3)
    mean = a / (a + b)
    TRIPLES.append((a, b, min(max(mean + U(-3, 3) * (mean * (1 - mean) / (a + b)) ** 0.5, 0.001), 0.999)))
cases["beta_inc"] = (lambda a, b, x: m.betainc(a, b, 0, x, regularized=True), TRIPLES)

with open("reference.tsv", "w") as out:
    for name, (f, points) in cases.items():
        for p in points:
            p = p if isinstance(p, tuple) else (p,)
            mp.dps = 700 if any(abs(x) > 1e5 for x in p) else 60
            if name == "gamma_draw_grad":
                mp.dps = 160
            if name == "erf_inv":
                mp.dps = 40
            v = f(*(mpf(x) for x in p))
            out.write("\t".join([name, *(repr(float(x)) for x in p), repr(float(m.re(v)))]) + "\n")
