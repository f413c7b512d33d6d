import numpy as np

from energynets.interface import resizing


def test_resizing_keeps_means_and_leaves_equal_sizes_alone():
    planes = np.random.default_rng(2).random((8, 12, 2)).astype(np.float32)
    assert (
        resizing.shrunk(planes, (8, 12)) is planes and resizing.enlarged(planes, (8, 12)) is planes
    )
    blocks = planes.reshape(4, 2, 6, 2, 2).mean((1, 3))
    np.testing.assert_allclose(resizing.shrunk(planes, (4, 6)), blocks, atol=1e-6)
    assert resizing.enlarged(planes, (16, 23)).shape == (16, 23, 2)
