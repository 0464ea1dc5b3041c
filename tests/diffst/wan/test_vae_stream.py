"""The VAE in a stream is the VAE on the whole video."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from diffst.wan import build_random
from diffst.wan.vae_stream import DecoderStream, EncoderStream


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLWan:
    return build_random("tiny", dtype=torch.float64).codec.vae


def video(num_frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, num_frames, 24, 32, generator=generator, dtype=torch.float64) * 2 - 1


def latents(num: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 16, num, 3, 4, generator=generator, dtype=torch.float64)


def run(stream: EncoderStream | DecoderStream, whole: torch.Tensor, pieces: list[int]):
    made = []
    with torch.inference_mode():
        for piece in whole.split(pieces, dim=2):
            made += stream.feed(piece)
        made += stream.finish()
    return torch.cat(made, dim=2)


def test_encoding_is_what_diffusers_encodes(vae):
    with torch.inference_mode():
        expected = vae.encode(video(13)).latent_dist.mode()
    assert expected.shape == (1, 16, 4, 3, 4)
    torch.testing.assert_close(
        run(EncoderStream(vae), video(13), [13]), expected, rtol=0, atol=1e-12
    )


def test_decoding_is_what_diffusers_decodes(vae):
    with torch.inference_mode():
        expected = vae.decode(latents(4)).sample
    assert expected.shape == (1, 3, 13, 24, 32)
    made = run(DecoderStream(vae), latents(4), [4]).clamp(-1, 1)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("latents_per_call", [1, 2])
def test_where_a_video_is_cut_changes_no_bit(vae, latents_per_call):
    whole = run(EncoderStream(vae, latents_per_call), video(17), [17])
    for pieces in ([1, 16], [3, 5, 9], [1] * 17, [6, 11]):
        assert torch.equal(run(EncoderStream(vae, latents_per_call), video(17), pieces), whole)
    whole = run(DecoderStream(vae, latents_per_call), latents(6), [6])
    for pieces in ([4, 2], [1] * 6):
        assert torch.equal(run(DecoderStream(vae, latents_per_call), latents(6), pieces), whole)


@pytest.mark.parametrize("latents_per_call", [2, 3, 8])
def test_more_latents_a_call_give_the_same_to_rounding(vae, latents_per_call):
    torch.testing.assert_close(
        run(EncoderStream(vae, latents_per_call), video(25), [25]),
        run(EncoderStream(vae), video(25), [25]),
        rtol=0,
        atol=1e-12,
    )
    torch.testing.assert_close(
        run(DecoderStream(vae, latents_per_call), latents(6), [6]),
        run(DecoderStream(vae), latents(6), [6]),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize(("num_frames", "num_latents"), [(1, 1), (2, 2), (5, 2), (6, 3), (16, 5)])
def test_no_frame_is_dropped_the_last_is_held(vae, num_frames, num_latents):
    given = video(num_frames)
    made = run(EncoderStream(vae), given, [num_frames])
    assert made.shape[2] == num_latents
    missing = 4 * (num_latents - 1) + 1 - num_frames
    held = torch.cat((given, given[:, :, -1:].expand(-1, -1, missing, -1, -1)), dim=2)
    assert torch.equal(made, run(EncoderStream(vae), held, [held.shape[2]]))


def test_two_videos_in_turn_do_not_see_each_other(vae):
    alone = [run(DecoderStream(vae), latents(4, seed), [4]) for seed in (1, 2)]
    streams = [DecoderStream(vae), DecoderStream(vae)]
    made: list[list[torch.Tensor]] = [[], []]
    with torch.inference_mode():
        for start in range(4):
            for number, stream in enumerate(streams):
                made[number] += stream.feed(latents(4, number + 1)[:, :, start : start + 1])
            vae.decode(latents(2, 3))  # diffusers' own call on the same VAE, in between
    for number in (0, 1):
        assert torch.equal(torch.cat(made[number], dim=2), alone[number])


def test_sides_that_the_vae_would_cut_are_refused(vae):
    with pytest.raises(ValueError, match="not multiples of 8"):
        EncoderStream(vae).feed(torch.zeros(1, 3, 1, 44, 56, dtype=torch.float64))


def test_nothing_in_gives_nothing_out(vae):
    assert EncoderStream(vae).finish() == []
    assert DecoderStream(vae).finish() == []
