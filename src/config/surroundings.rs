//! What the settings point at, as it is now: right settings can still name a file where a folder should be.

use std::path::Path;

use super::fault::{Fault, JsonPath, Problem};
use super::secret::SecretError;
use super::settings::Settings;
use super::target::Target;

/// What was found where the settings point.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// What keeps the daemon from working. The operator must act.
    pub faults: Vec<Fault>,
    /// What the operator may want to know, one sentence each.
    pub notes: Vec<String>,
}

impl Settings {
    /// Looks at the folders and the secret that these settings name; changes nothing, connects to nothing.
    pub fn look_around(&self) -> Surroundings {
        let mut found = Surroundings::default();
        let lakehouse = self.lakehouse_dir();
        let store = match &self.target {
            Target::Sandbox(sandbox) => Some(sandbox.store.as_path()),
            Target::Dataverse(_) | Target::Finops(_) => None,
        };
        for (keys, folder) in [
            (&["dropbox"][..], Some(self.dropbox.as_path())),
            (&["lakehouse"], lakehouse),
            (&["checkpoints"], Some(&self.checkpoints)),
            (&["target", "store"], store),
        ] {
            if let Some(folder) = folder {
                self.folder(&mut found, &JsonPath::of(keys), folder);
            }
        }
        if let Some(token) = &self.listen_token {
            self.secret(&mut found, token.read_token().map(|_| ()), &JsonPath::of(&["listen"]));
        }
        match &self.target {
            Target::Sandbox(_) => {}
            Target::Dataverse(service) | Target::Finops(service) => {
                for principal in &service.principals {
                    let looked = principal.credential.look();
                    self.secret(&mut found, looked, &JsonPath::of(&["target"]));
                }
            }
        }
        found
    }

    fn folder(&self, found: &mut Surroundings, at: &JsonPath, folder: &Path) {
        match folder.metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                self.fault(found, at, format!("{}: `{}` is not a folder", at.in_words(), folder.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                found.notes.push(format!("{}: `{}` is not there yet", at.in_words(), folder.display()));
            }
            Err(error) => {
                let reason =
                    format!("{}: `{}` cannot be looked at: {error}", at.in_words(), folder.display());
                self.fault(found, at, reason);
            }
        }
    }

    fn secret(&self, found: &mut Surroundings, looked: Result<(), SecretError>, at: &JsonPath) {
        match looked {
            Ok(()) => {}
            // They exist only inside the service, and this look may be taken from a shell.
            Err(error @ (SecretError::NoCredentials { .. } | SecretError::NotSet { .. })) => {
                found.notes.push(error.to_string());
            }
            Err(
                error @ (SecretError::Unreadable { .. }
                | SecretError::Open { .. }
                | SecretError::Malformed { .. }),
            ) => {
                self.fault(found, at, error.to_string());
            }
        }
    }

    fn fault(&self, found: &mut Surroundings, at: &JsonPath, sentence: String) {
        let file = self.source.display().to_string();
        let problem = Problem::Contradiction { sentence };
        found.faults.push(Fault { file, at: None, path: at.clone(), problem });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn what_the_settings_point_at_is_looked_at_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("drop"), "").unwrap();
        std::fs::write(dir.path().join("secret"), "sesame").unwrap();
        let text = r#"{"dropbox": "drop", "lakehouse": "lake", "listen": "0.0.0.0:1", "listen_token_file": "./secret", "target": {"kind": "dataverse",
            "url": "https://o.crm.dynamics.com", "tenant_id": "o.com",
            "client_id": "11111111-2222-3333-4444-555555555555", "client_secret_file": "./secret"}}"#;
        std::fs::set_permissions(
            dir.path().join("secret"),
            std::os::unix::fs::PermissionsExt::from_mode(0o644),
        )
        .unwrap();
        let settings = Settings::parse(&dir.path().join("config.json"), text.as_bytes()).unwrap();
        let found = settings.look_around();
        let faults: Vec<String> = found.faults.iter().map(Fault::to_string).collect();
        assert!(faults[0].contains("`dropbox`") && faults[0].ends_with("is not a folder"), "{faults:?}");
        assert!(faults[1].contains("open to every account"), "{faults:?}");
        assert_eq!((faults.len(), found.notes.len()), (3, 2), "{found:?}");
        assert!(!format!("{found:?} {settings:?}").contains("sesame"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
