-- A long history in one file: ?1 versions of 100 segments, three changes each; some things in it are rare. No real chain.
INSERT INTO sources (id, name, provider, base_url, state, state_since) VALUES
    (1, 'web', 'statsig', 'https://one.example', 'ok', 0), (2, 'crm', 'octave', 'https://two.example', 'ok', 0);

WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 99)
INSERT INTO segments (id, source_id, key, tracked, state, version, first_seen_at, last_checked_at)
SELECT n + 1, 1 + (n >= 90), 's' || n, 1, 'present', 1, 0, 0 FROM n;

-- Three versions to each moment; segments 90 to 99 are of the other source.
WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < :versions - 1)
INSERT INTO versions (id, segment_id, seq, op, cause, observed_at, modified_by, hash, chain, document, poll_id)
SELECT
    n + 1, n % 100 + 1, n / 100 + 1,
    CASE WHEN n < 100 THEN 'create' WHEN n % 501 = 7 THEN 'delete' WHEN n % 1003 = 9 THEN 'restore' ELSE 'update' END,
    CASE WHEN n % 7 = 1 THEN 'schema' END,
    1760000000000 + n / 3 * 60000,
    CASE WHEN n % 1009 = 5 THEN 'Zoe' WHEN n % 11 = 0 THEN NULL WHEN n % 2 = 0 THEN 'Ana' ELSE 'Bo' END,
    zeroblob(32), zeroblob(32), '{"n":' || n || '}', 1
FROM n;

INSERT INTO paths (id, path) VALUES (1, '$.x');

-- r0 to r49 of 100 on, and the others.
WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 49)
INSERT INTO fields (id, field) SELECT 100 + n, 'rules[r' || n || '].passPercentage' FROM n;
INSERT INTO fields (id, field) VALUES
    (1, 'rules[rare].passPercentage'), (2, 'name'), (3, 'rules[staff]'), (4, 'data.ICP fit'), (5, 'description'), (6, 'version');

INSERT INTO change_rows (version_id, ordinal, segment_id, observed_at, op, path_id, field_id, old, new)
SELECT v.id, o.o, v.segment_id, v.observed_at, CASE (v.id + o.o) % 5 WHEN 0 THEN 'add' END, 1,
    CASE
        WHEN o.o = 0 THEN CASE WHEN v.id % 997 = 3 THEN 1 ELSE 100 + v.id % 50 END
        WHEN o.o = 1 THEN CASE v.id % 3 WHEN 0 THEN 2 WHEN 1 THEN 3 ELSE 4 END
        ELSE CASE WHEN v.id < 50 THEN 5 ELSE 6 END
    END,
    NULL, '1'
FROM versions AS v, (SELECT 0 AS o UNION ALL SELECT 1 UNION ALL SELECT 2) AS o
WHERE v.op = 'update';
