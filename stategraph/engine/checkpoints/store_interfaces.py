"""The interfaces of `langgraph-checkpoint` for a store of one's own: its operations, items and settings.

Only the engine may import that package.
"""

from langgraph.store.base import BaseStore as BaseStore
from langgraph.store.base import GetOp as GetOp
from langgraph.store.base import Item as Item
from langgraph.store.base import ListNamespacesOp as ListNamespacesOp
from langgraph.store.base import MatchCondition as MatchCondition
from langgraph.store.base import PutOp as PutOp
from langgraph.store.base import SearchItem as SearchItem
from langgraph.store.base import SearchOp as SearchOp
from langgraph.store.base import TTLConfig as TTLConfig
