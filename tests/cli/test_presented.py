from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from diffst_cli.presented import first_sounds, hidden_seconds, is_shown
from diffst_cli.probe import probe
from diffst_cli.streams import codec_name, plan_streams
from tests.media import run_ffmpeg
from tests.outputs import TONE, copy_video, frame_times, make, make_clip

BEEP = "aevalsrc='0.8*sin(2764*t)*between(t,1,1.1)':sample_rate=48000:duration=2"


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 cut without encoding: its file holds what was cut off, from the keyframe on, and an edit list hides it."""
    folder = tmp_path_factory.mktemp("sound")
    whole = make_clip(
        folder / "whole.mp4", "-f", "lavfi", "-i", BEEP, "-g", "50", "-c:a", "aac", num_frames=50
    )
    return make(folder / "trimmed.mp4", "-ss", "0.5", "-i", str(whole), "-c", "copy")


def beep(path: Path) -> float:
    """Seconds from the first picture to the first loud sample."""
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            sound = frame.to_ndarray().astype(float).reshape(-1)
            peak = 1.0 if frame.format.name.startswith("flt") else 2.0 ** (8 * frame.format.bytes)
            loud = np.flatnonzero(np.abs(sound) > peak / 10)
            if len(loud):
                time = frame.pts * frame.time_base + Fraction(int(loud[0]), frame.sample_rate)
                return float(time - frame_times(path)[0])
    raise AssertionError("no beep")


def test_the_first_sound_is_what_is_heard_and_not_what_is_hidden(trimmed: Path) -> None:
    assert first_sounds(trimmed, [1]) == {1: 0.0}
    assert float(hidden_seconds(trimmed, 1)) == pytest.approx(0.5, abs=0.03)


def test_the_first_sound_of_each_stream_is_told_however_late_the_other_begins(
    tmp_path: Path,
) -> None:
    tones = [*("-f", "lavfi", "-i", f"{TONE}:duration=1")] * 2
    both = make(
        tmp_path / "both.mkv",
        *tones[:4],
        *("-itsoffset", "0.5"),
        *tones[4:],
        *("-map", "0", "-map", "1", "-c:a", "pcm_s16le"),
    )
    assert first_sounds(both, [0, 1]) == {0: 0.0, 1: 0.5}
    assert first_sounds(both, [1]) == {1: 0.5}


def test_a_subtitle_is_shown_until_its_end(tmp_path: Path) -> None:
    text = tmp_path / "words.srt"
    text.write_text("1\n00:00:01,000 --> 00:00:03,000\nWords\n", encoding="utf-8")
    path = make(tmp_path / "words.mkv", "-i", str(text))
    shown = [(0.0, 1.5), (2.0, 5.0), (1.0, 1.1), (-1.0, 9.0)]
    assert all(is_shown(path, 0, *part) for part in shown)
    assert not any(is_shown(path, 0, *part) for part in [(0.0, 1.0), (3.0, 5.0)])


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mp4"])
@pytest.mark.parametrize("start", [None, Fraction(1, 5)])
def test_sound_after_an_edit_list_is_heard_when_it_was(
    suffix: str, start: Fraction | None, trimmed: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"out{suffix}"
    assert copy_video(trimmed, output, start=start).ok
    tolerance = 0.12 if suffix == ".avi" else 0.03  # libav guesses when its pictures are shown
    assert beep(output) == pytest.approx(0.5 - float(start or 0), abs=tolerance)


def test_sound_is_copied_unless_much_of_it_is_hidden(trimmed: Path, tmp_path: Path) -> None:
    (note,) = plan_streams(probe(trimmed), ".mkv").notes
    assert note == (
        "audio stream 1 (aac) re-encoded as flac: "
        "a copy would not skip its first 0.52 s, as the input does"
    )
    assert plan_streams(probe(trimmed), ".mov").notes == ()
    usual = tmp_path / "usual.mp4"
    run_ffmpeg("-i", trimmed, "-c:v", "copy", "-c:a", "aac", usual)  # whose padding is hidden
    assert 0 < hidden_seconds(usual, 1) < Fraction(1, 10)
    assert plan_streams(probe(usual), ".mkv").notes == ()


@pytest.mark.parametrize("codec", ["wmav1", "wmav2"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_sound_that_its_decoder_gives_late_is_where_it_was(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    """Nothing comes of WMA's first packet, so what is encoded again begins with the second."""
    tone = ["-f", "lavfi", "-i", "sine=sample_rate=44100:duration=0.8"]
    source = make_clip(tmp_path / "old.wmv", *tone, "-c:v", "wmv2", "-c:a", codec, num_frames=20)
    receipt = copy_video(source, tmp_path / f"out{suffix}")
    (offset,) = [check for check in receipt.checks if check.name == "audio offset"]
    assert offset.ok
    assert offset.expected == "+46 ms"


@pytest.mark.parametrize("rate", [25, 50, 60])
@pytest.mark.parametrize(("codec", "kept"), [("aac", "aac"), ("flac", "mp3")])
def test_the_pictures_of_an_avi_do_not_wait_for_the_padding_of_its_sound(
    rate: int, codec: str, kept: str, tmp_path: Path
) -> None:
    suffix = ".mp4" if codec == "aac" else ".mkv"
    tone = ["-f", "lavfi", "-i", "sine=sample_rate=48000:duration=0.5"]
    source = make_clip(
        tmp_path / f"source{suffix}", "-r", str(rate), *tone, "-c:a", codec, num_frames=12
    )
    output = tmp_path / "out.avi"
    assert copy_video(source, output).ok
    assert [codec_name(each) for each in probe(output).streams if each.kind == "audio"] == [kept]
    with av.open(str(output)) as container:
        times = [packet.dts for packet in container.demux(video=0) if packet.size]
    assert times == list(range(len(times)))


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_that_begins_late_is_silent_until_then_in_an_avi(codec: str, tmp_path: Path) -> None:
    inputs = ["-itsoffset", "0.3", "-f", "lavfi", "-i", BEEP]
    source = make_clip(tmp_path / "source.mkv", *inputs, "-c:a", codec, num_frames=50)
    output = tmp_path / "out.avi"
    assert copy_video(source, output).ok
    (note,) = plan_streams(probe(source), ".avi").notes
    assert note.endswith(": AVI cannot begin it late")
    assert beep(output) == pytest.approx(1.3, abs=0.06)
    assert plan_streams(probe(source), ".avi", Fraction(1)).notes == ()


@pytest.mark.parametrize("codec", ["aac", "pcm_mulaw"])
def test_sound_at_a_low_rate_is_not_late_in_an_avi(codec: str, tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "source.mkv",
        "-f",
        "lavfi",
        "-i",
        BEEP,
        "-ar",
        "8000",
        "-c:a",
        codec,
        num_frames=50,
    )
    output = tmp_path / "out.avi"
    assert copy_video(source, output).ok
    assert beep(output) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("start", [None, Fraction(1, 5)])
def test_the_aac_of_a_broadcast_is_encoded_again_for_an_avi(
    start: Fraction | None, tmp_path: Path
) -> None:
    source = make_clip(
        tmp_path / "source.ts", "-f", "lavfi", "-i", BEEP, "-c:a", "aac", num_frames=50
    )
    output = tmp_path / "out.avi"
    receipt = copy_video(source, output, start=start)
    assert receipt.ok
    assert receipt.notes[0].endswith(": AVI cannot hold it as broadcasts have it")
    assert beep(output) == pytest.approx(1 - float(start or 0), abs=0.06)
