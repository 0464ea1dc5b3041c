from pathlib import Path

import pytest

from diffst_cli.probe import probe
from diffst_cli.tags import lost_note, lost_tags, written_anew
from tests.outputs import copy_video, make_clip

PHONE = {
    "com.apple.quicktime.location.ISO6709": "+48.2082+016.3738/",
    "com.apple.quicktime.creationdate": "2026-05-01T12:00:00+0200",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 13",
}


def with_tags(path: Path, tags: dict[str, str], *options: str) -> Path:
    named = [word for name, value in tags.items() for word in ("-metadata", f"{name}={value}")]
    return make_clip(path, *named, *options)


@pytest.mark.parametrize(
    ("suffix", "kept"),
    [
        (".mov", ["location", "date", "make", "model"]),
        (".mp4", ["location", "date"]),
        (".mkv", list(PHONE)),
    ],
)
def test_what_a_telephone_says_of_a_video_is_kept(
    suffix: str, kept: list[str], tmp_path: Path
) -> None:
    # Becomes a key too, and so is there twice.
    taken = {"creation_time": "2026-05-01T10:00:00.000000Z"}
    source = with_tags(tmp_path / "source.mov", PHONE | taken, "-movflags", "use_metadata_tags")
    receipt = copy_video(source, tmp_path / f"out{suffix}")
    found = {name.lower(): value for name, value in probe(receipt.output).tags.items()}
    assert [found[name.lower()] for name in kept] == list(PHONE.values())[: len(kept)]
    assert found["creation_time"] == taken["creation_time"]
    lost = "`com.apple.quicktime.make`, `com.apple.quicktime.model`"
    note = f"tags left out: MP4 cannot hold {lost}; use a `.mkv` output to keep them"
    assert receipt.notes == ((note,) if suffix == ".mp4" else ())


def test_usual_tags_stay_where_players_look_for_them(tmp_path: Path) -> None:
    tags = {"title": "Été", "artist": "Nobody", "creation_time": "2020-01-02T03:04:05.000000Z"}
    source = with_tags(tmp_path / "source.mkv", tags)
    receipt = copy_video(source, tmp_path / "out.mp4")
    assert receipt.notes == ()
    assert tags.items() <= probe(receipt.output).tags.items()
    content = receipt.output.read_bytes()
    assert b"\xa9nam" in content
    assert b"mdta" not in content


def test_tags_that_are_lost_are_named(tmp_path: Path) -> None:
    tags = {"title": "Words", "DATE_RELEASED": "1999", "DIRECTOR": "Nobody"}
    source = with_tags(tmp_path / "source.mkv", tags)
    assert copy_video(source, tmp_path / "out.mp4").notes == (
        "tags left out: MP4 cannot hold `DATE_RELEASED`, `DIRECTOR`; use a `.mkv` output to keep them",
    )
    assert copy_video(source, tmp_path / "out.webm").notes == ()


def test_a_timecode_that_becomes_a_track_is_not_lost(tmp_path: Path) -> None:
    source = make_clip(
        tmp_path / "source.mxf", "-c:v", "mpeg2video", "-timecode", "01:00:00:00", size="320x240"
    )
    assert probe(source).tags["timecode"] == "01:00:00:00"
    assert copy_video(source, tmp_path / "out.mov").notes == ()
    assert copy_video(source, tmp_path / "out.mp4").notes == ()


def test_no_more_lost_tags_are_named_than_can_be_read() -> None:
    tags = {f"tag{number}": str(number) for number in range(7)}
    (note,) = lost_note(tags | {"software": "Lavf"}, {"renamed": "0"}, "avi")
    assert "`tag1`, `tag2`, `tag3`, `tag4`, `tag5` and 1 more;" in note


def test_a_telephones_words_take_no_place_that_is_taken() -> None:
    taken = {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.model": "13", "make": "Own"}
    assert written_anew(taken, "mov") == {"model": "13"}
    assert written_anew(taken, "matroska") == {}


def test_an_mp4_gets_no_names_that_it_has_no_place_for() -> None:
    assert list(written_anew(PHONE, "mp4")) == ["location", "date"]


def test_of_a_time_that_is_stated_twice_one_is_written() -> None:
    tags = {"creation_time": "2026-05-01T10:00:00Z;2026-05-01T12:00:00Z"}
    assert written_anew(tags, "matroska") == {"creation_time": "2026-05-01T10:00:00Z"}


def test_what_has_another_name_or_place_is_not_lost() -> None:
    before = {"com.apple.quicktime.make": "Apple", "title": "Words", "note": "kept", "gone": "x"}
    after = {"make": "APPLE", "TITLE": "words", "comment": "kept"}
    assert lost_tags(before, after) == ["gone"]
