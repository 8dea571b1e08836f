//! Z85 ([32/Z85](https://rfc.zeromq.org/spec/32/)): 32 bytes of a key as 40 printable characters.

use zeroize::Zeroizing;

/// Length of a key in Z85.
pub(super) const KEY_CHARS: usize = 40;

const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// A key in Z85. The text is wiped when it is let go of, since the key may be a secret.
pub(super) fn encode(key: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(KEY_CHARS));
    for word in key.as_chunks::<4>().0 {
        let value = u32::from_be_bytes(*word);
        for power in [85_u32.pow(4), 85_u32.pow(3), 85_u32.pow(2), 85, 1] {
            text.push(char::from(ALPHABET[(value / power % 85) as usize]));
        }
    }
    text
}

/// The key of this text; what is wrong with it if it is none. The text is not repeated: it may be
/// a secret.
pub(super) fn decode(text: &str) -> Result<Zeroizing<[u8; 32]>, String> {
    let text = text.as_bytes();
    if text.len() != KEY_CHARS {
        return Err(format!("a key has {KEY_CHARS} characters of Z85, this has {}", text.len()));
    }
    let mut key = Zeroizing::new([0; 32]);
    for (nth, (chars, word)) in text.as_chunks::<5>().0.iter().zip(key.as_chunks_mut().0).enumerate() {
        let mut value = 0_u32;
        for (i, char) in chars.iter().enumerate() {
            let at = 1 + 5 * nth + i;
            let digit = ALPHABET.iter().position(|c| c == char);
            let digit = digit.ok_or_else(|| format!("character {at} of the key is not one of Z85"))?;
            value = value
                .checked_mul(85)
                .and_then(|value| value.checked_add(digit as u32))
                .ok_or_else(|| format!("characters up to {at} of the key are no 4 bytes of Z85"))?;
        }
        *word = value.to_be_bytes();
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vector_of_32_z85_is_met() {
        let bytes = [0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B].repeat(4).try_into().unwrap();
        assert_eq!(*encode(&bytes), "HelloWorld".repeat(4));
        assert_eq!(*decode(&"HelloWorld".repeat(4)).unwrap(), bytes);
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_place() {
        let error = |text: &str| decode(text).unwrap_err();
        assert_eq!(error(""), "a key has 40 characters of Z85, this has 0");
        assert_eq!(error(&"a".repeat(41)), "a key has 40 characters of Z85, this has 41");
        let bad = format!("{} {}", "a".repeat(12), "a".repeat(27));
        assert_eq!(error(&bad), "character 13 of the key is not one of Z85");
        let large = format!("{}#####{}", "a".repeat(5), "a".repeat(30));
        assert_eq!(error(&large), "characters up to 10 of the key are no 4 bytes of Z85");
        assert!(decode(&"é".repeat(20)).is_err());
    }

    proptest! {
        #[test]
        fn a_key_comes_back(key in any::<[u8; 32]>()) {
            let text = encode(&key);
            prop_assert_eq!(text.len(), KEY_CHARS);
            prop_assert_eq!(*decode(&text).unwrap(), key);
        }
    }
}
