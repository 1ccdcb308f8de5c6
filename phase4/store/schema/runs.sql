-- A run file: one rehearsal or one sweep, written once, sealed, immutable. Schema 1.
-- Times are int ms; `t_ms` since the Unix epoch, the others as their name says. NULL = not measured or not defined;
-- infinity = never.
CREATE TABLE info (
  schema INTEGER NOT NULL, kind VARCHAR NOT NULL, id VARCHAR NOT NULL, source VARCHAR NOT NULL, scenario VARCHAR NOT NULL,
  covers VARCHAR NOT NULL, scenario_hash VARCHAR NOT NULL, mode VARCHAR NOT NULL, flag_key VARCHAR NOT NULL, seed BIGINT NOT NULL,
  replicates BIGINT NOT NULL, planned BIGINT NOT NULL, done BIGINT NOT NULL, complete BOOLEAN NOT NULL, digest VARCHAR NOT NULL,
  duration_ms BIGINT NOT NULL, tick_ms BIGINT NOT NULL, versions VARCHAR NOT NULL, started_wall_ms BIGINT NOT NULL);
CREATE TABLE world (
  seq INTEGER NOT NULL, name VARCHAR NOT NULL, about VARCHAR NOT NULL, start_ms BIGINT NOT NULL, onset_ms BIGINT,
  faults VARCHAR NOT NULL);                                   -- onset_ms: since the start; faults: JSON
CREATE TABLE policy (
  seq INTEGER NOT NULL, name VARCHAR NOT NULL, about VARCHAR NOT NULL, plan_digest VARCHAR NOT NULL, stages VARCHAR NOT NULL,
  guardrails VARCHAR NOT NULL);                               -- JSON
CREATE TABLE outcome (
  run_id VARCHAR NOT NULL, world VARCHAR NOT NULL, policy VARCHAR NOT NULL, replicate BIGINT NOT NULL, phase VARCHAR NOT NULL,
  guardrail VARCHAR, end_ms BIGINT NOT NULL, stage INTEGER NOT NULL, approvals INTEGER NOT NULL, onset_ms BIGINT,
  rolled_back BOOLEAN NOT NULL, false_rollback BOOLEAN NOT NULL, caught BOOLEAN, delay_ms DOUBLE, delay_users DOUBLE,
  delay_requests DOUBLE, users_exposed BIGINT, users_harmed BIGINT, excess DOUBLE NOT NULL, full_ms DOUBLE NOT NULL,
  digest VARCHAR NOT NULL);
CREATE TABLE figure (
  world VARCHAR NOT NULL, policy VARCHAR NOT NULL, figure VARCHAR NOT NULL, estimate DOUBLE, lower DOUBLE, upper DOUBLE,
  runs BIGINT NOT NULL);
CREATE TABLE journal (
  run_id VARCHAR NOT NULL, seq INTEGER NOT NULL, at_ms BIGINT NOT NULL, kind VARCHAR NOT NULL, body VARCHAR NOT NULL);
CREATE TABLE exposure (
  run_id VARCHAR NOT NULL, percentage DOUBLE NOT NULL, first_tick BIGINT NOT NULL, end_tick BIGINT NOT NULL);
CREATE TABLE observation (
  run_id VARCHAR NOT NULL, tick BIGINT NOT NULL, t_ms BIGINT NOT NULL, flag_id INTEGER NOT NULL, entry INTEGER NOT NULL,
  arm INTEGER NOT NULL, ok BIGINT NOT NULL, error BIGINT NOT NULL, timeout BIGINT NOT NULL, invalid BIGINT NOT NULL,
  late BIGINT NOT NULL, units BIGINT, crossed BIGINT,
  error_risk_n BIGINT, error_risk_x BIGINT, error_first_n BIGINT, error_first_x BIGINT,
  bad_risk_n BIGINT, bad_risk_x BIGINT, bad_first_n BIGINT, bad_first_x BIGINT,
  invalid_risk_n BIGINT, invalid_risk_x BIGINT, invalid_first_n BIGINT, invalid_first_x BIGINT, error_third_x BIGINT,
  s1 DOUBLE NOT NULL, s2 DOUBLE NOT NULL, hist BLOB NOT NULL, exceed VARCHAR NOT NULL, metrics VARCHAR NOT NULL,
  schema INTEGER NOT NULL, source VARCHAR NOT NULL);           -- t_ms: when the tick closed; source = 'sim'
CREATE TABLE evidence (
  run_id VARCHAR NOT NULL, tick BIGINT NOT NULL, t_ms BIGINT NOT NULL, entry INTEGER NOT NULL, guardrail VARCHAR NOT NULL,
  log_e_fail DOUBLE, log_e_pass DOUBLE, fail_bound DOUBLE NOT NULL, pass_bound DOUBLE NOT NULL, verdict VARCHAR NOT NULL,
  reason VARCHAR NOT NULL);                                    -- natural logarithms; minus infinity = no evidence yet
