-- control.db, schema 1: what is switched on, who approved, what happened. Times are int ms UTC (_ms), JSON is canonical.
CREATE TABLE meta(k TEXT PRIMARY KEY, v ANY NOT NULL) STRICT, WITHOUT ROWID;   -- version (monotone), manifest_version, environment, unit_key_id, stop_ms (shutdown)
CREATE TABLE flag(id INTEGER PRIMARY KEY CHECK(id BETWEEN 1 AND 65535), flag_key TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL,
  percentage REAL NOT NULL CHECK(percentage BETWEEN 0 AND 100), salt TEXT NOT NULL, definition TEXT NOT NULL, version INTEGER NOT NULL,
  entry INTEGER NOT NULL DEFAULT 0, entries INTEGER NOT NULL DEFAULT 0, held TEXT CHECK(held IN ('rollback','emergency')), held_reason TEXT, held_ms INTEGER,
  journal_seq INTEGER NOT NULL DEFAULT 0, updated_ms INTEGER NOT NULL, updated_by TEXT NOT NULL) STRICT;           -- held NULL = not held
CREATE TABLE plan(plan_id TEXT PRIMARY KEY, flag_id INTEGER NOT NULL REFERENCES flag(id), digest TEXT NOT NULL, body TEXT NOT NULL,
  created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, ended_ms INTEGER) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX plan_live ON plan(flag_id) WHERE ended_ms IS NULL;                            -- one live plan per flag
CREATE TABLE journal(seq INTEGER PRIMARY KEY, plan_id TEXT NOT NULL REFERENCES plan(plan_id), plan_seq INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  kind TEXT NOT NULL, body TEXT NOT NULL, tick INTEGER, manifest_version INTEGER, request_id TEXT, UNIQUE(plan_id, plan_seq)) STRICT;
CREATE VIEW stage_entry AS SELECT plan_id, json_extract(body,'$.stage') AS stage, json_extract(body,'$.entry') AS entry,
  json_extract(body,'$.flag_version') AS flag_version, at_ms FROM journal WHERE kind='stage_entered';
CREATE TABLE guardrail_state(plan_id TEXT NOT NULL, entry INTEGER NOT NULL, guardrail TEXT NOT NULL, tick INTEGER NOT NULL, state TEXT NOT NULL,
  assessment TEXT NOT NULL, PRIMARY KEY(plan_id, entry, guardrail)) STRICT, WITHOUT ROWID;        -- a cache of the judge: observations replayed give the same
CREATE TABLE approval_request(id INTEGER PRIMARY KEY, plan_id TEXT NOT NULL, plan_digest TEXT NOT NULL, stage INTEGER NOT NULL, entry INTEGER NOT NULL,
  statement BLOB NOT NULL, evidence_digest TEXT NOT NULL, tick INTEGER NOT NULL, manifest_version INTEGER NOT NULL, required INTEGER NOT NULL,
  at_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, voided_ms INTEGER) STRICT;                 -- the bytes that every approver signs
CREATE TABLE approval(request INTEGER NOT NULL REFERENCES approval_request(id), approver TEXT NOT NULL, decision TEXT NOT NULL
  CHECK(decision IN ('approve','reject')), at_ms INTEGER NOT NULL, envelope BLOB, review_sha256 TEXT, PRIMARY KEY(request, approver)) STRICT, WITHOUT ROWID;
CREATE TABLE alert(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, type TEXT NOT NULL, severity TEXT NOT NULL CHECK(severity IN
  ('critical','high','medium','low')), flag_id INTEGER, plan_id TEXT, rule TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL,
  count INTEGER NOT NULL DEFAULT 1, first_seen_ms INTEGER NOT NULL, last_seen_ms INTEGER NOT NULL, acknowledged_ms INTEGER, acknowledged_by TEXT,
  resolved_ms INTEGER, resolved_by TEXT, resolution TEXT, previous INTEGER REFERENCES alert(id)) STRICT;
CREATE UNIQUE INDEX alert_open ON alert(fingerprint) WHERE resolved_ms IS NULL;                   -- state: resolved, acknowledged or open, in that order
CREATE TABLE outbox(id INTEGER PRIMARY KEY, alert_id INTEGER NOT NULL REFERENCES alert(id), event TEXT NOT NULL CHECK(event IN ('opened','repeat','resolved')),
  body TEXT NOT NULL, created_ms INTEGER NOT NULL, sends INTEGER NOT NULL DEFAULT 0, next_ms INTEGER NOT NULL, done_ms INTEGER, failure TEXT) STRICT;
CREATE TABLE hook_budget(name TEXT PRIMARY KEY, tokens REAL NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE hook_breaker(hook TEXT PRIMARY KEY, failures INTEGER NOT NULL, opened_ms INTEGER, open_until_ms INTEGER, open_ms INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE audit(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL, leaf BLOB NOT NULL,
  leaf_hash BLOB NOT NULL) STRICT;                                              -- SHA-256(0x00 || leaf); seq from 1 without gaps, leaf index = seq - 1
CREATE TABLE audit_tree(id INTEGER PRIMARY KEY CHECK(id = 1), size INTEGER NOT NULL, peaks BLOB NOT NULL) STRICT;  -- roots of the complete subtrees
CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, root BLOB NOT NULL, note BLOB NOT NULL, at_ms INTEGER NOT NULL) STRICT;
CREATE TABLE api_key(name TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, scopes TEXT NOT NULL, flags TEXT, created_ms INTEGER NOT NULL,
  expires_ms INTEGER, revoked_ms INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE command(request_id TEXT PRIMARY KEY, digest TEXT NOT NULL, reply TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE rate_limit(actor TEXT, action TEXT, tat_ms INTEGER NOT NULL, PRIMARY KEY(actor, action)) STRICT, WITHOUT ROWID;
CREATE TABLE lease(name TEXT PRIMARY KEY, holder TEXT NOT NULL, fence INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE source(id INTEGER PRIMARY KEY CHECK(id BETWEEN 1 AND 65535), uuid BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, host TEXT NOT NULL,
  boot_id TEXT, pid INTEGER, started_ms INTEGER NOT NULL, offset_ms INTEGER NOT NULL DEFAULT 0, next_seq INTEGER NOT NULL DEFAULT 0, closed_ms INTEGER) STRICT;
CREATE TABLE segment(path TEXT PRIMARY KEY, tier TEXT NOT NULL CHECK(tier IN ('segment','hour','day')), day INTEGER NOT NULL, rows INTEGER NOT NULL,
  min_ms INTEGER NOT NULL, max_ms INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, has_events INTEGER NOT NULL,
  added_version INTEGER NOT NULL, retired_version INTEGER, retired_ms INTEGER) STRICT, WITHOUT ROWID;
CREATE INDEX segment_live ON segment(min_ms, max_ms) WHERE retired_version IS NULL;
CREATE TABLE segment_range(path TEXT NOT NULL REFERENCES segment(path), source_id INTEGER NOT NULL, first_seq INTEGER NOT NULL,
  end_seq INTEGER NOT NULL, PRIMARY KEY(path, source_id, first_seq)) STRICT, WITHOUT ROWID;
CREATE TABLE served(source_id INTEGER NOT NULL REFERENCES source(id), version INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY(source_id, version)) STRICT, WITHOUT ROWID;                        -- evaluators' heartbeat: when this process first served this version
CREATE TABLE tick(tick INTEGER PRIMARY KEY, from_ms INTEGER NOT NULL, watermark_ms INTEGER NOT NULL, closed_ms INTEGER NOT NULL,
  manifest_version INTEGER NOT NULL, fence INTEGER NOT NULL, upto TEXT NOT NULL, due INTEGER NOT NULL, received INTEGER NOT NULL,
  cpu_percent REAL, memory_mb REAL, response_ms REAL) STRICT;                    -- upto: {source_id: end_seq}; due, received: coverage (operations.md)
CREATE TABLE observation(tick INTEGER NOT NULL, flag_id INTEGER NOT NULL, entry INTEGER NOT NULL, arm INTEGER NOT NULL,
  ok INTEGER NOT NULL, error INTEGER NOT NULL, timeout INTEGER NOT NULL, invalid INTEGER NOT NULL, late INTEGER NOT NULL,
  units INTEGER, crossed INTEGER,
  error_risk_n INTEGER, error_risk_x INTEGER, error_first_n INTEGER, error_first_x INTEGER,
  bad_risk_n INTEGER, bad_risk_x INTEGER, bad_first_n INTEGER, bad_first_x INTEGER,
  invalid_risk_n INTEGER, invalid_risk_x INTEGER, invalid_first_n INTEGER, invalid_first_x INTEGER,
  s1 REAL NOT NULL, s2 REAL NOT NULL, hist BLOB NOT NULL, exceed TEXT NOT NULL, metrics TEXT NOT NULL,
  PRIMARY KEY(tick, flag_id, entry, arm)) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('version', 0), ('manifest_version', 0);
INSERT INTO audit_tree VALUES (1, 0, x'');
PRAGMA user_version = 1;
