//! A pager between long results and a terminal. A pager that is quit early is no error, and one that is not there is
//! done without.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use super::is_terminal;

/// How results get past the height of a terminal.
#[derive(Debug, clap::Args)]
pub(super) struct Paging {
    /// Print to the terminal as it is, not through $PAGER or less
    #[arg(long)]
    no_pager: bool,
}

/// A running pager. It is waited for when dropped: whoever reads there decides when it is over.
pub(super) struct Pager(Child);

impl Pager {
    /// Starts one where standard output is a terminal and neither `paging` nor `$PAGER` says no.
    pub(super) fn start(paging: &Paging) -> Result<Option<Self>> {
        if paging.no_pager || !is_terminal() {
            return Ok(None);
        }
        let Some(mut command) = wanted(std::env::var("PAGER").ok().as_deref()) else { return Ok(None) };
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", "FRX");
        }
        match command.stdin(Stdio::piped()).spawn() {
            Ok(child) => {
                ignore_interrupts()?;
                Ok(Some(Self(child)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("start the pager"),
        }
    }

    /// Where the text goes; the pager sees its end when this is dropped.
    pub(super) fn take_input(&mut self) -> Option<File> {
        self.0.stdin.take().map(OwnedFd::from).map(File::from)
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        // It has shown what it could; how it ended is its own business.
        drop(self.0.wait());
    }
}

/// The pager that `$PAGER` names, less where it names none; `None` where it is empty or plain `cat`.
fn wanted(pager: Option<&str>) -> Option<Command> {
    let pager = pager.map_or("less", str::trim);
    if pager.is_empty() || pager == "cat" {
        return None;
    }
    if pager.contains(|char: char| !(char.is_ascii_alphanumeric() || " /._-+".contains(char))) {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(pager);
        return Some(shell);
    }
    let mut words = pager.split_whitespace();
    let mut command = Command::new(words.next()?);
    command.args(words);
    Some(command)
}

/// Ctrl-C is for the pager; without it the terminal would be the shell's and the pager's at once.
fn ignore_interrupts() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("start the runtime")?;
    let _entered = runtime.enter();
    // Once it is listened for, the signal does nothing else until the process ends.
    let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    interrupts.map(drop).context("leave Ctrl-C to the pager")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_the_one_that_is_named() {
        let words = |pager: Option<&str>| {
            let command = wanted(pager)?;
            let words = [command.get_program()].into_iter().chain(command.get_args());
            Some(words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(words(None).as_deref(), Some("less"));
        assert_eq!(words(Some("less -S")).as_deref(), Some("less|-S"));
        assert_eq!(words(Some("head -n 3 | cat")).as_deref(), Some("sh|-c|head -n 3 | cat"));
        assert_eq!(words(Some("")), None);
        assert_eq!(words(Some(" ")), None);
        assert_eq!(words(Some("cat")), None);
    }
}
