//! Who may ask the page: whoever is on this machine, or whoever has the token.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{SecretError, SecretSource};

/// Shortest token that a page may have, in characters: 16 of base64 are 96 bits, which nobody guesses over a network.
pub const TOKEN_CHARS_MIN: usize = 16;

/// The token that a request must bring, as its hash: there is nothing in it to be printed.
#[derive(Debug, Clone)]
pub struct AccessToken {
    sha256: [u8; 32],
}

/// There is no token to hold requests against. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum AccessTokenError {
    /// It cannot be read.
    #[error("the page's token cannot be had")]
    Unreadable(#[from] SecretError),
    /// Anybody would guess it.
    #[error(
        "the page's token in {place} is shorter than {TOKEN_CHARS_MIN} characters; `openssl rand -base64 24` makes one"
    )]
    Short {
        /// Where it is kept.
        place: String,
    },
}

impl AccessToken {
    /// Reads the token.
    ///
    /// # Errors
    /// When it is not there, open to everybody, or too short to keep anybody out.
    pub fn read(source: &SecretSource) -> Result<Self, AccessTokenError> {
        let token = source.read_token()?;
        if token.expose_secret().chars().count() < TOKEN_CHARS_MIN {
            return Err(AccessTokenError::Short { place: source.to_string() });
        }
        Ok(AccessToken { sha256: Sha256::digest(token.expose_secret()).into() })
    }

    /// Whether this is the token; hashes are compared, in a time that says nothing of where they differ.
    fn is(&self, brought: &SecretString) -> bool {
        let brought: [u8; 32] = Sha256::digest(brought.expose_secret()).into();
        self.sha256.ct_eq(&brought).into()
    }
}

/// Whom the page answers.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What a request must bring; `None` only on loopback.
    pub token: Option<AccessToken>,
}

impl Guard {
    /// The answer to a request that is turned away, and why; `None` for one that is let in.
    pub(super) fn turned_away(&self, request: &Request) -> Option<Response> {
        let headers = request.headers();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        // A page that demands a token may have a name: whoever re-binds it has no token to bring.
        if self.token.is_none() && !host.is_some_and(|host| is_ours(host, self.listen.ip())) {
            let way_out = format!("open this page at http://{}\n", self.listen);
            return Some((StatusCode::MISDIRECTED_REQUEST, way_out).into_response());
        }
        if headers.get(header::ORIGIN).is_some_and(|origin| !is_from(origin.as_bytes(), host)) {
            let why = "this page answers no other page\n";
            return Some((StatusCode::FORBIDDEN, why).into_response());
        }
        if let Some(token) = &self.token
            && !brought(headers).is_some_and(|brought| token.is(&brought))
        {
            let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"ddu\", charset=\"UTF-8\"")];
            let why = "the page's token is needed: as the password, or as `Authorization: Bearer`\n";
            return Some((StatusCode::UNAUTHORIZED, ask, why).into_response());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let allow = [(header::ALLOW, "GET,HEAD"), (header::CONNECTION, "close")];
            return Some((StatusCode::METHOD_NOT_ALLOWED, allow, "this page only reads\n").into_response());
        }
        let length = headers.get(header::CONTENT_LENGTH);
        if headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0") {
            let why = "a question has no body\n";
            return Some(
                (StatusCode::PAYLOAD_TOO_LARGE, [(header::CONNECTION, "close")], why).into_response(),
            );
        }
        None
    }
}

/// The token that a request brings: of a scraper as a bearer's, of a browser as the password, whatever the user.
fn brought(headers: &HeaderMap) -> Option<SecretString> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned().into());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    text.split_once(':').map(|(_user, password)| password.to_owned().into())
}

/// Whether a script that asks came from this very page.
fn is_from(origin: &[u8], host: Option<&str>) -> bool {
    let of_host =
        |scheme: &[u8]| host.is_some_and(|host| origin.strip_prefix(scheme) == Some(host.as_bytes()));
    of_host(b"http://") || of_host(b"https://")
}

/// Whether the `Host` names us. A page elsewhere whose name is re-bound to our address (DNS rebinding) sends its own name;
/// an address in figures cannot be re-bound.
fn is_ours(host: &str, listen: IpAddr) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == listen,
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_rebound_are_ours() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        for ours in ["localhost:8787", "LocalHost", "127.0.0.1:8787", "127.0.0.1", "[::1]:8787"] {
            assert!(is_ours(ours, loopback), "{ours}");
        }
        for foreign in
            ["evil.example:8787", "localhost.evil.example", "192.0.2.7:8787", "", ":8787", "[::1.evil]"]
        {
            assert!(!is_ours(foreign, loopback), "{foreign}");
        }
        assert!(is_ours("127.0.0.2:8787", "127.0.0.2".parse().unwrap()));
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_shows_nothing() {
        let token = "k7Qm-correct-horse-battery";
        let known = AccessToken { sha256: Sha256::digest(token).into() };
        assert!(known.is(&token.to_owned().into()));
        for other in ["", "k7Qm-correct-horse-batterx", "k7Qm", "k7Qm-correct-horse-battery "] {
            assert!(!known.is(&other.to_owned().into()), "{other}");
        }
        assert!(!format!("{known:?}").contains("k7Qm"));
    }
}
