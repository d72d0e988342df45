//! The schema's steps, in order, each in one transaction with its version bump.
//!
//! A step that has been released is never edited: files in the field have run it.

use rusqlite::{Connection, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

/// One file of `migrations/`.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The file's name, for people.
    pub name: &'static str,
    /// What it does.
    pub sql: &'static str,
}

/// Every step; a file that has run the first n has `user_version` n.
pub const STEPS: &[Step] = &[
    Step { name: "0001_history.sql", sql: include_str!("../../migrations/0001_history.sql") },
    Step { name: "0002_log.sql", sql: include_str!("../../migrations/0002_log.sql") },
    Step { name: "0003_views.sql", sql: include_str!("../../migrations/0003_views.sql") },
    Step { name: "0004_schema.sql", sql: include_str!("../../migrations/0004_schema.sql") },
    Step { name: "0005_keep.sql", sql: include_str!("../../migrations/0005_keep.sql") },
    Step { name: "0006_names.sql", sql: include_str!("../../migrations/0006_names.sql") },
];

/// The `user_version` of an up-to-date file.
pub fn latest_version() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Runs the steps that the file lacks. A step that fails leaves the file as the step before left it.
pub fn upgrade(connection: &mut Connection) -> Result<(), rusqlite_migration::Error> {
    upgrade_to(connection, STEPS.len())
}

/// Runs the steps that the file lacks, up to `user_version` `through`.
pub fn upgrade_to(connection: &mut Connection, through: usize) -> Result<(), rusqlite_migration::Error> {
    let steps: Migrations<'_> = STEPS.iter().map(|step| M::up(step.sql)).collect();
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    let done: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        .map(|version| usize::try_from(version).unwrap_or(usize::MAX))?;
    // One by one: the library runs all that it is given in a single transaction.
    (done..through).try_for_each(|before| steps.to_version(connection, before + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_step_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        files.sort();
        assert_eq!(files, STEPS.iter().map(|step| step.name).collect::<Vec<_>>());
        for (at, name) in files.iter().enumerate() {
            assert!(name.starts_with(&format!("{:04}_", at + 1)), "{name}");
        }
    }
}
