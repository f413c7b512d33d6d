import pytest

from tests.training.processes import run


@pytest.mark.parametrize(
    "module", ["experiments.nosuch", "nosuch.experiment", "experiments/seeded_seg.py", "a..b", ""]
)
def test_an_unknown_experiment_is_refused_in_one_line(module):
    out, err = run("-m", "launch.join", module, "--workdir=run", status=2)
    assert out == ""
    assert err == f"error: wanted the name of an experiment, got {module!r}\n"


def test_the_experiment_comes_first():
    _, err = run("-m", "launch.join", "--workdir=run", status=2)
    assert err.startswith("error: wanted the name of an experiment first") and err.count("\n") == 1
