import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from energynets.data import images
from energynets.errors import BadInputError

COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [255, 255, 255], [0, 0, 0]]], np.uint8
)


def save(array, path, mode=None, **options):
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def test_an_rgb_png_reads_as_its_values_over_255(tmp_path):
    path = save(COLOURS, tmp_path / "a.png")
    image = images.read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, COLOURS.astype(np.float32) / 255)


def test_the_path_may_be_a_string_and_the_bytes_may_come_without_a_file(tmp_path):
    path = save(COLOURS, tmp_path / "a.png")
    encoded = path.read_bytes()
    path.unlink()
    with pytest.raises(BadInputError):
        images.read_image(str(path))
    np.testing.assert_array_equal(
        images.read_image(str(path), encoded=encoded), COLOURS.astype(np.float32) / 255
    )


def test_grey_reads_as_three_equal_channels(tmp_path):
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    image = images.read_image(save(grey, tmp_path / "grey.png"))
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], grey.astype(np.float32) / 255)


def test_a_palette_reads_as_its_colours_and_see_through_entries_raise_no_warning(tmp_path, recwarn):
    palette = Image.fromarray(COLOURS).quantize(6)
    plain, through = tmp_path / "plain.png", tmp_path / "through.png"
    palette.save(plain)
    palette.save(through, transparency=bytes([0, 128, 255, 255, 255, 255]))
    for path in (plain, through):
        with Image.open(path) as picture:
            assert picture.mode == "P"
        np.testing.assert_array_equal(images.read_image(path), COLOURS.astype(np.float32) / 255)
    assert not recwarn.list


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(tmp_path, mode):
    grey = np.full((2, 3), 90, np.uint8)
    picture = Image.fromarray(grey).convert(mode)
    picture.putalpha(Image.fromarray(np.array([[0, 1, 2], [3, 128, 255]], np.uint8)))
    picture.save(tmp_path / "alpha.png")
    image = images.read_image(tmp_path / "alpha.png")
    np.testing.assert_array_equal(image, np.full((2, 3, 3), 90 / 255, np.float32))


def test_sixteen_bit_grey_keeps_all_its_bits(tmp_path):
    grey = np.array([[0, 1, 257], [32768, 40000, 65535]], np.uint16)
    image = images.read_image(save(grey, tmp_path / "deep.png"))
    np.testing.assert_allclose(image[..., 0], grey / 65535, rtol=1e-6)


def test_floating_point_grey_is_taken_as_it_is_and_clipped(tmp_path):
    grey = np.array([[-0.5, 0.25], [1.0, 7.0]], np.float32)
    image = images.read_image(save(grey, tmp_path / "float.tif"))
    np.testing.assert_array_equal(image[..., 0], [[0, 0.25], [1, 1]])


def test_a_jpeg_in_colour_or_cmyk_is_near_what_was_written(tmp_path):
    smooth = np.zeros((32, 48, 3), np.uint8)
    smooth[..., 0] = np.linspace(20, 220, 48)
    smooth[..., 1] = np.linspace(200, 30, 32)[:, None]
    smooth[..., 2] = 80
    for name, mode in (("a.jpg", "RGB"), ("b.jpg", "CMYK")):
        image = images.read_image(save(smooth, tmp_path / name, mode, quality=95))
        # Quantisation at quality 95 moves a smooth picture by a few of 255 levels.
        assert np.abs(image - smooth / 255).max() < 6 / 255, mode


def test_the_rotation_that_the_camera_notes_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen turned by 90 degrees clockwise
    path = save(COLOURS, tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        images.read_image(path), np.rot90(COLOURS, -1).astype(np.float32) / 255
    )


def test_labels_are_grey_values_or_palette_indices(tmp_path):
    labels = np.array([[0, 1, 2], [20, 255, 3]], np.uint8)
    grey = save(labels, tmp_path / "grey.png")
    palette = Image.fromarray(labels, "L")
    palette.putpalette([7, 7, 7] * 256)  # colours that say nothing
    palette.save(tmp_path / "palette.png")
    for path in (grey, tmp_path / "palette.png"):
        read = images.read_labels(path)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, labels)


def test_white_of_one_bit_is_255(tmp_path):
    bits = np.array([[True, False]])
    path = save(bits, tmp_path / "bits.png")
    with Image.open(path) as picture:
        assert picture.mode == "1"
    np.testing.assert_array_equal(images.read_labels(path), [[255, 0]])


def test_labels_in_colours_are_refused(tmp_path):
    path = save(COLOURS, tmp_path / "colours.png")
    with pytest.raises(BadInputError, match=r"colours\.png: wanted labels .* got mode RGB"):
        images.read_labels(path)


@pytest.mark.parametrize("read", [images.read_image, images.read_labels])
def test_what_cannot_be_read_is_refused_by_name(tmp_path, read):
    with pytest.raises(BadInputError, match=r"gone\.png: wanted an image file, got no such file"):
        read(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(BadInputError, match=r"text\.png: wanted .* got an unknown format"):
        read(tmp_path / "text.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"empty\.png: wanted .* got an empty file"):
        read(tmp_path / "empty.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadInputError, match=r"folder\.png: wanted a readable image, got"):
        read(tmp_path / "folder.png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    for name in ("cut.png", "cut.jpg"):
        path = save(noise, tmp_path / name)
        path.write_bytes(path.read_bytes()[:1500])
        with pytest.raises(BadInputError, match=rf"{name}: wanted a readable image, got: .*trunc"):
            read(path)


def claim(width, height):
    """A PNG whose header claims a size, and that holds next to nothing."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes(100))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_a_picture_that_claims_to_be_vast_is_refused_before_it_is_decoded(tmp_path, recwarn):
    path = tmp_path / "bomb.png"
    path.write_bytes(claim(30_000, 30_000))
    with pytest.raises(BadInputError, match=r"bomb\.png: wanted .* at most 50000000 pixels, got"):
        images.read_image(path)
    assert not recwarn.list


@pytest.mark.parametrize("height", [5_001, 14_000, 17_896])
def test_our_limit_is_reached_before_pillows(tmp_path, recwarn, height):
    path = tmp_path / "large.png"
    path.write_bytes(claim(10_000, height))
    told = rf"large\.png: wanted .* at most 50000000 pixels, got 10000×{height}$"
    if 10_000 * height > 2 * Image.MAX_IMAGE_PIXELS:  # Pillow counts, before the size is known
        told = r"large\.png: wanted .* at most 50000000 pixels, got: Image size \(178960000"
    with pytest.raises(BadInputError, match=told):
        images.read_image(path)
    assert not recwarn.list


def test_the_limit_of_pixels_is_ours_and_pillow_does_not_warn_below_it(
    tmp_path, monkeypatch, recwarn
):
    path = save(COLOURS, tmp_path / "six.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)  # warns at 5 pixels, raises at 9
    assert images.read_image(path).shape == (2, 3, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 5)
    with pytest.raises(BadInputError, match=r"six\.png: wanted .* at most 5 pixels, got 3×2"):
        images.read_image(path)
    assert not recwarn.list


def test_many_threads_read_the_same_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    path = save(noise, tmp_path / "noise.png")
    with ThreadPoolExecutor(4) as pool:
        for image in pool.map(images.read_image, [path] * 40):
            np.testing.assert_array_equal(image, noise.astype(np.float32) / 255)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1, width=32))
def test_a_flat_picture_stays_flat_at_any_size(height, width, size, value):
    resized = images.resize(np.full((height, width, 3), value, np.float32), size)
    assert resized.shape == (size, size, 3) and resized.dtype == np.float32
    np.testing.assert_allclose(resized, value, atol=1e-6)


def test_halving_weights_by_a_triangle_as_wide_as_the_reduction():
    image = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    # Bilinear with support 2 about the middle of two pixels: weights 1, 3, 3, 1 over 8.
    inner = (image[3:-4:2] + 3 * image[4:-3:2] + 3 * image[5:-2:2] + image[6:-1:2]) / 8
    inner = (inner[:, 3:-4:2] + 3 * inner[:, 4:-3:2] + 3 * inner[:, 5:-2:2] + inner[:, 6:-1:2]) / 8
    halved = images.resize(image, 8)[2:-2, 2:-2]
    np.testing.assert_allclose(halved, inner[: halved.shape[0], : halved.shape[1]], atol=1e-5)


def test_planes_are_resized_to_any_shape_and_stay_probabilities():
    planes = np.random.default_rng(0).dirichlet(np.ones(4), (6, 5)).astype(np.float32)
    resized = images.resize_planes(planes, 13, 9)
    assert resized.shape == (13, 9, 4) and resized.dtype == np.float32
    np.testing.assert_allclose(resized.sum(-1), 1, atol=1e-5)
    ramp = np.repeat(np.linspace(0, 1, 4, dtype=np.float32)[None, :, None], 3, 0)
    rising = images.resize_planes(ramp, 3, 8)[..., 0]
    assert (np.diff(rising) >= 0).all() and np.ptp(rising, 0).max() < 1e-6


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 4))
def test_labels_enlarged_by_a_whole_factor_are_repeated(labels, factor):
    height, width = (factor * n for n in labels.shape)
    large = images.resize_labels(labels, height, width)
    np.testing.assert_array_equal(large, labels.repeat(factor, 0).repeat(factor, 1))
    np.testing.assert_array_equal(images.resize_labels(large, *labels.shape), labels)


def test_a_picture_whose_exif_is_damaged_stays_as_it_is_stored(tmp_path, recwarn):
    # It asks for a turn, and has a width that is a text, which Pillow cannot write back.
    entries = (0x0112, 3, 1, b"\x06\0\0\0"), (0x0100, 2, 2, b"a\0\0\0")
    tags = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + tags + bytes(4)
    path = tmp_path / "held.jpg"
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path, exif=exif)
    assert images.read_image(path).shape == (4, 6, 3)
    assert not recwarn.list
