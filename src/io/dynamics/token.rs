//! Access tokens from Entra ID by client credentials: fetched when first needed, renewed before they expire, once for all.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::credential::{Credential, Proof};
use super::verdict::{complaint, token_refusal};
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

/// Gives out tokens for one application user and one resource.
pub(super) struct TokenSource {
    http: reqwest::Client,
    endpoint: Url,
    client_id: String,
    credential: Arc<Credential>,
    scope: String,
    now: fn() -> Timestamp,
    // Held while a token is fetched, so that many workers fetch one (single-flight); nothing else waits for it.
    held: Mutex<Held>,
}

/// What the last fetch brought.
enum Held {
    Nothing,
    Token {
        token: SecretString,
        number: u64,
        renew_at: Instant,
    },
    /// Those who waited meanwhile are told the same; who comes later asks anew.
    Failure {
        stumble: Stumble,
        number: u64,
        at: Instant,
    },
}

impl Held {
    fn number(&self) -> u64 {
        match self {
            Held::Nothing => 0,
            Held::Token { number, .. } | Held::Failure { number, .. } => *number,
        }
    }
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
    /// Tokens for the scope, from the endpoint; nothing is asked yet.
    pub(super) fn new(
        http: reqwest::Client,
        (endpoint, scope): (Url, String),
        client_id: String,
        credential: Credential,
        now: fn() -> Timestamp,
    ) -> Self {
        let credential = Arc::new(credential);
        TokenSource { http, endpoint, client_id, credential, scope, now, held: Mutex::new(Held::Nothing) }
    }

    /// A token that is good for a while; `refused` names one that the target would not take, which is then replaced.
    pub(super) async fn bearer(&self, refused: Option<u64>) -> Result<Bearer, Stumble> {
        let came = Instant::now();
        let mut held = self.held.lock().await;
        match &*held {
            Held::Token { token, number, renew_at }
                if *renew_at > Instant::now() && refused != Some(*number) =>
            {
                return Ok(Bearer { token: token.clone(), number: *number });
            }
            Held::Failure { stumble, at, .. } if came < *at => return Err(stumble.clone()),
            Held::Nothing | Held::Token { .. } | Held::Failure { .. } => {}
        }
        // Numbers are never used twice, also after a failure: `refused` names one token and no other.
        let number = held.number() + 1;
        match self.fetch().await {
            Ok((token, life)) => {
                let margin = RENEW_BEFORE.min(life / 2);
                let renew_at = Instant::now() + (life - margin);
                *held = Held::Token { token: token.clone(), number, renew_at };
                Ok(Bearer { token, number })
            }
            Err(stumble) => {
                *held = Held::Failure { stumble: stumble.clone(), number, at: Instant::now() };
                Err(stumble)
            }
        }
    }

    async fn fetch(&self) -> Result<(SecretString, Duration), Stumble> {
        let proof = self.proof().await?;
        let mut form = vec![
            ("client_id", self.client_id.as_str()),
            ("scope", self.scope.as_str()),
            ("grant_type", "client_credentials"),
        ];
        form.extend(proof.iter().map(|(key, value)| (*key, value.expose_secret())));
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
            Err(Stumble::Later { reason, wait, in_doubt: false, setback: None })
        } else {
            let cause = format!("{} (application user {})", token_refusal(&said.message), self.client_id);
            Err(Stumble::Access { error: reason, cause })
        }
    }

    /// The secret or the assertion; read and made beside the async threads.
    async fn proof(&self) -> Result<Proof, Stumble> {
        let (credential, client_id) = (Arc::clone(&self.credential), self.client_id.clone());
        let (endpoint, now) = (self.endpoint.to_string(), (self.now)());
        let proving = tokio::task::spawn_blocking(move || credential.prove(&client_id, &endpoint, now)).await;
        let refused = |error| Stumble::Access {
            error,
            cause: format!("application user {} cannot prove who it is", self.client_id),
        };
        match proving {
            Ok(proof) => proof.map_err(refused),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// A stumble before the request itself left.
fn unsent(stumble: Stumble) -> Stumble {
    match stumble {
        Stumble::Later { reason, wait, setback, .. } => {
            Stumble::Later { reason, wait, in_doubt: false, setback }
        }
        other => other,
    }
}

/// Seconds as a number or, from older endpoints, as text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(number).ok()
}
