//! What an application user proves itself with at the token endpoint: a client secret, or an assertion that its certificate signs.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config::SecretSource;

/// How long an assertion is valid, in seconds; it is made for one request. Entra ID takes at most 24 hours and
/// recommends 5 to 10 minutes. Source: Microsoft Learn, "certificate credentials".
const ASSERTION_LIFE_S: i64 = 300;
/// What the form says that the assertion is. Source: dynamics.md §1.1.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What an application user proves itself with. Read anew for every token, so that it can be replaced while we run.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A client secret that is known here: the embedded sandbox's.
    Known(SecretString),
    /// A client secret that is kept somewhere.
    Secret(SecretSource),
    /// A certificate with its private key, in PEM, that is kept somewhere.
    Certificate(SecretSource),
}

impl From<crate::config::Credential> for Credential {
    fn from(configured: crate::config::Credential) -> Self {
        match configured {
            crate::config::Credential::Secret(source) => Credential::Secret(source),
            crate::config::Credential::Certificate(source) => Credential::Certificate(source),
        }
    }
}

/// The members of a token request that prove who asks.
pub(super) type Proof = Vec<(&'static str, SecretString)>;

impl Credential {
    /// The proof for one token request of `client_id` to `endpoint`. Reads files and signs: not for an async thread.
    ///
    /// # Errors
    /// A sentence for the operator, without a word of the secret or the key.
    pub(super) fn prove(&self, client_id: &str, endpoint: &str, now: Timestamp) -> Result<Proof, String> {
        let secret = |secret| vec![("client_secret", secret)];
        match self {
            Credential::Known(known) => Ok(secret(known.clone())),
            Credential::Secret(source) => source.read().map(secret).map_err(|error| error.to_string()),
            Credential::Certificate(source) => {
                let pem = source.read_pem().map_err(|error| error.to_string())?;
                let assertion = assertion(&pem, client_id, endpoint, now)
                    .map_err(|why| format!("the client certificate in {source} {why}"))?;
                Ok(vec![
                    ("client_assertion_type", SecretString::from(ASSERTION_TYPE)),
                    ("client_assertion", assertion),
                ])
            }
        }
    }
}

/// A JWT as RFC 7523 wants it, signed with RS256; the certificate is named by the SHA-256 of its DER form.
fn assertion(
    pem: &SecretString,
    client_id: &str,
    endpoint: &str,
    now: Timestamp,
) -> Result<SecretString, String> {
    let bytes = pem.expose_secret().as_bytes();
    // The certificate first: an intermediate one would follow it.
    let certificate = CertificateDer::pem_slice_iter(bytes)
        .next()
        .and_then(Result::ok)
        .ok_or("holds no certificate (`-----BEGIN CERTIFICATE-----`)")?;
    let key = PrivateKeyDer::from_pem_slice(bytes)
        .map_err(|_| "holds no private key that is not encrypted (`-----BEGIN PRIVATE KEY-----`)")?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key =
        provider.key_provider.load_private_key(key).map_err(|_| "holds a private key that cannot be used")?;
    let signer = key
        .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
        .ok_or("holds a private key that is not RSA, which Entra ID asks for")?;
    let header = json!({
        "alg": "RS256", "typ": "JWT", "x5t#S256": BASE64_URL.encode(Sha256::digest(&certificate)),
    });
    let begin = now.as_second();
    let claims = json!({
        "aud": endpoint, "iss": client_id, "sub": client_id, "jti": Uuid::new_v4().to_string(),
        "nbf": begin, "iat": begin, "exp": begin + ASSERTION_LIFE_S,
    });
    let said = format!("{}.{}", BASE64_URL.encode(header.to_string()), BASE64_URL.encode(claims.to_string()));
    let signature = signer.sign(said.as_bytes()).map_err(|_| "holds a private key that cannot sign")?;
    Ok(SecretString::from(format!("{said}.{}", BASE64_URL.encode(signature))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
    const ENDPOINT: &str = "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token";

    /// A fresh key with some bytes in the place of a certificate, which is only hashed.
    pub(in crate::io::dynamics) fn certificate(path: &Path) -> KeyPair {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
        };
        let text = pem("PRIVATE KEY", der.as_ref()) + &pem("CERTIFICATE", b"a certificate");
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        key
    }

    #[test]
    fn an_assertion_is_signed_by_the_certificate_and_good_for_one_endpoint_and_five_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.pem");
        let key = certificate(&path);
        let credential = Credential::Certificate(SecretSource::File(path));
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let proof = credential.prove(CLIENT, ENDPOINT, now).unwrap();
        assert_eq!((proof[0].0, proof[0].1.expose_secret()), ("client_assertion_type", ASSERTION_TYPE));
        let jwt = proof[1].1.expose_secret();
        let (said, signature) = jwt.rsplit_once('.').unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
            .verify(said.as_bytes(), &BASE64_URL.decode(signature).unwrap())
            .unwrap();
        let part = |text: &str| -> serde_json::Value {
            serde_json::from_slice(&BASE64_URL.decode(text).unwrap()).unwrap()
        };
        let (header, claims) = said.split_once('.').unwrap();
        let (header, claims) = (part(header), part(claims));
        assert_eq!((header["alg"].as_str(), header["typ"].as_str()), (Some("RS256"), Some("JWT")));
        assert_eq!(header["x5t#S256"], BASE64_URL.encode(Sha256::digest(b"a certificate")));
        assert_eq!((claims["aud"].as_str(), claims["iss"].as_str()), (Some(ENDPOINT), Some(CLIENT)));
        assert_eq!(claims["sub"], CLIENT);
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap(), 300);
        assert_eq!(claims["nbf"], now.as_second());
        // Another one for the next request: an assertion is used once.
        let next = credential.prove(CLIENT, ENDPOINT, now).unwrap();
        assert_ne!(next[1].1.expose_secret(), jwt);
    }

    #[test]
    fn what_is_no_certificate_with_its_key_is_told_without_a_word_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.pem");
        certificate(&path);
        let whole = std::fs::read_to_string(&path).unwrap();
        let (key, rest) = whole.split_at(whole.find("-----BEGIN CERTIFICATE").unwrap());
        let short = "-----BEGIN PRIVATE KEY-----\nc2VzYW1lIG9wZW4=\n-----END PRIVATE KEY-----\n";
        for (text, wanted) in [
            (key.to_owned(), "holds no certificate"),
            (rest.to_owned(), "holds no private key"),
            (format!("{short}{rest}"), "holds a private key that cannot be used"),
            ("c2VzYW1lIG9wZW4=".to_owned(), "holds no certificate"),
        ] {
            std::fs::write(&path, text).unwrap();
            let credential = Credential::Certificate(SecretSource::File(path.clone()));
            let error = credential.prove(CLIENT, ENDPOINT, Timestamp::UNIX_EPOCH).unwrap_err();
            assert!(error.contains(wanted) && error.contains("client.pem"), "{error}");
            assert!(!error.contains("c2VzYW1l"), "{error}");
        }
    }
}
