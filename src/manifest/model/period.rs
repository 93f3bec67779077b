//! Spans of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{InvalidValue, text_value};

/// A span of time, written as Compose has it: `1m30s`, `500ms`, `2h`; microseconds are the smallest unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// Health checks and grace periods are counted in nanoseconds in an i64; ten years stay far below that.
const LONGEST_MICROS: u64 = 10 * 366 * 86_400_000_000;

impl FromStr for Period {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidValue(message!("invalid-period", text = text));
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut micros: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(wrong)?;
            let part = match number.parse::<u64>() {
                Ok(whole) => whole.checked_mul(factor).ok_or_else(wrong)?,
                Err(_) => {
                    let part = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
                    if !part.is_finite() || part > LONGEST_MICROS as f64 {
                        return Err(wrong());
                    }
                    part.round() as u64
                }
            };
            micros = micros.checked_add(part).filter(|sum| *sum <= LONGEST_MICROS).ok_or_else(wrong)?;
            rest = tail;
        }
        Ok(Self(Duration::from_micros(micros)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut micros = self.0.as_micros() as u64;
        if micros == 0 {
            return formatter.write_str("0s");
        }
        for (unit, factor) in UNITS {
            if micros >= factor {
                write!(formatter, "{}{unit}", micros / factor)?;
                micros %= factor;
            }
        }
        Ok(())
    }
}

text_value!(Period, "Period", {
    "anyOf": [
        { "const": 0 },
        { "type": "string", "pattern": "^0$|^([0-9.]+(us|ms|s|m|h|d))+$|\\$" }
    ]
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn compound_durations_add_up() {
        for (text, millis) in
            [("1m30s", 90_000), ("500ms", 500), ("2h", 7_200_000), ("1.5s", 1_500), ("0", 0), ("0s", 0)]
        {
            assert_eq!(text.parse(), Ok(Period(Duration::from_millis(millis))), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_so() {
        for text in ["", "5", "s", "5 s", "-1s", "1s1", "1w", "99999999999d", "1..5s", "100000d"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_give_the_same_duration(micros in 0..=LONGEST_MICROS) {
            let period = Period(Duration::from_micros(micros));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }
    }
}
