"""The single checks of a finished file: each compares one promise with what was read back."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst_cli.boxes import track_end
from diffst_cli.encoding import Encoding
from diffst_cli.presented import first_sounds, is_shown
from diffst_cli.probe import StreamInfo, VideoInfo
from diffst_cli.probe_file import holds_packets, open_container
from diffst_cli.streams import COVER, ENCODER_CODECS, StreamPlan, codec_name, language_in

AUDIO_DELAY_SECONDS = (
    0.03  # an encoder's padding, cut off or not: 1024 samples at 44.1 kHz are 0.023 s
)
# After a cut, copied audio starts with the next whole packet, 4096 samples of FLAC are 0.093 s; and some
# decoders, as WMA's, give nothing of their first one.
AUDIO_PACKET_SECONDS = 0.2
# Seconds between the moments that a container can store.
CONTAINER_TICKS = {"matroska": 0.001, "webm": 0.001, "gif": 0.01}
GIF_ASPECT_STEP = Fraction(1, 64)  # in which it stores the shape of a pixel
ROUNDINGS = 1.5  # ticks lost at most: one by rounding down, half by rounding
FINEST_TICK = 0.0001  # of the others; the smallest error worth telling


@dataclass(frozen=True, kw_only=True)
class Check:
    """One promise and whether the file keeps it."""

    name: str
    ok: bool
    expected: str
    actual: str
    note: str | None = None
    """What the user should know besides, one sentence."""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What the finished video must be."""

    info: VideoInfo
    encoding: Encoding
    plan: StreamPlan
    times: array[float]
    """Of each frame in the output, seconds, ascending."""
    last_seconds: float
    """How long the last of them is shown."""
    frame_rate: Fraction
    constant_rate: bool
    first_time: Fraction
    """Source time of the first frame, seconds."""
    trimmed: bool
    """Whether the source was cut before the first frame."""
    shortened: bool
    """Whether the source was cut before its end."""
    is_held: bool = False
    """Whether the first frame is shown from the beginning, before its time, as in AVI."""


@dataclass(frozen=True, kw_only=True)
class Packets:
    """What reading all packets of a file told."""

    video_times: Sequence[float]
    """Presentation times of the video frames, seconds, ascending."""
    video_end: float
    """Time at which the last frame ends, seconds."""
    first_times: Mapping[int, float]
    """Of each stream, by index, seconds; none where nothing in it is to be played."""


def read_packets(path: Path, video_index: int) -> Packets:
    """Times of the packets of a file, read once without decoding."""
    times = array("d")
    first_times: dict[int, float] = {}
    last, end = -math.inf, 0.0
    with open_container(path) as container:
        # AVI stores no presentation times; libav's guess of them is late by the decoder's delay.
        by_dts = container.format.name == "avi"
        for packet in container.demux():
            stamp = packet.dts if by_dts else packet.pts
            if packet.size == 0 or stamp is None:
                continue
            time = float(stamp * packet.time_base)
            index = packet.stream.index
            if not packet.is_discard:
                first_times[index] = min(first_times.get(index, time), time)
            if index == video_index:
                times.append(time)
                # Only the last frame's counts: others may be those of the packet decoded next.
                if time > last:
                    last, end = time, time + float((packet.duration or 0) * packet.time_base)
        stream = container.streams[video_index]
        # MP4 gives each packet the time until the next is decoded, and the last frame's length to the track.
        stated = track_end(path, stream.id) if container.format.name.startswith("mov") else None
        end = end if stated is None else float(stated)
    return Packets(video_times=array("d", sorted(times)), video_end=end, first_times=first_times)


def same(name: str, expected: object, actual: object, note: str | None = None) -> Check:
    """The check that two values are equal."""
    return Check(
        name=name, ok=expected == actual, expected=str(expected), actual=str(actual), note=note
    )


def check_size(promise: Promise, actual: VideoInfo) -> Check:
    """Whether the frames have the size promised."""
    width, height = promise.encoding.size
    note = next((note for note in promise.encoding.notes if "padded" in note), None)
    return same("size", f"{width}x{height}", f"{actual.width}x{actual.height}", note)


def check_times(promise: Promise, packets: Packets) -> list[Check]:
    """Whether all frames are there, each when it should be shown."""
    frame = 1 / float(promise.frame_rate)
    expected, actual = promise.times, packets.video_times
    checks = [same("frames", len(expected), len(actual))]
    promised = expected[-1] - expected[0] + promise.last_seconds
    lasts = packets.video_end - actual[0] if actual else 0.0
    # At a variable rate nothing says how long the last frame lasts, and muxers give it their guess.
    tolerance = (frame if promise.constant_rate else 2 * frame) + FINEST_TICK + _padding(promise)
    checks.append(
        Check(
            name="duration",
            ok=abs(lasts - promised) <= tolerance,
            expected=f"{promised:.3f} s",
            actual=f"{lasts:.3f} s",
        )
    )
    if len(expected) == len(actual):
        checks.append(_check_rate(promise, packets))
    return checks


def _check_rate(promise: Promise, packets: Packets) -> Check:
    """Whether each frame is shown when it should be, which is what a frame rate means."""
    tick = CONTAINER_TICKS.get(promise.plan.container.name, FINEST_TICK)
    if promise.plan.container.name == "avi":
        tick = 1 / float(promise.frame_rate)  # AVI counts frames; it has no other clock
    # A shift of all alike is the offset check's business.
    shift = packets.video_times[0] - promise.times[0]
    pairs = zip(packets.video_times, promise.times, strict=True)
    error = max(abs(actual - expected - shift) for actual, expected in pairs)
    kind = "" if promise.constant_rate else "variable, about "
    return Check(
        name="frame rate",
        ok=error <= ROUNDINGS * tick + _padding(promise),
        expected=f"{kind}{float(promise.frame_rate):.5g} fps, each frame at its time",
        actual=f"largest error {error * 1000:.1f} ms",
    )


def _padding(promise: Promise) -> float:
    """Seconds by which all frames after a held first one may come later."""
    return AUDIO_DELAY_SECONDS if promise.is_held else 0.0


def check_picture(promise: Promise, actual: VideoInfo) -> list[Check]:
    """How the frames are to be shown: colour, pixel shape, upright, depth."""
    encoding = promise.encoding
    # Matroska stores the size to show, in whole pixels, not the shape of a pixel.
    error = abs(encoding.sample_aspect - actual.sample_aspect)
    step = GIF_ASPECT_STEP if promise.plan.container.name == "gif" else Fraction(0)
    aspect = Check(
        name="pixel shape",
        ok=error <= max(step, Fraction(1, actual.width)),
        expected=_ratio(encoding.sample_aspect),
        actual=_ratio(actual.sample_aspect),
    )
    rotation = same("rotation", "upright", "upright" if not actual.rotation else "turned")
    depth = Check(
        name="bit depth",
        ok=actual.bit_depth >= encoding.bit_depth,
        expected=str(encoding.bit_depth),
        actual=str(actual.bit_depth),
    )
    checks = [aspect, rotation, depth]
    if promise.plan.container.name != "gif":  # always sRGB
        checks.insert(0, _check_colour(promise, actual))
    return checks


def _check_colour(promise: Promise, actual: VideoInfo) -> Check:
    wanted, found = promise.encoding.colour, actual.colour
    names = ("matrix", "range", "primaries", "transfer")
    expected = {name: getattr(wanted, name) for name in names if getattr(wanted, name)}
    if actual.is_rgb:  # whose range and matrix the pixel format itself says
        expected = {name: tag for name, tag in expected.items() if name not in ("matrix", "range")}
    stated = {name: getattr(found, name) or "unknown" for name in expected}
    return Check(
        name="colour",
        ok=expected == stated,
        expected=_words(expected.values()),
        actual=_words(stated.values()),
    )


def check_streams(promise: Promise, actual: VideoInfo) -> list[Check]:
    """One check for each kind of stream that the source has, and for chapters and the title."""
    checks = []
    container = promise.plan.container
    for kind in ("audio", "subtitle", "attachment", "cover"):
        kept = [stream for stream in promise.plan.kept if _kind(stream.source) == kind]
        found = [
            _stream_words(stream, "copy", language_in(stream, container))
            for stream in actual.streams
            if _kind(stream) == kind
        ]
        if kind == "subtitle" and len(found) < len(kept):  # MP4 drops one of pictures without any
            kept = [stream for stream in kept if _is_shown(stream.source, promise)]
        expected = [
            _stream_words(stream.source, stream.encoder, language_in(stream.source, container))
            for stream in kept
        ]
        if expected or found:
            checks.append(same(kind, ", ".join(expected) or "none", ", ".join(found) or "none"))
    if promise.plan.keeps_chapters and not promise.trimmed and not promise.shortened:
        checks.append(same("chapters", promise.info.num_chapters, actual.num_chapters))
    title = promise.info.tags.get("title")
    if title and promise.plan.container.name != "gif":
        found_title = {name.lower(): value for name, value in actual.tags.items()}.get("title")
        checks.append(same("title", title, found_title))
    return checks


def _is_shown(stream: StreamInfo, promise: Promise) -> bool:
    """Whether there is anything in a stream of the source for the part of it that is written."""
    begin = float(promise.first_time) if promise.trimmed else -math.inf
    length = promise.times[-1] - promise.times[0] + promise.last_seconds
    end = float(promise.first_time) + length if promise.shortened else math.inf
    return is_shown(promise.info.path, stream.index, begin, end)


def _kind(stream: StreamInfo) -> str:
    return "cover" if stream.kind == "video" and COVER in stream.disposition else stream.kind


def _stream_words(stream: StreamInfo, encoder: str, language: str) -> str:
    """Codec and language; attachments have neither that survives a change of container."""
    if stream.kind == "attachment":
        return "file"
    codec = codec_name(stream) if encoder == "copy" else ENCODER_CODECS.get(encoder, encoder)
    return f"{codec} {language}".strip()


def check_offsets(promise: Promise, actual: VideoInfo, packets: Packets) -> list[Check]:
    """How far the first sound of each audio stream is from the video, against the source."""
    kept = [stream for stream in promise.plan.kept if stream.source.kind == "audio"]
    found = [stream for stream in actual.streams if stream.kind == "audio"]
    early = max(1 / float(promise.frame_rate), AUDIO_DELAY_SECONDS)
    late = max(early, AUDIO_PACKET_SECONDS) if promise.trimmed else early
    checks: list[Check] = []
    if not kept or not found:
        return checks
    sounds_before = first_sounds(promise.info.path, [stream.source.index for stream in kept])
    sounds_after = first_sounds(actual.path, [stream.index for stream in found])
    for stream, after in zip(kept, found, strict=False):  # a missing one already failed
        before = stream.source
        # What a file states of a damaged stream may be wrong, its packets are not.
        first = sounds_after.get(after.index, packets.first_times.get(after.index))
        if before.start_seconds is None or (first is None and promise.trimmed):
            continue
        if first is None:
            if holds_packets(promise.info.path, before.index):
                checks.append(Check(name="audio", ok=False, expected="sound", actual="none"))
            continue
        begin = sounds_before.get(before.index, float(before.start_seconds))
        wanted = begin - float(promise.first_time)
        wanted = max(wanted, 0.0) if promise.trimmed else wanted
        if stream.encoder != "copy" and not promise.plan.container.stores_times:
            wanted = min(wanted, 0.0)  # silence comes before it
        offset = first - packets.video_times[0]
        checks.append(
            Check(
                name="audio offset",
                ok=-early <= offset - wanted <= late,
                expected=f"{wanted * 1000:+.0f} ms",
                actual=f"{offset * 1000:+.0f} ms",
            )
        )
    return checks


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}:{value.denominator}"


def _words(values: object) -> str:
    assert hasattr(values, "__iter__")
    return " ".join(str(value) for value in values) or "not stated"
