"""Files damaged in every way that comes to mind, given to all four commands."""

import io

import numpy as np
import pytest
from PIL import Image

from energynets import cli

SIDE = 20
CASES = 280  # a quarter for each command: 210 over the three that solve
IMAGE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
KNOWN = np.full((SIDE, SIDE), 255, np.uint8)
KNOWN[:4], KNOWN[-4:, 5:] = 0, 1
TRIMAP = np.where(KNOWN == 255, 128, np.where(KNOWN == 1, 255, 0)).astype(np.uint8)


def encoded(picture, kind, **more):
    stream = io.BytesIO()
    picture.save(stream, kind, **more)
    return stream.getvalue()


def variant(array, random):
    """The same picture in another mode, size or format, or one that holds something else."""
    picture = Image.fromarray(array)
    modes = ("L", "RGB", "RGBA", "P", "1", "LA", "CMYK", "I;16", "F", "I")
    choice = random.integers(9)
    if choice == 0:
        mode = modes[random.integers(len(modes))]
        picture = picture.convert("L").convert(mode) if mode != "CMYK" else picture.convert(mode)
    elif choice == 1:
        picture = picture.resize(tuple(int(n) for n in random.integers(1, 3, 2) * SIDE))
    elif choice == 2:
        picture = Image.fromarray(np.full_like(array, random.integers(256)))
    elif choice == 3:
        exif = Image.Exif()
        exif[0x0112] = int(random.integers(0, 12))
        return encoded(picture, "PNG", exif=exif)
    elif choice == 4:
        return encoded(picture.convert("RGB"), "JPEG", quality=int(random.integers(1, 95)))
    elif choice == 5:
        other = random.integers(0, 256, array.shape).astype(np.uint8)
        picture = Image.fromarray(other)
    elif choice == 6:
        return encoded(picture.convert("RGB"), ("GIF", "BMP", "WEBP")[random.integers(3)])
    elif choice == 7:
        picture = picture.crop((0, 0, 1, 1))
    kind = "TIFF" if picture.mode in ("CMYK", "F", "I") else "PNG"
    return encoded(picture, kind)


def damaged(whole, random):
    """Bytes cut off, changed, doubled, or none at all."""
    choice, data = random.integers(7), bytearray(whole)
    if choice == 0:
        return bytes(data[: random.integers(len(data))])
    if choice == 1:
        for place in random.integers(0, len(data), random.integers(1, 9)):
            data[place] = random.integers(256)
        return bytes(data)
    if choice == 2:
        return b""
    if choice == 3:
        return random.bytes(int(random.integers(1, 400)))
    if choice == 4:
        return bytes(data) + bytes(data)
    if choice == 5:
        return b"not a picture, but some text\n"
    start = random.integers(len(data))
    return bytes(data[:start] + data[start + 3 :])


def spoilt(path, array, random):
    """Writes the picture, whole or not; or leaves nothing, or a folder, in its place."""
    choice = random.integers(12)
    if choice == 0:
        return
    if choice == 1:
        path.mkdir()
        return
    whole = encoded(Image.fromarray(array), "PNG") if choice < 4 else variant(array, random)
    path.write_bytes(damaged(whole, random) if choice > 7 else whole)


@pytest.mark.filterwarnings("ignore")  # of Pillow, about the damage
def test_whatever_is_given_ends_with_a_picture_or_one_line(tmp_path, capfd):
    statuses = []
    for case in range(CASES):
        random = np.random.default_rng((7, case))
        place = tmp_path / str(case)
        place.mkdir()
        image, known, out = place / "i.png", place / "k.png", place / "out.png"
        command = ("segment", "matte", "dehaze", "trimap")[case % 4]
        spoilt(image, KNOWN if command == "trimap" else IMAGE, random)
        spoilt(known, TRIMAP if command == "matte" else KNOWN, random)
        arguments = [command, str(image), "-o", str(out)]
        if command != "trimap":
            arguments += ["--method", "polish", "--steps", "1"]
        if command == "segment":
            arguments += ["--seeds", str(known)]
        elif command == "matte":
            arguments += [("--trimap", "--scribbles")[random.integers(2)], str(known)]
        elif command == "trimap":
            arguments += ["--width", str(random.integers(-1, 6))]
        status = cli.main(arguments)
        told = capfd.readouterr().err
        statuses.append(status)
        assert "Traceback" not in told, (case, told)
        if status == 0:
            with Image.open(image) as picture:
                size = picture.size
            with Image.open(out) as result:
                assert sorted(result.size) == sorted(size), case
                values = np.asarray(result)
            if command == "segment":
                with Image.open(known) as seeds:
                    assert np.isin(values, np.asarray(seeds)).all() or seeds.mode != "L", case
            if command == "trimap":
                assert np.isin(values, (0, 128, 255)).all(), case
        else:
            assert status == 2 and told.startswith("error: ") and told.count("\n") == 1, told
            left = {path.name for path in place.iterdir()}
            assert left <= {"i.png", "k.png"}, (case, left)
    # Both ends are reached often, so that neither is by chance what is tested.
    assert min(statuses.count(0), statuses.count(2)) > CASES // 8, statuses
