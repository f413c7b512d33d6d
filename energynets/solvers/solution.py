"""What every solver hands back."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int


class Solution(NamedTuple):
    """A minimiser and how far it can be trusted. Failure is data: nothing raises, nothing is NaN.

    value: the minimiser, in the shape and range that the solver's docstring states. Where
        `converged` is False it is still finite and in range.
    residual: how far the equations are from holding, in the units of `value`; inf if that cannot
        be computed because the inputs are not finite.
    steps: how many times `value` was improved: rounds of refinement, or iterations.
    converged: whether the tolerance was met.
    """

    value: Float[Array, "..."]
    residual: Float[Array, "*batch"]
    steps: Int[Array, "*batch"]
    converged: Bool[Array, "*batch"]
