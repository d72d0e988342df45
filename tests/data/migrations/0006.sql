-- Rows as the daemon leaves them after step 6: two sources, every state, op, outcome and kind. The chain is not a real one.
INSERT INTO sources (id, name, provider, base_url, state, state_since, last_error, held_until) VALUES
    (1, 'first', 'one', 'https://one.example', 'ok', 1000, NULL, NULL),
    (2, 'second', 'two', 'https://two.example', 'unauthorized', 2000, 'status 401', 1769851990000);

INSERT INTO segments (id, source_id, key, tracked, state, first_seen_at, last_checked_at, last_changed_at, version,
                      failures, last_error, etag, confirmed_at, checked_boot_ms, not_found) VALUES
    (1, 1, 'beta', 1, 'present', 1769851800000, 1769851920999, 1769851920001, 3, 0, NULL, '"e3"', 1769851920001, 5, 0),
    (2, 1, 'gone', 1, 'deleted', 1769851800000, 1769851860999, 1769851860999, 2, 0, NULL, NULL, 1769851860999, NULL, 1),
    (3, 2, 'new', 1, 'pending', NULL, NULL, NULL, 0, 4, 'time-out', NULL, NULL, NULL, 0),
    (4, 2, 'old', 0, 'present', 1769851800000, 1769851800000, 1769851800000, 1, 0, NULL, NULL, 1769851800000, NULL, 0);

INSERT INTO polls (id, source_id, segment_id, kind, started_at, finished_at, outcome, http_status, bytes, usage, error, boot_ms) VALUES
    (1, 1, 1, 'get', 1769851799950, 1769851800000, 'created', 200, 20, 0.5, NULL, 1),
    (2, 1, NULL, 'sweep', 1769851860949, 1769851860999, 'updated', 200, 40, NULL, NULL, 2),
    (3, 2, 3, 'probe', 1769851860000, 1769851870000, 'failed', NULL, NULL, NULL, 'time-out', 3),
    (4, 2, NULL, 'import', 1769851880000, 1769851880000, 'unchanged', NULL, 100, NULL, NULL, 4),
    (5, 1, 1, 'get', 1769851920000, 1769851920001, 'restored', 200, 20, NULL, NULL, 5),
    (6, 1, 2, 'get', 1769851930000, NULL, NULL, NULL, NULL, NULL, NULL, 6);

INSERT INTO versions (id, segment_id, seq, op, cause, observed_at, valid_to, changed_after, modified_at, modified_by,
                      revision, missed_revisions, hash, chain, document, poll_id) VALUES
    (1, 1, 1, 'create', NULL, 1769851800000, 1769851860999, NULL, 1769851700000, 'Ann', 1, NULL, zeroblob(32), zeroblob(32), '{"a":1,"name":"Beta"}', 1),
    (2, 2, 1, 'create', NULL, 1769851800000, 1769851860999, NULL, NULL, NULL, NULL, NULL, zeroblob(32), zeroblob(32), '{"name":"Gone"}', 1),
    (3, 4, 1, 'create', NULL, 1769851800000, NULL, NULL, NULL, NULL, NULL, NULL, zeroblob(32), zeroblob(32), '{}', 1),
    (4, 1, 2, 'update', 'schema', 1769851860999, 1769851920001, 1769851800000, 1769851850000, 'Ben', 4, 2, zeroblob(32), zeroblob(32), '{"a":2,"name":"Beta"}', 2),
    (5, 2, 2, 'delete', NULL, 1769851860999, NULL, 1769851800000, NULL, NULL, NULL, NULL, NULL, zeroblob(32), NULL, 2),
    (6, 1, 3, 'update', NULL, 1769851920001, NULL, 1769851860999, 9223372036854775807, NULL, 5, 0, zeroblob(32), zeroblob(32), '{"name":"Beta","tags":["x"]}', 5);

INSERT INTO paths (id, path) VALUES (1, '$.a'), (2, '$.tags'), (3, '$.b');
INSERT INTO fields (id, field) VALUES (1, 'a'), (2, 'tags'), (3, 'b');

INSERT INTO change_rows (version_id, ordinal, segment_id, observed_at, op, path_id, field_id, old, new) VALUES
    (4, 0, 1, 1769851860999, NULL, 1, 1, '1', '2'),
    (6, 0, 1, 1769851920001, 'remove', 1, 1, '2', NULL),
    (6, 1, 1, 1769851920001, 'add', 2, 2, NULL, '["x"]');

INSERT INTO clock (boot_id, monotonic_ms, wall_ms, first_poll) VALUES ('boot', 6, 1769851930000, 5);

INSERT INTO schema_events (id, source_id, observed_at, path, kind, segments) VALUES
    (1, 1, 1769851860999, '$.tags', 'appeared', 1);

UPDATE schema_events SET last_seen_at = observed_at;

INSERT INTO schema_versions (version_id) VALUES (6);

-- Versions 2 and 3 of the fourth segment are no longer kept.
UPDATE versions SET valid_to = 1769851900000, end_seal = zeroblob(32) WHERE id = 3;
INSERT INTO versions (id, segment_id, seq, op, observed_at, changed_after, hash, chain, document, poll_id) VALUES
    (9, 4, 4, 'update', 1769851940000, 1769851910000, zeroblob(32), zeroblob(32), '{"b":3}', 7);
UPDATE segments SET version = 4, last_changed_at = 1769851940000 WHERE id = 4;
INSERT INTO change_rows (version_id, ordinal, segment_id, observed_at, op, path_id, field_id, old, new) VALUES
    (9, 0, 4, 1769851940000, NULL, 3, 3, '2', '3');
INSERT INTO checkpoints (first_id, last_id, before, after, removed_at, seal) VALUES
    (7, 8, zeroblob(32), zeroblob(32), 1769851950000, zeroblob(32));
