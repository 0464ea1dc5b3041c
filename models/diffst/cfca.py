"""Cross-frame context aggregation: several keyframes, brought along the motion to a new instant,
become one frame.

Known from the DiffST overview figure (arXiv 2605.13182): every keyframe has a forward and a
backward flow; from several keyframes come several temporary frames at each new instant, and a
fusion makes one target frame of them; keyframes pass. Ours to decide, and decided here: the flow
(classical search, see `flow.py`), which temporary frames are made, the fusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from diffst.flow import bend_of, box_mean, flow_at, warp
from diffst.layers import zeroed

Instants = Sequence[tuple[int, float]]

LEAST_WEIGHT = 1e-12  # keeps log(alpha) finite where an instant touches a keyframe


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """What the keyframes say about each asked instant, at low resolution."""

    frames: Tensor
    """(I, 3, H, W) float in [0, 1]: the frame at each instant; a keyframe itself where alpha is 0."""
    context: Tensor
    """(I, 4, 3, H, W) float in [0, 1]: keyframes brought to the instant, from the left:
    outer, inner, inner, outer."""
    paths: Tensor
    """(I, 2, 2, H, W) float32 in pixels: the way from each place to where the keyframe before shows it, and where the
    one after does; 0 for a keyframe itself."""
    followed: Tensor
    """(I, 2, 3, H, W) float in [0, 1]: what these keyframes show there."""


class CFCA(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Fuses up to four keyframes, two on each side, into the frame of any instant between the inner two.

    For an instant at alpha between keyframes n and n + 1 the two inner keyframes are looked up along the forward motion
    and along the backward motion (four temporary frames), the two outer ones, n - 1 and n + 2, along motions that are
    put together from two steps. Each temporary frame gets a score per pixel: the log of how near its keyframe is, minus
    how much it disagrees with its opposite, plus what a small network says, the same network for every temporary frame,
    so that reversing time reverses the result. Fresh weights score 0: a consistency-weighted linear blend.

    Args:
        hidden_channels: Width of the scoring network.
    """

    @register_to_config
    def __init__(self, hidden_channels: int = 16) -> None:
        super().__init__()
        # A temporary frame, its distance from the plain blend, its disagreement with its opposite, inner or outer.
        self.score = nn.Sequential(
            nn.Conv2d(8, hidden_channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            zeroed(nn.Conv2d(hidden_channels, 1, 3, padding=1)),
        )
        self.disagreement_weight = nn.Parameter(torch.tensor(20.0))
        self.outer_prior = nn.Parameter(torch.tensor(-4.0))

    def forward(self, frames: Tensor, flows: Tensor, instants: Instants) -> Aggregated:
        """Aggregate one clip.

        Args:
            frames: (T, 3, H, W) float in [0, 1], keyframes of one shot.
            flows: (T - 1, 2, 2, H, W) float32 in pixels, as `neighbour_flows` gives them.
            instants: Keyframe index n and alpha in [0, 1) for each frame to make; alpha above 0 needs keyframe n + 1.

        Raises:
            ValueError: An instant lies outside the clip, or the flows do not fit the frames.
        """
        check_instants(instants, len(frames))
        if flows.shape[0] != len(frames) - 1:
            raise ValueError(
                f"{len(frames)} frames need {len(frames) - 1} pairs of flows, not {flows.shape[0]}"
            )
        kept = [i for i, (_, alpha) in enumerate(instants) if alpha == 0]
        new = [i for i, (_, alpha) in enumerate(instants) if alpha > 0]
        fused = frames.new_empty(len(instants), *frames.shape[1:])
        context = frames.new_empty(len(instants), 4, *frames.shape[1:])
        paths = flows.new_zeros(len(instants), 2, 2, *frames.shape[2:])
        followed = frames.new_empty(len(instants), 2, *frames.shape[1:])
        if kept:
            indices = [instants[i][0] for i in kept]
            fused[kept] = frames[indices]
            context[kept] = self.keyframe_context(frames, flows, indices)
            followed[kept] = frames[indices].unsqueeze(1)
        if new:
            between = self.between(frames, flows, [instants[i] for i in new])
            fused[new], context[new], paths[new], followed[new] = between
        return Aggregated(frames=fused, context=context, paths=paths, followed=followed)

    def keyframe_context(self, frames: Tensor, flows: Tensor, indices: list[int]) -> Tensor:
        """The two keyframes on each side of some keyframes, brought to them, (I, 4, 3, H, W).

        A clip's end stands in for what lies beyond it.
        """
        last = len(frames) - 1
        ways = torch.cat((self.steps(flows, indices, -1), self.steps(flows, indices, 1)))
        beyond = torch.cat(
            (
                self.steps(flows, [n - 1 for n in indices], -1),
                self.steps(flows, [n + 1 for n in indices], 1),
            )
        )
        to_outer = ways + warp(beyond, ways)
        # All in one call, so that all cores find work.
        chosen = [min(max(n + away, 0), last) for away in (-1, 1, -2, 2) for n in indices]
        seen = look_up(frames[chosen], torch.cat((ways, to_outer)))
        left, right, outer_left, outer_right = seen.chunk(4)
        return torch.stack((outer_left, left, right, outer_right), dim=1)

    @staticmethod
    def steps(flows: Tensor, indices: list[int], direction: int) -> Tensor:
        """Motion from each keyframe to its neighbour on one side, (I, 2, H, W); zero where there is none."""
        still = flows.new_zeros(2, *flows.shape[-2:])
        pairs = [(n, 0) if direction > 0 else (n - 1, 1) for n in indices]
        return torch.stack([flows[k, way] if 0 <= k < len(flows) else still for k, way in pairs])

    def between(
        self, frames: Tensor, flows: Tensor, instants: list[tuple[int, float]]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frames strictly between keyframes, their context, paths and what these lead to, see `Aggregated`."""
        n = [index for index, _ in instants]
        last = len(frames) - 1
        alpha = torch.tensor(
            [a for _, a in instants], dtype=torch.float32, device=frames.device
        ).view(-1, 1, 1, 1)
        # 1. The motion through each new pixel, once told by the left keyframe and once by the right, and its bend.
        pair = flows[n].transpose(0, 1).flatten(0, 1)
        sides = torch.cat((alpha, 1 - alpha))
        motion = flow_at(pair, sides)
        steps = torch.cat((self.steps(flows, n, -1), self.steps(flows, [k + 1 for k in n], 1)))
        has_step = alpha.new_tensor([k > 0 for k in n] + [k + 1 < last for k in n]).view_as(sides)
        from_left, from_right = (has_step * warp(pair + steps, -sides * motion)).chunk(2)
        bend = bend_of(from_left, from_right, alpha)
        # 2. Temporary frames: the inner keyframes along both motions.
        (forward, backward), both = motion.chunk(2), torch.cat((bend, bend))
        to_own = both - sides * motion
        to_other = torch.cat((bend + alpha * backward, bend + (1 - alpha) * forward))
        inner = [*n, *(k + 1 for k in n)]
        # 3. The outer ones, one step further along the nearer keyframe's own motion.
        to_far = to_own + warp(steps, to_own)
        outer = [max(k - 1, 0) for k in n] + [min(k + 2, last) for k in n]
        # All in one call, so that all cores find work.
        seen = look_up(frames[inner + inner + outer], torch.cat((to_own, to_other, to_far)))
        left_own, right_own, left_other, right_other, far_left, far_right = seen.chunk(6)
        # 4. Scores and the fused frame.
        pairs = ((left_own, right_other), (left_other, right_own), (far_left, far_right))
        weights = self.weights(pairs, alpha)
        candidates = torch.stack([frame for pair in pairs for frame in pair], dim=1)
        # About their middle: where all agree, the sum is what they say to the last bit.
        middle = (left_own + right_own) / 2
        fused = middle + pair_sum(weights * (candidates - middle.unsqueeze(1)))
        # 5. Context: each side's inner frame as its two versions are weighted.
        inner_left = mix(left_own, left_other, weights[:, 0], weights[:, 2])
        inner_right = mix(right_own, right_other, weights[:, 3], weights[:, 1])
        context = torch.stack((far_left, inner_left, inner_right, far_right), dim=1)
        followed = torch.stack((left_own, right_own), dim=1)
        return fused, context, torch.stack(to_own.chunk(2), dim=1), followed

    def weights(self, pairs: Sequence[tuple[Tensor, Tensor]], alpha: Tensor) -> Tensor:
        """Share of each temporary frame at each pixel, (I, 6, 1, H, W), summing to 1."""
        near_left = torch.log((1 - alpha).clamp_min(LEAST_WEIGHT))
        near_right = torch.log(alpha.clamp_min(LEAST_WEIGHT))
        # Vanishes at both ends, so that an instant moves into a keyframe without a jump.
        far = torch.log((2 * alpha * (1 - alpha)).clamp_min(LEAST_WEIGHT))
        blend = (1 - alpha) * (pairs[0][0] + pairs[1][0]) / 2 + alpha * (
            pairs[1][1] + pairs[0][1]
        ) / 2
        exponents = []
        for number, (left, right) in enumerate(pairs):
            outer = number == 2
            disagreement = box_mean((left - right).abs().mean(1, keepdim=True))
            prior = -self.disagreement_weight * disagreement + (self.outer_prior if outer else 0.0)
            is_outer = torch.full_like(disagreement, float(outer))
            seen = [
                torch.cat((frame, frame - blend, disagreement, is_outer), dim=1)
                for frame in (left, right)
            ]
            # A pair at a time: what the network makes of it is the most that CFCA holds.
            said = self.scores(torch.stack(seen, dim=1)).unbind(1)
            nearnesses = (far, far) if outer else (near_left, near_right)
            exponents += [
                prior + near + score for near, score in zip(nearnesses, said, strict=True)
            ]
        stacked = torch.stack(exponents, dim=1)
        shares = torch.exp(stacked - stacked.amax(1, keepdim=True))
        return shares / pair_sum(shares).unsqueeze(1)

    def scores(self, seen: Tensor) -> Tensor:
        """What the network says of some temporary frames, (I, C, 8, H, W) -> (I, C, 1, H, W), float32."""
        dtype = next(self.score.parameters()).dtype
        given = seen.flatten(0, 1).to(dtype).contiguous(memory_format=torch.channels_last)
        said: Tensor = self.score(given).float().unflatten(0, seen.shape[:2])
        return said


def check_instants(instants: Instants, num_frames: int) -> None:
    """Raise ValueError for an instant that the clip's keyframes cannot give."""
    for n, alpha in instants:
        if not (0 <= alpha < 1 and 0 <= n < num_frames and (alpha == 0 or n + 1 < num_frames)):
            raise ValueError(f"instant ({n}, {alpha}) is outside a clip of {num_frames} keyframes")


def look_up(frames: Tensor, flow: Tensor) -> Tensor:
    """Warp pictures with the sharper kernel, back into their range (bicubic overshoots).

    What does not move stays as it is, to the last bit.
    """
    moved = warp(frames, flow, mode="bicubic").clamp(0.0, 1.0)
    return torch.where(flow.any(1, keepdim=True), moved, frames)


def pair_sum(parts: Tensor) -> Tensor:
    """Sum over dim 1, mirror pairs first: candidates i and their time-mirrors are (0, 3), (2, 1), (4, 5).

    Reversing time swaps the members of each pair and nothing else, so the result is the same to the last bit.
    """
    return ((parts[:, 0] + parts[:, 3]) + (parts[:, 1] + parts[:, 2])) + (parts[:, 4] + parts[:, 5])


def mix(first: Tensor, second: Tensor, first_weight: Tensor, second_weight: Tensor) -> Tensor:
    """Two versions of one frame, by their weights; halves where both have none."""
    total = first_weight + second_weight
    share = torch.where(
        total > 0, first_weight / total.clamp_min(1e-12), torch.full_like(total, 0.5)
    )
    return second + share * (first - second)
