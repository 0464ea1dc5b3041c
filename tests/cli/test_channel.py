import threading

import pytest

from diffst_cli.channel import Channel, Stopped, Worker


def test_items_arrive_once_and_in_order():
    channel: Channel[int] = Channel(2)

    def produce() -> None:
        for number in range(100):
            channel.put(number)
        channel.end()

    with Worker("producer", produce, channel) as worker:
        assert list(channel) == list(range(100))
        worker.finish()


def test_a_full_channel_holds_its_producer_back():
    channel: Channel[int] = Channel(3)
    put: list[int] = []
    filled = threading.Event()

    def produce() -> None:
        for number in range(10):
            channel.put(number)
            put.append(number)
            if len(put) == 3:
                filled.set()
        channel.end()

    with Worker("producer", produce, channel):
        assert filled.wait(5)
        assert put == [0, 1, 2]
        items = iter(channel)
        assert next(items) == 0
        assert list(items) == list(range(1, 10))


def test_an_error_in_the_producer_reaches_the_consumer_before_waiting_items():
    channel: Channel[int] = Channel(5)

    def produce() -> None:
        channel.put(1)
        raise ValueError("broken")

    with Worker("producer", produce, channel) as worker:
        worker._thread.join()
        with pytest.raises(ValueError, match="broken"):
            list(channel)


def test_an_error_in_the_consumer_reaches_a_producer_that_waits():
    channel: Channel[int] = Channel(1)

    def consume() -> None:
        next(iter(channel))
        raise ValueError("full disk")

    def produce() -> None:
        with Worker("consumer", consume, channel):
            for number in range(10):
                channel.put(number)

    with pytest.raises(ValueError, match="full disk"):
        produce()


def test_finish_raises_what_went_wrong_in_the_thread():
    channel: Channel[int] = Channel(1)

    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), Worker("thread", fail, channel) as worker:
        worker.finish()


def test_leaving_with_an_error_ends_a_thread_that_waits_to_put():
    channel: Channel[int] = Channel(1)
    seen: list[BaseException] = []

    def produce() -> None:
        try:
            while True:
                channel.put(0)
        except BaseException as error:
            seen.append(error)
            raise

    with pytest.raises(KeyboardInterrupt), Worker("producer", produce, channel) as worker:
        raise KeyboardInterrupt
    assert not worker._thread.is_alive()
    assert [type(error) for error in seen] == [Stopped]


def test_leaving_with_an_error_ends_a_thread_that_waits_for_items():
    channel: Channel[int] = Channel(1)
    with (
        pytest.raises(KeyboardInterrupt),
        Worker("consumer", lambda: list(channel).clear(), channel) as worker,
    ):
        raise KeyboardInterrupt
    assert not worker._thread.is_alive()


def test_a_channel_of_nothing_is_refused():
    with pytest.raises(ValueError, match="capacity is 0"):
        Channel(0)
