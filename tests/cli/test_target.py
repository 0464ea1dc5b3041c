import errno
import os
import stat
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from diffst_cli.errors import UsageError, UserError
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.target import (
    Target,
    choose_target,
    hidden_prefix,
    publish_file,
    publish_pictures,
)
from tests.media import make_png_folder
from tests.outputs import make_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_clip(tmp_path_factory.mktemp("target") / "clip.mp4", num_frames=2))


def pictures_in(folder: Path) -> Target:
    return Target(path=folder, suffix=".png", folder=folder, pattern="%05d.png")


def test_a_video_name_is_a_file(clip: VideoInfo, tmp_path: Path) -> None:
    target = choose_target(tmp_path / "Out.MP4", clip, overwrite=False)
    assert (target.suffix, target.pattern) == (".mp4", None)


@pytest.mark.parametrize("name", ["frames", "dots.in.name"])
def test_a_folder_gets_numbered_pictures(name: str, clip: VideoInfo, tmp_path: Path) -> None:
    folder = tmp_path / name
    if "." in name:
        folder.mkdir()  # only a folder that is there can be told from a file of unknown kind
    target = choose_target(folder, clip, overwrite=False)
    assert target.suffix == ".png"
    assert target.picture(7) == folder / "00007.png"


def test_a_pattern_numbers_its_own_way(clip: VideoInfo, tmp_path: Path) -> None:
    target = choose_target(tmp_path / "a_%03d_b.png", clip, overwrite=False)
    assert target.picture(12) == tmp_path / "a_012_b.png"
    assert choose_target(tmp_path / "%d.png", clip, overwrite=False).picture(12).name == "12.png"


def test_one_picture_cannot_hold_many(clip: VideoInfo, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one picture, the input is many"):
        choose_target(tmp_path / "one.png", clip, overwrite=False)
    one = replace(clip, num_frames=1)
    assert choose_target(tmp_path / "one.png", one, overwrite=False).picture(1).name == "one.png"


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_input_is_never_the_output(overwrite: bool, tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", num_frames=2))
    (tmp_path / "soft.mp4").symlink_to(info.path)
    os.link(info.path, tmp_path / "hard.mp4")
    (tmp_path / "sub").mkdir()
    for path in (
        info.path,
        tmp_path / "soft.mp4",
        tmp_path / "hard.mp4",
        tmp_path / "sub/../clip.mp4",
    ):
        with pytest.raises(UsageError, match="is the input itself"):
            choose_target(path, info, overwrite=overwrite)


def test_pictures_are_not_written_over_the_input_s(tmp_path: Path) -> None:
    make_clip(tmp_path / "%05d.png", num_frames=2)
    info = probe(tmp_path)
    with pytest.raises(UsageError, match="holds the input itself"):
        choose_target(tmp_path, info, overwrite=True)


def test_what_exists_is_replaced_only_when_asked(clip: VideoInfo, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match="already exists") as caught:
        choose_target(path, clip, overwrite=False)
    assert caught.value.hint == "add --overwrite to replace it"
    assert choose_target(path, clip, overwrite=True).path == path


@pytest.mark.parametrize("name", ["shot_v1.0", "shot.mp4", "shot.png"])
def test_a_folder_may_have_any_name_that_ends_in_a_slash(
    name: str, clip: VideoInfo, tmp_path: Path
) -> None:
    target = choose_target(tmp_path / name, clip, overwrite=False, is_folder=True)
    assert target.suffix == ".png"
    assert target.picture(3) == tmp_path / name / "00003.png"
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match="is there and is no folder"):
        choose_target(tmp_path / name, clip, overwrite=True, is_folder=True)


def test_the_first_of_the_pictures_in_the_way_is_named(clip: VideoInfo, tmp_path: Path) -> None:
    for number in (3, 1, 2, 5, 4):
        (tmp_path / f"0000{number}.png").touch()
    with pytest.raises(UsageError, match=r"00001\.png` already exists"):
        choose_target(tmp_path, clip, overwrite=False)


def test_a_dangling_link_counts_as_existing(clip: VideoInfo, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.symlink_to(tmp_path / "nowhere.mp4")
    with pytest.raises(UsageError, match="already exists"):
        choose_target(path, clip, overwrite=False)


def test_a_folder_with_a_video_s_name_is_refused(clip: VideoInfo, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        choose_target(tmp_path / "out.mp4", clip, overwrite=True)


def test_an_unknown_ending_is_refused(clip: VideoInfo, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot tell what kind of file") as caught:
        choose_target(tmp_path / "out.xyz", clip, overwrite=False)
    assert ".mkv" in str(caught.value.hint)


def test_a_missing_folder_is_an_error(clip: VideoInfo, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder") as caught:
        choose_target(tmp_path / "missing/out.mp4", clip, overwrite=False)
    assert caught.value.exit_code == 1


def test_a_closed_folder_is_an_error(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(UserError, match="cannot write into the folder"):
        choose_target(tmp_path / "out.mp4", clip, overwrite=False)


def test_a_name_that_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = Target(path=tmp_path / "out.mp4", suffix=".mp4", folder=tmp_path, pattern=None)
    finished = tmp_path / "finished.mp4"
    finished.write_bytes(b"new")
    target.path.write_bytes(b"theirs")
    with pytest.raises(UserError, match="appeared meanwhile"):
        publish_file(finished, target, overwrite=False)
    assert target.path.read_bytes() == b"theirs"
    publish_file(finished, target, overwrite=True)
    assert target.path.read_bytes() == b"new"


def test_fewer_pictures_leave_none_of_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("00001.png", "00002.png", "00003.png", "notes.txt"):
        (folder / name).write_bytes(b"old")
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "000000001.png").write_bytes(b"new")
    publish_pictures(finished, pictures_in(folder), overwrite=True)
    assert sorted(entry.name for entry in folder.iterdir()) == ["00001.png", "notes.txt"]
    assert (folder / "00001.png").read_bytes() == b"new"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[str]]]:
    """What the disk was made to hold, in order: inodes, and the names in a folder."""
    calls = []

    def note(handle: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        calls.append((os.fstat(handle).st_ino, sorted(os.listdir(handle)) if is_folder else []))

    monkeypatch.setattr(os, "fsync", note)
    return calls


def test_a_file_is_on_the_disk_when_it_has_its_name(
    tmp_path: Path, synced: list[tuple[int, list[str]]]
) -> None:
    target = Target(path=tmp_path / "out.mp4", suffix=".mp4", folder=tmp_path, pattern=None)
    finished = tmp_path / ".finished.mp4"
    finished.write_bytes(b"new")
    publish_file(finished, target, overwrite=False)
    assert synced == [(target.path.stat().st_ino, []), (tmp_path.stat().st_ino, ["out.mp4"])]


@pytest.mark.parametrize("is_new", [True, False])
def test_pictures_are_on_the_disk_when_they_have_their_names(
    is_new: bool, tmp_path: Path, synced: list[tuple[int, list[str]]]
) -> None:
    folder, names = tmp_path / "pictures", ["00001.png", "00002.png"]
    if not is_new:
        folder.mkdir()
    finished = tmp_path / ".finished"
    finished.mkdir()
    for number in (1, 2):
        (finished / f"00000000{number}.png").write_bytes(b"new")
    publish_pictures(finished, pictures_in(folder), overwrite=False)
    inodes = [(folder / name).stat().st_ino for name in names]
    assert synced[:3] == [*((inode, []) for inode in inodes), (folder.stat().st_ino, names)]
    assert synced[3:] == ([(tmp_path.stat().st_ino, ["pictures"])] if is_new else [])


@pytest.mark.parametrize(("code", "is_told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_disk_that_fails_is_told_and_one_that_cannot_sync_is_not(
    code: int, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    target = Target(path=tmp_path / "out.mp4", suffix=".mp4", folder=tmp_path, pattern=None)
    finished = tmp_path / "finished.mp4"
    finished.write_bytes(b"new")
    told = pytest.raises(UserError, match=os.strerror(code)) if is_told else nullcontext()
    with told:
        publish_file(finished, target, overwrite=False)
    assert finished.exists() is is_told


def test_a_folder_that_cannot_be_synced_spoils_no_good_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    target = Target(path=tmp_path / "out.mp4", suffix=".mp4", folder=tmp_path, pattern=None)
    finished = tmp_path / "finished.mp4"
    finished.write_bytes(b"new")
    publish_file(finished, target, overwrite=False)
    assert (tmp_path / "out.mp4").read_bytes() == b"new"


def test_old_pictures_stay_until_the_new_ones_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "00002.png").write_bytes(b"old")
    finished = tmp_path / ".finished"
    finished.mkdir()
    (finished / "000000001.png").write_bytes(b"new")

    def fail(_self: Path, _target: Path) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UserError, match="cannot name the result"):
        publish_pictures(finished, pictures_in(tmp_path), overwrite=True)
    assert (tmp_path / "00002.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("pattern", "own"),
    [
        ("%05d.png", ["00001.png", "123456.png"]),
        ("%d.png", ["1.png", "123456.png", "2024.png"]),
        ("%04d.png", ["123456.png", "2024.png"]),
        ("a%02d.png", ["a01.png"]),
        ("1.png", ["1.png"]),
    ],
)
def test_only_names_that_the_pattern_gives_are_its_own(
    pattern: str, own: list[str], clip: VideoInfo, tmp_path: Path
) -> None:
    others = ("0.png", "00000.png", "a1.png", "a001.png", "١.png")
    for name in (*others, "00001.png", "123456.png", "1.png", "2024.png", "a01.png"):
        (tmp_path / name).touch()
    info = replace(clip, num_frames=1)
    target = choose_target(tmp_path / pattern, info, overwrite=True)
    assert [picture.name for picture in target.old_pictures()] == own
    for name in own:
        (tmp_path / name).unlink()
    assert choose_target(tmp_path / pattern, info, overwrite=False).old_pictures() == []


def test_pictures_do_not_go_into_the_folder_they_come_from(tmp_path: Path) -> None:
    source = make_png_folder(tmp_path / "pictures")
    with pytest.raises(UsageError, match="holds the input itself") as caught:
        choose_target(source, probe(source), overwrite=True)
    assert caught.value.hint == "choose another folder"


def test_pictures_are_not_sent_to_a_file_of_their_folders_name(tmp_path: Path) -> None:
    source = make_png_folder(tmp_path / "pictures")
    (tmp_path / "others").mkdir()
    (tmp_path / "others/notes.txt").touch()
    with pytest.raises(UsageError, match="holds other things") as caught:
        choose_target(tmp_path / "others", probe(source), overwrite=False)
    assert caught.value.hint == "name a new folder for pictures"


def test_other_numbers_in_a_folder_of_pictures_are_other_things(
    clip: VideoInfo, tmp_path: Path
) -> None:
    (tmp_path / "20240101.png").touch()
    (tmp_path / "1.png").touch()
    with pytest.raises(UsageError, match=r"holds other things, as `1\.png`"):
        choose_target(tmp_path, clip, overwrite=True)


def test_a_file_is_no_folder_for_pictures(clip: VideoInfo, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(UsageError, match=f"{name}` is there and is no folder"):
            choose_target(tmp_path / name, clip, overwrite=True)


def test_what_is_not_finished_lies_in_the_output_s_own_folder(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "pictures").symlink_to(tmp_path / "disk")  # perhaps another
    target = choose_target(tmp_path / "pictures", clip, overwrite=False)
    assert target.temporary("abcd1234", ".png").parent == tmp_path / "pictures"
    target.temporary("abcd1234", ".png").mkdir()
    choose_target(tmp_path / "pictures", clip, overwrite=False)  # which is none of the other things
    monkeypatch.chdir(tmp_path / "disk")
    here = choose_target(Path(), clip, overwrite=False)
    assert here.temporary("abcd1234", ".png") == tmp_path / "disk" / ".disk.diffst-abcd1234.png"
    new = choose_target(tmp_path / "new", clip, overwrite=False)
    assert new.temporary("abcd1234", ".png").parent == tmp_path


def test_only_the_folder_that_is_written_to_need_be_open(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: path == disk)  # as where it is mounted in /
    assert choose_target(disk, clip, overwrite=False).place == disk


def test_the_file_that_a_link_leads_to_is_replaced(clip: VideoInfo, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old.mp4").write_bytes(b"old")
    (tmp_path / "out.mp4").symlink_to(tmp_path / "disk" / "old.mp4")
    target = choose_target(tmp_path / "out.mp4", clip, overwrite=True)
    finished = target.temporary("abcd1234", ".mp4")
    assert (
        finished.parent == tmp_path / "disk"
    )  # where the file is, so that the name is given at once
    finished.write_bytes(b"new")
    publish_file(finished, target, overwrite=True)
    assert target.path.is_symlink()
    assert (tmp_path / "disk" / "old.mp4").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["old.mp4"]


def test_a_link_into_a_folder_that_is_missing_is_told(clip: VideoInfo, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").symlink_to(tmp_path / "nowhere" / "old.mp4")
    with pytest.raises(UserError, match=r"no folder `.*nowhere` to write into"):
        choose_target(tmp_path / "out.mp4", clip, overwrite=True)


def test_thousands_of_pictures_are_told_from_the_input_s_at_once(
    clip: VideoInfo, tmp_path: Path
) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        for number in range(1, 2001):
            (tmp_path / name / f"{number:05d}.png").touch()
    info = replace(clip, images=tuple(sorted((tmp_path / "in").iterdir())), num_frames=2000)
    started = time.perf_counter()
    choose_target(tmp_path / "out", info, overwrite=True)
    assert time.perf_counter() - started < 5  # each with each takes a minute


@pytest.mark.parametrize("letter", ["n", "電", "\udce9"])  # the last is no UTF-8
def test_a_temporary_name_fits_whatever_the_name(letter: str, tmp_path: Path) -> None:
    stem = letter * (250 // len(os.fsencode(letter)))
    path = tmp_path / f"{stem}.mp4"
    target = Target(path=path, suffix=".mp4", folder=tmp_path, pattern=None)
    target.temporary("abcd1234", ".video.mp4").write_bytes(b"")
    assert target.temporary("abcd1234", ".mp4").suffix == ".mp4"
    kept = hidden_prefix(path).removeprefix(".").removesuffix(".diffst-")
    assert set(kept) == {letter}  # whole ones
