"""ffmpeg as a measuring tool: luma planes as stored, and VMAF."""

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.errors import UserError
from diffst_cli.ffmpeg import PROTOCOLS, ffmpeg_path, file_argument

if TYPE_CHECKING:
    from torch import Tensor

VMAF_MODEL = "vmaf_v0.6.1"  # built into libvmaf; 1080p television viewing
VMAF_THREADS = 2
Y4M_MARK = b"FRAME\n"  # before each frame of a yuv4mpeg stream
# States what every file of an evaluation is, and converts nothing.
COLOUR_FILTER = (
    "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709:field_mode=prog"
)
GREYS = "gray|gray9le|gray10le|gray12le|gray16le"  # that yuv4mpeg can hold


def ffmpeg_output(
    arguments: Sequence[str], purpose: str, *, executable: Path | None = None
) -> bytes:
    """Run ffmpeg on local files and return what it wrote to standard output.

    Args:
        arguments: Everything after the global options.
        purpose: What fails if it fails, as in "make `x.mp4`".
        executable: Another ffmpeg than the tool's own.

    Raises:
        UserError: It failed; the message has its first complaint.
    """
    command = [str(executable or ffmpeg_path()), "-v", "error", "-nostdin", "-y"]
    done = subprocess.run([*command, *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        complaint = lines[0].rpartition("] ")[2] if lines else f"exit code {done.returncode}"
        raise UserError(f"ffmpeg cannot {purpose}: {complaint.rstrip('.')}")
    return done.stdout


def read_from(path: Path) -> list[str]:
    """Arguments that let ffmpeg open one local file and nothing else."""
    return ["-protocol_whitelist", PROTOCOLS, "-i", file_argument(path)]


def read_luma(path: Path, max_frames: int | None = None) -> "Tensor":
    """The Y plane of each frame, as stored: no colour conversion.

    Args:
        path: A YUV video.
        max_frames: Frames to read at most; None reads all.

    Returns:
        (T, H, W) uint8; deeper samples are rounded to 8 bits.

    Raises:
        UserError: The video cannot be read, has no frame, or is not YUV.
    """
    import torch

    # Of deeper ones swscale would make 8 bits as of full range, which darkens: 940 becomes 234.
    luma = f"extractplanes=y,format={GREYS}"
    stream = ["-map", "0:v:0", "-vf", luma, "-fps_mode", "passthrough"]
    limit = [] if max_frames is None else ["-frames:v", str(max_frames)]
    arguments = [*stream, *limit, "-f", "yuv4mpegpipe", "-strict", "-1", "-"]
    raw = ffmpeg_output([*read_from(path), *arguments], f"read the luma of `{path}`")
    header, _, body = raw.partition(b"\n")
    fields = {field[:1]: field[1:] for field in header.split()[1:]}
    if not body:
        raise UserError(f"`{path}` has no video frame")
    width, height = int(fields[b"W"]), int(fields[b"H"])
    depth = int(fields[b"C"].removeprefix(b"mono") or 8)
    size = height * width * (1 if depth == 8 else 2)
    frames = torch.frombuffer(bytearray(body), dtype=torch.uint8).view(-1, len(Y4M_MARK) + size)
    planes = frames[:, len(Y4M_MARK) :]
    if depth > 8:
        deep = planes.contiguous().view(torch.int16).int() & 0xFFFF
        planes = ((deep + (1 << depth - 9)) >> depth - 8).clamp(max=255).to(torch.uint8)
    return planes.view(-1, height, width)


def read_rgb(path: Path, shape: Sequence[int]) -> "Tensor":
    """The first frames in RGB, taken as limited-range BT.709, converted as exactly as ffmpeg can.

    That is what degraded inputs state; references are in NUT, which cannot state it.

    Args:
        path: A video.
        shape: Frames, height and width; what is larger is cut at the right and bottom.

    Returns:
        (T, H, W, 3) uint8.

    Raises:
        UserError: The video cannot be read.
    """
    import torch

    num_frames, height, width = shape
    colour = "in_color_matrix=bt709:in_range=tv:out_range=pc"
    crop = f"crop={width}:{height}:0:0"
    convert = (
        f"{crop},scale={colour}:flags=accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24"
    )
    stream = ["-map", "0:v:0", "-vf", convert, "-fps_mode", "passthrough"]
    arguments = [*stream, "-frames:v", str(num_frames), "-f", "rawvideo", "-"]
    raw = ffmpeg_output([*read_from(path), *arguments], f"read the frames of `{path}`")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, height, width, 3)


def vmaf(output: Path, reference: Path, shape: Sequence[int]) -> tuple[float, ...]:
    """VMAF of each of the first frames, paired by their index.

    Args:
        output: A YUV video.
        reference: The true one.
        shape: Frames, height and width; what is larger is cut at the right and bottom.

    Raises:
        UserError: No ffmpeg here has libvmaf, or the comparison failed.
    """
    # Files that state their colours and files that do not, as NUT, would else be converted into each other.
    num_frames, height, width = shape
    cut = f"trim=end_frame={num_frames},crop={width}:{height}:0:0"
    numbered = f"settb=1/25,setpts=N,{cut},{COLOUR_FILTER},format=yuv420p"
    with tempfile.TemporaryDirectory(prefix="diffst-vmaf-") as folder:
        log = Path(folder) / "log.json"
        measure = f"libvmaf=model=version={VMAF_MODEL}:n_threads={VMAF_THREADS}:log_fmt=json"
        graph = (
            f"[0:v:0]{numbered}[x];[1:v:0]{numbered}[r];[x][r]{measure}:log_path={_escaped(log)}"
        )
        inputs = [*read_from(output), *read_from(reference)]
        arguments = [*inputs, "-filter_complex", graph, "-f", "null", "-"]
        ffmpeg_output(arguments, f"compare `{output}`", executable=vmaf_ffmpeg_path())
        frames = json.loads(log.read_text(encoding="utf-8"))["frames"]
    return tuple(float(frame["metrics"]["vmaf"]) for frame in frames)


def _escaped(path: Path) -> str:
    """A path as the value of a filter's option in a graph: escaped for the option, and that for the graph."""
    text = str(path)
    for special in (r"[\\':]", r"[\\'\[\],;]"):
        text = re.sub(special, r"\\\g<0>", text)
    return text


@cache
def vmaf_ffmpeg_path() -> Path:
    """The tool's own ffmpeg if it has libvmaf, else the bundled one.

    Raises:
        UserError: Neither has it.
    """
    import imageio_ffmpeg

    from diffst_cli.encoding import has_filter

    for candidate in (ffmpeg_path(), Path(imageio_ffmpeg.get_ffmpeg_exe())):
        if has_filter("libvmaf", candidate):
            return candidate
    raise UserError(
        "no ffmpeg here has the `libvmaf` filter", hint="run `pip install imageio-ffmpeg`"
    )
