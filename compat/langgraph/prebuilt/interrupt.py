"""Questions to a person, and answers."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.prebuilt.human_interrupt import ActionRequest, HumanInterrupt, HumanInterruptConfig, HumanResponse

__getattr__ = _names_of(__name__)
