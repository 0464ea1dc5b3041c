import numpy as np
import pytest

from diffst.training.shapes import blob, text_plate


@pytest.mark.parametrize("seed", range(8))
def test_blob_is_premultiplied_solid_inside_and_clear_at_its_border(seed: int) -> None:
    texture = np.full((30, 30, 3), 200, np.uint8)
    image = blob(texture, 12.0, np.random.default_rng(seed))
    cover = image[..., 3].astype(float) / 255
    np.testing.assert_allclose(image[..., 0], 200 * cover, atol=1)
    middle = len(image) // 2
    assert cover[middle, middle] == 1
    assert cover[0].max() == cover[-1].max() == cover[:, 0].max() == cover[:, -1].max() == 0
    assert ((cover > 0.05) & (cover < 0.95)).any()


@pytest.mark.parametrize("seed", range(8))
def test_text_is_premultiplied_and_clear_at_its_border(seed: int) -> None:
    image = text_plate(np.random.default_rng(seed))
    assert (image[..., :3].max(axis=-1) <= image[..., 3]).all()
    assert image[..., 3].max() == 255
    assert image[0, :, 3].max() == image[-1, :, 3].max() == 0
