//! What dependencies may be, by the lists in `deny.toml`: every crate that a Linux build takes in, for tests included, has a
//! licence that is allowed there, comes from crates.io, and is none of those that are not wanted.
//!
//! `cargo deny check bans licenses sources` says the same by the same file, and more; it takes minutes to install, so CI has
//! this.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, ParseMode};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

struct Lists {
    licenses: BTreeSet<String>,
    banned: BTreeSet<String>,
}

fn lists() -> Lists {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).expect("deny.toml");
    let table: toml::Table = text.parse().expect("TOML");
    let list = |section: &str, name: &str| -> BTreeSet<String> {
        let items = table[section][name].as_array().expect("a list");
        items.iter().map(|item| item.as_str().expect("a name").to_owned()).collect()
    };
    for what in ["unknown-registry", "unknown-git"] {
        assert_eq!(table["sources"][what].as_str(), Some("deny"), "{what}");
    }
    Lists { licenses: list("licenses", "allow"), banned: list("bans", "deny") }
}

/// Every package but this one, as cargo knows them.
fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    let output = cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let resolved: BTreeSet<&str> =
        metadata["resolve"]["nodes"].as_array().expect("nodes").iter().filter_map(|node| node["id"].as_str()).collect();
    let packages = metadata["packages"].as_array().expect("packages");
    let is_other = |package: &&Value| {
        package["name"] != env!("CARGO_PKG_NAME") && package["id"].as_str().is_some_and(|id| resolved.contains(id))
    };
    packages.iter().filter(is_other).cloned().collect()
}

/// What is wrong with a package.
fn objections(package: &Value, lists: &Lists) -> Vec<String> {
    let name = package["name"].as_str().expect("a name");
    let mut all = Vec::new();
    if package["source"] != CRATES_IO {
        all.push(format!("{name} comes from {}", package["source"]));
    }
    if lists.banned.contains(name) {
        all.push(format!("{name} is not wanted"));
    }
    let license = package["license"].as_str().unwrap_or_default();
    // Old manifests write `/` for OR.
    let expression = Expression::parse_mode(license, ParseMode::LAX);
    if !expression.is_ok_and(|terms| terms.evaluate(|term| lists.licenses.contains(&term.to_string()))) {
        all.push(format!("{name}: its licence {license:?} is not allowed"));
    }
    all
}

#[test]
fn every_dependency_is_one_that_may_be() {
    let (lists, packages) = (lists(), packages());
    assert!(packages.len() > 100, "{} packages", packages.len());
    let all: Vec<String> = packages.iter().flat_map(|package| objections(package, &lists)).collect();
    assert!(all.is_empty(), "see deny.toml:\n{}", all.join("\n"));
}

#[test]
fn what_may_not_be_is_found() {
    let lists = lists();
    let package = |name: &str, license: Option<&str>, source: &str| {
        let package = serde_json::json!({ "name": name, "license": license, "source": source });
        objections(&package, &lists).len()
    };
    assert_eq!(package("a", Some("MIT OR GPL-3.0-only"), CRATES_IO), 0);
    assert_eq!(package("a", Some("MIT/Apache-2.0"), CRATES_IO), 0);
    assert_eq!(package("a", Some("MIT AND GPL-3.0-only"), CRATES_IO), 1);
    assert_eq!(package("a", Some("Apache-2.0 WITH LLVM-exception"), CRATES_IO), 0);
    assert_eq!(package("a", None, CRATES_IO), 1);
    assert_eq!(package("openssl", Some("MIT"), CRATES_IO), 1);
    assert_eq!(package("a", Some("MIT"), "git+https://example.org/a"), 1);
}
