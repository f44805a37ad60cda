"""Wire strings that packages import."""

from stategraph.constants import *
