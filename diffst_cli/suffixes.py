"""Which files of a folder are taken for videos."""

INPUT_SUFFIXES = frozenset(
    (
        *(".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m1v"),
        *(".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mod", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
        *(".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm"),
        *(".wmv", ".wtv", ".y4m"),
    )
)
