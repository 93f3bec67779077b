//! Sizes in bytes.

use std::fmt;
use std::str::FromStr;

use super::{InvalidValue, text_value};

/// A size in bytes. Written as Compose has it: a number of bytes, or one with `b`, `k`, `m`, `g`, `t` (also `kb`,
/// `KiB`, …), all powers of 1024.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 5] = [("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10), ("b", 1)];

impl FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidValue(message!("invalid-size", text = text));
        let lower = text.trim().to_ascii_lowercase();
        let digits =
            lower.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(lower.len());
        let (number, unit) = lower.split_at(digits);
        let unit = match unit.trim() {
            "" | "b" => "b",
            unit => unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit),
        };
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(wrong)?;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).filter(|bytes| *bytes <= i64::MAX as u64).map(Self).ok_or_else(wrong);
        }
        let fraction: f64 = number.parse().map_err(|_| wrong())?;
        let bytes = fraction * factor as f64;
        // Beyond 2^53 a float no longer holds every byte; no machine of ours has that much.
        if bytes.is_finite() && bytes <= 9_007_199_254_740_992.0 { Ok(Self(bytes as u64)) } else { Err(wrong()) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in UNITS {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(formatter, "{}{unit}", self.0 / factor);
            }
        }
        write!(formatter, "{}b", self.0)
    }
}

text_value!(ByteSize, "ByteSize", {
    "anyOf": [
        { "type": "integer", "minimum": 0 },
        { "type": "string", "pattern": "^[0-9.]+ *([bB]|[kKmMgGtT]([iI]?[bB])?)?$|\\$" }
    ]
});

/// A limit of memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapLimit {
    Unlimited,
    Bytes(ByteSize),
}

impl SwapLimit {
    /// As the engine takes it: -1 for no limit.
    pub fn bytes(self) -> i64 {
        match self {
            Self::Unlimited => -1,
            // A size is never more than an i64 holds.
            Self::Bytes(size) => size.0 as i64,
        }
    }
}

impl FromStr for SwapLimit {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "-1" { Ok(Self::Unlimited) } else { text.parse().map(Self::Bytes) }
    }
}

impl fmt::Display for SwapLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => formatter.write_str("-1"),
            Self::Bytes(size) => size.fmt(formatter),
        }
    }
}

text_value!(SwapLimit, "SwapLimit", {
    "anyOf": [
        { "type": "integer", "minimum": -1 },
        { "type": "string", "pattern": "^-1$|^[0-9.]+ *([bB]|[kKmMgGtT]([iI]?[bB])?)?$|\\$" }
    ]
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("512", 512),
            ("1k", 1024),
            ("2M", 2 << 20),
            ("1gb", 1 << 30),
            ("1.5g", 3 << 29),
            ("64 MiB", 64 << 20),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_so() {
        for text in ["", "x", "1x", "-1", "1.2.3g", "99999999999999999999", "9999999t", "1e9g", "nan", "inf"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_give_the_same_size(bytes in 0..=i64::MAX as u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
    }
}
