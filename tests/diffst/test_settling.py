"""New frames that take detail from their neighbours, against shifts that indexing can do."""

import cv2
import numpy as np
import pytest
import torch

from diffst import settling
from diffst.cfca import Aggregated
from diffst.settling import Settling, grow, light_of, neighbours_of, settle, strips

KINDS = {"uint8": 255, "uint16": 65535, "float32": 1}


def picture(kind: str, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((3, 24, 32)) * KINDS[kind]
    return values.astype(kind)


def field(
    before: tuple[float, float], after: tuple[float, float], weights: tuple[float, float]
) -> np.ndarray:
    """The same everywhere, at a quarter of the size."""
    return np.broadcast_to(np.array([*before, *after, *weights], np.float32), (6, 8, 6)).copy()


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_are_fetched_along_the_paths_and_mixed_by_weight(kind: str):
    before, after, frame = picture(kind, 1), picture(kind, 2), picture(kind, 3)
    made = frame.copy()
    # A quarter of a low-resolution pixel is one pixel.
    lights = [light_of(before), light_of(after)]
    settle(made, lights, field((0.25, 0), (0, -0.5), (0.5, 0.25)))
    left, right, own = (
        np.tensordot([0.299, 0.587, 0.114], side.astype(float), 1)
        for side in (before, after, frame)
    )
    left = np.pad(left, ((0, 0), (0, 1)), "edge")[:, 1:]
    right = np.pad(right, ((2, 0), (0, 0)), "edge")[:-2]
    expected = np.clip(frame + 0.5 * left + 0.25 * right - 0.75 * own, 0, KINDS[kind])
    # Whole lights are rounded twice more.
    assert np.abs(made - expected).max() <= (1e-6 if kind == "float32" else 2.5)


@pytest.mark.parametrize("kind", KINDS)
def test_where_neighbours_show_the_same_nothing_changes(kind: str):
    frame = picture(kind)
    made = frame.copy()
    settle(made, [light_of(frame)] * 2, field((0, 0), (0, 0), (0.3, 0.6)))
    assert np.array_equal(made, frame)


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(5)
    moving = np.concatenate((rng.normal(0, 2, (6, 8, 4)), rng.random((6, 8, 2)) / 2), -1)
    made: list[np.ndarray] = []
    for at_once in (10**6, 3 * 32):
        monkeypatch.setattr(settling, "STRIP_PIXELS", at_once)
        made.append(picture("uint8", 3))
        lights = [light_of(picture("uint8", seed)) for seed in (1, 2)]
        settle(made[-1], lights, moving.astype(np.float32))
    assert np.array_equal(made[0], made[1])


@pytest.mark.parametrize("size", [(48, 64), (28, 37), (13, 15), (5, 9)])
def test_a_field_grows_in_strips_as_it_does_whole(size: tuple[int, int]):
    field = np.random.default_rng(6).random((12, 16, 6)).astype(np.float32)
    whole = [cv2.resize(plane, size[::-1]) for plane in cv2.split(field)]
    seen = 0
    for low, strip in strips(12, size[0], 5):
        for part, plane in zip(grow(field, low, strip, size[1]), whole, strict=True):
            np.testing.assert_allclose(part, plane[strip], rtol=0, atol=1e-5)
        seen += strip.stop - strip.start
    assert seen == size[0]


def test_neighbours_count_less_the_more_they_differ():
    frames = torch.full((1, 3, 12, 12), 0.5)
    followed = torch.full((1, 2, 3, 12, 12), 0.5)
    followed[0, 1, :, :, 6:] = 0.8
    context, paths = torch.rand(1, 4, 3, 12, 12), torch.randn(1, 2, 2, 12, 12)
    clip = Aggregated(frames=frames, context=context, paths=paths, followed=followed)
    seen = neighbours_of(clip)
    assert torch.equal(seen[:, :4], paths.flatten(1, 2))
    near, far = seen[0, 4:, 6, 0], seen[0, 4:, 6, -1]
    torch.testing.assert_close(near, torch.full((2,), 1 / 3))
    least = torch.exp(torch.tensor(-0.3 / settling.AGREEMENT))
    torch.testing.assert_close(far, torch.stack((torch.tensor(1.0), least)) / (2 + least))


def test_a_new_frame_is_settled_once_both_keyframes_are_there():
    instants = [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5)]
    made = torch.stack([torch.full((3, 24, 32), value / 10) for value in (2, 3, 6, 9)])
    halves = torch.from_numpy(field((0, 0), (0, 0), (0.5, 0.5))).permute(2, 0, 1)
    work = Settling(made, instants)
    work.finished(0, halves.expand(2, -1, -1, -1))
    assert made[1].unique().tolist() == pytest.approx([0.3])
    work.finished(2, halves.expand(2, -1, -1, -1))
    assert made[1].unique().tolist() == pytest.approx([0.4])
    assert made[3].unique().tolist() == pytest.approx([0.9])  # keyframe 2 was not asked for
