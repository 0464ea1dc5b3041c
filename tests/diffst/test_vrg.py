"""Video guidance: shapes, the null start, what it looks at."""

import pytest
import torch

from diffst.vrg import VideoGuidance, spread


def random_guidance() -> VideoGuidance:
    torch.manual_seed(0)
    guidance = VideoGuidance(num_tokens=3, token_dim=8, channels=8, max_frames=4)
    for parameter in guidance.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return guidance.eval().requires_grad_(False)


def test_fresh_weights_give_zero_tokens():
    assert not VideoGuidance()(torch.rand(1, 3, 3, 20, 30)).any()


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (45, 80)])
@pytest.mark.parametrize("num_frames", [1, 2, 9])
def test_any_clip_gives_the_same_number_of_tokens(size, num_frames):
    tokens = random_guidance()(torch.rand(2, num_frames, 3, *size))
    assert tokens.shape == (2, 3, 8)
    assert tokens.isfinite().all()


def test_clips_of_a_batch_do_not_see_each_other():
    guidance = random_guidance()
    clips = torch.rand(2, 4, 3, 24, 32)
    together = guidance(clips)
    torch.testing.assert_close(together[1:], guidance(clips[1:]), rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_a_clip_played_backwards_is_the_same_kind_of_video():
    guidance = random_guidance()
    clip = torch.rand(1, 7, 3, 24, 32)
    torch.testing.assert_close(guidance(clip), guidance(clip.flip(1)), rtol=0, atol=1e-5)


def test_motion_is_seen_not_only_pictures():
    guidance = random_guidance()
    clip = torch.rand(1, 4, 3, 24, 32)
    still = clip[:, :1].expand(-1, 4, -1, -1, -1)
    assert (guidance(clip[:, :1]) - guidance(still)).abs().max() < 1e-5
    assert (guidance(clip) - guidance(still)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("num_frames", "most"), [(1, 8), (8, 8), (9, 8), (16, 8), (17, 4), (500, 8)]
)
def test_chosen_frames_are_spread_and_mirrored(num_frames, most):
    chosen = spread(num_frames, most)
    assert chosen == sorted(set(chosen))
    assert 1 <= len(chosen) <= most
    assert (chosen[0], chosen[-1]) == (0, num_frames - 1)
    assert chosen == sorted(num_frames - 1 - k for k in chosen)


@pytest.mark.parametrize("size", [(100, 40), (64, 33), (17, 50)])
def test_a_large_picture_is_looked_at_in_strips_as_if_whole(monkeypatch, size):
    guidance = random_guidance()
    clips = torch.rand(2, 3, 3, *size)
    whole = guidance(clips)
    monkeypatch.setattr("diffst.vrg.STRIP_PIXELS", 1)
    torch.testing.assert_close(guidance(clips), whole, rtol=0, atol=1e-5)
