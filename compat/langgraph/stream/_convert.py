"""Private names of the event stream."""

from stategraph.engine.events.envelope import event_of as convert_to_protocol_event
