//! The data that the demo replays: a year of hourly temperatures of two cities.

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ringbus::Timestamp;
use serde::{Deserialize, Serialize};

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    pub(super) fahrenheit: f64,
}

/// A city with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum City {
    Seattle,
    SanFrancisco,
}

impl City {
    pub(super) fn topic(self) -> &'static str {
        match self {
            Self::Seattle => "weather/98101",
            Self::SanFrancisco => "weather/94102",
        }
    }

    /// Every hour of the city's file, oldest first. The two files have their columns in different orders, and write
    /// dates with and without seconds.
    pub(super) fn readings(self) -> anyhow::Result<Vec<(Timestamp, Reading)>> {
        let (name, text) = match self {
            Self::Seattle => ("seattle-temps.csv", include_str!("../../../../data/seattle-temps.csv")),
            Self::SanFrancisco => ("sf-temps.csv", include_str!("../../../../data/sf-temps.csv")),
        };
        parse(text).with_context(|| format!("data/{name}"))
    }
}

#[derive(Debug, Deserialize)]
struct Row {
    date: String,
    temp: f64,
}

fn parse(text: &str) -> anyhow::Result<Vec<(Timestamp, Reading)>> {
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    rows.deserialize()
        .map(|row| {
            let Row { date, temp } = row?;
            Ok((timestamp(&date)?, Reading { fahrenheit: temp }))
        })
        .collect()
}

fn timestamp(date: &str) -> anyhow::Result<Timestamp> {
    let civil = ["%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M"]
        .iter()
        .find_map(|format| DateTime::strptime(format, date).ok())
        .ok_or_else(|| anyhow!("{date:?} is not a date such as 2010/01/31 13:00"))?;
    Ok(Timestamp::from_secs(civil.to_zoned(TimeZone::UTC)?.timestamp().as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read_whole_and_in_order() {
        for city in [City::Seattle, City::SanFrancisco] {
            let readings = city.readings().unwrap();
            assert_eq!(readings.len(), 8_759);
            assert!(readings.windows(2).all(|pair| pair[0].0 < pair[1].0), "{city:?}");
            assert_eq!(readings[0].0, Timestamp::from_secs(1_262_304_000), "2010-01-01 00:00 UTC");
        }
        assert_eq!(City::Seattle.readings().unwrap()[1].1.fahrenheit, 39.2);
        assert_eq!(City::SanFrancisco.readings().unwrap()[1].1.fahrenheit, 47.4);
        assert!(parse("date,temp\nyesterday,1\n").is_err());
    }
}
