from pathlib import Path

import pytest

from diffst_cli.errors import UserError
from diffst_cli.evaluation.layouts import find_members, find_set
from diffst_cli.suffixes import INPUT_SUFFIXES


def touch(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def described(root: Path) -> list[tuple[str, str, dict[str, str]]]:
    """Each clip's name, source and inputs, relative to the set's folder."""
    return [
        (
            clip.name,
            str(clip.source.relative_to(root)),
            {track: str(path.relative_to(root)) for track, path in clip.inputs.items()},
        )
        for clip in find_set(root)
    ]


# What the authors' pages and the toolboxes' guides show, cut down to two clips.
SETS = {
    "DOVE's UDM10, SPMCS, YouHQ40, RealVSR and MVSR4x": (
        "GT/000/0000.png GT/001/0000.png GT-Video/000.mkv LQ/000/0000.png LQ/001/0000.png",
        [("000", "GT/000", {"lq": "LQ/000"}), ("001", "GT/001", {"lq": "LQ/001"})],
    ),
    "the videos alone of the same": (
        "GT-Video/000.mkv LQ-Video/000.mp4",
        [("000", "GT-Video/000.mkv", {"lq": "LQ-Video/000.mp4"})],
    ),
    "Vid4 and UDM10 of MMagic and VRT": (
        "GT/calendar/0.png GT/city/0.png meta_info_Vid4_GT.txt BIx4/calendar/0.png BIx4/city/0.png "
        "BDx4/city/0.png",
        [
            ("calendar", "GT/calendar", {"bi": "BIx4/calendar"}),
            ("city", "GT/city", {"bi": "BIx4/city", "bd": "BDx4/city"}),
        ],
    ),
    "REDS4 of VRT": (
        "GT/000/00000000.png sharp_bicubic/000/00000000.png",
        [("000", "GT/000", {"bi": "sharp_bicubic/000"})],
    ),
    "REDS as unpacked": (
        "val/val_sharp/000/00000000.png val/val_sharp_bicubic/X4/000/00000000.png",
        [("000", "val/val_sharp/000", {"bi": "val/val_sharp_bicubic/X4/000"})],
    ),
    "REDS without its upper folder": (
        "val_sharp/000/00000000.png val_sharp_bicubic/X4/000/00000000.png",
        [("000", "val_sharp/000", {"bi": "val_sharp_bicubic/X4/000"})],
    ),
    "RealVSR as published": (
        "GT_test/003/00000.png LQ_test/003/00000.png GT/003/readme.txt",
        [("003", "GT_test/003", {"lq": "LQ_test/003"})],
    ),
    "RealVSR of EAVSR": (
        "HR_test/003/00000.png LR_test/003/00000.png",
        [("003", "HR_test/003", {"lq": "LR_test/003"})],
    ),
    "MVSR4x of EAVSR": (
        "tele/102/00000.png wide/102/00000.png",
        [("102", "tele/102", {"lq": "wide/102"})],
    ),
    "UDM10 of PFNL": (
        "archpeople/truth/0000.png archpeople/blur4/0000.png lake/truth/0000.png",
        [
            ("archpeople", "archpeople/truth", {"bd": "archpeople/blur4"}),
            ("lake", "lake/truth", {}),
        ],
    ),
    "Vimeo-90K": (
        "vimeo_septuplet/sequences/00001/0266/im1.png vimeo_septuplet/sequences/00001/0001/im1.png "
        "vimeo_septuplet_matlabLRx4/sequences/00001/0266/im1.png "
        "vimeo_septuplet_BDLRx4/sequences/00001/0266/im1.png",
        [
            (
                "00001_0266",
                "vimeo_septuplet/sequences/00001/0266",
                {
                    "bi": "vimeo_septuplet_matlabLRx4/sequences/00001/0266",
                    "bd": "vimeo_septuplet_BDLRx4/sequences/00001/0266",
                },
            )
        ],
    ),
    "Vimeo-90K's own folder": (
        "sequences/00001/0266/im1.png sequences/00001/0001/im1.png",
        [("00001_0266", "sequences/00001/0266", {})],
    ),
    "folders of pictures and videos": (
        "b/0.JPG a.MKV notes.txt empty/readme.md c/deep/0.png",
        [("a", "a.MKV", {}), ("b", "b", {})],
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_a_published_set_is_understood(tmp_path: Path, name: str):
    files, expected = SETS[name]
    touch(tmp_path, *files.split())
    for folder in ("vimeo_septuplet", "."):
        if (tmp_path / folder / "sequences").is_dir():
            (tmp_path / folder / "sep_testlist.txt").write_text("00001/0266\n\n")
    assert described(tmp_path) == expected


def test_vimeos_own_folder_finds_the_inputs_beside_it(tmp_path: Path):
    own = touch(tmp_path / "vimeo_septuplet", "sequences/00001/0266/im1.png")
    (own / "sep_testlist.txt").write_text("00001/0266\n")
    beside = touch(tmp_path / "vimeo_septuplet_BDLRx4", "sequences/00001/0266/im1.png")
    (clip,) = find_set(own)
    assert {track: path.resolve() for track, path in clip.inputs.items()} == {
        "bd": beside / "sequences" / "00001" / "0266"
    }


def test_vimeo_without_its_list_says_what_is_missing(tmp_path: Path):
    touch(tmp_path, "sequences/00001/0266/im1.png")
    with pytest.raises(UserError, match=r"cannot read `.*sep_testlist\.txt`, the list of"):
        find_set(tmp_path)


def test_a_folder_without_clips_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no video and no folder of pictures in"):
        find_set(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        find_set(tmp_path / "missing")


def test_hidden_files_are_no_clips(tmp_path: Path):
    touch(tmp_path, "a.mp4", "._a.mp4", "b/0.png", ".c/0.png", "d/._0.png")
    assert list(find_members(tmp_path)) == ["a", "b"]


def test_two_clips_of_one_name_are_refused(tmp_path: Path):
    touch(tmp_path, "a.mp4", "a/0.png")
    with pytest.raises(UserError, match="more than one clip called `a`"):
        find_members(tmp_path)


def test_of_two_inputs_of_one_track_the_first_counts(tmp_path: Path):
    root = touch(tmp_path, "GT/a.mp4", "sharp_bicubic/a.mp4", "BIx4/a.mp4", "BDx4/a.mp4")
    assert described(root) == [("a", "GT/a.mp4", {"bi": "BIx4/a.mp4", "bd": "BDx4/a.mp4"})]


def test_every_kind_of_video_that_a_batch_takes_is_a_clip(tmp_path: Path):
    touch(tmp_path, *(f"{suffix[1:]}{suffix.upper()}" for suffix in INPUT_SUFFIXES))
    assert len(find_members(tmp_path)) == len(INPUT_SUFFIXES)
    assert ".ts" in INPUT_SUFFIXES
