"""The identities that CFCA must keep whatever its weights are."""

import math

import pytest
import torch
import torch.nn.functional as F

from diffst.cfca import CFCA, look_up
from diffst.flow import neighbour_flows, pixel_grid


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


def test_a_keyframe_sees_the_second_neighbours_along_both_steps_of_the_motion(cfca):
    places = pixel_grid(torch.zeros(2, 40, 64))
    clip = torch.cat((places / 100, torch.zeros(1, 40, 64))).expand(5, -1, -1, -1)
    ways = torch.tensor([[2.0, -1.0], [-3.0, 1.5], [1.0, 2.0], [-2.0, 0.5]]).view(4, 2, 1, 1)
    left, right, from_left, from_right = ways
    flows = torch.zeros(4, 2, 2, 40, 64)
    flows[1, 1], flows[2, 0] = left + 0.05 * places, right - 0.05 * places
    flows[0, 1], flows[3, 0] = from_left + 0.1 * places, from_right - 0.1 * places
    at_left, at_right = places + flows[1, 1], places + flows[2, 0]
    expected = [
        at_left + from_left + 0.1 * at_left,
        at_left,
        at_right,
        at_right + from_right - 0.1 * at_right,
    ]
    found = 100 * cfca.keyframe_context(clip, flows, [2])[0, :, :2]
    inner = (..., slice(10, -10), slice(14, -14))
    # The sharp kernel does not keep a ramp to the last digit.
    torch.testing.assert_close(found[inner], torch.stack(expected)[inner], rtol=0, atol=0.06)


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


def test_all_ways_lead_where_motion_and_bend_say():
    """Motions and accelerations that are linear in the place, so that where they lead can be solved for."""
    alpha, beta = 0.25, 0.75
    y = pixel_grid(torch.zeros(2, 48, 64))
    vector = torch.tensor([[2.0, -1.0], [-1.0, 0.5], [1.0, 0.5]]).view(3, 2, 1, 1)
    # The motion as either keyframe says it, not each other's opposites, and the acceleration at a new place.
    (c0, c1, c), (g0, g1, g) = vector, (0.02, -0.015, 0.06)
    # To the outer keyframes goes what makes up that acceleration with the motion between the inner ones.
    u = c + g * alpha * c0 - c0, g * (1 + alpha * g0) - g0
    v = c + g * beta * c1 - c1, g * (1 + beta * g1) - g1
    flows = torch.zeros(3, 2, 2, 48, 64)
    flows[0, 1], flows[1, 0] = u[0] + u[1] * y, c0 + g0 * y
    flows[1, 1], flows[2, 0] = c1 + g1 * y, v[0] + v[1] * y
    paths = CFCA().ways(torch.zeros(4, 3, 48, 64), flows, [(1, alpha)]).paths[0]
    # The place that comes by at the instant, where it was at a keyframe, and so its motion.
    forward = c0 + g0 * (y - alpha * c0) / (1 + alpha * g0)
    backward = c1 + g1 * (y - beta * c1) / (1 + beta * g1)
    bend = alpha * beta / 2 * (c + g * y)
    left, right = bend - alpha * forward, bend - beta * backward
    expected = [
        left,
        bend + beta * forward,
        bend + alpha * backward,
        right,
        left + u[0] + u[1] * (y + left),
        right + v[0] + v[1] * (y + right),
    ]
    inner = (..., slice(12, -12), slice(12, -12))
    for number, way in enumerate(expected):
        torch.testing.assert_close(paths[number][inner], way[inner], rtol=0, atol=1e-3)


def test_between_two_keyframes_alone_nothing_bends():
    flows = torch.tensor([[2.0, -1.0], [-1.0, 0.5]]).view(1, 2, 2, 1, 1).expand(-1, -1, -1, 40, 64)
    ways = CFCA().ways(torch.zeros(2, 3, 40, 64), flows, [(0, 0.25)])
    assert ways.keyframes == [(0, 1, 0, 1, 0, 1)]
    forward, backward = flows[0]
    left, right = -0.25 * forward, -0.75 * backward
    expected = [left, 0.75 * forward, 0.25 * backward, right, left, right]
    torch.testing.assert_close(ways.paths[0], torch.stack(expected))


def expected_shares(alpha: float) -> torch.Tensor:
    """Of ways that all lead to the same: by how near their keyframes are, the outer ones e^-4 of that."""
    far = 2 * alpha * (1 - alpha) * math.exp(-4)
    counts = torch.tensor([1 - alpha, alpha, 1 - alpha, alpha, far, far])
    return (counts / counts.sum()).view(6, 1, 1)


def test_ways_that_agree_count_by_how_near_their_keyframes_are():
    clip = torch.full((4, 3, 40, 64), 0.5)
    for alpha in (0.25, 0.5, 0.9):
        shares = CFCA().ways(clip, neighbour_flows(clip), [(1, alpha)]).shares[0]
        torch.testing.assert_close(shares, expected_shares(alpha).expand(-1, 40, 64))


def test_what_ways_lead_to_is_compared_along_the_whole_motion():
    speed = 4.0  # pixels a keyframe, to the right
    ramp = 0.01 * (torch.arange(64) - speed * torch.arange(4).view(4, 1, 1, 1)) + 0.2
    flows = torch.zeros(3, 2, 2, 40, 64)
    flows[:, 0, 0], flows[:, 1, 0] = speed, -speed
    shares = CFCA().ways(ramp.expand(-1, 3, 40, -1), flows, [(1, 0.25)]).shares[0]
    inner = shares[..., 20:-20]
    torch.testing.assert_close(inner, expected_shares(0.25).expand_as(inner), rtol=0, atol=1e-4)


def test_the_network_is_told_how_far_each_way_is_from_the_plain_blend(cfca):
    told: list[torch.Tensor] = []
    cfca.score.register_forward_hook(lambda _, given, __: told.append(given[0]))
    colours = torch.tensor([0.2, 0.6, 0.3, 0.7, 0.1, 0.4]).view(1, 6, 1, 1, 1)
    cfca.shares(colours.expand(-1, -1, 3, 8, 8), torch.tensor(0.25).view(1, 1, 1, 1))
    (given,) = told
    blend = 0.75 * (0.2 + 0.3) / 2 + 0.25 * (0.6 + 0.7) / 2
    wanted = torch.zeros(6, 8)
    wanted[:, :3] = colours.view(6, 1)
    wanted[:, 3:6] = wanted[:, :3] - blend
    wanted[:, 6] = torch.tensor([0.4, 0.4, 0.4, 0.4, 0.3, 0.3])
    wanted[4:, 7] = 1
    torch.testing.assert_close(given, wanted[..., None, None].expand(-1, -1, 8, 8))


def test_pictures_are_looked_up_with_a_sharp_kernel():
    picture = torch.full((1, 3, 8, 16), 0.5)
    picture[..., 8] = 0.9  # a line, seen half a pixel to the left
    flow = torch.zeros(1, 2, 8, 16)
    flow[:, 0] = 0.5
    row = look_up(picture, flow)[0, 0, 4]
    wanted = torch.full((16,), 0.5)
    wanted[[7, 8]] += 0.4 * 19 / 32
    wanted[[6, 9]] -= 0.4 * 3 / 32
    torch.testing.assert_close(row, wanted)
