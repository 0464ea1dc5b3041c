"""What one upscale is asked to do: every option with its default and range, checked together."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst.folders import EMBEDDED, INDEX_FILE
from diffst.star.load import Sampling
from diffst.star.names import MAX_GUIDANCE, MAX_STEPS, STAR_MODELS, WINDOWS, star_pipeline
from diffst.wan.names import DECODERS, WAN_MODEL
from diffst_cli.errors import UsageError
from diffst_cli.probe import VideoInfo

DEFAULT_SCALE = Fraction(4)
MAX_SCALE = 8
MAX_SIDE = 16384  # pixels; the limit of the common video codecs
MAX_FPS = 1000
MAX_FPS_X = 64
MAX_CRF = 63  # the widest range among the encoders (AV1, VP9)
SAMPLING = ("steps", "guidance", "prompt", "seed", "windows")
MAX_SEED = 2**63 - 1
MODELS = (*EMBEDDED, WAN_MODEL, *STAR_MODELS)  # that have a name
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICE_PATTERN = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
NTSC_RATES = (24, 30, 48, 60, 120, 240)  # whose 1000/1001 is what `23.976` or `59.94` means
NTSC_TOLERANCE = Fraction(5, 1000)
MAX_DENOMINATOR = 1001  # of a ratio that a decimal is taken for
RATIO_TOLERANCE = Fraction(1, 10**6)
MAX_TERM = 2**31 - 1  # of a rate as FFmpeg holds it


@dataclass(frozen=True, kw_only=True)
class UpscaleJob:
    """One video to make from another; checked when made.

    Raises:
        UsageError: A value is out of range, or two options exclude each other.
    """

    input: Path
    output: Path
    output_is_folder: bool = False
    """Whether it is one of pictures whatever its name, as a slash at its end says."""
    scale: Fraction | None = None
    """Times width and height, in (0, 8]; None is 4, or what `size` says."""
    size: tuple[int, int] | None = None
    """Exact (width, height) in pixels, instead of `scale`."""
    fps_x: Fraction | None = None
    """Times the frame rate, at least 1; variable rate stays variable. None is 1, or what `fps` says."""
    fps: Fraction | None = None
    """Exact constant frames per second, instead of `fps_x`."""
    start: Fraction | None = None
    """Seconds from the beginning of the input to skip."""
    duration: Fraction | None = None
    """Seconds of the input to take."""
    model: str = "nano"
    """Name of a model, or its folder."""
    device: str = "auto"
    """`auto`, `cpu`, `mps`, `cuda` or `cuda:N`."""
    devices: tuple[str, ...] = ()
    """Several, each with a process of its own, instead of `device`: `cpu`, `mps`, `cuda` or `cuda:N`."""
    ray: str | None = None
    """Address of a Ray cluster whose machines make the segments, or `auto`; `device` tells their kind."""
    precision: str = "auto"
    """`auto`, `fp32`, `bf16` or `fp16`."""
    decoder: str = "full"
    """`full`, or `tiny` for models of Wan's size: quicker; how near its pictures are was not measured."""
    vram_limit: Fraction | None = None
    """Most memory, in GB of 10^9 bytes: of the GPU for the model, or where it runs in main memory for the program."""
    steps: int | None = None
    """Of a model that samples; None is the model's own number."""
    guidance: float | None = None
    """How strongly a model that samples follows its prompt; None is the model's own."""
    prompt: str | None = None
    """What the video shows, for a model that samples; None is the model's own."""
    seed: int | None = None
    """Of a model that samples; None is the model's own."""
    windows: str | None = None
    """How STAR joins windows of a long clip, `fade` or `cut`; None is the model's own."""
    codec: str | None = None
    """A name from `codecs.CODECS`; None chooses by container and bit depth."""
    crf: float | None = None
    """Quality of the encoder, lower is better; None is the encoder's good default."""
    preset: str | None = None
    """The encoder's speed preset."""
    overwrite: bool = False
    """Replace an output that exists."""
    restart: bool = False
    """Forget what an earlier run of the same command left unfinished."""
    work_folder: Path | None = None
    """Folder for what is not finished; None is the output's own."""

    def __post_init__(self) -> None:
        _check_space(self)
        _check_time(self)
        if not DEVICE_PATTERN.fullmatch(self.device):
            raise UsageError(
                f"`--device` is `{self.device}`; it takes `auto`, `cpu`, `mps`, `cuda` or `cuda:N`"
            )
        if self.devices and self.device != "auto":
            raise UsageError(
                "`--device` and `--devices` exclude each other", hint="give one of them"
            )
        if self.ray is not None and (self.devices or ":" in self.device or self.device == "mps"):
            given = "--devices" if self.devices else f"--device {self.device}"
            raise UsageError(
                f"`--ray` and `{given}` exclude each other",
                hint="Ray chooses devices; `--device cpu` or `--device cuda` says which kind",
            )
        if self.precision not in PRECISIONS:
            raise UsageError(f"`--precision` is `{self.precision}`; it takes {_listed(PRECISIONS)}")
        if self.vram_limit is not None and self.vram_limit <= 0:
            raise UsageError(
                f"`--vram-limit` is `{_shown(self.vram_limit)}`; it takes more than 0 GB"
            )
        if self.crf is not None and not 0 <= self.crf <= MAX_CRF:  # NaN fails this too
            raise UsageError(f"`--crf` is `{self.crf:g}`; it takes 0 to {MAX_CRF}")
        check_model(self.model)
        _check_decoder(self)
        _check_sampling(self)

    @property
    def is_shared_out(self) -> bool:
        """Whether several workers make the segments, rather than the model in this process."""
        return bool(self.devices) or self.ray is not None

    @property
    def sampling(self) -> Sampling | None:
        """What a model that samples is told; None where that is nothing."""
        if all(getattr(self, name) is None for name in SAMPLING):
            return None
        return Sampling(
            num_steps=self.steps,
            guidance=self.guidance,
            prompt=self.prompt,
            seed=self.seed,
            windows=self.windows,
        )

    def output_size(self, info: VideoInfo) -> tuple[int, int]:
        """(width, height) asked for, in pixels; halves round up, nothing falls below 1.

        Raises:
            UsageError: A side is longer than any codec takes, or more than 8 times the input's.
        """
        scale = DEFAULT_SCALE if self.scale is None else self.scale
        width, height = self.size or (
            _round_half_up(info.width * scale),
            _round_half_up(info.height * scale),
        )
        if max(width, height) > MAX_SIDE:
            raise UsageError(
                f"the output would be {width}x{height}, and no codec takes more than {MAX_SIDE} pixels a side",
                hint=f"`{info.path}` is {info.width}x{info.height}; choose a smaller `--scale` or a `--size`",
            )
        if max(Fraction(width, info.width), Fraction(height, info.height)) > MAX_SCALE:
            raise UsageError(
                f"`--size` {width}x{height} is more than {MAX_SCALE} times {info.width}x{info.height}",
                hint="ask for less, or enlarge the result once more",
            )
        return max(width, 1), max(height, 1)

    def output_rate(self, info: VideoInfo) -> Fraction:
        """Frames per second of the output: exact when constant, the average when variable.

        Raises:
            UsageError: `fps_x` makes too many of the input's, or a rate that no file can hold.
        """
        if self.fps is not None:
            return self.fps
        rate = info.frame_rate * self.rate_factor
        if self.rate_factor == 1:  # the input's own, whatever it is
            return rate
        if info.is_variable:  # then it is an average, to which no frame is held
            rate = rate.limit_denominator(MAX_DENOMINATOR)
        if rate > MAX_FPS or max(rate.numerator, rate.denominator) > MAX_TERM:
            most = f"at most {MAX_FPS}" if rate > MAX_FPS else "only a simpler ratio"
            raise UsageError(
                f"`--fps-x` `{_shown(self.rate_factor)}` would make {_shown(rate)} frames a second, "
                f"and {most} can be made",
                hint=f"`{info.path}` has {_shown(info.frame_rate)}; give another factor, or a rate with `--fps`",
            )
        return rate

    def has_constant_rate(self, info: VideoInfo) -> bool:
        """Whether all output frames are shown equally long."""
        return self.fps is not None or not info.is_variable

    @property
    def rate_factor(self) -> Fraction:
        """Times the frame rate; 1 unless asked otherwise."""
        return self.fps_x or Fraction(1)


def _check_space(job: UpscaleJob) -> None:
    if job.scale is not None and job.size is not None:
        raise UsageError("`--scale` and `--size` exclude each other", hint="give one of them")
    if job.scale is not None and not 0 < job.scale <= MAX_SCALE:
        raise UsageError(
            f"`--scale` is `{_shown(job.scale)}`; it takes more than 0 and at most {MAX_SCALE}"
        )
    if job.size is not None and not all(1 <= side <= MAX_SIDE for side in job.size):
        width, height = job.size
        raise UsageError(f"`--size` is `{width}x{height}`; each side takes 1 to {MAX_SIDE} pixels")


def _check_time(job: UpscaleJob) -> None:
    if job.fps_x is not None and job.fps is not None:
        raise UsageError("`--fps-x` and `--fps` exclude each other", hint="give one of them")
    if job.fps_x is not None and not 1 <= job.fps_x <= MAX_FPS_X:
        raise UsageError(
            f"`--fps-x` is `{_shown(job.fps_x)}`; it takes 1 to {MAX_FPS_X}",
            hint="for fewer frames a second, give the rate itself with `--fps`",
        )
    if job.fps is not None and not 0 < job.fps <= MAX_FPS:
        raise UsageError(
            f"`--fps` is `{_shown(job.fps)}`; it takes more than 0 and at most {MAX_FPS}"
        )
    if job.start is not None and job.start < 0:
        raise UsageError(f"`--start` is `{_shown(job.start)}`; it takes 0 or more seconds")
    if job.duration is not None and job.duration <= 0:
        raise UsageError(f"`--duration` is `{_shown(job.duration)}`; it takes more than 0 seconds")


def check_model(model: str, option: str = "--model") -> None:
    """See that a model is one that we know, or a folder that may hold one.

    Raises:
        UsageError: It is neither; `option` named it.
    """
    if not model:
        raise UsageError(f"`{option}` is empty", hint="`diffst models list` names the models")
    if model in MODELS:
        return
    if not Path(model).is_dir():
        raise UsageError(
            f"there is no model `{model}`; `{option}` takes {_listed(MODELS)}, or a model's folder",
            hint="`diffst models list` says what each is",
        )
    if not (Path(model) / INDEX_FILE).is_file():
        raise UsageError(
            f"`{option}` is `{model}`, a folder without `{INDEX_FILE}`, so not a model's",
            hint="give a folder that training or `save_pretrained` wrote",
        )


def _check_decoder(job: UpscaleJob) -> None:
    if job.decoder not in DECODERS:
        raise UsageError(f"`--decoder` is `{job.decoder}`; it takes {_listed(DECODERS)}")
    if job.decoder != "full" and (job.model in EMBEDDED or star_pipeline(job.model) is not None):
        raise UsageError(
            f"`--decoder {job.decoder}` is for models of Wan's size, and `{job.model}` is not one of them",
            hint="leave it out, or give the folder of such a model with `--model`",
        )


def _check_sampling(job: UpscaleJob) -> None:
    given = [name for name in SAMPLING if getattr(job, name) is not None]
    if not given:
        return
    pipeline = star_pipeline(job.model)
    if pipeline is None:
        raise UsageError(
            f"`--{given[0]}` is for models that sample, and `{job.model}` is not one of them",
            hint=f"leave it out, or choose {_listed(tuple(STAR_MODELS))}",
        )
    ways = WINDOWS[pipeline]
    if job.windows is not None and job.windows not in ways:
        takes = f"it takes {_listed(ways)}" if ways else f"`{job.model}` sees clips without windows"
        raise UsageError(f"`--windows` is `{job.windows}`; {takes}")
    for name, lowest, highest in (
        ("steps", 1, MAX_STEPS[pipeline]),
        ("guidance", 0, MAX_GUIDANCE),
        ("seed", 0, MAX_SEED),
    ):
        value = getattr(job, name)
        if value is not None and not lowest <= value <= highest:  # NaN fails this too
            raise UsageError(f"`--{name}` is `{value}`; it takes {lowest} to {highest}")


def parse_number(text: str, option: str) -> Fraction:
    """The exact value of a decimal or a ratio such as `2`, `1.5`, `3/2`.

    Raises:
        UsageError: It is neither; infinity and not-a-number included.
    """
    try:
        if len(text) > 40:  # a Fraction of 1e999999999 would fill the memory
            raise ValueError
        if re.fullmatch(r"\s*[+-]?[\d.]+([eE][+-]?\d{1,2})?\s*|\s*[+-]?\d+/\d+\s*", text) is None:
            raise ValueError
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"`{option}` is `{text}`, which is not a number") from error


def parse_devices(text: str, option: str) -> tuple[str, ...]:
    """Devices from `0,1` (GPUs by number), `cuda:0,cuda:1` or `cpu:2` (two processes on the CPU).

    Raises:
        UsageError: It is not of that form, or names a GPU twice.
    """
    devices: list[str] = []
    for word in text.replace(" ", "").split(","):
        count = re.fullmatch(r"cpu(?::(\d{1,3}))?", word)
        gpu = re.fullmatch(r"(?:cuda:)?(\d{1,3})", word)
        if count is not None:
            devices += ["cpu"] * int(count[1] or 1)
        elif gpu is not None:
            devices.append(f"cuda:{int(gpu[1])}")
        else:
            devices.clear()
            break
    gpus = [device for device in devices if device != "cpu"]
    if not devices or len(set(gpus)) < len(gpus):
        raise UsageError(f"`{option}` is `{text}`; it takes GPUs, as `0,1`, or `cpu:2`")
    return tuple(devices)


def parse_factor(text: str, option: str) -> Fraction:
    """Times a frame rate; a ratio that was typed as a long decimal is meant exactly, as 5/3 by `1.6666666667`.

    Raises:
        UsageError: It is not a number, or has more digits than a file can hold.
    """
    value = parse_number(text, option)
    near = value.limit_denominator(MAX_DENOMINATOR)
    if abs(near - value) <= RATIO_TOLERANCE * min(abs(value), Fraction(1)):
        return near
    if max(abs(value.numerator), value.denominator) > MAX_TERM:
        raise UsageError(
            f"`{option}` is `{text}`, which has more digits than a file can hold",
            hint="give fewer, or a ratio, as `5/3` or `60000/1001`",
        )
    return value


def parse_rate(text: str, option: str) -> Fraction:
    """Frames per second; the usual short forms of NTSC rates, as 29.97, mean N*1000/1001 exactly.

    Raises:
        UsageError: As `parse_factor`.
    """
    value = parse_factor(text, option)
    if "/" in text or value.denominator == 1:
        return value
    for whole in NTSC_RATES:
        exact = Fraction(whole * 1000, 1001)
        if abs(value - exact) < NTSC_TOLERANCE:
            return exact
    return value


def parse_size(text: str, option: str) -> tuple[int, int]:
    """(width, height) from `1920x1080`.

    Raises:
        UsageError: It is not of that form.
    """
    match = re.fullmatch(r"(\d{1,9})[xX×](\d{1,9})", text.strip())
    if match is None:
        raise UsageError(f"`{option}` is `{text}`; it takes a width and a height, as `1920x1080`")
    return int(match[1]), int(match[2])


def parse_seconds(text: str, option: str) -> Fraction:
    """Seconds from `12.5`, `1:30` or `0:01:30.25`.

    Raises:
        UsageError: It is not of that form, or minutes or seconds after a colon reach 60.
    """
    *larger, last = text.strip().split(":")
    well_formed = len(larger) <= 2 and all(re.fullmatch(r"\d{1,9}", part) for part in larger)
    seconds = (
        parse_number(last, option) if not larger or re.fullmatch(r"\d+(\.\d+)?", last) else None
    )
    if not well_formed or seconds is None:
        raise UsageError(f"`{option}` is `{text}`; it takes seconds, or hours:minutes:seconds")
    if larger and (seconds >= 60 or any(int(part) >= 60 for part in larger[1:])):
        raise UsageError(f"`{option}` is `{text}`; minutes and seconds after a colon stay below 60")
    for place, part in enumerate(reversed(larger), start=1):
        seconds += int(part) * 60**place
    return seconds


def _round_half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _shown(value: Fraction) -> str:
    return f"{float(value):g}"


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words[:-1]) + f" or `{words[-1]}`"
