import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from energynets.errors import BadInputError
from energynets.interface import inputs

BYTES = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
FLOATS = BYTES.astype(np.float32) / 255


@pytest.mark.parametrize(
    "given",
    [
        BYTES,
        BYTES.astype(np.uint16) * 257,
        FLOATS,
        FLOATS.astype(np.float64),
        jnp.asarray(FLOATS),
        jnp.asarray(BYTES),
        Image.fromarray(BYTES),
        Image.fromarray(np.dstack([BYTES, np.full((5, 7), 9, np.uint8)])),
    ],
)
def test_every_kind_of_picture_is_the_same_floats(given):
    found = inputs.pictures(given)
    assert found.one and found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, FLOATS[None], atol=1e-6)


def test_grey_pictures_and_batches_have_their_shapes():
    assert inputs.pictures(FLOATS[..., 0]).values.shape == (1, 5, 7, 1)
    assert inputs.pictures(Image.fromarray(BYTES[..., 0])).values.shape == (1, 5, 7, 1)
    batch = np.stack([FLOATS, FLOATS])
    for given in (batch, [FLOATS, BYTES], [Image.fromarray(BYTES), FLOATS]):
        found = inputs.pictures(given)
        assert not found.one and found.values.shape == (2, 5, 7, 3)
        np.testing.assert_allclose(found.values, batch, atol=1e-6)
    half = jnp.asarray(FLOATS, jnp.bfloat16)
    np.testing.assert_allclose(inputs.pictures(half).values[0], FLOATS, atol=4e-3)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (FLOATS * 2, "floats in"),
        (FLOATS - 0.5, "floats in"),
        (np.full((3, 3, 3), np.nan), "finite"),
        (np.full((3, 3, 3), np.inf), "finite"),
        (np.zeros((3, 3, 3), int), "got int64"),
        (np.zeros((3, 3, 3), complex), "got complex128"),
        (np.zeros(3), r"got shape \(3,\)"),
        (np.zeros((0, 3, 3)), "at least one pixel"),
        (np.zeros((2, 3, 0)), "at least one pixel"),
        ([], "empty list"),
        ([FLOATS, FLOATS[1:]], "of one size, got 4×7×3, 5×7×3"),
        ("picture.png", "got <U11"),
        (None, "got object"),
    ],
)
def test_what_is_no_picture_is_refused(given, told):
    with pytest.raises(BadInputError, match=f"^image: .*{told}"):
        inputs.pictures(given)


MAP = np.full((5, 7), 255)
MAP[0, :3], MAP[3, 2:5] = 4, 9
PLANES = np.stack([MAP == 4, MAP == 9], -1)


@pytest.mark.parametrize(
    "given",
    [MAP, MAP.astype(np.uint8), jnp.asarray(MAP), Image.fromarray(MAP.astype(np.uint8)), MAP[None]],
)
def test_maps_of_labels_become_planes_of_those_that_occur(given):
    found = inputs.seeds(given, inputs.pictures(FLOATS))
    assert found.labels.tolist() == [4, 9]
    np.testing.assert_array_equal(found.planes, PLANES[None])


@pytest.mark.parametrize("given", [PLANES, PLANES.astype(np.float32), jnp.asarray(PLANES)])
def test_planes_stay_and_are_named_by_their_number(given):
    found = inputs.seeds(given, inputs.pictures(FLOATS))
    assert found.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(found.planes, PLANES[None])


def test_a_batch_takes_one_map_for_all_or_one_for_each():
    like = inputs.pictures([FLOATS, FLOATS])
    other = np.where(MAP == 9, 2, MAP)
    np.testing.assert_array_equal(inputs.seeds(MAP, like).planes, [PLANES, PLANES])
    found = inputs.seeds([MAP, other], like)
    assert found.labels.tolist() == [2, 4, 9]
    assert found.planes.shape == (2, 5, 7, 3) and not found.planes[0, ..., 0].any()
    with pytest.raises(BadInputError, match="picture 1"):
        inputs.seeds([MAP, np.full_like(MAP, 255)], like)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.full((5, 7), 255), "at least one seeded pixel, got none"),
        (np.zeros((5, 7, 2)), "at least one seeded pixel, got none"),
        (MAP.astype(float), "a map of integers, got float64"),
        (MAP - 5, "got -1"),
        (MAP + 1, "got 256"),
        (MAP[1:], r"5×7 as the image, .*got shape \(4, 7\)"),
        (PLANES * 0.5, "planes of 0 and 1"),
        (np.ones((5, 7, 2)), "planes that overlap"),
        (np.zeros((5, 7, 256)), "at most 255 planes, got 256"),
        (np.stack([MAP, MAP, MAP]), "got shape"),
        (Image.fromarray(BYTES), "got mode RGB"),
    ],
)
def test_what_are_no_seeds_is_refused(given, told):
    with pytest.raises(BadInputError, match=f"^seeds: .*{told}"):
        inputs.seeds(given, inputs.pictures(FLOATS))


LEVELS = np.full((5, 7), 127, np.uint8)
LEVELS[:, :2], LEVELS[:, 5:] = 0, 255
EXPECTED = np.where(LEVELS == 127, 128, LEVELS)


@pytest.mark.parametrize(
    "given",
    [
        LEVELS,
        np.where(LEVELS == 127, 102, LEVELS).astype(np.uint8),
        LEVELS.astype(np.float32) / 255,
        LEVELS.astype(np.uint16) * 257,
        LEVELS[..., None],
        np.dstack([LEVELS] * 3),
        np.stack([LEVELS == 0, LEVELS == 255], -1),
        Image.fromarray(LEVELS),
        Image.fromarray(LEVELS).convert("RGBA"),
        jnp.asarray(LEVELS),
        LEVELS.astype(int),
        [LEVELS],
    ],
)
def test_every_kind_of_trimap_is_the_same_levels(given):
    found = inputs.trimap(given, inputs.pictures(FLOATS))
    np.testing.assert_array_equal(found, EXPECTED[None])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.maximum(LEVELS, 127), "got no background"),
        (np.minimum(LEVELS, 127), "got no foreground"),
        (np.full((5, 7), 128, np.uint8), "got no foreground and no background"),
        (LEVELS[1:], r"5×7 as the image, got shape \(4, 7\)"),
        (np.dstack([LEVELS, LEVELS, 255 - LEVELS]), "without colours"),
        (np.ones((5, 7, 2)), "overlapping"),
        (2 * LEVELS.astype(int), "got int64"),
        ([[0, 1], [1]], "wanted an array"),
        (LEVELS.astype(float), "floats in"),
    ],
)
def test_what_is_no_trimap_is_refused(given, told):
    with pytest.raises(BadInputError, match=f"^trimap: .*{told}"):
        inputs.trimap(given, inputs.pictures(FLOATS))


def test_a_start_has_the_shape_of_the_answer_and_finite_floats():
    shape = (2, 5, 7)
    assert inputs.start(np.ones((5, 7)), shape, "alpha").shape == shape
    for given, told in (
        (np.ones((5, 6)), r"alpha of shape \(5, 7\)"),
        (np.ones((5, 7), int), "got int64"),
        (np.full((5, 7), np.nan), "finite"),
        (np.full((5, 7), 1e30), "about"),
    ):
        with pytest.raises(BadInputError, match=told):
            inputs.start(given, shape, "alpha")
