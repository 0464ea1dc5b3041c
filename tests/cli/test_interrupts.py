import signal
import threading

import pytest

from diffst_cli.interrupts import interrupts_deferred, interrupts_raise


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_keyboard_interrupt(number: signal.Signals):
    with pytest.raises(KeyboardInterrupt), interrupts_raise():
        signal.raise_signal(number)


def test_the_second_signal_does_not_disturb_the_clean_up():
    cleaned = []

    def work() -> None:
        with interrupts_raise():
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGINT)
                cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cleaned == [True]


def test_a_deferred_signal_is_raised_at_the_end_of_the_step():
    reached = []

    def work() -> None:
        with interrupts_raise(), interrupts_deferred():
            signal.raise_signal(signal.SIGTERM)
            reached.append("end of step")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["end of step"]


def test_a_step_of_another_thread_defers_nothing():
    inside, go_on = threading.Event(), threading.Event()

    def step() -> None:
        with interrupts_deferred():
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=step)
    thread.start()
    assert inside.wait(10)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_raise():
            signal.raise_signal(signal.SIGINT)
    finally:
        go_on.set()
        thread.join()


def test_a_step_without_a_signal_just_ends():
    with interrupts_raise(), interrupts_deferred(), interrupts_deferred():
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_ignored_signal_stays_ignored_and_handlers_come_back(number: signal.Signals):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interrupts_raise():
            signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_another_thread_leaves_signals_alone():
    seen = []

    def work() -> None:
        with interrupts_raise():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
