//! The systemd units, as far as they can be judged without a manager. tests/systemd/check does the rest.
#![allow(clippy::print_stderr, reason = "what is not tested is said loudly")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect(name)
}

/// Runs systemd-analyze, where there is one.
fn analyze(args: &[&str]) -> Option<(bool, String)> {
    match Command::new("systemd-analyze").args(args).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(error) => {
            eprintln!("NOT TESTED: there is no systemd-analyze here ({error})");
            None
        }
    }
}

#[test]
fn the_sandbox_is_tight() {
    let unit = folder().join("segsync.service");
    let unit = unit.to_str().expect("UTF-8");
    let Some((is_within, text)) = analyze(&["security", "--offline=true", "--threshold=12", unit]) else { return };
    assert!(is_within, "{text}");
    eprintln!("{}", text.lines().last().unwrap_or_default());
}

#[test]
fn the_units_verify_in_silence() {
    let scratch = tempfile::tempdir().expect("a folder");
    // The program is not installed where this runs.
    let installed = |name: &str| {
        let text = read(name).replace("/usr/bin/segsync", env!("CARGO_BIN_EXE_segsync"));
        let path = scratch.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let units: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| [".service", ".socket"].iter().any(|ending| name.ends_with(ending)))
        .map(|name| installed(&name))
        .collect();
    assert!(!units.is_empty());
    let mut args = vec!["verify", "--man=no"];
    args.extend(units.iter().map(String::as_str));
    let Some((is_good, text)) = analyze(&args) else { return };
    assert!(is_good && text.is_empty(), "{text}");
}

#[test]
fn the_unit_and_the_program_agree() {
    let unit = read("segsync.service");
    let lines: Vec<&str> = unit.lines().collect();
    for line in [
        "Type=notify",
        "ExecStartPre=/usr/bin/segsync config check",
        "ExecStart=/usr/bin/segsync run",
        "Restart=on-failure",
        "StateDirectory=segsync",
        "StateDirectoryMode=0750",
        "UMask=0027",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    // Ignored by systemd 252, with a line in the journal.
    assert!(!unit.contains("RestartSteps") && !unit.contains("notify-reload"));
    assert!(read("segsync.sysusers").contains("\nu segsync - "));
}
