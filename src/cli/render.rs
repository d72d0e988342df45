//! How a version is shown to reviewers.

use std::io::{self, Write};

use super::safe;
use crate::store::VersionEntry;

/// How much of a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// Long ones are cut in the middle.
    Short,
}

/// One version as a block.
pub(super) fn block(output: &mut impl Write, version: &VersionEntry, _values: Values) -> io::Result<()> {
    writeln!(output, "{} {} v{} {}", version.observed_at, safe(&version.key.to_string()), version.seq, version.op)
}
