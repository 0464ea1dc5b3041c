"""What every pipeline and every upscaler takes, and what it says of the rest."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from diffst.cfca import CFCA
from diffst.pixels import to_integer
from diffst.star.cogvideox_pipeline import CogVideoXSettings
from diffst.star.cogvideox_upscaler import RULES, StarCogVideoXModel
from diffst.star.settings import StarSettings
from diffst.star.upscaler import StarModel
from diffst.upscaler import DiffSTUpscaler
from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.upscaler import WanUpscaler
from tests.diffst.star.random_star import TEXT
from tests.diffst.star.random_star import build_random as random_star
from tests.diffst.star.tiny_cogvideox import tiny_pipeline as tiny_cogvideox
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.tiny import tiny_pipeline

Make = Callable[..., torch.Tensor]
KINDS = ("nano", "wan", "star", "cogvideox")
SIZE = (32, 48)
INSTANTS = [(0, 0.0), (0, 0.5), (1, 0.0)]
CPU = torch.device("cpu")
FEW, FEW_OF_COGVIDEOX = StarSettings(num_steps=1, guidance=1), CogVideoXSettings(num_steps=1)


def clip() -> torch.Tensor:
    """Four keyframes that every type has exactly, (4, 3, 16, 24) float32."""
    return to_integer(smooth_clip(4)[..., :16, :24], torch.uint8).float().div(256)


def pipeline(kind: str) -> Make:
    """A pipeline, called with frames, instants and an output type."""
    if kind in ("nano", "wan"):
        made = tiny_pipeline() if kind == "nano" else build_random("tiny", dtype=torch.float32)

        def make(
            frames: Any, instants: Any = INSTANTS, size: Any = SIZE, **options: Any
        ) -> torch.Tensor:
            return made(frames, instants, size, **options)

        return make
    star = partial(random_star(), text=torch.zeros(2, *TEXT), settings=FEW)
    other = partial(tiny_cogvideox(), text=None, settings=FEW_OF_COGVIDEOX)

    def enlarge(
        frames: Any, instants: Any = INSTANTS, size: Any = SIZE, **options: Any
    ) -> torch.Tensor:
        del instants  # these make no frames between
        positions = [(n, 0.0) for n in range(4)]
        called = star if kind == "star" else other
        return called(frames, size, positions=positions, **options)

    return enlarge


def upscaler(kind: str) -> Make:
    """An upscaler, called with frames and instants."""
    made: Any
    if kind == "nano":
        made = DiffSTUpscaler("nano", tiny_pipeline(), CPU, torch.float32)
    elif kind == "wan":
        parts = build_random("tiny", dtype=torch.float32).components
        made = WanUpscaler("wan", DiffSTWanPipeline(**parts, trained=True), CPU)
    elif kind == "star":
        text = torch.zeros(2, *TEXT)
        made = StarModel("star", random_star(), CFCA(), text, FEW, CPU)
    else:
        parts = (RULES, tiny_cogvideox(), CFCA(), None, FEW_OF_COGVIDEOX, CPU)
        made = StarCogVideoXModel("cogvideox", *parts)

    def make(frames: Any, instants: Any = INSTANTS, size: Any = SIZE) -> torch.Tensor:
        return made(frames, instants, size)

    return make


@pytest.fixture(scope="module", params=KINDS)
def both(request) -> tuple[Make, Make]:
    """A pipeline, and its upscaler."""
    return pipeline(request.param), upscaler(request.param)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_floats_of_any_type_are_taken_as_float32(both: tuple[Make, Make], kind: torch.dtype):
    for make in both:
        made, expected = make(clip().to(kind)), make(clip())
        assert made.dtype == torch.float32
        assert torch.equal(made, expected)
        assert expected.std() > 0.01


def test_what_comes_out_may_be_changed_and_learnt_from(both: tuple[Make, Make]):
    for make in both:
        made = make(clip())
        made[..., :4] = 0
        made.mul_(2)
        learnt = torch.ones_like(made).requires_grad_()
        F.mse_loss(learnt, made).backward()
        assert learnt.grad is not None


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16])
def test_whole_numbers_are_taken_in_full_range(both: tuple[Make, Make], kind: torch.dtype):
    codes = to_integer(clip(), kind)
    make, upscale = both
    made, expected = make(codes), make(codes.float() / (255 if kind == torch.uint8 else 65535))
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
    given_back = upscale(codes)
    assert (given_back.dtype, given_back.shape) == (kind, (3, 3, *SIZE))


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.bool])
def test_other_whole_numbers_are_refused(both: tuple[Make, Make], kind: torch.dtype):
    for make in both:
        with pytest.raises(ValueError, match=rf"float in \[0, 1\], uint8 or uint16, not {kind}"):
            make(clip().to(kind))


@pytest.mark.parametrize(
    "shape", [(0, 3, 16, 24), (4, 1, 16, 24), (4, 16, 24, 3), (3, 16, 24), (4, 3, 0, 24)]
)
def test_frames_of_another_shape_are_refused(both: tuple[Make, Make], shape: tuple[int, ...]):
    for make in both:
        with pytest.raises(ValueError, match=r"frames are \(T, 3, H, W\), at least one, not \("):
            make(torch.zeros(shape))


def test_frames_that_are_no_tensor_are_refused(both: tuple[Make, Make]):
    for make in both:
        with pytest.raises(TypeError, match="frames are a tensor of torch, not a `ndarray`"):
            make(clip().numpy())


@pytest.mark.parametrize(
    ("instants", "sentence"), [([], "no instants are asked for"), ([(3, 0.5)], "outside a clip")]
)
def test_instants_that_cannot_be_made_are_refused(instants, sentence):
    makes = [upscaler(kind) for kind in KINDS]
    for make in (*makes, pipeline("nano"), pipeline("wan")):
        with pytest.raises(ValueError, match=sentence):
            make(clip(), instants)


@pytest.mark.parametrize("odd", [(0.5, 0.0), (0,), 0, ("0", 0.5), torch.tensor([0.0, 0.5])])
def test_instants_that_are_no_pairs_of_number_and_share_are_refused(odd: Any):
    makes = [upscaler(kind) for kind in KINDS]
    for make in (*makes, pipeline("nano"), pipeline("wan")):
        with pytest.raises(ValueError, match="an instant is a keyframe's whole number and a share"):
            make(clip(), [(0, 0.0), odd])


def test_instants_may_come_one_after_the_other():
    makes = [upscaler(kind) for kind in KINDS]
    for make in (*makes, pipeline("nano"), pipeline("wan")):
        assert torch.equal(make(clip(), (each for each in INSTANTS)), make(clip()))


@pytest.mark.parametrize("size", [(0, 64), (-5, 64), (48, 64, 3), (48.0, 64), 48, None])
def test_a_size_that_is_not_height_and_width_is_refused(both: tuple[Make, Make], size: Any):
    for make in both:
        with pytest.raises(ValueError, match="a size is height and width, whole numbers above 0"):
            make(clip(), size=size)


def test_the_type_that_torch_makes_floats_in_unasked_does_not_matter(both: tuple[Make, Make]):
    given = clip()
    expected = [make(given) for make in both]
    torch.set_default_dtype(torch.float64)
    try:
        made = [make(given) for make in both]
    finally:
        torch.set_default_dtype(torch.float32)
    assert [each.dtype for each in made] == [torch.float32] * 2
    assert all(map(torch.equal, made, expected))


@pytest.mark.parametrize("backwards", [[(1, 0.0), (0, 0.5)], [(0, 0.5), (0, 0.25)]])
def test_instants_out_of_order_are_refused_where_they_would_be_seen(backwards):
    makes = [upscaler(kind) for kind in KINDS if kind != "nano"]
    for make in (*makes, pipeline("wan")):
        with pytest.raises(ValueError, match="instants are in order of time here"):
            make(clip(), backwards)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.int32])
def test_another_type_to_make_is_refused(both: tuple[Make, Make], kind: torch.dtype):
    with pytest.raises(ValueError, match=f"made as float32, uint8 or uint16, not {kind}"):
        both[0](clip(), output_type=kind)
