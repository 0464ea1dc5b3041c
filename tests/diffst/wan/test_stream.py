"""A shot that begins in whole pictures goes on where memory runs out, in tiles where the limits ask for them."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from diffst.attempts import Attempt, Made, plainly
from diffst.pipeline import stage_clock
from diffst.wan import build_random
from diffst.wan.build import random_tiny_decoder
from diffst.wan.codec import WanCodec, WanEncoder
from diffst.wan.cuts import Cuts, VaeTiles
from diffst.wan.stream import ShotStream
from diffst.wan.windows import Windows
from tests.diffst.wan.short_of_memory import (
    CPU,
    SMALL,
    Repeated,
    ShortOfMemory,
    columns,
    in_parts,
)

SIZE = (32, 64)
PAIRS = Windows(latents=2, overlap_latents=0)
WHOLE, TILED = Cuts(windows=PAIRS), Cuts(windows=PAIRS, vae_tiles=SMALL)


@pytest.fixture
def codec() -> WanCodec:
    return build_random("tiny", dtype=torch.float32).codec


def frames() -> Tensor:
    """Of five latents."""
    return torch.rand(17, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def made(stream: ShotStream, given: Tensor | None = None) -> Iterator[Tensor]:
    """All pictures of the frames, given in threes; the one step does nothing."""
    for some in (frames() if given is None else given).split(3):
        yield from stream.feed(some)
    yield from stream.finish()


def stream(codec: WanCodec, attempt: Attempt = plainly) -> ShotStream:
    cuts = (lambda: attempt.cuts) if isinstance(attempt, ShortOfMemory) else (lambda: WHOLE)
    clock = stage_clock(None, CPU)
    return ShotStream(codec, torch.clone, cuts, SIZE, stage=clock, attempt=attempt)


def in_tiles_from(codec: WanCodec, num_encoded: int, num_decoded: int) -> Tensor:
    """All pictures, where so many latents were encoded and decoded in whole pictures before: put together by hand."""
    first = 4 * num_encoded - 3
    before = WanEncoder(codec, SIZE)
    whole = torch.cat([*before.feed(frames()[:first])])

    def encoded(left: int) -> Tensor:
        encoder = WanEncoder(codec, SIZE, area=(slice(0, 32), slice(left, left + 32)))
        encoder.stream.cache, encoder.stream.started = columns(before.stream.cache, left), True
        return torch.cat([*encoder.feed(frames()[first:])])

    latents = torch.cat((whole, in_parts(encoded, 8)))
    after = codec.decoder(SIZE)
    pictures = torch.cat([*after.feed(latents[:num_decoded])])

    def decoded(left: int) -> Tensor:
        decoder = codec.decoder((32, 32))
        decoder.stream.cache, decoder.stream.started = columns(after.stream.cache, left), True
        return torch.cat([*decoder.feed(latents[num_decoded:, :, :, left // 8 : left // 8 + 4])])

    return torch.cat((pictures, in_parts(decoded, 1)))


@torch.inference_mode()
@pytest.mark.parametrize("decoder", ["full", "tiny"])
@pytest.mark.parametrize(
    ("name", "failing", "num_encoded", "num_decoded"),
    [
        # Two latents are encoded, then both decoded, then the next two.
        ("encode_piece", 3, 3, 2),
        ("decode_piece", 3, 4, 3),
        ("decode_piece", 1, 2, 1),
    ],
)
def test_tiles_go_on_with_what_was_remembered_of_whole_pictures(
    monkeypatch: pytest.MonkeyPatch,
    codec: WanCodec,
    decoder: str,
    name: str,
    failing: int,
    num_encoded: int,
    num_decoded: int,
):
    if decoder == "tiny":
        codec.take_tiny_decoder(random_tiny_decoder("tiny", dtype=torch.float32))
    expected = in_tiles_from(codec, num_encoded, num_decoded)
    undisturbed = torch.cat([*made(stream(codec))])
    short = ShortOfMemory(monkeypatch, codec, name, failing)
    short.cuts, short.lower = WHOLE, TILED
    pictures = torch.cat([*made(stream(codec, short))])
    num_whole = 4 * num_decoded - 3
    assert torch.equal(pictures[:num_whole], undisturbed[:num_whole])
    torch.testing.assert_close(pictures, expected, rtol=0, atol=1e-5)
    assert not torch.equal(pictures[num_whole:], undisturbed[num_whole:])
    # Only the call that failed was in vain.
    latent = 8 if name == "encode_piece" else 1
    wide, narrow = SIZE[1] * latent // 8, 32 * latent // 8
    assert short.widths == [wide] * (failing + 1) + [narrow] * (5 - failing) * 3


@torch.inference_mode()
@pytest.mark.parametrize("name", ["encode_piece", "decode_piece"])
@pytest.mark.parametrize("failing", range(5))
def test_a_call_that_is_made_again_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, codec: WanCodec, name: str, failing: int
):
    undisturbed = torch.cat([*made(stream(codec))])
    short = ShortOfMemory(monkeypatch, codec, name, failing)
    short.cuts = short.lower = WHOLE
    assert torch.equal(torch.cat([*made(stream(codec, short))]), undisturbed)
    assert len(short.widths) == 5 + 1


@torch.inference_mode()
def test_one_tile_that_is_the_picture_goes_on_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, codec: WanCodec
):
    undisturbed = torch.cat([*made(stream(codec))])
    short = ShortOfMemory(monkeypatch, codec, "decode_piece", 2)
    short.lower, short.cuts = Cuts(windows=PAIRS, vae_tiles=short.cuts.vae_tiles), WHOLE
    pictures = [*made(stream(codec, short))]
    assert [len(piece) for piece in pictures[2:]] == [1] * 12  # as tiles give them
    assert torch.equal(torch.cat(pictures), undisturbed)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["encode_piece", "decode_piece"])
@pytest.mark.parametrize("num_frames", [1, 2, 14])
@pytest.mark.parametrize("first", [True, False])
def test_the_first_call_and_the_last_may_fail_too(
    monkeypatch: pytest.MonkeyPatch, codec: WanCodec, name: str, num_frames: int, first: bool
):
    given = frames()[:num_frames]
    undisturbed = torch.cat([*made(stream(codec), given)])
    assert len(undisturbed) == num_frames
    short = ShortOfMemory(monkeypatch, codec, name, 0 if first else -(-(num_frames - 1) // 4))
    short.lower, short.cuts = Cuts(windows=PAIRS, vae_tiles=short.cuts.vae_tiles), WHOLE
    assert torch.equal(torch.cat([*made(stream(codec, short), given)]), undisturbed)
    assert short.cuts is short.lower


@torch.inference_mode()
def test_a_shot_goes_all_the_way_down(codec: WanCodec):
    ways = [
        WHOLE,
        Cuts(windows=PAIRS, vae_tiles=VaeTiles(side=64, overlap=16)),
        Cuts(windows=Windows(latents=1, overlap_latents=0), vae_tiles=SMALL),
    ]

    class Stepping(Repeated):
        """Fails before every fourth piece of work, as long as there is a lower way."""

        def __init__(self) -> None:
            self.count = 0

        def __call__(self, work: Callable[[], Made]) -> Made | None:
            self.count += 1
            if self.count % 4 == 0 and len(ways) > 1:
                ways.pop(0)
                return None
            return super().__call__(work)

    shot = ShotStream(
        codec,
        torch.clone,
        lambda: ways[0],
        SIZE,
        stage=stage_clock(None, CPU),
        attempt=Stepping(),
    )
    pictures = torch.cat([*made(shot)])
    assert len(ways) == 1
    assert len(pictures) == 17
    assert pictures.isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("latents_per_call", [1, 2, 3])
def test_whole_pictures_do_not_depend_on_the_pieces(codec: WanCodec, latents_per_call: int):
    def all_of(length: int) -> Tensor:
        cuts = Cuts(windows=PAIRS, latents_per_call=latents_per_call)
        shot = ShotStream(
            codec,
            torch.clone,
            lambda: cuts,
            SIZE,
            stage=stage_clock(None, CPU),
            attempt=Repeated(),
        )
        given = frames()[:15]
        pieces = [piece for some in given.split(length) for piece in shot.feed(some)]
        return torch.cat([*pieces, *shot.finish()])

    at_once = all_of(15)
    assert len(at_once) == 15
    assert torch.equal(all_of(2), at_once)
    plain = codec.decode((encoded := codec.encode(frames()[:15], frames(), SIZE)).latents, encoded)
    torch.testing.assert_close(at_once, plain, rtol=0, atol=1e-5)
