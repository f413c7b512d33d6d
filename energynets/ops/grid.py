"""The 4-neighbour grid by shifts: borders do not wrap, and no copies are stacked."""

from jaxtyping import Array, Float


def differences(array: Float[Array, "h w c"], axis: int) -> Float[Array, "..."]:
    """Next pixel minus this pixel along `axis` (0: downwards, 1: to the right).

    One shorter than `array` along `axis`; empty, not wrapped, where the array is one pixel wide.
    """
    if axis == 0:
        return array[1:] - array[:-1]
    if axis == 1:
        return array[:, 1:] - array[:, :-1]
    raise ValueError(f"axis must be 0 or 1, got {axis}")
