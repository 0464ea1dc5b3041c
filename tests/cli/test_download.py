import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffst_cli import model_files
from diffst_cli.app import main
from diffst_cli.download import UnreachableError, by_hand, pull, read_record
from diffst_cli.downloaded import check, here
from diffst_cli.errors import UserError
from diffst_cli.model_files import DOWNLOADS, Download, RemoteFile, Repository
from tests.hub import FakeHub, serving

WEIGHTS = bytes(range(256)) * 400  # 100 kB
CONFIG = b'{"width": 8}'
TINY = Download(
    name="tiny",
    description="a model for tests",
    repositories=(
        Repository(
            name="someone/tiny",
            revision="0123abcd",
            licence="CC0-1.0",
            files=(
                RemoteFile(path="unet/config.json", place="unet/config.json"),
                RemoteFile(
                    path="unet/w.fp16.safetensors",
                    place="unet/w.safetensors",
                    size=len(WEIGHTS),
                    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
                ),
            ),
        ),
    ),
    about_bytes=100_000,
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with the tiny model and things that nobody asked for."""
    files = {
        "unet/config.json": CONFIG,
        "unet/w.fp16.safetensors": WEIGHTS,
        "README.md": b"licence: CC0",
        "text_encoder/huge.bin": b"x" * 5000,
    }
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setitem(DOWNLOADS, "tiny", TINY)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between tries
    # What came of a chunk is lost when the line breaks; real chunks have 10 MB.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    with serving(FakeHub({"someone/tiny": files})) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


def test_pull_fetches_what_is_listed_and_records_it(hub: FakeHub, tmp_path: Path):
    said: list[str] = []
    folder = pull(TINY, said.append)
    assert folder == tmp_path / "models" / "tiny"
    assert (folder / "unet" / "w.safetensors").read_bytes() == WEIGHTS
    assert (folder / "unet" / "config.json").read_bytes() == CONFIG
    assert (folder / "licences" / "someone--tiny" / "README.md").read_bytes() == b"licence: CC0"
    assert {path for path, _ in hub.gets} == {
        *("unet/config.json", "unet/w.fp16.safetensors", "README.md")
    }
    assert hub.revisions == {"0123abcd"}
    assert "licence: CC0-1.0" in said[1]
    record = read_record(folder)
    assert record["licences"] == {"someone/tiny": "CC0-1.0"}
    assert record["files"]["unet/config.json"]["sha256"] == hashlib.sha256(CONFIG).hexdigest()
    assert check(TINY) == "as downloaded"
    assert [found.name for found in here()] == ["tiny"]


def test_second_pull_asks_nothing(hub: FakeHub):
    pull(TINY, lambda line: None)
    hub.gets.clear()
    hub.revisions.clear()
    said: list[str] = []
    pull(TINY, said.append)
    assert "is here already" in said[-1]
    assert (hub.gets, hub.revisions) == ([], set())


def test_broken_off_file_is_gone_on_with(hub: FakeHub, tmp_path: Path):
    part = tmp_path / "models" / "tiny" / "unet" / "w.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS[:70_000])
    said: list[str] = []
    folder = pull(TINY, said.append)
    assert ("unet/w.fp16.safetensors", "bytes=70000-") in hub.gets
    assert "going on with `unet/w.fp16.safetensors` after 70 kB" in said
    assert (folder / "unet" / "w.safetensors").read_bytes() == WEIGHTS
    assert not part.exists()


def test_line_that_breaks_leaves_what_came(hub: FakeHub, tmp_path: Path):
    hub.break_at = 9_000
    with pytest.raises(UnreachableError):
        pull(TINY, lambda line: None)
    folder = tmp_path / "models" / "tiny"
    assert not (folder / "unet" / "w.safetensors").exists()
    came = (folder / "unet" / "w.safetensors.part").stat().st_size
    assert came == 9_000
    hub.break_at = None
    pull(TINY, lambda line: None)
    assert (folder / "unet" / "w.safetensors").read_bytes() == WEIGHTS


def test_interrupted_pull_says_how_to_go_on(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub.file_download.http_get", interrupt)
    assert main(["models", "pull", "tiny"]) == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "what came is kept; `diffst models pull tiny` goes on",
        "error: interrupted",
    ]


def test_damaged_file_is_removed(hub: FakeHub, tmp_path: Path):
    hub.wrong_bytes = True
    with pytest.raises(UserError, match=r"`unet/w\.fp16\.safetensors` arrived damaged"):
        pull(TINY, lambda line: None)
    assert not list((tmp_path / "models" / "tiny" / "unet").glob("w.*"))


def test_file_that_is_another_one_at_the_hub_is_refused(hub: FakeHub):
    hub.files["someone/tiny"]["unet/w.fp16.safetensors"] = WEIGHTS[::-1]
    with pytest.raises(UserError, match="is not the file that diffst knows"):
        pull(TINY, lambda line: None)
    assert hub.gets == []


def test_file_that_is_gone_is_told(hub: FakeHub):
    del hub.files["someone/tiny"]["unet/config.json"]
    with pytest.raises(UserError, match=r"`unet/config\.json` is no longer in"):
        pull(TINY, lambda line: None)


def test_small_disk_is_told_before_anything_comes(hub: FakeHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10**8))
    with pytest.raises(UserError, match=r"the disk has 100 MB free, and 500 MB are needed"):
        pull(TINY, lambda line: None)
    assert hub.gets == []


def test_disk_has_room_for_what_the_first_use_writes(hub: FakeHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2 * 10**9))
    said: list[str] = []
    with pytest.raises(UserError, match=r"2\.0 GB free, and 4\.5 GB are needed"):
        pull(replace(TINY, converted_bytes=4 * 10**9), said.append)
    assert said[-1] == "102 kB to fetch, 4.0 GB more on first use, 2.0 GB free on the disk"
    assert hub.gets == []


def test_licence_that_must_be_accepted_is_said(hub: FakeHub):
    hub.refuse = 403
    with pytest.raises(UserError, match="asks to accept a licence first") as caught:
        pull(TINY, lambda line: None)
    assert caught.value.hint is not None
    assert "HF_TOKEN" in caught.value.hint


def test_licence_is_asked_for_before_large_files_come(hub: FakeHub):
    other = Repository(
        name="someone/gated",
        revision="4567cdef",
        licence="its own",
        files=(RemoteFile(path="vae/config.json", place="vae/config.json"),),
    )
    hub.files["someone/gated"] = {"vae/config.json": CONFIG}
    hub.gated = "someone/gated"
    with pytest.raises(UserError, match="asks to accept a licence first") as caught:
        pull(replace(TINY, repositories=(*TINY.repositories, other)), lambda line: None)
    assert caught.value.hint == (
        "accept it on https://huggingface.co/someone/gated, then set `HF_TOKEN` to a token of yours"
    )
    assert "unet/w.fp16.safetensors" not in {path for path, _ in hub.gets}


def test_without_a_network_the_manual_way_is_printed(
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["models", "pull", "tiny"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2] == "error: `127.0.0.1:9` cannot be reached"
    page = "https://huggingface.co/someone/tiny"
    address = lines.index(f"  {page}/resolve/0123abcd/unet/w.fp16.safetensors")
    place = tmp_path / "models" / "tiny" / "unet" / "w.safetensors"
    assert lines[address + 1] == f"    -> {place}"
    assert not place.exists()


def test_files_put_there_by_hand_are_checked_and_recorded(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "models" / "tiny" / "unet"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(CONFIG)
    assert main(["models", "verify", "tiny"]) == 1
    assert "w.safetensors` is missing" in capsys.readouterr().out
    (folder / "w.safetensors").write_bytes(WEIGHTS)
    assert main(["models", "verify", "tiny"]) == 0
    assert "put there by hand; its hashes are on record" in capsys.readouterr().out
    assert main(["models", "verify"]) == 0
    assert "tiny: as downloaded" in capsys.readouterr().out
    (folder / "config.json").write_bytes(b"{}")
    assert main(["models", "verify", "tiny"]) == 1
    assert "config.json` is not the published file" in capsys.readouterr().out


def test_list_and_path_know_what_can_be_fetched(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["models", "path", "tiny"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'models' / 'tiny'}\n"
    assert main(["models", "list"]) == 0
    assert (
        "tiny: not here: `diffst models pull tiny`, about 100 kB, CC0-1.0"
        in capsys.readouterr().out
    )
    assert main(["models", "pull", "tiny"]) == 0
    assert main(["models", "list", "--json"]) == 0
    listed = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
    assert listed["tiny"]["installed"] is True
    assert listed["nano"]["installed"] is True


def test_packages_that_a_fetched_model_lacks_are_told(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
):
    source = Repository(
        name="someone/tiny",
        revision="0123abcd",
        licence="CC0-1.0",
        files=(RemoteFile(path="text_encoder/huge.bin", place="text_encoder/huge.bin"),),
    )
    for name, there, told in (("a", None, True), ("b", object(), False)):
        monkeypatch.setattr("diffst_cli.download.find_spec", lambda _, there=there: there)
        said: list[str] = []
        pull(replace(TINY, name=name, repositories=(source,)), said.append)
        assert ("`pip install 'diffst[star]'`" in said[-1]) is told


def test_a_converted_model_needs_no_published_file_to_be_listed(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "models" / "star-light"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    assert main(["models", "list"]) == 0
    said = capsys.readouterr().out
    assert "star-light: fetched" in said
    assert "star-heavy: not here" in said


def test_names_that_cannot_be_fetched(hub: FakeHub, capsys: pytest.CaptureFixture[str]):
    assert main(["models", "pull", "gone"]) == 2
    assert (
        "one of: wan-1.3b-base, vjepa2-vitl, wan-tiny-decoder, star-light, star-heavy, star-cogvideox, tiny"
        in capsys.readouterr().err
    )
    assert main(["models", "pull", "nano"]) == 0
    assert "is in the package" in capsys.readouterr().err
    assert main(["models", "verify", "gone"]) == 2


@pytest.mark.parametrize("name", [name for name in DOWNLOADS if name != "tiny"])
def test_every_download_is_pinned_and_says_where_by_hand(name: str, tmp_path: Path):
    download = DOWNLOADS[name]
    for source in download.repositories:
        assert len(source.revision) == 40
        assert source.licence
    places = [file.place for source in download.repositories for file in source.files]
    assert len(set(places)) == len(places)
    assert sum("->" in line for line in by_hand(download, tmp_path)) == len(places)


def test_what_star_becomes_is_its_parameters_in_two_bytes():
    converted = {name: download.converted_bytes for name, download in DOWNLOADS.items()}
    for name in ("star-light", "star-heavy"):
        assert converted[name] == pytest.approx(2 * 2_041_121_910, rel=1e-3)
    assert converted["star-cogvideox"] == pytest.approx(2 * 5_570_680_488, rel=1e-3)


def test_base_of_wan_is_the_transformer_and_the_vae_only():
    (source,) = DOWNLOADS["wan-1.3b-base"].repositories
    assert {file.path.partition("/")[0] for file in source.files} == {"transformer", "vae"}
    sizes = [file.size or 0 for file in source.files]
    assert sum(sizes) == pytest.approx(DOWNLOADS["wan-1.3b-base"].about_bytes, rel=1e-3)
    # 1,418,996,800 and 126,892,531 parameters in float32, with their headers.
    assert sum(sizes[:4]) == pytest.approx(4 * 1_418_996_800, rel=1e-3)
    assert sizes[5] == pytest.approx(4 * 126_892_531, rel=1e-3)
    assert model_files.HUB in source.page
