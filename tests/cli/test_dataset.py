import errno
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffst.wan.training.clips import ClipWindows
from diffst.wan.training.manifest import Clip, read_manifest, write_manifest
from diffst_cli.app import main
from diffst_cli.dataset import listing
from diffst_cli.dataset.filters import Filters, media_in
from diffst_cli.dataset.scan import pieces, scan_file
from diffst_cli.errors import UserError
from diffst_cli.many import each_done
from tests.diffst.wan.training.footage import moving, texture, write_video
from tests.media import HOSTILE_NAME, make_interlaced, make_variable_rate, make_video

SIZE = (96, 128)
EASY = Filters(min_side=90, min_frames=25, max_frames=60)
SMALL_OPTIONS = ["--min-side", "90", "--min-frames", "25", "--max-frames", "60", "--workers", "1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good video of 30 frames, a good picture, and what is neither."""
    made = tmp_path / "in é 日本"
    (made / "below").mkdir(parents=True)
    write_video(made / "below" / HOSTILE_NAME, moving(30, SIZE, speed=2))
    cv2.imwrite(str(made / "photo.png"), texture(*SIZE))
    (made / "broken.mp4").write_bytes(b"no video")
    (made / "broken.png").write_bytes(b"")
    (made / "notes.txt").write_text("not looked at")
    return made


def reasons(clips: list[Clip]) -> list[list[str]]:
    return [[reason.partition(":")[0] for reason in clip.rejected] for clip in clips]


def words(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_good_video_is_one_clip_with_its_measures(tmp_path: Path):
    (clip,) = scan_file(write_video(tmp_path / "a.mp4", moving(30, SIZE, speed=2)), EASY)
    assert clip.rejected == ()
    assert (clip.num_frames, clip.width, clip.height) == (30, 128, 96)
    assert clip.frame_rate == 25
    assert clip.measures["motion"] == pytest.approx(100 * 2 / 128, rel=0.2)
    assert clip.measures["repeats"] == clip.measures["uneven"] == 0


def test_a_cut_ends_a_clip(tmp_path: Path):
    frames = np.concatenate([moving(27, SIZE), moving(31, SIZE, seed=5)])
    clips = scan_file(write_video(tmp_path / "a.mp4", frames), EASY)
    assert [int(clip.start * 25) for clip in clips] == [0, 27]
    assert [clip.num_frames for clip in clips] == [27, 31]
    assert reasons(clips) == [[], []]


def test_hidden_files_are_taken_only_by_their_name(tmp_path: Path):
    for name in ("a.mp4", "._a.mp4", ".trash/b.mp4", ".c/d/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    own, hidden = tmp_path / "a.mp4", tmp_path / "._a.mp4"
    assert media_in([tmp_path]) == [own]
    assert media_in([tmp_path, hidden]) == [own, hidden]
    assert media_in([tmp_path / ".c"]) == [tmp_path / ".c" / "d" / "e.png"]


def test_long_shots_become_equal_parts():
    assert list(pieces([0, 10], 131, 60)) == [(0, 10), (10, 50), (50, 90), (90, 131)]


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (moving(12, SIZE), "short"),
        (moving(30, (80, 128)), "small"),
        (moving(30, SIZE, speed=0), "still"),
        (moving(30, SIZE, speed=9), "wild"),
        (moving(15, SIZE, speed=2).repeat(2, axis=0), "repeats"),
        (np.stack([cv2.resize(frame, SIZE[::-1]) for frame in moving(30, (48, 64))]), "soft"),
    ],
)
def test_what_is_not_worth_learning_says_why(tmp_path: Path, frames, reason: str):
    assert reasons(scan_file(write_video(tmp_path / "a.mp4", frames), EASY)) == [[reason]]


def test_files_that_no_clip_of_can_be_good_say_why(tmp_path: Path):
    slow = make_video(tmp_path / "slow.mp4", rate="12", size=(128, 96), num_frames=30)
    pq = make_video(tmp_path / "hdr.mp4", size=(128, 96), filters="setparams=color_trc=smpte2084")
    cut_off = tmp_path / "cut.mp4"
    cut_off.write_bytes(slow.read_bytes()[:2000])
    found = [
        scan_file(path, EASY) for path in (slow, pq, cut_off, make_interlaced(tmp_path / "i.mp4"))
    ]
    assert [reasons(clips) for clips in found] == [
        [["slow"]], [["hdr"]], [["unreadable"]], [["interlaced"]]
    ]  # fmt: skip


def test_frames_at_odd_times_are_refused(tmp_path: Path):
    ticks = [40 * n + (30 if n % 5 == 0 else 0) for n in range(30)]
    path = make_variable_rate(tmp_path / "phone.mp4", ticks)
    anything = replace(EASY, min_side=1, min_sharpness=0, min_motion=0, max_motion=99, min_rate=1)
    assert "uneven" in reasons(scan_file(path, replace(anything, max_repeats=1)))[0]


def test_scan_then_pack_then_train_on_either(folder: Path, tmp_path: Path, capsys):
    listed, shards = tmp_path / "clips.jsonl", tmp_path / "shards é"
    assert main(["dataset", "scan", str(folder), "-o", str(listed), *SMALL_OPTIONS]) == 0
    said = words(capsys)
    assert "accepted 1 clip (0.0 min) and 1 picture; rejected 2 (unreadable 2)" in said
    clips = read_manifest(listed)
    assert [clip.path.name for clip in clips] == [
        HOSTILE_NAME, "broken.mp4", "broken.png", "photo.png"
    ]  # fmt: skip
    line = ["dataset", "pack", str(listed), "-o", str(shards), "--workers", "1"]
    assert main(line) == 0
    assert "shards" in words(capsys)
    inside = read_manifest(shards / "clips.jsonl")
    assert sorted(clip.num_frames for clip in inside) == [1, 30]
    assert main(line) == 1
    assert "holds shards already" in words(capsys)
    for found in (clips, inside):
        data = ClipWindows(found, frames=1, crop=16, batch_windows=1, image_share=1.0, seed=0)
        assert len(data.pools["image"]) == 1
        assert data.batch(0, range(1)).targets.shape == (1, 1, 3, 64, 64)


def test_a_scan_that_was_stopped_goes_on(folder: Path, tmp_path: Path, capsys, monkeypatch):
    listed = tmp_path / "clips.jsonl"
    line = ["dataset", "scan", str(folder), "-o", str(listed), *SMALL_OPTIONS]
    assert main(line) == 0
    whole = listed.read_text()
    first, *rest = whole.splitlines(keepends=True)
    # As if it were stopped while it wrote the third file's line.
    (tmp_path / "clips.jsonl.partial").write_text("".join([first, *rest[:2], rest[2][:9]]))
    listed.unlink()
    scanned: list[str] = []

    def spy(path: Path, filters: Filters) -> list[Clip]:
        scanned.append(path.name)
        return scan_file(path, filters)

    monkeypatch.setattr(listing, "scan_file", spy)
    assert main([*line, "--min-side", "91"]) == 1
    assert "begun with other filters" in words(capsys)
    assert main(line) == 0
    assert listed.read_text() == whole
    assert scanned == ["broken.mp4", "broken.png", "photo.png"]  # the last whole line's file too
    assert "going on: 1 of 4 files are done" in words(capsys)


@pytest.mark.parametrize("left", ["", '{"form'])
def test_a_scan_that_was_stopped_in_its_first_line_begins_anew(
    folder: Path, tmp_path: Path, capsys, left: str
):
    listed, unfinished = tmp_path / "clips.jsonl", tmp_path / "clips.jsonl.partial"
    unfinished.write_text(left)
    assert main(["dataset", "scan", str(folder), "-o", str(listed), *SMALL_OPTIONS]) == 0
    assert "accepted 1 clip (" in words(capsys)
    assert not unfinished.exists()


def test_a_scan_that_was_begun_and_damaged_is_said(folder: Path, tmp_path: Path, capsys):
    listed, unfinished = tmp_path / "clips.jsonl", tmp_path / "clips.jsonl.partial"
    line = ["dataset", "scan", str(folder), "-o", str(listed), *SMALL_OPTIONS]
    assert main(line) == 0
    capsys.readouterr()
    head = listed.read_text().partition("\n")[0]
    unfinished.write_text(f"{head}\n{{}}\n")
    assert main([*line, "--overwrite"]) == 1
    assert "clips.jsonl.partial` is damaged: not a clip" in words(capsys)


def test_what_was_found_is_kept_where_the_disk_is_full_at_the_end(
    folder: Path, tmp_path: Path, monkeypatch
):
    listed, unfinished = tmp_path / "clips.jsonl", tmp_path / "clips.jsonl.partial"
    line = ["dataset", "scan", str(folder), "-o", str(listed), *SMALL_OPTIONS]
    assert main(line) == 0
    whole = listed.read_text()
    listed.unlink()

    def full(path: Path, head: str, lines: Iterable[str]) -> None:
        write_manifest(path, head, raising() if path == listed else lines)

    def raising() -> Iterator[str]:
        yield "{}"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(listing, "write_manifest", full)
    assert main(line) == 1
    assert sorted(unfinished.read_text().splitlines()) == sorted(whole.splitlines())


def test_shards_that_were_begun_with_another_list_are_named_and_stay(
    folder: Path, tmp_path: Path, capsys
):
    listed, shards = tmp_path / "clips.jsonl", tmp_path / "shards"
    assert main(["dataset", "scan", str(folder), "-o", str(listed), *SMALL_OPTIONS]) == 0
    shards.mkdir()
    older = [
        f"0123abcd-{name}"
        for name in ("000000.tar", "000000.jsonl", "000001.tar.partial", "000002.jsonl.partial")
    ]
    for name in (*older, "0123abcd-notes.tar"):
        (shards / name).touch()
    assert main(["dataset", "pack", str(listed), "-o", str(shards)]) == 0
    left = {path.name for path in shards.iterdir()}
    assert {"clips.jsonl", "0123abcd-notes.tar", *older} <= left
    assert len(left) == 8
    told = f"`{shards}/0123abcd-000000.jsonl` and 3 more like it seems to be of another list"
    assert told in words(capsys)


@pytest.mark.parametrize("name", ["scan", "pack"])
def test_who_stops_the_work_is_told_that_it_is_kept(tmp_path, folder, capsys, monkeypatch, name):
    def stopped(*_: object, **__: object):
        raise KeyboardInterrupt

    listed = tmp_path / "clips.jsonl"
    assert main(["dataset", "scan", str(folder), "-o", str(listed), *SMALL_OPTIONS]) == 0
    monkeypatch.setattr("diffst_cli.dataset.listing.make_list", stopped)
    monkeypatch.setattr("diffst_cli.dataset.shards.make_shards", stopped)
    source = folder if name == "scan" else listed
    assert main(["dataset", name, str(source), "-o", str(tmp_path / "new")]) == 130
    assert "what is done is kept; the same command goes on" in words(capsys)


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        (["scan", "{}/nowhere", "-o", "{}/x"], 2, "there is no file or folder"),
        (["scan", "{}/empty", "-o", "{}/x"], 1, "there are no videos or pictures in"),
        (["scan", "{}/bad", "-o", "{}/x"], 1, "nothing in 1 file is worth training on"),
        (["scan", "{}/bad", "-o", "{}/empty"], 2, "cannot be a file"),
        (["scan", "{}/bad", "-o", "{}/list"], 1, "exists"),
        (["scan", "{}/bad", "-o", "{}/x", "--max-frames", "99"], 2, "at least twice"),
        (["pack", "{}/nowhere", "-o", "{}/x"], 1, "there is no list of clips"),
        (["pack", "{}/list", "-o", "{}/x"], 1, "is not a list of clips"),
        (["pack", "{}/bad.jsonl", "-o", "{}/x"], 1, "no clip in"),
        (["pack", "{}/gone.jsonl", "-o", "{}/y"], 1, "no such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, capsys, line, code, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.mp4").write_bytes(b"no video")
    (tmp_path / "list").write_text("hello\n")
    head = json.dumps({"format": "diffst clips 1"})
    image = {"path": "a.png", "kind": "image", "width": 9, "height": 9}
    for name, rejected in (("bad", ["soft: 0"]), ("gone", [])):
        text = json.dumps({**image, "rejected": rejected})
        (tmp_path / f"{name}.jsonl").write_text(f"{head}\n{text}\n")
    assert main(["dataset", *(word.format(tmp_path) for word in line)]) == code
    said = words(capsys)
    assert sentence in said
    assert "Traceback" not in said
    assert not (tmp_path / "y" / "clips.jsonl").exists()


def crash(number: int) -> int:
    """End the process as a library's crash does."""
    import os

    os._exit(number)


@pytest.mark.slow
def test_files_are_read_by_several_processes(folder: Path, tmp_path: Path):
    line = ["dataset", "scan", "--quiet", str(folder), *SMALL_OPTIONS[:-2]]
    for workers in ("1", "2"):
        assert main([*line, "-o", str(tmp_path / workers), "--workers", workers]) == 0
    assert (tmp_path / "1").read_text() == (tmp_path / "2").read_text()


@pytest.mark.slow
def test_a_process_that_dies_is_said():
    with pytest.raises(UserError, match="a process was ended"):
        list(each_done(crash, [(3,), (4,)], 2))
