/* SPDX-License-Identifier: MIT */
/*
 * The schemas of bodies, and the check of one body against its own. Called by openapi.c and by the validation step.
 * What belongs together (aliases, agents and seats) is for handlers.
 */
#include "worker/system/schema.h"

#include "common/json.h"

const struct schema_field schema_fields[] = {
    {"Error", "error", "string", "What is wrong, as a sentence", true},
    {"Error", "code", "string", "Stable code, for example MISSING_FIELD", true},
    {"Error", "trace_id", "string", "The request's X-Request-ID", true},
    {"Error", "field", "string", "The offending field", false},
    {"Error", "errors", "[]{}", "Every bad field, on 400", false},
    {"DebateCreate", "task", "string", "The question, 1 to 10000 characters; topic and question are accepted names too",
     true},
    {"DebateCreate", "rounds", "integer", "Debate rounds after the independent drafts, 1 to 12", false},
    {"DebateCreate", "agents", "[]{}", "Names, specs provider|model|persona|role, or objects; 2 to 10", false},
    {"DebateCreate", "consensus", "string",
     "majority, weighted, supermajority, unanimous, semantic, any, byzantine, judge, hybrid or none", false},
    {"DebateCreate", "consensus_threshold", "number", "The weighted share that decides, 0.5 to 1; 0.6 by default",
     false},
    {"DebateCreate", "topology", "string",
     "Who criticises whom: auto, all-to-all, ring, round-robin, sparse, star or adaptive", false},
    {"DebateCreate", "debate_format", "string",
     "light: one round, stops early; full: stops only if all agree; default between them", false},
    {"DebateCreate", "context", "string", "Background for the agents, at most 100000 characters", false},
    {"DebateCreate", "protocol", "{}", "Settings of the course and the decision, see aragorad(8)", false},
    {"DebateCreate", "agreement_intensity", "integer", "How far a reviser gives way, 0 to 10; 5 by default", false},
    {"DebateCreate", "role_rotation", "boolean", "Another cognitive role for each agent in each round", false},
    {"DebateCreate", "asymmetric_stances", "boolean", "Agents argue for, against, or between", false},
    {"DebateCreate", "structured_rounds", "boolean", "Each round has a goal; true by default", false},
    {"DebateCreate", "early_stopping", "boolean", "End when the agents are ready or agree; true by default", false},
    {"DebateCreate", "position_shuffling", "boolean", "Each voter sees three orders: three times the votes", false},
    {"DebateCreate", "vote_weights", "boolean", "Votes weigh by rating, reputation and calibration", false},
    {"DebateCreate", "user_vote_weight", "number", "Weight of a person's vote, 0 to 1; 0.5 by default", false},
    {"DebateCreate", "budget_limit_usd", "number", "What it may cost, to 100; it never costs more", false},
    {"DebateCreate", "metadata", "{}", "Kept and given back", false},
    {"DebateCreate", "callback_url", "string", "Is told of the end by a signed POST; public and https", false},
    {"DebateCreate", "callback_secret", "string", "Signs it (HMAC-SHA256), 16 to 256 characters", false},
    {"DebateCreated", "id", "string", "The debate's id", true},
    {"DebateCreated", "debate_id", "string", "The same", true},
    {"DebateCreated", "status", "string", "created", true},
    {"DebateCreated", "success", "boolean", "true", true},
    {"DebateCreated", "task", "string", "The question", true},
    {"DebateCreated", "agents", "[]string", "Names of the agents", true},
    {"DebateCreated", "websocket_url", "string", "Where its events are", true},
    {"DebateCreated", "demo", "boolean", "Built-in demo agents play", true},
    {"Debate", "id", "string", "Id", true},
    {"Debate", "debate_id", "string", "The same", true},
    {"Debate", "slug", "string", "Readable name, unique in the workspace", true},
    {"Debate", "task", "string", "The question", true},
    {"Debate", "status", "string", "created, running, completed, failed, cancelled or archived", true},
    {"Debate", "agents", "[]string", "Who takes part", true},
    {"Debate", "consensus_reached", "boolean", "Was the threshold met?", true},
    {"Debate", "confidence", "number", "0 to 1: the winning position's weighted share of the vote", true},
    {"Debate", "final_answer", "string", "The decision", false},
    {"Debate", "messages", "[]#Message", "What was said", false},
    {"Debate", "critiques", "[]{}", "Issues, suggestions, severity 0 to 10", false},
    {"Debate", "votes", "[]{}", "Choice, confidence, weight, reasoning", false},
    {"Debate", "consensus", "{}", "share, weighted_share, margin, strength, supporting and dissenting agents", false},
    {"Debate", "total_cost_usd", "number", "Cost", false},
    {"Debate", "receipt_id", "string", "The decision receipt", false},
    {"Debate", "callback", "{}", "How the delivery to callback_url stands", false},
    {"Debate", "created_at", "string", "ISO 8601, UTC", true},
    {"DebateList", "debates", "[]#Debate", "Newest first", true},
    {"DebateList", "total", "integer", "All that match", true},
    {"DebateList", "has_more", "boolean", "Is there a next page?", true},
    {"SearchResult", "results", "[]#Debate", "Newest first", true},
    {"SearchResult", "total", "integer", "All that match", true},
    {"Search", "query", "string", "Text to find in task, title and answer", true},
    {"DebateUpdate", "title", "string", "At most 500 characters", false},
    {"DebateUpdate", "tags", "[]string", "At most 20", false},
    {"DebateUpdate", "metadata", "{}", "Replaces the former", false},
    {"DebateUpdate", "status", "string", "archived, or active to take it back", false},
    {"DebateUpdated", "success", "boolean", "true", true},
    {"DebateUpdated", "updated_fields", "[]string", "What was changed", true},
    {"Deleted", "deleted", "boolean", "true", true},
    {"DebateStatus", "status", "string", "As in Debate", true},
    {"DebateStatus", "current_round", "integer", "0 while drafts are written", true},
    {"DebateStatus", "last_seq", "integer", "Number of its newest event", true},
    {"Tags", "tags", "[]string", "At most 20 of at most 100 characters; one alone as tag", true},
    {"TagList", "tags", "[]string", "The tags of the debate now", true},
    {"TagList", "count", "integer", "How many", true},
    {"Archived", "archived", "boolean", "Is it in the archive now?", true},
    {"Archived", "status", "string", "As in Debate", true},
    {"NoteText", "content", "string", "1 to 10000 bytes", true},
    {"Note", "note_id", "string", "Id", true},
    {"Note", "debate_id", "string", "The debate", true},
    {"Note", "content", "string", "The text", true},
    {"Note", "author", "string", "Who wrote it", true},
    {"Note", "created_at", "string", "ISO 8601, UTC", true},
    {"Note", "updated_at", "string", "When its author changed it last", true},
    {"NoteList", "notes", "[]#Note", "Oldest first", true},
    {"NoteList", "total", "integer", "All of the debate", true},
    {"NoteList", "has_more", "boolean", "Is there a next page?", true},
    {"DebateStats", "total_debates", "integer", "All of the period", true},
    {"DebateStats", "completed_debates", "integer", "Those that came to their end", true},
    {"DebateStats", "consensus_rate", "number", "Share of these with consensus, 0 to 1", true},
    {"DebateStats", "avg_rounds", "number", "Of completed ones", true},
    {"DebateStats", "avg_duration_seconds", "number", "Of completed ones, without waiting", true},
    {"DebateStats", "by_protocol", "{}", "By kind of decision: debates, consensus_reached, consensus_rate", true},
    {"AgentStats", "agents", "[]{}", "agent, debates, calls, tokens_in, tokens_out, cost_usd, wins, win_rate", true},
    {"CostEstimate", "total_estimated_cost_usd", "number", "If all rounds are held", true},
    {"CostEstimate", "breakdown_by_model", "[]{}", "Agents, calls, tokens, prices and cost of each", true},
    {"CostEstimate", "assumptions", "{}", "What it was reckoned with", true},
    {"DebateShare", "expires_in_hours", "integer", "1 to 720; 24 by default", false},
    {"DebateShare", "max_viewers", "integer", "Who may follow it on one worker at a time, 1 to 1000; 100 by default",
     false},
    {"DebateShared", "token", "string", "Told once; only its hash is kept", true},
    {"DebateShared", "share_url", "string", "Where the debate can be read; full_url with the host", true},
    {"DebateShared", "sse_url", "string", "Where its events are", true},
    {"DebateShared", "expires_at", "string", "ISO 8601, UTC", true},
    {"Spectate", "spectate_available", "boolean", "true", true},
    {"Spectate", "active_viewers", "integer", "Who follow it on this worker now", true},
    {"Spectate", "max_viewers", "integer", "How many may", true},
    {"Spectate", "sse_url", "string", "Where its events are", true},
    {"Timeline", "timeline", "[]{}", "seq, type, timestamp, round, agent, summary", true},
    {"Timeline", "next_seq", "integer", "What to give as since for the next page", true},
    {"Timeline", "has_more", "boolean", "Is there a next page?", true},
    {"Timeline", "log_kept", "boolean", "false: retention has removed the log", true},
    {"Trickster", "trickster_enabled", "boolean", "Is agreement without evidence challenged in this debate?", true},
    {"Trickster", "hollow_consensus_detected", "boolean", "Was it found?", true},
    {"Trickster", "hollow_consensus_alerts", "[]{}", "round, timestamp, confidence, indicators, recommendation", true},
    {"Trickster", "interventions", "[]{}", "round, timestamp, intervention_type, targets, challenge", true},
    {"Trickster", "config", "{}", "The thresholds, 0 to 1", true},
    {"Reasoning", "data", "{}", "agents {name: positions, critiques, critiques_received, vote}, conclusion", true},
    {"Message", "role", "string", "Role of the speaker", true},
    {"Message", "agent", "string", "Name of the speaker", true},
    {"Message", "content", "string", "The text", true},
    {"Message", "round", "integer", "0 for independent drafts", true},
    {"MessagePage", "messages", "[]#Message", "In order", true},
    {"MessagePage", "total", "integer", "All messages", true},
    {"Leaderboard", "rankings", "[]#RatingEntry", "The agents in order", true},
    {"Leaderboard", "agents", "[]#RatingEntry", "The same", true},
    {"Leaderboard", "total", "integer", "All that match", true},
    {"Leaderboard", "has_more", "boolean", "Is there a next page?", true},
    {"RatingEntry", "rank", "integer", "From 1; null without matches", false},
    {"RatingEntry", "name", "string", "The agent; also agent_name, agent, agent_id", true},
    {"RatingEntry", "elo", "number", "Rating; also elo_rating, rating", true},
    {"RatingEntry", "matches", "integer", "Rated debates; also games, total_debates, matches_played", true},
    {"RatingEntry", "wins", "integer", "Debates in which its position alone prevailed", true},
    {"RatingEntry", "losses", "integer", "Debates in which another one did", true},
    {"RatingEntry", "draws", "integer", "Debates in which it shared the position that prevailed", true},
    {"RatingEntry", "win_rate", "number", "wins / matches", true},
    {"RatingEntry", "provisional", "boolean", "Fewer than ten matches", true},
    {"RatingEntry", "consistency", "number", "1 less the share of debates in which it changed its position", true},
    {"RatingEntry", "reputation", "number", "0 to 1, from proposals and critiques; 0.5 without history", true},
    {"AgentProfile", "name", "string", "The agent", true},
    {"AgentProfile", "elo", "number", "Rating", true},
    {"AgentProfile", "rank", "integer", "From 1; null without matches", false},
    {"AgentProfile", "streak", "integer", "Wins or losses in a row", true},
    {"AgentProfile", "streak_type", "string", "win, loss or none", true},
    {"AgentProfile", "calibration", "{}", "Figures of predictions whose outcome is known, or null", false},
    {"AgentProfile", "elo_change_30d", "number", "What the last thirty days changed", true},
    {"AgentHistory", "agent", "string", "The agent", true},
    {"AgentHistory", "elo", "number", "Rating now", true},
    {"AgentHistory", "history", "[]{}", "debate_id, result, elo_before, elo_after, elo_change, timestamp; newest first",
     true},
    {"MatchList", "matches", "[]{}", "debate_id, winner, participants, scores, elo_changes, domain, created_at", true},
    {"MatchList", "count", "integer", "How many these are", true},
    {"HeadToHead", "matches", "integer", "Debates of both", true},
    {"HeadToHead", "wins", "integer", "Debates in which the first scored higher", true},
    {"HeadToHead", "losses", "integer", "Debates in which the second did", true},
    {"HeadToHead", "draws", "integer", "Equal scores", true},
    {"HeadToHead", "domain_breakdown", "{}", "win, loss and draw by domain", true},
    {"AgentNetwork", "agent", "string", "The agent", true},
    {"AgentNetwork", "allies", "[]{}", "Agents with whom it mostly ended on one side, at least three debates", false},
    {"AgentNetwork", "rivals", "[]{}", "Agents with whom it mostly did not", false},
    {"AgentCalibration", "agent", "string", "The agent", true},
    {"AgentCalibration", "prediction_count", "integer", "Votes of debates whose outcome is known", true},
    {"AgentCalibration", "brier_score", "number", "Mean of (confidence - outcome) squared; null without predictions",
     false},
    {"AgentCalibration", "ece", "number", "Expected calibration error over ten buckets", false},
    {"AgentCalibration", "calibration_score", "number", "(1 - Brier) by the number of predictions; 0 below ten", true},
    {"AgentCalibration", "temperature", "number",
     "What confidences are divided by, as log odds; fitted from 20 predictions on", true},
    {"AgentCalibration", "trust_tier", "string", "unrated, excellent, good, moderate or poor", true},
    {"CalibrationCurve", "buckets", "[]{}", "range_start, range_end, total_predictions, correct_predictions, accuracy",
     true},
    {"CalibrationLeaderboard", "metric", "string", "brier, ece, accuracy or composite", true},
    {"CalibrationLeaderboard", "agents", "[]{}", "The agents in order", true},
    {"AgentReputation", "score", "number", "0.6 accepted / made + 0.4 valuable / given", true},
    {"AgentReputation", "conformity", "{}", "How often its votes were for who won: agreement, not being right", true},
    {"AgentDomains", "domains", "[]{}", "domain, elo, relative, matches, win_rate", true},
    {"AgentFlips", "flips", "[]{}", "original_position, new_position, round_number, debate_id", true},
    {"AgentPositions", "positions", "[]{}", "debate_id, topic, stance, text, confidence", true},
    {"AgentMoments", "moments", "[]{}",
     "moment_type, description, significance_score, debate_id, context, timestamp; the most telling first", true},
    {"AgentBriefing", "opponent_profile", "{}", "elo, strengths, weaknesses, preferred_domains; null: never rated",
     false},
    {"AgentBriefing", "briefing", "string", "What is known of the opponent, in sentences; null: nothing", false},
    {"AgentBriefing", "recommended_strategy", "string", "What follows from that; null: nothing does", false},
    {"AgentBriefing", "key_insights", "[]string", "What its debates have shown", true},
    {"AgentBriefing", "confidence", "number", "How much there is to go by, 1 from ten rated debates on", true},
    {"AgentIntrospection", "identity", "{}", "name, provider, model, specialties, strengths", true},
    {"AgentIntrospection", "performance", "{}", "elo, total_games, wins, losses, win_rate", true},
    {"AgentIntrospection", "calibration", "{}", "accuracy, brier_score, prediction_count, confidence_level", true},
    {"AgentIntrospection", "positions", "[]{}", "That it ended its newest debates with", true},
    {"AgentIntrospection", "debate_context", "{}", "Its part in the debate that was asked for, or null", false},
    {"LeaderboardView", "data", "{}", "rankings, matches, reputation, teams, stats, introspection", true},
    {"LeaderboardView", "errors", "{}", "partial_failure, failed_sections, messages", true},
    {"OutcomeRecord", "correct", "boolean", "Was the debate's answer right? Required without right_agents", false},
    {"OutcomeRecord", "right_agents", "[]string", "Whose positions were right, if that is known", false},
    {"OutcomeRecord", "verified", "boolean", "The answer was verified or refuted: moves the winner's rating by 8",
     false},
    {"OutcomeRecord", "source", "string", "Where it is known from, at most 200 characters", false},
    {"OutcomeRecord", "note", "string", "At most 2000 characters", false},
    {"DebateOutcome", "debate_id", "string", "The debate", true},
    {"DebateOutcome", "correct", "boolean", "Its answer was right", true},
    {"DebateOutcome", "verified", "boolean", "It was verified or refuted", true},
    {"DebateOutcome", "elo_change", "number", "What that changed of the winner's rating", true},
    {"DebateOutcome", "right_agents", "[]string", "Whose positions were right; null: only the answer is known", false},
    {"DebateOutcome", "recorded_at", "string", "ISO 8601, UTC", true},
    {"Cancel", "reason", "string", "Shown with the result", false},
    {"Cancelled", "status", "string", "cancelled", true},
    {"BatchSubmit", "items", "[]{}", "1 to 1000 bodies as of a debate, each with priority; requests is accepted too",
     true},
    {"BatchSubmit", "max_parallel", "integer", "How many run side by side, 1 to 50; 3 by default", false},
    {"BatchSubmit", "priority", "{}", "Of items that name none: low, normal, high or -1000 to 1000", false},
    {"BatchSubmit", "webhook_url", "string", "Called when all have ended", false},
    {"BatchSubmit", "webhook_secret", "string", "Signs the call", false},
    {"BatchSubmitted", "batch_id", "string", "Its name", true},
    {"BatchSubmitted", "items_queued", "integer", "How many wait", true},
    {"BatchSubmitted", "status_url", "string", "Where it tells how it stands", true},
    {"Batch", "status", "string", "pending, processing, completed, partial, failed or cancelled", true},
    {"Batch", "progress_percent", "number", "Share of the items that have ended", true},
    {"Batch", "items", "[]{}", "Each with status, debate_id and error", true},
    {"BatchList", "batches", "[]#Batch", "Newest first", true},
    {"BatchList", "total", "integer", "All that match", true},
    {"BatchChanged", "success", "boolean", "true", true},
    {"BatchChanged", "status", "string", "What it is now", true},
    {"Fork", "branch_point", "integer", "The round after which it begins", true},
    {"Fork", "modified_context", "string", "Instead of the debate's context; at most 5000 bytes", false},
    {"Fork", "agents", "[]{}", "Instead of the debate's agents", false},
    {"Forked", "debate_id", "string", "The new debate", true},
    {"Forked", "parent_debate_id", "string", "The one it comes from", true},
    {"ForkList", "forks", "[]{}", "Oldest first", true},
    {"ForkList", "tree", "{}", "With the forks of forks", true},
    {"FollowupList", "suggestions", "[]{}", "Open questions, the most urgent first", true},
    {"Followup", "crux_id", "string", "One of them", false},
    {"Followup", "task", "string", "Or a question of its own", false},
    {"Followup", "agents", "[]{}", "Instead of the debate's agents", false},
    {"DebateThis", "question", "string", "What is to be debated", true},
    {"DebateThis", "context", "string", "Background for the agents", false},
    {"MatrixSubmit", "task", "string", "The question", true},
    {"MatrixSubmit", "scenarios", "[]{}", "1 to 50, each {name, parameters, constraints, is_baseline}", true},
    {"MatrixSubmit", "agents", "[]{}", "As of a debate", false},
    {"MatrixSubmit", "max_rounds", "integer", "Of each debate; 3 by default", false},
    {"Matrix", "status", "string", "As of a batch", true},
    {"Matrix", "results", "[]{}", "One for each scenario", true},
    {"Matrix", "universal_conclusions", "[]{}", "What all scenarios decide alike", true},
    {"Matrix", "conditional_conclusions", "[]{}", "What some decide, and which", true},
    {"Matrix", "comparison_matrix", "{}", "consensus_rate, avg_confidence and what differs from the baseline", true},
    {"GraphSubmit", "task", "string", "The question, 10 to 5000 bytes", true},
    {"GraphSubmit", "agents", "[]{}", "As of a debate", false},
    {"GraphSubmit", "max_rounds", "integer", "Of each debate; 5 by default", false},
    {"GraphSubmit", "branch_policy", "{}", "min_disagreement 0.7, max_branches 3, auto_merge true, merge_strategy",
     false},
    {"Graph", "status", "string", "As of a batch", true},
    {"Graph", "graph", "{}", "nodes and edges", true},
    {"Graph", "branches", "[]{}", "The debates it consists of, the root first", true},
    {"Graph", "merge_results", "[]{}", "How the branches were joined", true},
    {"FormList", "items", "[]{}", "Newest first", true},
    {"FormList", "total", "integer", "All that match", true},
    {"Weights", "agent", "string", "Whose vote", false},
    {"Weights", "weight", "number", "0 to 2", false},
    {"Weights", "weights", "{}", "Or several: {agent: weight}", false},
    {"Threshold", "threshold", "number", "0.5 to 1", true},
    {"Setting", "considered", "boolean", "Does it come in time, as far as is known?", true},
    {"Setting", "message", "string", "The same as a sentence", true},
    {"InterventionState", "is_paused", "boolean", "Does it stand still?", true},
    {"InterventionState", "consensus_threshold", "number", "The share that decides", true},
    {"InterventionState", "agent_weights", "{}", "Weights that people have set", true},
    {"Template", "name", "string", "At most 200 bytes", true},
    {"Template", "template", "{}", "A body as of a debate; {words} in task and context are filled in", true},
    {"Template", "category", "string", "For lists", false},
    {"Template", "description", "string", "At most 2000 bytes", false},
    {"TemplateList", "templates", "[]#Template", "The workspace's own first", true},
    {"TemplateChanged", "template_id", "string", "Its id", true},
    {"TemplateUse", "inputs", "{}", "For the {words} of the template; everything else replaces its members", false},
    {"QueueStatus", "pending_count", "integer", "Debates of the workspace that wait", true},
    {"QueueStatus", "running_count", "integer", "Debates of the workspace that run", true},
    {"QueueStatus", "debates", "[]{}", "The first of them: debate_id, position among all, estimated_wait_seconds",
     true},
    {"QueueStatus", "average_wait_time_ms", "integer", "Of what was created today and has ended", true},
    {"UserVote", "choice", "string", "Name of the agent whose proposal is the best", true},
    {"UserVote", "intensity", "number", "1 to 10; 5 by default", false},
    {"UserSuggestion", "suggestion", "string", "At most 2000 bytes; content, text and message are accepted names too",
     true},
    {"UserMessage", "content", "string", "At most 2000 bytes", true},
    {"Nudge", "message", "string", "At most 2000 bytes", true},
    {"Nudge", "target_agent", "string", "For whom it is", false},
    {"Challenge", "challenge", "string", "At most 2000 bytes", true},
    {"Challenge", "target_agent", "string", "For whom it is", false},
    {"InjectEvidence", "evidence", "string", "At most 2000 bytes", true},
    {"InjectEvidence", "source", "string", "Where it is from", false},
    {"Inject", "content", "string", "At most 2000 bytes", true},
    {"Inject", "type", "string", "argument (default) or follow_up", false},
    {"Intervene", "type", "string", "redirect, constraint, challenge or evidence_request", true},
    {"Intervene", "content", "string", "At most 2000 bytes", true},
    {"Intervene", "apply_at_round", "integer", "Not before this round", false},
    {"Intervention", "intervention_id", "string", "Names it in the log and in its event", true},
    {"Intervention", "considered", "boolean", "Does it come in time, as far as is known?", true},
    {"Intervention", "will_appear_in", "string", "next_round, decision or never", true},
    {"Intervention", "message", "string", "The same as a sentence", true},
    {"InterventionLog", "entries", "[]{}", "Oldest first, each with status waiting, applied or too_late", true},
    {"Paused", "state", "string", "paused or running: what was asked for", true},
    {"Paused", "status", "string", "How it stands now: a pause waits for calls under way", true},
    {"Paused", "is_paused", "boolean", "Whether it is to stand still", true},
    {"EventPage", "events", "[]{}", "Envelopes {type, data, seq, timestamp, round, agent, debate_id}", true},
    {"EventPage", "next_seq", "integer", "Give it as after_seq to go on", true},
};
const size_t schema_fields_count = countof(schema_fields);

/* What the pipeline checks: most characters, elements, bytes of JSON. */
static const struct schema_limit {
	const char *schema, *name;
	size_t max;
} schema_limits[] = {
    {"Search", "query", 1000},           {"DebateUpdate", "title", 500}, {"DebateUpdate", "tags", 20},
    {"DebateUpdate", "metadata", 65536}, {"Cancel", "reason", 500},
};

bool schema_checked(const char *schema)
{
	size_t i;

	for (i = 0; i < countof(schema_limits); i++)
		if (strcmp(schema_limits[i].schema, schema) == 0)
			return true;
	return false;
}

static const char *schema_type(const struct schema_limit *l)
{
	size_t i;

	for (i = 0; i < countof(schema_fields); i++)
		if (strcmp(schema_fields[i].schema, l->schema) == 0 && strcmp(schema_fields[i].name, l->name) == 0)
			break;
	BUG_ON(i == countof(schema_fields)); /* a limit of a field that no schema has */
	return schema_fields[i].type;
}

static bool schema_is(const json_t *v, const char *type)
{
	if (strncmp(type, "[]", 2) == 0)
		return json_is_array(v);
	if (strcmp(type, "{}") == 0 || type[0] == '#')
		return json_is_object(v);
	if (strcmp(type, "string") == 0)
		return json_is_string(v);
	if (strcmp(type, "integer") == 0)
		return json_is_integer(v);
	return strcmp(type, "boolean") == 0 ? json_is_boolean(v) : json_is_number(v);
}

/* Code points of a string, elements of a list, bytes of an object as text. */
static size_t schema_size(const json_t *v)
{
	const char *p = json_string_value(v);
	size_t i, n = 0;

	if (json_is_array(v))
		return json_array_size(v);
	if (json_is_object(v))
		return json_dumpb(v, NULL, 0, JSON_COMPACT);
	for (i = 0; p != NULL && i < json_string_length(v); i++)
		n += ((unsigned char)p[i] & 0xC0) != 0x80;
	return n;
}

static const char *schema_unit(const json_t *v)
{
	return json_is_array(v) ? "elements" : json_is_object(v) ? "bytes of JSON" : "characters";
}

static void schema_one(const struct schema_limit *l, const json_t *v, struct problems *p)
{
	const char *type = schema_type(l);
	bool list = strncmp(type, "[]", 2) == 0;
	const json_t *e;
	size_t i;

	if (!schema_is(v, type)) {
		problem_add(p, ERR_INVALID_VALUE, l->name, "must be %s %s", list ? "a list of" : "of type",
			    list                      ? type + 2
			    : strcmp(type, "{}") == 0 ? "object"
						      : type);
		return;
	}
	if (schema_size(v) > l->max)
		problem_add(p, ERR_INVALID_VALUE, l->name, "must be at most %zu %s", l->max, schema_unit(v));
	if (!list)
		return;
	json_array_foreach(v, i, e)
	{
		if (schema_is(e, type + 2))
			continue;
		problem_add(p, ERR_INVALID_VALUE, l->name, "element %zu must be of type %s", i, type + 2);
		return;
	}
}

void schema_check(const char *schema, const json_t *body, struct problems *p)
{
	size_t i;

	for (i = 0; i < countof(schema_limits); i++) {
		const struct schema_limit *l = &schema_limits[i];
		const json_t *v = strcmp(l->schema, schema) == 0 ? json_object_get(body, l->name) : NULL;

		if (v != NULL && !json_is_null(v))
			schema_one(l, v, p);
	}
}
