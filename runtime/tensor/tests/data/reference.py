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


def vm_density(t, k):
    return m.exp(k * m.cos(t)) / (2 * m.pi * m.besseli(0, k))


def von_mises_cdf(x, k):
    turns = m.floor((x + m.pi) / (2 * m.pi))
    y = x - 2 * m.pi * turns
    if y > 0:
        return turns + 1 - left(-y, k)
    return turns + left(y, k)


def panels(lo, hi, k):
    # Where the integrand is not negligible, in steps of its scale.
    lo = max(lo, hi - 60 / m.sqrt(k + 1))
    n = 2 + int((hi - lo) * m.sqrt(k + 1))
    return m.linspace(lo, hi, n + 1)


def left(y, k):
    return m.quad(lambda t: vm_density(t, k), panels(-m.pi, y, k))


def von_mises_draw_grad(x, k):
    a = m.besseli(1, k) / m.besseli(0, k)
    y = -abs(x)
    d = m.quad(lambda t: (a - m.cos(t)) * m.exp(k * (m.cos(t) - m.cos(y))), panels(-m.pi, y, k))
    return d if x <= 0 else -d


def von_mises_quantile(p, k):
    # From the angle that the point was made from, which is as good as 16 digits.
    y = mpf(STARTS[float(p), float(k)])
    return y - (von_mises_cdf(y, k) - p) / vm_density(y, k)


STARTS = {}


def quantile_point(y, k):
    p = float(von_mises_cdf(mpf(y), mpf(k)))
    STARTS[p, k] = y
    return p, k


def beta_draw_grad(a, b, x):
    h = mpf(10) ** -20
    f = lambda a: m.betainc(a, b, 0, x, regularized=True)
    d = (f(a + h) - f(a - h)) / (2 * h)
    return -d / (m.power(x, a - 1) * m.power(1 - x, b - 1) / m.beta(a, b))


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
cases["log_bessel_i0"] = (lambda x: m.log(m.besseli(0, x)), span(40, lambda: log_uniform(-6, 1.4), lambda: U(-40, 40), lambda: log_uniform(1, 4)))
cases["bessel_ratio"] = (lambda x: m.besseli(1, x) / m.besseli(0, x), span(40, lambda: log_uniform(-6, 1.4), lambda: U(-40, 40), lambda: log_uniform(1, 4)))
ANGLES = [(U(-3.14, 3.14), log_uniform(-3, 1)) for _ in range(60)]
for _ in range(40):
    k = log_uniform(0, 4)
    ANGLES.append((U(-3, 3) * min(1, 2 / k ** 0.5), k))
cases["von_mises_cdf"] = (von_mises_cdf, ANGLES + [(U(-20, 20), U(0.1, 5)) for _ in range(10)])
cases["von_mises_draw_grad"] = (von_mises_draw_grad, ANGLES)
mp.dps = 40
cases["von_mises_quantile"] = (von_mises_quantile, [quantile_point(y, k) for y, k in ANGLES if y < 1])
mp.dps = 60
cases["beta_draw_grad"] = (beta_draw_grad, TRIPLES)

with open("reference.tsv", "w") as out:
    for name, (f, points) in cases.items():
        for p in points:
            p = p if isinstance(p, tuple) else (p,)
            mp.dps = 700 if any(abs(x) > 1e5 for x in p) else 60
            if name == "gamma_draw_grad":
                mp.dps = 160
            if name == "beta_draw_grad":
                mp.dps = 60
            if name.startswith("von_mises"):
                mp.dps = 40
            if name == "erf_inv":
                mp.dps = 40
            v = f(*(mpf(x) for x in p))
            out.write("\t".join([name, *(repr(float(x)) for x in p), repr(float(m.re(v)))]) + "\n")
