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
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from diffst.flow import bend_of, box_mean, flow_at, warp, warp_sharply
from diffst.layers import zeroed

Instants = Sequence[tuple[int, float]]

LEAST_WEIGHT = 1e-12  # keeps log(alpha) finite where an instant touches a keyframe


@dataclass(frozen=True, kw_only=True)
class Ways:
    """Where each of some new instants finds what it shows, and how much each finding counts.

    There are six: the keyframe before along its own motion, the one after along the other's, the one before along the
    other's, the one after along its own, the second before, the second after.
    """

    keyframes: Sequence[tuple[int, ...]]
    """For each instant the numbers of the keyframes that are looked up; a clip's end stands in for what is beyond."""
    paths: Tensor
    """(I, 6, 2, H, W) float32 in low-resolution pixels: from each place to where that keyframe shows it."""
    shares: Tensor
    """(I, 6, H, W) float32 in [0, 1], summing to 1."""


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

    def forward(self, frames: Tensor, flows: Tensor, instants: Instants) -> Tensor:
        """The frame of each instant at low resolution, (I, 3, H, W); a keyframe itself where alpha is 0.

        Args:
            frames: (T, 3, H, W) float in [0, 1], keyframes of one shot.
            flows: (T - 1, 2, 2, H, W) float32 in pixels, as `neighbour_flows` gives them.
            instants: Keyframe index n and alpha in [0, 1) for each frame to make; alpha above 0 needs keyframe n + 1.

        Raises:
            ValueError: An instant lies outside the clip, or the flows do not fit the frames.
        """
        check_clip(frames, flows, instants)
        made = frames[[n for n, _ in instants]]
        new = [i for i, (_, alpha) in enumerate(instants) if alpha > 0]
        if new:
            ways = self.ways(frames, flows, [instants[i] for i in new])
            seen = look_up_all(frames, ways.keyframes, ways.paths)
            # About their middle: where all agree, the sum is what they say to the last bit.
            middle = (seen[:, 0] + seen[:, 3]) / 2
            made[new] = middle + pair_sum(ways.shares.unsqueeze(2) * (seen - middle.unsqueeze(1)))
        return made

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
        # All in one call, which a GPU does at once.
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

    def ways(self, frames: Tensor, flows: Tensor, instants: Instants) -> Ways:
        """Where frames strictly between keyframes find what they show; see `forward`.

        Raises:
            ValueError: An instant lies outside the clip or on a keyframe, or the flows do not fit the frames.
        """
        check_clip(frames, flows, instants)
        if any(alpha == 0 for _, alpha in instants):
            raise ValueError(f"only frames between keyframes are looked up, not {instants}")
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
        # 2. The inner keyframes along both motions; the outer ones one step further along the nearer one's own.
        forward, backward = motion.chunk(2)
        left_own, right_own = bend - alpha * forward, bend - (1 - alpha) * backward
        left_other, right_other = bend + alpha * backward, bend + (1 - alpha) * forward
        own = torch.cat((left_own, right_own))
        far_left, far_right = (own + warp(steps, own)).chunk(2)
        paths = torch.stack(
            (left_own, right_other, left_other, right_own, far_left, far_right), dim=1
        )
        keyframes = [(k, k + 1, k, k + 1, max(k - 1, 0), min(k + 2, last)) for k in n]
        # 3. How much each counts, told from what they lead to at half the size: steadier, and a quarter of the work.
        half = halved(paths.flatten(0, 1)).unflatten(0, (len(n), -1)) / 2
        shares = self.shares(look_up_all(halved(frames), keyframes, half), alpha)
        grown = F.interpolate(shares, scale_factor=2, mode="bilinear")
        height, width = frames.shape[-2:]
        return Ways(keyframes=keyframes, paths=paths, shares=grown[..., :height, :width])

    def shares(self, seen: Tensor, alpha: Tensor) -> Tensor:
        """How much each of the temporary frames (I, 6, 3, H, W) counts at each pixel, (I, 6, H, W), summing to 1."""
        near_left = torch.log((1 - alpha).clamp_min(LEAST_WEIGHT))
        near_right = torch.log(alpha.clamp_min(LEAST_WEIGHT))
        # Vanishes at both ends, so that an instant moves into a keyframe without a jump.
        far = torch.log((2 * alpha * (1 - alpha)).clamp_min(LEAST_WEIGHT))
        left, right = seen[:, [0, 2, 4]], seen[:, [1, 3, 5]]
        blend = (1 - alpha) * left[:, :2].mean(1) + alpha * right[:, :2].mean(1)
        disagreement = box_mean((left - right).abs().mean(2)).repeat_interleave(2, dim=1)
        is_outer = torch.zeros_like(disagreement)
        is_outer[:, 4:] = 1
        said = self.scores(
            torch.cat(
                (seen, seen - blend[:, None], disagreement[:, :, None], is_outer[:, :, None]), dim=2
            )
        )
        nearness = torch.cat((near_left, near_right, near_left, near_right, far, far), dim=1)
        exponents = (
            nearness - self.disagreement_weight * disagreement + self.outer_prior * is_outer + said
        )
        counts = torch.exp(exponents - exponents.amax(1, keepdim=True))
        shares: Tensor = counts / pair_sum(counts).unsqueeze(1)
        return shares

    def scores(self, seen: Tensor) -> Tensor:
        """What the network says of some temporary frames, (I, C, 8, h, w) -> (I, C, h, w), float32."""
        dtype = next(self.score.parameters()).dtype
        given = seen.flatten(0, 1).to(dtype).contiguous(memory_format=torch.channels_last)
        said: Tensor = self.score(given).float()
        scores: Tensor = said[:, 0].unflatten(0, seen.shape[:2])
        return scores


def check_instants(instants: Instants, num_frames: int) -> None:
    """Raise ValueError for an instant that the clip's keyframes cannot give."""
    for n, alpha in instants:
        if not (0 <= alpha < 1 and 0 <= n < num_frames and (alpha == 0 or n + 1 < num_frames)):
            raise ValueError(f"instant ({n}, {alpha}) is outside a clip of {num_frames} keyframes")


def check_clip(frames: Tensor, flows: Tensor, instants: Instants) -> None:
    """Raise ValueError where instants or flows do not fit the clip's keyframes."""
    check_instants(instants, len(frames))
    if flows.shape[0] != len(frames) - 1:
        raise ValueError(
            f"{len(frames)} frames need {len(frames) - 1} pairs of flows, not {flows.shape[0]}"
        )


def look_up(frames: Tensor, flow: Tensor) -> Tensor:
    """Warp pictures with the sharper kernel, back into their range (bicubic overshoots).

    What does not move stays as it is, to the last bit.
    """
    moved = warp_sharply(frames, flow).clamp(0.0, 1.0)
    return torch.where(flow.any(1, keepdim=True), moved, frames)


def look_up_all(frames: Tensor, keyframes: Sequence[tuple[int, ...]], paths: Tensor) -> Tensor:
    """The temporary frames that ways (I, C, 2, h, w) lead to, (I, C, 3, h, w).

    All in one call, which a GPU does at once.
    """
    given = frames[[n for chosen in keyframes for n in chosen]]
    seen: Tensor = look_up(given, paths.flatten(0, 1)).unflatten(0, paths.shape[:2])
    return seen


def halved(pictures: Tensor) -> Tensor:
    """(N, C, H, W) at half the size, rounded up; means of 2 x 2 or of what is there."""
    return F.avg_pool2d(pictures, 2, ceil_mode=True, count_include_pad=False)


def pair_sum(parts: Tensor) -> Tensor:
    """Sum over dim 1, mirror pairs first: ways i and their time-mirrors are (0, 3), (2, 1), (4, 5).

    Reversing time swaps the members of each pair and nothing else, so the result is the same to the last bit.
    """
    return ((parts[:, 0] + parts[:, 3]) + (parts[:, 1] + parts[:, 2])) + (parts[:, 4] + parts[:, 5])
