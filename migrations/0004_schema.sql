-- Changes of a provider's schema, while they go on.

ALTER TABLE schema_events ADD COLUMN last_seen_at INTEGER; -- when a version last showed it

-- Versions that turned out to be nothing but a change of the schema only after they were written: their `cause` is NULL,
-- as the chain covers it.
CREATE TABLE schema_versions (
    version_id INTEGER PRIMARY KEY REFERENCES versions (id) ON DELETE CASCADE
) STRICT;
