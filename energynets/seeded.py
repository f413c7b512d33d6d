"""The input of every energy that is steered by seeds."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Seeded(NamedTuple):
    """A picture and what somebody said about a few of its pixels.

    image: H×W×C, any number of channels, values in [0, 1].
    seeds: H×W×K planes in {0, 1}, one for each label; at most one plane is 1 at a pixel, and
        none where nothing is known.
    """

    image: Float[Array, "h w c"]
    seeds: Float[Array, "h w k"]
