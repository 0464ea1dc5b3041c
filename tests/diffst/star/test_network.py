"""The network gives what the reference gives, under the published weights' keys."""

import gzip
import json

import pytest
import torch

from diffst.star import blocks
from diffst.star.network import StarUNet
from tests.diffst.star.reference import FIXTURES, assert_near, tensors

TINY = {"channels": 8, "context_dim": 24, "head_dim": 4, "first_heads": 3, "groups": 4}
# float32, with sums in another order than the reference's
OUTPUT_TOLERANCE = 2e-5
INNER_TOLERANCE = 1e-4  # values there reach 25


@pytest.fixture(scope="module")
def tiny():
    network = StarUNet(**TINY)
    network.load_state_dict(tensors("star_tiny", "w/"), strict=True)
    return network.eval().requires_grad_(False)


def run(network, case):
    with torch.inference_mode():
        return network(*(case[name] for name in ("x", "t", "y", "hint")))


def test_every_key_and_shape_is_the_published_weights():
    known = json.loads(gzip.decompress((FIXTURES / "star_i2vgenxl_keys.json.gz").read_bytes()))
    with torch.device("meta"):
        network = StarUNet()
    ours = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert ours == known["keys"]
    assert len(ours) == 2247
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_041_121_910


def seen_on_the_way(network):
    """Hooks that note what blocks and their layers give, under the reference's names."""
    seen = {}
    for part in ("input_blocks", "middle_block", "output_blocks"):
        for index, block in enumerate(getattr(network, part)):
            layers = block if isinstance(block, torch.nn.ModuleList) else [block]
            for number, layer in enumerate(layers):
                names = [f"unet.{part}.{index}.{number}"]
                if number == len(layers) - 1:
                    names.append(f"unet.{part}.{index}")

                def note(_module, _inputs, output, names=names):
                    seen.update(dict.fromkeys(names, output.clone()))

                layer.register_forward_hook(note)
    return seen


def test_a_clip_gives_what_the_reference_gives_at_every_block(tiny):
    case = tensors("star_tiny", "case1/")
    network = StarUNet(**TINY)
    network.load_state_dict(tiny.state_dict())
    network.eval().requires_grad_(False)
    seen = seen_on_the_way(network)
    controls: list[torch.Tensor] = []
    network.VideoControlNet.register_forward_hook(
        lambda _module, _inputs, output: controls.extend(control.clone() for control in output)
    )
    assert_near(run(network, case), case["out"], OUTPUT_TOLERANCE)
    seen.update({f"control.{index}": control for index, control in enumerate(controls)})
    known = {key: value for key, value in case.items() if key.startswith(("unet.", "control."))}
    assert len(known) == 46
    for key, value in known.items():
        assert_near(seen[key], value, INNER_TOLERANCE, key)


def test_two_samples_do_not_mix(tiny):
    case = tensors("star_tiny", "case2/")
    assert_near(run(tiny, case), case["out"], OUTPUT_TOLERANCE)


def test_slices_change_nothing(tiny, monkeypatch):
    case = tensors("star_tiny", "case1/")
    whole = run(tiny, case)
    frames_at_once = set()
    original = blocks.SpatialTransformer.added

    def added(self, images, text):
        frames_at_once.add(len(images))
        return original(self, images, text)

    monkeypatch.setattr(blocks, "SLICE_TOKENS", 100)
    monkeypatch.setattr(blocks.SpatialTransformer, "added", added)
    assert_near(run(tiny, case), whole, OUTPUT_TOLERANCE)
    # One of 10 x 16 tokens, two of 6 x 8, three of 4 x 4.
    assert frames_at_once == {1, 2, 3}


def test_slices_give_the_gradients_of_the_whole(tiny, monkeypatch):
    case = tensors("star_tiny", "case1/")
    network = StarUNet(**TINY)
    network.load_state_dict(tiny.state_dict())
    inputs = tuple(case[name] for name in ("x", "t", "y", "hint"))

    def gradient():
        network.zero_grad()
        network.eval()(*inputs).square().mean().backward()
        weight = network.VideoControlNet.input_hint_block.weight
        assert weight.grad is not None
        return weight.grad.clone()

    whole = gradient()
    monkeypatch.setattr(blocks, "SLICE_TOKENS", 100)
    assert_near(gradient(), whole, OUTPUT_TOLERANCE)


def test_training_reaches_the_control_branch(tiny):
    case = tensors("star_tiny", "case1/")
    network = StarUNet(**TINY)
    network.load_state_dict(tiny.state_dict())
    network(*(case[name] for name in ("x", "t", "y", "hint"))).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("height", "width"), [(16, 16), (10, 12), (2, 8)])
def test_a_latent_that_does_not_fit_is_refused(tiny, height, width):
    latent = torch.zeros(1, 4, 1, height, width)
    with pytest.raises(ValueError, match=f"a latent of {width}x{height} does not fit"):
        tiny(latent, torch.tensor([1]), torch.zeros(1, 2, 24), latent)
