import subprocess
import sys

import pytest

import energynets


def test_importing_the_package_imports_nothing_heavy():
    heavy = "flax", "optax", "orbax", "tensorflow_datasets", "absl", "PIL", "scipy.sparse"
    code = f"import sys, energynets; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_tools_are_there_and_others_are_not():
    assert {"segment", "matte", "dehaze", "BadInputError"} <= set(dir(energynets))
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        energynets.segmnt  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
