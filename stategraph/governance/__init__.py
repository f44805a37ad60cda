"""One way to act: capabilities, policy, approval and audit for whatever a model decides to do.

- `context` says who acts, with what; it is given to a run as runtime context and never stored.
- A `Capability` is something that can be done: a function, a skill, a tool of an MCP server, an agent or a graph.
- Each action passes one pipeline: resolve, validate, authorize, approve, claim, execute, settle, audit.

This package stands on the ports of agents and runs and on the ledger of `workers`. Nothing below imports it, and a
program that configures no policy pays nothing for it. It must never know HTTP servers or front ends.
"""

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stategraph.governance.actions import ActionOutcome as ActionOutcome
    from stategraph.governance.actions import ActionRequest as ActionRequest
    from stategraph.governance.actions import Reason as Reason
    from stategraph.governance.actions import RunRef as RunRef
    from stategraph.governance.approval.port import Approval as Approval
    from stategraph.governance.approval.port import ApprovalStore as ApprovalStore
    from stategraph.governance.audit.event import AuditEvent as AuditEvent
    from stategraph.governance.audit.event import AuditEventType as AuditEventType
    from stategraph.governance.audit.event import AuditSink as AuditSink
    from stategraph.governance.audit.event import Severity as Severity
    from stategraph.governance.audit.log import AuditLog as AuditLog
    from stategraph.governance.audit.storage import AuditStorage as AuditStorage
    from stategraph.governance.capabilities.mcp import McpCapabilities as McpCapabilities
    from stategraph.governance.capabilities.port import CapabilityCall as CapabilityCall
    from stategraph.governance.capabilities.port import CapabilityExecutor as CapabilityExecutor
    from stategraph.governance.capabilities.port import CapabilityResult as CapabilityResult
    from stategraph.governance.capabilities.port import CapabilitySource as CapabilitySource
    from stategraph.governance.capabilities.port import Offer as Offer
    from stategraph.governance.capabilities.traits import Traits as Traits
    from stategraph.governance.capabilities.versions import SqliteVersions as SqliteVersions
    from stategraph.governance.capability import Capability as Capability
    from stategraph.governance.capability import CapabilityKind as CapabilityKind
    from stategraph.governance.capability import Risk as Risk
    from stategraph.governance.capability import Trust as Trust
    from stategraph.governance.context import AgentRef as AgentRef
    from stategraph.governance.context import Budget as Budget
    from stategraph.governance.context import CapabilitySelector as CapabilitySelector
    from stategraph.governance.context import Principal as Principal
    from stategraph.governance.context import RuntimeSessionContext as RuntimeSessionContext
    from stategraph.governance.errors import ActionRejected as ActionRejected
    from stategraph.governance.errors import ApprovalError as ApprovalError
    from stategraph.governance.errors import AuditTampered as AuditTampered
    from stategraph.governance.errors import AuditUnavailable as AuditUnavailable
    from stategraph.governance.errors import BudgetExceeded as BudgetExceeded
    from stategraph.governance.errors import CapabilityDenied as CapabilityDenied
    from stategraph.governance.errors import GovernanceError as GovernanceError
    from stategraph.governance.errors import PolicyError as PolicyError
    from stategraph.governance.executor import ActionExecutor as ActionExecutor
    from stategraph.governance.executor import UnifiedActionExecutor as UnifiedActionExecutor
    from stategraph.governance.keyring import Keyring as Keyring
    from stategraph.governance.policy.files import load_policy as load_policy
    from stategraph.governance.policy.verdict import Decision as Decision
    from stategraph.governance.policy.verdict import InterventionPoint as InterventionPoint
    from stategraph.governance.policy.verdict import Policy as Policy
    from stategraph.governance.policy.verdict import Verdict as Verdict
    from stategraph.governance.redaction import Redactor as Redactor
    from stategraph.governance.registry import Registry as Registry
    from stategraph.governance.session import Session as Session
    from stategraph.governance.skills.registry import SkillRegistry as SkillRegistry
    from stategraph.governance.skills.sandbox import Sandbox as Sandbox
    from stategraph.governance.tool_source import CapabilityTools as CapabilityTools
    from stategraph.governance.view import CapabilityGraph as CapabilityGraph
    from stategraph.governance.view import CapabilityView as CapabilityView

_PUBLIC = {
    "actions": ("ActionOutcome", "ActionRequest", "Reason", "RunRef"),
    "approval.port": ("Approval", "ApprovalStore"),
    "audit.event": ("AuditEvent", "AuditEventType", "AuditSink", "Severity"),
    "audit.log": ("AuditLog",),
    "audit.storage": ("AuditStorage",),
    "capabilities.mcp": ("McpCapabilities",),
    "capabilities.port": ("CapabilityCall", "CapabilityExecutor", "CapabilityResult", "CapabilitySource", "Offer"),
    "capabilities.traits": ("Traits",),
    "capabilities.versions": ("SqliteVersions",),
    "capability": ("Capability", "CapabilityKind", "Risk", "Trust"),
    "context": ("AgentRef", "Budget", "CapabilitySelector", "Principal", "RuntimeSessionContext"),
    "errors": (
        "ActionRejected",
        "ApprovalError",
        "AuditTampered",
        "AuditUnavailable",
        "BudgetExceeded",
        "CapabilityDenied",
        "GovernanceError",
        "PolicyError",
    ),
    "executor": ("ActionExecutor", "UnifiedActionExecutor"),
    "keyring": ("Keyring",),
    "policy.files": ("load_policy",),
    "policy.verdict": ("Decision", "InterventionPoint", "Policy", "Verdict"),
    "redaction": ("Redactor",),
    "registry": ("Registry",),
    "session": ("Session",),
    "skills.registry": ("SkillRegistry",),
    "skills.sandbox": ("Sandbox",),
    "tool_source": ("CapabilityTools",),
    "view": ("CapabilityGraph", "CapabilityView"),
}
__all__, __getattr__ = _loader(globals(), _PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]
