"""The preview itself: each moment upscaled as `upscale` would, beside plain enlargement, in one video."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2

from diffst_cli.errors import UsageError, UserError
from diffst_cli.frame_pipe import FramePipe
from diffst_cli.job import MAX_SIDE, UpscaleJob
from diffst_cli.playable import Picture, open_playable
from diffst_cli.preview.panels import choose_layout, make_labels, side_by_side
from diffst_cli.preview.telling import SECONDS, Telling, find_telling
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.progress import Reporter
from diffst_cli.reader import require_start
from diffst_cli.report.sources import Part, Showing, Source, common_size
from diffst_cli.report_files import replace_file
from diffst_cli.run import open_model, run_job
from diffst_cli.summary import require_good
from diffst_cli.target import choose_target, publish_file

MAX_RATE = Fraction(60)  # frames a second that every player shows
CODEC = "h264"
CRF, PRESET = 16, "veryfast"  # of the preview
WORK_CRF, WORK_PRESET = 4, "ultrafast"  # of what is upscaled, until it is put beside the other
STILL_SUFFIX = ".png"
STILL_PLACE = Fraction(1, 5)  # of a moment


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What was made."""

    path: Path
    size: tuple[int, int]
    """Width and height in pixels."""
    moments: tuple[tuple[str, str], ...]
    """Where each begins, as a clock shows it, and why it was chosen."""
    stills: tuple[Path, ...]


def make_preview(job: UpscaleJob, reporter: Reporter, *, stills: Path | None) -> Preview:
    """Choose moments of the job's input, and write its output: both ways side by side.

    Args:
        job: How to upscale; its output is the preview, its part of the input where to look.
        reporter: Told how it goes.
        stills: Folder for a PNG of each moment, made if it is not there; None for no stills.

    Raises:
        UserError: The input, the output or the model is not usable.
    """
    _check(job, stills)
    if job.devices:  # a moment is a segment or two, and a crew would load a model in each process
        job = replace(job, device=job.devices[0], devices=())
    info = probe(job.input)
    require_start(info, Fraction(0))  # of moments that lie anywhere
    target = choose_target(job.output, info, overwrite=job.overwrite)
    moments = _choose(job, info, reporter)
    unfinished = target.temporary(secrets.token_hex(4), ".mp4")
    try:
        with tempfile.TemporaryDirectory(prefix="diffst-preview-") as folder:
            renderer = _Renderer(job, info, moments, Path(folder), unfinished, reporter)
            pictures = renderer.run()
        publish_file(unfinished, target, overwrite=job.overwrite)
    finally:
        unfinished.unlink(missing_ok=True)
    height, width = pictures[0].shape[:2]
    named = () if stills is None else _write_stills(stills, moments, pictures)
    told = tuple((moment_clock(one.start - info.origin_seconds), one.reason) for one in moments)
    return Preview(path=job.output, size=(width, height), moments=told, stills=named)


def moment_clock(seconds: Fraction) -> str:
    """Minutes and seconds with a tenth, as `1:02.5`."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def _check(job: UpscaleJob, stills: Path | None) -> None:
    if job.output.suffix.lower() != ".mp4":
        raise UsageError(f"`{job.output}` is no MP4 file", hint="end its name in `.mp4`")
    if job.codec not in (None, CODEC):
        raise UsageError(
            f"`--codec` is `{job.codec}`; a preview is always `{CODEC}`, which plays anywhere"
        )
    if stills is not None and stills.is_file():
        raise UsageError(f"`--stills` is `{stills}`, which is a file", hint="name a folder")
    if stills is not None and not stills.absolute().parent.is_dir():
        raise UsageError(
            f"`--stills` is `{stills}`, which cannot be a folder",
            hint="make the folder it is in first",
        )
    if stills is not None and not job.overwrite and any(stills.glob(f"*{STILL_SUFFIX}")):
        raise UsageError(
            f"`--stills` is `{stills}`, which holds pictures already",
            hint="name another folder, or give `--overwrite`",
        )


def _choose(job: UpscaleJob, info: VideoInfo, reporter: Reporter) -> list[Telling]:
    rate = float(info.frame_rate)

    def on_seconds(done: float, total: float) -> None:
        reporter.advance(round(done * rate), round(total * rate))

    reporter.begin(job.input.name)
    try:
        reporter.stage("looking for telling moments")
        return find_telling(info, job.start, job.duration, on_seconds)
    finally:
        reporter.end()


class _Renderer:
    """Makes the video of a preview; owns its encoder while it runs."""

    def __init__(
        self,
        job: UpscaleJob,
        info: VideoInfo,
        moments: list[Telling],
        folder: Path,
        path: Path,
        reporter: Reporter,
    ) -> None:
        self._job = job
        self._info = info
        self._moments = moments
        self._folder = folder
        self._path = path
        self._reporter = reporter
        # Frames of a variable rate may follow each other faster than on average.
        self._rate = MAX_RATE if info.is_variable else min(job.output_rate(info), MAX_RATE)
        self._pipe: FramePipe | None = None
        self._num_frames = 0

    def run(self) -> list[Picture]:
        """Write the video; gives a still of each moment."""
        warned: set[str] = set()
        model = open_model(self._job)
        stills = []
        try:
            for number, moment in enumerate(self._moments, start=1):
                title = f"{number}/{len(self._moments)} {moment.reason}"
                upscale = self._job_of(moment)
                reporter = _MomentReporter(self._reporter, title, warned)
                require_good(run_job(upscale, model=model, reporter=reporter))
                stills.append(self._write(number, moment, upscale))
            assert self._pipe is not None
            self._pipe.close()
        finally:
            if self._pipe is not None:
                self._pipe.stop()
        return stills

    def _job_of(self, moment: Telling) -> UpscaleJob:
        return replace(
            self._job,
            output=self._folder / "after.mkv",
            start=moment.start - self._info.origin_seconds,
            duration=SECONDS,
            codec=CODEC,
            crf=WORK_CRF,
            preset=WORK_PRESET,
            overwrite=True,
        )

    def _write(self, number: int, moment: Telling, upscale: UpscaleJob) -> Picture:
        """Write one moment; gives the still."""
        assert upscale.start is not None
        caption = (
            f"{number}/{len(self._moments)}    {moment.reason}    {moment_clock(upscale.start)}"
        )
        pictures = self._pictures(upscale, caption)
        # Odd, which at twice the rate is a new frame; before the cut where there is one.
        place = round(SECONDS * self._rate * STILL_PLACE) | 1
        still = None
        for index, picture in enumerate(pictures):
            self._add(picture)
            if index <= place:
                still = picture
        assert still is not None, "the moment has no frame"
        return still

    def _pictures(self, upscale: UpscaleJob, caption: str) -> Iterator[Picture]:
        """Both ways side by side at every instant of a moment, with labels."""
        before = Source(info=self._info, label="")
        after = Source(info=probe(upscale.output), label="")
        size = common_size([after], MAX_SIDE)  # as upscaled, never reduced
        part = Part(start=upscale.start or Fraction(0), duration=SECONDS)
        with Showing(before, part, size) as left, Showing(after, Part(), size) as right:
            layout = choose_layout(right.picture())
            above, below = make_labels(layout, *self._names(), caption)
            began, time = right.frame.time, Fraction(0)
            while time < SECONDS:
                if not (left.move_to(part.start + time) and right.move_to(began + time)):
                    return
                yield side_by_side(layout, left.picture(), right.picture(), above, below)
                time += 1 / self._rate

    def _names(self) -> tuple[str, str]:
        """What stands over the left and over the right picture."""
        factor = self._job.output_rate(self._info) / self._info.frame_rate
        width, height = self._job.output_size(self._info)
        after = f"diffst {Path(self._job.model).name}, {width}x{height}"
        if factor == 1:
            return "lanczos", after
        rate = f"{float(min(self._job.output_rate(self._info), MAX_RATE)):.4g} frames/s"
        average = " on average" if self._info.is_variable else ""
        return "lanczos, frames repeated", f"{after}, {rate}{average}"

    def _add(self, picture: Picture) -> None:
        if self._pipe is None:
            height, width = picture.shape[:2]
            self._pipe = open_playable(
                self._path,
                size=(width, height),
                frame_rate=self._rate,
                constant_rate=True,
                crf=CRF if self._job.crf is None else self._job.crf,
                preset=self._job.preset or PRESET,
            )
        self._pipe.write(picture, self._num_frames / self._rate)
        self._num_frames += 1


class _MomentReporter(Reporter):
    """Shows the run of one moment under its own title, and each warning once."""

    def __init__(self, shown: Reporter, title: str, warned: set[str]) -> None:
        self._shown = shown
        self._title = title
        self._warned = warned

    def begin(self, name: str) -> None:
        """Start showing, under the title."""
        del name
        self._shown.begin(self._title)

    def stage(self, name: str) -> None:
        """Pass it on."""
        self._shown.stage(name)

    def advance(self, frames_done: int, frames_total: int | None) -> None:
        """Pass it on."""
        self._shown.advance(frames_done, frames_total)

    def within(self, frames: float) -> None:
        """Pass it on."""
        self._shown.within(frames)

    def warn(self, message: str) -> None:
        """Pass it on, unless it was said of another moment."""
        if message not in self._warned:
            self._shown.warn(message)
        self._warned.add(message)

    def end(self) -> None:
        """Pass it on."""
        self._shown.end()


def _write_stills(folder: Path, moments: list[Telling], stills: list[Picture]) -> tuple[Path, ...]:
    """Write the stills as PNG, named by number and reason.

    Raises:
        UserError: They cannot be written.
    """
    paths = []
    try:
        folder.mkdir(exist_ok=True)
        for number, (moment, still) in enumerate(zip(moments, stills, strict=True), start=1):
            path = folder / f"{number}-{moment.reason.replace(' ', '-')}{STILL_SUFFIX}"
            _, data = cv2.imencode(STILL_SUFFIX, cv2.cvtColor(still, cv2.COLOR_RGB2BGR))
            replace_file(path, bytes(data))  # a link too, rather than write where it leads
            paths.append(path)
    except OSError as error:
        raise UserError(f"cannot write into `{folder}`: {error.strerror}") from error
    return tuple(paths)
