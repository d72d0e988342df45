//! `docs/analysts.md` tells the truth: every query on the page is run on its example database, and what the page shows is
//! what comes out, in the bundled SQLite and in the system's `sqlite3`.
//!
//! `SEGSYNC_BLESS=1 cargo test --test suite analysts::` writes the page's outputs anew, and with `SEGSYNC_EXAMPLE=FILE` it leaves
//! the example database there.

mod page;
mod story;

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/analysts.md");

/// What `sqlite3 -batch -init /dev/null -header -column` prints; `None` where there is no such program.
fn system(file: &Path, sql: &str) -> Option<String> {
    let ran = Command::new("sqlite3")
        .args(["-batch", "-init", "/dev/null", "-readonly", "-header", "-column"])
        .arg(file)
        .arg(sql)
        .output();
    match ran {
        Ok(ran) => {
            assert_eq!(String::from_utf8_lossy(&ran.stderr), "", "{sql}");
            let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
            Some(printed.lines().map(|line| line.trim_end().to_owned() + "\n").collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("sqlite3: {error}"),
    }
}

#[tokio::test]
async fn every_query_on_the_page_gives_what_the_page_shows() {
    let bench = story::example().await;
    let file = bench.db_path();
    if let Some(wanted) = std::env::var_os("SEGSYNC_EXAMPLE") {
        let _gone = std::fs::remove_file(&wanted);
        bench.db().execute("VACUUM INTO ?1", [wanted.to_str()]).unwrap();
    }
    let db: Connection = bench.db();
    let text = std::fs::read_to_string(PAGE).unwrap();
    let blocks = page::queries(&text);
    assert!(blocks.len() >= 15, "{} queries", blocks.len());
    let mut shown = Vec::new();
    for block in &blocks {
        let printed = page::columns(&db, block.sql);
        match system(&file, block.sql) {
            Some(theirs) => assert_eq!(theirs, printed, "sqlite3 prints otherwise\n{}", block.sql),
            None => println!("NOT TRIED with the system's sqlite3: there is none here"),
        }
        shown.push(printed);
    }
    if std::env::var_os("SEGSYNC_BLESS").is_some() {
        std::fs::write(PAGE, page::blessed(&text, &blocks, &shown)).unwrap();
        return;
    }
    for (block, printed) in blocks.iter().zip(&shown) {
        assert_eq!(block.output, printed, "{}\nSEGSYNC_BLESS=1 writes the page's outputs anew", block.sql);
    }
}
