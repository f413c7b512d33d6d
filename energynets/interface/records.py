"""What `segment`, `matte` and `dehaze` give back."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

# For one picture there is no leading axis `b`, and the numbers are plain Python numbers.
Number = float | Float[np.ndarray, " b"]
Count = int | Int[np.ndarray, " b"]
Truth = bool | Bool[np.ndarray, " b"]


class Segmentation(NamedTuple):
    """Labels that spread from seeds.

    labels: (B×)H×W, the most probable label at each pixel.
    probabilities: (B×)H×W×K in [0, 1], summing to 1.
    names: K, the label that each plane of `probabilities` stands for.
    energy: of `probabilities`.
    residual: how far the equations of the minimum are from holding; of the solution before it was
        brought to [0, 1]. nan where no equation was solved.
    converged: whether the solver's tolerance was met; False where no equation was solved.
    steps: of the solver at full size.
    gap: energy less that of the exact minimum, over the latter; None where not asked for.
    """

    labels: UInt8[np.ndarray, "*b h w"]
    probabilities: Float32[np.ndarray, "*b h w k"]
    names: UInt8[np.ndarray, " k"]
    energy: Number
    residual: Number
    converged: Truth
    steps: Count
    gap: Number | None = None


class Matte(NamedTuple):
    """The foreground's share of each pixel.

    alpha: (B×)H×W in [0, 1], clipped.
    energy, residual, gap: of the solution before it was clipped, which may lie outside [0, 1].
    converged, steps: as in `Segmentation`.
    """

    alpha: Float32[np.ndarray, "*b h w"]
    energy: Number
    residual: Number
    converged: Truth
    steps: Count
    gap: Number | None = None


class Dehazing(NamedTuple):
    """A picture without its haze.

    image: (B×)H×W×C in [0, 1], clipped (or stretched, if that was asked for).
    transmission: (B×)H×W in [0, 1], clipped: how much of the light came through.
    airlight: (B×)C, the colour of the haze.
    energy, residual, converged, steps, gap: as in `Matte`, of the transmission.
    """

    image: Float32[np.ndarray, "*b h w c"]
    transmission: Float32[np.ndarray, "*b h w"]
    airlight: Float32[np.ndarray, "*b c"]
    energy: Number
    residual: Number
    converged: Truth
    steps: Count
    gap: Number | None = None


def unbatched(records: list, one: bool) -> Any:
    """One record for a batch, its arrays stacked; or the only one, as it is."""
    if one:
        return records[0]
    first = records[0]
    fields = {}
    for name in first._fields:
        values = [getattr(record, name) for record in records]
        shared = name == "names" or values[0] is None
        fields[name] = values[0] if shared else np.stack(values)
    return type(first)(**fields)
