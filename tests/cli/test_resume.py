"""A run that was stopped, however it was, and the same command again: the file of an undisturbed run."""

import shutil
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from diffst.limits import Limits
from diffst_cli import making, planner, segments
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.making import SegmentMaker
from diffst_cli.pieces import PieceWriter
from diffst_cli.probe import probe
from diffst_cli.reader import read_frames
from diffst_cli.recipe import make_recipe
from diffst_cli.run import open_output, open_work, run_job
from diffst_cli.work import Work
from tests.cli.test_run import FailingModel, Notes, fails_after
from tests.fakes import BilinearModel, Call
from tests.media import make_variable_rate, make_video, pattern, run_ffmpeg
from tests.outputs import frame_times

NUM_FRAMES = 24
PLENTY, LITTLE = (
    8 * 10**9,
    1_300_000_000,
)  # bytes of free memory; little makes nano's plan cut tiles


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 6 keyframes, so that a short clip has several."""
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One shot, with groups of pictures longer than a segment."""
    folder = tmp_path_factory.mktemp("resume")
    return make_video(folder / "clip.mp4", size=(32, 24), num_frames=NUM_FRAMES)


def job(source: Path, output: Path, **options: Any) -> UpscaleJob:
    values = {"scale": Fraction(2), "fps_x": Fraction(2), **options}
    return UpscaleJob(input=source, output=output, **values)


class StoppingModel(BilinearModel):
    """Raises KeyboardInterrupt as soon as so many pieces of the job are finished."""

    def __init__(self, num_pieces: int, asked: UpscaleJob) -> None:
        super().__init__()
        self._num_pieces = num_pieces
        self._folder = asked.work_folder or asked.output.parent

    def before(self, call: Call) -> None:
        if call.number == 2 * self._num_pieces + 2:  # a call makes 3 keyframes, a piece has 6
            deadline = time.monotonic() + 60
            while self._count() < self._num_pieces:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            raise KeyboardInterrupt

    def _count(self) -> int:
        lists = list(self._folder.glob(".*.diffst-*/watch.m3u"))
        return max((len(path.read_text("utf-8").splitlines()) for path in lists), default=0)


def stop_after(num_pieces: int, asked: UpscaleJob) -> None:
    """Runs a job until so many pieces are finished, and then Ctrl-C comes."""
    with pytest.raises(KeyboardInterrupt):
        run_job(asked, model=StoppingModel(num_pieces, asked))


def content(output: Path) -> list[bytes]:
    files = sorted(output.iterdir()) if output.is_dir() else [output]
    return [file.read_bytes() for file in files]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def undisturbed(asked: UpscaleJob, folder: Path) -> list[bytes]:
    folder.mkdir()
    output = folder / asked.output.name
    summary = run_job(replace(asked, output=output), model=BilinearModel())
    assert summary.receipt.ok
    return content(output)


@pytest.mark.parametrize(
    "name",
    [
        "out.mp4",
        "out.mkv",
        "pictures",
        *(
            pytest.param(f"out{suffix}", marks=pytest.mark.slow)
            for suffix in (".mov", ".webm", ".avi", ".gif")
        ),
    ],
)
def test_the_same_command_goes_on_and_makes_the_same_file(name: str, clip: Path, tmp_path: Path):
    rate = {"fps_x": Fraction(1)} if name == "out.gif" else {}
    asked = job(clip, tmp_path / "out" / name, **rate)
    asked.output.parent.mkdir()
    stop_after(1, asked)
    (kept,) = names(tmp_path / "out")
    assert kept.startswith(f".{asked.output.stem}.diffst-")
    notes = Notes()
    summary = run_job(asked, model=BilinearModel(), reporter=notes)
    assert 0 < summary.frames_resumed < summary.frames_out
    assert notes.counts[0][0] == summary.frames_resumed
    assert names(tmp_path / "out") == [name]
    assert content(asked.output) == undisturbed(asked, tmp_path / "whole")


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_where_segments_begin_changes_no_time_and_no_picture(
    codec: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = make_variable_rate(tmp_path / "v.mp4", [40 * n + 15 * (n % 3) for n in range(20)])
    many, one = tmp_path / "many.mov", tmp_path / "one.mov"
    run_job(job(source, many, codec=codec), model=BilinearModel())
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 1000)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 1000)
    run_job(job(source, one, codec=codec), model=BilinearModel())
    assert frame_times(many) == frame_times(one)
    if codec == "ffv1":
        for a, b in zip(read_frames(probe(many)), read_frames(probe(one)), strict=True):
            assert (a.image == b.image).all()


def test_finished_pieces_are_checked_and_made_again_if_damaged(clip: Path, tmp_path: Path):
    asked = job(clip, tmp_path / "out.mp4")
    stop_after(2, asked)
    (folder,) = tmp_path.iterdir()
    pieces = sorted(folder.glob("0*.mp4"))
    assert len(pieces) == 2
    pieces[0].unlink()
    pieces[1].write_bytes(pieces[1].read_bytes()[:-100])  # as after a power cut
    (folder / ".part-aaaa-000009.mp4").write_bytes(b"half")
    listed = (folder / "watch.m3u").read_text(encoding="utf-8").splitlines()
    assert listed == [piece.name for piece in pieces]
    assert run_job(asked, model=BilinearModel()).frames_resumed == 0
    assert names(tmp_path) == ["out.mp4"]
    assert content(asked.output) == undisturbed(asked, tmp_path / "whole")


def test_finished_pieces_play_while_the_rest_is_made(clip: Path, tmp_path: Path):
    stop_after(2, job(clip, tmp_path / "out.mp4"))
    (folder,) = tmp_path.iterdir()
    first = probe(sorted(folder.glob("0*.mp4"))[0])
    assert (first.width, first.height) == (64, 48)
    assert len(list(read_frames(first))) == first.num_frames


def test_a_damaged_record_starts_over_and_says_so(clip: Path, tmp_path: Path):
    asked = job(clip, tmp_path / "out.mp4")
    stop_after(1, asked)
    (folder,) = tmp_path.iterdir()
    record = folder / "manifest.json"
    record.write_text(record.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    notes = Notes()
    summary = run_job(asked, model=BilinearModel(), reporter=notes)
    assert summary.frames_resumed == 0
    assert any("damaged" in warning and "starting over" in warning for warning in notes.warnings)


def test_other_settings_start_over_say_so_and_leave_the_earlier_work(clip: Path, tmp_path: Path):
    asked = job(clip, tmp_path / "out.mp4")
    stop_after(1, asked)
    (kept,) = names(tmp_path)
    notes = Notes()
    summary = run_job(replace(asked, scale=Fraction(3)), model=BilinearModel(), reporter=notes)
    assert summary.frames_resumed == 0
    (warning,) = notes.warnings
    assert kept in warning
    assert "(scale)" in warning
    asked.output.unlink()
    assert names(tmp_path) == [kept]
    assert run_job(asked, model=BilinearModel()).frames_resumed > 0


def test_what_was_half_joined_when_a_run_was_killed_goes_with_the_next(clip: Path, tmp_path: Path):
    asked = job(clip, tmp_path / "out.mp4")
    stop_after(1, asked)
    (kept,) = names(tmp_path)
    (tmp_path / f"{kept}.mp4").write_bytes(b"half")
    assert run_job(asked, model=BilinearModel()).receipt.ok
    assert names(tmp_path) == ["out.mp4"]


def test_work_at_another_output_of_the_same_stem_is_not_spoken_of(clip: Path, tmp_path: Path):
    stop_after(1, job(clip, tmp_path / "out.mp4"))
    notes = Notes()
    assert run_job(
        job(clip, tmp_path / "out.mkv"), model=BilinearModel(), reporter=notes
    ).receipt.ok
    assert notes.warnings == []


def test_less_memory_asked_for_starts_over(clip: Path, tmp_path: Path):
    asked = job(clip, tmp_path / "out.mp4", device="cpu")
    stop_after(1, asked)
    notes = Notes()
    asked = replace(asked, vram_limit=Fraction(1))
    assert run_job(asked, model=BilinearModel(), reporter=notes).frames_resumed == 0
    assert any("(vram_limit)" in warning for warning in notes.warnings)


class LimitedModel(StoppingModel):
    """Keeps what it is told to keep within."""

    def keep_within(self, limits: Limits) -> None:
        self.limits = limits


@pytest.mark.parametrize(("before", "after"), [(PLENTY, LITTLE), (LITTLE, PLENTY)])
def test_other_free_memory_goes_on_as_it_was_begun(
    before: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = make_video(tmp_path / "large.mp4", size=(640, 500), num_frames=NUM_FRAMES)
    asked = job(source, tmp_path / "out" / "out.mp4", scale=Fraction(1, 10), device="cpu")
    asked.output.parent.mkdir()
    monkeypatch.setattr(planner, "free_bytes", lambda _: before)
    first, second = LimitedModel(1, asked), LimitedModel(99, asked)
    with pytest.raises(KeyboardInterrupt):
        run_job(asked, model=first)
    monkeypatch.setattr(planner, "free_bytes", lambda _: after)
    notes = Notes()
    assert run_job(asked, model=second, reporter=notes).frames_resumed > 0
    assert second.limits == first.limits
    assert first.limits.tile == (None if before == PLENTY else 26), "an input tile of 256"
    too_much = "memory may run out: `diffst plan` says how much there is"
    assert notes.warnings == ([too_much] if before == PLENTY else [])


def test_another_input_of_the_same_name_starts_over(clip: Path, tmp_path: Path):
    source = tmp_path / "in" / "clip.mp4"
    source.parent.mkdir()
    shutil.copy2(clip, source)
    asked = job(source, tmp_path / "out" / "out.mp4")
    asked.output.parent.mkdir()
    stop_after(1, asked)
    make_video(source, size=(32, 24), num_frames=NUM_FRAMES, filters="negate")
    notes = Notes()
    assert run_job(asked, model=BilinearModel(), reporter=notes).frames_resumed == 0
    assert "(input)" in notes.warnings[0]


def test_restart_forgets_what_was_made(clip: Path, tmp_path: Path):
    asked = job(clip, tmp_path / "out.mp4")
    stop_after(1, asked)
    summary = run_job(replace(asked, restart=True), model=BilinearModel())
    assert summary.frames_resumed == 0
    assert names(tmp_path) == ["out.mp4"]


def test_nothing_is_kept_where_nothing_was_finished(clip: Path, tmp_path: Path):
    asked, notes = job(clip, tmp_path / "out.mp4"), Notes()
    with pytest.raises(KeyboardInterrupt):
        run_job(asked, model=StoppingModel(0, asked), reporter=notes)
    assert names(tmp_path) == []
    assert notes.notes[-1] == "nothing is kept, as no segment was finished"


def test_work_can_be_kept_elsewhere(clip: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "out").mkdir()
    asked = job(clip, tmp_path / "out" / "out.mp4", work_folder=elsewhere)
    stop_after(1, asked)
    assert names(tmp_path / "out") == []
    assert len(names(elsewhere)) == 1
    assert run_job(asked, model=BilinearModel()).frames_resumed > 0
    assert (names(elsewhere), names(tmp_path / "out")) == ([], ["out.mp4"])


def test_a_full_disk_and_a_device_without_memory_lose_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = job(clip, tmp_path / "out.mp4")
    stop_after(1, asked)
    with pytest.raises(UserError, match="memory ran out"):
        run_job(asked, model=FailingModel(torch.OutOfMemoryError("CUDA out of memory"), 1))
    with monkeypatch.context() as patch:
        patch.setattr(PieceWriter, "write", fails_after(20, PieceWriter.write))
        with pytest.raises(UserError, match="the disk is full"):
            run_job(asked, model=BilinearModel())
    assert run_job(asked, model=BilinearModel()).frames_resumed >= 12
    assert content(asked.output) == undisturbed(asked, tmp_path / "whole")


def test_a_run_that_is_done_leaves_the_folder_of_the_next_alone(clip: Path, tmp_path: Path):
    asked, info = job(clip, tmp_path / "out.mkv"), probe(clip)

    def opened() -> Work:
        return open_work(asked, make_recipe(asked, info), open_output(asked, info))

    with opened() as done:
        done.remove()
        following = opened()
    assert following.folder.is_dir()
    following.close()
    assert not following.folder.exists()


def test_two_runs_cannot_make_the_same_output_at_once(clip: Path, tmp_path: Path):
    asked = job(clip, tmp_path / "out.mp4")

    class Second(BilinearModel):
        def before(self, call: Call) -> None:
            with pytest.raises(UserError, match="another diffst is at work"):
                run_job(asked, model=BilinearModel())

    assert run_job(asked, model=Second(clip=100)).receipt.ok


def test_an_input_that_cannot_be_entered_exactly_is_read_from_its_beginning(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = job(clip, tmp_path / "out.mp4")
    stop_after(1, asked)
    entered: list[bool] = []

    def remember(self: Any, *arguments: Any, **options: Any) -> None:
        entered.append(options["from_beginning"])
        make(self, *arguments, **options)

    make = SegmentMaker.make
    monkeypatch.setattr(SegmentMaker, "make", remember)
    # Stands for a decoder whose times or pictures after a jump are not quite the same.
    monkeypatch.setattr(making._Entry, "_fits", lambda entry, _frame: not entry._is_middle)
    notes = Notes()
    summary = run_job(asked, model=BilinearModel(), reporter=notes)
    assert entered == [False, True]
    assert any("cannot be entered exactly" in warning for warning in notes.warnings)
    assert summary.frames_resumed > 0
    assert content(asked.output) == undisturbed(asked, tmp_path / "whole")


OPEN_GOP = "keyint=12:min-keyint=12:bframes=3:open-gop=1"
INTERLACED = ("-flags", "+ilme+ildct", "-x264-params", "tff=1:keyint=12")
AWKWARD: list[tuple[str, tuple[str, ...], bool]] = [
    ("open groups.mp4", ("-c:v", "libx264", "-x264-params", OPEN_GOP), True),
    ("transport.ts", ("-c:v", "mpeg2video", "-g", "12", "-bf", "2"), True),
    ("fields.mp4", ("-vf", "tinterlace=4,fieldorder=tff", "-c:v", "libx264", *INTERLACED), True),
    ("no times.avi", ("-c:v", "mpeg4", "-g", "12", "-bf", "2"), True),
    ("late index.webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-g", "12"), True),
    ("no index.flv", ("-c:v", "libx264", "-g", "12"), False),
    ("bare.h264", ("-c:v", "libx264", "-g", "12"), False),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "can_enter"), AWKWARD)
def test_awkward_files_are_entered_exactly_or_read_from_their_beginning(
    name: str, arguments: tuple[str, ...], can_enter: bool, tmp_path: Path
):
    source = tmp_path / name
    run_ffmpeg(*pattern((48, 32), 75, "25"), *arguments, source)
    asked = job(source, tmp_path / "out" / "out.mkv", fps_x=Fraction(1))
    asked.output.parent.mkdir()
    stop_after(2, asked)
    notes = Notes()
    assert run_job(asked, model=BilinearModel(), reporter=notes).frames_resumed > 0
    assert any("cannot be entered" in warning for warning in notes.warnings) != can_enter
    assert content(asked.output) == undisturbed(asked, tmp_path / "whole")


@pytest.mark.slow
def test_a_file_that_begins_before_its_first_frame_is_entered_exactly(tmp_path: Path):
    """An edit list hides the beginning of the first group of pictures."""
    whole = tmp_path / "whole.mp4"
    run_ffmpeg(*pattern((48, 32), 75, "25"), "-c:v", "libx264", "-g", "20", whole)
    run_ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", tmp_path / "cut.mp4")
    asked = job(tmp_path / "cut.mp4", tmp_path / "out" / "out.mkv")
    asked.output.parent.mkdir()
    stop_after(2, asked)
    notes = Notes()
    assert run_job(asked, model=BilinearModel(), reporter=notes).frames_resumed > 0
    assert notes.warnings == []
    assert content(asked.output) == undisturbed(asked, tmp_path / "undisturbed")
