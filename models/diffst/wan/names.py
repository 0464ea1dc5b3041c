"""Names and words that the tool needs without loading anything heavy."""

WAN_MODEL = "wan-1.3b"
DECODERS = ("full", "tiny")
TINY_DECODER = "wan-tiny-decoder"  # folder of the downloaded files of `--decoder tiny`
TINY_DECODER_FILE = "taew2_1.safetensors"
