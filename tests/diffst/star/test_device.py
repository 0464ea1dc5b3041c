"""A device that is not the CPU, with torch's meta device in its place: what mixes the two fails there as on a GPU."""

import pytest
import torch

from diffst.star.cogvideox_pipeline import CogVideoXSettings
from diffst.star.settings import StarSettings
from tests.diffst.star.random_star import build_random
from tests.diffst.star.tiny_cogvideox import tiny_pipeline


@pytest.fixture(autouse=True)
def results_that_come_back(monkeypatch):
    """Finished frames arrive on the CPU, without their values; nothing else can leave the meta device."""
    plain = torch.Tensor.cpu

    def cpu(tensor):
        if tensor.device.type == "meta":
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        return plain(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)


def frames(count):
    return torch.empty(count, 3, 16, 24, device="meta")


@pytest.mark.parametrize(
    ("windows", "tile"), [("fade", None), pytest.param("cut", 24, marks=pytest.mark.slow)]
)
def test_a_clip_is_enlarged_where_the_pipeline_is(windows, tile):
    pipeline = build_random(multiples=(1, 2), blocks_per_level=1)
    torch.nn.Module.to(pipeline.unet, torch.float16)
    pipeline.to("meta").vae.decoder.to(torch.float16)
    settings = StarSettings(
        num_steps=2,
        window_frames=2,
        windows=windows,
        tile_latents=None if tile is None else (26, tile),
        vae_tile_latents=tile,
    )
    text = torch.empty(2, 7, 24)  # on the CPU, where prompts are encoded
    made = pipeline(frames(3), (100, 140), text, settings, output_type=torch.uint8)
    assert (made.shape, made.dtype) == ((3, 3, 100, 140), torch.uint8)


@pytest.mark.parametrize("has_text", [True, False])
def test_the_cogvideox_based_one_enlarges_a_clip_where_it_is(has_text):
    pipeline = tiny_pipeline()
    for part in (pipeline.transformer, pipeline.vae):
        torch.nn.Module.to(part, torch.bfloat16)
    pipeline.to("meta")
    config = pipeline.transformer.config
    text = torch.empty(1, config.max_text_seq_length, config.text_embed_dim) if has_text else None
    positions = [(number, 0.0) for number in range(3)]
    settings = CogVideoXSettings(num_steps=3)
    made = pipeline(frames(3), (96, 144), text, settings, positions=positions)
    assert made.shape == (3, 3, 96, 144)
