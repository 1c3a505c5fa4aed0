//! Base64 (RFC 4648, 4), for the few digests that a header shows.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `bytes` in base64, with its padding.
pub(in crate::receiver) fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= three.len() {
                text.push(DIGITS[(bits >> (18 - 6 * place) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The bytes of a text in base64; `None` for any other text.
pub(in crate::receiver) fn decoded(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::new();
    for four in digits.as_bytes().chunks(4) {
        let mut bits = 0;
        for place in 0..4 {
            let value = four.get(place).map_or(Some(0), |digit| value(*digit))?;
            bits = bits << 6 | value;
        }
        let three = [bits >> 16, bits >> 8, bits].map(|bits| bits as u8);
        bytes.extend_from_slice(&three[..four.len() - 1]);
    }
    // Padding in another place, and bits beyond the last byte.
    (base64(&bytes) == text).then_some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let place = DIGITS.iter().position(|known| *known == digit)?;
    Some(place as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_others() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(decoded(text).as_deref(), Some(bytes.as_bytes()));
        }
        for odd in ["Z", "Zg", "Zg=", "Zh==", "Zg==-2", "Z!==", "=", "Zg==Zg=="] {
            assert_eq!(decoded(odd), None, "{odd}");
        }
    }
}
