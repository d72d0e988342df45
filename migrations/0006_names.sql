-- Names of fields and paths kept once: most changes share theirs with many others.

-- What the log tells of a segment besides its updates is few. As of a time, all versions of a segment are looked at by
-- versions_as_of.
DROP INDEX versions_by_shown_segment;
CREATE INDEX versions_logged_by_segment ON versions (segment_id, observed_at_text) WHERE op <> 'update';

CREATE TABLE fields (
    id    INTEGER PRIMARY KEY,
    field TEXT    NOT NULL UNIQUE -- what changed, in words that stay stable
) STRICT;

CREATE TABLE paths (
    id   INTEGER PRIMARY KEY,
    path TEXT    NOT NULL UNIQUE -- the same for json_extract on the version's document; on the previous one's for a remove
) STRICT;

DROP VIEW change_log;
CREATE TABLE change_rows (
    version_id  INTEGER NOT NULL REFERENCES versions (id),
    ordinal     INTEGER NOT NULL CHECK (ordinal >= 0), -- the order in which changes fold
    segment_id  INTEGER NOT NULL, -- the version's
    observed_at INTEGER NOT NULL, -- the version's
    op          TEXT    CHECK (op IN ('add', 'remove', 'move')), -- NULL: replace, as most do
    path_id     INTEGER NOT NULL REFERENCES paths (id),
    field_id    INTEGER NOT NULL REFERENCES fields (id),
    old         TEXT,             -- JSON text; for a move the index before; NULL where absent
    new         TEXT,             -- JSON text; for a move the index after; NULL where absent
    observed_at_text TEXT GENERATED ALWAYS AS ( -- see 0003
        strftime('%Y-%m-%dT%H:%M:%S.', observed_at / 1000 - (observed_at % 1000 < 0), 'unixepoch')
            || printf('%03dZ', (observed_at % 1000 + 1000) % 1000)
    ) VIRTUAL,
    PRIMARY KEY (version_id, ordinal)
) STRICT, WITHOUT ROWID;
INSERT INTO fields (field) SELECT DISTINCT field FROM changes ORDER BY field;
INSERT INTO paths (path) SELECT DISTINCT path FROM changes ORDER BY path;
INSERT INTO change_rows (version_id, ordinal, segment_id, observed_at, op, path_id, field_id, old, new)
SELECT c.version_id, c.ordinal, c.segment_id, c.observed_at, nullif(c.op, 'replace'), p.id, f.id, c.old, c.new
FROM changes AS c
CROSS JOIN paths AS p ON p.path = c.path
CROSS JOIN fields AS f ON f.field = c.field
ORDER BY c.version_id, c.ordinal;
DROP TABLE changes;
CREATE INDEX changes_by_shown_time ON change_rows (observed_at_text);
CREATE INDEX changes_by_shown_field ON change_rows (field_id, observed_at_text);
CREATE INDEX changes_by_shown_segment ON change_rows (segment_id, observed_at_text);
CREATE INDEX changes_by_op ON change_rows (op) WHERE op IS NOT NULL;

-- The rows with their names.
CREATE VIEW changes AS
SELECT
    c.version_id AS version_id,
    c.ordinal AS ordinal, -- the order in which changes fold
    c.segment_id AS segment_id, -- the version's
    c.observed_at AS observed_at, -- the version's
    CAST(coalesce(c.op, 'replace') AS TEXT) AS op, -- add | remove | replace | move
    p.path AS path, -- for json_extract on this version's document; on the previous one's for a remove
    f.field AS field, -- the same in words that stay stable
    c.old AS old, -- JSON text; for a move the index before; NULL where absent
    c.new AS new -- JSON text; for a move the index after; NULL where absent
FROM change_rows AS c
JOIN fields AS f ON f.id = c.field_id
JOIN paths AS p ON p.id = c.path_id;

-- One row for each field of an update; one for a create, a delete or a restore. The halves are apart so that newest first is
-- read off an index, of all of them, of one field or of one segment.
CREATE VIEW change_log AS
SELECT -- no row: the types of the columns
    t.name AS observed_at, t.name AS changed_after, t.name AS source, t.name AS segment, t.id AS version,
    t.name AS version_op, t.name AS op, t.name AS field, t.name AS path, t.name AS old, t.name AS new,
    t.name AS modified_by, t.name AS summary
FROM sources AS t WHERE 0
UNION ALL
SELECT
    c.observed_at_text AS observed_at, -- the first poll that saw it
    v.changed_after_text AS changed_after, -- the last poll that did not: the change happened between the two
    src.name AS source,
    s.key AS segment,
    v.seq AS version, -- of the segment, from this change on
    v.op AS version_op, -- create | update | delete | restore
    CAST(coalesce(c.op, 'replace') AS TEXT) AS op, -- add | remove | replace | move, else version_op
    f.field AS field, -- what changed, in words that stay stable
    p.path AS path, -- for json_extract on this version's document; on the previous one's for a remove
    c.old AS old, -- JSON text; for a move the index before; NULL where absent
    c.new AS new, -- JSON text; for a move the index after; NULL where absent
    v.modified_by AS modified_by, -- as the provider says
    -- one line, long values cut
    CAST(replace(replace(src.name || '/' || s.key || ' v' || v.seq || ': ' || f.field || CASE c.op
        WHEN 'add' THEN ' added '
            || CASE WHEN length(c.new) > 60 THEN substr(c.new, 1, 59) || '…' ELSE coalesce(c.new, 'absent') END
        WHEN 'remove' THEN ' removed '
            || CASE WHEN length(c.old) > 60 THEN substr(c.old, 1, 59) || '…' ELSE coalesce(c.old, 'absent') END
        ELSE iif(c.op = 'move', ' moved from ', ' ')
            || CASE WHEN length(c.old) > 60 THEN substr(c.old, 1, 59) || '…' ELSE coalesce(c.old, 'absent') END
            || iif(c.op = 'move', ' to ', ' → ')
            || CASE WHEN length(c.new) > 60 THEN substr(c.new, 1, 59) || '…' ELSE coalesce(c.new, 'absent') END
    END || coalesce(' by ' || v.modified_by, ''), char(10), ' '), char(13), ' ') AS TEXT) AS summary
FROM change_rows AS c
JOIN fields AS f ON f.id = c.field_id
JOIN paths AS p ON p.id = c.path_id
JOIN versions AS v ON v.id = c.version_id AND v.op = 'update'
JOIN segments AS s ON s.id = c.segment_id AND s.id = v.segment_id
JOIN sources AS src ON src.id = s.source_id
WHERE sqlite_version() IS NOT NULL
UNION ALL
SELECT
    v.observed_at_text, v.changed_after_text, src.name, s.key, v.seq, v.op, v.op, CAST(NULL AS TEXT), CAST(NULL AS TEXT),
    CAST(NULL AS TEXT), CAST(NULL AS TEXT), v.modified_by,
    CAST(replace(replace(src.name || '/' || s.key || ' v' || v.seq || ': '
        || CASE v.op WHEN 'create' THEN 'created' WHEN 'delete' THEN 'deleted' ELSE 'restored' END
        || coalesce(' by ' || v.modified_by, ''), char(10), ' '), char(13), ' ') AS TEXT)
FROM versions AS v
JOIN segments AS s ON s.id = v.segment_id
JOIN sources AS src ON src.id = s.source_id
WHERE v.op <> 'update' AND sqlite_version() IS NOT NULL;
