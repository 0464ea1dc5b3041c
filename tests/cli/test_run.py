import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from diffst_cli import run
from diffst_cli.errors import UsageError, UserError
from diffst_cli.interrupts import interrupts_raise
from diffst_cli.job import UpscaleJob
from diffst_cli.making import SegmentMaker, interleaved
from diffst_cli.pieces import PieceWriter
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.progress import Reporter
from diffst_cli.reader import FrameReader, read_frames
from diffst_cli.receipt import Check
from diffst_cli.run import open_model, run_job
from diffst_cli.summary import require_good, write_receipt
from tests.fakes import BilinearModel, Call, TellingModel
from tests.media import make_variable_rate
from tests.outputs import make, make_clip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """20 frames of 64 x 48 at 25 fps, in a folder of its own."""
    folder = tmp_path / "in"
    folder.mkdir()
    return make_clip(folder / "clip.mp4", num_frames=20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for outputs."""
    made = tmp_path / "out"
    made.mkdir()
    return made


def job(source: Path, output: Path, **options: Any) -> UpscaleJob:
    return UpscaleJob(input=source, output=output, **{"scale": Fraction(2), **options})


def pixels(path: Path) -> Tensor:
    """Every frame, (T, H, W, 3)."""
    return torch.stack([torch.from_numpy(frame.image.copy()) for frame in read_frames(probe(path))])


def nothing_is_left(folder: Path) -> bool:
    """No file, no ffmpeg, no thread of ours."""
    threads = [thread.name for thread in threading.enumerate()]
    ffmpegs = [
        child for child in psutil.Process().children(recursive=True) if "ffmpeg" in child.name()
    ]
    return (
        not list(folder.iterdir())
        and not ffmpegs
        and not {"reader", "writer", "scanner", "progress"} & set(threads)
    )


class Notes(Reporter):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.counts: list[tuple[int, int | None]] = []
        self.within_clip: list[float] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.num_ends = 0

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def advance(self, frames_done: int, frames_total: int | None) -> None:
        self.counts.append((frames_done, frames_total))

    def within(self, frames: float) -> None:
        self.within_clip.append(frames)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def end(self) -> None:
        self.num_ends += 1


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize(
    "ticks", [[0, 40, 80, 120, 8120, 8160, 8200], [0, 20, 40, 60, 9000], [0, 7000, 7040, 7080]]
)
def test_long_gaps_of_a_variable_rate_do_not_make_it_longer(
    name: str, ticks: list[int], folder: Path, tmp_path: Path
):
    source = probe(make_variable_rate(tmp_path / "v.mp4", ticks))
    summary = run_job(job(source.path, folder / name, fps_x=Fraction(2)), model=BilinearModel())
    assert [check for check in summary.receipt.checks if not check.ok] == []
    assert summary.frames_out == 2 * len(ticks)
    # The last frame is shown for 20 ms, not as long as the gap before another.
    assert source.duration_seconds == Fraction(ticks[-1] + 20, 1000)
    length = probe(folder / name).duration_seconds
    assert length is not None
    # An MP4 may give the half of them that is the last new frame's twice: it adds up as decoded.
    assert 0 <= length - source.duration_seconds <= Fraction(10, 1000)


def test_a_video_comes_out_larger_and_smoother(clip: Path, folder: Path):
    notes = Notes()
    output = folder / "out.mp4"
    summary = run_job(job(clip, output, fps_x=Fraction(2)), model=BilinearModel(), reporter=notes)
    made = probe(output)
    assert (made.width, made.height, made.num_frames) == (128, 96, 40)
    assert made.frame_rate == summary.frame_rate == 50
    assert (summary.size, summary.frames_in, summary.frames_out) == ((128, 96), 20, 40)
    assert summary.duration_seconds == 0.8
    assert summary.receipt.ok
    assert summary.frames_resumed == 0
    assert {"scan", "read", "model", "decode", "write", "finish"} <= set(summary.stage_seconds)
    assert summary.peak_memory_bytes > 10_000_000
    assert notes.stages == ["opening", "looking for earlier work", "upscaling", "finishing"]
    assert notes.counts == [(count, 40) for count in range(41)]
    assert notes.num_ends == 1
    assert list(folder.iterdir()) == [output]


def test_how_far_a_long_call_of_the_model_is_is_shown(clip: Path, folder: Path):
    notes = Notes()
    run_job(job(clip, folder / "out.mp4"), model=TellingModel(clip=20), reporter=notes)
    # All 20 frames are one clip.
    assert notes.stages[2:] == [
        "upscaling",
        "upscaling, denoise 0/2",
        "upscaling, denoise 1/2",
        "finishing",
    ]
    # Before the network is asked first, one twentieth of it is done, at half of the answers half of it.
    assert notes.within_clip == [pytest.approx(20 * share) for share in (0.05, 0.5)]


def test_what_clips_share_is_not_counted_twice(clip: Path, folder: Path):
    notes = Notes()
    model = TellingModel(clip=11, overlap=2)
    run_job(job(clip, folder / "out.mp4"), model=model, reporter=notes)
    assert notes.within_clip == [pytest.approx(n * share) for n in (9, 11) for share in (0.05, 0.5)]


def test_a_clip_that_is_only_there_to_fade_from_counts_nothing():
    maker = SimpleNamespace(_clip_frames=0)
    clips: list[Any] = [SimpleNamespace(first_instant=first, num_owned=9) for first in (18, 27, 36)]
    counted = [
        maker._clip_frames
        for _ in SegmentMaker._counted(maker, clips, 30)  # type: ignore[arg-type]
    ]
    assert counted == [0, 6, 9]


def test_the_result_does_not_depend_on_how_it_is_cut_into_clips(clip: Path, folder: Path):
    results = []
    for number, model in enumerate(
        (BilinearModel(clip=100), BilinearModel(clip=3, overlap=2, context=1))
    ):
        output = folder / f"{number}.mkv"
        run_job(job(clip, output, fps_x=Fraction(5, 2), codec="ffv1"), model=model)
        results.append(pixels(output))
    assert results[0].shape == (50, 96, 128, 3)
    assert torch.equal(results[0], results[1])


def test_an_exact_rate_keeps_the_length(clip: Path, folder: Path):
    summary = run_job(job(clip, folder / "out.mp4", fps=Fraction(30)), model=BilinearModel())
    assert summary.frame_rate == 30
    assert summary.frames_out == 24


def test_a_part_is_taken(clip: Path, folder: Path):
    options = {"start": Fraction(1, 5), "duration": Fraction(2, 5)}
    summary = run_job(job(clip, folder / "out.mp4", **options), model=BilinearModel())
    assert (summary.frames_in, summary.frames_out) == (10, 10)


class FailingModel(BilinearModel):
    """Works some times, then raises."""

    def __init__(self, error: BaseException, calls: int = 1) -> None:
        super().__init__()
        self._error = error
        self._calls = calls

    def before(self, call: Call) -> None:
        if call.number > self._calls:
            raise self._error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken"), UserError("broken")])
def test_an_error_in_the_model_leaves_nothing(error: BaseException, clip: Path, folder: Path):
    notes = Notes()
    with pytest.raises(type(error)):
        run_job(job(clip, folder / "out.mp4"), model=FailingModel(error), reporter=notes)
    assert nothing_is_left(folder)
    assert notes.num_ends == 1


def fails_after(calls: int, method: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, which raises from its call number `calls` on."""
    count = 0

    def wrapped(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            raise UserError("the disk is full")
        return method(*arguments)

    return wrapped


def test_an_error_while_writing_stops_reading_and_leaves_nothing(
    clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(PieceWriter, "write", fails_after(3, PieceWriter.write))
    with pytest.raises(UserError, match="the disk is full"):
        run_job(job(clip, folder / "out.mp4"), model=BilinearModel())
    assert nothing_is_left(folder)


def test_an_error_on_the_last_frame_is_not_lost(
    clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(PieceWriter, "write", fails_after(19, PieceWriter.write))
    with pytest.raises(UserError, match="the disk is full"):
        run_job(job(clip, folder / "out.mp4"), model=BilinearModel())
    assert nothing_is_left(folder)


def test_an_error_while_reading_leaves_nothing(
    clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(FrameReader, "__next__", fails_after(15, FrameReader.__next__))
    with pytest.raises(UserError, match="the disk is full"):
        run_job(job(clip, folder / "out.mp4"), model=BilinearModel())
    assert nothing_is_left(folder)


class MeddlingModel(BilinearModel):
    """Does something on its second call."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__()
        self._meddle = meddle

    def before(self, call: Call) -> None:
        if call.number == 2:
            self._meddle()


@pytest.mark.parametrize("change", ["grows", "is removed", "is replaced by nonsense"])
def test_an_input_that_changes_while_it_is_read_gives_no_output(
    change: str, clip: Path, folder: Path, tmp_path: Path
):
    source = tmp_path / "source.mp4"
    shutil.copy(clip, source)
    changes: dict[str, Callable[[], object]] = {
        "grows": lambda: source.write_bytes(source.read_bytes() + b"more"),
        "is removed": source.unlink,
        "is replaced by nonsense": lambda: source.write_bytes(bytes(5000)),
    }
    with pytest.raises(UserError, match=r"`.*source.mp4` was changed or removed while it was read"):
        run_job(job(source, folder / "out.mp4"), model=MeddlingModel(changes[change]))
    assert nothing_is_left(folder)


def test_a_touched_input_is_the_same(clip: Path, folder: Path, tmp_path: Path):
    source = tmp_path / "source.mp4"
    shutil.copy(clip, source)
    model = MeddlingModel(lambda: os.utime(source, ns=(0, 0)))
    assert run_job(job(source, folder / "out.mp4"), model=model).receipt.ok


def test_a_broken_pipe_is_told_as_what_it_is(clip: Path, folder: Path):
    with pytest.raises(UserError, match="ffmpeg stopped"):
        run_job(job(clip, folder / "out.mp4"), model=FailingModel(BrokenPipeError()))


def test_an_interrupt_need_not_wait_while_the_recipe_is_made(
    clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(_job: UpscaleJob, _info: VideoInfo) -> dict[str, str]:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr(run, "make_recipe", interrupted)
    with interrupts_raise(), pytest.raises(KeyboardInterrupt):
        run_job(job(clip, folder / "out.mp4"), model=BilinearModel())
    assert nothing_is_left(folder)


def test_a_bad_output_is_found_before_the_model_is_loaded(
    clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", lambda _job: pytest.fail("loaded the model"))
    with pytest.raises(UserError, match="no frame in the chosen part"):
        run_job(job(clip, folder / "out.mp4", start=Fraction(4, 5)))
    assert nothing_is_left(folder)
    with pytest.raises(UserError, match="no folder"):
        run_job(job(clip, clip.parent / "missing" / "out.mp4"))
    with pytest.raises(UsageError, match=r"exists|input"):
        run_job(job(clip, clip))


class RememberingModel(BilinearModel):
    """Remembers the frames of each clip."""

    def __init__(self) -> None:
        super().__init__(clip=4, overlap=1, context=2)
        self.clips: list[Tensor] = []

    def before(self, call: Call) -> None:
        self.clips.append(call.frames.clone())


def test_no_clip_holds_frames_from_both_sides_of_a_cut(tmp_path: Path, folder: Path):
    shots = (
        "color=blue:size=64x48:rate=25:duration=0.4[a];color=red:size=64x48:rate=25:duration=0.4[b]"
    )
    source = make(
        tmp_path / "cut.mp4", "-filter_complex", f"{shots};[a][b]concat", "-pix_fmt", "yuv420p"
    )
    model = RememberingModel()
    summary = run_job(job(source, folder / "out.mp4", fps_x=Fraction(2)), model=model)
    assert summary.frames_out == 40
    reds = [(frames[:, 0] > 128).float().mean().item() for frames in model.clips]
    assert set(reds) == {0.0, 1.0}
    assert reds == sorted(reds)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_planes_become_pixels(dtype: torch.dtype):
    planes = torch.arange(3 * 2 * 4, dtype=torch.int32).view(3, 2, 4).to(dtype)
    pixels = interleaved(planes)
    assert pixels.flags.c_contiguous
    assert pixels.shape == (2, 4, 3)
    assert pixels[1, 2].tolist() == [6, 14, 22]


def test_a_model_that_does_not_load_is_a_users_error():
    with pytest.raises(UserError, match="cannot load the model `nano`: device `cuda:99` is not"):
        open_model(job(Path("a"), Path("b"), device="cuda:99"))


def test_a_failed_check_is_named_and_the_receipt_tells_all(clip: Path, folder: Path):
    summary = run_job(job(clip, folder / "out.mp4"), model=BilinearModel())
    require_good(summary)
    wrong = Check(name="frames", ok=False, expected="20", actual="19")
    failed = replace(summary, receipt=replace(summary.receipt, checks=(wrong,)))
    with pytest.raises(UserError, match="its frames should be 20, and is 19"):
        require_good(failed)
    write_receipt(folder / "receipt.json", failed)
    written = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))
    assert written["ok"] is False
    assert written["checks"][0]["actual"] == "19"
    assert (written["frames_in"], written["frames_out"]) == (20, 20)
    assert written["stage_seconds"].keys() == summary.stage_seconds.keys()


def test_an_output_that_appears_meanwhile_ends_the_run_before_the_work(
    clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    output = folder / "out.mp4"
    monkeypatch.setattr(run, "make_recipe", lambda *_: {"wrote": str(output.write_bytes(b"it"))})
    with pytest.raises(UsageError, match="already exists"):
        run_job(job(clip, output), model=BilinearModel())
    assert [path.name for path in folder.iterdir()] == ["out.mp4"]


def test_a_receipt_that_cannot_be_written_is_a_users_error(clip: Path, folder: Path):
    summary = run_job(job(clip, folder / "out.mp4"), model=BilinearModel())
    with pytest.raises(UserError, match=r"cannot write .*missing"):
        write_receipt(folder / "missing" / "receipt.json", summary)
