/* SPDX-License-Identifier: MIT */
/*
 * Which permissions there are, how else they are spelt, and what the system's roles may. Data only, read by
 * permission.c; man/aragora-access.7 is generated from it by tests/unit/permission_test.c.
 */
#include "worker/permission/permission_table.h"

#include "common/compat.h"

/* clang-format off */
const char *const permission_keys[] = {
	"a2a.create", "a2a.read", "access.delegate", "access.grant", "access.read", "admin.*", "admin.audit",
	"admin.manage_features", "admin.security", "admin.system", "admin.system_config", "admin.users.write",
	"admin.view_metrics", "agents.create", "agents.delete", "agents.deploy", "agents.read", "agents.update",
	"alerts.admin", "alerts.read", "alerts.write", "analytics.export_data", "analytics.read", "analytics.update",
	"ap.read", "api.generate_key", "api.revoke_key", "api_key.create", "api_key.export_secret", "api_key.list_all",
	"api_key.revoke", "approval.grant", "approval.read", "approval.request", "audit_log.delete",
	"audit_log.export_data", "audit_log.read", "audit_log.search", "audit_log.stream", "audit_log.update",
	"auditing.create", "auditing.read", "authentication.create", "authentication.read",
	"authentication.require_mfa", "authentication.reset_password", "authentication.revoke", "authentication.update",
	"autonomous.approve", "autonomous.read", "autonomous.write", "backup.create", "backup.delete", "backup.read",
	"backup.restore", "belief.read", "belief.write", "billing.cancel", "billing.delete", "billing.export_history",
	"billing.read", "billing.update", "billing.write", "bindings.create", "bindings.delete", "bindings.read",
	"bindings.update", "bots.manage", "bots.read", "breakpoints.read", "breakpoints.update", "budget.delete",
	"budget.override", "budget.read", "budget.set_limit", "budget.write", "canvas.create", "canvas.delete",
	"canvas.read", "canvas.run", "canvas.share", "canvas.update", "canvas.write", "checkpoints.create",
	"checkpoints.delete", "checkpoints.read", "codebase.read", "codebase.run", "codebase.write", "compliance.audit",
	"compliance.check", "compliance.gdpr", "compliance.legal", "compliance.read", "compliance.soc2",
	"compliance.update", "compliance_policy.enforce", "compliance_policy.read", "compliance_policy.update",
	"computer_use.admin", "computer_use.browser", "computer_use.execute", "computer_use.file_read",
	"computer_use.file_write", "computer_use.network", "computer_use.read", "computer_use.screenshot",
	"computer_use.shell", "connectors.authorize", "connectors.create", "connectors.delete", "connectors.read",
	"connectors.rollback", "connectors.rotate", "connectors.test", "connectors.update", "consensus.create",
	"consensus.read", "control_plane.admin", "control_plane.agents.read", "control_plane.agents.register",
	"control_plane.agents.unregister", "control_plane.cancel", "control_plane.deliberate",
	"control_plane.health.read", "control_plane.manage", "control_plane.read", "control_plane.submit",
	"control_plane.tasks.claim", "control_plane.tasks.complete", "control_plane.tasks.read",
	"control_plane.tasks.submit", "cost_center.chargeback", "cost_center.read", "costs.read", "costs.write",
	"data_classification.classify", "data_classification.read", "data_classification.update", "data_lineage.read",
	"data_retention.read", "data_retention.update", "debates.create", "debates.delete", "debates.export",
	"debates.fork", "debates.read", "debates.run", "debates.stop", "debates.update", "decisions.create",
	"decisions.read", "decisions.update", "devices.notify", "devices.read", "devices.write",
	"disaster_recovery.execute", "disaster_recovery.read", "documents.create", "documents.delete", "documents.read",
	"documents.write", "dr.drill", "dr.read", "email.create", "email.delete", "email.read", "email.update",
	"emergency.activate", "emergency.read", "emergency.review", "evaluation.create", "evaluation.read",
	"evidence.create", "evidence.delete", "evidence.read", "evolution.read", "evolution.write", "expenses.approve",
	"expenses.read", "expenses.write", "explainability.batch", "explainability.read", "features.delete",
	"features.read", "features.write", "feedback.read", "feedback.update", "feedback.write", "finance.approve",
	"finance.read", "finance.write", "findings.assign", "findings.bulk", "findings.read", "findings.update",
	"gallery.read", "gallery.write", "gateway.actions.cancel", "gateway.actions.execute", "gateway.actions.read",
	"gateway.admin", "gateway.agent.create", "gateway.agent.delete", "gateway.agent.read", "gateway.approvals.read",
	"gateway.approvals.write", "gateway.audit.read", "gateway.configure", "gateway.create",
	"gateway.credential.create", "gateway.credential.delete", "gateway.credential.read",
	"gateway.credential.rotate", "gateway.delete", "gateway.execute", "gateway.health.read",
	"gateway.hybrid_debate", "gateway.install", "gateway.metrics.read", "gateway.policy.read",
	"gateway.policy.write", "gateway.read", "gateway.sessions.create", "gateway.sessions.delete",
	"gateway.sessions.read", "gateway.uninstall", "gauntlet.compare", "gauntlet.delete", "gauntlet.export_data",
	"gauntlet.read", "gauntlet.run", "gauntlet.sign", "genesis.create", "genesis.read", "hr.read", "inbox.create",
	"inbox.delete", "inbox.read", "inbox.update", "inbox.write", "insights.read", "integrations.delete",
	"integrations.read", "introspection.export_history", "introspection.read", "knowledge.admin",
	"knowledge.delete", "knowledge.read", "knowledge.share", "knowledge.update", "knowledge.write",
	"laboratory.read", "laboratory.write", "learning.read", "learning.write", "legal.read", "marketplace.delete",
	"marketplace.import", "marketplace.publish", "marketplace.rate", "marketplace.read", "marketplace.review",
	"memory.delete", "memory.manage", "memory.read", "memory.update", "memory.write", "metrics.read",
	"moments.read", "moments.write", "nomic.admin", "nomic.read", "onboarding.create", "onboarding.read",
	"onboarding.update", "orchestration.execute", "orchestration.read", "organization.delete",
	"organization.export_data", "organization.invite", "organization.manage_billing", "organization.read",
	"organization.update", "organization.view_audit", "partner.read", "payments.authorize", "payments.capture",
	"payments.charge", "payments.create", "payments.read", "payments.refund", "payments.void", "personas.read",
	"personas.write", "pii.mask", "pii.read", "pii.redact", "plans.approve", "plans.create", "plans.deny",
	"plans.read", "plugins.execute", "plugins.install", "plugins.read", "plugins.submit", "plugins.uninstall",
	"podcast.create", "podcast.read", "policies.create", "policies.delete", "policies.read", "policies.update",
	"provenance.export_data", "provenance.read", "provenance.verify", "pulse.create", "pulse.read", "pulse.update",
	"pulse.write", "queue.admin", "queue.manage", "queue.read", "quota.override", "quota.read", "quota.set_limit",
	"reasoning.read", "reasoning.update", "receipts.export_data", "receipts.read", "receipts.send",
	"receipts.share", "receipts.sign", "receipts.verify", "reconciliation.read", "relationships.read",
	"relationships.write", "replays.create", "replays.read", "repository.create", "repository.delete",
	"repository.read", "repository.update", "reviews.read", "rlm.create", "rlm.read", "role.create", "role.delete",
	"role.read", "role.update", "scheduler.create", "scheduler.delete", "scheduler.execute", "scheduler.read",
	"scheduler.update", "security.compare", "security.create", "security.execute", "security.read",
	"session.create", "session.list_active", "session.revoke", "skills.create", "skills.invoke", "skills.read",
	"skills.update", "slack.admin", "slack.commands.execute", "slack.commands.read", "slack.debates.create",
	"slack.interactive.respond", "slack.oauth.install", "slack.votes.record", "slack.workspace.manage",
	"speech.create", "system.read", "team.add_member", "team.create", "team.delete", "team.dissolve", "team.read",
	"team.remove_member", "team.share", "team.update", "teams.admin", "teams.cards.respond", "teams.debates.create",
	"teams.debates.vote", "teams.messages.read", "teams.messages.send", "telegram.admin",
	"telegram.callbacks.handle", "telegram.commands.execute", "telegram.debates.create", "telegram.debates.read",
	"telegram.gauntlet.run", "telegram.messages.send", "telegram.read", "telegram.votes.record", "template.create",
	"template.delete", "template.read", "template.update", "tournaments.create", "tournaments.read",
	"training.create", "training.read", "transcription.create", "transcription.read", "upload.create",
	"users.change_role", "users.impersonate", "users.invite", "users.read", "users.remove", "vendor.grant",
	"vendor.read", "verification.create", "verification.read", "verticals.read", "verticals.update", "webhooks.*",
	"webhooks.create", "webhooks.delete", "webhooks.read", "webhooks.update", "workflows.approve",
	"workflows.create", "workflows.delete", "workflows.execute", "workflows.read", "workflows.update",
	"workspace.create", "workspace.delete", "workspace.read", "workspace.share", "workspace.update",
	"workspace_member.add_member", "workspace_member.change_role", "workspace_member.remove_member",
};
/* clang-format on */
const size_t permission_keys_count = countof(permission_keys);

const struct permission_alias permission_aliases[] = {
    {"admin.impersonate", "users.impersonate"},
    {"admin.metrics", "admin.view_metrics"},
    {"agents.calibration.read", "agents.read"},
    {"analysis.read", "debates.read"},
    {"debates.write", "debates.create"},
    {"export.read", "debates.export"},
    {"monitoring.metrics", "admin.view_metrics"},
    {"monitoring.resilience", "admin.system"},
    {"org.billing", "organization.manage_billing"},
    {"system.health.read", "system.read"},
    {"workflows.run", "workflows.execute"},
};
const size_t permission_aliases_count = countof(permission_aliases);

const struct permission_alias permission_resources[] = {
    {"organizations.", "organization."},
    {"workspaces.", "workspace."},
    {"retention.policies.", "data_retention."},
    {"controlplane.", "control_plane."},
};
const size_t permission_resources_count = countof(permission_resources);

/*
 * Inheritance: owner > admin > {compliance_officer > analyst > viewer, debate_creator > team_lead > member > viewer}.
 * Everybody with a role looks after their own account (authentication, session) and may read receipts, for those are
 * the results of debates.
 */
const struct role permission_roles[] = {
    {
	.name = "owner",
	.priority = 100,
	.parents = {"admin"},
	.grants = "*",
	.summary = "Everything in the organization, billing and roles among it.",
    },
    {
	.name = "admin",
	.priority = 80,
	.parents = {"compliance_officer", "debate_creator"},
	.grants = "access: *; admin: audit security system users.write view_metrics; "
		  "agents: create delete deploy update; alerts: admin write; analytics: update; api: revoke_key; "
		  "authentication: reset_password; autonomous: approve write; backup: *; "
		  "bindings: create delete read update; bots: manage; breakpoints: read update; budget: *; "
		  "canvas: delete; checkpoints: delete; codebase: run; "
		  "computer_use: admin browser execute file_read file_write network read screenshot shell; "
		  "connectors: create delete read; control_plane: *; debates: delete; documents: create; emergency: *; "
		  "feedback: update; findings: bulk; "
		  "gateway: agent.create agent.delete credential.create credential.delete credential.rotate; "
		  "gauntlet: delete sign; knowledge: *; marketplace: delete; memory: delete manage; "
		  "metrics: read; nomic: admin; orchestration: execute read; "
		  "organization: delete export_data invite update; plans: approve deny; "
		  "provenance: export_data verify; queue: admin manage read; receipts: *; "
		  "repository: create delete read update; role: read; scheduler: *; slack: *; speech: create; "
		  "system: read; teams: *; telegram: *; training: create; upload: create; "
		  "users: change_role impersonate invite remove; verification: create; verticals: update; webhooks: *; "
		  "workflows: delete; workspace: create delete update; "
		  "workspace_member: add_member change_role remove_member",
	.summary = "Runs the organization: members, agents, connectors, retention, maintenance.",
    },
    {
	.name = "compliance_officer",
	.priority = 75,
	.parents = {"analyst"},
	.grants = "approval: grant read; audit_log: export_data read search stream update; "
		  "authentication: require_mfa; compliance_policy: enforce read update; "
		  "data_classification: classify read update; data_lineage: read; data_retention: read update; "
		  "emergency: read review; findings: update; organization: view_audit; pii: mask read redact; "
		  "receipts: export_data; vendor: grant read; workflows: approve",
	.summary = "Audit log, retention, personal data, findings; reads, and decides on approvals.",
    },
    {
	.name = "debate_creator",
	.priority = 50,
	.parents = {"team_lead"},
	.grants = "canvas: update; codebase: read; explainability: batch; gauntlet: compare export_data; "
		  "marketplace: publish; verification: read",
	.summary = "A team lead who also publishes and compares results.",
    },
    {
	.name = "team_lead",
	.priority = 55,
	.parents = {"member"},
	.grants = "approval: read request; cost_center: read; debates: update; findings: assign; memory: update; "
		  "quota: read; team: add_member read remove_member share update; workflows: approve update",
	.summary = "A member who also leads a team, changes debates and approves workflows.",
    },
    {
	.name = "member",
	.priority = 40,
	.parents = {"viewer"},
	.grants = "access: delegate read; alerts: read; analytics: read; api: generate_key; api_key: create revoke; "
		  "autonomous: read; bots: read; budget: read; canvas: create read run; checkpoints: create read; "
		  "debates: create export fork run stop; decisions: create read update; devices: notify read write; "
		  "evidence: create read; explainability: read; feedback: read write; findings: update; "
		  "gateway: agent.read credential.read hybrid_debate; gauntlet: read run; inbox: read update; "
		  "introspection: export_history read; knowledge: read share write; "
		  "marketplace: import rate read review; "
		  "memory: read; nomic: read; plans: create read; provenance: read; reasoning: read; replays: read; "
		  "skills: read update; "
		  "slack: commands.execute commands.read debates.create interactive.respond votes.record; "
		  "teams: cards.respond debates.create debates.vote messages.read messages.send; "
		  "telegram: callbacks.handle commands.execute debates.create debates.read gauntlet.run messages.send "
		  "read votes.record; "
		  "users: read; verticals: read; workflows: create execute read; workspace: read share",
	.summary = "Starts debates and workflows, reads results, has own API keys; the default.",
    },
    {
	.name = "analyst",
	.priority = 30,
	.parents = {"viewer"},
	.grants =
	    "analytics: export_data read; checkpoints: read; documents: read; evidence: read; "
	    "explainability: read; gauntlet: read; knowledge: read; marketplace: read; memory: read; training: read; "
	    "users: read; "
	    "workflows: read",
	.summary = "Reads debates, evidence and analytics, and exports the latter.",
    },
    {
	.name = "viewer",
	.priority = 10,
	.grants = "agents: read; authentication: create read revoke update; debates: read; findings: read; "
		  "gateway: health.read; organization: read; receipts: read verify; session: list_active revoke",
	.summary = "Reads debates, agents and receipts, and looks after its own account.",
    },
};
const size_t permission_roles_count = countof(permission_roles);
