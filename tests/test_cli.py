import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import energynets
from energynets import cli
from energynets.data.embedded import Embedded
from energynets.data.writing import eight_bits

SOURCE = Embedded("val", size=40)
PICTURE = SOURCE[1]
BYTES = eight_bits(PICTURE.image)
TRIMAP = np.where(PICTURE.seeds == 255, 128, np.where(PICTURE.seeds > 0, 255, 0)).astype(np.uint8)


@pytest.fixture
def place(tmp_path):
    Image.fromarray(BYTES).save(tmp_path / "a.png")
    Image.fromarray(PICTURE.seeds).save(tmp_path / "seeds.png")
    Image.fromarray(TRIMAP).save(tmp_path / "trimap.png")
    return tmp_path


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def read(path):
    return np.asarray(Image.open(path))


def test_segment_writes_the_labels_that_the_function_gives(place, capsys):
    assert run("segment", place / "a.png", "--seeds", place / "seeds.png", "--beta", 100) == 0
    expected = energynets.segment(BYTES, PICTURE.seeds, beta=100.0)
    np.testing.assert_array_equal(read(place / "a_labels.png"), expected.labels)
    assert capsys.readouterr().out.strip() == str(place / "a_labels.png")


def test_matte_takes_trimaps_and_scribbles(place, capsys):
    out = place / "out.png"
    assert run("matte", place / "a.png", "--trimap", place / "trimap.png", "-o", out) == 0
    expected = energynets.matte(BYTES, TRIMAP)
    np.testing.assert_array_equal(read(out), eight_bits(expected.alpha))
    drawn = np.where((TRIMAP == 128)[..., None], BYTES, TRIMAP[..., None])
    Image.fromarray(drawn.astype(np.uint8)).save(place / "drawn.png")
    again = place / "again.png"
    assert run("matte", place / "a.png", "--scribbles", place / "drawn.png", "-o", again) == 0
    np.testing.assert_array_equal(read(again), read(out))


def test_matte_uses_the_shipped_network(place, capsys):
    arguments = "matte", place / "a.png", "--trimap", place / "trimap.png", "--json"
    assert run(*arguments, "--method", "network") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["method"] == "network" and told["steps"] == 0 and told["energy"] > 0
    expected = energynets.matte(BYTES, TRIMAP, method="network", network="matting")
    np.testing.assert_array_equal(read(place / "a_alpha.png"), eight_bits(expected.alpha))


def test_dehaze_writes_picture_and_transmission(place):
    t = place / "t.png"
    assert run("dehaze", place / "a.png", "--transmission", t, "--airlight", "0.8,0.8,0.9") == 0
    expected = energynets.dehaze(BYTES, airlight=(0.8, 0.8, 0.9))
    np.testing.assert_array_equal(read(place / "a_dehazed.png"), eight_bits(expected.image))
    np.testing.assert_array_equal(read(t), eight_bits(expected.transmission))


def test_json_tells_energy_gap_residual_and_time(place, capsys):
    arguments = "segment", place / "a.png", "--seeds", place / "seeds.png", "--method", "polish"
    assert run(*arguments, "--steps", 3, "--gap", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["method"] == "polish" and told["steps"] == 3 and told["converged"] is False
    assert told["energy"] > 0 and told["residual"] > 0 and told["gap"] > 0 and told["seconds"] > 0
    assert told["output"] == str(place / "a_labels.png")


def test_trimap_makes_a_band_around_the_object(place, capsys):
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 8:22] = 255
    Image.fromarray(mask).save(place / "mask.png")
    assert run("trimap", place / "mask.png", "--width", 3, "--json") == 0
    trimap = read(place / "mask_trimap.png")
    assert (trimap[8:12, 11:19] == 255).all() and (trimap[5, 8:22] == 128).all()
    assert (trimap[0] == 0).all()
    told = json.loads(capsys.readouterr().out)
    assert np.isclose(told["unknown"], (trimap == 128).mean())
    assert run("trimap", place / "mask.png", "--width", 30) == 2
    assert "no foreground and no background left (--width 30" in capsys.readouterr().err


def test_a_picture_is_seen_as_the_camera_held_it_and_seeds_follow(place):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = BYTES[:30]
    Image.fromarray(np.rot90(wide)).save(place / "held.png", exif=exif)
    Image.fromarray(PICTURE.seeds[:30]).save(place / "upright.png")
    Image.fromarray(np.rot90(PICTURE.seeds[:30])).save(place / "stored.png")
    for seeds in ("upright", "stored"):
        out = place / f"{seeds}_out.png"
        arguments = "--seeds", place / f"{seeds}.png", "-o", out
        assert run("segment", place / "held.png", *arguments) == 0
    expected = energynets.segment(wide, PICTURE.seeds[:30]).labels
    np.testing.assert_array_equal(read(place / "upright_out.png"), expected)
    np.testing.assert_array_equal(read(place / "stored_out.png"), expected)


def folder(place):
    """Three pictures of which the second is broken, with seeds for all."""
    (place / "in").mkdir()
    (place / "known").mkdir()
    for name in ("x", "y", "z"):
        Image.fromarray(BYTES).save(place / "in" / f"{name}.png")
        Image.fromarray(PICTURE.seeds).save(place / "known" / f"{name}.png")
    whole = (place / "in" / "y.png").read_bytes()
    (place / "in" / "y.png").write_bytes(whole[: len(whole) // 2])
    (place / "in" / "notes.txt").write_text("no picture")
    return place / "in"


def test_of_a_folder_the_broken_files_are_listed_and_the_others_done(place, capsys):
    status = run("segment", folder(place), "--seeds", place / "known", "-o", place / "out")
    told = capsys.readouterr().err
    assert status == 1
    assert "y.png: wanted a readable image" in told and "1 of 3 pictures left out" in told
    assert sorted(p.name for p in (place / "out").iterdir()) == ["x.png", "z.png"]
    np.testing.assert_array_equal(read(place / "out" / "x.png"), read(place / "out" / "z.png"))


def test_a_folder_without_faults_ends_with_0_and_one_map_serves_all(place):
    pictures = folder(place)
    (pictures / "y.png").unlink()
    assert run("segment", pictures, "--seeds", place / "seeds.png") == 0
    assert len(list((place / "in_labels").iterdir())) == 2


def test_frames_of_a_video_begin_where_the_last_one_ended(place, capsys):
    pictures = folder(place)
    (pictures / "y.png").unlink()
    arguments = "dehaze", pictures, "--method", "polish", "--steps", 5, "--json"
    assert run(*arguments, "--video", "-o", place / "v") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    # The same frame twice: the second goes on from the first.
    assert second["energy"] < first["energy"]
    assert run(*arguments, "-o", place / "w") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert second["energy"] == first["energy"]


def test_frames_of_mattes_and_labels_begin_where_the_last_one_ended(place, capsys):
    frames = place / "frames"
    frames.mkdir()
    for name in ("0", "1"):
        Image.fromarray(BYTES).save(frames / f"{name}.png")
    for command, option in (("matte", "trimap"), ("segment", "seeds")):
        arguments = command, frames, f"--{option}", place / f"{option}.png", "--method", "polish"
        energies = {}
        for more in ((), ("--video",)):
            assert run(*arguments, "--steps", 3, "--json", *more) == 0
            told = map(json.loads, capsys.readouterr().out.splitlines())
            energies[more] = [frame["energy"] for frame in told]
        assert energies[()][0] == energies[()][1] == energies["--video",][0]
        assert energies["--video",][1] < energies["--video",][0]


def test_a_matte_is_the_same_from_every_kind_of_trimap_and_picture(place):
    expected = eight_bits(energynets.matte(BYTES, TRIMAP, method="polish", steps=2).alpha)
    level = np.array([0, 1, 2])[np.searchsorted([0, 128, 255], TRIMAP)].astype(np.uint8)
    palette = Image.fromarray(level).convert("P")
    palette.putpalette([0, 0, 0, 127, 127, 127, 255, 255, 255])
    grey, colours = Image.fromarray(TRIMAP), Image.fromarray(BYTES)
    exif = Image.Exif()
    exif[0x0112] = 6
    trimaps = {
        "102": Image.fromarray(np.where(TRIMAP == 128, 102, TRIMAP).astype(np.uint8)),
        "127": Image.fromarray(np.where(TRIMAP == 128, 127, TRIMAP).astype(np.uint8)),
        "palette": palette,
        "rgb": grey.convert("RGB"),
        "rgba": grey.convert("RGBA"),
        "sixteen": Image.fromarray(TRIMAP.astype(np.uint16) * 257),
        "turned": grey,  # a map of the upright picture, which the camera held on its side
    }
    pictures = {"rgba": colours.convert("RGBA"), "turned": Image.fromarray(np.rot90(BYTES))}
    for name, trimap in trimaps.items():
        image, known, out = (place / f"{name}_{part}.png" for part in ("image", "known", "out"))
        pictures.get(name, colours).save(image, **({"exif": exif} if name == "turned" else {}))
        trimap.save(known)
        arguments = "--trimap", known, "--method", "polish", "--steps", 2, "-o", out
        assert run("matte", image, *arguments) == 0
        np.testing.assert_array_equal(read(out), expected, err_msg=name)


def test_a_trimap_without_anything_unknown_is_the_matte(place, capsys):
    mask = np.where(np.arange(1600).reshape(40, 40) < 700, 255, 0).astype(np.uint8)
    Image.fromarray(mask).save(place / "mask.png")
    out = place / "o.png"
    assert run("matte", place / "a.png", "--trimap", place / "mask.png", "-o", out) == 0
    np.testing.assert_array_equal(read(out), mask)
    assert "nothing is unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("segment none.png --seeds seeds.png", "none.png: wanted an image file or a folder"),
        ("segment a.png --seeds none.png", "none.png: wanted an image file, got no such file"),
        ("segment a.png --seeds empty.png", "empty.png: wanted at least one seeded pixel"),
        ("segment a.png --seeds small.png", "small.png: wanted the size of its image, 40×40"),
        ("segment a.png --seeds seeds.png -o o.jpg", "o.jpg: wanted a name ending in"),
        ("segment a.png --seeds seeds.png -o no/o.png", "no: wanted a folder to write in"),
        ("segment a.png --seeds seeds.png -o a.png", "a.png: wanted another file than the input"),
        ("segment a.png --seeds seeds.png -o seeds.png", "wanted another file than the input"),
        ("segment a.png --seeds seeds.png --beta -1", "beta: wanted a number from 0"),
        ("segment a.png --seeds seeds.png --beta nan", "beta: wanted a number from 0"),
        ("segment a.png --seeds seeds.png --steps -1", "--steps: wanted at least 0"),
        (f"dehaze a.png -o {'x' * 300}.png", "got: File name too long"),
        (f"dehaze {'x' * 300}.png", "got: File name too long"),
        ("segment a.png --seeds seeds.png --video", "wanted a folder of frames for --video"),
        ("segment broken.png --seeds seeds.png", "broken.png: wanted a readable image"),
        ("segment empty_folder --seeds seeds.png", "empty_folder: wanted a folder with pictures"),
        ("matte a.png --trimap black.png", "black.png: wanted foreground and background, got no f"),
        ("matte a.png --trimap white.png", "white.png: wanted foreground and background, got no b"),
        ("matte a.png --trimap a.png", "a.png: wanted a picture without colours"),
        ("matte a.png --trimap trimap.png --epsilon 0", "epsilon: wanted a number from 1e-12"),
        ("dehaze a.png --omega 2", "omega: wanted a number from 0 to 1"),
        ("dehaze a.png --airlight 0.5,0.5", "airlight: wanted 3 values"),
        ("dehaze a.png --transmission a_dehazed.png", "wanted another file than the result's"),
        ("trimap black.png", "black.png: wanted foreground and background, got no foreground"),
        ("trimap trimap.png --width -3", "width: wanted a finite number"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_2_and_writes_nothing(
    place, monkeypatch, capsys, arguments, told
):
    monkeypatch.chdir(place)
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save("empty.png")
    Image.fromarray(PICTURE.seeds[1:]).save("small.png")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save("black.png")
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save("white.png")
    (place / "broken.png").write_bytes((place / "a.png").read_bytes()[:300])
    (place / "empty_folder").mkdir()
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert run(*arguments.split()) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert told in output.err and output.out == ""
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "COMMAND"),
        (("dehaze", ""), "a file or a folder, got an empty name"),
        ("segment", "IMAGE, --seeds"),
        ("segment a", "--seeds"),
        ("paint a", "invalid choice: 'paint'"),
        ("dehaze a --method magic", "--method: invalid choice: 'magic'"),
        ("dehaze a --airlight red", "--airlight: wanted brightest, maximum, mean or numbers"),
        ("dehaze a --steps many", "--steps: invalid int value: 'many'"),
    ],
)
def test_a_command_line_that_is_none_ends_with_status_2_and_one_line(arguments, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*(arguments.split() if isinstance(arguments, str) else arguments))
    output = capsys.readouterr()
    assert stopped.value.code == 2 and output.out == ""
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert told in output.err and "see energynets" in output.err


def test_the_output_folder_is_told_before_anything_is_done(place, capsys):
    pictures = folder(place)
    (place / "taken").write_text("mine")
    assert run("dehaze", pictures, "-o", place / "taken") == 2
    assert "taken: wanted a folder to write in" in capsys.readouterr().err
    assert run("dehaze", pictures, "-o", pictures) == 2
    assert "wanted another folder than the input's" in capsys.readouterr().err
    both = "-o", place / "both", "--transmission", place / "both"
    assert run("dehaze", pictures, *both) == 2
    assert "wanted another folder than the results'" in capsys.readouterr().err
    Image.fromarray(PICTURE.seeds).save(place / "known" / "x.png")
    before = (place / "known" / "x.png").read_bytes()
    one = "--seeds", place / "known" / "x.png", "-o", place / "known"
    assert run("segment", pictures, *one) == 2
    assert "x.png: wanted another file than an input" in capsys.readouterr().err
    assert (place / "known" / "x.png").read_bytes() == before
    assert (place / "taken").read_text() == "mine"
    assert stat.S_ISREG((place / "taken").stat().st_mode)


def test_every_line_about_a_folder_names_the_picture_and_counts_what_did_not_converge(
    place, capsys, monkeypatch
):
    pictures = folder(place)
    Image.fromarray(BYTES[1:]).save(pictures / "z.png")
    monkeypatch.setattr("energynets.interface.solving.MOST_STEPS", 1)
    monkeypatch.setattr("energynets.interface.clearing.DIRECT_PIXELS", 0)
    seeds = "--seeds", place / "seeds.png"
    assert run("segment", pictures, *seeds, "-o", place / "out") == 1
    assert f"left out: {pictures / 'z.png'}: {place / 'seeds.png'}" in capsys.readouterr().err
    assert run("dehaze", pictures, "-o", place / "clear") == 1
    assert "warning: 2 of 3 pictures did not converge" in capsys.readouterr().err


def test_a_name_that_is_no_text_is_printed_all_the_same(place):
    name = os.fsencode(place) + b"/caf\xe9.png"
    Image.fromarray(BYTES).save(os.fsdecode(name))
    command = [sys.executable, "-m", "energynets.cli", "trimap", name, "-o", name + b"_t.png"]
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    Image.fromarray(mask).save(os.fsdecode(name))
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    command += ["--width", "3"]
    done = subprocess.run(command, capture_output=True, env=environment, check=True, timeout=120)
    assert done.stdout == name + b"_t.png\n" and done.stderr == b""


def test_a_result_that_cannot_be_written_in_the_end_leaves_what_was_there(place, monkeypatch):
    out = place / "o.png"
    out.write_text("mine")
    monkeypatch.setattr(Image.Image, "save", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "")))
    assert run("dehaze", place / "a.png", "--method", "polish", "-o", out) == 2
    assert out.read_text() == "mine"
