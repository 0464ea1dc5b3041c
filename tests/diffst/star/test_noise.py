"""Noise follows from the seed, the place and the purpose, and from nothing else."""

import torch

from diffst.star.noise import clip_noise, frame_noise


def test_every_part_of_a_frames_name_gives_other_noise():
    names = [(1, (2, 0.5), "start"), (0, (2, 0.5), "start"), (1, (3, 0.5), "start")]
    names += [(1, (2, 0.25), "start"), (1, (2, 0.5), "encode")]
    noises = [frame_noise(*name, (4, 6)) for name in names]
    again = [frame_noise(*name, (4, 6)) for name in names]
    assert all(torch.equal(*pair) for pair in zip(noises, again, strict=True))
    assert len({tuple(noise.flatten().tolist()) for noise in noises}) == len(names)


def test_a_clips_noise_is_that_of_its_frames():
    places = [(0, 0.0), (0, 0.5), (1, 0.0)]
    noise = clip_noise(7, places, "start", (4, 2, 3))
    assert noise.shape == (1, 4, 3, 2, 3)
    for number, place in enumerate(places):
        assert torch.equal(noise[0, :, number], frame_noise(7, place, "start", (4, 2, 3)))
