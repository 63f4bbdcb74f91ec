//! How refusals are worded: the language of their texts and the spelling of their codes. Source: dynamics.md §2.8, §8.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::known;

/// How refusals are worded. What real environments differ in is a switch here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Voice {
    /// The spelling of hex codes.
    pub codes: Codes,
    /// `"code": ""` in 404 and 412, as older documents show.
    pub empty_codes: bool,
    /// The language of the texts; codes stay.
    pub language: Language,
}

/// The spelling of hex codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codes {
    /// As the documentation writes each.
    #[default]
    Documented,
    /// `0x8004f507`
    Lower,
    /// `0x8004F507`
    Upper,
    /// `0x8004F507` and `0x8004f507` in turn, digit by digit.
    Mixed,
}

/// The language of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// As documented.
    #[default]
    English,
    /// What a German environment says.
    German,
}

impl Voice {
    /// The body of a refusal in this voice; anything that is no OData error stays as it is.
    pub(super) fn speak(self, status: u16, body: Vec<u8>) -> Vec<u8> {
        if self == Voice::default() || status < 400 {
            return body;
        }
        let Ok(mut json) = serde_json::from_slice::<Json>(&body) else { return body };
        let Some(Json::Object(error)) = json.get_mut("error") else { return body };
        let code = error.get("code").and_then(Json::as_str).unwrap_or_default().to_owned();
        if self.language == Language::German {
            let text = known::by_code(&code).map_or(known::GERMAN, |known| known.german);
            error.insert("message".to_owned(), Json::from(text));
        }
        error.insert("code".to_owned(), Json::from(self.spelled(status, &code)));
        json.to_string().into_bytes()
    }

    fn spelled(self, status: u16, code: &str) -> String {
        if self.empty_codes && matches!(status, 404 | 412) {
            return String::new();
        }
        let Some(digits) = code.strip_prefix("0x") else { return code.to_owned() };
        let digits = match self.codes {
            Codes::Documented => digits.to_owned(),
            Codes::Lower => digits.to_lowercase(),
            Codes::Upper => digits.to_uppercase(),
            Codes::Mixed => {
                let turned = digits.chars().enumerate().map(|(index, digit)| {
                    if index % 2 == 0 { digit.to_ascii_lowercase() } else { digit.to_ascii_uppercase() }
                });
                turned.collect()
            }
        };
        format!("0x{digits}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spoken(voice: Voice, status: u16, code: &str) -> (String, String) {
        let body = serde_json::json!({ "error": { "code": code, "message": "English." } }).to_string();
        let json: Json = serde_json::from_slice(&voice.speak(status, body.into_bytes())).unwrap();
        let text = |name: &str| json["error"][name].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    #[test]
    fn codes_keep_their_value_whatever_their_spelling() {
        for codes in [Codes::Documented, Codes::Lower, Codes::Upper, Codes::Mixed] {
            let voice = Voice { codes, ..Voice::default() };
            let (code, text) = spoken(voice, 400, "0x8004F50B");
            assert_eq!(u32::from_str_radix(&code[2..], 16).unwrap(), 0x8004_F50B, "{code}");
            assert_eq!(text, "English.");
        }
        let mixed = Voice { codes: Codes::Mixed, ..Voice::default() };
        assert_eq!(spoken(mixed, 400, "0x8004FFFF").0, "0x8004fFfF");
    }

    #[test]
    fn older_documents_have_no_code_in_404_and_412() {
        let voice = Voice { empty_codes: true, ..Voice::default() };
        assert_eq!(spoken(voice, 404, "0x80040217").0, "");
        assert_eq!(spoken(voice, 412, "0x80040237").0, "");
        assert_eq!(spoken(voice, 400, "0x80044331").0, "0x80044331");
    }

    #[test]
    fn another_language_changes_the_text_and_keeps_the_code() {
        let voice = Voice { language: Language::German, ..Voice::default() };
        let (code, text) = spoken(voice, 412, "0x80040237");
        assert_eq!(code, "0x80040237");
        assert!(text.starts_with("Ein Datensatz"), "{text}");
        assert_eq!(spoken(voice, 400, "0x80099999").1, known::GERMAN);
        assert_eq!(voice.speak(502, b"<html>".to_vec()), b"<html>");
    }
}
