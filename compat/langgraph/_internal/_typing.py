"""Private typing helpers that packages import."""

from stategraph.constants import MISSING as MISSING
from stategraph.types import DeprecatedKwargs as DeprecatedKwargs
from stategraph.typing import DataclassLike as DataclassLike
from stategraph.typing import StateLike as StateLike
from stategraph.typing import TypedDictLike as TypedDictLikeV1
from stategraph.typing import TypedDictLikeInstance as TypedDictLikeV2

EMPTY_SEQ: tuple[str, ...] = ()
