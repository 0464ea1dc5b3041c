"""`diffst preview` through its command line."""

import errno
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from diffst_cli.app import main
from diffst_cli.job import UpscaleJob
from diffst_cli.preview import render
from diffst_cli.preview.render import _MomentReporter, moment_clock
from diffst_cli.probe import probe
from diffst_cli.progress import Reporter
from diffst_cli.reader import read_frames
from tests.fakes import BilinearModel
from tests.media import (
    BT709_TAGS,
    FAST_X264,
    HOSTILE_NAME,
    make_gif,
    make_variable_rate,
    make_video,
    run_ffmpeg,
)
from tests.outputs import leftovers

BAR, GAP = 42, 4


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is quick; the real one is behind the slow test of `upscale`."""
    monkeypatch.setattr(render, "open_model", lambda _: BilinearModel())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """3 s at 10 fps, 64x48."""
    return make_video(tmp_path / "clip.mp4", num_frames=30, rate="10")


def preview(*arguments: str | Path) -> int:
    return main(["preview", "--quiet", *map(str, arguments)])


def test_a_blank_clip_is_not_called_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    blank = make_video(tmp_path / "clip.mp4", filters=f"drawbox=c=gray:t=fill,{BT709_TAGS}")
    assert main(["preview", str(blank), "--scale", "1", "-o", str(tmp_path / "out.mp4")]) == 0
    assert "  0:00.0  a usual moment\n" in capsys.readouterr().err


def test_moments_are_shown_side_by_side_at_the_new_size_and_rate(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output, stills = tmp_path / "out.mp4", tmp_path / "stills"
    options = ["--scale", "2", "--fps-x", "2", "-o", str(output), "--stills", str(stills)]
    assert main(["preview", str(clip), *options]) == 0
    said = capsys.readouterr().err
    assert f"wrote `{output}`, 260x180" in said
    assert "  0:00.0  text or hard edges\n" in said
    assert "  0:02.0  fast motion\n" in said
    info = probe(output)
    assert (info.codec, info.pixel_format) == ("h264", "yuv420p")
    assert (info.width, info.height) == (2 * 128 + GAP, 96 + 2 * BAR)
    assert info.frame_rate == 20
    frames = [frame.image[BAR:-BAR] for frame in read_frames(info)]
    assert len(frames) == 60  # three moments of a second
    for number in (0, 21, 40, 57):
        left, right = frames[number][:, :128].astype(int), frames[number][:, -128:].astype(int)
        assert np.abs(left - right).mean() < 12  # the same moment, by lanczos and bilinear
    pictures = sorted(stills.iterdir())
    assert [path.name[:2] for path in pictures] == ["1-", "2-", "3-"]
    assert cv2.imread(str(pictures[0])).shape == (180, 260, 3)
    assert leftovers(tmp_path) == []


def test_a_still_is_there_whole_or_not_at_all(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    stills, write = tmp_path / "stills", Path.write_bytes

    def fill_up(path: Path, content: bytes) -> int:
        """As a disk that becomes full midway."""
        write(path, content[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    output = tmp_path / "out.mp4"
    assert preview(clip, "--scale", "1", "-o", output, "--stills", stills) == 1
    assert f"cannot write into `{stills}`: No space left on device" in capsys.readouterr().err
    assert list(stills.iterdir()) == []


def test_the_left_shows_each_frame_until_the_next_one(clip: Path, tmp_path: Path):
    output = tmp_path / "out.mp4"
    assert preview(clip, "--scale", "1", "--fps-x", "2", "--crf", "0", "-o", output) == 0
    frames = [frame.image[BAR:-BAR].astype(int) for frame in read_frames(probe(output))]
    left, right = [frame[:, :64] for frame in frames], [frame[:, -64:] for frame in frames]
    source = [frame.image.astype(int) for frame in read_frames(probe(clip))]
    mixed = [(one + other) / 2 for one, other in pairwise(source)]

    def nearest(picture: np.ndarray, pictures: list[np.ndarray]) -> int:
        return int(np.argmin([np.abs(picture - one).mean() for one in pictures]))

    assert [nearest(one, source) for one in left[:20]] == [index // 2 for index in range(20)]
    assert [nearest(one, source) for one in right[:20:2]] == list(range(10))
    assert [nearest(one, mixed) for one in right[1:19:2]] == list(range(9))


def test_fast_frames_of_a_variable_rate_are_all_shown(tmp_path: Path):
    ticks = [*range(0, 500, 20), *range(500, 1500, 250)]  # 50 frames/s, then 4
    clip = make_variable_rate(tmp_path / "clip.mp4", ticks=ticks)
    output = tmp_path / "out.mp4"
    assert preview(clip, "--scale", "1", "--crf", "0", "-o", output) == 0
    shown = [frame.image[BAR:-BAR, :64] for frame in read_frames(probe(output))]
    source = [frame.image for frame in read_frames(probe(clip))]
    changes = [
        sum((one != other).any() for one, other in pairwise(frames))
        for frames in (shown[:31], source[:26])  # half a second
    ]
    assert changes[0] == changes[1] > 20


def test_a_large_picture_is_shown_pixel_for_pixel_where_it_has_most_detail(tmp_path: Path):
    noise = "color=gray:size=160x90:rate=5:duration=1,drawbox=x=130:y=10:w=24:h=24:c=white:t=2"
    source = tmp_path / "wide.mp4"
    run_ffmpeg("-f", "lavfi", "-i", noise, *FAST_X264, "-pix_fmt", "yuv420p", source)
    output = tmp_path / "out.mp4"
    assert preview(source, "--scale", "8", "-o", output) == 0
    info = probe(output)
    assert (info.width, info.height) == (1920, 720 + 2 * BAR)
    first = next(iter(read_frames(info))).image
    box = np.argwhere(first[BAR:-BAR, :958].mean(axis=2) > 200)
    assert (np.ptp(box[:, 0]) + 1, np.ptp(box[:, 1]) + 1) == pytest.approx((192, 192), abs=4)


def test_awkward_inputs_become_a_plain_video(tmp_path: Path):
    variable = make_variable_rate(tmp_path / "variable.mp4", ticks=range(0, 1500, 60))
    odd = make_video(tmp_path / HOSTILE_NAME, size=(64, 48), num_frames=4)
    gif = make_gif(tmp_path / "short.gif")
    for number, source in enumerate((variable, odd, gif)):
        output = tmp_path / f"{number}.mp4"
        assert preview("-o", output, "--scale", "1.3", "--", source) == 0
        info = probe(output)
        assert not info.is_variable
        assert len(list(read_frames(info))) >= 4


def test_only_the_part_asked_for_is_looked_at(clip: Path, tmp_path: Path, capsys):
    output = tmp_path / "out.mp4"
    part = ["--start", "1.5", "--duration", "1", "--scale", "1", "-o", str(output)]
    assert main(["preview", str(clip), *part]) == 0
    assert "0:01.5" in capsys.readouterr().err
    assert len(list(read_frames(probe(output)))) == 10


def test_several_devices_are_one_too_many(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    loaded = []

    def load(job: UpscaleJob) -> BilinearModel:
        loaded.append(job.device)
        return BilinearModel()

    monkeypatch.setattr(render, "open_model", load)
    monkeypatch.setattr("diffst_cli.run.new_crew", lambda _: pytest.fail("started a crew"))
    output = tmp_path / "out.mp4"
    assert preview(clip, "--scale", "1", "--devices", "cpu:2", "-o", output) == 0
    assert loaded == ["cpu"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["clip.mp4", "-o", "clip.mp4"], 2, "is the input itself"),
        (["clip.mp4", "-o", "there.mp4"], 2, "already exists"),
        (["clip.mp4", "-o", "x.mkv"], 2, "is no MP4 file"),
        (["clip.mp4", "-o", "none/x.mp4"], 1, "no folder"),
        (["clip.mp4", "--codec", "vp9"], 2, "a preview is always `h264`"),
        (["clip.mp4", "--stills", "."], 2, "`--stills` is `.`, which holds pictures already"),
        (["clip.mp4", "--stills", "there.mp4"], 2, "`--stills` is `there.mp4`, which is a file"),
        (["clip.mp4", "--start", "9"], 1, "no frame in the chosen part"),
        (["none.mp4"], 1, "none.mp4"),
        (["there.mp4"], 1, "there.mp4"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    arguments: list[str],
    code: int,
    message: str,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(clip.parent)
    for name in ("there.mp4", "1-a-cut.png"):
        Path(name).write_text("mine")
    before = {path.name: path.read_bytes() for path in clip.parent.iterdir()}
    assert main(["preview", *arguments]) == code
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in clip.parent.iterdir()} == before


def test_all_that_is_told_of_a_moment_is_shown():
    passed: list[str] = []

    class Shown(Reporter):
        def __getattribute__(self, name: str) -> Any:
            passed.append(name)
            return super().__getattribute__(name)

    moment = _MomentReporter(Shown(), "1/2 a cut", set())
    moment.begin("x")
    moment.stage("x")
    moment.advance(1, 2)
    moment.within(0.5)
    moment.warn("x")
    moment.end()
    assert passed == ["begin", "stage", "advance", "within", "warn", "end"]


def test_clock_has_tenths():
    assert moment_clock(Fraction(1, 4)) == "0:00.2"
    assert moment_clock(Fraction(6255, 100)) == "1:02.6"
