import numpy as np
import pytest

from energynets.metrics import bootstrap


def test_of_numbers_it_is_the_difference_of_means_with_the_interval_of_the_normal_law():
    random = np.random.default_rng(0)
    first, second = random.normal(1.0, 1.0, 400), random.normal(0.0, 1.0, 400)
    found, low, high = bootstrap.difference(first, second)
    assert found == pytest.approx(first.mean() - second.mean())
    half = 1.96 * (first - second).std() / 20  # pictures are paired, 20 = √400
    # 2,000 draws know a 2.5 % point to about 5 % of the half width.
    assert low == pytest.approx(found - half, abs=0.15 * half)
    assert high == pytest.approx(found + half, abs=0.15 * half)


def test_the_same_pictures_are_drawn_for_both():
    values = np.arange(9.0)
    np.testing.assert_allclose(bootstrap.difference(values + 2, values, draws=50), (2, 2, 2))


def test_any_score_of_the_drawn_pictures_will_do():
    first, second = np.eye(3)[[0, 1, 2, 0]], np.zeros((4, 3))
    found = bootstrap.difference(first, second, lambda rows: rows.sum(0).max(), draws=20)
    assert found[0] == 2 and found[1] <= found[2]


def test_draws_without_a_score_are_left_out():
    values = np.array([1.0, np.nan, 3.0])
    found = bootstrap.difference(values, values * 0, lambda v: float(v.max()), draws=200)
    assert np.isnan(found[0]) and 1 <= found[1] <= found[2] <= 3


def test_sets_of_different_pictures_are_refused():
    with pytest.raises(ValueError, match="second: wanted 3 pictures as in first, got 2"):
        bootstrap.difference(np.zeros(3), np.zeros(2))
