"""Frame times as a file gives them, repaired so that each is later than the one before."""

from __future__ import annotations

from fractions import Fraction

MAX_GAP_SECONDS = 3600  # between frames; a longer one is a damaged timestamp, not a held picture
# In these formats, whose clocks may jump, ffmpeg closes gaps longer than this, in the sound that it copies too.
BROADCAST_FORMATS = ("mpegts", "mpeg")
MAX_BROADCAST_GAP_SECONDS = 10


def max_gap_seconds(container: str) -> int:
    """The longest gap between frames that is taken for true, by FFmpeg's demuxer name."""
    return MAX_BROADCAST_GAP_SECONDS if container in BROADCAST_FORMATS else MAX_GAP_SECONDS


FINE_TICK = Fraction(1, 500)  # seconds; a step of a coarser one, as GIF's, may be a true one
MAX_SQUEEZED = 3  # broken steps in a row taken for duplicates; more of them is a jump back


class IncreasingTimes:
    """Passes good times through untouched and repairs broken ones.

    ffmpeg turns a time that does not increase into the one before plus a tick: in what it gives here
    of NUT's clock, far less than any frame lasts, and in a file that it copied of that file's clock, where
    that is as fine. A step of such a tick counts as broken. One such frame,
    a duplicate timestamp, is squeezed in a quarter frame after the last; those after it keep their
    own times. A run of them, a clock set back where recordings were joined, goes on at the nominal
    rate instead, counted from the first of them, and what follows is shifted along; so it is after a gap too long to
    be true. A run that a gap before it has room for is a camera's stall instead, whose clock went on: all of it is
    squeezed in, and those after it that it takes to catch up.
    """

    def __init__(
        self, *, nominal_step: Fraction, tick: Fraction, max_gap: int = MAX_GAP_SECONDS
    ) -> None:
        """Start a new stream.

        Args:
            nominal_step: Usual time between frames, seconds.
            tick: Unit of the file's timestamps, seconds.
            max_gap: Seconds between frames from which on a gap is a clock that was set.
        """
        self._max_gap = max_gap
        self._last_good = Fraction(0)
        self._last_step = Fraction(0)  # between good times
        self._nominal_step = nominal_step
        is_fine = tick <= FINE_TICK and 8 * tick <= nominal_step
        self._smallest_step = tick if is_fine else Fraction(0)
        self._shift = Fraction(0)
        self._last_given: Fraction | None = None
        self._last_time = Fraction(0)
        self._num_broken = 0

    def repair(self, given: Fraction, nut_tick: Fraction) -> Fraction:
        """The time to use for the next frame, given its time in NUT and the tick that NUT counts in, all in seconds."""
        if self._last_given is None:
            self._last_given = self._last_time = given
            return given
        step = given - self._last_given
        is_broken = step <= max(nut_tick, self._smallest_step)
        if is_broken and not self._num_broken:
            self._last_good = self._last_time
        self._num_broken = self._num_broken + 1 if is_broken else 0
        if not is_broken:
            self._last_step = step if step <= self._max_gap else Fraction(0)
        # Half a step more, as a gap is rounded, and its length is no whole number of average ones.
        room = self._last_step + self._nominal_step / 2
        is_stall = 0 < self._num_broken * self._nominal_step <= room
        if step > self._max_gap:
            self._shift = self._last_time + self._nominal_step - given
        elif self._num_broken > MAX_SQUEEZED and not is_stall:
            # Those that were squeezed have left time for themselves.
            due = self._last_good + self._num_broken * self._nominal_step
            self._shift = max(due, self._last_time + self._nominal_step / 4) - given
        time = given + self._shift
        if time <= self._last_time or is_stall or 0 < self._num_broken <= MAX_SQUEEZED:
            time = max(time, self._last_time + self._nominal_step / 4)
        self._last_given, self._last_time = given, time
        return time
