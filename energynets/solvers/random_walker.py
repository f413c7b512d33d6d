"""The exact minimum of the random-walker energy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from energynets.energies.random_walker import edge_weights, energy
from energynets.seeded import Seeded
from energynets.solvers import quadratic
from energynets.solvers.nested_dissection import Factor
from energynets.solvers.solution import Solution
from energynets.solvers.star_mesh import settled
from energynets.solvers.stencil import Stencil

Scalar = float | Float[Array, ""]


@functools.partial(jax.jit, static_argnames=("again", "method"))
def solve(
    inputs: Seeded,
    *,
    beta: Scalar = 1000.0,
    seed_weight: Scalar = 1.0,
    floor: Scalar = 1e-6,
    tol: Scalar | None = None,
    start: Float[Array, "h w k"] | None = None,
    factor: Factor | None = None,
    again: bool = False,
    method: quadratic.Method = "auto",
) -> Solution:
    """argmin over Y of `energies.random_walker.energy`: (L + λQ) Y = λ Q X.

    The labels of a pixel sum to 1, so that K-1 planes are solved for: Y = 1/K + Z V with
    orthonormal directions V, along which the energy falls apart into that of each plane.

    Direct: nested dissection without any cancellation, refined against the energy's own
    derivative; see `quadratic.minimise`. Work of order N^1.5 and memory N log N for N pixels,
    whatever beta, the floor and the seeds are.

    `value` is H×W×K in [0, 1] and sums to 1 over labels; a label without seeds is 0. Without any
    seeds (or with seed_weight 0) every constant is a minimiser, and it is 1/K; so is it at pixels
    that no edge joins to a seed, which takes a floor of 0. Differentiable in the image, the seeds,
    beta, seed_weight and the floor, forwards and backwards and repeatedly, by the implicit
    function theorem: the derivative costs one more substitution.

    `residual` is max |D⁻¹ (λ Q X - (L + λQ) Y) Vᵀ| with D the diagonal of L + λQ: how far a pixel's
    probabilities are from the weighted mean of its neighbours and its seed, √2 times the distance
    of either where there are two labels. It is that of the solution before it is brought to
    [0, 1]. A small residual alone does not prove a small error, since a region held by weak edges
    can move as a whole: `converged` asks, too, that the last round of refinement moved Z by no
    more than `tol`.

    Args:
        inputs: image H×W×C and seed planes H×W×K, one example. Computed in the image's type, in
            float32 at least.
        beta: sharpness of the edge weights, at least 0.
        seed_weight: λ, at least 0.
        floor: what is added to every edge weight, at least 0.
        tol: largest residual and largest last movement, in probability; eps^(2/3) if None, which
            is 2e-5 in float32 and 4e-11 in float64.
        start: where to begin, H×W×K; 1/K if None. It stays where no seed reaches.
        factor: of `stencil`, from `nested_dissection.keep` and, after a stroke more, `update`, for
            a fraction of a new factor's time. Give the solution before it as `start` as well. One
            of `stencil` for other seeds may do, too: it takes more steps, and gives way to a new
            factor after 12.
        again: whether a factor in float64 may take over where one in float32 does not do, as it
            may not in float64 below floors of some 1e-9. Doubles the time to compile.
        method: "direct", "iterative", or by size, see `quadratic.minimise`.

    Raises:
        ValueError: if image and seeds do not lie on the same grid, or start has another shape.
    """
    if start is not None and start.shape != inputs.seeds.shape:
        raise ValueError(
            f"start must be H×W×K like the seeds, got {start.shape} and {inputs.seeds.shape}"
        )
    if inputs.image.shape[:2] != inputs.seeds.shape[:2]:
        raise ValueError(
            "image H×W×C and seeds H×W×K must lie on the same grid, got "
            f"{inputs.image.shape} and {inputs.seeds.shape}"
        )
    dtype = jnp.promote_types(inputs.image.dtype, jnp.float32)
    image, seeds, beta, seed_weight, floor = (
        jnp.asarray(leaf, dtype) for leaf in (*inputs, beta, seed_weight, floor)
    )

    # Without anything that holds it, every constant is a minimum: each pixel is then tied to 1/K.
    held = (jax.lax.stop_gradient(seed_weight * seeds.sum(-1)) != 0).any()
    given = Seeded(image, jnp.where(held, seeds, 1 / seeds.shape[-1]))
    strengths = {"beta": beta, "seed_weight": jnp.where(held, seed_weight, 1), "floor": floor}
    basis = jnp.asarray(_directions(seeds.shape[-1]), dtype)

    def probabilities(z: Array) -> Array:
        return 1 / seeds.shape[-1] + jnp.matmul(z, basis, precision="highest")

    def of(z: Array) -> Array:
        # Once: computed anew for each neighbour, rounded otherwise, what flows from a pixel to the
        # next would not be what arrives there.
        return energy(given, settled(probabilities, z), **strengths)

    def coordinates(planes: Array) -> Array:
        return jnp.matmul(planes, basis.T, precision="highest")

    solution = quadratic.minimise(
        of,
        jnp.zeros_like(seeds[..., : basis.shape[0]]),
        matrix=stencil(given, **strengths),
        factor=factor,
        start=None if start is None else coordinates(jnp.asarray(start, dtype)),
        tol=tol,
        again=again,
        method=method,
        size=1.0,
    )
    # What no seed reaches keeps coordinates of 0; elsewhere, labels without seeds have none.
    reached = (solution.value != 0).any(-1, keepdims=True)
    possible = (given.seeds > 0).any((0, 1)) | ~reached
    return solution._replace(value=_cut_to_probabilities(probabilities(solution.value), possible))


@jax.jit
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


def _directions(labels: int) -> np.ndarray:
    """(K-1)×K: an orthonormal basis of what can be added to probabilities; 1×1 for one label."""
    return scipy.linalg.helmert(labels) if labels > 1 else np.ones((1, 1))


def _cut_to_probabilities(value: Array, possible: Array) -> Array:
    """`value` in [0, 1] with sum 1, and 0 for what is not possible; differentiated as if not cut.

    The exact solution is that, so that what is cut off is rounding.
    """
    allowed = jnp.where(possible, jnp.maximum(value, 0), 0)
    positive = value + jax.lax.stop_gradient(allowed - value)
    return positive / positive.sum(-1, keepdims=True)
