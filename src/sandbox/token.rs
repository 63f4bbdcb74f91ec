//! The token endpoint of Entra ID and the check of what it gave out. Source: dynamics.md §1.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::ask::Answer;
use super::error::ApiError;

/// Gives out tokens and knows them again, also after a restart: they carry their end and our signature.
pub(super) struct Tokens {
    signing_key: [u8; 32],
    client_secret: Option<String>,
    life_s: u64,
}

impl Tokens {
    /// Tokens that live so many seconds. `client_secret` of `None` takes any secret.
    pub(super) fn new(signing_key: [u8; 32], client_secret: Option<String>, life_s: u64) -> Self {
        Tokens { signing_key, client_secret, life_s }
    }

    /// Answers `POST /{tenant}/oauth2/v2.0/token` with this form.
    pub(super) fn grant(&self, form: &[u8], now: Timestamp) -> Answer {
        let form: HashMap<String, String> = url::form_urlencoded::parse(form).into_owned().collect();
        match self.check(&form, now) {
            Ok(client_id) => {
                let body = json!({
                    "token_type": "Bearer",
                    "expires_in": self.life_s,
                    "ext_expires_in": self.life_s,
                    "access_token": self.issue(&client_id, now),
                });
                Answer {
                    content_type: Some("application/json; charset=utf-8"),
                    ..Answer::json(200, body.to_string().into_bytes())
                }
            }
            Err(refusal) => *refusal,
        }
    }

    /// The client id that may have a token.
    fn check(&self, form: &HashMap<String, String>, now: Timestamp) -> Result<String, Box<Answer>> {
        let refuse = |status, error: &str, number, text: String| {
            Err(Box::new(refusal(status, error, number, &text, now)))
        };
        let given = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
        // The older form of the endpoint names a resource in place of a scope.
        let asked_for = if form.contains_key("resource") { "resource" } else { "scope" };
        for name in ["grant_type", "client_id", asked_for] {
            if given(name).is_none() {
                let text = format!("The request body must contain the following parameter: '{name}'.");
                return refuse(400, "invalid_request", 900_144, text);
            }
        }
        let grant = given("grant_type").unwrap_or_default();
        if grant != "client_credentials" {
            let text = format!("The app requested an unsupported grant type '{grant}'.");
            return refuse(400, "unsupported_grant_type", 70_003, text);
        }
        let scope = given(asked_for).unwrap_or_default();
        let resource = if asked_for == "scope" { scope.strip_suffix("/.default") } else { Some(scope) };
        let resource = resource.and_then(|resource| resource.parse::<url::Url>().ok());
        if resource.is_none() {
            let text = format!(
                "The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid."
            );
            return refuse(400, "invalid_scope", 70_011, text);
        }
        let by_certificate = given("client_assertion_type")
            == Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
            && given("client_assertion").is_some();
        let client_id = given("client_id").unwrap_or_default().to_owned();
        match (given("client_secret"), &self.client_secret) {
            (None, _) if by_certificate => Ok(client_id),
            (None, _) => {
                let text = "The request body must contain the following parameter: 'client_assertion' or \
                            'client_secret'.";
                refuse(401, "invalid_client", 7_000_218, text.to_owned())
            }
            (Some(secret), Some(expected)) if secret != expected => {
                let text = "Invalid client secret provided. Ensure the secret being sent in the request is the client \
                            secret value, not the client secret ID.";
                refuse(401, "invalid_client", 7_000_215, text.to_owned())
            }
            (Some(_), _) => Ok(client_id),
        }
    }

    /// A token in the form of a JWT. Only this server reads it, so its signature need not be one that others know.
    fn issue(&self, client_id: &str, now: Timestamp) -> String {
        let ends_ms = now.as_millisecond().saturating_add_unsigned(self.life_s.saturating_mul(1000));
        let header = URL_SAFE_NO_PAD.encode(br#"{"typ":"JWT","alg":"ddu-sandbox"}"#);
        let claims =
            json!({ "appid": client_id, "exp": ends_ms / 1000, "ends_ms": ends_ms, "uti": Uuid::new_v4() });
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&signed));
        format!("{signed}.{signature}")
    }

    /// The key goes in before and after, so that nothing can be appended to a signed text.
    fn sign(&self, text: &str) -> [u8; 32] {
        let inner = Sha256::new().chain_update(self.signing_key).chain_update(text).finalize();
        Sha256::new().chain_update(self.signing_key).chain_update(inner).finalize().into()
    }

    /// The client id whose token the `Authorization` header carries.
    ///
    /// # Errors
    /// 401 when it is missing, not ours, or past its end.
    pub(super) fn admit(&self, authorization: Option<&str>, now: Timestamp) -> Result<String, ApiError> {
        let refused = |code, what: &str| Err(ApiError::new(401, code, what));
        let Some(token) = authorization.and_then(|header| header.strip_prefix("Bearer ")) else {
            return refused("0x80040277", "The request is not authenticated: it has no bearer token.");
        };
        let Some((client_id, ends_ms)) = self.claims(token.trim()) else {
            return refused("0x80040277", "The authentication token is not valid.");
        };
        if now.as_millisecond() >= ends_ms {
            return refused("0x8004A101", "The authentication token has expired.");
        }
        Ok(client_id)
    }

    fn claims(&self, token: &str) -> Option<(String, i64)> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if signature != self.sign(signed) {
            return None;
        }
        let (_, claims) = signed.split_once('.')?;
        let claims: Json = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        Some((claims.get("appid")?.as_str()?.to_owned(), claims.get("ends_ms")?.as_i64()?))
    }
}

/// The error of Entra ID; here `error` is a text, not an object.
fn refusal(status: u16, error: &str, number: u32, text: &str, now: Timestamp) -> Answer {
    let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
    let time = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let body = json!({
        "error": error,
        "error_description": format!(
            "AADSTS{number}: {text}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {time}"
        ),
        "error_codes": [number],
        "timestamp": time,
        "trace_id": trace,
        "correlation_id": correlation,
    });
    Answer {
        content_type: Some("application/json; charset=utf-8"),
        ..Answer::json(status, body.to_string().into_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FORM: &str =
        "grant_type=client_credentials&client_id=c&client_secret=s%26t&scope=http%3A%2F%2Fh%2F.default";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn body(answer: &Answer) -> Json {
        serde_json::from_slice(&answer.body).unwrap()
    }

    #[test]
    fn a_token_admits_until_its_end_and_not_when_it_was_touched() {
        let tokens = Tokens::new([7; 32], None, 10);
        let answer = tokens.grant(FORM.as_bytes(), at(100));
        let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        assert_eq!(tokens.admit(Some(&bearer), at(109)).unwrap(), "c");
        assert_eq!(tokens.admit(Some(&bearer), at(110)).unwrap_err().code, "0x8004A101");
        assert_eq!(tokens.admit(None, at(100)).unwrap_err().status, 401);
        assert_eq!(tokens.admit(Some(&bearer.replace("Bearer", "Basic")), at(100)).unwrap_err().status, 401);
        let other = Tokens::new([8; 32], None, 10);
        assert_eq!(other.admit(Some(&bearer), at(100)).unwrap_err().code, "0x80040277");
    }

    #[test]
    fn a_refusal_has_the_number_that_entra_id_gives() {
        let tokens = Tokens::new([7; 32], Some("s&t".into()), 10);
        assert_eq!(tokens.grant(FORM.as_bytes(), at(0)).status, 200);
        for (from, to, status, number, error) in [
            ("s%26t", "wrong", 401, 7_000_215, "invalid_client"),
            ("client_secret=s%26t", "x=y", 401, 7_000_218, "invalid_client"),
            ("%2F.default", "", 400, 70_011, "invalid_scope"),
            ("http%3A%2F%2Fh", "h", 400, 70_011, "invalid_scope"),
            ("client_credentials", "password", 400, 70_003, "unsupported_grant_type"),
            ("client_id=c&", "", 400, 900_144, "invalid_request"),
        ] {
            let answer = tokens.grant(FORM.replace(from, to).as_bytes(), at(0));
            let body = body(&answer);
            assert_eq!(
                (answer.status, &body["error_codes"][0], &body["error"]),
                (status, &json!(number), &json!(error))
            );
            assert!(body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{number}: ")));
        }
    }
}
