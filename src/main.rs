//! Dispatches to the verbs.

use std::process::ExitCode;

fn main() -> ExitCode {
    segsync::cli::main()
}
