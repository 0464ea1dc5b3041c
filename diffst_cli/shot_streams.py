"""Clips become pictures: each alone, or as one stream where the model goes on from clip to clip.

A stream lasts as long as its shot and its segment. So a segment's pictures follow from the input,
the settings and its place in the plan: the clip that the next segment makes once more, to fade from
it, is made alone by both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diffst_cli.clips import Clip
from diffst_cli.stages import Stages

if TYPE_CHECKING:
    from torch import Tensor

    from diffst.upscaler import StreamedShot, UpscaleModel


class ClipMaker:
    """Makes clips that come in order.

    Args:
        model: Any; one that is a `StreamingModel` makes the clips of a shot as a stream.
        out_size: Height and width of the pictures.
        stages: Count the model's time.
        stops: Numbers of the output frames at which a segment ends, and the next begins; grows while clips are made, so
            that it has a segment's before pictures of that segment are asked for.
    """

    def __init__(
        self,
        model: UpscaleModel,
        out_size: tuple[int, int],
        stages: Stages,
        stops: Set[int],
    ) -> None:
        self._model = model
        self._out_size = out_size
        self._stages = stages
        self._stops = stops
        self._shot: StreamedShot | None = None
        self._goes_on = False  # whether the shot has the clip before
        # That the shot was given, and whose pictures are not all there.
        self._waiting: list[Clip] = []
        self._pictures: list[Tensor] = []  # from the first waiting clip's on

    def make(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, Tensor]]:
        """Each clip with its moments' pictures, (N, 3, height, width); a stream's clips agree on what they share.

        No clip after a segment's last one is asked for before that is made.
        """
        for clip in clips:
            ends_segment = clip.first_instant + clip.num_owned in self._stops
            if clip.starts_shot or (ends_segment and clip.shared_after):
                yield from self._end_shot()
            if self._shot is None:
                self._shot = self._begin_shot()
            if self._shot is None:
                yield clip, self._alone(clip)
            else:
                yield from self._feed(self._shot, clip)
            if ends_segment:
                yield from self._end_shot()
        yield from self._end_shot()

    def _begin_shot(self) -> StreamedShot | None:
        from diffst.upscaler import StreamingModel

        if not isinstance(self._model, StreamingModel):
            return None
        return self._model.begin_shot(self._out_size, self._stages.add)

    @contextmanager
    def _working(self) -> Iterator[None]:
        import torch

        with self._stages.timed("model"), torch.inference_mode():
            yield

    def _alone(self, clip: Clip) -> Tensor:
        first = clip.frames[0].index
        with self._working():
            return self._model(
                keyframes(clip), clip.positions, self._out_size, self._stages.add, first
            )

    def _feed(self, shot: StreamedShot, clip: Clip) -> Iterator[tuple[Clip, Tensor]]:
        known = clip.shared_before if self._goes_on else 0
        self._goes_on = True
        self._waiting.append(clip)
        with self._working():
            made = shot.feed(keyframes(clip), clip.positions[known:])
        yield from self._whole(made)

    def _end_shot(self) -> Iterator[tuple[Clip, Tensor]]:
        if self._shot is None:
            return
        with self._working():
            made = self._shot.finish()
        yield from self._whole(made)
        if self._waiting:
            missing = len(self._waiting[0].moments) - len(self._pictures)
            raise RuntimeError(f"the model made too few pictures: {missing} are missing")
        self._shot, self._goes_on = None, False
        self._pictures = []

    def _whole(self, made: list[Tensor]) -> Iterator[tuple[Clip, Tensor]]:
        """The clips that are complete with these pieces."""
        import torch

        self._pictures.extend(picture for piece in made for picture in piece.unbind())
        while self._waiting and len(self._pictures) >= len(self._waiting[0].moments):
            clip = self._waiting.pop(0)
            pictures = torch.stack(self._pictures[: len(clip.moments)])
            del self._pictures[: len(clip.moments) - clip.shared_after]
            yield clip, pictures


def keyframes(clip: Clip) -> Tensor:
    """A clip's keyframes, (T, 3, H, W) uint8 or uint16."""
    import numpy as np
    import torch

    frames = torch.from_numpy(np.stack([frame.image for frame in clip.frames]))
    return frames.permute(0, 3, 1, 2)
