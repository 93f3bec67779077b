//! Shares of CPUs.

use std::fmt;
use std::str::FromStr;

use super::{InvalidValue, text_value};

/// A number of CPUs in fractions, held in billionths as the engine counts them (`NanoCpus`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus {
    pub nano: u64,
}

impl FromStr for Cpus {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || InvalidValue(message!("invalid-cpus", text = text));
        let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
            return Err(wrong());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let nano: u64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
        let nano = whole.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nano)).ok_or_else(wrong)?;
        if nano == 0 || nano > 1_000_000_000_000_000 { Err(wrong()) } else { Ok(Self { nano }) }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.nano / 1_000_000_000, self.nano % 1_000_000_000);
        if fraction == 0 {
            return write!(formatter, "{whole}");
        }
        write!(formatter, "{whole}.{}", format!("{fraction:09}").trim_end_matches('0'))
    }
}

text_value!(Cpus, "Cpus", {
    "anyOf": [
        { "type": "number", "exclusiveMinimum": 0 },
        { "type": "string", "pattern": "^[0-9]*\\.?[0-9]*$|\\$" }
    ]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_exact() {
        for (text, nano) in
            [("2", 2_000_000_000), ("0.5", 500_000_000), (".25", 250_000_000), ("1.100000001", 1_100_000_001)]
        {
            let cpus: Cpus = text.parse().unwrap();
            assert_eq!(cpus.nano, nano, "{text}");
            assert_eq!(cpus.to_string().parse(), Ok(cpus));
        }
        for text in ["", ".", "0", "-1", "1e3", "x", "9999999999"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }
}
