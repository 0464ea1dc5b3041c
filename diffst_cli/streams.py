"""Which of the source's other streams the output's container takes, and in what form."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from diffst_cli import languages
from diffst_cli.ffmpeg import UNANNOUNCED
from diffst_cli.probe import CHAPTERS, StreamInfo, VideoInfo
from diffst_cli.timecode import TIMECODE

# Decoder names, which is what a probe sees, where they differ from the codec's name.
CODEC_NAMES = {
    "mp1float": "mp1",
    "mp2float": "mp2",
    "mp3float": "mp3",
    "ac3_fixed": "ac3",
    "dca": "dts",
    "libopus": "opus",
    "libvorbis": "vorbis",
    "srt": "subrip",
    "ssa": "ass",
    "pgssub": "hdmv_pgs_subtitle",
    "dvdsub": "dvd_subtitle",
    "dvbsub": "dvb_subtitle",
    "libzvbi_teletextdec": "dvb_teletext",
}
PCM_INTEGER = frozenset(
    f"pcm_{kind}" for kind in ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be")
)
TEXT_SUBTITLES = frozenset({"subrip", "ass", "mov_text", "webvtt", "text"})
ONE_AT_A_TIME = "mov_text"  # the form of subtitles in which each line ends when the next begins
COVERS = frozenset({"mjpeg", "png"})
COVER = "attached_pic"
KEPT_NOTE = "use a `.mkv` output to keep it"


@dataclass(frozen=True, kw_only=True)
class Container:
    """What one kind of file holds. Each pair is proven by a test that muxes it."""

    name: str
    """FFmpeg's muxer name."""
    audio: frozenset[str]
    """Codecs copied as they are."""
    audio_fallback: str
    """Encoder for the others."""
    lossless_fallback: str | None = None
    """Encoder for integer PCM that cannot be copied."""
    subtitles: frozenset[str] = frozenset()
    """Codecs copied as they are."""
    text_fallback: str | None = None
    """Encoder for other text subtitles."""
    languages: str = languages.ANY
    """Pattern of the codes of languages that it stores."""
    covers: bool = False
    attachments: bool = False
    chapters: bool = False
    stores_times: bool = True
    """Whether its sound may begin late, and skip what is hidden."""


MATROSKA_AUDIO = frozenset(
    {
        *("aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "alac", "flac", "opus", "vorbis"),
        *("pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f64le", "wavpack", "tta", "wmav2", "adpcm_ms", "adpcm_ima_wav"),
    }
)
MP4 = Container(
    name="mp4",
    audio=frozenset({"aac", "mp3", "ac3", "eac3", "dts", "alac", "flac", "opus"}),
    audio_fallback="aac",
    lossless_fallback="alac",
    subtitles=frozenset({"mov_text", "dvd_subtitle"}),
    text_fallback="mov_text",
    languages=languages.THREE_LETTERS,
    covers=True,
    chapters=True,
)
CONTAINERS = {
    ".mp4": MP4,
    ".m4v": MP4,
    ".mov": Container(
        name="mov",
        audio=frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "alac", *PCM_INTEGER, "pcm_f32le"}),
        audio_fallback="aac",
        subtitles=frozenset({"mov_text"}),
        text_fallback="mov_text",
        languages=languages.QUICKTIME,
        chapters=True,
    ),
    ".mkv": Container(
        name="matroska",
        audio=MATROSKA_AUDIO,
        audio_fallback="flac",
        subtitles=frozenset(
            {"subrip", "ass", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}
        ),
        text_fallback="subrip",
        covers=True,
        attachments=True,
        chapters=True,
    ),
    ".webm": Container(
        name="webm",
        audio=frozenset({"opus", "vorbis"}),
        audio_fallback="libopus",
        subtitles=frozenset({"webvtt"}),
        text_fallback="webvtt",
        chapters=True,
    ),
    ".avi": Container(
        name="avi",
        audio=frozenset({"mp3", "mp2", "ac3", "aac", "pcm_u8", "pcm_s16le"}),
        audio_fallback="libmp3lame",
        lossless_fallback="pcm_s16le",
        languages="",
        stores_times=False,
    ),
    ".gif": Container(name="gif", audio=frozenset(), audio_fallback=""),
    ".png": Container(name="png", audio=frozenset(), audio_fallback=""),
}
ENCODER_CODECS = {"libopus": "opus", "libmp3lame": "mp3"}  # of encoders named otherwise
MAX_CHANNELS = {"libmp3lame": 2, "aac": 8, "alac": 8, "flac": 8, "libopus": 8}  # that encoders take
USUAL_PADDING = Fraction(15, 100)  # seconds of an encoder's own at the beginning of a stream
SHORT_PADDING = Fraction(3, 100)  # that nobody hears if it is played
BITRATES = {"aac": "256k", "libopus": "192k", "libmp3lame": "256k"}  # of re-encoded audio


@dataclass(frozen=True, kw_only=True)
class KeptStream:
    """One stream of the source that goes into the output."""

    source: StreamInfo
    encoder: str
    """`copy`, or FFmpeg's encoder name."""


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """What becomes of every stream of the source but its main video."""

    container: Container
    kept: tuple[KeptStream, ...]
    """In the source's order."""
    keeps_chapters: bool
    notes: tuple[str, ...]
    """What is changed or left out, and the remedy; one sentence each."""


def plan_streams(info: VideoInfo, suffix: str, start: Fraction | None = None) -> StreamPlan:
    """What the container of `suffix` (lower case, with the dot) takes of `info`'s streams.

    `start` is where in the source the output begins, seconds from its beginning; None for there.
    """
    container = CONTAINERS[suffix]
    kept: list[KeptStream] = []
    notes: list[str] = []
    for stream in info.streams:
        if stream.index == info.stream_index:
            continue
        if stream.codec == TIMECODE:
            continue  # written anew; where it cannot be, it is named as a tag that is lost
        if stream.codec == CHAPTERS and info.num_chapters:
            continue  # which are kept as chapters
        encoder, note = _choose(info, stream, container, start)
        if encoder is not None:
            kept.append(KeptStream(source=stream, encoder=encoder))
        if note is not None:
            notes.append(note)
    if info.num_chapters and not container.chapters:
        notes.append(
            f"chapters left out: {_cannot(container, 'them')}; use a `.mkv` output to keep them"
        )
    lost = {
        f"`{language_of(stream.source)}`"
        for stream in kept
        if language_of(stream.source) and not language_in(stream.source, container)
    }
    if lost:
        what = ", ".join(sorted(lost)) if container.languages else "them"
        notes.append(
            f"languages left out: {_cannot(container, what)}; use a `.mkv` output to keep them"
        )
    return StreamPlan(
        container=container,
        kept=tuple(kept),
        keeps_chapters=container.chapters and info.num_chapters > 0,
        notes=tuple(notes),
    )


def codec_name(stream: StreamInfo) -> str:
    """FFmpeg's codec name of a stream."""
    return CODEC_NAMES.get(stream.codec, stream.codec)


def describe(stream: StreamInfo) -> str:
    """A stream in the user's words, as `audio stream 2 (opus, fra)`."""
    facts = [codec_name(stream), language_of(stream)]
    return f"{stream.kind} stream {stream.index} ({', '.join(fact for fact in facts if fact)})"


def language_of(stream: StreamInfo) -> str:
    """A stream's language code; empty when it has none."""
    return stream.language if stream.language and stream.language != "und" else ""


def language_in(stream: StreamInfo, container: Container) -> str:
    """The code that a container stores of a stream's language; empty for none."""
    return languages.stored(language_of(stream), container.languages)


def _choose(
    info: VideoInfo, stream: StreamInfo, container: Container, start: Fraction | None
) -> tuple[str | None, str | None]:
    """The encoder (None: leave it out) and a note, if there is something to say."""
    codec = codec_name(stream)
    if stream.is_empty:
        return (
            None,
            f"{describe(stream)} left out: nothing of it was found near the beginning",
        )
    if stream.kind == "audio":
        is_taken = codec in container.audio
        reason = _why_no_copy(info, stream, container, start) if is_taken else _cannot(container)
        return _choose_audio(stream, codec, container, reason)
    if stream.kind == "subtitle":
        return _choose_subtitle(stream, codec, container)
    if stream.kind == "attachment":
        return ("copy", None) if container.attachments else (None, _left_out(stream, container))
    if stream.kind == "video" and COVER in stream.disposition:
        if container.covers and codec in COVERS:
            return "copy", None
        return None, _left_out(stream, container)
    if stream.kind == "video":
        return None, f"{describe(stream)} left out: only one video stream is upscaled"
    return None, f"{describe(stream)} left out: data belongs to the original file only"


def _choose_audio(
    stream: StreamInfo, codec: str, container: Container, reason: str | None
) -> tuple[str | None, str | None]:
    """As `_choose`; `reason` is why the stream cannot be copied, if it cannot."""
    if not container.audio_fallback or codec == "unknown":
        return None, _left_out(stream, container)
    if reason is None:
        return "copy", None
    if codec in PCM_INTEGER and container.lossless_fallback:
        encoder = container.lossless_fallback
        return encoder, f"{describe(stream)} stored as {encoder}{_mixed(stream, encoder)}: {reason}"
    encoder = container.audio_fallback
    rate = f" at {BITRATES[encoder]}bit/s" if encoder in BITRATES else ""
    name = ENCODER_CODECS.get(encoder, encoder)
    mixed = _mixed(stream, encoder)
    return encoder, f"{describe(stream)} re-encoded as {name}{rate}{mixed}: {reason}"


def _mixed(stream: StreamInfo, encoder: str) -> str:
    """What becomes of more channels than an encoder takes, in words."""
    limit = MAX_CHANNELS.get(encoder, stream.num_channels)
    if stream.num_channels <= limit:
        return ""
    if limit == 2:
        return " in stereo"
    return f", its {stream.num_channels} channels mixed into {limit} or fewer (MOV and MKV keep PCM as it is)"


def _why_no_copy(
    info: VideoInfo, stream: StreamInfo, container: Container, start: Fraction | None
) -> str | None:
    """Why sound whose codec the container takes is not copied: most often it would be heard at another time."""
    from diffst_cli.presented import hidden_seconds  # needs PyAV, which this module does not

    begin = info.origin_seconds if stream.start_seconds is None else stream.start_seconds
    late = begin - info.origin_seconds - (start or 0)
    if not container.stores_times and late > SHORT_PADDING:
        return f"{container.name.upper()} cannot begin it late"
    if container.name == "avi" and codec_name(stream) == "aac" and info.container == "mpegts":
        return "AVI cannot hold it as broadcasts have it"
    if "mov" in info.container and container.name in ("mp4", "mov"):
        return None  # which hide what the source hides
    if info.container in UNANNOUNCED:
        return None  # which hides nothing, and takes long to open
    hidden = hidden_seconds(info.path, stream.index)
    if hidden > (USUAL_PADDING if container.stores_times else SHORT_PADDING):
        return f"a copy would not skip its first {float(hidden):.2f} s, as the input does"
    return None


def _choose_subtitle(
    stream: StreamInfo, codec: str, container: Container
) -> tuple[str | None, str | None]:
    if codec in container.subtitles:
        return "copy", None
    if codec in TEXT_SUBTITLES and container.text_fallback:
        form = container.text_fallback
        losses = ["without its styles"] if codec == "ass" else []
        if form == ONE_AT_A_TIME:  # whether any overlap is known only when the whole file was read
            losses.append("with lines cut short where others overlap them")
        lost = f", {' and '.join(losses)}" if losses else ""
        return form, f"{describe(stream)} converted to {form}{lost}: {_cannot(container)}"
    return None, _left_out(stream, container)


def _left_out(stream: StreamInfo, container: Container) -> str:
    remedy = "" if container.name == "matroska" else f"; {KEPT_NOTE}"
    return f"{describe(stream)} left out: {_cannot(container)}{remedy}"


def _cannot(container: Container, what: str = "it") -> str:
    return f"{container.name.upper()} cannot hold {what}"
