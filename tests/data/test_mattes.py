import numpy as np
import pytest
from PIL import Image

from energynets.data import mattes
from energynets.errors import BadInputError


def test_every_trimap_of_a_picture_is_an_entry_of_its_own(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("images", "alphas", "trimaps1", "trimaps2"):
        (tmp_path / folder).mkdir()
    alphas = {}
    for name in ("a", "b"):
        image = random.integers(0, 256, (8, 10, 3)).astype(np.uint8)
        alphas[name] = random.integers(0, 256, (8, 10)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.jpg")
        Image.fromarray(alphas[name]).convert("RGB").save(tmp_path / "alphas" / f"{name}.png")
    trimap = np.full((8, 10), 102, np.uint8)
    trimap[0], trimap[-1] = 0, 255
    for path in ("trimaps1/a", "trimaps1/b", "trimaps2/b", "trimaps2/c"):
        Image.fromarray(trimap).save(tmp_path / f"{path}.png")
    source = mattes.Mattes(tmp_path)
    entries = [source[i] for i in range(len(source))]
    assert [(e.name, e.kind) for e in entries] == [
        ("a", "trimaps1"),
        ("b", "trimaps1"),
        ("b", "trimaps2"),
    ]
    np.testing.assert_allclose(entries[1].alpha, alphas["b"] / 255, atol=1e-6)
    assert set(np.unique(entries[0].trimap)) == {0, 128, 255}
    Image.fromarray(trimap[1:]).save(tmp_path / "trimaps2" / "b.png")
    with pytest.raises(BadInputError, match="size of its image, 10×8, got 10×7"):
        source[2]


def test_a_folder_without_mattes_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="got none"):
        mattes.Mattes(tmp_path)


def test_embedded_trimaps_are_right_wherever_they_are_sure():
    source = mattes.EmbeddedMattes(size=48)
    assert len(source) == 80
    narrow, wide = source[6], source[7]
    assert (narrow.kind, wide.kind) == ("narrow", "wide") and narrow.name == wide.name
    for known in (narrow, wide):
        assert (known.alpha[known.trimap == 0] == 0).all()
        assert (known.alpha[known.trimap == 255] == 1).all()
    assert (wide.trimap == 128).sum() > (narrow.trimap == 128).sum()
