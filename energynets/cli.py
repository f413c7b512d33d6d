"""The command `energynets`: pictures in, pictures out.

    energynets segment IMAGE --seeds SEEDS        energynets matte IMAGE --trimap TRIMAP
    energynets dehaze IMAGE                       energynets trimap MASK --width 10

IMAGE is a file or a folder. Exit status 0: done; 1: done, but for some files of a folder, which are
listed; 2: nothing done, with one line that says why.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from energynets.errors import BadInputError

METHODS = ("exact", "network", "polish")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    chosen = parser().parse_args(arguments)
    # Imported late, so that --help and mistakes are answered at once.
    from energynets.interface import files

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files need not be text.
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    try:
        _prepare_jax()
        return files.run(chosen)
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(
            f"error: {error.filename}: wanted a usable path, got: {error.strerror}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("stopped; what is finished is written", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """What can be asked for; every option has its default in its help."""
    top = _OneLine(prog="energynets", description=(__doc__ or "").split("\n\n")[0])
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    segment = _command(commands, "segment", "labels spread from seeds", solves=True)
    segment.add_argument(
        "--seeds",
        type=_path,
        required=True,
        help="the label at each seeded pixel, 255 elsewhere: grey or palette; for a folder of "
        "images a folder of the same names, or one file for all",
    )
    segment.add_argument("--beta", type=float, default=1000.0, help="sharpness (1000)")

    matte = _command(commands, "matte", "the share of the foreground in each pixel", solves=True)
    known = matte.add_mutually_exclusive_group(required=True)
    known.add_argument(
        "--trimap", type=_path, help="black background, white foreground, grey where unknown"
    )
    known.add_argument(
        "--scribbles", type=_path, help="black and white strokes, over the image or on grey"
    )
    matte.add_argument("--epsilon", type=float, default=1e-5, help="of the energy (1e-5)")

    dehaze = _command(commands, "dehaze", "the picture without haze", solves=True)
    dehaze.add_argument(
        "--airlight",
        type=_airlight,
        default="brightest",
        help="brightest, maximum, mean, or its colour as R,G,B in [0, 1] (brightest)",
    )
    dehaze.add_argument(
        "--omega", type=float, default=0.9, help="share of the veil that is taken away (0.9)"
    )
    dehaze.add_argument(
        "--excess",
        type=float,
        default=0.5,
        help="share of what is brighter than the veil everywhere (0.5); 0.95 with --omega 0.95: "
        "the papers' dark channel",
    )
    dehaze.add_argument(
        "--stretch", action="store_true", help="stretch the extremes to black and white"
    )
    dehaze.add_argument("--transmission", type=_path, help="write the transmission there as well")

    trimap = _command(commands, "trimap", "a trimap from a mask", solves=False)
    trimap.add_argument(
        "--width",
        type=float,
        default=10.0,
        help="unknown pixels on either side of the border (10)",
    )
    return top


def _command(commands, name: str, told: str, *, solves: bool) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=told, description=told)
    command.add_argument("image", type=_path, metavar="MASK" if name == "trimap" else "IMAGE")
    command.add_argument(
        "-o",
        "--output",
        type=_path,
        help="file or, for a folder, folder to write (beside the input)",
    )
    command.add_argument("--json", action="store_true", help="one line of JSON a picture")
    if solves:
        command.add_argument(
            "--method", choices=METHODS, help="how it is found (exact; with --video polish)"
        )
        command.add_argument("--steps", type=int, default=100, help="of polish (100)")
        command.add_argument(
            "--gap", action="store_true", help="solve exactly too, and tell how far the energy is"
        )
        command.add_argument(
            "--video",
            action="store_true",
            help="a folder's files, by name, are frames: each begins with the answer of the last",
        )
    return command


class _OneLine(argparse.ArgumentParser):
    """Mistakes are told in one line, as all others are, without the usage before it."""

    def error(self, message: str):
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("wanted a file or a folder, got an empty name")
    return Path(text)


def _airlight(text: str):
    if text in ("brightest", "maximum", "mean"):
        return text
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"wanted brightest, maximum, mean or numbers such as 0.8,0.8,0.9, got {text!r}"
        ) from None


def _prepare_jax() -> None:
    """Programs are compiled once for all later runs, unless the user chose otherwise."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "energynets" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


if __name__ == "__main__":
    sys.exit(main())
