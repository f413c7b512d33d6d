"""From a command line to a run: flags, devices, and one clear line for bad input."""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from absl import flags, logging
from ml_collections import config_flags

from energynets.errors import BadInputError
from energynets.training import loop, sharding
from energynets.training.claim import flat
from energynets.training.comparison import table
from energynets.training.experiment import Config, Experiment, Variables
from energynets.training.figures import draw_training
from energynets.training.report import Report, write

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; going on if it holds one.")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_DENIED = (errno.EACCES, errno.EPERM)
_CONFIG = config_flags.DEFINE_config_file("config", None, "FILE.py[:variant]", lock_config=True)


def prepare_jax() -> None:
    """Faster convolutions on CPUs, and programs compiled once for all later runs.

    Call it before anything is computed. Environment variables that the user set win.
    """

    logging.set_verbosity(logging.FATAL)  # orbax logs what it also raises, and much besides
    flag = "--xla_cpu_experimental_ynn_fusion_type"
    given = os.environ.get("XLA_FLAGS", "")
    # XLA dies of a flag that it does not know; this one was tried with these releases.
    if flag not in given and metadata.version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] = f"{given} {flag}=dot".strip()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "energynets" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def run(make: Callable[[Config], Experiment]) -> None:
    """Parses --config and --workdir, trains what `make(config)` describes, and reports.

    Bad input ends with one line on standard error and exit status 2; a defect keeps its traceback.
    """
    prepare_jax()
    workdir = None
    try:
        config, workdir = _parse(sys.argv)
        _refuse_other_keys(config, sys.modules[getattr(make, "__module__", "__main__")])
        train_and_report(make(config), config, workdir)
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno in _NO_ROOM:
            wanted = "room on the disk"
        elif error.errno in _DENIED and workdir is not None and _lies_in(error.filename, workdir):
            wanted = "a run folder to read and write in"
        else:
            raise
        told = f"{error.filename or 'writing'}: wanted {wanted}, got: {error.strerror}"
        print(f"error: {told}; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def train_and_report(experiment: Experiment, config: Config, workdir: Path) -> None:
    """Trains, or goes on, to the end; then the first process writes the report."""
    experiment.refuse(workdir)
    variables = loop.train(experiment, config, workdir)
    if jax.process_index() != 0:
        return
    if experiment.report is None:
        report = _plain_report(experiment, config, variables)
    else:
        report = experiment.report(variables, workdir)
    draw_training(workdir, report.lines)
    write(report, workdir)


def _plain_report(experiment: Experiment, config: Config, variables: Variables) -> Report:
    mesh = sharding.make_mesh(jax.local_devices())
    fresh = experiment.init(jax.random.key(config.train.seed))
    scores = {
        name: dict(
            experiment.scores(
                loop.evaluate(
                    experiment, those, experiment.validation, mesh, batch=config.train.eval_batch
                )
            )
        )
        for name, those in (("trained", variables), ("fresh", fresh))
    }
    scored = table("Scores", scores, {name: name for name in scores["trained"]})
    return Report("Validation", scores, {}, [scored], [])


def _refuse_other_keys(config: Config, task: ModuleType) -> None:
    """A config file of one's own must have the keys of the task's own, and values of their types.

    Nothing is asked for where the task's module, which holds `make`, has no `get_config`.
    """
    if not hasattr(task, "get_config"):
        return
    wanted, given = flat(task.get_config().to_dict()), flat(config.to_dict())
    for key in (*given, *wanted):
        if key not in wanted or key not in given:
            asked = "keys that the config has" if key not in wanted else "a value"
            raise BadInputError(f"{key}: wanted {asked}, got {'this' if key in given else 'none'}")
        kind, value = type(wanted[key]), given[key]
        whole = kind is float and type(value) is int
        if not whole and wanted[key] is not None and not isinstance(value, kind):
            raise BadInputError(f"{key}: wanted {kind.__name__}, got {value!r}")


def _lies_in(name: Any, folder: Path) -> bool:
    return isinstance(name, str) and Path(name).absolute().is_relative_to(folder.absolute())


def _parse(argv: list[str]) -> tuple[Config, Path]:
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise BadInputError(f"wanted flags such as --config=FILE, got {rest[1]!r}")
        if _WORKDIR.value is None:
            raise BadInputError("--workdir: wanted a folder for the run, got none")
        config = _CONFIG.value
        getattr(config, "is_locked", None)  # one that could not be read says so when it is used
    except BadInputError:
        raise
    except Exception as error:
        refusal = _failure_of_config_file(error) or _refusal(error, argv)
        if refusal is None:
            raise
        raise refusal from None
    if config is None:
        raise BadInputError("--config: wanted a config file, got none")
    return config, Path(_WORKDIR.value)


def _failure_of_config_file(error: BaseException | None) -> BadInputError | None:
    """What the config file itself raised, if that lies behind `error`, as one line."""
    while error is not None:
        frames = [
            (frame, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if frame.f_globals.get("__name__") == "config_config"  # the name it is loaded by
        ]
        if frames and isinstance(error, BadInputError):
            return error
        if frames:
            frame, line = frames[-1]
            told = " ".join(f"{type(error).__name__}: {error}".split())
            return BadInputError(
                f"--config: wanted a config file, and a variant that it has; "
                f"{frame.f_code.co_filename}, line {line}, failed with {told}"
            )
        error = error.__cause__ or error.__context__
    return None


def _refusal(error: Exception, argv: list[str]) -> BadInputError | None:
    """One line for what absl and ml_collections raise; none for a defect."""
    if isinstance(error, flags.Error):
        return BadInputError(" ".join(str(error).split()))
    if isinstance(error, OSError):
        cause = str(error).strip().splitlines()[-1].strip()
        return BadInputError(f"--config: wanted a config file, got {cause}")
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
        return BadInputError(f"--config: wanted a config file, got {error.msg} in {place}")
    if not isinstance(error, AttributeError | KeyError | TypeError | ValueError):
        return None
    # What ml_collections raises for keys that a config lacks and for values of a wrong type.
    told = str(error.args[0] if error.args else error).replace("\\n", " ").replace("\\'", "'")
    told = " ".join((told[1:-1] if told.startswith(("''", "\"'")) else told).split())
    key = _overridden(told, argv)
    return BadInputError(f"{key or '--config'}: wanted keys that the config has, got {told}")


def _overridden(told: str, argv: list[str]) -> str | None:
    """The whole name, such as config.train.steps, of the override that a message is about."""
    named = re.search(r"'(\w+)'", told)
    keys = [m[1] for a in argv if (m := re.match(r"--?(?:no)?(config\.[^=]+)", a))]
    return next((k for k in keys if named and named[1] in k.split(".")), None)
