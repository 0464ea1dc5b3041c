"""Memory that runs out in the VAE, and what its tiles should then make, put together by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from diffst.attempts import Made, Plainly
from diffst.wan.codec import WanCodec
from diffst.wan.cuts import Cuts, VaeTiles
from diffst.wan.tiles import TiledVae
from diffst.wan.windows import feather

CPU = torch.device("cpu")
SMALL = VaeTiles(side=32, overlap=16)


class Repeated(Plainly):
    """An attempt that may be repeated, and never is."""

    def may_repeat(self) -> bool:
        """Always."""
        return True


class ShortOfMemory:
    """An attempt at what the VAE does, whose memory runs out once: in one call of the codec, counted from 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, codec: WanCodec, name: str, failing: int):
        self.cuts = Cuts(vae_tiles=VaeTiles(side=64, overlap=16))
        self.lower = Cuts(vae_tiles=SMALL)
        self.widths: list[int] = []
        work = getattr(codec, name)

        def counted(stream: Any, given: torch.Tensor | None) -> list[torch.Tensor]:
            if given is not None:
                self.widths.append(given.shape[-1])
                if len(self.widths) == failing + 1:
                    work(stream, given)  # so that the cache is spoilt
                    raise torch.OutOfMemoryError("CUDA out of memory")
            made: list[torch.Tensor] = work(stream, given)
            return made

        monkeypatch.setattr(codec, name, counted)
        monkeypatch.setattr("diffst.wan.tiles.CLIP_LATENTS", 2)
        self.codec = codec

    def __call__(self, work: Callable[[], Made]) -> Made | None:
        try:
            return work()
        except torch.OutOfMemoryError:
            self.cuts = self.lower
            return None

    def may_repeat(self) -> bool:
        return True

    def vae(self, size: tuple[int, int]) -> TiledVae:
        return TiledVae(self.codec, size, lambda: self.cuts, device=CPU, attempt=self)


def in_parts(parts: Callable[[int], torch.Tensor], unit: int) -> torch.Tensor:
    """Tiles 32 wide at 0, 16 and 32 of a row of 64, put together by hand."""
    total = torch.zeros(64 // unit)
    made: list[torch.Tensor] = []
    for left in (0, 16, 32):
        weight = feather(64 // unit, left // unit, 32 // unit, 16 // unit)
        total[left // unit : (left + 32) // unit] += weight
        around = (left // unit, (32 - left) // unit)
        made.append(torch.nn.functional.pad(parts(left) * weight, around))
    return torch.stack(made).sum(0) / total


def columns(cache: list[Any], left: int) -> list[Any]:
    """Of what a picture 64 wide left behind, the part of a tile 32 wide."""
    return [
        entry[..., left * entry.shape[-1] // 64 : (left + 32) * entry.shape[-1] // 64].clone()
        if isinstance(entry, torch.Tensor)
        else entry
        for entry in cache
    ]
