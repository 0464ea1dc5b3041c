"""The tags of a file as a whole: which are its content, and what the output cannot hold of them."""

from __future__ import annotations

from collections.abc import Mapping

from diffst_cli.timecode import HOLDS_TIMECODE, TIMECODE

# Facts of the source's file, not of its content, which some muxers would copy as if they were.
FILE_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder")
# Of AVI, ASF and MXF, which may well be copied; but nobody misses them.
PROGRAM_TAGS = frozenset(
    (
        *("software", "wmfsdkversion", "wmfsdkneeded", "isvbr", "deviceconformancetemplate"),
        *(
            "uid",
            "generation_uid",
            "product_uid",
            "material_package_umid",
            "operational_pattern_ul",
        ),
        *("company_name", "product_name", "product_version", "product_version_num"),
        *("application_platform", "toolkit_version", "toolkit_version_num"),
    )
)
# What a telephone of Apple's says of a video, and the names under which MOV has places for it, and MP4 for the first
# two. They could take Apple's names too, but then all tags as free keys, where few players look for the usual ones.
APPLE_TAGS = {
    "com.apple.quicktime.location.ISO6709": "location",
    "com.apple.quicktime.creationdate": "date",
    "com.apple.quicktime.make": "make",
    "com.apple.quicktime.model": "model",
}
MP4_LACKS = ("make", "model")
MAX_NAMED = 5


def written_anew(tags: Mapping[str, str], container: str) -> dict[str, str]:
    """What of the tags must be written otherwise than it was read: by name, the value.

    Those of Apple's get the names that the container knows, where these are free. A time that a file states twice
    is read as both, which is no time.
    """
    written = {}
    if "creation_time" in tags:
        written["creation_time"] = tags["creation_time"].partition(";")[0]
    if container in ("mp4", "mov"):
        written |= {
            known: tags[name]
            for name, known in APPLE_TAGS.items()
            if name in tags
            and known not in tags
            and not (container == "mp4" and known in MP4_LACKS)
        }
    return written


def lost_tags(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Sorted names of the tags before that are not there after, neither by name nor by value."""
    names, values = {name.lower() for name in after}, set(after.values())
    return sorted(
        name
        for name, value in before.items()
        if names.isdisjoint((name.lower(), APPLE_TAGS.get(name)))
        and name.lower() not in PROGRAM_TAGS.union(FILE_TAGS)
        and value not in values
    )


def lost_note(before: Mapping[str, str], after: Mapping[str, str], container: str) -> list[str]:
    """One sentence on the tags that are lost in a container, if any are; of a timecode one of its own."""
    held = (TIMECODE,) if container in HOLDS_TIMECODE else ()
    lost = [name for name in lost_tags(before, after) if name.lower() not in held]
    if not lost:
        return []
    named = ", ".join(f"`{name}`" for name in lost[:MAX_NAMED])
    more = f" and {len(lost) - MAX_NAMED} more" if len(lost) > MAX_NAMED else ""
    remedy = "" if container == "matroska" else "; use a `.mkv` output to keep them"
    return [f"tags left out: {container.upper()} cannot hold {named}{more}{remedy}"]
