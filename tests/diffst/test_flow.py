"""Flow against known shifts; warping against indexing."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffst.flow import bend_of, box_mean, dis_flow, flow_at, neighbour_flows, warp, warp_sharply


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2)
    return ((smooth - smooth.min()) * (255 / (smooth.max() - smooth.min()))).astype(np.uint8)


def test_flow_finds_a_known_shift():
    big = texture(140, 180)
    flow = dis_flow(big[20:116, 20:148], big[17:113, 25:153])
    inner = flow[16:-16, 16:-16].reshape(-1, 2)
    np.testing.assert_allclose(np.median(inner, axis=0), [-5.0, 3.0], atol=0.1)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (31, 33)])
def test_flow_of_a_frame_smaller_than_the_search_has_the_frames_size(size):
    grey = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    flow = dis_flow(grey, grey)
    assert flow.shape == (*size, 2)
    assert not flow.any()


def test_neighbour_flows_of_equal_frames_are_exactly_zero():
    frames = torch.rand(1, 3, 40, 56).expand(3, -1, -1, -1)
    flows = neighbour_flows(frames)
    assert flows.shape == (2, 2, 2, 40, 56)
    assert not flows.any()


def test_neighbour_flows_of_one_frame_are_empty():
    assert neighbour_flows(torch.rand(1, 3, 40, 56)).shape == (0, 2, 2, 40, 56)


def test_neighbour_flows_of_reversed_frames_are_the_same_flows_reversed():
    frames = torch.rand(3, 3, 40, 56)
    there, back = neighbour_flows(frames), neighbour_flows(frames.flip(0))
    torch.testing.assert_close(there, back.flip(0, 1), rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_warp_by_whole_pixels_looks_up_the_shifted_place(mode):
    image = torch.rand(1, 2, 9, 12)
    flow = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 9, 12)
    warped = warp(image, flow, mode=mode)
    torch.testing.assert_close(warped[..., 1:, :-2], image[..., :-1, 2:], rtol=0, atol=1e-5)


def test_warp_outside_the_frame_repeats_its_border():
    image = torch.rand(1, 1, 5, 6)
    far = torch.tensor([1000.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 5, 6)
    torch.testing.assert_close(warp(image, far), image[..., -1:].expand(1, 1, 5, 6))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (60, 80)])
def test_the_sharp_warp_is_the_same_with_gradients_and_without(size):
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(2, 3, *size, generator=generator)
    flow = 3 * torch.randn(2, 2, *size, generator=generator)
    expected = warp(image, flow, mode="bicubic")
    torch.testing.assert_close(warp_sharply(image, flow), expected, rtol=0, atol=0)
    with torch.no_grad():
        # OpenCV 4 rounds places to 1/32 pixel; version 5 does not.
        torch.testing.assert_close(warp_sharply(image, flow), expected, rtol=0, atol=1e-4)
        half = warp_sharply(image.bfloat16(), flow)
    assert half.dtype == torch.bfloat16


def test_warp_of_a_one_pixel_frame_is_that_pixel():
    image = torch.rand(1, 3, 1, 1)
    torch.testing.assert_close(warp(image, torch.full((1, 2, 1, 1), 3.0)), image)


def test_flow_at_an_instant_solves_the_motion_equation():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    flow = torch.stack((3 + 0.1 * x, -2 + 0.05 * y)).unsqueeze(0)
    alpha = torch.tensor(0.5).view(1, 1, 1, 1)
    found = flow_at(flow, alpha)
    # In closed form: y = x + a (3 + 0.1 x)  =>  x = (y - 3 a) / (1 + 0.1 a), motion (3 + 0.1 x).
    true_x = 3 + 0.1 * (x - 1.5) / 1.05
    inside = (slice(5, -5), slice(8, -5))
    torch.testing.assert_close(found[0, 0][inside], true_x[inside], rtol=0, atol=2e-3)


def test_a_steady_acceleration_bends_the_path_by_its_parabola():
    acceleration = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(2, 2, 6, 8)
    alpha = torch.tensor([0.5, 0.25]).view(2, 1, 1, 1)
    bend = bend_of(acceleration, acceleration, alpha)
    expected = torch.tensor([0.125, 0.09375]).view(2, 1, 1, 1) * acceleration
    torch.testing.assert_close(bend, expected)


def test_accelerations_that_disagree_bend_nothing():
    left = torch.full((1, 2, 6, 8), 10.0)
    assert bend_of(left, -left, torch.full((1, 1, 1, 1), 0.5)).abs().max() < 1e-5
    alone = bend_of(left, torch.zeros_like(left), torch.full((1, 1, 1, 1), 0.5))
    assert alone.abs().max() < 0.1 * 0.125 * 5


@pytest.mark.parametrize("seed", range(4))
def test_noise_hardly_moves_the_motion(seed):
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 24, 40, generator=generator)
    wide = F.interpolate(small, size=(120, 200), mode="bicubic").clamp(0, 1)
    frames = torch.cat([wide[..., 8:104, 8:168], wide[..., 9:105, 11:171]])
    noisy = frames + 0.04 * torch.randn(frames.shape, generator=generator)
    error = neighbour_flows(noisy.clamp(0, 1))[0, 0] - torch.tensor([-3.0, -1.0])[:, None, None]
    # Matched as they are, these pictures give 0.085 to 0.093 pixels.
    assert error[:, 8:-8, 8:-8].norm(dim=0).mean() < 0.075


def test_motion_is_sought_down_to_single_pixels_but_in_large_frames(monkeypatch):
    scales: list[int] = []

    class Search:
        setFinestScale = scales.append  # noqa: N815

        def calc(self, source, target, flow):
            return np.zeros((*source.shape, 2), np.float32)

    monkeypatch.setattr(cv2, "DISOpticalFlow_create", lambda preset: Search())
    for size in ((48, 64), (576, 1024), (577, 1024)):
        dis_flow(np.zeros(size, np.uint8), np.zeros(size, np.uint8))
    assert scales == [0, 0, 1]


def test_a_frame_smaller_than_the_search_is_continued_to_the_right_and_below():
    source, target = texture(20, 24), texture(20, 24, seed=1)
    border = (0, 12, 0, 8, cv2.BORDER_REPLICATE)
    larger = [cv2.copyMakeBorder(frame, *border) for frame in (source, target)]
    np.testing.assert_array_equal(dis_flow(source, target), dis_flow(*larger)[:20, :24])


def test_a_mean_at_the_border_is_of_what_is_there():
    torch.testing.assert_close(box_mean(torch.ones(1, 2, 7, 9)), torch.ones(1, 2, 7, 9))
