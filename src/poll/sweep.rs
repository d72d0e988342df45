//! Walking through a list whose pages cannot be trusted: when to go on, and whether all of it was seen. Pure.

use std::collections::HashSet;

use super::Listed;
use crate::clock::Now;
use crate::provider::{Beside, Page};

/// Segments asked for with each page; the largest size that is known to be accepted (PROVIDERS.md).
pub const PAGE_SIZE: usize = 100;

/// No list is followed further.
const LONGEST: usize = 10_000;

/// A page that failed so often in a row is passed by, so that it does not keep the others from being read.
const TRIES: u32 = 3;

/// How far a sweep has come.
#[derive(Debug, Default)]
pub struct Sweep {
    began: Option<Now>,
    pages: usize,
    offset: usize,
    seen: HashSet<String>,
    total: Option<usize>,
    /// Pages in a row that brought no segment that was not seen before.
    barren: u32,
    /// Something in it was no segment, or a page was passed by.
    odd: bool,
    /// How often the page to ask for next has failed.
    failures: u32,
    /// The page before it was passed by.
    has_passed: bool,
}

/// What follows a page that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// The same page again.
    Page,
    /// The page after it.
    Passed,
    /// The first page: the list as a whole seems to fail.
    List,
}

/// What comes after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another page.
    More,
    /// The list has ended, and every segment of it was seen.
    Complete,
    /// It has ended, and some may be missing.
    Partial,
}

impl Sweep {
    /// A page is about to be asked for.
    pub fn begin(&mut self, now: Now) {
        self.began.get_or_insert(now);
    }

    /// When the first page was asked for: what appeared since may not have been seen.
    pub fn began(&self) -> Option<Now> {
        self.began
    }

    /// The page to ask for next.
    pub fn page(&self) -> Page {
        Page { number: self.pages, offset: self.offset, size: PAGE_SIZE }
    }

    /// How many pages were read.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The ids that were seen.
    pub fn seen(&self) -> &HashSet<String> {
        &self.seen
    }

    /// The page has failed. One that goes on failing is passed by, and the sweep is partial; after two in a row it begins
    /// anew, for segments that no page tells about are asked for singly, and these would be all.
    pub fn fail(&mut self) -> Failing {
        self.failures += 1;
        if self.failures < TRIES {
            Failing::Page
        } else if self.has_passed {
            *self = Self::default();
            Failing::List
        } else {
            (self.failures, self.has_passed, self.odd) = (0, true, true);
            self.pages += 1;
            self.offset += PAGE_SIZE;
            Failing::Passed
        }
    }

    /// Takes a page in.
    ///
    /// A list that says how many segments it has must bring them. Without that, "no next page" is believed, and a list
    /// that does not even say that ends with an empty page. "Another page follows" is believed until two pages in a row
    /// bring nothing new: the list has ended if these were empty, and runs in circles if they were not.
    pub fn take(&mut self, listed: &Listed<'_>) -> Step {
        let Beside { has_next, total, .. } = listed.beside;
        let count = listed.segments.len() + listed.odd;
        let before = self.seen.len();
        (self.failures, self.has_passed) = (0, false);
        self.seen.extend(listed.segments.iter().map(|entry| entry.id.clone()));
        self.barren = if self.seen.len() == before { self.barren + 1 } else { 0 };
        self.odd |= listed.odd > 0;
        self.total = total.or(self.total);
        self.pages += 1;
        // Past an empty page lies the next full one, if any.
        self.offset += if count == 0 { PAGE_SIZE } else { count };

        let all_counted = self.total.map(|total| self.seen.len() >= total);
        let says_end = match has_next {
            Some(has_next) => !has_next,
            None => count == 0 || (all_counted.is_some() && count < PAGE_SIZE),
        };
        let patience = match (says_end, all_counted) {
            (true, Some(true) | None) => 0,
            (true, Some(false)) | (false, Some(true)) => 1,
            (false, Some(false) | None) => 2,
        };
        let is_over = self.barren >= patience;
        let has_run_dry = says_end || count == 0;
        if !is_over && self.pages < LONGEST {
            Step::More
        } else if is_over && !self.odd && all_counted.unwrap_or(has_run_dry) {
            Step::Complete
        } else {
            Step::Partial
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::poll::{Content, Entry};

    fn listed(ids: std::ops::Range<usize>, has_next: Option<bool>, total: Option<usize>) -> Listed<'static> {
        let entry = |id: usize| Entry { id: id.to_string(), text: "null", content: Content::Read(Value::Null) };
        let beside = Beside { has_next, total, usage: None };
        Listed { segments: ids.map(entry).collect(), odd: 0, beside }
    }

    fn sweep(pages: &[Listed<'_>]) -> (Vec<Step>, Sweep) {
        let mut sweep = Sweep::default();
        let steps = pages.iter().map(|page| sweep.take(page)).collect();
        (steps, sweep)
    }

    use Step::{Complete, More, Partial};

    #[test]
    fn a_list_that_keeps_its_word_ends_with_its_last_page() {
        let pages = [listed(0..100, Some(true), Some(150)), listed(100..150, Some(false), Some(150))];
        assert_eq!(sweep(&pages).0, [More, Complete]);
        let untold = [listed(0..100, Some(true), None), listed(100..150, Some(false), None)];
        assert_eq!(sweep(&untold).0, [More, Complete]);
        assert_eq!(sweep(&[listed(0..0, Some(false), Some(0))]).0, [Complete]);
    }

    #[test]
    fn a_list_without_a_word_ends_with_an_empty_page() {
        let pages = [listed(0..100, None, None), listed(100..130, None, None), listed(0..0, None, None)];
        assert_eq!(sweep(&pages).0, [More, More, Complete]);
    }

    #[test]
    fn smaller_pages_than_asked_for_are_followed() {
        let pages =
            [listed(0..50, None, Some(120)), listed(50..100, None, Some(120)), listed(100..120, None, Some(120))];
        let (steps, sweep) = sweep(&pages);
        assert_eq!(steps, [More, More, Complete]);
        assert_eq!(sweep.page(), Page { number: 3, offset: 120, size: 100 });
    }

    #[test]
    fn always_another_page_ends_when_nothing_comes() {
        let told = [listed(0..100, Some(true), Some(100)), listed(0..0, Some(true), Some(100))];
        assert_eq!(sweep(&told).0, [More, Complete]);
        let untold = [listed(0..100, Some(true), None), listed(0..0, Some(true), None), listed(0..0, Some(true), None)];
        assert_eq!(sweep(&untold).0, [More, More, Complete]);
    }

    #[test]
    fn an_empty_page_in_the_middle_is_passed() {
        let page = |ids| listed(ids, Some(true), Some(150));
        let (steps, sweep) = sweep(&[page(0..100), page(0..0), listed(100..150, Some(false), Some(150))]);
        assert_eq!(steps, [More, More, Complete]);
        assert_eq!(sweep.offset, 250);
    }

    #[test]
    fn a_list_that_brings_less_than_it_says_is_partial() {
        let pages = [
            listed(0..100, Some(true), Some(150)),
            listed(90..140, Some(false), Some(150)),
            listed(0..0, Some(false), Some(150)),
        ];
        assert_eq!(sweep(&pages).0, [More, More, Partial]);
    }

    #[test]
    fn a_list_that_runs_in_circles_is_partial() {
        let page = || listed(0..10, Some(true), None);
        assert_eq!(sweep(&[page(), page(), page()]).0, [More, More, Partial]);
    }

    #[test]
    fn a_page_that_goes_on_failing_is_passed_by() {
        let mut sweep = Sweep::default();
        assert_eq!(sweep.take(&listed(0..100, Some(true), Some(250))), More);
        assert_eq!([sweep.fail(), sweep.fail(), sweep.fail()], [Failing::Page, Failing::Page, Failing::Passed]);
        assert_eq!(sweep.page(), Page { number: 2, offset: 200, size: 100 });
        assert_eq!(sweep.take(&listed(200..250, Some(false), Some(250))), More);
        assert_eq!(sweep.take(&listed(0..0, Some(false), Some(250))), Partial);
    }

    #[test]
    fn a_list_that_fails_as_a_whole_begins_anew() {
        let mut sweep = Sweep::default();
        sweep.take(&listed(0..100, Some(true), None));
        let failing: Vec<Failing> = (0..6).map(|_| sweep.fail()).collect();
        assert_eq!(failing[2..], [Failing::Passed, Failing::Page, Failing::Page, Failing::List]);
        assert_eq!((sweep.page().number, sweep.seen().len()), (0, 0));
        // Two bad pages with a good one between them are two bad pages.
        let mut sweep = Sweep::default();
        assert_eq!([sweep.fail(), sweep.fail(), sweep.fail()][2], Failing::Passed);
        sweep.take(&listed(100..200, Some(true), None));
        assert_eq!([sweep.fail(), sweep.fail(), sweep.fail()], [Failing::Page, Failing::Page, Failing::Passed]);
    }

    #[test]
    fn what_is_no_segment_makes_it_partial() {
        let odd = Listed { odd: 1, ..listed(0..3, Some(false), None) };
        assert_eq!(sweep(&[odd]).0, [Partial]);
    }
}
