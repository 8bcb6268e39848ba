"""Ten independent Bernoulli(0.3) latents b_i; observe y = 2.0 with y ~ N(sum_i 0.3*(i+1)*b_i, 0.5).
Guide: b_i ~ Bernoulli(sigmoid(phi_i)), phi_i = 0.1 (not 0: NumPyro 0.22's Bernoulli(logits=0) has a
wrong derivative exactly at 0, where max(x, 0) has its kink).  One REINFORCE gradient of the ELBO with 1000 particles.
--peer jax | genjax | numpyro | pyro (genjax and pyro need environments of their own).

jax, genjax: plain REINFORCE.  numpyro: TraceGraph_ELBO.  pyro: Trace_ELBO and TraceGraph_ELBO (both
Rao-Blackwellise over the plate of latents where they can)."""
import common
p = common.parser(__doc__)
p.add_argument("--peer", choices=["jax", "genjax", "numpyro", "pyro"], default="jax")
p.add_argument("--novalidate", action="store_true")
args = p.parse_args()
common.setup(args)

import time
t_imp = time.perf_counter()
P, D, Y, SD = 1000, 10, 2.0, 0.5


def stats(grads):
    """Mean and mean standard deviation over the ten coordinates, to check peers against each other."""
    import numpy as np
    g = np.asarray(grads)
    return dict(grad_mean=[round(float(v), 3) for v in g.mean(0)], grad_sd=round(float(g.std(0).mean()), 3))


if args.peer == "pyro":
    import warnings
    warnings.filterwarnings("ignore")
    import torch
    import pyro
    import pyro.distributions as dist
    from pyro.infer import Trace_ELBO, TraceGraph_ELBO
    import_s = time.perf_counter() - t_imp
    if args.threads:
        torch.set_num_threads(args.threads)
    pyro.enable_validation(not args.novalidate)
    torch.distributions.Distribution.set_default_validate_args(not args.novalidate)
    W = 0.3 * torch.arange(1.0, D + 1)

    def model():
        with pyro.plate("D", D, dim=-1):
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.3)))
        pyro.sample("y", dist.Normal((W * b).sum(-1, keepdim=True), SD), obs=torch.tensor(Y))

    def guide():
        phi = pyro.param("phi", torch.full((D,), 0.1))
        with pyro.plate("D", D, dim=-1):
            pyro.sample("b", dist.Bernoulli(logits=phi))

    for cls in (Trace_ELBO, TraceGraph_ELBO):
        loss = cls(num_particles=P, vectorize_particles=True, max_plate_nesting=1)

        def grad():
            pyro.clear_param_store()
            t = loss.loss_and_grads(model, guide)
            return pyro.param("phi").unconstrained().grad
        t0 = time.perf_counter()
        grad()
        first = time.perf_counter() - t0
        t = common.time_calls(grad)
        g = [-grad().clone().numpy() for _ in range(200)]
        common.emit(args, "discrete", "pyro", estimator=cls.__name__, validation=not args.novalidate, particles=P,
                    import_s=round(import_s, 3), first_call_s=round(first, 3), libs=("torch", "pyro-ppl"), **stats(g), **t)
    raise SystemExit

import jax
import jax.numpy as jnp
W = 0.3 * jnp.arange(1.0, D + 1)
phi0 = jnp.full(D, 0.1)


def log_joint(b):
    """log p(b, y) for one particle or a batch of them."""
    lp = jnp.sum(b * jnp.log(0.3) + (1 - b) * jnp.log(0.7), -1)
    return lp - 0.5 * jnp.square((Y - jnp.sum(W * b, -1)) / SD) - jnp.log(SD) - 0.9189385332046727


if args.peer == "jax":
    def surrogate(phi, key):
        b = jax.random.bernoulli(key, jax.nn.sigmoid(phi), (P, D)).astype(jnp.float32)
        lq = jnp.sum(b * phi - jax.nn.softplus(phi), -1)
        f = log_joint(b) - lq
        return jnp.mean(f + jax.lax.stop_gradient(f) * lq)
    grad = jax.grad(surrogate)
    forms = {"reinforce": lambda phi, key: grad(phi, key)}
elif args.peer == "numpyro":
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import TraceGraph_ELBO

    def model():
        with numpyro.plate("D", D):
            b = numpyro.sample("b", dist.Bernoulli(0.3))
        numpyro.sample("y", dist.Normal(jnp.sum(W * b), SD), obs=Y)

    def guide():
        phi = numpyro.param("phi", phi0)
        with numpyro.plate("D", D):
            numpyro.sample("b", dist.Bernoulli(logits=phi))
    loss = TraceGraph_ELBO(num_particles=P)
    forms = {"TraceGraph_ELBO": lambda phi, key: -jax.grad(
        lambda q: loss.loss(key, {"phi": q}, model, guide))(phi)}
else:
    from genjax import flip, flip_reinforce, gen, normal
    from genjax.adev import expectation
    from genjax.inference.vi import elbo_factory
    from genjax.pjax import seed

    @gen
    def gmodel():
        s = 0.0
        for i in range(D):
            s = s + W[i] * jnp.where(flip_reinforce(0.3) @ f"b{i}", 1.0, 0.0)
        normal(s, SD) @ "y"

    @gen
    def gguide(constraint, phi):
        for i in range(D):
            flip_reinforce(jax.nn.sigmoid(phi[i])) @ f"b{i}"

    # Ten scalar REINFORCE sites per particle, particles by vmap over keys.
    one = jax.vmap(seed(elbo_factory(gmodel, gguide, {"y": Y}).grad_estimate), in_axes=(0, None))
    forms = {"flip_reinforce": lambda phi, key: jnp.mean(one(jax.random.split(key, P), phi), 0)}

import_s = time.perf_counter() - t_imp
for name, form in forms.items():
    t0 = time.perf_counter()
    low = jax.jit(form).lower(phi0, jax.random.PRNGKey(0))
    t1 = time.perf_counter()
    f = low.compile()
    t2 = time.perf_counter()
    key = jax.random.PRNGKey(0)
    t = common.time_calls(lambda: jax.block_until_ready(f(phi0, key)))
    g = [f(phi0, jax.random.PRNGKey(i)) for i in range(200)]
    common.emit(args, "discrete", args.peer, estimator=name, particles=P, import_s=round(import_s, 3),
                trace_s=round(t1 - t0, 3), compile_s=round(t2 - t1, 3),
                libs=("jax", "jaxlib", "numpyro" if args.peer == "numpyro" else "genjax"), **stats(g), **t)
