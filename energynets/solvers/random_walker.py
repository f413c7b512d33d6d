"""The exact minimum of the random-walker energy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.energies.random_walker import edge_weights, energy
from energynets.seeded import Seeded
from energynets.solvers import block_tridiagonal
from energynets.solvers.solution import Solution
from energynets.solvers.stencil import Stencil

Scalar = float | Float[Array, ""]

# A substitution is right to a few hundred roundings, on any picture. A correction larger than
# this many is therefore the rounding of the residual, blown up by weakly held regions.
_TRUST = 1000
_MAX_ROUNDS = 10


@jax.jit
def solve(
    inputs: Seeded,
    *,
    beta: Scalar = 1000.0,
    seed_weight: Scalar = 1.0,
    floor: Scalar = 1e-6,
    tol: Scalar | None = None,
) -> Solution:
    """argmin over Y of `energies.random_walker.energy`: (L + λQ) Y = λ Q X.

    Direct: the rows of the picture are eliminated one after the other along its longer side, and
    the result is refined against the energy's own derivative. Work H·W³ and memory H·W² for W the
    shorter side, whatever beta, the floor and the seeds are.

    `value` is H×W×K in [0, 1] and sums to 1 over labels; a label without seeds is 0. Without any
    seeds (or with seed_weight 0) every constant is a minimiser, and it is 1/K; so is it at pixels
    that no edge joins to a seed, which takes a floor of 0. Differentiable in the image, the seeds,
    beta, seed_weight and the floor, forwards and backwards and repeatedly, by the implicit
    function theorem: the derivative costs one more substitution.

    `residual` is max |D⁻¹ (λ Q X - (L + λQ) Y)| with D the diagonal of L + λQ: how far a pixel's
    probability is from the weighted mean of its neighbours and its seed. It is that of the
    solution before it is brought to [0, 1]. A small residual alone does not prove a small error,
    since a region held by weak edges can move as a whole: `converged` asks, too, that the last
    round of refinement moved no probability by more than `tol`.

    Args:
        inputs: image H×W×C and seed planes H×W×K, one example. Computed in the image's type, in
            float32 at least.
        beta: sharpness of the edge weights, at least 0.
        seed_weight: λ, at least 0.
        floor: what is added to every edge weight, at least 0.
        tol: largest residual and largest last movement, in probability; eps^(2/3) if None, which
            is 2e-5 in float32 and 4e-11 in float64.

    Raises:
        ValueError: if image and seeds do not lie on the same grid.
    """
    if inputs.image.shape[:2] != inputs.seeds.shape[:2]:
        raise ValueError(
            "image H×W×C and seeds H×W×K must lie on the same grid, got "
            f"{inputs.image.shape} and {inputs.seeds.shape}"
        )
    dtype = jnp.promote_types(inputs.image.dtype, jnp.float32)
    image, seeds, beta, seed_weight, floor = (
        jnp.asarray(leaf, dtype) for leaf in (*inputs, beta, seed_weight, floor)
    )
    tol = jnp.asarray(jnp.finfo(dtype).eps ** (2 / 3) if tol is None else tol, dtype)

    # The energy is quadratic: its gradient is 2 (A y - b).
    gradient = jax.grad(
        lambda y: energy(Seeded(image, seeds), y, beta=beta, seed_weight=seed_weight, floor=floor)
    )
    zeros = jnp.zeros_like(seeds)

    def curvature(y: Array) -> Array:
        return jax.jvp(gradient, (zeros,), (y,))[1] / 2

    # L takes constants to 0, so what is left of them is what flows to the seeds. If nothing does,
    # every pixel is tied to 1/K: that constant is then the only solution, and still a minimiser.
    ground = jax.lax.stop_gradient(curvature(jnp.ones_like(seeds))[..., 0])
    loose = jnp.where(ground.max() > 0, 0, 1).astype(dtype)

    def matvec(y: Array) -> Array:
        return curvature(y) + loose * y

    rhs = -gradient(zeros) / 2 + loose / seeds.shape[-1]
    system = jax.lax.stop_gradient(_assemble(image, ground + loose, beta, floor))
    value, (steps, settled) = jax.lax.custom_linear_solve(
        matvec, rhs, lambda a, b: _refine(a, b, system, tol), symmetric=True, has_aux=True
    )
    error = jax.lax.stop_gradient(rhs - matvec(value)) / system.diagonal[..., None]
    residual = jnp.nan_to_num(jnp.abs(error).max(), nan=jnp.inf)
    return Solution(_probabilities(value), residual, steps, settled & (residual <= tol))


def stencil(
    inputs: Seeded, *, beta: Scalar = 1000.0, seed_weight: Scalar = 1.0, floor: Scalar = 1e-6
) -> Stencil:
    """L + λQ, half the second derivative of `energies.random_walker.energy`, for each label alike.

    Ranges as in `solve`. No conductance is negative.
    """
    image, seeds = inputs
    right = edge_weights(image, 1, beta=beta, floor=floor)
    down = edge_weights(image, 0, beta=beta, floor=floor)
    none = jnp.zeros_like(right, shape=image.shape[:2])
    right, down = jnp.pad(right, ((0, 0), (0, 1))), jnp.pad(down, ((0, 1), (0, 0)))
    return Stencil(seed_weight * seeds.sum(-1), jnp.stack([right, none, down, none]))


class _System(NamedTuple):
    factor: block_tridiagonal.Factor
    diagonal: Float[Array, "h w"]


def _assemble(image: Array, ground: Array, beta: Array, floor: Array) -> _System:
    right = edge_weights(image, 1, beta=beta, floor=floor)
    down = edge_weights(image, 0, beta=beta, floor=floor)
    diagonal = ground + sum(
        jnp.pad(right, ((0, 0), ends)) + jnp.pad(down, (ends, (0, 0))) for ends in ((0, 1), (1, 0))
    )
    if image.shape[0] < image.shape[1]:
        ground, right, down = ground.T, down.T, right.T
    with jax.default_matmul_precision("highest"):
        factor = block_tridiagonal.factor(ground, right, down)
    # A pixel without any edge or seed has no equation.
    return _System(factor, jnp.where(diagonal > 0, diagonal, 1))


def _refine(matvec, rhs: Array, system: _System, tol: Array) -> tuple[Array, tuple[Array, Array]]:
    """Substitute, then correct while that helps: the solution, the rounds, whether it settled."""
    wide = rhs.shape[0] < rhs.shape[1]
    trust = _TRUST * jnp.finfo(rhs.dtype).eps

    def correction(value: Array) -> Array:
        error = rhs - matvec(value)
        with jax.default_matmul_precision("highest"):
            if not wide:
                return block_tridiagonal.substitute(system.factor, error)
            return block_tridiagonal.substitute(system.factor, error.swapaxes(0, 1)).swapaxes(0, 1)

    def settled(value: Array, moved: Array) -> Array:
        return moved <= tol * jnp.abs(value).max()

    def unfinished(state: tuple) -> Array:
        value, moved, _, steps, helped = state
        return helped & (steps < _MAX_ROUNDS) & ~settled(value, moved)

    def improve(state: tuple) -> tuple:
        value, _, limit, steps, _ = state
        step = correction(value)
        moved = jnp.abs(step).max()
        helps = moved < limit  # False for NaN, so that `value` stays finite
        value = jnp.where(helps, value + step, value)
        return value, moved, jnp.minimum(moved, trust * jnp.abs(value).max()), steps + helps, helps

    infinite = jnp.asarray(jnp.inf, rhs.dtype)
    start = jnp.zeros_like(rhs), infinite, infinite, jnp.int32(0), jnp.asarray(True)
    value, moved, _, steps, _ = jax.lax.while_loop(unfinished, improve, start)
    return value, (steps, settled(value, moved))


def _probabilities(value: Array) -> Array:
    """`value` brought to [0, 1] with sum 1; differentiated as if nothing had been cut off.

    Exact solutions are not negative and sum to 1: what is cut off is rounding, and a sum that is
    nearly 0 means a pixel that no seed reaches.
    """
    positive = value + jax.lax.stop_gradient(jnp.maximum(value, 0) - value)
    total = positive.sum(-1, keepdims=True)
    reached = total > jnp.finfo(value.dtype).eps
    return jnp.where(reached, positive / jnp.where(reached, total, 1), 1 / value.shape[-1])
