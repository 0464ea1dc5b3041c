"""A Ray cluster: the file of one process, whatever happens to the machines."""

import socket
import sys
import tempfile
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from diffst_cli import cluster, parcels, run, segments
from diffst_cli.app import main
from diffst_cli.batch import run_batch
from diffst_cli.errors import UsageError, UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.run import run_job
from tests import fakes
from tests.cli.test_run import Notes
from tests.media import make_png_folder, make_video
from tests.stand_in_ray import make_ray


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    monkeypatch.setattr(cluster, "HEAR_SECONDS", 0.05)
    monkeypatch.setattr(run, "open_model", fakes.open_bilinear)
    cluster._num_free.cache_clear()


@pytest.fixture
def asked(tmp_path: Path) -> UpscaleJob:
    """24 frames in one shot."""
    source = make_video(tmp_path / "clip.mp4", size=(32, 24), num_frames=24)
    values: dict[str, Any] = {"scale": Fraction(2), "fps_x": Fraction(2)}
    return UpscaleJob(input=source, output=tmp_path / "out.mp4", ray="auto", **values)


def alone(asked: UpscaleJob) -> bytes:
    """What one process makes, without a cluster."""
    output = asked.output.with_name("alone.mp4")
    single = replace(asked, output=output, ray=None, device="cpu")
    assert run_job(single, model=fakes.BilinearModel()).receipt.ok
    return output.read_bytes()


def install(monkeypatch: pytest.MonkeyPatch, ray: Any) -> Any:
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def test_actors_one_of_which_dies_make_the_file_of_one_process(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    ray = install(monkeypatch, make_ray({"CPU": 2.0}, dies_at=[2]))
    notes = Notes()
    summary = run_job(asked, reporter=notes)
    assert summary.receipt.ok
    (warning,) = notes.warnings
    assert warning.startswith("the worker on `cpu of ")
    assert warning.endswith("ended with its actor; its segment is dealt again")
    assert notes.counts[-1][0] == summary.frames_out == 48
    assert {"read", "model", "write", "scan"} <= set(summary.stage_seconds)
    assert len(ray.options) >= 2
    assert all(options["num_cpus"] == 1 for options in ray.options)
    assert all(actor.dead.is_set() for actor in ray.actors), "an actor is left"
    assert asked.output.read_bytes() == alone(asked)


def test_a_cluster_with_gpus_is_asked_for_them(monkeypatch: pytest.MonkeyPatch, asked: UpscaleJob):
    ray = install(monkeypatch, make_ray({"CPU": 8.0, "GPU": 3.0}))
    job = cluster.resolve_device(asked)
    assert job.device == "cuda"
    monkeypatch.setattr(cluster, "Desk", lambda *arguments: arguments)
    starters = cluster.ray_starters(job, fakes.open_bilinear)
    assert len(starters) == 3
    starters[0]()
    assert ray.options == [{"num_gpus": 1, "num_cpus": 0, "max_concurrency": 2, "max_restarts": 0}]
    assert cluster.resolve_device(replace(asked, device="cpu")).device == "cpu"


def test_paths_reach_the_machines_whole(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    install(monkeypatch, make_ray({"CPU": 1.0}))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my model").mkdir()
    (tmp_path / "my model" / "model_index.json").touch()
    relative = replace(asked, input=Path("clip.mp4"), model="my model")
    job = cluster.resolve_device(relative)
    assert (job.input, job.model) == (tmp_path / "clip.mp4", str(tmp_path / "my model"))


def test_a_folder_that_is_not_shared_is_told(asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, make_ray({"CPU": 1.0}))
    monkeypatch.setattr(cluster, "hash_piece", lambda path: "0" * 64)
    with pytest.raises(UserError, match="is not seen here"):
        run_job(asked)
    assert not asked.output.exists()


def test_what_fails_on_a_machine_ends_the_run_and_names_it(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    install(monkeypatch, make_ray({"CPU": 1.0}))
    monkeypatch.setattr(run, "open_model", fakes.open_broken)
    with pytest.raises(UserError, match=r"the disk is full, says cpu of "):
        run_job(asked)


def test_machines_that_share_no_files_get_the_input_and_give_their_pieces(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    ray = install(monkeypatch, make_ray({"CPU": 2.0}, dies_at=[3]))
    monkeypatch.setattr(parcels, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(parcels.Letter, "shows_folder", lambda _: False)
    monkeypatch.setattr(parcels.Letter, "shows_input", lambda _: False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    taken: list[Path] = []

    def take_input(references: list[object], path: Path) -> None:
        taken.append(path)
        parcels.take_input(references, path)

    monkeypatch.setattr(cluster, "take_input", take_input)
    assert run_job(asked).receipt.ok
    assert {path.parent.parent for path in taken} == {elsewhere}
    assert ray.num_put == -(-asked.input.stat().st_size // 1000), "not put once for all"
    living = [actor for actor in ray.actors if actor._orders_left != 0]
    assert all(actor._obj._own_folder is None for actor in living), "something is left there"
    assert asked.output.read_bytes() == alone(asked)


def test_machines_that_share_no_files_make_several_of_a_batch(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    ray = install(monkeypatch, make_ray({"CPU": 2.0}))
    monkeypatch.setattr(parcels.Letter, "shows_folder", lambda _: False)
    monkeypatch.setattr(parcels.Letter, "shows_input", lambda _: False)
    jobs = []
    for number, filters in enumerate(("negate", "hflip", "vflip")):
        source = make_video(
            tmp_path / f"{number}.mp4", size=(32, 24), num_frames=8, filters=filters
        )
        jobs.append(replace(asked, input=source, output=tmp_path / f"{number}.mkv"))
    results = run_batch(jobs, reporter=Notes())
    assert [result.failed for result in results] == [False] * 3
    assert ray.num_put == 3, "not put once for all"
    for job in jobs:
        single = replace(job, output=tmp_path / "alone.mkv", ray=None, device="cpu", overwrite=True)
        run_job(single, model=fakes.BilinearModel())
        assert job.output.read_bytes() == single.output.read_bytes()


@pytest.mark.parametrize("name", ["in_%02d.png", "out_%02d.png"])
def test_pictures_are_not_sent_to_machines(
    name: str, asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    install(monkeypatch, make_ray({"CPU": 1.0}))
    monkeypatch.setattr(parcels.Letter, "shows_folder", lambda _: False)
    if name.startswith("in"):
        make_png_folder(tmp_path / "pictures", num_images=3)
        asked = replace(asked, input=tmp_path / "pictures")
    else:
        asked = replace(asked, output=tmp_path / "made")
    with pytest.raises(UserError, match=r"is not seen on|share their folder"):
        run_job(asked)


def test_a_cluster_without_room_is_told(asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, make_ray({"memory": 1e9}))
    with pytest.raises(UserError, match="no free CPU"):
        run_job(asked)


def test_actors_that_never_live_again_end_the_run(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    install(monkeypatch, make_ray({"CPU": 1.0}, dies_at=[2, 0, 0, 0]))
    with pytest.raises(UserError, match="no worker is left"):
        run_job(asked)


def test_the_others_go_on_where_one_never_lives_again(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    install(monkeypatch, make_ray({"CPU": 2.0}, dies_at=[2, None, 0, 0, 0]))
    assert run_job(asked).receipt.ok
    assert asked.output.read_bytes() == alone(asked)


def test_no_ray_is_told_with_what_to_install(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    install(monkeypatch, None)
    assert main(["upscale", str(asked.input), str(asked.output), "--ray", "auto"]) == 1
    told = capsys.readouterr().err
    assert "pip install 'diffst[ray]'" in told
    assert "Traceback" not in told


def test_no_cluster_is_told(asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch):
    ray = install(monkeypatch, make_ray({}))

    def fail(**options: Any) -> None:
        assert options["address"] == "auto"
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", fail)
    for address in ("auto", "127.0.0.1:1", "nonsense", "127.0.0.1:99999", "127.0.0.1:x"):
        with pytest.raises(UserError, match=f"no Ray cluster at `{address}`"):
            run_job(replace(asked, ray=address))


@pytest.mark.parametrize(
    ("answer", "is_ray"), [(b"HTTP/1.0 400 Bad Request", False), (bytes((0, 0, 6, 4)), True)]
)
def test_who_does_not_speak_as_ray_is_not_asked_to_let_it_in(
    answer: bytes, is_ray: bool, asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    install(monkeypatch, make_ray({}))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        wanted = "has no free CPU" if is_ray else f"there is no Ray cluster at `{address}`"
        with pytest.raises(UserError, match=wanted):
            run_job(replace(asked, ray=address))
        thread.join()


@pytest.mark.parametrize(
    "options", [{"devices": ("cpu",)}, {"device": "cuda:1"}, {"device": "mps"}]
)
def test_a_cluster_and_devices_of_this_machine_exclude_each_other(options: dict[str, Any]):
    with pytest.raises(UsageError, match=r"`--ray` and `--device.*exclude each other"):
        UpscaleJob(input=Path("a"), output=Path("b"), ray="auto", **options)
