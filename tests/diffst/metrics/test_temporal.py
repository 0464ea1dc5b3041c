import pytest
import torch
from torch.nn import functional

from diffst.metrics import flow_error, frame_difference_error, temporal, warping_error
from diffst.metrics.temporal import _flow_area, backward_flow, warp


def texture(height: int = 96, width: int = 160, seed: int = 0) -> torch.Tensor:
    """Smooth random blobs that optical flow can follow, (H, W) uint8."""
    coarse = torch.rand(
        1, 1, height // 8, width // 8, generator=torch.Generator().manual_seed(seed)
    )
    fine = functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return fine[0, 0].mul(255).clamp(0, 255).to(torch.uint8)


def pan(num_frames: int, pixels: int) -> torch.Tensor:
    """A camera that moves right: the picture moves left by `pixels` a frame, (T, 96, 160) uint8."""
    wide = texture(width=160 + 8 * num_frames)
    return torch.stack([wide[:, t * pixels : t * pixels + 160] for t in range(num_frames)])


def test_a_constant_error_makes_no_frame_difference_error():
    reference = pan(4, 2).clamp(max=240)
    assert frame_difference_error(reference + 10, reference).tolist() == [0.0, 0.0, 0.0]


def test_flicker_counts_as_its_swing():
    reference = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    flicker = reference.clone()
    flicker[1] += 6
    assert frame_difference_error(flicker, reference).tolist() == [6.0, 6.0]


def test_a_frame_repeated_misses_the_true_change():
    reference = torch.stack(
        [torch.full((4, 4), level, dtype=torch.uint8) for level in (10, 13, 16)]
    )
    judder = reference[[0, 0, 2]]
    assert frame_difference_error(judder, reference).tolist() == [3.0, 3.0]


def test_warp_by_whole_pixels_moves_them_exactly():
    plane = texture().float()
    flow = torch.zeros(2, *plane.shape)
    flow[0], flow[1] = 3, -2
    moved = warp(plane[None], flow)[0]
    # the sampling grid is normalised in float32, so positions are off by about 1e-5 pixels
    torch.testing.assert_close(moved[2:, :-3], plane[:-2, 3:], atol=1e-2, rtol=0)


def test_flow_points_where_each_pixel_came_from():
    earlier, later = pan(2, 4)
    flow, visible = backward_flow(earlier, later)
    inside = flow[:, 16:-16, 16:-16]
    assert inside[0].median().item() == pytest.approx(4, abs=0.1)
    assert inside[1].median().item() == pytest.approx(0, abs=0.1)
    assert visible[16:-16, 16:-16].float().mean().item() > 0.95
    assert not visible[:, -4:].any()  # these pixels were outside the earlier frame


def test_following_the_true_motion_beats_standing_still():
    reference = pan(4, 4)
    frozen = reference[[0, 0, 2, 2]]  # every second frame repeated
    errors = warping_error([reference, frozen], reference)
    assert errors.shape == (2, 3)
    assert errors[0].max().item() < 1.5
    assert errors[1].min().item() > 5 * errors[0].max().item()


def test_a_flat_video_has_no_warping_error():
    flat = torch.full((3, 32, 32), 77, dtype=torch.uint8)
    assert warping_error([flat], flat).tolist() == [[0.0, 0.0]]


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="cannot compare"):
        warping_error([pan(3, 1)[:2]], pan(3, 1))


def test_a_frozen_video_misses_all_of_the_motion():
    reference = pan(3, 3)
    frozen = reference[[0, 0, 0]]
    # the flow of a still pair is zero, so what is left is the true flow: 3 pixels a frame
    assert flow_error(frozen, reference).tolist() == pytest.approx([3.0, 3.0], abs=0.3)


def test_the_same_motion_has_no_flow_error_whatever_the_picture():
    reference = pan(3, 3)
    assert flow_error(reference, reference).tolist() == [0.0, 0.0]
    # half the contrast moves the same way
    assert flow_error(reference // 2 + 60, reference).max().item() < 0.2


@pytest.mark.parametrize(("length", "area"), [(48, (8, 40)), (95, (15, 79)), (720, (8, 712))])
def test_the_flow_is_compared_off_the_edges(length: int, area: tuple[int, int]):
    assert (_flow_area(length).start, _flow_area(length).stop) == area


def test_a_video_too_small_for_its_flow_is_refused():
    with pytest.raises(ValueError, match="tOF needs 48 pixels each way"):
        flow_error(pan(2, 1)[:, :40], pan(2, 1)[:, :40])


def test_a_place_is_trusted_where_the_flow_from_where_it_was_leads_back(
    monkeypatch: pytest.MonkeyPatch,
):
    earlier, later = texture(8, 24), texture(8, 24, seed=1)
    back, forth = torch.zeros(2, 8, 24), torch.zeros(2, 8, 24)
    back[0] = 2
    forth[0, :, :10] = 5
    forth[0, :, 10:16] = -2
    forth[0, :, 16:] = -1  # a pixel off is too much at so slow a motion
    flows = {id(later): back, id(earlier): forth}
    monkeypatch.setattr(temporal, "_dis_flow", lambda source, target: flows[id(source)])
    flow, visible = backward_flow(earlier, later)
    assert flow is back
    assert visible[0].nonzero()[:, 0].tolist() == list(range(8, 14))
    assert (visible == visible[0]).all()


def test_places_that_are_not_trusted_do_not_count(monkeypatch: pytest.MonkeyPatch):
    reference = texture(32, 32).expand(2, -1, -1)
    broken = reference.clone()
    broken[1, :, 16:] = 255 - broken[1, :, 16:]
    trusted = torch.arange(32).expand(32, -1) < 16
    still = torch.zeros(2, 32, 32)
    monkeypatch.setattr(temporal, "backward_flow", lambda earlier, later: (still, trusted))
    assert warping_error([broken], reference).item() == pytest.approx(0, abs=1e-3)
