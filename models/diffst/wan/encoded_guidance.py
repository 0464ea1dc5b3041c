"""Guidance through a published video encoder, V-JEPA 2, instead of one of our own.

The encoder is a component of its own, frozen and under its own licence; what is trained is the
resampler, so its file stays small. It needs `transformers`, whose class it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401  (diffusers looks for it here)
from torch import Tensor, nn

from diffst.pixels import as_float
from diffst.vrg import Guidance, spread
from diffst.wan.sizes import WanSize

VIDEO_ENCODER = "video_encoder"  # the component's folder
KIND = "vjepa2"  # as its `config.json` calls it
# Of ImageNet's pictures, by which the encoder's input is normalised.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class EncodedGuidance(Guidance):
    """What a frozen encoder sees in a clip, and the resampler.

    The encoder does not belong to it: `look_through` lends it one, which is neither trained nor saved with it.

    Args:
        encoder_dim: Width of what the encoder sees.
        num_tokens: Tokens that come out, whatever the clip's length and size.
        token_dim: Width of a token; the transformer's `text_dim`.
        channels: Width of the resampler.
        max_frames: Frames looked at, spread evenly over the clip.
    """

    @register_to_config
    def __init__(
        self,
        encoder_dim: int = 1024,
        num_tokens: int = 256,
        token_dim: int = 4096,
        channels: int = 768,
        max_frames: int = 16,  # noqa: ARG002  (read from the saved config)
    ) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, channels)
        self.add_resampler(channels, num_tokens, token_dim)
        # A tuple, so that the encoder's parameters are not this module's.
        self._lent: tuple[Any, ...] = ()

    def look_through(self, encoder: Any) -> None:
        """Take an encoder; it is frozen.

        Raises:
            ValueError: It sees things of another width.
        """
        width = encoder.config.hidden_size
        if width != self.config.encoder_dim:
            raise ValueError(
                f"guidance for a video encoder of width {self.config.encoder_dim} does not fit one of {width}"
            )
        self._lent = (encoder.eval().requires_grad_(False),)

    def forward(self, clips: Tensor) -> Tensor:
        """Tokens of each clip.

        Args:
            clips: (N, T, 3, H, W), float in [0, 1], uint8 or uint16, low-resolution keyframes.

        Returns:
            (N, num_tokens, token_dim) float32.

        Raises:
            ValueError: There is no encoder to look through.
        """
        if not self._lent:
            raise ValueError("this guidance has no video encoder to look through")
        seen = see(self._lent[0], clips, self.config.max_frames)
        return self.resample(self.project(seen.to(self.project.weight)))


@torch.no_grad()
def see(encoder: Any, clips: Tensor, max_frames: int) -> Tensor:
    """What a V-JEPA 2 sees in clips (N, T, 3, H, W): (N, places in time and space, width).

    Frames are brought to the square that it was trained on; it takes pairs of them, so an odd last one is held.
    """
    chosen = spread(clips.shape[1], max_frames)
    chosen += chosen[-1:] * (-len(chosen) % encoder.config.tubelet_size)
    frames = as_float(clips)[:, chosen].flatten(0, 1)
    side = encoder.config.crop_size
    square = F.interpolate(frames, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)
    mean, deviation = (square.new_tensor(values).view(-1, 1, 1) for values in (MEAN, DEVIATION))
    given = ((square - mean) / deviation).unflatten(0, (len(clips), -1))
    seen: Tensor = encoder(pixel_values_videos=given, skip_predictor=True).last_hidden_state
    return seen


def join(vrg: nn.Module | None, video_encoder: nn.Module | None) -> None:
    """Let guidance look through the encoder that a pipeline has.

    Raises:
        ValueError: One of them is there without the other, or they do not fit.
    """
    if isinstance(vrg, EncodedGuidance) != (video_encoder is not None):
        raise ValueError(
            "a video encoder goes with `EncodedGuidance`, and that with a video encoder"
        )
    if isinstance(vrg, EncodedGuidance) and video_encoder is not None:
        vrg.look_through(video_encoder)


def guidance_through(encoder: Any, size: WanSize) -> EncodedGuidance:
    """Fresh guidance for an encoder and a size of Wan; its tokens are zeros, so it starts as no guidance."""
    made: EncodedGuidance = EncodedGuidance(
        encoder_dim=encoder.config.hidden_size, token_dim=size.vrg["token_dim"]
    )
    return made


def load_video_encoder(folder: Path, dtype: torch.dtype) -> nn.Module:
    """A V-JEPA 2 from its folder, strictly, frozen.

    Raises:
        FileNotFoundError: The folder, its `config.json` or its weights are missing.
        ValueError: It holds another model or other weights, or `transformers` is not installed.
    """
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != KIND:
        raise ValueError(f"`{folder}` holds a `{kind}`, not a `{KIND}`")
    if not list(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"no `model.safetensors` in `{folder}`")
    try:
        from transformers import VJEPA2Model
    except ImportError as error:
        raise ValueError(
            "the video encoder needs `transformers`: `pip install transformers`"
        ) from error
    encoder, found = VJEPA2Model.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    wrong = [key for name in ("missing_keys", "unexpected_keys") for key in sorted(found[name])]
    if wrong:
        raise ValueError(f"the weights in `{folder}` do not fit its configuration: `{wrong[0]}`")
    model: nn.Module = encoder.eval().requires_grad_(False)
    return model
