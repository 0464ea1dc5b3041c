"""The identities that CFCA must keep whatever its weights are."""

import pytest
import torch
import torch.nn.functional as F

from diffst.cfca import CFCA, look_up
from diffst.flow import neighbour_flows


@pytest.fixture
def cfca() -> CFCA:
    """CFCA whose scoring network says something: random weights in all its layers."""
    torch.manual_seed(0)
    model = CFCA()
    for parameter in model.score.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def smooth_clip(num_frames: int, *, moving: bool = True) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 14, 22, generator=generator)
    wide = F.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)
    step = 2 if moving else 0
    return torch.cat([wide[..., 4:44, step * t : step * t + 64] for t in range(num_frames)])


def test_a_keyframe_passes_untouched(cfca):
    clip = smooth_clip(5)
    made = cfca(clip, neighbour_flows(clip), [(0, 0.0), (2, 0.0), (4, 0.0)])
    assert torch.equal(made, clip[[0, 2, 4]])


def test_a_still_clip_stays_still(cfca):
    clip = smooth_clip(5, moving=False)
    made = cfca(clip, neighbour_flows(clip), [(1, 0.0), (1, 0.3), (2, 0.5), (3, 0.9)])
    torch.testing.assert_close(made, clip[:1].expand(4, -1, -1, -1), rtol=0, atol=1e-5)
    expected = clip[:1].unsqueeze(1).expand(2, 4, -1, -1, -1)
    context = cfca.keyframe_context(clip, neighbour_flows(clip), [1, 4])
    torch.testing.assert_close(context, expected, rtol=0, atol=1e-5)


def test_time_reversed_gives_the_result_reversed(cfca):
    clip = smooth_clip(6)
    there = cfca(clip, neighbour_flows(clip), [(2, 0.25), (3, 0.0)])
    mirrored = clip.flip(0)
    back = cfca(mirrored, neighbour_flows(mirrored), [(2, 0.75), (2, 0.0)])
    torch.testing.assert_close(there, back, rtol=0, atol=1e-6)
    context = cfca.keyframe_context(clip, neighbour_flows(clip), [3])
    backwards = cfca.keyframe_context(mirrored, neighbour_flows(mirrored), [2])
    torch.testing.assert_close(context, backwards.flip(1), rtol=0, atol=1e-6)


def test_every_keyframe_around_an_instant_is_used(cfca):
    clip = smooth_clip(6)
    flows = neighbour_flows(clip)
    made = cfca(clip, flows, [(2, 0.5)])
    for used in (1, 2, 3, 4):
        changed = clip.clone()
        changed[used] = 1 - changed[used]
        assert (cfca(changed, flows, [(2, 0.5)]) - made).abs().max() > 1e-4, used
    for unused in (0, 5):
        changed = clip.clone()
        changed[unused] = 1 - changed[unused]
        assert torch.equal(cfca(changed, flows, [(2, 0.5)]), made), unused


def test_the_frame_moves_continuously_to_either_keyframe(cfca):
    clip = smooth_clip(4)
    flows = neighbour_flows(clip)
    near = cfca(clip, flows, [(1, 1e-9), (1, 1 - 1e-9)])
    torch.testing.assert_close(near, clip[1:3], rtol=0, atol=1e-4)


def test_fresh_weights_find_the_frame_between_on_a_pan():
    clip = smooth_clip(9)
    keyframes, truth = clip[::2], clip[1::2]
    made = CFCA()(keyframes, neighbour_flows(keyframes), [(n, 0.5) for n in range(4)])
    inner = (..., slice(4, -4), slice(8, -8))
    error = (made - truth)[inner].square().mean()
    blend = ((keyframes[:-1] + keyframes[1:]) / 2 - truth)[inner].square().mean()
    assert error < 0.02 * blend


def test_a_keyframe_sees_two_neighbours_on_each_side(cfca):
    clip = smooth_clip(7)
    flows = neighbour_flows(clip)
    context = cfca.keyframe_context(clip, flows, [3])
    inner = (..., slice(6, -6), slice(10, -10))
    torch.testing.assert_close(
        context[inner], clip[3].expand(1, 4, -1, -1, -1)[inner], rtol=0, atol=0.03
    )
    for place, used in enumerate((1, 2, 4, 5)):
        changed = clip.clone()
        changed[used] = 1 - changed[used]
        moved = (cfca.keyframe_context(changed, flows, [3]) - context).abs().amax((0, 2, 3, 4))
        assert [bool(m > 0.01) for m in moved] == [other == place for other in range(4)]


def test_what_speeds_up_is_met_where_it_passes(monkeypatch):
    def seen_at(time: float) -> torch.Tensor:
        x = torch.arange(160).float() - (3 * time + time**2)
        y = torch.arange(64).float().view(-1, 1)
        wave = 0.5 + 0.2 * torch.sin(x / 4) * torch.cos(y / 5) + 0.2 * torch.sin(x / 9 + y / 7)
        return wave.expand(3, -1, -1)

    keyframes = torch.stack([seen_at(float(t)) for t in range(4)])
    flows, cfca = neighbour_flows(keyframes), CFCA().requires_grad_(False)
    inner = (..., slice(8, -8), slice(24, -24))

    def error() -> float:
        made = cfca(keyframes, flows, [(1, 0.5)])[0]
        return float((made - seen_at(1.5))[inner].square().mean())

    bent = error()
    monkeypatch.setattr("diffst.cfca.bend_of", lambda left, right, alpha: torch.zeros_like(left))
    assert bent < 0.2 * error()


def test_a_part_that_was_still_before_bends_as_the_whole_picture_does(cfca):
    keyframes = smooth_clip(4)
    flows = neighbour_flows(keyframes)
    flows[0] = 0  # still, then it moves
    flows[0, ..., 48:] = 1
    whole = cfca(keyframes, flows, [(1, 0.5)])[..., :16]
    part = cfca(keyframes[..., :40], flows[..., :40], [(1, 0.5)])[..., :16]
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-5)


def test_instants_outside_the_clip_are_refused(cfca):
    clip = smooth_clip(3)
    flows = neighbour_flows(clip)
    for instant in ((2, 0.5), (3, 0.0), (-1, 0.0), (0, 1.0)):
        with pytest.raises(ValueError, match="outside a clip of 3 keyframes"):
            cfca(clip, flows, [instant])
    with pytest.raises(ValueError, match="need 2 pairs of flows"):
        cfca(clip, flows[:1], [(0, 0.5)])


def test_ways_lead_to_what_the_new_frame_is_mixed_of(cfca):
    clip = smooth_clip(6)
    flows = neighbour_flows(clip)
    ways = cfca.ways(clip, flows, [(2, 0.25), (0, 0.5)])
    assert ways.keyframes == [(2, 3, 2, 3, 1, 4), (0, 1, 0, 1, 0, 2)]
    torch.testing.assert_close(ways.shares.sum(1), torch.ones(2, 40, 64))
    seen = look_up(clip[list(ways.keyframes[0])], ways.paths[0])
    mixed = (ways.shares[0].unsqueeze(1) * seen).sum(0)
    torch.testing.assert_close(cfca(clip, flows, [(2, 0.25)])[0], mixed, rtol=0, atol=1e-5)


def test_a_way_counts_less_the_more_it_disagrees_with_its_opposite():
    clip = smooth_clip(4, moving=False)
    clip[1, :, :, 32:] = 1 - clip[1, :, :, 32:]
    shares = CFCA().ways(clip, torch.zeros(3, 2, 2, 40, 64), [(1, 0.5)]).shares[0]
    same, other = shares[..., :20].mean((1, 2)), shares[..., -20:].mean((1, 2))
    assert (same[:4] - same[0]).abs().max() < 1e-6  # four alike, and two far ones that count less
    assert same[4] < 0.05 < 0.2 < same[0]
    assert other[4] > other[0]  # the outer ones agree with each other


def test_a_keyframe_has_no_ways(cfca):
    clip = smooth_clip(3)
    with pytest.raises(ValueError, match="only frames between keyframes"):
        cfca.ways(clip, neighbour_flows(clip), [(1, 0.0)])
