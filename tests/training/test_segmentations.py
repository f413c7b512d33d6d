import numpy as np
from PIL import Image

from energynets.data import weak_labels
from energynets.data.source import Picture
from energynets.training import segmentations


class Two:
    """Pictures of 4×4 pixels, the left half of label 1; of the second there is no truth."""

    classes = 3

    def __len__(self):
        return 2

    def __getitem__(self, index):
        image = np.full((4, 4, 3), 0.5, np.float32)
        seeds = np.full((4, 4), 255, np.uint8)
        seeds[0, 0], seeds[0, 3] = 1, 0
        return Picture(self.name(index), image, seeds)

    def name(self, index):
        return "ab"[index]

    def mask(self, index):
        return np.array([[1, 1, 0, 0]] * 4, np.uint8) if index == 0 else None


def test_every_method_is_measured_and_the_first_pictures_are_drawn(tmp_path):
    source, asked = Two(), []

    def answers(image):
        right = np.array([[1, 1, 0, 0]] * 4)
        return {name: np.eye(3)[labels] for name, labels in {"x": right, "a": 0 * right}.items()}

    def pulls(example):
        asked.append(example)
        return {"CRF": np.ones((4, 4, 3))}

    found = segmentations.compared(
        source,
        lambda index: weak_labels.example(source[index], size=4, classes=3),
        answers=answers,
        energies=lambda example, y: {"sum": y[..., 1].sum() + example.present.sum()},
        pulls=pulls,
        figure=tmp_path / "pictures.png",
        pictures=1,
    )
    assert [*found] == ["x", "a"]
    assert found["x"]["mIoU"] == 1 and found["a"]["mIoU"] == 0.25
    assert found["x"]["sum"] == 8 + 2 and found["a"]["sum"] == 2
    assert found["x"]["collapsed"] == 0 and found["a"]["collapsed"] == 1
    assert len(asked) == 1
    with Image.open(tmp_path / "pictures.png") as picture:
        picture.load()


def test_a_picture_shows_what_its_truth_shows_and_without_one_what_its_labels_say():
    source = Two()
    nothing = np.zeros(3, np.float32)
    looks = [weak_labels.example(source[index], size=4, classes=3) for index in (0, 1)]
    found = [
        segmentations.shown(source.mask(index), look._replace(present=present)).tolist()
        for index, look, present in ((0, looks[0], nothing), (1, looks[1], looks[1].present))
    ]
    assert found == [[True, True, False], [1, 1, 0]]
