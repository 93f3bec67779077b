//! Counting: how many cases of each row of faults a run took. `scripts/faults.sh` makes a table of it.

#![allow(dead_code)]

use std::fs::OpenOptions;
use std::io::Write;

/// The cases of one row of `scripts/faults.sh` in one test. They are written down when the test ends, by whatever way it
/// does, as a line `ROW cases passed` of the file that `DPL_FAULTS_TALLY` names.
pub struct Tally {
    row: &'static str,
    cases: usize,
}

impl Tally {
    pub fn of(row: &'static str) -> Self {
        Self { row, cases: 0 }
    }

    /// Of a test, or a part of one, that is one case.
    pub fn of_one(row: &'static str) -> Self {
        Self { row, cases: 1 }
    }

    /// Another case begins; those before it have passed.
    pub fn case(&mut self) {
        self.cases += 1;
    }

    /// This many more have passed.
    pub fn add(&mut self, cases: usize) {
        self.cases += cases;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os("DPL_FAULTS_TALLY") else { return };
        let passed = self.cases - usize::from(std::thread::panicking() && self.cases > 0);
        let line = format!("{}\t{}\t{passed}\n", self.row, self.cases);
        // One write to a file that is only appended to stays one line, whichever tests end at the same time.
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            println!("the tally can't be written: {error}");
        }
    }
}
