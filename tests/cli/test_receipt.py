import json
from array import array
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from diffst_cli.checks import check_picture
from diffst_cli.encoding import choose_encoding
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.receipt import Check, Promise, Receipt, verify, verify_pictures
from diffst_cli.streams import plan_streams
from tests.cli.test_benchmark import a_run
from tests.outputs import TONE, copy_video, make, make_clip

Change = Callable[[Promise], Promise]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    """A file that keeps every promise made of itself."""
    folder = tmp_path_factory.mktemp("receipt")
    tags = ["-metadata", "title=Words", "-metadata:s:a:0", "language=fra"]
    colour = "setparams=colorspace=bt709:range=tv:color_primaries=bt709:color_trc=bt709"
    tone = ["-f", "lavfi", "-i", f"{TONE}:duration=0.4", "-vf", colour]
    return probe(make_clip(folder / "clip.mp4", *tone, *tags))


def promise_of(info: VideoInfo, suffix: str = ".mp4") -> Promise:
    """What a copy of `info` in a file of that kind must be."""
    return Promise(
        info=info,
        encoding=choose_encoding(
            info,
            suffix=suffix,
            size=(info.width, info.height),
            codec=None,
            crf=None,
            preset=None,
        ),
        plan=plan_streams(info, suffix),
        times=array("d", [n / 25 for n in range(10)]),
        last_seconds=1 / 25,
        frame_rate=Fraction(25),
        constant_rate=True,
        first_time=info.start_seconds,
        trimmed=False,
        shortened=False,
    )


def failed(receipt: Receipt) -> list[str]:
    return [check.name for check in receipt.checks if not check.ok]


def test_a_good_file_passes_every_check(clip: VideoInfo) -> None:
    receipt = verify(clip.path, promise_of(clip), output=Path("final.mp4"))
    assert receipt.ok
    assert receipt.output == Path("final.mp4")
    assert [check.name for check in receipt.checks] == [
        "size", "frames", "duration", "frame rate", "colour", "pixel shape", "rotation", "bit depth",
        "audio", "title", "audio offset",
    ]  # fmt: skip


def test_a_summary_has_the_length_that_its_receipt_read(clip: VideoInfo) -> None:
    receipt = verify(clip.path, promise_of(clip), output=clip.path)
    summary = replace(a_run(1.0, {}), receipt=receipt)
    assert summary.frames_out / summary.frame_rate == Fraction(1, 6)
    assert summary.duration_seconds == pytest.approx(0.4)


def with_encoding(**changes: Any) -> Change:
    return lambda promise: replace(promise, encoding=replace(promise.encoding, **changes))


def with_times(*times: float) -> Change:
    return lambda promise: replace(promise, times=array("d", times))


def with_colour(**changes: str) -> Change:
    return lambda promise: replace(
        promise,
        encoding=replace(promise.encoding, colour=replace(promise.encoding.colour, **changes)),
    )


def without_audio_in_plan(promise: Promise) -> Promise:
    return replace(promise, plan=replace(promise.plan, kept=()))


def with_other_language(promise: Promise) -> Promise:
    (kept,) = promise.plan.kept
    other = replace(kept, source=replace(kept.source, language="eng"))
    return replace(promise, plan=replace(promise.plan, kept=(other,)))


def with_other_title(promise: Promise) -> Promise:
    return replace(promise, info=replace(promise.info, tags={"title": "Other"}))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (with_encoding(size=(64, 50)), ["size"]),
        (with_encoding(sample_aspect=Fraction(8, 9)), ["pixel shape"]),
        (with_encoding(bit_depth=10), ["bit depth"]),
        (with_colour(matrix="smpte170m"), ["colour"]),
        (with_colour(range="pc"), ["colour"]),
        (with_colour(primaries="bt2020"), ["colour"]),
        (with_colour(transfer="arib-std-b67"), ["colour"]),
        (with_times(*(n / 25 for n in range(11))), ["frames"]),
        (with_times(*(n / 25 for n in range(12))), ["frames", "duration"]),
        (with_times(*(n / 25 for n in range(9)), 0.37), ["frame rate"]),
        (with_times(*(n / 25 for n in range(9)), 0.361), ["frame rate"]),
        (without_audio_in_plan, ["audio"]),
        (with_other_language, ["audio"]),
        (with_other_title, ["title"]),
        (lambda promise: replace(promise, first_time=Fraction(-1, 5)), ["audio offset"]),
    ],
)
def test_each_broken_promise_is_noticed(change: Change, names: list[str], clip: VideoInfo) -> None:
    assert failed(verify(clip.path, change(promise_of(clip)), output=clip.path)) == names


def test_uncut_sound_may_not_start_late(clip: VideoInfo) -> None:
    promise = replace(promise_of(clip), first_time=clip.start_seconds + Fraction(1, 10))
    assert failed(verify(clip.path, promise, output=clip.path)) == ["audio offset"]


def test_a_turned_picture_is_noticed(clip: VideoInfo, tmp_path: Path) -> None:
    turned = make(
        tmp_path / "turned.mp4", "-display_rotation", "180", "-i", str(clip.path), "-c", "copy"
    )
    assert failed(verify(turned, promise_of(clip), output=turned)) == ["rotation"]


def test_a_gif_keeps_the_shape_of_pixels_as_near_as_it_can(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mkv", "-vf", "setsar=16/15", num_frames=2)
    output = tmp_path / "out.gif"
    assert copy_video(source, output, size=(384, 288)).ok
    assert probe(output).sample_aspect == Fraction(17, 16)
    wrong = make_clip(tmp_path / "wrong.gif", "-vf", "setsar=18/16", size="384x288", num_frames=2)
    gif = replace(promise_of(probe(source)), plan=plan_streams(probe(source), ".gif"))
    shape = check_picture(gif, probe(wrong))[0]
    assert (shape.name, shape.ok) == ("pixel shape", False)


def test_after_a_cut_sound_may_start_a_packet_late_but_not_early(clip: VideoInfo) -> None:
    def shifted(seconds: Fraction) -> list[str]:
        promise = replace(promise_of(clip), first_time=-seconds, trimmed=True)
        return failed(verify(clip.path, promise, output=clip.path))

    assert shifted(Fraction(-1)) == []  # sound that began before the cut begins with it
    assert shifted(Fraction(1, 25)) == []
    assert shifted(Fraction(1, 10)) == ["audio offset"]


def test_missing_chapters_are_noticed(clip: VideoInfo) -> None:
    info = replace(clip, num_chapters=2)
    promise = promise_of(info)
    assert failed(verify(clip.path, promise, output=clip.path)) == ["chapters"]
    cut = replace(promise, shortened=True)  # which may cut chapters off too
    assert failed(verify(clip.path, cut, output=clip.path)) == []


def test_pictures_are_counted(clip: VideoInfo, tmp_path: Path) -> None:
    make_clip(tmp_path / "%05d.png", "-pix_fmt", "rgb24", num_frames=9)
    receipt = verify_pictures(tmp_path, promise_of(clip), output=tmp_path)
    assert [check.name for check in receipt.checks] == ["size", "frames", "bit depth"]
    assert failed(receipt) == ["frames"]


def test_a_receipt_is_plain_json() -> None:
    check = Check(name="frames", ok=False, expected="10", actual="9", note="one is lost")
    receipt = Receipt(
        input=Path("in.mp4"), output=Path("out.mp4"), checks=(check,), notes=("words",)
    )
    assert json.loads(json.dumps(receipt.to_json())) == {
        "input": "in.mp4",
        "output": "out.mp4",
        "ok": False,
        "checks": [
            {
                "name": "frames",
                "ok": False,
                "expected": "10",
                "actual": "9",
                "note": "one is lost",
            }
        ],
        "notes": ["words"],
    }
