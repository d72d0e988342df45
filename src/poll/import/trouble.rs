//! Why a line cannot be taken, and why nothing was imported.
//!
//! A line's trouble is named with its place in the file, so that whoever made the file finds it.

use std::io;

use crate::store::Error;

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {what}")]
pub struct BadLine {
    /// Which, counted from 1.
    pub line: u64,
    /// Where in it, in bytes counted from 1.
    pub column: usize,
    /// Why not.
    pub what: String,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A line cannot be taken.
    #[error(transparent)]
    Line(#[from] BadLine),
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The database cannot be written.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What is wrong with a line, before its number is added.
pub(super) enum Trouble {
    /// In words, and from which byte on.
    Line(usize, String),
    Store(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Trouble {
    /// Something about the line as a whole.
    pub(super) fn whole<T>(what: String) -> Result<T, Self> {
        Err(Self::Line(0, what))
    }

    /// The same in this line of the file, counted from 1.
    pub(super) fn at(self, line: u64) -> ImportError {
        match self {
            Self::Line(at, what) => BadLine { line, column: at + 1, what }.into(),
            Self::Store(error) => error.into(),
        }
    }
}
