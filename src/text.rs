//! Text in messages: what is checked on its way in, and what is left out on its way to a reader.

use std::borrow::Cow;

/// A URL as it may be shown: a user and a password, whatever stands before the last `@`, are left out.
///
/// It is asked for URLs that were refused, too, so it takes nothing for granted but the `@`.
pub(crate) fn redacted(url: &str) -> Cow<'_, str> {
    let Some(at) = url.rfind('@') else { return Cow::Borrowed(url) };
    let scheme = url.find("://").filter(|colon| *colon < at).map_or("", |colon| &url[..colon + 3]);
    Cow::Owned(format!("{scheme}***{}", &url[at..]))
}

/// Serialises a type as its text, and deserialises it through its `new`, which checks.
macro_rules! serde_as_text {
    ($type:ty, $what:literal) => {
        $crate::text::serde_as_text!($type, $what, as_str);
    };
    ($type:ty, $what:literal, $text:ident) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.$text().as_ref())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::std::result::Result<Self, D::Error> {
                struct Text;

                impl ::serde::de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E: ::serde::de::Error>(self, text: &str) -> ::std::result::Result<$type, E> {
                        <$type>::new(text).map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    };
}

pub(crate) use serde_as_text;

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn what_stands_before_the_last_at_is_not_shown() {
        let shown = |url| redacted(url).into_owned();
        assert_eq!(shown("mqtt://h:1883"), "mqtt://h:1883");
        assert_eq!(shown("mqtt://u:p@h:1883/x"), "mqtt://***@h:1883/x");
        assert_eq!(shown("mqtt://u:p@q/r@h"), "mqtt://***@h");
        assert_eq!(shown("u:p@h"), "***@h");
        assert_eq!(shown("u:p@h://x"), "***@h://x");
        assert_eq!(shown("@"), "***@");
    }
}
