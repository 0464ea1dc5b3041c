"""Optical flow between neighbouring keyframes, and warping along it.

Flow fields are (2, H, W) tensors in pixels, channel 0 to the right and channel 1 downwards. `flow[a
-> b]` holds, at each pixel of frame a, the displacement to where that pixel is seen in frame b.
Coordinates stay in float32: bfloat16 has 8 bits of mantissa, so at x = 1000 it could only name
every fourth pixel.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffst.pixels import as_float

LEAST_SIDE = 32  # pixels; below it the search has no pyramid level to start from
FINE_PIXELS = 1024 * 576  # of a frame; motion in larger ones is sought at half their size
FIXED_POINT_STEPS = (
    3  # enough for the motion fields met in practice: the error falls by |dF/dx| a step
)
BEND_TRUST = (
    4.0  # low-resolution pixels between two tellings of an acceleration that make it count 1/e
)
MATCHING_BLUR = 0.7  # pixels, sigma; single noisy pixels and coding noise are not to be matched
LUMA = (0.299, 0.587, 0.114)  # only a common grey for matching, not a colour conversion


def dis_flow(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Dense inverse search flow from one grey frame to another.

    Args:
        source: (H, W) uint8.
        target: (H, W) uint8.

    Returns:
        (H, W, 2) float32, displacement in pixels of the given frames.

    Source: Kroeger et al., Fast Optical Flow using Dense Inverse Search (ECCV 2016), OpenCV's implementation.
    """
    height, width = source.shape
    pad_y, pad_x = max(0, LEAST_SIDE - height), max(0, LEAST_SIDE - width)
    if pad_y or pad_x:
        border = (0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE)
        source, target = cv2.copyMakeBorder(source, *border), cv2.copyMakeBorder(target, *border)
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # Down to single pixels: +0.16 dB on new frames at 320x180, 0.1 dB at 640x360 and 854x480. At 1280x720 half the
    # size is as good, for a quarter of the time and of the memory.
    search.setFinestScale(0 if source.size <= FINE_PIXELS else 1)
    flow = search.calc(np.ascontiguousarray(source), np.ascontiguousarray(target), None)
    return np.ascontiguousarray(flow[:height, :width])


def neighbour_flows(frames: Tensor) -> Tensor:
    """Flows between neighbouring frames, both directions.

    Args:
        frames: (T, 3, H, W), float in [0, 1], uint8 or uint16.

    Returns:
        (T - 1, 2, 2, H, W) float32 on the device of `frames`: [k, 0] is k -> k + 1, [k, 1] is k + 1 -> k.
    """
    grey = [matching_grey(frame) for frame in frames]
    flows = np.empty((len(grey) - 1, 2, 2, *frames.shape[-2:]), np.float32)

    def find(k: int, way: int) -> None:
        flows[k, way] = dis_flow(grey[k + way], grey[k + 1 - way]).transpose(2, 0, 1)

    # OpenCV cuts its work into as many stripes as it has threads and the result depends on the cut;
    # one thread a pair and many pairs at once gives the same flow on every machine.
    cv2.setNumThreads(1)
    pairs = [(k, way) for k in range(len(flows)) for way in (0, 1)]
    with ThreadPoolExecutor(max_workers=max(1, min(torch.get_num_threads(), len(pairs)))) as pool:
        list(pool.map(find, *zip(*pairs, strict=True)) if pairs else ())
    return torch.from_numpy(flows).to(frames.device)


def matching_grey(frame: Tensor) -> np.ndarray:
    """A frame (3, H, W) as the grey picture that motion is sought in, (H, W) uint8."""
    luma = torch.tensor(LUMA, dtype=torch.float32, device=frame.device).view(3, 1, 1)
    grey = (as_float(frame) * luma).sum(0).mul(255.0).round().clamp(0, 255).to(torch.uint8)
    pixels: np.ndarray = cv2.GaussianBlur(grey.cpu().numpy(), (0, 0), MATCHING_BLUR)
    return pixels


def pixel_grid(flow: Tensor) -> Tensor:
    """Pixel positions (2, H, W), float32, of a flow field's own frame."""
    height, width = flow.shape[-2:]
    y = torch.arange(height, dtype=torch.float32, device=flow.device)
    x = torch.arange(width, dtype=torch.float32, device=flow.device)
    return torch.stack((x.expand(height, width), y.unsqueeze(1).expand(height, width)))


def warp(image: Tensor, flow: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Look up each pixel of the new frame at its own place plus the flow.

    Args:
        image: (N, C, H, W), any float type.
        flow: (N, 2, H, W) float32, in pixels, from the new frame to `image`.
        mode: "bilinear", or "bicubic", which keeps more detail and costs more.

    Returns:
        (N, C, H, W) in the type of `image`; places outside take the nearest border pixel.
    """
    height, width = image.shape[-2:]
    place = pixel_grid(flow) + flow.float()
    scale = place.new_tensor([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)])
    grid = place.permute(0, 2, 3, 1) * scale - 1.0
    sampled = F.grid_sample(
        image.float(), grid, mode=mode, padding_mode="border", align_corners=True
    )
    return sampled.to(image.dtype)


def warp_sharply(image: Tensor, flow: Tensor) -> Tensor:
    """As `warp` with mode "bicubic", without gradients on a CPU by OpenCV: the same in a third of the time.

    Args:
        image: (N, 3, H, W), any float type.
        flow: See `warp`.
    """
    if image.device.type != "cpu" or torch.is_grad_enabled():
        return warp(image, flow, mode="bicubic")
    seen = torch.empty(len(image), *image.shape[2:], 3, dtype=torch.float32)
    for picture, places, made in zip(
        image.float(), pixel_grid(flow) + flow.float(), seen, strict=True
    ):
        interleaved = cv2.merge([*picture.numpy()])
        x, y = places.numpy()
        border = cv2.BORDER_REPLICATE
        cv2.remap(interleaved, x, y, cv2.INTER_CUBIC, dst=made.numpy(), borderMode=border)
    return seen.permute(0, 3, 1, 2).to(image.dtype)


def flow_at(flow: Tensor, alpha: Tensor) -> Tensor:
    """Bring a flow to an instant on its way: the motion of what is seen there.

    With straight motion, the pixel that is at y at the instant started at x, where
    x + alpha * flow(x) = y; x is found by fixed-point steps.

    Args:
        flow: (N, 2, H, W) float32, in pixels, from the start frame to the other.
        alpha: (N, 1, 1, 1) float32 in [0, 1], where on its way the instant lies.

    Returns:
        (N, 2, H, W) float32: the same whole motion, given at the places it passes at the instant.
    """
    moved = flow
    for _ in range(FIXED_POINT_STEPS):
        moved = warp(flow, -alpha * moved)
    return moved


def bend_of(left: Tensor, right: Tensor, alpha: Tensor) -> Tensor:
    """How far paths lie off the straight line at an instant, from their acceleration at both keyframes.

    With constant acceleration a, in pixels per keyframe interval squared, and displacement d,

        x(alpha) = x(0) + alpha d - alpha (1 - alpha) a / 2,

    so the places looked up in the keyframes move by +alpha (1 - alpha) a / 2. Where the two keyframes tell different
    accelerations, it is noise or a jerk, and counts less.

    Args:
        left: (N, 2, H, W) float32, the acceleration at the keyframe before, in pixels, seen from the instant.
        right: Likewise, at the keyframe after.
        alpha: (N, 1, 1, 1) float32 in [0, 1].

    Returns:
        (N, 2, H, W) float32 in pixels, to be added to the places looked up.
    """
    distance = (left - right).square().sum(1, keepdim=True).sqrt()
    trust = torch.exp(-distance / BEND_TRUST)
    bend = box_mean(trust * (left + right) / 2) / box_mean(trust).clamp_min(0.3)
    return alpha * (1 - alpha) / 2 * bend


def box_mean(image: Tensor) -> Tensor:
    """Mean over 5 x 5 pixels; borders average what is there."""
    return F.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)
