import errno

import cv2
import pytest
from safetensors import SafetensorError

from diffst_cli.errors import UsageError, UserError, explain


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def test_a_users_error_is_kept_as_it_is():
    error = UsageError("`--scale` is `0`", hint="try 4")
    assert explain(error) is error
    assert (error.exit_code, error.message, error.hint) == (2, "`--scale` is `0`", "try 4")
    assert UserError("no video").exit_code == 1


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA: tried to allocate 2 GiB"),
        RuntimeError("could not create a primitive"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: 9 bytes"
        ),
        cv2.error("alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_is_one_sentence_with_a_remedy(error: Exception):
    explained = explain(error)
    assert explained.message == "the device ran out of memory"
    assert explained.hint is not None
    assert "--scale" in explained.hint
    assert "on a GPU `--device cpu`" in explained.hint


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError("libgomp.so.1: cannot allocate memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    ],
)
def test_a_limit_of_the_system_is_no_bug(error: Exception):
    explained = explain(error)
    assert explained.message.startswith("the memory, or the number of processes and threads, that")
    assert explained.hint is not None
    assert "`ulimit -u`" in explained.hint


def test_a_library_that_is_loaded_too_late_is_at_no_limit():
    error = ImportError("libgomp.so.1: cannot allocate memory in static TLS block")
    assert "bug" in explain(error).message


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_called_that(error: Exception):
    assert explain(error).message == "the disk is full"
    assert "bug" in explain(SafetensorError("header too large")).message


def test_a_refused_file_is_named():
    error = PermissionError(errno.EACCES, "Permission denied", "out.mp4")
    assert explain(error).message == "cannot use `out.mp4`: permission denied"


@pytest.mark.parametrize(
    ("error", "message", "remedy"),
    [
        (
            OSError(errno.EMFILE, "Too many open files", "out.mp4"),
            "as many files are open as the system allows",
            "`ulimit -n 4096`",
        ),
        (
            OSError(errno.ENFILE, "Too many open files in system"),
            "as many files are open as the system allows",
            "`ulimit -n 4096`",
        ),
        (
            OSError(errno.EFBIG, "File too large"),
            "a file reached the size that is allowed here",
            "`ulimit -f unlimited`",
        ),
        (
            OSError(errno.EIO, "Input/output error"),
            "the operating system reports: input/output error",
            "`--debug`",
        ),
    ],
)
def test_what_the_system_refuses_has_a_remedy(error: OSError, message: str, remedy: str):
    explained = explain(error)
    assert explained.message == message
    assert explained.hint is not None
    assert remedy in explained.hint


def test_anything_else_is_a_bug_to_report():
    explained = explain(ValueError("expected 3 frames\nand more"))
    assert explained.message == "this is a bug in diffst (ValueError: expected 3 frames)"
    assert explained.exit_code == 1
    assert explained.hint is not None
    assert "--debug" in explained.hint
    assert explain(KeyError()).message == "this is a bug in diffst (KeyError)"
