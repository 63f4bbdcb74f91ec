//! Where a secret or certificate is kept, and how it is read: never from the configuration itself, never shown.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// Longest secret in bytes; Entra ID makes 40 characters, certificates and tokens of other authorities are longer.
pub const SECRET_BYTES_MAX: u64 = 16_384;

/// Where systemd puts the credentials of a service. Source: systemd.exec(5), `LoadCredential=`.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where a secret is kept. Names only: printing one shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that not everybody can read.
    File(PathBuf),
    /// A systemd credential of this name.
    Credential(String),
    /// An environment variable of this name.
    Environment(String),
}

/// Why a secret could not be had. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there, or not for us.
    #[error("the {what} in {source_named} cannot be read: {reason}")]
    Unreadable {
        /// `client secret`, `client certificate` or `access token`.
        what: &'static str,
        /// Where it should be.
        source_named: String,
        /// What the system says.
        #[source]
        reason: std::io::Error,
    },
    /// Every account of the machine could read or change it.
    #[error(
        "the {what} in `{}` is open to every account (mode {mode:04o}); run `chmod 640 {}`",
        path.display(), path.display()
    )]
    Open {
        /// `client secret`, `client certificate` or `access token`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// We were not started by systemd with a credential.
    #[error(
        "there is no systemd credential `{name}`: {CREDENTIALS_DIRECTORY} is not set; it exists only in a service with \
         `LoadCredential={name}:/path/to/secret`"
    )]
    NoCredentials {
        /// The credential's name.
        name: String,
    },
    /// The environment has no such variable.
    #[error("the environment variable `{name}`, which should hold the {what}, is not set")]
    NotSet {
        /// `client secret`, `client certificate` or `access token`.
        what: &'static str,
        /// The variable.
        name: String,
    },
    /// What is there cannot be a secret.
    #[error("the {what} in {source_named} {why}")]
    Malformed {
        /// `client secret`, `client certificate` or `access token`.
        what: &'static str,
        /// Where it is.
        source_named: String,
        /// What is wrong with it, without a word of it.
        why: &'static str,
    },
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretSource::File(path) => write!(f, "the file `{}`", path.display()),
            SecretSource::Credential(name) => write!(f, "the systemd credential `{name}`"),
            SecretSource::Environment(name) => write!(f, "the environment variable `{name}`"),
        }
    }
}

impl SecretSource {
    /// Reads the secret; one line break at its end does not count. Read anew for every token, so that it can be rotated.
    ///
    /// # Errors
    /// When it is not there, open to everybody, or cannot be a secret. The daemon keeps its rows and asks again.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        self.read_with(|name| std::env::var_os(name))
    }

    /// Reads a certificate with its private key, in PEM; only that it is text is checked here. Read anew for every token.
    ///
    /// # Errors
    /// When it is not there, open to everybody, or no text.
    pub fn read_pem(&self) -> Result<SecretString, SecretError> {
        Ok(SecretString::from(self.text("client certificate", |name| std::env::var_os(name))?))
    }

    /// Reads the access token of the page.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_token(&self) -> Result<SecretString, SecretError> {
        self.line("access token", |name| std::env::var_os(name))
    }

    fn read_with(&self, environment: impl Fn(&str) -> Option<OsString>) -> Result<SecretString, SecretError> {
        self.line("client secret", environment)
    }

    fn line(
        &self,
        what: &'static str,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<SecretString, SecretError> {
        let text = self.text(what, environment)?;
        let malformed = |why| SecretError::Malformed { what, source_named: self.to_string(), why };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line {
            "" => Err(malformed("is empty")),
            _ if line.chars().any(char::is_control) => Err(malformed("has more than one line")),
            _ => Ok(SecretString::from(line.to_owned())),
        }
    }

    fn text(
        &self,
        what: &'static str,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<String, SecretError> {
        let bytes = match self {
            SecretSource::File(path) => self.file(what, path, Openness::Refused)?,
            SecretSource::Credential(name) => {
                let folder = environment(CREDENTIALS_DIRECTORY)
                    .ok_or_else(|| SecretError::NoCredentials { name: name.clone() })?;
                self.file(what, &Path::new(&folder).join(name), Openness::LeftToSystemd)?
            }
            SecretSource::Environment(name) => environment(name)
                .ok_or_else(|| SecretError::NotSet { what, name: name.clone() })?
                .into_encoded_bytes(),
        };
        let malformed = |why| SecretError::Malformed { what, source_named: self.to_string(), why };
        if bytes.len() as u64 > SECRET_BYTES_MAX {
            return Err(malformed("is longer than 16384 bytes"));
        }
        String::from_utf8(bytes).map_err(|_| malformed("is not UTF-8 text"))
    }

    fn file(&self, what: &'static str, path: &Path, openness: Openness) -> Result<Vec<u8>, SecretError> {
        let unreadable = |reason| SecretError::Unreadable { what, source_named: self.to_string(), reason };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(SecretError::Malformed {
                what,
                source_named: self.to_string(),
                why: "is not in a plain file",
            });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if openness == Openness::Refused && mode & 0o006 != 0 {
            return Err(SecretError::Open { what, path: path.to_owned(), mode });
        }
        let mut bytes = Vec::new();
        file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }
}

/// Who looks after the permissions of a file with a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Openness {
    Refused,
    LeftToSystemd,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn file(dir: &Path, bytes: &[u8], mode: u32) -> PathBuf {
        let path = dir.join("secret");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_secret_that_everybody_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), b"hunter2\n", 0o644);
        let error = SecretSource::File(path.clone()).read().unwrap_err().to_string();
        assert!(error.contains("mode 0644") && error.contains("chmod 640"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(SecretSource::File(path).read().unwrap().expose_secret(), "hunter2");
    }

    #[test]
    fn only_one_line_break_at_the_end_is_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        for (bytes, wanted) in [
            (&b" a b "[..], Ok(" a b ")),
            (b"a\r\n", Ok("a")),
            (b"a\n\n", Err("has more than one line")),
            (b"\n", Err("is empty")),
            (b"\xFF", Err("is not UTF-8 text")),
            (&[b'x'; 16_385], Err("is longer than 16384 bytes")),
        ] {
            match (SecretSource::File(file(dir.path(), bytes, 0o600)).read(), wanted) {
                (Ok(secret), Ok(wanted)) => assert_eq!(secret.expose_secret(), wanted),
                (Err(error), Err(wanted)) => assert!(error.to_string().ends_with(wanted), "{error}"),
                (read, wanted) => panic!("{read:?} instead of {wanted:?}"),
            }
        }
        assert!(SecretSource::File(dir.path().to_owned()).read().is_err(), "a folder");
        assert!(SecretSource::File(dir.path().join("none")).read().is_err(), "nothing");
    }

    #[test]
    fn credentials_and_variables_are_found_by_name_and_their_absence_says_where_they_come_from() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), b"hunter2", 0o444);
        let credential = SecretSource::Credential("secret".to_owned());
        let folder = |name: &str| (name == CREDENTIALS_DIRECTORY).then(|| dir.path().as_os_str().to_owned());
        assert_eq!(credential.read_with(folder).unwrap().expose_secret(), "hunter2");
        assert!(credential.read_with(|_| None).unwrap_err().to_string().contains("LoadCredential=secret:"));

        let variable = SecretSource::Environment("DDU_SECRET".to_owned());
        let set = |name: &str| (name == "DDU_SECRET").then(|| OsString::from("hunter2"));
        assert_eq!(variable.read_with(set).unwrap().expose_secret(), "hunter2");
        assert!(variable.read_with(|_| None).unwrap_err().to_string().contains("`DDU_SECRET`"));
    }

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = SecretSource::Environment("X".to_owned()).read_with(|_| Some("hunter2".into())).unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
