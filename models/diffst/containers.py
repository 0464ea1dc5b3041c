"""Which files are read as video, by the tool and by training, so that libav opens no other file than the one given."""

# Containers that hold video and cannot name another file. Playlists, devices, text art and scripts
# are left out on purpose.
FORMATS = (
    "mov", "mp4", "matroska", "webm", "avi", "gif", "apng", "mpegts", "mpeg", "mpegvideo", "flv", "live_flv",
    "asf", "ogg", "mxf", "mxf_d10", "dv", "rm", "nut", "wtv", "ivf", "yuv4mpegpipe", "h264", "hevc", "vvc", "av1",
    "obu", "m4v", "vc1", "vc1test", "gxf", "nsv", "swf", "mjpeg", "h263", "h261", "dirac", "cavsvideo", "avs2",
    "amv", "bink", "smk", "roq", "vob", "ty", "pva", "r3d", "webp_anim", "jpegxl_anim", "dnxhd",
)  # fmt: skip
PROTOCOLS = "file,pipe"  # what the program ffmpeg may open: never the network
# For PyAV, which is given a Python file object and may open nothing itself.
CLOSED = {"protocol_whitelist": "none", "format_whitelist": ",".join(FORMATS)}
