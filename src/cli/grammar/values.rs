//! Values of flags that are numbers. clap and std say in English alone what is wrong with one.
//!
//! Nothing ties the type of a number here to that of its field: write it (`1_u32`).

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::builder::TypedValueParser;

use crate::manifest::model::InvalidValue;

/// A whole number of the range.
pub fn number<T>(range: RangeInclusive<T>) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Display + PartialOrd + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let expected = || message!("expected-number-between", least = range.start(), most = range.end());
        number.ok_or_else(|| InvalidValue(expected()))
    }
}

/// A whole number, `least` or more.
pub fn number_from<T>(least: T) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Display + PartialOrd + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text.parse().ok().filter(|number| *number >= least);
        number.ok_or_else(|| InvalidValue(message!("expected-number-from", least = &least)))
    }
}

/// Any whole number; whether it makes sense is seen later.
pub fn whole_number(text: &str) -> Result<i32, InvalidValue> {
    text.parse().map_err(|_| InvalidValue(message!("expected-number")))
}
