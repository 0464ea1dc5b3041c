import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from diffst_cli.muxing import Placement, mux
from diffst_cli.probe import StreamInfo, VideoInfo, probe
from diffst_cli.streams import CONTAINERS, codec_name, describe, plan_streams
from tests.media import make_silent_track
from tests.outputs import TONE, copy_video, make_clip

ENCODERS = {
    "mp3": ["libmp3lame"],
    "dts": ["dca", "-strict", "-2"],
    "truehd": ["truehd", "-strict", "-2"],
    "opus": ["libopus"],
    "vorbis": ["libvorbis"],
}
AUDIO_SECONDS = 0.5
WHOLE = Placement(video_offset=Fraction(0), skipped=None, length=None)
PAIRS = [(suffix, codec) for suffix in CONTAINERS for codec in sorted(CONTAINERS[suffix].audio)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the clips that several tests share, made when first asked for."""
    return tmp_path_factory.mktemp("streams")


def clip_with(codec: str, folder: Path) -> Path:
    path = folder / f"{codec}.mkv"
    if not path.exists():
        tone = ["-f", "lavfi", "-i", f"{TONE}:duration={AUDIO_SECONDS}", "-ac", "2"]
        make_clip(path, *tone, "-c:a", *ENCODERS.get(codec, [codec]), num_frames=2)
    return path


def tiny_video(suffix: str, folder: Path) -> Path:
    """Two frames of a codec that a file of that suffix takes."""
    encoder = "libvpx-vp9" if suffix == ".webm" else "libx264"
    path = folder / f"video_{encoder}.mp4"
    return path if path.exists() else make_clip(path, "-c:v", encoder, num_frames=2)


def joined(source: Path, output: Path) -> VideoInfo:
    """A tiny video and the other streams of `source`, joined as the plan for the suffix says."""
    info = probe(source)
    mux(
        tiny_video(output.suffix, source.parent),
        info,
        plan_streams(info, output.suffix),
        WHOLE,
        output,
    )
    return probe(output)


def decoded_seconds(path: Path) -> float:
    """How much of the first audio stream really decodes."""
    with av.open(str(path)) as container:
        return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


def codecs(info: VideoInfo, kind: str) -> list[str]:
    return [codec_name(stream) for stream in info.streams if stream.kind == kind]


def stream(kind: str, codec: str, *, disposition: tuple[str, ...] = ()) -> StreamInfo:
    return StreamInfo(
        index=1,
        kind=kind,
        codec=codec,
        language="fra",
        title=None,
        disposition=disposition,
        start_seconds=None,
        duration_seconds=None,
    )


def covers(info: VideoInfo) -> list[str]:
    return [each.codec for each in info.streams if "attached_pic" in each.disposition]


@pytest.fixture(scope="module")
def everything(folder: Path) -> VideoInfo:
    """A Matroska file with subtitles of two kinds, a font, a cover, chapters and tags."""
    subtitles = folder / "words.srt"
    subtitles.write_text("1\n00:00:00,100 --> 00:00:00,300\nÉté\n", encoding="utf-8")
    chapters = folder / "chapters.txt"
    chapters.write_text(
        ";FFMETADATA1\ntitle=Été\nartist=Nobody\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Two\n",
        encoding="utf-8",
    )
    font = folder / "font.ttf"
    font.write_bytes(b"not really a font")
    cover = make_clip(folder / "cover.png", "-frames:v", "1")
    path = folder / "everything.mkv"
    inputs = ["-i", str(subtitles), "-i", str(chapters)]
    maps = ["-map", "0", "-map", "1", "-map", "1", "-map_metadata", "2"]
    forms = ["-c:s:0", "srt", "-c:s:1", "ass", "-disposition:s:0", "forced"]
    languages = ["-metadata:s:s:0", "language=fra", "-metadata:s:s:1", "language=eng"]
    attached = ["-attach", str(font), "-metadata:s:t:0", "mimetype=application/x-truetype-font"]
    attached += ["-attach", str(cover), "-metadata:s:t:1", "mimetype=image/png"]
    names = ["-metadata:s:t:0", "filename=font.ttf", "-metadata:s:t:1", "filename=cover.png"]
    return probe(make_clip(path, *inputs, *maps, *forms, *languages, *attached, *names))


@pytest.mark.parametrize(("suffix", "codec"), PAIRS)
def test_every_audio_codec_listed_is_copied_and_plays(
    suffix: str, codec: str, folder: Path, tmp_path: Path
) -> None:
    source = clip_with(codec, folder)
    output = tmp_path / f"out{suffix}"
    assert codecs(joined(source, output), "audio") == [codec]
    # A container may trim the encoder's padding that another keeps: up to two MP3 frames.
    assert decoded_seconds(output) == pytest.approx(decoded_seconds(source), abs=0.06)


def test_matroska_keeps_subtitles_font_cover_chapters_and_tags(
    everything: VideoInfo, tmp_path: Path
) -> None:
    plan = plan_streams(everything, ".mkv")
    kept = joined(everything.path, tmp_path / "out.mkv")
    assert plan.notes == ()
    assert codecs(kept, "subtitle") == ["subrip", "ass"]
    assert [each.language for each in kept.streams if each.kind == "subtitle"] == ["fra", "eng"]
    assert [each.disposition for each in kept.streams if each.kind == "subtitle"] == [
        ("forced",),
        (),
    ]
    assert [each.kind for each in kept.streams].count("attachment") == 1
    assert covers(kept) == ["png"]
    assert kept.num_chapters == 2
    assert kept.tags["title"] == "Été"
    assert kept.tags["ARTIST"] == "Nobody"


def test_mp4_turns_text_subtitles_into_its_own_and_says_what_it_leaves_out(
    everything: VideoInfo, tmp_path: Path
) -> None:
    plan = plan_streams(everything, ".mp4")
    kept = joined(everything.path, tmp_path / "out.mp4")
    assert codecs(kept, "subtitle") == ["mov_text", "mov_text"]
    assert [each.language for each in kept.streams if each.kind == "subtitle"] == ["fra", "eng"]
    assert covers(kept) == ["png"]
    assert kept.num_chapters == 2
    assert kept.tags["title"] == "Été"
    assert plan.notes == (
        "subtitle stream 1 (subrip, fra) converted to mov_text, with lines cut short where others "
        "overlap them: MP4 cannot hold it",
        "subtitle stream 2 (ass, eng) converted to mov_text, without its styles and with lines cut "
        "short where others overlap them: MP4 cannot hold it",
        "attachment stream 3 (unknown) left out: MP4 cannot hold it; use a `.mkv` output to keep it",
    )


@pytest.mark.parametrize(
    ("suffix", "kept", "lost"),
    [
        (".mkv", ["fre", "deu", "pt-BR"], ""),
        (".mp4", ["fre", "deu", None], "languages left out: MP4 cannot hold `pt-BR`"),
        (".mov", ["fra", "ger", None], "languages left out: MOV cannot hold `pt-BR`"),
    ],
)
def test_a_language_is_kept_as_the_container_writes_it(
    suffix: str, kept: list[str | None], lost: str, tmp_path: Path
) -> None:
    tones = [word for _ in range(3) for word in ("-f", "lavfi", "-i", f"{TONE}:duration=0.4")]
    maps = [word for number in range(4) for word in ("-map", str(number))]
    named = [
        word
        for number, code in enumerate(("fre", "deu", "pt-BR"))
        for word in (f"-metadata:s:a:{number}", f"language={code}")
    ]
    source = make_clip(tmp_path / "source.mkv", *tones, *maps, *named, "-c:a", "aac")
    output = tmp_path / f"out{suffix}"
    receipt = copy_video(source, output)
    assert receipt.ok
    found = [each.language for each in probe(output).streams if each.kind == "audio"]
    assert [None if code == "und" else code for code in found] == kept
    notes = [note for note in plan_streams(probe(source), suffix).notes if "languages" in note]
    assert notes == ([f"{lost}; use a `.mkv` output to keep them"] if lost else [])


@pytest.mark.parametrize("layout", ["5.1(side)", "2.1", "octagonal"])
def test_webm_takes_surround_in_a_layout_that_opus_has(layout: str, tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    tone = ["-f", "lavfi", "-i", f"{TONE}:duration=0.5"]
    make_clip(source, *tone, "-af", f"aformat=channel_layouts={layout}", "-c:a", "flac")
    output = tmp_path / "out.webm"
    assert codecs(joined(source, output), "audio") == ["opus"]
    assert decoded_seconds(output) == pytest.approx(0.5, abs=0.06)


def test_surround_that_an_avi_takes_in_stereo_only_is_told(tmp_path: Path) -> None:
    tone = ["-f", "lavfi", "-i", f"{TONE}:duration=0.5", "-af", "aformat=channel_layouts=5.1"]
    source = make_clip(tmp_path / "source.mkv", *tone, "-c:a", "flac")
    (note,) = plan_streams(probe(source), ".avi").notes
    assert note.endswith("re-encoded as mp3 at 256kbit/s in stereo: AVI cannot hold it")
    made = joined(source, tmp_path / "out.avi")
    assert [each.num_channels for each in made.streams if each.kind == "audio"] == [2]


@pytest.mark.parametrize(
    ("suffix", "codec", "words"),
    [
        (".mp4", "pcm_s24le", "stored as alac"),
        (".mp4", "pcm_f32le", "re-encoded as aac at 256kbit/s"),
        (".webm", "pcm_s24le", "re-encoded as opus at 192kbit/s"),
    ],
)
def test_channels_that_are_mixed_because_there_are_too_many_are_told(
    suffix: str, codec: str, words: str, tmp_path: Path
) -> None:
    tone = ["-f", "lavfi", "-i", f"{TONE}:duration=0.5", "-af", "aformat=channel_layouts=7.1.4"]
    source = make_clip(tmp_path / "source.mov", *tone, "-c:a", codec)
    (note,) = plan_streams(probe(source), suffix).notes
    mixed = "its 12 channels mixed into 8 or fewer (MOV and MKV keep PCM as it is)"
    assert f" {words}, {mixed}: " in note
    made = joined(source, tmp_path / f"out{suffix}")
    assert [each.num_channels <= 8 for each in made.streams if each.kind == "audio"] == [True]
    assert plan_streams(probe(source), ".mov").notes == ()


def test_webm_turns_subtitles_into_webvtt(everything: VideoInfo, tmp_path: Path) -> None:
    kept = joined(everything.path, tmp_path / "out.webm")
    assert codecs(kept, "subtitle") == ["webvtt", "webvtt"]
    assert kept.num_chapters == 2


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_subtitles_of_an_mp4_stay_readable(
    suffix: str, everything: VideoInfo, tmp_path: Path
) -> None:
    source = tmp_path / "source.mp4"
    joined(everything.path, source)
    kept = joined(source, tmp_path / f"out{suffix}")
    assert codecs(kept, "subtitle") == ["subrip" if suffix == ".mkv" else "mov_text"] * 2


@pytest.mark.parametrize(
    ("suffix", "codec", "encoded"),
    [
        (".mp4", "vorbis", "aac"),
        (".mp4", "pcm_s16le", "alac"),
        (".mp4", "pcm_f32le", "aac"),
        (".mov", "opus", "aac"),
        (".webm", "mp3", "opus"),
        (".avi", "opus", "mp3"),
        (".avi", "pcm_s24le", "pcm_s16le"),
    ],
)
def test_audio_the_container_cannot_hold_is_encoded_anew(
    suffix: str, codec: str, encoded: str, folder: Path, tmp_path: Path
) -> None:
    source = clip_with(codec, folder)
    output = tmp_path / f"out{suffix}"
    (note,) = plan_streams(probe(source), suffix).notes
    assert note.startswith(f"audio stream 1 ({codec})")
    assert codecs(joined(source, output), "audio") == [encoded]
    assert decoded_seconds(output) == pytest.approx(decoded_seconds(source), abs=0.06)


@pytest.mark.parametrize(
    ("suffix", "ends"), [(".mp4", [0.2, 0.3]), (".mov", [0.2, 0.3]), (".webm", [0.4, 0.3])]
)
def test_lines_that_are_shown_at_once_are_cut_short_only_where_that_is_told(
    suffix: str, ends: list[float], tmp_path: Path
) -> None:
    words = tmp_path / "words.srt"
    words.write_text(
        "1\n00:00:00,100 --> 00:00:00,400\nOne\n\n2\n00:00:00,200 --> 00:00:00,300\nTwo\n"
    )
    source = make_clip(tmp_path / "source.mkv", "-i", str(words), "-c:s", "srt")
    joined(source, output := tmp_path / f"out{suffix}")
    with av.open(str(output)) as container:
        packets = [each for each in container.demux(subtitles=0) if each.size > 2]
        shown = [float((each.pts + each.duration) * each.time_base) for each in packets]
    assert shown == pytest.approx(ends, abs=0.002)
    (note,) = plan_streams(probe(source), suffix).notes
    assert ("with lines cut short where others overlap them" in note) == (suffix != ".webm")


def test_pictures_of_text_are_left_out_of_mp4_with_a_remedy(everything: VideoInfo) -> None:
    info = replace(everything, streams=(everything.streams[0], stream("subtitle", "pgssub")))
    plan = plan_streams(info, ".mp4")
    assert plan.kept == ()
    assert plan.notes == (
        "subtitle stream 1 (hdmv_pgs_subtitle, fra) left out: MP4 cannot hold it; "
        "use a `.mkv` output to keep it",
    )


def with_subtitle_pictures(folder: Path) -> Path:
    """A clip of 0.4 s with a subtitle of a DVD, which is shown from 0.1 s on: one packet of a VobSub file."""
    payload = bytes((0, 12, 0, 4, 0, 0, 0, 4, 2, 255, 255, 255))
    stamp = bytes((0x21, 0, 1, 9000 >> 7, (9000 << 1) & 0xFE | 1))
    body = b"\x81\x80\x05" + stamp + b"\x20" + payload
    pack = b"\0\0\1\xba\x44\0\4\0\4\1\0\0\3\xf8"
    (folder / "words.sub").write_bytes(pack + b"\0\0\1\xbd" + len(body).to_bytes(2, "big") + body)
    (folder / "words.idx").write_text(
        f"# VobSub index file, v7\nsize: 64x48\npalette: {', '.join(['ffffff'] * 16)}\n"
        "id: fr, index: 0\ntimestamp: 00:00:00:100, filepos: 000000000\n"
    )
    return make_clip(folder / "source.mkv", "-i", str(folder / "words.idx"), "-c:s", "copy")


@pytest.mark.parametrize(
    ("start", "duration", "kept"),
    [
        (None, None, 1),
        (Fraction(2, 25), None, 1),
        (Fraction(5, 25), None, 0),
        (None, Fraction(2, 25), 0),
    ],
)
def test_pictures_of_text_that_a_part_shows_none_of_are_no_loss(
    start: Fraction | None, duration: Fraction | None, kept: int, tmp_path: Path
) -> None:
    source = with_subtitle_pictures(tmp_path)
    output = tmp_path / "out.mp4"
    assert copy_video(source, output, start=start, duration=duration).ok
    assert codecs(probe(output), "subtitle") == ["dvd_subtitle"] * kept


def test_a_second_video_and_data_are_left_out_and_named(everything: VideoInfo) -> None:
    for kind, codec in (("video", "h264"), ("data", "bin_data")):
        info = replace(everything, streams=(everything.streams[0], stream(kind, codec)))
        plan = plan_streams(info, ".mkv")
        assert plan.kept == ()
        assert plan.notes[0].startswith(f"{kind} stream 1 ({codec}, fra) left out")


def test_of_a_cameras_data_beside_chapters_only_their_names_are_no_loss(tmp_path: Path) -> None:
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=One\n")
    source = tmp_path / "camera.mov"
    data = ["-timecode", "01:00:00:00"]
    make_clip(source, "-i", str(chapters), "-map", "0", "-map_chapters", "1", *data)
    names = [each.codec for each in probe(source).streams]
    assert names == ["h264", "chapters", "timecode"]
    assert plan_streams(probe(source), ".mp4").notes == ()
    # Its telemetry, of which ffmpeg makes none anew.
    content = re.sub(rb"(?s)(stsd.{12})tmcd", rb"\1gpmd", source.read_bytes())
    source.write_bytes(content)
    (note,) = plan_streams(probe(source), ".mp4").notes
    assert note == "data stream 2 (unknown, eng) left out: data belongs to the original file only"


def test_sound_that_is_only_announced_is_left_out_and_named(tmp_path: Path) -> None:
    source = make_silent_track(tmp_path / "silent.ts")
    assert plan_streams(probe(source), ".mkv").notes == (
        "audio stream 2 (ac3) left out: nothing of it was found near the beginning",
    )
    assert codecs(joined(source, tmp_path / "out.mkv"), "audio") == ["ac3"]


def test_avi_says_that_it_loses_languages_and_chapters(folder: Path, everything: VideoInfo) -> None:
    info = replace(everything, streams=(everything.streams[0], stream("audio", "mp3float")))
    assert plan_streams(info, ".avi").notes == (
        "chapters left out: AVI cannot hold them; use a `.mkv` output to keep them",
        "languages left out: AVI cannot hold them; use a `.mkv` output to keep them",
    )


def test_a_stream_is_described_by_kind_number_codec_and_language() -> None:
    assert describe(stream("subtitle", "ssa")) == "subtitle stream 1 (ass, fra)"
