"""A signal ends what runs, whatever code it meets on the way."""

import os
import signal
import time

import pytest

from harness.errors import Preempted
from harness.training import deferred, obeyed


def read_as_readers_do() -> None:
    """Takes any exception for damage, as whoever reads pickles has to."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except Exception as error:
        raise ValueError("damaged") from error


def test_a_signal_is_not_taken_for_a_damaged_file() -> None:
    with pytest.raises(Preempted, match="SIGTERM: stopped outside"), obeyed():
        read_as_readers_do()


def test_the_second_ctrl_c_is_not_either() -> None:
    with pytest.raises(Preempted, match="SIGINT twice"), deferred() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == signal.SIGINT
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except Exception as error:
            raise ValueError("damaged") from error


def test_handlers_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted), obeyed():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
