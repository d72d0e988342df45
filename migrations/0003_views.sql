-- What analysts read: typed views of the current documents, and the views of 0001 once more, with indexes behind their times
-- and a type for each column.
--
-- The views need SQLite 3.38. Where one is `SELECT … WHERE 0 UNION ALL SELECT …`, the first half has no rows: it gives the
-- columns their types for tools that ask before they read, such as DuckDB's `sqlite_scan`. The dialect is SQLite's own:
-- where a tool translates a view into another one, `sqlite_version()` makes it fail instead of answering otherwise.

-- Times as the views show them, 2026-01-31T09:30:00.000Z: computed when read, stored in indexes only. Text of this form sorts
-- as time does. Whole seconds (rounded down, also before 1970) through strftime, then the milliseconds through printf:
-- strftime's own %f rounds a double and can show another millisecond.
ALTER TABLE versions ADD COLUMN observed_at_text TEXT GENERATED ALWAYS AS (
    strftime('%Y-%m-%dT%H:%M:%S.', observed_at / 1000 - (observed_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (observed_at % 1000 + 1000) % 1000)
) VIRTUAL;
ALTER TABLE versions ADD COLUMN valid_to_text TEXT GENERATED ALWAYS AS (
    strftime('%Y-%m-%dT%H:%M:%S.', valid_to / 1000 - (valid_to % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (valid_to % 1000 + 1000) % 1000)
) VIRTUAL;
ALTER TABLE versions ADD COLUMN changed_after_text TEXT GENERATED ALWAYS AS (
    strftime('%Y-%m-%dT%H:%M:%S.', changed_after / 1000 - (changed_after % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (changed_after % 1000 + 1000) % 1000)
) VIRTUAL;
-- A number where it is no time of years 0 to 9999.
ALTER TABLE versions ADD COLUMN modified_at_text TEXT GENERATED ALWAYS AS (
    coalesce(strftime('%Y-%m-%dT%H:%M:%S.', modified_at / 1000 - (modified_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (modified_at % 1000 + 1000) % 1000), CAST(modified_at AS TEXT))
) VIRTUAL;
ALTER TABLE segments ADD COLUMN last_checked_at_text TEXT GENERATED ALWAYS AS (
    strftime('%Y-%m-%dT%H:%M:%S.', last_checked_at / 1000 - (last_checked_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (last_checked_at % 1000 + 1000) % 1000)
) VIRTUAL;
ALTER TABLE changes ADD COLUMN observed_at_text TEXT GENERATED ALWAYS AS (
    strftime('%Y-%m-%dT%H:%M:%S.', observed_at / 1000 - (observed_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (observed_at % 1000 + 1000) % 1000)
) VIRTUAL;

-- As of a time, both ends from the index; what was logged, newest first, by time and by field.
CREATE INDEX versions_by_shown_time ON versions (observed_at_text, valid_to_text);
CREATE INDEX versions_by_shown_segment ON versions (segment_id, observed_at_text, valid_to_text);
CREATE INDEX versions_logged ON versions (observed_at_text) WHERE op <> 'update';
CREATE INDEX changes_by_shown_time ON changes (observed_at_text);
CREATE INDEX changes_by_shown_field ON changes (field, observed_at_text);

DROP VIEW segment_now;
DROP VIEW segment_history;
DROP VIEW change_log;
DROP VIEW freshness;
DROP VIEW poll_health;

-- The latest of each segment that was ever seen, deleted ones included.
CREATE VIEW segment_now AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.name AS provider, t.name AS name, t.name AS state, t.id AS version,
    t.name AS valid_from, t.name AS checked_at, t.name AS modified_at, t.name AS modified_by, t.name AS document
FROM sources AS t WHERE 0
UNION ALL
SELECT
    src.name AS source,
    s.key AS segment,
    src.provider AS provider,
    -- the display name, of the last document where a delete left none
    CAST((SELECT json_extract(d.document, '$.name') FROM versions AS d
        WHERE d.segment_id = s.id AND d.document IS NOT NULL ORDER BY d.seq DESC LIMIT 1) AS TEXT) AS name,
    s.state AS state, -- present | deleted
    v.seq AS version,
    v.observed_at_text AS valid_from, -- since when it is so
    s.last_checked_at_text AS checked_at, -- when the provider was last asked and told
    v.modified_at_text AS modified_at, -- as the provider says; a number where it is no time of years 0 to 9999
    v.modified_by AS modified_by, -- as the provider says
    v.document AS document -- canonical JSON; NULL where a delete left none
FROM segments AS s
JOIN sources AS src ON src.id = s.source_id
JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version
WHERE sqlite_version() IS NOT NULL;

-- Every version. As of a time: WHERE valid_from <= :t AND (valid_to IS NULL OR valid_to > :t)
CREATE VIEW segment_history AS
SELECT
    src.name AS source,
    s.key AS segment,
    v.seq AS version, -- 1, 2, 3 … per segment
    v.op AS op, -- create | update | delete | restore
    v.observed_at_text AS valid_from, -- first observed
    v.valid_to_text AS valid_to, -- the next version observed; NULL: still so
    v.changed_after_text AS changed_after, -- the last poll that still saw the old state: the change happened between the two
    v.modified_at_text AS modified_at, -- as the provider says; a number where it is no time of years 0 to 9999
    v.modified_by AS modified_by, -- as the provider says
    v.revision AS revision, -- the provider's own number
    v.missed_revisions AS missed_revisions, -- its revisions that no poll saw
    v.document AS document -- canonical JSON; NULL where a delete left none
FROM versions AS v
JOIN segments AS s ON s.id = v.segment_id
JOIN sources AS src ON src.id = s.source_id
WHERE sqlite_version() IS NOT NULL;

-- One row for each field of an update; one for a create, a delete or a restore. The halves are apart so that newest first is
-- read off an index, of all fields or of one.
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
JOIN segments AS s ON s.id = v.segment_id
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

-- How old the copy of each tracked segment is, deleted and never seen ones included.
CREATE VIEW freshness AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.name AS state, t.name AS checked_at, t.id AS age_seconds,
    t.id AS failures, t.name AS last_error
FROM sources AS t WHERE 0
UNION ALL
SELECT
    src.name AS source,
    s.key AS segment,
    s.state AS state, -- pending | present | deleted
    s.last_checked_at_text AS checked_at, -- the last answer; NULL: never
    -- by this machine's clock, now
    max(0, CAST(strftime('%s', 'now') AS INTEGER) - s.last_checked_at / 1000) AS age_seconds,
    s.failures AS failures, -- failed or malformed polls since
    s.last_error AS last_error
FROM segments AS s
JOIN sources AS src ON src.id = s.source_id
WHERE s.tracked = 1 AND sqlite_version() IS NOT NULL;

-- How the requests went, by hour of their start.
CREATE VIEW poll_health AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS hour, t.name AS outcome, t.id AS polls, t.pace AS mean_ms, t.id AS max_ms
FROM sources AS t WHERE 0
UNION ALL
SELECT
    src.name AS source,
    strftime('%Y-%m-%dT%H:00:00.000Z', h.hour * 3600, 'unixepoch') AS hour,
    h.outcome AS outcome, -- NULL: in flight
    h.polls AS polls,
    h.mean_ms AS mean_ms, -- from the start to the end of the answer; NULL while in flight
    h.max_ms AS max_ms
FROM (
    SELECT
        p.source_id, p.started_at / 3600000 - (p.started_at % 3600000 < 0) AS hour, p.outcome, count(*) AS polls,
        round(avg(max(0, p.finished_at - p.started_at)), 1) AS mean_ms,
        max(max(0, p.finished_at - p.started_at)) AS max_ms
    FROM polls AS p
    WHERE p.kind <> 'import'
    GROUP BY 1, 2, 3
) AS h
JOIN sources AS src ON src.id = h.source_id
WHERE sqlite_version() IS NOT NULL;

-- The typed views: the current documents of present segments, with a column for each member that the provider documents.
-- A member that is missing or null is NULL; one of another type than documented is its JSON text, true as a number is 1.
-- Columns said to be JSON are JSON text always, for json_each. All other members, and what tells null from missing, are in
-- segment_fields.

-- Each segment of a Statsig source.
CREATE VIEW statsig_segments AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.name AS name, t.name AS type, t.id AS is_enabled, t.name AS id_type,
    t.name AS description, t.id AS count, t.name AS tags, t.name AS target_apps, t.name AS holdout_ids,
    t.name AS team, t.name AS team_id, t.id AS revision, t.name AS created_at, t.name AS creator_id,
    t.name AS creator_name, t.name AS creator_email, t.name AS modified_at, t.name AS modifier_id,
    t.name AS modifier_name, t.name AS modifier_email, t.id AS rule_count
FROM sources AS t WHERE 0
UNION ALL
SELECT
    d.source AS source,
    d.segment AS segment, -- the member id
    -- for people; often absent
    iif(json_type(d.doc, '$.name') IN ('text', 'null'),
        d.doc ->> '$.name', d.doc -> '$.name') AS name,
    -- id_list | rule_based | analysis_list | user_store_id_list …
    iif(json_type(d.doc, '$.type') IN ('text', 'null'),
        d.doc ->> '$.type', d.doc -> '$.type') AS type,
    -- 0 | 1
    iif(json_type(d.doc, '$.isEnabled') IN ('text', 'array', 'object'),
        d.doc -> '$.isEnabled', d.doc ->> '$.isEnabled') AS is_enabled,
    iif(json_type(d.doc, '$.idType') IN ('text', 'null'), d.doc ->> '$.idType', d.doc -> '$.idType') AS id_type,
    iif(json_type(d.doc, '$.description') IN ('text', 'null'),
        d.doc ->> '$.description', d.doc -> '$.description') AS description,
    -- of an id list: its length
    iif(json_type(d.doc, '$.count') IN ('text', 'array', 'object'),
        d.doc -> '$.count', d.doc ->> '$.count') AS count,
    nullif(d.doc -> '$.tags', 'null') AS tags, -- JSON, sorted
    nullif(d.doc -> '$.targetApps', 'null') AS target_apps, -- JSON, sorted
    nullif(d.doc -> '$.holdoutIDs', 'null') AS holdout_ids, -- JSON, sorted
    iif(json_type(d.doc, '$.team') IN ('text', 'null'), d.doc ->> '$.team', d.doc -> '$.team') AS team,
    iif(json_type(d.doc, '$.teamID') IN ('text', 'null'), d.doc ->> '$.teamID', d.doc -> '$.teamID') AS team_id,
    -- the provider's own number
    iif(json_type(d.doc, '$.version') IN ('text', 'array', 'object'),
        d.doc -> '$.version', d.doc ->> '$.version') AS revision,
    coalesce(strftime('%Y-%m-%dT%H:%M:%S.', d.created_at / 1000 - (d.created_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (d.created_at % 1000 + 1000) % 1000),
        iif(json_type(d.doc, '$.createdTime') IN ('text', 'null'),
            d.doc ->> '$.createdTime', d.doc -> '$.createdTime')) AS created_at,
    iif(json_type(d.doc, '$.creatorID') IN ('text', 'null'),
        d.doc ->> '$.creatorID', d.doc -> '$.creatorID') AS creator_id,
    iif(json_type(d.doc, '$.creatorName') IN ('text', 'null'),
        d.doc ->> '$.creatorName', d.doc -> '$.creatorName') AS creator_name,
    iif(json_type(d.doc, '$.creatorEmail') IN ('text', 'null'),
        d.doc ->> '$.creatorEmail', d.doc -> '$.creatorEmail') AS creator_email,
    coalesce(strftime('%Y-%m-%dT%H:%M:%S.', d.modified_at / 1000 - (d.modified_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (d.modified_at % 1000 + 1000) % 1000),
        iif(json_type(d.doc, '$.lastModifiedTime') IN ('text', 'null'),
            d.doc ->> '$.lastModifiedTime', d.doc -> '$.lastModifiedTime')) AS modified_at,
    iif(json_type(d.doc, '$.lastModifierID') IN ('text', 'null'),
        d.doc ->> '$.lastModifierID', d.doc -> '$.lastModifierID') AS modifier_id,
    iif(json_type(d.doc, '$.lastModifierName') IN ('text', 'null'),
        d.doc ->> '$.lastModifierName', d.doc -> '$.lastModifierName') AS modifier_name,
    iif(json_type(d.doc, '$.lastModifierEmail') IN ('text', 'null'),
        d.doc ->> '$.lastModifierEmail', d.doc -> '$.lastModifierEmail') AS modifier_email,
    -- NULL where there are no rules to count
    CASE json_type(d.doc, '$.rules')
        WHEN 'array' THEN json_array_length(d.doc, '$.rules') WHEN 'object' THEN 1 END AS rule_count
FROM (
    SELECT src.name AS source, s.key AS segment, v.document AS doc,
        CASE WHEN json_type(v.document, '$.createdTime') IN ('integer', 'real')
            THEN CAST(v.document ->> '$.createdTime' AS INTEGER) END AS created_at,
        CASE WHEN json_type(v.document, '$.lastModifiedTime') IN ('integer', 'real')
            THEN CAST(v.document ->> '$.lastModifiedTime' AS INTEGER) END AS modified_at
    FROM sources AS src
    JOIN segments AS s ON s.source_id = src.id AND s.state = 'present'
    JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version
    WHERE src.provider = 'statsig' AND sqlite_version() IS NOT NULL
) AS d;

-- Each rule of those, in order: the first that matches decides.
CREATE VIEW statsig_rules AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.id AS position, t.name AS id, t.name AS base_id, t.name AS name,
    t.pace AS pass_percentage, t.name AS environments, t.name AS return_value, t.id AS condition_count
FROM sources AS t WHERE 0
UNION ALL
SELECT
    r.source AS source,
    r.segment AS segment,
    r.position AS position, -- from 0, as in path
    iif(json_type(r.rule, '$.id') IN ('text', 'null'), r.rule ->> '$.id', r.rule -> '$.id') AS id,
    -- stays the same
    iif(json_type(r.rule, '$.baseID') IN ('text', 'null'),
        r.rule ->> '$.baseID', r.rule -> '$.baseID') AS base_id,
    iif(json_type(r.rule, '$.name') IN ('text', 'null'), r.rule ->> '$.name', r.rule -> '$.name') AS name,
    -- 0 to 100, of those who meet the conditions
    iif(json_type(r.rule, '$.passPercentage') IN ('text', 'array', 'object'),
        r.rule -> '$.passPercentage', CAST(r.rule ->> '$.passPercentage' AS REAL)) AS pass_percentage,
    nullif(r.rule -> '$.environments', 'null') AS environments, -- JSON; NULL: all of them
    nullif(r.rule -> '$.returnValue', 'null') AS return_value, -- JSON
    -- NULL where there are no conditions to count
    CASE json_type(r.rule, '$.conditions')
        WHEN 'array' THEN json_array_length(r.rule, '$.conditions') WHEN 'object' THEN 1 END AS condition_count
FROM (
    SELECT
        src.name AS source, s.key AS segment, e.key AS position,
        iif(e.type = 'object', e.value, '{}') AS rule -- the item itself may be anything
    FROM sources AS src
    JOIN segments AS s ON s.source_id = src.id AND s.state = 'present'
    JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version,
    json_each(CASE json_type(v.document, '$.rules')
        WHEN 'array' THEN v.document -> '$.rules'
        WHEN 'object' THEN json_array(json(v.document -> '$.rules')) END) AS e
    WHERE src.provider = 'statsig' AND sqlite_version() IS NOT NULL
) AS r;

-- Each condition of those rules; all of a rule's must hold.
CREATE VIEW statsig_conditions AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.id AS rule_position, t.name AS rule_id, t.name AS rule_name,
    t.id AS position, t.name AS type, t.name AS operator, t.name AS field, t.name AS custom_id,
    t.name AS target_value
FROM sources AS t WHERE 0
UNION ALL
SELECT
    r.source AS source,
    r.segment AS segment,
    r.position AS rule_position, -- from 0, as in path
    iif(json_type(r.rule, '$.id') IN ('text', 'null'), r.rule ->> '$.id', r.rule -> '$.id') AS rule_id,
    iif(json_type(r.rule, '$.name') IN ('text', 'null'), r.rule ->> '$.name', r.rule -> '$.name') AS rule_name,
    r.condition_position AS position, -- from 0, as in path
    -- email | country | custom_field | …
    iif(json_type(r.condition, '$.type') IN ('text', 'null'),
        r.condition ->> '$.type', r.condition -> '$.type') AS type,
    iif(json_type(r.condition, '$.operator') IN ('text', 'null'),
        r.condition ->> '$.operator', r.condition -> '$.operator') AS operator,
    -- of a custom_field
    iif(json_type(r.condition, '$.field') IN ('text', 'null'),
        r.condition ->> '$.field', r.condition -> '$.field') AS field,
    iif(json_type(r.condition, '$.customID') IN ('text', 'null'),
        r.condition ->> '$.customID', r.condition -> '$.customID') AS custom_id,
    nullif(r.condition -> '$.targetValue', 'null') AS target_value -- JSON: a string in quotes, a number, or an array of either
FROM (
    SELECT
        r.source, r.segment, r.position, r.rule, e.key AS condition_position,
        iif(e.type = 'object', e.value, '{}') AS condition
    FROM (
        SELECT
            src.name AS source, s.key AS segment, e.key AS position,
            iif(e.type = 'object', e.value, '{}') AS rule -- the item itself may be anything
        FROM sources AS src
        JOIN segments AS s ON s.source_id = src.id AND s.state = 'present'
        JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version,
        json_each(CASE json_type(v.document, '$.rules')
            WHEN 'array' THEN v.document -> '$.rules'
            WHEN 'object' THEN json_array(json(v.document -> '$.rules')) END) AS e
        WHERE src.provider = 'statsig' AND sqlite_version() IS NOT NULL
    ) AS r,
    json_each(CASE json_type(r.rule, '$.conditions')
        WHEN 'array' THEN r.rule -> '$.conditions'
        WHEN 'object' THEN json_array(json(r.rule -> '$.conditions')) END) AS e
) AS r;

-- Each segment of an Octave source. Its times are text as the provider sends it.
CREATE VIEW octave_segments AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.name AS name, t.name AS internal_name, t.name AS description,
    t.id AS active, t.id AS unrecognized, t.id AS rejected, t.name AS created_at, t.name AS updated_at,
    t.name AS deleted_at, t.name AS archived_at, t.name AS user_id, t.name AS user_name, t.name AS workspace_id,
    t.name AS data
FROM sources AS t WHERE 0
UNION ALL
SELECT
    d.source AS source,
    d.segment AS segment, -- the member oId
    iif(json_type(d.doc, '$.name') IN ('text', 'null'), d.doc ->> '$.name', d.doc -> '$.name') AS name,
    iif(json_type(d.doc, '$.internalName') IN ('text', 'null'),
        d.doc ->> '$.internalName', d.doc -> '$.internalName') AS internal_name,
    iif(json_type(d.doc, '$.description') IN ('text', 'null'),
        d.doc ->> '$.description', d.doc -> '$.description') AS description,
    -- 0 | 1
    iif(json_type(d.doc, '$.active') IN ('text', 'array', 'object'),
        d.doc -> '$.active', d.doc ->> '$.active') AS active,
    -- 0 | 1
    iif(json_type(d.doc, '$.unrecognized') IN ('text', 'array', 'object'),
        d.doc -> '$.unrecognized', d.doc ->> '$.unrecognized') AS unrecognized,
    -- 0 | 1
    iif(json_type(d.doc, '$.rejected') IN ('text', 'array', 'object'),
        d.doc -> '$.rejected', d.doc ->> '$.rejected') AS rejected,
    iif(json_type(d.doc, '$.createdAt') IN ('text', 'null'),
        d.doc ->> '$.createdAt', d.doc -> '$.createdAt') AS created_at,
    iif(json_type(d.doc, '$.updatedAt') IN ('text', 'null'),
        d.doc ->> '$.updatedAt', d.doc -> '$.updatedAt') AS updated_at,
    iif(json_type(d.doc, '$.deletedAt') IN ('text', 'null'),
        d.doc ->> '$.deletedAt', d.doc -> '$.deletedAt') AS deleted_at,
    iif(json_type(d.doc, '$.archivedAt') IN ('text', 'null'),
        d.doc ->> '$.archivedAt', d.doc -> '$.archivedAt') AS archived_at,
    iif(json_type(d.doc, '$.user.oId') IN ('text', 'null'), d.doc ->> '$.user.oId', d.doc -> '$.user.oId') AS user_id,
    -- the first and the last name
    nullif(trim(coalesce(d.first_name, '') || ' ' || coalesce(d.last_name, '')), '') AS user_name,
    iif(json_type(d.doc, '$.workspace.oId') IN ('text', 'null'),
        d.doc ->> '$.workspace.oId', d.doc -> '$.workspace.oId') AS workspace_id,
    nullif(d.doc -> '$.data', 'null') AS data -- JSON: the playbook, of a shape that the vendor changes
FROM (
    SELECT
        src.name AS source, s.key AS segment, v.document AS doc,
        iif(json_type(v.document, '$.user.firstName') IN ('text', 'null'),
            v.document ->> '$.user.firstName', v.document -> '$.user.firstName') AS first_name,
        iif(json_type(v.document, '$.user.lastName') IN ('text', 'null'),
            v.document ->> '$.user.lastName', v.document -> '$.user.lastName') AS last_name
    FROM sources AS src
    JOIN segments AS s ON s.source_id = src.id AND s.state = 'present'
    JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version
    WHERE src.provider = 'octave' AND sqlite_version() IS NOT NULL
) AS d;

-- Each qualifying question of those, in order.
CREATE VIEW octave_questions AS
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.id AS position, t.name AS question, t.name AS rationale,
    t.name AS fit_type, t.name AS weight, t.name AS archived_at
FROM sources AS t WHERE 0
UNION ALL
SELECT
    q.source AS source,
    q.segment AS segment,
    q.position AS position, -- from 0, as in path
    iif(json_type(q.item, '$.question') IN ('text', 'null'),
        q.item ->> '$.question', q.item -> '$.question') AS question,
    iif(json_type(q.item, '$.rationale') IN ('text', 'null'),
        q.item ->> '$.rationale', q.item -> '$.rationale') AS rationale,
    -- GOOD | BAD …
    iif(json_type(q.item, '$.fitType') IN ('text', 'null'),
        q.item ->> '$.fitType', q.item -> '$.fitType') AS fit_type,
    -- LOW | MEDIUM | HIGH …
    iif(json_type(q.item, '$.weight') IN ('text', 'null'),
        q.item ->> '$.weight', q.item -> '$.weight') AS weight,
    iif(json_type(q.item, '$.archivedAt') IN ('text', 'null'),
        q.item ->> '$.archivedAt', q.item -> '$.archivedAt') AS archived_at
FROM (
    SELECT
        src.name AS source, s.key AS segment, e.key AS position,
        iif(e.type = 'object', e.value, '{}') AS item -- the item itself may be anything
    FROM sources AS src
    JOIN segments AS s ON s.source_id = src.id AND s.state = 'present'
    JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version,
    json_each(CASE json_type(v.document, '$.qualifyingQuestions')
        WHEN 'array' THEN v.document -> '$.qualifyingQuestions'
        WHEN 'object' THEN json_array(json(v.document -> '$.qualifyingQuestions')) END) AS e
    WHERE src.provider = 'octave' AND sqlite_version() IS NOT NULL
) AS q;

-- Every leaf of the current documents of present segments: what is no object and no array, and those that are empty.
CREATE VIEW segment_fields AS
-- (json_tree would be shorter; but the paths of its older versions are ambiguous where a key is odd.)
WITH RECURSIVE nodes (source, segment, segment_id, provider, path, place, position, word, type, value) AS (
    SELECT src.name, s.key, s.id, src.provider, '$', NULL, NULL, '', json_type(v.document), v.document
    FROM sources AS src
    JOIN segments AS s ON s.source_id = src.id AND s.state = 'present'
    JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version
    WHERE sqlite_version() IS NOT NULL
    UNION ALL
    SELECT
        n.source, n.segment, n.segment_id, n.provider,
        n.path || CASE
            WHEN n.type = 'array' THEN '[' || e.key || ']'
            WHEN e.key = '' OR e.key GLOB '*[^A-Za-z0-9_]*' THEN '.' || json_quote(e.key)
            ELSE '.' || e.key END,
        iif(n.type = 'array' AND n.path IN (SELECT path FROM keyed WHERE provider = n.provider), n.path, n.place),
        iif(n.type = 'array' AND n.path IN (SELECT path FROM keyed WHERE provider = n.provider), e.key, n.position),
        CASE
            WHEN n.type = 'array' AND n.path IN (SELECT path FROM keyed WHERE provider = n.provider) THEN ''
            WHEN n.type = 'array' AND n.provider = 'statsig' AND n.path IN ('$.tags', '$.targetApps', '$.holdoutIDs')
                THEN n.word || '[' || CASE
                    WHEN e.type IN ('object', 'array') THEN e.value
                    WHEN e.type IN ('true', 'false', 'null') THEN e.type
                    WHEN e.type <> 'text' OR e.atom = '' OR trim(e.atom) <> e.atom OR e.atom GLOB '"*'
                        OR e.atom GLOB '*[][]*' OR e.atom GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'
                        THEN json_quote(e.atom)
                    WHEN length(e.atom) > 200 THEN substr(e.atom, 1, 199) || '…'
                    ELSE e.atom END || ']'
            WHEN n.type = 'array' THEN n.word || '[' || e.key || ']'
            ELSE n.word || iif(n.path = '$', '', '.') || iif(
                e.key = '' OR trim(e.key) <> e.key OR e.key GLOB '*[].["[]*'
                    OR e.key GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*',
                json_quote(e.key), e.key) END,
        e.type,
        CASE
            WHEN e.type = 'text' THEN json_quote(e.atom)
            WHEN e.type IN ('true', 'false', 'null') THEN e.type
            WHEN e.type IN ('object', 'array') THEN e.value
            WHEN e.type = 'integer' AND typeof(e.atom) = 'integer' THEN CAST(e.atom AS TEXT)
            -- with all its digits; as a double under a key that not every SQLite finds
            WHEN n.type = 'array' THEN n.value -> e.key
            WHEN instr(e.key, '"') = 0 AND instr(e.key, '\') = 0 THEN n.value -> ('$."' || e.key || '"')
            ELSE json_quote(e.atom) END
    FROM nodes AS n, json_each(n.value) AS e
    WHERE n.type IN ('object', 'array')
),
keyed (provider, path, label, first, second, third) AS ( -- arrays whose items are named by a member
    SELECT 'statsig', '$.rules', '$.name', '$.id', '$.baseID', '$.name'
    UNION ALL
    SELECT 'octave', '$.qualifyingQuestions', NULL, '$.question', NULL, NULL
    UNION ALL
    SELECT 'octave', '$.data.customFields', NULL, '$.title', NULL, NULL
),
items AS (
    SELECT
        i.segment_id, i.place, i.position,
        iif(json_type(i.item, i.label) = 'text' AND i.item ->> i.label <> '', i.item -> i.label, NULL) AS name,
        iif(json_type(i.item, i.first) IN ('text', 'integer', 'real'), i.item -> i.first, NULL) AS first,
        iif(json_type(i.item, i.second) IN ('text', 'integer', 'real'), i.item -> i.second, NULL) AS second,
        iif(json_type(i.item, i.third) IN ('text', 'integer', 'real'), i.item -> i.third, NULL) AS third
    FROM (
        SELECT
            s.id AS segment_id, a.path AS place, a.label, a.first, a.second, a.third, e.key AS position,
            iif(e.type = 'object', e.value, '{}') AS item
        FROM keyed AS a
        JOIN sources AS src ON src.provider = a.provider
        JOIN segments AS s ON s.source_id = src.id AND s.state = 'present'
        JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version,
        json_each(iif(json_type(v.document, a.path) = 'array', v.document -> a.path, '[]')) AS e
    ) AS i
),
own AS ( -- each item with the first member that all have, each its own
    SELECT
        i.segment_id, i.place, i.position, i.name,
        CASE c.which WHEN 1 THEN i.first WHEN 2 THEN i.second ELSE i.third END AS key
    FROM items AS i
    JOIN (
        SELECT
            g.segment_id, g.place,
            CASE count(*)
                WHEN count(DISTINCT g.first) THEN 1
                WHEN count(DISTINCT g.second) THEN 2
                WHEN count(DISTINCT g.third) THEN 3 END AS which
        FROM items AS g GROUP BY 1, 2
    ) AS c ON c.segment_id = i.segment_id AND c.place = i.place AND c.which IS NOT NULL
),
means AS ( -- how many items a word stands for, as name or as that member
    SELECT w.segment_id, w.place, w.word, count(*) AS items
    FROM (
        SELECT segment_id, place, position, key AS word FROM own
        UNION
        SELECT segment_id, place, position, name FROM own WHERE name IS NOT NULL
    ) AS w
    GROUP BY 1, 2, 3
),
called AS ( -- by its name where that means no other item, else by that member
    SELECT c.segment_id, c.place, c.position, c.quoted, c.quoted ->> '$' AS bare
    FROM (
        SELECT o.segment_id, o.place, o.position, iif(m.items = 1, o.name, o.key) AS quoted
        FROM own AS o
        LEFT JOIN means AS m ON m.segment_id = o.segment_id AND m.place = o.place AND m.word = o.name
    ) AS c
)
SELECT -- no row: the types of the columns
    t.name AS source, t.name AS segment, t.name AS field, t.name AS path, t.name AS type, t.name AS value
FROM sources AS t WHERE 0
UNION ALL
SELECT
    n.source AS source,
    n.segment AS segment,
    -- path in the words of change_log, as far as one document alone can tell
    coalesce(substr(n.place, 3) || '[' || CASE
        WHEN c.quoted IS NULL THEN n.position
        WHEN json_type(c.quoted) <> 'text' OR trim(c.bare) <> c.bare OR c.bare = '' OR c.bare GLOB '"*' OR c.bare GLOB '*[][]*'
            OR c.bare GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*' THEN c.quoted
        WHEN length(c.bare) > 200 THEN substr(c.bare, 1, 199) || '…'
        ELSE c.bare END || ']', '') || n.word AS field,
    n.path AS path, -- for json_extract on the document
    n.type AS type, -- text | integer | real | true | false | null; object and array where they are empty
    n.value AS value -- JSON text
FROM nodes AS n
LEFT JOIN called AS c ON c.segment_id = n.segment_id AND c.place = n.place AND c.position = n.position
WHERE n.type NOT IN ('object', 'array') OR n.value IN ('{}', '[]');
