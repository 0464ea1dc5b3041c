"""The public files that `diffst models pull` can fetch: which, from where, and under what licence."""

from __future__ import annotations

from dataclasses import dataclass

from diffst.wan.names import TINY_DECODER, TINY_DECODER_FILE

HUB = "https://huggingface.co"
LICENCE_NAMES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "README.md")
"""Files of a repository in which its licence stands; those that are there are kept."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file to fetch."""

    path: str
    """In the repository."""
    place: str
    """Where it goes, in the model's folder."""
    size: int | None = None
    """Bytes, where known beforehand; else the hub says."""
    sha256: str | None = None
    """Where known beforehand; else what the hub says is recorded."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Files of one repository on the hub."""

    name: str
    revision: str
    """The commit: another one may hold other weights."""
    licence: str
    """Its name, and what is special about it."""
    files: tuple[RemoteFile, ...]

    @property
    def page(self) -> str:
        """Where people read about it."""
        return f"{HUB}/{self.name}"

    def address(self, file: RemoteFile) -> str:
        """Where a browser gets a file."""
        return f"{self.page}/resolve/{self.revision}/{file.path}"


@dataclass(frozen=True, kw_only=True)
class Download:
    """Everything of one model."""

    name: str
    description: str
    repositories: tuple[Repository, ...]
    about_bytes: int
    """Of all files, for a list; the hub knows exactly."""
    converted_bytes: int = 0
    """What the first use writes beside them."""


def _same(path: str, size: int, sha256: str) -> RemoteFile:
    """A file that keeps its path, and whose content is known."""
    return RemoteFile(path=path, place=path, size=size, sha256=sha256)


# Sizes and hashes: public manifests of this commit, of which several independent ones agree.
WAN = Repository(
    name="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    revision="0fad780a534b6463e45facd96134c9f345acfa5b",
    licence="Apache-2.0",
    files=(
        _same(
            "transformer/config.json",
            465,
            "0b093fa072e9ff28763febe9b964ee582f566733a6d6709deb9dfba1bde16b81",
        ),
        _same(
            "transformer/diffusion_pytorch_model.safetensors.index.json",
            73_296,
            "dcbcf3497134a3f50557ff069dd7d2c84b5c4d8c5932472f6bdb780fb4016589",
        ),
        _same(
            "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
            4_998_781_576,
            "6d011927dbd2cc8afe53d57abab04a8fd86f615d83324770d985fb058ece3a24",
        ),
        _same(
            "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
            677_289_072,
            "b92ec2309b1f239af6f746431815a881afcc938abb26a4f08d9a2fd6c892f872",
        ),
        _same(
            "vae/config.json",
            724,
            "f0c1cc1d7decb5badc384f54691746a27a9aeff49f7ebca974e583389342d527",
        ),
        _same(
            "vae/diffusion_pytorch_model.safetensors",
            507_591_892,
            "d6e524b3fffede1787a74e81b30976dce5400c4439ba64222168e607ed19e793",
        ),
    ),
)
# The author publishes it on github.com/madebyollin/taehv only. This is the same file to the byte: several independent
# projects name this size and hash for the author's; another repository's file of that name holds other weights.
TAEW = Repository(
    name="ionden/taew2.1",
    revision="2ac5ae1c3291a8607a2d6c423b9a0337cef45f2b",
    licence="MIT",
    files=(
        _same(
            TINY_DECODER_FILE,
            22_642_902,
            "04766eac0221b5390b985ae3fdcca652cbb4b1e8b82b28ea7ff89dfad1b1a93f",
        ),
    ),
)
VJEPA2 = Repository(
    name="facebook/vjepa2-vitl-fpc64-256",
    revision="b3c1679b7c34d3255ef3547f27c7b226aefab26f",
    licence="MIT or Apache-2.0, as its page says",
    files=(
        RemoteFile(path="config.json", place="config.json"),
        RemoteFile(path="model.safetensors", place="model.safetensors"),
    ),
)
SVD_VAE = Repository(
    name="stabilityai/stable-video-diffusion-img2vid",
    revision="9cf024d5bfa8f56622af86c884f26a52f6676f2e",
    licence="Stability AI's own, for Stable Video Diffusion; it may have to be accepted on the page first",
    files=(
        RemoteFile(path="vae/config.json", place="vae/config.json"),
        RemoteFile(
            path="vae/diffusion_pytorch_model.fp16.safetensors",
            place="vae/diffusion_pytorch_model.safetensors",
        ),
    ),
)
OPEN_CLIP = Repository(
    name="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    revision="1c2b8495b28150b8a4922ee1c8edee224c284c0c",
    licence="MIT",
    files=(
        RemoteFile(path="config.json", place="text_encoder/config.json"),
        RemoteFile(path="model.safetensors", place="text_encoder/model.safetensors"),
        *(
            RemoteFile(path=name, place=f"tokenizer/{name}")
            for name in ("tokenizer_config.json", "vocab.json", "merges.txt")
        ),
    ),
)


COGVIDEOX_PARTS = (
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors.index.json",
    "text_encoder/model-00001-of-00002.safetensors",
    "text_encoder/model-00002-of-00002.safetensors",
    "tokenizer/added_tokens.json",
    "tokenizer/special_tokens_map.json",
    "tokenizer/spiece.model",
    "tokenizer/tokenizer_config.json",
)
COGVIDEOX = Repository(
    name="THUDM/CogVideoX-5b",
    revision="8d6ea3f817438460b25595a120f109b88d5fdfad",
    licence="CogVideoX's own",
    files=tuple(RemoteFile(path=path, place=path) for path in COGVIDEOX_PARTS),
)


def _star(path: str, licence: str = "MIT") -> Repository:
    """One file of STAR's own weights; no hash is published."""
    return Repository(
        name="SherryX/STAR",
        revision="fa650549e6927fca127151221abd2dda884f02c2",
        licence=licence,
        files=(RemoteFile(path=path, place=f"published/{path.rpartition('/')[2]}"),),
    )


DOWNLOADS = {
    download.name: download
    for download in (
        Download(
            name="wan-1.3b-base",
            description="Wan2.1-T2V-1.3B's transformer and VAE, to train DiffST wan-1.3b from",
            repositories=(WAN,),
            about_bytes=6_183_736_000,
        ),
        Download(
            name="vjepa2-vitl",
            description="V-JEPA 2 ViT-L, a video encoder that guidance at Wan's size may look through",
            repositories=(VJEPA2,),
            about_bytes=1_304_000_000,
        ),
        Download(
            name=TINY_DECODER,
            description="TAEW2.1, a small decoder for models of Wan's size: `--decoder tiny`",
            repositories=(TAEW,),
            about_bytes=22_642_902,
        ),
        Download(
            name="star-light",
            description="STAR for lightly degraded video, as downloaded from web sites",
            repositories=(_star("I2VGen-XL-based/light_deg.pt"), SVD_VAE, OPEN_CLIP),
            about_bytes=12_310_000_000,
            converted_bytes=4_083_000_000,
        ),
        Download(
            name="star-heavy",
            description="STAR for heavily degraded video",
            repositories=(_star("I2VGen-XL-based/heavy_deg.pt"), SVD_VAE, OPEN_CLIP),
            about_bytes=12_310_000_000,
            converted_bytes=4_083_000_000,
        ),
        Download(
            name="star-cogvideox",
            description="STAR on CogVideoX-5B, for heavily degraded video; made for 720x480",
            repositories=(
                _star("CogVideoX-5B-based/1/mp_rank_00_model_states.pt", licence="CogVideoX's own"),
                COGVIDEOX,
            ),
            about_bytes=53_200_000_000,
            converted_bytes=11_142_000_000,
        ),
    )
}
