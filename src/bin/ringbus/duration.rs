//! Durations as users write them.

use std::time::Duration;

use jiff::SignedDuration;

/// Reads `5s`, `500ms`, `1m30s`, or a plain number of seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let expected = "write for instance 5s, 500ms, 1m30s, or a number of seconds";
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| expected.to_owned());
    }
    let duration: SignedDuration = text.parse().map_err(|_| expected.to_owned())?;
    Duration::try_from(duration).map_err(|_| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_plain_seconds_are_read_and_nonsense_is_not() {
        let read = |text| parse(text).map(|duration| duration.as_millis());
        assert_eq!(read("5s"), Ok(5000));
        assert_eq!(read("500ms"), Ok(500));
        assert_eq!(read("1m30s"), Ok(90_000));
        assert_eq!(read("1.5"), Ok(1500));
        assert_eq!(read("0"), Ok(0));
        for text in ["", "x", "-1", "-1s", "5 parsecs", "NaN", "inf"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
