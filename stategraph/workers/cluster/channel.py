"""Messages in order, each once, over a connection that may lose, repeat or reorder what it carries.

Rules
-----
* A frame has the next number; its sender keeps it until the other end has acknowledged it.
* The receiver takes the next number alone. A number before it was heard already; one behind it means that a frame was
  lost, and is not taken: all from the lost one on are sent again.
* An acknowledgement names the last number that was taken, and stands for all before it.
* Nothing here knows a clock or a connection: the driver sends what it is given, and asks for what is due again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

#: Frames that are received between two acknowledgements, if none was asked for earlier.
ACK_EVERY: Final = 32


@dataclass(frozen=True, slots=True)
class Frame:
    """A part of what one end sends.

    Attributes:
        number: 1 for the first one, then without holes.
        body: Its content.
    """

    number: int
    body: bytes


class Channel:
    """One end of a channel.

    Attributes:
        taken: The number of the last frame that was taken here.
        owes_ack: Whether frames were taken that are not acknowledged yet.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.owes_ack = False
        self._sent = 0
        self._unacknowledged: deque[Frame] = deque()
        self._since_ack = 0

    @property
    def is_settled(self) -> bool:
        """True if the other end has taken all that was sent."""
        return not self._unacknowledged

    def send(self, body: bytes) -> Frame:
        """Return the next frame to send."""
        self._sent += 1
        frame = Frame(self._sent, body)
        self._unacknowledged.append(frame)
        return frame

    def receive(self, frame: Frame) -> bool:
        """Take a frame that came; return whether it was the next one, whose body is to be used."""
        self.owes_ack = True  # also for one that was heard already: its acknowledgement may have been lost
        if frame.number != self.taken + 1:
            return False
        self.taken = frame.number
        self._since_ack += 1
        return True

    @property
    def ack_is_urgent(self) -> bool:
        """True if so much was taken that the other end should hear of it now."""
        return self._since_ack >= ACK_EVERY

    def acknowledge(self) -> int:
        """Return the number to acknowledge, which is sent now."""
        self.owes_ack, self._since_ack = False, 0
        return self.taken

    def acknowledged(self, number: int) -> bool:
        """Take an acknowledgement; return whether it was news."""
        news = False
        while self._unacknowledged and self._unacknowledged[0].number <= number:
            self._unacknowledged.popleft()
            news = True
        return news

    def blank(self, body: bytes) -> None:
        """Give all frames that are not acknowledged another content: theirs cannot be sent any more."""
        self._unacknowledged = deque(Frame(each.number, body) for each in self._unacknowledged)

    def unacknowledged(self) -> tuple[Frame, ...]:
        """Return the frames to send again, in their order."""
        return tuple(self._unacknowledged)
