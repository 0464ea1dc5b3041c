"""The errors a user sees: one sentence, a hint where there is a remedy, and an exit code."""

from __future__ import annotations

import errno

# In what Python, the loader of libraries and the C library say where no more is to be had.
AT_A_LIMIT = ("can't start new thread", "failed to map segment", "cannot allocate memory")

LARGER_FILES = "allow larger ones, as with `ulimit -f unlimited`"  # a hint


class UserError(Exception):
    """Something the user can put right; `diffst` prints it and exits with `exit_code`."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        """One sentence, no final period, values in backticks."""
        self.hint = hint
        """What to try, in the same form."""


class UsageError(UserError):
    """A command line that makes no sense; found before any work."""

    exit_code = 2


def explain(error: Exception) -> UserError:
    """Gives the sentence and hint for any failure; what we did not foresee is called a bug.

    A `UserError` is returned as it is, so callers may pass whatever they caught.
    """
    if isinstance(error, UserError):
        return error
    if is_out_of_memory(error):
        return UserError(
            "the device ran out of memory",
            hint="try a smaller `--scale`, on a GPU `--device cpu`, or close what else uses the memory",
        )
    if _is_at_a_limit(error):
        return UserError(
            "the memory, or the number of processes and threads, that the system allows is used up",
            hint="close other programs, or raise the limit, as with `ulimit -u` or `ulimit -v`",
        )
    if is_disk_full(error):
        return UserError("the disk is full", hint="free some space, or write to another disk")
    if isinstance(error, OSError) and error.errno is not None:
        return _explain_refusal(error)
    kind = type(error).__name__
    first_line = (str(error).splitlines() or [""])[0]
    detail = f"{kind}: {first_line}" if first_line else kind
    return UserError(
        f"this is a bug in diffst ({detail})",
        hint="run it again with `--debug`, and report what it prints with the output of `diffst doctor`",
    )


def _explain_refusal(error: OSError) -> UserError:
    """The sentence for what the operating system would not do."""
    if error.errno in (errno.EMFILE, errno.ENFILE):  # whichever file was one too many
        return UserError(
            "as many files are open as the system allows",
            hint="close other programs, or raise the limit, as with `ulimit -n 4096`",
        )
    if error.errno == errno.EFBIG:
        return UserError("a file reached the size that is allowed here", hint=LARGER_FILES)
    reason = (error.strerror or str(error)).lower()
    if error.filename:
        return UserError(f"cannot use `{error.filename}`: {reason}")
    return UserError(
        f"the operating system reports: {reason}", hint="run it again with `--debug` to see where"
    )


def is_disk_full(error: Exception) -> bool:
    """Whether a disk is full, as Python says it or as safetensors does, whose error has no number."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return type(error).__name__ == "SafetensorError" and f"os error {errno.ENOSPC})" in str(error)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on the host or on the device, as torch and Python say it."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    if "insufficient memory" in text and type(error).__module__.startswith("cv2"):
        return True
    return isinstance(error, RuntimeError) and (
        type(error).__name__
        == "OutOfMemoryError"  # torch.OutOfMemoryError, without importing torch
        or "out of memory" in text
        or "can't allocate memory" in text  # torch's CPU allocator
        or "could not create a primitive" in text  # oneDNN, which has no words for it
    )


def _is_at_a_limit(error: Exception) -> bool:
    """Whether the system refused a process, a thread, or the memory to load a library into."""
    if not isinstance(error, RuntimeError | ImportError | OSError):
        return False
    if isinstance(error, OSError) and error.filename is None and error.errno == errno.EAGAIN:
        return True  # of `fork`
    text = str(error).lower()
    return any(words in text for words in AT_A_LIMIT) and "static tls" not in text
