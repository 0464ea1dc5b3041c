"""A real Ray cluster of several nodes on this machine, one of which is killed in the middle."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from diffst_cli import cluster, run, segments
from diffst_cli.batch import find_jobs, run_batch
from diffst_cli.job import UpscaleJob
from diffst_cli.run import run_job
from tests import fakes
from tests.cli.test_run import Notes
from tests.media import make_video

ray = pytest.importorskip("ray", reason="needs diffst[ray]")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that makes nothing, and two nodes that make a segment each at a time."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # else a busy machine starves the workers
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, **SMALL)
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def apart_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a head that makes nothing, and two nodes that see nothing in `tmp_path`."""
    from ray.cluster_utils import Cluster

    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    hide = 'mount -t tmpfs none "$1" && shift && exec "$@"'
    start = (Path(sys.executable).with_name("ray"), "start", "--address", made.address)
    limits = ("--num-cpus", "1", "--object-store-memory", str(SMALL["object_store_memory"]))
    line = ("unshare", "-m", "sh", "-c", hide, "sh", tmp_path, *start, *limits, "--block")
    nodes = []
    try:
        for number in range(2):
            nodes.append(subprocess.Popen(line, stdout=subprocess.DEVNULL, cwd="/"))
            wait_until(partial(has_nodes, made.address, number + 2))
        yield made.address, nodes
    finally:
        ray.shutdown()
        for node in nodes:
            end_tree(node)
        made.shutdown()


def has_nodes(address: str, count: int) -> bool:
    """Whether so many nodes are alive."""
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    return sum(node["Alive"] for node in ray.nodes()) == count


def wait_until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def end_tree(node: subprocess.Popen[bytes]) -> None:
    """Kills a node's processes at once, as if its plug were pulled."""
    if node.poll() is not None:
        return
    root = psutil.Process(node.pid)
    for process in [*root.children(recursive=True), root]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    node.wait()


def test_nodes_that_share_no_files_make_it_too_though_one_is_killed(
    apart_nodes: tuple[str, list[subprocess.Popen[bytes]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    address, nodes = apart_nodes
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    monkeypatch.setattr(run, "open_model", fakes.open_slow)
    cluster._num_free.cache_clear()
    job = UpscaleJob(
        input=make_video(tmp_path / "clip.mp4", size=(32, 24), num_frames=48),
        output=tmp_path / "out.mp4",
        scale=Fraction(2),
        fps_x=Fraction(2),
    )

    def kill_a_node() -> None:
        wait_until(lambda: len(list(tmp_path.glob(".out.diffst-*/0*.mp4"))) >= 2, seconds=300)
        end_tree(nodes[1])

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    notes = Notes()
    assert run_job(replace(job, ray=address), reporter=notes).receipt.ok
    killer.join()
    (warning,) = notes.warnings
    assert warning.endswith("its segment is dealt again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]
    alone = replace(job, output=tmp_path / "alone.mp4", device="cpu")
    run_job(alone, model=fakes.BilinearModel())
    assert job.output.read_bytes() == alone.output.read_bytes()


def test_a_node_that_is_killed_costs_only_its_segment(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    monkeypatch.setattr(run, "open_model", fakes.open_slow)
    cluster._num_free.cache_clear()
    source = make_video(tmp_path / "clip.mp4", size=(32, 24), num_frames=48)
    job = UpscaleJob(
        input=source, output=tmp_path / "out.mp4", scale=Fraction(2), fps_x=Fraction(2)
    )
    killed: list[int] = []

    def kill_a_node() -> None:
        deadline = time.monotonic() + 300
        while len(list(tmp_path.glob(".out.diffst-*/0*.mp4"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
        killed.append(len(list(tmp_path.glob(".out.diffst-*/0*.mp4"))))

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    notes = Notes()
    summary = run_job(replace(job, ray=nodes.address), reporter=notes)
    killer.join()
    assert summary.receipt.ok
    assert 2 <= killed[0] < 8, "it was not killed in the middle"
    (warning,) = notes.warnings
    assert warning.endswith("its segment is dealt again")
    assert notes.counts[-1][0] == summary.frames_out == 96
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]

    alone = replace(job, output=tmp_path / "alone.mp4", device="cpu")
    run_job(alone, model=fakes.BilinearModel())
    assert job.output.read_bytes() == alone.output.read_bytes()


def test_a_batch_loses_only_a_segment_to_a_node_that_is_killed(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    monkeypatch.setattr(run, "open_model", fakes.open_slow)
    cluster._num_free.cache_clear()
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "day 1").mkdir(parents=True)
    for name, filters in (("a.mp4", "null"), ("day 1/b.mp4", "negate"), ("day 1/c.mp4", "hflip")):
        make_video(folder / name, size=(32, 24), num_frames=24, filters=filters)
    template = UpscaleJob(input=folder, output=out, scale=Fraction(2), ray=nodes.address)

    def kill_a_node() -> None:
        wait_until(lambda: any(out.glob("day 1/.b.diffst-*/0*.mp4")), seconds=300)
        nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    notes, log = Notes(), tmp_path / "log.jsonl"
    results = run_batch(find_jobs(template, None), reporter=notes, log_file=log)
    killer.join()
    assert [result.failed for result in results] == [False] * 3
    assert [json.loads(line)["ok"] for line in log.read_text("utf-8").splitlines()] == [True] * 3
    lost = [warning for warning in notes.warnings if warning.endswith("its segment is dealt again")]
    assert len(lost) == 1
    assert "upscaling, 2 workers" in notes.stages
    for result in results:
        alone = replace(result.job, output=tmp_path / "alone.mp4", ray=None, device="cpu")
        run_job(replace(alone, overwrite=True), model=fakes.BilinearModel())
        assert result.job.output.read_bytes() == alone.output.read_bytes()


def test_files_of_one_segment_are_made_on_several_machines(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", fakes.open_meeting)
    cluster._num_free.cache_clear()
    (tmp_path / "in").mkdir()
    for name in "ab":
        make_video(tmp_path / "in" / f"{name}.mp4", size=(32, 24), num_frames=4)
    template = UpscaleJob(input=tmp_path / "in", output=tmp_path / "out", ray=nodes.address)
    results = run_batch(find_jobs(template, None), reporter=Notes())
    assert [result.failed for result in results] == [False, False]
