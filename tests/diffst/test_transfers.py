"""With stand-ins for CUDA's streams: no GPU was there to run this on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from diffst import transfers
from diffst.transfers import HostCopies, in_main_memory, to_device

GPU = torch.device("cuda", 1)


class StandInGpu:
    """Notes what is asked of CUDA, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.current = "working"

    def stream(self, device: torch.device) -> "StandInGpu":
        assert device == GPU
        return self

    def wait_stream(self, other: str) -> None:
        self.asked.append(f"copying waits for {other}")

    def synchronize(self) -> None:
        self.asked.append("wait")

    @contextmanager
    def inside(self, stream: "StandInGpu") -> Iterator[None]:
        assert stream is self
        self.current = "copying"
        yield
        self.current = "working"


class OnGpu(Tensor):
    """A tensor that says it is on the GPU."""

    gpu: StandInGpu

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    def record_stream(self, stream: Any) -> None:
        self.gpu.asked.append("kept until copied")


class Pinned(Tensor):
    """A tensor in pinned memory, which notes how it is copied."""

    gpu: StandInGpu

    def copy_(self, source: Tensor, non_blocking: bool = False) -> Tensor:
        self.gpu.asked.append(f"copied by {self.gpu.current}, non_blocking {non_blocking}")
        return super().copy_(source.as_subclass(Tensor))

    def to(self, *place: Any, **how: Any) -> Tensor:
        self.gpu.asked.append(f"sent to {place[0]}, {how}")
        return self.as_subclass(Tensor)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> StandInGpu:
    stand_in = StandInGpu()
    monkeypatch.setattr(OnGpu, "gpu", stand_in, raising=False)
    monkeypatch.setattr(Pinned, "gpu", stand_in, raising=False)
    monkeypatch.setattr(torch.cuda, "Stream", stand_in.stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: "working")
    monkeypatch.setattr(torch.cuda, "stream", stand_in.inside)
    monkeypatch.setattr(
        transfers,
        "pinned",
        lambda like: torch.empty(like.shape, dtype=like.dtype).as_subclass(Pinned),
    )
    return stand_in


def test_on_a_cpu_nothing_is_copied():
    pictures, copies = torch.rand(2, 3), HostCopies(torch.device("cpu"))
    assert copies.start(pictures) is pictures
    copies.wait()
    assert to_device(pictures, torch.device("cpu")) is pictures


def test_copies_from_a_gpu_are_made_beside_its_work(gpu: StandInGpu):
    pictures = torch.arange(6, dtype=torch.uint8)
    copies = HostCopies(GPU)
    copy = copies.start(pictures.as_subclass(OnGpu))
    assert gpu.asked == [
        "copying waits for working",  # the pictures are finished
        "copied by copying, non_blocking True",
        "kept until copied",
    ]
    assert copy.tolist() == pictures.tolist()
    copies.wait()
    assert gpu.asked[-1] == "wait"


def test_pictures_that_are_in_main_memory_already_stay_there(gpu: StandInGpu):
    pictures = torch.rand(2, 3)  # tiles are put together there
    assert HostCopies(GPU).start(pictures) is pictures
    assert gpu.asked == []


def test_frames_go_to_a_gpu_through_pinned_memory(gpu: StandInGpu):
    frames = torch.arange(6, dtype=torch.uint8)
    sent = to_device(frames, GPU)
    assert sent.tolist() == frames.tolist()
    assert gpu.asked == [
        "copied by working, non_blocking False",
        "sent to cuda:1, {'non_blocking': True}",
    ]


def test_a_piece_is_taken_while_the_gpu_makes_the_next(gpu: StandInGpu):
    def pieces() -> Iterator[Tensor]:
        for number in range(3):
            gpu.asked.append(f"make {number}")
            yield torch.tensor([number]).as_subclass(OnGpu)

    def taken() -> Iterator[int]:
        for piece in in_main_memory(pieces(), GPU):
            gpu.asked.append(f"take {int(piece)}")
            yield int(piece)

    assert list(taken()) == [0, 1, 2]
    order = [word for word in gpu.asked if word.startswith(("make", "take", "wait"))]
    assert order == [
        *("make 0", "wait", "make 1", "wait", "take 0"),
        *("make 2", "wait", "take 1", "wait", "take 2"),
    ]
    assert list(in_main_memory([], GPU)) == []
