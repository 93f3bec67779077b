//! Which backups of a database are kept: deciding alone, pure.
//!
//! The last backup and the last verified one are never given up, whatever the rules say. One that was found bad takes no
//! good one's place, and goes only where somebody says so; nor does one of a clock that was ahead.

pub(super) mod prune;

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// How many backups are kept by each rule; a backup that one rule keeps is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The last so many.
    pub keep_last: u32,
    /// The last one of each of the last so many days that have one.
    pub daily: u32,
    /// Likewise of weeks, which begin on Monday.
    pub weekly: u32,
    pub monthly: u32,
}

/// Why a backup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeptBy {
    /// It is the last one of all.
    Newest,
    /// It was found bad: only a person's word removes it.
    Bad,
    /// It was found bad, as all others were; it is the last one of them.
    NothingBetter,
    /// It is of a time that has not come yet: a clock was wrong, and nobody knows when it was made.
    Future,
    /// No later one has been verified.
    LastVerified,
    Last,
    Daily,
    Weekly,
    Monthly,
}

impl KeptBy {
    /// The word that the plan has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Bad => "bad",
            Self::Future => "from the future",
            Self::NothingBetter => "bad, and there is no good one",
            Self::LastVerified => "last verified",
            Self::Last => "last",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

/// A backup as far as the rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::databases) struct Candidate {
    pub created_at: Timestamp,
    pub restored: bool,
    pub checked: bool,
    /// Known to be no backup at all: it takes no good one's place.
    pub bad: bool,
    /// Of a time that has not come yet.
    pub future: bool,
}

/// What becomes of backups that were found bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BadBackups {
    /// They stay, and are named.
    #[default]
    Keep,
    /// They go, but for the last one where there is no good one.
    Remove,
}

/// For each backup, oldest first, the rules that keep it; one without any goes. Days are those of UTC, as in the names of
/// the backups.
pub(in crate::databases) fn rules_that_keep(
    backups: &[Candidate],
    retention: &Retention,
    bad: BadBackups,
) -> Vec<BTreeSet<KeptBy>> {
    let mut kept = vec![BTreeSet::new(); backups.len()];
    for (kept, backup) in kept.iter_mut().zip(backups) {
        if backup.bad && bad == BadBackups::Keep {
            kept.insert(KeptBy::Bad);
        } else if backup.future && !backup.bad {
            kept.insert(KeptBy::Future);
        }
    }
    // Newest first.
    let counts = |(_, backup): &(usize, &Candidate)| !backup.bad && !backup.future;
    let good: Vec<(usize, &Candidate)> = backups.iter().enumerate().rev().filter(counts).collect();
    match good.first() {
        Some((newest, _)) => kept[*newest].insert(KeptBy::Newest),
        // A person may still get rows out of it.
        None => kept.last_mut().is_some_and(|last| last.insert(KeptBy::NothingBetter)),
    };
    let verified = good.iter().find(|(_, backup)| backup.restored);
    if let Some((verified, _)) = verified.or_else(|| good.iter().find(|(_, backup)| backup.checked)) {
        kept[*verified].insert(KeptBy::LastVerified);
    }
    for (index, _) in good.iter().take(retention.keep_last as usize) {
        kept[*index].insert(KeptBy::Last);
    }
    type Period = fn(Date) -> (i16, i16);
    let periods: [(KeptBy, u32, Period); 3] = [
        (KeptBy::Daily, retention.daily, |date| (date.year(), date.day_of_year())),
        (KeptBy::Weekly, retention.weekly, |date| {
            let week = date.iso_week_date();
            (week.year(), week.week().into())
        }),
        (KeptBy::Monthly, retention.monthly, |date| (date.year(), date.month().into())),
    ];
    for (rule, count, period) in periods {
        let mut seen = BTreeSet::new();
        for (index, backup) in &good {
            let date = backup.created_at.to_zoned(TimeZone::UTC).date();
            if seen.len() < count as usize && seen.insert(period(date)) {
                kept[*index].insert(rule);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: Retention = Retention { keep_last: 0, daily: 0, weekly: 0, monthly: 0 };

    fn plain(time: &str) -> Candidate {
        Candidate { created_at: time.parse().unwrap(), restored: false, checked: false, bad: false, future: false }
    }

    fn kept(backups: &[Candidate], retention: &Retention) -> Vec<usize> {
        let decided = rules_that_keep(backups, retention, BadBackups::Remove);
        (0..backups.len()).filter(|index| !decided[*index].is_empty()).collect()
    }

    #[test]
    fn the_last_and_the_last_verified_one_stay_whatever_the_rules_say() {
        let mut backups: Vec<Candidate> = (1..9).map(|day| plain(&format!("2026-07-0{day}T10:00:00Z"))).collect();
        assert_eq!(kept(&backups, &NONE), [7]);
        backups[4].checked = true;
        assert_eq!(kept(&backups, &NONE), [4, 7]);
        // One that was restored is worth more than one that was only read.
        backups[2].restored = true;
        assert_eq!(kept(&backups, &NONE), [2, 7]);
    }

    #[test]
    fn a_bad_one_goes_and_takes_no_good_ones_place() {
        let mut backups: Vec<Candidate> = (1..6).map(|day| plain(&format!("2026-07-0{day}T10:00:00Z"))).collect();
        backups[1].restored = true;
        for bad in [3, 4] {
            backups[bad] = Candidate { restored: true, checked: true, bad: true, ..backups[bad] };
        }
        assert_eq!(kept(&backups, &NONE), [1, 2]);
        assert_eq!(kept(&backups, &Retention { keep_last: 2, ..NONE }), [1, 2]);
        assert_eq!(kept(&backups, &Retention { daily: 9, weekly: 9, monthly: 9, ..NONE }), [0, 1, 2]);
        backups.iter_mut().for_each(|backup| backup.bad = true);
        assert_eq!(kept(&backups, &Retention { keep_last: 9, ..NONE }), [4]);
    }

    #[test]
    fn nobody_removes_a_bad_one_unasked() {
        let mut backups: Vec<Candidate> = (1..5).map(|day| plain(&format!("2026-07-0{day}T10:00:00Z"))).collect();
        (backups[1].bad, backups[2].bad) = (true, true);
        let kept = rules_that_keep(&backups, &NONE, BadBackups::Keep);
        let kept: Vec<usize> = (0..4).filter(|index| !kept[*index].is_empty()).collect();
        assert_eq!(kept, [1, 2, 3]);
    }

    #[test]
    fn one_of_a_clock_that_was_ahead_stays_and_takes_no_place() {
        let mut backups: Vec<Candidate> = (1..5).map(|day| plain(&format!("2026-07-0{day}T10:00:00Z"))).collect();
        backups.insert(0, Candidate { future: true, restored: true, ..plain("2035-02-16T10:54:27Z") });
        assert_eq!(kept(&backups, &Retention { keep_last: 2, ..NONE }), [0, 3, 4]);
    }

    #[test]
    fn each_period_keeps_its_last_one() {
        let times = [
            "2026-05-30T10:00:00Z",
            "2026-05-31T10:00:00Z",
            "2026-06-30T10:00:00Z",
            "2026-07-03T09:00:00Z",
            "2026-07-03T10:00:00Z",
            "2026-07-06T10:00:00Z",
            "2026-07-07T10:00:00Z",
        ];
        let backups = times.map(plain);
        assert_eq!(kept(&backups, &Retention { keep_last: 3, ..NONE }), [4, 5, 6]);
        assert_eq!(kept(&backups, &Retention { daily: 3, ..NONE }), [4, 5, 6]);
        // The 6th is a Monday.
        assert_eq!(kept(&backups, &Retention { weekly: 2, ..NONE }), [4, 6]);
        assert_eq!(kept(&backups, &Retention { monthly: 9, ..NONE }), [1, 2, 6]);
    }

    #[test]
    fn the_week_that_two_years_share_is_one_week() {
        let backups = ["2025-12-30T10:00:00Z", "2026-01-02T10:00:00Z"].map(plain);
        assert_eq!(kept(&backups, &Retention { weekly: 5, ..NONE }), [1]);
    }

    proptest! {
        #[test]
        fn what_more_generous_rules_keep_contains_what_meaner_ones_keep(
            hours in prop::collection::btree_set(0_i64..20_000, 0..40),
            counts in prop::array::uniform4(0_u32..6),
            verified in any::<prop::sample::Index>(),
        ) {
            let mut backups: Vec<Candidate> = hours
                .into_iter()
                .map(|hour| Candidate {
                    created_at: Timestamp::from_second(1_780_000_000 + hour * 3600).unwrap(),
                    restored: false,
                    checked: false,
                    bad: false,
                    future: false,
                })
                .collect();
            if !backups.is_empty() {
                let index = verified.index(backups.len());
                backups[index].restored = true;
            }
            let [keep_last, daily, weekly, monthly] = counts;
            let mean = Retention { keep_last, daily, weekly, monthly };
            let generous = Retention { keep_last: keep_last + 1, daily: daily + 1, weekly: weekly + 1, monthly: monthly + 1 };
            let (mean, generous) = (kept(&backups, &mean), kept(&backups, &generous));
            prop_assert!(mean.iter().all(|index| generous.contains(index)));
            if !backups.is_empty() {
                prop_assert!(mean.contains(&(backups.len() - 1)));
                prop_assert!(mean.iter().any(|index| backups[*index].restored));
            }
            let at_most = (keep_last + daily + weekly + monthly + 2) as usize;
            prop_assert!(mean.len() <= at_most);
        }
    }
}
