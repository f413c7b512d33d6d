import jax
import jax.numpy as jnp
import numpy as np

from energynets.solvers.solution import Solution
from energynets.training import comparison

GROUPS = {"low": {"weight": 1.0}, "high": {"weight": 4.0}}


def energy(problem, y, *, weight):
    """(y - weight·x)², whose minimum is weight·x."""
    return ((y - weight * problem["x"]) ** 2).sum()


def solve(problem, *, weight):
    value = weight * problem["x"]
    return Solution(value, jnp.zeros(()), jnp.int32(0), jnp.asarray(weight < 2))


def test_measures_are_stacked_over_pictures_in_their_order():
    def measure(index):
        one = {"error": index, "matrix": np.full((2, 2), index)}
        return {"b": one, "a": {"error": -index, **({"truth": 1.0} if index == 1 else {})}}

    found = comparison.over_pictures(3, measure)
    assert [*found] == ["b", "a"]
    np.testing.assert_array_equal(found["b"]["error"], [0, 1, 2])
    assert found["b"]["matrix"].shape == (3, 2, 2)
    np.testing.assert_array_equal(found["a"]["truth"], [1.0])  # of the one picture that has it


def test_exact_answers_are_solved_and_every_answer_is_measured_in_float64_for_each_group():
    x = np.array([1.0, 2.0], np.float32) / 3
    answers, measured = comparison.with_exact(
        {"x": x}, {"mine": np.zeros(2, np.float32)}, GROUPS, energy=energy, solve=solve
    )
    assert [*answers] == ["mine", "exact, low", "exact, high"]
    assert answers["exact, high"].dtype == np.float64
    np.testing.assert_array_equal(answers["exact, high"], 4 * x.astype(np.float64))
    squared = (x.astype(np.float64) ** 2).sum()
    expected = {
        "mine": (squared, 16 * squared),
        "exact, low": (0.0, 9 * squared),
        "exact, high": (9 * squared, 0.0),
    }
    for method, (low, high) in expected.items():
        np.testing.assert_allclose(measured[method]["energy, low"], low, rtol=1e-14)
        np.testing.assert_allclose(measured[method]["energy, high"], high, rtol=1e-14)
    assert measured["exact, low"]["unsolved"] == 0 and measured["exact, high"]["unsolved"] == 1
    assert "unsolved" not in measured["mine"]
    assert not jax.config.jax_enable_x64


def test_means_are_of_the_measures_that_are_numbers_and_energies_also_a_pixel():
    measured = {
        "m": {"energy, low": np.array([1.0, 3.0]), "mse": np.array([0.5]), "c": np.ones((2, 2, 2))}
    }
    assert comparison.means(measured) == {"m": {"energy, low": 2.0, "mse": 0.5}}
    assert comparison.means(measured, pixels=4) == {
        "m": {"energy, low": 2.0, "energy, low a pixel": 0.5, "mse": 0.5}
    }


def test_a_table_has_a_row_a_method_and_leaves_empty_what_one_lacks():
    scores = {"a": {"mse": 1.0, "sad": 2.0}, "b": {"sad": 3.0}}
    table = comparison.table("T", scores, {"sad": "SAD", "mse": "MSE", "psnr": "PSNR"})
    assert table.title == "T" and list(table.columns) == ["method", "SAD", "MSE"]
    assert table.rows == [["a", 2.0, 1.0], ["b", 3.0, None]]


def test_groups_of_pictures_lie_below_one_another_under_the_same_columns():
    groups = {"outdoor": {"a": {"psnr": 20.0}}, "indoor": {"a": {"psnr": 10.0, "ssim": 0.5}}}
    table = comparison.grouped("pictures", "T", groups, {"psnr": "PSNR", "ssim": "SSIM"})
    assert list(table.columns) == ["pictures", "method", "PSNR", "SSIM"]
    assert table.rows == [["outdoor", "a", 20.0, None], ["indoor", "a", 10.0, 0.5]]


def test_energies_of_groups_stand_side_by_side_and_a_pixel_in_a_table_of_their_own():
    scores = comparison.means({"m": {"energy, low": np.ones(1), "iou": np.ones(1)}}, pixels=2)
    first, second = comparison.energy_tables(scores, GROUPS, ("iou",))
    assert list(first.columns) == ["method", "iou", "E, low"] and first.rows == [["m", 1.0, 1.0]]
    assert list(second.columns) == ["method", "E, low"] and second.rows == [["m", 0.5]]


def test_times_are_told_against_one_method(monkeypatch):
    monkeypatch.setattr(comparison, "seconds", lambda call: call())
    calls = {"network": ("float32", lambda: 2.0), "exact": ("float64", lambda: 3.0)}
    timing, table = comparison.timed("one picture", calls, against="network")
    assert timing == {"of": "one picture", "seconds": {"network": 2.0, "exact": 3.0}}
    assert table.title == "Seconds for one picture"
    assert list(table.columns)[-1] == "network is × faster"
    assert table.rows == [["network", "float32", 2.0, 1.0], ["exact", "float64", 3.0, 1.5]]


def test_exact_calls_solve_in_float64_wherever_they_are_called():
    calls = comparison.exact_calls({"x": np.ones(2, np.float32)}, GROUPS, solve)
    assert [*calls] == ["exact, low", "exact, high"]
    arithmetic, call = calls["exact, high"]
    assert arithmetic == "float64" and call().value.dtype == np.float64
    np.testing.assert_array_equal(call().value, [4.0, 4.0])


def test_the_line_of_the_training_curve_is_the_exact_energy_of_the_pictures_measured_there():
    measured = {"exact, low": {"energy, low": np.array([1.0, 3.0, 8.0])}}
    assert comparison.exact_line(measured, "low", 2) == {"validation/loss": 2.0}
    assert comparison.exact_line(measured, "low", 2, name="energy") == {"energy": 2.0}
    assert comparison.exact_line(measured, "low", 0) == {}
    assert comparison.exact_line(measured, "high", 2) == {}


def test_what_is_told():
    ones = {"energy, low": 1.0}
    measured = {"network": {"energy, low": 3.0}, "exact, low": ones}
    assert comparison.energies_told(measured, "network", "low") == ["E network / exact: 3"]
    stacked = {"exact, low": {"unsolved": np.array([0.0, 1.0])}, "network": {}}
    assert comparison.unsolved_told(stacked) == ["1 exact solutions did not converge."]
    assert comparison.unsolved_told({"exact, low": {"unsolved": np.zeros(2)}}) == []
    assert comparison.difference_told("MSE, a minus b", (0.5, -0.25, 1.0)) == [
        "MSE, a minus b: +0.500, bootstrap over pictures 95 % [-0.250, +1.000]."
    ]
    assert comparison.difference_told("MSE", (float("nan"),) * 3) == []


def test_a_method_that_saw_masks_is_named_so():
    scores = {"network": {"iou": 0.5}, "exact": {"iou": 0.4}}
    assert comparison.supervised_told(scores, "network", 0, 9) == (scores, [])
    named, [told] = comparison.supervised_told(scores, "network", 3, 9)
    assert [*named] == ["network, masks of 3 of 9 training pictures", "exact"]
    assert named["network, masks of 3 of 9 training pictures"] is scores["network"]
    assert told == (
        "Not without labels: the network was trained with the masks of 3 of 9 training pictures."
    )


def test_label_maps_are_scored_from_their_confusions_and_collapsed_ones_counted():
    confusions = np.array([[[3, 1], [0, 4]], [[5, 0], [2, 1]]])
    of = {"crf": np.array([0.2, 0.4]), "confusion": confusions}
    of |= {"several": np.array([1.0, 1.0]), "collapsed": np.array([0.0, 1.0])}
    scores = comparison.labels_scored({"network": of, "other": {"crf": np.array([1.0])}})
    assert np.isclose(scores["network"]["crf"], 0.3)
    assert scores["network"]["pixel accuracy"] == 13 / 16
    assert scores["network"]["collapsed"] == 0.5 and "several" not in scores["network"]
    assert scores["other"] == {"crf": 1.0}


def test_energies_are_told_in_units_of_the_least():
    scores = {
        "network": {"energy, a": 3.0, "energy, b": 8.0},
        "exact, a": {"energy, a": 2.0, "energy, b": 9.0},
        "exact, b": {"energy, a": 7.0, "energy, b": 4.0},
    }
    told = comparison.ratios_told(scores, "network", {"a": {}, "b": {}})
    assert told == ["Energy of the network in units of the least: 1.5 (a), 2 (b)."]
    scores["exact, a"]["energy, a"] = 0.0
    told = comparison.ratios_told(scores, "network", {"a": {}, "b": {}})
    assert told == ["Energy of the network in units of the least: 2 (b)."]
    assert comparison.ratios_told(scores, "network", {"a": {}}) == []
