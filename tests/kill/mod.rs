//! `kill -9` at random instants, again and again: nothing that was committed is lost, nothing is doubled or left half done,
//! and the provider never sees more requests than the account may make.
//!
//! A hundred lives of the daemon and some of everything else in `cargo test`;
//! `SEGSYNC_KILLS=1000 cargo test --release --test suite kill::` for the long run: so many in all.

mod file;
mod jobs;
mod lives;
mod upgrade;

/// How many kills: this share of a hundred of all in the long run, else `usual`.
fn kills(share: usize, usual: usize) -> usize {
    std::env::var("SEGSYNC_KILLS").map_or(usual, |count| (count.parse::<usize>().unwrap() * share).div_ceil(100))
}
