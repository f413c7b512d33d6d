import numpy as np
import pytest
from PIL import Image

from tests.experiments.discs import TRAIN, VAL


@pytest.fixture
def root(tmp_path):
    """Six pictures of 32×32: a bright disc on a dark ground, one stroke on each."""
    folder = tmp_path / "pictures"
    for name in ("images", "scribbles", "masks"):
        (folder / name).mkdir(parents=True)
    rows, columns = np.mgrid[:32, :32]
    for number, name in enumerate(TRAIN + VAL):
        noise = np.random.default_rng(number).normal(0, 12, (32, 32, 3))
        disc = (rows - 14 - number) ** 2 + (columns - 16) ** 2 < 64
        image = np.where(disc[..., None], [200, 160, 90], [40, 60, 120]) + noise
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / "masks" / f"{name}.png")
        seeds = np.full((32, 32), 255, np.uint8)
        seeds[14 + number, 13:19], seeds[2, 3:29] = 1, 0
        Image.fromarray(seeds).save(folder / "scribbles" / f"{name}.png")
    (folder / "train.txt").write_text("\n".join(TRAIN))
    (folder / "val.txt").write_text("\n".join(VAL))
    return folder
