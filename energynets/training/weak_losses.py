"""Energies of a segmentation beside the few labels that are known, from a config's plain numbers.

Functions of one picture; `settings` are those of `DEFAULTS`, such as config.loss.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from energynets.data.weak_labels import Example
from energynets.energies import dense_crf, image_tags, normalized_cut, partial_cross_entropy
from energynets.ops import bilateral
from energynets.solvers import mean_field

DEFAULTS = {
    "crf": 0.0,  # weight of the dense CRF, as a share of all affinity
    "cut": 0.0,  # of normalized cut
    "kernel_cut": 0.0,  # of dense CRF + gamma · normalized cut
    "gamma": 0.3,
    "expansion": 0.0,  # of SEC's loss of tags, beside the labels, from the first step on
    "boundary": 0.0,  # of SEC's agreement with mean field, set as for post-processing
    "sigma_position": 0.25,  # in sides of the picture: 80 pixels of 320
    "sigma_colour": 13 / 255,
    # Of the filter, as `splits` in `ops.bilateral`: coarser than its (8, 8) of 64, which
    # takes a third more of a step; filtered planes are up to 4 % off at 64×64.
    "leaves": (8, 4),
    "landmarks": 32,
    "from_step": 500,  # the first phase, cross entropy alone, ends here
    "crf_by": "descent",  # or proposals: ADM, cross entropy on mean-field proposals
    "rounds": 5,  # of mean field, in ADM's proposals and in the boundary loss
}
ENERGIES = ("crf", "cut", "kernel_cut", "boundary")  # of the prediction, from from_step on

Settings = Any  # a mapping with attributes, such as ConfigDict
Planes = Float[Array, "h w k"]


def name(settings: Settings) -> str:
    """What has a weight, in words: "1 CRF + 0.1 normalized cut"; "" where nothing has."""
    crf = "CRF by ADM" if settings.crf_by == "proposals" else "CRF"
    kernel_cut = f"kernel cut of γ {settings.gamma:g}"
    names = {"cut": "normalized cut", "crf": crf, "kernel_cut": kernel_cut}
    names |= {"expansion": "expansion", "boundary": "boundary"}
    return " + ".join(f"{settings[key]:g} {name}" for key, name in names.items() if settings[key])


def kernel(settings: Settings, size: int) -> dict[str, Any]:
    """What the dense kernel of S×S pixels is, for energies and mean field alike."""
    return {
        "sigma_position": settings.sigma_position * size,
        "sigma_colour": settings.sigma_colour,
        "splits": tuple(settings.leaves),
        "landmarks": settings.landmarks,
    }


def field(settings: Settings, image: Float[Array, "s s 3"]) -> mean_field.Field:
    """Both kernels of mean field; the narrow one is 3 pixels of 320 wide."""
    size = image.shape[0]
    smooth = {"sigma_smooth": 3 * size / 320, "radius": max(1, size // 16)}
    return mean_field.field(image, **smooth, **kernel(settings, size))


def energies(
    settings: Settings, crf: mean_field.Parameters, example: Example, probabilities: Planes
) -> dict[str, Array]:
    """crf: the dense CRF as a share of all affinity; cut: normalized cut; boundary: SEC's third
    loss, how far the network is from what mean field of weights `crf` makes of it, if it counts."""
    of = bilateral.affinity(example.image, **kernel(settings, example.image.shape[0]))
    found = {
        "crf": dense_crf.share_of_affinity(of, probabilities),
        "cut": normalized_cut.of_affinity(of, probabilities, example.present),
    }
    if settings.boundary:
        scores = jnp.log(jnp.maximum(probabilities, 1e-7))
        made = field(settings, example.image)
        refined = mean_field.solve(made, scores, crf, steps=settings.rounds).value
        found["boundary"] = image_tags.boundary(refined, probabilities)
    return found


def total(settings: Settings, energies: dict[str, Array]) -> Array:
    """`energies` by their weights."""
    weights = {
        "crf": settings.crf + settings.kernel_cut,
        "cut": settings.cut + settings.gamma * settings.kernel_cut,
        "boundary": settings.boundary,
    }
    # What has no weight is left out, so that it is not computed for this alone.
    terms = (weight * energies[key] for key, weight in weights.items() if weight)
    return sum(terms, jnp.zeros_like(energies["crf"]))


def divergence(settings: Settings, example: Example, probabilities: Planes) -> Float[Array, ""]:
    """ADM: cross entropy of the network on the dense CRF's proposals, a mean over free pixels."""
    of = bilateral.affinity(example.image, **kernel(settings, example.image.shape[0]))
    free = 1 - example.known.max(-1, keepdims=True)
    weight = settings.crf * free.sum() / bilateral.apply(of, jnp.ones_like(free)).sum()
    how = {"weight": weight, "steps": settings.rounds}
    found = mean_field.propose(of, probabilities, example.known, **how)
    wanted = jax.lax.stop_gradient(found.value) * free
    return partial_cross_entropy.energy(wanted, probabilities) / jnp.maximum(free.sum(), 1)


def regularizer(
    settings: Settings, crf: mean_field.Parameters, example: Example, probabilities: Planes
) -> Float[Array, ""]:
    """What the second phase adds: `total`, or with crf_by=proposals `divergence`."""
    if settings.crf_by == "proposals":
        return divergence(settings, example, probabilities)
    return total(settings, energies(settings, crf, example, probabilities))


def of_tags(present: Float[Array, " k"], probabilities: Planes) -> Float[Array, ""]:
    """SEC's expansion with the published decays, which belong to planes of 41×41, for this size."""
    height, width = probabilities.shape[:2]
    published = {"decay_present": 0.996, "decay_absent": 0.0, "decay_background": 0.999}
    share = 41**2 / (height * width)
    decays = {name: decay**share for name, decay in published.items()}
    return image_tags.expansion(present, probabilities, **decays)
