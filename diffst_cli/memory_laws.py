"""How many bytes and operations each model takes, as laws of the picture's size.

A GB is 10^9 bytes and a KB 10^3, as in the counts these laws come from. What a law leaves out, the
allocator's slack and the libraries' work space, is in the planner's reserve.
"""

from __future__ import annotations

import math

# nano, measured on a CPU: docs/performance.md has the sizes.
NANO_FRAME_BYTES = {"bf16": 1900, "fp16": 1900, "fp32": 2750}
"""For each low-resolution pixel of the frames, or tiles, that go through the codec together."""
NANO_MOTION_BYTES = 136  # for each pixel of a frame: six pairs of 16 bytes, and finding one

# wan-1.3b, counted on the diffusers modules in bfloat16; other types in proportion.
WAN_TRANSFORMER_BYTES = 2.84e9
WAN_VAE_BYTES = 0.25e9
WAN_GUIDANCE_BYTES = 0.10e9  # our own encoder, the resampler, and CFCA
WAN_CACHE_BYTES = 4.98e3  # for each pixel of a frame or tile, whatever its length
WAN_DECODE_BYTES = 5.31e3  # for each pixel and each latent of one call
WAN_ENCODE_BYTES = 7.64e3
WAN_DECODER_MEMORY_BYTES = 4.88e3  # of the decoder's, what it keeps from call to call
WAN_ENCODER_MEMORY_BYTES = 2.92e3  # likewise
WAN_DECODER_REPLACED_BYTES = 3.39e3  # of that, what a call replaces before its peak
WAN_ENCODER_REPLACED_BYTES = 1.17e3  # likewise
TINY_MEMORY_BYTES = (
    0.17e3  # the tiny decoder's, computed from its widths: for each pixel, whatever the length
)
TINY_REPLACED_BYTES = 0.14e3
TINY_DECODE_BYTES = 1.15e3  # for each pixel and each latent of one call
TINY_OPERATIONS = 0.33e6  # of the tiny decoder for each pixel of each frame, four frames a latent
WAN_TOKEN_BYTES = 48.7e3
WAN_FRAME_BYTES = (
    24  # computed: for each pixel of each frame at low resolution, in float32 and joined
)
WAN_LATENT_BYTES = (
    1  # computed: for each output pixel of each frame, latents in float32 before and after the step
)
WAN_ENLARGED_BYTES = 96  # for each output pixel: four whole pictures, twice, of which tiles are cut
WAN_KEPT_SAMPLE_BYTES = (
    2  # of 8 bits, in main memory till all tiles are made; of 16 bits twice that
)
WAN_TILE_CLIP_FRAMES = (
    65  # as in `diffst.wan.tiles`: of one tile's clip, the first being the longest
)
WAN_PIXELS_PER_TOKEN = 16 * 16
WAN_FRAMES_PER_LATENT = 4

# STAR on I2VGen-XL in float16, counted on its modules: live bytes of every tensor, no kernel's own workspace.
STAR_NETWORK_BYTES = 4.08e9  # UNet and ControlNet, 2.04 billion parameters
STAR_VAE_BYTES = 0.26e9  # its encoder in float32
STAR_LATENT_BYTES = 6.6e3
"""For each latent pixel of each frame of a window: skip connections of both networks."""
STAR_TOKEN_BYTES = (
    11.1e3  # at work in a feed-forward layer at full resolution, for each token of a slice
)
STAR_SLICE_TOKENS = 128 * 1024  # as in `diffst.star.blocks`
STAR_DECODE_BYTES = 2.05e3  # for each pixel of each frame that is decoded at once
STAR_ENCODE_BYTES = 2.58e3  # for each pixel of one frame, always in float32
STAR_LONGEST_WINDOW = 1.25  # the last window of a clip, in windows

# STAR on CogVideoX-5B, in bfloat16: weights counted on the modules, the rest computed from channel widths.
COGVIDEOX_TRANSFORMER_BYTES = 11.14e9  # 5.570 billion parameters, LoRA merged
COGVIDEOX_VAE_BYTES = 0.43e9
COGVIDEOX_TAUGHT_PIXELS = 480 * 720
COGVIDEOX_TOKENS_PER_LATENT = 30 * 45  # of the taught size
COGVIDEOX_TEXT_TOKENS = 226
COGVIDEOX_TOKEN_BYTES = 110e3  # two feed-forward layers' widths and ten of the stream's
COGVIDEOX_CLIP_BYTES = 12  # for each output pixel of each frame: 6 going in and 6 coming out
COGVIDEOX_VAE_PIXEL_BYTES = 32e3  # seven maps of 256 channels, nine frames decoded at once

TYPE_FACTORS = {"bf16": 1.0, "fp16": 1.0, "fp32": 2.0}


def nano_bytes(frame_pixels: int, together_pixels: int, precision: str) -> float:
    """What making a clip takes beside its frames, however long it is.

    Args:
        frame_pixels: Of a low-resolution frame.
        together_pixels: Low-resolution pixels that go through the codec together: of some frames, or of tiles.
        precision: `bf16`, `fp16` or `fp32`.
    """
    return NANO_FRAME_BYTES[precision] * together_pixels + NANO_MOTION_BYTES * frame_pixels


def wan_decode_bytes(pixels: int, latents_per_call: int = 1) -> float:
    """Peak of the VAE's decoder over frames or tiles of so many pixels, in bfloat16."""
    return (WAN_CACHE_BYTES + WAN_DECODE_BYTES * latents_per_call) * pixels


def tiny_decode_bytes(pixels: int, latents_per_call: int = 1) -> float:
    """Peak of the tiny decoder, likewise."""
    return (TINY_MEMORY_BYTES + TINY_DECODE_BYTES * latents_per_call) * pixels


DECODE_BYTES = {"full": wan_decode_bytes, "tiny": tiny_decode_bytes}
"""By the name of the decoder."""
DECODER_MEMORY_BYTES = {"full": WAN_DECODER_MEMORY_BYTES, "tiny": TINY_MEMORY_BYTES}
"""Likewise."""
DECODER_REPLACED_BYTES = {"full": WAN_DECODER_REPLACED_BYTES, "tiny": TINY_REPLACED_BYTES}
"""Likewise."""


def wan_encode_bytes(pixels: int) -> float:
    """Peak of the VAE's encoder over frames or tiles of so many pixels, four frames a call, in bfloat16."""
    return WAN_ENCODE_BYTES * pixels


def wan_transformer_bytes(num_tokens: int) -> float:
    """Peak of the transformer, without its weights, in bfloat16."""
    return WAN_TOKEN_BYTES * num_tokens


def wan_tokens(pixels: int, num_frames: int) -> int:
    """Tokens of `num_frames` frames of so many pixels, which both sides' padding to 16 includes."""
    return wan_latents(num_frames) * pixels // WAN_PIXELS_PER_TOKEN


def wan_latents(num_frames: int) -> int:
    """Latents of so many frames: one for the first, one for each four that follow."""
    return 1 + math.ceil((num_frames - 1) / WAN_FRAMES_PER_LATENT)


def wan_clip_bytes(frame_pixels: int, output_pixels: int, num_frames: int) -> float:
    """A clip on the device as it goes in and as latents; finished frames go to main memory at once."""
    return (WAN_FRAME_BYTES * frame_pixels + WAN_LATENT_BYTES * output_pixels) * num_frames


def wan_kept_bytes(pixels: int, decoder: str) -> float:
    """What encoder and decoder remember of a shot in frames or tiles of so many pixels, in bfloat16."""
    return (WAN_ENCODER_MEMORY_BYTES + DECODER_MEMORY_BYTES[decoder]) * pixels


def wan_tiled_bytes(pixels: int, latents_per_call: int, decoder: str, output_pixels: int) -> float:
    """Peak of the VAE over a tile of so many pixels of a picture, in bfloat16."""
    return max(
        DECODE_BYTES[decoder](pixels, latents_per_call),
        wan_encode_bytes(pixels),
        WAN_ENCODER_MEMORY_BYTES * pixels + WAN_ENLARGED_BYTES * output_pixels,
    )


def wan_shot_bytes(
    frame_pixels: int, output_pixels: int, num_frames: int, bytes_per_sample: int
) -> float:
    """Main memory that a shot of so many output frames takes while it is made in tiles.

    First its frames at low resolution in float32, then its pictures; all the time latents, before and after a stage.
    """
    pictures = 3 * WAN_KEPT_SAMPLE_BYTES * bytes_per_sample * output_pixels
    return (max(12 * frame_pixels, pictures) + WAN_LATENT_BYTES / 2 * output_pixels) * num_frames


def wan_tile_clip_bytes(pixels: int, num_frames: int, bytes_per_sample: int) -> float:
    """Main memory of the clip that a tile of so many pixels is at, until it is through."""
    frames = min(num_frames, WAN_TILE_CLIP_FRAMES)
    return 3 * WAN_KEPT_SAMPLE_BYTES * bytes_per_sample * frames * pixels


def wan_remembered_bytes(pixels: int, num_frames: int, decoder: str) -> float:
    """Main memory of what a tile of so many pixels remembered before the clip it is at, in bfloat16.

    The first clip has nothing before it.
    """
    kept = max(WAN_ENCODER_MEMORY_BYTES, DECODER_MEMORY_BYTES[decoder]) * pixels
    return kept if num_frames > WAN_TILE_CLIP_FRAMES else 0.0


def wan_streamed_bytes(pixels: int, latents_per_call: int, decoder: str) -> float:
    """Peak of the VAE while a shot is streamed: each half works while the other remembers.

    What a call replaces is kept until it is made, since it may be made again; counted on a CPU too, where none is.
    """
    encode = wan_encode_bytes(pixels) + WAN_ENCODER_REPLACED_BYTES * pixels
    decode = DECODE_BYTES[decoder](pixels, latents_per_call)
    return max(
        encode + DECODER_MEMORY_BYTES[decoder] * pixels,
        decode + (DECODER_REPLACED_BYTES[decoder] + WAN_ENCODER_MEMORY_BYTES) * pixels,
    )


def wan_weights_bytes() -> float:
    """All parts of wan-1.3b in bfloat16."""
    return WAN_TRANSFORMER_BYTES + WAN_VAE_BYTES + WAN_GUIDANCE_BYTES


def wan_operations(
    pixels: int, num_frames: int, guidance_tokens: int = 512, decoder: str = "full"
) -> dict[str, float]:
    """Floating-point operations by stage of `num_frames` frames at once; a multiply-add is two."""
    tokens, latents = wan_tokens(pixels, num_frames), wan_latents(num_frames)
    attention_in_vae = 1536 * latents * (pixels / 64) ** 2
    return {
        "encode": 5.04e6 * pixels * num_frames + attention_in_vae,
        "dit": 2.506e9 * tokens
        + 184_320 * tokens * (tokens + guidance_tokens)
        + 0.28e9 * guidance_tokens,
        "decode": TINY_OPERATIONS * pixels * latents * WAN_FRAMES_PER_LATENT
        if decoder == "tiny"
        else 8.5e6 * pixels * num_frames + attention_in_vae,
    }


def star_network_bytes(pixels: int, num_frames: int) -> float:
    """Peak of UNet and ControlNet, without weights, over a window of frames padded to `pixels`.

    Guidance's two branches run one after the other.
    """
    tokens = num_frames * pixels / 64
    return STAR_LATENT_BYTES * tokens + STAR_TOKEN_BYTES * min(tokens, STAR_SLICE_TOKENS)


def star_vae_bytes(pixels: int, frames_per_call: int) -> float:
    """Peak of the VAE over frames or tiles of so many pixels, decoded in float16."""
    return max(STAR_DECODE_BYTES * frames_per_call, STAR_ENCODE_BYTES) * pixels


def star_weights_bytes() -> float:
    """What of STAR on I2VGen-XL stays on the device; the text encoder never goes there."""
    return STAR_NETWORK_BYTES + STAR_VAE_BYTES


def star_padded(width: int, height: int) -> tuple[int, int]:
    """Width and height as STAR pads them: at least 1280x720, then multiples of 64, 16 rows more."""
    wide = 1280 if width <= 1280 else 64 * (width // 64) + 64
    high = 720 if height <= 720 else 64 * ((height + 48) // 64) + 16
    return wide, high


def cogvideox_transformer_bytes(num_frames: int) -> float:
    """Peak of the transformer of the CogVideoX-based STAR, without its weights, at the taught size in bfloat16."""
    latents = 1 + 2 * math.ceil((num_frames - 1) / 8)
    tokens = COGVIDEOX_TEXT_TOKENS + latents * COGVIDEOX_TOKENS_PER_LATENT
    return COGVIDEOX_TOKEN_BYTES * tokens
