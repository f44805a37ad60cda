"""Private names of the event stream."""

from stategraph.engine.streams.events.envelope import event_of as convert_to_protocol_event
