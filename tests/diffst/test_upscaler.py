"""What the tool gets from `load_model`."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

from diffst.limits import LimitedModel, Limits
from diffst.upscaler import (
    DiffSTUpscaler,
    choose_device,
    choose_precision,
    list_models,
    load_model,
)
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.tiny import tiny_pipeline


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_nano_gives_back_the_type_it_was_given(dtype):
    highest = 255 if dtype == torch.uint8 else 65535
    clip = (smooth_clip(3) * highest).round().to(dtype)
    made = load_model("nano", device="cpu")(clip, [(0, 0.0), (0, 0.5), (1, 0.0)], (80, 128))
    assert made.shape == (3, 3, 80, 128)
    assert made.dtype == dtype


def test_both_precisions_agree_to_a_few_codes():
    clip = (smooth_clip(3) * 255).round().to(torch.uint8)
    instants = [(1, 0.0), (1, 0.5)]
    exact = load_model("nano", device="cpu", precision="fp32")(clip, instants, (160, 256))
    short = load_model("nano", device="cpu", precision="bf16")(clip, instants, (160, 256))
    difference = (exact.float() - short.float()).abs()
    assert difference.mean() < 0.5  # bfloat16 keeps 8 bits of the detail that is added
    assert difference.max() <= 8


def test_small_tiles_change_nano_little():
    clip = F.interpolate(smooth_clip(2), size=(160, 200), mode="bilinear")
    clip = (clip * 255).round().to(torch.uint8)
    model = load_model("nano", device="cpu", precision="fp32")
    assert isinstance(model, DiffSTUpscaler)
    assert isinstance(model, LimitedModel)
    instants = [(0, 0.0), (0, 0.5)]
    whole = model(clip, instants, (320, 400))
    model.keep_within(Limits(tile=256))
    tiled = model(clip, instants, (320, 400))
    assert model.pipeline.longest_tile == 128
    difference = (tiled.float() - whole.float()).abs()
    assert 0 < difference.max() <= 8
    assert difference.mean() < 0.5
    model.keep_within(Limits())
    assert torch.equal(model(clip, instants, (320, 400)), whole)


def test_neighbouring_clips_make_no_keyframe_twice():
    video = (smooth_clip(12) * 255).round().to(torch.uint8)
    model = load_model("nano", device="cpu", precision="fp32")
    assert isinstance(model, DiffSTUpscaler)
    made_keyframes: list[int] = []
    encode = model.pipeline.codec.encode

    def counted(frames, context, size):
        made_keyframes.append(len(frames))
        return encode(frames, context, size)

    model.pipeline.codec.encode = counted
    model(video[:9], [(n, a) for n in (2, 3, 4) for a in (0.0, 0.5)], (80, 128))
    assert sum(made_keyframes) == 6, "1 to 6"
    model(video[1:], [(n, a) for n in range(4, 8) for a in (0.0, 0.5)], (80, 128))
    assert sum(made_keyframes) == 10, "7 to 10 too"


def test_a_picture_made_in_other_tiles_is_not_taken_over():
    video = (F.interpolate(smooth_clip(10), size=(64, 160)) * 255).round().to(torch.uint8)
    used, fresh = (load_model("nano", device="cpu", precision="fp32") for _ in range(2))
    instants = [[(n, a) for n in some for a in (0.0, 0.5)] for some in ((2, 3, 4), (4, 5, 6))]
    whole = used(video[:9], instants[0], (64, 160))
    for model in (used, fresh):
        assert isinstance(model, LimitedModel)
        model.keep_within(Limits(tile=112))
    made, expected = (model(video[1:], instants[1], (64, 160)) for model in (used, fresh))
    assert torch.equal(made, expected)
    assert not torch.equal(made[0], whole[4]), "tiles change nothing here"


def test_a_folder_is_a_model_too(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu", precision="fp32")
    assert model(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), [(0, 0.0)], (16, 16)).shape == (
        1,
        3,
        16,
        16,
    )


def test_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no model `nanoo`"):
        load_model("nanoo")
    with pytest.raises(ValueError, match="device `cuda:99` is not available"):
        choose_device("cuda:99")
    with pytest.raises(ValueError, match="device `toaster` is not available"):
        choose_device("toaster")
    with pytest.raises(ValueError, match="precision `int4` is not one of auto, fp32, bf16, fp16"):
        choose_precision("int4", torch.device("cpu"))


def test_a_gpu_that_only_emulates_bfloat16_takes_float32(monkeypatch: pytest.MonkeyPatch):
    def is_supported(*, including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.setattr(torch.cuda, "device", lambda _device: nullcontext())
    assert choose_precision("auto", torch.device("cuda")) is torch.float32


def test_the_table_of_models_starts_with_nano():
    nano, sharp = list_models()
    assert (nano.name, nano.installed, nano.licence) == ("nano", True, "Apache-2.0")
    assert (sharp.name, sharp.installed, sharp.licence) == ("nano-sharp", True, "Apache-2.0")
    assert len(nano.sha256) == len(sharp.sha256) == 64
    assert 0 < nano.num_parameters == sharp.num_parameters < 5_000_000
    assert 0 < nano.size_bytes + sharp.size_bytes <= 20e6
