"""What this machine has and lacks for upscaling, one `Finding` each; looks, and changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.allowance import main_memory, num_cores
from diffst_cli.encoding import encoder_works
from diffst_cli.errors import UserError
from diffst_cli.ffmpeg import PATH_VARIABLE, ffmpeg_path, read_version
from diffst_cli.free_memory import GIGABYTE
from diffst_cli.weights import problem_with

if TYPE_CHECKING:
    from diffst.upscaler import ModelCard

LOW_MEMORY_BYTES = 2 * GIGABYTE  # nano at 320x180 -> 1280x720 stays under 1.5 GB
LOW_DISK_BYTES = 2 * GIGABYTE
DEFAULT_ENCODER = "libx264"
DEFAULT_MODEL = "nano"
ENCODERS = {  # ffmpeg's name -> ours
    DEFAULT_ENCODER: "H.264",
    "libx265": "H.265",
    "libvpx-vp9": "VP9",
    "libsvtav1": "AV1",
    "h264_nvenc": "H.264 on NVIDIA",
    "hevc_nvenc": "H.265 on NVIDIA",
    "av1_nvenc": "AV1 on NVIDIA",
}


CPU_FEATURES = {  # flag in /proc/cpuinfo -> what it is called here
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "bf16 (AVX-512)",
    "amx_bf16": "bf16 (AMX)",
    "bf16": "bf16 (Arm)",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report."""

    name: str
    """What was looked at, such as `ffmpeg`."""
    ok: bool
    """False when upscaling cannot work because of it."""
    value: str
    """What was found, in plain words."""
    hint: str | None = None
    """What to do about it, when there is something to do."""


def examine() -> list[Finding]:
    """Everything `diffst doctor` reports, in the order it is printed."""
    return [
        *machine(),
        _ffmpeg(),
        _encoders(),
        *_models(),
        _memory(),
        _disk(Path.cwd()),
    ]


def machine() -> list[Finding]:
    """What a speed depends on: Python, torch, CPU and GPUs."""
    return [_python(), _torch(), _processor(), *_devices()]


def _python() -> Finding:
    system = f"{platform.system()} {platform.machine()}"
    return Finding(
        name="diffst",
        ok=True,
        value=f"{version('diffst')}, Python {platform.python_version()}, {system}",
    )


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of torch does not load
        return Finding(
            name="torch",
            ok=False,
            value=f"does not import: {error}",
            hint="install diffst again in a fresh environment",
        )
    return Finding(name="torch", ok=True, value=f"{torch.__version__}")


def _processor() -> Finding:
    """Cores are those this process may use."""
    lines = _cpu_lines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    flags = {
        flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()
    }
    found = [title for flag, title in CPU_FEATURES.items() if flag in flags]
    return Finding(name="CPU", ok=True, value=", ".join([name, f"{num_cores()} cores", *found]))


def _cpu_lines() -> list[str]:
    """Lines of /proc/cpuinfo; none where there is no such file."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _devices() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError):
        return []  # said by `_torch`
    if not torch.cuda.is_available():
        return [Finding(name="GPU", ok=True, value=_reason_for_no_gpu())]
    return [_device(index) for index in range(torch.cuda.device_count())]


def _reason_for_no_gpu() -> str:
    driver = _nvidia_driver()
    if driver is None:
        return "no NVIDIA GPU: nano runs on the CPU"
    return f"NVIDIA driver {driver} is here but torch cannot use it: nano runs on the CPU"


def _device(index: int) -> Finding:
    import torch

    free, total = torch.cuda.mem_get_info(index)
    memory = f"{free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free"
    driver = f"driver {_nvidia_driver() or 'unknown'}, CUDA {torch.version.cuda}"
    return Finding(
        name=f"GPU {index}",
        ok=True,
        value=f"{torch.cuda.get_device_name(index)}, {memory}, {driver}",
    )


def _nvidia_driver() -> str | None:
    """The kernel driver's version on Linux; None when it is not loaded."""
    try:
        said = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    numbers = [
        word for word in said.partition("\n")[0].split() if word[0].isdigit() and "." in word
    ]
    return numbers[0] if numbers else "of unknown version"


def _ffmpeg() -> Finding:
    try:
        path = ffmpeg_path()
    except UserError as error:
        return Finding(name="ffmpeg", ok=False, value=error.message, hint=error.hint)
    numbers = read_version(path)
    number = ".".join(map(str, numbers)) if numbers and numbers < (999, 0) else "built from git"
    origin = f"named by {PATH_VARIABLE}" if PATH_VARIABLE in os.environ else "system"
    if "imageio_ffmpeg" in path.parts:
        origin = "bundled"
    return Finding(name="ffmpeg", ok=numbers is not None, value=f"{number}, {origin}: `{path}`")


def _encoders() -> Finding:
    try:
        ffmpeg_path()
    except UserError:
        return Finding(name="encoders", ok=False, value="none without ffmpeg")
    working = [name for name in ENCODERS if encoder_works(name, "yuv420p")]
    words = ", ".join(f"{ENCODERS[name]} (`{name}`)" for name in working) or "none"
    if DEFAULT_ENCODER in working:
        return Finding(name="encoders", ok=True, value=words)
    return Finding(
        name="encoders",
        ok=False,
        value=f"{words}; `{DEFAULT_ENCODER}`, the default, does not run",
        hint="unset `DIFFST_FFMPEG` and take `ffmpeg` off PATH to use the bundled one",
    )


def _models() -> list[Finding]:
    try:
        from diffst.upscaler import list_models
    except (ImportError, OSError):
        return []  # torch is missing, said by `_torch`
    return [_model(card) for card in list_models() if card.name == DEFAULT_MODEL]


def _model(card: ModelCard) -> Finding:
    name = f"model {card.name}"
    problem = problem_with(card)
    if problem is not None:
        return Finding(name=name, ok=False, value=problem, hint="install diffst again")
    return Finding(name=name, ok=True, value=f"here and whole, {card.size_bytes / 1e6:.1f} MB")


def _memory() -> Finding:
    free, total = main_memory()
    return Finding(
        name="memory",
        ok=True,
        value=f"{free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free",
        hint="close other programs before large videos" if free < LOW_MEMORY_BYTES else None,
    )


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    return Finding(
        name="disk",
        ok=True,
        value=f"{free / GIGABYTE:.1f} GB free in `{folder}`",
        hint="make room before large videos" if free < LOW_DISK_BYTES else None,
    )


def report(findings: Sequence[Finding]) -> str:
    """The findings as lines of text, each hint below its finding."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok     " if finding.ok else "PROBLEM"
        lines.append(f"{mark} {finding.name:<{width}}  {finding.value}")
        if finding.hint is not None:
            lines.append(f"{'':7} {'':<{width}}  hint: {finding.hint}")
    return "\n".join(lines)
