//! What is known of work under way: bytes, rates, and how long it will take.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::report::Activity;

/// A piece of work: what it is, and on what.
pub type Key = (Activity, String);

/// All pieces of work under way, and what was planned.
#[derive(Default)]
pub struct Tally {
    running: HashMap<Key, Work>,
    plans: HashMap<Activity, Plan>,
}

/// A piece of work that has begun.
pub struct Work {
    pub since: Instant,
    done_bytes: u64,
    total_bytes: Option<u64>,
    moved: Instant,
    pace: Pace,
    shown_permille: u64,
}

/// All work of one kind.
struct Plan {
    count: usize,
    total_bytes: Option<u64>,
    ended: usize,
    ended_bytes: u64,
    pace: Pace,
    shown_permille: u64,
}

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub done_bytes: u64,
    pub total_bytes: Option<u64>,
    pub bytes_per_second: Option<u64>,
    pub left: Option<Duration>,
    /// Of a thousand parts; never less than it was before, though totals may turn out larger than they seemed.
    pub permille: u64,
}

/// How far all work of one kind has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overall {
    pub ended: usize,
    pub count: usize,
    pub figures: Figures,
}

impl Tally {
    pub fn planned(&mut self, activity: Activity, count: usize, total_bytes: Option<u64>, now: Instant) {
        let pace = Pace::new(now);
        let plan = Plan { count, total_bytes, ended: 0, ended_bytes: 0, pace, shown_permille: 0 };
        self.plans.insert(activity, plan);
    }

    pub fn began(&mut self, key: Key, total_bytes: Option<u64>, now: Instant) {
        let pace = Pace::new(now);
        let work = Work { since: now, done_bytes: 0, total_bytes, moved: now, pace, shown_permille: 0 };
        self.running.insert(key, work);
    }

    /// How far the work and all of its kind have come now; `None` for work that has not begun.
    pub fn advanced(&mut self, key: &Key, done: u64, total: Option<u64>, now: Instant) -> Option<Figures> {
        let work = self.running.get_mut(key)?;
        // Whatever the order in which threads report, nothing runs backwards.
        work.done_bytes = work.done_bytes.max(done);
        work.total_bytes = total.or(work.total_bytes);
        work.moved = now;
        work.pace.add(work.done_bytes, now);
        let figures = figures(work.done_bytes, work.total_bytes, &work.pace, &mut work.shown_permille);
        let running = self.running_bytes(key.0);
        if let Some(plan) = self.plans.get_mut(&key.0) {
            plan.pace.add(plan.ended_bytes + running.0, now);
        }
        Some(figures)
    }

    /// The work, which is over.
    pub fn ended(&mut self, key: &Key) -> Option<Work> {
        let work = self.running.remove(key);
        if let Some(plan) = self.plans.get_mut(&key.0)
            && let Some(work) = &work
        {
            plan.ended = (plan.ended + 1).min(plan.count);
            plan.ended_bytes += work.total_bytes.unwrap_or_default().max(work.done_bytes);
        }
        if self.plans.get(&key.0).is_some_and(|plan| plan.ended == plan.count) {
            self.plans.remove(&key.0);
        }
        work
    }

    /// Of all work of a kind of which more than one piece was planned.
    pub fn overall(&mut self, activity: Activity) -> Option<Overall> {
        let (done, total) = self.running_bytes(activity);
        let plan = self.plans.get_mut(&activity).filter(|plan| plan.count > 1)?;
        let done = plan.ended_bytes + done;
        let total = plan.total_bytes.map(|planned| planned.max(plan.ended_bytes + total).max(done));
        let figures = figures(done, total, &plan.pace, &mut plan.shown_permille);
        Some(Overall { ended: plan.ended, count: plan.count, figures })
    }

    /// The work that moved last, or began last where none moves bytes.
    pub fn latest(&mut self) -> Option<(Key, Duration, Figures)> {
        let (key, work) = self.running.iter_mut().max_by_key(|(key, work)| (work.moved, key.1.clone()))?;
        let figures = figures(work.done_bytes, work.total_bytes, &work.pace, &mut work.shown_permille);
        Some((key.clone(), work.since.elapsed(), figures))
    }

    fn running_bytes(&self, activity: Activity) -> (u64, u64) {
        let works = self.running.iter().filter(|(key, _)| key.0 == activity).map(|(_, work)| work);
        works.fold((0, 0), |(done, total), work| {
            (done + work.done_bytes, total + work.total_bytes.unwrap_or_default().max(work.done_bytes))
        })
    }
}

fn figures(done: u64, total: Option<u64>, pace: &Pace, shown: &mut u64) -> Figures {
    let total = total.map(|total| total.max(done));
    let permille =
        total.filter(|total| *total > 0).map_or(0, |total| (u128::from(done) * 1000 / u128::from(total)) as u64);
    *shown = permille.max(*shown);
    let rate = pace.bytes_per_second();
    let left = total.zip(rate).map(|(total, rate)| Duration::from_secs((total - done).div_ceil(rate)));
    Figures { done_bytes: done, total_bytes: total, bytes_per_second: rate, left, permille: *shown }
}

/// A rate over the last seconds: quick enough to follow, slow enough to be read.
struct Pace {
    samples: VecDeque<(Instant, u64)>,
}

const WINDOW: Duration = Duration::from_secs(10);
const BETWEEN_SAMPLES: Duration = Duration::from_millis(250);
/// A shorter look says nothing.
const LEAST: Duration = Duration::from_millis(500);

impl Pace {
    fn new(now: Instant) -> Self {
        Self { samples: VecDeque::from([(now, 0)]) }
    }

    fn add(&mut self, bytes: u64, now: Instant) {
        // What waited for its first byte did not move slowly: it had not begun.
        if let [(begun, 0)] = self.samples.make_contiguous() {
            *begun = now.checked_sub(BETWEEN_SAMPLES).map_or(*begun, |earlier| earlier.max(*begun));
        }
        if self.last_is_fresh(now) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2 && now.duration_since(self.samples[0].0) > WINDOW {
            self.samples.pop_front();
        }
    }

    /// Whether the newest sample came so soon after the one before it that the next may take its place.
    fn last_is_fresh(&self, now: Instant) -> bool {
        let count = self.samples.len();
        count > 2 && now.duration_since(self.samples[count - 2].0) < BETWEEN_SAMPLES
    }

    /// `None` until enough has been seen.
    fn bytes_per_second(&self) -> Option<u64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let time = last.0.duration_since(first.0);
        let rate = (last.1.saturating_sub(first.1)) as f64 / time.as_secs_f64();
        (time >= LEAST && rate >= 1.0).then_some(rate as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(subject: &str) -> Key {
        (Activity::SaveImage, subject.to_owned())
    }

    #[test]
    fn nothing_runs_backwards_though_totals_grow() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        tally.planned(Activity::SaveImage, 2, Some(200), start);
        tally.began(key("a"), Some(100), start);
        let half = tally.advanced(&key("a"), 50, Some(100), start).unwrap();
        assert_eq!(half.permille, 500);
        let more = tally.advanced(&key("a"), 55, Some(200), start).unwrap();
        assert_eq!((more.permille, more.total_bytes), (500, Some(200)));
        assert_eq!(tally.advanced(&key("a"), 40, None, start).unwrap().done_bytes, 55);
        assert!(tally.advanced(&key("b"), 1, None, start).is_none(), "it has not begun");
    }

    #[test]
    fn all_of_a_kind_are_added_up() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        tally.planned(Activity::SaveImage, 3, Some(300), start);
        for name in ["a", "b"] {
            tally.began(key(name), Some(100), start);
        }
        tally.advanced(&key("a"), 100, None, start);
        tally.ended(&key("a")).unwrap();
        tally.advanced(&key("b"), 20, None, start);
        let all = tally.overall(Activity::SaveImage).unwrap();
        assert_eq!((all.ended, all.count, all.figures.done_bytes), (1, 3, 120));
        assert_eq!((all.figures.total_bytes, all.figures.permille), (Some(300), 400));
        assert!(tally.overall(Activity::LoadImage).is_none());
    }

    #[test]
    fn rate_and_time_left_come_from_the_last_seconds() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        tally.began(key("a"), Some(10_000), start);
        // The engine took a minute before the first byte.
        let first = start + Duration::from_secs(60);
        assert_eq!(tally.advanced(&key("a"), 10, None, first).unwrap().bytes_per_second, None);
        let mut figures = None;
        for second in 1..=20 {
            figures = tally.advanced(&key("a"), second * 100, None, first + Duration::from_secs(second));
        }
        let figures = figures.unwrap();
        assert_eq!((figures.bytes_per_second, figures.left), (Some(100), Some(Duration::from_secs(80))));
    }
}
