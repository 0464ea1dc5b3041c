"""Guidance through a video encoder: what the encoder is given, that it is frozen, and how a folder holds it."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffst.checkpoint import load_pipeline
from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.convert import pipeline_from_wan
from diffst.wan.encoded_guidance import (
    DEVIATION,
    MEAN,
    EncodedGuidance,
    load_video_encoder,
    see,
)
from diffst.wan.sizes import SIZES
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.wan.native import same

ASKED = ([(0, 0.0), (0, 0.5)], (32, 48))


class StandInEncoder(nn.Module):
    """Sees each frame's mean colour, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=3, crop_size=32, tubelet_size=2)
        self.scale = nn.Parameter(torch.ones(3))
        self.given = torch.empty(0)

    def forward(self, pixel_values_videos: Tensor, skip_predictor: bool) -> SimpleNamespace:
        assert skip_predictor
        self.given = pixel_values_videos
        return SimpleNamespace(last_hidden_state=pixel_values_videos.mean((-2, -1)) * self.scale)


def guidance(encoder_dim: int) -> EncodedGuidance:
    """Small, and of tokens that are not zeros."""
    torch.manual_seed(0)
    made: EncodedGuidance = EncodedGuidance(
        encoder_dim=encoder_dim, num_tokens=3, token_dim=16, channels=8, max_frames=4
    )
    nn.init.normal_(made.out.weight)
    return made.eval()


def test_fresh_guidance_is_the_null_path():
    fresh: EncodedGuidance = EncodedGuidance(encoder_dim=3, num_tokens=5, token_dim=16, channels=8)
    fresh.look_through(StandInEncoder())
    made = fresh(torch.rand(2, 3, 3, 20, 30))
    assert made.shape == (2, 5, 16)
    assert not made.any()


def test_the_encoder_is_given_spread_frames_square_and_normalised():
    encoder = StandInEncoder()
    clip = torch.stack([torch.full((3, 20, 30), value / 8) for value in range(9)])[None]
    seen = see(encoder, clip, 5)
    chosen = (
        torch.tensor([0, 2, 4, 6, 8, 8]) / 8
    )  # both ends and evenly between; an odd last one is held
    assert encoder.given.shape == (1, 6, 3, 32, 32)
    expected = (chosen[:, None] - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    torch.testing.assert_close(encoder.given[0, :, :, 7, 9], expected)
    torch.testing.assert_close(seen[0], expected)
    codes = (clip * 255).round().to(torch.uint8)
    torch.testing.assert_close(see(encoder, codes, 5)[0], expected, rtol=0, atol=0.01)


def test_the_encoder_is_frozen_and_not_part_of_the_guidance():
    encoder, made = StandInEncoder(), guidance(3)
    made.look_through(encoder)
    made(torch.rand(1, 4, 3, 8, 8)).sum().backward()
    assert encoder.scale.grad is None
    assert not encoder.scale.requires_grad
    assert made.project.weight.grad is not None
    assert all("scale" not in key for key in made.state_dict())


def test_what_the_clip_shows_changes_the_tokens():
    made = guidance(3)
    made.look_through(StandInEncoder())
    dark, bright = (made(torch.full((1, 4, 3, 8, 8), value)) for value in (0.1, 0.9))
    assert (dark - bright).abs().max() > 1e-3


def test_parts_that_do_not_go_together_are_refused():
    parts = build_random("tiny", dtype=torch.float32).components
    with pytest.raises(ValueError, match="a video encoder goes with"):
        DiffSTWanPipeline(**{**parts, "video_encoder": StandInEncoder()})
    with pytest.raises(ValueError, match="and that with a video encoder"):
        DiffSTWanPipeline(**{**parts, "vrg": guidance(3)})
    with pytest.raises(ValueError, match="of width 5 does not fit one of 3"):
        DiffSTWanPipeline(**{**parts, "vrg": guidance(5), "video_encoder": StandInEncoder()})
    with pytest.raises(ValueError, match="no video encoder to look through"):
        guidance(3)(torch.rand(1, 2, 3, 8, 8))


@pytest.mark.parametrize(
    ("config", "error", "sentence"),
    [
        ({"model_type": "videomae"}, ValueError, "holds a `videomae`, not a `vjepa2`"),
        ({"model_type": "vjepa2"}, FileNotFoundError, r"no `model\.safetensors`"),
    ],
)
def test_other_folders_are_refused(tmp_path, config, error, sentence):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(error, match=sentence):
        load_video_encoder(tmp_path, torch.float32)


def test_without_transformers_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "vjepa2"}')
    save_file({}, tmp_path / "model.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ValueError, match="pip install transformers"):
        load_video_encoder(tmp_path, torch.float32)


def test_no_program_in_a_folder_is_run_and_nothing_is_fetched(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model_type": "vjepa2"}')
    save_file({}, tmp_path / "model.safetensors")
    asked = {}

    def opened(_folder, **options):
        asked.update(options)
        return StandInEncoder(), {"missing_keys": [], "unexpected_keys": []}

    kind = SimpleNamespace(from_pretrained=opened)
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(VJEPA2Model=kind))
    assert not load_video_encoder(tmp_path, torch.float32).training
    strict = ("local_files_only", "use_safetensors", "trust_remote_code")
    assert [asked[name] for name in strict] == [True, True, False]


@pytest.fixture
def encoder_folder(tmp_path):
    """A tiny V-JEPA 2 of the real class."""
    transformers = pytest.importorskip("transformers", reason="needs `pip install transformers`")
    config = transformers.VJEPA2Config(
        crop_size=32,
        hidden_size=24,
        num_attention_heads=2,
        num_hidden_layers=2,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    )
    torch.manual_seed(0)
    transformers.VJEPA2Model(config).save_pretrained(tmp_path / "vjepa2")
    return tmp_path / "vjepa2"


def test_a_real_one_sees_every_place_and_loads_strictly(encoder_folder):
    encoder = load_video_encoder(encoder_folder, torch.float32)
    seen = see(encoder, smooth_clip(5)[None], 4)
    assert seen.shape == (1, 2 * 2 * 2, 24)  # pairs of frames, and places of 16 pixels
    with torch.no_grad():
        assert torch.equal(seen, see(encoder, smooth_clip(5)[None], 4))
    weights = load_file(encoder_folder / "model.safetensors")
    lost = sorted(weights)[0]
    save_file(
        {key: value for key, value in weights.items() if key != lost},
        encoder_folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ValueError, match=f"do not fit its configuration: `{lost}`"):
        load_video_encoder(encoder_folder, torch.float32)


def test_a_folder_holds_the_encoder_apart_and_loads_by_either_way(encoder_folder, tmp_path):
    parts = build_random("tiny", dtype=torch.float32).components
    encoder = load_video_encoder(encoder_folder, torch.float32)
    pipeline = DiffSTWanPipeline(**{**parts, "vrg": guidance(24), "video_encoder": encoder})
    made = pipeline(smooth_clip(3), *ASKED)
    other = DiffSTWanPipeline(**parts)(smooth_clip(3), *ASKED)
    assert (made - other).abs().max() > 1e-3
    pipeline.save_pretrained(tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["vrg"] == ["diffst.wan.encoded_guidance", "EncodedGuidance"]
    assert index["video_encoder"] == ["transformers", "VJEPA2Model"]
    theirs = DiffSTWanPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    for loaded in (load_pipeline(tmp_path / "model"), theirs):
        assert same(loaded.video_encoder.state_dict(), encoder.state_dict())
        # Weights lie elsewhere in memory, and sums of floats come in another order.
        torch.testing.assert_close(loaded(smooth_clip(3), *ASKED), made, rtol=0, atol=1e-4)


def test_a_start_from_wan_takes_it(encoder_folder, tmp_path):
    parts = build_random("tiny", dtype=torch.float32)
    for name, part in (("transformer", parts.transformer), ("vae", parts.codec.vae)):
        part.save_pretrained(tmp_path / name)
    started = pipeline_from_wan(
        tmp_path / "transformer",
        tmp_path / "vae",
        video_encoder=encoder_folder,
        size=SIZES["tiny"],
    )
    assert isinstance(started.vrg, EncodedGuidance)
    assert started.vrg.config.encoder_dim == 24
    assert not started.guidance(smooth_clip(3).unsqueeze(0)).any()
