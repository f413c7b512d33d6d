import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energynets.metrics import segmentation

VOID = 255


def maps(seed, shape=(9, 7), classes=4, void=0.2):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, shape).astype(np.uint8)
    truth = random.integers(0, classes, shape).astype(np.uint8)
    truth[random.random(shape) < void] = VOID
    return labels, truth


def counted(labels, truth, classes):
    """The confusion matrix, pixel by pixel."""
    matrix = np.zeros((classes, classes), int)
    for row in range(truth.shape[0]):
        for column in range(truth.shape[1]):
            if truth[row, column] != VOID:
                matrix[truth[row, column], labels[row, column]] += 1
    return matrix


def overlap(labels, truth, label):
    """Intersection over union from sets of pixels that are not void."""
    known = truth != VOID
    said, true = (labels == label) & known, truth == label
    return (said & true).sum() / (said | true).sum()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(1, 8), st.integers(1, 8), st.integers(1, 6))
def test_confusion_is_the_count_of_a_slow_loop(seed, height, width, classes):
    labels, truth = maps(seed, (height, width), classes)
    found = segmentation.confusion(labels, truth, classes)
    np.testing.assert_array_equal(found, counted(labels, truth, classes))


def test_confusion_takes_every_label_below_void():
    labels = np.array([[254, 0]], np.uint8)
    matrix = segmentation.confusion(labels, labels, 255)
    assert matrix[254, 254] == 1 and matrix[0, 0] == 1 and matrix.sum() == 2


def test_void_pixels_do_not_count():
    labels, truth = maps(0)
    changed = np.where(truth == VOID, (labels + 1) % 4, labels).astype(np.uint8)
    np.testing.assert_array_equal(
        segmentation.confusion(labels, truth, 4), segmentation.confusion(changed, truth, 4)
    )
    nothing = segmentation.confusion(labels, np.full_like(truth, VOID), 4)
    assert nothing.sum() == 0
    assert np.isnan(segmentation.mean_iou(nothing)) and segmentation.pixel_accuracy(nothing) == 0


def test_a_small_label_map_is_compared_at_the_size_of_the_truth():
    truth = np.zeros((6, 9), np.uint8)
    truth[:, 3:] = 1
    small = np.array([[0, 1, 1], [0, 1, 0]], np.int32)
    found = segmentation.at_full_size(small, truth, 2)
    np.testing.assert_array_equal(found, [[18, 0], [9, 27]])


def test_the_scores_of_sums_are_the_mean_loss_and_the_iou_where_there_was_truth():
    sums = {"count": np.array(4.0), "loss": np.array(6.0)}
    assert segmentation.scores(sums) == {"loss": 1.5}
    assert segmentation.scores({**sums, "energy": 4}) == {"loss": 1.5, "energy": 4 / sums["count"]}
    matrix = segmentation.confusion(*maps(1), 4)
    found = segmentation.scores({**sums, "confusion": matrix})
    assert found == {"loss": 1.5, "mean_iou": segmentation.mean_iou(matrix)}


def test_the_iou_of_each_method_that_has_one_is_told():
    perfect = np.diag([3, 4])
    assert segmentation.told({"a": {"confusion": perfect}, "b": {}}) == ["IoU a: 1.000"]


def test_iou_is_intersection_over_union():
    labels, truth = maps(1)
    found = segmentation.iou(segmentation.confusion(labels, truth, 4))
    np.testing.assert_allclose(found, [overlap(labels, truth, k) for k in range(4)])


def test_a_label_that_is_not_true_anywhere_has_no_iou():
    truth = np.zeros((2, 3), np.uint8)
    labels = np.array([[0, 0, 0], [1, 0, 0]], np.uint8)
    values = segmentation.iou(segmentation.confusion(labels, truth, 3))
    assert values[0] == 5 / 6 and np.isnan(values[1:]).all()
    assert segmentation.mean_iou(segmentation.confusion(labels, truth, 3)) == 5 / 6


def test_a_perfect_answer_scores_one_and_a_wrong_one_nought():
    truth = maps(2, void=0.0)[1]
    right = segmentation.confusion(truth, truth, 4)
    wrong = segmentation.confusion(((truth + 1) % 4).astype(np.uint8), truth, 4)
    assert segmentation.mean_iou(right) == segmentation.pixel_accuracy(right) == 1
    assert segmentation.mean_iou(wrong) == segmentation.pixel_accuracy(wrong) == 0


def test_labels_in_too_few_pictures_can_be_left_out():
    labels, truth = maps(3)
    matrix = segmentation.confusion(labels, truth, 4)
    values = segmentation.iou(matrix)
    pictures = np.array([10, 3, 10, 9])
    found = segmentation.mean_iou(matrix, pictures, at_least=10)
    assert found == pytest.approx((values[0] + values[2]) / 2)
    assert np.isnan(segmentation.mean_iou(matrix, pictures, at_least=11))


def test_pixel_accuracy_is_the_share_of_right_pixels():
    labels, truth = maps(4)
    known = truth != VOID
    matrix = segmentation.confusion(labels, truth, 4)
    assert segmentation.pixel_accuracy(matrix) == (labels == truth)[known].mean()


def many(count, seed=0, quality=0.5):
    """Confusion matrices of pictures of which the share `quality` is right."""
    random = np.random.default_rng(seed)
    matrices = []
    for index in range(count):
        truth = maps(index)[1]
        labels = np.where(random.random(truth.shape) < quality, truth, maps(index + 50)[0])
        labels[labels == VOID] = 0
        matrices.append(segmentation.confusion(labels.astype(np.uint8), truth, 4))
    return np.stack(matrices)


def test_the_summary_is_of_the_summed_matrices():
    matrices = many(12)
    matrices[2:, 3] = 0  # label 3 is true in two pictures only
    total = matrices.sum(0)
    found = segmentation.summary(matrices)
    assert tuple(found) == segmentation.SUMMARY
    values = segmentation.iou(total)
    assert list(found.values()) == pytest.approx(
        [values.mean(), values[:3].mean(), segmentation.pixel_accuracy(total)]
    )


def test_the_bootstrap_holds_the_difference_in_its_interval():
    better, worse = many(20, quality=0.8), many(20, seed=1, quality=0.5)
    difference, low, high = segmentation.bootstrap(better, worse, draws=300)
    expected = segmentation.mean_iou(better.sum(0)) - segmentation.mean_iou(worse.sum(0))
    assert difference == pytest.approx(expected)
    assert 0 < low < difference < high
    turned = segmentation.bootstrap(worse, better, draws=300)
    np.testing.assert_allclose(turned, (-difference, -high, -low))


def test_the_bootstrap_draws_the_same_pictures_for_both():
    matrices = many(10)
    assert segmentation.bootstrap(matrices, matrices, draws=50) == (0, 0, 0)


def test_the_same_seed_draws_the_same_interval():
    first, second = many(10, quality=0.8), many(10, seed=1)
    once = segmentation.bootstrap(first, second, draws=100, seed=3)
    assert segmentation.bootstrap(first, second, draws=100, seed=3) == once
    assert segmentation.bootstrap(first, second, draws=100, seed=4)[1:] != once[1:]


def test_the_interval_is_wider_for_fewer_pictures():
    few, more = (
        segmentation.bootstrap(many(count, quality=0.8), many(count, seed=1), draws=300)
        for count in (10, 160)
    )
    # By the square root of 16, give or take.
    assert 2 < (few[2] - few[1]) / (more[2] - more[1]) < 8


def test_no_label_in_enough_pictures_has_no_difference():
    found = segmentation.bootstrap(many(3), many(3, seed=1), at_least=10)
    assert np.isnan(found).all()


def test_pictures_of_several_labels_that_are_given_one_count_as_collapsed():
    flat, mixed = np.zeros((3, 4), int), np.arange(12).reshape(3, 4) % 2
    shown = [np.array([1, 1, 0]), np.array([1, 0, 1]), np.array([0, 1, 0]), np.array([1, 1, 1])]
    parts = [
        segmentation.one_label(labels, of)
        for labels, of in zip((flat, mixed, flat, flat + 2), shown, strict=True)
    ]
    sums = {name: sum(part[name] for part in parts) for name in ("several", "collapsed")}
    assert segmentation.collapse(sums) == pytest.approx(2 / 3)


def test_a_collapse_is_told_with_the_greatest_weight_and_only_when_nearly_all_pictures_did():
    weights = {"loss.crf": 2.0, "loss.cut": 30.0}
    assert segmentation.collapse_told(0.89, weights) == []
    (told,) = segmentation.collapse_told(0.95, weights)
    assert "95%" in told and "without loss.cut does not, lower it, now 30" in told
    assert "\n" not in told
    (told,) = segmentation.collapse_told(1.0, {"loss.crf": 0.0})
    assert "learnt nothing yet" in told
