"""Upscale a video with an ncnn network and double its rate with ffmpeg, to be compared by `diffst evaluate`.

Usage: python ncnn_system.py MODEL INPUT OUTPUT FPS CRF [NUM_THREADS]

MODEL is the common path of a network's .param and .bin: one input, one output, RGB in [0, 1], as
Real-ESRGAN's are. INPUT's frames are enlarged one by one, at half of FPS; ffmpeg's minterpolate makes the
others, and x264 writes OUTPUT. Needs `pip install ncnn`.
"""

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO

import ncnn
import numpy as np
import numpy.typing as npt

from diffst_cli.evaluation.measuring import COLOUR_FILTER
from diffst_cli.evaluation.tracks import COLOUR_TAGS
from diffst_cli.ffmpeg import ffmpeg_path

Image = npt.NDArray[np.uint8]

# As good as swscale converts: what the network does to colours is its own, what we do is not.
EXACT = "flags=accurate_rnd+full_chroma_int+full_chroma_inp"
FFMPEG = [str(ffmpeg_path()), "-v", "error", "-y"]


def read_pictures(stream: IO[bytes]) -> Iterator[Image]:
    """(H, W, 3) RGB frames of a stream of PPM pictures, as ffmpeg writes them."""
    while stream.readline():  # P6
        width, height = map(int, stream.readline().split())
        stream.readline()  # 255
        yield np.frombuffer(stream.read(3 * width * height), np.uint8).reshape(height, width, 3)


def load_network(model: str, num_threads: int) -> ncnn.Net:
    """The network, with ncnn's own settings but for the number of threads."""
    network = ncnn.Net()
    network.opt.num_threads = num_threads
    if network.load_param(f"{model}.param") != 0 or network.load_model(f"{model}.bin") != 0:
        raise SystemExit(f"cannot load {model}.param and {model}.bin")
    return network


def enlarge(network: ncnn.Net, picture: Image) -> Image:
    """The network's picture, (scale H, scale W, 3)."""
    height, width, _ = picture.shape
    pixels = ncnn.Mat.from_pixels(picture, ncnn.Mat.PixelType.PIXEL_RGB, width, height)
    pixels.substract_mean_normalize([], [1 / 255] * 3)
    extractor = network.create_extractor()
    extractor.input(network.input_names()[0], pixels)
    _, result = extractor.extract(network.output_names()[0])
    levels = np.rint(np.array(result) * 255).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def start_writer(
    output: Path, size: tuple[int, int], fps: Fraction, crf: str
) -> "subprocess.Popen[bytes]":
    """Start an ffmpeg that takes RGB frames of (width, height) at half of `fps` and writes the video."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(fps / 2)]
    to_yuv = f"scale=out_color_matrix=bt709:out_range=tv:{EXACT},format=yuv420p"
    filters = f"{to_yuv},minterpolate=fps={fps},{COLOUR_FILTER}"
    encoder = ["-c:v", "libx264", "-preset", "medium", "-crf", crf, *COLOUR_TAGS]
    command = [*FFMPEG, *raw, "-i", "-", "-vf", filters, *encoder, f"file:{output}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def main(model: str, source: str, output: str, fps: str, crf: str, num_threads: str = "2") -> None:
    """Read, enlarge and write, the three at the same time."""
    network = load_network(model, int(num_threads))
    decode = ["-i", f"file:{source}", "-vf", f"scale={EXACT},format=rgb24", "-f", "image2pipe"]
    reader = subprocess.Popen(
        [*FFMPEG, "-nostdin", *decode, "-c:v", "ppm", "-"], stdout=subprocess.PIPE
    )
    writer = None
    assert reader.stdout
    for picture in read_pictures(reader.stdout):
        larger = enlarge(network, picture)
        if writer is None:
            size = (larger.shape[1], larger.shape[0])
            writer = start_writer(Path(output), size, Fraction(fps), crf)
        assert writer.stdin
        writer.stdin.write(larger.tobytes())
    if writer is None or writer.stdin is None:
        raise SystemExit(f"no frame in {source}")
    writer.stdin.close()
    if writer.wait() != 0 or reader.wait() != 0:
        raise SystemExit(f"ffmpeg failed on {source}")


if __name__ == "__main__":
    main(*sys.argv[1:])
