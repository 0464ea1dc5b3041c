"""The encoded video joined with everything else of the source into the finished file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from diffst_cli.decode import can_enter
from diffst_cli.ffmpeg import PROTOCOLS, FfmpegProcess, file_argument, opening_options
from diffst_cli.frame_pipe import failure
from diffst_cli.presented import hidden_seconds
from diffst_cli.probe import StreamInfo, VideoInfo
from diffst_cli.source_times import BROADCAST_FORMATS
from diffst_cli.streams import (
    BITRATES,
    COVER,
    MAX_CHANNELS,
    USUAL_PADDING,
    KeptStream,
    StreamPlan,
    language_in,
    language_of,
)
from diffst_cli.tags import FILE_TAGS, written_anew
from diffst_cli.timecode import TIMECODE

MICROSECONDS = 1_000_000  # in a second; FFmpeg's unit for offsets
LONGEST_SUBTITLE = Fraction(300)  # seconds; one that began still earlier is not looked for
LONGEST_TAG = 2**16  # bytes; an argument of 128 KiB would be refused by Linux
LONGEST_DELAY = 8  # frames by which an encoder's order may be behind
COVER_SUFFIXES = {"mjpeg": ".jpg", "png": ".png"}
# Opus refuses 5.1 with side speakers, as AC3 has it, and all that is not of these.
MOST_LAYOUT = "7.1"  # what AAC and FLAC make of still more channels, which they refuse
OPUS_LAYOUTS = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"
# AVI has no times of its sound: silence where there is none. Padding at lower rates would last longer.
AVI_SOUND = "aresample=async=1:first_pts=0"
# It refuses a first block of less than 16 samples, as a cut may leave.
FLAC_BLOCKS = "asetnsamples=n=4096:p=0"
MP3_RATES = "aformat=sample_rates=32000|44100|48000"
# Drops what was copied from before the cut: a copied stream starts at the packet after it.
DROP_BEFORE_ZERO = "noise=drop=lt(pts\\,0)"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the video goes on the output's time line, and how much of the source is kept."""

    video_offset: Fraction
    """Time of the first video frame in the output, seconds."""
    skipped: Fraction | None
    """Source time, counted from its beginning, that is time 0 of the output; None for the beginning."""
    length: Fraction | None
    """Seconds kept of the other streams; None for all."""
    frame_seconds: Fraction | None = None
    """How long the last video frame is shown; None at a constant rate, where frames say it themselves."""
    frame_rate: Fraction | None = None
    """Of the video, where it is constant, for containers that count frames."""
    timecode: str | None = None
    """Label of the first frame; None for none."""


def place(
    info: VideoInfo,
    first_time: Fraction,
    end_time: Fraction,
    *,
    start: Fraction | None,
    duration: Fraction | None,
    frame_seconds: Fraction | None = None,
    frame_rate: Fraction | None = None,
    timecode: str | None = None,
) -> Placement:
    """Placement that keeps the source's offsets between video and the other streams.

    Args:
        info: The source.
        first_time: Source time of the first frame written, seconds.
        end_time: Source time at which the last frame written ends, which is never cut, seconds.
        start: Where the frames were to begin, seconds from the source's beginning; None for there.
        duration: How much of the source was to be kept, seconds; None for all the rest.
        frame_seconds: How long the last frame is shown, where the rate varies; else None.
        frame_rate: Of the video, where it is constant; else None.
        timecode: Label of the first frame; None for none.
    """
    lead = max(first_time - info.origin_seconds, Fraction(0))
    zero = Fraction(0) if start is None else lead
    length = None
    if duration is not None:
        end = max((start or 0) + duration, end_time - info.origin_seconds)
        length = end - zero
    return Placement(
        video_offset=lead if start is None else Fraction(0),
        skipped=None if start is None else lead,
        length=length,
        frame_seconds=frame_seconds,
        frame_rate=frame_rate,
        timecode=timecode,
    )


def mux(video: Path, info: VideoInfo, plan: StreamPlan, placement: Placement, output: Path) -> None:
    """Write `output`: `video`, all that `plan` keeps of the source, and its tags.

    `video` is a file, or a list of the pieces of one, which ffmpeg reads as if it were one.

    Raises:
        UserError: ffmpeg failed.
    """
    covers = _extract_covers(video, info, plan)
    try:
        run_ffmpeg(
            mux_arguments(video, info, plan, placement, output, covers),
            "joining the streams",
            folder=video.parent,
        )
    finally:
        for cover in covers:
            cover.unlink(missing_ok=True)


def mux_arguments(
    video: Path,
    info: VideoInfo,
    plan: StreamPlan,
    placement: Placement,
    output: Path,
    covers: list[Path],
) -> list[str]:
    """Arguments of ffmpeg, run in the video's folder, for `mux`; `covers` are pictures to attach to Matroska."""
    offset = {"itsoffset": _seconds(placement.video_offset)} if placement.video_offset else {}
    inputs = [read_here(video, **offset)["v:0"]]
    kept = [stream for stream in plan.kept if not (covers and COVER in stream.source.disposition)]
    options: dict[str, Any] = {"c": "copy", "f": plan.container.name, "disposition:0": "default"}
    options["fflags"] = "+bitexact"  # no random numbers, so that the same work makes the same file
    if not info.images:
        source, subtitles = _sources(info, plan, placement.skipped)
        # Past the last stream, and optional: names the input, for its tags, if nothing else does.
        inputs.append(source[f"{len(info.streams)}?"])
        inputs += [
            (subtitles if stream.source.kind == "subtitle" else source)[str(stream.source.index)]
            for stream in kept
        ]
        options |= _source_options(info, plan)
    counts_frames = plan.container.name == "avi"
    if placement.frame_rate is not None and not counts_frames:
        # A piece of a frame or two is decoded without the others' delay, and players judge by that
        # distance whether a rate is constant.
        # Where frames are left out, their count falls behind; muxers sort by that.
        step = f"1/({placement.frame_rate}*TB)"
        even = f"min(DTS\\,STARTDTS+N*{step})"
        options["bsf:0"] = f"setts=pts=PTS:dts=max({even}\\,DTS-{LONGEST_DELAY}*{step})"
    elif placement.frame_seconds is not None:
        # Else each packet has its distance to the one decoded next, which may be a long gap away, and
        # the file would end so long after its last frame. Muxers use it for nothing else.
        options["bsf:0"] = f"setts=pts=PTS:dts=DTS:duration={_seconds(placement.frame_seconds)}/TB"
    if placement.length is not None:
        options["t"] = _seconds(placement.length)
    if placement.frame_rate is not None and counts_frames:
        # It counts frames; else it would count the ticks of the pieces, most of them without a frame.
        options["r"] = str(placement.frame_rate)
        # A sound's padding is before zero; else the pictures would wait for it, by whole frames.
        options["avoid_negative_ts"] = "disabled"
    if plan.container.name in ("mp4", "mov"):
        options["movflags"] = "+faststart"
    for number, stream in enumerate(kept, start=1):
        options |= _stream_options(number, stream, plan, placement)
        language = language_in(stream.source, plan.container)
        if language != language_of(stream.source):
            options[f"metadata:s:{number}"] = f"language={language}"
    arguments: list[str] = ffmpeg.output(*inputs, file_argument(output), **options).get_args()
    num_attached = sum(stream.source.kind == "attachment" for stream in kept)
    repeated = [*_tag_arguments(info, plan, placement), *_attach_arguments(covers, num_attached)]
    return ["-y", *arguments[:-1], *repeated, arguments[-1], *_clock_arguments(info, placement)]


def _clock_arguments(info: VideoInfo, placement: Placement) -> list[str]:
    """Has ffmpeg look at the source's pictures too, to no other end, where a clock may be set on the way.

    Where recordings were joined it closes the gap between what it reads: of the sound alone, that of the sound,
    which ends some hundredths of a second before or after its pictures, so that it would drift from join to join.
    """
    if info.container not in BROADCAST_FORMATS:
        return []
    limit = ["-t", _seconds(placement.length)] if placement.length is not None else []
    return ["-map", f"1:{info.stream_index}", "-c", "copy", *limit, "-f", "null", "-"]


def run_ffmpeg(arguments: list[str], action: str, folder: Path | None = None) -> None:
    """Run ffmpeg to its end, in a folder if one is given.

    Raises:
        UserError: It failed while `action`.
    """
    with FfmpegProcess(arguments, folder=folder) as process:
        status = process.wait()
        if status != 0:
            raise failure(action, process.lines, status)


def _sources(
    info: VideoInfo, plan: StreamPlan, skipped: Fraction | None
) -> tuple[ffmpeg.nodes.FilterableStream, ffmpeg.nodes.FilterableStream]:
    """The source from where it is cut on; the same for its subtitles, entered early, at the same times.

    Else those would be lost that are still shown there, but came before the keyframe at which it is entered.
    """
    if skipped is None:
        whole = _source(info)
        return whole, whole
    is_found = can_enter(info, skipped) and not _is_put_together(info, plan)
    sound = _entered(info, skipped, Fraction(0) if is_found else skipped)
    subtitles = _entered(info, skipped, min(skipped, LONGEST_SUBTITLE))
    return sound, subtitles


def _is_put_together(info: VideoInfo, plan: StreamPlan) -> bool:
    """Whether an edit list makes sound that is encoded again of several parts, in which ffmpeg finds no time."""
    again = [each for each in plan.kept if each.source.kind == "audio" and each.encoder != "copy"]
    return "mov" in info.container and any(
        hidden_seconds(info.path, each.source.index) > USUAL_PADDING for each in again
    )


def _entered(info: VideoInfo, skipped: Fraction, early: Fraction) -> ffmpeg.nodes.FilterableStream:
    """The source, read from so much before the cut; what is before it has times below zero."""
    offset = {"itsoffset": _seconds(-early)} if early else {}
    entry = {"ss": _seconds(skipped - early)} if skipped > early else {}
    return _source(info, **entry, **offset)


def _source(info: VideoInfo, **options: str) -> ffmpeg.nodes.FilterableStream:
    """The source, its demuxer forced as where it is decoded, so that no content can choose another."""
    opening = opening_options(info.container)
    return read_input(info.path, f=info.container.split(",")[0], **opening, **options)


def read_input(path: Path, **options: str) -> ffmpeg.nodes.FilterableStream:
    """A local file as ffmpeg-python's input."""
    return ffmpeg.input(file_argument(path), protocol_whitelist=PROTOCOLS, **options)


def read_here(path: Path, **options: str) -> ffmpeg.nodes.FilterableStream:
    """A file of ours, or a list of some, as input of an ffmpeg that runs in its folder.

    By a whole path it would look for the files of a list elsewhere where that holds `?` or `#`, which end an address.
    """
    return ffmpeg.input(f"file:{path.name}", protocol_whitelist=PROTOCOLS, **options)


def _source_options(info: VideoInfo, plan: StreamPlan) -> dict[str, Any]:
    """Tags, chapters, and what the source says of the video stream; input 1 is the source."""
    return {
        "map_metadata": "1",
        "map_chapters": "1" if plan.keeps_chapters else "-1",
        "disposition:0": _disposition(_main_stream(info)),
    }


def _tag_arguments(info: VideoInfo, plan: StreamPlan, placement: Placement) -> list[str]:
    """The video stream's own tags, and the source's that must not be copied or have other names, as arguments.

    Written out because ffmpeg-python cannot give an option twice.
    """
    if info.images:
        return []
    main = _main_stream(info)
    own = {"language": main.language, "title": main.title}
    stated = dict.fromkeys(FILE_TAGS, "") | written_anew(info.tags, plan.container.name)
    stated[TIMECODE] = placement.timecode or ""
    tags = [("-metadata", name, value) for name, value in stated.items()]
    tags += [("-metadata:s:v:0", name, value) for name, value in own.items() if value]
    return [
        word
        for option, name, value in tags
        if len(os.fsencode(value)) < LONGEST_TAG
        for word in (option, f"{name}={value}")
    ]


def _main_stream(info: VideoInfo) -> StreamInfo:
    return next(stream for stream in info.streams if stream.index == info.stream_index)


def _stream_options(
    number: int, stream: KeptStream, plan: StreamPlan, placement: Placement
) -> dict[str, str]:
    """Codec, bit rate, flags, filters and cut of output stream `number`."""
    options = {f"c:{number}": stream.encoder, f"disposition:{number}": _disposition(stream.source)}
    if stream.encoder in BITRATES:
        options[f"b:{number}"] = BITRATES[stream.encoder]
    is_cut = placement.skipped is not None
    filters = _sound_filters(stream, plan, is_cut=is_cut)
    if filters:
        options[f"filter:{number}"] = ",".join(filters)
    if stream.source.kind == "subtitle" and (is_cut or placement.length is not None):
        options[f"bsf:{number}"] = f"{_shown_within(placement.length)},{DROP_BEFORE_ZERO}"
    elif stream.source.kind == "audio" and is_cut and stream.encoder == "copy":
        options[f"bsf:{number}"] = DROP_BEFORE_ZERO
    return options


def _sound_filters(stream: KeptStream, plan: StreamPlan, *, is_cut: bool) -> list[str]:
    """What makes of sound that is encoded again what its encoder and its container take."""
    filters: list[str] = []
    if stream.source.kind != "audio" or stream.encoder == "copy":
        return filters
    if is_cut:
        filters.append("atrim=start=0")
    if plan.container.name == "avi":
        filters.append(AVI_SOUND)
    if stream.encoder == "libmp3lame":
        filters.append(MP3_RATES)
    if (
        stream.encoder in ("aac", "flac")
        and stream.source.num_channels > MAX_CHANNELS[stream.encoder]
    ):
        filters.append(f"aformat=channel_layouts={MOST_LAYOUT}")
    if stream.encoder == "libopus":
        filters.append(f"aformat=channel_layouts={OPUS_LAYOUTS}")
    if stream.encoder == "flac":
        filters.append(FLAC_BLOCKS)
    return filters


def _shown_within(length: Fraction | None) -> str:
    """Cuts a subtitle that is shown beyond the output's ends; one from before stays at its negative time."""
    begin = "if(gt(PTS+DURATION\\,0)\\,max(PTS\\,0)\\,PTS)"
    end = "PTS+DURATION"
    if length is not None:
        end = f"min({end}\\,{_seconds(length)}/TB)"
    return f"setts=ts={begin}:duration={end}-max(PTS\\,0)"


def _disposition(stream: StreamInfo) -> str:
    return "+".join(stream.disposition) or "0"


def _extract_covers(video: Path, info: VideoInfo, plan: StreamPlan) -> list[Path]:
    """Cover pictures as files beside `video`; only Matroska wants them so, others get none."""
    if plan.container.name != "matroska":
        return []
    covers = []
    for stream in plan.kept:
        if COVER not in stream.source.disposition:
            continue
        suffix = COVER_SUFFIXES[stream.source.codec]
        path = video.with_name(f"{video.name}.cover{stream.source.index}{suffix}")
        picture = _source(info)[str(stream.source.index)]
        output = ffmpeg.output(picture, file_argument(path), c="copy", f="image2", update=1)
        run_ffmpeg(output.overwrite_output().get_args(), "copying the cover picture")
        covers.append(path)
    return covers


def _attach_arguments(covers: list[Path], num_attached: int) -> list[str]:
    """Arguments that attach `covers`, after other attachments, under the names players look for."""
    arguments = []
    for number, cover in enumerate(covers):
        kind = "image/png" if cover.suffix == ".png" else "image/jpeg"
        name = f"cover{number or ''}{cover.suffix}"
        tag = f"-metadata:s:t:{num_attached + number}"
        arguments += ["-attach", str(cover.absolute())]
        arguments += [tag, f"mimetype={kind}", tag, f"filename={name}"]
    return arguments


def _seconds(time: Fraction) -> str:
    """`time` as ffmpeg reads it, to the microsecond that it keeps."""
    return f"{round(time * MICROSECONDS) / MICROSECONDS:.6f}"
