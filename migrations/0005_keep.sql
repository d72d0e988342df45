-- Old versions that are let go, what is left in their place, and changes that are found by segment.

-- The changes anew: with their segment, and in the order of their key, so that every index leads to the version by itself.
DROP VIEW change_log;
CREATE TABLE changes_anew (
    version_id  INTEGER NOT NULL REFERENCES versions (id),
    ordinal     INTEGER NOT NULL CHECK (ordinal >= 0), -- the order in which changes fold
    segment_id  INTEGER NOT NULL, -- the version's
    observed_at INTEGER NOT NULL, -- the version's
    op          TEXT    NOT NULL CHECK (op IN ('add', 'remove', 'replace', 'move')),
    path        TEXT    NOT NULL, -- for json_extract on this version's document; on the previous one's for a remove
    field       TEXT    NOT NULL, -- the same in words that stay stable
    old         TEXT,             -- JSON text; for a move the index before; NULL where absent
    new         TEXT,             -- JSON text; for a move the index after; NULL where absent
    observed_at_text TEXT GENERATED ALWAYS AS ( -- see 0003
        strftime('%Y-%m-%dT%H:%M:%S.', observed_at / 1000 - (observed_at % 1000 < 0), 'unixepoch')
            || printf('%03dZ', (observed_at % 1000 + 1000) % 1000)
    ) VIRTUAL,
    PRIMARY KEY (version_id, ordinal)
) STRICT, WITHOUT ROWID;
INSERT INTO changes_anew (version_id, ordinal, segment_id, observed_at, op, path, field, old, new)
SELECT c.version_id, c.ordinal, v.segment_id, c.observed_at, c.op, c.path, c.field, c.old, c.new
FROM versions AS v CROSS JOIN changes AS c ON c.version_id = v.id
ORDER BY c.version_id, c.ordinal;
DROP TABLE changes;
-- The views speak of `changes` and go on to; without this they would all be read anew, which takes most of this step's time.
PRAGMA legacy_alter_table = ON;
ALTER TABLE changes_anew RENAME TO changes;
PRAGMA legacy_alter_table = OFF;
CREATE INDEX changes_by_shown_time ON changes (observed_at_text);
CREATE INDEX changes_by_shown_field ON changes (field, observed_at_text);
CREATE INDEX changes_by_shown_segment ON changes (segment_id, observed_at_text);
-- Most changes replace something; the others are found.
CREATE INDEX changes_by_op ON changes (op) WHERE op <> 'replace';

-- One row for each field of an update; one for a create, a delete or a restore. The halves are apart so that newest first is
-- read off an index, of all of them, of one field or of one segment.
CREATE VIEW change_log AS
SELECT -- no row: the types of the columns
    c.observed_at_text AS observed_at, v.changed_after_text AS changed_after, src.name AS source, s.key AS segment,
    v.seq AS version, v.op AS version_op, c.op AS op, c.field AS field, c.path AS path, c.old AS old, c.new AS new,
    v.modified_by AS modified_by, c.field AS summary
FROM changes AS c
JOIN versions AS v ON v.id = c.version_id
JOIN segments AS s ON s.id = v.segment_id
JOIN sources AS src ON src.id = s.source_id
WHERE 0
UNION ALL
SELECT
    c.observed_at_text AS observed_at, -- the first poll that saw it
    v.changed_after_text AS changed_after, -- the last poll that did not: the change happened between the two
    src.name AS source,
    s.key AS segment,
    v.seq AS version, -- of the segment, from this change on
    v.op AS version_op, -- create | update | delete | restore
    c.op AS op, -- add | remove | replace | move, else version_op
    c.field AS field, -- what changed, in words that stay stable
    c.path AS path, -- for json_extract on this version's document; on the previous one's for a remove
    c.old AS old, -- JSON text; for a move the index before; NULL where absent
    c.new AS new, -- JSON text; for a move the index after; NULL where absent
    v.modified_by AS modified_by, -- as the provider says
    -- one line, long values cut
    CAST(replace(replace(src.name || '/' || s.key || ' v' || v.seq || ': ' || c.field || CASE c.op
        WHEN 'add' THEN ' added '
            || CASE WHEN length(c.new) > 60 THEN substr(c.new, 1, 59) || '…' ELSE coalesce(c.new, 'absent') END
        WHEN 'remove' THEN ' removed '
            || CASE WHEN length(c.old) > 60 THEN substr(c.old, 1, 59) || '…' ELSE coalesce(c.old, 'absent') END
        ELSE iif(c.op = 'move', ' moved from ', ' ')
            || CASE WHEN length(c.old) > 60 THEN substr(c.old, 1, 59) || '…' ELSE coalesce(c.old, 'absent') END
            || iif(c.op = 'move', ' to ', ' → ')
            || CASE WHEN length(c.new) > 60 THEN substr(c.new, 1, 59) || '…' ELSE coalesce(c.new, 'absent') END
    END || coalesce(' by ' || v.modified_by, ''), char(10), ' '), char(13), ' ') AS TEXT) AS summary
FROM changes AS c
JOIN versions AS v ON v.id = c.version_id AND v.op = 'update'
JOIN segments AS s ON s.id = c.segment_id
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

-- What is left of versions that are no longer kept: the links of the chain on both sides of them.
CREATE TABLE checkpoints (
    first_id   INTEGER PRIMARY KEY, -- rows of versions from this one …
    last_id    INTEGER NOT NULL CHECK (last_id >= first_id), -- … to this one were removed
    before     BLOB    NOT NULL CHECK (length(before) = 32), -- chain of the row before them
    after      BLOB    NOT NULL CHECK (length(after) = 32), -- chain of the last of them, which the row after them follows
    removed_at INTEGER NOT NULL, -- when the last of them was removed
    seal       BLOB    NOT NULL CHECK (length(seal) = 32) -- BLAKE3 of the other columns
) STRICT;

-- Set where the versions that follow in the segment are no longer kept: BLAKE3 of chain and valid_to, as no next version says
-- any more until when this one held.
ALTER TABLE versions ADD COLUMN end_seal BLOB CHECK (length(end_seal) = 32);
CREATE INDEX versions_before_gap ON versions (segment_id, seq) WHERE end_seal IS NOT NULL;

-- Versions that are no longer kept ([store] keep_versions), one row for each run of them in a segment.
CREATE VIEW segment_gaps AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.id AS first_version, t.id AS last_version, t.id AS versions,
    t.name AS gone_from, t.name AS gone_to
FROM sources AS t WHERE 0
UNION ALL
SELECT
    src.name AS source,
    s.key AS segment,
    v.seq + 1 AS first_version,
    n.seq - 1 AS last_version,
    n.seq - v.seq - 1 AS versions, -- how many
    v.valid_to_text AS gone_from, -- what the segment was from here …
    n.observed_at_text AS gone_to -- … to here is not known any more
FROM versions AS v
JOIN segments AS s ON s.id = v.segment_id
JOIN sources AS src ON src.id = s.source_id
JOIN versions AS n ON n.segment_id = v.segment_id
    AND n.seq = (SELECT min(f.seq) FROM versions AS f WHERE f.segment_id = v.segment_id AND f.seq > v.seq)
WHERE v.end_seal IS NOT NULL AND sqlite_version() IS NOT NULL;
