//! The schedule on its own, and with a budget under virtual time.

use super::*;

const PLENTY: Capacity =
    Capacity { steady: f64::INFINITY, even: f64::INFINITY, even_after: f64::INFINITY, changes_at: None };

fn rate(per_second: f64) -> Capacity {
    Capacity { steady: per_second, even: per_second, even_after: per_second, changes_at: None }
}

fn key(id: impl std::fmt::Display) -> Work {
    Work::Get(SegmentKey::new(SourceName::new("s"), format!("{id}")))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wish(id: impl std::fmt::Display, every: u64, last: Option<Instant>) -> Target {
    Target { work: key(id), every: secs(every), promise: false, requests: 1, last, failures: 0 }
}

fn promise(id: impl std::fmt::Display, every: u64, last: Option<Instant>) -> Target {
    Target { promise: true, ..wish(id, every, last) }
}

fn schedule(targets: Vec<Target>) -> Schedule {
    Schedule::new(targets, 7)
}

/// Polls that go out at `now` and end at once, until nothing more is due: their ids, and when to look again.
fn polls(schedule: &mut Schedule, now: Instant, capacity: Capacity, ended: Ended) -> (Vec<String>, Next) {
    let mut sent = Vec::new();
    loop {
        match schedule.next(now, capacity, |_| true) {
            Next::Poll(work, _) => {
                schedule.start(&work, now);
                schedule.end(&work, ended, now);
                let Work::Get(key) = work else { panic!("no sweep here") };
                sent.push(key.id.to_string());
                assert!(sent.len() < 1000, "endless");
            }
            next => return (sent, next),
        }
    }
}

fn ids(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn new_segments_are_due_at_once_in_their_order_and_then_after_their_interval() {
    let t0 = Instant::now();
    let mut schedule = schedule(vec![wish("b", 60, None), wish("a", 60, None)]);
    assert_eq!(polls(&mut schedule, t0, PLENTY, Ended::Answered), (ids(&["b", "a"]), Next::At(t0 + secs(60))));
    assert_eq!(polls(&mut schedule, t0 + secs(60), PLENTY, Ended::Answered).0.len(), 2);
}

#[test]
fn a_restart_goes_on_where_the_file_says() {
    let t0 = Instant::now() + secs(1000);
    let ago = |seconds| Some(t0 - secs(seconds));
    let mut schedule = schedule(vec![wish("old", 60, ago(70)), wish("young", 60, ago(10)), wish("older", 60, ago(80))]);
    let (sent, next) = polls(&mut schedule, t0, PLENTY, Ended::Answered);
    assert_eq!((sent, next), (ids(&["older", "old"]), Next::At(t0 + secs(50))));
}

#[test]
fn the_earliest_deadline_goes_first_whatever_the_interval() {
    let t0 = Instant::now() + secs(10_000);
    let ago = |seconds| Some(t0 - secs(seconds));
    let targets = vec![wish("hourly", 3600, ago(3700)), wish("minutely", 60, ago(70)), wish("late", 60, ago(200))];
    assert_eq!(polls(&mut schedule(targets), t0, PLENTY, Ended::Answered).0, ids(&["late", "hourly", "minutely"]));
}

#[test]
fn failures_back_off_and_an_answer_ends_that() {
    let t0 = Instant::now();
    let mut schedule = schedule(vec![wish("a", 300, None)]);
    let mut now = t0;
    for failures in 1..20 {
        let (sent, next) = polls(&mut schedule, now, PLENTY, Ended::Failed);
        let Next::At(at) = next else { panic!("{next:?}") };
        assert_eq!(sent.len(), 1);
        assert!(at - now <= secs(1 << (failures - 1)).min(secs(300)), "{failures}: {:?}", at - now);
        now = at;
    }
    assert_eq!(polls(&mut schedule, now, PLENTY, Ended::Answered).1, Next::At(now + secs(300)));
}

#[test]
fn the_same_seed_gives_the_same_delays() {
    let t0 = Instant::now();
    let next = |seed| {
        let mut schedule = Schedule::new(vec![wish("a", 300, None)], seed);
        polls(&mut schedule, t0, PLENTY, Ended::Failed).1
    };
    assert_eq!(next(1), next(1));
    assert_ne!(next(1), next(2));
}

#[test]
fn a_throttled_segment_stays_due() {
    let t0 = Instant::now();
    let mut schedule = schedule(vec![wish("a", 60, None)]);
    schedule.start(&key("a"), t0);
    assert_eq!(schedule.next(t0, PLENTY, |_| true), Next::Idle);
    schedule.end(&key("a"), Ended::Throttled, t0);
    assert_eq!(schedule.next(t0, PLENTY, |_| true), Next::Poll(key("a"), PollKind::Get));
}

#[test]
fn a_refused_source_is_asked_every_five_minutes_by_one_probe() {
    let t0 = Instant::now();
    let mut schedule = schedule(vec![wish("a", 60, None), wish("b", 60, None)]);
    schedule.start(&key("a"), t0);
    schedule.end(&key("a"), Ended::Unauthorized, t0);
    assert_eq!(schedule.next(t0, PLENTY, |_| true), Next::At(t0 + PROBE_EVERY));
    let t1 = t0 + PROBE_EVERY;
    let Next::Poll(probe, PollKind::Probe) = schedule.next(t1, PLENTY, |_| true) else { panic!("a probe is due") };
    schedule.start(&probe, t1);
    assert_eq!(schedule.next(t1, PLENTY, |_| true), Next::Idle);
    schedule.end(&probe, Ended::Failed, t1);
    assert_eq!(schedule.next(t1, PLENTY, |_| true), Next::At(t1 + PROBE_EVERY));
    schedule.ask_again(&SourceName::new("s"), t1);
    let Next::Poll(probe, PollKind::Probe) = schedule.next(t1, PLENTY, |_| true) else { panic!("a probe is due") };
    schedule.start(&probe, t1);
    schedule.end(&probe, Ended::Answered, t1);
    assert_eq!(polls(&mut schedule, t1 + secs(1), PLENTY, Ended::Answered).0, ids(&["a"]));
}

#[test]
fn a_source_without_a_free_slot_holds_no_other_up() {
    let t0 = Instant::now();
    let other = Target { work: Work::Get(SegmentKey::new(SourceName::new("other"), "x")), ..wish("", 60, None) };
    let schedule = schedule(vec![wish("a", 60, None), other.clone()]);
    let next = schedule.next(t0, PLENTY, |source| source.as_str() == "other");
    assert_eq!(next, Next::Poll(other.work, PollKind::Get));
}

#[test]
fn what_is_asked_for_interactively_goes_first() {
    let t0 = Instant::now() + secs(100);
    let mut schedule = schedule(vec![wish("late", 60, Some(t0 - secs(90))), wish("fresh", 60, Some(t0))]);
    assert!(schedule.hurry(&key("fresh")) && !schedule.hurry(&key("unknown")));
    assert_eq!(polls(&mut schedule, t0, PLENTY, Ended::Answered).0, ids(&["fresh", "late"]));
}

#[test]
fn one_pass_forgets_what_it_has_polled() {
    let t0 = Instant::now();
    let mut schedule = schedule(vec![wish("a", 60, None), wish("b", 60, None), wish("c", 60, None)]);
    schedule.start(&key("a"), t0);
    schedule.forget(&key("b"));
    assert_eq!(schedule.forget_waiting(&SourceName::new("s")), [key("c")]);
    assert!(!schedule.is_empty());
    schedule.end(&key("a"), Ended::Answered, t0);
    schedule.forget(&key("a"));
    schedule.end(&key("a"), Ended::Answered, t0);
    assert!(schedule.is_empty());
    assert_eq!(schedule.next(t0, PLENTY, |_| true), Next::Idle);
}

#[test]
fn wishes_stretch_by_one_factor_and_promises_do_not() {
    let t0 = Instant::now();
    let mut targets: Vec<Target> = (0..100).map(|at| wish(at, 60, Some(t0))).collect();
    targets.push(promise("vip", 5, Some(t0)));
    let stretch = schedule(targets).stretch(1.0);
    assert!((stretch.promises - 1.0).abs() < 1e-9);
    assert!((stretch.wishes - (100.0 / 60.0) / 0.8).abs() < 1e-9, "{stretch:?}");
    let alone = schedule(vec![promise("a", 1, None), promise("b", 1, None)]).stretch(1.0);
    assert!((alone.promises - 2.0).abs() < 1e-9);
    let both = schedule(vec![promise("a", 1, None), wish("b", 1, None)]).stretch(1.0);
    assert!(both.promises > 1.0 && (both.wishes - 20.0).abs() < 1e-6, "{both:?}");
}

#[test]
fn short_of_capacity_wishes_follow_an_even_pace_and_all_take_their_turn() {
    let t0 = Instant::now() + secs(1000);
    let mut schedule = schedule((0..10).map(|at| wish(at, 5, Some(t0 - secs(at)))).collect());
    let (mut now, mut sent) = (t0, Vec::new());
    while now < t0 + secs(40) {
        let (more, next) = polls(&mut schedule, now, rate(0.5), Ended::Answered);
        let Next::At(at) = next else { panic!("{next:?}") };
        assert_eq!((more.len(), at - now), (1, secs(2)));
        sent.extend(more);
        now = at;
    }
    assert_eq!(sent[..10], ids(&["9", "8", "7", "6", "5", "4", "3", "2", "1", "0"]));
    assert_eq!(sent[..10], sent[10..]);
}

#[test]
fn new_segments_leave_to_promises_what_they_need() {
    let t0 = Instant::now();
    let schedule = schedule(vec![promise("vip", 30, Some(t0)), wish("new", 60, None)]);
    let tight = Capacity { even: 0.1, even_after: 1.0 / 31.0, changes_at: Some(t0 + secs(20)), ..rate(1.0) };
    assert_eq!(schedule.next(t0, tight, |_| true), Next::At(t0 + secs(20)));
    let enough = Capacity { even_after: 1.0 / 30.0, ..tight };
    assert_eq!(schedule.next(t0, enough, |_| true), Next::Poll(key("new"), PollKind::Get));
}

#[test]
fn a_sweep_goes_on_page_by_page_and_then_rests() {
    let t0 = Instant::now();
    let work = Work::Sweep(SourceName::new("s"));
    let target = Target { work: work.clone(), requests: 100, ..wish("", 300, None) };
    let mut schedule = schedule(vec![target, promise("vip", 30, Some(t0))]);
    assert!((schedule.stretch(1.0).wishes - 1.0).abs() < 1e-9);
    for _ in 0..99 {
        assert_eq!(schedule.next(t0, PLENTY, |_| true), Next::Poll(work.clone(), PollKind::Sweep));
        schedule.start(&work, t0);
        schedule.end(&work, Ended::Continues, t0);
    }
    schedule.start(&work, t0);
    schedule.end(&work, Ended::Answered, t0);
    assert_eq!(schedule.next(t0, PLENTY, |_| true), Next::At(t0 + secs(30)));
    schedule.set_requests(&work, 1000);
    assert!((schedule.stretch(1.0).wishes - (1000.0 / 300.0) / (29.0 / 30.0)).abs() < 1e-6);
}
