-- What the log is asked for besides time and segment.

-- The version comes with it, so that changes of a field are found without looking at their rows.
DROP INDEX changes_by_field;
CREATE INDEX changes_by_field ON changes (field, observed_at, version_id);

CREATE INDEX versions_by_editor ON versions (modified_by, observed_at) WHERE modified_by IS NOT NULL;

-- Creates, deletes and restores are few.
CREATE INDEX versions_by_op ON versions (op, observed_at) WHERE op <> 'update';
