import json
import tarfile
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffst.wan.training.manifest import Clip
from diffst.wan.training.shards import listed_clips, plan_shards, write_shard
from diffst.wan.training.sources import packed, read_frames, read_image
from tests.diffst.wan.training.footage import moving, video_clip, write_video


def some_clips(folder: Path) -> list[Clip]:
    """Two clips of one video, a refused one, and a picture."""
    path = write_video(folder / "é.mp4", moving(20))
    cv2.imwrite(str(folder / "photo.PNG"), moving(1, seed=3)[0][..., ::-1])
    photo = Clip(path=folder / "photo.PNG", kind="image", width=96, height=64)
    refused = Clip(path=path, kind="video", width=96, height=64, rejected=("soft: 0.1",))
    return [video_clip(path, 6), refused, video_clip(path, 8, start=10), photo]


def test_shards_hold_every_accepted_clip_once(tmp_path: Path):
    clips = some_clips(tmp_path)
    shards = plan_shards(clips, tmp_path, 2)
    assert [len(held) for _, held in shards] == [2, 1]
    held = [clip for _, some in shards for clip in some]
    assert sorted(map(str, held)) == sorted(str(clip) for clip in clips if not clip.rejected)
    assert plan_shards(clips, tmp_path, 2) == shards
    others = (plan_shards(clips[:2], tmp_path, 2), plan_shards(clips, tmp_path, 1))
    assert not {path for path, _ in shards} & {path for plan in others for path, _ in plan}


def test_clips_come_out_of_a_shard_as_they_went_in(tmp_path: Path):
    ((path, held),) = plan_shards(some_clips(tmp_path), tmp_path, 9)
    write_shard(path, held)
    found = list(listed_clips([path]))
    assert [clip.num_frames for clip in found] == [clip.num_frames for clip in held]
    for inside, outside in zip(found, held, strict=True):
        assert inside.path == path
        assert inside.start == 0
        count = inside.num_frames
        error = read_frames(inside, 0, count).astype(float) - read_frames(outside, 0, count)
        assert np.abs(error).mean() < (0.01 if inside.kind == "image" else 2.5)


def test_a_shard_is_in_the_layout_of_webdataset(tmp_path: Path):
    # Members of a sample follow each other, share what stands before the first dot, and have suffixes of their own.
    ((path, held),) = plan_shards(some_clips(tmp_path), tmp_path, 9)
    write_shard(path, held)
    with tarfile.open(path) as tar:
        names = tar.getnames()
        about = [json.loads(tar.extractfile(name).read()) for name in names[1::2]]  # type: ignore[union-attr]
        first = tar.extractfile(names[0])
        data = first.read() if first else b""
    keys = [name.split(".", 1)[0] for name in names]
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == 3
    assert {name.split(".", 1)[1] for name in names} == {"mp4", "png", "json"}
    assert [found["kind"] for found in about] == [clip.kind for clip in held]
    inside = next(iter(listed_clips([path])))
    begin, size = inside.offset or 0, inside.num_bytes or 0
    assert path.read_bytes()[begin : begin + size] == data


# It leaves the tar open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_a_shard(tmp_path: Path):
    webdataset = pytest.importorskip("webdataset", reason="needs `pip install webdataset`")
    ((path, held),) = plan_shards(some_clips(tmp_path), tmp_path, 9)
    write_shard(path, held)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [json.loads(sample["json"])["kind"] for sample in samples] == [c.kind for c in held]
    for sample, inside in zip(samples, listed_clips([path]), strict=True):
        begin, size = inside.offset or 0, inside.num_bytes or 0
        suffix = "mp4" if inside.kind == "video" else "png"
        assert sample[suffix] == path.read_bytes()[begin : begin + size]


def test_a_complete_shard_is_not_made_again_and_a_broken_one_is(tmp_path: Path):
    ((path, held),) = plan_shards(some_clips(tmp_path), tmp_path, 9)
    path.with_name(f"{path.name}.partial").write_bytes(b"broken off")
    write_shard(path, held)
    before = path.stat().st_mtime_ns
    write_shard(path, held)
    assert path.stat().st_mtime_ns == before
    assert not list(tmp_path.glob("*.partial"))
    assert next(iter(listed_clips([path]))).start == Fraction(0)


def test_nothing_but_what_is_shown_gets_into_a_shard(tmp_path: Path):
    key, picture = tmp_path / "id_ed25519", tmp_path / "a.json"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----")
    cv2.imwrite(str(tmp_path / "a.png"), moving(1)[0])
    (tmp_path / "a.png").rename(picture)
    hidden = tmp_path / "key.png"
    hidden.symlink_to(key)
    endless = tmp_path / "endless.png"
    endless.symlink_to("/dev/zero")
    said = []
    for path in (key, hidden, endless, picture):
        clip = Clip(path=path, kind="image", width=96, height=64)
        ((shard, held),) = plan_shards([clip], tmp_path, 1)
        with pytest.raises(ValueError, match="cannot read") as refused:
            write_shard(shard, held)
        said.append(str(refused.value).partition("`: ")[2])
        assert not shard.exists()
        assert b"PRIVATE" not in b"".join(p.read_bytes() for p in tmp_path.glob("*.partial"))
    no_name = "its name is not one of a picture"
    assert said == [
        no_name,
        "it is no picture that OpenCV knows",
        "it is not a regular file",
        no_name,
    ]


def test_what_is_not_as_the_list_says_is_not_packed(tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", moving(6))
    with pytest.raises(ValueError, match=r"a\.mp4` is not of the size that the list"):
        packed(video_clip(path, 6, size=(64, 2**30)))
    short = Clip(path=path, kind="image", width=1, height=1, offset=9, num_bytes=2**60)
    with pytest.raises(ValueError, match=r"a\.mp4` ends before what the list"):
        read_image(short)
