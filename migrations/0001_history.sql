-- The whole history: what is polled, what was seen, what changed, and every request that was made.
--
-- Every time is integer Unix milliseconds, UTC; the views show it as 2026-01-31T09:30:00.000Z. The views need SQLite 3.40.
-- In them a time is whole seconds (rounded down, also before 1970) through strftime, then the milliseconds through printf:
-- strftime's own %f rounds a double and can show another millisecond.

PRAGMA application_id = 1397049171; -- 0x53454753, "SEGS"

CREATE TABLE sources (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE CHECK (name <> ''), -- the configured name
    provider    TEXT    NOT NULL,
    base_url    TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('ok', 'unauthorized', 'held', 'failing')),
    state_since INTEGER NOT NULL, -- when it took this state
    last_error  TEXT,             -- why; NULL while it is ok
    held_until  INTEGER,          -- until when the provider asked not to be asked; NULL: it never did
    pace        REAL    NOT NULL DEFAULT 1.0 CHECK (pace > 0 AND pace <= 1) -- share of the full rate after the last answer
) STRICT;

CREATE TABLE segments (
    id              INTEGER PRIMARY KEY,
    source_id       INTEGER NOT NULL REFERENCES sources (id),
    key             TEXT    NOT NULL CHECK (key <> ''), -- the provider's id
    tracked         INTEGER NOT NULL CHECK (tracked IN (0, 1)), -- 1: the configuration names it
    state           TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'present', 'deleted')),
    first_seen_at   INTEGER, -- observed_at of version 1
    last_checked_at INTEGER, -- the last answer that told what it is, 404 included
    last_changed_at INTEGER, -- observed_at of the latest version
    version         INTEGER NOT NULL DEFAULT 0 CHECK (version >= 0), -- the latest seq; 0: none yet
    failures        INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0), -- failed or malformed polls since the last answer
    last_error      TEXT,    -- of the last poll without an answer; NULL after an answer
    etag            TEXT,    -- validator for the next request
    confirmed_at    INTEGER, -- start of the last poll that agreed with the latest version: one 404 of a present one does not
    checked_boot_ms INTEGER, -- last_checked_at on the clock that counts from boot; NULL when that was another boot
    not_found       INTEGER NOT NULL DEFAULT 0 CHECK (not_found >= 0), -- polls in a row that said 404
    UNIQUE (source_id, key),
    CHECK ((version = 0) = (state = 'pending'))
) STRICT;

CREATE INDEX segments_by_freshness ON segments (last_checked_at) WHERE tracked = 1;

-- AUTOINCREMENT: an id is never used twice, so a removed last row leaves a gap that can be found.
CREATE TABLE versions (
    id               INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of commits
    segment_id       INTEGER NOT NULL REFERENCES segments (id),
    seq              INTEGER NOT NULL CHECK (seq >= 1), -- 1, 2, 3 … per segment
    op               TEXT    NOT NULL CHECK (op IN ('create', 'update', 'delete', 'restore')),
    cause            TEXT    CHECK (cause IN ('schema')), -- NULL: a change like any other
    observed_at      INTEGER NOT NULL, -- never before the segment's previous version
    valid_to         INTEGER, -- observed_at of the next version; NULL: still so
    changed_after    INTEGER, -- the last poll that still saw the old state; NULL where there was none
    modified_at      INTEGER, -- as the provider says
    modified_by      TEXT,    -- as the provider says
    revision         INTEGER, -- the provider's own number
    missed_revisions INTEGER, -- revisions between this one and the previous version's
    hash             BLOB    CHECK (length(hash) = 32), -- BLAKE3 of document
    chain            BLOB    NOT NULL CHECK (length(chain) = 32), -- BLAKE3 of the previous row's chain and this row
    document         TEXT,    -- canonical JSON; NULL only where a delete left none
    poll_id          INTEGER NOT NULL, -- the poll that saw it; that row may have been pruned
    UNIQUE (segment_id, seq),
    CHECK (document IS NOT NULL OR op = 'delete'),
    CHECK ((document IS NULL) = (hash IS NULL)),
    CHECK (valid_to >= observed_at),
    CHECK (changed_after <= observed_at)
) STRICT;

CREATE INDEX versions_as_of ON versions (segment_id, observed_at);
CREATE INDEX versions_by_time ON versions (observed_at);

CREATE TABLE changes (
    version_id  INTEGER NOT NULL REFERENCES versions (id),
    ordinal     INTEGER NOT NULL CHECK (ordinal >= 0), -- the order in which changes fold
    observed_at INTEGER NOT NULL, -- the version's
    op          TEXT    NOT NULL CHECK (op IN ('add', 'remove', 'replace', 'move')),
    path        TEXT    NOT NULL, -- for json_extract on this version's document; on the previous one's for a remove
    field       TEXT    NOT NULL, -- the same in words that stay stable
    old         TEXT,             -- JSON text; for a move the index before; NULL where absent
    new         TEXT,             -- JSON text; for a move the index after; NULL where absent
    PRIMARY KEY (version_id, ordinal)
) STRICT;

CREATE INDEX changes_by_field ON changes (field, observed_at);

-- AUTOINCREMENT: versions.poll_id and clock.first_poll outlive the rows that they name.
CREATE TABLE polls (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    source_id   INTEGER NOT NULL REFERENCES sources (id),
    segment_id  INTEGER REFERENCES segments (id), -- NULL: a page of a list, or a file
    kind        TEXT    NOT NULL CHECK (kind IN ('get', 'sweep', 'probe', 'import')),
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    outcome     TEXT    CHECK (outcome IN ('created', 'updated', 'unchanged', 'deleted', 'restored', 'not_found',
                                           'unauthorized', 'throttled', 'failed', 'malformed')), -- NULL: in flight
    http_status INTEGER, -- NULL: no answer
    bytes       INTEGER CHECK (bytes >= 0), -- of the body as read
    usage       REAL,    -- as the provider says, in its own unit
    error       TEXT,
    boot_ms     INTEGER, -- milliseconds from boot to the start, once finished to the end; see clock.first_poll
    CHECK ((outcome IS NULL) = (finished_at IS NULL))
) STRICT;

CREATE INDEX polls_by_source ON polls (source_id);
CREATE INDEX polls_by_time ON polls (started_at);
CREATE INDEX polls_in_flight ON polls (id) WHERE outcome IS NULL;

CREATE TABLE clock (
    boot_id      TEXT,             -- the boot that monotonic_ms counts from; NULL where the system does not tell
    monotonic_ms INTEGER NOT NULL, -- milliseconds since boot at the last write
    wall_ms      INTEGER NOT NULL, -- the wall clock at the same moment
    first_poll   INTEGER NOT NULL, -- polls from this id on have a boot_ms of this boot
    one          INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1) -- one row
) STRICT;

CREATE TABLE schema_events (
    id          INTEGER PRIMARY KEY,
    source_id   INTEGER NOT NULL REFERENCES sources (id),
    observed_at INTEGER NOT NULL,
    path        TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('appeared', 'disappeared', 'type_changed')),
    segments    INTEGER NOT NULL CHECK (segments >= 0) -- in how many it was seen
) STRICT;

CREATE INDEX schema_events_by_time ON schema_events (observed_at);

-- The latest of each segment that was ever seen, deleted ones included.
CREATE VIEW segment_now AS
SELECT
    src.name AS source,
    s.key AS segment,
    src.provider AS provider,
    -- the display name, of the last document where a delete left none
    (SELECT json_extract(d.document, '$.name') FROM versions AS d
        WHERE d.segment_id = s.id AND d.document IS NOT NULL ORDER BY d.seq DESC LIMIT 1) AS name,
    s.state AS state, -- present | deleted
    v.seq AS version,
    -- since when it is so
    strftime('%Y-%m-%dT%H:%M:%S.', v.observed_at / 1000 - (v.observed_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (v.observed_at % 1000 + 1000) % 1000) AS valid_from,
    -- when the provider was last asked and told
    strftime('%Y-%m-%dT%H:%M:%S.', s.last_checked_at / 1000 - (s.last_checked_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (s.last_checked_at % 1000 + 1000) % 1000) AS checked_at,
    -- as the provider says; a number where it is no time of years 0 to 9999
    coalesce(strftime('%Y-%m-%dT%H:%M:%S.', v.modified_at / 1000 - (v.modified_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (v.modified_at % 1000 + 1000) % 1000), CAST(v.modified_at AS TEXT)) AS modified_at,
    v.modified_by AS modified_by,
    v.document AS document -- canonical JSON; NULL where a delete left none
FROM segments AS s
JOIN sources AS src ON src.id = s.source_id
JOIN versions AS v ON v.segment_id = s.id AND v.seq = s.version;

-- Every version. As of a time: WHERE valid_from <= :t AND (valid_to IS NULL OR valid_to > :t)
CREATE VIEW segment_history AS
SELECT
    src.name AS source,
    s.key AS segment,
    v.seq AS version,
    v.op AS op, -- create | update | delete | restore
    -- first observed
    strftime('%Y-%m-%dT%H:%M:%S.', v.observed_at / 1000 - (v.observed_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (v.observed_at % 1000 + 1000) % 1000) AS valid_from,
    -- the next version observed; NULL: still so
    strftime('%Y-%m-%dT%H:%M:%S.', v.valid_to / 1000 - (v.valid_to % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (v.valid_to % 1000 + 1000) % 1000) AS valid_to,
    -- the last poll that still saw the old state: the change happened between the two
    strftime('%Y-%m-%dT%H:%M:%S.', v.changed_after / 1000 - (v.changed_after % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (v.changed_after % 1000 + 1000) % 1000) AS changed_after,
    coalesce(strftime('%Y-%m-%dT%H:%M:%S.', v.modified_at / 1000 - (v.modified_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (v.modified_at % 1000 + 1000) % 1000), CAST(v.modified_at AS TEXT)) AS modified_at,
    v.modified_by AS modified_by,
    v.revision AS revision, -- the provider's own number
    v.missed_revisions AS missed_revisions, -- its revisions that no poll saw
    v.document AS document
FROM versions AS v
JOIN segments AS s ON s.id = v.segment_id
JOIN sources AS src ON src.id = s.source_id;

-- One row for each field of an update; one for a create, a delete or a restore.
CREATE VIEW change_log AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%S.', l.observed_at / 1000 - (l.observed_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (l.observed_at % 1000 + 1000) % 1000) AS observed_at,
    strftime('%Y-%m-%dT%H:%M:%S.', l.changed_after / 1000 - (l.changed_after % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (l.changed_after % 1000 + 1000) % 1000) AS changed_after,
    l.source AS source,
    l.segment AS segment,
    l.version AS version,
    l.version_op AS version_op, -- create | update | delete | restore
    coalesce(l.op, l.version_op) AS op, -- add | remove | replace | move, else version_op
    l.field AS field,
    l.path AS path,
    l.old AS old,
    l.new AS new,
    l.modified_by AS modified_by,
    -- one line, long values cut
    replace(replace(l.source || '/' || l.segment || ' v' || l.version || ': ' || CASE
        WHEN l.version_op = 'create' THEN 'created'
        WHEN l.version_op = 'delete' THEN 'deleted'
        WHEN l.version_op = 'restore' THEN 'restored'
        WHEN l.op = 'add' THEN l.field || ' added ' || l.short_new
        WHEN l.op = 'remove' THEN l.field || ' removed ' || l.short_old
        WHEN l.op = 'move' THEN l.field || ' moved from ' || l.short_old || ' to ' || l.short_new
        WHEN l.op = 'replace' THEN l.field || ' ' || l.short_old || ' → ' || l.short_new
        ELSE 'updated'
    END || coalesce(' by ' || l.modified_by, ''), char(10), ' '), char(13), ' ') AS summary
FROM (
    SELECT
        v.observed_at, v.changed_after, src.name AS source, s.key AS segment, v.seq AS version, v.op AS version_op,
        c.op, c.field, c.path, c.old, c.new, v.modified_by,
        CASE WHEN length(c.old) > 60 THEN substr(c.old, 1, 59) || '…' ELSE coalesce(c.old, 'absent') END AS short_old,
        CASE WHEN length(c.new) > 60 THEN substr(c.new, 1, 59) || '…' ELSE coalesce(c.new, 'absent') END AS short_new
    FROM versions AS v
    JOIN segments AS s ON s.id = v.segment_id
    JOIN sources AS src ON src.id = s.source_id
    LEFT JOIN changes AS c ON c.version_id = v.id AND v.op = 'update'
) AS l;

-- How old the copy of each tracked segment is, deleted and never seen ones included.
CREATE VIEW freshness AS
SELECT
    src.name AS source,
    s.key AS segment,
    s.state AS state, -- pending | present | deleted
    -- the last answer; NULL: never
    strftime('%Y-%m-%dT%H:%M:%S.', s.last_checked_at / 1000 - (s.last_checked_at % 1000 < 0), 'unixepoch')
        || printf('%03dZ', (s.last_checked_at % 1000 + 1000) % 1000) AS checked_at,
    -- by this machine's clock, now
    max(0, CAST(strftime('%s', 'now') AS INTEGER) - s.last_checked_at / 1000) AS age_seconds,
    s.failures AS failures, -- failed or malformed polls since
    s.last_error AS last_error
FROM segments AS s
JOIN sources AS src ON src.id = s.source_id
WHERE s.tracked = 1;

-- How the requests went, by hour of their start.
CREATE VIEW poll_health AS
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
JOIN sources AS src ON src.id = h.source_id;
