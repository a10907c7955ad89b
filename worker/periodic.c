/* SPDX-License-Identifier: MIT */
/*
 * The table of periodic jobs, a line each. What a job does is in its room; when it runs and who claims it in jobs/.
 */
#include "worker/access/approval.h"
#include "worker/decisions/decisions.h"
#include "worker/identity/sweep.h"
#include "worker/jobs/jobs.h"
#include "worker/knowledge/adapters.h"
#include "worker/knowledge/upkeep.h"
#include "worker/memory/continuum.h"
#include "worker/ranking/calibration.h"
#include "worker/ranking/snapshot.h"
#include "worker/receipts/stamp.h"
#include "worker/retention/retention.h"
#include "worker/search/vectors.h"
#include "worker/worker.h"

/* clang-format off */
const struct job *const worker_jobs[] = {
	&retention_receipts_job,
	&retention_job,
	&identity_sweep_job,
	&approval_expiry_job,
	&calibration_job,
	&knowledge_writes_job,
	&continuum_job,
	&ratings_snapshot_job,
	&receipt_stamps_job,
	&decisions_job,
	&knowledge_staleness_job,
	&knowledge_decay_job,
	&knowledge_prune_job,
	&vectors_job,
	NULL,
};
/* clang-format on */
