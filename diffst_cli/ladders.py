"""The ways in which a model can do one clip, from the quickest to the one that takes least memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from diffst.limits import Limits
from diffst.wan.sizes import PIXEL_MULTIPLE, TILE_OVERLAP, even_side
from diffst_cli import memory_laws as laws

WAN_TILES = (2048, 1536, 1024, 768, 512)  # output pixels
WAN_LAST_TILE = 256  # smaller ones spend time on overlap and launches
WAN_WINDOW_FRAMES = 33  # 9 latents; longer ones make attention the largest part of the work
WAN_SHORT_WINDOW_FRAMES = 17
WAN_MOST_TOKENS = 68 * 120  # of one latent seen at once; larger pictures are cut in space
WAN_LATENTS_PER_CALL = (8, 4, 2)  # worth it on tiles only, whose kernels are too small
STAR_WINDOWS = (32, 16, 8)
STAR_GROUP_FRAMES = 3  # latents of one frame each, that its VAE decodes at once
STAR_TILES = (512, 256)
COGVIDEOX_TILES = (512, 256)
NANO_PICTURES = 7  # finished keyframes that new frames look up, the one in work included; as in `diffst.finished`
LOOKED_UP_PLANES = 4  # of each of these; as `diffst.fusion` keeps them on a CPU
NANO_WHOLE_PIXELS = 640 * 480  # as in `diffst.tiling`: nano cuts larger pictures into tiles
NANO_TILE_PIXELS = 512 * 512
NANO_SMALL_TILES = (256, 128)  # input pixels, halo included: only where memory is short
NANO_TILE_SLACK = 48  # by which a tile may be longer, as its edges lie on the latents' grid
MOST_PARTS = 8


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The size of what a model is asked for."""

    frame_size: tuple[int, int]
    """Width and height of the input, in pixels."""
    output_size: tuple[int, int]
    clip_keyframes: int
    """In one call, context included."""
    clip_frames: int
    """Output frames of one call."""
    bytes_per_sample: int
    """1 or 2, of the frames going in and coming out."""
    precision: str
    """`bf16`, `fp16` or `fp32`."""
    decoder: str = "full"
    """Of a model of Wan's size: `full` or `tiny`."""
    lanes: int = 1
    """Frames or tiles that nano makes at once, see `diffst.lanes`."""
    makes_new: bool = True
    """Whether frames between keyframes are made."""
    shot_keyframes: int = 0
    """Input frames of the longest stretch that is made without a break: of a segment."""
    shot_frames: int = 0
    """Likewise, output frames."""
    can_offload: bool = True
    """Whether main memory is another than the device's, so that parts may wait there."""

    @property
    def offloads(self) -> tuple[bool, ...]:
        """Whether parts wait in main memory: the ways there are, quicker first."""
        return (False, True) if self.can_offload else (False,)

    @property
    def frame_pixels(self) -> int:
        """Of one input frame."""
        return self.frame_size[0] * self.frame_size[1]

    @property
    def output_pixels(self) -> int:
        """Of one output frame."""
        return self.output_size[0] * self.output_size[1]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to do a clip."""

    limits: Limits
    """What the model is told."""
    parts: int = 1
    """Calls for one clip, each for its share of the frames."""
    device_bytes: int
    """Most that the model takes, weights included; computed."""
    host_bytes: int = 0
    """What it takes of main memory beside that, where the device has a memory of its own."""
    own_tiles: bool = False
    """Whether the model cuts pictures of this size into tiles without being told."""
    one_tile: bool = False
    """Whether the picture is no larger than a tile: it is not cut, but waits between the stages as tiles do."""

    @property
    def words(self) -> str:
        """What is done, for people."""
        said = [
            self._picture,
            f"{self.limits.window_frames} frames a window" if self.limits.window_frames else "",
            f"{self.limits.latents_per_call} latents a call"
            if (self.limits.latents_per_call or 1) > 1
            else "",
            "parts moved to the device in turn" if self.limits.offload else "",
            "each clip alone" if self.limits.clips_alone else "",
            f"clips in {self.parts} parts" if self.parts > 1 else "",
        ]
        return ", ".join(filter(None, said))

    @property
    def _picture(self) -> str:
        if self.limits.tile is None:
            return "the model's own tiles" if self.own_tiles else "whole frames"
        if self.one_tile:
            return "whole frames, one stage after the other"
        return f"tiles of up to {self.limits.tile} pixels"


def nano_ladder(work: Workload) -> Iterator[Rung]:
    """nano, and models like it that are given as a folder: as it likes best, small tiles, shorter calls."""
    yield nano_rung(work, None, 1)
    smaller = [side for side in NANO_SMALL_TILES if side < max(work.frame_size)]
    for side in smaller:
        yield nano_rung(work, side, 1)
    parts = 2
    while parts <= min(MOST_PARTS, 2 * work.clip_frames - 1):
        yield nano_rung(work, smaller[-1] if smaller else None, parts)
        parts *= 2


def nano_rung(work: Workload, side: int | None, parts: int) -> Rung:
    """The rung of one choice.

    Args:
        work: What is asked for.
        side: Of a tile, in input pixels, halo included; None for how nano cuts pictures by itself.
        parts: Calls for one clip.
    """
    frames = -(-work.clip_frames // parts)
    keyframes = -(-work.clip_keyframes // parts) + 1 if parts > 1 else work.clip_keyframes
    whole = work.frame_pixels <= NANO_WHOLE_PIXELS
    together = work.frame_pixels if whole else NANO_TILE_PIXELS
    if side is not None:
        together = min((side + NANO_TILE_SLACK) ** 2, work.frame_pixels)
    given = work.frame_pixels * 3 * work.bytes_per_sample * keyframes
    pictures = min(NANO_PICTURES, keyframes) if work.makes_new else 0
    planes = 3 * frames + LOOKED_UP_PLANES * pictures
    made = work.output_pixels * work.bytes_per_sample * planes
    taken = laws.nano_bytes(work.frame_pixels, work.lanes * together, work.precision)
    scale = work.output_size[1] / work.frame_size[1]
    return Rung(
        limits=Limits(tile=None if side is None else round(side * scale)),
        parts=parts,
        device_bytes=round(taken + given + made),
        own_tiles=side is None and not whole,
    )


def wan_ladder(work: Workload) -> Iterator[Rung]:
    """wan-1.3b: whole frames, one tile of that size, smaller VAE tiles, then parts in turn, then shorter windows.

    In tiles a shot waits in main memory; where there is no room for that, its clips are made alone.
    """
    window = min(WAN_WINDOW_FRAMES, max(work.clip_frames, 5))
    ways = [
        Limits(tile=tile, latents_per_call=latents, window_frames=window, offload=offload)
        for offload in work.offloads
        for tile in (None, *wan_tiles(work))
        for latents in ((1,) if tile is None or tile > 512 else (*WAN_LATENTS_PER_CALL, 1))
    ]
    last = [replace(ways[-1], tile=WAN_LAST_TILE)]
    if window > WAN_SHORT_WINDOW_FRAMES:
        last.append(replace(last[0], window_frames=WAN_SHORT_WINDOW_FRAMES))
    # A picture of that size leaves nothing to cut.
    last = [limits for limits in last if limits not in ways]
    for group in (ways, last):
        alone = [replace(limits, clips_alone=True) for limits in group if limits.tile is not None]
        yield from (wan_rung(work, limits) for limits in (*group, *alone))


def wan_rung(work: Workload, limits: Limits) -> Rung:
    """The rung of one choice, with its peak: the largest stage, and what lies on the device beside it."""
    width, height = wan_padded(work)
    factor = laws.TYPE_FACTORS[work.precision]
    tile, latents = limits.tile, limits.latents_per_call or 1
    window = limits.window_frames or work.clip_frames
    tokens_at_once = min(width * height // laws.WAN_PIXELS_PER_TOKEN, WAN_MOST_TOKENS)
    transformer = laws.wan_transformer_bytes(tokens_at_once * laws.wan_latents(window))
    if tile is None:
        vae = laws.wan_streamed_bytes(width * height, latents, work.decoder)
        transformer += laws.wan_kept_bytes(width * height, work.decoder)
        shot = 0.0
    else:
        pixels = math.prod(wan_tile(work, tile))
        vae = laws.wan_tiled_bytes(pixels, latents, work.decoder, width * height)
        shot = wan_shot_bytes(work, width * height, pixels, alone=limits.clips_alone)
    one = tile is not None and tile >= max(width, height)
    if limits.offload:
        # The VAE comes last and is small: it is not taken away again when the transformer comes.
        stage = laws.WAN_VAE_BYTES + max(vae, laws.WAN_TRANSFORMER_BYTES + transformer)
    else:
        stage = laws.wan_weights_bytes() + max(vae, transformer)
    clip = laws.wan_clip_bytes(work.frame_pixels, width * height, work.clip_frames)
    taken = (stage + clip) * factor
    if not work.can_offload:
        return Rung(limits=limits, device_bytes=round(taken + shot), one_tile=one)
    moved = laws.wan_weights_bytes() * factor if limits.offload else 0.0
    return Rung(
        limits=limits,
        device_bytes=round(taken),
        host_bytes=round(shot + moved),
        one_tile=one,
    )


def wan_padded(work: Workload) -> tuple[int, int]:
    """Width and height of the output as the VAE takes it."""
    width, height = (-(-side // PIXEL_MULTIPLE) * PIXEL_MULTIPLE for side in work.output_size)
    return width, height


def wan_tile(work: Workload, most: int) -> tuple[int, int]:
    """Width and height of the tiles that the VAE cuts an output picture into, in pixels."""
    width, height = (
        PIXEL_MULTIPLE
        * even_side(*(pixels // PIXEL_MULTIPLE for pixels in (side, most, TILE_OVERLAP)))
        for side in wan_padded(work)
    )
    return width, height


def wan_tiles(work: Workload) -> list[int]:
    """The longest sides of tiles that are worth a try, larger first; the first one leaves the picture whole."""
    longest = max(*wan_padded(work), WAN_LAST_TILE)
    sides = {wan_tile(work, longest): longest}
    for most in WAN_TILES:
        sides.setdefault(wan_tile(work, most), most)
    return list(sides.values())


def wan_shot_bytes(work: Workload, output_pixels: int, tile_pixels: int, *, alone: bool) -> float:
    """Main memory of a shot in tiles, or of a clip alone, with the keyframes that wait for their pictures.

    In a shot also what a tile remembers, so that its clip can be made again; counted on a CPU too, where nothing is.
    """
    frames = work.clip_frames if alone else max(work.shot_frames, work.clip_frames)
    made = laws.wan_shot_bytes(work.frame_pixels, output_pixels, frames, work.bytes_per_sample)
    made += laws.wan_tile_clip_bytes(tile_pixels, frames, work.bytes_per_sample)
    if alone:
        return made
    waiting = 3 * work.bytes_per_sample * work.frame_pixels * work.shot_keyframes
    remembered = laws.wan_remembered_bytes(tile_pixels, frames, work.decoder)
    return made + waiting + remembered * laws.TYPE_FACTORS[work.precision]


def star_ladder(work: Workload) -> Iterator[Rung]:
    """STAR on I2VGen-XL: shorter windows, frames decoded alone, parts on the device in turn, then tiles."""
    for offload in work.offloads:
        for decoded in (STAR_GROUP_FRAMES, 1):
            for window in STAR_WINDOWS:
                yield star_rung(work, None, window, decoded, offload=offload)
    for tile in STAR_TILES:
        yield star_rung(work, tile, STAR_WINDOWS[-1], 1, offload=work.offloads[-1])


def star_rung(
    work: Workload, tile: int | None, window: int, decoded: int, *, offload: bool
) -> Rung:
    """The rung of one choice."""
    factor = laws.TYPE_FACTORS[work.precision]
    width, height = laws.star_padded(*work.output_size)
    whole = width * height
    pixels = whole if tile is None else min(tile * tile, whole)
    frames = min(round(window * laws.STAR_LONGEST_WINDOW), max(work.clip_frames, 1))
    network = laws.star_network_bytes(pixels, frames)
    vae = laws.star_vae_bytes(pixels, min(decoded, frames))
    if offload:
        # The VAE, which comes last and is small, is not taken away again when the next clip begins.
        taken = max(laws.STAR_NETWORK_BYTES + network, vae) + laws.STAR_VAE_BYTES
    else:
        taken = laws.star_weights_bytes() + max(network, vae)
    limits = Limits(tile=tile, latents_per_call=decoded, window_frames=window, offload=offload)
    return Rung(limits=limits, device_bytes=round(taken * factor))


def cogvideox_ladder(work: Workload) -> Iterator[Rung]:
    """STAR on CogVideoX-5B: smaller VAE tiles, then its parts on the device in turn."""
    for offload in work.offloads:
        for tile in (None, *COGVIDEOX_TILES):
            yield cogvideox_rung(work, tile, offload=offload)


def cogvideox_rung(work: Workload, tile: int | None, *, offload: bool) -> Rung:
    """The rung of one choice; the network itself sees no more than the size it was taught at any output size."""
    factor = laws.TYPE_FACTORS[work.precision]
    pixels = laws.COGVIDEOX_TAUGHT_PIXELS if tile is None else tile * tile
    network = laws.cogvideox_transformer_bytes(work.clip_frames)
    vae = laws.COGVIDEOX_VAE_PIXEL_BYTES * pixels
    clip = laws.COGVIDEOX_CLIP_BYTES * work.output_pixels * work.clip_frames
    if offload:
        taken = max(laws.COGVIDEOX_TRANSFORMER_BYTES + network, vae) + laws.COGVIDEOX_VAE_BYTES
    else:
        weights = laws.COGVIDEOX_TRANSFORMER_BYTES + laws.COGVIDEOX_VAE_BYTES
        taken = weights + max(network, vae)
    return Rung(
        limits=Limits(tile=tile, offload=offload), device_bytes=round((taken + clip) * factor)
    )
