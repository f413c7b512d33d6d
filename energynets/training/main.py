"""From a command line to a run: flags, devices, and one clear line for bad input."""

import errno
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import jax
from absl import flags, logging
from ml_collections import config_flags

from energynets.errors import BadInputError
from energynets.training import loop, sharding
from energynets.training.experiment import Config, Experiment, Variables
from energynets.training.report import Report, Table, draw_training, write

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; going on if it holds one.")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
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
    try:
        config, workdir = _parse(sys.argv)
        train_and_report(make(config), config, workdir)
    except BadInputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        told = f"{error.filename or 'writing'}: wanted room on the disk, got: {error.strerror}"
        print(f"error: {told}; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def train_and_report(experiment: Experiment, config: Config, workdir: Path) -> None:
    """Trains, or goes on, to the end; then the first process writes the report."""
    variables = loop.train(experiment, config, workdir)
    if jax.process_index() != 0:
        return
    draw_training(workdir)
    if experiment.report is None:
        write(_plain_report(experiment, config, variables), workdir)
    else:
        write(experiment.report(variables, workdir), workdir)


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
    columns = list(scores["trained"])
    rows = [[name, *(score[c] for c in columns)] for name, score in scores.items()]
    return Report("Validation", scores, {}, [Table("Scores", ["network", *columns], rows)], [])


def _parse(argv: list[str]) -> tuple[Config, Path]:
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise BadInputError(f"wanted flags such as --config=FILE, got {rest[1]!r}")
        if _WORKDIR.value is None:
            raise BadInputError("--workdir: wanted a folder for the run, got none")
        config = _CONFIG.value
        getattr(config, "is_locked", None)  # one that could not be read says so when it is used
    except flags.Error as error:
        raise BadInputError(" ".join(str(error).split())) from None
    except OSError as error:
        cause = str(error).strip().splitlines()[-1].strip()
        raise BadInputError(f"--config: wanted a config file, got {cause}") from None
    except SyntaxError as error:
        place = f"{error.filename}, line {error.lineno}"
        raise BadInputError(f"--config: wanted a config file, got {error.msg} in {place}") from None
    except (AttributeError, KeyError, TypeError) as error:
        # What ml_collections raises for keys that a config lacks and for values of a wrong type.
        told = str(error.args[0] if error.args else error).replace("\\n", " ").replace("\\'", "'")
        told = " ".join((told[1:-1] if told.startswith("''") else told).split())
        raise BadInputError(f"--config: wanted keys that the config has, got {told}") from None
    if config is None:
        raise BadInputError("--config: wanted a config file, got none")
    return config, Path(_WORKDIR.value)
