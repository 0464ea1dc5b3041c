"""Whether an input is still what it was when it was opened."""

from __future__ import annotations

from diffst_cli.errors import UserError
from diffst_cli.probe import VideoInfo
from diffst_cli.recipe import files_of, fingerprint


class InputSeal:
    """What an input was; `touch` is no change."""

    def __init__(self, info: VideoInfo) -> None:
        """Take a sample of its files."""
        self._info = info
        self._content = fingerprint(files_of(info), times=False)

    @property
    def is_broken(self) -> bool:
        """Whether what was read may not be what is there."""
        try:
            return fingerprint(files_of(self._info), times=False) != self._content
        except OSError:
            return True

    def error(self) -> UserError:
        """What its user is told then."""
        return UserError(
            f"`{self._info.path}` was changed or removed while it was read",
            hint="run the command again once nothing writes to it; it begins anew",
        )
