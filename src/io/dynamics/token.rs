//! Access tokens from Entra ID by client credentials: fetched when first needed, renewed before they expire, once for all.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::verdict::complaint;
use super::wire::{Stumble, body_of};

/// How long before its end a token is renewed; a token that lives less than twice as long is renewed at half its life.
/// Source: dynamics.md §1.2.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// Life of a token whose answer does not tell one.
const LIFE_DEFAULT: Duration = Duration::from_secs(600);
/// Largest answer of the token endpoint, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What it is called in messages.
const WHOM: &str = "the token service";

/// Gives out tokens for one identity and one resource.
pub(super) struct TokenSource {
    http: reqwest::Client,
    endpoint: Url,
    client_id: String,
    client_secret: SecretString,
    scope: String,
    // Held while a token is fetched, so that many workers fetch one (single-flight); nothing else waits for it.
    held: Mutex<Option<Held>>,
}

struct Held {
    token: SecretString,
    number: u64,
    renew_at: Instant,
}

/// A token in use; the number tells one from its successor.
#[derive(Clone)]
pub(super) struct Bearer {
    pub(super) token: SecretString,
    pub(super) number: u64,
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretText,
    #[serde(default)]
    expires_in: serde_json::Value,
}

/// A secret in a JSON answer; secrecy's own support would need a feature for this one field.
struct SecretText(SecretString);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(SecretText(SecretString::from(String::deserialize(deserializer)?)))
    }
}

impl TokenSource {
    pub(super) fn new(
        http: reqwest::Client,
        endpoint: Url,
        client_id: String,
        client_secret: SecretString,
        scope: String,
    ) -> Self {
        TokenSource { http, endpoint, client_id, client_secret, scope, held: Mutex::new(None) }
    }

    /// A token that is good for a while; `refused` names one that the target would not take, which is then replaced.
    pub(super) async fn bearer(&self, refused: Option<u64>) -> Result<Bearer, Stumble> {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref()
            && held.renew_at > Instant::now()
            && refused != Some(held.number)
        {
            return Ok(Bearer { token: held.token.clone(), number: held.number });
        }
        let number = held.as_ref().map_or(1, |held| held.number + 1);
        *held = None;
        let (token, life) = self.fetch().await?;
        let margin = RENEW_BEFORE.min(life / 2);
        *held = Some(Held { token: token.clone(), number, renew_at: Instant::now() + (life - margin) });
        Ok(Bearer { token, number })
    }

    async fn fetch(&self) -> Result<(SecretString, Duration), Stumble> {
        let form = [
            ("client_id", self.client_id.as_str()),
            ("scope", self.scope.as_str()),
            ("client_secret", self.client_secret.expose_secret()),
            ("grant_type", "client_credentials"),
        ];
        let asked_at = Instant::now();
        let mut response = self
            .http
            .post(self.endpoint.clone())
            .form(&form)
            .send()
            .await
            .map_err(|error| unsent(Stumble::network(WHOM, &error)))?;
        let status = response.status().as_u16();
        let wait = super::patience::retry_after(response.headers());
        let body = body_of(&mut response, ANSWER_BYTES_MAX, WHOM).await.map_err(unsent)?;
        if status == 200
            && let Ok(granted) = serde_json::from_slice::<Granted>(&body)
        {
            let life = seconds(&granted.expires_in).unwrap_or(LIFE_DEFAULT);
            return Ok((granted.access_token.0, life.saturating_sub(asked_at.elapsed())));
        }
        let said = complaint(&body);
        let reason = format!("the token service answered {status}: {}", said.first_line());
        if matches!(status, 408 | 429 | 500..=599)
            || said.message.contains("temporarily_unavailable")
            || status == 200
        {
            Err(Stumble::Later { reason, wait, in_doubt: false })
        } else {
            Err(Stumble::Access {
                error: reason,
                cause: "the client id, its secret or the tenant is not accepted: check `client_id`, `tenant_id` and the \
                        secret's expiry in the app registration"
                    .to_owned(),
            })
        }
    }
}

/// A stumble before the request itself left.
fn unsent(stumble: Stumble) -> Stumble {
    match stumble {
        Stumble::Later { reason, wait, .. } => Stumble::Later { reason, wait, in_doubt: false },
        other => other,
    }
}

/// Seconds as a number or, from older endpoints, as text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(number).ok()
}
