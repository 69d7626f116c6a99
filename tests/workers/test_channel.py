"""The pipe carries JSON objects whole, in order, in both directions, and notices its end."""

import socket
import threading

import pytest

from workers.channel import Channel, ChannelClosed


@pytest.fixture
def ends() -> tuple[Channel, Channel]:
    left, right = socket.socketpair()
    return Channel(left), Channel(right)


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    sent = [{"n": number, "text": "问题" * 1000} for number in range(200)]
    writer = threading.Thread(target=lambda: [left.send(**message) for message in sent])
    writer.start()
    assert [right.receive(timeout=5) for _ in sent] == sent
    writer.join()


def test_silence_is_none(ends: tuple[Channel, Channel]) -> None:
    assert ends[0].receive(timeout=0.01) is None


def test_the_end_of_the_other_side_is_noticed(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left.send(last=True)
    left.close()
    assert right.receive(timeout=1) == {"last": True}
    with pytest.raises(ChannelClosed):
        right.receive(timeout=1)
    with pytest.raises(ChannelClosed):
        for _ in range(3):
            right.send(anyone="there?")


def test_a_lone_surrogate_travels_as_a_question_mark(ends: tuple[Channel, Channel]) -> None:
    ends[0].send(text="\ud800")
    assert ends[1].receive(timeout=1) == {"text": "?"}
