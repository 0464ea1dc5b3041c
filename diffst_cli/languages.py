"""Codes of languages as containers store them."""

from __future__ import annotations

import re

ANY = ".+"
THREE_LETTERS = "[a-z]{3}"
# What ffmpeg finds in QuickTime's own table, which has now one and now the other of two codes for a language.
QUICKTIME = """
alb|amh|ara|arm|asm|aym|aze|baq|bel|ben|bul|bur|cat|ces|chi|dan|dut|dzo|eng|epo|est|fin|fra|geo|ger|gre|grn|guj|heb|hin
|hun|ice|ind|iri|ita|jav|jpn|kan|kas|kaz|khm|kin|kir|kor|kur|lao|lat|lav|lit|mac|mal|mar|may|mlg|mlt|mol|mon|nep|nor|nya
|ori|orm|per|pol|por|pus|que|ron|run|rus|san|sin|slk|slv|smi|snd|som|spa|sve|swa|tam|tat|tel|tgk|tgl|tha|tib|tir|tuk|tur
|uig|ukr|urd|uzb|vie|wel|yid
""".replace("\n", "")
# ISO 639-2 has two codes for each of these; QuickTime has a third for Swedish.
PAIRS = """
alb=sqi arm=hye baq=eus bur=mya chi=zho cze=ces dut=nld fre=fra geo=kat ger=deu gre=ell ice=isl mac=mkd may=msa per=fas
rum=ron slo=slk swe=sve tib=bod wel=cym
"""
FOUND = dict(re.findall(r"(\w+)=(\w+)", PAIRS))
TWINS = FOUND | {second: first for first, second in FOUND.items()}


def stored(code: str, pattern: str) -> str:
    """A language's code, or its other one, as a container stores it; empty where it stores neither.

    Args:
        code: As another file has it, such as `fre` or `pt-BR`; empty for none.
        pattern: Regular expression of the codes that the container stores.
    """
    known = (code, TWINS.get(code, code))
    return next((one for one in known if re.fullmatch(pattern, one)), "")
