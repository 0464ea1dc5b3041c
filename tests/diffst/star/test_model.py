"""What both kinds of STAR have in common, as the tool gets them."""

import dataclasses

import pytest
import torch
from accelerate.hooks import CpuOffload

from diffst.limits import Limits
from diffst.star.cogvideox_pipeline import CogVideoXSettings
from diffst.star.cogvideox_upscaler import StarCogVideoXModel, load_star_cogvideox
from diffst.star.settings import StarSettings
from diffst.star.upscaler import StarModel, load_star
from diffst.upscaler import WatchedModel
from tests.diffst.star.random_star import save_random
from tests.diffst.star.tiny_cogvideox import tiny_pipeline

Model = StarModel | StarCogVideoXModel
SIZE = (32, 40)
NETWORKS = {"i2vgen": "unet", "cogvideox": "transformer"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {kind: tmp_path_factory.mktemp(kind) for kind in NETWORKS}
    save_random(made["i2vgen"])
    tiny_pipeline().save_pretrained(made["cogvideox"])
    return made


@pytest.fixture(params=NETWORKS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(folders, kind) -> Model:
    asked = {"device": "cpu", "precision": "fp32"}
    if kind == "i2vgen":
        settings = StarSettings(num_steps=2, guidance=1, window_frames=2, decode_frames=2)
        return load_star(folders[kind], settings=settings, **asked)
    return load_star_cogvideox(folders[kind], settings=CogVideoXSettings(num_steps=2), **asked)


def keyframes(num_frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (num_frames, 3, 16, 20), dtype=torch.uint8, generator=generator)


def test_the_first_keyframes_number_decides_the_noise(model):
    clip = keyframes(4)
    whole = model(clip[2:], [(1, 0.0)], SIZE, None, 2)
    same = model(clip[3:], [(0, 0.0)], SIZE, None, 3)
    other = model(clip[3:], [(0, 0.0)], SIZE)
    assert torch.equal(whole, same)
    assert not torch.equal(whole, other)


def test_parts_move_to_a_gpu_in_turn_while_asked_to(model, monkeypatch):
    asked = []
    monkeypatch.setattr(model.offload, "device", torch.device("cuda", 1))
    for name in ("enable_model_cpu_offload", "remove_all_hooks", "to"):
        monkeypatch.setattr(
            model.pipeline, name, lambda *_device, name=name, **_options: asked.append(name)
        )
    for offload in (False, True, True, False):
        model.keep_within(Limits(offload=offload))
    assert asked == ["enable_model_cpu_offload", "remove_all_hooks", "to"]


def test_on_a_cpu_there_is_nowhere_to_move_parts_from(model):
    model.keep_within(Limits(offload=True))
    assert not model.offload.active


def test_every_part_is_brought_in_before_it_works(model, kind, monkeypatch):
    """With the CPU for a GPU, so that parts are copied, but not away."""
    brought: list[torch.nn.Module] = []
    bring = CpuOffload.pre_forward

    def watched(hook, module, *given, **options):
        if not brought or brought[-1] is not module:
            brought.append(module)
        return bring(hook, module, *given, **options)

    expected = model(keyframes(1), [(0, 0.0)], SIZE)
    monkeypatch.setattr(CpuOffload, "pre_forward", watched)
    model.pipeline.enable_model_cpu_offload(device="cpu")
    made = model(keyframes(1), [(0, 0.0)], SIZE)
    assert (made.int() - expected.int()).abs().max() <= 1  # weights lie elsewhere: other sums
    network = getattr(model.pipeline, NETWORKS[kind])
    assert brought == [model.pipeline.vae, network, model.pipeline.vae]


def test_how_far_it_is_with_a_clip_is_told(model, kind):
    told: list[tuple[str, int, int]] = []
    is_watched = isinstance(model, WatchedModel)
    assert is_watched
    model.watch(lambda *progress: told.append(progress))
    model(keyframes(4), [(n, 0.0) for n in range(4)], SIZE)
    # STAR sees the four frames in three windows of two, CogVideoX all of them at once.
    expected = {
        "i2vgen": [
            *(("encode", done, 4) for done in range(4)),
            *(("denoise", done, 6) for done in range(6)),
            *(("decode", done, 4) for done in (0, 2)),
        ],
        "cogvideox": [("encode", 0, 4), ("denoise", 0, 2), ("denoise", 1, 2), ("decode", 0, 4)],
    }
    assert told == expected[kind]


def test_a_prompt_of_cogvideox_is_asked_about_too(folders):
    settings = CogVideoXSettings(num_steps=1)
    model = load_star_cogvideox(
        folders["cogvideox"], device="cpu", precision="fp32", settings=settings
    )
    model.text = torch.zeros(1, 3, 12)
    told: list[tuple[str, int, int]] = []
    model.watch(lambda *progress: told.append(progress))
    model(keyframes(1), [(0, 0.0)], SIZE)
    assert [one for one in told if one[0] == "denoise"] == [("denoise", 0, 2), ("denoise", 1, 2)]


def test_limits_do_not_touch_the_rest(folders):
    given = StarSettings(num_steps=2, guidance=3, seed=5)
    model = load_star(folders["i2vgen"], device="cpu", precision="fp32", settings=given)
    model.keep_within(Limits(window_frames=8))
    assert model.settings == dataclasses.replace(given, window_frames=8)
    model.keep_within(Limits())
    assert model.settings == given
