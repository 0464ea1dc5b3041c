import psutil

from diffst_cli.memory import PeakMemory, resident_bytes


def test_memory_is_that_of_this_process():
    assert abs(resident_bytes() - psutil.Process().memory_info().rss) < 10_000_000


def test_the_peak_stays_after_memory_is_given_back():
    peak = PeakMemory()
    before = peak.bytes
    block = bytearray(b"x") * 60_000_000
    peak.look()
    assert peak.bytes >= before + 50_000_000
    highest = peak.bytes
    del block
    peak.look()
    assert peak.bytes == highest
